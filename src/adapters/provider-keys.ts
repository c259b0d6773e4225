import { compactVerify, createLocalJWKSet, errors, type JSONWebKeySet } from 'jose'

const freshMs = 5 * 60 * 1000
const betweenForcedMs = 30 * 1000

type KeySet = ReturnType<typeof createLocalJWKSet>

/**
 * The keys of one identity provider as last known: asked for once at a time, again behind the citizen's back when they are no longer fresh, and once in
 * thirty seconds for a `kid` that nobody knows. While no others can be had, the last good ones serve on.
 */
export function providerKeys (fetchKeys: () => Promise<JSONWebKeySet>) {
  let known: { keys: KeySet, at: number } | undefined
  let asked: Promise<KeySet> | undefined
  let forcedAt = -Infinity

  const ask = () => {
    asked ??= fetchKeys()
      .then(jwks => { known = { keys: createLocalJWKSet(jwks), at: performance.now() }; return known.keys })
      .finally(() => { asked = undefined })
    return asked
  }

  function current () {
    if (known === undefined) return ask()
    const last = known
    if (performance.now() - last.at >= freshMs) {
      last.at = performance.now()                                      // not at each login, should they not be had
      ask().catch(() => {})
    }
    return Promise.resolve(last.keys)
  }

  /** Asks at once for keys that may have changed, unless it was just done. */
  async function force () {
    if (asked === undefined && performance.now() - forcedAt < betweenForcedMs) return
    forcedAt = performance.now()
    await ask().catch(() => {})
  }

  return {
    /** What a JWS by one of these keys, and this algorithm only, says. @throws {errors.JOSEError} */
    async verify (jws: string, alg: string): Promise<Uint8Array> {
      const look = async () => (await compactVerify(jws, await current(), { algorithms: [alg] })).payload
      try { return await look() } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
        await force()
        return look()
      }
    }
  }
}
