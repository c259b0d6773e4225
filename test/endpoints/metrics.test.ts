import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { makeCertificate } from '../support/certificate.ts'
import { temporaryDirectory } from '../support/gateway.ts'
import { startRedis } from '../support/redis.ts'
import { base, testApp } from '../support/test-app.ts'

// What an SRE reads of a replica.

const linesOf = (body: string, name: string) => body.split('\n').filter(line => line.startsWith(name))

t.test('the way of logins is counted step by step, with the provider from where one is chosen', async t => {
  const gateway = await testApp(t)
  const steps = (event: string, idp: string) => gateway.metric('passerelle_login_steps_total', { event, idp })
  await gateway.redeem(await gateway.browser().logIn('agency'))
  await gateway.browser().toConsent('agency', { idp: 'post' })
  t.strictSame(await Promise.all([['authorize', ''], ['provider_chosen', 'taxes'], ['provider_chosen', 'post'], ['verified', 'taxes'], ['consent_given', 'taxes'], ['consent_given', 'post'], ['returned', 'taxes'], ['token', 'taxes']].map(([event, idp]) => steps(event!, idp!))), [2, 1, 1, 1, 1, 0, 1, 1])
})

t.test('logins are counted by service and outcome, and by level', async t => {
  const gateway = await testApp(t)
  await gateway.redeem(await gateway.browser().logIn('agency'))
  const browser = gateway.browser()
  await browser.agree((await browser.toConsent('town')).page, { decision: 'refuse' })
  await gateway.browser().start('agency', { scope: 'nonsense' })
  await gateway.browser().start('nobody')
  const of = (client_id: string, outcome: string) => gateway.metric('passerelle_client_logins_total', { client_id, outcome })
  t.strictSame(await Promise.all([of('agency', 'success'), of('agency', 'client'), of('town', 'citizen'), of('town', 'success'), of('other', 'client')]), [1, 1, 1, 0, 0])
  t.equal(await gateway.metric('passerelle_level_logins_total', { acr: 'eidas1' }), 1)
  t.equal(await gateway.metric('passerelle_level_logins_total', { acr: 'eidas3' }), 0)
})

t.test('a thousand services have figures of their own, and all others together', async t => {
  const town = { redirect_uris: ['https://many.example/callback'], scopes: ['openid'], token_endpoint_auth_method: 'none' }
  const many = Object.fromEntries(Array.from({ length: 1010 }, (_, i) => [`many-${String(i).padStart(4, '0')}`, { ...town, name: `Service ${i}` }]))
  const gateway = await testApp(t, { clients: many as never })
  const { body } = await gateway.app.operations.inject('/metrics')
  const named = new Set(linesOf(body, 'passerelle_client_logins_total{').map(line => /client_id="([^"]*)"/.exec(line)![1]))
  t.equal(named.size, 1000)
  await gateway.browser().start('many-1009', { redirect_uri: 'https://many.example/callback', scope: 'nonsense' })
  t.equal(await gateway.metric('passerelle_client_logins_total', { client_id: 'other', outcome: 'client' }), 1)
})

