import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import { loneNoticeboard } from '../src/adapters/redis-noticeboard.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { life } from '../src/records.ts'
import { makeNextKeys } from '../src/keys.ts'
import { makeCertificate } from './support/certificate.ts'
import { temporaryDirectory } from './support/gateway.ts'
import { base, basic, secretOf, testApp, type Arrival, type Browser, type Page, type TestApp, type TestOptions, type Way } from './support/test-app.ts'

// The configuration changes while citizens are on their way.

type Change = Pick<TestOptions, 'settings' | 'clients' | 'identityProviders'>
type Outcome = 'arrives' | 'chooses again' | 'another provider' | 'A01' | 'A02' | 'A03' | 'invalid_client' | 'invalid_token'

/** Where citizens and clients can be at that moment, each in a browser of its own. */
async function underWay (gateway: TestApp) {
  const browsers = Array.from({ length: 4 }, () => gateway.browser()) as [Browser, Browser, Browser, Browser]
  const atChooser = await browsers[0].start('agency')
  const started = await browsers[1].start('agency')
  const atProvider = { ...started, page: await browsers[1].choose(started.page) }
  const atConsent = await browsers[2].toConsent('agency')
  const withCode = await browsers[3].logIn('agency')
  const arrival = await gateway.browser().logIn('agency')
  const { access_token } = (await gateway.redeem(arrival)).body
  return { browsers, atChooser, atProvider, atConsent, withCode, access_token: String(access_token) }
}

async function ends (gateway: TestApp, way: Way, page: Page, credentials: { authorization: string }): Promise<Outcome | string> {
  const code = page.query.get('code')
  if (code !== null) return redeemed(gateway, { ...way, code, page }, credentials)
  return page.code ?? `${page.status} ${page.location}`
}

async function redeemed (gateway: TestApp, { code, code_verifier, parameters }: Arrival, credentials: { authorization: string }): Promise<string> {
  const form = { grant_type: 'authorization_code', code, redirect_uri: parameters['redirect_uri']!, code_verifier }
  const { body } = await gateway.token(form, credentials)
  return typeof body['access_token'] === 'string' && (await gateway.userinfo(body['access_token'])).status === 200 ? 'arrives' : String(body['error'])
}

/** How each of them gets on: by one click more on the chooser where need be. */
async function goOn (gateway: TestApp, { browsers, atChooser, atProvider, atConsent, withCode, access_token }: Awaited<ReturnType<typeof underWay>>, credentials: { authorization: string }) {
  const finish = async (browser: Browser, way: Way, page: Page) => {
    if (page.link('idp-post') === undefined) return ends(gateway, way, page.fields['login'] === undefined ? page : await browser.agree(page), credentials)
    const consent = await browser.comeBack(await browser.choose(page, 'post'))
    const outcome = await ends(gateway, way, await browser.agree(consent), credentials)
    return outcome === 'arrives' ? 'chooses again' : outcome
  }
  const clicked = await browsers[0].get(atChooser.page.link('idp-taxes')!)
  const chosen = clicked.location.startsWith('https://taxes.example') ? await browsers[0].comeBack(clicked) : await browsers[0].follow(clicked)
  return {
    atChooser: await finish(browsers[0], atChooser, chosen),
    atProvider: await finish(browsers[1], atProvider, await browsers[1].comeBack(atProvider.page)),
    atConsent: await finish(browsers[2], atConsent, await browsers[2].follow(await browsers[2].agree(atConsent.page))),
    withCode: await redeemed(gateway, withCode, credentials),
    withToken: (await gateway.userinfo(access_token)).status === 200 ? 'arrives' : 'invalid_token'
  }
}

const all = (outcome: Outcome) => ({ atChooser: outcome, atProvider: outcome, atConsent: outcome, withCode: outcome, withToken: outcome })
const everybody = all('arrives')
const ofAgency = { authorization: basic('agency', secretOf('agency')) }

