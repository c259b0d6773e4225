import t from 'tap'
import { base, issuer, testApp } from '../support/test-app.ts'

const claimsOf = (body: string) => [...body.matchAll(/data-claim="([^"]+)"/g)].map(([, name]) => name)

t.test('the page says who came back and what will be sent to whom, and no more', async t => {
  const gateway = await testApp(t)
  const { page } = await gateway.browser().toConsent('agency', { changes: { scope: 'openid given_name email idp_id amr', ui_locales: 'en' } })
  t.match(page, { status: 200, body: /Service agency[^]*Angèle/ })
  t.strictSame(claimsOf(page.body).sort(), ['amr', 'email', 'given_name', 'idp_id'])
  t.notMatch(page.body, /Quiquempoix|1962/, 'what was not asked for is not shown')

  const { page: wider } = await gateway.browser().toConsent('agency', { changes: { scope: 'openid', claims: '{"userinfo":{"phone_number":null},"id_token":{"email":null}}' } })
  t.strictSame(claimsOf(wider.body).sort(), ['email', 'phone_number'], 'single claims are shown, wherever they will be sent')

  const { page: nameless } = await gateway.browser().toConsent('agency', { changes: { scope: 'openid', ui_locales: 'en' } })
  t.match(nameless.body, /no identity is sent/, 'an anonymous login says so')
  t.strictSame(claimsOf(nameless.body), [])
})

t.test('what is shown is what is sent', async t => {
  const gateway = await testApp(t)
  for (const [scope, claims] of [['openid profile', undefined], ['openid identite_pivot email idp_id amr', undefined], ['openid birth', '{"userinfo":{"phone_number":null}}']] as const) {
    const browser = gateway.browser()
    const way = await browser.toConsent('agency', { changes: { scope, claims } })
    const code = (await browser.agree(way.page)).query.get('code')!
    const { body: tokens } = await gateway.redeem({ ...way, code })
    const { body: { sub, ...told } } = await gateway.userinfo(tokens['access_token'])
    const shown = claimsOf(way.page.body)
    // the list of first names is shown once where it says the same
    t.strictSame(Object.keys(told).filter(name => name !== 'given_name_array').sort(), shown.filter(name => name !== 'given_name_array').sort(), scope)
  }
})

t.test('the server checks the box', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, parameters } = await browser.toConsent('town')
  t.match(page.body, /<input type="checkbox" id="consent" name="consent" value="yes">/, 'a box, not ticked')
  for (const form of [...['', 'no', 'on', 'YES', 'yes ', 'true'].map(consent => ({ decision: 'continue', consent })), { decision: 'continue' }]) {
    const answer = await browser.post(`${base}/consent`, { ...page.fields, ...form } as Record<string, string>)
    t.match(answer.location, new RegExp(`^${base}/consent\\?`), `${JSON.stringify(form)}: not to the client`)
    const again = await browser.follow(answer)
    t.match(again, { status: 200, body: /id="consent-error"/ }, `${JSON.stringify(form)}: says what is missing`)
    t.ok(again.waysOn.includes(`${base}/consent`), 'the form again')
  }
  t.match(await browser.post(`${base}/consent`, `login=${page.fields['login']}&decision=continue&consent=no&consent=yes`), { status: 400, location: '' }, 'two answers')
  const end = await browser.agree(page)
  t.match(end, { status: 303, location: /^https:\/\/town\.example\/back\?code=/ })
  t.strictSame([end.query.get('state'), end.query.get('iss')], [parameters['state'], issuer])
})

t.test('a refusal is told to the client as access_denied, and ends the login', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, parameters } = await browser.toConsent('town')
  const end = await browser.agree(page, { decision: 'refuse' })
  t.match(end, { status: 303, location: /^https:\/\/town\.example\/back\?/ })
  t.strictSame([end.query.get('error'), end.query.get('state'), end.query.get('iss')], ['access_denied', parameters['state'], issuer])
  t.equal(browser.cookie(/identity/), undefined, 'the identity is gone from the browser')
  t.equal(browser.cookie(/session/), undefined, 'no session was opened')
  const again = await browser.agree(page)
  t.match(again, { status: 409, location: '' }, 'agreeing afterwards is too late')
  t.ok(again.waysOn.length > 0)
})

t.test('a form that another site submits is refused (Fetch Metadata)', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page } = await browser.toConsent('agency')
  for (const site of ['cross-site', 'same-site', 'nonsense', '']) {
    const answer = await browser.post(`${base}/consent`, { ...page.fields, decision: 'continue', consent: 'yes' }, { headers: { 'sec-fetch-site': site } })
    t.match(answer, { status: 403, code: 'B08', id: /./, location: '' }, site)
    t.strictSame(answer.setCookies, [], `${site}: nothing set`)
  }
  const cross = await browser.post(`${base}/consent`, { ...page.fields, decision: 'refuse' }, { crossSite: true })
  t.match(cross, { status: 403, code: 'B08' }, 'a refusal neither')
  t.ok((await browser.agree(page)).query.get('code'), 'the citizen\'s own still goes on')
})

