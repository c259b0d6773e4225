import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { stringify } from 'yaml'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { buildApp, type Ports } from '../../src/app.ts'
import { ConfigurationError, loadConfiguration } from '../../src/config/load.ts'
import { makeNextKeys } from '../../src/keys.ts'
import type { Answer, Clock, IdentityProvider, Question, Store } from '../../src/ports.ts'
import { OAuthError, type Failure } from '../../src/protocol/errors.ts'
import { merge } from '../world/configuration.ts'
import type { Reload } from '../../plugins/configuration.ts'
import { assertionOf, assertionType, keyOf, type Holder } from './client-keys.ts'

export const origin = 'https://passerelle.example'
export const base = '/api/v2'
export const issuer = origin + base

type Tree = Record<string, unknown>
interface Teardown { teardown (handler: () => unknown): unknown }

/** What a test changes: the configuration by file, merged deeply (`null` takes away), and ports. */
export interface TestOptions extends Omit<Ports, 'identityProviders' | 'store'> {
  /** or the one that its settings name, which no test makes fail */
  store?: Store | 'configured'
  settings?: Tree
  clients?: Record<string, Tree | null>
  identityProviders?: Record<string, Tree | null>
}

const settings: Tree = { issuer, environment: 'production', keys: 'keys', listen: { host: '127.0.0.1', port: 0 }, operations: { host: '127.0.0.1', port: 0 }, load: { delay_ms: 5000 } }

const everyScope = ['openid', 'profile', 'birth', 'identite_pivot', 'email', 'given_name', 'idp_id', 'amr']

/**
 * Nine services: `agency` plain, `town` with a checkbox, `swift` without information page or PKCE, `mobile` public, `clinic` without single sign-on, `closed` inactive,
 * `wary` choosy, `notary` with a key of its own, `vault` of the FAPI 2.0 profile. And `archive`, a data provider.
 */
const clients: Record<string, Tree> = {
  agency: {
    redirect_uris: ['https://agency.example/back', 'https://agency.example/other?tab=1'],
    post_logout_redirect_uris: ['https://agency.example/bye'],
    client_uri: 'https://agency.example/home',
    scopes: everyScope,
    claims: ['phone_number', 'address'],
    idp_hints: ['taxes', 'works', 'quiet', 'post']
  },
  town: {
    redirect_uris: ['https://town.example/back'],
    post_logout_redirect_uris: ['https://town.example/bye'],
    scopes: everyScope,
    token_endpoint_auth_method: 'client_secret_post',
    id_token_signed_response_alg: 'ES256',
    consent: 'required'
  },
  swift: { redirect_uris: ['https://swift.example/back'], scopes: everyScope, consent: 'skip', require_pkce: false },
  mobile: { redirect_uris: ['https://mobile.example/back'], scopes: everyScope, token_endpoint_auth_method: 'none', id_token_signed_response_alg: 'ES256', acr_values: ['eidas1'] },
  clinic: { redirect_uris: ['https://clinic.example/back'], scopes: everyScope, sso: false },
  closed: { redirect_uris: ['https://closed.example/back'], active: false },
  wary: { redirect_uris: ['https://wary.example/back'], scopes: everyScope, identity_providers: { deny: ['taxes'] }, idp_hints: ['taxes'] },
  notary: {
    redirect_uris: ['https://notary.example/back', 'https://notary.example/other'],
    post_logout_redirect_uris: ['https://notary.example/bye'],
    scopes: everyScope,
    token_endpoint_auth_method: 'private_key_jwt',
    id_token_signed_response_alg: 'ES256',
    jwks: { keys: [keyOf('notary').published] }
  },
  vault: {
    profile: 'fapi2',
    redirect_uris: ['https://vault.example/back'],
    scopes: everyScope,
    token_endpoint_auth_method: 'private_key_jwt',
    id_token_signed_response_alg: 'ES256',
    jwks: { keys: [keyOf('vault').published] }
  },
  archive: { introspection: true, scopes: ['openid', 'birth', 'email'] }
}

