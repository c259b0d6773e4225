import { setTimeout as pause } from 'node:timers/promises'
import { startCrowd } from '../../chaos/crowd.ts'
import type { RedisCluster } from '../../support/redis.ts'
import { untilWell } from '../../chaos/redis.ts'
import type { Act } from '../trial.ts'

const each = (cluster: RedisCluster, act: (i: number) => unknown) => Promise.all([...cluster.urls.keys()].map(i => act(i)))

/** Redis, and what fails by our fault. */
export const redis: Act = {
  name: 'redis',
  about: 'two replicas on a Redis Cluster 3+3',
  options: { sameConfiguration: true },
  factor: 60,
  rate: 10,
  settings: { rate_limits: { exempt_networks: [], address_per_second: 400 } },
  quietSeconds: 20,
  tailSeconds: 420,
  trials: [
    {
      fault: 'every Redis primary stands still for a second, again and again (F5, too short for a failover)',
      fires: ['PasserelleRideThrough', 'PasserelleRatherSlow'],
      withinSeconds: 60,
      goneWithin: 45,
      async strike ({ stage: { cluster } }) {
        const over = new AbortController()
        const beating = (async () => {
          while (!over.signal.aborted) {
            await each(cluster, i => cluster.freeze(i))
            await pause(1200)
            await each(cluster, i => cluster.thaw(i))
            await pause(300)
          }
        })()
        return async () => { over.abort(); await beating }
      }
    },
    {
      fault: 'the whole Redis Cluster is gone (F7, killed), amid it a service redeems a code at both replicas',
      fires: ['PasserelleStoreUnavailable', 'PasserelleDegradedMode', 'PasserelleLoginsFailingFast', 'PasserelleLoginsFailing', 'PasserelleSlow', 'PasserelleBudgetBurning', 'PasserelleOptionalCallsFailing', 'PasserelleRateLimitsNotShared'],
      withinSeconds: 90,
      // each replica tells Redis what it redeemed alone when that is back
      firesAfter: { alerts: ['PasserelleCodeRedeemedAgain', 'PasserelleBudgetBurningSlowly', 'PasserelleErrorBudgetSpent'], withinSeconds: 90 },
      stays: { PasserelleErrorBudgetSpent: 'what was spent in 30 days is spent: it goes when the fault is 30 days ago (half a day here), which nobody waits for' },
      async strike ({ stage: { cluster, replicas }, load }) {
        await each(cluster, i => cluster.kill(i))
        // what is counted together is asked of Redis only for addresses that come often
        const crowd = startCrowd({ addresses: replicas.map(({ url }) => `${url}/jwks`), rate: 260, connections: 16 })
        const races = load.more(1, () => load.visit({ client: 'allow', purpose: 'race' }))
        return async () => {
          races()
          await crowd.end()
          await each(cluster, i => cluster.rejoin(i))
          await untilWell(cluster)
        }
      }
    }
  ]
}
