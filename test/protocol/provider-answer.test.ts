import { generateKeyPairSync, randomInt } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { OAuthError, type Failure } from '../../src/protocol/errors.ts'
import { checkEncryption, checkHeader, checkUserinfo, isEncrypted, readIdToken, readKeySet, readMetadata, readObject, type Expected } from '../../src/protocol/provider-answer.ts'

type Members = Record<string, unknown>

const now = 1771000000
const tolerance = 60                                                   // seconds by which a provider's clock may differ
const issuer = 'https://impots.example'
const client_id = 'passerelle'
const refusal = (failure: Failure, message?: RegExp) => ({ name: 'OAuthError', failure: new RegExp(`^${failure}$`), ...(message === undefined ? {} : { message }) })

/** What came of it: the failure's name, or the value; anything else that is thrown is a fault of ours. */
function outcomeOf (read: () => unknown): unknown {
  try { return read() } catch (error) {
    if (error instanceof OAuthError) return error.failure
    throw error
  }
}

const part = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const jwt = (header: unknown, claims: unknown = { sub: 's' }, signature = 'c2ln') => `${part(header)}.${part(claims)}.${signature}`

// ---- JSON

t.test('what is no JSON object is refused, and nothing of it is told', async t => {
  const table: Array<[what: string, text: string]> = [
    ['nothing', ''],
    ['a space', ' '],
    ['a page', '<!doctype html><title>Error</title>'],
    ['a form', 'access_token=a&id_token=b'],
    ['an object that does not end', '{"sub":"s"'],
    ['a text that does not end', '{"sub":"s'],
    ['two objects', '{"sub":"s"}{"sub":"s"}'],
    ['what follows an object', '{"sub":"s"} x'],
    ['a byte order mark', '\uFEFF{"sub":"s"}'],
    ['NUL', '\u0000{"sub":"s"}'],
    ['a comment', '{/* */"sub":"s"}'],
    ['a comma too many', '{"sub":"s",}'],
    ['a name without quotes', '{sub:"s"}'],
    ['other quotes', "{'sub':'s'}"],
    ['a name without a value', '{"sub"}'],
    ['NaN', '{"exp":NaN}'],
    ['a number with a zero before it', '{"exp":01}'],
    ['a raw line break in a text', '{"sub":"a\nb"}'],
    ['a backslash before a line break', '{"sub":"a\\\nb"}'],
    ['an escape that is none', '{"sub":"\\x41"}'],
    ['a callback', 'f({"sub":"s"})'],
    ['a guard against scripts', ")]}',\n{\"sub\":\"s\"}"]
  ]
  for (const [what, text] of table) t.throws(() => readObject(text, 'userinfo'), { ...refusal('provider_answer_unreadable', /^userinfo: expected JSON$/), cause: undefined }, what)
  for (const text of ['null', 'true', '1', '"{}"', '[]', '[{"sub":"s"}]']) t.throws(() => readObject(text, 'userinfo'), { ...refusal('provider_answer_unreadable', /^userinfo: expected a JSON object$/), cause: undefined }, text)
})

t.test('a member that is named twice is refused wherever it stands and however it is spelled (RFC 8259 §4)', async t => {
  const table: Array<[what: string, text: string]> = [
    ['at once', '{"sub":"a","sub":"b"}'],
    ['with the same value', '{"sub":"a","sub":"a"}'],
    ['far apart', '{"sub":"a","x":{"sub":"b"},"y":[1,2],"sub":"c"}'],
    ['three times', '{"a":1,"a":2,"a":3}'],
    ['in an object within', '{"a":{"b":1,"b":2}}'],
    ['in a list', '{"a":[{"b":1,"b":2}]}'],
    ['in lists within lists', '{"a":[[],[[{"b":1},{"b":1,"b":2}]]]}'],
    ['beside spaces and line breaks', '{ "a" : 1 ,\r\n\t"a"\n:\n2 }'],
    ['an escaped letter', '{"sub":"a","\\u0073ub":"b"}'],
    ['escaped in two ways', '{"\\u0061":1,"\\u0061":2}'],
    ['an escape with capitals', '{"\\u004a":1,"\\u004A":2}'],
    ['a slash that need not be escaped', '{"/":1,"\\/":2}'],
    ['a letter with an accent', '{"é":1,"\\u00e9":2}'],
    ['a letter of two units', '{"😀":1,"\\ud83d\\ude00":2}'],
    ['half a letter', '{"\\ud800":1,"\\ud800":2}'],
    ['no letter', '{"":1,"":2}'],
    ['a colon', '{"a:b":1,"a:b":2}'],
    ['a quote', '{"a\\"b":1,"a\\"b":2}'],
    ['a quote and a colon', '{"\\":":1,"\\":":2}'],
    ['a backslash', '{"\\\\":1,"\\\\":2}'],
    ['a number', '{"1":1,"1":2}'],
    ['__proto__', '{"__proto__":1,"__proto__":2}'],
    ['in __proto__', '{"__proto__":{"a":1,"a":2}}'],
    ['constructor', '{"constructor":1,"constructor":2}'],
    ['an object, then one of as many members', '{"a":{"b":1,"c":2},"a":{"d":1,"e":2}}'],
    ['an object, then none', '{"a":{"b":1,"c":2},"a":1}'],
    ['none, then an object', '{"a":1,"a":{"b":1,"c":2}}'],
    ['an object with members, then an empty one', '{"a":{"b":1},"a":{}}'],
    ['null twice', '{"a":null,"a":null}'],
    ['a text with colons, then another', '{"a":"::","a":":"}']
  ]
  for (const [what, text] of table) t.throws(() => readObject(text, 'token'), refusal('provider_answer_ambiguous', /^token: a member is named twice$/), what)
})

