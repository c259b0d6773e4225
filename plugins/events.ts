import { hostname } from 'node:os'
import fp from 'fastify-plugin'

/** Business and security events by name, with their step; security events have none. */
const steps = {
  token: '7.2',
  introspection: '7.4',
  code_replayed: undefined,
  code_of_another_client: undefined,
  client_authentication_failed: undefined,
  assertion_replayed: undefined,
  token_of_another_client: undefined,
  introspection_not_allowed: undefined
} as const satisfies Record<string, string | undefined>

/** Ids only: never civil identity, tokens or codes. */
interface EventFields { login?: string | undefined, client_id?: string, idp?: string, acr?: string, outcome: 'success' | 'refused' }

declare module 'fastify' {
  interface FastifyRequest {
    /** the login that a client's call belongs to, once it is known; '' for none */
    loginId: string
    /** Writes one event: one JSON line on stdout, told apart from other lines by its `event`. */
    event (name: keyof typeof steps, fields: EventFields): void
  }
}

export default fp(async app => {
  const origin = { site: app.configuration.settings.site, replica: hostname() }

  app.addHook('onResponse', async (request, reply) => {
    request.log.info({ req: request, res: reply, ms: Math.round(reply.elapsedTime) }, 'answered')
  })

  app.decorateRequest('loginId', '')
  app.decorateRequest('event', function (name, fields) {
    const step = steps[name]
    this.log.info({ event: name, ...(step === undefined ? { security: true } : { step }), ...fields, ...origin }, 'event')
  })
}, { name: 'events' })
