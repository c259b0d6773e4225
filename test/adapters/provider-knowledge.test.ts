import { createSecretKey, randomBytes } from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import timers from 'node:timers/promises'
import t, { type Test } from 'tap'
import { keyringSealer } from '../../src/adapters/keyring-sealer.ts'
import { providerKnowledge, type KnowledgeOptions } from '../../src/adapters/provider-knowledge.ts'
import { loneNoticeboard } from '../../src/adapters/redis-noticeboard.ts'
import type { Leg, Noticeboard, ProviderCall } from '../../src/ports.ts'
import { OAuthError, type Failure } from '../../src/protocol/errors.ts'
import { createForgedKey, signedBy, startForgingProvider } from '../support/forging-provider.ts'
import { providerUnderTest, registrationAt } from '../support/provider-under-test.ts'

// The clocks of this process stand still, and go ahead as a test says. Whoever pauses is told of, and goes on when the test says.
const begin = Math.round(performance.now())
const startedAt = 1_800_000_000
let aheadMs = 0
performance.now = () => begin + aheadMs
const now = () => startedAt + Math.floor(aheadMs / 1000)
interface Pause { ms: number, until: number, isRef: boolean | undefined, end: () => void }
let pauses: Pause[] = []
const { setTimeout: realPause } = timers
timers.setTimeout = ((ms: number, value: unknown, { signal, ref }: { signal?: AbortSignal, ref?: boolean } = {}) => new Promise<unknown>((resolve, reject) => {
  if (signal?.aborted) return reject(signal.reason)
  const pause = { ms, until: aheadMs + ms, isRef: ref, end () { pauses = pauses.filter(other => other !== pause); resolve(value) } }
  signal?.addEventListener('abort', () => { pauses = pauses.filter(other => other !== pause); reject(signal.reason) })
  pauses.push(pause)
})) as typeof timers.setTimeout
syncBuiltinESMExports()
t.teardown(() => { timers.setTimeout = realPause; syncBuiltinESMExports() })
t.beforeEach(() => { aheadMs = 0; pauses = [] })

const minutes = 60_000
const hours = 60 * minutes
/** What was begun has come to its end. */
const settled = async () => { for (let i = 0; i < 5; i++) await new Promise(resolve => setImmediate(resolve)) }

