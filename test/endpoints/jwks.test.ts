import t from 'tap'
import { base, testApp } from '../support/test-app.ts'

const path = `${base}/jwks`

t.test('the public keys are published, and nothing else of them (RFC 7517 §5)', async t => {
  const { app } = await testApp(t)
  const { keys } = (await app.inject(path)).json() as { keys: Array<Record<string, unknown>> }
  t.strictSame(keys.map(({ alg }) => alg).sort(), ['ES256', 'EdDSA', 'PS256', 'RS256'])
  for (const key of keys) {
    t.match(key, { kid: /./, use: 'sig', kty: /^(RSA|EC|OKP)$/ })
    t.strictSame(Object.keys(key).filter(name => ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth', 'nbf'].includes(name)), [], 'no private member')
  }
  t.equal(new Set(keys.map(({ kid }) => kid)).size, keys.length)
})

t.test('it can be cached, and asked whether it changed', async t => {
  const { app } = await testApp(t)
  const first = await app.inject(path)
  t.match(first.headers, { 'cache-control': /^public, max-age=\d+$/, etag: /^(W\/)?"[^"]+"$/, 'content-type': /json/ })
  const same = await app.inject({ url: path, headers: { 'if-none-match': String(first.headers.etag) } })
  t.match(same, { statusCode: 304, body: '' })
  t.equal((await app.inject({ url: path, headers: { 'if-none-match': '"x"' } })).statusCode, 200)
})

t.test('a store and providers that are away change nothing', async t => {
  const gateway = await testApp(t)
  gateway.store.fail()
  for (const provider of Object.values(gateway.providers)) provider.up = false
  t.equal((await gateway.app.inject(path)).statusCode, 200)
  t.equal((await gateway.app.inject(`${base}/.well-known/openid-configuration`)).statusCode, 200)
})
