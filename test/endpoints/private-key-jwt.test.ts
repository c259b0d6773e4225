import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { clientDesk, inDevelopment } from '../support/client-desk.ts'
import { assertionOf, assertionType, keyHolder, keyOf, requestObjectOf, type Changes, type ClientKey } from '../support/client-keys.ts'
import { createForgedKey } from '../support/forging-provider.ts'
import { base, basic, requestOf, secretOf, testApp, type Json, type TestApp } from '../support/test-app.ts'

/** Every endpoint that asks who its client is: what it is sent, and what says that the client was believed. */
const endpoints = {
  '/token': { form: { grant_type: 'authorization_code', code: 'x' }, believed: [400, 'invalid_grant'] },
  '/par': { form: { scope: 'openid' }, believed: [400, 'invalid_request'] },
  '/introspection': { form: { token: 'x' }, believed: [200, undefined] },
  '/revocation': { form: { token: 'x' }, believed: [200, undefined] }
} as const
type Path = keyof typeof endpoints
const paths = Object.keys(endpoints) as Path[]

/** `notary` and `vault` may ask everything there is to ask. */
const dataProviders = { notary: { introspection: true }, vault: { introspection: true, introspection_signed_response_alg: 'ES256' } }

/** One call of an endpoint with this assertion, and what a test changes beside it; a `fapi2` client proves its key as well. */
async function ask (gateway: TestApp, path: Path, client_assertion: string, changes: Record<string, string | undefined> = {}, headers: Record<string, string> = {}) {
  const form = { ...endpoints[path].form, client_assertion_type: assertionType, client_assertion, ...changes }
  return gateway.post(path, Object.fromEntries(Object.entries(form).filter((entry): entry is [string, string] => entry[1] !== undefined)), headers)
}

function isBelieved (t: Test, { status, body }: Json, path: Path, name: string) {
  t.strictSame([status, body['error']], endpoints[path].believed.concat(), `${path}: ${name}`)
}

/** RFC 6749 §5.2: invalid_client, and no challenge where no Authorization header was sent. */
function isRefused (t: Test, { status, headers, body }: Json, path: Path, name: string, challenge: RegExp = /^undefined$/) {
  t.match({ status, body }, { status: 401, body: { error: 'invalid_client', error_description: /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/ } }, `${path}: ${name}`)
  t.strictSame(Object.keys(body).sort(), ['error', 'error_description'], `${path}: ${name}: says nothing else`)
  t.match(String(headers['www-authenticate']), challenge, `${path}: ${name}: WWW-Authenticate`)
  t.equal(headers['cache-control'], 'no-store')
}

const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

