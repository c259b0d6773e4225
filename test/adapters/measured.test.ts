import t from 'tap'
import { measured } from '../../src/adapters/measured.ts'
import type { Answer, IdentityProvider, Question } from '../../src/ports.ts'
import { failures, OAuthError, type Failure } from '../../src/protocol/errors.ts'

// The clock of this process stands still, and goes ahead as a test says.
const begin = Math.round(performance.now())
let aheadMs = 0
performance.now = () => begin + aheadMs
t.afterEach(() => { aheadMs = 0 })

const question = { state: 's' } as Question
const callback = new URL('https://passerelle.example/callback/impots?code=x')
const good: Answer = { sub: 'sub', claims: { given_name: 'Angélique' } }

/** A provider that takes so long and answers as the test says; what is told of it. */
function desk (milliseconds: number, identify: () => Promise<Answer>) {
  const told: Array<[outcome: Failure | '', seconds: number]> = []
  const asked: unknown[][] = []
  const provider: IdentityProvider & { start (): string } = {
    standing: () => 'slow',
    authorizationUrl: async () => new URL('https://impots.example/authorize'),
    identify (...given: unknown[]) {
      asked.push(given)
      aheadMs += milliseconds
      return identify()
    },
    endSessionUrl: async () => undefined,
    probe: async () => 'well' as const,
    async close () {},
    start: () => 'started'
  }
  return { told, asked, seen: measured(provider, { identified: (outcome, seconds) => told.push([outcome, Math.round(seconds * 1000) / 1000]) }) }
}

t.test('each failure is told by its name, once, and thrown on as it is', async t => {
  for (const failure of Object.keys(failures) as Failure[]) {
    const error = new OAuthError(failure, 'x')
    const { told, seen } = desk(250, async () => { throw error })
    await t.rejects(seen.identify(callback, question), error)
    t.strictSame(told, [[failure, 0.25]])
  }
})

t.test('what nobody expected is told as unexpected, and thrown on as it is', async t => {
  for (const error of [new TypeError('x'), Object.assign(new Error('x'), { failure: 'provider_refused' }), 'provider_refused', undefined]) {
    const { told, seen } = desk(1500, async () => { throw error })
    t.equal(await seen.identify(callback, question).then(() => 'answered', (thrown: unknown) => thrown), error)
    t.strictSame(told, [['unexpected', 1.5]])
  }
  const { told, seen } = desk(10, () => { throw new OAuthError('provider_refused', 'x') })
  await t.rejects(seen.identify(callback, question), { name: 'OAuthError' })
  t.strictSame(told, [['provider_refused', 0.01]], 'nor does it matter when it is thrown')
})

t.test('a good answer is told without anything of it', async t => {
  const { told, seen } = desk(2000, async () => good)
  t.equal(await seen.identify(callback, question), good)
  t.strictSame(told, [['', 2]])
})

t.test('what was asked goes on as it came, and all else is left alone', async t => {
  const { told, asked, seen } = desk(0, async () => good)
  await seen.identify(callback, question)
  t.strictSame(asked, [[callback, question]])
  t.ok(await seen.authorizationUrl(question))
  t.strictSame([seen.standing(), seen.start(), await seen.probe(), told.length], ['slow', 'started', 'well', 1])
})
