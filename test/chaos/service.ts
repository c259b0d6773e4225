import { jwtVerify } from 'jose'
import { createHash } from 'node:crypto'
import { parsed, type Answer, type Caller } from './calls.ts'
import type { Attempt, History } from './history.ts'
import type { KeyCaches } from './key-caches.ts'
import type { Brought } from './login.ts'
import type { Replica } from './replica.ts'
import type { Client, Stage } from './stage.ts'

/** Where logins happen, and what writes them down. */
export interface Scene {
  stage: Stage
  history: History
  call: Caller
  clock: () => number
  keyCaches: KeyCaches
  /** how long services keep a code before they ask with it */
  keptMs?: number
  /** how long citizens look at a page, or stay at a provider, at most */
  lingersMs?: number
  /** logins whose codes are tried again when the load is over, and no sooner */
  waiting: Brought[]
}

interface RedeemOptions {
  n: number
  code: string
  verifier: string
  redirect_uri?: string
  /** the replica that is asked, past the load balancer */
  replica?: Replica
}

/** Seconds, as most client libraries have it. */
const clockTolerance = 30
/** Nothing a replica does takes longer; one that is frozen is not waited for. */
const directPatienceMs = 10_000

/** Past the load balancer, where a replica is named. */
export const directly = (replica?: Replica) => replica === undefined ? {} : { replica: replica.name, patienceMs: directPatienceMs }

/** What is written down of every answer. */
export const seen = ({ at, endedAt, replica, status }: Pick<Answer, 'at' | 'endedAt' | 'replica' | 'status'>) => ({ at, endedAt, replica, status })

export type Service = ReturnType<typeof createService>

