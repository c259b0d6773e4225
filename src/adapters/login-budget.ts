import { performance } from 'node:perf_hooks'

/** What is taken for experience beside our own: so many logins in so many milliseconds of a busy loop. A machine that has had nothing to do for long goes by it. */
const assumed = { logins: 200, busyMs: 2000 }
/** Milliseconds after which experience counts for a third: a machine warms up, a crowd of strangers goes away. */
const memoryMs = 30_000
/** so much more than was experienced is tried: else what was once little would stay so, and not all who begin come to an end */
const hope = 1.25
/** Of those who begin this part counts as ended, even where it does not come back: about what it costs to begin, of a whole login. So nobody is refused by a loop that has little to do, and those let in too soon are few. */
const leastEnding = 1 / 5
/** The logins of so many milliseconds may begin at once. */
const burstMs = 500
/** How often the loop is looked at, in milliseconds; over a longer time nobody wanted to begin, or we were stopped, and there is nothing to learn. */
const lookMs = 100
const longMs = 2000

/** a part of a login, something else that is asked for, or somebody told to come again; which costs a part of what the others do */
export type Work = 'login' | 'other' | 'refusal'
const costOfRefusal = 1 / 4

export type LoginBudget = ReturnType<typeof loginBudget>

/**
 * How many logins may begin: as many as can come to their end. What one costs, with all its requests, is learnt from how long the event loop was busy while so many ended. Without it a crowd would be let in as
 * fast as it can begin, which is a small part of a login, and would meet itself when it comes back from the identity providers.
 */
export function loginBudget (now = () => performance.now(), busyMs = () => performance.eventLoopUtilization().active) {
  const seen = { begun: 0, ended: 0, busyMs: 0 }
  const fresh = { begun: 0, ended: 0, ofLogins: 0, others: 0 }
  let [lookedAt, busyBefore] = [now(), busyMs()]
  let [filledAt, left] = [lookedAt, Infinity]

  function look (at: number) {
    const passed = at - lookedAt
    const busy = busyMs()
    const { begun, ended, ofLogins, others } = fresh
    const kept = Math.exp(-passed / memoryMs)
    const counts = passed < longMs ? 1 : 0
    seen.begun = seen.begun * kept + begun * counts
    seen.ended = seen.ended * kept + ended * counts
    seen.busyMs = seen.busyMs * kept + (busy - busyBefore) * ofLogins / Math.max(1, ofLogins + others) * counts
    Object.assign(fresh, { begun: 0, ended: 0, ofLogins: 0, others: 0 })
    lookedAt = at
    busyBefore = busy
  }

  const pace = () => hope * (Math.max(seen.ended, seen.begun * leastEnding) + assumed.logins) / (seen.busyMs + assumed.busyMs)

  return {
    /** As many may begin now. */
    left () {
      const at = now()
      if (at - lookedAt >= lookMs) look(at)
      left = Math.min(left + pace() * (at - filledAt), Math.max(1, pace() * burstMs))
      filledAt = at
      return Math.floor(left)
    },
    /** One does. */
    begin () {
      left--
      fresh.begun++
    },
    /** One has come to its end: its code is on its way. Its tokens may be asked for elsewhere. */
    end () { fresh.ended++ },
    /** Something is done: the loop is busy with all of it. */
    work (what: Work) {
      if (what === 'login') fresh.ofLogins++
      else fresh.others += what === 'refusal' ? costOfRefusal : 1
    },
    /** logins that may begin in a millisecond */
    get pace () { return pace() }
  }
}