t.test('what is not signed by the client, for us, now, proves nothing anywhere (RFC 7523 §3)', async t => {
  const rsa = keyOf('notary', 'RS256')
  const gateway = await testApp(t, { clients: { notary: { introspection: true, jwks: { keys: [keyOf('notary').published, rsa.published] } } } })
  const { issuer } = gateway
  const now = gateway.now()
  const made = (changes: Changes = {}, key?: ClientKey) => assertionOf('notary', { issuer, now }, changes, key)
  const good = await made()
  const [head, payload, signature] = good.split('.') as [string, string, string]
  const said = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const stranger = createForgedKey('ES256', keyOf('notary').kid)
  const { body: tokens } = await gateway.redeem(await gateway.browser().logIn('notary'))
  const holder = await keyHolder(gateway, keyOf('notary'))

  const wrong: Record<string, string> = {
    'alg none': await made({ header: { alg: 'none' } }),
    'alg None': await made({ header: { alg: 'None' } }),
    'no alg': await made({ header: { alg: undefined } }),
    'HS256 by the PEM of its public key': await made({ header: { alg: 'HS256', kid: rsa.kid }, key: Buffer.from(rsa.publicKey.export({ type: 'spki', format: 'pem' })) }),
    'HS256 by the JWK of its public key': await made({ header: { alg: 'HS256', kid: rsa.kid }, key: Buffer.from(JSON.stringify(rsa.published)) }),
    'the key of another client': await made({}, keyOf('vault')),
    'a key that it names as its own': await made({}, stranger),
    'a key that it brings along': await made({ header: { jwk: stranger.published, kid: undefined } }, stranger),
    'a key that it points at': await made({ header: { jku: 'https://evil.example/jwks' } }, stranger),
    'a kid of nobody': await made({ header: { kid: 'gone' } }),
    'a header that must be understood': await made({ header: { crit: ['http://x'], 'http://x': 1 } }),
    'no signature': `${head}.${payload}.`,
    'two parts': `${head}.${payload}`,
    'five parts': `${good}.x.y`,
    'other claims under its signature': `${head}.${part({ ...said, exp: now + 90 })}.${signature}`,
    'a signature cut short': good.slice(0, -8),
    'no JSON within': `${head}.${Buffer.from('x').toString('base64url')}.${signature}`,
    'a list within': `${head}.${part([])}.${signature}`,
    'no iss': await made({ claims: { iss: undefined } }),
    'another iss': await made({ claims: { iss: 'vault' } }),
    'no sub': await made({ claims: { sub: undefined } }),
    'sub a list': await made({ claims: { sub: ['notary'] } }),
    'sub of a client we do not know': await made({ claims: { iss: 'nobody', sub: 'nobody' } }),
    'sub of the prototype': await made({ claims: { iss: '__proto__', sub: '__proto__' } }),
    'sub of another client': await made({ claims: { iss: 'vault', sub: 'vault' } }),
    'no aud': await made({ claims: { aud: undefined } }),
    'an empty aud': await made({ claims: { aud: '' } }),
    'an empty list as aud': await made({ claims: { aud: [] } }),
    'another aud': await made({ claims: { aud: 'https://evil.example' } }),
    'our aud beside another': await made({ claims: { aud: [issuer, 'https://evil.example'] } }),
    'our issuer with a slash': await made({ claims: { aud: `${issuer}/` } }),
    'our issuer in capitals': await made({ claims: { aud: issuer.toUpperCase() } }),
    'no exp': await made({ claims: { exp: undefined } }),
    'exp as text': await made({ claims: { exp: String(now + 60) } }),
    'exp null': await made({ claims: { exp: null } }),
    'expired beyond tolerance': await made({ claims: { exp: now - 30 } }),
    'good for more than five minutes': await made({ claims: { exp: now + 331 } }),
    'good for ever': await made({ claims: { exp: 1e300 } }),
    'nbf in the future': await made({ claims: { nbf: now + 31 } }),
    'nbf as text': await made({ claims: { nbf: 'x' } }),
    'iat in the future': await made({ claims: { iat: now + 31 } }),
    'no jti': await made({ claims: { jti: undefined } }),
    'an empty jti': await made({ claims: { jti: '' } }),
    'a number as jti': await made({ claims: { jti: 7 } }),
    'a jti without end': await made({ claims: { jti: 'j'.repeat(257) } }),
    'a request object': await requestObjectOf('notary', { ...requestOf('notary').parameters, sub: 'notary', client_id: 'notary' }, { issuer, now }),
    'a DPoP proof': await holder.proof({ path: '/token' }, { claims: { iss: 'notary', sub: 'notary', aud: issuer, exp: now + 60 } }),
    'a JWT of another kind': await made({ header: { typ: 'logout+jwt' } }),
    'an ID Token of ours': tokens['id_token']
  }
  for (const path of paths) {
    for (const [name, assertion] of Object.entries(wrong)) isRefused(t, await ask(gateway, path, assertion), path, name)
    isBelieved(t, await ask(gateway, path, await made()), path, 'as it should be')
  }
  t.equal(gateway.events('client_authentication_failed').length, paths.length * Object.keys(wrong).length, 'each is a security event')
  for (const event of gateway.events('client_authentication_failed')) t.match(String(event['client_id']), /^(notary|vault|undefined)$/, 'which names registered clients only')
})

