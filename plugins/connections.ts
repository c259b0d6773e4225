import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createServer, Server as NetServer, type AddressInfo, type ListenOptions, type Socket } from 'node:net'
import { setImmediate as whatArrived, setTimeout as pause } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { mostConnections, publicPatience } from '../src/patience.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Listens at this address, with several doors for those who come at once, and holds so many connections at a time at most. */
    letIn (address: { host: string, port: number, most?: number }): Promise<void>
    /** Says that we are going: not ready, and every answer asks for another connection; all else goes on. */
    announceEnd (): void
    /** What is under way, and how long ago, in milliseconds, somebody asked for something: of who still does, the balancer has not noticed. */
    underWay (): { connections: number, requests: number, logouts: number, sinceRequestMs: number }
  }
}

/** Sockets that listen at one address: each takes one connection at a turn of the event loop, and of a crowd each citizen may come by a new one. Only Linux shares them out. */
const doors = process.platform === 'linux' ? 8 : 1
/** Connections that wait in the kernel at each, within its own limit: whoever finds no place to wait tries again a second later. */
const waiting = 4096

/** Milliseconds that connections have to say what they want when nobody new is let in, and between looks at who keeps us then. */
const lateMs = 1000
const cutMs = 250
/** Requests over one connection of which none is answered yet: a browser and a balancer wait for each answer. */
const mostUnanswered = 16

/**
 * The connections of the public port, and how they end. While we are going but serve on, each answer takes its connection along; so those that are left at the end have been
 * idle all that time, and nobody asks over one just as it is closed.
 */
export default fp(async app => {
  const { server } = app
  const connections = new Set<Socket>()
  const requests = new Set<IncomingMessage>()
  const unanswered = new WeakMap<Socket, number>()
  const sideDoors: NetServer[] = []
  let isEnding = false
  let askedAt = -Infinity

  server.maxConnections = mostConnections
  server.on('drop', () => app.connectionFigures.refused())
  server.on('connection', (socket: Socket) => {
    connections.add(socket)
    app.connectionFigures.open(connections.size)
    socket.once('close', () => {
      connections.delete(socket)
      app.connectionFigures.open(connections.size)
    })
  })
  server.prependListener('request', (request, response) => {
    askedAt = performance.now()
    requests.add(request)
    app.connectionFigures.requests(requests.size)
    const { socket } = request
    const count = (unanswered.get(socket) ?? 0) + 1
    unanswered.set(socket, count)
    if (count === mostUnanswered + 1) {
      app.connectionFigures.refused()
      socket.destroy()
    }
    response.once('close', () => {
      unanswered.set(socket, unanswered.get(socket)! - 1)
      requests.delete(request)
      app.connectionFigures.requests(requests.size)
    })
  })

  app.decorate('letIn', async ({ host, port, most = mostConnections }) => {
    if (doors > 1 && port !== 0) await mustBeFree({ host, port })
    const at = { host, port, backlog: waiting, reusePort: doors > 1 }
    await app.listen(at)
    server.maxConnections = Math.ceil(most / doors)
    const { allowHalfOpen, noDelay } = server as unknown as { allowHalfOpen: boolean, noDelay: boolean }
    while (sideDoors.length < doors - 1) {
      const door = createServer({ allowHalfOpen, noDelay }, socket => server.emit('connection', socket)).on('drop', () => app.connectionFigures.refused())
      door.maxConnections = server.maxConnections
      sideDoors.push(door)
      await listening(door, { ...at, port: (server.address() as AddressInfo).port })
    }
  })

  app.decorate('underWay', () => ({ connections: connections.size, requests: requests.size, logouts: app.logoutsUnderWay(), sinceRequestMs: Math.round(performance.now() - askedAt) }))
  app.decorate('announceEnd', () => {
    isEnding = true
    app.notReady = 'draining'
    app.connectionFigures.draining()
  })
  // of a packet that holds a thousand requests all are read, whatever becomes of their connection: nothing is done for them
  app.addHook('onRequest', async (request, reply) => { if (request.raw.socket.destroyed) reply.hijack() })
  app.addHook('onSend', async (request, reply) => { if (isEnding) reply.header('connection', 'close') })

  app.addHook('preClose', async () => {
    const wasAnnounced = isEnding
    app.announceEnd()
    if (!server.listening) return
    const ended = sideDoors.map(door => once(door, 'close'))
    if (wasAnnounced) {
      ended.push(once(server, 'close'))
      await letInNobody()
    } else for (const door of sideDoors) door.close()
    const closedAt = performance.now()
    // Node.js enforces no limit of time on a server that closes
    const cutting = setInterval(() => {
      const inTime = performance.now() - closedAt < publicPatience.requestTimeout
      if (![...requests].some(({ complete }) => complete || inTime)) for (const socket of connections) socket.destroy()
    }, cutMs).unref()
    server.closeIdleConnections()
    await Promise.all(ended)
    if (!server.listening) clearInterval(cutting)
    else server.once('close', () => clearInterval(cutting))             // Fastify closes it next
  })

  /** Listens no more, and only that: the `close` of an HTTP server would at once close connections whose question is on its way. */
  async function letInNobody () {
    await whatArrived()
    for (const door of [server, ...sideDoors]) NetServer.prototype.close.call(door)
    const end = performance.now() + lateMs
    while (connections.size > 0 && performance.now() < end) await pause(20)
    await whatArrived()
  }
}, { name: 'connections', dependencies: ['metrics', 'health', 'back-channel-logout'] })

/** Sockets that share an address are not refused where others have it already: two processes by mistake would each answer half. */
async function mustBeFree (address: ListenOptions) {
  const tried = createServer()
  await listening(tried, address)
  await once(tried.close(), 'close')
}

async function listening (server: NetServer, options: ListenOptions) {
  await once(server.listen(options), 'listening')
}
