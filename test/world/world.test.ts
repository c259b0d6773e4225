import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { importJWK, type CryptoKey } from 'jose'
import type { Context } from 'oidc-provider'
import * as openid from 'openid-client'
import { generate } from 'selfsigned'
import t, { type Test } from 'tap'
import Value from 'typebox/value'
import { Agent, fetch } from 'undici'
import { parse } from 'yaml'
import { Client, IdentityProvider as Registration, Settings } from '../../src/config/schema.ts'
import { createBrowser, createJar, logIn, readGreeting, type Browser } from './browser.ts'
import { citizens, citizensAt, claimsAt } from './citizens.ts'
import { openHost } from './host.ts'
import { createLookup } from './lookup.ts'
import { createKey, Provider, type IdentityProvider } from './provider.ts'
import { providerRows } from './providers.ts'
import { createStore } from './store.ts'
import { hostNames, startWorld, type World } from './world.ts'

// The world by itself: openid-client stands where the gateway will be.

t.setTimeout(60_000)
const issuer = 'http://passerelle.localhost:1'
const dispatcher = new Agent({ connect: { lookup: createLookup('localhost') } })
const customFetch = (address: string, options: object) => fetch(address, { ...options, dispatcher }) as unknown as Promise<Response>

let world: World
t.before(async () => { world = await startWorld({ issuer }) })
t.after(async () => {
  await world.stop()
  await dispatcher.destroy()
})

/** The gateway's side of one provider, made from what its registration says. */
async function clientOf ({ row, issuer, endpoints, client_secret, client_key }: IdentityProvider) {
  const metadata = { id_token_signed_response_alg: row.id_token_signed_response_alg, ...(row.userinfo_signed_response_alg && { userinfo_signed_response_alg: row.userinfo_signed_response_alg }) }
  const authentication = client_key
    ? openid.PrivateKeyJwt({ key: await importJWK(client_key) as CryptoKey, kid: client_key.kid })
    : row.token_endpoint_auth_method === 'client_secret_post' ? openid.ClientSecretPost(client_secret) : openid.ClientSecretBasic(client_secret)
  const client = row.discovery
    ? await openid.discovery(new URL(issuer), row.client_id, metadata, authentication, { execute: [openid.allowInsecureRequests], [openid.customFetch]: customFetch })
    : new openid.Configuration({ issuer, ...endpoints }, row.client_id, metadata, authentication)
  openid.allowInsecureRequests(client)
  openid.enableNonRepudiationChecks(client)
  client[openid.customFetch] = customFetch
  return client
}

interface Asked { acr_values?: string, prompt?: string, max_age?: string }

/** Leaves for the provider; `arrive` checks what came back and asks userinfo. */
async function leave (provider: IdentityProvider, browser: Browser, asked: Asked = {}) {
  const client = await clientOf(provider)
  const pkceCodeVerifier = openid.randomPKCECodeVerifier()
  const checks = { pkceCodeVerifier, expectedState: openid.randomState(), expectedNonce: openid.randomNonce(), ...(asked.max_age && { maxAge: Number(asked.max_age) }) }
  const page = await browser.get(openid.buildAuthorizationUrl(client, {
    redirect_uri: `${issuer}/callback/${provider.id}`,
    scope: provider.row.scopes.join(' '),
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    ...asked
  }).href)
  const arrive = async (location = browser.page?.location) => {
    const tokens = await openid.authorizationCodeGrant(client, new URL(location!), checks)
    const claims = tokens.claims()!
    return { claims, tokens, userinfo: await openid.fetchUserInfo(client, tokens.access_token, claims.sub) }
  }
  return { page, arrive, client }
}

const browserFor = (t: Test) => {
  const browser = createBrowser({ stopAt: issuer })
  t.teardown(() => browser.close())
  return browser
}

const signIn = (browser: Browser, username = 'marion') =>
  browser.click('sign-in', { username, password: citizens.find(citizen => citizen.username === username)!.password })

