import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, none, type Criterion, type Result, type Terms } from '../fault.ts'
import { failedAmong } from '../figures.ts'
import type { Attempt } from '../history.ts'
import { metricOfAll } from '../replica.ts'
import type { Stage } from '../stage.ts'

/** Whose clock is off by how much; `refused` is the failure by which too much is told. */
interface Variant { whose: 'replica' | 'provider', seconds: number, refused?: string, stage?: undefined }

/** what a signal takes to arrive */
const heardMs = 500

/** F21: a clock is off. */
export const clockOff = faultOf<Variant>('F21', {
  about: 'the clock of one replica, or of one provider, off by a minute, or by more than is put up with',
  variants: {
    replica_ahead: { whose: 'replica', seconds: 60 },
    replica_behind: { whose: 'replica', seconds: -60 },
    provider_ahead: { whose: 'provider', seconds: 60 },
    provider_behind: { whose: 'provider', seconds: -60 },
    provider_far_ahead: { whose: 'provider', seconds: 150, refused: 'provider_token_premature' },
    provider_far_behind: { whose: 'provider', seconds: -900, refused: 'provider_token_expired' },
    replica_far_behind: { whose: 'replica', seconds: -150, refused: 'provider_token_premature' }
  },
  short: ['provider_ahead', 'provider_far_ahead'],
  async run (stage: Stage, name, { whose, seconds, refused }, terms: Terms): Promise<Result> {
    const { replicas, providers } = stage
    const sick = whose === 'replica' ? replicas[0]! : providers[0]!
    const failures = () => metricOfAll(replicas, 'passerelle_failures_total', new RegExp(`failure="${refused}"`))
    const before = await failures()
    const course = await underLoad(stage, terms, async run => {
      const jumps = [run.clock()]
      sick.shiftClock(seconds)
      await pause(heardMs + terms.seconds * 1000)
      const skew = await furthest(replicas.map(replica => replica.metric('passerelle_provider_clock_skew_seconds', new RegExp(`idp="${providers[0]!.id}"`))))
      jumps.push(run.clock())
      sick.shiftClock(0)
      return { jumps, skew, counted: await failures() - before }
    })

    const { jumps, skew, counted } = course.marks
    const attempts = touchable(course)
    const failed = failedAmong(attempts)
    // by a provider whose clock jumps ahead a code that it has just given is as much older
    const isAmidJump = ({ startedAt, endedAt = Infinity }: Attempt) => whose === 'provider' && jumps.some(at => startedAt < at + heardMs && endedAt > at)
    const another = attempts.filter(({ outcome }) => outcome === 'recovered')
    const within: Criterion[] = [none('logins that failed', failed.length), none('logins that had to go another way', another.filter(attempt => !isAmidJump(attempt)).length)]
    const isTold = ({ notices, outcome }: Attempt) => notices.length > 0 || outcome === 'told'
    const met = new Set(course.history.requests.filter(({ replica }) => replica === replicas[0]!.name).map(({ n }) => n))
    // a replica whose clock is far off also makes ID Tokens that no service believes
    const unexplained = failed.filter(attempt => !isTold(attempt) && !(whose === 'replica' && met.has(attempt.n)))
    const beyond: Criterion[] = [
      none(whose === 'replica' ? 'logins that failed without the reason on a page and without that replica' : 'logins that failed without the reason on a page', unexplained.length),
      { what: `${refused} is counted`, measured: String(counted), passed: counted > 0 }
    ]
    return resultOf(course, {
      fault: 'F21',
      variant: name,
      figures: {
        'off by, s': seconds,
        'gone another way, under way when the clock jumped': another.filter(isAmidJump).length,
        'the furthest off that a replica found its provider, s': skew,
        ...(refused === undefined ? {} : { 'told why': attempts.filter(isTold).length, [`counted as ${refused}`]: counted })
      },
      criteria: refused === undefined ? within : beyond
    })
  }
})

const furthest = async (values: Array<Promise<number>>) => (await Promise.all(values)).reduce((most, value) => Math.abs(value) > Math.abs(most) ? value : most, 0)
