import { checkAcr } from './acr.ts'
import { identityFaults, soundClaims, type Identity } from './claims.ts'
import { OAuthError } from './errors.ts'

/** Seconds by which a provider's clock may differ from ours. */
export const clockTolerance = 60

/** Who came back and how, as it is kept while the citizen reads the information page, and as a session keeps it. */
export interface Identification {
  idp: string
  /** stands for the person at every provider; never leaves the gateway */
  person: string
  claims: Identity
  acr: string
  amr: string[]
  /** NumericDate, seconds */
  auth_time: number
  /** the provider did not say when, and may not have asked: `auth_time` is when the citizen came back, and proves no fresh login */
  authTimeAssumed?: true
  /** NumericDate, seconds: when the citizen came back */
  identifiedAt: number
  /** for upstream logout: the provider's ID Token, where it has a logout */
  id_token?: string
  /** the session this came from, when single sign-on spared the citizen the provider */
  sid?: string
  /** the client that this session was opened at: with what that was given it may be called back */
  client_id?: string
}

interface Answered { claims: Identity, acr?: unknown, amr?: unknown, auth_time?: unknown }
interface Asked {
  /** the level wanted */
  acr: string
  /** a fresh login was asked: `prompt=login`, or no older than so many seconds */
  prompt?: readonly string[] | undefined
  max_age?: number | undefined
  /** when the citizen left for the provider (NumericDate, seconds) */
  sentAt: number
  now: number
}
interface Provider { acr_values: readonly string[], amr: readonly string[], required_claims: readonly string[], always_authenticates: boolean }

/**
 * Checks what an identity provider said against what was asked and what an identity must be; gives the login's own facts.
 * @throws {OAuthError} acr_missing, acr_too_low, authentication_too_old, provider_answer_invalid, identity_incomplete
 */
export function checkIdentification (answer: Answered, asked: Asked, provider: Provider, levels: readonly string[], requiredClaims: readonly string[]) {
  const { acr } = answer
  checkAcr(levels, acr, asked.acr, provider.acr_values)
  const time = checkAuthTime(answer.auth_time, asked, provider)
  const faults = identityFaults(answer.claims, [...requiredClaims, ...provider.required_claims])
  if (faults.length > 0) throw new OAuthError('identity_incomplete', `the identity provider's claims are missing or malformed: ${faults.join(' ')}`)
  return { acr, ...time, amr: amrOf(answer.amr) ?? [...provider.amr], claims: soundClaims(answer.claims) }
}

/** When the citizen authenticated: by the provider where it says so, else now. A fresh login that was asked for is a fresh one. */
function checkAuthTime (auth_time: unknown, { prompt, max_age, sentAt, now }: Asked, provider: Provider): Pick<Identification, 'auth_time' | 'authTimeAssumed'> {
  const oldest = oldestAuthTime({ prompt, max_age }, sentAt, now)
  if (auth_time === undefined) {
    if (oldest !== undefined && !provider.always_authenticates) throw new OAuthError('authentication_too_old', 'auth_time: the identity provider does not say when it authenticated the citizen')
    return { auth_time: now, ...(provider.always_authenticates ? {} : { authTimeAssumed: true }) }
  }
  if (typeof auth_time !== 'number' || !Number.isFinite(auth_time)) throw new OAuthError('provider_answer_invalid', 'auth_time: expected a number')
  if (auth_time > now + clockTolerance) throw new OAuthError('provider_answer_invalid', 'auth_time: in the future')
  if (oldest !== undefined && auth_time < oldest - clockTolerance) throw new OAuthError('authentication_too_old', 'auth_time: the identity provider reused an older authentication')
  return { auth_time: Math.min(Math.floor(auth_time), now) }
}

/** The oldest authentication that will do, or undefined when any will (OpenID Connect Core §3.1.2.1). */
export function oldestAuthTime ({ prompt, max_age }: Pick<Asked, 'prompt' | 'max_age'>, sentAt: number, now: number) {
  if (prompt?.includes('login')) return sentAt
  return max_age === undefined ? undefined : Math.min(sentAt, now - max_age)
}

const amrOf = (amr: unknown) => Array.isArray(amr) && amr.length > 0 && amr.length <= 16 && amr.every(value => typeof value === 'string' && value.length <= 32) ? amr as string[] : undefined
