import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { digestOf } from '../../src/adapters/handles.ts'
import { recordStore, tokenName, within, type Cells } from '../../src/adapters/record-store.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { claimOf, grantOf, sessionOf } from '../support/store-contract.ts'

const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }

/** Cells in a map, of which a test bends what it needs; `keys` is every key that was asked for, in order. */
function bent (changes: (cells: Cells, kept: Map<string, string>) => Partial<Cells> = () => ({})) {
  const kept = new Map<string, string>()
  const asked: Array<[call: string, key: string, ...rest: unknown[]]> = []
  const plain: Cells = {
    swapNew: async (key, value) => {
      const before = kept.get(key) ?? null
      if (before === null) kept.set(key, value)
      return before
    },
    set: async (key, value) => { kept.set(key, value) },
    get: async key => kept.get(key) ?? null,
    add: async (key, field, value) => { kept.set(`${key} ${field}`, value) },
    all: async key => [...kept].filter(([name]) => name.startsWith(`${key} `)).map(([, value]) => value),
    standing: async () => [],
    close: async () => {}
  }
  const cells = { ...plain, ...changes(plain, kept) }
  const noted = Object.fromEntries(Object.entries(cells).map(([call, made]) => [call, (...args: unknown[]) => {
    asked.push([call, ...args as [string]])
    return (made as (...args: unknown[]) => unknown)(...args)
  }])) as unknown as Cells
  return { kept, asked, store: recordStore(noted, { site: 'p1' }) }
}

t.test('a token that is put after its end was marked does not come to life', async t => {
  const { promise: ended, resolve: goOn } = Promise.withResolvers<void>()
  const { store } = bent(cells => ({
    async swapNew (key, value, seconds) {
      if (key.startsWith('token:')) await ended
      return cells.swapNew(key, value, seconds)
    }
  }))
  const grant = grantOf()
  const code = await store.put('code', grant, 30)
  const claimed = store.claim(code, claimOf(grant))
  await pause(10)
  await store.end({ token: (await store.usedBy(code))!.token }, 60)
  goOn()
  const { access_token } = await claimed as { access_token: string }
  t.equal(await store.get('token', access_token), undefined)
})

t.test('a new record whose place is taken by another is an outage', async t => {
  const { store } = bent(() => ({ swapNew: async () => 'something else' }))
  await t.rejects(store.put('code', grantOf(), 30), unavailable)
})

t.test('a claim whose token could not be kept is an outage, and shows none', async t => {
  const { store } = bent(cells => ({
    async swapNew (key, value, seconds) {
      if (key.startsWith('token:')) throw new OAuthError('store_unavailable', 'no answer')
      return cells.swapNew(key, value, seconds)
    }
  }))
  const grant = grantOf()
  await t.rejects(store.claim(await store.put('code', grant, 30), claimOf(grant)), unavailable)
})

t.test('a claim that was carried out and asked again is won by the same token only', async t => {
  const { store, kept } = bent(cells => ({
    async swapNew (key, value, seconds) {
      await cells.swapNew(key, value, seconds)                           // its answer was lost
      return cells.swapNew(key, value, seconds)
    }
  }))
  const grant = grantOf()
  const code = await store.put('code', grant, 30)
  const claim = claimOf(grant)
  const { access_token } = await store.claim(code, claim) as { access_token: string }
  t.same(await store.get('token', access_token), grant)
  t.match(await store.claim(code, claim), { used: { client_id: claim.client_id } }, 'the same claim made again is a second one')
  t.match(await store.claim(code, claimOf(grant)), { used: { client_id: claim.client_id } })
  t.ok(kept.size > 0)
})

t.test('a name whose saying was carried out and asked again is said by the same only', async t => {
  const { store } = bent(cells => ({
    async swapNew (key, value, seconds) {
      await cells.swapNew(key, value, seconds)                           // its answer was lost
      return cells.swapNew(key, value, seconds)
    }
  }))
  t.equal(await store.once('name', 30), true, 'the write that was sent again knows itself')
  t.equal(await store.once('name', 30), false, 'the same name again is a second one')
  t.equal(await store.said('name'), true)
})

t.test('the mark of an end stands in the place of the token itself, so that it is read in the same trip', async t => {
  const { store, kept } = bent()
  const handle = await store.put('token', grantOf(), 60)
  const [name] = kept.keys()
  await store.end({ access_token: handle }, 60)
  t.same([...kept], [[name, 'ended']])
})

