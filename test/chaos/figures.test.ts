import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { backToNormal, callbacksUnderWay, eventsMissing, failedAmong, figuresOf, growth, inFlightAt, loginFigures, percentile, resetsSince, slowSince } from './figures.ts'
import type { Course } from './course.ts'
import { onlyInFlight } from './faults/f2.ts'
import { createHistory, type Attempt, type Outcome, type Purpose } from './history.ts'
import { readObservations, type Observation } from './observations.ts'
import { fared } from './overload.ts'
import { offersWayOn, readChooser, readConsent } from './pages.ts'
import { chooserPage, type ProviderCard } from '../../src/pages/chooser.ts'
import { consentPage } from '../../src/pages/consent.ts'
import { errorPage } from '../../src/pages/error.ts'
import type { Replica } from './replica.ts'
import { argumentsOf, conditionsOf, reportOf, summarize, type Conditions } from './report.ts'
import { revisionOf } from './revision.ts'

t.test('a percentile is a value that was measured', async t => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i)
  t.equal(percentile(values, 0.5), 50)
  t.equal(percentile(values, 0.99), 99)
  t.equal(percentile(values, 1), 100)
  t.equal(percentile([7], 0.99), 7)
  t.equal(percentile([], 0.99), undefined)
})

t.test('what grows is seen by the last third beside the first, whatever one value does', async t => {
  t.equal(growth([100, 500, 101, 102, 103, 104, 103, 1, 106]), 2)
  t.equal(growth([100, 90, 80]), -20)
  t.equal(growth([]), undefined)
})

t.test('a fault is told by the logins that were under way or began since, and by the requests that nobody answered', async t => {
  const history = createHistory()
  const rows: Array<[startedAt: number, endedAt: number, outcome: Outcome, purpose?: Purpose]> = [
    [0, 900, 'success'], [900, 1100, 'failed'], [1200, 1300, 'success'], [1500, 1600, 'recovered'], [2000, 4500, 'success'], [3000, 9000, 'raced', 'race'], [5000, 5050, 'success']
  ]
  for (const [startedAt, endedAt, outcome, purpose = 'plain'] of rows) {
    history.attempts.push({ n: history.attempts.length, purpose, client: 'allow', provider: 'here', citizen: 'c', given_name: 'C', nonce: 'n', startedAt, endedAt, outcome, notices: [], sent: [] })
  }
  const call = { step: 'token', method: 'POST', status: 200, replica: 'one' }
  history.requests.push(
    { ...call, n: 0, at: 800, ms: 50 },
    { ...call, n: 1, at: 990, ms: 100, status: 502, replica: undefined },
    { ...call, n: 2, at: 1210, ms: 3000, status: 503, failure: 'temporarily_unavailable' },
    { ...call, n: 4, at: 2000, ms: 10, status: 0, replica: 'two' },
    { ...call, n: 4, at: 2000, ms: 8000, step: 'provider' },
    { ...call, n: 5, at: 3000, ms: 5000, step: 'replay', replica: 'one', status: 0 }
  )
  t.match(loginFigures(history, { from: 1000, to: 6000 }), {
    'logins attempted': 6,
    failed: 1,
    'recovered by a click': 1,
    'longest gap without a success, s': 2.9,
    'longest login, s': 2.5,
    'longest request, s': 3,
    'back to normal after, s': 1
  })
  t.equal(backToNormal({ attempts: history.attempts.filter(({ outcome }) => outcome === 'raced') }, 1000), 0, 'a race takes longer on purpose')
  const lingering = { ...history.attempts[4]!, lingeredMs: 2300 }
  t.match(loginFigures({ ...history, attempts: [lingering] }, { from: 1000, to: 6000 }), { 'longest login, s': 0.2, 'back to normal after, s': 0 }, 'what its citizen took to read is not the login\'s time')
  t.same(resetsSince(history, 1000).map(({ n }) => n), [1, 4], 'an answer of ours is none, nor what went past the balancer')
  t.same([...inFlightAt(history, 'one', { from: 1000, to: 1100 })], [1])
  t.same([...inFlightAt(history, 'two', { from: 1000, to: 2100 })], [1, 4], 'nobody knows where the first one was')
  history.requests.push({ ...call, step: 'watch', at: 1500, ms: 4000 }, { ...call, step: 'back', at: 1500, ms: 4000, status: 502, replica: undefined })
  t.same(slowSince(history, 4300).map(({ step }) => step), ['provider', 'replay'], 'of those that a replica answered, and that somebody waited for still')
  const callback = { ...call, step: 'callback', at: 1050, ms: 100 }
  history.requests.push({ ...callback, n: 2 }, { ...callback, n: 3, at: 800, ms: 150 }, { ...callback, n: 4, at: 1200, ms: 10 })
  history.requests.push({ ...callback, n: 5, replica: 'two' }, { ...callback, n: 6, replica: 'two', triedAgain: true }, { ...callback, n: 7, status: 502, replica: undefined })
  t.same([...callbacksUnderWay(history, 'one', { from: 1000, to: 1100 })], [2, 6, 7], 'one that another replica answered at once was never there')
})

