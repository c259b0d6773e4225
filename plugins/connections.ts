import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as whatArrived } from 'node:timers/promises'
import fp from 'fastify-plugin'
import { mostConnections, publicPatience } from '../src/patience.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Says that we are going: not ready, and every answer asks for another connection; all else goes on. */
    announceEnd (): void
    /** What is under way. */
    underWay (): { connections: number, requests: number, logouts: number }
  }
}

/** Milliseconds that a connection has to say what it wants when nobody new is let in. */
const lateMs = 1000

/**
 * The connections of the public port, and how they end. While we are going but serve on, each answer takes its connection along; so those that are left at the end have been
 * idle all that time, and nobody asks over one just as it is closed.
 */
export default fp(async app => {
  const { server } = app
  const connections = new Set<Socket>()
  const requests = new Set<IncomingMessage>()
  let isEnding = false
  let late: NodeJS.Timeout | undefined

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
    requests.add(request)
    app.connectionFigures.requests(requests.size)
    response.once('close', () => {
      requests.delete(request)
      app.connectionFigures.requests(requests.size)
    })
  })

  app.decorate('underWay', () => ({ connections: connections.size, requests: requests.size, logouts: app.logoutsUnderWay() }))
  app.decorate('announceEnd', () => {
    isEnding = true
    app.notReady = 'draining'
    app.connectionFigures.draining()
  })
  app.addHook('onSend', async (request, reply) => { if (isEnding) reply.header('connection', 'close') })

  app.addHook('preClose', async () => {
    app.announceEnd()
    if (!server.listening) return
    await whatArrived()                                                 // is read before the idle connections are closed
    const closedAt = performance.now()
    // Node.js enforces no limit of time on a server that closes
    late = setInterval(() => {
      const sinceMs = performance.now() - closedAt
      const patient = [...requests].some(({ complete }) => complete || sinceMs < publicPatience.requestTimeout)
      if (sinceMs >= lateMs && !patient) for (const socket of connections) socket.destroy()
    }, lateMs / 4).unref()
    server.once('close', () => clearInterval(late))
  })
}, { name: 'connections', dependencies: ['metrics', 'health', 'back-channel-logout'] })
