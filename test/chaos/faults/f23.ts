import { setTimeout as pause } from 'node:timers/promises'
import { messages } from '../../../src/pages/messages.ts'
import type { ErrorText } from '../../../src/protocol/errors.ts'
import { decode } from '../../world/browser.ts'
import { always, faultOf, none, type Result, type Terms } from '../fault.ts'
import type { Attempt } from '../history.ts'
import { startRun } from '../run.ts'
import type { Stage } from '../stage.ts'
import { sitDown, type Desk, type Standing, type Tab } from '../tabs.ts'

/** What a citizen does who does not go straight on: up to a moment at which time may pass, and then. Every tab that `after` names is looked at. */
interface Variant {
  before? (desk: Desk): Promise<Tab[]>
  after (desk: Desk, tabs: Tab[]): Promise<Tab[]>
  idles?: true
  keepsCookies?: false
  stopsAtProvider?: true
  /** tabs of each citizen that finish without a detour, and those that finish by the way that their page offers */
  finish: number
  thenFinish: number
  /** what each page tells in words, where nothing can be finished */
  tells?: ErrorText
  stage?: undefined
}

const idleSeconds = 31 * 60
/** what a signal takes to arrive */
const heardMs = 500

/** F23: citizens who do not go straight on. */
export const notStraightOn = faultOf<Variant>('F23', {
  about: 'five tabs, back button, double submit, callback replayed, half an hour idle, cookies off',
  variants: {
    five_tabs: {
      async before (desk) {
        const tabs: Tab[] = []
        for (let i = 0; i < 5; i++) tabs.push(await desk.open())
        return tabs
      },
      async after (desk, tabs) {
        for (const tab of tabs) await desk.choose(tab)
        for (const tab of tabs.toReversed()) if (tab.page.has('continue')) await desk.agree(tab)
        return tabs
      },
      finish: 1,
      thenFinish: 4
    },
    back_button: {
      async after (desk) {
        const tab = await desk.agree(await desk.choose(await desk.open()))
        const back: Tab[] = []
        for (const { method, url } of desk.browser.visits.toReversed()) if (method === 'GET') back.push(await desk.visit(tab, url))
        return [tab, ...back]
      },
      finish: 1,
      thenFinish: 1                                                     // at the entrance; where it ended, it is said that it did
    },
    double_submit: {
      async after (desk) {
        const tab = await desk.open()
        await desk.doubleClick(tab, `idp-${tab.asked.attempt.provider}`)
        return [await desk.doubleClick(tab, 'continue')]
      },
      finish: 1,
      thenFinish: 0
    },
    callback_replayed: {
      async after (desk) {
        const tab = await desk.choose(await desk.open())
        const callback = desk.browser.visits.findLast(({ url }) => url.includes('/callback/'))!.url
        const again = await Promise.all([1, 2].map(() => desk.visit(tab, callback)))
        await desk.agree(tab)
        const late = await desk.visit(tab, callback)
        const cookies = desk.browser.jar.cookies.splice(0)
        const elsewhere = await desk.visit(tab, callback)
        desk.browser.jar.cookies.push(...cookies)
        return [tab, ...again, late, elsewhere]
      },
      finish: 1,
      thenFinish: 0
    },
    cookies_off: { after: async desk => [await desk.choose(await desk.open())], keepsCookies: false, finish: 0, thenFinish: 0, tells: 'login_lost' },
    idle_at_chooser: { before: async desk => [await desk.open()], after: (desk, [tab]) => goOn(desk, tab!), idles: true, finish: 1, thenFinish: 0 },
    idle_at_provider: {
      before: async desk => [await desk.choose(await desk.open())],
      after: async (desk, [tab]) => [await desk.act(tab!, browser => browser.get(tab!.page.location!))],
      stopsAtProvider: true,
      idles: true,
      finish: 0,
      thenFinish: 1
    },
    idle_at_information: { before: async desk => [await desk.choose(await desk.open())], after: async (desk, [tab]) => [await desk.agree(tab!)], idles: true, finish: 0, thenFinish: 1 }
  },
  run: played
})

const goOn = async (desk: Desk, tab: Tab) => [await desk.goOn(tab)]

async function played (stage: Stage, name: string, { before = async () => [], after, idles, finish, thenFinish, tells, ...habits }: Variant, terms: Terms): Promise<Result> {
  const run = startRun(stage, { rate: 0 })
  const citizens = terms.short ? 2 : 10
  const desks = await Promise.all(Array.from({ length: citizens }, async () => sitDown(run, habits)))
  const opened = await Promise.all(desks.map(before))
  if (idles) {
    await shiftClocks(stage, idleSeconds)
    for (const desk of desks) desk.grow(idleSeconds)
  }

  const counts: Partial<Record<Standing | 'finished after clicks', number>> = {}
  let telling = 0
  const count = (what: keyof typeof counts) => { counts[what] = (counts[what] ?? 0) + 1 }
  const deadEnds: Attempt[] = []
  await Promise.all(desks.map(async (desk, i) => {
    const tabs = await after(desk, opened[i]!)
    const standings: Standing[] = []
    for (const tab of tabs) standings.push(await desk.standing(tab))        // one after the other, as they were brought back
    standings.forEach(count)
    for (const [place, tab] of tabs.entries()) {
      if (tells !== undefined && tellsWhatToDo(tab, tells)) telling++
      if (standings[place] === 'dead end') deadEnds.push({ ...tab.asked.attempt, outcome: 'stuck' })
      if (standings[place] !== 'offers') continue
      const then = await desk.standing(await desk.goOn(tab))
      if (then === 'finished') count('finished after clicks')
      else if (then !== 'returned' && !tab.page.links.includes('return')) deadEnds.push({ ...tab.asked.attempt, outcome: 'stuck' })
    }
    await desk.close()
  }))
  if (idles) await shiftClocks(stage, 0)
  const ended = await run.end()

  const { finished = 0, 'finished after clicks': thenFinished = 0 } = counts
  return {
    fault: 'F23',
    variant: name,
    figures: {
      citizens,
      'tabs and pages looked at': Object.entries(counts).reduce((sum, [what, times]) => what === 'finished after clicks' ? sum : sum + times, 0),
      finished,
      'pages that offer a way on': counts.offers ?? 0,
      'finished by that way': thenFinished,
      'told in words only': counts.told ?? 0,
      'back at the service, with a reason': counts.returned ?? 0,
      'dead ends': deadEnds.length,
      'logins tried again': ended.replayed
    },
    criteria: [
      none('dead ends', deadEnds.length),
      { what: `at least ${finish * citizens} finish`, measured: String(finished), passed: finished >= finish * citizens },
      { what: `and ${thenFinish * citizens} more by the way that they are offered`, measured: String(thenFinished), passed: thenFinished >= thenFinish * citizens },
      ...tells === undefined ? [] : [{ what: `pages that say what to do: all of ${citizens}`, measured: String(telling), passed: telling === citizens }],
      ...always(ended)
    ],
    violations: ended.violations,
    failed: deadEnds,
    recovered: []
  }
}

/** Whether a page says so, in either language. */
const tellsWhatToDo = ({ page }: Tab, text: ErrorText) => Object.values(messages).some(({ errors }) => decode(page.body).includes(String(errors[text].todo)))

/** Half an hour in half a second: everybody's clock but Redis's, whose records have not begun at these pages. */
async function shiftClocks ({ replicas, providers }: Stage, seconds: number) {
  for (const process of [...replicas, ...providers]) process.shiftClock(seconds)
  await pause(heardMs)
}
