import { createHash } from 'node:crypto'
import { compactDecrypt, createLocalJWKSet, decodeJwt, decodeProtectedHeader, importJWK, jwtVerify, type JSONWebKeySet, type JWK } from 'jose'
import { generateKeyPairSync } from 'node:crypto'
import t, { type Test } from 'tap'
import { clientDesk, inDevelopment } from '../support/client-desk.ts'
import { createEncryptionKey, keyHolder } from '../support/client-keys.ts'
import { createForgedKey } from '../support/forging-provider.ts'
import { base, citizen, jsonOf, testApp, type Json, type TestApp } from '../support/test-app.ts'

const signing = ['RS256', 'ES256', 'PS256', 'EdDSA'] as const
const encryptions = [undefined, ...(['RSA-OAEP-256', 'ECDH-ES'] as const).flatMap(alg => (['A128GCM', 'A256GCM'] as const).map(enc => ({ alg, enc })))]
const keys = { 'RSA-OAEP-256': createEncryptionKey('RSA-OAEP-256', 'rsa'), 'ECDH-ES': createEncryptionKey('ECDH-ES', 'ec') }
const jwks = { keys: Object.values(keys).map(({ published }) => published) }

/** What a registration says of one of its answers. */
const registered = (purpose: 'id_token' | 'userinfo' | 'introspection', alg: string, encryption: typeof encryptions[number]) => ({
  [`${purpose}_signed_response_alg`]: alg,
  ...(encryption === undefined ? {} : { [`${purpose}_encrypted_response_alg`]: encryption.alg, [`${purpose}_encrypted_response_enc`]: encryption.enc })
})

/** Reads a JWT as its client would: decrypted by its own key, verified by ours. */
async function read (t: Test, gateway: TestApp, text: string, audience: string, alg: string, encryption: typeof encryptions[number], typ: string, name: string) {
  let signed = text
  if (encryption !== undefined) {
    const key = keys[encryption.alg]
    t.match(decodeProtectedHeader(text), { ...encryption, kid: key.kid, cty: 'JWT' }, `${name}: encrypted to the client's key`)
    const { plaintext } = await compactDecrypt(text, key.privateKey, { keyManagementAlgorithms: [encryption.alg], contentEncryptionAlgorithms: [encryption.enc] })
    signed = Buffer.from(plaintext).toString()
  }
  t.strictSame(Object.keys(decodeProtectedHeader(signed)).sort(), ['alg', 'kid', 'typ'], `${name}: its header`)
  const ours = jsonOf(await gateway.app.inject(`${base}/jwks`)).body as unknown as JSONWebKeySet
  const { payload, protectedHeader } = await jwtVerify(signed, createLocalJWKSet(ours), { issuer: gateway.issuer, audience, algorithms: [alg], currentDate: new Date(gateway.now() * 1000), typ })
  t.equal(protectedHeader.alg, alg, `${name}: signed by ${alg}`)
  return { payload, signed }
}

const nameOf = (alg: string, encryption: typeof encryptions[number]) => encryption === undefined ? alg : `${alg} in ${encryption.alg} ${encryption.enc}`

t.test('an ID Token is signed by each algorithm and encrypted by each, and says the same (OpenID Connect Core §2, §3.1.3.6)', async t => {
  for (const alg of signing) {
    for (const encryption of encryptions) {
      const name = nameOf(alg, encryption)
      const gateway = await testApp(t, { clients: { agency: { jwks, ...registered('id_token', alg, encryption) } } })
      const arrival = await gateway.browser().logIn('agency')
      const { body } = await gateway.redeem(arrival)
      const { payload } = await read(t, gateway, body['id_token'], 'agency', alg, encryption, 'JWT', name)
      t.match(payload, { nonce: arrival.parameters['nonce'], acr: 'eidas1', sid: /./, sub: /v1$/, exp: gateway.now() + 60 }, `${name}: its claims`)
      const digest = createHash(alg === 'EdDSA' ? 'sha512' : 'sha256').update(body['access_token']).digest()
      t.equal(payload['at_hash'], digest.subarray(0, digest.length / 2).toString('base64url'), `${name}: at_hash`)
      if (encryption !== undefined) t.throws(() => decodeJwt(body['id_token']), `${name}: nobody else reads it`)
    }
  }
})

