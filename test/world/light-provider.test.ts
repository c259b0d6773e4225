import { spawn } from 'node:child_process'
import { createHash, createPrivateKey, randomBytes, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { compactDecrypt, compactVerify, decodeJwt, decodeProtectedHeader, importJWK, type CryptoKey, type JWK } from 'jose'
import * as openid from 'openid-client'
import t, { type Test } from 'tap'
import { Agent, fetch, request } from 'undici'
import { identityFaults } from '../../src/protocol/claims.ts'
import { makeCertificate } from '../support/certificate.ts'
import { clientDesk } from '../support/client-desk.ts'
import { assertionOf, createEncryptionKey, keyOf } from '../support/client-keys.ts'
import { createBrowser, type Browser } from './browser.ts'
import { citizens } from './citizens.ts'
import { citizenOf, startLightProvider, type LightProvider, type LightProviderOptions } from './light-provider.ts'
import { createLookup } from './lookup.ts'
import { misbehaviours } from './misbehaviours.ts'
import { startProvider, type PrivateKey } from './provider.ts'
import { providerRows, type ProviderRow } from './providers.ts'
import { signatureAlgorithms } from './tokens.ts'

// The light provider beside the real thing: an oidc-provider that is configured alike is asked the same.

t.setTimeout(115_000)
const gateway = 'http://passerelle.localhost:1'
const redirect_uri = `${gateway}/callback/vitalys`
const post_logout_redirect_uri = `${gateway}/session/ended`
const dispatcher = new Agent({ connect: { lookup: createLookup('localhost') } })
t.after(() => dispatcher.destroy())
const customFetch = (address: string, options: object) => fetch(address, { ...options, dispatcher }) as unknown as Promise<Response>

/** Either of the two, as its client sees it. */
interface Party { isLight: boolean, issuer: string, client_id: string, client_secret: string, client_key?: PrivateKey | undefined, endpoints: Record<'authorization_endpoint' | 'token_endpoint' | 'userinfo_endpoint' | 'jwks_uri' | 'end_session_endpoint', string> }

/** Both, the real one first, with this registration. */
async function pair (t: Pick<Test, 'teardown'>, row: Partial<ProviderRow> = {}): Promise<[real: Party, light: Party]> {
  const real = await startProvider({ ...providerRows[0]!, scopes: ['openid', 'profile', 'birth', 'email'], ...row }, { issuer: gateway, suffix: 'localhost', ports: 'any' })
  t.teardown(() => real.stop())
  const { id_token_signed_response_alg = 'RS256', userinfo_signed_response_alg } = real.row
  const { client_key } = real
  const light = await startLight(t, {
    id_token_signed_response_alg,
    ...(userinfo_signed_response_alg !== undefined && { userinfo_signed_response_alg }),
    ...(client_key !== undefined && { jwks: { keys: [publicPart(client_key)] } })
  })
  return [
    { isLight: false, issuer: real.issuer, client_id: real.row.client_id, client_secret: real.client_secret ?? '', client_key, endpoints: real.endpoints as Party['endpoints'] },
    { isLight: true, issuer: light.issuer, client_id: light.client_id, client_secret: light.client_secret, client_key, endpoints: light.metadata() }
  ]
}
const publicPart = ({ d, ...key }: PrivateKey) => key as JWK

async function startLight (t: Pick<Test, 'teardown'>, options: Partial<LightProviderOptions> = {}): Promise<LightProvider> {
  const light = await startLightProvider({ id: 'vitalys', redirect_uris: [redirect_uri], post_logout_redirect_uris: [post_logout_redirect_uri], ...options })
  t.teardown(light.stop)
  return light
}
const partyOf = ({ issuer, client_id, client_secret, metadata }: LightProvider): Party => ({ isLight: true, issuer, client_id, client_secret, endpoints: metadata() })

/** Both, as most tests ask them. */
const both = await pair(t)

type Fields = Record<string, string | undefined>
/** As a form or a query; `undefined` leaves a field out. */
const fieldsOf = (fields: Fields) => new URLSearchParams(Object.entries(fields).filter((field): field is [string, string] => field[1] !== undefined))
const verifier = randomBytes(32).toString('base64url')
const challenge = createHash('sha256').update(verifier).digest('base64url')
const askedOf = ({ client_id }: Party, changes: Fields = {}): Fields => ({
  client_id,
  redirect_uri,
  response_type: 'code',
  scope: 'openid profile birth email',
  state: 'the-state',
  nonce: 'the-nonce',
  code_challenge: challenge,
  code_challenge_method: 'S256',
  ...changes
})

/** Sends a new browser to the authorization endpoint; where there is a page, marion signs in. */
async function visit (party: Party, asked: Fields, more = '') {
  const browser = createBrowser({ stopAt: gateway })
  try { return await visitBy(browser, party, asked, more) } finally { await browser.close() }
}
async function visitBy (browser: Browser, { endpoints }: Party, asked: Fields, more = '') {
  const page = await browser.get(`${endpoints.authorization_endpoint}?${fieldsOf(asked)}${more}`)
  return page.has('sign-in') ? browser.click('sign-in', { username: 'marion', password: citizens.find(({ username }) => username === 'marion')!.password }) : page
}

async function arrival (party: Party, changes: Fields = {}) {
  const { location } = await visit(party, askedOf(party, changes))
  return new URL(location!)
}
const codeOf = async (party: Party, changes: Fields = {}) => (await arrival(party, changes)).searchParams.get('code')!

interface Raw { status: number, headers: Record<string, string | string[] | undefined>, text: string }
async function ask (address: string, { method = 'GET', headers = {}, form }: { method?: 'GET' | 'POST', headers?: Record<string, string>, form?: URLSearchParams } = {}): Promise<Raw> {
  const answer = await request(address, { method, dispatcher, headers: { ...(form && { 'content-type': 'application/x-www-form-urlencoded' }), ...headers }, ...(form && { body: form.toString() }) })
  return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() }
}

