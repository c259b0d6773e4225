import { setTimeout as pause } from 'node:timers/promises'
import { siteOf } from '../../../src/adapters/handles.ts'
import { resultOf, touchable, underLoad } from '../course.ts'
import { logInBeside, type Visit } from '../driver.ts'
import { faultOf, none, within, type Result, type Terms } from '../fault.ts'
import { backToNormal, failedAmong, inSeconds, isThroughBalancer, isUnanswered, since } from '../figures.ts'
import { toldMs, type Call } from '../history.ts'
import { untilWell } from '../redis.ts'
import type { Site } from '../sites.ts'
import type { Stage, StageOptions } from '../stage.ts'

/** at most so many seconds of arrivals are lost, between code and userinfo or with a request there */
const lostSeconds = 2
/** what was sent there in the moment that it takes to go */
const goingMs = 100
/** how soon the balancer sends nothing more to a lost site, and how soon after the return all is as usual */
const outWithin = 10
const normalWithin = 10
/** services keep codes for so long, so that some logins are between code and userinfo when the site goes */
const keptMs = 500
/** citizens who have a session at the site that is lost */
const visitors = ['citizen-1', 'citizen-2', 'citizen-3']

/** How all of a site goes, how it comes back, and whether its Redis comes back empty. */
interface Variant { go (site: Site): Promise<unknown>, comeBack (site: Site): Promise<unknown>, forgets: boolean, stage: StageOptions }

const stage: StageOptions = { sites: 2, retriesGets: true, pushing: true }
const nodes = ({ cluster }: Site) => [...cluster.urls.keys()]

/** F16: one of two sites is gone, with its replicas and its Redis. */
export const siteLost = faultOf<Variant>('F16', {
  about: 'a whole site lost and back, replicas and Redis, killed or frozen; two sites, each with two replicas and three Redis primaries, behind one balancer; a third service pushes its requests',
  variants: {
    killed: {
      go: site => Promise.all([...site.replicas.map(replica => replica.stop('SIGKILL')), ...nodes(site).map(i => site.cluster.kill(i))]),
      comeBack: site => Promise.all([...nodes(site).map(i => site.cluster.rejoin(i)), ...site.replicas.map(replica => replica.start())]),
      forgets: true,
      stage
    },
    frozen: {
      async go (site) {
        for (const replica of site.replicas) replica.freeze()
        for (const i of nodes(site)) site.cluster.freeze(i)
      },
      async comeBack (site) {
        for (const i of nodes(site)) site.cluster.thaw(i)
        for (const replica of site.replicas) replica.thaw()
      },
      forgets: false,
      stage
    }
  },
  async run ({ balancer, sites, ...others }: Stage, name, { go, comeBack, forgets }, terms: Terms): Promise<Result> {
    const [kept, lost] = sites as [Site, Site]
    const isLost = (replica: string | undefined) => lost.replicas.some(({ name }) => name === replica)
    const lostOnes = async () => (await balancer.standing()).filter(({ replica }) => isLost(replica))

    const course = await underLoad({ balancer, sites, ...others }, terms, async ({ scene, history, clock, until }) => {
      const signedIn = await Promise.all(visitors.map(citizen => logInBeside(scene, citizen, { site: lost.mark })))
      const visit = (site?: string) => Promise.all(signedIn.map(before => logInBeside(scene, before.attempt.citizen, { before, ...(site === undefined ? {} : { site }) })))
      const letIn = await visit(kept.mark)

      const goneAt = clock()
      const away = { from: goneAt, to: Infinity, site: lost.mark }
      history.storeAway.push(away)
      await go(lost)
      const outAt = await until(async () => (await lostOnes()).every(({ isUp }) => !isUp), outWithin) ? clock() : undefined
      const asked = await visit()
      await pause(goneAt + terms.seconds * 1000 - clock())

      const comesAt = clock()
      if (forgets) {
        history.emptied.push({ site: lost.mark, at: comesAt })
        history.startedAnew.push(...lost.replicas.map(({ name }) => ({ replica: name, at: comesAt })))
      }
      await comeBack(lost)
      await untilWell(lost.cluster)
      const backAt = clock()
      away.to = backAt + toldMs
      const isBack = await until(async () => (await lostOnes()).every(({ isUp }) => isUp), outWithin)
      return { letIn, asked, goneAt, outAt, backAt, isBack }
    }, { persists: true, keptMs, tailSeconds: normalWithin })

    const { history, marks: { letIn, asked, goneAt, outAt, backAt, isBack } } = course
    const attempts = touchable(course)
    const failed = failedAmong(attempts).filter(({ after }) => after === undefined)
    const again = attempts.filter(({ after }) => after !== undefined)
    const between = failed.filter(({ code = '', startedAt }) => siteOf(code) === lost.mark && startedAt < goneAt)
    const wasThere = (call: Call) => isThroughBalancer(call) && call.at <= goneAt + goingMs && call.at + call.ms >= goneAt && (isUnanswered(call) || isLost(call.replica))
    const inFlight = new Set(history.requests.filter(wasThere).map(({ n }) => n))
    const rest = failed.filter(attempt => !between.includes(attempt))
    const otherwise = rest.filter(({ n }) => !inFlight.has(n))
    // whoever began anew at the very moment may have met the site as well
    const notAgain = failedAmong(again).filter(({ n }) => !inFlight.has(n))
    const touched = failed.length - otherwise.length + failedAmong(again).length - notAgain.length
    const twice = course.violations.filter(({ invariant }) => invariant === 'I1')
    const wasSent = ({ attempt: { outcome, sent } }: Visit) => outcome === 'success' ? sent.length : undefined
    // a session across the link that is not read within its 250 ms spares nobody the provider
    const afterSpared = asked.filter((visit, i) => wasSent(letIn[i]!) === 0)
    const sentAgain = afterSpared.filter(visit => wasSent(visit) === 1).length
    return resultOf(course, {
      fault: 'F16',
      variant: name,
      figures: {
        'site away, s': inSeconds(backAt - goneAt),
        'taken out after, s': since(outAt, goneAt),
        'failed between code and userinfo': between.length,
        'failed, with a request at the site as it went': rest.length - otherwise.length,
        'failed otherwise': otherwise.length,
        'through by a fresh login': again.length - failedAmong(again).length - letIn.length - asked.length,
        'codes redeemed twice': twice.length,
        'normal after the return, s': backToNormal(history, backAt)
      },
      criteria: [
        none('logins that failed, neither between code and userinfo nor with a request at the site as it went', otherwise.length),
        { what: `logins that failed between code and userinfo, or with a request at the site as it went: ${lostSeconds} s of arrivals at most`, measured: String(touched), passed: touched <= lostSeconds * terms.rate },
        none('citizens whom a fresh login did not get through', notAgain.length),
        none('codes redeemed twice', twice.length),
        { what: 'sessions of the site spare the provider at the other before', measured: `${afterSpared.length} of ${letIn.length}`, passed: afterSpared.length > 0 },
        { what: 'and while it is lost they all ask it again', measured: `${sentAgain} of ${afterSpared.length}`, passed: sentAgain === afterSpared.length },
        within('taken out by the balancer', outWithin, since(outAt, goneAt)),
        { what: 'taken back by the balancer', measured: isBack ? 'yes' : 'no', passed: isBack },
        within('normal after the return', normalWithin, backToNormal(history, backAt))
      ]
    })
  }
})
