import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { assertionOf, keyHolder, type Changes, type Holder } from '../support/client-keys.ts'
import { createForgedKey } from '../support/forging-provider.ts'
import { base, issuer, jsonOf, requestOf, testApp, type Arrival, type Json, type TestApp } from '../support/test-app.ts'

/** Where a proof is looked at. `send` is what its holder would do there; a proof that is refused leaves all as it was. */
interface Place { method: string, path: string, access_token?: string, status: number, ok: number, /** what it gives is bound to the key: a replay gains nothing */ replayable?: true, send (headers: Record<string, string>): Promise<Json> }

/** The three places of a login whose tokens are bound: a code that is not redeemed yet, a request to push, a token that is bound to `holder`. */
async function placesOf (gateway: TestApp, holder: Holder, client = 'agency'): Promise<Record<string, Place>> {
  const pending = await logIn(gateway, client, holder)
  const access_token = await boundToken(gateway, holder, client)
  const { parameters } = requestOf(client)
  const userinfo = (method: 'GET' | 'POST'): Place => ({
    method,
    path: '/userinfo',
    access_token,
    status: 401,
    ok: 200,
    send: async headers => jsonOf(await gateway.app.inject({ method, url: `${base}/userinfo`, headers: { authorization: `DPoP ${access_token}`, ...headers } }))
  })
  return {
    '/token': { method: 'POST', path: '/token', status: 400, ok: 200, send: headers => gateway.postAs(client, '/token', { grant_type: 'authorization_code', code: pending.code, redirect_uri: pending.parameters['redirect_uri'], code_verifier: pending.code_verifier }, headers) },
    '/par': { method: 'POST', path: '/par', status: 400, ok: 201, replayable: true, send: headers => gateway.postAs(client, '/par', parameters, headers) },
    '/userinfo': userinfo('GET'),
    'POST /userinfo': userinfo('POST')
  }
}

const logIn = async (gateway: TestApp, client = 'agency', holder?: Holder, changes = {}) =>
  gateway.app.client(client)!.profile === 'fapi2' ? gateway.browser().logIn(client, { pushed: await gateway.push(client, changes, holder) }) : gateway.browser().logIn(client, { changes })

async function boundToken (gateway: TestApp, holder: Holder, client = 'agency') {
  const { body } = await gateway.redeem(await logIn(gateway, client, holder), {}, client, holder)
  return body['access_token'] as string
}

const realm = 'realm="userinfo"'
const challenges: Record<string, RegExp> = {
  invalid_dpop_proof: new RegExp(`^DPoP ${realm}, error="invalid_dpop_proof", error_description="[^"]+", algs="[\\w ]+"$`),
  use_dpop_nonce: new RegExp(`^DPoP ${realm}, error="use_dpop_nonce", error_description="[^"]+", algs="[\\w ]+"$`)
}

/** RFC 9449 §5, §7.1, §8, §9: 400 at our own endpoints, 401 with a challenge where a token is shown; and the next nonce. */
function isRefused (t: Test, { status, headers, body }: Json, place: Place, error: string, name: string) {
  t.match({ status, body }, { status: place.status, body: { error, error_description: /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/ } }, name)
  t.match(String(headers['www-authenticate']), place.status === 401 ? challenges[error]! : /^undefined$/, `${name}: WWW-Authenticate`)
  t.match(headers, { 'dpop-nonce': /./, 'cache-control': 'no-store' }, `${name}: DPoP-Nonce`)
  t.strictSame([body['sub'], body['access_token'], body['request_uri']], [undefined, undefined, undefined], `${name}: gives nothing`)
}

/** A refusal of a token that is shown in a way that will not do. */
function isNoToken (t: Test, { status, headers, body }: Json, challenge: RegExp, name: string) {
  t.match({ status, body }, { status: 401, body: { error: 'invalid_token', sub: undefined } }, name)
  t.match(headers['www-authenticate'], challenge, `${name}: WWW-Authenticate`)
}

