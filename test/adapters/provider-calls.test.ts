import { X509Certificate } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { createSecureServer as createHttp2Server, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import { createServer as createRawServer, isIP, type LookupFunction, type Server, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { gzipSync } from 'node:zlib'
import { generate } from 'selfsigned'
import t, { type Test } from 'tap'
import { measuredCalls, providerCalls, retriedOnce, type ProviderCallsOptions } from '../../src/adapters/provider-calls.ts'
import type { CallProvider, Leg, ProviderCall } from '../../src/ports.ts'
import { OAuthError, type Failure } from '../../src/protocol/errors.ts'
import { makeCertificate } from '../support/certificate.ts'
import { answers, bringBack, finds, listen, serve, unended } from '../support/listen.ts'
import { until } from '../support/redis.ts'

t.setTimeout(90_000)
const limit = 256 * 1024
/** Long enough for what answers on a busy machine. */
const patientMs = 20_000
/** No address of this machine or its link, as far as anybody can tell. */
const outward = '192.0.2.1'
const legs = ['discovery', 'jwks', 'token', 'userinfo', 'status'] as const satisfies Leg[]

/** Calls that end with the test. */
function callsOf (t: Test, options: Partial<ProviderCallsOptions> = {}) {
  const calls = providerCalls({ timeoutMs: patientMs, connections: 4, loopback: true, ...options })
  t.teardown(() => calls.close())
  return calls
}
const asking = (leg: Leg, url: string, more: Partial<ProviderCall> = {}): ProviderCall => leg === 'token'
  ? { leg, method: 'POST', url, headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'code=c', ...more }
  : { leg, method: 'GET', url, headers: { accept: 'application/json' }, ...more }

/** What came of a call: the failure's name, else the status. */
const outcome = async (answer: ReturnType<CallProvider>) => answer.then(({ status }) => status, error => error instanceof OAuthError ? error.failure : error)

t.test('in production no address of this machine, its link or the services of a cloud is called, however it is written or wrapped', async t => {
  const { port, count } = await serve(t, answers(200, '{}'))
  const { call } = callsOf(t, { loopback: false })
  const hosts = [
    '127.0.0.1', '127.0.0.2', '127.255.255.254', '127.1', '2130706433', '0x7f000001', '017700000001', '%31%32%37.0.0.1', '１２７.0.0.1', '127.0.0.1.', '0.0.0.0', '0',
    '169.254.169.254', '2852039166', '0xa9fea9fe', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:a9fe:a9fe]', '[fe80::1]', '[::127.0.0.1]',
    '100.100.100.200', '192.0.0.192', '[fd00:ec2::254]', '[fd20:ce::254]', '[64:ff9b::127.0.0.1]', '[2002:7f00:1::]'
  ]
  for (const host of hosts) {
    for (const scheme of ['http', 'https']) {
      for (const leg of legs) t.equal(await outcome(call(asking(leg, `${scheme}://${host}:${port}/`))), 'provider_address_refused', `${leg} at ${scheme}://${host}`)
    }
  }
  t.equal(count(), 0, 'nobody was called')
})

t.test('in production no metadata makes us call our own machine, whatever a name resolves to', async t => {
  const { port, count } = await serve(t, answers(200, '{}'))
  const lookups = [
    ...['127.0.0.1', '0.0.0.0', '169.254.169.254', '::1', '::ffff:127.0.0.1', '::ffff:a9fe:a9fe', 'fe80::1', '100.100.100.200', 'fd00:ec2::254', '64:ff9b::7f00:1'].map(address => [address]),
    [outward, '127.0.0.1'], ['127.0.0.1', outward], ['2001:db8::1', '::1']
  ]
  for (const found of lookups) {
    for (const scheme of ['http', 'https']) {
      const { call } = callsOf(t, { loopback: false, lookup: finds(...found) })
      for (const leg of ['token', 'jwks'] as const) t.equal(await outcome(call(asking(leg, `${scheme}://impots.example:${port}/`))), 'provider_address_refused', `${leg}: a name of ${found}, by ${scheme}`)
    }
  }
  const one: LookupFunction = (_hostname, _options, callback) => callback(null, '127.0.0.1', 4)
  t.equal(await outcome(callsOf(t, { loopback: false, lookup: one }).call(asking('jwks', `http://impots.example:${port}/`))), 'provider_address_refused', 'by a lookup that answers with one address')
  const unlooked = callsOf(t, { loopback: false })
  for (const name of ['localhost', 'LOCALHOST', 'impots.localhost', 'localhost.']) t.equal(await outcome(unlooked.call(asking('jwks', `http://${name}:${port}/`))), 'provider_address_refused', name)
  t.equal(count(), 0, 'nobody was called')
})

t.test('a name that led out and then leads in is not followed in: it is looked at for each connection', async t => {
  const { port, count, sockets } = await serve(t, answers(200, '{}', { connection: 'close' }))
  bringBack(t)
  let address = outward
  const { call } = callsOf(t, { loopback: false, lookup: (hostname, options, callback) => finds(address)(hostname, options, callback) })
  t.equal(await outcome(call(asking('jwks', `http://impots.example:${port}/`))), 200)
  await until('the connection is closed', 5000, () => sockets.size === 0)
  address = '127.0.0.1'
  t.equal(await outcome(call(asking('jwks', `http://impots.example:${port}/`))), 'provider_address_refused')
  t.equal(count(), 1)
})

t.test('in production any other address is called, by name and by number, a private one as well', async t => {
  const { port } = await serve(t, answers(200, '{}'))
  const reached = bringBack(t)
  for (const address of [outward, '10.1.2.3', '192.168.1.1', '172.16.0.1', '128.0.0.1', '2001:db8::1', 'fd00::1']) {
    reached.length = 0
    t.equal(await outcome(callsOf(t, { loopback: false, lookup: finds(address) }).call(asking('jwks', `http://impots.example:${port}/`))), 200, `a name of ${address}`)
    t.equal(await outcome(callsOf(t, { loopback: false }).call(asking('userinfo', `http://${isIP(address) === 6 ? `[${address}]` : address}:${port}/`))), 200, address)
    t.same(reached, [address, address])
  }
})

t.test('where it is configured this machine may be called', async t => {
  for (const host of ['127.0.0.1', '127.0.0.2', '::1']) {
    const { address, port } = await serve(t, answers(200, '{}'), host)
    const { call } = callsOf(t, { lookup: finds(host) })
    t.equal(await outcome(call(asking('jwks', `${address}/`))), 200, address)
    t.equal(await outcome(call(asking('jwks', `http://impots.example:${port}/`))), 200, `a name of ${host}`)
  }
  const { port, count } = await serve(t, answers(200))
  t.equal(await outcome(callsOf(t).call(asking('token', `http://impots.localhost:${port}/`))), 200, 'by the names of every such machine')
  for (const address of ['169.254.169.254', 'fe80::1', '0.0.0.0', '::', '100.100.100.200', 'fd00:ec2::254']) {
    t.equal(await outcome(callsOf(t, { lookup: finds(address) }).call(asking('jwks', `http://impots.example:${port}/`))), 'provider_address_refused', `not what its link has: a name of ${address}`)
    t.equal(await outcome(callsOf(t).call(asking('jwks', `http://${isIP(address) === 6 ? `[${address}]` : address}:${port}/`))), 'provider_address_refused', address)
  }
  t.equal(count(), 1)
})

t.test('no redirect is followed, whoever sends it', async t => {
  const other = await serve(t, answers(200, '{}'), '127.0.0.2')
  for (const status of [300, 301, 302, 303, 304, 307, 308]) {
    const { address } = await serve(t, answers(status, '', { location: `${other.address}/` }))
    const { call } = callsOf(t)
    for (const leg of legs) t.equal(await outcome(call(asking(leg, address))), 'provider_redirected', `${leg}: ${status}`)
  }
  t.equal(other.count(), 0)
})

t.test('an answer of the 400s is read by whoever asked, one that says that it failed is thrown', async t => {
  let status = 200
  const { address } = await serve(t, (_request, response) => { response.writeHead(status, { 'x-said': 'so' }).end(status === 204 ? undefined : 'what it says') })
  const { call } = callsOf(t)
  for (status of [200, 201, 202, 203, 400, 401, 403, 404, 405, 410, 418, 428, 430, 431, 451, 499]) {
    for (const leg of legs) t.match(await call(asking(leg, address)), { status, headers: { 'x-said': 'so' }, text: 'what it says' }, `${leg}: ${status}`)
  }
  status = 204
  t.match(await call(asking('userinfo', address)), { status, text: '' })
  for (const [code, failure] of [[429, 'provider_busy'], [500, 'provider_server_error'], [501, 'provider_server_error'], [502, 'provider_server_error'], [503, 'provider_server_error'], [504, 'provider_server_error'], [599, 'provider_server_error'], [600, 'provider_server_error'], [999, 'provider_server_error']] as const) {
    status = code
    for (const leg of legs) {
      const error = await call(asking(leg, address)).then(() => new Error('answered'), error => error)
      t.equal(error.failure, failure, `${leg}: ${code}`)
      t.match(error.message, new RegExp(`^${leg}: `), 'which call it was')
      t.notMatch(error.message, /what it says/)
    }
  }
})

t.test('an answer above 256 KB is not read, whether or not it says how long it is, or that it failed', async t => {
  const ways: Record<string, (response: ServerResponse, body: string) => void> = {
    'of a known length': (response, body) => { response.writeHead(200, { 'content-length': body.length }).end(body) },
    'in chunks': (response, body) => {
      response.writeHead(200)
      for (let at = 0; at < body.length; at += 10_000) response.write(body.slice(at, at + 10_000))
      response.end()
    },
    'with 500': (response, body) => { response.writeHead(500).end(body) }
  }
  for (const [how, way] of Object.entries(ways)) {
    let size = limit
    const { address } = await serve(t, (_request, response) => way(response, ' '.repeat(size)))
    const { call } = callsOf(t)
    for (const leg of legs) t.equal(await outcome(call(asking(leg, address))), how === 'with 500' ? 'provider_server_error' : 200, `${how}, ${leg}: 256 KB are read`)
    size = limit + 1
    for (const leg of legs) t.equal(await outcome(call(asking(leg, address))), 'provider_answer_too_large', `${how}, ${leg}: a byte more is not`)
  }
})

t.test('an answer without an end is left, and its connection with it', async t => {
  let sent = 0
  const { address, sockets } = await serve(t, (_request, response) => {
    const more = () => { while (!response.destroyed && response.write(' '.repeat(16_384))) sent += 16_384 }
    response.writeHead(200).on('drain', more)
    more()
  })
  t.equal(await outcome(callsOf(t).call(asking('token', address))), 'provider_answer_too_large')
  await until('nobody is connected', 5000, () => sockets.size === 0)
  t.ok(sent < 64 * limit, `${sent} bytes had been sent`)
})

t.test('an answer that is packed stays packed: what it would unpack to is nobody\'s concern', async t => {
  const { address } = await serve(t, (_request, response) => { response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('{"sub":"Dupont"}')) })
  const { text } = await callsOf(t).call(asking('userinfo', address))
  t.notMatch(text, /sub/)
})

