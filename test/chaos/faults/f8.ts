import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, type Result, type Terms } from '../fault.ts'
import { failedAmong, inSeconds, isToldToComeAgain, slowMs, slowSince } from '../figures.ts'
import { aPrimary } from '../redis.ts'
import type { Stage, StageOptions } from '../stage.ts'

interface Variant { /** how long, where that is not as long as asked for */ seconds?: number, /** it is longer than any request waits */ outlasts: boolean, stage: StageOptions }

/** more than the deadline of any request */
const longSeconds = 8
const severable: StageOptions = { severable: true }

/** F8: one replica cannot reach one shard, which is well and serves the others. */
export const shardOutOfReach = faultOf<Variant>('F8', {
  about: 'one replica cut off from one Redis shard: for less than a failover takes, or for longer',
  variants: {
    briefly: { seconds: 4, outlasts: false, stage: severable },
    for_long: { outlasts: true, stage: severable }
  },
  async run (stage: Stage, name, { seconds, outlasts }, terms: Terms): Promise<Result> {
    const { cluster, replicas: [cutOff] } = stage
    const { primary, replica: follower } = await aPrimary(cluster)
    const course = await underLoad(stage, terms, async () => {
      for (const node of [primary, follower]) cluster.swallow(node, cutOff!.address)
      await pause((seconds ?? Math.max(longSeconds, terms.seconds)) * 1000)
      cluster.mend()
    })

    const { history, from, to } = course
    const slow = slowSince(history, from)
    const elsewhere = slow.filter(({ replica }) => replica !== cutOff!.name)
    const there = slow.length - elsewhere.length
    const atOnce = history.redemptions.filter(({ status, replica, at, endedAt }) => status === 200 && replica === cutOff!.name && at >= from && endedAt < to && endedAt - at <= slowMs).length
    const failed = failedAmong(touchable(course))
    const told = failed.filter(isToldToComeAgain)                       // by way of the load balancer another replica may hear it then
    return resultOf(course, {
      fault: 'F8',
      variant: name,
      figures: {
        'cut off for, s': inSeconds(course.to - from),
        'slow requests at that replica, of whichever shard': there,      // a request asks several, and nobody but the gateway knows which
        'tokens that it gave without waiting': atOnce,
        'slow requests elsewhere': elsewhere.length,
        'told to come again': told.length
      },
      criteria: [
        outlasts ? none('logins that failed otherwise than told to come again', failed.length - told.length) : none('logins that failed', failed.length),
        { ...none('slow requests elsewhere', elsewhere.length), timed: true },
        { what: 'slow requests at that replica: at least one', measured: String(there), passed: there > 0 },
        { what: 'tokens that it gave without waiting: at least one set', measured: String(atOnce), passed: atOnce > 0 }
      ]
    })
  }
})
