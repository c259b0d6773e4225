import type { AddressInfo } from 'node:net'
import type { ServerResponse } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { compactDecrypt, createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify, type JSONWebKeySet } from 'jose'
import t, { type Test } from 'tap'
import { withinOneDeadline } from '../../src/adapters/one-deadline.ts'
import { within } from '../../src/adapters/record-store.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { clientDesk, inDevelopment, type ClientDesk } from '../support/client-desk.ts'
import { assertionType, createEncryptionKey } from '../support/client-keys.ts'
import { base, jsonOf, testApp, type Browser, type TestApp, type TestOptions } from '../support/test-app.ts'

t.jobs = 4                                                               // those that wait for a next try wait together
const together = { buffered: true }

const outcomes = ['delivered', 'refused', 'failed', 'dropped']
const told = async (gateway: TestApp) => Object.fromEntries(await Promise.all(outcomes.map(async outcome => [outcome, await gateway.metric('passerelle_back_channel_logouts_total', { outcome })]))) as Record<string, number>
/** Waits until something has come about. */
const until = async (holds: () => unknown) => { while (!await holds()) await new Promise(resolve => setTimeout(resolve, 5)) }
/** Waits until so many deliveries have come to their end. */
const ended = (gateway: TestApp, count: number) => until(async () => Object.values(await told(gateway)).reduce((sum, value) => sum + value, 0) >= count)

/** A gateway whose clients of these names are told of logouts at a server of theirs, each at a path of its name. */
async function telling (t: Test, names: string[], { clients = {}, ...more }: TestOptions = {}) {
  const desk = await clientDesk(t)
  const registered = Object.fromEntries(names.map(name => [name, { backchannel_logout_uri: `${desk.origin}/${name}`, ...clients[name] }]))
  return { desk, gateway: await testApp(t, { ...more, settings: { ...inDevelopment, ...more.settings }, clients: { ...clients, ...registered } }) }
}

/** A citizen who enters these services one after the other; what each was told. */
async function enter (gateway: TestApp, names: string[], browser = gateway.browser()) {
  const tokens: Record<string, string> = {}
  for (const name of names) {
    const redirect_uri = gateway.app.client(name)!.redirect_uris[0]
    tokens[name] = (await gateway.redeem(await browser.logIn(name, { changes: { redirect_uri, scope: 'openid' } }))).body['id_token']
  }
  return { browser, tokens }
}

const logOut = (browser: Browser, id_token_hint: string) => browser.get(`${base}/session/end?${new URLSearchParams({ id_token_hint })}`)
const tokenAt = (desk: ClientDesk, name: string, index = 0) => desk.at(`/${name}`)[index]!.body.get('logout_token')!

t.test('every client that the session entered is told, by a token of its own (Back-Channel Logout §2.4, §2.5)', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town', 'mobile', 'swift', 'clinic'], { clients: { mobile: { id_token_signed_response_alg: 'PS256' }, swift: { id_token_signed_response_alg: 'EdDSA' } } })
  const { browser, tokens } = await enter(gateway, ['agency', 'town', 'mobile', 'swift', 'agency'])
  await enter(gateway, ['clinic'])                                       // another citizen's session
  t.match(await logOut(browser, tokens['agency']!), { status: 200 })
  await ended(gateway, 4)
  t.strictSame(await told(gateway), { delivered: 4, refused: 0, failed: 0, dropped: 0 })
  t.equal(desk.at('/clinic').length, 0, 'the client of another session is not told')

  const keys = createLocalJWKSet(jsonOf(await gateway.app.inject(`${base}/jwks`)).body as unknown as JSONWebKeySet)
  const jtis = new Set<unknown>()
  for (const [name, alg] of Object.entries({ agency: 'RS256', town: 'ES256', mobile: 'PS256', swift: 'EdDSA' })) {
    const heard = desk.at(`/${name}`)
    t.equal(heard.length, 1, `${name}: once, however often it was entered`)
    t.match(heard[0], { method: 'POST', headers: { 'content-type': /^application\/x-www-form-urlencoded/, cookie: undefined, authorization: undefined } }, name)
    t.strictSame([...heard[0]!.body.keys()], ['logout_token'], `${name}: nothing else`)
    const logout_token = tokenAt(desk, name)
    t.match(decodeProtectedHeader(logout_token), { alg, typ: 'logout+jwt', kid: /./ }, `${name}: its header`)
    const { payload } = await jwtVerify(logout_token, keys, { issuer: gateway.issuer, audience: name, algorithms: [alg], typ: 'logout+jwt', currentDate: new Date(gateway.now() * 1000) })
    const { sub, sid } = decodeJwt(tokens[name]!)
    const { jti, exp, ...others } = payload
    t.strictSame(others, { iss: gateway.issuer, aud: name, sub, sid, iat: gateway.now(), events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }, `${name}: whom its ID Token named, and no nonce`)
    t.match(jti, /^.{16,}$/, `${name}: a name of its own`)
    t.ok(exp! > gateway.now() && exp! <= gateway.now() + 120, `${name}: for two minutes at most (§2.4)`)
    jtis.add(jti)
  }
  t.equal(jtis.size, 4, 'no two have the same')
})

