import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import * as units from '@grafana/grafana-foundation-sdk/units'
import t, { type Test } from 'tap'
import { colours } from '../grafana/colours.ts'
import { tag } from '../grafana/dashboard.ts'
import { dashboards, fileOf } from '../grafana/make.ts'
import { scoped } from '../grafana/scope.ts'
import { reloads } from '../plugins/configuration.ts'
import { ranks } from '../src/adapters/load-gauge.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { makeNextKeys } from '../src/keys.ts'
import { breakerStates, legs } from '../src/ports.ts'
import { failures } from '../src/protocol/errors.ts'
import { outcomes, steps } from '../src/protocol/events.ts'
import { ensurePackages } from './packages.ts'
import { makeCertificate } from './support/certificate.ts'
import { annotationsOf, defaultsOf, everyPanel, everyQuery, filled, mappingsOf, panelsOf, queriesOf } from './support/dashboards.ts'
import { startForgingProvider } from './support/forging-provider.ts'
import { startGateway, temporaryDirectory } from './support/gateway.ts'
import { startProbeFigures } from './support/probe-figures.ts'
import { recorded, startPrometheus } from './support/prometheus.ts'
import { startRedis, until } from './support/redis.ts'
import { testApp } from './support/test-app.ts'
import { createBrowser, logIn } from './world/browser.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const read = (file: string) => readFileSync(root + file, 'utf8')
const names = Object.keys(dashboards)

t.test('the files are what npm run dashboards makes of grafana/make, to the byte', async t => {
  t.strictSame(readdirSync(`${root}grafana/dashboards`).sort(), names.map(name => `${name}.json`).sort())
  for (const [name, dashboard] of Object.entries(dashboards)) t.ok(read(`grafana/dashboards/${name}.json`) === fileOf(dashboard), `${name}: npm run dashboards`)
})

t.test('no two dashboards, and no two panels of one, can be taken for each other', async t => {
  const uids = Object.values(dashboards).map(({ uid }) => uid)
  t.strictSame(uids, names.map(name => `${tag}-${name}`))
  t.equal(new Set(Object.values(dashboards).map(({ title }) => title)).size, names.length)
  for (const [name, dashboard] of Object.entries(dashboards)) {
    const panels = panelsOf(dashboard)
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length, `${name}: ids`)
    t.equal(new Set(panels.map(({ title }) => title)).size, panels.length, `${name}: titles`)
    for (const panel of panels) t.strictSame(queriesOf(panel).map(({ refId }) => refId), queriesOf(panel).map((_, i) => String.fromCharCode(65 + i)), `${name}: ${panel.title}`)
  }
})

t.test('every panel asks a question, says what it shows and what to do, and has a unit and colours', async t => {
  const known: unknown[] = [...Object.values(units), 'suffix: logins/s', 'suffix: calls/s', 'suffix: /s', 'suffix: s/s', 'suffix:×']
  for (const { panel, where } of everyPanel) {
    const { unit, thresholds, color } = defaultsOf(panel)
    t.match(panel.title, /^[A-Z].*\?$/, where)
    t.ok(panel.description!.length > 60, `${where}: description`)
    t.match(panel.description, /\.$/, where)
    t.ok(known.includes(unit), `${where}: ${unit}`)
    t.ok(thresholds!.steps.length > 0 && thresholds!.steps[0]!.value === null, `${where}: thresholds`)
    t.strictSame(thresholds!.steps.slice(1).map(({ value }) => value), thresholds!.steps.slice(1).map(({ value }) => value!).sort((a, b) => a - b), `${where}: thresholds rise`)
    t.ok(color!.mode, where)
    for (const [file] of panel.description!.matchAll(/\bdocs\/[\w/-]+\.md/g)) t.ok(existsSync(root + file), `${where}: ${file}`)
    for (const [, script = ''] of panel.description!.matchAll(/npm run ([\w-]+)/g)) t.ok(JSON.parse(read('package.json')).scripts[script], `${where}: npm run ${script}`)
  }
})

