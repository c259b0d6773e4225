import { createHash, createHmac, generateKeyPairSync, randomBytes, randomInt, randomUUID, sign } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import fc, { type Arbitrary } from 'fast-check'
import type { FastifyInstance, RouteOptions } from 'fastify'
import t from 'tap'
import { failures, type Failure } from '../src/protocol/errors.ts'
import { base, basic, citizen, credentialsOf, issuer, jsonOf, origin, pageOf, requestOf, secretOf, testApp, type TestApp, type TestProvider } from './support/test-app.ts'

// Whatever is sent, to whichever route and at whichever moment of a login, is answered properly. The seed is printed; FUZZ_SEED=… FUZZ_PATH=… repeat a run.

t.setTimeout(110_000)

const seed = Number(process.env['FUZZ_SEED'] ?? randomInt(2 ** 31))
const path = process.env['FUZZ_PATH']
const cases = Number(process.env['FUZZ_CASES'] ?? 700)
/** What every run reaches. */
const fewest = { requests: 12_000, hostile: 5_500 }

/** Planted wherever a request can hold text; `upstream` is what an identity provider says. It may come back escaped only. */
const marker = '<svg onload=q7>"\'z'
const upstream = '<svg onload=p7>"\'z'

// ---- one login as it goes on

/** What an honest party would send next. */
interface Live {
  now (): number
  client_id: string
  asked: Record<string, string>
  /** the client proves by DPoP that it holds a key; the nonce is the last that it was given */
  proves: boolean
  nonce: string
  request_uri: string
  /** the login is kept, and goes on at /authorize */
  kept: boolean
  code_verifier: string
  /** the browser's cookies, and whether they were ever sent otherwise than they are */
  jar: Map<string, string>
  tampered: boolean
  login: string
  /** `state` at the identity provider, and which it is */
  upstream: string
  idp: string
  code: string
  access_token: string
  id_token: string
  posted: string
  /** `state` with which the identity provider answers a logout */
  leaving: string
  asset: string
  codes: Set<string>
  redeemed: Set<string>
  tokens: Set<string>
  revoked: Set<string>
}

type Pair = [name: string, value: string, style?: Style]

/** One request, before it is written down as it is sent. */
interface Draft { method: string, path: string, inPath: string[], query: Pair[], form?: Pair[] | undefined, headers: Record<string, string>, cookies: Array<[string, string]>, payload?: string | Buffer }

interface Honest { inPath?: string[], query?: Record<string, string>, form?: Record<string, string>, headers?: Record<string, string> }

