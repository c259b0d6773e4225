import { setTimeout as pause } from 'node:timers/promises'
import { redeemedAlone } from '../checker.ts'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, within, type Result, type Terms } from '../fault.ts'
import { backToNormal, failedAmong } from '../figures.ts'
import type { Attempt } from '../history.ts'
import { untilWell } from '../redis.ts'
import type { Stage } from '../stage.ts'

/** how soon after the return everything is as usual */
const normalWithin = 5
/** at most so many seconds of arrivals are lost between code and userinfo */
const lostSeconds = 2
/** what a replica redeemed alone it tells Redis within so long: until then another may redeem it, too */
const toldMs = 3000
/** what a client is told whose login waits for Redis in vain */
const toldToComeAgain = /temporarily_unavailable/

/** F7: the whole of Redis is gone, and a replica is started anew meanwhile. */
export const clusterGone = faultOf<{ stage?: undefined }>('F7', {
  about: 'the whole Redis Cluster gone, one replica started anew meanwhile',
  variants: { killed: {} },
  async run (stage: Stage, name, variant, terms: Terms): Promise<Result> {
    const { cluster, replicas } = stage
    const nodes = [...cluster.urls.keys()]
    const replica = replicas.at(-1)!
    const course = await underLoad(stage, terms, async run => {
      const away = { from: run.clock(), to: Infinity }
      run.history.storeAway.push(away)
      await Promise.all(nodes.map(i => cluster.kill(i)))
      const goneAt = run.clock()
      await pause(terms.seconds * 300)
      await replica.stop('SIGTERM')
      await replica.start()
      const startedAt = run.clock()
      await pause(Math.max(0, goneAt + terms.seconds * 1000 - run.clock()))
      await Promise.all(nodes.map(i => cluster.rejoin(i)))
      await untilWell(cluster)
      const backAt = run.clock()
      away.to = backAt + toldMs
      return { goneAt, startedAt, backAt }
    }, { tailSeconds: normalWithin + 5 })

    const { history, marks: { goneAt, startedAt, backAt } } = course
    const failed = failedAmong(touchable(course))
    const ofClient = (client: string) => (attempt: Attempt) => attempt.client === client
    const before = failed.filter(({ startedAt }) => startedAt < goneAt)
    const allowed = failed.filter(attempt => ofClient('allow')(attempt) && attempt.startedAt >= goneAt)
    const denied = failed.filter(attempt => ofClient('deny')(attempt) && attempt.startedAt >= goneAt)
    const servedByNew = history.redemptions.filter(({ status, replica: by, at }) => status === 200 && by === replica.name && at >= startedAt && at < backAt).length
    const alone = redeemedAlone(history).length
    return resultOf(course, {
      fault: 'F7',
      variant: name,
      figures: {
        'Redis away, s': Math.round((backAt - goneAt) / 100) / 10,
        'failed at `allow`, begun since': allowed.length,
        'told to come again at `deny`': denied.filter(({ why = '' }) => toldToComeAgain.test(why)).length,
        'failed, under way when it went': before.length,
        'redeemed again at another replica': alone,
        'tokens by the replica started meanwhile': servedByNew
      },
      criteria: [
        none('logins at `allow` that began since and failed', allowed.length),
        none('logins at `deny` that failed in another way than by temporarily_unavailable', denied.filter(({ why = '' }) => !toldToComeAgain.test(why)).length),
        { what: `logins under way that failed: ${lostSeconds} s of arrivals at most`, measured: String(before.length), passed: before.length <= lostSeconds * terms.rate },
        { what: 'the replica that was started meanwhile gives tokens', measured: String(servedByNew), passed: servedByNew > 0 },
        none('logins that began later than 5 s after the return and failed', failed.filter(attempt => attempt.startedAt > backAt + normalWithin * 1000).length),
        within('normal after the return', normalWithin, backToNormal(history, backAt)),
        none('replicas that ended by themselves', course.exits)
      ]
    })
  }
})
