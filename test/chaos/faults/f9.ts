import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, type Result, type Terms } from '../fault.ts'
import { failedAmong } from '../figures.ts'
import { aPrimary, untilWell } from '../redis.ts'
import type { Stage } from '../stage.ts'

/** so long the primary says nothing to its replica before it ends; services keep codes for half of it, so that some are lost on their way */
const unsaidMs = 2000
/** What a failover may lose, and so break, is counted; nothing loses what these are about. */
const absolute = new Set(['I2', 'I5', 'I6'])

/** F9: writes that a primary acknowledged are lost with it, since its replica did not have them. */
export const writesLost = faultOf<{ stage?: undefined }>('F9', {
  about: 'acknowledged writes lost in a failover: a primary is killed whose replica was cut off from it before',
  variants: { lost: {} },
  async run (stage: Stage, name, variant, terms: Terms): Promise<Result> {
    const { cluster } = stage
    const { primary, replica } = await aPrimary(cluster)
    const course = await underLoad(stage, terms, async () => {
      // it asks to be let in by a name that nobody knows, and once more each second
      await cluster.command(replica, 'CONFIG', 'SET', 'masteruser', 'nobody', 'masterauth', 'nothing')
      await cluster.command(primary, 'CLIENT', 'KILL', 'TYPE', 'replica')
      await pause(unsaidMs)
      const [kept, has] = await Promise.all([primary, replica].map(async node => Number(await cluster.command(node, 'DBSIZE'))))
      await cluster.kill(primary)
      await pause(terms.seconds * 1000)
      return { unsaid: kept! - has! }
    }, { persists: true, keptMs: unsaidMs / 2 })
    await cluster.command(replica, 'CONFIG', 'SET', 'masteruser', '', 'masterauth', '')
    await cluster.rejoin(primary)
    await untilWell(cluster)

    const attempts = touchable(course)
    const again = attempts.filter(({ after }) => after !== undefined)
    const lost = course.violations.filter(({ invariant }) => !absolute.has(invariant))
    return resultOf(course, {
      fault: 'F9',
      variant: name,
      figures: {
        'records that the replica did not have': course.marks.unsaid,
        'failed at first': failedAmong(attempts).length - failedAmong(again).length,
        'of them through by a fresh login': again.length - failedAmong(again).length,
        'live tokens refused': course.lostTokens,
        'used or ended things that were good again': lost.length
      },
      criteria: [
        { what: 'records were lost', measured: String(course.marks.unsaid), passed: course.marks.unsaid > 0 },
        none('citizens whom a fresh login did not get through', failedAmong(again).length)
      ],
      always: [
        none('I2, I5 and I6 broken', course.violations.length - lost.length),
        none('logins that the driver left out', course.leftOut)
      ]
    })
  }
})