t.test('a window counts the logins that began in it at its providers, and times the plain ones that went well', async t => {
  const history = createHistory()
  const rows: Array<[at: number, provider: string, purpose: Purpose, outcome: Outcome, ms: number]> = [
    [100, 'here', 'plain', 'success', 10], [200, 'here', 'plain', 'success', 30], [300, 'here', 'wrong_first', 'success', 500], [350, 'here', 'race', 'raced', 400],
    [400, 'here', 'plain', 'recovered', 900], [500, 'here', 'plain', 'told', 5], [600, 'here', 'plain', 'stuck', 2000], [700, 'here', 'plain', 'returned', 5], [800, 'here', 'plain', 'failed', 5],
    [450, 'elsewhere', 'plain', 'failed', 5], [50, 'here', 'plain', 'failed', 5], [1000, 'here', 'plain', 'failed', 5]
  ]
  for (const [n, [startedAt, provider, purpose, outcome, ms]] of rows.entries()) {
    history.attempts.push({ n, purpose, client: 'allow', provider, citizen: 'c', given_name: 'C', nonce: 'n', startedAt, endedAt: startedAt + ms, outcome, notices: [], sent: [] })
  }
  const figures = figuresOf(history, { from: 100, to: 1000, providers: ['here'] })
  t.same(figures, { attempted: 9, failed: 4, recovered: 1, longestGapMs: 520, longestLoginMs: 2000, p50Ms: 10, p99Ms: 30 })
  t.same(failedAmong(history.attempts).length, 7)
})

/** A login of a history, from one moment to another. */
const attempt = (n: number, startedAt: number, endedAt: number, more: Partial<Attempt>): Attempt =>
  ({ n, purpose: 'plain', client: 'allow', provider: 'here', citizen: 'c', given_name: 'C', nonce: 'n', startedAt, endedAt, outcome: 'success', notices: [], sent: [], ...more })

t.test('after an outage too few logins that complete are seen, and those that fail once they got in; who began in the outage is none of them', async t => {
  const unmet = (attempts: Attempt[]) => fared({ ...createHistory(), attempts }, { from: 1000, to: 2000 }, { rate: 10 }).criteria.filter(({ passed }) => !passed).map(({ what }) => what)
  const well = Array.from({ length: 10 }, (_, n) => attempt(n, 1000 + n, 1500, { login: `login-${n}` }))
  const before = attempt(10, 999, 1100, { outcome: 'failed', why: 'authorize: 503' })
  const away = attempt(11, 1000, 1100, { outcome: 'failed', why: 'authorize: 503 Y08' })
  t.same(unmet([...well, before, away]), [])
  t.same(unmet([...well.slice(2), before, away]), ['logins completed: at least 90 % of the rated'])
  t.same(unmet([...well, ...[1, 2].map(n => ({ ...before, n: 10 + n, startedAt: 1000 }))]), ['logins that failed in another way: at most 1 %'])
})

t.test('of a replica that is killed a login that goes another way is touched only with a callback under way there then', async t => {
  const history = createHistory()
  history.attempts.push(attempt(0, 900, 1500, { outcome: 'recovered' }))
  history.requests.push({ n: 0, step: 'callback', method: 'GET', status: 303, replica: 'two', at: 990, ms: 20, triedAgain: true })
  const course = { history, from: 1000, end: 2000, exits: 0, retries: 1 } as Course<unknown>
  const seen = () => onlyInFlight(course, { name: 'one' } as Replica, 1100)
  t.match(seen().figures, { 'callbacks under way there then': 1, 'of them gone on by one click': 1 })
  t.same(seen().criteria.filter(({ passed }) => !passed), [])
  for (const other of [{ at: 900 }, { triedAgain: false }]) {
    history.requests[0] = { ...history.requests[0]!, at: 990, triedAgain: true, ...other }
    t.match(seen().figures, { 'callbacks under way there then': 0, 'of them gone on by one click': 0 })
    t.match(seen().criteria.filter(({ passed }) => !passed), [{ what: 'logins that had to go another way without a callback under way there then: 0', measured: '1' }])
  }
})

