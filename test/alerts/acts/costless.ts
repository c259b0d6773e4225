import { setTimeout as pause } from 'node:timers/promises'
import { replace } from '../../chaos/faults/f1.ts'
import { aPrimary, handOver, untilWell } from '../../chaos/redis.ts'
import type { Act } from '../trial.ts'

/** of real time, in which something could fire that the fault is to blame for: five minutes, in which most alerts look and after which they fire */
const watchedMs = 60_000

/** Faults that cost no login, and that nobody is to be told of. */
export const costless: Act = {
  name: 'costless',
  about: 'two replicas on a Redis Cluster 3+3, and what costs no login',
  options: { sameConfiguration: true },
  factor: 5,                                                            // a failover is to take seconds, and not a quarter of an hour
  rate: 10,
  quietSeconds: 30,
  tailSeconds: 0,
  trials: [
    {
      fault: 'all replicas are replaced, one after the other (F1)',
      fires: [],
      withinSeconds: 0,
      async strike ({ stage: { replicas } }) {
        for (const replica of replicas) {
          await replace(replica)
          await pause(3000)                                             // until the load balancer has it back
        }
        await pause(watchedMs)
        return () => {}
      }
    },
    {
      fault: 'a Redis primary is killed, and comes back (F4)',
      fires: [],
      withinSeconds: 0,
      async strike ({ stage: { cluster } }) {
        const { primary } = await aPrimary(cluster)
        await cluster.kill(primary)
        await pause(8000)
        await cluster.rejoin(primary)
        await untilWell(cluster)
        await pause(watchedMs)
        return () => {}
      }
    },
    {
      fault: 'a Redis primary hands its part over, as is planned (F6)',
      fires: [],
      withinSeconds: 0,
      async strike ({ stage: { cluster } }) {
        await handOver(cluster, (await aPrimary(cluster)).primary)
        await pause(watchedMs)
        return () => {}
      }
    }
  ]
}
