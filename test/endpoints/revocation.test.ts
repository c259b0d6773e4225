import t, { type Test } from 'tap'
import { assertionOf, keyHolder } from '../support/client-keys.ts'
import { base, basic, credentialsOf, secretOf, testApp, type Json, type TestApp } from '../support/test-app.ts'

async function tokenOf (gateway: TestApp, client = 'agency') {
  const browser = gateway.browser()
  const arrival = await browser.logIn(client, { changes: { scope: 'openid email' } })
  const { body } = await gateway.redeem(arrival)
  return { arrival, browser, access_token: body['access_token'] as string, id_token: body['id_token'] as string }
}

/** RFC 7009 §2.2: done, and nothing to say. */
function isDone (t: Test, { status, headers, text }: Json, name: string) {
  t.strictSame([status, text], [200, ''], name)
  t.equal(headers['cache-control'], 'no-store', name)
}

const isAlive = async (gateway: TestApp, access_token: string) => (await gateway.userinfo(access_token)).status === 200

t.test('a client ends a token of its own, by whichever way it proves itself (RFC 7009 §2.1)', async t => {
  const gateway = await testApp(t)
  for (const client of ['agency', 'town', 'swift', 'mobile', 'notary']) {
    const { access_token, browser } = await tokenOf(gateway, client)
    const other = await tokenOf(gateway, client)
    t.ok(await isAlive(gateway, access_token), `${client}: before`)
    isDone(t, await gateway.postAs(client, '/revocation', { token: access_token }), client)
    t.notOk(await isAlive(gateway, access_token), `${client}: ended`)
    t.strictSame((await gateway.postAs('archive', '/introspection', { token: access_token })).body, { active: false }, `${client}: for data providers too`)
    t.ok(await isAlive(gateway, other.access_token), `${client}: another login's is not`)
    t.match((await browser.start('town')).page.location, /\/consent/, `${client}: the session goes on`)
    isDone(t, await gateway.postAs(client, '/revocation', { token: access_token }), `${client}: twice`)
    t.notOk(await isAlive(gateway, access_token), `${client}: ended still`)
  }
})

t.test('a token that is bound is ended without its key', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const pushed = await gateway.push('vault', {}, holder)
  const { body } = await gateway.redeem(await gateway.browser().logIn('vault', { pushed }), {}, 'vault', holder)
  isDone(t, await gateway.postAs('vault', '/revocation', { token: body['access_token'] }), 'vault')
  t.equal((await gateway.userinfo(body['access_token'], holder)).status, 401)
})

t.test('what is no token of ours, or not any more, has ended as well (RFC 7009 §2.2)', async t => {
  const gateway = await testApp(t)
  const expired = await tokenOf(gateway)
  gateway.wait(60)
  const pending = await gateway.browser().logIn('agency')
  const { arrival, access_token, id_token, browser } = await tokenOf(gateway)
  for (const [name, token] of Object.entries({
    nonsense: 'x',
    'an expired one': expired.access_token,
    'a code': pending.code,
    'a code that was redeemed': arrival.code,
    'the handle of a session': browser.cookies()['__Host-session']!,
    'an ID Token': id_token,
    'a handle of nobody': `a-${'A'.repeat(43)}`,
    'a token of another site': access_token.replace(/^a-/, 'b-'),
    'of the prototype': '__proto__'
  })) isDone(t, await gateway.postAs('agency', '/revocation', { token }), name)
  isDone(t, await gateway.postAs('agency', '/revocation', { token: 'x', token_type_hint: 'refresh_token' }), 'a kind that we do not give')
  t.ok(await isAlive(gateway, access_token), 'none of them ended the token')
  t.equal((await gateway.redeem(pending)).status, 200, 'nor the code')
  t.match((await browser.start('town')).page.location, /\/consent/, 'nor the session')
})

t.test('another client\'s token is left alone, and the try is reported (RFC 7009 §2.1)', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  for (const client of ['town', 'mobile', 'notary', 'archive']) {
    const answer = await gateway.postAs(client, '/revocation', { token: access_token })
    t.match(answer, { status: 400, headers: { 'cache-control': 'no-store' }, body: { error: 'unauthorized_client' } }, client)
    t.ok(await isAlive(gateway, access_token), `${client}: it is good still`)
  }
  t.match(gateway.events('token_of_another_client'), ['town', 'mobile', 'notary', 'archive'].map(client_id => ({ security: true, client_id, outcome: 'client' })))
  t.notOk(gateway.log.join('').includes(access_token), 'without the token')
})

