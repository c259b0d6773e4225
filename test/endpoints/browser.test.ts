import t from 'tap'
import { clientMark } from '../../src/protocol/subject.ts'
import { base, citizen, requestOf, testApp, type Browser, type Way } from '../support/test-app.ts'

const loginCookies = (browser: Browser) => Object.entries(browser.cookies()).filter(([name]) => name.startsWith('__Host-login-'))
const bytes = (cookies: Array<[string, string]>) => cookies.reduce((sum, [name, value]) => sum + name.length + value.length, 0)
/** What limits speak of: every login, and who came back in one of them. */
const carried = (browser: Browser) => bytes(loginCookies(browser)) + (browser.cookies()['__Host-identity']?.length ?? 0)

t.test('cookies are __Host-, Secure, HttpOnly, SameSite=Lax and of the whole path', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page } = await browser.start('agency')
  const away = await browser.choose(page)
  const back = await browser.get(browser.callback(away))
  const consent = await browser.follow(back)
  const end = await browser.agree(consent)
  const switched = await browser.get(`${base}/authorize?${new URLSearchParams(requestOf('town').parameters)}&lang=en`)
  const cookies = [page, away, back, end, switched].flatMap(({ setCookies }) => setCookies)
  t.ok(cookies.length >= 7)
  for (const cookie of cookies) t.match(cookie, /^__Host-(login-[\w-]{22}|identity|session|language)=[^;]*(; Max-Age=\d+)?; Path=\/(; Expires=[^;]+)?; HttpOnly; Secure; SameSite=Lax$/, cookie.slice(0, 24))
  t.notMatch(cookies.join(), /Domain=/i)
  t.notMatch(end.setCookies.find(cookie => cookie.startsWith('__Host-session'))!, /Max-Age|Expires/, 'the session\'s handle goes with the browser')
  t.match(page.setCookies[0], /Max-Age=7200;/)
  t.match(back.setCookies.find(cookie => cookie.startsWith('__Host-identity'))!, /Max-Age=300;/)
})

t.test('over plain http, which is for development, the cookies have names that a browser takes', async t => {
  const gateway = await testApp(t, { settings: { issuer: 'http://localhost:1/api/v2', environment: 'development' } })
  const { page } = await gateway.browser().start('agency')
  t.match(page.setCookies[0], /^passerelle-login-[\w-]{22}=(?!.*Secure)/)
  t.equal(page.headers['strict-transport-security'], undefined)
})

t.test('a request takes at most 1200 bytes of cookie, exactly; a larger one is told which parameter it was', async t => {
  const gateway = await testApp(t)
  for (const name of ['state', 'nonce'] as const) {
    const sizeWith = async (length: number) => {
      const browser = gateway.browser()
      const { page, parameters } = await browser.start('agency', { [name]: 'x'.repeat(length) })
      return { page, parameters, size: loginCookies(browser)[0]?.[1].length }
    }
    let [fits, tooMuch] = [0, 1024]
    while (tooMuch - fits > 1) {
      const middle = Math.floor((fits + tooMuch) / 2)
      if ((await sizeWith(middle)).size === undefined) tooMuch = middle
      else fits = middle
    }
    const last = await sizeWith(fits)
    t.ok(last.size! <= 1200 && last.size! > 1200 - 4, `${name}: the largest that fits is ${last.size} bytes`)
    const refused = await sizeWith(tooMuch)
    t.equal(refused.page.status, 303)
    t.strictSame([refused.page.query.get('error'), refused.page.query.get('state')], ['invalid_request', refused.parameters['state']])
    t.match(refused.page.query.get('error_description'), new RegExp(`^${name}: `))

    const posted = await gateway.browser().post(`${base}/authorize`, refused.parameters, { crossSite: true })
    t.match(posted.query.get('error_description'), new RegExp(`^${name}: `), 'by POST too')
  }
  const claims = JSON.stringify({ userinfo: { sub: { value: 'x'.repeat(900) } } })
  t.match((await gateway.browser().start('agency', { claims })).page.query.get('error_description'), /^claims: /)
})

