import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { guarded, type BreakerOptions } from '../../src/adapters/circuit-breaker.ts'
import type { Answer, BreakerState, Question, Standing, Upstream } from '../../src/ports.ts'
import { failures, OAuthError, type Failure } from '../../src/protocol/errors.ts'

const seconds = 1000
const question = { state: 's' } as Question
const callback = new URL('https://passerelle.example/callback/impots?code=x')
const logout = { post_logout_redirect_uri: 'https://passerelle.example/', state: 's' }
const good: Answer = { sub: 'sub', claims: {} }
const unavailable = new OAuthError('provider_unavailable', 'away')
const broken = new OAuthError('provider_server_error', 'answered 500')
const refused = new OAuthError('provider_refused', 'the citizen changed her mind')
const outages = (Object.keys(failures) as Failure[]).filter(failure => new OAuthError(failure, 'x').row.outage === true)

/** What was begun has come as far as it can without the clock. */
async function settled () { for (let i = 0; i < 3; i++) await new Promise(resolve => setImmediate(resolve)) }
/** A promise that nobody keeps. */
const never = () => new Promise<never>(() => {})
const failing = async (): Promise<never> => { throw unavailable }

/** A test in a time of its own, which goes on as `pass` says; nothing is jittered unless the test says how. */
function timed (title: string, run: (t: Test, pass: (milliseconds: number) => Promise<void>) => Promise<void>) {
  t.test(title, async t => {
    const { now } = performance
    const { random } = Math
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'], now: 1_000_000 })
    syncBuiltinESMExports()                                            // node:timers/promises, too
    performance.now = () => Date.now()
    Math.random = () => 0.5
    try {
      await run(t, async milliseconds => {
        for (let left = milliseconds; left > 0; left -= 100) {
          mock.timers.tick(Math.min(100, left))
          await settled()
        }
      })
    } finally {
      Object.assign(performance, { now })
      Math.random = random
      mock.timers.reset()
      syncBuiltinESMExports()
    }
  })
}

/** A provider that answers as the test says, behind its breaker. */
function desk (changes: Partial<BreakerOptions> = {}) {
  const told: BreakerState[] = []
  const state = {
    identify: async (): Promise<Answer> => good,
    leave: async () => new URL('https://impots.example/authorize'),
    logout: async (): Promise<URL | undefined> => new URL('https://impots.example/logout'),
    probe: async (): Promise<'well' | 'somehow'> => 'well',
    identified: 0,
    left: 0,
    loggedOut: 0,
    probed: 0,
    closed: 0,
    given: [] as unknown[]
  }
  const count = (what: 'identified' | 'left' | 'loggedOut' | 'probed' | 'closed', ...given: unknown[]) => { state[what]++; state.given = given }
  const provider: Upstream = {
    authorizationUrl (...given) { count('left', ...given); return state.leave() },
    identify (...given) { count('identified', ...given); return state.identify() },
    endSessionUrl (...given) { count('loggedOut', ...given); return state.logout() },
    probe (...given) { count('probed', ...given); return state.probe() },
    async close (...given) { count('closed', ...given) }
  }
  const breaker = guarded(provider, { name: 'impots', error_percent: 50, volume: 4, window_ms: 60 * seconds, reset_ms: 10 * seconds, probe_ms: 0, slow_ms: 2000, watch: { breaker: to => told.push(to) }, ...changes })

  let logins = 0
  /** A citizen comes back, of a new login unless it is said which; gives the answer, or what is thrown. */
  async function comes (identify: () => Promise<Answer>, login = `login ${++logins}`): Promise<unknown> {
    state.identify = identify
    const end = breaker.identify(callback, { ...question, state: login }).catch((error: unknown) => error)
    await settled()
    return end
  }
  const outcomes: Record<string, () => Promise<Answer>> = { g: async () => good, f: failing, b: async () => { throw broken }, r: async () => { throw refused } }
  /** Citizens come back one after another: g well, f from nobody who answered, b badly answered, r refused. */
  async function come (outcomesInOrder: string) { for (const outcome of outcomesInOrder) await comes(outcomes[outcome]!) }
  /** A citizen comes back, and how it ends is the caller's to say. */
  function comesSlowly () {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    state.identify = () => promise
    const end = breaker.identify(callback, { ...question, state: `login ${++logins}` }).catch((error: unknown) => error)
    return { end, resolve, reject }
  }
  /** Opens it; what answers its probes is put back afterwards. */
  async function open () {
    const { probe } = state
    state.probe = never
    for (let i = 0; i < 10 && breaker.standing() !== 'down'; i++) await come('f')
    state.probe = probe
    state.probed = 0
  }
  /** Opens it, and lets its probe close it. */
  async function openAndClose (pass: (milliseconds: number) => Promise<void>) {
    await open()
    await pass(10 * seconds)
    state.probed = 0
  }
  return { state, breaker, told, comes, come, comesSlowly, open, openAndClose, inForce: () => told.at(-1) }
}

// ---- what opens it

timed('nothing that is no outage opens it, however often', async t => {
  for (const failure of Object.keys(failures) as Failure[]) {
    if (outages.includes(failure)) continue
    const { comes, told, breaker } = desk({ volume: 1, error_percent: 1 })
    for (let i = 0; i < 5; i++) await comes(async () => { throw new OAuthError(failure, 'x') })
    t.strictSame([told, breaker.standing()], [['closed'], 'up'], failure)
  }
})

