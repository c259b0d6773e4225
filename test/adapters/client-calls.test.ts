import type { IncomingMessage, ServerResponse } from 'node:http'
import { createSecureServer as createHttp2Server, type Http2ServerRequest } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import net, { createServer as createRawServer, type LookupFunction, type Server, type Socket } from 'node:net'
import tls from 'node:tls'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { clientCalls } from '../../src/adapters/client-calls.ts'
import { makeCertificate } from '../support/certificate.ts'
import { answers, bringBack, finds, listen, serve, unended } from '../support/listen.ts'
import { until } from '../support/redis.ts'

const key = { kty: 'OKP', crv: 'X25519', x: 'hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo', kid: 'one' }      // RFC 8037 appendix A.6
const keys = JSON.stringify({ keys: [key] })
const limit = 256 * 1024
/** Long enough for what answers on a busy machine. */
const patientMs = 20_000
/** No address of this machine or its link, as far as anybody can tell. */
const outward = '192.0.2.1'
const refused = { message: 'this address is one of our own machine or link' }

/** Calls that end with the test. */
function callsOf (t: Test, { timeoutMs = patientMs, loopback = true, lookup }: { timeoutMs?: number, loopback?: boolean, lookup?: LookupFunction } = {}) {
  const calls = clientCalls({ timeoutMs, loopback, lookup })
  t.teardown(() => calls.close())
  return calls
}

t.test('in production no address of this machine, its link or the services of a cloud is called, however it is written or wrapped', async t => {
  const { port, count } = await serve(t, answers(200, keys))
  const calls = callsOf(t, { loopback: false })
  const hosts = [
    '127.0.0.1', '127.0.0.2', '127.255.255.254', '127.1', '127.0.1', '2130706433', '0x7f000001', '0x7f.1', '017700000001', '0177.0.0.1', '%31%32%37.0.0.1', '１２７.0.0.1', '127.0.0.1.', '0.0.0.0', '0', '0.1.2.3',
    '169.254.169.254', '169.254.0.0', '169.254.255.255', '2852039166', '0xa9fea9fe',
    '[::1]', '[0:0:0:0:0:0:0:1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[0:0:0:0:0:ffff:127.1.2.3]', '[::ffff:0.0.0.0]', '[::ffff:169.254.169.254]', '[::ffff:a9fe:a9fe]', '[fe80::1]', '[fe80::a9fe:a9fe]', '[febf:ffff::1]',
    '100.100.100.200', '192.0.0.192', '[fd00:ec2::254]', '[fd20:ce::254]', '[::ffff:100.100.100.200]',
    '[::127.0.0.1]', '[64:ff9b::127.0.0.1]', '[64:ff9b::a9fe:a9fe]', '[64:ff9b::8.8.8.8]', '[2002:7f00:1::]', '[2002:a9fe:a9fe::1]'
  ]
  for (const host of hosts) {
    for (const scheme of ['http', 'https']) {
      await t.rejects(calls.getKeys(`${scheme}://${host}:${port}/jwks`), refused, `keys at ${scheme}://${host}`)
      await t.rejects(calls.post(`${scheme}://${host}:${port}/logout`, { logout_token: 'x' }), refused, `a form to ${scheme}://${host}`)
    }
  }
  t.equal(count(), 0, 'nobody was called')
})

t.test('in production no registration makes us call our own machine, whatever a name resolves to', async t => {
  const { port, count } = await serve(t, answers(200, keys))
  for (const address of ['127.0.0.1', '127.8.8.8', '0.0.0.0', '169.254.169.254', '::1', '::', '::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:169.254.169.254', 'fe80::1', 'fe80::5054:ff:fe12:3456', '100.100.100.200', '192.0.0.192', 'fd00:ec2::254', 'fd20:ce::254', '64:ff9b::7f00:1', '2002:7f00:1::', '::127.0.0.1']) {
    const calls = callsOf(t, { loopback: false, lookup: finds(address) })
    for (const scheme of ['http', 'https']) {
      await t.rejects(calls.getKeys(`${scheme}://clinic.example:${port}/jwks`), refused, `a name of ${address}, by ${scheme}`)
      await t.rejects(calls.post(`${scheme}://clinic.example:${port}/logout`, {}), refused, `a form to a name of ${address}, by ${scheme}`)
    }
  }
  for (const found of [[outward, '127.0.0.1'], ['127.0.0.1', outward], ['2001:db8::1', '::1'], [outward, 'fe80::1', '2001:db8::1']]) {
    await t.rejects(callsOf(t, { loopback: false, lookup: finds(...found) }).getKeys(`http://clinic.example:${port}/jwks`), refused, `one of ${found}`)
  }
  const unlooked = callsOf(t, { loopback: false })
  for (const name of ['localhost', 'LOCALHOST', 'clinic.localhost', 'localhost.']) await t.rejects(unlooked.getKeys(`http://${name}:${port}/jwks`), refused, name)
  t.equal(count(), 0, 'nobody was called')
})

