import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { freePort } from '../world/free-port.ts'

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
}

export interface RedisSettings { password?: string, host?: '127.0.0.1' | '::1' }

interface RedisProcess { host: string, port: number, busPort: number, child: ChildProcess, frozen: boolean }

const startMs = 10_000
const formMs = 30_000
/** What our own looks at Redis, the upkeep of connections and clusters, and the look for recalls each second call. */
const chatter = /^(acl|hgetall|asking|auth|cluster|client|command|config|hello|info|monitor|ping|psync|readonly|readwrite|replconf|role|select|subscribe|unsubscribe|scan|type|ttl|dbsize|flushall|debug|latency|slowlog)(\||$)/

const running = new Set<ChildProcess>()
process.once('exit', () => { for (const child of running) child.kill('SIGKILL') })

/** One Redis on a free port of this machine, gone with the test. */
export async function startRedis (t: Lifetime, { password, host = '127.0.0.1' }: RedisSettings = {}): Promise<RedisNodes & { url: string }> {
  const launch = launcher(t, password === undefined ? [] : ['--requirepass', password])
  const nodes = nodesOf(t, [await launch(host)], launch, password)
  return { ...nodes, url: nodes.urls[0]! }
}

/** A Redis Cluster as production has it, only smaller: it answers on every node when this resolves. */
export async function startCluster (t: Lifetime, { primaries = 3, replicas = 0, nodeTimeoutMs = 2000, password }: { primaries?: number, replicas?: 0 | 1, nodeTimeoutMs?: number, password?: string } = {}): Promise<RedisCluster> {
  const launch = launcher(t, [
    '--cluster-enabled', 'yes',
    '--cluster-node-timeout', String(nodeTimeoutMs),
    '--cluster-require-full-coverage', 'no',
    '--cluster-replica-validity-factor', '0',
    '--cluster-allow-replica-migration', 'yes',
    '--repl-diskless-sync-delay', '0',
    '--repl-ping-replica-period', '1',                                // a replica that was told nothing yet is not in the map of slots
    ...(password === undefined ? [] : ['--requirepass', password, '--masterauth', password])
  ])
  const size = primaries * (1 + replicas)
  const processes = await Promise.all(Array.from({ length: size }, () => launch('127.0.0.1')))
  const nodes = nodesOf(t, processes, launch, password)
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
    }
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

function launcher (t: Lifetime, settings: string[]) {
  return async (host: string, wanted?: { port: number, busPort: number }): Promise<RedisProcess> => {
    for (let attempt = 0; attempt < 5; attempt++) {
      const { port, busPort } = wanted ?? { port: await freePort(host), busPort: await freePort(host) }
      const folder = mkdtempSync(join(tmpdir(), 'passerelle-redis-'))
      const bus = settings.includes('--cluster-enabled') ? ['--cluster-port', String(busPort)] : []
      const child = spawn('redis-server', ['--port', String(port), '--bind', host, '--dir', folder, '--save', '', '--appendonly', 'no', '--daemonize', 'no', ...bus, ...settings], { stdio: 'ignore' })
      running.add(child)
      child.once('exit', () => running.delete(child))
      t.teardown(async () => {
        await end(child)
        rmSync(folder, { recursive: true, force: true })
      })
      await Promise.race([once(child, 'spawn'), once(child, 'error').then(([error]) => { throw error })])
      if (await answers(child, host, port)) return { host, port, busPort, child, frozen: false }
      await end(child)                                                  // somebody else took the port
    }
    throw new Error('redis-server does not start')
  }
}

function nodesOf (t: Lifetime, processes: RedisProcess[], launch: ReturnType<typeof launcher>, password: string | undefined): RedisNodes {
  const credentials = password === undefined ? '' : `:${encodeURIComponent(password)}@`
  const urls = processes.map(({ host, port }) => `redis://${credentials}${host.includes(':') ? `[${host}]` : host}:${port}`)
  const connections = new Map<ChildProcess, Redis>()
  t.teardown(() => { for (const connection of connections.values()) connection.disconnect() })
  const isUp = ({ child, frozen }: RedisProcess) => !frozen && child.exitCode === null && child.signalCode === null

  const connection = ({ host, port, child }: RedisProcess) => {
    const known = connections.get(child)
    if (known !== undefined) return known
    const made = new Redis({ host, port, ...(password === undefined ? {} : { password }), connectTimeout: 2000, commandTimeout: 5000, maxRetriesPerRequest: 1 })
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
    async restart (i) { processes[i] = await launch(processes[i]!.host, processes[i]!) },

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

/** A way to one Redis that can carry a command there and lose the answer: the connection is cut before the answer passes. */
export async function startLossyWay (t: Lifetime, url: string) {
  const { hostname, port } = new URL(url)
  const sockets = new Set<Socket>()
  let losing: RegExp | undefined
  let lost = 0
  const server = createServer(near => {
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
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { for (const socket of sockets) socket.destroy(); server.close() })
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** Loses the answer to the next command that reads so. */
    loseAnswerTo (command: RegExp) { losing = command },
    get lost () { return lost }
  }
}

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
