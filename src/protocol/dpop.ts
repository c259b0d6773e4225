import { createHash } from 'node:crypto'
import type { JWK } from 'jose'
import { clientClockTolerance, replicaClockTolerance } from './clock.ts'

/** A request that a DPoP proof is for. */
export interface ProvedRequest {
  method: string
  /** without query and fragment */
  url: string
  /** NumericDate, seconds */
  now: number
  /** the access token that is sent beside the proof */
  access_token?: string | undefined
}

/** Seconds: a proof is not older. */
const oldestProof = 300
/** Seconds for which a proof that was used is remembered: longer than any replica accepts it. */
export const proofSeconds = oldestProof + 2 * clientClockTolerance + replicaClockTolerance

/** Whether the key of a proof costs what keys cost: RSA of at most 4,096 bits with the usual exponent (a verification's price is its sender's choice otherwise). */
export const isOrdinaryKey = (jwk: JWK | undefined): jwk is JWK => typeof jwk === 'object' && jwk !== null && (jwk.kty !== 'RSA' || (jwk.e === 'AQAB' && typeof jwk.n === 'string' && jwk.n.length <= 683))

/** What is wrong with the claims of a DPoP proof whose signature was verified (RFC 9449 §4.3), undefined for nothing; its nonce is looked at elsewhere. */
export function faultOfProof ({ htm, htu, iat, jti, ath }: Record<string, unknown>, { method, url, now, access_token }: ProvedRequest): string | undefined {
  if (typeof jti !== 'string' || jti === '' || jti.length > 256) return 'jti: expected, 256 characters at most'
  if (htm !== method) return `htm: expected ${method}`
  if (withoutQuery(htu) !== url) return `htu: expected ${url}`
  if (typeof iat !== 'number' || iat < now - oldestProof || iat > now + clientClockTolerance) return 'iat: expected the present time'
  if (access_token !== undefined && ath !== createHash('sha256').update(access_token).digest('base64url')) return 'ath: expected the hash of the access token'
  return undefined
}

/** An address in its normal form (RFC 3986 §6.2.2, §6.2.3), without query and fragment. */
function withoutQuery (htu: unknown) {
  if (typeof htu !== 'string' || !URL.canParse(htu)) return undefined
  const { origin, pathname } = new URL(htu)
  return origin + pathname
}