t.test('an assertion comes by itself, in its own form (RFC 7521 §4.2, RFC 6749 §2.3)', async t => {
  const gateway = await testApp(t, { clients: dataProviders })
  const { issuer } = gateway
  const made = (client = 'notary') => assertionOf(client, { issuer, now: gateway.now() })
  for (const path of paths) {
    isRefused(t, await ask(gateway, path, await made(), { client_assertion_type: undefined }), path, 'no type')
    isRefused(t, await ask(gateway, path, await made(), { client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer' }), path, 'another type')
    isRefused(t, await ask(gateway, path, await made(), { client_id: 'vault' }), path, 'another client_id beside it')
    isRefused(t, await ask(gateway, path, await made(), { client_secret: 'x' }), path, 'a secret beside it')
    isRefused(t, await ask(gateway, path, await made(), {}, { authorization: basic('notary', 'x') }), path, 'Basic beside it', /^Basic /)
    isRefused(t, await ask(gateway, path, await made(), {}, { authorization: basic('agency', secretOf('agency')) }), path, 'another\'s Basic beside it', /^Basic /)
    isRefused(t, await gateway.post(path, endpoints[path].form, { authorization: basic('notary', secretOf('notary')) }), path, 'a secret instead', /^Basic /)
    isRefused(t, await gateway.post(path, { ...endpoints[path].form, client_id: 'notary' }), path, 'its name alone')
    isRefused(t, await gateway.post(path, { ...endpoints[path].form, client_id: 'notary', client_assertion_type: assertionType }), path, 'the type alone')
    isRefused(t, await ask(gateway, path, await assertionOf('agency', { issuer, now: gateway.now() })), path, 'by a client that has a secret')
    isRefused(t, await ask(gateway, path, await assertionOf('mobile', { issuer, now: gateway.now() })), path, 'by a client that is public')
    const twice = `${new URLSearchParams({ ...endpoints[path].form, client_assertion_type: assertionType, client_assertion: await made() })}&client_assertion=${await made()}`
    t.match(await gateway.post(path, twice), { status: 400, body: { error: 'invalid_request' } }, `${path}: two`)
    t.match(await ask(gateway, path, `${await made()}${'x'.repeat(4096)}`), { status: 400, body: { error: 'invalid_request', error_description: /^client_assertion/ } }, `${path}: oversized`)

    isBelieved(t, await ask(gateway, path, await made(), { client_id: 'notary' }), path, 'its own client_id beside it')
    isBelieved(t, await ask(gateway, path, await made(), { client_secret: '' }), path, 'an empty secret beside it, which is none')
  }
  gateway.app.configuration.clients.get('notary')!.active = false
  for (const path of paths) isRefused(t, await ask(gateway, path, await made()), path, 'a client closed meanwhile')
})

t.test('each algorithm proves, by whichever of its names, with a kid or without; clocks may differ by half a minute', async t => {
  const keys = (['RS256', 'PS256', 'ES256', 'EdDSA'] as const).map(alg => keyOf('notary', alg))
  const gateway = await testApp(t, { clients: { notary: { jwks: { keys: keys.map(({ published }) => published) } } } })
  const now = gateway.now()
  const made = (changes: Changes = {}, key?: ClientKey) => assertionOf('notary', { issuer: gateway.issuer, now }, changes, key)
  for (const key of keys) {
    isBelieved(t, await ask(gateway, '/token', await made({}, key)), '/token', key.alg)
    isBelieved(t, await ask(gateway, '/token', await made({ header: { kid: undefined } }, key)), '/token', `${key.alg} without kid`)
  }
  const another = keyOf('notary-2')
  const two = await testApp(t, { clients: { notary: { jwks: { keys: [another.published, keyOf('notary').published].map(({ kid, ...jwk }) => jwk) } } } })
  for (const key of [another, keyOf('notary')]) isRefused(t, await ask(two, '/token', await made({ header: { kid: undefined } }, key)), '/token', 'one of two keys that fit, and kid does not say which (OpenID Connect Core §10.1)')
  for (const [name, changes] of Object.entries<Changes>({
    'EdDSA by its full name': { header: { alg: 'Ed25519' } },
    'typ JWT': { header: { typ: 'JWT' } },
    'typ client-authentication+jwt': { header: { typ: 'client-authentication+jwt' } },
    'typ application/client-authentication+jwt': { header: { typ: 'application/client-authentication+jwt' } },
    'exp 29 s ago': { claims: { exp: now - 29 } },
    'exp five and a half minutes ahead': { claims: { exp: now + 330 } },
    'exp with a fraction': { claims: { exp: now + 10.5 } },
    'iat and nbf 30 s ahead': { claims: { iat: now + 30, nbf: now + 30 } },
    'no iat': { claims: { iat: undefined } },
    'aud a list of us': { claims: { aud: [gateway.issuer] } },
    'aud the token endpoint': { claims: { aud: `${gateway.issuer}/token` } },
    'aud both': { claims: { aud: [gateway.issuer, `${gateway.issuer}/token`] } },
    'a jti of 256 characters': { claims: { jti: 'j'.repeat(256) } },
    'claims that nobody asked for': { claims: { scope: 'openid', __proto__: null } }
  })) isBelieved(t, await ask(gateway, '/token', await made(changes, keyOf('notary', 'EdDSA'))), '/token', name)

  isBelieved(t, await ask(gateway, '/par', await made({ claims: { aud: `${gateway.issuer}/par` } })), '/par', 'aud the endpoint itself (RFC 9126 §2)')
  isRefused(t, await ask(gateway, '/token', await made({ claims: { aud: `${gateway.issuer}/userinfo` } })), '/token', 'aud another endpoint')
})

t.test('by the registered algorithm only', async t => {
  const published = [keyOf('notary').published, keyOf('notary', 'RS256').published]
  const { alg: _, ...anyRsa } = keyOf('vault', 'RS256').published
  const gateway = await testApp(t, { clients: { notary: { jwks: { keys: published }, token_endpoint_auth_signing_alg: 'ES256' }, vault: { jwks: { keys: [keyOf('vault').published, anyRsa] } } } })
  const made = (client: string, alg: 'RS256' | 'ES256', changes?: Changes) => assertionOf(client, { issuer: gateway.issuer, now: gateway.now() }, changes, keyOf(client, alg))
  isRefused(t, await ask(gateway, '/token', await made('notary', 'RS256')), '/token', 'RS256, by a key of the client')
  isBelieved(t, await ask(gateway, '/token', await made('notary', 'ES256')), '/token', 'ES256')
  isRefused(t, await ask(gateway, '/par', await made('vault', 'RS256')), '/par', 'RS256 of a fapi2 client (FAPI 2.0 Security Profile §5.4.1)')
  isBelieved(t, await ask(gateway, '/par', await made('vault', 'RS256', { header: { alg: 'PS256' } })), '/par', 'PS256 by the same key')
})

t.test('a fapi2 client means our issuer, as one string (FAPI 2.0 Security Profile §5.3.2.1)', async t => {
  const gateway = await testApp(t, { clients: dataProviders })
  const { issuer } = gateway
  for (const path of paths) {
    for (const aud of [[issuer], [issuer, `${issuer}/token`], `${issuer}/token`, `${issuer}${path}`, `${issuer}/`]) {
      isRefused(t, await ask(gateway, path, await assertionOf('vault', { issuer, now: gateway.now() }, { claims: { aud } })), path, JSON.stringify(aud))
    }
    const answer = await ask(gateway, path, await assertionOf('vault', { issuer, now: gateway.now() }))
    if (path === '/token') t.match(answer, { status: 400, body: { error: 'invalid_dpop_proof' } }, `${path}: believed, and asked for its key`)
    else isBelieved(t, answer, path, 'issuer')
  }
})

t.test('an assertion is good once, wherever it is shown again and whoever shows it', async t => {
  for (const first of paths) {
    const gateway = await testApp(t, { clients: dataProviders })
    const { issuer } = gateway
    const now = gateway.now()
    const assertion = await assertionOf('notary', { issuer, now })
    isBelieved(t, await ask(gateway, first, assertion), first, 'first')
    for (const path of paths) isRefused(t, await ask(gateway, path, assertion), path, `after ${first}`)
    t.match(gateway.events('assertion_replayed'), paths.map(() => ({ security: true, client_id: 'notary', outcome: 'client' })))
    t.equal(gateway.events('assertion_replayed').length, paths.length, 'each is a security event')

    const jti = JSON.parse(Buffer.from(assertion.split('.')[1]!, 'base64url').toString()).jti
    isRefused(t, await ask(gateway, first, await assertionOf('notary', { issuer, now }, { claims: { jti, exp: now + 90 } })), first, 'its jti in another assertion')
    isRefused(t, await ask(gateway, first, assertion, { client_id: 'vault' }), first, 'shown by another client')
    isRefused(t, await ask(gateway, first, assertion, {}, { authorization: basic('agency', secretOf('agency')) }), first, 'shown by another client that proves itself', /^Basic /)
    gateway.wait(89)
    isRefused(t, await ask(gateway, first, assertion), first, 'in the last second of its tolerance')
  }
})

t.test('a jti is of its client: another may say the same, and nobody can use it up', async t => {
  const gateway = await testApp(t, { clients: dataProviders })
  const { issuer } = gateway
  const jti = randomUUID()
  const made = (client: string, key?: ClientKey) => assertionOf(client, { issuer, now: gateway.now() }, { claims: { jti } }, key)
  for (let again = 0; again < 3; again++) isRefused(t, await ask(gateway, '/revocation', await made('notary', createForgedKey('ES256', keyOf('notary').kid))), '/revocation', 'forged')
  isBelieved(t, await ask(gateway, '/revocation', await made('vault')), '/revocation', 'said by another client')
  isBelieved(t, await ask(gateway, '/revocation', await made('notary')), '/revocation', 'and by its own')
  isRefused(t, await ask(gateway, '/revocation', await made('notary')), '/revocation', 'once')
})

t.test('shown twenty times at once it is good once', async t => {
  for (const client of ['notary', 'vault']) {
    for (const path of paths) {
      const gateway = await testApp(t, { clients: dataProviders })
      const assertion = await assertionOf(client, { issuer: gateway.issuer, now: gateway.now() })
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask(gateway, path, assertion)))
      t.equal(answers.filter(({ body }) => body['error'] === 'invalid_client').length, 19, `${client} at ${path}`)
    }
  }
})

t.test('while the store is away a standard client goes on, counted; a fapi2 client has to come again', async t => {
  const gateway = await testApp(t, { clients: dataProviders })
  const { issuer } = gateway
  const unchecked = () => gateway.metric('passerelle_unchecked_replays_total')
  const made = (client: string) => assertionOf(client, { issuer, now: gateway.now() })
  const comesAgain = (answer: Json, name: string) => {
    t.match(answer, { status: 503, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store' }, body: { error: 'temporarily_unavailable' } }, name)
    t.equal(answer.headers['www-authenticate'], undefined, name)
  }
  t.equal(await unchecked(), 0)
  gateway.store.fail('once')
  let count = 0
  for (const path of paths) {
    const answer = await ask(gateway, path, await made('notary'))
    // what is given there is good once by itself; elsewhere a replay would gain something, and without the store nothing can be said anyway
    if (path === '/token' || path === '/par') {
      isBelieved(t, answer, path, 'a standard client')
      count++
    } else comesAgain(answer, `${path}: a standard client`)
    t.equal(await unchecked(), count, `${path}: counted`)
    comesAgain(await ask(gateway, path, await made('vault')), `${path}: a fapi2 client`)
    t.equal(await unchecked(), count, `${path}: never believed`)
    isRefused(t, await ask(gateway, path, await assertionOf('notary', { issuer, now: gateway.now() }, {}, keyOf('vault'))), path, 'a forgery needs no store')
  }
  t.match((await gateway.app.operations.inject('/metrics')).body, /^passerelle_unchecked_replays_total 2$/m)
  gateway.store.heal()
  isBelieved(t, await ask(gateway, '/revocation', await made('vault')), '/revocation', 'afterwards')
  t.equal(await unchecked(), count)
})

t.test('a standard client is not kept waiting for it longer than a quarter of a second, where it can do without', async t => {
  const gateway = await testApp(t, { clients: dataProviders })
  const patience: Record<string, unknown> = {}
  const { once } = gateway.store
  for (const path of paths) {
    for (const client of ['notary', 'vault']) {
      gateway.store.once = (name, seconds, options) => { patience[`${client} ${path}`] = options?.patienceMs ?? 'as long as the store is waited for'; return once(name, seconds, options) }
      await ask(gateway, path, await assertionOf(client, { issuer: gateway.issuer, now: gateway.now() }))
    }
  }
  const long = 'as long as the store is waited for'
  t.strictSame(patience, { 'notary /token': 250, 'vault /token': long, 'notary /par': 250, 'vault /par': long, 'notary /introspection': long, 'vault /introspection': long, 'notary /revocation': long, 'vault /revocation': long })
})

t.test('an assertion is remembered for as long as any replica may take it for good, their clocks a minute apart', async t => {
  const gateway = await testApp(t)
  const late = await testApp(t, { store: gateway.store, now: () => gateway.now() - 60 })
  const assertion = await assertionOf('notary', { issuer: gateway.issuer, now: gateway.now() })
  isBelieved(t, await ask(gateway, '/revocation', assertion), '/revocation', 'first')
  gateway.wait(60 + 30 + 59)
  isRefused(t, await ask(late, '/revocation', assertion), '/revocation', 'at a replica whose clock is a minute late')
  t.equal(late.events('assertion_replayed').length, 1, 'which has not expired there')
})

// The clock that says how old keys are goes ahead as a test says.
const monotonic = performance.now.bind(performance)
let aheadMs = 0
performance.now = () => monotonic() + aheadMs
t.afterEach(() => { aheadMs = 0 })
/** What was begun behind a client's back has come to its end. */
const settled = async (wanted: () => boolean) => { while (!wanted()) await new Promise(resolve => setTimeout(resolve, 5)) }

/** A client that publishes its keys by a server of its own. */
async function published (t: Test, host?: string) {
  const desk = await clientDesk(t, host)
  const gateway = await testApp(t, { settings: inDevelopment, clients: { notary: { jwks: null, jwks_uri: `${desk.origin}/jwks` } } })
  const prove = async (key: ClientKey, changes?: Changes) => ask(gateway, '/revocation', await assertionOf('notary', { issuer: gateway.issuer, now: gateway.now() }, changes, key))
  return { desk, gateway, prove }
}

t.test('keys that a client publishes are had once, and again at once when it signs with a new one', async t => {
  for (const host of ['127.0.0.1', 'keys.notary.localhost']) {
    const { desk, prove } = await published(t, host)
    const [old, next] = [createForgedKey('ES256', 'old'), createForgedKey('ES256', 'next')]
    desk.keys = [old.published]
    for (const answer of await Promise.all(Array.from({ length: 5 }, () => prove(old)))) isBelieved(t, answer, '/revocation', `${host}: the first five`)
    t.equal(desk.at('/jwks').length, 1, `${host}: asked once`)
    t.match(desk.heard, [{ method: 'GET', headers: { accept: /json/ } }])

    desk.keys = [old.published, next.published]
    for (const key of [next, old, next]) isBelieved(t, await prove(key), '/revocation', `${host}: ${key.kid}, with overlap`)
    t.equal(desk.at('/jwks').length, 2, `${host}: asked for the new one`)

    const last = createForgedKey('ES256', 'last')
    desk.keys = [last.published]
    isRefused(t, await prove(last), '/revocation', `${host}: again within thirty seconds, not asked`)
    for (let flood = 0; flood < 20; flood++) await prove(createForgedKey('ES256'))
    t.equal(desk.at('/jwks').length, 2, `${host}: nor for a flood of kids that nobody knows`)
    aheadMs += 30_000
    isBelieved(t, await prove(last), '/revocation', `${host}: without overlap, after it`)
    isRefused(t, await prove(old), '/revocation', `${host}: the old one is none any more`)
    t.equal(desk.at('/jwks').length, 3)
  }
})

t.test('keys that are no longer fresh are asked for behind the client\'s back, and what was last known serves while they cannot be had', async t => {
  const { desk, prove } = await published(t)
  const key = createForgedKey('ES256', 'known')
  desk.keys = [key.published]
  isBelieved(t, await prove(key), '/revocation', 'first')
  desk.answers['/jwks'] = response => { response.writeHead(500).end() }
  aheadMs = 5 * 60_000
  isBelieved(t, await prove(key), '/revocation', 'five minutes later, answered 500')
  await settled(() => desk.at('/jwks').length === 2)
  await desk.stop()
  aheadMs = 3600_000
  isBelieved(t, await prove(key), '/revocation', 'an hour later, gone')
  delete desk.answers['/jwks']
  await desk.resume()
  desk.keys = [createForgedKey('ES256', 'other').published]
  for (let tries = 0; desk.at('/jwks').length < 3 && tries < 50; tries++, await new Promise(resolve => setTimeout(resolve, 10))) {
    aheadMs += 5 * 60_000
    isBelieved(t, await prove(key), '/revocation', 'the first after it is back')
  }
  let answer = await prove(key)
  for (let tries = 0; answer.status === 200 && tries < 50; tries++, await new Promise(resolve => setTimeout(resolve, 10))) answer = await prove(key)
  isRefused(t, answer, '/revocation', 'then the key is one no more')
})

t.test('keys that nobody asked for in an hour are asked for first', async t => {
  const { desk, prove } = await published(t)
  const key = createForgedKey('ES256', 'known')
  desk.keys = [key.published]
  isBelieved(t, await prove(key), '/revocation', 'first')
  desk.keys = [createForgedKey('ES256', 'other').published]
  aheadMs = 3600_000
  isRefused(t, await prove(key), '/revocation', 'a key that was withdrawn meanwhile')
})

t.test('while its keys cannot be had a client is told to come again, never that it failed', async t => {
  const elsewhere = await clientDesk(t)
  const key = createForgedKey('ES256', 'published')
  elsewhere.keys = [key.published]
  for (const [name, answer] of Object.entries<(response: import('node:http').ServerResponse) => unknown>({
    'status 500': response => response.writeHead(500).end('oops'),
    'status 404': response => response.writeHead(404).end(JSON.stringify({ keys: [key.published] })),
    'a redirect, which is not followed': response => response.writeHead(302, { location: `${elsewhere.origin}/jwks` }).end(),
    'no JSON': response => response.end('<!doctype html><p>Angèle Quiquempoix'),
    'JSON that is no set': response => response.end('[]'),
    null: response => response.end('null'),
    'a set without keys': response => response.end('{}'),
    'an empty set': response => response.end('{"keys":[]}'),
    'keys that are no list': response => response.end('{"keys":{"kty":"EC"}}'),
    'keys that are none': response => response.end('{"keys":[1,null,"x"]}'),
    'more than a quarter of a megabyte': response => response.end(JSON.stringify({ keys: [key.published], more: 'x'.repeat(300_000) })),
    'a connection that breaks': response => response.destroy(),
    'an answer that breaks off': response => { response.writeHead(200, { 'content-length': '5000' }).write('{"keys":['); setTimeout(() => response.destroy(), 20) }
  })) {
    const { desk, gateway, prove } = await published(t)
    desk.keys = [key.published]
    desk.answers['/jwks'] = answer
    const refused = await prove(key)
    t.match(refused, { status: 503, headers: { 'retry-after': /^\d+$/, 'cache-control': 'no-store' }, body: { error: 'temporarily_unavailable' } }, name)
    t.equal(refused.headers['www-authenticate'], undefined, name)
    t.match(gateway.log.join(''), /"failure":"client_keys_unavailable"/, `${name}: support finds it`)
    t.notMatch(gateway.log.join(''), /Quiquempoix/, `${name}: what came is not logged`)
    delete desk.answers['/jwks']
    const asked = desk.connections
    for (let flood = 0; flood < 5; flood++) t.equal((await prove(key)).status, 503, `${name}: within the same second`)
    t.equal(desk.connections, asked, `${name}: they are not asked for again, whoever wants it`)
    aheadMs += 1000
    isBelieved(t, await prove(key), '/revocation', `${name}: the next second they are`)
  }
  t.equal(elsewhere.heard.length, 0, 'nobody was sent elsewhere')

  const { desk, prove } = await published(t)
  desk.keys = [key.published]
  await desk.stop()
  t.match(await prove(key), { status: 503 }, 'nobody listens')
  await desk.resume()
  aheadMs += 1000
  isBelieved(t, await prove(key), '/revocation', 'somebody does')
})

t.test('a client that changes its key while nobody answers at its address is told to come again, never that it failed', async t => {
  for (const [name, answer] of Object.entries<(response: import('node:http').ServerResponse) => unknown>({
    'status 500': response => response.writeHead(500).end(),
    'an empty set': response => response.end('{"keys":[]}'),
    'a connection that breaks': response => response.destroy(),
    'no answer': () => {}
  })) {
    const { desk, gateway, prove } = await published(t)
    const [old, next] = [createForgedKey('ES256', 'old'), createForgedKey('ES256', 'next')]
    desk.keys = [old.published]
    isBelieved(t, await prove(old), '/revocation', `${name}: before`)
    desk.keys = [next.published]
    desk.answers['/jwks'] = answer
    for (let tries = 0; tries < 35; tries++) t.match(await prove(next), { status: 503, headers: { 'retry-after': /^\d+$/, 'www-authenticate': undefined }, body: { error: 'temporarily_unavailable' } }, name)
    t.equal(desk.at('/jwks').length, 2, `${name}: it was asked once`)
    isBelieved(t, await prove(old), '/revocation', `${name}: the key that is known`)
    t.strictSame(gateway.events('client_authentication_failed'), [], `${name}: nobody is suspected`)
    delete desk.answers['/jwks']
    aheadMs += 30_000
    isBelieved(t, await prove(next), '/revocation', `${name}: when it answers again`)
    isRefused(t, await prove(old), '/revocation', `${name}: then the old one is none any more`)
    t.equal(gateway.events('client_authentication_failed').length, 1)
    t.equal(desk.at('/jwks').length, 3)
  }
})

t.test('a server that says nothing is not waited for without end', async t => {
  const { desk, prove } = await published(t)
  desk.answers['/jwks'] = () => {}
  t.match(await prove(createForgedKey('ES256')), { status: 503, body: { error: 'temporarily_unavailable' } })
})

t.test('in production no registration makes us call our own machine, whatever a name resolves to', async t => {
  const desk = await clientDesk(t)
  const key = createForgedKey('ES256')
  const { port } = new URL(desk.origin)
  for (const [name, address] of Object.entries({ host: 'keys.example', number: '127.0.0.1', short: '127.1', nobody: '0.0.0.0', mapped: '[::ffff:127.0.0.1]', six: '[::1]', link: '169.254.169.254', localhost: 'localhost' })) {
    const looked: string[] = []
    const gateway = await testApp(t, {
      clients: { notary: { jwks: null, jwks_uri: `https://${address}:${port}/jwks` } },
      lookup: (hostname, options, callback) => {
        looked.push(hostname)
        if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }])
        else callback(null, '127.0.0.1', 4)
      }
    })
    const answer = await ask(gateway, '/revocation', await assertionOf('notary', { issuer: gateway.issuer, now: gateway.now() }, {}, key))
    t.match(answer, { status: 503, body: { error: 'temporarily_unavailable' } }, name)
    if (name === 'host') t.strictSame(looked, ['keys.example'], 'the name was looked up')
    t.notMatch(gateway.log.join(''), /ERR_SSL|EPROTO|ECONNRE|ETIMEDOUT/, `${name}: nothing was tried`)
  }
  t.equal(desk.connections, 0)
})

