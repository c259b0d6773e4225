import { performance } from 'node:perf_hooks'

export interface LoadLimits {
  /** delay of the event loop, in milliseconds, above which it is too much */
  delayMs: number
  /** requests in flight from which it is too much for the first to go; for the others at one and a half times as many, and twice */
  inFlight: number
}

/** Who waits for whom: who asks for nothing that there is, what is published, who only begins, who is on the way, and those whose login comes to its end. */
export const ranks = ['nowhere', 'published', 'beginning', 'under_way', 'ending'] as const
export type Rank = typeof ranks[number]

const tickMs = 10
/** over how long the delay is averaged: a collection of garbage is forgotten, what lasts is not */
const memoryMs = 1000
/** of a pause, however long it was, no more than this is looked at: a process that was stopped for a while is not overloaded */
const longestPassedMs = 250
const mostTimesTheLimit = 10
/** how much of one rank more is sent away for each second of too much, and less for each second of enough */
const rise = 1
const fall = 0.5
/** Where the loop had nothing to do for this part of the time, nothing waits for it: what made it late was a pause, or others who had the core. */
const restShare = 1 / 10

/** Who is sent away first. Metadata and keys cost little, and without them a client cannot take the login that has just been made for it. */
const places: Record<Rank, number> = { nowhere: 0, beginning: 0, under_way: 1, ending: 2, published: 2 }
const mostPressure = 3
/** As many times as many as may be in flight may be parked: each takes some memory all the same. */
const mostParked = 4

/**
 * How loaded this process is, by how late its event loop runs a timer and by the requests in flight.
 *
 * The pressure rises while the delay is above its limit and the loop is late at this very moment; it falls while the delay is below half of it, and stays in between. Each whole number of it
 * sends one rank away, each fraction as many of the next: so it settles where the load can be borne, instead of going to and fro.
 */
export function loadGauge ({ delayMs, inFlight: most }: LoadLimits, now = () => performance.now(), idleMs = () => performance.eventLoopUtilization().idle) {
  let due = Infinity
  let delay = 0
  let pressure = 0
  let inFlight = 0
  let parked = 0
  let idleBefore = 0
  let timer: NodeJS.Timeout | undefined

  function tick () {
    const at = now()
    const late = Math.max(0, at - due)
    const passed = Math.min(tickMs + late, longestPassedMs)
    const idle = idleMs()
    const rested = idle - idleBefore > (tickMs + late) * restShare
    idleBefore = idle
    // by what was so before this very moment: one pause, however long, is no load
    if (delay > delayMs && late > delayMs / 2 && !rested) pressure = Math.min(mostPressure, pressure + rise * passed / 1000)
    else if (delay < delayMs / 2 || rested) pressure = Math.max(0, pressure - fall * passed / 1000)
    delay += (Math.min(late, delayMs * mostTimesTheLimit) - delay) * (1 - Math.exp(-passed / memoryMs))
    due = at + tickMs
  }

  return {
    /** Whether a request of this rank is to be sent away. */
    isTooMuchFor (rank: Rank) {
      const place = places[rank]
      if (inFlight >= most * (1 + place / 2)) return true
      return Math.random() < pressure - place
    },
    came () { inFlight++ },
    went () { inFlight-- },
    /** Who is in flight does nothing but wait, and gives the place to others; whether there was room for that. */
    park () {
      if (parked >= most * mostParked) return false
      inFlight--
      parked++
      return true
    },
    unpark () { parked-- },
    get inFlight () { return inFlight },
    get parked () { return parked },
    get delaySeconds () { return delay / 1000 },
    get pressure () { return pressure },
    start () {
      due = now() + tickMs
      idleBefore = idleMs()
      timer = setInterval(tick, tickMs).unref()
    },
    stop () { clearInterval(timer) }
  }
}
