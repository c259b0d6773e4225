import { spawn } from 'node:child_process'
import { connect, createServer, type AddressInfo, type LookupFunction, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { localhostLookup } from '../src/adapters/localhost-lookup.ts'
import { buildApp } from '../src/app.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { makeNextKeys } from '../src/keys.ts'
import { messages } from '../src/pages/messages.ts'
import { startGateway, temporaryDirectory } from './support/gateway.ts'
import { findWords, wordsOf } from './support/personal-data.ts'
import { startRedis, until } from './support/redis.ts'
import { createBrowser, logIn, type Page } from './world/browser.ts'
import { citizens, claimsAt } from './world/citizens.ts'
import type { Overrides } from './world/configuration.ts'
import type { IdentityProvider } from './world/provider.ts'
import { startWorld, type World } from './world/world.ts'
import { freePort } from './world/free-port.ts'

// Identity providers that are away, for all replicas or for one, and what becomes of citizens and of the gateway meanwhile.

/** A world whose gateway is yet to start, and its configuration. */
async function prepare (t: Test, overridesFor: (world: World) => Overrides = () => ({})) {
  const [port, operationsPort] = [await freePort(), await freePort()]
  const issuer = `http://passerelle.localhost:${port}`
  const world = await startWorld({ issuer })
  t.teardown(() => world.stop())
  const directory = temporaryDirectory(t)
  const { settings, ...others } = overridesFor(world)
  await world.writeConfiguration(directory, { settings: { operations: { port: operationsPort }, ...settings }, ...others })
  makeNextKeys(join(directory, 'keys'))
  return { world, directory, issuer, port, gateway: `http://127.0.0.1:${port}`, operations: `http://127.0.0.1:${operationsPort}` }
}

interface Replica { app: FastifyInstance, port: number, log: string[], metric (name: string, labels: Record<string, string>): Promise<number> }

/** One replica in this process, with a Redis that others share. */
async function startReplica (t: Test, directory: string, { redis, lookup }: { redis: string[], lookup?: LookupFunction }): Promise<Replica> {
  const log: string[] = []
  const app = await buildApp(loadConfiguration(directory), { redis, ...(lookup && { lookup }), log: { write: (line: string) => { log.push(line) } } })
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  return {
    app,
    port: (app.server.address() as AddressInfo).port,
    log,
    metric: async (name, labels) => sampleOf((await app.operations.inject('/metrics')).body, name, labels)
  }
}

/** The sum of the samples of a metric that have these labels. */
const sampleOf = (text: string, name: string, labels: Record<string, string>) => [...text.matchAll(/^passerelle_(\w+)\{(.*)\} (\S+)$/gm)]
  .filter(([, found, said]) => found === name && Object.entries(labels).every(([label, value]) => said!.includes(`${label}="${value}"`)))
  .reduce((sum, [, , , value]) => sum + Number(value), 0)

/** What stands before the replicas: whoever comes anew is at the one that was chosen last. */
async function startSwitch (t: Test, port: number) {
  const sockets = new Set<Socket>()
  let to = 0
  const server = createServer(near => {
    const far = connect(to, '127.0.0.1')
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {}).on('close', () => { sockets.delete(socket); near.destroy(); far.destroy() })
    }
    near.pipe(far).pipe(near)
  })
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => { for (const socket of sockets) socket.destroy(); server.close() })
  return ({ port }: Replica) => {
    to = port
    for (const socket of sockets) socket.destroy()
  }
}

function newBrowser (t: Test, stopAt?: string) {
  const browser = createBrowser(stopAt === undefined ? {} : { stopAt })
  t.teardown(() => browser.close())
  return browser
}

const chooserOf = (t: Test, world: World) => newBrowser(t).get(`${world.services['town']!.url}/login`)

async function logsIn (t: Test, world: World, provider: string, citizen = 'marion') {
  const browser = newBrowser(t)
  const page = await logIn(browser, { world, service: 'town', provider, citizen })
  t.ok(page.has('greeting'), `a login by ${provider}`)
  return browser
}

