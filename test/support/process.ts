import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeNextKeys } from '../../src/keys.ts'
import { freePort } from '../world/free-port.ts'
import { startWorld } from '../world/world.ts'
import { temporaryDirectory, type Teardown } from './gateway.ts'

export const server = fileURLToPath(new URL('../../src/server.ts', import.meta.url))

interface Run { args?: string[], env?: Record<string, string>, /** where its stdout goes; unless set it is read */ stdout?: number | 'pipe' }

/** A process of ours: what it prints, and how it ends. It is killed with the test. */
export function run (t: Teardown, program: string, { args = [], env = {}, stdout = 'pipe' }: Run = {}) {
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, ...env }, stdio: ['ignore', stdout, 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const printed: string[] = []
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', chunk => printed.push(String(chunk)))
  const ended = new Promise<number | NodeJS.Signals | null>(resolve => { child.once('close', (code, signal) => resolve(code ?? signal)) })
  const text = () => printed.join('')
  return {
    child,
    ended,
    text,
    /** the lines of its log with this message */
    lines: (msg: string) => text().split('\n').filter(line => line.startsWith('{')).map(line => JSON.parse(line) as Record<string, unknown>).filter(line => line['msg'] === msg)
  }
}

/** Whether something answers there with this status within ten seconds. */
export async function answers (url: string, status: number) {
  for (let tries = 0; tries < 200; tries++) {
    const got = await fetch(url).then(answer => answer.status, () => 0)
    if (got === status) return true
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  return false
}

/** A configuration for a process of ours in a world of its own, and where it will answer. */
export async function configured (t: Teardown, settings: Record<string, unknown> = {}) {
  const [port, operationsPort] = [await freePort(), await freePort()]
  const issuer = `http://passerelle.localhost:${port}`
  const world = await startWorld({ issuer })
  t.teardown(() => world.stop())
  const directory = temporaryDirectory(t)
  await world.writeConfiguration(directory, { settings: { operations: { port: operationsPort }, ...settings } })
  makeNextKeys(join(directory, 'keys'))
  return { directory, world, port, public: `http://127.0.0.1:${port}`, operations: `http://127.0.0.1:${operationsPort}` }
}
