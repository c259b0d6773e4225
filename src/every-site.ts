import { openStores } from './adapters/open-stores.ts'
import type { RedisAddress } from './adapters/redis-address.ts'
import type { RedisTrouble } from './adapters/redis-trouble.ts'
import { ConfigurationError, loadConfiguration, type Configuration } from './config/load.ts'
import { addressesIn, siteIn } from './config/environment.ts'
import type { Clock, Sealer, Store } from './ports.ts'
import { OAuthError } from './protocol/errors.ts'

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
export function sitesAt (addresses: ReadonlyMap<string, RedisAddress>, sealer: Sealer, now: Clock): Map<string, Site> {
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

/** Lets go of them. */
export const close = async (sites: ReadonlyMap<string, Site>) => { await Promise.all([...sites.values()].map(({ store }) => store.close())) }

const said = ({ code, address, message }: RedisTrouble) => `${code}${address === undefined ? '' : ` at ${address}`}: ${message}`
