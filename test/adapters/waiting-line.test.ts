import t from 'tap'
import type { Rank } from '../../src/adapters/load-gauge.ts'
import type { LoginBudget } from '../../src/adapters/login-budget.ts'
import { waitingLine } from '../../src/adapters/waiting-line.ts'

// By a clock that stands still, and turns of the event loop that come when they are called.

const atATurn = 6
const unlimited: LoginBudget = { left: () => Infinity, begin () {}, end () {}, work () {}, pace: Infinity }

function lineOf ({ delayMs = 40, most = 1000, budget = unlimited } = {}) {
  let at = 0
  const next: Array<() => void> = []
  const seen = { in: [] as Rank[], away: [] as Rank[] }
  const scheduled = { turns: 0, timers: 0 }
  const line = waitingLine({ delayMs, most, budget }, () => at, run => { scheduled.turns++; next.push(run) }, run => { scheduled.timers++; next.push(run) })
  const come = (rank: Rank, count = 1) => { for (let n = 0; n < count; n++) line.join(rank, isLetIn => seen[isLetIn ? 'in' : 'away'].push(rank) > 0) }
  const turns = (count: number, milliseconds: number) => {
    for (let n = 0; n < count; n++) {
      at += milliseconds
      for (const run of next.splice(0)) run()
    }
  }
  /** What has become of whom since that was asked last. */
  const whatHasBecome = () => {
    const { in: letIn, away } = seen
    Object.assign(seen, { in: [], away: [] })
    return { in: letIn, away }
  }
  return {
    line,
    scheduled,
    /** So many come. */
    come,
    /** So long into a turn. */
    within (milliseconds: number) { at += milliseconds },
    /** One turn of the loop after another, each so long. */
    turns,
    seen: whatHasBecome,
    /** Some are sent away, and nobody waits any more. */
    crowd () {
      come('beginning', 2 * most)
      while (line.waiting > 0) turns(1, 3)
      turns(1, 3)
      at += 300
      whatHasBecome()
    }
  }
}
const times = (rank: Rank, count: number) => Array<Rank>(count).fill(rank)

t.test('a few are let in at once; of more at one turn the others are at the next ones', async t => {
  for (const rank of ['beginning', 'published', 'ending', 'under_way'] as const) {
    const { line, come, turns, seen } = lineOf()
    come(rank, atATurn)
    t.same(seen(), { in: times(rank, atATurn), away: [] })
    come(rank, atATurn + 1)
    t.same(seen(), { in: [], away: [] })
    t.equal(line.waiting, atATurn + 1)
    turns(1, 5)
    t.same(seen(), { in: times(rank, atATurn), away: [] })
    turns(1, 5)
    t.same(seen(), { in: [rank], away: [] })
    t.equal(line.waiting, 0)
    turns(1, 5)
    come(rank)
    t.same(seen(), { in: [rank], away: [] })
  }
})

t.test('whose login comes to its end goes before those under way, and they before those who begin; what is published goes beside them, last is who asks for nothing', async t => {
  const { come, turns, seen } = lineOf()
  come('beginning', atATurn)
  seen()
  for (const rank of ['nowhere', 'published', 'beginning', 'under_way', 'ending'] as const) come(rank, 5)
  turns(1, 1)
  t.same(seen().in, [...times('ending', 5), ...times('under_way', 1), ...times('published', 2)])
  come('ending', 1)
  turns(1, 1)
  t.same(seen().in, [...times('ending', 1), ...times('under_way', 4), ...times('beginning', 1), ...times('published', 2)])
  turns(1, 1)
  t.same(seen().in, [...times('beginning', 4), ...times('published', 1), ...times('nowhere', 1)])
})

t.test('who came first is first, and no newcomer passes who waits', async t => {
  const { line, turns } = lineOf()
  const order: string[] = []
  for (let n = 0; n < atATurn + 9; n++) line.join('ending', () => order.push(String(n)) > 0)
  turns(1, 1)
  line.join('ending', () => order.push('later') > 0)
  turns(2, 1)
  t.same(order, [...Array.from({ length: atATurn + 9 }, (_, n) => String(n)), 'later'])
})

