import type { JWK } from 'jose'
import { isJwk } from './algorithms.ts'
import { clockTolerance } from './identification.ts'
import { OAuthError, type Failure } from './errors.ts'

// What an identity provider answered our own calls, looked at before anything is believed. A signature is for `adapters/published-keys.ts`.

type Members = Record<string, unknown>

function refuse (failure: Failure, message: string): never { throw new OAuthError(failure, message) }

/**
 * A JSON object in which nothing is said twice (RFC 8259 §4): readers differ in which of the two they take.
 * @throws {OAuthError} provider_answer_unreadable, provider_answer_ambiguous
 */
export function readObject (text: string, what: string): Members {
  let value: unknown
  // V8's message quotes the text, so it is not kept
  try { value = JSON.parse(text) } catch { refuse('provider_answer_unreadable', `${what}: expected JSON`) }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse('provider_answer_unreadable', `${what}: expected a JSON object`)
  // outside its strings a colon stands for one member each
  const named = text.replace(/"(?:[^"\\]|\\.)*"/g, '').split(':').length - 1
  if (named !== membersIn(value)) refuse('provider_answer_ambiguous', `${what}: a member is named twice`)
  return value as Members
}

const deepest = 32

/** How many members it has, all in all. @throws {OAuthError} provider_answer_unreadable for what is nested without end */
function membersIn (value: unknown, depth = 0): number {
  if (typeof value !== 'object' || value === null) return 0
  if (depth > deepest) refuse('provider_answer_unreadable', 'JSON that is nested too deep')
  const values = Object.values(value)
  return values.reduce((sum: number, inner) => sum + membersIn(inner, depth + 1), Array.isArray(value) ? 0 : values.length)
}

/** The part of a compact JWT that is an object, by its place. @throws {OAuthError} provider_token_malformed, provider_answer_ambiguous */
function readPart (part: string | undefined, what: string) {
  try { return readObject(Buffer.from(part ?? '', 'base64url').toString(), what) } catch (error) {
    if ((error as OAuthError).failure === 'provider_answer_ambiguous') throw error
    refuse('provider_token_malformed', `${what}: expected a JSON object`)
  }
}

/** Parts of a JWT: three of a signed one, five of an encrypted one (RFC 7516 §9). */
export const isEncrypted = (jwt: string) => jwt.split('.').length === 5

/**
 * The header of a signed JWT that is to be by one algorithm, and by a key that was published before: none that it brings or points to (RFC 8725 §3.1, §3.10).
 * @throws {OAuthError} provider_token_malformed, provider_signature_missing, provider_algorithm_wrong, provider_key_embedded, provider_extension_unknown
 */
export function checkHeader (jwt: string, algorithms: readonly string[], what: string): Members {
  const [head, , signature, ...rest] = jwt.split('.')
  if (signature === undefined || rest.length > 0 || !/^[\w.-]+$/.test(jwt)) refuse('provider_token_malformed', `${what}: expected a signed JWT`)
  const header = readPart(head, `${what} header`)
  const { alg } = header
  if (typeof alg !== 'string') refuse('provider_token_malformed', `${what}: alg: expected a name`)
  if (alg.toLowerCase() === 'none' || signature === '') refuse('provider_signature_missing', `${what}: not signed`)
  if (!algorithms.includes(alg)) refuse('provider_algorithm_wrong', `${what}: alg: expected ${algorithms[0]}`)
  for (const name of ['jwk', 'jku', 'x5u']) if (name in header) refuse('provider_key_embedded', `${what}: ${name}: a token does not bring its own key`)
  if ('crit' in header) refuse('provider_extension_unknown', `${what}: crit: an extension that nobody here knows`)
  return header
}

/** What an ID Token has to be. */
export interface Expected {
  issuer: string
  client_id: string
  nonce: string
  /** whether a nonce is one that we gave to some login */
  isOwnNonce: (nonce: string) => boolean
  /** the names of the one algorithm that was registered */
  algorithms: readonly string[]
  /** NumericDate, seconds */
  now: number
}

