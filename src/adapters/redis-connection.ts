import { connect, isIP, type Socket } from 'node:net'
import { connect as connectSecurely, createSecureContext } from 'node:tls'
import { AbstractConnector, Cluster, Redis, type ClusterOptions, type RedisOptions } from 'ioredis'
import { inTime } from './in-time.ts'
import { jittered } from './jittered.ts'
import { localhostLookup } from './localhost-lookup.ts'
import { accessOf, nodeAt, type RedisAddress } from './redis-address.ts'
import { endOf, refusalOf, RedisTrouble } from './redis-trouble.ts'

interface Patience { redis: RedisOptions, cluster?: ClusterOptions }
type Tell = (trouble: RedisTrouble) => void

/** A connection to one Redis or to a Cluster, whose slots it looks at each second; `onTrouble` hears what is wrong with it, again and again while it is. */
export function connectRedis (address: RedisAddress, { redis, cluster }: Patience, onTrouble: Tell = () => {}): Redis | Cluster {
  const { urls, cluster: isCluster = urls.length > 1 } = address
  if (!isCluster) return connectNode(address, urls[0]!, { ...redis, retryStrategy: pauseMs }, onTrouble)
  const connection = new Cluster(urls.map(nodeAt), {
    slotsRefreshInterval: 1000,
    slotsRefreshTimeout: 500,
    scaleReads: 'master',
    clusterRetryStrategy: pauseMs,
    // a seed keeps its name: it is looked up for each connection, its certificate is checked for it, and one that is not known takes no other with it
    dnsLookup: (name, callback) => callback(null, name),
    ...cluster,
    redisOptions: { ...redis, ...optionsOf(address, onTrouble) }
  })
  const hear = listenerOf(onTrouble)
  connection.on('error', hear)
  connection.on('node error', hear)
  return connection
}

/** A connection to one node. */
export function connectNode (address: RedisAddress, url: string, options: RedisOptions, onTrouble: Tell = () => {}): Redis {
  const connection = new Redis({ ...options, ...nodeAt(url), ...optionsOf(address, onTrouble) })
  connection.on('error', listenerOf(onTrouble))
  return connection
}

/** Ends a connection for good: a Cluster that looks at its slots at this very moment would go on looking, once a second. */
export function disconnectRedis (connection: Redis | Cluster) {
  if (connection instanceof Cluster) connection.refreshSlotsCache = () => {}
  connection.disconnect()
}

/**
 * A wait until a connection can be asked, for so many milliseconds at most. What the library is given before, it keeps for as long as that lasts, also when nobody waits for it any more, and does it
 * afterwards; of whoever gives up waiting here nothing is left, however long it lasts. One that has ended need not be waited for: it refuses at once.
 */
export function readiness (connection: Redis | Cluster, late: (milliseconds: number) => Error) {
  const waiting = new Set<() => void>()
  const wake = () => { for (const goOn of waiting) goOn() }
  connection.on('ready', wake)
  connection.on('end', wake)
  return async (milliseconds: number) => {
    if (connection.status === 'ready' || connection.status === 'end') return
    const { promise, resolve } = Promise.withResolvers<void>()
    waiting.add(resolve)
    try { await inTime(milliseconds, promise, late) } finally { waiting.delete(resolve) }
  }
}

const pauseMs = (times: number) => jittered(Math.min(times * 100, 500))

function optionsOf (address: RedisAddress, onTrouble: Tell): RedisOptions {
  const { username, password, isSecure } = accessOf(address)
  const hear = listenerOf(onTrouble)
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(isSecure ? { tls: {} } : {}),                                   // which tells the library only that the handshake is to be waited for
    connectionName: 'passerelle',
    disableClientInfo: true,                                            // a command more for each connection, and a right that Redis 7.0 has no name for
    Connector: connectorOf(address, onTrouble) as unknown as NonNullable<RedisOptions['Connector']>,
    // every refusal passes here; none is a reason to connect anew but that of one that is a replica now: the same address leads to another primary, where there is one
    reconnectOnError (error) {
      hear(error)
      return error.message.startsWith('READONLY ')
    }
  }
}

/** Hears refusals; all else that goes wrong is the connector's to tell. */
const listenerOf = (tell: Tell) => (error: Error) => {
  const code = refusalOf(error)
  if (code !== undefined) tell(new RedisTrouble(code))
}

/** Makes every socket, those included that look at the slots, of which the library says only that they ended. */
function connectorOf (address: RedisAddress, tell: Tell) {
  const { ca, certificate, serverName } = address.tls ?? {}
  const { isSecure } = accessOf(address)
  const secureContext = isSecure ? createSecureContext({ ca, ...certificate, minVersion: 'TLSv1.2' }) : undefined

  return class extends AbstractConnector {
    readonly #node: { host: string, port: number }

    constructor (options: { host: string, port: number, disconnectTimeout: number }) {
      super(options.disconnectTimeout)
      this.#node = options
    }

    override async connect () {
      this.connecting = true
      await new Promise(resolve => process.nextTick(resolve))
      if (!this.connecting) throw new Error('Connection is closed.')    // the library's own words, which it looks for
      const { host, port } = this.#node
      const to = { host, port, lookup: localhostLookup }
      const servername = serverName ?? (isIP(host) ? '' : host)
      this.stream = isSecure ? connectSecurely({ ...to, secureContext: secureContext!, rejectUnauthorized: true, servername }) : connect(to)
      this.#watch(this.stream)
      return this.stream
    }

    #watch (socket: Socket) {
      const { host, port } = this.#node
      let reached = false
      let secured = false
      let failed: Error | undefined
      socket.once('connect', () => { reached = true })
      socket.once('secureConnect', () => { secured = true })
      // for good: one that speaks TLS may fail once more after it was given up, and the library listens once
      socket.on('error', error => {
        failed ??= error
        this.firstError = error
      })
      socket.once('close', () => {
        if (!this.connecting) return                                    // we ended it
        const code = endOf({ error: failed, isSecure, reached, secured, spoke: socket.bytesRead > 0 })
        if (code !== undefined) tell(new RedisTrouble(code, `${isIP(host) === 6 ? `[${host}]` : host}:${port}`))
      })
    }
  }
}
