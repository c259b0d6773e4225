import t, { type Test } from 'tap'
import type { Ports } from '../src/app.ts'
import { createBrowser, logIn, readGreeting, type Browser } from './world/browser.ts'
import { citizens, claimsAt } from './world/citizens.ts'
import { startGateway, type Gateway } from './support/gateway.ts'
import { findWords, wordsOf } from './support/personal-data.ts'
import { startCluster } from './support/redis.ts'

t.test('on the embedded store', async t => { await tellTheLogin(t, {}) })

t.test('on a Redis Cluster of three', async t => {
  const cluster = await startCluster(t, { primaries: 3 })
  const gateway = await tellTheLogin(t, { redis: cluster.urls })

  t.test('a plain login costs at most ten commands', async t => {
    const before = await cluster.commandCount()
    await citizenAt(t, gateway, 'taxes', 'vitalys', 'amina')
    t.equal(await cluster.commandCount() - before, 10)
  })

  t.test('a login by single sign-on costs at most fourteen', async t => {
    const browser = await citizenAt(t, gateway, 'town', 'vitalys', 'amina')
    const before = await cluster.commandCount()
    t.ok((await logIn(browser, { world: gateway.world, service: 'taxes', provider: 'none', citizen: 'amina' })).has('greeting'))
    t.equal(await cluster.commandCount() - before, 13)
  })

  t.test('what Redis holds tells nothing of anyone', async t => {
    const held = JSON.stringify(await cluster.allValues())
    t.match(held, /code:\{[\w-]{43}\}/, 'the search looks at the records')
    t.same(findWords(held, secretsOf(gateway)), [])
  })
})

t.test('under a base path, as clients that only change their issuer expect', async t => {
  const gateway = await startGateway(t, { path: '/api/v2' })
  for (const provider of ['vitalys', 'terramut']) {
    const browser = await citizenAt(t, gateway, 'town', provider, 'marion')
    await browser.click('log-out')
    t.ok((await clickThrough(browser)).has('logged-out'), provider)
  }
})

/** The whole story of logging in, from the browser and from the client. */
async function tellTheLogin (t: Test, ports: Ports) {
  const gateway = await startGateway(t, ports)
  const { world, app, log } = gateway
  const { providers, services } = world
  const subs: Record<string, Set<string>> = {}

  t.test('every provider leads to every service that accepts it, and the citizen is greeted by name', async t => {
    for (const provider of Object.values(providers)) {
      for (const service of Object.values(services)) {
        if (service.id === 'taxes' && provider.id === 'ondelis') continue
        const browser = await citizenAt(t, gateway, service.id, provider.id, 'marion')
        const told = readGreeting(browser.page!)
        t.equal(told.family_name, claimsAt(provider.id, citizens.find(({ username }) => username === 'marion')!).family_name, `${provider.id} to ${service.id}`)
        t.equal(told.acr, 'eidas1')
        t.equal(told.idp_id, provider.id)
        t.equal(told.aud, service.client_id)
        ;(subs[service.id] ??= new Set()).add(told.sub!)
      }
    }
  })

  t.test('one person has one sub at a service whichever provider was used, and another at each service', async t => {
    t.same(Object.values(subs).map(({ size }) => size), [1, 1, 1])
    t.equal(new Set(Object.values(subs).flatMap(set => [...set])).size, 3)
  })

  t.test('each service is told what it asked for and no more', async t => {
    const town = readGreeting((await citizenAt(t, gateway, 'town', 'vitalys', 'marion')).page!)
    t.hasProps(town, ['given_name', 'email', 'phone_number', 'address', 'preferred_username'])
    t.notHas(town, { birthplace: String })
    const social = readGreeting((await citizenAt(t, gateway, 'social-security', 'vitalys', 'marion')).page!)
    t.hasProps(social, ['birthplace', 'birthcountry'])
    t.notHas(social, { email: String })
    const anonymous = readGreeting((await citizenAt(t, gateway, 'taxes', 'vitalys', 'marion', { scope: 'openid' })).page!)
    t.notHas(anonymous, { family_name: String })
  })

  t.test('a service that wants more assurance gets it, and a provider that has too little cannot be chosen', async t => {
    const told = readGreeting((await citizenAt(t, gateway, 'taxes', 'tresorine', 'marion', { acr_values: 'eidas3' })).page!)
    t.equal(told.acr, 'eidas3')
    const browser = newBrowser(t)
    const page = await logIn(browser, { world, service: 'taxes', provider: 'vitalys', citizen: 'marion', query: { acr_values: 'eidas3' } })
    t.notOk(page.links.includes('idp-vitalys'))
    t.ok(page.links.includes('idp-tresorine'))
  })

  t.test('the second service within the session spares the citizen the provider, and logging out ends it everywhere', async t => {
    const browser = await citizenAt(t, gateway, 'town', 'vitalys', 'anne-sophie')
    const visitsBefore = browser.visits.length
    t.ok((await logIn(browser, { world, service: 'taxes', provider: 'none', citizen: 'anne-sophie' })).has('greeting'))
    const since = browser.visits.slice(visitsBefore).map(({ url }) => url)
    t.ok(since.some(url => url.includes('/consent')), 'the information page is still shown')
    t.notOk(since.some(url => url.startsWith(providers.vitalys!.url)), 'the provider is not asked')

    await browser.get(services.taxes!.url)
    const out = await browser.click('log-out')
    t.ok(browser.visits.some(({ url }) => url.startsWith(providers.vitalys!.url) && url.includes('session/end')), 'logged out at the provider too')
    t.ok((await clickThrough(browser)).has('logged-out'), out.url)
    const again = await logIn(browser, { world, service: 'taxes', provider: 'none', citizen: 'anne-sophie' })
    t.ok(again.links.includes('idp-vitalys'), 'the provider is asked again')
  })

  t.test('a citizen who refuses goes back to the service with access_denied', async t => {
    const page = await logIn(newBrowser(t), { world, service: 'taxes', provider: 'terramut', citizen: 'marion', decision: 'refuse' })
    t.equal(page.text('error-code'), 'access_denied')
  })

  t.test('a citizen who cancels at the provider finds the chooser again, and another provider leads on', async t => {
    const browser = newBrowser(t)
    await browser.get(`${services.town!.url}/login`)
    await browser.click('idp-vitalys')
    const back = await browser.click('cancel')
    t.match(back.body, /data-code="provider_refused"/)
    await browser.click('idp-plume-et-pli')
    await browser.click('sign-in', { username: 'marion', password: 'tournesol' })
    t.ok((await browser.click('continue', { consent: 'yes' })).has('greeting'))
  })

  t.test('consent that is required is checked by the server', async t => {
    const page = await logIn(newBrowser(t), { world, service: 'town', provider: 'vitalys', citizen: 'marion', consent: false })
    t.ok(page.has('consent-error'))
  })

  t.test('an identity that misses what is required leads nowhere, and the page does not show it', async t => {
    const page = await logIn(newBrowser(t), { world, service: 'town', provider: 'vitalys', citizen: 'lucien' })
    t.match(page.body, /data-code="identity_incomplete"/)
    t.notMatch(page.body, /Casanova/)
  })

  t.test('the largest identity gets through', async t => {
    const told = readGreeting((await citizenAt(t, gateway, 'town', 'vitalys', 'maximilienne')).page!)
    t.equal(told.family_name, citizens.find(({ username }) => username === 'maximilienne')!.claims.family_name)
  })

  t.test('there is one event and one count for each set of tokens', async t => {
    const count = async () => Number(/passerelle_logins_total\{outcome="success",failure=""\} (\d+)/.exec(await metrics(gateway))![1])
    const events = () => log.map(line => JSON.parse(line)).filter(({ event }) => event === 'token')
    t.equal(events().length, await count())
    const before = await count()
    await citizenAt(t, gateway, 'taxes', 'vitalys', 'moussa')
    t.equal(await count(), before + 1)
    const event = events().at(-1)
    t.match(event, { event: 'token', step: '7.2', client_id: services.taxes!.client_id, idp: 'vitalys', acr: 'eidas1', outcome: 'success', site: 'a' })
  })

  t.test('log and metrics tell nothing of anyone, and hold nothing that opens a door', async t => {
    const known = secretsOf(gateway)
    t.same(findWords([...log, JSON.stringify({ planted: 'Lefèvre du Pré' })].join(''), known).length > 0, true, 'what is planted is found')
    t.same(findWords(log.join(''), known), [])
    t.same(findWords(await metrics(gateway), known), [])
  })

  await app.ready()
  return gateway
}

