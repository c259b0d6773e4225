import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, touchable, underLoad, type Course } from '../course.ts'
import { faultOf, none, within, type Criterion, type Result, type Terms } from '../fault.ts'
import { failedAmong, inSeconds, longestRequestMs } from '../figures.ts'
import { aPrimary, untilWell } from '../redis.ts'
import { nodeTimeoutMs, type Stage } from '../stage.ts'

/** F4: a Redis primary is gone from one moment to the next. */
export const primaryKilled = faultOf<{ stage?: undefined }>('F4', {
  about: 'SIGKILL of a Redis primary',
  variants: { killed: {} },
  async run ({ cluster, ...stage }: Stage, name, variant, terms: Terms): Promise<Result> {
    const { primary } = await aPrimary(cluster)
    const course = await underLoad({ cluster, ...stage }, terms, async () => {
      await cluster.kill(primary)
      await pause(terms.seconds * 1000)
    })
    await cluster.rejoin(primary)
    await untilWell(cluster)
    return resultOf(course, { fault: 'F4', variant: name, ...riddenThrough(course) })
  }
})

/** What a primary that fails may cost: patience, and no login of any client. */
export function riddenThrough (course: Course<unknown>): { figures: Result['figures'], criteria: Criterion[] } {
  const failed = Map.groupBy(failedAmong(touchable(course)), ({ client }) => client)
  return {
    figures: { 'failed at `allow`': failed.get('allow')?.length ?? 0, 'failed at `deny`': failed.get('deny')?.length ?? 0 },
    criteria: [
      none('logins that failed at `allow`', failed.get('allow')?.length ?? 0),
      none('logins that failed at `deny`', failed.get('deny')?.length ?? 0),
      within('the longest request', nodeTimeoutMs / 1000 + 4, inSeconds(longestRequestMs(course.history.requests, course.from)))
    ]
  }
}