t.test('nor does a newcomer pass in a turn that has room left: whoever waits for time has it first', async t => {
  let left = 0
  const { line, come, seen } = lineOf({ budget: { ...unlimited, left: () => left, begin () { left-- }, pace: 1 } })
  come('beginning', 3)
  left = 1
  come('beginning')
  come('nowhere')
  t.same(seen(), { in: [], away: [] })
  t.equal(line.waiting, 5)
  come('under_way')
  t.same(seen(), { in: ['under_way'], away: [] }, 'who is on the way waits for nobody who begins')
})

t.test('while more wait than a turn lets in the next one comes at once, and none when nobody waits', async t => {
  const { come, turns, scheduled } = lineOf()
  come('ending', 3 * atATurn)
  turns(10, 5)
  t.same(scheduled, { turns: 3, timers: 0 })
})

t.test('whoever would not be let in soon is told at once, and so are those who wait when it turns out that they will not', async t => {
  const { come, turns, seen, crowd } = lineOf()
  crowd()
  come('beginning', 100)
  t.same(seen(), { in: times('beginning', atATurn), away: times('beginning', 100 - atATurn - 21) }, 'as many wait as are let in in 20 ms')
  come('ending', atATurn)
  turns(1, 10)
  t.same(seen(), { in: times('ending', atATurn), away: times('beginning', 6) }, 'of whom some do not, since others come')
  turns(3, 3)
  t.same(seen(), { in: times('beginning', 15), away: [] }, 'and the others did not wait in vain')
})

t.test('how soon that is goes by how long turns take, whenever in a turn they come', async t => {
  const { come, turns, within, seen, crowd } = lineOf()
  crowd()
  come('beginning', 40)
  for (let n = 0; n < 10; n++) {
    seen()
    within(15)
    come('beginning', 40)
    turns(1, 5)
  }
  t.same(seen(), { in: times('beginning', atATurn), away: times('beginning', 40 - atATurn) }, 'of six in 20 ms so many more are let in in that time')
})

t.test('nobody new waits for longer than a citizen would not notice, those who are on the way as long as it takes, within limits', async t => {
  for (const [rank, afterMs] of [['nowhere', 20], ['beginning', 20], ['under_way', 2000], ['ending', 2000]] as const) {
    const { come, turns, seen, crowd } = lineOf()
    crowd()
    come('ending', 900)
    come(rank)
    let turned = 0
    do {
      come('ending', rank === 'ending' ? 0 : atATurn)
      turns(1, rank === 'ending' ? 20 : 10)
      turned++
    } while (!seen().away.includes(rank) && turned < 1000)
    t.equal(turned * (rank === 'ending' ? 20 : 10), afterMs, rank)
  }
})

t.test('of those who ask for nothing few are let in or told so at a turn, however long they have waited', async t => {
  const { come, turns, seen } = lineOf()
  come('ending', atATurn)
  come('nowhere', 100)
  seen()
  turns(1, 200)
  t.same(seen(), { in: times('nowhere', 2), away: times('nowhere', 8) })
  come('ending', atATurn + 4)
  turns(1, 1)
  t.same(seen(), { in: times('ending', atATurn + 4), away: times('nowhere', 8) })
})

t.test('no more than so many of one rank wait', async t => {
  const { line, come, seen, crowd } = lineOf({ most: 10 })
  crowd()
  come('ending', atATurn)
  for (const [rank, most] of [['nowhere', 10], ['beginning', 11], ['under_way', 10], ['ending', 10]] as const) {
    seen()
    come(rank, 12)
    t.same(seen(), { in: [], away: times(rank, 12 - most) })
  }
  t.equal(line.waiting, 41)
})

