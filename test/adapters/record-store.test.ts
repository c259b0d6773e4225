import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { recordStore, within, type Cells } from '../../src/adapters/record-store.ts'
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
