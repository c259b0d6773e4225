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