t.test('with nobody else there, no more begin than the budget allows; it is told of each', async t => {
  let left = 3
  const budget = { ...unlimited, left: () => left, begin () { left-- }, pace: 0.1 }
  const { come, turns, seen, scheduled } = lineOf({ budget })
  come('beginning', 40)
  t.same(seen(), { in: times('beginning', 3), away: times('beginning', 12) }, 'three and 24 more will be let in in 240 ms')
  t.equal(left, 0)
  come('ending', 2)
  t.same(seen(), { in: times('ending', 2), away: [] }, 'who is on the way goes on, and waits for nobody')
  turns(1, 1)
  left = 2
  turns(1, 1)
  t.same(seen().in, times('beginning', 2))
  t.equal(left, 0)
  const { turns: spent } = scheduled
  turns(10, 1)
  t.equal(scheduled.turns, spent, 'whoever waits for time does not keep the loop busy')
  left = 1
  turns(1, 1)
  t.same(seen().in, ['beginning'])
})

t.test('who has gone while he waited begins no login', async t => {
  let begun = 0
  const { line, turns } = lineOf({ budget: { ...unlimited, begin () { begun++ } } })
  for (let n = 0; n < atATurn + 4; n++) line.join('beginning', () => n % 2 === 0)
  turns(1, 1)
  t.equal(begun, (atATurn + 4) / 2)
})

t.test('however much waits, nobody waits for longer than balancers do', async t => {
  const { come, turns, seen } = lineOf({ delayMs: 10_000, most: 5000 })
  come('ending', 5000)
  turns(199, 50)
  t.same(seen().away, [])
  turns(1, 50)
  t.equal(seen().away.length, 5000 - 201 * atATurn)
})

t.test('of a pause of the whole process nobody is sent away: it is no load, whoever waited before it, and whoever comes after it', async t => {
  for (const rank of ['beginning', 'under_way', 'ending'] as const) {
    const { come, turns, seen } = lineOf()
    come(rank, 20)
    turns(1, 5000)
    come(rank, 20)
    turns(10, 5)
    t.same(seen(), { in: times(rank, 40), away: [] })
  }
})

t.test('those who begin all at once, where nobody was sent away for a while, are let in one after another; what lasts is no such thing', async t => {
  const { come, turns, within, seen } = lineOf()
  come('beginning', 100)
  turns(20, 5)
  t.same(seen(), { in: times('beginning', 100), away: [] })
  for (let n = 0; n < 24; n++) {
    come('beginning', 12)
    turns(1, 10)
  }
  const { in: letIn, away } = seen()
  t.equal(letIn.length, 25 * atATurn, 'nobody who waited did so in vain')
  t.ok(away.length > 100, `${away.length} were told at once`)
  for (let n = 0; n < 100; n++) {
    come('beginning', 12)
    turns(1, 10)
  }
  seen()
  come('beginning', 100)
  t.ok(seen().away.length > 80, 'while it lasts few wait')
  turns(20, 5)
  within(1900)
  come('beginning', 100)
  t.ok(seen().away.length > 50, 'and for a while after it')
  turns(20, 5)
  within(2100)
  come('beginning', 100)
  turns(20, 5)
  t.same(seen().away, [])
})

t.test('such a surge is of those who begin: nobody else makes it, ends it or has a part in it', async t => {
  const { come, turns, seen } = lineOf({ most: 100 })
  come('ending', atATurn)
  come('nowhere', 150)
  come('beginning', 60)
  t.same(seen(), { in: times('ending', atATurn), away: times('nowhere', 50) }, 'who asks for nothing and was sent away is no reason')
  turns(4, 5)
  t.same(seen(), { in: times('beginning', 4 * atATurn), away: times('nowhere', 8) })

  const other = lineOf()
  other.come('ending', atATurn)
  other.come('beginning')
  let turned = 0
  do {
    other.come('ending', atATurn)
    other.turns(1, 10)
    turned++
  } while (!other.seen().away.includes('beginning') && turned < 1000)
  t.equal(turned * 10, 240)
})

t.test('the time that is waited goes by the delay that is allowed', async t => {
  const { come, turns, seen, crowd } = lineOf({ delayMs: 1000 })
  crowd()
  come('beginning', 370)
  turns(62, 8)
  t.same(seen(), { in: times('beginning', 370), away: [] })
})
