import { spawn, type ChildProcess } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Redis } from 'ioredis'
import { freePort } from '../world/free-port.ts'
import type { Certificate } from './certificate.ts'

/** Where a test takes things down: its `t`. */
export interface Lifetime { teardown (end: () => unknown): unknown }

/** Real Redis processes of one test, each named by its place in the list. */
export interface RedisNodes {
  urls: string[]
  pids: number[]
  /** SIGKILL: connections are reset, and a replica takes over where there is one. */
  kill (i: number): Promise<void>
  /** SIGSTOP: connections stay open and nothing answers any more. */
  freeze (i: number): void
  thaw (i: number): void
  /** Starts a killed one again, empty, at the same address. */
  restart (i: number): Promise<void>
  /** Starts a killed node of a cluster again as the member that it was, empty, at the same address or at another; `urls` names it then. */
  rejoin (i: number, options?: { elsewhere?: boolean }): Promise<void>
  /** One command to one node. */
  command (i: number, name: string, ...args: Array<string | number>): Promise<unknown>
  /** Every key with its life left in seconds and everything under it, of every node that runs. */
  allValues (): Promise<Array<{ node: number, key: string, seconds: number, values: string[] }>>
  /** Commands that clients sent so far: calls of every primary that runs, without what connections and clusters say among themselves. */
  commandCount (): Promise<number>
}

export interface RedisCluster extends RedisNodes {
  /** The addresses of the first primaries. */
  primaries: string[]
  /** The place of the primary that has the slot of this key now. */
  primaryOf (key: string): Promise<number>
  /** Cuts a node of a severable cluster off from every other, which clients do not notice: they reach all of them. Or only from whoever calls from this address, who is refused. */
  sever (i: number, from?: string): void
  /** A node of a severable cluster, of which nothing comes back any more and to which nothing comes; only for whoever calls from this address, where one is named. */
  swallow (i: number, from?: string): void
  mend (): void
}

/** How a Redis speaks TLS, and nothing else; its own certificate is also what it shows to other nodes. */
export interface RedisTls { ca: string, certificate: Certificate, asksForCertificates?: boolean }

export interface RedisSettings {
  password?: string
  host?: '127.0.0.1' | '::1'
  tls?: RedisTls
  /** lines of an ACL file; whoever has `password`, which it needs, may do everything still */
  acl?: string
}

interface RedisProcess { host: string, port: number, busPort: number, ownPort: number, folder: string, child: ChildProcess, frozen: boolean }
/** What is asked of a process that takes the place of another. */
type Wanted = Pick<RedisProcess, 'port' | 'busPort'> & { folder?: string }

const startMs = 10_000
const formMs = 30_000
/** What our own looks at Redis, the upkeep of connections and clusters, and the look for recalls each second call. */
const chatter = /^(acl|hgetall|asking|auth|cluster|client|command|config|hello|info|monitor|ping|psync|readonly|readwrite|replconf|role|select|subscribe|unsubscribe|scan|type|ttl|dbsize|flushall|debug|latency|slowlog)(\||$)/

