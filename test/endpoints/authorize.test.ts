import t, { type Test } from 'tap'
import { base, issuer, requestOf, testApp, type Browser, type Page } from '../support/test-app.ts'

const at = (parameters: Record<string, string> | string) => `${base}/authorize?${typeof parameters === 'string' ? parameters : new URLSearchParams(parameters)}`

/** Our own page, with what the help desk asks for, and nothing that leads to the client by itself. */
function isOurPage (t: Test, page: Page, code: string, name: string, status = 400) {
  t.match(page, { status, code, id: /^[2-9A-HJ-NP-Z]{10}$/, location: '' }, name)
  t.match(page.headers['content-type'], /^text\/html/, `${name}: a page`)
}

/** An error that goes back to the client (RFC 6749 §4.1.2.1, RFC 9207). */
function isForClient (t: Test, page: Page, error: string, state: string | null, name: string) {
  t.equal(page.status, 303, name)
  t.match(page.location, /^https:\/\/agency\.example\/back\?/, `${name}: to the registered address`)
  t.strictSame([page.query.get('error'), page.query.get('state'), page.query.get('iss')], [error, state, issuer], `${name}: error, state, iss`)
  t.match(page.query.get('error_description'), /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/, `${name}: a description in the characters that are allowed`)
}

t.test('a client or an address that we do not know gets a page of ours, never a redirect (RFC 6749 §4.1.2.1)', async t => {
  const { browser } = await testApp(t)
  const { parameters } = requestOf('agency')
  const { client_id, redirect_uri, ...others } = parameters as Record<'client_id' | 'redirect_uri', string>

  for (const [name, wrong] of Object.entries<Record<string, string>>({ none: {}, unknown: { client_id: 'nobody' }, 'in capitals': { client_id: 'AGENCY' }, 'with a space': { client_id: 'agency ' }, empty: { client_id: '' }, 'of the prototype': { client_id: '__proto__' }, 'too long': { client_id: 'a'.repeat(5000) } })) {
    isOurPage(t, await browser().get(at({ ...others, redirect_uri, ...wrong })), 'A01', `client_id ${name}`)
  }
  for (const wrong of [
    'https://agency.example/back/', 'https://agency.example/BACK', 'https://AGENCY.example/back', 'HTTPS://agency.example/back', 'http://agency.example/back',
    'https://agency.example/back?', 'https://agency.example/back?x=1', 'https://agency.example/back#', 'https://agency.example:443/back', 'https://agency.example/./back',
    'https://agency.example//back', 'https://agency.example/%62ack', 'https%3A%2F%2Fagency.example%2Fback', 'https://user@agency.example/back', 'https://agency.example@evil.example/back',
    'https://agency.example.evil.example/back', 'https://agency.example/back\\@evil.example', ' https://agency.example/back', 'https://agency.example/back\n', 'https://agency.example/back\0',
    'https://town.example/back', 'https://agency.example/other', 'https://agency.example/other?tab=2', 'javascript:alert(1)', ''
  ]) isOurPage(t, await browser().get(at({ ...others, client_id, redirect_uri: wrong })), 'A03', `redirect_uri ${JSON.stringify(wrong)}`)

  isOurPage(t, await browser().get(at({ ...others, client_id })), 'A03', 'no redirect_uri')
  isOurPage(t, await browser().get(`${at({ ...parameters })}&redirect_uri=${encodeURIComponent(redirect_uri)}`), 'A03', 'the same redirect_uri twice')
  isOurPage(t, await browser().get(`${at({ ...parameters })}&redirect_uri=https://evil.example/`), 'A03', 'another redirect_uri beside the right one')
  isOurPage(t, await browser().get(`${at({ ...parameters })}&client_id=town`), 'A01', 'two client_ids')
  isOurPage(t, await browser().get(at(requestOf('closed').parameters)), 'A02', 'a client that is not active', 403)
})

