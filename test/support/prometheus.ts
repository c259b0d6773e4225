import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
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
interface Answer { status: string, error?: string, data: { result: Series[], activeTargets?: Array<{ health: string, lastError: string }>, groups?: Array<{ rules: Array<{ name: string, health: string, lastError?: string }> }> } }
export type Prometheus = Awaited<ReturnType<typeof startPrometheus>>

/** Prometheus with the rules that we ship, which looks each second, and what it answers. */
export async function startPrometheus (t: Teardown, jobs: Job[]) {
  const directory = temporaryDirectory(t)
  const often = ({ groups }: Rules) => stringify({ groups: groups.map(group => ({ ...group, interval: '1s' })) })
  writeFileSync(join(directory, 'recording.yaml'), often(recording))
  writeFileSync(join(directory, 'alerts.yaml'), often(alerts))
  writeFileSync(join(directory, 'prometheus.yml'), stringify({
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: ['recording.yaml', 'alerts.yaml'],
    scrape_configs: [...Map.groupBy(jobs, ({ name }) => name)].map(([name, same]) => ({ job_name: name, metrics_path: same[0]!.path ?? '/metrics', static_configs: same.map(({ targets, labels = {} }) => ({ targets, labels })) }))
  }))
  mkdirSync(join(directory, 'data'))
  const port = await freePort()
  const child = spawn('prometheus', [`--config.file=${join(directory, 'prometheus.yml')}`, `--storage.tsdb.path=${join(directory, 'data')}`, `--web.listen-address=127.0.0.1:${port}`, '--log.level=error'], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const ask = async (path: string, parameters: Record<string, string> = {}) => (await fetch(`http://127.0.0.1:${port}/api/v1/${path}?${new URLSearchParams(parameters)}`)).json() as Promise<Answer>
  const result = async (path: string, parameters: Record<string, string>) => {
    const { status, error, data } = await ask(path, parameters)
    if (status !== 'success') throw new Error(`${error}: ${parameters['query']}`)
    return data.result
  }
  await until('Prometheus answers', 20_000, async () => {
    if (child.exitCode !== null) throw new Error(`Prometheus ended with ${child.exitCode}`)
    return fetch(`http://127.0.0.1:${port}/-/ready`).then(({ ok }) => ok, () => false)
  })
  return {
    ask,
    /** What an expression gives now, or at a moment in seconds. @throws {Error} where it is not understood */
    now: (query: string, at?: number) => result('query', { query, ...(at === undefined ? {} : { time: String(at) }) }),
    /** What it gives from one moment to another, each in seconds. @throws {Error} where it is not understood */
    over: (query: string, { start, end, step }: { start: number, end: number, step: number }) => result('query_range', { query, start: String(start), end: String(end), step: String(step) }),
    /** how many series an expression gives now */
    series: async (query: string) => (await result('query', { query })).length
  }
}