t.test('the top row of each dashboard tells by words or one figure whether all is well, and a word says what a colour says', async t => {
  for (const [name, dashboard] of Object.entries(dashboards)) {
    const panels = panelsOf(dashboard)
    t.ok(panels.length <= 15, `${name}: ${panels.length} panels`)
    const top = panels.filter(({ gridPos }) => gridPos!.y === 0)
    t.ok(top.length >= 4 && top.every(({ type }) => type === 'stat' || type === 'bargauge'), name)
    t.match(top[0]!.title, /^(Can|Do|Does|Are|Is)\b/, `${name}: yes or no`)
    for (const panel of top) t.ok(defaultsOf(panel).noValue, `${name}: ${panel.title}: nothing has a word, too`)
  }
  for (const { panel, where } of everyPanel) {
    for (const mapping of mappingsOf(panel)) {
      const results = mapping.type === 'value' ? Object.values(mapping.options) : [(mapping.options as { result: { text?: string } }).result]
      t.ok(results.every(({ text }) => text), where)
    }
  }
})

t.test('colours are those that everybody can tell apart', async t => {
  const told = [...fileOf(dashboards).matchAll(/"(?:color|fixedColor|iconColor)": "([^"]+)"/g)].map(([, colour]) => colour!)
  t.ok(told.length > 100)
  t.strictSame([...new Set(told)].filter(colour => !Object.values(colours).includes(colour)), [])
})

t.test('panels fill their rows, stay within 24 columns and do not lie upon each other', async t => {
  for (const [name, dashboard] of Object.entries(dashboards)) {
    const taken = new Map<string, string>()
    const rows = new Map<number, number>()
    for (const { title, gridPos } of panelsOf(dashboard)) {
      const { x, y, w, h } = gridPos!
      t.ok(x >= 0 && w > 0 && h > 0 && x + w <= 24, `${name}: ${title}`)
      rows.set(y, (rows.get(y) ?? 0) + w)
      for (let column = x; column < x + w; column++) {
        for (let line = y; line < y + h; line++) {
          const place = `${column} ${line}`
          if (taken.has(place)) t.fail(`${name}: ${title} lies upon ${taken.get(place)}`)
          taken.set(place, title!)
        }
      }
    }
    t.strictSame([...rows.values()], [...rows.values()].map(() => 24), `${name}: rows`)
  }
})

t.test('each dashboard leads to the others with what is chosen, and offers what its expressions ask for', async t => {
  for (const [name, dashboard] of Object.entries(dashboards)) {
    t.strictSame(dashboard.tags, [tag], name)
    t.match(dashboard.links, [{ type: 'dashboards', tags: [tag], includeVars: true, keepTime: true }], name)
    const variables = dashboard.templating!.list!
    const offered = variables.map(variable => variable.name)
    t.strictSame(offered.slice(0, 3), ['datasource', 'environment', 'site'], name)
    const used = new Set([...JSON.stringify([dashboard.panels, dashboard.annotations]).matchAll(/\$(?!__)(\w+)/g)].map(([, variable]) => variable!))
    t.strictSame([...used].sort(), [...offered].sort(), `${name}: nothing is offered in vain`)
    for (const { name: variable, includeAll, allValue, multi } of variables.slice(1)) t.match({ includeAll, allValue, multi }, { includeAll: true, allValue: '.*', multi: true }, `${name}: ${variable}`)
    t.strictSame(annotationsOf(dashboard).map(annotation => annotation.name), ['Releases', 'Starts of replicas', 'Breakers', 'Configuration reloads'], name)
    for (const { datasource } of [...panelsOf(dashboard), ...panelsOf(dashboard).flatMap(queriesOf), ...annotationsOf(dashboard)]) t.strictSame(datasource, { type: 'prometheus', uid: '$datasource' }, name)
  }
})

t.test('an expression sees only the environment and the sites that are chosen', async t => {
  t.equal(scoped('sum(rate(passerelle_logins_total{outcome="up"}[5m])) / passerelle:logins:increase5m + up'), 'sum(rate(passerelle_logins_total{environment=~"$environment", site=~"$site", outcome="up"}[5m])) / passerelle:logins:increase5m{environment=~"$environment"} + up{environment=~"$environment", site=~"$site", job="passerelle"}')
  for (const { expr, where } of allExpressions) for (const { metric, labels } of selectorsOf(expr)) t.ok(labels.includes('environment') && (metric.includes(':') || labels.includes('site')), `${where}: ${metric}`)
})

/** What is drawn, what marks the time and what variables are made of. */
const allExpressions = [
  ...everyQuery.map(({ expr, where }) => ({ expr, where })),
  ...annotationsOf(dashboards.logins).map(({ expr, name }) => ({ expr: expr!, where: name }))
]