timed('each outage opens it, and so does an error that nobody expected', async t => {
  const errors = [...outages.map(failure => new OAuthError(failure, 'x')), new TypeError('x'), Object.assign(new Error('x'), { row: { outage: false } }), 'provider_refused', undefined, null]
  for (const error of errors) {
    const { comes, told } = desk()
    for (let i = 0; i < 4; i++) t.equal(await comes(async () => { throw error }), error, 'the citizen is told what it was')
    t.strictSame(told, ['closed', 'open'], error instanceof OAuthError ? error.failure : String(error))
  }
})

timed('it opens when so many of the last callbacks failed, and by fewer at a time never', async t => {
  const table: Array<[calls: string, options: Partial<BreakerOptions>, opens: boolean]> = [
    ['bbb', {}, false],
    ['bbbb', {}, true],
    ['ffff', {}, true],
    ['gb', {}, false],
    ['ggb', {}, false],
    ['gggb', {}, false],
    ['ggbb', {}, true],
    ['gbgb', {}, true],
    ['gbgf', {}, true],
    ['bggb', {}, true],
    ['bbgg', {}, false],
    ['bbggb', {}, true],
    ['bgggb', {}, false],
    ['gggggggggggggggggggggbb', {}, true],
    ['bgggbgggbgggb', {}, false],
    ['ggbb', { error_percent: 51 }, false],
    ['gbbb', { error_percent: 75 }, true],
    ['gbbb', { error_percent: 76 }, false],
    ['gggb', { error_percent: 25 }, true],
    ['bbbb', { error_percent: 100 }, true],
    ['bbbgbbb', { error_percent: 100 }, false],
    ['bbbgbbbb', { error_percent: 100 }, true],
    ['b', { volume: 1, error_percent: 100 }, true],
    ['fffffffff', { volume: 10 }, false],
    ['bbbbbbbbb', { volume: 10 }, false],
    ['bfbfbfbfbf', { volume: 10 }, true],
    ['bbbbbggggg', { volume: 10, error_percent: 50 }, false],
    ['gggggbbbbb', { volume: 10, error_percent: 50 }, true]
  ]
  for (const [calls, options, opens] of table) {
    const { come, told } = desk(options)
    await come(calls.slice(0, -1))
    t.strictSame(told, ['closed'], `${calls} ${JSON.stringify(options)}, not before its last`)
    await come(calls.slice(-1))
    t.strictSame(told, opens ? ['closed', 'open'] : ['closed'], `${calls} ${JSON.stringify(options)}`)
  }
})

timed('what was refused neither opens it nor makes what failed weigh less', async t => {
  for (const [calls, opens] of [['rrrrbrrrrbrrrrbrrrr', false], ['brrrrbrrrrbrrrrb', true], ['ggrrrrrrbrrrb', true], ['gggrrrrrrb', false]] as const) {
    const { come, told } = desk()
    await come(calls)
    t.strictSame(told, opens ? ['closed', 'open'] : ['closed'], calls)
  }
})

timed('a login that fails again and again counts once: nobody opens it by reloading a page', async t => {
  const { comes, come, told, state } = desk()
  for (let i = 0; i < 20; i++) t.equal(await comes(async () => { throw broken }, 'the same'), broken)
  await come('bb')
  t.strictSame(told, ['closed'], 'three of four')
  await comes(failing, 'the same')
  t.strictSame(told, ['closed'])
  t.equal(state.probed, 1, 'but it is asked')
  await come('b')
  t.strictSame(told, ['closed', 'open'])
})

timed('a login that failed and came back well after all counts as both, in either order', async t => {
  const first = desk({ error_percent: 100 })
  await first.comes(async () => { throw broken }, 'the same')
  await first.come('bb')
  await first.comes(async () => good, 'the same')
  await first.come('b')
  t.strictSame(first.told, ['closed'], 'one of the last four came back well')
  const last = desk({ error_percent: 75 })
  await last.comes(async () => good, 'the same')
  await last.comes(async () => { throw broken }, 'the same')
  await last.come('bb')
  t.strictSame(last.told, ['closed', 'open'], 'three of the last four failed')
})

timed('callbacks of another time are forgotten', async (t, pass) => {
  for (const [ms, opens] of [[60 * seconds - 1, true], [60 * seconds, false], [90 * seconds, false]] as const) {
    const { come, told } = desk()
    await come('bbb')
    await pass(ms)
    await come('b')
    t.strictSame(told, opens ? ['closed', 'open'] : ['closed'], `${ms} ms later`)
  }
})

timed('five failures in a row open it whatever their number, if they last ten seconds: few come to some providers', async (t, pass) => {
  const table: Array<[calls: string, betweenMs: number, opens: boolean]> = [
    ['bbbbb', 2500, true],
    ['fffff', 2500, true],
    ['fbfbb', 2500, true],
    ['bbbbb', 2400, false],
    ['bbbbbbbbbbb', 900, false],
    ['bbbbbbbbbbbb', 950, true],
    ['bbbb', 3600 * seconds, false],
    ['bbbbb', 3600 * seconds, true],
    ['bbbbgbbbb', 10 * seconds, false],
    ['bbgbbbbb', 10 * seconds, true],
    ['brbrbrbrb', 2500, true]
  ]
  for (const [calls, ms, opens] of table) {
    const { state, come, told } = desk({ volume: 100 })
    for (const call of calls) {
      t.strictSame(told, ['closed'], `${calls} each ${ms} ms, not before its last`)
      await pass(Math.min(ms, 60 * seconds))
      await come(call)
    }
    t.strictSame(told, opens ? ['closed', 'open'] : ['closed'], `${calls} each ${ms} ms`)
    t.ok(state.probed <= calls.length)
  }
})

