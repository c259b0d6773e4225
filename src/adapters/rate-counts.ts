import type { Clock, Noticeboard } from '../ports.ts'

export interface RateCountsOptions {
  board: Pick<Noticeboard, 'tally'>
  /** the name of a count where other replicas keep it too */
  nameOf: (text: string) => string
  now: Clock
  /** how many are counted in one window at most: a flood from many addresses takes no more memory than this */
  most?: number
  /** told each time that the board could not say */
  onFailure: () => void
  /** told each time that there were too many to count another */
  onFull: () => void
}

/** share of a limit that a replica counts by itself, before it asks the others */
const ownShare = 1 / 4
/** what is asked of nobody after a failure */
const pauseMs = 1000

/**
 * How often something came in the present window of time (so many seconds by the clock, the same at every replica). It is counted here first; the board is asked only for what may be too
 * much and is not known to be. Where the board does not answer, what was counted here is all that counts.
 */
export function rateCounts ({ board, nameOf, now, most = 20_000, onFailure, onFull }: RateCountsOptions) {
  const windows = new Map<number, { window: number, counts: Map<string, { own: number, told: number, all: number }> }>()
  let askAgainAt = 0

  function currentWindow (seconds: number) {
    const window = Math.floor(now() / seconds)
    const known = windows.get(seconds)
    if (known?.window === window) return known
    const begun = { window, counts: new Map() }
    windows.set(seconds, begun)
    return begun
  }

  /** One more of this name; how many there were, this one included, in a window of so many seconds. */
  return async (name: string, { limit, seconds }: { limit: number, seconds: number }) => {
    const { window, counts } = currentWindow(seconds)
    const count = counts.get(name) ?? { own: 0, told: 0, all: 0 }
    if (count.own === 0) {
      if (counts.size >= most) { onFull(); return 0 }
      counts.set(name, count)
    }
    const own = ++count.own                                             // while one waits, others come
    if (own <= limit * ownShare || own > limit || count.all > limit || performance.now() < askAgainAt) return Math.max(own, count.all)

    const more = own - count.told
    count.told = own
    const all = await board.tally(`rate:${nameOf(`${seconds} ${window} ${name}`)}`, more, seconds + 1)
    if (all === undefined) {
      onFailure()
      askAgainAt = performance.now() + pauseMs
      return own
    }
    count.all = Math.max(count.all, all)
    return Math.max(own, all)
  }
}
