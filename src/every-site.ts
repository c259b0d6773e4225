import { afterlife, lateSeconds, leadSeconds, retiredAt } from './adapters/key-schedule.ts'
import { endOfSealed, keyOfSealed, keyringSealer, type SealingKey } from './adapters/keyring-sealer.ts'
import { openStores } from './adapters/open-stores.ts'
import { nameOf, openedRecall, sealedRecall } from './adapters/recalls.ts'
import type { RedisAddress } from './adapters/redis-address.ts'
import type { RedisTrouble } from './adapters/redis-trouble.ts'
import { ConfigurationError, loadConfiguration, type Configuration } from './config/load.ts'
import { addressesIn, siteIn } from './config/environment.ts'
import type { Clock, Sealer, Store } from './ports.ts'
import { OAuthError } from './protocol/errors.ts'
import { life, type Recall } from './records.ts'

// What the commands share by which an operator tells the replicas of every site something.

/** A site as a command reaches it, and what its connection said is wrong with it, the same once. */
export interface Site { store: Store, troubles: Set<string> }

/** The configuration that PASSERELLE_CONFIG names. @throws {ConfigurationError} */
export function configurationOf (env: NodeJS.ProcessEnv): Configuration {
  const { PASSERELLE_CONFIG } = env
  if (PASSERELLE_CONFIG === undefined) throw new ConfigurationError(['PASSERELLE_CONFIG: expected the path of a configuration directory'])
  return loadConfiguration(PASSERELLE_CONFIG, { site: siteIn(env) })
}

/** Where each site keeps what it is told. @throws {ConfigurationError} where that is nowhere */
export function addressesOf (configuration: Configuration, env: NodeJS.ProcessEnv): Map<string, RedisAddress> {
  const home = addressesIn(env, configuration)
  if (home.urls.length === 0) throw new ConfigurationError(['PASSERELLE_REDIS: expected, or redis.urls: there is no store to tell'])
  return new Map([...configuration.sites, [configuration.settings.site, home]])
}

/** Each site, for the time of a command. */
export function sitesAt (addresses: ReadonlyMap<string, RedisAddress>, sealer: Sealer): Map<string, Site> {
  const troubles = new Map([...addresses.keys()].map(site => [site, new Set<string>()]))
  const stores = openStores(addresses, { sealer, now, watch: { sealed () {}, redeemed () {} }, onError (site, trouble) { troubles.get(site)!.add(said(trouble)) } })
  return new Map([...stores].map(([site, store]) => [site, { store, troubles: troubles.get(site)! }]))
}

/** Tells each site, and says what came of it, line by line. Answers those that were told. */
export async function tell (sites: ReadonlyMap<string, Site>, telling: (store: Store) => Promise<string[]>, again = 'run this again'): Promise<Map<string, Site>> {
  const told = await Promise.all([...sites].map(async ([site, { store, troubles }]) => {
    try {
      for (const line of await telling(store)) console.log(`site ${site}: ${line}`)
      return true
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error
      console.log(`site ${site}: NOT told: ${error.message}; ${again}`)
      for (const trouble of troubles) console.log(`site ${site}: ${trouble}`)
      return false
    }
  }))
  return new Map([...sites].filter((_, at) => told[at]))
}

/** What a site was told before and is not over: by which key it was sealed, and what it says where these keys open it. */
export async function toldBefore (store: Store, sealer: Sealer): Promise<Array<{ by: string | undefined, opened: { record: Recall, exp: number } | undefined }>> {
  const texts = (await store.recalls()).filter(text => endOfSealed(text) > now())
  return texts.map(text => ({ by: keyOfSealed(text), opened: openedRecall(sealer, text) }))
}

/** The clock of a command: NumericDate, seconds. */
export const now: Clock = () => Math.floor(Date.now() / 1000)

/** A sealing key, and until when replicas believe a recall that it sealed (NumericDate, seconds). */
export interface Teller { key: SealingKey, until: number }

/** Of the sealing keys that count the one by which replicas believe a recall for the longest; of several the oldest. */
export function tellerAmong (ring: readonly SealingKey[], counts: (key: SealingKey) => boolean): Teller | undefined {
  const most = now() + life.recall
  const tellers = ring.filter(counts).map(key => ({ key, until: Math.min(most, retiredAt(ring, key) + afterlife.sealing) }))
  return tellers.filter(({ until }) => until > now()).sort((a, b) => b.until - a.until || a.key.nbf - b.key.nbf)[0]
}

/** When every replica has it (NumericDate, seconds), a quarter of an hour after it was made: when its use began at the latest, and while it waits so long before. */
export const everywhereAt = ({ nbf }: SealingKey) => (nbf > now() ? nbf - leadSeconds : nbf) + lateSeconds

/** Seals by one key, whatever the schedule says, and opens by all of them. */
export const sealerBy = (issuer: string, ...keys: SealingKey[]) => keyringSealer({ issuer, keys: () => keys, now })

/** A recall, and its end (NumericDate, seconds). */
export interface Left { recall: Recall, exp: number }

/** Leaves a recall at a site, sealed by one key. */
export async function leaveRecall (store: Store, issuer: string, key: SealingKey, { recall, exp }: Left, name = nameOf(recall)): Promise<void> {
  await store.recall(name, sealedRecall(sealerBy(issuer, key), recall, exp), life.recall)
}

/** The same beside what another key sealed: for as long as each is believed it stands. */
export const leaveBeside = async (store: Store, issuer: string, key: SealingKey, left: Left): Promise<void> =>
  leaveRecall(store, issuer, key, left, `${nameOf(left.recall)} ${key.kid}`)

/** Lets go of them. */
export const close = async (sites: ReadonlyMap<string, Site>) => { await Promise.all([...sites.values()].map(({ store }) => store.close())) }

const said = ({ code, address, message }: RedisTrouble) => `${code}${address === undefined ? '' : ` at ${address}`}: ${message}`
