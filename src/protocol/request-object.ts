import { OAuthError } from './errors.ts'
import { faultOfTimes, isOfKind } from './jwt.ts'

interface Asked { client_id: string, issuer: string, /** NumericDate, seconds */ now: number, mustExpire: boolean }
interface Header { typ?: unknown }

const invalid = (message: string) => new OAuthError('request_object_invalid', `request: ${message}`)

/** Seconds: no request object of a client that has to sign them is good for longer. */
const longestObject = 3600

/** Claims of the JWT itself, which are no parameters. */
const ofJwt = new Set(['iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'sub'])

/**
 * The parameters within a request object whose signature was verified (RFC 9101 §4, §6.3): what stands outside of it counts for nothing.
 * @throws {OAuthError} request_object_invalid
 */
export function parametersWithin ({ typ }: Header, claims: Record<string, unknown>, { client_id, issuer, now, mustExpire }: Asked): Record<string, unknown> {
  if (!isOfKind(typ, 'oauth-authz-req+jwt')) throw invalid('typ: expected oauth-authz-req+jwt')
  if (claims.client_id !== client_id) throw invalid('client_id: expected the one beside it')
  if (claims.iss !== undefined && claims.iss !== client_id) throw invalid('iss: expected the client_id')
  if (![claims.aud].flat().includes(issuer)) throw invalid('aud: expected our issuer')
  // what proves who a client is must not pass for what it asks (RFC 9101 §10.8)
  if (claims.sub === client_id) throw invalid('sub: expected none')
  const fault = faultOfTimes(claims, { now, mustExpire, longestSeconds: mustExpire ? longestObject : Infinity })
  if (fault !== undefined) throw invalid(fault)
  if (claims.request !== undefined || claims.request_uri !== undefined) throw invalid('request and request_uri: expected neither within')
  return Object.fromEntries(Object.entries(claims).filter(([name]) => !ofJwt.has(name)).map(([name, value]) => [name, asParameter(name, value)]))
}

/** A member as its parameter would be spelled: `claims` is an object there, `max_age` a number. */
function asParameter (name: string, value: unknown) {
  if (name === 'claims' && typeof value === 'object') return JSON.stringify(value)
  return name === 'max_age' && typeof value === 'number' ? String(value) : value
}
