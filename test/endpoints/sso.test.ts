import { decodeJwt } from 'jose'
import t, { type Test } from 'tap'
import { OAuthError } from '../../src/protocol/errors.ts'
import { base, neighbour, testApp, type Browser, type Page, type TestApp } from '../support/test-app.ts'

const outcomeOf = ({ status, location, query }: Page) =>
  status === 200 ? 'chooser' : location.startsWith(`${base}/consent`) ? 'consent' : query.has('code') ? 'code' : query.get('error')

/** What the next request of this browser leads to. */
const next = async (browser: Browser, client: string, changes: Record<string, string | undefined> = {}) => outcomeOf((await browser.start(client, changes)).page)

const tokensOf = async (gateway: TestApp, browser: Browser, client: string, changes: Record<string, string | undefined> = {}) => {
  const { body } = await gateway.redeem(await browser.logIn(client, { changes }))
  return { claims: decodeJwt(body['id_token']), access_token: body['access_token'] as string }
}

t.test('a second service skips the provider, and the information page is still shown', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency', { changes: { scope: 'openid' } })
  const { page, parameters } = await browser.start('mobile', { scope: 'openid profile email' })
  t.equal(outcomeOf(page), 'consent')
  const consent = await browser.follow(page)
  t.match(consent, { status: 200, body: /Service mobile[^]*Angèle/ })
  const end = await browser.agree(consent)
  t.equal(end.query.get('state'), parameters['state'])
  t.ok(end.query.get('code'))
  t.equal(gateway.providers['taxes']!.heard.length, 1, 'the provider was asked once')
  t.equal(await next(browser, 'town', { scope: 'openid profile' }), 'consent', 'with a checkbox too')
  const required = await browser.follow((await browser.start('town')).page)
  t.match((await browser.follow(await browser.agree(required, { consent: 'no' }))).body, /id="consent-error"/, 'which the server checks')
  t.equal(await next(browser, 'swift'), 'code', 'a service without the page gets its code')
  t.equal(await next(browser, 'swift', { prompt: 'consent' }), 'consent', 'but for prompt=consent')
})

t.test('who opened the session is told nothing about the others: what is sent is what each asked for', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency', { changes: { scope: 'openid' } })
  const { access_token } = await tokensOf(gateway, browser, 'mobile', { scope: 'openid email' })
  const { body: { sub, ...claims } } = await gateway.userinfo(access_token)
  t.strictSame(claims, { email: 'angele@courriel.example' })
})

t.test('it lives thirty minutes from its last use, eight hours at most', async t => {
  const gateway = await testApp(t)
  const idle = gateway.browser()
  await idle.logIn('agency')
  gateway.wait(30 * 60 - 1)
  t.equal(await next(idle, 'mobile'), 'consent', 'a second before')
  gateway.wait(30 * 60 - 1)
  t.equal(await next(idle, 'mobile'), 'consent', 'its use let it live on')
  gateway.wait(30 * 60)
  t.equal(await next(idle, 'mobile'), 'chooser', 'idle for thirty minutes')

  const busy = gateway.browser()
  await busy.logIn('agency')
  for (let minutes = 20; minutes < 8 * 60; minutes += 20) {
    gateway.wait(20 * 60)
    if (await next(busy, 'mobile') !== 'consent') t.fail(`ended after ${minutes} minutes of use`)
  }
  gateway.wait(20 * 60 - 1)
  t.equal(await next(busy, 'mobile'), 'consent', 'a second before eight hours')
  gateway.wait(1)
  t.equal(await next(busy, 'mobile'), 'chooser', 'eight hours, used all the time')
})

t.test('it does not stand in where a fresh or a better login is asked', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency')
  for (const [name, client, changes] of [
    ['prompt=login', 'mobile', { prompt: 'login' }],
    ['prompt=select_account', 'mobile', { prompt: 'select_account' }],
    ['a higher level', 'agency', { acr_values: 'eidas2' }],
    ['a service without single sign-on', 'clinic', {}],
    ['a service that denies this provider', 'wary', {}],
    ['max_age=0', 'mobile', { max_age: '0' }],
    ['another sub', 'mobile', { claims: '{"id_token":{"sub":{"value":"x"}}}' }]
  ] as const) t.equal(await next(browser, client, changes), 'chooser', name)

  gateway.wait(100)
  t.equal(await next(browser, 'mobile', { max_age: '99' }), 'chooser', 'max_age exceeded')
  t.equal(await next(browser, 'mobile', { max_age: '100' }), 'consent', 'max_age kept')
  t.equal(await next(browser, 'mobile'), 'consent', 'after all that the session is as it was')
})

