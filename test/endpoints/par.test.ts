import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { keyHolder, keyOf, requestObjectOf } from '../support/client-keys.ts'
import { base, basic, issuer, requestOf, secretOf, testApp, type Json, type Page, type Pushed, type TestApp } from '../support/test-app.ts'

const urn = 'urn:ietf:params:oauth:request_uri:'
const at = (parameters: Record<string, string>) => `${base}/authorize?${new URLSearchParams(parameters)}`
const uriOf = ({ answer }: Pushed): string => answer.body['request_uri']

/** A refusal of a client's call: JSON, and nothing that leads anywhere. */
function isRefused (t: Test, { status, headers, body }: Json, expected: number, error: string, name: string) {
  t.match({ status, body }, { status: expected, body: { error, error_description: /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/ } }, name)
  t.match(headers, { 'content-type': /^application\/json/, 'cache-control': 'no-store' }, `${name}: JSON, not kept`)
  t.strictSame([headers['location'], headers['set-cookie'], body['request_uri']], [undefined, undefined, undefined], `${name}: leads nowhere`)
}

/** Our own page, and nothing that leads to a client by itself. */
function isOurPage (t: Test, page: Page, code: string, name: string, status = 400) {
  t.match(page, { status, code, id: /./, location: '' }, name)
  t.strictSame(page.setCookies, [], `${name}: no login has begun`)
}

/** An error that went back to the client. */
function isForClient (t: Test, page: Page, error: string, { parameters }: Pushed, name: string) {
  t.equal(page.status, 303, name)
  t.ok(page.location.startsWith(`${parameters['redirect_uri']}?`), `${name}: to its address`)
  t.strictSame([page.query.get('error'), page.query.get('state'), page.query.get('iss')], [error, parameters['state'] ?? null, issuer], `${name}: error, state, iss`)
}

/** Where an address that holds a request leads, as far as it stays here. */
const open = async (gateway: TestApp, address: string) => { const browser = gateway.browser(); return browser.follow(await browser.get(address)) }
const isChooser = (t: Test, page: Page, name: string) => t.match(page, { status: 200, location: '', body: /id="idp-taxes"/ }, name)

t.test('a request that its client pushed goes to its end, as a plain one does (RFC 9126 §2.2, §4)', async t => {
  const gateway = await testApp(t)
  for (const client of ['agency', 'town', 'mobile', 'notary', 'vault']) {
    const holder = client === 'vault' ? await keyHolder(gateway) : undefined
    const pushed = await gateway.push(client, { scope: 'openid email', login_hint: 'angele@courriel.example' }, holder)
    t.match(pushed.answer, { status: 201, headers: { 'cache-control': 'no-store', 'content-type': /^application\/json/ }, body: { expires_in: 60 } }, client)
    t.strictSame(Object.keys(pushed.answer.body).sort(), ['expires_in', 'request_uri'], `${client}: nothing else`)
    t.match(uriOf(pushed), new RegExp(`^${urn}[\\w.-]+$`), `${client}: characters that need no escape`)
    const spelled = Buffer.from(uriOf(pushed).split('.').at(-1)!, 'base64url').toString('latin1') + uriOf(pushed)
    t.strictSame(Object.values(pushed.parameters).filter(value => value.length > 8 && spelled.includes(value)), [], `${client}: and tells nothing of what was asked`)

    const arrival = await gateway.browser().logIn(client, { pushed })
    t.equal(arrival.page.query.get('state'), pushed.parameters['state'], `${client}: its state`)
    const tokens = await gateway.redeem(arrival, {}, client, holder)
    t.match(tokens, { status: 200, body: { scope: 'openid email' } }, `${client}: its scope`)
    t.match(JSON.parse(Buffer.from(tokens.body['id_token'].split('.')[1], 'base64url').toString()), { nonce: pushed.parameters['nonce'] }, `${client}: its nonce`)
  }
})

