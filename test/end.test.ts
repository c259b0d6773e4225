import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { buildApp } from '../src/app.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { startGateway } from './support/gateway.ts'
import { startLossyWay, startRedis, until } from './support/redis.ts'
import { createBrowser, logIn } from './world/browser.ts'

// The bad day: an operator ends what a provider vouched for, at every replica of every site, by one command.

t.setTimeout(60_000)
const command = fileURLToPath(new URL('../src/end.ts', import.meta.url))

async function run (args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [command, ...args], { env: { ...process.env, PASSERELLE_REDIS: '', PASSERELLE_SITE: '', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', part => { text += part })
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  return { code, text }
}

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

/** Two sites with one configuration, a replica at each; and a citizen who came in by Vitalys at the first. */
async function openSites (t: Test) {
  const [one, other] = [await startRedis(t), await startRedis(t)]
  const way = await startLossyWay(t, other.urls[0]!)
  const sites = [{ site: 'a', urls: one.urls, node_timeout_ms: 500 }, { site: 'b', urls: [way.url], node_timeout_ms: 500 }]
  const { world, directory, app } = await startGateway(t, { overrides: { settings: { sites, session: { life_seconds: 600 } } } })
  const second = await buildApp(loadConfiguration(directory, { site: 'b' }), { log: false })
  t.teardown(() => second.close())
  await second.listen({ host: '127.0.0.1', port: 0 })
  const enter = async (provider = 'vitalys') => {
    const browser = createBrowser()
    t.teardown(() => browser.close())
    await logIn(browser, { world, service: 'town', provider, citizen: 'marion' })
    return browser
  }
  /** Whether the next service lets the citizen in without asking the provider. */
  const knows = async (browser: Awaited<ReturnType<typeof enter>>) => (await browser.get(`${world.services['taxes']!.url}/login`)).forms.some(({ action }) => action.endsWith('/consent'))
  const [town] = [...app.configuration.clients.keys()]
  return { way, directory, town: town!, app, second, enter, knows, secondsLeft: async () => Number(await one.command(0, 'TTL', 'recalls:{all}')) }
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

t.test('under load, too: whoever comes by another provider does not notice', async t => {
  const { directory, enter, knows } = await openSites(t)
  const [caught, free] = await Promise.all(['vitalys', 'tresorine'].map(provider => Promise.all([enter(provider), enter(provider), enter(provider)])))
  const over = new AbortController()
  let entered = 0
  const load = Promise.all(['vitalys', 'tresorine', 'tresorine'].map(async provider => {
    while (!over.signal.aborted) {
      const entering = enter(provider).then(() => { entered++ })
      await (provider === 'vitalys' ? entering.catch(() => {}) : entering)  // who came by it just before has to begin anew
    }
  }))
  await until('they come and go', 20_000, () => entered > 5)
  const { code, text } = await run(['--idp', 'vitalys', '--since', hourAgo()], { PASSERELLE_CONFIG: directory })
  t.equal(code, 0, text)
  await until('the sessions by it are over', 10_000, async () => (await Promise.all(caught!.map(knows))).every(known => !known))
  const before = entered
  await until('they still come and go', 20_000, () => entered > before + 5)
  over.abort()
  await load
  t.same(await Promise.all(free!.map(knows)), [true, true, true])
  await t.resolves(enter('vitalys'), 'who comes by it afterwards is let in')
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
