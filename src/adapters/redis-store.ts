import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { OAuthError } from '../protocol/errors.ts'
import type { Store } from '../ports.ts'
import { recordStore, within, type Cells } from './record-store.ts'

export interface RedisStoreOptions {
  /** one address: a single Redis; several: seeds of a Redis Cluster */
  urls: readonly string[]
  site: string
  /** `cluster-node-timeout` of the cluster: a failover takes that and up to 2.3 s more */
  nodeTimeoutMs?: number
  /** connection errors, for the log: a command's own failure is its caller's */
  onError?: (error: Error) => void
}

/** Redis as the keeper of records; one key a command, no transactions, no scripts. Total patience outlasts a failover, and has one end. */
export function redisStore ({ urls, site, nodeTimeoutMs = 2000, onError = () => {} }: RedisStoreOptions): Store {
  const deadlineMs = nodeTimeoutMs + 4000
  const redis = connect(urls, deadlineMs)
  redis.on('error', onError)

  const ask = async <T>(answer: Promise<T>): Promise<T> => {
    try { return await within(deadlineMs, answer) } catch (cause) {
      throw cause instanceof OAuthError ? cause : new OAuthError('store_unavailable', 'the store could not answer', { cause })
    }
  }

  const cells: Cells = {
    swapNew: (key, value, seconds) => ask(redis.set(key, value, 'EX', seconds, 'NX', 'GET')),
    async set (key, value, seconds) { await ask(redis.set(key, value, 'EX', seconds)) },
    get: (key, slideSeconds) => ask(slideSeconds === undefined ? redis.get(key) : redis.getex(key, 'EX', slideSeconds)),
    async add (key, field, value, seconds) {
      await ask(Promise.all([redis.hset(key, field, value), redis.expire(key, seconds)])
        .then(([, timed]) => timed === 0 ? redis.expire(key, seconds) : timed))  // in a failover the second may have come first
    },
    all: key => ask(redis.hvals(key)),
    async close () {
      try { await within(1000, redis.quit()) } catch { redis.disconnect() }  // a Redis that is away must not keep us
    }
  }
  return recordStore(cells, { site })
}

/** Measured settings: no failed write through a primary that is killed or frozen at node timeouts up to 2 s. */
function connect (urls: readonly string[], deadlineMs: number): Redis | Cluster {
  const patience: RedisOptions = { connectTimeout: 500, socketTimeout: 800, commandTimeout: deadlineMs, maxRetriesPerRequest: 1 }
  const [only, ...others] = urls.map(url => new URL(url))
  if (others.length === 0) return new Redis(only!.href, { ...patience, maxRetriesPerRequest: null, retryStrategy: times => Math.min(times * 100, 500) })
  const { username, password, protocol } = only!
  return new Cluster([only!, ...others].map(({ hostname, port }) => ({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) })), {  // 0, and so 6379, where it is not said
    slotsRefreshInterval: 1000,
    slotsRefreshTimeout: 500,
    retryDelayOnFailover: 200,
    retryDelayOnClusterDown: 200,
    maxRedirections: 64,
    scaleReads: 'master',
    clusterRetryStrategy: times => Math.min(times * 100, 500),
    redisOptions: {
      ...patience,
      username: decodeURIComponent(username),
      password: decodeURIComponent(password),
      ...(protocol === 'rediss:' ? { tls: {} } : {})
    }
  })
}
