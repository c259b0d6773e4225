import { createHash, randomInt } from 'node:crypto'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify, type JSONWebKeySet, type JWTPayload } from 'jose'
import type { Test } from 'tap'
import { Agent, request } from 'undici'
import { makeCertificate } from '../support/certificate.ts'
import { secureSuffix, startGateway, type Gateway } from '../support/gateway.ts'
import { createBrowser, type Browser, type Page } from '../world/browser.ts'
import { citizens } from '../world/citizens.ts'
import { createLookup } from '../world/lookup.ts'
import { hostNames } from '../world/world.ts'

// A relying party in plain HTTP, so that every detail of an answer can be looked at. It does what the modules of the conformance suite do, and asks what they ask.

type Tree = Record<string, unknown>
/** Parameters of a request or an answer, as they are sent. */
export type Parameters = Record<string, string>
type Changes = Record<string, string | undefined>

/** Where the relying party would be: nobody listens there, the browser stops before it. */
export const relyingParty = `https://rp.${secureSuffix}`

/** What is known of a client of ours. */
export interface Client {
  client_id: string
  redirect_uri: string
  /** asked for in every request, where it is set */
  response_mode?: 'form_post'
  /** puts the client's credentials into a request */
  authenticate (form: Parameters): Parameters
}

/** An answer to the relying party itself. */
export interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
  /** the body, where it is a JSON object */
  json: Tree
}

export interface Call { method?: string, headers?: Record<string, string | string[]>, form?: Parameters }

/** What a test looks at in a discovery document; the rest by name. */
export interface Metadata extends Tree {
  authorization_endpoint: string
  token_endpoint: string
  userinfo_endpoint: string
  jwks_uri: string
  end_session_endpoint: string
  pushed_authorization_request_endpoint: string
  scopes_supported: string[]
  claims_supported: string[]
  acr_values_supported: string[]
  grant_types_supported: string[]
}

/** A gateway as a relying party knows it. */
export interface Stage extends Gateway {
  /** its discovery document */
  metadata: Metadata
  jwks: JSONWebKeySet
  /** NumericDate, seconds: the time that the gateway and the relying party share */
  now (): number
  /** Does something at a later time, without waiting for it. */
  later<T> (seconds: number, what: () => Promise<T>): Promise<T>
  call (url: string, call?: Call): Promise<Answer>
  /** A browser that nobody has used yet. */
  newBrowser (): Browser
}

/** Starts a gateway in the small world, with these clients besides those of the world; everything over https, unless the relying party is at an http address. */
export async function startStage (t: Test, clients: Record<string, Tree>, party = relyingParty): Promise<Stage> {
  const certificate = party.startsWith('https:') ? await makeCertificate(hostNames(secureSuffix)) : undefined
  const [suffix, ca] = certificate === undefined ? ['localhost'] : [secureSuffix, certificate.cert]
  let ahead = 0
  const now = () => Math.floor(Date.now() / 1000) + ahead
  const gateway = await startGateway(t, { now, overrides: { clients }, ...(certificate && { tls: certificate }) })

  const dispatcher = new Agent({ connect: { lookup: createLookup(suffix), ...(ca && { ca }) } })
  t.teardown(() => dispatcher.destroy())
  const call = async (url: string, { method = 'GET', headers = {}, form }: Call = {}): Promise<Answer> => {
    const answer = await request(url, {
      method,
      dispatcher,
      signal: AbortSignal.timeout(15_000),
      headers: { ...(form && { 'content-type': 'application/x-www-form-urlencoded' }), ...headers },
      ...(form && { body: new URLSearchParams(form).toString() })
    })
    const text = await answer.body.text()
    return { status: answer.statusCode, headers: answer.headers, text, json: objectOf(text) }
  }
  const metadata = (await call(`${gateway.issuer}/.well-known/openid-configuration`)).json as Metadata
  return {
    ...gateway,
    metadata,
    jwks: (await call(metadata.jwks_uri)).json as unknown as JSONWebKeySet,
    now,
    async later (seconds, what) {
      ahead += seconds
      try { return await what() } finally { ahead -= seconds }
    },
    call,
    newBrowser () {
      const browser = createBrowser({ suffix, ca, stopAt: `${party}/` })
      t.teardown(() => browser.close())
      return browser
    }
  }
}

