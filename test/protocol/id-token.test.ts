import t from 'tap'
import { createSecretKey } from 'node:crypto'
import type { Grant } from '../../src/protocol/grant.ts'
import { accessTokenHash, idTokenClaims } from '../../src/protocol/id-token.ts'
import { clientSessionId } from '../../src/protocol/subject.ts'

const secret = createSecretKey(Buffer.alloc(32, 1))
const issue = { issuer: 'https://passerelle.example', now: 1771000000, lifeSeconds: 60, access_token: 'jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y', alg: 'ES256' as const, secret }
const grant: Grant = {
  login: 'l', client_id: 'town', redirect_uri: 'https://town.example/back', scopes: ['openid', 'profile'], code_challenge: 'c', sub: 'the sub', person: 'p', claims: { family_name: 'DUBOIS' }, acr: 'eidas2', amr: ['pwd'], auth_time: 1770999900, idp: 'taxes', identifiedAt: 1770999950, issuedAt: 1770999990, sid: 'the sid'
}
const told = {
  iss: 'https://passerelle.example',
  sub: 'the sub',
  aud: 'town',
  iat: 1771000000,
  exp: 1771000060,
  auth_time: 1770999900,
  acr: 'eidas2',
  sid: clientSessionId(secret, 'the sid', 'town'),
  at_hash: '77QmUPtjPfzWtF2AnpK9RQ'
}

t.test('an ID Token says who, for whom, when and how, and nothing of the identity (OpenID Connect Core §2)', async t => {
  t.strictSame(idTokenClaims(grant, issue), told)
})

t.test('claims that were asked cannot take the place of what the ID Token says itself', async t => {
  const forged = { iss: 'evil', sub: 'evil', aud: 'evil', iat: 1, exp: 9e9, auth_time: 1, nonce: 'evil', acr: 'eidas3', amr: ['evil'], sid: 'evil', at_hash: 'evil' }
  t.strictSame(idTokenClaims({ ...grant, nonce: 'n', scopes: ['openid', 'amr'], idTokenClaims: forged }, issue), { ...told, nonce: 'n', amr: ['pwd'] })
})

t.test('the nonce is the one of the request, or not there (OpenID Connect Core §2)', async t => {
  t.strictSame(idTokenClaims({ ...grant, nonce: 'n-0S6_WzA2Mj' }, issue), { ...told, nonce: 'n-0S6_WzA2Mj' })
  t.equal('nonce' in idTokenClaims(grant, issue), false)
})

t.test('amr is told to those who asked, by scope or one by one', async t => {
  t.strictSame(idTokenClaims({ ...grant, scopes: ['openid', 'amr'] }, issue), { ...told, amr: ['pwd'] })
  t.strictSame(idTokenClaims({ ...grant, idTokenClaims: { amr: ['pwd'], family_name: 'DUBOIS' } }, issue), { ...told, amr: ['pwd'], family_name: 'DUBOIS' })
})

t.test('a sid is told apart for each client (Back-Channel Logout §2.1)', async t => {
  t.not(idTokenClaims({ ...grant, client_id: 'taxes' }, issue).sid, told.sid)
  t.not(told.sid, grant.sid)
})

t.test('at_hash is the left half of the hash of the signature\'s algorithm (OpenID Connect Core §3.1.3.6)', async t => {
  for (const alg of ['RS256', 'ES256', 'PS256'] as const) t.equal(accessTokenHash(issue.access_token, alg), '77QmUPtjPfzWtF2AnpK9RQ', `${alg}, as in appendix A.3`)
  t.not(idTokenClaims(grant, { ...issue, access_token: 'another' }).at_hash, told.at_hash)
  // SHA-512 within Ed25519 (RFC 8032 §5.1): printf %s jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y | openssl dgst -sha512 -binary | head -c 32 | basenc --base64url
  const half = 'q7nS86GgvvFaZkzALLWqJYaJIKw2wCDAVfCAsm5CrBM'
  t.equal(accessTokenHash(issue.access_token, 'EdDSA'), half)
  t.strictSame(idTokenClaims(grant, { ...issue, alg: 'EdDSA' }), { ...told, at_hash: half })
})