timed('callbacks that take long open it no sooner than quick ones', async (t, pass) => {
  const { come, comesSlowly, told } = desk({ volume: 10 })
  for (const { reject } of [1, 2, 3].map(() => comesSlowly())) setTimeout(() => reject(unavailable), 7 * seconds)
  await pass(10.5 * seconds)
  await come('b')
  t.strictSame(told, ['closed'], 'four of ten')
  for (const { reject } of [1, 2, 3].map(() => comesSlowly())) setTimeout(() => reject(broken), 30 * seconds)
  await pass(15 * seconds)
  await come('g')
  await pass(20 * seconds)
  t.strictSame(told, ['closed'], 'as of their end they are three in a row')
})

timed('callbacks that end together count each', async t => {
  const { comesSlowly, breaker, told } = desk()
  const together = Array.from({ length: 9 }, () => comesSlowly())
  for (const { reject } of together) reject(unavailable)
  t.strictSame(await Promise.all(together.map(({ end }) => end)), Array(9).fill(unavailable))
  t.strictSame(told, ['closed', 'open'], 'it opens once')
  t.equal(breaker.standing(), 'down')
})

timed('who cannot leave is told why, and it is asked once for all of them: one question may have failed for many', async (t, pass) => {
  const { state, breaker, told } = desk({ volume: 1 })
  for (const error of [unavailable, broken, new OAuthError('provider_busy', 'x')]) {
    state.leave = async () => { throw error }
    for (let i = 0; i < 10; i++) t.equal(await breaker.authorizationUrl(question).catch((thrown: unknown) => thrown), error)
    await pass(5 * seconds)
  }
  t.strictSame([state.probed, told], [3, ['closed']])
  state.leave = async () => new URL('https://impots.example/authorize')
  for (let i = 0; i < 10; i++) await breaker.authorizationUrl(question)
  t.equal(state.probed, 3, 'that a citizen could leave says nothing')
})

timed('a citizen who could not leave is told why, even when it opened meanwhile', async (t, pass) => {
  for (const [what, meanwhile] of [['open', async () => {}], ['half open', () => pass(10 * seconds)]] as const) {
    const { state, breaker, open, inForce } = desk()
    const { promise, reject } = Promise.withResolvers<URL>()
    state.leave = () => promise
    const leaving = breaker.authorizationUrl(question).catch((error: unknown) => error)
    await open()
    state.probe = never
    await meanwhile()
    reject(unavailable)
    t.equal(await leaving, unavailable, what)
    t.equal(inForce(), what.replace(' ', '_'))
  }
})

timed('closed, everything goes to the provider as it came', async t => {
  const { state, breaker, comes } = desk()
  t.equal((await breaker.authorizationUrl(question)).href, 'https://impots.example/authorize')
  t.strictSame(state.given, [question])
  t.equal(await comes(async () => good, 's'), good)
  t.strictSame(state.given, [callback, question])
  t.equal((await breaker.endSessionUrl(logout))?.href, 'https://impots.example/logout')
  t.strictSame(state.given, [logout])
})

timed('two providers have two breakers', async t => {
  const [one, other] = [desk(), desk()]
  await one.open()
  t.strictSame([one.breaker.standing(), other.breaker.standing()], ['down', 'up'])
})

timed('one slow call ends no other, and is waited for', async (t, pass) => {
  const { comesSlowly, comes, told } = desk()
  const slow = comesSlowly()
  await pass(3600 * seconds)
  for (let i = 0; i < 3; i++) t.equal(await comes(async () => good), good)
  slow.resolve(good)
  t.equal(await slow.end, good)
  t.strictSame(told, ['closed'])
})

// ---- what makes it ask

timed('who is not answered brings a probe, and no more than one in five seconds', async (t, pass) => {
  const { state, come, told } = desk({ volume: 100 })
  await come('rgbb')
  t.equal(state.probed, 0, 'who was answered, however badly, brings none')
  await come('ffg')
  t.equal(state.probed, 1)
  await pass(5 * seconds - 1)
  await come('ffg')
  t.equal(state.probed, 1)
  await pass(1)
  await come('ffg')
  t.equal(state.probed, 2)
  t.strictSame(told, ['closed'])
})

timed('it can be asked at any time, which makes nobody quicker to believe that it is down', async (t, pass) => {
  const { state, breaker, come, told } = desk({ volume: 100 })
  for (let i = 0; i < 10; i++) breaker.check()
  await settled()
  t.equal(state.probed, 1)
  await pass(5 * seconds)
  breaker.check()
  await come('ff')
  t.strictSame([state.probed, told], [2, ['closed']])
})

timed('a probe that is answered is no callback: it neither counts nor excuses', async (t, pass) => {
  const { state, come, told } = desk()
  await come('fff')
  t.strictSame([state.probed, told], [1, ['closed']])
  await come('f')
  t.strictSame(told, ['closed', 'open'])
  const rare = desk({ volume: 100 })
  for (let i = 0; i < 5; i++) {
    t.strictSame([rare.state.probed, rare.told], [i, ['closed']])
    await pass(5 * seconds)
    await rare.come('f')
  }
  t.strictSame(rare.told, ['closed', 'open'])
})