/**
 * The claims of an ID Token that is what it has to be, but for its signature (OpenID Connect Core §2, §3.1.3.7).
 * @throws {OAuthError} those of `checkHeader`, provider_answer_ambiguous, provider_subject_malformed, provider_issuer_wrong, provider_audience_wrong,
 *   provider_authorized_party_wrong, provider_nonce_wrong, code_of_another_login, provider_token_expired, provider_token_premature
 */
export function readIdToken (token: unknown, expected: Expected): Members {
  if (typeof token !== 'string' || token === '') refuse('provider_token_malformed', 'id_token: expected')
  checkHeader(token, expected.algorithms, 'id_token')
  const claims = readPart(token.split('.')[1], 'id_token')
  const { iss, aud, azp, nonce } = claims
  if (typeof iss !== 'string') refuse('provider_token_malformed', 'id_token: iss: expected a text')
  if (iss !== expected.issuer) refuse('provider_issuer_wrong', 'id_token: iss: not of this identity provider')
  checkSubject(claims.sub, 'id_token')
  checkAudience(aud, azp, expected.client_id)
  checkTimes(claims, expected.now)
  if (nonce !== expected.nonce) {
    if (typeof nonce === 'string' && expected.isOwnNonce(nonce)) refuse('code_of_another_login', 'id_token: nonce: of another login')
    refuse('provider_nonce_wrong', 'id_token: nonce: not what we asked with')
  }
  return claims
}

function checkSubject (sub: unknown, what: string): asserts sub is string {
  if (typeof sub !== 'string' || sub === '' || sub.length > 255) refuse('provider_subject_malformed', `${what}: sub: expected a text of 255 characters at most`)
}

function checkAudience (aud: unknown, azp: unknown, client_id: string) {
  const audiences = typeof aud === 'string' ? [aud] : aud
  if (!Array.isArray(audiences)) refuse('provider_token_malformed', 'id_token: aud: expected a text or a list')
  if (!audiences.includes(client_id)) refuse('provider_audience_wrong', 'id_token: aud: not for us')
  if (azp === undefined ? audiences.length > 1 : azp !== client_id) refuse('provider_authorized_party_wrong', 'id_token: azp: not our client_id')
}

function checkTimes ({ exp, iat, nbf, auth_time }: Members, now: number) {
  const isTime = (time: unknown): time is number => typeof time === 'number' && Number.isFinite(time)
  if (!isTime(exp)) refuse('provider_token_malformed', 'id_token: exp: expected a number')
  if (!isTime(iat)) refuse('provider_token_malformed', 'id_token: iat: expected a number')
  if (nbf !== undefined && !isTime(nbf)) refuse('provider_token_malformed', 'id_token: nbf: expected a number')
  if (auth_time !== undefined && !isTime(auth_time)) refuse('provider_token_malformed', 'id_token: auth_time: expected a number')
  if (exp <= now - clockTolerance) refuse('provider_token_expired', 'id_token: exp: in the past')
  if (Math.max(iat, nbf ?? 0, auth_time ?? 0) > now + clockTolerance) refuse('provider_token_premature', 'id_token: iat, nbf or auth_time: in the future')
}

/**
 * Checks that userinfo speaks of the same citizen (OpenID Connect Core §5.3.4), and where it is a JWT, that it is of this provider and for us (§5.3.2).
 * @throws {OAuthError} provider_subject_malformed, provider_subject_differs, provider_issuer_wrong, provider_audience_wrong
 */
export function checkUserinfo ({ sub, iss, aud }: Members, expected: Pick<Expected, 'issuer' | 'client_id'> & { sub: unknown, isJwt: boolean }) {
  checkSubject(sub, 'userinfo')
  if (sub !== expected.sub) refuse('provider_subject_differs', 'userinfo: sub: of another citizen than the ID Token')
  if (!expected.isJwt) return
  if (iss !== undefined && iss !== expected.issuer) refuse('provider_issuer_wrong', 'userinfo: iss: not of this identity provider')
  if (aud !== undefined && ![aud].flat().includes(expected.client_id)) refuse('provider_audience_wrong', 'userinfo: aud: not for us')
}

