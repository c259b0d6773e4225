import { Type, type Static } from 'typebox'
import { wantedAcr, type Levels } from './acr.ts'
import { claimNames, knownClaims, scopeClaims } from './claims.ts'
import { OAuthError } from './errors.ts'

/** One string, so long at most, without control characters; two of a name are an array, which fails (RFC 6749 §3.1). */
export const parameter = (maxLength: number) => Type.Optional(Type.String({ maxLength, pattern: '^[^\\u0000-\\u001f\\u007f]*$' }))

/** Characters: a state that is longer does not come back. */
export const longestState = 2048

/** The shape of an authorization request (OpenID Connect Core §3.1.2.1). All are optional here: a missing one is an error for the client, not a page. */
export const AuthorizationParameters = Type.Object({
  client_id: parameter(64),
  redirect_uri: parameter(2048),
  response_type: parameter(64),
  response_mode: parameter(32),
  scope: parameter(1024),
  state: parameter(longestState),
  nonce: parameter(1024),
  code_challenge: parameter(128),
  code_challenge_method: parameter(16),
  acr_values: parameter(256),
  claims: parameter(2048),
  prompt: parameter(64),
  max_age: parameter(10),
  ui_locales: parameter(128),
  claims_locales: parameter(128),
  display: parameter(16),
  login_hint: parameter(512),
  id_token_hint: parameter(4096),
  idp_hint: parameter(32),
  dpop_jkt: parameter(64),
  request: parameter(8192),
  request_uri: parameter(4096),
  registration: parameter(2048)
})
export type AuthorizationParameters = Static<typeof AuthorizationParameters>

/** What we need to know of a client to read its request. */
export interface RequestingClient {
  client_id: string
  active: boolean
  redirect_uris: readonly string[]
  scopes: readonly string[]
  claims: readonly string[]
  acr_values?: readonly string[] | undefined
  token_endpoint_auth_method: string
  require_pkce: boolean
  require_pushed_authorization_requests: boolean
  require_signed_request_object: boolean
  idp_hints: readonly string[]
}

/** How a request came to us. */
export interface Arrived { pushed?: boolean, signed?: boolean }

/** A request that was checked: what a login keeps of it until the client has its tokens. */
export interface AuthorizationRequest {
  client_id: string
  redirect_uri: string
  scopes: string[]
  /** the level wanted, one of ours */
  acr: string
  /** levels of which one must be reported as it stands (OpenID Connect Core §5.5.1.1) */
  essentialAcr?: string[]
  state?: string
  nonce?: string
  code_challenge?: string
  /** single claims asked at userinfo and in the ID Token (OpenID Connect Core §5.5) */
  userinfoClaims?: string[]
  idTokenClaims?: string[]
  /** the only `sub` that will do (OpenID Connect Core §5.5.1) */
  sub?: string
  prompt?: string[]
  max_age?: number
  /** by which way the answer goes back, where it is not the query */
  response_mode?: 'form_post'
  dpop_jkt?: string
  /** names the pushed request this came from, which is good for one code (RFC 9126 §4) */
  pushed?: string
}

/** What stands before a pushed request in its `request_uri` (RFC 9126 §2.2). */
export const pushedUri = 'urn:ietf:params:oauth:request_uri:'

/** A request that its client pushed, with what is only of use at its beginning. */
export interface PushedRequest { request: AuthorizationRequest, idp_hint?: string | undefined, ui_locales?: string | undefined }

const words = (value: string | undefined) => [...new Set((value ?? '').split(' ').filter(Boolean))]
const escaped = /^[\x20-\x7e]*$/

/** The client that asks and the address its answer goes to: until both are known nothing may be redirected (RFC 6749 §4.1.2.1). @throws {OAuthError} client_unknown, client_inactive, redirect_uri_unknown */
export function checkClientAndAddress<C extends RequestingClient> (client: C | undefined, redirect_uri: unknown): C {
  if (client === undefined) throw new OAuthError('client_unknown', 'client_id: not the identifier of a registered client')
  if (typeof redirect_uri !== 'string') throw new OAuthError('redirect_uri_unknown', 'redirect_uri: expected one of the registered addresses, got none or several')
  if (!client.redirect_uris.includes(redirect_uri)) throw new OAuthError('redirect_uri_unknown', 'redirect_uri: not registered for this client')
  if (!client.active) throw new OAuthError('client_inactive', 'this client is not active')
  return client
}

