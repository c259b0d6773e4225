import t from 'tap'
import { loginBudget } from '../../src/adapters/login-budget.ts'

// By a clock of its own, and a loop that is busy for as long as is said.

const stepMs = 10
const secondMs = 1000

function budgetOf () {
  let [at, busy, work] = [0, 0, 0]
  const budget = loginBudget(() => at, () => busy)
  return {
    budget,
    /** Seconds in which so many want to begin in a second; each costs so long, and so much of the loop is taken by others. As many as began in the last of them. */
    pass (seconds: number, { wanted, costMs, others = 0 }: { wanted: number, costMs: number, others?: number }) {
      let [due, begun] = [0, 0]
      for (let n = 0; n < seconds * secondMs / stepMs; n++) {
        if (n % (secondMs / stepMs) === 0) begun = 0
        at += stepMs
        due += wanted * stepMs / secondMs
        const count = work >= stepMs ? 0 : Math.min(Math.floor(due + 1e-6), budget.left())   // who is on the way goes first
        due -= Math.floor(due + 1e-6)
        budget.begin(count)
        begun += count
        work += count * costMs + others * stepMs
        busy += Math.min(stepMs, work)
        work = Math.max(0, work - stepMs)
      }
      return begun
    }
  }
}

t.test('before anything is known a hundred in a second and a tenth more begin, and of these a quarter of a second\'s at once', async t => {
  const { budget, pass } = budgetOf()
  t.equal(budget.left(), 27)
  budget.begin(27)
  t.equal(budget.left(), 0)
  const begun = pass(1, { wanted: 1000, costMs: 8 })
  t.ok(begun > 105 && begun < 130, String(begun))
})

t.test('however many come, as many begin as a slow machine can bring to their end', async t => {
  const { pass } = budgetOf()
  const begun = pass(120, { wanted: 1000, costMs: 25 })
  t.ok(begun >= 38 && begun <= 42, String(begun))
})

t.test('a fast machine lets in more and more, until it is busy', async t => {
  const { pass } = budgetOf()
  t.ok(pass(1, { wanted: 400, costMs: 2 }) < 200)
  t.equal(pass(60, { wanted: 400, costMs: 2 }), 400)
})

t.test('what it can bear nobody waits for', async t => {
  const { pass } = budgetOf()
  for (const wanted of [1, 20, 90]) t.equal(pass(60, { wanted, costMs: 5, others: 0.2 }), wanted)
})

t.test('a crowd that only begins, and goes on later, is let in little faster than one that goes on at once', async t => {
  const { pass } = budgetOf()
  pass(120, { wanted: 50, costMs: 10 })
  const begun = pass(10, { wanted: 1000, costMs: 3 })
  t.ok(begun < 2 * 100, `${begun} of 1000, where 100 can be brought to their end`)
})

t.test('a flood beside them does not take their place for good: as many as began may begin, and when it is over more', async t => {
  const { pass } = budgetOf()
  pass(60, { wanted: 50, costMs: 5 })
  t.equal(pass(300, { wanted: 50, costMs: 5, others: 0.75 }), 50)
  t.equal(pass(2, { wanted: 60, costMs: 5 }), 60)
  t.equal(pass(60, { wanted: 150, costMs: 5 }), 150)
})

t.test('after a night without anybody it is as at first', async t => {
  const { budget, pass } = budgetOf()
  pass(60, { wanted: 10, costMs: 100 })
  t.ok(budget.pace < 0.1)
  pass(3600, { wanted: 0, costMs: 0, others: 0.001 })
  t.equal(budget.left(), 27)
})

t.test('where a loop has been busy for long with other things, somebody may begin all the same', async t => {
  const { budget, pass } = budgetOf()
  pass(3600, { wanted: 0, costMs: 0, others: 1 })
  t.equal(budget.left(), 1)
})
