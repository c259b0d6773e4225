import type { LookupFunction } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Agent } from 'undici'
import { OAuthError } from '../protocol/errors.ts'
import type { CallProvider, Leg, ProviderCall, ProviderWatch } from '../ports.ts'
import { localhostLookup } from './localhost-lookup.ts'
import { InwardAddress, outwardLookup, refuseInward } from './outward.ts'

export interface ProviderCallsOptions {
  /** limit of each call that a citizen waits for, in milliseconds; of any other half of it */
  timeoutMs: number
  /** connections to each of its hosts for citizens; what runs in the background has its own */
  connections: number
  lookup?: LookupFunction | undefined
  /** whether its addresses may be on this machine */
  loopback: boolean
  tls?: { ca?: string | undefined, cert?: string | undefined, key?: string | undefined } | undefined
}

const maximumBytes = 256 * 1024
const inTheBackground = new Set<Leg>(['discovery', 'jwks', 'status'])

/**
 * Calls to one identity provider over kept connections, limited in time and size, TLS verified, no redirect followed, no address of our own machine unless configured.
 * An answer of 400 to 499, but for 429, is the caller's to read; any other that is no success is thrown.
 */
export function providerCalls ({ timeoutMs, connections, lookup = localhostLookup, loopback, tls = {} }: ProviderCallsOptions): { call: CallProvider, close (): Promise<void> } {
  const open = (most: number) => new Agent({
    connections: most,
    keepAliveTimeout: 20_000,                                          // unless the provider says how long; a second less is then taken
    pipelining: 1,
    allowH2: false,                                                    // one connection for all, which a call that is given up leaves as it is
    maxResponseSize: maximumBytes,
    connect: { lookup: outwardLookup(lookup, loopback), timeout: timeoutMs, ...tls }
  })
  const agents = { citizens: open(connections), background: open(2) }

  async function call ({ leg, method, url: address, headers, body, deadline = Infinity }: ProviderCall) {
    const background = inTheBackground.has(leg)
    const patienceMs = Math.min(background ? timeoutMs / 2 : timeoutMs, deadline - performance.now())
    if (patienceMs <= 0) throw new OAuthError('provider_timed_out', `${leg}: no time is left to ask`)
    const url = new URL(address)
    try {
      refuseInward(url, loopback)
      const { statusCode: status, headers: answered, body: content } = await agents[background ? 'background' : 'citizens'].request({
        origin: url.origin, path: url.pathname + url.search, method, headers, body: body ?? null, signal: AbortSignal.timeout(Math.ceil(patienceMs))
      })
      const text = await content.text()
      if (status === 429) throw new OAuthError('provider_busy', `${leg}: the identity provider has too many calls of ours`)
      if (status >= 500) throw new OAuthError('provider_server_error', `${leg}: the identity provider answered ${status}`)
      if (status >= 300 && status < 400) throw new OAuthError('provider_redirected', `${leg}: the identity provider sends us elsewhere, where we do not go`)
      return { status, headers: answered, text }
    } catch (cause) {
      throw cause instanceof OAuthError ? cause : failureOf(leg, cause)
    }
  }

  return { call, async close () { await Promise.all(Object.values(agents).map(agent => agent.destroy())) } }
}

const timeOuts = new Set(['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT'])

function failureOf (leg: Leg, cause: unknown) {
  const { name, code = '' } = cause as NodeJS.ErrnoException
  if (cause instanceof InwardAddress) return new OAuthError('provider_address_refused', `${leg}: an address of our own machine or link`, { cause })
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') return new OAuthError('provider_answer_too_large', `${leg}: an answer of more than ${maximumBytes} bytes`, { cause })
  if (name === 'TimeoutError' || timeOuts.has(code)) return new OAuthError('provider_timed_out', `${leg}: the identity provider did not answer in time`, { cause })
  return new OAuthError('provider_unavailable', `${leg}: the identity provider did not answer`, { cause })
}

/** Errors of the way there: nothing was sent. */
const nothingSent = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN'])
const retryPauseMs = { least: 50, most: 150 }

/**
 * Calls once more where that is safe and a citizen may wait: nothing was sent, or something was read and the connection broke, or userinfo failed there. A code exchange
 * that may have arrived is never repeated.
 */
export function retriedOnce (call: CallProvider): CallProvider {
  const isSafe = ({ leg }: ProviderCall, { failure, cause }: OAuthError) => {
    if (failure === 'provider_server_error') return leg === 'userinfo'
    if (failure !== 'provider_unavailable') return false
    return leg === 'userinfo' || leg === 'jwks' || (leg === 'token' && nothingSent.has((cause as NodeJS.ErrnoException | undefined)?.code ?? ''))
  }
  return async asked => {
    try { return await call(asked) } catch (error) {
      if (!(error instanceof OAuthError) || !isSafe(asked, error)) throw error
      await pause(retryPauseMs.least + Math.random() * (retryPauseMs.most - retryPauseMs.least))
      return call(asked)
    }
  }
}

/** Tells of each call what came of it, and how long it took: those who watch the provider, and whoever asked. */
export function measuredCalls (call: CallProvider, watch: Pick<ProviderWatch, 'called'>): CallProvider {
  return async asked => {
    const begun = performance.now()
    const tell = (outcome: Parameters<ProviderWatch['called']>[1]) => {
      const seconds = (performance.now() - begun) / 1000
      watch.called(asked.leg, outcome, seconds)
      asked.called?.(asked.leg, outcome, seconds)
    }
    try {
      const answer = await call(asked)
      tell(answer.status < 400 ? 'answered' : 'refused')
      return answer
    } catch (error) {
      tell((error as OAuthError).failure)
      throw error
    }
  }
}