t.test('what is not a proof, for this request, now, is refused wherever it is shown (RFC 9449 §4.3)', async t => {
  const gateway = await testApp(t)
  const now = gateway.now()
  const holder = await keyHolder(gateway)
  const places = await placesOf(gateway, holder)
  const { d } = holder.key.privateKey.export({ format: 'jwk' })
  const { kid, alg, use, ...jwk } = holder.key.published
  const stranger = createForgedKey('ES256')
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const plain = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const odd = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 65539 })
  const large = generateKeyPairSync('rsa', { modulusLength: 4104 })
  const curve = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const bytes = Buffer.from('a secret of 32 bytes, no more, no').subarray(0, 32)

  for (const [where, place] of Object.entries(places)) {
    const made = (changes?: Changes) => holder.proof(place, changes)
    const good = await made()
    const [head, payload, signature] = good.split('.') as [string, string, string]
    const said = JSON.parse(Buffer.from(payload, 'base64url').toString())
    const changed = Buffer.from(JSON.stringify({ ...said, jti: 'another' })).toString('base64url')
    const wrong: Record<string, string> = {
      nonsense: 'x',
      'two parts': `${head}.${payload}`,
      'a signature that is missing': `${head}.${payload}.`,
      'a signature of other claims': `${head}.${changed}.${signature}`,
      'two in one header': `${good}, ${await made()}`,
      'the same twice in one header': `${good},${good}`,
      'no typ': await made({ header: { typ: undefined } }),
      'typ JWT': await made({ header: { typ: 'JWT' } }),
      'alg none': await made({ header: { alg: 'none' } }),
      'alg HS256 by a key that it brings': await made({ header: { alg: 'HS256', jwk: { kty: 'oct', k: bytes.toString('base64url') } }, key: bytes }),
      'alg HS256 by the public key that it brings': await made({ header: { alg: 'HS256' }, key: Buffer.from(JSON.stringify(jwk)) }),
      'alg ES384': await made({ header: { alg: 'ES384', jwk: curve.publicKey.export({ format: 'jwk' }) }, key: curve.privateKey }),
      'a small RSA key': await made({ header: { alg: 'PS256', jwk: small.publicKey.export({ format: 'jwk' }) }, key: small.privateKey }),
      'a large RSA key, which is dear to verify': await made({ header: { alg: 'PS256', jwk: large.publicKey.export({ format: 'jwk' }) }, key: large.privateKey }),
      'an RSA key with an exponent that is dear to verify': await made({ header: { alg: 'PS256', jwk: odd.publicKey.export({ format: 'jwk' }) }, key: odd.privateKey }),
      'alg RS256': await made({ header: { alg: 'RS256', jwk: plain.publicKey.export({ format: 'jwk' }) }, key: plain.privateKey }),
      'no key': await made({ header: { jwk: undefined } }),
      'a kid for a key': await made({ header: { jwk: undefined, kid } }),
      'a key that is not the one that signed': await made({ key: stranger.privateKey }),
      'its private key along with it': await made({ header: { jwk: { ...jwk, d } } }),
      'a key of another kind': await made({ header: { jwk: { kty: 'oct', k: 'x' } } }),
      'a key that is text': await made({ header: { jwk: JSON.stringify(jwk) } }),
      'a header that must be understood': await made({ header: { crit: ['http://x'], 'http://x': 1 } }),
      'a payload that is not encoded': await made({ header: { crit: ['b64'], b64: false } }),
      'no htm': await made({ claims: { htm: undefined } }),
      'another method': await made({ claims: { htm: place.method === 'GET' ? 'POST' : 'GET' } }),
      'its method in small letters': await made({ claims: { htm: place.method.toLowerCase() } }),
      'no htu': await made({ claims: { htu: undefined } }),
      'htu of another host': await made({ claims: { htu: `https://evil.example${base}${place.path}` } }),
      'htu that begins with ours': await made({ claims: { htu: `${issuer}.evil.example${place.path}` } }),
      'htu of another port': await made({ claims: { htu: `https://passerelle.example:8443${base}${place.path}` } }),
      'htu without TLS': await made({ claims: { htu: `http://passerelle.example${base}${place.path}` } }),
      'htu of another endpoint': await made({ claims: { htu: `${issuer}${place.path === '/par' ? '/token' : '/par'}` } }),
      'htu without our base path': await made({ claims: { htu: `https://passerelle.example${place.path}` } }),
      'htu with its path in capitals': await made({ claims: { htu: `${issuer}${place.path.toUpperCase()}` } }),
      'htu with a slash after it': await made({ claims: { htu: `${issuer}${place.path}/` } }),
      'htu that is our issuer': await made({ claims: { htu: issuer } }),
      'htu that is a path': await made({ claims: { htu: base + place.path } }),
      'htu that is a list': await made({ claims: { htu: [issuer + place.path] } }),
      'no iat': await made({ claims: { iat: undefined } }),
      'iat as text': await made({ claims: { iat: String(now) } }),
      'too old': await made({ claims: { iat: now - 301 } }),
      'of the future': await made({ claims: { iat: now + 31 } }),
      'iat without end': await made({ claims: { iat: 1e300 } }),
      expired: await made({ claims: { exp: now - 31 } }),
      'not yet good': await made({ claims: { nbf: now + 31 } }),
      'no jti': await made({ claims: { jti: undefined } }),
      'an empty jti': await made({ claims: { jti: '' } }),
      'a number as jti': await made({ claims: { jti: 7 } }),
      'a jti without end': await made({ claims: { jti: 'j'.repeat(257) } }),
      'a client assertion': await assertionOf('notary', { issuer, now }),
      ...(place.access_token === undefined
        ? {}
        : {
            'no ath': await made({ claims: { ath: undefined } }),
            'ath of another token': await made({ claims: { ath: createHash('sha256').update('x').digest('base64url') } }),
            'the token as ath': await made({ claims: { ath: place.access_token } }),
            'ath in hex': await made({ claims: { ath: createHash('sha256').update(place.access_token).digest('hex') } })
          })
    }
    if (holder.nonce === undefined) holder.nonce = (await place.send({ dpop: good })).headers['dpop-nonce']
    for (const [name, dpop] of Object.entries(wrong)) isRefused(t, await place.send({ dpop }), place, 'invalid_dpop_proof', `${where}: ${name}`)
    t.equal((await place.send({ dpop: await made() })).status, place.ok, `${where}: as it should be, and none of them did harm`)
  }
})

