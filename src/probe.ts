import { parseArgs } from 'node:util'
import { loginApart } from './probe/apart.ts'
import { exitCodeOf, json, line, verdict, writeMetrics, type Outcome } from './probe/report.ts'
import { loadProbe, ProbeSettingsError } from './probe/settings.ts'

// npm run probe -- FILE: one whole login from outside, for monitoring. docs/probe.md tells how to set it up.

const usage = 'usage: npm run probe -- FILE [--json] [--metrics FILE]'

function readArguments () {
  try {
    const { values, positionals } = parseArgs({ options: { json: { type: 'boolean', default: false }, metrics: { type: 'string' } }, allowPositionals: true })
    const [file = process.env.PASSERELLE_PROBE, ...more] = positionals
    return file === undefined || more.length > 0 ? undefined : { file, ...values }
  } catch { return undefined }
}

async function run (): Promise<number> {
  const asked = readArguments()
  if (asked === undefined) {
    console.error(usage)
    return 2
  }
  let begun: number | undefined
  const outcome: Outcome = { trouble: null, steps: [], milliseconds: 0 }
  try {
    outcome.trouble = await loginApart(loadProbe(asked.file), told => {
      begun ??= performance.now()                                      // what the start of a process takes is none of the gateway's
      if (!('left' in told)) return
      const step = { step: told.left, milliseconds: told.milliseconds }
      outcome.steps.push(step)
      if (!asked.json) console.log(line(step))
    })
  } catch (error) {
    console.error(error instanceof ProbeSettingsError ? error.message : `the settings cannot be read: ${(error as Error).name}`)  // which may quote them
    outcome.trouble = { step: 'discovery', at: 'probe', reason: 'the settings cannot be used' }
  }
  if (begun !== undefined) outcome.milliseconds = Math.round(performance.now() - begun)
  console.log(asked.json ? json(outcome) : verdict(outcome))
  try {
    if (asked.metrics !== undefined) await writeMetrics(asked.metrics, outcome)
  } catch (error) {
    console.error(`${asked.metrics}: cannot be written (${(error as NodeJS.ErrnoException).code})`)
    return exitCodeOf(outcome) || 2
  }
  return exitCodeOf(outcome)
}

for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})  // nobody reads: the exit code and the figures say it all the same
process.exitCode = await run()