/** The keys of a gateway in a directory of its own, which a test can change. */
function ownKeys (t: Test, gateway: { now: () => number }) {
  const keys = join(temporaryDirectory(t), 'keys')
  makeNextKeys(keys, gateway.now() - 86_400)
  return keys
}

t.test('whatever changes, a citizen who is on the way arrives, or is told by name what stands in the way', async t => {
  const rows: Array<[what: string, change: Change, expected: Record<string, Outcome>]> = [
    ['a provider is added', { identityProviders: { fresh: { title: 'Fresh', acr_values: ['eidas1'] } } }, everybody],
    ['another provider is removed', { identityProviders: { works: null }, clients: { agency: { idp_hints: [] } } }, everybody],
    ['another provider is disabled', { identityProviders: { post: { state: 'disabled' } } }, everybody],
    ['everything about this provider that is only shown', { identityProviders: { taxes: { title: 'Duties', order: 99, state: 'beta' } } }, everybody],
    ['how this provider is spoken to', { identityProviders: { taxes: { timeout_ms: 1234, breaker: { volume: 3 } } } }, everybody],
    ['this provider is disabled: whoever is there comes back', { identityProviders: { taxes: { state: 'disabled' } } }, { ...everybody, atChooser: 'chooses again' }],
    ['this provider goes into maintenance', { identityProviders: { taxes: { state: 'maintenance' } } }, { ...everybody, atChooser: 'chooses again' }],
    ['this provider is removed: nothing of it is believed any more', { identityProviders: { taxes: null }, clients: { agency: { idp_hints: [] }, wary: { idp_hints: [], identity_providers: { deny: [] } } } }, { ...everybody, atChooser: 'chooses again', atProvider: 'chooses again', atConsent: 'chooses again' }],
    ['a client is added', { clients: { fresh: { redirect_uris: ['https://fresh.example/back'] } } }, everybody],
    ['another client is removed', { clients: { town: null } }, everybody],
    ['another client is closed', { clients: { town: { active: false } } }, everybody],
    ['this client is told otherwise', { clients: { agency: { title: 'The Agency', scopes: ['openid', 'profile'] } } }, everybody],
    ['this client is closed', { clients: { agency: { active: false } } }, { ...all('A02'), withCode: 'invalid_client', withToken: 'invalid_token' }],
    ['this client is removed', { clients: { agency: null } }, { ...all('A01'), withCode: 'invalid_client', withToken: 'invalid_token' }],
    ['the address of this client is removed', { clients: { agency: { redirect_uris: ['https://agency.example/other?tab=1'] } } }, { ...all('A03'), withCode: 'arrives', withToken: 'arrives' }],
    ['a session may last for less', { settings: { session: { idle_seconds: 60, life_seconds: 120 } } }, everybody]
  ]
  for (const [what, change, expected] of rows) {
    const gateway = await testApp(t)
    const citizens = await underWay(gateway)
    t.equal(gateway.reconfigure(change), 'taken', what)
    t.same(await goOn(gateway, citizens, ofAgency), expected, what)
  }
})