t.test('an object is read as it stands, whatever its names and texts look like', async t => {
  const table: Array<[what: string, text: string]> = [
    ['an empty one', '{}'],
    ['spaces around', ' \r\n\t{} \n'],
    ['colons in a text', '{"a":"b:c::d"}'],
    ['what looks like a member in a text', '{"a":"\\"b\\":1,\\"b\\":2"}'],
    ['what looks like an object in a text', '{"a":"{\\"a\\":{\\"a\\":1}}"}'],
    ['a text that ends with a backslash', '{"a":"\\\\","b":":"}'],
    ['backslashes and quotes', '{"a":"\\\\\\"","b":"\\\\\\\\","c":"\\""}'],
    ['an escaped quote and colon', '{"a":"\\u0022:\\u0022\\u003a"}'],
    ['colons in a name', '{"a:b":1,":":2,"a":3}'],
    ['a name with a quote', '{"\\"":1,"\\":\\"":2}'],
    ['one name on several floors', '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}'],
    ['names that differ in case', '{"sub":1,"Sub":2,"SUB":3}'],
    ['names that differ in their Unicode form', '{"\\u00e9":1,"e\\u0301":2}'],
    ['halves of letters', '{"\\ud800":1,"\\ud801":2,"a":"\\udfff"}'],
    ['separators of lines', '{"a":"\u2028:\u2029:"}'],
    ['a byte order mark within', '{"\uFEFFa":1,"a":2}'],
    ['no text, no list, no object', '{"a":"","b":[],"c":{},"d":null,"e":false,"f":0}'],
    ['what is too large or too small a number', '{"a":1e400,"b":-1e400,"c":1e-400,"d":-0}'],
    ['names that every object knows', '{"constructor":1,"toString":2,"hasOwnProperty":3,"valueOf":4,"isPrototypeOf":5}'],
    ['numbers as names', '{"10":1,"9":2,"-1":3,"1e1":4}']
  ]
  for (const [what, text] of table) t.strictSame(readObject(text, 'token'), JSON.parse(text), what)
  t.equal(readObject('{"a":1e400}', 'token')['a'], Infinity)
})

t.test('a member __proto__ is a member like any other, and lends nothing', async t => {
  const read = readObject('{"__proto__":{"sub":"x","toString":null}}', 'token')
  t.equal(Object.hasOwn(read, '__proto__'), true)
  t.equal(read['sub'], undefined)
  t.equal(({} as Members)['sub'], undefined)
})

t.test('what is nested deeper than anybody needs is refused, and never a failure of ours', async t => {
  const deep = (floors: number, inner: string) => [`{"a":${'['.repeat(floors)}${inner}${']'.repeat(floors)}}`, `${'{"a":'.repeat(floors + 1)}${inner}${'}'.repeat(floors + 1)}`]
  for (const floors of [33, 1000, 5000, 20_000, 100_000]) for (const text of deep(floors, '1')) t.equal(outcomeOf(() => readObject(text, 'token')), 'provider_answer_unreadable', `${floors} floors`)
  for (const text of deep(32, '1')) t.strictSame(readObject(text, 'token'), JSON.parse(text), '32 floors')
  for (const text of deep(31, '{"b":1,"b":2}')) t.equal(outcomeOf(() => readObject(text, 'token')), 'provider_answer_ambiguous', 'ambiguous at the 32nd')
})

t.test('the largest answer that is let in is read, whatever it is made of', async t => {
  const most = 256 * 1024
  const table: Array<[what: string, value: Members]> = [
    ['one long text', { a: 'x'.repeat(most) }],
    ['escaped backslashes', { a: '\\'.repeat(most / 2) }],
    ['escaped quotes', { a: '"'.repeat(most / 2) }],
    ['escaped quotes and colons', { a: '":'.repeat(most / 3) }],
    ['many texts', { a: Array<string>(Math.floor(most / 3)).fill('') }],
    ['many members', Object.fromEntries(Array.from({ length: most / 10 }, (_, i) => [String(i), 1]))],
    ['many objects', { a: Array<object>(most / 8).fill({ b: 1 }) }],
    ['a long name', { ['n:'.repeat(most / 2)]: 1 }]
  ]
  for (const [what, value] of table) t.equal(JSON.stringify(readObject(JSON.stringify(value), 'token')) === JSON.stringify(value), true, what)
})

