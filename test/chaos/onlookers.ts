import { setTimeout as pause } from 'node:timers/promises'
import { startCrowd, type Answered } from './crowd.ts'
import type { Criterion } from './fault.ts'
import type { Replica } from './replica.ts'
import { createService, type Scene } from './service.ts'

/** questions in a second: few enough to be no load */
const atTheDoor = 40
const atProbes = 12
const memoryEveryMs = 1000

/** A citizen does not notice a page that comes within this. On a core of its own the loop stands still for longer now and then, while the engine collects and compiles beside it: hence not the last few. */
const awayWithinMs = 50
/** of fewer than these one half is looked at */
const enough = 20
/** Kubelet and load balancers wait a second or more. */
const probeWithinMs = 1000

/**
 * Looks at one replica while too many come: how soon it sends somebody away, at its own port and by a process that does nothing else, so that neither the load balancer nor a busy driver
 * counts; whether its probes are answered; and how much memory it takes.
 */
export function lookOn (scene: Scene, replica: Replica) {
  const { pathname, search } = new URL(createService(scene, scene.stage.clients[0]!).authorizationUrl({ state: 'onlooker', nonce: 'onlooker', code_challenge: 'x'.repeat(43) }))
  const door = startCrowd({ addresses: [`${replica.url}${pathname}${search}`], rate: atTheDoor })
  const probes = startCrowd({ addresses: ['/livez', '/readyz', '/metrics'].map(path => replica.operations + path), rate: atProbes })
  let mostBytes = 0
  const over = new AbortController()
  const looking = (async () => {
    while (!over.signal.aborted) {
      mostBytes = Math.max(mostBytes, await residentBytes(replica).catch(() => 0))
      await pause(memoryEveryMs)
    }
  })()

  return {
    /** Nobody looks any more; what was seen. */
    async end () {
      over.abort()
      const [seenAtDoor, seenAtProbes] = await Promise.all([door.end(), probes.end(), looking])
      const away = seenAtDoor.answers.find(({ status }) => status === 503)
      const { count = 0, p50 = 0, p95 = 0 } = away ?? {}
      const [share, took] = count < enough ? [50, p50] : [95, p95]
      const badProbes = seenAtProbes.answers.filter(({ status }) => status !== 200).reduce((sum, { count }) => sum + count, seenAtProbes.unanswered)
      const slowestProbe = Math.max(...seenAtProbes.answers.map(({ max }) => max))
      return {
        mostBytes,
        figures: {
          'sent away at the replica, of those who looked': count,
          'of them half within, ms': tenth(away?.p50),
          'of them 95 % within, ms': tenth(away?.p95),
          'of them 99 % within, ms': tenth(away?.p99),
          'the slowest, ms': tenth(away?.max),
          'let in: half within, ms': tenth(seenAtDoor.answers.find(({ status }) => status === 200)?.p50),
          'the slowest probe, ms': tenth(slowestProbe)
        },
        criteria: [
          { what: `503 at the replica: ${share} % in less than ${awayWithinMs} ms`, measured: away === undefined ? 'nobody was sent away' : `${tenth(took)} ms`, passed: took < awayWithinMs, timed: true },
          { what: 'probes and metrics that were not answered by 200: 0', measured: String(badProbes), passed: badProbes === 0 },
          { what: `the slowest probe within ${probeWithinMs} ms`, measured: `${tenth(slowestProbe)} ms`, passed: slowestProbe <= probeWithinMs, timed: true }
        ] satisfies Criterion[]
      }
    }
  }
}

/** Memory that a replica takes. */
export const residentBytes = (replica: Replica) => replica.metric('process_resident_memory_bytes')

const tenth = (milliseconds: Answered['p50'] | undefined) => milliseconds === undefined ? undefined : Math.round(milliseconds * 10) / 10
