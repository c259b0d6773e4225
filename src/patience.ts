import type { FastifyInstance } from 'fastify'
import type { Socket } from 'node:net'
import { errorMembers, OAuthError, type Failure } from './protocol/errors.ts'

// How long we wait for those who call us, and how much of them we take. Whoever is slower or larger is cut: few can hold what all need.

/** Of a request's head, in either server. */
const head = {
  maxHeaderSize: 16 * 1024,                                             // all our cookies and the largest request, twice; HAProxy's own limit is the same
  connectionsCheckingInterval: 1000                                     // how late the limits of time may be noticed; Node.js would look every 30 s
}

/** Where citizens and clients are answered: milliseconds. */
export const publicPatience = {
  head: { ...head, headersTimeout: 10_000 },                            // a head is a packet or two: over the worst network it is here, or sent again, by then
  handshakeTimeout: 10_000,
  requestTimeout: 15_000,                                               // head and body, of 32 KB at most
  keepAliveTimeout: 72_000,                                             // balancers let go of an idle connection after 60 s at most (nginx, AWS): who asks must close first, or a question meets a closed door
  connectionTimeout: 90_000                                             // nothing read nor written, for whatever reason: longer than the longest callback, 60 s, and Redis
}
export type Patience = typeof publicPatience

/** Connections to it at a time: what is held for them all stays below 150 MB, whatever they send. A balancer needs some hundred. */
export const mostConnections = 8192

/** Where probes and metrics are answered: all is said at once there, and a scrape that hangs holds nothing. */
export const operationsPatience = {
  http: { ...head, headersTimeout: 5000 },
  requestTimeout: 5000,
  keepAliveTimeout: 72_000,                                             // a scrape each minute finds its connection
  connectionTimeout: 80_000,
  bodyLimit: 1024,
  forceCloseConnections: true                                           // it is the last that closes, and waits for nobody
} as const

const cuts: Record<string, OAuthError> = {
  ERR_HTTP_REQUEST_TIMEOUT: new OAuthError('request_too_slow', `the request did not arrive in time: expected its head within ${publicPatience.head.headersTimeout / 1000} s and all of it within ${publicPatience.requestTimeout / 1000} s`),
  HPE_HEADER_OVERFLOW: new OAuthError('head_too_large', `the head of the request is too large: expected at most ${head.maxHeaderSize} bytes`)
}
const unreadable = new OAuthError('request_unreadable', 'the request is not one of HTTP/1.1')

/** Milliseconds in which a client may read why it is cut, before what it still sends resets the connection. */
const lingerMs = 500

/** Answers what never becomes a request, and cuts its connection. It is counted, not logged: there may be as many as somebody wants. */
export function cut (this: FastifyInstance, error: NodeJS.ErrnoException, socket: Socket) {
  if (!socket.writable) return                                          // cut already, or gone
  // a browser opens connections ahead, which it may not need
  if (error.code === 'ECONNRESET' || socket.bytesRead === 0) return socket.destroy()
  const failure = cuts[error.code ?? ''] ?? unreadable
  this.countFailure(failure.failure)
  socket.end(written(failure))
  setTimeout(() => socket.destroy(), lingerMs).unref()
}

function written (failure: OAuthError) {
  const { status } = failure.row
  const body = JSON.stringify(errorMembers(failure))
  return `HTTP/1.1 ${status} ${reasons[failure.failure]}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n${body}`
}

const reasons: Partial<Record<Failure, string>> = { request_too_slow: 'Request Timeout', head_too_large: 'Request Header Fields Too Large', request_unreadable: 'Bad Request' }