timed('whoever is not answered, and then a probe that is not, open it', async t => {
  const { state, come, told } = desk({ volume: 100 })
  state.probe = failing
  await come('f')
  t.strictSame([state.probed, told], [1, ['closed', 'open']])
})

timed('a probe that is not answered is made once more a moment later, and two in a row open it without a citizen', async (t, pass) => {
  for (const error of [unavailable, new OAuthError('provider_busy', 'x'), new Error('x')]) {
    const { state, breaker, told } = desk({ volume: 100 })
    state.probe = async () => { throw error }
    breaker.check()
    await settled()
    await pass(1100)
    t.strictSame([state.probed, told], [1, ['closed']], String(error))
    await pass(100)
    t.strictSame([state.probed, told], [2, ['closed', 'open']], String(error))
  }
  const once = desk({ volume: 100 })
  once.state.probe = () => once.state.probed === 1 ? failing() : Promise.resolve('well')
  once.breaker.check()
  await pass(3 * seconds)
  t.strictSame([once.state.probed, once.told], [2, ['closed']], 'the second was answered')
})

timed('two probes that are not answered do not open it when a citizen came back well between them, and no third is made', async (t, pass) => {
  const { state, breaker, come, told } = desk()
  state.probe = failing
  breaker.check()
  await settled()
  await come('g')
  await pass(4.9 * seconds)
  t.strictSame([state.probed, told], [2, ['closed']])
})

timed('for ten seconds after a probe that was not answered two in a row who are not open it, or half of five', async (t, pass) => {
  const table: Array<[afterMs: number, calls: string, opens: boolean]> = [
    [0, 'f', true],                                                    // the probe is the first of them
    [0, 'rf', true],
    [0, 'gf', false],
    [0, 'gfg', false],
    [0, 'gfgf', true],                                                 // with the probe half of five
    [0, 'gbgg', false],
    [0, 'gff', true],
    [0, 'bbb', false],                                                 // who is answered, however badly, is answered
    [0, 'bbbb', true],                                                 // but for five of five
    [0, 'bf', false],
    [0, 'bff', true],
    [9.9 * seconds, 'f', true],
    [10 * seconds, 'f', false],
    [10 * seconds, 'ff', false]
  ]
  for (const [ms, calls, opens] of table) {
    const { state, breaker, come, told } = desk({ volume: 100 })
    state.probe = () => state.probed === 1 ? failing() : never()
    breaker.check()
    await settled()
    await pass(ms)
    await come(calls)
    t.strictSame(told, opens ? ['closed', 'open'] : ['closed'], `${calls} after ${ms} ms`)
  }
})

timed('a hint brings a probe, and shuts nothing by itself', async (t, pass) => {
  const { state, breaker, told } = desk()
  for (let i = 0; i < 10; i++) breaker.suspect()
  await settled()
  t.equal(state.probed, 1)
  await pass(5 * seconds)
  breaker.suspect()
  await settled()
  t.equal(state.probed, 2)
  t.strictSame([told, breaker.standing()], [['closed'], 'up'])
})

timed('a hint that a probe finds to be true opens it without a citizen', async (t, pass) => {
  const { state, breaker, told } = desk({ volume: 100 })
  state.probe = failing
  breaker.suspect()
  await settled()
  await pass(1.2 * seconds)
  t.equal(state.probed, 2)
  t.strictSame(told, ['closed', 'open'])
})

timed('for ten seconds after a hint two in a row who are not answered open it', async (t, pass) => {
  const table: Array<[before: string, afterMs: number, calls: string, opens: boolean]> = [
    ['', 0, 'f', false],
    ['', 0, 'ff', true],
    ['', 0, 'fgf', false],
    ['', 0, 'gfrf', true],
    ['', 0, 'fbf', false],
    ['', 0, 'bbb', false],
    ['f', 0, 'f', true],
    ['fg', 0, 'f', false],
    ['', 9.9 * seconds, 'ff', true],
    ['', 10 * seconds, 'ff', false]
  ]
  for (const [before, ms, calls, opens] of table) {
    const { state, breaker, come, told } = desk({ volume: 10 })
    await come(before)
    breaker.suspect()
    await settled()
    state.probe = never
    await pass(ms)
    await come(calls)
    t.strictSame(told, opens ? ['closed', 'open'] : ['closed'], `${before} hint ${ms} ms ${calls}`)
  }
})

timed('a probe that is answered badly is answered: it opens nothing, is not made again at once, and makes nobody quicker to believe', async (t, pass) => {
  const { state, breaker, come, told } = desk({ volume: 100 })
  state.probe = async () => 'somehow'
  for (let i = 0; i < 5; i++) {
    breaker.check()
    await pass(5 * seconds)
  }
  t.equal(state.probed, 5)
  t.strictSame([told, breaker.standing()], [['closed'], 'slow'])
  await come('ff')
  t.strictSame([state.probed, told], [6, ['closed']])
  state.probe = async () => 'well'
  await pass(5 * seconds)
  await come('gf')
  t.strictSame([state.probed, breaker.standing()], [7, 'slow'], 'two of four failed')
})

