import { hostname } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { inTime } from './adapters/in-time.ts'
import { standardOutput } from './adapters/log-pipe.ts'
import { buildApp } from './app.ts'
import { ConfigurationError, emptyMemory, loadConfiguration } from './config/load.ts'
import { addressesIn, siteIn, wantsTraces } from './config/environment.ts'
import { watchConfiguration, type Watcher } from './config/watch.ts'
import { loggable } from './log.ts'

// The process: configuration, listen, drain, close. PASSERELLE_CONFIG names a configuration directory; PASSERELLE_REDIS, where it is set, one URL or several for a Cluster in place of
// those in it; PASSERELLE_SITE the site. OTEL_EXPORTER_OTLP_ENDPOINT and its kin switch traces on.

const { PASSERELLE_CONFIG } = process.env

/** Milliseconds within which a second SIGINT is the first once more: npm passes on what the terminal has sent already. */
const sameMs = 500
/** Milliseconds of a drain that are kept for what closes after the back-channel logouts: the store may take two seconds. */
const closesMs = 3000
/** Milliseconds that the last lines of the log may take. */
const lastLinesMs = 1000

const log = standardOutput()
const hurry = new AbortController()
let app: FastifyInstance | undefined
let watcher: Watcher | undefined
let leaving: Promise<void> | undefined
let exitCode = 0
let interruptedAt = -Infinity

process.on('SIGTERM', leave)
process.on('SIGINT', interrupt)
process.on('SIGHUP', () => { watcher?.look() })                         // and a terminal that closes ends nobody's login
process.on('uncaughtException', (err, origin) => {
  exitCode = 1
  if (app === undefined) complain(err)
  else app.log.fatal({ err, origin }, 'uncaught')
  leave(origin)
})

async function start () {
  if (PASSERELLE_CONFIG === undefined) throw new ConfigurationError(['PASSERELLE_CONFIG: expected the path of a configuration directory'])
  const options = { site: siteIn(process.env), memory: emptyMemory() }
  const configuration = loadConfiguration(PASSERELLE_CONFIG, options)
  const { listen, operations, issuer, site } = configuration.settings
  const { urls: redis } = addressesIn(process.env, configuration)
  // only then: where traces are off nothing of OpenTelemetry is loaded
  const traces = wantsTraces(process.env) ? (await import('./adapters/traces.ts')).startTraces({ site, replica: hostname() }) : undefined
  const gateway = app = await buildApp(configuration, { redis, log, traces })
  log.onLost(app.countLostLines)

  watcher = watchConfiguration({ directory: PASSERELLE_CONFIG, ...options, take: read => gateway.reconfigure(read) })
  app.addHook('onClose', async () => watcher?.close())

  await app.operations.listen({ host: operations.host, port: operations.port })
  if (redis.length === 0) app.log.warn('records are kept in this process only: neither redis.urls nor PASSERELLE_REDIS is set')
  else if (!await inTime(2000, app.lookForRecalls(), () => new Error('late')).catch(() => false)) app.log.warn('started while the store is away')
  if (leaving !== undefined) return                                     // told to end while it waited
  await app.letIn({ host: listen.host, port: listen.port })
  app.log.info({ issuer, configuration: configuration.hash, clients: configuration.clients.size, identityProviders: configuration.identityProviders.size }, 'serving')
}

/** Ends the process in order, once, whoever asks for it how often. */
function leave (reason: string) {
  if (leaving === undefined) leaving = app === undefined ? end() : drain(app, reason)
  else app?.log.info({ reason }, 'draining already')
}

/** Not ready at once, serving on until the balancer has noticed, then closed: requests first, back-channel logouts, and what they all need last. */
async function drain (app: FastifyInstance, reason: string) {
  const { wait_seconds: waitSeconds, finish_seconds: finishSeconds } = app.configuration.settings.drain
  const served = app.notReady === ''
  app.announceEnd()
  app.log.info({ reason, waitSeconds, finishSeconds, ...app.underWay() }, 'draining')
  if (served) await pause(waitSeconds * 1000, undefined, { signal: hurry.signal }).catch(() => {})
  app.log.info(app.underWay(), 'closing')
  const finishMs = finishSeconds * 1000
  setTimeout(app.tellNoMore, finishMs - Math.min(closesMs, finishMs / 2))
  const closed = app.close().catch((err: unknown) => {
    exitCode = 1
    app.log.error({ err }, 'closing')
  })
  const isLate = await Promise.race([closed, pause(finishMs, 'late')]) === 'late'
  if (isLate || app.underWay().logouts > 0) {
    exitCode = 1
    app.log.error(app.underWay(), 'not finished in time')
  }
  await end()
}

/** SIGINT is somebody at a terminal: no balancer waits, and who asks again does not either. */
function interrupt () {
  const sinceMs = performance.now() - interruptedAt
  if (sinceMs < sameMs) return
  interruptedAt = performance.now()
  if (sinceMs === Infinity) {
    hurry.abort()
    leave('SIGINT')
  } else {
    exitCode = 130
    end()
  }
}

async function end () {
  const left = await log.flush(lastLinesMs)
  if (left > 0) console.error(`${left} lines of the log could not be written`)
  process.exit(exitCode)
}

/** Says on stderr why there is nothing to log for: of a foreign error never its message, which may hold a secret of a file that it could not read. */
function complain (error: unknown) {
  const { code = '', address, port } = error as NodeJS.ErrnoException & { address?: string, port?: number }
  if (error instanceof ConfigurationError) console.error(error.message)
  else if (code in cannotListen) console.error(`${address}:${port} ${cannotListen[code]}: /listen and /operations in passerelle.yaml say where we listen`)
  else console.error(JSON.stringify({ err: loggable.serializers.err(error) }))
}

const cannotListen: Record<string, string> = { EADDRINUSE: 'is taken', EACCES: 'may not be taken by this user', EADDRNOTAVAIL: 'is no address of this machine' }

try { await start() } catch (error) {
  if (leaving === undefined) {
    exitCode = 1
    complain(error)
    leaving = end()
  }
}
