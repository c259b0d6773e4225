import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { siteOf } from '../src/adapters/handles.ts'
import { memoryStore } from '../src/adapters/memory-store.ts'
import { asOneWait, slowMs } from '../src/adapters/one-deadline.ts'
import { openStores } from '../src/adapters/open-stores.ts'
import { recallingStore } from '../src/adapters/recalls.ts'
import { loneNoticeboard, redisNoticeboard } from '../src/adapters/redis-noticeboard.ts'
import { sitedStore } from '../src/adapters/sited-store.ts'
import type { RedisTrouble } from '../src/adapters/redis-trouble.ts'
import type { Noticeboard, Store } from '../src/ports.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import type { Recallable } from '../src/protocol/recall.ts'

declare module 'fastify' {
  interface FastifyInstance {
    store: Store
    /** Whether what bears this mark is kept at home. Another site may be lost: what it keeps is waited for only where nobody can do without. */
    isHome (marked: string): boolean
    /** what replicas tell each other and can do without */
    noticeboard: Noticeboard
    /** what operators called back: looks now, and from now on each second; whether the store could say */
    lookForRecalls (): Promise<boolean>
    /** whether they were read at all since this replica started: until then a session may have been called back */
    knowsRecalls (): boolean
    /** whether something that a browser carries was called back */
    isRecalled (record: Recallable): boolean
    /** Has this told of each request that the store keeps waiting for longer than a store takes that is well. */
    whenStoreIsSlow (tell: (request: FastifyRequest) => void): void
  }
}

/** Milliseconds that a request waits for what it can do without. */
export const patienceMs = slowMs
/** Milliseconds before the same is said of the same node again. */
const betweenComplaintsMs = 10_000

/** What the store answers, or this instead while it is away, where one can do without. */
export async function unlessAway<T, I> (answer: Promise<T>, instead: I): Promise<T | I> {
  try { return await answer } catch (error) {
    if (error instanceof OAuthError && error.failure === 'store_unavailable') return instead
    throw error
  }
}

export interface StoreOptions { store?: Store | undefined, noticeboard?: Noticeboard | undefined, redis?: readonly string[] | undefined }

/** What the client's server has to bring back: Redis where there is one, else the embedded store. */
export default fp<StoreOptions>(async (app, { store, noticeboard, redis = app.configuration.redis.urls }) => {
  const { settings: { site }, redis: configured, sites } = app.configuration
  const address = { ...configured, urls: redis }
  const watchStore = (site: string) => app.traces?.store(app.watchStore(site), site) ?? app.watchStore(site)
  const stores = store === undefined && redis.length > 0
    ? openStores(new Map([...sites, [site, address]]), { sealer: app.sealer, now: app.now, watch: app.degraded, watchStore, onError: complain })
    : new Map<string, Store>()
  const kept = store ?? (stores.size === 0 ? memoryStore({ site, now: app.now }) : sitedStore({ home: site, stores }))
  const recalls = recallingStore({
    store: kept,
    elsewhere: [...stores].filter(([name]) => name !== site).map(([, other]) => other),
    sealer: app.sealer,
    now: app.now,
    onNew: recall => app.log.warn({ ...recall }, 'called back'),
    onKeys: app.leaveOutKeys,
    onUnreadable (recalls) {
      app.countRecallsUnread()
      app.log.error({ recalls }, 'what was called back cannot be opened: npm run end needs the sealing keys that the replicas have')
    },
    onFailure: () => app.countRecallsUnread()
  })
  app.watchRecalls(recalls.count)
  app.decorate('store', recalls.store)
  app.decorate('isHome', marked => (siteOf(marked) ?? site) === site)
  app.decorate('lookForRecalls', recalls.look)
  app.decorate('knowsRecalls', recalls.wereRead)
  app.decorate('isRecalled', recalls.isRecalled)
  app.addHook('onListen', async () => { recalls.look() })
  const slowListeners: Array<(request: FastifyRequest) => void> = []
  app.decorate('whenStoreIsSlow', tell => { slowListeners.push(tell) })
  app.addHook('preHandler', (request, reply, done) => asOneWait(done, () => { for (const tell of slowListeners) tell(request) }))
  const complained = new Map<string, number>()
  function complain (site: string, { code, address, message: reason }: RedisTrouble) {
    const what = `${site} ${code} ${address}`
    const now = performance.now()
    if (now - (complained.get(what) ?? -Infinity) < betweenComplaintsMs) return
    if (complained.size > 100) complained.clear()                       // nodes that go from address to address
    complained.set(what, now)
    app.log.warn({ site, code, address, reason }, 'store connection')
  }

  app.decorate('noticeboard', noticeboard ?? (redis.length === 0 ? loneNoticeboard : redisNoticeboard({ ...address, watch: watchStore(site) })))

  app.addHook('onClose', async () => { await Promise.all([app.store.close(), app.noticeboard.close()]) })
}, { name: 'store', dependencies: ['configuration', 'metrics', 'traces', 'signer'] })
