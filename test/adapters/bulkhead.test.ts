import t from 'tap'
import { bulkhead } from '../../src/adapters/bulkhead.ts'
import type { Answer, IdentityProvider, Question } from '../../src/ports.ts'
import { OAuthError } from '../../src/protocol/errors.ts'

const question = { state: 's' } as Question
const callback = new URL('https://passerelle.example/callback/impots?code=x')
const good: Answer = { sub: 'sub', claims: {} }
const overloaded = { name: 'OAuthError', failure: 'provider_overloaded' }

/** A provider behind a bulkhead of so many; each who comes back waits until the test ends it. */
function desk (most: number) {
  const state = { inFlight: [] as number[], rejected: 0, asked: [] as unknown[][], left: 0, closed: 0, logins: 0 }
  const waiting: Array<PromiseWithResolvers<Answer>> = []
  const provider: IdentityProvider & { start (): string } = {
    standing: () => 'slow',
    async authorizationUrl () { state.left++; return new URL('https://impots.example/authorize') },
    identify (...asked: unknown[]) {
      state.asked.push(asked)
      const end = Promise.withResolvers<Answer>()
      waiting.push(end)
      return end.promise
    },
    async endSessionUrl () { return undefined },
    async probe () { return 'well' as const },
    async close () { state.closed++ },
    start: () => 'started'
  }
  const watch = { inFlight: (callbacks: number) => state.inFlight.push(callbacks), rejected: () => { state.rejected++ } }
  const guarded = bulkhead(provider, { most, watch })
  /** A citizen comes back, of a new login unless it is said which. */
  const come = (login = `login ${++state.logins}`, address = callback) => guarded.identify(new URL(address), { ...question, state: login })
  return { state, waiting, provider, guarded, watch, come }
}

t.test('one more than may be under way is refused at once, and nothing is sent', async t => {
  for (const most of [1, 3]) {
    const { state, come, waiting } = desk(most)
    const underWay = Array.from({ length: most }, () => come())
    for (let i = 0; i < 5; i++) await t.rejects(come(), overloaded)
    t.equal(state.asked.length, most)
    t.equal(state.rejected, 5)
    t.equal(state.inFlight.at(-1), most, 'who is refused takes no place')
    for (const { resolve } of waiting) resolve(good)
    t.strictSame(await Promise.all(underWay), Array(most).fill(good))
  }
})

t.test('whoever ends, well or not, makes place for one', async t => {
  const { state, come, waiting } = desk(2)
  const [first, second] = [come(), come()]
  const failure = new OAuthError('provider_unavailable', 'away')
  waiting[1]!.reject(failure)
  await t.rejects(second, failure, 'the failure is told as it is')
  const third = come()
  await t.rejects(come(), overloaded)
  waiting[0]!.resolve(good)
  t.equal(await first, good)
  const fourth = come()
  await t.rejects(come(), overloaded)
  for (const { resolve } of waiting) resolve(good)
  t.strictSame(await Promise.all([third, fourth]), [good, good])
  t.strictSame(state.inFlight, [1, 2, 1, 2, 1, 2, 1, 0])
})

t.test('a provider that fails before it waits keeps no place', async t => {
  const { provider, state, watch } = desk(1)
  const failing = bulkhead<IdentityProvider>({ ...provider, identify: () => { throw new OAuthError('provider_unavailable', 'x') } }, { most: 1, watch })
  for (let i = 0; i < 3; i++) await t.rejects(failing.identify(callback, question), { name: 'OAuthError', failure: 'provider_unavailable' })
  t.strictSame([state.inFlight.at(-1) ?? 0, state.rejected], [0, 0])
})

t.test('a double click shares the answer, and its failure: the code is exchanged once', async t => {
  const { state, come, waiting } = desk(1)
  const clicks = [come('a'), come('a'), come('a')]
  waiting[0]!.resolve(good)
  t.strictSame(await Promise.all(clicks), [good, good, good])
  const failure = new OAuthError('provider_code_spent', 'x')
  const again = [come('a'), come('a')]
  waiting[1]!.reject(failure)
  for (const click of again) await t.rejects(click, failure, 'once the first has ended a click asks anew')
  t.strictSame([state.asked.length, state.inFlight, state.rejected], [2, [1, 0, 1, 0], 0])
})

t.test('another answer for a login that is on its way back is refused, and does not disturb the first', async t => {
  const { state, come, waiting } = desk(3)
  const first = come('a')
  for (const other of ['https://passerelle.example/callback/impots?code=y', `${callback.href}&iss=x`, 'https://passerelle.example/callback/impots?error=access_denied']) {
    await t.rejects(come('a', new URL(other)), { name: 'OAuthError', failure: 'login_elsewhere' }, other)
  }
  const second = come('b')
  t.strictSame([state.asked.length, state.rejected, state.inFlight], [2, 0, [1, 2]])
  for (const { resolve } of waiting) resolve(good)
  t.strictSame(await Promise.all([first, second]), [good, good])
  const afterwards = come('a', new URL('https://passerelle.example/callback/impots?code=y'))
  waiting[2]!.resolve(good)
  t.equal(await afterwards, good)
})

t.test('what was asked goes on as it came', async t => {
  const { state, come, waiting } = desk(1)
  const end = come('a')
  waiting[0]!.resolve(good)
  await end
  t.strictSame(state.asked, [[callback, { ...question, state: 'a' }]])
})

t.test('leaving, logging out, probing and all else are not limited', async t => {
  const { state, guarded, come, waiting } = desk(1)
  const end = come()
  for (let i = 0; i < 5; i++) t.ok(await guarded.authorizationUrl(question))
  t.equal(await guarded.endSessionUrl({ post_logout_redirect_uri: 'https://passerelle.example/', state: 's' }), undefined)
  t.equal(await guarded.probe(), 'well')
  t.equal(guarded.standing(), 'slow')
  t.equal(guarded.start(), 'started')
  await guarded.close()
  t.strictSame([state.left, state.closed, state.rejected], [5, 1, 0])
  waiting[0]!.resolve(good)
  t.equal(await end, good)
})