t.test('it belongs to the client that pushed it: to any other it opens nothing', async t => {
  const gateway = await testApp(t)
  const request_uri = uriOf(await gateway.push('agency'))
  for (const client_id of ['town', 'mobile', 'swift']) {
    isOurPage(t, await gateway.browser().get(at({ client_id, request_uri })), 'A19', client_id)
    isOurPage(t, await gateway.browser().get(at({ client_id, request_uri, redirect_uri: `https://${client_id}.example/back`, state: 's' })), 'A19', `${client_id}, its own address beside it`)
    isOurPage(t, await gateway.browser().post(`${base}/authorize`, { client_id, request_uri }, { crossSite: true }), 'A19', `${client_id}, by POST`)
  }
  isOurPage(t, await gateway.browser().get(at({ request_uri })), 'A01', 'nobody\'s name')
  isOurPage(t, await gateway.browser().get(at({ client_id: 'nobody', request_uri })), 'A01', 'a name that we do not know')
  isOurPage(t, await gateway.browser().get(`${at({ client_id: 'agency', request_uri })}&client_id=agency`), 'A01', 'its name twice')
  isOurPage(t, await gateway.browser().get(`${at({ client_id: 'agency', request_uri })}&request_uri=${request_uri}`), 'A03', 'itself twice')
  isChooser(t, await open(gateway, at({ client_id: 'agency', request_uri })), 'its own client is not harmed')
})

t.test('what was not sealed by us, or not for this, opens nothing', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const request_uri = uriOf(await gateway.push('agency'))
  const [version, kid, exp, payload] = request_uri.slice(urn.length).split('.') as [string, string, string, string]
  await browser.toConsent('agency')
  const holder = await keyHolder(gateway)
  await gateway.push('agency', {}, holder)
  const last = payload.at(-1)!
  const flipped = (text: string, index: number) => text.slice(0, index) + (text[index] === 'A' ? 'B' : 'A') + text.slice(index + 1)
  for (const [name, sealed] of Object.entries({
    nothing: '',
    nonsense: 'x',
    'a later end': [version, kid, Number(exp) + 60, payload].join('.'),
    'another key': [version, `${kid}x`, exp, payload].join('.'),
    'a key of the prototype': [version, '__proto__', exp, payload].join('.'),
    'another version': ['2', kid, exp, payload].join('.'),
    'one bit at its beginning': [version, kid, exp, flipped(payload, 0)].join('.'),
    'one bit in its middle': [version, kid, exp, flipped(payload, payload.length >> 1)].join('.'),
    'one bit of its tag': [version, kid, exp, flipped(payload, payload.length - 3)].join('.'),
    'its end cut off': request_uri.slice(urn.length, -4),
    'another spelling of its last byte': [version, kid, exp, payload.slice(0, -1) + String.fromCharCode(last.charCodeAt(0) + 1)].join('.'),
    padding: `${request_uri.slice(urn.length)}=`,
    'something after it': `${request_uri.slice(urn.length)}.x`,
    'a space after it': `${request_uri.slice(urn.length)} `,
    'the cookie of a login': browser.cookie(/login-/)!,
    'the cookie of who came back': browser.cookie(/identity/)!,
    'a nonce for proofs': holder.nonce!,
    'its prefix twice': request_uri
  })) isOurPage(t, await gateway.browser().get(at({ client_id: 'agency', request_uri: urn + sealed })), 'A19', name)

  const { parameters } = requestOf('agency')
  for (const wrong of [request_uri.replace('urn:', 'URN:'), request_uri.slice(urn.length), 'https://agency.example/request', `https://agency.example/${request_uri}`, 'urn:example:x']) {
    const page = await gateway.browser().get(at({ ...parameters, request_uri: wrong }))
    t.strictSame([page.status, page.query.get('error'), page.query.get('state')], [303, 'request_uri_not_supported', parameters['state']], `${wrong.slice(0, 40)}: not one of ours, and none is fetched`)
  }
})

t.test('it lives as long as was said, and a login that has begun lives on (RFC 9126 §2.2)', async t => {
  const gateway = await testApp(t, { clients: { town: { request_uri_seconds: 600 }, swift: { request_uri_seconds: 1 } } })
  for (const [client, seconds] of [['agency', 60], ['town', 600], ['swift', 1]] as const) {
    const pushed = await gateway.push(client)
    t.equal(pushed.answer.body['expires_in'], seconds, client)
    const browser = gateway.browser()
    gateway.wait(seconds - 1)
    const way = await browser.startAt(pushed.address, pushed)
    isChooser(t, way.page, `${client}: a second before`)
    gateway.wait(1)
    isOurPage(t, await gateway.browser().get(pushed.address), 'A19', `${client}: the end`)
    const back = await browser.comeBack(await browser.choose(way.page))
    const end = back.status === 303 ? back : await browser.agree(back)
    t.ok(end.query.get('code'), `${client}: who had begun arrives`)
  }
})

