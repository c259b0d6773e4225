import { clientClockTolerance } from './clock.ts'

/** What is asked of the times of a JWT that a client made. */
interface Times {
  /** NumericDate, seconds */
  now: number
  /** it must say its end */
  mustExpire: boolean
  /** seconds that its end may be ahead */
  longestSeconds: number
}

/** What is wrong with the times of a JWT by a client (RFC 7519 §4.1.4 to §4.1.6), undefined for nothing. */
export function faultOfTimes ({ exp, nbf, iat }: Record<string, unknown>, { now, mustExpire, longestSeconds }: Times): string | undefined {
  if (exp === undefined ? mustExpire : !(typeof exp === 'number' && exp > now - clientClockTolerance)) return 'exp: expected, in the future'
  if (Number(exp ?? 0) > now + longestSeconds + clientClockTolerance) return `exp: expected at most ${longestSeconds} seconds ahead`
  if (nbf !== undefined && !(typeof nbf === 'number' && nbf <= now + clientClockTolerance)) return 'nbf: expected a time that has come'
  if (iat !== undefined && !(typeof iat === 'number' && iat <= now + clientClockTolerance)) return 'iat: expected a time that has come'
  return undefined
}

/** Whether a header names this kind of JWT, or none (RFC 8725 §3.11, RFC 7515 §4.1.9). */
export const isOfKind = (typ: unknown, kind: string) => typ === undefined || (typeof typ === 'string' && ['jwt', kind].includes(typ.toLowerCase().replace(/^application\//, '')))
