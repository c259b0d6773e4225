import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { stringify } from 'yaml'
import { end, launch, runs } from '../chaos/processes.ts'
import { until } from '../support/redis.ts'
import { freePort } from '../world/free-port.ts'
import { scaledDuration, scaledRules } from './scaled.ts'

/** A time in which an alert fired, by our clock; `to` is missing while it does. */
export interface Firing { alert: string, from: number, to?: number }

/** Prometheus with our rules, and what it told since it was started. */
export interface Prometheus {
  firings: readonly Firing[]
  isFiring (alert: string): boolean
  /** Waits until every replica is scraped, and what fired for lack of that has gone. */
  untilAllUp (): Promise<void>
  /** how often a replica was not scraped in time, of how many scrapes */
  missed (): Promise<string>
  stop (): Promise<void>
}

const rulesOf = (name: string) => readFileSync(new URL(`../../grafana/rules/${name}.yaml`, import.meta.url), 'utf8')
const lookMs = 200

/** What node_exporter's textfile collector gives of the figures that the probe leaves in this file. */
async function startTextfileCollector (file: string) {
  const server = createServer((_request, response) => {
    let text = ''
    try { text = readFileSync(file, 'utf8') } catch {}
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end(text)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return { port: (server.address() as AddressInfo).port, stop () { server.closeAllConnections(); server.close() } }
}

/** Prometheus as docs/objectives.md says that it is to be set up, but that all its time goes by so many times faster: it scrapes each fifteen seconds, and forgets what it has not seen for five minutes. */
export async function startPrometheus ({ targets, probeFile, factor }: { targets: string[], probeFile: string, factor: number }): Promise<Prometheus> {
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-prometheus-'))
  const collector = await startTextfileCollector(probeFile)
  for (const name of ['recording', 'alerts']) writeFileSync(join(directory, `${name}.yaml`), scaledRules(rulesOf(name), factor))
  const every = scaledDuration('15s', factor)
  writeFileSync(join(directory, 'prometheus.yml'), stringify({
    global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
    rule_files: ['recording.yaml', 'alerts.yaml'],
    scrape_configs: [
      { job_name: 'passerelle', static_configs: [{ targets, labels: { site: 'a' } }] },
      { job_name: 'probe', static_configs: [{ targets: [`127.0.0.1:${collector.port}`] }] }
    ]
  }))
  mkdirSync(join(directory, 'data'))
  const port = await freePort()
  const launched = launch('prometheus', [`--config.file=${join(directory, 'prometheus.yml')}`, `--storage.tsdb.path=${join(directory, 'data')}`, `--query.lookback-delta=${scaledDuration('5m', factor)}`, `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn'])
  const ask = async <Data>(path: string) => (await (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).json() as { data: Data }).data
  await until('Prometheus answers', 20_000, async () => {
    if (!runs(launched)) throw new Error(`Prometheus ended: ${launched.complaints.join('\n')}`)
    return fetch(`http://127.0.0.1:${port}/-/ready`).then(({ ok }) => ok, () => false)
  })

  const firings: Firing[] = []
  const open = (alert: string) => firings.find(firing => firing.alert === alert && firing.to === undefined)
  const over = new AbortController()
  async function watch () {
    while (!over.signal.aborted) {
      const { alerts } = await ask<{ alerts: Array<{ state: string, labels: { alertname: string } }> }>('alerts').catch(() => ({ alerts: undefined }))
      if (alerts !== undefined) {
        const now = performance.now()
        const firing = new Set(alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname))
        for (const one of firings) if (one.to === undefined && !firing.has(one.alert)) one.to = now
        for (const alert of firing) if (open(alert) === undefined) firings.push({ alert, from: now })
      }
      await pause(lookMs)
    }
  }
  const watching = watch()

  const query = async (query: string) => Number((await ask<{ result: Array<{ value: [number, string] }> }>(`query?${new URLSearchParams({ query })}`)).result[0]?.value[1] ?? 0)
  return {
    firings,
    untilAllUp: () => until('every replica is scraped', 30_000, async () => await query('sum(up{job="passerelle"})') === targets.length && open('PasserelleNotScraped') === undefined),
    isFiring: alert => open(alert) !== undefined,
    async missed () {
      return `${await query('sum(count_over_time(up{job="passerelle"}[1h]) - sum_over_time(up{job="passerelle"}[1h]))')} of ${await query('sum(count_over_time(up{job="passerelle"}[1h]))')}`
    },
    async stop () {
      over.abort()
      await watching
      await end(launched)
      collector.stop()
      rmSync(directory, { recursive: true, force: true })
    }
  }
}
