import { constants, createCipheriv, publicEncrypt, randomBytes, type KeyObject } from 'node:crypto'
import { inspect } from 'node:util'
import { deflateRawSync } from 'node:zlib'
import { CompactEncrypt, importJWK, type CompactJWEHeaderParameters } from 'jose'
import t, { type Test } from 'tap'
import { decryptionKey, publishedDecryptionKeys, type DecryptionKey } from '../../src/adapters/decryption-keys.ts'
import type { OidcProviderOptions } from '../../src/adapters/oidc-identity-provider.ts'
import { loggable } from '../../src/log.ts'
import { OAuthError, type Failure } from '../../src/protocol/errors.ts'
import { createEncryptionKey, type EncryptionAlgorithm } from '../support/client-keys.ts'
import { startForgingProvider, type Forgery } from '../support/forging-provider.ts'
import { findWords } from '../support/personal-data.ts'
import { providerUnderTest, registrationAt } from '../support/provider-under-test.ts'

// What identity providers encrypt for us (OpenID Connect Core §10.2, RFC 7516): as it was registered, or not at all.

t.setTimeout(90_000)
const person = { given_name: 'Wilhelmina', family_name: 'de Saint-Exupéry' }
const sub = 'sub-of-wilhelmina'
const forger = await startForgingProvider(t, { sub, person })

/** A key of ours as it is kept, and its public half as a provider has it. */
function keyOf (alg: EncryptionAlgorithm, kid: string, nbf = 0) {
  const { privateKey, published } = createEncryptionKey(alg, kid)
  return { ...decryptionKey({ ...privateKey.export({ format: 'jwk' }), kid, alg, nbf } as Parameters<typeof decryptionKey>[0]), published }
}
const [rsa, curve] = [keyOf('RSA-OAEP-256', 'rsa'), keyOf('ECDH-ES', 'curve')]
const keys = [rsa, curve]
const encryptions = (['RSA-OAEP-256', 'ECDH-ES'] as const).flatMap(alg => (['A128GCM', 'A256GCM'] as const).map(enc => ({ alg, enc })))

/** A JWE of this text for one of our keys; a member that is undefined is left out of its header. */
async function encrypt (text: string, key: Pick<DecryptionKey, 'alg' | 'kid' | 'published'>, changes: Record<string, unknown> = {}) {
  const header = { alg: key.alg as string, enc: 'A256GCM', kid: key.kid, cty: 'JWT', ...changes }
  const { kid: _, use: __, alg: ___, ...jwk } = key.published
  const made = new CompactEncrypt(Buffer.from(text)).setProtectedHeader(Object.fromEntries(Object.entries(header).filter(([, value]) => value !== undefined)) as unknown as CompactJWEHeaderParameters)
  return made.encrypt(await importJWK(jwk, header.alg), 'crit' in changes ? { crit: { x: true } } : {})
}

/** The same by hand, since no library makes all that is wrong. */
function encryptByHand (content: Buffer, key: { publicKey: KeyObject }, header: object | string) {
  const cek = randomBytes(32)
  const head = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header)).toString('base64url')
  const wrapped = publicEncrypt({ key: key.publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, cek)
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', cek, iv).setAAD(Buffer.from(head))
  const sealed = Buffer.concat([cipher.update(content), cipher.final()])
  return [head, ...[wrapped, iv, sealed, cipher.getAuthTag()].map(part => part.toString('base64url'))].join('.')
}

interface Way { options: Partial<OidcProviderOptions>, keys?: readonly DecryptionKey[] }

async function logIn (forgery: Forgery, { options, keys: ours = keys }: Way) {
  const provider = providerUnderTest(registrationAt(forger.issuer, options), { decryptionKeys: ours })
  forger.state.forgery = forgery
  forger.state.seen.length = 0
  const question = { redirect_uri: 'https://passerelle.example/callback/impots', state: 'state', nonce: randomBytes(16).toString('hex'), code_verifier: randomBytes(32).toString('base64url'), acr: 'eidas1', ui_locales: 'fr' }
  try {
    return { answer: await provider.identify(forger.comeBack(await provider.authorizationUrl(question)), question), watched: provider.watched }
  } catch (error) {
    if (error instanceof OAuthError) return { error, watched: provider.watched }
    throw error
  } finally {
    forger.state.forgery = {}
    await provider.close()
  }
}
async function accepts (t: Test, what: string, forgery: Forgery, way: Way) {
  const { answer, error } = await logIn(forgery, way)
  t.match(answer ?? error, { sub, claims: person }, what)
  return answer
}
async function refuses (t: Test, what: string, failure: Failure, forgery: Forgery, way: Way) {
  const { error } = await logIn(forgery, way)
  if (error === undefined) {
    t.fail(`${what}: accepted`)
    return
  }
  t.equal(error.failure, failure, `${what}: ${error.message}`)
  t.same(findWords(inspect(loggable.serializers.err(error), { depth: 20 }), [...Object.values(person), sub]), [], `${what}: names nobody`)
}

