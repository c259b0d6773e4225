import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, underLoad } from '../course.ts'
import { faultOf, within, type Result, type Terms } from '../fault.ts'
import { backToNormal, failedAmong, inSeconds } from '../figures.ts'
import { toldMs } from '../history.ts'
import { residentBytes } from '../onlookers.ts'
import { fared, shedBy, shedSince } from '../overload.ts'
import { ratedLoad } from '../rated.ts'
import { untilWell } from '../redis.ts'
import type { Run } from '../run.ts'
import { nodeTimeoutMs, type Stage, type StageOptions } from '../stage.ts'
import { oneCore, oneIn } from './f18.ts'

/** What goes away for a while, and how it comes back. */
interface Variant { stage: StageOptions, go (stage: Stage, run: Run): unknown, comeBack (stage: Stage, run: Run): unknown }

const times = 10
/** without a login that failed or took long: it is over */
const quietMs = 5000
/** how soon the balancer has a replica back: for those who come the outage lasts until then */
const takenWithin = 10
/** in which nothing works: longer than any request waits, or it would be no outage */
const awayMs = nodeTimeoutMs + 4000 + 1000

/** F19: everybody comes at once when an outage is over. */
export const allAtOnce = faultOf<Variant>('F19', {
  about: '10 times the rated arrivals as soon as an outage ends: all of Redis frozen, all replicas killed',
  variants: {
    redis_frozen: {
      stage: oneCore,
      go ({ cluster }, { history, clock }) {
        history.storeAway.push({ from: clock(), to: Infinity })
        for (const i of cluster.urls.keys()) cluster.freeze(i)
      },
      async comeBack ({ cluster }, { history, clock }) {
        for (const i of cluster.urls.keys()) cluster.thaw(i)
        await untilWell(cluster)
        history.storeAway.at(-1)!.to = clock() + toldMs
      }
    },
    replicas_killed: {
      stage: oneCore,
      async go ({ replicas }) { await Promise.all(replicas.map(replica => replica.stop('SIGKILL'))) },
      async comeBack ({ replicas, balancer }, { history, clock, until }) {
        for (const { name } of replicas) history.startedAnew.push({ replica: name, at: clock() })
        await Promise.all(replicas.map(replica => replica.start()))
        await until(async () => (await balancer.standing()).every(({ isUp }) => isUp), takenWithin)
      }
    }
  },
  short: ['redis_frozen'],
  usual: { rate: 60 },
  async run (stage: Stage, name, { go, comeBack }, terms: Terms): Promise<Result> {
    const replica = stage.replicas[0]!
    const rated = await ratedLoad(stage, terms)
    const course = await underLoad(stage, { ...terms, rate: rated.rate }, async run => {
      await go(stage, run)
      await pause(awayMs)
      // who is waiting does not know when it is over: they are there before it is back
      const more = run.more(rated.rate * (times - 1))
      await comeBack(stage, run)
      const backAt = run.clock()
      const shedBefore = await shedBy(replica)
      await pause(terms.seconds * 1000)
      const overAt = run.clock()
      await more.end()
      const shed = shedSince(await shedBy(replica), shedBefore)
      await run.until(() => run.clock() - overAt > quietMs && backToNormal(run.history, run.clock() - quietMs) === 0, terms.seconds + quietMs / 1000)
      return { backAt, overAt, shed, bytes: await residentBytes(replica) }
    }, { oneIn })

    const { history, history: { attempts }, from, marks: { backAt, overAt, shed, bytes } } = course
    const logins = fared(history, { from: backAt, to: overAt }, rated)
    const meanwhile = attempts.filter(({ startedAt }) => startedAt >= from && startedAt < backAt)
    const failed = failedAmong(meanwhile).length
    return resultOf(course, {
      fault: 'F19',
      variant: name,
      figures: {
        ...rated.figures,
        'the outage, s': inSeconds(backAt - from),
        'begun in the outage': meanwhile.length,
        'of them failed': failed,
        ...logins.figures,
        ...shed,
        'memory after it, MB': Math.round(bytes / 1e6),
        'the driver late at most, s': inSeconds(course.mostLateMs)
      },
      criteria: [
        ...logins.criteria,
        { what: 'logins begun in the outage that failed: at least one', measured: String(failed), passed: failed > 0 },
        within('normal after it, by itself', terms.seconds, backToNormal(history, overAt))  // for as long as they came, as with the minute that is scaled
      ]
    })
  }
})
