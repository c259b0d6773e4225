import { CompactEncrypt, errors, importJWK, type JSONWebKeySet, type JWK } from 'jose'
import type { ClientKeys } from '../ports.ts'
import { spelled } from '../protocol/algorithms.ts'
import { OAuthError } from '../protocol/errors.ts'
import { publishedKeys } from './published-keys.ts'

/** The keys of one client, registered themselves or by the address where it publishes them. */
export function clientKeys (fetchKeys: () => Promise<JSONWebKeySet>): ClientKeys {
  const keys = publishedKeys(fetchKeys)
  const unavailable = (cause: unknown) => new OAuthError('client_keys_unavailable', 'the keys of this client cannot be had', { cause })

  return {
    prefetch: () => keys.prefetch(),

    async verify (jwt, algorithms) {
      try {
        const { protectedHeader: header, payload } = await keys.verify(jwt, spelled(algorithms))
        const claims = claimsOf(payload)
        return header.crit === undefined && claims !== undefined ? { header, claims } : undefined  // RFC 7797 §7: no unencoded payload
      } catch (error) {
        if (isRefusal(error)) return undefined
        throw unavailable(error)
      }
    },

    async encrypter ({ alg, enc }) {
      const jwk = await keys.encryptionKey(alg).catch(cause => { throw unavailable(cause) })
      if (jwk === undefined) throw unavailable(new Error(`none of its keys is for ${alg}`))
      const key = await publicKey(jwk, alg).catch(cause => { throw unavailable(cause) })
      const header = { alg, enc, cty: 'JWT', ...(jwk.kid === undefined ? {} : { kid: jwk.kid }) }
      return jwt => new CompactEncrypt(Buffer.from(jwt)).setProtectedHeader(header).encrypt(key)
    }
  }
}

/** A key with nothing but its public part, as every algorithm here takes it: what could go wrong with it goes wrong now. */
async function publicKey ({ kty, crv, n, e, x, y }: JWK, alg: string) {
  const key = await importJWK({ kty, crv, n, e, x, y } as JWK, alg) as CryptoKey
  const { modulusLength = leastModulus } = key.algorithm as RsaHashedKeyAlgorithm
  if (modulusLength < leastModulus) throw new Error(`expected an RSA key of ${leastModulus} bits or more`)
  return key
}
const leastModulus = 2048

/** The claims of a JWT, undefined for any other payload. */
function claimsOf (payload: Uint8Array): Record<string, unknown> | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload).toString())
    return typeof claims === 'object' && claims !== null && !Array.isArray(claims) ? claims as Record<string, unknown> : undefined
  } catch { return undefined }
}

/** Whether the keys were had, and said no. */
const isRefusal = (error: unknown) => error instanceof errors.JOSEError && !(error instanceof errors.JWKSInvalid)
