import { AsyncLocalStorage } from 'node:async_hooks'

/** How long a request waits for the store in all: until when, set by its first call that was slow; how many calls are under way, and since when without a pause. */
interface Wait { until: number, underWay: number, since: number }

const waits = new AsyncLocalStorage<Wait>()
const newWait = (): Wait => ({ until: Infinity, underWay: 0, since: Infinity })
/** Milliseconds beyond which an answer is slow: the store, or a part of it, may be away. */
export const slowMs = 250

/** Whatever this starts waits for the store as one: several calls that meet an outage share one deadline. */
export const asOneWait = <T>(start: () => T): T => waits.run(newWait(), start)

/**
 * The answer of a call that by itself would wait so long, or what is left of that to the request it belongs to: a store that is well again has the time it needs, however much
 * was waited before.
 */
export async function withinOneDeadline<T> (deadlineMs: number, ask: (leftMs: number) => Promise<T>): Promise<T> {
  const wait = waits.getStore() ?? newWait()
  const begun = performance.now()
  if (wait.underWay++ === 0) wait.since = begun
  const leftMs = Math.min(deadlineMs, Math.max(slowMs, Math.min(wait.until - begun, deadlineMs - (begun - wait.since))))
  try { return await ask(leftMs) } finally {
    wait.underWay--
    if (performance.now() - begun > slowMs) wait.until = Math.min(wait.until, begun + deadlineMs)
  }
}
