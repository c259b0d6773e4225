import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { revisionOf } from '../chaos/revision.ts'
import { costless } from './acts/costless.ts'
import { tooMany } from './acts/load.ts'
import { logouts } from './acts/logouts.ts'
import { probe } from './acts/probe.ts'
import { knowledge, providers } from './acts/providers.ts'
import { redis } from './acts/redis.ts'
import { replicas } from './acts/replicas.ts'
import { security } from './acts/security.ts'
import { play } from './play.ts'
import { reportOf, type Kept } from './report.ts'
import type { Act } from './trial.ts'

// npm run alerts: each alert fired by a real fault and gone after it, in a real Prometheus whose time goes by faster (docs/alerts.md).

const acts: Act[] = [redis, providers, replicas, security, logouts, tooMany, probe, knowledge, costless]
const usage = `npm run alerts -- [ACT …] [--only PATTERN of faults or alerts] [--json FILE, where results are kept, beside those of other acts that it has] [--report FILE, a page of all that is there]
${acts.map(({ name, about }) => `  ${name}: ${about}`).join('\n')}`
const { values: { only, json, report, help }, positionals } = parseArgs({ allowPositionals: true, options: { only: { type: 'string' }, json: { type: 'string' }, report: { type: 'string' }, help: { type: 'boolean', short: 'h', default: false } } })
if (help || positionals.some(name => !acts.some(act => act.name === name))) {
  console.error(usage)
  process.exit(help ? 0 : 2)
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))   // which kills all that was started

const say = (line: string) => console.error(`${new Date().toISOString().slice(11, 19)} ${line}`)
const known = (): Kept[] => json !== undefined && existsSync(json) ? JSON.parse(readFileSync(json, 'utf8')) : []
const { commit = 'unknown', isChanged = false } = revisionOf(fileURLToPath(new URL('../..', import.meta.url))) ?? {}
let kept = known()
for (const act of acts.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
  const began = performance.now()
  const at = new Date().toISOString()
  const played = await play(act, say, only === undefined ? undefined : new RegExp(only))
  const { name, about, factor, rate } = act
  const one: Kept = {
    ...played,
    name,
    about,
    factor,
    rate,
    at,
    minutes: Math.round((performance.now() - began) / 6000) / 10,
    revision: commit.slice(0, 7) + (isChanged ? ', changed' : ''),
    node: process.version.slice(1),
    cores: `${availableParallelism()} cores (${cpus()[0]!.model})`
  }
  for (const { alert, firedMs, goneMs, stays } of one.outcomes) if (firedMs === undefined || (goneMs === undefined && stays === undefined)) say(`  ${alert}: ${firedMs === undefined ? 'did not fire' : 'did not go'}`)
  if (one.unexpected.length > 0) say(`  beside: ${one.unexpected.join(', ')}`)
  const before = json === undefined ? kept : known()
  const earlier = before.find(({ name }) => name === act.name)
  const now = only === undefined || earlier === undefined ? one : partlyAgain(earlier, one)
  kept = acts.flatMap(({ name }) => [now, ...before.filter(({ name }) => name !== act.name)].find(other => other.name === name) ?? [])
  if (json !== undefined) writeFileSync(json, JSON.stringify(kept, null, 1))
}
if (report === undefined) console.log(reportOf(kept))
else writeFileSync(report, reportOf(kept))
process.exitCode = kept.every(({ atQuiet, silent = [], outcomes }) => atQuiet.length === 0 && silent.every(({ fired }) => fired.length === 0) && outcomes.every(({ firedMs, goneMs, stays }) => firedMs !== undefined && (goneMs ?? stays) !== undefined)) ? 0 : 1

/** An act of which only some trials were played again. */
function partlyAgain (earlier: Kept, one: Kept): Kept {
  const isAgain = ({ fault }: { fault: string }) => one.outcomes.some(outcome => outcome.fault === fault)
  const faults = [...new Set(one.outcomes.map(({ fault }) => fault))]
  return { ...earlier, outcomes: [...earlier.outcomes.filter(outcome => !isAgain(outcome)), ...one.outcomes], atQuiet: [...earlier.atQuiet, ...one.atQuiet], unexpected: [...earlier.unexpected, ...one.unexpected], again: [...earlier.again ?? [], `${faults.join('; ')}: again by revision ${one.revision}`] }
}
