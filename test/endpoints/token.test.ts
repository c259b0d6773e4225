import { createHash, randomBytes } from 'node:crypto'
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose'
import t, { type Test } from 'tap'
import { base, basic, credentialsOf, issuer, jsonOf, secretOf, testApp, type Json, type TestApp } from '../support/test-app.ts'

/** An error of the token endpoint (RFC 6749 §5.2). */
function isRefused (t: Test, answer: Json, status: number, error: string, name: string, basic = false) {
  t.match(answer, { status, body: { error, error_description: /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/ } }, name)
  t.match(answer.headers, { 'content-type': /^application\/json/, 'cache-control': 'no-store' }, `${name}: JSON, not kept`)
  t.strictSame(Object.keys(answer.body).sort(), ['error', 'error_description'], `${name}: nothing else`)
  t.match(String(answer.headers['www-authenticate']), basic ? /^Basic realm="/ : /^undefined$/, `${name}: WWW-Authenticate where Basic was tried, and only there`)
}

const verified = async (gateway: TestApp, id_token: string, audience: string) => {
  const keys = jsonOf(await gateway.app.inject(`${base}/jwks`)).body as unknown as JSONWebKeySet
  return jwtVerify(id_token, createLocalJWKSet(keys), { issuer, audience, currentDate: new Date(gateway.now() * 1000), typ: 'JWT' })
}

t.test('a code gives an ID Token and an access token', async t => {
  const gateway = await testApp(t, { clients: { town: { id_token_seconds: 300, access_token_seconds: 120 } } })
  for (const [client, alg, seconds] of [['agency', 'RS256', 60], ['town', 'ES256', 300], ['mobile', 'ES256', 60], ['swift', 'RS256', 60]] as const) {
    gateway.providers['taxes']!.answer = { auth_time: gateway.now() - 100, amr: ['pwd', 'otp'] }
    const arrival = await gateway.browser().logIn(client, { changes: { scope: 'openid profile amr', claims: '{"id_token":{"given_name":null}}' } })
    const { status, headers, body } = await gateway.redeem(arrival)
    t.match({ status, headers }, { status: 200, headers: { 'cache-control': 'no-store', 'content-type': /^application\/json/ } }, client)
    t.strictSame(Object.keys(body).sort(), ['access_token', 'expires_in', 'id_token', 'scope', 'token_type'])
    t.match(body, { token_type: 'Bearer', expires_in: client === 'town' ? 120 : 60, scope: 'openid profile amr' })
    t.notMatch(body['access_token'], new RegExp(arrival.code.slice(2, 20)))

    const { payload, protectedHeader } = await verified(gateway, body['id_token'], client)
    t.match(protectedHeader, { alg, kid: /./ }, `${client}: signed by ${alg}`)
    const { sub, sid, ...others } = payload
    t.strictSame(others, {
      iss: issuer,
      aud: client,
      iat: gateway.now(),
      exp: gateway.now() + seconds,
      auth_time: gateway.now() - 100,
      nonce: arrival.parameters['nonce'],
      acr: 'eidas1',
      amr: ['pwd', 'otp'],
      given_name: 'Angèle',
      at_hash: createHash('sha256').update(body['access_token']).digest().subarray(0, 16).toString('base64url')
    }, `${client}: its claims`)
    t.match({ sub, sid }, { sub: /^[\w-]{43}v1$/, sid: /^[\w-]{43}$/ }, `${client}: pairwise`)
  }
})

t.test('without nonce or amr asked for, the ID Token has none', async t => {
  const gateway = await testApp(t)
  const { body } = await gateway.redeem(await gateway.browser().logIn('agency', { changes: { nonce: undefined, scope: 'openid' } }))
  const { payload } = await verified(gateway, body['id_token'], 'agency')
  t.strictSame(Object.keys(payload).sort(), ['acr', 'at_hash', 'aud', 'auth_time', 'exp', 'iat', 'iss', 'sid', 'sub'])
})

t.test('sub tells two clients two names of one person, unless they are one organisation', async t => {
  const gateway = await testApp(t, { clients: { clinic: { entity: 'health' }, swift: { entity: 'health' } } })
  const subAt = async (client: string, idp: string) => {
    const { body } = await gateway.redeem(await gateway.browser().logIn(client, { idp }))
    return (await verified(gateway, body['id_token'], client)).payload.sub
  }
  const [agency, again, town, clinic, swift] = [await subAt('agency', 'taxes'), await subAt('agency', 'post'), await subAt('town', 'taxes'), await subAt('clinic', 'taxes'), await subAt('swift', 'taxes')]
  t.equal(agency, again, 'whichever provider was used')
  t.not(agency, town)
  t.equal(clinic, swift)
})

t.test('a client proves itself by its registered method and no other', async t => {
  const gateway = await testApp(t)
  const { app, token } = gateway
  const code = `a-${randomBytes(32).toString('base64url')}`
  const form = { grant_type: 'authorization_code', code, redirect_uri: 'https://agency.example/back' }
  const ask = (changes: Record<string, string>, headers = {}) => token({ ...form, ...changes }, headers)
  const right = secretOf('agency')

  for (const [name, changes, headers] of [
    ['nothing', {}, {}],
    ['its name alone', { client_id: 'agency' }, {}],
    ['its secret in the body', { client_id: 'agency', client_secret: right }, {}],
    ['a wrong secret', {}, { authorization: basic('agency', 'wrong') }],
    ['an empty secret', {}, { authorization: basic('agency', '') }],
    ['the secret of another', {}, { authorization: basic('agency', secretOf('town')) }],
    ['the secret with a space after it', {}, { authorization: basic('agency', `${right} `) }],
    ['another name', {}, { authorization: basic('nobody', right) }],
    ['a name of the prototype', {}, { authorization: basic('__proto__', '') }],
    ['a client that posts its secret, by Basic', {}, { authorization: basic('town', secretOf('town')) }],
    ['a public client, by Basic', {}, { authorization: basic('mobile', '') }],
    ['a public client with a secret', { client_id: 'mobile', client_secret: 'x' }, {}],
    ['two ways at once', { client_secret: right }, { authorization: basic('agency', right) }],
    ['two names', { client_id: 'town' }, { authorization: basic('agency', right) }],
    ['a client that is not active', {}, { authorization: basic('closed', secretOf('closed')) }],
    ['a Bearer token', {}, { authorization: `Bearer ${right}` }],
    ['Basic of nothing', {}, { authorization: 'Basic' }],
    ['Basic without a colon', {}, { authorization: `Basic ${Buffer.from('agency').toString('base64')}` }],
    ['Basic that is no base64', {}, { authorization: 'Basic %%%' }],
    ['Basic with bad escapes', {}, { authorization: `Basic ${Buffer.from('agency:%ZZ').toString('base64')}` }],
    ['an assertion', { client_id: 'agency', client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion: 'e30.e30.' }, {}]
  ] as const) isRefused(t, await ask(changes, headers), 401, 'invalid_client', name, 'authorization' in headers)

  for (const [name, changes, headers] of [
    ['Basic', {}, { authorization: basic('agency', right) }],
    ['Basic, and its own name in the body', { client_id: 'agency' }, { authorization: basic('agency', right) }],
    ['Basic in small letters', {}, { authorization: basic('agency', right).replace('Basic', 'basic') }],
    ['its secret in the body, as registered', credentialsOf('town').form, {}],
    ['a public client by its name', { client_id: 'mobile' }, {}],
    ['a public client, its secret empty and so omitted (RFC 6749 §3.2)', { client_id: 'mobile', client_secret: '' }, {}]
  ] as const) isRefused(t, await ask(changes, headers), 400, 'invalid_grant', `${name}: proven, the code is not`)

  t.ok(gateway.events('client_authentication_failed').length > 0, 'failed proofs are security events')
  t.notMatch(gateway.log.join(''), new RegExp(right), 'secrets are not logged')
  t.equal((await app.inject({ method: 'POST', url: `${base}/token` })).statusCode >= 400, true, 'nothing at all')
})

t.test('several secrets are in force at a time', async t => {
  const gateway = await testApp(t)
  const { secrets } = gateway.app.configuration.clients.get('agency')!
  secrets.unshift(createHash('sha256').update('the next secret of the agency').digest())
  for (const secret of ['the next secret of the agency', secretOf('agency')]) {
    isRefused(t, await gateway.token({ grant_type: 'authorization_code', code: 'x' }, { authorization: basic('agency', secret) }), 400, 'invalid_grant', 'proven')
  }
})

t.test('a token request that misses or doubles something is refused', async t => {
  const gateway = await testApp(t)
  const arrival = await gateway.browser().logIn('agency')
  const refused = async (changes: Record<string, string | undefined>, error: string, name: string) => isRefused(t, await gateway.redeem(arrival, changes), 400, error, name)
  await refused({ grant_type: undefined }, 'invalid_request', 'no grant_type')
  await refused({ grant_type: 'password' }, 'unsupported_grant_type', 'grant_type password')
  await refused({ grant_type: 'refresh_token', refresh_token: 'x' }, 'unsupported_grant_type', 'grant_type refresh_token')
  await refused({ grant_type: 'client_credentials' }, 'unsupported_grant_type', 'grant_type client_credentials')
  await refused({ grant_type: '__proto__' }, 'unsupported_grant_type', 'grant_type __proto__')
  await refused({ code: undefined }, 'invalid_request', 'no code')
  await refused({ code: '' }, 'invalid_request', 'an empty code, which is none')
  await refused({ code: 'x'.repeat(5000) }, 'invalid_request', 'an oversized code')
  await refused({ code: `${arrival.code}\0` }, 'invalid_request', 'NUL')
  await refused({ code: `${arrival.code}\r\nset-cookie: a=b` }, 'invalid_request', 'CR and LF')
  await refused({ code: `${arrival.code.slice(0, -1)}${arrival.code.endsWith('A') ? 'E' : 'A'}` }, 'invalid_grant', 'a tampered code')
  await refused({ redirect_uri: undefined }, 'invalid_grant', 'no redirect_uri')
  await refused({ redirect_uri: 'https://agency.example/other?tab=1' }, 'invalid_grant', 'another registered redirect_uri')
  await refused({ redirect_uri: 'https://agency.example/back/' }, 'invalid_grant', 'nearly the redirect_uri')
  await refused({ code_verifier: undefined }, 'invalid_grant', 'no code_verifier')
  await refused({ code_verifier: '' }, 'invalid_grant', 'an empty code_verifier')
  await refused({ code_verifier: 'x'.repeat(43) }, 'invalid_grant', 'another code_verifier')
  await refused({ code_verifier: arrival.parameters['code_challenge'] }, 'invalid_grant', 'the challenge as verifier')

  const { authorization } = credentialsOf('agency').headers
  const form = new URLSearchParams({ grant_type: 'authorization_code', code: arrival.code, redirect_uri: arrival.parameters['redirect_uri']!, code_verifier: arrival.code_verifier }).toString()
  for (const twice of ['code=x', 'grant_type=authorization_code', 'redirect_uri=x', 'code_verifier=x', 'client_id=agency&client_id=agency', 'code[]=x&code=y']) isRefused(t, await gateway.token(`${form}&${twice}`, { authorization: authorization! }), 400, 'invalid_request', `${twice.split('=')[0]} twice`)
  isRefused(t, await gateway.token(JSON.stringify(Object.fromEntries(new URLSearchParams(form))), { authorization: authorization!, 'content-type': 'application/json' }), 415, 'invalid_request', 'JSON')
  isRefused(t, await gateway.token(form, { authorization: authorization!, 'content-type': 'multipart/form-data; boundary=x' }), 415, 'invalid_request', 'multipart')
  isRefused(t, await gateway.token(`${form}&x=${'y'.repeat(40_000)}`, { authorization: authorization! }), 413, 'invalid_request', 'too large')
  isRefused(t, await gateway.token('%ZZ=%FF&&&=', { authorization: authorization! }), 400, 'invalid_request', 'bytes that do not decode')
  t.equal((await gateway.redeem(arrival)).status, 200, 'after all that the code is still good')
})

t.test('PKCE: a challenge that was sent is enforced, a verifier without one is a downgrade (RFC 9700 §4.8.2)', async t => {
  const gateway = await testApp(t)
  const plain = await gateway.browser().logIn('swift', { changes: { code_challenge: undefined, code_challenge_method: undefined } })
  isRefused(t, await gateway.redeem(plain, { code_verifier: plain.code_verifier }), 400, 'invalid_grant', 'a verifier nobody announced')
  t.equal((await gateway.redeem(plain)).status, 200, 'a client registered without PKCE')
  const sent = await gateway.browser().logIn('swift')
  isRefused(t, await gateway.redeem(sent, { code_verifier: undefined }), 400, 'invalid_grant', 'which sent a challenge all the same')
  t.equal((await gateway.redeem(sent)).status, 200)
})

t.test('another client\'s try is refused and reported, and leaves the code to its own client', async t => {
  const gateway = await testApp(t)
  const arrival = await gateway.browser().logIn('agency')
  isRefused(t, await gateway.redeem(arrival, {}, 'town'), 400, 'invalid_grant', 'another client')
  isRefused(t, await gateway.redeem(arrival, {}, 'mobile'), 400, 'invalid_grant', 'a public client')
  t.match(gateway.events('code_of_another_client'), [{ security: true, client_id: 'town', login: arrival.login, outcome: 'client' }, { client_id: 'mobile' }])
  const { status, body } = await gateway.redeem(arrival)
  t.equal(status, 200, 'its own client still redeems it')

  isRefused(t, await gateway.redeem(arrival, {}, 'town'), 400, 'invalid_grant', 'another client, afterwards')
  gateway.wait(31)                                                       // the code is gone, who redeemed it is still known
  isRefused(t, await gateway.redeem(arrival, {}, 'town'), 400, 'invalid_grant', 'another client, later')
  t.equal((await gateway.userinfo(body['access_token'])).status, 200, 'which ends nothing')
})

t.test('a second use by the same client is refused and ends what the first gave (RFC 6749 §4.1.2)', async t => {
  for (const seconds of [0, 1, 29, 31, 59]) {
    const gateway = await testApp(t)
    const arrival = await gateway.browser().logIn('agency')
    const { body } = await gateway.redeem(arrival)
    gateway.wait(seconds)
    t.equal((await gateway.userinfo(body['access_token'])).status, 200)
    isRefused(t, await gateway.redeem(arrival), 400, 'invalid_grant', `${seconds} s later: no grace`)
    isRefused(t, await gateway.redeem(arrival), 400, 'invalid_grant', 'and again')
    const { status, headers } = await gateway.userinfo(body['access_token'])
    t.match({ status, headers }, { status: 401, headers: { 'www-authenticate': /error="invalid_token"/ } }, 'the token has ended')
    t.match(gateway.events('code_replayed'), [{ security: true, client_id: 'agency', outcome: 'client' }, {}])
    t.equal(gateway.events('token').length, 1)
  }
})

t.test('a code lives as long as its client is told', async t => {
  const gateway = await testApp(t, { clients: { town: { code_seconds: 60 } } })
  for (const [client, seconds] of [['agency', 30], ['town', 60]] as const) {
    const [intime, late] = [await gateway.browser().logIn(client), await gateway.browser().logIn(client)]
    gateway.wait(seconds - 1)
    t.equal((await gateway.redeem(intime)).status, 200, `${client}: a second before`)
    gateway.wait(1)
    isRefused(t, await gateway.redeem(late), 400, 'invalid_grant', `${client}: the end`)
  }
})

t.test('a code that lives on is good once, however short its client\'s codes and tokens were made meanwhile', async t => {
  const gateway = await testApp(t, { clients: { agency: { code_seconds: 60 } } })
  const arrival = await gateway.browser().logIn('agency')
  Object.assign(gateway.app.configuration.clients.get('agency')!, { code_seconds: 1, access_token_seconds: 1 })
  t.equal((await gateway.redeem(arrival)).status, 200)
  gateway.wait(50)
  t.match(await gateway.redeem(arrival), { status: 400, body: { error: 'invalid_grant' } })
  t.equal(gateway.events('code_replayed').length, 1)
})

t.test('of fifty redemptions at once exactly one gets tokens', async t => {
  const gateway = await testApp(t)
  const arrival = await gateway.browser().logIn('agency')
  const answers = await Promise.all(Array.from({ length: 50 }, () => gateway.redeem(arrival)))
  t.equal(answers.filter(({ status }) => status === 200).length, 1)
  t.equal(answers.filter(({ status, body }) => status === 400 && body['error'] === 'invalid_grant' && body['access_token'] === undefined).length, 49)
  t.equal(gateway.events('token').length, 1)
  t.equal(await gateway.counted(), 1)
})

t.test('a code of a session that ended is refused', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const first = await gateway.redeem(await browser.logIn('agency'))
  const pending = await browser.logIn('town')
  await browser.get(`${base}/session/end?id_token_hint=${first.body['id_token']}`)
  isRefused(t, await gateway.redeem(pending), 400, 'invalid_grant', 'ended by logout')
})

