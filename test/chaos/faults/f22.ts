import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, type Criterion, type Result, type Terms } from '../fault.ts'
import { eventsMissing, failedAmong } from '../figures.ts'
import { metricOfAll, type Replica, type StartOptions } from '../replica.ts'
import type { Stage } from '../stage.ts'

/** What hinders one replica to tell what it does: how it is started for that, and what happens in the middle, which answers how that ends. */
interface Variant { log?: StartOptions, amid?: (replica: Replica) => () => void, /** its log holds less than it writes */ overflows?: true, stage?: undefined }

const hangingReaders = 100
/** little enough that what nobody reads is lost within seconds; and as much as a replica holds by default, which is not */
const littleBytes = 32 * 1024
const usualBytes = 8 * 1024 * 1024
/** until more was written than it and the pipe hold */
const overflowsWithin = 60

/** F22: nobody takes what a replica writes. */
export const nobodyReads = faultOf<Variant>('F22', {
  about: 'the log pipe blocked, the disk full, or readers of the metrics that hang',
  variants: {
    pipe_blocked: {
      log: { logHolds: littleBytes },
      overflows: true,
      amid (replica) {
        replica.holdLog()
        return () => replica.takeLog()
      }
    },
    disk_full: { log: { logTo: '/dev/full', logHolds: usualBytes } },
    metrics_hung: { amid: ({ operations }) => hang(operations) }
  },
  async run (stage: Stage, name, { log, amid, overflows }, terms: Terms): Promise<Result> {
    const { replicas, replicas: [silent] } = stage
    if (log !== undefined) await restarted(silent!, log)
    const lostLines = () => metricOfAll(replicas, 'passerelle_log_lines_lost_total')
    const lostBefore = await lostLines()
    const course = await underLoad(stage, terms, async run => {
      const release = amid?.(silent!)
      await pause(terms.seconds * 1000)
      if (overflows) await run.until(async () => await lostLines() > lostBefore, overflowsWithin)
      const [scraped, ready] = await Promise.all(['/metrics', '/readyz'].map(path => fetch(silent!.operations + path, { signal: AbortSignal.timeout(5000) }).then(({ status }) => status, () => 0)))
      release?.()
      return { scraped, ready }
    })
    const counted = await lostLines() - lostBefore
    const told = log && await restarted(silent!)

    const { history, marks: { scraped, ready }, violations } = course
    const isSilent = (name: string | undefined) => name === silent!.name
    const missing = eventsMissing(history, isSilent)
    const missingElsewhere = eventsMissing(history, name => !isSilent(name))
    const failed = failedAmong(touchable(course))
    return resultOf(course, {
      fault: 'F22',
      variant: name,
      figures: {
        'audit events missing': missing + missingElsewhere,
        'lines of the log missing': told && told.written - told.read,
        'lines counted as lost': counted,
        'lines that it said at its end it had not written': told?.left
      },
      criteria: [
        none('logins that failed', failed.length),
        ...told === undefined ? [none('audit events missing', missing)] : allCounted(told, counted),
        none('audit events missing of replicas that could write', missingElsewhere),
        { what: 'metrics and probes answer whoever reads: 200', measured: `${scraped} ${ready}`, passed: scraped === 200 && ready === 200 }
      ],
      always: [
        none('I1 to I5 broken', violations.filter(({ invariant }) => invariant !== 'I6').length),
        none('live tokens refused', course.lostTokens),
        none('logins that the driver left out', course.leftOut)
      ]
    })

    /** No line is lost but those that are counted; what was to be written down of each set of tokens was among the lines. */
    function allCounted ({ written, read, left, tokens }: Told, counted: number): Criterion[] {
      const given = history.redemptions.filter(({ status, replica }) => status === 200 && isSilent(replica)).length
      return [
        { what: 'lines of the log that are missing: some, and as many as are counted as lost', measured: `${written - read}, ${counted + left} counted`, passed: written > read && written - read === counted + left },
        { what: 'sets of tokens, each with an audit event in the log or among the lines that are lost', measured: `${given}, ${tokens} events`, passed: tokens === given }
      ]
    }
  }
})

/** What became of a replica's log until its end: lines that went into it, those of tokens among them, lines that were read, and lines that it held to the end and could not write. */
interface Told { written: number, tokens: number, read: number, left: number }

/** Starts a replica anew, with its log as told; what became of its log until then. */
async function restarted (replica: Replica, log?: StartOptions): Promise<Told> {
  const { complaints = [] } = await replica.stop('SIGTERM') ?? {}
  const read = replica.lines()
  await replica.start(log)
  const [, written, tokens] = complaints.map(line => /^(\d+) lines went into the log, (\d+) of them of tokens$/.exec(line)).find(Boolean) ?? []
  const left = complaints.map(line => /^(\d+) lines of the log could not be written/.exec(line)?.[1]).find(Boolean)
  return { written: Number(written ?? 0), tokens: Number(tokens ?? 0), read, left: Number(left ?? 0) }
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
