import t, { type Test } from 'tap'
import { redisNoticeboard } from '../../src/adapters/redis-noticeboard.ts'
import { messages } from '../../src/pages/messages.ts'
import type { Noticeboard } from '../../src/ports.ts'
import { startRedis, until } from '../support/redis.ts'
import { base, basic, requestOf, secretOf, testApp, type TestApp, type TestOptions } from '../support/test-app.ts'

const authorize = () => `${base}/authorize?${new URLSearchParams(requestOf('agency').parameters)}`
const limited = { status: 429, code: 'Y09', setCookies: [], location: '', headers: { 'retry-after': /^([5-9]|1[0-5])$/ } }
const most = 8

/** A gateway behind a proxy, where an address may come eight times a second. */
const gatewayWith = (t: Test, rate_limits: Record<string, unknown> = {}, options: TestOptions = {}) =>
  testApp(t, { ...options, settings: { trusted_proxies: ['127.0.0.1'], rate_limits: { address_per_second: most, ...rate_limits }, ...options.settings } })
const from = (address: string, more = {}) => ({ headers: { 'x-forwarded-for': address, ...more } })
const come = async (gateway: TestApp, address: string, path = `${base}/jwks`) => (await gateway.app.inject({ url: path, ...from(address) })).statusCode
/** An address comes until it is limited: how often it was answered. */
async function answered (gateway: TestApp, address: string, tries = 4 * most) {
  for (let i = 0; i < tries; i++) if (await come(gateway, address) === 429) return i
  return tries
}
const isUnlimited = 4 * most

t.test('an address that comes too often is sent away for some seconds, others are not, and the next second it may again', async t => {
  const gateway = await gatewayWith(t)
  t.equal(await answered(gateway, '203.0.113.5'), most)
  for (const path of ['/authorize?client_id=agency', '/jwks', '/nowhere', '/assets/x']) t.equal(await come(gateway, '203.0.113.5', base + path), 429, path)
  t.equal(await come(gateway, '203.0.113.6'), 200)
  gateway.wait(1)
  t.equal(await answered(gateway, '203.0.113.5'), most)
  t.ok(await gateway.metric('passerelle_rate_limited_total', { what: 'address' }) >= 6)
  t.ok(await gateway.metric('passerelle_failures_total', { failure: 'rate_limited' }) >= 6)
})

