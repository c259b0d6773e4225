import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { publicPatience } from '../../src/patience.ts'
import type { Criterion } from './fault.ts'
import { inSeconds } from './figures.ts'
import type { Replica } from './replica.ts'

/** A way to be slow: what is said first and then, every second; how long that is borne at most; and whether another comes for each that is cut. */
interface Slowness { first: string, then: string, borneMs: number, comesAgain: boolean, count: number }

const everyMs = 1000
/** a limit of time is looked at once a second, and a core may be busy */
const noticeMs = 4000
const manyQuestions = 'GET /.well-known/openid-configuration HTTP/1.1\r\nhost: passerelle\r\n\r\n'.repeat(15)
const form = 'host: passerelle\r\ncontent-type: application/x-www-form-urlencoded\r\n'

const ways: Record<string, Slowness> = {
  'heads that drip': { first: 'GET /authorize HTTP/1.1\r\nhost: passerelle\r\nx-slow: ', then: 'a', borneMs: publicPatience.head.headersTimeout, comesAgain: true, count: 300 },
  'bodies that drip': { first: `POST /token HTTP/1.1\r\n${form}content-length: 30000\r\n\r\n`, then: 'a', borneMs: publicPatience.requestTimeout, comesAgain: true, count: 300 },
  'answers that nobody reads': { first: manyQuestions, then: manyQuestions, borneMs: publicPatience.connectionTimeout, comesAgain: false, count: 40 }
}

/** Clients that are slow in every way, at one replica; each has to be cut in time. */
export function holdOn ({ url }: Pick<Replica, 'url'>) {
  const { hostname, port } = new URL(url)
  const over = new AbortController()
  const held = Object.entries(ways).map(([name, way]) => ({ name, way, cut: 0, longestMs: 0 }))
  const holding = Promise.all(held.flatMap(seen => Array.from({ length: seen.way.count }, async () => {
    do {
      const ms = await hold(seen.way)
      if (ms === undefined) continue
      seen.cut++
      seen.longestMs = Math.max(seen.longestMs, ms)
    } while (seen.way.comesAgain && !over.signal.aborted)
  })))

  /** One of them, until it is cut; after how many milliseconds, or undefined where we went ourselves. */
  async function hold ({ first, then, borneMs, comesAgain }: Slowness) {
    const began = performance.now()
    const socket = connect({ host: hostname, port: Number(port) })
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    socket.on('error', () => {}).once('close', () => resolve())
    socket.write(first)
    if (comesAgain) socket.resume()
    else socket.pause()
    const dripping = setInterval(() => { if (socket.writable) socket.write(then) }, everyMs)
    const gaveUp = new AbortController()
    const leave = () => { gaveUp.abort() }
    if (comesAgain) over.signal.addEventListener('abort', leave, { once: true })
    const isCut = await Promise.race([closed.then(() => true), pause(borneMs + noticeMs * 2, false, { signal: gaveUp.signal }).catch(() => undefined)])
    clearInterval(dripping)
    over.signal.removeEventListener('abort', leave)
    socket.destroy()
    return isCut === undefined ? undefined : isCut ? performance.now() - began : Infinity
  }

  return {
    /** Those that come again go; for the others it is waited until they are cut. */
    async end () {
      over.abort()
      await holding
      return {
        figures: Object.fromEntries(held.map(({ name, cut, longestMs }) => [`${name}: cut`, `${cut}, the last after ${inSeconds(longestMs)} s`])),
        criteria: held.map(({ name, way: { borneMs, count }, cut, longestMs }): Criterion => ({
          what: `${name}: ${count} at a time, each cut within ${inSeconds(borneMs + noticeMs)} s`,
          measured: `${cut} after ${inSeconds(longestMs)} s at most`,
          passed: cut >= count && longestMs <= borneMs + noticeMs
        }))
      }
    }
  }
}
