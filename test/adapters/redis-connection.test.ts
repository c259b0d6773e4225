import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { createServer as createSecureServer, type TLSSocket } from 'node:tls'
import type { Redis } from 'ioredis'
import t from 'tap'
import { connectNode, disconnectRedis } from '../../src/adapters/redis-connection.ts'
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
