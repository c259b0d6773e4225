export interface LoadLimits {
  /** delay of the event loop, in milliseconds, above which it is too much */
  delayMs: number
  /** requests in flight from which it is too much for the first to go; for the others at one and a half times as many, and twice */
  inFlight: number
}

/** Who is sent away, in this order: who only begins, who is on the way, and those whose login comes to its end. */
export const ranks = ['beginning', 'under_way', 'ending'] as const
export type Rank = typeof ranks[number]

const tickMs = 20
/** over how long the delay is averaged: a collection of garbage is forgotten, what lasts is not */
const memoryMs = 1000
/** of a pause, however long it was, no more than this is looked at: a process that was stopped for a while is not overloaded */
const longestPassedMs = 250
const mostTimesTheLimit = 10
/** requests that came since the timer ran: fewer are no crowd, and a loop that is late with them was kept from running */
const crowd = 16
/** how much of one rank more is sent away for each second of too much, and less for each second of enough */
const rise = 1
const fall = 0.5

/**
 * How loaded this process is, by how late its event loop runs a timer and by the requests in flight. The pressure rises while the delay is above its limit and the loop is late at this
 * very moment, falls while it is below half of it, and stays in between; each whole number of it sends one rank away, each fraction as many of the next: so it settles where the load can be borne, instead of going to and fro.
 */
export function loadGauge ({ delayMs, inFlight: most }: LoadLimits, now = () => performance.now()) {
  let due = Infinity
  let delay = 0
  let pressure = 0
  let inFlight = 0
  let sinceTick = 0
  let timer: NodeJS.Timeout | undefined

  function tick () {
    const late = Math.max(0, now() - due)
    const passed = Math.min(tickMs + late, longestPassedMs)
    // by what was so before this very moment: one pause, however long, is no load
    if (delay > delayMs && late > delayMs / 2) pressure = Math.min(ranks.length, pressure + rise * passed / 1000)
    else if (delay < delayMs / 2) pressure = Math.max(0, pressure - fall * passed / 1000)
    delay += (Math.min(late, delayMs * mostTimesTheLimit) - delay) * (1 - Math.exp(-passed / memoryMs))
    due = now() + tickMs
    sinceTick = 0
  }

  return {
    /** Whether a request of this rank is to be sent away. */
    isTooMuchFor (rank: Rank) {
      const place = ranks.indexOf(rank)
      sinceTick++
      if (inFlight >= most * (1 + place / 2)) return true
      // within one turn of the loop, which may bring thousands at once: nothing is known of them yet by the timer
      if (place === 0 && sinceTick > crowd && now() - due > delayMs) return true
      return pressure > place && Math.random() < pressure - place
    },
    came () { inFlight++ },
    went () { inFlight-- },
    get inFlight () { return inFlight },
    get delaySeconds () { return delay / 1000 },
    get pressure () { return pressure },
    start () {
      due = now() + tickMs
      timer = setInterval(tick, tickMs).unref()
    },
    stop () { clearInterval(timer) }
  }
}
