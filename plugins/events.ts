import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { OAuthError, SecurityFailure } from '../src/protocol/errors.ts'
import { eventOf, isStep, marksOf, outcomeOf, type EventFields, type EventName } from '../src/protocol/events.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** the step that has not happened where a request to this route fails */
    step?: EventName
  }
  interface FastifyRequest {
    /** the login that a client's call belongs to, once it is known; '' for none */
    loginId: string
    /** the step that has not happened where this request fails from now on: that of its route unless set */
    step: EventName | undefined
    /** how long this request waited for an identity provider */
    providerSeconds: number
    /** Writes one event, of business or of security: one JSON line on stdout, told apart from other lines by its `event`. Login, service and provider are the request's unless said. */
    event (name: EventName | SecurityFailure, fields?: EventFields): void
    /** Writes the event that the failure of this request is. */
    failed (failure: OAuthError): void
  }
}

/** Of what a request knows itself: ids only, never civil identity, tokens or codes. */
export function idsOf ({ loginId, login, client, claimedClient, cameFrom }: FastifyRequest) {
  const client_id = client?.client_id ?? login?.request.client_id ?? (claimedClient || cameFrom?.client_id)
  return { login: loginId || login?.id, client_id, idp: login?.idp }
}

/** Business and security events, and one line for each request. */
export default fp(async app => {
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    done()
  })

  app.addHook('onResponse', async (request, reply) => {
    if (request.turnedAway) return
    app.timeRequest(request.routeOptions.url ?? 'none', Math.max(0, reply.elapsedTime / 1000 - request.providerSeconds))
    request.log.info({ req: request, res: reply, ms: Math.round(reply.elapsedTime) }, 'answered')
  })

  app.decorateRequest('loginId', '')
  app.decorateRequest('providerSeconds', 0)
  app.decorateRequest('step', undefined)
  app.decorateRequest('event', function (event, fields) {
    const line = { event, ...marksOf(event), ...idsOf(this), outcome: 'success' as const, ...fields }
    this.log[line.outcome === 'success' ? 'info' : 'warn'](line)
    if (line.outcome === 'success' && isStep(event)) app.countStep(event, line.idp)
  })
  app.decorateRequest('failed', function (error) {
    const { failure, row: { status, citizen: code } } = error
    const event = eventOf(failure, this.step ?? this.routeOptions.config.step)
    const marks = marksOf(event)
    const level = status >= 500 && failure !== 'prefetch_refused' ? 'error' : 'security' in marks ? 'warn' : 'info'
    this.log[level]({ event, ...marks, ...idsOf(this), outcome: outcomeOf(failure), failure, code, err: error }, 'failed')
  })
}, { name: 'events', dependencies: ['metrics'] })
