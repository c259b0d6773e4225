import { mkdtempSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { untimed, type Measure, type Result } from './fault.ts'
import { faults } from './faults/faults.ts'
import { argumentsOf, reportOf, summarize, toldOf, type Conditions } from './report.ts'
import { revisionOf } from './revision.ts'
import { quick, startStage, type Stage, type StageOptions } from './stage.ts'

// npm run chaos -- F10 F12: what the gateway does when others fail, measured under load, in real processes on this machine.

const usage = `npm run chaos -- [FAULT …] [--short] [--rate logins a second] [--seconds length of a fault] [--runs times] [--variants name,name] [--previous DIR] [--json FILE]
${Object.entries(faults).map(([number, { about, variants }]) => `  ${number}  ${about}: ${variants.join(', ')}`).join('\n')}`

const { values, positionals } = readArguments()
const numbers = positionals.length > 0 ? positionals : Object.keys(faults)
const { short, previous } = values
const variants = values.variants?.split(',')
const usual: Measure = { rate: 10, seconds: short ? 5 : 10 }
const asked: Partial<Measure> = { ...(values.rate === undefined ? {} : { rate: Number(values.rate) }), ...(values.seconds === undefined ? {} : { seconds: Number(values.seconds) }) }
const passes = Number(values.runs ?? '1')
const known = numbers.flatMap(number => faults[number]?.variants ?? [])
const isUnderstood = numbers.every(number => faults[number] !== undefined) && [passes, ...Object.values(asked)].every(value => value > 0) && (variants ?? []).every(variant => known.includes(variant))
if (!isUnderstood || values.help) {
  console.error(usage)
  process.exit(values.help ? 0 : 2)
}

let stage: Promise<Stage> | undefined
let stageOptions: StageOptions | undefined
const stop = async () => (await stage?.catch(() => undefined))?.stop()
const say = (line: string) => console.error(`${new Date().toISOString().slice(11, 19)} ${line}`)
const newStage = async (options: StageOptions = {}) => {
  if (short && stage !== undefined && isDeepStrictEqual(options, stageOptions)) return stage
  await stop()
  say(`a new stage: ${options.sites === 2 ? 'two sites, each with a Redis Cluster 3+0 and' : 'Redis Cluster 3+3,'} ${options.replicas ?? 2} replicas behind HAProxy, three identity providers`)
  stage = startStage({ ...(short ? quick : {}), ...options })
  stageOptions = options
  return stage
}
let isStopping = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (isStopping) process.exit(130)                                   // at once, which kills whatever still runs
    isStopping = true
    say(`stopped by ${signal}`)
    stop().finally(() => process.exit(130))
  })
}

const measures = Object.fromEntries(numbers.map((number): [string, Measure] => [number, { ...usual, ...(short ? {} : faults[number]!.usual), ...asked }]))
const results: Result[] = []
const began = performance.now()
const conditions: Omit<Conditions, 'minutes'> = {
  arguments: argumentsOf(values, positionals),
  revision: revisionOf(fileURLToPath(new URL('../..', import.meta.url))),
  ...(previous === undefined ? {} : { previous: revisionOf(previous) }),
  short,
  measures,
  passes,
  node: process.version,
  cores: availableParallelism(),
  processor: cpus()[0]!.model,
  loadBefore: loadavg()[0]!,
  at: new Date().toISOString()
}
try {
  for (let pass = 1; pass <= passes; pass++) {
    if (passes > 1) say(`pass ${pass} of ${passes}`)
    for (const number of numbers) {
      results.push(...await faults[number]!.run({ ...measures[number]!, short, variants: chosen(number), previous, newStage, say }))
    }
  }
} finally {
  await stop()
}

const summaries = summarize(short ? results.map(untimed) : results)
const file = values.json ?? join(mkdtempSync(join(tmpdir(), 'passerelle-chaos-report-')), 'chaos.json')
const minutes = Math.round((performance.now() - began) / 6000) / 10
writeFileSync(file, JSON.stringify({ conditions: { ...conditions, minutes }, summaries, results }, null, 2))

console.log(`Logins over three providers; ${toldOf(measures)}, which is scaled: a real one lasts longer; ${short ? 'the short form: figures of time are not looked at; ' : ''}${minutes} minutes, ${conditions.cores} cores, load ${conditions.loadBefore.toFixed(1)} before; ${passes === 1 ? 'one pass' : `${passes} passes: minimum / median / maximum`}\n`)
console.log(reportOf(summaries, fault => faults[fault]!.about))
for (const { fault, variant, violations, failed } of results) {
  for (const { invariant, what } of violations.slice(0, 5)) console.log(`${fault} ${variant}: ${invariant} broken: ${what}`)
  for (const { n, provider, why, outcome } of failed.slice(0, 5)) console.log(`${fault} ${variant}: login ${n} at ${provider}: ${outcome}${why === undefined ? '' : `, ${why}`}`)
}
const ran = new Set(results.map(({ fault, variant }) => `${fault} ${variant}`))
for (const left of numbers.flatMap(number => chosen(number).map(variant => `${number} ${variant}`)).filter(one => !ran.has(one))) console.log(`${left}: left out`)
console.log(`All of it: ${file}`)
process.exitCode = summaries.every(({ passed }) => passed) ? 0 : 1

/** The variants of a fault that are to be run. */
function chosen (number: string) {
  const { variants: all, short: few = all.slice(0, 1) } = faults[number]!
  return variants === undefined ? (short ? few : all) : all.filter(variant => variants.includes(variant))
}

function readArguments () {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        short: { type: 'boolean', default: false },
        rate: { type: 'string' },
        seconds: { type: 'string' },
        runs: { type: 'string' },
        previous: { type: 'string' },
        variants: { type: 'string' },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false }
      }
    })
  } catch (error) {
    console.error(`${(error as Error).message}\n${usage}`)
    process.exit(2)
  }
}
