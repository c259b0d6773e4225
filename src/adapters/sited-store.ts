import { OAuthError } from '../protocol/errors.ts'
import type { Store } from '../ports.ts'
import { siteOf } from './handles.ts'

/**
 * One store of several sites, none of which knows what another keeps: what is new is kept at home, and what a site issued is read, claimed and ended there, whichever
 * site is asked. So a code is good once, whatever becomes of the link between them.
 */
export function sitedStore ({ home, stores }: { home: string, stores: ReadonlyMap<string, Store> }): Store {
  const own = stores.get(home)!
  /** Who keeps what this text names: what bears no mark is our own. */
  const keeperOf = (text = '') => stores.get(siteOf(text) ?? home)
  /** The same, where somebody must. @throws {OAuthError} store_unavailable */
  function keeper (text?: string) {
    const found = keeperOf(text)
    if (found === undefined) throw new OAuthError('store_unavailable', 'of a site that is not configured')
    return found
  }

  return {
    put: (kind, record, seconds, options) => own.put(kind, record, seconds, options),
    async get (kind, handle, options) { return keeperOf(handle)?.get(kind, handle, options) },
    async claim (code, claim) { return keeper(code).claim(code, claim) },
    async usedBy (code) { return keeperOf(code)?.usedBy(code) },
    async end (ending, seconds) { await keeper(Object.values(ending)[0]!).end(ending, seconds) },
    async ended (sid, options) { return keeper(sid).ended(sid, options) },
    async once (name, seconds, options) { return keeper(options?.at).once(name, seconds, options) },
    async said (name, options) { return keeper(options?.at).said(name, options) },
    async enter (sid, entered, seconds) { await keeper(sid).enter(sid, entered, seconds) },
    async entered (sid) { return keeper(sid).entered(sid) },
    async recall (name, text, seconds) { await Promise.all([...stores.values()].map(store => store.recall(name, text, seconds))) },
    recalls: () => own.recalls(),
    async close () { await Promise.all([...stores.values()].map(store => store.close())) }
  }
}