t.test('the form without its login is a page with a code and a way on', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, login } = await browser.toConsent('agency')
  const stranger = gateway.browser()
  for (const [name, answer] of Object.entries({
    'cookies off, the page': await stranger.get(`${base}/consent?login=${login}&client=agency`),
    'cookies off, the form': await stranger.agree(page)
  })) {
    t.match(answer, { status: 400, code: 'B04', id: /./, location: '' }, name)
    t.ok(answer.waysOn.length > 0, `${name}: a way on`)
  }
  for (const form of ['', 'login=', 'login=__proto__', `login=${login}&login=${login}`, `login[]=${login}`, `login=${login}&decision=maybe`, `login=${login}`, `login=${login}%00`, 'login=%ZZ']) {
    const answer = await browser.post(`${base}/consent`, form)
    t.match(answer, { status: 400, location: '', id: /./ }, `the form ${form}`)
  }
  t.match(await browser.post(`${base}/consent`, JSON.stringify({ login, decision: 'continue' }), { headers: { 'content-type': 'application/json' } }), { status: 415, code: 'Y06' }, 'JSON')
  t.match(await browser.post(`${base}/consent`, `login=${'a'.repeat(40_000)}`), { status: 413, code: 'Y05' }, 'a body too large')
})

t.test('the information page lives five minutes, then the request starts again', async t => {
  for (const consenting of [false, true]) {
    const gateway = await testApp(t)
    const browser = gateway.browser()
    const { page, parameters, login } = await browser.toConsent('agency')
    const identity = browser.cookies()['__Host-identity']!
    gateway.wait(5 * 60)
    browser.setCookie('__Host-identity', identity)                       // a browser whose clock is behind keeps it
    const late = await browser.follow(consenting ? await browser.agree(page) : await browser.get(`${base}/consent?login=${login}`))
    t.match(late, { status: 200, notice: 'identity_expired' })
    const end = await browser.agree(await browser.comeBack(await browser.choose(late)))
    t.equal(end.query.get('state'), parameters['state'])
    t.ok(end.query.get('code'))
  }
})

t.test('"use another account" leads to the chooser of the same login', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, parameters } = await browser.toConsent('agency')
  const chooser = await browser.get(page.link('choose')!)
  t.match(chooser, { status: 200, notice: undefined, link: Function })
  const end = await browser.agree(await browser.comeBack(await browser.choose(chooser, 'post')))
  t.equal(end.query.get('state'), parameters['state'])
  const { body } = await gateway.redeem({ parameters, code: end.query.get('code')!, code_verifier: '' })
  t.equal(body['error'], 'invalid_grant')
})

t.test('consent before anybody came back leads to the chooser', async t => {
  const browser = (await testApp(t)).browser()
  const { login } = await browser.start('agency')
  t.match(await browser.follow(await browser.get(`${base}/consent?login=${login}`)), { status: 200, notice: 'identity_expired' })
  t.match(await browser.follow(await browser.post(`${base}/consent`, { login, decision: 'continue', consent: 'yes' })), { status: 200, notice: 'identity_expired' })
})

t.test('submitted twice: at once both have an answer, one after the other the second has a way on', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const way = await browser.toConsent('agency')
  const ends = await Promise.all([browser.agree(way.page), browser.agree(way.page)])
  for (const { location, query } of ends) t.match([location, query.get('state')], [/^https:\/\/agency\.example\/back\?code=/, way.parameters['state']])
  const results = []
  for (const { query } of ends) results.push((await gateway.redeem({ ...way, code: query.get('code')! })).status)
  t.ok(results.includes(200), 'a code that the browser followed is good')
  const third = await browser.agree(way.page)
  t.match(third, { status: 409, location: '' })
  t.match(third.link('return'), 'https://agency.example/home')
})

t.test('a client closed meanwhile gets nothing', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, login } = await browser.toConsent('agency')
  gateway.app.configuration.clients.get('agency')!.active = false
  for (const answer of [await browser.agree(page), await browser.get(`${base}/consent?login=${login}`)]) {
    t.match(answer, { status: 403, code: 'A02', location: '' })
    t.ok(answer.waysOn.length > 0, 'a way on')
  }
})

t.test('another sub than the one asked for is login_required (OpenID Connect Core §5.5.1)', async t => {
  const gateway = await testApp(t)
  const first = await gateway.browser().logIn('agency')
  const { body } = await gateway.redeem(first)
  const { sub } = JSON.parse(Buffer.from(body['id_token'].split('.')[1], 'base64url').toString())
  const asking = (value: string) => ({ changes: { claims: JSON.stringify({ id_token: { sub: { value } } }) } })
  const browser = gateway.browser()
  const { page } = await browser.toConsent('agency', asking('somebody-else'))
  t.equal((await browser.agree(page)).query.get('error'), 'login_required')
  t.ok((await gateway.browser().logIn('agency', asking(sub))).code, 'the right one goes on')
})
