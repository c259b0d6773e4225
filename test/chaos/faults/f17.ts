import { setTimeout as pause } from 'node:timers/promises'
import { siteOf } from '../../../src/adapters/handles.ts'
import { resultOf, touchable, underLoad } from '../course.ts'
import { logInBeside, type Visit } from '../driver.ts'
import { faultOf, none, within, type Result, type Terms } from '../fault.ts'
import { backToNormal, failedAmong, inSeconds, isThroughBalancer, since } from '../figures.ts'
import { toldMs, type Call } from '../history.ts'
import type { Run } from '../run.ts'
import type { Link } from '../sites.ts'
import { nodeTimeoutMs, type Stage, type StageOptions } from '../stage.ts'

/** how long a request waits for the store, and what it takes beside that on a busy machine */
const deadlineMs = nodeTimeoutMs + 4000
const besideMs = 500
/** how soon after the mending all is as usual */
const normalWithin = 10

interface Variant { part (link: Link): void, stage: StageOptions }

const stage: StageOptions = { sites: 2, pushing: true }

/** F17: two sites do not reach each other any more, and citizens and services reach one of them. */
export const linkCut = faultOf<Variant>('F17', {
  about: 'the link between two sites refuses, or swallows what is sent; browser and service of a login reach one site, every replay both; a third service pushes its requests',
  variants: {
    refused: { part: link => link.cut(), stage },
    swallowed: { part: link => link.swallow(), stage }
  },
  async run (stage: Stage, name, { part }, terms: Terms): Promise<Result> {
    const { sites, replicas, link } = stage
    const siteAt = (replica: string | undefined) => replicas.find(({ name }) => name === replica)?.site

    const course = await underLoad(stage, terms, async run => {
      const { scene, history, clock, until } = run
      const visits = await Promise.all(sites.flatMap(({ mark }, i) => [logInBeside(scene, `citizen-${i}`, { site: mark })]))
      const away = { from: clock(), to: Infinity }
      history.storeAway.push(away)
      part(link)
      const cutAt = clock()
      const asking: Array<Promise<unknown>> = []
      const mendAt = cutAt + Math.max(terms.seconds * 1000, deadlineMs + 2000)
      while (clock() < mendAt) {
        asking.push(...visits.map(visit => askAcross(run, visit)))
        await pause(1000)
      }
      link.mend()
      const mendedAt = clock()
      away.to = mendedAt + toldMs
      const isAnswered = await until(async () => (await Promise.all(visits.map(visit => useAcross(run, visit)))).flat().every(({ status }) => status > 0 && status < 500), normalWithin)
      const acrossAt = isAnswered ? clock() : undefined
      await Promise.all(asking)
      return { cutAt, mendedAt, acrossAt }
    }, { staysAtSite: true, tailSeconds: normalWithin })

    const { history, marks: { cutAt, mendedAt, acrossAt } } = course
    const { attempts, requests, redemptions } = history
    const siteOfCode = ({ n }: Call) => siteOf(attempts[n!]?.code ?? '')
    const across = requests.filter(call => (call.step === 'use' || call.step === 'replay') && siteAt(call.replica) !== siteOfCode(call))
    const meanwhile = across.filter(({ at, ms }) => at >= cutAt && at + ms <= mendedAt)
    const otherwise = meanwhile.filter(({ status, retryAfter }) => status !== 503 || retryAfter !== true)
    const longest = inSeconds(Math.max(0, ...across.filter(({ at, ms }) => at + ms >= cutAt).map(({ ms }) => ms)))
    // one that asks everywhere on purpose may have been given its tokens just when nobody could be told any more
    const crossing = new Set(across.filter(({ at, ms }) => at < cutAt && at + ms >= cutAt).map(({ n }) => n))
    const failed = failedAmong(touchable(course)).filter(({ n }) => !crossing.has(n))
    const astray = requests.filter(call => isThroughBalancer(call) && call.replica !== undefined && attempts[call.n!]?.site !== siteAt(call.replica))
    const given = sites.map(({ mark }) => redemptions.filter(({ status, replica, at }) => status === 200 && siteAt(replica) === mark && at >= cutAt && at < mendedAt).length)
    const twice = course.violations.filter(({ invariant }) => invariant === 'I1')
    return resultOf(course, {
      fault: 'F17',
      variant: name,
      figures: {
        'link cut for, s': inSeconds(mendedAt - cutAt),
        'tokens given meanwhile at each site': given.join(' and '),
        'asked across the cut': meanwhile.length,
        'of them otherwise than 503 with Retry-After': otherwise.length,
        'longest request across, s': longest,
        'codes redeemed twice': twice.length,
        'answered across after the mending, s': since(acrossAt, mendedAt),
        'normal after the mending, s': backToNormal(history, mendedAt)
      },
      criteria: [
        none('logins at one site that failed', failed.length),
        none('requests of theirs that went to the other site', astray.length),
        { what: 'each site gives tokens meanwhile', measured: given.join(' and '), passed: given.every(sets => sets > 0) },
        { what: 'something is asked across the cut', measured: String(meanwhile.length), passed: meanwhile.length > 0 },
        none('requests across the cut that got another answer than 503 with Retry-After', otherwise.length),
        within('the longest request across', (deadlineMs + besideMs) / 1000, longest),
        none('codes redeemed twice', twice.length),
        within('answered across after the mending', normalWithin, since(acrossAt, mendedAt)),
        within('normal after the mending', normalWithin, backToNormal(history, mendedAt))
      ]
    })
  }
})

const elsewhere = ({ scene }: Run, { attempt }: Visit) => scene.stage.replicas.filter(({ site }) => site !== attempt.site)

/** Uses a token at every replica of the other site. */
const useAcross = (run: Run, visit: Visit) => Promise.all(elsewhere(run, visit).map(replica => {
  const { attempt: { n }, service, access_token } = visit.finished!
  return service.ask({ n, access_token, replica })
}))

/** Uses a token, and its code once more, at every replica of the other site. */
const askAcross = (run: Run, visit: Visit) => Promise.all([useAcross(run, visit), ...elsewhere(run, visit).map(replica => {
  const { attempt: { n }, service, code, verifier } = visit.finished!
  return service.redeem({ n, code, verifier, replica })
})])
