import { execFile } from 'node:child_process'
import { existsSync, globSync, readFileSync, readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { scaledDuration, scaledExpression, scaledRules } from './alerts/scaled.ts'
import { ensurePackages } from './packages.ts'
import { testApp } from './support/test-app.ts'

interface Rule { alert?: string, record?: string, expr: string, labels?: Record<string, string>, annotations?: Record<string, string> }
interface Case { name: string, promql_expr_test: Array<{ expr: string, exp_samples: Array<{ labels: string, value: number }> }> }

const root = fileURLToPath(new URL('../', import.meta.url))
const read = (file: string) => readFileSync(root + file, 'utf8')
const rulesOf = (file: string): Rule[] => parse(read(file)).groups.flatMap(({ rules }: { rules: Rule[] }) => rules)

const ruleFiles = ['grafana/rules/recording.yaml', 'grafana/rules/alerts.yaml']
const recorded = rulesOf('grafana/rules/recording.yaml')
const alerts = rulesOf('grafana/rules/alerts.yaml').map(({ alert = '', expr, labels = {}, annotations = {} }) => ({ alert, expr, labels, annotations }))
const caseFiles = globSync('test/rules/*.test.yaml', { cwd: root }).sort()
const cases: Case[] = caseFiles.flatMap(file => parse(read(file)).tests)

ensurePackages()
t.setTimeout(240_000)
const run = promisify(execFile)
const promtool = async (...args: string[]) => {
  const { stdout, stderr } = await run('promtool', args, { cwd: root }).catch(error => ({ stdout: error.stdout as string, stderr: `${error.stderr}\n${error.message}` }))
  return { stdout, stderr }
}

t.test('Prometheus accepts every rule', async t => {
  const { stdout, stderr } = await promtool('check', 'rules', ...ruleFiles)
  t.equal(stderr.trim(), '')
  t.equal(stdout.match(/SUCCESS: \d+ rules found/g)?.join(), `SUCCESS: ${recorded.length} rules found,SUCCESS: ${alerts.length} rules found`)
})

t.test('each alert fires where it should, and not where it should not', { jobs: 2 }, async t => {
  t.ok(caseFiles.length > 5)
  for (const file of caseFiles) {
    t.test(`as ${file} has it`, async t => {
      const { stdout, stderr } = await promtool('test', 'rules', file)
      t.equal(stderr.trim(), '')
      t.match(stdout, /SUCCESS/)
    })
  }
})

t.test('two replicas that were just started, and that nobody comes to, give no alert', async t => {
  const { app } = await testApp(t, { now: () => 1_800_000_000 - 82_800 })  // an hour after its keys were made
  await app.metricsRegistry.metrics()                                   // the event loop was busy until here
  await setTimeout(500)
  const series = []
  for (const { name, values } of await app.metricsRegistry.getMetricsAsJSON()) {
    if (!/^(passerelle_|process_(start_time|resident_memory))/.test(name)) continue
    for (const { labels, value, metricName = name } of values as Array<{ labels: Record<string, string | number>, value: number, metricName?: string }>) {
      for (const instance of ['a', 'b']) series.push({ series: metricName + selected({ ...labels, job: 'passerelle', instance }), values: `${value}x120` })
    }
  }
  for (const instance of ['a', 'b']) series.push({ series: `up${selected({ job: 'passerelle', instance })}`, values: '1x120' })
  series.push({ series: 'passerelle_probe_timestamp_seconds', values: '0+60x120' }, { series: 'passerelle_probe_exit_code', values: '0x120' }, { series: 'passerelle_probe_success', values: '1x120' })
  t.ok(series.length > 500, `${series.length} series`)

  const directory = t.testdir({
    'idle.yaml': stringify({
      rule_files: ruleFiles.map(file => root + file),
      evaluation_interval: '1m',
      tests: [{ interval: '1m', input_series: series, promql_expr_test: ['5m', '30m', '115m'].map(at => ({ expr: 'ALERTS', eval_time: at, exp_samples: [] })) }]
    })
  })
  const { stdout, stderr } = await promtool('test', 'rules', `${directory}/idle.yaml`)
  t.equal(stderr.trim(), '')
  t.match(stdout, /SUCCESS/)
})
const selected = (labels: Record<string, string | number>) => `{${Object.entries(labels).map(([label, value]) => `${label}="${value}"`).join(', ')}}`

const alertOf = ({ expr }: { expr: string }) => /^ALERTS\{alertname="(\w+)", alertstate="firing"\}$/.exec(expr)?.[1]
const asked = cases.flatMap(({ name, promql_expr_test: questions }) => questions.map(question => ({ name, alert: alertOf(question), expected: question.exp_samples })))

t.test('every alert has a case in which it fires, and one in which it does not', async t => {
  for (const { name, alert, expected } of asked) t.ok(name.startsWith(`${alert} ${expected.length > 0 ? 'fires' : 'does not fire'}: `), name)
  for (const { alert } of alerts) {
    t.ok(asked.some(one => one.alert === alert && one.expected.length > 0), `${alert} fires`)
    t.ok(asked.some(one => one.alert === alert && one.expected.length === 0), `${alert} does not fire`)
  }
  t.same([...new Set(asked.map(({ alert }) => alert))].filter(name => !alerts.some(({ alert }) => alert === name)), [], 'no case is of an alert that there is not')
})

t.test('every alert says how urgent it is, what happens, and where it is told what to do', async t => {
  t.equal(new Set(alerts.map(({ alert }) => alert)).size, alerts.length, 'no two have the same name')
  for (const { alert, labels, annotations } of alerts) {
    t.same(Object.keys(labels), ['severity'], alert)
    t.match(labels['severity'], /^(page|ticket)$/, alert)
    t.same(Object.keys(annotations), ['summary', 'description', 'runbook_url'], alert)
    t.ok(existsSync(root + annotations['runbook_url']), `${alert}: ${annotations['runbook_url']}`)
  }
})

t.test('what an alert says of its labels, it has', async t => {
  for (const { alert, annotations } of alerts) {
    const said = [...`${annotations['summary']} ${annotations['description']}`.matchAll(/\{\{-? *\$labels\.(\w+)/g)].map(([, label]) => label!)
    for (const { expected } of asked.filter(one => one.alert === alert && one.expected.length > 0)) {
      for (const label of said) t.match(expected[0]?.labels, new RegExp(`[{ ]${label}="`), `${alert}: ${label}`)
    }
  }
})

/** Every selector of an expression: its metric, and the labels that it names. Text in quotes holds no selector. */
function selectorsOf (expr: string) {
  const bare = expr.replace(/"[^"]*"/g, '""')
  return [...bare.matchAll(/\b((?:passerelle|process|nodejs|up)[a-z0-9_:]*)\s*(\{[^}]*\})?/g)]
    .map(([, metric = '', matchers = '']) => ({ metric, labels: [...matchers.matchAll(/(\w+)\s*[=!]/g)].map(([, label]) => label!) }))
}
/** What an expression groups and matches by. */
const groupingsOf = (expr: string) => [...expr.matchAll(/\b(?:by|on|ignoring|without)\s*\(([^)]*)\)/g)].flatMap(([, names = '']) => names.split(',').map(name => name.trim()).filter(name => name !== ''))

t.test('every metric and label that a rule names is one that the gateway or its probe has', async t => {
  const { app } = await testApp(t)
  const labels = new Map<string, string[]>([['up', []]])
  for (const metric of app.metricsRegistry.getMetricsAsArray()) {
    const { name, type, labelNames } = metric as unknown as { name: string, type: string, labelNames: string[] }
    if (type !== 'histogram') labels.set(name, labelNames)
    else for (const [end, more] of [['_bucket', ['le']], ['_count', []], ['_sum', []]] as const) labels.set(name + end, [...labelNames, ...more])
  }
  for (const name of read('docs/probe.md').match(/passerelle_probe_\w+/g) ?? []) labels.set(name, name === 'passerelle_probe_step_seconds' ? ['step'] : [])
  const ofScrape = ['job', 'instance', 'site']                          // what Prometheus adds, and its operator
  for (const { record, expr } of recorded) labels.set(record!, groupingsOf(expr))
  // a recorded rule of recorded rules has the labels of those
  for (let round = 0; round < 3; round++) for (const { record, expr } of recorded) labels.set(record!, [...new Set([...groupingsOf(expr), ...(groupingsOf(expr).length > 0 || /\bsum\(/.test(expr) ? [] : selectorsOf(expr).flatMap(({ metric }) => labels.get(metric) ?? []))])])

  let selectors = 0
  for (const rule of [...recorded, ...alerts]) {
    const name = 'alert' in rule ? rule.alert : rule.record
    const known: string[] = []
    for (const { metric, labels: named } of selectorsOf(rule.expr)) {
      selectors++
      if (!t.ok(labels.has(metric), `${name}: ${metric}`)) continue
      known.push(...labels.get(metric)!)
      for (const label of named) t.ok([...labels.get(metric)!, ...ofScrape].includes(label), `${name}: ${metric}{${label}}`)
    }
    for (const label of groupingsOf(rule.expr)) t.ok([...known, ...ofScrape].includes(label), `${name}: by ${label}`)
  }
  t.ok(selectors > 150, `${selectors} selectors were looked at`)
})

t.test('the values of labels that rules name are those that there are', async t => {
  const { failures } = await import('../src/protocol/errors.ts')
  const { steps } = await import('../src/protocol/events.ts')
  const { ranks } = await import('../src/adapters/load-gauge.ts')
  const { breakerStates, legs } = await import('../src/ports.ts')
  const values: Record<string, readonly string[]> = { failure: Object.keys(failures), event: Object.keys(steps), class: [...ranks, 'needed', 'optional'], state: breakerStates, leg: legs, severity: ['page', 'ticket'] }
  for (const { alert, expr } of alerts) {
    for (const [, label = '', operator, pattern = ''] of expr.matchAll(/(\w+)(=~|=)"([^"]*)"/g)) {
      const there = values[label]
      if (there === undefined) continue
      const wanted = operator === '=' ? [pattern] : pattern.replace(/^(\w+)\((.*)\)$/, (whole, head: string, rest: string) => rest.split('|').map(end => head + end).join('|')).split('|')
      for (const one of wanted) t.ok(there.includes(one), `${alert}: ${label}="${one}"`)
    }
  }
})

t.test('the threshold of latency is a bucket of the histogram, and its routes are those of a login', async t => {
  const { app, browser } = await testApp(t)
  await browser().logIn('agency')
  const text = await app.metricsRegistry.getSingleMetricAsString('passerelle_request_duration_seconds')
  for (const { expr } of recorded) {
    const [, route] = /route=~"([^"]*)"/.exec(expr) ?? []
    if (route === undefined) continue
    const pattern = new RegExp(`^(?:${route})$`)
    const routes = [...new Set([...text.matchAll(/_count\{route="([^"]*)"\}/g)].map(([, name]) => name!))].filter(name => pattern.test(name))
    t.match(routes.map(name => name.replace(/^\/api\/v2/, '')).sort(), ['/authorize', '/callback/:idp', '/consent', '/login/:idp'])
    const [, le] = /le="([^"]*)"/.exec(expr) ?? []
    if (le !== undefined) t.match(text, `le="${le}"`)
  }
})

