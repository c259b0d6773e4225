import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { wantsTraces } from '../src/config/environment.ts'
import { kinds, startCollector, tracesBy, type ExportedSpan } from './support/collector.ts'
import { startGateway, temporaryDirectory } from './support/gateway.ts'
import { findWords, wordsOf } from './support/personal-data.ts'
import { answers, configured, run, server } from './support/process.ts'
import { startRedis } from './support/redis.ts'
import { base, testApp } from './support/test-app.ts'
import { createBrowser, logIn, type Browser } from './world/browser.ts'
import { citizens, claimsAt } from './world/citizens.ts'
import { freePort } from './world/free-port.ts'

// Traces of requests, as a collector gets them: what they tell, what they never tell, and that nobody waits for them.

t.setTimeout(120_000)

const stranger = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }
const traceparent = (flags: '00' | '01') => `00-${stranger.traceId}-${stranger.spanId}-${flags}`

async function loggedIn (t: Test, { world }: Awaited<ReturnType<typeof startGateway>>, { service = 'town', provider = 'vitalys', headers = {} } = {}) {
  const browser = createBrowser({ headers })
  t.teardown(() => browser.close())
  const page = await logIn(browser, { world, service, provider, citizen: 'marion' })
  if (!page.has('greeting')) throw new Error(`no greeting at ${page.url}`)
  return browser
}

/** Everything that names a citizen of the world, every query, code, token and cookie that a browser saw, and what it says of itself. */
function secretsOf (browser: Browser, idps: string[]) {
  const names = citizens.flatMap(citizen => idps.flatMap(idp => wordsOf(claimsAt(idp, citizen))))
  const addresses = browser.visits.flatMap(({ url, headers }) => [url, String(headers.location ?? '')])
  const queries = addresses.flatMap(address => [...new URLSearchParams(address.split('?')[1])]).filter(([name]) => /^(code|state|nonce|code_challenge|id_token_hint|redirect_uri)$/.test(name)).map(([, value]) => value)
  const cookies = browser.visits.flatMap(({ headers }) => headers['set-cookie'] ?? []).map(cookie => cookie.split(';')[0]!.split('=').slice(1).join('=')).filter(value => value.length > 20)
  return [...new Set([...names, ...queries, ...cookies, 'a-browser-of-its-own', '127.0.0.1', '203.0.113.9'])]
}

/** How many spans the gateway counts as this, also after its end. */
function spansOf ({ metricsRegistry }: FastifyInstance) {
  const counter = metricsRegistry.getSingleMetric('passerelle_trace_spans_total')!
  return async (outcome: string) => (await counter.get()).values.find(({ labels }) => labels['outcome'] === outcome)?.value
}

const requestsIn = (spans: ExportedSpan[]) => spans.filter(({ kind }) => kind === kinds.server)

t.test('a whole login exports nothing of the citizen: no name, address, query, code, state, cookie or header, in whatever spelling', async t => {
  const collector = await startCollector(t)
  const traces = tracesBy({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.address, OTEL_BSP_SCHEDULE_DELAY: '100' })
  const redis = await startRedis(t)
  const gateway = await startGateway(t, { redis: [redis.url], traces, overrides: { settings: { trusted_proxies: ['127.0.0.1'], traces: { follow_proxies: true } } } })
  const browser = await loggedIn(t, gateway, { headers: { 'user-agent': 'a-browser-of-its-own', 'x-forwarded-for': '203.0.113.9', tracestate: 'vendor=Lefèvre', baggage: 'name=a-browser-of-its-own' } })
  await fetch(`${gateway.issuer.replace('passerelle.localhost', '127.0.0.1')}/wp-login.php?state=a-secret-state&name=marion`)
  await fetch(`${gateway.issuer.replace('passerelle.localhost', '127.0.0.1')}/callback/vitalys?state=${'x'.repeat(22)}.y&code=a-secret-code`)
  await gateway.app.close()

  const secrets = [...secretsOf(browser, Object.keys(gateway.world.providers)), 'a-secret-state', 'a-secret-code', 'wp-login']
  t.ok(secrets.length > 40, 'the search knows what to look for')
  const exported = collector.bodies.join('')
  t.ok(findWords(exported + JSON.stringify({ planted: secrets[0] }), secrets).length > 0, 'what is planted is found')
  t.same(findWords(exported, secrets), [])

  const spans = collector.spans()
  t.ok(spans.length > 15)
  const names = new Set(spans.flatMap(({ attributes }) => Object.keys(attributes)))
  t.same([...names].sort(), [
    'db.system.name', 'http.request.method', 'http.response.status_code', 'http.route', 'passerelle.class', 'passerelle.client_id', 'passerelle.failure', 'passerelle.idp', 'passerelle.leg', 'passerelle.login',
    'passerelle.outcome', 'passerelle.site'
  ])
  for (const { name, events, links, status, traceState = '' } of spans) t.same([events ?? [], links ?? [], status.message ?? '', traceState], [[], [], '', ''], name)
  t.match(requestsIn(spans).filter(({ attributes }) => attributes['http.route'] === 'none'), [{ name: 'GET none', status: { code: 0 }, attributes: { 'passerelle.failure': 'not_found' } }], 'what is not there has no route, and is told all the same')
})

