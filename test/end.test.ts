import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { openStores } from '../src/adapters/open-stores.ts'
import { redisStore } from '../src/adapters/redis-store.ts'
import { sitedStore } from '../src/adapters/sited-store.ts'
import { buildApp } from '../src/app.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { makeNextKeys } from '../src/keys.ts'
import { replicaClockTolerance } from '../src/protocol/clock.ts'
import { keyring, sealerOf } from './support/degradable.ts'
import { startGateway, temporaryDirectory } from './support/gateway.ts'
import { startCluster, startLossyWay, startRedis, until } from './support/redis.ts'
import { browserOf, requestOf, testApp, type Arrival, type Browser, type TestApp } from './support/test-app.ts'
import { createBrowser, logIn, readGreeting } from './world/browser.ts'

// The bad day: an operator ends what a provider vouched for, at every replica of every site, by one command.

t.setTimeout(120_000)
const command = fileURLToPath(new URL('../src/end.ts', import.meta.url))

async function run (args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [command, ...args], { env: { ...process.env, PASSERELLE_REDIS: '', PASSERELLE_SITE: '', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', part => { text += part })
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  return { code, text }
}

const now = () => Math.floor(Date.now() / 1000)
const hourAgo = () => new Date(Date.now() - 3_600_000).toISOString().replace(/\.\d+/, '')

t.test('a command that is not understood ends nothing and says what was expected', async t => {
  const { directory } = await startGateway(t)
  const table: Array<[string[], RegExp]> = [
    [[], /expected one of --idp and --client/],
    [['--idp', 'vitalys', '--client', 'town', '--since', hourAgo()], /expected one of --idp and --client/],
    [['--idp', 'vitalys', '--since', 'yesterday'], /--since: expected a time as/],
    [['--idp', 'vitalys', '--since', '2026-02-30T00:00:00Z'], /--since: expected a time as/],
    [['--idp', 'vitalys', '--since', '2999-01-01T00:00:00Z'], /--since: expected a time that has been/],
    [['--idp', 'vitalys', '--since', hourAgo(), '--quickly'], /--quickly/],
    [['--client', 'vitalys', '--since', hourAgo()], /the service vitalys is not in this configuration/],
    [['--idp', 'vitalys', '--since', hourAgo()], /there is no store to tell/]
  ]
  await Promise.all(table.map(async ([args, expected]) => t.match(await run(args, { PASSERELLE_CONFIG: directory }), { code: 2, text: expected }, args.join(' '))))
  t.match(await run(['--idp', 'vitalys', '--since', hourAgo()], { PASSERELLE_CONFIG: '' }), { code: 2, text: /cannot be read|expected/ })
})

/** Two sites with one configuration, a replica at each, whose clock a test can put on; and citizens who come to the first. */
async function openSites (t: Test) {
  let ahead = 0
  const clock = () => now() + ahead
  const [one, other] = [await startRedis(t), await startRedis(t)]
  const way = await startLossyWay(t, other.urls[0]!)
  const sites = [{ site: 'a', urls: one.urls, node_timeout_ms: 500 }, { site: 'b', urls: [way.url], node_timeout_ms: 500 }]
  const { world, directory, app, issuer } = await startGateway(t, { overrides: { settings: { sites, session: { life_seconds: 600 } } }, now: clock })
  const second = await buildApp(loadConfiguration(directory, { site: 'b' }), { log: false, now: clock })
  t.teardown(() => second.close())
  await second.listen({ host: '127.0.0.1', port: 0 })
  /** Where the way of a citizen ends who comes to the town hall by this provider. */
  const comeBy = async (provider: string) => {
    const browser = createBrowser()
    t.teardown(() => browser.close())
    return { browser, page: await logIn(browser, { world, service: 'town', provider, citizen: 'marion' }) }
  }
  /** The browser of one whom the town hall greets. @throws {Error} where it does not */
  const enter = async (provider: string) => {
    const { browser, page } = await comeBy(provider)
    if (!readGreeting(page)['sub']) throw new Error(`not greeted, at ${page.url}`)
    return browser
  }
  /** Whether the next service lets the citizen in without asking the provider. */
  const knows = async (browser: Awaited<ReturnType<typeof enter>>) => (await browser.get(`${world.services['taxes']!.url}/login`)).forms.some(({ action }) => action.endsWith('/consent'))
  const [town] = [...app.configuration.clients.keys()]
  /** Where another replica sends whoever brings this browser's session to the next service. */
  const sentBy = async (replica: typeof app, { jar }: Awaited<ReturnType<typeof enter>>) => {
    const { client_id, redirect_uri } = world.services['taxes']!
    const url = `/authorize?${new URLSearchParams(requestOf(client_id, { redirect_uri, acr_values: 'eidas1' }).parameters)}`
    const { statusCode, headers: { location } } = await replica.inject({ url, headers: { cookie: jar.header(new URL(issuer), 'GET', false) } })
    return statusCode === 303 && String(location).startsWith('/consent') ? 'on' : statusCode === 200 ? 'to a provider' : `${statusCode} ${location}`
  }
  const replicaAt = async (site: 'a' | 'b') => {
    const replica = await buildApp(loadConfiguration(directory, { site }), { log: false, now: clock })
    t.teardown(() => replica.close())
    await replica.lookForRecalls()
    return replica
  }
  return { one, other, sentBy, replicaAt, way, directory, town: town!, app, second, comeBy, enter, knows, wait (seconds: number) { ahead += seconds }, secondsLeft: async () => Number(await one.command(0, 'TTL', 'recalls:{all}')) }
}

t.test('all that a provider vouched for is over at every site within ten seconds, and nothing else', async t => {
  const { directory, app, second, enter, knows, secondsLeft } = await openSites(t)
  const [caught, free] = [await enter('vitalys'), await enter('tresorine')]
  t.ok(await knows(caught), 'before')

  const dry = await run(['--idp', 'vitalys', '--since', hourAgo(), '--dry-run'], { PASSERELLE_CONFIG: directory })
  t.match(dry, { code: 0, text: /would end what the identity provider vitalys has to do with, from .* to now, at site a, site b/ })
  const { code, text } = await run(['--idp', 'vitalys', '--since', hourAgo()], { PASSERELLE_CONFIG: directory })
  t.equal(code, 0, text)
  t.match(text, /site a: told/)
  t.match(text, /site b: told/)
  t.ok(await secondsLeft() > 24 * 3600, 'as long as any session may last, whatever the setting is today')
  for (const replica of [app, second]) await until('a replica has heard of it', 10_000, () => replica.isRecalled({ idp: 'vitalys', identifiedAt: Math.floor(Date.now() / 1000) - 5 }))
  t.notOk(await knows(caught), 'its session is over')
  t.ok(await knows(free), 'another provider\'s is not')
  t.notOk(app.isRecalled({ idp: 'tresorine', identifiedAt: Math.floor(Date.now() / 1000) }))
})

t.test('under load, too: whoever comes by another provider does not notice, and whoever comes by it is told, and let in a minute later', async t => {
  const { directory, comeBy, enter, knows, wait } = await openSites(t)
  const [caught, free] = await Promise.all(['vitalys', 'tresorine'].map(provider => Promise.all([enter(provider), enter(provider), enter(provider)])))
  const over = new AbortController()
  const failed: unknown[] = []
  const entered = { vitalys: 0, tresorine: 0 }
  const load = Promise.all((['vitalys', 'tresorine', 'tresorine'] as const).map(async provider => {
    while (!over.signal.aborted) {
      try {
        await enter(provider)
        entered[provider]++
      } catch (error) { if (provider === 'tresorine') failed.push(error) }
    }
  }))
  try {
    await until('they come and go', 20_000, () => entered.tresorine > 4 && entered.vitalys > 0)
    const { code, text } = await run(['--idp', 'vitalys', '--since', hourAgo()], { PASSERELLE_CONFIG: directory })
    t.equal(code, 0, text)
    await until('the sessions by it are over', 10_000, async () => (await Promise.all(caught!.map(knows))).every(known => !known))
    const before = entered.tresorine
    await until('they still come and go', 20_000, () => entered.tresorine > before + 4)
  } finally { over.abort() }                                            // who never stops coming keeps the test from its end
  await load
  t.same(failed, [], `of ${entered.tresorine} by the other`)
  t.same(await Promise.all(free!.map(knows)), [true, true, true])

  // clocks may differ: what it vouches for within a minute of the command may be of the time that was called back
  const { browser, page } = await comeBy('vitalys')
  t.match(page.url, /\/choose\?.*notice=identity_expired/, 'whoever comes by it at once is told')
  t.ok((await browser.click('idp-tresorine')).has('sign-in'), 'and goes on by another')
  wait(replicaClockTolerance + 1)
  await t.resolves(enter('vitalys'), 'whoever comes by it later is let in')
})

t.test('a site that cannot be told is named, and the command ends with 1; said again it is told', async t => {
  const { directory, town, app, second, way } = await openSites(t)
  way.cut()
  const { code, text } = await run(['--client', town, '--since', hourAgo()], { PASSERELLE_CONFIG: directory })
  t.equal(code, 1, text)
  t.match(text, /site a: told/)
  t.match(text, /site b: NOT told: .*; run this again/)
  way.mend()
  t.match(await run(['--client', town, '--since', hourAgo()], { PASSERELLE_CONFIG: directory }), { code: 0 })
  const recalled = { idp: 'vitalys', identifiedAt: 1, client_id: town, issuedAt: Math.floor(Date.now() / 1000) - 5 }
  for (const replica of [app, second]) await until('a replica has heard of it', 10_000, () => replica.isRecalled(recalled))
})

t.test('a service that is not listed any more can be called back all the same', async t => {
  const { directory, app } = await openSites(t)
  t.match(await run(['--client', 'gone', '--since', hourAgo(), '--unlisted'], { PASSERELLE_CONFIG: directory }), { code: 0 })
  await until('the replica has heard of it', 10_000, () => app.isRecalled({ idp: 'vitalys', identifiedAt: 1, client_id: 'gone', issuedAt: Math.floor(Date.now() / 1000) - 5 }))
})

t.test('what a Redis has forgotten that was called back it is told again by the replicas, and a replica that starts afterwards takes nothing of it', async t => {
  const { directory, enter, app, one, replicaAt, sentBy } = await openSites(t)
  const caught = await enter('vitalys')
  t.equal(await sentBy(await replicaAt('b'), caught), 'on', 'before')
  t.match(await run(['--idp', 'vitalys', '--since', hourAgo()], { PASSERELLE_CONFIG: directory }), { code: 0 })
  await until('a replica has heard of it', 10_000, () => app.isRecalled({ idp: 'vitalys', identifiedAt: Math.floor(Date.now() / 1000) - 5 }))
  await one.command(0, 'DEL', 'recalls:{all}')
  await until('it is told again', 10_000, async () => Number(await one.command(0, 'EXISTS', 'recalls:{all}')) === 1)
  t.equal(await sentBy(await replicaAt('a'), caught), 'to a provider')
})

t.test('a site whose Redis forgot everything and whose replicas were all started since knows from the other what was called back', async t => {
  const { directory, enter, app, second, other, replicaAt, sentBy } = await openSites(t)
  const [caught, free] = [await enter('vitalys'), await enter('tresorine')]
  t.match(await run(['--idp', 'vitalys', '--since', hourAgo()], { PASSERELLE_CONFIG: directory }), { code: 0 })
  await until('the other site has heard of it', 10_000, () => app.isRecalled({ idp: 'vitalys', identifiedAt: Math.floor(Date.now() / 1000) - 5 }))
  await second.close()
  await other.command(0, 'FLUSHALL')
  const replica = await replicaAt('b')
  t.equal(await sentBy(replica, caught), 'to a provider')
  t.equal(await sentBy(replica, free), 'on', 'another provider\'s session is good')
  await until('its Redis is told again', 10_000, async () => Number(await other.command(0, 'EXISTS', 'recalls:{all}')) === 1)
})

/** The same browser, whose next request goes to another replica. */
function movedTo ({ browser }: Pick<TestApp, 'browser'>, from: Browser) {
  const here = browser()
  for (const [name, value] of Object.entries(from.cookies())) here.setCookie(name, value)
  return here
}
/** Whether a session spares the citizen the provider, all the way to a token. */
async function letsIn (replica: TestApp, session: Browser) {
  const way = await movedTo(replica, session).start('swift')
  const code = way.page.query.get('code')
  return code !== null && (await replica.redeem({ ...way, code })).status === 200
}

/** One after the other: a crowd would be told to come again. */
async function eachOf<T, R> (all: readonly T[], ask: (one: T) => Promise<R>) {
  const answers: R[] = []
  for (const one of all) answers.push(await ask(one))
  return answers
}

/** Two replicas at one site and one at another, with the configuration that the command reads. */
async function openReplicas (t: Test) {
  const [one, other] = [await startRedis(t), await startRedis(t)]
  const sites = [{ site: 'a', urls: one.urls }, { site: 'b', urls: other.urls }]
  const sealer = sealerOf(now, keyring())
  const long = { code_seconds: 60, access_token_seconds: 600 }
  const keys = join(temporaryDirectory(t), 'keys')
  makeNextKeys(keys, now() - 3600)
  const replicaAt = (site: 'a' | 'b') => testApp(t, {
    now,
    settings: { site, sites, keys },
    clients: { agency: long, town: long },
    store: sitedStore({ home: site, stores: openStores(new Map(sites.map(({ site, urls }) => [site, { urls }])), { sealer, now, watch: { sealed () {}, redeemed () {} }, onError () {} }) })
  })
  return [await replicaAt('a'), await replicaAt('a'), await replicaAt('b')] as const
}

t.test('sessions, codes and tokens of a provider and of a service are over at two replicas of one site and at the other\'s, under load, and nobody else loses one', async t => {
  const replicas = await openReplicas(t)
  /** One code for each replica, a token and a session, as each site gave them. */
  const heldBy = (client: string, idp: string) => eachOf([replicas[0], replicas[2]], async gateway => {
    const comeIn = (browser = gateway.browser()) => browser.logIn(client, { idp, changes: { scope: 'openid email' } })
    const session = gateway.browser()
    const { body: { access_token } } = await gateway.redeem(await comeIn(session))
    return { session, access_token: String(access_token), codes: await eachOf(replicas, () => comeIn()) }
  })
  type Held = Awaited<ReturnType<typeof heldBy>>
  const [ofProvider, ofService, ofOthers] = [await heldBy('agency', 'taxes'), await heldBy('town', 'post'), await heldBy('agency', 'post')]
  /** What is still good of all that, asked of every replica. */
  const good = async (held: Held) => (await eachOf(held, ({ session, access_token }) => eachOf(replicas, async gateway => [
    ...(await gateway.userinfo(access_token)).status === 401 ? [] : ['userinfo'],
    ...(await gateway.postAs('archive', '/introspection', { token: access_token })).body['active'] === false ? [] : ['introspection'],
    ...await letsIn(gateway, session) ? ['session'] : []
  ]))).flat(2)
  const redeemed = async (held: Held) => (await eachOf(held, ({ codes }) => eachOf(codes, async code => {
    const { status, body } = await replicas[codes.indexOf(code)]!.redeem(code)
    return status === 200 ? 'redeemed' : body['error']
  }))).flat()
  const all = Array(2 * replicas.length).fill(['userinfo', 'introspection', 'session']).flat()
  for (const held of [ofProvider, ofService, ofOthers]) t.same(await good(held), all, 'before')

  // a load balancer without memory, of both sites: each request is at another replica
  let turn = 0
  const next = () => replicas[turn++ % replicas.length]!
  const anywhere = { inject: (asked: string) => next().app.inject(asked) } as TestApp['app']
  const over = new AbortController()
  const failed: unknown[] = []
  let entered = 0
  const load = Promise.all(['agency', 'swift', 'mobile'].map(async client => {
    while (!over.signal.aborted) {
      try {
        const { status, body } = await next().redeem(await browserOf(anywhere, now).logIn(client, { idp: 'post' }) as Arrival)
        const told = await next().userinfo(String(body['access_token']))
        if (status === 200 && told.status === 200) entered++
        else failed.push([status, body['error'], told.status])
      } catch (error) { failed.push(error) }
      await pause(5)
    }
  }))
  await until('they come and go', 10_000, () => entered > 10)

  const env = { PASSERELLE_CONFIG: replicas[0].directory }
  const [provider, service] = await Promise.all([run(['--idp', 'taxes', '--since', hourAgo()], env), run(['--client', 'town', '--since', hourAgo()], env)])
  for (const { code, text } of [provider, service]) t.equal(code, 0, text)
  await until('no session and no token of either is good anywhere', 10_000, async () => (await good([...ofProvider, ...ofService])).length === 0)
  for (const held of [ofProvider, ofService]) t.same(await redeemed(held), Array(6).fill('invalid_grant'), 'nor a code')
  const before = entered
  await until('they still come and go', 10_000, () => entered > before + 10)
  over.abort()
  await load
  t.same(failed, [], `of ${entered} logins at others`)
  t.same(await good(ofOthers), all, 'what others have is good')
  t.same(await redeemed(ofOthers), Array(6).fill('redeemed'))
})

t.test('a replica that was started while the part of Redis that knows what was called back is away offers no single sign-on, serves whoever comes by a provider, and offers it again by itself', async t => {
  const cluster = await startCluster(t)
  const replica = () => testApp(t, { now, store: redisStore({ urls: cluster.urls, site: 'a', nodeTimeoutMs: -3000 }) })
  const first = await replica()
  const sessions = Array.from({ length: 12 }, first.browser)
  await eachOf(sessions, session => session.logIn('agency'))
  const keeper = await cluster.primaryOf('recalls:{all}')
  await cluster.kill(keeper)
  const late = await replica()
  const known = sessions[(await eachOf(sessions, session => letsIn(first, session))).indexOf(true)]
  if (known === undefined) throw new Error('all sessions are where the recalls are')

  t.equal((await movedTo(late, known).start('swift')).page.status, 200, 'the chooser is shown')
  t.equal((await movedTo(late, known).start('swift', { prompt: 'none' })).page.query.get('error'), 'temporarily_unavailable')
  await until('a login of which that part keeps nothing', 20_000, async () => {
    const { status, body } = await late.redeem(await late.browser().logIn('agency'))
    return status === 200 && (await late.userinfo(String(body['access_token']))).status === 200
  })
  await cluster.rejoin(keeper)
  await until('single sign-on is offered again', 20_000, () => letsIn(late, known))
  t.pass()
})
