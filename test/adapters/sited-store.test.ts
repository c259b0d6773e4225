import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { newHandle, siteOf } from '../../src/adapters/handles.ts'
import { redisStore } from '../../src/adapters/redis-store.ts'
import { sitedStore } from '../../src/adapters/sited-store.ts'
import type { Store } from '../../src/ports.ts'
import { frailRecords, keyring, replicaOf, sealerOf } from '../support/degradable.ts'
import { startRedis } from '../support/redis.ts'
import { claimOf, grantOf, keepsContract, sessionOf } from '../support/store-contract.ts'

t.setTimeout(60_000)
t.jobs = 4
const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }
type Won = { access_token: string }

/** Two sites, each with a memory that the other reaches by a link that a test cuts, and a store of a replica of each. */
function twoSites () {
  const now = () => 1_800_000_000
  const [a, b] = [memoryStore({ site: 'a', now }), memoryStore({ site: 'b', now })]
  const links = { a: frailRecords(a), b: frailRecords(b) }
  const at = {
    a: sitedStore({ home: 'a', stores: new Map<string, Store>([['a', a], ['b', links.b]]) }),
    b: sitedStore({ home: 'b', stores: new Map<string, Store>([['a', links.a], ['b', b]]) })
  }
  return {
    at,
    kept: { a, b },
    links,
    cut (away: 'refuses' | 'loses answers' | undefined) { links.a.away = links.b.away = away }
  }
}

t.test('two sites, each with a memory, keep the contract at either', async t => {
  for (const home of ['a', 'b']) {
    let now = 1_800_000_000
    const stores = new Map(['a', 'b'].map(site => [site, memoryStore({ site, now: () => now })]))
    const one = sitedStore({ home, stores })
    await t.test(`at ${home}`, t => keepsContract(t, { site: home, open: () => ({ ...one, close: async () => {} }), pass: seconds => { now += seconds } }))
  }
})

t.test('two sites, each with a Redis, keep the contract', { buffered: true }, async t => {
  const [one, other] = await Promise.all([startRedis(t), startRedis(t)])
  const open = () => sitedStore({ home: 'a', stores: new Map([['a', redisStore({ urls: one.urls, site: 'a' })], ['b', redisStore({ urls: other.urls, site: 'b' })]]) })
  await keepsContract(t, { site: 'a', open, pass: seconds => pause(seconds * 1000 + 120) })
  t.same(await other.allValues(), [], 'nothing is kept away from home')
})

t.test('of claims at both sites at once one wins, whichever site issued the code', async t => {
  const { at } = twoSites()
  for (const issuer of [at.a, at.b]) {
    const grant = grantOf()
    const code = await issuer.put('code', grant, 60)
    const outcomes = await Promise.all(Array.from({ length: 50 }, (_, i) => (i % 2 ? at.a : at.b).claim(code, claimOf(grant))))
    const won = outcomes.filter(outcome => 'access_token' in outcome) as Won[]
    t.equal(won.length, 1)
    t.equal(siteOf(won[0]!.access_token), siteOf(code), 'its token is of the same site')
    for (const store of [at.a, at.b]) {
      t.same(await store.get('token', won[0]!.access_token), grant)
      const used = await store.usedBy(code)
      t.match(used, { client_id: 'mairie' })
      t.equal(siteOf(used!.token), siteOf(code))
    }
    await at.b.end({ token: (await at.a.usedBy(code))!.token }, 60)
    for (const store of [at.a, at.b]) t.equal(await store.get('token', won[0]!.access_token), undefined, 'ended from either')
  }
})

t.test('while the link is cut each site goes on alone, and what needs the other is an outage: nothing is redeemed twice', async t => {
  for (const away of ['refuses', 'loses answers'] as const) {
    const { at, kept, cut } = twoSites()
    const grant = grantOf()
    const code = await at.a.put('code', grant, 60)
    const { access_token } = await at.a.claim(await at.a.put('code', grant, 60), claimOf(grant)) as Won
    const session = await at.a.put('session', sessionOf(), 60)
    cut(away)
    const sid = newHandle('a')
    for (const ask of [
      (): Promise<unknown> => at.b.get('code', code), () => at.b.get('token', access_token), () => at.b.get('session', session, { patienceMs: 250 }), () => at.b.usedBy(code), () => at.b.claim(code, claimOf(grant)),
      () => at.b.end({ sid }, 60), () => at.b.ended(sid), () => at.b.enter(sid, { client_id: 'a', at: 1, claims: [] }, 60), () => at.b.entered(sid),
      () => at.b.once('name', 60, { at: newHandle('a') }), () => at.b.said('name', { at: newHandle('a') })
    ]) await t.rejects(ask(), unavailable, `${away}: ${ask}`)
    for (const store of [at.a, at.b]) {
      const own = await store.put('code', grant, 60)
      t.ok('access_token' in await store.claim(own, claimOf(grant)))
    }
    cut(undefined)
    const outcomes = await Promise.all([at.a.claim(code, claimOf(grant)), at.b.claim(code, claimOf(grant))])
    const won = outcomes.filter(outcome => 'access_token' in outcome).length
    t.equal(won, away === 'refuses' ? 1 : 0, 'a claim that was carried out, though nobody heard of it, is spent')
    t.equal(await kept.b.usedBy(code), undefined, 'the other site never kept anything of it')
  }
})

