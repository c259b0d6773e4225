import { AsyncLocalStorage } from 'node:async_hooks'

/** How long a request waits for the store in all: until when, set by its first call that was slow; how many calls are under way, and since when without a pause; and who is told when that is slow. */
interface Wait { until: number, underWay: number, since: number, onSlow?: (() => void) | undefined, alarm?: NodeJS.Timeout | undefined }

const waits = new AsyncLocalStorage<Wait>()
const newWait = (onSlow?: () => void): Wait => ({ until: Infinity, underWay: 0, since: Infinity, onSlow })
/** Milliseconds beyond which an answer is slow: the store, or a part of it, may be away. */
export const slowMs = 250

/** Whatever this starts waits for the store as one: several calls that meet an outage share one deadline. `onSlow` is told while they wait, once a call that is slow. */
export const asOneWait = <T>(start: () => T, onSlow?: () => void): T => waits.run(newWait(onSlow), start)

/**
 * The answer of a call that by itself would wait so long, or what is left of that to the request it belongs to: a store that is well again has the time it needs, however much
 * was waited before.
 */
export async function withinOneDeadline<T> (deadlineMs: number, ask: (leftMs: number) => Promise<T>): Promise<T> {
  const wait = waits.getStore() ?? newWait()
  const begun = performance.now()
  if (wait.underWay++ === 0) {
    wait.since = begun
    if (wait.onSlow !== undefined) wait.alarm = setTimeout(wait.onSlow, slowMs)
  }
  const leftMs = Math.min(deadlineMs, Math.max(slowMs, Math.min(wait.until - begun, deadlineMs - (begun - wait.since))))
  try { return await ask(leftMs) } finally {
    if (--wait.underWay === 0) clearTimeout(wait.alarm)
    if (performance.now() - begun > slowMs) wait.until = Math.min(wait.until, begun + deadlineMs)
  }
}
