import { isDeepStrictEqual } from 'node:util'
import fp from 'fastify-plugin'
import { lateSeconds } from '../src/adapters/key-schedule.ts'
import { differences, inPlaceOf, withoutRecalled } from '../src/config/in-force.ts'
import { ConfigurationError, type Configuration } from '../src/config/load.ts'
import type { Recall } from '../src/records.ts'

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
    /** Leaves the keys out that were called back, and these only, whatever files come. Told again and again, it complains of files that stay. */
    leaveOutKeys (recalls: readonly Recall[]): void
  }
}

/** The configuration in force. Whatever was read and cannot be used leaves the last good one as it is. */
export default fp<{ configuration: Configuration }>(async (app, { configuration }) => {
  let asRead = configuration
  let inForce = configuration                                          // the same, but for the keys that were called back
  let recalled: readonly Recall[] = []
  let complainAt = app.now() + lateSeconds
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
    try { asRead = inPlaceOf(asRead, read) } catch (error) {
      if (error instanceof ConfigurationError) return refuse('start_needed', error)
      app.log.error({ err: error }, 'configuration not taken')
      return 'invalid'
    }
    inForce = withoutRecalledKeys()
    for (const listener of listeners) {
      try { listener(inForce, before) } catch (err) { app.log.error({ err }, 'configuration: one part did not follow') }
    }
    const { hash, clients, identityProviders } = inForce
    app.log.info({ configuration: hash, before: before.hash, clients: differences(before.clients, clients), identityProviders: differences(before.identityProviders, identityProviders) }, 'configuration taken')
    return 'taken'
  }

  const withoutRecalledKeys = () => recalled.length === 0 ? asRead : { ...asRead, keys: withoutRecalled(asRead.keys, recalled) }
  /** The keys of these that there are files of all the same. */
  function keptOf (recalls: readonly Recall[]) {
    const { signing, sealing, decryption } = asRead.keys
    return [...signing, ...sealing, ...decryption].map(({ kid }) => kid).filter(kid => recalls.some(recall => recall.kid === kid))
  }

  app.decorate('leaveOutKeys', recalls => {
    if (!isDeepStrictEqual(recalls, recalled)) {
      const kids = keptOf(recalled).filter(before => !recalls.some(({ kid }) => kid === before))
      recalled = recalls
      inForce = withoutRecalledKeys()
      if (kids.length > 0) app.log.error({ kids }, 'keys that were called back are believed again: that has ended, and their files are still here')
    }
    const kids = keptOf(recalled)
    const isTime = app.now() >= complainAt
    if (kids.length === 0 || isTime) complainAt = app.now() + lateSeconds
    if (kids.length > 0 && isTime) app.log.warn({ kids }, 'keys were called back, and their files are still here: take them away, or they are believed again when that ends')
  })

  function refuse (outcome: Reload, { problems }: ConfigurationError) {
    const why = outcome === 'invalid' ? 'it cannot be used' : 'it needs a start'
    app.log.error({ problems, configuration: inForce.hash }, `configuration refused, the last good one stays in force: ${why}`)
    return outcome
  }
}, { name: 'configuration' })
