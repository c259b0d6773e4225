import { hostname } from 'node:os'
import fp from 'fastify-plugin'
import type { SecurityFailure } from '../src/protocol/errors.ts'

/** Business events by name, with their step. */
const steps = {
  token: '7.2',
  introspection: '7.4'
} as const

/** Ids only: never civil identity, tokens or codes. */
interface EventFields { login?: string | undefined, client_id?: string, idp?: string | undefined, acr?: string, /** by a code that held its record, since the store was away */ degraded?: true | undefined, outcome: 'success' | 'refused' }

declare module 'fastify' {
  interface FastifyRequest {
    /** the login that a client's call belongs to, once it is known; '' for none */
    loginId: string
    /** Writes one event, of business or of security: one JSON line on stdout, told apart from other lines by its `event`. */
    event (name: keyof typeof steps | SecurityFailure, fields: EventFields): void
  }
}

export default fp(async app => {
  const origin = { site: app.configuration.settings.site, replica: hostname() }

  app.addHook('onResponse', async (request, reply) => {
    if (request.turnedAway) return
    request.log.info({ req: request, res: reply, ms: Math.round(reply.elapsedTime) }, 'answered')
  })

  app.decorateRequest('loginId', '')
  app.decorateRequest('event', function (name, fields) {
    this.log.info({ event: name, ...(name in steps ? { step: steps[name as keyof typeof steps] } : { security: true }), ...fields, ...origin }, 'event')
  })
}, { name: 'events' })