t.test('whatever object it is, it is read as JSON has it, and refused once any one of its members is said again', async t => {
  const seed = randomInt(2 ** 31)
  t.comment(`seed ${seed}`)
  const texts = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('"', '\\', ':', '{', '}', ',', '[', 'a', '\ud800', '\u2028', '/') }))
  const anyObject = fc.dictionary(texts, fc.oneof(texts, fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' })), { maxKeys: 5 })
  const same = (text: string) => isDeepStrictEqual(readObject(text, 'token'), JSON.parse(text))
  t.doesNotThrow(() => fc.assert(fc.property(anyObject, fc.nat(2), (value, indent) => same(JSON.stringify(value, null, indent))), { seed, numRuns: 300 }))
  t.doesNotThrow(() => fc.assert(fc.property(anyObject, fc.nat(4), (value, nth) => {
    const text = doubled(value, nth)
    fc.pre(text !== JSON.stringify(value))
    return outcomeOf(() => readObject(text, 'token')) === 'provider_answer_ambiguous'
  }), { seed, numRuns: 300 }))

  /** As JSON, but the so-manieth of its objects that have members says the first of them again. */
  function doubled (value: unknown, nth: number): string {
    let left = nth
    const written = (inner: unknown): string => {
      if (typeof inner !== 'object' || inner === null) return JSON.stringify(inner)
      if (Array.isArray(inner)) return `[${inner.map(written).join()}]`
      const names = Object.keys(inner).map(name => JSON.stringify(name))
      const members = Object.values(inner).map((member, i) => `${names[i]}:${written(member)}`)
      return `{${members.concat(names.length > 0 && left-- === 0 ? `${names[0]}:0` : []).join()}}`
    }
    return written(value)
  }
})

// ---- the header of a signed JWT

t.test('a token that is no signed JWT by the algorithm that was registered is refused by what is wrong with it', async t => {
  const rs = { alg: 'RS256', kid: 'one' }
  const table: Array<[what: string, token: string, failure: Failure]> = [
    ['nothing', '', 'provider_token_malformed'],
    ['an opaque token', 'dG9rZW4', 'provider_token_malformed'],
    ['two parts', `${part(rs)}.${part({})}`, 'provider_token_malformed'],
    ['four parts', `${jwt(rs)}.`, 'provider_token_malformed'],
    ['an encrypted one', `${jwt(rs)}.a.b`, 'provider_token_malformed'],
    ['dots only', '..', 'provider_token_malformed'],
    ['a header that is no JSON', `${part('RS256')}.${part({})}.c2ln`, 'provider_token_malformed'],
    ['a header that is a list', jwt([rs]), 'provider_token_malformed'],
    ['a header that is null', jwt('null'), 'provider_token_malformed'],
    ['a header nested deeper than anybody reads', jwt(`{"alg":"RS256","a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`), 'provider_token_malformed'],
    ['a header of bytes that are no text', `${Buffer.from('7bff7d', 'hex').toString('base64url')}.e30.c2ln`, 'provider_token_malformed'],
    ['a header of JSON, not in base64url', '{"alg":"RS256"}.e30.c2ln', 'provider_token_malformed'],
    ['a header with padding', `${part(rs)}=.e30.c2ln`, 'provider_token_malformed'],
    ['base64 for base64url', `${part(rs)}.e+0/.c2ln`, 'provider_token_malformed'],
    ['a line break', `${jwt(rs)}\n`, 'provider_token_malformed'],
    ['a space', ` ${jwt(rs)}`, 'provider_token_malformed'],
    ['a letter of another alphabet', `${jwt(rs)}é`, 'provider_token_malformed'],
    ['a header that names alg twice', jwt('{"alg":"RS256","alg":"none"}'), 'provider_answer_ambiguous'],
    ['a header that names alg twice, once escaped', jwt('{"alg":"RS256","\\u0061lg":"RS256"}'), 'provider_answer_ambiguous'],
    ['no alg', jwt({ kid: 'one' }), 'provider_token_malformed'],
    ['an alg lent by __proto__', jwt('{"__proto__":{"alg":"RS256"}}'), 'provider_token_malformed'],
    ['an alg that is a number', jwt({ alg: 256 }), 'provider_token_malformed'],
    ['an alg that is null', jwt({ alg: null }), 'provider_token_malformed'],
    ['an alg that is a list', jwt({ alg: ['RS256'] }), 'provider_token_malformed'],
    ['none', jwt({ alg: 'none' }), 'provider_signature_missing'],
    ['none, without a signature', jwt({ alg: 'none' }, {}, ''), 'provider_signature_missing'],
    ['None', jwt({ alg: 'None' }), 'provider_signature_missing'],
    ['nOnE', jwt({ alg: 'nOnE' }), 'provider_signature_missing'],
    ['no signature', jwt(rs, {}, ''), 'provider_signature_missing'],
    ['no signature of another algorithm', jwt({ alg: 'HS256' }, {}, ''), 'provider_signature_missing'],
    ['HS256', jwt({ alg: 'HS256' }), 'provider_algorithm_wrong'],
    ['RS512', jwt({ alg: 'RS512' }), 'provider_algorithm_wrong'],
    ['PS256', jwt({ alg: 'PS256' }), 'provider_algorithm_wrong'],
    ['rs256', jwt({ alg: 'rs256' }), 'provider_algorithm_wrong'],
    ['RS256 with a space', jwt({ alg: 'RS256 ' }), 'provider_algorithm_wrong'],
    ['an empty alg', jwt({ alg: '' }), 'provider_algorithm_wrong'],
    ['constructor', jwt({ alg: 'constructor' }), 'provider_algorithm_wrong'],
    ['a key of its own', jwt({ ...rs, jwk: { kty: 'RSA', n: 'x', e: 'AQAB' } }), 'provider_key_embedded'],
    ['a key that is null', jwt({ ...rs, jwk: null }), 'provider_key_embedded'],
    ['an address of keys', jwt({ ...rs, jku: 'https://evil.example/jwks' }), 'provider_key_embedded'],
    ['an address of a certificate', jwt({ ...rs, x5u: 'https://evil.example/cert' }), 'provider_key_embedded'],
    ['an extension', jwt({ ...rs, crit: ['b64'], b64: false }), 'provider_extension_unknown'],
    ['a list of no extensions', jwt({ ...rs, crit: [] }), 'provider_extension_unknown'],
    ['an extension that is nothing', jwt({ ...rs, crit: null }), 'provider_extension_unknown']
  ]
  for (const [what, token, failure] of table) t.equal(outcomeOf(() => checkHeader(token, ['RS256'], 'id_token')), failure, what)
  t.throws(() => checkHeader(jwt({ alg: 'HS256' }), ['EdDSA', 'Ed25519'], 'userinfo'), refusal('provider_algorithm_wrong', /^userinfo: alg: expected EdDSA$/), 'it says what was expected, of which token')
})