t.test('several keys are in force at a time, and what is registered in another place is none', async t => {
  const [one, two] = [createForgedKey('ES256', 'one'), createForgedKey('ES256', 'two')]
  const gateway = await testApp(t, { clients: { notary: { jwks: { keys: [one.published, two.published] } } } })
  const prove = async (key: ClientKey) => ask(gateway, '/revocation', await assertionOf('notary', { issuer: gateway.issuer, now: gateway.now() }, {}, key))
  for (const key of [one, two, one]) isBelieved(t, await prove(key), '/revocation', key.kid)
  isRefused(t, await prove(keyOf('notary')), '/revocation', 'one that is registered no more')
})

t.test('what proves a client is written nowhere', async t => {
  const gateway = await testApp(t, { clients: dataProviders })
  const shown: string[] = []
  for (const path of paths) {
    for (const changes of [{}, { claims: { exp: 1 } }, { header: { alg: 'none' } }] satisfies Changes[]) {
      const assertion = await assertionOf('notary', { issuer: gateway.issuer, now: gateway.now() }, changes)
      shown.push(assertion.slice(0, 60), ...assertion.split('.').slice(1).filter(Boolean))
      await ask(gateway, path, assertion)
      await ask(gateway, path, assertion)
    }
  }
  const written = gateway.log.join('') + (await gateway.app.operations.inject('/metrics')).body
  t.match(written, /assertion_replayed/, 'the search looks at the log')
  t.strictSame(shown.filter(text => written.includes(text)), [])
})

t.test('a login of a client with a key of its own, from its beginning to its end', async t => {
  const gateway = await testApp(t)
  const arrival = await gateway.browser().logIn('notary')
  isRefused(t, await gateway.redeem(arrival, { client_assertion: await assertionOf('notary', { issuer: gateway.issuer, now: gateway.now() }, {}, keyOf('vault')) }), '/token', 'a forgery leaves the code')
  t.match(await gateway.redeem(arrival, {}, 'vault', await keyHolder(gateway)), { status: 400, body: { error: 'invalid_grant' } }, 'and so does another client')
  const { status, body } = await gateway.redeem(arrival)
  t.match({ status, body }, { status: 200, body: { token_type: 'Bearer' } })
  t.equal((await gateway.userinfo(body['access_token'])).status, 200)
  t.equal((await gateway.app.inject(`${base}/jwks`)).statusCode, 200)
})
