import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterlife, leadSeconds } from '../../src/adapters/key-schedule.ts'
import { listKeys, retireKeys, revokeKey } from '../../src/keys.ts'
import { createClock } from './clock.ts'
import { launch } from './processes.ts'
import type { Run } from './run.ts'
import type { Stage } from './stage.ts'

/** So many seconds of a schedule of keys pass in one here. */
export const scale = 100
/** from a key's making to its use */
export const lead = leadSeconds / scale
/** so long a replica takes to find keys that were brought to it, at most */
const foundWithin = 10

const command = fileURLToPath(new URL('../../src/keys.ts', import.meta.url))
const makingMs = 20_000

/** The keys that are made: all, or those that seal. */
export type Which = 'all' | 'sealing'

/** Has the command make the next keys, as if by a clock that is so far behind that they are used in so many seconds. Answers the moment, in NumericDate. */
export async function makeNext ({ keys }: Pick<Stage, 'keys'>, seconds: number, which: Which = 'all'): Promise<number> {
  const before = new Set(readdirSync(keys))
  const clock = createClock(`${keys}-clock`, seconds - leadSeconds)
  const making = launch(process.execPath, [...clock.args, command, 'next', keys, '--force'], { env: clock.env })
  const late = setTimeout(() => making.child.kill('SIGKILL'), makingMs)
  await making.ended
  clearTimeout(late)
  if (making.child.exitCode !== 0) throw new Error(`keys next: ${making.complaints.join('\n')}`)
  const made = listKeys(keys).filter(({ file }) => !before.has(file))
  for (const { file, kind } of made) if (which === 'sealing' && kind !== 'sealing') rmSync(join(keys, file))
  return made[0]!.nbf
}

/** Waits until every replica has in force what is in its directory; whether that came. */
export async function untilTaken (run: Run, { replicas, configurations }: Pick<Stage, 'replicas' | 'configurations'>) {
  const hashes = configurations.map(configuration => configuration.hash())
  return run.until(async () => (await Promise.all(replicas.map(replica => replica.hash()))).every((hash, i) => hash === hashes[i]), foundWithin)
}

interface Rotation {
  which?: Which
  seconds: number
  /** seconds from one making to the next, and from the first replica that has the keys to the others; both less than the lead */
  every: number
  apart: number
}

/** Keys follow each other, each at another replica first. Answers when they came into force, by the clock of the run, and how long before that the last replica had them. */
export async function rotateKeys (run: Run, stage: Stage, { which, seconds, every, apart }: Rotation) {
  const { keys, configurations } = stage
  const [used, early]: [number[], number[]] = [[], []]
  const times = Math.max(2, Math.floor((seconds - lead) / every) + 1)
  for (let i = 0; i < times; i++) {
    const at = run.clock()
    const nbf = await makeNext(stage, lead, which)
    const [first, ...others] = i % 2 === 0 ? configurations : configurations.toReversed()
    first!.receiveKeys(keys)
    await pause(Math.max(0, at + apart * 1000 - run.clock()))
    for (const other of others) other.receiveKeys(keys)
    const isTaken = await untilTaken(run, stage)
    early.push(isTaken ? nbf - Date.now() / 1000 : -Infinity)
    used.push(run.clock() + nbf * 1000 - Date.now())
    await pause(Math.max(0, (i === times - 1 ? used.at(-1)! : at + every * 1000) - run.clock()))
  }
  return { used, early: Math.round(Math.min(...early) * 10) / 10 }
}

/** Removes the keys that have been retired for so many seconds, as if those were a day, at every replica at once. Answers how many. */
export async function removeRetired (run: Run, stage: Stage, seconds: number) {
  const { length } = retireKeys(stage.keys, Math.floor(Date.now() / 1000) + afterlife.signing - seconds)
  for (const configuration of stage.configurations) configuration.receiveKeys(stage.keys)
  await untilTaken(run, stage)
  return length
}

/** Takes the key in force of an algorithm away, at every replica at once. Answers when, and when the last of them had found it, by the clock of the run. */
export async function revokeInForce (run: Run, stage: Stage, alg: string) {
  const { keys, configurations } = stage
  const at = run.clock()
  const { kid } = listKeys(keys).find(key => key.alg === alg && key.state === 'in force')!
  revokeKey(keys, kid)
  for (const configuration of configurations) configuration.receiveKeys(keys)
  const isTaken = await untilTaken(run, stage)
  return { kid, at, takenAt: isTaken ? run.clock() : Infinity }
}