t.test('what is refused changes nothing for anybody: a broken file, a missing secret, what only a start can change', async t => {
  const rows: Array<[what: string, change: Change, outcome: string, problem: RegExp]> = [
    ['an address that is none', { clients: { agency: { redirect_uris: ['ftp://x'] } }, identityProviders: { post: null } }, 'invalid', /^clients\/agency\.yaml: \/redirect_uris\/0: /],
    ['a provider that a client names and that is gone', { identityProviders: { taxes: null } }, 'invalid', /^clients\/agency\.yaml: \/idp_hints: taxes is not an identity provider/],
    ['a secret that is nowhere', { clients: { agency: { client_secrets: [{ file: 'secrets/nowhere' }] } } }, 'invalid', /nowhere cannot be read \(ENOENT\)/],
    ['another issuer', { settings: { issuer: 'https://elsewhere.example' }, clients: { agency: { active: false } } }, 'start_needed', /^passerelle\.yaml: \/issuer: another value is taken up at the next start only$/],
    ['another site', { settings: { site: 'b' }, clients: { agency: null } }, 'start_needed', /\/site: /],
    ['other proxies', { settings: { trusted_proxies: ['10.0.0.0/8'] } }, 'start_needed', /\/trusted_proxies: /],
    ['another port', { settings: { listen: { port: 1 } } }, 'start_needed', /\/listen\/port: /],
    ['another address for operators', { settings: { operations: { host: '0.0.0.0' } } }, 'start_needed', /\/operations\/host: /],
    ['another Redis', { settings: { redis: { node_timeout_ms: 1500 } } }, 'start_needed', /\/redis: /],
    ['sites', { settings: { sites: [{ site: 'a', urls: ['redis://127.0.0.1:1'] }] } }, 'start_needed', /\/sites: /],
    ['another environment', { settings: { environment: 'development' } }, 'start_needed', /\/environment: /],
    ['sub made of something else', { settings: { identity: { subject: 'upstream' } } }, 'start_needed', /\/identity\/subject: /]
  ]
  const gateway = await testApp(t)
  const before = gateway.app.configuration
  for (const [what, change, outcome, problem] of rows) {
    const logged = gateway.log.length
    t.equal(gateway.reconfigure(change), outcome, what)
    t.equal(gateway.app.configuration, before, 'all that was in force is')
    const { level, problems } = JSON.parse(gateway.log.slice(logged).find(line => line.includes('configuration refused'))!) as { level: number, problems: string[] }
    t.equal(level, 50)
    t.ok(problems.some(line => problem.test(line)), `${what}: ${problems.join('; ')}`)
    t.equal(await gateway.metric('passerelle_configuration_last_reload_successful'), 0)
    t.equal(await gateway.metric('passerelle_configuration_info', { hash: before.hash }), 1)
  }
  t.same(await goOn(gateway, await underWay(gateway), ofAgency), everybody)
  t.equal(await gateway.metric('passerelle_configuration_reloads_total', { outcome: 'invalid' }), 3)
  t.equal(await gateway.metric('passerelle_configuration_reloads_total', { outcome: 'start_needed' }), 9)

  t.equal(gateway.reconfigure({}), 'unchanged', 'and when the files are again what is in force, that is said')
  t.equal(await gateway.metric('passerelle_configuration_last_reload_successful'), 1)
  t.match(gateway.log.at(-1), /again the one in force/)
})

t.test('what connections to Redis are made of is taken at a start, also where only what a file holds is other than it was', async t => {
  const [ours, next] = await Promise.all([makeCertificate(['ours']), makeCertificate(['next'])])
  const folder = temporaryDirectory(t)
  const file = (name: string) => join(folder, name)
  const write = (changes: Record<string, string> = {}) => {
    const held = { password: 'a password of sixteen or more', 'ca.pem': ours.cert, 'ours.pem': ours.cert, 'ours.key': ours.key, ...changes }
    for (const [name, content] of Object.entries(held)) writeFileSync(file(name), `${content}\n`)
  }
  write()
  const way = { urls: ['rediss://127.0.0.1:1'], password: { file: file('password') }, ca: file('ca.pem'), tls_client: { certificate: file('ours.pem'), key: file('ours.key') } }
  const rows: Array<[name: string, changes: Record<string, string>]> = [
    ['password', { password: 'another password of sixteen or more' }],
    ['ca', { 'ca.pem': `${ours.cert}\n${next.cert}` }],
    ['tls_client', { 'ours.pem': next.cert, 'ours.key': next.key }]
  ]
  for (const [path, settings] of [['/redis', { redis: way }], ['/sites/1', { sites: [{ site: 'a', urls: ['rediss://127.0.0.1:1'] }, { site: 'b', ...way }] }]] as const) {
    const gateway = await testApp(t, { settings, noticeboard: loneNoticeboard })
    for (const [name, changes] of rows) {
      write(changes)
      t.equal(gateway.reconfigure({ settings }), 'start_needed', `${path}/${name}`)
      t.same(JSON.parse(gateway.log.at(-1)!).problems, [`passerelle.yaml: ${path}/${name}: another value is taken up at the next start only`])
      write()
      t.equal(gateway.reconfigure({ settings }), 'unchanged', 'as it was')
    }
  }
})