t.test('it is encrypted where ID Tokens are, and never goes in the clear', async t => {
  const keys = { 'RSA-OAEP-256': createEncryptionKey('RSA-OAEP-256'), 'ECDH-ES': createEncryptionKey('ECDH-ES') }
  const encrypted = (alg: keyof typeof keys, enc: string) => ({ jwks: { keys: [keys[alg].published] }, id_token_signed_response_alg: 'ES256', id_token_encrypted_response_alg: alg, id_token_encrypted_response_enc: enc })
  const { desk, gateway } = await telling(t, ['agency', 'town', 'swift'], { clients: { agency: encrypted('RSA-OAEP-256', 'A128GCM'), town: encrypted('ECDH-ES', 'A256GCM') } })
  const { browser, tokens } = await enter(gateway, ['agency', 'town', 'swift'])
  await logOut(browser, tokens['swift']!)
  await ended(gateway, 3)
  for (const [name, alg, enc] of [['agency', 'RSA-OAEP-256', 'A128GCM'], ['town', 'ECDH-ES', 'A256GCM']] as const) {
    t.match(decodeProtectedHeader(tokenAt(desk, name)), { alg, enc, cty: 'JWT' }, name)
    const { plaintext } = await compactDecrypt(tokenAt(desk, name), keys[alg].privateKey)
    const signed = Buffer.from(plaintext).toString()
    t.match(decodeProtectedHeader(signed), { alg: 'ES256', typ: 'logout+jwt' }, name)
    const inner = Buffer.from((await compactDecrypt(tokens[name]!, keys[alg].privateKey)).plaintext).toString()
    const { sub, sid } = decodeJwt(inner)
    t.match(decodeJwt(signed), { aud: name, sub, sid }, `${name}: whom its ID Token named`)
  }
  t.match(decodeProtectedHeader(tokenAt(desk, 'swift')), { alg: 'RS256', enc: undefined }, 'and not where they are not')
})

t.test('who is told: clients that are registered for it and active when the session ends, and nobody without an end', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town', 'mobile', 'swift'])
  const { browser, tokens } = await enter(gateway, ['agency', 'town', 'mobile', 'swift'])
  const { clients } = gateway.app.configuration
  clients.get('town')!.active = false
  clients.delete('mobile')
  clients.get('swift')!.backchannel_logout_uri = undefined as never

  const page = await browser.get(`${base}/session/end?client_id=agency`)
  t.match(page.body, /id="log-out"/, 'asked first')
  await browser.post(`${base}/session/end`, { ...page.fields, decision: 'stay' })
  await logOut(gateway.browser(), tokens['agency']!)                     // a browser without this session
  await browser.get(`${base}/session/end?id_token_hint=x`)
  t.equal(desk.heard.length, 0, 'nothing has ended: nobody is told')

  const end = await browser.post(`${base}/session/end`, { ...(await browser.get(`${base}/session/end?client_id=agency`)).fields, decision: 'log-out' })
  t.equal(end.status, 200)
  await ended(gateway, 1)
  t.strictSame(desk.heard.map(({ path }) => path), ['/agency'], 'closed, removed, no longer registered for it: not told')
  await logOut(browser, tokens['agency']!)
  t.strictSame(await told(gateway), { delivered: 1, refused: 0, failed: 0, dropped: 0 }, 'a second logout ends nothing more')
})

