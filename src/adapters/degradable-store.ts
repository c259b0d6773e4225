import { OAuthError } from '../protocol/errors.ts'
import type { Clock, GetOptions, Handle, Store } from '../ports.ts'
import type { Kind, Used } from '../records.ts'
import { isSealedHandle } from './handles.ts'
import { jittered } from './jittered.ts'
import { slowMs } from './one-deadline.ts'
import { tokenName, type RecordStore } from './record-store.ts'
import type { SealedStore } from './sealed-store.ts'

export interface DegradedWatch {
  /** a code went out that holds its record: the store was away */
  sealed (): void
  /** such a code came in: the store knows of it, or this replica alone, or it was redeemed elsewhere meanwhile */
  redeemed (how: 'recorded' | 'alone' | 'again'): void
}

export interface DegradableStoreOptions { records: RecordStore, sealed: SealedStore, site: string, now: Clock, watch: DegradedWatch }

const isAway = (error: unknown) => error instanceof OAuthError && error.failure === 'store_unavailable'
/** how often a store that is away is told what it missed */
const againMs = 1000
/** how much it is told at a time */
const atOnce = 32

/**
 * The store, and where it is away and the login may do without it, handles that hold their record. While the store answers it decides on these too, so that each is good once
 * everywhere; while it does not, each replica decides for itself, and tells it when it is back, before it takes its word again.
 */
export function degradableStore ({ records, sealed, site, now, watch }: DegradableStoreOptions): Store {
  /** what the store has to be told, by what it is about */
  const missed = new Map<string, { until: number, tell: () => Promise<unknown> }>()
  let telling: Promise<boolean> | undefined
  let timer: NodeJS.Timeout | undefined

  function tellLater (about: string, seconds: number, tell: () => Promise<unknown>) {
    missed.set(about, { until: now() + seconds, tell })
    tryLater()
  }

  function tryLater () {
    timer ??= setTimeout(async () => {
      timer = undefined
      if (!await told()) tryLater()
    }, jittered(againMs)).unref()
  }

  /** Tells the store what it missed, one thing first: it may still be away. Whether it knows all of it. */
  function told (): Promise<boolean> {
    if (missed.size === 0) return Promise.resolve(true)
    telling ??= tellAll().then(() => true, () => false).finally(() => { telling = undefined })
    return telling
  }

  async function tellAll () {
    for (let many = 1; missed.size > 0; many = atOnce) {
      await Promise.all([...missed].slice(0, many).map(async ([about, { until, tell }]) => {
        if (until > now()) await tell()
        missed.delete(about)
      }))
    }
  }

  /** Whether somebody else redeemed this code before; `unknown` while the store cannot say. */
  async function redeemedBefore (code: Handle, used: Used, seconds: number) {
    const tell = async () => {
      const before = await records.use(code, used, seconds, slowMs)
      if (before === undefined || before.token === used.token) return undefined
      sealed.amend(code, before)
      watch.redeemed('again')
      return before
    }
    try {
      if (await told()) return await tell()                              // before it takes the store's word again
    } catch (error) { if (!isAway(error)) throw error }
    tellLater(code, seconds, tell)
    return 'unknown'
  }

  return {
    async put (kind, record, seconds, { ifAway } = {}) {
      if (ifAway !== 'seal') return records.put(kind, record, seconds, { ifAway })
      try { return await records.put(kind, record, seconds, { ifAway: 'give up' }) } catch (error) {
        if (!isAway(error)) throw error
        const handle = await sealed.put(kind, record, seconds).catch(() => undefined)
        if (handle === undefined) return records.put(kind, record, seconds)  // too large for a handle: it has to wait
        watch.sealed()
        return handle
      }
    },

    async get<K extends Kind> (kind: K, handle: Handle, options: GetOptions = {}) {
      if (!isSealedHandle(handle)) return records.get(kind, handle, options)
      const record = await sealed.get(kind, handle)
      if (record === undefined || kind !== 'token') return record
      try {
        return await records.tokenEnded(tokenName(site, handle), slowMs) ? undefined : record
      } catch (error) {
        if (options.sure || !isAway(error)) throw error
        return record
      }
    },

    async claim (code, claim) {
      if (!isSealedHandle(code)) return records.claim(code, claim)
      const outcome = await sealed.claim(code, claim)
      if ('used' in outcome) return outcome
      const before = await redeemedBefore(code, { client_id: claim.client_id, token: tokenName(site, outcome.access_token) }, claim.usedSeconds)
      if (typeof before === 'object') return { used: before }
      watch.redeemed(before === 'unknown' ? 'alone' : 'recorded')
      return outcome
    },

    async usedBy (code) { return (isSealedHandle(code) ? await sealed.usedBy(code) : undefined) ?? records.usedBy(code) },

    async end (ending, seconds) {
      if ('token' in ending && sealed.endHere(ending.token)) return tellLater(`end of ${ending.token}`, seconds, () => records.end(ending, seconds))
      if ('access_token' in ending) await sealed.end(ending, seconds)
      await records.end(ending, seconds)
    },

    ended: (sid, options) => records.ended(sid, options),
    once: (name, seconds, options) => records.once(name, seconds, options),
    said: (name, options) => records.said(name, options),
    enter: (sid, entered, seconds) => records.enter(sid, entered, seconds),
    entered: sid => records.entered(sid),
    recall: (name, text, seconds) => records.recall(name, text, seconds),
    recalls: () => records.recalls(),

    async close () {
      clearTimeout(timer)
      await told()
      await Promise.all([records.close(), sealed.close()])
    }
  }
}