/** Every selector of an expression: its metric, and the labels that it names. Text in quotes holds no selector. */
function selectorsOf (expr: string) {
  const bare = expr.replace(/"[^"]*"/g, '""')
  return [...bare.matchAll(/\b((?:passerelle|process|nodejs)[_:][a-z0-9_:]*|up)\b(\{[^}]*\})?/g)]
    .map(([, metric = '', matchers = '']) => ({ metric, labels: [...matchers.matchAll(/(\w+)\s*[=!]/g)].map(([, label]) => label!) }))
}
/** What an expression groups and matches by. */
const groupingsOf = (expr: string) => [...expr.matchAll(/\b(?:by|on|ignoring|without|group_left)\s*\(([^)]*)\)/g)].flatMap(([, names = '']) => names.split(',').map(name => name.trim()).filter(name => name !== ''))
const namesOfLegend = (legend = '') => [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!)

/** Every metric that can be scraped, with its labels: the gateway's own, those of the probe and of citizens, and what is recorded. */
async function labelsOfMetrics (t: Test) {
  const { app } = await testApp(t)
  const labels = new Map<string, string[]>([['up', []]])
  const own: string[] = []
  for (const metric of [app.metricsRegistry, app.productRegistry].flatMap(registry => registry.getMetricsAsArray())) {
    const { name, type, labelNames } = metric as unknown as { name: string, type: string, labelNames: string[] }
    if (name.startsWith('passerelle_')) own.push(name)
    if (type !== 'histogram') labels.set(name, labelNames)
    else for (const [end, more] of [['_bucket', ['le']], ['_count', []], ['_sum', []]] as const) labels.set(name + end, [...labelNames, ...more])
  }
  for (const name of read('docs/probe.md').match(/passerelle_probe_\w+/g) ?? []) labels.set(name, name === 'passerelle_probe_step_seconds' ? ['step'] : [])
  for (let round = 0; round < 4; round++) {
    for (const { record, expr } of recorded) {
      const groups = groupingsOf(expr)
      labels.set(record!, groups.length > 0 || /\bsum\(/.test(expr) ? groups : [...new Set(selectorsOf(expr).flatMap(({ metric }) => labels.get(metric) ?? []))])
    }
  }
  return { labels, own: [...own, ...(read('docs/probe.md').match(/passerelle_probe_\w+/g) ?? [])] }
}
const ofScrape = ['job', 'instance', 'site', 'environment']

t.test('every metric and label that is named is there', async t => {
  const { labels } = await labelsOfMetrics(t)
  for (const { expr, where } of allExpressions) {
    const known = [...ofScrape]
    for (const { metric, labels: named } of selectorsOf(expr)) {
      if (!t.ok(labels.has(metric), `${where}: ${metric}`)) continue
      known.push(...labels.get(metric)!)
      for (const label of named) t.ok([...labels.get(metric)!, ...ofScrape].includes(label), `${where}: ${metric}{${label}}`)
    }
    for (const label of groupingsOf(expr)) t.ok(known.includes(label), `${where}: by ${label}`)
  }
  for (const { query, expr, where } of everyQuery) {
    const left = expr.includes(' by (') ? groupingsOf(expr) : selectorsOf(expr).flatMap(({ metric }) => labels.get(metric)!)
    for (const label of namesOfLegend(query.legendFormat)) t.ok(left.includes(label), `${where}: {{${label}}} is what the series have`)
  }
  for (const { name, query } of names.flatMap(name => dashboards[name as keyof typeof dashboards].templating!.list!)) {
    const [, metric = '', label = ''] = /^label_values\((\w+)(?:\{[^}]*\})?, (\w+)\)$/.exec((query as { query?: string }).query ?? '') ?? []
    if (name !== 'datasource') t.ok(labels.has(metric) && [...labels.get(metric)!, ...ofScrape].includes(label), `${name}: ${metric}, ${label}`)
  }
})

