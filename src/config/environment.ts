import { faultOfRedis, type RedisAddress } from '../adapters/redis-address.ts'
import { ConfigurationError, type Configuration } from './load.ts'

/** The mark of this site, where PASSERELLE_SITE names it. */
export const siteIn = ({ PASSERELLE_SITE }: NodeJS.ProcessEnv) => PASSERELLE_SITE || undefined

/** The Redis of this site: that of the configuration, or in its place the addresses that PASSERELLE_REDIS names. @throws {ConfigurationError} */
export function addressesIn ({ PASSERELLE_REDIS = '' }: NodeJS.ProcessEnv, { redis }: Configuration): RedisAddress {
  const named = PASSERELLE_REDIS.split(/[\s,]+/).filter(Boolean)
  const address = named.length > 0 ? { ...redis, urls: named } : redis
  const fault = faultOfRedis(address)
  if (fault !== undefined) throw new ConfigurationError([`PASSERELLE_REDIS: ${fault}`])
  return address
}

/** Whether traces are on: where the standard variables name a collector (OpenTelemetry, Environment Variable Specification). @throws {ConfigurationError} */
export function wantsTraces (environment: NodeJS.ProcessEnv): boolean {
  if (environment['OTEL_SDK_DISABLED']?.trim().toLowerCase() === 'true' || environment['OTEL_TRACES_EXPORTER']?.trim() === 'none') return false
  const named = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'].filter(name => environment[name]?.trim())
  const wrong = named.filter(name => !/^https?:$/.test(URL.parse(environment[name]!.trim())?.protocol ?? ''))
  if (wrong.length > 0) throw new ConfigurationError(wrong.map(name => `${name}: expected an http or https address`))
  return named.length > 0
}
