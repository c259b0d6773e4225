import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { end, launch, runs } from '../chaos/processes.ts'
import { freePort } from '../world/free-port.ts'
import { temporaryDirectory, type Teardown } from './gateway.ts'
import { until } from './redis.ts'

interface Rule { record?: string, alert?: string, expr: string }
interface Rules { groups: Array<{ interval?: string, rules: Rule[] }> }
const rulesIn = (name: string): Rules => parse(readFileSync(new URL(`../../grafana/rules/${name}.yaml`, import.meta.url), 'utf8'))
const [recording, alerts] = [rulesIn('recording'), rulesIn('alerts')]
/** Every rule that we ship. */
export const rules = [recording, alerts].flatMap(({ groups }) => groups.flatMap(({ rules }) => rules))
/** Those that are recorded. */
export const recorded = recording.groups.flatMap(({ rules }) => rules)

/** What is scraped, under which name, with which labels; several may have one name. */
export interface Job { name: string, targets: string[], path?: string, labels?: Record<string, string> }
/** A series, with its values at moments in seconds. */
export interface Series { metric: Record<string, string>, value?: [number, string], values?: Array<[number, string]> }
interface Told { result: Series[], activeTargets?: Array<{ health: string, lastError: string }>, groups?: Array<{ rules: Array<{ name: string, health: string, lastError?: string }> }> }
export type Prometheus = Awaited<ReturnType<typeof startPrometheus>>

/** A Prometheus with these rules, by the names of their files, and how its API is asked. It does not outlive us. */
export async function launchPrometheus (t: Teardown, { rules, configuration, flags = [] }: { rules: Record<string, string>, configuration: object, flags?: string[] }) {
  const directory = temporaryDirectory(t)
  for (const [name, text] of Object.entries(rules)) writeFileSync(join(directory, `${name}.yaml`), text)
  writeFileSync(join(directory, 'prometheus.yml'), stringify({ ...configuration, rule_files: Object.keys(rules).map(name => `${name}.yaml`) }))
  mkdirSync(join(directory, 'data'))
  const port = await freePort()
  const launched = launch('prometheus', [`--config.file=${join(directory, 'prometheus.yml')}`, `--storage.tsdb.path=${join(directory, 'data')}`, `--web.listen-address=127.0.0.1:${port}`, '--log.level=warn', ...flags])
  t.teardown(() => end(launched, 'SIGKILL'))
  await until('Prometheus answers', 20_000, async () => {
    if (!runs(launched)) throw new Error(`Prometheus ended: ${launched.complaints.join('\n')}`)
    return fetch(`http://127.0.0.1:${port}/-/ready`).then(({ ok }) => ok, () => false)
  })
  return async <Data>(path: string, parameters: Record<string, string> = {}) =>
    (await fetch(`http://127.0.0.1:${port}/api/v1/${path}?${new URLSearchParams(parameters)}`)).json() as Promise<{ status: string, error?: string, data: Data }>
}

/** Prometheus with the rules that we ship, which looks each second, and what it answers. */
export async function startPrometheus (t: Teardown, jobs: Job[]) {
  const often = ({ groups }: Rules) => stringify({ groups: groups.map(group => ({ ...group, interval: '1s' })) })
  const ask = await launchPrometheus(t, {
    rules: { recording: often(recording), alerts: often(alerts) },
    configuration: {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      scrape_configs: [...Map.groupBy(jobs, ({ name }) => name)].map(([name, same]) => ({ job_name: name, metrics_path: same[0]!.path ?? '/metrics', static_configs: same.map(({ targets, labels = {} }) => ({ targets, labels })) }))
    }
  })
  const result = async (path: string, parameters: Record<string, string>) => {
    const { status, error, data } = await ask<Told>(path, parameters)
    if (status !== 'success') throw new Error(`${error}: ${parameters['query']}`)
    return data.result
  }
  return {
    ask: (path: string) => ask<Told>(path),
    /** What an expression gives now, or at a moment in seconds. @throws {Error} where it is not understood */
    now: (query: string, at?: number) => result('query', { query, ...(at === undefined ? {} : { time: String(at) }) }),
    /** What it gives from one moment to another, each in seconds. @throws {Error} where it is not understood */
    over: (query: string, { start, end, step }: { start: number, end: number, step: number }) => result('query_range', { query, start: String(start), end: String(end), step: String(step) }),
    /** how many series an expression gives now */
    series: async (query: string) => (await result('query', { query })).length
  }
}
