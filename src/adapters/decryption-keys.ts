import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { compactDecrypt, type JWK } from 'jose'
import type { Encryption } from '../protocol/algorithms.ts'
import { OAuthError } from '../protocol/errors.ts'
import { checkEncryption } from '../protocol/provider-answer.ts'
import { keyInForce } from './key-in-force.ts'

/** A key of ours that identity providers encrypt for. */
export interface DecryptionKey {
  kid: string
  alg: Encryption['alg']
  privateKey: KeyObject
  /** its public JWK */
  published: JWK
  /** NumericDate, seconds: published from here on; it opens from the moment it is loaded */
  nbf: number
}

/** A decryption key from its private JWK (RFC 7517). @throws {Error} where the key does not fit its algorithm */
export function decryptionKey ({ kid, alg, nbf, ...jwk }: JWK & { kid: string, alg: Encryption['alg'], nbf: number }): DecryptionKey {
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' })
  const { asymmetricKeyType, asymmetricKeyDetails: { modulusLength = 0, namedCurve } = {} } = privateKey
  const fits = { 'RSA-OAEP-256': asymmetricKeyType === 'rsa' && modulusLength >= 2048, 'ECDH-ES': namedCurve === 'prime256v1' }[alg]
  if (!fits) throw new Error('the key does not fit its alg')
  return { kid, alg, nbf, privateKey, published: { ...createPublicKey(privateKey).export({ format: 'jwk' }), kid, alg, use: 'enc' } }
}

/** Of each algorithm the newest whose time has come: every replica can open what is encrypted for it. */
export const publishedDecryptionKeys = (keys: readonly DecryptionKey[], now: number): JWK[] =>
  [...new Set(keys.map(({ alg }) => alg))].map(alg => keyInForce(keys.filter(key => key.alg === alg), now)!.published)

/** Opens what identity providers encrypted for us, with the key it names, or else with any for its algorithm. */
export function decrypter (keys: () => readonly DecryptionKey[]) {
  /** What a JWE holds (RFC 7516 §5.2). @throws {OAuthError} provider_decryption_failed, and those of `checkEncryption` */
  return async (jwe: string, encryption: Encryption, what: string): Promise<string> => {
    const { kid } = checkEncryption(jwe, encryption, what)
    const able = keys().filter(key => key.alg === encryption.alg && (kid === undefined || key.kid === kid))
    for (const { privateKey } of able) {
      try {
        const { plaintext } = await compactDecrypt(jwe, privateKey, { keyManagementAlgorithms: [encryption.alg], contentEncryptionAlgorithms: [encryption.enc], maxDecompressedLength: 0 })
        return Buffer.from(plaintext).toString()
      } catch { /* not this one */ }
    }
    throw new OAuthError('provider_decryption_failed', `${what}: by none of our keys`)
  }
}
export type Decrypt = ReturnType<typeof decrypter>
