import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { answers, configured, run, server } from './support/process.ts'
import { until } from './support/redis.ts'
import { freePort } from './world/free-port.ts'

const checker = fileURLToPath(new URL('../src/config/check.ts', import.meta.url))
const pipeline = fileURLToPath(new URL('../src/pipeline.ts', import.meta.url))

t.test('without a configuration it says what is missing and ends', async t => {
  const { ended, text } = run(t, server, { env: { PASSERELLE_CONFIG: '/nowhere' } })
  t.equal(await ended, 1)
  t.match(text(), /passerelle\.yaml: \/nowhere\/passerelle\.yaml cannot be read \(ENOENT\)/)
  t.notMatch(text(), /at .*\.ts/, 'no stack: this is for operators')
})

t.test('an address of Redis that is none is refused without printing its password', async t => {
  const { directory } = await configured(t)
  const { ended, text } = run(t, server, { env: { PASSERELLE_CONFIG: directory, PASSERELLE_REDIS: 'http://user:hunter2@redis' } })
  t.equal(await ended, 1)
  t.match(text(), /PASSERELLE_REDIS: expected redis:\/\//)
  t.notMatch(text(), /hunter2/)
})

t.test('it serves, answers probes on a port of their own, and closes on SIGTERM', async t => {
  const { directory, public: gateway, operations } = await configured(t)
  const { child, ended, text } = run(t, server, { env: { PASSERELLE_CONFIG: directory } })
  t.ok(await answers(`${operations}/readyz`, 200), text())
  t.equal((await fetch(`${operations}/livez`)).status, 200)
  t.match(await (await fetch(`${operations}/metrics`)).text(), /passerelle_logins_total/)
  for (const path of ['/livez', '/readyz', '/metrics']) t.equal((await fetch(gateway + path)).status, 404, `${path} is not public`)
  t.equal((await fetch(`${gateway}/.well-known/openid-configuration`)).status, 200)
  child.kill('SIGTERM')
  t.equal(await ended, 0)
})

t.test('it starts and is ready with Redis and every provider away, and says that it cannot keep anything', async t => {
  const { directory, world, public: gateway, operations } = await configured(t)
  await world.stop()
  const { text } = run(t, server, { env: { PASSERELLE_CONFIG: directory, PASSERELLE_REDIS: `redis://127.0.0.1:${await freePort()}` } })
  t.ok(await answers(`${operations}/readyz`, 200), text())
  t.equal((await fetch(`${gateway}/jwks`)).status, 200)
  const { client_id, redirect_uri } = world.services.taxes!
  const chooser = await fetch(`${gateway}/authorize?${new URLSearchParams({ client_id, redirect_uri, response_type: 'code', scope: 'openid', code_challenge: 'x'.repeat(43), code_challenge_method: 'S256' })}`)
  t.equal(chooser.status, 200)
  t.match(await chooser.text(), /id="idp-vitalys"/)
})

t.test('it takes changes up while it runs, looks at SIGHUP, and serves on by the last good configuration', async t => {
  const { directory, world, public: gateway, operations } = await configured(t)
  const { child, text } = run(t, server, { env: { PASSERELLE_CONFIG: directory } })
  t.ok(await answers(`${operations}/readyz`, 200), text())
  const metric = async (line: string) => (await (await fetch(`${operations}/metrics`)).text()).includes(line)
  const client = readFileSync(join(directory, 'clients/town.yaml'), 'utf8')
  const { redirect_uri } = world.services.town!
  const request = (client_id: string) => `${gateway}/authorize?${new URLSearchParams({ client_id, redirect_uri, response_type: 'code', scope: 'openid', code_challenge: 'x'.repeat(43), code_challenge_method: 'S256' })}`
  t.equal((await fetch(request('fresh'))).status, 400)

  writeFileSync(join(directory, 'clients/fresh.yaml'), client.replace(/^client_id: .*$/m, 'client_id: fresh'))
  t.ok(await answers(request('fresh'), 200), 'a client that was added')
  writeFileSync(join(directory, 'clients/fresh.yaml'), 'client_id: [')
  child.kill('SIGHUP')
  await until('it is refused', 10_000, async () => metric('passerelle_configuration_last_reload_successful 0'))
  t.match(text(), /"problems":\["clients\/fresh\.yaml: line 1: /)
  t.equal((await fetch(request('fresh'))).status, 200, 'by the last good one')
  rmSync(join(directory, 'clients/fresh.yaml'))
  t.ok(await answers(request('fresh'), 400), 'a client that was removed')
  t.equal((await fetch(`${operations}/readyz`)).status, 200)
})

t.test('check-config says what is wrong, or what is there', async t => {
  const { directory } = await configured(t)
  const right = run(t, checker, { args: [directory] })
  t.equal(await right.ended, 0, right.text())
  t.match(right.text(), /3 clients, 5 identity providers, hash [0-9a-f]{16}/)
  const wrong = run(t, checker, { args: [join(directory, 'clients')] })
  t.equal(await wrong.ended, 1)
  t.match(wrong.text(), /passerelle\.yaml cannot be read/)
})

t.test('one directory for two sites is checked, and its pipeline shown, at the site that PASSERELLE_SITE names, as it is served', async t => {
  const urls = async () => [`redis://127.0.0.1:${await freePort()}`]
  const { directory } = await configured(t, { sites: [{ site: 'lyon', urls: await urls() }, { site: 'lill', urls: await urls() }] })
  const rows: Array<[site: string, code: number, said: RegExp]> = [
    ['lyon', 0, /3 clients, 5 identity providers/],
    ['lill', 0, /3 clients, 5 identity providers/],
    ['', 1, /passerelle\.yaml: \/site: expected one of lyon, lill/],
    ['pari', 1, /passerelle\.yaml: \/site: expected one of lyon, lill/],
    ['Lyon!', 1, /PASSERELLE_SITE: expected one to four small letters or digits/]
  ]
  const shown = run(t, pipeline, { args: [directory], env: { PASSERELLE_SITE: 'lill' } })
  await Promise.all(rows.map(async ([site, code, said]) => {
    const { ended, text } = run(t, checker, { args: [directory], env: { PASSERELLE_SITE: site } })
    t.equal(await ended, code, text())
    t.match(text(), said)
  }))
  t.equal(await shown.ended, 0, shown.text())
  t.match(shown.text(), /authorize/)
})
