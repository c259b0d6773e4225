import t, { type Test } from 'tap'
import { publishedKeys } from '../../src/adapters/published-keys.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { createForgedKey, signedBy } from '../support/forging-provider.ts'

// The clock of this process stands still, and goes ahead as a test says.
const begin = Math.round(performance.now())
let aheadMs = 0
performance.now = () => begin + aheadMs
t.afterEach(() => { aheadMs = 0 })

const seconds = 1000
const minutes = 60 * seconds
const down = new OAuthError('provider_unavailable', 'down')
const noMatchingKey = { code: 'ERR_JWKS_NO_MATCHING_KEY' }

/** Keys of a provider that counts how often it is asked, and answers as a test says; `key` is the one that it publishes. */
function desk () {
  const state = { key: createForgedKey('ES256', 'one'), asked: 0, answer: async (): Promise<unknown> => ({ keys: [state.key.published] }) }
  const { verify } = publishedKeys(async () => { state.asked++; return await state.answer() as never })
  return {
    state,
    /** A token by the provider's key, unless another is given, looked at. */
    look: async (key = state.key) => JSON.parse(Buffer.from((await verify(await signedBy(key, { sub: 's' }), ['ES256'])).payload).toString()),
    verify
  }
}
const unknown = createForgedKey('ES256', 'unknown')
/** What was begun behind a citizen's back has come to its end. */
const settled = () => new Promise(resolve => setImmediate(resolve))
/** An answer that comes when the test says. */
function later (state: ReturnType<typeof desk>['state']) {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const { answer } = state
  state.answer = () => promise.then(answer)
  return { come: resolve, fail: reject }
}
const accepts = async (t: Test, answer: Promise<unknown>, what: string) => t.match(await answer.catch(error => error), { sub: 's' }, what)

t.test('keys are asked for at the first token, once for all who wait, and not again while they are fresh', async t => {
  const { state, look } = desk()
  t.equal(state.asked, 0, 'not before')
  const keys = later(state)
  const together = [look(), look(), look()]
  await settled()
  keys.come()
  for (const answer of together) await accepts(t, answer, 'one of three')
  aheadMs = 5 * minutes - 1
  await accepts(t, look(), 'five minutes less a millisecond later')
  await settled()
  t.equal(state.asked, 1)
})

t.test('a first answer that fails is that token\'s failure, and is not remembered', async t => {
  const { state, look } = desk()
  const { answer } = state
  state.answer = async () => { throw down }
  for (const asked of [1, 2]) {
    await t.rejects(look(), down)
    t.equal(state.asked, asked)
  }
  state.answer = async () => ({})
  await t.rejects(look(), { code: 'ERR_JWKS_INVALID' }, 'nor is a set that is none')
  state.answer = answer
  await accepts(t, look(), 'then it answers')
  t.equal(state.asked, 4)
})

t.test('keys of five minutes are renewed behind the citizen\'s back, once at a time', async t => {
  const { state, look } = desk()
  await look()
  const before = state.key
  aheadMs = 5 * minutes
  const keys = later(state)
  await accepts(t, look(), 'nobody waits')
  await accepts(t, look(), 'nor the next')
  t.equal(state.asked, 2)

  state.key = createForgedKey('ES256', 'two')
  keys.come()
  await settled()
  await accepts(t, look(), 'the new key is known without another question')
  t.equal(state.asked, 2)
  await t.rejects(look(before), noMatchingKey, 'and the old one is no longer')
})

t.test('renewed keys are fresh from when they came', async t => {
  const { state, look } = desk()
  await look()
  aheadMs = 5 * minutes
  const keys = later(state)
  await look()
  aheadMs = 7 * minutes
  keys.come()
  await settled()
  aheadMs = 12 * minutes - 1
  await look()
  t.equal(state.asked, 2)
  aheadMs = 12 * minutes
  await look()
  t.equal(state.asked, 3)
})

t.test('while they cannot be renewed the last good keys serve on, and a provider that is down is asked every five minutes only', async t => {
  const { state, look } = desk()
  await look()
  state.answer = async () => { throw down }
  for (const [step, asked] of [[1, 2], [2, 3], [3, 4]] as const) {
    aheadMs = step * 5 * minutes
    for (let i = 0; i < 3; i++) {
      await accepts(t, look(), `${step * 5} minutes later`)
      await settled()
    }
    aheadMs += 5 * minutes - 1
    await look()
    t.equal(state.asked, asked)
  }
})

t.test('an unknown kid is worth one question, at once', async t => {
  const { state, look } = desk()
  await look()
  state.key = createForgedKey('ES256', 'two')
  await accepts(t, look(), 'a key of today')
  t.equal(state.asked, 2)
  await look()
  t.equal(state.asked, 2)
})

t.test('unknown kids are worth one question in thirty seconds, whatever came of it', async t => {
  for (const [what, fails] of [['a provider that answers', false], ['a provider that is down', true]] as const) {
    aheadMs = 0
    const { state, look } = desk()
    await look()
    if (fails) state.answer = async () => { throw down }
    for (const [ms, asked] of [[0, 2], [1, 2], [30 * seconds - 1, 2], [30 * seconds, 3], [60 * seconds - 1, 3], [60 * seconds, 4]] as const) {
      aheadMs = ms
      await t.rejects(look(unknown), noMatchingKey, `${what}: refused after ${ms} ms`)
      t.equal(state.asked, asked, `${what}: asked ${asked} times after ${ms} ms`)
      await accepts(t, look(), `${what}: a known kid gets in`)
    }
    t.equal(state.asked, 4)
  }
})

t.test('who comes with an unknown kid while the keys are asked for waits for them', async t => {
  const { state, look } = desk()
  await look()
  state.key = createForgedKey('ES256', 'two')
  const keys = later(state)
  const together = [look(), look(), look(unknown)]
  await settled()
  aheadMs = 1
  const late = look()
  await settled()
  keys.come()
  await t.rejects(together[2]!, noMatchingKey)
  for (const answer of [...together.slice(0, 2), late]) await accepts(t, answer, 'the new key')
  t.equal(state.asked, 2)
})

t.test('a token that is wrong for another reason than its kid asks nobody', async t => {
  const { state, look, verify } = desk()
  await look()
  const { kid, privateKey } = createForgedKey('ES256', 'one')
  const good = await signedBy(state.key, { sub: 's' })
  for (const [what, jws, alg] of [
    ['another key under a known kid', await signedBy({ alg: 'ES256', kid, privateKey }, { sub: 's' }), 'ES256'],
    ['another algorithm than registered', good, 'RS256'],
    ['no token', 'Dupont', 'ES256'],
    ['a signature cut short', good.slice(0, -4), 'ES256']
  ] as const) {
    const error = await verify(jws, [alg]).then(() => new Error('accepted'), error => error)
    t.match(error, { code: /^ERR_J/ }, what)
    t.not(error.code, noMatchingKey.code, what)
  }
  t.equal(state.asked, 1)
})
