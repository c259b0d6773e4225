import { clockTolerance } from './clock.ts'
import { OAuthError } from './errors.ts'

interface Asked { client_id: string, issuer: string, /** NumericDate, seconds */ now: number }
interface Header { typ?: unknown }

const invalid = (message: string) => new OAuthError('request_object_invalid', `request: ${message}`)

/** Claims of the JWT itself, which are no parameters. */
const ofJwt = new Set(['iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'sub'])

/**
 * The parameters within a request object whose signature was verified (RFC 9101 §4, §6.3): what stands outside of it counts for nothing.
 * @throws {OAuthError} request_object_invalid
 */
export function parametersWithin ({ typ }: Header, claims: Record<string, unknown>, { client_id, issuer, now }: Asked): Record<string, unknown> {
  if (typ !== undefined && !/^(application\/)?(oauth-authz-req\+jwt|jwt)$/i.test(String(typ))) throw invalid('typ: expected oauth-authz-req+jwt')
  if (claims.client_id !== client_id) throw invalid('client_id: expected the one beside it')
  if (claims.iss !== undefined && claims.iss !== client_id) throw invalid('iss: expected the client_id')
  if (![claims.aud].flat().includes(issuer)) throw invalid('aud: expected our issuer')
  // what proves who a client is must not pass for what it asks (RFC 9101 §10.8)
  if (claims.sub === client_id) throw invalid('sub: expected none')
  if (claims.exp !== undefined && !(Number(claims.exp) > now - clockTolerance)) throw invalid('exp: it has expired')
  if (claims.nbf !== undefined && !(Number(claims.nbf) <= now + clockTolerance)) throw invalid('nbf: in the future')
  if (claims.request !== undefined || claims.request_uri !== undefined) throw invalid('request and request_uri: expected neither within')
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !ofJwt.has(name)).map(([name, value]) => [name, asParameter(name, value)]))
}

/** A member as its parameter would be spelled: `claims` is an object there, `max_age` a number. */
function asParameter (name: string, value: unknown) {
  if (name === 'claims' && typeof value === 'object') return JSON.stringify(value)
  return name === 'max_age' && typeof value === 'number' ? String(value) : value
}
