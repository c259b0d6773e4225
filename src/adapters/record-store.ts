import { randomUUID } from 'node:crypto'
import { OAuthError } from '../protocol/errors.ts'
import type { GetOptions, Handle, IfAway, Store } from '../ports.ts'
import type { Entered, Kind, Records, Used } from '../records.ts'
import { inTime } from './in-time.ts'
import { digestOf, isHandle, isSealedHandle, newHandle, openUnder, sealUnder } from './handles.ts'
import { slowMs } from './one-deadline.ts'

/** What a store needs of the thing that keeps: one key a call, each with its life in seconds. */
export interface Cells {
  /** keeps a value where there is none and answers what was there before, null for nothing (SET NX GET EX) */
  swapNew (key: string, value: string, seconds: number): Promise<string | null>
  set (key: string, value: string, seconds: number): Promise<void>
  /** the value, which lives so long from now where `slideSeconds` is given (GETEX) */
  get (key: string, slideSeconds?: number): Promise<string | null>
  /** one field of a hash, which lives so long from now (HSET, EXPIRE) */
  add (key: string, field: string, value: string, seconds: number): Promise<void>
  /** every field's value (HVALS) */
  all (key: string): Promise<string[]>
  /** the same of what is asked for each second, told apart in the figures of whatever keeps (HGETALL) */
  standing (key: string): Promise<string[]>
  close (): Promise<void>
  /** which of several parts keeps a key, as far as that is known */
  partOf? (key: string): string
  /** whether that part has not been answering, so that nothing more is asked of it that can be asked elsewhere */
  isAway? (part: string): boolean
  /** what a part answers if it does so soon */
  soon? <T> (part: string, patienceMs: number, ask: () => Promise<T>): Promise<T>
}

/** A store that others are made of: it knows what they cannot keep. */
export interface RecordStore extends Store {
  /** Notes who redeemed a code, whatever kind of handle it is; who did before, if anybody. */
  use (code: Handle, used: Used, seconds: number, patienceMs: number): Promise<Used | undefined>
  /** Whether a token was ended, by its name. */
  tokenEnded (name: string, patienceMs: number): Promise<boolean>
}

/** Something is kept there that nobody here can read, as a later release may write it: for whoever asks an outage, but the store is not away. */
export class Unreadable extends OAuthError {}

const endedMark = 'ended'
const recallsKey = 'recalls:{all}'
/** how often a handle is drawn anew for one that another part keeps */
const mostDraws = 64

/** Names share a hash tag, so that a code and its claim are in one slot. */
const name = (kind: string, digest: string) => `${kind}:{${digest}}`
const nameOf = (kind: string, secret: string) => name(kind, digestOf(secret))

/** How `used` names a token, so that whoever reads it can end it at its site, and not use it. */
export const tokenName = (site: string, access_token: Handle) => `${site}-${digestOf(access_token)}`
/** Also of a name without a mark, as a former release wrote it. */
const digestIn = (tokenName: string) => tokenName.slice(-43)

