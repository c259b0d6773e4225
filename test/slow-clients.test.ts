import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { publicPatience } from '../src/patience.ts'
import { base, testApp, type TestOptions } from './support/test-app.ts'

t.jobs = 3                                                               // they wait together

/** The real limits, half as long. */
const patience = { ...publicPatience, head: { ...publicPatience.head, connectionsCheckingInterval: 50, headersTimeout: 5000 }, requestTimeout: 6000 }

async function listening (t: Test, options: TestOptions = {}) {
  const gateway = await testApp(t, options)
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  await gateway.app.operations.listen({ host: '127.0.0.1', port: 0 })
  const portOf = ({ server }: { server: { address (): unknown } }) => (server.address() as AddressInfo).port
  const failures = async (failure: string) => (await gateway.app.metricsRegistry.getSingleMetric('passerelle_failures_total')!.get()).values.find(({ labels }) => labels['failure'] === failure)?.value ?? 0
  return { ...gateway, port: portOf(gateway.app), operationsPort: portOf(gateway.app.operations), failures }
}

/** A client that says this, then a letter every 50 ms until it is answered; what it was answered. */
function dribble (t: Test, port: number, head: string, letter = '') {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.write(head)
  // after what arrived is read: a write that fails would keep the answer from being read
  const dribbling = letter === '' ? undefined : setInterval(() => setImmediate(() => { if (socket.bytesRead === 0) socket.write(letter) }), 50)
  return new Promise<string>(resolve => {
    let text = ''
    socket.on('data', chunk => { text += String(chunk) }).on('error', () => {}).on('close', () => {
      clearInterval(dribbling)
      resolve(text)
    })
  })
}

/** So many who connect at once, at whichever door. */
async function crowded (t: Test, count: number, limit: { most?: number } = {}) {
  const { app } = await testApp(t)
  await app.letIn({ host: '127.0.0.1', port: 0, ...limit })
  const { port } = app.server.address() as AddressInfo
  const crowd = Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => {}))
  t.teardown(() => crowd.forEach(socket => socket.destroy()))
  return { app, port, crowd }
}

/** What comes within half a minute. */
const soon = async <T>(promise: Promise<T>) => Promise.race([promise, pause(30_000, 'nothing within half a minute' as const, { ref: false })])

t.test('whoever dribbles the head or the body of a request is told, and cut, and keeps nobody', { buffered: true }, async t => {
  const { app, port, log, failures } = await listening(t, { patience })
  const askAsOthersDo = async () => (await fetch(`http://127.0.0.1:${port}${base}/jwks`)).status
  await askAsOthersDo()                                                  // what is slow the first time is not the dribblers' doing
  const dribblers = [
    'GET / HTTP/1.1\r\nHost: a\r\nX-A: ',
    `POST ${base}/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 30000\r\n\r\n`,
    `POST ${base}/consent HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n`,
  ].flatMap((head, index) => Array.from({ length: 5 }, () => dribble(t, port, head, index === 2 ? '1\r\na\r\n' : 'a')))
  const others = Array.from({ length: 10 }, async (_, turn) => {
    await pause(300 * turn)
    return askAsOthersDo()
  })
  const heard = await soon(Promise.all(dribblers))
  if (typeof heard === 'string') return t.fail(heard)
  const answers = new Set(heard)
  t.equal(answers.size, 1, 'they are told the same')
  const [head = '', body, ...more] = [...answers][0]!.split('\r\n\r\n')
  t.match(head, /^HTTP\/1\.1 408 Request Timeout\r\n[^]*\r\nConnection: close$/)
  t.equal(body, '{"error":"invalid_request","error_description":"the request did not arrive in time: expected its head within 10 s and all of it within 15 s"}')
  t.strictSame(more, [], 'one answer')
  t.strictSame(new Set(await Promise.all(others)), new Set([200]), 'all others are served meanwhile')
  t.equal(await failures('request_too_slow'), 15, 'each is counted, once')
  while (app.underWay().requests > 0) await pause(5)
  t.equal(await failures('request_cut_off'), 10, 'those whose head had arrived')
  t.notMatch(log.join(''), /"stack"|"level":50/, 'no stack, no error of ours')
})