for (const row of providerRows) {
  t.test(`${row.id} gives its client the identity that it knows, signed by ${row.id_token_signed_response_alg}`, async t => {
    const browser = browserFor(t)
    const { page, arrive } = await leave(world.providers[row.id]!, browser, { acr_values: 'eidas1' })
    t.equal(page.status, 200)
    t.match(page.body, /<html lang="fr">/)
    const { location } = await signIn(browser)
    t.equal(new URL(location!).searchParams.has('iss'), row.sendsIssuer, 'RFC 9207 as its table says')
    const { claims, userinfo } = await arrive()
    t.equal(claims['acr'], 'eidas1')
    t.type(claims.auth_time, 'number')
    t.strictSame(claims['amr'], row.tellsMethods ? row.levels['eidas1'] : undefined)
    const { sub, ...told } = userinfo
    t.equal(sub, claims.sub)
    const known = claimsAt(row.id, citizens[0]!)
    for (const name of ['given_name', 'given_name_array', 'family_name', 'gender', 'birthdate', 'birthplace', 'birthcountry']) {
      t.strictSame(told[name], known[name], name)
    }
    t.equal('email' in told, row.scopes.includes('email'), 'no claim without its scope')
    t.equal(claims['family_name'], undefined, 'the ID Token says nothing of the identity')
  })

  t.test(`${row.id} answers access_denied to a citizen who gives up`, async t => {
    const browser = browserFor(t)
    const { arrive } = await leave(world.providers[row.id]!, browser)
    await browser.click('cancel')
    t.equal(await arrive().catch(({ error }) => error), 'access_denied')
  })

  t.test(`${row.id} gives the level that was asked, up to ${Object.keys(row.levels).at(-1)}`, async t => {
    const browser = browserFor(t)
    const provider = world.providers[row.id]!
    const highest = Object.keys(row.levels).at(-1)!
    const { arrive } = await leave(provider, browser, { acr_values: 'eidas1' })
    await signIn(browser)
    await arrive()

    const higher = await leave(provider, browser, { acr_values: 'eidas3' })
    if (highest !== 'eidas1') {
      t.ok(higher.page.has('sign-in'), 'a session of a lower level is not enough')
      await signIn(browser)
    }
    t.equal((await higher.arrive()).claims['acr'], highest)
  })
}

t.test('providers remember the citizen, and ask again at prompt=login and when max_age has passed', async t => {
  await Promise.all(providerRows.map(async ({ id }) => {
    const browser = browserFor(t)
    const provider = world.providers[id]!
    await leave(provider, browser)
    await signIn(browser)

    const second = await leave(provider, browser)
    t.ok(second.page.location, `${id}: the second time there is no page`)
    const first = await second.arrive()

    const anew = await leave(provider, browser, { prompt: 'login' })
    t.ok(anew.page.has('sign-in'), `${id}: prompt=login asks again`)
    await signIn(browser)
    const again = await anew.arrive()
    t.ok(again.claims.auth_time! >= first.claims.auth_time!)

    const silent = await leave(provider, browser, { prompt: 'none' })
    t.ok((await silent.arrive()).claims.sub)

    t.ok((await leave(provider, browser, { max_age: '3600' })).page.location, `${id}: a recent login is recent enough`)
    await new Promise(resolve => setTimeout(resolve, 2100))
    const aged = await leave(provider, browser, { max_age: '1' })
    t.ok(aged.page.has('sign-in'), `${id}: max_age asks again`)
    await signIn(browser)
    t.ok((await aged.arrive()).claims.auth_time! > again.claims.auth_time!)
  }))
})

t.test('providers differ in PKCE, discovery and logout', async t => {
  for (const row of providerRows) {
    const browser = browserFor(t)
    const provider = world.providers[row.id]!
    const client = await clientOf(provider)
    const page = await browser.get(openid.buildAuthorizationUrl(client, { redirect_uri: `${issuer}/callback/${row.id}`, scope: 'openid', nonce: 'n', state: 's' }).href)
    t.equal(page.location?.includes('error=invalid_request') ?? false, row.requiresPkce, `${row.id} without PKCE`)
    const metadata = await browser.get(`${provider.issuer}/.well-known/openid-configuration`)
    t.equal(metadata.status, row.discovery ? 200 : 404, `${row.id} discovery`)
    t.equal('end_session_endpoint' in client.serverMetadata(), row.endsSessions, `${row.id} logout`)
  }
})

for (const row of providerRows.filter(({ endsSessions }) => endsSessions)) {
  t.test(`${row.id} ends its session at the gateway's word and comes back`, async t => {
    const browser = browserFor(t)
    const provider = world.providers[row.id]!
    const { arrive, client } = await leave(provider, browser)
    await signIn(browser)
    const { tokens } = await arrive()
    const parameters = { id_token_hint: tokens.id_token!, post_logout_redirect_uri: `${issuer}/session/ended`, state: 'away' }
    const { location } = await browser.get(openid.buildEndSessionUrl(client, parameters).href)
    t.equal(location, `${issuer}/session/ended?state=away`)
    t.ok((await leave(provider, browser)).page.has('sign-in'), 'the citizen is asked again')
  })
}

