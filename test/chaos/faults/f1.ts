import { setTimeout as pause } from 'node:timers/promises'
import { underLoad, resultOf } from '../course.ts'
import { faultOf, none, type Result, type Terms } from '../fault.ts'
import { resetsSince } from '../figures.ts'
import type { Exit, Replica } from '../replica.ts'
import type { Run } from '../run.ts'
import type { Stage } from '../stage.ts'

interface Variant { /** the releases that follow each other on all replicas, beginning with the one that runs before */ releases: ReadonlyArray<'this' | 'previous'>, stage?: undefined }

/** F1: every replica is replaced, one after the other. */
export const rollingReplacement = faultOf<Variant>('F1', {
  about: 'rolling replacement of all replicas by SIGTERM, to and from the previous release too (--previous DIR)',
  variants: {
    rolling: { releases: ['this', 'this'] },
    previous_release_and_back: { releases: ['previous', 'this', 'previous'] }
  },
  run: replaced
})

const takenBackMs = 10_000

async function replaced (stage: Stage, name: string, { releases: [first, ...next] }: Variant, terms: Terms): Promise<Result | undefined> {
  const { previous } = terms
  if (previous === undefined && name !== 'rolling') {
    terms.say(`F1 ${name}: left out, since --previous names no directory of another release`)
    return undefined
  }
  const release = (which: Variant['releases'][number]) => which === 'this' ? undefined : previous
  if (first === 'previous') for (const replica of stage.replicas) await replace(replica, release(first))

  const course = await underLoad(stage, terms, async run => {
    const exits: Exit[] = []
    for (const which of next) {
      for (const replica of stage.replicas) {
        exits.push((await replace(replica, release(which)))!)
        await untilTaken(run, stage, replica)
        if (!terms.short) await pause(terms.seconds * 1000 / stage.replicas.length / next.length)
      }
    }
    return { exits }
  })
  if (next.at(-1) === 'previous') for (const replica of stage.replicas) await replace(replica)

  const { exits } = course.marks
  const resets = resetsSince(course.history, course.from)
  const unclean = exits.filter(({ code }) => code !== 0)
  const result = resultOf(course, {
    fault: 'F1',
    variant: name,
    figures: {
      'requests that were reset': resets.length,
      'tried again by the balancer': course.retries,
      'replicas replaced': exits.length,
      'longest drain, s': Math.max(...exits.map(({ ms }) => Math.round(ms / 100) / 10))
    },
    criteria: [none('replicas that ended otherwise than in order', unclean.length), none('resets', resets.length)]
  })
  return { ...result, criteria: [none('logins that failed', result.failed.length), none('logins that had to go another way', result.recovered.length), ...result.criteria] }
}

/** Starts a replica anew, when it has ended in order. */
export async function replace (replica: Replica, release?: string) {
  const exit = await replica.stop('SIGTERM')
  await replica.start({ release })
  return exit
}

/** The next one goes when the load balancer has this one back. */
export const untilTaken = (run: Run, { balancer }: Stage, { name }: Replica) =>
  run.until(async () => (await balancer.standing()).some(({ replica, isUp }) => replica === name && isUp), takenBackMs / 1000)