t.test('a connection that asks nothing is closed without a word, and is no failure', { buffered: true }, async t => {
  const { port, failures } = await listening(t, { patience })
  t.equal(await soon(dribble(t, port, '')), '')
  t.equal(await failures('request_too_slow'), 0)
})

t.test('what is no HTTP, or has too large a head, is told and cut', { buffered: true }, async t => {
  const { port, failures, log } = await listening(t)
  t.match(await soon(dribble(t, port, 'hello\r\n\r\n')), /^HTTP\/1\.1 400 Bad Request\r\n[^]*"error":"invalid_request"/)
  t.match(await soon(dribble(t, port, `GET / HTTP/1.1\r\nHost: a\r\nCookie: ${'a'.repeat(16 * 1024)}\r\n\r\n`)), /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n[^]*expected at most 16384 bytes/)
  t.match(await soon(dribble(t, port, `GET ${base}/jwks HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: ${'a'.repeat(15 * 1024)}\r\n\r\n`)), /^HTTP\/1\.1 200 /)
  t.strictSame([await failures('request_unreadable'), await failures('head_too_large')], [1, 1])
  t.notMatch(log.join(''), /hello|"stack"/)
})

t.test('whoever goes in the middle of a request leaves no stack in the log', { buffered: true }, async t => {
  const { port, log, app, failures } = await listening(t)
  const socket = connect(port, '127.0.0.1')
  socket.write(`POST ${base}/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 30000\r\n\r\na`)
  while (app.underWay().requests === 0) await pause(5)
  socket.destroy()
  while (app.underWay().requests > 0) await pause(5)
  t.equal(await failures('request_cut_off'), 1)
  t.notMatch(log.join(''), /"stack"|"level":50/)
})

t.test('of more connections than we hold the last are closed at once, and counted', { buffered: true }, async t => {
  const { app, port } = await listening(t)
  app.server.maxConnections = 2
  const held = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
  t.teardown(() => held.forEach(socket => socket.destroy()))
  while (app.underWay().connections < 2) await pause(5)
  t.equal(await soon(dribble(t, port, '')), '')
  const { body } = await app.operations.inject('/metrics')
  t.match(body, /^passerelle_connections_refused_total 1$/m)
  t.match(body, /^passerelle_connections_open 2$/m)
})

