import t from 'tap'
import { authenticateClient, checkAssertion, readCredentials, secretDigest, type AuthenticatedClient, type Credentials } from '../../src/protocol/client-authentication.ts'
import type { Failure } from '../../src/protocol/errors.ts'

const refusal = (message: RegExp, failure: Failure = 'client_authentication_failed') => ({ failure: new RegExp(`^${failure}$`), message })
const base64 = (text: string | Uint8Array) => Buffer.from(text as string).toString('base64')
const basic = (text: string) => `Basic ${base64(text)}`
const secret = 'a secret of 64 random bytes'
const town: AuthenticatedClient = { active: true, token_endpoint_auth_method: 'client_secret_basic', secrets: [secretDigest(secret), secretDigest('the next secret')] }
const post: AuthenticatedClient = { ...town, token_endpoint_auth_method: 'client_secret_post' }
const open: AuthenticatedClient = { active: true, token_endpoint_auth_method: 'none', secrets: [] }
const keyed: AuthenticatedClient = { active: true, token_endpoint_auth_method: 'private_key_jwt', secrets: [] }

const bearer = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
/** A JWT of this payload, whose signature nobody has looked at yet. */
const jwt = (payload: unknown, header: unknown = { alg: 'ES256' }) => [header, payload].map(part => Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url')).join('.') + '.c2ln'

t.test('Basic credentials that cannot be read are refused (RFC 6749 §2.3.1, RFC 7617 §2)', async t => {
  const table: Array<[authorization: string, message: RegExp]> = [
    ['', /^authorization: expected Basic/],
    ['Basic', /^authorization: expected Basic/],
    ['Basic ', /^authorization: expected Basic/],
    ['Basic ====', /^authorization: expected Basic/],
    ['Basic dG93bjpz dG93bjpz', /^authorization: expected Basic/],
    ['Basic dG93bjpz\n', /^authorization: expected Basic/],
    ['Basic dG93*jpz', /^authorization: expected Basic/],
    ['Basic =dG93bjpz', /^authorization: expected Basic/],
    ['Basicdzp0', /^authorization: expected Basic/],
    ['Bearer dG93bjpz', /^authorization: expected Basic/],
    ['Digest username="town"', /^authorization: expected Basic/],
    [' Basic dG93bjpz', /^authorization: expected Basic/],
    ['Basic A', /^authorization: expected client_id:client_secret/],
    [basic('town'), /^authorization: expected client_id:client_secret/],
    [basic('town%3Asecret'), /^authorization: expected client_id:client_secret/],
    [basic('town:100%'), /^authorization: expected percent-encoded/],
    [basic('town:%zz'), /^authorization: expected percent-encoded/],
    [basic('town:%ff'), /^authorization: expected percent-encoded/],
    [basic('to%wn:secret'), /^authorization: expected percent-encoded/],
    [basic('%E9:secret'), /^authorization: expected percent-encoded/]
  ]
  for (const [authorization, message] of table) {
    t.throws(() => readCredentials(authorization, {}), refusal(message), JSON.stringify(authorization))
    t.throws(() => readCredentials(authorization, { client_id: 'town', client_secret: secret }), refusal(message), `${JSON.stringify(authorization)}, right in the body`)
  }
})

t.test('a client authenticates by one method in each request (RFC 6749 §2.3)', async t => {
  const authorization = basic('town:secret')
  t.throws(() => readCredentials(authorization, { client_secret: 'secret' }), refusal(/one method in each request/))
  t.throws(() => readCredentials(authorization, { client_id: 'town', client_secret: 'secret' }), refusal(/one method in each request/))
  t.throws(() => readCredentials(authorization, { client_id: 'other' }), refusal(/^client_id: not the client that authenticates/))
  t.throws(() => readCredentials(authorization, { client_id: 'TOWN' }), refusal(/^client_id: not the client that authenticates/))
  t.strictSame(readCredentials(authorization, { client_id: 'town' }), { client_id: 'town', method: 'client_secret_basic', secret: 'secret' }, 'its own client_id beside it does no harm')
})

t.test('an assertion beside another method is two methods, whichever is right (RFC 6749 §2.3, RFC 7521 §4.2)', async t => {
  const assertion = { client_assertion: jwt({ sub: 'town' }), client_assertion_type: bearer }
  const authorization = basic('town:secret')
  for (const [what, sent, form] of [
    ['Basic', authorization, assertion],
    ['Basic and a client_id', authorization, { ...assertion, client_id: 'town' }],
    ['Basic of another client', basic('other:secret'), assertion],
    ['a secret in the body', undefined, { ...assertion, client_secret: 'secret' }],
    ['a secret in the body and a client_id', undefined, { ...assertion, client_id: 'town', client_secret: 'secret' }],
    ['an empty secret', undefined, { ...assertion, client_secret: '' }],
    ['all three', authorization, { ...assertion, client_id: 'town', client_secret: 'secret' }]
  ] as const) t.throws(() => readCredentials(sent, form), refusal(/one method in each request/), what)
})

t.test('an assertion of another type than a JWT is refused (RFC 7523 §2.2)', async t => {
  for (const client_assertion_type of [undefined, '', 'jwt-bearer', 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer', 'urn:ietf:params:oauth:grant-type:jwt-bearer', bearer.toUpperCase(), `${bearer} `]) {
    t.throws(() => readCredentials(undefined, { client_assertion: jwt({ sub: 'town' }), ...(client_assertion_type === undefined ? {} : { client_assertion_type }) }), refusal(/^client_assertion_type: /), client_assertion_type ?? 'none')
  }
})

t.test('an assertion that names no client is refused, and not quoted (RFC 7523 §3)', async t => {
  const others: Record<string, string> = {
    empty: '',
    'no JWT': 'Marie',
    'two parts': 'e30.e30',
    'five parts': 'e30.e30.e30.e30.e30',
    'a payload that is no JSON': jwt('Marie'),
    'a payload that is a text': jwt('"Marie"'),
    'a payload that is a list': jwt([{ sub: 'Marie' }]),
    'a payload that is null': jwt('null'),
    'an empty payload': 'e30..c2ln',
    'no sub': jwt({ iss: 'town' }),
    'a number': jwt({ sub: 1 }),
    'a list': jwt({ sub: ['town'] }),
    'an object': jwt({ sub: { toString: 'town' } }),
    nothing: jwt({ sub: null })
  }
  for (const [what, client_assertion] of Object.entries(others)) {
    for (const form of [{}, { client_id: 'town' }]) t.throws(() => readCredentials(undefined, { ...form, client_assertion, client_assertion_type: bearer }), { ...refusal(/^client_assertion: expected a JWT with a sub$/), cause: undefined }, what)
  }
})

t.test('an assertion by another client than the client_id beside it is refused (RFC 7521 §4.2)', async t => {
  const form = { client_assertion: jwt({ sub: 'town' }), client_assertion_type: bearer }
  for (const client_id of ['other', 'TOWN', '']) t.throws(() => readCredentials(undefined, { ...form, client_id }), refusal(/^client_id: not the client that authenticates/), client_id)
  for (const client_id of [undefined, 'town']) {
    t.strictSame(readCredentials(undefined, { ...form, ...(client_id === undefined ? {} : { client_id }) }), { client_id: 'town', method: 'private_key_jwt', assertion: form.client_assertion }, client_id ?? 'none')
  }
  t.equal(readCredentials(undefined, { ...form, client_assertion: jwt({ iss: 'somebody', sub: 'town', exp: 1 }, { alg: 'none' }) }).client_id, 'town', 'nothing is believed of it yet')
})

t.test('a request that names no client is refused', async t => {
  t.throws(() => readCredentials(undefined, {}), refusal(/^client_id: expected, or Basic credentials$/))
  t.throws(() => readCredentials(undefined, { client_secret: secret }), refusal(/^client_id: expected, or Basic credentials$/))
})

t.test('Basic credentials are form-encoded, and the first colon parts them (RFC 6749 §2.3.1)', async t => {
  const table: Array<[text: string, client_id: string, secret: string]> = [
    ['town:secret', 'town', 'secret'],
    ['town:se+cret', 'town', 'se cret'],
    ['town:se%2Bcret', 'town', 'se+cret'],
    ['town:se%20cret', 'town', 'se cret'],
    ['town:a:b:c', 'town', 'a:b:c'],
    ['to%3Awn:a%3Ab', 'to:wn', 'a:b'],
    ['town%2Dhall%5F1:%2D%5F%25', 'town-hall_1', '-_%'],
    ['town:%C3%A9', 'town', 'é'],
    ['town:', 'town', ''],
    [':secret', '', 'secret'],
    [':', '', '']
  ]
  for (const [text, client_id, secret] of table) t.strictSame(readCredentials(basic(text), {}), { client_id, method: 'client_secret_basic', secret }, text)
  t.equal(readCredentials(`bAsIc   ${base64('town:s')}`, {}).secret, 's', 'the scheme in any case, after it any number of spaces')
  t.equal(readCredentials(basic('town:s').replace(/=+$/, ''), {}).secret, 's', 'without padding')
})

t.test('credentials in the body are taken as they stand', async t => {
  t.strictSame(readCredentials(undefined, { client_id: 'town', client_secret: 'a+b%20:' }), { client_id: 'town', method: 'client_secret_post', secret: 'a+b%20:' })
  t.strictSame(readCredentials(undefined, { client_id: 'town' }), { client_id: 'town', method: 'none' })
})

t.test('who is not the client, or not any more, is refused in the same words', async t => {
  const failed = refusal(/^client authentication: failed$/)
  const table: Array<[what: string, client: AuthenticatedClient | undefined, credentials: Omit<Credentials, 'client_id'>]> = [
    ['a wrong secret', town, { method: 'client_secret_basic', secret: 'wrong' }],
    ['a secret in capitals', town, { method: 'client_secret_basic', secret: secret.toUpperCase() }],
    ['a secret and more', town, { method: 'client_secret_basic', secret: `${secret} ` }],
    ['the digest of a secret', town, { method: 'client_secret_basic', secret: secretDigest(secret).toString('hex') }],
    ['two secrets at once', town, { method: 'client_secret_basic', secret: `${secret}the next secret` }],
    ['a wrong secret in the body', post, { method: 'client_secret_post', secret: 'wrong' }],
    ['an empty secret', town, { method: 'client_secret_basic', secret: '' }],
    ['an empty secret in the body', post, { method: 'client_secret_post', secret: '' }],
    ['no secret', town, { method: 'client_secret_basic' }],
    ['an empty secret of a client that has none', { ...town, secrets: [] }, { method: 'client_secret_basic', secret: '' }],
    ['a secret that is in force no more', { ...town, secrets: town.secrets.slice(1) }, { method: 'client_secret_basic', secret }],
    ['a client that is not active', { ...town, active: false }, { method: 'client_secret_basic', secret }],
    ['a public client that is not active', { ...open, active: false }, { method: 'none' }],
    ['an unknown client', undefined, { method: 'client_secret_basic', secret }],
    ['an unknown client with an empty secret', undefined, { method: 'client_secret_basic', secret: '' }],
    ['an unknown client without a secret', undefined, { method: 'none' }],
    ['an unknown client with an assertion', undefined, { method: 'private_key_jwt', assertion: 'e30.e30.' }],
    ['a client with a key that is not active', { ...keyed, active: false }, { method: 'private_key_jwt', assertion: 'e30.e30.' }]
  ]
  for (const [what, client, credentials] of table) t.throws(() => authenticateClient(client, { client_id: 'town', ...credentials }), failed, what)
})

t.test('a client uses the method it is registered for and no other (OpenID Connect Core §9)', async t => {
  const table: Array<[client: AuthenticatedClient, method: Credentials['method']]> = [
    [town, 'client_secret_post'],
    [town, 'none'],
    [post, 'client_secret_basic'],
    [post, 'none'],
    [open, 'client_secret_basic'],
    [open, 'client_secret_post'],
    [{ ...open, secrets: town.secrets }, 'client_secret_post'],
    [{ ...town, token_endpoint_auth_method: 'private_key_jwt' }, 'client_secret_basic'],
    [{ ...town, token_endpoint_auth_method: 'private_key_jwt' }, 'client_secret_post'],
    [keyed, 'client_secret_basic'],
    [keyed, 'none'],
    [town, 'private_key_jwt'],
    [post, 'private_key_jwt'],
    [open, 'private_key_jwt']
  ]
  for (const [client, method] of table) {
    t.throws(() => authenticateClient(client, { client_id: 'town', method, ...(method === 'none' ? {} : { secret }) }),
      refusal(new RegExp(`^client authentication: expected ${client.token_endpoint_auth_method}$`)), `${method} for ${client.token_endpoint_auth_method}`)
  }
})

t.test('while secrets rotate either one in force will do', async t => {
  for (const one of [secret, 'the next secret']) {
    t.equal(authenticateClient(town, { client_id: 'town', method: 'client_secret_basic', secret: one }), town, one)
    t.equal(authenticateClient(post, { client_id: 'town', method: 'client_secret_post', secret: one }), post, one)
  }
  t.equal(authenticateClient(open, { client_id: 'town', method: 'none' }), open, 'a public client has none')
  t.equal(authenticateClient(keyed, { client_id: 'town', method: 'private_key_jwt', assertion: 'e30.e30.' }), keyed, 'nor has one with a key: its assertion is still to be checked')
})

t.test('what is kept of a secret is its SHA-256', async t => {
  t.equal(secretDigest('abc').toString('hex'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')   // FIPS 180-4, example 1
})

const now = 1771000000
const issuer = 'https://passerelle.example'
const standard = { client_id: 'town', audiences: [issuer, `${issuer}/token`], oneAudience: false, now }
const fapi2 = { ...standard, audiences: [issuer], oneAudience: true }
const claims = { iss: 'town', sub: 'town', aud: issuer, exp: now + 60, jti: 'j' }

/** What comes of the least assertion that will do, changed; a claim that is undefined is not there. */
const assert = (changes: Record<string, unknown> = {}, expected = standard, header: { typ?: unknown } = {}) =>
  checkAssertion(header, Object.fromEntries(Object.entries({ ...claims, ...changes }).filter(([, value]) => value !== undefined)), expected)
const wrong = (name: string) => refusal(new RegExp(`^client_assertion: ${name}: `))

t.test('a JWT of another kind is no assertion (RFC 8725 §3.11)', async t => {
  for (const typ of ['', 'dpop+jwt', 'logout+jwt', 'at+jwt', 'oauth-authz-req+jwt', 'client-authentication', 'client-authentication+jwt ', 'application/', 'text/jwt', 'xjwt', 'jwtx', null, 1, {}]) {
    t.throws(() => assert({}, standard, { typ }), wrong('typ'), JSON.stringify(typ))
  }
  for (const typ of [undefined, 'JWT', 'jwt', 'application/jwt', 'client-authentication+jwt', 'application/client-authentication+jwt', 'Client-Authentication+JWT']) t.doesNotThrow(() => assert({}, standard, { typ }), String(typ))
})

t.test('iss and sub of an assertion are both its client (RFC 7523 §3)', async t => {
  for (const name of ['iss', 'sub']) for (const value of [undefined, null, '', 'other', 'TOWN', ['town'], 1, issuer]) t.throws(() => assert({ [name]: value }), wrong('iss and sub'), `${name} ${JSON.stringify(value) ?? 'none'}`)
  t.throws(() => assert({ iss: 'other', sub: 'other' }), wrong('iss and sub'))
})

t.test('an assertion is for us and for nobody besides, so that nobody can pass on one that was meant for him (RFC 7523 §3)', async t => {
  const others: unknown[] = [
    undefined, null, '', [], 1, {}, { 0: issuer }, 'https://evil.example', 'https://evil.example/token', `${issuer}/`, `${issuer}/userinfo`, `${issuer}/token/`, issuer.toUpperCase(), `${issuer} https://evil.example`,
    ['https://evil.example'], [issuer, 'https://evil.example'], ['https://evil.example', issuer], [`${issuer}/token`, 'https://evil.example/token'], [issuer, ''], [issuer, null], [issuer, 1], [[issuer]], [[issuer], issuer]
  ]
  for (const aud of others) t.throws(() => assert({ aud }), wrong('aud'), JSON.stringify(aud) ?? 'none')
  for (const aud of [issuer, [issuer], `${issuer}/token`, [`${issuer}/token`], [issuer, `${issuer}/token`], [issuer, issuer]]) t.doesNotThrow(() => assert({ aud }), JSON.stringify(aud))
})

t.test('a fapi2 client means our issuer, as one string (FAPI 2.0 Security Profile §5.3.2.1)', async t => {
  for (const aud of [undefined, null, '', [issuer], [issuer, issuer], [], `${issuer}/token`, `${issuer}/par`, [`${issuer}/token`, issuer], 'https://evil.example', { 0: issuer }]) t.throws(() => assert({ aud }, fapi2), wrong('aud'), JSON.stringify(aud) ?? 'none')
  t.doesNotThrow(() => assert({}, fapi2))
})

t.test('an assertion that never ends, ended, or lives too long is refused: half a minute either way is forgiven (RFC 7523 §3)', async t => {
  for (const exp of [undefined, null, '', String(now + 60), true, [now + 60], {}, 0, -1, now - 31, now - 30, now - 30.001]) t.throws(() => assert({ exp }), wrong('exp'), `exp ${JSON.stringify(exp)}`)
  for (const exp of [now + 330.001, now + 331, now + 3600, Infinity, now * 1000]) t.throws(() => assert({ exp }), { ...wrong('exp'), message: /^client_assertion: exp: expected at most 300 seconds ahead$/ }, `exp ${exp}`)
  for (const exp of [now - 29, now - 29.999, now, now + 60, now + 300, now + 330]) t.doesNotThrow(() => assert({ exp }), `exp ${exp - now} s ahead`)
})

t.test('an assertion of the future is refused: half a minute is forgiven, a minute never (FAPI 2.0 Security Profile §5.3.2.1)', async t => {
  for (const name of ['nbf', 'iat']) {
    for (const time of [now + 30.001, now + 31, now + 60, Infinity, null, '', String(now), true, [now], {}]) t.throws(() => assert({ [name]: time }), wrong(name), `${name} ${JSON.stringify(time)}`)
    for (const time of [undefined, now + 30, now + 10, now, now - 86400, 0]) t.doesNotThrow(() => assert({ [name]: time }), `${name} ${time}`)
  }
})

t.test('an assertion has a name, so that it is used once, and not too long a one (RFC 7523 §3, §5)', async t => {
  for (const jti of [undefined, null, '', 1, true, ['j'], {}, 'a'.repeat(257)]) t.throws(() => assert({ jti }), wrong('jti'), JSON.stringify(jti)?.slice(0, 20) ?? 'none')
  for (const jti of ['j', ' ', 'a'.repeat(256)]) t.equal(assert({ jti }).jti, jti)
})

t.test('an assertion is remembered until no replica would take it any more, were its clock a minute behind', async t => {
  for (const exp of [now + 300, now + 60, now, now - 29, now + 60.5, now - 29.5]) {
    const { jti, seconds } = assert({ exp })
    t.equal(jti, 'j')
    t.ok(Number.isInteger(seconds) && seconds > 60, `a store keeps it for ${seconds} s`)
    const last = now + seconds - 60
    t.doesNotThrow(() => assert({ exp }, { ...standard, now: last - 1 }), `exp ${exp - now}: good until a second before`)
    t.throws(() => assert({ exp }, { ...standard, now: last }), wrong('exp'), `exp ${exp - now}: and not then`)
  }
})
