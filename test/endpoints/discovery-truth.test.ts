import { createHash, generateKeyPairSync, randomUUID, type KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { calculateJwkThumbprint, compactDecrypt, createLocalJWKSet, jwtVerify, SignJWT, UnsecuredJWT, type JWTPayload } from 'jose'
import t, { type Test } from 'tap'
import { ConfigurationError } from '../../src/config/load.ts'
import { base, basic, citizen, issuer, origin, requestOf, secretOf, testApp, type Page, type TestApp, type TestOptions } from '../support/test-app.ts'

// Discovery tells the truth: whatever it names is used here through the front door, and what the registries know beside it is refused. A name without an entry fails.

t.setTimeout(110_000)

type Registration = Record<string, unknown>
type Metadata = Record<string, any>

// ---- keys of a client

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const ed25519 = generateKeyPairSync('ed25519')
const encryption = { 'RSA-OAEP-256': generateKeyPairSync('rsa', { modulusLength: 2048 }), 'ECDH-ES': generateKeyPairSync('ec', { namedCurve: 'P-256' }) }

const signers: Record<string, KeyObject> = { RS256: rsa.privateKey, RS384: rsa.privateKey, PS256: rsa.privateKey, PS512: rsa.privateKey, ES256: p256.privateKey, ES384: p384.privateKey, EdDSA: ed25519.privateKey, Ed25519: ed25519.privateKey }
const kids = new Map([[rsa.privateKey, 'rsa'], [p256.privateKey, 'p256'], [p384.privateKey, 'p384'], [ed25519.privateKey, 'ed25519']])
const bareJwk = (key: KeyObject) => key.export({ format: 'jwk' }) as { kty: string }
/** The public JWK of a key that signs. */
const publicOf = new Map([rsa, p256, p384, ed25519].map(({ publicKey, privateKey }) => [privateKey, bareJwk(publicKey)]))
const withKeys = {
  jwks: {
    keys: [
      ...[...publicOf].map(([key, jwk]) => ({ ...jwk, use: 'sig', kid: kids.get(key) })),
      ...Object.values(encryption).map(({ publicKey }, at) => ({ ...bareJwk(publicKey), use: 'enc', kid: `enc-${at}` }))
    ]
  }
}
const byKey = { ...withKeys, token_endpoint_auth_method: 'private_key_jwt', client_secrets: [] }

/** A JWT of this client, signed so; also by algorithms that we do not take. */
async function signed (alg: string, claims: JWTPayload, header: object = {}) {
  if (alg === 'none') return new UnsecuredJWT(claims).encode()
  const key = alg.startsWith('HS') ? Buffer.from(secretOf('probe').padEnd(64, '.')) : signers[alg]!
  return new SignJWT(claims).setProtectedHeader({ alg, ...(alg.startsWith('HS') ? {} : { kid: kids.get(signers[alg]!) }), ...header }).sign(key)
}

// ---- a client that is registered for the question, and its whole login

const everyClaim = {
  ...citizen,
  name: 'Angèle Quiquempoix',
  middle_name: 'Zoé',
  nickname: 'Gégé',
  preferred_username: 'Lefol',
  profile: 'https://angele.example/',
  picture: 'https://angele.example/me.png',
  website: 'https://angele.example/web',
  zoneinfo: 'Europe/Paris',
  locale: 'fr-FR',
  updated_at: 1_700_000_000,
  email_verified: true,
  phone_number_verified: false,
  address: { formatted: '1 rue du Pré\n75107 Paris' },
  place_of_birth: { country: 'FR' },
  nationalities: ['FRA'],
  _claim_names: { credit_score: 'src1' },
  _claim_sources: { src1: { JWT: 'x' } }
}
const everyScope = ['openid', 'profile', 'birth', 'identite_pivot', 'email', 'phone', 'address', 'given_name', 'family_name', 'birthdate', 'gender', 'birthplace', 'birthcountry', 'preferred_username', 'idp_id', 'amr']

interface Probe extends TestApp { metadata: Metadata }

async function probeOf (t: Test, registration: Registration = {}, options: TestOptions = {}): Promise<Probe> {
  const gateway = await testApp(t, { ...options, clients: { probe: { redirect_uris: ['https://probe.example/back'], post_logout_redirect_uris: ['https://probe.example/bye'], scopes: everyScope, ...registration }, ...options.clients } })
  gateway.providers['taxes']!.answer = { claims: everyClaim, amr: ['pwd', 'mfa'] }
  const { body } = await gateway.app.inject(`${base}/.well-known/openid-configuration`)
  return { ...gateway, metadata: JSON.parse(body) }
}

const pathOf = (address: string) => {
  if (!address.startsWith(origin)) throw new Error(`not an address of ours: ${address}`)
  return address.slice(origin.length)
}
const asked = (changes: Record<string, string | undefined> = {}) => requestOf('probe', { redirect_uri: 'https://probe.example/back', scope: 'openid', ...changes })

interface Credentials { headers: Record<string, string>, form: Record<string, string> }
type Authenticate = (probe: Probe) => Promise<Credentials>

const byAssertion = (alg: string): Authenticate => async ({ now }) => ({
  headers: {},
  form: { client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion: await signed(alg, { iss: 'probe', sub: 'probe', aud: issuer, jti: randomUUID(), exp: now() + 60 }) }
})

/** How each method is used, and the registration that goes with it. */
const methods: Record<string, { authenticate: Authenticate, registration: Registration }> = {
  client_secret_basic: { authenticate: async () => ({ headers: { authorization: basic('probe', secretOf('probe')) }, form: {} }), registration: {} },
  client_secret_post: { authenticate: async () => ({ headers: {}, form: { client_id: 'probe', client_secret: secretOf('probe') } }), registration: { token_endpoint_auth_method: 'client_secret_post' } },
  private_key_jwt: { authenticate: byAssertion('ES256'), registration: byKey },
  none: { authenticate: async () => ({ headers: {}, form: { client_id: 'probe' } }), registration: { token_endpoint_auth_method: 'none', client_secrets: [], acr_values: ['eidas1'] } }
}
const bySecret = methods['client_secret_basic']!

async function post (probe: Probe, endpoint: string, form: Record<string, string | undefined>, { headers, form: proof }: Credentials, more: Record<string, string> = {}) {
  const fields = Object.entries({ ...form, ...proof }).filter((field): field is [string, string] => field[1] !== undefined)
  const answer = await probe.app.inject({ method: 'POST', url: pathOf(probe.metadata[endpoint]), headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers, ...more }, payload: new URLSearchParams(fields).toString() })
  return { status: answer.statusCode, headers: answer.headers, text: answer.body, body: answer.body.startsWith('{') ? JSON.parse(answer.body) : {} }
}

