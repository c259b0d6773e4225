import { constants, createCipheriv, createHash, createHmac, diffieHellman, generateKeyPairSync, publicEncrypt, randomBytes, sign, type KeyObject } from 'node:crypto'
import type { JWK } from 'jose'
import type { SignatureAlgorithm } from './providers.ts'

// Tokens by node:crypto and by hand: cheap where many are made, and as wrong as they are told to be, which no library is.

/** A JOSE header (RFC 7515 §4, RFC 7516 §4). */
export type JoseHeader = Record<string, unknown> & { alg?: unknown, kid?: unknown, enc?: unknown }

/** A key pair that signs, with its public half as it is published. */
export interface SigningKey { kid: string, alg: SignatureAlgorithm, privateKey: KeyObject, publicKey: KeyObject, published: JWK }

/** What these providers sign by. */
export const signatureAlgorithms: readonly SignatureAlgorithm[] = ['RS256', 'PS256', 'ES256', 'EdDSA']

/** A new key pair for this algorithm. */
export function createSigningKey (alg: SignatureAlgorithm, kid = `${alg}-${randomBytes(4).toString('hex')}`, modulusLength = 2048): SigningKey {
  const { privateKey, publicKey } = alg === 'EdDSA'
    ? generateKeyPairSync('ed25519')
    : alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('rsa', { modulusLength })
  return { kid, alg, privateKey, publicKey, published: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' } }
}

/** A part of a token, encoded. */
export const part = (text: string | Buffer) => (typeof text === 'string' ? Buffer.from(text) : text).toString('base64url')

/** A JWS in its compact form (RFC 7515 §3.1), by the algorithm that its header names. */
export function jws (header: JoseHeader, payload: string, key: KeyObject | Uint8Array) {
  const text = `${part(JSON.stringify(header))}.${part(payload)}`
  return `${text}.${part(signature(String(header.alg), Buffer.from(text), key))}`
}

/** A signature (RFC 7518 §3.1, RFC 8037 §3.1): by a secret always HS256, by a key none where the algorithm is none of ours. */
export function signature (alg: string, text: Buffer, key: KeyObject | Uint8Array): Buffer {
  const hash = `sha${alg.slice(2)}`
  if (key instanceof Uint8Array) return createHmac('sha256', key).update(text).digest()
  if (/^(EdDSA|Ed25519)$/.test(alg)) return sign(null, text, key)
  if (/^RS\d{3}$/.test(alg)) return sign(hash, text, key)
  if (/^PS\d{3}$/.test(alg)) return sign(hash, text, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST })
  return /^ES\d{3}$/.test(alg) ? sign(hash, text, { key, dsaEncoding: 'ieee-p1363' }) : Buffer.alloc(0)
}

const keyBytes: Record<string, number> = { A128GCM: 16, A256GCM: 32, 'A128CBC-HS256': 32 }

/** A JWE in its compact form (RFC 7516 §3.1) for a public key, or for secret bytes by `dir`. */
export function jwe (header: JoseHeader & { alg: string, enc: string }, plaintext: string | Buffer, key: KeyObject | Uint8Array) {
  const { contentKey, encryptedKey = Buffer.alloc(0), more } = wrap(header, key)
  const head = part(JSON.stringify({ ...header, ...more }))
  const { iv, ciphertext, tag } = encrypt(header.enc, contentKey, Buffer.from(head), Buffer.from(plaintext))
  return [head, ...[encryptedKey, iv, ciphertext, tag].map(part)].join('.')
}

/** How the content's key reaches the recipient (RFC 7518 §4). */
function wrap ({ alg, enc }: { alg: string, enc: string }, key: KeyObject | Uint8Array): { contentKey: Uint8Array, encryptedKey?: Buffer, more?: object } {
  const length = keyBytes[enc]!
  if (key instanceof Uint8Array) return { contentKey: createHash('sha256').update(key).digest().subarray(0, length) }  // OpenID Connect Core §10.2
  if (alg.startsWith('RSA-OAEP')) {
    const contentKey = randomBytes(length)
    return { contentKey, encryptedKey: publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: alg === 'RSA-OAEP' ? 'sha1' : 'sha256' }, contentKey) }
  }
  const { privateKey, publicKey } = key.asymmetricKeyType === 'x25519' ? generateKeyPairSync('x25519') : generateKeyPairSync('ec', { namedCurve: key.asymmetricKeyDetails!.namedCurve! })
  const agreed = (name: string, bytes: number) => agree(diffieHellman({ privateKey, publicKey: key }), name, bytes)
  const more = { epk: publicKey.export({ format: 'jwk' }) }
  if (alg === 'ECDH-ES') return { contentKey: agreed(enc, length), more }
  const contentKey = randomBytes(length)
  const wrapping = createCipheriv('id-aes256-wrap', agreed(alg, 32), Buffer.alloc(8, 0xa6))
  return { contentKey, encryptedKey: Buffer.concat([wrapping.update(contentKey), wrapping.final()]), more }
}

/** The Concat KDF of RFC 7518 §4.6.2, one round of it, which is all that our keys need. */
function agree (secret: Buffer, name: string, bytes: number) {
  const number = (value: number) => { const four = Buffer.alloc(4); four.writeUInt32BE(value); return four }
  const nobody = number(0)
  return createHash('sha256').update(Buffer.concat([number(1), secret, number(name.length), Buffer.from(name), nobody, nobody, number(bytes * 8)])).digest().subarray(0, bytes)
}

/** The content, encrypted and authenticated (RFC 7518 §5). */
function encrypt (enc: string, key: Uint8Array, head: Buffer, plaintext: Buffer) {
  if (enc === 'A128CBC-HS256') {
    const iv = randomBytes(16)
    const cipher = createCipheriv('aes-128-cbc', key.subarray(16), iv)
    const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
    const headBits = Buffer.alloc(8)
    headBits.writeBigUInt64BE(BigInt(head.length * 8))
    const tag = createHmac('sha256', key.subarray(0, 16)).update(Buffer.concat([head, iv, ciphertext, headBits])).digest().subarray(0, 16)
    return { iv, ciphertext, tag }
  }
  const iv = randomBytes(12)
  const cipher = createCipheriv(enc === 'A128GCM' ? 'aes-128-gcm' : 'aes-256-gcm', key, iv).setAAD(head)
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return { iv, ciphertext, tag: cipher.getAuthTag() }
}
