import { createBrowser, type Browser, type Page } from '../world/browser.ts'
import { beginAttempt } from './driver.ts'
import { ask, comeBack, entranceOf, type Asked, type Brought } from './login.ts'
import { offersWayOn, readChooser, readConsent } from './pages.ts'
import type { Run } from './run.ts'
import { createService } from './service.ts'

/** One tab of a browser, and the login that was begun in it. */
export interface Tab { asked: Asked, page: Page }

/**
 * Where a tab stands: `finished` at its service, with the right userinfo; `returned` to its service, which was told why not; at a page of ours that `offers` something to click;
 * `told` in words what to do; or at a `dead end`, which is everything else.
 */
export type Standing = 'finished' | 'returned' | 'offers' | 'told' | 'dead end'

/** The provider's name for whoever does not say who he is. */
const citizen = 'somebody'
const mostClicks = 6

/** A citizen at a browser, who opens the same service in as many tabs as he or she likes. */
export function sitDown (run: Run, { keepsCookies = true, stopsAtProvider = false }: { keepsCookies?: boolean, stopsAtProvider?: boolean } = {}) {
  const { scene, history, clock } = run
  const { clients, providers: [provider] } = scene.stage
  const client = clients.find(({ consent }) => consent === 'information')!
  const service = createService(scene, client)
  const browser: Browser = createBrowser({ stopAt: [service.redirect_uri, ...stopsAtProvider ? [provider!.issuer] : []] })
  if (!keepsCookies) browser.jar.keep = () => {}
  const brought: Brought[] = []
  let first: number | undefined

  async function open (): Promise<Tab> {
    const attempt = beginAttempt(scene, { purpose: 'plain', client: client.client_id, provider: provider!.id, citizen, ...(first === undefined ? {} : { after: first }) })
    first ??= attempt.n
    const asked = ask(attempt, service)
    browser.page = undefined
    const page = await browser.get(entranceOf(asked))
    return named(asked, page)
  }

  /** A page names the login that it is of: by the same request another one may begin, which is an attempt of its own. */
  function named (asked: Asked, page: Page): Tab {
    const { attempt } = asked
    const login = readChooser(page.body)?.login ?? readConsent(page.body)?.fields.get('login') ?? attempt.login
    if (login === undefined || login === attempt.login) return { asked, page }
    if (attempt.login === undefined) return { asked: { ...asked, attempt: Object.assign(attempt, { login }) }, page }
    const another = { ...attempt, n: history.attempts.length, after: first!, login }
    history.attempts.push(another)
    return { asked: { ...asked, attempt: another }, page }
  }

  /** Does something in this tab, at the page that it shows. */
  async function act (tab: Tab, action: (browser: Browser) => Promise<Page>): Promise<Tab> {
    browser.page = tab.page
    return Object.assign(tab, named(tab.asked, await action(browser)))
  }

  return {
    browser,
    open,
    act,
    choose: (tab: Tab) => act(tab, browser => browser.click(`idp-${provider!.id}`)),
    agree: (tab: Tab) => act(tab, browser => browser.click('continue')),
    /** A double click: both are sent, and what answers the first is never seen. */
    async doubleClick (tab: Tab, id: string): Promise<Tab> {
      const unseen = createBrowser({ stopAt: 'http' })
      unseen.page = tab.page
      unseen.jar.cookies = [...browser.jar.cookies]
      await Promise.all([unseen.click(id), act(tab, browser => browser.click(id))])
      await unseen.close()
      return tab
    },
    /** The same tab at another address, beside the page that it shows. */
    visit: (tab: Tab, url: string) => act({ ...tab }, browser => browser.get(url)),

    /** Where a tab stands; a code that it brought to its service is redeemed. */
    async standing ({ asked, page }: Tab): Promise<Standing> {
      const { attempt } = asked
      if (page.location?.startsWith(service.redirect_uri)) {
        const parameters = new URL(page.location).searchParams
        const { outcome, why, tokens } = await comeBack(scene, asked, parameters)
        attempt.endedAt = clock()
        const code = parameters.get('code')
        if (code !== null && code === attempt.code) brought.push({ attempt, service, verifier: asked.verifier, code, jar: browser.jar, ...tokens })
        if (tokens !== undefined) {
          attempt.outcome = outcome
          return 'finished'
        }
        attempt.why = why ?? ''
        return parameters.has('error') ? 'returned' : 'dead end'
      }
      attempt.why = `${page.status} ${new URL(page.url).pathname} ${page.text('error-code')}`
      if (page.status < 500 && (page.forms.length > 0 || offersWayOn(page.body))) return 'offers'
      return page.has('error-code') ? 'told' : 'dead end'
    },

    /** Clicks what a page offers until there is nothing more to click. */
    async goOn (tab: Tab): Promise<Tab> {
      for (let clicks = 0; clicks < mostClicks && !tab.page.location?.startsWith(service.redirect_uri); clicks++) {
        const next = [`idp-${provider!.id}`, 'retry', 'again', 'choose'].find(id => tab.page.links.includes(id))
        const { location } = tab.page
        if (location !== undefined) await act(tab, browser => browser.get(location))
        else if (tab.page.has('continue')) await act(tab, browser => browser.click('continue'))
        else if (next !== undefined) await act(tab, browser => browser.click(next))
        else break
      }
      return tab
    },

    /** Time goes by: what a browser keeps for so long it keeps no more. */
    grow (seconds: number) { for (const cookie of browser.jar.cookies) cookie.expires -= seconds * 1000 },
    /** The end of the day: what was brought to the service is tried again, which ends the browser's session too. */
    async close () {
      for (const login of brought) run.tryAgain(login)
      await browser.close()
    }
  }
}

export type Desk = ReturnType<typeof sitDown>
