import { OAuthError } from '../protocol/errors.ts'
import type { Upstream } from '../ports.ts'
import { inTime } from './in-time.ts'

const tooLong = () => new OAuthError('provider_timed_out', 'the identity provider took too long')

/** One budget of time for all calls of one callback: when it is spent, the citizen is answered and nothing more is asked. */
export function timeBudget<P extends Upstream> (provider: P, milliseconds: number): P {
  return {
    ...provider,
    identify: (callback, question) => inTime(milliseconds, provider.identify(callback, question, performance.now() + milliseconds), tooLong)
  }
}
