import t from 'tap'
import { base, testApp } from '../support/test-app.ts'

t.test('live as soon as it answers, ready from listening to draining', async t => {
  const { app } = await testApp(t)
  const probe = async (path: string) => (await app.operations.inject(path)).statusCode
  t.equal(await probe('/livez'), 200)
  t.equal(await probe('/readyz'), 503, 'not yet listening')
  let draining = 0
  app.addHook('preClose', async () => { draining = await probe('/readyz') })
  await app.listen({ host: '127.0.0.1', port: 0 })
  t.equal(await probe('/readyz'), 200)
  await app.close()
  t.equal(draining, 503, 'draining')
})

t.test('neither a store nor a provider that is away makes it unready', async t => {
  const gateway = await testApp(t)
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  gateway.store.fail()
  for (const provider of Object.values(gateway.providers)) provider.up = false
  for (const path of ['/livez', '/readyz', '/metrics']) t.equal((await gateway.app.operations.inject(path)).statusCode, 200, path)
})

t.test('probes and metrics are never on the public port', async t => {
  const { app } = await testApp(t)
  for (const path of ['/livez', '/readyz', '/metrics']) {
    t.equal((await app.inject(path)).statusCode, 404, path)
    t.equal((await app.inject(base + path)).statusCode, 404, base + path)
  }
  t.equal((await app.operations.inject(`${base}/authorize`)).statusCode, 404, 'nor the other way round')
})

t.test('metrics are Prometheus\', every failure counted from the start', async t => {
  const { app } = await testApp(t)
  const { headers, body } = await app.operations.inject('/metrics')
  t.match(headers['content-type'], /^text\/plain; version=0\.0\.4/)
  t.match(body, /^passerelle_logins_total\{outcome="success",failure=""\} 0$/m)
  t.match(body, /^passerelle_logins_total\{outcome="provider",failure="provider_unavailable"\} 0$/m)
  t.match(body, /^process_resident_memory_bytes /m)
})

t.test('which configuration is in force is told by its hash', async t => {
  const { app } = await testApp(t)
  const { body } = await app.operations.inject('/metrics')
  t.match(body, `passerelle_configuration_info{hash="${app.configuration.hash}"} 1`)
})

t.test('a login that ends is counted by its outcome, one that goes back to the chooser is not', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await gateway.redeem(await browser.logIn('agency'))
  const refused = await browser.toConsent('town')
  await browser.agree(refused.page, { decision: 'refuse' })
  await gateway.browser().start('agency', { scope: 'nonsense' })
  gateway.store.fail()
  await (async () => { const other = gateway.browser(); await other.agree((await other.toConsent('agency')).page) })()
  gateway.store.heal()
  gateway.providers['taxes']!.failure = 'provider_unavailable'
  await gateway.browser().toConsent('agency')
  const lines = (await gateway.app.operations.inject('/metrics')).body.split('\n').filter(line => /^passerelle_logins_total.* [1-9]/.test(line))
  t.strictSame(lines.sort(), [
    'passerelle_logins_total{outcome="citizen",failure="citizen_refused"} 1',
    'passerelle_logins_total{outcome="client",failure="scope_invalid"} 1',
    'passerelle_logins_total{outcome="success",failure=""} 1',
    'passerelle_logins_total{outcome="us",failure="store_unavailable"} 1'
  ])
})

t.test('what is no login is not counted as a failure of ours', async t => {
  const gateway = await testApp(t)
  const ours = async () => (await gateway.app.metricsRegistry.getSingleMetric('passerelle_logins_total')!.get()).values.filter(({ labels }) => labels['outcome'] === 'us').reduce((sum, { value }) => sum + value, 0)
  await gateway.app.inject('/wp-login.php')
  await gateway.app.inject(`${base}/assets/none.css`)
  await gateway.app.inject({ method: 'PUT', url: `${base}/token` })
  await gateway.app.inject({ method: 'POST', url: `${base}/token`, headers: { 'content-type': 'application/json' }, payload: '{}' })
  await gateway.browser().get(`${base}/authorize`, { headers: { 'sec-purpose': 'prefetch' } })
  t.equal(await ours(), 0, 'scanners and prefetches do not spend the error budget')
})