t.test('what is new is kept at home, what ended is marked where it lives, and a name is said where it belongs', async t => {
  const { at, kept, links } = twoSites()
  const handles = await Promise.all([at.b.put('code', grantOf(), 60), at.b.put('session', sessionOf(), 60), at.b.put('token', grantOf(), 60)])
  t.same(handles.map(siteOf), ['b', 'b', 'b'])
  t.same(links.a.asked, [], 'the other site is asked for nothing')

  const [sid, own] = [newHandle('a'), newHandle('b')]
  await at.b.end({ sid }, 60)
  t.equal(await kept.a.ended(sid), true)
  t.equal(await kept.b.ended(sid), false)
  t.equal(await at.b.ended(sid), true)
  await at.b.enter(sid, { client_id: 'mairie', at: 1, claims: [] }, 60)
  t.equal((await kept.a.entered(sid)).length, 1)
  t.equal((await at.a.entered(sid)).length, 1)
  await at.b.end({ sid: own }, 60)
  t.equal(await kept.b.ended(own), true)

  const session = await at.a.put('session', sessionOf(), 60)
  await at.b.end({ session }, 60)
  t.equal(await at.a.get('session', session), undefined)
  const token = await at.a.put('token', grantOf(), 60)
  await at.b.end({ access_token: token }, 60)
  t.equal(await at.a.get('token', token), undefined)

  const pushed = newHandle('a')
  t.same(await Promise.all([at.a.once(`pushed ${pushed}`, 60, { at: pushed, by: 'one' }), at.b.once(`pushed ${pushed}`, 60, { at: pushed, by: 'other' })]), [true, false])
  t.equal(await at.b.said(`pushed ${pushed}`, { at: pushed }), true)
  t.equal(await at.b.once('a proof', 60), true)
  t.equal(await kept.b.said('a proof'), true, 'what belongs to no site is said at home')
})

t.test('what bears no mark is our own, as a former release made it, whatever it begins with', async t => {
  const { at, kept } = twoSites()
  for (const sid of [`ab-${'x'.repeat(40)}`, `b-${'x'.repeat(41)}`, `a${'x'.repeat(42)}`, 'sid']) {
    await at.a.end({ sid }, 60)
    t.equal(await at.a.ended(sid), true, sid)
    t.equal(await kept.a.ended(sid), true, sid)
    await at.a.enter(sid, { client_id: 'mairie', at: 1, claims: [] }, 60)
    t.equal((await at.a.entered(sid)).length, 1, sid)
  }
})

t.test('of a site that is not configured there are no handles, and whoever has to know is told that nobody can', async t => {
  const { at, kept } = twoSites()
  const [code, sid] = [newHandle('c'), newHandle('c')]
  for (const handle of [code, 'c~x', 'toolong~x']) {
    for (const kind of ['code', 'token', 'session', 'identity'] as const) t.equal(await at.a.get(kind, handle), undefined)
    t.equal(await at.a.usedBy(handle), undefined)
  }
  for (const ask of [
    (): Promise<unknown> => at.a.claim(code, claimOf(grantOf())), () => at.a.end({ sid }, 60), () => at.a.end({ session: code }, 60), () => at.a.end({ token: code }, 60), () => at.a.ended(sid),
    () => at.a.enter(sid, { client_id: 'a', at: 1, claims: [] }, 60), () => at.a.entered(sid), () => at.a.once('name', 60, { at: code }), () => at.a.said('name', { at: code })
  ]) await t.rejects(ask(), unavailable, `${ask}`)
  t.equal(await kept.a.said('name'), false)
})

t.test('a code that its site sealed is good once where its site answers, whichever site is asked', async t => {
  const now = () => 1_800_000_000
  const keys = keyring()
  const records = { a: frailRecords(memoryStore({ site: 'a', now })), b: frailRecords(memoryStore({ site: 'b', now })) }
  const storeAt = (home: string) => sitedStore({ home, stores: new Map((['a', 'b'] as const).map(site => [site, replicaOf({ records: records[site], sealer: sealerOf(now, keys), now, site }).store])) })
  const [a, b] = [storeAt('a'), storeAt('b')]
  t.teardown(() => Promise.all([a.close(), b.close()]))
  const grant = grantOf()
  records.a.away = 'refuses'
  const [code, other] = [await a.put('code', grant, 60, { ifAway: 'seal' }), await a.put('code', grant, 60, { ifAway: 'seal' })]
  t.match(await b.get('code', code), { degraded: true })
  t.equal(await b.get('code', code.replace(/^a/, 'b')), undefined)
  records.a.away = undefined
  const { access_token } = await b.claim(code, claimOf(grant)) as Won
  t.equal(siteOf(access_token), 'a')
  t.same(await a.claim(code, claimOf(grant)), { used: await b.usedBy(code) })
  t.ok(await a.get('token', access_token))
  await a.end({ token: (await a.usedBy(code))!.token }, 60)
  t.equal(await b.get('token', access_token), undefined)
  t.ok('access_token' in await a.claim(other, claimOf(grant)))
  t.same(await records.b.usedBy(code), undefined)
})

t.test('closing closes each', async t => {
  const closed: string[] = []
  const store = (site: string) => ({ ...memoryStore({ site, now: () => 0 }), close: async () => { closed.push(site) } })
  await sitedStore({ home: 'a', stores: new Map([['a', store('a')], ['b', store('b')]]) }).close()
  t.same(closed.sort(), ['a', 'b'])
})