t.test('another citizen may take over at the same provider', async t => {
  const browser = browserFor(t)
  await leave(world.providers['ondelis']!, browser)
  await signIn(browser)
  const { arrive } = await leave(world.providers['ondelis']!, browser, { prompt: 'login' })
  const page = await signIn(browser, 'amina')
  if (!page.location) await browser.submit(page.forms[0]!)
  t.equal((await arrive()).userinfo.given_name, 'Amina')
})

t.test('a wrong password stays at the provider, which says so', async t => {
  const browser = browserFor(t)
  await leave(world.providers['vitalys']!, browser)
  const page = await browser.click('sign-in', { username: 'marion', password: 'bruyere' })
  t.match(page.text('error'), /incorrect/)
  t.ok((await signIn(browser)).location)
})

t.test('a provider goes away, comes back at the same place, and changes its keys', async t => {
  const provider = world.providers['plume-et-pli']!
  const browser = browserFor(t)
  await provider.stop()
  await t.rejects(browser.get(`${provider.issuer}/jwks`))
  await provider.start()
  const before = await browser.get(`${provider.issuer}/jwks`)
  provider.renewKeys()
  const after = await browser.get(`${provider.issuer}/jwks`)
  t.not(before.body, after.body)
  const { arrive } = await leave(provider, browser)
  await signIn(browser)
  t.ok((await arrive()).userinfo.sub)
  provider.intercept = (_request, response) => { response.writeHead(503).end(); return true }
  t.teardown(() => { provider.intercept = undefined })
  t.equal((await browser.get(`${provider.issuer}/jwks`)).status, 503)
})

t.test('citizens differ from provider to provider', async t => {
  t.notOk(citizensAt('tresorine').some(({ username }) => username === 'lucien'))
  t.equal(claimsAt('vitalys', citizens.find(({ username }) => username === 'lucien')!)['gender'], undefined)
  const plain = (value: unknown) => String(value).normalize('NFD').replace(/\p{M}/gu, '').toLowerCase().replace(/\s+/g, ' ').trim()
  const spellings = providerRows.map(({ id }) => claimsAt(id, citizens[0]!)).map(({ given_name, family_name }) => `${given_name}|${family_name}`)
  t.equal(new Set(spellings).size, 5, 'five spellings')
  t.equal(new Set(spellings.map(spelling => spelling.split('|').map(plain).join('|'))).size, 1, 'of one name')
  const largest = Math.max(...citizens.map(({ claims }) => Buffer.byteLength(JSON.stringify(claims))))
  t.ok(largest > 2500, `the largest identity is ${largest} bytes`)
})

t.test('a service that cannot reach the gateway says so', async t => {
  const browser = browserFor(t)
  const home = await browser.get(world.services['town']!.url)
  t.ok(home.has('log-in'))
  const page = await browser.click('log-in')
  t.equal(page.status, 400)
  t.ok(page.text('error-description'))
  t.equal((await browser.click('home')).status, 200)
  const forged = await browser.get(`${world.services['town']!.url}/callback?code=1&state=2`)
  t.match(forged.text('error-description'), /did not start here/)
})

t.test('a world under another name speaks https', async t => {
  const altNames = hostNames('test').map(value => ({ type: 2 as const, value }))
  const { private: key, cert } = await generate([{ name: 'commonName', value: 'world' }], { extensions: [{ name: 'subjectAltName', altNames }] })
  const gateway = 'https://passerelle.test'
  const secured = await startWorld({ issuer: gateway, suffix: 'test', tls: { key, cert }, ca: cert })
  t.teardown(() => secured.stop())
  const browser = createBrowser({ suffix: 'test', ca: cert, stopAt: gateway })
  t.teardown(() => browser.close())
  const { issuer, row, endpoints } = secured.providers['vitalys']!
  t.match(issuer, /^https:\/\/vitalys\.test:\d+$/)
  const parameters = new URLSearchParams({ client_id: row.client_id, response_type: 'code', scope: 'openid', state: 's', nonce: 'n', redirect_uri: `${gateway}/callback/vitalys` })
  await browser.get(`${endpoints['authorization_endpoint']}?${parameters}`)
  t.match((await signIn(browser)).location, `iss=${encodeURIComponent(issuer)}`)
  t.ok(browser.jar.cookies.length > 0 && browser.jar.cookies.every(({ secure }) => secure), 'its cookies are Secure')
  t.ok((await browser.get(secured.services['taxes']!.url)).has('log-in'))
})

