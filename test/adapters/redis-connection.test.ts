import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { createServer as createSecureServer, type TLSSocket } from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Redis } from 'ioredis'
import t from 'tap'
import { connectNode, connectRedis, disconnectRedis, readiness } from '../../src/adapters/redis-connection.ts'
import { makeCertificate } from '../support/certificate.ts'
import { listen } from '../support/listen.ts'
import { startRedis } from '../support/redis.ts'

t.test('a node is told by which name it was asked for, where it has one', async t => {
  const certificate = await makeCertificate(['redis.localhost', 'redis.internal', '127.0.0.1'])
  const server = createSecureServer(certificate)
  const { port } = await listen(t, server)
  for (const [host, serverName, told] of [['redis.localhost', undefined, 'redis.localhost'], ['127.0.0.1', undefined, false], ['127.0.0.1', 'redis.internal', 'redis.internal'], ['redis.localhost', 'redis.internal', 'redis.internal']] as const) {
    const url = `rediss://${host}:${port}`
    const met = once(server, 'secureConnection') as Promise<[TLSSocket]>
    const connection = connectNode({ urls: [url], tls: { ca: certificate.cert, serverName } }, url, {})
    const [{ servername }] = await met
    t.equal(servername, told, `${host} as ${serverName}`)
    disconnectRedis(connection)
  }
})

t.test('what is ended before it reached out reaches nobody', async t => {
  const server = createServer(socket => socket.end('welcome'))
  const { port, count } = await listen(t, server)
  const url = `redis://127.0.0.1:${port}`
  for (let i = 0; i < 5; i++) disconnectRedis(connectNode({ urls: [url] }, url, {}))
  await new Promise(resolve => setImmediate(resolve))
  await once(connect(port, '127.0.0.1'), 'data')
  t.equal(count(), 1, 'but who came later')
})

t.test('that a node ends a connection before it said anything is a trouble; that one does which served, or that we do, is none', async t => {
  const [curt, curtAtSix, silent] = await Promise.all([
    listen(t, createServer(socket => socket.resume().end())),
    listen(t, createServer(socket => socket.resume().end()), '::1'),
    listen(t, createServer(socket => socket.resume()))
  ])
  const redis = await startRedis(t)
  const ways: Array<[url: string, event: string, end: (connection: Redis) => unknown, heard: string[]]> = [
    [`redis://127.0.0.1:${curt.port}`, 'connect', () => {}, [`CLOSED_UNHEARD at 127.0.0.1:${curt.port}`]],
    [`redis://[::1]:${curtAtSix.port}`, 'connect', () => {}, [`CLOSED_UNHEARD at [::1]:${curtAtSix.port}`]],
    [`redis://127.0.0.1:${silent.port}`, 'connect', disconnectRedis, []],
    [redis.url, 'ready', () => redis.command(0, 'CLIENT', 'KILL', 'TYPE', 'normal'), []]
  ]
  for (const [url, event, end, troubles] of ways) {
    const heard: string[] = []
    const connection = connectNode({ urls: [url] }, url, { retryStrategy: null }, ({ code, address }) => heard.push(`${code} at ${address}`))
    const ended = once(connection, 'end')
    await once(connection, event)
    await end(connection)
    await ended
    t.same(heard, troubles)
  }
})

t.test('of whoever gives up waiting for a Redis that is away nothing is left, however long it lasts; who still waits goes on when it is there', { buffered: true }, async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const redis = await startRedis(t)
  await redis.kill(0)
  const connection = connectRedis({ urls: redis.urls }, { redis: {} })
  t.teardown(() => disconnectRedis(connection))
  const ready = readiness(connection, milliseconds => new Error(`not within ${milliseconds} ms`))
  const giveUp = async (count: number) => {
    const given = await Promise.allSettled(Array.from({ length: count }, () => ready(1)))
    t.ok(given.every(({ status }) => status === 'rejected'))
    await pause(50)
    collect()
    return process.memoryUsage().heapUsed
  }
  await giveUp(10_000)                                                   // until what is needed once is there
  const before = await giveUp(10_000)
  for (let round = 0; round < 4; round++) await giveUp(10_000)
  const bytesEach = (await giveUp(10_000) - before) / 50_000
  t.ok(bytesEach < 100, `${Math.round(bytesEach)} bytes are kept of each`)

  const waits = ready(10_000)
  await redis.restart(0)
  await waits
  t.equal(connection.status, 'ready')
})