const issuer = 'https://impots.example'
const metadata = { issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks` }
const endpoints = { authorization_endpoint: `${issuer}/a`, token_endpoint: `${issuer}/t`, jwks_uri: `${issuer}/static-jwks` }
const key = createForgedKey('ES256', 'one')
const down = new OAuthError('provider_unavailable', 'down')

/** A provider that counts how often it is asked, and answers as a test says. */
function fakeProvider () {
  const said = { metadata: metadata as object, key }
  const state = {
    said,
    asked: [] as ProviderCall[],
    isDown: false,
    answer: async ({ leg }: ProviderCall): Promise<{ status: number, headers: Record<string, string>, text: string }> => {
      if (state.isDown) throw down
      return { status: 200, headers: {}, text: JSON.stringify(leg === 'discovery' ? said.metadata : { keys: [said.key.published] }) }
    },
    count: (leg: Leg) => state.asked.filter(call => call.leg === leg).length,
    call (call: ProviderCall) { state.asked.push(call); return state.answer(call) }
  }
  return state
}

/** A noticeboard of one process, and what is pinned there. */
function memoryBoard () {
  const pinned = new Map<string, { text: string, seconds: number }>()
  const board: Noticeboard = { ...loneNoticeboard, async pin (name, text, seconds) { pinned.set(name, { text, seconds }); return true }, read: async name => pinned.get(name)?.text }
  return { board, pinned }
}

const sealingKey = { kid: 'one', key: createSecretKey(randomBytes(32)), nbf: 0 }
const sealer = keyringSealer({ issuer: 'https://passerelle.example', keys: () => [sealingKey], now })

/** What one replica knows of a provider, closed with the test, and what it told. */
function replica (t: Test, provider: { call: KnowledgeOptions['call'] }, { board, ...more }: Partial<KnowledgeOptions> & { board?: Noticeboard } = {}) {
  const told = { renewed: [] as Array<[what: string, at: number]>, notRenewed: [] as Array<[what: string, failure: Failure]> }
  const knowledge = providerKnowledge({
    issuer,
    call: call => provider.call(call),
    sharing: board && { board, sealer },
    watch: { renewed (what, at) { told.renewed.push([what, at]) }, notRenewed (what, error) { told.notRenewed.push([what, (error as OAuthError).failure]) } },
    now,
    ...more
  })
  t.teardown(() => knowledge.close())
  const look = async (by = key) => JSON.parse(Buffer.from((await knowledge.verify(await signedBy(by, { sub: 's' }), ['ES256'], 'id_token')).payload).toString())
  return { ...knowledge, told, look }
}
/** The same, once it has started and what it began has come to its end. */
async function startedReplica (...args: Parameters<typeof replica>) {
  const one = replica(...args)
  one.start()
  await settled()
  return one
}
/** So much time goes by, and whoever paused for so long goes on. */
async function elapse (milliseconds: number) {
  aheadMs += milliseconds
  for (const pause of pauses.filter(({ until }) => until <= aheadMs)) pause.end()
  await settled()
}

t.test('metadata and keys are asked for when they are needed, once for all who wait, and are told of', async t => {
  const provider = fakeProvider()
  const one = replica(t, provider)
  t.equal(provider.asked.length, 0, 'not before')
  const all = await Promise.all([...Array.from({ length: 10 }, () => one.metadata()), ...Array.from({ length: 10 }, () => one.look())])
  t.same(all.slice(0, 10), Array(10).fill(metadata))
  t.same(all.slice(10), Array(10).fill({ sub: 's' }))
  t.same(provider.asked.map(({ leg, method, url }) => [leg, method, url]), [['discovery', 'GET', `${issuer}/.well-known/openid-configuration`], ['jwks', 'GET', `${issuer}/jwks`]])
  t.same(one.told, { renewed: [['metadata', startedAt], ['jwks', startedAt]], notRenewed: [] })
})

t.test('metadata is looked for under the issuer, with one slash between (OpenID Connect Discovery §4)', async t => {
  for (const [issuer, url] of [['https://impots.example/', 'https://impots.example/.well-known/openid-configuration'], ['https://impots.example/realms/a', 'https://impots.example/realms/a/.well-known/openid-configuration'], ['https://impots.example/realms/a/', 'https://impots.example/realms/a/.well-known/openid-configuration']] as const) {
    const provider = fakeProvider()
    provider.said.metadata = { ...metadata, issuer }
    await replica(t, provider, { issuer }).metadata()
    t.equal(provider.asked[0]!.url, url)
  }
})

t.test('metadata of ten minutes and keys of five are renewed in the background, and the last good ones serve on', async t => {
  const provider = fakeProvider()
  const one = replica(t, provider)
  await one.look()
  aheadMs = 5 * minutes
  provider.isDown = true
  t.same(await one.look(), { sub: 's' })
  await settled()
  t.same([provider.count('discovery'), provider.count('jwks')], [1, 2])
  aheadMs = 10 * minutes - 1
  t.same(await one.metadata(), metadata)
  await settled()
  t.same([provider.count('discovery'), provider.count('jwks')], [1, 2])
  aheadMs = 10 * minutes
  t.same(await one.metadata(), metadata)
  t.same(await one.metadata(), metadata, 'and not at each need')
  await settled()
  t.same([provider.count('discovery'), provider.count('jwks')], [2, 2])
  t.same(one.told.notRenewed, [['jwks', 'provider_unavailable'], ['metadata', 'provider_unavailable']], 'each failure is told')
})

t.test('what nobody could renew for a day is worth nothing any more', async t => {
  const provider = fakeProvider()
  const one = replica(t, provider)
  await one.look()
  provider.isDown = true
  aheadMs = 24 * hours - 1
  t.same(await one.metadata(), metadata)
  t.same(await one.look(), { sub: 's' })
  await settled()
  aheadMs = 24 * hours
  await t.rejects(one.metadata(), down)
  await t.rejects(one.look(), down)
  provider.isDown = false
  aheadMs += 1000
  t.same(await one.look(), { sub: 's' })
})

t.test('while it fails a provider is asked once a second for either, whoever needs it', async t => {
  const provider = fakeProvider()
  provider.isDown = true
  const one = replica(t, provider)
  for (const [ms, asked] of [[0, 1], [999, 1], [1000, 2], [1999, 2], [2000, 3]] as const) {
    aheadMs = ms
    for (const ask of [one.metadata, one.look, one.ask]) await t.rejects(ask(), down)
    t.equal(provider.count('discovery'), asked, `after ${ms} ms`)
  }
  provider.isDown = false
  aheadMs = 3000
  await one.metadata()
  provider.isDown = true
  for (const [ms, asked] of [[3000, 1], [3999, 1], [4000, 2]] as const) {
    aheadMs = ms
    await t.rejects(one.look(), down)
    t.equal(provider.count('jwks'), asked)
  }
})

t.test('what is wrong does not take the place of what was right, and is left for nobody', async t => {
  const provider = fakeProvider()
  const { board, pinned } = memoryBoard()
  const one = replica(t, provider, { board })
  await one.look()
  const good = new Map(pinned)
  const { answer } = provider
  const wrong: Record<string, [leg: Leg, status: number, text: string, failure: Failure]> = {
    'another issuer': ['discovery', 200, JSON.stringify({ ...metadata, issuer: 'https://another.example' }), 'provider_metadata_issuer_wrong'],
    'an endpoint without TLS': ['discovery', 200, JSON.stringify({ ...metadata, jwks_uri: 'http://impots.example/jwks' }), 'provider_metadata_invalid'],
    'an endpoint missing': ['discovery', 200, JSON.stringify({ ...metadata, token_endpoint: undefined }), 'provider_metadata_invalid'],
    'metadata not found': ['discovery', 404, '{}', 'provider_metadata_invalid'],
    'a page': ['discovery', 200, '<p>', 'provider_answer_unreadable'],
    'keys not found': ['jwks', 404, '{}', 'provider_keys_unavailable'],
    'no keys': ['jwks', 200, '{"keys":[]}', 'provider_keys_unavailable'],
    'keys twice': ['jwks', 200, '{"keys":[{"kty":"EC"}],"keys":[{"kty":"EC"}]}', 'provider_answer_ambiguous']
  }
  for (const [what, [leg, status, text, failure]] of Object.entries(wrong)) {
    provider.answer = async call => call.leg === leg ? { status, headers: {}, text } : answer(call)
    one.told.notRenewed.length = 0
    aheadMs += 11 * minutes
    await one.metadata()
    t.same(await one.look(), { sub: 's' }, what)
    await settled()
    t.same(one.told.notRenewed, [[leg === 'jwks' ? 'jwks' : 'metadata', failure]], what)
    t.same(pinned.get([...pinned.keys()][leg === 'jwks' ? 1 : 0]!), good.get([...good.keys()][leg === 'jwks' ? 1 : 0]!), `${what}: what was pinned stays`)
    for (const [name, value] of pinned) good.set(name, value)
    await t.rejects(replica(t, provider).look(), { name: 'OAuthError', failure }, `${what}: of a replica that knows nothing better`)
  }
})

t.test('what a provider published is left for other replicas, sealed, for a day', async t => {
  const provider = fakeProvider()
  const { board, pinned } = memoryBoard()
  const one = replica(t, provider, { board })
  await one.look()
  t.equal(pinned.size, 2)
  for (const [name, { text, seconds }] of pinned) {
    t.match(name, /^knowledge:\{[\w-]{22,}\}$/, 'a name that says nothing, in one slot of its own')
    t.equal(seconds, 24 * 3600)
    t.notMatch(Buffer.from(text.split('.').at(-1)!, 'base64url').toString('latin1'), /impots|jwks|keys|kty/)
  }
  const records = [...pinned].map(([name, { text }]) => sealer.open('knowledge', name, text))
  t.strictSame(records, [
    { record: { at: startedAt, value: metadata }, exp: startedAt + 24 * 3600 },
    { record: { at: startedAt, value: { keys: [key.published] } }, exp: startedAt + 24 * 3600 }
  ])
})

t.test('what has changed is left anew at once, what has not once an hour', async t => {
  const provider = fakeProvider()
  const { board, pinned } = memoryBoard()
  const one = await startedReplica(t, provider, { board })
  const ages = () => [...pinned].map(([name, { text }]) => sealer.open('knowledge', name, text)!.record.at - startedAt)
  t.same(ages(), [0, 0])
  while (aheadMs < 60 * minutes) {
    t.same(ages(), [0, 0], `after ${aheadMs / minutes} minutes`)
    await elapse(11 * minutes / 2)
  }
  t.same(ages(), [3630, 3630])
  provider.said.key = createForgedKey('ES256', 'two')
  await elapse(11 * minutes / 2)
  t.same(ages(), [3630, 3960])
  provider.said.metadata = { ...metadata, userinfo_endpoint: `${issuer}/me` }
  await elapse(11 * minutes / 2)
  t.same(ages(), [4290, 3960])
  t.ok(await one.metadata())
})

t.test('a replica that starts while the provider is down works from what others left, as old as it is', async t => {
  const provider = fakeProvider()
  const { board } = memoryBoard()
  await startedReplica(t, provider, { board })
  provider.isDown = true
  for (const [age, asks] of [[0, 'nobody'], [5 * minutes - 1000, 'nobody'], [24 * hours - 1000, 'once']] as const) {
    aheadMs = age
    provider.asked.length = 0
    const next = await startedReplica(t, provider, { board })
    t.equal(next.isKnown(), true)
    t.same(await next.metadata(), metadata)
    t.same(await next.look(), { sub: 's' })
    await settled()
    t.same(provider.asked.map(({ leg }) => leg), asks === 'nobody' ? ['discovery'] : ['discovery', 'jwks'], `${age / minutes} minutes old: what is fresh needs no asking but the first`)
    t.same(next.told.renewed, [['metadata', startedAt], ['jwks', startedAt]], 'as old as it is')
  }
  aheadMs = 24 * hours
  const last = await startedReplica(t, provider, { board })
  t.equal(last.isKnown(), false)
  await t.rejects(last.metadata(), down, 'a day')
  await t.rejects(last.look(), down)
  t.same(last.told.renewed, [])
})

t.test('whoever comes while a replica starts waits for what others left', async t => {
  const provider = fakeProvider()
  const { board } = memoryBoard()
  await startedReplica(t, provider, { board })
  provider.isDown = true
  const { promise, resolve } = Promise.withResolvers<void>()
  const one = replica(t, provider, { board: { ...board, read: async name => { await promise; return board.read(name) } } })
  one.start()
  const waiting = Promise.all([one.metadata(), one.look()])
  await settled()
  resolve()
  t.same(await waiting, [metadata, { sub: 's' }])
})

t.test('a replica that found nothing looks again: another may have found what it could not', async t => {
  const [cutOff, well] = [fakeProvider(), fakeProvider()]
  cutOff.isDown = true
  const { board } = memoryBoard()
  const one = await startedReplica(t, cutOff, { board })
  await t.rejects(one.look(), down)
  await startedReplica(t, well, { board })
  await elapse(33_000)
  t.same(await one.look(), { sub: 's' })
})

t.test('nothing is taken over that was not left by a replica, for this provider and this purpose, within a day', async t => {
  const provider = fakeProvider()
  const { board, pinned } = memoryBoard()
  await startedReplica(t, provider, { board })
  const [names, texts] = [[...pinned.keys()], [...pinned.values()].map(({ text }) => text)]
  const other = fakeProvider()
  const theirs = 'https://another.example'
  other.said.metadata = { ...metadata, issuer: theirs }
  const elsewhere = memoryBoard()
  await startedReplica(t, other, { board: elsewhere.board, issuer: theirs })
  const foreign = [...elsewhere.pinned.values()].map(({ text }) => text)
  const strangerKey = createForgedKey('ES256', 'one')
  const values = [metadata, { keys: [strangerKey.published] }]
  const sealedBy = (by: typeof sealer, kind: 'knowledge' | 'posted', value: object, name: string, { at = startedAt, end = startedAt + 3600 } = {}) => by.seal(kind, name, { at, value } as never, end)
  const another = keyringSealer({ issuer: 'https://passerelle.example', keys: () => [{ ...sealingKey, key: createSecretKey(randomBytes(32)) }], now })
  const namesake = keyringSealer({ issuer: 'https://another-gateway.example', keys: () => [sealingKey], now })
  const forged: Record<string, (i: number) => string> = {
    'plain JSON': i => JSON.stringify({ at: startedAt, value: values[i] }),
    'an empty text': () => '',
    garbage: () => 'x'.repeat(100_000),
    'sealed by a key that is not ours': i => sealedBy(another, 'knowledge', values[i]!, names[i]!),
    'sealed by our key for another gateway': i => sealedBy(namesake, 'knowledge', values[i]!, names[i]!),
    'sealed as another kind': i => sealedBy(sealer, 'posted', values[i]!, names[i]!),
    'left for another provider': i => foreign[i]!,
    'the one in the place of the other': i => texts[1 - i]!,
    'one bit turned': i => texts[i]!.replace(/.{9}$/, end => end.startsWith('A') ? `B${end.slice(1)}` : `A${end.slice(1)}`),
    expired: i => sealedBy(sealer, 'knowledge', values[i]!, names[i]!, { end: startedAt }),
    'older than a day, whatever its seal says': i => sealedBy(sealer, 'knowledge', values[i]!, names[i]!, { at: startedAt - 24 * 3600 })
  }
  provider.isDown = true
  for (const [what, forge] of Object.entries(forged)) {
    pinned.clear()
    names.forEach((name, i) => board.pin(name, forge(i), 3600))
    const one = await startedReplica(t, provider, { board })
    await t.rejects(one.metadata(), down, `${what}: metadata`)
    board.pin(names[0]!, texts[0]!, 3600)
    const two = await startedReplica(t, provider, { board })
    t.same(await two.metadata(), metadata)
    await t.rejects(two.look(strangerKey), down, `${what}: keys`)
  }
  pinned.clear()
  names.forEach((name, i) => board.pin(name, sealedBy(sealer, 'knowledge', values[i]!, name), 3600))
  t.same(await (await startedReplica(t, provider, { board })).look(strangerKey), { sub: 's' }, 'what is sealed rightly is taken')
})

t.test('keys that another release left in another form are not taken', async t => {
  const provider = fakeProvider()
  const { board, pinned } = memoryBoard()
  await startedReplica(t, provider, { board })
  const name = [...pinned.keys()][1]!
  for (const value of [null, {}, 'keys', [key.published], { keys: [null] }]) {
    board.pin(name, sealer.seal('knowledge', name, { at: startedAt, value }, startedAt + 3600), 3600)
    t.same(await (await startedReplica(t, provider, { board })).look(), { sub: 's' }, JSON.stringify(value))
  }
})

t.test('a noticeboard that fails is none', async t => {
  const provider = fakeProvider()
  const board: Noticeboard = { ...memoryBoard().board, read: () => Promise.reject(new Error('no')) }
  t.same(await (await startedReplica(t, provider, { board })).look(), { sub: 's' })
})

t.test('what could not be left is left the next time', async t => {
  const provider = fakeProvider()
  const { board, pinned } = memoryBoard()
  let isAway = true
  let tried = 0
  await startedReplica(t, provider, { board: { ...board, pin: async (...what) => { tried++; return !isAway && await board.pin(...what) } } })
  t.equal(pinned.size, 0)
  isAway = false
  await elapse(11 * minutes / 2)
  t.equal(pinned.size, 2)
  await elapse(11 * minutes / 2)
  t.equal(tried, 4, 'and then not again')
})

t.test('what is asked for now waits for what others left, so that it is known whatever comes of it', async t => {
  const provider = fakeProvider()
  const { board } = memoryBoard()
  await startedReplica(t, provider, { board })
  provider.isDown = true
  const one = replica(t, provider, { board })
  await t.rejects(one.ask(), down)
  t.equal(one.isKnown(), true)
})

t.test('from its start a replica asks again every five minutes, at a time of its own, and each half minute where it was not told', async t => {
  const { random } = Math
  t.teardown(() => { Math.random = random })
  for (const [chance, usual, soon] of [[0, 270_000, 27_000], [0.5, 300_000, 30_000], [0.999999, 330_000, 33_000]] as const) {
    Math.random = () => chance
    const provider = fakeProvider()
    const one = await startedReplica(t, provider)
    const lengths = () => pauses.map(({ ms }) => Math.round(ms))
    const next = () => elapse(pauses[0]!.ms)
    t.same(provider.asked.map(({ leg }) => leg), ['discovery', 'jwks'], 'at once')
    t.same(lengths(), [usual])
    t.equal(pauses[0]!.isRef, false, 'which keeps no process up')
    await next()
    t.same(provider.asked.map(({ leg }) => leg), ['discovery', 'jwks', 'discovery', 'jwks'])
    t.same(lengths(), [usual])
    provider.isDown = true
    await next()
    t.same([provider.count('discovery'), provider.count('jwks')], [3, 2], 'keys are not asked for where the metadata cannot be had')
    t.same(lengths(), [soon])
    provider.isDown = false
    const { answer } = provider
    provider.answer = async call => { if (call.leg === 'jwks') throw down; return answer(call) }
    await next()
    t.same([provider.count('discovery'), provider.count('jwks')], [4, 3])
    t.same(lengths(), [soon], 'nor where the keys could not')
    provider.answer = answer
    await next()
    t.same([provider.count('discovery'), provider.count('jwks')], [5, 4])
    t.same(lengths(), [usual])
    t.equal(pauses[0]!.isRef, false)
    one.close()
    await settled()
    t.same(pauses, [])
  }
})

t.test('a replica that starts while the provider is down and nobody left anything goes on asking', async t => {
  const provider = fakeProvider()
  provider.isDown = true
  const one = await startedReplica(t, provider, { board: memoryBoard().board })
  t.equal(one.isKnown(), false)
  t.equal(pauses.length, 1)
  await elapse(33_000)
  t.equal(provider.count('discovery'), 2)
  provider.isDown = false
  await elapse(33_000)
  t.equal(one.isKnown(), true)
  provider.isDown = true
  t.same(await one.look(), { sub: 's' })
})

t.test('who needs what is being renewed in the background asks no second time', async t => {
  const provider = fakeProvider()
  const one = replica(t, provider)
  const { answer } = provider
  const { promise, resolve } = Promise.withResolvers<void>()
  provider.answer = async call => { await promise; return answer(call) }
  const all = [one.start(), one.ask(), one.metadata(), one.ask(), one.look()]
  await settled()
  resolve()
  await Promise.all(all)
  t.same([provider.count('discovery'), provider.count('jwks')], [1, 1])
})

t.test('close ends what runs in the background, at whatever moment', async t => {
  const provider = fakeProvider()
  const { answer } = provider
  const early = replica(t, provider)
  early.start()
  early.close()
  await settled()
  t.same(pauses, [], 'while it starts')

  const late = await startedReplica(t, provider)
  const { promise, resolve } = Promise.withResolvers<void>()
  provider.answer = async call => { await promise; return answer(call) }
  await elapse(6 * minutes)
  late.close()
  resolve()
  await settled()
  t.same(pauses, [], 'while it asks')

  const idle = await startedReplica(t, provider)
  provider.asked.length = 0
  idle.close()
  await settled()
  t.same(pauses, [], 'while it waits')
  t.same(provider.asked, [])
  idle.start()
  await settled()
  t.same(provider.asked, [], 'nor does it start again')
})

t.test('what is asked for now is asked for now: the metadata, or the keys where the endpoints are static', async t => {
  for (const [leg, more] of [['discovery', {}], ['jwks', { endpoints }]] as const) {
    const provider = fakeProvider()
    const one = replica(t, provider, more)
    await one.ask()
    await one.ask()
    t.same(provider.asked.map(call => call.leg), [leg, leg])
    provider.isDown = true
    await t.rejects(one.ask(), down)
    t.equal(one.isKnown(), true)
    t.ok(await one.metadata(), 'which takes nothing away')
  }
})

t.test('a provider with static endpoints is known from its registration: nothing is asked, told or left of them', async t => {
  const provider = fakeProvider()
  const { board, pinned } = memoryBoard()
  const one = await startedReplica(t, provider, { board, endpoints })
  for (let i = 0; i < 4; i++) {
    t.same(await one.metadata(), { issuer, ...endpoints })
    t.same(await one.look(), { sub: 's' })
    await settled()
    aheadMs += 13 * hours
  }
  t.equal(provider.count('discovery'), 0)
  t.ok(provider.asked.every(({ url }) => url === `${issuer}/static-jwks`))
  t.equal(pinned.size, 1, 'its keys are left as any other\'s')
  provider.isDown = true
  aheadMs -= 13 * hours
  const next = await startedReplica(t, provider, { board, endpoints })
  t.same(await next.look(), { sub: 's' }, 'and taken over')
  t.same(next.told.notRenewed.filter(([what]) => what === 'metadata'), [])
})

t.test('keys are taken over for the very endpoints that are registered', async t => {
  const provider = fakeProvider()
  const { board } = memoryBoard()
  await startedReplica(t, provider, { board, endpoints })
  await startedReplica(t, provider, { board })
  provider.isDown = true
  await t.rejects((await startedReplica(t, provider, { board, endpoints: { ...endpoints, jwks_uri: `${issuer}/other-jwks` } })).look(), down)
  t.same(await (await startedReplica(t, provider, { board, endpoints })).look(), { sub: 's' })
})

t.test('a key that changes without overlap is had at once, and the question is not repeated within half a minute', async t => {
  const provider = fakeProvider()
  const { board } = memoryBoard()
  const one = replica(t, provider, { board })
  await one.look()
  const next = createForgedKey('ES256', 'two')
  provider.said.key = next
  t.same(await one.look(next), { sub: 's' }, 'the first login after the change')
  t.equal(provider.count('jwks'), 2)
  const stranger = createForgedKey('ES256', 'three')
  for (let i = 0; i < 20; i++) await t.rejects(one.look(stranger), { name: 'OAuthError', failure: 'provider_key_unknown', message: 'id_token: by none of the identity provider\'s keys' })
  t.equal(provider.count('jwks'), 2, 'a flood of unknown kids')
  aheadMs = 30_000
  const flood = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => one.look(i % 2 === 0 ? stranger : next)))
  t.same(flood.map(({ status }) => status), Array.from({ length: 20 }, (_, i) => i % 2 === 0 ? 'rejected' : 'fulfilled'), 'who brings a good one gets in')
  t.equal(provider.count('jwks'), 3)
  t.equal(provider.count('discovery'), 1, 'nor is the metadata asked for')
  provider.isDown = true
  t.same(await (await startedReplica(t, provider, { board })).look(next), { sub: 's' }, 'the new key was left for the others')
})

t.test('a provider whose keys cannot be asked for is down: nobody says that it signed by a key which is none of its', async t => {
  const provider = fakeProvider()
  const { answer } = provider
  const keys: Record<string, [status: number, text: string, failure: Failure]> = {
    'keys not found': [404, '{}', 'provider_keys_unavailable'],
    'no keys': [200, '{"keys":[]}', 'provider_keys_unavailable'],
    'a list of numbers': [200, '{"keys":[1]}', 'provider_keys_unavailable'],
    'a page': [200, '<p>', 'provider_answer_unreadable']
  }
  const next = createForgedKey('ES256', 'two')
  for (const [what, [status, text, failure]] of Object.entries(keys)) {
    provider.answer = answer
    const one = replica(t, provider)
    await one.look()
    provider.answer = async call => call.leg === 'jwks' ? { status, headers: {}, text } : answer(call)
    for (let i = 0; i < 3; i++) await t.rejects(one.look(next), { name: 'OAuthError', failure }, what)
    t.same(await one.look(), { sub: 's' }, `${what}: the last known key serves on`)
  }
  provider.answer = answer
  const one = replica(t, provider)
  await one.look()
  const asked = provider.count('jwks')
  provider.isDown = true
  for (let i = 0; i < 3; i++) await t.rejects(one.look(next), down)
  await t.rejects(one.look(createForgedKey('ES256', 'one')), down, 'nor that a signature does not fit')
  t.same(await one.look(), { sub: 's' })
  t.equal(provider.count('jwks'), asked + 1, 'asked once')
  provider.isDown = false
  provider.said.key = next
  aheadMs += 30_000
  t.same(await one.look(next), { sub: 's' }, 'the next question finds the key of today')
})

t.test('why a signature is not believed has a name', async t => {
  const provider = fakeProvider()
  const one = replica(t, provider)
  const good = await signedBy(key, { sub: 's' })
  const { kid: _, ...unnamed } = key.published
  const rows: Array<[what: string, jws: string, keys: unknown, failure: Failure]> = [
    ['another key under the kid', await signedBy(createForgedKey('ES256', 'one'), {}), [key.published], 'provider_signature_wrong'],
    ['a kid that is not published', await signedBy(createForgedKey('ES256', 'two'), {}), [key.published], 'provider_key_unknown'],
    ['no kid, and two keys', await signedBy({ ...key, kid: undefined as never }, {}), [unnamed, unnamed], 'provider_key_unnamed'],
    ['a point that is on no curve', good, [{ ...key.published, x: 'AAAA' }], 'provider_keys_unavailable'],
    ['no JWS at all', 'Dupont', [key.published], 'provider_token_malformed'],
    ['a signature cut short', good.slice(0, -4), [key.published], 'provider_signature_wrong']
  ]
  for (const [what, jws, keys, failure] of rows) {
    aheadMs += 2 * hours
    provider.answer = async ({ leg }) => ({ status: 200, headers: {}, text: JSON.stringify(leg === 'discovery' ? metadata : { keys }) })
    await t.rejects(one.verify(jws, ['ES256'], 'userinfo'), { name: 'OAuthError', failure, message: 'userinfo: by none of the identity provider\'s keys' }, what)
  }
})

t.test('a gateway that starts while a provider publishes nothing logs its citizens in all the same, by what another left', async t => {
  const forger = await startForgingProvider(t, { sub: 'sub-of-wilhelmina' })
  const { board } = memoryBoard()
  const clock = () => Math.floor(Date.now() / 1000)
  const gateway = () => {
    const sharing = { board, sealer: keyringSealer({ issuer: 'https://passerelle.example', keys: () => [sealingKey], now: clock }) }
    const provider = providerUnderTest(registrationAt(forger.issuer, { id_token_signed_response_alg: 'ES256' }), { sharing })
    t.teardown(provider.close)
    return provider
  }
  const question = { redirect_uri: 'https://passerelle.example/callback/impots', state: 's', nonce: 'n', code_verifier: 'v'.repeat(43), acr: 'eidas1', ui_locales: 'fr' }
  const logIn = async (provider: ReturnType<typeof gateway>) => provider.identify(forger.comeBack(await provider.authorizationUrl(question)), question)
  forger.state.forgery = { alg: 'ES256' }
  const first = gateway()
  first.start()
  t.match(await logIn(first), { sub: 'sub-of-wilhelmina' })
  const reset = (request: { socket: { destroy (): unknown } }) => request.socket.destroy()
  forger.state.forgery = { alg: 'ES256', answer: { discovery: reset, jwks: reset } }
  forger.state.seen.length = 0
  const second = gateway()
  second.start()
  t.match(await logIn(second), { sub: 'sub-of-wilhelmina' })
  t.same(forger.state.seen.map(({ endpoint }) => endpoint).filter(endpoint => endpoint !== 'discovery'), ['token', 'userinfo'])
  await t.rejects(second.probe(), { name: 'OAuthError', failure: 'provider_unavailable' })
})