t.test('userinfo is signed by each algorithm and encrypted by each, and is no ID Token (OpenID Connect Core §5.3.2)', async t => {
  for (const alg of signing) {
    for (const encryption of encryptions) {
      const name = nameOf(alg, encryption)
      const gateway = await testApp(t, { clients: { agency: { jwks, ...registered('userinfo', alg, encryption) } } })
      const { body } = await gateway.redeem(await gateway.browser().logIn('agency', { changes: { scope: 'openid email' } }))
      const answer = await gateway.userinfo(body['access_token'])
      t.match(answer, { status: 200, headers: { 'content-type': /^application\/jwt(;|$)/, 'cache-control': 'no-store' } }, name)
      const { payload } = await read(t, gateway, answer.text, 'agency', alg, encryption, 'JWT', name)
      t.strictSame(payload, { iss: gateway.issuer, aud: 'agency', iat: gateway.now(), sub: decodeJwt(body['id_token']).sub, email: citizen.email }, `${name}: these and no other claims`)
      t.match(jsonOf(await gateway.app.inject({ method: 'POST', url: `${base}/userinfo`, headers: { authorization: `Bearer ${body['access_token']}` } })).headers, { 'content-type': /^application\/jwt/ }, `${name}: by POST`)
      t.match(await gateway.userinfo('x'), { status: 401, headers: { 'content-type': /^application\/json/, 'www-authenticate': /invalid_token/ } }, `${name}: a refusal is JSON`)
    }
  }
})

t.test('an introspection is signed by each algorithm and encrypted by each, for the data provider only (RFC 9701 §5)', async t => {
  for (const alg of signing) {
    for (const encryption of encryptions) {
      const name = nameOf(alg, encryption)
      const gateway = await testApp(t, { clients: { archive: { jwks, ...registered('introspection', alg, encryption) } } })
      const { body } = await gateway.redeem(await gateway.browser().logIn('agency', { changes: { scope: 'openid email' } }))
      for (const [token, expected] of [[body['access_token'], { active: true, iss: gateway.issuer, sub: /v1$/, scope: 'openid email', acr: 'eidas1', exp: gateway.now() + 60, token_type: 'Bearer' }], ['x', { active: false }]] as const) {
        const answer = await gateway.postAs('archive', '/introspection', { token })
        t.match(answer, { status: 200, headers: { 'content-type': /^application\/token-introspection\+jwt(;|$)/, 'cache-control': 'no-store' } }, name)
        const { payload } = await read(t, gateway, answer.text, 'archive', alg, encryption, 'token-introspection+jwt', name)
        const { token_introspection, ...others } = payload
        t.strictSame(others, { iss: gateway.issuer, aud: 'archive', iat: gateway.now() }, `${name}: and nothing of the token beside it`)
        t.match(token_introspection, expected, name)
        t.strictSame(Object.keys(token_introspection as object).sort(), Object.keys(expected).sort(), `${name}: nothing else`)
      }
    }
  }
})

t.test('what one client is written another cannot read, and each reads what it registered', async t => {
  const other = createEncryptionKey('RSA-OAEP-256')
  const gateway = await testApp(t, {
    clients: {
      agency: { jwks, ...registered('id_token', 'ES256', { alg: 'RSA-OAEP-256', enc: 'A256GCM' }) },
      town: { jwks: { keys: [other.published] }, ...registered('userinfo', 'ES256', { alg: 'RSA-OAEP-256', enc: 'A128GCM' }) }
    }
  })
  const agency = await gateway.redeem(await gateway.browser().logIn('agency'))
  const town = await gateway.redeem(await gateway.browser().logIn('town'))
  const mobile = await gateway.redeem(await gateway.browser().logIn('mobile'))
  await t.rejects(compactDecrypt(agency.body['id_token'], other.privateKey))
  await t.rejects(compactDecrypt((await gateway.userinfo(town.body['access_token'])).text, keys['RSA-OAEP-256'].privateKey))
  t.match(decodeProtectedHeader(town.body['id_token']), { alg: 'ES256', enc: undefined }, 'only what was registered is encrypted')
  t.match((await gateway.userinfo(agency.body['access_token'])).headers, { 'content-type': /^application\/json/ })
  t.match((await gateway.userinfo(mobile.body['access_token'])).headers, { 'content-type': /^application\/json/ })
})

