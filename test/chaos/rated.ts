import { setTimeout as pause } from 'node:timers/promises'
import type { Terms } from './fault.ts'
import { failedAmong, inSeconds, slowMs } from './figures.ts'
import { metricOfAll } from './replica.ts'
import { startRun } from './run.ts'
import type { Stage } from './stage.ts'

/** The load that a stage was found to be made for. */
export interface Rated {
  /** logins a second: half of the highest rate that was sustained */
  rate: number
  /** what every fault that goes by it reports */
  figures: Record<string, number | string>
}

const step = 1.25
const stepSeconds = 4
const shortSeconds = 2
/** Whoever begins logins later than this does not bring the rate. */
const lateMs = 500
/** Below this nothing is to be learnt. */
const lowest = 4

const known = new WeakMap<Stage, Promise<Rated>>()

/** The rated load of this stage, looked for once: the rate is raised step by step until something fails, takes unusually long, or the driver itself is late. */
export function ratedLoad (stage: Stage, terms: Pick<Terms, 'rate' | 'short' | 'say'>): Promise<Rated> {
  const found = known.get(stage) ?? look(stage, terms)
  known.set(stage, found)
  return found
}

async function look (stage: Stage, { rate: first, short, say }: Pick<Terms, 'rate' | 'short' | 'say'>): Promise<Rated> {
  const seconds = short ? shortSeconds : stepSeconds
  const sustained = async (rate: number) => {
    const found = await sustain(stage, rate, seconds)
    return found.limit === undefined ? found : sustain(stage, rate, seconds)   // once more, since a busy machine fails a step that the gateway would not
  }
  let rate = first
  let found = await sustained(rate)
  let limit = found.limit
  for (; found.limit !== undefined; found = await sustained(rate)) {
    if (rate < lowest) throw new Error(`not even ${whole(rate)} logins a second are sustained: ${found.limit}`)
    rate /= step
  }
  let { busy } = found
  while (limit === undefined) {
    found = await sustained(rate * step)
    limit = found.limit
    if (limit !== undefined) break
    rate *= step
    busy = found.busy
  }
  say(`sustained ${whole(rate)} logins a second; at ${whole(rate * step)} ${limit}`)
  return {
    rate: rate / 2,
    figures: {
      'rated, logins a second': whole(rate / 2),
      'highest rate sustained, logins a second': whole(rate),
      'a core by the gateway at that, %': whole(busy * 100),
      'what limits it': limit
    }
  }
}

/** Load at one rate: what came in its way, and which part of a core the gateway took. */
async function sustain (stage: Stage, rate: number, seconds: number) {
  const coreSeconds = () => metricOfAll(stage.replicas, 'process_cpu_seconds_total')
  const before = await coreSeconds()
  const run = startRun(stage, { rate, oneIn: 'none' })
  await pause(seconds * 1000)
  const busy = (await coreSeconds() - before) / seconds / stage.replicas.length
  const { history: { attempts }, mostLateMs, leftOut } = await run.end()
  const [failed] = failedAmong(attempts)
  const longestMs = Math.max(...attempts.map(({ startedAt, endedAt = Infinity }) => endedAt - startedAt))
  const limit = failed !== undefined
    ? `a login failed: ${failed.why}`
    : mostLateMs > lateMs || leftOut > 0
      ? `the driver was ${inSeconds(mostLateMs)} s late`
      : longestMs > slowMs ? `a login took ${inSeconds(longestMs)} s` : undefined
  return { limit, busy }
}

const whole = Math.round
