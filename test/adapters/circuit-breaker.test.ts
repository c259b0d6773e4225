import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { guarded, type BreakerOptions } from '../../src/adapters/circuit-breaker.ts'
import type { Answer, IdentityProvider, Question } from '../../src/ports.ts'
import { failures, OAuthError, type Failure } from '../../src/protocol/errors.ts'

const question = {} as Question
const callback = new URL('https://passerelle.example/callback/impots?code=x')
const good: Answer = { sub: 'sub', claims: {} }
const logout = { post_logout_redirect_uri: 'https://passerelle.example/', state: 's' }
const unavailable = new OAuthError('provider_unavailable', 'away')

/** A provider that answers as the test says, behind its breaker. */
function desk (t: { teardown (end: () => unknown): void }, changes: Partial<BreakerOptions> = {}) {
  const state = { identify: async (): Promise<Answer> => good, leave: async () => new URL('https://impots.example/authorize'), leaving: 0, calls: 0, ends: 0, closed: 0 }
  const provider: IdentityProvider = {
    available: () => true,
    async authorizationUrl () { state.leaving++; return state.leave() },
    async identify () { state.calls++; return state.identify() },
    async endSessionUrl () { state.ends++; return new URL('https://impots.example/logout') },
    async close () { state.closed++ }
  }
  const breaker = guarded(provider, { name: 'impots', error_percent: 50, volume: 4, window_ms: 10_000, reset_ms: 60_000, callbackTimeoutMs: 1000, ...changes })
  t.teardown(() => breaker.close())
  const comeBack = async (identify: () => Promise<Answer>) => {
    state.identify = identify
    return breaker.identify(callback, question).catch((error: unknown) => error)
  }
  const fails = (error: unknown = unavailable) => comeBack(async () => { throw error })
  const answers = () => comeBack(async () => good)
  const open = async () => { for (let i = 0; breaker.available() && i < 100; i++) await fails() }
  return { state, breaker, comeBack, fails, answers, open }
}

t.test('no refusal, wrong answer or failure of our own opens it, however many', async t => {
  const { breaker, fails } = desk(t)
  for (const failure of Object.keys(failures) as Failure[]) {
    if (failure === 'provider_unavailable') continue
    for (let i = 0; i < 5; i++) await fails(new OAuthError(failure, 'x'))
    t.equal(breaker.available(), true, failure)
  }
  for (const error of [new Error('provider_unavailable'), new TypeError('x'), Object.assign(new Error('x'), { failure: 'provider_unavailable' }), 'provider_unavailable', undefined, null]) {
    for (let i = 0; i < 10; i++) await fails(error)
  }
  t.equal(breaker.available(), true, 'errors that are not ours')
})

t.test('it opens when enough calls were made and enough of them found nobody, no earlier', async t => {
  const few = desk(t, { volume: 4 })
  for (let i = 0; i < 3; i++) await few.fails()
  t.equal(few.breaker.available(), true, 'three of three, below the volume')
  await few.fails()
  t.equal(few.breaker.available(), false, 'four of four')

  const mixed = desk(t, { volume: 4, error_percent: 50 })
  for (let i = 0; i < 6; i++) await mixed.answers()
  for (let i = 0; i < 6; i++) await mixed.fails()
  t.equal(mixed.breaker.available(), true, 'half of twelve: no more than half')
  await mixed.fails()
  t.equal(mixed.breaker.available(), false, 'seven of thirteen')
})

t.test('a refusal counts as an answer', async t => {
  const { breaker, fails } = desk(t)
  for (let i = 0; i < 6; i++) await fails(new OAuthError('provider_refused', 'the citizen changed her mind'))
  for (let i = 0; i < 6; i++) await fails()
  t.equal(breaker.available(), true)
})

t.test('failures of another time do not count', async t => {
  const { breaker, fails } = desk(t, { window_ms: 1000, volume: 4 })
  for (let i = 0; i < 3; i++) await fails()
  await pause(1300)
  await fails()
  t.equal(breaker.available(), true)
})

t.test('a provider that cannot even be left for opens it, too; that it can be says nothing', async t => {
  const { state, breaker, fails } = desk(t, { reset_ms: 100 })
  for (let i = 0; i < 20; i++) await breaker.authorizationUrl(question)
  for (let i = 0; i < 2; i++) await fails()
  state.leave = async () => { throw unavailable }
  await t.rejects(breaker.authorizationUrl(question), unavailable)
  t.equal(breaker.available(), true, 'three of three, below the volume')
  await t.rejects(breaker.authorizationUrl(question), unavailable)
  t.equal(breaker.available(), false, 'four of four: mere leaving was not counted')
  const { leaving } = state
  await t.rejects(breaker.authorizationUrl(question), { name: 'OAuthError', failure: 'provider_unavailable' })
  t.equal(state.leaving, leaving, 'open, nobody is asked')

  await pause(200)
  await t.rejects(breaker.authorizationUrl(question), unavailable)
  t.equal(state.leaving, leaving + 1, 'half open, the provider is asked once')
  t.equal(breaker.available(), false, 'and it opens again')
})

t.test('open, nobody is sent there, and the provider is not asked', async t => {
  const { state, breaker, open } = desk(t)
  t.ok(await breaker.authorizationUrl(question))
  t.ok(await breaker.endSessionUrl(logout))
  await open()
  const { leaving, ends } = state
  await t.rejects(breaker.authorizationUrl(question), { name: 'OAuthError', failure: 'provider_unavailable' })
  t.equal(await breaker.endSessionUrl(logout), undefined, 'a logout does without it')
  t.equal(state.leaving, leaving)
  t.equal(state.ends, ends)
})