const start = (probe: Probe, browser: ReturnType<Probe['browser']>, parameters: Record<string, string>) => browser.get(`${pathOf(probe.metadata['authorization_endpoint'])}?${new URLSearchParams(parameters)}`)

/** From the chooser to the answer for the client. */
async function choose (browser: ReturnType<Probe['browser']>, page: Page) {
  const shown = await browser.follow(page)
  const consent = shown.link('idp-taxes') === undefined ? shown : await browser.comeBack(await browser.choose(shown))
  return consent.status === 200 && consent.fields['login'] !== undefined ? browser.agree(consent) : consent
}

interface Login { changes?: Record<string, string | undefined>, authenticate?: Authenticate, browser?: ReturnType<Probe['browser']>, sent?: (parameters: Record<string, string>) => Promise<Record<string, string>> | Record<string, string>, headers?: (endpoint: string, access_token?: string) => Promise<Record<string, string>> }

/** A whole login of the probe, by the addresses of the document. */
async function logIn (probe: Probe, { changes, authenticate = bySecret.authenticate, browser = probe.browser(), sent = parameters => parameters, headers = async () => ({}) }: Login = {}) {
  const { parameters, code_verifier } = asked(changes)
  const page = await choose(browser, await start(probe, browser, await sent(parameters)))
  const code = page.query.get('code') ?? page.fields['code']
  if (code === undefined) throw new Error(`no code: ${page.status} ${page.location} ${page.code}`)
  const tokens = await post(probe, 'token_endpoint', { grant_type: 'authorization_code', code, redirect_uri: parameters['redirect_uri']!, code_verifier: parameters['code_challenge'] === undefined ? undefined : code_verifier }, await authenticate(probe), await headers('token_endpoint'))
  if (tokens.status !== 200) throw new Error(`no tokens: ${tokens.text}`)
  const { access_token, token_type, id_token } = tokens.body
  const userinfo = await probe.app.inject({ url: pathOf(probe.metadata['userinfo_endpoint']), headers: { authorization: `${token_type} ${access_token}`, ...await headers('userinfo_endpoint', access_token) } })
  if (userinfo.statusCode !== 200) throw new Error(`no userinfo: ${userinfo.body}`)
  return { page, parameters, code, browser, tokens: tokens.body, access_token, id_token, userinfo }
}

/** A JWT of ours, by a key of the document's jwks_uri. */
async function verified (probe: Probe, jwt: string, alg?: string) {
  const { body } = await probe.app.inject(pathOf(probe.metadata['jwks_uri']))
  return jwtVerify(jwt, createLocalJWKSet(JSON.parse(body)), { issuer, currentDate: new Date(probe.now() * 1000), ...(alg === undefined ? {} : { algorithms: [alg] }) })
}

