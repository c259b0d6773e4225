import type { AuthorizationRequest } from './authorization-request.ts'

interface Client { degraded?: 'allow' | 'deny' | undefined, profile: string, token_endpoint_auth_method: string }

/**
 * Whether a login may go on while the store is away, its code a handle that holds its record: good once at each replica only. Something but the code must bind the token request to
 * the browser's request (a challenge or a nonce), and the client must prove itself. By default the lowest level may, no other.
 */
export function mayDegrade ({ degraded, profile, token_endpoint_auth_method }: Client, { code_challenge, nonce }: Pick<AuthorizationRequest, 'code_challenge' | 'nonce'>, acr: string, lowest: string) {
  if (token_endpoint_auth_method === 'none' || profile === 'fapi2') return false
  if (code_challenge === undefined && nonce === undefined) return false
  return degraded === undefined ? acr === lowest : degraded === 'allow'
}
