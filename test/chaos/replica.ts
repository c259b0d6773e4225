import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from '../support/redis.ts'
import { createClock } from './clock.ts'
import { onFirstCore } from './cores.ts'
import type { TokenEvent } from './history.ts'
import { blockLoop, fillMemory, memoryOf } from './inspector.ts'
import { end, launch, runs, type Launched } from './processes.ts'

/** How a replica is started, where it is not as it was before. */
export interface StartOptions {
  /** the directory of the release that it is; this one unless set */
  release?: string | undefined
  /** a file that takes its log, which nobody reads then */
  logTo?: string | undefined
  /** so many bytes of its log are held at most where nobody takes them, and it says at its end how many lines went into it */
  logHolds?: number | undefined
}

/** How a replica ended that was told to. */
export interface Exit { code: number | null, signal: NodeJS.Signals | null, ms: number, /** the last lines of its stderr */ complaints: readonly string[] }

/** A process of the gateway. */
export interface Replica {
  name: string
  /** the mark of its site */
  site: string
  /** where it answers by itself, past the load balancer */
  url: string
  operations: string
  /** its configuration, which is its own */
  directory: string
  /** the address that its calls to Redis come from */
  address: string
  /** the sets of tokens that it wrote down */
  events: TokenEvent[]
  /** how many lines of its log were read since it was started last */
  lines: () => number
  /** how often it ended without being told to */
  exits: () => number
  /** whether it is worth asking: it was started, and neither told to end nor frozen */
  isThere (): boolean
  start (options?: StartOptions): Promise<void>
  stop (signal?: NodeJS.Signals): Promise<Exit | undefined>
  /** SIGSTOP: connections stay open and nothing answers any more. */
  freeze (): void
  thaw (): void
  /** Keeps its event loop busy for so long. */
  blockLoop (milliseconds: number): Promise<void>
  /** The bytes of what it needs, and of the whole of it. */
  memory (): Promise<{ needed: number, resident: number }>
  /** Has it keep so many bytes that it does not need, until it ends. */
  fillMemory (bytes: number): Promise<void>
  /** It makes no new connection to these ports, at whatever address. */
  cutOff (ports: readonly number[]): void
  /** Nobody reads its log, until somebody does again. */
  holdLog (): void
  takeLog (): void
  /** Sets its clock so many seconds ahead of ours, or behind. */
  shiftClock (seconds: number): void
  /** the hash of the configuration that it has in force */
  hash (): Promise<string | undefined>
  /** the sum of a metric over all its labels that match */
  metric (name: string, labels?: RegExp): Promise<number>
}

interface ReplicaOptions {
  name: string
  site: string
  directory: string
  port: number
  operationsPort: number
  inspectorPort: number
  address: string
  redis: string[]
  /** by which way it reaches a port that it does not reach at once */
  ways: Record<string, number>
  /** it has the first core, and nothing else does */
  pinned?: boolean
}

/** The sum of a metric over all replicas, and over all its labels that match. */
export const metricOfAll = async (replicas: readonly Replica[], name: string, labels?: RegExp) =>
  (await Promise.all(replicas.map(replica => replica.metric(name, labels)))).reduce((sum, value) => sum + value, 0)

/** The ports that a configuration has which is to be the same for all replicas; each listens at its own instead. */
export const commonPorts = { port: 8080, operationsPort: 9090 } as const

const ownRelease = fileURLToPath(new URL('../..', import.meta.url))
const ownAddress = fileURLToPath(new URL('preloads/own-address.ts', import.meta.url))
const countedLog = fileURLToPath(new URL('preloads/counted-log.ts', import.meta.url))
const startMs = 60_000
/** A drain may last until the last request is answered; longer than this is none. */
const stopMs = 60_000

/** Describes a replica; `start` makes it one. */
export function createReplica ({ name, site, directory, port, operationsPort, inspectorPort, address, redis, ways, pinned = false }: ReplicaOptions): Replica {
  const operations = `http://127.0.0.1:${operationsPort}`
  const events: TokenEvent[] = []
  const clock = createClock(`${directory}-clock`)                     // beside it: what is in it is a configuration
  let current: Launched | undefined
  let isFrozen = false
  let exits = 0
  let lines = 0

  /** The log holds a line for each request: of the others none is looked at. */
  const onLine = (line: string) => {
    lines++
    if (!line.includes('"event":"token"')) return
    const { login, client_id, outcome } = JSON.parse(line)
    if (outcome !== 'success') return
    events.push({ login, client_id, replica: name })
  }
  const metrics = async () => (await fetch(`${operations}/metrics`)).text()
  return {
    name,
    site,
    url: `http://127.0.0.1:${port}`,
    operations,
    directory,
    address,
    events,
    lines: () => lines,
    exits: () => exits,
    isThere: () => current !== undefined && runs(current) && !isFrozen,
    async start ({ release = ownRelease, logTo, logHolds } = {}) {
      lines = 0
      const [program = '', ...before] = [...(pinned ? onFirstCore : []), process.execPath]
      const launched = launch(program, [...before, `--inspect-port=127.0.0.1:${inspectorPort}`, '--import', ownAddress, ...clock.args, ...(logHolds === undefined ? [] : ['--import', countedLog]), join(release, 'src/server.ts')], {
        env: { PASSERELLE_CONFIG: directory, PASSERELLE_SITE: site, PASSERELLE_REDIS: redis.join(' '), CHAOS_ADDRESS: address, CHAOS_WAYS: JSON.stringify(ways), CHAOS_CUT: `${directory}-cut`, CHAOS_LISTEN: JSON.stringify({ [commonPorts.port]: port, [commonPorts.operationsPort]: operationsPort }), ...clock.env, ...(logHolds === undefined ? {} : { CHAOS_LOG_BYTES: String(logHolds) }) },
        onLine,
        outputTo: logTo
      })
      current = launched
      launched.child.once('exit', () => { if (current === launched) exits++ })
      await until(`replica ${name} is ready`, startMs, async () => {
        if (!runs(launched)) throw new Error(`replica ${name} ended: ${launched.complaints.join('\n')}`)
        return fetch(`${operations}/readyz`).then(({ ok }) => ok, () => false)
      })
    },
    async stop (signal) {
      const launched = current
      current = undefined
      isFrozen = false
      if (launched === undefined) return undefined
      const began = performance.now()
      await end(launched, signal, stopMs)
      return { code: launched.child.exitCode, signal: launched.child.signalCode, ms: Math.round(performance.now() - began), complaints: launched.complaints }
    },
    freeze () { current!.child.kill('SIGSTOP'); isFrozen = true },
    thaw () { current!.child.kill('SIGCONT'); isFrozen = false },
    blockLoop: milliseconds => blockLoop(current!, inspectorPort, milliseconds),
    memory: () => memoryOf(current!, inspectorPort),
    fillMemory: bytes => fillMemory(current!, inspectorPort, bytes),
    cutOff (ports) { writeFileSync(`${directory}-cut`, ports.join(' ')) },
    holdLog () { current!.holdOutput() },
    takeLog () { current!.takeOutput() },
    shiftClock (seconds) { clock.shift(current!, seconds) },
    hash: async () => /^passerelle_configuration_info\{hash="(\w+)"\} 1$/m.exec(await metrics())?.[1],
    async metric (name, labels = /^/) {
      return [...(await metrics()).matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm'))].filter(([, own = '']) => labels.test(own)).reduce((sum, [, , value]) => sum + Number(value), 0)
    }
  }
}
