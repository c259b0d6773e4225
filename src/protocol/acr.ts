import { OAuthError } from './errors.ts'

/** The levels of assurance in force, the lowest first, and the one wanted when a client asks for none that we know. */
export interface Levels { levels: readonly string[], default?: string | undefined }

const byRank = (levels: readonly string[], values: readonly string[]) =>
  levels.filter(level => values.includes(level))

/**
 * The level a request wants: among the values it names the lowest one we know (on purpose: OpenID Connect Core §3.1.2.1 orders them by preference), else the default.
 * @throws {OAuthError} acr_not_offered
 */
export function wantedAcr ({ levels, default: fallback }: Levels, asked: readonly string[], offered: readonly string[] = levels, essential = false) {
  const known = byRank(levels, asked)[0]
  if (known === undefined && essential && asked.length > 0) throw new OAuthError('acr_not_offered', 'none of the essential acr values is known here')
  const wanted = known ?? fallback ?? levels[0]!
  if (!offered.includes(wanted)) throw new OAuthError('acr_not_offered', `acr ${wanted} is not offered to this client`)
  return wanted
}

/** Whether a level is at least another. A level we do not know is below every one. */
export const reaches = (levels: readonly string[], acr: string, wanted: string) => levels.includes(wanted) && levels.indexOf(acr) >= levels.indexOf(wanted)

/** The level asked of a provider: the higher of what is wanted and the lowest it supports; undefined when its best is too low. */
export const upstreamAcr = (levels: readonly string[], wanted: string, supported: readonly string[]) =>
  byRank(levels, supported).find(level => reaches(levels, level, wanted))

/** Checks the level a provider returned: there, at least what is wanted, and one it may vouch for. @throws {OAuthError} acr_missing, acr_too_low */
export function checkAcr (levels: readonly string[], acr: unknown, wanted: string, allowed: readonly string[]): asserts acr is string {
  if (typeof acr !== 'string') throw new OAuthError('acr_missing', 'the identity provider returned no acr')
  if (!allowed.includes(acr)) throw new OAuthError('acr_too_low', 'the identity provider returned an acr it may not vouch for')
  if (!reaches(levels, acr, wanted)) throw new OAuthError('acr_too_low', `the identity provider returned an acr below ${wanted}`)
}

/** The level told to the client: the one reached, or where it named essential levels the highest of those that it covers (OpenID Connect Core §5.5.1.1). */
export const reportedAcr = (levels: readonly string[], reached: string, essential: readonly string[] = []) =>
  byRank(levels, essential).findLast(level => reaches(levels, reached, level)) ?? reached
