import { openStores } from './adapters/open-stores.ts'
import type { RedisAddress } from './adapters/redis-address.ts'
import { ConfigurationError, loadConfiguration, type Configuration } from './config/load.ts'
import { addressesIn } from './config/redis-in-environment.ts'
import type { Clock, Sealer, Store } from './ports.ts'
import { OAuthError } from './protocol/errors.ts'

// What the commands share by which an operator tells the replicas of every site something.

/** The configuration that PASSERELLE_CONFIG names. @throws {ConfigurationError} */
export function configurationOf ({ PASSERELLE_CONFIG, PASSERELLE_SITE }: NodeJS.ProcessEnv): Configuration {
  if (PASSERELLE_CONFIG === undefined) throw new ConfigurationError(['PASSERELLE_CONFIG: expected the path of a configuration directory'])
  return loadConfiguration(PASSERELLE_CONFIG, { site: PASSERELLE_SITE || undefined })
}

/** Where each site keeps what it is told. @throws {ConfigurationError} where that is nowhere */
export function addressesOf (configuration: Configuration, env: NodeJS.ProcessEnv): Map<string, RedisAddress> {
  const home = addressesIn(env, configuration)
  if (home.urls.length === 0) throw new ConfigurationError(['PASSERELLE_REDIS: expected, or redis.urls: there is no store to tell'])
  return new Map([...configuration.sites, [configuration.settings.site, home]])
}

/** The store of each site, for the time of a command. */
export const storesAt = (addresses: ReadonlyMap<string, RedisAddress>, sealer: Sealer, now: Clock) => openStores(addresses, { sealer, now, watch: { sealed () {}, redeemed () {} }, onError () {} })

/** Tells each site, and says what came of it, line by line. Answers those that were told. */
export async function tell (stores: ReadonlyMap<string, Store>, telling: (store: Store) => Promise<string[]>, again = 'run this again'): Promise<Map<string, Store>> {
  const told = await Promise.all([...stores].map(async ([site, store]) => {
    try {
      for (const line of await telling(store)) console.log(`site ${site}: ${line}`)
      return true
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error
      console.log(`site ${site}: NOT told: ${error.message}; ${again}`)
      return false
    }
  }))
  return new Map([...stores].filter((_, at) => told[at]))
}

/** Lets go of them. */
export const close = async (stores: ReadonlyMap<string, Store>) => { await Promise.all([...stores.values()].map(store => store.close())) }
