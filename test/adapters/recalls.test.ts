import { setTimeout as pause } from 'node:timers/promises'
import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { keyringSealer } from '../../src/adapters/keyring-sealer.ts'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { recallingStore, sealedRecall } from '../../src/adapters/recalls.ts'
import { redisStore } from '../../src/adapters/redis-store.ts'
import type { Store } from '../../src/ports.ts'
import { life, type Recall } from '../../src/records.ts'
import { startLossyWay, startRedis, until } from '../support/redis.ts'
import { grantOf, sessionOf } from '../support/store-contract.ts'

t.setTimeout(60_000)
const key = { kid: 'one', key: createSecretKey(randomBytes(32)), nbf: 0 }
let clock = 1700000000
const now = () => clock
let keys = [key]
const sealer = keyringSealer({ issuer: 'https://passerelle.example', keys: () => keys, now })

function desk () {
  const kept = memoryStore({ site: 'a', now })
  let asked = 0
  let lost = false
  const unreadable: number[] = []
  const counted = Object.assign(Object.create(kept), { async recalls () { asked++; return lost ? [] : kept.recalls() } })
  const recalls = recallingStore({ store: counted, sealer, now, onNew () {}, onUnreadable (count) { unreadable.push(count) }, onFailure () {} })
  return { kept, recalls, asked: () => asked, lose () { lost = true }, unreadable, recall: (idp: string) => kept.recall(idp, sealedRecall(sealer, { idp, since: now() - 60, until: now() }, now() + 60), 60) }
}

t.test('however many ask it to look, it looks once at a time, and once a second from then on', async t => {
  const { recalls, asked } = desk()
  t.same(await Promise.all([recalls.look(), recalls.look(), recalls.look()]), [true, true, true])
  t.equal(asked(), 1)
  await recalls.look()
  t.equal(asked(), 2)
  await pause(1500)
  t.equal(asked(), 3, 'one clock, not one for each who asked')
  const looking = recalls.look()
  await recalls.store.close()
  await looking
  t.equal(asked(), 4)
  await pause(1300)
  t.equal(asked(), 4, 'and not again after it was closed, though it was looking')
})

t.test('no kind of record of what was called back is given, and every other is', async t => {
  const { recalls, recall } = desk()
  const records = { code: await recalls.store.put('code', grantOf(), 60), token: await recalls.store.put('token', grantOf(), 60), session: await recalls.store.put('session', sessionOf(), 60) }
  const other = await recalls.store.put('code', grantOf({ idp: 'poste' }), 60)
  for (const kind of ['code', 'token', 'session'] as const) t.ok(await recalls.store.get(kind, records[kind]), kind)
  await recall('impots')
  await recalls.look()
  t.equal(recalls.count(), 1)
  for (const kind of ['code', 'token', 'session'] as const) t.equal(await recalls.store.get(kind, records[kind]), undefined, kind)
  t.ok(await recalls.store.get('code', other))
  await recalls.store.close()
})

t.test('what the store has lost goes on counting, to its end, and no longer than its key is believed', async t => {
  const { recalls, recall, lose, unreadable } = desk()
  await recall('impots')
  await recalls.look()
  lose()
  await recalls.look()
  t.equal(recalls.count(), 1, 'a primary that came back empty has taken nothing back')
  keys = []
  await recalls.look()
  t.equal(recalls.count(), 0, 'whoever had the revoked key calls nothing back')
  t.same(unreadable, [1])

  keys = [key]
  const other = desk()
  await other.recall('impots')
  await other.recalls.look()
  other.lose()
  clock += 60
  await other.recalls.look()
  t.equal(other.recalls.count(), 0, 'at its end')
  t.same(other.unreadable, [], 'which is nothing to tell')
  for (const { store } of [recalls, other.recalls]) await store.close()
})

t.test('what cannot be opened is told, once; what is over is not', async t => {
  const { kept, recalls, recall, unreadable } = desk()
  await kept.recall('over', sealedRecall(sealer, { idp: 'impots', since: 0, until: now() }, now()), 60)
  keys = [{ ...key, kid: 'yesterday' }]                                  // of an operator whose copy is old
  await recall('impots')
  await kept.recall('forged', 'x', 60)
  keys = [key]
  await recalls.look()
  await recalls.look()
  t.same(unreadable, [2])
  t.equal(recalls.count(), 0)
  await kept.recall('forged again', 'y', 60)
  await recalls.look()
  t.same(unreadable, [2, 1])
  await recalls.store.close()
})

/** A replica at a store, and at those of other sites where there are any. */
function replicaAt (store: Store, elsewhere: Store[] = []) {
  const heard: Recall[] = []
  let failures = 0
  const recalls = recallingStore({ store, elsewhere, sealer, now, onNew (recall) { heard.push(recall) }, onUnreadable () {}, onFailure () { failures++ } })
  return { recalls, heard, failures: () => failures }
}

