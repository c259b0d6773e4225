import { sign } from 'node:crypto'
import { CompactEncrypt, decodeJwt } from 'jose'
import t, { type Test } from 'tap'
import { clientDesk, inDevelopment } from '../support/client-desk.ts'
import { assertionOf, keyHolder, keyOf, requestObjectOf, type Changes, type ClientKey } from '../support/client-keys.ts'
import { createForgedKey } from '../support/forging-provider.ts'
import { base, issuer, requestOf, testApp, type Page, type TestApp } from '../support/test-app.ts'

const at = (parameters: Record<string, string>) => `${base}/authorize?${new URLSearchParams(parameters)}`

const monotonic = performance.now.bind(performance)

/** A request of `notary` as a request object, changed as a test says. */
async function signed (gateway: TestApp, inside: Record<string, unknown> = {}, changes?: Changes, key?: ClientKey) {
  const asked = requestOf('notary', { scope: 'openid' })
  const request = await requestObjectOf('notary', { ...asked.parameters, ...inside }, { issuer: gateway.issuer, now: gateway.now() }, changes, key)
  return { ...asked, parameters: { ...asked.parameters, ...inside } as Record<string, string>, request }
}

/** What stands beside it, as OpenID Connect Core §6.1 wants it there too; the state is another, to be told apart. */
const beside = { client_id: 'notary', response_type: 'code', scope: 'openid', redirect_uri: 'https://notary.example/back', state: 'outside' }

function isOurPage (t: Test, page: Page, code: string, name: string, status = 400) {
  t.match(page, { status, code, id: /./, location: '' }, `${name}: a page of ours`)
  t.strictSame(page.setCookies, [], `${name}: no login has begun`)
}

function isSentTo (t: Test, page: Page, address: string, error: string, state: string | null, name: string) {
  t.equal(page.status, 303, name)
  t.ok(page.location.startsWith(`${address}?`), `${name}: ${page.location.slice(0, 60)} is ${address}`)
  t.strictSame([page.query.get('error'), page.query.get('state'), page.query.get('iss')], [error, state, issuer], `${name}: error, state, iss`)
  t.match(page.query.get('error_description'), /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/, name)
}

t.test('a request that its client signed goes to its end, by whichever algorithm (RFC 9101 §4)', async t => {
  const keys = (['RS256', 'PS256', 'ES256', 'EdDSA'] as const).map(alg => keyOf('notary', alg))
  const gateway = await testApp(t, { clients: { notary: { jwks: { keys: keys.map(({ published }) => published) } } } })
  for (const [index, key] of keys.entries()) {
    const asked = await signed(gateway, { scope: 'openid email', max_age: 600, claims: { id_token: { given_name: null } } }, {}, key)
    const alone = { client_id: 'notary', request: asked.request }
    const browser = gateway.browser()
    const way = index === 1 ? { ...asked, page: await browser.follow(await browser.post(`${base}/authorize`, alone, { crossSite: true })) } : await browser.startAt(at(alone), asked)
    const end = await browser.agree(await browser.comeBack(await browser.choose(way.page)))
    t.equal(end.query.get('state'), asked.parameters['state'], `${key.alg}: its state`)
    const tokens = await gateway.redeem({ ...asked, code: end.query.get('code')! })
    t.match(tokens, { status: 200, body: { scope: 'openid email' } }, `${key.alg}: its scope and challenge`)
    t.match(decodeJwt(tokens.body['id_token']), { nonce: asked.parameters['nonce'], given_name: 'Angèle' }, `${key.alg}: its nonce and claims`)
    t.equal(gateway.providers['taxes']!.asked.at(-1)!.max_age, 600, `${key.alg}: its max_age`)
  }
})

