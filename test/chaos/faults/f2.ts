import { resultOf, touchable, underLoad, type Course } from '../course.ts'
import { faultOf, none, within, type Criterion, type Result, type Terms } from '../fault.ts'
import { backToNormal, callbacksUnderWay, failedAmong, inFlightAt, recoveredIn } from '../figures.ts'
import type { Replica } from '../replica.ts'
import type { Stage, StageOptions } from '../stage.ts'

const normalWithin = 10
/** The system tells the load balancer at once; this is for what was on its way. */
const noticedMs = 100

/** F2: one replica is gone from one moment to the next. */
export const replicaKilled = faultOf<{ stage: StageOptions }>('F2', {
  about: 'SIGKILL of one replica; the balancer tries connections again, or also a GET that was not answered',
  variants: {
    killed: { stage: {} },
    killed_gets_retried: { stage: { retriesGets: true } }
  },
  run: killed
})

async function killed (stage: Stage, name: string, variant: unknown, terms: Terms): Promise<Result> {
  const replica = stage.replicas[0]!
  const course = await underLoad(stage, terms, async run => {
    await replica.stop('SIGKILL')
    await run.until(() => false, terms.seconds)
  })
  await replica.start()
  return resultOf(course, { fault: 'F2', variant: name, ...onlyInFlight(course, replica, course.from + noticedMs) })
}

/** A replica that is away since the beginning: only requests that were at it until the load balancer had noticed may be touched. */
export function onlyInFlight (course: Course<unknown>, { name }: Replica, noticedAt: number): { figures: Result['figures'], criteria: Criterion[] } {
  const { history, from } = course
  const inFlight = inFlightAt(history, name, { from, to: noticedAt })
  const calledBack = callbacksUnderWay(history, name, { from, to: noticedAt })
  const recovered = recoveredIn({ attempts: touchable(course) })
  const bySpentCode = recovered.filter(({ n }) => calledBack.has(n))
  const failed = failedAmong(touchable(course))
  const others = failed.filter(({ n }) => !inFlight.has(n))
  return {
    figures: {
      'failed, with a request at that replica': failed.length - others.length,
      'failed otherwise': others.length,
      'tried again by the balancer': course.retries,
      'callbacks under way there then': calledBack.size,
      'of them gone on by one click': bySpentCode.length
    },
    criteria: [
      none('logins that failed without a request at that replica', others.length),
      none('logins that had to go another way without a callback under way there then', recovered.length - bySpentCode.length),
      within('normal', normalWithin, backToNormal(history, from))
    ]
  }
}
