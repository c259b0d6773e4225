import type { JSONWebKeySet, JWSHeaderParameters, JWTPayload } from 'jose'
import type { Encryption, SigningAlgorithm } from './protocol/algorithms.ts'
import type { Failure } from './protocol/errors.ts'
import type { Token } from './protocol/grant.ts'
import type { Entered, Kind, Records, SealedKind, SealedRecords, Used } from './records.ts'

/** A secret that stands for a record: the site's mark and 256 random bits. It is the code, or the access token, itself. */
export type Handle = string
/** Seconds since 1970-01-01T00:00:00Z (RFC 7519 NumericDate). */
export type Clock = () => number

/** What ends: a session or a token by its handle, a token by the name that `used` has for it, or all that stands on a `sid`. */
export type Ending = { session: Handle } | { access_token: Handle } | { token: string } | { sid: string }

/**
 * What a put does when the store does not answer, not even for another handle elsewhere: wait for it as long as any call does, give up at once, or answer a handle that
 * holds the record itself, sealed.
 */
export type IfAway = 'wait' | 'give up' | 'seal'

export interface Claim {
  client_id: string
  /** what is put in the same trip */
  token: Token
  tokenSeconds: number
  /** the longer of code and token */
  usedSeconds: number
}

export interface GetOptions { slideSeconds?: number | undefined, patienceMs?: number | undefined, sure?: boolean | undefined }

/** What the client's server has to bring back. Every method throws `store_unavailable` when it cannot know. */
export interface Store {
  /** Keeps a record for so long; answers its handle. */
  put<K extends Kind> (kind: K, record: Records[K], seconds: number, options?: { ifAway?: IfAway | undefined }): Promise<Handle>
  /**
   * The record, or undefined when there is none (any more); `slideSeconds` lets it live so long from now, `patienceMs` limits the wait. A handle that holds its record is
   * believed while the store cannot say whether it was ended, but where one must be `sure`.
   */
  get<K extends Kind> (kind: K, handle: Handle, options?: GetOptions): Promise<Records[K] | undefined>
  /** Redeems a code once: the token for the one that wins, who won for every other. */
  claim (code: Handle, claim: Claim): Promise<{ access_token: Handle } | { used: Used }>
  /** Who redeemed a code that may be gone itself. */
  usedBy (code: Handle): Promise<Used | undefined>
  /** Marks the end of something; a late put does not bring it back. */
  end (ending: Ending, seconds: number): Promise<void>
  /** Whether a `sid` was ended. */
  ended (sid: string, options?: { patienceMs?: number | undefined }): Promise<boolean>
  /** True for the first to say this name within so many seconds, and for `by` again when it was that one; at the site whose mark `at` bears, else at home. */
  once (name: string, seconds: number, options?: { patienceMs?: number | undefined, by?: string | undefined, at?: string | undefined }): Promise<boolean>
  /** Whether somebody has. */
  said (name: string, options?: { patienceMs?: number | undefined, at?: string | undefined }): Promise<boolean>
  /** Notes that a session entered a client. */
  enter (sid: string, entered: Entered, seconds: number): Promise<void>
  /** The clients a session entered. */
  entered (sid: string): Promise<Entered[]>
  /** Leaves a text for every replica of every site, under its name. */
  recall (name: string, text: string, seconds: number): Promise<void>
  /** The texts that were left at home. */
  recalls (): Promise<string[]>
  close (): Promise<void>
}

/** What the browser has to bring back: sealed for one kind, one place and one time. */
export interface Sealer {
  /** `place` is what the value is bound to: the name of its cookie, the login it belongs to. */
  seal<K extends SealedKind> (kind: K, place: string, record: SealedRecords[K], exp: number): string
  /** The record and its end, or undefined for anything not sealed by us for this kind and place, or expired. */
  open<K extends SealedKind> (kind: K, place: string, sealed: string): { record: SealedRecords[K], exp: number } | undefined
}

export interface Signer {
  /** That there is a key for it just now. @throws {OAuthError} signing_key_unavailable */
  assureKey (alg: SigningAlgorithm): void
  /** A JWT of these claims; `typ` tells its kind from every other (RFC 8725 §3.11), `JWT` unless set. @throws {OAuthError} signing_key_unavailable */
  sign (alg: SigningAlgorithm, claims: JWTPayload, typ?: string): Promise<string>
  /** The claims of an ID Token of ours, expired or not; undefined when it is not ours. */
  verify (token: string): Promise<JWTPayload | undefined>
  /** What /jwks publishes (RFC 7517 §5). */
  jwks (): JSONWebKeySet
}

/** What a client publishes: its keys, as last known. */
export interface ClientKeys {
  /** What a JWT by one of them, and one of these algorithms only, says; undefined when it is by none. @throws {OAuthError} client_keys_unavailable */
  verify (jwt: string, algorithms: readonly SigningAlgorithm[]): Promise<{ header: JWSHeaderParameters, claims: Record<string, unknown> } | undefined>
  /** Makes a JWE of a JWT (RFC 7519 §11.2); its key is had before anything is written. @throws {OAuthError} client_keys_unavailable */
  encrypter (encryption: Encryption): Promise<(jwt: string) => Promise<string>>
  /** Asks for them ahead of the first request. */
  prefetch (): Promise<void>
}

