import type { Stage, StageOptions } from '../chaos/stage.ts'
import type { Load } from './load.ts'
import type { FastPrometheus } from './prometheus.ts'

/** Where a fault is applied. */
export interface Scenery {
  stage: Stage
  load: Load
  prometheus: FastPrometheus
  /** the file from which the probe's figures are scraped */
  probeFile: string
  say (line: string): void
}

/** A fault, and the alerts that it has to fire. */
export interface Trial {
  /** as the table is to say it */
  fault: string
  fires: readonly string[]
  /** those that fire when it is over, with the seconds that it is waited for them then */
  firesAfter?: { alerts: readonly string[], withinSeconds: number }
  /** those that it may fire as well */
  mayFire?: readonly string[]
  /** Applies it; what is answered ends it. */
  strike (scenery: Scenery): Promise<() => unknown>
  /** seconds that it is waited for the alerts, while it lasts */
  withinSeconds: number
  /** seconds that it is waited before the next trial for them to go; that is seen later as well */
  goneWithin?: number
  /** alerts that cannot go, or not while anybody waits, with the reason */
  stays?: Readonly<Record<string, string>>
}

/** A stage with its trials, one after the other. */
export interface Act {
  name: string
  about: string
  options: StageOptions
  /** how many times faster time goes by */
  factor: number
  /** logins a second */
  rate: number
  /** what is written otherwise in passerelle.yaml of each replica */
  settings?: object
  /** Sets up what else there is. */
  prepare? (scenery: Omit<Scenery, 'load' | 'prometheus'>): Promise<() => unknown>
  /** seconds without any fault, at first, in which nothing may fire */
  quietSeconds: number
  trials: readonly Trial[]
  /** seconds that it is waited at the end for what still fires */
  tailSeconds: number
}

/** What became of one alert in one trial; times are milliseconds of real time. */
export interface Outcome {
  act: string
  fault: string
  alert: string
  factor: number
  /** from the fault's beginning until it fired; undefined where it did not */
  firedMs: number | undefined
  /** from the fault's end until it had gone; undefined where it had not */
  goneMs: number | undefined
  /** how often it did, until the next trial: once, where it does not come and go */
  times?: number
  stays?: string | undefined
}
