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

const tooLong = () => new OAuthError('provider_unavailable', 'the identity provider took too long')

/**
 * A circuit breaker around one identity provider. It counts `provider_unavailable` only, never a citizen's refusal, and gates leaving only: a citizen who comes back is always
 * heard, and a good answer closes it.
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
    const answer = await call()
    breaker.close()
    return answer
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

    async endSessionUrl (logout) { return breaker.opened ? undefined : provider.endSessionUrl(logout) },

    async close () {
      breaker.shutdown()
      await provider.close()
    }
  }
}
