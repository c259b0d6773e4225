import { setTimeout as pause } from 'node:timers/promises'
import { resultOf, underLoad } from '../course.ts'
import { startCrowd } from '../crowd.ts'
import { faultOf, none, within, type Criterion, type Result, type Terms } from '../fault.ts'
import { backToNormal, inSeconds, since } from '../figures.ts'
import { lookOn, residentBytes } from '../onlookers.ts'
import { fared, shedBy, shedSince } from '../overload.ts'
import { ratedLoad } from '../rated.ts'
import type { Replica } from '../replica.ts'
import { holdOn } from '../slow-clients.ts'
import type { Stage, StageOptions } from '../stage.ts'

/** One replica that has a core for itself, and so is what gives way first; it sends citizens away as it does where nobody says otherwise. */
export const oneCore: StageOptions = { replicas: 1, pinned: true, load: {} }

/** What comes to a replica beside the rated load: as many times of it, or others over so many connections, until they are ended. Citizens stay at their provider for so long at most. */
interface Variant { stage: StageOptions, times?: number, lingersMs?: number, beside?: (replica: Replica) => { connections: number, end (): Promise<{ figures: Result['figures'], criteria: Criterion[] }> } }

const normalWithin = 10
/** of load after it: what is not over by then is not over by itself */
const tailSeconds = 15
/** memory in the fault and after it, as many times that of the rated load */
const mostMemory = 2
const memoryLeft = 1.5
const badConnections = 256
/** until the connections of others are there */
const lettingInSeconds = 20
/** Of so many finished logins one is tried again at once, and the others when it is over: that is a load, too. */
export const oneIn = 20

/** F18: too many come. */
export const tooMany = faultOf<Variant>('F18', {
  about: '5 and 10 times the rated load, the latter also with citizens who stay at their provider for up to 20 s, bad client_ids as fast as they can be sent, slow clients; one replica on a core of its own',
  variants: {
    five_times: { stage: oneCore, times: 5 },
    ten_times: { stage: oneCore, times: 10 },
    ten_times_who_stay: { stage: oneCore, times: 10, lingersMs: 20_000 },
    bad_client_ids: { stage: oneCore, beside: floodOfBadClients },
    slow_clients: { stage: oneCore, beside: holdOn }
  },
  short: ['ten_times'],
  usual: { rate: 60 },
  async run (stage: Stage, name, { times = 1, lingersMs = 0, beside }, terms: Terms): Promise<Result> {
    const replica = stage.replicas[0]!
    const rated = await ratedLoad(stage, terms)
    const shedBefore = await shedBy(replica)
    const course = await underLoad(stage, { ...terms, rate: rated.rate }, async run => {
      const bytesBefore = await residentBytes(replica)
      const onlookers = lookOn(run.scene, replica)
      await pause(1000 + lingersMs)                                      // until as many come back as begin
      const cameAt = run.clock()
      const others = beside?.(replica)
      // a few connections are let in at each turn of the event loop: a crowd that connects is in its own way, and in everybody's who connects
      await run.until(async () => await replica.metric('passerelle_connections_open') >= (others?.connections ?? 0), lettingInSeconds)
      const fullAt = run.clock()
      const more = run.more(rated.rate * (times - 1))
      await pause(Math.max(terms.seconds * 1000, 2 * lingersMs))
      const overAt = run.clock()
      const [seen, told] = await Promise.all([onlookers.end(), others?.end(), more.end()])
      return { bytesBefore, cameAt, fullAt, overAt, seen, told }
    }, { tailSeconds, oneIn, lingersMs })

    const { history, to, marks: { bytesBefore, cameAt, fullAt, overAt, seen, told } } = course
    const logins = fared(history, { from: fullAt, to: overAt }, rated)
    const [most, left] = [seen.mostBytes / bytesBefore, await residentBytes(replica) / bytesBefore]
    return resultOf(course, {
      fault: 'F18',
      variant: name,
      figures: {
        ...rated.figures,
        ...logins.figures,
        ...shedSince(await shedBy(replica), shedBefore),
        ...seen.figures,
        'all connections let in after, s': told && since(fullAt, cameAt),
        ...told?.figures,
        'memory before, MB': Math.round(bytesBefore / 1e6),
        'memory at most, MB': Math.round(seen.mostBytes / 1e6),
        'the driver late at most, s': inSeconds(course.mostLateMs)
      },
      criteria: [
        ...logins.criteria,
        ...seen.criteria,
        ...told?.criteria ?? [],
        { what: `memory at most ${mostMemory} times that at the rated load`, measured: `${tenth(most)} times`, passed: most <= mostMemory },
        { what: `memory after it at most ${memoryLeft} times`, measured: `${tenth(left)} times`, passed: left <= memoryLeft },
        within('normal after it', normalWithin, backToNormal({ attempts: history.attempts }, to))
      ]
    })
  }
})

function floodOfBadClients ({ url }: Replica) {
  const crowd = startCrowd({ addresses: [`${url}/authorize?client_id=*&response_type=code&scope=openid&state=*`], connections: badConnections })
  return {
    connections: badConnections,
    async end () {
      const { answers, unanswered } = await crowd.end()
      return {
        figures: Object.fromEntries(answers.map(({ status, count, p99 }) => [`bad client_ids answered by ${status}`, `${count}, 99 % within ${Math.round(p99)} ms`])),
        criteria: [none('bad client_ids that were not answered', unanswered)]
      }
    }
  }
}

const tenth = (value: number) => Math.round(value * 10) / 10