/** What can be compared of an answer in JSON: its members by their kinds, an error by its code. */
function facts ({ status, headers, text }: Raw) {
  const body = JSON.parse(text) as Record<string, unknown>
  const kinds = Object.fromEntries(Object.entries(body).map(([name, value]) => [name, typeof value]).sort())
  return { status, type: headers['content-type'], cache: headers['cache-control'], challenge: /^\w+/.exec(String(headers['www-authenticate'] ?? ''))?.[0], ...('error' in body ? { error: body['error'] } : { kinds }) }
}

/** Why two answers may differ, and how. */
interface Difference { why: string, real: object, light: object }

/** Both answer the same, but for what may differ. */
async function same (t: Test, [real, light]: [Party, Party], what: string, answer: (party: Party) => Promise<object>, difference?: Difference) {
  const [expected, found] = [await answer(real), await answer(light)]
  if (difference === undefined) return t.strictSame(found, expected, what)
  t.match(expected, difference.real, `${what}: the real one`)
  t.strictSame(found, { ...expected, ...difference.light }, `${what}: ${difference.why}`)
}

const basic = (id: string, secret: string) => ({ authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}` })
const proof = ({ client_id, client_secret }: Party) => basic(client_id, client_secret)
const grantOf = (code: string, changes: Fields = {}) => fieldsOf({ grant_type: 'authorization_code', code, redirect_uri, code_verifier: verifier, ...changes })
const redeem = (party: Party, form: URLSearchParams, headers: Record<string, string> = proof(party)) => ask(party.endpoints.token_endpoint, { method: 'POST', headers, form })
const tokensOf = async (party: Party, changes: Fields = {}) => JSON.parse((await redeem(party, grantOf(await codeOf(party, changes)))).text) as Record<'access_token' | 'id_token', string>

t.test('both answer an authorization request the same', async t => {
  /** Where the browser ends, and what it brings. An error of which no client can be told is a page at the real one. */
  const outcome = (changes: Fields, more?: string) => async (party: Party) => {
    const { status, body, location } = await visit(party, askedOf(party, changes), more)
    if (location === undefined) return { status, error: party.isLight ? JSON.parse(body).error : /<code>(\w+)<\/code>/.exec(body)?.[1] }
    const { origin, pathname, searchParams, hash } = new URL(location)
    const brought = hash === '' ? searchParams : new URLSearchParams(hash.slice(1))
    const names = [...brought.keys()].filter(name => name !== 'error_description').sort()
    return { status, origin, pathname, within: hash === '' ? 'query' : 'fragment', error: brought.get('error'), state: brought.get('state'), isIssuer: brought.get('iss') === party.issuer, names }
  }
  const requests: Record<string, Fields> = {
    'the right one': {},
    'without a nonce': { nonce: undefined },
    'without a state': { state: undefined },
    'without PKCE': { code_challenge: undefined, code_challenge_method: undefined },
    'prompt=login': { prompt: 'login' },
    'prompt=consent': { prompt: 'consent' },
    'prompt=none': { prompt: 'none' },
    'prompt=none and another': { prompt: 'none login' },
    'a prompt that nobody knows': { prompt: 'select' },
    'an empty prompt': { prompt: '' },
    'max_age=0': { max_age: '0' },
    'max_age=60': { max_age: '60' },
    'max_age that is no number': { max_age: 'soon' },
    'max_age below zero': { max_age: '-1' },
    'an unknown scope beside': { scope: 'openid unheard-of' },
    'no scope': { scope: undefined },
    'a scope without openid': { scope: 'profile' },
    'no response_type': { response_type: undefined },
    'response_mode=query': { response_mode: 'query' },
    'a response_mode that nobody knows': { response_mode: 'pigeon' },
    'code_challenge_method=plain': { code_challenge: verifier, code_challenge_method: 'plain' },
    'a challenge without its method': { code_challenge_method: undefined },
    'a method without a challenge': { code_challenge: undefined },
    'a challenge that is too short': { code_challenge: 'short' },
    'a challenge with too strange a character': { code_challenge: `${challenge.slice(1)}é` },
    'a request object': { request: 'e30.e30.' },
    'a request_uri': { request_uri: 'https://example.org/request' },
    'a registration': { registration: '{}' },
    'another redirect_uri': { redirect_uri: `${gateway}/another` },
    'a redirect_uri with a slash more': { redirect_uri: `${redirect_uri}/` },
    'a redirect_uri with a query more': { redirect_uri: `${redirect_uri}?a=b` },
    'a redirect_uri in capitals': { redirect_uri: redirect_uri.toUpperCase() },
    'an unknown client': { client_id: 'nobody' },
    'no client': { client_id: undefined }
  }
  for (const [what, changes] of Object.entries(requests)) await same(t, both, what, outcome(changes))
  for (const name of ['client_id', 'state', 'scope', 'nonce', 'response_type', 'code_challenge']) await same(t, both, `${name} twice`, outcome({}, `&${name}=x`))

  for (const response_type of ['token', 'id_token', 'code id_token']) {
    await same(t, both, `response_type=${response_type}`, outcome({ response_type }), { why: 'it answers in the query alone', real: { within: 'fragment' }, light: { within: 'query' } })
  }
  for (const response_mode of ['fragment', 'form_post']) {
    const { location } = await visit(both[1], askedOf(both[1], { response_mode }))
    t.equal(new URL(location!).searchParams.get('error'), 'unsupported_response_mode', `${response_mode}, which the real one has and the light one does not promise`)
  }
  const { status, body } = await visit(both[1], askedOf(both[1], { redirect_uri: undefined }))
  t.same([status, JSON.parse(body).error], [400, 'invalid_request'], 'no redirect_uri: OpenID Connect requires it, where the real one takes the only one registered')
})

t.test('both give the level that is asked, as far as they reach', async t => {
  for (const acr_values of [undefined, 'eidas1', 'eidas2', 'eidas3', 'eidas3 eidas1', 'unheard-of', '']) {
    const [expected, found] = await Promise.all(both.map(async party => decodeJwt((await tokensOf(party, { acr_values })).id_token)))
    t.ok(expected!['acr'])
    t.same([found!['acr'], found!['amr']], [expected!['acr'], expected!['amr']], String(acr_values))
  }
})

t.test('both answer a token request the same', async t => {
  const answer = (changes: Fields = {}, headers: (party: Party) => Record<string, string> = proof, asked: Fields = {}) => async (party: Party) =>
    facts(await redeem(party, grantOf(await codeOf(party, asked), changes), headers(party)))
  const noProof = () => ({})
  const cases: Record<string, (party: Party) => Promise<object>> = {
    'the right one, by client_secret_basic': answer(),
    'by client_secret_post': party => answer({ client_id: party.client_id, client_secret: party.client_secret }, noProof)(party),
    'by both': party => answer({ client_secret: party.client_secret })(party),
    'with the client_id repeated in the form': party => answer({ client_id: party.client_id })(party),
    'with another client_id in the form': answer({ client_id: 'nobody' }),
    'a wrong secret': answer({}, ({ client_id }) => basic(client_id, 'wrong')),
    'a wrong secret in the form': party => answer({ client_id: party.client_id, client_secret: 'wrong' }, noProof)(party),
    'a secret of the right length': answer({}, ({ client_id, client_secret }) => basic(client_id, client_secret.replace(/./, letter => letter === 'x' ? 'y' : 'x'))),
    'an empty secret': answer({}, ({ client_id }) => basic(client_id, '')),
    'an unknown client': answer({}, ({ client_secret }) => basic('nobody', client_secret)),
    'a client without any proof': party => answer({ client_id: party.client_id }, noProof)(party),
    nobody: answer({}, noProof),
    'credentials that are not base64': answer({}, () => ({ authorization: 'Basic ?' })),
    'credentials without a colon': answer({}, () => ({ authorization: `Basic ${Buffer.from('x').toString('base64')}` })),
    'credentials that cannot be decoded': answer({}, () => ({ authorization: `Basic ${Buffer.from('%zz:x').toString('base64')}` })),
    'another scheme': answer({}, () => ({ authorization: 'Bearer x' })),
    'no grant_type': answer({ grant_type: undefined }),
    'grant_type=client_credentials': answer({ grant_type: 'client_credentials' }),
    'grant_type=password': answer({ grant_type: 'password' }),
    'no code': answer({ code: undefined }),
    'an unknown code': answer({ code: 'unknown' }),
    'another redirect_uri': answer({ redirect_uri: `${redirect_uri}/` }),
    'no verifier': answer({ code_verifier: undefined }),
    'another verifier': answer({ code_verifier: randomBytes(32).toString('base64url') }),
    'a verifier that is too short': answer({ code_verifier: 'short' }),
    'a verifier where there was no challenge': answer({}, proof, { code_challenge: undefined, code_challenge_method: undefined }),
    'no PKCE at all': answer({ code_verifier: undefined }, proof, { code_challenge: undefined, code_challenge_method: undefined }),
    'the code twice': async party => facts(await redeem(party, new URLSearchParams(`${grantOf(await codeOf(party))}&code=x`))),
    'the client_secret twice': async party => facts(await redeem(party, new URLSearchParams(`${grantOf(await codeOf(party), { client_id: party.client_id, client_secret: party.client_secret })}&client_secret=x`), {})),
    'JSON instead of a form': async party => facts(await redeem(party, grantOf(await codeOf(party)), { ...proof(party), 'content-type': 'application/json' })),
    GET: async party => { const { status } = await ask(party.endpoints.token_endpoint); return { status } }
  }
  for (const [what, ask] of Object.entries(cases)) await same(t, both, what, ask)
  const { status, text } = await redeem(both[1], grantOf(await codeOf(both[1]), { redirect_uri: undefined }))
  t.same([status, JSON.parse(text).error], [400, 'invalid_request'], 'no redirect_uri: OpenID Connect requires it, where the real one takes the only one registered')
})

t.test('at both a code is good once, and its second use ends what the first was given', async t => {
  await same(t, both, 'used twice', async party => {
    const code = await codeOf(party)
    const first = await redeem(party, grantOf(code))
    const { access_token } = JSON.parse(first.text)
    const userinfo = () => ask(party.endpoints.userinfo_endpoint, { headers: { authorization: `Bearer ${access_token}` } })
    const before = (await userinfo()).status
    return { first: facts(first), before, second: facts(await redeem(party, grantOf(code))), after: facts(await userinfo()) }
  })
  await same(t, both, 'tried in vain before', async party => {
    const code = await codeOf(party)
    const vain = [
      await redeem(party, grantOf(code), basic(party.client_id, 'wrong')),
      await redeem(party, grantOf(code, { code_verifier: randomBytes(32).toString('base64url') })),
      await redeem(party, grantOf(code, { redirect_uri: `${redirect_uri}/` }))
    ]
    return { vain: vain.map(facts), good: facts(await redeem(party, grantOf(code))) }
  })
})

t.test('at both a code dies after a minute', async t => {
  const real = Date.now
  t.teardown(() => { Date.now = real })
  for (const [seconds, status] of [[58, 200], [61, 400]] as const) {
    for (const party of both) {
      Date.now = real
      const code = await codeOf(party)
      Date.now = () => real() + seconds * 1000
      t.equal((await redeem(party, grantOf(code))).status, status, `${party.isLight ? 'light' : 'real'} after ${seconds} s`)
    }
  }
})

t.test('both answer at userinfo the same', async t => {
  const answer = (more: (access_token: string) => Parameters<typeof ask>[1], query = (_access_token: string) => '') => async (party: Party) => {
    const { access_token } = await tokensOf(party)
    return facts(await ask(party.endpoints.userinfo_endpoint + query(access_token), more(access_token)))
  }
  const bearer = (access_token: string) => ({ authorization: `Bearer ${access_token}` })
  const cases: Record<string, (party: Party) => Promise<object>> = {
    'the token in the header': answer(access_token => ({ headers: bearer(access_token) })),
    'by POST': answer(access_token => ({ method: 'POST', headers: bearer(access_token) })),
    'in a form': answer(access_token => ({ method: 'POST', form: fieldsOf({ access_token }) })),
    'in the query': answer(() => ({}), access_token => `?access_token=${access_token}`),
    'in the header and in a form': answer(access_token => ({ method: 'POST', headers: bearer(access_token), form: fieldsOf({ access_token }) })),
    'no token': answer(() => ({})),
    'an unknown token': answer(() => ({ headers: bearer('unknown') })),
    'two words': answer(access_token => ({ headers: { authorization: `Bearer ${access_token} x` } })),
    'another scheme': answer(access_token => ({ headers: { authorization: `Basic ${access_token}` } })),
    'the scheme in small letters': answer(access_token => ({ headers: { authorization: `bearer ${access_token}` } }))
  }
  for (const [what, ask] of Object.entries(cases)) await same(t, both, what, ask)
})

t.test('both tell the same claims, of the same kinds', async t => {
  for (const alg of signatureAlgorithms) {
    const both = await pair(t, { id_token_signed_response_alg: alg, userinfo_signed_response_alg: alg })
    const kinds = (claims: object) => Object.fromEntries(Object.entries(claims).map(([name, value]) => [name, Array.isArray(value) ? 'list' : typeof value]).sort())
    const keys = async ({ endpoints }: Party) => JSON.parse((await ask(endpoints.jwks_uri)).text).keys as JWK[]
    await same(t, both, `a whole login by ${alg}`, async party => {
      const { id_token, access_token } = await tokensOf(party)
      const { headers, text } = await ask(party.endpoints.userinfo_endpoint, { headers: { authorization: `Bearer ${access_token}` } })
      const told = []
      for (const token of [id_token, text]) {
        const { kid } = decodeProtectedHeader(token)
        const { protectedHeader, payload } = await compactVerify(token, await importJWK((await keys(party)).find(key => key.kid === kid)!, alg))
        const claims = JSON.parse(Buffer.from(payload).toString())
        const { iss, aud, nonce, exp, iat, auth_time } = claims
        told.push({
          header: { ...protectedHeader, kid: typeof kid },
          claims: kinds(claims),
          isOurs: iss === party.issuer && aud === party.client_id,
          nonce,
          minutes: Math.round((exp - iat) / 60),
          isFresh: auth_time === undefined || Math.abs(auth_time - Date.now() / 1000) < 60
        })
      }
      return { type: headers['content-type'], told }
    })
    await same(t, both, 'the published keys', async party => {
      const { headers } = await ask(party.endpoints.jwks_uri)
      return { type: headers['content-type'], key: kinds((await keys(party)).find(key => key.alg === alg)!) }
    })
  }
})

t.test('both tell at userinfo what the scopes stand for, in JSON', async t => {
  for (const scope of ['openid', 'openid profile', 'openid birth', 'openid email', 'openid profile birth email', 'openid unheard-of']) {
    await same(t, both, scope, async party => {
      const tokens = await tokensOf(party, { scope, nonce: undefined })
      const answer = await ask(party.endpoints.userinfo_endpoint, { headers: { authorization: `Bearer ${tokens.access_token}` } })
      return { userinfo: facts(answer), isSame: JSON.parse(answer.text).sub === decodeJwt(tokens.id_token).sub, hasNonce: 'nonce' in decodeJwt(tokens.id_token) }
    })
  }
})

t.test('both publish metadata of the same kinds, and the light one promises no more than it has', async t => {
  const [real, light] = await pair(t, { userinfo_signed_response_alg: 'RS256' })
  const metadataOf = async ({ issuer }: Party) => {
    const answer = await ask(`${issuer}/.well-known/openid-configuration`)
    return { type: answer.headers['content-type'], status: answer.status, body: JSON.parse(answer.text) as Record<string, unknown> }
  }
  const [expected, found] = [await metadataOf(real), await metadataOf(light)]
  t.same([found.type, found.status], [expected.type, expected.status])
  for (const [name, value] of Object.entries(found.body)) {
    if (name.includes('_encryption_')) t.notOk(name in expected.body, `${name}: the real ones of this world do not encrypt`)
    else t.equal(typeof value, typeof expected.body[name], name)
  }
  t.match(found.body, {
    issuer: light.issuer,
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    code_challenge_methods_supported: ['S256'],
    grant_types_supported: ['authorization_code'],
    authorization_response_iss_parameter_supported: true,
    request_uri_parameter_supported: false
  })
})

t.test('both take a client\'s assertion that is right, and no other (RFC 7523)', async t => {
  const both = await pair(t, { token_endpoint_auth_method: 'private_key_jwt' })
  const registered = { ...keyOf('world'), alg: 'ES256' as const }
  const now = () => Math.floor(Date.now() / 1000)
  const asserted = (changes: Parameters<typeof assertionOf>[2] = {}, more: Fields = {}, times = 1) => async (party: Party) => {
    const { kid, alg } = party.client_key!
    const key = { ...registered, kid, alg: alg as 'ES256', privateKey: await importPrivate(party.client_key!) }
    const client_assertion = await assertionOf(party.client_id, { issuer: party.issuer, now: now() }, changes, key)
    let answer
    for (let i = 0; i < times; i++) answer = await redeem(party, grantOf(await codeOf(party), { client_assertion, client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', ...more }), {})
    return facts(answer!)
  }
  const cases: Record<string, (party: Party) => Promise<object>> = {
    right: asserted(),
    'for the token endpoint': party => asserted({ claims: { aud: party.endpoints.token_endpoint } })(party),
    'for somebody else': asserted({ claims: { aud: 'https://example.org' } }),
    'by another issuer': asserted({ claims: { iss: 'nobody' } }),
    'about another client': asserted({ claims: { sub: 'nobody' } }),
    'expired an hour ago': asserted({ claims: { exp: now() - 3600 } }),
    'without exp': asserted({ claims: { exp: undefined } }),
    'without jti': asserted({ claims: { jti: undefined } }),
    'by another key': asserted({ key: keyOf('stranger').privateKey }),
    'by alg none': asserted({ header: { alg: 'none' } }),
    'by HS256': asserted({ header: { alg: 'HS256' }, key: Buffer.from('secret') }),
    'used twice': asserted({}, {}, 2),
    'with another assertion type': asserted({}, { client_assertion_type: 'x' }),
    'without an assertion type': asserted({}, { client_assertion_type: undefined }),
    'with another client_id beside': asserted({}, { client_id: 'nobody' }),
    'with a secret beside': asserted({}, { client_secret: 'secret' })
  }
  for (const [what, ask] of Object.entries(cases)) await same(t, both, what, ask)
  const difference = { why: 'an assertion that is not valid is invalid_client (RFC 7521 §4.2.1)', real: { status: 400, error: 'invalid_request' }, light: { status: 401, error: 'invalid_client' } }
  await same(t, both, 'that is no JWT', asserted({}, { client_assertion: 'x' }), difference)
})
const importPrivate = async (jwk: PrivateKey) => createPrivateKey({ key: jwk as never, format: 'jwk' })

t.test('a client proves itself by its certificate, where one is registered (RFC 8705)', async t => {
  const [server, ours, other] = await Promise.all([makeCertificate(['vitalys.localhost']), makeCertificate(['gateway']), makeCertificate(['gateway'])])
  const light = await startLight(t, { tls: server, clientCertificate: ours.cert })
  t.match(light.issuer, /^https:\/\/vitalys\.localhost:/)
  const by = async (certificate?: { key: string, cert: string }) => {
    const agent = new Agent({ connect: { lookup: createLookup('localhost'), ca: server.cert, ...certificate } })
    t.teardown(() => agent.destroy())
    const code = light.comeBack(fieldsOf(askedOf(partyOf(light)))).searchParams.get('code')!
    const answer = await request(light.metadata().token_endpoint, { method: 'POST', dispatcher: agent, headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: grantOf(code, { client_id: light.client_id }).toString() })
    return [answer.statusCode, (await answer.body.json() as { error?: string }).error]
  }
  t.same(await by(ours), [200, undefined])
  t.same(await by(other), [401, 'invalid_client'], 'another certificate of the same name')
  t.same(await by(), [401, 'invalid_client'], 'no certificate')
})

t.test('both log out the same at the word of an ID Token of theirs', async t => {
  const leave = (changes: (party: Party, id_token: string) => Fields) => async (party: Party) => {
    const browser = createBrowser({ stopAt: gateway })
    t.teardown(() => browser.close())
    const { location: callback } = await visitBy(browser, party, askedOf(party))
    const { id_token } = JSON.parse((await redeem(party, grantOf(new URL(callback!).searchParams.get('code')!))).text)
    const { status, location, body } = await browser.get(`${party.endpoints.end_session_endpoint}?${fieldsOf({ id_token_hint: id_token, post_logout_redirect_uri, state: 'away', ...changes(party, id_token) })}`)
    const error = status < 400 ? undefined : party.isLight ? JSON.parse(body).error : /<code>(\w+)<\/code>/.exec(body)?.[1]
    return { status, location, error }
  }
  const cases: Record<string, (party: Party, id_token: string) => Fields> = {
    right: () => ({}),
    'with the client_id beside': ({ client_id }) => ({ client_id }),
    'without a state': () => ({ state: undefined }),
    'with another client_id': () => ({ client_id: 'nobody' }),
    'to an address that is not registered': () => ({ post_logout_redirect_uri: `${gateway}/elsewhere` }),
    'by a text that is no token': () => ({ id_token_hint: 'x' }),
    'by a token that was changed': (_party, id_token) => ({ id_token_hint: id_token.replace(/[^.]*$/, 'x') }),
    'by an unknown client without a token': () => ({ id_token_hint: undefined, client_id: 'nobody' })
  }
  for (const [what, changes] of Object.entries(cases)) await same(t, both, what, leave(changes))
  const light = both[1]
  const alone = await leave(() => ({ id_token_hint: undefined, client_id: light.client_id }))(light)
  t.match(alone, { status: 303, location: `${post_logout_redirect_uri}?state=away` }, 'by the client_id alone, where the real one asks the citizen first')
  t.match(await leave(() => ({ id_token_hint: undefined }))(light), { status: 200, location: undefined }, 'by nothing: nobody knows where to go')
})

t.test('openid-client takes its tokens with every check, by each algorithm, signed and encrypted', async t => {
  const encryptions = [['RSA-OAEP-256', 'A128GCM'], ['RSA-OAEP-256', 'A256GCM'], ['ECDH-ES', 'A128GCM'], ['ECDH-ES', 'A256GCM']] as const
  const registrations = [...signatureAlgorithms.map(alg => ({ alg, encryption: undefined })), ...encryptions.map(encryption => ({ alg: 'ES256' as const, encryption }))]
  for (const { alg, encryption: [wrapping, enc] = [] } of registrations) {
    const what = `${alg} ${wrapping ?? 'in clear'} ${enc ?? ''}`
    const key = wrapping && createEncryptionKey(wrapping)
    const light = await startLight(t, {
      id_token_signed_response_alg: alg,
      userinfo_signed_response_alg: alg,
      ...(key && { jwks: { keys: [key.published] }, id_token_encrypted_response_alg: key.alg, id_token_encrypted_response_enc: enc!, userinfo_encrypted_response_alg: key.alg, userinfo_encrypted_response_enc: enc! })
    })
    const client = await openid.discovery(new URL(light.issuer), light.client_id, { id_token_signed_response_alg: alg, userinfo_signed_response_alg: alg }, openid.ClientSecretBasic(light.client_secret), { execute: [openid.allowInsecureRequests], [openid.customFetch]: customFetch })
    openid.enableNonRepudiationChecks(client)
    if (key) openid.enableDecryptingResponses(client, [enc!], { key: await importKey(key.privateKey, key.alg) as CryptoKey, kid: key.kid, alg: key.alg })
    const callback = await arrival(partyOf(light), { citizen: 'Zoé' })
    const tokens = await openid.authorizationCodeGrant(client, callback, { pkceCodeVerifier: verifier, expectedState: 'the-state', expectedNonce: 'the-nonce', maxAge: 60 })
    t.equal(tokens.id_token!.split('.').length, key === undefined ? 3 : 5, what)
    t.match(await openid.fetchUserInfo(client, tokens.access_token, tokens.claims()!.sub), citizenOf('Zoé'), `${what}: userinfo`)
  }
})
const importKey = (key: KeyObject, alg: string) => importJWK(key.export({ format: 'jwk' }), alg)

t.test('it encrypts by the key that its client publishes, as it is registered', async t => {
  const desk = await clientDesk(t)
  const [sig, enc] = [keyOf('published'), createEncryptionKey('ECDH-ES')]
  desk.keys = [sig.published, enc.published]
  const light = await startLight(t, { jwks_uri: `${desk.origin}/jwks`, id_token_encrypted_response_alg: 'ECDH-ES', id_token_encrypted_response_enc: 'A256GCM' })
  for (let i = 0; i < 3; i++) {
    const { id_token } = await tokensOf(partyOf(light))
    t.match(decodeProtectedHeader(id_token), { alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT', kid: enc.kid })
    const { plaintext } = await compactDecrypt(id_token, enc.privateKey)
    t.match(decodeJwt(Buffer.from(plaintext).toString()), { iss: light.issuer, nonce: 'the-nonce' })
  }
  t.equal(desk.at('/jwks').length, 1, 'asked for once')
  desk.keys = [sig.published]
  const keyless = await startLight(t, { jwks_uri: `${desk.origin}/jwks`, id_token_encrypted_response_alg: 'ECDH-ES' })
  const answer = await redeem(partyOf(keyless), grantOf(await codeOf(partyOf(keyless))))
  t.same([answer.status, /no key for ECDH-ES/.test(answer.text)], [500, true], 'without such a key nothing is told')
})

t.test('every citizen has a sound identity of his or her own, whatever the name', async t => {
  const names = ['', 'somebody', 'é', '😀', 'x'.repeat(200), ...Array.from({ length: 2000 }, (_, i) => `citizen-${i}`)]
  const pivot = ['given_name', 'given_name_array', 'family_name', 'gender', 'birthdate', 'birthplace', 'birthcountry', 'preferred_username', 'email', 'email_verified']
  for (const name of names) {
    const identity = citizenOf(name)
    if (identityFaults(identity, pivot).length > 0) t.fail(`${name}: ${identityFaults(identity, pivot)}`)
    for (const claim of ['given_name', 'family_name', 'preferred_username']) if (!/^[A-Z][a-z]{15}$/.test(String(identity[claim]))) t.fail(`${name}: ${claim}`)
  }
  t.equal(new Set(names.map(name => citizenOf(name)['given_name'])).size, names.length, 'no two share a given name')
  t.strictSame(citizenOf('somebody'), citizenOf('somebody'))
})

t.test('many who log in at once each get what is theirs', async t => {
  const light = await startLight(t, { id_token_signed_response_alg: 'ES256' })
  const party = partyOf(light)
  const subs = await Promise.all(Array.from({ length: 300 }, async (_, i) => {
    const asked = askedOf(party, { citizen: `citizen-${i}`, nonce: `nonce-${i}`, state: `state-${i}` })
    const { headers } = await ask(`${party.endpoints.authorization_endpoint}?${fieldsOf(asked)}`)
    const callback = new URL(String(headers['location']))
    const { id_token, access_token } = JSON.parse((await redeem(party, grantOf(callback.searchParams.get('code')!))).text)
    const userinfo = JSON.parse((await ask(party.endpoints.userinfo_endpoint, { headers: { authorization: `Bearer ${access_token}` } })).text)
    const { nonce, sub } = decodeJwt(id_token)
    if (callback.searchParams.get('state') !== `state-${i}` || nonce !== `nonce-${i}` || userinfo.sub !== sub || userinfo.given_name !== citizenOf(`citizen-${i}`)['given_name']) t.fail(`citizen ${i} got another's`)
    return sub
  }))
  t.equal(new Set(subs).size, 300)
  t.match(light.counts, { authorize: 300, token: 300, userinfo: 300, jwks: 0, discovery: 0, trap: 0 })
})

