import { createHmac, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { inspect } from 'node:util'
import { compactDecrypt, CompactSign, FlattenedSign, SignJWT, UnsecuredJWT, type JSONWebKeySet, type JWK, type JWTHeaderParameters } from 'jose'
import t from 'tap'
import { clientKeys } from '../../src/adapters/client-keys.ts'
import { loggable } from '../../src/log.ts'
import { signingAlgorithms, strictAlgorithms, type Encryption, type SigningAlgorithm } from '../../src/protocol/algorithms.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { createForgedKey, signedBy } from '../support/forging-provider.ts'
import { findWords } from '../support/personal-data.ts'

// The clock of this process stands still, and goes ahead as a test says.
const begin = Math.round(performance.now())
let aheadMs = 0
performance.now = () => begin + aheadMs
t.afterEach(() => { aheadMs = 0 })

const unavailable = { name: 'OAuthError', failure: 'client_keys_unavailable' }
const claims = { iss: 'town', sub: 'town', family_name: 'Wilhelmina' }

/** A client that publishes these keys, and counts how often it is asked. */
function desk (...keys: JWK[]) {
  const state = { keys, asked: 0, answer: async (): Promise<unknown> => ({ keys: state.keys }) }
  return { state, ...clientKeys(async () => { state.asked++; return await state.answer() as JSONWebKeySet }) }
}
const down = async () => { throw new TypeError('nobody answers') }
const publicOf = (key: KeyObject, more: JWK | object = {}): JWK => ({ ...key.export({ format: 'jwk' }), ...more } as JWK)
/** What was begun behind somebody's back has come to its end. */
const settled = () => new Promise(resolve => setImmediate(resolve))

const signing = Object.fromEntries(signingAlgorithms.map(alg => [alg, createForgedKey(alg, alg)])) as Record<SigningAlgorithm, ReturnType<typeof createForgedKey>>
const [first, second] = [createForgedKey('ES256', 'first'), createForgedKey('ES256', 'second')]
const withoutKid = ({ published: { kid, ...published } }: ReturnType<typeof createForgedKey>): JWK => published
const by = ({ privateKey }: { privateKey: KeyObject }, header: JWTHeaderParameters) => new SignJWT(claims).setProtectedHeader(header).sign(privateKey)

t.test('what none of its keys has signed, by an algorithm that is meant, is refused and not quoted', async t => {
  const rsa = signing.RS256
  const { state, verify } = desk(first.published, rsa.published, publicOf(createForgedKey('EdDSA').publicKey))
  const good = await signedBy(first, claims)
  const [header, payload, signature] = good.split('.') as [string, string, string]
  const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const symmetric = (secret: string, kid: string) => {
    const signed = `${encoded({ alg: 'HS256', kid })}.${payload}`
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
  }
  const pem = first.publicKey.export({ type: 'spki', format: 'pem' }) as string
  const others: Record<string, string> = {
    'another key under a known kid': await by(second, { alg: 'ES256', kid: 'first' }),
    'another key that it brings along': await by(second, { alg: 'ES256', kid: 'first', jwk: publicOf(second.publicKey) }),
    'its key under the kid of another': await by(first, { alg: 'ES256', kid: 'RS256' }),
    'its key for another algorithm': await by(rsa, { alg: 'RS512', kid: 'RS256' }),
    'its RSA key for PSS, though it is for PKCS #1 v1.5': await by(rsa, { alg: 'PS256', kid: 'RS256' }),
    'alg none': new UnsecuredJWT(claims).encode(),
    'alg none with a good signature': `${encoded({ alg: 'none', kid: 'first' })}.${payload}.${signature}`,
    'HS256 with a public key as the secret': symmetric(pem, 'first'),
    'HS256 with the published key as the secret': symmetric(JSON.stringify(first.published), 'first'),
    'HS256 with an empty secret': symmetric('', 'first'),
    'no alg': `${encoded({ kid: 'first' })}.${payload}.${signature}`,
    'other claims under a good signature': `${header}.${encoded({ ...claims, sub: 'other' })}.${signature}`,
    'no signature': `${header}.${payload}.`,
    'no last part': `${header}.${payload}`,
    'a signature cut short': good.slice(0, -2),
    'a signature of nothing but zeros (CVE-2022-21449)': `${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`,
    'crit that nobody understands': await new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'first', crit: ['x'], x: 1 }).sign(first.privateKey, { crit: { x: true } }),
    'a kid that is no text': `${encoded({ alg: 'ES256', kid: ['first'] })}.${payload}.${signature}`,
    'a payload that is no JSON': await new CompactSign(Buffer.from('Wilhelmina')).setProtectedHeader({ alg: 'ES256', kid: 'first' }).sign(first.privateKey),
    'a payload that is a list': await new CompactSign(Buffer.from('["Wilhelmina"]')).setProtectedHeader({ alg: 'ES256', kid: 'first' }).sign(first.privateKey),
    ...Object.fromEntries(await Promise.all(['null', '1', 'true', '"Wilhelmina"'].map(async payload => [`a payload that is ${payload}`, await new CompactSign(Buffer.from(payload)).setProtectedHeader({ alg: 'ES256', kid: 'first' }).sign(first.privateKey)]))),
    'an empty payload': await new CompactSign(Buffer.from('')).setProtectedHeader({ alg: 'ES256', kid: 'first' }).sign(first.privateKey),
    'two tokens': `${good}.${good}`,
    'five parts': 'a.b.c.d.e',
    'odd letters': `é.${payload}.${signature}`,
    empty: '',
    dots: '..',
    'no token': 'Wilhelmina',
    huge: 'A'.repeat(300_000)
  }
  for (const [what, jwt] of Object.entries(others)) t.equal(await verify(jwt, signingAlgorithms), undefined, what)
  t.match(await verify(good, signingAlgorithms), { claims }, 'the token that all this was made from is by it')
  t.ok(state.asked <= 2, 'and all of them were worth one question')
})

