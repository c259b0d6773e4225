import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { JWK } from 'jose'

interface Teardown { teardown (handler: () => unknown): unknown }

/** A request that reached a client's own server. */
export interface Heard { method: string, path: string, headers: IncomingHttpHeaders, body: URLSearchParams }

/** A client's own server: it publishes keys, and is told of logouts. */
export interface ClientDesk {
  origin: string
  /** connections so far, whatever came of them */
  connections: number
  /** every request so far */
  heard: Heard[]
  /** those of a path */
  at (path: string): Heard[]
  /** what it publishes at /jwks */
  keys: JWK[]
  /** answers instead, by path; what sends nothing leaves the caller waiting */
  answers: Record<string, (response: ServerResponse, heard: Heard) => unknown>
  /** waits until a path was asked so often */
  reached (path: string, times: number): Promise<void>
  stop (): Promise<void>
  /** listens again where it did */
  resume (): Promise<void>
}

/** A server of a client on this machine: /jwks answers its keys, every other path 200. */
export async function clientDesk (t: Teardown, host = '127.0.0.1'): Promise<ClientDesk> {
  const waiting: Array<{ path: string, times: number, resolve: () => void }> = []
  const settle = () => { for (const { path, times, resolve } of waiting) if (desk.at(path).length >= times) resolve() }
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const heard = { method: request.method!, path: request.url!.split('?', 1)[0]!, headers: request.headers, body: new URLSearchParams(Buffer.concat(chunks).toString()) }
    desk.heard.push(heard)
    settle()
    const answer = desk.answers[heard.path]
    if (answer !== undefined) return answer(response, heard)
    if (heard.path !== '/jwks') return response.end()
    response.writeHead(200, { 'content-type': 'application/jwk-set+json' }).end(JSON.stringify({ keys: desk.keys }))
  })
  server.on('connection', () => { desk.connections++ })
  let port = 0
  const listen = () => new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', () => { server.off('error', reject); port = (server.address() as AddressInfo).port; resolve() })
  })
  const stop = () => new Promise<void>(resolve => {
    if (!server.listening) return resolve()
    server.close(() => resolve())
    server.closeAllConnections()
  })
  await listen()
  t.teardown(stop)
  const desk: ClientDesk = {
    origin: `http://${host}:${port}`,
    connections: 0,
    heard: [],
    at: path => desk.heard.filter(heard => heard.path === path),
    keys: [],
    answers: {},
    reached: (path, times) => new Promise(resolve => { waiting.push({ path, times, resolve }); settle() }),
    stop,
    resume: listen
  }
  return desk
}

/** Settings under which the gateway may call servers of this machine: no other environment lets it. */
export const inDevelopment = { issuer: 'http://localhost:1/api/v2', environment: 'development' }
