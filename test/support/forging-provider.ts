import type { KeyObject } from 'node:crypto'
import type { JWTHeaderParameters, JWTPayload } from 'jose'
import type { Tls } from '../world/host.ts'
import { startLightProvider, type Seen } from '../world/light-provider.ts'
import type { Endpoint, Forgery } from '../world/misbehaviours.ts'
import type { SignatureAlgorithm } from '../world/providers.ts'
import { createSigningKey, jws, signatureAlgorithms, type SigningKey } from '../world/tokens.ts'
import type { Lifetime } from './redis.ts'

export type { Forgery } from '../world/misbehaviours.ts'
export type ForgedAlgorithm = SignatureAlgorithm
/** By which it signs, each with a key of its own. */
export const algorithms = signatureAlgorithms
/** A new key pair, published by nobody yet. */
export const createForgedKey = createSigningKey

/** A JWT by such a key. */
export const signedBy = ({ alg, kid, privateKey }: Pick<SigningKey, 'alg' | 'kid' | 'privateKey'>, claims: JWTPayload) => jws({ alg, kid }, JSON.stringify(claims), privateKey)

/**
 * A light provider of one citizen that says what it should, unless it is told to forge something: real tokens over real sockets. Its one code and its one
 * access token can be looked for in what is logged.
 */
export async function startForgingProvider (t: Lifetime, { client_id = 'passerelle', sub = 'sub-of-wilhelmina', person = {}, tls }: { client_id?: string, sub?: string, person?: Record<string, unknown>, tls?: Tls } = {}) {
  const state = { forgery: {} as Forgery, seen: [] as Seen[], client_id }
  const same = <Value>(value: Value) => value

  /** What is forged of this citizen's login, by whatever client. */
  function forgery (): Forgery {
    const { claims = same, userinfo = same } = state.forgery
    return {
      ...state.forgery,
      credulous: true,
      claims: (said, of) => claims({ ...said, sub, aud: state.client_id, exp: said.iat! + 300, ...person }, of),  // five minutes, so that a clock that is ten off is seen
      userinfo: (_said, of) => userinfo({ sub, ...person }, of)
    }
  }

  const provider = await startLightProvider({
    id: '127',
    suffix: '0.0.1',                                                    // no name to be looked up: its issuer is the loopback address
    ...(tls && { tls }),
    client_id,
    redirect_uris: [],
    draw: what => `the-${what.replace('_', '-')}`,
    forgery,
    observe (seen) { state.seen.push(seen) }
  })
  t.teardown(provider.stop)

  return {
    state,
    issuer: provider.issuer,
    get keys () { return provider.keys },
    /** A JWT by one of the published keys, unless another is given. */
    sign: (claims: JWTPayload, header: JWTHeaderParameters, key: KeyObject | Uint8Array = provider.keys.get(header.alg as ForgedAlgorithm)!.privateKey) => jws(header, JSON.stringify(claims), key),
    metadata: provider.metadata,
    stop: provider.stop,
    /** Listens again where it did. */
    resume: provider.start,
    /** How often an endpoint was asked. */
    count: (endpoint: Endpoint) => state.seen.filter(seen => seen.endpoint === endpoint).length,
    /** New keys, the old ones forgotten. */
    renewKeys () { provider.renewKeys({ overlap: false }) },
    /** The citizen logs in: where the browser is sent, and what it brings back. */
    comeBack (url: URL, change: (parameters: URLSearchParams) => void = () => {}) {
      const callback = provider.comeBack(url.searchParams)
      change(callback.searchParams)
      return callback
    }
  }
}
export type ForgingProvider = Awaited<ReturnType<typeof startForgingProvider>>
