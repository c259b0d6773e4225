import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Registry } from 'prom-client'
import { operationsPatience } from '../src/patience.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** /livez, /readyz and /metrics, on a port of their own */
    operations: FastifyInstance
    /** what keeps us from being ready, '' for nothing */
    notReady: string
  }
}

/** Every metric as Prometheus reads it, one at a turn of the event loop: together they would keep those who log in waiting. */
async function figuresOf (registry: Registry) {
  const figures: string[] = []
  for (const { name } of registry.getMetricsAsArray()) {
    figures.push(await registry.getSingleMetricAsString(name))
    await nextTurn()
  }
  return `${figures.join('\n\n')}\n`
}

/** Probes and metrics. Ready means: configuration and keys loaded, listening, not draining; never the store, never a provider. */
export default fp(async app => {
  const operations: FastifyInstance = Fastify({ logger: false, exposeHeadRoutes: false, ...operationsPatience })

  operations.get('/livez', async () => ({ status: 'live' }))
  operations.get('/readyz', async (request, reply) => app.notReady === '' ? { status: 'ready' } : reply.code(503).send({ status: app.notReady }))
  operations.get('/metrics', async (request, reply) => reply.type(app.metricsRegistry.contentType).send(await figuresOf(app.metricsRegistry)))

  app.decorate('operations', operations)
  app.decorate('notReady', 'starting')
  app.addHook('onListen', async () => { if (app.notReady === 'starting') app.notReady = '' })
  app.addHook('onClose', async () => operations.close())
}, { name: 'health', dependencies: ['metrics'] })