/** The store's rules over whatever keeps: handles stand for records, a claim is won once, an end stays an end. */
export function recordStore (cells: Cells, { site }: { site: string }): RecordStore {
  const { partOf = () => '', isAway = () => false, soon = (part, patienceMs, ask) => within(patienceMs, ask()) } = cells
  const asked = <T>(key: string, patienceMs: number | undefined, ask: () => Promise<T>) => patienceMs === undefined ? ask() : soon(partOf(key), patienceMs, ask)

  const open = (secret: string, kind: string, kept: string) => {
    try { return openUnder(secret, kind, kept) } catch (cause) { throw new Unreadable('store_unavailable', `a kept ${kind} cannot be read`, { cause }) }
  }

  /** A new handle whose record a part of the store will keep that fits; undefined when none does. */
  function draw (kind: string, fits: (part: string) => boolean): Handle | undefined {
    for (let drawn = 0; drawn < mostDraws; drawn++) {
      const handle = newHandle(site)
      if (fits(partOf(nameOf(kind, handle)))) return handle
    }
    return undefined
  }

  async function keep (kind: Kind, handle: Handle, record: unknown, seconds: number) {
    const kept = sealUnder(handle, kind, record)
    const before = await cells.swapNew(nameOf(kind, handle), kept, seconds)
    // its own value is there when a connection was lost after the write and the write was sent again
    if (before !== null && before !== kept) throw new OAuthError('store_unavailable', `a new ${kind} met an old one`)
    return handle
  }

  return {
    /** Where the part that keeps its handle does not answer soon, another handle is tried, which another part keeps: the first that is kept is the one. */
    async put (kind, record, seconds, { ifAway = 'wait' }: { ifAway?: IfAway | undefined } = {}) {
      const tried = new Set<string>()
      const keeping: Array<Promise<Handle>> = []
      const begin = (handle: Handle) => {
        const answer = keep(kind, handle, record, seconds)
        answer.catch(() => {})                                           // where it is not waited for
        keeping.push(answer)
        return answer
      }
      let failure: unknown
      for (let turn = 0; turn < 2; turn++) {
        const handle = draw(kind, part => !tried.has(part) && !isAway(part))
        if (handle === undefined) break
        const part = partOf(nameOf(kind, handle))
        tried.add(part)
        const before = [...keeping]
        try { return await soon(part, slowMs, () => Promise.any([begin(handle), ...before])) } catch (error) { failure = error }
      }
      if (ifAway !== 'wait') throw outageOf(failure)
      if (keeping.length === 0) begin(newHandle(site))
      try { return await Promise.any(keeping) } catch (error) { throw outageOf(error) }
    },

    async get<K extends Kind> (kind: K, handle: string, { slideSeconds, patienceMs }: GetOptions = {}) {
      if (!isHandle(handle)) return undefined
      const key = nameOf(kind, handle)
      const kept = await asked(key, patienceMs, () => cells.get(key, slideSeconds))
      return kept === null || kept === endedMark ? undefined : open(handle, kind, kept) as Records[K]
    },

    async claim (code, { client_id, token, tokenSeconds, usedSeconds }) {
      const home = partOf(nameOf('used', code))
      const access_token = draw('token', part => part === home) ?? newHandle(site)  // both are kept by the part that just answered for the code
      const kept = sealUnder(code, 'used', { client_id, token: tokenName(site, access_token) } satisfies Used)
      const [before] = await Promise.all([
        cells.swapNew(nameOf('used', code), kept, usedSeconds),
        cells.swapNew(nameOf('token', access_token), sealUnder(access_token, 'token', token), tokenSeconds)
      ])
      // its own value is there when the same write was sent again after an ambiguous time-out: it was this very claim that won
      return before === null || before === kept ? { access_token } : { used: open(code, 'used', before) as Used }
    },

    async use (code, used, seconds, patienceMs) {
      const key = nameOf('used', code)
      const before = await asked(key, patienceMs, () => cells.swapNew(key, sealUnder(code, 'used', used), seconds))
      return before === null ? undefined : open(code, 'used', before) as Used
    },

    async usedBy (code) {
      if (!isHandle(code) && !isSealedHandle(code)) return undefined
      const kept = await cells.get(nameOf('used', code))
      return kept === null ? undefined : open(code, 'used', kept) as Used
    },

    async end (ending, seconds) {
      // the record's own name holds the mark: it is read in the same trip, and a put that comes late finds the place taken
      if ('session' in ending) return isHandle(ending.session) ? cells.set(nameOf('session', ending.session), endedMark, seconds) : undefined
      if ('access_token' in ending) {
        const { access_token } = ending
        return isHandle(access_token) || isSealedHandle(access_token) ? cells.set(nameOf('token', access_token), endedMark, seconds) : undefined
      }
      if ('token' in ending) return cells.set(name('token', digestIn(ending.token)), endedMark, seconds)
      await cells.set(nameOf('ended', ending.sid), endedMark, seconds)
    },

    async tokenEnded (tokenName, patienceMs) {
      const key = name('token', digestIn(tokenName))
      return await asked(key, patienceMs, () => cells.get(key)) === endedMark
    },

    async ended (sid, { patienceMs } = {}) {
      const key = nameOf('ended', sid)
      return await asked(key, patienceMs, () => cells.get(key)) !== null
    },

    async once (said, seconds, { patienceMs, by = randomUUID() } = {}) {
      const key = nameOf('once', said)
      const mark = digestOf(by)                                         // so that a write sent again knows itself
      const before = await asked(key, patienceMs, () => cells.swapNew(key, mark, seconds))
      return before === null || before === mark
    },

    async said (said, { patienceMs } = {}) {
      const key = nameOf('once', said)
      return await asked(key, patienceMs, () => cells.get(key)) !== null
    },

    async enter (sid, entered, seconds) {
      await cells.add(nameOf('entered', sid), digestOf(`${sid} ${entered.client_id}`), sealUnder(sid, 'entered', entered), seconds)
    },

    async entered (sid) {
      return (await cells.all(nameOf('entered', sid))).map(kept => open(sid, 'entered', kept) as Entered)
    },

    recall: (name, text, seconds) => cells.add(recallsKey, digestOf(name), text, seconds),
    recalls: () => cells.standing(recallsKey),

    async close () { await cells.close() }
  }
}

/** What kept every try from being kept. */
function outageOf (error: unknown) {
  const cause = error instanceof AggregateError ? error.errors.at(-1) : error
  return cause instanceof OAuthError ? cause : new OAuthError('store_unavailable', 'no part of the store has been answering', { cause })
}

/** A store that took longer than so many milliseconds. */
export const tooLate = (milliseconds: number) => new OAuthError('store_unavailable', `the store did not answer within ${Math.round(milliseconds)} ms`)

/** The answer, or `store_unavailable` when it does not come in time. */
export const within = <T>(patienceMs: number | undefined, answer: Promise<T>) => inTime(patienceMs, answer, tooLate)