t.test('an answer that does not come, or does not end, is not waited for, and its connection is let go', async t => {
  const silent = { ...unended, 'a failure whose words do not end': ((_request, response) => { response.writeHead(503).write('{') }) satisfies RequestListener }
  for (const [what, listener] of Object.entries(silent)) {
    const { address, sockets } = await serve(t, listener)
    const { call } = callsOf(t, { timeoutMs: 150 })
    t.same(await Promise.all(legs.map(leg => outcome(call(asking(leg, address))))), legs.map(() => 'provider_timed_out'), what)
    await until('nobody is connected', 5000, () => sockets.size === 0)
  }
  const { address } = await listen(t, createRawServer(() => {}))
  t.equal(await outcome(callsOf(t, { timeoutMs: 150 }).call(asking('token', address))), 'provider_timed_out', 'a port that says nothing at all')
  t.equal(await outcome(callsOf(t, { timeoutMs: 150 }).call(asking('token', address.replace('http:', 'https:')))), 'provider_timed_out', 'nor speaks TLS')
})

t.test('what runs in the background has half the time of what a citizen waits for', async t => {
  const { timeout } = AbortSignal
  const limits: number[] = []
  AbortSignal.timeout = milliseconds => { limits.push(milliseconds); return timeout.call(AbortSignal, milliseconds) }
  t.teardown(() => { AbortSignal.timeout = timeout })
  const { address } = await serve(t, answers(200))
  const { call } = callsOf(t, { timeoutMs: 4001 })
  for (const [leg, milliseconds] of [['token', 4001], ['userinfo', 4001], ['discovery', 2001], ['jwks', 2001], ['status', 2001]] as const) {
    limits.length = 0
    await call(asking(leg, address))
    t.same(limits, [milliseconds], leg)
  }
})

