import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { writeMetrics } from '../../src/probe/report.ts'
import { temporaryDirectory, type Teardown } from './gateway.ts'

const lasts = { discovery: 8, authorize: 21, provider: 95, callback: 60, consent: 14, token: 33, userinfo: 12 } as const

/** What node_exporter's textfile collector gives of the figures that the probe leaves in this file: where they are scraped. `write` is done before. */
export async function serveFigures (t: Teardown, file: string, write = async () => {}) {
  const server = createServer(async (request, response) => {
    await write()
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(existsSync(file) ? readFileSync(file, 'utf8') : '')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** What the probe writes after a login that went well, made up, as it is scraped of another port. */
export function startProbeFigures (t: Teardown) {
  const file = join(temporaryDirectory(t), 'probe.prom')
  const steps = Object.entries(lasts).map(([step, milliseconds]) => ({ step: step as keyof typeof lasts, milliseconds }))
  return serveFigures(t, file, () => writeMetrics(file, { trouble: null, steps, milliseconds: 243 }))
}