async function decrypted (jwe: string, alg: string, enc: string) {
  const { plaintext, protectedHeader } = await compactDecrypt(jwe, encryption[alg as keyof typeof encryption].privateKey)
  if (protectedHeader.alg !== alg || protectedHeader.enc !== enc || protectedHeader['cty'] !== 'JWT') throw new Error(`encrypted otherwise: ${JSON.stringify(protectedHeader)}`)
  return Buffer.from(plaintext).toString()
}

/** What the service is told of a request that cannot be. */
async function errorOf (probe: Probe, changes: Record<string, string | undefined>, browser = probe.browser()) {
  const page = await start(probe, browser, asked(changes).parameters)
  return page.query.get('error')
}

/** A registration that the gateway does not start with. */
async function refusesRegistration (t: Test, setting: string, registration: Registration) {
  const refused = await probeOf(t, registration).then(() => undefined, error => error as ConfigurationError)
  t.type(refused, ConfigurationError)
  t.match(refused?.problems, [new RegExp(`probe\\.yaml: .*${setting}`)])
}

// ---- the drivers

interface Driver {
  /** uses a member of the list, or the value of a flag or address */
  use: (t: Test, value: string) => Promise<void>
  /** what the registries know beside the list, and how it is refused */
  others?: Record<string, (t: Test, value: string) => Promise<void>>
}
const each = (values: string[], refuse: (t: Test, value: string) => Promise<void>) => Object.fromEntries(values.map(value => [value, refuse]))

const loginWith = (registration: Registration, authenticate?: Authenticate) => async (t: Test) => {
  const probe = await probeOf(t, registration)
  const { id_token } = await logIn(probe, authenticate === undefined ? {} : { authenticate })
  t.match((await verified(probe, id_token)).payload, { aud: 'probe', sub: String })
}

const address = (use: Driver['use']): Driver => ({ use })

/** Signatures that a client makes: each is accepted where `use` puts it, every other is told `error`. */
const acceptedSignatures = (send: (probe: Probe, alg: string) => Promise<{ status: number, body: Metadata }>, registration: Registration, error: string, unsigned = error): Driver => ({
  use: async (t, alg) => {
    const { status, body } = await send(await probeOf(t, registration), alg)
    t.ok(status < 300, `${status} ${body['error_description']}`)
  },
  others: each(['none', 'HS256', 'RS384', 'PS512', 'ES384'], async (t, alg) => {
    t.match(await send(await probeOf(t, registration), alg), { body: { error: alg === 'none' ? unsigned : error } })
  })
})

async function redeemWith (probe: Probe, credentials: Credentials, headers: Record<string, string> = {}) {
  const browser = probe.browser()
  const { parameters, code_verifier } = asked()
  const page = await choose(browser, await start(probe, browser, parameters))
  return post(probe, 'token_endpoint', { grant_type: 'authorization_code', code: page.query.get('code')!, redirect_uri: parameters['redirect_uri'], code_verifier }, credentials, headers)
}

const dataProvider = { introspection: true }
const ask = async (probe: Probe, credentials: Credentials, headers?: Record<string, string>) => {
  const agency = probe.browser()
  const { body } = await probe.redeem(await agency.logIn('agency'))
  return post(probe, 'introspection_endpoint', { token: body['access_token'] }, credentials, headers)
}
const revoke = async (probe: Probe, authenticate: Authenticate, way: Authenticate = authenticate) => {
  const { access_token } = await logIn(probe, { authenticate })
  const answer = await post(probe, 'revocation_endpoint', { token: access_token }, await way(probe))
  const { statusCode } = await probe.app.inject({ url: `${base}/userinfo`, headers: { authorization: `Bearer ${access_token}` } })
  return { ...answer, statusAfter: statusCode }
}

const unregistrable = ['client_secret_jwt', 'tls_client_auth', 'self_signed_tls_client_auth']
const refusesMethod = async (t: Test, method: string) => refusesRegistration(t, 'token_endpoint_auth_method', { ...byKey, token_endpoint_auth_method: method })