/** A gateway in few words, to see the services by themselves: it shows a choice, then a form, and believes in one citizen. */
async function startStandIn () {
  const host = await openHost('passerelle', 0, { issuer: '', suffix: 'localhost', ports: 'any' }, (request, response) => { answer(request, response).catch(error => response.destroy(error)) })
  const standIn = await startWorld({ issuer: host.origin })
  const provider = new Provider(host.origin, {
    adapter: createStore(1000),
    clients: Object.values(standIn.services).map(({ row, client_secret, redirect_uri, post_logout_redirect_uri }) => ({
      client_id: row.client_id,
      ...(client_secret && { client_secret }),
      token_endpoint_auth_method: row.token_endpoint_auth_method,
      id_token_signed_response_alg: row.id_token_signed_response_alg,
      redirect_uris: [redirect_uri],
      post_logout_redirect_uris: [post_logout_redirect_uri]
    })),
    jwks: { keys: [createKey('RS256'), createKey('ES256')] },
    cookies: { keys: ['a key for a test'] },
    claims: { openid: ['sub', 'acr'], profile: ['given_name', 'family_name'], identite_pivot: ['given_name', 'birthplace'], email: ['email'], birth: ['birthcountry'] },
    acrValues: ['eidas1'],
    clientBasedCORS: () => false,
    features: { devInteractions: { enabled: false }, dPoP: { enabled: false }, rpInitiatedLogout: { enabled: true, logoutSource: (ctx: Context, form: string) => { ctx.body = form.replace('</form>', '<button id="log-out" name="logout" value="yes">Yes</button></form>') } } },
    ttl: { AccessToken: 60, AuthorizationCode: 60, Grant: 60, IdToken: 60, Interaction: 60, Session: 60 },
    loadExistingGrant: async ({ oidc }: Context) => {
      const grant = new oidc.provider.Grant({ accountId: 'marion', clientId: oidc.client.clientId })
      grant.addOIDCScope(oidc.params['scope'] ?? '')
      await grant.save()
      return grant
    },
    findAccount: () => ({ accountId: 'marion', claims: () => ({ sub: 'marion', ...citizens[0]!.claims }) })
  })
  const callback = provider.callback()
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    if (!request.url!.startsWith('/interaction/')) return callback(request, response)
    const { prompt } = await provider.interactionDetails(request, response)
    const body = Buffer.concat(await Array.fromAsync(request)).toString()
    if (prompt.name !== 'login') return provider.interactionFinished(request, response, { consent: {} })
    if (body.includes('refuse')) return provider.interactionFinished(request, response, { error: 'access_denied', error_description: 'refused' })
    if (body === 'consent=yes&decision=continue') return provider.interactionFinished(request, response, { login: { accountId: 'marion', acr: 'eidas1' } })
    response.end(request.url!.endsWith('?chosen')
      ? '<form method="post"><input type="checkbox" name="consent" value="yes"><button name="decision" value="continue">1</button><button name="decision" value="refuse">2</button></form>'
      : `<a id="idp-vitalys" href="${request.url}?chosen">Vitalys</a>`)
  }
  return { world: standIn, stop: async () => { await standIn.stop(); await host.stop() } }
}

t.test('services log a citizen in and out, each in its own way', async t => {
  const { world, stop } = await startStandIn()
  t.teardown(stop)
  for (const service of Object.keys(world.services)) {
    const { url } = world.services[service]!
    const browser = createBrowser()
    t.teardown(() => browser.close())
    const visit = { world, service, provider: 'vitalys', citizen: 'marion' }

    const refused = await logIn(browser, { ...visit, decision: 'refuse' })
    t.equal(refused.text('error-code'), 'access_denied')
    t.equal((await logIn(browser, { ...visit, consent: false })).url.startsWith(url), false, 'the way ends where agreement is missing')

    const greeted = await logIn(browser, { ...visit, query: { scope: 'openid profile', max_age: '60' } })
    t.equal(greeted.url, `${url}/`)
    t.match(readGreeting(greeted), { sub: 'marion', acr: 'eidas1', given_name: 'Marion Élise' })

    const page = await browser.click('log-out')
    t.match(page.body, /op\.logoutForm/)
    const away = await browser.click('log-out')
    t.ok(away.has('logged-out'), 'and out again')
    t.ok((await browser.get(url)).has('log-in'))

    const elsewhere = await logIn(browser, { ...visit, query: { onward: 'yes' } })
    t.match(elsewhere.url, /^http:\/\/espace\./, 'a callback may lead to another host')
    t.ok(elsewhere.has('greeting'))
    const high = await logIn(browser, { ...visit, query: { acr_values: 'eidas2' } })
    t.match(high.text('error-description'), /eidas2 was asked/, 'a level too low is refused')
  }
})

