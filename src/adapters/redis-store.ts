import calculateSlot from 'cluster-key-slot'
import { Cluster } from 'ioredis'
import { OAuthError } from '../protocol/errors.ts'
import { withinOneDeadline } from './one-deadline.ts'
import { primaryBreakers } from './primary-breakers.ts'
import { recordStore, within, type Cells, type RecordStore } from './record-store.ts'
import { connectRedis, disconnectRedis, type RedisUrls } from './redis-connection.ts'

export interface RedisStoreOptions {
  urls: RedisUrls
  site: string
  /** `cluster-node-timeout` of the cluster: a failover takes that and up to 2.3 s more */
  nodeTimeoutMs?: number
  /** connection errors, for the log: a command's own failure is its caller's */
  onError?: (error: Error) => void
}

/** Redis as the keeper of records; one key a command, no transactions, no scripts. Total patience outlasts a failover, and has one end for all that a request asks. */
export function redisStore ({ urls, site, nodeTimeoutMs = 2000, onError = () => {} }: RedisStoreOptions): RecordStore {
  const deadlineMs = nodeTimeoutMs + 4000
  const redis = connect(urls, deadlineMs)
  redis.on('error', onError)
  const breakers = primaryBreakers()

  const ask = <T>(command: () => Promise<T>): Promise<T> => withinOneDeadline(deadlineMs, async leftMs => {
    try { return await within(leftMs, command()) } catch (cause) {
      throw cause instanceof OAuthError ? cause : new OAuthError('store_unavailable', 'the store could not answer', { cause })
    }
  })

  const cells: Cells = {
    swapNew: (key, value, seconds) => ask(() => redis.set(key, value, 'EX', seconds, 'NX', 'GET')),
    async set (key, value, seconds) { await ask(() => redis.set(key, value, 'EX', seconds)) },
    get: (key, slideSeconds) => ask(() => slideSeconds === undefined ? redis.get(key) : redis.getex(key, 'EX', slideSeconds)),
    async add (key, field, value, seconds) {
      await ask(() => Promise.all([redis.hset(key, field, value), redis.expire(key, seconds)])
        .then(([, timed]) => timed === 0 ? redis.expire(key, seconds) : timed))  // in a failover the second may have come first
    },
    all: key => ask(() => redis.hvals(key)),
    standing: async key => Object.values(await ask(() => redis.hgetall(key))),
    partOf: key => redis instanceof Cluster ? redis.slots[calculateSlot(key)]?.[0] ?? '' : '',
    isAway: breakers.isOpen,
    soon: breakers.soon,
    async close () {
      breakers.close()
      await within(1000, redis.quit()).catch(() => {})                  // a Redis that is away must not keep us
      disconnectRedis(redis)
    }
  }
  return recordStore(cells, { site })
}

/** Measured settings: no failed write through a primary that is killed or frozen at node timeouts up to 2 s. */
const connect = (urls: RedisUrls, deadlineMs: number) => connectRedis(urls, {
  redis: { connectTimeout: 500, socketTimeout: 800, commandTimeout: deadlineMs, maxRetriesPerRequest: 1 },
  single: { maxRetriesPerRequest: null },
  cluster: { retryDelayOnFailover: 200, retryDelayOnClusterDown: 200, maxRedirections: 64 }
})