t.test('an audit event that is missing is one of the replica that gave the tokens', async t => {
  const history = createHistory()
  const redemption = { n: 0, code: 'code', by: 'allow', request: 'request', code_challenge: 'challenge', at: 0, endedAt: 1, status: 200 }
  history.redemptions.push({ ...redemption, replica: 'one' }, { ...redemption, replica: 'two' }, { ...redemption, replica: 'two', status: 400 })
  history.events.push({ login: 'l', client_id: 'allow', replica: 'two' })
  t.equal(eventsMissing(history, () => true), 1)
  t.equal(eventsMissing(history, name => name === 'one'), 1)
  t.equal(eventsMissing(history, name => name !== 'one'), 0)
})

t.test('a breaker is open when the last replica shows it, by its metrics or its chooser, and closed when none shows it any more', async t => {
  const see = (at: number, replica: string, state: string | undefined, marked: boolean): Observation =>
    ({ at, replica, breakers: state === undefined ? {} : { vitalys: state }, down: marked ? ['vitalys'] : [], isNoneOpen: marked, explainsNone: marked })
  const seen = [
    see(1, 'one', 'closed', false), see(2, 'two', 'closed', false), see(11, 'one', 'open', false), see(12, 'two', 'closed', false), see(21, 'one', 'open', true), see(22, 'two', undefined, true),
    see(31, 'one', 'half_open', false), see(32, 'two', 'closed', false), see(41, 'one', 'closed', false), see(42, 'two', 'open', true), see(51, 'one', 'closed', false)
  ]
  const { firstOpenAt, openAt, shownAt, noneAt, closedAt } = readObservations(seen, ['one', 'two'])
  t.equal(firstOpenAt('vitalys', 0), 11)
  t.equal(firstOpenAt('nobody', 0), undefined)
  t.equal(openAt('vitalys', 0), 22)
  t.equal(openAt('vitalys', 30), 42)
  t.equal(openAt('nobody', 0), undefined)
  t.equal(shownAt('vitalys', 0), 22)
  t.equal(shownAt('vitalys', 30), undefined)
  t.equal(noneAt(0), 22)
  t.equal(closedAt('vitalys', 30), undefined, 'one replica is open still')
  seen.push(see(52, 'two', 'closed', false))
  t.equal(closedAt('vitalys', 30), 52)
  t.equal(closedAt('nobody', 10), 12)
})

t.test('pages are read as the gateway writes them', async t => {
  const context = { language: 'fr', base: '', stylesheet: '/s.css', mark: '/m.svg' } as const
  const card = (id: string, state: ProviderCard['state']): ProviderCard => ({ id, title: id, href: `/login/${id}?login=l&client=c`, state })
  const data = { client: { title: 'Service' }, againHref: '/choose', returnHref: '/leave?login=the-login&client=c' }
  const chooser = readChooser(chooserPage(context, { ...data, providers: [card('a', 'up'), card('b', 'down'), card('c', 'maintenance'), card('d', 'beta'), card('e', 'slow'), card('f', 'not_allowed')], notice: { code: 'provider_unavailable' } }))
  t.match(chooser, { login: 'the-login', notice: 'provider_unavailable', explainsNone: false })
  t.same([...chooser!.cards].map(([id, { state }]) => `${id} ${state}`), ['a open', 'b down', 'c closed', 'd open', 'e open', 'f closed'])
  t.equal(chooser!.cards.get('a')!.href, '/login/a?login=l&client=c')
  t.match(readChooser(chooserPage(context, { ...data, providers: [card('a', 'down')] })), { notice: undefined, explainsNone: true })

  const consent = consentPage(context, { client: { title: 'Service' }, provider: { title: 'a' }, claims: {}, anonymous: false, consentRequired: false, missingConsent: false, login: 'l', client_id: 'c', chooseHref: '/choose' })
  t.same({ ...readConsent(consent), fields: String(readConsent(consent)!.fields) }, { action: '/consent', fields: 'login=l&client=c&decision=continue' })
  t.equal(readChooser(consent), undefined)
  t.equal(readConsent('<form action="/session/end">'), undefined)

  const lost = { code: 'B04', id: 'i', text: 'login_lost' } as const
  t.notOk(offersWayOn(errorPage(context, lost)))
  t.ok(offersWayOn(errorPage(context, { ...lost, back: { href: 'https://service.example/', title: 'Service' } })))
  t.ok(offersWayOn(errorPage(context, { ...lost, retryHref: '/choose' })))
})

