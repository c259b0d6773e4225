import fp from 'fastify-plugin'
import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client'
import { failures, responsibilityFor, type Failure } from '../src/protocol/errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    metricsRegistry: Registry
    /** one more login that ended with tokens */
    countLogin (): void
    /** one more failure; whether it ended a login, or only was a request that nobody should have sent */
    countFailure (failure: Failure, endedLogin: boolean): void
    /** one more back-channel logout that came to an end */
    countBackChannelLogout (outcome: Delivery): void
    /** one more name that a client was believed to say for the first time, since the store could not tell */
    countUncheckedReplay (): void
  }
}

/** What a back-channel logout can come to. */
const deliveries = ['delivered', 'refused', 'failed', 'dropped'] as const
export type Delivery = typeof deliveries[number]

/** Every metric, defined in one place: `passerelle_` names, closed label sets, nothing personal. */
export default fp(async app => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const logins = new Counter({
    name: 'passerelle_logins_total',
    help: 'Logins that ended: with tokens (success), or by a failure of the citizen, the client, the provider or ours',
    labelNames: ['outcome', 'failure'],
    registers: [registry]
  })
  logins.inc({ outcome: 'success', failure: '' }, 0)
  for (const failure of Object.keys(failures) as Failure[]) logins.inc({ outcome: responsibilityFor(failure), failure }, 0)

  app.decorate('metricsRegistry', registry)
  new Gauge({ name: 'passerelle_configuration_info', help: 'The configuration in force, by its hash: replicas that differ are seen', labelNames: ['hash'], registers: [registry] })
    .set({ hash: app.configuration.hash }, 1)
  const refused = new Counter({ name: 'passerelle_failures_total', help: 'Every failure that was answered, in a login or not', labelNames: ['failure'], registers: [registry] })
  const logouts = new Counter({ name: 'passerelle_back_channel_logouts_total', help: 'Clients told of a logout behind the citizen\'s back, by what came of it', labelNames: ['outcome'], registers: [registry] })
  for (const outcome of deliveries) logouts.inc({ outcome }, 0)
  const unchecked = new Counter({ name: 'passerelle_unchecked_replays_total', help: 'Client assertions and DPoP proofs accepted while the store could not say whether they had been used', registers: [registry] })
  app.decorate('countBackChannelLogout', outcome => logouts.inc({ outcome }))
  app.decorate('countUncheckedReplay', () => unchecked.inc())
  app.decorate('countLogin', () => logins.inc({ outcome: 'success', failure: '' }))
  app.decorate('countFailure', (failure, endedLogin) => {
    refused.inc({ failure })
    if (endedLogin) logins.inc({ outcome: responsibilityFor(failure), failure })
  })
  app.addHook('onClose', async () => registry.clear())
}, { name: 'metrics' })