t.test('the largest request goes to its end', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const address = Object.fromEntries(['formatted', 'street_address', 'locality', 'region', 'country'].map(part => [part, 'é'.repeat(512)]))
  gateway.providers['taxes']!.answer = { claims: { ...citizen, given_name: 'é'.repeat(256), family_name: 'é'.repeat(256), preferred_username: 'é'.repeat(256), address } }
  const way = await browser.toConsent('agency', { changes: { state: 'x'.repeat(430), claims: '{"userinfo":{"address":null}}' } })
  t.ok(loginCookies(browser)[0]![1].length > 1100, 'nearly all that a request may be')
  t.ok(browser.cookies()['__Host-identity']!.length <= 3000, 'the cookie of who came back keeps to its size')
  t.match(way.page.body, new RegExp('é'.repeat(512)), 'what did not fit is shown all the same')
  const { query } = await browser.agree(way.page)
  t.equal(query.get('state'), way.parameters['state'])
  const { body } = await gateway.redeem({ ...way, code: query.get('code')! })
  t.same((await gateway.userinfo(body['access_token'])).body['address'], address)
})

t.test('who came back takes at most 3000 bytes of cookie; what does not fit goes to the store', async t => {
  const gateway = await testApp(t)
  const sizes: Array<{ put: boolean, size: number }> = []
  for (const length of [100, 500, 1000, 1100, 1200, 1300, 1400, 1500, 1600, 2000]) {
    const browser = gateway.browser()
    gateway.providers['taxes']!.answer = { claims: { ...citizen, address: { formatted: 'x'.repeat(Math.min(length, 500)), locality: 'x'.repeat(Math.min(500, Math.max(1, length - 500))), region: 'x'.repeat(Math.min(500, Math.max(1, length - 1000))), country: 'x'.repeat(Math.min(500, Math.max(1, length - 1500))) } } }
    let put = false
    const { put: keep } = gateway.store
    gateway.store.put = (kind, record, seconds) => { put ||= kind === 'identity'; return keep(kind, record, seconds) }
    const { page } = await browser.toConsent('agency', { changes: { claims: '{"userinfo":{"address":null}}' } })
    gateway.store.put = keep
    t.match(page.body, /id="continue"/)
    sizes.push({ put, size: browser.cookies()['__Host-identity']!.length })
  }
  t.ok(sizes.every(({ size }) => size <= 3000), 'never larger')
  t.ok(sizes.some(({ put, size }) => !put && size > 2000) && sizes.some(({ put }) => put), 'the store only keeps what does not fit')
  t.ok(sizes.filter(({ put }) => put).every(({ size }) => size < 300), 'the browser then carries a handle')
})

t.test('what went to the store and cannot be had is temporarily_unavailable, and nothing is deleted', async t => {
  const gateway = await testApp(t)
  gateway.providers['taxes']!.answer = { claims: { ...citizen, address: Object.fromEntries(['formatted', 'street_address', 'locality', 'region', 'country', 'more'].map(part => [part, 'x'.repeat(512)])) } }
  const browser = gateway.browser()
  const { page, login } = await browser.toConsent('agency', { changes: { claims: '{"userinfo":{"address":null}}' } })
  const before = browser.cookies()
  gateway.store.fail('get')
  const shown = await browser.get(`${base}/consent?login=${login}`)
  t.match(shown.query.get('error') ?? shown.status, /^(temporarily_unavailable|503)$/)
  t.strictSame(browser.cookies(), before)
  gateway.store.heal()
  t.ok((await browser.agree(page)).query.get('code'), 'afterwards it goes on')
})

t.test('all logins together take at most 6000 bytes, the oldest goes first', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const ways: Way[] = []
  for (let tab = 0; tab < 12; tab++) {
    ways.push(await browser.start('agency', { state: 'x'.repeat(300) }))
    gateway.wait(1)
    t.ok(carried(browser) <= 6000, `${tab + 1} tabs: ${carried(browser)} bytes`)
  }
  const kept = ways.map(({ login }) => browser.cookies()[`__Host-login-${login}`] !== undefined)
  t.ok(kept.at(-1), 'the newest stays')
  t.strictSame(kept, [...kept].sort(), 'those that went are the oldest')
  t.ok(kept.filter(Boolean).length >= 4, 'and no more than need be')

  const away = await browser.choose(ways.at(-1)!.page)
  const oldest = ways[kept.indexOf(true)]!
  await browser.comeBack(away)
  t.ok(carried(browser) <= 6000, `with who came back: ${carried(browser)} bytes`)
  t.ok(browser.cookies()[`__Host-login-${ways.at(-1)!.login}`], 'the login under way stays')
  const lost = await browser.choose(oldest.page)
  t.ok([303, 400].includes(lost.status))
  t.ok(lost.status === 303 || lost.waysOn.length > 0, 'a tab whose login went has a way on')
})

