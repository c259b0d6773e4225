import t from 'tap'
import { lastKnown } from '../../src/adapters/last-known.ts'

// The clock of this process stands still, and goes ahead as a test says.
const begin = Math.round(performance.now())
let aheadMs = 0
performance.now = () => begin + aheadMs
t.afterEach(() => { aheadMs = 0 })

const seconds = 1000
const freshMs = 60 * seconds
const anHourMs = 3600 * seconds
const down = new Error('down')
/** What was begun has come as far as it can by itself. */
const settled = () => new Promise(resolve => setImmediate(resolve))

/** Somebody who is asked: what is said is one more each time, and comes when the test lets it. */
function desk (options: { oldMs?: number, endMs?: number, restore?: () => Promise<{ value: string, ageMs: number } | undefined> } = {}) {
  const state = { asked: 0, kept: [] as string[], answer: async () => {} }
  const known = lastKnown(async () => {
    const answer = `answer ${++state.asked}`
    await state.answer()
    return answer
  }, { freshMs, kept: value => state.kept.push(value), ...options })
  const fail = async () => { throw down }
  /** The next answers come when `come` is called, or fail by `fail`. */
  function later () {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    state.answer = () => promise
    return { come: resolve, fail: () => reject(down) }
  }
  return { state, ...known, fail, later, answers: () => { state.answer = async () => {} }, fails: () => { state.answer = fail } }
}
/** What it gives now, without waiting for anybody: 'waits' when it would. */
async function nowOf (answer: Promise<string>): Promise<string> {
  const waiting = settled().then(() => 'waits')
  return Promise.race([answer.catch((error: Error) => error.message), waiting])
}

// ---- asking

t.test('it is asked for when it is needed, once for all who wait, and not again while it is fresh', async t => {
  const { state, current, later } = desk()
  t.equal(state.asked, 0)
  const answer = later()
  const together = [current(), current(), current()]
  await settled()
  answer.come()
  t.strictSame(await Promise.all(together), Array(3).fill('answer 1'))
  aheadMs = freshMs - 1
  t.equal(await current(), 'answer 1')
  await settled()
  t.equal(state.asked, 1)
})

t.test('a first answer that fails is the failure of all who wait, and is not remembered', async t => {
  const { state, current, fails, answers } = desk()
  fails()
  for (const end of await Promise.allSettled([current(), current()])) t.match(end, { status: 'rejected', reason: down })
  await t.rejects(current(), down)
  t.equal(state.asked, 2)
  answers()
  t.equal(await current(), 'answer 3')
})

t.test('what is no longer fresh is asked for again behind everybody\'s back, once at a time', async t => {
  const { state, current, later, underWay } = desk()
  await current()
  aheadMs = freshMs
  const answer = later()
  t.strictSame([await nowOf(current()), await nowOf(current())], ['answer 1', 'answer 1'], 'nobody waits')
  t.strictSame([state.asked, underWay()], [2, true])
  aheadMs = 3 * freshMs
  t.equal(await nowOf(current()), 'answer 1', 'however long that takes')
  t.equal(state.asked, 2)
  answer.come()
  await settled()
  t.strictSame([await nowOf(current()), underWay()], ['answer 2', false])
  t.equal(state.asked, 2, 'fresh as of its answer')
})

t.test('while no other can be had the last good one serves on, and is asked for no more often', async t => {
  const { state, current, fails, answers } = desk({ oldMs: Infinity })
  await current()
  fails()
  for (let minute = 1; minute <= 600; minute++) {
    for (const ms of [0, 1, freshMs - 1]) {
      aheadMs = minute * freshMs + ms
      t.equal(await current(), 'answer 1', `${minute} min ${ms} ms`)
      await settled()
    }
  }
  t.equal(state.asked, 601)
  answers()
  aheadMs = 601 * freshMs
  await current()
  await settled()
  t.equal(await current(), 'answer 602')
})

t.test('after an hour in which nobody asked, whoever needs it waits for the answer first, and so do all who come meanwhile', async t => {
  const { state, current, later } = desk()
  await current()
  aheadMs = anHourMs - 1
  const early = later()
  t.equal(await nowOf(current()), 'answer 1', 'an hour less a millisecond')
  early.come()
  await settled()
  aheadMs += anHourMs
  const answer = later()
  const [first, second] = [current(), current()]
  t.strictSame([await nowOf(first), await nowOf(second)], ['waits', 'waits'])
  answer.come()
  t.strictSame([await first, await second], ['answer 3', 'answer 3'])
  t.strictSame([await nowOf(current()), state.asked], ['answer 3', 3])
})