function objectOf (text: string): Tree {
  try { return Object(JSON.parse(text)) } catch { return {} }
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

/** So many random letters and digits. */
export const random = (length: number) => Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('')

/** The digest of a text, base64url: what PKCE, `ath` and `at_hash` are made of. */
export const digest = (text: string) => createHash('sha256').update(text).digest()

const present = (changes: Changes) => Object.fromEntries(Object.entries(changes).filter((entry): entry is [string, string] => entry[1] !== undefined))

/** An authorization request of this client, with changes; `undefined` takes a parameter away. */
export const ask = (client: Client, changes: Changes = {}): Parameters => present({
  client_id: client.client_id,
  redirect_uri: client.redirect_uri,
  scope: 'openid',
  state: random(10),
  nonce: random(10),
  response_type: 'code',
  response_mode: client.response_mode,
  ...changes
})

/** A client that authenticates by a secret, in the header or in the form. */
export const secretClient = (client_id: string, client_secret: string, { post = false, ...rest }: { post?: boolean } & Partial<Client> = {}): Client => ({
  client_id,
  redirect_uri: `${relyingParty}/callback`,
  ...rest,
  authenticate: (form): Parameters => post ? { ...form, client_id, client_secret } : form
})

/** The header of client_secret_basic (RFC 6749 §2.3.1). */
export const basic = (client_id: string, client_secret: string) => ({ authorization: `Basic ${Buffer.from([client_id, client_secret].map(encodeURIComponent).join(':')).toString('base64')}` })

/** What the relying party is sent through the browser. */
export interface Callback {
  method: 'GET' | 'POST'
  /** where it is sent, with its query */
  address: URL
  parameters: Parameters
  /** the names of its parameters, a repeated one twice */
  names: string[]
}

/** The way of a citizen: where it ended, how often he or she signed in, which pages were read. */
export interface Walk {
  page: Page
  signIns: number
  pagesRead: number
  /** absent where the citizen ended at a page */
  callback?: Callback
}

interface Choices { username?: string, idp?: string, /** what is pressed where our pages ask */ decision?: 'continue' | 'refuse' | 'log-out' }

/** Goes on from a page as a citizen does, until something is sent to the relying party or nothing can be done. */
export async function walkOn (browser: Browser, page: Page, { username = 'marion', idp = 'vitalys', decision = 'continue' }: Choices = {}): Promise<Walk> {
  let signIns = 0
  for (let pagesRead = 0; pagesRead < 10; pagesRead++) {
    const callback = callbackOf(page)
    if (callback) return { page, signIns, pagesRead, callback }
    const form = page.forms.find(({ buttons }) => buttons.some(({ name, value }) => name === 'decision' && value === decision))
    if (page.links.includes(`idp-${idp}`)) {
      page = await browser.click(`idp-${idp}`)
    } else if (page.has('sign-in')) {
      signIns++
      page = await browser.click('sign-in', { username, password: citizens.find(citizen => citizen.username === username)!.password })
    } else if (form) {
      page = await browser.submit(form, form.checkboxes, form.buttons.find(({ value }) => value === decision))
    } else {
      return { page, signIns, pagesRead: pagesRead + 1 }
    }
  }
  throw new Error(`the citizen goes round in circles at ${page.url}`)
}

// whatever its scheme and port
const ofRelyingParty = /^https?:\/\/rp\./

function callbackOf ({ location, forms }: Page): Callback | undefined {
  if (location !== undefined && ofRelyingParty.test(location)) {
    const address = new URL(location)
    return { method: 'GET', address, parameters: Object.fromEntries(address.searchParams), names: [...address.searchParams.keys()] }
  }
  const form = forms.find(({ action }) => ofRelyingParty.test(action))
  return form && { method: form.method as 'POST', address: new URL(form.action), parameters: form.fields, names: Object.keys(form.fields) }
}

/** Sends a citizen to the authorization endpoint, from the relying party's own page. */
export async function authorize (stage: Stage, browser: Browser, parameters: Parameters, { method = 'GET', ...choices }: Choices & { method?: 'GET' | 'POST' } = {}) {
  const { authorization_endpoint } = stage.metadata
  if (method === 'GET') return walkOn(browser, await browser.get(`${authorization_endpoint}?${new URLSearchParams(parameters)}`), choices)
  browser.page = { method: 'GET', url: `${relyingParty}/start`, status: 200, headers: {}, body: '', forms: [], links: [], has: () => false, text: () => '' }
  return walkOn(browser, await browser.submit({ method, action: authorization_endpoint, fields: parameters, checkboxes: {}, buttons: [] }), choices)
}

/** Bits that a text seems to hold, by Shannon's measure. */
export function entropy (text: string) {
  const counts = new Map<string, number>()
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1)
  return [...counts.values()].reduce((bits, count) => bits - count * Math.log2(count / text.length), 0)
}

const ofDescriptions = /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/

