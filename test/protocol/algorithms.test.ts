import type { JWK } from 'jose'
import t from 'tap'
import { acceptedAlgorithms, contentEncryptions, encryptionAlgorithms, encrypts, isPublic, signingAlgorithms, spelled, strictAlgorithms, verifies } from '../../src/protocol/algorithms.ts'

t.test('no algorithm of ours is symmetric, broken, or none (RFC 8725 §3.1, §3.2)', async t => {
  for (const alg of ['none', 'HS256', 'HS512', 'RS1', 'RSA1_5', 'RSA-OAEP', 'dir', 'A128KW', 'PBES2-HS256+A128KW', 'A128CBC-HS256', 'EdDSA448', 'ES256K']) {
    t.notOk([...spelled(signingAlgorithms), ...encryptionAlgorithms, ...contentEncryptions].includes(alg), alg)
  }
  t.strictSame(signingAlgorithms, ['RS256', 'ES256', 'PS256', 'EdDSA'])
  t.strictSame(encryptionAlgorithms, ['RSA-OAEP-256', 'ECDH-ES'])
  t.strictSame(contentEncryptions, ['A128GCM', 'A256GCM'])
})

t.test('FAPI 2.0 signs by PS256, ES256 and EdDSA, and by no PKCS #1 v1.5 (FAPI 2.0 Security Profile §5.4.1)', async t => {
  t.strictSame([...strictAlgorithms].sort(), ['ES256', 'EdDSA', 'PS256'])
})

t.test('a client signs with the algorithm that it registered and no other, else with those of its profile', async t => {
  for (const alg of signingAlgorithms) for (const profile of ['standard', 'fapi2'] as const) t.strictSame(acceptedAlgorithms(profile, alg), [alg], `${profile} ${alg}`)
  t.strictSame(acceptedAlgorithms('standard', undefined), signingAlgorithms)
  t.strictSame(acceptedAlgorithms('fapi2', undefined), strictAlgorithms)
})

t.test('EdDSA may be called by its full name in a header, any other by its own only (RFC 9864 §2.2)', async t => {
  t.strictSame(spelled(['EdDSA']), ['EdDSA', 'Ed25519'])
  t.strictSame(spelled(['RS256', 'ES256', 'PS256']), ['RS256', 'ES256', 'PS256'])
  t.strictSame(spelled(signingAlgorithms), ['RS256', 'ES256', 'PS256', 'EdDSA', 'Ed25519'])
  t.strictSame(spelled([]), [])
})

const n = 'x'.repeat(342)
const keys: Record<string, JWK> = { RSA: { kty: 'RSA', n, e: 'AQAB' }, 'P-256': { kty: 'EC', crv: 'P-256', x: 'x', y: 'y' }, 'P-384': { kty: 'EC', crv: 'P-384', x: 'x', y: 'y' }, Ed25519: { kty: 'OKP', crv: 'Ed25519', x: 'x' }, X25519: { kty: 'OKP', crv: 'X25519', x: 'x' } }

t.test('a key verifies by the algorithms of its kind, and by its own alone where it names one (RFC 7518 §3, RFC 8037 §3.1)', async t => {
  const table: Record<string, string[]> = { RSA: ['RS256', 'PS256'], 'P-256': ['ES256'], 'P-384': [], Ed25519: ['EdDSA'], X25519: [] }
  const of = (jwk: JWK) => signingAlgorithms.filter(alg => verifies(jwk, alg))
  for (const [kind, algorithms] of Object.entries(table)) t.same(of(keys[kind]!), algorithms, kind)
  t.same(of({ ...keys['RSA']!, alg: 'PS256' }), ['PS256'])
  t.same(of({ ...keys['P-256']!, alg: 'ECDH-ES' }), [])
  for (const alg of ['EdDSA', 'Ed25519']) t.same(of({ ...keys['Ed25519']!, alg }), ['EdDSA'], alg)
})

t.test('a key is used for what it says it is for, and a private one for nothing (RFC 7517 §4.2, §4.3)', async t => {
  const table: Array<[what: string, said: Partial<JWK>, verifies: boolean, encryptsByRsa: boolean, encryptsByCurve: boolean]> = [
    ['nothing', {}, true, true, true],
    ['signatures', { use: 'sig' }, true, false, false],
    ['encryption', { use: 'enc' }, false, true, true],
    ['something else', { use: 'tls' }, false, false, false],
    ['verify', { key_ops: ['verify'] }, true, false, false],
    ['sign', { key_ops: ['sign'] }, false, false, false],
    ['wrapKey', { key_ops: ['wrapKey'] }, false, true, false],
    ['encrypt', { key_ops: ['decrypt', 'encrypt'] }, false, true, false],
    ['deriveKey', { key_ops: ['deriveKey'] }, false, false, true],
    ['deriveBits', { key_ops: ['deriveBits', 'verify'] }, true, false, true],
    ['no operation, as the public half of an agreement', { key_ops: [] }, false, false, true]
  ]
  for (const [what, said, ...expected] of table) {
    t.same([verifies({ ...keys['P-256']!, ...said }, 'ES256'), encrypts({ ...keys['RSA']!, ...said }, 'RSA-OAEP-256'), encrypts({ ...keys['P-256']!, ...said }, 'ECDH-ES')], expected, what)
  }
  for (const name of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']) {
    for (const jwk of Object.values(keys)) t.notOk(isPublic({ ...jwk, [name]: 'x' }) || encrypts({ ...jwk, [name]: 'x' }, 'ECDH-ES') || encrypts({ ...jwk, [name]: 'x' }, 'RSA-OAEP-256'), `${name} is private`)
  }
  for (const jwk of Object.values(keys)) t.ok(isPublic(jwk))
})

t.test('what agrees on a key is a curve for that, what wraps one is RSA of 2,048 bits or more (RFC 7518 §4.3, §4.6)', async t => {
  const by = (alg: 'RSA-OAEP-256' | 'ECDH-ES') => Object.keys(keys).filter(kind => encrypts(keys[kind]!, alg))
  t.same(by('ECDH-ES'), ['P-256', 'P-384', 'X25519'])
  t.same(by('RSA-OAEP-256'), ['RSA'])
  t.notOk(encrypts({ ...keys['RSA']!, n: n.slice(1) }, 'RSA-OAEP-256'))
  t.notOk(encrypts({ ...keys['P-256']!, crv: 'secp256k1' }, 'ECDH-ES'))
  for (const kind of ['P-256', 'RSA']) t.notOk(encrypts({ ...keys[kind]!, crv: 'X25519' }, 'ECDH-ES'), `a curve that ${kind} has not`)
})