t.test('it is good for one code: until then it can be loaded again, after that it is used (RFC 9126 §7.3)', async t => {
  const gateway = await testApp(t)
  const pushed = await gateway.push('agency')
  const browser = gateway.browser()
  for (const name of ['first', 'reloaded', 'by POST']) {
    const page = name === 'by POST' ? await browser.follow(await browser.post(`${base}/authorize`, { client_id: 'agency', request_uri: uriOf(pushed) }, { crossSite: true })) : await browser.follow(await browser.get(pushed.address))
    isChooser(t, page, name)
  }
  const [first, second] = [await browser.toConsent('agency', { pushed }), await browser.startAt(pushed.address, pushed)]
  t.ok((await browser.agree(first.page)).query.get('code'), 'one tab gets its code')
  isForClient(t, await browser.comeBack(await browser.choose(second.page)).then(page => browser.agree(page)), 'invalid_request_uri', pushed, 'the other tab, which had begun before')
  isForClient(t, await gateway.browser().get(pushed.address), 'invalid_request_uri', pushed, 'another browser, later')
  isForClient(t, await gateway.browser().post(`${base}/authorize`, { client_id: 'agency', request_uri: uriOf(pushed) }, { crossSite: true }), 'invalid_request_uri', pushed, 'by POST')
})

t.test('of ten citizens who were sent the same request exactly one gets a code', async t => {
  const gateway = await testApp(t)
  const pushed = await gateway.push('agency')
  const waiting = await Promise.all(Array.from({ length: 10 }, async () => { const browser = gateway.browser(); return { browser, way: await browser.toConsent('agency', { pushed }) } }))
  const ends = await Promise.all(waiting.map(({ browser, way }) => browser.agree(way.page)))
  t.equal(ends.filter(({ query }) => query.has('code')).length, 1)
  t.equal(ends.filter(({ query }) => query.get('error') === 'invalid_request_uri').length, 9)
})

t.test('a double click, or a second try after a failure, leads to the service, as with a plain request', async t => {
  const gateway = await testApp(t)
  for (const pushed of [undefined, await gateway.push('agency')]) {
    const name = pushed === undefined ? 'plain' : 'pushed'
    const browser = gateway.browser()
    const { page } = await browser.toConsent('agency', { ...(pushed && { pushed }) })
    const ends = await Promise.all([browser.agree(page), browser.agree(page)])
    t.strictSame(ends.map(({ query }) => query.get('error')), [null, null], `${name}: clicked twice`)
  }
  for (const pushed of [undefined, await gateway.push('agency')]) {
    const name = pushed === undefined ? 'plain' : 'pushed'
    const browser = gateway.browser()
    const { page } = await browser.toConsent('agency', { ...(pushed && { pushed }) })
    gateway.store.fail('put')
    t.equal((await browser.agree(page)).query.get('error'), 'temporarily_unavailable', `${name}: no code could be kept`)
    gateway.store.heal()
    t.equal((await browser.agree(page)).query.get('error'), null, `${name}: so none was issued, and the request is not used`)
  }
})

t.test('who comes back an hour and a half later finds it used still', async t => {
  const gateway = await testApp(t, { clients: { agency: { request_uri_seconds: 600 } } })
  const pushed = await gateway.push('agency')
  gateway.wait(599)
  const late = gateway.browser()
  const way = await late.startAt(pushed.address, pushed)
  await gateway.browser().logIn('agency', { pushed })
  gateway.wait(2 * 3600 - 1)
  isForClient(t, await late.agree(await late.comeBack(await late.choose(way.page))), 'invalid_request_uri', pushed, 'in the last second of the login')
})

t.test('by single sign-on and without a page it is used just so', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('swift')
  const pushed = await gateway.push('swift', { prompt: 'none' })
  const page = await browser.follow(await browser.get(pushed.address))
  t.ok(page.query.get('code'), 'without a page')
  isForClient(t, await browser.get(pushed.address), 'invalid_request_uri', pushed, 'and once')
})

