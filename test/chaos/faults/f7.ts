import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, within, type Result, type Terms } from '../fault.ts'
import { backToNormal, failedAmong, inSeconds, isToldToComeAgain, longestRequestMs, since } from '../figures.ts'
import { toldMs, type Attempt } from '../history.ts'
import type { RedisCluster } from '../../support/redis.ts'
import { connectionsMade, untilWell } from '../redis.ts'
import { nodeTimeoutMs, type Stage } from '../stage.ts'

/** how soon after the return everything is as usual */
const normalWithin = 5
/** at most so many seconds of arrivals are lost between code and userinfo */
const lostSeconds = 2

/** so long at least the replica that was started meanwhile serves without it */
const servesMs = 3000
/** how long a request may take: one deadline for all that it waits for Redis, another handle drawn before, and what a busy machine takes beside it */
const longestSeconds = (nodeTimeoutMs + 4000 + 250 + 500) / 1000
/** what Redis has to do is counted for so long, before it goes and when it is back */
const countedMs = 1000
/** connections that a replica makes to one node at most from the moment it is back until all is normal: more is a herd */
const mostConnections = 20

/** How a node goes, how it comes back, and whether it comes back empty. */
interface Variant { go (cluster: RedisCluster, node: number): unknown, comeBack (cluster: RedisCluster, node: number): unknown, forgets: boolean, stage?: undefined }

/** F7: the whole of Redis is gone, and a replica is started anew meanwhile. */
export const clusterGone = faultOf<Variant>('F7', {
  about: 'the whole Redis Cluster gone, killed or frozen, one replica started anew meanwhile',
  variants: {
    killed: { go: (cluster, node) => cluster.kill(node), comeBack: (cluster, node) => cluster.rejoin(node), forgets: true },
    frozen: { go: (cluster, node) => cluster.freeze(node), comeBack: (cluster, node) => cluster.thaw(node), forgets: false }
  },
  usual: { seconds: 60 },
  async run (stage: Stage, name, { go, comeBack, forgets }, terms: Terms): Promise<Result> {
    const { cluster, replicas, sites: [site] } = stage
    const nodes = [...cluster.urls.keys()]
    const replica = replicas.at(-1)!
    const course = await underLoad(stage, terms, async run => {
      const commandsBefore = await commandsOf(cluster)
      const away = { from: run.clock(), to: Infinity }
      run.history.storeAway.push(away)
      await Promise.all(nodes.map(i => go(cluster, i)))
      const goneAt = run.clock()
      await pause(terms.seconds * 300)
      await replica.stop('SIGTERM')
      run.history.startedAnew.push({ replica: replica.name, at: run.clock() })
      await replica.start()
      const startedAt = run.clock()
      await pause(Math.max(terms.short ? servesMs / 2 : servesMs, goneAt + terms.seconds * 1000 - run.clock()))
      const comesAt = run.clock()
      await Promise.all(nodes.map(i => comeBack(cluster, i)))
      await untilWell(cluster)
      const backAt = run.clock()
      away.to = backAt + toldMs
      if (forgets) run.history.emptied.push({ site: site!.mark, at: comesAt })
      const before = forgets ? 0 : await connectionsMade(cluster)      // a frozen one finds all at once who came in vain meanwhile
      const commandsAfter = await commandsOf(cluster)
      await pause((terms.short ? 1 : normalWithin) * 1000)
      const connections = Math.ceil((await connectionsMade(cluster) - before) / nodes.length / replicas.length)
      return { goneAt, startedAt, backAt, connections, commandsBefore, commandsAfter }
    })

    const { history, marks: { goneAt, startedAt, backAt, connections, commandsBefore, commandsAfter } } = course
    const failed = failedAmong(touchable(course))
    const ofClient = (client: string) => (attempt: Attempt) => attempt.client === client
    const before = failed.filter(({ startedAt }) => startedAt < goneAt)
    const allowed = failed.filter(attempt => ofClient('allow')(attempt) && attempt.startedAt >= goneAt)
    const denied = failed.filter(attempt => ofClient('deny')(attempt) && attempt.startedAt >= goneAt)
    const lastAnswers = new Map(history.requests.map(request => [request.n, request]))
    const [comeAgain = [], otherwise = []] = [true, false].map(isTold => denied.filter(attempt => isTold === (isToldToComeAgain(attempt) && lastAnswers.get(attempt.n)?.retryAfter === true)))
    const servedByNew = history.redemptions.filter(({ status, replica: by, at }) => status === 200 && by === replica.name && at >= startedAt && at < backAt).length
    return resultOf(course, {
      fault: 'F7',
      variant: name,
      figures: {
        'Redis away, s': Math.round((backAt - goneAt) / 100) / 10,
        'failed at `allow`, begun since': allowed.length,
        'told to come again at `deny`': comeAgain.length,
        'failed, under way when it went': before.length,
        'connections to a node by a replica': connections,
        'Redis commands in a second before': commandsBefore,
        'Redis commands in the second after its return': commandsAfter,
        'a replica started meanwhile after, s': since(startedAt, goneAt),
        'tokens by the replica started meanwhile': servedByNew
      },
      criteria: [
        none('logins at `allow` that began since and failed', allowed.length),
        none('logins at `deny` that failed in another way than by temporarily_unavailable with Retry-After', otherwise.length),
        { what: `logins under way that failed: ${lostSeconds} s of arrivals at most`, measured: String(before.length), passed: before.length <= lostSeconds * terms.rate },
        { what: 'the replica that was started meanwhile gives tokens', measured: String(servedByNew), passed: servedByNew > 0 },
        none('logins that began later than 5 s after the return and failed', failed.filter(attempt => attempt.startedAt > backAt + normalWithin * 1000).length),
        within('the longest request', longestSeconds, inSeconds(longestRequestMs(history.requests, course.from))),
        within('normal after the return', normalWithin, backToNormal(history, backAt)),
        { what: `connections to a node by a replica, from its return on: ${mostConnections} at most`, measured: String(connections), passed: connections <= mostConnections }
      ]
    })
  }
})

/** Commands that clients send to all of Redis in the next second. */
async function commandsOf (cluster: RedisCluster) {
  const before = await cluster.commandCount()
  await pause(countedMs)
  return await cluster.commandCount() - before
}