t.test('what is wrong after that goes back to the client, with its state', async t => {
  const { browser } = await testApp(t)
  const wrong: Record<string, [string, Record<string, string | undefined>]> = {
    'no response_type': ['invalid_request', { response_type: undefined }],
    'response_type token': ['unsupported_response_type', { response_type: 'token' }],
    'response_type code id_token': ['unsupported_response_type', { response_type: 'code id_token' }],
    'response_mode fragment': ['invalid_request', { response_mode: 'fragment' }],
    'no scope': ['invalid_scope', { scope: undefined }],
    'scope without openid': ['invalid_scope', { scope: 'profile' }],
    'scope of others': ['invalid_scope', { scope: 'openid address' }],
    'no code_challenge': ['invalid_request', { code_challenge: undefined, code_challenge_method: undefined }],
    'code_challenge_method plain': ['invalid_request', { code_challenge_method: 'plain' }],
    'no code_challenge_method': ['invalid_request', { code_challenge_method: undefined }],
    'code_challenge too short': ['invalid_request', { code_challenge: 'abc' }],
    'prompt none login': ['invalid_request', { prompt: 'none login' }],
    'max_age -1': ['invalid_request', { max_age: '-1' }],
    'max_age 1e3': ['invalid_request', { max_age: '1e3' }],
    'claims that are not JSON': ['invalid_request', { claims: '{"userinfo":' }],
    'claims that are a list': ['invalid_request', { claims: '[]' }],
    'a request object': ['request_not_supported', { request: 'eyJhbGciOiJub25lIn0.e30.' }],
    'a request_uri': ['request_uri_not_supported', { request_uri: 'https://agency.example/request' }],
    'a registration': ['registration_not_supported', { registration: '{}' }],
    'an idp_hint that is not allowed': ['invalid_request', { idp_hint: 'gone' }],
    'an essential acr that nobody knows': ['unmet_authentication_requirements', { claims: '{"id_token":{"acr":{"essential":true,"value":"eidas9"}}}' }],
    'an oversized nonce': ['invalid_request', { nonce: 'n'.repeat(5000) }],
    'an oversized scope': ['invalid_request', { scope: `openid ${'x'.repeat(5000)}` }],
    'NUL in a nonce': ['invalid_request', { nonce: 'a\0b' }]
  }
  for (const [name, [error, changes]] of Object.entries(wrong)) {
    const { parameters } = requestOf('agency', changes)
    isForClient(t, await browser().get(at(parameters)), error, parameters['state']!, name)
    isForClient(t, await browser().post(`${base}/authorize`, parameters, { crossSite: true }), error, parameters['state']!, `${name}, by POST`)
  }
  for (const repeated of ['scope=openid', 'nonce=a', 'response_type=code', 'prompt=login', 'code_challenge=x']) {
    const { parameters } = requestOf('agency', { prompt: 'login' })
    isForClient(t, await browser().get(`${at(parameters)}&${repeated}`), 'invalid_request', parameters['state']!, `${repeated.split('=')[0]} twice (RFC 6749 §3.1)`)
  }
  const { parameters } = requestOf('agency')
  isForClient(t, await browser().get(`${at(parameters)}&state=b`), 'invalid_request', null, 'state twice: none of the two is the client\'s')
  isForClient(t, await browser().get(at({ ...parameters, state: 'é' })), 'invalid_request', 'é', 'state beyond ASCII')
})

t.test('the answer keeps the query of a registered address (RFC 6749 §4.1.2)', async t => {
  const { browser } = await testApp(t)
  const page = await browser().get(at(requestOf('agency', { redirect_uri: 'https://agency.example/other?tab=1', scope: 'profile', state: 's' }).parameters))
  t.match(page.location, /^https:\/\/agency\.example\/other\?tab=1&error=invalid_scope&/)
})