t.test('what cannot be pushed is told at once, by the error that is meant (RFC 9126 §2.3)', async t => {
  const gateway = await testApp(t)
  const { request_uri: _, ...given } = { ...requestOf('agency').parameters, request_uri: '' }
  for (const [name, error, changes] of [
    ['a request_uri within', 'invalid_request', { request_uri: uriOf(await gateway.push('agency')) }],
    ['a request_uri of another place', 'invalid_request', { request_uri: 'https://agency.example/request' }],
    ['no redirect_uri', 'invalid_request', { redirect_uri: undefined }],
    ['a redirect_uri that is not registered', 'invalid_request', { redirect_uri: 'https://evil.example/' }],
    ['nearly its redirect_uri', 'invalid_request', { redirect_uri: 'https://agency.example/back/' }],
    ['a redirect_uri of another client', 'invalid_request', { redirect_uri: 'https://town.example/back' }],
    ['no response_type', 'invalid_request', { response_type: undefined }],
    ['response_type token', 'unsupported_response_type', { response_type: 'token' }],
    ['response_mode fragment', 'invalid_request', { response_mode: 'fragment' }],
    ['no scope', 'invalid_scope', { scope: undefined }],
    ['scope of others', 'invalid_scope', { scope: 'openid address' }],
    ['no code_challenge', 'invalid_request', { code_challenge: undefined, code_challenge_method: undefined }],
    ['code_challenge_method plain', 'invalid_request', { code_challenge_method: 'plain' }],
    ['prompt none login', 'invalid_request', { prompt: 'none login' }],
    ['a prompt that nobody knows', 'invalid_request', { prompt: 'create' }],
    ['claims that are not JSON', 'invalid_request', { claims: '{' }],
    ['an idp_hint that is not allowed', 'invalid_request', { idp_hint: 'gone' }],
    ['an essential acr that nobody knows', 'unmet_authentication_requirements', { claims: '{"id_token":{"acr":{"essential":true,"value":"eidas9"}}}' }],
    ['a dpop_jkt that is none', 'invalid_request', { dpop_jkt: 'x' }],
    ['a registration', 'registration_not_supported', { registration: '{}' }],
    ['an unsigned request object', 'request_not_supported', { request: 'eyJhbGciOiJub25lIn0.e30.' }],
    ['an id_token_hint that is none', 'invalid_request', { id_token_hint: 'x' }],
    ['an oversized nonce', 'invalid_request', { nonce: 'n'.repeat(5000) }],
    ['state beyond ASCII', 'invalid_request', { state: 'é' }],
    ['CR and LF in a nonce', 'invalid_request', { nonce: 'a\r\nset-cookie: b' }],
    ['another client_id', 'invalid_client', { client_id: 'town' }]
  ] as const) isRefused(t, await gateway.postAs('agency', '/par', { ...given, ...changes } as Record<string, string | undefined>), error === 'invalid_client' ? 401 : 400, error, name)

  const headers = { authorization: basic('agency', secretOf('agency')) }
  const form = new URLSearchParams(given).toString()
  for (const twice of ['scope=openid', 'redirect_uri=https://agency.example/back', 'client_id=agency', 'state=a', 'nonce=b']) isRefused(t, await gateway.post('/par', `${form}&${twice}`, headers), 400, 'invalid_request', `${twice.split('=')[0]} twice`)
  isRefused(t, await gateway.post('/par', JSON.stringify(given), { ...headers, 'content-type': 'application/json' }), 415, 'invalid_request', 'JSON')
  isRefused(t, await gateway.post('/par', form, { ...headers, 'content-type': 'multipart/form-data; boundary=x' }), 415, 'invalid_request', 'multipart')
  isRefused(t, await gateway.post('/par', `${form}&x=${'y'.repeat(40_000)}`, headers), 413, 'invalid_request', 'too large')
  t.equal((await gateway.post('/par', form, headers)).status, 201, 'as it is, it is good')
})