/** The line of rights that docs/redis.md tells operators to write, for a user with this password. */
export const writtenRights = (password: string, user = 'passerelle') => /^user passerelle .*$/m.exec(readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8'))![0]
  .replace('user passerelle', `user ${user}`)
  .replace(/#\S+/, `#${hash('sha256', password)}`)

/** Addresses without who we are there. */
export const withoutUser = (urls: readonly string[]) => urls.map(url => url.replace(/\/\/.*@/, '//'))

/** Every command that nodes were asked since they were started, and what of it was refused to somebody whom they know. */
export async function askedOf (nodes: RedisNodes) {
  const all = await Promise.all(nodes.urls.map(async (_, i) => ({
    commands: [...String(await nodes.command(i, 'INFO', 'commandstats')).matchAll(/^cmdstat_([^:]+):/gm)].map(([, name]) => name!),
    refused: (await nodes.command(i, 'ACL', 'LOG') as unknown[]).map(entry => inspect(entry)).filter(entry => !/'reason',\s+'auth'/.test(entry))
  })))
  return { commands: new Set(all.flatMap(({ commands }) => commands)), refused: all.flatMap(({ refused }) => refused) }
}

const running = new Set<ChildProcess>()
process.once('exit', () => { for (const child of running) child.kill('SIGKILL') })

/** One Redis on a free port of this machine, gone with the test. */
export async function startRedis (t: Lifetime, { host = '127.0.0.1', ...settings }: RedisSettings = {}): Promise<RedisNodes & { url: string }> {
  const launch = launcher(t, { host, settings: [], ...settings })
  const nodes = nodesOf(t, [await launch(0)], launch, settings)
  return { ...nodes, url: nodes.urls[0]! }
}

export interface ClusterSettings extends Omit<RedisSettings, 'host'> {
  primaries?: number
  replicas?: 0 | 1
  nodeTimeoutMs?: number
  /** the name that a node announces; without it its address */
  nameOf?: (i: number) => string
  /** whether nodes can be cut off from each other: they reach each other and are reached over ways that this test holds */
  severable?: boolean
}

/** A Redis Cluster as production has it, only smaller: it answers on every node when this resolves. */
export async function startCluster (t: Lifetime, { primaries = 3, replicas = 0, nodeTimeoutMs = 2000, nameOf, severable = false, ...access }: ClusterSettings = {}): Promise<RedisCluster> {
  const ways = severable ? waysBetween(t) : undefined
  const launch = launcher(t, {
    host: '127.0.0.1',
    settings: [
      '--cluster-enabled', 'yes',
      '--cluster-node-timeout', String(nodeTimeoutMs),
      '--cluster-require-full-coverage', 'no',
      '--cluster-replica-validity-factor', '0',
      '--cluster-allow-replica-migration', 'yes',
      '--repl-diskless-sync-delay', '0',
      '--repl-ping-replica-period', '1'                                 // a replica that was told nothing yet is not in the map of slots
    ],
    nameOf,
    ways,
    ...access
  })
  const size = primaries * (1 + replicas)
  const processes = await Promise.all(Array.from({ length: size }, (_, i) => launch(i)))
  const nodes = nodesOf(t, processes, launch, access, nameOf)
  await form(nodes, processes, primaries)

  return {
    ...nodes,
    primaries: nodes.urls.slice(0, primaries),
    async primaryOf (key) {
      for (const [i, { child, frozen }] of processes.entries()) {
        if (frozen || child.exitCode !== null || child.signalCode !== null) continue
        const slot = Number(await nodes.command(i, 'CLUSTER', 'KEYSLOT', key))
        const ranges = await nodes.command(i, 'CLUSTER', 'SLOTS') as Array<[number, number, [string, number]]>
        const port = ranges.find(([first, last]) => first <= slot && slot <= last)?.[2][1]
        return processes.findIndex(candidate => candidate.port === port)
      }
      throw new Error('no node of the cluster runs')
    },
    sever (i, from) { ways!.sever(i, from) },
    swallow (i, from) { ways!.swallow(i, from) },
    mend () { ways!.mend() }
  }
}

async function form (nodes: RedisNodes, processes: RedisProcess[], primaries: number) {
  const size = processes.length
  const every = async (isTrue: (i: number) => Promise<boolean>) => (await Promise.all(processes.map((_, i) => isTrue(i)))).every(Boolean)
  const slots = 16384
  await Promise.all(processes.map(async (_, i) => {
    await nodes.command(i, 'CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
    if (i < primaries) await nodes.command(i, 'CLUSTER', 'ADDSLOTSRANGE', Math.ceil(i * slots / primaries), Math.ceil((i + 1) * slots / primaries) - 1)
  }))
  for (const [i] of processes.entries()) {
    for (const { host, port, busPort } of processes.slice(0, i)) await nodes.command(i, 'CLUSTER', 'MEET', host, port, busPort)
  }
  const info = async (i: number) => String(await nodes.command(i, 'CLUSTER', 'INFO'))
  await until('every node knows every other', formMs, () => every(async i => (await info(i)).includes(`cluster_known_nodes:${size}\r`) && !/handshake/.test(String(await nodes.command(i, 'CLUSTER', 'NODES')))))
  for (let i = primaries; i < size; i++) {
    const id = await nodes.command(i % primaries, 'CLUSTER', 'MYID') as string
    await until('a replica may follow', formMs, async () => await nodes.command(i, 'CLUSTER', 'REPLICATE', id).catch(() => 'not yet') === 'OK')
  }
  await until('every node says that the cluster is well', formMs, () => every(async i => {
    const ranges = await nodes.command(i, 'CLUSTER', 'SLOTS') as unknown[][]
    const isFollowing = i < primaries || /master_link_status:up/.test(String(await nodes.command(i, 'INFO', 'replication')))
    return /cluster_state:ok/.test(await info(i)) && ranges.length === primaries && ranges.every(range => range.length === 2 + size / primaries) && isFollowing
  }))
}

interface LaunchSettings extends Omit<RedisSettings, 'host'> {
  host: string
  settings: string[]
  nameOf?: ((i: number) => string) | undefined
  ways?: Ways | undefined
}

function launcher (t: Lifetime, { host, settings, password, tls, acl, nameOf, ways }: LaunchSettings) {
  const isCluster = settings.includes('--cluster-enabled')
  return async (i: number, wanted?: Wanted): Promise<RedisProcess> => {
    for (let attempt = 0; attempt < 5; attempt++) {
      const own = ways === undefined ? wanted : undefined
      const { port: ownPort, busPort: ownBusPort } = own ?? { port: await freePort(host), busPort: await freePort(host) }
      const folder = wanted?.folder ?? mkdtempSync(join(tmpdir(), 'passerelle-redis-'))
      const file = (name: string, text: string) => {
        writeFileSync(join(folder, name), text)
        return join(folder, name)
      }
      const way = await ways?.lead(i, { port: ownPort, busPort: ownBusPort })
      const child = spawn('redis-server', [
        ...(tls === undefined
          ? ['--port', String(ownPort)]
          : [
              '--port', '0', '--tls-port', String(ownPort), '--tls-replication', 'yes', '--tls-ca-cert-file', file('ca.pem', tls.ca),
              '--tls-cert-file', file('own.pem', tls.certificate.cert), '--tls-key-file', file('own.key', tls.certificate.key), '--tls-auth-clients', tls.asksForCertificates ? 'yes' : 'no'
            ]),
        '--protected-mode', 'no',                                       // which knows no other loopback address than 127.0.0.1
        '--bind', host, '--dir', folder, '--save', '', '--appendonly', 'no', '--daemonize', 'no',
        ...(isCluster ? ['--cluster-port', String(ownBusPort), ...(tls === undefined ? [] : ['--tls-cluster', 'yes'])] : []),
        ...(nameOf === undefined ? [] : ['--cluster-announce-hostname', nameOf(i), '--cluster-preferred-endpoint-type', 'hostname']),
        ...(way === undefined ? [] : ['--cluster-announce-ip', host, '--cluster-announce-port', String(way.port), '--cluster-announce-bus-port', String(way.busPort), '--bind-source-addr', way.from]),
        ...(acl === undefined ? [] : ['--aclfile', file('users.acl', `user default on #${hash('sha256', password!)} ~* &* +@all\n${acl}\n`)]),
        ...(password === undefined ? [] : [...(acl === undefined ? ['--requirepass', password] : []), ...(isCluster ? ['--masterauth', password] : [])]),
        ...settings
      ], { stdio: 'ignore' })
      running.add(child)
      child.once('exit', () => running.delete(child))
      t.teardown(async () => {
        await end(child)
        rmSync(folder, { recursive: true, force: true })
      })
      await Promise.race([once(child, 'spawn'), once(child, 'error').then(([error]) => { throw error })])
      if (await answers(child, host, ownPort)) return { host, port: way?.port ?? ownPort, busPort: way?.busPort ?? ownBusPort, ownPort, folder, child, frozen: false }
      await end(child)                                                  // somebody else took the port
    }
    throw new Error('redis-server does not start')
  }
}

function nodesOf (t: Lifetime, processes: RedisProcess[], launch: ReturnType<typeof launcher>, { password, tls }: Pick<RedisSettings, 'password' | 'tls'>, nameOf?: (i: number) => string): RedisNodes {
  const credentials = password === undefined ? '' : `:${encodeURIComponent(password)}@`
  const urlOf = ({ host, port }: RedisProcess, i: number) => `${tls === undefined ? 'redis' : 'rediss'}://${credentials}${nameOf?.(i) ?? (host.includes(':') ? `[${host}]` : host)}:${port}`
  const urls = processes.map(urlOf)
  const connections = new Map<ChildProcess, Redis>()
  t.teardown(() => { for (const connection of connections.values()) connection.disconnect() })
  const isUp = ({ child, frozen }: RedisProcess) => !frozen && child.exitCode === null && child.signalCode === null

  const connection = ({ host, ownPort, child }: RedisProcess) => {
    const known = connections.get(child)
    if (known !== undefined) return known
    const made = new Redis({
      host,
      port: ownPort,
      ...(password === undefined ? {} : { password }),
      ...(tls === undefined ? {} : { tls: { ca: tls.ca, cert: tls.certificate.cert, key: tls.certificate.key, rejectUnauthorized: false } }),   // a test may have one that is not to be trusted
      connectTimeout: 2000,
      commandTimeout: 5000,
      maxRetriesPerRequest: 1
    })
    made.on('error', () => {})                                          // a command's own failure says it
    connections.set(child, made)
    return made
  }
  const command = async (i: number, name: string, ...args: Array<string | number>) => connection(processes[i]!).call(name, ...args)

  return {
    urls,
    pids: processes.map(({ child }) => child.pid!),
    command,

    async kill (i) {
      connections.get(processes[i]!.child)?.disconnect()
      await end(processes[i]!.child)
    },
    freeze (i) { processes[i]!.child.kill('SIGSTOP'); processes[i]!.frozen = true },
    thaw (i) { processes[i]!.child.kill('SIGCONT'); processes[i]!.frozen = false },
    async restart (i) {
      const { port, busPort } = processes[i]!
      processes[i] = await launch(i, { port, busPort })
    },
    async rejoin (i, { elsewhere = false } = {}) {
      const { host, port, busPort, folder } = processes[i]!
      processes[i] = await launch(i, elsewhere ? { port: await freePort(host), busPort: await freePort(host), folder } : { port, busPort, folder })
      urls[i] = urlOf(processes[i]!, i)
    },

    async allValues () {
      const all = await Promise.all(processes.map(async (node, i) => {
        if (!isUp(node)) return []
        await command(i, 'READONLY').catch(() => {})                    // a node that is no cluster's has no such command
        const found = []
        let cursor = '0'
        do {
          const [next, keys] = await command(i, 'SCAN', cursor, 'COUNT', 1000) as [string, string[]]
          for (const key of keys) {
            const type = await command(i, 'TYPE', key)
            const values = type === 'hash' ? await command(i, 'HGETALL', key) : type === 'string' ? [await command(i, 'GET', key)] : [`a ${type}`]
            found.push({ node: i, key, seconds: Number(await command(i, 'TTL', key)), values: (values as Array<string | null>).filter(value => value !== null) })
          }
          cursor = next
        } while (cursor !== '0')
        return found
      }))
      return all.flat()
    },

    async commandCount () {
      let count = 0
      for (const [i, node] of processes.entries()) {
        if (!isUp(node) || !/role:master/.test(String(await command(i, 'INFO', 'replication')))) continue
        for (const [, name, calls] of String(await command(i, 'INFO', 'commandstats')).matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)) if (!chatter.test(name!)) count += Number(calls)
      }
      return count
    }
  }
}

/** Waits for something that comes about by itself. @throws {Error} when it does not in time */
export async function until (what: string, milliseconds: number, isTrue: () => Promise<boolean> | boolean) {
  const end = performance.now() + milliseconds
  while (!await isTrue()) {
    if (performance.now() > end) throw new Error(`not within ${milliseconds} ms: ${what}`)
    await pause(50)
  }
}

/** A way to one Redis that can carry a command there and lose the answer (the connection is cut before the answer passes), that can be cut, or swallow what comes. */
export async function startLossyWay (t: Lifetime, url: string) {
  let { hostname, port } = new URL(url)
  const sockets = new Set<Socket>()
  let losing: RegExp | undefined
  let lost = 0
  let isCut = false
  let isSwallowing = false
  const swallowed = () => { for (const socket of sockets) socket.pause() }
  const server = createServer(near => {
    if (isCut) { near.destroy(); return }
    const far = connect(Number(port), hostname)
    let cut = false
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => { sockets.delete(socket); near.destroy(); far.destroy() })
    }
    near.on('data', data => {
      if (losing?.test(data.toString('latin1'))) { losing = undefined; cut = true; lost++ }
      far.write(data)
    })
    far.on('data', data => cut ? near.destroy() : near.write(data))
    if (isSwallowing) swallowed()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { for (const socket of sockets) socket.destroy(); server.close() })
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** Loses the answer to the next command that reads so. */
    loseAnswerTo (command: RegExp) { losing = command },
    /** Ends every connection, and lets none through until it is mended. */
    cut () {
      isCut = true
      for (const socket of sockets) socket.destroy()
    },
    /** Keeps every connection, takes more, and lets nothing through until it is mended; those end then. */
    swallow () {
      isSwallowing = true
      swallowed()
    },
    mend () {
      if (isSwallowing) for (const socket of sockets) socket.destroy()
      isCut = isSwallowing = false
    },
    /** Leads whoever connects from now on elsewhere. */
    leadTo (url: string) { ({ hostname, port } = new URL(url)) },
    get lost () { return lost }
  }
}

