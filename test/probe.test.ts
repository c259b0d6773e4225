import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer, request as ask } from 'node:https'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { setDefaultCACertificates } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { busyPage } from '../src/pages/busy.ts'
import { probeLogin } from '../src/probe/login.ts'
import { exitCodeOf } from '../src/probe/report.ts'
import { ProbeFile, loadProbe } from '../src/probe/settings.ts'
import type { Side, Told } from '../src/probe/watch.ts'
import { failures } from '../src/protocol/errors.ts'
import { makeCertificate } from './support/certificate.ts'
import { keyOf } from './support/client-keys.ts'
import { secureSuffix, startGateway, temporaryDirectory } from './support/gateway.ts'
import { findWords, wordsOf } from './support/personal-data.ts'
import { until } from './support/redis.ts'
import { citizens, claimsAt } from './world/citizens.ts'
import { merge } from './world/configuration.ts'
import { freePort } from './world/free-port.ts'
import { startLightProvider } from './world/light-provider.ts'
import type { Handler, MisbehaviourName } from './world/misbehaviours.ts'
import { hostNames } from './world/world.ts'

// The probe against the real gateway over https, and against a front that meddles with what the gateway says.

type Meddling = (request: IncomingMessage, response: ServerResponse) => boolean
interface Front { /** answers in the gateway's place where it says so */ meddle: Meddling, /** what is asked of the gateway instead */ asks: (url: string) => string, /** what it is made to say */ says: (path: string, text: string) => string }

const root = fileURLToPath(new URL('..', import.meta.url))
const page = readFileSync(join(root, 'docs/probe.md'), 'utf8')
const marion = citizens.find(({ username }) => username === 'marion')!
const service = 'https://probe.invalid'
const password = 'tournesol'

t.setTimeout(120_000)
setDefaultCACertificates([])                                           // nobody here is known to the usual ones, and each login would read them all

