import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import type { Store } from '../../src/ports.ts'
import { digestOf } from '../../src/adapters/handles.ts'
import { redisStore } from '../../src/adapters/redis-store.ts'
import { startCluster, startLossyWay, startRedis, until } from '../support/redis.ts'
import { claimOf, grantOf, identificationOf, sessionOf } from '../support/store-contract.ts'

t.setTimeout(90_000)
t.jobs = 3
const unhandled: unknown[] = []
process.on('unhandledRejection', reason => unhandled.push(reason))
/** What this machine may be late by. */
const slackMs = 1500

const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }

/** Everything that can be asked of a store, for records that were there before. */
const everything = (store: Store, before: { code: string, session: string }) => ({
  put: () => store.put('code', grantOf(), 30),
  get: () => store.get('code', before.code),
  slide: () => store.get('session', before.session, { slideSeconds: 30 }),
  claim: () => store.claim(before.code, claimOf(grantOf())),
  usedBy: () => store.usedBy(before.code),
  'end of a session': () => store.end({ session: before.session }, 30),
  'end of a token': () => store.end({ token: 'digest' }, 30),
  'end of a sid': () => store.end({ sid: 'sid' }, 30),
  ended: () => store.ended('sid'),
  once: () => store.once('name', 30),
  enter: () => store.enter('sid', { client_id: 'a', at: 1, claims: [] }, 30),
  entered: () => store.entered('sid')
})

/** Asks everything at once of a store that is away: an outage each, in time. */
async function refusesAll (t: Pick<Test, 'ok' | 'match'>, store: Store, before: { code: string, session: string }, deadlineMs: number) {
  const begin = performance.now()
  await Promise.all(Object.entries(everything(store, before)).map(async ([what, ask]) => {
    const error = await ask().then(answer => ({ answered: answer }), (error: Error) => error)
    const waited = performance.now() - begin
    t.match(error, unavailable, what)
    t.ok(waited < deadlineMs + slackMs, `${what}: an end to the wait, after ${Math.round(waited)} ms of ${deadlineMs}`)
  }))
}

const worksAgain = async (store: Store) => {
  const code = await store.put('code', grantOf(), 30)
  return await store.get('code', code) !== undefined
}

t.test('a Redis that is killed is an outage with an end; when it is back, so are we, with no restart', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const heard: Error[] = []
  const store = redisStore({ urls: redis.urls, site: 'p1', nodeTimeoutMs: 0, onError: error => heard.push(error) })
  t.teardown(() => store.close())
  const before = { code: await store.put('code', grantOf(), 30), session: await store.put('session', sessionOf(), 30) }
  await redis.kill(0)
  await refusesAll(t, store, before, 4000)
  t.ok(heard.length > 0, 'the log hears of the connection')

  const begin = performance.now()
  await t.rejects(store.get('session', before.session, { patienceMs: 250 }), unavailable, 'who has less patience waits less')
  await t.rejects(store.ended('sid', { patienceMs: 250 }), unavailable)
  t.ok(performance.now() - begin < 500 + slackMs)

  await redis.restart(0)
  t.ok(await worksAgain(store))
})

t.test('a Redis that is frozen is an outage with an end; when it thaws, so do we', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const store = redisStore({ urls: redis.urls, site: 'p1', nodeTimeoutMs: 0 })
  t.teardown(() => store.close())
  const before = { code: await store.put('code', grantOf(), 30), session: await store.put('session', sessionOf(), 30) }
  redis.freeze(0)
  await refusesAll(t, store, before, 4000)
  const begin = performance.now()
  await t.rejects(store.get('session', before.session, { patienceMs: 250 }), unavailable)
  t.ok(performance.now() - begin < 250 + slackMs)
  redis.thaw(0)
  t.ok(await worksAgain(store))
  t.ok(await store.get('code', before.code), 'what was there is there')
})

t.test('what nobody waited for any more is not done when Redis is back', { buffered: true }, async t => {
  const heard: Error[] = []
  const redis = await startRedis(t)
  const store = redisStore({ urls: redis.urls, site: 'p1', nodeTimeoutMs: -2000, onError: error => heard.push(error) })
  t.teardown(() => store.close())
  const code = await store.put('code', grantOf(), 60)
  redis.freeze(0)
  await t.rejects(store.ended('sid'), unavailable)
  await until('the connection is given up', 5000, () => heard.length > 0)
  await t.rejects(store.claim(code, claimOf(grantOf())), unavailable)
  await t.rejects(store.once('name', 60), unavailable)
  redis.thaw(0)
  t.ok(await store.once('name', 60), 'nobody has said it')
  t.match(await store.claim(code, claimOf(grantOf())), { access_token: String }, 'who was told to come again with the code may')
})

