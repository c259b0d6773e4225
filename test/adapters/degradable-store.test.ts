import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import { digestOf, isSealedHandle } from '../../src/adapters/handles.ts'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { asOneWait, slowMs, withinOneDeadline } from '../../src/adapters/one-deadline.ts'
import { redisStore } from '../../src/adapters/redis-store.ts'
import { tokenName } from '../../src/adapters/record-store.ts'
import type { Store } from '../../src/ports.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import type { Grant } from '../../src/protocol/grant.ts'
import type { Kind } from '../../src/records.ts'
import { life } from '../../src/records.ts'
import { frailRecords, frailSite, replicaOf, sealerOf, type FrailRecords } from '../support/degradable.ts'
import { startRedis, until } from '../support/redis.ts'
import { claimOf, grantOf, identificationOf, keepsContract, sessionOf } from '../support/store-contract.ts'

t.setTimeout(60_000)
t.jobs = 16
const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }
const seal = { ifAway: 'seal' } as const
const backMs = 10_000
const nameOf = (access_token: string) => tokenName('a', access_token)
type Won = { access_token: string }

/** A code that holds its record: the store was away when it was given, and is back. */
async function sealedCode (records: FrailRecords, store: Store, grant: Grant, seconds = 60) {
  records.away = 'refuses'
  const code = await store.put('code', grant, seconds, seal)
  records.away = undefined
  return code
}

t.test('over records that are well it keeps the whole contract', { buffered: true }, async t => {
  let now = 1_800_000_000
  const { store } = replicaOf({ records: memoryStore({ site: 'a', now: () => now }), sealer: sealerOf(() => now), now: () => now })
  await keepsContract(t, { site: 'a', open: () => ({ ...store, close: async () => {} }), pass: seconds => { now += seconds } })
})

t.test('over a real Redis it keeps the whole contract', { buffered: true }, async t => {
  const { urls } = await startRedis(t)
  const now = () => Math.floor(Date.now() / 1000)
  const sealer = sealerOf(now)
  await keepsContract(t, {
    site: 'a',
    open: () => replicaOf({ records: redisStore({ urls, site: 'a' }), sealer, now }).store,
    pass: seconds => pause(seconds * 1000 + 120)
  })
})

t.test('what need not be sealed is not, and while the records are well nothing is', { buffered: true }, async t => {
  const { records, replicas: [{ store, seen }] } = frailSite(t)
  const code = await store.put('code', grantOf(), 30, seal)
  t.notOk(isSealedHandle(code))
  records.away = 'refuses'
  for (const ifAway of ['wait', 'give up'] as const) await t.rejects(store.put('code', grantOf(), 30, { ifAway }), unavailable, ifAway)
  await t.rejects(store.put('code', grantOf(), 30), unavailable)
  for (const [kind, record] of [['session', sessionOf()], ['identity', identificationOf()]] as const) await t.rejects(store.put(kind as Kind, record as never, 30, seal), unavailable, `${kind}, which no handle can keep`)
  await t.rejects(store.put('code', grantOf({ claims: { given_name: 'x'.repeat(3000) } }), 30, seal), unavailable, 'a code too large for a handle')
  t.same(seen, [])
  t.ok(isSealedHandle(await store.put('code', grantOf(), 30, seal)))
  t.same(seen, ['sealed'])
})

t.test('what only the records have nobody answers for them', { buffered: true }, async t => {
  const { records, replicas: [{ store }] } = frailSite(t)
  const grant = grantOf()
  const code = await store.put('code', grant, 30)
  const { access_token } = await store.claim(await store.put('code', grant, 30), claimOf(grant)) as Won
  const session = await store.put('session', sessionOf(), 30)
  records.away = 'refuses'
  for (const ask of [
    (): Promise<unknown> => store.get('code', code), () => store.get('token', access_token), () => store.get('session', session), () => store.usedBy(code), () => store.claim(code, claimOf(grant)),
    () => store.end({ access_token }, 30), () => store.end({ token: nameOf(access_token) }, 30), () => store.end({ session }, 30), () => store.end({ sid: 'sid' }, 30), () => store.ended('sid'),
    () => store.once('name', 30), () => store.said('name'), () => store.enter('sid', { client_id: 'a', at: 1, claims: [] }, 30), () => store.entered('sid')
  ]) await t.rejects(ask(), unavailable, `${ask}`)
  records.away = undefined
  t.ok(await store.claim(code, claimOf(grant)), 'nothing of this was done')
  t.ok(await store.get('token', access_token))
})