t.test('the page after a logout names only the services that are not told', async t => {
  const { gateway } = await telling(t, ['town'])
  const { browser, tokens } = await enter(gateway, ['agency', 'town', 'mobile'])
  const page = await logOut(browser, tokens['agency']!)
  const remaining = /id="remaining"[^]*?<\/ul>/.exec(page.body)![0]
  t.match(remaining, /Service mobile/)
  t.notMatch(remaining, /Service town|Service agency/)
})

t.test('the clients are told before the citizen is at the provider\'s logout, and whatever becomes of that', async t => {
  for (const [name, change] of Object.entries<(gateway: TestApp) => void>({
    'it has one': () => {},
    'it is down': gateway => { gateway.providers['taxes']!.up = false },
    'it fails': gateway => { gateway.providers['taxes']!.failure = 'provider_unavailable' },
    'it breaks': gateway => { gateway.providers['taxes']!.endSessionUrl = async () => { throw new TypeError('broken') } },
    'it never answers': gateway => { gateway.providers['taxes']!.endSessionUrl = () => new Promise(() => {}) },
    'it is gone': gateway => { gateway.app.configuration.identityProviders.delete('taxes') }
  })) {
    const { desk, gateway } = await telling(t, ['agency', 'town'])
    gateway.providers['taxes']!.hasLogout = true
    const { browser, tokens } = await enter(gateway, ['agency', 'town'])
    change(gateway)
    const page = logOut(browser, tokens['agency']!)
    await ended(gateway, 2)
    t.strictSame(desk.heard.map(({ path }) => path).sort(), ['/agency', '/town'], name)
    if (name === 'it has one') t.match((await page).location, /^https:\/\/taxes\.example\/logout\?/, `${name}: and the citizen goes on there`)
  }
})

t.test('the citizen never waits for a client that does not answer', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town'])
  const held: ServerResponse[] = []
  desk.answers['/agency'] = desk.answers['/town'] = response => { held.push(response) }
  const { browser, tokens } = await enter(gateway, ['agency', 'town'])
  const page = await browser.get(`${base}/session/end?${new URLSearchParams({ id_token_hint: tokens['agency']!, post_logout_redirect_uri: 'https://agency.example/bye', state: 's' })}`)
  t.match(page, { status: 303, location: 'https://agency.example/bye?state=s' }, 'logged out, and back at the service')
  t.equal(browser.cookie(/session/), undefined)
  await desk.reached('/agency', 1)
  await desk.reached('/town', 1)
  t.strictSame(await told(gateway), { delivered: 0, refused: 0, failed: 0, dropped: 0 }, 'neither has answered yet')
  for (const response of held) response.end()
  await ended(gateway, 2)
  t.equal((await told(gateway))['delivered'], 2)
})

