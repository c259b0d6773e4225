import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { buildApp, type Ports } from '../../src/app.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { makeNextKeys } from '../../src/keys.ts'
import { merge, type Overrides } from '../world/configuration.ts'
import { freePort } from '../world/free-port.ts'
import { createLookup } from '../world/lookup.ts'
import { startWorld, type World } from '../world/world.ts'

export interface Gateway {
  app: FastifyInstance
  world: World
  issuer: string
  directory: string
  /** every line of the log so far */
  log: string[]
}

export interface Teardown { teardown (handler: () => unknown): unknown }

/** A temporary directory that goes with the test. */
export function temporaryDirectory (t: Teardown) {
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

interface GatewayOptions extends Ports {
  overrides?: Overrides
  /** path of the issuer */
  path?: string
  /** everything over https, under names that are no browser's exception */
  tls?: { key: string, cert: string }
  /** the issuer, where something stands before the gateway; it listens on `port` */
  behind?: { issuer: string, port: number }
}

/** The top-level name of a world over https. */
export const secureSuffix = 'test'

/** The gateway on a real socket in the small world, with what a test changes of its configuration; all of it ends with the test. */
export async function startGateway (t: Teardown, { overrides = {}, path = '', tls, behind, ...ports }: GatewayOptions = {}): Promise<Gateway> {
  const port = behind?.port ?? await freePort()
  const issuer = behind?.issuer ?? (tls === undefined ? `http://passerelle.localhost:${port}${path}` : `https://passerelle.${secureSuffix}:${port}${path}`)
  const world = await startWorld({ issuer, ...(tls === undefined ? {} : { tls, ca: tls.cert, suffix: secureSuffix }) })
  t.teardown(() => world.stop())
  const directory = temporaryDirectory(t)
  // one event loop is the gateway's, the world's and the test's: it says nothing of the gateway's load
  await world.writeConfiguration(directory, { ...overrides, settings: merge({ load: { delay_ms: 5000 } }, overrides.settings ?? {}) })
  makeNextKeys(join(directory, 'keys'), Math.floor(Date.now() / 1000) - 3600)
  const log: string[] = []
  const app = await buildApp(loadConfiguration(directory), {
    log: { write: (line: string) => { log.push(line) } },
    ...(tls === undefined ? {} : { lookup: createLookup(secureSuffix) }),
    ...ports
  })
  t.teardown(() => app.close())
  await app.operations.listen({ host: '127.0.0.1', port: 0 })
  await app.listen({ host: '127.0.0.1', port })
  return { app, world, issuer, directory, log }
}