/** A citizen who has signed in, and the address that he or she is about to come back by. */
async function aboutToComeBack (t: Test, world: World, provider: string) {
  const stopping = newBrowser(t, `${world.issuer}/callback/`)
  await stopping.get(`${world.services['taxes']!.url}/login`)
  await stopping.click(`idp-${provider}`)
  const { location } = await stopping.click('sign-in', { username: 'marion', password: 'tournesol' })
  const browser = newBrowser(t)
  browser.jar.cookies = stopping.jar.cookies
  return { comeBack: () => browser.get(location!), browser }
}

const text = messages.fr.chooser
const plain = (words: string) => words.replace(/\s/g, ' ')
const says = (page: Page, idp: string, words: string) => page.text(`idp-${idp}`).includes(plain(words))
const isDown = (page: Page, idp: string) => says(page, idp, text.down)

t.test('a gateway that starts while every provider is away', async t => {
  const breaker = { reset_ms: 200, probe_ms: 200 }
  const { world, directory, issuer, gateway, operations } = await prepare(t, ({ providers }) => ({ identityProviders: Object.fromEntries(Object.keys(providers).map(id => [id, { breaker }])) }))
  const providers = Object.values(world.providers)
  await Promise.all(providers.map(provider => provider.stop()))

  const child = spawn(process.execPath, [fileURLToPath(new URL('../src/server.ts', import.meta.url))], { env: { ...process.env, PASSERELLE_CONFIG: directory }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const printed: string[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => printed.push(String(chunk)))
  const get = (address: string) => fetch(address).then(async answer => ({ status: answer.status, text: await answer.text() }), () => ({ status: 0, text: '' }))
  const metric = async (name: string, labels: Record<string, string>) => sampleOf((await get(`${operations}/metrics`)).text, name, labels)
  const inState = async (state: string) => metric('provider_breaker_state', { state })

  t.test('is ready, and publishes what clients need', async t => {
    await until('it is ready', 10_000, async () => (await get(`${operations}/readyz`)).status === 200)
    t.equal((await get(`${operations}/livez`)).status, 200)
    t.match(await get(`${gateway}/.well-known/openid-configuration`), { status: 200, text: `"issuer":"${issuer}"` })
    for (const path of ['/jwks', '/provider-keys']) t.match(await get(gateway + path), { status: 200, text: '"kty":' }, path)
  })

  t.test('knows it before any citizen is sent there, and the chooser explains', async t => {
    await until('every breaker is open', 10_000, async () => await inState('open') + await inState('half_open') === providers.length)
    const page = await chooserOf(t, world)
    t.equal(page.status, 200)
    for (const { id } of providers) t.ok(isDown(page, id), id)
    t.equal(page.text('none'), plain(`${text.noneAnswers} ${text.again}`))
    t.ok(page.has('again') && page.has('return'), 'two ways on')
  })

  t.test('stays, and goes on asking', async t => {
    const asked = await metric('provider_calls_total', { outcome: 'provider_unavailable' })
    await until('every provider was asked again', 10_000, async () => await metric('provider_calls_total', { outcome: 'provider_unavailable' }) >= asked + 2 * providers.length)
    t.equal(child.exitCode, null, 'the process that was started')
    t.equal((await get(`${operations}/readyz`)).status, 200)
    t.equal(await metric('provider_callbacks_total', {}), 0, 'no citizen was sent to find out')
  })

  t.test('lets the same citizens in once their providers are back, by a probe and one click', async t => {
    const browser = newBrowser(t)
    const before = await browser.get(`${world.services['taxes']!.url}/login`)
    t.ok(before.has('again'))
    t.match((await browser.click('idp-vitalys')).body, /data-code="provider_unavailable"/, 'clicked in vain, told again')
    t.notOk(browser.page!.has('retry'), 'with nothing offered that does not work')

    await Promise.all(providers.map(provider => provider.start()))
    await until('every breaker is closed', 20_000, async () => await inState('closed') === providers.length)
    const after = await browser.click('again')
    t.notOk(after.has('none'))
    t.notOk(isDown(after, 'vitalys'))
    await browser.click('idp-vitalys')
    await browser.click('sign-in', { username: 'marion', password: 'tournesol' })
    t.ok((await browser.click('continue')).has('greeting'), 'the request from before')
    for (const { id } of providers) await logsIn(t, world, id)
  })

  t.test('has said nothing of anybody, and not that it failed', async t => {
    const log = printed.join('')
    const lines = log.split('\n').filter(line => line.startsWith('{')).map(line => JSON.parse(line) as Record<string, unknown>)
    for (const { id } of providers) {
      const breaker = lines.filter(({ idp, msg }) => idp === id && msg === 'circuit breaker').map(({ state, level }) => `${state} ${level}`)
      t.strictSame(breaker, ['open 40', 'closed 30'], `${id}: that its breaker has opened, and closed, however often it was tried meanwhile`)
      const what = world.providers[id]!.row.discovery ? 'metadata' : 'jwks'
      t.strictSame(lines.filter(({ idp, msg }) => idp === id && msg === `${what} not renewed`).map(({ failure }) => failure), ['provider_unavailable'], `${id}: why its ${what} could not be had, once`)
    }
    t.notMatch(log, /unhandled|"level":60|at file:.*\n\s+at /i)
    t.same(findWords(log, citizens.flatMap(citizen => providers.flatMap(({ id }) => wordsOf(claimsAt(id, citizen))))), [])
    child.kill('SIGTERM')
    await until('it ends when told', 10_000, () => child.exitCode !== null)
    t.equal(child.exitCode, 0)
  })
})

/** Answers 503 where a provider says what it is and by which keys it signs; all else works. */
function hidesWhatItPublishes ({ url }: { url?: string }, response: { writeHead (status: number): { end (): unknown } }) {
  if (!/\/\.well-known\/|\/jwks$|\/cles$/.test(url!)) return false
  response.writeHead(503).end()
  return true
}

t.test('a replica that starts while providers do not publish what they are', async t => {
  const redis = await startRedis(t)
  const breaker = { probe_ms: 0, reset_ms: 300 }
  const { world, directory, port } = await prepare(t, ({ providers }) => ({
    identityProviders: {
      ...Object.fromEntries(Object.keys(providers).map(id => [id, { breaker }])),
      tresorine: { breaker, status_url: `${providers['tresorine']!.issuer}/status` }
    }
  }))
  const { tresorine, ...providers } = world.providers as Record<string, IdentityProvider> & { tresorine: IdentityProvider }
  const chooseReplica = await startSwitch(t, port)
  const pinned = async () => (await redis.allValues()).filter(({ key }) => key.startsWith('knowledge:'))

  t.test('finds it in Redis, where the replica before it left it', async t => {
    const first = await startReplica(t, directory, { redis: redis.urls })
    chooseReplica(first)
    await until('metadata of three and keys of five are shared', 10_000, async () => (await pinned()).length === 8)
    await logsIn(t, world, 'vitalys')
    await first.app.close()

    for (const provider of Object.values(providers)) provider.intercept = hidesWhatItPublishes
    tresorine.intercept = (request, response) => {
      if (request.url!.endsWith('/status')) return response.end() !== undefined
      if (!/\/\.well-known\/|\/jwks$/.test(request.url!)) return false
      request.socket.destroy()
      return true
    }
    const second = await startReplica(t, directory, { redis: redis.urls })
    chooseReplica(second)
    for (const idp of ['vitalys', 'plume-et-pli']) await until('it has asked in vain', 10_000, () => second.app.identityProvider(idp).standing() === 'slow')
    const asked = await chooserOf(t, world)
    for (const idp of ['vitalys', 'plume-et-pli']) t.ok(says(asked, idp, text.slow), `${idp}: shown as not reliable`)
    t.notOk(says(asked, 'tresorine', text.slow), 'but not the one whose status page says that all is well')
    for (const idp of Object.keys(world.providers)) {
      await logsIn(t, world, idp)
      t.equal(await second.metric('provider_calls_total', { idp, leg: 'discovery', outcome: 'answered' }) + await second.metric('provider_calls_total', { idp, leg: 'jwks', outcome: 'answered' }), 0, `${idp}: from what was left there alone`)
      t.equal(await second.metric('provider_callbacks_total', { idp, outcome: 'success' }), 1, idp)
      t.equal(await second.metric('provider_breaker_state', { idp, state: 'closed' }), 1, `${idp}: its breaker stays closed`)
    }
    const proved = await chooserOf(t, world)
    for (const idp of ['vitalys', 'plume-et-pli']) t.notOk(says(proved, idp, text.slow), `${idp}: until a citizen has come back well`)
    await second.app.close()
  })

  t.test('and does without where nothing was left: the others are not kept waiting by it', async t => {
    await redis.command(0, 'FLUSHALL')
    providers['plume-et-pli']!.intercept = undefined
    const third = await startReplica(t, directory, { redis: redis.urls })
    chooseReplica(third)
    await logsIn(t, world, 'plume-et-pli')
    const browser = newBrowser(t)
    await browser.get(`${world.services['taxes']!.url}/login`)
    const told = await browser.click('idp-vitalys')
    t.match(told.body, /data-code="provider_unavailable"/)
    t.ok(told.links.includes('idp-plume-et-pli'))
    await until('one of which nothing is known is shown as what it is', 10_000, async () => isDown(await chooserOf(t, world), 'vitalys'))

    for (const provider of Object.values(world.providers)) provider.intercept = undefined
    await until('a citizen gets there again', 10_000, async () => {
      await browser.get(told.url)
      return (await browser.click('idp-vitalys')).has('sign-in')
    })
    await browser.click('sign-in', { username: 'marion', password: 'tournesol' })
    t.ok((await browser.click('continue')).has('greeting'))
    await until('what was asked is shared again, of both', 10_000, async () => (await pinned()).length === 4)
  })

  t.test('what is left in Redis is sealed, lives a day, and says nothing of anybody', async t => {
    const all = await redis.allValues()
    const knowledge = await pinned()
    t.ok(knowledge.every(({ seconds }) => seconds > 0 && seconds <= 86400), 'a day')
    const published = ['authorization_endpoint', 'jwks_uri', ...Object.values(world.providers).flatMap(({ id, issuer }) => [id, issuer])]
    t.same(findWords(JSON.stringify(knowledge), published), [], 'not even which provider it is of')
    t.ok(all.length > knowledge.length, 'records of citizens are there as well')
    const words = citizens.flatMap(citizen => Object.keys(world.providers).flatMap(idp => wordsOf(claimsAt(idp, citizen))))
    t.same(findWords(JSON.stringify([...all, 'Lefèvre du Pré']), words).length > 0, true, 'what is planted is found')
    t.same(findWords(JSON.stringify(all), words), [])
  })
})

t.test('one question that is lost shuts nobody off: it is asked once more; and one that is disabled is never asked', async t => {
  const { app, world } = await startGateway(t, { overrides: { identityProviders: { vitalys: { breaker: { probe_ms: 100 } }, tresorine: { state: 'disabled', breaker: { probe_ms: 100 } } } } })
  const metric = async (name: string, labels: Record<string, string>) => sampleOf((await app.operations.inject('/metrics')).body, name, labels)
  const asked = (outcome: string) => metric('provider_calls_total', { idp: 'vitalys', leg: 'discovery', outcome })
  await until('it was asked at the start', 10_000, async () => await asked('answered') > 0)
  const before = await asked('answered')
  world.providers['vitalys']!.intercept = request => {
    if (!request.url!.includes('/.well-known/')) return false
    world.providers['vitalys']!.intercept = undefined
    request.socket.destroy()
    return true
  }
  await until('a question was lost', 15_000, async () => await asked('provider_unavailable') > 0)
  await until('another one was answered', 15_000, async () => await asked('answered') > before)
  t.equal(await metric('provider_breaker_transitions_total', { idp: 'vitalys', state: 'open' }), 0)
  t.not(app.identityProvider('vitalys').standing(), 'down')
  await logsIn(t, world, 'vitalys')
  t.equal(await metric('provider_calls_total', { idp: 'tresorine' }), 0)
})

t.test('two replicas on one Redis', async t => {
  const redis = await startRedis(t)
  const breaker = { probe_ms: 0, reset_ms: 300 }                        // by itself neither would find out
  const { world, directory, port } = await prepare(t, ({ providers }) => ({ identityProviders: Object.fromEntries(Object.keys(providers).map(id => [id, { breaker }])) }))
  const chooseReplica = await startSwitch(t, port)
  let unreachable = ''
  const sickLookup: LookupFunction = (hostname, options, callback) => hostname.startsWith(`${unreachable}.`)
    ? callback(Object.assign(new Error('no such host'), { code: 'ENOTFOUND' }), '', 0)
    : localhostLookup(hostname, options, callback)
  const one = await startReplica(t, directory, { redis: redis.urls, lookup: sickLookup })
  const other = await startReplica(t, directory, { redis: redis.urls })
  const opened = ({ metric }: Replica, idp: string) => metric('provider_breaker_transitions_total', { idp, state: 'open' })
  const hints = ({ metric }: Replica, idp: string, way: string) => metric('provider_hints_total', { idp, way })
  await until('both listen', 10_000, async () => {
    const [channel = ''] = await redis.command(0, 'PUBSUB', 'CHANNELS', 'passerelle:provider-hints:*') as string[]
    return (await redis.command(0, 'PUBSUB', 'NUMSUB', channel) as [string, number])[1] === 2
  })
  await pause(5100)                                                     // a replica asks a provider every five seconds at most, and has just done so

  t.test('one finds out that a provider is down; the other asks for itself and finds the same', async t => {
    const vitalys = world.providers['vitalys']!
    chooseReplica(one)
    const { comeBack } = await aboutToComeBack(t, world, 'vitalys')
    await vitalys.stop()
    t.match((await comeBack()).body, /data-code="provider_unavailable"/)
    await until('the other one knows', 10_000, async () => await opened(other, 'vitalys') > 0)
    t.ok(await opened(one, 'vitalys') > 0)
    t.strictSame([await hints(one, 'vitalys', 'given'), await hints(other, 'vitalys', 'taken')], [1, 1])
    t.equal(await other.metric('provider_callbacks_total', { idp: 'vitalys' }), 0, 'without a citizen of its own')
    t.ok(await other.metric('provider_calls_total', { idp: 'vitalys', leg: 'discovery', outcome: 'provider_unavailable' }) > 0, 'by a question of its own')
    chooseReplica(other)
    t.ok(isDown(await chooserOf(t, world), 'vitalys'))
    await logsIn(t, world, 'tresorine')

    await vitalys.start()
    await until('both trust it again', 10_000, async () => await one.metric('provider_breaker_state', { idp: 'vitalys', state: 'closed' }) + await other.metric('provider_breaker_state', { idp: 'vitalys', state: 'closed' }) === 2)
    for (const replica of [one, other]) {
      chooseReplica(replica)
      await logsIn(t, world, 'vitalys')
    }
  })

  t.test('one that is sick itself shuts the provider for its own citizens only', async t => {
    const tresorine = world.providers['tresorine']!
    chooseReplica(one)
    const { comeBack, browser } = await aboutToComeBack(t, world, 'tresorine')
    unreachable = 'tresorine'
    tresorine.server.closeAllConnections()
    const told = await comeBack()
    t.match(told.body, /data-code="provider_unavailable"/)
    await until('the sick one has opened', 10_000, async () => await opened(one, 'tresorine') > 0)
    const asked = () => other.metric('provider_calls_total', { idp: 'tresorine', leg: 'discovery', outcome: 'answered' })
    await until('the other one has heard of it and asked', 10_000, async () => await hints(other, 'tresorine', 'taken') === 1 && await asked() >= 2)
    t.ok(isDown(await chooserOf(t, world), 'tresorine'), 'at the sick one')

    chooseReplica(other)
    t.notOk(isDown(await chooserOf(t, world), 'tresorine'), 'at the other one')
    await logsIn(t, world, 'tresorine')
    t.equal(await opened(other, 'tresorine'), 0)
    t.equal(await other.metric('provider_breaker_state', { idp: 'tresorine', state: 'closed' }), 1)
    await browser.get(told.url)
    await browser.click('retry')
    t.ok((await browser.click('continue')).has('greeting'), 'and whoever the sick one sent back gets on there')

    unreachable = ''
    await until('the sick one is well', 10_000, async () => await one.metric('provider_breaker_state', { idp: 'tresorine', state: 'closed' }) === 1)
    chooseReplica(one)
    await logsIn(t, world, 'tresorine')
  })

  t.test('neither has said anything of anybody', async t => {
    const words = citizens.flatMap(citizen => Object.keys(world.providers).flatMap(idp => wordsOf(claimsAt(idp, citizen))))
    t.same(findWords([...one.log, ...other.log].join(''), words), [])
    t.match(one.log.join(''), /"state":"open".*"circuit breaker"/, 'though it says what happened')
  })
})
