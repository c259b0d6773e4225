import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { publicPatience } from '../../src/patience.ts'
import type { Criterion } from './fault.ts'
import { inSeconds } from './figures.ts'
import type { Replica } from './replica.ts'

/** A way to be slow: what is said first and then, every second; whether an answer is read; how long that is borne at most; and by how many at a time. */
interface Slowness { first: string, then: string, reads: boolean, borneMs: number, count: number }

const everyMs = 1000
/** a limit of time is looked at once a second, and a core may be busy */
const noticeMs = 4000
const manyQuestions = 'GET /.well-known/openid-configuration HTTP/1.1\r\nhost: passerelle\r\n\r\n'.repeat(15)
const form = 'host: passerelle\r\ncontent-type: application/x-www-form-urlencoded\r\n'

const ways: Record<string, Slowness> = {
  'heads that drip': { first: 'GET /authorize HTTP/1.1\r\nhost: passerelle\r\nx-slow: ', then: 'a', reads: true, borneMs: publicPatience.head.headersTimeout, count: 300 },
  'bodies that drip': { first: `POST /token HTTP/1.1\r\n${form}content-length: 30000\r\n\r\n`, then: 'a', reads: true, borneMs: publicPatience.requestTimeout, count: 300 },
  'answers that nobody reads': { first: manyQuestions, then: manyQuestions, reads: false, borneMs: publicPatience.connectionTimeout, count: 40 }
}

/** Clients that are slow in every way, at one replica, another for each that is cut; and each has to be cut in time. */
export function holdOn ({ url }: Pick<Replica, 'url'>) {
  const { hostname, port } = new URL(url)
  const over = new AbortController()
  const held = Object.entries(ways).map(([name, way]) => ({ name, way, cut: 0, longestMs: 0 }))
  const holding = Promise.all(held.flatMap(seen => Array.from({ length: seen.way.count }, async () => {
    do {
      seen.longestMs = Math.max(seen.longestMs, await hold(seen.way))
      seen.cut++
    } while (!over.signal.aborted)
  })))

  /** One of them, until it is cut; after how many milliseconds, Infinity where that was waited for in vain. */
  async function hold ({ first, then, borneMs, reads }: Slowness) {
    const began = performance.now()
    const socket = connect({ host: hostname, port: Number(port) })
    const { promise: closed, resolve } = Promise.withResolvers<true>()
    socket.on('error', () => {}).once('close', () => resolve(true))
    if (reads) socket.resume()
    else socket.pause()
    socket.write(first)
    const dripping = setInterval(() => { if (socket.writable) socket.write(then) }, everyMs)
    const isCut = await Promise.race([closed, pause(borneMs + noticeMs * 2, false)])
    clearInterval(dripping)
    socket.destroy()
    return isCut ? performance.now() - began : Infinity
  }

  return {
    connections: held.reduce((sum, { way: { count } }) => sum + count, 0),
    /** No more of them come; it is waited until all are cut. */
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
