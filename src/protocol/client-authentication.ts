import { createHash, timingSafeEqual } from 'node:crypto'
import { OAuthError } from './errors.ts'

/** What a token request brings to prove who its client is (RFC 6749 §2.3). */
export interface Credentials {
  client_id: string
  method: 'client_secret_basic' | 'client_secret_post' | 'none'
  secret?: string
}

const refused = (message: string) => new OAuthError('client_authentication_failed', message)

/** Reads client credentials from where exactly one method puts them (RFC 6749 §2.3.1). @throws {OAuthError} client_authentication_failed */
export function readCredentials (authorization: string | undefined, body: { client_id?: string, client_secret?: string }): Credentials {
  if (authorization !== undefined) {
    const credentials = readBasic(authorization)
    if (body.client_secret !== undefined) throw refused('client_secret: one authentication method in each request')
    if (body.client_id !== undefined && body.client_id !== credentials.client_id) throw refused('client_id: not the client that authenticates')
    return credentials
  }
  if (body.client_id === undefined) throw refused('client_id: expected, or Basic credentials')
  if (body.client_secret === undefined) return { client_id: body.client_id, method: 'none' }
  return { client_id: body.client_id, method: 'client_secret_post', secret: body.client_secret }
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

/** What is kept of a secret. High entropy is required of it, so a plain hash will do. */
export const secretDigest = (secret: string) => createHash('sha256').update(secret).digest()

export interface AuthenticatedClient { active: boolean, token_endpoint_auth_method: string, secrets: readonly Buffer[] }

const noSecret = [secretDigest('')]

/** Checks credentials by the client's registered method only, in constant time, against every secret in force. @throws {OAuthError} client_authentication_failed */
export function authenticateClient<C extends AuthenticatedClient> (client: C | undefined, { method, secret }: Credentials): C {
  const offered = secretDigest(secret ?? '')
  const matches = (client?.secrets ?? noSecret).map(digest => timingSafeEqual(digest, offered))
  if (client === undefined || !client.active) throw refused('client authentication: failed')
  if (method !== client.token_endpoint_auth_method) throw refused(`client authentication: expected ${client.token_endpoint_auth_method}`)
  if (method !== 'none' && !matches.includes(true)) throw refused('client authentication: failed')
  return client
}