t.test('who waits for another and gets none is given the last good one', async t => {
  const { state, current, later } = desk({ oldMs: 5 * freshMs })
  await current()
  aheadMs = 5 * freshMs
  const answer = later()
  const waiting = [current(), current()]
  answer.fail()
  t.strictSame(await Promise.all(waiting), ['answer 1', 'answer 1'])
  t.strictSame([await nowOf(current()), state.asked], ['answer 1', 2], 'and nobody waits again at once')
})

t.test('it can be asked for now, by all who want that together', async t => {
  const { state, current, renew, later, fails, underWay } = desk()
  await current()
  const answer = later()
  const together = [renew(), renew()]
  t.strictSame([state.asked, underWay(), await nowOf(current())], [2, true, 'answer 1'])
  answer.come()
  t.strictSame(await Promise.all(together), ['answer 2', 'answer 2'])
  t.strictSame([await current(), underWay()], ['answer 2', false])
  fails()
  await t.rejects(renew(), down, 'who asks is told that it failed')
  t.strictSame([await current(), underWay()], ['answer 2', false], 'and the last good one serves on')
})

t.test('who needs it for the first time waits for an answer that is on its way already', async t => {
  const { state, current, renew, later } = desk()
  const answer = later()
  const [asked, needed] = [renew(), current()]
  await settled()
  answer.come()
  t.strictSame([await asked, await needed, state.asked], ['answer 1', 'answer 1', 1])
})

// ---- its end

t.test('at its end it is worth nothing, however often another was asked for in vain', async t => {
  const { state, current, fails, answers } = desk({ oldMs: Infinity, endMs: 10 * freshMs })
  await current()
  fails()
  for (let minute = 1; minute < 10; minute++) {
    aheadMs = minute * freshMs
    t.equal(await current(), 'answer 1')
    await settled()
  }
  aheadMs = 10 * freshMs - 1
  t.equal(await current(), 'answer 1')
  aheadMs = 10 * freshMs
  const { asked } = state
  for (let i = 1; i <= 3; i++) {
    await t.rejects(current(), down)
    t.equal(state.asked, asked + i, 'each who needs it asks')
  }
  answers()
  t.equal(await current(), `answer ${asked + 4}`)
  aheadMs += 10 * freshMs - 1
  t.equal(await nowOf(current()), `answer ${asked + 4}`, 'and has a life of its own')
})

t.test('at its end all who wait ask once', async t => {
  const { state, current, later } = desk({ endMs: 10 * freshMs })
  await current()
  aheadMs = 10 * freshMs
  const answer = later()
  const together = [current(), current(), current()]
  answer.come()
  t.strictSame([await Promise.all(together), state.asked], [Array(3).fill('answer 2'), 2])
})

t.test('what is being asked for already, or was asked for in vain a moment ago, is not asked for once more in the background', async t => {
  const { state, current, renew, fails } = desk()
  await current()
  aheadMs = freshMs
  fails()
  await t.rejects(renew(), down)
  t.strictSame([await nowOf(current()), state.asked], ['answer 1', 2])
  aheadMs = 2 * freshMs - 1
  t.strictSame([await nowOf(current()), state.asked], ['answer 1', 2])
  aheadMs = 2 * freshMs
  t.strictSame([await nowOf(current()), state.asked], ['answer 1', 3])
})

t.test('whether there is any can be seen without asking', async t => {
  const { state, current, isKnown, fails, answers } = desk({ endMs: 10 * freshMs })
  t.equal(isKnown(), false)
  fails()
  await t.rejects(current(), down)
  t.equal(isKnown(), false)
  answers()
  await current()
  t.equal(isKnown(), true)
  t.equal(state.asked, 2)
})

// ---- what somebody else knew

t.test('who knows nothing takes over what somebody else was told, and asks nobody while that is fresh', async t => {
  let restored = 0
  const { state, current, takeOver, isKnown } = desk({ restore: async () => { restored++; return { value: 'theirs', ageMs: 10 * seconds } } })
  await Promise.all([takeOver(), takeOver()])
  t.strictSame([await current(), await current(), isKnown()], ['theirs', 'theirs', true])
  aheadMs = freshMs - 10 * seconds - 1
  t.equal(await current(), 'theirs')
  await settled()
  t.strictSame([state.asked, restored], [0, 1])
  aheadMs = freshMs - 10 * seconds
  t.equal(await current(), 'theirs', 'as old as it was there')
  await settled()
  t.strictSame([state.asked, restored, await current()], [1, 1, 'answer 1'])
})