t.test('nor when a primary of a Cluster is back that was away for longer than anybody waited', { buffered: true }, async t => {
  const cluster = await startCluster(t)
  const store = redisStore({ urls: cluster.urls, site: 'p1', nodeTimeoutMs: -2500 })
  t.teardown(() => store.close())
  const code = await store.put('code', grantOf(), 60)
  const home = await cluster.primaryOf(`used:{${digestOf(code)}}`)
  await cluster.kill(home)
  await t.rejects(store.claim(code, claimOf(grantOf())), unavailable)
  await cluster.rejoin(home)
  await until('that part can be asked', 15_000, () => store.usedBy(code).then(() => true, () => false))
  await pause(2000)                                                      // whoever still asked would do so several times a second
  t.equal(await store.usedBy(code), undefined, 'nobody has redeemed it')
})

t.test('a primary that has become a replica is left for the one that its address leads to now, and nobody is failed by it', { buffered: true }, async t => {
  const [one, other] = [await startRedis(t), await startRedis(t)]
  const portOf = ({ urls }: { urls: string[] }) => new URL(urls[0]!).port
  const way = await startLossyWay(t, one.urls[0]!)
  const heard: Error[] = []
  const store = redisStore({ urls: [way.url], site: 'p1', onError: error => heard.push(error) })
  t.teardown(() => store.close())
  const grant = grantOf()
  const code = await store.put('code', grant, 60)
  await other.command(0, 'REPLICAOF', '127.0.0.1', portOf(one))
  await until('it follows', 10_000, async () => /master_link_status:up/.test(String(await other.command(0, 'INFO', 'replication'))))
  await one.command(0, 'REPLICAOF', '127.0.0.1', portOf(other))
  const asked = Promise.all([store.put('session', sessionOf(), 30), store.claim(code, claimOf(grant)), store.once('name', 30)])
  await until('the log is told', 5000, () => heard.length > 0)
  way.leadTo(other.urls[0]!)
  await other.command(0, 'REPLICAOF', 'NO', 'ONE')
  t.match(await asked, [String, { access_token: String }, true])
  t.match(heard[0], { code: 'READONLY' })
})

t.test('a refusal that does not pass by itself is told at once, with its reason', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const store = redisStore({ urls: redis.urls, site: 'p1' })
  t.teardown(() => store.close())
  await store.once('before', 30)
  await redis.command(0, 'CONFIG', 'SET', 'maxmemory', 1)
  const begin = performance.now()
  await t.rejects(store.once('name', 30), { ...unavailable, message: 'the store could not answer', cause: { message: /^OOM / } })
  t.ok(performance.now() - begin < 2000)
  await redis.command(0, 'CONFIG', 'SET', 'maxmemory', 0)
  t.ok(await store.once('name', 30))
})

t.test('a freeze shorter than our patience fails nothing', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const store = redisStore({ urls: redis.urls, site: 'p1' })
  t.teardown(() => store.close())
  const grant = grantOf()
  const code = await store.put('code', grant, 30)
  redis.freeze(0)
  const asked = Promise.allSettled([
    store.get('code', code),
    store.claim(code, claimOf(grant)),
    store.put('identity', identificationOf(), 30),
    store.once('name', 30),
    store.end({ sid: grant.sid }, 30),
    store.enter(grant.sid, { client_id: 'a', at: 1, claims: [] }, 30)
  ])
  await pause(2500)                                                      // connections are given up meanwhile, and what they carried is executed after all
  redis.thaw(0)
  const [read, claimed, put, first, ended, entered] = await asked
  t.match(read, { status: 'fulfilled', value: grant }, 'get')
  t.match(claimed, { status: 'fulfilled', value: { access_token: String } }, 'the only claim wins')
  t.equal(put.status, 'fulfilled', 'put')
  t.match(first, { status: 'fulfilled', value: true }, 'the only one to say a name is the first')
  t.equal(ended.status, 'fulfilled', 'end')
  t.equal(entered.status, 'fulfilled', 'enter')
  t.equal((await store.entered(grant.sid)).length, 1)
})

t.test('a store that starts without Redis answers with an outage, and works when Redis comes', { buffered: true }, async t => {
  const redis = await startRedis(t)
  await redis.kill(0)
  const store = redisStore({ urls: redis.urls, site: 'p1', nodeTimeoutMs: -3000 })
  t.teardown(() => store.close())
  await refusesAll(t, store, { code: `p1-${'A'.repeat(43)}`, session: `p1-${'B'.repeat(43)}` }, 1000)
  await redis.restart(0)
  await until('the store works', 10_000, () => worksAgain(store).catch(() => false))
  t.ok(await worksAgain(store))
})

t.test('closing does not wait for a Redis that is away', { buffered: true }, async t => {
  for (const stop of ['kill', 'freeze'] as const) {
    const redis = await startRedis(t)
    const store = redisStore({ urls: redis.urls, site: 'p1' })
    await store.put('code', grantOf(), 30)
    await redis[stop](0)
    const asked = store.ended('sid').catch((error: Error) => error)
    const begin = performance.now()
    await t.resolves(store.close())
    t.ok(performance.now() - begin < 1000 + slackMs, stop)
    t.match(await asked, unavailable, 'what was asked before is told')
    await t.rejects(store.put('code', grantOf(), 30), unavailable, 'what is asked after is refused')
  }
})

