import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { makeCertificate } from '../support/certificate.ts'
import { startChromium } from '../support/chromium.ts'
import { secureSuffix, startGateway } from '../support/gateway.ts'
import { hostNames } from '../world/world.ts'
import { openParty } from './party.ts'

const library = readFileSync(new URL('../../node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js', import.meta.url))

const page = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Portail</title><script src="/oidc-client-ts.js"></script><script type="module" src="/app.js"></script><button id="log-in">Log in</button> <button id="log-out">Log out</button> <p id="said"></p>'

/** What the page does; `claimsOf` is how it comes by what it says. */
const script = (settings: object, more: string, claimsOf: string) => `
const manager = globalThis.manager = new oidc.UserManager({ ...${JSON.stringify(settings)}, ${more} })
const say = text => { document.getElementById('said').textContent = text; document.body.dataset.state = 'done' }
const claimsOf = ${claimsOf}
document.getElementById('log-in').onclick = () => manager.signinRedirect({ state: 'what the page was about' })
document.getElementById('log-out').onclick = () => manager.signoutRedirect()
try {
  if (location.pathname === '/callback') {
    const user = await manager.signinCallback()
    const { given_name, family_name, email } = await claimsOf(user)
    say([given_name, family_name, email, user.token_type, user.state].join(', '))
  } else if (location.pathname === '/logged-out') {
    await manager.signoutCallback()
    say('logged out: ' + (await manager.getUser() === null))
  } else {
    say('welcome')
  }
} catch (error) {
  say(error.name + ' ' + (error.error ?? error.message))
}`

/** The library proves possession at the token endpoint; at a resource the page does so with its help, with the nonce that it is told. */
const provenUserinfo = `async user => {
  const address = await manager.metadataService.getUserInfoEndpoint()
  const ask = async nonce => fetch(address, { headers: { authorization: 'DPoP ' + user.access_token, dpop: await manager.dpopProof(address, user, 'GET', nonce) } })
  const first = await ask()
  return (first.status === 401 ? await ask(first.headers.get('dpop-nonce')) : first).json()
}`

t.test('a single page by oidc-client-ts in Chromium', async t => {
  const hosts = ['portail', 'guichet'].map(name => `${name}.${secureSuffix}`)
  const certificate = await makeCertificate([...hostNames(secureSuffix), ...hosts])
  const host = { suffix: secureSuffix, tls: certificate, token_endpoint_auth_method: 'none', client_secrets: [] }
  const portail = await openParty(t, 'portail', host)
  const guichet = await openParty(t, 'guichet', { ...host, dpop_bound_access_tokens: true })
  const { issuer, world } = await startGateway(t, { tls: certificate, overrides: { clients: { portail: portail.registration, guichet: guichet.registration } } })
  const browser = await startChromium(t, { suffix: secureSuffix, spki: certificate.spki })

  const publish = (party: typeof portail, more: string, claimsOf: string) => {
    const { client_id, redirect_uri, post_logout_redirect_uri } = party
    const settings = {
      authority: issuer,
      client_id,
      redirect_uri,
      post_logout_redirect_uri,
      scope: 'openid profile email',
      automaticSilentRenew: false                                       // there are no refresh tokens, and a token lives 60 s
    }
    party.serve((request, response) => {
      if (request.url === '/oidc-client-ts.js') return response.setHeader('content-type', 'text/javascript').end(library)
      if (request.url === '/app.js') return response.setHeader('content-type', 'text/javascript').end(script(settings, more, claimsOf))
      return response.setHeader('content-type', 'text/html').end(page)
    })
  }
  publish(portail, 'loadUserInfo: true', 'user => user.profile')
  publish(guichet, 'dpop: { bind_authorization_code: true, store: new oidc.IndexedDbDPoPStore() }, revokeTokensOnSignout: true', provenUserinfo)

  const openPage = async (t: Test, { url }: typeof portail) => {
    const context = await browser.newContext()
    context.setDefaultTimeout(15_000)
    t.teardown(() => context.close())
    const complaints: string[] = []
    const answers: string[] = []
    context.on('console', message => { if (message.type() === 'error') complaints.push(message.text()) })
    context.on('response', response => {
      const { origin, pathname } = new URL(response.url())
      answers.push(`${response.status()} ${response.request().method()} ${origin === new URL(issuer).origin ? '' : origin}${pathname}`)
    })
    const page = await context.newPage()
    await page.goto(url)
    return { page, complaints, answers }
  }

  t.test('a citizen who refuses is an access_denied that it understands', async t => {
    const { page } = await openPage(t, portail)
    await signIn(page)
    await page.click('#refuse')
    t.equal(await said(page), 'ErrorResponse access_denied')
  })

  t.test('a citizen is greeted, and after the logout the provider is asked again', async t => {
    const { page, complaints, answers } = await openPage(t, portail)
    await signIn(page)
    await page.click('#continue')
    t.equal(await said(page), 'Marion Élise, Lefèvre du Pré, marion.lefevre@courriel.example, Bearer, what the page was about')
    t.equal(await page.evaluate('manager.signinSilent().catch(({ error }) => error)'), 'login_required', 'in a frame of another site our session is not seen, and it is told at once')

    await page.click('#log-out')
    await page.waitForURL(`${portail.post_logout_redirect_uri}**`)
    t.equal(await said(page), 'logged out: true')
    t.ok(answers.includes(`303 GET ${world.providers.vitalys!.url}/session/end`), 'the provider was left too')
    await page.click('#log-in')
    await page.waitForSelector('#idp-vitalys')
    t.same(complaints, [], 'nothing was kept from the page by its browser')
  })

  t.test('with tokens bound by DPoP (RFC 9449) a citizen is greeted, and at the logout the token is revoked', async t => {
    const { page, answers } = await openPage(t, guichet)
    await signIn(page)
    await page.click('#continue')
    t.equal(await said(page), 'Marion Élise, Lefèvre du Pré, marion.lefevre@courriel.example, DPoP, what the page was about')
    t.same(answers.filter(answer => answer.endsWith(' POST /token')), ['400 POST /token', '200 POST /token'], 'it learned the nonce')
    t.same(answers.filter(answer => answer.endsWith(' GET /userinfo')), ['401 GET /userinfo', '200 GET /userinfo'], 'and the page did')

    await page.click('#log-out')
    await page.waitForURL(`${guichet.post_logout_redirect_uri}**`)
    t.equal(await said(page), 'logged out: true')
    t.ok(answers.includes('200 POST /revocation'))
  })

  async function signIn (page: Page) {
    await page.click('#log-in')
    await page.click('#idp-vitalys')
    await page.fill('#username', 'marion')
    await page.fill('#password', 'tournesol')
    await page.click('#sign-in')
    await page.waitForSelector('#continue')
  }

  async function said (page: Page) {
    await page.waitForSelector('body[data-state=done]')
    return page.textContent('#said')
  }
})
