import t from 'tap'
import Value from 'typebox/value'
import { AuthorizationParameters, checkAuthorizationRequest } from '../../src/protocol/authorization-request.ts'
import { knownClaims } from '../../src/protocol/claims.ts'
import { readCredentials } from '../../src/protocol/client-authentication.ts'
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

t.test('what a client signs may be signed by any algorithm that we check, by either name of EdDSA, and never by none (RFC 8414 §2, RFC 9864)', async t => {
  const ofClients = Object.entries(document).filter(([name]) => /^(request_object|token_endpoint_auth|introspection_endpoint_auth|revocation_endpoint_auth)_signing_alg_values_supported$/.test(name))
  t.equal(ofClients.length, 4)
  for (const [name, algorithms] of ofClients) t.strictSame(algorithms, ['RS256', 'ES256', 'PS256', 'EdDSA', 'Ed25519'], name)
  t.strictSame(document.dpop_signing_alg_values_supported, ['PS256', 'ES256', 'EdDSA', 'Ed25519'], 'and proofs of a key without RS256, whoever makes them (RFC 9449 §5.1, FAPI 2.0 Security Profile §5.4.1)')
})

t.test('what we sign is signed by the keys that we have, and by no other algorithm', async t => {
  for (const signs of [['RS256', 'ES256'], ['RS256', 'ES256', 'PS256', 'EdDSA']] as const) {
    const published = discoveryDocument({ issuer, acr_values: [], signs })
    for (const what of ['id_token', 'userinfo', 'introspection'] as const) t.strictSame(published[`${what}_signing_alg_values_supported`], signs, `${what} by ${signs}`)
  }
})

t.test('what we encrypt is encrypted by current algorithms only (RFC 8725 §3.2)', async t => {
  for (const what of ['id_token', 'userinfo', 'introspection'] as const) {
    t.strictSame(document[`${what}_encryption_alg_values_supported`], ['RSA-OAEP-256', 'ECDH-ES'], what)
    t.strictSame(document[`${what}_encryption_enc_values_supported`], ['A128GCM', 'A256GCM'], what)
  }
})

t.test('a data provider is never a public client; any other endpoint of clients knows all methods (RFC 8414 §2)', async t => {
  const methods = ['client_secret_basic', 'client_secret_post', 'private_key_jwt']
  t.strictSame(document.introspection_endpoint_auth_methods_supported, methods)
  for (const endpoint of ['token', 'revocation'] as const) t.strictSame(document[`${endpoint}_endpoint_auth_methods_supported`], [...methods, 'none'], endpoint)
  const sub = Buffer.from('{"sub":"town"}').toString('base64url')
  const read = [
    readCredentials(`Basic ${Buffer.from('town:s').toString('base64')}`, {}),
    readCredentials(undefined, { client_id: 'town', client_secret: 's' }),
    readCredentials(undefined, { client_assertion: `e30.${sub}.c2ln`, client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' }),
    readCredentials(undefined, { client_id: 'town' })
  ]
  t.strictSame(read.map(({ method }) => method), document.token_endpoint_auth_methods_supported, 'each is one that is read')
})

t.test('each way back, each prompt and each display that is published is taken', async t => {
  const client = {
    client_id: 'town', active: true, redirect_uris: ['https://town.example/'], scopes: [], claims: [], idp_hints: [], token_endpoint_auth_method: 'client_secret_basic', require_pkce: false, require_pushed_authorization_requests: false, require_signed_request_object: false
  }
  const asks = (changes: AuthorizationParameters) => checkAuthorizationRequest({ redirect_uri: 'https://town.example/', response_type: 'code', scope: 'openid', ...changes }, client, { levels: ['eidas1'] })
  for (const response_mode of document.response_modes_supported) t.doesNotThrow(() => asks({ response_mode }), response_mode)
  t.strictSame(document.prompt_values_supported, ['none', 'login', 'consent', 'select_account'])
  for (const prompt of document.prompt_values_supported) t.strictSame(asks({ prompt }).prompt, [prompt])
  for (const display of document.display_values_supported) t.ok(Value.Check(AuthorizationParameters, { display }) && asks({ display }), display)
  for (const scope of document.scopes_supported) t.ok(Value.Check(AuthorizationParameters, { scope }), scope)
})

t.test('requests may be pushed and signed, by value only, and need not be (RFC 9126 §5, OpenID Connect Discovery §3)', async t => {
  t.equal(document.request_parameter_supported, true)
  t.equal(document.require_pushed_authorization_requests, false)
  t.notOk('require_signed_request_object' in document, 'left out, it is false (RFC 9101 §10.5)')
  t.equal(document.claims_parameter_supported, true)
})

t.test('logout is told to the clients behind the citizen\'s back, by session, and never through the browser (Back-Channel Logout §2.1)', async t => {
  t.equal(document.backchannel_logout_supported, true)
  t.equal(document.backchannel_logout_session_supported, true)
  t.notOk(document.frontchannel_logout_supported)
  t.notOk('frontchannel_logout_session_supported' in document)
  t.notOk('check_session_iframe' in document)
})
