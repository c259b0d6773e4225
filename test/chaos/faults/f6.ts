import { setTimeout as pause } from 'node:timers/promises'
import type { RedisCluster } from '../../support/redis.ts'
import { resultOf, underLoad } from '../course.ts'
import { faultOf, type Result, type Terms } from '../fault.ts'
import { aPrimary, handOver, isPrimary, untilGivenUp, untilWell } from '../redis.ts'
import type { Stage } from '../stage.ts'
import { riddenThrough } from './f4.ts'

interface Variant { change (cluster: RedisCluster): Promise<void>, stage?: undefined }

/** F6: Redis is maintained as its operators do it. */
export const redisMaintained = faultOf<Variant>('F6', {
  about: 'planned failover of a Redis primary, rolling restart of all nodes, each away until the others give it up',
  variants: {
    planned_failover: { change: async cluster => handOver(cluster, (await aPrimary(cluster)).primary) },
    rolling_restart: { change: restartAll }
  },
  async run (stage: Stage, name, { change }, terms: Terms): Promise<Result> {
    const course = await underLoad(stage, terms, async run => {
      await change(stage.cluster)
      const changedAt = run.clock()
      await pause(terms.seconds * 1000)
      return { changedAt }
    })
    const { figures, criteria } = riddenThrough(course)
    return resultOf(course, { fault: 'F6', variant: name, figures: { ...figures, 'lasted, s': Math.round((course.marks.changedAt - course.from) / 100) / 10 }, criteria })
  }
})

/** Each node in turn, away until the others have given it up: a primary hands over first, and the next one goes when all are well (docs/redis.md). */
async function restartAll (cluster: RedisCluster) {
  for (const [i] of cluster.urls.entries()) {
    if (await isPrimary(cluster, i)) await handOver(cluster, i)
    await cluster.kill(i)
    await untilGivenUp(cluster, i)
    await cluster.rejoin(i)
    await untilWell(cluster)
  }
}