t.test('in production a lookup that answers with one address only is looked at as well', async t => {
  const { port, count } = await serve(t, answers(200, keys))
  const one = (address: string): LookupFunction => (hostname, options, callback) => callback(null, address, net.isIP(address))
  for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) await t.rejects(callsOf(t, { loopback: false, lookup: one(address) }).getKeys(`http://clinic.example:${port}/`), refused, address)
  t.equal(count(), 0)
})

t.test('in production any other address is called, by name and by number', async t => {
  const { port } = await serve(t, answers(200, keys))
  const reached = bringBack(t)
  for (const address of [outward, '10.1.2.3', '126.255.255.255', '128.0.0.1', '169.253.255.255', '169.255.0.1', '1.0.0.1', '192.0.1.1', '100.100.100.199', '100.100.100.201', 'fe00::1', 'fd00::1', '2001:db8::1', '2003::1', '64:ff9c::1', '::ffff:192.0.2.1']) {
    reached.length = 0
    t.same(await callsOf(t, { loopback: false, lookup: finds(address) }).getKeys(`http://clinic.example:${port}/jwks`), { keys: [key] }, `a name of ${address}`)
    t.same(reached, [address])
  }
  for (const host of [outward, '[2001:db8::1]']) {
    reached.length = 0
    t.equal(await callsOf(t, { loopback: false }).post(`http://${host}:${port}/logout`, {}), 200, host)
    t.same(reached, [host.replace(/[[\]]/g, '')])
  }
})

t.test('a name that led out and then leads in is not followed in: it is looked at for each connection', async t => {
  const { port, count, sockets } = await serve(t, answers(200, keys, { connection: 'close' }))
  bringBack(t)
  let address = outward
  const calls = callsOf(t, { loopback: false, lookup: (hostname, options, callback) => finds(address)(hostname, options, callback) })
  t.same(await calls.getKeys(`http://clinic.example:${port}/jwks`), { keys: [key] })
  await until('the connection is closed', 5000, () => sockets.size === 0)
  address = '127.0.0.1'
  await t.rejects(calls.getKeys(`http://clinic.example:${port}/jwks`), refused)
  t.equal(count(), 1)
})

t.test('a name that nobody knows is a failure, in production and in development', async t => {
  const unknown: LookupFunction = (hostname, options, callback) => callback(Object.assign(new Error('who?'), { code: 'ENOTFOUND' }), undefined as never)
  for (const loopback of [true, false]) await t.rejects(callsOf(t, { loopback, lookup: unknown }).getKeys('http://clinic.example/jwks'), { code: 'ENOTFOUND' })
})

t.test('in development this machine may be called', async t => {
  for (const host of ['127.0.0.1', '127.0.0.2', '::1']) {
    const { address, port } = await serve(t, answers(200, keys), host)
    const calls = callsOf(t, { lookup: finds(host) })
    t.same(await calls.getKeys(`${address}/jwks`), { keys: [key] }, address)
    t.same(await calls.getKeys(`http://clinic.example:${port}/jwks`), { keys: [key] }, `a name of ${host}`)
  }
  const { port } = await serve(t, answers(204))
  t.equal(await callsOf(t).post(`http://clinic.localhost:${port}/logout`, {}), 204, 'by the names of every such machine')
})