t.test('single sign-on keeps to the 6000 bytes as well', async t => {
  const gateway = await testApp(t)
  gateway.providers['taxes']!.answer = { claims: { ...citizen, address: Object.fromEntries(['formatted', 'street_address', 'locality'].map(part => [part, 'x'.repeat(450)])) } }
  const browser = gateway.browser()
  await browser.logIn('agency')
  for (let tab = 0; tab < 4; tab++) await browser.start('agency', { state: 'x'.repeat(380), prompt: 'select_account' })
  for (let tab = 0; tab < 6; tab++) {
    const { page } = await browser.start('agency', { state: 'x'.repeat(380) })
    t.match(page.location, /\/consent\?/, 'by single sign-on')
    t.ok(carried(browser) <= 6000, `${carried(browser)} bytes`)
  }
})

t.test('what is not ours, or dead, goes before any login', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const live = await browser.start('agency')
  for (let i = 0; i < 3; i++) browser.setCookie(`__Host-login-${'g'.repeat(21)}${i}`, 'garbage'.repeat(100))
  browser.setCookie('__Host-login-', 'x')
  await browser.start('town')
  t.strictSame(loginCookies(browser).filter(([, value]) => /garbage|^x$/.test(value)), [], 'garbage is cleared')
  t.ok(browser.cookies()[`__Host-login-${live.login}`], 'the other tab\'s login is not')
})

t.test('a login that is finished goes before one that is under way', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const waiting = await browser.start('agency', { state: 'x'.repeat(300) })
  for (let i = 0; i < 8; i++) {
    gateway.wait(1)
    await browser.logIn('swift', { changes: { state: 'y'.repeat(300), prompt: 'login' } })
  }
  t.equal((await browser.choose(waiting.page)).status, 303, 'the tab that waits goes on')
})

t.test('a prefetch sets nothing and spends nothing', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, login } = await browser.start('agency')
  const away = await browser.choose(page)
  const address = browser.callback(away)
  const before = browser.cookies()
  for (const headers of [{ 'sec-purpose': 'prefetch' }, { 'sec-purpose': 'prefetch;prerender' }, { 'sec-purpose': 'prefetch;anonymous-client-ip' }, { purpose: 'prefetch' }] as Array<Record<string, string>>) {
    for (const path of [address, page.link('idp-taxes')!, `${base}/authorize?${new URLSearchParams(requestOf('agency').parameters)}`, `${base}/consent?login=${login}&lang=en`, page.link('return')!, `${base}/session/end?lang=en`]) {
      const answer = await browser.get(path, { headers })
      t.ok(answer.status >= 400, `${Object.values(headers)[0]} ${path.slice(0, 30)}: ${answer.status}`)
      t.strictSame(answer.setCookies, [], path.slice(0, 30))
      t.equal(answer.headers['cache-control'], 'no-store', 'and is not kept in place of the page')
    }
  }
  t.strictSame(browser.cookies(), before)
  t.equal(gateway.providers['taxes']!.heard.length, 0)
  t.match(await browser.follow(await browser.get(address)), { status: 200, body: /id="continue"/ }, 'the real visit goes on')
})

