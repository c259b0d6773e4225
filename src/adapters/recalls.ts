import type { Sealer, Store } from '../ports.ts'
import type { Kind, Recall, Records } from '../records.ts'
import { isRecalled, type Recallable } from '../protocol/recall.ts'
import { jittered } from './jittered.ts'

export interface RecallsOptions {
  store: Store
  sealer: Sealer
  /** told of each one that this replica had not known */
  onNew: (recall: Recall) => void
  onFailure: (error: unknown) => void
}

/** what all of them are sealed for: they are read together */
const place = 'recalls'
/** a command of an operator counts everywhere within seconds */
const everyMs = 1000

/** A recall as it is left for every replica, until all that it may be of has died. */
export const sealedRecall = (sealer: Sealer, recall: Recall, exp: number) => sealer.seal('recall', place, recall, exp)

/** A store in which nothing lives on that an operator called back. What was called back is looked at each second; while it cannot be, what is known counts. */
export function recallingStore ({ store, sealer, onNew, onFailure }: RecallsOptions) {
  let inForce: Recall[] = []
  let known = new Set<string>()
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
      const texts = await store.recalls()
      const opened = texts.flatMap(text => {
        const recall = sealer.open('recall', place, text)?.record
        return recall === undefined ? [] : [{ text, recall }]
      })
      for (const { text, recall } of opened) if (!known.has(text)) onNew(recall)
      known = new Set(opened.map(({ text }) => text))
      inForce = opened.map(({ recall }) => recall)
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
