import { ranks, type Rank } from '../../src/adapters/load-gauge.ts'
import type { Criterion, Result } from './fault.ts'
import { failedAmong, isThroughBalancer, isWell, percentile, whole } from './figures.ts'
import type { History } from './history.ts'
import type { Rated } from './rated.ts'
import type { Replica } from './replica.ts'

/** of the rated logins, that must be completed however many come */
const completedShare = 0.9
/** of those that got in, that may be lost */
const lostShare = 0.01

/** How logins fared that began in this time, when more came than could be served. */
export function fared ({ attempts, requests }: History, { from, to }: { from: number, to: number }, { rate }: Pick<Rated, 'rate'>) {
  const begun = attempts.filter(({ startedAt }) => startedAt >= from && startedAt < to)
  const completed = attempts.filter(attempt => isWell(attempt) && attempt.endedAt! >= from && attempt.endedAt! < to).length
  const gotIn = new Set(begun.filter(({ login }) => login !== undefined).map(({ n }) => n))
  const sentAway = new Set(requests.filter(call => call.status === 503 && isThroughBalancer(call) && call.replica !== undefined && gotIn.has(call.n!)).map(({ n }) => n))
  const failed = failedAmong(begun)
  const atTheDoor = failed.filter(({ n, why = '' }) => !gotIn.has(n) && why === 'authorize: 503 Y08').length
  const otherwise = failed.length - atTheDoor - failed.filter(({ n }) => sentAway.has(n)).length
  const waits = requests.filter(({ n, step, status, at }) => n !== undefined && step === 'authorize' && status === 503 && at >= from && at < to).map(({ ms }) => ms)
  const seconds = (to - from) / 1000
  const rated = rate * seconds
  const atMost = Math.ceil(gotIn.size * lostShare)
  return {
    figures: {
      'logins begun a second': Math.round(begun.length / seconds),
      'completed a second': Math.round(completed / seconds),
      'completed, % of the rated': Math.round(completed / rated * 100),
      'sent away at the door': atTheDoor,
      'which took, by way of the balancer, half within, ms': whole(percentile(waits, 0.5)),
      'and 99 % within, ms': whole(percentile(waits, 0.99)),
      'got in': gotIn.size,
      'sent away under way': sentAway.size,
      'failed in another way': otherwise
    },
    criteria: [
      { what: `logins completed: at least ${completedShare * 100} % of the rated`, measured: `${Math.round(completed / rated * 100)} %`, passed: completed >= rated * completedShare },
      { what: `logins that got in and were sent away later: at most ${lostShare * 100} %`, measured: `${sentAway.size} of ${gotIn.size}`, passed: sentAway.size <= atMost },
      { what: `logins that failed in another way: at most ${lostShare * 100} %`, measured: `${otherwise} of ${gotIn.size}`, passed: otherwise <= atMost }
    ] satisfies Criterion[]
  }
}

/** What a replica has sent away until now, by how far it had come. */
export async function shedBy (replica: Replica): Promise<Record<Rank, number>> {
  const counts = await Promise.all(ranks.map(async rank => [rank, await replica.metric('passerelle_requests_shed_total', new RegExp(`class="${rank}"`))] as const))
  return Object.fromEntries(counts) as Record<Rank, number>
}

/** The difference, as figures. */
export const shedSince = (now: Record<Rank, number>, before: Record<Rank, number>): Result['figures'] => Object.fromEntries(ranks.map(rank => [`shed by the replica: ${rank}`, now[rank] - before[rank]]))
