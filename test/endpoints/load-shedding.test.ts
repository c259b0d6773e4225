import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { slowMs, withinOneDeadline } from '../../src/adapters/one-deadline.ts'
import { messages } from '../../src/pages/messages.ts'
import { until } from '../support/redis.ts'
import { base, requestOf, testApp, type Browser, type Page, type TestApp, type Way } from '../support/test-app.ts'

const authorize = () => `${base}/authorize?${new URLSearchParams(requestOf('agency').parameters)}`
const isAway = { status: 503, code: 'Y08', setCookies: [], location: '', headers: { 'retry-after': /^([5-9]|1[0-5])$/ } }
const shed = (gateway: TestApp, name: string) => gateway.metric('passerelle_requests_shed_total', { class: name })
const inFlight = (gateway: TestApp) => gateway.metric('passerelle_requests_in_flight')

/** So many connections to it, until the test is over. */
async function connected (t: Test, { app }: TestApp, count: number) {
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const sockets = Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => {}))
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  return { port, sockets }
}

/** A provider that answers nobody until it is let. */
function hold ({ providers }: TestApp, idp = 'taxes') {
  const provider = providers[idp]!
  const { identify } = provider
  const { promise, resolve } = Promise.withResolvers<void>()
  provider.identify = async function (...question) { await promise; return identify.apply(this, question) }
  return () => { provider.identify = identify; resolve() }
}

/** Citizens who chose an account, signed in there and are about to come back. */
async function aboutToComeBack (gateway: TestApp, count: number) {
  const citizens: Coming[] = []
  while (citizens.length < count) {
    const browser = gateway.browser()
    const way = await browser.start('agency')
    citizens.push({ browser, way, address: browser.callback(await browser.choose(way.page)) })
  }
  return citizens
}
type Coming = { browser: Browser, way: Way, address: string }

/** So many of them on their way back: their requests are in flight. */
async function comeBack (gateway: TestApp, citizens: Coming[]) {
  const before = await inFlight(gateway)
  const answers = citizens.map(({ browser, address }) => browser.get(address))
  await until('they are in flight', 5000, async () => await inFlight(gateway) === before + citizens.length)
  return answers
}

async function finish (t: Test, gateway: TestApp, { browser, way }: Coming, answer: Promise<Page> | undefined) {
  const arrival = await browser.agree(await browser.follow((await answer)!))
  const tokens = await gateway.redeem({ ...way, code: arrival.query.get('code')! })
  t.equal(tokens.status, 200, 'the login ends with tokens')
  t.equal((await gateway.userinfo(tokens.body['access_token'])).status, 200)
}