timed('what nothing is heard of is asked', async (t, pass) => {
  const { state, told, breaker } = desk({ probe_ms: 15 * seconds })
  await pass(14.9 * seconds)
  t.equal(state.probed, 0)
  await pass(15 * seconds)
  t.equal(state.probed, 1)
  await pass(60 * seconds)
  t.equal(state.probed, 5, 'again each time')
  t.strictSame([told, breaker.standing()], [['closed'], 'up'])
})

timed('what is heard of is not asked', async (t, pass) => {
  const { state, come } = desk({ probe_ms: 15 * seconds })
  for (let i = 0; i < 20; i++) {
    await pass(5 * seconds)
    await come('g')
  }
  t.equal(state.probed, 0)
  for (let i = 0; i < 6; i++) {
    await pass(5 * seconds)
    await come('r')
  }
  t.equal(state.probed, 2, 'what was refused says nothing')
})

timed('where citizens were sent and nobody has come back it is asked after them soon', async (t, pass) => {
  const { state, breaker, come } = desk({ probe_ms: 60 * seconds })
  await pass(10 * seconds)
  await breaker.authorizationUrl(question)
  await pass(1 * seconds)
  t.equal(state.probed, 1, 'nothing was heard of it for longer than that')
  await breaker.authorizationUrl(question)
  await pass(2.9 * seconds)
  t.equal(state.probed, 1)
  await pass(3 * seconds)
  t.equal(state.probed, 2)
  await breaker.authorizationUrl(question)
  await pass(1 * seconds)
  await come('g')
  await pass(50 * seconds)
  t.equal(state.probed, 2, 'who has come back is not asked after')
})

timed('a provider that nobody needs just now is found to be down', async (t, pass) => {
  const { state, breaker, told } = desk({ probe_ms: 15 * seconds })
  state.probe = failing
  await pass(17 * seconds)
  t.equal(state.probed, 2)
  t.strictSame([told, breaker.standing()], [['closed', 'open'], 'down'])
})

timed('open, it is asked by its own probe alone', async (t, pass) => {
  const { state, breaker, open, told } = desk({ probe_ms: 1000, reset_ms: 60 * seconds })
  await open()
  for (let i = 0; i < 59; i++) {
    breaker.suspect()
    await pass(1 * seconds)
  }
  t.equal(state.probed, 0)
  await pass(1 * seconds)
  t.equal(state.probed, 1)
  t.strictSame(told, ['closed', 'open', 'half_open', 'closed'])
  breaker.suspect()
  await settled()
  t.equal(state.probed, 2, 'then hints are worth a probe again')
})

timed('with a probe_ms of 0 it is never asked out of quiet', async (t, pass) => {
  const { state } = desk({ probe_ms: 0 })
  await pass(600 * seconds)
  t.equal(state.probed, 0)
})

timed('replicas that started together do not ask together', async (t, pass) => {
  for (const [random, fewest, most] of [[0, 0.9, 0.9], [0.999, 1.1, 1.1]] as const) {
    Math.random = () => random
    const { state, open, told } = desk({ reset_ms: 10 * seconds })
    await open()
    await pass(fewest * 10 * seconds - 100)
    t.equal(state.probed, 0, 'after the pause')
    await pass((most - fewest) * 10 * seconds + 100)
    t.equal(state.probed, 1, 'after the pause')
    t.strictSame(told, ['closed', 'open', 'half_open', 'closed'])

    const quiet = desk({ probe_ms: 10 * seconds })
    await pass(8.9 * seconds)
    t.equal(quiet.state.probed, 0, 'out of quiet')
    await pass(2.2 * seconds)
    t.equal(quiet.state.probed, 1, 'out of quiet')
  }
})

// ---- open

timed('open, nobody is sent there, and nobody who logs out is kept', async t => {
  const { state, breaker, open } = desk()
  await open()
  const { left } = state
  await t.rejects(breaker.authorizationUrl(question), { name: 'OAuthError', failure: /^provider_unavailable$/ })
  t.equal(await breaker.endSessionUrl(logout), undefined)
  t.strictSame([state.left, state.loggedOut], [left, 0], 'it was not asked')
})

timed('one to whom nobody is sent any more is asked nothing, whether it was open, doubted or neither', async (t, pass) => {
  for (const what of ['closed', 'doubted', 'open'] as const) {
    const { breaker, state, open, told } = desk()
    state.probe = failing
    if (what === 'open') await open()
    if (what === 'doubted') breaker.suspect()
    breaker.rest()
    await settled()
    const { probed } = state
    await pass(300 * seconds)
    breaker.suspect()
    await settled()
    t.strictSame([state.probed, told.at(-1)], [probed, what === 'open' ? 'open' : 'closed'], what)
    state.identify = async () => good
    t.strictSame(await breaker.identify(callback, question), good, 'who is there comes back')
  }
})

timed('open or half open, whoever comes back is heard, and nobody may leave', async (t, pass) => {
  const { state, comes, come, open, inForce, breaker } = desk()
  await open()
  state.probe = never
  for (const what of ['open', 'half_open'] as const) {
    t.equal(inForce(), what)
    const before = state.identified
    t.equal(await comes(async () => good), good)
    t.equal(await comes(failing), unavailable)
    t.equal(await comes(async () => { throw refused }), refused)
    await come('bbbbb')
    if (what === 'half_open') await come('ggggggggg')
    t.equal(state.identified, before + (what === 'open' ? 8 : 17), 'each was asked, once')
    t.strictSame([inForce(), breaker.standing()], [what, 'down'])
    await pass(10 * seconds)
  }
})

