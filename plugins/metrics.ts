import fp from 'fastify-plugin'
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import type { DegradedWatch } from '../src/adapters/degradable-store.ts'
import { keyInForce } from '../src/adapters/key-in-force.ts'
import type { Scheduled } from '../src/adapters/key-schedule.ts'
import { ranks, type Rank } from '../src/adapters/load-gauge.ts'
import { breakerStates, legs, type BreakerState, type ProviderWatch } from '../src/ports.ts'
import { failures, responsibilityFor, type Failure } from '../src/protocol/errors.ts'
import { reloads, type Reload } from './configuration.ts'

declare module 'fastify' {
  interface FastifyInstance {
    metricsRegistry: Registry
    /** one more reading of the configuration that came to an end */
    countReload (outcome: Reload): void
    /** one more login that ended with tokens */
    countLogin (): void
    /** one more failure; whether it ended a login, or only was a request that nobody should have sent */
    countFailure (failure: Failure, endedLogin: boolean): void
    /** one more back-channel logout that came to an end, or so many */
    countBackChannelLogout (outcome: Delivery, more?: number): void
    /** one more name that a client was believed to say for the first time, since the store could not tell */
    countUncheckedReplay (): void
    /** one more time that a session did not note a login */
    countLostNote (): void
    /** How many recalls are in force is asked of this. */
    watchRecalls (count: () => number): void
    /** one more time that what operators called back could not be read */
    countRecallsUnread (): void
    /** What goes on while the store is away. */
    degraded: DegradedWatch
    /** The figures of one identity provider. */
    watchProvider (idp: string): Omit<ProviderWatch, 'notRenewed'>
    /** There is no such identity provider any more, or none that is asked: what stands of it is not shown. */
    forgetProvider (idp: string): void
    /** one more hint that a provider is down: given to other replicas, or taken from one */
    countHint (idp: string, way: 'given' | 'taken' | 'ignored'): void
    /** What load shedding sees is asked of these; each request that it sends away is counted. */
    watchLoad (seen: { loginsPerSecond: () => number, waiting: () => number, inFlight: () => number, parked: () => number, delaySeconds: () => number, pressure: () => number }): { shed (rank: Rank): void }
    /** What is limited is counted by these. */
    watchRates (): { limited (what: 'address' | 'credentials'): void, storeFailed (): void, uncounted (): void }
    /** one more time that what replicas can do without was not to be had */
    countNoticeboardFailure (): void
    /** The figures of the public port's connections. */
    connectionFigures: { open (connections: number): void, requests (underWay: number): void, refused (): void, draining (): void }
    /** lines of the log that nobody took */
    countLostLines (lines: number): void
  }
}

/** What a back-channel logout can come to. */
const deliveries = ['delivered', 'refused', 'failed', 'dropped'] as const
export type Delivery = typeof deliveries[number]

/** Upper bounds of what calls to identity providers take. */
const secondsOfCalls = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8]