t.test('it is encrypted to a key that is for it, whatever else the client has', async t => {
  const pair = (options: { namedCurve: string } | 'x25519') => options === 'x25519' ? generateKeyPairSync('x25519') : generateKeyPairSync('ec', options)
  for (const [name, curve] of Object.entries({ 'P-256': { namedCurve: 'P-256' }, 'P-384': { namedCurve: 'P-384' }, 'P-521': { namedCurve: 'P-521' }, X25519: 'x25519' as const })) {
    const { publicKey, privateKey } = pair(curve)
    const published: JWK = { ...publicKey.export({ format: 'jwk' }), kid: 'wanted' }
    const decoys: JWK[] = [
      createForgedKey('ES256').published,
      { ...createEncryptionKey('ECDH-ES').published, alg: 'ECDH-ES+A128KW' },
      { ...createEncryptionKey('ECDH-ES').published, use: 'sig' },
      createEncryptionKey('RSA-OAEP-256').published,
      createForgedKey('EdDSA').published
    ]
    const gateway = await testApp(t, { clients: { agency: { jwks: { keys: [...decoys, published] }, ...registered('id_token', 'ES256', { alg: 'ECDH-ES', enc: 'A256GCM' }) } } })
    const { body } = await gateway.redeem(await gateway.browser().logIn('agency'))
    t.match(decodeProtectedHeader(body['id_token']), { kid: 'wanted', epk: { crv: name } }, name)
    t.ok((await compactDecrypt(body['id_token'], privateKey)).plaintext, name)
  }
  const nameless = createEncryptionKey('ECDH-ES')
  const { kid, ...published } = nameless.published
  const gateway = await testApp(t, { clients: { agency: { jwks: { keys: [published] }, ...registered('id_token', 'ES256', { alg: 'ECDH-ES', enc: 'A128GCM' }) } } })
  const { body } = await gateway.redeem(await gateway.browser().logIn('agency'))
  t.equal(decodeProtectedHeader(body['id_token']).kid, undefined, 'a key without a name')
  t.ok(await compactDecrypt(body['id_token'], await importJWK(nameless.privateKey.export({ format: 'jwk' }) as JWK, 'ECDH-ES')))
})

t.test('none of our other JWTs passes for an ID Token that names a session (RFC 8725 §3.11)', async t => {
  const gateway = await testApp(t, {
    clients: {
      agency: { jwks, introspection: true, userinfo_signed_response_alg: 'RS256', introspection_signed_response_alg: 'RS256', id_token_signed_response_alg: 'RS256', id_token_encrypted_response_alg: 'ECDH-ES', backchannel_logout_uri: 'https://agency.example/logout' }
    }
  })
  const browser = gateway.browser()
  const { body } = await gateway.redeem(await browser.logIn('agency'))
  const id_token = body['id_token'] as string
  const { plaintext } = await compactDecrypt(id_token, keys['ECDH-ES'].privateKey)
  const told: string[] = []
  gateway.app.clientCalls.post = async (_, { logout_token }) => { told.push(logout_token!); return 200 }
  const userinfo = (await gateway.userinfo(body['access_token'])).text
  const introspection = (await gateway.postAs('agency', '/introspection', { token: body['access_token'] })).text
  const wrong: Record<string, string> = { userinfo, introspection, 'the ID Token, still encrypted': id_token }
  for (const [name, hint] of Object.entries(wrong)) {
    t.equal((await browser.start('agency', { id_token_hint: hint })).page.query.get('error'), 'invalid_request', `${name} at /authorize`)
    t.match(await browser.get(`${base}/session/end?id_token_hint=${hint}`), { status: 400, code: 'E01' }, `${name} at /session/end`)
  }
  t.equal((await browser.start('agency', { id_token_hint: Buffer.from(plaintext).toString(), prompt: 'none' })).page.query.get('error'), null, 'the ID Token, decrypted, is one')
  await browser.get(`${base}/session/end?id_token_hint=${Buffer.from(plaintext).toString()}`)
  while (told.length === 0) await new Promise(resolve => setTimeout(resolve, 1))
  const { plaintext: logout } = await compactDecrypt(told[0]!, keys['ECDH-ES'].privateKey)
  t.match(await gateway.browser().get(`${base}/session/end?id_token_hint=${Buffer.from(logout).toString()}`), { status: 400, code: 'E01' }, 'a logout token is none')
})

