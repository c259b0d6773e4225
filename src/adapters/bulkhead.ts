import { OAuthError } from '../protocol/errors.ts'
import type { Answer, IdentityProvider, ProviderWatch } from '../ports.ts'

/**
 * A cap on the callbacks under way at one identity provider: one that answers slowly takes no more of us than this. Nothing was sent of what is refused. A login comes back
 * once at a time: a double click shares the answer.
 */
export function bulkhead<P extends IdentityProvider> (provider: P, { most, watch }: { most: number, watch: Pick<ProviderWatch, 'inFlight' | 'rejected'> }): P {
  const underWay = new Map<string, { callback: string, answer: Promise<Answer> }>()

  return {
    ...provider,
    async identify (callback, question) {
      const same = underWay.get(question.state)
      if (same?.callback === callback.href) return same.answer
      if (same !== undefined) throw new OAuthError('login_elsewhere', 'another answer for this login is being looked at')
      if (underWay.size >= most) {
        watch.rejected()
        throw new OAuthError('provider_overloaded', 'as many citizens as we let are on their way back from this identity provider')
      }
      const answer = provider.identify(callback, question)
      underWay.set(question.state, { callback: callback.href, answer })
      watch.inFlight(underWay.size)
      try { return await answer } finally {
        underWay.delete(question.state)
        watch.inFlight(underWay.size)
      }
    }
  }
}