t.test('a header by the registered algorithm is given back, whatever else stands there', async t => {
  for (const [header, algorithms] of [[{ alg: 'RS256' }, ['RS256']], [{ alg: 'Ed25519' }, ['EdDSA', 'Ed25519']], [{ alg: 'ES256', kid: 'a', typ: 'JWT', x5t: 'b', 'jwk ': 1 }, ['ES256']]] as const) {
    t.strictSame(checkHeader(jwt(header), algorithms, 'id_token'), header)
  }
})

t.test('five parts are an encrypted JWT, no other number is (RFC 7516 §9)', async t => {
  for (const [token, encrypted] of [['', false], ['a', false], ['a.b.c', false], ['a.b.c.d', false], ['a.b.c.d.e', true], ['....', true], ['a.b.c.d.e.f', false]] as const) t.equal(isEncrypted(token), encrypted, token)
})

// ---- the ID Token

const own = 'own.nonce'
const expected: Expected = { issuer, client_id, nonce: 'asked.nonce', isOwnNonce: nonce => nonce.startsWith('own.'), algorithms: ['RS256'], now }
const claims = { iss: issuer, sub: 'Wilhelmina', aud: client_id, exp: now + 300, iat: now, nonce: 'asked.nonce' }
/** An ID Token that is right but for some claims; `undefined` takes one away. */
const idToken = (changes: object = {}) => jwt({ alg: 'RS256', kid: 'one' }, { ...claims, ...changes })