t.test('a name that is looked up for ever is not waited for', async t => {
  const busy = setInterval(() => {}, 1000)                               // a limit of time alone keeps no process up
  t.teardown(() => clearInterval(busy))
  t.equal(await outcome(callsOf(t, { timeoutMs: 150, lookup: () => {} }).call(asking('discovery', 'http://impots.example/'))), 'provider_timed_out')
})

t.test('nothing is asked after the deadline, and nothing is waited for beyond it', async t => {
  const { address, count } = await serve(t, () => {})
  const { call } = callsOf(t)
  for (const deadline of [performance.now(), performance.now() - 1, 0, -Infinity]) {
    await t.rejects(call(asking('token', address, { deadline })), { name: 'OAuthError', failure: 'provider_timed_out', message: 'token: no time is left to ask' })
  }
  const { now } = performance
  const still = performance.now()
  performance.now = () => still
  const atTheVeryEnd = call(asking('token', address, { deadline: still }))
  performance.now = now
  await t.rejects(atTheVeryEnd, { message: 'token: no time is left to ask' })
  t.equal(count(), 0)
  await t.rejects(call(asking('token', address, { deadline: performance.now() + 150 })), { name: 'OAuthError', failure: 'provider_timed_out', message: 'token: the identity provider did not answer in time' })
  const hasty = callsOf(t, { timeoutMs: 150 })
  await t.rejects(hasty.call(asking('token', address, { deadline: performance.now() + patientMs })), { name: 'OAuthError', failure: 'provider_timed_out' }, 'nor is a far deadline more than the limit of a call')
  const quick = await serve(t, answers(200))
  t.equal(await outcome(call(asking('token', quick.address, { deadline: performance.now() + patientMs }))), 200)
})

