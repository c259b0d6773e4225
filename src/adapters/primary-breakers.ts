import CircuitBreaker from 'opossum'
import { OAuthError } from '../protocol/errors.ts'
import { jittered } from './jittered.ts'
import { within } from './record-store.ts'

/** how long one that does not answer is left alone */
const resetMs = 1000
/** calls in a second that have to fail before it is */
const volume = 3
/** how many are remembered: addresses change as pods move */
const most = 64

type Ask = () => Promise<unknown>

/**
 * A circuit breaker for each primary of the store, for what need not wait: puts, which can go elsewhere, and what one can do without. A primary that does not answer makes a few
 * of them wait, and the others none of it.
 */
export function primaryBreakers () {
  const breakers = new Map<string, CircuitBreaker<[Ask], unknown>>()

  function breakerOf (primary: string) {
    const known = breakers.get(primary)
    if (known !== undefined) return known
    for (const [oldest, breaker] of [...breakers].slice(0, Math.max(0, breakers.size - most + 1))) {
      breaker.shutdown()
      breakers.delete(oldest)
    }
    const breaker = new CircuitBreaker<[Ask], unknown>(async ask => ask(), {
      name: primary,
      timeout: false,
      rollingCountTimeout: 1000,
      rollingCountBuckets: 2,
      rollingPercentilesEnabled: false,
      errorThresholdPercentage: 50,
      volumeThreshold: volume,
      resetTimeout: jittered(resetMs)
    })
    breakers.set(primary, breaker)
    return breaker
  }

  return {
    /** Whether it has not been answering, and it is not time to try it again. */
    isOpen (primary: string) {
      const breaker = breakers.get(primary)
      return breaker !== undefined && !breaker.closed && !breaker.pendingClose
    },

    /** The answer of a primary if it comes soon. @throws {OAuthError} store_unavailable */
    async soon<T> (primary: string, patienceMs: number, ask: () => Promise<T>): Promise<T> {
      try {
        return await breakerOf(primary).fire(() => within(patienceMs, ask())) as T
      } catch (cause) {
        throw cause instanceof OAuthError ? cause : new OAuthError('store_unavailable', 'a part of the store has not been answering', { cause })
      }
    },

    close () { for (const breaker of breakers.values()) breaker.shutdown() }
  }
}
