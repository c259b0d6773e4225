import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { failures, OAuthError, type Failure } from '../../src/protocol/errors.ts'
import { base, jsonOf, requestOf, testApp, type Page } from '../support/test-app.ts'

const pageHeaders = (formAction: string) => ({
  'content-security-policy': `default-src 'none'; style-src 'self'; img-src 'self'; form-action ${formAction}; frame-ancestors 'none'; base-uri 'none'`,
  'strict-transport-security': /^max-age=\d{8}; includeSubDomains$/,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store'
})

function hasPageHeaders (t: Test, { headers }: Page, name: string, formAction = "'none'") {
  t.match(headers, { ...pageHeaders(formAction), 'content-type': /^text\/html; charset=utf-8$/i }, name)
  t.equal(headers['access-control-allow-origin'], undefined, `${name}: no other site reads it`)
  t.equal(headers['x-powered-by'] ?? headers['server'], undefined, `${name}: says nothing of what it runs on`)
}

t.test('every page has its headers, and the redirects between them are not kept', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page } = await browser.start('agency')
  hasPageHeaders(t, page, 'the chooser')
  const away = await browser.choose(page)
  const back = await browser.get(browser.callback(away))
  const consent = await browser.follow(back)
  hasPageHeaders(t, consent, 'the information page', "'self' https:")       // its form ends at a client
  const end = await browser.agree(consent)
  for (const [name, { headers }] of Object.entries({ 'to the provider': away, 'to the information page': back, 'to the client': end })) {
    t.match(headers, { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', 'strict-transport-security': /./ }, name)
  }
  hasPageHeaders(t, await browser.get(`${base}/session/end`), 'the log-out page', "'self' https:")
  hasPageHeaders(t, await gateway.browser().get(`${base}/session/end`), 'the logged-out page')
  hasPageHeaders(t, await browser.agree(consent), 'the finished page')
  hasPageHeaders(t, await browser.get('/nowhere'), 'not found')
  hasPageHeaders(t, await browser.get(`${base}/authorize?client_id=nobody`), 'an error page')
  hasPageHeaders(t, await browser.get(`${base}/authorize?client_id=nobody`, { headers: { origin: 'https://mobile.example' } }), 'a page asked for by a browser client')
})

t.test('in development a form may end at an http address of the client', async t => {
  const gateway = await testApp(t, { settings: { issuer: 'http://localhost:1/api/v2', environment: 'development' }, clients: { agency: { redirect_uris: ['http://localhost:3000/back'] } } })
  const browser = gateway.browser()
  const { page } = await browser.start('agency', { redirect_uri: 'http://localhost:3000/back' })
  const consent = await browser.comeBack(await browser.choose(page)).catch(() => undefined)
  const { location } = await browser.get(browser.callback(await browser.choose(page)))
  const shown = consent?.status === 200 ? consent : await browser.get(location)
  t.match(shown.headers['content-security-policy'], /form-action 'self' https: http:\/\/localhost:3000;/)
})

t.test('a page or an answer that is not to be kept has no ETag: it would be a digest of what it says', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const arrival = await browser.logIn('agency')
  const tokens = await gateway.redeem(arrival)
  const userinfo = await gateway.userinfo(tokens.body['access_token'])
  const consent = await browser.follow((await browser.start('town')).page)
  for (const [name, { headers }] of Object.entries({ tokens, userinfo, consent })) t.equal(headers['etag'], undefined, name)
})

t.test('answers to clients have their headers too', async t => {
  const gateway = await testApp(t)
  const tokens = await gateway.redeem(await gateway.browser().logIn('agency'))
  for (const [name, { headers }] of Object.entries({
    tokens,
    userinfo: await gateway.userinfo(tokens.body['access_token']),
    refused: await gateway.token('x=y'),
    'refused userinfo': await gateway.userinfo('x')
  })) t.match(headers, { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'strict-transport-security': /./, 'content-type': /^application\/json/ }, name)
})

t.test('a failure is not kept, not even where what it came in place of would have been', async t => {
  const gateway = await testApp(t)
  const asked = async (path: string) => { const { statusCode, headers } = await gateway.app.inject({ url: base + path }); return [statusCode, headers['cache-control']] }
  t.match(await asked('/jwks'), [200, /^public/])
  gateway.app.signer.jwks = () => { throw new TypeError('no keys') }
  t.strictSame(await asked('/jwks'), [500, 'no-store'])
  t.strictSame(await asked('/assets/gone.css'), [404, 'no-store'])
})