t.test('five tabs: each finishes, or has a page with a way on', async t => {
  for (const order of [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]]) {
    const gateway = await testApp(t)
    const browser = gateway.browser()
    const tabs: Way[] = []
    for (const client of ['agency', 'town', 'swift', 'mobile', 'clinic']) tabs.push(await browser.start(client))
    const aways = []
    for (const { page } of tabs) aways.push(await browser.choose(page))
    const shown = []
    for (const at of order) shown[at] = await browser.comeBack(aways[at]!)  // all five come back before anyone reads
    let finished = 0
    for (const at of order) {
      let page = shown[at]!
      for (let tries = 0; tries < 3 && !page.query.has('code'); tries++) {
        if (page.link('idp-taxes') !== undefined) page = await browser.comeBack(await browser.choose(page))
        else if (page.fields['login'] !== undefined) page = await browser.follow(await browser.agree(page))
        t.ok(page.status === 303 || page.waysOn.length > 0, `tab ${at}: a way on`)
      }
      t.equal(page.query.get('state'), tabs[at]!.parameters['state'], `tab ${at}: its own request`)
      if (page.query.has('code')) finished++
    }
    t.equal(finished, 5, `in the order ${order}: the right tab finishes`)
  }
})

t.test('what another tab does leaves this one\'s information page alone', async t => {
  const gateway = await testApp(t)
  for (const meanwhile of ['a chooser is opened', 'a provider is chosen', 'a login is left', 'a service without page is entered', 'a login is finished twice'] as const) {
    const browser = gateway.browser()
    const mine = await browser.toConsent('agency')
    const other = await browser.start('swift', { prompt: 'login' })
    if (meanwhile === 'a provider is chosen') await browser.choose(other.page)
    if (meanwhile === 'a login is left') await browser.get(other.page.link('return')!)
    if (meanwhile === 'a service without page is entered') await browser.comeBack(await browser.choose(other.page))
    if (meanwhile === 'a login is finished twice') for (let i = 0; i < 2; i++) await browser.get(other.page.link('return')!)
    t.ok((await browser.agree(mine.page)).query.get('code'), meanwhile)
  }
})

t.test('the back button, at every step', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const asked = requestOf('agency')
  const first = `${base}/authorize?${new URLSearchParams(asked.parameters)}`
  const chooser = await browser.get(first)
  const away = await browser.choose(chooser)
  t.match(await browser.get(first), { status: 200, link: Function }, 'from the provider to the chooser')
  t.equal((await browser.choose(chooser)).location, away.location, 'the chooser as it was kept asks the same question')
  const callback = browser.callback(away)
  const consent = await browser.follow(await browser.get(callback))
  const kept = await browser.choose(chooser)                             // back to the chooser, and the same provider again
  t.equal(kept.location, away.location)
  const again = await browser.comeBack(kept)
  t.match(again, { status: 200, body: /id="continue"/ }, 'and through again')
  t.ok((await browser.agree(again)).query.get('code'))
  for (const [name, page] of Object.entries({
    'to the information page': await browser.get(`${base}/consent?login=${consent.fields['login']}`),
    'and continue': await browser.agree(consent),
    'and refuse': await browser.agree(consent, { decision: 'refuse' }),
    'to the callback': await browser.get(callback),
    'to a provider': await browser.choose(chooser),
    'to the way back': await browser.get(chooser.link('return')!),
    'to the chooser by its login': await browser.get(`${base}/authorize?login=${consent.fields['login']}&notice=choose`)
  })) {
    t.match(page, { status: 409, location: '' }, `after the end ${name}`)
    t.equal(page.link('return'), 'https://agency.example/home', `after the end ${name}: a way on`)
  }
  t.match(await browser.follow(await browser.get(first)), { status: 200, body: /id="continue"/ }, 'the very first address begins anew, by single sign-on')
})

t.test('a reload of every page', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const asked = requestOf('town')
  const first = `${base}/authorize?${new URLSearchParams(asked.parameters)}`
  await browser.get(first)
  const chooser = await browser.get(first)
  const away = await browser.choose(chooser)
  const address = browser.callback(away)
  const consent = await browser.follow(await browser.get(address))
  t.match(await browser.get(`${base}/consent?login=${consent.fields['login']}`), { status: 200, body: /id="continue"/ }, 'the information page')
  const missing = await browser.agree(consent, { consent: 'no' })
  await browser.agree(consent, { consent: 'no' })
  t.match(await browser.get(missing.location), { status: 200, body: /id="consent-error"/ }, 'the information page with its error')
  gateway.providers['taxes']!.failure = 'provider_unavailable'
  const failing = await browser.start('agency')
  const back = await browser.get(browser.callback(await browser.choose(failing.page)))
  t.match([(await browser.get(back.location)).notice, (await browser.get(back.location)).notice], ['provider_unavailable', 'provider_unavailable'], 'the chooser with its banner')
})

