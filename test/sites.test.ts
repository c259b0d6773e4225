import { createSecretKey, randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { keyringSealer } from '../src/adapters/keyring-sealer.ts'
import { newHandle } from '../src/adapters/handles.ts'
import { openStores } from '../src/adapters/open-stores.ts'
import { sitedStore } from '../src/adapters/sited-store.ts'
import { keyHolder } from './support/client-keys.ts'
import { startLossyWay, startRedis, until, type RedisNodes } from './support/redis.ts'
import { base, citizen, issuer, testApp, type Browser, type Page, type Pushed, type TestApp } from './support/test-app.ts'

// Two sites, each with a Redis of its own and nothing in common but keys and configuration: what one issued is good at the other, once.

t.setTimeout(60_000)
const now = () => Math.floor(Date.now() / 1000)
const key = { kid: 'one', key: createSecretKey(randomBytes(32)), nbf: 0 }
const sealer = keyringSealer({ issuer, keys: () => [key], now })
const watch = { sealed () {}, redeemed () {} }

/** The gateway at each of two sites, `agency` a service that never does without the store; `part` ends the way between them, in both directions. */
async function openSites (t: Test, nodeTimeoutMs = -3000) {
  const redis: Record<string, RedisNodes> = { a: await startRedis(t), b: await startRedis(t) }
  const links = { a: await startLossyWay(t, redis['a']!.urls[0]!), b: await startLossyWay(t, redis['b']!.urls[0]!) }
  const gatewayAt = (home: 'a' | 'b') => {
    const addresses = new Map((['a', 'b'] as const).map(site => [site, { urls: site === home ? redis[site]!.urls : [links[site].url], nodeTimeoutMs }]))
    return testApp(t, { now, settings: { site: home }, clients: { agency: { degraded: 'deny' } }, store: sitedStore({ home, stores: openStores(addresses, { sealer, now, watch, onError () {} }) }) })
  }
  const [a, b] = [await gatewayAt('a'), await gatewayAt('b')]
  return { a, b, redis, part: (how: 'cut' | 'swallow') => { for (const link of Object.values(links)) link[how]() }, mend: () => { for (const link of Object.values(links)) link.mend() } }
}

const statusOf = async (gateway: TestApp, access_token: string) => (await gateway.userinfo(access_token)).status

t.test('a code of one site is redeemed at the other, once, and its second use ends the token at both', async t => {
  const { a, b } = await openSites(t)
  const way = await a.browser().logIn('agency')
  t.match(way.code, /^a-/)
  const outcomes = await Promise.all([a, b, a, b, a, b].map(gateway => gateway.redeem(way)))
  const given = outcomes.filter(({ status }) => status === 200)
  t.equal(given.length, 1, 'six at once: one is given tokens')
  t.same(outcomes.filter(({ status }) => status !== 200).map(({ body }) => body['error']), Array(5).fill('invalid_grant'))
  const { access_token } = given[0]!.body
  t.match(access_token, /^a-/, 'the token is of the site of its code')
  for (const gateway of [a, b]) t.equal(await statusOf(gateway, access_token), 401, 'a second use ended it')
})

/** The same browser at another site: its cookies are of the issuer's name. */
function movedTo ({ browser }: TestApp, from: Browser) {
  const here = browser()
  for (const [name, value] of Object.entries(from.cookies())) here.setCookie(name, value)
  return here
}

t.test('a token and a session of one site are good at the other, and ended there they are ended', async t => {
  const { a, b } = await openSites(t)
  const browser = a.browser()
  const { body: { access_token, id_token } } = await b.redeem(await browser.logIn('agency'))
  for (const gateway of [a, b]) t.equal(await statusOf(gateway, access_token), 200)

  const away = movedTo(b, browser)
  const asked = await away.start('swift')
  t.ok(asked.page.query.get('code'), 'the session spares the citizen the provider at the other site')
  const second = await a.redeem({ ...asked, code: asked.page.query.get('code')! })
  t.match(second.body['access_token'], /^b-/, 'what is new is of the site that made it')
  for (const gateway of [a, b]) t.equal(await statusOf(gateway, second.body['access_token']), 200)

  await away.get(`${base}/session/end?${new URLSearchParams({ id_token_hint: id_token })}`)
  for (const gateway of [a, b]) {
    t.equal(await statusOf(gateway, access_token), 401, 'a logout at the other site ends the token of the first')
    t.equal(await statusOf(gateway, second.body['access_token']), 401, 'and its own')
  }
  t.equal((await movedTo(a, browser).start('swift')).page.status, 200, 'and the session')
})

for (const how of ['cut', 'swallow'] as const) {
  t.test(`while the way between them ${how === 'cut' ? 'is cut' : 'swallows what is sent'} each serves its own, and says of the other's that it cannot know`, async t => {
    const { a, b, part, mend } = await openSites(t)
    const way = await a.browser().logIn('agency')
    const { body: { access_token } } = await a.redeem(await a.browser().logIn('agency'))
    const session = a.browser()
    await session.logIn('agency')
    part(how)

    for (const gateway of [a, b]) {
      const own = await gateway.redeem(await gateway.browser().logIn('agency'))
      t.equal(await statusOf(gateway, own.body['access_token']), 200, 'a whole login at each')
    }
    t.match(await b.redeem(way), { status: 503, headers: { 'retry-after': /^\d+$/ }, body: { error: 'temporarily_unavailable' } }, 'a code of the other')
    t.match(await b.userinfo(access_token), { status: 503, headers: { 'retry-after': /^\d+$/ } }, 'a token of the other')
    t.equal(await statusOf(a, access_token), 200, 'which is good at home')
    t.equal((await movedTo(b, session).start('mobile')).page.status, 200, 'a session of the other: the citizen is asked to choose')

    mend()
    t.equal((await b.redeem(way)).status, 200, 'nothing was lost')
    t.match((await a.redeem(way)).body, { error: 'invalid_grant' })
  })
}

/** How a citizen ends who agrees, or was sent back before. */
const endOf = async (browser: Browser, page: Page) => (page.status === 303 ? page : await browser.agree(page)).query
/** Waits until one site hears another soon, as what need not wait for it wants it. */
const hears = ({ store }: TestApp, site: string) => until(`${site} is heard`, 10_000, () => store.said('nothing', { at: newHandle(site), patienceMs: 250 }).then(() => true, () => false))

const losses = {
  frozen: { lose: async (redis: RedisNodes) => redis.freeze(0), comeBack: async (redis: RedisNodes) => redis.thaw(0) },
  lost: { lose: (redis: RedisNodes) => redis.kill(0), comeBack: (redis: RedisNodes) => redis.restart(0) }
}
for (const [how, { lose, comeBack }] of Object.entries(losses)) {
  t.test(`a login by a request that was pushed at a site which is ${how} goes on at the other, once, also of a service that never does without the store`, async t => {
    const { a, b, redis } = await openSites(t)
    const services = await Promise.all(['agency', 'vault'].map(async client => {
      const holder = client === 'vault' ? await keyHolder(a) : undefined
      const pushed = await a.push(client, {}, holder)
      const [first, second] = await Promise.all([sentBy(pushed), sentBy(pushed)])
      return { client, holder, pushed, first, second }
    }))
    await lose(redis['a']!)
    await Promise.all(services.map(async ({ client, holder, pushed, first, second }) => {
      const code = (await endOf(first.browser, await first.browser.comeBack(first.atProvider))).get('code')!
      t.match(code, /^b-/, `${client}: a code of the site that is left`)
      t.equal((await b.redeem({ ...pushed, code }, {}, client, holder)).status, 200, `${client}: and tokens`)
      t.equal((await endOf(second.browser, await second.browser.comeBack(second.atProvider))).get('error'), 'invalid_request_uri', `${client}: no other login gets one there`)
    }))
    t.equal(await b.metric('passerelle_unchecked_replays_total'), services.length, 'counted')

    await comeBack(redis['a']!)
    await hears(b, 'a')
    await redis['a']!.command(0, 'FLUSHALL')                            // what it was asked meanwhile it may have heard late
    for (const { client, pushed } of services) {
      const late = b.browser()
      t.equal((await endOf(late, (await late.toConsent(client, { pushed })).page)).get('error'), 'invalid_request_uri', `${client}: nor when the other is back, and knows nothing`)
    }

    /** A citizen whom a site sent to the provider, and who comes back to the other. */
    async function sentBy (pushed: Pushed) {
      const browser = a.browser()
      const { page } = await browser.startAt(pushed.address, pushed)
      const atProvider = await browser.choose(page)
      return { browser: movedTo(b, browser), atProvider }
    }
  })
}

t.test('a pushed request is good for one login at whichever site, and while the way between them is cut for one at each', async t => {
  const { a, b, part, mend } = await openSites(t)
  const reading = (pushed: Pushed, gateways: TestApp[]) => Promise.all(gateways.map(async gateway => {
    const browser = gateway.browser()
    return { browser, page: (await browser.toConsent('agency', { pushed })).page }
  }))
  const told = (query: URLSearchParams) => query.get('code')?.slice(0, 2) ?? query.get('error')
  for (const here of [a, b]) {
    const pushed = await here.push('agency')
    const ends = await Promise.all((await reading(pushed, [a, b, b, a, b, b])).map(({ browser, page }) => endOf(browser, page)))
    t.equal(ends.filter(query => query.has('code')).length, 1, 'six at once: one gets a code')
    t.same(ends.filter(query => !query.has('code')).map(told), Array(5).fill('invalid_request_uri'))
    for (const gateway of [a, b]) t.equal(told((await gateway.browser().get(pushed.address)).query), 'invalid_request_uri', 'who comes later is told at once')
  }

  const again = await a.push('agency')
  const [own, other] = await reading(again, [a, b])
  a.store.fail('put')
  t.equal(told(await endOf(own!.browser, own!.page)), 'temporarily_unavailable', 'no code could be kept')
  a.store.heal()
  t.equal(told(await endOf(other!.browser, other!.page)), 'invalid_request_uri')
  t.equal(told(await endOf(movedTo(b, own!.browser), own!.page)), 'b-', 'whose it is goes on where another was refused')
  t.same(await Promise.all([a, b].map(gateway => gateway.metric('passerelle_unchecked_replays_total'))), [0, 0])

  const pushed = await a.push('agency')
  const citizens = await reading(pushed, [a, b, a, b, a, b])
  part('cut')
  const ends: URLSearchParams[] = []
  for (const { browser, page } of citizens.slice(0, 4)) ends.push(await endOf(browser, page))
  t.same(ends.map(told), ['a-', 'b-', 'invalid_request_uri', 'invalid_request_uri'])
  t.same(await Promise.all([a, b].map(gateway => gateway.metric('passerelle_unchecked_replays_total'))), [0, 1], 'counted where it could not be known')
  mend()
  await hears(b, 'a')
  for (const { browser, page } of citizens.slice(4)) t.equal(told(await endOf(browser, page)), 'invalid_request_uri', 'and none when it is mended')
})

t.test('an information page of what a site keeps that does not answer leads to the chooser soon, and on from there', async t => {
  const { a, b, part } = await openSites(t, 2000)
  const large = { claims: { ...citizen, address: Object.fromEntries(['formatted', 'street_address', 'locality', 'region', 'country', 'more'].map(name => [name, 'x'.repeat(512)])) } }
  for (const gateway of [a, b]) gateway.providers['post']!.answer = large
  const entered = a.browser()
  await entered.logIn('agency')
  const [known, cameBack] = [movedTo(b, entered), a.browser()]
  const ways = {
    'a session': { client: 'town', browser: known, way: await known.toConsent('town') },
    'an identity': { client: 'agency', browser: cameBack, way: await cameBack.toConsent('agency', { idp: 'post', changes: { claims: '{"userinfo":{"address":null}}' } }) }
  }
  part('swallow')
  await Promise.all(Object.entries(ways).map(async ([what, { client, browser, way }]) => {
    t.match(way.page, { status: 200, body: /id="continue"/ }, what)
    for (const step of ['read', 'agreed'] as const) {
      const here = movedTo(b, browser)
      const begun = performance.now()
      const page = await here.follow(step === 'read' ? await here.get(`${base}/consent?login=${way.login}`) : await here.agree(way.page))
      t.match(page, { status: 200, notice: 'identity_expired' }, `${what}, ${step}: the chooser`)
      t.ok(performance.now() - begun < 4000, `${what}, ${step}: long before a call gives up`)
      if (step === 'read') continue
      const code = (await endOf(here, await here.comeBack(await here.choose(page, 'post')))).get('code')!
      t.match(code, /^b-/, `${what}: on from there`)
      t.equal((await b.redeem({ ...way, code }, {}, client)).status, 200, `${what}: to the service`)
    }
  }))
})

t.test('a site that is not configured has issued nothing', async t => {
  const { a } = await openSites(t)
  const way = await a.browser().logIn('agency')
  const foreign = { ...way, code: way.code.replace(/^a/, 'c') }
  t.match((await a.redeem(foreign)).body, { error: 'invalid_grant' })
  t.equal(await statusOf(a, foreign.code), 401)
})