timed('after its pause it closes when those who were there already came back well, and else asks', async (t, pass) => {
  const table: Array<[calls: string, probed: number]> = [
    ['', 1],
    ['r', 1],
    ['f', 1],
    ['g', 0],
    ['grr', 0],
    ['gf', 1],
    ['gb', 1],
    ['gbg', 0],
    ['bbbbbgggggg', 0]
  ]
  for (const [calls, probed] of table) {
    const { state, breaker, open, come, told } = desk({ volume: 20, error_percent: 50 })
    breaker.suspect()
    await open()
    await come(calls)
    t.equal(told.at(-1), 'open', `${calls}: not before`)
    await pass(10 * seconds)
    t.strictSame([told, state.probed, breaker.standing()], [['closed', 'open', 'half_open', 'closed'], probed, 'slow'], calls)
  }
})

timed('a trial in vain forgets nobody who came back well, only time does', async (t, pass) => {
  for (const [window_ms, probed] of [[60 * seconds, 1], [9 * seconds, 2]] as const) {
    const { state, open, come, told } = desk({ window_ms })
    await open()
    state.probe = failing
    await pass(10 * seconds)
    await come('g')
    await pass(10 * seconds)
    t.strictSame([state.probed, told.at(-1)], [probed, probed === 1 ? 'closed' : 'open'])
  }
})

timed('a callback that was begun before it closed again and fails afterwards failed before', async (t, pass) => {
  for (const ending of [refused, unavailable, broken]) {
    const { state, comesSlowly, open, told } = desk()
    const [begunClosed, endsHalfOpen] = [comesSlowly(), comesSlowly()]
    await open()
    const begunOpen = comesSlowly()
    const { promise, resolve } = Promise.withResolvers<'well'>()
    state.probe = () => promise
    await pass(10 * seconds)
    const begunHalfOpen = comesSlowly()
    endsHalfOpen.reject(ending)
    await settled()
    t.strictSame(told, ['closed', 'open', 'half_open'], 'while it is half open nobody decides but the probe')
    resolve('well')
    await settled()
    for (const call of [begunClosed, begunOpen, begunHalfOpen]) {
      call.reject(ending)
      t.equal(await call.end, ending, 'the citizen is told')
      t.strictSame(told, ['closed', 'open', 'half_open', 'closed'], ending.failure)
    }
  }
})

timed('while it is half open a callback that ends well decides nothing', async (t, pass) => {
  const { state, comesSlowly, open, told } = desk()
  const call = comesSlowly()
  await open()
  state.probe = never
  await pass(10 * seconds)
  call.resolve(good)
  t.equal(await call.end, good)
  t.strictSame(told, ['closed', 'open', 'half_open'])
})

timed('after its pause it closes by a probe and without a citizen', async (t, pass) => {
  const { state, breaker, open, told } = desk()
  await open()
  await pass(9.9 * seconds)
  t.strictSame([told, state.probed], [['closed', 'open'], 0])
  await pass(100)
  t.strictSame([told, state.probed], [['closed', 'open', 'half_open', 'closed'], 1])
  t.equal((await breaker.authorizationUrl(question)).href, 'https://impots.example/authorize')
  t.equal(state.identified, 4)
})

timed('a probe that finds nobody keeps it open for another pause, again and again', async (t, pass) => {
  for (const error of [unavailable, new OAuthError('provider_busy', 'x'), new Error('x')]) {
    const { state, open, told } = desk()
    await open()
    state.probe = async () => { throw error }
    await pass(29.9 * seconds)
    t.strictSame([told, state.probed], [['closed', 'open', 'half_open', 'open', 'half_open', 'open'], 2], String(error))
    state.probe = async () => 'well'
    await pass(100)
    t.strictSame(told.slice(-2), ['half_open', 'closed'])
  }
})

timed('a probe that takes long lets nobody leave before it is answered, and is the only one', async (t, pass) => {
  const { state, breaker, open, inForce } = desk()
  await open()
  state.probe = never
  await pass(120 * seconds)
  t.strictSame([state.probed, inForce(), breaker.standing()], [1, 'half_open', 'down'])
})

timed('probes that are answered badly keep it open, until after the sixth a citizen may try', async (t, pass) => {
  const { state, breaker, open, told } = desk()
  await open()
  state.probe = async () => 'somehow'
  await pass(59.9 * seconds)
  t.strictSame([state.probed, told.at(-1)], [5, 'open'])
  await pass(100)
  t.strictSame([state.probed, told.at(-1), breaker.standing()], [6, 'closed', 'slow'])
})

timed('bad answers from before it opened do not let a citizen try any sooner', async (t, pass) => {
  const { state, breaker, open, told } = desk({ volume: 10 })
  state.probe = async () => 'somehow'
  for (let i = 0; i < 5; i++) {
    breaker.suspect()
    await pass(5 * seconds)
  }
  await pass(60 * seconds)
  await open()
  await pass(10 * seconds)
  t.strictSame(told, ['closed', 'open', 'half_open', 'open'])
})

// ---- on trial

