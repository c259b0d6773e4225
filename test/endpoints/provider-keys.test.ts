import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CompactEncrypt, SignJWT, compactDecrypt, createLocalJWKSet, importJWK, jwtVerify, type JWK } from 'jose'
import t, { type Test } from 'tap'
import { makeNextKeys } from '../../src/keys.ts'
import { temporaryDirectory } from '../support/gateway.ts'
import { base, testApp, type TestApp } from '../support/test-app.ts'

// What identity providers fetch: the keys that they encrypt for, and those that we prove ourselves by.

const path = `${base}/provider-keys`
const published = async ({ app }: TestApp) => (await app.inject(path)).json().keys as Array<JWK & { kid: string }>
const privateMembers = new Set(['d', 'p', 'q', 'dp', 'dq', 'qi', 'key_ops', 'x5t'])
const publicPart = (jwk: JWK) => createPublicKey(createPrivateKey({ key: jwk, format: 'jwk' })).export({ format: 'jwk' })

/** Our own keys in files, as they were made. */
const keysIn = (directory: string) => readdirSync(directory).map(file => JSON.parse(readFileSync(join(directory, file), 'utf8')) as JWK & { kid: string, nbf: number })

/** A key directory whose keys of decryption were renewed twice, each time long enough before it counts. */
function renewedKeys (t: Test, moments: number[]) {
  const directory = temporaryDirectory(t)
  for (const moment of moments) makeNextKeys(directory, moment)
  return { directory, keys: keysIn(directory).filter(({ alg, use }) => use === 'enc' && alg !== 'A256GCM') }
}

const begin = 1_800_000_000

type KeyAlgorithm = 'RS256' | 'PS256' | 'ES256' | 'EdDSA'
const generate = { RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }), PS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }), ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }), EdDSA: () => generateKeyPairSync('ed25519') }

/** A registration that proves us by a key of ours, and that key. */
function provenBy (t: Test, alg: KeyAlgorithm, more: JWK = {}) {
  const jwk = { ...generate[alg]().privateKey.export({ format: 'jwk' }), kid: `ours-${alg.toLowerCase()}`, alg, ...more }
  const file = join(temporaryDirectory(t), 'client.jwk')
  writeFileSync(file, JSON.stringify(jwk))
  return { jwk, registration: { token_endpoint_auth_method: 'private_key_jwt', client_key: { file }, client_secret: null } }
}

t.test('a provider finds the keys it encrypts for: one for each algorithm, public members only', async t => {
  const { directory, keys: own } = renewedKeys(t, [begin - 86400])
  const gateway = await testApp(t, { settings: { keys: directory } })
  const answer = await gateway.app.inject(path)
  t.match(answer, { statusCode: 200, headers: { 'content-type': /^application\/json/ } })
  const keys = await published(gateway)
  t.strictSame(keys.map(({ alg, use }) => `${use} ${alg}`).sort(), ['enc ECDH-ES', 'enc RSA-OAEP-256'])
  for (const key of keys) {
    const mine = own.find(({ kid }) => kid === key.kid)!
    t.strictSame({ ...key }, { ...publicPart(mine), kid: mine.kid, alg: mine.alg, use: 'enc' }, `${key.alg}: as in its file, but for what is private`)
    for (const { d } of keysIn(directory)) if (d !== undefined) t.notOk(answer.body.includes(d.slice(0, 16)), `${key.alg}: no private part of any key`)
    const jwe = await new CompactEncrypt(Buffer.from('for us alone')).setProtectedHeader({ alg: key.alg!, enc: 'A256GCM', kid: key.kid }).encrypt(await importJWK(key) as CryptoKey)
    t.equal(Buffer.from((await compactDecrypt(jwe, createPrivateKey({ key: mine, format: 'jwk' }))).plaintext).toString(), 'for us alone', `${key.alg}: and what is encrypted for it our key opens`)
  }
})

t.test('of several decryption keys the newest whose time has come is published, the old one until then', async t => {
  const { directory, keys } = renewedKeys(t, [begin - 86400, begin, begin + 3600])
  const gateway = await testApp(t, { settings: { keys: directory } })
  const since = async () => {
    const kids = (await published(gateway)).map(({ kid }) => kid)
    t.equal(kids.length, 2, 'one for each algorithm')
    return [...new Set(kids.map(kid => keys.find(key => key.kid === kid)!.nbf - begin))]
  }
  t.strictSame(await since(), [-86400])
  gateway.wait(1499)
  t.strictSame(await since(), [-86400], 'a second before')
  gateway.wait(1)
  t.strictSame(await since(), [1500], 'as its time comes')
  gateway.wait(3600 - 1)
  t.strictSame(await since(), [1500])
  gateway.wait(1)
  t.strictSame(await since(), [5100])
})

