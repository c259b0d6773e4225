import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import type { BrowserContext, Page } from 'playwright-core'
import { makeCertificate } from './support/certificate.ts'
import { startChromium } from './support/chromium.ts'
import { secureSuffix, startGateway } from './support/gateway.ts'
import { hostNames } from './world/world.ts'

// One login as a citizen's browser sees it: https, real __Host- cookies, SameSite, HSTS and Content-Security-Policy.

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
    await signIn(page, 'marion', 'tournesol')
    await page.click('#continue')
    await page.waitForSelector('#greeting')
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
    await signIn(page, 'marion', 'tournesol')
    await page.click('#continue')
    await page.waitForSelector('#greeting')
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

async function signIn (page: Page, username: string, password: string) {
  await page.fill('#username', username)
  await page.fill('#password', password)
  await page.click('#sign-in')
}