t.test('odd bytes reach neither a header nor a page', async t => {
  const { browser } = await testApp(t)
  const { parameters } = requestOf('agency')
  const good = at(parameters)
  for (const [name, query] of Object.entries({
    'CR and LF in state': `${good}&nonce=%0d%0aset-cookie:x`,
    'CR and LF as state': good.replace(/state=[^&]*/, 'state=%0d%0aSet-Cookie:%20evil=1'),
    'CR and LF in client_id': good.replace('client_id=agency', 'client_id=agency%0d%0aSet-Cookie:evil'),
    'NUL in client_id': good.replace('client_id=agency', 'client_id=agency%00'),
    'a bad escape': good.replace(/state=[^&]*/, 'state=%ZZ'),
    'a byte that is no UTF-8': good.replace(/state=[^&]*/, 'state=%FF'),
    'a list': good.replace(/state=[^&]*/, 'state[]=a&state[b]=c'),
    'a parameter of the prototype': `${good}&__proto__=x&__proto__[active]=1&constructor=y`,
    'only separators': `${base}/authorize?&&&===&`
  })) {
    const page = await browser().get(query)
    t.ok([200, 303, 400].includes(page.status), `${name}: answered ${page.status}, not broken`)
    t.notMatch(Object.entries(page.headers).flat().concat(page.setCookies).join('|'), /[\r\n]|evil=1/, `${name}: no header is split`)
    if (page.status === 400) t.ok(page.code, `${name}: a page with a code`)
  }
  for (const script of ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "'onmouseover='alert(1)"]) {
    for (const name of ['client_id', 'redirect_uri', 'state', 'ui_locales', 'lang', 'login', 'notice', 'idp']) {
      const page = await browser().get(at({ ...parameters, [name]: script }))
      t.notOk(page.body.includes(script), `${name} is not reflected as it came`)
    }
  }
})

t.test('POST /authorize is on by GET, where the session is looked at (OpenID Connect Core §3.1.2.1)', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency')
  gateway.store.fail()                                                   // nothing is read before the GET
  const posted = await browser.post(`${base}/authorize`, requestOf('mobile').parameters, { crossSite: true })
  gateway.store.heal()
  t.match(posted, { status: 303, location: new RegExp(`^${base}/authorize\\?login=[\\w-]{22}&client=mobile$`) })
  t.match((await browser.get(posted.location)).location, new RegExp(`^${base}/consent\\?login=`), 'single sign-on works there')

  const hinted = await browser.post(`${base}/authorize`, requestOf('agency', { idp_hint: 'post', prompt: 'login' }).parameters, { crossSite: true })
  const atProvider = await browser.follow(hinted)
  t.match(atProvider.location, /^https:\/\/post\.example\/authorize\?/, 'a hint goes along')
  t.match(await browser.follow(await browser.post(`${base}/authorize`, requestOf('agency', { prompt: 'none', scope: 'openid email birth' }).parameters, { crossSite: true })), { status: 303, location: /^https:\/\/agency\.example\/back\?error=consent_required/ }, 'prompt=none too')

  const unknown = await gateway.browser().post(`${base}/authorize`, { client_id: 'nobody' }, { crossSite: true })
  isOurPage(t, unknown, 'A01', 'an unknown client by POST')
  isOurPage(t, await gateway.browser().post(`${base}/authorize`, 'redirect_uri=a&redirect_uri=b&client_id=agency', { crossSite: true }), 'A03', 'two addresses by POST')
})

t.test('bodies that are no form are refused with a page', async t => {
  const { browser } = await testApp(t)
  const send = (payload: string, type: string) => browser().post(`${base}/authorize`, payload, { headers: { 'content-type': type } })
  isOurPage(t, await send(JSON.stringify(requestOf('agency').parameters), 'application/json'), 'Y06', 'JSON', 415)
  isOurPage(t, await send('--b\r\ncontent-disposition: form-data; name="client_id"\r\n\r\nagency\r\n--b--', 'multipart/form-data; boundary=b'), 'Y06', 'multipart', 415)
  isOurPage(t, await send('client_id=agency', 'text/plain'), 'Y06', 'text', 415)
  isOurPage(t, await send(`client_id=${'a'.repeat(40_000)}`, 'application/x-www-form-urlencoded'), 'Y05', 'a body too large', 413)
  isOurPage(t, await browser().get(`${base}/authorize`, { method: 'POST' }), 'A01', 'no body')
})