t.test('it counts every call by its endpoint, refused ones too, and nothing else', async t => {
  const light = await startLight(t)
  const at = async (path: string, times: number) => { for (let i = 0; i < times; i++) await ask(light.issuer + path) }
  await at('/.well-known/openid-configuration', 1)
  await at('/jwks', 2)
  await at('/authorize', 3)
  await at('/token', 4)
  await at('/userinfo', 5)
  await at('/logout', 6)
  await at('/status', 7)
  await at('/elsewhere', 8)
  t.same(light.counts, { discovery: 1, jwks: 2, authorize: 3, token: 4, userinfo: 5, logout: 6, status: 7, trap: 0 })
  t.match(await ask(`${light.issuer}/status`), { status: 200, text: '{"status":"up"}' })
})

t.test('it changes its keys with and without an overlap, goes away, and comes back at the same place', async t => {
  const light = await startLight(t)
  const party = partyOf(light)
  const kids = async () => (JSON.parse((await ask(party.endpoints.jwks_uri)).text).keys as JWK[]).map(({ kid }) => kid)
  const first = await kids()
  t.equal(first.length, 4, 'a key for each algorithm')
  light.renewKeys({ overlap: true })
  const second = await kids()
  t.same(second.slice(4), first, 'the old ones stay published')
  const before = await tokensOf(party)
  t.ok(second.slice(0, 4).includes(decodeProtectedHeader(before.id_token).kid), 'the new ones sign')
  light.renewKeys({ overlap: false })
  const third = await kids()
  t.same([third.length, third.some(kid => second.includes(kid))], [4, false], 'all others are forgotten')
  t.ok(third.includes(decodeProtectedHeader((await tokensOf(party)).id_token).kid))

  const code = await codeOf(party)
  await light.stop()
  await t.rejects(ask(party.endpoints.jwks_uri), { code: 'ECONNREFUSED' })
  await t.rejects(ask(`${light.control}/counts`), { code: 'ECONNREFUSED' })
  await light.start()
  t.same(await kids(), third)
  t.equal((await redeem(party, grantOf(code))).status, 200, 'its logins survive')
  t.equal((await ask(`${light.control}/counts`)).status, 200)
})