// The clock that says how old keys are goes ahead as a test says.
const monotonic = performance.now.bind(performance)
let aheadMs = 0
performance.now = () => monotonic() + aheadMs
t.afterEach(() => { aheadMs = 0 })

function isAway (t: Test, { status, headers, body }: Json, name: string) {
  t.match({ status, headers, body }, { status: 503, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store', 'content-type': /^application\/json/ }, body: { error: 'temporarily_unavailable' } }, name)
  t.strictSame([headers['www-authenticate'], body['active'], body['id_token'], body['access_token'], body['sub']], [undefined, undefined, undefined, undefined, undefined], `${name}: nothing else`)
}

t.test('while the key to encrypt to cannot be had nothing is written, and the code is left unspent', async t => {
  const desk = await clientDesk(t)
  const key = createEncryptionKey('ECDH-ES', 'wanted')
  for (const purpose of ['id_token', 'userinfo', 'introspection'] as const) {
    await desk.stop()
    desk.keys = []
    aheadMs = 0
    const gateway = await testApp(t, { settings: inDevelopment, clients: { agency: { introspection: true, jwks_uri: `${desk.origin}/jwks`, ...registered(purpose, 'ES256', { alg: 'ECDH-ES', enc: 'A256GCM' }) } } })
    const arrival = await gateway.browser().logIn('agency')
    const holder = await keyHolder(gateway)
    const { body } = purpose === 'id_token' ? { body: {} as Record<string, string> } : await gateway.redeem(arrival)
    const ask = async () => purpose === 'id_token' ? gateway.redeem(arrival, {}, 'agency', holder) : purpose === 'userinfo' ? gateway.userinfo(body['access_token']!) : gateway.postAs('agency', '/introspection', { token: body['access_token'] })
    isAway(t, await ask(), `${purpose}: nobody listens`)
    await desk.resume()
    isAway(t, await ask(), `${purpose}: an empty set`)
    desk.keys = [createForgedKey('ES256').published, createEncryptionKey('RSA-OAEP-256').published]
    isAway(t, await ask(), `${purpose}: keys for something else`)
    desk.keys = [{ ...key.published, x: 'x' }]
    aheadMs += 30_000
    isAway(t, await ask(), `${purpose}: a key that is none`)
    desk.keys = [key.published]
    aheadMs += 5 * 60_000
    let answer = await ask()
    for (let tries = 0; answer.status === 503 && tries < 50; tries++, await new Promise(resolve => setTimeout(resolve, 10))) answer = await ask()  // asked for behind its back
    t.equal(answer.status, 200, `${purpose}: and then it is written`)
    const jwt = purpose === 'id_token' ? answer.body['id_token'] : answer.text
    t.match(decodeProtectedHeader(jwt), { kid: 'wanted', alg: 'ECDH-ES' }, purpose)
    t.ok(await compactDecrypt(jwt, key.privateKey), purpose)
    t.equal(gateway.events('token').length, 1, `${purpose}: tokens were given once`)
    if (purpose === 'id_token') t.match(await gateway.redeem(arrival, {}, 'agency', holder), { status: 400, body: { error: 'invalid_grant' } }, 'and the code is good once')
  }
})
