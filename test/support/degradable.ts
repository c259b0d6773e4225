import { createSecretKey, randomBytes } from 'node:crypto'
import { degradableStore } from '../../src/adapters/degradable-store.ts'
import { keyringSealer, type SealingKey } from '../../src/adapters/keyring-sealer.ts'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import type { RecordStore } from '../../src/adapters/record-store.ts'
import { sealedStore } from '../../src/adapters/sealed-store.ts'
import type { Clock, Sealer, Store } from '../../src/ports.ts'
import { OAuthError } from '../../src/protocol/errors.ts'

/** A keyring of one key, which replicas and sites share. */
export const keyring = (): SealingKey[] => [{ kid: 'one', key: createSecretKey(randomBytes(32)), nbf: 0 }]

export const sealerOf = (now: Clock, keys = keyring()): Sealer => keyringSealer({ issuer: 'https://passerelle.example', keys: () => keys, now })

/** How a store that is away fails: it refuses, or does what it is asked and its answer is lost. */
export type Away = 'refuses' | 'loses answers'

export interface FrailRecords extends RecordStore {
  /** How it fails now; it answers when it does not. */
  away: Away | undefined
  /** every method it was asked for, in order */
  asked: string[]
}

/** Records that a test makes unreachable. */
export function frailRecords (records: RecordStore): FrailRecords {
  const unavailable = () => new OAuthError('store_unavailable', 'the store could not answer')
  const state = { away: undefined as Away | undefined, asked: [] as string[] }
  const calls = Object.fromEntries(Object.entries(records).map(([method, call]) => [method, async (...args: unknown[]) => {
    if (method === 'close') return (call as () => unknown)()
    state.asked.push(method)
    if (state.away === 'refuses') throw unavailable()
    const { away } = state
    const answer = await (call as (...args: unknown[]) => unknown)(...args)
    if (away !== undefined) throw unavailable()
    return answer
  }])) as unknown as RecordStore
  return Object.assign(state, calls)
}

export interface Replica { store: Store, /** codes given sealed, and how such were redeemed */ seen: string[] }

/** One replica over records that others share, or over a memory of its own that may be away. */
export function replicaOf ({ records, sealer, now, site = 'a', most }: { records: RecordStore, sealer: Sealer, now: Clock, site?: string, most?: number }): Replica {
  const seen: string[] = []
  const store = degradableStore({
    records,
    sealed: sealedStore({ site, sealer, now, ...(most === undefined ? {} : { most }) }),
    site,
    now,
    watch: { sealed: () => { seen.push('sealed') }, redeemed: how => { seen.push(how) } }
  })
  return { store, seen }
}

/** Two replicas of one site, a clock, and one memory that a test makes unreachable. */
export function frailSite (t: { teardown (end: () => unknown): unknown }, { site = 'a', start = 1_800_000_000 } = {}) {
  const clock = { now: start }
  const now = () => clock.now
  const records = frailRecords(memoryStore({ site, now }))
  const sealer = sealerOf(now)
  const replicas = [replicaOf({ records, sealer, now, site }), replicaOf({ records, sealer, now, site })] as const
  t.teardown(() => Promise.all(replicas.map(({ store }) => store.close())))
  return { clock, now, records, sealer, replicas }
}