t.test('no metric says at once which service and which provider, nor has a label that was not foreseen', async t => {
  const gateway = await testApp(t)
  await gateway.redeem(await gateway.browser().logIn('agency'))
  const { body } = await gateway.app.operations.inject('/metrics')
  const labels = new Map<string, Set<string>>()
  for (const line of body.split('\n').filter(line => line.startsWith('passerelle_'))) {
    const [name] = /^\w+/.exec(line)!
    for (const [, label] of line.matchAll(/(\w+)="/g)) labels.set(name, (labels.get(name) ?? new Set()).add(label!))
  }
  for (const [name, of] of labels) t.notOk(of.has('client_id') && of.has('idp'), name)
  t.strictSame([...labels].filter(([, of]) => of.has('client_id')).map(([name]) => name), ['passerelle_client_logins_total'])
  t.strictSame([...new Set([...labels.values()].flatMap(of => [...of]))].sort(), ['acr', 'alg', 'class', 'client_id', 'event', 'failure', 'hash', 'how', 'idp', 'kind', 'le', 'leg', 'node', 'of', 'outcome', 'route', 'state', 'store', 'version', 'way', 'what'].filter(label => body.includes(`${label}="`)).sort())
})

t.test('every metric of ours has help, a unit in its name where it has one, and a place in the documentation', async t => {
  const gateway = await testApp(t)
  const body = `${(await gateway.app.operations.inject('/metrics')).body}\n${await gateway.app.productRegistry.metrics()}`
  const documented = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8')
  const all = [...body.matchAll(/^# TYPE (passerelle_\w+) (\w+)$/gm)].map(([, name, type]) => ({ name: name!, type: type! }))
  t.ok(all.length > 50)
  for (const { name, type } of all) {
    t.match(body, new RegExp(`^# HELP ${name} .{20,}$`, 'm'), name)
    if (type === 'counter') t.match(name, /_total$/, name)
    if (type === 'histogram') t.match(name, /_seconds$/, name)
    t.ok(documented.includes(`\`${name}`), `${name} is in docs/metrics.md`)
  }
  const named = new Set([...documented.matchAll(/`(passerelle_\w+)/g)].map(([, name]) => name!))
  t.strictSame([...named].filter(name => !all.some(metric => metric.name === name || `${metric.name}_bucket` === name || `${metric.name}_sum` === name || `${metric.name}_count` === name)), [], 'and nothing there that is none')
})

t.test('how long a request took is told by route, without what a provider took', async t => {
  const gateway = await testApp(t)
  await gateway.browser().toConsent('agency')
  const { body } = await gateway.app.operations.inject('/metrics')
  for (const route of ['authorize', 'login/:idp', 'callback/:idp', 'consent']) t.match(body, new RegExp(`^passerelle_request_duration_seconds_count\\{route="${base}/${route}"\\} [1-9]`, 'm'), route)
  t.notMatch(body, /route="[^"]*login=/)
})

t.test('keys tell how long they are still to be used, and certificates and secrets when they end', async t => {
  const { cert, key } = await makeCertificate(['login.example'])
  const directory = temporaryDirectory(t)
  writeFileSync(join(directory, 'cert.pem'), cert)
  writeFileSync(join(directory, 'key.pem'), key)
  const gateway = await testApp(t, {
    settings: { listen: { tls: { certificate: join(directory, 'cert.pem'), key: join(directory, 'key.pem') } } },
    clients: { agency: { client_secrets: [{ file: 'secrets/agency', expires: new Date((1_800_000_000 + 864_000) * 1000).toISOString().replace('.000', '') }] } }
  })
  const { body } = await gateway.app.operations.inject('/metrics')
  t.match(body, /^passerelle_key_until_seconds\{kind="sealing",alg="A256GCM"\} 0$/m)
  t.match(body, /^passerelle_key_until_seconds\{kind="signing",alg="ES256"\} 2505600$/m)
  t.match(body, /^passerelle_secret_until_seconds\{of="client",idp=""\} 864000$/m)
  t.match(body, /^passerelle_certificate_until_seconds\{of="listen",idp=""\} -?\d+$/m)
  await gateway.app.ready()
  const told = () => gateway.log.map(line => JSON.parse(line) as Record<string, unknown>).filter(({ at }) => at !== undefined)
  t.match(told().find(({ of }) => of === 'client'), { level: 40, client_id: 'agency', at: /^2027-01-25T/, msg: 'a secret is to be replaced' }, 'the log says whose')
  const before = told().length
  gateway.reconfigure({ clients: { agency: { client_secrets: [{ file: 'secrets/agency', expires: '2028-01-01T00:00:00Z' }] } } })
  t.equal(told().slice(before).some(({ of }) => of === 'client'), false, 'and is silent where it was replaced')
})

t.test('calls of Redis are counted by whether somebody waits for them, with the time that an outage cost those who had their answer all the same', async t => {
  const redis = await startRedis(t)
  const gateway = await testApp(t, { settings: { redis: { urls: redis.urls } }, store: 'configured' })
  const calls = (outcome: string) => gateway.metric('passerelle_store_calls_total', { store: 'a', class: 'needed', outcome })
  const ridden = () => gateway.metric('passerelle_store_ride_through_seconds_total', { store: 'a' })
  const arrival = await gateway.browser().logIn('agency')
  const before = await calls('answered')
  t.ok(before > 0)
  t.equal(await ridden(), 0)

  redis.freeze(0)
  const redeemed = gateway.redeem(arrival)
  await pause(1000)
  redis.thaw(0)
  t.equal((await redeemed).status, 200, 'it waited, and had its answer')
  t.ok(await calls('answered') > before)
  t.ok(await ridden() > 0.5)
  t.equal(await calls('unavailable'), 0)

  await redis.kill(0)
  t.equal((await gateway.userinfo(String((await redeemed).body['access_token']))).status, 503)
  t.ok(await calls('unavailable') > 0)
})

t.test('how many citizens there are every replica can tell for all, each citizen once; a number is told of names of the configuration only', async t => {
  const redis = await startRedis(t)
  const settings = { redis: { urls: redis.urls } }
  const [one, other] = [await testApp(t, { settings, store: 'configured' }), await testApp(t, { settings, store: 'configured' })]
  for (const gateway of [one, other, one]) await gateway.redeem(await gateway.browser().logIn('agency'))
  await other.redeem(await other.browser().logIn('swift', { idp: 'post' }))
  await one.app.close()
  const figures = async () => (await other.app.operations.inject('/metrics/product')).body
  t.match(await figures(), /^passerelle_citizens\{month="2027-01"\} 1$/m, 'a replica that ends has noted those it let in')
  await other.app.close()
  const third = await testApp(t, { settings, store: 'configured' })
  const { statusCode, headers, body } = await third.app.operations.inject('/metrics/product')
  t.match({ statusCode, headers }, { statusCode: 200, headers: { 'content-type': /^text\/plain; version=0\.0\.4/ } })
  t.match(body, /^passerelle_citizens_by_provider\{month="2027-01",idp="taxes"\} 1$/m)
  t.match(body, /^passerelle_citizens_by_client\{month="2027-01",client_id="agency"\} 1$/m)
  t.match(body, /^passerelle_citizens_by_level\{month="2027-01",acr="eidas1"\} \d$/m)
  t.same([...body.matchAll(/^passerelle\w+\{.*\} 0$/gm)], [], 'of what nobody used nothing is said')
  t.equal((await third.app.inject('/metrics/product')).statusCode, 404, 'not on the public port')
  await redis.kill(0)
  t.match(await third.app.operations.inject('/metrics/product'), { statusCode: 503, body: /does not answer/ })
  t.equal((await (await testApp(t)).app.operations.inject('/metrics/product')).statusCode, 503, 'nor is anything told where there is no Redis')
})

t.test('where citizens are not to be counted, nothing of them is kept', async t => {
  const redis = await startRedis(t)
  const gateway = await testApp(t, { settings: { redis: { urls: redis.urls }, count_citizens: false }, store: 'configured' })
  await gateway.redeem(await gateway.browser().logIn('agency'))
  await gateway.app.close()
  const names = (await redis.allValues()).map(({ key }) => key)
  t.ok(names.some(name => name.startsWith('used:')))
  t.same(names.filter(name => name.startsWith('citizens')), [])
})
