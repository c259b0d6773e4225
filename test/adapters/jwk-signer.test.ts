import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { inspect } from 'node:util'
import { compactVerify, createLocalJWKSet, decodeProtectedHeader, jwtVerify, SignJWT, UnsecuredJWT, type JWK, type JWTPayload } from 'jose'
import t from 'tap'
import { jwkSigner, signingKey, type SigningKey } from '../../src/adapters/jwk-signer.ts'
import { afterlife } from '../../src/adapters/key-schedule.ts'
import type { SigningAlgorithm } from '../../src/protocol/algorithms.ts'

const issuer = 'https://passerelle.example'
const start = 1700000000

const pairOf = (alg: SigningAlgorithm) => alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : alg === 'EdDSA' ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: 2048 })
const jwkOf = (alg: SigningAlgorithm) => pairOf(alg).privateKey.export({ format: 'jwk' }) as JWK
const keyOf = (alg: SigningAlgorithm, kid: string, nbf = 0): SigningKey => signingKey({ ...jwkOf(alg), kid, alg, nbf })

/** A signer over keys and a clock that the test changes. */
function desk (keys: SigningKey[]) {
  const state = { keys, now: start }
  return { state, ...jwkSigner({ issuer, keys: () => state.keys, now: () => state.now }) }
}

const claims: JWTPayload = { iss: issuer, sub: 'sub', aud: 'mairie', iat: start, exp: start + 60, sid: 'sid' }
const es = keyOf('ES256', 'es-1')
const rs = keyOf('RS256', 'rs-1')
const ps = keyOf('PS256', 'ps-1')
const ed = keyOf('EdDSA', 'ed-1')
const all = [es, rs, ps, ed]

/** A token by hand. */
const tokenOf = (header: object, payload: object | string, signature = '') =>
  [JSON.stringify({ typ: 'JWT', ...header }), typeof payload === 'string' ? payload : JSON.stringify(payload)].map(part => Buffer.from(part).toString('base64url')).join('.') + `.${signature}`

