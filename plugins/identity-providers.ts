import fp from 'fastify-plugin'
import type { LookupFunction } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { bulkhead } from '../src/adapters/bulkhead.ts'
import { guarded } from '../src/adapters/circuit-breaker.ts'
import { closedLast } from '../src/adapters/closed-last.ts'
import { decrypter } from '../src/adapters/decryption-keys.ts'
import { measured } from '../src/adapters/measured.ts'
import { oidcIdentityProvider } from '../src/adapters/oidc-identity-provider.ts'
import { measuredCalls, providerCalls, retriedOnce } from '../src/adapters/provider-calls.ts'
import { providerHints } from '../src/adapters/provider-hints.ts'
import { timeBudget } from '../src/adapters/time-budget.ts'
import type { Client, IdentityProvider as Registration } from '../src/config/load.ts'
import { isMaintained } from '../src/config/maintenance.ts'
import type { IdentityProvider, Noticeboard, ProviderWatch, Question } from '../src/ports.ts'
import { upstreamAcr } from '../src/protocol/acr.ts'
import type { AuthorizationRequest } from '../src/protocol/authorization-request.ts'
import { OAuthError, type Failure } from '../src/protocol/errors.ts'
import { isOwnNonce, upstreamOf } from '../src/protocol/upstream.ts'
import type { Login } from '../src/records.ts'

/** Why a citizen cannot be sent to a provider; undefined when nothing stands in the way. */
export type Obstacle = Extract<Failure, 'provider_unknown' | 'provider_not_allowed' | 'provider_maintenance' | 'acr_too_low' | 'fresh_login_unprovable' | 'provider_unavailable'>

declare module 'fastify' {
  interface FastifyInstance {
    /** The provider behind its breaker. @throws {OAuthError} provider_unknown */
    identityProvider (idp: string): IdentityProvider
    /** Its registration. @throws {OAuthError} provider_unknown */
    providerRegistration (idp: string): Registration
    /** What keeps a citizen who comes with this request from being sent to a provider. */
    obstacleTo (idp: string, client: Client, request: Pick<AuthorizationRequest, 'acr' | 'prompt' | 'max_age'>): Obstacle | undefined
    /** What a login asks of the provider it is at: the same each time, since it derives from the login. @throws {OAuthError} provider_unknown */
    questionFor (login: Login & { idp: string }): Question
  }
}

export interface IdentityProvidersOptions { identityProviders?: Map<string, IdentityProvider> | undefined, lookup?: LookupFunction | undefined }

