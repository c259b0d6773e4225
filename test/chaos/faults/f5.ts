import { setTimeout as pause } from 'node:timers/promises'
import type { RedisCluster } from '../../support/redis.ts'
import { resultOf, underLoad } from '../course.ts'
import { faultOf, type Result, type Terms } from '../fault.ts'
import { slowSince } from '../figures.ts'
import { aPrimary, untilWell } from '../redis.ts'
import type { Stage, StageOptions } from '../stage.ts'
import { riddenThrough } from './f4.ts'

interface Variant { stop (cluster: RedisCluster, node: number): void, start (cluster: RedisCluster, node: number): void, stage: StageOptions }

/** F5: a Redis primary keeps its connections and does not answer. */
export const primaryFrozen = faultOf<Variant>('F5', {
  about: 'a Redis primary frozen by SIGSTOP, or swallowed by the network with all that is sent to it',
  variants: {
    frozen: { stop: (cluster, node) => cluster.freeze(node), start: (cluster, node) => cluster.thaw(node), stage: {} },
    black_holed: { stop: (cluster, node) => cluster.swallow(node), start: cluster => cluster.mend(), stage: { severable: true } }
  },
  async run (stage: Stage, name, { stop, start }, terms: Terms): Promise<Result> {
    const { cluster } = stage
    const { primary } = await aPrimary(cluster)
    const course = await underLoad(stage, terms, async () => {
      stop(cluster, primary)
      await pause(terms.seconds * 1000)
      start(cluster, primary)
    })
    await untilWell(cluster)
    const { figures, criteria } = riddenThrough(course)
    const waited = slowSince(course.history, course.from).length
    return resultOf(course, {
      fault: 'F5',
      variant: name,
      figures: { ...figures, 'requests that waited for it': waited },
      criteria: [...criteria, { what: 'requests that waited for it: at least one', measured: String(waited), passed: waited > 0 }]
    })
  }
})