t.test('an ID Token that is not ours is not ours', async t => {
  const { verify, sign } = desk(all)
  const stranger = keyOf('ES256', 'es-1')
  const strangerRs = keyOf('RS256', 'rs-1')
  // of the right kind, so that each is refused for what is said of it
  const signed = (key: SigningKey['privateKey'] | Uint8Array, header: { alg: string, [name: string]: unknown }, payload = claims) => new SignJWT(payload).setProtectedHeader({ typ: 'JWT', ...header }).sign(key)
  const pem = es.publicKey.export({ type: 'spki', format: 'pem' }) as string
  const pemRs = rs.publicKey.export({ type: 'spki', format: 'pem' }) as string
  const [header, payload, signature] = (await sign('ES256', claims)).split('.') as [string, string, string]
  const forged = Buffer.from(JSON.stringify({ ...claims, sub: 'another' })).toString('base64url')

  const others: Record<string, string> = {
    'another key under our kid, ES256': await signed(stranger.privateKey, { alg: 'ES256', kid: 'es-1' }),
    'another key under our kid, RS256': await signed(strangerRs.privateKey, { alg: 'RS256', kid: 'rs-1' }),
    'our key under another kid': await signed(es.privateKey, { alg: 'ES256', kid: 'es-2' }),
    'our key without a kid': await signed(es.privateKey, { alg: 'ES256' }),
    'our key, a kid that is no text': await signed(es.privateKey, { alg: 'ES256', kid: 1 }),
    'another issuer': await signed(es.privateKey, { alg: 'ES256', kid: 'es-1' }, { ...claims, iss: `${issuer}/` }),
    'no issuer': await signed(es.privateKey, { alg: 'ES256', kid: 'es-1' }, { ...claims, iss: undefined } as never),
    'a list of issuers': await signed(es.privateKey, { alg: 'ES256', kid: 'es-1' }, { ...claims, iss: [issuer] as never }),
    'another algorithm by our key': await signed(rs.privateKey, { alg: 'RS512', kid: 'rs-1' }),
    'PS256 by our RSA key for RS256': await signed(rs.privateKey, { alg: 'PS256', kid: 'rs-1' }),
    'RS256 by our RSA key for PS256': await signed(ps.privateKey, { alg: 'RS256', kid: 'ps-1' }),
    'PS512 by our RSA key for PS256': await signed(ps.privateKey, { alg: 'PS512', kid: 'ps-1' }),
    'another key under our kid, PS256': await signed(keyOf('PS256', 'ps-1').privateKey, { alg: 'PS256', kid: 'ps-1' }),
    'another key under our kid, EdDSA': await signed(keyOf('EdDSA', 'ed-1').privateKey, { alg: 'EdDSA', kid: 'ed-1' }),
    'HS256 with our public Edwards key as the secret': await signed(Buffer.from(String(ed.published.x), 'base64url'), { alg: 'HS256', kid: 'ed-1' }),
    'the kid of another of our keys': await signed(es.privateKey, { alg: 'ES256', kid: 'rs-1' }),
    'HS256 with our public key as the secret': await signed(Buffer.from(pem), { alg: 'HS256', kid: 'es-1' }),
    'HS256 with our public RSA key as the secret': await signed(Buffer.from(pemRs), { alg: 'HS256', kid: 'rs-1' }),
    'HS256 with our published key as the secret': await signed(Buffer.from(JSON.stringify(es.publicKey.export({ format: 'jwk' }))), { alg: 'HS256', kid: 'es-1' }),
    'alg none': new UnsecuredJWT(claims).encode(),
    'alg none with our kid': tokenOf({ alg: 'none', kid: 'es-1' }, claims),
    'alg none with a good signature': tokenOf({ alg: 'none', kid: 'es-1' }, claims, signature),
    'alg None': tokenOf({ alg: 'None', kid: 'es-1' }, claims),
    'no alg': tokenOf({ kid: 'es-1' }, claims, signature),
    'without its signature': `${header}.${payload}.`,
    'without its last part': `${header}.${payload}`,
    'other claims under a good signature': `${header}.${forged}.${signature}`,
    'a signature cut short': `${header}.${payload}.${signature.slice(0, -2)}`,
    'a signature of nothing but zeros (CVE-2022-21449)': `${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`,
    'crit that nobody understands': await new SignJWT(claims).setProtectedHeader({ typ: 'JWT', alg: 'ES256', kid: 'es-1', crit: ['x'], x: 1 }).sign(es.privateKey, { crit: { x: true } }),
    'a key of its own in the header': await signed(stranger.privateKey, { alg: 'ES256', kid: 'es-x', jwk: stranger.publicKey.export({ format: 'jwk' }) as JWK }),
    'a payload that is no JSON': tokenOf({ alg: 'ES256', kid: 'es-1' }, 'Wilhelmina', signature),
    'two tokens': `${header}.${payload}.${signature}.${header}.${payload}.${signature}`,
    'five parts': 'a.b.c.d.e',
    'a space': `${header}.${payload}.${signature} x`,
    empty: '',
    dots: '..',
    'no token': 'not a token',
    'the word undefined': 'undefined',
    huge: 'A'.repeat(1_000_000),
    'huge parts': `${'A'.repeat(300_000)}.${'A'.repeat(300_000)}.${'A'.repeat(300_000)}`,
    'odd letters': `é.${payload}.${signature}`
  }
  for (const [what, token] of Object.entries(others)) t.equal(await verify(token), undefined, what)
  t.equal(await verify(undefined as never), undefined, 'nothing at all')
  t.match(await verify(`${header}.${payload}.${signature}`), { sub: 'sub' }, 'the token that all this was made from is ours')
})