t.test('an algorithm that this client may not use is refused, whatever key it has', async t => {
  const all = desk(...Object.values(signing).map(({ published }) => published))
  for (const alg of signingAlgorithms) {
    const jwt = await signedBy(signing[alg], claims)
    for (const only of signingAlgorithms) t.strictSame((await all.verify(jwt, [only]))?.claims, only === alg ? claims : undefined, `${alg} where ${only} is meant`)
    t.strictSame((await all.verify(jwt, strictAlgorithms))?.claims, alg === 'RS256' ? undefined : claims, `${alg} by a fapi2 client`)
    t.equal(await all.verify(jwt, []), undefined)
  }
})

t.test('what a JWT by one of its keys says comes with its header', async t => {
  const { verify } = desk(first.published)
  t.strictSame(await verify(await by(first, { alg: 'ES256', kid: 'first', typ: 'client-authentication+jwt' }), ['ES256']), { header: { alg: 'ES256', kid: 'first', typ: 'client-authentication+jwt' }, claims })
  t.strictSame(await verify(await by(first, { alg: 'ES256' }), ['ES256']), { header: { alg: 'ES256' }, claims }, 'a client with one key need not name it')
})

t.test('EdDSA over Ed25519 is understood by either name, in a header and in a key (RFC 8037 §3.1, RFC 9864 §2.2)', async t => {
  const { privateKey, publicKey } = signing.EdDSA
  for (const named of [{}, { alg: 'EdDSA' }, { alg: 'Ed25519' }]) {
    const { verify } = desk(publicOf(publicKey, named))
    for (const alg of ['EdDSA', 'Ed25519']) {
      t.match(await verify(await by({ privateKey }, { alg }), ['EdDSA']), { header: { alg }, claims }, `${alg} by a key for ${named.alg ?? 'anything'}`)
      t.equal(await verify(await by({ privateKey }, { alg }), ['ES256', 'PS256', 'RS256']), undefined, 'where it is meant')
    }
  }
})

t.test('of several keys that fit the header names one, or the JWT is refused (OpenID Connect Core §10.1)', async t => {
  const { state, verify } = desk(withoutKid(first), publicOf(signing.RS256.publicKey), withoutKid(second), publicOf(signing.EdDSA.publicKey))
  for (const key of [first, second]) t.equal(await verify(await by(key, { alg: 'ES256' }), signingAlgorithms), undefined, 'two keys for ES256, neither with a name')
  t.match(await verify(await by(signing.RS256, { alg: 'RS256' }), signingAlgorithms), { claims }, 'where the algorithm says which, it need not')
  t.match(await verify(await by(signing.EdDSA, { alg: 'EdDSA' }), signingAlgorithms), { claims })
  t.equal(await verify(await by(second, { alg: 'ES256', kid: 'second' }), signingAlgorithms), undefined, 'a name that no key has is no name of one')

  const named = desk(first.published, second.published)
  for (const key of [first, second]) {
    t.equal(await named.verify(await by(key, { alg: 'ES256' }), ['ES256']), undefined, 'two keys with names, and a JWT that names none')
    t.match(await named.verify(await signedBy(key, claims), ['ES256']), { claims })
  }
  const twins = desk({ ...first.published, kid: 'twin' }, { ...second.published, kid: 'twin' })
  for (const key of [first, second]) t.equal(await twins.verify(await by(key, { alg: 'ES256', kid: 'twin' }), ['ES256']), undefined, 'two keys of one name')
  t.equal(state.asked, 2, 'and only a name that nobody knows is worth a question')
})

