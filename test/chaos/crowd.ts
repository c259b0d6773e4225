import { setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { end, launch, type Launched } from './processes.ts'
import { parsed } from './calls.ts'

/** What a crowd was answered at one path with one status; times are milliseconds from the question to the end of the answer. */
export interface Answered { path: string, status: number, count: number, p50: number, p95: number, p99: number, max: number }

export interface CrowdOptions {
  addresses: readonly string[]
  /** questions in a second; as fast as they are answered unless set */
  rate?: number
  /** as many at a time */
  connections?: number
}

const program = fileURLToPath(new URL('crowd-process.ts', import.meta.url))

/** A crowd that asks and does not go on, in a process of its own. */
export function startCrowd ({ addresses, rate = 0, connections = 64 }: CrowdOptions) {
  let said = ''
  const crowd = launch(process.execPath, [program, '--rate', String(rate), '--connections', String(connections), ...addresses], { onLine: line => { said += line } })
  if (rate > 0) looksFirst(crowd)
  return {
    /** Sends it away; what it was answered, and how often it was not. */
    async end (): Promise<{ answers: Answered[], unanswered: number }> {
      await end(crowd)
      const told = parsed(said)
      if (told === undefined) throw new Error(`the crowd said nothing: ${crowd.complaints.join('\n')}`)
      return told as never
    }
  }
}

export type Crowd = ReturnType<typeof startCrowd>

/** Who looks how soon others are answered is not to wait for a core itself; only the superuser may grant that. */
function looksFirst ({ child: { pid } }: Launched) {
  try { setPriority(pid!, -10) } catch {}
}