t.test('only the registered origins of public clients may call, and only what they call (Fetch §3.2)', async t => {
  const gateway = await testApp(t, { clients: { shut: { redirect_uris: ['https://shut.example/back'], token_endpoint_auth_method: 'none', acr_values: ['eidas1'], active: false } } })
  const allowed = async (path: string, origin: string, options: object = {}) => (await gateway.app.inject({ url: base + path, headers: { origin }, ...options })).headers['access-control-allow-origin']
  for (const path of ['/token', '/userinfo']) {
    const ask = (origin: string) => gateway.app.inject({ method: 'OPTIONS', url: base + path, headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' } })
    const preflight = await ask('https://mobile.example')
    t.match(preflight, { statusCode: 204, headers: { 'access-control-allow-origin': 'https://mobile.example', 'access-control-allow-methods': /POST/, 'access-control-allow-headers': /Authorization/i, vary: /Origin/ } }, `${path}: preflight`)
    t.equal(preflight.headers['access-control-allow-credentials'], undefined, `${path}: no cookies`)
    for (const origin of ['https://agency.example', 'https://town.example', 'https://shut.example', 'https://evil.example', 'http://mobile.example', 'https://mobile.example.evil.example', 'https://mobile.example:8443', 'https://MOBILE.example', 'null', '*', '']) {
      t.equal((await ask(origin)).headers['access-control-allow-origin'], undefined, `${path}: preflight from ${origin}`)
      t.equal(await allowed(path, origin), undefined, `${path}: from ${origin}`)
    }
  }
  const refused = await gateway.app.inject({ method: 'POST', url: `${base}/token`, headers: { origin: 'https://mobile.example', 'content-type': 'application/x-www-form-urlencoded' }, payload: 'client_id=mobile&grant_type=authorization_code&code=x' })
  t.match(refused, { statusCode: 400, headers: { 'access-control-allow-origin': 'https://mobile.example' } }, 'it can read why it was refused')
  t.match((await gateway.app.inject({ url: `${base}/userinfo`, headers: { origin: 'https://mobile.example' } })).headers, { 'access-control-allow-origin': 'https://mobile.example', 'access-control-expose-headers': /WWW-Authenticate/i })
  for (const path of ['/authorize', '/login/taxes', '/callback/taxes', '/consent', '/leave', '/session/end', '/nowhere', '/assets/x']) t.equal(await allowed(path, 'https://mobile.example'), undefined, path)
})

t.test('whose a state is costs a digest for each service, and anybody can send one: in a second only so many are looked at, and the next second again', async t => {
  const services = 500
  const gateway = await testApp(t, { clients: Object.fromEntries(Array.from({ length: services - 10 }, (_, i) => [`office${i}`, { redirect_uris: ['https://office.example/back'] }])) })
  t.equal(gateway.app.configuration.clients.size, services)
  const browser = gateway.browser()
  const callback = browser.callback(await browser.choose((await browser.start('agency')).page))
  /** The citizen comes back in another browser. */
  const lost = async () => {
    const page = await gateway.browser().get(callback)
    t.match(page, { status: 400, code: 'B04', location: '' })
    return page.link('return')
  }
  const stranger = () => `${randomBytes(16).toString('base64url')}.${randomBytes(12).toString('base64url')}.${randomBytes(8).toString('base64url')}`
  const paths = [`${base}/callback/taxes?code=x&state=`, `${base}/nowhere?state=`, '/?state=']

  for (let i = 0; i < 30; i++) await gateway.browser().get(`${paths[i % 3]}${stranger().slice(1)}`)
  t.equal(await lost(), 'https://agency.example/home', 'what has not the form of a state is looked for nowhere')
  for (let i = 0; i < 30; i++) t.match(await gateway.browser().get(`${paths[i % 3]}${stranger()}`), { status: /^40[04]$/, waysOn: [] })
  t.equal(await lost(), undefined, 'after a flood of strangers there is a page without the way back')
  t.equal((await gateway.browser().get(`${callback}&client=town`)).link('return'), 'https://town.example/', 'whoever says where he comes from is believed')
  gateway.wait(1)
  t.equal(await lost(), 'https://agency.example/home', 'a second later it is there again')
})

t.test('nothing is where nothing is, and no method does what it should not', async t => {
  const gateway = await testApp(t)
  for (const path of ['/', '/api', base, `${base}/`, `${base}/nowhere`, '//evil.example/', `${base}/AUTHORIZE`, `${base}/authorize/`, '/authorize', `${base}//authorize`, `${base}/consent%2f`, `${base}/par`, '/favicon.ico', '/.env']) {
    const page = await gateway.browser().get(path)
    t.match(page, { status: 404, code: 'Y03', id: /./, location: '' }, path)
    hasPageHeaders(t, page, path)
  }
  for (const [method, path] of [['PUT', '/authorize'], ['DELETE', '/authorize'], ['POST', '/login/taxes'], ['POST', '/callback/taxes'], ['POST', '/leave'], ['PUT', '/consent'], ['POST', '/jwks'], ['DELETE', '/session/end'], ['TRACE', '/authorize']] as const) {
    const page = await gateway.browser().get(base + path, { method })
    t.ok(page.status === 404 || page.status === 405, `${method} ${path}: ${page.status}`)
  }
  for (const path of ['/authorize', '/login/taxes', '/callback/taxes', '/consent', '/leave', '/session/end', '/session/ended']) {
    const page = await gateway.browser().get(base + path, { method: 'HEAD' })
    t.match(page, { status: /^40[45]$/, body: '' }, `HEAD ${path}`)
    t.strictSame(page.setCookies, [])
  }
})

t.test('an address that cannot be read is a page like any other', async t => {
  const gateway = await testApp(t)
  for (const path of [`${base}/login/%ZZ`, `${base}/callback/%`, `${base}/%E0%A4%A`, '/%', `${base}/login/${'a'.repeat(2000)}`]) {
    const page = await gateway.browser().get(path)
    t.match(page, { status: /^4\d\d$/, code: /^[AY]\d\d$/, id: /./, location: '' }, path.slice(0, 40))
    hasPageHeaders(t, page, path.slice(0, 40))
  }
})

t.test('an error of a program is a page that tells nothing, and a log line that does not hold its message', async t => {
  const gateway = await testApp(t)
  gateway.providers['taxes']!.identify = async () => { throw Object.assign(new Error('Quiquempoix broke it'), { payload: { family_name: 'Quiquempoix' } }) }
  const browser = gateway.browser()
  const { page, parameters } = await browser.start('agency')
  const end = await browser.get(browser.callback(await browser.choose(page)))
  t.strictSame([end.status, end.query.get('error'), end.query.get('state')], [303, 'server_error', parameters['state']])
  t.notMatch(`${end.location}${gateway.log.join('')}`, /Quiquempoix/)
  const { store } = gateway
  store.get = async () => { throw new TypeError('Quiquempoix again') }
  const answer = await gateway.userinfo(`a-${'A'.repeat(43)}`)
  t.match(answer, { status: 500, headers: { 'retry-after': '60' }, body: { error: 'server_error' } })
  t.notMatch(JSON.stringify(answer) + gateway.log.join(''), /Quiquempoix|TypeError: /)
  t.match(gateway.log.join(''), /"failure":"unexpected"/, 'support finds it')
})

t.test('the id on the page leads to the log', async t => {
  const gateway = await testApp(t)
  const page = await gateway.browser().get(`${base}/authorize?client_id=nobody`)
  const lines = gateway.log.map(line => JSON.parse(line)).filter(({ reqId }) => reqId === page.id)
  t.match(lines.find(({ failure }) => failure !== undefined), { failure: 'client_unknown', err: { message: /client_id/ } })
})

t.test('503 always says when to try again', async t => {
  const gateway = await testApp(t)
  gateway.store.fail()
  const { body } = await gateway.token('x=y')
  t.ok(body)
  const answers = [
    jsonOf(await gateway.app.inject({ url: `${base}/userinfo`, headers: { authorization: `Bearer a-${'A'.repeat(43)}` } })),
    await gateway.browser().get(`${base}/authorize?${new URLSearchParams(requestOf('agency').parameters)}`, { headers: { 'sec-purpose': 'prefetch' } })
  ]
  for (const { status, headers } of answers) t.match({ status, headers }, { status: 503, headers: { 'retry-after': /^\d+$/ } })
})

t.test('every page of 5xx says when to come again, and no way back to the chooser does: nobody is to wait there (RFC 9110 §10.2.3)', async t => {
  const gateway = await testApp(t)
  const ours = (Object.keys(failures) as Failure[]).filter(failure => failures[failure].status >= 500 && failures[failure].page !== 'busy')
  t.ok(new Set(ours.map(failure => failures[failure].status)).size > 2)
  for (const failure of ours) {
    gateway.app.signer.verify = async () => { throw new OAuthError(failure, 'as this test wants it') }
    const { status, code, headers } = await gateway.browser().get(`${base}/session/end?id_token_hint=x`)
    t.match({ status, code, headers }, { status: failures[failure].status, code: failures[failure].citizen, headers: { 'retry-after': /^\d+$/ } }, failure)
  }

  for (const failure of ['provider_answer_invalid', 'provider_timed_out'] as const) {
    gateway.providers['taxes']!.failure = failure
    const browser = gateway.browser()
    const { page } = await browser.start('agency')
    const back = await browser.get(browser.callback(await browser.choose(page)))
    t.match(back, { status: 303, location: /notice=/ }, failure)
    t.equal(back.headers['retry-after'], undefined, failure)
  }
})