/** Upstream: one port for each identity provider of the configuration, each in its own chain of guards, which is kept while what it was made of stays as it is. */
export default fp<IdentityProvidersOptions>(async (app, { identityProviders, lookup }) => {
  const { settings, keys } = app.configuration
  const registrations = () => app.configuration.identityProviders
  const decrypt = decrypter(() => app.configuration.keys.decryption)
  const sharing = { board: remembering(app.noticeboard), sealer: app.sealer }

  /** From the outside in: no more than so many at a time, measured, behind a breaker, within a budget of time, spoken by OpenID Connect over limited connections. */
  function chainOf (registration: Registration) {
    let isShown = true
    const { id, state, breaker, timeout_ms: timeoutMs, concurrent_callbacks: most, certificateAuthority: ca, certificate } = registration
    const watch = watchOf(id, () => isShown)
    const calls = providerCalls({ timeoutMs, connections: most, lookup, loopback: registration.loopback || settings.environment === 'development', tls: { ca, ...certificate } })
    const measuredCall = measuredCalls(calls.call, watch)
    const provider = oidcIdentityProvider(registration, {
      call: retriedOnce(app.traces?.calls(measuredCall, id, registration.traceparent) ?? measuredCall),
      decrypt,
      isOwnNonce: nonce => isOwnNonce(keys.subject, nonce),
      watch,
      now: app.now,
      sharing
    })
    const closing = { ...provider, async close () { await Promise.all([provider.close(), calls.close()]) } }
    const limited = timeBudget(closing, registration.callback_timeout_ms)
    // nobody is sent to one that is disabled: it need not be asked
    const behindBreaker = guarded(limited, { name: id, ...breaker, ...(state === 'disabled' ? { probe_ms: 0 } : {}), watch })
    const chain = closedLast(bulkhead(measured(behindBreaker, watch), { most, watch }))
    return {
      ...chain,
      madeOf: spokenOf(registration),
      isResting: state === 'disabled',
      /** From now on it keeps itself informed; one that is disabled knows what was left for it, for those who are there. */
      begin () {
        if (this.isResting) return chain.takeOver()
        chain.start()
        chain.check()
      },
      /** It is asked nothing more of our own accord, and its state is no longer shown. */
      rest () {
        this.isResting = true
        isShown = false
        chain.rest()
        chain.stop()
      }
    }
  }

  /** The figures of one provider, and the log: of what goes on for long its beginning and its end. */
  function watchOf (idp: string, isShown: () => boolean): ProviderWatch {
    const figures = app.watchProvider(idp)
    const missed = new Set<string>()
    let isDown = false
    return {
      ...figures,
      inFlight (callbacks) { if (isShown()) figures.inFlight(callbacks) },
      renewed (what, at) {
        missed.delete(what)
        if (isShown()) figures.renewed(what, at)
      },
      breaker (state) {
        if (!isShown()) return
        figures.breaker(state)
        if (state === 'half_open' || (state === 'open' && isDown) || (state === 'closed' && !isDown)) return
        isDown = state === 'open'
        app.log[state === 'closed' ? 'info' : 'warn']({ idp, state }, 'circuit breaker')
        if (isDown) hint(idp)
      },
      notRenewed (what, err) {
        if (!missed.has(what) && isShown()) app.log.warn({ idp, failure: err instanceof OAuthError ? err.failure : 'unexpected', err }, `${what} not renewed`)
        missed.add(what)
      }
    }
  }

  const hint = providerHints({ ...sharing, now: app.now, issuer: settings.issuer, knows: idp => registrations().has(idp), take: idp => chains.get(idp)?.suspect(), count: app.countHint })
  type Chain = ReturnType<typeof chainOf>
  const chains = new Map<string, Chain>(identityProviders === undefined ? [...registrations()].map(([idp, registration]) => [idp, chainOf(registration)] as const) : [])
  const providers: Map<string, IdentityProvider> = identityProviders ?? chains
  const leaving = new Set<Chain>()
  let isListening = false

  const found = <T>(map: Map<string, T>, idp: string) => {
    const entry = map.get(idp)
    if (entry === undefined) throw new OAuthError('provider_unknown', 'no such identity provider')
    return entry
  }
  app.decorate('identityProvider', idp => found(providers, idp))
  app.decorate('providerRegistration', idp => found(registrations(), idp))

  app.decorate('obstacleTo', (idp, client, { acr, prompt = [], max_age }) => {
    const registration = registrations().get(idp)
    if (registration === undefined || registration.state === 'disabled') return 'provider_unknown'
    if (registration.state === 'hidden' && !client.idp_hints.includes(idp)) return 'provider_unknown'
    const { allow, deny } = client.identity_providers
    if (deny.includes(idp) || (allow !== undefined && !allow.includes(idp))) return 'provider_not_allowed'
    if (upstreamAcr(app.configuration.levels.levels, acr, registration.acr_values) === undefined) return 'acr_too_low'
    const freshWanted = prompt.includes('login') || max_age !== undefined
    if (freshWanted && !registration.reports_auth_time && !registration.always_authenticates) return 'fresh_login_unprovable'
    if (isMaintained(registration, app.now())) return 'provider_maintenance'
    return found(providers, idp).standing() === 'down' ? 'provider_unavailable' : undefined
  })

  app.decorate('questionFor', login => {
    const { settings: { issuer }, levels: { levels }, keys: { subject } } = app.configuration
    const { acr, prompt = [], max_age, client_id } = login.request
    return {
      ...upstreamOf(login, login.idp, client_id, subject),
      redirect_uri: `${issuer}/callback/${login.idp}`,
      acr: upstreamAcr(levels, acr, app.providerRegistration(login.idp).acr_values) ?? acr,
      prompt: prompt.includes('login') || max_age === 0 ? 'login' : undefined,
      max_age,
      ui_locales: login.language
    }
  })

  // nothing waits for them: a provider that is down keeps nobody from starting, and is known to be down before a citizen is sent there
  app.addHook('onListen', async () => {
    isListening = true
    for (const chain of chains.values()) chain.begin()
  })

  app.onReconfigured(() => {
    if (identityProviders !== undefined) return
    for (const [idp, registration] of registrations()) {
      const former = chains.get(idp)
      const isDisabled = registration.state === 'disabled'
      const isKept = former !== undefined && isDeepStrictEqual(former.madeOf, spokenOf(registration)) && (isDisabled || !former.isResting)
      if (isKept && isDisabled && !former.isResting) rest(idp, former)
      if (isKept) continue
      if (former !== undefined) leave(idp, former)
      const chain = chainOf(registration)
      chains.set(idp, chain)
      if (isListening) chain.begin()
    }
    for (const [idp, chain] of chains) {
      if (registrations().has(idp)) continue
      chains.delete(idp)
      leave(idp, chain)
    }
  })

  function rest (idp: string, chain: Chain) {
    chain.rest()
    app.forgetProvider(idp)
  }

  /** Whoever is on the way back by it is heard; then it closes. */
  function leave (idp: string, chain: Chain) {
    rest(idp, chain)
    leaving.add(chain)
    chain.closeLast().catch(err => app.log.warn({ idp, err }, 'identity provider not closed')).finally(() => leaving.delete(chain))
  }

  app.addHook('onClose', async () => { await Promise.all([...leaving, ...providers.values()].map(provider => provider.close())) })
}, { name: 'identity-providers', dependencies: ['configuration', 'metrics', 'traces', 'store', 'signer'] })

/** Of a registration what its chain is made of: with the rest of it only what we say of the provider changes, or what we make of its answers. */
function spokenOf (registration: Registration) {
  const { title, logo, logoAsset, order, state, maintenance, acr_values, amr, required_claims, reports_auth_time, always_authenticates, ...spoken } = registration
  return spoken
}

/** A noticeboard that knows what was pinned from here: what a provider published outlives its chain, also where nothing is shared. */
function remembering (board: Noticeboard): Noticeboard {
  const pinned = new Map<string, string>()
  return {
    ...board,
    pin (name, text, seconds) {
      pinned.set(name, text)
      return board.pin(name, text, seconds)
    },
    read: async name => await board.read(name) ?? pinned.get(name)
  }
}
