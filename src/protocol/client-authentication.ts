import { createHash, timingSafeEqual } from 'node:crypto'
import { decodeJwt } from 'jose'
import { parameter } from './authorization-request.ts'
import { OAuthError } from './errors.ts'
import { faultOfTimes, isOfKind } from './jwt.ts'
import { clientClockTolerance, replicaClockTolerance } from './clock.ts'

/** What a client may prove itself by in a form (RFC 6749 §2.3.1, RFC 7521 §4.2). */
export const CredentialParameters = {
  client_id: parameter(64),
  client_secret: parameter(1024),
  client_assertion: parameter(4096),
  client_assertion_type: parameter(128)
}
type Form = Partial<Record<keyof typeof CredentialParameters, string>>

/** How a client that keeps a secret or a key proves itself (OpenID Connect Core §9); a public one does not. */
export const confidentialMethods = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'] as const
/** Those by the certificate of a TLS connection (RFC 8705 §2), by which we prove ourselves to identity providers only. */
export const certificateMethods = ['tls_client_auth', 'self_signed_tls_client_auth'] as const
export const authenticationMethods = [...confidentialMethods, 'none'] as const

/** What a request brings to prove who its client is (RFC 6749 §2.3). */
export interface Credentials {
  client_id: string
  method: typeof authenticationMethods[number]
  secret?: string
  assertion?: string
}

const refused = (message: string) => new OAuthError('client_authentication_failed', message)

/** Reads client credentials from where exactly one method puts them (RFC 6749 §2.3.1, RFC 7523 §2.2). @throws {OAuthError} client_authentication_failed */
export function readCredentials (authorization: string | undefined, form: Form): Credentials {
  const { client_id, client_secret, client_assertion } = form
  const found = authorization !== undefined ? readBasic(authorization) : client_assertion !== undefined ? readAssertion(client_assertion, form) : undefined
  if ([authorization, client_secret, client_assertion].filter(value => value !== undefined).length > 1) throw refused('client authentication: expected one method in each request')
  if (found !== undefined) {
    if (client_id !== undefined && client_id !== found.client_id) throw refused('client_id: not the client that authenticates')
    return found
  }
  if (client_id === undefined) throw refused('client_id: expected, or Basic credentials')
  if (client_secret === undefined) return { client_id, method: 'none' }
  return { client_id, method: 'client_secret_post', secret: client_secret }
}

function readBasic (authorization: string): Credentials {
  const [, encoded] = /^Basic +([A-Za-z0-9+/_-]+=*)$/i.exec(authorization) ?? []
  if (encoded === undefined) throw refused('authorization: expected Basic credentials')
  const text = Buffer.from(encoded, 'base64').toString()
  const colon = text.indexOf(':')
  if (colon < 0) throw refused('authorization: expected client_id:client_secret')
  return { client_id: formDecoded(text.slice(0, colon)), method: 'client_secret_basic', secret: formDecoded(text.slice(colon + 1)) }
}

/** RFC 6749 §2.3.1 has both form-encoded before they are put into Basic. */
function formDecoded (text: string) {
  try { return decodeURIComponent(text.replaceAll('+', ' ')) } catch { throw refused('authorization: expected percent-encoded credentials') }
}

/** Whom an assertion says it is from: nothing is believed of it yet. */
function readAssertion (assertion: string, { client_assertion_type }: Form): Credentials {
  if (client_assertion_type !== 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer') throw refused('client_assertion_type: expected urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
  try {
    const { sub } = decodeJwt(assertion)
    if (typeof sub === 'string') return { client_id: sub, method: 'private_key_jwt', assertion }
  } catch {}
  throw refused('client_assertion: expected a JWT with a sub')
}

/** What is kept of a secret. High entropy is required of it, so a plain hash will do. */
export const secretDigest = (secret: string) => createHash('sha256').update(secret).digest()

export interface AuthenticatedClient { active: boolean, token_endpoint_auth_method: string, secrets: readonly Buffer[] }

const noSecret = [secretDigest('')]

/**
 * Checks credentials by the client's registered method only, a secret in constant time, against every one in force. An assertion is still to be checked.
 * @throws {OAuthError} client_authentication_failed
 */
export function authenticateClient<C extends AuthenticatedClient> (client: C | undefined, { method, secret }: Credentials): C {
  const offered = secretDigest(secret ?? '')
  const matches = (client?.secrets ?? noSecret).map(digest => timingSafeEqual(digest, offered))
  if (client === undefined || !client.active) throw refused('client authentication: failed')
  if (method !== client.token_endpoint_auth_method) throw refused(`client authentication: expected ${client.token_endpoint_auth_method}`)
  if (method.startsWith('client_secret') && !matches.includes(true)) throw refused('client authentication: failed')
  return client
}

interface Expected {
  client_id: string
  /** who may be meant by `aud` */
  audiences: readonly string[]
  /** `aud` is one string, not a list (FAPI 2.0 Security Profile §5.3.2.1) */
  oneAudience: boolean
  /** NumericDate, seconds */
  now: number
}

/** Seconds: no assertion may be good for longer. */
const longestAssertion = 300

/**
 * Checks the claims of a client assertion whose signature was verified (RFC 7523 §3); gives its `jti` and the seconds for which it is to be remembered, so that it is used once.
 * @throws {OAuthError} client_authentication_failed
 */
export function checkAssertion ({ typ }: { typ?: unknown }, claims: Record<string, unknown>, { client_id, audiences, oneAudience, now }: Expected) {
  const { iss, sub, aud, exp, jti } = claims
  const wrong = (message: string) => refused(`client_assertion: ${message}`)
  if (!isOfKind(typ, 'client-authentication+jwt')) throw wrong('typ: expected client-authentication+jwt')
  if (iss !== client_id || sub !== client_id) throw wrong('iss and sub: expected the client_id')
  if (oneAudience && typeof aud !== 'string') throw wrong('aud: expected our issuer, as one string')
  const named = [aud].flat()
  if (named.length === 0 || !named.every(name => audiences.includes(name as string))) throw wrong('aud: expected our issuer')
  const fault = faultOfTimes(claims, { now, mustExpire: true, longestSeconds: longestAssertion })
  if (fault !== undefined) throw wrong(fault)
  if (typeof jti !== 'string' || jti === '' || jti.length > 256) throw wrong('jti: expected, 256 characters at most')
  return { jti, seconds: Math.ceil(Number(exp) - now) + clientClockTolerance + replicaClockTolerance }
}
