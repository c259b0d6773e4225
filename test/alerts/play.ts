import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startStage } from '../chaos/stage.ts'
import { startLoad } from './load.ts'
import { startFastPrometheus, type Firing } from './prometheus.ts'
import type { Act, Outcome, Scenery, Trial } from './trial.ts'

/** What came of an act. */
export interface Played {
  outcomes: Outcome[]
  /** what fired before there was any fault */
  atQuiet: string[]
  /** of the faults that are to fire nothing, what fired all the same */
  silent?: Array<{ fault: string, fired: string[] }>
  /** what fired as well, as some trial of the act says that it may */
  beside: string[]
  /** what fired that no trial of the act has named, and when */
  unexpected: string[]
  logins: Record<string, number>
  missed: string
}

/** Where nobody probes, this is as it should be. */
const absent = 'PasserelleProbeAbsent'
/** warm-up before anything is scraped: what compiles late is compiled then */
const warmUpMs = 4000

/** A stage with load, and a Prometheus that scrapes it; each leaves behind how it ends. */
async function setUp ({ options, settings, prepare, rate, factor }: Act, say: Scenery['say'], endings: Array<() => unknown>): Promise<Scenery> {
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-alerts-'))
  endings.push(() => rmSync(directory, { recursive: true, force: true }))
  const stage = await startStage(options)
  endings.push(() => stage.stop())
  const probeFile = join(directory, 'probe.prom')
  if (settings !== undefined) {
    for (const configuration of stage.configurations) configuration.change({ 'passerelle.yaml': configuration.document('passerelle.yaml', settings) })
    await Promise.all(stage.replicas.map(async replica => { await replica.stop('SIGKILL'); await replica.start() }))
  }
  const unprepare = await prepare?.({ stage, probeFile, say })
  if (unprepare !== undefined) endings.push(unprepare)
  const load = startLoad(stage, rate)
  endings.push(() => load.end())
  await pause(warmUpMs)
  const prometheus = await startFastPrometheus({ teardown: ending => endings.push(ending) }, { targets: stage.replicas.map(({ operations }) => new URL(operations).host), probeFile, factor })
  return { stage, load, prometheus, probeFile, say }
}

/** Plays an act: quiet at first, then one trial after the other. */
export async function play (act: Act, say: Scenery['say'], only?: RegExp): Promise<Played> {
  const endings: Array<() => unknown> = []
  const trials = act.trials.filter(trial => only === undefined || only.test([trial.fault, ...allOf(trial)].join(' ')))
  try {
    say(`${act.name}: ${act.about}`)
    const scenery = await setUp(act, say, endings)
    const { prometheus, prometheus: { firings }, load, probeFile } = scenery

    await prometheus.untilAllUp()                                       // until then nothing runs, as far as Prometheus knows
    const quietFrom = performance.now()
    await pause(act.quietSeconds * 1000)
    const atQuiet = firings.filter(({ to = Infinity }) => to > quietFrom + 1000).map(({ alert }) => alert)
    say(`  quiet: ${atQuiet.join(', ') || 'nothing fires'}`)

    const times = new Map<Trial, { from: number, to: number, seen: number }>()
    for (const trial of trials) {
      say(`  ${trial.fault}`)
      const from = performance.now()
      const isFired = (alert: string) => firingOf(firings, alert, from) !== undefined
      const end = await trial.strike(scenery)
      await until(() => trial.fires.every(isFired), trial.withinSeconds)
      const to = performance.now()
      await end()
      const { firesAfter: after } = trial
      if (after !== undefined) await until(() => after.alerts.every(isFired), after.withinSeconds)
      times.set(trial, { from, to, seen: performance.now() })
      say(`    fired: ${allOf(trial).map(alert => `${alert} ${seconds(firingOf(firings, alert, from), from)}`).join(', ')}`)
      if (trial.goneWithin !== undefined) await until(() => allOf(trial).every(alert => !prometheus.isFiring(alert)), trial.goneWithin)
    }
    const stays = (alert: string) => trials.some(trial => trial.stays?.[alert] !== undefined)
    await until(() => trials.every(trial => allOf(trial).every(alert => stays(alert) || !prometheus.isFiring(alert))), act.tailSeconds)

    const outcomes = trials.flatMap(trial => allOf(trial).map((alert): Outcome => {
      const { from, to, seen } = times.get(trial)!
      const its = firings.filter(firing => firing.alert === alert && firing.from >= from && firing.from <= seen)
      const [fired, gone] = [its[0], its.at(-1)?.to]
      return { act: act.name, fault: trial.fault, alert, factor: act.factor, firedMs: fired && fired.from - from, goneMs: gone && Math.max(0, gone - to), times: its.length, stays: trial.stays?.[alert] }
    }))
    const silent = trials.filter(trial => allOf(trial).length === 0).map(trial => {
      const { from, seen } = times.get(trial)!
      return { fault: trial.fault, fired: firings.filter(firing => firing.from >= from && firing.from <= seen).map(({ alert }) => alert).filter(alert => alert !== absent) }
    })
    const meant = new Set(act.trials.flatMap(allOf))
    const known = new Set(act.trials.flatMap(({ mayFire = [] }) => mayFire))
    if (!existsSync(probeFile)) known.add(absent)
    const others = firings.filter(({ alert, to = Infinity }) => to > quietFrom && !meant.has(alert))
    return {
      outcomes,
      atQuiet,
      silent,
      beside: [...new Set(others.map(({ alert }) => alert).filter(alert => known.has(alert)))],
      unexpected: others.filter(({ alert }) => !known.has(alert)).map(({ alert, from }) => `${alert} (${Math.round((from - quietFrom) / 1000)} s after all was scraped)`),
      logins: load.counts,
      missed: await prometheus.missed()
    }
  } finally {
    for (const ending of endings.reverse()) await ending()
  }
}

/** Waits for something, at most so long. */
async function until (isTrue: () => boolean, seconds: number) {
  const end = performance.now() + seconds * 1000
  while (!isTrue() && performance.now() < end) await pause(100)
}

/** The alerts that a trial has to fire. */
const allOf = ({ fires, firesAfter }: Trial) => [...fires, ...firesAfter?.alerts ?? []]
/** When an alert fired that fires, or began to, since then. */
const firingOf = (firings: readonly Firing[], alert: string, since: number) => firings.find(firing => firing.alert === alert && firing.from >= since)
const seconds = (firing: Firing | undefined, from: number) => firing === undefined ? 'never' : `${((firing.from - from) / 1000).toFixed(1)} s`