t.test('no redirect is followed', async t => {
  const other = await serve(t, answers(200, keys), '127.0.0.2')
  for (const status of [301, 302, 303, 307, 308]) {
    for (const body of ['', keys]) {
      const { address } = await serve(t, answers(status, body, { location: `${other.address}/jwks` }))
      const calls = callsOf(t)
      await t.rejects(calls.getKeys(`${address}/jwks`), { message: `expected a JWK Set, got status ${status}` })
      t.equal(await calls.post(`${address}/logout`, { logout_token: 'x' }), status, 'what came of a form is its status')
    }
  }
  t.equal(other.count(), 0)
})

t.test('keys come with 200 and nothing else', async t => {
  let status = 200
  const { address } = await serve(t, (request, response) => { response.writeHead(status).end(status === 204 || status === 304 ? undefined : keys) })
  const calls = callsOf(t)
  for (status of [201, 202, 203, 204, 304, 400, 401, 403, 404, 429, 500, 502, 503]) await t.rejects(calls.getKeys(address), { message: `expected a JWK Set, got status ${status}` })
  status = 200
  t.same(await calls.getKeys(address), { keys: [key] })
})

t.test('what is no set of a key at least is none (RFC 7517 §5)', async t => {
  let body = ''
  const { address } = await serve(t, (request, response) => { response.end(body) })
  const calls = callsOf(t)
  for (body of ['', 'Marie', '<html></html>', keys.slice(1), `${keys}x`, 'null', '1', '"keys"', 'true', '[]', `[${JSON.stringify(key)}]`]) await t.rejects(calls.getKeys(address), body.slice(0, 40))
  const noSet = { message: 'expected a JWK Set with a key at least' }
  for (body of ['{}', '{"keys":null}', '{"keys":{}}', '{"keys":"x"}', '{"keys":{"0":{},"length":1}}', '{"keys":[]}', JSON.stringify(key), '{"Keys":[{}]}']) await t.rejects(calls.getKeys(address), noSet, body)
  for (const other of ['null', '1', '"key"', '[]', '{}', '{"kty":1}', '{"kty":null}', '{"kid":"one"}']) {
    for (body of [`{"keys":[${other}]}`, `{"keys":[${JSON.stringify(key)},${other}]}`]) await t.rejects(calls.getKeys(address), noSet, `a key that is ${other}`)
  }
  body = `\n ${keys}`
  t.same(await calls.getKeys(address), { keys: [key] })
  body = JSON.stringify({ keys: [key], issuer: 'x', constructor: 1 })
  t.strictSame(await calls.getKeys(address), { keys: [key] }, 'and what stands beside them is left there')
})

t.test('an answer above 256 KB is not read, whether or not it says how long it is', async t => {
  const padded = (size: number) => keys + ' '.repeat(size - keys.length)
  const ways: Record<string, (response: ServerResponse, body: string) => void> = {
    'of a known length': (response, body) => { response.writeHead(200, { 'content-length': body.length }).end(body) },
    'in chunks': (response, body) => {
      response.writeHead(200)
      for (let at = 0; at < body.length; at += 10_000) response.write(body.slice(at, at + 10_000))
      response.end()
    }
  }
  for (const [how, way] of Object.entries(ways)) {
    let size = limit
    const { address } = await serve(t, (request, response) => way(response, padded(size)))
    const calls = callsOf(t)
    t.same(await calls.getKeys(address), { keys: [key] }, `${how}: 256 KB are read`)
    t.equal(await calls.post(address, {}), 200)
    size = limit + 1
    await t.rejects(calls.getKeys(address), { code: 'UND_ERR_RES_EXCEEDED_MAX_SIZE' }, `${how}: a byte more is not`)
    await t.rejects(calls.post(address, {}), { code: 'UND_ERR_RES_EXCEEDED_MAX_SIZE' }, `${how}: nor what answers a form`)
  }
})

t.test('an answer without an end is left, and its connection with it', async t => {
  let sent = 0
  const { address, sockets } = await serve(t, (request, response) => {
    const more = () => { while (!response.destroyed && response.write(' '.repeat(16_384))) sent += 16_384 }
    response.writeHead(200).on('drain', more)
    more()
  })
  await t.rejects(callsOf(t).getKeys(address), { code: 'UND_ERR_RES_EXCEEDED_MAX_SIZE' })
  await until('nobody is connected', 5000, () => sockets.size === 0)
  t.ok(sent < 64 * limit, `${sent} bytes had been sent`)
})