t.test('whoever needs it while it is being taken over waits for that, and else nobody looks anywhere', async t => {
  const { promise, resolve } = Promise.withResolvers<{ value: string, ageMs: number }>()
  let restored = 0
  const { state, current, takeOver } = desk({ restore: () => { restored++; return promise } })
  const taking = takeOver()
  const waiting = [current(), current()]
  t.strictSame([await nowOf(waiting[0]!), state.asked], ['waits', 0])
  resolve({ value: 'theirs', ageMs: 0 })
  await taking
  t.strictSame([await Promise.all(waiting), state.asked, restored], [['theirs', 'theirs'], 0, 1])

  const alone = desk({ restore: () => { restored++; return promise } })
  t.equal(await alone.current(), 'answer 1')
  t.equal(restored, 1)
})

t.test('what somebody else was told long ago is waited beyond, and at its end worth nothing', async t => {
  const table: Array<[ageMs: number, isDown: boolean, had: string]> = [
    [anHourMs - 1, false, 'theirs'],
    [anHourMs, false, 'answer 1'],
    [anHourMs, true, 'theirs'],
    [2 * anHourMs - 1, true, 'theirs'],
    [2 * anHourMs, true, 'down'],
    [2 * anHourMs, false, 'answer 1'],
    [-10 * seconds, true, 'theirs']                                    // a clock that is ahead of ours
  ]
  for (const [ageMs, isDown, had] of table) {
    const { state, current, takeOver, fails } = desk({ endMs: 2 * anHourMs, restore: async () => ({ value: 'theirs', ageMs }) })
    if (isDown) fails()
    await takeOver()
    t.equal(await current().catch((error: Error) => error.message), had, `${ageMs} ms ${isDown ? 'down' : ''}`)
    t.ok(state.asked <= 1)
  }
})

t.test('where nobody else knows, or it cannot be read, there is nothing to take over, until there is', async t => {
  for (const restore of [async () => undefined, async () => { throw new Error('unread') }]) {
    const found: Array<{ value: string, ageMs: number }> = []
    const { state, current, takeOver, fails, isKnown } = desk({ restore: async () => found[0] ?? restore() })
    fails()
    for (let i = 1; i <= 2; i++) {
      await takeOver()
      t.equal(isKnown(), false)
      await t.rejects(current(), down)
      t.equal(state.asked, i)
    }
    found.push({ value: 'theirs', ageMs: 0 })
    await takeOver()
    t.strictSame([await current(), state.asked], ['theirs', 2])
  }
  const nowhere = desk()
  await nowhere.takeOver()
  t.strictSame([nowhere.isKnown(), await nowhere.current()], [false, 'answer 1'])
})

t.test('what is had meanwhile, or was known already, is newer than what somebody else knew', async t => {
  const { promise, resolve } = Promise.withResolvers<{ value: string, ageMs: number }>()
  let restored = 0
  const { current, renew, takeOver } = desk({ restore: () => { restored++; return promise } })
  const taking = takeOver()
  t.equal(await renew(), 'answer 1')
  t.equal(await nowOf(current()), 'answer 1', 'nobody waits for what is older')
  resolve({ value: 'theirs', ageMs: 0 })
  await taking
  t.equal(await current(), 'answer 1')
  await takeOver()
  t.strictSame([await current(), restored], ['answer 1', 1])
})

t.test('what is an hour old gives way to what somebody else was told since, and to nothing older', async t => {
  for (const [ageMs, had] of [[0, 'theirs'], [2 * anHourMs, 'answer 1']] as const) {
    aheadMs = 0
    let restored = 0
    const { current, takeOver, fails } = desk({ oldMs: anHourMs, restore: async () => { restored++; return { value: 'theirs', ageMs } } })
    await current()
    fails()
    aheadMs = anHourMs - 1
    await takeOver()
    t.equal(restored, 0, 'a moment before nobody else is asked')
    aheadMs = anHourMs
    await takeOver()
    t.equal(restored, 1)
    t.equal(await current().catch((error: Error) => error.message), had, `${ageMs} ms old`)
  }
})

// ---- telling

t.test('each answer that is had is told once, no failure is, and nothing that somebody else knew', async t => {
  const { state, current, renew, takeOver, fails, answers } = desk({ restore: async () => ({ value: 'theirs', ageMs: 0 }) })
  await takeOver()
  await current()
  t.strictSame(state.kept, [])
  await Promise.all([renew(), renew(), current()])
  t.strictSame(state.kept, ['answer 1'])
  fails()
  await t.rejects(renew(), down)
  aheadMs = freshMs
  await current()
  await settled()
  t.strictSame(state.kept, ['answer 1'])
  answers()
  aheadMs = 2 * freshMs
  await current()
  await settled()
  t.strictSame(state.kept, ['answer 1', 'answer 4'])
})

t.test('nothing is an answer, too', async t => {
  let asked = 0
  const { current } = lastKnown(async () => { asked++ }, { freshMs })
  for (let i = 0; i < 3; i++) t.equal(await current(), undefined)
  t.equal(asked, 1)
})