t.test('half an hour of idling: at the chooser, at the provider, at the information page', async t => {
  const gateway = await testApp(t)
  const atChooser = gateway.browser()
  const chooser = await atChooser.start('agency')
  const atProvider = gateway.browser()
  const provider = await atProvider.start('agency')
  const away = await atProvider.choose(provider.page)
  const atConsent = gateway.browser()
  const consent = await atConsent.toConsent('agency')
  gateway.wait(30 * 60)

  const end = async (browser: Browser, way: Way, page = way.page) => (await browser.agree(await browser.comeBack(await browser.choose(page)))).query.get('state')
  t.equal(await end(atChooser, chooser), chooser.parameters['state'], 'the chooser still works')
  const expired = await atProvider.comeBack(away)
  t.equal(expired.notice, 'login_expired')
  t.equal(await end(atProvider, provider, expired), provider.parameters['state'])
  const late = await atConsent.follow(await atConsent.agree(consent.page))
  t.equal(late.notice, 'identity_expired')
  t.equal(await end(atConsent, consent, late), consent.parameters['state'])
})

t.test('cookies off at every step: a page with a code, an id and a way on', async t => {
  const gateway = await testApp(t)
  const steps: Array<[string, (browser: Browser, way: Way) => Promise<{ status: number, code: string | undefined, id: string | undefined, location: string, waysOn: string[] }>]> = [
    ['choosing a provider', (browser, { page }) => browser.get(page.link('idp-taxes')!)],
    ['leaving', (browser, { page }) => browser.get(page.link('return')!)],
    ['the language switch', (browser, { page }) => browser.get(page.link('language')!)],
    ['coming back', (browser, { login }) => browser.get(`${base}/callback/taxes?code=x&state=${login}.AAAAAAAAAAAAAAAA.${clientMark(gateway.app.configuration.keys.subject, login, 'agency')}`)],
    ['the information page', (browser, { login }) => browser.get(`${base}/consent?login=${login}&client=agency`)],
    ['agreeing', (browser, { login }) => browser.post(`${base}/consent`, { login, client: 'agency', decision: 'continue', consent: 'yes' })],
    ['refusing', (browser, { login }) => browser.post(`${base}/consent`, { login, client: 'agency', decision: 'refuse' })]
  ]
  for (const [name, step] of steps) {
    const browser = gateway.browser()
    browser.refuseCookies()
    const way = await browser.start('agency')
    t.equal(way.page.status, 200)
    const page = await step(browser, way)
    t.match(page, { status: 400, code: 'B04', id: /./, location: '' }, name)
    t.ok(page.waysOn.length > 0, `${name}: a way on`)
  }
  const browser = gateway.browser()
  browser.refuseCookies()
  const posted = await browser.follow(await browser.post(`${base}/authorize`, requestOf('agency').parameters, { crossSite: true }))
  t.match(posted, { status: 400, code: 'B04', location: '' }, 'after POST /authorize')
  t.ok(posted.waysOn.length > 0, 'after POST /authorize: a way on')
})

t.test('with a store that is away everything up to the information page works, and no cookie is deleted', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  gateway.store.fail()
  const way = await browser.toConsent('agency')
  t.match(way.page, { status: 200, body: /id="continue"/ })
  const before = browser.cookies()
  const end = await browser.agree(way.page)
  t.match(end, { status: 303, location: /^https:\/\/agency\.example\/back\?/ })
  t.strictSame([end.query.get('error'), end.query.get('state')], ['temporarily_unavailable', way.parameters['state']])
  t.strictSame(browser.cookies(), before, 'the citizen can go back and try again')
  gateway.store.heal()
  t.ok((await browser.agree(way.page)).query.get('code'), 'which works')

  gateway.store.fail()
  const swift = gateway.browser()
  t.equal((await swift.toConsent('swift')).page.query.get('error'), 'temporarily_unavailable', 'a service without information page is told so')
  t.equal((await gateway.browser().start('agency', { prompt: 'none' })).page.query.get('error'), 'login_required', 'prompt=none without a session needs no store')
})