type Wrap = (jws: string) => Promise<string> | string
/** The ID Token, signed and then made into something else. */
const idToken = (wrap: Wrap): Forgery => ({ sign: async (said, header) => wrap(await forger.sign(said, header)) })
/** The same of userinfo. */
const userinfo = (wrap: Wrap): Forgery => ({ userinfoAlg: 'RS256', userinfoJwt: async (said, header) => wrap(await forger.sign(said, header)) })
/** Userinfo that is encrypted JSON. */
const plainUserinfo = (wrap: Wrap): Forgery => ({ userinfoAlg: 'RS256', userinfoJwt: async said => wrap(JSON.stringify(said)) })

/** What a JWE may be, in either place, and what comes of it. */
const ways = {
  'ID Token': { forge: idToken, optionsFor: (alg: EncryptionAlgorithm, enc: 'A128GCM' | 'A256GCM'): Partial<OidcProviderOptions> => ({ id_token_encrypted_response_alg: alg, id_token_encrypted_response_enc: enc }) },
  'userinfo, signed': { forge: userinfo, optionsFor: (alg: EncryptionAlgorithm, enc: 'A128GCM' | 'A256GCM'): Partial<OidcProviderOptions> => ({ userinfo_signed_response_alg: 'RS256', userinfo_encrypted_response_alg: alg, userinfo_encrypted_response_enc: enc }) },
  'userinfo, not signed': { forge: plainUserinfo, optionsFor: (alg: EncryptionAlgorithm, enc: 'A128GCM' | 'A256GCM'): Partial<OidcProviderOptions> => ({ userinfo_encrypted_response_alg: alg, userinfo_encrypted_response_enc: enc }) }
}