t.test('an answer that is packed stays packed: what it would unpack to is nobody\'s concern', async t => {
  const { address } = await serve(t, (request, response) => { response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(keys)) })
  await t.rejects(callsOf(t).getKeys(address), { name: 'SyntaxError' })
})

t.test('an answer that does not come, or does not end, is not waited for, and its connection is let go', async t => {
  for (const [what, listener] of Object.entries(unended)) {
    const { address, sockets } = await serve(t, listener)
    const calls = callsOf(t, { timeoutMs: 150 })
    await t.rejects(calls.getKeys(address), { name: 'TimeoutError' }, what)
    await t.rejects(calls.post(address, {}), { name: 'TimeoutError' }, `${what} to a form`)
    await until('nobody is connected', 5000, () => sockets.size === 0)
  }
})

t.test('an address that takes connections and says nothing at all is not waited for', async t => {
  const { address } = await listen(t, createRawServer(() => {}))
  await t.rejects(callsOf(t, { timeoutMs: 150 }).getKeys(address), { name: 'TimeoutError' })
  await t.rejects(callsOf(t, { timeoutMs: 150 }).getKeys(address.replace('http:', 'https:')), { name: /^(TimeoutError|ConnectTimeoutError)$/ }, 'nor one that speaks no TLS')
})

t.test('a connection that breaks, at whatever moment, is a failure', async t => {
  const breaks: Record<string, (socket: Socket) => void> = {
    'at once': socket => { socket.destroy() },
    'by a reset': socket => { socket.resetAndDestroy() },
    'when it was asked': socket => { socket.once('data', () => socket.resetAndDestroy()) },
    'within the head': socket => { socket.once('data', () => socket.end('HTTP/1.1 200 O')) },
    'after the head': socket => { socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n')) },
    'within the body': socket => { socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${keys.length + 1}\r\n\r\n${keys}`)) },
    'within a chunk': socket => { socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{')) },
    'with something that is no HTTP': socket => { socket.once('data', () => socket.end('+PONG\r\n')) },
    'with a head that is too long': socket => { socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(100_000)}\r\n\r\n`)) }
  }
  for (const [when, listener] of Object.entries(breaks)) {
    const { address } = await listen(t, createRawServer(listener))
    const calls = callsOf(t)
    await t.rejects(calls.getKeys(address), { name: /^(?!TimeoutError)/ }, when)
    await t.rejects(calls.post(address, { a: 'b' }), { name: /^(?!TimeoutError)/ }, `${when}, with a form`)
  }
  const { port } = await listen(t, createRawServer())
  const gone = callsOf(t)
  await t.rejects(gone.getKeys(`http://127.0.0.2:${port}/`), { code: 'ECONNREFUSED' }, 'nobody is there')
})

t.test('what is no address, or not by HTTP, is called by nobody', async t => {
  const calls = callsOf(t)
  for (const address of ['', 'clinic.example', '/jwks', 'http://', 'https://[::1', 'file:///etc/passwd', 'data:application/json,{"keys":[{}]}', 'ftp://127.0.0.1/']) await t.rejects(calls.getKeys(address), address)
})

t.test('a client that is slow keeps up its own address only, with sixty-four connections', async t => {
  const slow = await serve(t, () => {})
  const quick = await serve(t, answers(200, keys), '127.0.0.2')
  const calls = callsOf(t)
  const waiting = Array.from({ length: 80 }, () => calls.getKeys(slow.address).catch(() => {}))
  for (let i = 0; i < 3; i++) t.same(await calls.getKeys(quick.address), { keys: [key] })
  await until('they are connected', 5000, () => slow.count() >= 64)
  for (let i = 0; i < 3; i++) t.same(await calls.getKeys(quick.address), { keys: [key] })
  t.equal(slow.count(), 64)
  await calls.close()
  await Promise.all(waiting)
})

t.test('what is closed ends what is under way, and calls nobody any more', async t => {
  const { address, sockets } = await serve(t, () => {})
  const calls = callsOf(t)
  const waiting = calls.getKeys(address).then(() => undefined, error => error)
  await until('the call has come', 5000, () => sockets.size === 1)
  await calls.close()
  t.match(await waiting, { code: 'UND_ERR_DESTROYED' })
  await t.rejects(calls.getKeys(address), { code: 'UND_ERR_DESTROYED' })
  await until('nobody is connected', 5000, () => sockets.size === 0)
})