/** `taxes` vouches for every level, `post` for the lowest, `quiet` is hidden, `works` is in maintenance. */
const identityProviders: Record<string, Tree> = {
  taxes: { title: 'Taxes', order: 1, acr_values: ['eidas1', 'eidas2', 'eidas3'], amr: ['pwd'] },
  post: { title: 'Post', order: 2, acr_values: ['eidas1'] },
  quiet: { title: 'Quiet', order: 3, acr_values: ['eidas1', 'eidas2'], state: 'hidden' },
  works: { title: 'Works', order: 4, acr_values: ['eidas1', 'eidas2'], state: 'maintenance', maintenance: { message: { fr: 'De retour lundi', en: 'Back on Monday' } } }
}

const secretOf = (client_id: string) => `the secret of ${client_id}: 0123456789`

/** Keys are dear to make: one directory for each process. */
let keys: string | undefined
function keyDirectory () {
  if (keys !== undefined) return keys
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-keys-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  makeNextKeys(directory, firstMoment - 86400)
  keys = directory
  return directory
}

const firstMoment = 1_800_000_000

function writeConfiguration (directory: string, options: TestOptions) {
  for (const folder of ['clients', 'identity-providers', 'secrets']) mkdirSync(join(directory, folder))
  writeFileSync(join(directory, 'passerelle.yaml'), stringify(merge({ ...settings, keys: keyDirectory() }, options.settings ?? {})))
  const merged = (trees: Record<string, Tree>, changes: Record<string, Tree | null> = {}) => Object.entries(merge(trees, changes) as Record<string, Tree>).filter(([name]) => changes[name] !== null)

  for (const [client_id, tree] of merged(clients, options.clients)) {
    const hasNoSecret = ['none', 'private_key_jwt'].includes(String(tree['token_endpoint_auth_method']))
    writeFileSync(join(directory, 'secrets', client_id), secretOf(client_id))
    writeFileSync(join(directory, 'clients', `${client_id}.yaml`), stringify({ client_id, name: client_id, title: `Service ${client_id}`, ...(hasNoSecret ? {} : { client_secrets: [{ file: `secrets/${client_id}` }] }), ...tree }))
  }
  writeFileSync(join(directory, 'secrets', 'upstream'), 'our secret at every provider')
  for (const [id, tree] of merged(identityProviders, options.identityProviders)) {
    writeFileSync(join(directory, 'identity-providers', `${id}.yaml`), stringify({ id, issuer: `https://${id}.example`, client_id: 'passerelle', client_secret: { file: 'secrets/upstream' }, ...tree }))
  }
}

export const citizen = { given_name: 'Angèle', given_name_array: ['Angèle', 'Zoé'], family_name: 'Quiquempoix', gender: 'female', birthdate: '1962-08-24', birthcountry: '99100', birthplace: '75107', email: 'angele@courriel.example', phone_number: '+33 6 00 00 00 00' }
export const neighbour = { ...citizen, given_name: 'Barnabé', given_name_array: ['Barnabé'], gender: 'male' }

/** An identity provider that answers what a test says. */
export interface TestProvider extends IdentityProvider {
  up: boolean
  slow: boolean
  /** laid over its answers; `undefined` takes a member away */
  answer: Partial<Answer>
  /** said instead of an answer */
  failure: Failure | undefined
  hasLogout: boolean
  /** every citizen sent there, every citizen who came back, every logout */
  asked: Question[]
  heard: URL[]
  logouts: Array<Parameters<IdentityProvider['endSessionUrl']>[0]>
}