/** A request to the control of a provider, and its answer. */
async function steer ({ control }: Pick<LightProvider, 'control'>, method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: unknown) {
  const answer = await request(control + path, { method, ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }) })
  return { status: answer.statusCode, body: await answer.body.json() as Record<string, unknown> }
}

t.test('its control says what it can do, steers it, and refuses what it does not know', async t => {
  const light = await startLight(t)
  const party = partyOf(light)
  const isWell = async () => (await ask(`${light.issuer}/status`)).status === 200
  t.match(light.control, /^http:\/\/127\.0\.0\.1:\d+$/)
  t.not(new URL(light.control).port, new URL(light.issuer).port, 'it has a port of its own')
  t.equal((await ask(`${light.issuer}/misbehaviour`)).status, 404, 'nothing of it is at the provider')

  const all = await steer(light, 'GET', '/')
  t.same(all, { status: 200, body: { in_force: null, misbehaviours: Object.fromEntries(Object.entries(misbehaviours).map(([name, { about }]) => [name, about])) } })
  t.same(await steer(light, 'PUT', '/misbehaviour', { name: 'errors_500' }), { status: 200, body: { in_force: { name: 'errors_500', share: 1 } } })
  t.equal(await isWell(), false)
  t.match(await steer(light, 'GET', '/'), { body: { in_force: { name: 'errors_500', share: 1 } } })
  for (const [what, body, said] of [
    ['an unknown name', { name: 'unheard-of' }, /^expected name: one of black_hole, .*prototype_claims$/],
    ['a name of every object', { name: 'constructor' }, /^expected name/],
    ['no name', {}, /^expected name/],
    ['a name that is no text', { name: ['errors_500'] }, /^expected name/],
    ['a share of nothing', { name: 'slow', share: 0 }, /^expected share/],
    ['a share above all', { name: 'slow', share: 1.5 }, /^expected share/],
    ['a share that is a text', { name: 'slow', share: '0.5' }, /^expected share/],
    ['null', 'null', /^expected name/],
    ['no JSON', '{', /expected JSON/]
  ] as const) {
    t.match(await steer(light, 'PUT', '/misbehaviour', body), { status: 400, body: { error: said } }, what)
  }
  t.match(await steer(light, 'GET', '/'), { body: { in_force: { name: 'errors_500' } } }, 'what was refused changes nothing')
  t.same(await steer(light, 'PUT', '/misbehaviour', { name: 'html' }), { status: 200, body: { in_force: { name: 'html', share: 1 } } }, 'one takes the place of another')
  t.equal(await isWell(), true)
  t.same(await steer(light, 'DELETE', '/misbehaviour'), { status: 200, body: { in_force: null } })
  t.equal((await redeem(party, grantOf(await codeOf(party)))).status, 200)

  t.same((await steer(light, 'GET', '/counts')).body, light.counts)
  const kids = () => [...light.keys.values()].map(({ kid }) => kid)
  const before = kids()
  t.same(await steer(light, 'POST', '/keys', { overlap: true }), { status: 200, body: { kids: [...kids(), ...before] } })
  t.same(await steer(light, 'POST', '/keys', { overlap: false }), { status: 200, body: { kids: kids() } })
  t.same(await steer(light, 'POST', '/keys', {}), { status: 200, body: { kids: kids() } }, 'without an overlap unless one is asked for')
  t.match(await steer(light, 'POST', '/keys', { overlap: 'yes' }), { status: 400, body: { error: 'expected overlap: true or false' } })
  t.match(await steer(light, 'GET', '/elsewhere'), { status: 404, body: { error: /^expected one of GET \/, PUT \/misbehaviour, DELETE \/misbehaviour, GET \/counts, POST \/keys$/ } })
})

