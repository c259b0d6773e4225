import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer, connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import { parse, stringify } from 'yaml'
import { clientDesk } from './support/client-desk.ts'
import { answers, configured, run, server } from './support/process.ts'
import { until } from './support/redis.ts'
import { createBrowser, logIn } from './world/browser.ts'
import { freePort } from './world/free-port.ts'

type Place = Awaited<ReturnType<typeof configured>>

/** A process at this place that serves. */
async function serving (t: Test, place: Place, drain: { wait_seconds: number, finish_seconds?: number }, options: { env?: Record<string, string>, stdout?: number } = {}) {
  change(place, 'passerelle.yaml', { drain })
  const started = run(t, server, { ...options, env: { ...options.env, PASSERELLE_CONFIG: place.directory } })
  t.ok(await answers(`${place.operations}/readyz`, 200), started.text())
  return started
}

function change ({ directory }: Place, name: string, values: object) {
  const file = join(directory, name)
  writeFileSync(file, stringify({ ...parse(readFileSync(file, 'utf8')) as object, ...values }))
}

const jwks = ({ public: gateway }: Place) => fetch(`${gateway}/jwks`).then(({ status }) => status, () => 0)
const sample = async ({ operations }: Place, name: string) => Number(new RegExp(`^${name} (.*)$`, 'm').exec(await (await fetch(`${operations}/metrics`)).text())?.[1])

/** A connection, and what was heard over it. */
function open (t: Test, { port }: Place) {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const heard = { text: '', ended: false, error: '' }
  socket.on('data', chunk => { heard.text += String(chunk) })
  socket.on('error', (error: NodeJS.ErrnoException) => { heard.error = error.code! })
  socket.on('end', () => { heard.ended = true }).on('close', () => { heard.ended = true })
  return { socket, heard }
}

const get = 'GET /jwks HTTP/1.1\r\nHost: passerelle\r\n\r\n'
const body = 'grant_type=authorization_code&code=none'
const post = `POST /token HTTP/1.1\r\nHost: passerelle\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n`

/** A request that has begun and does not go on. */
async function begin (t: Test, place: Place) {
  const { socket, heard } = open(t, place)
  socket.write(post + body.slice(0, 10))
  await until('its head has arrived', 5000, async () => await sample(place, 'passerelle_requests_under_way') === 1)
  return { heard, goOn: () => socket.write(body.slice(10)) }
}

/** Requests at a fixed rate over kept connections, until a probe has failed twice: a balancer, and what came of what it passed on. */
function startBalancer ({ public: gateway, operations }: Place) {
  const agent = new Agent({ connections: 32, keepAliveTimeout: 60_000 })
  const outcomes: Array<{ at: number, outcome: string, isLast: boolean }> = []
  const pending = new Set<Promise<unknown>>()
  const ask = async () => {
    try {
      const { statusCode, headers, body } = await request(`${gateway}/jwks`, { dispatcher: agent })
      await body.text()
      outcomes.push({ at: performance.now(), outcome: String(statusCode), isLast: headers['connection'] === 'close' })
    } catch (error) { outcomes.push({ at: performance.now(), outcome: (error as NodeJS.ErrnoException).code ?? 'failed', isLast: true }) }
  }
  const asking = setInterval(() => {
    const asked = ask().finally(() => pending.delete(asked))
    pending.add(asked)
  }, 5)
  const noticed = (async () => {
    for (let failed = 0; failed < 2; await pause(200)) failed = (await fetch(`${operations}/readyz`)).status === 200 ? 0 : failed + 1
    clearInterval(asking)
    await Promise.all(pending)
  })()
  return { outcomes, noticed, agent }
}