t.test('open, a citizen who comes back is heard, and one good answer of a provider that is half sick does not close it', async t => {
  const { state, breaker, open, fails, answers } = desk(t)
  await open()
  const before = state.calls
  t.equal(await fails(), unavailable, 'who finds nobody is told')
  t.equal(state.calls, before + 1, 'and the provider was asked, once')
  t.equal(breaker.available(), false, 'it stays open')
  const refused = new OAuthError('provider_refused', 'no')
  t.equal(await fails(refused), refused)
  t.equal(state.calls, before + 2)

  t.equal(await answers(), good)
  t.equal(state.calls, before + 3)
  t.equal(breaker.available(), false)
})

t.test('after its pause it lets citizens leave again, and their way back decides', async t => {
  for (const recovered of [true, false]) {
    const { state, breaker, open, fails, answers } = desk(t, { reset_ms: 100 })
    await open()
    t.equal(breaker.available(), false)
    await pause(200)
    t.equal(breaker.available(), true, 'half open')
    t.ok(await breaker.authorizationUrl(question))
    t.ok(await breaker.endSessionUrl(logout))
    const before = state.calls
    if (recovered) t.equal(await answers(), good)
    else t.equal(await fails(), unavailable)
    t.equal(state.calls, before + 1, 'asked once')
    t.equal(breaker.available(), recovered, recovered ? 'closed' : 'open at once, whatever the volume')
  }
})

t.test('half open, everybody who comes back is heard, not only the first', async t => {
  const { state, breaker, open, comeBack } = desk(t, { reset_ms: 100 })
  await open()
  await pause(200)
  const { promise, resolve } = Promise.withResolvers<Answer>()
  const before = state.calls
  const slow = comeBack(() => promise)
  const others = await Promise.all([1, 2, 3].map(() => comeBack(async () => good)))
  t.same(others, [good, good, good])
  t.equal(breaker.available(), true, 'one good answer closes it')
  resolve(good)
  t.equal(await slow, good)
  t.equal(state.calls, before + 4)
})

t.test('a way back has one budget of time, and beyond it the provider counts as away', async t => {
  const { breaker, comeBack } = desk(t, { callbackTimeoutMs: 50 })
  const begin = performance.now()
  const ends = await Promise.all(Array.from({ length: 4 }, () => comeBack(() => new Promise<Answer>(() => {}))))
  const waited = performance.now() - begin
  for (const end of ends) t.match(end, { name: 'OAuthError', failure: 'provider_unavailable', message: 'the identity provider took too long' })
  t.ok(waited >= 45 && waited < 1000, `${waited} ms`)
  t.equal(breaker.available(), false, 'four of them open it')

  const late = await comeBack(() => new Promise<Answer>(() => {}))
  t.match(late, { failure: 'provider_unavailable' }, 'the budget holds when it is open, too')
})

t.test('one slow call ends no other', async t => {
  const { comeBack } = desk(t, { callbackTimeoutMs: 150 })
  const slow = comeBack(() => new Promise<Answer>(() => {}))
  await pause(100)
  const quick = comeBack(async () => { await pause(100); return good })  // still on its way when the slow one's time is over
  t.match(await slow, { failure: 'provider_unavailable' })
  t.equal(await quick, good)
})

t.test('an answer or failure after its time troubles nobody', async t => {
  const { breaker, comeBack } = desk(t, { callbackTimeoutMs: 20 })
  t.match(await comeBack(async () => { await pause(50); throw new Error('too late to matter') }), { failure: 'provider_unavailable' })
  t.match(await comeBack(async () => { await pause(50); return good }), { failure: 'provider_unavailable' })
  await pause(80)
  t.equal(breaker.available(), true, 'two are below the volume')
})

t.test('two providers have two breakers', async t => {
  const [one, other] = [desk(t), desk(t)]
  await one.open()
  t.equal(one.breaker.available(), false)
  t.equal(other.breaker.available(), true)
})

t.test('closing ends its timers and closes what it guards', async t => {
  const { state, breaker, open } = desk(t)
  await open()
  await breaker.close()
  t.equal(state.closed, 1)

  // a process that only has closed breakers left ends
  const source = `
    import { guarded } from ${JSON.stringify(pathToFileURL(new URL('../../src/adapters/circuit-breaker.ts', import.meta.url).pathname).href)}
    import { OAuthError } from ${JSON.stringify(pathToFileURL(new URL('../../src/protocol/errors.ts', import.meta.url).pathname).href)}
    const provider = { available: () => true, identify: async () => { throw new OAuthError('provider_unavailable', 'x') }, close: async () => {} }
    const breaker = guarded(provider, { name: 'x', error_percent: 1, volume: 1, window_ms: 60000, reset_ms: 60000, callbackTimeoutMs: 60000 })
    for (let i = 0; i < 3; i++) await breaker.identify().catch(() => {})
    if (breaker.available()) process.exit(3)
    await breaker.close()
    console.log(process.getActiveResourcesInfo().filter(name => name === 'Timeout').length)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], { stdio: ['ignore', 'pipe', 'inherit'], timeout: 20_000 })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.setEncoding('utf8').on('data', text => { said += text })
  const [code] = await once(child, 'close')
  t.equal(code, 0, 'it ends by itself')
  t.equal(said.trim(), '0', 'no timer is left')
})
