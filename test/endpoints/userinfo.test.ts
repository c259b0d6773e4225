import t, { type Test } from 'tap'
import { base, citizen, jsonOf, testApp, type Json, type TestApp } from '../support/test-app.ts'

async function tokenOf (gateway: TestApp, client = 'agency', changes: Record<string, string | undefined> = {}) {
  const browser = gateway.browser()
  const { body } = await gateway.redeem(await browser.logIn(client, { changes }))
  return { access_token: body['access_token'] as string, id_token: body['id_token'] as string, browser }
}

/** A refusal as RFC 6750 §3 has it. */
function isRefused (t: Test, { status, headers, body }: Json, name: string, challenge: RegExp = /^Bearer .*error="invalid_token"/) {
  t.equal(status, 401, name)
  t.match(headers, { 'www-authenticate': challenge, 'cache-control': 'no-store' }, `${name}: WWW-Authenticate`)
  t.equal(body['sub'], undefined, `${name}: says nothing`)
}

t.test('the access token is asked for by exactly one method (RFC 6750 §2)', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  const ask = async (options: object) => jsonOf(await gateway.app.inject({ url: `${base}/userinfo`, ...options }))
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const bearer = { authorization: `Bearer ${access_token}` }
  const sub = (await gateway.userinfo(access_token)).body['sub']
  t.match(sub, /v1$/, 'GET with a header')

  t.match(await ask({ method: 'POST', headers: form, payload: `access_token=${access_token}` }), { status: 200, body: { sub } }, 'POST with a form')
  t.match(await ask({ method: 'POST', headers: bearer }), { status: 200, body: { sub } }, 'POST with a header and no body (OpenID Connect Core §5.3.1)')
  t.match(await ask({ method: 'POST', headers: { ...bearer, ...form }, payload: '' }), { status: 200, body: { sub } }, 'POST with a header and an empty form')
  t.match(await ask({ headers: { authorization: `bearer ${access_token}` } }), { status: 200 }, 'in small letters')

  t.match(await ask({ method: 'POST', headers: { ...bearer, ...form }, payload: `access_token=${access_token}` }), { status: 400, body: { error: 'invalid_request' } }, 'both')
  isRefused(t, await ask({ url: `${base}/userinfo?access_token=${access_token}` }), 'in the query', /^Bearer/)
  isRefused(t, await ask({}), 'none', /^Bearer realm="[^"]+", DPoP realm="[^"]+", algs="[\w ]+"$/)
  isRefused(t, await ask({ headers: { authorization: access_token } }), 'without a scheme', /^Bearer/)
  isRefused(t, await ask({ headers: { authorization: `Basic ${access_token}` } }), 'another scheme', /^Bearer/)
  isRefused(t, await ask({ headers: { authorization: 'Bearer' } }), 'a scheme alone', /^Bearer/)
  isRefused(t, await ask({ headers: { authorization: `Bearer ${access_token}, Bearer x` } }), 'two in one header', /^Bearer/)
  t.match(await ask({ method: 'POST', headers: form, payload: `access_token=${access_token}&access_token=x` }), { status: 400 }, 'two in one form')
  t.match(await ask({ method: 'POST', headers: { 'content-type': 'application/json' }, payload: JSON.stringify({ access_token }) }), { status: 415 }, 'JSON')
  t.match(await ask({ method: 'POST', headers: form, payload: `access_token=${'a'.repeat(40_000)}` }), { status: 413 }, 'too large')
  for (const method of ['PUT', 'DELETE', 'HEAD'] as const) t.match(await ask({ method, headers: bearer }), { status: /^40[45]$/, body: { sub: undefined } }, method)
})

t.test('what is no access token is refused', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const arrival = await browser.logIn('agency')
  const session = browser.cookies()['__Host-session']!
  for (const [name, token] of Object.entries({
    'a code': arrival.code,
    'a session\'s handle': session,
    nonsense: 'x',
    'another site\'s': `zz-${'A'.repeat(43)}`,
    'a long one': 'a'.repeat(10_000),
    'the ID Token': (await gateway.redeem(arrival)).body['id_token']
  })) isRefused(t, await gateway.userinfo(token), name)
})

