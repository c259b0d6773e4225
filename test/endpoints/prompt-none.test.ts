import t, { type Test } from 'tap'
import { base, issuer, neighbour, testApp, type Browser, type TestApp } from '../support/test-app.ts'

type Changes = Record<string, string | undefined>

/** Asks without a page: what the client is told, and that the citizen sees and loses nothing. */
async function ask (t: Test, gateway: TestApp, browser: Browser, client: string, changes: Changes, expected: string, name: string) {
  const before = browser.cookies()
  const asked = gateway.providers['taxes']!.asked.length
  const { page, parameters } = await browser.start(client, { prompt: 'none', ...changes })
  t.equal(page.status, 303, name)
  t.ok(page.location.startsWith(`https://${client}.example/back?`), `${name}: to the client`)
  t.strictSame([page.query.get('error') ?? 'code', page.query.get('state'), page.query.get('iss')], [expected, parameters['state'], issuer], `${name}: ${expected}`)
  t.equal(page.body, '', `${name}: no page`)
  t.equal(gateway.providers['taxes']!.asked.length, asked, `${name}: no provider is asked`)
  if (expected === 'code') return
  t.strictSame(page.setCookies, [], `${name}: no login is begun, no session is lost`)
  t.strictSame(browser.cookies(), before)
}

const loggedIn = async (gateway: TestApp, options: { client?: string, changes?: Changes } = {}) => {
  const browser = gateway.browser()
  await browser.logIn(options.client ?? 'agency', { changes: { scope: 'openid profile', ...options.changes } })
  return browser
}

t.test('login_required: nobody is logged in, or not as it is asked (OpenID Connect Core §3.1.2.6)', async t => {
  const gateway = await testApp(t)
  const { id_token } = (await gateway.redeem(await gateway.browser().logIn('agency'))).body as { id_token: string }
  await ask(t, gateway, gateway.browser(), 'agency', {}, 'login_required', 'no session')
  for (const handle of ['x', `a-${'A'.repeat(43)}`, '__proto__']) {
    const browser = gateway.browser()
    browser.setCookie('__Host-session', handle)
    await ask(t, gateway, browser, 'agency', {}, 'login_required', `the handle ${handle.slice(0, 10)}`)
  }
  const browser = await loggedIn(gateway)
  await ask(t, gateway, browser, 'clinic', {}, 'login_required', 'a service without single sign-on')
  await ask(t, gateway, browser, 'agency', { max_age: '0' }, 'login_required', 'max_age=0')
  await ask(t, gateway, browser, 'agency', { claims: '{"id_token":{"sub":{"value":"somebody-else"}}}' }, 'login_required', 'another sub')
  gateway.wait(100)
  await ask(t, gateway, browser, 'agency', { max_age: '99' }, 'login_required', 'too long ago')
  await ask(t, gateway, browser, 'agency', { max_age: '100' }, 'code', 'not too long ago')
  await ask(t, gateway, browser, 'agency', { id_token_hint: id_token }, 'code', 'the person that the hint names')
  gateway.providers['taxes']!.answer = { claims: neighbour }
  const other = await loggedIn(gateway)
  await ask(t, gateway, other, 'agency', { id_token_hint: id_token }, 'login_required', 'somebody else than the hint names')

  gateway.wait(1800)
  await ask(t, gateway, browser, 'agency', {}, 'login_required', 'idle for too long')
  const leaving = await loggedIn(gateway)
  await leaving.post(`${base}/session/end`, { ...(await leaving.get(`${base}/session/end`)).fields, decision: 'log-out' })
  await ask(t, gateway, leaving, 'agency', {}, 'login_required', 'logged out')
})

t.test('interaction_required: somebody is, at a level that is too low', async t => {
  const gateway = await testApp(t)
  const browser = await loggedIn(gateway)
  await ask(t, gateway, browser, 'agency', { acr_values: 'eidas2' }, 'interaction_required', 'a higher level')
  await ask(t, gateway, browser, 'agency', { claims: '{"id_token":{"acr":{"essential":true,"value":"eidas3"}}}' }, 'interaction_required', 'an essential level')
  await ask(t, gateway, browser, 'agency', { acr_values: 'eidas2', idp_hint: 'post' }, 'interaction_required', 'whatever is hinted')
  await ask(t, gateway, browser, 'wary', { acr_values: 'eidas2' }, 'interaction_required', 'by a provider that will not do either: a better login is needed first')
  const high = await loggedIn(gateway, { changes: { acr_values: 'eidas2' } })
  await ask(t, gateway, high, 'agency', { acr_values: 'eidas2' }, 'interaction_required', 'a level that is not shared, though it was reached')
  await ask(t, gateway, high, 'agency', {}, 'code', 'the lowest, of a better login')
  const shared = await testApp(t, { settings: { session: { acr_values: ['eidas1', 'eidas2'] } } })
  const there = await loggedIn(shared, { changes: { acr_values: 'eidas2' } })
  await ask(t, shared, there, 'agency', { acr_values: 'eidas2' }, 'code', 'a level that the operator shares')
  await ask(t, shared, there, 'agency', { acr_values: 'eidas3' }, 'interaction_required', 'a level beyond')
})