t.test('the list of runbooks has every alert with its page, and every page', async t => {
  const list = read('docs/runbooks/README.md')
  const rows = [...list.matchAll(/^\| `(\w+)` \| (page|ticket) \| \[[^\]]+\]\(([\w-]+\.md)\) \|/gm)].map(([, alert, severity, page]) => ({ alert, severity, page: `docs/runbooks/${page}` }))
  t.same(rows, alerts.map(({ alert, labels, annotations }) => ({ alert, severity: labels['severity'], page: annotations['runbook_url'] })))
  for (const page of readdirSync(`${root}docs/runbooks`).filter(name => name !== 'README.md')) t.match(list, `](${page})`, page)
})

/** As GitHub makes them of headings. */
const anchorsOf = (page: string) => [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-'))

t.test('runbooks and objectives name commands, files, metrics and rules that are there', async t => {
  const { app } = await testApp(t)
  const { scripts } = JSON.parse(read('package.json'))
  const { failures } = await import('../src/protocol/errors.ts')
  const ofProbe: string[] = read('docs/probe.md').match(/passerelle_probe_\w+/g) ?? []
  const ofHistograms = (name: string) => name.replace(/_(bucket|count|sum)$/, '')
  for (const file of ['docs/objectives.md', 'docs/alerts.md', ...globSync('docs/runbooks/*.md', { cwd: root })]) {
    const page = read(file)
    for (const [, name = ''] of page.matchAll(/npm run (?:-s )?([a-z][\w-]*)/g)) t.ok(scripts[name], `${file}: npm run ${name}`)
    for (const [, link = '', anchor = ''] of page.matchAll(/\]\(((?!https?:)[^)#]*)#?([^)]*)\)/g)) {
      const target = new URL(link === '' ? file.replace(/.*\//, '') : link, `file://${root}${file}`)
      t.ok(existsSync(target), `${file}: ${link}`)
      if (anchor !== '') t.ok(anchorsOf(readFileSync(target, 'utf8')).includes(anchor), `${file}: ${link}#${anchor}`)
    }
    for (const [name] of page.matchAll(/\b(?:passerelle|nodejs|process)_[a-z_]+[a-z]\b/g)) t.ok(ofProbe.includes(name) || app.metricsRegistry.getSingleMetric(name) || app.metricsRegistry.getSingleMetric(ofHistograms(name)), `${file}: ${name}`)
    for (const [name] of page.matchAll(/\bpasserelle:[\w:]+/g)) t.ok(recorded.some(({ record }) => record === name), `${file}: ${name}`)
    for (const [, failure = ''] of page.matchAll(/`((?:provider|client|code|token|store)_[a-z_]+)`/g)) t.ok(failure in failures || /^(client_secrets?|client_id|client_key|provider_(token|userinfo|chosen|authority)|token_endpoint)$/.test(failure), `${file}: ${failure}`)
  }
})

t.test('npm run alerts has all time of the rules go by faster, and changes nothing else of them', async t => {
  for (const [duration, shorter] of [['5m', '5000ms'], ['1h30m', '90000ms'], ['30d', '43200000ms'], ['1w', '10080000ms'], ['90s', '1500ms'], ['500ms', '8ms']] as const) t.equal(scaledDuration(duration, 60), shorter)
  const same = ['passerelle:logins:increase5m > 14.4 * 0.0001', 'sum by (idp) (up{job="5m"}) > 1e9', "x{a='[5m]', b=~`1h`} < 21 * 86400", '"\\"5m" == 3', 'x5m + y_1h + 0x1f + 1e-5 + 3.5 - 0', 'up # for 5m']
  for (const expr of same) t.equal(scaledExpression(expr, 60), expr)
  t.equal(scaledExpression('max_over_time(rate(x5m{a="5m"}[5m])[1d:90s] offset -1h) > 300', 60), 'max_over_time(rate(x5m{a="5m"}[5000ms])[1440000ms:1500ms] offset -60000ms) > 300')

  // where a duration stands in our rules, told otherwise: in brackets and behind `offset`
  const place = /(?<=\[|\boffset )\w+/g
  const msOf = (duration: string) => Number(scaledDuration(duration, 1).replace('ms', ''))
  let count = 0
  for (const file of ruleFiles) {
    const [groups, faster] = [read(file), scaledRules(read(file), 60)].map(text => parse(text).groups as Array<{ interval: string, rules: Array<Rule & { for?: string }> }>)
    const without = (of: typeof groups) => of!.map(({ interval, rules, ...rest }) => ({ ...rest, rules: rules.map(({ for: _, expr, ...rule }) => ({ ...rule, expr: expr.replace(place, '') })) }))
    const durations = (of: typeof groups) => of!.flatMap(({ interval, rules }) => [interval, ...rules.flatMap(({ for: pending = [], expr }) => [pending, expr.match(place) ?? []].flat())]).map(msOf)
    t.same(without(faster), without(groups), `${file}: all else is as it was`)
    t.same(durations(faster), durations(groups).map(ms => ms / 60), `${file}: every duration is a sixtieth`)
    count += durations(groups).length
  }
  t.ok(count > 100, `${count} durations`)

  const directory = t.testdir(Object.fromEntries(ruleFiles.map((file, i) => [`${i}.yaml`, scaledRules(read(file), 60)])))
  const { stdout, stderr } = await promtool('check', 'rules', ...ruleFiles.map((_, i) => `${directory}/${i}.yaml`))
  t.equal(stderr.trim(), '')
  t.match(stdout, /SUCCESS/)
})

t.test('the page of alerts that were tried has every alert: with the fault that fired it, or the reason why none did', async t => {
  const [tried = '', rest = ''] = read('docs/alerts.md').split('## Not fired by a real fault\n')
  const [missing = ''] = rest.split('\n## ')
  const rows = [...tried.matchAll(/^\| `(\w+)` \| (page|ticket) \| ([^|]+) \| (\w+) \| \d[\d.]* (?:min|h)(?:, \d+ times)? \| (?!\*\*)[^|]+ \|$/gm)].map(([, alert, severity]) => ({ alert, severity }))
  const reasons = [...missing.matchAll(/^- `(\w+)`: \S.{20}/gm)].map(([, alert]) => alert)
  t.same([...rows.map(({ alert }) => alert), ...reasons].sort(), alerts.map(({ alert }) => alert).sort())
  for (const { alert, severity } of rows) t.equal(severity, alerts.find(other => other.alert === alert)?.labels['severity'], String(alert))
  t.match(tried, `${rows.length} of ${alerts.length} alerts fired`)
})
