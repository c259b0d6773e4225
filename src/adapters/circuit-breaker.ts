import CircuitBreaker from 'opossum'
import { OAuthError } from '../protocol/errors.ts'
import type { IdentityProvider } from '../ports.ts'
import { inTime } from './in-time.ts'

export interface BreakerOptions {
  name: string
  error_percent: number
  volume: number
  window_ms: number
  reset_ms: number
  /** one budget of time for all calls of one way back */
  callbackTimeoutMs: number
}

const logoutPatienceMs = 500
const tooLong = () => new OAuthError('provider_unavailable', 'the identity provider took too long')

/**
 * A circuit breaker around one identity provider. It counts `provider_unavailable` only, never a citizen's refusal, and gates leaving only: a citizen who comes back is always
 * heard. What decides whether it closes is its own trial after a pause, not one good answer of a provider that is half sick.
 */
export function guarded (provider: IdentityProvider, options: BreakerOptions): IdentityProvider {
  const breaker = new CircuitBreaker<[() => Promise<any>], any>(async call => call(), {
    name: options.name,
    timeout: false,                                                    // opossum's own signal is shared by every call in flight
    errorThresholdPercentage: options.error_percent,
    volumeThreshold: options.volume,
    rollingCountTimeout: options.window_ms,
    resetTimeout: options.reset_ms,
    errorFilter: (error: unknown) => !(error instanceof OAuthError && error.failure === 'provider_unavailable')
  })

  const watched = async <T>(call: () => Promise<T>): Promise<T> => {
    try { return await breaker.fire(call) } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EOPENBREAKER') throw error
    }
    return call()
  }

  return {
    available: () => !breaker.opened,

    async authorizationUrl (question) {
      if (breaker.opened) throw new OAuthError('provider_unavailable', 'the identity provider has not been answering')
      try { return await provider.authorizationUrl(question) } catch (error) {
        return watched(() => Promise.reject(error))                     // only a failure says something: mostly no call is made
      }
    },

    identify: (callback, question) => watched(() => inTime(options.callbackTimeoutMs, provider.identify(callback, question), tooLong)),

    /** Where it logs out; a provider that is down or slow to say keeps nobody who logs out. */
    async endSessionUrl (logout) {
      if (breaker.opened) return undefined
      return inTime(logoutPatienceMs, provider.endSessionUrl(logout), tooLong).catch(() => undefined)
    },

    async close () {
      breaker.shutdown()
      await provider.close()
    }
  }
}