t.test('before the time of any decryption key the first to come is published: a provider that is set up early has one', async t => {
  const { directory, keys } = renewedKeys(t, [begin + 7200, begin + 9000])
  const gateway = await testApp(t, { settings: { keys: directory } })
  t.strictSame((await published(gateway)).map(({ kid }) => keys.find(key => key.kid === kid)!.nbf), [begin + 7200, begin + 7200])
})

t.test('keys that we prove ourselves by are published for signatures, and a provider can verify by them', async t => {
  const ways = { taxes: provenBy(t, 'RS256', { key_ops: ['sign'], x5t: 'a-mark', use: 'enc' }), post: provenBy(t, 'EdDSA'), quiet: provenBy(t, 'ES256'), works: provenBy(t, 'PS256') }
  const gateway = await testApp(t, { identityProviders: Object.fromEntries(Object.entries(ways).map(([id, { registration }]) => [id, registration])) })
  const { body } = await gateway.app.inject(path)
  const keys = await published(gateway)
  t.strictSame(keys.filter(({ use }) => use === 'sig').map(({ kid }) => kid).sort(), ['ours-eddsa', 'ours-es256', 'ours-ps256', 'ours-rs256'])
  for (const { jwk } of Object.values(ways)) {
    const key = keys.find(({ kid }) => kid === jwk.kid)!
    t.strictSame({ ...key }, { ...publicPart(jwk), kid: jwk.kid, alg: jwk.alg, use: 'sig' }, jwk.kid)
    for (const [name, value] of Object.entries(jwk)) if (privateMembers.has(name)) t.notOk(body.includes(String(value).slice(0, 16)), `${jwk.kid}: ${name} nowhere`)
    const proof = await new SignJWT({ sub: 'passerelle' }).setProtectedHeader({ alg: jwk.alg, kid: jwk.kid }).sign(await importJWK({ ...jwk, use: 'sig' }) as CryptoKey)
    t.equal((await jwtVerify(proof, createLocalJWKSet({ keys }))).payload.sub, 'passerelle', `${jwk.kid}: verifies`)
  }
})

t.test('one key that proves us at two providers is published once, and so can be found by its kid', async t => {
  const { jwk, registration } = provenBy(t, 'ES256')
  const gateway = await testApp(t, { identityProviders: { taxes: registration, post: registration } })
  const keys = await published(gateway)
  const proof = await new SignJWT({}).setProtectedHeader({ alg: 'ES256', kid: jwk.kid }).sign(await importJWK(jwk) as CryptoKey)
  await t.resolves(jwtVerify(proof, createLocalJWKSet({ keys })))
})

t.test('nothing else is published there: neither our signing keys, nor secrets, nor a certificate', async t => {
  const gateway = await testApp(t)
  const keys = await published(gateway)
  t.strictSame(keys.filter(({ use }) => use !== 'enc'), [], 'providers that have a secret of ours have no key of ours')
  const toClients = (await gateway.app.inject(`${base}/jwks`)).json().keys as JWK[]
  t.strictSame(toClients.filter(({ kid }) => keys.some(key => key.kid === kid)), [], 'clients and providers find different keys')
  t.notOk(toClients.some(({ use }) => use === 'enc'), 'what clients are sent is signed, and nobody encrypts for us there')
  t.notMatch((await gateway.app.inject(`${base}/.well-known/openid-configuration`)).body, 'provider-keys', 'clients are not told of it')
})

t.test('without a key for any provider the set is empty', async t => {
  const { directory } = renewedKeys(t, [begin - 86400])
  for (const file of readdirSync(directory)) if (/^(rsa-oaep|ecdh-es)/.test(file)) rmSync(join(directory, file))
  const gateway = await testApp(t, { settings: { keys: directory } })
  t.strictSame((await gateway.app.inject(path)).json(), { keys: [] })
})

t.test('it can be cached, and asked whether it changed', async t => {
  const { directory } = renewedKeys(t, [begin - 86400, begin])
  const gateway = await testApp(t, { settings: { keys: directory } })
  const first = await gateway.app.inject(path)
  t.match(first.headers, { 'cache-control': /^public, max-age=\d+$/, etag: /^(W\/)?"[^"]+"$/ })
  const asked = { url: path, headers: { 'if-none-match': String(first.headers.etag) } }
  t.match(await gateway.app.inject(asked), { statusCode: 304, body: '' })
  gateway.wait(1500)
  const renewed = await gateway.app.inject(asked)
  t.equal(renewed.statusCode, 200, 'a key whose time has come')
  t.not(renewed.headers.etag, first.headers.etag)
})

t.test('a store and providers that are away change nothing', async t => {
  const gateway = await testApp(t)
  gateway.store.fail()
  for (const provider of Object.values(gateway.providers)) provider.up = false
  t.equal((await gateway.app.inject(path)).statusCode, 200)
})
