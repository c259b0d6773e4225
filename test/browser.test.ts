import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import type { BrowserContext, Page } from 'playwright-core'
import { messages } from '../src/pages/messages.ts'
import { makeCertificate } from './support/certificate.ts'
import { startChromium } from './support/chromium.ts'
import { secureSuffix, startGateway } from './support/gateway.ts'
import { until } from './support/redis.ts'
import { hostNames } from './world/world.ts'

// One login as a citizen's browser sees it: https, real __Host- cookies, SameSite, HSTS and Content-Security-Policy.

t.setTimeout(240_000)

t.test('in Chromium over https', async t => {
  const certificate = await makeCertificate(hostNames(secureSuffix))
  const form = await startFormService(t, certificate)
  const { issuer, world } = await startGateway(t, { tls: certificate, overrides: { clients: { form: form.registration } } })
  const browser = await startChromium(t, { suffix: secureSuffix, spki: certificate.spki })
  const { town, taxes } = world.services

  const newContext = async (t: Test, options = {}) => {
    const context = await browser.newContext(options)
    context.setDefaultTimeout(15_000)
    t.teardown(() => context.close())
    const complaints: string[] = []
    context.on('console', message => { if (message.type() === 'error') complaints.push(message.text()) })
    return { context, complaints }
  }
  const ownCookies = async (context: BrowserContext) => (await context.cookies(issuer)).map(({ name, secure, httpOnly, sameSite, path, domain }) => ({ name, secure, httpOnly, sameSite, path, domain }))

  t.test('a citizen logs in at the town, goes on to the taxes by single sign-on, and logs out', async t => {
    const { context, complaints } = await newContext(t)
    const page = await context.newPage()
    await page.goto(town!.url)
    await page.click('#log-in')
    await page.waitForSelector('#idp-vitalys')
    t.match(new URL(page.url()).host, new URL(issuer).host)
    await page.click('#idp-vitalys')
    await signIn(page, 'marion', 'tournesol')
    await page.waitForSelector('#continue')
    const atConsent = await ownCookies(context)
    t.same(atConsent.map(({ name }) => name.replace(/login-.*/, 'login-…')).sort(), ['__Host-identity', '__Host-login-…'])
    for (const cookie of atConsent) t.match(cookie, { secure: true, httpOnly: true, sameSite: 'Lax', path: '/', domain: new URL(issuer).hostname })
    await page.click('#continue')
    t.ok(await page.isVisible('#consent-error'), 'the checkbox is asked for')
    await page.goBack()
    t.ok(await page.isVisible('#continue'), 'back from there is the page itself')
    await page.check('#consent')
    await page.click('#continue')
    await page.waitForSelector('#greeting')
    t.match(await page.textContent('body'), /Lefèvre du Pré/)

    await page.goto(taxes!.url)
    await page.click('#log-in')
    await page.waitForSelector('#continue')
    t.equal(new URL(page.url()).pathname, '/consent', 'the provider is not asked again')
    await page.click('#continue')
    await page.waitForSelector('#greeting')

    await page.click('#log-out')
    await page.waitForSelector('#logged-out')
    t.same((await ownCookies(context)).filter(({ name }) => name === '__Host-session'), [], 'the session is gone from the browser')
    t.same(complaints, [], 'no page broke its own policy')
  })

  t.test('a service whose callback redirects on to another host is reached from the form', async t => {
    const { context, complaints } = await newContext(t)
    const page = await context.newPage()
    await page.goto(`${taxes!.url}/login?onward=yes`)
    await page.click('#idp-terramut')
    await comeIn(page)
    t.match(new URL(page.url()).hostname, /^espace\./)
    t.same(complaints, [])
  })

  t.test('the whole way works without JavaScript and in English', async t => {
    const { context } = await newContext(t, { javaScriptEnabled: false, locale: 'en-GB' })
    const page = await context.newPage()
    await page.goto(`${taxes!.url}/login`)
    t.equal(await page.getAttribute('html', 'lang'), 'en')
    await page.click('#language')
    t.equal(await page.getAttribute('html', 'lang'), 'fr')
    await page.click('#idp-plume-et-pli')
    await signIn(page, 'amina', 'jasmin')
    t.equal(await page.getAttribute('html', 'lang'), 'fr', 'the choice of language stays')
    await page.click('#continue')
    await page.waitForSelector('#greeting')
  })

  for (const javaScriptEnabled of [true, false]) {
    t.test(`an answer by form_post arrives ${javaScriptEnabled ? 'by itself' : 'by one click, without JavaScript'} (Form Post Response Mode §2)`, async t => {
      const { context, complaints } = await newContext(t, { javaScriptEnabled })
      const page = await context.newPage()
      const asked = { client_id: 'form', redirect_uri: form.url, response_type: 'code', response_mode: 'form_post', scope: 'openid', state: 'a "state" <b>&amp;\'' }
      await page.goto(`${issuer}/authorize?${new URLSearchParams(asked)}`)
      await page.click('#idp-vitalys')
      await signIn(page, 'marion', 'tournesol')
      await page.click('#continue')
      if (!javaScriptEnabled) {
        t.equal(new URL(page.url()).origin, new URL(issuer).origin, 'the page of the form')
        await page.click('#continue')
      }
      await page.waitForURL(form.url)
      const posted = new URLSearchParams((await page.textContent('pre'))!)
      t.match(Object.fromEntries(posted), { code: /^a-[\w-]{43}$/, state: asked.state, iss: issuer })
      t.same([...posted.keys()].sort(), ['code', 'iss', 'state'])
      t.same(complaints, [], 'no page broke its own policy')
    })
  }

  t.test('back after the login leads to a page with a way on, not to a second login', async t => {
    const { context } = await newContext(t)
    const page = await context.newPage()
    await page.goto(`${taxes!.url}/login`)
    await page.click('#idp-vitalys')
    await comeIn(page)
    await page.goBack()
    t.equal(new URL(page.url()).host, new URL(issuer).host)
    await page.click('#return')
    await page.waitForSelector('#greeting')
  })

  t.test('without cookies the citizen is told, with a way back to the service', async t => {
    const { context } = await newContext(t)
    const page = await context.newPage()
    await page.goto(`${taxes!.url}/login`)
    const href = await page.getAttribute('#idp-vitalys', 'href')
    await context.clearCookies()
    const answer = await page.goto(new URL(href!, page.url()).href)
    t.equal(answer!.status(), 400)
    t.ok(await page.textContent('#error-code'))
    t.equal(new URL((await page.getAttribute('#return', 'href'))!).origin, new URL(taxes!.url).origin)
  })

  t.test('a browser that was here once comes by https only (HSTS)', async t => {
    const { context } = await newContext(t)
    const page = await context.newPage()
    await page.goto(`${issuer}/.well-known/openid-configuration`)
    const answer = await page.goto(`${issuer.replace('https:', 'http:')}/jwks`)
    t.equal(new URL(answer!.url()).protocol, 'https:')
    t.equal(answer!.status(), 200)
  })
})

