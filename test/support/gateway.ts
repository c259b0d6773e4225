import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { buildApp, type Ports } from '../../src/app.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { makeNextKeys } from '../../src/keys.ts'
import { startWorld, type World } from '../world/world.ts'

export interface Gateway {
  app: FastifyInstance
  world: World
  issuer: string
  directory: string
  /** every line of the log so far */
  log: string[]
}

interface Teardown { teardown (handler: () => unknown): unknown }

/** A free port of this machine. */
export const freePort = () => new Promise<number>((resolve, reject) => {
  const server = createServer().once('error', reject).listen(0, '127.0.0.1', () => {
    const { port } = server.address() as { port: number }
    server.close(() => resolve(port))
  })
})

/** A temporary directory that goes with the test. */
export function temporaryDirectory (t: Teardown) {
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** The gateway on a real socket in the small world, with what a test changes of its configuration; all of it ends with the test. */
export async function startGateway (t: Teardown, { overrides = {}, path = '', ...ports }: Ports & { overrides?: object, path?: string } = {}): Promise<Gateway> {
  const port = await freePort()
  const issuer = `http://passerelle.localhost:${port}${path}`
  const world = await startWorld({ issuer })
  t.teardown(() => world.stop())
  const directory = temporaryDirectory(t)
  await world.writeConfiguration(directory, overrides)
  makeNextKeys(join(directory, 'keys'))
  const log: string[] = []
  const app = await buildApp(loadConfiguration(directory), { log: { write: (line: string) => { log.push(line) } }, ...ports })
  t.teardown(() => app.close())
  await app.operations.listen({ host: '127.0.0.1', port: 0 })
  await app.listen({ host: '127.0.0.1', port })
  return { app, world, issuer, directory, log }
}