const browsers: Browser[] = []
function newBrowser (t: Test) {
  const browser = createBrowser()
  browsers.push(browser)
  t.teardown(() => browser.close())
  return browser
}

/** A browser whose citizen stands in the service, logged in. */
async function citizenAt (t: Test, { world }: Gateway, service: string, provider: string, citizen: string, query: Record<string, string> = {}) {
  const browser = newBrowser(t)
  const page = await logIn(browser, { world, service, provider, citizen, query })
  if (!page.has('greeting')) throw new Error(`no greeting at ${page.url}: ${page.body.replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ').slice(0, 400)}`)
  return browser
}

/** The provider's own logout page asks too: yes. */
async function clickThrough (browser: Browser) {
  const { page } = browser
  const form = page!.forms.find(({ buttons }) => buttons.some(({ value }) => value === 'yes' || value === 'logout'))
  return form === undefined ? page! : browser.submit(form, {}, form.buttons.find(({ value }) => value === 'yes' || value === 'logout'))
}

async function metrics ({ app }: Gateway) {
  const { port } = app.operations.server.address() as { port: number }
  return (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
}

/** Everything that names a citizen of the world, and every code, token and cookie that any browser saw on the way. */
function secretsOf ({ world }: Gateway) {
  const names = citizens.flatMap(citizen => Object.keys(world.providers).flatMap(idp => wordsOf(claimsAt(idp, citizen))))
  const seen = browsers.flatMap(({ visits }) => visits).flatMap(({ url, headers }) => [url, String(headers.location ?? '')])
    .flatMap(address => [...new URLSearchParams(address.split('?')[1])].filter(([name]) => ['code', 'state', 'nonce', 'id_token_hint'].includes(name)).map(([, value]) => value))
  const cookies = browsers.flatMap(({ visits }) => visits).flatMap(({ headers }) => headers['set-cookie'] ?? []).map(cookie => cookie.split(';')[0]!.split('=').slice(1).join('=')).filter(value => value.length > 20)
  return [...new Set([...names, ...seen, ...cookies])]
}