t.test('a client that cannot is told again, one that will not is not, and each by what came of it is counted (Back-Channel Logout §2.8)', together, async t => {
  const names = ['agency', 'town', 'mobile', 'swift', 'notary', 'wary', 'vigil', 'hidden']
  const { desk, gateway } = await telling(t, names, {
    clients: {
      wary: { identity_providers: { deny: null } },
      vigil: { redirect_uris: ['https://vigil.example/back'] },
      hidden: { redirect_uris: ['https://hidden.example/back'], id_token_signed_response_alg: 'ES256', id_token_encrypted_response_alg: 'ECDH-ES', jwks_uri: 'http://127.0.0.1:9/jwks' }
    }
  })
  const status = (code: number) => (response: ServerResponse) => { response.writeHead(code).end('{"error":"x"}') }
  const answers: Record<string, Array<(response: ServerResponse) => unknown>> = {
    '/agency': [status(500), status(503), status(200)],
    '/town': [status(400)],
    '/mobile': [status(500), status(500), status(500), status(200)],
    '/swift': [status(204)],
    '/notary': [response => response.destroy(), status(200)],
    '/wary': [response => response.writeHead(302, { location: `${desk.origin}/elsewhere` }).end(), status(307), status(404)],
    '/vigil': [() => {}, status(200)],
    '/hidden': [status(200)]
  }
  for (const [path, list] of Object.entries(answers)) desk.answers[path] = (response, heard) => list[desk.at(heard.path).length - 1]!(response)

  const { browser } = await enter(gateway, names)                        // no ID Token could be written for the last: it was entered all the same
  const end = await browser.get(`${base}/session/end`)
  await browser.post(`${base}/session/end`, { ...end.fields, decision: 'log-out' })
  await ended(gateway, names.length)

  t.strictSame(Object.fromEntries(Object.keys(answers).map(path => [path, desk.at(path).length])), { '/agency': 3, '/town': 1, '/mobile': 3, '/swift': 1, '/notary': 2, '/wary': 3, '/vigil': 2, '/hidden': 0 }, 'how often each was asked')
  t.equal(desk.at('/elsewhere').length, 0, 'a redirect is not followed')
  t.strictSame(await told(gateway), { delivered: 4, refused: 1, failed: 3, dropped: 0 })
  t.match((await gateway.app.operations.inject('/metrics')).body, /^passerelle_back_channel_logouts_total\{outcome="failed"\} 3$/m)
  const jtis = desk.at('/agency').map((_, index) => decodeJwt(tokenAt(desk, 'agency', index)).jti)
  t.strictSame(jtis, [jtis[0], jtis[0], jtis[0]], 'the same name at each try, so that the client can tell')
  const warned = gateway.log.map(line => JSON.parse(line)).filter(({ msg, outcome }) => msg === 'back-channel logout' && outcome !== undefined).map(({ client_id, outcome }) => `${client_id} ${outcome}`)
  t.strictSame(warned.sort(), ['hidden failed', 'mobile failed', 'town refused', 'wary failed'], 'support finds who was not told')
})

t.test('in production nobody\'s registration makes us call our own machine', together, async t => {
  const desk = await clientDesk(t)
  const gateway = await testApp(t, {
    clients: { agency: { backchannel_logout_uri: `https://agency.example:${new URL(desk.origin).port}/logout` }, town: { backchannel_logout_uri: `https://127.0.0.1:${new URL(desk.origin).port}/logout` } },
    lookup: (hostname, options, callback) => { if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }]); else callback(null, '127.0.0.1', 4) }
  })
  const { browser, tokens } = await enter(gateway, ['agency', 'town'])
  await logOut(browser, tokens['agency']!)
  await ended(gateway, 2)
  t.equal(desk.connections, 0)
  t.strictSame(await told(gateway), { delivered: 0, refused: 0, failed: 2, dropped: 0 })
})

t.test('a client that hangs holds up nobody else\'s', async t => {
  const hanging = await clientDesk(t)
  const held: ServerResponse[] = []
  hanging.answers['/agency'] = response => { held.push(response) }
  const { desk, gateway } = await telling(t, ['town'], { clients: { agency: { backchannel_logout_uri: `${hanging.origin}/agency` } } })
  const { browser, tokens } = await enter(gateway, ['town'])
  const { entered } = gateway.store
  gateway.store.entered = async sid => sid.startsWith('crowd') ? [{ client_id: 'agency', at: 0, claims: [] }] : entered(sid)
  for (let citizen = 0; citizen < 300; citizen++) gateway.app.tellLogout({ sid: `crowd-${citizen}`, person: 'somebody' })
  await hanging.reached('/agency', 60)
  await logOut(browser, tokens['town']!)
  await desk.reached('/town', 1)
  await until(async () => (await told(gateway))['delivered'] === 1)
  t.ok(held.length > 0 && held.length <= 256, 'told while hundreds wait for another, which is not called by all at once')
  hanging.answers['/agency'] = response => { response.end() }
  for (const response of held) response.end()
  await ended(gateway, 301)
  t.equal((await told(gateway))['dropped'], 0, 'and nobody was forgotten')
})