t.test('with too many in flight new logins go first, then those under way, then the rest; probes never; and all is well as soon as it is over', async t => {
  const most = 100
  const gateway = await testApp(t, { settings: { load: { requests_in_flight: most } } })
  const probes = async () => { for (const path of ['/livez', '/readyz', '/metrics']) t.equal((await gateway.app.operations.inject(path)).statusCode, 200, path) }
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const citizens = await aboutToComeBack(gateway, 2 * most)
  const done = await gateway.browser().logIn('agency')
  const underWay = gateway.browser()
  const { page } = await underWay.start('agency')
  const choose = page.link('again') ?? `${base}/choose?login=${/login=([\w-]{22})/.exec(page.body)![1]}`
  const release = hold(gateway)
  const answers: Array<Promise<Page>> = []

  answers.push(...await comeBack(gateway, citizens.slice(0, most - 1)))
  t.equal((await gateway.browser().get(authorize())).status, 200, 'one less, and anybody may begin')
  answers.push(...await comeBack(gateway, citizens.slice(most - 1, most)))
  t.match(await gateway.browser().get(authorize()), isAway, 'a new login')
  t.match(await underWay.get(authorize()), isAway, 'also of a browser that has another under way')
  t.match(await gateway.push('agency'), { answer: { status: 503, body: { error: 'temporarily_unavailable' }, headers: { 'retry-after': /^\d+$/ } } }, 'a request that is pushed')
  t.match(await gateway.browser().get(`${base}/choose?login=${'A'.repeat(22)}`), isAway, 'what has no cookie is no login under way')
  t.match(await gateway.browser().get('/wp-login.php'), isAway, 'and what is nowhere')
  t.match(await gateway.browser().get(`${base}/authorize?client_id=nobody`), isAway, 'and who comes from nowhere')
  t.equal((await underWay.get(choose)).status, 200, 'one that is under way goes on')
  t.equal((await underWay.choose(page, 'post')).status, 303, 'to its provider')
  await probes()

  answers.push(...await comeBack(gateway, citizens.slice(most, 1.5 * most)))
  for (const address of [choose, page.link('idp-post')!]) t.match(await underWay.get(address), isAway, 'one that is under way')
  t.equal((await gateway.redeem(done)).status, 200, 'a code is redeemed')
  t.equal((await gateway.app.inject(`${base}/jwks`)).statusCode, 200, 'keys are published')
  await probes()

  answers.push(...await comeBack(gateway, citizens.slice(1.5 * most)))
  for (const path of ['/token', '/introspection', '/revocation']) t.match(await gateway.post(path, 'x=y'), { status: 503, body: { error: 'temporarily_unavailable', error_description: /^[ -~]+$/ }, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store', 'content-type': /^application\/json/ } }, path)
  for (const path of ['/userinfo', '/jwks', '/.well-known/openid-configuration', '/provider-keys']) t.equal((await gateway.app.inject(base + path)).statusCode, 503, path)
  t.match(await underWay.get(`${base}/session/end`), isAway)
  await probes()

  t.equal(await inFlight(gateway), 2 * most, 'nobody who was sent away is in flight')
  release()
  const pages = await Promise.all(answers)
  t.ok(pages.every(({ status }) => status === 303), 'nobody who was in flight has lost anything')
  await finish(t, gateway, citizens[0]!, answers[0])
  t.equal(await inFlight(gateway), 0)
  t.equal((await gateway.browser().get(authorize())).status, 200)
  t.equal(await shed(gateway, 'nowhere'), 3)
  t.equal(await shed(gateway, 'beginning'), 3)
  t.equal(await shed(gateway, 'under_way'), 2)
  t.equal(await shed(gateway, 'ending'), 5)
  t.equal(await shed(gateway, 'published'), 3)
  t.equal(await gateway.metric('passerelle_failures_total', { failure: 'overloaded' }), 16)
  t.equal(gateway.log.filter(line => /"msg":"too much to do/.test(line)).length, 1, 'one line of the log, not one for each')
})

t.test('whoever waits for the store gives the place to those who can do without it; of many more some keep theirs', async t => {
  const most = 10
  const kept = memoryStore({ site: 'a', now: () => 1_800_000_000 })
  const { promise: back, resolve: comeBack } = Promise.withResolvers<void>()
  let isGone = false
  const get = async (...asked: [kind: never, handle: string]) => isGone ? withinOneDeadline(60_000, async () => { await back; return kept.get(...asked) }) : kept.get(...asked)
  const gateway = await testApp(t, { store: { ...kept, get }, settings: { load: { requests_in_flight: most } } })
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const { body: { access_token } } = await gateway.redeem(await gateway.browser().logIn('agency'))
  const parked = () => gateway.metric('passerelle_requests_parked')
  isGone = true
  const answers = []
  for (let batch = 1; batch <= 4; batch++) {
    answers.push(...Array.from({ length: most }, () => gateway.userinfo(access_token)))
    await until('they are parked', 5000, async () => await parked() === batch * most)
    t.equal(await inFlight(gateway), 0)
    t.equal((await gateway.browser().get(authorize())).status, 200)
  }
  answers.push(...Array.from({ length: most }, () => gateway.userinfo(access_token)))
  await until('they are in flight', 5000, async () => await inFlight(gateway) === most)
  await pause(2 * slowMs)
  t.match(await gateway.browser().get(authorize()), isAway)
  t.equal(await parked(), 4 * most)
  comeBack()
  for (const { status } of await Promise.all(answers)) t.equal(status, 200)
  t.same([await inFlight(gateway), await parked()], [0, 0])
  t.equal((await gateway.browser().get(authorize())).status, 200)
})

t.test('who is sent away comes back by itself to the same address, in the citizen\'s language; what was posted is never sent again', async t => {
  const gateway = await testApp(t, { settings: { load: { requests_in_flight: 1 } } })
  const [first, second, third] = await aboutToComeBack(gateway, 3)
  const sent = await gateway.browser().toConsent('town')
  const reading = gateway.browser()
  const { page: consentPage, ...way } = await reading.toConsent('agency')
  const release = hold(gateway)
  const answers = await comeBack(gateway, [first!, second!])
  t.ok(sent)

  for (const [language, headers] of [['fr', {}], ['fr', { 'accept-language': 'fr-FR' }], ['en', { 'accept-language': 'en-GB,fr;q=0.1' }]] as const) {
    const page = await gateway.browser().get(authorize(), { headers })
    t.match(page, { ...isAway, headers: { refresh: page.headers['retry-after'], 'cache-control': 'no-store', 'content-type': /^text\/html/, 'content-security-policy': /default-src 'none'.*form-action 'none'/, 'referrer-policy': 'no-referrer' } })
    t.match(page.headers['refresh'], /^\d+$/, 'to no other address than its own')
    t.match(page.body, `<html lang="${language}"`)
    t.ok(page.body.includes(messages[language].busy.byItself))
    t.strictSame(page.waysOn, [''], 'one link, to where it is')
  }
  t.match((await gateway.browser().get(`${authorize()}&lang=en`)).body, '<html lang="en"')
  const waits = new Set((await Promise.all(Array.from({ length: 200 }, () => gateway.browser().get(authorize())))).map(({ headers }) => headers['retry-after']))
  t.ok(waits.size > 5, `not all at the same time: ${[...waits].join(' ')}`)

  const posted = await reading.agree(consentPage)
  t.match(posted, { ...isAway, headers: { refresh: undefined } }, 'a form')
  t.ok(posted.body.includes(messages.fr.busy.notTaken))
  t.strictSame(posted.waysOn, [])
  t.match(await gateway.browser().post(`${base}/authorize`, requestOf('agency').parameters, { crossSite: true }), { ...isAway, headers: { refresh: undefined } })
  t.match(await third!.browser.get(third!.address), isAway)

  release()
  await Promise.all(answers)
  const arrival = await reading.agree(consentPage)
  t.equal((await gateway.redeem({ ...way, code: arrival.query.get('code')! })).status, 200, 'the same form, sent again by the citizen, is taken')
  await finish(t, gateway, third!, third!.browser.get(third!.address))
})

t.test('nothing is looked at before somebody is sent away: no body, no cookie', async t => {
  const gateway = await testApp(t, { settings: { load: { requests_in_flight: 1 } } })
  const [first] = await aboutToComeBack(gateway, 1)
  const release = hold(gateway)
  const answers = await comeBack(gateway, [first!])
  const opened: string[] = []
  const { open } = gateway.app.sealer
  gateway.app.sealer.open = (kind, ...more) => { opened.push(kind); return open(kind, ...more) }
  t.match(await gateway.post('/par', 'x'.repeat(64 * 1024)), { status: 503 }, 'not 413')
  t.match(await gateway.post('/par', '{}', { 'content-type': 'application/json' }), { status: 503 }, 'not 415')
  t.match(await first!.browser.get(authorize()), isAway)
  t.same(opened, [])
  t.equal(gateway.log.some(line => /"url":"[^"]*\/par"/.test(line)), false, 'and no line is written')
  gateway.app.sealer.open = open
  release()
  await Promise.all(answers)
})

t.test('a body that comes slowly, and a citizen who goes away, keep nobody else out', async t => {
  const gateway = await testApp(t, { settings: { load: { requests_in_flight: 10 } } })
  const { port, sockets } = await connected(t, gateway, 40)
  let arrived = 0
  gateway.app.server.on('request', () => { arrived++ })
  for (const socket of sockets) socket.write(`POST ${base}/token HTTP/1.1\r\nHost: passerelle.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\ngrant_`)
  await until('they are here', 5000, () => arrived === sockets.length)
  t.equal(await inFlight(gateway), 0)
  t.equal((await gateway.browser().get(authorize())).status, 200)

  const citizens = await aboutToComeBack(gateway, 10)
  const release = hold(gateway)
  const leaving = citizens.map(({ browser, address }) => {
    const cookie = Object.entries(browser.cookies()).map(([name, value]) => `${name}=${value}`).join('; ')
    return connect(port, '127.0.0.1').on('error', () => {}).end(`GET ${address} HTTP/1.1\r\nHost: passerelle.example\r\nCookie: ${cookie}\r\n\r\n`)
  })
  await until('they are in flight', 5000, async () => await inFlight(gateway) === citizens.length)
  for (const socket of leaving) socket.destroy()
  t.match(await gateway.browser().get(authorize()), isAway, 'the work goes on without them')
  release()
  await until('it is done', 5000, async () => await inFlight(gateway) === 0)
  t.equal((await gateway.browser().get(authorize())).status, 200)
})

t.test('while the event loop is late new logins are sent away, the longer the more, and none that comes to its end; it recovers by itself', async t => {
  const gateway = await testApp(t, { settings: { load: { delay_ms: 40 } } })
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const address = `http://127.0.0.1:${(gateway.app.server.address() as AddressInfo).port}`
  const status = async (path: string, cookies = {}) => (await fetch(address + path, { redirect: 'manual', headers: { cookie: Object.entries(cookies).map(([name, value]) => `${name}=${value}`).join('; ') } })).status
  const pressure = () => gateway.metric('passerelle_load_pressure')
  const [coming] = await aboutToComeBack(gateway, 1)
  const done = await gateway.browser().logIn('agency')
  const under = gateway.browser()
  const { login } = await under.start('agency')
  const goOn = async () => (await under.get(`${base}/choose?login=${login}`)).status

  block(1000)
  await pause(100)
  t.equal(await pressure(), 0, 'one pause is not a load')
  t.equal(await goOn(), 200)
  t.equal(await status(authorize()), 200)

  const blocking = setInterval(block, 1, 150)
  t.teardown(() => clearInterval(blocking))
  await until('the pressure is there', 10_000, async () => await pressure() >= 1)
  t.same([await status(authorize()), await status(authorize())], [503, 503], 'every new login')
  await until('it rises', 10_000, async () => await pressure() > 1.2)
  clearInterval(blocking)
  const some = await Promise.all(Array.from({ length: 40 }, goOn))
  t.ok(some.includes(200) && some.includes(503), `some of those under way: ${some.filter(code => code === 503).length} of ${some.length}`)
  t.equal((await fetch(`${address}${base}/jwks`)).status, 200)
  await finish(t, gateway, coming!, coming!.browser.get(coming!.address))
  t.equal((await gateway.redeem(done)).status, 200)
  t.equal((await gateway.app.operations.inject('/readyz')).statusCode, 200)

  await until('it is over', 15_000, async () => await pressure() === 0)
  t.equal(await status(authorize()), 200)
  t.equal(await goOn(), 200)
  await until('the log says so', 5000, () => gateway.log.some(line => /"msg":"no longer too much to do"/.test(line)))
})

t.test('of a crowd that comes at once some begin and the others are told, and whoever is on the way goes on', async t => {
  const gateway = await testApp(t, { settings: { load: { delay_ms: 10 } } })
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const [coming] = await aboutToComeBack(gateway, 1)
  const statusOf = async (answer: Promise<Page>) => (await answer).status
  const crowd = Array.from({ length: 200 }, () => statusOf(gateway.browser().get(authorize())))
  const back = statusOf(coming!.browser.get(coming!.address))
  const nowhere = Array.from({ length: 20 }, () => statusOf(gateway.browser().get('/wp-login.php')))
  const statuses = await Promise.all(crowd)
  const count = (status: number) => statuses.filter(other => other === status).length
  t.ok(count(200) > 6 && count(503) > 100 && count(200) + count(503) === 200, `${count(200)} begin, ${count(503)} are sent away`)
  t.equal(await back, 303)
  t.ok((await Promise.all(nowhere)).every(status => status === 404 || status === 503))
  t.equal(await shed(gateway, 'beginning'), count(503))
  t.equal(await gateway.metric('passerelle_requests_waiting'), 0)
  t.ok(await gateway.metric('passerelle_login_budget') > 0)
  await pause(50)
  t.equal((await gateway.browser().get(authorize())).status, 200, 'and nobody after them')
})

t.test('a login has come to its end when its code is on its way: its tokens may be asked for at another replica', async t => {
  const idle = performance.eventLoopUtilization()
  t.intercept(performance, 'eventLoopUtilization', { value: () => idle })      // so that nothing costs anything
  const gateway = await testApp(t)
  const budget = () => gateway.metric('passerelle_login_budget')
  const looksAgain = async () => {
    await pause(150)
    await gateway.browser().start('agency')
  }
  for (let n = 0; n < 10; n++) await gateway.browser().start('agency')
  await looksAgain()
  const begun = await budget()
  for (const { browser, address } of await aboutToComeBack(gateway, 10)) t.ok((await browser.agree(await browser.follow(await browser.get(address)))).query.get('code'))
  await looksAgain()
  t.ok(await budget() > begun + 3, `${begun}, then ${await budget()}: ten ended`)
})

t.test('who waits in line and goes away is forgotten: no login is begun for nobody', async t => {
  const gateway = await testApp(t, { settings: { load: { delay_ms: 5000 } } })
  const { sockets } = await connected(t, gateway, 60)
  await until('they are here', 5000, async () => await gateway.metric('passerelle_connections_open') === sockets.length)
  const { seal } = gateway.app.sealer
  let begun = 0
  gateway.app.sealer.seal = (kind, ...more) => {
    if (kind === 'login') begun++
    return seal(kind, ...more)
  }
  let answered = 0
  for (const socket of sockets) socket.once('data', () => { answered++ }).write(`GET ${authorize()} HTTP/1.1\r\nHost: passerelle.example\r\n\r\n`)
  const [staying, gone] = [sockets.slice(0, 40), sockets.slice(40)]
  gateway.app.server.once('request', () => { for (const socket of gone) socket.destroy() })
  await until('the others are answered', 5000, () => answered === staying.length)
  await until('nobody waits', 5000, async () => await gateway.metric('passerelle_requests_waiting') + await gateway.metric('passerelle_requests_under_way') + await inFlight(gateway) === 0)
  t.equal(begun, staying.length)
})

t.test('every address that is answered has its place in the order', async t => {
  const gateway = await testApp(t, { settings: { load: { requests_in_flight: 1 } } })
  const [first, second] = await aboutToComeBack(gateway, 2)
  const release = hold(gateway)
  const answers = await comeBack(gateway, [first!])
  const paths = [...gateway.app.printRoutes({ commonPrefix: false }).matchAll(/(\S+) \(([A-Z, ]+)\)/g)].map(([, path]) => path!)
  t.ok(paths.length > 3)
  for (const path of ['choose', 'login/taxes', 'callback/taxes', 'consent', 'leave', 'userinfo', 'session/end', 'session/ended', 'assets/x', 'jwks', 'provider-keys', '.well-known/openid-configuration']) {
    const { status } = await second!.browser.get(`${base}/${path}`)
    t.not(status, 503, `${path} is no new login`)
  }
  release()
  await Promise.all(answers)
})

/** Keeps the event loop from everything else. */
function block (milliseconds: number) {
  const end = performance.now() + milliseconds
  while (performance.now() < end);
}
