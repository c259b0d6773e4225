import type { Clock, Sealer, Store } from '../ports.ts'
import type { Kind, Recall, Records } from '../records.ts'
import { isRecalled, type Recallable } from '../protocol/recall.ts'
import { jittered } from './jittered.ts'
import { endOfSealed } from './keyring-sealer.ts'

export interface RecallsOptions {
  store: Store
  sealer: Sealer
  now: Clock
  /** told of each one that this replica had not known */
  onNew: (recall: Recall) => void
  /** told of how many there are more that it cannot open, by a key that it does not have or by nobody of ours */
  onUnreadable: (recalls: number) => void
  onFailure: (error: unknown) => void
}

/** what all of them are sealed for: they are read together */
const place = 'recalls'
/** a command of an operator counts everywhere within seconds */
const everyMs = 1000

/** A recall as it is left for every replica, until all that it may be of has died. */
export const sealedRecall = (sealer: Sealer, recall: Recall, exp: number) => sealer.seal('recall', place, recall, exp)

/**
 * A store in which nothing lives on that an operator called back. What was called back is looked at each second; while it cannot be, what is known counts, and goes on counting to its end
 * where the store has lost it: what it is of may stand elsewhere.
 */
export function recallingStore ({ store, sealer, now, onNew, onUnreadable, onFailure }: RecallsOptions) {
  let inForce: Recall[] = []
  let known = new Set<string>()
  let unreadable = new Set<string>()
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
    try {
      const texts = [...new Set([...known, ...await store.recalls()])]
      const opened = texts.flatMap(text => {
        const recall = sealer.open('recall', place, text)?.record
        return recall === undefined ? [] : [{ text, recall }]
      })
      for (const { text, recall } of opened) if (!known.has(text)) onNew(recall)
      known = new Set(opened.map(({ text }) => text))
      inForce = opened.map(({ recall }) => recall)
      const closed = texts.filter(text => !known.has(text) && !(endOfSealed(text) <= now()))
      const more = closed.filter(text => !unreadable.has(text)).length
      unreadable = new Set(closed)
      if (more > 0) onUnreadable(more)
      return true
    } catch (error) {
      onFailure(error)
      return false
    }
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
    look
  }
}