function testProvider (id: string, now: Clock): TestProvider {
  const spent = new Set<string>()
  return {
    up: true,
    slow: false,
    answer: {},
    failure: undefined,
    hasLogout: false,
    asked: [],
    heard: [],
    logouts: [],
    standing () { return this.up ? this.slow ? 'slow' : 'up' : 'down' },
    async probe () { return 'well' },
    async authorizationUrl (question) {
      this.asked.push(question)
      const { code_verifier, called, ...shown } = question
      const parameters = present<string | number>({ ...shown, code_challenge: createHash('sha256').update(code_verifier).digest('base64url') })
      return new URL(`https://${id}.example/authorize?${new URLSearchParams(parameters as Record<string, string>)}`)
    },
    async identify (callback, question) {
      this.heard.push(callback)
      if (this.failure !== undefined) throw new OAuthError(this.failure, `the identity provider said ${this.failure}`)
      if (callback.searchParams.has('error')) throw new OAuthError('provider_refused', 'the identity provider refused the login')
      const code = callback.searchParams.get('code') ?? ''
      if (spent.has(code)) throw new OAuthError('provider_code_spent', 'the identity provider does not know this code (any more)')
      spent.add(code)
      return { sub: `citizen-at-${id}`, claims: citizen, acr: question.acr, auth_time: now(), ...(this.hasLogout ? { id_token: 'upstream.id.token' } : {}), ...this.answer }
    },
    async endSessionUrl (logout) {
      if (!this.hasLogout || !this.up || this.failure !== undefined) return undefined
      this.logouts.push(logout)
      return new URL(`https://${id}.example/logout?${new URLSearchParams(present<string>({ ...logout }))}`)
    },
    async close () {}
  }
}

export interface FrailStore extends Store {
  /** From now on these methods throw `store_unavailable`; all of them when none is named. */
  fail (...methods: Array<keyof Store>): void
  heal (): void
}

const storeMethods = ['put', 'get', 'claim', 'usedBy', 'end', 'ended', 'once', 'said', 'enter', 'entered', 'recall', 'recalls'] as const satisfies Array<keyof Store>

/** A store that a test makes fail. */
export function frailStore (store: Store): FrailStore {
  const failing = new Set<keyof Store>()
  const calls = Object.fromEntries(storeMethods.map(method => [method, async (...values: unknown[]) => {
    if (failing.has(method)) throw new OAuthError('store_unavailable', 'the store could not answer')
    return (store[method] as (...values: unknown[]) => unknown)(...values)
  }])) as unknown as Store
  return { ...calls, close: () => store.close(), fail (...methods) { for (const method of methods.length > 0 ? methods : storeMethods) failing.add(method) }, heal () { failing.clear() } }
}

type Headers = Record<string, string | undefined>
type Form = Record<string, string> | string

/** What came back, as a citizen and a browser see it. */
export interface Page {
  status: number
  headers: Record<string, string | undefined>
  setCookies: string[]
  body: string
  /** address of a redirect */
  location: string
  /** parameters of that address */
  query: URLSearchParams
  /** `data-code` of the chooser's banner */
  notice: string | undefined
  /** what a citizen tells the help desk */
  code: string | undefined
  id: string | undefined
  /** where the link with this id leads */
  link (id: string): string | undefined
  /** every way on, but for the language switch: links and forms */
  waysOn: string[]
  /** hidden inputs of its form */
  fields: Record<string, string>
}

/** Without the members that are undefined. */
const present = <T>(members: Record<string, T | undefined>) => Object.fromEntries(Object.entries(members).filter((entry): entry is [string, T] => entry[1] !== undefined))

const decoded = (text: string) => text.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
const attribute = (tag: string, name: string) => { const value = new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1]; return value === undefined ? undefined : decoded(value) }
const tags = (body: string, name: string) => [...body.matchAll(new RegExp(`<${name}\\b[^>]*>`, 'g'))].map(([tag]) => tag)

interface Answered { statusCode: number, headers: Record<string, unknown>, body: string }

export function pageOf (answer: Answered): Page {
  const { statusCode, headers, body } = answer
  const location = String(headers['location'] ?? '')
  const anchors = tags(body, 'a').map(tag => ({ id: attribute(tag, 'id'), href: attribute(tag, 'href') }))
  const forms = tags(body, 'form').map(tag => attribute(tag, 'action'))
  return {
    status: statusCode,
    headers: headers as Record<string, string | undefined>,
    setCookies: [headers['set-cookie'] ?? []].flat().map(String),
    body,
    location,
    query: new URLSearchParams(location.split('?', 2)[1]),
    notice: /data-code="([^"]*)"/.exec(body)?.[1],
    code: /id="error-code"[^>]*>([^<]*)</.exec(body)?.[1],
    id: /id="error-id"[^>]*>([^<]*)</.exec(body)?.[1],
    link: id => anchors.find(anchor => anchor.id === id)?.href,
    waysOn: [...anchors.filter(({ id }) => id !== 'language').map(({ href }) => href), ...forms].filter(href => href !== undefined),
    fields: Object.fromEntries(tags(body, 'input').filter(tag => attribute(tag, 'type') === 'hidden').map(tag => [attribute(tag, 'name')!, attribute(tag, 'value') ?? '']))
  }
}

