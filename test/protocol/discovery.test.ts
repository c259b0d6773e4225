import t from 'tap'
import { knownClaims } from '../../src/protocol/claims.ts'
import { discoveryDocument } from '../../src/protocol/discovery.ts'

const issuer = 'https://passerelle.example/api/v2'
const document = discoveryDocument({ issuer, acr_values: ['eidas1', 'eidas2'], signs: ['RS256', 'ES256'] })

t.test('we publish nothing that we refuse', async t => {
  t.strictSame(document.response_types_supported, ['code'])
  t.strictSame(document.response_modes_supported, ['query', 'form_post'])
  t.strictSame(document.grant_types_supported, ['authorization_code'])
  t.strictSame(document.code_challenge_methods_supported, ['S256'], 'plain is not offered (RFC 7636 §7.2)')
  t.strictSame(document.subject_types_supported, ['pairwise'])
  t.equal(document.request_uri_parameter_supported, false, 'left out, it would be true (OpenID Connect Discovery §3)')
  t.notOk(document.id_token_signing_alg_values_supported.includes('none' as never))
})

t.test('every endpoint stands below the issuer, and the issuer as it is configured (OpenID Connect Discovery §3)', async t => {
  const endpoints = Object.fromEntries(Object.entries(document).filter(([name]) => /_endpoint$|_uri$/.test(name)))
  t.strictSame(endpoints, {
    authorization_endpoint: `${issuer}/authorize`,
    pushed_authorization_request_endpoint: `${issuer}/par`,
    introspection_endpoint: `${issuer}/introspection`,
    revocation_endpoint: `${issuer}/revocation`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    end_session_endpoint: `${issuer}/session/end`
  })
  t.equal(document.issuer, issuer)
})

t.test('the levels are those in force', async t => {
  t.strictSame(document.acr_values_supported, ['eidas1', 'eidas2'])
})

t.test('RS256 is among the signatures, as it must be (OpenID Connect Discovery §3)', async t => {
  t.ok(document.id_token_signing_alg_values_supported.includes('RS256'))
})

t.test('our answers carry iss, and we say so (RFC 9207 §3)', async t => {
  t.equal(document.authorization_response_iss_parameter_supported, true)
})

t.test('every claim and every scope is published, each once', async t => {
  for (const [name, list] of Object.entries(document)) if (Array.isArray(list)) t.strictSame(list.filter((value, index) => list.indexOf(value) !== index), [], name)
  t.strictSame([...knownClaims, 'sub', 'acr', 'auth_time', 'sid'].filter(name => !document.claims_supported.includes(name)), [])
  for (const scope of ['openid', 'profile', 'birth', 'identite_pivot', 'email', 'phone', 'address', 'idp_id', 'amr']) t.ok(document.scopes_supported.includes(scope), scope)
})