t.test('two tabs of one service both finish', async t => {
  const { world, stop } = await startStandIn()
  t.teardown(stop)
  const browser = createBrowser()
  t.teardown(() => browser.close())
  const { url } = world.services['taxes']!
  const first = await browser.get(`${url}/login`)
  const second = await browser.get(`${url}/login`)
  for (const tab of [first, second]) {
    browser.page = tab
    const form = await browser.click('idp-vitalys')
    const page = form.has('greeting') ? form : await browser.submit(form.forms[0]!, { consent: 'yes' }, form.forms[0]!.buttons[0]!)
    t.ok(page.has('greeting'), page.url)
  }
})

t.test('the written configuration is complete, valid, and takes changes', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'passerelle-world-test-'))
  t.teardown(() => rm(directory, { recursive: true }))
  await world.writeConfiguration(directory, {
    settings: { session: { idle_seconds: 60 }, operations: { port: 0 } },
    clients: { town: { consent: 'skip', identity_providers: { allow: ['vitalys'] } }, 'social-security': null },
    identityProviders: { vitalys: { state: 'maintenance', timeout_ms: 500 }, ondelis: { endpoints: { userinfo_endpoint: 'http://ondelis.localhost/elsewhere' } } }
  })
  const read = async (path: string) => parse(await readFile(join(directory, path), 'utf8'))
  const settings = await read('passerelle.yaml')
  t.match(settings, { issuer, environment: 'development', session: { idle_seconds: 60 }, operations: { host: '127.0.0.1', port: 0 } })
  t.strictSame(await readdir(join(directory, 'clients')), ['taxes.yaml', 'town.yaml'])
  t.match(await read('clients/town.yaml'), { consent: 'skip', identity_providers: { allow: ['vitalys'] }, token_endpoint_auth_method: 'client_secret_post' })
  t.match(await read('identity-providers/vitalys.yaml'), { state: 'maintenance', timeout_ms: 500, issuer: world.providers['vitalys']!.issuer })
  t.match(await read('identity-providers/ondelis.yaml'), { endpoints: { userinfo_endpoint: 'http://ondelis.localhost/elsewhere', token_endpoint: /token/ } })

  for (const [folder, schema] of [['.', Settings], ['clients', Client], ['identity-providers', Registration]] as const) {
    for (const name of (await readdir(join(directory, folder))).filter(name => name.endsWith('.yaml'))) {
      const value = await read(join(folder, name))
      t.strictSame([...Value.Errors(schema, Value.Default(schema, structuredClone(value)))], [], name)
      for (const path of files(value)) t.ok((await stat(join(directory, path))).size > 0, `${name} names ${path}`)
    }
  }
  t.equal((await stat(join(directory, 'secrets/client-taxes'))).mode & 0o777, 0o600)
})

const files = (value: unknown): string[] => typeof value === 'string'
  ? /^(secrets|logos)\//.test(value) ? [value] : []
  : typeof value === 'object' && value !== null ? Object.values(value).flatMap(files) : []

t.test('the cookie jar keeps to host, path, SameSite, prefix and expiry (RFC 6265bis)', async t => {
  const jar = createJar()
  const here = new URL('https://one.test/a/b')
  jar.keep(here, ['plain=1', 'host=2; Path=/', '__Host-good=3; Secure; Path=/; SameSite=Lax', 'strict=4; Path=/; SameSite=Strict', 'none=5; Path=/; Secure; SameSite=None', 'gone=6; Path=/; Max-Age=0'])
  jar.keep(here, ['__Host-path=1; Secure; Path=/a', '__Host-domain=1; Secure; Path=/; Domain=one.test', '__Host-bare=1; Path=/', 'other=1; Domain=two.test'])
  t.equal(jar.header(here, 'GET', false), 'plain=1; host=2; __Host-good=3; strict=4; none=5')
  t.equal(jar.header(new URL('https://one.test/'), 'GET', true), 'host=2; __Host-good=3; none=5')
  t.equal(jar.header(new URL('https://one.test/'), 'POST', true), 'none=5')
  t.equal(jar.header(new URL('http://one.test/'), 'GET', false), 'host=2; strict=4', 'no Secure cookie without https')
  t.equal(jar.header(new URL('https://sub.one.test/'), 'GET', false), '')
  jar.keep(here, 'host=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT')
  t.equal(jar.header(new URL('https://one.test/'), 'POST', true), 'none=5')
  t.notMatch(jar.header(new URL('https://one.test/'), 'GET', false), /host=2/)
  jar.keep(new URL('http://one.test/'), 'secure=1; Secure')
  t.notMatch(jar.header(here, 'GET', false), /secure=1/)
})

t.end()