t.test('a proof may be made with any algorithm that we name, and its address be written as addresses are', async t => {
  const gateway = await testApp(t)
  const named = (await gateway.app.inject(`${base}/.well-known/openid-configuration`)).json().dpop_signing_alg_values_supported
  for (const alg of ['PS256', 'ES256', 'EdDSA'] as const) {
    t.ok(named.includes(alg), `${alg} is named`)
    const holder = await keyHolder(gateway, createForgedKey(alg))
    const access_token = await boundToken(gateway, holder)
    t.equal((await gateway.userinfo(access_token, holder)).status, 200, alg)
  }
  t.notOk(named.includes('RS256'))
  t.match(await gateway.redeem(await logIn(gateway), {}, 'agency', await keyHolder(gateway, createForgedKey('RS256'))), { status: 400, body: { error: 'invalid_dpop_proof' } }, 'and with no other (FAPI 2.0 Security Profile §5.4.1)')
  const holder = await keyHolder(gateway, createForgedKey('EdDSA'))
  const access_token = await boundToken(gateway, holder)
  const now = gateway.now()
  const ask = async (changes: Changes) => jsonOf(await gateway.app.inject({ url: `${base}/userinfo?schema=openid`, headers: { authorization: `DPoP ${access_token}`, dpop: await holder.proof({ method: 'GET', path: '/userinfo', access_token }, changes) } }))
  const { kid, alg, use, ...jwk } = holder.key.published
  for (const [name, changes] of Object.entries<Changes>({
    'with a query, which does not count': { claims: { htu: `${issuer}/userinfo?a=b` } },
    'with the query of the request': { claims: { htu: `${issuer}/userinfo?schema=openid` } },
    'with a fragment, which does not count': { claims: { htu: `${issuer}/userinfo#x` } },
    'its host in capitals': { claims: { htu: `HTTPS://PASSERELLE.EXAMPLE${base}/userinfo` } },
    'with the port that is understood': { claims: { htu: `https://passerelle.example:443${base}/userinfo` } },
    'five minutes old': { claims: { iat: now - 300 } },
    'half a minute ahead': { claims: { iat: now + 30 } },
    'a jti of 256 characters': { claims: { jti: 'j'.repeat(256) } },
    'its algorithm by its full name': { header: { alg: 'Ed25519' } },
    'a key that says what it is for': { header: { jwk: { ...jwk, kid, use, alg } } },
    'claims that nobody asked for': { claims: { iss: 'x', sub: 'y', aud: 'z' } }
  })) t.equal((await ask(changes)).status, 200, name)
})

