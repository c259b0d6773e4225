import type { Attempt, Call, History, Outcome } from './history.ts'

/** The smallest value that at least this share of all is not above (nearest rank); undefined of none. */
export function percentile (values: readonly number[], share: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]
}

/** The value in the middle. */
export const median = (values: readonly number[]) => percentile(values, 0.5)

/** By how much the last third of some values is above the first, in per cent; undefined where there are none. */
export function growth (values: readonly number[]): number | undefined {
  const third = Math.ceil(values.length / 3)
  const [first, last] = [median(values.slice(0, third)), median(values.slice(-third))]
  return first === undefined || last === undefined ? undefined : Math.round((last / first - 1) * 1000) / 10
}

/** Which attempts are looked at: those that began in this time, at these providers. */
export interface Window { from: number, to: number, providers: readonly string[] }

/** How long a login took, without what its citizen took to look at pages. */
const tookMs = ({ startedAt, endedAt = Infinity, lingeredMs = 0 }: Attempt) => endedAt - startedAt - lingeredMs

/** The attempts of a window. */
export const attemptsIn = ({ attempts }: Pick<History, 'attempts'>, { from, to, providers }: Window) =>
  attempts.filter(({ startedAt, provider }) => startedAt >= from && startedAt < to && providers.includes(provider))

const wellEnded: ReadonlySet<Outcome | undefined> = new Set<Outcome>(['success', 'recovered', 'raced'])

/** Whether its citizen ended with the right userinfo at the client, or would have. */
export const isWell = ({ outcome }: Attempt) => wellEnded.has(outcome)

/** Whether its client was told to come again, since Redis was waited for in vain. */
export const isToldToComeAgain = ({ why = '' }: Attempt) => /temporarily_unavailable/.test(why)

/** Attempts that did not end well. */
export const failedAmong = (attempts: readonly Attempt[]) => attempts.filter(attempt => !isWell(attempt))

/** Attempts that went on after one offered click. */
export const recoveredIn = ({ attempts }: Pick<History, 'attempts'>) => attempts.filter(({ outcome }) => outcome === 'recovered')

/** How many ended in each way. */
export const countOutcomes = (attempts: readonly Attempt[]) => Object.fromEntries(
  [...Map.groupBy(attempts, ({ outcome }) => outcome ?? 'unfinished')].map(([outcome, { length }]) => [outcome, length])) as Partial<Record<Outcome | 'unfinished', number>>

/** How long the plain ones took that went straight to their end, in milliseconds. */
export const durationsAmong = (attempts: readonly Attempt[]) => attempts.filter(({ purpose, outcome }) => purpose === 'plain' && outcome === 'success').map(tookMs)

/** What every fault reports of the logins in a window. Only plain ones are timed: the others do more than a login. */
export function figuresOf (history: History, window: Window) {
  const attempts = attemptsIn(history, window)
  const successes = attempts.filter(isWell)
  const durations = durationsAmong(attempts)
  const moments = [window.from, ...successes.map(({ endedAt }) => endedAt!).filter(at => at < window.to).toSorted((a, b) => a - b), window.to]
  return {
    attempted: attempts.length,
    failed: failedAmong(attempts).length,
    recovered: recoveredIn({ attempts }).length,
    longestGapMs: Math.max(...moments.slice(1).map((at, i) => at - moments[i]!)),
    longestLoginMs: Math.max(0, ...attempts.filter(({ endedAt }) => endedAt !== undefined).map(tookMs)),
    p50Ms: percentile(durations, 0.5),
    p99Ms: percentile(durations, 0.99)
  }
}

/** A login or a request that took longer was not as usual, however busy the machine. */
export const slowMs = 2000

/** Requests that a replica took longer for, of those under way at this moment or later; how it is watched is nobody's request. */
export const slowSince = ({ requests }: Pick<History, 'requests'>, from: number) =>
  requests.filter(({ step, at, ms, replica }) => at + ms >= from && ms > slowMs && replica !== undefined && step !== 'watch')

/** The attempts that were under way in this time. */
export const underWayIn = ({ attempts }: Pick<History, 'attempts'>, { from, to }: Omit<Window, 'providers'>) =>
  attempts.filter(({ startedAt, endedAt = Infinity }) => endedAt >= from && startedAt < to)

