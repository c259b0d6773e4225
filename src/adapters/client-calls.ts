import { BlockList, isIP, type LookupFunction } from 'node:net'
import type { JWK } from 'jose'
import { Agent } from 'undici'
import type { ClientCalls } from '../ports.ts'
import { localhostLookup } from './localhost-lookup.ts'

export interface ClientCallsOptions {
  lookup?: LookupFunction | undefined
  /** limit of each call, in milliseconds */
  timeoutMs?: number
  /** whether an address of this machine may be called: in development only */
  loopback: boolean
}

const maximumBytes = 256 * 1024

/** Where no registration may send us: this machine, what only its own link can reach, the metadata services of clouds, and addresses that wrap another. */
const inward = new BlockList()
for (const [network, prefix] of [['0.0.0.0', 8], ['127.0.0.0', 8], ['169.254.0.0', 16], ['192.0.0.0', 24], ['100.100.100.200', 32]] as const) inward.addSubnet(network, prefix, 'ipv4')
for (const [network, prefix] of [['::', 96], ['64:ff9b::', 96], ['64:ff9b:1::', 48], ['2002::', 16], ['fe80::', 10], ['fd00:ec2::', 32], ['fd20:ce::', 32]] as const) inward.addSubnet(network, prefix, 'ipv6')

const isInward = (address: string) => inward.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')

/** Calls to the addresses that clients register: limited in time and size, no redirect followed, none to ourselves, whatever a name resolves to. */
export function clientCalls ({ lookup = localhostLookup, timeoutMs = 3000, loopback }: ClientCallsOptions): ClientCalls {
  const outward: LookupFunction = (hostname, options, callback) => lookup(hostname, options, (error, address, family) => {
    const found = Array.isArray(address) ? address.map(entry => entry.address) : [address]
    if (error === null && found.some(isInward)) return callback(refused(), '', 0)
    callback(error, address as string, family)
  })
  const agent = new Agent({ connections: 64, pipelining: 1, maxResponseSize: maximumBytes, connect: { lookup: loopback ? lookup : outward, timeout: timeoutMs } })

  async function call (method: 'GET' | 'POST', address: string, headers: Record<string, string>, body?: string) {
    const { origin, pathname, search, hostname } = new URL(address)
    const literal = hostname.replace(/^\[|\]$/g, '')
    if (!loopback && isIP(literal) !== 0 && isInward(literal)) throw refused()
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

const isJwk = (key: unknown): key is JWK => typeof key === 'object' && key !== null && typeof (key as JWK).kty === 'string'

const refused = () => new Error('this address is one of our own machine or link')