t.test('several passes are told as minimum, median and maximum, and one that does not pass is not outvoted', async t => {
  const pass = (seconds: number | undefined, passed: boolean) => ({ fault: 'F10', variant: 'slow', figures: { 'open after, s': seconds, failed: 0 }, criteria: [{ what: 'open within 10 s', measured: `${seconds} s`, passed }], violations: [], failed: [], recovered: [] })
  const [summary] = summarize([pass(3, true), pass(12, false), pass(4, true)])
  t.match(summary, { passed: false, figures: { 'open after, s': '3 / 4 / 12', failed: '0' }, criteria: [{ passed: false, measured: '3 s, 12 s, 4 s' }] })
  t.match(summarize([pass(3, true), pass(undefined, true)])[0]!.figures, { 'open after, s': '3, –' })
  const report = reportOf([summary!], () => 'what it is')
  t.match(report, /^F10: what it is\n/)
  t.match(report, /open after, s +3 \/ 4 \/ 12/)
  t.match(report, /what did not hold\n +slow +open within 10 s +measured 3 s, 12 s, 4 s/)
})

t.test('a report names the revision that was measured and the one beside it, shortly, and says so where git knows none; of an earlier report nothing is said', async t => {
  const conditions: Conditions = { arguments: ['F1'], short: false, measures: { F1: { rate: 10, seconds: 5 } }, passes: 1, node: 'v26.1.0', cores: 2, processor: 'a processor', loadBefore: 0, at: '2026-11-28T20:00:00.000Z', minutes: 3 }
  const told = (more: Partial<Conditions>) => conditionsOf({ ...conditions, ...more })
  t.equal(told({}), '`npm run chaos -- F1`: 2026-11-28, Node 26.1.0, 2 cores (a processor), one pass, 3 minutes. F1: 10 logins a second for 5 s')
  const commit = '0123456789abcdef0123456789abcdef01234567'
  t.match(told({ revision: { commit, isChanged: false } }), '2026-11-28, revision 0123456, Node')
  t.match(told({ revision: { commit, isChanged: true }, previous: { commit: 'fedcba9876543210', isChanged: false } }), 'revision 0123456 with changes that are not committed, beside revision fedcba9, Node')
  t.match(told({ revision: null, previous: null }), 'a revision that git does not know, beside a revision that git does not know, Node')
})

t.test('what was asked for is told without any path', async t => {
  t.same(argumentsOf({ previous: '/home/somebody/release', json: '/tmp/report.json', rate: '5', short: true, help: false, runs: undefined }, ['F1', 'F4']), ['F1', 'F4', '--previous', 'DIR', '--rate', '5', '--short'])
  t.same(argumentsOf({ short: false }, []), [])
})

t.test('a revision is that of the very tree, which has changed with any file but the modules', async t => {
  const root = t.testdir({ tree: { 'a.ts': 'a' }, bare: {} })
  const tree = join(root, 'tree')
  const git = (...args: string[]) => execFileSync('git', ['-C', tree, '-c', 'user.name=n', '-c', 'user.email=n@example.org', '-c', 'commit.gpgsign=false', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  t.equal(revisionOf(join(root, 'bare')), null, 'a directory in a tree is not that tree')
  t.equal(revisionOf(join(root, 'nowhere')), null)
  git('init')
  t.equal(revisionOf(tree), null, 'nothing was committed')
  git('add', '.')
  git('commit', '-m', 'one')
  const commit = git('rev-parse', 'HEAD')
  t.same(revisionOf(tree), { commit, isChanged: false })
  symlinkSync(root, join(tree, 'node_modules'))
  t.same(revisionOf(tree), { commit, isChanged: false })
  writeFileSync(join(tree, 'b.ts'), 'b')
  t.same(revisionOf(tree), { commit, isChanged: true }, 'a file that nobody added')
  git('add', '.')
  git('commit', '-m', 'two')
  writeFileSync(join(tree, 'a.ts'), 'another')
  t.match(revisionOf(tree), { isChanged: true })
  mkdirSync(join(tree, 'sub'))
  t.equal(revisionOf(join(tree, 'sub')), null)
})