const recallOf = (idp: string): Recall => ({ idp, since: now() - 60, until: now() })
const callBack = (store: Store, recall: Recall, seconds: number = life.recall) => store.recall(JSON.stringify(recall), sealedRecall(sealer, recall, now() + seconds), life.recall)

t.test('what a Redis that came back empty has lost is written there again, once, by one of the replicas that know it, for one that starts', async t => {
  const redis = await startRedis(t)
  const [long, short] = [recallOf('impots'), recallOf('poste')]
  const replicas = Array.from({ length: 5 }, () => replicaAt(redisStore({ urls: redis.urls, site: 'a' })))
  const stores = replicas.map(({ recalls }) => recalls.store)
  await callBack(stores[0]!, long)
  await callBack(stores[0]!, short, 30)
  const texts = (await stores[0]!.recalls()).sort()
  for (const { recalls } of replicas) await recalls.look()
  const writes = async () => Number(/cmdstat_hset:calls=(\d+)/.exec(String(await redis.command(0, 'INFO', 'commandstats')))?.[1])
  const before = await writes()

  await redis.command(0, 'FLUSHALL')
  for (const { recalls } of replicas) await recalls.look()
  for (const { recalls } of replicas) {
    await recalls.look()
    await until('both are there again', 5000, async () => (await stores[0]!.recalls()).length === 2)
  }
  t.equal(await writes(), before + 2, 'each once, though five replicas missed it')
  t.same((await stores[0]!.recalls()).sort(), texts, 'to the letter: its end is what it was')
  t.ok(Number(await redis.command(0, 'TTL', 'recalls:{all}')) > 24 * 3600, 'the one that ends soon takes the other not with it')
  const fresh = replicaAt(redisStore({ urls: redis.urls, site: 'a' }))
  await fresh.recalls.look()
  t.same(new Set(fresh.heard.map(({ idp }) => idp)), new Set(['impots', 'poste']))

  clock += 30
  await redis.command(0, 'FLUSHALL')
  for (let looks = 0; looks < 3; looks++) for (const { recalls } of replicas) await recalls.look()
  await until('what is in force is there again', 5000, async () => (await stores[0]!.recalls()).length > 0)
  t.equal((await stores[0]!.recalls()).length, 1, 'what is over is not')
  for (const { recalls, failures } of [...replicas, fresh]) {
    t.equal(failures(), 0)
    await recalls.store.close()
  }
})

t.test('the same called back twice in one second, sealed anew, is one recall, and its texts do not chase each other', async t => {
  const kept = memoryStore({ site: 'a', now })
  const { recalls, heard } = replicaAt(kept)
  const recall = recallOf('impots')
  await callBack(kept, recall)
  await recalls.look()
  await callBack(kept, recall)
  const texts = await kept.recalls()
  for (let looks = 0; looks < 3; looks++) await recalls.look()
  t.equal(recalls.count(), 1)
  t.same(heard, [recall])
  t.same(await kept.recalls(), texts)
  await recalls.store.close()
})

t.test('of a great many that are lost each look writes some, and what cannot be written is counted and tried again', async t => {
  const kept = memoryStore({ site: 'a', now })
  let refuses = false
  const frail: Store = Object.assign(Object.create(kept), { async recall (...said: Parameters<Store['recall']>) { if (refuses) throw new Error('no room'); return kept.recall(...said) } })
  const { recalls, failures } = replicaAt(frail)
  for (let i = 0; i < 50; i++) await callBack(kept, recallOf(`idp-${i}`))
  await recalls.look()
  await kept.close()                                                     // a memory that forgets
  await recalls.look()
  t.same(await kept.recalls(), [], 'not at the first look: another replica may be writing it')
  refuses = true
  t.equal(await recalls.look(), true, 'it could be read')
  t.equal(failures(), 32)
  refuses = false
  await recalls.look()
  t.equal((await kept.recalls()).length, 32)
  await recalls.look()
  t.equal((await kept.recalls()).length, 50)
  t.equal(recalls.count(), 50)
  await recalls.store.close()
})

t.test('what another site was told counts here, where home has lost it, and is written at home', async t => {
  const [a, b] = [memoryStore({ site: 'a', now }), memoryStore({ site: 'b', now })]
  const { recalls, heard } = replicaAt(a, [b])
  const recall = recallOf('impots')
  await callBack(b, recall)
  await recalls.look()
  t.ok(recalls.isRecalled({ idp: 'impots', identifiedAt: now() - 1 }))
  await recalls.look()
  t.same(await a.recalls(), await b.recalls())
  await callBack(b, recall)                                              // each site's is sealed for itself
  await recalls.look()
  t.equal(recalls.count(), 1)
  t.same(heard, [recall], 'told once')
  await recalls.store.close()
})