/**
 * What a JWE's header says of how it is encrypted: as was registered, and not compressed, since a small bomb would be a large answer (RFC 8725 §3.1, §3.6).
 * @throws {OAuthError} provider_token_malformed, provider_encryption_wrong, provider_answer_compressed, provider_extension_unknown
 */
export function checkEncryption (jwe: string, { alg, enc }: { alg: string, enc: string }, what: string): { kid?: string } {
  const header = readPart(jwe.split('.')[0], `${what} header`)
  if (header.alg !== alg || header.enc !== enc) refuse('provider_encryption_wrong', `${what}: expected ${alg} and ${enc}`)
  if ('zip' in header) refuse('provider_answer_compressed', `${what}: zip: compressed`)
  if ('crit' in header) refuse('provider_extension_unknown', `${what}: crit: an extension that nobody here knows`)
  return typeof header.kid === 'string' ? { kid: header.kid } : {}
}

const neededEndpoints = ['authorization_endpoint', 'token_endpoint', 'jwks_uri']
const endpoints = [...neededEndpoints, 'userinfo_endpoint', 'end_session_endpoint']

/** What we need of a provider's metadata (OpenID Connect Discovery §3). */
export interface ProviderMetadata {
  issuer: string
  authorization_endpoint: string
  token_endpoint: string
  jwks_uri: string
  userinfo_endpoint?: string
  end_session_endpoint?: string
  authorization_response_iss_parameter_supported?: boolean
  mtls_endpoint_aliases?: Record<string, string>
}

/**
 * The part of a provider's metadata that we need. Over http anyone on the way could answer instead: an issuer over https has nothing but https.
 * @throws {OAuthError} provider_metadata_issuer_wrong, provider_metadata_invalid
 */
export function readMetadata (metadata: Members, issuer: string): ProviderMetadata {
  if (metadata.issuer !== issuer) refuse('provider_metadata_issuer_wrong', 'metadata: issuer: not the one that was registered')
  const aliases = Object.entries(metadata.mtls_endpoint_aliases ?? {}).filter((entry): entry is [string, string] => endpoints.includes(entry[0]))
  const checked: Members = { issuer }
  for (const name of endpoints) {
    const address = metadata[name]
    if (address === undefined && !neededEndpoints.includes(name)) continue
    checkAddress(address, name, issuer)
    checked[name] = address
  }
  for (const [name, address] of aliases) checkAddress(address, `mtls_endpoint_aliases/${name}`, issuer)
  return {
    ...checked,
    ...(metadata.authorization_response_iss_parameter_supported === true ? { authorization_response_iss_parameter_supported: true } : {}),
    ...(aliases.length > 0 ? { mtls_endpoint_aliases: Object.fromEntries(aliases) } : {})
  } as unknown as ProviderMetadata
}

function checkAddress (address: unknown, name: string, issuer: string) {
  const { protocol } = typeof address === 'string' && URL.canParse(address) ? new URL(address) : { protocol: '' }
  const allowed = issuer.startsWith('https:') ? ['https:'] : ['https:', 'http:']
  if (!allowed.includes(protocol)) refuse('provider_metadata_invalid', `metadata: ${name}: expected an address over ${allowed.join(' or ').replaceAll(':', '')}`)
}

/** A JWK Set with a key at least (RFC 7517 §5); one that is empty is none. @throws {OAuthError} provider_keys_unavailable */
export function readKeySet ({ keys }: Members): { keys: JWK[] } {
  const found = Array.isArray(keys) ? keys.filter(isJwk) : []
  if (found.length === 0) refuse('provider_keys_unavailable', 'jwks: expected a JWK Set of one key at least')
  return { keys: found }
}