t.test('every value of a label that is named is one that there is', async t => {
  const values: Record<string, readonly string[]> = {
    failure: Object.keys(failures),
    event: Object.keys(steps),
    class: [...ranks, 'needed', 'optional'],
    state: breakerStates,
    leg: legs,
    kind: ['signing', 'sealing', 'decryption'],
    how: ['recorded', 'alone', 'again'],
    what: ['address', 'credentials'],
    outcome: [...outcomes, ...reloads, 'answered', 'refused', 'unavailable', 'delivered', 'failed', 'dropped', 'lost']
  }
  let looked = 0
  for (const { expr, where } of allExpressions) {
    for (const [, label = '', operator, pattern = ''] of expr.matchAll(/(\w+)(=~|=|!=)"([^"]*)"/g)) {
      const there = values[label]
      if (there === undefined) continue
      looked++
      const wanted = operator !== '=~' ? [pattern] : pattern.replace(/^(\w+)\((.*)\)$/, (whole, head: string, rest: string) => rest.split('|').map(end => head + end).join('|')).split('|')
      for (const one of wanted) t.ok(there.includes(one), `${where}: ${label}="${one}"`)
    }
  }
  t.ok(looked > 60, `${looked} were looked at`)
})

/** What is drawn nowhere on purpose, and why. */
const undrawn: Record<string, string> = {
  passerelle_probe_success: 'the exit code says the same, and whom to wake'
}

t.test('every metric of ours is drawn somewhere, or it is said why not', async t => {
  const { own } = await labelsOfMetrics(t)
  const drawn = new Set(everyQuery.flatMap(({ expr }) => selectorsOf(expr).map(({ metric }) => metric.replace(/_(bucket|count|sum)$/, ''))))
  for (const name of own) t.equal(drawn.has(name), undrawn[name] === undefined, name)
  for (const name of Object.keys(undrawn)) t.ok(own.includes(name), name)
})

t.test('no panel joins services and identity providers: who comes to what by which account is nobody\'s business', async t => {
  for (const { panel, where } of everyPanel) {
    const named = queriesOf(panel).map(({ expr, legendFormat }) => expr.replace(/"[^"]*"/g, '') + legendFormat).join(' ')
    t.notOk(/\bclient_id\b/.test(named) && /\bidp\b/.test(named), where)
  }
})

/** What an expression divides by: a number, or all that is within parentheses. */
const denominatorsOf = (expr: string) => expr.split(/ \/ (?:on \(\) group_left \(\) )?/).slice(1).map(rest => {
  let depth = 0
  const end = [...rest].findIndex(letter => {
    depth += letter === '(' ? 1 : letter === ')' ? -1 : 0
    return depth <= 0 && /[ )]/.test(letter)
  })
  return end < 0 ? rest : rest.slice(0, rest[end] === ')' && rest.startsWith('(') ? end + 1 : end)
})

t.test('nothing is divided by what may be nothing, and no window is too short for a scrape each 15 seconds', async t => {
  let divisions = 0
  for (const { expr, where } of allExpressions) {
    for (const denominator of denominatorsOf(expr)) {
      divisions++
      t.match(denominator, /^[\d.]+$|^\(.* > \d+\)$/, where)
    }
    for (const [, window = ''] of expr.matchAll(/\[([^\]]+)\]/g)) t.match(window, /^(\$__rate_interval|\$__range|1m|5m|15m|1h|1d|30d)$/, where)
    for (const [, window] of expr.matchAll(/\brate\([^[]*\[([^\]]+)\]/g)) t.equal(window, '$__rate_interval', where)
  }
  t.ok(divisions > 15, `${divisions} divisions`)
  // a curve whose window is shorter than its step would leave out what happens between
  for (const { query, panel, expr, where } of everyQuery) {
    if (query.range) for (const [, window] of expr.matchAll(/\[([^\]]+)\]/g)) t.equal(window, panel.interval === '1d' ? '1d' : '$__rate_interval', where)
  }
})

t.test('docs/dashboards.md tells of each dashboard, and Prometheus takes what it says is to be scraped', async t => {
  const page = read('docs/dashboards.md')
  const rows = [...page.matchAll(/^\| ([^|]+) \| `(\w+)\.json` \|/gm)].map(([, title, name]) => [name!, `Passerelle: ${title}`])
  t.strictSame(rows, Object.entries(dashboards).map(([name, { title }]) => [name, title]))
  const [, scraped = ''] = /```yaml\n(rule_files[^]*?)```/.exec(page) ?? []
  const directory = t.testdir({ 'prometheus.yml': scraped, 'recording.yaml': read('grafana/rules/recording.yaml'), 'alerts.yaml': read('grafana/rules/alerts.yaml') })
  ensurePackages()
  const { status, stderr } = spawnSync('promtool', ['check', 'config', `${directory}/prometheus.yml`], { encoding: 'utf8' })
  t.equal(status, 0, stderr)
})