t.test('a cluster that is frozen whole, and one that is killed whole, is an outage with an end', { buffered: true }, async t => {
  const cluster = await startCluster(t)
  const store = redisStore({ urls: cluster.urls, site: 'p1', nodeTimeoutMs: 0 })
  t.teardown(() => store.close())
  const before = { code: await store.put('code', grantOf(), 60), session: await store.put('session', sessionOf(), 60) }
  for (const i of cluster.urls.keys()) cluster.freeze(i)
  await refusesAll(t, store, before, 4000)
  for (const i of cluster.urls.keys()) cluster.thaw(i)
  await until('the store works', 15_000, () => worksAgain(store).catch(() => false))
  t.ok(await worksAgain(store), 'thawed')
  t.ok(await store.get('code', before.code), 'what was there is there')
  for (const i of cluster.urls.keys()) await cluster.kill(i)
  await refusesAll(t, store, before, 4000)

  const late = redisStore({ urls: cluster.urls, site: 'p1', nodeTimeoutMs: -3000 })
  await refusesAll(t, late, before, 1000)
  await t.rejects(late.ended('sid'), { ...unavailable, message: 'the store did not answer within 1000 ms' }, 'and says how long it waited')
  const begin = performance.now()
  await late.close()
  t.ok(performance.now() - begin < 1000 + slackMs)
})

for (const fault of ['kill', 'freeze'] as const) {
  t.test(`a primary that is ${fault === 'kill' ? 'killed' : 'frozen'} under load fails nobody`, { buffered: true }, async t => {
    const nodeTimeoutMs = 2000
    const cluster = await startCluster(t, { replicas: 1, nodeTimeoutMs })
    const stores = [redisStore({ urls: cluster.primaries, site: 'p1' }), redisStore({ urls: cluster.urls, site: 'p1' })]
    t.teardown(() => Promise.all(stores.map(store => store.close())))
    await Promise.all(stores.map(worksAgain))

    const failures: unknown[] = []
    let answered = 0
    let slowest = 0
    const timed = async <T>(asked: Promise<T>) => {
      const begin = performance.now()
      try {
        const answer = await asked
        answered++
        return answer
      } finally { slowest = Math.max(slowest, performance.now() - begin) }
    }
    const victim = await cluster.primaryOf(`session:{${digestOf('x')}}`)
    const keyed = new Map<string, number>()

    /** One login's way through the store, its code put at one replica and redeemed at another. */
    const login = async (i: number) => {
      const [one, other] = [stores[i % 2]!, stores[(i + 1) % 2]!]
      const grant = grantOf({ login: `login ${i}` })
      const code = await timed(one.put('code', grant, 60))
      await timed(one.put('session', sessionOf({ sid: grant.sid }), 60))
      await timed(one.enter(grant.sid, { client_id: grant.client_id, at: 1, claims: [] }, 60))
      const read = await timed(other.get('code', code))
      if (read?.login !== grant.login) throw new Error(`login ${i}: the code is not there`)
      const outcomes = await Promise.all([timed(other.claim(code, claimOf(grant))), timed(one.claim(code, claimOf(grant)))])
      const won = outcomes.filter(outcome => 'access_token' in outcome)
      if (won.length !== 1) throw new Error(`login ${i}: ${won.length} claims won`)
      if ((await timed(one.get('token', won[0]!.access_token)))?.login !== grant.login) throw new Error(`login ${i}: the token does not work`)
      if (await timed(other.once(`name ${i}`, 60)) !== true) throw new Error(`login ${i}: was not the first`)
      if ((await timed(other.entered(grant.sid))).length !== 1) throw new Error(`login ${i}: did not enter`)
      keyed.set(code, i)
    }

    const all: Array<Promise<void>> = []
    const begin = performance.now()
    let faulted = false
    for (let i = 0; performance.now() - begin < 9000; i++) {
      all.push(login(i).catch(error => { failures.push(error) }))
      await pause(20)
      if (!faulted && performance.now() - begin > 1000) {
        faulted = true
        await cluster[fault](victim)
      }
    }
    await Promise.all(all)

    t.same(failures.map(error => inspect(error, { depth: 1 })), [], 'nobody is failed')
    t.ok(all.length > 200, `${all.length} logins`)
    t.equal(answered, all.length * 9, 'every call was answered')
    t.equal(keyed.size, all.length)
    t.ok(slowest < nodeTimeoutMs + 4000 + slackMs, `the slowest call took ${Math.round(slowest)} ms`)
    if (fault === 'freeze') {
      cluster.thaw(victim)
      await pause(1500)
      t.ok(await worksAgain(stores[0]!), 'the frozen one comes back as a replica, and nobody is misled')
    }
    const kept = await cluster.allValues()
    t.same(kept.filter(({ seconds }) => seconds < 0).map(({ key }) => key.split(':')[0]), [], 'everything kept dies by itself')
  })
}

t.after(() => {
  if (unhandled.length > 0) throw new Error(`nobody handled ${inspect(unhandled)}`)
})
