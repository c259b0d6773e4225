import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import fp from 'fastify-plugin'
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import type { CitizenCount } from '../src/adapters/citizen-counts.ts'
import type { DegradedWatch } from '../src/adapters/degradable-store.ts'
import { keyInForce } from '../src/adapters/key-in-force.ts'
import { period, type Scheduled } from '../src/adapters/key-schedule.ts'
import { ranks, type Rank } from '../src/adapters/load-gauge.ts'
import { slowMs } from '../src/adapters/one-deadline.ts'
import type { SpansWatch } from '../src/adapters/traces.ts'
import { certificateEnds, secretEnds } from '../src/config/ends.ts'
import { isMaintained } from '../src/config/maintenance.ts'
import { breakerStates, legs, type BreakerState, type ProviderWatch, type StoreWatch } from '../src/ports.ts'
import { failures, responsibilityFor, type Failure } from '../src/protocol/errors.ts'
import { outcomes, steps, type EventName } from '../src/protocol/events.ts'
import { reloads, type Reload } from './configuration.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

declare module 'fastify' {
  interface FastifyInstance {
    metricsRegistry: Registry
    /** what all replicas of a site count together: asked for seldom, of one of them */
    productRegistry: Registry
    /** one more reading of the configuration that came to an end */
    countReload (outcome: Reload): void
    /** one more login that ended with tokens: of which service, at which level */
    countLogin (client_id: string, acr: string): void
    /** The name under which a service is counted: its own, or `other`. */
    clientLabel (client_id: string): string
    /** Every such name of a service. */
    clientLabels (): string[]
    /** How many citizens logged in, as it stands now. */
    tellCitizens (counts: readonly CitizenCount[]): void
    /** so many more logins whose citizens are not counted */
    countLostCitizens (logins: number): void
    /** one more failure; of which service where it ended a login, and was not only a request that nobody should have sent */
    countFailure (failure: Failure, client_id?: string): void
    /** one more time that a step of a login was done, with the identity provider where one is chosen */
    countStep (event: EventName, idp: string | undefined): void
    /** one more session that lets its citizen into the next service */
    countSession (): void
    /** A request was answered; `seconds` is our own share of the time it took. */
    timeRequest (route: string, seconds: number): void
    /** The figures of the store of one site: of `needed` calls, which somebody waits for, and of `optional` ones, which replicas can do without. */
    watchStore (site: string): StoreWatch
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
    /** The figures of the public port's connections. */
    connectionFigures: { open (connections: number): void, requests (underWay: number): void, refused (): void, draining (): void }
    /** lines of the log that nobody took */
    countLostLines (lines: number): void
    /** so many more spans of traces that ended, and that the collector took or not */
    countSpans: SpansWatch
  }
}

/** What a back-channel logout can come to. */
const deliveries = ['delivered', 'refused', 'failed', 'dropped'] as const
export type Delivery = typeof deliveries[number]

/** What a provider can do wrong. */
const ofProviders = (Object.keys(failures) as Failure[]).filter(failure => responsibilityFor(failure) === 'provider')

/** Upper bounds of what calls to identity providers take. */
const secondsOfCalls = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8]
/** Of our own share of a request, and of a call of the store, with the thresholds of our objectives among them (docs/objectives.md). */
const secondsOfOurs = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 6]
/** Services that have figures of their own; all others share `other`. A scrape of many more would block the event loop. */
const mostClients = 1000

