/** What one replica said at one moment. */
export interface Observation {
  at: number
  replica: string
  /** the state of each provider's breaker, by its metrics */
  breakers: Record<string, string>
  /** the providers that its chooser says are down */
  down: string[]
  /** its chooser offers no provider */
  isNoneOpen: boolean
  /** and explains that */
  explainsNone: boolean
}

const isClosed = ({ breakers, down }: Observation, idp: string) => (breakers[idp] ?? 'closed') === 'closed' && !down.includes(idp)

/** When things were seen at the replicas, by observations in the order of time; undefined for what was not. */
export function readObservations (observations: readonly Observation[], replicas: readonly string[]) {
  const each = (from: number) => replicas.map(name => observations.filter(({ replica, at }) => replica === name && at >= from))
  const last = (moments: Array<number | undefined>) => moments.every(at => at !== undefined) ? Math.max(...moments) : undefined
  const first = (from: number, isSeen: (observation: Observation) => boolean) => last(each(from).map(seen => seen.find(isSeen)?.at))

  return {
    /** When the first replica had opened its breaker. */
    firstOpenAt: (idp: string, from: number) => observations.find(seen => seen.at >= from && !isClosed(seen, idp))?.at,
    /** When the last replica had opened its breaker, as its metrics or its chooser showed first. */
    openAt: (idp: string, from: number) => first(from, seen => !isClosed(seen, idp)),
    /** When the last replica's chooser showed it. */
    shownAt: (idp: string, from: number) => first(from, ({ down }) => down.includes(idp)),
    /** When the last replica's chooser marked every provider, and explained it. */
    noneAt: (from: number) => first(from, ({ isNoneOpen, explainsNone }) => isNoneOpen && explainsNone),
    /** Each change that was seen of a provider, a line each. */
    changes: (idp: string, from: number) => replicas.flatMap(name => observations.filter(({ replica, at }) => replica === name && at >= from)
      .map(({ at, breakers, down }) => ({ at, state: `${name}: ${breakers[idp] ?? 'unknown'}${down.includes(idp) ? ', said to be down' : ''}` }))
      .filter(({ state }, i, all) => state !== all[i - 1]?.state))
      .sort((a, b) => a.at - b.at).map(({ at, state }) => `${Math.round(at - from)} ms ${state}`),
    /** When the last replica was back to normal for good. */
    closedAt: (idp: string, from: number) => last(each(from).map(seen => seen[seen.findLastIndex(observation => !isClosed(observation, idp)) + 1]?.at))
  }
}