t.test('in Chromium, when providers are not what they should be', async t => {
  const certificate = await makeCertificate(hostNames(secureSuffix))
  const message = { fr: 'De retour lundi à 7 heures.', en: 'Back on Monday at 7.' }
  const quick = { reset_ms: 200, window_ms: 600_000 }
  const { issuer, world, app } = await startGateway(t, {
    tls: certificate,
    overrides: {
      clients: { taxes: { identity_providers: { deny: [] } } },
      identityProviders: {
        vitalys: { breaker: { ...quick, slow_ms: 1 } },
        tresorine: { breaker: { ...quick, probe_ms: 500 } },
        terramut: { breaker: { forced: 'open' } },
        'plume-et-pli': { maintenance: { from: '2020-01-01T00:00:00Z', message } }
      }
    }
  })
  const browser = await startChromium(t, { suffix: secureSuffix, spki: certificate.spki })
  const login = `${world.services['taxes']!.url}/login`
  const titleOf = (idp: string) => world.providers[idp]!.row.title

  const newContext = async (t: Test, options = {}) => {
    const context = await browser.newContext(options)
    context.setDefaultTimeout(15_000)
    t.teardown(() => context.close())
    const complaints: string[] = []
    context.on('console', message => { if (message.type() === 'error') complaints.push(message.text()) })
    return { page: await context.newPage(), complaints }
  }

  t.test('the chooser says each state where a screen reader reads it, in the name of the link, and fits every screen', async t => {
    const before = await newContext(t)
    await before.page.goto(login)
    await before.page.click('#idp-vitalys')
    await signIn(before.page, 'marion', 'tournesol')
    await before.page.waitForSelector('#continue')                      // its usual way back takes more than a millisecond

    const registration = (idp: string) => app.configuration.identityProviders.get(idp)!
    for (const language of ['fr', 'en'] as const) {
      const { chooser: text } = messages[language]
      const situations: Array<[query: Record<string, string>, change: () => void, undo: () => void, links: Record<string, string>, others: Record<string, string>]> = [
        [{ acr_values: 'eidas2' }, () => {}, () => {}, { vitalys: text.slow, tresorine: '', terramut: text.down }, { 'plume-et-pli': `${text.maintenance} ${message[language]}`, ondelis: text.acr_too_low }],
        [{ prompt: 'login' }, () => {
          registration('tresorine').state = 'beta'
          registration('ondelis').reports_auth_time = false
          app.configuration.clients.get('impots-valmont')!.identity_providers.deny = ['terramut']
        }, () => {
          registration('tresorine').state = 'active'
          registration('ondelis').reports_auth_time = true
          app.configuration.clients.get('impots-valmont')!.identity_providers.deny = []
        }, { vitalys: text.slow, tresorine: text.beta }, { terramut: text.not_allowed, 'plume-et-pli': `${text.maintenance} ${message[language]}`, ondelis: text.fresh_login_unprovable }]
      ]
      const { page, complaints } = await newContext(t, { locale: language, viewport: { width: 360, height: 740 } })
      for (const [query, change, undo, links, others] of situations) {
        change()
        await page.goto(`${login}?${new URLSearchParams(query)}`)
        undo()
        const read = await accessible(page)
        const said = read.filter(({ role }) => role === 'link').map(({ name }) => name)
        for (const [idp, words] of Object.entries(links)) t.ok(said.includes(plain(`${titleOf(idp)} ${words}`)), `${idp}, ${language}: one link, named ${plain(`${titleOf(idp)} ${words}`)}`)
        for (const [idp, words] of Object.entries(others)) {
          t.notOk(said.some(name => name.includes(plain(titleOf(idp)))), `${idp}, ${language}: no link`)
          t.ok(plain((await page.textContent(`#idp-${idp}`))!).includes(plain(words)), `${idp}, ${language}: in words`)
        }
        for (const width of [320, 360, 1280]) {
          await page.setViewportSize({ width, height: 740 })
          const [wanted, narrowest] = await page.evaluate(() => [document.documentElement.scrollWidth, Math.min(...Array.from(document.querySelectorAll('a'), link => link.getBoundingClientRect().height))] as const)
          t.ok(wanted <= width, `${language}: ${width} px are wide enough for what takes ${wanted}`)
          t.ok(narrowest >= 44, `${language}, ${width} px: every link can be hit (${narrowest} px)`)
        }
      }
      t.same(complaints, [])
    }
  })

  t.test('whoever cancels is told so at once, and gets there after all by the link in the banner', async t => {
    for (const [javaScriptEnabled, locale] of [[true, 'fr'], [false, 'en']] as const) {
      const { page, complaints } = await newContext(t, { javaScriptEnabled, locale, viewport: { width: 360, height: 740 } })
      const { notices: { provider_refused: { title } }, chooser: { retry, account } } = messages[locale]
      await page.goto(login)
      await page.click('#idp-tresorine')
      await page.click('#cancel')
      await page.waitForSelector('#notice')
      const read = await accessible(page)
      t.ok(read.some(({ role }) => role === 'alert'), `${locale}: announced`)
      t.ok(read.some(({ role, name }) => role === 'link' && name === plain(retry(account(titleOf('tresorine'))))), `${locale}: a link that names it`)
      t.ok((await page.title()).startsWith(title), `${locale}: first in the title of the window`)
      t.ok((await page.locator('#retry').boundingBox())!.y < 740, `${locale}: to be seen without scrolling on a small screen`)
      await page.click('#retry')
      await comeIn(page)
      t.same(complaints, [])
    }
  })

  t.test('idp_hint at a provider that is down or in maintenance shows the chooser, and another provider leads on', async t => {
    const { page, complaints } = await newContext(t, { locale: 'fr' })
    for (const [idp, notice] of [['terramut', 'provider_unavailable'], ['plume-et-pli', 'provider_maintenance']] as const) {
      await page.goto(`${login}?idp_hint=${idp}`)
      t.equal(new URL(page.url()).origin, new URL(issuer).origin, `${idp}: nobody is sent there`)
      t.equal(await page.getAttribute('#notice', 'data-code'), notice)
      t.equal(await page.locator('#retry').count(), 0, `${idp}: nothing is offered that does not work`)
    }
    await page.click('#idp-tresorine')
    await comeIn(page)
    t.same(complaints, [])
  })

  t.test('with nobody left that answers one click looks again, until one does', async t => {
    const { page, complaints } = await newContext(t, { locale: 'en' })
    const { tresorine } = world.providers
    for (const idp of ['vitalys', 'ondelis']) app.configuration.identityProviders.get(idp)!.state = 'maintenance'
    await tresorine!.stop()
    await until('its breaker is open', 15_000, () => app.identityProvider('tresorine').standing() === 'down')
    await page.goto(login)
    t.match(plain((await page.textContent('#none'))!), plain(messages.en.chooser.noneAnswers))
    await page.click('#idp-tresorine')
    t.equal(await page.getAttribute('#notice', 'data-code'), 'provider_unavailable', 'one that is down can be clicked, and says so')
    await page.click('#again')
    t.ok(await page.isVisible('#none'), 'still')
    t.equal(await page.locator('#notice').count(), 0, 'without the banner of before')
    await tresorine!.start()
    await until('its breaker is closed', 15_000, () => app.identityProvider('tresorine').standing() !== 'down')
    await page.click('#again')
    t.equal(await page.locator('#none').count(), 0)
    await page.click('#idp-tresorine')
    await comeIn(page)
    t.same(complaints, [])
  })
})