t.test('an ID Token that is not what it has to be is refused by the name of what is wrong (OpenID Connect Core §3.1.3.7)', async t => {
  const table: Array<[changes: object, failure: Failure]> = [
    [{ iss: undefined }, 'provider_token_malformed'],
    [{ iss: null }, 'provider_token_malformed'],
    [{ iss: [issuer] }, 'provider_token_malformed'],
    [{ iss: '' }, 'provider_issuer_wrong'],
    [{ iss: `${issuer}/` }, 'provider_issuer_wrong'],
    [{ iss: 'https://IMPOTS.example' }, 'provider_issuer_wrong'],
    [{ iss: 'http://impots.example' }, 'provider_issuer_wrong'],
    [{ iss: 'https://ameli.example' }, 'provider_issuer_wrong'],

    [{ sub: undefined }, 'provider_subject_malformed'],
    [{ sub: null }, 'provider_subject_malformed'],
    [{ sub: '' }, 'provider_subject_malformed'],
    [{ sub: 42 }, 'provider_subject_malformed'],
    [{ sub: ['s'] }, 'provider_subject_malformed'],
    [{ sub: { s: 1 } }, 'provider_subject_malformed'],
    [{ sub: 'x'.repeat(256) }, 'provider_subject_malformed'],

    [{ aud: undefined }, 'provider_token_malformed'],
    [{ aud: null }, 'provider_token_malformed'],
    [{ aud: 1 }, 'provider_token_malformed'],
    [{ aud: { 0: client_id, length: 1 } }, 'provider_token_malformed'],
    [{ aud: '' }, 'provider_audience_wrong'],
    [{ aud: [] }, 'provider_audience_wrong'],
    [{ aud: 'another' }, 'provider_audience_wrong'],
    [{ aud: 'Passerelle' }, 'provider_audience_wrong'],
    [{ aud: `${client_id} another` }, 'provider_audience_wrong'],
    [{ aud: ['another', 'third'] }, 'provider_audience_wrong'],
    [{ aud: [[client_id]] }, 'provider_audience_wrong'],
    [{ aud: ['another'], azp: client_id }, 'provider_audience_wrong'],

    [{ aud: [client_id, 'another'] }, 'provider_authorized_party_wrong'],
    [{ aud: [client_id, 'another'], azp: 'another' }, 'provider_authorized_party_wrong'],
    [{ azp: 'another' }, 'provider_authorized_party_wrong'],
    [{ azp: '' }, 'provider_authorized_party_wrong'],
    [{ azp: null }, 'provider_authorized_party_wrong'],
    [{ azp: [client_id] }, 'provider_authorized_party_wrong'],

    [{ nonce: undefined }, 'provider_nonce_wrong'],
    [{ nonce: null }, 'provider_nonce_wrong'],
    [{ nonce: '' }, 'provider_nonce_wrong'],
    [{ nonce: 'Asked.nonce' }, 'provider_nonce_wrong'],
    [{ nonce: ['asked.nonce'] }, 'provider_nonce_wrong'],
    [{ nonce: [own] }, 'provider_nonce_wrong'],
    [{ nonce: own }, 'code_of_another_login']
  ]
  for (const [changes, failure] of table) t.equal(outcomeOf(() => readIdToken(idToken(changes), expected)), failure, JSON.stringify(changes).slice(0, 80) + Object.keys(changes))
})

t.test('an ID Token that has ended, or of a time to come, is refused one minute beyond, and not within (OpenID Connect Core §2)', async t => {
  const table: Array<[changes: object, outcome: Failure | 'read']> = [
    [{ exp: now - tolerance - 1 }, 'provider_token_expired'],
    [{ exp: now - tolerance }, 'provider_token_expired'],
    [{ exp: now - tolerance + 0.001 }, 'read'],
    [{ exp: now - tolerance + 1 }, 'read'],
    [{ exp: now }, 'read'],
    [{ exp: 0 }, 'provider_token_expired'],
    [{ exp: -1 }, 'provider_token_expired'],
    [{ exp: now * 1000 }, 'read'],

    [{ iat: now + tolerance }, 'read'],
    [{ iat: now + tolerance + 0.001 }, 'provider_token_premature'],
    [{ iat: now + tolerance + 1 }, 'provider_token_premature'],
    [{ iat: now * 1000 }, 'provider_token_premature'],
    [{ iat: now - 86400 * 365 }, 'read'],
    [{ iat: 0 }, 'read'],

    [{ nbf: now + tolerance }, 'read'],
    [{ nbf: now + tolerance + 0.001 }, 'provider_token_premature'],
    [{ nbf: now + tolerance + 1 }, 'provider_token_premature'],
    [{ nbf: 0, iat: now + tolerance + 1 }, 'provider_token_premature'],
    [{ nbf: now + tolerance + 1, iat: now }, 'provider_token_premature'],
    [{ nbf: now - 10 }, 'read'],
    [{ auth_time: now + tolerance }, 'read'],
    [{ auth_time: now + tolerance + 0.001 }, 'provider_token_premature'],
    [{ auth_time: now * 1000 }, 'provider_token_premature'],
    [{ auth_time: 0 }, 'read'],
    [{ exp: now - tolerance, iat: now + tolerance + 1 }, 'provider_token_expired']
  ]
  for (const [changes, outcome] of table) t.equal(outcomeOf(() => readIdToken(idToken(changes), expected) && 'read'), outcome, JSON.stringify(changes))
})

t.test('a time that is none is no time (RFC 7519 §2)', async t => {
  for (const name of ['exp', 'iat', 'nbf', 'auth_time']) {
    for (const time of [null, '', String(now + 300), true, [now + 300], {}, { valueOf: now }]) t.equal(outcomeOf(() => readIdToken(idToken({ [name]: time }), expected)), 'provider_token_malformed', `${name} ${JSON.stringify(time)}`)
    for (const time of ['1e400', '-1e400']) {
      const spelled = JSON.stringify({ ...claims, [name]: 0 }).replace(new RegExp(`"${name}":0`), `"${name}":${time}`)
      t.equal(outcomeOf(() => readIdToken(jwt({ alg: 'RS256' }, spelled), expected)), 'provider_token_malformed', `${name} ${time}`)
    }
  }
  for (const name of ['exp', 'iat']) t.equal(outcomeOf(() => readIdToken(idToken({ [name]: undefined }), expected)), 'provider_token_malformed', `no ${name}`)
  for (const name of ['nbf', 'auth_time']) t.ok(readIdToken(idToken({ [name]: undefined }), expected), `${name} may be missing`)
})

