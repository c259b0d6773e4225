import t from 'tap'
import { loginBudget, type Work } from '../../src/adapters/login-budget.ts'

// By a clock of its own, and a loop that is busy for as long as is said. Who comes back from a provider goes before who begins, as in the line.

const stepMs = 10

interface Machine {
  /** what it costs to begin a login, and to bring it to its end, in milliseconds */
  beginMs?: number
  endMs?: number
  /** milliseconds at the identity provider, and the part of them that comes back */
  staysMs?: number
  comesBack?: number
  /** the part of the loop that other requests take */
  others?: number
}

function budgetOf ({ beginMs = 2, endMs = 8, staysMs = 0, comesBack = 1, others: usual = 0 }: Machine = {}) {
  let [at, busy, behindMs] = [0, 0, 0]
  const budget = loginBudget(() => at, () => busy)
  const coming: Array<{ at: number, count: number }> = []
  return {
    budget,
    /** Seconds in which so many want to begin in a second; how many did, in the second half of them, and by how much those who come back have to wait at most. */
    pass (seconds: number, wanted: number, { others = usual } = {}) {
      let [due, begun, worst] = [0, 0, 0]
      for (let n = 0; n < seconds * 1000 / stepMs; n++) {
        if (n === seconds / 2 * 1000 / stepMs) begun = 0
        at += stepMs
        while (coming[0] !== undefined && coming[0].at <= at) {
          const { count } = coming.shift()!
          behindMs += count * endMs
          for (let i = 0; i < count * 5; i++) budget.work('login')
          for (let i = 0; i < count; i++) budget.end()
        }
        behindMs += others * stepMs
        for (let i = 0; i < others * stepMs; i++) budget.work('other')
        worst = Math.max(worst, behindMs)
        due += wanted * stepMs / 1000
        const whole = Math.floor(due + 1e-6)
        due -= whole
        const count = behindMs >= stepMs ? 0 : Math.min(whole, budget.left())
        for (let i = 0; i < count; i++) {
          budget.begin()
          budget.work('login')
        }
        behindMs += count * beginMs
        begun += count
        if (count > 0) coming.push({ at: at + staysMs, count: count * comesBack })
        busy += Math.min(stepMs, behindMs)
        behindMs = Math.max(0, behindMs - stepMs)
      }
      return { begun: Math.round(begun / (seconds / 2)), worst }
    },
    /** Nobody asks for so long, in which the loop is busy for this part. */
    sleep (seconds: number, busyShare: number) {
      at += seconds * 1000
      busy += seconds * 1000 * busyShare
    }
  }
}

t.test('before anything is known a hundred in a second and a quarter more begin, and of these half a second\'s at once', async t => {
  const { budget, pass } = budgetOf({ beginMs: 0.1 })
  t.equal(budget.left(), 62)
  for (let n = 0; n < 62; n++) budget.begin()
  t.equal(budget.left(), 0)
  const { begun } = pass(1, 1000)
  t.ok(begun > 90 && begun < 150, String(begun))
})

t.test('however many come, as many begin as a slow machine can bring to their end', async t => {
  const { begun } = budgetOf({ beginMs: 5, endMs: 20 }).pass(120, 1000)
  t.ok(begun >= 38 && begun <= 42, String(begun))
})

t.test('a fast machine lets in more and more, until it is busy', async t => {
  const { pass } = budgetOf({ beginMs: 0.5, endMs: 1.5 })
  t.ok(pass(1, 400).begun < 250)
  const { begun } = pass(120, 400)
  t.ok(begun > 390, String(begun))
})

t.test('what it can bear nobody waits for, whatever else it does', async t => {
  for (const others of [0, 0.2, 0.7]) {
    for (const wanted of [1, 20, 90]) {
      const { budget, pass } = budgetOf({ beginMs: 0.5, endMs: 2, others })
      t.equal(pass(60, wanted).begun, wanted, `${wanted} a second, others take ${others}`)
      t.ok(budget.left() >= 20, 'and many more may come at once')
    }
  }
})

t.test('a crowd does not meet itself when it comes back, however long it stays at its providers', async t => {
  for (const staysMs of [1000, 10_000, 45_000, 90_000]) {
    for (const before of [0, 300]) {
      const { pass } = budgetOf({ beginMs: 0.6, endMs: 2.4, staysMs })
      pass(before, 50)
      const { worst, begun } = pass(300, 3000)
      t.ok(worst < 1000, `${staysMs / 1000} s, ${before} s before: ${Math.round(worst)} ms at most`)
      t.ok(begun > 200, `of 333 that can be brought to their end ${begun} begin`)
    }
  }
})

t.test('where half of those who begin never come back, more begin', async t => {
  const { pass } = budgetOf({ beginMs: 2, endMs: 8, comesBack: 0.5, staysMs: 5000 })
  pass(600, 30)
  const { begun, worst } = pass(300, 1000)
  t.ok(begun > 120 && worst < 1000, `${begun} of 166 that can be borne, ${Math.round(worst)} ms at most`)
})

t.test('a flood of what is no login does not take the place of logins for good', async t => {
  const { pass } = budgetOf({ beginMs: 1, endMs: 4 })
  pass(60, 50)
  t.equal(pass(300, 50, { others: 0.7 }).begun, 50)
  t.equal(pass(2, 60).begun, 60)
  t.equal(pass(60, 150).begun, 150)
})

/** Logins in a second that a loop that is always busy believes in, where in each tenth of a second two end beside so many others. */
function believed (what: Work, count: number) {
  let [at, busy] = [0, 0]
  const budget = loginBudget(() => at, () => busy)
  for (let n = 0; n < 1200; n++) {
    for (let i = 0; i < 10; i++) budget.work('login')
    for (let i = 0; i < 2; i++) budget.end()
    for (let i = 0; i < count; i++) budget.work(what)
    for (let i = 0; i < 10; i++) {
      at += 10
      busy += 10
      budget.left()
    }
  }
  return Math.round(budget.pace * 1000)
}

t.test('what a login costs is learnt from all that was done meanwhile, however often the budget is looked at; who is told to come again costs a quarter of what others do', async t => {
  const alone = believed('other', 0)
  t.ok(alone > 25 && alone < 35, `${alone}: 20 in a second, with what was assumed and what is hoped`)
  const beside = believed('other', 10)
  t.ok(beside > 50 && beside < 65, `${beside}: half of the loop bears 20`)
  t.equal(believed('refusal', 40), beside)
})

t.test('those who never come to an end earn a quarter of the loop, and nobody is refused while they take less', async t => {
  const many = budgetOf({ beginMs: 0.6, comesBack: 0 })
  const { begun } = many.pass(300, 3000)
  t.ok(begun > 300 && begun < 420, `${begun} a second, of 0.6 ms each`)
  for (const wanted of [50, 150, 300]) {
    for (const comesBack of [0, 0.05, 0.5]) {
      const { pass } = budgetOf({ beginMs: 0.6, endMs: 2.4, comesBack, staysMs: 5000 })
      pass(120, 50)
      pass(60, (50 + wanted) / 2)
      t.equal(pass(60, wanted).begun, wanted, `${wanted} a second, of whom ${comesBack * 100} % come back`)
    }
  }
})

t.test('after a night, or a long stop, somebody may begin at once', async t => {
  for (const [seconds, busyShare] of [[3600, 0.02], [8 * 3600, 0.01], [600, 1], [900, 0.1]] as const) {
    const { budget, pass, sleep } = budgetOf()
    pass(60, 10)
    sleep(seconds, busyShare)
    t.ok(budget.left() > 20, `${budget.left()} after ${seconds} s`)
  }
})
