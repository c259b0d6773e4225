import { createHash, type KeyObject } from 'node:crypto'
import { reportedAcr } from './acr.ts'
import type { AuthorizationRequest } from './authorization-request.ts'
import { claimsSent, pick, type Identity } from './claims.ts'
import { OAuthError } from './errors.ts'
import type { Identification } from './identification.ts'
import { pairwiseSubject } from './subject.ts'

/** What a code stands for, and then its access token: everything the client will be told. */
export interface Grant {
  /** the login it came from, for events */
  login: string
  client_id: string
  redirect_uri: string
  scopes: string[]
  code_challenge?: string
  /** thumbprint of the only key that may redeem the code (RFC 9449 §10) */
  dpop_jkt?: string
  nonce?: string
  sub: string
  /** stands for the person at every client: what another pairwise `sub` is made of */
  person: string
  /** what userinfo says */
  claims: Identity
  /** what the ID Token says beside its own */
  idTokenClaims?: Identity
  acr: string
  amr: string[]
  /** NumericDate, seconds */
  auth_time: number
  idp: string
  /** NumericDate, seconds: when the citizen came back from the provider, and when the code was issued */
  identifiedAt: number
  issuedAt: number
  sid: string
  /** the store was away: the handle holds this grant itself, and no session stands behind its `sid` */
  degraded?: true
}

/** The same grant, as its access token stands for it. */
export interface Token extends Grant {
  /** NumericDate, seconds */
  exp: number
  /** thumbprint of the key that the token is bound to (RFC 9449 §6) */
  jkt?: string
}

interface Parties {
  levels: readonly string[]
  /** what tells the client's `sub` from other clients' */
  sector: string
  /** the secret behind `sub` */
  secret: KeyObject
}

/** What a client will be told of who came back, cut to what it asked for. @throws {OAuthError} account_unknown */
export function grantOf (request: AuthorizationRequest, { person, claims, acr, amr, auth_time, idp, identifiedAt, sid }: Identification, { levels, sector, secret }: Parties): Omit<Grant, 'login' | 'sid' | 'issuedAt'> {
  const { client_id, redirect_uri, scopes, code_challenge, dpop_jkt, nonce, idTokenClaims } = request
  const sub = pairwiseSubject(secret, person, sector)
  if (request.sub !== undefined && request.sub !== sub) throw new OAuthError('account_unknown', 'sub: another account was asked for')
  const all = { ...claims, idp_id: idp, amr }
  return {
    client_id,
    redirect_uri,
    scopes,
    ...(code_challenge === undefined ? {} : { code_challenge }),
    ...(dpop_jkt === undefined ? {} : { dpop_jkt }),
    ...(nonce === undefined ? {} : { nonce }),
    sub,
    person,
    claims: pick(all, claimsSent(request, 'userinfo')),
    ...(idTokenClaims === undefined ? {} : { idTokenClaims: pick(all, new Set(idTokenClaims)) }),
    // a session lets in at the level that was asked: more was not shown this time
    acr: reportedAcr(levels, sid === undefined ? acr : request.acr, request.essentialAcr),
    amr,
    auth_time,
    idp,
    identifiedAt
  }
}

/** What a token request says of its grant (RFC 6749 §4.1.3, RFC 7636 §4.5), and the thumbprint of the key of its DPoP proof. */
export interface TokenRequest { client_id: string, redirect_uri?: string | undefined, code_verifier?: string | undefined, jkt?: string | undefined }

/** Checks a token request against its grant (RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 9449 §10). @throws {OAuthError} code_of_another_client, code_invalid */
export function checkGrant (grant: Grant, { client_id, redirect_uri, code_verifier, jkt }: TokenRequest) {
  if (grant.client_id !== client_id) throw new OAuthError('code_of_another_client', 'code: issued to another client')
  if (grant.redirect_uri !== redirect_uri) throw new OAuthError('code_invalid', 'redirect_uri: not the one of the authorization request')
  if (grant.dpop_jkt !== undefined && grant.dpop_jkt !== jkt) throw new OAuthError('code_invalid', 'DPoP: not by the key that dpop_jkt named')
  if (grant.code_challenge === undefined) {
    // RFC 9700 §4.8.2: a verifier without a challenge is a downgrade
    if (code_verifier !== undefined) throw new OAuthError('code_invalid', 'code_verifier: the authorization request had no code_challenge')
    return
  }
  if (code_verifier === undefined) throw new OAuthError('code_invalid', 'code_verifier: required')
  if (!/^[A-Za-z0-9._~-]{43,128}$/.test(code_verifier)) throw new OAuthError('code_invalid', 'code_verifier: expected 43 to 128 unreserved characters (RFC 7636 §4.1)')
  if (createHash('sha256').update(code_verifier).digest('base64url') !== grant.code_challenge) throw new OAuthError('code_invalid', 'code_verifier: does not match code_challenge')
}
