import { Type, type Static } from 'typebox'
import { parameter } from './authorization-request.ts'
import { OAuthError } from './errors.ts'

/** The shape of a logout request (RP-Initiated Logout §2). */
export const LogoutParameters = Type.Object({
  id_token_hint: parameter(4096),
  client_id: parameter(64),
  post_logout_redirect_uri: parameter(2048),
  state: parameter(2048),
  ui_locales: parameter(128)
})
export type LogoutParameters = Static<typeof LogoutParameters>

interface Told { issuer: string, client_id: string, sub: string, sid: string, jti: string, /** NumericDate, seconds */ now: number }

/** The claims of a logout token (Back-Channel Logout §2.4): it lives for two minutes, and has no nonce, so that it is no ID Token. */
export const logoutTokenClaims = ({ issuer, client_id, sub, sid, jti, now }: Told) => ({
  iss: issuer,
  aud: client_id,
  sub,
  sid,
  jti,
  iat: now,
  exp: now + 120,
  events: { 'http://schemas.openid.net/event/backchannel-logout': {} }
})

interface LeavingClient { client_id: string, post_logout_redirect_uris: readonly string[] }
interface Hint { aud?: string | string[] | undefined, sid?: unknown }

const refused = (message: string) => new OAuthError('logout_request_invalid', message)

/** The client that a logout request comes from, by its hint or by name. @throws {OAuthError} logout_request_invalid */
export function leavingClient ({ client_id, id_token_hint }: LogoutParameters, hint: Hint | undefined) {
  if (id_token_hint !== undefined && hint === undefined) throw refused('id_token_hint: not an ID Token of ours')
  const aud = typeof hint?.aud === 'string' ? hint.aud : undefined
  if (client_id !== undefined && aud !== undefined && client_id !== aud) throw refused('client_id: not the client of id_token_hint')
  return aud ?? client_id
}

/** Checks where a logout may go back to: an address registered for that very client (RP-Initiated Logout §3). @throws {OAuthError} logout_request_invalid */
export function checkLogoutAddress<C extends LeavingClient> ({ post_logout_redirect_uri }: LogoutParameters, client: C | undefined) {
  if (post_logout_redirect_uri === undefined) return undefined
  if (client === undefined) throw refused('post_logout_redirect_uri: expected beside it a client_id or id_token_hint of a registered client')
  if (!client.post_logout_redirect_uris.includes(post_logout_redirect_uri)) throw refused('post_logout_redirect_uri: not registered for this client')
  return post_logout_redirect_uri
}