t.test('thousands that wait for a client that hangs are dropped, and nobody else\'s', async t => {
  const hanging = await clientDesk(t)
  hanging.answers['/agency'] = () => {}
  const { desk, gateway } = await telling(t, ['town'], { clients: { agency: { backchannel_logout_uri: `${hanging.origin}/agency` } } })
  const { browser, tokens } = await enter(gateway, ['town'])
  const { entered } = gateway.store
  gateway.store.entered = async sid => sid.startsWith('crowd') ? [{ client_id: 'agency', at: 0, claims: [] }] : entered(sid)
  for (let citizen = 0; citizen < 12_000; citizen++) gateway.app.tellLogout({ sid: `crowd-${citizen}`, person: 'somebody' })
  await until(async () => (await told(gateway))['dropped'] === 10_000)
  await logOut(browser, tokens['town']!)
  await until(async () => (await told(gateway))['delivered'] === 1)
  t.equal(desk.heard.length, 1)
  gateway.app.tellNoMore()
})

t.test('every client is told for as long as the session lives, however much less a session may last by now', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town'])
  const { browser } = await enter(gateway, ['agency'])
  gateway.app.configuration.settings.session.life_seconds = 120
  const { tokens } = await enter(gateway, ['town'], browser)             // let in by the session
  gateway.wait(121)
  await logOut(browser, tokens['town']!)
  await gateway.app.close()
  t.strictSame(desk.heard.map(({ path }) => path).sort(), ['/agency', '/town'])
})

t.test('a logout that the store was slow to record tells as any other', async t => {
  const { gateway } = await telling(t, ['agency', 'town'])
  const { browser, tokens } = await enter(gateway, ['agency', 'town'])
  const { end, entered } = gateway.store
  const late = <T>(afterMs: number, ask: () => Promise<T>) => withinOneDeadline(1000, leftMs => within(leftMs, pause(afterMs).then(ask)))
  gateway.store.end = (...values) => late(900, () => end(...values))
  gateway.store.entered = sid => late(500, () => entered(sid))
  t.equal((await logOut(browser, tokens['agency']!)).status, 200)
  await until(async () => { const { delivered, failed } = await told(gateway); return delivered === 2 || failed! > 0 })
  t.strictSame(await told(gateway), { delivered: 2, refused: 0, failed: 0, dropped: 0 })
})

t.test('the list of clients is asked for again where it does not come at once', async t => {
  const { gateway } = await telling(t, ['agency', 'town'])
  const { browser, tokens } = await enter(gateway, ['agency', 'town'])
  const { entered } = gateway.store
  let refusals = 2                                                       // the page after a logout asks, too
  gateway.store.entered = async sid => {
    if (refusals-- > 0) throw new OAuthError('store_unavailable', 'the store could not answer')
    return entered(sid)
  }
  await logOut(browser, tokens['agency']!)
  t.equal(gateway.app.underWay().logouts, 1, 'a session whose clients are to be told')
  await ended(gateway, 2)
  t.strictSame(await told(gateway), { delivered: 2, refused: 0, failed: 0, dropped: 0 })
})

