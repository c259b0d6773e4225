import type { Clock, Sealer, Store } from '../ports.ts'
import { life, type Kind, type Recall, type Records } from '../records.ts'
import { isRecalled, type Recallable } from '../protocol/recall.ts'
import { jittered } from './jittered.ts'
import { endOfSealed } from './keyring-sealer.ts'
import { within } from './record-store.ts'

export interface RecallsOptions {
  store: Store
  /** those of the other sites, which were told the same: home may have lost it */
  elsewhere?: readonly Store[] | undefined
  sealer: Sealer
  now: Clock
  /** told of each one that this replica had not known */
  onNew: (recall: Recall) => void
  /** told at each look which keys were called back: from then on the sealer is without them */
  onKeys?: ((recalls: Recall[]) => void) | undefined
  /** told of how many there are more that it cannot open, by a key that it does not have or by nobody of ours */
  onUnreadable: (recalls: number) => void
  onFailure: (error: unknown) => void
}

/** what all of them are sealed for: they are read together */
const place = 'recalls'
/** a command of an operator counts everywhere within seconds */
const everyMs = 1000
/** how much of what is lacking one look writes */
const atOnce = 32

type Known = Map<string, { text: string, recall: Recall }>
const ofKeys = (known: Known) => [...known.values()].map(({ recall }) => recall).filter(({ kid }) => kid !== undefined)

/** A recall as it is left for every replica, until all that it may be of has died. */
export const sealedRecall = (sealer: Sealer, recall: Recall, exp: number) => sealer.seal('recall', place, recall, exp)
/** What was left so, and its end. */
export const openedRecall = (sealer: Sealer, text: string) => sealer.open('recall', place, text)

/** What a recall is called where it is left. */
export const nameOf = (recall: Recall) => JSON.stringify(recall)

/**
 * A store in which nothing lives on that an operator called back. What was called back is looked at each second; while it cannot be, what is known counts, and goes on counting to its end
 * where the store has lost it, and is written there again: what it is of may stand elsewhere, and a replica that starts knows nothing else.
 */
export function recallingStore ({ store, elsewhere = [], sealer, now, onNew, onKeys = () => {}, onUnreadable, onFailure }: RecallsOptions) {
  let known: Known = new Map()
  let inForce: Recall[] = []
  let lacking = new Set<string>()
  let unreadable = new Set<string>()
  let wasRead = false
  let timer: NodeJS.Timeout | undefined
  let looking: Promise<boolean> | undefined
  let isClosed = false

  /** Looks, once at a time, and again in a second; whether the store could say. */
  function look () {
    looking ??= read().finally(() => {
      looking = undefined
      clearTimeout(timer)
      if (!isClosed) timer = setTimeout(look, jittered(everyMs)).unref()
    })
    return looking
  }

  async function read () {
    const [home, ...others] = await Promise.all([
      store.recalls().catch(error => { onFailure(error); return undefined }),
      ...elsewhere.map(site => within(everyMs, site.recalls()).catch(() => []))
    ])
    const names = take([...home ?? unreadable, ...others.flat()])
    if (home === undefined) return false
    wasRead = true
    giveBack(new Set(home.map(text => names.get(text))))
    return true
  }

  /** Takes what was read into force, beside what is; what each text that can be opened is called. */
  function take (texts: string[]) {
    const before = known
    const all = new Set([...[...before.values()].map(({ text }) => text), ...texts])
    let found
    let last: Known
    do {                                                                // without a key what it sealed counts no more, and what another did may for longer
      last = known
      found = openAll(all)
      known = found.opened
      onKeys(ofKeys(known))
    } while (ofKeys(known).some(recall => !last.has(nameOf(recall))))
    inForce = [...known.values()].map(({ recall }) => recall)
    for (const [name, { recall }] of known) if (!before.has(name)) onNew(recall)
    const more = [...found.closed].filter(text => !unreadable.has(text)).length
    unreadable = found.closed
    if (more > 0) onUnreadable(more)
    return found.names
  }

  /** What these texts say, what each is called, and those that cannot be opened, though they should. A key that was called back is so to the end, whoever's key it was that said so. */
  function openAll (texts: Iterable<string>) {
    const stays = new Map([...known.values()].filter(({ text, recall }) => recall.kid !== undefined && endOfSealed(text) > now()).map(({ text, recall }) => [text, recall]))
    const opened: Known = new Map()
    const names = new Map<string, string>()
    const closed = new Set<string>()
    for (const text of texts) {
      const recall = openedRecall(sealer, text)?.record ?? stays.get(text)
      if (recall !== undefined) {
        const name = nameOf(recall)                                     // each site's is sealed for itself
        names.set(text, name)
        opened.set(name, { text, recall })
      } else if (!(endOfSealed(text) <= now())) closed.add(text)
    }
    return { opened, names, closed }
  }

  /** What home lacks twice running is written there again. Replicas look at moments of their own: the first writes, and the others find it there. */
  function giveBack (there: ReadonlySet<string | undefined>) {
    const lost = [...known.keys()].filter(name => !there.has(name))
    // its end is in the text: what it is kept with must not end sooner for it
    for (const name of lost.filter(name => lacking.has(name)).slice(0, atOnce)) store.recall(name, known.get(name)!.text, life.recall).catch(onFailure)
    lacking = new Set(lost)
  }

  const isOver = (record: Recallable) => isRecalled(inForce, record)

  const recalling: Store = Object.assign(Object.create(store), {
    async get<K extends Kind> (kind: K, ...rest: Parameters<Store['get']> extends [unknown, ...infer R] ? R : never): Promise<Records[K] | undefined> {
      const record = await store.get(kind, ...rest)
      return record === undefined || isOver(record) ? undefined : record
    },
    async close () {
      isClosed = true
      clearTimeout(timer)
      await store.close()
    }
  } satisfies Partial<Store>)
  return {
    store: recalling,
    /** Whether something that a browser carries was called back. */
    isRecalled: isOver,
    /** How many are in force. */
    count: () => inForce.length,
    /** Whether they were read at all since this replica started. */
    wereRead: () => wasRead,
    look
  }
}