/** A walk came back to the client by the way that was asked, with what was asked and who answers (RFC 6749 §4.1.2, RFC 9207, Form Post Response Mode §2). */
function cameBack (t: Test, stage: Stage, client: Client, asked: Parameters, { callback, page }: Walk, expected: string[]) {
  if (!callback) throw new Error(`nothing was sent to the client; the citizen reads ${page.status} at ${page.url}: ${page.text('error-code')} ${page.text('main')}`)
  const { method, address, parameters, names } = callback
  const registered = new URL(asked['redirect_uri'] ?? client.redirect_uri)
  const byForm = client.response_mode === 'form_post'
  t.equal(method, byForm ? 'POST' : 'GET', 'by the way that was asked')
  t.equal(address.hash, '', 'nothing stands in the fragment')
  if (byForm) t.equal(address.href, registered.href, 'nothing is added to the address')
  t.equal(`${address.origin}${address.pathname}`, `${registered.origin}${registered.pathname}`, 'to the address that was asked')
  t.same([...names].sort(), [...expected, 'iss', ...('state' in asked ? ['state'] : []), ...(byForm ? [] : registered.searchParams.keys())].sort(), 'with no other parameter, and none twice')
  for (const [name, value] of registered.searchParams) if (!byForm) t.equal(parameters[name], value, 'the query of the address is kept')
  t.equal(parameters['state'], asked['state'], 'with the state that was sent')
  t.equal(parameters['iss'], stage.issuer, 'with the issuer')
  return parameters
}

/** The client has its code; gives it. */
export function checkCode (t: Test, stage: Stage, client: Client, asked: Parameters, walk: Walk) {
  const { code = '' } = cameBack(t, stage, client, asked, walk, ['code'])
  t.ok(entropy(code) > 96, 'a code cannot be guessed')
  return code
}

/** The client is told of an error, one of these. */
export function checkError (t: Test, stage: Stage, client: Client, asked: Parameters, walk: Walk, errors: string[]) {
  const { error, error_description } = cameBack(t, stage, client, asked, walk, ['error', 'error_description'])
  t.ok(errors.includes(error!), `${error} is one of ${errors.join(', ')}`)
  t.match(error_description, ofDescriptions, 'the description has only the characters that are allowed')
}

/** The citizen reads that the request cannot be answered, and nothing goes to the client. */
export function checkErrorPage (t: Test, stage: Stage, { page, callback }: Walk) {
  t.notOk(callback, 'nothing is sent to the client')
  t.equal(page.location, undefined, 'nobody is sent anywhere')
  t.ok(page.url.startsWith(`${stage.issuer}/`), 'a page of ours')
  t.ok(page.status >= 400 && page.status < 500, `${page.status} says that the request is wrong`)
  t.match(page.headers['content-type'], /^text\/html/)
  t.match(page.text('error-code'), /^[A-Z]\d\d$/, 'it tells a code for the help desk')
}

/** Redeems a code (OpenID Connect Core §3.1.3.1). */
export const redeem = ({ call, metadata }: Stage, client: Client, form: Parameters, headers: Record<string, string> = {}) =>
  call(metadata.token_endpoint, { method: 'POST', headers, form: client.authenticate({ grant_type: 'authorization_code', redirect_uri: client.redirect_uri, ...form }) })

/** What a token request gave, once it was looked at. */
export interface Tokens { access_token: string, token_type: string, id_token: string, claims: JWTPayload & Tree }

/** A token request is answered as it must be (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3); gives what it gave. */
export async function checkTokens (t: Test, stage: Stage, client: Client, asked: Parameters, answer: Answer): Promise<Tokens> {
  t.equal(answer.status, 200, answer.text)
  t.match(answer.headers['content-type'], /^application\/json\b/)
  t.match(answer.headers['cache-control'], /\bno-store\b/)
  const { access_token, token_type, expires_in, id_token, refresh_token } = answer.json as Tree & Partial<Tokens>
  t.ok(typeof access_token === 'string' && entropy(access_token) > 128, 'an access token cannot be guessed')
  t.ok(Number.isInteger(expires_in) && Number(expires_in) > 0, 'it says how long it lives')
  t.equal(refresh_token, undefined, 'no refresh token is given')
  return { access_token: access_token!, token_type: token_type!, id_token: id_token!, claims: await checkIdToken(t, stage, client, asked, id_token!, access_token!) }
}

// what an ID Token may hold without being asked
const ofIdTokens = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti', 'auth_time', 'nonce', 'acr', 'amr', 'azp', 'at_hash', 'sid']