/** Calls to the addresses that clients register: never to one of our own machine, no redirect followed. They fail with whatever went wrong. */
export interface ClientCalls {
  /** A JWK Set of one key at least (RFC 7517 §5). */
  getKeys (address: string): Promise<JSONWebKeySet>
  /** The status that answers a form. */
  post (address: string, form: Record<string, string>): Promise<number>
  close (): Promise<void>
}

/** What is asked of an identity provider on the way there. */
export interface Question {
  redirect_uri: string
  state: string
  nonce: string
  code_verifier: string
  acr: string
  prompt?: string | undefined
  max_age?: number | undefined
  ui_locales: string
  /** told of each call that is made for this citizen */
  called?: ProviderWatch['called'] | undefined
}

/** What came back from it, with every check of OpenID Connect passed; whether it will do is for `protocol/identification.ts`. */
export interface Answer {
  sub: string
  claims: Record<string, unknown>
  acr?: unknown
  amr?: unknown
  auth_time?: unknown
  /** for its logout, where it has one */
  id_token?: string
}

/** How an identity provider stands, as this replica knows it: `slow` is what answers late or not always. */
export type Standing = 'up' | 'slow' | 'down'

/** An identity provider as such. */
export interface Upstream {
  /** @throws {OAuthError} a failure that is an outage */
  authorizationUrl (question: Question): Promise<URL>
  /**
   * `callback` is the redirection as it arrived; nothing is begun after `deadline` (milliseconds of `performance.now()`).
   * @throws {OAuthError} the failures of an identity provider
   */
  identify (callback: URL, question: Question, deadline?: number): Promise<Answer>
  /** Where it logs out, when it has such a place and can say so soon. */
  endSessionUrl (logout: { id_token_hint?: string | undefined, post_logout_redirect_uri: string, state: string }): Promise<URL | undefined>
  /** Asks whether it answers, without a citizen: well, or at least somehow, which says little of its logins. @throws {OAuthError} where it does not */
  probe (): Promise<'well' | 'somehow'>
  close (): Promise<void>
}

/** The same, with what is known of how it stands. */
export interface IdentityProvider extends Upstream {
  /** Whether a citizen may be sent there, and what to say of it. It gates leaving only: a callback is always tried. */
  standing (): Standing
}

/** What we call at an identity provider. */
export const legs = ['discovery', 'jwks', 'token', 'userinfo', 'status'] as const
export type Leg = typeof legs[number]

export interface ProviderCall {
  leg: Leg
  method: 'GET' | 'POST'
  url: string
  headers: Record<string, string>
  body?: string | undefined
  /** milliseconds of `performance.now()` */
  deadline?: number | undefined
  /** told of it, beside whoever watches the provider */
  called?: ProviderWatch['called'] | undefined
}

/** Calls one identity provider; an answer that says that it failed is thrown. @throws {OAuthError} the failures of `adapters/provider-calls.ts` */
export type CallProvider = (call: ProviderCall) => Promise<{ status: number, headers: Record<string, string | string[] | undefined>, text: string }>

/** Of a circuit breaker; `forced_…` is what an operator said. */
export const breakerStates = ['closed', 'open', 'half_open', 'forced_closed', 'forced_open'] as const
export type BreakerState = typeof breakerStates[number]

/** What one identity provider is seen to do, for the figures of those who operate us. */
export interface ProviderWatch {
  called (leg: Leg, outcome: Failure | 'answered' | 'refused', seconds: number): void
  /** a citizen's way back came to an end; '' for a good one */
  identified (failure: Failure | '', seconds: number): void
  breaker (state: BreakerState): void
  inFlight (callbacks: number): void
  rejected (): void
  /** what it publishes was had, at this time (NumericDate, seconds) */
  renewed (what: 'metadata' | 'jwks', at: number): void
  /** it could not be had */
  notRenewed (what: 'metadata' | 'jwks', error: unknown): void
  /** its clock against ours, by what it just signed, in seconds; positive when it is ahead */
  skewed (seconds: number): void
}

/** What a site's store is seen to do. */
export interface StoreWatch { called (kind: 'needed' | 'optional', outcome: 'answered' | 'unavailable', seconds: number): void }

/** What replicas tell each other and can do without: nothing waits for it long, nothing fails without it. */
export interface Noticeboard {
  /** Pins a text under a name for so many seconds; whether it could. */
  pin (name: string, text: string, seconds: number): Promise<boolean>
  /** The text that any replica pinned there, undefined when there is none or it cannot be read soon. */
  read (name: string): Promise<string | undefined>
  /** Adds to a count that every replica adds to, gone after so many seconds; the sum, or undefined where it cannot be had soon. */
  tally (name: string, more: number, seconds: number): Promise<number | undefined>
  /** Pins a text unless there is one, for so many seconds; the one that is there now, undefined where that cannot be said soon. */
  pinFirst (name: string, text: string, seconds: number): Promise<string | undefined>
  /** Adds to sets of which only the size can be asked, and that roughly; all of one hash slot, gone after so many seconds. Whether it could. */
  addTo (sets: ReadonlyMap<string, ReadonlySet<string>>, seconds: number): Promise<boolean>
  /** The sizes of such sets, 0 of one that is not there; undefined where they cannot be had soon. */
  sizesOf (names: readonly string[]): Promise<number[] | undefined>
  /** Tells every replica that listens. */
  tell (channel: string, message: string): void
  /** Listens, the listener's errors its own. */
  hear (channel: string, listener: (message: string) => void): void
  close (): Promise<void>
}