t.test('it is our own address that counts, not the one a request says it was sent to', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const places = await placesOf(gateway, holder)
  for (const [where, place] of Object.entries(places)) {
    for (const headers of [{ host: 'evil.example' } as Record<string, string>, { host: 'evil.example', 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' }]) {
      isRefused(t, await place.send({ ...headers, dpop: await holder.proof(place, { claims: { htu: `https://evil.example${base}${place.path}` } }) }), place, 'invalid_dpop_proof', where)
    }
    t.equal((await place.send({ host: 'evil.example', dpop: await holder.proof(place) })).status, place.ok, `${where}: behind whatever proxy`)
  }
})

t.test('two DPoP headers are refused (RFC 9449 §4.3)', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const access_token = await boundToken(gateway, holder)
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = gateway.app.server.address() as AddressInfo
  const proof = () => holder.proof({ method: 'GET', path: '/userinfo', access_token })
  const send = (dpop: string[]) => new Promise<number | undefined>((resolve, reject) => {
    httpRequest({ host: '127.0.0.1', port, path: `${base}/userinfo`, headers: { authorization: `DPoP ${access_token}`, dpop } }, response => { response.resume(); resolve(response.statusCode) }).on('error', reject).end()
  })
  t.equal(await send([await proof(), await proof()]), 401, 'two')
  const twice = await proof()
  t.equal(await send([twice, twice]), 401, 'the same twice')
  t.equal(await send([await proof(), '']), 401, 'one, and an empty one')
  t.equal(await send([await proof()]), 200, 'one')
})

t.test('a nonce of ours is always asked, and told with every answer to a proof (RFC 9449 §8, §9)', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const places = await placesOf(gateway, holder)
  const other = await testApp(t, { settings: { issuer: 'https://other.example/api/v2' } })
  const foreign = await keyHolder(other)
  await boundToken(other, foreign)
  const browser = gateway.browser()
  await browser.toConsent('agency')
  const { answer: { body: { request_uri } } } = await gateway.push('agency')
  const nonce = holder.nonce!
  for (const [where, place] of Object.entries(places)) {
    for (const [name, wrong] of Object.entries<unknown>({
      none: undefined,
      empty: '',
      'made up': randomUUID(),
      'a number': 1,
      'a list': [nonce],
      'its end cut off': nonce.slice(0, -2),
      'something after it': `${nonce}x`,
      'a later end': nonce.replace(/\.(\d{10})\./, (_, exp) => `.${Number(exp) + 60}.`),
      'of another gateway with the same keys': foreign.nonce,
      'the cookie of a login': browser.cookie(/login-/),
      'a request_uri': String(request_uri).split(':').at(-1)
    })) isRefused(t, await place.send({ dpop: await holder.proof(place, { claims: { nonce: wrong } }) }), place, 'use_dpop_nonce', `${where}: ${name}`)
    const answer = await place.send({ dpop: await holder.proof(place) })
    t.match(answer, { status: place.ok, headers: { 'dpop-nonce': /./ } }, `${where}: good, and brings the next`)
    t.not(answer.headers['dpop-nonce'], nonce, `${where}: which is another`)
  }
})