t.test('the language is the one chosen, else the one asked for, else the browser\'s', async t => {
  const { browser } = await testApp(t)
  const lang = (page: Page) => /<html lang="(\w+)"/.exec(page.body)?.[1]
  const citizen = browser()
  t.equal(lang((await citizen.start('agency')).page), 'fr', 'French by default')
  t.equal(lang(await citizen.get(at(requestOf('agency').parameters), { headers: { 'accept-language': 'de, en;q=0.8' } })), 'en', 'the browser\'s')
  t.equal(lang((await citizen.start('agency', { ui_locales: 'de EN-gb fr' })).page), 'en', 'ui_locales before it')

  const { page } = await citizen.start('agency')
  const switched = await citizen.get(page.link('language')!)
  t.equal(lang(switched), 'en', 'the switch')
  t.equal(switched.link('idp-taxes'), page.link('idp-taxes'), 'the switch keeps the login')
  t.equal(lang((await citizen.start('agency', { ui_locales: 'fr' })).page), 'en', 'the switch is remembered')
})

t.test('the chooser shows the providers in their order, in words, each a plain link where it can be used', async t => {
  const gateway = await testApp(t, { identityProviders: { trial: { title: 'Trial', order: 5, acr_values: ['eidas1'], state: 'beta' }, gone: { title: 'Gone', order: 6, acr_values: ['eidas1'], state: 'disabled' } } })
  gateway.providers['post']!.up = false
  const { page } = await gateway.browser().start('agency', { ui_locales: 'en' })
  t.match(page, { status: 200 })
  t.strictSame([...page.body.matchAll(/id="idp-(\w+)"/g)].map(([, id]) => id), ['taxes', 'post', 'works', 'trial'], 'in order; hidden and disabled ones are not shown')
  t.match(page.link('idp-taxes'), /^\/api\/v2\/login\/taxes\?login=[\w-]{22}/, 'one that is up is a link')
  t.match(page.body, /Not answering right now/, 'one that is down says so')
  t.match(page.body, /Under maintenance[^]*Back on Monday/, 'maintenance, and the operator\'s words')
  t.equal(page.link('idp-works'), undefined, 'maintenance is not clickable')
  t.match(page.body, /On trial/, 'on trial')
  t.match(page.link('return'), /^\/api\/v2\/leave\?login=/, 'the way back to the service')
  t.notMatch(page.body, /<script|onclick|javascript:/i, 'no script')

  const high = (await gateway.browser().start('agency', { ui_locales: 'en', acr_values: 'eidas2' })).page
  t.match(high.body, /Not suitable: this service asks for a more secure sign-in/, 'a level too low is said')
  t.strictSame([high.link('idp-post'), high.link('idp-trial')], [undefined, undefined], 'and cannot be clicked')
  t.ok(high.link('idp-taxes'), 'the others stay one click away')

  const wary = (await gateway.browser().start('wary', { ui_locales: 'en' })).page
  t.match(wary.body, /This service does not accept this account/, 'denied by the client')
  t.equal(wary.link('idp-taxes'), undefined)
})

t.test('an allow list closes every other provider', async t => {
  const gateway = await testApp(t, { clients: { wary: { identity_providers: { allow: ['post'], deny: null } } } })
  const { page } = await gateway.browser().start('wary')
  t.ok(page.link('idp-post'))
  t.equal(page.link('idp-taxes'), undefined)
})