t.test('what is kept and cannot be read is an outage, and never nothing: nobody is refused for it', async t => {
  const { store, kept } = bent(cells => ({ get: async key => key.startsWith('session') || key.startsWith('used') ? 'something else' : cells.get(key), all: async () => ['something else'] }))
  const handle = `p1-${'A'.repeat(43)}`
  await t.rejects(store.get('session', handle), { ...unavailable, message: 'a kept session cannot be read' })
  await t.rejects(store.usedBy(handle), { ...unavailable, message: 'a kept used cannot be read' })
  await t.rejects(store.entered('sid'), { ...unavailable, message: 'a kept entered cannot be read' })
  const code = await store.put('code', grantOf(), 30)
  const [name] = kept.keys()
  kept.set(name!, `2${kept.get(name!)!.slice(1)}`)
  await t.rejects(store.get('code', code), unavailable, 'nor what a later release wrote')
})

t.test('what cannot be a handle is asked of nobody', async t => {
  const { store, asked } = bent()
  for (const handle of ['', 'x', `p1-${'A'.repeat(44)}`, `${'A'.repeat(43)}`]) {
    t.equal(await store.get('code', handle), undefined)
    t.equal(await store.usedBy(handle), undefined)
    await store.end({ session: handle }, 30)
    await store.end({ access_token: handle }, 30)
  }
  t.same(asked, [])
})

t.test('no handle, sid or name reaches what keeps, and lives pass as they are', async t => {
  const { store, asked } = bent()
  const grant = grantOf()
  const code = await store.put('code', grant, 31)
  const session = await store.put('session', sessionOf(), 32)
  await store.get('session', session, { slideSeconds: 33 })
  await store.get('session', session)
  const { access_token } = await store.claim(code, claimOf(grant, { tokenSeconds: 34, usedSeconds: 35 })) as { access_token: string }
  await store.end({ session }, 36)
  await store.end({ token: 'digest' }, 37)
  await store.end({ sid: grant.sid }, 38)
  await store.end({ access_token }, 41)
  await store.once('name', 39)
  await store.once('other name', 42, { by: 'a login' })
  await store.said('name')
  await store.enter(grant.sid, { client_id: 'mairie', at: 1, claims: ['email'] }, 40)
  const said = JSON.stringify(asked)
  for (const secret of [code, session, access_token, grant.sid, 'name', 'a login', 'mairie', grant.sub]) t.notMatch(said.replaceAll('"code:', ''), new RegExp(`"[^"]*${secret}`), secret)
  t.same(asked.filter(([call]) => call === 'get').map(([, , slide]) => slide), [33, undefined, undefined])
  const isEnd = (key: string, value: unknown) => value === 'ended' && /^(session|token):/.test(key)
  const lives = asked.filter(([call]) => call !== 'get').map(([, key, ...rest]) => `${isEnd(key, rest[0]) ? 'end of ' : ''}${key.split(':')[0]} ${rest.at(-1)}`)
  t.same(lives.sort(), ['code 31', 'end of session 36', 'end of token 37', 'end of token 41', 'ended 38', 'entered 40', 'once 39', 'once 42', 'session 32', 'token 34', 'used 35'])
})

t.test('a failure of what keeps passes as it is', async t => {
  const failure = new OAuthError('store_unavailable', 'away')
  const fails = async () => { throw failure }
  const { store } = bent(() => ({ swapNew: fails, set: fails, get: fails, add: fails, all: fails }))
  const handle = `p1-${'A'.repeat(43)}`
  for (const ask of [
    (): Promise<unknown> => store.put('code', grantOf(), 30), () => store.get('code', handle), () => store.usedBy(handle), () => store.claim(handle, claimOf(grantOf())), () => store.end({ session: handle }, 30),
    () => store.end({ token: 'x' }, 30), () => store.end({ sid: 'x' }, 30), () => store.end({ access_token: handle }, 30), () => store.ended('x'), () => store.once('x', 30), () => store.said('x'), () => store.enter('x', { client_id: 'a', at: 1, claims: [] }, 30), () => store.entered('x')
  ]) await t.rejects(ask(), failure)
})