for (const [what, { forge, optionsFor }] of Object.entries(ways)) {
  t.test(`${what}: what is encrypted as registered is opened`, async t => {
    for (const { alg, enc } of encryptions) {
      const key = alg === 'ECDH-ES' ? curve : rsa
      await accepts(t, `${alg} and ${enc}`, forge(text => encrypt(text, key, { enc })), { options: optionsFor(alg, enc) })
      await accepts(t, `${alg} and ${enc}, without a kid`, forge(text => encrypt(text, key, { enc, kid: undefined, cty: undefined })), { options: optionsFor(alg, enc) })
    }
    await accepts(t, 'by hand', forge(text => encryptByHand(Buffer.from(text), keyInHand(rsa), { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: 'rsa' })), { options: optionsFor('RSA-OAEP-256', 'A256GCM') })
    const { [`${what === 'ID Token' ? 'id_token' : 'userinfo'}_encrypted_response_enc` as const]: _, ...unsaid } = optionsFor('ECDH-ES', 'A256GCM')
    await accepts(t, 'A256GCM where nothing is said of it', forge(text => encrypt(text, curve)), { options: unsaid })
  })

  t.test(`${what}: what is encrypted otherwise than registered, or not at all, is refused`, async t => {
    for (const { alg, enc } of encryptions) {
      const way = { options: optionsFor(alg, enc) }
      for (const other of encryptions.filter(other => other.alg !== alg || other.enc !== enc)) {
        await refuses(t, `${other.alg} and ${other.enc} where ${alg} and ${enc} is registered`, 'provider_encryption_wrong', forge(text => encrypt(text, other.alg === 'ECDH-ES' ? curve : rsa, other)), way)
      }
      await refuses(t, `not encrypted where ${alg} and ${enc} is registered`, 'provider_encryption_wrong', forge(text => text), way)
      t.match((await logIn(forge(text => text), way)).error!.message, /: not encrypted, as was registered$/)
      await refuses(t, `nothing where ${alg} and ${enc} is registered`, what === 'userinfo, not signed' ? 'provider_answer_unreadable' : 'provider_token_malformed', forge(() => ''), way)
    }
    const byRsa = { options: optionsFor('RSA-OAEP-256', 'A256GCM') }
    const byCurve = { options: optionsFor('ECDH-ES', 'A256GCM') }
    for (const alg of ['RSA-OAEP', 'RSA-OAEP-512']) await refuses(t, alg, 'provider_encryption_wrong', forge(text => encrypt(text, rsa, { alg })), byRsa)
    for (const alg of ['ECDH-ES+A128KW', 'ECDH-ES+A256KW']) await refuses(t, alg, 'provider_encryption_wrong', forge(text => encrypt(text, curve, { alg })), byCurve)
    for (const enc of ['A192GCM', 'A128CBC-HS256', 'A256CBC-HS512']) await refuses(t, enc, 'provider_encryption_wrong', forge(text => encrypt(text, rsa, { enc })), byRsa)
    const dir = async (text: string) => new CompactEncrypt(Buffer.from(text)).setProtectedHeader({ alg: 'dir', enc: 'A256GCM', kid: 'rsa' }).encrypt(randomBytes(32))
    await refuses(t, 'dir', 'provider_encryption_wrong', forge(dir), byRsa)
    const password = async (text: string) => new CompactEncrypt(Buffer.from(text)).setProtectedHeader({ alg: 'PBES2-HS256+A128KW', enc: 'A256GCM' }).encrypt(Buffer.from('secret'))
    await refuses(t, 'a password', 'provider_encryption_wrong', forge(password), byRsa)
    await refuses(t, 'encrypted where nothing is registered', what === 'userinfo, not signed' ? 'provider_answer_unreadable' : 'provider_encryption_wrong', forge(text => encrypt(text, rsa)), { options: what === 'userinfo, signed' ? { userinfo_signed_response_alg: 'RS256' } : {} })
    await refuses(t, 'encrypted twice', what === 'userinfo, not signed' ? 'provider_answer_unreadable' : 'provider_token_malformed', forge(async text => encrypt(await encrypt(text, rsa), rsa)), byRsa)
  })

  t.test(`${what}: a header that is no such header, or asks for more, is refused`, async t => {
    const way = { options: optionsFor('RSA-OAEP-256', 'A256GCM') }
    const header = { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: 'rsa' }
    const headed = (changed: object | string): Forgery => forge(text => encryptByHand(Buffer.from(text), keyInHand(rsa), changed))
    const forged: Record<string, [Failure, object | string]> = {
      'no JSON': ['provider_token_malformed', 'Dupont'],
      'a list': ['provider_token_malformed', [header]],
      'no alg': ['provider_encryption_wrong', { enc: header.enc, kid: header.kid }],
      'no enc': ['provider_encryption_wrong', { alg: header.alg, kid: header.kid }],
      'a list of alg': ['provider_encryption_wrong', { ...header, alg: [header.alg] }],
      'two kid': ['provider_answer_ambiguous', `${JSON.stringify(header).slice(0, -1)},"kid":"rsa"}`],
      'an extension': ['provider_extension_unknown', { ...header, crit: ['x'], x: 1 }],
      'an empty list of extensions': ['provider_extension_unknown', { ...header, crit: [] }],
      'a zip that nobody knows': ['provider_answer_compressed', { ...header, zip: 'GZ' }],
      'a zip that is null': ['provider_answer_compressed', { ...header, zip: null }]
    }
    for (const [how, [failure, changed]] of Object.entries(forged)) await refuses(t, how, failure, headed(changed), way)
    await accepts(t, 'a kid that is no text is none', headed({ ...header, kid: 1 }), way)
  })

  t.test(`${what}: what is compressed is not blown up`, async t => {
    const way = { options: optionsFor('RSA-OAEP-256', 'A256GCM') }
    const header = { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: 'rsa', zip: 'DEF' }
    await refuses(t, 'a small answer', 'provider_answer_compressed', forge(text => encryptByHand(deflateRawSync(text), keyInHand(rsa), header)), way)
    const bomb = encryptByHand(deflateRawSync(Buffer.alloc(100 * 1024 * 1024)), keyInHand(rsa), header)
    t.ok(bomb.length < 256 * 1024, 'a small bomb')
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    await refuses(t, 'a hundred megabytes', 'provider_answer_compressed', forge(() => bomb), way)
    const after = process.memoryUsage()
    t.ok(after.heapUsed + after.arrayBuffers - heapUsed - arrayBuffers < 50 * 1024 * 1024, 'and no room was made for it')
  })

  t.test(`${what}: what is encrypted for another, broken or cut is refused`, async t => {
    const [another, anotherCurve] = [keyOf('RSA-OAEP-256', 'rsa'), keyOf('ECDH-ES', 'curve')]
    const byRsa = { options: optionsFor('RSA-OAEP-256', 'A256GCM') }
    const byCurve = { options: optionsFor('ECDH-ES', 'A256GCM') }
    await refuses(t, 'for a kid that we do not have', 'provider_decryption_failed', forge(text => encrypt(text, rsa, { kid: 'unknown' })), byRsa)
    await refuses(t, 'for another key under our kid', 'provider_decryption_failed', forge(text => encrypt(text, another)), byRsa)
    await refuses(t, 'for another key without a kid', 'provider_decryption_failed', forge(text => encrypt(text, another, { kid: undefined })), byRsa)
    await refuses(t, 'for another point under our kid', 'provider_decryption_failed', forge(text => encrypt(text, anotherCurve)), byCurve)
    await refuses(t, 'the kid of a key of ours for another algorithm', 'provider_decryption_failed', forge(text => encrypt(text, rsa, { kid: 'curve' })), byRsa)
    await refuses(t, 'no key of ours at all', 'provider_decryption_failed', forge(text => encrypt(text, rsa)), { ...byRsa, keys: [curve] })
    for (const i of [1, 2, 3, 4]) {
      const broken = (change: (bytes: Buffer) => Buffer) => forge(async text => (await encrypt(text, rsa)).split('.').map((part, at) => at === i ? change(Buffer.from(part, 'base64url')).toString('base64url') : part).join('.'))
      await refuses(t, `part ${i} with one bit turned`, 'provider_decryption_failed', broken(bytes => { bytes[3]! ^= 1; return bytes }), byRsa)
      await refuses(t, `part ${i} cut`, 'provider_decryption_failed', broken(bytes => bytes.subarray(0, -1)), byRsa)
      await refuses(t, `part ${i} missing`, 'provider_decryption_failed', broken(() => Buffer.alloc(0)), byRsa)
    }
    for (const text of ['....', 'a.b.c.d.e']) await refuses(t, text, 'provider_token_malformed', forge(() => text), byRsa)
    const noPoint = { alg: 'ECDH-ES', enc: 'A256GCM', kid: 'curve' }
    for (const epk of [undefined, null, 1, {}, { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' }, { kty: 'OKP', crv: 'X25519', x: 'hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo' }, { kty: 'oct', k: 'AAAA' }]) {
      await refuses(t, `a point of ${JSON.stringify(epk)}`, 'provider_decryption_failed', forge(async text => (await encrypt(text, curve)).replace(/^[^.]*/, Buffer.from(JSON.stringify({ ...noPoint, epk })).toString('base64url'))), byCurve)
    }
  })
}
/** The public half of one of our keys as Node knows it. */
const keyInHand = ({ privateKey }: DecryptionKey) => ({ publicKey: privateKey })

t.test('what is encrypted for us is not believed for that: anybody can encrypt', async t => {
  const both = { options: { ...ways['ID Token'].optionsFor('ECDH-ES', 'A256GCM'), ...ways['userinfo, signed'].optionsFor('ECDH-ES', 'A256GCM') } }
  const well = { ...idToken(text => encrypt(text, curve)), ...userinfo(text => encrypt(text, curve)) }
  await accepts(t, 'both signed and encrypted', well, both)
  const unsigned = (jws: string) => jws.replace(/[^.]*$/, '')
  const altered = (jws: string) => jws.replace(/^([^.]*)\.([^.]*)/, (_all, head: string, body: string) => `${head}.${Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(body, 'base64url').toString()), given_name: 'Dupont' })).toString('base64url')}`)
  for (const [what, forge] of [['ID Token', idToken], ['userinfo', userinfo]] as const) {
    await refuses(t, `${what} without a signature within`, 'provider_signature_missing', { ...well, ...forge(text => encrypt(unsigned(text), curve)) }, both)
    await refuses(t, `${what} with other claims within`, 'provider_signature_wrong', { ...well, ...forge(text => encrypt(altered(text), curve)) }, both)
    await refuses(t, `${what} of claims alone`, 'provider_token_malformed', { ...well, ...forge(() => encrypt(JSON.stringify({ sub, ...person }), curve)) }, both)
  }
  await refuses(t, 'userinfo of another citizen', 'provider_subject_differs', { ...plainUserinfo(text => encrypt(text, curve)), userinfo: said => ({ ...said, sub: 'Dupont' }) }, { options: ways['userinfo, not signed'].optionsFor('ECDH-ES', 'A256GCM') })
  await refuses(t, 'a signed userinfo where only encryption is registered', 'provider_answer_unreadable', userinfo(text => encrypt(text, curve)), { options: ways['userinfo, not signed'].optionsFor('ECDH-ES', 'A256GCM') })
  t.equal((await logIn(idToken(text => encrypt(text, curve)), { options: {} })).error!.message, 'id_token: encrypted, which was not registered')
  await refuses(t, 'encrypted userinfo in the type of JSON', 'provider_answer_unreadable', { answer: { userinfo: async (_request, response) => { response.writeHead(200, { 'content-type': 'application/json' }).end(await encrypt(JSON.stringify({ sub, ...person }), curve)) } } }, { options: ways['userinfo, not signed'].optionsFor('ECDH-ES', 'A256GCM') })
})

t.test('userinfo that is encrypted is asked for as a JWT', async t => {
  await accepts(t, 'encrypted', plainUserinfo(text => encrypt(text, curve)), { options: ways['userinfo, not signed'].optionsFor('ECDH-ES', 'A256GCM') })
  t.equal(forger.state.seen.find(({ endpoint }) => endpoint === 'userinfo')!.headers.accept, 'application/jwt')
})

t.test('what is kept for logout is the ID Token that was within: the provider has to read it (RP-Initiated Logout §2)', async t => {
  let within = ''
  const answer = await accepts(t, 'encrypted', idToken(text => { within = text; return encrypt(text, curve) }), { options: ways['ID Token'].optionsFor('ECDH-ES', 'A256GCM') })
  t.equal(answer!.id_token, within)
})

t.test('the clock of a provider that encrypts is seen as any other\'s', async t => {
  const { watched } = await logIn({ ...idToken(text => encrypt(text, curve)), claims: said => ({ ...said, iat: Math.floor(Date.now() / 1000) - 1800 }) }, { options: ways['ID Token'].optionsFor('ECDH-ES', 'A256GCM') })
  t.equal(watched.skewed.length, 1)
  t.ok(watched.skewed[0]! <= -1800 && watched.skewed[0]! > -1900, String(watched.skewed[0]))
})

t.test('while our keys change, what is encrypted for the one before and for the next is opened, and the newest whose time has come is published', async t => {
  const now = 1_000_000
  for (const alg of ['RSA-OAEP-256', 'ECDH-ES'] as const) {
    const [old, current, next] = [keyOf(alg, 'old', now - 200), keyOf(alg, 'current', now - 100), keyOf(alg, 'next', now + 100)]
    const other = keyOf(alg === 'ECDH-ES' ? 'RSA-OAEP-256' : 'ECDH-ES', 'other', now)
    const way = { options: ways['ID Token'].optionsFor(alg, 'A256GCM'), keys: [next, other, old, current] }
    for (const key of [old, current, next]) {
      await accepts(t, `${alg}, ${key.kid}`, idToken(text => encrypt(text, key)), way)
      await accepts(t, `${alg}, ${key.kid} without a kid`, idToken(text => encrypt(text, key, { kid: undefined })), way)
    }
    const kidsAt = (at: number) => publishedDecryptionKeys(way.keys, at).map(({ kid }) => kid).sort()
    t.same(kidsAt(now), ['current', 'other'], 'one of each algorithm')
    t.same(kidsAt(now + 99.9), ['current', 'other'])
    t.same(kidsAt(now + 100), ['next', 'other'])
    t.same(kidsAt(now - 1000), ['old', 'other'], 'before any has come, the first')
    await refuses(t, 'a key that was taken away', 'provider_decryption_failed', idToken(text => encrypt(text, old)), { ...way, keys: [current, next] })
  }
})
