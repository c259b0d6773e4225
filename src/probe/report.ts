import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { Gauge, Registry } from 'prom-client'
import type { Step, Trouble } from './watch.ts'

/** What came of a login. */
export interface Outcome {
  trouble: Trouble | null
  steps: Array<{ step: Step, milliseconds: number }>
  milliseconds: number
}

/** Whom to wake: nobody, those of the probe, those of the gateway, those of the identity provider. Never 1, with which Node.js and npm end where they cannot go on. */
export const exitCodeOf = ({ trouble }: Outcome) => trouble === null ? 0 : { probe: 2, gateway: 3, provider: 4 }[trouble.at]

/** The last line. */
export function verdict ({ trouble, milliseconds }: Outcome) {
  if (trouble === null) return `ok: one login in ${milliseconds} ms`
  const { step, at, reason, ...facts } = trouble
  const known = Object.entries(facts).filter(([, value]) => value !== undefined).map(([name, value]) => `${name} ${value}`)
  return `failed at ${step}, ${at}: ${[reason, ...known].join(', ')}`
}

/** One step a line. */
export const line = ({ step, milliseconds }: Outcome['steps'][number]) => `${step.padEnd(10)} ${String(milliseconds).padStart(6)} ms`

/** All of it as one JSON object. */
export const json = (outcome: Outcome) => JSON.stringify({
  success: outcome.trouble === null,
  exit_code: exitCodeOf(outcome),
  milliseconds: outcome.milliseconds,
  steps: outcome.steps,
  ...(outcome.trouble === null ? {} : { failure: outcome.trouble })
})

/** Writes the figures for node_exporter's textfile collector, whole or not at all. */
export async function writeMetrics (file: string, outcome: Outcome, now = Date.now() / 1000) {
  const registers = [new Registry()]
  new Gauge({ name: 'passerelle_probe_success', help: 'Whether the last login of the probe went well.', registers }).set(outcome.trouble === null ? 1 : 0)
  new Gauge({ name: 'passerelle_probe_exit_code', help: 'Exit code of the last probe: 0 well, 2 the probe could not be made, 3 the gateway failed, 4 the identity provider failed.', registers }).set(exitCodeOf(outcome))
  new Gauge({ name: 'passerelle_probe_timestamp_seconds', help: 'When the last probe ended.', registers }).set(now)
  const seconds = new Gauge({ name: 'passerelle_probe_step_seconds', help: 'Time of each step of the last login that was begun.', labelNames: ['step'], registers })
  for (const { step, milliseconds } of outcome.steps) seconds.set({ step }, milliseconds / 1000)

  const draft = join(dirname(file), `.${basename(file)}.${process.pid}`)  // no name that the collector reads
  try {
    writeFileSync(draft, await registers[0]!.metrics(), { mode: 0o644 })
    renameSync(draft, file)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}