t.test('the secret behind sub is not changed by a file', async t => {
  const gateway = await testApp(t)
  const other = join(temporaryDirectory(t), 'keys')
  makeNextKeys(other, gateway.now() - 1)
  t.equal(gateway.reconfigure({ settings: { keys: other } }), 'start_needed')
  t.match(gateway.log.at(-1), /subject\.json: expected the secret behind sub as it is/)
})

t.test('which configuration is in force since when is a figure, on each replica, and the log says what came and went', async t => {
  const gateway = await testApp(t)
  const before = gateway.app.configuration.hash
  gateway.wait(100)
  t.equal(gateway.reconfigure({ clients: { fresh: { redirect_uris: ['https://fresh.example/back'] }, town: null }, identityProviders: { post: { title: 'The Post' } } }), 'taken')
  const { hash } = gateway.app.configuration
  t.not(hash, before)
  t.equal(await gateway.metric('passerelle_configuration_info', { hash }), 1)
  t.equal(await gateway.metric('passerelle_configuration_info'), 1, 'the one before is not shown beside it')
  t.equal(await gateway.metric('passerelle_configuration_loaded_timestamp_seconds'), gateway.now())
  t.match(JSON.parse(gateway.log.at(-1)!), { msg: 'configuration taken', configuration: hash, before, clients: { added: ['fresh'], removed: ['town'], changed: [] }, identityProviders: { added: [], removed: [], changed: ['post'] } })
})

t.test('of a client two secrets are good at a time: one comes, and one goes, and no call fails', async t => {
  const gateway = await testApp(t)
  const next = { authorization: basic('agency', 'the next secret of agency, long enough') }
  const file = join(temporaryDirectory(t), 'next')
  writeFileSync(file, 'the next secret of agency, long enough\n')
  const citizens = await underWay(gateway)
  t.equal(await redeemed(gateway, await gateway.browser().logIn('agency'), next), 'invalid_client', 'not yet')
  t.equal(gateway.reconfigure({ clients: { agency: { client_secrets: [{ file: 'secrets/agency' }, { file }] } } }), 'taken')
  t.same(await goOn(gateway, citizens, next), everybody, 'the new one')
  t.same(await goOn(gateway, await underWay(gateway), ofAgency), everybody, 'and the old one')
  t.equal(gateway.reconfigure({ clients: { agency: { client_secrets: [{ file }] } } }), 'taken')
  t.equal(await redeemed(gateway, await gateway.browser().logIn('agency'), ofAgency), 'invalid_client', 'and then it is gone')
  t.equal(await redeemed(gateway, await gateway.browser().logIn('agency'), next), 'arrives')
})

t.test('a client that is taken away while its citizen comes back is answered by a page, and nothing is sent to it', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page } = await browser.start('agency')
  const atProvider = await browser.choose(page)
  const { identify } = gateway.providers['taxes']!
  gateway.providers['taxes']!.identify = async function (...asked) {
    gateway.reconfigure({ clients: { agency: null } })
    return identify.apply(this, asked)
  }
  const came = await browser.get(browser.callback(atProvider))
  t.match(came, { status: 400, code: 'A01', location: '' })
})

