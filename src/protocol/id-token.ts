import { createHash } from 'node:crypto'
import { clientSessionId } from './subject.ts'
import type { KeyObject } from 'node:crypto'
import type { Grant } from './grant.ts'

interface Issue {
  issuer: string
  /** NumericDate, seconds */
  now: number
  lifeSeconds: number
  access_token: string
  /** the secret behind `sub`, which also tells `sid` apart for each client */
  secret: KeyObject
}

/** `at_hash` for the algorithms of SHA-256 (OpenID Connect Core §3.1.3.6). */
export const accessTokenHash = (access_token: string) => createHash('sha256').update(access_token).digest().subarray(0, 16).toString('base64url')

/** The claims of an ID Token (OpenID Connect Core §2): who, for whom, when and how; what the citizen is called is said at userinfo. */
export function idTokenClaims (grant: Grant, { issuer, now, lifeSeconds, access_token, secret }: Issue) {
  return {
    ...grant.idTokenClaims,
    iss: issuer,
    sub: grant.sub,
    aud: grant.client_id,
    iat: now,
    exp: now + lifeSeconds,
    auth_time: grant.auth_time,
    ...(grant.nonce === undefined ? {} : { nonce: grant.nonce }),
    acr: grant.acr,
    ...(grant.scopes.includes('amr') ? { amr: grant.amr } : {}),
    sid: clientSessionId(secret, grant.sid, grant.client_id),
    at_hash: accessTokenHash(access_token)
  }
}