t.test('what is no outage passes as it is: nothing is sealed for it, nothing believed and nothing redeemed', { buffered: true }, async t => {
  for (const failure of [new OAuthError('code_invalid', 'another failure'), new TypeError('a fault of ours')]) {
    const { records, replicas: [{ store, seen }] } = frailSite(t)
    const grant = grantOf()
    records.away = 'refuses'
    const [code, another] = [await store.put('code', grant, 60, seal), await store.put('code', grant, 60, seal)]
    const { access_token } = await store.claim(code, claimOf(grant)) as Won
    const before = [...seen]
    const fails = async () => { throw failure }
    Object.assign(records, { put: fails, use: fails, tokenEnded: fails, end: fails })
    await t.rejects(store.put('code', grant, 60, seal), failure)
    await t.rejects(store.get('token', access_token), failure)
    await t.rejects(store.claim(another, claimOf(grant)), failure)
    await t.rejects(store.end({ token: nameOf(access_token) }, 60), failure)
    t.same(seen, before)
  }
})

for (const away of ['refuses', 'loses answers'] as const) {
  t.test(`while it ${away}, a code is good once at each replica; when it is back, nowhere any more`, { buffered: true }, async t => {
    const { records, replicas: [one, other] } = frailSite(t)
    const grant = grantOf()
    records.away = away
    const [code, twice] = [await one.store.put('code', grant, 60, seal), await one.store.put('code', grant, 60, seal)]
    t.match(await other.store.get('code', code), { sub: grant.sub, degraded: true })
    const { access_token } = await one.store.claim(code, claimOf(grant)) as Won
    t.match(await other.store.get('token', access_token), { sub: grant.sub })
    t.same(await one.store.claim(code, claimOf(grant)), { used: { client_id: 'mairie', token: nameOf(access_token) } }, 'a second use here')
    t.same(await one.store.usedBy(code), { client_id: 'mairie', token: nameOf(access_token) }, 'by whom is known here')
    t.ok('access_token' in await one.store.claim(twice, claimOf(grant)))
    if (away === 'refuses') t.ok('access_token' in await other.store.claim(twice, claimOf(grant)), 'there, nobody knows')
    t.same(one.seen.slice(2), ['alone', 'alone'])

    records.asked.length = 0
    records.away = undefined
    await until('it was told', backMs, () => records.asked.filter(asked => asked === 'use').length >= 2)
    for (const { store } of [one, other]) {
      t.same(await store.claim(code, claimOf(grant)), { used: { client_id: 'mairie', token: nameOf(access_token) } }, 'by whom is known everywhere')
      t.match(await store.usedBy(code), { client_id: 'mairie' })
      t.match(await store.claim(twice, claimOf(grant)), { used: { client_id: 'mairie' } })
    }
    if (away === 'refuses') t.equal([...one.seen, ...other.seen].filter(seen => seen === 'again').length, 1, 'what was given twice is counted once')
    else t.notOk([...one.seen, ...other.seen].includes('again'), 'a word that was heard, though its answer was lost, is our own')
    t.same(other.seen.filter(seen => seen === 'recorded'), [])
  })
}

t.test('while the store answers, a sealed code is good once, whoever asks, and whatever it was not told yet', { buffered: true }, async t => {
  const { records, replicas: [one, other] } = frailSite(t)
  const grant = grantOf()
  records.away = 'refuses'
  const codes = await Promise.all(Array.from({ length: 20 }, () => one.store.put('code', grant, 60, seal)))
  const [untold, ...others] = codes
  await one.store.claim(untold!, claimOf(grant))
  records.away = undefined
  const outcomes = await Promise.all(others.flatMap(code => [one, other, one, other].map(({ store }) => store.claim(code, claimOf(grant)))))
  const won = outcomes.filter(outcome => 'access_token' in outcome) as Won[]
  t.equal(won.length, others.length)
  for (const { access_token } of won) t.ok(await other.store.get('token', access_token))
  t.equal([...one.seen, ...other.seen].filter(seen => seen === 'recorded').length, others.length)
  t.notOk([...one.seen, ...other.seen].includes('again'), 'a replay that was refused was not redeemed')
  t.ok(await records.usedBy(untold!), 'and who hears that it is back, tells it')
})

