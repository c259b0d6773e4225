import t from 'tap'
import { base, issuer, testApp } from '../support/test-app.ts'

const path = `${base}/.well-known/openid-configuration`

t.test('the metadata says what works (OpenID Connect Discovery §3)', async t => {
  const { app } = await testApp(t)
  const answer = await app.inject(path)
  t.match(answer, { statusCode: 200, headers: { 'content-type': /^application\/json/ } })
  const metadata = answer.json()
  t.match(metadata, {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    end_session_endpoint: `${issuer}/session/end`,
    response_types_supported: ['code'],
    subject_types_supported: ['pairwise'],
    acr_values_supported: ['eidas1', 'eidas2', 'eidas3'],
    authorization_response_iss_parameter_supported: true,
    request_parameter_supported: true,
    request_uri_parameter_supported: false,
    claims_parameter_supported: true
  })
  for (const [name, value] of Object.entries(metadata)) {
    if (!/_endpoint$|_uri$/.test(name)) continue
    const { statusCode } = await app.inject({ method: /^(token|pushed|introspection|revocation)/.test(name) ? 'POST' : 'GET', url: new URL(String(value)).pathname })
    t.not(statusCode, 404, `${name} is there`)
  }
})

t.test('it can be cached, and asked whether it changed', async t => {
  const { app } = await testApp(t)
  const first = await app.inject(path)
  t.match(first.headers, { 'cache-control': /^public, max-age=\d+$/, etag: /^(W\/)?"[^"]+"$/ })
  const etag = String(first.headers.etag)
  t.match(await app.inject({ url: path, headers: { 'if-none-match': etag } }), { statusCode: 304, body: '', headers: { etag, 'cache-control': /^public/ } })
  t.match(await app.inject({ url: path, headers: { 'if-none-match': `W/${etag}` } }), { statusCode: 304 }, 'a proxy that compressed it')
  t.match(await app.inject({ url: path, headers: { 'if-none-match': '"other"' } }), { statusCode: 200 })
  t.equal((await app.inject(path)).headers.etag, etag, 'as long as it is the same')
})

t.test('any page may read it, also after asking first', async t => {
  const { app } = await testApp(t)
  for (const url of [path, `${base}/jwks`]) {
    t.match((await app.inject({ url, headers: { origin: 'https://anyone.example' } })).headers, { 'access-control-allow-origin': '*' }, url)
    const preflight = await app.inject({ method: 'OPTIONS', url, headers: { origin: 'https://anyone.example', 'access-control-request-method': 'GET' } })
    t.match(preflight, { statusCode: 204, headers: { 'access-control-allow-origin': '*', 'access-control-allow-methods': /GET/ } }, `${url}: preflight`)
    t.equal(preflight.headers['access-control-allow-credentials'], undefined)
  }
})

t.test('it has one address', async t => {
  const { app } = await testApp(t)
  for (const url of ['/.well-known/openid-configuration', `${path}/`, `${base}/.well-known/openid-configuration/agency`, `${base}/.well-known/`]) t.equal((await app.inject(url)).statusCode, 404, url)
  t.equal((await app.inject(`${path}?x=1`)).statusCode, 200, 'a query changes nothing')
})
