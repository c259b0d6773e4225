import { Ajv2020 } from 'ajv/dist/2020.js'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { eventSchema, withTables } from '../src/explain/reference.ts'
import type { EventLine } from '../src/protocol/events.ts'
import { startGateway } from './support/gateway.ts'
import { base, testApp, type TestApp } from './support/test-app.ts'
import { createBrowser, logIn, readGreeting } from './world/browser.ts'

// What happened in a login, one line each: for support, for security, and for whoever counts.

t.setTimeout(60_000)
const isValid = new Ajv2020({ strict: false }).compile<EventLine>(JSON.parse(eventSchema()))

const eventsIn = (log: readonly string[]) => log.map(line => JSON.parse(line) as EventLine).filter(({ event }) => event !== undefined)
const stepsIn = (log: readonly string[]) => eventsIn(log).map(({ step, event }) => `${step ?? '-'} ${event}`)
/** What a failing request left: one event. */
const failureIn = ({ log }: TestApp, from: number) => {
  const failures = eventsIn(log.slice(from)).filter(({ failure }) => failure !== undefined)
  return failures.length === 1 ? failures[0]! : `${failures.length} events`
}

t.test('a whole login, by a real provider and a real client, is told from first to last by one id', async t => {
  const { world, log } = await startGateway(t)
  const browser = createBrowser()
  t.teardown(() => browser.close())
  const page = await logIn(browser, { world, service: 'town', provider: 'vitalys', citizen: 'marion' })
  t.ok(readGreeting(page)['sub'])
  t.strictSame(stepsIn(log), [
    '1.0 authorize', '2.0 chooser_shown', '3.0 provider_chosen', '4.0 called_back', '4.1 provider_token', '4.2 provider_userinfo', '5.0 verified', '6.0 information_shown', '6.1 consent_given',
    '7.0 returned', '7.2 token', '7.3 userinfo'
  ])
  const events = eventsIn(log)
  for (const event of events) t.ok(isValid(event), `${event.event}: ${JSON.stringify(isValid.errors)}`)
  t.equal(new Set(events.map(({ login }) => login)).size, 1, 'one login')
  t.ok(events.every(({ client_id, outcome, site, replica }) => client_id === world.services['town']!.client_id && outcome === 'success' && site === 'a' && replica !== ''))
  t.ok(events.slice(2).every(({ idp }) => idp === 'vitalys'), 'from the choice on by this provider')
  t.ok(events.filter(({ event }) => event.startsWith('provider_t') || event === 'provider_userinfo').every(({ ms }) => ms! >= 0))
  t.ok(events.every(event => !('sub' in event)), 'no event names a person')
})

t.test('single sign-on and logout name the login that opened the session', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const first = await browser.logIn('agency')
  const { body: { id_token } } = await gateway.redeem(first)
  const before = gateway.log.length
  const second = await browser.start('town')
  t.match(eventsIn(gateway.log.slice(before)), [{ event: 'authorize', client_id: 'town', login: second.login }, { event: 'sso_used', step: '1.1', idp: 'taxes', session_of: first.login }])
  const again = gateway.log.length
  await browser.get(`${base}/session/end?${new URLSearchParams({ id_token_hint: String(id_token) })}`)
  t.match(eventsIn(gateway.log.slice(again)), [{ event: 'logout_asked', step: '8.0', client_id: 'agency' }, { event: 'session_ended', step: '8.2', login: first.login, idp: 'taxes' }])
})

t.test('a service that names the provider, one that pushes its request and one that gives its token up are told, too', async t => {
  const gateway = await testApp(t)
  const hinted = await gateway.browser().start('agency', { idp_hint: 'taxes' })
  t.match(hinted.page.location, /\/login\/taxes/)
  t.strictSame(stepsIn(gateway.log), ['1.0 authorize', '2.1 hinted'])
  const pushed = await gateway.push('agency')
  const arrival = await gateway.browser().logIn('agency', { pushed })
  const { body: { access_token } } = await gateway.redeem(arrival)
  await gateway.postAs('agency', '/revocation', { token: String(access_token) })
  t.equal(gateway.events('pushed').length, 1)
  t.match(gateway.events('revocation'), [{ step: '7.5', login: arrival.login, client_id: 'agency' }])
})

