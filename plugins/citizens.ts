import fp from 'fastify-plugin'
import { citizenCounts, type CountedLogin } from '../src/adapters/citizen-counts.ts'
import { jittered } from '../src/adapters/jittered.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** A citizen logged in: counted once a month, for all and by provider, level and service. */
    countCitizen (login: CountedLogin): void
  }
}

const betweenNotesMs = 10_000

/** How many citizens there are, which replicas can only count together; told on the operations port, at an address of its own since one replica answers for all. */
export default fp(async app => {
  const counts = citizenCounts({ board: app.noticeboard, secret: () => app.configuration.keys.subject, now: app.now, onLost: app.countLostCitizens })
  app.decorate('countCitizen', login => {
    if (app.configuration.settings.count_citizens) counts.add({ ...login, client_id: app.clientLabel(login.client_id) })
  })

  const timer = setInterval(() => { counts.flush() }, jittered(betweenNotesMs)).unref()
  app.addHook('onClose', async () => {
    clearInterval(timer)
    await counts.flush()
  })

  app.operations.get('/metrics/product', async (request, reply) => {
    const { identityProviders, levels: { levels } } = app.configuration
    const read = await counts.read({ idp: [...identityProviders.keys()], acr: levels, client_id: app.clientLabels() })
    if (read === undefined) return reply.code(503).type('text/plain').send('what replicas count together cannot be read: no Redis is configured, or it does not answer\n')
    app.tellCitizens(read)
    return reply.type(app.productRegistry.contentType).send(await app.productRegistry.metrics())
  })
}, { name: 'citizens', dependencies: ['configuration', 'metrics', 'health', 'store'] })