t.test('a process', async t => {
  const place = await configured(t)

  t.test('told to end by SIGTERM, twice, under load: not ready at once, serves on, and resets no connection', async t => {
    const { child, ended, lines, text } = await serving(t, place, { wait_seconds: 2, finish_seconds: 20 })
    const { outcomes, noticed, agent } = startBalancer(place)
    t.teardown(() => agent.destroy())
    const used = open(t, place)                                          // a balancer's, idle when we are told
    used.socket.write(get)
    await until('it was answered', 5000, () => used.heard.text.includes('"keys"'))
    t.notMatch(used.heard.text, /connection: close/i)
    const begun = await begin(t, place)
    await pause(300)

    child.kill('SIGTERM')
    const toldAt = performance.now()
    t.ok(await answers(`${place.operations}/readyz`, 503))
    t.equal(await sample(place, 'passerelle_draining'), 1)
    t.equal(await jwks(place), 200, 'who has not noticed is served')
    child.kill('SIGTERM')
    const silent: Array<ReturnType<typeof open>> = []
    await until('it closes', 10_000, () => {
      if (lines('closing').length > 0) return true
      silent.push(open(t, place))
      return false
    })
    t.notOk(used.heard.ended && used.heard.error, 'the idle connection was kept until now')
    await until('nobody new is let in', 10_000, async () => await jwks(place) === 0)
    const { socket, heard } = silent.findLast(({ heard }) => heard.error === '')!
    socket.write(get)
    begun.goOn()
    t.equal(await ended, 0, text())
    await noticed

    t.strictSame([...new Set(outcomes.map(({ outcome }) => outcome))], ['200'], `${outcomes.length} requests, none failed`)
    const since = outcomes.filter(({ at }) => at > toldAt + 100)
    t.ok(since.length > 10 && since.every(({ isLast }) => isLast), 'each answer since asks for another connection')
    t.match(begun.heard, { text: /^HTTP\/1\.1 401 [^]*connection: close\r\n[^]*invalid_client/i, error: '' }, 'a request that had begun is answered')
    t.match(heard, { text: /^HTTP\/1\.1 200 [^]*connection: close/i, error: '' }, 'and one over a connection that was let in')
    t.ok(used.heard.ended)
    t.equal(used.heard.error, '', 'the idle connection was closed, not reset')
    t.match(lines('closing'), [{ requests: 1, logouts: 0 }])
    t.match(lines('draining'), [{ reason: 'SIGTERM', waitSeconds: 2 }])
    t.match(lines('draining already'), [{ reason: 'SIGTERM' }])
  })

  t.test('that does not finish in time says what is left undone, and exits with 1', async t => {
    const { child, ended, lines } = await serving(t, place, { wait_seconds: 0, finish_seconds: 1 })
    await begin(t, place)
    child.kill('SIGTERM')
    t.equal(await ended, 1)
    t.match(lines('not finished in time'), [{ level: 50, requests: 1, logouts: 0 }])
  })

  t.test('told to end while a service is slow to hear of a logout waits for its answer', async t => {
    const held: ServerResponse[] = []
    let isSlow = true
    const { child, ended, lines, text, untold } = await telling(t, place, 20, response => { if (isSlow) held.push(response); else response.end() })
    child.kill('SIGTERM')
    await until('it closes', 10_000, () => lines('closing').length > 0)
    await pause(300)
    t.equal(child.exitCode, null)
    isSlow = false
    for (const response of held) response.end()
    t.equal(await ended, 0, text())
    t.match(lines('closing'), [{ logouts: 1 }])
    t.same(untold(), [])
  })

  t.test('told to end while a service is to hear of a logout once more tells it once more', async t => {
    let status = 500
    const { desk, child, ended, lines, text, untold } = await telling(t, place, 20, response => { response.writeHead(status).end() })
    child.kill('SIGTERM')
    await until('it closes', 10_000, () => lines('closing').length > 0)
    const tries = desk.at('/town').length
    status = 200
    t.equal(await ended, 0, text())
    t.match(lines('closing'), [{ logouts: 1 }])
    t.equal(desk.at('/town').length, tries + 1)
    t.same(untold(), [])
  })

  t.test('told to end while a service never answers ends in time all the same, says how many were not told, and exits with 1', async t => {
    const { child, ended, lines, text, untold } = await telling(t, place, 2, () => {})
    child.kill('SIGTERM')
    child.kill('SIGTERM')
    t.equal(await ended, 1, text())
    t.match(lines('not finished in time'), [{ level: 50, requests: 0, logouts: 1 }])
    t.equal(untold().length, 1, 'in one line')
  })

  t.test('interrupted at a terminal waits for no balancer, but for requests; asked again, for nobody', async t => {
    const { child, ended, lines } = await serving(t, place, { wait_seconds: 600, finish_seconds: 600 })
    child.kill('SIGHUP')
    await pause(100)
    t.equal(await jwks(place), 200, 'a terminal that closes ends nothing')
    const begun = await begin(t, place)
    child.kill('SIGINT')
    child.kill('SIGINT')                                                 // as npm does
    await until('nobody new is let in', 10_000, async () => await jwks(place) === 0)
    t.equal(child.exitCode, null, 'a request is under way')
    await pause(600)
    t.equal(child.exitCode, null)
    child.kill('SIGINT')
    t.equal(await ended, 130)
    t.equal(begun.heard.text, '')
    t.match(lines('draining'), [{ reason: 'SIGINT' }])
  })

  t.test('that meets an error which nobody caught, then another, says where, not what they hold, drains once, and exits with 1', async t => {
    const faulty = join(place.directory, 'faulty.mjs')
    writeFileSync(faulty, `
      process.once('SIGUSR2', () => {
        process.once('SIGUSR2', () => { Promise.reject('marion') })
        throw Object.assign(new Error('marion'), { birthdate: '1962-08-24' })
      })`)
    const { child, ended, lines, text } = await serving(t, place, { wait_seconds: 600 }, { env: { NODE_OPTIONS: `--import=${pathToFileURL(faulty)}` } })
    child.kill('SIGUSR2')
    t.ok(await answers(`${place.operations}/readyz`, 503))
    t.equal(await jwks(place), 200, 'it serves on meanwhile')
    child.kill('SIGUSR2')
    await until('it tells of the second', 10_000, () => lines('uncaught').length === 2)
    child.kill('SIGINT')
    t.equal(await ended, 1, 'SIGINT ends the wait')
    t.match(lines('uncaught'), [{ level: 60, err: { type: 'Error', stack: /^ {4}at .*faulty\.mjs:4:/ } }, { level: 60, err: { type: 'UnhandledPromiseRejection' } }])
    t.notMatch(text(), /marion|1962/)
    t.equal(lines('draining').length, 1)
  })

  t.test('told to end while it waits for the store at its start lets nobody in', async t => {
    const { child, ended, text, lines } = run(t, server, { env: { PASSERELLE_CONFIG: place.directory, PASSERELLE_REDIS: `redis://127.0.0.1:${await freePort()}` } })
    t.ok(await answers(`${place.operations}/readyz`, 503), text())
    await pause(1400)                                                    // of two seconds, and what it holds at the store is let go of for one
    child.kill('SIGTERM')
    t.equal(await ended, 0)
    t.equal(lines('closing').length, 1)
    t.same(lines('serving'), [], text())
  })

  t.test('that cannot listen says where, and exits with 1', async t => {
    const other = createServer()
    t.teardown(() => other.close())
    await once(other.listen(place.port, '127.0.0.1'), 'listening')
    const { ended, text } = run(t, server, { env: { PASSERELLE_CONFIG: place.directory } })
    t.equal(await ended, 1)
    t.match(text(), `127.0.0.1:${place.port} is taken: /listen and /operations in passerelle.yaml say where we listen`)
    t.notMatch(text(), /"stack"/)
  })

  t.test('that is started a second time by mistake leaves the first one its address', async t => {
    const { child, ended } = await serving(t, place, { wait_seconds: 0 })
    const second = run(t, server, { env: { PASSERELLE_CONFIG: place.directory } })
    t.equal(await second.ended, 1)
    t.match(second.text(), / is taken: /)
    t.equal(await jwks(place), 200)
    child.kill('SIGTERM')
    t.equal(await ended, 0)
  })

  t.test('whose log has lost its reader serves on and counts each line', async t => {
    const { child, ended } = await serving(t, place, { wait_seconds: 0 })
    child.stdout!.destroy()
    t.ok(await logsIn(t, place))
    const lost = await sample(place, 'passerelle_log_lines_lost_total')
    t.ok(lost > 5, `${lost} lines`)
    t.equal(await jwks(place), 200)
    await until('one more is counted', 5000, async () => await sample(place, 'passerelle_log_lines_lost_total') === lost + 1)
    child.kill('SIGTERM')
    t.equal(await ended, 0)
  })

  for (const [what, file] of Object.entries({ 'is a pipe that nobody reads': 'pipe', 'is on a full disk': '/dev/full' })) {
    t.test(`whose log ${what} serves on, and ends when it is told to, saying how much was lost`, async t => {
      if (file === 'pipe') spawnSync('mkfifo', [join(place.directory, file)])
      const stdout = openSync(join(file === 'pipe' ? place.directory : '', file), file === 'pipe' ? constants.O_RDWR : constants.O_WRONLY)
      t.teardown(() => closeSync(stdout))
      const { child, ended, text } = await serving(t, place, { wait_seconds: 0 }, { stdout })
      const agent = new Agent({ connections: 8 })
      t.teardown(() => agent.destroy())
      // 80 kB of log
      if (file === 'pipe') await Promise.all(Array.from({ length: 400 }, async () => (await request(`${place.public}/jwks`, { dispatcher: agent })).body.dump()))
      t.ok(await logsIn(t, place))
      t.equal(await sample(place, 'passerelle_log_lines_lost_total'), 0, 'they are held')
      child.kill('SIGTERM')
      t.equal(await ended, 0)
      t.match(text(), /^\d+ lines of the log could not be written\n$/)
    })
  }
})

async function logsIn (t: Test, place: Place) {
  const { page } = await atTown(t, place)
  return page.has('greeting')
}

/** A citizen who has logged in there. */
async function atTown (t: Test, { world }: Place) {
  const browser = createBrowser()
  t.teardown(() => browser.close())
  return { browser, page: await logIn(browser, { world, service: 'town', provider: 'vitalys', citizen: 'marion' }) }
}

/** A process that has begun to tell a service of a logout, which answers so at each try, and its lines that say who was not told. */
async function telling (t: Test, place: Place, finish_seconds: number, answer: (response: ServerResponse) => unknown) {
  const desk = await clientDesk(t)
  desk.answers['/town'] = answer
  change(place, 'clients/town.yaml', { backchannel_logout_uri: `${desk.origin}/town` })
  const started = await serving(t, place, { wait_seconds: 0, finish_seconds })
  const { browser } = await atTown(t, place)
  await browser.click('log-out')
  await desk.reached('/town', 1)
  const untold = () => [...started.lines('back-channel logout').filter(({ outcome }) => outcome !== undefined), ...started.lines('not finished in time')]
  return { desk, ...started, untold }
}
