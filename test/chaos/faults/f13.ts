import { setTimeout as pause } from 'node:timers/promises'
import { publishedMaxAge } from '../../../src/adapters/key-schedule.ts'
import { resultOf, touchable, underLoad, type Course } from '../course.ts'
import { faultOf, none, type Criterion, type Result, type Terms } from '../fault.ts'
import { failedAmong, since } from '../figures.ts'
import type { Attempt } from '../history.ts'
import type { KeyKeeping } from '../key-caches.ts'
import { lead, makeNext, removeRetired, revokeInForce, rotateKeys, scale, untilTaken } from '../key-rotation.ts'
import type { Run } from '../run.ts'
import type { Stage } from '../stage.ts'

/** Services keep our keys for so long as they are told, and have many processes that asked for them at many moments; or not at all. */
const kept: KeyKeeping = { keysKept: maxAge => maxAge / scale, processes: 8 }
const notKept: KeyKeeping = { keysKept: () => 0 }
/** seconds for which they keep them */
const keptSeconds = publishedMaxAge / scale

/** How services keep keys, and what becomes of ours. */
interface Variant { keeping: KeyKeeping, strike: (run: Run, stage: Stage, seconds: number) => Promise<Marks>, stage: { ownKeys: true } }

interface Marks {
  figures: Result['figures']
  criteria?: Criterion[]
  /** in this time, by the clock of the run, signatures may be bad */
  mayBeBad?: { from: number, to: number }
}

/** F13: the keys that we sign with change. Replicas get each key minutes apart, and a service asks for keys by its own time only. */
export const signingKeysRotate = faultOf<Variant>('F13', {
  about: `our signing keys rotate, a schedule of which ${scale} s pass in one: services keep them for ${keptSeconds} s (10 minutes), new ones wait ${lead} s (25 minutes); or one has leaked and is taken away`,
  variants: {
    kept_10_minutes: { keeping: kept, strike: rotated, stage: { ownKeys: true } },
    not_kept: { keeping: notKept, strike: rotated, stage: { ownKeys: true } },
    revoked_next_waits: { keeping: kept, strike: revokedWhileNextWaits, stage: { ownKeys: true } },
    revoked_none_waits: { keeping: kept, strike: revokedAlone, stage: { ownKeys: true } }
  },
  async run (stage: Stage, name, { keeping, strike }, terms: Terms): Promise<Result> {
    const course = await underLoad(stage, terms, run => strike(run, stage, terms.seconds), keeping)
    const { figures, criteria = [], mayBeBad } = course.marks
    const failed = failedAmong(touchable(course))
    const bad = failed.filter(hasBadSignature)
    const onPurpose = bad.filter(({ endedAt = Infinity, startedAt }) => mayBeBad !== undefined && endedAt >= mayBeBad.from && startedAt < mayBeBad.to)
    const result = resultOf(course, {
      fault: 'F13',
      variant: name,
      figures: { 'bad signatures': bad.length, 'keys asked for by services': asked(course), 'keys that signed': signers(course).size, ...figures },
      criteria: [
        none(mayBeBad === undefined ? 'bad signatures' : 'bad signatures before it and since they are over', bad.length - onPurpose.length),
        none('logins that failed otherwise', failed.length - bad.length),
        ...criteria
      ]
    })
    const { length } = onPurpose
    return mayBeBad === undefined ? result : { ...result, figures: { ...result.figures, 'bad signatures that are to be': length }, failed: result.failed.filter(attempt => !onPurpose.includes(attempt)) }
  }
})

const hasBadSignature = ({ why = '' }: Attempt) => why.startsWith('ID Token: ')
const signers = ({ history }: Course<unknown>) => new Set(history.redemptions.flatMap(({ kid }) => kid ?? []))
const asked = ({ history }: Course<unknown>) => history.requests.filter(({ step }) => step === 'jwks').length

/** seconds from one replica to the other: with what it takes to find a key that is within a quarter of an hour */
const apart = 5
/** a key is removed so long after its retirement: whatever it signed has been looked at */
const retiredFor = 8
/** seconds in which a key comes into force, is followed by another, and is retired for so long */
const leastSeconds = 2 * lead

async function rotated (run: Run, stage: Stage, seconds: number): Promise<Marks> {
  const { used, early } = await rotateKeys(run, stage, { seconds: Math.max(seconds, leastSeconds), every: lead / 2, apart })
  await pause(1000)
  const removed = await removeRetired(run, stage, retiredFor)
  await pause(2000)
  const signed = new Set(run.history.redemptions.flatMap(({ kid }) => kid ?? [])).size
  return {
    figures: { 'keys that came into force': used.length, 'with every replica, before its use, s': early, 'dead keys removed': removed },
    criteria: [{ what: 'retired keys were removed', measured: String(removed), passed: removed > 0 }, { what: 'every key signed, and one before them', measured: `${signed} of ${used.length + 1}`, passed: signed === used.length + 1 }]
  }
}

/** The next key waits, and every service has it: the one in force can go at any moment. */
async function revokedWhileNextWaits (run: Run, stage: Stage, seconds: number): Promise<Marks> {
  await makeNext(stage, lead * 10)
  for (const configuration of stage.configurations) configuration.receiveKeys(stage.keys)
  await untilTaken(run, stage)
  await pause(keptSeconds * 1000)
  return revoked(run, stage, seconds, 0)
}

/** No key waits: services that keep ours do not know the next one until they ask again. */
async function revokedAlone (run: Run, stage: Stage, seconds: number) {
  return revoked(run, stage, seconds, keptSeconds)
}

async function revoked (run: Run, stage: Stage, seconds: number, unknownFor: number): Promise<Marks> {
  const { kid, at, takenAt } = await revokeInForce(run, stage, 'ES256')
  const over = takenAt + unknownFor * 1000
  await pause(Math.max(unknownFor + 2, seconds / 2) * 1000)
  const late = run.history.redemptions.filter(redemption => redemption.kid === kid && redemption.at > takenAt).length
  return {
    figures: { 'taken away at every replica after, s': since(takenAt, at) },
    criteria: [
      { what: 'taken away at every replica', measured: takenAt === Infinity ? 'no' : 'yes', passed: takenAt < Infinity },
      none('ID Tokens that it signed since', late)
    ],
    mayBeBad: { from: at, to: over }
  }
}
