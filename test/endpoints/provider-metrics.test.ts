import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { outcomes } from '../../src/protocol/events.ts'
import { failures } from '../../src/protocol/errors.ts'
import { breakerStates } from '../../src/ports.ts'
import { startForgingProvider } from '../support/forging-provider.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { findWords, wordsOf } from '../support/personal-data.ts'
import { until } from '../support/redis.ts'
import { createBrowser, logIn, type Browser } from '../world/browser.ts'
import { citizens, claimsAt } from '../world/citizens.ts'

// What operators see of identity providers, by real logins at real ones.

interface Sample { name: string, labels: Record<string, string>, value: number }

async function metricsText ({ app }: Gateway) {
  const { port } = app.operations.server.address() as { port: number }
  return (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
}

const read = (text: string): Sample[] => [...text.matchAll(/^(passerelle_provider_\w+)\{(.*)\} (\S+)$/gm)].map(([, name, labels, value]) => ({
  name: name!,
  labels: Object.fromEntries([...labels!.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, said]) => [label!, said!])),
  value: Number(value)
}))

/** Looks at one metric: the sum of the samples with these labels, undefined when there is none. */
async function look (gateway: Gateway, name: string, labels: Record<string, string>) {
  const found = read(await metricsText(gateway)).filter(sample => sample.name === `passerelle_provider_${name}` && Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
  return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0)
}

/** What changed in between, series by series: counters only, which are all whole numbers. */
async function counted (gateway: Gateway, happens: () => Promise<unknown>) {
  const series = async () => new Map(read(await metricsText(gateway))
    .filter(({ name, labels }) => /_(total|count)$/.test(name) && !['discovery', 'jwks', 'status'].includes(labels['leg']!))
    .map(({ name, labels, value }) => [`${name.slice('passerelle_provider_'.length)} ${Object.values(labels).filter(label => label !== '').join(' ')}`, value]))
  const before = await series()
  await happens()
  return Object.fromEntries([...await series()].map(([name, value]): [string, number] => [name, value - (before.get(name) ?? 0)]).filter(([, more]) => more !== 0))
}

function newBrowser (t: Test, stopAt?: string) {
  const browser = createBrowser(stopAt === undefined ? {} : { stopAt })
  t.teardown(() => browser.close())
  return browser
}

async function citizenAt (t: Test, { world }: Gateway, provider: string, query: Record<string, string> = {}) {
  return logIn(newBrowser(t), { world, service: 'town', provider, citizen: 'marion', query })
}

/** A citizen who has signed in and is about to come back: the browser, and the address it is sent to. */
async function aboutToComeBack (t: Test, { world, issuer }: Gateway, provider: string) {
  const browser = newBrowser(t, `${issuer}/callback/`)
  await browser.get(`${world.services['taxes']!.url}/login`)
  await browser.click(`idp-${provider}`)
  const { location } = await browser.click('sign-in', { username: 'marion', password: 'tournesol' })
  return { browser: withoutStop(t, browser), address: location! }
}

/** The same browser, which goes everywhere. */
function withoutStop (t: Test, { jar, visits }: Browser) {
  const browser = newBrowser(t)
  browser.jar.cookies = jar.cookies
  browser.visits.push(...visits)
  return browser
}

/** Every metric with its labels, beside that of the provider. */
const labelsOf: Record<string, string[]> = {
  calls_total: ['leg', 'outcome'],
  call_duration_seconds: ['leg'],
  callbacks_total: ['outcome', 'failure'],
  callback_duration_seconds: [],
  breaker_state: ['state'],
  breaker_transitions_total: ['state'],
  callbacks_in_flight: [],
  callbacks_rejected_total: [],
  metadata_age_seconds: [],
  jwks_age_seconds: [],
  clock_skew_seconds: [],
  hints_total: ['way'],
  maintenance: []
}
const names = Object.keys(labelsOf).map(name => `passerelle_provider_${name}`)