t.test('only what stands inside counts (RFC 9101 §6.3)', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  for (const [name, value] of Object.entries({
    redirect_uri: 'https://notary.example/other',
    response_type: 'token',
    response_mode: 'form_post',
    scope: 'openid profile email birth',
    state: 'outside',
    nonce: 'outside',
    code_challenge: 'x',
    code_challenge_method: 'plain',
    acr_values: 'eidas3',
    claims: '{',
    prompt: 'none',
    max_age: '-1',
    dpop_jkt: holder.jkt,
    idp_hint: 'gone',
    id_token_hint: 'x',
    registration: '{}'
  })) {
    const asked = await signed(gateway)
    const arrival = await gateway.browser().logIn('notary', { pushed: { ...asked, address: at({ client_id: 'notary', request: asked.request, [name]: value }) } })
    t.ok(arrival.page.location.startsWith('https://notary.example/back?code='), `${name}: its address`)
    t.equal(arrival.page.query.get('state'), asked.parameters['state'], `${name}: its state`)
    const tokens = await gateway.redeem(arrival)
    t.match(tokens, { status: 200, body: { scope: 'openid', token_type: 'Bearer' } }, `${name}: its scope and challenge`)
    t.match(decodeJwt(tokens.body['id_token']), { nonce: asked.parameters['nonce'], acr: 'eidas1' }, `${name}: its nonce and level`)
  }
  for (const [name, taken] of Object.entries({ response_type: 'invalid_request', scope: 'invalid_scope', code_challenge: 'invalid_request', code_challenge_method: 'invalid_request' })) {
    const { parameters, request } = await signed(gateway, { [name]: undefined })
    const outside = requestOf('notary').parameters
    isSentTo(t, await gateway.browser().get(at({ client_id: 'notary', request, [name]: outside[name]! })), 'https://notary.example/back', taken, parameters['state']!, `${name} outside only`)
  }
})

t.test('what is not signed by this client, for us, now, is invalid_request_object, sent to the address beside it (RFC 9101 §6.2, §6.3)', async t => {
  const rsa = keyOf('notary', 'RS256')
  const gateway = await testApp(t, { clients: { notary: { jwks: { keys: [keyOf('notary').published, rsa.published] } } } })
  const now = gateway.now()
  const made = async (inside: Record<string, unknown> = {}, changes?: Changes, key?: ClientKey) => (await signed(gateway, inside, changes, key)).request
  const good = await made()
  const [head, payload, signature] = good.split('.') as [string, string, string]
  const forged = Buffer.from(JSON.stringify({ ...decodeJwt(good), scope: 'openid email' })).toString('base64url')
  const holder = await keyHolder(gateway, keyOf('notary'))
  const { body: tokens } = await gateway.redeem(await gateway.browser().logIn('notary'))
  const wrong: Record<string, string> = {
    nonsense: 'x',
    'two parts': `${head}.${payload}`,
    'no signature': `${head}.${payload}.`,
    'other claims under its signature': `${head}.${forged}.${signature}`,
    'no JSON within': `${head}.${Buffer.from('x').toString('base64url')}.${signature}`,
    'encrypted, which is not offered': await new CompactEncrypt(Buffer.from(good)).setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM' }).encrypt(createForgedKey('ES256').publicKey),
    'HS256 by its public key': await made({}, { header: { alg: 'HS256', kid: rsa.kid }, key: Buffer.from(JSON.stringify(rsa.published)) }),
    'no alg': await made({}, { header: { alg: undefined } }),
    'a key of another client': await made({}, {}, keyOf('vault')),
    'a key that it names as its own': await made({}, {}, createForgedKey('ES256', keyOf('notary').kid)),
    'a key that it brings along': await made({}, { header: { jwk: createForgedKey('ES256').published } }, createForgedKey('ES256')),
    'a kid of nobody': await made({}, { header: { kid: 'gone' } }),
    'a header that must be understood': await made({}, { header: { crit: ['http://x'], 'http://x': 1 } }),
    'typ of an assertion': await made({}, { header: { typ: 'client-authentication+jwt' } }),
    'typ of a proof': await made({}, { header: { typ: 'dpop+jwt' } }),
    'typ of an access token': await made({}, { header: { typ: 'at+jwt' } }),
    'no client_id': await made({ client_id: undefined }),
    'another client_id': await made({ client_id: 'agency' }),
    'client_id a list': await made({ client_id: ['notary'] }),
    'another iss': await made({ iss: 'agency' }),
    'no aud': await made({ aud: undefined }),
    'another aud': await made({ aud: 'https://evil.example' }),
    'aud our authorization endpoint': await made({ aud: `${issuer}/authorize` }),
    'aud nearly us': await made({ aud: `${issuer}/` }),
    'an empty list as aud': await made({ aud: [] }),
    expired: await made({ exp: now - 30 }),
    'exp as text': await made({ exp: 'tomorrow' }),
    'exp null': await made({ exp: null }),
    'nbf in the future': await made({ nbf: now + 31 }),
    'nbf as text': await made({ nbf: 'x' }),
    'a sub as assertions have': await made({ sub: 'notary' }),
    'a request within': await made({ request: good }),
    'a request_uri within': await made({ request_uri: 'https://notary.example/request' }),
    'a pushed request within': await made({ request_uri: (await gateway.push('notary')).answer.body['request_uri'] }),
    'a client assertion': await assertionOf('notary', { issuer, now }),
    'a client assertion that names its client': await assertionOf('notary', { issuer, now }, { claims: requestOf('notary').parameters }),
    'a DPoP proof': await holder.proof({ method: 'GET', path: '/authorize' }, { claims: { ...requestOf('notary').parameters, aud: issuer } }),
    'an ID Token of ours': tokens['id_token']
  }
  for (const [name, request] of Object.entries(wrong)) {
    isSentTo(t, await gateway.browser().get(at({ ...beside, request })), 'https://notary.example/back', 'invalid_request_object', 'outside', name)
    isOurPage(t, await gateway.browser().get(at({ client_id: 'notary', request })), 'A17', `${name}, no address beside it`)
  }
  const malformed: Record<string, string> = {
    'a number as state': await made({ state: 7 }),
    'a list as scope': await made({ scope: ['openid'] }),
    'an object as nonce': await made({ nonce: {} }),
    'null as prompt': await made({ prompt: null }),
    'a control character in its state': await made({ state: 'a\r\nset-cookie: b' }),
    'an oversized nonce': await made({ nonce: 'n'.repeat(1025) }),
    'oversized claims': await made({ claims: { userinfo: { sub: { value: 'x'.repeat(2048) } } } })
  }
  for (const [name, request] of Object.entries(malformed)) isOurPage(t, await gateway.browser().get(at({ ...beside, request })), 'A17', `${name}: opened, and what stands beside it counts no more`)
  const request = wrong['expired']!
  for (const redirect_uri of ['https://evil.example/', 'https://agency.example/back', 'https://notary.example/back/']) isOurPage(t, await gateway.browser().get(at({ ...beside, redirect_uri, request })), 'A17', redirect_uri)
  isSentTo(t, await gateway.browser().post(`${base}/authorize`, { ...beside, request }, { crossSite: true }), 'https://notary.example/back', 'invalid_request_object', 'outside', 'by POST')
  t.match(await gateway.browser().get(at({ ...beside, request, response_mode: 'form_post' })), { status: 200, location: '', fields: { error: 'invalid_request_object', state: 'outside', iss: issuer } }, 'by form_post')
  isOurPage(t, await gateway.browser().get(at({ ...beside, client_id: 'nobody', request: good })), 'A01', 'a client that we do not know')
  gateway.app.configuration.clients.get('notary')!.active = false
  t.match(await gateway.browser().get(at({ ...beside, request })), { status: /^40[03]$/, location: '' }, 'a client closed meanwhile')
  t.match(await gateway.browser().get(at({ ...beside, request: good })), { status: 403, code: 'A02', location: '' }, 'with a request that is good')
})

