import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Teardown } from '../support/gateway.ts'
import { serveFigures } from '../support/probe-figures.ts'
import { launchPrometheus } from '../support/prometheus.ts'
import { until } from '../support/redis.ts'
import { scaledDuration, scaledRules } from './scaled.ts'

/** A time in which an alert fired, by our clock; `to` is missing while it does. */
export interface Firing { alert: string, from: number, to?: number }

/** Prometheus with our rules, and what it told since it was started. */
export interface FastPrometheus {
  firings: readonly Firing[]
  isFiring (alert: string): boolean
  /** Waits until every replica is scraped, and what fired for lack of that has gone. */
  untilAllUp (): Promise<void>
  /** how often a replica was not scraped in time, of how many scrapes */
  missed (): Promise<string>
}

const rulesOf = (name: string) => readFileSync(new URL(`../../grafana/rules/${name}.yaml`, import.meta.url), 'utf8')
const lookMs = 200

/** Prometheus as docs/objectives.md says that it is to be set up, but that all its time goes by so many times faster: it scrapes each fifteen seconds, and forgets what it has not seen for five minutes. */
export async function startFastPrometheus (t: Teardown, { targets, probeFile, factor }: { targets: string[], probeFile: string, factor: number }): Promise<FastPrometheus> {
  const every = scaledDuration('15s', factor)
  const askAll = await launchPrometheus(t, {
    rules: Object.fromEntries(['recording', 'alerts'].map(name => [name, scaledRules(rulesOf(name), factor)])),
    configuration: {
      global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
      scrape_configs: [
        { job_name: 'passerelle', static_configs: [{ targets, labels: { site: 'a' } }] },
        { job_name: 'probe', static_configs: [{ targets: [await serveFigures(t, probeFile)] }] }
      ]
    },
    flags: [`--query.lookback-delta=${scaledDuration('5m', factor)}`]
  })
  const ask = async <Data>(path: string, parameters?: Record<string, string>) => (await askAll<Data>(path, parameters)).data

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
  t.teardown(async () => {
    over.abort()
    await watching
  })

  const query = async (query: string) => Number((await ask<{ result: Array<{ value: [number, string] }> }>('query', { query })).result[0]?.value[1] ?? 0)
  return {
    firings,
    untilAllUp: () => until('every replica is scraped', 30_000, async () => await query('sum(up{job="passerelle"})') === targets.length && open('PasserelleNotScraped') === undefined),
    isFiring: alert => open(alert) !== undefined,
    async missed () {
      return `${await query('sum(count_over_time(up{job="passerelle"}[1h]) - sum_over_time(up{job="passerelle"}[1h]))')} of ${await query('sum(count_over_time(up{job="passerelle"}[1h]))')}`
    }
  }
}