t.test('a share of its calls misbehaves, the others are as they should be', async t => {
  const light = await startLight(t)
  light.misbehave('errors_500', 0.5)
  const statuses = await Promise.all(Array.from({ length: 200 }, async () => (await ask(`${light.issuer}/status`)).status))
  t.same([...new Set(statuses)].sort(), [200, 500])
  const misbehaved = statuses.filter(status => status === 500).length
  t.ok(misbehaved > 50 && misbehaved < 150, `${misbehaved} of 200`)     // seven standard deviations
  light.recover()
  t.equal((await ask(`${light.issuer}/status`)).status, 200)
})

const script = fileURLToPath(new URL('light-provider.ts', import.meta.url))

/** The provider as a process, how it ends, and of what it complains. */
function run (t: Test, ...args: string[]) {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit') as Promise<[code: number | null, signal: string | null]>
  return { child, ended, complaint: text(child.stderr) }
}

t.test('as a process it says in one line that it listens, and ends at SIGTERM, whatever it leaves unanswered', async t => {
  const { child, ended } = run(t, '--id', 'tresorine', '--redirect-uri', `${gateway}/callback/other`, '--redirect-uri', redirect_uri, '--post-logout-redirect-uri', post_logout_redirect_uri, '--client-id', 'the-client', '--client-secret', 'the-secret', '--alg', 'ES256')
  const lines: string[] = []
  const output = createInterface(child.stdout).on('line', line => lines.push(line))
  const [line] = await once(output, 'line')
  const said = JSON.parse(line)
  t.match(said, { id: 'tresorine', issuer: /^http:\/\/tresorine\.localhost:\d+$/, control: /^http:\/\/127\.0\.0\.1:\d+$/, client_id: 'the-client', client_secret: 'the-secret', pid: child.pid })
  t.same(Object.keys(said), ['id', 'issuer', 'control', 'client_id', 'client_secret', 'pid'])

  const metadata = JSON.parse((await ask(`${said.issuer}/.well-known/openid-configuration`)).text)
  const party: Party = { isLight: true, ...said, endpoints: metadata }
  for (const redirect of [redirect_uri, `${gateway}/callback/other`]) {
    const { id_token } = JSON.parse((await redeem(party, grantOf(await codeOf(party, { redirect_uri: redirect }), { redirect_uri: redirect }))).text)
    t.match(decodeProtectedHeader(id_token), { alg: 'ES256' })
  }
  t.same((await steer(said, 'GET', '/counts')).body, { discovery: 1, authorize: 2, jwks: 0, token: 2, userinfo: 0, logout: 0, status: 0, trap: 0 })
  await steer(said, 'PUT', '/misbehaviour', { name: 'black_hole' })
  const unanswered = ask(`${said.issuer}/status`).then(() => 'answered', error => error.code)
  while ((await steer(said, 'GET', '/counts')).body['status'] === 0);
  child.kill('SIGTERM')
  t.same(await ended, [0, null])
  t.equal(await unanswered, 'UND_ERR_SOCKET')
  t.equal(lines.length, 1, 'it says nothing else')
})

