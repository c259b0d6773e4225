import t from 'tap'
import { createSecretKey } from 'node:crypto'
import type { Token } from '../../src/protocol/grant.ts'
import { introspectionOf } from '../../src/protocol/introspection.ts'
import { pairwiseSubject } from '../../src/protocol/subject.ts'

const secret = createSecretKey(Buffer.alloc(32, 1))
const asking = { scopes: ['openid', 'birth'], sector: 'agency', secret, issuer: 'https://passerelle.example' }
const token: Token = {
  login: 'the login',
  client_id: 'town',
  redirect_uri: 'https://town.example/back',
  scopes: ['openid', 'profile', 'birth'],
  code_challenge: 'c',
  nonce: 'the nonce',
  sub: pairwiseSubject(secret, 'the person', 'town'),
  person: 'the person',
  claims: { family_name: 'DUBOIS', birthplace: '75107' },
  idTokenClaims: { given_name: 'Angela' },
  acr: 'eidas2',
  amr: ['pwd'],
  auth_time: 1771000000,
  idp: 'taxes',
  identifiedAt: 1771000000,
  issuedAt: 1771000001,
  sid: 'the sid',
  exp: 1771000060
}
const told = { active: true, iss: asking.issuer, sub: pairwiseSubject(secret, 'the person', 'agency'), scope: 'openid birth', acr: 'eidas2', exp: 1771000060, token_type: 'Bearer' }

t.test('of a token that is not, not any more, or not meant for who asks nothing is told but that (RFC 7662 §2.2)', async t => {
  t.strictSame(introspectionOf(undefined, asking), { active: false })
  for (const [what, scopes] of [['no scope', []], ['other scopes', ['email', 'phone']], ['a part of a name', ['open', 'birthdate', 'openid birth']], ['a name of every object', ['constructor', 'length', '0']]] as const) {
    t.strictSame(introspectionOf(token, { ...asking, scopes }), { active: false }, what)
  }
  t.strictSame(introspectionOf({ ...token, scopes: [] }, asking), { active: false }, 'a token without scopes')
  for (const [of, asks] of [[['openid'], ['openid']], [['openid', 'profile'], ['openid', 'birth']], [['openid'], ['openid', 'profile', 'birth']]]) {
    t.strictSame(introspectionOf({ ...token, scopes: of! }, { ...asking, scopes: asks! }), { active: false }, `openid alone, which every token has: ${of} and ${asks}`)
  }
  const { person, ...before } = token
  t.strictSame(introspectionOf(before as Token, asking), { active: false }, 'a token of a release that named no person in it')
})

t.test('a data provider learns that a token is good, how well the person was known, and its own sub (RFC 7662 §2.2)', async t => {
  t.strictSame(introspectionOf(token, asking), told)
})

t.test('nothing of the identity, the login or the service is told', async t => {
  const answer = JSON.stringify(introspectionOf({ ...token, jkt: 'the thumbprint' }, asking))
  for (const word of ['DUBOIS', '75107', 'Angela', 'the person', 'the login', 'the sid', 'the nonce', 'taxes', 'town', token.sub]) t.notOk(answer.includes(word), word)
})

t.test('the scopes told are those that both have, in the order of the token', async t => {
  const table: Array<[of: string[], asks: string[], scope: string]> = [
    [['openid', 'profile'], ['profile', 'openid'], 'openid profile'],
    [['openid', 'profile'], ['profile', 'email'], 'profile'],
    [['profile'], ['openid', 'profile', 'birth'], 'profile'],
    [['birth', 'openid'], ['openid', 'birth'], 'birth openid']
  ]
  for (const [scopes, asks, scope] of table) t.strictSame(introspectionOf({ ...token, scopes }, { ...asking, scopes: asks }), { ...told, scope }, scope)
})

t.test('two data providers are told two values for one person, unless they share a sector (OpenID Connect Core §8.1)', async t => {
  const subFor = (sector: string) => (introspectionOf(token, { ...asking, sector }) as { sub: string }).sub
  t.not(subFor('agency'), subFor('other'))
  t.not(subFor('agency'), token.sub, 'nor the value that the service has')
  t.equal(subFor('town'), token.sub, 'one organisation is one sector')
})

t.test('of a token that is bound to a key the key is told (RFC 9449 §6.2)', async t => {
  t.strictSame(introspectionOf({ ...token, jkt: 'the thumbprint' }, asking), { ...told, token_type: 'DPoP', cnf: { jkt: 'the thumbprint' } })
})
