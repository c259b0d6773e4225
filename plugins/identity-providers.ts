import fp from 'fastify-plugin'
import type { LookupFunction } from 'node:net'
import { guarded } from '../src/adapters/circuit-breaker.ts'
import { oidcIdentityProvider } from '../src/adapters/oidc-identity-provider.ts'
import type { Client, IdentityProvider as Registration } from '../src/config/load.ts'
import type { IdentityProvider } from '../src/ports.ts'
import { upstreamAcr } from '../src/protocol/acr.ts'
import { OAuthError, type Failure } from '../src/protocol/errors.ts'

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
    /** Whether a provider is in maintenance now. */
    inMaintenance (registration: Registration): boolean
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

  app.decorate('inMaintenance', ({ state, maintenance }) => {
    if (maintenance === undefined) return false
    const { from, until } = maintenance
    const begun = state === 'maintenance' || (from === undefined ? until !== undefined : Date.parse(from) / 1000 <= app.now())
    return begun && (until === undefined || Date.parse(until) / 1000 > app.now())
  })

  app.decorate('obstacleTo', (idp, client, acr) => {
    const registration = registrations().get(idp)
    if (registration === undefined || registration.state === 'disabled') return 'provider_unknown'
    if (registration.state === 'hidden' && !client.idp_hints.includes(idp)) return 'provider_unknown'
    const { allow, deny } = client.identity_providers
    if (deny.includes(idp) || (allow !== undefined && !allow.includes(idp))) return 'provider_not_allowed'
    if (upstreamAcr(app.configuration.levels.levels, acr, registration.acr_values) === undefined) return 'acr_too_low'
    if (app.inMaintenance(registration)) return 'provider_maintenance'
    return found(providers, idp).available() ? undefined : 'provider_unavailable'
  })

  app.addHook('onClose', async () => { await Promise.all([...providers.values()].map(provider => provider.close())) })
}, { name: 'identity-providers' })
