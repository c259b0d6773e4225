import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from '../support/redis.ts'
import { createClock } from './clock.ts'
import { end, launch, runs, type Launched } from './processes.ts'

/** A light identity provider in a process of its own, and the way to what it can do wrong. */
export interface Provider {
  id: string
  issuer: string
  client_id: string
  client_secret: string
  /** Lets a share of its calls go wrong so. */
  misbehave (name: string, share?: number): Promise<void>
  recover (): Promise<void>
  /** Calls that reached it, by endpoint. */
  counts (): Promise<Record<string, number>>
  renewKeys (options: { overlap: boolean }): Promise<void>
  /** Sets its clock so many seconds ahead of ours, or behind. */
  shiftClock (seconds: number): void
  start (): Promise<void>
  kill (): Promise<void>
}

const lightProvider = fileURLToPath(new URL('../world/light-provider.ts', import.meta.url))
const startMs = 20_000

/** Describes a provider; `start` makes it one. */
export function createProvider ({ id, port, controlPort, redirect_uri, directory }: { id: string, port: number, controlPort: number, redirect_uri: string, directory: string }): Provider {
  const [client_id, client_secret] = ['passerelle', randomBytes(32).toString('base64url')]
  const issuer = `http://${id}.localhost:${port}`
  const control = `http://127.0.0.1:${controlPort}`
  const clock = createClock(join(directory, `${id}-clock`))
  let current: Launched | undefined

  const ask = async (method: string, path: string, body?: object) => {
    const answer = await fetch(control + path, { method, signal: AbortSignal.timeout(10_000), ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }) })
    if (!answer.ok) throw new Error(`${id}: ${method} ${path} answered ${answer.status}: ${await answer.text()}`)
    return answer.text()
  }
  return {
    id,
    issuer,
    client_id,
    client_secret,
    async misbehave (name, share = 1) { await ask('PUT', '/misbehaviour', { name, share }) },
    async recover () { await ask('DELETE', '/misbehaviour') },
    async counts () { return JSON.parse(await ask('GET', '/counts')) as Record<string, number> },
    async renewKeys (options) { await ask('POST', '/keys', options) },
    shiftClock (seconds) { clock.shift(current!, seconds) },
    async start () {
      let listens = false
      const launched = launch(process.execPath, [...clock.args, lightProvider, '--id', id, '--port', String(port), '--control-port', String(controlPort), '--redirect-uri', redirect_uri, '--client-id', client_id, `--client-secret=${client_secret}`], {
        env: clock.env,
        onLine: () => { listens = true }
      })
      current = launched
      await until(`provider ${id} listens`, startMs, () => {
        if (!runs(launched)) throw new Error(`provider ${id} ended: ${launched.complaints.join('\n')}`)
        return listens
      })
    },
    async kill () { if (current !== undefined) await end(current, 'SIGKILL') }
  }
}