const ownKey = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ownJwk = ownKey.publicKey.export({ format: 'jwk' })
const encryptionJwk = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }), use: 'enc', kid: 'enc' }
const encoded = (text: string) => Buffer.from(text).toString('base64url')
const es256 = (input: string) => sign('sha256', Buffer.from(input), { key: ownKey.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')

/** A JWT by the key that our confidential clients have registered. */
function jws (claims: object, header: object = {}) {
  const input = `${encoded(JSON.stringify({ alg: 'ES256', ...header }))}.${encoded(JSON.stringify(claims))}`
  return `${input}.${es256(input)}`
}
const proof = (live: Live, method: string, path: string, access_token?: string) => jws({
  htm: method,
  htu: issuer + path,
  iat: live.now(),
  jti: randomUUID(),
  nonce: live.nonce,
  ...(access_token === undefined ? {} : { ath: createHash('sha256').update(access_token).digest('base64url') })
}, { typ: 'dpop+jwt', jwk: ownJwk })
const assertion = (live: Live) => jws({ iss: live.client_id, sub: live.client_id, aud: issuer, exp: live.now() + 60, jti: randomUUID() })
const requestObject = (live: Live) => jws({ ...live.asked, iss: live.client_id, aud: issuer, exp: live.now() + 60 }, { typ: 'oauth-authz-req+jwt' })

/** How the client of this login proves who it is, and where it is asked to, that it holds a key. */
function credentials (live: Live, path: string): Honest & { headers: Record<string, string>, form: Record<string, string> } {
  const { headers, form } = hasKey(live.client_id) ? { headers: {}, form: { client_assertion: assertion(live), client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' } } : credentialsOf(live.client_id)
  return { headers: { ...headers as Record<string, string>, ...(live.proves && path !== '/revocation' ? { dpop: proof(live, 'POST', path) } : {}) }, form }
}
const hasKey = (client_id: string) => client_id === 'strict' || client_id === 'signing'

function tokenHeaders ({ access_token, ...live }: Live): Record<string, string> {
  if (!live.proves) return { authorization: `Bearer ${access_token}` }
  return { authorization: `DPoP ${access_token}`, dpop: proof({ access_token, ...live }, 'GET', '/userinfo', access_token) }
}

/** The authorization request: pushed before, signed, or plain. */
const request = (live: Live) => live.request_uri !== '' ? { client_id: live.client_id, request_uri: live.request_uri } : live.client_id === 'signing' ? { client_id: live.client_id, request: requestObject(live) } : live.asked

/** What an honest party sends to each route. A route that is not here fails the first test. */
const routes: Record<string, (live: Live) => Honest> = {
  'GET /livez': () => ({}),
  'GET /readyz': () => ({}),
  'GET /metrics': () => ({}),
  'GET /metrics/product': () => ({}),
  'OPTIONS *': () => ({ inPath: [`${base}/token`], headers: { origin: 'https://mobile.example', 'access-control-request-method': 'POST' } }),
  'GET /assets/*': live => ({ inPath: [live.asset] }),
  'GET /.well-known/openid-configuration': () => ({}),
  'GET /jwks': () => ({}),
  'GET /provider-keys': () => ({}),
  'POST /par': live => {
    const { headers, form } = credentials(live, '/par')
    return { form: { ...(live.client_id === 'signing' ? { request: requestObject(live) } : live.asked), ...form }, headers }
  },
  'GET /authorize': live => ({ query: live.kept ? { login: live.login } : request(live) }),
  'POST /authorize': live => ({ form: request(live) }),
  'GET /choose': live => ({ query: { login: live.login } }),
  'GET /login/:idp': live => ({ inPath: ['taxes'], query: { login: live.login } }),
  'GET /callback/:idp': live => ({ inPath: [live.idp], query: { state: live.upstream, code: randomBytes(9).toString('base64url') } }),
  'GET /consent': live => ({ query: { login: live.login } }),
  'POST /consent': live => ({ form: { login: live.login, decision: 'continue', consent: 'yes' }, headers: { 'sec-fetch-site': 'same-origin' } }),
  'GET /leave': live => ({ query: { login: live.login } }),
  'POST /token': live => {
    const { headers, form } = credentials(live, '/token')
    const asked: Record<string, string> = { grant_type: 'authorization_code', code: live.code, redirect_uri: live.asked['redirect_uri']!, ...form }
    if (live.asked['code_challenge'] !== undefined) asked['code_verifier'] = live.code_verifier
    return { form: asked, headers }
  },
  'GET /userinfo': live => ({ headers: tokenHeaders(live) }),
  'POST /userinfo': live => ({ form: { access_token: live.access_token } }),
  'POST /introspection': live => ({ form: { token: live.access_token }, headers: { authorization: basic('data', secretOf('data')) } }),
  'POST /revocation': live => {
    const { headers, form } = credentials(live, '/revocation')
    return { form: { token: live.access_token, ...form }, headers }
  },
  'GET /session/end': live => ({ query: { id_token_hint: live.id_token, post_logout_redirect_uri: `https://${live.client_id}.example/bye`, state: 'bye' } }),
  'POST /session/end': live => ({ form: { posted: live.posted, decision: 'log-out' }, headers: { 'sec-fetch-site': 'same-origin' } }),
  'GET /session/ended': live => ({ query: { state: live.leaving } })
}

/** Values that are right somewhere, for every parameter that a schema names. A parameter that is not here fails the first test. */
const plausible: Record<string, (live: Live) => string[]> = {
  client_id: live => [live.client_id, 'agency', 'closed', 'mobile', 'nobody'],
  redirect_uri: live => [live.asked['redirect_uri']!, 'https://agency.example/other?tab=1', 'https://town.example/back', 'https://evil.example/back'],
  response_type: () => ['code', 'id_token', 'code id_token', 'token', 'none'],
  response_mode: () => ['query', 'fragment', 'form_post', 'jwt'],
  scope: () => ['openid', 'openid profile birth email', 'openid offline_access', 'openid phone', 'profile'],
  state: live => [live.upstream, live.leaving, 's'],
  nonce: () => ['n'],
  code_challenge: live => [live.asked['code_challenge'] ?? 'x'.repeat(43)],
  code_challenge_method: () => ['S256', 'plain'],
  code_verifier: live => [live.code_verifier],
  acr_values: () => ['eidas1', 'eidas3 eidas2', 'eidas9'],
  claims: () => ['{}', '{"userinfo":{"given_name":null},"id_token":{"acr":{"essential":true,"values":["eidas2"]}}}', '{"id_token":{"sub":{"value":"x"}}}'],
  prompt: () => ['none', 'login', 'consent', 'select_account', 'login consent', 'create'],
  max_age: () => ['0', '60', '999999999'],
  ui_locales: () => ['fr', 'en-GB fr', 'xx'],
  id_token_hint: live => [live.id_token],
  idp_hint: () => ['taxes', 'quiet', 'works', 'nobody'],
  request: live => [requestObject(live), live.id_token],
  request_uri: live => [live.request_uri, 'urn:ietf:params:oauth:request_uri:x', 'https://agency.example/request'],
  registration: () => ['{}'],
  claims_locales: () => ['fr'],
  display: () => ['page', 'popup', 'x'],
  login_hint: () => ['angele@courriel.example'],
  dpop_jkt: () => ['x'.repeat(43)],
  client_assertion: live => [assertion(live), live.id_token],
  client_assertion_type: () => ['urn:ietf:params:oauth:client-assertion-type:jwt-bearer', 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer'],
  token: live => [live.access_token, live.code],
  token_type_hint: () => ['access_token', 'refresh_token'],
  login: live => [live.login],
  lang: () => ['fr', 'en', 'de'],
  notice: () => ['provider_refused', 'login_expired', 'none'],
  idp: () => ['taxes', 'post', 'works', 'nobody'],
  missing: () => ['consent'],
  decision: () => ['continue', 'refuse', 'log-out', 'stay'],
  consent: () => ['yes', 'no'],
  grant_type: () => ['authorization_code', 'refresh_token', 'client_credentials'],
  code: live => [live.code, live.access_token],
  client_secret: live => [credentialsOf(live.client_id).form['client_secret'] ?? 'a secret that is none'],
  access_token: live => [live.access_token, live.code],
  posted: live => [live.posted],
  post_logout_redirect_uri: live => [`https://${live.client_id}.example/bye`, 'https://town.example/bye', 'https://evil.example/bye'],
  '*': live => [live.asset, `${base}/token`, `${base}/jwks`]
}

const headers: Record<string, (live: Live) => string[]> = {
  authorization: live => [`Bearer ${live.access_token}`, `bearer  ${live.access_token}`, `DPoP ${live.access_token}`, `Basic ${live.code}`, basic(live.client_id, 'wrong'), basic('%zz', '%'), basic('agency', ''), 'Basic', 'Bearer', 'Negotiate x', `Digest username="${marker}"`],
  'content-type': () => ['application/x-www-form-urlencoded', 'application/x-www-form-urlencoded; charset=utf-16', 'APPLICATION/X-WWW-FORM-URLENCODED', 'application/json', 'multipart/form-data; boundary=x', 'text/plain', 'a/b; c="', ''],
  'content-length': () => ['0', '1', '-1', 'x', '9999999999'],
  'transfer-encoding': () => ['chunked', 'gzip, chunked'],
  'content-encoding': () => ['gzip', 'br'],
  cookie: () => ['', ';', '=', 'a', '__Host-session', `__Host-language=${marker}`, '__Host-language=en', '__Host-login-=x', '__Host-login-=', '__proto__=1; constructor=2'],
  'sec-fetch-site': () => ['none', 'same-origin', 'same-site', 'cross-site'],
  'sec-purpose': () => ['prefetch', 'prefetch;prerender'],
  purpose: () => ['prefetch'],
  accept: () => ['text/html', 'application/json', 'application/jwt', 'application/token-introspection+jwt', '*/*;q=0', 'a'],
  'accept-language': () => ['fr', 'en;q=0.5, fr;q=x', '*', 'zz-'.repeat(400), ','.repeat(2000), 'en;q=1;q=2'],
  origin: () => ['https://mobile.example', 'null', 'https://evil.example', ''],
  'access-control-request-method': () => ['GET', 'DELETE', ''],
  'access-control-request-headers': () => ['authorization', marker],
  'if-none-match': () => ['*', '"x"', 'W/"', 'W/"x", "y"'],
  host: () => ['evil.example', 'passerelle.example:1', '', '[::1'],
  'x-forwarded-for': () => ['192.0.2.1', '::ffff:192.0.2.1, 10.0.0.1', 'unknown', '1,'.repeat(1000)],
  'x-forwarded-host': () => ['evil.example'],
  'x-forwarded-proto': () => ['http', 'javascript', 'https,http'],
  forwarded: () => ['for=192.0.2.1;host=evil.example'],
  'x-http-method-override': () => ['DELETE'],
  'accept-version': () => ['1.x', '*'],
  'request-id': () => [marker],
  expect: () => ['100-continue', 'x'],
  range: () => ['bytes=0-0'],
  upgrade: () => ['h2c', 'websocket'],
  referer: () => ['https://evil.example/?q7'],
  'user-agent': () => [marker, ''],
  dpop: live => [proof(live, 'POST', '/token'), proof(live, 'GET', '/userinfo', live.access_token), live.id_token, 'a.b.c', '']
}

// ---- hostile texts

const oversized = fc.constantFrom(33, 65, 129, 257, 513, 1025, 1201, 2049, 3001, 4097, 6001, 8001, 8193, 16_385, 33_000)
const nested = (depth: number, open = '[', close = ']') => open.repeat(depth) + close.repeat(depth)

const hostileText: Arbitrary<string> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(marker, `a${marker}`) },
  fc.constantFrom('', ' ', '\u0000', 'a\u0000b', '\r\nset-cookie: q7=1', '\r\n\r\n<svg onload=q7>', '\n', '\t', '\u007f', '\u0085\u2028\u2029', '\ud800', '\udfff\ud800', 'é', 'e\u0301', '\u202eabc', '\ufeff', '\u200b', '🧑‍⚖️', 'İ', 'ß', '\u{10ffff}', '％００'),
  fc.constantFrom('%', '%0', '%zz', '%00', '%0d%0aset-cookie:%20q7=1', '%c0%af', '%ed%a0%80', '%ff', '%25', '%2e%2e%2f', '+', '&', '=', '&&==', ';', '#', '?', '/', '\\', '..', '../../etc/passwd', '//', '$', '*', '|', '(', '`id`', '${7*7}', '{{7*7}}'), // eslint-disable-line no-template-curly-in-string
  fc.constantFrom('__proto__', 'constructor', 'prototype', 'hasOwnProperty', 'toString', 'undefined', 'null', 'NaN', 'true', '-1', '0', '1e9', '0x10', '١', '999999999999999999999', '-0', '1.5'),
  fc.constantFrom('javascript:alert(1)', 'data:text/html,<svg onload=q7>', '//evil.example', 'https://evil.example/', 'https://agency.example/back@evil.example', 'https://agency.example/back/../x', 'https://agency.example/back#', 'https://AGENCY.example/back', 'https://agency.example\\@evil.example', 'https://agency.example/back?code=1', 'http://127.0.0.1/'),
  fc.constantFrom('{', '{}', '[]', '""', 'null', '{"userinfo":[]}', '{"id_token":null}', '{"userinfo":{"given_name":"x"}}', '{"userinfo":{"__proto__":{"essential":true}},"__proto__":{"id_token":1}}', '{"id_token":{"acr":{"values":{"length":1}}}}', '{"id_token":{"acr":{"values":[null]}}}', '{"id_token":{"acr":{"value":[]}}}', `{"id_token":{"sub":{"value":"${marker.replaceAll('"', '\\"')}"}}}`, '{"userinfo":{"constructor":null,"toString":{"value":1}}}'),
  fc.record({ depth: fc.constantFrom(10, 500, 1000, 4000), kind: fc.constantFrom('[', '{') }).map(({ depth, kind }) => kind === '[' ? nested(depth) : `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`),
  fc.json({ maxDepth: 4 }),
  fc.dictionary(fc.constantFrom('userinfo', 'id_token', 'x'), fc.dictionary(fc.constantFrom('acr', 'sub', 'given_name', 'amr', 'x', '__proto__'), fc.oneof(fc.constant(null), fc.jsonValue(), fc.record({ essential: fc.jsonValue(), value: fc.jsonValue(), values: fc.jsonValue() }, { requiredKeys: [] })))).map(value => JSON.stringify(value)),
  fc.record({ size: oversized, letter: fc.constantFrom('a', '%', ' ', 'é', '"', '🧑', '=', '.', '\u0000') }).map(({ size, letter }) => letter.repeat(size)),
  fc.array(fc.nat(0xffff), { maxLength: 6 }).map(units => String.fromCharCode(...units))
)

/** Makes a text of one that would be right. */
type Twist = (right: string, live: Live) => string

const mutation: Arbitrary<Twist> = fc.record({
  how: fc.constantFrom('append', 'prepend', 'cut', 'drop', 'double', 'flip', 'upper', 'trim', 'insert', 'percent', 'repeat', 'reverse'),
  where: fc.double({ min: 0, max: 0.999, noNaN: true }),
  text: hostileText
}).map(({ how, where, text }) => right => {
  const at = Math.floor(where * right.length)
  const next = right[at] ?? 'A'
  switch (how) {
    case 'append': return right + text
    case 'prepend': return text + right
    case 'cut': return right.slice(0, at)
    case 'drop': return right.slice(0, at) + right.slice(at + 1)
    case 'double': return right.slice(0, at) + next + right.slice(at)
    case 'flip': return right.slice(0, at) + String.fromCharCode(next.charCodeAt(0) ^ 1) + right.slice(at + 1)
    case 'upper': return right.toUpperCase()
    case 'trim': return ` ${right} `
    case 'insert': return right.slice(0, at) + text + right.slice(at)
    case 'percent': return encodeURIComponent(right.toWellFormed())
    case 'repeat': return right.repeat(2)
    default: return [...right].reverse().join('')
  }
})

const readPart = (part: string | undefined): object => { try { return JSON.parse(Buffer.from(part ?? '', 'base64url').toString()) ?? {} } catch { return {} } }

/** Some of these members, two at most. */
const someOf = (members: Record<string, Arbitrary<unknown>>) =>
  fc.array(fc.oneof(...Object.entries(members).map(([name, value]) => value.map(given => [name, given] as const))), { maxLength: 2 }).map(entries => Object.fromEntries(entries))
const any = (...values: unknown[]) => fc.constantFrom<unknown>(...values)

/** JWT-shaped: of a token of ours or of a client, or of one that nobody made, with its header, payload and signature each changed. */
const jwt: Arbitrary<Twist> = fc.record({
  header: someOf({
    alg: any('none', 'None', 'HS256', 'RS256', 'ES256', 'PS256', 'EdDSA', 'dir', 'RSA-OAEP', 'ECDH-ES', 'PBES2-HS256+A128KW', '', null, 1, {}),
    kid: fc.oneof(any('../../dev/null', '__proto__', marker, '', 'k'.repeat(5000), 1, null, {}), hostileText),
    crit: any([], ['exp'], ['b64'], ['__proto__'], 'x', null, [marker]),
    b64: fc.boolean(),
    typ: any('JWT', 'at+jwt', 'dpop+jwt', 'logout+jwt', 'oauth-authz-req+jwt', marker, 1),
    jku: any('https://evil.example/jwks', marker, 'file:///etc/passwd'),
    x5u: any('https://evil.example/x5u'),
    x5c: any([], ['AAAA'], 'x'),
    jwk: any(ownJwk, { ...ownJwk, d: 'AAAA' }, { ...ownJwk, crv: 'P-521' }, { kty: 'oct', k: 'AAAA' }, { kty: 'RSA', n: 'AQ', e: 'AQAB' }, { kty: '__proto__' }, null, []),
    zip: any('DEF', 1),
    enc: any('A256GCM', 'A128CBC-HS256', 'x'),
    p2c: any(1, 2 ** 31),
    epk: any(ownJwk, { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }, null)
  }),
  payload: fc.oneof(
    {
      weight: 4,
      arbitrary: someOf({
        iss: any(issuer, 'https://evil.example', marker, 1),
        aud: any(issuer, `${issuer}/token`, [issuer], [issuer, marker], [], {}, null),
        sub: any('agency', marker, 1, null, {}),
        sid: any(marker, 1, {}),
        exp: any(1e308, -1, '1', null, 1_800_000_000),
        nbf: any(1e308, 'x'),
        iat: any(-1, 'x', 1e308),
        jti: any(marker, '', 1, 'j'.repeat(2000)),
        htm: any('POST', 1),
        htu: any(`${issuer}/token?x#y`, marker, 'http://[', 1),
        ath: any('x', 1),
        nonce: any(marker, 1, 'n'.repeat(1024)),
        // parameters, as a request object carries them
        client_id: any('town', 1, null),
        redirect_uri: any('https://town.example/back', 'https://evil.example/', 1, null, {}),
        response_type: any('id_token', ['code']),
        response_mode: any('form_post', 'jwt', 1),
        scope: any('openid phone', ['openid'], marker, 1),
        state: any(marker, '\u0000', 'x'.repeat(2049), 1, {}),
        claims: fc.oneof(fc.jsonValue(), hostileText),
        max_age: any(0, -1, 1e308, 1.5, '1', null, {}),
        prompt: any('none', ['none'], marker),
        request: any('x', null),
        registration: any({}, 'x'),
        lang: any('en'),
        [marker]: any(marker)
      })
    },
    { weight: 1, arbitrary: hostileText }
  ),
  signature: fc.constantFrom('own', 'own', 'own', 'own', 'kept', 'none', 'hmac', 'junk', 'long'),
  shape: fc.constantFrom('three', 'three', 'three', 'two', 'one', 'four', 'five', 'padded', 'plain')
}).map(({ header, payload, signature, shape }) => (right, live) => {
  const [head, body, kept = ''] = (right.split('.').length === 3 ? right : live.id_token || requestObject(live)).split('.')
  const parts = [encoded(JSON.stringify({ ...readPart(head), ...header })), encoded(typeof payload === 'string' ? payload : JSON.stringify({ ...readPart(body), ...payload }))]
  const input = parts.join('.')
  const tail = {
    kept,
    none: '',
    own: es256(input),
    hmac: createHmac('sha256', 'agency').update(input).digest('base64url'),
    junk: '!!!',
    long: 'A'.repeat(3000)
  }[signature]!
  switch (shape) {
    case 'one': return parts[0]!
    case 'two': return input
    case 'four': return `${input}.${tail}.x`
    case 'five': return `${parts[0]}..${encoded('iv iv iv iv ')}.${parts[1]}.${encoded('tag tag tag tag ')}`
    case 'padded': return `${parts[0]}==.${parts[1]}=.${tail}`
    case 'plain': return `${JSON.stringify(header)}.${JSON.stringify(payload)}.`
    default: return `${input}.${tail}`
  }
})

const twist: Arbitrary<Twist> = fc.oneof(
  { withCrossShrink: true },
  { weight: 5, arbitrary: hostileText.map(text => () => text) },
  { weight: 5, arbitrary: mutation },
  { weight: 2, arbitrary: jwt }
)

// ---- how a text is written down

type Style = 'form' | 'raw' | 'twice'
const style = fc.constantFrom<Style[]>('form', 'form', 'form', 'raw', 'twice')

/** Percent-encoded; half a surrogate pair as the three bytes that no decoder takes. */
const percentEncoded = (text: string) => text.isWellFormed()
  ? encodeURIComponent(text)
  : [...text].map(character => {
      const code = character.charCodeAt(0)
      if (character.isWellFormed()) return encodeURIComponent(character)
      return [0xe0 | code >> 12, 0x80 | (code >> 6 & 63), 0x80 | (code & 63)].map(byte => `%${byte.toString(16)}`).join('')
    }).join('')
const written = (text: string, style: Style = 'form') => style === 'raw' ? text : style === 'form' ? percentEncoded(text) : percentEncoded(percentEncoded(text))
const writtenPairs = (pairs: readonly Pair[]) => pairs.map(([name, value, style]) => `${written(name, style)}=${written(value, style)}`).join('&')

/** Bytes of a request's line and headers that Node takes: beyond them it answers 431 by itself. */
const longestHead = 16_000

/** As the HTTP parser hands a header over: bytes, and none of those that it refuses (the last test sends these by a socket). */
const headerText = (text: string, longest: number) => Buffer.from(text.toWellFormed()).toString('latin1').replace(/[\u0000-\u0008\u000a-\u001f\u007f]/g, '').trim().slice(0, longest)

// ---- what is changed of a request

type Change = (draft: Draft, live: Live) => void
type Right = (right: string | undefined, live: Live) => string

/** Of a value that would be right: the same, another that might be, or something else altogether. */
const valueFor = (values: ((live: Live) => string[]) | undefined): Arbitrary<Right> => fc.oneof(
  { withCrossShrink: true },
  { weight: 2, arbitrary: fc.nat(9).map((at): Right => (right, live) => { const all = values?.(live) ?? []; return all[at % all.length] ?? right ?? '' }) },
  { weight: 5, arbitrary: twist.map((twisted): Right => (right, live) => twisted(right ?? values?.(live)[0] ?? '', live)) }
)

/** Where a route reads its parameters, and what they are called there. */
interface Known { method: string, url: string, operations: boolean, query: string[], form: string[], inPath: string[] }

function changesOf ({ query, form }: Known): Arbitrary<Change> {
  const declared = [...query.map(name => ({ name, place: 'query' as const })), ...form.map(name => ({ name, place: 'form' as const }))]
  const place = (draft: Draft, where: 'query' | 'form') => where === 'query' ? draft.query : (draft.form ??= [])
  const without = (pairs: Pair[], name: string) => pairs.filter(([other]) => other !== name)

  const ofParameter = declared.length === 0
    ? []
    : [
        {
          weight: 12,
          arbitrary: fc.record({ of: fc.constantFrom(...declared), style, times: fc.constantFrom(1, 1, 1, 1, 1, 1, 1, 2, 50) })
            .chain(({ of, ...rest }) => valueFor(plausible[of.name]).map(value => ({ of, value, ...rest })))
            .map(({ of: { name, place: where }, value, style, times }): Change => (draft, live) => {
              const pairs = place(draft, where)
              const right = pairs.find(([other]) => other === name)?.[1]
              const text = value(right, live)
              const changed = Array.from({ length: times }, (): Pair => [name, times > 2 ? text.slice(0, 100) : text, style])
              const all = [...without(pairs, name), ...changed]
              if (where === 'query') draft.query = all
              else draft.form = all
            })
        },
        {
          weight: 2,
          arbitrary: fc.constantFrom(...declared).map(({ name, place: where }): Change => draft => {
            if (where === 'query') draft.query = without(draft.query, name)
            else draft.form = without(draft.form ?? [], name)
          })
        },
        {
          weight: 1,
          arbitrary: fc.record({ of: fc.constantFrom(...declared), name: fc.constantFrom('[]', '[0]', '.x', ' ', '%00', marker) }).map(({ of, name }): Change => (draft, live) => {
            place(draft, of.place).push([of.name + name, plausible[of.name]?.(live)[0] ?? ''])
          })
        }
      ]

  return fc.oneof(
    { withCrossShrink: true },
    ...ofParameter,
    // whatever is signed, wherever it stands
    {
      weight: 10,
      arbitrary: fc.record({ at: fc.nat(3), twisted: jwt }).map(({ at, twisted }): Change => (draft, live) => {
        const isJwt = (text: string) => /^eyJ[\w-]*\.[\w-]+\./.test(text)
        const places = [...draft.query, ...draft.form ?? []].filter(([, value]) => isJwt(value))
        const inHeader = isJwt(draft.headers['dpop'] ?? '')
        const chosen = places[at % (places.length + Number(inHeader))]
        if (chosen !== undefined) chosen[1] = twisted(chosen[1], live)
        else if (inHeader) draft.headers['dpop'] = twisted(draft.headers['dpop']!, live)
      })
    },
    // a parameter that is not declared, in either place
    {
      weight: 1,
      arbitrary: fc.record({ name: fc.oneof(fc.constantFrom(...Object.keys(plausible)), hostileText), text: hostileText, where: fc.constantFrom('query', 'form'), style }).map(({ name, text, where, style }): Change => draft => {
        place(draft, where as 'query').push([name, text, style])
      })
    },
    // many
    {
      weight: 1,
      arbitrary: fc.constantFrom(50, 400).map((count): Change => draft => {
        for (let at = 0; at < count; at++) (draft.form ?? draft.query).push([`p${at}`, 'x'])
      })
    },
    {
      weight: 5,
      arbitrary: fc.constantFrom(...Object.keys(headers)).chain(name => valueFor(headers[name]).map((value): Change => (draft, live) => {
        draft.headers[name] = value(draft.headers[name], live)
      }))
    },
    {
      weight: 6,
      arbitrary: fc.record({ at: fc.nat(5), how: fc.constantFrom('value', 'drop', 'swap', 'rename', 'add', 'many', 'twice'), twisted: twist, name: fc.constantFrom('__Host-login-', '__Host-login-AAAAAAAAAAAAAAAAAAAAAA', '__Host-identity', '__Host-session', '__Host-language', '__proto__', 'other') }).map(({ at, how, twisted, name }): Change => (draft, live) => {
        const { cookies } = draft
        const chosen = cookies[at % Math.max(1, cookies.length)]
        const [, other = ''] = cookies[(at + 1) % Math.max(1, cookies.length)] ?? []
        if (how === 'add' || chosen === undefined) cookies.push([name, twisted(other, live)])
        else if (how === 'value') chosen[1] = twisted(chosen[1], live)
        else if (how === 'drop') cookies.splice(cookies.indexOf(chosen), 1)
        else if (how === 'swap') chosen[1] = other
        else if (how === 'rename') chosen[0] = name.startsWith('__Host-login') ? `__Host-login-${twisted('', live)}` : name
        else if (how === 'twice') cookies.push([chosen[0], twisted(chosen[1], live)])
        else for (let count = 0; count < 80; count++) cookies.push([`__Host-login-${'A'.repeat(20)}${String(count).padStart(2, '0')}`, chosen[1]])
      })
    },
    { weight: 1, arbitrary: fc.constantFrom('HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH', 'POST', 'GET', 'TRACE', 'PROPFIND').map((method): Change => draft => { draft.method = method }) },
    { weight: 1, arbitrary: fc.oneof(hostileText, fc.uint8Array({ maxLength: 64 }).map(bytes => Buffer.from(bytes)), fc.constantFrom(32_768, 40_000).map(size => Buffer.alloc(size, 'a=b&'))).map((payload): Change => draft => { draft.payload = payload }) },
    { weight: 1, arbitrary: fc.constant((draft: Draft) => { [draft.query, draft.form] = [draft.form ?? [], draft.query] }) },
    {
      weight: 2,
      arbitrary: fc.record({ twisted: twist, style }).map(({ twisted, style }): Change => (draft, live) => {
        if (draft.inPath.length > 0) draft.inPath = draft.inPath.map(text => written(twisted(text, live), style))
        else draft.path += written(twisted('/', live), style)
      })
    }
  )
}

// ---- a case: how far an honest login goes, and then what

interface Weather { wait?: number, failing?: string[], up?: boolean, failure?: Failure | undefined, answer?: TestProvider['answer'], hasLogout?: boolean }
type Step = { route: string, changes: Change[], times?: number } | { weather: Weather }
interface Case { client: string, prompt: string | undefined, response_mode: string | undefined, pushed: boolean, proves: boolean, honest: number, steps: Step[] }

/** A whole login, single sign-on and logout: what an honest browser and an honest client do. */
const story: Array<{ route: string, pushed?: true }> = [
  { route: 'POST /par', pushed: true }, { route: 'POST /par', pushed: true }, { route: 'GET /authorize' }, { route: 'GET /authorize', pushed: true },
  ...['GET /login/:idp', 'GET /callback/:idp', 'GET /consent', 'POST /consent', 'POST /token', 'GET /userinfo', 'POST /introspection', 'POST /revocation'].map(route => ({ route })),
  { route: 'POST /par', pushed: true }, { route: 'GET /authorize' }, { route: 'GET /authorize', pushed: true }, ...['GET /consent', 'POST /consent', 'GET /session/end'].map(route => ({ route }))
]

const hostileClaims = someOf({
  given_name: any(upstream, '\u202e', '', 1, null, 'x'.repeat(256)),
  given_name_array: any([upstream], [], [1], 'x', Array(40).fill('x')),
  family_name: any(upstream, 'é'.repeat(256), undefined),
  gender: any('unspecified', upstream),
  birthdate: any('1962-00-00', '9999-99-99', upstream),
  birthcountry: any('99100', '99109', upstream),
  birthplace: any('2A004', upstream, undefined),
  email: any(`${upstream}@x`, `${'a'.repeat(250)}@x`, 1),
  address: any({ formatted: upstream, [upstream]: upstream }, { formatted: 'x\n'.repeat(200) }, upstream, [], null),
  phone_number: any(upstream, 33),
  picture: any('javascript:q7', upstream),
  sub: any(upstream),
  nickname: any(upstream, 'x'.repeat(512)),
  updated_at: any(Infinity, 'x', 1)
}).map(claims => ({ ...citizen, ...claims }))

const weather: Arbitrary<Weather> = fc.oneof(
  fc.constantFrom(1, 31, 61, 301, 901, 1801, 7201, 30_000).map(wait => ({ wait })),
  fc.subarray(['put', 'get', 'claim', 'usedBy', 'end', 'ended', 'once', 'said', 'enter', 'entered'], { minLength: 0 }).map(failing => ({ failing })),
  fc.boolean().map(up => ({ up })),
  fc.constantFrom<Array<Failure | undefined>>(undefined, 'provider_unavailable', 'provider_busy', 'provider_refused', 'provider_code_spent', 'provider_answer_invalid').map(failure => ({ failure })),
  fc.boolean().map(hasLogout => ({ hasLogout })),
  fc.record({ claims: hostileClaims, acr: fc.constantFrom<unknown>('eidas1', 'eidas3', upstream, 1, null), amr: fc.constantFrom<unknown>(['pwd'], [upstream], 'x', [1]), auth_time: fc.constantFrom<unknown>(0, -1, 1e308, NaN, 'x', 2_000_000_000), sub: fc.constantFrom(upstream, 'x') }, { requiredKeys: ['claims'] }).map(answer => ({ answer: answer as TestProvider['answer'] }))
)

function caseOf (known: readonly Known[]): Arbitrary<Case> {
  const requests = known.map(route => ({
    weight: route.operations ? 1 : route.query.length + route.form.length > 0 ? 12 : 4,
    arbitrary: fc.array(changesOf(route), { minLength: 1, maxLength: 3 }).map((changes): Step => ({ route: nameOf(route), changes }))
  }))
  return fc.record({
    client: fc.constantFrom('agency', 'town', 'swift', 'mobile', 'clinic', 'wary', 'strict', 'strict', 'signing', 'signing'),
    prompt: fc.constantFrom(undefined, undefined, undefined, 'none', 'login'),
    response_mode: fc.constantFrom(undefined, undefined, 'form_post'),
    pushed: fc.constantFrom(false, false, true),
    proves: fc.constantFrom(false, false, true),
    honest: fc.nat(story.length),
    steps: fc.array(fc.oneof(
      { weight: 60, arbitrary: fc.oneof({ withCrossShrink: true }, ...requests) },
      { weight: 1, arbitrary: fc.constant<Step>({ route: 'GET /authorize', changes: [], times: 12 }) },  // many tabs
      { weight: 10, arbitrary: fc.constantFrom(...story).map(({ route }): Step => ({ route, changes: [] })) },
      { weight: 6, arbitrary: weather.map((weather): Step => ({ weather })) }
    ), { minLength: 1, maxLength: 30, size: 'max' })
  })
}

const nameOf = ({ method, url }: Pick<Known, 'method' | 'url'>) => `${method} ${url}`

// ---- what must be true of every answer

const statuses = new Set<number>([200, 201, 204, 303, 304, ...Object.values(failures).map(({ status }) => status)])
statuses.delete(500)
const oauthErrors = new Set<string>(Object.values(failures).map(({ error }) => error))
const unescaped = /<svg onload|[qp]7>|[qp]7&gt;"|&quot;'z/
const largestBody = 64 * 1024
const largestHeaders = 8 * 1024
const longestWaitMs = 5000
/** Characters of a cookie's value, and of all that a browser carries of its logins. */
const largestCookie = { login: 2500, identity: 3000, session: 64, language: 2 }
const largestJar = 6000
const mediaTypes = /^((text\/(html|css|javascript)|application\/json); charset=utf-8|application\/(token-introspection\+)?jwt|image\/(svg\+xml|png|webp))$/

/** The one script of ours, which submits the form of its page. */
const ownScript = new RegExp(`<script src="${base}/assets/[\\w-]+\\.js"></script>`)

/** What @fastify/cors says of an OPTIONS that asks nothing. */
const notPreflight = 'Invalid Preflight Request'

interface Answer { statusCode: number, headers: Record<string, unknown>, body: string }

/** Where we may send a browser: to ourselves, to an identity provider, or to an address that a service registered. */
function destinations ({ app }: TestApp) {
  const clients = [...app.configuration.clients.values()]
  const registered = clients.flatMap(({ redirect_uris, post_logout_redirect_uris, client_uri }) => [...redirect_uris, ...post_logout_redirect_uris, ...client_uri === undefined ? [] : [client_uri], ...redirect_uris.map(uri => `${new URL(uri).origin}/`)])
  const providers = [...app.configuration.identityProviders.keys()].flatMap(id => [`https://${id}.example/authorize`, `https://${id}.example/logout`])
  const within = (address: string, target: string) => address === target || (address.startsWith(target) && /[?&]/.test(address[target.length]!))
  return {
    within: (address: string) => address.startsWith('/') && new URL(address, origin).href.startsWith(`${origin}${base}/`),
    own: (address: string) => address.startsWith(`${base}/`) && new URL(address, origin).href === origin + address,
    registered: (address: string) => registered.some(target => within(address, target)),
    provider: (address: string) => providers.some(target => within(address, target))
  }
}

function fault ({ statusCode, headers, body }: Answer, to: ReturnType<typeof destinations>, isOperations: boolean): string | undefined {
  const lines = Object.entries(headers).flatMap(([name, value]) => [value].flat().map(text => [name, String(text)] as const))
  const header = (name: string) => lines.find(([other]) => other === name)?.[1]
  if (!statuses.has(statusCode)) return `status ${statusCode}`
  if (Buffer.byteLength(body) > largestBody && !isOperations) return `a body of ${Buffer.byteLength(body)} bytes`
  const size = lines.reduce((sum, [name, text]) => sum + name.length + text.length + 4, 0)
  if (size > largestHeaders) return `headers of ${size} bytes`
  for (const [name, text] of lines) {
    if (/[^\t\x20-\x7e]/.test(text)) return `${name}: not printable ASCII`
    if (name !== 'location' && /onload(=|%3D)[qp]7/i.test(decoded(text))) return `${name}: says what was sent`
  }

  const location = header('location')
  if ((location === undefined) === (statusCode === 303)) return 'a Location without 303, or 303 without a Location'
  if (location !== undefined) {
    if (!/^[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+$/.test(location)) return 'Location: characters that no address has (RFC 3986)'
    if (!to.own(location) && !to.registered(location) && !to.provider(location)) return 'Location: not ours, no provider\'s, and not registered'
    if (to.provider(location) && /onload/.test(decoded(location))) return 'Location: tells the provider what was sent'
  }
  const page = pageOf({ statusCode, headers, body })
  const error = page.fields['error'] ?? page.query.get('error')
  if (error !== null && !oauthErrors.has(error)) return `the service is told the unknown error ${error}`
  if (error === 'server_error') return 'the service is told server_error'

  if (isOperations) return undefined                                   // its answers are for operators: Fastify's own will do
  const type = header('content-type')
  if (type !== undefined && !mediaTypes.test(type) && body !== notPreflight) return `content-type ${type}`
  if (body !== '' && type === undefined) return 'a body without a content-type'
  if (body === notPreflight) return undefined
  if (header('x-content-type-options') !== 'nosniff') return 'sniffed'
  if (type?.startsWith('text/html')) {
    if (unescaped.test(body)) return 'the page holds unescaped what was sent'
    if (/<script|<[^>]*\son[a-z]+=/i.test(body.replace(ownScript, '').replace(/"[^"]*"/g, '""'))) return 'the page holds a script'
    if (!page.waysOn.every(address => to.within(address) || to.registered(address))) return 'the page leads to somewhere else'
    if (!/^default-src 'none';/.test(header('content-security-policy') ?? '') || header('cache-control') !== 'no-store') return 'a page without its headers'
  }
  if (type?.startsWith('application/json')) {
    const members = JSON.parse(body)
    if (/<svg onload=q7/.test(body)) return 'the answer says what was sent'
    if (statusCode >= 400 && !oauthErrors.has(members.error)) return 'an error without a known `error`'
    if (statusCode >= 400 && !/^[\x20-\x21\x23-\x5B\x5D-\x7E]{1,300}$/.test(members.error_description)) return 'error_description: characters that RFC 6749 §5.2 does not allow, or too many'
  }
  if (statusCode >= 400 && type === undefined && statusCode !== 304) return 'an error that says nothing'
  if (statusCode >= 500 && header('retry-after') === undefined && !type?.startsWith('application/json')) return `${statusCode} without Retry-After or an OAuth error`

  for (const line of page.setCookies) {
    const [, name, kind, value] = /^(__Host-(login|identity|session|language)[A-Za-z0-9_-]*)=([\w.-]*);/.exec(line) ?? []
    if (name === undefined) return `set-cookie: ${line.slice(0, 80)}`
    if (!/; Path=\/;? ?/.test(line) || !/; HttpOnly/.test(line) || !/; Secure/.test(line) || !/; SameSite=Lax/.test(line) || /Domain=/i.test(line)) return `set-cookie: ${name} without its attributes`
    if (value!.length > largestCookie[kind as keyof typeof largestCookie]) return `set-cookie: ${name} has ${value!.length} bytes`
  }
}
const decoded = (text: string) => { try { return decodeURIComponent(text.replaceAll('+', ' ')) } catch { return text } }

// ---- telling a case

/** What was sent, and what it did, for whoever reads a counterexample. */
const short = (text: string) => JSON.stringify(text.length > 300 ? `${text.slice(0, 160)}…${text.slice(-80)} (${text.length} characters)` : text)

interface Tally { requests: number, hostile: number, outcomes: Map<string, Set<string>> }

async function tell (gateway: TestApp, known: ReadonlyMap<string, Known>, { client, prompt, response_mode, pushed, proves, honest, steps }: Case, tally: Tally) {
  const challenge = client === 'swift' ? { code_challenge: undefined, code_challenge_method: undefined } : {}
  const asked = requestOf(client, { redirect_uri: `https://${client}.example/back`, ...challenge, prompt, response_mode, scope: 'openid profile email birth' })
  const live: Live = {
    now: gateway.now,
    client_id: client,
    asked: asked.parameters,
    proves: proves || client === 'strict',
    nonce: '',
    request_uri: '',
    kept: false,
    code_verifier: asked.code_verifier,
    jar: new Map(),
    tampered: false,
    login: '',
    upstream: '',
    idp: 'taxes',
    code: '',
    access_token: '',
    id_token: '',
    posted: '',
    leaving: '',
    asset: [...gateway.app.assets.keys()][0]!.slice('/assets/'.length),
    codes: new Set(),
    redeemed: new Set(),
    tokens: new Set(),
    revoked: new Set()
  }
  const to = destinations(gateway)
  const transcript: string[] = []
  try {
    for (const step of story.slice(0, honest)) if (!step.pushed || pushed || client === 'strict') await send(step.route, [])
    for (const step of steps) {
      if ('weather' in step) change(step.weather)
      else for (let time = 0; time < (step.times ?? 1); time++) await send(step.route, step.changes)
    }
  } finally {
    gateway.store.heal()
    for (const provider of Object.values(gateway.providers)) Object.assign(provider, { up: true, failure: undefined, answer: {}, hasLogout: false })
  }
  return transcript

  function change ({ wait = 0, failing, ...mood }: Weather) {
    transcript.push(`meanwhile ${short(JSON.stringify({ wait, failing, ...mood }))}`)
    gateway.wait(wait)
    if (failing !== undefined) gateway.store.heal()
    if (failing !== undefined && failing.length > 0) gateway.store.fail(...failing as ['put'])
    for (const provider of Object.values(gateway.providers)) Object.assign(provider, mood)
  }

  async function send (route: string, changes: readonly Change[]) {
    const { method, url, operations } = known.get(route)!
    const { inPath = [], query = {}, form, headers = {} } = routes[route]!(live)
    const draft: Draft = { method, path: url, inPath: [...inPath], query: Object.entries(query), form: form && Object.entries(form), headers: { ...headers }, cookies: [...live.jar] }
    for (const change of changes) change(draft, live)
    live.tampered ||= draft.headers['cookie'] !== undefined || JSON.stringify(draft.cookies) !== JSON.stringify([...live.jar])

    const values = [...draft.inPath]
    const target = (operations || url === '*' ? '' : base) + draft.path.replace(/:\w+|\*/g, () => values.shift() ?? 'x') + (draft.query.length > 0 ? `?${writtenPairs(draft.query)}` : '')
    const payload = draft.payload ?? (draft.form === undefined ? undefined : writtenPairs(draft.form))
    const cookie = [draft.headers['cookie'], ...draft.cookies.map(([name, value]) => `${name}=${value}`)].filter(Boolean).join('; ')
    const sent = Object.fromEntries(Object.entries({
      ...(payload === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      ...draft.headers,
      ...(cookie === '' ? {} : { cookie })
    }).map(([name, value]) => [name, headerText(value, name === 'cookie' ? 8000 : 2500)]))
    // what a URL takes for the name of a host at its beginning goes by the socket, below: inject would look for that host
    const address = target.replace(/^(?!\/)/, '/').replaceAll('\\', '%5C').replace(/^\/[\t\n\r]+/, '/').slice(0, longestHead - Object.entries(sent).reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0))
    transcript.push([`${draft.method} ${short(address)}`, ...Object.entries(sent).map(([name, value]) => `  ${name}: ${short(value)}`), ...(payload === undefined ? [] : [`  ${short(typeof payload === 'string' ? payload : payload.toString('latin1'))}`])].join('\n'))

    const blame = (what: string) => new Error(`${what}\n${transcript.join('\n')}`)
    const begin = performance.now()
    const app: FastifyInstance = operations ? gateway.app.operations : gateway.app
    let slow: NodeJS.Timeout | undefined
    const answer = await Promise.race([
      app.inject({ method: draft.method as 'GET', url: address, headers: sent, ...(payload === undefined ? {} : { payload }) }).catch(error => { throw blame(`no answer: ${error.stack}`) }),
      new Promise<never>((resolve, reject) => { slow = setTimeout(() => reject(blame(`no answer within ${longestWaitMs} ms`)), longestWaitMs) })
    ]).finally(() => clearTimeout(slow))
    if (performance.now() - begin > longestWaitMs) throw blame(`the answer took ${Math.round(performance.now() - begin)} ms`)
    transcript.push(`→ ${answer.statusCode} ${short(String(answer.headers['location'] ?? answer.body.replace(/\s+/g, ' ')))}`)

    const wrong = fault(answer, to, operations) ?? learn(answer, draft, sent, payload)
    if (wrong !== undefined) throw blame(wrong)
    tally.requests++
    if (changes.length > 0) tally.hostile++
    const outcomes = tally.outcomes.get(route) ?? new Set()
    tally.outcomes.set(route, outcomes.add(answer.statusCode < 400 ? 'granted' : 'refused'))
  }

  /** What an answer gives for the next request; and what it must not give. */
  function learn (answer: Answer, { path, method, form = [] }: Draft, sent: Record<string, string>, payload: string | Buffer | undefined): string | undefined {
    const page = pageOf(answer)
    live.nonce = page.headers['dpop-nonce'] ?? live.nonce
    for (const line of page.setCookies) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
      if (/Max-Age=0|Expires=Thu, 01 Jan 1970/i.test(line) || value === '') live.jar.delete(name!)
      else live.jar.set(name!, value!)
    }
    const carried = [...live.jar].filter(([name]) => /^__Host-(login|identity)/.test(name)).reduce((sum, [name, value]) => sum + name.length + value.length, 0)
    if (!live.tampered && carried > largestJar + '__Host-identity'.length) return `the browser carries ${carried} bytes of logins`

    live.kept = page.location.startsWith(`${base}/authorize?login=`)
    live.login = /[?&;]login=([\w-]{22})/.exec(page.location + page.body)?.[1] ?? live.login
    if (to.provider(page.location)) {
      const state = page.query.get('state') ?? ''
      if (new URL(page.location).pathname === '/logout') live.leaving = state
      else [live.upstream, live.idp] = [state, new URL(page.location).hostname.split('.')[0]!]
    } else {
      const code = page.fields['code'] ?? (to.registered(page.location) ? page.query.get('code') : null)
      if (code !== null && /^a-[\w-]{43}$/.test(code)) { live.codes.add(code); live.code = code }
    }
    live.posted = page.fields['posted'] ?? live.posted
    if (answer.statusCode > 201) return undefined
    if (path === '/revocation' && method === 'POST') {
      const [[, token = '', style] = [], ...more] = form.filter(([name]) => name === 'token')
      if (more.length === 0 && style !== 'twice' && String(payload).includes(`token=${token}`)) live.revoked.add(token)
    }
    const presented = `${sent['authorization']} ${payload}`
    const { body } = jsonOf(answer)
    if ((path === '/userinfo' && /json|jwt/.test(page.headers['content-type'] ?? '')) || body['active'] === true) {
      if (![...live.tokens].some(token => presented.includes(token))) return 'claims without a token that was issued'
      if ([...live.tokens].every(token => !presented.includes(token) || live.revoked.has(token))) return 'claims after the token was revoked'
    }
    live.request_uri = body['request_uri'] ?? live.request_uri
    if (path === '/token' && method === 'POST') {
      const redeemed = [...live.codes].filter(code => presented.includes(code))
      if (redeemed.length !== 1) return 'tokens without a code that was issued'
      if (live.redeemed.has(redeemed[0]!)) return 'tokens twice for one code'
      live.redeemed.add(redeemed[0]!)
      live.tokens.add(body['access_token'])
      live.access_token = body['access_token']
      live.id_token = body['id_token']
    }
    return undefined
  }
}

// ---- the tests

const schemaNames = (schema: unknown): string[] => {
  const { properties = {}, anyOf = [] } = (schema ?? {}) as { properties?: object, anyOf?: unknown[] }
  return [...Object.keys(properties), ...anyOf.flatMap(schemaNames)]
}

const behind: string[] = []
for (const event of ['unhandledRejection', 'uncaughtException', 'warning'] as const) process.on(event, (error: Error) => { behind.push(`${event}: ${error?.stack ?? error}`) })

// every route is seen as it is added, in every server that the gateway makes: the public one first, then that of the operators
const known = new Map<string, Known>()
const servers: unknown[] = []
const watch = (message: unknown) => {
  const { fastify } = message as { fastify: FastifyInstance }
  servers.push(fastify)
  fastify.addHook('onRoute', ({ method, url, schema = {} }: RouteOptions) => {
    const operations = fastify !== servers[0]
    for (const one of [method].flat()) {
      const route = { method: one, url: url.startsWith(`${base}/`) ? url.slice(base.length) : url, operations, query: schemaNames(schema.querystring), form: schemaNames(schema.body), inPath: [...url.matchAll(/:(\w+)|\*/g)].map(([whole, name]) => name ?? whole) }
      known.set(nameOf(route), route)
    }
  })
}
subscribe('fastify.initialization', watch)
const logged: string[] = []
const withKey = (name: string) => ({
  token_endpoint_auth_method: 'private_key_jwt',
  client_secrets: [],
  jwks: { keys: [{ ...ownJwk, use: 'sig' }, encryptionJwk] },
  redirect_uris: [`https://${name}.example/back`],
  post_logout_redirect_uris: [`https://${name}.example/bye`],
  scopes: ['openid', 'profile', 'birth', 'email']
})
const gateway = await testApp(t, {
  settings: { trusted_proxies: ['127.0.0.1'] },
  log: { write: line => { if (/onload=[qp]7/.test(line) || line.indexOf('\n') !== line.length - 1) logged.push(line) } },
  clients: {
    ...Object.fromEntries(['swift', 'mobile', 'clinic', 'wary'].map(name => [name, { post_logout_redirect_uris: [`https://${name}.example/bye`] }])),
    strict: { ...withKey('strict'), profile: 'fapi2', id_token_signed_response_alg: 'ES256' },
    signing: { ...withKey('signing'), require_signed_request_object: true, id_token_signed_response_alg: 'EdDSA', userinfo_signed_response_alg: 'ES256', userinfo_encrypted_response_alg: 'ECDH-ES' },
    data: { introspection: true, scopes: ['openid', 'profile'] }
  }
})
await gateway.app.ready()
unsubscribe('fastify.initialization', watch)

t.comment(`FUZZ_SEED=${seed}`)

t.test('every route has somebody who sends to it, and every parameter a value', async t => {
  t.same([...known.keys()].sort(), Object.keys(routes).sort(), 'routes')
  const names = new Set([...known.values()].flatMap(({ query, form, inPath }) => [...query, ...form, ...inPath]))
  t.same([...names].filter(name => plausible[name] === undefined), [], 'parameters')
})

t.test('an honest login goes its way: what follows starts from there', async t => {
  const tally: Tally = { requests: 0, hostile: 0, outcomes: new Map() }
  for (const [client, how, expected] of [
    ['agency', {}, '200 303 303 200 303 200 200 200 200 303 200 303 303'],
    ['swift', {}, '200 303 303 409 409 200 200 200 200 303 409 409 303'],
    ['mobile', { response_mode: 'form_post' }, '200 303 303 200 200 200 200 200 200 303 200 200 303'],
    ['town', { pushed: true, proves: true }, '400 201 303 200 303 303 200 303 200 200 200 200 201 303 303 200 303 303'],
    ['signing', {}, '200 303 303 200 303 200 200 200 200 303 200 303 303'],
    ['strict', {}, '400 201 303 200 303 303 200 303 200 200 200 200 201 303 303 200 303 303']
  ] as const) {
    const transcript = await tell(gateway, known, { client, prompt: undefined, response_mode: undefined, pushed: false, proves: false, honest: story.length, steps: [], ...how }, tally)
    t.equal(transcript.flatMap(line => /^→ (\d+)/.exec(line)?.[1] ?? []).join(' '), expected, client, { transcript: transcript.join('\n') })
  }
})

t.test('whatever is sent, at whatever moment, is answered properly', async t => {
  const tally: Tally = { requests: 0, hostile: 0, outcomes: new Map() }
  const begin = performance.now()
  const property = fc.asyncProperty(caseOf([...known.values()]), async told => { await tell(gateway, known, told, tally) })
  const { failed, counterexamplePath, errorInstance, numShrinks } = await fc.check(property, { seed, numRuns: cases, interruptAfterTimeLimit: 90_000, ...(path === undefined ? {} : { path }) })
  t.comment(`${tally.requests} requests, ${tally.hostile} of them hostile, in ${Math.round((performance.now() - begin) / 1000)} s`)
  const [what = '', ...transcript] = (errorInstance as Error | null)?.message.split('\n') ?? []
  t.notOk(failed, failed ? `${what} (FUZZ_SEED=${seed} FUZZ_PATH=${counterexamplePath}, after ${numShrinks} shrinks)` : 'nothing was found', { transcript: transcript.join('\n') })
  if (failed || path !== undefined) return
  t.ok(tally.requests >= fewest.requests && tally.hostile >= fewest.hostile, `${tally.requests} requests, ${tally.hostile} of them hostile`)
  for (const [route, { operations }] of known) {
    const outcomes = tally.outcomes.get(route) ?? new Set()
    t.ok(outcomes.has('refused') && (operations || outcomes.has('granted')), `${route} was tried both ways: ${[...outcomes].join(' ')}`)
  }
})

t.test('bytes that no client library sends get an answer too', async t => {
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = gateway.app.server.address() as AddressInfo
  const bytes = fc.oneof(hostileText.map(text => Buffer.from(text)), fc.uint8Array({ maxLength: 30 }).map(array => Buffer.from(array))).filter(buffer => buffer.length < 20_000)
  const raw = fc.record({
    method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD', 'OPTIONS', 'BREW'),
    target: fc.constantFrom('/', base, `${base}/authorize?client_id=`, `${base}/login/`, `${base}/callback/taxes?state=`, `${base}/assets/`, 'http://evil.example/', '*', `//evil.example${base}/authorize`),
    tail: bytes,
    header: fc.constantFrom('cookie', 'authorization', 'accept-language', 'x-forwarded-for', 'origin', 'host', 'if-none-match'),
    value: bytes
  })
  const result = await fc.check(fc.asyncProperty(raw, async ({ method, target, tail, header, value }) => {
    const request = Buffer.concat([`${method} ${target}`, tail, ` HTTP/1.1\r\nhost: passerelle.example\r\nconnection: close\r\n${header}: `, value, '\r\n\r\n'].map(part => typeof part === 'string' ? Buffer.from(part) : part))
    const socket = connect(port, '127.0.0.1')
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => { chunks.push(chunk) }).on('error', () => {}).setTimeout(longestWaitMs, () => socket.destroy(new Error('no answer')))
    socket.write(request)
    await once(socket, 'close')
    const answer = Buffer.concat(chunks).toString('latin1')
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1])
    if (!statuses.has(status) && status !== 431) throw new Error(`${answer.slice(0, 200) || 'no answer'}\nto ${short(request.toString('latin1'))}`)
    const headers = answer.split('\r\n\r\n')[0]!
    if (/^set-cookie: *q7|onload=q7/im.test(headers) || unescaped.test(answer)) throw new Error(`what was sent comes back: ${answer.slice(0, 400)}\nto ${short(request.toString('latin1'))}`)
  }), { seed, numRuns: 1500 })
  t.equal((result.errorInstance as Error | null)?.message, undefined)
})

t.test('nothing happened behind the requests\' backs, and the log says nothing of what was sent', async t => {
  await new Promise(resolve => setImmediate(resolve))
  t.same(behind, [])
  t.same(logged.slice(0, 3), [])
})
