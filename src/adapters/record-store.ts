import { randomUUID } from 'node:crypto'
import { OAuthError } from '../protocol/errors.ts'
import type { Store } from '../ports.ts'
import type { Entered, Kind, Records, Used } from '../records.ts'
import { inTime } from './in-time.ts'
import { digestOf, isHandle, newHandle, openUnder, sealUnder } from './handles.ts'

/** What a store needs of the thing that keeps: one key a call, each with its life in seconds. */
export interface Cells {
  /** keeps a value where there is none and answers what was there before, null for nothing (SET NX GET EX) */
  swapNew (key: string, value: string, seconds: number): Promise<string | null>
  set (key: string, value: string, seconds: number): Promise<void>
  /** the value, which lives so long from now where `slideSeconds` is given (GETEX) */
  get (key: string, slideSeconds?: number): Promise<string | null>
  /** one field of a hash, which lives so long from now (HSET, EXPIRE) */
  add (key: string, field: string, value: string, seconds: number): Promise<void>
  /** every field's value */
  all (key: string): Promise<string[]>
  close (): Promise<void>
}

const endedMark = 'ended'

/** Names share a hash tag, so that a code and its claim are in one slot. */
const name = (kind: string, digest: string) => `${kind}:{${digest}}`

/** The store's rules over whatever keeps: handles stand for records, a claim is won once, an end stays an end. */
export function recordStore (cells: Cells, { site }: { site: string }): Store {
  const nameOf = (kind: string, secret: string) => name(kind, digestOf(secret))

  const open = (secret: string, kind: string, kept: string) => {
    try { return openUnder(secret, kind, kept) } catch (cause) { throw new OAuthError('store_unavailable', `a kept ${kind} cannot be read`, { cause }) }
  }

  return {
    async put (kind, record, seconds) {
      const handle = newHandle(site)
      const kept = sealUnder(handle, kind, record)
      const before = await cells.swapNew(nameOf(kind, handle), kept, seconds)
      // its own value is there when a connection was lost after the write and the write was sent again
      if (before !== null && before !== kept) throw new OAuthError('store_unavailable', `a new ${kind} met an old one`)
      return handle
    },

    async get<K extends Kind> (kind: K, handle: string, { slideSeconds, patienceMs }: { slideSeconds?: number | undefined, patienceMs?: number | undefined } = {}) {
      if (!isHandle(handle)) return undefined
      const kept = await within(patienceMs, cells.get(nameOf(kind, handle), slideSeconds))
      return kept === null || kept === endedMark ? undefined : open(handle, kind, kept) as Records[K]
    },

    async claim (code, { client_id, token, tokenSeconds, usedSeconds }) {
      const access_token = newHandle(site)
      const kept = sealUnder(code, 'used', { client_id, token: digestOf(access_token) } satisfies Used)
      const [before] = await Promise.all([
        cells.swapNew(nameOf('used', code), kept, usedSeconds),
        cells.swapNew(nameOf('token', access_token), sealUnder(access_token, 'token', token), tokenSeconds)
      ])
      // its own value is there when the same write was sent again after an ambiguous time-out: it was this very claim that won
      return before === null || before === kept ? { access_token } : { used: open(code, 'used', before) as Used }
    },

    async usedBy (code) {
      if (!isHandle(code)) return undefined
      const kept = await cells.get(nameOf('used', code))
      return kept === null ? undefined : open(code, 'used', kept) as Used
    },

    async end (ending, seconds) {
      // the record's own name holds the mark: it is read in the same trip, and a put that comes late finds the place taken
      if ('session' in ending) return isHandle(ending.session) ? cells.set(nameOf('session', ending.session), endedMark, seconds) : undefined
      if ('access_token' in ending) return isHandle(ending.access_token) ? cells.set(nameOf('token', ending.access_token), endedMark, seconds) : undefined
      if ('token' in ending) return cells.set(name('token', ending.token), endedMark, seconds)
      await cells.set(nameOf('ended', ending.sid), endedMark, seconds)
    },

    async ended (sid, { patienceMs } = {}) { return await within(patienceMs, cells.get(nameOf('ended', sid))) !== null },

    async once (said, seconds, { patienceMs, by = randomUUID() } = {}) {
      const mark = digestOf(by)                                         // so that a write sent again knows itself
      const before = await within(patienceMs, cells.swapNew(nameOf('once', said), mark, seconds))
      return before === null || before === mark
    },

    async said (said, { patienceMs } = {}) { return await within(patienceMs, cells.get(nameOf('once', said))) !== null },

    async enter (sid, entered, seconds) {
      await cells.add(nameOf('entered', sid), digestOf(`${sid} ${entered.client_id}`), sealUnder(sid, 'entered', entered), seconds)
    },

    async entered (sid) {
      return (await cells.all(nameOf('entered', sid))).map(kept => open(sid, 'entered', kept) as Entered)
    },

    async close () { await cells.close() }
  }
}

/** The answer, or `store_unavailable` when it does not come in time. */
export const within = <T>(patienceMs: number | undefined, answer: Promise<T>) =>
  inTime(patienceMs, answer, limit => new OAuthError('store_unavailable', `the store did not answer within ${limit} ms`))