t.test('a client closed meanwhile redeems nothing', async t => {
  const gateway = await testApp(t)
  const arrival = await gateway.browser().logIn('agency')
  gateway.app.configuration.clients.get('agency')!.active = false
  isRefused(t, await gateway.redeem(arrival), 401, 'invalid_client', 'closed', true)
})

t.test('other methods redeem nothing', async t => {
  const gateway = await testApp(t)
  const arrival = await gateway.browser().logIn('agency')
  const { headers } = credentialsOf('agency')
  const query = new URLSearchParams({ grant_type: 'authorization_code', code: arrival.code, redirect_uri: arrival.parameters['redirect_uri']!, code_verifier: arrival.code_verifier })
  for (const method of ['GET', 'PUT', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS'] as const) {
    const { statusCode, body } = await gateway.app.inject({ method, url: `${base}/token?${query}`, headers })
    t.ok(statusCode >= 400 && statusCode < 500, `${method}: ${statusCode}`)
    t.notMatch(body, /id_token/, method)
  }
  isRefused(t, await gateway.token({}, headers), 400, 'invalid_request', 'parameters in the query of a POST are not read')
  t.equal((await gateway.redeem(arrival)).status, 200, 'the code is still good')
})

t.test('one event and one count for each set of tokens; the log holds no code, token, state or name', async t => {
  const gateway = await testApp(t)
  const secrets: string[] = []
  for (const client of ['agency', 'town', 'mobile']) {
    const browser = gateway.browser()
    const arrival = await browser.logIn(client, { changes: { scope: 'openid profile email birth' } })
    await gateway.redeem(arrival, { redirect_uri: 'https://agency.example/x' })
    const { body } = await gateway.redeem(arrival)
    await gateway.userinfo(body['access_token'])
    await gateway.redeem(arrival)
    await gateway.userinfo(body['access_token'])
    await browser.get(`${base}/session/end?id_token_hint=${body['id_token']}&state=abcdefghijkl`)
    const state = gateway.providers['taxes']!.asked.at(-1)!
    secrets.push(arrival.code, arrival.code_verifier, arrival.parameters['state']!, arrival.parameters['nonce']!, body['access_token'], body['id_token'], state.state, state.nonce, state.code_verifier, ...Object.values(browser.cookies()), secretOf(client), 'abcdefghijkl')
  }
  t.match(gateway.events('token'), ['agency', 'town', 'mobile'].map(client_id => ({ event: 'token', step: '7.2', client_id, idp: 'taxes', acr: 'eidas1', outcome: 'success', login: /^[\w-]{22}$/, site: 'a' })))
  t.equal(gateway.events('token').length, 3)
  t.equal(await gateway.counted(), 3, 'passerelle_logins_total{outcome="success"}')
  const log = gateway.log.join('')
  for (const line of gateway.log) t.doesNotThrow(() => JSON.parse(line))
  t.strictSame(secrets.filter(secret => log.includes(secret)), [], 'no secret')
  t.notMatch(log, /Angèle|Quiquempoix|1962|courriel|75107/, 'no name')
})

t.test('a store that cannot answer is temporarily_unavailable, never invalid_grant and never 401', async t => {
  for (const method of ['get', 'usedBy', 'claim', 'ended', 'end'] as const) {
    const gateway = await testApp(t)
    const arrival = await gateway.browser().logIn('agency')
    if (method === 'usedBy' || method === 'end') await gateway.redeem(arrival)
    if (method === 'usedBy') gateway.wait(31)                            // the code itself is gone
    gateway.store.fail(method)
    const answer = await gateway.redeem(arrival)
    isRefused(t, answer, 503, 'temporarily_unavailable', method)
    t.match(answer.headers['retry-after'], /^\d+$/, `${method}: Retry-After`)
    gateway.store.heal()
    if (method === 'get') t.equal((await gateway.redeem(arrival)).status, 200, 'afterwards the code is still good')
  }
  const gateway = await testApp(t)
  gateway.store.fail()
  isRefused(t, await gateway.token({ grant_type: 'authorization_code', code: 'x' }, { authorization: basic('agency', 'wrong') }), 401, 'invalid_client', 'wrong credentials need no store', true)
})
