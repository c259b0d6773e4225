import { decodeJwt, decodeProtectedHeader } from 'jose'
import t, { type Test } from 'tap'
import { keyHolder, keyOf } from '../support/client-keys.ts'
import { findWords, wordsOf } from '../support/personal-data.ts'
import { base, basic, citizen, issuer, neighbour, secretOf, testApp, type Json, type TestApp } from '../support/test-app.ts'

const everything = 'openid profile birth identite_pivot email given_name idp_id amr'

/** A citizen who is logged in at a service, and the token it would pass to a data provider. */
async function tokenOf (gateway: TestApp, client = 'agency', changes: Record<string, string | undefined> = {}) {
  const browser = gateway.browser()
  const arrival = await browser.logIn(client, { changes: { scope: 'openid email birth', ...changes } })
  const { body } = await gateway.redeem(arrival)
  return { arrival, browser, access_token: body['access_token'] as string, id_token: body['id_token'] as string, sub: decodeJwt(body['id_token']).sub! }
}

const ask = (gateway: TestApp, token: string, as = 'archive', headers: Record<string, string> = {}) => gateway.postAs(as, '/introspection', { token }, headers)

/** RFC 7662 §2.2: `active` false, and not why. */
function isNothing (t: Test, { status, headers, body }: Json, name: string) {
  t.equal(status, 200, name)
  t.strictSame(body, { active: false }, `${name}: says nothing else`)
  t.match(headers, { 'content-type': /^application\/json/, 'cache-control': 'no-store' }, name)
}

t.test('a data provider learns that the token is good, its own sub, the level and what both may know (RFC 7662 §2.2)', async t => {
  const gateway = await testApp(t)
  const { access_token, sub } = await tokenOf(gateway, 'agency', { scope: everything, acr_values: 'eidas2' })
  const answer = await ask(gateway, access_token)
  t.match(answer.headers, { 'content-type': /^application\/json/, 'cache-control': 'no-store' })
  const { sub: own, ...others } = answer.body
  t.strictSame(others, { active: true, iss: issuer, scope: 'openid birth email', acr: 'eidas2', exp: gateway.now() + 60, token_type: 'Bearer' })
  t.match(own, /^[\w-]{43}v1$/)
  t.not(own, sub, 'its own sub is not the service\'s')
  t.strictSame(findWords(answer.text, [...wordsOf(citizen), 'agency', 'taxes', 'pwd']), [], 'nothing of the identity, of the service or of the provider')
  t.equal((await gateway.userinfo(access_token)).status, 200, 'looking at it ends nothing')
  t.match((await ask(gateway, access_token)).body, { active: true, sub: own }, 'and it can be looked at again')
})

t.test('its sub is the same person\'s whichever service brings the token, and no two data providers have the same', async t => {
  const gateway = await testApp(t, { clients: { registry: { introspection: true, scopes: ['email'] }, annex: { introspection: true, scopes: ['email'], entity: 'archive' } } })
  const [agency, town, elsewhere] = [await tokenOf(gateway, 'agency'), await tokenOf(gateway, 'town'), await tokenOf(gateway, 'agency')]
  const subOf = async (token: string, as = 'archive') => (await ask(gateway, token, as)).body['sub'] as string
  const own = await subOf(agency.access_token)
  t.equal(await subOf(town.access_token), own, 'of two services')
  t.equal(await subOf(elsewhere.access_token), own, 'of two logins')
  t.not(agency.sub, town.sub, 'who cannot compare theirs')
  t.equal(await subOf(agency.access_token, 'annex'), own, 'of one organisation')
  const other = await subOf(agency.access_token, 'registry')
  t.equal(new Set([own, other, agency.sub, town.sub]).size, 4, 'of nobody else')
  gateway.providers['taxes']!.answer = { claims: neighbour }
  t.not(await subOf((await tokenOf(gateway)).access_token), own, 'another person has another')
})

