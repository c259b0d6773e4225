import { compactVerify, createLocalJWKSet, errors, type JSONWebKeySet } from 'jose'
import { lastKnown } from './last-known.ts'

const freshMs = 5 * 60 * 1000
const betweenForcedMs = 30 * 1000

/**
 * The keys of one identity provider as last known, asked for again behind the citizen's back when they are no longer fresh, and at once, but once in thirty
 * seconds, for a `kid` that nobody knows.
 */
export function providerKeys (fetchKeys: () => Promise<JSONWebKeySet>) {
  const keys = lastKnown(async () => createLocalJWKSet(await fetchKeys()), freshMs)
  let forcedAt = -Infinity

  /** Asks at once for keys that may have changed, unless it was just done. */
  async function force () {
    if (!keys.underWay() && performance.now() - forcedAt < betweenForcedMs) return
    forcedAt = performance.now()
    await keys.renew().catch(() => {})
  }

  return {
    /** What a JWS by one of these keys, and this algorithm only, says. @throws {errors.JOSEError} */
    async verify (jws: string, alg: string): Promise<Uint8Array> {
      const look = async () => (await compactVerify(jws, await keys.current(), { algorithms: [alg] })).payload
      try { return await look() } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
        await force()
        return look()
      }
    }
  }
}
