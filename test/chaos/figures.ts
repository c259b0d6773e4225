import type { Attempt, History, Outcome } from './history.ts'

/** The smallest value that at least this share of all is not above (nearest rank); undefined of none. */
export function percentile (values: readonly number[], share: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]
}

/** The value in the middle. */
export const median = (values: readonly number[]) => percentile(values, 0.5)

/** Which attempts are looked at: those that began in this time, at these providers. */
export interface Window { from: number, to: number, providers: readonly string[] }

/** The attempts of a window. */
export const attemptsIn = ({ attempts }: Pick<History, 'attempts'>, { from, to, providers }: Window) =>
  attempts.filter(({ startedAt, provider }) => startedAt >= from && startedAt < to && providers.includes(provider))

const wellEnded: ReadonlySet<Outcome | undefined> = new Set<Outcome>(['success', 'recovered', 'raced'])

/** Whether its citizen ended with the right userinfo at the client, or would have. */
export const isWell = ({ outcome }: Attempt) => wellEnded.has(outcome)

/** Attempts that did not end well. */
export const failedAmong = (attempts: readonly Attempt[]) => attempts.filter(attempt => !isWell(attempt))

/** Attempts that went on after one offered click. */
export const recoveredIn = ({ attempts }: Pick<History, 'attempts'>) => attempts.filter(({ outcome }) => outcome === 'recovered')

/** How many ended in each way. */
export const countOutcomes = (attempts: readonly Attempt[]) => Object.fromEntries(
  [...Map.groupBy(attempts, ({ outcome }) => outcome ?? 'unfinished')].map(([outcome, { length }]) => [outcome, length])) as Partial<Record<Outcome | 'unfinished', number>>

/** What every fault reports of the logins in a window. Only plain ones are timed: the others do more than a login. */
export function figuresOf (history: History, window: Window) {
  const attempts = attemptsIn(history, window)
  const successes = attempts.filter(isWell)
  const durations = successes.filter(({ purpose, outcome }) => purpose === 'plain' && outcome === 'success').map(({ startedAt, endedAt }) => endedAt! - startedAt)
  const moments = [window.from, ...successes.map(({ endedAt }) => endedAt!).filter(at => at < window.to).toSorted((a, b) => a - b), window.to]
  return {
    attempted: attempts.length,
    failed: failedAmong(attempts).length,
    recovered: recoveredIn({ attempts }).length,
    longestGapMs: Math.max(...moments.slice(1).map((at, i) => at - moments[i]!)),
    longestLoginMs: Math.max(0, ...attempts.flatMap(({ startedAt, endedAt }) => endedAt === undefined ? [] : [endedAt - startedAt])),
    p50Ms: percentile(durations, 0.5),
    p99Ms: percentile(durations, 0.99)
  }
}

/** Milliseconds as seconds, with one decimal; an absent value stays absent. */
export const inSeconds = (milliseconds: number | undefined) => milliseconds === undefined ? undefined : Math.round(milliseconds / 100) / 10

/** Seconds from one moment to another, where there was one. */
export const since = (at: number | undefined, begin: number) => at === undefined ? undefined : inSeconds(at - begin)

/** Milliseconds without decimals. */
export const whole = (milliseconds: number | undefined) => milliseconds === undefined ? undefined : Math.round(milliseconds)