/**
 * Checks an authorization request whose client and redirect_uri are already verified (OpenID Connect Core §3.1.2.2, RFC 7636 §4.4.1, RFC 9126 §5, RFC 9101 §10.5).
 * @throws {OAuthError} push_required, request_object_required, request_uri_unsupported, response_type_unsupported, response_mode_unsupported,
 * registration_unsupported, scope_invalid, challenge_required, challenge_invalid, acr_not_offered, parameter_invalid, hint_not_allowed
 */
export function checkAuthorizationRequest (parameters: AuthorizationParameters, client: RequestingClient, levels: Levels, { pushed = false, signed = false }: Arrived = {}): AuthorizationRequest {
  if (parameters.request_uri !== undefined) throw new OAuthError('request_uri_unsupported', 'request_uri: expected one that the pushed authorization request endpoint gave')
  if (client.require_pushed_authorization_requests && !pushed) throw new OAuthError('push_required', 'request_uri: expected, since this client pushes its requests (RFC 9126)')
  if (client.require_signed_request_object && !signed) throw new OAuthError('request_object_required', 'request: expected, since this client signs its requests (RFC 9101)')
  if (parameters.registration !== undefined) throw new OAuthError('registration_unsupported', 'registration: not supported')
  if (parameters.response_type === undefined) throw new OAuthError('parameter_invalid', 'response_type: expected code')
  if (parameters.response_type !== 'code') throw new OAuthError('response_type_unsupported', 'response_type: expected code')
  const response_mode = checkResponseMode(parameters.response_mode)
  if (!escaped.test(parameters.state ?? '')) throw new OAuthError('parameter_invalid', 'state: expected printable ASCII (RFC 6749 appendix A.5)')
  if (parameters.idp_hint !== undefined && !client.idp_hints.includes(parameters.idp_hint)) throw new OAuthError('hint_not_allowed', 'idp_hint: not an identity provider this client may name')

  const scopes = checkScopes(parameters.scope, client)
  const code_challenge = checkChallenge(parameters, client)
  const prompt = checkPrompt(parameters.prompt)
  const max_age = checkMaxAge(parameters.max_age)
  const asked = checkClaims(parameters.claims, client, scopes)

  const acr = asked.acr?.length ? asked.acr : words(parameters.acr_values)
  return stripped({
    client_id: client.client_id,
    redirect_uri: parameters.redirect_uri!,
    scopes,
    acr: wantedAcr(levels, acr, client.acr_values, asked.acrEssential),
    essentialAcr: asked.acrEssential ? acr : undefined,
    state: parameters.state,
    nonce: parameters.nonce,
    code_challenge,
    userinfoClaims: asked.userinfo,
    idTokenClaims: asked.id_token,
    sub: asked.sub,
    prompt,
    max_age,
    response_mode,
    dpop_jkt: checkThumbprint(parameters.dpop_jkt)
  })
}

/** The way back that a request names, when it is one of ours: undefined for the query. */
export const responseMode = (response_mode: unknown) => response_mode === 'form_post' ? response_mode : undefined

function checkResponseMode (response_mode: string | undefined) {
  if (response_mode !== undefined && response_mode !== 'query' && response_mode !== 'form_post') throw new OAuthError('response_mode_unsupported', 'response_mode: expected query or form_post')
  return responseMode(response_mode)
}

function checkThumbprint (dpop_jkt: string | undefined) {
  if (dpop_jkt !== undefined && !sha256.test(dpop_jkt)) throw new OAuthError('parameter_invalid', 'dpop_jkt: expected 43 characters of base64url (RFC 9449 §10)')
  return dpop_jkt
}

/** A SHA-256 digest, base64url. */
const sha256 = /^[A-Za-z0-9_-]{43}$/

function checkScopes (scope: string | undefined, client: RequestingClient) {
  const asked = words(scope)
  if (!asked.includes('openid')) throw new OAuthError('scope_invalid', 'scope: expected openid among its values')
  const known = asked.filter(name => Object.hasOwn(scopeClaims, name))
  const refused = known.filter(name => name !== 'openid' && !client.scopes.includes(name))
  if (refused.length > 0) throw new OAuthError('scope_invalid', `scope: this client may not ask for ${refused.join(' ')}`)
  return known
}