t.test('what is no ID Token at all, or one that reads two ways, is refused before any of its claims is believed', async t => {
  const twice = (name: string, value: unknown) => `{${JSON.stringify(name)}:${JSON.stringify(value)},${JSON.stringify(claims).slice(1)}`
  const table: Array<[what: string, token: unknown, failure: Failure]> = [
    ['none', undefined, 'provider_token_malformed'],
    ['null', null, 'provider_token_malformed'],
    ['an empty one', '', 'provider_token_malformed'],
    ['a number', 42, 'provider_token_malformed'],
    ['an object', { token: idToken() }, 'provider_token_malformed'],
    ['a list', [idToken()], 'provider_token_malformed'],
    ['claims that are no JSON', jwt({ alg: 'RS256' }, 'claims'), 'provider_token_malformed'],
    ['claims that are nothing', `${part({ alg: 'RS256' })}..c2ln`, 'provider_token_malformed'],
    ['claims that are a list', jwt({ alg: 'RS256' }, [claims]), 'provider_token_malformed'],
    ['claims nested deeper than anybody reads', jwt({ alg: 'RS256' }, `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)},${JSON.stringify(claims).slice(1)}`), 'provider_token_malformed'],
    ['two subs', jwt({ alg: 'RS256' }, twice('sub', 'other')), 'provider_answer_ambiguous'],
    ['two nonces', jwt({ alg: 'RS256' }, twice('nonce', 'other')), 'provider_answer_ambiguous'],
    ['two of the same', jwt({ alg: 'RS256' }, twice('acr', 'eidas1').replace('{', '{"acr":"eidas1",')), 'provider_answer_ambiguous'],
    ['by another algorithm', jwt({ alg: 'ES256' }, claims), 'provider_algorithm_wrong'],
    ['not signed', jwt({ alg: 'RS256' }, claims, ''), 'provider_signature_missing'],
    ['by a key that it brings', jwt({ alg: 'RS256', jwk: {} }, claims), 'provider_key_embedded'],
    ['with an extension', jwt({ alg: 'RS256', crit: ['x'], x: 1 }, claims), 'provider_extension_unknown'],
    ['with claims lent by __proto__', jwt({ alg: 'RS256' }, `{"__proto__":${JSON.stringify(claims)}}`), 'provider_token_malformed']
  ]
  for (const [what, token, failure] of table) t.equal(outcomeOf(() => readIdToken(token, expected)), failure, what)
})

t.test('an ID Token that is what it has to be is read, all of it', async t => {
  const table: object[] = [
    {},
    { sub: 'x' },
    { sub: 'x'.repeat(255) },
    { aud: [client_id] },
    { aud: [client_id, 'another'], azp: client_id },
    { azp: client_id },
    { nbf: now },
    { acr: 'eidas2', amr: ['pwd'], auth_time: now - 5, given_name: 'Angélique', address: { country: 'FR' } }
  ]
  for (const changes of table) t.strictSame(readIdToken(idToken(changes), expected), { ...claims, ...changes })
})

t.test('a refusal says what was wrong', async t => {
  const table: Array<[token: unknown, message: RegExp]> = [
    ['', /^id_token: expected$/],
    [undefined, /^id_token: expected$/],
    ['a.b', /^id_token: expected a signed JWT$/],
    [idToken({ nonce: own }), /^id_token: nonce: of another login$/],
    [idToken({ nonce: 'other' }), /^id_token: nonce: not what we asked with$/],
    [idToken({ exp: 0 }), /^id_token: exp: in the past$/]
  ]
  for (const [token, message] of table) t.throws(() => readIdToken(token, expected), { name: 'OAuthError', message })
})

t.test('no refusal tells what stood in the token', async t => {
  const table: object[] = [{ iss: 'https://evil.example/Wilhelmina' }, { sub: 42 }, { aud: 'Wilhelmina' }, { azp: 'Wilhelmina' }, { nonce: 'Wilhelmina' }, { nonce: own }, { exp: 0 }, { exp: 'Wilhelmina' }, { iat: now * 1000 }, { nbf: 'Wilhelmina' }]
  for (const changes of table) t.throws(() => readIdToken(idToken(changes), expected), { message: /^(?!.*(Wilhelmina|asked\.nonce|own\.nonce|evil|42|1771))id_token: [a-z]+/, cause: undefined }, JSON.stringify(changes))
})

// ---- userinfo