t.test('a mark of a code\'s use that cannot be read is no outage: nobody guesses that it was not used', { buffered: true }, async t => {
  const { urls: [url] } = await startRedis(t)
  const now = () => Math.floor(Date.now() / 1000)
  const records = frailRecords(redisStore({ urls: [url!], site: 'a' }))
  const { store, seen } = replicaOf({ records, sealer: sealerOf(now), now })
  const redis = new Redis(url!)
  t.teardown(async () => { await redis.quit(); await store.close() })
  const code = await sealedCode(records, store, grantOf(), 30)
  await redis.set(`used:{${digestOf(code)}}`, '2.as a later release writes it', 'EX', 60)
  await t.rejects(store.claim(code, claimOf(grantOf())), unavailable)
  t.same(seen, ['sealed'])
})

t.test('a word that had to be sent again is our own: the code is redeemed, and its token good', { buffered: true }, async t => {
  const { records, replicas: [one, other] } = frailSite(t)
  const grant = grantOf()
  const code = await sealedCode(records, one.store, grant)
  const { use } = records
  records.use = async (...of) => {
    await use(...of)                                                     // its answer was lost
    return use(...of)
  }
  const { access_token } = await one.store.claim(code, claimOf(grant)) as Won
  t.match(await other.store.get('token', access_token), { sub: grant.sub })
  t.same(one.seen, ['sealed', 'recorded'])
  t.same(await other.store.claim(code, claimOf(grant)), { used: { client_id: 'mairie', token: nameOf(access_token) } })
})

t.test('a store that comes and goes is told all the same, and by each replica only what that one missed', { buffered: true }, async t => {
  const { records, replicas: [one, other] } = frailSite(t)
  const grant = grantOf()
  records.away = 'refuses'
  const codes: string[] = []
  for (let i = 0; i < 40; i++) {
    const code = await one.store.put('code', grant, 60, seal)
    await (i % 2 ? one : other).store.claim(code, claimOf(grant))
    codes.push(code)
  }
  const { use } = records
  let heard = 0
  records.use = (...of) => { if (++heard % 3 === 0) records.away = records.away === undefined ? 'loses answers' : undefined; return use(...of) }
  records.away = undefined
  await until('it was told of every one', 25_000, async () => (await Promise.all(codes.map(async code => { try { return await records.usedBy(code) } catch { return undefined } }))).every(used => used !== undefined))
  records.use = use
  records.away = undefined
  for (const code of codes) for (const { store } of [one, other]) t.match(await store.claim(code, claimOf(grant)), { used: { client_id: 'mairie' } })
})

t.test('one part that stays away does not keep the others from being told', { buffered: true }, async t => {
  const { records, replicas: [{ store }] } = frailSite(t)
  const grant = grantOf()
  records.away = 'refuses'
  const codes = await Promise.all(Array.from({ length: 5 }, () => store.put('code', grant, 60, seal)))
  for (const code of codes) await store.claim(code, claimOf(grant))
  const { use } = records
  records.use = async (code, ...of) => { if (code === codes[0]) records.asked.push('in vain'); return code === codes[0] ? Promise.reject(Object.assign(new Error(), { cause: 'away' })) : use(code, ...of) }
  records.away = undefined
  await until('the others were told', backMs, async () => (await Promise.all(codes.slice(1).map(code => records.usedBy(code)))).every(Boolean))
  t.equal(await records.usedBy(codes[0]!), undefined)
  records.use = use
  await until('so was it', backMs, async () => await records.usedBy(codes[0]!) !== undefined)
})

t.test('nobody asks a store that is away more than once a second for what it missed, and what is over is not told', { buffered: true }, async t => {
  const { clock, records, replicas: [{ store }] } = frailSite(t)
  const grant = grantOf()
  records.away = 'refuses'
  for (let i = 0; i < 100; i++) await store.claim(await store.put('code', grant, 60, seal), claimOf(grant))
  records.asked.length = 0
  await pause(2500)
  t.ok(records.asked.length >= 1 && records.asked.length <= 3, `${records.asked.length} commands`)
  clock.now += life.sealedMark
  records.away = undefined
  records.asked.length = 0
  await pause(1500)
  t.same(records.asked, [])
  const code = await store.put('code', grant, 60, seal)
  t.ok(await store.claim(code, claimOf(grant)))
})