t.test('of the scopes it learns those that both have, and where they share none the token is not for it', async t => {
  const gateway = await testApp(t, { clients: { register: { introspection: true, scopes: ['email'] }, clinic: { introspection: true } } })
  for (const [as, scope, expected] of [
    ['archive', 'openid profile email', 'openid email'],
    ['archive', 'birth email openid amr', 'birth email openid'],
    ['register', 'openid email', 'email'],
    ['clinic', 'openid profile', 'openid profile']
  ] as const) t.equal((await ask(gateway, (await tokenOf(gateway, 'agency', { scope })).access_token, as)).body['scope'], expected, `${as}: ${scope}`)
  for (const [as, changes, name] of [
    ['register', { scope: 'openid profile' }, 'none in common'],
    ['archive', { scope: 'openid profile' }, 'openid, which every token has, does not tell whom it is for'],
    ['archive', { scope: 'openid' }, 'openid alone'],
    ['archive', { scope: 'openid', claims: '{"userinfo":{"email":null,"address":null}}' }, 'single claims are no scope']
  ] as const) isNothing(t, await ask(gateway, (await tokenOf(gateway, 'agency', changes)).access_token, as), name)
})

t.test('who is no data provider is told nothing', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  for (const client of ['agency', 'town', 'swift', 'mobile', 'notary', 'vault']) {
    const answer = await ask(gateway, access_token, client)
    t.match(answer, { status: 403, headers: { 'cache-control': 'no-store' }, body: { error: 'unauthorized_client' } }, client)
    t.strictSame(Object.keys(answer.body).sort(), ['error', 'error_description'], client)
  }
  t.match(gateway.events('introspection_not_allowed'), ['agency', 'town', 'swift', 'mobile', 'notary', 'vault'].map(client_id => ({ security: true, client_id, outcome: 'client' })))
  gateway.app.configuration.clients.get('archive')!.introspection = false
  t.match(await ask(gateway, access_token), { status: 403 }, 'one that was')
  const form = { token: access_token }
  for (const [name, headers, more, challenged] of [
    ['nobody', {}, {}, false],
    ['its name alone', {}, { client_id: 'archive' }, false],
    ['a wrong secret', { authorization: basic('archive', 'wrong') }, {}, true],
    ['the secret of another', { authorization: basic('archive', secretOf('agency')) }, {}, true],
    ['its secret in the body', {}, { client_id: 'archive', client_secret: secretOf('archive') }, false],
    ['the token itself', { authorization: `Bearer ${access_token}` }, {}, true]
  ] as const) {
    const answer = await gateway.post('/introspection', { ...form, ...more } as Record<string, string>, headers)
    t.match(answer, { status: 401, body: { error: 'invalid_client', active: undefined } }, name)
    t.match(String(answer.headers['www-authenticate']), challenged ? /^Basic realm="/ : /^undefined$/, `${name}: WWW-Authenticate where Authorization was sent, and only there`)
  }
  gateway.app.configuration.clients.get('archive')!.active = false
  t.match(await ask(gateway, access_token), { status: 401, body: { error: 'invalid_client' } }, 'one that was closed')
})

t.test('what is no access token, or no longer, is not active, and nothing tells why (RFC 7662 §2.2)', async t => {
  const gateway = await testApp(t)
  const pending = await gateway.browser().logIn('agency')
  const live = await tokenOf(gateway)
  for (const [name, token] of Object.entries({
    nonsense: 'x',
    'a code': pending.code,
    'a code that was redeemed': live.arrival.code,
    'the handle of a session': live.browser.cookies()['__Host-session']!,
    'an ID Token': live.id_token,
    'the token with something after it': `${live.access_token}x`,
    'the token in another spelling': live.access_token.toUpperCase(),
    'a token of another site': live.access_token.replace(/^a-/, 'b-'),
    'a handle of nobody': `a-${'A'.repeat(43)}`,
    'of the prototype': '__proto__',
    'a JWT of somebody else\'s, however long': 'x'.repeat(16_384)
  })) isNothing(t, await ask(gateway, token), name)
  t.equal((await ask(gateway, live.access_token)).body['active'], true, 'the token as it is')
  t.equal((await gateway.postAs('archive', '/introspection', { token: live.access_token, token_type_hint: 'refresh_token' })).body['active'], true, 'whatever the hint says')
})