t.test('a request that fails leaves one event: the step that did not happen, on whose side that is, and the code that the page shows', async t => {
  const gateway = await testApp(t)
  const rows: Array<[what: string, fail: () => Promise<unknown>, event: Partial<EventLine>]> = [
    ['an unknown service', () => gateway.browser().start('nobody'), { event: 'authorize', step: '1.0', outcome: 'client', failure: 'client_unknown', code: 'A01' }],
    ['a scope that is not its', () => gateway.browser().start('agency', { scope: 'nonsense' }), { event: 'authorize', outcome: 'client', failure: 'scope_invalid', client_id: 'agency' }],
    ['a provider in maintenance', async () => {
      const browser = gateway.browser()
      const { login } = await browser.start('agency')
      return browser.get(`${base}/login/works?login=${login}`)
    }, { event: 'provider_refused', step: '5.1', outcome: 'provider', failure: 'provider_maintenance' }],
    ['a login that is not here', () => gateway.browser().get(`${base}/callback/taxes?state=${'x'.repeat(22)}.y&code=z`), { event: 'called_back', step: '4.0', outcome: 'citizen', failure: 'login_unknown' }],
    ['a provider that says no', async () => {
      const browser = gateway.browser()
      return browser.get(browser.callback(await browser.choose((await browser.start('agency')).page), { error: 'access_denied' }))
    }, { event: 'called_back_with_error', step: '4.0.5', outcome: 'provider', failure: 'provider_refused', idp: 'taxes', client_id: 'agency' }],
    ['a citizen who refuses', async () => {
      const browser = gateway.browser()
      return browser.agree((await browser.toConsent('agency')).page, { decision: 'refuse' })
    }, { event: 'consent_refused', step: '6.2', outcome: 'citizen', failure: 'citizen_refused' }],
    ['a citizen who goes back', async () => {
      const browser = gateway.browser()
      const { login } = await browser.start('agency')
      return browser.get(`${base}/leave?login=${login}`)
    }, { event: 'consent_refused', outcome: 'citizen', failure: 'citizen_refused', login: /./ as never }],
    ['a code that nobody gave', () => gateway.postAs('agency', '/token', { grant_type: 'authorization_code', code: `a-${'x'.repeat(43)}`, redirect_uri: 'https://agency.example/callback', code_verifier: 'v'.repeat(43) }), { event: 'token', step: '7.2', outcome: 'client', failure: 'code_unknown', client_id: 'agency' }],
    ['a secret that is wrong', () => gateway.token({ grant_type: 'authorization_code', client_id: 'agency', client_secret: 'not the secret at all' }), { event: 'client_authentication_failed', security: true, outcome: 'client', failure: 'client_authentication_failed', client_id: 'agency' }],
    ['a token that is none', () => gateway.userinfo(`a-${'x'.repeat(43)}`), { event: 'userinfo', step: '7.3', outcome: 'client', failure: 'token_invalid' }],
    ['a page that is not there', () => gateway.app.inject('/wp-login.php'), { event: 'failed', outcome: 'us', failure: 'not_found' }]
  ]
  for (const [what, fail, event] of rows) {
    const before = gateway.log.length
    await fail()
    const left = failureIn(gateway, before)
    t.match(left, event, what)
    t.equal(Object.hasOwn(Object(left), 'security'), Object.hasOwn(event, 'security'), `${what}: whether it is for those who watch security`)
    t.ok(isValid(left), `${what}: ${JSON.stringify(isValid.errors)}`)
  }
})

t.test('a provider that cannot be reached is told with the step at which it failed', async t => {
  const gateway = await testApp(t)
  gateway.providers['taxes']!.failure = 'provider_timed_out'
  const before = gateway.log.length
  await gateway.browser().toConsent('agency')
  t.match(failureIn(gateway, before), { event: 'verified', step: '5.0', outcome: 'provider', failure: 'provider_timed_out', idp: 'taxes', level: 50 })
})

t.test('"a login was made in your name" is an event only where a service is to write to citizens, and names the person by the sub which that service knows', async t => {
  const gateway = await testApp(t, { settings: { login_notices: { client_id: 'town' } } })
  await gateway.redeem(await gateway.browser().logIn('agency'))
  const { body: { access_token } } = await gateway.redeem(await gateway.browser().logIn('town'))
  const { body: { sub } } = await gateway.userinfo(String(access_token))
  t.match(gateway.events('login_notice'), [{ step: '7.1', client_id: 'agency', idp: 'taxes', acr: 'eidas1', sub }, { client_id: 'town', sub }])
  t.ok(eventsIn(gateway.log).every(event => event.event === 'login_notice' || !('sub' in event)))

  const silent = await testApp(t)
  await silent.redeem(await silent.browser().logIn('agency'))
  t.equal(silent.events('login_notice').length, 0)
  t.notOk(silent.log.some(line => line.includes('"sub"')))
})

t.test('every answer names its request, whatever the request calls itself', async t => {
  const { app, log } = await testApp(t)
  for (const url of [`${base}/jwks`, `${base}/authorize`, '/nowhere']) {
    const { headers } = await app.inject({ url, headers: { 'x-request-id': 'chosen', 'request-id': 'chosen' } })
    t.match(headers['x-request-id'], /^[2-9A-HJ-NP-Z]{10}$/, url)
    t.equal((JSON.parse(log.at(-1)!) as EventLine).reqId, headers['x-request-id'], url)
  }
})

t.test('the line of a request has its route, and nothing that came with it', async t => {
  const { app, log } = await testApp(t)
  await app.inject(`${base}/authorize?client_id=nobody&state=a-secret-state`)
  const line = JSON.parse(log.at(-1)!)
  t.strictSame(Object.keys(line).sort(), ['level', 'ms', 'msg', 'pid', 'replica', 'req', 'reqId', 'res', 'site', 'time'])
  t.match(line, { msg: 'answered', req: { method: 'GET', route: `${base}/authorize` }, res: { statusCode: 400 } })
  t.notMatch(log.join(''), /a-secret-state/)
})

t.test('the reference is what the source says', t => {
  const read = (name: string) => readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8')
  t.equal(read('events.md'), withTables(read('events.md')))
  t.equal(read('events.schema.json'), eventSchema())
  t.end()
})