t.test('a session of a provider that cannot prove a fresh login proves none either', async t => {
  for (const [name, registration, proves] of [
    ['that cannot', { reports_auth_time: false }, false],
    ['that always asks', { reports_auth_time: false, always_authenticates: true }, true],
    ['that could and did not', {}, false],
    ['that can', {}, true]
  ] as const) {
    const gateway = await testApp(t, { identityProviders: { taxes: registration } })
    const browser = gateway.browser()
    gateway.providers['taxes']!.answer = { auth_time: proves && !('always_authenticates' in registration) ? gateway.now() : undefined }
    await browser.logIn('agency')
    gateway.wait(10)
    t.equal(await next(browser, 'mobile', { max_age: '300' }), proves ? 'consent' : 'chooser', `a provider ${name}`)
    t.equal(await next(browser, 'agency', { max_age: '300', prompt: 'none' }), proves ? 'code' : 'login_required', `a provider ${name}, without a page`)
    t.equal(await next(browser, 'mobile'), 'consent', `a provider ${name}: where none is asked it lets the citizen in`)
  }
})

t.test('a higher level is not shared unless the operator says so', async t => {
  for (const [acr_values, expected] of [[undefined, 'chooser'], [['eidas1', 'eidas2'], 'consent']] as const) {
    const gateway = await testApp(t, { settings: { session: { acr_values } } })
    const browser = gateway.browser()
    await browser.logIn('agency', { changes: { acr_values: 'eidas2' } })
    t.equal(await next(browser, 'agency', { acr_values: 'eidas2' }), expected)
    t.equal(await next(browser, 'agency', { acr_values: 'eidas3' }), 'chooser', 'never above the level reached')
    t.equal(await next(browser, 'mobile'), 'consent', 'for the lowest level a better login will do')
  }
})

t.test('a provider that is disabled, or no longer there, lets nobody in by its sessions; one that is down does', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency')
  gateway.providers['taxes']!.up = false
  t.equal(await next(browser, 'mobile'), 'consent', 'down')
  gateway.app.configuration.identityProviders.get('taxes')!.state = 'disabled'
  t.equal(await next(browser, 'mobile'), 'chooser', 'disabled')
  gateway.app.configuration.identityProviders.delete('taxes')
  t.equal(await next(browser, 'mobile'), 'chooser', 'removed')
})

t.test('after a login at a service without single sign-on the next service is told all it asks for', async t => {
  const gateway = await testApp(t)
  for (const before of [[], ['agency']]) {
    const browser = gateway.browser()
    for (const client of [...before, 'clinic']) await browser.logIn(client, { changes: { scope: 'openid' } })
    const { access_token } = await tokensOf(gateway, browser, 'mobile', { scope: 'openid profile' })
    t.match((await gateway.userinfo(access_token)).body, { given_name: 'Angèle', family_name: 'Quiquempoix' }, `after ${before.join()} clinic`)
  }
})