/** Every metric, defined in one place: `passerelle_` names, closed label sets, nothing personal. */
export default fp(async app => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const counterOf = (name: string, help: string, labelNames: string[] = []) => new Counter({ name, help, labelNames, registers: [registry] })
  const gaugeOf = (name: string, help: string, labelNames: string[], collect?: (this: Gauge) => void) => new Gauge({ name, help, labelNames, registers: [registry], ...(collect === undefined ? {} : { collect }) })
  const histogramOf = (name: string, help: string, labelNames: string[]) => new Histogram({ name, help, labelNames, buckets: secondsOfCalls, registers: [registry] })

  const logins = counterOf('passerelle_logins_total', 'Logins that ended: with tokens (success), or by a failure of the citizen, the client, the provider or ours', ['outcome', 'failure'])
  logins.inc({ outcome: 'success', failure: '' }, 0)
  for (const failure of Object.keys(failures) as Failure[]) logins.inc({ outcome: responsibilityFor(failure), failure }, 0)

  app.decorate('metricsRegistry', registry)
  gaugeOf('passerelle_configuration_info', 'The configuration in force, by its hash: replicas that differ are seen', ['hash'], function () {
    this.reset()
    this.set({ hash: app.configuration.hash }, 1)
  })
  const loadedAt = gaugeOf('passerelle_configuration_loaded_timestamp_seconds', 'When the configuration in force was taken', [])
  const isGood = gaugeOf('passerelle_configuration_last_reload_successful', '1 while what was read last is in force, 0 while the files are refused and the last good ones are', [])
  const reloaded = counterOf('passerelle_configuration_reloads_total', 'Readings of the configuration, by what came of them: taken, unchanged, invalid, or start_needed for what only a start can change', ['outcome'])
  loadedAt.set(app.now())
  isGood.set(1)
  for (const outcome of reloads) reloaded.inc({ outcome }, 0)
  app.decorate('countReload', outcome => {
    reloaded.inc({ outcome })
    isGood.set(outcome === 'taken' || outcome === 'unchanged' ? 1 : 0)
    if (outcome === 'taken') loadedAt.set(app.now())
  })

  gaugeOf('passerelle_key_age_seconds', 'For how long the key in force has been used, by what it is for and its algorithm: one that grows beyond its period was not followed', ['kind', 'alg'], function () {
    this.reset()
    for (const { kind, alg, keys } of keyKinds()) this.set({ kind, alg }, Math.max(0, app.now() - keyInForce(keys, app.now())!.nbf))
  })
  gaugeOf('passerelle_key_next_seconds', 'How long until the next key is used, where one waits', ['kind', 'alg'], function () {
    this.reset()
    for (const { kind, alg, keys } of keyKinds()) {
      const next = Math.min(...keys.map(({ nbf }) => nbf).filter(nbf => nbf > app.now()))
      if (next < Infinity) this.set({ kind, alg }, next - app.now())
    }
  })
  function keyKinds () {
    const { signing, sealing, decryption } = app.configuration.keys
    const byAlg = (kind: string, keys: ReadonlyArray<Scheduled & { alg: string }>) => [...Map.groupBy(keys, ({ alg }) => alg)].map(([alg, same]) => ({ kind, alg, keys: same as Scheduled[] }))
    return [...byAlg('signing', signing), ...byAlg('decryption', decryption), { kind: 'sealing', alg: 'A256GCM', keys: sealing as Scheduled[] }]
  }
  const refused = counterOf('passerelle_failures_total', 'Every failure that was answered, in a login or not', ['failure'])
  const logouts = counterOf('passerelle_back_channel_logouts_total', 'Clients told of a logout behind the citizen\'s back, by what came of it', ['outcome'])
  for (const outcome of deliveries) logouts.inc({ outcome }, 0)
  const unchecked = counterOf('passerelle_unchecked_replays_total', 'Client assertions, DPoP proofs and pushed requests accepted while the store, or that of the site that gave them, could not say whether they had been used')
  const lostNotes = counterOf('passerelle_session_notes_lost_total', 'Logins that their session did not note, since the store was away: clients that are not told of its end, or a former handle that lives on')
  const sealedCodes = counterOf('passerelle_degraded_codes_total', 'Codes that hold their record, given while the store was away')
  const redemptions = counterOf('passerelle_degraded_redemptions_total', 'Such codes redeemed: recorded by the store, by this replica alone, or again, after another replica did', ['how'])
  for (const how of ['recorded', 'alone', 'again']) redemptions.inc({ how }, 0)
  const unread = counterOf('passerelle_recalls_unread_total', 'Times that what operators called back could not be read, could not be opened, or could not be written where it was lost: what was known counts on')
  app.decorate('countRecallsUnread', () => unread.inc())
  app.decorate('watchRecalls', count => {
    const inForce = gaugeOf('passerelle_recalls_in_force', 'What operators called back, as this replica knows it', [], () => inForce.set(count()))
  })
  app.decorate('countLostNote', () => lostNotes.inc())
  app.decorate('degraded', { sealed: () => sealedCodes.inc(), redeemed: how => redemptions.inc({ how }) })
  app.decorate('countBackChannelLogout', (outcome, more = 1) => logouts.inc({ outcome }, more))
  app.decorate('countUncheckedReplay', () => unchecked.inc())
  app.decorate('countLogin', () => logins.inc({ outcome: 'success', failure: '' }))
  app.decorate('countFailure', (failure, endedLogin) => {
    refused.inc({ failure })
    if (endedLogin) logins.inc({ outcome: responsibilityFor(failure), failure })
  })

  const provider = {
    calls: counterOf('passerelle_provider_calls_total', 'Calls to an identity provider, by what came of them: answered, refused (400 to 499), or a failure', ['idp', 'leg', 'outcome']),
    callSeconds: histogramOf('passerelle_provider_call_duration_seconds', 'How long calls to an identity provider took', ['idp', 'leg']),
    callbacks: counterOf('passerelle_provider_callbacks_total', 'Citizens who came back from an identity provider, by what came of it: the failure, or success', ['idp', 'outcome']),
    callbackSeconds: histogramOf('passerelle_provider_callback_duration_seconds', 'How long it took to learn from an identity provider who came back', ['idp']),
    state: gaugeOf('passerelle_provider_breaker_state', 'The state of the circuit breaker of an identity provider: 1 for the one in force', ['idp', 'state']),
    transitions: counterOf('passerelle_provider_breaker_transitions_total', 'How often the circuit breaker of an identity provider went to a state', ['idp', 'state']),
    inFlight: gaugeOf('passerelle_provider_callbacks_in_flight', 'Citizens on their way back from an identity provider', ['idp']),
    rejected: counterOf('passerelle_provider_callbacks_rejected_total', 'Citizens who came back while as many as we let were on their way', ['idp']),
    ages: {
      metadata: gaugeOf('passerelle_provider_metadata_age_seconds', 'Age of the metadata of an identity provider', ['idp'], () => tellAges('metadata')),
      jwks: gaugeOf('passerelle_provider_jwks_age_seconds', 'Age of the keys of an identity provider', ['idp'], () => tellAges('jwks'))
    },
    skew: gaugeOf('passerelle_provider_clock_skew_seconds', 'The clock of an identity provider against ours, by the last token it made; positive when it is ahead', ['idp']),
    hints: counterOf('passerelle_provider_hints_total', 'Hints that an identity provider is down, given to other replicas, taken from them, or ignored since one replica gives too many', ['idp', 'way'])
  }
  const renewedAt = { metadata: new Map<string, number>(), jwks: new Map<string, number>() }
  function tellAges (what: keyof typeof renewedAt) { for (const [idp, at] of renewedAt[what]) provider.ages[what].set({ idp }, Math.max(0, app.now() - at)) }

  app.decorate('watchProvider', idp => {
    let inForce: BreakerState | undefined
    for (const state of breakerStates) {
      provider.state.set({ idp, state }, 0)
      provider.transitions.inc({ idp, state }, 0)
    }
    provider.callbacks.inc({ idp, outcome: 'success' }, 0)
    for (const leg of legs) provider.calls.inc({ idp, leg, outcome: 'answered' }, 0)
    for (const way of ['given', 'taken', 'ignored']) provider.hints.inc({ idp, way }, 0)
    provider.rejected.inc({ idp }, 0)
    provider.inFlight.set({ idp }, 0)
    return {
      called (leg, outcome, seconds) {
        provider.calls.inc({ idp, leg, outcome })
        provider.callSeconds.observe({ idp, leg }, seconds)
      },
      identified (failure, seconds) {
        provider.callbacks.inc({ idp, outcome: failure === '' ? 'success' : failure })
        provider.callbackSeconds.observe({ idp }, seconds)
      },
      breaker (now) {
        for (const state of breakerStates) provider.state.set({ idp, state }, state === now ? 1 : 0)
        if (inForce !== undefined) provider.transitions.inc({ idp, state: now })
        inForce = now
      },
      inFlight: callbacks => provider.inFlight.set({ idp }, callbacks),
      rejected: () => provider.rejected.inc({ idp }),
      renewed: (what, at) => { renewedAt[what].set(idp, at) },
      skewed: seconds => provider.skew.set({ idp }, seconds)
    }
  })
  app.decorate('forgetProvider', idp => {
    for (const state of breakerStates) provider.state.remove({ idp, state })
    for (const gauge of [provider.inFlight, provider.skew, ...Object.values(provider.ages)]) gauge.remove({ idp })
    for (const at of Object.values(renewedAt)) at.delete(idp)
  })
  app.decorate('countHint', (idp, way) => provider.hints.inc({ idp, way }))
  const failing = counterOf('passerelle_noticeboard_failures_total', 'What replicas can do without and Redis did not do: hints, shared metadata')
  app.decorate('countNoticeboardFailure', () => failing.inc())

  const open = gaugeOf('passerelle_connections_open', 'Connections to the public port', [])
  const underWay = gaugeOf('passerelle_requests_under_way', 'Requests to the public port that are not yet answered', [])
  const draining = gaugeOf('passerelle_draining', '1 from the moment this replica is told to end', [])
  const refusedConnections = counterOf('passerelle_connections_refused_total', 'Connections to the public port that were closed at once: there were as many as we let, or one asked on and on without waiting for answers')
  app.decorate('connectionFigures', {
    open: connections => open.set(connections),
    requests: requests => underWay.set(requests),
    refused: () => refusedConnections.inc(),
    draining: () => draining.set(1)
  })
  const lostLines = counterOf('passerelle_log_lines_lost_total', 'Lines of the log that nobody took: the pipe is blocked, its reader is gone, or the disk is full')
  app.decorate('countLostLines', lines => lostLines.inc(lines))

  app.decorate('watchRates', () => {
    const limited = counterOf('passerelle_rate_limited_total', 'Requests refused since too many came: of one address, or with wrong credentials for one client from one address', ['what'])
    for (const what of ['address', 'credentials']) limited.inc({ what }, 0)
    const storeFailures = counterOf('passerelle_rate_limit_store_failures_total', 'Times that the replicas\' common count could not be had soon: what this replica counted is all that counted')
    const uncounted = counterOf('passerelle_rate_limit_uncounted_total', 'Requests not counted since they came from more addresses than we count at a time')
    return { limited: what => limited.inc({ what }), storeFailed: () => storeFailures.inc(), uncounted: () => uncounted.inc() }
  })

  app.decorate('watchLoad', ({ loginsPerSecond, waiting, inFlight, parked, delaySeconds, pressure }) => {
    const shed = counterOf('passerelle_requests_shed_total', 'Requests sent away for some seconds since there was too much to do, by how far their login had come', ['class'])
    for (const rank of ranks) shed.inc({ class: rank }, 0)
    const flying = gaugeOf('passerelle_requests_in_flight', 'Requests that are being answered', [], () => flying.set(inFlight()))
    const standing = gaugeOf('passerelle_requests_parked', 'Requests that have waited for the store for a quarter of a second and more: they are not in flight, and take nobody\'s place', [], () => standing.set(parked()))
    const bearable = gaugeOf('passerelle_login_budget', 'Logins that are let begin in a second when more would: by what they have cost, as many as can come to their end', [], () => bearable.set(loginsPerSecond()))
    const lining = gaugeOf('passerelle_requests_waiting', 'Requests that wait in line since more came at once than are let in at a turn of the event loop', [], () => lining.set(waiting()))
    const delay = gaugeOf('passerelle_load_delay_seconds', 'How late the event loop runs its timers, averaged over a second: what load shedding goes by', [], () => delay.set(delaySeconds()))
    const pressing = gaugeOf('passerelle_load_pressure', 'What is sent away since the event loop is late: up to 1 a share of new logins, up to 2 of those under way too, up to 3 of everything', [], () => pressing.set(pressure()))
    return { shed: rank => shed.inc({ class: rank }) }
  })

  app.addHook('onClose', async () => registry.clear())
}, { name: 'metrics', dependencies: ['configuration'] })