t.test('only a client that proves itself pushes, and only by POST', async t => {
  const gateway = await testApp(t)
  const { parameters } = requestOf('agency')
  for (const [name, headers, form, challenged] of [
    ['nothing', {}, {}, false],
    ['a wrong secret', { authorization: basic('agency', 'wrong') }, {}, true],
    ['the secret of another', { authorization: basic('town', secretOf('agency')) }, { client_id: 'town' }, true],
    ['its secret in the body', {}, { client_secret: secretOf('agency') }, false],
    ['a client that is not active', { authorization: basic('closed', secretOf('closed')) }, { client_id: 'closed' }, true]
  ] as const) {
    const answer = await gateway.post('/par', { ...parameters, ...form } as Record<string, string>, headers)
    isRefused(t, answer, 401, 'invalid_client', name)
    t.match(String(answer.headers['www-authenticate']), challenged ? /^Basic realm="/ : /^undefined$/, `${name}: WWW-Authenticate where Basic was tried, and only there`)
  }
  for (const method of ['GET', 'PUT', 'DELETE', 'HEAD', 'PATCH'] as const) {
    const { statusCode, body } = await gateway.app.inject({ method, url: `${base}/par?${new URLSearchParams(parameters)}`, headers: { authorization: basic('agency', secretOf('agency')) } })
    t.match(statusCode, /^40[45]$/, method)
    t.notMatch(body, urn, method)
  }
  t.equal((await gateway.app.inject({ method: 'POST', url: `${base}/par?${new URLSearchParams(parameters)}`, headers: { authorization: basic('agency', secretOf('agency')), 'content-type': 'application/x-www-form-urlencoded' }, payload: '' })).statusCode, 400, 'parameters in the query of a POST are not read')
})

t.test('what a browser cannot carry is told when it is pushed, by the name of its largest parameter', async t => {
  const gateway = await testApp(t)
  const large = await gateway.browser().start('agency', { state: 's'.repeat(1000) })
  t.match(large.page.query.get('error_description'), /^state: /, 'too large when it is plain')
  const pushed = await gateway.push('agency', { state: 's'.repeat(1000) })
  t.equal((await gateway.browser().logIn('agency', { pushed })).page.query.get('state'), 's'.repeat(1000), 'and good when it is pushed')

  for (const [name, changes] of [['state', { state: 'x'.repeat(2000) }], ['nonce', { nonce: 'x'.repeat(1024), state: 'y'.repeat(1020) }], ['claims', { claims: JSON.stringify({ userinfo: { sub: { value: 'x'.repeat(1900) } } }) }]] as const) {
    const { answer } = await gateway.push('agency', changes)
    isRefused(t, answer, 400, 'invalid_request', name)
    t.match(answer.body['error_description'], new RegExp(`^${name}: `), `${name} is named`)
  }

  let [fits, tooMuch] = [1000, 2000]
  while (tooMuch - fits > 1) {
    const middle = Math.floor((fits + tooMuch) / 2)
    if ((await gateway.push('agency', { state: 'x'.repeat(middle) })).answer.status === 201) fits = middle
    else tooMuch = middle
  }
  const browser = gateway.browser()
  const largest = await gateway.push('agency', { state: 'x'.repeat(fits), idp_hint: 'taxes', ui_locales: 'en '.repeat(40) })
  const arrival = await browser.follow(await browser.get(largest.address))
  t.match(arrival.location, /^https:\/\/taxes\.example\//, 'the largest is opened')
  const end = await browser.agree(await browser.comeBack(arrival))
  t.equal(end.query.get('state'), 'x'.repeat(fits), 'and goes to its end')
})

t.test('the longest address that can be registered is pushed and opened like any other', async t => {
  const redirect_uri = `https://agency.example/${'p'.repeat(2000)}`
  const gateway = await testApp(t, { clients: { agency: { redirect_uris: [redirect_uri] } } })
  const pushed = await gateway.push('agency', { redirect_uri, state: 's'.repeat(1000) })
  t.equal(pushed.answer.status, 201)
  const arrival = await gateway.browser().logIn('agency', { pushed })
  t.ok(arrival.page.location.startsWith(`${redirect_uri}?code=`))
})

t.test('the registration in force when it is used decides, not the one when it was pushed', async t => {
  const gateway = await testApp(t)
  const { clients } = gateway.app.configuration
  const begun = gateway.browser()
  const pushed = await gateway.push('agency')
  const way = await begun.toConsent('agency', { pushed })
  const agency = clients.get('agency')!
  const { redirect_uris } = agency

  agency.active = false
  isOurPage(t, await gateway.browser().get(pushed.address), 'A02', 'closed meanwhile', 403)
  t.match(await begun.agree(way.page), { status: 403, code: 'A02', location: '' }, 'closed on its way')
  agency.active = true
  agency.redirect_uris = ['https://agency.example/moved']
  isOurPage(t, await gateway.browser().get(pushed.address), 'A03', 'its address deregistered')
  t.match(await begun.agree(way.page), { status: 400, code: 'A03', location: '' }, 'its address deregistered on its way')
  agency.redirect_uris = [...redirect_uris].reverse()
  isChooser(t, await open(gateway, pushed.address), 'its addresses in another order: as it was')
  agency.redirect_uris = redirect_uris
  clients.delete('agency')
  isOurPage(t, await gateway.browser().get(pushed.address), 'A01', 'removed')
})

t.test('what stands beside it counts for nothing (RFC 9126 §4, RFC 9101 §6.3)', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const beside: Record<string, string> = {
    redirect_uri: 'https://evil.example/',
    response_type: 'token',
    response_mode: 'form_post',
    scope: 'openid profile email birth',
    state: 'of-the-attacker',
    nonce: 'of-the-attacker',
    code_challenge: 'x',
    code_challenge_method: 'plain',
    prompt: 'none',
    max_age: '-1',
    acr_values: 'eidas3',
    claims: '{',
    dpop_jkt: holder.jkt,
    idp_hint: 'post',
    id_token_hint: 'x',
    registration: '{}',
    request: 'x'
  }
  for (const [name, value] of [...Object.entries(beside), ['nonce', 'n'.repeat(5000)], ['state', 'a\r\nb'], ['request', await requestObjectOf('notary', { client_id: 'notary' }, { issuer, now: gateway.now() })]] as const) {
    const pushed = await gateway.push('agency', { scope: 'openid' })
    const arrival = await gateway.browser().logIn('agency', { pushed: { ...pushed, address: `${pushed.address}&${new URLSearchParams({ [name]: value })}` } })
    t.ok(arrival.page.location.startsWith('https://agency.example/back?code='), `${name}: to the address that was pushed`)
    t.equal(arrival.page.query.get('state'), pushed.parameters['state'], `${name}: its state`)
    const tokens = await gateway.redeem(arrival)
    t.match(tokens, { status: 200, body: { scope: 'openid', token_type: 'Bearer' } }, `${name}: its scope and challenge`)
    t.match(JSON.parse(Buffer.from(tokens.body['id_token'].split('.')[1], 'base64url').toString()), { nonce: pushed.parameters['nonce'], acr: 'eidas1' }, `${name}: its nonce and level`)
  }
  const pushed = await gateway.push('agency')
  isChooser(t, await open(gateway, `${pushed.address}&scope=a&scope=b&state=c&state=d&redirect_uri=e&redirect_uri=f`), 'twice')
})

t.test('a request object is pushed as any other: what stands outside of it counts for nothing (RFC 9126 §3)', async t => {
  const gateway = await testApp(t)
  const now = gateway.now()
  const { parameters, code_verifier } = requestOf('notary', { scope: 'openid' })
  const object = (changes: Record<string, unknown> = {}, key = keyOf('notary')) => requestObjectOf('notary', { ...parameters, ...changes }, { issuer, now }, {}, key)
  const answer = await gateway.postAs('notary', '/par', { request: await object(), scope: 'openid email', state: 'outside', redirect_uri: 'https://evil.example/', dpop_jkt: 'x'.repeat(43) })
  t.equal(answer.status, 201)
  const arrival = await gateway.browser().logIn('notary', { pushed: { parameters, code_verifier, address: at({ client_id: 'notary', request_uri: answer.body['request_uri'] }) } })
  t.equal(arrival.page.query.get('state'), parameters['state'])
  t.match(await gateway.redeem(arrival), { status: 200, body: { scope: 'openid' } })

  const other = keyOf('vault')
  for (const [name, error, request, more] of [
    ['by a key of another client', 'invalid_request_object', await object({}, other), {}],
    ['of another client', 'invalid_request_object', await requestObjectOf('vault', requestOf('vault').parameters, { issuer, now }), {}],
    ['with another client_id', 'invalid_request_object', await object({ client_id: 'agency' }), {}],
    ['without client_id', 'invalid_request_object', await object({ client_id: undefined }), {}],
    ['expired', 'invalid_request_object', await object({ exp: now - 60 }), {}],
    ['with a redirect_uri that is not registered', 'invalid_request', await object({ redirect_uri: 'https://evil.example/' }), {}],
    ['without redirect_uri, which stands outside', 'invalid_request', await object({ redirect_uri: undefined }), { redirect_uri: parameters['redirect_uri']! }],
    ['with a scope that may not be asked', 'invalid_scope', await object({ scope: 'openid address' }), {}],
    ['with a request_uri within', 'invalid_request_object', await object({ request_uri: uriOf(await gateway.push('notary')) }), {}],
    ['beside a request_uri', 'invalid_request', await object(), { request_uri: uriOf(await gateway.push('notary')) }]
  ] as const) isRefused(t, await gateway.postAs('notary', '/par', { request, ...more }), 400, error, name)
})

t.test('a client that pushes its requests has no others (RFC 9126 §5)', async t => {
  const gateway = await testApp(t, { clients: { town: { require_pushed_authorization_requests: true }, notary: { require_pushed_authorization_requests: true } } })
  for (const client of ['town', 'vault', 'notary']) {
    const { page, parameters } = await gateway.browser().start(client)
    t.strictSame([page.status, page.query.get('error'), page.query.get('state')], [303, 'invalid_request', parameters['state']], `${client}: plain`)
    t.match(page.query.get('error_description'), /^request_uri: /)
  }
  const { parameters } = requestOf('notary')
  const request = await requestObjectOf('notary', parameters, { issuer, now: gateway.now() })
  t.equal((await gateway.browser().get(at({ client_id: 'notary', request, redirect_uri: parameters['redirect_uri']! }))).query.get('error'), 'invalid_request', 'a signed request is not a pushed one')
  isChooser(t, await open(gateway, (await gateway.push('notary')).address), 'pushed')
})

t.test('a code is bound to the key that pushed, or that dpop_jkt names (RFC 9449 §10)', async t => {
  const gateway = await testApp(t)
  const [holder, thief] = [await keyHolder(gateway), await keyHolder(gateway)]
  isRefused(t, (await gateway.push('agency', { dpop_jkt: thief.jkt }, holder)).answer, 400, 'invalid_dpop_proof', 'a proof by another key than dpop_jkt names')
  for (const [name, pushed] of Object.entries({
    'by a proof': await gateway.push('agency', {}, holder),
    'by dpop_jkt': await gateway.push('agency', { dpop_jkt: holder.jkt }),
    'by both': await gateway.push('agency', { dpop_jkt: holder.jkt }, holder)
  })) {
    t.equal(pushed.answer.status, 201, name)
    const arrival = await gateway.browser().logIn('agency', { pushed })
    isRefused(t, await gateway.redeem(arrival), 400, 'invalid_grant', `${name}: without a proof`)
    isRefused(t, await gateway.redeem(arrival, {}, 'agency', thief), 400, 'invalid_grant', `${name}: by another key`)
    const { status, body } = await gateway.redeem(arrival, {}, 'agency', holder)
    t.match({ status, body }, { status: 200, body: { token_type: 'DPoP' } }, `${name}: the code was left to its holder`)
    t.equal((await gateway.userinfo(body['access_token'], holder)).status, 200, name)
  }
})

t.test('a proof is asked a nonce, and every answer brings the next (RFC 9449 §8)', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const { parameters } = requestOf('agency')
  const first = await gateway.postAs('agency', '/par', parameters, { dpop: await holder.proof({ path: '/par' }) })
  isRefused(t, first, 400, 'use_dpop_nonce', 'no nonce')
  holder.nonce = first.headers['dpop-nonce']
  t.ok(holder.nonce)
  const dpop = await holder.proof({ path: '/par' })
  const pushed = await gateway.postAs('agency', '/par', parameters, { dpop })
  t.match(pushed, { status: 201, headers: { 'dpop-nonce': /./ } })
  t.match(await gateway.postAs('agency', '/par', parameters, { dpop }), { status: 201, headers: { 'dpop-nonce': /./ } }, 'the same proof again, which gains nothing: what it gives is bound to its key')
  isRefused(t, await gateway.postAs('agency', '/par', parameters, { dpop: await holder.proof({ path: '/token' }) }), 400, 'invalid_dpop_proof', 'one for /token')
  t.equal((await gateway.push('agency')).answer.headers['dpop-nonce'], undefined, 'who does not prove is told none')
})

