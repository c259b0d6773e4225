import { errors as jose, type JSONWebKeySet } from 'jose'
import { setTimeout as pause } from 'node:timers/promises'
import type { CallProvider, Clock, Noticeboard, ProviderWatch, Sealer } from '../ports.ts'
import { OAuthError, type Failure } from '../protocol/errors.ts'
import { readKeySet, readMetadata, readObject, type ProviderMetadata } from '../protocol/provider-answer.ts'
import { life } from '../records.ts'
import { digestOf } from './handles.ts'
import { jittered } from './jittered.ts'
import { lastKnown } from './last-known.ts'
import { publishedKeys } from './published-keys.ts'
import { sparingly } from './sparingly.ts'

/** Where replicas leave for each other what a provider published, sealed: who can write to the store cannot put a key there. */
export interface Sharing { board: Noticeboard, sealer: Sealer }

export interface KnowledgeOptions {
  issuer: string
  /** static endpoints, where there is no discovery */
  endpoints?: Omit<ProviderMetadata, 'issuer'> | undefined
  call: CallProvider
  sharing?: Sharing | undefined
  watch: Pick<ProviderWatch, 'renewed' | 'notRenewed'>
  now: Clock
}

const freshMs = 5 * 60 * 1000
const retryMs = 30 * 1000
/** what has not changed is left for others again after so long */
const pinSeconds = 3600

/**
 * What one identity provider publishes, metadata and keys, as last known: asked for again in the background, served on for a day while it cannot be had,
 * and shared among replicas, so that one that has just started needs no provider.
 */
export function providerKnowledge ({ issuer, endpoints, call, sharing, watch, now }: KnowledgeOptions) {
  const stopped = new AbortController()

  async function get (leg: 'discovery' | 'jwks', url: string) {
    const { status, text } = await call({ leg, method: 'GET', url, headers: { accept: 'application/json' } })
    if (status !== 200) throw new OAuthError(leg === 'jwks' ? 'provider_keys_unavailable' : 'provider_metadata_invalid', `${leg}: the identity provider answered ${status}`)
    return readObject(text, leg)
  }

  const { restore, kept } = shared<ProviderMetadata>('metadata')
  const metadata = lastKnown(sparingly(askMetadata), { freshMs: 2 * freshMs, endMs: life.knowledge * 1000, restore, kept })
  const keys = publishedKeys(askKeys, { endMs: life.knowledge * 1000, ...shared<JSONWebKeySet>('jwks') })

  async function askMetadata () {
    if (endpoints !== undefined) return { issuer, ...endpoints }
    return watched('metadata', async () => readMetadata(await get('discovery', `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`), issuer))
  }

  async function askKeys () {
    const { jwks_uri } = await metadata.current()
    return watched('jwks', async () => readKeySet(await get('jwks', jwks_uri)))
  }

  async function watched<T> (what: 'metadata' | 'jwks', ask: () => Promise<T>) {
    try { return await ask() } catch (error) {
      watch.notRenewed(what, error)
      throw error
    }
  }

  /** Where one of the two is left for other replicas, and taken over from them. */
  function shared<T extends ProviderMetadata | JSONWebKeySet> (what: 'metadata' | 'jwks') {
    let pinned = { text: '', at: -Infinity }
    const name = `knowledge:{${digestOf(`${what} ${issuer} ${JSON.stringify(endpoints ?? '')}`)}}`
    return {
      async restore () {
        const { board, sealer } = sharing ?? {}
        const sealed = await board?.read(name)
        const record = sealed === undefined ? undefined : sealer!.open('knowledge', name, sealed)?.record
        if (record === undefined) return undefined
        watch.renewed(what, record.at)
        return { value: record.value as T, ageMs: Math.max(0, now() - record.at) * 1000 }
      },
      kept (value: T) {
        const at = now()
        watch.renewed(what, at)
        const text = JSON.stringify(value)
        if (sharing === undefined || (what === 'metadata' && endpoints !== undefined) || (text === pinned.text && at - pinned.at < pinSeconds)) return
        pinned = { text, at }
        sharing.board.pin(name, sharing.sealer.seal('knowledge', name, { at, value }, at + life.knowledge), life.knowledge)
          .then(done => { if (!done) pinned.at = -Infinity })
      }
    }
  }

  const takeOver = () => Promise.all([metadata.takeOver(), keys.takeOver()])

  /** Takes over what other replicas know, and asks; then again and again, sooner when it was not told. */
  async function keepFresh () {
    while (!stopped.signal.aborted) {
      await takeOver()
      const told = await metadata.renew().then(() => keys.renew()).then(() => true, () => false)
      await pause(jittered(told ? freshMs : retryMs), undefined, { signal: stopped.signal, ref: false }).catch(() => {})
    }
  }

  return {
    metadata: () => metadata.current(),
    /** Whether there is any metadata: without it no login can work. */
    isKnown: () => metadata.isKnown(),

    /** What a JWS by one of its keys says. @throws {OAuthError} provider_signature_wrong, provider_key_unknown, provider_key_unnamed, provider_keys_unavailable, and an outage when there are no keys, or none to be had where they may have changed */
    async verify (jws: string, algorithms: readonly string[], what: string) {
      try { return await keys.verify(jws, algorithms) } catch (cause) {
        if (cause instanceof OAuthError) throw cause
        throw new OAuthError(faults.find(([kind]) => cause instanceof kind)![1], `${what}: by none of the identity provider's keys`, { cause })
      }
    },

    /** Takes over what was left for it, and asks nobody. */
    takeOver,

    /** From now on it keeps fresh by itself. */
    start () { keepFresh() },

    /** Asks now: for the metadata, or for the keys where the endpoints are static. */
    async ask () {
      await takeOver()
      await (endpoints === undefined ? metadata.renew() : keys.renew())
    },

    close () { stopped.abort() }
  }
}

const faults: Array<[new (...values: never[]) => Error, Failure]> = [
  [jose.JWSSignatureVerificationFailed, 'provider_signature_wrong'],
  [jose.JWKSNoMatchingKey, 'provider_key_unknown'],
  [jose.JWKSMultipleMatchingKeys, 'provider_key_unnamed'],
  [jose.JWKSInvalid, 'provider_keys_unavailable'],
  [jose.JOSEError, 'provider_token_malformed'],
  [Error, 'provider_keys_unavailable']                                 // a key that is too short, or none at all
]
