import { createHash } from 'node:crypto'
import { clientSessionId } from './subject.ts'
import type { KeyObject } from 'node:crypto'
import type { SigningAlgorithm } from './algorithms.ts'
import type { Grant } from './grant.ts'

interface Issue {
  issuer: string
  /** NumericDate, seconds */
  now: number
  lifeSeconds: number
  access_token: string
  /** what the ID Token is signed with, which `at_hash` follows */
  alg: SigningAlgorithm
  /** the secret behind `sub`, which also tells `sid` apart for each client */
  secret: KeyObject
}

/** `at_hash`: the left half of the access token's hash, by the hash of the signature's algorithm (OpenID Connect Core §3.1.3.6); Ed25519 has SHA-512 within. */
export function accessTokenHash (access_token: string, alg: SigningAlgorithm) {
  const digest = createHash(alg === 'EdDSA' ? 'sha512' : 'sha256').update(access_token).digest()
  return digest.subarray(0, digest.length / 2).toString('base64url')
}

/** The claims of an ID Token (OpenID Connect Core §2): who, for whom, when and how; what the citizen is called is said at userinfo. */
export function idTokenClaims (grant: Grant, { issuer, now, lifeSeconds, access_token, alg, secret }: Issue) {
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
    at_hash: accessTokenHash(access_token, alg)
  }
}
