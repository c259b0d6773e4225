import { Cluster, Redis, type ClusterOptions, type RedisOptions } from 'ioredis'

/** One address: a single Redis; several: seeds of a Redis Cluster. */
export type RedisUrls = readonly string[]

interface Patience { redis: RedisOptions, single?: RedisOptions, cluster?: ClusterOptions }

/** A connection to one Redis or to a Cluster, whose slots it looks at each second. */
export function connectRedis (urls: RedisUrls, { redis, single, cluster }: Patience): Redis | Cluster {
  const [only, ...others] = urls.map(url => new URL(url))
  if (others.length === 0) return new Redis(only!.href, { ...redis, retryStrategy: times => Math.min(times * 100, 500), ...single })
  const { username, password, protocol } = only!
  return new Cluster([only!, ...others].map(({ hostname, port }) => ({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) })), {  // 0, and so 6379, where it is not said
    slotsRefreshInterval: 1000,
    slotsRefreshTimeout: 500,
    scaleReads: 'master',
    clusterRetryStrategy: times => Math.min(times * 100, 500),
    ...cluster,
    redisOptions: {
      ...redis,
      username: decodeURIComponent(username),
      password: decodeURIComponent(password),
      ...(protocol === 'rediss:' ? { tls: {} } : {})
    }
  })
}

/** Ends a connection for good: a Cluster that looks at its slots at this very moment would go on looking, once a second. */
export function disconnectRedis (connection: Redis | Cluster) {
  if (connection instanceof Cluster) connection.refreshSlotsCache = () => {}
  connection.disconnect()
}