t.test('a citizen gets the page that comes back by itself, a client JSON; the one event for all of them names nobody', async t => {
  const gateway = await gatewayWith(t)
  await answered(gateway, '203.0.113.5')
  for (const language of ['fr', 'en'] as const) {
    const page = await gateway.browser().get(authorize(), from('203.0.113.5', { 'accept-language': language }))
    t.match(page, { ...limited, headers: { refresh: page.headers['retry-after'], 'cache-control': 'no-store', 'content-security-policy': /default-src 'none'/ } })
    t.ok(page.body.includes(messages[language].busy.byItself))
  }
  t.match(await gateway.browser().post(`${base}/authorize`, requestOf('agency').parameters, from('203.0.113.5')), { ...limited, headers: { refresh: undefined } })
  const { statusCode: status, headers, json } = await gateway.app.inject({ url: `${base}/userinfo`, ...from('203.0.113.5') })
  t.match({ status, headers, body: json() }, { status: 429, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store', 'content-type': /^application\/json/ }, body: { error: 'temporarily_unavailable' } })
  t.match(gateway.events('rate_limited'), [{ security: true, outcome: 'us' }])
  t.equal(gateway.events('rate_limited').length, 1)
  gateway.wait(1)
  await answered(gateway, '203.0.113.5')
  t.equal(gateway.events('rate_limited').length, 2, 'another second, another event')
  t.notMatch(gateway.log.join('') + (await gateway.app.operations.inject('/metrics')).body, /203\.0\.113/)
})

t.test('an address is what a trusted proxy says: what anybody else writes there counts for nothing', async t => {
  const trusting = await gatewayWith(t)
  let count = 0
  while (count < isUnlimited && await come(trusting, `198.51.100.${count}, 203.0.113.5`) === 200) count++
  t.equal(count, most, 'what stands before the address that the proxy saw')
  const alone = await gatewayWith(t, { exempt_networks: [] }, { settings: { trusted_proxies: ['192.0.2.1'] } })
  count = 0
  while (count < isUnlimited && await come(alone, `198.51.100.${count}`) === 200) count++
  t.equal(count, most, 'by whoever is no trusted proxy')
  t.equal(await answered(trusting, 'unknown'), isUnlimited, 'what is no address is nobody\'s: all who are behind such a proxy are not one')
})

t.test('where everybody has the address of a proxy that nobody named, nobody is limited, and the log says so', async t => {
  const gateway = await gatewayWith(t, { exempt_networks: [] }, { settings: { trusted_proxies: [] } })
  t.equal(await answered(gateway, '203.0.113.5'), isUnlimited)
  t.match(gateway.log.join(''), /trusted_proxies names no proxy/)
})

t.test('an address is one however it is written, and an IPv6 address stands for its /64', async t => {
  const gateway = await gatewayWith(t)
  t.equal(await answered(gateway, '203.0.113.5'), most)
  for (const same of ['::ffff:203.0.113.5', '::FFFF:cb00:7105', '0:0:0:0:0:ffff:cb00:7105', '203.0.113.5:4711', '203.0.113.5:4712', '[::ffff:203.0.113.5]:4711']) t.equal(await come(gateway, same), 429, same)
  t.equal(await answered(gateway, '2001:db8:1:2::1'), most)
  for (const same of ['2001:db8:1:2::2', '2001:0DB8:0001:0002:ffff:ffff:ffff:ffff', '2001:db8:1:2:0:0:0:9', '[2001:db8:1:2::3]:4711', '[2001:db8:1:2::3]']) t.equal(await come(gateway, same), 429, same)
  for (const other of ['2001:db8:1:3::1', '2001:db8:1::1', '2001:db8::1', '::1:2', '1::']) t.equal(await come(gateway, other), 200, other)
})

t.test('named networks are exempt, IPv4 and IPv6, and nobody beside them', async t => {
  const gateway = await gatewayWith(t, { exempt_networks: ['10.0.0.0/8', '192.0.2.7', '2001:db8::/32', '2001:db9::1'] })
  for (const address of ['10.255.0.1', '10.255.0.2:4711', '[2001:db8::5]:4711', '::ffff:10.1.2.3', '192.0.2.7', '2001:db8:ffff::1', '2001:db9::1']) t.equal(await answered(gateway, address), isUnlimited, address)
  for (const address of ['11.0.0.1', '192.0.2.8', '2001:db9::2', '::a00:1']) t.equal(await answered(gateway, address), most, address)
  t.equal(await answered(await gatewayWith(t), '127.0.0.1'), isUnlimited, 'this machine, unless something else is said')
})

t.test('a login under way goes on from an address that is over its limit, to its very end; a cookie that is only named, of another or finished is none', async t => {
  const gateway = await gatewayWith(t)
  const browser = gateway.browser()
  const there = from('203.0.113.5')
  const { parameters, code_verifier } = requestOf('agency')
  const chooser = await browser.get(`${base}/authorize?${new URLSearchParams(parameters)}`, there)
  const other = await gateway.browser().get(authorize(), from('203.0.113.9'))
  t.equal(await answered(gateway, '203.0.113.5'), most - 1)

  const away = await browser.get(chooser.link('idp-taxes')!, there)
  t.equal(away.status, 303)
  const back = await browser.get(browser.callback(away), there)
  const consent = await browser.get(back.location, there)
  const arrival = await browser.post(`${base}/consent`, { ...consent.fields, decision: 'continue' }, there)
  t.equal((await gateway.redeem({ code: arrival.query.get('code')!, parameters, code_verifier })).status, 200)
  t.match(await browser.get(authorize(), there), limited, 'a login that is over is none')

  const [name, value] = other.setCookies[0]!.split(';')[0]!.split('=') as [string, string]
  for (const [what, cookie] of Object.entries({
    named: '__Host-login-AAAAAAAAAAAAAAAAAAAAAA=1',
    'under another name': `__Host-login-AAAAAAAAAAAAAAAAAAAAAA=${value}`,
    changed: `${name}=${value.slice(0, -2)}AA`,
    many: Array.from({ length: 100 }, (_, i) => `__Host-login-${i}=${value}`).join('; ')
  })) t.match(await gateway.browser().get(authorize(), from('203.0.113.5', { cookie })), limited, what)

  const flood = await Promise.all(Array.from({ length: 60 }, () => gateway.browser().get(authorize(), from('203.0.113.5', { cookie: `${name}=${value}` }))))
  t.equal(flood.filter(({ status }) => status === 200).length, 20, 'and no login is a pass for a flood')
})

t.test('whoever collected logins does not come as often as he likes by them', async t => {
  const gateway = await gatewayWith(t)
  const pages = await Promise.all(Array.from({ length: most }, async () => {
    const browser = gateway.browser()
    const { body } = await browser.get(authorize(), from('203.0.113.5'))
    return { browser, address: `${base}/choose?login=${/login=([\w-]{22})/.exec(body)![1]}` }
  }))
  gateway.wait(1)
  await answered(gateway, '203.0.113.5')
  const answers = await Promise.all(pages.flatMap(({ browser, address }) => Array.from({ length: 20 }, () => browser.get(address, from('203.0.113.5')))))
  t.equal(answers.filter(({ status }) => status === 200).length, 10 * most)
})

t.test('wrong credentials count by address and client; right ones always pass, and so do those of others', async t => {
  const gateway = await gatewayWith(t, { address_per_second: 1000, wrong_credentials_per_minute: 5 })
  const there = from('203.0.113.5').headers
  const guess = async (client: string, headers: Record<string, string> = there, path = '/token') => (await gateway.post(path, 'grant_type=authorization_code&code=x', { ...headers, authorization: basic(client, 'wrong') }))
  for (const path of ['/token', '/introspection', '/revocation', '/par', '/token']) t.equal((await guess('agency', there, path)).status, 401, path)
  const refused = await guess('agency')
  t.match(refused, { status: 429, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store', 'www-authenticate': undefined }, body: { error: 'temporarily_unavailable' } })
  t.equal((await gateway.post('/token', { client_id: 'agency', client_secret: secretOf('agency') }, there)).status, 429, 'also by a method that is not its own')
  t.match(await gateway.post('/token', 'grant_type=authorization_code&code=x', { ...there, authorization: basic('agency', secretOf('agency')) }), { status: 400, body: { error: 'invalid_grant' } }, 'right ones pass')
  t.equal((await guess('clinic')).status, 401, 'another client')
  t.equal((await guess('agency', from('203.0.113.6').headers)).status, 401, 'another address')
  t.match(gateway.events('rate_limited'), [{ client_id: 'agency', security: true }, { client_id: 'agency' }])
  t.equal(await gateway.metric('passerelle_rate_limited_total', { what: 'credentials' }), 2)
  for (let i = 0; i < 10; i++) t.equal((await guess('nobody')).status, 401, 'who is no client of ours is limited by address only')
  gateway.wait(60)
  t.equal((await guess('agency')).status, 401, 'a minute later')
})

t.test('the backend of a service passes while its credentials are right, and only where services call; from wherever it calls it can prove itself', async t => {
  const gateway = await gatewayWith(t)
  const redeem = async (address: string, secret = secretOf('agency')) =>
    (await gateway.post('/token', 'grant_type=authorization_code&code=x', { ...from(address).headers, authorization: basic('agency', secret) })).status
  for (let i = 0; i < 4 * most; i++) t.equal(await redeem('203.0.113.5'), 400, 'only its code is wrong')
  t.equal(await come(gateway, '203.0.113.5', `${base}/userinfo`), 401, 'a token is looked at')
  t.equal(await come(gateway, '203.0.113.5', `${base}/authorize?client_id=agency`), 429, 'what citizens ask for')
  t.equal(await redeem('203.0.113.6', 'wrong'), 401)
  t.equal(await answered(gateway, '203.0.113.6'), most - 1, 'another, whose credentials are wrong')
  const guesses = await Promise.all(Array.from({ length: 40 }, () => redeem('203.0.113.6', 'wrong')))
  t.same([401, 429].map(status => guesses.filter(guess => guess === status).length), [20, 20], 'a few more are looked at')
  t.equal(await redeem('203.0.113.6'), 429, 'no more than that, in this second')
  const open = await gateway.post('/token', `grant_type=authorization_code&client_id=mobile&code=x&code_verifier=${'x'.repeat(43)}`, from('203.0.113.7').headers)
  t.match(open, { status: 400, body: { error: 'invalid_grant' } })
  t.equal(await answered(gateway, '203.0.113.7'), most - 1, 'who has nothing to prove it by')
  gateway.wait(60)
  await answered(gateway, '203.0.113.5')
  t.equal(await come(gateway, '203.0.113.5', `${base}/userinfo`), 429, 'a minute later it is anybody again')
  t.equal(await redeem('203.0.113.5'), 400, 'who can prove himself')
  t.equal(await come(gateway, '203.0.113.5', `${base}/userinfo`), 401)
})

t.test('replicas that share a Redis limit the sum; nobody can read there who came; without it each counts for itself, and nobody waits', async t => {
  const redis = await startRedis(t)
  const boards: Noticeboard[] = []
  const replica = async () => {
    const noticeboard = redisNoticeboard({ urls: [redis.url] })
    boards.push(noticeboard)
    return gatewayWith(t, { address_per_second: 40 }, { noticeboard })
  }
  const replicas = [await replica(), await replica(), await replica()]
  for (const board of boards) await until('they are connected', 5000, async () => await board.tally('rate:x', 1, 60) !== undefined)
  /** An address comes to each replica in turn, until it is limited at all of them. */
  const together = async (address: string) => {
    let sum = 0
    for (let i = 0; i < 100; i++) for (const gateway of replicas) if (await come(gateway, address) === 200) sum++
    return sum
  }
  const sum = await together('203.0.113.5')
  t.ok(sum >= 40 && sum <= 40 + 2 * 10, `${sum} of 40: each replica begins to ask at a quarter`)
  t.equal(await replicas[0]!.metric('passerelle_rate_limit_store_failures_total'), 0)
  const before = await redis.commandCount()
  for (let i = 0; i < 50; i++) await come(replicas[0]!, '203.0.113.5')
  t.equal(await redis.commandCount(), before, 'of what is known to be too much nobody is asked')
  for (let i = 0; i < 10; i++) await come(replicas[0]!, '203.0.113.77')
  t.equal(await redis.commandCount(), before, 'nor of who comes seldom')

  const kept = (await redis.allValues()).filter(({ key }) => key !== 'rate:x')
  t.ok(kept.length > 0)
  for (const { key, seconds } of kept) {
    t.match(key, /^rate:[\w-]{43}$/)
    t.ok(seconds > 0 && seconds <= 2, `gone in ${seconds} s`)
  }
  t.notMatch(JSON.stringify(kept), /203|113/)

  for (const gateway of replicas) gateway.wait(1)
  redis.freeze(0)
  const began = performance.now()
  t.equal(await together('203.0.113.5'), 3 * 40, 'each for itself')
  t.ok(performance.now() - began < 5000, 'one wait of a hundred milliseconds, not one for each request')
  t.ok(await replicas[0]!.metric('passerelle_rate_limit_store_failures_total') >= 1, 'counted')
  redis.thaw(0)
  await redis.kill(0)
  for (const gateway of replicas) gateway.wait(1)
  t.equal(await together('203.0.113.5'), 3 * 40)
  await redis.restart(0)
  for (const board of boards) await until('it is back', 10_000, async () => await board.tally('rate:x', 1, 60) !== undefined)
  await new Promise(resolve => setTimeout(resolve, 1000))
  for (const gateway of replicas) gateway.wait(1)
  t.ok(await together('203.0.113.5') <= 60, 'together again')
})

t.test('a network that is none is refused at start', async t => {
  for (const network of ['10.0.0.0/33', '10.0.0/8', 'localhost', '2001:db8::/129', '10.0.0.0/', 'fe80::1%eth0', '::/x']) await t.rejects(gatewayWith(t, { exempt_networks: [network] }), /\/rate_limits\/exempt_networks\/0: expected an address or a network/, network)
})