t.test('a store that is back is told little by little', { buffered: true }, async t => {
  const { records, replicas: [{ store }] } = frailSite(t)
  const grant = grantOf()
  records.away = 'refuses'
  const codes = await Promise.all(Array.from({ length: 200 }, () => store.put('code', grant, 60, seal)))
  for (const code of codes) await store.claim(code, claimOf(grant))
  let [under, most] = [0, 0]
  const { use } = records
  records.use = async (...of) => {
    most = Math.max(most, ++under)
    await pause(5)
    return use(...of).finally(() => { under-- })
  }
  records.away = undefined
  await until('all of it', backMs, async () => (await Promise.all(codes.map(code => records.usedBy(code)))).every(Boolean))
  t.ok(most <= 32, `${most} at a time`)
})

t.test('what a request missed is told long after that request has waited its time', { buffered: true }, async t => {
  const { records, replicas: [{ store }] } = frailSite(t)
  const grant = grantOf()
  const { use } = records
  // as the records of Redis wait: an end for all that one request asks, here a short one
  records.use = (...of) => withinOneDeadline(slowMs + 50, async leftMs => {
    if (leftMs < slowMs + 40) throw Object.assign(new Error('late'), {})
    return use(...of)
  })
  records.away = 'refuses'
  const code = await store.put('code', grant, 60, seal)
  await asOneWait(async () => {
    await store.claim(code, claimOf(grant))
    await withinOneDeadline(slowMs + 50, () => pause(slowMs + 50))       // something else that was slow
    await pause(200)
  })
  records.away = undefined
  await until('it was told', backMs, async () => await records.usedBy(code) !== undefined)
  t.match(await records.usedBy(code), { client_id: grant.client_id })
})

t.test('a token that was ended here is no good here at once, and elsewhere as soon as the store knows', { buffered: true }, async t => {
  const { records, replicas: [one, other] } = frailSite(t)
  const grant = grantOf()
  records.away = 'refuses'
  const code = await one.store.put('code', grant, 60, seal)
  const { access_token } = await one.store.claim(code, claimOf(grant)) as Won
  await one.store.end({ token: nameOf(access_token) }, 60)               // a second use of its code
  t.equal(await one.store.get('token', access_token), undefined)
  t.ok(await other.store.get('token', access_token), 'elsewhere nobody knows')
  await t.rejects(other.store.get('token', access_token, { sure: true }), unavailable, 'and who must be sure is told so')
  records.away = undefined
  await until('the store knows', backMs, async () => await other.store.get('token', access_token) === undefined)

  const next = await one.store.claim(await seals(one.store), claimOf(grant)) as Won
  await one.store.end({ token: nameOf(next.access_token) }, 60)
  t.equal(await other.store.get('token', next.access_token), undefined, 'while it answers it is told at once')

  async function seals (store: Store) {
    const code = await sealedCode(records, store, grant)
    return code
  }
})

t.test('who revokes a token is told that it is ended only when it is, everywhere, for as long as any replica takes it', { buffered: true }, async t => {
  const { clock, records, replicas: [one, other] } = frailSite(t)
  const grant = grantOf()
  records.away = 'refuses'
  const { access_token } = await one.store.claim(await one.store.put('code', grant, 60, seal), claimOf(grant)) as Won
  await t.rejects(one.store.get('token', access_token, { sure: true }), unavailable)
  await t.rejects(other.store.end({ access_token }, 60), unavailable)
  t.ok(await other.store.get('token', access_token))
  records.away = undefined
  t.ok(await other.store.get('token', access_token, { sure: true }))
  await other.store.end({ access_token }, 60)
  for (const { store } of [one, other]) t.equal(await store.get('token', access_token), undefined)
  clock.now += life.sealedMark - 1
  t.equal(await records.tokenEnded(nameOf(access_token), 1000), true, 'for a replica whose clock is behind')
})