/** Every metric, defined in one place: `passerelle_` names, closed label sets, nothing personal. */
export default fp(async app => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const counterOf = (name: string, help: string, labelNames: string[] = []) => new Counter({ name, help, labelNames, registers: [registry] })
  const gaugeOf = (name: string, help: string, labelNames: string[], collect?: (this: Gauge) => void) => new Gauge({ name, help, labelNames, registers: [registry], ...(collect === undefined ? {} : { collect }) })
  const histogramOf = (name: string, help: string, labelNames: string[], buckets = secondsOfCalls) => new Histogram({ name, help, labelNames, buckets, registers: [registry] })

  const logins = counterOf('passerelle_logins_total', 'Logins that ended: with tokens (success), or by a failure of the citizen, the client, the provider or ours', ['outcome', 'failure'])
  logins.inc({ outcome: 'success', failure: '' }, 0)
  for (const failure of Object.keys(failures) as Failure[]) logins.inc({ outcome: responsibilityFor(failure), failure }, 0)

  const ofClients = counterOf('passerelle_client_logins_total', 'Logins that ended, by the service that asked for them: with tokens (success), or on whose side they failed; of a thousand services each, of more under other', ['client_id', 'outcome'])
  const ofLevels = counterOf('passerelle_level_logins_total', 'Logins that ended with tokens, by the level of assurance that was reached', ['acr'])
  const named = new Set<string>()
  function labelOf (client_id: string) {
    if (named.has(client_id)) return client_id
    if (!app.configuration.clients.has(client_id) || named.size >= mostClients) return 'other'
    named.add(client_id)
    for (const outcome of outcomes) ofClients.inc({ client_id, outcome }, 0)
    return client_id
  }
  for (const client_id of app.configuration.clients.keys()) labelOf(client_id)
  app.decorate('clientLabel', labelOf)
  app.decorate('clientLabels', () => [...named, 'other'])
  for (const acr of app.configuration.levels.levels) ofLevels.inc({ acr }, 0)

  const product = new Registry()
  const citizensBy = (name: string, whose: string, labelNames: string[]) => new Gauge({ name, help: `Citizens who logged in during a month (UTC), each counted once a site, to about 1 %: ${whose}`, labelNames, registers: [product] })
  const citizens = {
    all: citizensBy('passerelle_citizens', 'all', ['month']),
    idp: citizensBy('passerelle_citizens_by_provider', 'by the identity provider', ['month', 'idp']),
    acr: citizensBy('passerelle_citizens_by_level', 'by the level of assurance that was reached', ['month', 'acr']),
    client_id: citizensBy('passerelle_citizens_by_client', 'by the service; of a thousand each, of more under other', ['month', 'client_id'])
  }
  app.decorate('productRegistry', product)
  app.decorate('tellCitizens', counts => {
    for (const gauge of Object.values(citizens)) gauge.reset()
    for (const { month, by = 'all', name, citizens: number } of counts) citizens[by].set({ month, ...(name === undefined ? {} : { [by]: name }) }, number)
  })
  const lostCitizens = counterOf('passerelle_citizens_uncounted_total', 'Logins whose citizens are not counted, since Redis was away and too many waited')
  app.decorate('countLostCitizens', logins => lostCitizens.inc(logins))

  const stepsDone = counterOf('passerelle_login_steps_total', 'Steps of logins that were done (docs/events.md), with the identity provider from where one is chosen', ['event', 'idp'])
  for (const event of Object.keys(steps)) stepsDone.inc({ event, idp: '' }, 0)
  app.decorate('countStep', (event, idp = '') => stepsDone.inc({ event, idp }))
  const opened = counterOf('passerelle_sessions_opened_total', 'Sessions opened, each of which lets its citizen into the next service')
  app.decorate('countSession', () => opened.inc())
  const requestSeconds = histogramOf('passerelle_request_duration_seconds', 'How long requests took us, by route: without the time in which an identity provider was asked', ['route'], secondsOfOurs)
  app.decorate('timeRequest', (route, seconds) => requestSeconds.observe({ route }, seconds))

  const build = gaugeOf('passerelle_build_info', 'The release that runs, and the Node.js that runs it', ['version', 'node'])
  build.set({ version, node: process.version }, 1)
  let utilization = performance.eventLoopUtilization()
  const busy = gaugeOf('passerelle_event_loop_utilization_ratio', 'Share of the time since the last scrape in which the event loop had something to do', [], () => {
    const now = performance.eventLoopUtilization()
    busy.set(performance.eventLoopUtilization(now, utilization).utilization)
    utilization = now
  })

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
  gaugeOf('passerelle_key_until_seconds', 'How long until the key in force has been used for as long as it should be; negative where it is overdue', ['kind', 'alg'], function () {
    this.reset()
    for (const { kind, alg, keys } of keyKinds()) this.set({ kind, alg }, keyInForce(keys, app.now())!.nbf + period[kind] - app.now())
  })
  gaugeOf('passerelle_certificate_until_seconds', 'How long until a certificate of ours, or an authority that we trust alone, is over: of our own port, or for an identity provider; of a chain the first that is', ['of', 'idp'], function () {
    this.reset()
    for (const { of, id: idp, at } of certificateEnds(app.configuration)) this.set({ of, idp }, at - app.now())
  })
  gaugeOf('passerelle_secret_until_seconds', 'How long until a secret is to be replaced, by the `expires` of its registration: ours at an identity provider, and of all services the first that is', ['of', 'idp'], function () {
    this.reset()
    const { provider = [], client = [] } = Object.groupBy(secretEnds(app.configuration), ({ of }) => of)
    for (const { of, id: idp, at } of provider) this.set({ of, idp }, at - app.now())
    if (client.length > 0) this.set({ of: 'client', idp: '' }, Math.min(...client.map(({ at }) => at)) - app.now())
  })
  function keyKinds () {
    const { signing, sealing, decryption } = app.configuration.keys
    const byAlg = (kind: keyof typeof period, keys: ReadonlyArray<Scheduled & { alg: string }>) => [...Map.groupBy(keys, ({ alg }) => alg)].map(([alg, same]) => ({ kind, alg, keys: same as Scheduled[] }))
    return [...byAlg('signing', signing), ...byAlg('decryption', decryption), { kind: 'sealing' as const, alg: 'A256GCM', keys: sealing as Scheduled[] }]
  }
  const refused = counterOf('passerelle_failures_total', 'Every failure that was answered, in a login or not', ['failure'])
  for (const failure of Object.keys(failures)) refused.inc({ failure }, 0)
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
  app.decorate('countLogin', (client_id, acr) => {
    logins.inc({ outcome: 'success', failure: '' })
    ofClients.inc({ client_id: labelOf(client_id), outcome: 'success' })
    ofLevels.inc({ acr })
  })
  app.decorate('countFailure', (failure, client_id) => {
    refused.inc({ failure })
    if (client_id === undefined) return
    const outcome = responsibilityFor(failure)
    logins.inc({ outcome, failure })
    ofClients.inc({ client_id: labelOf(client_id), outcome })
  })

  const store = {
    calls: counterOf('passerelle_store_calls_total', 'Calls of a site\'s Redis, by what came of them: answered, or not in time. Needed ones are waited for, optional ones replicas can do without', ['store', 'class', 'outcome']),
    seconds: histogramOf('passerelle_store_call_duration_seconds', 'How long calls of a site\'s Redis took, with all that they waited', ['store', 'class'], secondsOfOurs),
    ridden: counterOf('passerelle_store_ride_through_seconds_total', 'Time that calls spent waiting which a failover kept waiting and were answered all the same', ['store'])
  }
  app.decorate('watchStore', site => {
    for (const kind of ['needed', 'optional']) for (const outcome of ['answered', 'unavailable']) store.calls.inc({ store: site, class: kind, outcome }, 0)
    store.ridden.inc({ store: site }, 0)
    return {
      called (kind, outcome, seconds) {
        store.calls.inc({ store: site, class: kind, outcome })
        store.seconds.observe({ store: site, class: kind }, seconds)
        if (kind === 'needed' && outcome === 'answered' && seconds > slowMs / 1000) store.ridden.inc({ store: site }, seconds)
      }
    }
  })

  const provider = {
    calls: counterOf('passerelle_provider_calls_total', 'Calls to an identity provider, by what came of them: answered, refused (400 to 499), or a failure', ['idp', 'leg', 'outcome']),
    callSeconds: histogramOf('passerelle_provider_call_duration_seconds', 'How long calls to an identity provider took', ['idp', 'leg']),
    callbacks: counterOf('passerelle_provider_callbacks_total', 'Citizens who came back from an identity provider, by what came of it: success, or on whose side it failed, and how', ['idp', 'outcome', 'failure']),
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
    maintained: gaugeOf('passerelle_provider_maintenance', '1 while citizens are told that an identity provider is under maintenance, else 0', ['idp'], function () {
      this.reset()
      for (const [idp, registration] of app.configuration.identityProviders) this.set({ idp }, isMaintained(registration, app.now()) ? 1 : 0)
    }),
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
    provider.callbacks.inc({ idp, outcome: 'success', failure: '' }, 0)
    // from 0: what begins with 1 is no increase, and the first failure would not be seen
    for (const failure of ofProviders) provider.callbacks.inc({ idp, outcome: 'provider', failure }, 0)
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
        provider.callbacks.inc({ idp, outcome: failure === '' ? 'success' : responsibilityFor(failure), failure })
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

  const spans = counterOf('passerelle_trace_spans_total', 'Spans of traces, where they are on: ended, and of those taken by the collector or lost since it did not take them; what is neither waits, or was dropped', ['outcome'])
  for (const outcome of ['ended', 'taken', 'lost']) spans.inc({ outcome }, 0)
  app.decorate('countSpans', (outcome, more) => spans.inc({ outcome }, more))

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
