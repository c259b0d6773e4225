import t, { type Test } from 'tap'
import { isSealedHandle } from '../src/adapters/handles.ts'
import { frailSite } from './support/degradable.ts'
import { startGateway } from './support/gateway.ts'
import { findWords, wordsOf } from './support/personal-data.ts'
import { startRedis, until } from './support/redis.ts'
import { sessionOf as keptSession } from './support/store-contract.ts'
import { citizen, neighbour, testApp, type Json, type Page, type TestApp, type TestOptions } from './support/test-app.ts'
import { createBrowser, logIn, readGreeting } from './world/browser.ts'
import { citizens } from './world/citizens.ts'

// Logins while the store is away, as the citizen and the client see them.

/** Two replicas over one store that a test takes away. */
async function degradable (t: Test, options: TestOptions = {}) {
  const site = frailSite(t)
  const open = (store: typeof site.replicas[number]) => testApp(t, { ...options, store: store.store, now: site.now })
  const [one, other] = [await open(site.replicas[0]), await open(site.replicas[1])]
  return { ...site, one, other, wait (seconds: number) { site.clock.now += seconds } }
}

const sessionOf = (gateway: ReturnType<TestApp['browser']>) => gateway.cookies()['__Host-session']
const refused = (answer: Json, error: string) => [answer.status, answer.body['error']].join(' ') === `400 ${error}`
const awayAnswer = { status: 503, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store' }, body: { error: 'temporarily_unavailable' } }
const told = ({ status, query, location }: Page) => ({ status, error: query.get('error'), state: query.get('state'), code: query.get('code'), at: location.split('?')[0] })

t.test('a client that allows it is served whole, and a citizen enters without noticing', async t => {
  const { records, one, other } = await degradable(t)
  const browser = one.browser()
  records.away = 'refuses'
  const arrival = await browser.logIn('agency', { changes: { scope: 'openid profile email' } })
  t.ok(isSealedHandle(arrival.code))
  t.equal(arrival.page.query.get('state'), arrival.parameters['state'])
  t.same(Object.keys(browser.cookies()).filter(name => name.includes('session')), [], 'no session is opened')

  t.ok(refused(await one.redeem(arrival, { code_verifier: 'x'.repeat(43) }), 'invalid_grant'), 'not with another verifier')
  t.ok(refused(await one.redeem(arrival, { code_verifier: undefined }), 'invalid_grant'), 'nor without one')
  t.ok(refused(await one.redeem(arrival, {}, 'town'), 'invalid_grant'), 'nor by another client')
  t.ok(refused(await one.redeem(arrival, { redirect_uri: 'https://agency.example/other?tab=1' }), 'invalid_grant'), 'nor at another address')
  t.match(await one.redeem(arrival, { code: `${arrival.code.slice(0, -2)}AA` }), awayAnswer, 'of another code nobody knows whether it was redeemed')
  const tokens = await other.redeem(arrival)
  t.match(tokens, { status: 200, body: { token_type: 'Bearer', expires_in: 60, id_token: String } }, 'at another replica than the one that gave it')
  const access_token = tokens.body['access_token'] as string
  t.ok(isSealedHandle(access_token))
  for (const gateway of [one, other]) t.match(await gateway.userinfo(access_token), { status: 200, body: { email: citizen.email, given_name: citizen.given_name } })
  t.equal((await other.post('/userinfo', { access_token })).status, 200, 'also in a form')
  for (const handle of [arrival.code, access_token]) t.same(findWords(handle, wordsOf(citizen)), [], 'nobody is named in a handle')
  t.same(findWords([...one.log, ...other.log].join(), [arrival.code, access_token]), [], 'nor is it in the log')
  t.match([...one.events('returned'), ...other.events('token')], [{ event: 'returned', degraded: true }, { event: 'token', degraded: true }], 'and it is told that tokens were given')
})

t.test('a second use is refused where the first was known, and ends what it gave there; a replica that does not know is the last that can be used', async t => {
  const { records, one, other } = await degradable(t)
  records.away = 'refuses'
  const arrival = await one.browser().logIn('agency')
  const first = await one.redeem(arrival)
  t.ok(refused(await one.redeem(arrival), 'invalid_grant'))
  t.match(await one.userinfo(first.body['access_token']), { status: 401, body: { error: 'invalid_token' } })
  const second = await other.redeem(arrival)
  t.equal(second.status, 200, 'one a replica, by the same client with the same verifier')
  t.ok(refused(await other.redeem(arrival), 'invalid_grant'))
  for (const gateway of [one, other]) t.ok(refused(await gateway.redeem(arrival), 'invalid_grant'))
})

t.test('what cannot be known is not said: 503 for introspection and revocation, and 200 when the store is back', async t => {
  const { records, one, other } = await degradable(t)
  records.away = 'refuses'
  const arrival = await one.browser().logIn('agency', { changes: { scope: 'openid email birth' } })
  const { body: { access_token } } = await one.redeem(arrival)
  for (const gateway of [one, other]) {
    t.match(await gateway.postAs('archive', '/introspection', { token: access_token }), { ...awayAnswer, body: { active: undefined } })
    t.match(await gateway.postAs('agency', '/revocation', { token: access_token }), awayAnswer)
    t.equal((await gateway.userinfo(access_token)).status, 200, 'what was not revoked is good')
  }
  records.away = undefined
  t.match(await other.postAs('archive', '/introspection', { token: access_token }), { status: 200, body: { active: true, scope: 'openid email birth' } })
  t.equal((await other.postAs('town', '/revocation', { token: access_token })).body['error'], 'unauthorized_client', 'not by another client')
  t.equal((await other.postAs('agency', '/revocation', { token: access_token })).status, 200)
  for (const gateway of [one, other]) {
    t.equal((await gateway.userinfo(access_token)).status, 401)
    t.match(await gateway.postAs('archive', '/introspection', { token: access_token }), { status: 200, body: { active: false } })
  }
})

t.test('it lives a minute, whatever the client\'s tokens do', async t => {
  const { records, one, other, wait } = await degradable(t, { clients: { agency: { access_token_seconds: 600 } } })
  records.away = 'refuses'
  const [arrival, late] = [await one.browser().logIn('agency'), await one.browser().logIn('agency')]
  const { body } = await one.redeem(arrival)
  t.equal(body['expires_in'], 60)
  wait(59)
  t.equal((await other.userinfo(body['access_token'])).status, 200)
  wait(1)
  t.equal((await other.userinfo(body['access_token'])).status, 401)
  records.away = undefined
  t.ok(refused(await one.redeem(late), 'invalid_grant'), 'a code that nobody redeemed in time')
})

t.test('clients that do not allow it, public ones, those of fapi2 and higher levels are told to try again, with their state', async t => {
  const { records, one } = await degradable(t, { clients: { town: { degraded: 'deny' }, notary: { degraded: 'allow' } } })
  const vault = await one.push('vault')
  const ways: Array<[client: string, changes: Record<string, string | undefined>, outcome: 'code' | 'error', what: string]> = [
    ['town', {}, 'error', 'denied'],
    ['mobile', {}, 'error', 'public'],
    ['vault', {}, 'error', 'fapi2'],
    ['agency', { acr_values: 'eidas2' }, 'error', 'a level above the lowest'],
    ['swift', { code_challenge: undefined, code_challenge_method: undefined, nonce: undefined }, 'error', 'neither challenge nor nonce'],
    ['swift', { code_challenge: undefined, code_challenge_method: undefined }, 'code', 'a nonce alone'],
    ['notary', { acr_values: 'eidas3' }, 'code', 'a level above, allowed']
  ]
  for (const [client, changes, outcome, what] of ways) {
    records.away = undefined
    const browser = one.browser()
    const asked = { ...changes, ...(client === 'town' ? { scope: 'openid profile' } : {}) }
    const way = client === 'swift'
      ? await browser.start(client, asked)
      : await browser.toConsent(client, client === 'vault' ? { pushed: vault } : { changes: asked })
    records.away = 'refuses'
    const page = client === 'swift' ? await browser.comeBack(await browser.choose(way.page)) : await browser.agree(way.page)
    if (outcome === 'code') t.ok(isSealedHandle(page.query.get('code') ?? ''), what)
    else t.match(told(page), { status: 303, error: 'temporarily_unavailable', state: way.parameters['state'], code: null, at: `https://${client}.example/back` }, what)
    t.equal(sessionOf(browser), undefined)
  }
  records.away = undefined
  t.notOk(isSealedHandle((await one.browser().logIn('agency')).code), 'and nothing of this when the store is well')
})

t.test('one setting forbids it to all, those included whose registration allows it', async t => {
  const { records, one } = await degradable(t, { settings: { degraded: 'deny' }, clients: { notary: { degraded: 'allow' } } })
  for (const client of ['agency', 'notary']) {
    records.away = undefined
    const browser = one.browser()
    const way = await browser.toConsent(client)
    records.away = 'refuses'
    t.match(told(await browser.agree(way.page)), { status: 303, error: 'temporarily_unavailable', code: null }, client)
  }
})

t.test('who would enter by single sign-on is asked by the provider again, and nobody is anybody else when the store is back', async t => {
  const { records, one, other } = await degradable(t)
  const browser = one.browser()
  await browser.logIn('agency')
  const before = sessionOf(browser)
  t.ok(before)
  records.away = 'refuses'
  const way = await browser.start('town')
  t.equal(way.page.status, 200)
  t.ok(way.page.link('idp-taxes'), 'the chooser')
  t.equal(sessionOf(browser), before, 'the session is not given up for that')
  for (const gateway of [one, other]) gateway.providers['taxes']!.answer = { claims: neighbour }
  const page = await browser.agree(await browser.comeBack(await browser.choose(way.page)))
  t.ok(isSealedHandle(page.query.get('code') ?? ''))
  t.equal(sessionOf(browser), undefined, 'the session may have been another person\'s')

  records.away = undefined
  const after = await browser.start('agency')
  t.ok(after.page.link('idp-taxes'), 'asked again, not taken for the citizen who was here before')
  const own = await browser.logIn('agency')
  t.notOk(isSealedHandle(own.code))
  t.ok(sessionOf(browser), 'and sessions are opened again')
})

t.test('a session that could be kept beside a sealed code is not opened, nor is one kept that the store lost while it went', async t => {
  const { records, one } = await degradable(t)
  const { put } = records
  const browser = one.browser()
  records.put = (async (kind, ...of) => {
    records.away = kind === 'code' ? 'refuses' : undefined
    try { return await put(kind, ...of) } finally { records.away = undefined }
  }) as typeof put
  t.ok(isSealedHandle((await browser.logIn('agency')).code))
  t.equal(sessionOf(browser), undefined)
  records.put = (async (kind, ...of) => {
    records.away = kind === 'session' ? 'refuses' : undefined
    try { return await put(kind, ...of) } finally { records.away = undefined }
  }) as typeof put
  const arrival = await browser.logIn('agency')
  t.notOk(isSealedHandle(arrival.code), 'the code is kept')
  t.equal(sessionOf(browser), undefined)
  t.equal((await one.redeem(arrival)).status, 200, 'and good')
})

t.test('a session that ended while it could not be looked at ends what it gave, as soon as it can', async t => {
  const { records, one, other } = await degradable(t)
  const browser = one.browser()
  await browser.logIn('agency')
  const { put } = records
  // single sign-on, and the store goes just when the code is put
  const way = await browser.toConsent('town')
  records.put = (async () => { records.away = 'refuses'; return put('code', {} as never, 1) }) as typeof put
  const page = await browser.agree(way.page, { consent: 'yes' })
  const code = page.query.get('code') ?? ''
  t.ok(isSealedHandle(code))
  records.put = put
  const { body } = await one.redeem({ ...way, code })
  t.equal((await one.userinfo(body['access_token'])).status, 200)
  records.away = undefined
  const out = await browser.get('/api/v2/session/end')
  await browser.post('/api/v2/session/end', { ...out.fields, decision: 'log-out' })
  t.equal(sessionOf(browser), undefined)
  for (const gateway of [one, other]) t.equal((await gateway.userinfo(body['access_token'])).status, 401)
})

t.test('codes that were given meanwhile are good once when the store is back, at whichever replica, and it is told of those that were used', async t => {
  const { records, one, other } = await degradable(t)
  records.away = 'refuses'
  const [used, unused] = [await one.browser().logIn('agency'), await one.browser().logIn('agency')]
  const { body } = await one.redeem(used)
  records.away = undefined
  const answers = await Promise.all([one, other, one, other].map(gateway => gateway.redeem(unused)))
  t.equal(answers.filter(({ status }) => status === 200).length, 1, 'exactly one')
  for (const answer of answers.filter(({ status }) => status !== 200)) t.ok(refused(answer, 'invalid_grant'))
  // whoever hears that the store is back tells it
  await new Promise(resolve => setTimeout(resolve, 50))
  t.ok(refused(await other.redeem(used), 'invalid_grant'), 'redeemed while it was away, it is known everywhere')
  for (const gateway of [one, other]) t.equal((await gateway.userinfo(body['access_token'])).status, 401, 'and its second use ended its token everywhere')
})

t.test('an identity too large for a handle is told to try again', async t => {
  const { records, one } = await degradable(t)
  const browser = one.browser()
  one.providers['taxes']!.answer = { claims: { ...citizen, nickname: 'x'.repeat(500), website: 'x'.repeat(500), picture: 'x'.repeat(500) } }
  const way = await browser.toConsent('agency')
  records.away = 'refuses'
  t.match(told(await browser.agree(way.page)), { error: 'temporarily_unavailable', state: way.parameters['state'] })
})

t.test('over real sockets, with a real Redis that is killed, and comes back', async t => {
  const redis = await startRedis(t)
  const { app, world, log } = await startGateway(t, { redis: redis.urls, overrides: { settings: { redis: { node_timeout_ms: 500 } } } })
  const arrives = async (service: string) => {
    const browser = createBrowser()
    t.teardown(() => browser.close())
    const page = await logIn(browser, { world, service, provider: 'vitalys', citizen: 'marion' })
    return { page, greeting: page.has('greeting') ? readGreeting(page) : undefined, session: browser.jar.cookies.some(({ name }) => name.endsWith('session') && name.startsWith('passerelle-')) }
  }
  const metric = async (name: string, labels = '') => Number(new RegExp(`^${name}${labels.replace(/[{}]/g, '\\$&')} (\\d+)$`, 'm').exec(await app.metricsRegistry.metrics())?.[1])

  const before = await arrives('taxes')
  t.ok(before.greeting)
  t.equal(before.session, true)
  await redis.kill(0)
  for (let i = 0; i < 2; i++) {
    const { greeting, session } = await arrives('taxes')
    t.same(greeting?.['sub'], before.greeting!['sub'], 'the same citizen')
    t.equal(session, false)
  }
  t.equal(await metric('passerelle_degraded_codes_total'), 2)
  t.equal(await metric('passerelle_degraded_redemptions_total', '{how="alone"}'), 2)
  const denied = await arrives('social-security')
  t.equal(denied.greeting, undefined)
  t.match(denied.page.url + denied.page.body, /temporarily_unavailable/, 'a public client is told to try again')

  await redis.restart(0)
  await until('what was redeemed alone is told', 10_000, async () => (await redis.allValues()).filter(({ key }) => key.startsWith('used:')).length === 2)
  await until('it is asked for sessions again', 10_000, () => app.store.put('session', keptSession(), 30, { ifAway: 'give up' }).then(() => true, () => false))
  const after = await arrives('social-security')
  t.ok(after.greeting)
  t.equal(after.session, true, 'and all is as before, without a restart')
  t.equal(await metric('passerelle_degraded_codes_total'), 2)
  t.same(log.map(line => JSON.parse(line)).filter(({ event }) => event === 'token').map(({ degraded }) => degraded), [undefined, true, true, undefined], 'each login that had such a code is known afterwards')
  const said = log.join()
  t.same(findWords(said, wordsOf(citizens[0]!.claims)), [], 'nobody is named in the log')
  t.notMatch(said, /[a-z0-9]{1,4}~1\./, 'no sealed handle is logged')
})
