import t from 'tap'
import type { Failure } from '../../src/protocol/errors.ts'
import { parametersWithin } from '../../src/protocol/request-object.ts'

const now = 1771000000
const asked = { client_id: 'town', issuer: 'https://passerelle.example', now, mustExpire: false }
const about = { client_id: 'town', aud: asked.issuer }
const refusal = (message: RegExp, failure: Failure = 'request_object_invalid') => ({ failure: new RegExp(`^${failure}$`), message })

/** The parameters within the least object that will do, changed; a claim that is undefined is not there. */
const within = (changes: Record<string, unknown> = {}, header: { typ?: unknown } = {}, mustExpire = false) =>
  parametersWithin(header, Object.fromEntries(Object.entries({ ...about, ...changes }).filter(([, value]) => value !== undefined)), { ...asked, mustExpire })

t.test('a JWT of another kind is no request object (RFC 8725 §3.11, RFC 9101 §10.8)', async t => {
  for (const typ of ['', 'dpop+jwt', 'logout+jwt', 'at+jwt', 'client-authentication+jwt', 'oauth-authz-req', 'oauth-authz-req+jwt ', 'application/', 'text/jwt', 'application/application/jwt', 'xjwt', 'jwtx', null, 1, {}]) {
    t.throws(() => within({}, { typ }), refusal(/^request: typ: /), JSON.stringify(typ))
  }
  for (const typ of [undefined, 'oauth-authz-req+jwt', 'application/oauth-authz-req+jwt', 'OAuth-Authz-Req+JWT', 'JWT', 'jwt', 'application/jwt']) t.doesNotThrow(() => within({}, { typ }), String(typ))
})

t.test('the client within is the client beside it (RFC 9101 §5, §6.3)', async t => {
  for (const client_id of [undefined, null, '', 'other', 'TOWN', ['town'], 1]) t.throws(() => within({ client_id }), refusal(/^request: client_id: /), JSON.stringify(client_id) ?? 'none')
  for (const iss of [null, '', 'other', 'TOWN', asked.issuer, ['town'], 1]) t.throws(() => within({ iss }), refusal(/^request: iss: /), JSON.stringify(iss))
  t.doesNotThrow(() => within({ iss: 'town' }))
})

t.test('an object for somebody else, or for nobody, is refused (RFC 9101 §4, OpenID Connect Core §6.1)', async t => {
  for (const aud of [undefined, null, '', [], 'https://evil.example', `${asked.issuer}/`, `${asked.issuer}/authorize`, ['https://evil.example'], [[asked.issuer, 'x']], { 0: asked.issuer }, 1]) {
    t.throws(() => within({ aud }), refusal(/^request: aud: /), JSON.stringify(aud) ?? 'none')
  }
  for (const aud of [asked.issuer, [asked.issuer], ['https://other.example', asked.issuer]]) t.doesNotThrow(() => within({ aud }), JSON.stringify(aud))
})

t.test('what proves who a client is does not pass for what it asks (RFC 9101 §10.8)', async t => {
  t.throws(() => within({ sub: 'town' }), refusal(/^request: sub: /))
  t.throws(() => within({ iss: 'town', sub: 'town', jti: 'j', exp: now + 60 }), refusal(/^request: sub: /), 'a client assertion')
})

t.test('an object that has expired, or is of the future, is refused: half a minute either way is forgiven (RFC 7519 §4.1.4, §4.1.5)', async t => {
  for (const exp of [now - 30, now - 31, 0, -1, null, false, '', 'soon', String(now + 60), {}, [now + 60]]) t.throws(() => within({ exp }), refusal(/^request: exp: expected, in the future$/), JSON.stringify(exp))
  for (const exp of [undefined, now - 29, now - 29.5, now, now + 60, now + 86400]) t.doesNotThrow(() => within({ exp }), `exp ${exp}`)
  for (const name of ['nbf', 'iat']) {
    for (const time of [now + 31, now + 30.5, now * 1000, null, 'soon', String(now), {}]) t.throws(() => within({ [name]: time }), refusal(new RegExp(`^request: ${name}: `)), `${name} ${JSON.stringify(time)}`)
    for (const time of [now + 30, now, 0]) t.doesNotThrow(() => within({ [name]: time }), `${name} ${time - now} s ahead`)
  }
})

t.test('an object of a client that has to sign them ends, and within an hour (RFC 9101 §10.2)', async t => {
  t.throws(() => within({}, {}, true), refusal(/^request: exp: expected, in the future$/))
  for (const exp of [null, now - 30, String(now + 60)]) t.throws(() => within({ exp }, {}, true), refusal(/^request: exp: expected, in the future$/), JSON.stringify(exp))
  for (const exp of [now + 3631, now + 86400, Infinity]) t.throws(() => within({ exp }, {}, true), refusal(/^request: exp: expected at most 3600 seconds ahead$/), `exp ${exp}`)
  for (const exp of [now - 29, now + 60, now + 3630]) t.doesNotThrow(() => within({ exp }, {}, true), `exp ${exp - now} s ahead`)
})

t.test('no object stands within another, nor an address of one (RFC 9101 §4)', async t => {
  for (const name of ['request', 'request_uri']) for (const value of ['e30.e30.', '', null, 1]) t.throws(() => within({ [name]: value }), refusal(/^request: request and request_uri: /), `${name} ${JSON.stringify(value)}`)
})

t.test('every member but those of the JWT itself is a parameter', async t => {
  t.strictSame(within(), { client_id: 'town' })
  t.strictSame(within({
    iss: 'town', sub: 'somebody', exp: now + 60, nbf: now, iat: now, jti: 'j', redirect_uri: 'https://town.example/back', scope: 'openid', state: 's', unheard_of: 'u'
  }), { client_id: 'town', redirect_uri: 'https://town.example/back', scope: 'openid', state: 's', unheard_of: 'u' })
  t.strictSame(Object.keys(parametersWithin({}, JSON.parse(`{"client_id":"town","aud":"${asked.issuer}","__proto__":{"scope":"openid email"}}`), asked)).sort(), ['__proto__', 'client_id'], 'a member of any name is a member of that name')
  t.equal((within({ ...JSON.parse('{"__proto__":{"scope":"openid email"}}') }) as { scope?: string }).scope, undefined)
})

t.test('claims may be an object there and max_age a number (OpenID Connect Core §6.1); what else is no text is left for the shape to refuse', async t => {
  const claims = { userinfo: { email: null }, id_token: { acr: { values: ['eidas2'] } } }
  const table: Array<[name: string, value: unknown, parameter: unknown]> = [
    ['claims', claims, JSON.stringify(claims)],
    ['claims', '{"userinfo":{}}', '{"userinfo":{}}'],
    ['claims', [1], '[1]'],
    ['claims', null, 'null'],
    ['claims', 1, 1],
    ['max_age', 0, '0'],
    ['max_age', 3600, '3600'],
    ['max_age', '3600', '3600'],
    ['max_age', -1.5, '-1.5'],
    ['max_age', [3600], [3600]],
    ['max_age', true, true],
    ['state', 7, 7],
    ['nonce', { a: 1 }, { a: 1 }],
    ['scope', ['openid'], ['openid']]
  ]
  for (const [name, value, parameter] of table) t.strictSame(within({ [name]: value }), { client_id: 'town', [name]: parameter }, `${name} ${JSON.stringify(value)}`)
})