t.test('when the list of clients cannot be had the logout is done all the same, and the loss is counted', together, async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town'])
  const { browser, tokens } = await enter(gateway, ['agency', 'town'])
  gateway.store.fail('entered')
  t.equal((await logOut(browser, tokens['agency']!)).status, 200)
  await ended(gateway, 1)
  t.strictSame(await told(gateway), { delivered: 0, refused: 0, failed: 1, dropped: 0 })
  t.equal(desk.heard.length, 0)
  gateway.store.heal()
  t.equal(browser.cookie(/session/), undefined)
})

t.test('when the end cannot be recorded nobody is told that it was', async t => {
  const { desk, gateway } = await telling(t, ['agency'])
  const { browser, tokens } = await enter(gateway, ['agency'])
  gateway.store.fail('end')
  t.match(await logOut(browser, tokens['agency']!), { status: 503, code: 'E02' })
  t.equal(desk.heard.length, 0)
})

t.test('a replica that closes tells first, and tries again what was to be tried again', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town'])
  const held: ServerResponse[] = []
  desk.answers['/agency'] = response => { held.push(response) }
  desk.answers['/town'] = response => { response.writeHead(desk.at('/town').length === 1 ? 500 : 200).end() }
  const { browser, tokens } = await enter(gateway, ['agency', 'town'])
  await logOut(browser, tokens['agency']!)
  await desk.reached('/agency', 1)
  let isClosed = false
  const closing = gateway.app.close().then(() => { isClosed = true })
  await desk.reached('/town', 2)
  t.notOk(isClosed, 'it waits for an answer')
  held[0]!.end()
  await closing
  t.strictSame(desk.heard.map(({ path }) => path).sort(), ['/agency', '/town', '/town'])
  t.notMatch(gateway.log.join(''), /"outcome":"failed"/)
})

t.test('a logout that is under way when a replica closes is told as well', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town'])
  const { browser, tokens } = await enter(gateway, ['agency', 'town'])
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = gateway.app.server.address() as AddressInfo
  const { end } = gateway.store
  const [reached, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  gateway.store.end = async (...values) => { reached.resolve(); await go.promise; return end(...values) }
  const cookie = Object.entries(browser.cookies()).map(([name, value]) => `${name}=${value}`).join('; ')
  const answer = fetch(`http://127.0.0.1:${port}${base}/session/end?id_token_hint=${tokens['agency']}`, { headers: { cookie, connection: 'close' }, redirect: 'manual' })
  await reached.promise
  const closing = gateway.app.close()
  await new Promise(resolve => setTimeout(resolve, 50))
  go.resolve()
  t.equal((await answer).status, 200, 'the citizen is answered')
  await closing
  t.strictSame(desk.heard.map(({ path }) => path).sort(), ['/agency', '/town'])
  t.notMatch(gateway.log.join(''), /"outcome":"failed"/)
})

t.test('a replica that closes tells for as long as it may, then nobody, and counts whom it has not told', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town', 'mobile'])
  const { app } = gateway
  desk.answers['/agency'] = () => {}
  desk.answers['/town'] = response => { response.writeHead(500).end() }
  const { browser, tokens } = await enter(gateway, ['agency', 'town', 'mobile'])
  await logOut(browser, tokens['agency']!)
  await desk.reached('/town', 1)
  await ended(gateway, 1)                                                // mobile

  const read = Promise.withResolvers<Awaited<ReturnType<typeof gateway.store.entered>>>()
  gateway.store.entered = sid => sid === 'unread' ? read.promise : Promise.resolve(Array.from({ length: 100 }, () => ({ client_id: 'agency', at: 0, claims: [] })))
  app.tellLogout({ sid: 'unread', person: 'somebody' })
  app.tellLogout({ sid: 'crowd', person: 'somebody' })
  await desk.reached('/agency', 64)
  t.equal(app.underWay().logouts, 103, 'one who does not answer, one to be asked again, a session of which nothing is known yet, and a crowd, some of which wait for a turn')

  const counter = app.metricsRegistry.getSingleMetric('passerelle_back_channel_logouts_total')!
  const { post } = app.clientCalls
  let calls = 0
  app.clientCalls.post = (...call) => { calls++; return post(...call) }
  let isClosed = false
  const closing = app.close().then(() => { isClosed = true })
  await new Promise(resolve => setTimeout(resolve, 200))
  t.notOk(isClosed, 'there is time')
  const [written, told] = [gateway.log.length, calls]
  app.tellNoMore()
  await closing
  read.resolve([{ client_id: 'mobile', at: 0, claims: [] }])
  await new Promise(resolve => setTimeout(resolve, 100))
  const { values } = await counter.get()
  t.strictSame(Object.fromEntries(values.map(({ labels, value }) => [labels['outcome'], value])), { delivered: 1, refused: 0, failed: 0, dropped: 103 })
  t.equal(app.underWay().logouts, 103, 'which the process will say')
  t.equal(calls, told, 'nobody else is called')
  t.strictSame(gateway.log.slice(written), [], 'no line for each')
})

