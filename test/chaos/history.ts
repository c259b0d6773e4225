/** What one run left behind, for the checker to read. Times are milliseconds since the run began. */
export interface History {
  attempts: Attempt[]
  requests: Call[]
  redemptions: Redemption[]
  uses: Use[]
  tries: Try[]
  endings: Ending[]
  events: TokenEvent[]
  /** when no Redis answered at all, or none of this site, or not across the link, with the seconds after it in which replicas find out */
  storeAway: Array<{ from: number, to: number, site?: string }>
  /** sites whose Redis came back empty: whatever they had issued before is no more */
  emptied: Array<{ site: string, at: number }>
  /** replicas that were started anew while it was: each remembers nothing of its predecessor */
  startedAnew: Array<{ replica: string, at: number }>
}

/**
 * How an attempt ended: `success`; `recovered`, by another provider after one offered click; `told` on the chooser that the provider is down, and not sent;
 * `returned` to the chooser, or `stuck` at the provider, and no further; `raced` on purpose, see `Purpose`; `failed` for all else.
 */
export type Outcome = 'success' | 'recovered' | 'told' | 'returned' | 'stuck' | 'raced' | 'failed'

/** `plain`; `wrong_first`: another client, and a wrong verifier, try the code before its client does; `race`: its client sends one token request to every replica at once. */
export type Purpose = 'plain' | 'wrong_first' | 'race'

/** One citizen who tries to enter one client. */
export interface Attempt {
  /** its place in the order of arrival */
  n: number
  purpose: Purpose
  client: string
  /** the provider chosen first */
  provider: string
  citizen: string
  /** what userinfo must say */
  given_name: string
  nonce: string
  /** the first attempt in the same browser, where it is not this one */
  after?: number
  /** the site that the browser and the service both reach, where it is not the load balancer that decides */
  site?: string
  startedAt: number
  endedAt?: number
  outcome?: Outcome
  /** where and why it did not end well */
  why?: string
  /** whether the page that it ended on has something to click that leads on */
  hasWayOn?: boolean
  /** of its time, what the citizen took to look at pages */
  lingeredMs?: number
  /** the gateway's id of this login, as the last chooser showed it */
  login?: string
  /** codes of the banners that were read */
  notices: string[]
  /** each time the citizen was sent to a provider; who reads that it is down does not go */
  sent: Array<{ at: number, provider: string }>
  code?: string
  /** what the verifier of its code has to give (RFC 7636 §4.2) */
  code_challenge?: string
  sub?: string
  sid?: string
}

/** One HTTP request and what came of it; status 0 is no answer. */
export interface Call {
  /** the attempt it belongs to */
  n?: number | undefined
  step: string
  at: number
  ms: number
  method: string
  status: number
  /** who answered, as the load balancer or the caller knows it */
  replica?: string | undefined
  /** why there was no answer */
  error?: string | undefined
  /** the OAuth error of a JSON answer */
  failure?: string | undefined
  /** the code on an error page, which tells a help desk something and a program nothing */
  errorCode?: string | undefined
  /** it says when to come again */
  retryAfter?: boolean | undefined
  /** the load balancer had sent it to another replica before, in vain */
  triedAgain?: boolean | undefined
}

/** One token request for a code. */
export interface Redemption {
  n: number
  code: string
  /** the client that asks */
  by: string
  /** all of the request that matters, so that the same request is known again */
  request: string
  /** what the verifier gives that came with it */
  code_challenge: string
  at: number
  endedAt: number
  replica: string | undefined
  status: number
  failure?: string | undefined
  access_token?: string
  /** which key signed the ID Token, and what that says */
  kid?: unknown
  sub?: unknown
  nonce?: unknown
  sid?: unknown
}

/** One userinfo request. */
export interface Use {
  /** the attempt that the token was given to */
  n: number
  access_token: string
  at: number
  endedAt: number
  replica: string | undefined
  status: number
  sub?: unknown
  given_name?: unknown
}

/** A try to go on by something else that the end of a token has to reach. */
export interface Try {
  n: number
  /** the token whose end is meant */
  access_token: string
  /** that token at introspection; its session's cookie, where the citizen must not be asked; or a code that its session had given before */
  by: 'introspection' | 'session' | 'code'
  at: number
  endedAt: number
  replica: string | undefined
  status: number
  /** undefined where that could not be said */
  isGood: boolean | undefined
}

/** The acknowledged end of a token: nothing that begins later may succeed with it. */
export interface Ending { n: number, access_token: string, how: 'revocation' | 'logout' | 'replay' | 'closing', at: number }

/** A line that a replica wrote for a set of tokens. */
export interface TokenEvent { login: string, client_id: string, replica: string }

/** Milliseconds within which a replica tells Redis, when it is back, what it redeemed alone: until then another may redeem it, too. */
export const toldMs = 3000

/** A history in which nothing has happened. */
export const createHistory = (): History => ({ attempts: [], requests: [], redemptions: [], uses: [], tries: [], endings: [], events: [], storeAway: [], emptied: [], startedAnew: [] })