t.test('every expression gives something, of a gateway that serves under load and went through faults, as a real Prometheus sees it', { timeout: 120_000 }, async t => {
  ensurePackages()
  const redis = await startRedis(t)
  const authority = join(temporaryDirectory(t), 'authority.pem')
  writeFileSync(authority, (await makeCertificate(['authority'])).cert)
  const forging = await startForgingProvider(t)
  forging.state.forgery = { claims: claims => ({ ...claims, iss: 'https://elsewhere.example' }) }
  const forged = { id: 'forged', title: 'Forger', issuer: forging.issuer, client_id: 'passerelle', client_secret: { file: 'secrets/provider-vitalys' }, acr_values: ['eidas1'], order: 99, breaker: { forced: 'closed' } }
  const { world, app, directory } = await startGateway(t, {
    overrides: { settings: { redis: { urls: redis.urls, node_timeout_ms: 500 } }, identityProviders: { vitalys: { ca: authority, client_secret: { expires: '2100-01-01T00:00:00Z' } }, tresorine: { breaker: { volume: 3 } }, forged } }
  })
  const labels = { environment: 'test', site: 'a' }
  const replica = `127.0.0.1:${(app.operations.server.address() as AddressInfo).port}`
  const prometheus = await startPrometheus(t, [
    { name: 'passerelle', targets: [replica], labels },
    { name: 'passerelle-citizens', path: '/metrics/product', targets: [replica], labels },
    { name: 'passerelle-probe', targets: [await startProbeFigures(t)], labels }
  ])
  makeNextKeys(join(directory, 'keys'))
  await until('it is scraped', 10_000, async () => await prometheus.series('passerelle_build_info') > 0)
  t.equal(app.reconfigure(loadConfiguration(directory)), 'taken')

  const over = new AbortController()
  let entered = 0
  const ways = [['town', 'vitalys'], ['town', 'tresorine'], ['taxes', 'tresorine'], ['social-security', 'vitalys']] as const
  const load = Promise.all(ways.map(async ([service, provider]) => {
    while (!over.signal.aborted) {
      const browser = createBrowser()
      try {
        for (const each of [service, service === 'town' ? 'taxes' : service]) if ((await logIn(browser, { world, service: each, provider, citizen: 'marion' })).has('greeting')) entered++
      } catch { /* while Redis or a provider is away, some do not */ } finally { await browser.close() }
      await pause(100)
    }
  }))
  const deceived = async () => {
    const browser = createBrowser({ stopAt: `${forging.issuer}/authorize` })
    t.teardown(() => browser.close())
    await browser.get(`${world.services['taxes']!.url}/login`)
    const { location } = await browser.click('idp-forged')
    return browser.get(forging.comeBack(new URL(location!)).href)
  }
  const wrongSecret = () => app.inject({ method: 'POST', url: '/token', headers: { 'content-type': 'application/x-www-form-urlencoded' }, payload: 'grant_type=authorization_code&code=none&client_id=mairie-valmont&client_secret=wrong' })
  const lacking = async () => {
    const asked = [...everyQuery.map(({ expr, where }) => ({ expr, where })), ...annotationsOf(dashboards.logins).map(({ expr, name }) => ({ expr: expr!, where: name }))]
    const answers = await Promise.all(asked.map(async ({ expr, where }) => ({ where, values: (await prometheus.now(filled(expr, { rate: '10s', range: '2m' }))).map(({ value }) => Number(value![1])) })))
    return answers.filter(({ values }) => !values.some(Number.isFinite)).map(({ where }) => where)
  }
  try {
    await until('citizens come and go', 20_000, () => entered > 20)
    t.equal((await wrongSecret()).statusCode, 401)
    await redis.kill(0)
    await until('somebody does not get in without it', 20_000, async () => (await prometheus.now('sum(passerelle_logins_total{outcome="us"})')).some(({ value }) => Number(value![1]) > 0))
    await redis.restart(0)
    await world.providers['tresorine']!.stop()
    await until('each gives something', 30_000, async () => {
      await deceived()
      return (await lacking()).length === 0
    }).catch(() => {})
    t.strictSame(await lacking(), [], 'each gives something')
  } finally {
    over.abort()
    await load
  }
})