t.test('a provider that is taken away while it is asked about a citizen has its say, and vouches for nobody', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page } = await browser.start('agency')
  const atProvider = await browser.choose(page)
  const { identify } = gateway.providers['taxes']!
  gateway.providers['taxes']!.identify = async function (...asked) {
    t.equal(gateway.reconfigure({ identityProviders: { taxes: null }, clients: { agency: { idp_hints: [] }, wary: { idp_hints: [], identity_providers: { deny: [] } } } }), 'taken')
    return identify.apply(this, asked)
  }
  const came = await browser.comeBack(atProvider)
  t.equal(came.notice, 'provider_unavailable', 'the chooser, the request intact')
  t.ok(came.link('idp-post'))
})

t.test('what did not change stays what it was: with it what was fetched for it', async t => {
  const gateway = await testApp(t)
  const { app } = gateway
  const [agency, notary, taxes] = [app.client('agency')!, app.client('notary')!, app.configuration.identityProviders.get('taxes')!]
  const [signing, sealing] = [app.configuration.keys.signing[0]!, app.configuration.keys.sealing[0]!]
  const keys = app.clientKeys(notary)
  gateway.reconfigure({ clients: { town: { title: 'Town' } } })
  t.equal(app.client('agency'), agency)
  t.equal(app.client('notary'), notary)
  t.equal(app.configuration.identityProviders.get('taxes'), taxes)
  t.equal(app.configuration.keys.signing[0], signing)
  t.equal(app.configuration.keys.sealing[0], sealing)
  t.not(app.client('town')!.title, 'town')

  gateway.reconfigure({ clients: { notary: { title: 'The Notary' } } })
  t.not(app.client('notary'), notary)
  t.equal(app.clientKeys(app.client('notary')!), keys, 'a new title costs nobody the keys that were fetched')
  gateway.reconfigure({ clients: { notary: { jwks: null, jwks_uri: 'https://notary.example/jwks' } } })
  t.not(app.clientKeys(app.client('notary')!), keys, 'other keys are others')
})

t.test('a logo that was replaced stays for the pages that show it, and then goes', async t => {
  const gateway = await testApp(t)
  const logo = join(temporaryDirectory(t), 'logo.svg')
  const shown = async () => /src="([^"]*\/assets\/[^"]+\.svg)"/g.exec((await gateway.browser().start('agency')).page.body.split('id="idp-taxes"')[1]!)?.[1]
  const status = async (path: string | undefined) => (await gateway.app.inject(path!)).statusCode
  writeFileSync(logo, '<svg xmlns="http://www.w3.org/2000/svg"><title>one</title></svg>')
  gateway.reconfigure({ identityProviders: { taxes: { logo } } })
  const one = await shown()
  writeFileSync(logo, '<svg xmlns="http://www.w3.org/2000/svg"><title>two</title></svg>')
  gateway.reconfigure({ identityProviders: { taxes: { logo } } })
  const two = await shown()
  t.not(one, two)
  t.same([await status(one), await status(two)], [200, 200])
  gateway.wait(life.login - 1)
  gateway.reconfigure({ identityProviders: { taxes: { logo, title: 'T' } } })
  t.equal(await status(one), 200)
  gateway.wait(1)
  gateway.reconfigure({ identityProviders: { taxes: { logo } } })
  t.same([await status(one), await status(two)], [404, 200])
})

t.test('settings are looked at when they are needed: levels, sessions, required claims, and who may call from a browser', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency')
  const silently = async () => (await browser.start('agency', { prompt: 'none' })).page.query.get('error') ?? 'code'
  t.equal(await silently(), 'code')
  gateway.reconfigure({ settings: { session: { acr_values: [] } } })
  t.equal(await silently(), 'interaction_required', 'sessions spare nobody the provider')
  gateway.reconfigure({ settings: { identity: { required_claims: ['given_name', 'family_name', 'gender', 'birthdate', 'birthcountry', 'address'] } } })
  const page = await gateway.browser().toConsent('agency')
  t.equal(page.page.notice, 'identity_incomplete')
  gateway.reconfigure({ settings: { acr: { default: 'eidas3' } } })
  t.equal((await gateway.browser().start('agency')).page.link('idp-post'), undefined, 'a level that post cannot give')

  const allowed = async (origin: string) => (await gateway.app.inject({ method: 'OPTIONS', url: `${base}/token`, headers: { origin, 'access-control-request-method': 'POST' } })).headers['access-control-allow-origin']
  t.equal(await allowed('https://pocket.example'), undefined)
  gateway.reconfigure({ clients: { pocket: { redirect_uris: ['https://pocket.example/back'], token_endpoint_auth_method: 'none', acr_values: ['eidas1'] }, mobile: null } })
  t.equal(await allowed('https://pocket.example'), 'https://pocket.example')
  t.equal(await allowed('https://mobile.example'), undefined)
})