t.test('errors of a pushed request go where it said, by the way it said', async t => {
  const gateway = await testApp(t)
  const silent = await gateway.push('agency', { prompt: 'none' })
  isForClient(t, await open(gateway, silent.address), 'login_required', silent, 'prompt=none')
  const form = await gateway.push('agency', { prompt: 'none', response_mode: 'form_post' })
  t.match(await open(gateway, form.address), { status: 200, location: '', fields: { error: 'login_required', state: form.parameters['state'], iss: issuer } }, 'by form_post')
  const browser = gateway.browser()
  const pushed = await gateway.push('agency')
  const { page } = await browser.startAt(pushed.address, pushed)
  isForClient(t, await browser.get(page.link('return')!), 'access_denied', pushed, 'leaving')
})

t.test('its hint and its languages go along, as far as they are allowed when it is used', async t => {
  const gateway = await testApp(t)
  const pushed = await gateway.push('agency', { idp_hint: 'post', ui_locales: 'en' })
  t.match((await open(gateway, pushed.address)).location, /^https:\/\/post\.example\/authorize\?/, 'hinted')
  gateway.app.configuration.clients.get('agency')!.idp_hints = []
  t.match(await open(gateway, pushed.address), { status: 200, body: /<html lang="en"/ }, 'no longer allowed: the chooser, in the language that was asked')
})