t.test('a key that cannot be read does not stand in the way of the others', async t => {
  const { verify } = desk({ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', kid: 'broken' }, { kty: 'unheard of' }, { kty: 'RSA' }, first.published, publicOf(signing.EdDSA.publicKey, { kid: 1 }))
  t.match(await verify(await signedBy(first, claims), ['ES256']), { claims })
})

t.test('a key that is for encryption, or not for verifying, verifies nothing (RFC 7517 §4.2, §4.3)', async t => {
  for (const more of [{ use: 'enc' }, { key_ops: ['encrypt'] }, { key_ops: ['deriveBits'] }, { alg: 'ECDH-ES' }, { alg: 'ES384' }]) {
    const { alg, use, ...bare } = first.published
    t.equal(await desk({ ...bare, ...more }).verify(await signedBy(first, claims), ['ES256']), undefined, JSON.stringify(more))
  }
})

t.test('a new key is known at once, and unknown ones are worth one question in thirty seconds', async t => {
  const { state, verify } = desk(first.published)
  await verify(await signedBy(first, claims), ['ES256'])
  state.keys = [second.published]
  t.match(await verify(await signedBy(second, claims), ['ES256']), { claims }, 'a key of today')
  t.equal(state.asked, 2)
  t.equal(await verify(await signedBy(first, claims), ['ES256']), undefined, 'the key before is no longer its key')
  const stranger = await signedBy(createForgedKey('ES256', 'stranger'), claims)
  for (const [ms, asked] of [[0, 2], [29_999, 2], [30_000, 3], [59_999, 3], [60_000, 4]] as const) {
    aheadMs = ms
    for (let i = 0; i < 3; i++) t.equal(await verify(stranger, ['ES256']), undefined)
    t.equal(state.asked, asked, `after ${ms} ms`)
  }
})

t.test('while its address is down the last good keys serve on, to verify and to encrypt', async t => {
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { state, verify, encrypter } = desk(first.published, publicOf(own.publicKey, { use: 'enc' }))
  const jwt = await signedBy(first, claims)
  await verify(jwt, ['ES256'])
  for (const [what, answer] of [['nobody there', down], ['no set at all', async () => ({})], ['a set of no keys', async () => ({ keys: 'x' })], ['a set of what is none', async () => ({ keys: [1] })]] as const) {
    state.answer = answer
    for (const ms of [5 * 60_000, 3600_000, 24 * 3600_000]) {
      aheadMs += ms
      t.match(await verify(jwt, ['ES256']), { claims }, `${what}, ${ms / 60_000} minutes`)
      t.ok(await (await encrypter({ alg: 'ECDH-ES', enc: 'A128GCM' }))(jwt))
      await settled()
      t.match(await verify(jwt, ['ES256']), { claims }, `${what}, when it was asked again`)
    }
    await t.rejects(verify(await signedBy(second, claims), ['ES256']), unavailable, `${what}: of another key nobody can say that it is none`)
  }
})

t.test('keys that cannot be had are no refusal: the client may come again', async t => {
  const jwt = await signedBy(first, claims)
  const cannot: Record<string, () => Promise<unknown>> = {
    'nobody answers': down,
    'no set': async () => ({}),
    nothing: async () => null,
    'a set of what is none': async () => ({ keys: [null] }),
    'a key that cannot be read': async () => ({ keys: [{ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', kid: 'first' }] }),
    'a key with its private part': async () => ({ keys: [{ ...publicOf(first.privateKey), kid: 'first' }] }),
    'a key that is too short': async () => ({ keys: [publicOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)] })
  }
  for (const [what, answer] of Object.entries(cannot)) {
    const { state, verify } = desk()
    state.answer = answer
    await t.rejects(verify(what === 'a key that is too short' ? await by(signing.RS256, { alg: 'RS256' }) : jwt, signingAlgorithms), unavailable, what)
    state.answer = async () => ({ keys: [first.published] })
    aheadMs += 10 * 60_000
    await verify(jwt, ['ES256']).catch(() => {})
    await settled()
    t.match(await verify(jwt, ['ES256']), { claims }, `${what}: then they can`)
  }
})

t.test('to ask ahead is to ask once, and its failure is told to who asks ahead', async t => {
  const { state, prefetch, verify } = desk(first.published)
  await prefetch()
  t.match(await verify(await signedBy(first, claims), ['ES256']), { claims })
  t.equal(state.asked, 1)
  const other = desk()
  other.state.answer = down
  await t.rejects(other.prefetch(), { message: 'nobody answers' })
})

const algorithms: Encryption[] = [{ alg: 'RSA-OAEP-256', enc: 'A128GCM' }, { alg: 'RSA-OAEP-256', enc: 'A256GCM' }, { alg: 'ECDH-ES', enc: 'A128GCM' }, { alg: 'ECDH-ES', enc: 'A256GCM' }]
const pairs = {
  'RSA of 2048 bits': generateKeyPairSync('rsa', { modulusLength: 2048 }),
  'RSA of 3072 bits': generateKeyPairSync('rsa', { modulusLength: 3072 }),
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'P-521': generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  X25519: generateKeyPairSync('x25519')
}

t.test('what is encrypted to a client only its private key opens, and it is a JWT within (RFC 7516, RFC 7519 §5.2)', async t => {
  const jwt = await signedBy(createForgedKey('ES256', 'ours'), claims)
  for (const [what, { publicKey, privateKey }] of Object.entries(pairs)) {
    for (const { alg, enc } of algorithms.filter(({ alg }) => (alg === 'ECDH-ES') !== what.startsWith('RSA'))) {
      for (const more of [{}, { kid: 'theirs', use: 'enc', alg }]) {
        const encrypt = await desk(first.published, publicOf(publicKey, more)).encrypter({ alg, enc })
        const [one, other] = [await encrypt(jwt), await encrypt(jwt)]
        const { plaintext, protectedHeader } = await compactDecrypt(one, privateKey, { keyManagementAlgorithms: [alg], contentEncryptionAlgorithms: [enc] })
        t.equal(Buffer.from(plaintext).toString(), jwt, `${alg} ${enc} by ${what}`)
        const { epk, ...header } = protectedHeader
        t.strictSame(header, { alg, enc, cty: 'JWT', ...('kid' in more ? { kid: 'theirs' } : {}) })
        t.notOk(one.split('.').slice(2).some((part, i) => part === other.split('.')[i + 2]), 'no two are the same')
        for (const stranger of Object.values(pairs)) if (stranger.privateKey !== privateKey) await t.rejects(compactDecrypt(one, stranger.privateKey))
      }
    }
  }
})

t.test('a key that is not for encryption, or not for this one, encrypts nothing, and that is no refusal (RFC 7517 §4.2, §4.4)', async t => {
  const [rsa, ec, okp] = [pairs['RSA of 2048 bits'], pairs['P-256'], pairs.X25519].map(({ publicKey }) => publicOf(publicKey)) as [JWK, JWK, JWK]
  const table: Array<[what: string, keys: JWK[], alg: Encryption['alg']]> = [
    ['none at all', [], 'ECDH-ES'],
    ['RSA for signing', [{ ...rsa, use: 'sig' }], 'RSA-OAEP-256'],
    ['a curve for signing', [{ ...ec, use: 'sig' }], 'ECDH-ES'],
    ['RSA for RS256', [{ ...rsa, alg: 'RS256' }], 'RSA-OAEP-256'],
    ['RSA for PS256', [{ ...rsa, alg: 'PS256' }], 'RSA-OAEP-256'],
    ['RSA for SHA-1', [{ ...rsa, alg: 'RSA-OAEP', use: 'enc' }], 'RSA-OAEP-256'],
    ['a curve for ES256', [{ ...ec, alg: 'ES256' }], 'ECDH-ES'],
    ['a curve for another way', [{ ...ec, alg: 'ECDH-ES+A256KW', use: 'enc' }], 'ECDH-ES'],
    ['a use that nobody knows', [{ ...ec, use: 'any' }, { ...ec, use: '' }], 'ECDH-ES'],
    ['RSA where a curve is meant', [rsa], 'ECDH-ES'],
    ['RSA that calls itself a curve', [{ ...rsa, crv: 'P-256' }], 'ECDH-ES'],
    ['a curve where RSA is meant', [ec, okp], 'RSA-OAEP-256'],
    ['an Edwards curve', [publicOf(signing.EdDSA.publicKey)], 'ECDH-ES'],
    ['a Montgomery curve of another length', [publicOf(generateKeyPairSync('x448').publicKey)], 'ECDH-ES'],
    ['a curve that no standard names for this', [publicOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)], 'ECDH-ES'],
    ['a curve without a name', [{ ...ec, crv: undefined } as unknown as JWK], 'ECDH-ES'],
    ['a curve of the other kind', [{ ...okp, kty: 'EC' }, { ...ec, kty: 'OKP' }], 'ECDH-ES'],
    ['a point that is none', [{ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }], 'ECDH-ES'],
    ['a point without a half', [{ kty: 'EC', crv: 'P-256', x: ec.x! }], 'ECDH-ES'],
    ['RSA without a number', [{ kty: 'RSA', e: 'AQAB' }], 'RSA-OAEP-256'],
    ['RSA for verifying', [{ ...rsa, key_ops: ['verify'] }], 'RSA-OAEP-256'],
    ['a curve for verifying', [{ ...ec, key_ops: ['verify'] }], 'ECDH-ES'],
    ['RSA of 1,024 bits', [publicOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)], 'RSA-OAEP-256'],
    ['RSA of 2,047 bits', [publicOf(generateKeyPairSync('rsa', { modulusLength: 2047 }).publicKey)], 'RSA-OAEP-256'],
    ['RSA with its private part', [publicOf(pairs['RSA of 2048 bits'].privateKey)], 'RSA-OAEP-256'],
    ['a curve with its private part', [publicOf(pairs['P-256'].privateKey)], 'ECDH-ES'],
    ['RSA for nothing', [{ ...rsa, key_ops: [] }], 'RSA-OAEP-256']
  ]
  for (const [what, keys, alg] of table) await t.rejects(desk(...keys).encrypter({ alg, enc: 'A256GCM' }), unavailable, what)
  await t.rejects(desk(rsa).encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' }), { ...unavailable, cause: { message: 'none of its keys is for ECDH-ES' } }, 'and whoever looks for the cause learns it')
})

t.test('among keys for signing the one for encryption is found, wherever it stands', async t => {
  const { publicKey, privateKey } = pairs['P-256']
  const own = publicOf(publicKey, { use: 'enc', kid: 'enc' })
  const others = [{ ...first.published }, { ...publicOf(second.publicKey), alg: 'ES256' }, publicOf(pairs['RSA of 2048 bits'].publicKey), publicOf(signing.EdDSA.publicKey)]
  for (const keys of [[own, ...others], [...others, own], [...others.slice(0, 2), own, ...others.slice(2)]]) {
    const jwe = await (await desk(...keys).encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' }))('a.b.c')
    t.equal((await compactDecrypt(jwe, privateKey)).protectedHeader.kid, 'enc')
  }
})

t.test('a key that is said to be for encryption goes before one that is not said to be for signing', async t => {
  const { publicKey, privateKey } = pairs.X25519
  const own = publicOf(publicKey, { use: 'enc', kid: 'enc' })
  const vague = [publicOf(pairs['P-256'].publicKey, { kid: 'vague' }), publicOf(pairs['P-384'].publicKey, { alg: 'ECDH-ES', kid: 'vaguer' })]
  for (const keys of [[own, ...vague], [...vague, own]]) t.equal((await compactDecrypt(await (await desk(...keys).encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' }))('a.b.c'), privateKey)).protectedHeader.kid, 'enc')
  t.equal((await compactDecrypt(await (await desk(...vague).encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' }))('a.b.c'), pairs['P-256'].privateKey)).protectedHeader.kid, 'vague', 'where none is, the first will do')
})

t.test('a key for verifying does not stand in the way of one for encryption (RFC 7517 §4.3)', async t => {
  const { publicKey, privateKey } = pairs['P-256']
  const { alg, use, ...verifying } = first.published
  const jwe = await (await desk({ ...verifying, key_ops: ['verify'] }, publicOf(publicKey, { kid: 'other' })).encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' }))('a.b.c')
  t.equal((await compactDecrypt(jwe, privateKey)).protectedHeader.kid, 'other')
})

t.test('a key for encryption that is missing is worth one question in thirty seconds', async t => {
  const { state, encrypter } = desk(first.published)
  const ask = () => encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' })
  for (const [ms, asked] of [[0, 2], [29_999, 2], [30_000, 3]] as const) {
    aheadMs = ms
    for (let i = 0; i < 3; i++) await t.rejects(ask(), unavailable)
    t.equal(state.asked, asked, `after ${ms} ms`)
  }
  state.keys = [publicOf(pairs.X25519.publicKey)]
  aheadMs = 60_000
  t.ok(await (await ask())('a.b.c'), 'then it is there')
  t.equal(state.asked, 4)
})

t.test('what was had before anything was written is there when it is written', async t => {
  const { publicKey, privateKey } = pairs.X25519
  const { state, encrypter } = desk(publicOf(publicKey))
  const encrypt = await encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' })
  state.answer = down
  state.keys = []
  aheadMs = 24 * 3600_000
  t.equal(Buffer.from((await compactDecrypt(await encrypt('a.b.c'), privateKey)).plaintext).toString(), 'a.b.c')
  t.equal(state.asked, 1)
})

t.test('keys to encrypt with that cannot be had are no refusal either', async t => {
  for (const [answer, cause] of [[down, { message: 'nobody answers' }], [async () => ({}), { code: 'ERR_JWKS_INVALID' }], [async () => null, { code: 'ERR_JWKS_INVALID' }]] as const) {
    const { state, encrypter } = desk()
    state.answer = answer
    await t.rejects(encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' }), { ...unavailable, cause })
    state.answer = async () => ({ keys: [publicOf(pairs.X25519.publicKey)] })
    aheadMs += 60_000
    t.ok(await encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' }))
  }
})

t.test('an address that fails is asked once a second, however many need it', async t => {
  const { state, verify, encrypter, prefetch } = desk()
  const jwt = await signedBy(first, claims)
  state.answer = down
  const ask: Array<() => Promise<unknown>> = [() => verify(jwt, ['ES256']), () => encrypter({ alg: 'ECDH-ES', enc: 'A256GCM' }), () => verify(jwt, ['ES256'])]
  for (const [ms, asked] of [[0, 1], [1, 1], [999, 1], [1000, 2], [1999, 2], [2000, 3]] as const) {
    aheadMs = ms
    for (const one of ask) await t.rejects(one(), { ...unavailable, cause: { message: 'nobody answers' } }, 'with the failure of last time')
    await t.rejects(prefetch(), { message: 'nobody answers' })
    t.equal(state.asked, asked, `after ${ms} ms`)
  }
  state.answer = async () => ({ keys: [first.published] })
  await t.rejects(verify(jwt, ['ES256']), unavailable)
  aheadMs = 3000
  t.match(await verify(jwt, ['ES256']), { claims })
  const stranger = await signedBy(second, claims)
  t.equal(await verify(stranger, ['ES256']), undefined)
  t.equal(state.asked, 5, 'and while it answers, as soon as it is worth it')
})

t.test('a payload that is not encoded is no JWT (RFC 7797 §7)', async t => {
  const { verify } = desk(first.published)
  const signed = await new FlattenedSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader({ alg: 'ES256', kid: 'first', b64: false, crit: ['b64'] }).sign(first.privateKey)
  t.equal(await verify(`${signed.protected}.${JSON.stringify(claims)}.${signed.signature}`, ['ES256']), undefined)
  const encoded = await new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader({ alg: 'ES256', kid: 'first', b64: true, crit: ['b64'] }).sign(first.privateKey)
  t.equal(await verify(encoded, ['ES256']), undefined, 'nor is one that speaks of it at all')
})

t.test('a failure shows nothing of what was signed', async t => {
  const { state, verify } = desk()
  state.answer = async () => ({ keys: [{ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', kid: 'first' }] })
  const error = await verify(await signedBy(first, claims), ['ES256']).catch(error => error)
  t.ok(error instanceof OAuthError)
  t.same(findWords(inspect(loggable.serializers.err(error), { depth: 9 }) + inspect(error, { depth: 9 }), ['Wilhelmina']), [])
})
