import { setTimeout as pause } from 'node:timers/promises'
import { lateSeconds } from '../../../src/adapters/key-schedule.ts'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, type Criterion, type Result, type Terms } from '../fault.ts'
import { failedAmong, since } from '../figures.ts'
import type { Attempt } from '../history.ts'
import { lead, makeNext, revokeInForce, rotateKeys, scale, untilTaken } from '../key-rotation.ts'
import type { Run } from '../run.ts'
import type { Stage } from '../stage.ts'

/** citizens look at each page, and stay at the provider, for so long at most */
const lingersMs = 4000
/** the second replica gets a key so long after the first: later than a quarter of an hour no schedule allows for */
const apart = lateSeconds / scale

/** What becomes of the keys; when, by the clock of the run, replicas did not open what another had sealed. */
interface Variant { strike: (run: Run, stage: Stage, seconds: number) => Promise<Marks>, stage: { ownKeys: true } }

interface Marks { figures: Result['figures'], used: number[], criteria?: Criterion[], split?: { from: number, to: number } }

/** F14: the keys that seal what browsers carry change in the middle of logins. */
export const sealingKeysRotate = faultOf<Variant>('F14', {
  about: `sealing keys rotate in the middle of logins of some seconds, a schedule of which ${scale} s pass in one: a replica gets them ${apart} s (15 minutes) after the other, before their use or, against the schedule, only after it; or one has leaked and is taken away`,
  variants: {
    in_time: { strike: inTime, stage: { ownKeys: true } },
    too_late: { strike: tooLate, stage: { ownKeys: true } },
    revoked: { strike: revoked, stage: { ownKeys: true } }
  },
  async run (stage: Stage, name, { strike }, terms: Terms): Promise<Result> {
    const course = await underLoad(stage, terms, run => strike(run, stage, terms.seconds), { lingersMs })
    const { figures, used, criteria = [], split } = course.marks
    const attempts = touchable(course)
    const failed = failedAmong(attempts)
    const across = attempts.filter(({ startedAt, endedAt = Infinity }) => used.some(at => startedAt < at && at < endedAt))
    const lost = failed.filter(attempt => split !== undefined && cannotBeOpened(attempt) && attempt.endedAt! >= split.from && attempt.startedAt < split.to)
    const deadEnds = lost.filter(isDeadEnd)
    const result = resultOf(course, {
      fault: 'F14',
      variant: name,
      figures: { 'logins across a change of keys': across.length, ...split === undefined ? {} : { 'lost, since their cookie is not believed': lost.length, 'dead ends among them': deadEnds.length }, ...figures },
      criteria: [
        none(split === undefined ? 'logins that failed' : 'logins that failed otherwise, or began since', failed.length - lost.length),
        { what: 'keys changed in the middle of logins', measured: String(across.length), passed: across.length > 0 },
        ...split === undefined ? [none('logins that had to go another way', attempts.filter(({ outcome }) => outcome === 'recovered').length)] : [none('of the lost, dead ends', deadEnds.length)],
        ...criteria
      ]
    })
    return { ...result, failed: failed.filter(attempt => !lost.includes(attempt)) }
  }
})

/** A page says that the login cannot be found, or the chooser that who came back is not known any more. */
const cannotBeOpened = ({ why = '', notices }: Attempt) => why.endsWith(' B04') || notices.includes('identity_expired')
/** The chooser is itself a way on. */
const isDeadEnd = ({ outcome, hasWayOn }: Attempt) => outcome !== 'returned' && hasWayOn !== true

async function inTime (run: Run, stage: Stage, seconds: number): Promise<Marks> {
  const { used, early } = await rotateKeys(run, stage, { which: 'sealing', seconds, every: lead, apart })
  return { used, figures: { 'keys that came into force': used.length, 'with every replica, before its use, s': early } }
}

/** A key is used at one replica before the other has it. */
async function tooLate (run: Run, stage: Stage, seconds: number): Promise<Marks> {
  const [first, ...others] = stage.configurations
  await makeNext(stage, 1, 'sealing')
  first!.receiveKeys(stage.keys)
  const from = run.clock()
  await pause(apart * 1000)
  for (const other of others) other.receiveKeys(stage.keys)
  const isTaken = await untilTaken(run, stage)
  const to = run.clock()
  await pause(seconds * 500)
  return { used: [from], split: { from, to }, figures: { 'replicas with different keys, s': since(to, from) }, criteria: [{ what: 'in the end every replica has it', measured: isTaken ? 'yes' : 'no', passed: isTaken }] }
}

/** What a key sealed that was taken away nobody believes. */
async function revoked (run: Run, stage: Stage, seconds: number): Promise<Marks> {
  await pause(seconds * 200)
  const { at, takenAt } = await revokeInForce(run, stage, 'A256GCM')
  await pause(seconds * 500)
  return { used: [at], split: { from: at, to: takenAt }, figures: { 'taken away at every replica after, s': since(takenAt, at) }, criteria: [{ what: 'taken away at every replica', measured: takenAt === Infinity ? 'no' : 'yes', passed: takenAt < Infinity }] }
}