t.test('pushing asks nothing of the store, but for the proofs of a fapi2 client', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const before = await gateway.push('vault', {}, holder)
  gateway.store.fail()
  for (const client of ['agency', 'town', 'mobile', 'notary']) {
    const pushed = await gateway.push(client)
    t.equal(pushed.answer.status, 201, client)
    isChooser(t, await open(gateway, pushed.address), `${client}: and it is opened`)
  }
  const { answer } = await gateway.push('vault', {}, holder)
  isRefused(t, answer, 503, 'temporarily_unavailable', 'vault')
  t.match(answer.headers['retry-after'], /^\d+$/, 'Retry-After')
  isChooser(t, await open(gateway, before.address), 'what was pushed before is opened')
  gateway.store.heal()
  t.equal((await gateway.push('vault', {}, holder)).answer.status, 201, 'and after it all is as before')
})

t.test('whether it was used is asked for a quarter of a second, and that it is used must be known', async t => {
  const gateway = await testApp(t, { clients: { agency: { degraded: 'deny' } } })
  const patience: unknown[] = []
  const { said } = gateway.store
  gateway.store.said = (name, options) => { patience.push(options?.patienceMs); return said(name, options) }
  const pushed = await gateway.push('agency')
  const browser = gateway.browser()
  const way = await browser.toConsent('agency', { pushed })
  t.strictSame(patience, [250])
  gateway.store.fail('once')
  isForClient(t, await browser.agree(way.page), 'temporarily_unavailable', pushed, 'no code while nobody can tell')
  gateway.store.heal()
  t.ok((await browser.agree(way.page)).query.get('code'), 'afterwards it is still good')
})