t.test('an access token lives as long as was said', async t => {
  const gateway = await testApp(t, { clients: { town: { access_token_seconds: 300 } } })
  for (const [client, seconds] of [['agency', 60], ['town', 300]] as const) {
    const { access_token } = await tokenOf(gateway, client)
    gateway.wait(seconds - 1)
    t.equal((await gateway.userinfo(access_token)).status, 200, `${client}: a second before`)
    gateway.wait(1)
    isRefused(t, await gateway.userinfo(access_token), `${client}: the end`)
  }
})

t.test('an access token ends with its session', async t => {
  const gateway = await testApp(t)
  const { access_token, id_token, browser } = await tokenOf(gateway)
  const other = await tokenOf(gateway)
  await browser.get(`${base}/session/end?id_token_hint=${id_token}`)
  isRefused(t, await gateway.userinfo(access_token), 'ended by logout')
  t.equal((await gateway.userinfo(other.access_token)).status, 200, 'another browser\'s does not')
})

t.test('a client closed meanwhile is told nothing', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  gateway.app.configuration.clients.get('agency')!.active = false
  isRefused(t, await gateway.userinfo(access_token), 'closed')
})

t.test('only what was asked for is said', async t => {
  const gateway = await testApp(t)
  const told = async (changes: Record<string, string | undefined>, client = 'agency') => {
    const { body: { sub, ...claims } } = await gateway.userinfo((await tokenOf(gateway, client, changes)).access_token)
    t.match(sub, /v1$/)
    return claims
  }
  t.strictSame(await told({ scope: 'openid' }), {}, 'openid: sub alone')
  t.strictSame(await told({ scope: 'openid email' }), { email: citizen.email })
  t.strictSame(await told({ scope: 'openid birth given_name' }), { given_name: 'Angèle', birthplace: '75107', birthcountry: '99100' })
  t.strictSame(await told({ scope: 'openid idp_id amr' }), { idp_id: 'taxes', amr: ['pwd'] })
  t.strictSame(await told({ scope: 'openid nonsense' }), {}, 'an unknown scope is ignored')
  t.strictSame(await told({ scope: 'openid', claims: '{"userinfo":{"phone_number":{"essential":true},"email":null,"given_name":null}}' }), { given_name: 'Angèle', email: citizen.email, phone_number: citizen.phone_number }, 'single claims')
  t.strictSame(await told({ scope: 'openid', claims: '{"id_token":{"email":null}}' }), {}, 'claims of the ID Token are said there')
  t.strictSame(await told({ scope: 'openid', claims: '{"userinfo":{"phone_number":null,"nonsense":null,"__proto__":null,"sub":null}}' }, 'town'), {}, 'beyond what the client may ask for: left out')
  gateway.providers['taxes']!.answer = { claims: { ...citizen, phone_number: '', secret: 'x', email: null } }
  t.strictSame(await told({ scope: 'openid email', claims: '{"userinfo":{"phone_number":null}}' }), {}, 'what is empty is absent')
  const { body } = await gateway.userinfo((await tokenOf(gateway)).access_token)
  t.notMatch(body, { secret: 'x' })
})

t.test('a store that cannot answer is 503 with Retry-After, never 401', async t => {
  const gateway = await testApp(t)
  const { access_token } = await tokenOf(gateway)
  for (const method of ['get', 'ended'] as const) {
    gateway.store.fail(method)
    const answer = await gateway.userinfo(access_token)
    t.match(answer, { status: 503, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store' }, body: { error: 'temporarily_unavailable' } }, method)
    t.equal(answer.headers['www-authenticate'], undefined)
    gateway.store.heal()
  }
  t.equal((await gateway.userinfo(access_token)).status, 200, 'and after it all is as before')
})