t.test('a logout token proves nothing here: no hint, no assertion, no token', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'notary'])
  const { browser, tokens } = await enter(gateway, ['agency', 'notary'])
  await logOut(browser, tokens['agency']!)
  await ended(gateway, 2)
  const logout_token = tokenAt(desk, 'agency')
  const next = await enter(gateway, ['agency'])
  t.match(await logOut(next.browser, logout_token), { status: 400, code: 'E01' }, 'no hint')
  t.equal((await next.browser.start('agency', { prompt: 'none', id_token_hint: logout_token })).page.query.get('error'), 'invalid_request')
  t.match(await gateway.post('/revocation', { token: 'x', client_assertion_type: assertionType, client_assertion: tokenAt(desk, 'notary') }), { status: 401 }, 'no assertion')
  t.equal((await gateway.userinfo(logout_token)).status, 401, 'no token')
})

t.test('the log says who could not be told, and neither what nor of whom', async t => {
  const { desk, gateway } = await telling(t, ['agency', 'town'])
  desk.answers['/agency'] = (response, heard) => { response.writeHead(400).end(`you said ${heard.body}`) }
  desk.answers['/town'] = (response, heard) => {
    if (desk.at('/town').length > 1) return response.end()
    response.socket!.end(`HTTP/1.1 200 OK\r\nbroken ${heard.body}\r\n\r\n`)
  }
  const { browser, tokens } = await enter(gateway, ['agency', 'town'])
  await logOut(browser, tokens['agency']!)
  await ended(gateway, 2)
  const written = gateway.log.join('') + (await gateway.app.operations.inject('/metrics')).body
  const { sub, sid, jti } = decodeJwt(tokenAt(desk, 'agency'))
  t.match(written, /"client_id":"agency","outcome":"refused"/, 'the search looks at the log')
  t.strictSame([sub, sid, jti, tokenAt(desk, 'agency'), tokenAt(desk, 'town')].filter(text => written.includes(String(text))), [])
})

t.test('what is too much for memory is dropped, and counted, and each client has some that are not', async t => {
  const full = ['agency', 'town', 'mobile', 'swift']
  const { gateway } = await telling(t, [...full, 'clinic'])
  gateway.app.clientCalls.post = async url => url.endsWith('/clinic') ? 200 : new Promise(() => {})
  const crowd = (client_id: string, count: number) => Array.from({ length: count }, () => ({ client_id, at: 0, claims: [] }))
  gateway.store.entered = async sid => sid === 'crowd' ? full.flatMap(name => crowd(name, 2003)) : crowd('clinic', 70)
  gateway.app.tellLogout({ sid: 'crowd', person: 'somebody' })
  await ended(gateway, 12)
  t.strictSame(await told(gateway), { delivered: 0, refused: 0, failed: 0, dropped: 12 }, 'of each who hangs two thousand wait')
  gateway.app.tellLogout({ sid: 'few', person: 'somebody' })
  await ended(gateway, 12 + 70)
  t.strictSame(await told(gateway), { delivered: 64, refused: 0, failed: 0, dropped: 18 }, 'of another as many as are called at once')
  gateway.app.tellNoMore()
})