t.test('a code that holds its record is read without a question, whatever is said of a token of that name', { buffered: true }, async t => {
  const { records, replicas: [one, other] } = frailSite(t)
  const grant = grantOf()
  const code = await sealedCode(records, one.store, grant)
  await one.store.end({ access_token: code }, 60)
  records.asked.length = 0
  t.match(await other.store.get('code', code), { sub: grant.sub })
  t.same(records.asked, [])
})

t.test('no kind can be read as another, sealed or kept, while the store is away and when it is back', { buffered: true }, async t => {
  const { records, replicas: [{ store }] } = frailSite(t)
  const grant = grantOf()
  const kept: Record<string, string> = { code: await store.put('code', grant, 60), token: await store.put('token', grant, 60), session: await store.put('session', sessionOf(), 60), identity: await store.put('identity', identificationOf(), 60) }
  records.away = 'refuses'
  const sealed: Record<string, string> = { code: await store.put('code', grant, 60, seal), token: await store.put('token', grant, 60, seal) }
  const kinds = Object.keys(kept) as Kind[]
  for (const away of ['refuses', undefined] as const) {
    records.away = away
    for (const handles of away === undefined ? [kept, sealed] : [sealed]) {
      for (const [kind, handle] of Object.entries(handles)) {
        for (const other of kinds) {
          const found = await store.get(other, handle)
          if (other === kind) t.ok(found, `${kind} as itself`)
          else t.equal(found, undefined, `${kind} as ${other}`)
        }
      }
    }
  }
  const { access_token } = await store.claim(sealed['code']!, claimOf(grant)) as Won
  t.equal(await store.get('code', access_token), undefined)
  t.ok(isSealedHandle(access_token), 'a sealed code gives a sealed token, whoever keeps who redeemed it')
})

t.test('what is no sealed handle of ours is nothing, while the store answers', { buffered: true }, async t => {
  const { records, replicas: [{ store }] } = frailSite(t)
  for (const garbage of ['a~', 'a~x', 'b~x', `a~1.one.1800000060.${'A'.repeat(100)}`, `a~${'A'.repeat(2046)}`, `a~${'A'.repeat(1_000_000)}`, '~', 'a~~', `a~${'.'.repeat(1000)}`]) {
    for (const kind of ['code', 'token', 'session', 'identity'] as const) t.equal(await store.get(kind, garbage), undefined)
    t.equal(await store.usedBy(garbage), undefined)
    await t.resolves(store.end({ access_token: garbage }, 30))
  }
  t.notOk(records.asked.includes('tokenEnded'), 'and nobody is asked whether it was ended')
})

t.test('closing tells what was missed, and waits for no store that is away', { buffered: true }, async t => {
  for (const away of [undefined, 'refuses'] as const) {
    const { now, records, sealer } = frailSite(t)
    const { store } = replicaOf({ records, sealer, now })
    records.away = 'refuses'
    const code = await store.put('code', grantOf(), 60, seal)
    await store.claim(code, claimOf(grantOf()))
    records.away = away
    const { close } = records
    let told: unknown
    records.close = async () => { told = away === undefined ? await records.usedBy(code) : 'nothing'; await close() }
    await store.close()
    t.ok(told, 'before the records close')
    records.asked.length = 0
    await pause(1300)
    t.same(records.asked, [], 'and nothing after')
  }
  const { now, records, sealer } = frailSite(t)
  const { store } = replicaOf({ records, sealer, now })
  records.away = 'refuses'
  await store.claim(await store.put('code', grantOf(), 60, seal), claimOf(grantOf()))
  records.use = () => new Promise(() => {})
  const begun = performance.now()
  await store.close()
  t.ok(performance.now() - begun < 5000, 'nor for one that hangs')
})

t.test('a store that is being told while we close is told no more when that fails', { buffered: true }, async t => {
  const { now, records, sealer } = frailSite(t)
  const { store } = replicaOf({ records, sealer, now })
  records.away = 'refuses'
  await store.claim(await store.put('code', grantOf(), 60, seal), claimOf(grantOf()))
  const { promise: answer, reject } = Promise.withResolvers<never>()
  let told = 0
  records.use = () => { told++; return answer }
  await until('it is being told', backMs, () => told === 1)
  const closing = store.close()
  reject(new OAuthError('store_unavailable', 'the store could not answer'))
  await closing
  await pause(1300)
  t.equal(told, 1)
})
