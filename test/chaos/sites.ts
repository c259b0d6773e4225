import { startLossyWay, type Lifetime, type RedisCluster } from '../support/redis.ts'
import type { Replica } from './replica.ts'

/** A way to one port of a site. */
type Way = Awaited<ReturnType<typeof startLossyWay>>

/** One place with its own replicas and its own Redis, and the ways by which it is reached from elsewhere. */
export interface Site { mark: string, cluster: RedisCluster, replicas: Replica[], ways: Way[] }

/** What is between sites, in both directions: replicas ask the Redis of another site across it. */
export interface Link {
  /** Connections end, and none is made any more. */
  cut (): void
  /** Connections stay open, and nothing passes any more. */
  swallow (): void
  mend (): void
}

/** A way to each node of a cluster. */
export const waysTo = (t: Lifetime, { urls }: RedisCluster) => Promise.all(urls.map(url => startLossyWay(t, url)))

/** The port of the way to each port of these sites. */
export const portsBy = (sites: ReadonlyArray<Pick<Site, 'cluster' | 'ways'>>) => Object.fromEntries(sites.flatMap(({ cluster, ways }) =>
  ways.map(({ url }, i) => [new URL(cluster.urls[i]!).port, Number(new URL(url).port)])))

/** All the ways between these sites as one. */
export function linkOf (sites: readonly Site[]): Link {
  const each = (change: (way: Way) => void) => () => sites.flatMap(({ ways }) => ways).forEach(change)
  return { cut: each(way => way.cut()), swallow: each(way => way.swallow()), mend: each(way => way.mend()) }
}