/** Ways to the nodes of a cluster and between them. Who calls is known by the address that he calls from. */
function waysBetween (t: Lifetime) {
  const sockets = new Set<{ near: Socket, far: Socket, from: string, to: number }>()
  const fromOf = (i: number) => `127.0.0.${11 + i}`
  type Applies = (from: string, to: number) => boolean
  const cuts: Applies[] = []
  const isCut: Applies = (from, to) => cuts.some(applies => applies(from, to))
  const swallowed: Applies[] = []
  const isSwallowed: Applies = (from, to) => swallowed.some(applies => applies(from, to))

  const way = async (to: number, port: number) => {
    const server = createServer({ pauseOnConnect: true }, near => {
      const from = near.remoteAddress!
      if (isCut(from, to)) { near.destroy(); return }
      const far = connect(port, '127.0.0.1')
      const entry = { near, far, from, to }
      sockets.add(entry)
      for (const socket of [near, far]) {
        socket.on('error', () => {})
        socket.on('close', () => { sockets.delete(entry); near.destroy(); far.destroy() })
      }
      if (!isSwallowed(from, to)) near.pipe(far).pipe(near)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    return (server.address() as AddressInfo).port
  }
  t.teardown(() => { for (const { near } of sockets) near.destroy() })

  return {
    async lead (i: number, { port, busPort }: { port: number, busPort: number }) { return { port: await way(i, port), busPort: await way(i, busPort), from: fromOf(i) } },
    sever (i: number, only?: string) {
      cuts.push((from, to) => only === undefined ? from.startsWith('127.0.0.') && from !== '127.0.0.1' && (to === i || from === fromOf(i)) : to === i && from === only)
      for (const { near, from, to } of sockets) if (isCut(from, to)) near.destroy()
    },
    swallow (i: number, only?: string) {
      swallowed.push((from, to) => only === undefined ? to === i || from === fromOf(i) : to === i && from === only)
      for (const { near, far, from, to } of sockets) {
        if (!isSwallowed(from, to)) continue
        near.unpipe(far).pause()
        far.unpipe(near).pause()
      }
    },
    mend () {
      for (const { near, from, to } of sockets) if (isSwallowed(from, to)) near.destroy()
      cuts.length = swallowed.length = 0
    }
  }
}
type Ways = ReturnType<typeof waysBetween>

async function answers (child: ChildProcess, host: string, port: number) {
  const end = performance.now() + startMs
  while (performance.now() < end && child.exitCode === null && child.signalCode === null) {
    const socket = connect(port, host)
    const said = await Promise.race([once(socket, 'connect').then(() => true, () => false), pause(500, false)])
    socket.destroy()
    if (said) {
      await pause(20)                                                   // one that could not have the port has ended by now
      if (child.exitCode === null) return true
    }
    await pause(20)
  }
  return false
}

async function end (child: ChildProcess) {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const gone = once(child, 'exit')
  child.kill('SIGCONT')
  child.kill('SIGKILL')
  await Promise.race([gone, pause(5000, undefined, { ref: false })])
}
