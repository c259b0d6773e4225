import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { asOneWait, slowMs, withinOneDeadline } from '../../src/adapters/one-deadline.ts'

/** A store that answers late, or at once; what each call was given to wait. */
function store () {
  const given: number[] = []
  return {
    given,
    ask: (answersAfterMs: number, deadlineMs = 2000) => withinOneDeadline(deadlineMs, async leftMs => {
      given.push(leftMs)
      await pause(answersAfterMs)
    })
  }
}
const slow = slowMs + 100

t.test('calls one after another that meet an outage share one end, whether they are answered or fail', async t => {
  const { given, ask } = store()
  await asOneWait(async () => {
    await ask(slow)
    await t.rejects(withinOneDeadline(2000, async leftMs => {
      given.push(leftMs)
      await pause(slow)
      throw new Error('no answer')
    }), { message: 'no answer' })
    await ask(0)
  })
  t.equal(given[0], 2000)
  t.ok(given[1]! <= 2000 - slow + 5, `${given[1]} ms`)
  t.ok(given[2]! <= 2000 - 2 * slow + 10, `${given[2]} ms, though a later call was slow as well`)
})

t.test('a store that is well again has time to say so, however long was waited, for it or for others', async t => {
  const { given, ask } = store()
  await asOneWait(async () => {
    await ask(slow, slow)
    await pause(slow)                                                    // an identity provider, meanwhile
    await ask(0, 2000)
    await ask(0, 100)
  })
  t.same(given.slice(1), [slowMs, 100], 'never less than a store that is well needs, nor more than the call by itself would wait')
})

t.test('what is answered soon takes nothing from what comes after', async t => {
  const { given, ask } = store()
  await asOneWait(async () => { for (let i = 0; i < 20; i++) await ask(20) })
  t.same(given, Array(20).fill(2000))
})

t.test('calls that are under way at once wait alike', async t => {
  const { given, ask } = store()
  await asOneWait(async () => {
    await Promise.all([ask(slow), ask(slow), ask(0)])
    await ask(0)
  })
  for (const leftMs of given.slice(0, 3)) t.ok(leftMs > 1990 && leftMs <= 2000, `${leftMs} ms`)
  t.ok(given[3]! <= 2000 - slow + 5)
})

t.test('what begins while another call still waits, ends with it', async t => {
  const { given, ask } = store()
  await asOneWait(async () => {
    const first = ask(3 * slow)
    await pause(slow)
    await ask(0)
    await first
    await pause(50)
    await ask(0, 4000)
  })
  t.ok(given[1]! <= 2000 - slow + 5, `${given[1]} ms`)
  t.ok(given[2]! <= 2000 - 3 * slow + 5, `${given[2]} ms`)
})

t.test('one request takes nothing from another, nor from what belongs to none', async t => {
  const { given, ask } = store()
  await asOneWait(() => ask(slow))
  await asOneWait(() => ask(0))
  await ask(slow)
  await ask(0)
  t.same(given, [2000, 2000, 2000, 2000])
  await asOneWait(async () => {
    await ask(slow)
    await asOneWait(() => ask(0))
  })
  t.equal(given.at(-1), 2000, 'what a request leaves behind it is a wait of its own')
})

t.test('who wants to know is told while it waits, once a wait that is slow', async t => {
  const { ask } = store()
  let told = 0
  await asOneWait(async () => {
    await ask(0)
    t.equal(told, 0)
    const slowly = Promise.all([ask(slow), ask(slow)])
    await pause(slowMs + 50)
    t.equal(told, 1)
    await slowly
    await ask(slow)
  }, () => { told++ })
  t.equal(told, 2)
})
