import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, underLoad } from '../course.ts'
import { faultOf, within, type Result, type Terms } from '../fault.ts'
import { since } from '../figures.ts'
import type { Replica } from '../replica.ts'
import type { Run } from '../run.ts'
import type { Stage } from '../stage.ts'
import { onlyInFlight } from './f2.ts'

/** How a replica stops to answer for a while, and whether that goes on until somebody ends it. */
type Variant = { stop (replica: Replica, seconds: number): Promise<unknown>, stage?: undefined }

const outWithin = 10
const blockedMs = 5000

/** F3: one replica lives and does not answer. */
export const replicaFrozen = faultOf<Variant>('F3', {
  about: 'one replica does not answer: SIGSTOP, or its event loop is busy for 5 s',
  variants: {
    stopped: {
      async stop (replica, seconds) {
        replica.freeze()
        await pause(seconds * 1000)
        replica.thaw()
      }
    },
    loop_blocked: { stop: replica => replica.blockLoop(blockedMs) }
  },
  run: frozen
})

async function frozen (stage: Stage, name: string, { stop }: Variant, terms: Terms): Promise<Result> {
  const replica = stage.replicas[0]!
  const course = await underLoad(stage, terms, async run => {
    const stopping = stop(replica, terms.seconds)
    const outAt = await untilOut(run, stage, replica)
    await stopping
    return { outAt }
  })
  const { outAt } = course.marks
  const { figures, criteria } = onlyInFlight(course, replica, outAt ?? course.to)
  return resultOf(course, {
    fault: 'F3',
    variant: name,
    figures: { 'taken out after, s': since(outAt, course.from), ...figures },
    criteria: [within('taken out', outWithin, since(outAt, course.from)), ...criteria]
  })
}

/** When the load balancer sent it nothing more. */
async function untilOut (run: Run, { balancer }: Stage, { name }: Replica) {
  const isOut = await run.until(async () => (await balancer.standing()).some(({ replica, isUp }) => replica === name && !isUp), outWithin)
  return isOut ? run.clock() : undefined
}
