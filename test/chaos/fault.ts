import { setTimeout as pause } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Violation } from './checker.ts'
import type { Attempt, Redemption } from './history.ts'
import { shown } from './proof.ts'
import { startRun, type Ended } from './run.ts'
import type { Stage, StageOptions } from './stage.ts'

/** How much comes, and for how long. */
export interface Measure {
  /** logins a second, at all providers together */
  rate: number
  /** how long the fault lasts */
  seconds: number
}

/** How a fault is to be run. */
export interface Terms extends Measure {
  /** the variants that are run */
  variants: readonly string[]
  /** a few seconds a fault: what is counted must hold, what takes time is not looked at */
  short: boolean
  /** the directory of the previous release, where there is one to be tried beside this one */
  previous?: string | undefined
  /** Takes the last stage down and sets up a new one; the short form makes do with the last where that is as wanted. */
  newStage (options?: StageOptions): Promise<Stage>
  /** Tells whoever waits how far it is. */
  say (line: string): void
}

/** What must be, what was, and whether that will do. */
export interface Criterion { what: string, measured: string, passed: boolean, /** it is about how long something took */ timed?: boolean }

/** What came of one variant of a fault; an absent figure could not be measured. */
export interface Result {
  fault: string
  variant: string
  figures: Record<string, number | string | undefined>
  criteria: Criterion[]
  violations: Violation[]
  /** how the breaker went, as it was seen */
  changes?: string[]
  /** the attempts that should have ended well and did not */
  failed: Attempt[]
  /** those that went on after one offered click */
  recovered: Attempt[]
  /** of codes that hold their record, the redemptions beyond the first */
  alone?: Redemption[]
}

/** One row of the table of faults. */
export interface Fault {
  about: string
  variants: readonly string[]
  /** the variants that the short form runs, the first unless set */
  short?: readonly string[]
  /** what is other than with most faults, unless somebody says how he wants it */
  usual?: Partial<Measure>
  run (terms: Terms): Promise<Result[]>
}

/** A fault that goes from one variant to the next, each on a stage as it wants it and as the one before has left it. */
export function faultOf <Variant extends { stage?: StageOptions }> (number: string, { variants, run, ...told }: Omit<Fault, 'variants' | 'run'> & { variants: Record<string, Variant>, run (stage: Stage, name: string, variant: Variant, terms: Terms): Promise<Result | undefined> }): Fault {
  return {
    ...told,
    variants: Object.keys(variants),
    async run (terms) {
      const results: Result[] = []
      let set: { stage: Stage, as: StageOptions | undefined } | undefined
      for (const [name, variant] of Object.entries(variants).filter(([name]) => terms.variants.includes(name))) {
        if (set === undefined || !isDeepStrictEqual(set.as, variant.stage)) {
          set = { stage: await terms.newStage(variant.stage), as: variant.stage }
          if (!terms.short) await warmUp(set.stage, { rate: terms.rate })
        }
        terms.say(`${number} ${name}`)
        const result = await run(set.stage, name, variant, terms)
        if (result !== undefined) results.push(result)
      }
      return results
    }
  }
}

/** A criterion that holds when nothing was counted. */
export const none = (what: string, count: number): Criterion => ({ what: `${what}: 0`, measured: String(count), passed: count === 0 })

/** A criterion that holds when something came in time. */
export const within = (what: string, limitSeconds: number, seconds: number | undefined): Criterion =>
  ({ what: `${what} within ${limitSeconds} s`, measured: seconds === undefined ? 'never' : `${seconds} s`, passed: seconds !== undefined && seconds <= limitSeconds, timed: true })

/** A result in the short form: without the criteria that are about time. */
export const untimed = (result: Result): Result => ({ ...result, criteria: result.criteria.filter(({ timed }) => timed !== true) })

/** What every run must show, whatever the fault. */
export const always = (ended: Ended): Criterion[] => [...shown(ended), ...unbroken(ended)]

/** What no run may break. */
export const unbroken = ({ violations, lostTokens, leftOut }: Ended): Criterion[] => [
  none('invariants broken', violations.length),
  none('live tokens refused', lostTokens),
  none('logins that the driver left out', leftOut)
]

/** Load without any fault, until what compiles late is compiled and every provider is known. */
export async function warmUp (stage: Stage, { rate, seconds = 5 }: { rate: number, seconds?: number }) {
  const run = startRun(stage, { rate })
  await pause(seconds * 1000)
  await run.end()
}
