import type { JWK } from 'jose'

// The algorithms of RFC 7518 and RFC 8037 that are spoken here, the same for all: asymmetric, current, and no other.

/** With which we sign. */
export const signingAlgorithms = ['RS256', 'ES256', 'PS256', 'EdDSA'] as const
export type SigningAlgorithm = typeof signingAlgorithms[number]

/** With which a FAPI 2.0 client signs, and we for it, and every DPoP proof is signed (FAPI 2.0 Security Profile §5.4.1). */
export const strictAlgorithms = ['PS256', 'ES256', 'EdDSA'] as const satisfies SigningAlgorithm[]

/** Those that a client may sign with: the registered one, else those of its profile. */
export const acceptedAlgorithms = (profile: 'standard' | 'fapi2', registered: SigningAlgorithm | undefined): readonly SigningAlgorithm[] =>
  registered === undefined ? profile === 'fapi2' ? strictAlgorithms : signingAlgorithms : [registered]

/** With which we encrypt for a client: how the key is wrapped or agreed on, and the content encrypted. */
export const encryptionAlgorithms = ['RSA-OAEP-256', 'ECDH-ES'] as const
export const contentEncryptions = ['A128GCM', 'A256GCM'] as const
export interface Encryption { alg: typeof encryptionAlgorithms[number], enc: typeof contentEncryptions[number] }

/** The names under which these may stand in a header of somebody else's: RFC 9864 calls EdDSA over Ed25519 by its full name. */
export const spelled = (algorithms: readonly SigningAlgorithm[]): string[] => algorithms.flatMap(alg => alg === 'EdDSA' ? ['EdDSA', 'Ed25519'] : [alg])

const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'] as const

/** Whether something in a JWK Set is a key (RFC 7517 §5). */
export const isJwk = (key: unknown): key is JWK => typeof key === 'object' && key !== null && typeof (key as JWK).kty === 'string'

/** Whether a JWK has no private member of any kind of key (RFC 7518 §6). */
export const isPublic = (jwk: JWK) => privateMembers.every(name => jwk[name] === undefined)

/** Whether a key is not said to be for something else (RFC 7517 §4.2, §4.3, §4.4). */
const isFor = ({ use, key_ops, alg }: JWK, { use: meant, operations, names }: { use: string, operations: string[], names: string[] }) =>
  (use === undefined || use === meant) && (key_ops === undefined || key_ops.some(operation => operations.includes(operation))) && (alg === undefined || names.includes(alg))

/** Characters of the modulus of an RSA key of 2,048 bits. */
const lengthOf2048 = 342

/** Whether a public key may wrap or agree on a key by this algorithm (RFC 7518 §4.3, §4.6). */
export function encrypts (jwk: JWK, alg: Encryption['alg']) {
  const { key_ops, ...anyUse } = jwk
  const { kty, crv = '', n } = jwk
  if (!isPublic(jwk)) return false
  if (alg === 'RSA-OAEP-256') return kty === 'RSA' && typeof n === 'string' && n.length >= lengthOf2048 && isFor(jwk, { use: 'enc', operations: ['wrapKey', 'encrypt'], names: [alg] })
  const curve = kty === 'EC' ? ['P-256', 'P-384', 'P-521'].includes(crv) : kty === 'OKP' && crv === 'X25519'
  // the public half of an agreement has no operation of its own
  return curve && isFor(key_ops?.length === 0 ? anyUse : jwk, { use: 'enc', operations: ['deriveKey', 'deriveBits'], names: [alg] })
}

/** Whether a public key verifies signatures by this algorithm (RFC 7518 §3, RFC 8037 §3.1). */
export function verifies (jwk: JWK, alg: SigningAlgorithm) {
  const { kty, crv } = jwk
  const fits = { RS256: kty === 'RSA', PS256: kty === 'RSA', ES256: crv === 'P-256', EdDSA: crv === 'Ed25519' }[alg]
  return fits && isFor(jwk, { use: 'sig', operations: ['verify'], names: spelled([alg]) })
}