t.test('a nonce is good for five minutes, at every endpoint and every replica', async t => {
  const gateway = await testApp(t, { clients: { agency: { access_token_seconds: 600 } } })
  const replica = await testApp(t, { store: gateway.store, now: gateway.now, clients: { agency: { access_token_seconds: 600 } } })
  const holder = await keyHolder(gateway)
  await gateway.push('agency', {}, holder)
  const nonce = holder.nonce!
  const access_token = await boundToken(gateway, holder)
  const ask = async (at: TestApp, value: string) => jsonOf(await at.app.inject({ url: `${base}/userinfo`, headers: { authorization: `DPoP ${access_token}`, dpop: await holder.proof({ method: 'GET', path: '/userinfo', access_token, nonce: value }) } }))
  for (const at of [gateway, replica, gateway]) t.equal((await ask(at, nonce)).status, 200, 'more than once')
  gateway.wait(299)
  t.equal((await ask(replica, nonce)).status, 200, 'a second before its end')
  gateway.wait(1)
  const late = await ask(replica, nonce)
  t.match(late, { status: 401, body: { error: 'use_dpop_nonce' } }, 'its end')
  t.equal((await ask(gateway, late.headers['dpop-nonce']!)).status, 200, 'the next one')
})

t.test('who sends no proof is told no nonce', async t => {
  const gateway = await testApp(t)
  const { body } = await gateway.redeem(await gateway.browser().logIn('agency'))
  for (const [name, { headers }] of Object.entries({
    push: (await gateway.push('agency')).answer,
    userinfo: await gateway.userinfo(body['access_token']),
    'refused userinfo': await gateway.userinfo('x'),
    introspection: await gateway.postAs('archive', '/introspection', { token: 'x' }),
    revocation: await gateway.postAs('agency', '/revocation', { token: 'x' })
  })) t.equal(headers['dpop-nonce'], undefined, name)
})

t.test('a proof is good once (RFC 9449 §11.1)', async t => {
  for (const client of ['agency', 'vault']) {
    const gateway = await testApp(t)
    const holder = await keyHolder(gateway)
    for (const [where, place] of Object.entries(await placesOf(gateway, holder, client))) {
      const dpop = await holder.proof(place)
      t.equal((await place.send({ dpop })).status, place.ok, `${client} at ${where}: first`)
      if (where === '/token' || place.replayable) continue               // its code is spent, or there is nothing to gain
      isRefused(t, await place.send({ dpop }), place, 'invalid_dpop_proof', `${client} at ${where}: again`)
      gateway.wait(5)
      isRefused(t, await place.send({ dpop }), place, 'invalid_dpop_proof', `${client} at ${where}: later`)
      const { jti } = JSON.parse(Buffer.from(dpop.split('.')[1]!, 'base64url').toString())
      isRefused(t, await place.send({ dpop: await holder.proof(place, { claims: { jti } }) }), place, 'invalid_dpop_proof', `${client} at ${where}: its jti in another proof`)
    }
  }
})

t.test('a proof that redeemed one code redeems no other, which stays good', async t => {
  for (const client of ['agency', 'vault']) {
    const gateway = await testApp(t)
    const holder = await keyHolder(gateway)
    await gateway.push(client, {}, holder)
    const [first, second] = [await logIn(gateway, client, holder), await logIn(gateway, client, holder)]
    const dpop = await holder.proof({ path: '/token' })
    const send = async ({ code, parameters, code_verifier }: Arrival, proof: string) => gateway.postAs(client, '/token', { grant_type: 'authorization_code', code, redirect_uri: parameters['redirect_uri'], code_verifier }, { dpop: proof })
    t.equal((await send(first, dpop)).status, 200, client)
    t.match(await send(second, dpop), { status: 400, body: { error: 'invalid_dpop_proof' } }, `${client}: again`)
    t.equal((await send(second, await holder.proof({ path: '/token' }))).status, 200, `${client}: a new one`)
  }
})

t.test('a proof shown twenty times at once is good once', async t => {
  for (const client of ['agency', 'vault']) {
    const gateway = await testApp(t)
    const holder = await keyHolder(gateway)
    for (const [where, place] of Object.entries(await placesOf(gateway, holder, client))) {
      if (place.replayable) continue
      const dpop = await holder.proof(place)
      const answers = await Promise.all(Array.from({ length: 20 }, () => place.send({ dpop })))
      t.equal(answers.filter(({ status }) => status === place.ok).length, 1, `${client} at ${where}`)
      t.strictSame([...new Set(answers.filter(({ status }) => status !== place.ok).map(({ body }) => body['error']))], ['invalid_dpop_proof'], `${client} at ${where}: and the others told why`)
    }
  }
})

