import { OAuthError } from '../protocol/errors.ts'
import type { IdentityProvider, ProviderWatch } from '../ports.ts'

/** Tells of each callback what came of it, and how long it took. */
export function measured<P extends IdentityProvider> (provider: P, watch: Pick<ProviderWatch, 'identified'>): P {
  return {
    ...provider,
    async identify (callback, question) {
      const begun = performance.now()
      const seconds = () => (performance.now() - begun) / 1000
      try {
        const answer = await provider.identify(callback, question)
        watch.identified('', seconds())
        return answer
      } catch (error) {
        watch.identified(error instanceof OAuthError ? error.failure : 'unexpected', seconds())
        throw error
      }
    }
  }
}