/** An ID Token is good (OpenID Connect Core §2, §3.1.3.7, §3.1.3.8); gives its claims. */
async function checkIdToken (t: Test, { issuer, jwks, now }: Stage, { client_id }: Client, asked: Parameters, id_token: string, access_token: string) {
  const { alg, kid } = decodeProtectedHeader(id_token)
  t.equal(jwks.keys.filter(key => key.kid === kid && key.alg === alg).length, 1, 'one published key has its kid and its algorithm')
  const { payload } = await jwtVerify(id_token, createLocalJWKSet(jwks), { issuer, audience: client_id, currentDate: new Date(now() * 1000), requiredClaims: ['sub', 'exp', 'iat'] })
  t.equal(payload.aud, client_id)
  t.match(payload.sub, /^[\x21-\x7e]{1,255}$/)
  t.ok(payload.iat! <= now() && payload.exp! > now(), 'it was issued by now and lives')
  t.equal(payload['nonce'], asked['nonce'], 'it has the nonce that was sent')
  if (payload['at_hash'] !== undefined) t.equal(payload['at_hash'], digest(access_token).subarray(0, 16).toString('base64url'), 'it goes with the access token')
  t.ok(Number.isInteger(payload['auth_time']) && Number(payload['auth_time']) <= now(), 'it says when the citizen authenticated')
  t.same(wrongClaims(payload), [], 'its standard claims are of their type')
  if (asked['claims'] === undefined) t.same(Object.keys(payload).filter(name => !ofIdTokens.includes(name)), [], 'it has no claim that nobody asked for')
  return payload as JWTPayload & Tree
}

const isString = (value: unknown) => typeof value === 'string'
const isBoolean = (value: unknown) => typeof value === 'boolean'

/** OpenID Connect Core §5.1: what each standard claim has to be. */
const standardClaims: Record<string, (value: unknown) => boolean> = {
  ...Object.fromEntries(['sub', 'name', 'given_name', 'family_name', 'middle_name', 'nickname', 'preferred_username', 'profile', 'picture', 'website', 'email', 'gender', 'zoneinfo', 'locale', 'phone_number'].map(name => [name, isString])),
  birthdate: value => typeof value === 'string' && /^\d{4}(-\d\d-\d\d)?$/.test(value),
  email_verified: isBoolean,
  phone_number_verified: isBoolean,
  updated_at: value => typeof value === 'number' && value > 0 && value < 1e11,
  address: value => typeof value === 'object' && value !== null && Object.entries(value).every(([name, part]) => ['formatted', 'street_address', 'locality', 'region', 'postal_code', 'country'].includes(name) && isString(part))
}
const wrongClaims = (claims: Tree) => Object.keys(claims).filter(name => standardClaims[name]?.(claims[name]) === false)

/** Asks userinfo with a bearer token in the header. */
export const askUserinfo = ({ call, metadata }: Stage, { access_token }: Pick<Tokens, 'access_token'>, { headers = {}, ...rest }: Call = {}) =>
  call(metadata.userinfo_endpoint, { headers: { authorization: `Bearer ${access_token}`, ...headers }, ...rest })

/** Userinfo is answered as it must be (OpenID Connect Core §5.3.2); gives its claims. */
export function checkUserinfo (t: Test, answer: Answer, { claims }: Tokens): Tree {
  t.equal(answer.status, 200, answer.text)
  t.match(answer.headers['content-type'], /^application\/json\b/)
  t.equal(answer.json['sub'], claims.sub, 'it is about whom the ID Token is')
  t.same(wrongClaims(answer.json), [], 'its standard claims are of their type')
  return answer.json
}

/** An answer to the client's own request is an error (RFC 6749 §5.2), one of these with their status. */
export function checkRefusal (t: Test, answer: Answer, errors: Record<string, number[]>, name = 'the request') {
  const { error, error_description } = answer.json as Parameters
  t.ok(errors[error!]?.includes(answer.status), `${name}: ${answer.status} ${error} is one of ${JSON.stringify(errors)}`)
  t.match(answer.headers['content-type'], /^application\/json\b/, `${name}: in JSON`)
  t.match(answer.headers['cache-control'], /\bno-store\b/, `${name}: not to be kept`)
  t.match(error_description, ofDescriptions, `${name}: the description has only the characters that are allowed`)
}

/** Every endpoint that metadata names is an https address. */
export function checkEndpoints (t: Test, metadata: Metadata) {
  const endpoints = Object.entries(metadata).filter(([name]) => name.endsWith('_endpoint') || name === 'jwks_uri')
  t.ok(endpoints.length > 4)
  for (const [name, address] of endpoints) t.match(address, /^https:\/\/[^\s#]+$/, name)
}