t.test('a jti is of its key: another may say the same, and nobody can use it up', async t => {
  const gateway = await testApp(t)
  const [one, two] = [await keyHolder(gateway), await keyHolder(gateway)]
  const tokens = [await boundToken(gateway, one), await boundToken(gateway, two)]
  const jti = randomUUID()
  const ask = async (holder: Holder, access_token: string, changes: Changes = {}) => (await gateway.app.inject({ url: `${base}/userinfo`, headers: { authorization: `DPoP ${access_token}`, dpop: await holder.proof({ method: 'GET', path: '/userinfo', access_token }, { claims: { jti }, ...changes }) } })).statusCode
  t.equal(await ask(one, tokens[1]!), 401, 'for a token that is not its own')
  t.equal(await ask(one, tokens[1]!), 401, 'again')
  t.equal(await ask(one, tokens[0]!, { key: two.key.privateKey }), 401, 'forged')
  t.equal(await ask(one, tokens[0]!), 200, 'for its own')
  t.equal(await ask(two, tokens[1]!), 200, 'the other key')
  t.equal(await ask(two, tokens[1]!), 401, 'once')
})

t.test('while the store is away a standard client redeems, counted; a fapi2 client has to come again, and nobody is told anything for a proof that may be a replay', async t => {
  for (const client of ['agency', 'vault']) {
    const gateway = await testApp(t)
    const holder = await keyHolder(gateway)
    const places = await placesOf(gateway, holder, client)
    const pushed = client === 'vault' ? await gateway.push(client, {}, holder) : undefined
    t.ok(pushed === undefined || pushed.answer.status === 201)
    gateway.store.fail('once')
    for (const [where, place] of Object.entries(places)) {
      const goesOn = client === 'agency' && (where === '/token' || where === '/par')
      const answer = await place.send({ dpop: await holder.proof(place) })
      if (goesOn) t.equal(answer.status, place.ok, `${client} at ${where}`)
      else t.match(answer, { status: 503, headers: { 'retry-after': /^\d+$/, 'www-authenticate': undefined, 'cache-control': 'no-store' }, body: { error: 'temporarily_unavailable', sub: undefined } }, `${client} at ${where}`)
      t.equal(await gateway.metric('passerelle_unchecked_replays_total'), client === 'agency' ? 1 : 0, `${client} at ${where}: counted`)
      isRefused(t, await place.send({ dpop: await holder.proof(place, { claims: { htm: 'PUT' } }) }), place, 'invalid_dpop_proof', `${client} at ${where}: what is wrong needs no store`)
    }
    gateway.store.heal()
    for (const [where, place] of Object.entries(places)) if (client === 'vault' || where !== '/token') t.equal((await place.send({ dpop: await holder.proof(place) })).status, place.ok, `${client} at ${where}: afterwards it is all as before`)
  }
})