timed('until a citizen has come back well one who is not answered opens it again, for twice as long', async (t, pass) => {
  const { state, come, openAndClose, told, breaker } = desk({ volume: 100, error_percent: 100, window_ms: 60 * seconds })
  breaker.suspect()
  await openAndClose(pass)
  t.equal(breaker.standing(), 'slow', 'closed, and not yet trusted')
  await come('r')
  t.equal(told.at(-1), 'closed', 'what was refused is no failure')
  await come('f')
  t.equal(told.at(-1), 'open')
  await pass(19.9 * seconds)
  t.equal(state.probed, 0, 'two pauses')
  state.probe = failing
  await pass(100)
  t.strictSame([state.probed, told.at(-1)], [1, 'open'])
  state.probe = async () => 'well'
  await pass(10 * seconds)
  t.strictSame([state.probed, told.at(-1)], [2, 'closed'], 'the next pause is one again')
})

timed('on trial a few callbacks that are badly answered open it', async (t, pass) => {
  const table: Array<[calls: string, options: Partial<BreakerOptions>, opens: boolean]> = [
    ['b', {}, false],
    ['bbbb', {}, false],
    ['rrrrr', {}, false],
    ['bbbbb', {}, true],
    ['brbrbrbrb', {}, true],
    ['bbf', {}, true],
    ['b', { volume: 2 }, false],
    ['bb', { volume: 2 }, true],
    ['bbbbb', { error_percent: 100 }, true],
    ['gbbbbb', {}, false]                                              // it is trusted again
  ]
  for (const [calls, options, opens] of table) {
    const { breaker, come, openAndClose, told } = desk({ volume: 100, ...options })
    breaker.suspect()
    await openAndClose(pass)
    await come(calls)
    t.equal(told.at(-1), opens ? 'open' : 'closed', `${calls} ${JSON.stringify(options)}`)
  }
})

timed('a probe that fails opens it on trial, too', async (t, pass) => {
  const { state, breaker, openAndClose, told } = desk()
  await openAndClose(pass)
  await pass(5 * seconds)
  state.probe = failing
  breaker.suspect()
  await settled()
  t.strictSame([state.probed, told.at(-1)], [1, 'open'])
})

timed('a citizen who comes back well ends the trial', async (t, pass) => {
  const { come, openAndClose, told, breaker } = desk()
  await openAndClose(pass)
  await come('g')
  t.equal(breaker.standing(), 'up')
  await come('ggb')
  t.equal(told.at(-1), 'closed')
  await come('b')
  t.equal(told.at(-1), 'open', 'two of four, as ever')
})

timed('a probe that is answered does not end the trial', async (t, pass) => {
  const { come, openAndClose, told, breaker } = desk()
  await openAndClose(pass)
  for (let i = 0; i < 3; i++) {
    await pass(6 * seconds)
    breaker.suspect()
  }
  await come('f')
  t.equal(told.at(-1), 'open')
})

timed('the trial ends with the window, and what was before the pause is forgotten', async (t, pass) => {
  const { state, come, openAndClose, told, breaker } = desk({ window_ms: 20 * seconds })
  await openAndClose(pass)
  await pass(19.9 * seconds)
  t.equal(breaker.standing(), 'slow')
  await pass(100)
  t.equal(breaker.standing(), 'up')
  state.probe = never
  await come('fff')
  t.equal(told.at(-1), 'closed', 'three of three')

  const long = desk({ window_ms: 600 * seconds })
  await long.openAndClose(pass)
  await long.come('gf')
  t.equal(long.told.at(-1), 'closed', 'the four that opened it count no more')
})

// ---- how it stands

timed('a provider that usually answers late is slow, one that did once is not', async (t, pass) => {
  const { comesSlowly, breaker } = desk({ slow_ms: 2000 })
  const taking = async (ms: number) => {
    const { resolve } = comesSlowly()
    await pass(ms)
    resolve(good)
    await settled()
  }
  await taking(2000)
  t.equal(breaker.standing(), 'up', 'as long as that is not slow')
  await taking(2100)
  t.equal(breaker.standing(), 'slow')
  for (let i = 0; i < 4; i++) await taking(100)
  t.equal(breaker.standing(), 'up', 'it answers soon again')
  await taking(4000)
  t.equal(breaker.standing(), 'up', 'once is not usual')
  await taking(6000)
  t.equal(breaker.standing(), 'slow')
  await pass(60 * seconds)
  t.equal(breaker.standing(), 'up', 'that was long ago')
})

timed('a provider that answered nobody in time is not thereby quick, nor slow once it is back', async (t, pass) => {
  const { comesSlowly, comes, openAndClose, breaker } = desk({ volume: 100 })
  const { reject } = comesSlowly()
  await pass(8 * seconds)
  reject(unavailable)
  await settled()
  t.equal(breaker.standing(), 'up', 'a failure is no answer')
  const slow = comesSlowly()
  await pass(8 * seconds)
  slow.resolve(good)
  await settled()
  t.equal(breaker.standing(), 'slow')
  breaker.suspect()
  await openAndClose(pass)
  await comes(async () => good)
  t.equal(breaker.standing(), 'up', 'it is asked anew')
})

timed('a provider that fails now and then is slow, as long as that is not long ago', async (t, pass) => {
  const table: Array<[calls: string, standing: Standing]> = [
    ['f', 'up'],
    ['gf', 'up'],
    ['ggf', 'slow'],
    ['gggf', 'slow'],
    ['ggggf', 'up'],
    ['fgggg', 'up'],
    ['gggff', 'slow'],
    ['rrrrrf', 'up'],
    ['ggb', 'slow']
  ]
  for (const [calls, standing] of table) {
    const { state, breaker, come } = desk({ volume: 100 })
    state.probe = never
    await come(calls)
    t.equal(breaker.standing(), standing, calls)
    await pass(60 * seconds)
    t.equal(breaker.standing(), 'up', 'a window later')
  }
})

