import { setTimeout as pause } from 'node:timers/promises'
import calculateSlot from 'cluster-key-slot'
import { Cluster, ReplyError } from 'ioredis'
import { OAuthError } from '../protocol/errors.ts'
import { withinOneDeadline } from './one-deadline.ts'
import { primaryBreakers } from './primary-breakers.ts'
import { recordStore, tooLate, within, type Cells, type RecordStore } from './record-store.ts'
import type { StoreWatch } from '../ports.ts'
import type { RedisAddress } from './redis-address.ts'
import { connectRedis, disconnectRedis, readiness } from './redis-connection.ts'
import { watchedCall } from './watched-call.ts'
import type { RedisTrouble } from './redis-trouble.ts'

export interface RedisStoreOptions extends RedisAddress {
  site: string
  /** what is wrong with the connection, for the log: a command's own failure is its caller's */
  onError?: (trouble: RedisTrouble) => void
  /** told of each call, with all that it waited; of one that is no longer waited for when it ends */
  watch?: StoreWatch | undefined
}

/** Redis as the keeper of records; one key a command, no transactions, no scripts. Total patience outlasts a failover, and has one end for all that a request asks. */
export function redisStore ({ site, onError, watch, ...address }: RedisStoreOptions): RecordStore {
  const deadlineMs = (address.nodeTimeoutMs ?? 2000) + 4000
  const redis = connect(address, deadlineMs, onError)
  const ready = readiness(redis, tooLate)
  const breakers = primaryBreakers()

  /** Asks until there is an answer or the time is over. The library is not left to ask again: it would go on when nobody waits any more, and claim what somebody was told to come again with. */
  const ask = <T>(command: () => Promise<T>): Promise<T> => watchedCall(watch, 'needed', () => withinOneDeadline(deadlineMs, async leftMs => {
    const until = performance.now() + leftMs
    const left = () => until - performance.now()
    try {
      while (left() > 0) {
        await ready(left())
        try { return await within(left(), command()) } catch (error) {
          if (redis.status === 'end' || !passes(error)) throw error
        }
        if (redis instanceof Cluster) redis.refreshSlotsCache()
        await pause(Math.max(0, Math.min(againMs, left())))
      }
    } catch (cause) {
      if (!(cause instanceof OAuthError)) throw new OAuthError('store_unavailable', 'the store could not answer', { cause })
    }
    throw tooLate(leftMs)
  }))

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

/** a pause before who was not answered asks again */
const againMs = 200

/** Whether it may be otherwise in a moment: a connection that broke, a Cluster that elects, a primary that has become a replica. */
const passes = (error: unknown) => !(error instanceof ReplyError) || /^(CLUSTERDOWN|READONLY) /.test(String((error as Error).message))

/** Measured settings: no failed write through a primary that is killed or frozen at node timeouts up to 2 s. */
const connect = (address: RedisAddress, deadlineMs: number, onError: RedisStoreOptions['onError']) => connectRedis(address, {
  redis: { connectTimeout: 500, socketTimeout: 800, commandTimeout: deadlineMs, maxRetriesPerRequest: 0 },
  cluster: { retryDelayOnFailover: 0, retryDelayOnClusterDown: 0, maxRedirections: 4 }
}, onError)
