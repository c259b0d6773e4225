import pino from 'pino'
import { inTime } from './adapters/in-time.ts'
import { buildApp } from './app.ts'
import { ConfigurationError, emptyMemory, loadConfiguration } from './config/load.ts'
import { addressesIn } from './config/redis-in-environment.ts'
import { watchConfiguration } from './config/watch.ts'

// The process: configuration, listen, close; SIGHUP looks at the configuration again. PASSERELLE_CONFIG names a configuration directory; PASSERELLE_REDIS, where it is set, one URL
// or several for a Cluster in place of those in it; PASSERELLE_SITE the site.

const { PASSERELLE_CONFIG, PASSERELLE_SITE } = process.env

// written behind the requests' backs: a pipe that is slow or blocked keeps no citizen
const log = pino.destination({ dest: 1, sync: false })

async function start () {
  if (PASSERELLE_CONFIG === undefined) throw new ConfigurationError(['PASSERELLE_CONFIG: expected the path of a configuration directory'])
  const options = { site: PASSERELLE_SITE || undefined, memory: emptyMemory() }
  const configuration = loadConfiguration(PASSERELLE_CONFIG, options)
  const { listen, operations, issuer } = configuration.settings
  const { urls: redis } = addressesIn(process.env, configuration)
  const app = await buildApp(configuration, { redis, log })

  const stop = (signal: string) => {
    app.log.info({ signal }, 'closing')
    app.close().then(() => end(0), () => end(1))
  }
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, stop)

  const watcher = watchConfiguration({ directory: PASSERELLE_CONFIG, ...options, take: read => app.reconfigure(read) })
  app.addHook('onClose', async () => watcher.close())
  process.on('SIGHUP', () => watcher.look())

  await app.operations.listen({ host: operations.host, port: operations.port })
  if (redis.length === 0) app.log.warn('records are kept in this process only: neither redis.urls nor PASSERELLE_REDIS is set')
  else if (!await inTime(2000, app.lookForRecalls(), () => new Error('late')).catch(() => false)) app.log.warn('started while the store is away')
  await app.listen({ host: listen.host, port: listen.port })
  app.log.info({ issuer, configuration: configuration.hash, clients: configuration.clients.size, identityProviders: configuration.identityProviders.size }, 'serving')
}

function end (code: number) {
  try { log.flushSync() } catch { /* nobody reads it any more */ }
  process.exit(code)
}

try { await start() } catch (error) {
  const { code, address, port } = error as NodeJS.ErrnoException & { address?: string, port?: number }
  if (code === 'EADDRINUSE') console.error(`${address}:${port} is taken: /listen/port or /operations/port in passerelle.yaml says where we listen`)
  else console.error(error instanceof ConfigurationError ? error.message : error)
  process.exit(1)
}