function checkChallenge ({ code_challenge, code_challenge_method }: AuthorizationParameters, client: RequestingClient) {
  if (code_challenge === undefined) {
    if (code_challenge_method !== undefined) throw new OAuthError('challenge_invalid', 'code_challenge: expected beside code_challenge_method')
    if (client.require_pkce || client.token_endpoint_auth_method === 'none') throw new OAuthError('challenge_required', 'code_challenge: required (RFC 7636)')
    return undefined
  }
  if (code_challenge_method !== 'S256') throw new OAuthError('challenge_invalid', 'code_challenge_method: expected S256')
  if (!sha256.test(code_challenge)) throw new OAuthError('challenge_invalid', 'code_challenge: expected 43 characters of base64url (RFC 7636 §4.2)')
  return code_challenge
}

export const promptValues = ['none', 'login', 'consent', 'select_account']

function checkPrompt (value: string | undefined) {
  const prompt = words(value)
  if (!prompt.every(word => promptValues.includes(word))) throw new OAuthError('parameter_invalid', `prompt: expected ${promptValues.join(', ')}`)
  if (prompt.includes('none') && prompt.length > 1) throw new OAuthError('parameter_invalid', 'prompt: none stands alone')
  return prompt.length > 0 ? prompt : undefined
}

function checkMaxAge (value: string | undefined) {
  if (value === undefined) return undefined
  if (!/^\d{1,9}$/.test(value)) throw new OAuthError('parameter_invalid', 'max_age: expected a number of seconds')
  return Number(value)
}

interface ClaimRequest { essential?: unknown, value?: unknown, values?: unknown }
interface AskedClaims { userinfo?: string[] | undefined, id_token?: string[] | undefined, sub?: string | undefined, acr?: string[], acrEssential?: boolean }

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** The `claims` parameter (OpenID Connect Core §5.5), within what the client may ask for; what it may not have is left out, as voluntary claims are. */
function checkClaims (value: string | undefined, client: RequestingClient, scopes: string[]): AskedClaims {
  if (value === undefined) return {}
  const malformed = () => new OAuthError('parameter_invalid', 'claims: expected a JSON object with the members userinfo and id_token')
  const parsed = parseJson(value)
  if (!isObject(parsed)) throw malformed()
  const { userinfo = {}, id_token = {} } = parsed
  if (!isObject(userinfo) || !isObject(id_token)) throw malformed()
  for (const request of [...Object.values(userinfo), ...Object.values(id_token)]) if (request !== null && !isObject(request)) throw malformed()

  const allowed = claimNames(client.scopes, client.claims)
  const granted = claimNames(scopes)
  const names = (member: Record<string, unknown>) => Object.keys(member).filter(name => knownClaims.has(name) && allowed.has(name))
  const userinfoNames = names(userinfo).filter(name => !granted.has(name))
  const idTokenNames = names(id_token)
  const subs = [userinfo.sub, id_token.sub].map(request => (request as ClaimRequest | null | undefined)?.value).filter(sub => sub !== undefined)
  if (subs.some(sub => typeof sub !== 'string' || sub !== subs[0])) throw malformed()
  return {
    userinfo: userinfoNames.length > 0 ? userinfoNames : undefined,
    id_token: idTokenNames.length > 0 ? idTokenNames : undefined,
    sub: subs[0] as string | undefined,
    ...askedAcr(id_token.acr as ClaimRequest | null | undefined, malformed)
  }
}

function askedAcr (request: ClaimRequest | null | undefined, malformed: () => OAuthError): Pick<AskedClaims, 'acr' | 'acrEssential'> {
  if (!request) return {}
  const values = request.values ?? (request.value === undefined ? [] : [request.value])
  if (!Array.isArray(values) || !values.every(value => typeof value === 'string')) throw malformed()
  // "an essential acr, or one with values, must be met"
  return { acr: values, acrEssential: values.length > 0 }
}

function parseJson (text: string): unknown {
  try { return JSON.parse(text) } catch { return undefined }            // V8's message quotes the text: it is not kept
}

const stripped = <T extends object> (value: T) =>
  Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as { [K in keyof T]: Exclude<T[K], undefined> }
