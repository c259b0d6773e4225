import calculateSlot from 'cluster-key-slot'
import { Cluster } from 'ioredis'
import { OAuthError } from '../protocol/errors.ts'
import { withinOneDeadline } from './one-deadline.ts'
import { primaryBreakers } from './primary-breakers.ts'
import { recordStore, tooLate, within, type Cells, type RecordStore } from './record-store.ts'
import type { RedisAddress } from './redis-address.ts'
import { connectRedis, disconnectRedis, readiness } from './redis-connection.ts'
import type { RedisTrouble } from './redis-trouble.ts'

export interface RedisStoreOptions extends RedisAddress {
  site: string
  /** what is wrong with the connection, for the log: a command's own failure is its caller's */
  onError?: (trouble: RedisTrouble) => void
}

/** Redis as the keeper of records; one key a command, no transactions, no scripts. Total patience outlasts a failover, and has one end for all that a request asks. */
export function redisStore ({ site, onError, ...address }: RedisStoreOptions): RecordStore {
  const deadlineMs = (address.nodeTimeoutMs ?? 2000) + 4000
  const redis = connect(address, deadlineMs, onError)
  const ready = readiness(redis, tooLate)
  const breakers = primaryBreakers()

  const ask = <T>(command: () => Promise<T>): Promise<T> => withinOneDeadline(deadlineMs, async leftMs => {
    const until = performance.now() + leftMs
    try {
      await ready(leftMs)
      return await within(until - performance.now(), command())
    } catch (cause) {
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
const connect = (address: RedisAddress, deadlineMs: number, onError: RedisStoreOptions['onError']) => connectRedis(address, {
  redis: { connectTimeout: 500, socketTimeout: 800, commandTimeout: deadlineMs, maxRetriesPerRequest: 1 },
  single: { maxRetriesPerRequest: null },
  cluster: { retryDelayOnFailover: 200, retryDelayOnClusterDown: 200, maxRedirections: 64 }
}, onError)
