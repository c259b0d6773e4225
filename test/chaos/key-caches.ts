import { createLocalJWKSet, type JSONWebKeySet } from 'jose'
import type { Caller } from './calls.ts'

/** How services keep the gateway's keys. */
export interface KeyKeeping {
  /** seconds for which they do, by those that they are told; as long as a run lasts unless set */
  keysKept?: (maxAge: number) => number
  /** how many of their processes there are, each with keys of its own */
  processes?: number
}

type Keys = ReturnType<typeof createLocalJWKSet>

export type KeyCaches = ReturnType<typeof createKeyCaches>

/** The keys that the processes of services have. Each asks for them when its own are too old, and for no other reason, whatever `kid` comes: the strictest that libraries are. */
export function createKeyCaches ({ issuer, call, clock, keysKept = () => Infinity, processes = 1 }: KeyKeeping & { issuer: string, call: Caller, clock: () => number }) {
  const caches = new Map<number, { keys: Promise<Keys>, until: number }>()

  async function fetchKeys () {
    const { status, text, headers } = await call('jwks', `${issuer}/jwks`)
    if (status !== 200) throw new Error(`the keys were not to be had: ${status}`)
    return { keys: createLocalJWKSet(JSON.parse(text) as JSONWebKeySet), maxAge: Number(/max-age=(\d+)/.exec(String(headers['cache-control']))?.[1] ?? 0) }
  }

  return {
    /** The keys of the process that takes this login. */
    keysFor (n: number): Promise<Keys> {
      const known = caches.get(n % processes)
      if (known !== undefined && clock() < known.until) return known.keys
      const cache = {
        until: Infinity,
        keys: fetchKeys().then(({ keys, maxAge }) => {
          cache.until = clock() + keysKept(maxAge) * 1000
          return keys
        })
      }
      caches.set(n % processes, cache)
      cache.keys.catch(() => { cache.until = -Infinity })
      return cache.keys
    }
  }
}