t.test('patience has an end where it was given one, and none where it was not', async t => {
  const { store } = bent(() => ({ get: async () => { await pause(150); return null }, swapNew: async () => { await pause(150); return null } }))
  const handle = `p1-${'A'.repeat(43)}`
  await t.rejects(store.get('session', handle, { patienceMs: 20 }), { ...unavailable, message: 'the store did not answer within 20 ms' })
  await t.rejects(store.ended('sid', { patienceMs: 20 }), unavailable)
  await t.rejects(store.once('name', 30, { patienceMs: 20 }), unavailable)
  await t.rejects(store.said('name', { patienceMs: 20 }), unavailable)
  t.equal(await store.once('name', 30), true)
  t.equal(await store.once('name', 30, {}), true)
  t.equal(await store.said('name'), false)
  t.equal(await store.said('name', {}), false)
  t.equal(await store.get('session', handle), undefined)
  t.equal(await store.get('session', handle, { slideSeconds: 3 }), undefined)
  t.equal(await store.ended('sid'), false)
  t.equal(await within(1000, Promise.resolve('x')), 'x')
  t.equal(await within(undefined, Promise.resolve('x')), 'x')
})

t.test('of a part that has not been answering nothing is asked that has an end to its patience, and all else is asked all the same', async t => {
  const failure = new OAuthError('store_unavailable', 'a part of the store has not been answering')
  const { store, asked } = bent(() => ({ soon: async () => { throw failure } }))
  const handle = `p1-${'A'.repeat(43)}`
  for (const ask of [
    (): Promise<unknown> => store.get('session', handle, { patienceMs: 20 }), () => store.ended('sid', { patienceMs: 20 }), () => store.once('name', 30, { patienceMs: 20 }), () => store.said('name', { patienceMs: 20 })
  ]) await t.rejects(ask(), failure)
  t.same(asked.filter(([call]) => call !== 'soon'), [])
  t.equal(await store.get('session', handle), undefined)
  t.equal(await store.ended('sid'), false)
  t.equal(await store.said('name'), false)
  t.equal(await store.once('name', 30), true)
})

/** Three parts, each with a third of all names; what is asked of one that hangs is answered when the test says so. */
function parted () {
  const hanging = new Set<string>()
  const refused = new Set<string>()
  const { promise: thawed, resolve: thaw } = Promise.withResolvers<void>()
  const partOf = (key: string) => ['one', 'two', 'three'][key.charCodeAt(key.indexOf('{') + 3) % 3]!
  const bench = bent(cells => ({
    async swapNew (key, value, seconds) {
      if (hanging.has(partOf(key))) await thawed
      return cells.swapNew(key, value, seconds)
    },
    partOf,
    isAway: part => refused.has(part)
  }))
  const puts = () => bench.asked.filter(([call]) => call === 'swapNew').map(([, key]) => partOf(key))
  return { ...bench, hanging, refused, thaw, puts, partOf }
}

t.test('a put that meets a part that hangs is kept by another, soon, and what the first keeps late is nobody\'s', async t => {
  const { store, hanging, thaw, puts, kept } = parted()
  for (const part of ['one', 'two']) hanging.add(part)
  const grant = grantOf()
  const before = performance.now()
  const handles = await Promise.all(Array.from({ length: 30 }, () => store.put('code', grant, 30, { ifAway: 'give up' }).catch(() => undefined)))
  const found = handles.filter(handle => handle !== undefined)
  t.ok(performance.now() - before < 5000)
  t.ok(found.length > 5, 'those whose first or second was the third part')
  for (const handle of found) t.same(await store.get('code', handle), grant)
  t.ok(puts().length >= 30 && puts().length <= 60, 'two tries each at most')
  thaw()
  await pause(10)
  t.equal(kept.size, puts().length)
  for (const handle of found) t.same(await store.get('code', handle), grant, 'what came late took nobody\'s place')
})

t.test('the second try is never at the part of the first, and the first that is kept is the answer', async t => {
  await Promise.all(Array.from({ length: 20 }, async () => {             // chance would find another part for most of them
    const { store, hanging, thaw, puts } = parted()
    for (const part of ['one', 'two', 'three']) hanging.add(part)
    const asked = store.put('code', grantOf(), 30)
    await pause(400)
    const [first, second, ...more] = puts()
    t.not(first, second)
    t.same(more, [])
    thaw()
    t.ok(await store.get('code', await asked), 'who waits has what either of them kept')
  }))
})

