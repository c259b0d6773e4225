import { OAuthError } from '../protocol/errors.ts'
import type { Clock, GetOptions, Handle, Store } from '../ports.ts'
import { life, type Kind, type Used } from '../records.ts'
import { isSealedHandle } from './handles.ts'
import { jittered } from './jittered.ts'
import { asOneWait, slowMs } from './one-deadline.ts'
import { tokenName, Unreadable, within, type RecordStore } from './record-store.ts'
import type { SealedStore } from './sealed-store.ts'

export interface DegradedWatch {
  /** a code went out that holds its record: the store was away */
  sealed (): void
  /** such a code came in: the store knows of it, or this replica alone, or it was redeemed elsewhere meanwhile */
  redeemed (how: 'recorded' | 'alone' | 'again'): void
}

export interface DegradableStoreOptions { records: RecordStore, sealed: SealedStore, site: string, now: Clock, watch: DegradedWatch }

const isAway = (error: unknown) => error instanceof OAuthError && error.failure === 'store_unavailable' && !(error instanceof Unreadable)
/** how often a store that is away is told what it missed */
const againMs = 1000
/** how much it is told at a time */
const atOnce = 32
/** how long it is told before we go */
const closeMs = 1000

/**
 * The store, and where it is away and the login may do without it, handles that hold their record. While the store answers it decides on these too, so that each is good once
 * everywhere; while it does not, each replica decides for itself, and tells it when it is back.
 */
export function degradableStore ({ records, sealed, site, now, watch }: DegradableStoreOptions): Store {
  /** what the store has to be told, by what it is about */
  const missed = new Map<string, { until: number, tell: () => Promise<unknown> }>()
  let telling: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false

  /** What the store answers, if it does soon; else it is told when it is back. */
  async function told<T> (about: string, tell: () => Promise<T>, heardLate: (answer: T) => void = () => {}): Promise<T | 'unknown'> {
    try {
      const answer = await tell()
      tellMissed()                                                       // it is back
      return answer
    } catch (error) { if (!isAway(error)) throw error }
    missed.set(about, { until: now() + life.sealedMark, tell: async () => heardLate(await tell()) })
    tryLater()
    return 'unknown'
  }

  function tryLater () {
    if (!closed) timer ??= setTimeout(async () => { timer = undefined; await tellMissed() }, jittered(againMs)).unref()
  }

  /** It waits by itself: the request that was the first to miss the store has waited its time. */
  function tellMissed (): Promise<void> {
    telling ??= asOneWait(tellAll).finally(() => {
      telling = undefined
      if (missed.size > 0) tryLater()
    })
    return telling
  }

  /** One thing first: the store may still be away. What a part of it does not hear is kept for later, and is not the first again. */
  async function tellAll () {
    const waiting = [...missed]
    for (let many = 1, heard = true; heard; many = atOnce) {
      const answers = await Promise.all(waiting.splice(0, many).map(async ([about, still]) => {
        missed.delete(about)
        if (still.until <= now()) return true
        return still.tell().then(() => true, () => { missed.set(about, still); return false })
      }))
      heard = answers.includes(true)
    }
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
      const used = { client_id: claim.client_id, token: tokenName(site, outcome.access_token) }
      const seconds = Math.max(claim.usedSeconds, life.sealedMark)
      const others = (before: Used | undefined) => {
        if (before === undefined || before.token === used.token) return undefined
        sealed.amend(code, before)
        return before
      }
      const before = await told(code, async () => others(await records.use(code, used, seconds, slowMs)), late => {
        if (late !== undefined) watch.redeemed('again')
      })
      if (typeof before === 'object') return { used: before }
      watch.redeemed(before === 'unknown' ? 'alone' : 'recorded')
      return outcome
    },

    async usedBy (code) { return await sealed.usedBy(code) ?? records.usedBy(code) },

    async end (ending, seconds) {
      if ('sid' in ending || 'session' in ending) return records.end(ending, seconds)
      const end = () => records.end(ending, Math.max(seconds, life.sealedMark))
      if ('token' in ending && sealed.endHere(ending.token)) await told(`end of ${ending.token}`, () => within(slowMs, end()))
      else await Promise.all([sealed.end(ending, seconds), end()])
    },

    ended: (sid, options) => records.ended(sid, options),
    once: (name, seconds, options) => records.once(name, seconds, options),
    said: (name, options) => records.said(name, options),
    enter: (sid, entered, seconds) => records.enter(sid, entered, seconds),
    entered: sid => records.entered(sid),
    recall: (name, text, seconds) => records.recall(name, text, seconds),
    recalls: () => records.recalls(),

    async close () {
      closed = true
      clearTimeout(timer)
      await within(closeMs, tellMissed()).catch(() => {})                // a store that is away must not keep us
      await Promise.all([records.close(), sealed.close()])
    }
  }
}