t.test('a site that does not answer, or not well, keeps nobody from knowing what home was told; home decides whether it is known', async t => {
  const [home, other] = [await startRedis(t), await startRedis(t)]
  const [way, wayHome] = [await startLossyWay(t, other.url), await startLossyWay(t, home.url)]
  const [a, b] = [redisStore({ urls: [wayHome.url], site: 'a', nodeTimeoutMs: -3500 }), redisStore({ urls: [way.url], site: 'b', nodeTimeoutMs: -2900 })]
  const { recalls, failures } = replicaAt(a, [b])
  await callBack(a, recallOf('impots'))
  await callBack(b, recallOf('poste'))
  way.swallow()
  t.equal(await recalls.look(), true)
  t.equal(recalls.count(), 1)
  t.equal(failures(), 0)
  t.equal(recalls.wereRead(), true)
  way.mend()

  const late = replicaAt(a, [b])
  await until('the other site answers again', 10_000, async () => (await b.recalls().catch(() => [])).length === 1)
  wayHome.cut()
  t.equal(await late.recalls.look(), false)
  t.equal(late.recalls.count(), 1, 'what the other site says counts all the same')
  t.equal(late.recalls.wereRead(), false)
  t.equal(late.failures(), 1)
  wayHome.mend()
  await until('home answers again', 10_000, late.recalls.look)
  t.equal(late.recalls.count(), 2)
  t.equal(late.recalls.wereRead(), true)
  await Promise.all([late.recalls.store.close(), recalls.store.close(), b.close()])
})

/** A replica whose sealer is without the keys that were called back. */
function replicaWithKeys (kept: Store, ring: Array<typeof key>) {
  let called: string[] = []
  let unreadable = 0
  const sealer = keyringSealer({ issuer: 'https://passerelle.example', keys: () => ring.filter(({ kid }) => !called.includes(kid)), now })
  const recalls = recallingStore({ store: kept, sealer, now, onNew () {}, onKeys (recalls) { called = recalls.map(({ kid }) => kid!) }, onUnreadable (more) { unreadable += more }, onFailure () {} })
  return { recalls, called: () => called, unreadable: () => unreadable }
}
const day = 86_400
const keyAt = (kid: string, nbf: number) => ({ kid, key: createSecretKey(randomBytes(32)), nbf })
const leave = (kept: Store, by: typeof key, recall: Recall, exp: number, name = JSON.stringify(recall)) =>
  kept.recall(name, sealedRecall(keyringSealer({ issuer: 'https://passerelle.example', keys: () => [by], now }), recall, exp), life.recall)

t.test('a key that was called back stays so to the end, though it was its own key that said so, and what else that key sealed counts no more', async t => {
  const kept = memoryStore({ site: 'a', now })
  const [leaked, other] = [keyAt('leaked', now() - 3600), keyAt('other', now() - 7200)]
  const { recalls, called } = replicaWithKeys(kept, [leaked, other])
  await leave(kept, leaked, recallOf('impots'), now() + 600)
  await recalls.look()
  t.equal(recalls.isRecalled({ idp: 'impots', identifiedAt: now() }), true)
  await leave(kept, leaked, { kid: 'leaked', since: now(), until: now() }, now() + 600)
  for (let looks = 0; looks < 4; looks++) {
    await recalls.look()
    t.same(called(), ['leaked'], 'it does not come and go')
    t.equal(recalls.isRecalled({ idp: 'impots', identifiedAt: now() }), false, 'whoever had it calls nothing back')
  }
  clock += 600
  await recalls.look()
  t.same(called(), [])
  await recalls.store.close()
})

t.test('what a retired key sealed for longer than it was believed counts from the very look that calls back the key which followed it', async t => {
  const kept = memoryStore({ site: 'a', now })
  const [retired, leaked] = [keyAt('retired', now() - 2 * day), keyAt('leaked', now() - day + 3600)]
  for (const [at, exp] of [['leaked', now() + 3600], ['impots', now() + day], ['other-key', now() + day]] as const) {
    await leave(kept, retired, at === 'impots' ? recallOf(at) : { kid: at, since: now(), until: now() }, exp)
  }
  const { recalls, called, unreadable } = replicaWithKeys(kept, [retired, leaked, keyAt('other-key', now() - 3 * day)])
  await recalls.look()
  t.same(new Set(called()), new Set(['leaked', 'other-key']))
  t.equal(recalls.isRecalled({ idp: 'impots', identifiedAt: now() }), true)
  t.equal(unreadable(), 0, 'of which nothing is told as if it could not be opened')
  await recalls.store.close()
})
