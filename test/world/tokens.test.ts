import { generateKeyPairSync } from 'node:crypto'
import { compactDecrypt, compactVerify, decodeProtectedHeader } from 'jose'
import t from 'tap'
import { createSigningKey, jwe, jws, signatureAlgorithms } from './tokens.ts'

t.test('what is signed by hand is what jose verifies (RFC 7515)', async t => {
  for (const alg of [...signatureAlgorithms, 'RS384', 'RS512', 'PS512', 'Ed25519']) {
    const key = createSigningKey(alg.startsWith('RS') ? 'RS256' : alg.startsWith('PS') ? 'PS256' : alg === 'ES256' ? 'ES256' : 'EdDSA')
    const token = jws({ alg, kid: key.kid }, '{"a":"é"}', key.privateKey)
    const { payload, protectedHeader } = await compactVerify(token, key.publicKey, { algorithms: [alg] })
    t.same([Buffer.from(payload).toString(), protectedHeader], ['{"a":"é"}', { alg, kid: key.kid }], alg)
    await t.rejects(compactVerify(token, createSigningKey(key.alg).publicKey), { code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' }, `${alg} by another key`)
  }
  const secret = Buffer.alloc(32, 'secret')
  t.ok(await compactVerify(jws({ alg: 'HS256' }, '{}', secret), secret), 'HS256 by a secret')
  t.match(jws({ alg: 'none' }, '{}', createSigningKey('ES256').privateKey), /^[\w-]+\.[\w-]+\.$/, 'and nothing signs by none')
})

t.test('what is encrypted by hand is what jose decrypts (RFC 7516)', async t => {
  const [rsa, p256, p521, x25519] = [generateKeyPairSync('rsa', { modulusLength: 2048 }), generateKeyPairSync('ec', { namedCurve: 'P-256' }), generateKeyPairSync('ec', { namedCurve: 'P-521' }), generateKeyPairSync('x25519')]
  const recipients = { 'RSA-OAEP': [rsa], 'RSA-OAEP-256': [rsa], 'ECDH-ES': [p256, p521, x25519], 'ECDH-ES+A256KW': [p256, p521, x25519] }
  const text = 'é'.repeat(1000)
  for (const [alg, pairs] of Object.entries(recipients)) {
    for (const { privateKey, publicKey } of pairs) {
      for (const enc of ['A128GCM', 'A256GCM', 'A128CBC-HS256']) {
        const token = jwe({ alg, enc, cty: 'JWT', kid: 'one' }, text, publicKey)
        const { plaintext, protectedHeader } = await compactDecrypt(token, privateKey, { keyManagementAlgorithms: [alg], contentEncryptionAlgorithms: [enc] })
        t.equal(Buffer.from(plaintext).toString(), text, `${alg} ${enc} ${publicKey.asymmetricKeyType}`)
        t.match(protectedHeader, { alg, enc, cty: 'JWT', kid: 'one' })
      }
    }
  }
})

t.test('a secret encrypts directly, by its digest (OpenID Connect Core §10.2)', async t => {
  const digest = await crypto.subtle.digest('SHA-256', Buffer.from('secret'))
  for (const [enc, bytes] of [['A128GCM', 16], ['A256GCM', 32], ['A128CBC-HS256', 32]] as const) {
    const token = jwe({ alg: 'dir', enc }, 'text', Buffer.from('secret'))
    t.equal(Buffer.from((await compactDecrypt(token, new Uint8Array(digest).subarray(0, bytes))).plaintext).toString(), 'text', enc)
    t.same(decodeProtectedHeader(token), { alg: 'dir', enc })
  }
})
