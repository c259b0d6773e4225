import { writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { loadConfiguration } from '../src/config/load.ts'
import { makeNextKeys } from '../src/keys.ts'
import { ensurePackages } from './packages.ts'
import { makeCertificate } from './support/certificate.ts'
import { startGateway, temporaryDirectory } from './support/gateway.ts'
import { rules, startPrometheus } from './support/prometheus.ts'
import { startRedis, until } from './support/redis.ts'
import { createBrowser, logIn } from './world/browser.ts'
import type { World } from './world/world.ts'

// A real Prometheus with the very rules that we ship scrapes a gateway that serves, under load and through a fault.

ensurePackages()
t.setTimeout(120_000)

/** What an expression looks at: names with their labels. */
const selectorsIn = (expr: string) => [...expr.matchAll(/\bpasserelle[_:][\w:]+(\{[^}]*\})?/g)].map(([selector]) => selector)

/** What only comes about by something that does not happen here, with what that is. */
const absent: Array<[selector: RegExp, why: string]> = [
  [/^passerelle_probe_/, 'the probe is a program of its own']
]

/** A citizen who cancels at the provider: one login there that does not go well. */
async function cancel (t: Test, world: World) {
  const browser = createBrowser()
  t.teardown(() => browser.close())
  await browser.get(`${world.services['taxes']!.url}/login`)
  await browser.click('idp-tresorine')
  await browser.click('cancel')
}

t.test('every rule gives what it should, of a gateway that serves, under load and after Redis was away', async t => {
  const redis = await startRedis(t)
  const authority = join(temporaryDirectory(t), 'authority.pem')
  writeFileSync(authority, (await makeCertificate(['authority'])).cert)
  const overrides = { settings: { redis: { urls: redis.urls, node_timeout_ms: 500 } }, identityProviders: { vitalys: { ca: authority, client_secret: { expires: '2100-01-01T00:00:00Z' } } } }
  const { world, app, directory } = await startGateway(t, { overrides })
  const { port } = app.operations.server.address() as AddressInfo
  const prometheus = await startPrometheus(t, [{ name: 'passerelle', targets: [`127.0.0.1:${port}`], labels: { site: 'a' } }])

  makeNextKeys(join(directory, 'keys'))                                 // the next ones wait, as they should
  t.equal(app.reconfigure(loadConfiguration(directory)), 'taken')

  const over = new AbortController()
  let entered = 0
  const load = Promise.all(['vitalys', 'tresorine'].map(async provider => {
    while (!over.signal.aborted) {
      const browser = createBrowser()
      try {
        if ((await logIn(browser, { world, service: 'town', provider, citizen: 'marion' })).has('greeting')) entered++
      } catch { /* while Redis is away, some do not */ } finally { await browser.close() }
      await pause(50)
    }
  }))
  try {
    await until('citizens come and go', 20_000, () => entered > 20)
    await cancel(t, world)
    await redis.kill(0)
    const sealed = async () => (await app.metricsRegistry.getSingleMetric('passerelle_degraded_codes_total')!.get()).values[0]!.value
    await until('they get in without it', 20_000, async () => await sealed() > 3)
    await redis.restart(0)
    const before = entered
    await until('they come and go again', 20_000, () => entered > before + 10)

    const lacking = async () => {
      const counts = await Promise.all([...new Set(rules.flatMap(({ record, expr }) => [...record === undefined ? [] : [record], ...selectorsIn(expr)]))].map(async selector => ({ selector, series: await prometheus.series(`max_over_time(${selector}[5m])`) })))
      return counts.filter(({ selector, series }) => series === 0 && !absent.some(([pattern]) => pattern.test(selector))).map(({ selector }) => selector)
    }
    await until('whatever a rule looks at is there', 30_000, async () => (await lacking()).length === 0).catch(() => {})
    t.strictSame(await lacking(), [], 'whatever a rule looks at is there')
  } finally {
    over.abort()
    await load
  }

  for (const [pattern, why] of absent) {
    const looked = rules.flatMap(({ expr }) => selectorsIn(expr)).filter(selector => pattern.test(selector))
    t.ok(looked.length > 0, `${why}: some rule looks at it`)
    t.equal((await Promise.all(looked.map(selector => prometheus.series(selector)))).reduce((sum, series) => sum + series, 0), 0, `${why}: and it is not there`)
  }
  const { data: { groups = [] } } = await prometheus.ask('rules')
  const all = groups.flatMap(group => group.rules)
  t.equal(all.length, rules.length)
  t.strictSame(all.filter(({ health }) => health !== 'ok').map(({ name, lastError }) => `${name}: ${lastError}`), [], 'each was computed without a fault')
  const { data: { activeTargets = [] } } = await prometheus.ask('targets')
  t.match(activeTargets, [{ health: 'up', lastError: '' }])
})
