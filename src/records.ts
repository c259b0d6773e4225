import type { AuthorizationRequest, PushedRequest } from './protocol/authorization-request.ts'
import { replicaClockTolerance } from './protocol/clock.ts'
import type { Grant, Token } from './protocol/grant.ts'
import type { Identification } from './protocol/identification.ts'
import type { LogoutParameters } from './protocol/logout.ts'

/** One try of one citizen to enter one service, kept sealed in a cookie of its own until the client has its code. */
export interface Login {
  /** names the cookie and stands in `state`; not secret from the identity provider */
  id: string
  /** 256 bits, base64url: what was sent upstream derives from it */
  secret: string
  request: AuthorizationRequest
  language: 'fr' | 'en'
  /** the identity provider the citizen was sent to, and when (NumericDate, seconds) */
  idp?: string
  sentAt?: number
  /** the client has its code: only the way back is left */
  done?: true
  /** end of the login, restarts included (NumericDate, seconds) */
  exp: number
}

/** Single sign-on: what lets the citizen into the next service. */
export interface Session extends Omit<Identification, 'sid'> {
  sid: string
  /** the client that the citizen entered when it was opened, and the login by which; a former release did not note that */
  client_id: string
  login?: string | undefined
  /** NumericDate, seconds: the end, however much it is used */
  exp: number
}

/** Who redeemed a code, and the name of the token it gave (its site's mark and the token's digest), so that a second use is known and ends it. */
export interface Used { client_id: string, token: string }

/**
 * What an operator called back: all that an identity provider vouched for, or that stands on a client, in a span of time (NumericDate, seconds). Sessions, codes and tokens of it are
 * no more. Or a key of ours, at that moment: it is as if its file were gone.
 */
export interface Recall { idp?: string | undefined, client_id?: string | undefined, kid?: string | undefined, since: number, until: number }

/** A client that a session entered. */
export interface Entered { client_id: string, at: number, /** names of the claims it was told */ claims: string[] }

/**
 * What Redis keeps, by kind, each value with the version of its format. That something was ended, or said `once`, is a mark beside them: it says no more than its name, and as a digest who set it, so that
 * its name is its format.
 */
export interface Records {
  code: Grant
  token: Token
  session: Session
  /** an identification too large for its cookie */
  identity: Identification
}
export type Kind = keyof Records

/** What is kept where others could read or write it, by kind: by the browser, in a cookie or an address, or beside the store. */
export interface SealedRecords {
  login: Omit<Login, 'id' | 'exp'>
  identity: Identification | { handle: string }
  /** a logout that went on to the identity provider, in its `state` */
  logout: { client_id?: string | undefined, post_logout_redirect_uri?: string | undefined, state?: string | undefined, sid?: string | undefined }
  /** a POST of /session/end on its way to the same path by GET, or to our own form and back */
  posted: LogoutParameters
  /** a pushed request, in its `request_uri` (RFC 9126 §2.2) */
  pushed: PushedRequest
  /** what an identity provider published, for other replicas, and when (NumericDate, seconds) */
  knowledge: { at: number, value: unknown }
  /** a replica could not reach an identity provider */
  hint: { replica: string, idp: string }
  /** a nonce for DPoP proofs (RFC 9449 §8): that it can be opened is all it says */
  nonce: null
  /** what an operator called back, for every replica */
  recall: Recall
  /** a code, and the token it gives, while the store is away: the handle is the record */
  code: Grant
  token: Token
}
export type SealedKind = keyof SealedRecords

const longestSession = 24 * 3600
const longestToken = 10 * 60

/** Lives in seconds. */
export const life = {
  login: 2 * 3600,
  upstream: 15 * 60,
  identity: 5 * 60,
  /** what is left of a login for the back button */
  finished: 30 * 60,
  logout: 15 * 60,
  posted: 15 * 60,
  /** a code, at most */
  code: 60,
  /** what an identity provider published, while no other can be had */
  knowledge: 24 * 3600,
  /** a hint among replicas, whose clocks may differ */
  hint: 2 * 60,
  /** a nonce of ours in a DPoP proof */
  nonce: 5 * 60,
  /** a handle that holds its record, at most */
  sealedHandle: 60,
  /** what is remembered of one: a replica whose clock is behind takes it for longer */
  sealedMark: 60 + replicaClockTolerance,
  /** an ID Token, at most */
  idToken: 3600,
  /** an access token, at most */
  token: longestToken,
  /** a session, at most */
  session: longestSession,
  /** what an operator called back: the longest session, the longest token that it may give at its end, and clocks that differ */
  recall: longestSession + longestToken + 2 * replicaClockTolerance
} as const

/** Limits in bytes, as sent, where nothing else is said. */
export const limit = {
  loginCookie: 1200,
  /** of a request that its client pushed */
  pushedLoginCookie: 2400,
  identityCookie: 3000,
  allCookies: 6000,
  /** a handle that holds its record: a token, and a code, with room for what its token holds beside it */
  sealedHandle: 2048,
  sealedCode: 1920,
  /** an address that takes one to a client: with the rest of an answer's headers it is within what proxies take, 4 KB */
  sealedAddress: 2900,
  /** how many are opened to see whether one is good, where their browser comes too often */
  cookiesOpened: 6,
  /** how many an answer takes away at most */
  cookiesCleared: 16
} as const
