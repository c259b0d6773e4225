import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { buildApp } from '../src/app.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { makeNextKeys } from '../src/keys.ts'
import { startForgingProvider, type ForgingProvider } from './support/forging-provider.ts'
import { temporaryDirectory } from './support/gateway.ts'
import { until } from './support/redis.ts'
import { base, browserOf, citizen, issuer, requestOf } from './support/test-app.ts'

// Registrations of identity providers that change while citizens are on their way back from one: real chains over real sockets.

const idp = '127'
const now = () => Math.floor(Date.now() / 1000)

type Tree = Record<string, unknown>

const keys = mkdtempSync(join(tmpdir(), 'passerelle-keys-'))
makeNextKeys(keys)
t.teardown(() => rmSync(keys, { recursive: true, force: true }))

/** A gateway with one real provider, which a test registers otherwise, and another that is never there. */
async function start (t: Test) {
  const provider = await startForgingProvider(t, { person: citizen })
  provider.state.forgery = { claims: claims => ({ ...claims, acr: 'eidas1' }) }
  const directory = temporaryDirectory(t)
  for (const folder of ['clients', 'identity-providers', 'secrets']) mkdirSync(join(directory, folder))
  writeFileSync(join(directory, 'secrets/one'), 'a secret that is long enough')
  writeFileSync(join(directory, 'passerelle.yaml'), stringify({ issuer, environment: 'development', keys, listen: { host: '127.0.0.1', port: 0 }, operations: { host: '127.0.0.1', port: 0 }, load: { delay_ms: 5000 } }))
  writeFileSync(join(directory, 'clients/swift.yaml'), stringify({ client_id: 'swift', name: 'swift', redirect_uris: ['https://swift.example/back'], scopes: ['openid', 'profile'], client_secrets: [{ file: 'secrets/one' }], consent: 'skip' }))
  const other = { id: 'other', title: 'Other', issuer: 'http://127.0.0.1:9', client_id: 'passerelle', client_secret: { file: 'secrets/one' }, acr_values: ['eidas1'], breaker: { probe_ms: 0 } }
  const own = { id: idp, title: 'The real one', issuer: provider.issuer, client_id: 'passerelle', client_secret: { file: 'secrets/one' }, acr_values: ['eidas1'], reports_auth_time: false }
  const write = (providers: Tree[]) => providers.map(tree => writeFileSync(join(directory, `identity-providers/${String(tree['id'])}.yaml`), stringify(tree)))
  write([own, other])
  const app = await buildApp(loadConfiguration(directory), { log: false })
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  await until('its keys are known', 10_000, async () => /^passerelle_provider_jwks_age_seconds\{idp="127"/m.test(await app.metricsRegistry.metrics()))

  return {
    app,
    provider,
    /** Registers the real one so from now on; `null` takes it away. */
    register (changes: Tree | null) {
      write([changes === null ? { ...other, id: idp, issuer: 'http://127.0.0.1:9' } : { ...own, ...changes }, other])
      const read = loadConfiguration(directory)
      if (changes === null) read.identityProviders.delete(idp)
      return app.reconfigure(read)
    },
    async metrics () { return app.metricsRegistry.metrics() },
    /** A citizen who has signed in there, and how he or she comes back. */
    async signedIn () {
      const browser = browserOf(app, now)
      const { page } = await browser.startAt(`${base}/authorize?${new URLSearchParams(requestOf('swift').parameters)}`, requestOf('swift'))
      const { location } = await browser.choose(page, idp)
      const callback = provider.comeBack(new URL(location))
      return { comeBack: () => browser.get(callback.href) }
    }
  }
}

/** The token endpoint keeps everyone waiting until it is let go. */
function hold (provider: ForgingProvider) {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { promise: asked, resolve: isAsked } = Promise.withResolvers<void>()
  provider.state.forgery = { ...provider.state.forgery, answer: { token: () => { isAsked(); return promise } } }
  return { asked, letGo: resolve }
}

t.test('what is only shown of a provider, or asked of its answers, leaves its chain as it is; what its chain is made of makes another', async t => {
  const { app, register } = await start(t)
  const first = app.identityProvider(idp)
  const other = app.identityProvider('other')
  for (const changes of [{ title: 'Another name' }, { order: 7 }, { state: 'beta' }, { state: 'maintenance', maintenance: { until: '2099-01-01T00:00:00Z' } }, { acr_values: ['eidas1', 'eidas2'] }, { always_authenticates: true }, { state: 'disabled' }]) {
    t.equal(register(changes), 'taken')
    t.equal(app.identityProvider(idp), first, JSON.stringify(changes))
  }
  t.equal(register({}), 'taken')
  t.not(app.identityProvider(idp), first, 'one that was disabled is asked again, by a new one')
  let before = app.identityProvider(idp)
  for (const changes of [{ timeout_ms: 1000 }, { breaker: { volume: 3 } }, { client_id: 'another' }, { scopes: ['openid'] }, { concurrent_callbacks: 2 }]) {
    t.equal(register(changes), 'taken')
    t.not(app.identityProvider(idp), before, JSON.stringify(changes))
    before = app.identityProvider(idp)
  }
  t.equal(app.identityProvider('other'), other, 'and none of it is the other provider\'s business')
})

t.test('a citizen who is being asked about arrives by the chain that began, whatever becomes of its registration', async t => {
  const gateway = await start(t)
  for (const [what, changes] of [['changed', { timeout_ms: 3000 }], ['disabled', { state: 'disabled' }], ['removed', null]] as const) {
    const { comeBack } = await gateway.signedIn()
    const held = hold(gateway.provider)
    const coming = comeBack()
    await held.asked
    t.equal(gateway.register(changes), 'taken', what)
    held.letGo()
    const { status, location } = await coming
    t.match({ status, location }, { status: 303, location: /^https:\/\/swift\.example\/back\?code=/ }, what)
    gateway.register({})
  }
})

t.test('a citizen who is at a provider that changes comes back by the new chain, also where the provider no longer says what it is', async t => {
  const { provider, signedIn, register } = await start(t)
  const first = await signedIn()
  const unavailable = (_request: unknown, response: { writeHead (status: number): { end (): unknown } }) => response.writeHead(503).end()
  provider.state.forgery = { ...provider.state.forgery, answer: { metadata: unavailable, jwks: unavailable } as never }
  t.equal(register({ timeout_ms: 2500 }), 'taken')
  t.match((await first.comeBack()).location, /\?code=/, 'by what was known before')
  const second = await signedIn()
  t.equal(register({ timeout_ms: 2600, state: 'disabled' }), 'taken')
  t.match((await second.comeBack()).location, /\?code=/, 'disabled as well')
})

t.test('of a provider that is gone, or is asked no more, nothing is shown that would raise an alarm', async t => {
  const { metrics, register, app } = await start(t)
  const shown = async () => [...(await metrics()).matchAll(/^(passerelle_provider_\w+)\{idp="127"/gm)].map(([, name]) => name!).filter(name => /_state$|_age_seconds$|in_flight$|skew/.test(name))
  const isShown = async (name: string) => (await shown()).includes(`passerelle_provider_${name}`)
  t.ok(await isShown('breaker_state'))
  for (const changes of [{ state: 'disabled' }, null]) {
    register(changes)
    t.same(await shown(), [], JSON.stringify(changes))
    register({})
    t.ok(await isShown('breaker_state'), 'and again when it is back')
    t.equal(app.identityProvider(idp).standing(), 'up')
  }
  register(null)
  t.throws(() => app.identityProvider(idp), /no such identity provider/)
})