t.test('maintenance begins and ends by its dates', async t => {
  const date = (seconds: number) => new Date((1_800_000_000 + seconds) * 1000).toISOString().replace('.000', '')
  const gateway = await testApp(t, { identityProviders: { post: { maintenance: { from: date(60), until: date(120) } }, works: { maintenance: { until: date(60) } } } })
  const clickable = async () => {
    const { page } = await gateway.browser().start('agency')
    const open = ['post', 'works'].filter(idp => page.link(`idp-${idp}`) !== undefined)
    const figures = await Promise.all(['post', 'works'].map(idp => gateway.metric('passerelle_provider_maintenance', { idp })))
    t.strictSame(figures, ['post', 'works'].map(idp => open.includes(idp) ? 0 : 1), 'and the metric knows')
    return open
  }
  t.strictSame(await clickable(), ['post'], 'before')
  gateway.wait(59)
  t.strictSame(await clickable(), ['post'], 'a second before')
  gateway.wait(1)
  t.strictSame(await clickable(), ['works'], 'one begins as the other ends')
  gateway.wait(60)
  t.strictSame(await clickable(), ['post', 'works'], 'after')
})

t.test('idp_hint skips the chooser where the client may use it and the provider is up', async t => {
  const gateway = await testApp(t)
  const hinted = async (browser: Browser, idp_hint: string, changes = {}, client = 'agency') => {
    const { page } = await browser.start(client, { idp_hint, ...changes })
    return page.status === 303 ? browser.follow(page) : page
  }
  t.match((await hinted(gateway.browser(), 'taxes')).location, /^https:\/\/taxes\.example\/authorize\?/, 'straight to the provider')
  t.match((await hinted(gateway.browser(), 'quiet')).location, /^https:\/\/quiet\.example\/authorize\?/, 'to a hidden one too')
  t.match(await hinted(gateway.browser(), 'works'), { status: 200, location: '' }, 'maintenance: the chooser instead')
  t.match(await hinted(gateway.browser(), 'post', { acr_values: 'eidas2' }), { status: 200, location: '' }, 'level too low: the chooser instead')
  t.match(await hinted(gateway.browser(), 'taxes', {}, 'wary'), { status: 200, location: '' }, 'denied: the chooser instead')
  gateway.providers['taxes']!.up = false
  const page = await hinted(gateway.browser(), 'taxes')
  t.match(page, { status: 200, location: '' }, 'a provider that is down: no silent redirect')
  t.ok(page.link('idp-post'), 'the others can be chosen')
  t.match((await hinted(gateway.browser(), 'taxes', {}, 'mobile')).location, /error=invalid_request/, 'a client that may not use hints is told')
})

t.test('"return to the service" answers access_denied', async t => {
  const browser = (await testApp(t)).browser()
  const { page, parameters } = await browser.start('agency')
  const left = await browser.get(page.link('return')!)
  isForClient(t, left, 'access_denied', parameters['state']!, 'leaving')
  t.match(await browser.get(page.link('idp-taxes')!), { status: 409, link: Function }, 'and the login is over')
})

t.test('a chooser of a login this browser does not carry is a page with a code, not a redirect', async t => {
  const gateway = await testApp(t)
  const { login } = await gateway.browser().start('agency')
  for (const query of [`login=${login}`, `login=${login}&notice=login_expired`, 'login=__proto__', 'login=', `login=${login}&login=${login}`]) {
    const page = await gateway.browser().get(`${base}/authorize?${query}`)
    t.equal(page.status, 400, query)
    t.ok(page.code && page.id, `${query}: code and id`)
  }
})

t.test('a banner is one of ours', async t => {
  const browser = (await testApp(t)).browser()
  const { login } = await browser.start('agency')
  t.equal((await browser.get(`${base}/choose?login=${login}&notice=provider_refused&idp=taxes`)).notice, 'provider_refused')
  for (const notice of ['You+have+won', '__proto__', 'toString', 'choose']) {
    const page = await browser.get(`${base}/choose?login=${login}&notice=${notice}`)
    t.strictSame([page.status, page.notice], [200, undefined], notice)
  }
})