t.test('as a process it takes the ports that it is given, so that it can come back', async t => {
  const first = run(t, '--id', 'vitalys', '--redirect-uri', redirect_uri)
  const [line] = await once(createInterface(first.child.stdout), 'line')
  const { issuer, control } = JSON.parse(line)
  first.child.kill('SIGTERM')
  await first.ended
  const again = run(t, '--id', 'vitalys', '--redirect-uri', redirect_uri, '--port', new URL(issuer).port, '--control-port', new URL(control).port)
  const [second] = await once(createInterface(again.child.stdout), 'line')
  t.match(JSON.parse(second), { issuer, control })
  const { ended, complaint } = run(t, '--id', 'vitalys', '--redirect-uri', redirect_uri, '--port', new URL(issuer).port)
  t.same(await ended, [1, null], 'where somebody else is, it does not stay')
  t.match(await complaint, /EADDRINUSE/)
  again.child.kill('SIGTERM')
  await again.ended
})

t.test('as a process it says what it expects', async t => {
  for (const args of [[], ['--id', 'vitalys'], ['--redirect-uri', redirect_uri], ['--id', 'vitalys', '--redirect-uri', redirect_uri, '--alg', 'HS256']]) {
    const { ended, complaint } = run(t, ...args)
    t.same(await ended, [1, null], args.join(' '))
    t.match(await complaint, /expected node test\/world\/light-provider\.ts --id ID --redirect-uri URL/)
  }
})