t.test('prompt=none never shows a page (OpenID Connect Core §3.1.2.1)', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  t.equal(await next(browser, 'agency', { prompt: 'none' }), 'login_required', 'without a session')
  await browser.logIn('agency', { changes: { scope: 'openid profile' } })
  t.equal(await next(browser, 'mobile', { prompt: 'none' }), 'consent_required', 'the page was not read for this service')
  t.equal(await next(browser, 'agency', { prompt: 'none' }), 'code', 'it was read for this one')
  t.equal(await next(browser, 'agency', { prompt: 'none', scope: 'openid given_name' }), 'code', 'for less too')
  t.equal(await next(browser, 'agency', { prompt: 'none', scope: 'openid profile email' }), 'consent_required', 'for more it was not')
  t.equal(await next(browser, 'agency', { prompt: 'none', scope: 'openid', claims: '{"id_token":{"email":null}}' }), 'consent_required', 'nor for more in the ID Token')
  t.equal(await next(browser, 'swift', { prompt: 'none' }), 'code', 'a service without the page')
  for (const [name, client, changes, error] of [
    ['a higher level', 'agency', { acr_values: 'eidas2' }, 'interaction_required'],
    ['max_age', 'agency', { max_age: '0' }, 'login_required'],
    ['no single sign-on', 'clinic', {}, 'login_required'],
    ['a denied provider', 'wary', {}, 'account_selection_required'],
    ['an idp_hint', 'agency', { idp_hint: 'post', acr_values: 'eidas2' }, 'interaction_required']
  ] as const) t.equal(await next(browser, client, { ...changes, prompt: 'none' }), error, name)

  const { page } = await browser.start('agency', { prompt: 'none', scope: 'openid' })
  t.equal((await gateway.redeem({ code: page.query.get('code')!, parameters: { client_id: 'agency', redirect_uri: 'https://agency.example/back' }, code_verifier: '' })).status, 400)
  const consent = await browser.follow((await browser.start('mobile')).page)
  await browser.agree(consent)
  t.equal(await next(browser, 'mobile', { prompt: 'none' }), 'code', 'read meanwhile')
})

t.test('what was agreed in one session is not agreed in the next', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency')
  browser.setCookie('__Host-session', undefined)
  gateway.providers['taxes']!.answer = { claims: neighbour }
  await browser.logIn('mobile')
  t.equal(await next(browser, 'agency', { prompt: 'none' }), 'consent_required')
})

t.test('the handle changes when the citizen authenticates anew, sid stays; another person has another', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const first = await tokensOf(gateway, browser, 'agency')
  const handle = browser.cookies()['__Host-session']!

  const used = await tokensOf(gateway, browser, 'agency')
  t.equal(browser.cookies()['__Host-session'], handle, 'single sign-on keeps the handle')
  t.equal(used.claims['sid'], first.claims['sid'])

  const anew = await tokensOf(gateway, browser, 'agency', { prompt: 'login' })
  t.not(browser.cookies()['__Host-session'], handle, 'authenticated anew: another handle')
  t.equal(anew.claims['sid'], first.claims['sid'], 'the same sid')
  const thief = gateway.browser()
  thief.setCookie('__Host-session', handle)
  t.equal(await next(thief, 'mobile'), 'chooser', 'the old handle opens nothing')

  const town = await tokensOf(gateway, browser, 'town')
  t.not(town.claims['sid'], first.claims['sid'], 'two clients cannot compare theirs')

  gateway.providers['taxes']!.answer = { claims: neighbour }
  const other = await tokensOf(gateway, browser, 'agency', { prompt: 'login' })
  t.not(other.claims['sid'], first.claims['sid'], 'another person in the same browser')
  t.not(other.claims.sub, first.claims.sub)
  const mobile = await tokensOf(gateway, browser, 'mobile')
  t.match((await gateway.userinfo(mobile.access_token)).body, { given_name: 'Barnabé' }, 'and single sign-on speaks of that one')

  const elsewhere = await tokensOf(gateway, gateway.browser(), 'agency')
  t.not(elsewhere.claims['sid'], other.claims['sid'], 'another browser')
})

t.test('authenticated at another provider the person is the same, and so is sid', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const first = await tokensOf(gateway, browser, 'agency')
  const { body } = await gateway.redeem(await browser.logIn('agency', { idp: 'post', changes: { prompt: 'login' } }))
  const second = decodeJwt(body['id_token'])
  t.strictSame([second.sub, second['sid']], [first.claims.sub, first.claims['sid']])
})

t.test('auth_time is that of the authentication, acr the level that was asked of the session', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const at = gateway.now()
  await browser.logIn('agency', { changes: { acr_values: 'eidas2' } })
  gateway.wait(600)
  const { claims } = await tokensOf(gateway, browser, 'mobile')
  t.match(claims, { auth_time: at, iat: at + 600, acr: 'eidas1' })
})