t.test('a token that has ended is not active, however it ended', async t => {
  const gateway = await testApp(t)
  const expired = await tokenOf(gateway)
  gateway.wait(59)
  t.equal((await ask(gateway, expired.access_token)).body['active'], true, 'a second before its end')
  gateway.wait(1)
  isNothing(t, await ask(gateway, expired.access_token), 'expired')

  const revoked = await tokenOf(gateway)
  await gateway.postAs('agency', '/revocation', { token: revoked.access_token })
  isNothing(t, await ask(gateway, revoked.access_token), 'revoked')

  const loggedOut = await tokenOf(gateway)
  await loggedOut.browser.get(`${base}/session/end?id_token_hint=${loggedOut.id_token}`)
  isNothing(t, await ask(gateway, loggedOut.access_token), 'after logout')

  const replayed = await tokenOf(gateway)
  await gateway.redeem(replayed.arrival)
  isNothing(t, await ask(gateway, replayed.access_token), 'its code was used twice')

  const { browser, id_token } = await tokenOf(gateway)
  const elsewhere = await gateway.redeem(await browser.logIn('town', { changes: { scope: 'openid' } }))
  await browser.get(`${base}/session/end?id_token_hint=${id_token}`)
  isNothing(t, await ask(gateway, elsewhere.body['access_token']), 'another service\'s, of the session that ended')

  const closed = await tokenOf(gateway)
  gateway.app.configuration.clients.get('agency')!.active = false
  isNothing(t, await ask(gateway, closed.access_token), 'its service was closed')
})

t.test('a token that is bound says to which key (RFC 9449 §6.2)', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  for (const client of ['agency', 'vault']) {
    const pushed = await gateway.push(client, { scope: 'openid email' }, holder)
    const { body } = await gateway.redeem(await gateway.browser().logIn(client, { pushed }), {}, client, holder)
    t.match((await ask(gateway, body['access_token'])).body, { active: true, token_type: 'DPoP', cnf: { jkt: holder.jkt } }, client)
  }
  t.strictSame((await ask(gateway, (await tokenOf(gateway)).access_token)).body['cnf'], undefined, 'one that is not says nothing')
})

t.test('it is a JWT where the registration or the Accept header says so, also when it says no (RFC 9701 §4, §5)', async t => {
  const type = 'application/token-introspection+jwt'
  const gateway = await testApp(t, { clients: { registry: { introspection: true, scopes: ['email'], introspection_signed_response_alg: 'ES256' } } })
  const { access_token } = await tokenOf(gateway)
  for (const [as, accept, expected] of [
    ['archive', undefined, 'json'],
    ['archive', '*/*', 'json'],
    ['archive', 'application/json', 'json'],
    ['archive', 'application/jwt', 'json'],
    ['archive', `${type}x`, 'json'],
    ['archive', type, 'RS256'],
    ['archive', `application/json;q=0.5, ${type}`, 'RS256'],
    ['archive', type.toUpperCase(), 'RS256'],
    ['registry', undefined, 'ES256'],
    ['registry', 'application/json', 'ES256']
  ] as const) {
    for (const token of [access_token, 'x']) {
      const answer = await ask(gateway, token, as, accept === undefined ? {} : { accept })
      const name = `${as}, ${accept}`
      t.match(answer, { status: 200, headers: { 'content-type': expected === 'json' ? /^application\/json/ : /^application\/token-introspection\+jwt/, 'cache-control': 'no-store' } }, name)
      if (expected === 'json') continue
      t.match(decodeProtectedHeader(answer.text), { alg: expected, typ: 'token-introspection+jwt' }, name)
      t.match(decodeJwt(answer.text), { iss: issuer, aud: as, token_introspection: { active: token !== 'x' } }, name)
    }
  }
  t.match(await gateway.post('/introspection', { token: access_token }, { authorization: basic('archive', 'wrong'), accept: type }), { status: 401, headers: { 'content-type': /^application\/json/ } }, 'errors are JSON')
})

