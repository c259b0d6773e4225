import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { loggable } from '../../src/log.ts'
import type { Question } from '../../src/ports.ts'
import type { Failure } from '../../src/protocol/errors.ts'
import { startForgingProvider, type Forgery } from '../support/forging-provider.ts'
import { findWords } from '../support/personal-data.ts'
import { providerUnderTest, registrationAt } from '../support/provider-under-test.ts'
import { until } from '../support/redis.ts'

// What happens to a gateway that has been up for a while when a provider's keys change, or cannot be had.

const sub = 'sub-of-wilhelmina'
const questionOf = (): Question => ({
  redirect_uri: 'https://passerelle.example/callback/impots',
  state: randomBytes(16).toString('base64url'),
  nonce: randomBytes(16).toString('base64url'),
  code_verifier: randomBytes(32).toString('base64url'),
  acr: 'eidas1',
  ui_locales: 'fr'
})

// The clock of this process, which the provider shares, goes ahead as a test says.
const real = { date: Date.now.bind(Date), performance: performance.now.bind(performance) }
let aheadMs = 0
Date.now = () => real.date() + aheadMs
performance.now = () => real.performance() + aheadMs

/** A provider and a gateway that has logged somebody in there. */
async function desk (t: Test) {
  const forger = await startForgingProvider(t, { sub })
  const provider = providerUnderTest(registrationAt(forger.issuer), { connections: 32 })
  t.teardown(provider.close)
  const question = questionOf()
  const logIn = async (forgery: Forgery = {}) => {
    const callback = forger.comeBack(await provider.authorizationUrl(question))
    forger.state.forgery = forgery
    return provider.identify(callback, question)
  }
  /** So many citizens come back at once. */
  const crowd = async (size: number, forgery: Forgery = {}) => {
    const callback = forger.comeBack(await provider.authorizationUrl(question))
    forger.state.forgery = forgery
    return Promise.allSettled(Array.from({ length: size }, () => provider.identify(callback, question)))
  }
  return { forger, logIn, crowd }
}
t.afterEach(() => { aheadMs = 0 })

t.test('a provider that changes its keys without overlap loses nobody: an unknown kid is worth one question, at once', async t => {
  const { forger, logIn } = await desk(t)
  await logIn()
  forger.renewKeys()
  t.equal(forger.count('jwks'), 1)
  t.match(await logIn().catch(error => error), { sub }, 'the first login after the change')
  t.equal(forger.count('jwks'), 2)
})

t.test('a provider that changes its keys an hour later loses nobody', async t => {
  const { forger, logIn } = await desk(t)
  await logIn()
  aheadMs = 3600_000
  forger.renewKeys()
  t.match(await logIn().catch(error => error), { sub })
})

t.test('the last known good keys serve on while there are no others to be had', async t => {
  const faults: Record<string, Forgery> = {
    500: { answer: { jwks: (_request, response) => response.writeHead(500).end() } },
    'a reset': { answer: { jwks: request => request.socket.destroy() } },
    'an empty set': { jwks: () => ({ keys: [] }) },
    'no set': { jwks: () => ({}) },
    null: { answer: { jwks: (_request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('null') } },
    'a page': { answer: { jwks: (_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>') } }
  }
  for (const [what, forgery] of Object.entries(faults)) {
    aheadMs = 0
    const { forger, logIn } = await desk(t)
    await logIn()
    const calls = what === 'a reset' ? 2 : 1                              // a question whose connection broke is asked once more
    for (const [minutes, questions] of [[1, 0], [6, 1], [30, 2]] as const) {
      aheadMs = minutes * 60_000
      const asked = 1 + questions * calls
      for (const nth of ['first', 'second']) {
        t.match(await logIn(forgery).catch(error => error), { sub }, `${what}, after ${minutes} minutes, the ${nth} login`)
        await until('the keys were asked for', 10_000, () => forger.count('jwks') === asked)
        await pause(20)
      }
      t.equal(forger.count('jwks'), asked, `${what}: asked behind the citizen's back, and not at each login`)
    }
  }
})

t.test('a provider that changes its keys while it does not publish them is down, and no forger; then the first login finds them', async t => {
  const faults: Record<string, [forgery: Forgery, failure: Failure]> = {
    500: [{ answer: { jwks: (_request, response) => response.writeHead(500).end() } }, 'provider_server_error'],
    'a reset': [{ answer: { jwks: request => request.socket.destroy() } }, 'provider_unavailable'],
    'no answer': [{ answer: { jwks: (_request, response) => new Promise(resolve => response.once('close', resolve)) } }, 'provider_timed_out'],
    'an empty set': [{ jwks: () => ({ keys: [] }) }, 'provider_keys_unavailable']
  }
  for (const [what, [forgery, failure]] of Object.entries(faults)) {
    aheadMs = 0
    const { forger, logIn } = await desk(t)
    await logIn()
    forger.renewKeys()
    const asked = what === 'a reset' ? 3 : 2                              // a question whose connection broke is asked once more
    for (let i = 0; i < 3; i++) await t.rejects(logIn(forgery), { name: 'OAuthError', failure, row: { outage: true, security: undefined } }, what)
    t.equal(forger.count('jwks'), asked, `${what}: asked once`)
    aheadMs = 30_000
    t.match(await logIn().catch(error => error), { sub }, `${what}: when it publishes them again`)
    t.equal(forger.count('jwks'), asked + 1)
  }
})

t.test('a crowd that comes back at once asks for the keys once', async t => {
  const { forger, crowd } = await desk(t)
  const outcomes = await crowd(20)
  t.ok(outcomes.every(({ status }) => status === 'fulfilled'))
  t.equal(forger.count('jwks'), 1)
})

t.test('a flood of unknown kids asks for the keys at most once in thirty seconds', async t => {
  const { forger, logIn, crowd } = await desk(t)
  await logIn()
  aheadMs = 90_000
  const unknown: Forgery = { header: header => ({ ...header, kid: randomBytes(4).toString('hex') }) }
  const before = forger.count('jwks')
  const outcomes = await crowd(20, unknown)
  t.ok(outcomes.every(({ status }) => status === 'rejected'))
  for (let i = 0; i < 5; i++) await t.rejects(logIn(unknown), { name: 'OAuthError', failure: 'provider_key_unknown' })
  t.equal(forger.count('jwks') - before, 1)
  t.match(await logIn().catch(error => error), { sub }, 'and who brings a good token gets in meanwhile')
})

t.test('what a provider wrote so that it looks like a stack is not logged as one', async t => {
  const { logIn } = await desk(t)
  for (const body of ['{"a":\n    at Wilhelmina (x:1:1)\n', '\n  at Wilhelmina\n', '{"id_token":"\n\tat Wilhelmina"']) {
    const error = await logIn({ answer: { token: (_request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(body) } }).then(() => new Error('accepted'), error => error)
    t.match(error, { failure: 'provider_answer_unreadable' })
    t.same(findWords(inspect(loggable.serializers.err(error), { depth: 20 }), ['Wilhelmina']), [], JSON.stringify(body))
  }
})