/** What a client asks for, and what it keeps to itself. */
export interface Asked {
  parameters: Record<string, string>
  code_verifier: string
}

/** A request as a client makes it, with changes; `undefined` takes a parameter away. */
export function requestOf (client_id: string, changes: Record<string, string | undefined> = {}): Asked {
  const code_verifier = randomBytes(32).toString('base64url')
  const random = () => randomBytes(12).toString('base64url')
  const redirect_uri = (clients[client_id]?.['redirect_uris'] as string[] | undefined)?.[0]
  const parameters = {
    client_id,
    redirect_uri,
    response_type: 'code',
    scope: 'openid profile',
    state: random(),
    nonce: random(),
    code_challenge: createHash('sha256').update(code_verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...changes
  }
  return { parameters: present(parameters), code_verifier }
}

/** A request that was pushed, and where its browser goes with it. */
export interface Pushed extends Asked { answer: Json, address: string }

export interface Way extends Asked { login: string, page: Page }
/** The end of a login: what the client was sent. */
export interface Arrival extends Asked { login: string, code: string, page: Page }

interface Sending { headers?: Headers, crossSite?: boolean, method?: string }

/** A browser's cookies and clicks over `app.inject`; it goes nowhere by itself. */
export interface Browser {
  /** name to value, as a `Cookie` header would carry them now */
  cookies (): Record<string, string>
  cookie (name: RegExp): string | undefined
  /** puts a cookie there, or takes it away */
  setCookie (name: string, value: string | undefined): void
  /** a browser that refuses cookies */
  refuseCookies (): void
  get (address: string, sending?: Sending): Promise<Page>
  post (address: string, form: Form, sending?: Sending): Promise<Page>
  /** from redirect to redirect, while they stay here */
  follow (page: Page): Promise<Page>
  /** the first page of a login */
  start (client_id: string, changes?: Record<string, string | undefined>): Promise<Way>
  /** the same, by an address that holds the request otherwise */
  startAt (address: string, asked: Asked): Promise<Way>
  choose (page: Page, idp?: string): Promise<Page>
  /** the provider sends the citizen back, who follows */
  comeBack (atProvider: Page, answer?: Record<string, string>): Promise<Page>
  /** the address the provider sends the citizen back to */
  callback (atProvider: Page, answer?: Record<string, string>): string
  agree (consentPage: Page, changes?: Record<string, string>): Promise<Page>
  /** from the chooser to the information page */
  toConsent (client_id: string, options?: LogInOptions): Promise<Way>
  /** a whole login */
  logIn (client_id: string, options?: LogInOptions): Promise<Arrival>
}
interface LogInOptions { idp?: string, changes?: Record<string, string | undefined>, /** a request that was pushed, instead of a plain one */ pushed?: Pick<Pushed, 'address' | 'parameters' | 'code_verifier'> }

export function browserOf (app: Pick<FastifyInstance, 'inject'>, now: Clock): Browser {
  const jar = new Map<string, { value: string, until: number }>()
  let accepts = true

  const cookies = () => Object.fromEntries([...jar].filter(([, { until }]) => until > now()).map(([name, { value }]) => [name, value]))

  function keep (setCookie: string) {
    const [pair = '', ...parts] = setCookie.split('; ')
    const at = pair.indexOf('=')
    const [name, value] = [pair.slice(0, at), pair.slice(at + 1)]
    const attributes = new Map(parts.map(part => part.split('=')).map(([key, text = '']) => [key!.toLowerCase(), text]))
    if (name.startsWith('__Host-') && (!attributes.has('secure') || attributes.get('path') !== '/' || attributes.has('domain'))) throw new Error(`a browser refuses ${name} without Secure and Path=/`)
    const age = attributes.get('max-age')
    const expires = attributes.get('expires')
    const until = age !== undefined ? now() + Number(age) : expires === undefined ? Infinity : Date.parse(expires) / 1000
    if (until <= now()) jar.delete(name)
    else jar.set(name, { value, until })
  }

  async function send (method: string, address: string, { form, headers = {}, crossSite = false }: Sending & { form?: Form } = {}): Promise<Page> {
    const path = address.startsWith(origin) ? address.slice(origin.length) : address
    if (!path.startsWith('/')) throw new Error(`not an address of the gateway: ${address}`)
    const sent = crossSite && method === 'POST' ? '' : Object.entries(cookies()).map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await app.inject({
      method: method as 'GET',
      url: path,
      headers: present({
        cookie: sent === '' ? undefined : sent,
        ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': crossSite ? 'cross-site' : 'same-origin' }),
        ...headers
      }),
      ...(form === undefined ? {} : { payload: typeof form === 'string' ? form : new URLSearchParams(form).toString() })
    })
    const page = pageOf(answer)
    if (accepts) for (const setCookie of page.setCookies) keep(setCookie)
    return page
  }

  const browser: Browser = {
    cookies,
    cookie: name => Object.entries(cookies()).find(([key]) => name.test(key))?.[1],
    setCookie (name, value) { if (value === undefined) jar.delete(name); else jar.set(name, { value, until: Infinity }) },
    refuseCookies () { accepts = false; jar.clear() },
    get: (address, { method = 'GET', ...sending } = {}) => send(method, address, sending),
    post: (address, form, sending) => send('POST', address, { ...sending, form }),
    async follow (page) {
      let at = page
      for (let hops = 0; at.status === 303 && (at.location.startsWith('/') || at.location.startsWith(`${issuer}/`)); hops++) {
        if (hops > 8) throw new Error('redirected in circles')
        at = await browser.get(at.location)
      }
      return at
    },
    async start (client_id, changes) {
      const asked = requestOf(client_id, changes)
      return browser.startAt(`${base}/authorize?${new URLSearchParams(asked.parameters)}`, asked)
    },
    async startAt (address, { parameters, code_verifier }) {
      const first = await browser.get(address)
      // what was pushed is kept as a login, and on by GET
      const page = /^\/[^?]*\/authorize\?login=/.test(first.location) ? await browser.get(first.location) : first
      return { parameters, code_verifier, page, login: /[?&;]login=([\w-]{22})/.exec(page.body + page.location)?.[1] ?? '' }
    },
    async choose (page, idp = 'taxes') {
      const href = page.link(`idp-${idp}`)
      if (href === undefined) throw new Error(`${idp} cannot be clicked on this page (${page.status})`)
      return browser.get(href)
    },
    callback ({ location }, answer = { code: randomBytes(9).toString('base64url') }) {
      const { hostname, searchParams } = new URL(location)
      return `${base}/callback/${hostname.split('.')[0]}?${new URLSearchParams({ state: searchParams.get('state')!, ...answer })}`
    },
    async comeBack (atProvider, answer) { return browser.follow(await browser.get(browser.callback(atProvider, answer))) },
    agree: (consentPage, changes = {}) => browser.post(`${base}/consent`, { ...consentPage.fields, decision: 'continue', consent: 'yes', ...changes }),
    async toConsent (client_id, { idp = 'taxes', changes, pushed } = {}) {
      const way = pushed === undefined ? await browser.start(client_id, changes) : await browser.startAt(pushed.address, pushed)
      if (way.page.status === 303) return { ...way, page: await browser.follow(way.page) }  // single sign-on, or an error
      return { ...way, page: await browser.comeBack(await browser.choose(way.page, idp)) }
    },
    async logIn (client_id, options) {
      const way = await browser.toConsent(client_id, options)
      const page = way.page.status === 303 || way.page.fields['code'] !== undefined ? way.page : await browser.agree(way.page)
      const code = page.query.get('code') ?? page.fields['code'] ?? null
      if (code === null) throw new Error(`no code: ${page.status} ${page.location} ${page.code} ${page.notice}`)
      return { ...way, page, code }
    }
  }
  return browser
}

/** How a client proves who it is, by its registered method. */
export function credentialsOf (client_id: string): { headers: Headers, form: Record<string, string> } {
  const method = clients[client_id]?.['token_endpoint_auth_method'] ?? 'client_secret_basic'
  if (method === 'none') return { headers: {}, form: { client_id } }
  if (method === 'client_secret_post') return { headers: {}, form: { client_id, client_secret: secretOf(client_id) } }
  return { headers: { authorization: basic(client_id, secretOf(client_id)) }, form: {} }
}
export const basic = (client_id: string, secret: string) => `Basic ${Buffer.from(`${encodeURIComponent(client_id)}:${encodeURIComponent(secret)}`).toString('base64')}`
export { secretOf }

export interface Json { status: number, headers: Record<string, string | undefined>, body: Record<string, any>, /** as it came */ text: string }

export interface TestApp {
  app: FastifyInstance
  issuer: string
  /** its configuration directory */
  directory: string
  /** What an operator writes instead, whole, from now on in force or refused; providers that are new answer as the others do. */
  reconfigure (options: Pick<TestOptions, 'settings' | 'clients' | 'identityProviders'>): Reload
  store: FrailStore
  providers: Record<string, TestProvider>
  now: Clock
  /** lets so many seconds pass */
  wait (seconds: number): void
  browser (): Browser
  /** every line of the log so far */
  log: string[]
  /** the events of this name so far */
  events (name: string): Array<Record<string, unknown>>
  /** so many logins counted with this failure, or with success */
  counted (failure?: Failure): Promise<number>
  /** so many of a metric so far, by the labels that are named */
  metric (name: string, labels?: Record<string, string>): Promise<number>
  /** a client's call of /token: its code, its credentials, and what a test changes; `undefined` takes away; `holder` proves a key beside it */
  redeem (arrival: Pick<Arrival, 'code' | 'code_verifier' | 'parameters'>, changes?: Record<string, string | undefined>, as?: string, holder?: Holder): Promise<Json>
  token (form: Form, headers?: Headers): Promise<Json>
  userinfo (access_token: string, holder?: Holder): Promise<Json>
  /** a form sent to a path under the base */
  post (path: string, form: Form, headers?: Headers): Promise<Json>
  /** how a client proves who it is, by the method of its registration in force; an assertion is new each time */
  credentials (client_id: string): Promise<{ headers: Headers, form: Record<string, string> }>
  /** the same, with what a client asks for beside it */
  postAs (client_id: string, path: string, form: Record<string, string | undefined>, headers?: Headers): Promise<Json>
  /** a client pushes its request (RFC 9126) */
  push (client_id: string, changes?: Record<string, string | undefined>, holder?: Holder): Promise<Pushed>
}

export const jsonOf = ({ statusCode, headers, body }: Answered): Json => ({ status: statusCode, headers: headers as Record<string, string | undefined>, body: body.startsWith('{') ? JSON.parse(body) : {}, text: body })

/** The gateway with providers, a clock and a store that a test has in hand; it closes with the test. */
export async function testApp (t: Teardown, { settings, clients, identityProviders, store: kept, ...ports }: TestOptions = {}): Promise<TestApp> {
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  writeConfiguration(directory, { ...(settings && { settings }), ...(clients && { clients }), ...(identityProviders && { identityProviders }) })
  const configuration = loadConfiguration(directory)

  let moment = firstMoment
  const now = ports.now ?? (() => moment)
  const log: string[] = []
  const providers = Object.fromEntries([...configuration.identityProviders.keys()].map(id => [id, testProvider(id, now)]))
  const frail = kept === 'configured' ? undefined : frailStore(kept ?? memoryStore({ site: 'a', now }))
  const chosen = new Map<string, IdentityProvider>(Object.entries(providers))
  const app = await buildApp(configuration, { log: { write: line => { log.push(line) } }, ...ports, now, ...(frail && { store: frail }), identityProviders: chosen })
  t.teardown(() => app.close())
  await app.lookForRecalls()                                           // as a replica does before it serves

  function reconfigure (options: Parameters<TestApp['reconfigure']>[0]) {
    for (const folder of ['clients', 'identity-providers', 'secrets']) rmSync(join(directory, folder), { recursive: true })
    writeConfiguration(directory, options)
    for (const id of Object.keys(options.identityProviders ?? {})) if (!chosen.has(id)) chosen.set(id, providers[id] = testProvider(id, now))
    try { return app.reconfigure(loadConfiguration(directory)) } catch (error) {
      if (error instanceof ConfigurationError) return app.reconfigure(error)
      throw error
    }
  }

  const { issuer } = configuration.settings
  const path = new URL(issuer).pathname
  const post: TestApp['post'] = async (at, form, headers = {}) => jsonOf(await app.inject({
    method: 'POST',
    url: path + at,
    headers: present({ 'content-type': 'application/x-www-form-urlencoded', ...headers }),
    payload: typeof form === 'string' ? form : new URLSearchParams(form).toString()
  }))
  const token: TestApp['token'] = (form, headers) => post('/token', form, headers)
  const credentials = async (client_id: string): ReturnType<TestApp['credentials']> => {
    switch (app.client(client_id)?.token_endpoint_auth_method) {
      case 'none': return { headers: {}, form: { client_id } }
      case 'client_secret_post': return { headers: {}, form: { client_id, client_secret: secretOf(client_id) } }
      case 'private_key_jwt': return { headers: {}, form: { client_assertion_type: assertionType, client_assertion: await assertionOf(client_id, { issuer, now: now() }) } }
      default: return { headers: { authorization: basic(client_id, secretOf(client_id)) }, form: {} }
    }
  }
  const postAs: TestApp['postAs'] = async (client_id, at, form, headers = {}) => {
    const proof = await credentials(client_id)
    return post(at, present<string>({ ...proof.form, ...form }), { ...proof.headers, ...headers })
  }
  const proving = (holder: Holder | undefined, at: string, send: (headers: Headers) => Promise<Json>, more: { method?: string, access_token?: string } = {}) =>
    holder === undefined ? send({}) : holder.proving({ path: at, ...more }, dpop => send({ dpop }))

  return {
    app,
    issuer,
    directory,
    reconfigure,
    store: frail ?? frailStore(app.store),
    providers,
    now,
    log,
    token,
    wait (seconds) { moment += seconds },
    browser: () => browserOf(app, now),
    events: name => log.map(line => JSON.parse(line)).filter(({ event, security, outcome }) => event === name && (security === true || outcome === 'success')),
    async counted (failure) {
      const { values } = await app.metricsRegistry.getSingleMetric('passerelle_logins_total')!.get()
      return values.filter(({ labels }) => labels['failure'] === (failure ?? '')).reduce((sum, { value }) => sum + value, 0)
    },
    async metric (name, labels = {}) {
      const { values } = await app.metricsRegistry.getSingleMetric(name)!.get()
      return values.filter(value => Object.entries(labels).every(([label, text]) => value.labels[label] === text)).reduce((sum, { value }) => sum + value, 0)
    },
    async redeem ({ code, code_verifier, parameters }, changes = {}, as = parameters['client_id']!, holder) {
      const form = { grant_type: 'authorization_code', code, redirect_uri: parameters['redirect_uri'], code_verifier: parameters['code_challenge'] === undefined ? undefined : code_verifier, ...changes }
      return proving(holder, '/token', headers => postAs(as, '/token', form, headers))
    },
    async userinfo (access_token, holder) {
      const authorization = `${holder === undefined ? 'Bearer' : 'DPoP'} ${access_token}`
      return proving(holder, '/userinfo', async headers => jsonOf(await app.inject({ url: `${path}/userinfo`, headers: { authorization, ...headers } })), { method: 'GET', access_token })
    },
    post,
    credentials,
    postAs,
    async push (client_id, changes, holder) {
      const asked = requestOf(client_id, changes)
      const answer = await proving(holder, '/par', headers => postAs(client_id, '/par', asked.parameters, headers))
      return { ...asked, answer, address: `${path}/authorize?${new URLSearchParams({ client_id, request_uri: String(answer.body['request_uri']) })}` }
    }
  }
}