t.test('a request that misses or doubles something is refused', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  const headers = { authorization: basic('archive', secretOf('archive')) }
  const send = (payload: string, more = {}) => gateway.post('/introspection', payload, { ...headers, ...more })
  for (const [name, payload] of Object.entries({ 'no token': 'x=y', 'an empty token, which is none': 'token=', 'two tokens': `token=${access_token}&token=x`, 'NUL in it': `token=${access_token}%00`, 'an endless token': `token=${'x'.repeat(16_385)}` })) {
    t.match(await send(payload), { status: 400, body: { error: 'invalid_request', active: undefined }, headers: { 'cache-control': 'no-store' } }, name)
  }
  t.match(await send(JSON.stringify({ token: access_token }), { 'content-type': 'application/json' }), { status: 415, body: { error: 'invalid_request' } }, 'JSON')
  t.match(await send(`token=${access_token}&x=${'y'.repeat(40_000)}`), { status: 413 }, 'too large')
  for (const method of ['GET', 'PUT', 'DELETE', 'HEAD'] as const) {
    const answer = await gateway.app.inject({ method, url: `${base}/introspection?token=${access_token}`, headers })
    t.match(answer.statusCode, /^40[45]$/, method)
    t.notMatch(answer.body, /"active"/, method)
  }
  t.equal((await gateway.app.inject({ method: 'POST', url: `${base}/introspection?token=${access_token}`, headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' }, payload: '' })).statusCode, 400, 'a token in the query of a POST is not read')
})

t.test('while the store cannot answer it is 503 with Retry-After, never that the token is not active', async t => {
  const gateway = await testApp(t, { clients: { registry: { introspection: true, scopes: ['email'], introspection_signed_response_alg: 'ES256' }, notary: { introspection: true } } })
  const { access_token } = await tokenOf(gateway)
  for (const method of ['get', 'ended'] as const) {
    for (const as of ['archive', 'registry', 'notary']) {
      gateway.store.fail(method)
      const answer = await ask(gateway, access_token, as)
      t.match(answer, { status: 503, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store', 'content-type': /^application\/json/, 'www-authenticate': undefined }, body: { error: 'temporarily_unavailable', active: undefined } }, `${as}: ${method}`)
      gateway.store.heal()
    }
  }
  gateway.store.fail()
  t.match(await gateway.post('/introspection', { token: access_token }, { authorization: basic('archive', 'wrong') }), { status: 401 }, 'wrong credentials need no store')
  t.match(await ask(gateway, access_token, 'agency'), { status: 403 }, 'nor does who may not ask')
  gateway.store.heal()
  t.equal((await ask(gateway, access_token)).body['active'], true, 'and after it all is as before')
})

t.test('a data provider may prove itself by a key of its own', async t => {
  const gateway = await testApp(t, { clients: { archive: { token_endpoint_auth_method: 'private_key_jwt', client_secrets: [], jwks: { keys: [keyOf('archive').published] } } } })
  const { access_token } = await tokenOf(gateway)
  t.equal((await ask(gateway, access_token)).body['active'], true)
  t.match(await gateway.post('/introspection', { token: access_token }, { authorization: basic('archive', secretOf('archive')) }), { status: 401 })
})

t.test('every look is an event with its outcome, and holds neither token nor sub', async t => {
  const gateway = await testApp(t)
  const { access_token, sub } = await tokenOf(gateway)
  const { body } = await ask(gateway, access_token)
  await ask(gateway, 'abcdefghijkl')
  t.match(gateway.events('introspection'), [{ step: '7.4', client_id: 'archive', acr: 'eidas1', active: true, outcome: 'success', site: 'a' }, { client_id: 'archive', active: false }])
  const written = gateway.log.join('') + (await gateway.app.operations.inject('/metrics')).body
  t.strictSame([access_token, sub, body['sub'], 'abcdefghijkl'].filter(text => written.includes(text)), [])
})

t.test('no browser may call it (Fetch §3.2)', async t => {
  const gateway = await testApp(t)
  for (const origin of ['https://mobile.example', 'https://agency.example', 'null']) {
    const { headers } = await gateway.app.inject({ method: 'OPTIONS', url: `${base}/introspection`, headers: { origin, 'access-control-request-method': 'POST' } })
    t.equal(headers['access-control-allow-origin'], undefined, origin)
  }
})
