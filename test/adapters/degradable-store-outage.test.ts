import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { isSealedHandle } from '../../src/adapters/handles.ts'
import { slowMs } from '../../src/adapters/one-deadline.ts'
import { redisStore } from '../../src/adapters/redis-store.ts'
import { keyring, replicaOf, sealerOf } from '../support/degradable.ts'
import { startCluster, startRedis, until } from '../support/redis.ts'
import { claimOf, grantOf, sessionOf } from '../support/store-contract.ts'

t.setTimeout(90_000)
t.jobs = 4
const unhandled: unknown[] = []
process.on('unhandledRejection', reason => unhandled.push(reason))

const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }
const now = () => Math.floor(Date.now() / 1000)
/** What this machine may be late by. */
const slackMs = 1500
const seal = { ifAway: 'seal' } as const
type Won = { access_token: string }

/** Replicas of one site: each with a connection of its own, the same keys. */
function replicasAt (t: Test, urls: string[], nodeTimeoutMs = 0) {
  const keys = keyring()
  const open = () => {
    const replica = replicaOf({ records: redisStore({ urls, site: 'a', nodeTimeoutMs }), sealer: sealerOf(now, keys), now })
    t.teardown(() => replica.store.close())
    return replica
  }
  return [open(), open()] as const
}

async function timed<T> (asked: Promise<T>) {
  const begun = performance.now()
  const answer: { value?: T, error?: Error } = await asked.then(value => ({ value }), (error: Error) => ({ error }))
  return { ...answer, ms: performance.now() - begun }
}

for (const fault of ['kill', 'freeze'] as const) {
  t.test(`one primary of three, without a replica, that is ${fault === 'kill' ? 'killed' : 'frozen'}: what is new goes elsewhere, soon, then at once`, { buffered: true }, async t => {
    const cluster = await startCluster(t)
    const [one, other] = replicasAt(t, cluster.urls)
    const before = await Promise.all(Array.from({ length: 30 }, () => one.store.put('code', grantOf(), 60)))
    await other.store.put('code', grantOf(), 60)
    await cluster[fault](0)

    const first = await Promise.all(Array.from({ length: 30 }, (_, i) => timed(i % 2 ? one.store.put('code', grantOf(), 60, seal) : one.store.put('session', sessionOf(), 60, { ifAway: 'give up' }))))
    t.same(first.flatMap(({ error }) => error ?? []), [])
    t.ok(Math.max(...first.map(({ ms }) => ms)) < 500 + slackMs, `${Math.round(Math.max(...first.map(({ ms }) => ms)))} ms`)
    t.ok(first.every(({ value }) => !isSealedHandle(value!)), 'nothing has to be sealed')
    const waiting = await timed(one.store.put('code', grantOf(), 60))
    t.ok(waiting.value, 'nor does one that would wait have to')
    let late = 0
    for (let i = 0; i < 60; i++) if ((await timed(one.store.put('code', grantOf(), 60, seal))).ms >= slowMs) late++   // one by one: together they would wait for each other
    t.ok(late <= 10, `once a few have met it the others know: ${late} of 60 waited`)

    const grant = grantOf()
    const codes = await Promise.all(Array.from({ length: 30 }, () => one.store.put('code', grant, 60, seal)))
    const claims = await Promise.all(codes.map(code => timed(other.store.claim(code, claimOf(grant)))))
    t.same(claims.flatMap(({ error }) => error ?? []), [], 'a code that was given is redeemed: its token is kept where it is')
    for (const { value } of claims) t.same(await other.store.get('token', (value as Won).access_token), grant)

    const kept = await Promise.all(before.map(code => timed(other.store.get('code', code))))
    const lost = kept.filter(({ error }) => error !== undefined)
    t.ok(lost.length > 0 && lost.length < before.length, `${lost.length} of ${before.length} were kept there`)
    for (const { error, ms } of lost) {
      t.match(error, unavailable)
      t.ok(ms < 4000 + slackMs, 'an end to the wait')
    }
    if (fault === 'freeze') {
      cluster.thaw(0)
      await until('all are there again', 10_000, async () => (await Promise.all(before.map(code => other.store.get('code', code).catch(() => undefined)))).every(Boolean))
    }
  })
}

t.test('a cluster that is frozen whole and thaws', { buffered: true }, async t => {
  const cluster = await startCluster(t)
  await outlives(t, cluster.urls, {
    async go () { for (const i of cluster.urls.keys()) cluster.freeze(i) },
    async comeBack () { for (const i of cluster.urls.keys()) cluster.thaw(i) },
    commands: () => cluster.commandCount()
  })
})