t.test('userinfo of another citizen, or a JWT of another provider or for others, is refused (OpenID Connect Core §5.3.2, §5.3.4)', async t => {
  const table: Array<[userinfo: Members, isJwt: boolean, outcome: Failure | undefined]> = [
    [{}, false, 'provider_subject_malformed'],
    [{ sub: null }, false, 'provider_subject_malformed'],
    [{ sub: 's'.repeat(256) }, false, 'provider_subject_malformed'],
    [{ sub: '' }, false, 'provider_subject_malformed'],
    [{ sub: ['s'] }, false, 'provider_subject_malformed'],
    [{ sub: 'S' }, false, 'provider_subject_differs'],
    [{ sub: 's ' }, false, 'provider_subject_differs'],
    [{ sub: 'other', iss: issuer, aud: client_id }, true, 'provider_subject_differs'],
    [{ sub: 's', iss: 'https://ameli.example' }, true, 'provider_issuer_wrong'],
    [{ sub: 's', iss: null }, true, 'provider_issuer_wrong'],
    [{ sub: 's', iss: [issuer] }, true, 'provider_issuer_wrong'],
    [{ sub: 's', iss: issuer, aud: 'another' }, true, 'provider_audience_wrong'],
    [{ sub: 's', aud: null }, true, 'provider_audience_wrong'],
    [{ sub: 's', aud: [] }, true, 'provider_audience_wrong'],
    [{ sub: 's', aud: ['another', 'third'] }, true, 'provider_audience_wrong'],
    [{ sub: 's', aud: [[client_id]] }, true, 'provider_audience_wrong'],
    [{ sub: 's', aud: { [client_id]: true } }, true, 'provider_audience_wrong'],
    [{ sub: 's' }, true, undefined],
    [{ sub: 's', iss: issuer, aud: client_id }, true, undefined],
    [{ sub: 's', aud: ['another', client_id] }, true, undefined],
    [{ sub: 's' }, false, undefined],
    [{ sub: 's', iss: 'https://ameli.example', aud: 'another' }, false, undefined]    // plain JSON comes from where we asked, and has no claims of a JWT
  ]
  for (const [userinfo, isJwt, outcome] of table) t.equal(outcomeOf(() => checkUserinfo(userinfo, { issuer, client_id, sub: 's', isJwt })), outcome, JSON.stringify(userinfo).slice(0, 80))
})

// ---- encryption

t.test('a JWE that is not encrypted as was registered, is compressed or extended is refused (RFC 8725 §3.1, §3.6)', async t => {
  const registered = { alg: 'RSA-OAEP-256', enc: 'A256GCM' }
  const jwe = (header: unknown) => `${part(header)}.a.b.c.d`
  const table: Array<[header: unknown, failure: Failure]> = [
    ['no JSON', 'provider_token_malformed'],
    [[registered], 'provider_token_malformed'],
    ['', 'provider_token_malformed'],
    ['{"alg":"RSA-OAEP-256","enc":"A256GCM","alg":"dir"}', 'provider_answer_ambiguous'],
    [{}, 'provider_encryption_wrong'],
    [{ enc: 'A256GCM' }, 'provider_encryption_wrong'],
    [{ alg: 'RSA-OAEP-256' }, 'provider_encryption_wrong'],
    [{ ...registered, alg: 'RSA1_5' }, 'provider_encryption_wrong'],
    [{ ...registered, alg: 'RSA-OAEP' }, 'provider_encryption_wrong'],
    [{ ...registered, alg: 'rsa-oaep-256' }, 'provider_encryption_wrong'],
    [{ ...registered, alg: 'dir' }, 'provider_encryption_wrong'],
    [{ ...registered, alg: ['RSA-OAEP-256'] }, 'provider_encryption_wrong'],
    [{ ...registered, alg: 'PBES2-HS256+A128KW', p2c: 1e9 }, 'provider_encryption_wrong'],
    [{ ...registered, enc: 'A128GCM' }, 'provider_encryption_wrong'],
    [{ ...registered, enc: 'A256CBC-HS512' }, 'provider_encryption_wrong'],
    [{ ...registered, zip: 'DEF' }, 'provider_answer_compressed'],
    [{ ...registered, zip: null }, 'provider_answer_compressed'],
    [{ ...registered, crit: ['x'], x: 1 }, 'provider_extension_unknown'],
    [{ ...registered, crit: [] }, 'provider_extension_unknown']
  ]
  for (const [header, failure] of table) t.equal(outcomeOf(() => checkEncryption(jwe(header), registered, 'id_token')), failure, JSON.stringify(header))
  t.equal(outcomeOf(() => checkEncryption('', registered, 'id_token')), 'provider_token_malformed')
  t.throws(() => checkEncryption(jwe({}), registered, 'userinfo'), refusal('provider_encryption_wrong', /^userinfo: expected RSA-OAEP-256 and A256GCM$/))
})

t.test('a JWE as was registered tells the key that it was encrypted for, where it names one', async t => {
  const registered = { alg: 'ECDH-ES', enc: 'A128GCM' }
  const kidOf = (more: object) => checkEncryption(`${part({ ...registered, ...more })}.a.b.c.d`, registered, 'id_token')
  t.strictSame(kidOf({ kid: 'one', epk: {}, cty: 'JWT' }), { kid: 'one' })
  for (const kid of [undefined, null, 1, ['one'], {}]) t.strictSame(kidOf({ kid }), {}, JSON.stringify(kid))
})