t.test('a JWT of ours that is no ID Token is no hint of one (RP-Initiated Logout §2, RFC 8725 §3.11)', async t => {
  const { verify, sign } = desk(all)
  const { iss, sub, aud, iat, sid } = claims
  const event = { 'http://schemas.openid.net/event/backchannel-logout': {} }
  for (const { alg } of all) {
    const others: Record<string, string> = {
      'a logout token': await sign(alg, { iss: issuer, aud: 'mairie', sub: 'sub', sid: 'sid', jti: 'j', iat: start, exp: start + 120, events: event }, 'logout+jwt'),
      'a logout token with the claims of an ID Token': await sign(alg, claims, 'logout+jwt'),
      'what introspection says': await sign(alg, { iss: issuer, aud: 'agency', iat: start, token_introspection: { active: true, sub: 'sub' } }, 'token-introspection+jwt'),
      'what introspection says with the claims of an ID Token': await sign(alg, claims, 'token-introspection+jwt'),
      'what userinfo says': await sign(alg, { iss: issuer, sub: 'sub', aud: 'mairie', iat: start, given_name: 'Angela' }),
      'no exp': await sign(alg, { iss, sub, aud, iat, sid } as JWTPayload),
      'no sub': await sign(alg, { iss, aud, iat, sid, exp: start + 60 } as JWTPayload),
      'another kind': await sign(alg, claims, 'at+jwt'),
      'a kind like ours': await sign(alg, claims, 'JWT2'),
      'an empty kind': await sign(alg, claims, '')
    }
    for (const [what, token] of Object.entries(others)) t.equal(await verify(token), undefined, `${what}, ${alg}`)
    const { kid, privateKey } = all.find(key => key.alg === alg)!
    t.equal(await verify(await new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(privateKey)), undefined, `no kind, ${alg}`)
    t.match(await verify(await sign(alg, claims)), { sub: 'sub' }, `an ID Token is one, ${alg}`)
  }
})

t.test('a JWT says of what kind it is (RFC 7519 §5.1)', async t => {
  const { sign } = desk(all)
  for (const { alg } of all) {
    t.equal(decodeProtectedHeader(await sign(alg, claims)).typ, 'JWT', alg)
    t.equal(decodeProtectedHeader(await sign(alg, claims, 'logout+jwt')).typ, 'logout+jwt', alg)
  }
})

t.test('an ID Token of ours is known when it has expired, and before it has', async t => {
  const { verify, sign } = desk(all)
  for (const { alg } of all) {
    t.strictSame(await verify(await sign(alg, claims)), claims, alg)
    const old = { ...claims, iat: 1000, exp: 1060 }
    t.strictSame(await verify(await sign(alg, old)), old, `${alg}, fifty years old`)
    const young = { ...claims, iat: 4e9, exp: 4e9 + 60 }
    t.strictSame(await verify(await sign(alg, young)), young, `${alg}, of a clock that is ahead`)
  }
})

t.test('what is signed is verified by the published keys, under headers that name key and algorithm', async t => {
  const { sign, jwks } = desk(all)
  for (const { alg, kid } of all) {
    const token = await sign(alg, claims)
    t.strictSame(decodeProtectedHeader(token), { alg, kid, typ: 'JWT' })
    const { payload } = await jwtVerify(token, createLocalJWKSet(jwks()), { issuer, audience: 'mairie', algorithms: [alg], currentDate: new Date(start * 1000) })
    t.strictSame(payload, claims, 'the claims and nothing else')
  }
})

