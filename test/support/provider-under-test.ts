import { decrypter, type DecryptionKey } from '../../src/adapters/decryption-keys.ts'
import { oidcIdentityProvider, type OidcProviderOptions, type OidcProviderPorts } from '../../src/adapters/oidc-identity-provider.ts'
import { measuredCalls, providerCalls, retriedOnce, type ProviderCallsOptions } from '../../src/adapters/provider-calls.ts'
import type { Leg } from '../../src/ports.ts'

export interface Surroundings extends Partial<ProviderCallsOptions>, Partial<Pick<OidcProviderPorts, 'isOwnNonce' | 'now' | 'sharing'>> {
  decryptionKeys?: readonly DecryptionKey[] | undefined
}

/** How a provider is registered that wants nothing in particular. */
export const registrationAt = (issuer: string, changes: Partial<OidcProviderOptions> = {}): OidcProviderOptions => ({
  issuer,
  client_id: 'passerelle',
  token_endpoint_auth_method: 'client_secret_basic',
  clientSecret: 'secret',
  id_token_signed_response_alg: 'RS256',
  scopes: ['openid'],
  ...changes
})

/** What the adapter of a provider told those who operate us. */
export interface Watched {
  called: Array<{ leg: Leg, outcome: string }>
  renewed: Array<{ what: 'metadata' | 'jwks', at: number }>
  notRenewed: Array<{ what: 'metadata' | 'jwks', error: unknown }>
  skewed: number[]
}

/** The adapter of one identity provider over real calls, put together as `plugins/identity-providers.ts` does, without breaker and budget of time. */
export function providerUnderTest (options: OidcProviderOptions, { decryptionKeys = [], isOwnNonce = () => false, now = () => Math.floor(Date.now() / 1000), sharing, ...calling }: Surroundings = {}) {
  const watched: Watched = { called: [], renewed: [], notRenewed: [], skewed: [] }
  const calls = providerCalls({ timeoutMs: 3000, connections: 4, loopback: true, ...calling })
  const provider = oidcIdentityProvider(options, {
    call: retriedOnce(measuredCalls(calls.call, { called (leg, outcome) { watched.called.push({ leg, outcome }) } })),
    decrypt: decrypter(() => decryptionKeys),
    isOwnNonce,
    watch: {
      renewed (what, at) { watched.renewed.push({ what, at }) },
      notRenewed (what, error) { watched.notRenewed.push({ what, error }) },
      skewed (seconds) { watched.skewed.push(seconds) }
    },
    now,
    sharing
  })
  return { ...provider, watched, async close () { await provider.close(); await calls.close() } }
}
