import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { timeBudget } from '../../src/adapters/time-budget.ts'
import type { Answer, Upstream, Question } from '../../src/ports.ts'
import { OAuthError } from '../../src/protocol/errors.ts'

const question = { state: 's' } as Question
const callback = new URL('https://passerelle.example/callback/impots?code=x')
const good: Answer = { sub: 'sub', claims: {} }
const tooLong = { name: 'OAuthError', failure: 'provider_timed_out' }

/** A provider that answers as the test says, and notes what it was asked. */
function desk (milliseconds: number, identify: (...asked: unknown[]) => Promise<Answer>) {
  const asked: unknown[][] = []
  const provider: Upstream & { start (): string } = {
    authorizationUrl: async () => { await pause(30); return new URL('https://impots.example/authorize') },
    identify (...given: unknown[]) { asked.push(given); return identify(...given) },
    endSessionUrl: async () => undefined,
    probe: async () => { await pause(30); return 'well' as const },
    async close () {},
    start: () => 'started'
  }
  return { asked, budgeted: timeBudget(provider, milliseconds) }
}

t.test('when the time is spent the citizen is answered, and what comes afterwards troubles nobody', async t => {
  const ends = [() => new Promise<Answer>(() => {}), async () => { await pause(40); return good }, async () => { await pause(40); throw new Error('too late to matter') }]
  for (const identify of ends) {
    const { budgeted } = desk(10, identify)
    await t.rejects(budgeted.identify(callback, question), tooLong)
  }
  await pause(60)
})

t.test('each way back has a budget of its own', async t => {
  const { budgeted } = desk(60, async (asked: unknown) => {
    if (asked !== callback) return new Promise<Answer>(() => {})
    await pause(30)
    return good
  })
  const slow = t.rejects(budgeted.identify(new URL('https://passerelle.example/slow'), question), tooLong)
  await pause(40)
  t.equal(await budgeted.identify(callback, question), good, 'still on its way when the slow one\'s time is over')
  await slow
})

t.test('the provider is told until when it may begin anything', async t => {
  const { asked, budgeted } = desk(60_000, async () => good)
  const before = performance.now()
  t.equal(await budgeted.identify(callback, question), good)
  const after = performance.now()
  const [[url, given, deadline]] = asked as [[unknown, unknown, number]]
  t.equal(url, callback)
  t.equal(given, question)
  t.ok(deadline >= before + 60_000 && deadline <= after + 60_000)
})

t.test('an answer in time is the answer, a failure the failure, and no timer is left', async t => {
  const timers = () => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  const before = timers()
  const failure = new OAuthError('provider_refused', 'no')
  t.equal(await desk(60_000, async () => good).budgeted.identify(callback, question), good)
  await t.rejects(desk(60_000, async () => { throw failure }).budgeted.identify(callback, question), failure)
  t.equal(timers(), before)
})

t.test('all else has no budget here', async t => {
  const { budgeted } = desk(1, async () => good)
  t.ok(await budgeted.authorizationUrl(question))
  t.equal(await budgeted.probe(), 'well')
  t.equal(budgeted.start(), 'started')
})