t.test('of many who connect at once several are let in at a turn of the event loop; each of them is answered, and waited for at the end', { buffered: true }, async t => {
  const { app, port, crowd } = await crowded(t, 64)
  await Promise.all(crowd.map(socket => once(socket, 'connect')))
  let turns = 0
  for (; app.underWay().connections < crowd.length; turns++) await new Promise(setImmediate)
  t.ok(process.platform !== 'linux' || turns < crowd.length / 2, `${turns} turns for ${crowd.length}`)
  const heard = crowd.map(() => '')
  crowd.forEach((socket, i) => socket.on('data', chunk => { heard[i] += String(chunk) }).write(`GET ${base}/jwks HTTP/1.1\r\nHost: passerelle.example\r\n\r\n`))
  while (heard.some(text => !text.includes('"keys"'))) await pause(5)
  const ends = crowd.map(socket => once(socket, 'close'))
  await app.close()
  await Promise.all(ends)
  while (app.underWay().connections > 0) await pause(5)
  await t.rejects(once(connect(port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' })
})

t.test('at the end whoever is being answered is waited for, by whichever door, and for longer than a plugin may take', { buffered: true }, async t => {
  const { app, crowd: sockets } = await crowded(t, 16)
  const body = 'grant_type=authorization_code&code=none'
  for (const socket of sockets) socket.write(`POST ${base}/token HTTP/1.1\r\nHost: passerelle.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 9)}`)
  while (app.underWay().requests < sockets.length) await pause(5)
  const heard = sockets.map(() => '')
  sockets.forEach((socket, i) => socket.on('data', chunk => { heard[i] += String(chunk) }))
  let isStoreClosed = false
  app.store.close = async () => { isStoreClosed = true }
  const closed = app.close()
  await pause(11_000)                                                    // avvio would give up after ten
  t.notOk(isStoreClosed)
  const ends = sockets.map(socket => once(socket, 'close'))
  for (const socket of sockets) socket.write(body.slice(9))
  await t.resolves(closed)
  await Promise.all(ends)
  t.ok(heard.every(text => /^HTTP\/1\.1 401 [^]*invalid_client/.test(text)), 'all of them are answered')
  t.ok(isStoreClosed)
})

t.test('of more connections than we hold, at all its doors together, the last are closed at once, and counted', { buffered: true }, async t => {
  const most = 64
  let refused = 0
  const { app, crowd } = await crowded(t, 4 * most, { most })
  for (const socket of crowd) socket.on('close', () => { refused++ })
  while (app.underWay().connections + refused < crowd.length) await pause(5)
  const held = app.underWay().connections
  t.ok(held > most / 2 && held <= most, `${held} are held`)
  const { body } = await app.operations.inject('/metrics')
  t.match(body, new RegExp(`^passerelle_connections_refused_total ${crowd.length - held}$`, 'm'), 'and counted')
})

t.test('at the operations port a scrape that hangs is cut, probes are answered meanwhile, and the end waits for nobody', { buffered: true }, async t => {
  const { app, operationsPort } = await listening(t)
  const scrapes = ['GET /metrics HTTP/1.1\r\nHost: a\r\nX-A: ', 'POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n'].map(head => dribble(t, operationsPort, head, 'a'))
  const unread = connect(operationsPort, '127.0.0.1').pause()
  unread.on('error', () => {}).write('GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(500))
  t.equal((await fetch(`http://127.0.0.1:${operationsPort}/livez`)).status, 200)
  t.match(await soon(Promise.all(scrapes)), [/^HTTP\/1\.1 408 /, /^HTTP\/1\.1 (404|408) /])
  t.equal((await fetch(`http://127.0.0.1:${operationsPort}/metrics`)).status, 200)
  t.equal(await soon(app.close().then(() => 'closed')), 'closed')
  unread.destroy()
})

t.test('whoever does not read the answer is cut', async t => {
  const { app, port } = await listening(t, { patience: { ...patience, connectionTimeout: 500 } })
  const socket = connect(port, '127.0.0.1').pause()
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  const asked = `GET ${base}/.well-known/openid-configuration HTTP/1.1\r\nHost: a\r\n\r\n`
  const count = { sent: 0, seen: 0 }
  app.server.on('request', () => { count.seen++ })
  /** A few at a time are answered, as long as the machine takes the answers. */
  const isTaken = async () => {
    socket.write(asked.repeat(16))
    count.sent += 16
    while (count.seen < count.sent) await pause(5)
    for (let waited = 0; waited < 200 && app.underWay().requests > 0; waited += 5) await pause(5)
    return app.underWay().requests === 0
  }
  while (await isTaken());
  t.ok(app.underWay().requests > 0)
  t.ok(await soon((async () => { while (app.underWay().connections > 0) await pause(20); return true })()))
})

t.test('whoever asks on and on without waiting for an answer is cut, a few at a time are answered', async t => {
  const { app, port } = await listening(t)
  const asked = `GET ${base}/jwks HTTP/1.1\r\nHost: a\r\n\r\n`
  const few = await soon(dribble(t, port, asked.repeat(15) + asked.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')))
  t.equal(few.split('HTTP/1.1 200 OK').length, 17, 'sixteen answers')
  const begun = once(app.server, 'request')
  const unread = connect(port, '127.0.0.1').pause()
  t.teardown(() => unread.destroy())
  unread.on('error', () => {}).write(asked.repeat(20_000))
  await begun
  const atOnce = pause(5000, 'some are held', { ref: false })
  t.equal(await Promise.race([atOnce, (async () => { while (app.underWay().connections > 0 || app.underWay().requests > 0) await pause(20); return 'nothing is held' })()]), 'nothing is held')
  t.match((await app.operations.inject('/metrics')).body, /^passerelle_connections_refused_total 1$/m)
})

t.test('each limit of time is set on both servers, and a balancer lets go of an idle connection before we do', async t => {
  const { app } = await testApp(t)
  const { operations } = app
  for (const server of [app.server, operations.server]) {
    t.ok(server.headersTimeout > 0 && server.headersTimeout <= server.requestTimeout, 'the head before the whole')
    t.ok(server.requestTimeout <= 15_000)
    t.ok(server.keepAliveTimeout > 60_000)
    t.ok(server.timeout > server.keepAliveTimeout)
  }
})