/** What every fault reports of the logins that were under way when it began and of those that began since: at all providers, or only at some. */
export function loginFigures ({ attempts, requests }: History, { from, to, providers }: Omit<Window, 'providers'> & Partial<Window>) {
  const touchable = underWayIn({ attempts }, { from, to }).filter(({ provider }) => providers?.includes(provider) ?? true)
  const theirs = new Set(touchable.map(({ n }) => n))
  const plain = touchable.filter(({ purpose }) => purpose === 'plain')     // the others do more than a login
  const successes = touchable.filter(isWell).map(({ endedAt }) => endedAt!).filter(at => at >= from && at < to).toSorted((a, b) => a - b)
  const moments = [from, ...successes, to]
  return {
    'logins attempted': touchable.length,
    failed: failedAmong(touchable).length,
    'recovered by a click': recoveredIn({ attempts: touchable }).length,
    'longest gap without a success, s': inSeconds(Math.max(...moments.slice(1).map((at, i) => at - moments[i]!))),
    'longest login, s': inSeconds(Math.max(0, ...plain.map(attempt => tookMs({ endedAt: to, ...attempt })))),
    'longest request, s': inSeconds(longestRequestMs(requests.filter(({ n }) => n === undefined || theirs.has(n)), from)),
    'back to normal after, s': backToNormal({ attempts: touchable }, from)
  }
}

/** Requests of citizens and services at the gateway, by way of the load balancer. */
const throughBalancer: ReadonlySet<string> = new Set(['par', 'authorize', 'choose', 'login', 'callback', 'consent', 'agree', 'back', 'token', 'userinfo'])
export const isThroughBalancer = ({ step }: Call) => throughBalancer.has(step)

/** The longest that one of them took that was under way at this moment or came later. */
export const longestRequestMs = (requests: readonly Call[], from: number) => requests.filter(isThroughBalancer).reduce((most, { at, ms }) => at + ms >= from ? Math.max(most, ms) : most, 0)

/** Seconds from a moment on after which no login began any more that failed, had to go another way or took unusually long. */
export const backToNormal = ({ attempts }: Pick<History, 'attempts'>, from: number) => inSeconds(attempts
  .filter(({ endedAt = Infinity }) => endedAt >= from)
  .filter(attempt => !isWell(attempt) || attempt.outcome === 'recovered' || (attempt.purpose === 'plain' && tookMs(attempt) > slowMs))
  .reduce((last, { startedAt }) => Math.max(last, startedAt - from), 0))!

/** No answer, or one that the load balancer gave in place of a replica. */
export const isUnanswered = ({ status, replica, failure, errorCode }: Call) => status === 0 || (status >= 500 && replica === undefined && failure === undefined && errorCode === undefined)

/** Requests by way of the load balancer that came to nothing since a moment. */
export const resetsSince = ({ requests }: Pick<History, 'requests'>, from: number) => requests.filter(call => call.at + call.ms >= from && isThroughBalancer(call) && isUnanswered(call))

/** Attempts of which a request was at this replica in this time, or may have been, and was not answered. */
export function inFlightAt ({ requests }: Pick<History, 'requests'>, replica: string, { from, to }: Omit<Window, 'providers'>) {
  const lost = requests.filter(call => call.at <= to && call.at + call.ms >= from && isUnanswered(call) && (call.replica ?? replica) === replica)
  return new Set(lost.flatMap(({ n }) => n ?? []))
}

/** Attempts whose citizen was on the way back from a provider in this time, at this replica or, since it was not answered or tried again, maybe there: it may have spent the provider's code. */
export function callbacksUnderWay ({ requests }: Pick<History, 'requests'>, replica: string, { from, to }: Omit<Window, 'providers'>) {
  const wasThere = (call: Call) => isUnanswered(call) || call.replica === replica || call.triedAgain === true
  return new Set(requests.filter(call => call.step === 'callback' && call.at <= to && call.at + call.ms >= from && wasThere(call)).map(({ n }) => n!))
}

/** Sets of tokens that some replicas gave and wrote no audit event of. */
export const eventsMissing = ({ redemptions, events }: Pick<History, 'redemptions' | 'events'>, isOne: (replica: string | undefined) => boolean) =>
  redemptions.filter(({ status, replica }) => status === 200 && isOne(replica)).length - events.filter(({ replica }) => isOne(replica)).length

/** Milliseconds as seconds, with one decimal; an absent value stays absent. */
export const inSeconds = (milliseconds: number | undefined) => milliseconds === undefined ? undefined : Math.round(milliseconds / 100) / 10

/** Seconds from one moment to another, where there was one. */
export const since = (at: number | undefined, begin: number) => at === undefined ? undefined : inSeconds(at - begin)

/** Milliseconds without decimals. */
export const whole = (milliseconds: number | undefined) => milliseconds === undefined ? undefined : Math.round(milliseconds)