t.test('a login that may do without the store is believed that its request was not used, and it is counted', async t => {
  const gateway = await testApp(t)
  const pushed = await gateway.push('agency')
  const browser = gateway.browser()
  const way = await browser.toConsent('agency', { pushed })
  gateway.store.fail('once')
  t.equal(await gateway.metric('passerelle_unchecked_replays_total'), 0)
  t.ok((await browser.agree(way.page)).query.get('code'))
  t.equal(await gateway.metric('passerelle_unchecked_replays_total'), 1)
})

t.test('a data provider, which has no address, pushes nothing', async t => {
  const gateway = await testApp(t)
  const { parameters } = requestOf('agency')
  isRefused(t, await gateway.postAs('archive', '/par', { ...parameters, client_id: 'archive' }), 400, 'invalid_request', 'with another\'s address')
  isRefused(t, await gateway.postAs('archive', '/par', { ...parameters, client_id: 'archive', redirect_uri: undefined }), 400, 'invalid_request', 'with none')
})

t.test('the page of a data provider whom a citizen is sent by is a page like any other', async t => {
  const gateway = await testApp(t)
  const named = await gateway.browser().get(at({ client_id: 'archive', request_uri: urn + randomBytes(64).toString('base64url') }))
  t.match(named, { status: 400, code: 'A19', id: /./, headers: { 'content-type': /^text\/html/ } }, 'pushed')
  t.match(await gateway.browser().get(at({ client_id: 'archive' })), { status: 400, code: 'A03', id: /./, headers: { 'content-type': /^text\/html/ } }, 'plain')
})

/** What a browser client of this origin is allowed at /par. */
const allowed = async (gateway: TestApp, origin: string) => (await gateway.app.inject({ method: 'OPTIONS', url: `${base}/par`, headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'dpop' } })).headers

t.test('a public client pushes from the origin it is registered for (Fetch §3.2)', async t => {
  const gateway = await testApp(t)
  t.match(await allowed(gateway, 'https://mobile.example'), { 'access-control-allow-origin': 'https://mobile.example', 'access-control-allow-headers': /DPoP/i })
  t.equal((await allowed(gateway, 'https://agency.example'))['access-control-allow-origin'], undefined)
  const holder = await keyHolder(gateway)
  const { headers } = await gateway.post('/par', requestOf('mobile').parameters, { origin: 'https://mobile.example', dpop: await holder.proof({ path: '/par' }) })
  t.match(headers, { 'access-control-allow-origin': 'https://mobile.example', 'access-control-expose-headers': /DPoP-Nonce/i, 'dpop-nonce': /./ }, 'it can read the nonce')
})
