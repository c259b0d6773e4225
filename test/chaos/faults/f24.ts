import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, touchable, underLoad } from '../course.ts'
import { faultOf, type Result, type Terms } from '../fault.ts'
import { failedAmong, growth } from '../figures.ts'
import type { Attempt } from '../history.ts'
import { aPrimary, untilWell } from '../redis.ts'
import type { Run } from '../run.ts'
import type { Stage } from '../stage.ts'
import { replace, untilTaken } from './f1.ts'

/** so many times as long as any other fault */
const timesAsLong = 10
/** of a hundred logins at providers that are well */
const wellShare = 99.99
/** in per cent, from the first third of what is looked at to the last */
const mostGrowth = 5
const closesWithin = 60
/** calls that were sent to a provider before it was well again may fail until then */
const lateMs = 8000

/** one after another, each round another */
const waysToFail = ['errors_500', 'garbage_json', 'resets', 'wrong_nonce', 'slow']

/** When a provider was not well, until each replica had seen that it was again. */
interface Sickness { provider: string, from: number, to: number }

/** F24: replicas replaced, Redis primaries killed and providers that fail, again and again. In the second half no replica is replaced, so that one is seen to grow. */
export const soak = faultOf<{ stage?: undefined }>('F24', {
  about: `a soak, ${timesAsLong} times as long: F1, F4 and F10 again and again, and memory while the replicas stay`,
  variants: { soak: {} },
  async run (stage: Stage, name, variant, terms: Terms): Promise<Result> {
    const { cluster, replicas } = stage
    const course = await underLoad(stage, terms, async run => {
      const sicknesses: Sickness[] = []
      const memory: Memory[] = []
      const counts = { rounds: 0, replaced: 0 }
      const [beganAt, lengthMs] = [run.clock(), terms.seconds * timesAsLong * 1000]
      while (run.clock() < beganAt + lengthMs) {
        sicknesses.push(await aProviderFails(run, stage, waysToFail[counts.rounds % waysToFail.length]!, terms.seconds / 3))
        const { primary } = await aPrimary(cluster)
        await cluster.kill(primary)
        await pause(terms.seconds * 1000 / 3)
        await cluster.rejoin(primary)
        await untilWell(cluster)
        if (run.clock() < beganAt + lengthMs / 2) {
          for (const replica of replicas) {
            await replace(replica)
            await untilTaken(run, stage, replica)
            counts.replaced++
          }
        } else {
          memory.push(...await Promise.all(replicas.map(replica => replica.memory())))
        }
        terms.say(`F24 round ${++counts.rounds}`)
      }
      return { sicknesses, memory, ...counts }
    })

    const { history, marks: { sicknesses, memory, rounds, replaced } } = course
    const isValid = ({ provider, startedAt, endedAt = Infinity }: Attempt) => !sicknesses.some(sickness => sickness.provider === provider && startedAt < sickness.to && endedAt >= sickness.from)
    const valid = { ...course, history: { ...history, attempts: history.attempts.filter(isValid) } }
    const attempts = touchable(valid)
    const share = 100 * (1 - failedAmong(attempts).length / attempts.length)
    const grown = growth(memory.map(({ needed }) => needed))
    return resultOf(valid, {
      fault: 'F24',
      variant: name,
      figures: {
        rounds,
        'replicas replaced': replaced,
        'logins that a provider failed, beside': touchable(course).length - attempts.length,
        'well, per cent': Math.floor(share * 1000) / 1000,
        'memory that is needed, MB': megabytes(memory.map(({ needed }) => needed)),
        'memory in all, MB': megabytes(memory.map(({ resident }) => resident))
      },
      criteria: [
        { what: `logins that end well: ${wellShare} % at least`, measured: `${attempts.length - failedAmong(attempts).length} of ${attempts.length}`, passed: share >= wellShare },
        { what: `memory that is needed grows by ${mostGrowth} % at most`, measured: grown === undefined ? 'not seen' : `${grown} %`, passed: grown !== undefined && grown <= mostGrowth, timed: true }
      ]
    })
  }
})

type Memory = Awaited<ReturnType<Stage['replicas'][number]['memory']>>

/** The first provider fails for a while; returns when every replica knows that it is well again, or gives up to wait for that. */
async function aProviderFails (run: Run, { providers: [sick] }: Stage, way: string, seconds: number): Promise<Sickness> {
  const from = run.clock()
  await sick!.misbehave(way)
  await pause(seconds * 1000)
  await sick!.recover()
  await pause(lateMs)
  const recoveredAt = run.clock()
  await run.until(() => run.watch.closedAt(sick!.id, recoveredAt) !== undefined, closesWithin)
  return { provider: sick!.id, from, to: run.clock() }
}

const megabytes = (bytes: readonly number[]) => bytes.length === 0 ? undefined : [bytes[0]!, bytes.at(-1)!].map(value => Math.round(value / 1e5) / 10).join(' → ')