/** JWTs that we make for a client: each signature, wrapping and content encryption of a kind, as registered; every other is no registration. */
const made = (purpose: 'id_token' | 'userinfo' | 'introspection', jwtFor: (probe: Probe) => Promise<string>) => {
  const isProvider = purpose === 'introspection' ? dataProvider : {}
  const open = async (t: Test, { alg = 'RS256', wrap, enc }: { alg?: string, wrap?: string, enc?: string }) => {
    const encrypted = wrap === undefined ? {} : { [`${purpose}_encrypted_response_alg`]: wrap, ...(enc === undefined ? {} : { [`${purpose}_encrypted_response_enc`]: enc }) }
    const probe = await probeOf(t, { ...withKeys, ...isProvider, [`${purpose}_signed_response_alg`]: alg, ...encrypted })
    const jwt = await jwtFor(probe)
    const { protectedHeader, payload } = await verified(probe, wrap === undefined ? jwt : await decrypted(jwt, wrap, enc ?? 'A256GCM'))
    t.equal(protectedHeader.alg, alg)
    t.equal(payload.aud, 'probe')
  }
  const refuses = (setting: string, more: Registration = {}) => async (t: Test, value: string) =>
    refusesRegistration(t, setting, { ...withKeys, ...isProvider, [`${purpose}_signed_response_alg`]: 'RS256', ...more, [setting]: value })
  return {
    [`${purpose}_signing_alg_values_supported`]: { use: (t, alg) => open(t, { alg }), others: each(['none', 'HS256', 'RS384', 'ES384', 'PS512', 'ES256K'], refuses(`${purpose}_signed_response_alg`)) },
    [`${purpose}_encryption_alg_values_supported`]: { use: (t, wrap) => open(t, { wrap }), others: each(['RSA-OAEP', 'RSA1_5', 'dir', 'A256KW', 'ECDH-ES+A128KW', 'PBES2-HS256+A128KW'], refuses(`${purpose}_encrypted_response_alg`)) },
    [`${purpose}_encryption_enc_values_supported`]: { use: (t, enc) => open(t, { wrap: 'ECDH-ES', enc }), others: each(['A128CBC-HS256', 'A256CBC-HS512', 'A192GCM'], refuses(`${purpose}_encrypted_response_enc`, { [`${purpose}_encrypted_response_alg`]: 'ECDH-ES' })) }
  } satisfies Record<string, Driver>
}

/** A DPoP proof for an endpoint, with the nonce that it gave. */
async function proofHeaders (probe: Probe, alg: string, endpoint: string, access_token?: string): Promise<Record<string, string>> {
  const htu = probe.metadata[endpoint] as string
  const key = alg.startsWith('HS') || alg === 'none' ? p256.privateKey : signers[alg]!
  const make = async (nonce?: string) => signed(alg, {
    htm: endpoint === 'userinfo_endpoint' ? 'GET' : 'POST',
    htu,
    iat: probe.now(),
    jti: randomUUID(),
    ...(nonce === undefined ? {} : { nonce }),
    ...(access_token === undefined ? {} : { ath: createHash('sha256').update(access_token).digest('base64url') })
  }, { typ: 'dpop+jwt', jwk: publicOf.get(key), kid: undefined })
  const first = await probe.app.inject({ method: 'POST', url: `${base}/token`, headers: { 'content-type': 'application/x-www-form-urlencoded', dpop: await new SignJWT({ htm: 'POST', htu: `${issuer}/token`, iat: probe.now(), jti: randomUUID() }).setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: publicOf.get(p256.privateKey)! }).sign(p256.privateKey) }, payload: 'grant_type=authorization_code' })
  return { dpop: await make(String(first.headers['dpop-nonce'])) }
}

const requestObjectBy = ({ now }: Probe, alg: string) => async (parameters: Record<string, string>) => ({
  client_id: 'probe',
  redirect_uri: parameters['redirect_uri']!,
  request: await signed(alg, { ...parameters, iss: 'probe', aud: issuer, exp: now() + 60 }, { typ: 'oauth-authz-req+jwt' })
})

/** What each scope gives, beside `sub`. */
const profile = ['given_name', 'given_name_array', 'family_name', 'birthdate', 'gender', 'preferred_username', 'name', 'middle_name', 'nickname', 'profile', 'picture', 'website', 'zoneinfo', 'locale', 'updated_at']
const claimsOf: Record<string, string[]> = {
  openid: [],
  profile,
  birth: ['birthplace', 'birthcountry'],
  identite_pivot: ['given_name', 'given_name_array', 'family_name', 'birthdate', 'gender', 'birthplace', 'birthcountry'],
  email: ['email', 'email_verified'],
  phone: ['phone_number', 'phone_number_verified'],
  address: ['address'],
  ...Object.fromEntries(['given_name', 'family_name', 'birthdate', 'gender', 'birthplace', 'birthcountry', 'preferred_username', 'idp_id', 'amr'].map(name => [name, [name]]))
}

const everyClaimName = [...new Set(Object.values(claimsOf).flat())]

async function claimAsked (t: Test, name: string) {
  const probe = await probeOf(t, { scopes: ['openid'], claims: everyClaimName })
  const { id_token, userinfo } = await logIn(probe, { changes: { claims: JSON.stringify({ userinfo: { [name]: null }, id_token: { [name]: null } }) } })
  return { idToken: (await verified(probe, id_token)).payload, userinfo: JSON.parse(userinfo.body) as Metadata }
}