/** A store that fails, and what must come of it. */
async function failing (t: Test, method: 'get' | 'ended' | 'entered' | 'put', outcomes: Array<[string, Record<string, string>, string]>) {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency')
  const before = browser.cookies()['__Host-session']
  gateway.store.fail(method)
  for (const [client, changes, outcome] of outcomes) t.equal(await next(browser, client, changes), outcome, `${method}: ${client} ${JSON.stringify(changes)}`)
  t.equal(browser.cookies()['__Host-session'], before, `${method}: the cookie stays`)
  gateway.store.heal()
  t.equal(await next(browser, 'mobile'), 'consent', `${method}: and works when the store is back`)
}

t.test('a session that cannot be read means the provider is asked again; with prompt=none it is temporarily_unavailable', async t => {
  await failing(t, 'get', [['mobile', {}, 'chooser'], ['agency', { prompt: 'none' }, 'temporarily_unavailable']])
  await failing(t, 'ended', [['mobile', {}, 'chooser'], ['agency', { prompt: 'none' }, 'temporarily_unavailable']])
  await failing(t, 'entered', [['agency', { prompt: 'none' }, 'temporarily_unavailable'], ['swift', {}, 'code']])
  await failing(t, 'put', [['agency', { prompt: 'none' }, 'temporarily_unavailable'], ['swift', {}, 'temporarily_unavailable']])
})

t.test('a session that is read too slowly is not waited for', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency')
  const patience: unknown[] = []
  const { get } = gateway.store
  gateway.store.get = (kind, handle, options) => { patience.push(options?.patienceMs); return get(kind, handle, options) }
  await next(browser, 'mobile')
  t.strictSame(patience, [250])
})

t.test('a handle that is none, or of another kind, opens nothing and breaks nothing', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const arrival = await browser.logIn('agency')
  const { body } = await gateway.redeem(arrival)
  for (const handle of ['', 'x', arrival.code, body['access_token'], `a-${'A'.repeat(43)}`, '%ZZ', '../../etc', 'a'.repeat(4000)]) {
    browser.setCookie('__Host-session', handle)
    t.equal(await next(browser, 'mobile'), 'chooser', handle.slice(0, 20))
    t.equal(await next(browser, 'agency', { prompt: 'none' }), 'login_required')
  }
})

t.test('id_token_hint names who has to be logged in: nobody else will do (OpenID Connect Core §3.1.2.2)', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { body } = await gateway.redeem(await browser.logIn('agency'))
  const mine = body['id_token'] as string
  t.equal(await next(browser, 'agency', { prompt: 'none', id_token_hint: mine }), 'code', 'the one who is')
  t.equal(await next(browser, 'mobile', { id_token_hint: mine }), 'invalid_request', 'another client\'s ID Token')
  for (const hint of ['x', `${mine.slice(0, -10)}AAAAAAAAAA`, `${Buffer.from('{"alg":"none"}').toString('base64url')}.${mine.split('.')[1]}.`]) t.equal(await next(browser, 'agency', { id_token_hint: hint }), 'invalid_request', 'not ours')

  gateway.providers['taxes']!.answer = { claims: neighbour }
  await browser.logIn('agency', { changes: { prompt: 'login' } })
  t.equal(await next(browser, 'agency', { prompt: 'none', id_token_hint: mine }), 'login_required', 'somebody else is')
  const way = await browser.toConsent('agency', { changes: { id_token_hint: mine } })
  t.equal((await browser.agree(way.page)).query.get('error'), 'login_required', 'somebody else comes back')
})

t.test('where a code was kept its session is kept too, though it was not at once: without it no logout would reach the token', async t => {
  const gateway = await testApp(t)
  const { put } = gateway.store
  const asked: unknown[] = []
  gateway.store.put = async (kind, record, seconds, options) => {
    if (kind !== 'session') return put(kind, record, seconds, options)
    asked.push(options?.ifAway)
    if (options?.ifAway === 'give up') throw new OAuthError('store_unavailable', 'the primaries had not been answering')
    return put(kind, record, seconds, options)
  }
  const browser = gateway.browser()
  const { claims: { sid } } = await tokensOf(gateway, browser, 'agency')
  t.strictSame(asked, ['give up', 'wait'])
  t.ok(sid)
  t.equal(await next(browser, 'mobile'), 'consent', 'the session lets the citizen in')
})