t.test('whatever is thrown at it, the last good one stays', async t => {
  const { app } = await testApp(t)
  const before = app.configuration
  for (const read of [{ hash: 'x' }, { ...before, hash: 'x', clients: undefined }]) t.equal(app.reconfigure(read as never), 'invalid')
  t.equal(app.configuration, before)
})

t.test('a certificate of our own that was renewed is shown to whoever connects from then on', async t => {
  const files = temporaryDirectory(t)
  const renew = async () => {
    const { cert, key } = await makeCertificate(['passerelle.example'])
    writeFileSync(join(files, 'cert'), cert)
    writeFileSync(join(files, 'key'), key)
    return new X509Certificate(cert).fingerprint256
  }
  const first = await renew()
  const settings = { listen: { tls: { certificate: join(files, 'cert'), key: join(files, 'key') } } }
  const gateway = await testApp(t, { settings })
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = gateway.app.server.address() as AddressInfo
  const shown = async (options = {}) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options })
    await once(socket, 'secureConnect')
    const { fingerprint256 } = socket.getPeerCertificate()
    socket.destroy()
    return fingerprint256
  }
  t.equal(await shown(), first)
  const second = await renew()
  t.equal(gateway.reconfigure({ settings }), 'taken')
  t.equal(await shown(), second)
  await t.rejects(shown({ maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }), 'with no other ciphers than before')
  t.equal(gateway.reconfigure({}), 'start_needed', 'plain http is for a start')
  writeFileSync(join(files, 'key'), 'no key')
  t.equal(gateway.reconfigure({ settings }), 'invalid')
  t.equal(await shown(), second)
})

t.test('a part that cannot follow keeps no other from it', async t => {
  const gateway = await testApp(t)
  const seen: string[] = []
  gateway.app.onReconfigured(() => { throw new Error('cannot follow') })
  gateway.app.onReconfigured(({ hash }) => { seen.push(hash) })
  t.equal(gateway.reconfigure({ clients: { town: null } }), 'taken')
  t.same(seen, [gateway.app.configuration.hash])
  t.ok(gateway.log.some(line => line.includes('one part did not follow')))
})

t.test('how old keys are and when the next come is a figure for each kind', async t => {
  const gateway = await testApp(t)
  const keys = ownKeys(t, gateway)
  const withKeys = await testApp(t, { settings: { keys } })
  const age = (labels: Record<string, string>) => withKeys.metric('passerelle_key_age_seconds', labels)
  t.equal(await age({ kind: 'sealing' }), 86_400)
  t.equal(await age({ kind: 'signing', alg: 'ES256' }), 86_400)
  t.equal(await withKeys.metric('passerelle_key_next_seconds'), 0, 'none waits')
  makeNextKeys(keys, withKeys.now())
  t.equal(withKeys.app.reconfigure(loadConfiguration(withKeys.directory)), 'taken')
  for (const [kind, alg] of [['sealing', 'A256GCM'], ['signing', 'RS256'], ['decryption', 'ECDH-ES']] as const) t.equal(await withKeys.metric('passerelle_key_next_seconds', { kind, alg }), 1500, alg)
  withKeys.wait(1500)
  t.equal(await age({ kind: 'sealing' }), 0)
  t.equal(await withKeys.metric('passerelle_key_next_seconds'), 0)
})
