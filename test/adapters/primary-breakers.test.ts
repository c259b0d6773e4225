import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { primaryBreakers } from '../../src/adapters/primary-breakers.ts'
import { until } from '../support/redis.ts'

const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }
const fails = async () => { throw new Error('no connection') }
const hangs = () => new Promise<never>(() => {})
const answers = async () => 'well'

function breakersOf (t: { teardown (end: () => unknown): unknown }) {
  const breakers = primaryBreakers()
  t.teardown(() => breakers.close())
  return breakers
}
type Breakers = ReturnType<typeof primaryBreakers>
const open = async (breakers: Breakers, primary: string) => { for (let i = 0; i < 3; i++) await breakers.soon(primary, 1000, fails).catch(() => {}) }

t.test('a primary that does not answer soon is an outage, whatever it says later', async t => {
  const { soon } = breakersOf(t)
  await t.rejects(soon('one', 20, hangs), { ...unavailable, message: 'the store did not answer within 20 ms' })
  const { promise, reject } = Promise.withResolvers<never>()
  await t.rejects(soon('one', 20, () => promise), unavailable)
  reject(new Error('too late'))
  await pause(10)
})

t.test('a failure of any kind is an outage, and what it was is its cause', async t => {
  const { soon } = breakersOf(t)
  await t.rejects(soon('one', 1000, fails), { ...unavailable, cause: { message: 'no connection' } })
  await t.rejects(soon('one', 1000, () => { throw new Error('at once') }), unavailable)
})

t.test('once a few have failed in a second, nobody waits for it, and nobody for another one the less', async t => {
  const breakers = breakersOf(t)
  t.equal(breakers.isOpen('one'), false, 'of one that nothing was asked of nothing is known')
  await breakers.soon('one', 20, hangs).catch(() => {})
  await breakers.soon('one', 20, hangs).catch(() => {})
  t.equal(breakers.isOpen('one'), false, 'two are a few too few')
  await breakers.soon('one', 20, hangs).catch(() => {})
  t.equal(breakers.isOpen('one'), true)
  let asked = 0
  await t.rejects(breakers.soon('one', 60_000, async () => { asked++ }), { ...unavailable, message: 'a part of the store has not been answering' })
  t.equal(asked, 0)
  t.equal(breakers.isOpen('two'), false)
  t.equal(await breakers.soon('two', 1000, answers), 'well')
})

t.test('one that mostly answers is not left alone', async t => {
  const breakers = breakersOf(t)
  for (let i = 0; i < 4; i++) await breakers.soon('one', 1000, answers)
  await open(breakers, 'one')
  t.equal(breakers.isOpen('one'), false)
})

t.test('after a second one call tries it, while others still go elsewhere; one that answers ends it, one that does not begins it anew', async t => {
  const breakers = breakersOf(t)
  await open(breakers, 'one')
  await until('it may be tried', 5000, () => !breakers.isOpen('one'))
  const { promise, resolve } = Promise.withResolvers<string>()
  const trial = breakers.soon('one', 5000, () => promise)
  t.equal(breakers.isOpen('one'), true, 'the one is under way')
  await t.rejects(breakers.soon('one', 5000, answers), unavailable)
  resolve('well')
  t.equal(await trial, 'well')
  t.equal(breakers.isOpen('one'), false)
  t.equal(await breakers.soon('one', 1000, answers), 'well')

  const others = breakersOf(t)
  await open(others, 'one')
  await until('it may be tried', 5000, () => !others.isOpen('one'))
  await t.rejects(others.soon('one', 1000, fails), unavailable)
  t.equal(others.isOpen('one'), true, 'one failure is enough')
})

t.test('as many are remembered as a large cluster has, and no more: the oldest goes', async t => {
  const breakers = breakersOf(t)
  await open(breakers, 'one')
  for (let i = 0; i < 62; i++) await breakers.soon(`other ${i}`, 1000, answers)
  t.equal(breakers.isOpen('one'), true, 'sixty-two others')
  await breakers.soon('the last that there is room for', 1000, answers)
  t.equal(breakers.isOpen('one'), true)
  await breakers.soon('one more', 1000, answers)
  t.equal(breakers.isOpen('one'), false, 'forgotten')
})

t.test('what is asked after the end is refused', async t => {
  const breakers = primaryBreakers()
  await breakers.soon('one', 1000, answers)
  breakers.close()
  await t.rejects(breakers.soon('one', 1000, answers), unavailable)
})