timed('a provider that was once answered badly for is slow no more when citizens come back well', async (t, pass) => {
  const { state, breaker, come } = desk({ probe_ms: 15 * seconds })
  state.probe = async () => 'somehow'
  breaker.suspect()
  await settled()
  t.equal(breaker.standing(), 'slow')
  state.probe = async () => 'well'
  for (let i = 0; i < 20; i++) {
    await pass(5 * seconds)
    await come('g')
  }
  t.equal(breaker.standing(), 'up')
})

// ---- what an operator said

timed('forced closed, nothing opens it; forced open, nothing closes it; nobody asks the provider without a citizen', async (t, pass) => {
  for (const forced of ['closed', 'open'] as const) {
    const { state, breaker, come, comes, told } = desk({ forced, volume: 1, probe_ms: 1000, reset_ms: 100 })
    t.equal(breaker.standing(), forced === 'open' ? 'down' : 'up')
    breaker.suspect()
    await come('ffffgggg')
    state.leave = failing
    await t.rejects(breaker.authorizationUrl(question), { name: 'OAuthError', failure: 'provider_unavailable' })
    await pass(60 * seconds)
    t.equal(await comes(async () => good), good, 'whoever comes back is heard')
    t.equal(await comes(failing), unavailable)
    t.strictSame([state.probed, told], [0, [`forced_${forced}`]])
    t.equal(breaker.standing(), forced === 'open' ? 'down' : 'up')
    t.equal(state.left, forced === 'open' ? 0 : 1)
    t.equal((await breaker.endSessionUrl(logout))?.href, forced === 'open' ? undefined : 'https://impots.example/logout')
  }
})

// ---- logging out there

timed('where it logs out is said in half a second, or not at all, and counts for nothing', async (t, pass) => {
  const { state, breaker, told } = desk({ volume: 1 })
  t.equal((await breaker.endSessionUrl(logout))?.href, 'https://impots.example/logout')
  state.logout = async () => undefined
  t.equal(await breaker.endSessionUrl(logout), undefined, 'it has no such place')
  state.logout = failing
  t.equal(await breaker.endSessionUrl(logout), undefined)
  let said: unknown = 'not yet'
  state.logout = never
  breaker.endSessionUrl(logout).then(url => { said = url })
  await pass(400)
  t.equal(said, 'not yet')
  await pass(100)
  t.equal(said, undefined)
  t.strictSame([told, state.probed, breaker.standing()], [['closed'], 0, 'up'])
})

// ---- its end

timed('what else a provider can do it can behind its breaker', async t => {
  const provider = { start: () => 'started', authorizationUrl: never, identify: never, endSessionUrl: never, probe: never, async close () {} }
  const breaker = guarded(provider, { name: 'x', error_percent: 50, volume: 4, window_ms: 1000, reset_ms: 1000, probe_ms: 0, slow_ms: 1000, watch: { breaker () {} } })
  t.equal(breaker.start(), 'started')
  await breaker.close()
})

timed('closed for good, it asks and tells nothing any more, and what it guards is closed', async (t, pass) => {
  for (const change of ['quiet', 'open', 'half open', 'doubted'] as const) {
    const { state, breaker, open, told } = desk({ probe_ms: 15 * seconds })
    if (change === 'open' || change === 'half open') await open()
    state.probe = never
    if (change === 'half open') await pass(10 * seconds)
    if (change === 'doubted') {
      state.probe = failing
      breaker.check()
      await settled()
    }
    const before = [state.probed, [...told]]
    await breaker.close()
    await pass(120 * seconds)
    t.strictSame([state.probed, told], before, change)
    t.equal(state.closed, 1)
    await t.rejects(breaker.authorizationUrl(question), { name: 'OAuthError', failure: 'provider_unavailable' })
  }
})

t.test('a process that only has closed breakers left ends', async t => {
  const at = (file: string) => JSON.stringify(new URL(`../../src/${file}`, import.meta.url).href)
  const source = `
    import { guarded } from ${at('adapters/circuit-breaker.ts')}
    import { OAuthError } from ${at('protocol/errors.ts')}
    const fails = async () => { throw new OAuthError('provider_unavailable', 'x') }
    const options = { error_percent: 1, volume: 1, window_ms: 60000, reset_ms: 60000, probe_ms: 60000, slow_ms: 1000, watch: { breaker () {} } }
    const breakers = ['one', 'two'].map(name => guarded({ identify: fails, probe: fails, close: async () => {} }, { name, ...options }))
    await breakers[0].identify(undefined, { state: 's' }).catch(() => {})
    if (breakers[0].standing() !== 'down' || breakers[1].standing() !== 'up') process.exit(3)
    for (const breaker of breakers) await breaker.close()
    console.log(process.getActiveResourcesInfo().filter(name => name === 'Timeout').length)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], { stdio: ['ignore', 'pipe', 'inherit'], timeout: 20_000 })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.setEncoding('utf8').on('data', text => { said += text })
  const [code] = await once(child, 'close')
  t.equal(code, 0, 'it ends by itself')
  t.equal(said.trim(), '0', 'no timer is left')
})
