import { compactVerify, createLocalJWKSet, errors, type CompactVerifyResult, type JSONWebKeySet, type JWK } from 'jose'
import { encrypts, type Encryption } from '../protocol/algorithms.ts'
import { lastKnown } from './last-known.ts'
import { sparingly } from './sparingly.ts'

const freshMs = 5 * 60 * 1000
const betweenForcedMs = 30 * 1000

interface Keeping {
  endMs?: number
  restore?: () => Promise<{ value: JSONWebKeySet, ageMs: number } | undefined>
  kept?: (jwks: JSONWebKeySet) => void
}

/**
 * The keys that somebody publishes, as last known: asked for again in the background when they are no longer fresh, and at once, but once in thirty
 * seconds, for a key that nobody knows or that is another by now. Where they could not be had then, it is not said of that key that it is none: they may have changed.
 */
export function publishedKeys (fetchKeys: () => Promise<JSONWebKeySet>, { restore, kept, ...keeping }: Keeping = {}) {
  const ready = (jwks: JSONWebKeySet) => ({ jwks, find: finderOf(jwks) })
  const ask = async () => ready(await fetchKeys())
  const keys = lastKnown(sparingly(ask), {
    ...keeping,
    freshMs,
    restore: restore && (() => restore().then(found => found && { ...found, value: ready(found.value) })),
    kept ({ jwks }) {
      missed = undefined
      kept?.(jwks)
    }
  })
  let forcedAt = -Infinity
  /** why they could not be had when they were last asked for at once, until they are */
  let missed: { error: unknown } | undefined

  /** Asks at once for keys that may have changed, unless it was just done; also where they could not be had a moment ago. It fails while they cannot be had. */
  async function force () {
    if (keys.underWay() || performance.now() - forcedAt >= betweenForcedMs) {
      forcedAt = performance.now()
      await keys.renew(ask).catch(error => { missed = { error } })
    }
    if (missed !== undefined) throw missed.error
  }

  return {
    /** Asks for them ahead, so that nobody has to wait. */
    async prefetch (): Promise<void> { await keys.current() },
    /** Asks for them now. */
    async renew (): Promise<void> { await keys.renew() },
    /** Takes over what somebody else was told. */
    takeOver: () => keys.takeOver(),

    /** What a JWS by one of these keys, and one of these algorithms only, says; of several that fit its header names one (OpenID Connect Core §10.1). @throws {errors.JOSEError}, and what `fetchKeys` does */
    async verify (jws: string, algorithms: readonly string[]): Promise<CompactVerifyResult> {
      const look = async () => compactVerify(jws, (await keys.current()).find, { algorithms: [...algorithms] })
      try { return await look() } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed)) throw error
        await force()
        return look()
      }
    },

    /** The key to encrypt with, undefined when none of them is for that. */
    async encryptionKey (alg: Encryption['alg']): Promise<JWK | undefined> {
      const find = async () => {
        const able = (await keys.current()).jwks.keys.filter(jwk => encrypts(jwk, alg))
        return able.find(({ use }) => use === 'enc') ?? able[0]
      }
      return await find() ?? force().then(find)
    }
  }
}

/** Finds the key of a JWS. @throws {errors.JWKSInvalid} for what is no JWK Set */
function finderOf (jwks: JSONWebKeySet) {
  createLocalJWKSet(jwks)
  return createLocalJWKSet({ keys: jwks.keys.map(byEitherName) })
}

/** EdDSA over Ed25519 has two names (RFC 8037 §3.1, RFC 9864 §2.2): a key that is registered under one is found by the other. */
const byEitherName = ({ alg, ...jwk }: JWK): JWK => jwk.kty === 'OKP' || alg === undefined ? jwk : { ...jwk, alg }
