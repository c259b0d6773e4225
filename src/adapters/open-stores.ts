import type { Clock, Sealer, Store, StoreWatch } from '../ports.ts'
import { degradableStore, type DegradedWatch } from './degradable-store.ts'
import type { RedisAddress } from './redis-address.ts'
import { redisStore } from './redis-store.ts'
import type { RedisTrouble } from './redis-trouble.ts'
import { sealedStore } from './sealed-store.ts'

export interface StoresOptions {
  sealer: Sealer
  now: Clock
  watch: DegradedWatch
  watchStore?: ((site: string) => StoreWatch) | undefined
  onError: (site: string, trouble: RedisTrouble) => void
}

/** The store of each site, as it is reached from here. */
export const openStores = (sites: ReadonlyMap<string, RedisAddress>, { sealer, now, watch, watchStore, onError }: StoresOptions): Map<string, Store> => new Map([...sites].map(([site, address]) => [site, degradableStore({
  records: redisStore({ ...address, site, watch: watchStore?.(site), onError: trouble => onError(site, trouble) }),
  sealed: sealedStore({ site, sealer, now }),
  site,
  now,
  watch
})]))
