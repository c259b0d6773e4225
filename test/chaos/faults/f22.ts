import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, type Result, type Terms } from '../fault.ts'
import { eventsMissing, failedAmong } from '../figures.ts'
import { metricOfAll, type Replica } from '../replica.ts'
import type { Stage } from '../stage.ts'

/** What hinders one replica to tell what it does: before it serves, or in the middle; answers what ends it, and how many lines were given up by that. */
interface Variant { before?: (replica: Replica) => Promise<() => Promise<number>>, amid?: (replica: Replica) => () => void, stage?: undefined }

const hangingReaders = 100

/** F22: nobody takes what a replica writes. */
export const nobodyReads = faultOf<Variant>('F22', {
  about: 'the log pipe blocked, the disk full, or readers of the metrics that hang',
  variants: {
    pipe_blocked: {
      amid (replica) {
        replica.holdLog()
        return () => replica.takeLog()
      }
    },
    disk_full: {
      async before (replica) {
        await restarted(replica, '/dev/full')
        return () => restarted(replica)
      }
    },
    metrics_hung: { amid: ({ operations }) => hang(operations) }
  },
  async run (stage: Stage, name, { before, amid }, terms: Terms): Promise<Result> {
    const { replicas, replicas: [silent] } = stage
    const restore = await before?.(silent!)
    const lostLines = () => metricOfAll(replicas, 'passerelle_log_lines_lost_total')
    const lostBefore = await lostLines()
    const course = await underLoad(stage, terms, async () => {
      const release = amid?.(silent!)
      await pause(terms.seconds * 1000)
      const [scraped, ready] = await Promise.all(['/metrics', '/readyz'].map(path => fetch(silent!.operations + path, { signal: AbortSignal.timeout(5000) }).then(({ status }) => status, () => 0)))
      release?.()
      return { scraped, ready }
    })
    const counted = await lostLines() - lostBefore
    const givenUp = await restore?.() ?? 0
    const lost = counted + givenUp

    const { history, marks: { scraped, ready }, violations } = course
    const missing = eventsMissing(history, () => true)
    const missingElsewhere = eventsMissing(history, name => name !== silent!.name)
    const failed = failedAmong(touchable(course))
    return resultOf(course, {
      fault: 'F22',
      variant: name,
      figures: { 'audit events missing': missing, 'lines counted as lost': counted, 'lines that it said at its end it had not written': givenUp },
      criteria: [
        none('logins that failed', failed.length),
        { what: 'audit events that are missing: as many at most as lines of the log, of any kind, are counted as lost', measured: `${missing} of ${lost} lines`, passed: missing <= lost },
        none('audit events missing of replicas that could write', missingElsewhere),
        { what: 'metrics and probes answer whoever reads: 200', measured: `${scraped} ${ready}`, passed: scraped === 200 && ready === 200 }
      ],
      always: [
        none('I1 to I5 broken', violations.filter(({ invariant }) => invariant !== 'I6').length),
        none('live tokens refused', course.lostTokens),
        none('logins that the driver left out', course.leftOut)
      ]
    })
  }
})

/** Starts a replica anew; how many lines of its log it had held and could not write. */
async function restarted (replica: Replica, logTo?: string) {
  const { complaints = [] } = await replica.stop('SIGTERM') ?? {}
  await replica.start({ logTo })
  return complaints.reduce((sum, line) => sum + Number(/^(\d+) lines of the log could not be written/.exec(line)?.[1] ?? 0), 0)
}

/** Connections that ask for the metrics and never read them, or never finish to ask. */
function hang (operations: string) {
  const { hostname, port } = new URL(operations)
  const readers = Array.from({ length: hangingReaders }, (_, i): Socket => {
    const socket = connect({ host: hostname, port: Number(port) }, () => { socket.write(`GET /metrics HTTP/1.1\r\nhost: ${hostname}\r\n${i % 2 === 0 ? '\r\n' : 'x-unfinished: '}`) })
    return socket.on('error', () => {}).pause()
  })
  return () => { for (const reader of readers) reader.destroy() }
}