t.test('no private part is published', async t => {
  const { jwks } = desk(all)
  const published = jwks()
  t.equal(published.keys.length, 4)
  const members = { ES256: ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'], EdDSA: ['alg', 'crv', 'kid', 'kty', 'use', 'x'], RS256: ['alg', 'e', 'kid', 'kty', 'n', 'use'], PS256: ['alg', 'e', 'kid', 'kty', 'n', 'use'] }
  for (const [i, key] of published.keys.entries()) {
    const { alg, kid } = all[i]!
    t.same(Object.keys(key).sort(), members[alg])
    t.match(key, { use: 'sig', alg, kid })
  }
  const text = JSON.stringify(published)
  for (const { privateKey } of all) {
    const { d, p, q } = privateKey.export({ format: 'jwk' }) as JWK
    for (const secret of [d, p, q]) if (secret !== undefined) t.notOk(text.includes(secret))
  }
  t.notOk(inspect(es).includes(String((es.privateKey.export({ format: 'jwk' }) as JWK).d)), 'nor does a key show it when it is printed')
})

t.test('a key is published before it signs, and signs from its time on', async t => {
  const [old, current, next, later] = [keyOf('ES256', 'old', start - 200), keyOf('ES256', 'current', start - 100), keyOf('ES256', 'next', start + 100), keyOf('ES256', 'later', start + 200)]
  const { state, sign, verify, jwks } = desk([next, old, rs, later, current])
  const kid = async () => decodeProtectedHeader(await sign('ES256', claims)).kid

  t.equal(await kid(), 'current', 'the newest whose time has come, in whatever order they were loaded')
  t.same(jwks().keys.map(({ kid }) => kid).sort(), ['current', 'later', 'next', 'old', 'rs-1'], 'all are published')
  const byCurrent = await sign('ES256', claims)
  state.now = start + 99.999
  t.equal(await kid(), 'current')
  state.now = start + 100
  t.equal(await kid(), 'next', 'from its first second on')
  await compactVerify(await sign('ES256', claims), createLocalJWKSet(jwks()))
  t.match(await verify(byCurrent), { sub: 'sub' }, 'what the key before signed is still ours')
  state.now = start + 5000
  t.equal(await kid(), 'later')

  state.now = start
  state.keys = [later, next, rs]
  t.equal(await kid(), 'next', 'when none has come yet, the first that will')
  t.equal(await verify(byCurrent), undefined, 'what a key signed that was taken away is no longer ours')
  t.same(state.keys.map(({ kid }) => kid), ['later', 'next', 'rs-1'], 'the keys are left in their order')
})

t.test('a retired key is published until the last ID Token that it signed is dead, and known as a hint\'s until the last session is', async t => {
  const { state, sign, verify, jwks } = desk([keyOf('ES256', 'old', start - 100), rs])
  const byOld = await sign('ES256', claims)
  state.keys = [...state.keys, keyOf('ES256', 'next', start + 100)]
  const published = () => jwks().keys.map(({ kid }) => kid)
  for (const [after, kids] of [[0, ['old', 'rs-1', 'next']], [afterlife.published - 1, ['old', 'rs-1', 'next']], [afterlife.published, ['rs-1', 'next']], [1e9, ['rs-1', 'next']]] as const) {
    state.now = start + 100 + after
    t.same(published(), kids, `${after} seconds after its time`)
  }
  state.now = start + 100 + afterlife.signing - 1
  t.match(await verify(byOld), { sub: 'sub' })
  state.now++
  t.equal(await verify(byOld), undefined)
  state.keys = state.keys.filter(({ kid }) => kid !== 'next')
  t.same(published(), ['old', 'rs-1'], 'where its next is taken away it is in force again, and published')
  t.match(await verify(byOld), { sub: 'sub' })
})

t.test('a key that was called back signs, verifies and is published no more, and the one before it does not take its place', async t => {
  const [before, called] = [keyOf('ES256', 'before', start - 200), keyOf('ES256', 'called', start - 100)]
  const { state, sign, verify, jwks, assureKey } = desk([before, called, rs])
  const token = await sign('ES256', claims)
  assureKey('ES256')
  state.keys = [before, { ...called, recalled: true }, rs]
  await t.rejects(sign('ES256', claims), { name: 'OAuthError', failure: 'signing_key_unavailable' })
  t.throws(() => assureKey('ES256'), { name: 'OAuthError', failure: 'signing_key_unavailable' })
  t.equal(await verify(token), undefined)
  t.same(jwks().keys.map(({ kid }) => kid), ['before', 'rs-1'])
  assureKey('RS256')
  state.now = start - 100 + afterlife.published
  t.same(jwks().keys.map(({ kid }) => kid), ['rs-1'], 'it retires as it would have')
})

t.test('no key signs for another algorithm', async t => {
  await t.rejects(desk([rs]).sign('ES256', claims), { message: 'no ES256 signing key is in force', failure: 'signing_key_unavailable' })
  await t.rejects(desk([]).sign('RS256', claims), { message: 'no RS256 signing key is in force', failure: 'signing_key_unavailable' })
  await t.rejects(desk([rs, es, ed]).sign('PS256', claims), { message: 'no PS256 signing key is in force', failure: 'signing_key_unavailable' }, 'not even an RSA key for RS256')
  await t.rejects(desk([rs, ps]).sign('EdDSA', claims), { message: 'no EdDSA signing key is in force', failure: 'signing_key_unavailable' })
  t.same(desk([]).jwks(), { keys: [] })
})

t.test('a key that does not fit its algorithm, or is none, is refused when it is read', async t => {
  const generate = generateKeyPairSync as (type: string, options?: object) => { privateKey: KeyObject }
  const jwkBy = (type: string, options?: object) => generate(type, options).privateKey.export({ format: 'jwk' }) as JWK
  const rsa = jwkOf('RS256')
  const ec = jwkOf('ES256')
  const { d, ...open } = ec
  const others: Array<[what: string, jwk: JWK, alg: string]> = [
    ['an EC key for RS256', ec, 'RS256'],
    ['an RSA key for ES256', rsa, 'ES256'],
    ['RSA of 1,024 bits', jwkBy('rsa', { modulusLength: 1024 }), 'RS256'],
    ['RSA of 2,047 bits', jwkBy('rsa', { modulusLength: 2047 }), 'RS256'],
    ['another curve', jwkBy('ec', { namedCurve: 'P-384' }), 'ES256'],
    ['a curve of the same length', jwkBy('ec', { namedCurve: 'secp256k1' }), 'ES256'],
    ['an Edwards curve for ES256', jwkBy('ed25519'), 'ES256'],
    ['an Edwards curve for RS256', jwkBy('ed25519'), 'RS256'],
    ['an Edwards curve of another length', jwkBy('ed448'), 'EdDSA'],
    ['RSA for EdDSA', rsa, 'EdDSA'],
    ['RSA of 2,047 bits for PS256', jwkBy('rsa', { modulusLength: 2047 }), 'PS256'],
    ['an elliptic curve for PS256', ec, 'PS256'],
    ['an algorithm that we do not sign by', ec, 'ES384'],
    ['another', rsa, 'RS512'],
    ['no algorithm', rsa, undefined as never],
    ['only the public part', open, 'ES256'],
    ['a secret', { kty: 'oct', k: randomBytes(32).toString('base64url') }, 'RS256'],
    ['nothing', {}, 'ES256']
  ]
  for (const [what, jwk, alg] of others) t.throws(() => signingKey({ ...jwk, kid: 'x', alg: alg as SigningAlgorithm, nbf: 0 }), what)
  t.match(signingKey({ ...jwkBy('rsa', { modulusLength: 2048 }), kid: 'x', alg: 'RS256', nbf: 7 }), { kid: 'x', alg: 'RS256', nbf: 7 })
  t.match(signingKey({ ...ec, kid: 'y', alg: 'ES256', nbf: 7 }), { kid: 'y', alg: 'ES256', nbf: 7 })
  t.match(signingKey({ ...rsa, kid: 'z', alg: 'PS256', nbf: 7 }), { published: { kid: 'z', alg: 'PS256' } })
  t.match(signingKey({ ...jwkBy('ed25519'), kid: 'e', alg: 'EdDSA', nbf: 7 }), { published: { kid: 'e', alg: 'EdDSA', crv: 'Ed25519' } })
})