/** A session of this browser, opened by another login of the probe. */
async function withSession (probe: Probe) {
  const browser = probe.browser()
  await logIn(probe, { browser })
  return browser
}

/** A service that listens where it is told of logouts. */
async function listener (t: Test) {
  const told: string[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    told.push(new URLSearchParams(Buffer.concat(chunks).toString()).get('logout_token') ?? '')
    response.end()
    server.emit('told')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return { uri: `http://127.0.0.1:${(server.address() as AddressInfo).port}/out`, told, next: () => once(server, 'told', { signal: AbortSignal.timeout(10_000) }) }
}

async function toldOfLogout (t: Test) {
  const { uri, told, next } = await listener(t)
  const probe = await probeOf(t, { backchannel_logout_uri: uri }, { settings: { environment: 'development' } })
  const { browser, id_token } = await logIn(probe)
  const arrived = next()
  const out = await browser.get(`${pathOf(probe.metadata['end_session_endpoint'])}?${new URLSearchParams({ id_token_hint: id_token, post_logout_redirect_uri: 'https://probe.example/bye' })}`)
  t.equal(out.location, 'https://probe.example/bye')
  await arrived
  const { payload, protectedHeader } = await verified(probe, told[0]!)
  return { logout: payload, typ: protectedHeader.typ, idToken: (await verified(probe, id_token)).payload }
}

const drivers: Record<string, Driver> = {
  issuer: {
    use: async (t, value) => {
      const probe = await probeOf(t)
      const { id_token, page } = await logIn(probe)
      t.equal((await verified(probe, id_token)).payload.iss, value)
      t.equal(page.query.get('iss'), value)
      t.equal((await probe.app.inject(`${pathOf(value)}/.well-known/openid-configuration`)).json().issuer, value)
    }
  },
  authorization_endpoint: address(loginWith({})),
  token_endpoint: address(loginWith({})),
  userinfo_endpoint: address(async t => { t.match(JSON.parse((await logIn(await probeOf(t))).userinfo.body), { sub: String }) }),
  jwks_uri: address(loginWith({})),
  end_session_endpoint: address(async (t, value) => {
    const probe = await probeOf(t)
    const { browser, id_token } = await logIn(probe)
    t.equal((await browser.get(`${pathOf(value)}?${new URLSearchParams({ id_token_hint: id_token, post_logout_redirect_uri: 'https://probe.example/bye', state: 's' })}`)).location, 'https://probe.example/bye?state=s')
  }),
  pushed_authorization_request_endpoint: address(async t => {
    const probe = await probeOf(t, { require_pushed_authorization_requests: true })
    const { id_token } = await logIn(probe, {
      sent: async parameters => {
        const { status, body } = await post(probe, 'pushed_authorization_request_endpoint', parameters, await bySecret.authenticate(probe))
        t.match({ status, body }, { status: 201, body: { request_uri: /^urn:ietf:params:oauth:request_uri:/, expires_in: 60 } })
        return { client_id: 'probe', request_uri: body.request_uri }
      }
    })
    t.match((await verified(probe, id_token)).payload, { aud: 'probe' })
  }),
  introspection_endpoint: address(async t => {
    const probe = await probeOf(t, dataProvider)
    t.match(await ask(probe, await bySecret.authenticate(probe)), { status: 200, body: { active: true, iss: issuer, sub: String, scope: 'openid profile', acr: 'eidas1', token_type: 'Bearer' } })
  }),
  revocation_endpoint: address(async t => { t.match(await revoke(await probeOf(t), bySecret.authenticate), { status: 200, statusAfter: 401 }) }),

  scopes_supported: {
    use: async (t, scope) => {
      const probe = await probeOf(t)
      const { tokens, userinfo } = await logIn(probe, { changes: { scope: scope === 'openid' ? scope : `openid ${scope}` } })
      t.same(Object.keys(JSON.parse(userinfo.body)).sort(), ['sub', ...claimsOf[scope] ?? ['?']].sort())
      t.ok(tokens.scope.split(' ').includes(scope))
    },
    // an unknown scope is left out, and the answer says so (RFC 6749 §3.3)
    others: each(['offline_access'], async (t, scope) => {
      const { tokens } = await logIn(await probeOf(t), { changes: { scope: `openid ${scope}`, prompt: 'consent' } })
      t.equal(tokens.scope, 'openid')
      t.equal(tokens.refresh_token, undefined)
    })
  },
  claims_supported: {
    use: async (t, name) => {
      const { idToken, userinfo } = await claimAsked(t, name)
      t.ok(idToken[name] !== undefined || userinfo[name] !== undefined, name)
    },
    others: each(['nationalities', 'place_of_birth', 'azp', 'c_hash', 's_hash', 'vot', 'verified_claims', 'jti'], async (t, name) => {
      const { idToken, userinfo } = await claimAsked(t, name)
      t.equal(idToken[name] ?? userinfo[name], undefined)
    })
  },
  claim_types_supported: {
    use: async t => { t.match((await claimAsked(t, 'given_name')).userinfo, { given_name: 'Angèle' }) },
    others: each(['aggregated', 'distributed'], async t => {
      const { idToken, userinfo } = await claimAsked(t, 'given_name')
      for (const said of [idToken, userinfo]) t.notOk('_claim_names' in said || '_claim_sources' in said)
    })
  },
  claims_parameter_supported: {
    use: async (t, value) => {
      t.equal(value, true)
      const probe = await probeOf(t, { scopes: ['openid'], claims: ['email', 'gender'] })
      const { id_token, userinfo } = await logIn(probe, { changes: { claims: '{"userinfo":{"email":null},"id_token":{"gender":{"essential":true}}}' } })
      t.same(Object.keys(JSON.parse(userinfo.body)).sort(), ['email', 'sub'])
      t.equal((await verified(probe, id_token)).payload['gender'], 'female')
    }
  },
  acr_values_supported: {
    use: async (t, acr) => {
      const probe = await probeOf(t)
      const { id_token } = await logIn(probe, { changes: { acr_values: acr } })
      t.equal((await verified(probe, id_token)).payload['acr'], acr)
    },
    others: each(['phr', 'phrh', 'urn:mace:incommon:iap:silver', '0'], async (t, acr) => {
      const probe = await probeOf(t)
      t.equal(await errorOf(probe, { claims: JSON.stringify({ id_token: { acr: { essential: true, value: acr } } }) }), 'unmet_authentication_requirements')
      await refusesRegistration(t, 'acr_values', { acr_values: [acr] })
    })
  },
  subject_types_supported: {
    use: async t => {
      const probe = await probeOf(t, { entity: 'ministry' }, { clients: { sister: { redirect_uris: ['https://sister.example/back'], entity: 'ministry' }, stranger: { redirect_uris: ['https://stranger.example/back'] } } })
      const { userinfo } = await logIn(probe)
      const { sub } = JSON.parse(userinfo.body)
      const subAt = async (client_id: string) => {
        const { body } = await probe.redeem(await probe.browser().logIn(client_id, { changes: { redirect_uri: `https://${client_id}.example/back`, scope: 'openid' } }))
        return (await verified(probe, body['id_token'])).payload.sub
      }
      t.equal(await subAt('sister'), sub, 'one organisation')
      t.not(await subAt('stranger'), sub, 'another')
    },
    others: each(['public'], async t => refusesRegistration(t, 'subject_type', { subject_type: 'public' }))
  },
  response_types_supported: {
    use: async t => { t.match((await logIn(await probeOf(t), { changes: { response_type: 'code' } })).code, /./) },
    others: each(['id_token', 'token', 'code id_token', 'code token', 'id_token token', 'code id_token token', 'none'], async (t, response_type) => {
      t.equal(await errorOf(await probeOf(t), { response_type }), 'unsupported_response_type')
    })
  },
  response_modes_supported: {
    use: async (t, response_mode) => {
      const { page, parameters } = await logIn(await probeOf(t), { changes: { response_mode } })
      const { code, state, iss } = response_mode === 'form_post' ? page.fields : Object.fromEntries(page.query)
      t.match({ code, state, iss }, { code: String, state: parameters['state'], iss: issuer })
      t.equal(page.status, response_mode === 'form_post' ? 200 : 303)
      if (response_mode === 'form_post') t.ok(page.waysOn.includes('https://probe.example/back'))
    },
    others: each(['fragment', 'query.jwt', 'fragment.jwt', 'form_post.jwt', 'jwt'], async (t, response_mode) => {
      t.equal(await errorOf(await probeOf(t), { response_mode }), 'invalid_request')
    })
  },
  grant_types_supported: {
    use: async t => { t.match((await logIn(await probeOf(t))).tokens, { access_token: String }) },
    others: each(['refresh_token', 'client_credentials', 'password', 'implicit', 'urn:ietf:params:oauth:grant-type:jwt-bearer', 'urn:ietf:params:oauth:grant-type:device_code', 'urn:ietf:params:oauth:grant-type:token-exchange', 'urn:openid:params:grant-type:ciba'], async (t, grant_type) => {
      const probe = await probeOf(t)
      t.match(await post(probe, 'token_endpoint', { grant_type, refresh_token: 'x', assertion: 'x' }, await bySecret.authenticate(probe)), { status: 400, body: { error: 'unsupported_grant_type' } })
    })
  },
  code_challenge_methods_supported: {
    use: async t => {
      const probe = await probeOf(t)
      t.match((await logIn(probe)).tokens, { access_token: String })
      const browser = probe.browser()
      const { parameters } = asked()
      const { query } = await choose(browser, await start(probe, browser, parameters))
      t.match(await post(probe, 'token_endpoint', { grant_type: 'authorization_code', code: query.get('code')!, redirect_uri: parameters['redirect_uri'], code_verifier: 'x'.repeat(43) }, await bySecret.authenticate(probe)), { body: { error: 'invalid_grant' } }, 'a verifier that does not match')
    },
    others: each(['plain'], async (t, code_challenge_method) => { t.equal(await errorOf(await probeOf(t), { code_challenge_method, code_challenge: 'x'.repeat(43) }), 'invalid_request') })
  },
  prompt_values_supported: {
    use: async (t, prompt) => {
      const probe = await probeOf(t, { consent: 'skip' })
      const fresh = probe.browser()
      const browser = await withSession(probe)
      const { providers: { taxes } } = probe
      const page = await start(probe, browser, asked({ prompt }).parameters)
      switch (prompt) {
        case 'none':
          t.match(page.query.get('code'), /./, 'nothing is asked of a citizen who has a session')
          t.equal(await errorOf(probe, { prompt }, fresh), 'login_required')
          break
        case 'login':
          await browser.choose(page)
          t.equal(taxes!.asked.at(-1)!.prompt, 'login', 'the provider is to ask again')
          break
        case 'consent':
          t.match((await browser.follow(page)).fields, { login: String }, 'the page that says what is sent')
          break
        case 'select_account':
          t.match(page.link('idp-taxes'), /./, 'the chooser')
          break
        default: t.fail(`no driver for ${prompt}`)
      }
      if (prompt !== 'none') t.match((await start(probe, browser, asked().parameters)).query.get('code'), /./, 'without it the session does')
    },
    others: each(['create'], async (t, prompt) => { t.equal(await errorOf(await probeOf(t), { prompt }), 'invalid_request') })
  },
  display_values_supported: {
    // one page serves them all (OpenID Connect Core §3.1.2.1): its lines fit the narrowest
    use: async (t, display) => {
      const probe = await probeOf(t)
      const { page } = await logIn(probe, { changes: { display } })
      t.match(page.query.get('code'), /./)
      t.match((await start(probe, probe.browser(), asked({ display }).parameters)).body, /<meta name="viewport" content="width=device-width/)
    },
    others: each(['wap'], async (t, display) => {
      const probe = await probeOf(t)
      t.match((await start(probe, probe.browser(), asked({ display }).parameters)).body, /<!doctype html>/, 'no page of its own')
    })
  },
  ui_locales_supported: {
    use: async (t, ui_locales) => {
      const probe = await probeOf(t)
      t.match((await start(probe, probe.browser(), asked({ ui_locales }).parameters)).body, new RegExp(`<html lang="${ui_locales}"`))
    },
    others: each(['de', 'br'], async (t, ui_locales) => {
      const probe = await probeOf(t)
      t.match((await start(probe, probe.browser(), asked({ ui_locales: `${ui_locales} en` }).parameters)).body, /<html lang="en"/, 'the next one asked for')
    })
  },

  request_parameter_supported: {
    use: async (t, value) => {
      t.equal(value, true)
      const probe = await probeOf(t, { ...withKeys, require_signed_request_object: true })
      t.match((await logIn(probe, { sent: requestObjectBy(probe, 'ES256') })).tokens, { access_token: String })
    }
  },
  request_object_signing_alg_values_supported: acceptedSignatures(async (probe, alg) => {
    const page = await start(probe, probe.browser(), await requestObjectBy(probe, alg)(asked().parameters))
    return { status: page.status, body: { error: page.query.get('error') } }
  }, withKeys, 'invalid_request_object', 'request_not_supported'),
  request_uri_parameter_supported: {
    use: async (t, value) => {
      t.equal(value, false)
      t.equal(await errorOf(await probeOf(t, withKeys), { request_uri: 'https://probe.example/request.jwt' }), 'request_uri_not_supported')
    }
  },
  require_pushed_authorization_requests: {
    use: async (t, value) => {
      t.equal(value, false)
      t.match((await logIn(await probeOf(t))).tokens, { access_token: String }, 'a client that does not push')
      t.equal(await errorOf(await probeOf(t, { require_pushed_authorization_requests: true }), {}), 'invalid_request', 'one that said it would')
    }
  },
  authorization_response_iss_parameter_supported: {
    use: async (t, value) => {
      t.equal(value, true)
      const probe = await probeOf(t)
      t.equal((await logIn(probe)).page.query.get('iss'), issuer)
      t.equal((await start(probe, probe.browser(), asked({ response_type: 'token' }).parameters)).query.get('iss'), issuer, 'also in an error')
    }
  },

  token_endpoint_auth_methods_supported: {
    use: async (t, method) => loginWith(methods[method]!.registration, methods[method]!.authenticate)(t),
    others: each(unregistrable, refusesMethod)
  },
  token_endpoint_auth_signing_alg_values_supported: acceptedSignatures(async (probe, alg) => redeemWith(probe, await byAssertion(alg)(probe)), byKey, 'invalid_client'),
  introspection_endpoint_auth_methods_supported: {
    use: async (t, method) => {
      const { registration, authenticate } = methods[method]!
      const probe = await probeOf(t, { ...registration, ...dataProvider })
      t.match(await ask(probe, await authenticate(probe)), { status: 200, body: { active: true } })
    },
    others: {
      ...each(unregistrable, refusesMethod),
      none: async t => refusesRegistration(t, 'introspection', { ...methods['none']!.registration, ...dataProvider })
    }
  },
  introspection_endpoint_auth_signing_alg_values_supported: acceptedSignatures(async (probe, alg) => ask(probe, await byAssertion(alg)(probe)), { ...byKey, ...dataProvider }, 'invalid_client'),
  revocation_endpoint_auth_methods_supported: {
    use: async (t, method) => {
      const { registration, authenticate } = methods[method]!
      t.match(await revoke(await probeOf(t, registration), authenticate), { status: 200, statusAfter: 401 })
    },
    others: each(unregistrable, refusesMethod)
  },
  revocation_endpoint_auth_signing_alg_values_supported: acceptedSignatures(async (probe, alg) => {
    const { status, body, statusAfter } = await revoke(probe, byAssertion('ES256'), byAssertion(alg))
    return { status: status === 200 && statusAfter !== 401 ? 500 : status, body }
  }, byKey, 'invalid_client'),

  dpop_signing_alg_values_supported: {
    use: async (t, alg) => {
      const probe = await probeOf(t, dataProvider)
      const { tokens, access_token } = await logIn(probe, { changes: { scope: 'openid profile' }, headers: (endpoint, token) => proofHeaders(probe, alg, endpoint, token) })
      t.equal(tokens.token_type, 'DPoP')
      const { body } = await post(probe, 'introspection_endpoint', { token: access_token }, await bySecret.authenticate(probe))
      t.match(body, { token_type: 'DPoP', cnf: { jkt: await calculateJwkThumbprint(publicOf.get(signers[alg]!)!) } })
    },
    others: each(['none', 'HS256', 'RS256', 'RS384', 'PS512', 'ES384'], async (t, alg) => {
      const probe = await probeOf(t)
      t.match(await redeemWith(probe, await bySecret.authenticate(probe), await proofHeaders(probe, alg, 'token_endpoint')), { status: 400, body: { error: 'invalid_dpop_proof' } })
    })
  },

  ...made('id_token', async probe => (await logIn(probe)).id_token),
  ...made('userinfo', async probe => (await logIn(probe)).userinfo.body),
  ...made('introspection', async probe => (await ask(probe, await bySecret.authenticate(probe))).text),

  backchannel_logout_supported: {
    use: async (t, value) => {
      t.equal(value, true)
      const { logout, typ, idToken } = await toldOfLogout(t)
      t.equal(typ, 'logout+jwt')
      t.match(logout, { iss: issuer, aud: 'probe', sub: idToken.sub, iat: Number, exp: Number, jti: String, events: { 'http://schemas.openid.net/event/backchannel-logout': {} } })
      t.equal(logout['nonce'], undefined)
    }
  },
  backchannel_logout_session_supported: {
    use: async (t, value) => {
      t.equal(value, true)
      const { logout, idToken } = await toldOfLogout(t)
      t.match(idToken['sid'], /./)
      t.equal(logout['sid'], idToken['sid'])
    }
  },
  frontchannel_logout_supported: {
    use: async (t, value) => {
      t.equal(value, false)
      await refusesRegistration(t, 'frontchannel_logout_uri', { frontchannel_logout_uri: 'https://probe.example/out' })
    }
  }
}

// ---- the document

const metadata: Metadata = JSON.parse((await (await testApp(t)).app.inject(`${base}/.well-known/openid-configuration`)).body)

t.test('discovery tells the truth: every name in the document has somebody who tries it, and the other way round', async t => {
  t.same(Object.keys(metadata).sort(), Object.keys(drivers).sort())
})

for (const [name, value] of Object.entries(metadata)) {
  const { use, others = {} } = drivers[name] ?? { use: async () => {} }
  t.test(name, async t => {
    for (const member of [value].flat()) t.test(Array.isArray(value) ? `${member} works` : `it is ${member}, and so it is`, async t => use(t, member))
    for (const [other, refuse] of Object.entries(others)) {
      t.test(`${other} is not listed, and not to be had`, async t => {
        t.notOk(value.includes(other), 'not listed')
        await refuse(t, other)
      })
    }
  })
}