t.test('in Chromium, when there is too much to do', async t => {
  const certificate = await makeCertificate(hostNames(secureSuffix))
  const { world } = await startGateway(t, {
    tls: certificate,
    overrides: {
      settings: { load: { requests_in_flight: 1 } },
      identityProviders: { tresorine: { timeout_ms: 30_000, callback_timeout_ms: 60_000 } }  // however long this test holds its answer
    }
  })
  const browser = await startChromium(t, { suffix: secureSuffix, spki: certificate.spki })
  const login = `${world.services['taxes']!.url}/login`
  const newPage = async (options = {}) => {
    const context = await browser.newContext({ viewport: { width: 360, height: 740 }, ...options })
    context.setDefaultTimeout(15_000)
    t.teardown(() => context.close())
    const complaints: string[] = []
    context.on('console', message => { if (message.type() === 'error' && !/503/.test(message.text())) complaints.push(message.text()) })
    return { page: await context.newPage(), complaints }
  }

  // somebody comes back from a provider that does not answer
  const { tresorine } = world.providers
  const first = await newPage()
  await first.page.goto(login)
  await first.page.click('#idp-tresorine')
  await first.page.fill('#username', 'marion')
  await first.page.fill('#password', 'tournesol')
  const held = new Promise<() => void>(resolve => {
    tresorine!.intercept = (request, response) => {
      if (!request.url!.endsWith(String(tresorine!.endpoints['token_endpoint']).replace(tresorine!.url, ''))) return false
      tresorine!.intercept = undefined
      resolve(() => { tresorine!.server.emit('request', request, response) })
      return true
    }
  })
  const clicked = first.page.click('#sign-in', { noWaitAfter: true })
  const release = await held

  const waiting = await Promise.all((['fr', 'en'] as const).map(async locale => {
    const { page, complaints } = await newPage({ javaScriptEnabled: false, locale })
    const answer = await page.goto(login)
    return { page, complaints, locale, status: answer!.status(), address: page.url() }
  }))
  for (const { page, locale, status, address } of waiting) {
    const { heading, byItself } = messages[locale].busy
    t.equal(status, 503)
    t.equal(new URL(address).pathname, '/authorize')
    t.equal(plain((await page.textContent('h1'))!), plain(heading))
    t.equal(plain((await page.textContent('#by-itself'))!), plain(byItself))
    t.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 360, 'a small screen is wide enough')
    t.ok((await page.locator('#retry').boundingBox())!.height >= 44, 'the link can be hit')
  }
  const [{ page }] = waiting as [typeof waiting[number]]
  await page.click('#retry')
  t.equal(page.url(), waiting[0]!.address, 'whoever does not wait asks for the same')
  t.ok(await page.isVisible('#by-itself'))

  release()
  await clicked
  await first.page.waitForSelector('#continue', { timeout: 40_000 })
  for (const { page, complaints, address } of waiting) {
    await page.waitForSelector('#idp-vitalys', { timeout: 40_000 })
    t.equal(page.url(), address, 'it came back by itself, without JavaScript, with the whole request')
    await page.goBack()
    t.not(page.url(), address, 'and left nothing to click through on the way back')
    await page.goForward()
    await page.click('#idp-vitalys')
    await comeIn(page)
    t.same(complaints, [], 'no page broke its own policy')
  }
})