t.test('a token that is bound goes with its key, by its scheme, and in no other way (RFC 9449 §7.1, §7.2)', async t => {
  const gateway = await testApp(t)
  const [holder, thief] = [await keyHolder(gateway), await keyHolder(gateway)]
  await boundToken(gateway, thief)
  const access_token = await boundToken(gateway, holder)
  const proof = (who = holder, token = access_token, method = 'GET') => who.proof({ method, path: '/userinfo', access_token: token })
  const ask = async (headers: Record<string, string>, method: 'GET' | 'POST' = 'GET', payload?: string) => jsonOf(await gateway.app.inject({ method, url: `${base}/userinfo`, headers: { ...headers, ...(payload === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }) }, ...(payload === undefined ? {} : { payload }) }))
  const form = `access_token=${access_token}`

  isNoToken(t, await ask({ authorization: `Bearer ${access_token}` }), /^Bearer realm="userinfo", error="invalid_token"/, 'as Bearer')
  isNoToken(t, await ask({ authorization: `Bearer ${access_token}`, dpop: await proof() }), /^Bearer .*error="invalid_token"/, 'as Bearer, a good proof beside it')
  isNoToken(t, await ask({}, 'POST', form), /^Bearer .*error="invalid_token"/, 'in a form')
  isNoToken(t, await ask({ dpop: await proof(holder, access_token, 'POST') }, 'POST', form), /^Bearer .*error="invalid_token"/, 'in a form, a good proof beside it')
  isNoToken(t, await ask({ authorization: `DPoP ${access_token}` }), /^DPoP .*error="invalid_token".*algs="/, 'without a proof')
  isNoToken(t, await ask({ authorization: `DPoP ${access_token}`, dpop: await proof(thief) }), /^DPoP .*error="invalid_token"/, 'by another key')
  t.match(await ask({ authorization: `DPoP ${access_token}`, dpop: await proof(holder, access_token, 'POST') }, 'POST', form), { status: 400, body: { error: 'invalid_request' } }, 'in both places')
  isNoToken(t, await ask({ dpop: await proof() }), /^Bearer realm="userinfo", DPoP realm="userinfo", algs="/, 'a proof alone')
  isNoToken(t, await ask({ authorization: `DPoP ${access_token}, Bearer ${access_token}`, dpop: await proof() }), /^Bearer|^DPoP/, 'two schemes in one header')
  isNoToken(t, await ask({ authorization: 'DPoP x', dpop: await proof(holder, 'x') }), /^DPoP .*error="invalid_token"/, 'no token of ours')

  const { body } = await gateway.redeem(await gateway.browser().logIn('agency'))
  const plain = body['access_token'] as string
  isNoToken(t, await ask({ authorization: `DPoP ${plain}` }), /^DPoP .*error="invalid_token"/, 'a token that is not bound, by the scheme of those that are')
  isNoToken(t, await ask({ authorization: `DPoP ${plain}`, dpop: await proof(holder, plain) }), /^DPoP .*error="invalid_token"/, 'and with a proof')
  t.equal((await ask({ authorization: `Bearer ${plain}` })).status, 200, 'it goes as Bearer')
  t.equal((await ask({ authorization: `dpop ${access_token}`, dpop: await proof() })).status, 200, 'after all that the bound one is good still, its scheme in small letters')
  t.equal((await ask({ authorization: `DPoP ${access_token}`, dpop: await proof(holder, access_token, 'POST') }, 'POST')).status, 200, 'by POST')
})

t.test('a token that is bound ends as any other', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const access_token = await boundToken(gateway, holder)
  gateway.wait(59)
  t.equal((await gateway.userinfo(access_token, holder)).status, 200)
  gateway.wait(1)
  isNoToken(t, await gateway.userinfo(access_token, holder), /^DPoP .*error="invalid_token"/, 'its end')
  const arrival = await logIn(gateway)
  const { body } = await gateway.redeem(arrival, {}, 'agency', holder)
  t.match(await gateway.redeem(arrival, {}, 'agency', holder), { status: 400, body: { error: 'invalid_grant' } })
  isNoToken(t, await gateway.userinfo(body['access_token'], holder), /^DPoP .*error="invalid_token"/, 'its code was used twice')
})

t.test('any client may bind its tokens, and one that must cannot do without', async t => {
  const gateway = await testApp(t, { clients: { town: { dpop_bound_access_tokens: true } } })
  for (const client of ['agency', 'swift', 'mobile', 'notary']) {
    const holder = await keyHolder(gateway)
    t.match((await gateway.redeem(await logIn(gateway, client), {}, client)).body, { token_type: 'Bearer' }, `${client}: as it was`)
    t.match((await gateway.redeem(await logIn(gateway, client), {}, client, holder)).body, { token_type: 'DPoP' }, client)
  }
  for (const client of ['town', 'vault']) {
    const holder = await keyHolder(gateway)
    const arrival = await logIn(gateway, client, holder)
    const refused = await gateway.redeem(arrival, {}, client)
    t.match(refused, { status: 400, body: { error: 'invalid_dpop_proof' } }, `${client}: without a proof`)
    t.match((await gateway.redeem(arrival, {}, client, holder)).body, { token_type: 'DPoP' }, `${client}: the code is still good`)
  }
})

