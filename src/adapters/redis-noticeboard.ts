import type { Redis } from 'ioredis'
import type { Noticeboard, StoreWatch } from '../ports.ts'
import { inTime } from './in-time.ts'
import type { RedisAddress } from './redis-address.ts'
import { connectNode, connectRedis, disconnectRedis, readiness } from './redis-connection.ts'
import { watchedCall } from './watched-call.ts'

export interface RedisNoticeboardOptions extends RedisAddress {
  /** told of each call, and of each error of a connection */
  watch?: StoreWatch | undefined
}

/** what nobody's login waits for, and what is read at a start */
const patienceMs = 500
/** a count, which a request waits for; nothing else is waited for */
const tallyPatienceMs = 100
const betweenNodesMs = 500
const tooLong = () => new Error('too long')
const heartbeatMs = 5000

/**
 * Redis as what replicas can do without, over connections of its own: nothing waits behind a call that somebody needs, and nothing here fails. What cannot be told at once
 * is not told. A listening connection has no socket time-out, since nothing may be said for hours: it is asked now and then whether it lives.
 */
export function redisNoticeboard ({ watch, ...address }: RedisNoticeboardOptions): Noticeboard {
  const impatient = { connectTimeout: 500, socketTimeout: 800, commandTimeout: patienceMs, maxRetriesPerRequest: 0, enableOfflineQueue: false }
  const redis = connectRedis(address, { redis: impatient, cluster: { enableOfflineQueue: false, maxRedirections: 2, retryDelayOnFailover: 20, retryDelayOnClusterDown: 20 } })
  const ready = readiness(redis, tooLong)
  const ask = <T>(call: () => Promise<T>) => watchedCall(watch, 'optional', call)
  /** Also as it is just being connected. */
  const askSoon = <T>(call: () => Promise<T>) => ask(() => inTime(patienceMs, ready(patienceMs).then(call), tooLong))
  // who is not asked anything notices by the connection only
  const onError = () => watch?.called('optional', 'unavailable', 0)
  redis.on('error', onError)
  const listeners = new Map<string, (message: string) => void>()
  let isClosed = false
  let listening = listenAt(0)

  /** Listens at one node, which every node of a Cluster tells; when that ends, at the next. */
  function listenAt (turn: number): Redis {
    const connection = connectNode(address, address.urls[turn % address.urls.length]!, { connectTimeout: 500, commandTimeout: patienceMs, autoResubscribe: false, maxRetriesPerRequest: 0, retryStrategy: () => null })
    connection.on('error', onError)
    connection.on('ready', () => { for (const channel of listeners.keys()) listen(channel) })
    connection.on('message', (channel, message) => listeners.get(channel)?.(message))
    connection.on('end', () => { setTimeout(() => { if (!isClosed) listening = listenAt(turn + 1) }, betweenNodesMs).unref() })
    return connection
  }

  // a node that is frozen says nothing of it
  const heartbeat = setInterval(() => { ask(() => listening.ping()).catch(() => listening.disconnect()) }, heartbeatMs).unref()

  function listen (channel: string) { ask(() => listening.subscribe(channel)).catch(() => {}) }

  return {
    async pin (name, text, seconds) {
      try { return await ask(() => redis.set(name, text, 'EX', seconds)) === 'OK' } catch { return false }
    },
    async read (name) {
      try { return await askSoon(() => redis.get(name)) ?? undefined } catch { return undefined }
    },
    async tally (name, more, seconds) {
      try {
        const [sum] = await ask(() => inTime(tallyPatienceMs, Promise.all([redis.incrby(name, more), redis.expire(name, seconds, 'NX')]), tooLong))
        return sum
      } catch { return undefined }
    },
    async pinFirst (name, text, seconds) {
      try { return await askSoon(() => redis.set(name, text, 'EX', seconds, 'NX', 'GET')) ?? text } catch { return undefined }
    },
    async addTo (sets, seconds) {
      try {
        await ask(() => Promise.all([...sets].flatMap(([name, members]) => [redis.pfadd(name, ...members), redis.expire(name, seconds)])))
        return true
      } catch { return false }
    },
    async sizesOf (names) {
      try { return await askSoon(() => Promise.all(names.map(name => redis.pfcount(name)))) } catch { return undefined }
    },
    tell (channel, message) { ask(() => redis.publish(channel, message)).catch(() => {}) },
    hear (channel, listener) {
      listeners.set(channel, listener)
      if (listening.status === 'ready') listen(channel)
    },
    async close () {
      isClosed = true
      clearInterval(heartbeat)
      for (const connection of [redis, listening]) disconnectRedis(connection)
    }
  }
}

/** Of a replica that is alone. */
export const loneNoticeboard: Noticeboard = {
  pin: async () => true,
  read: async () => undefined,
  tally: async () => 0,
  pinFirst: async () => undefined,
  addTo: async () => false,
  sizesOf: async () => undefined,
  tell () {},
  hear () {},
  close: async () => {}
}
