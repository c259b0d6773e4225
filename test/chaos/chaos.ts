import { mkdtempSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Result } from './fault.ts'
import { faults } from './faults/faults.ts'
import { reportOf, summarize } from './report.ts'
import { startStage, type Stage } from './stage.ts'

// npm run chaos -- F10 F12: what the gateway does when others fail, measured under load, in real processes on this machine.

const usage = `npm run chaos -- [FAULT …] [--rate logins a second] [--seconds length of a fault] [--passes times] [--variants name,name] [--json FILE]
${Object.entries(faults).map(([number, { about, variants }]) => `  ${number}  ${about}: ${variants.join(', ')}`).join('\n')}`

const { values, positionals } = readArguments()
const numbers = positionals.length > 0 ? positionals : Object.keys(faults)
const variants = values.variants?.split(',')
const [rate, seconds, passes] = [values.rate, values.seconds, values.passes].map(Number) as [number, number, number]
const known = numbers.flatMap(number => faults[number]?.variants ?? [])
const isUnderstood = numbers.every(number => faults[number] !== undefined) && [rate, seconds, passes].every(value => value > 0) && (variants ?? []).every(variant => known.includes(variant))
if (!isUnderstood || values.help) {
  console.error(usage)
  process.exit(values.help ? 0 : 2)
}

let stage: Promise<Stage> | undefined
const stop = async () => (await stage?.catch(() => undefined))?.stop()
const say = (line: string) => console.error(`${new Date().toISOString().slice(11, 19)} ${line}`)
const newStage = async () => {
  await stop()
  say('a new stage: Redis Cluster 3+3, two replicas behind HAProxy, three identity providers')
  stage = startStage()
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

const results: Result[] = []
const conditions = { rate, seconds, passes, node: process.version, cores: availableParallelism(), loadBefore: loadavg()[0], at: new Date().toISOString() }
try {
  for (let pass = 1; pass <= passes; pass++) {
    if (passes > 1) say(`pass ${pass} of ${passes}`)
    for (const number of numbers) results.push(...await faults[number]!.run({ rate, seconds, variants, newStage, say }))
  }
} finally {
  await stop()
}

const summaries = summarize(results)
const file = values.json ?? join(mkdtempSync(join(tmpdir(), 'passerelle-chaos-report-')), 'chaos.json')
writeFileSync(file, JSON.stringify({ conditions, summaries, results }, null, 2))

console.log(`${rate} logins a second over three providers, each fault for ${seconds} s, which is scaled: a real one lasts longer; ${conditions.cores} cores, load ${conditions.loadBefore!.toFixed(1)} before; ${passes === 1 ? 'one pass' : `${passes} passes: minimum / median / maximum`}\n`)
console.log(reportOf(summaries, fault => faults[fault]!.about))
for (const { fault, variant, violations, failed } of results) {
  for (const { invariant, what } of violations.slice(0, 5)) console.log(`${fault} ${variant}: ${invariant} broken: ${what}`)
  for (const { n, provider, why, outcome } of failed.slice(0, 5)) console.log(`${fault} ${variant}: login ${n} at ${provider}: ${outcome}${why === undefined ? '' : `, ${why}`}`)
}
console.log(`All of it: ${file}`)
process.exitCode = summaries.every(({ passed }) => passed) ? 0 : 1

function readArguments () {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        rate: { type: 'string', default: '20' },
        seconds: { type: 'string', default: '30' },
        passes: { type: 'string', default: '1' },
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
