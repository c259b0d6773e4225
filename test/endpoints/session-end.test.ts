import t, { type Test } from 'tap'
import { within } from '../../src/adapters/record-store.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { base, basic, issuer, secretOf, testApp, type Browser, type Page, type TestApp } from '../support/test-app.ts'

const end = (parameters: Record<string, string> = {}) => `${base}/session/end?${new URLSearchParams(parameters)}`

/** A citizen who is logged in at a client. */
async function loggedIn (gateway: TestApp, client = 'agency', browser = gateway.browser()) {
  const { body } = await gateway.redeem(await browser.logIn(client))
  return { browser, id_token: body['id_token'] as string, access_token: body['access_token'] as string }
}

/** Whether a second service still lets the citizen in without asking the provider. */
async function entersByItself (browser: Browser) {
  const { page } = await browser.start('mobile')
  return page.location.includes('/consent')
}

const confirm = (browser: Browser, page: Page, decision = 'log-out') => browser.post(`${base}/session/end`, { ...page.fields, decision })

function asks (t: Test, page: Page, name: string) {
  t.match(page, { status: 200, location: '', body: /id="log-out"/ }, `${name}: asks`)
  t.strictSame(page.setCookies, [], `${name}: and ends nothing before the answer`)
}

t.test('a client that proves by its ID Token whose session it is logs the citizen out at once', async t => {
  const gateway = await testApp(t)
  const { browser, id_token, access_token } = await loggedIn(gateway)
  const handle = browser.cookies()['__Host-session']!
  t.ok(await entersByItself(browser), 'single sign-on before')
  const page = await browser.get(end({ id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye', state: 'a&b=c' }))
  t.match(page, { status: 303, location: 'https://agency.example/bye?state=a%26b%3Dc' }, 'back to the client, with its state')
  t.notOk(await entersByItself(browser), 'no single sign-on after it')
  t.equal((await gateway.userinfo(access_token)).status, 401, 'tokens of that session are dead')
  t.equal(browser.cookie(/session|identity/), undefined, 'the cookies are gone')

  const thief = gateway.browser()
  thief.setCookie('__Host-session', handle)
  t.notOk(await entersByItself(thief), 'the old handle is dead')
})

t.test('an ID Token that has expired is still a hint (RP-Initiated Logout §2)', async t => {
  const gateway = await testApp(t)
  const { browser, id_token } = await loggedIn(gateway)
  gateway.wait(20 * 60)
  t.match(await browser.get(end({ id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye' })), { status: 303, location: 'https://agency.example/bye' })
  t.notOk(await entersByItself(browser))
})

t.test('without a proof the citizen is asked', async t => {
  const gateway = await testApp(t)
  const stranger = await loggedIn(gateway)
  for (const [name, parameters] of Object.entries<Record<string, string>>({
    nothing: {},
    'a client by name': { client_id: 'agency' },
    'a client by name and its address': { client_id: 'agency', post_logout_redirect_uri: 'https://agency.example/bye', state: 's' },
    'an ID Token of another session': { id_token_hint: stranger.id_token, post_logout_redirect_uri: 'https://agency.example/bye', state: 's' },
    'a client that we do not know': { client_id: 'nobody' },
    'an empty hint, which is none': { id_token_hint: '' }
  })) {
    const { browser } = await loggedIn(gateway)
    const page = await browser.get(end(parameters))
    asks(t, page, name)
    t.ok(await entersByItself(browser), `${name}: still logged in`)
    const done = await confirm(browser, page)
    if ('post_logout_redirect_uri' in parameters) t.match(done, { status: 303, location: 'https://agency.example/bye?state=s' }, `${name}: back to the client`)
    else t.match(done, { status: 200, body: /<h1>/ }, `${name}: a page of ours`)
    t.notOk(await entersByItself(browser), `${name}: logged out`)
  }
  t.ok(await entersByItself(stranger.browser), 'the session whose ID Token was shown goes on')
})

t.test('a logout that proves nothing takes no login from another tab', async t => {
  const gateway = await testApp(t)
  const stranger = await loggedIn(gateway)
  const led = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }
  for (const [name, leaveHandle] of Object.entries<(browser: Browser) => unknown>({
    'never logged in': () => {},
    'a session that is over': async browser => { await browser.logIn('agency'); gateway.wait(1801) },
    'a session that was ended elsewhere': async browser => {
      const { browser: other, id_token } = await loggedIn(gateway)
      browser.setCookie('__Host-session', other.cookies()['__Host-session'])
      await other.get(end({ id_token_hint: id_token }))
    },
    'a handle of nobody': browser => browser.setCookie('__Host-session', 'x')
  })) {
    const browser = gateway.browser()
    await leaveHandle(browser)
    const reading = await browser.toConsent('town')
    const choosing = await browser.start('agency')
    for (const [said, parameters] of Object.entries<Record<string, string>>({
      'nothing but a language': { ui_locales: 'fr' },
      'a client by name': { client_id: 'agency', post_logout_redirect_uri: 'https://agency.example/bye' },
      'an ID Token of another session': { id_token_hint: stranger.id_token, post_logout_redirect_uri: 'https://agency.example/bye' }
    })) {
      const posted = await browser.post(`${base}/session/end`, parameters, { crossSite: true })
      for (const address of [end(parameters), posted.location]) {
        const page = await browser.get(address, { headers: led })
        t.match(page, { status: 'post_logout_redirect_uri' in parameters ? 303 : 200 }, `${name}, ${said}: led on`)
        t.strictSame(page.setCookies.filter(cookie => !cookie.startsWith('__Host-session=;')), [], `${name}, ${said}: at most the handle goes`)
      }
    }
    t.equal(browser.cookie(/session/), undefined, `${name}: and it does`)
    t.match(await browser.choose(choosing.page), { status: 303, location: /^https:\/\/taxes\.example\// }, `${name}: who was choosing goes to the provider`)
    t.ok((await browser.agree(reading.page)).query.get('code'), `${name}: who was reading arrives at the service`)
  }
})

t.test('who stays is logged in and goes back to the service', async t => {
  const gateway = await testApp(t)
  const { browser } = await loggedIn(gateway)
  const page = await browser.get(end({ client_id: 'agency' }))
  const stayed = await confirm(browser, page, 'stay')
  t.match(stayed, { status: 303, location: 'https://agency.example/home' })
  t.ok(await entersByItself(browser))
  const unnamed = await browser.follow(await confirm(browser, await browser.get(end()), 'stay'))
  t.match(unnamed, { status: 200 })
  t.ok(unnamed.waysOn.length > 0, 'no dead end without a client either')
})

t.test('the log-out page submitted late, twice, or after another login leads on', async t => {
  const gateway = await testApp(t)
  const late = await loggedIn(gateway)
  const page = await late.browser.get(end({ client_id: 'agency' }))
  gateway.wait(16 * 60)
  for (const decision of ['log-out', 'stay']) {
    const answer = await late.browser.follow(await confirm(late.browser, page, decision))
    t.match(answer, { status: 200, body: /id="log-out"/ }, `${decision}, a quarter of an hour later: asks again`)
  }

  const { browser } = await loggedIn(gateway)
  const asked = await browser.get(end({ client_id: 'agency' }))
  await confirm(browser, asked)
  t.match(await confirm(browser, asked), { status: 200, code: undefined }, 'twice: the citizen is logged out, and told so')

  const anew = await loggedIn(gateway)
  const old = await anew.browser.get(end({ client_id: 'agency' }))
  await anew.browser.logIn('agency', { changes: { prompt: 'login' } })
  t.match(await anew.browser.follow(await confirm(anew.browser, old)), { status: 200, body: /id="log-out"/ }, 'authenticated anew meanwhile: asks again')
})

t.test('a request that is wrong is a page with a code, and ends nothing', async t => {
  const gateway = await testApp(t)
  const { browser, id_token } = await loggedIn(gateway)
  const [head, payload, signature] = id_token.split('.') as [string, string, string]
  const forged = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(payload, 'base64url').toString()), aud: 'town' })).toString('base64url')
  const none = Buffer.from('{"alg":"none"}').toString('base64url')
  for (const [name, parameters] of Object.entries<Record<string, string>>({
    'a forged hint': { id_token_hint: `${head}.${forged}.${signature}` },
    'an unsigned hint': { id_token_hint: `${none}.${payload}.` },
    'a hint that is no JWT': { id_token_hint: 'x' },
    'an oversized hint': { id_token_hint: 'x'.repeat(9000) },
    'another client than the hint\'s': { id_token_hint: id_token, client_id: 'town' },
    'an address that is not registered': { id_token_hint: id_token, post_logout_redirect_uri: 'https://evil.example/' },
    'nearly its address': { id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye/' },
    'a redirect_uri as address': { id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/back' },
    'an address of another client': { id_token_hint: id_token, post_logout_redirect_uri: 'https://town.example/bye' },
    'an address and nobody': { post_logout_redirect_uri: 'https://agency.example/bye' },
    'an address of a client we do not know': { client_id: 'nobody', post_logout_redirect_uri: 'https://agency.example/bye' },
    'CR and LF': { id_token_hint: id_token, state: 'a\r\nset-cookie: b' },
    NUL: { client_id: 'agency\0' }
  })) {
    const page = await browser.get(end(parameters))
    t.match(page, { status: 400, code: /^[AE]\d\d$/, id: /./, location: '' }, name)
    t.strictSame(page.setCookies, [], `${name}: nothing ends`)
    t.match(await browser.post(`${base}/session/end`, parameters, { crossSite: true }), { status: 400, code: /^[AE]\d\d$/, location: '' }, `${name}, by POST`)
  }
  for (const twice of ['id_token_hint=a&id_token_hint=b', 'client_id=agency&client_id=agency', 'state[]=a&state=b&state=c', 'posted=a&posted=b']) t.match(await browser.get(`${base}/session/end?${twice}`), { status: 400, location: '' }, twice)
  t.match(await browser.post(`${base}/session/end`, '{}', { headers: { 'content-type': 'application/json' } }), { status: 415 }, 'JSON')
  t.match(await browser.post(`${base}/session/end`, `state=${'a'.repeat(40_000)}`), { status: 413 }, 'too large')
  t.ok(await entersByItself(browser), 'still logged in')
})

t.test('a client posts across sites: the session is looked at by GET', async t => {
  const gateway = await testApp(t)
  const { browser, id_token } = await loggedIn(gateway)
  const posted = await browser.post(`${base}/session/end`, { id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye', state: 's' }, { crossSite: true })
  t.match(posted, { status: 303, location: new RegExp(`^${base}/session/end\\?posted=`) })
  t.strictSame(posted.setCookies, [])
  t.notOk(posted.location.includes(id_token), 'the hint stays out of the address')
  t.match(await browser.get(posted.location), { status: 303, location: 'https://agency.example/bye?state=s' })
  t.notOk(await entersByItself(browser))

  const again = await loggedIn(gateway)
  gateway.wait(61)
  asks(t, await again.browser.get(posted.location), 'sealed too long ago')
  asks(t, await again.browser.get(`${base}/session/end?posted=x`), 'not sealed by us')
})

t.test('our own form is refused to other sites', async t => {
  const gateway = await testApp(t)
  const { browser } = await loggedIn(gateway)
  const page = await browser.get(end())
  for (const site of ['cross-site', 'same-site']) {
    const answer = await browser.post(`${base}/session/end`, { ...page.fields, decision: 'log-out' }, { headers: { 'sec-fetch-site': site } })
    t.match(answer, { status: 403, code: 'B08' }, site)
    t.strictSame(answer.setCookies, [], site)
  }
  t.ok(await entersByItself(browser))

  for (const form of [{ decision: 'log-out' }, { ...page.fields, decision: 'log-out' }]) {
    const old = await browser.post(`${base}/session/end`, form, { crossSite: true, headers: { 'sec-fetch-site': undefined } })
    t.strictSame(old.setCookies.filter(cookie => cookie.startsWith('__Host-session')), [], 'a form of another site in a browser that does not say so cannot clear the session')
  }
  t.ok(await entersByItself(browser))
})

t.test('upstream logout follows when the provider has it and is up, and never blocks ours', async t => {
  const gateway = await testApp(t)
  const { taxes } = gateway.providers
  taxes!.hasLogout = true
  const { browser, id_token } = await loggedIn(gateway)
  const away = await browser.get(end({ id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye', state: 's' }))
  t.match(away, { status: 303, location: /^https:\/\/taxes\.example\/logout\?/ })
  t.match(taxes!.logouts, [{ id_token_hint: 'upstream.id.token', post_logout_redirect_uri: `${issuer}/session/ended` }])
  t.notOk(await entersByItself(browser), 'ours has ended already')
  const back = await browser.get(`${base}/session/ended?state=${taxes!.logouts[0]!.state}`)
  t.match(back, { status: 303, location: 'https://agency.example/bye?state=s' }, 'and then to the client')

  const down = await loggedIn(gateway)
  taxes!.up = false
  t.match(await down.browser.get(end({ id_token_hint: down.id_token, post_logout_redirect_uri: 'https://agency.example/bye' })), { status: 303, location: 'https://agency.example/bye' }, 'down: skipped')
  taxes!.up = true
  const failing = await loggedIn(gateway)
  taxes!.failure = 'provider_unavailable'
  t.match(await failing.browser.get(end({ id_token_hint: failing.id_token })), { status: 200, body: /<h1>/ }, 'failing: skipped')
  taxes!.failure = undefined
  const gone = await loggedIn(gateway)
  gateway.app.configuration.identityProviders.delete('taxes')
  t.match(await gone.browser.get(end({ id_token_hint: gone.id_token })), { status: 200 }, 'removed: skipped')
  t.notOk(await entersByItself(gone.browser))
})

t.test('coming back from the provider with a state that is not ours is a page of ours', async t => {
  const gateway = await testApp(t)
  for (const query of ['', '?state=x', '?state=', '?state=%00', '?state=a&state=b', `?state=${'a'.repeat(13_000)}`]) {
    const page = await gateway.browser().get(`${base}/session/ended${query}`)
    t.match(page, { status: /^(200|400)$/, location: '' }, query.slice(0, 20) || 'no state')
    t.match(page.headers['content-type'], /^text\/html/)
  }
})

t.test('an address deregistered meanwhile is not gone to', async t => {
  const gateway = await testApp(t)
  gateway.providers['taxes']!.hasLogout = true
  const { browser, id_token } = await loggedIn(gateway)
  await browser.get(end({ id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye' }))
  gateway.app.configuration.clients.get('agency')!.post_logout_redirect_uris = []
  const page = await browser.get(`${base}/session/ended?state=${gateway.providers['taxes']!.logouts[0]!.state}`)
  t.match(page, { status: 200, location: '' })
  t.equal(page.link('return'), 'https://agency.example/home')
})

t.test('the page names the services where the citizen may still be signed in', async t => {
  const gateway = await testApp(t)
  const { browser, id_token } = await loggedIn(gateway)
  const { page: consent } = await browser.start('mobile')
  await browser.agree(await browser.follow(consent))
  const page = await browser.get(end({ id_token_hint: id_token }))
  t.match(page.body, /id="remaining"[^]*Service mobile/)
  t.notMatch(page.body.slice(page.body.indexOf('remaining'), page.body.indexOf('</ul>')), /Service agency/, 'but not the one that asks')
})

t.test('with nothing to log out the client still gets its citizen back', async t => {
  const gateway = await testApp(t)
  const { id_token } = await loggedIn(gateway)
  const browser = gateway.browser()
  t.match(await browser.get(end({ id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye', state: 's' })), { status: 303, location: 'https://agency.example/bye?state=s' }, 'with a hint')
  t.match(await browser.get(end({ client_id: 'agency', post_logout_redirect_uri: 'https://agency.example/bye' })), { status: 303, location: 'https://agency.example/bye' }, 'by name')
  t.match(await browser.get(end()), { status: 200 }, 'nobody: a page')
})

t.test('when the end cannot be recorded the cookies go all the same, and the page says so', async t => {
  for (const [name, method, isAsked] of [['proved', 'end', false], ['confirmed', 'end', true], ['confirmed, nothing can be read', 'get', true], ['confirmed, no end can be read', 'ended', true]] as const) {
    const gateway = await testApp(t)
    const { browser, id_token } = await loggedIn(gateway)
    await browser.start('clinic')
    gateway.store.fail(method)
    const hint: Record<string, string> = name === 'confirmed' ? { client_id: 'agency' } : { id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye' }
    const first = await browser.get(end(hint))
    if (isAsked) asks(t, first, name)
    const page = isAsked ? await confirm(browser, first) : first
    t.match(page, { status: 503, code: 'E02', id: /./, location: '', headers: { 'retry-after': /^\d+$/ } }, name)
    t.equal(browser.cookie(/session|identity|login/), undefined, `${name}: the browser's cookies are gone`)
    t.ok(page.waysOn.length > 0, `${name}: a way on`)
    gateway.store.heal()
    t.notOk(await entersByItself(browser), `${name}: this browser is logged out`)
  }
})

t.test('while nobody can know whose session it is every logout asks, and ends nothing before the answer', async t => {
  const gateway = await testApp(t)
  const stranger = await loggedIn(gateway)
  const { browser, id_token } = await loggedIn(gateway)
  const choosing = await browser.start('clinic')
  for (const method of ['get', 'ended'] as const) {
    gateway.store.fail(method)
    for (const [name, parameters] of Object.entries<Record<string, string>>({ nothing: {}, 'an ID Token of another session': { id_token_hint: stranger.id_token }, 'its own ID Token': { id_token_hint: id_token } })) {
      const page = await browser.get(end(parameters))
      asks(t, page, `${method}: ${name}`)
      t.match(await confirm(browser, page, 'stay'), { status: 303 }, `${method}: ${name}: and who stays goes on`)
    }
    gateway.store.heal()
    t.ok(await entersByItself(browser), `${method}: still logged in`)
  }
  t.match(await browser.choose(choosing.page), { status: 303, location: /^https:\/\/taxes\.example\// }, 'and on the way in another tab')
  t.match(await browser.get(end({ id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye' })), { status: 303, location: 'https://agency.example/bye' }, 'afterwards its proof is one')
  t.notOk(await entersByItself(browser))
})

t.test('a list of services that cannot be had is worth no failure: the logout was recorded', async t => {
  const gateway = await testApp(t)
  const { browser, id_token, access_token } = await loggedIn(gateway)
  gateway.store.fail('entered')
  t.match(await browser.get(end({ id_token_hint: id_token })), { status: 200, body: /<h1>/ })
  gateway.store.heal()
  t.equal((await gateway.userinfo(access_token)).status, 401)
})

t.test('a list of services that does not come keeps nobody', async t => {
  const gateway = await testApp(t)
  const { browser, id_token } = await loggedIn(gateway)
  const { entered } = gateway.store
  const hangs = Promise.withResolvers<void>()
  gateway.store.entered = async sid => { await hangs.promise; return entered(sid) }
  const page = await within(5000, browser.get(end({ id_token_hint: id_token }))).finally(hangs.resolve)
  t.match(page, { status: 200, body: /<h1>/ })
})

t.test('a logout ends single sign-on on its way in another tab', async t => {
  const gateway = await testApp(t)
  const { browser, id_token } = await loggedIn(gateway)
  const { page } = await browser.start('mobile')
  const consent = await browser.follow(page)
  t.match(consent.body, /id="continue"/)
  const kept = Object.entries(browser.cookies()).filter(([name]) => /identity|login/.test(name))
  await browser.get(end({ id_token_hint: id_token }))
  t.match(await browser.agree(consent), { status: 400, code: 'B04' }, 'its login went with the cookies')
  for (const [name, value] of kept) browser.setCookie(name, value)
  const late = await browser.follow(await browser.agree(consent))
  t.match(late, { status: 200, notice: 'identity_expired' }, 'and where they were kept, the information page of the ended session gives no code')
})

t.test('the hint of a client that is not active, or signed for another issuer, is judged as such', async t => {
  const gateway = await testApp(t)
  const elsewhere = await testApp(t, { settings: { issuer: 'https://other.example/api/v2' } })
  const { body } = await elsewhere.token({ grant_type: 'authorization_code', code: 'x' }, { authorization: basic('agency', secretOf('agency')) })
  t.equal(body['error'], 'invalid_grant')
  const { browser } = await loggedIn(gateway)
  const foreign = await elsewhere.app.signer.sign('RS256', { iss: 'https://other.example/api/v2', aud: 'agency', sub: 'x', iat: gateway.now(), exp: gateway.now() + 60 })
  t.match(await browser.get(end({ id_token_hint: foreign })), { status: 400, code: 'E01' }, 'the same keys, another issuer')
})

t.test('the end is a mark on sid: a session record that comes late, or outlives it, lets nobody in', async t => {
  const gateway = await testApp(t)
  const { browser, id_token } = await loggedIn(gateway)
  const handle = browser.cookies()['__Host-session']!
  const { end: record } = gateway.store
  gateway.store.end = async (ending, seconds) => 'session' in ending ? undefined : record(ending, seconds)
  await browser.get(end({ id_token_hint: id_token }))
  browser.setCookie('__Host-session', handle)
  t.notOk(await entersByItself(browser))
  t.equal((await browser.start('agency', { prompt: 'none' })).page.query.get('error'), 'login_required')
  const { id_token: next } = await loggedIn(gateway, 'agency', browser)
  t.not(JSON.parse(Buffer.from(next.split('.')[1]!, 'base64url').toString()).sid, JSON.parse(Buffer.from(id_token.split('.')[1]!, 'base64url').toString()).sid, 'a new login does not go on under the ended sid')
})

t.test('an end outlives every session that it ends, however much less a session may last by now', async t => {
  const gateway = await testApp(t)
  const { browser } = await loggedIn(gateway)
  const thief = gateway.browser()
  thief.setCookie('__Host-session', browser.cookies()['__Host-session'])
  const { end: record } = gateway.store
  gateway.store.end = async () => { throw new OAuthError('store_unavailable', 'the store could not answer') }
  const { body: { id_token } } = await gateway.redeem(await browser.logIn('agency', { changes: { prompt: 'login' } }))
  gateway.store.end = record
  t.ok(await entersByItself(thief), 'the end of a former handle was lost')

  t.equal(gateway.reconfigure({ settings: { session: { idle_seconds: 60, life_seconds: 120 } } }), 'taken')
  await browser.get(end({ id_token_hint: id_token }))
  gateway.wait(120 + 600)
  t.notOk(await entersByItself(thief), 'it is dead when sessions of today are')
})