t.test('account_selection_required: somebody is, by a provider that this service does not accept', async t => {
  const gateway = await testApp(t, { clients: { mobile: { identity_providers: { allow: ['post'] } } } })
  const browser = await loggedIn(gateway)
  await ask(t, gateway, browser, 'wary', {}, 'account_selection_required', 'denied')
  await ask(t, gateway, browser, 'mobile', {}, 'account_selection_required', 'not among those allowed')
  gateway.providers['taxes']!.up = false
  await ask(t, gateway, browser, 'agency', {}, 'code', 'one that is down lets in still')
  gateway.app.configuration.identityProviders.get('taxes')!.state = 'disabled'
  await ask(t, gateway, browser, 'agency', {}, 'account_selection_required', 'disabled')
  gateway.app.configuration.identityProviders.delete('taxes')
  await ask(t, gateway, browser, 'agency', {}, 'account_selection_required', 'removed')
})

t.test('consent_required: somebody is, and has not read yet what this service is sent', async t => {
  const gateway = await testApp(t)
  const browser = await loggedIn(gateway)
  await ask(t, gateway, browser, 'agency', {}, 'code', 'what was read')
  await ask(t, gateway, browser, 'agency', { scope: 'openid' }, 'code', 'less')
  await ask(t, gateway, browser, 'agency', { scope: 'openid profile email' }, 'consent_required', 'more')
  await ask(t, gateway, browser, 'agency', { claims: '{"userinfo":{"phone_number":null}}' }, 'consent_required', 'more, by a single claim')
  for (const client of ['town', 'mobile', 'notary']) await ask(t, gateway, browser, client, {}, 'consent_required', `another service, ${client}`)
  await ask(t, gateway, browser, 'town', { scope: 'openid' }, 'code', 'an anonymous login: there is nothing to read')
  await ask(t, gateway, browser, 'swift', {}, 'code', 'a service without the page')
  await browser.agree(await browser.follow((await browser.start('mobile')).page), { decision: 'refuse' })
  await ask(t, gateway, browser, 'mobile', {}, 'consent_required', 'refused meanwhile')
  await browser.agree(await browser.follow((await browser.start('mobile')).page))
  await ask(t, gateway, browser, 'mobile', {}, 'code', 'agreed meanwhile')
})

t.test('by POST it is answered just so', async t => {
  const gateway = await testApp(t)
  const browser = await loggedIn(gateway)
  for (const [client, changes, expected] of [['agency', { acr_values: 'eidas2' }, 'interaction_required'], ['wary', {}, 'account_selection_required'], ['town', {}, 'consent_required'], ['clinic', {}, 'login_required'], ['agency', {}, null]] as const) {
    const redirect_uri = `https://${client}.example/back`
    const form = { client_id: client, redirect_uri, response_type: 'code', scope: 'openid profile', prompt: 'none', code_challenge: 'A'.repeat(43), code_challenge_method: 'S256', ...changes }
    const page = await browser.follow(await browser.post(`${base}/authorize`, form, { crossSite: true }))
    t.strictSame([page.status, page.query.get('error')], [303, expected], `${client} ${JSON.stringify(changes)}`)
  }
})

t.test('an unknown prompt, or none beside another, is refused', async t => {
  const gateway = await testApp(t)
  const browser = await loggedIn(gateway)
  for (const prompt of ['create', 'NONE', 'none login', 'none consent', 'login none', 'none,login', 'none\u00a0', '__proto__', 'login create']) {
    t.equal((await browser.start('agency', { prompt })).page.query.get('error'), 'invalid_request', JSON.stringify(prompt))
  }
  for (const prompt of ['login', 'consent', 'select_account', 'login consent select_account', ' login ', undefined, '']) {
    t.equal((await browser.start('agency', { prompt })).page.query.get('error'), null, JSON.stringify(prompt))
  }
})

t.test('each is counted by its own name', async t => {
  const gateway = await testApp(t)
  const browser = await loggedIn(gateway)
  for (const [client, changes] of [['agency', { acr_values: 'eidas2' }], ['wary', {}], ['town', {}], ['clinic', {}]] as const) await browser.start(client, { prompt: 'none', ...changes })
  for (const failure of ['interaction_required', 'account_selection_required', 'consent_required', 'login_required'] as const) t.equal(await gateway.counted(failure), 1, failure)
})
