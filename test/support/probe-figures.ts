import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { writeMetrics } from '../../src/probe/report.ts'
import { temporaryDirectory, type Teardown } from './gateway.ts'

const lasts = { discovery: 8, authorize: 21, provider: 95, callback: 60, consent: 14, token: 33, userinfo: 12 } as const

/** What the probe writes after a login that went well, made up, as it is scraped of another port. */
export async function startProbeFigures (t: Teardown) {
  const file = join(temporaryDirectory(t), 'probe.prom')
  const server = createServer(async (request, response) => {
    await writeMetrics(file, { trouble: null, steps: Object.entries(lasts).map(([step, milliseconds]) => ({ step: step as keyof typeof lasts, milliseconds })), milliseconds: 243 })
    response.end(readFileSync(file, 'utf8'))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}
