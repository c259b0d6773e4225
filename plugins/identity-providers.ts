import fp from 'fastify-plugin'
import type { LookupFunction } from 'node:net'
import { guarded } from '../src/adapters/circuit-breaker.ts'
import { oidcIdentityProvider } from '../src/adapters/oidc-identity-provider.ts'
import type { Client, IdentityProvider as Registration } from '../src/config/load.ts'
import type { IdentityProvider, Question } from '../src/ports.ts'
import { upstreamAcr } from '../src/protocol/acr.ts'
import { OAuthError, type Failure } from '../src/protocol/errors.ts'
import { clientMark } from '../src/protocol/subject.ts'
import { upstreamOf } from '../src/protocol/upstream.ts'
import type { Login } from '../src/records.ts'

/** Why a citizen cannot be sent to a provider; undefined when nothing stands in the way. */
export type Obstacle = Extract<Failure, 'provider_unknown' | 'provider_not_allowed' | 'provider_maintenance' | 'acr_too_low' | 'provider_unavailable'>

declare module 'fastify' {
  interface FastifyInstance {
    /** The provider behind its breaker. @throws {OAuthError} provider_unknown */
    identityProvider (idp: string): IdentityProvider
    /** Its registration. @throws {OAuthError} provider_unknown */
    providerRegistration (idp: string): Registration
    /** What keeps a citizen of this client, who needs this level, from being sent to a provider. */
    obstacleTo (idp: string, client: Client, acr: string): Obstacle | undefined
    /** What a login asks of the provider it is at: the same each time, since it derives from the login. @throws {OAuthError} provider_unknown */
    questionFor (login: Login & { idp: string }): Question
  }
}

export interface IdentityProvidersOptions { identityProviders?: Map<string, IdentityProvider> | undefined, lookup?: LookupFunction | undefined }

/** Upstream: one port for each identity provider of the configuration, each behind its breaker. */
export default fp<IdentityProvidersOptions>(async (app, { identityProviders, lookup }) => {
  const registrations = () => app.configuration.identityProviders
  const providers = identityProviders ?? new Map([...registrations()].map(([idp, registration]) => [idp, guarded(oidcIdentityProvider({ ...registration, lookup }), {
    name: idp,
    ...registration.breaker,
    callbackTimeoutMs: registration.callback_timeout_ms
  })]))

  const found = <T>(map: Map<string, T>, idp: string) => {
    const entry = map.get(idp)
    if (entry === undefined) throw new OAuthError('provider_unknown', 'no such identity provider')
    return entry
  }
  app.decorate('identityProvider', idp => found(providers, idp))
  app.decorate('providerRegistration', idp => found(registrations(), idp))

  function inMaintenance ({ state, maintenance: { from, until } = {} }: Registration) {
    const begun = state === 'maintenance' || (from === undefined ? until !== undefined : Date.parse(from) / 1000 <= app.now())
    return begun && (until === undefined || Date.parse(until) / 1000 > app.now())
  }

  app.decorate('obstacleTo', (idp, client, acr) => {
    const registration = registrations().get(idp)
    if (registration === undefined || registration.state === 'disabled') return 'provider_unknown'
    if (registration.state === 'hidden' && !client.idp_hints.includes(idp)) return 'provider_unknown'
    const { allow, deny } = client.identity_providers
    if (deny.includes(idp) || (allow !== undefined && !allow.includes(idp))) return 'provider_not_allowed'
    if (upstreamAcr(app.configuration.levels.levels, acr, registration.acr_values) === undefined) return 'acr_too_low'
    if (inMaintenance(registration)) return 'provider_maintenance'
    return found(providers, idp).available() ? undefined : 'provider_unavailable'
  })

  app.decorate('questionFor', login => {
    const { settings: { issuer }, levels: { levels }, keys: { subject } } = app.configuration
    const { acr, prompt = [], max_age, client_id } = login.request
    return {
      ...upstreamOf(login, login.idp, clientMark(subject, login.id, client_id)),
      redirect_uri: `${issuer}/callback/${login.idp}`,
      acr: upstreamAcr(levels, acr, app.providerRegistration(login.idp).acr_values) ?? acr,
      prompt: prompt.includes('login') || max_age === 0 ? 'login' : undefined,
      max_age,
      ui_locales: login.language
    }
  })

  app.addHook('onClose', async () => { await Promise.all([...providers.values()].map(provider => provider.close())) })
}, { name: 'identity-providers' })