t.test('keys are asked for by GET, a form is sent by POST, with nothing that tells who asks', async t => {
  const asked: Array<{ method: string | undefined, url: string | undefined, headers: IncomingMessage['headers'], body: string }> = []
  const { address } = await serve(t, (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', part => { body += part }).on('end', () => {
      const { method, url, headers } = request
      asked.push({ method, url, headers, body })
      response.setHeader('set-cookie', 'a=b').end(keys)
    })
  })
  const calls = callsOf(t)
  await calls.getKeys(`${address.replace('http://', 'http://marie:secret@')}/jwks/é?v=1&w=%20#part`)
  t.equal(await calls.post(`${address}/logout?from=us`, { logout_token: 'a.b.c', 'a&b': 'é =+' }), 200)
  t.equal(await calls.post(address, {}), 200)
  const [get, post, empty] = asked
  t.match(get, { method: 'GET', url: '/jwks/%C3%A9?v=1&w=%20', headers: { accept: /application\/jwk-set\+json/ }, body: '' })
  t.match(post, { method: 'POST', url: '/logout?from=us', headers: { 'content-type': 'application/x-www-form-urlencoded' } })
  t.same([...new URLSearchParams(post!.body)], [['logout_token', 'a.b.c'], ['a&b', 'é =+']])
  t.match(empty, { url: '/', body: '' })
  for (const { headers } of asked) for (const name of ['cookie', 'authorization', 'referer', 'origin', 'user-agent']) t.notOk(name in headers, name)
})

t.test('over TLS whoever is not who the name says is not asked, and HTTP/2 is not spoken, where a call that is stuck keeps up others', async t => {
  const [ours, other] = [await makeCertificate(['clinic.example']), await makeCertificate(['other.example'])]
  const authorities = tls.getCACertificates('default')
  t.teardown(() => tls.setDefaultCACertificates(authorities))
  tls.setDefaultCACertificates([ours.cert])
  let body = keys
  let versions: string[] = []
  const listener = (request: IncomingMessage | Http2ServerRequest, response: ServerResponse) => {
    versions.push(request.httpVersion)
    if (request.url === '/silent') return
    if (request.url === '/moved') response.writeHead(302, { location: '/jwks' })
    response.end(body)
  }
  const start = (certificate: typeof ours, version: '1.1' | '2.0') =>
    listen(t, version === '1.1' ? createHttpsServer(certificate, listener) : createHttp2Server(certificate, listener as never) as unknown as Server)
  const lookup = finds('127.0.0.1')
  const stranger = await start(other, '1.1')
  await t.rejects(callsOf(t, { lookup }).getKeys(`https://clinic.example:${stranger.port}/`), { code: /SELF_SIGNED|UNABLE_TO_VERIFY/ }, 'a certificate that nobody vouches for')
  const modern = await start(ours, '2.0')
  await t.rejects(callsOf(t, { lookup }).getKeys(`https://clinic.example:${modern.port}/`), 'a server that speaks nothing else')
  const { port, sockets } = await start(ours, '1.1')
  const [calls, hasty] = [callsOf(t, { lookup }), callsOf(t, { lookup, timeoutMs: 500 })]
  body = keys
  versions = []
  t.same(await calls.getKeys(`https://clinic.example:${port}/`), { keys: [key] })
  await t.rejects(calls.getKeys(`https://clinic.example:${port}/moved`), { message: 'expected a JWK Set, got status 302' })
  t.equal(await calls.post(`https://clinic.example:${port}/`, { logout_token: 'x' }), 200)
  await t.rejects(calls.getKeys(`https://another.example:${port}/`), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' }, 'a certificate of another name')
  await t.rejects(hasty.getKeys(`https://clinic.example:${port}/silent`), { name: 'TimeoutError' })
  body = keys + ' '.repeat(limit)
  await t.rejects(calls.getKeys(`https://clinic.example:${port}/`), { code: 'UND_ERR_RES_EXCEEDED_MAX_SIZE' }, 'too long')
  t.same([...new Set(versions)], ['1.1'])
  await Promise.all([calls.close(), hasty.close()])
  await until('nobody is connected', 5000, () => sockets.size === 0)
})