t.test('a request is one trace, told by its route, with each call of Redis and of the provider that it made, and none that another made', async t => {
  const collector = await startCollector(t)
  const traces = tracesBy({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.address, OTEL_BSP_SCHEDULE_DELAY: '100', OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=trial' })
  const redis = await startRedis(t)
  const gateway = await startGateway(t, { redis: [redis.url], traces })
  await loggedIn(t, gateway)
  await Promise.all(Array.from({ length: 7 }, () => loggedIn(t, gateway)))
  await gateway.app.close()
  const spans = collector.spans()

  const logins = Map.groupBy(requestsIn(spans).filter(({ attributes }) => attributes['passerelle.login'] !== undefined), ({ attributes }) => attributes['passerelle.login'])
  t.equal(logins.size, 8)
  for (const requests of logins.values()) {
    const tree = requests.map(({ name, traceId, spanId }) => {
      const within = spans.filter(span => span.traceId === traceId && span.spanId !== spanId)
      t.ok(within.every(({ parentSpanId, kind }) => parentSpanId === spanId && kind === kinds.client), `${name}: calls are of their request`)
      return `${name}: ${within.map(span => span.name).sort().join(', ')}`
    }).sort()
    t.same(tree, [
      'GET /authorize: ',
      'GET /callback/:idp: vitalys token, vitalys userinfo',
      'GET /consent: ',
      'GET /login/:idp: ',
      'GET /userinfo: redis needed, redis needed',
      'POST /consent: redis needed, redis needed, redis needed',
      'POST /token: redis needed, redis needed, redis needed, redis needed'
    ])
  }
  const traceIds = requestsIn(spans).map(({ traceId }) => traceId)
  t.equal(new Set(traceIds).size, traceIds.length, 'no trace has two requests')
  t.ok(spans.every(({ traceId }) => traceIds.includes(traceId)), 'what replicas do by themselves is in no trace')
  t.match(spans.find(({ name }) => name === 'redis needed'), { attributes: { 'db.system.name': 'redis', 'passerelle.class': 'needed', 'passerelle.site': 'a', 'passerelle.outcome': 'answered' } })
  t.match(spans.find(({ name }) => name === 'vitalys token'), { attributes: { 'passerelle.idp': 'vitalys', 'passerelle.leg': 'token', 'passerelle.outcome': 'answered' } })
  t.match(spans.find(({ name }) => name === 'GET /callback/:idp'), { attributes: { 'http.request.method': 'GET', 'http.response.status_code': 303, 'passerelle.idp': 'vitalys', 'passerelle.client_id': gateway.world.services['town']!.client_id } })
  t.match(spans[0]!.resource, { 'service.name': 'passerelle', 'service.version': /^\d/, site: 'a', replica: 'one', 'deployment.environment.name': 'trial' })
})

t.test('of a crowd that waits in line each request keeps its own calls, whoever let it in', async t => {
  const collector = await startCollector(t)
  const traces = tracesBy({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.address, OTEL_BSP_SCHEDULE_DELAY: '100' })
  const redis = await startRedis(t)
  const gateway = await testApp(t, { traces, store: 'configured', settings: { redis: { urls: [redis.url] } } })
  const crowd = 60
  await Promise.all(Array.from({ length: crowd }, () => gateway.userinfo(`a-${'x'.repeat(43)}`)))
  await gateway.app.close()
  const spans = collector.spans()
  const requests = requestsIn(spans)
  t.equal(requests.length, crowd)
  const calls = requests.map(({ traceId, spanId }) => spans.filter(span => span.traceId === traceId && span.parentSpanId === spanId).length)
  t.ok(calls[0]! > 0)
  t.same(calls, Array(crowd).fill(calls[0]))
})

t.test('a traceparent of a browser or a service neither joins its trace to ours nor decides whether we trace', async t => {
  const collector = await startCollector(t)
  const behindProxy = { trusted_proxies: ['10.0.0.0/8'], traces: { follow_proxies: true } }
  for (const [what, settings, headers, remoteAddress, isFollowed] of [
    ['nobody is followed unless it is set', { trusted_proxies: ['10.0.0.0/8'] }, { 'x-forwarded-for': '203.0.113.9' }, '10.0.0.1', false],
    ['nor who is no trusted proxy', behindProxy, { 'x-forwarded-for': '203.0.113.9' }, '203.0.113.9', false],
    ['nor who is none and says that it was sent on by one', behindProxy, { 'x-forwarded-for': '203.0.113.9, 10.0.0.1' }, '203.0.113.9', false],
    ['nor anybody where there is no proxy', { traces: { follow_proxies: true } }, { 'x-forwarded-for': '203.0.113.9' }, '10.0.0.1', false],
    ['a trusted proxy is', behindProxy, { 'x-forwarded-for': '203.0.113.9' }, '10.0.0.1', true]
  ] as const) {
    const traces = tracesBy({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.address })
    const { app } = await testApp(t, { settings, traces })
    collector.bodies.length = 0
    for (const flags of ['01', '00'] as const) await app.inject({ url: `${base}/jwks`, remoteAddress, headers: { ...headers, traceparent: traceparent(flags) } })
    await app.inject({ url: `${base}/jwks`, remoteAddress, headers: { ...headers, traceparent: `00-${'0'.repeat(32)}-${stranger.spanId}-01` } })
    await app.close()
    const spans = collector.spans()
    t.equal(spans.filter(({ traceId, parentSpanId }) => traceId === stranger.traceId && parentSpanId === stranger.spanId).length, isFollowed ? 1 : 0, what)
    t.equal(spans.length, isFollowed ? 2 : 3, `${what}: its flag`)
    t.ok(spans.every(({ traceId }) => /[1-9a-f]/.test(traceId)))
  }
})

t.test('traceparent goes to an identity provider only where its registration says so, and names the span of that call', async t => {
  const collector = await startCollector(t)
  const traces = tracesBy({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.address })
  const gateway = await startGateway(t, { traces, overrides: { identityProviders: { vitalys: { traceparent: true } } } })
  const sent: Array<{ origin: string, path: string, headers: string }> = []
  const hear = (message: unknown) => {
    const { request } = message as { request: { origin: string | URL, path: string, headers: string[] | string } }
    sent.push({ origin: String(request.origin), path: request.path, headers: [request.headers].flat().join('\n') })
  }
  subscribe('undici:request:create', hear)
  t.teardown(() => unsubscribe('undici:request:create', hear))
  for (const provider of ['vitalys', 'terramut']) await loggedIn(t, gateway, { provider, headers: { traceparent: traceparent('01') } })
  await gateway.app.close()

  const ours = sent.filter(({ headers }) => !headers.includes(stranger.traceId))
  const carried = ours.flatMap(({ origin, headers }) => [.../traceparent\W+00-(\w{32})-(\w{16})-01/i.exec(headers) ?? []].length > 0 ? [{ origin, ids: /00-(\w{32})-(\w{16})-01/.exec(headers)!.slice(1) }] : [])
  t.same([...new Set(carried.map(({ origin }) => origin))], [new URL(gateway.world.providers['vitalys']!.issuer).origin])
  t.ok(ours.some(({ origin }) => origin === new URL(gateway.world.providers['terramut']!.issuer).origin), 'the other was asked, too')
  const spans = collector.spans().filter(({ name }) => name.startsWith('vitalys '))
  t.same(carried.map(({ ids }) => ids.join()).sort(), spans.map(({ traceId, spanId }) => `${traceId},${spanId}`).sort())
  t.equal(carried.length, 2)
})

t.test('a login does not wait for a collector that hangs, refuses or is away, nor does the end beyond its second', async t => {
  const hanging = await startCollector(t)
  hanging.answer = () => {}
  const refusing = await startCollector(t)
  refusing.answer = response => { response.statusCode = 400; response.end('<html>') }
  for (const [what, address] of [['hangs', hanging.address], ['refuses', refusing.address], ['is away', `http://127.0.0.1:${await freePort()}`]] as const) {
    const traces = tracesBy({ OTEL_EXPORTER_OTLP_ENDPOINT: address, OTEL_BSP_SCHEDULE_DELAY: '10' })
    const gateway = await startGateway(t, { traces })
    await loggedIn(t, gateway)
    await loggedIn(t, gateway)
    t.pass(`${what}: logins go on`)
    const spans = spansOf(gateway.app)
    if (what === 'refuses') {
      t.equal(gateway.log.filter(line => line.includes('traces are lost')).length, 1, 'it is said once')
      t.ok(Number(await spans('lost')) > 0, 'and counted')
    }
    await traces.end(500)
    t.pass(`${what}: the end comes`)
    t.equal(await spans('taken'), 0, what)
    await gateway.app.close()
  }
})

t.test('of a collector that hangs no more is kept than the queue holds', async t => {
  const collector = await startCollector(t)
  const held: Array<() => void> = []
  const answer = collector.answer
  collector.answer = response => { held.push(() => answer(response)) }
  const traces = tracesBy({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.address, OTEL_BSP_MAX_QUEUE_SIZE: '300', OTEL_BSP_SCHEDULE_DELAY: '100' })
  const { app } = await testApp(t, { traces })
  const spans = spansOf(app)
  for (let requests = 0; requests < 2000; requests++) await app.inject(`${base}/jwks`)
  collector.answer = answer
  for (const goOn of held) goOn()
  await app.close()
  const kept = collector.spans().length
  t.ok(kept >= 300 && kept <= 300 + 2 * 128, `${kept} of 2000 were kept`)
  t.same([await spans('ended'), await spans('taken'), await spans('lost')], [2000, kept, 0], 'and the figures say how many were not')
  t.equal(Math.max(...collector.bodies.map(body => body.split('"spanId"').length - 1)), 128, 'no export is so large that writing it would hold up those who log in')
})

t.test('off, nothing of OpenTelemetry is loaded but the API that prom-client brings anyway; on, spans that wait are exported as the process ends', async t => {
  const spy = join(temporaryDirectory(t), 'spy.mjs')
  writeFileSync(spy, `import { registerHooks } from 'node:module'
    const seen = new Set()
    registerHooks({ load (url, context, next) { if (/@opentelemetry\\/(?!api\\/)|@fastify\\/otel|adapters\\/traces/.test(url)) seen.add(url); return next(url, context) } })
    process.on('exit', () => process.stderr.write('loaded ' + seen.size + '\\n'))`)
  const collector = await startCollector(t)
  const on = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.address, OTEL_BSP_SCHEDULE_DELAY: '60000', OTEL_SERVICE_NAME: 'front door' }
  for (const [what, env, isOn] of [['unset', {}, false], ['disabled', { ...on, OTEL_SDK_DISABLED: 'true' }, false], ['on', on, true]] as const) {
    const { directory, public: gateway, operations } = await configured(t)
    const { child, ended, text } = run(t, server, { env: { ...env, PASSERELLE_CONFIG: directory, NODE_OPTIONS: `--import=${pathToFileURL(spy)}` } })
    t.ok(await answers(`${operations}/readyz`, 200), text())
    t.equal((await fetch(`${gateway}/jwks`)).status, 200)
    t.equal(collector.bodies.length, 0)
    child.kill('SIGTERM')
    t.equal(await ended, 0, what)
    const loaded = Number(/loaded (\d+)/.exec(text())?.[1])
    t.ok(isOn ? loaded > 10 : loaded === 0, `${what}: ${loaded} modules`)
    t.match(collector.spans(), isOn ? [{ name: 'GET /jwks', resource: { 'service.name': 'front door' } }] : [], what)
  }
})

t.test('the standard variables switch traces on and off', t => {
  const OTEL_EXPORTER_OTLP_ENDPOINT = 'http://collector:4318'
  for (const [environment, isOn] of [
    [{}, false], [{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, false], [{ OTEL_SERVICE_NAME: 'passerelle' }, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT }, true], [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://collector/v1/traces' }, true],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED: 'TRUE' }, false], [{ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED: 'false' }, true],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER: 'none' }, false]
  ] as const) t.equal(wantsTraces(environment), isOn, JSON.stringify(environment))
  t.throws(() => wantsTraces({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }), { message: /OTEL_EXPORTER_OTLP_ENDPOINT: expected an http or https address/ })
  t.end()
})