// ---- metadata

const metadata = { issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: 'https://keys.example/jwks?v=1' }

t.test('metadata of another issuer is refused (OpenID Connect Discovery §4.3)', async t => {
  for (const wrong of [undefined, null, '', `${issuer}/`, 'https://IMPOTS.example', 'http://impots.example', [issuer], 'https://ameli.example']) {
    t.throws(() => readMetadata({ ...metadata, issuer: wrong }, issuer), refusal('provider_metadata_issuer_wrong'), JSON.stringify(wrong ?? null))
  }
  t.throws(() => readMetadata({ issuer: 'https://ameli.example' }, issuer), refusal('provider_metadata_issuer_wrong'), 'before anything else is looked at')
})

t.test('metadata without an endpoint that we need, or with one that is no address over https, is refused by its name', async t => {
  const needed = ['authorization_endpoint', 'token_endpoint', 'jwks_uri']
  const wrong = [null, '', 1, [`${issuer}/x`], {}, '/relative', 'impots.example/x', 'http://impots.example/x', 'HTTP://impots.example/x', '//impots.example/x', 'ftp://impots.example/x', 'file:///etc/passwd', 'data:application/json,{}', 'javascript:alert(1)', 'https://', 'https://[::1', 'https//x']
  for (const name of [...needed, 'userinfo_endpoint', 'end_session_endpoint']) {
    for (const address of [...wrong, ...(needed.includes(name) ? [undefined] : [])]) {
      t.throws(() => readMetadata({ ...metadata, [name]: address }, issuer), refusal('provider_metadata_invalid', new RegExp(`^metadata: ${name}: expected an address over https$`)), `${name} ${JSON.stringify(address ?? null)}`)
    }
  }
  for (const address of wrong) {
    t.throws(() => readMetadata({ ...metadata, mtls_endpoint_aliases: { token_endpoint: address } }, issuer), refusal('provider_metadata_invalid', /^metadata: mtls_endpoint_aliases\/token_endpoint: /), `alias ${JSON.stringify(address)}`)
  }
})

t.test('an issuer over http may have endpoints over http, and nothing else', async t => {
  const insecure = 'http://impots.localhost:4000'
  const over = (scheme: string) => ({ issuer: insecure, authorization_endpoint: `${scheme}impots.localhost/a`, token_endpoint: `${scheme}impots.localhost/t`, jwks_uri: `${scheme}impots.localhost/j` })
  for (const scheme of ['http://', 'https://']) t.strictSame(readMetadata(over(scheme), insecure), over(scheme))
  for (const scheme of ['ftp://', 'data:', '']) t.throws(() => readMetadata(over(scheme), insecure), refusal('provider_metadata_invalid', /expected an address over https or http$/), scheme)
})

t.test('of metadata what we need is kept, and nothing else', async t => {
  t.strictSame(readMetadata(metadata, issuer), metadata)
  const all = {
    ...metadata,
    userinfo_endpoint: `${issuer}/me`,
    end_session_endpoint: `${issuer}/logout`,
    authorization_response_iss_parameter_supported: true,
    mtls_endpoint_aliases: { token_endpoint: 'https://mtls.impots.example/token', userinfo_endpoint: 'https://mtls.impots.example/me' }
  }
  t.strictSame(readMetadata({
    ...all,
    mtls_endpoint_aliases: { ...all.mtls_endpoint_aliases, introspection_endpoint: 'not looked at' },
    id_token_signing_alg_values_supported: ['none'],
    registration_endpoint: 'nowhere',
    constructor: 'x'
  }, issuer), all)
  for (const promised of [false, undefined, null, 'true', 1, 'yes']) t.strictSame(readMetadata({ ...metadata, authorization_response_iss_parameter_supported: promised }, issuer), metadata, `a promise of ${JSON.stringify(promised ?? null)}`)
  for (const aliases of [undefined, null, {}, [], 'token_endpoint', 1, true]) t.strictSame(readMetadata({ ...metadata, mtls_endpoint_aliases: aliases }, issuer), metadata, `aliases ${JSON.stringify(aliases ?? null)}`)
})

// ---- keys

t.test('a set without a key is none (RFC 7517 §5)', async t => {
  for (const keys of [undefined, null, 1, 'keys', {}, { 0: { kty: 'RSA' }, length: 1 }, [], [null], [1, 'x', true], [[]], [{}], [{ kid: 'one' }], [{ kty: 1 }], [{ kty: null }], [['RSA']]]) {
    t.throws(() => readKeySet({ keys }), refusal('provider_keys_unavailable'), JSON.stringify(keys ?? null))
  }
})

t.test('what stands beside keys in a set keeps nobody from them', async t => {
  const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }) as Members
  t.strictSame(readKeySet({ keys: [null, jwk, 'x', {}, { kty: 'unheard of' }, 3], more: true }), { keys: [jwk, { kty: 'unheard of' }] })
})
