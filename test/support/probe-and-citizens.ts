import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { writeMetrics } from '../../src/probe/report.ts'
import { ofCitizens } from './dashboards.ts'
import { temporaryDirectory, type Teardown } from './gateway.ts'

const values: Record<string, string[]> = { idp: ['vitalys', 'tresorine', 'terramut'], acr: ['eidas1', 'eidas2'], client_id: ['allow', 'deny'] }
const lasts = { discovery: 8, authorize: 21, provider: 95, callback: 60, consent: 14, token: 33, userinfo: 12 } as const

/** What the probe writes after a login that went well, and what `GET /metrics/product` tells, made up, as they are scraped of another port. */
export async function startOthers (t: Teardown) {
  const file = join(temporaryDirectory(t), 'probe.prom')
  const now = new Date()
  const months = [now, new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 1, 1))].map(date => date.toISOString().slice(0, 7))
  const citizens = months.flatMap((month, i) => Object.entries(ofCitizens).flatMap(([name, [, label]]) => (label === undefined ? [''] : values[label]!).map((value, j) =>
    `${name}{month="${month}"${label === undefined ? '' : `,${label}="${value}"`}} ${Math.round(1_600_000 * (i + 1) / 2 / (label === undefined ? 1 : j + 1.4))}\n`))).join('')
  const server = createServer(async (request, response) => {
    await writeMetrics(file, { trouble: null, steps: Object.entries(lasts).map(([step, milliseconds]) => ({ step: step as keyof typeof lasts, milliseconds })), milliseconds: 243 })
    response.end(readFileSync(file, 'utf8') + citizens)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}