/** A client's server: what it asks the gateway, each answer written into the history. */
export function createService ({ stage: { issuer }, history, call, keyCaches }: Scene, { client_id, client_secret, redirect_uri, post_logout_redirect_uri, method, pushes }: Client) {
  const byHeader = method === 'client_secret_basic'
  const headers: Record<string, string> = byHeader ? { authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}` } : {}
  const at = (path: string, replica?: Replica) => `${replica?.url ?? issuer}${path}`

  /** A form by which this client proves itself. */
  const post = (step: string, path: string, fields: Record<string, string>, n: number, replica?: Replica) =>
    call(step, at(path, replica), { method: 'POST', n, ...directly(replica), headers, body: new URLSearchParams({ ...fields, ...(byHeader ? {} : { client_id, client_secret }) }) })

  async function askForTokens (step: string, fields: Record<string, string>, n: number, replica?: Replica) {
    const answer = await post(step, '/token', fields, n, replica)
    return { ...answer, tokens: answer.status === 200 ? tokensIn(answer.text) : undefined }
  }

  return {
    client_id,
    redirect_uri,

    authorizationUrl: (parameters: { state: string, nonce: string, code_challenge: string, prompt?: 'none' }) =>
      `${issuer}/authorize?${new URLSearchParams({ client_id, redirect_uri, response_type: 'code', scope: 'openid given_name', acr_values: 'eidas1', code_challenge_method: 'S256', ...parameters })}`,

    /** The same as it is sent by a client that pushes, which asks by what it is given for it (RFC 9126 §2, §4); undefined where it is given nothing. */
    async pushed (n: number, authorizationUrl: string) {
      if (!pushes) return authorizationUrl
      const answer = await post('par', '/par', Object.fromEntries(new URL(authorizationUrl).searchParams), n)
      const { request_uri } = parsed(answer.text) ?? {}
      return typeof request_uri === 'string' ? `${issuer}/authorize?${new URLSearchParams({ client_id, request_uri })}` : undefined
    },

    /** Asks for tokens with a code (OpenID Connect Core §3.1.3). */
    async redeem ({ n, code, verifier, redirect_uri: address = redirect_uri, replica }: RedeemOptions) {
      const fields = { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: address }
      const answer = await askForTokens(replica === undefined ? 'token' : 'replay', fields, n, replica)
      const { tokens } = answer
      const [{ kid }, { sub, nonce, sid }] = partsOf(tokens?.id_token ?? '')
      history.redemptions.push({
        n,
        code,
        by: client_id,
        request: digestOf(JSON.stringify(fields)),
        code_challenge: challengeOf(verifier),
        ...seen(answer),
        ...(answer.failure === undefined ? {} : { failure: answer.failure }),
        ...(tokens === undefined ? {} : { access_token: tokens.access_token, kid, sub, nonce, sid })
      })
      return answer
    },

    /** The same with a code that a session gave before it was ended, beside the history of codes: it must be refused. */
    async redeemLate ({ n, code, verifier, access_token, replica }: Required<Omit<RedeemOptions, 'redirect_uri'>> & { access_token: string }) {
      const answer = await askForTokens('late', { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri }, n, replica)
      const isGood = answer.tokens !== undefined || (answer.failure === 'invalid_grant' ? false : undefined)
      history.tries.push({ n, access_token, by: 'code', ...seen(answer), isGood })
    },

    /** What an ID Token says of the citizen, or what is wrong with it (OpenID Connect Core §3.1.3.7). */
    async verify ({ n, nonce }: Attempt, id_token: string): Promise<{ sub: string, sid: string } | { fault: string }> {
      try {
        const keys = await keyCaches.keysFor(n)
        const { payload } = await jwtVerify(id_token, keys, { issuer, audience: client_id, algorithms: ['ES256'], clockTolerance, requiredClaims: ['sub', 'sid', 'exp', 'iat', 'acr'] })
        return payload['nonce'] === nonce ? { sub: payload.sub!, sid: String(payload['sid']) } : { fault: 'another nonce' }
      } catch (error) {
        return { fault: String(error) }
      }
    },

    /** Asks who the citizen is (OpenID Connect Core §5.3). */
    async ask ({ n, access_token, replica }: { n: number, access_token: string, replica?: Replica }) {
      const answer = await call(replica === undefined ? 'userinfo' : 'use', at('/userinfo', replica), { n, ...directly(replica), headers: { authorization: `Bearer ${access_token}` } })
      const claims = answer.status === 200 ? parsed(answer.text) ?? {} : {}
      history.uses.push({ n, access_token, ...seen(answer), sub: claims['sub'], given_name: claims['given_name'] })
      return { ...answer, claims }
    },

    /** Asks, as a data provider, whether a token is active (RFC 7662 §2); undefined where that could not be said. */
    async introspect ({ n, access_token, replica }: { n: number, access_token: string, replica: Replica }) {
      const answer = await post('introspection', '/introspection', { token: access_token }, n, replica)
      const { active } = answer.status === 200 ? parsed(answer.text) ?? {} : {}
      const isGood = typeof active === 'boolean' ? active : undefined
      history.tries.push({ n, access_token, by: 'introspection', ...seen(answer), isGood })
      return isGood
    },

    /** Ends a token (RFC 7009 §2.2); an answer of 200 is its acknowledgement. */
    async revoke ({ n }: Attempt, access_token: string) {
      const { status, endedAt } = await post('revocation', '/revocation', { token: access_token }, n)
      if (status === 200) history.endings.push({ n, access_token, how: 'revocation', at: endedAt })
    },

    /** Where a browser ends its session (RP-Initiated Logout §2). */
    logoutUrl: (id_token: string) => `${issuer}/session/end?${new URLSearchParams({ id_token_hint: id_token, post_logout_redirect_uri })}`
  }
}

const digestOf = (text: string) => createHash('sha256').update(text).digest('base64url')
/** What a verifier gives (RFC 7636 §4.2). */
export const challengeOf = digestOf

function tokensIn (text: string) {
  const { access_token, id_token } = parsed(text) ?? {}
  return typeof access_token === 'string' && typeof id_token === 'string' ? { access_token, id_token } : undefined
}

/** The head of a JWT and what it claims. */
const partsOf = (jwt: string) => [0, 1].map(i => parsed(Buffer.from(jwt.split('.')[i] ?? '', 'base64url').toString()) ?? {}) as [Record<string, unknown>, Record<string, unknown>]
