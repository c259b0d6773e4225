import t from 'tap'
import { acceptedAlgorithms, contentEncryptions, encryptionAlgorithms, signingAlgorithms, spelled, strictAlgorithms } from '../../src/protocol/algorithms.ts'

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