t.test('a Redis that is killed and comes back empty', { buffered: true }, async t => {
  const redis = await startRedis(t)
  await outlives(t, redis.urls, { go: () => redis.kill(0), comeBack: () => redis.restart(0), commands: () => redis.commandCount() })
})

/** What becomes of codes while nothing of the store answers, and afterwards. */
async function outlives (t: Test, urls: string[], { go, comeBack, commands }: { go (): Promise<void>, comeBack (): Promise<void>, commands (): Promise<number> }) {
  const [one, other] = replicasAt(t, urls)
  const grant = grantOf()
  const reached = async () => (await Promise.all([one, other].map(({ store }) => store.ended('sid').then(() => true, () => false)))).every(Boolean)
  await until('both reach the store', 10_000, reached)
  for (const { store } of [one, other]) t.notOk(isSealedHandle(await store.put('code', grant, 60, seal)))
  await go()

  const first = await timed(one.store.put('code', grant, 60, seal))
  t.ok(isSealedHandle(first.value ?? ''))
  t.ok(first.ms < 1000 + slackMs, `the first after ${Math.round(first.ms)} ms`)
  let later: Array<Awaited<ReturnType<typeof timed<string>>>> = []
  await until('later ones at once', 20_000, async () => {
    later = await Promise.all(Array.from({ length: 40 }, () => timed(one.store.put('code', grant, 60, seal))))
    return later.filter(({ ms }) => ms < slowMs).length >= 30
  })
  const denied = timed(one.store.put('code', grant, 60))
  const [used, unused] = [later.slice(0, 20).map(({ value }) => value!), later.slice(20).map(({ value }) => value!)]

  const claims = await Promise.all(used.map(code => timed(one.store.claim(code, claimOf(grant)))))
  t.same(claims.flatMap(({ error }) => error ?? []), [])
  t.ok(Math.max(...claims.map(({ ms }) => ms)) < 1000 + slackMs, 'nobody waits for what is told later')
  const tokens = claims.map(({ value }) => (value as Won).access_token)
  t.ok(tokens.every(isSealedHandle))
  t.match(await other.store.get('token', tokens[0]!), { sub: grant.sub })
  for (const code of used) t.match(await one.store.claim(code, claimOf(grant)), { used: { client_id: 'mairie' } }, 'a second use here')
  t.ok('access_token' in await other.store.claim(used[0]!, claimOf(grant)), 'there, nobody knows')
  const { error, ms } = await denied
  t.match(error, unavailable, 'what may not be sealed is an outage')
  t.ok(ms < 4000 + slackMs, `with an end, after ${Math.round(ms)} ms`)
  await pause(500)

  await comeBack()
  const witness = redisStore({ urls, site: 'a' })
  t.teardown(() => witness.close())
  await until('the store answers', 10_000, () => witness.ended('sid').then(() => true, () => false))
  const told = performance.now()
  await until('it was told of each', 10_000, async () => (await Promise.all(used.map(code => witness.usedBy(code)))).every(Boolean))
  t.ok(performance.now() - told < 5000, 'within five seconds, with no restart')
  await until('both reach it again', 10_000, reached)                    // until then each decides for itself
  for (const { store } of [one, other]) for (const code of used) t.match(await store.claim(code, claimOf(grant)), { used: { client_id: 'mairie' } }, 'redeemed while it was away: known everywhere')

  await until('it is asked again', 10_000, async () => !isSealedHandle(await one.store.put('code', grant, 60, seal)) && !isSealedHandle(await other.store.put('code', grant, 60, seal)))
  const counted = await commands()
  const outcomes = await Promise.all(unused.flatMap(code => [one, other, one, other].map(({ store }) => store.claim(code, claimOf(grant)))))
  t.equal(outcomes.filter(outcome => 'access_token' in outcome).length, unused.length, 'what nobody redeemed is good once, at both together')
  await pause(1500)
  const asked = await commands() - counted
  t.ok(asked <= 4 * unused.length + 20, `${asked} commands for ${outcomes.length} claims: no herd`)
  t.equal([...one.seen, ...other.seen].filter(seen => seen === 'again').length, 1, 'the one that was given twice is counted')
}

t.after(() => {
  if (unhandled.length > 0) throw new Error(`nobody handled ${inspect(unhandled)}`)
})