t.test('one whose payload is not encoded is refused, however well it is signed (RFC 7797 §7)', async t => {
  const redirect_uri = 'http://localhost:3000/back'
  const gateway = await testApp(t, { settings: inDevelopment, clients: { notary: { redirect_uris: [redirect_uri] } } })
  const claims = { ...requestOf('notary', { redirect_uri }).parameters, aud: gateway.issuer, exp: gateway.now() + 60 }
  const { kid, privateKey } = keyOf('notary')
  const made = (header: object, payload: string) => {
    const text = `${Buffer.from(JSON.stringify({ alg: 'ES256', kid, ...header })).toString('base64url')}.${payload}`
    return `${text}.${sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
  }
  const encoded = made({}, Buffer.from(JSON.stringify(claims)).toString('base64url'))
  t.equal((await gateway.browser().get(at({ client_id: 'notary', request: encoded }))).status, 200, 'encoded')
  t.notMatch(JSON.stringify(claims), /\./, 'it could be read')
  isOurPage(t, await gateway.browser().get(at({ client_id: 'notary', request: made({ crit: ['b64'], b64: false }, JSON.stringify(claims)) })), 'A17', 'not encoded')
})

t.test('one that is not signed, or of a client without keys, is not supported (OpenID Connect Core §6.1, RFC 9101 §10.2)', async t => {
  const gateway = await testApp(t)
  isSentTo(t, await gateway.browser().get(at({ ...beside, request: (await signed(gateway, {}, { header: { alg: 'none' } })).request })), 'https://notary.example/back', 'request_not_supported', 'outside', 'alg none')
  const agency = requestOf('agency').parameters
  const request = await requestObjectOf('agency', agency, { issuer, now: gateway.now() })
  isSentTo(t, await gateway.browser().get(at({ ...agency, request } as Record<string, string>)), 'https://agency.example/back', 'request_not_supported', agency['state']!, 'no keys')
})

t.test('what is right but for what is strict goes through', async t => {
  const gateway = await testApp(t)
  const now = gateway.now()
  for (const [name, inside, changes] of [
    ['no typ', {}, { header: { typ: undefined } }],
    ['typ JWT', {}, { header: { typ: 'JWT' } }],
    ['typ in full', {}, { header: { typ: 'application/oauth-authz-req+jwt' } }],
    ['no kid', {}, { header: { kid: undefined } }],
    ['no iss', { iss: undefined }, {}],
    ['no exp, nbf, iat, jti', { exp: undefined, nbf: undefined, iat: undefined, jti: undefined }, {}],
    ['aud a list with us in it', { aud: ['https://other.example', issuer] }, {}],
    ['expired within tolerance', { exp: now - 29 }, {}],
    ['nbf ahead within tolerance', { nbf: now + 30 }, {}],
    ['a sub of somebody', { sub: 'somebody' }, {}],
    ['max_age as text', { max_age: '600' }, {}],
    ['claims as text', { claims: '{"userinfo":{"email":null}}' }, {}],
    ['members that nobody knows', { shoe_size: 42, authorization_details: [{}] }, {}]
  ] as Array<[string, Record<string, unknown>, Changes]>) {
    const asked = await signed(gateway, inside, changes)
    t.match((await gateway.browser().startAt(at({ client_id: 'notary', request: asked.request }), asked)).page, { status: 200, body: /id="idp-taxes"/ }, name)
  }
})

t.test('by the registered algorithm only', async t => {
  const gateway = await testApp(t, { clients: { notary: { request_object_signing_alg: 'ES256', jwks: { keys: [keyOf('notary').published, keyOf('notary', 'RS256').published] } } } })
  isSentTo(t, await gateway.browser().get(at({ ...beside, request: (await signed(gateway, {}, {}, keyOf('notary', 'RS256'))).request })), 'https://notary.example/back', 'invalid_request_object', 'outside', 'RS256, by a key of the client')
  t.equal((await gateway.browser().get(at({ ...beside, request: (await signed(gateway)).request }))).status, 200, 'ES256')
  const strict = await testApp(t, { clients: { vault: { require_pushed_authorization_requests: false, jwks: { keys: [keyOf('vault').published, keyOf('vault', 'RS256').published] } } } })
  const { parameters } = requestOf('vault')
  for (const [alg, status] of [['RS256', 400], ['ES256', 201]] as const) {
    const holder = await keyHolder(strict)
    const request = await requestObjectOf('vault', parameters, { issuer, now: strict.now() }, {}, keyOf('vault', alg))
    t.equal((await holder.proving({ path: '/par' }, dpop => strict.postAs('vault', '/par', { request }, { dpop }))).status, status, `${alg} of a fapi2 client`)
  }
})

t.test('once it is opened, errors go where it says and by the way it says, not where what stands beside it says', async t => {
  const gateway = await testApp(t)
  const go = async (inside: Record<string, unknown>) => gateway.browser().get(at({ ...beside, request: (await signed(gateway, { redirect_uri: 'https://notary.example/other', state: 'inside', ...inside })).request }))
  for (const [error, inside] of [
    ['invalid_scope', { scope: 'openid address' }],
    ['invalid_request', { code_challenge: undefined, code_challenge_method: undefined }],
    ['invalid_request', { prompt: 'none login' }],
    ['invalid_request', { max_age: -1 }],
    ['invalid_request', { claims: [] }],
    ['unsupported_response_type', { response_type: 'token' }],
    ['login_required', { prompt: 'none' }],
    ['registration_not_supported', { registration: '{}' }]
  ] as const) isSentTo(t, await go(inside), 'https://notary.example/other', error, 'inside', JSON.stringify(inside))
  isSentTo(t, await go({ scope: 'email', state: undefined }), 'https://notary.example/other', 'invalid_scope', null, 'no state inside: none')
  t.match(await go({ scope: 'email', response_mode: 'form_post' }), { status: 200, location: '', waysOn: ['https://notary.example/other'], fields: { error: 'invalid_scope', state: 'inside' } }, 'by form_post')
  isSentTo(t, await go({ state: 's'.repeat(1500) }), 'https://notary.example/other', 'invalid_request', 's'.repeat(1500), 'too large for a browser to carry')
  const way = await signed(gateway, { redirect_uri: 'https://notary.example/other', state: 'inside' })
  const browser = gateway.browser()
  const { page } = await browser.startAt(at({ ...beside, request: way.request }), way)
  isSentTo(t, await browser.get(page.link('return')!), 'https://notary.example/other', 'access_denied', 'inside', 'leaving')
})

t.test('one that is opened and names no address of its client leads to a page, whatever stands beside it (RFC 6749 §4.1.2.1)', async t => {
  const gateway = await testApp(t)
  for (const redirect_uri of [undefined, 'https://evil.example/', 'https://agency.example/back', 'https://notary.example/back/']) {
    const { request } = await signed(gateway, { redirect_uri })
    isOurPage(t, await gateway.browser().get(at({ client_id: 'notary', request })), 'A03', `${redirect_uri}, nothing beside it`)
    isOurPage(t, await gateway.browser().get(at({ ...beside, request })), 'A03', `${redirect_uri}, a registered one beside it`)
    isOurPage(t, await gateway.browser().get(at({ ...beside, redirect_uri: 'https://evil.example/', request })), 'A03', `${redirect_uri}, another beside it`)
  }
})

t.test('beside a request_uri it is refused, and a pushed request knows nothing of it (RFC 9101 §5)', async t => {
  const gateway = await testApp(t)
  const { request } = await signed(gateway)
  isSentTo(t, await gateway.browser().get(at({ ...beside, request, request_uri: 'https://notary.example/request' })), 'https://notary.example/back', 'invalid_request', 'outside', 'an address')
  isSentTo(t, await gateway.browser().get(`${at({ ...beside, request })}&request=${request}`), 'https://notary.example/back', 'invalid_request', 'outside', 'twice')
  isSentTo(t, await gateway.browser().get(at({ ...beside, request: 'x'.repeat(8193) })), 'https://notary.example/back', 'invalid_request', 'outside', 'oversized')
  const pushed = await gateway.push('notary')
  const arrival = await gateway.browser().logIn('notary', { pushed: { ...pushed, address: `${pushed.address}&request=${request}` } })
  t.equal(arrival.page.query.get('state'), pushed.parameters['state'], 'what was pushed counts')
})

t.test('a client that signs its requests has no others (RFC 9101 §10.5)', async t => {
  const gateway = await testApp(t, { clients: { notary: { require_signed_request_object: true } } })
  const { page, parameters } = await gateway.browser().start('notary')
  isSentTo(t, page, 'https://notary.example/back', 'invalid_request', parameters['state']!, 'plain')
  t.match(page.query.get('error_description'), /^request: /)
  t.match((await gateway.push('notary')).answer, { status: 400, body: { error: 'invalid_request', error_description: /^request: / } }, 'pushed, plain')
  const asked = await signed(gateway)
  t.equal((await gateway.browser().get(at({ client_id: 'notary', request: asked.request }))).status, 200, 'signed')
  const answer = await gateway.postAs('notary', '/par', { request: asked.request })
  t.equal(answer.status, 201, 'pushed, signed')
  t.match((await gateway.browser().get(at({ client_id: 'notary', request_uri: answer.body['request_uri'] }))).location, /\/authorize\?login=/)
  const now = gateway.now()
  for (const [name, inside] of [['no end', { exp: undefined }], ['an end more than an hour ahead', { exp: now + 3631 }]] as const) {
    isSentTo(t, await gateway.browser().get(at({ ...beside, request: (await signed(gateway, inside)).request })), 'https://notary.example/back', 'invalid_request_object', 'outside', `${name}: it could be used for ever`)
  }
})

t.test('a code is bound to the key that it names, not to one that stands beside it (RFC 9449 §10)', async t => {
  const gateway = await testApp(t)
  const [holder, thief] = [await keyHolder(gateway), await keyHolder(gateway)]
  const asked = await signed(gateway, { dpop_jkt: holder.jkt })
  const arrival = await gateway.browser().logIn('notary', { pushed: { ...asked, address: at({ client_id: 'notary', request: asked.request, dpop_jkt: thief.jkt }) } })
  t.match(await gateway.redeem(arrival, {}, 'notary', thief), { status: 400, body: { error: 'invalid_grant' } })
  t.match(await gateway.redeem(arrival, {}, 'notary', holder), { status: 200, body: { token_type: 'DPoP' } })
})

t.test('prompt=none and single sign-on are asked for inside as well', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('notary')
  const asked = await signed(gateway, { prompt: 'none' })
  const { page } = await browser.startAt(at({ client_id: 'notary', request: asked.request }), asked)
  t.ok(page.query.get('code'))
  isSentTo(t, await browser.get(at({ client_id: 'notary', request: (await signed(gateway, { prompt: 'none', scope: 'openid email birth', state: 'inside' })).request })), 'https://notary.example/back', 'consent_required', 'inside', 'for more')
})

t.test('while the keys of the client cannot be had it is told so, and nobody is told that it failed', async t => {
  const desk = await clientDesk(t)
  const gateway = await testApp(t, { settings: inDevelopment, clients: { notary: { jwks: null, jwks_uri: `${desk.origin}/jwks` } } })
  desk.answers['/jwks'] = response => response.writeHead(500).end()
  const { request, parameters } = await signed(gateway)
  const told = await gateway.browser().get(at({ ...beside, request }))
  t.strictSame([told.status, told.query.get('error'), told.query.get('state')], [303, 'temporarily_unavailable', 'outside'])
  t.match(await gateway.browser().get(at({ client_id: 'notary', request })), { status: 503, code: 'D10', location: '', headers: { 'retry-after': /^\d+$/ } }, 'no address beside it')
  delete desk.answers['/jwks']
  desk.keys = [keyOf('notary').published]
  performance.now = () => monotonic() + 1000                             // asked for once a second while they fail
  t.teardown(() => { performance.now = monotonic })
  const { page } = await gateway.browser().startAt(at({ client_id: 'notary', request }), { parameters, code_verifier: '' })
  t.equal(page.status, 200, 'and then it is good')
})

t.test('nor is it told that it failed where it has changed its key meanwhile', async t => {
  const desk = await clientDesk(t)
  const gateway = await testApp(t, { settings: inDevelopment, clients: { notary: { jwks: null, jwks_uri: `${desk.origin}/jwks` } } })
  const next = createForgedKey('ES256', 'next')
  desk.keys = [keyOf('notary').published]
  t.equal((await gateway.browser().get(at({ client_id: 'notary', request: (await signed(gateway)).request }))).status, 200, 'its key is known')
  desk.answers['/jwks'] = response => response.writeHead(500).end()
  const { request, parameters } = await signed(gateway, {}, {}, next)
  for (let tries = 0; tries < 3; tries++) {
    const told = await gateway.browser().get(at({ ...beside, request }))
    t.strictSame([told.status, told.query.get('error'), told.query.get('state')], [303, 'temporarily_unavailable', 'outside'])
  }
  t.match(await gateway.browser().get(at({ client_id: 'notary', request })), { status: 503, code: 'D10', location: '', headers: { 'retry-after': /^\d+$/ } }, 'no address beside it')
  t.equal(desk.at('/jwks').length, 2, 'it was asked once')
  delete desk.answers['/jwks']
  desk.keys = [next.published]
  performance.now = () => monotonic() + 30_000
  t.teardown(() => { performance.now = monotonic })
  const { page } = await gateway.browser().startAt(at({ client_id: 'notary', request }), { parameters, code_verifier: '' })
  t.equal(page.status, 200, 'and then it is good')
})

t.test('a request object is written nowhere', async t => {
  const gateway = await testApp(t)
  const shown: string[] = []
  for (const inside of [{}, { exp: 1 }, { scope: 'email' }, { login_hint: 'angele@courriel.example', state: 7 }]) {
    const { request, parameters } = await signed(gateway, inside)
    shown.push(...request.split('.').slice(1), parameters['nonce']!, parameters['code_challenge']!)
    await gateway.browser().get(at({ ...beside, request }))
    await gateway.postAs('notary', '/par', { request })
  }
  const written = gateway.log.join('') + (await gateway.app.operations.inject('/metrics')).body
  t.match(written, /request_object_invalid/, 'the search looks at the log')
  t.strictSame(shown.filter(text => written.includes(text)), [])
  t.notMatch(written, /courriel/)
})