const plain = (words: string) => words.replace(/\s+/g, ' ').trim()

/** What Chromium tells assistive technology: every element that is not ignored, by its role and name. */
async function accessible (page: Page) {
  const session = await page.context().newCDPSession(page)
  const { nodes } = await session.send('Accessibility.getFullAXTree')
  await session.detach()
  return nodes.filter(({ ignored }) => !ignored).map(({ role, name }) => ({ role: String(role?.value), name: plain(String(name?.value ?? '')) }))
}

/** A service that shows the form it is sent. */
async function startFormService (t: Test, certificate: { key: string, cert: string }) {
  const server = createServer(certificate, async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    response.setHeader('content-type', 'text/html')
    response.end(`<pre>${body.replaceAll('&', '&amp;')}</pre>`)
  })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const url = `https://espace.impots.${secureSuffix}:${(server.address() as AddressInfo).port}/form`
  const secrets = [{ file: 'secrets/client-taxes' }]
  return { url, registration: { client_id: 'form', name: 'Formulaires', redirect_uris: [url], require_pkce: false, client_secrets: secrets } }
}

/** From the sign-in page of a provider to the service that greets. */
async function comeIn (page: Page) {
  await signIn(page, 'marion', 'tournesol')
  await page.click('#continue')
  await page.waitForSelector('#greeting')
}

async function signIn (page: Page, username: string, password: string) {
  await page.fill('#username', username)
  await page.fill('#password', password)
  await page.click('#sign-in')
}
