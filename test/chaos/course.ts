import { setTimeout as pause } from 'node:timers/promises'
import { redeemedAlone } from './checker.ts'
import { none, unbroken, type Criterion, type Result, type Terms } from './fault.ts'
import { failedAmong, loginFigures, recoveredIn, underWayIn } from './figures.ts'
import { shown } from './proof.ts'
import { startRun, type Ended, type Run, type RunOptions } from './run.ts'
import type { Stage } from './stage.ts'

/** How one fault went under load; times are milliseconds since the run began. */
export interface Course<Marks> extends Ended {
  /** when the fault began, when it was over, and when nobody looked any more */
  from: number
  to: number
  end: number
  /** what the fault itself noted */
  marks: Marks
  /** replicas that ended without being told to */
  exits: number
  /** connections that the load balancer tried again */
  retries: number
}

interface CourseOptions extends Omit<RunOptions, 'rate'> {
  /** seconds of load after the fault */
  tailSeconds?: number
}

/** Load, the fault amid it for as long as `strike` takes, and some load after it. */
export async function underLoad<Marks> (stage: Stage, { rate, short }: Pick<Terms, 'rate' | 'short'>, strike: (run: Run) => Promise<Marks>, { tailSeconds = 5, ...options }: CourseOptions = {}): Promise<Course<Marks>> {
  const exitsBefore = exitsOf(stage)
  const retriesBefore = await retriesOf(stage)
  const run = startRun(stage, { rate, ...options })
  await pause(short ? 1000 : 3000)

  const from = run.clock()
  const marks = await strike(run)
  const to = run.clock()
  await pause((short ? Math.min(2, tailSeconds) : tailSeconds) * 1000)
  const end = run.clock()
  const ended = await run.end()
  return { ...ended, from, to, end, marks, exits: exitsOf(stage) - exitsBefore, retries: await retriesOf(stage) - retriesBefore }
}

const exitsOf = ({ replicas }: Stage) => replicas.reduce((sum, { exits }) => sum + exits(), 0)
const retriesOf = async ({ balancer }: Stage) => (await balancer.standing()).reduce((sum, { retries }) => sum + retries, 0)

/** Every attempt that a fault could have touched: under way when it began, or begun since. */
export const touchable = ({ history, from, end }: Course<unknown>) => underWayIn(history, { from, to: end })

/** What every fault reports of its logins, beside what is its own; its criteria, beside what must always hold. */
export function resultOf (course: Course<unknown>, own: Pick<Result, 'fault' | 'variant' | 'figures' | 'criteria'> & { /** in place of what is never to be broken */ always?: Criterion[] }): Result {
  const { history, from, end, violations, replayed, otherCodes, waited, exits } = course
  const alone = redeemedAlone(history)
  return {
    fault: own.fault,
    variant: own.variant,
    figures: {
      ...loginFigures(history, { from, to: end }),
      ...own.figures,
      'logins tried again': replayed,
      'codes of other logins tried again': otherCodes.tried,
      'of them gave tokens then': otherCodes.given,
      ...(waited === 0 ? {} : { 'tried again only when the load was over': waited }),
      'sealed codes redeemed again at another replica': alone.length
    },
    criteria: [...own.criteria, none('replicas that ended by themselves', exits), ...shown(course, touchable(course)), ...own.always ?? unbroken(course)],
    violations,
    failed: failedAmong(touchable(course)),
    recovered: recoveredIn({ attempts: touchable(course) }),
    alone
  }
}
