import type { Criterion } from './fault.ts'
import type { Attempt, History, Try } from './history.ts'

/** Who is there to prove something when a run ends. */
export interface Present {
  /** logins came at a rate; else only those that the fault itself brought */
  isLoad: boolean
  /** one in so many of them was tried again while they came */
  oneIn: number
  /** the services that are registered */
  services: readonly string[]
  sites: readonly string[]
  /** the replicas that answer */
  replicas: ReadonlyArray<{ name: string, site: string }>
}

/** That there was something to find a breach in: in an empty history nothing is broken, and nobody fails. */
export const shown = ({ history, present }: { history: History, present: Present }, attempts: readonly Attempt[] = history.attempts): Criterion[] => [
  eachIsSome('logins', loginsOf(attempts, present)),
  codesTriedAgain(history, present),
  ...present.isLoad ? [eachIsSome('answers to what an end has to reach, after it', afterEnds(history, present))] : []
]

const eachIsSome = (what: string, counts: Record<string, number>): Criterion => {
  const all = Object.entries(counts)
  return { what: `${what}: some of each`, measured: all.map(([name, count]) => `${name} ${count}`).join(', ') || 'none', passed: all.length > 0 && all.every(([, count]) => count > 0) }
}

/** How many logins there were for each service: under load for all of them, else for those that anybody came to. */
function loginsOf (attempts: readonly Attempt[], { isLoad, services }: Present) {
  const counts = new Map(isLoad ? services.map(service => [service, 0]) : [])
  for (const { client } of attempts) counts.set(client, (counts.get(client) ?? 0) + 1)
  return Object.fromEntries(counts)
}

/** Every code that reached a service which is still registered is tried once more by it at every replica that answers, and that says yes or no. */
function codesTriedAgain ({ attempts, redemptions }: History, { isLoad, services, sites, replicas }: Present): Criterion {
  const answered = Map.groupBy(redemptions.filter(({ status }) => status > 0 && status < 500), ({ code, by }) => `${by} ${code}`)
  const brought = attempts.filter(({ code, client }) => code !== undefined && services.includes(client))
  const everywhere = brought.filter(({ code, client, endedAt = Infinity }) => {
    const since = new Set(answered.get(`${client} ${code}`)?.filter(({ at }) => at >= endedAt).map(({ replica }) => replica))
    return replicas.every(({ name }) => since.has(name))
  })
  return {
    what: 'codes that were tried again at every replica that answers: all',
    measured: `${everywhere.length} of ${brought.length}, at ${replicas.map(({ name }) => name).join(', ') || 'none'}`,
    passed: everywhere.length === brought.length && (brought.length > 0 || !isLoad) && sites.every(mark => replicas.some(({ site }) => site === mark))
  }
}

/** What was refused after an acknowledged end, or was good, and not what nobody could say. Of one login in many, under a load that has most of them told to come again, few had a session that was ended. */
function afterEnds ({ endings, uses, tries }: History, { oneIn }: Present): Partial<Record<'userinfo' | Try['by'], number>> {
  const ends = new Map<string, number>()
  for (const { access_token, at } of endings) ends.set(access_token, Math.min(at, ends.get(access_token) ?? Infinity))
  const isLate = ({ access_token, at }: { access_token: string, at: number }) => at >= (ends.get(access_token) ?? Infinity)
  const late = tries.filter(tried => tried.isGood !== undefined && isLate(tried))
  const count = (by: Try['by']) => late.filter(tried => tried.by === by).length
  return {
    userinfo: uses.filter(use => (use.status === 200 || use.status === 401) && isLate(use)).length,
    introspection: count('introspection'),
    ...oneIn === 1 ? { session: count('session'), code: count('code') } : {}
  }
}