t.test('only a client that proves itself ends anything', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  const notary = await tokenOf(gateway, 'notary')
  for (const [name, token, headers, form, challenged] of [
    ['nobody', access_token, {}, {}, false],
    ['its name alone', access_token, {}, { client_id: 'agency' }, false],
    ['a wrong secret', access_token, { authorization: basic('agency', 'wrong') }, {}, true],
    ['its secret in the body', access_token, {}, { client_id: 'agency', client_secret: secretOf('agency') }, false],
    ['the token as proof', access_token, { authorization: `Bearer ${access_token}` }, {}, true],
    ['a key, its name alone', notary.access_token, {}, { client_id: 'notary' }, false],
    ['a key, forged', notary.access_token, {}, { client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion: await assertionOf('notary', { issuer: gateway.issuer, now: gateway.now() }, { header: { alg: 'none' } }) }, false]
  ] as const) {
    const answer = await gateway.post('/revocation', { token, ...form } as Record<string, string>, headers)
    t.match(answer, { status: 401, body: { error: 'invalid_client' } }, name)
    t.match(String(answer.headers['www-authenticate']), challenged ? /^Basic realm="/ : /^undefined$/, `${name}: WWW-Authenticate where Authorization was sent, and only there`)
    t.ok(await isAlive(gateway, token), `${name}: it is good still`)
  }
  gateway.app.configuration.clients.get('agency')!.active = false
  t.match(await gateway.postAs('agency', '/revocation', { token: access_token }), { status: 401 }, 'closed meanwhile')
})

t.test('a request that misses or doubles something is refused', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  const { headers } = credentialsOf('agency')
  const send = (payload: string, more = {}) => gateway.post('/revocation', payload, { ...headers, ...more })
  for (const [name, payload] of Object.entries({ 'no token': 'x=y', 'an empty token, which is none': 'token=', 'two tokens': `token=${access_token}&token=${access_token}`, 'NUL in it': `token=${access_token}%00`, 'an endless token': `token=${'x'.repeat(16_385)}` })) {
    t.match(await send(payload), { status: 400, body: { error: 'invalid_request' } }, name)
  }
  t.match(await send(JSON.stringify({ token: access_token }), { 'content-type': 'application/json' }), { status: 415 }, 'JSON')
  for (const method of ['GET', 'PUT', 'DELETE', 'HEAD'] as const) t.match((await gateway.app.inject({ method, url: `${base}/revocation?token=${access_token}`, headers: headers as Record<string, string> })).statusCode, /^40[45]$/, method)
  t.ok(await isAlive(gateway, access_token))
})

t.test('while the store cannot answer it is 503 with Retry-After, never that it was done (RFC 7009 §2.2.1)', async t => {
  for (const client of ['agency', 'mobile', 'notary']) {
    const gateway = await testApp(t)
    const { access_token } = await tokenOf(gateway, client)
    for (const method of ['get', 'end'] as const) {
      gateway.store.fail(method)
      t.match(await gateway.postAs(client, '/revocation', { token: access_token }), { status: 503, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store' }, body: { error: 'temporarily_unavailable' } }, `${client}: ${method}`)
      gateway.store.heal()
      t.ok(await isAlive(gateway, access_token), `${client}: ${method}: it is good still`)
    }
    isDone(t, await gateway.postAs(client, '/revocation', { token: access_token }), `${client}: afterwards`)
    t.notOk(await isAlive(gateway, access_token), client)
  }
})

t.test('an end outlives the token, however long it was to live', async t => {
  const gateway = await testApp(t, { clients: { agency: { access_token_seconds: 600 } } })
  const { access_token } = await tokenOf(gateway)
  isDone(t, await gateway.postAs('agency', '/revocation', { token: access_token }), 'long')
  gateway.wait(599)
  t.notOk(await isAlive(gateway, access_token), 'in its last second')
  const shortened = await tokenOf(gateway)
  gateway.app.configuration.clients.get('agency')!.access_token_seconds = 60
  isDone(t, await gateway.postAs('agency', '/revocation', { token: shortened.access_token }), 'its registration was shortened meanwhile')
  gateway.wait(61)
  t.notOk(await isAlive(gateway, shortened.access_token), 'it does not come back')
})

t.test('ended twenty times at once it has ended, and everybody is told so', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  const answers = await Promise.all(Array.from({ length: 20 }, () => gateway.postAs('agency', '/revocation', { token: access_token })))
  for (const answer of answers) isDone(t, answer, 'at once')
  t.notOk(await isAlive(gateway, access_token))
})

t.test('a browser client ends its own from the origin it is registered for (Fetch §3.2)', async t => {
  const gateway = await testApp(t)
  const ask = async (origin: string) => (await gateway.app.inject({ method: 'OPTIONS', url: `${base}/revocation`, headers: { origin, 'access-control-request-method': 'POST' } })).headers['access-control-allow-origin']
  t.equal(await ask('https://mobile.example'), 'https://mobile.example')
  for (const origin of ['https://agency.example', 'https://evil.example', 'null']) t.equal(await ask(origin), undefined, origin)
})
