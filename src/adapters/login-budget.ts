import { performance } from 'node:perf_hooks'

/** What is taken for experience beside our own: so many logins in so many milliseconds of a busy loop. A machine that has had nothing to do for long goes by it. */
const assumed = { logins: 200, busyMs: 2000 }
/** Seconds after which experience counts for a third: a machine warms up, a crowd of strangers goes away. */
const memorySeconds = 30
/** so much more than was experienced is tried: else what was once little would stay so */
const hope = 1.1
/** The logins of so many milliseconds may begin at once. */
const burstMs = 250
/** how often the loop is looked at, in milliseconds */
const lookMs = 100

export type LoginBudget = ReturnType<typeof loginBudget>

/**
 * How many logins may begin: as many as can come to their end. What one costs, with all its requests and with whatever else comes, is learnt from how long the event loop was busy while so many began. Without
 * it a crowd would be let in as fast as it can begin, which is a small part of a login, and would meet itself when it comes back from the identity providers.
 */
export function loginBudget (now = () => performance.now(), busyMs = () => performance.eventLoopUtilization().active) {
  const seen = { logins: 0, busyMs: 0 }
  let begun = 0
  let [lookedAt, busyBefore] = [now(), busyMs()]
  let [filledAt, left] = [lookedAt, Infinity]

  function look (at: number) {
    const busy = busyMs()
    const kept = Math.exp((lookedAt - at) / 1000 / memorySeconds)
    seen.logins = seen.logins * kept + begun
    seen.busyMs = seen.busyMs * kept + busy - busyBefore
    begun = 0
    lookedAt = at
    busyBefore = busy
  }

  const pace = () => hope * (seen.logins + assumed.logins) / (seen.busyMs + assumed.busyMs)

  return {
    /** As many may begin now. */
    left () {
      const at = now()
      if (at - lookedAt >= lookMs) look(at)
      left = Math.min(left + pace() * (at - filledAt), pace() * burstMs)
      filledAt = at
      return Math.floor(left)
    },
    /** So many do. */
    begin (count: number) {
      begun += count
      left -= count
    },
    /** logins that may begin in a millisecond */
    get pace () { return pace() }
  }
}
