import { setTimeout as pause } from 'node:timers/promises'
import { isSealedHandle } from '../../../src/adapters/handles.ts'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, within, type Result, type Terms } from '../fault.ts'
import { backToNormal, failedAmong, inSeconds, isToldToComeAgain, longestRequestMs, since, whole } from '../figures.ts'
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
/** what is tried again has come to its end by then: it is not counted among what Redis has to do */
const heldMs = 1000
/** commands of a login: ten at most, and more of those whose code is tried wrongly or by everybody at once */
const commandsOfLogin = 12
/** what a set of tokens that was given without it costs Redis once it is back: who redeemed the code, and that the token has ended */
const commandsToTell = 2
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
    const countedSeconds = terms.short ? 1 : normalWithin
    const course = await underLoad(stage, terms, async run => {
      const away = { from: run.clock(), to: Infinity }
      run.history.storeAway.push(away)
      await Promise.all(nodes.map(i => go(cluster, i)))
      const goneAt = run.clock()
      await pause(terms.seconds * 300)
      await replica.stop('SIGTERM')
      run.history.startedAnew.push({ replica: replica.name, at: run.clock() })
      await replica.start()
      const startedAt = run.clock()
      await pause(Math.max(terms.short ? servesMs / 2 : servesMs, goneAt + terms.seconds * 1000 - run.clock() - heldMs))
      run.hold(true)
      await pause(heldMs)
      const comesAt = run.clock()
      await Promise.all(nodes.map(i => comeBack(cluster, i)))
      await untilWell(cluster)
      const backAt = run.clock()
      away.to = backAt + toldMs
      if (forgets) run.history.emptied.push({ site: site!.mark, at: comesAt })
      const before = forgets ? 0 : await connectionsMade(cluster)      // a frozen one finds all at once who came in vain meanwhile
      const commands = await commandsOf(cluster, countedSeconds)
      run.hold(false)
      const connections = Math.ceil((await connectionsMade(cluster) - before) / nodes.length / replicas.length)
      return { goneAt, startedAt, backAt, connections, commands }
    })

    const { history, marks: { goneAt, startedAt, backAt, connections, commands } } = course
    const failed = failedAmong(touchable(course))
    const ofClient = (client: string) => (attempt: Attempt) => attempt.client === client
    // its code was kept by Redis, which had it until it went
    const between = failed.filter(({ startedAt, code }) => startedAt < goneAt && code !== undefined && !isSealedHandle(code))
    const others = failed.filter(attempt => !between.includes(attempt))
    const allowed = others.filter(ofClient('allow'))
    const denied = others.filter(ofClient('deny'))
    const lastAnswers = new Map(history.requests.map(request => [request.n, request]))
    const [comeAgain = [], otherwise = []] = [true, false].map(isTold => denied.filter(attempt => isTold === (isToldToComeAgain(attempt) && lastAnswers.get(attempt.n)?.retryAfter === true)))
    const total = commands.reduce((sum, count) => sum + count, 0)
    const givenAlone = history.redemptions.filter(({ status, code, at }) => status === 200 && isSealedHandle(code) && at >= goneAt && at < backAt).length
    const mostCommands = commandsOfLogin * terms.rate * (countedSeconds + longestSeconds / 2) + commandsToTell * givenAlone  // those who come, those who waited, of one service in two, and what it missed
    const servedByNew = history.redemptions.filter(({ status, replica: by, at }) => status === 200 && by === replica.name && at >= startedAt && at < backAt).length
    return resultOf(course, {
      fault: 'F7',
      variant: name,
      figures: {
        'Redis away, s': Math.round((backAt - goneAt) / 100) / 10,
        'failed between code and userinfo': between.length,
        'failed otherwise at `allow`': allowed.length,
        'told to come again at `deny`': comeAgain.length,
        'connections to a node by a replica': connections,
        [`Redis commands in the ${countedSeconds} s after its return`]: total,
        'of them in one second at most': Math.max(...commands),
        'sets of tokens given without it': givenAlone,
        'a replica started meanwhile after, s': since(startedAt, goneAt),
        'tokens by the replica started meanwhile': servedByNew
      },
      criteria: [
        none('logins at `allow` that failed, not between code and userinfo as it went', allowed.length),
        none('logins at `deny` that failed in another way than by temporarily_unavailable with Retry-After', otherwise.length),
        { what: `logins between code and userinfo as it went that failed: ${lostSeconds} s of arrivals at most`, measured: String(between.length), passed: between.length <= lostSeconds * terms.rate },
        { what: 'the replica that was started meanwhile gives tokens', measured: String(servedByNew), passed: servedByNew > 0 },
        none('logins that began later than 5 s after the return and failed', failed.filter(attempt => attempt.startedAt > backAt + normalWithin * 1000).length),
        within('the longest request', longestSeconds, inSeconds(longestRequestMs(history.requests, course.from))),
        within('normal after the return', normalWithin, backToNormal(history, backAt)),
        { what: `connections to a node by a replica, from its return on: ${mostConnections} at most`, measured: String(connections), passed: connections <= mostConnections },
        { what: `Redis commands from its return on: ${whole(mostCommands)} at most, of which ${commandsToTell * givenAlone} to tell it of ${givenAlone} sets of tokens`, measured: String(total), passed: total <= mostCommands, timed: true }
      ]
    })
  }
})

/** Commands that clients send to all of Redis, in each of the next seconds. */
async function commandsOf (cluster: RedisCluster, seconds: number) {
  const counts = [await cluster.commandCount()]
  for (let second = 0; second < seconds; second++) {
    await pause(1000)
    counts.push(await cluster.commandCount())
  }
  return counts.slice(1).map((count, i) => count - counts[i]!)
}