t.test('a connection that breaks, at whatever moment, is a failure', async t => {
  const breaks: Record<string, (socket: Socket) => void> = {
    'at once': socket => { socket.destroy() },
    'by a reset': socket => { socket.resetAndDestroy() },
    'when it was asked': socket => { socket.once('data', () => socket.resetAndDestroy()) },
    'within the head': socket => { socket.once('data', () => socket.end('HTTP/1.1 200 O')) },
    'after the head': socket => { socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n')) },
    'within the body': socket => { socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}')) },
    'within a chunk': socket => { socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{')) },
    'with something that is no HTTP': socket => { socket.once('data', () => socket.end('+PONG\r\n')) },
    'with another protocol': socket => { socket.once('data', () => socket.end('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n')) },
    'with a head that is too long': socket => { socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`)) }
  }
  for (const [when, listener] of Object.entries(breaks)) {
    const { address } = await listen(t, createRawServer(listener))
    const { call } = callsOf(t)
    for (const leg of legs) t.equal(await outcome(call(asking(leg, address))), 'provider_unavailable', `${leg}: ${when}`)
  }
  const { port } = await listen(t, createRawServer())
  t.equal(await outcome(callsOf(t).call(asking('token', `http://127.0.0.2:${port}/`))), 'provider_unavailable', 'nobody is there')
  const unknown: LookupFunction = (_hostname, _options, callback) => callback(Object.assign(new Error('who?'), { code: 'ENOTFOUND' }), undefined as never)
  for (const loopback of [true, false]) t.equal(await outcome(callsOf(t, { loopback, lookup: unknown }).call(asking('token', 'http://impots.example/'))), 'provider_unavailable', 'a name that nobody knows')
})

t.test('what is asked is asked as it was said, with nothing that tells who asks', async t => {
  const asked: Array<{ method: string | undefined, url: string | undefined, headers: IncomingMessage['headers'], body: string }> = []
  const { address } = await serve(t, (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', part => { body += part }).on('end', () => {
      const { method, url, headers } = request
      asked.push({ method, url, headers, body })
      response.setHeader('set-cookie', 'a=b').end('{}')
    })
  })
  const { call } = callsOf(t)
  await call({ leg: 'userinfo', method: 'GET', url: `${address.replace('http://', 'http://marie:secret@')}/me/é?v=1&w=%20#part`, headers: { accept: 'application/json', authorization: 'Bearer abc' } })
  await call({ leg: 'token', method: 'POST', url: `${address}/token?tenant=1`, headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'code=%C3%A9&a=b' })
  const [get, post] = asked
  t.match(get, { method: 'GET', url: '/me/%C3%A9?v=1&w=%20', headers: { accept: 'application/json', authorization: 'Bearer abc' }, body: '' })
  t.match(post, { method: 'POST', url: '/token?tenant=1', headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': '15' }, body: 'code=%C3%A9&a=b' })
  for (const { headers } of asked) for (const name of ['cookie', 'referer', 'origin', 'user-agent']) t.notOk(name in headers, name)
  t.notOk('authorization' in post!.headers)
})

t.test('a connection is kept for the next call, and one that was closed meanwhile is no failure', async t => {
  const { address, count, sockets } = await serve(t, answers(200, '{}'))
  const { call } = callsOf(t)
  for (let i = 0; i < 5; i++) for (const leg of ['token', 'userinfo'] as const) await call(asking(leg, address))
  const kept = count()
  t.ok(kept <= 2, `${kept} connections for ten calls`)
  for (const socket of sockets) socket.destroy()
  await until('it is closed', 5000, () => sockets.size === 0)
  await pause(50)
  t.equal(await outcome(call(asking('token', address))), 200)
  t.equal(count(), kept + 1)
})

t.test('citizens\' calls that are stuck keep up no more than their connections, and nothing that runs in the background', async t => {
  let underWay = 0
  let most = 0
  const let_go: Array<() => void> = []
  const { address } = await serve(t, (request, response) => {
    if (request.url !== '/stuck') return response.end('{}')
    most = Math.max(most, ++underWay)
    let_go.push(() => { underWay--; response.end('{}') })
  })
  const { call } = callsOf(t, { connections: 3 })
  const stuck = Array.from({ length: 8 }, (_, i) => outcome(call(asking(i % 2 === 0 ? 'token' : 'userinfo', `${address}/stuck`))))
  await until('as many as may are under way', 5000, () => underWay === 3)
  for (const leg of ['discovery', 'jwks', 'status'] as const) t.equal(await outcome(call(asking(leg, `${address}/`))), 200, leg)
  const elsewhere = await serve(t, answers(200, '{}'), '127.0.0.2')
  t.equal(await outcome(call(asking('token', elsewhere.address))), 200, 'nor another host of the same provider')
  while (let_go.length > 0) {
    let_go.shift()!()
    await pause(20)
  }
  t.same(await Promise.all(stuck), stuck.map(() => 200), 'each has its turn')
  t.equal(most, 3)
})

t.test('what runs in the background keeps up no more than two connections, and no citizen', async t => {
  let underWay = 0
  let most = 0
  const { address } = await serve(t, (request, response) => {
    if (request.url !== '/stuck') return response.end('{}')
    most = Math.max(most, ++underWay)
    response.once('close', () => { underWay-- })
  })
  const { call } = callsOf(t, { connections: 1, timeoutMs: 1000 })
  const stuck = Array.from({ length: 6 }, (_, i) => outcome(call(asking((['discovery', 'jwks', 'status'] as const)[i % 3]!, `${address}/stuck`))))
  await until('two are under way', 5000, () => underWay === 2)
  t.equal(await outcome(call(asking('token', `${address}/`))), 200)
  t.same(await Promise.all(stuck), stuck.map(() => 'provider_timed_out'), 'and time is up for those who wait as well')
  t.equal(most, 2)
})

t.test('what is closed ends what is under way, and calls nobody any more', async t => {
  const { address, sockets, count } = await serve(t, () => {})
  const { call, close } = callsOf(t)
  const waiting = Promise.all([outcome(call(asking('token', address))), outcome(call(asking('jwks', address)))])
  await until('the calls have come', 5000, () => sockets.size === 2)
  await close()
  t.same(await waiting, ['provider_unavailable', 'provider_unavailable'])
  for (const leg of legs) t.equal(await outcome(call(asking(leg, address))), 'provider_unavailable')
  await until('nobody is connected', 5000, () => sockets.size === 0)
  t.equal(count(), 2)
})

const here = finds('127.0.0.1')

t.test('over TLS whoever is not who the name says is not asked, and an authority of the provider\'s own is believed where it is registered', async t => {
  const [own, another, wrong] = await Promise.all([makeCertificate(['impots.example']), makeCertificate(['impots.example']), makeCertificate(['other.example'])])
  const { private: oldKey, cert: oldCert } = await generate([{ name: 'commonName', value: 'impots.example' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notBeforeDate: new Date(Date.now() - 2 * 86_400_000),
    notAfterDate: new Date(Date.now() - 86_400_000),
    extensions: [{ name: 'basicConstraints', cA: true }, { name: 'subjectAltName', altNames: [{ type: 2, value: 'impots.example' }] }]
  })
  let asked = 0
  const listener: RequestListener = (request, response) => {
    asked++
    if (request.url === '/silent') return
    if (request.url === '/moved') response.writeHead(302, { location: '/' })
    if (request.url === '/down') response.writeHead(503)
    response.end(request.url === '/huge' ? ' '.repeat(limit + 1) : '{}')
  }
  const [right, misnamed, old] = await Promise.all([own, wrong, { key: oldKey, cert: oldCert }].map(certificate => listen(t, createHttpsServer(certificate, listener))))
  const at = (port: number, path = '/') => `https://impots.example:${port}${path}`
  for (const leg of legs) {
    for (const [what, { port }, ca] of [
      ['nobody vouches for', right!, undefined], ['another vouches for', right!, another.cert], ['is another\'s', misnamed!, wrong.cert], ['has expired', old!, oldCert]
    ] as const) t.equal(await outcome(callsOf(t, { lookup: here, tls: { ca } }).call(asking(leg, at(port)))), 'provider_unavailable', `${leg}: a certificate that ${what}`)
  }
  t.equal(await outcome(callsOf(t, { lookup: here, tls: { ca: own.cert } }).call(asking('token', `https://127.0.0.1:${right!.port}/`))), 'provider_unavailable', 'an address is no name')
  t.equal(asked, 0, 'nobody was asked')

  const [patient, hasty] = [callsOf(t, { lookup: here, tls: { ca: own.cert } }), callsOf(t, { lookup: here, tls: { ca: own.cert }, timeoutMs: 300 })]
  for (const leg of legs) t.equal(await outcome(patient.call(asking(leg, at(right!.port)))), 200, leg)
  for (const [path, failure] of [['/moved', 'provider_redirected'], ['/down', 'provider_server_error'], ['/huge', 'provider_answer_too_large']] as const) t.equal(await outcome(patient.call(asking('userinfo', at(right!.port, path)))), failure)
  t.equal(await outcome(hasty.call(asking('userinfo', at(right!.port, '/silent')))), 'provider_timed_out')
})

t.test('each call has its own connection: HTTP/2, where one that is stuck keeps up others, is not spoken', async t => {
  const own = await makeCertificate(['impots.example'])
  const versions: string[] = []
  const listener = (request: Http2ServerRequest, response: Http2ServerResponse) => { versions.push(request.httpVersion); response.end('{}') }
  const start = (allowHTTP1: boolean) => listen(t, createHttp2Server({ ...own, allowHTTP1 }, listener) as unknown as Server)
  const [both, onlyNew] = [await start(true), await start(false)]
  const { call } = callsOf(t, { lookup: here, tls: { ca: own.cert } })
  for (const leg of legs) t.equal(await outcome(call(asking(leg, `https://impots.example:${both.port}/`))), 200, leg)
  t.same([...new Set(versions)], ['1.1'])
  t.equal(await outcome(call(asking('token', `https://impots.example:${onlyNew.port}/`))), 'provider_unavailable', 'not even to who speaks nothing else')
})

t.test('a certificate of ours is shown where it is registered, to whoever asks for one (RFC 8705)', async t => {
  const [theirs, ours, another] = await Promise.all([makeCertificate(['impots.example']), makeCertificate(['passerelle.example']), makeCertificate(['passerelle.example'])])
  const shown: Array<string | undefined> = []
  const server = createHttpsServer({ ...theirs, ca: ours.cert, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    shown.push((request.socket as TLSSocket).getPeerX509Certificate()?.fingerprint256)
    response.end('{}')
  })
  const { port } = await listen(t, server)
  const url = `https://impots.example:${port}/`
  const outcomeWith = (tls: ProviderCallsOptions['tls'], leg: Leg) => outcome(callsOf(t, { lookup: here, tls: { ca: theirs.cert, ...tls } }).call(asking(leg, url)))
  for (const leg of legs) t.equal(await outcomeWith({ cert: ours.cert, key: ours.key }, leg), 200, leg)
  t.same([...new Set(shown)], [new X509Certificate(ours.cert).fingerprint256])
  t.equal(shown.length, legs.length)
  t.equal(await outcomeWith({}, 'token'), 'provider_unavailable', 'none')
  t.equal(await outcomeWith({ cert: another.cert, key: another.key }, 'token'), 'provider_unavailable', 'one that they do not know')
  t.equal(shown.length, legs.length)
})

/** A call that fails so many times, and how often it was made. */
function failing (failure: Failure, times = Infinity, code?: string) {
  const asked: ProviderCall[] = []
  const call: CallProvider = async call => {
    asked.push(call)
    if (asked.length > times) return { status: 200, headers: {}, text: 'at last' }
    throw new OAuthError(failure, 'failed', { cause: code === undefined ? undefined : Object.assign(new Error(code), { code }) })
  }
  return { asked, call: retriedOnce(call) }
}

t.test('a call is made once more where nothing was sent, or keys or userinfo were read, and no other ever is', async t => {
  const beforeSending = ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN']
  const perhapsSent = [undefined, 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'UND_ERR_SOCKET', 'UND_ERR_DESTROYED', 'UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_ABORTED', 'HPE_INVALID_CONSTANT', 'CERT_HAS_EXPIRED', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'ERR_TLS_CERT_ALTNAME_INVALID']
  const others = ['provider_timed_out', 'provider_busy', 'provider_redirected', 'provider_answer_too_large', 'provider_address_refused', 'provider_call_refused'] as const satisfies Failure[]
  const rows: Array<[leg: Leg, failure: Failure, code: string | undefined, times: 1 | 2]> = [
    ...beforeSending.flatMap((code): typeof rows => [['token', 'provider_unavailable', code, 2], ['userinfo', 'provider_unavailable', code, 2]]),
    ...perhapsSent.flatMap((code): typeof rows => [['token', 'provider_unavailable', code, 1], ['userinfo', 'provider_unavailable', code, 2]]),
    ...[...beforeSending, ...perhapsSent].flatMap((code): typeof rows => [['jwks', 'provider_unavailable', code, 2], ['discovery', 'provider_unavailable', code, 1], ['status', 'provider_unavailable', code, 1]]),
    ['userinfo', 'provider_server_error', undefined, 2],
    ['token', 'provider_server_error', undefined, 1],
    ['token', 'provider_timed_out', 'ECONNREFUSED', 1],
    ...others.flatMap((failure): typeof rows => legs.map(leg => [leg, failure, undefined, 1])),
    ...(['discovery', 'jwks', 'status'] as const).map((leg): typeof rows[number] => [leg, 'provider_server_error', undefined, 1])
  ]
  await Promise.all(rows.map(async ([leg, failure, code, times]) => {
    const { asked, call } = failing(failure, Infinity, code)
    const question = asking(leg, 'https://impots.example/', { deadline: 1 })
    await t.rejects(call(question), { name: 'OAuthError', failure })
    t.equal(asked.length, times, `${leg}, ${failure}, ${code}`)
    t.ok(asked.every(each => each === question), 'the same question, with the same deadline')
  }))
  for (const leg of ['token', 'userinfo'] as const) {
    const { asked, call } = failing('provider_unavailable', 1, 'ECONNREFUSED')
    t.match(await call(asking(leg, 'https://impots.example/')), { text: 'at last' }, 'the second answer is the answer')
    t.equal(asked.length, 2)
  }
  const strange = retriedOnce(async () => { throw new TypeError('strange') })
  await t.rejects(strange(asking('userinfo', 'https://impots.example/')), { name: 'TypeError' }, 'what nobody knows is left as it is')
})

t.test('at the provider a code comes once, whatever came of it, and what may be read again comes twice', async t => {
  const count: Record<string, number> = {}
  const counted = (path: string) => { count[path] = (count[path] ?? 0) + 1 }
  const { address } = await serve(t, (request, response) => {
    const path = request.url!
    counted(`${request.method} ${path}`)
    if (path === '/reset') return request.socket.resetAndDestroy()
    if (path === '/half') return response.writeHead(200, { 'content-length': 10 }).write('{', () => request.socket.destroy())
    if (path === '/503') return response.writeHead(503).end()
    if (path === '/silent') return
    if (path === '/once') return count['GET /once'] === 1 ? request.socket.destroy() : response.end('at last')
    response.writeHead(Number(path.slice(1))).end()
  })
  const [patient, hasty] = [retriedOnce(callsOf(t).call), retriedOnce(callsOf(t, { timeoutMs: 200 }).call)]
  const call: CallProvider = asked => (asked.url.endsWith('/silent') ? hasty : patient)(asked)
  for (const path of ['/reset', '/half', '/503', '/silent', '/400', '/429', '/302']) {
    await call(asking('token', address + path)).catch(() => {})
    t.equal(count[`POST ${path}`], 1, `a code, ${path}`)
  }
  for (const [path, times] of [['/reset', 2], ['/half', 2], ['/503', 2], ['/silent', 1], ['/401', 1], ['/429', 1], ['/302', 1]] as const) {
    await call(asking('userinfo', address + path)).catch(() => {})
    t.equal(count[`GET ${path}`], times, `userinfo, ${path}`)
    count[`GET ${path}`] = 0
  }
  for (const path of ['/reset', '/503', '/silent']) {
    for (const leg of ['discovery', 'jwks', 'status'] as const) {
      await call(asking(leg, address + path)).catch(() => {})
      t.equal(count[`GET ${path}`], leg === 'jwks' && path === '/reset' ? 2 : 1, `${leg}, ${path}`)
      count[`GET ${path}`] = 0
    }
  }
  t.match(await call(asking('userinfo', `${address}/once`)), { status: 200, text: 'at last' })
})

t.test('a connection that is refused is tried once more, by each of its addresses', async t => {
  const { port } = await listen(t, createRawServer())
  for (const found of [['127.0.0.2'], ['127.0.0.2', '127.0.0.3'], ['::1', '127.0.0.2']]) {
    let looked = 0
    const lookup: LookupFunction = (hostname, options, callback) => { looked++; finds(...found)(hostname, options, callback) }
    const call = retriedOnce(callsOf(t, { lookup }).call)
    for (const [leg, times] of [['token', 2], ['userinfo', 2], ['jwks', 2], ['discovery', 1], ['status', 1]] as const) {
      looked = 0
      t.equal(await outcome(call(asking(leg, `http://impots.example:${port}/`))), 'provider_unavailable')
      t.equal(looked, times, `${leg}, ${found}`)
    }
  }
})

t.test('of each call it is told what came of it and how long it took, of each try by itself', async t => {
  const told: Array<[leg: Leg, outcome: string]> = []
  const watch = { called (leg: Leg, outcome: string, seconds: number) { told.push([leg, outcome]); t.ok(seconds >= 0.02 && seconds < 20, `${seconds} s`) } }
  const withStatus = (status: number): CallProvider => async () => { await pause(25); return { status, headers: {}, text: '' } }
  for (const [status, outcome] of [[200, 'answered'], [204, 'answered'], [399, 'answered'], [400, 'refused'], [404, 'refused'], [499, 'refused']] as const) {
    t.match(await measuredCalls(withStatus(status), watch)(asking('token', 'x')), { status })
    t.same(told.splice(0), [['token', outcome]])
  }
  const failed: CallProvider = async () => { await pause(25); throw new OAuthError('provider_server_error', 'x') }
  await t.rejects(measuredCalls(failed, watch)(asking('jwks', 'x')), { name: 'OAuthError', failure: 'provider_server_error' })
  t.same(told.splice(0), [['jwks', 'provider_server_error']])
  await t.rejects(retriedOnce(measuredCalls(failed, watch))(asking('userinfo', 'x')))
  t.same(told, [['userinfo', 'provider_server_error'], ['userinfo', 'provider_server_error']])
})
