import fp from 'fastify-plugin'
import { memoryStore } from '../src/adapters/memory-store.ts'
import { redisStore } from '../src/adapters/redis-store.ts'
import type { Store } from '../src/ports.ts'

declare module 'fastify' {
  interface FastifyInstance { store: Store }
}

export interface StoreOptions { store?: Store | undefined, redis?: readonly string[] | undefined }

/** What the client's server has to bring back: Redis where there is one, else the embedded store. */
export default fp<StoreOptions>(async (app, { store, redis }) => {
  const { site, redis: { node_timeout_ms: nodeTimeoutMs } } = app.configuration.settings
  app.decorate('store', store ?? (redis === undefined || redis.length === 0
    ? memoryStore({ site, now: app.now })
    : redisStore({ urls: redis, site, nodeTimeoutMs, onError: complain })))
  function complain (error: Error & { code?: string, address?: string, port?: number }) {
    app.log.warn({ code: error.code ?? error.name, address: error.address, port: error.port }, 'store connection')
  }

  app.addHook('onClose', async () => app.store.close())
}, { name: 'store' })
