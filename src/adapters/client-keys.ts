import { CompactEncrypt, decodeJwt, decodeProtectedHeader, errors, importJWK, type JSONWebKeySet, type JWTHeaderParameters } from 'jose'
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
        await keys.verify(jwt, spelled(algorithms))
        return { header: decodeProtectedHeader(jwt) as JWTHeaderParameters, claims: decodeJwt(jwt) }
      } catch (error) {
        if (isRefusal(error)) return undefined
        throw unavailable(error)
      }
    },

    async encrypter ({ alg, enc }) {
      const jwk = await keys.encryptionKey(alg).catch(cause => { throw unavailable(cause) })
      if (jwk === undefined) throw unavailable(new Error(`none of its keys is for ${alg}`))
      const key = await importJWK(jwk, alg).catch(cause => { throw unavailable(cause) })
      const header = { alg, enc, cty: 'JWT', ...(jwk.kid === undefined ? {} : { kid: jwk.kid }) }
      return jwt => new CompactEncrypt(Buffer.from(jwt)).setProtectedHeader(header).encrypt(key)
    }
  }
}

/** Whether the keys were had, and said no. */
const isRefusal = (error: unknown) => error instanceof errors.JOSEError && !(error instanceof errors.JWKSInvalid)
