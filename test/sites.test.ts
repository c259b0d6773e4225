import { createSecretKey, randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { keyringSealer } from '../src/adapters/keyring-sealer.ts'
import { openStores } from '../src/adapters/open-stores.ts'
import { sitedStore } from '../src/adapters/sited-store.ts'
import { startLossyWay, startRedis, type RedisNodes } from './support/redis.ts'
import { base, issuer, testApp, type Browser, type TestApp } from './support/test-app.ts'

// Two sites, each with a Redis of its own and nothing in common but keys and configuration: what one issued is good at the other, once.

t.setTimeout(60_000)
const now = () => Math.floor(Date.now() / 1000)
const key = { kid: 'one', key: createSecretKey(randomBytes(32)), nbf: 0 }
const sealer = keyringSealer({ issuer, keys: () => [key], now })
const watch = { sealed () {}, redeemed () {} }

/** The gateway at each of two sites; `part` ends the way between them, in both directions. */
async function openSites (t: Test) {
  const redis: Record<string, RedisNodes> = { a: await startRedis(t), b: await startRedis(t) }
  const links = { a: await startLossyWay(t, redis['a']!.urls[0]!), b: await startLossyWay(t, redis['b']!.urls[0]!) }
  const gatewayAt = (home: 'a' | 'b') => {
    const addresses = new Map((['a', 'b'] as const).map(site => [site, { urls: site === home ? redis[site]!.urls : [links[site].url], nodeTimeoutMs: -3000 }]))
    return testApp(t, { now, settings: { site: home }, store: sitedStore({ home, stores: openStores(addresses, { sealer, now, watch, onError () {} }) }) })
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

t.test('a site that is not configured has issued nothing', async t => {
  const { a } = await openSites(t)
  const way = await a.browser().logIn('agency')
  const foreign = { ...way, code: way.code.replace(/^a/, 'c') }
  t.match((await a.redeem(foreign)).body, { error: 'invalid_grant' })
  t.equal(await statusOf(a, foreign.code), 401)
})