t.test('what gives up does so after two tries, and what waits waits', async t => {
  const { store, hanging, puts, thaw } = parted()
  for (const part of ['one', 'two', 'three']) hanging.add(part)
  await t.rejects(store.put('session', sessionOf(), 30, { ifAway: 'give up' }), unavailable)
  await t.rejects(store.put('code', grantOf(), 30, { ifAway: 'seal' }), unavailable, 'a store that keeps seals nothing')
  t.equal(puts().length, 4)
  let answered = false
  const waiting = store.put('code', grantOf(), 30).finally(() => { answered = true })
  await pause(700)
  t.equal(answered, false)
  t.equal(puts().length, 6)
  thaw()
  t.ok(await store.get('code', await waiting))
})

t.test('a part that has not been answering is not asked where another can be, and where none can, only by what waits', async t => {
  const { store, refused, puts } = parted()
  refused.add('one').add('three')
  for (let i = 0; i < 20; i++) await store.put('code', grantOf(), 30)
  t.same(new Set(puts()), new Set(['two']))
  refused.add('two')
  await t.rejects(store.put('session', sessionOf(), 30, { ifAway: 'give up' }), { ...unavailable, message: 'no part of the store has been answering' })
  t.equal(puts().length, 20, 'nothing was asked')
  t.ok(await store.put('code', grantOf(), 30), 'it is tried after all')
})

t.test('a part that fails at once is left at once; when each has failed that is the failure', async t => {
  const failure = new OAuthError('store_unavailable', 'the store could not answer')
  const failing = bent(() => ({ swapNew: async () => { throw failure }, partOf: key => key.at(-2)! }))
  for (const ifAway of ['wait', 'give up'] as const) await t.rejects(failing.store.put('code', grantOf(), 30, { ifAway }), failure, ifAway)
  t.equal(failing.asked.filter(([call]) => call === 'swapNew').length, 4)
})

t.test('a token is kept by the part that keeps its code, where one is found by drawing', async t => {
  const { store, asked, partOf } = parted()
  for (let i = 0; i < 20; i++) {
    const code = await store.put('code', grantOf(), 30)
    await store.claim(code, claimOf(grantOf()))
    const [used, token] = asked.filter(([call]) => call === 'swapNew').slice(-2).map(([, key]) => key)
    t.match(used, /^used:/)
    t.match(token, /^token:/)
    t.equal(partOf(token!), partOf(used!))
  }
  const lonely = bent(() => ({ partOf: key => key }))
  t.ok(await lonely.store.claim(await lonely.store.put('code', grantOf(), 30), claimOf(grantOf())), 'and where none is, by any')
})

t.test('who redeemed a code that the store does not keep is noted once, in the place that is looked at for any code', async t => {
  const { store, asked } = bent()
  const code = `p1~${'x'.repeat(300)}`
  const [mine, theirs] = [{ client_id: 'mairie', token: `p1-${'A'.repeat(43)}` }, { client_id: 'mairie', token: `p1-${'B'.repeat(43)}` }]
  t.equal(await store.use(code, mine, 60, 1000), undefined)
  t.same(await store.use(code, mine, 60, 1000), mine, 'told again it hears of itself')
  t.same(await store.use(code, theirs, 60, 1000), mine)
  t.same(await store.usedBy(code), mine)
  t.same(asked.map(([call, , , seconds]) => [call, seconds]).slice(0, 1), [['swapNew', 60]])
  const hangs = bent(() => ({ swapNew: () => new Promise(() => {}), get: () => new Promise(() => {}) }))
  await t.rejects(hangs.store.use(code, mine, 60, 20), unavailable)
  await t.rejects(hangs.store.tokenEnded(mine.token, 20), unavailable)
})

t.test('the end of a token that nobody keeps is known by its name, and a token that was kept is no end', async t => {
  const { store } = bent()
  const token = `p1~${'x'.repeat(300)}`
  t.equal(await store.tokenEnded(tokenName('p1', token), 1000), false)
  await store.end({ access_token: token }, 60)
  t.equal(await store.tokenEnded(tokenName('p1', token), 1000), true)
  const kept = await store.put('token', grantOf(), 60)
  t.equal(await store.tokenEnded(tokenName('p1', kept), 1000), false)
})

t.test('a token is ended by the name that a former release gave it, without the mark of a site', async t => {
  const { store } = bent()
  for (let i = 0; i < 20; i++) {                                         // every second digest has a hyphen
    const handle = await store.put('token', grantOf(), 60)
    await store.end({ token: digestOf(handle) }, 60)
    t.equal(await store.get('token', handle), undefined)
  }
})