t.test('a code that was asked for by a key is redeemed by that key only (RFC 9449 §10)', async t => {
  const gateway = await testApp(t)
  const [holder, thief] = [await keyHolder(gateway), await keyHolder(gateway)]
  const arrival = await logIn(gateway, 'agency', undefined, { dpop_jkt: holder.jkt })
  for (const [name, who] of [['no key', undefined], ['another key', thief]] as const) {
    t.match(await gateway.redeem(arrival, {}, 'agency', who), { status: 400, body: { error: 'invalid_grant', access_token: undefined } }, name)
  }
  const { body } = await gateway.redeem(arrival, {}, 'agency', holder)
  t.match(body, { token_type: 'DPoP' }, 'its key: the code was left')
  isNoToken(t, await gateway.userinfo(body['access_token'], thief), /^DPoP /, 'and the token is bound to it')
  t.equal((await gateway.userinfo(body['access_token'], holder)).status, 200)

  for (const dpop_jkt of ['x', 'é'.repeat(43), `${holder.jkt}=`, holder.jkt.slice(1), `${holder.jkt.slice(1)}+`]) {
    const { page } = await gateway.browser().start('agency', { dpop_jkt })
    t.match(page.query.get('error_description') ?? page.query.get('error'), /dpop_jkt/, JSON.stringify(dpop_jkt))
    t.equal(page.query.get('error'), 'invalid_request', JSON.stringify(dpop_jkt))
  }
})

t.test('the challenge names the schemes that may be tried, and the algorithms of proofs (RFC 9449 §7.1)', async t => {
  const gateway = await testApp(t)
  const { headers } = jsonOf(await gateway.app.inject(`${base}/userinfo`))
  const algs = /algs="([^"]*)"/.exec(headers['www-authenticate']!)![1]!.split(' ')
  t.strictSame(algs, (await gateway.app.inject(`${base}/.well-known/openid-configuration`)).json().dpop_signing_alg_values_supported)
  t.notMatch((await gateway.userinfo('x')).headers['www-authenticate'], /DPoP/, 'by the scheme that was tried')
})

t.test('a browser client reads the nonce, and may send a proof (Fetch §3.2)', async t => {
  const gateway = await testApp(t)
  const headers = { origin: 'https://mobile.example', 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization, dpop' }
  for (const path of ['/token', '/par', '/userinfo']) {
    t.match((await gateway.app.inject({ method: 'OPTIONS', url: base + path, headers })).headers, { 'access-control-allow-origin': 'https://mobile.example', 'access-control-allow-headers': /DPoP/i }, path)
    const holder = await keyHolder(gateway)
    const answer = await gateway.post(path, 'client_id=mobile', { origin: 'https://mobile.example', dpop: await holder.proof({ path, access_token: 'x' }), ...(path === '/userinfo' ? { authorization: 'DPoP x' } : {}) })
    t.match(answer.headers, { 'access-control-expose-headers': /DPoP-Nonce/i, 'dpop-nonce': /./ }, path)
  }
})

t.test('a proof is written nowhere', async t => {
  const gateway = await testApp(t)
  const holder = await keyHolder(gateway)
  const places = await placesOf(gateway, holder)
  const shown: string[] = []
  for (const place of Object.values(places)) {
    for (const changes of [{}, { claims: { htm: 'PUT' } }, { claims: { nonce: 'x' } }]) {
      const dpop = await holder.proof(place, changes)
      shown.push(...dpop.split('.'), ...(place.access_token === undefined ? [] : [place.access_token]))
      await place.send({ dpop })
      await place.send({ dpop })
    }
  }
  const written = gateway.log.join('') + (await gateway.app.operations.inject('/metrics')).body
  t.match(written, /proof_invalid/, 'the search looks at the log')
  t.strictSame(shown.filter(text => written.includes(text)), [])
  t.equal(written.includes(holder.jkt), false, 'nor is the name of its key')
})
