import { OAuthError } from '../protocol/errors.ts'
import type { Clock, Handle, Sealer, Store } from '../ports.ts'
import { life, limit, type Kind, type Records, type Used } from '../records.ts'
import { digestOf } from './handles.ts'
import { tokenName } from './record-store.ts'

export interface SealedStore extends Store {
  /** Takes somebody else's word for who redeemed a code. */
  amend (code: Handle, used: Used): void
  /** Ends a token that was given here, by its name; whether there is one. */
  endHere (token: string): boolean
}

interface Redeemed { used: Used, /** that was given here */ token: string, until: number, ended: boolean }

/** What one replica remembers of redeemed codes at most: beyond that it redeems none. */
const mostRedeemed = 100_000

const cannot = (what: string) => new OAuthError('store_unavailable', `${what} cannot be kept in a handle`)
const refuses = (what: string) => async (): Promise<never> => { throw cannot(what) }

/**
 * A store that keeps nothing: a code or a token is the record itself, sealed, for a minute at most. It knows only what was redeemed and ended at this very replica; sessions, marks
 * and whatever else somebody has to remember it refuses.
 */
export function sealedStore ({ site, sealer, now, most = mostRedeemed }: { site: string, sealer: Sealer, now: Clock, most?: number }): SealedStore {
  const redeemed = new Map<string, Redeemed>()
  const byToken = new Map<string, Redeemed>()
  const isSealed = (kind: Kind): kind is 'code' | 'token' => kind === 'code' || kind === 'token'

  function seal (kind: 'code' | 'token', record: Records['code' | 'token'], seconds: number): Handle {
    const handle = `${site}~${sealer.seal(kind, site, { ...record, degraded: true } as never, now() + Math.min(seconds, life.sealedHandle))}`
    if (handle.length > (kind === 'code' ? limit.sealedCode : limit.sealedHandle)) throw cannot(`a ${kind} of ${handle.length} bytes`)
    return handle
  }

  /** Another site's are for the store of that site, and none is good for longer than it is remembered that it was used. */
  function open<K extends 'code' | 'token'> (kind: K, handle: Handle) {
    if (!handle.startsWith(`${site}~`)) return undefined
    const opened = sealer.open(kind, site, handle.slice(site.length + 1))
    return opened === undefined || opened.exp > now() + life.sealedMark ? undefined : opened.record
  }

  const known = (code: Handle) => {
    const found = redeemed.get(digestOf(code))
    return found !== undefined && found.until > now() ? found : undefined
  }

  /** Room for one more: what is over is forgotten, what is not never. */
  function makeRoom () {
    for (const [digest, { token, until }] of redeemed) {
      if (until > now()) break                                          // they are in the order in which they end
      redeemed.delete(digest)
      byToken.delete(token)
    }
    if (redeemed.size >= most) throw new OAuthError('store_unavailable', 'as many codes as one replica remembers were redeemed here')
  }

  function endHere (token: string) {
    const here = byToken.get(token)
    if (here !== undefined) here.ended = true
    return here !== undefined
  }

  return {
    async put (kind, record, seconds) {
      if (!isSealed(kind)) throw cannot(`a ${kind}`)
      return seal(kind, record as Records['code' | 'token'], seconds)
    },

    async get<K extends Kind> (kind: K, handle: Handle) {
      if (!isSealed(kind) || byToken.get(tokenName(site, handle))?.ended) return undefined
      return open(kind, handle) as Records[K] | undefined
    },

    async claim (code, { client_id, token, tokenSeconds, usedSeconds }) {
      const before = known(code)
      if (before !== undefined) return { used: before.used }
      makeRoom()
      const access_token = seal('token', token, tokenSeconds)
      const name = tokenName(site, access_token)
      const here = { used: { client_id, token: name }, token: name, until: now() + Math.max(usedSeconds, life.sealedMark), ended: false }
      redeemed.set(digestOf(code), here)
      byToken.set(name, here)
      return { access_token }
    },

    async usedBy (code) { return known(code)?.used },

    amend (code, used) {
      const here = known(code)
      if (here !== undefined) here.used = used
    },

    endHere,

    async end (ending) {
      if ('sid' in ending || 'session' in ending) throw cannot('the end of a session')
      endHere('token' in ending ? ending.token : tokenName(site, ending.access_token))
    },

    ended: refuses('the end of a session'),
    once: refuses('a name that is said once'),
    said: refuses('a name that is said once'),
    enter: refuses('the clients of a session'),
    entered: refuses('the clients of a session'),
    recall: refuses('a recall'),
    recalls: refuses('a recall'),
    async close () { redeemed.clear(); byToken.clear() }
  }
}
