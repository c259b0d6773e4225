import type { LookupFunction } from 'node:net'
import { Agent } from 'undici'
import type { ClientCalls } from '../ports.ts'
import { isJwk } from '../protocol/algorithms.ts'
import { localhostLookup } from './localhost-lookup.ts'
import { outwardLookup, refuseInward } from './outward.ts'

export interface ClientCallsOptions {
  lookup?: LookupFunction | undefined
  /** limit of each call, in milliseconds */
  timeoutMs?: number
  /** whether an address of this machine may be called: in development only */
  loopback: boolean
}

const maximumBytes = 256 * 1024

/** Calls to the addresses that clients register: limited in time and size, no redirect followed, none to ourselves, whatever a name resolves to. */
export function clientCalls ({ lookup = localhostLookup, timeoutMs = 3000, loopback }: ClientCallsOptions): ClientCalls {
  const agent = new Agent({ connections: 64, pipelining: 1, allowH2: false, maxResponseSize: maximumBytes, connect: { lookup: outwardLookup(lookup, loopback), timeout: timeoutMs } })

  async function call (method: 'GET' | 'POST', address: string, headers: Record<string, string>, body?: string) {
    const url = new URL(address)
    refuseInward(url, loopback)
    const { origin, pathname, search } = url
    const answer = await agent.request({ origin, path: pathname + search, method, headers, body: body ?? null, signal: AbortSignal.timeout(timeoutMs) })
    return { status: answer.statusCode, text: await answer.body.text() }
  }

  return {
    async getKeys (address) {
      const { status, text } = await call('GET', address, { accept: 'application/jwk-set+json, application/json' })
      if (status !== 200) throw new Error(`expected a JWK Set, got status ${status}`)
      const { keys } = JSON.parse(text) as { keys?: unknown }
      if (!Array.isArray(keys) || keys.length === 0 || !keys.every(isJwk)) throw new Error('expected a JWK Set with a key at least')
      return { keys }
    },
    async post (address, form) {
      const { status } = await call('POST', address, { 'content-type': 'application/x-www-form-urlencoded' }, new URLSearchParams(form).toString())
      return status
    },
    close: () => agent.destroy()
  }
}