t.test('the probe', async t => {
  const certificate = await makeCertificate([...hostNames(secureSuffix), `caprice.${secureSuffix}`])
  const directory = temporaryDirectory(t)
  const secret = randomBytes(32).toString('hex')
  const key = keyOf('probe-by-key')
  const write = (name: string, text: string) => { writeFileSync(join(directory, name), text); return join(directory, name) }
  const [frontPort, port, deadPort] = [await freePort(), await freePort(), await freePort()]
  const issuer = `https://passerelle.${secureSuffix}:${frontPort}`
  const posted: URLSearchParams[] = []
  let pages: Handler = () => {}
  const caprice = await startLightProvider({ forgery: () => ({ answer: { authorize: pages } }), observe: ({ endpoint, body }) => { if (endpoint === 'authorize' && body.size > 0) posted.push(body) }, id: 'caprice', suffix: secureSuffix, tls: certificate, redirect_uris: [`${issuer}/callback/caprice`], post_logout_redirect_uris: [`${issuer}/session/ended`] })
  t.teardown(() => caprice.stop())

  const client = { client_id: 'probe', name: 'Probe', redirect_uris: [`${service}/callback`], post_logout_redirect_uris: [`${service}/left`], scopes: ['openid', 'profile', 'email'], idp_hints: ['vitalys', 'caprice', 'dead'], client_secrets: [{ file: write('client', secret) }] }
  // as docs/probe.md has them, but for names and addresses: a client and the settings of its probe, twice
  const here = { 'id.sandbox.example.org': `vitalys.${secureSuffix}`, sandbox: 'vitalys', 'https://login.example.org/api/v2': issuer, 'http://localhost:8080': issuer, 'http://localhost:5056': service, 'username: nobody': 'username: marion' }
  const [tried, trying, registered, registering] = [...page.matchAll(/^ *```yaml\n([^]*?)^ *```$/gm)]
    .map(([, yaml]) => parse(Object.entries(here).reduce((text, [there, name]) => text.replaceAll(there, name), yaml!)) as Record<string, unknown>)
  const provider = { client_id: 'passerelle', client_secret: { file: write('provider', caprice.client_secret) }, acr_values: ['eidas1', 'eidas2'], ca: write('ca.pem', certificate.cert), loopback: true }
  const { world } = await startGateway(t, {
    tls: certificate,
    behind: { issuer, port },
    overrides: {
      clients: {
        probe: client,
        'probe-by-key': { ...client, client_id: 'probe-by-key', client_secrets: [], token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [key.published] }, id_token_signed_response_alg: 'ES256', consent: 'required' },
        tried: { ...tried, client_id: 'tried', client_secrets: client.client_secrets },
        registered: { ...registered, client_id: 'registered', client_secrets: client.client_secrets },
        'probe-without-page': { ...client, client_id: 'probe-without-page', consent: 'skip' }
      },
      identityProviders: {
        vitalys: { state: 'hidden' },
        caprice: { ...provider, id: 'caprice', title: 'Caprice', issuer: caprice.issuer, timeout_ms: 1000, breaker: { forced: 'closed' } },
        dead: { ...provider, id: 'dead', title: 'Dead', issuer: `https://dead.${secureSuffix}:${deadPort}` }
      }
    }
  })
  const front = await startFront(t, { certificate, frontPort, port })

  const names = ['passerelle', 'vitalys', 'terramut', 'caprice', 'dead'].map(name => `${name}.${secureSuffix}`)
  const sound = {
    issuer,
    client_id: 'probe',
    client_secret: { file: 'client' },
    redirect_uri: client.redirect_uris[0]!,
    post_logout_redirect_uri: client.post_logout_redirect_uris[0]!,
    scopes: client.scopes,
    claims: ['given_name', 'email'],
    provider: { id: 'vitalys', hosts: [`vitalys.${secureSuffix}`, `terramut.${secureSuffix}`] },
    account: { username: 'marion', password: { file: write('password', `${password}\n`) } },
    ca: 'ca.pem',
    resolve: Object.fromEntries(names.map(name => [name, '127.0.0.1']))
  }
  const byKey = { client_id: 'probe-by-key', client_secret: null, client_key: { file: write('key.json', JSON.stringify({ ...key.privateKey.export({ format: 'jwk' }), kid: key.kid, alg: 'ES256' })) }, id_token_signed_response_alg: 'ES256' }
  const viaCaprice = { provider: { id: 'caprice', hosts: null } }
  let files = 0
  const fileOf = (changes: object, base: Record<string, unknown> = sound) => write(`probe-${++files}.yaml`, stringify(merge(base, changes as Record<string, unknown>)))

  /** A login in this process: its steps, and why it failed. */
  async function login (changes: object = {}, base?: Record<string, unknown>) {
    const told: Told[] = []
    const trouble = await probeLogin(loadProbe(fileOf(changes, base)), one => { told.push(one) })
    assertSilent(JSON.stringify(told))
    return { trouble, steps: told.flatMap(one => 'left' in one ? [one.left] : []) }
  }

  /** The command, as a monitor runs it; the process of its login is sent a signal once it runs. */
  async function run (changes: object | string[], { args = [], signal, unread = false }: { args?: string[], signal?: NodeJS.Signals, unread?: boolean } = {}) {
    const { NODE_OPTIONS: _, ...env } = process.env
    const child = spawn(process.execPath, ['src/probe.ts', ...Array.isArray(changes) ? changes : [fileOf(changes)], ...args], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => { child.kill('SIGKILL') })
    const ended = new Promise<number | null>(resolve => { child.once('close', resolve) })
    let [out, err] = ['', '']
    if (unread) for (const stream of [child.stdout, child.stderr]) stream.destroy()
    child.stdout.on('data', text => { out += text })
    child.stderr.on('data', text => { err += text })
    if (signal !== undefined) {
      await until('its login has a process', 20_000, () => loginsOf(child.pid!).length > 0)
      for (const pid of loginsOf(child.pid!)) process.kill(pid, signal)
    }
    const code = await ended
    assertSilent(out + err)
    return { code, out, err }
  }

  /** No secret, no name, and nothing that looks like a code or a token. */
  function assertSilent (text: string) {
    const words = [secret, password, 'marion', ...wordsOf(claimsAt('vitalys', marion))]
    if (findWords(text, words).length > 0 || /eyJ|a-[\w-]{43}|code=/.test(text)) throw new Error(`what must not be told: ${text}`)
  }

  const through = async (meddling: Partial<Front>, changes: object = {}) => {
    front.use(meddling)
    try { return await login(changes) } finally { front.use({}) }
  }
  const on = (path: string, answer: (request: IncomingMessage, response: ServerResponse) => void): Partial<Front> => ({
    meddle: (request, response) => request.url!.split('?')[0] === path && (answer(request, response), true)
  })

  await t.test('the gateway, where it is away', async t => {
    const away = { resolve: { [names[0]!]: '127.0.0.2' } }
    t.match((await login(away)).trouble, { step: 'discovery', at: 'gateway', reason: 'no answer (ECONNREFUSED)' })
    t.match((await login({ ca: null })).trouble, { step: 'discovery', at: 'gateway', reason: /certificate is not trusted/ })
    t.match((await login({ issuer: 'https://nowhere.invalid' })).trouble, { step: 'discovery', at: 'gateway', reason: /no answer \((ENOTFOUND|EAI_AGAIN)\)/ })
    t.match((await login({ issuer: `${issuer}/elsewhere` })).trouble, { step: 'discovery', at: 'gateway', status: 404 })
    t.match((await through(on('/.well-known/openid-configuration', (_request, response) => { response.setHeader('content-type', 'text/html').end('<h1>Welcome to the hotel</h1>') }))).trouble, { step: 'discovery', at: 'gateway', reason: /not right/, status: 200 })
  })

  await t.test('TLS, where it is wrong', async t => {
    const [expired, another] = await Promise.all([makeCertificate([names[0]!], { by: certificate, ended: true }), makeCertificate([`elsewhere.${secureSuffix}`], { by: certificate })])
    const at = async (address: string, server: Server, of = { name: names[0]!, port: frontPort }) => {
      await listen(server, of.port, address)
      try { return (await login({ resolve: { [of.name]: address } })).trouble } finally { server.close() }
    }
    t.match(await at('127.0.0.3', createServer(expired)), { step: 'discovery', at: 'gateway', reason: 'its certificate is not trusted (CERT_HAS_EXPIRED)' })
    t.match(await at('127.0.0.4', createServer(another)), { step: 'discovery', at: 'gateway', reason: 'its certificate is not trusted (ERR_TLS_CERT_ALTNAME_INVALID)' })
    t.match(await at('127.0.0.5', createPlainServer()), { step: 'discovery', at: 'gateway', reason: /^no TLS with it \(ERR_SSL_\w+\)$/ })
    const vitalys = { name: names[1]!, port: Number(new URL(world.providers.vitalys!.issuer).port) }
    t.match(await at('127.0.0.3', createServer(another), vitalys), { step: 'provider', at: 'provider', reason: 'its certificate is not trusted (ERR_TLS_CERT_ALTNAME_INVALID)' })
  })

  // they wait most of their time, and are looked at in the end
  const heldUp = holdUp()
  async function holdUp () {
    const silent = createServer(certificate)
    await listen(silent, frontPort, '127.0.0.6')
    t.teardown(() => { silent.close().closeAllConnections() })
    const begun = performance.now()
    const slow = (timeout_ms: number) => ({ timeout_ms, resolve: { [names[0]!]: '127.0.0.6' } })
    const runs = await Promise.all([run(slow(1500)), run(slow(4000), { signal: 'SIGSTOP' }), run(slow(10_000), { signal: 'SIGKILL' })])
    return { runs, seconds: (performance.now() - begun) / 1000 }
  }

  await t.test('a gateway that is not one', async t => {
    const short = { step_timeout_ms: 2500 }
    front.use({
      meddle: (request, response) => {
        if (request.url!.startsWith('/authorize?') && request.url!.includes('probe-without-page')) return true
        if (request.url === '/userinfo') drip(request, response)
        return request.url === '/userinfo'
      }
    })
    pages = () => new Promise(() => {})
    const [hung, dripping, hanging] = await Promise.all([login({ ...short, client_id: 'probe-without-page' }), login(short), login(merge(viaCaprice, short))])
    pages = () => {}
    t.match(hanging.trouble, { step: 'provider', at: 'provider', reason: 'no whole answer within the step\'s 2500 ms' })
    t.match(hung.trouble, { step: 'authorize', at: 'gateway', reason: 'no whole answer within the step\'s 2500 ms' })
    t.match(dripping.trouble, { step: 'userinfo', at: 'gateway', reason: 'no whole answer within the step\'s 2500 ms' }, 'a letter now and then')
    t.match((await through(on('/authorize', flood))).trouble, { step: 'authorize', at: 'gateway', reason: 'an answer of more than 1048576 bytes' })
    t.match((await through(on('/jwks', flood))).trouble, { step: 'token', at: 'gateway', reason: 'an answer of more than 1048576 bytes' })
    t.match((await through(on('/authorize', (request, response) => { response.writeHead(302, { location: request.url }).end() }))).trouble, { step: 'authorize', at: 'gateway', reason: 'more than 20 redirects in a row' })
    t.match((await through(on('/authorize', (_request, response) => { response.writeHead(302, { location: `http://passerelle.${secureSuffix}:${port}/` }).end() }))).trouble, { step: 'authorize', at: 'gateway', reason: /not https/ })
    const busy = busyPage({ language: 'en', base: '', stylesheet: '/style.css' }, { code: failures.overloaded.citizen, byItself: true })
    t.match((await through(on('/authorize', (_request, response) => { response.writeHead(503, { refresh: '5' }).end(busy) }))).trouble, { step: 'authorize', at: 'gateway', status: 503, code: 'Y08' }, 'it sends new logins away')
    t.match((await through(on('/authorize', (_request, response) => { response.writeHead(502).end('<h1>Bad gateway</h1>') }))).trouble, { step: 'authorize', at: 'gateway', status: 502 })
    t.match((await through(on('/authorize', (_request, response) => { response.end('<form method=post action=/steal><input name=who><input type=password name=p></form>') }))).trouble, { step: 'chooser', at: 'gateway' }, 'the password is not for the gateway')
    const deep = '<div><p>'.repeat(60_000) + '</b>'.repeat(130_000)
    t.match((await through(on('/authorize', (_request, response) => { response.end(deep) }), { step_timeout_ms: 1000 })).trouble, { step: 'authorize', at: 'gateway', reason: 'its page was not read within the step\'s 1000 ms' })
  })

  await t.test('an answer that is not right', async t => {
    const renamed = (name: string) => ({ asks: (url: string) => url.startsWith('/authorize') ? url.replace(new RegExp(`([?&]${name}=)[^&]*`), '$1forged-forged-forged') : url })
    t.match((await through(renamed('nonce'))).trouble, { step: 'token', at: 'gateway', reason: /"nonce"/ }, 'an ID Token with another nonce')
    t.match((await through(renamed('state'))).trouble, { step: 'token', at: 'gateway', reason: /"state"/ })
    t.match((await through(renamed('code_challenge'))).trouble, { step: /^(authorize|token)$/, at: 'gateway' })
    const member = (at: string, change: (body: Record<string, unknown>) => object) => ({ says: (path: string, text: string) => path === at ? JSON.stringify(change(JSON.parse(text))) : text })
    t.match((await through(member('/userinfo', body => ({ ...body, sub: 'somebody-else' })))).trouble, { step: 'userinfo', at: 'gateway', reason: /"sub"/ })
    t.match((await through(member('/userinfo', ({ email, ...body }) => body))).trouble, { step: 'userinfo', at: 'gateway', reason: 'userinfo lacks email' })
    t.match((await through(member('/token', body => ({ ...body, id_token: forged(String(body['id_token'])) })))).trouble, { step: 'token', at: 'gateway', reason: /signature/ })
    t.match((await through(member('/token', ({ id_token, ...body }) => body))).trouble, { step: 'token', at: 'gateway', reason: /id_token/ })
    t.match((await through(member('/.well-known/openid-configuration', body => ({ ...body, issuer: 'https://elsewhere.example' })))).trouble, { step: 'discovery', at: 'gateway' })
    t.match((await through(on('/token', (_request, response) => { response.writeHead(500, { 'content-type': 'application/json' }).end(JSON.stringify({ error: marion.username, error_description: secret })) }))).trouble, { step: 'token', at: 'gateway', status: 500, error: undefined }, 'whatever it says is not passed on')
    t.match((await through(on('/callback/vitalys', (_request, response) => { response.writeHead(302, { location: `https://terramut.${secureSuffix}/` }).end() }))).trouble, { step: 'callback', at: 'gateway', reason: /a second time/ })
    t.match((await through(on('/consent', (_request, response) => { response.writeHead(302, { location: `${service}/callback?error=server_error&error_description=${password}` }).end() }))).trouble, { step: 'callback', at: 'gateway', error: 'server_error' })
  })

  await t.test('the registration of the probe, where it does not fit', async t => {
    write('wrong', randomBytes(32).toString('hex'))
    t.match((await login({ client_secret: { file: 'wrong' } })).trouble, { step: 'token', at: 'gateway', status: 401, error: 'invalid_client' })
    t.match((await login({ client_id: 'nobody' })).trouble, { step: 'authorize', at: 'gateway', status: 400, code: 'A01', support_id: /^[A-Z0-9]{10}$/ })
    t.match((await login({ scopes: ['openid', 'phone'] })).trouble, { step: 'authorize', at: 'gateway', error: 'invalid_scope' })
    t.match((await login({ provider: { id: 'tresorine-2' } })).trouble, { step: 'authorize', at: 'gateway', error: 'invalid_request' }, 'a hint that its client may not give')
    t.match((await login({ provider: { hint: false } })).trouble, { step: 'chooser', at: 'gateway', reason: 'a page without a link to the provider vitalys' }, 'a hidden provider is on no chooser')
    t.match((await login({ post_logout_redirect_uri: `${service}/elsewhere` })).trouble, { step: 'logout', at: 'gateway', status: 400, code: 'E01' })
  })

  await t.test('the provider, where the fault is its own', async t => {
    write('wrong-password', 'coquelicot')
    t.match((await login({ account: { password: { file: 'wrong-password' } } })).trouble, { step: 'provider', at: 'provider', reason: /asks for the password again/ })
    t.match((await login({ resolve: { [names[1]!]: '127.0.0.2' } })).trouble, { step: 'provider', at: 'provider', reason: 'no answer (ECONNREFUSED)' })
    t.match((await login({ provider: { hosts: ['elsewhere.example'] } })).trouble, { step: 'provider', at: 'provider', reason: /must not have the password/ })
    t.match((await login({ account: { fields: { password: 'code' } } })).trouble, { step: 'provider', at: 'provider', reason: 'a page without a login form' })
    t.match((await login({ provider: { id: 'dead' } })).trouble, { step: 'authorize', at: 'provider', notice: 'provider_unavailable' })
    t.match((await login({ provider: { id: 'dead', status_url: `${caprice.issuer}/status` } })).trouble, { at: 'gateway', reason: /does not answer, and it does/ }, 'where the provider answers the probe, it is the gateway that does not reach it')
    t.match((await login({ provider: { id: 'dead', status_url: `https://dead.${secureSuffix}:${deadPort}/` } })).trouble, { at: 'provider' })
    const misbehaving = async (name: MisbehaviourName) => {
      caprice.misbehave(name)
      try { return (await login(viaCaprice)).trouble } finally { caprice.recover() }
    }
    t.match(await misbehaving('wrong_nonce'), { step: 'callback', at: 'provider', notice: 'provider_answer_invalid' })
    t.match(await misbehaving('hang_token'), { step: 'callback', at: 'provider', notice: 'provider_unavailable' })
  })

  await t.test('a login over pages of every kind, each form sent as a browser sends it', async t => {
    const asked = (url: string) => [...new URL(url, issuer).searchParams].filter(([name]) => name !== 'step')
    const cookies: Array<string | undefined> = []
    pages = ({ url, headers }, response) => {
      const step = new URL(url!, issuer).searchParams.get('step')
      const action = (next: number) => `${new URLSearchParams([...asked(url!), ['step', String(next)]])}`.replaceAll('&', '&amp;')
      cookies.push(headers.cookie)
      response.setHeader('content-type', 'text/html')
      if (step === null) {
        response.setHeader('set-cookie', ['__Host-form=here; Secure; Path=/; HttpOnly; SameSite=Strict', '__Host-bad=there; Path=/'])
        response.end(`<form id=search><input name=q></form><FORM METHOD=post ACTION="?${action(2)}" id=f><input name=token value='a "b" &amp; c' type=hidden><select name=bank><option value=1><option value=2 selected></select>
          <input type=checkbox name=stay><input type=checkbox name=read checked><input type=radio name=way value=sms><input type=radio name=way value=app checked><input name=off value=x disabled></FORM>
          <input name=login form=f><button form=f name=go value=on>Go</button>`)
      } else if (step === '2') response.end(`<base href="/nowhere/"><form method=post action="/authorize?${action(3)}"><input type=password name=word><button type=button name=show>Show</button><input type=submit name=enter value=In></form>`)
      else if (step === '3') response.end(`<form action=/authorize><input type=hidden name=step value=4>${asked(url!).map(([name, value]) => `<input type=hidden name="${name}" value="${value}">`).join('')}</form>`)
    }
    const { trouble, steps } = await login({ provider: { id: 'caprice', hosts: [`caprice.${secureSuffix}`] }, account: { fields: { username: 'login' } } })
    pages = () => {}
    t.equal(trouble, null)
    t.equal(steps.filter(step => step === 'provider').length, 1, 'all of them are one step')
    t.same(posted.map(body => Object.fromEntries(body)).slice(0, 2), [
      { token: 'a "b" & c', bank: '2', read: 'on', way: 'app', login: 'marion', go: 'on' },
      { word: password, enter: 'In' }
    ])
    t.same(cookies, [undefined, '__Host-form=here', '__Host-form=here', '__Host-form=here'])
  })

  await t.test('the password goes nowhere but to the provider', async t => {
    posted.length = 0
    const form = (action: string, method = 'post') => `<form method=${method} action="${action}"><input name=u><input type=password name=p></form>`
    const shown = async (answer: Handler) => {
      pages = answer
      try { return (await login(viaCaprice)).trouble } finally { pages = () => {} }
    }
    const ofPage = (html: string) => shown((_request, response) => { response.end(html) })
    const at = { step: 'provider', at: 'provider' }
    t.match(await ofPage(form(`${issuer}/consent`)), { ...at, reason: /must not have the password/ }, 'not to the gateway')
    t.match(await ofPage(form(`http://caprice.${secureSuffix}/`)), { ...at, reason: /not https/ })
    t.match(await ofPage(form('javascript:alert(1)')), { ...at, reason: /not https/ })
    t.match(await ofPage(form('http://[')), { ...at, reason: /no address/ })
    t.match(await ofPage(form('', 'get')), { ...at, reason: /in an address/ })
    t.match(await ofPage('<form method=post><input type=password name=p></form>'), { ...at, reason: /no field for the name/ })
    t.match(await ofPage('<form method=post action=/authorize><input type=hidden name=a></form>'), { ...at, reason: 'more than 12 pages' }, 'forms that lead nowhere')
    t.match(await shown(({ method, url }, response) => {
      if (method === 'POST') response.writeHead(307, { location: `https://terramut.${secureSuffix}/` }).end()
      else response.end(form(url!.replaceAll('&', '&amp;')))
    }), { ...at, status: 307, reason: 'it sends a form on to another host' })
    t.match(await shown((_request, response) => { response.writeHead(303, { location: `${service}/callback?code=a` }).end() }), { ...at, reason: /only the gateway may/ })
    t.match(await shown(({ url }, response) => { response.writeHead(302, { location: url! }).end() }), { ...at, reason: 'more than 20 redirects in a row' }, 'the circle of a provider is its own fault')
    t.match(await shown((_request, response) => { response.writeHead(503).end() }), { ...at, status: 503 })
    t.same(posted.flatMap(body => [...body.values()]).filter(value => value === password), [password], 'but for the form that was asked for by its own host')
  })

  await t.test('a login that goes well, by every way', async t => {
    const steps = ['discovery', 'authorize', 'provider', 'callback', 'consent', 'token', 'userinfo', 'logout']
    t.same(await login(), { trouble: null, steps })
    t.same(await login({ ...byKey, account: { fields: { username: 'username', password: 'password' } } }), { trouble: null, steps }, 'a key instead of a secret, and a box to tick')
    t.same(await login({ provider: { id: 'terramut', hint: false } }), { trouble: null, steps: ['discovery', 'authorize', 'chooser', 'login', ...steps.slice(2)] }, 'by the chooser')
    t.same(await login({ client_id: 'probe-without-page', post_logout_redirect_uri: null }), { trouble: null, steps: ['discovery', 'authorize', 'provider', 'callback', 'token', 'userinfo'] })
    t.same(await login(viaCaprice), { trouble: null, steps }, 'at a provider that asks for no password')
  })

  await t.test('a login that is set up as docs/probe.md says', async t => {
    write('client-secret', `${secret}\n`)
    const reached = { ca: sound.ca, resolve: sound.resolve }
    const steps = ['discovery', 'authorize', 'provider', 'callback', 'consent', 'token', 'userinfo']
    t.same(await login({ ...reached, client_id: 'tried' }, trying), { trouble: null, steps })
    t.same(await login({ ...reached, client_id: 'registered' }, registering), { trouble: null, steps: [...steps, 'logout'] })
  })

  await t.test('the command tells by its exit code whom to wake', async t => {
    const metrics = join(directory, 'metrics')
    mkdirSync(metrics)
    write('torn.yaml', `issuer: "${secret}`)
    const figures = (name: string) => ['--metrics', join(metrics, name)]
    const [well, ofGateway, ofProvider, nowhere, ...wrong] = await Promise.all([
      run({}, { args: figures('well.prom') }),
      run({ client_secret: { file: 'wrong' } }, { args: ['--json'] }),
      run({ account: { password: { file: 'wrong-password' } } }, { args: figures('failed.prom') }),
      run({}, { args: ['--metrics', join(directory, 'no', 'such', 'place.prom')], unread: true }),
      run([fileOf({}), '--password', password]),
      run([join(directory, 'torn.yaml')])
    ])
    t.equal(well.code, 0, well.out + well.err)
    t.same(well.out.trim().split('\n').map(line => line.replace(/\s+\d+ ms$/, '')), ['discovery', 'authorize', 'provider', 'callback', 'consent', 'token', 'userinfo', 'logout', 'ok: one login in'])
    const told = readFileSync(join(metrics, 'well.prom'), 'utf8')
    t.match(told, /^passerelle_probe_success 1$/m)
    t.match(told, /^passerelle_probe_exit_code 0$/m)
    t.match(told, /^passerelle_probe_step_seconds\{step="token"\} [\d.]+$/m)
    const [, at] = /^passerelle_probe_timestamp_seconds ([\d.]+)$/m.exec(told) ?? []
    t.ok(Math.abs(Number(at) - Date.now() / 1000) < 60)

    t.equal(ofGateway.code, 3)
    t.match(JSON.parse(ofGateway.out), { success: false, exit_code: 3, failure: { step: 'token', at: 'gateway', status: 401, error: 'invalid_client' }, steps: [{ step: 'discovery', milliseconds: Number }] })
    t.equal(ofProvider.code, 4)
    t.match(ofProvider.out, /^failed at provider, provider: it asks for the password again.*, status 200$/m)
    t.match(readFileSync(join(metrics, 'failed.prom'), 'utf8'), /^passerelle_probe_success 0$[^]*^passerelle_probe_exit_code 4$/m)

    t.equal(nowhere.code, 2, 'figures that cannot be written, which is known though nobody reads the lines')
    t.notOk(existsSync(join(directory, 'no')))
    for (const [i, said] of [/^usage: /, /not YAML/].entries()) {
      t.equal(wrong[i]!.code, 2, String(said))
      t.match(wrong[i]!.err, said)
    }
    t.same(readdirSync(metrics).sort(), ['failed.prom', 'well.prom'], 'no draft is left')
  })

  await t.test('the command ends in time, whatever holds its login up', async t => {
    const { runs: [hung, frozen, killed], seconds } = await heldUp
    t.equal(hung.code, 3)
    t.match(hung.out, /^failed at discovery, gateway: no whole answer within the login's 1500 ms$/m)
    t.equal(frozen.code, 3)
    t.match(frozen.out, /^failed at discovery, gateway: no end within the login's 4000 ms$/m, 'its process is ended from outside')
    t.equal(killed.code, 2)
    t.match(killed.out, /^failed at discovery, probe: the probe broke off: SIGKILL$/m)
    t.ok(seconds < 30)
  })

  await t.test('settings that cannot be are refused by name, a secret never told', async t => {
    const problemsOf = (changes: object) => { try { loadProbe(fileOf(changes)); return '' } catch (error) { return (error as Error).message } }
    t.equal(problemsOf({}), '')
    t.match(problemsOf({ client_key: { file: 'key.json' } }), /expected either \/client_secret or \/client_key/)
    t.match(problemsOf({ client_secret: null }), /expected either/)
    t.match(problemsOf({ client_secret: { file: 'nowhere' } }), /\/client_secret: .*nowhere cannot be read \(ENOENT\)/)
    t.match(problemsOf({ client_secret: secret }), /\/client_secret: must be object/)
    t.notMatch(problemsOf({ client_secret: secret }), secret)
    t.match(problemsOf({ ...byKey, client_key: { file: 'client' } }), /\/client_key: expected a private JWK/)
    t.notMatch(problemsOf({ ...byKey, client_key: { file: 'client' } }), secret)
    t.match(problemsOf({ issuer: 'http://login.example.org' }), /\/issuer: expected https/)
    t.match(problemsOf({ ca: 'client' }), /\/ca: expected certificates/)
    t.match(problemsOf({ resolve: { a: 'b' } }), /\/resolve\/a: expected an IP address/)
    t.match(problemsOf({ redirect_uri: `${service}/callback?a=b` }), /\/redirect_uri: expected an http or https address without a query/)
    t.match(problemsOf({ surprise: 1 }), /unknown setting surprise/)
    t.match(problemsOf({ account: { username: null } }), /\/account: expected username/)
    write('empty', '\n')
    t.match(problemsOf({ account: { password: { file: 'empty' } } }), /\/account\/password: .*expected a secret/)
  })
})

t.test('docs/probe.md names every setting, and none that is not', async t => {
  t.same([...page.matchAll(/^\| `([\w.]+)` \| /gm)].map(([, name]) => name), namesOf(ProbeFile.properties))
})

t.test('docs/probe.md names every exit code', async t => {
  const sides: Side[] = ['probe', 'gateway', 'provider']
  const codes = [null, ...sides].map(at => exitCodeOf({ trouble: at && { step: 'token', at, reason: '' }, steps: [], milliseconds: 0 }))
  t.same([...page.matchAll(/^\| (\d) \| /gm)].map(([, code]) => Number(code)), codes)
})

/** Names of settings, those within another after it; a secret is its file. */
const namesOf = (properties: object, before = ''): string[] => Object.entries(properties).flatMap(([name, of]) => {
  const { properties: inner = {} } = of as { properties?: object }
  return Object.hasOwn(inner, 'file') ? [`${before}${name}.file`] : Object.keys(inner).length > 0 ? namesOf(inner, `${before}${name}.`) : [`${before}${name}`]
})

/** Its children that run a login by now. */
const loginsOf = (pid: number) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  .filter(child => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('probe/child.ts'))

/** The same token with another signature. */
function forged (jwt: string) {
  const [header, claims, signature] = jwt.split('.')
  const bytes = Buffer.from(signature!, 'base64url')
  bytes[0]! ^= 1
  return [header, claims, bytes.toString('base64url')].join('.')
}

function drip (_request: IncomingMessage, response: ServerResponse) {
  response.writeHead(200, { 'content-type': 'application/json' })
  const timer = setInterval(() => response.write(' '), 20)
  response.on('close', () => clearInterval(timer))
}

/** 50 MB, as fast as they are read. */
function flood (_request: IncomingMessage, response: ServerResponse) {
  const part = Buffer.alloc(64 * 1024, ' ')
  response.writeHead(200, { 'content-type': 'application/json' })
  let left = 800
  const more = () => {
    while (left-- > 0) if (!response.write(part)) return
    response.end()
  }
  response.on('drain', more)
  more()
}

const listen = (server: Server, port: number, address: string) => new Promise<void>(resolve => { server.listen(port, address, resolve) })

/** What stands before the gateway under its name, and may lie for it. */
async function startFront (t: Test, { certificate, frontPort, port }: { certificate: { key: string, cert: string }, frontPort: number, port: number }) {
  const honest: Front = { meddle: () => false, asks: url => url, says: (_path, text) => text }
  let inForce = honest
  const server = createServer(certificate, (request, response) => {
    const { meddle, asks, says } = inForce
    if (meddle(request, response)) return
    const url = request.url!
    const onward = ask({ host: '127.0.0.1', port, servername: `passerelle.${secureSuffix}`, ca: certificate.cert, method: request.method, path: asks(url), headers: request.headers }, answer => {
      let text = ''
      answer.setEncoding('utf8').on('data', part => { text += part })
      answer.on('end', () => {
        const { 'content-length': _, 'transfer-encoding': __, connection: ___, ...headers } = answer.headers
        response.writeHead(answer.statusCode!, headers).end(says(url.split('?')[0]!, text))
      })
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  })
  await listen(server, frontPort, '127.0.0.1')
  t.teardown(() => new Promise<void>(resolve => {
    server.close(() => resolve())
    server.closeAllConnections()
  }))
  return { use (meddling: Partial<Front>) { inForce = { ...honest, ...meddling } } }
}
