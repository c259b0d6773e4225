import type { Clock } from '../ports.ts'
import { recordStore, type Cells, type RecordStore } from './record-store.ts'

const sweepEvery = 1000

/** The embedded store of a first run: one process, gone with it. It keeps as Redis keeps, sealed and under digests. */
export function memoryStore ({ site, now }: { site: string, now: Clock }): RecordStore {
  const kept = new Map<string, { value: string, until: number }>()
  const hashes = new Map<string, { fields: Map<string, string>, until: number }>()
  let writes = 0

  const living = <T extends { until: number }>(map: Map<string, T>, key: string) => {
    const found = map.get(key)
    return found !== undefined && found.until > now() ? found : undefined
  }
  const keep = (key: string, value: string, seconds: number) => {
    if (++writes % sweepEvery === 0) for (const map of [kept, hashes]) for (const [old, { until }] of map) if (until <= now()) map.delete(old)
    kept.set(key, { value, until: now() + seconds })
  }

  const values = (key: string) => [...living(hashes, key)?.fields.values() ?? []]

  const cells: Cells = {
    async swapNew (key, value, seconds) {
      const before = living(kept, key)?.value ?? null
      if (before === null) keep(key, value, seconds)
      return before
    },
    async set (key, value, seconds) { keep(key, value, seconds) },
    async get (key, slideSeconds) {
      const found = living(kept, key)
      if (found !== undefined && slideSeconds !== undefined) found.until = now() + slideSeconds
      return found?.value ?? null
    },
    async add (key, field, value, seconds) {
      const fields = living(hashes, key)?.fields ?? new Map<string, string>()
      hashes.set(key, { fields: fields.set(field, value), until: now() + seconds })
    },
    all: async key => values(key),
    standing: async key => values(key),
    async close () { kept.clear(); hashes.clear() }
  }
  return recordStore(cells, { site })
}
