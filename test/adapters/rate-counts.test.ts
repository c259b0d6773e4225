import t from 'tap'
import { rateCounts, type RateCountsOptions } from '../../src/adapters/rate-counts.ts'

/** Counts of a replica, its clock, and what it asked of the board. */
function replica (options: Partial<RateCountsOptions> = {}) {
  const clock = { now: 1000 }
  const asked: Array<[name: string, more: number, seconds: number]> = []
  const seen = { failed: 0, full: 0 }
  let others: number | undefined = 0
  const count = rateCounts({
    board: { async tally (name, more, seconds) { asked.push([name, more, seconds]); if (others !== undefined) others += more; return others } },
    nameOf: text => text,
    now: () => clock.now,
    onFailure: () => { seen.failed++ },
    onFull: () => { seen.full++ },
    ...options
  })
  return { count, clock, asked, seen, others (sum: number | undefined) { others = sum } }
}
const limit = { limit: 8, seconds: 1 }
async function times (count: ReturnType<typeof rateCounts>, name: string, many: number) {
  let last = 0
  for (let i = 0; i < many; i++) last = await count(name, limit)
  return last
}

t.test('a quarter of the limit is counted here; then the board is told all of it, and asked about each one more until it is too much', async t => {
  const { count, asked } = replica()
  t.equal(await times(count, 'a', 2), 2)
  t.same(asked, [])
  t.equal(await times(count, 'a', 6), 8)
  t.same(asked.map(([name, more, seconds]) => [name, more, seconds]), [['rate:1 1000 a', 3, 2], ...Array(5).fill(['rate:1 1000 a', 1, 2])])
  t.equal(await times(count, 'a', 10), 18)
  t.equal(asked.length, 6, 'of what is too much already nobody is asked')
})

t.test('of those who come at once each has its own place', async t => {
  const { count, asked } = replica()
  t.same(await Promise.all(Array.from({ length: 12 }, () => count('a', limit))), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
  t.equal(asked.length, 6)
})

t.test('what others counted is added, and known from then on', async t => {
  const { count, asked, others } = replica()
  await times(count, 'a', 2)
  others(20)
  t.equal(await times(count, 'a', 1), 23)
  t.equal(await times(count, 'a', 5), 23)
  t.equal(asked.length, 1)
})

t.test('a window begins anew, and each length of window is counted by itself', async t => {
  const { count, clock } = replica()
  t.equal(await times(count, 'a', 5), 5)
  t.equal(await count('a', { limit: 8, seconds: 60 }), 1)
  clock.now += 1
  t.equal(await count('a', limit), 1)
  t.equal(await count('a', { limit: 8, seconds: 60 }), 2)
})

t.test('a board that cannot say is left alone for a while: nobody waits for it, and what was counted here counts', async t => {
  const { count, asked, seen, others } = replica()
  others(undefined)
  t.equal(await times(count, 'a', 8), 8)
  t.equal(await times(count, 'b', 8), 8)
  t.same([asked.length, seen.failed], [1, 1])
})

t.test('a flood of names takes no more room than there is, is counted, and keeps nobody out who is known or comes in the next window', async t => {
  const { count, clock, seen } = replica({ most: 100 })
  for (let i = 0; i < 150; i++) t.equal(await count(`name ${i}`, limit), i < 100 ? 1 : 0)
  t.equal(seen.full, 50)
  t.equal(await count('name 0', limit), 2)
  clock.now += 1
  t.equal(await count('name 149', limit), 1)
})
