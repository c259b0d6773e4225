import fp from 'fastify-plugin'
import { differences, inPlaceOf } from '../src/config/in-force.ts'
import { ConfigurationError, type Configuration } from '../src/config/load.ts'

/** What a reading of the configuration can come to. */
export const reloads = ['taken', 'unchanged', 'invalid', 'start_needed'] as const
export type Reload = typeof reloads[number]

type Listener = (now: Configuration, before: Configuration) => void

declare module 'fastify' {
  interface FastifyInstance {
    /** What is in force now: to be looked at at the moment of use, and never kept where a setting may change. */
    configuration: Configuration
    /** Puts what was read in force, all of it or nothing, and says in the log and by a metric what came of it. */
    reconfigure (read: Configuration | ConfigurationError): Reload
    /** Is told of each configuration that has just come into force. */
    onReconfigured (listener: Listener): void
  }
}

/** The configuration in force. Whatever was read and cannot be used leaves the last good one as it is. */
export default fp<{ configuration: Configuration }>(async (app, { configuration }) => {
  let inForce = configuration
  let isRefused = false
  const listeners: Listener[] = []

  app.decorate('configuration', { getter: () => inForce })
  app.decorate('onReconfigured', listener => { listeners.push(listener) })

  app.decorate('reconfigure', read => {
    const outcome = read instanceof ConfigurationError ? refuse('invalid', read) : read.hash === inForce.hash ? 'unchanged' : take(read)
    if (isRefused && outcome === 'unchanged') app.log.info({ configuration: inForce.hash }, 'the configuration is again the one in force')
    isRefused = outcome === 'invalid' || outcome === 'start_needed'
    app.countReload(outcome)
    return outcome
  })

  function take (read: Configuration): Reload {
    const before = inForce
    try { inForce = inPlaceOf(before, read) } catch (error) {
      if (error instanceof ConfigurationError) return refuse('start_needed', error)
      app.log.error({ err: error }, 'configuration not taken')
      return 'invalid'
    }
    for (const listener of listeners) {
      try { listener(inForce, before) } catch (err) { app.log.error({ err }, 'configuration: one part did not follow') }
    }
    const { hash, clients, identityProviders } = inForce
    app.log.info({ configuration: hash, before: before.hash, clients: differences(before.clients, clients), identityProviders: differences(before.identityProviders, identityProviders) }, 'configuration taken')
    return 'taken'
  }

  function refuse (outcome: Reload, { problems }: ConfigurationError) {
    const why = outcome === 'invalid' ? 'it cannot be used' : 'it needs a start'
    app.log.error({ problems, configuration: inForce.hash }, `configuration refused, the last good one stays in force: ${why}`)
    return outcome
  }
}, { name: 'configuration' })