t.test('in the small world', async t => {
  const forging = await startForgingProvider(t, { person: claimsAt('vitalys', citizens[0]!) })
  const forged = { id: 'forged', title: 'Horloge', issuer: forging.issuer, client_id: 'passerelle', client_secret: { file: 'secrets/provider-vitalys' }, acr_values: ['eidas1'], order: 99, breaker: { forced: 'closed' } }
  const gateway = await startGateway(t, {
    overrides: {
      identityProviders: {
        vitalys: { breaker: { volume: 2, reset_ms: 300, probe_ms: 0 } },
        terramut: { concurrent_callbacks: 1 },
        'plume-et-pli': { breaker: { forced: 'closed' } },
        ondelis: { breaker: { forced: 'open' } },
        forged
      }
    }
  })
  const { world, app } = gateway

  /** A citizen on the way to the provider that forges: the browser, and the address it is sent to. */
  async function sentToForged (t: Test) {
    const browser = newBrowser(t, `${forging.issuer}/authorize`)
    await browser.get(`${world.services['taxes']!.url}/login`)
    const { location } = await browser.click('idp-forged')
    return { browser: withoutStop(t, browser), address: new URL(location!) }
  }
  const idps = [...Object.keys(world.providers), 'forged']

  t.test('every provider has its series from the start, whoever comes', async t => {
    const forcedTo: Record<string, string> = { 'plume-et-pli': 'forced_closed', ondelis: 'forced_open', forged: 'forced_closed' }
    for (const idp of idps) {
      for (const state of breakerStates) t.equal(await look(gateway, 'breaker_state', { idp, state }), state === (forcedTo[idp] ?? 'closed') ? 1 : 0, `${idp}: ${state}`)
      t.equal(await look(gateway, 'breaker_transitions_total', { idp }), 0, `${idp}: nor has it gone anywhere yet`)
      for (const name of ['callbacks_in_flight', 'callbacks_rejected_total']) t.equal(await look(gateway, name, { idp }), 0, `${idp}: ${name}`)
      for (const way of ['given', 'taken', 'ignored']) t.equal(await look(gateway, 'hints_total', { idp, way }), 0, `${idp}: hints ${way}`)
      for (const name of ['metadata_age_seconds', 'jwks_age_seconds']) {
        await until(`${idp} has told what it publishes`, 5000, async () => await look(gateway, name, { idp }) !== undefined)
        t.ok((await look(gateway, name, { idp }))! < 10, `${idp}: ${name}`)
      }
    }
  })

  t.test('a login is one call of each kind, one citizen who came back, and nothing at any other provider', async t => {
    for (const idp of ['tresorine', 'plume-et-pli']) {
      const counts = await counted(gateway, async () => { t.ok((await citizenAt(t, gateway, idp)).has('greeting')) })
      t.strictSame(counts, {
        [`calls_total ${idp} token answered`]: 1,
        [`calls_total ${idp} userinfo answered`]: 1,
        [`call_duration_seconds_count ${idp} token`]: 1,
        [`call_duration_seconds_count ${idp} userinfo`]: 1,
        [`callbacks_total ${idp} success`]: 1,
        [`callback_duration_seconds_count ${idp}`]: 1
      }, idp)
      const [token, whole] = [(await look(gateway, 'call_duration_seconds_sum', { idp, leg: 'token' }))!, (await look(gateway, 'callback_duration_seconds_sum', { idp }))!]
      t.ok(token > 0 && token < whole, `${idp}: the way back took longer than one of its calls`)
      t.equal(await look(gateway, 'callbacks_in_flight', { idp }), 0)
    }
  })

  t.test('a citizen who cancels is counted as such, without a call', async t => {
    const browser = newBrowser(t)
    await browser.get(`${world.services['taxes']!.url}/login`)
    await browser.click('idp-tresorine')
    const counts = await counted(gateway, () => browser.click('cancel'))
    t.strictSame(counts, { 'callbacks_total tresorine provider provider_refused': 1, 'callback_duration_seconds_count tresorine': 1 })
  })

  t.test('a call that is refused and one that fails are told apart, and so is what the citizen is told', async t => {
    for (const [status, outcome, failure] of [[400, 'refused', 'provider_call_refused'], [503, 'provider_server_error', 'provider_server_error'], [429, 'provider_busy', 'provider_busy']] as const) {
      const { browser, address } = await aboutToComeBack(t, gateway, 'tresorine')
      world.providers['tresorine']!.intercept = ({ url }, response) => url!.endsWith('/token') && response.writeHead(status, { 'content-type': 'application/json' }).end('{"error":"because"}') !== undefined
      const counts = await counted(gateway, () => browser.get(address))
      world.providers['tresorine']!.intercept = undefined
      t.strictSame(counts, {
        [`calls_total tresorine token ${outcome}`]: 1,
        'call_duration_seconds_count tresorine token': 1,
        [`callbacks_total tresorine provider ${failure}`]: 1,
        'callback_duration_seconds_count tresorine': 1
      }, String(status))
    }
  })

  /** The next token request there waits until it is released. */
  const holdTokens = (idp: string) => new Promise<() => void>(resolve => {
    const provider = world.providers[idp]!
    provider.intercept = (request, response) => {
      if (!request.url!.endsWith(String(provider.endpoints['token_endpoint']).replace(provider.url, ''))) return false
      provider.intercept = undefined
      resolve(() => { provider.server.emit('request', request, response) })
      return true
    }
  })

  t.test('a double click on the way back is one citizen and one call, and both lead on', async t => {
    const { browser, address } = await aboutToComeBack(t, gateway, 'terramut')
    const held = holdTokens('terramut')
    const counts = await counted(gateway, async () => {
      const clicked = browser.get(address)
      const release = await held
      const again = browser.get(address)
      await once(app.server, 'request')
      await pause(200)                                                   // nothing tells from outside that it waits for the first
      t.equal(await look(gateway, 'callbacks_in_flight', { idp: 'terramut' }), 1)
      release()
      for (const page of await Promise.all([clicked, again])) t.ok(page.has('continue'))
    })
    t.strictSame(counts, {
      'calls_total terramut token answered': 1,
      'calls_total terramut userinfo answered': 1,
      'call_duration_seconds_count terramut token': 1,
      'call_duration_seconds_count terramut userinfo': 1,
      'callbacks_total terramut success': 1,
      'callback_duration_seconds_count terramut': 1
    })
  })

  t.test('who comes back while as many as we let are on their way is counted, and costs the provider nothing', async t => {
    const [first, second] = [await aboutToComeBack(t, gateway, 'terramut'), await aboutToComeBack(t, gateway, 'terramut')]
    const held = holdTokens('terramut')
    const arriving = first.browser.get(first.address)
    const release = await held
    t.equal(await look(gateway, 'callbacks_in_flight', { idp: 'terramut' }), 1)
    const counts = await counted(gateway, async () => { t.match((await second.browser.get(second.address)).body, /data-code="provider_unavailable"/) })
    t.strictSame(counts, { 'callbacks_rejected_total terramut': 1 })
    t.equal(await look(gateway, 'callbacks_in_flight', { idp: 'terramut' }), 1, 'the first is still on the way')
    release()
    t.ok((await arriving).has('continue'), 'and arrives')
    t.equal(await look(gateway, 'callbacks_in_flight', { idp: 'terramut' }), 0)
    t.ok((await second.browser.get(second.address)).has('continue'), 'the second, reloading, too: nothing was spent')
  })

  t.test('a breaker tells where it stands, and how often it went there', async t => {
    const vitalys = world.providers['vitalys']!
    const state = async () => read(await metricsText(gateway)).filter(({ name, labels, value }) => name === 'passerelle_provider_breaker_state' && labels['idp'] === 'vitalys' && value === 1).map(({ labels }) => labels['state']).join()
    const coming = [await aboutToComeBack(t, gateway, 'vitalys'), await aboutToComeBack(t, gateway, 'vitalys')]
    const went = async (to: string) => (await look(gateway, 'breaker_transitions_total', { idp: 'vitalys', state: to }))!
    const before = { open: await went('open'), half_open: await went('half_open'), closed: await went('closed') }
    vitalys.intercept = request => { request.socket.destroy(); return true }
    for (const { browser, address } of coming) t.match((await browser.get(address)).body, /data-code="provider_unavailable"/)
    await until('the breaker is open', 5000, async () => await went('open') > before.open)
    t.match(await state(), /^(open|half_open)$/, 'one state in force')
    await until('it was asked again', 5000, async () => await went('half_open') > before.half_open)
    t.equal(await went('closed'), before.closed, 'in vain')
    t.ok((await look(gateway, 'calls_total', { idp: 'vitalys', leg: 'discovery', outcome: 'provider_unavailable' }))! > 0, 'the probes are calls, too')
    vitalys.intercept = undefined
    await until('the breaker is closed', 5000, async () => await state() === 'closed')
    t.equal(await went('closed'), before.closed + 1)
    t.equal(await look(gateway, 'hints_total', { idp: 'vitalys', way: 'given' }), 1, 'other replicas were told once')
    t.ok((await citizenAt(t, gateway, 'vitalys')).has('greeting'))
  })

  t.test('the clock of a provider is seen by what it signs, also where it is too far off to be believed', async t => {
    const skewOf = () => look(gateway, 'clock_skew_seconds', { idp: 'forged' })
    t.equal(await skewOf(), undefined, 'nothing is said before it has signed anything')
    for (const [seconds, isBelieved] of [[0, true], [45, true], [-45, true], [600, false], [-600, false]] as const) {
      forging.state.forgery = { claims: claims => ({ ...claims, iat: claims.iat! + seconds, auth_time: Number(claims['auth_time']) + seconds, exp: claims.exp! + seconds }) }
      const { browser, address } = await sentToForged(t)
      const page = await browser.get(forging.comeBack(address).href)
      t.equal(page.has('continue'), isBelieved, `${seconds} s off: ${isBelieved ? 'believed' : 'refused'}`)
      const skew = (await skewOf())!
      t.ok(Math.abs(skew - seconds) <= 2, `${seconds} s off is seen as ${skew}`)
    }
    t.equal(await look(gateway, 'callbacks_total', { idp: 'forged', outcome: 'provider', failure: 'provider_token_premature' }), 1, 'ahead')
    t.equal(await look(gateway, 'callbacks_total', { idp: 'forged', outcome: 'provider', failure: 'provider_token_expired' }), 1, 'behind')
    t.ok(Math.abs((await look(gateway, 'clock_skew_seconds', { idp: 'tresorine' }))!) <= 2, 'another provider has a clock of its own')
  })

  t.test('the answer to another login is the browser\'s doing; an answer to no login of ours is the provider\'s', async t => {
    const [mine, another] = [await sentToForged(t), await sentToForged(t)]
    const outcomeOf = async (nonce: string) => {
      forging.state.forgery = { claims: claims => ({ ...claims, nonce }) }
      const counts = await counted(gateway, () => mine.browser.get(forging.comeBack(mine.address).href))
      return Object.keys(counts).filter(name => name.startsWith('callbacks_total')).join()
    }
    t.equal(await outcomeOf(another.address.searchParams.get('nonce')!), 'callbacks_total forged citizen code_of_another_login')
    t.equal(await outcomeOf('AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA'), 'callbacks_total forged provider provider_nonce_wrong')
    t.equal(await outcomeOf(mine.address.searchParams.get('nonce')!), 'callbacks_total forged success')
    forging.state.forgery = {}
  })

  t.test('labels are closed sets, whoever came and whatever was answered', async t => {
    const known: Record<string, readonly string[]> = {
      idp: idps,
      leg: ['discovery', 'jwks', 'token', 'userinfo', 'status'],
      outcome: ['answered', 'refused', ...outcomes, ...Object.keys(failures)],
      failure: ['', ...Object.keys(failures)],
      state: breakerStates,
      way: ['given', 'taken', 'ignored'],
      le: ['0.01', '0.025', '0.05', '0.1', '0.25', '0.5', '1', '2', '4', '8', '+Inf']
    }
    const samples = read(await metricsText(gateway))
    for (const [label, values] of Object.entries(known)) {
      const used = new Set(samples.flatMap(({ labels }) => labels[label] ?? []))
      t.ok(used.size > 0 && [...used].every(value => values.includes(value)), `${label}: ${[...used].join(' ')}`)
    }
    t.same(samples.filter(({ name, labels: { le, ...labels } }) => {
      const own = labelsOf[name.replace(/^passerelle_provider_/, '').replace(/_(bucket|sum|count)$/, '')] ?? []
      return Object.keys(labels).sort().join() !== ['idp', ...own].sort().join()
    }), [], 'each has its own, and all of them')
    const used = [...new Set(samples.map(({ name }) => name.replace(/_(bucket|sum|count)$/, '')))]
    t.same(used.sort(), [...names].sort(), 'every metric has been seen here')
  })

  t.test('nothing in them is about anybody', async t => {
    const text = await metricsText(gateway)
    const words = citizens.flatMap(citizen => Object.keys(world.providers).flatMap(idp => wordsOf(claimsAt(idp, citizen))))
    t.ok(words.length > 50)
    t.same(findWords(`${text} Lefèvre du Pré`, words).length > 0, true, 'what is planted is found')
    t.same(findWords(text, words), [])
    t.notMatch(text, /sub-of-wilhelmina|the-code|the-access-token/)
  })

  t.test('each of them is in the table of those who operate, and none that is not', async t => {
    const page = readFileSync(new URL('../../docs/identity-providers.md', import.meta.url), 'utf8')
    t.same([...new Set([...page.matchAll(/passerelle_provider_[a-z_]+/g)].map(([name]) => name))].sort(), [...names].sort())
    t.same(names.filter(name => app.metricsRegistry.getSingleMetric(name) === undefined), [])
  })
})
