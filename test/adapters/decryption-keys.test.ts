import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { deflateRawSync } from 'node:zlib'
import { CompactEncrypt, type CompactJWEHeaderParameters, type JWK } from 'jose'
import t from 'tap'
import { decrypter, decryptionKey, publishedDecryptionKeys, type DecryptionKey } from '../../src/adapters/decryption-keys.ts'
import { isPublic, type Encryption } from '../../src/protocol/algorithms.ts'

const now = 1771000000
const rsa = (modulusLength = 2048) => generateKeyPairSync('rsa', { modulusLength })
const ec = (namedCurve = 'P-256') => generateKeyPairSync('ec', { namedCurve })

/** A key of ours as it is read from its file. */
const loaded = (alg: Encryption['alg'], kid: string, nbf = now - 100, { privateKey }: { privateKey: KeyObject } = alg === 'RSA-OAEP-256' ? rsa() : ec()) =>
  decryptionKey({ ...privateKey.export({ format: 'jwk' }) as JWK, kid, alg, nbf })

/** A JWE as an identity provider makes it for a key that we publish; `header` is laid over its own. */
async function encryptedFor ({ published: { kid, alg, ...jwk } }: Pick<DecryptionKey, 'published'>, text: string, header: object = {}, enc = 'A256GCM') {
  const all = Object.fromEntries(Object.entries({ alg, enc, kid, cty: 'JWT', ...header }).filter(([, value]) => value !== undefined)) as unknown as CompactJWEHeaderParameters
  return new CompactEncrypt(Buffer.from(text)).setProtectedHeader(all).encrypt(jwk as JWK)
}
const rsaKeys = ['old', 'current', 'next'].map((kid, i) => loaded('RSA-OAEP-256', kid, now - 100 + 100 * i + (i > 1 ? 1 : 0)))
const ecKeys = ['ec-old', 'ec-current', 'ec-next'].map((kid, i) => loaded('ECDH-ES', kid, now - 100 + 100 * i + (i > 1 ? 1 : 0)))
const keys = [...rsaKeys, ...ecKeys]
const registered: Record<Encryption['alg'], Encryption> = { 'RSA-OAEP-256': { alg: 'RSA-OAEP-256', enc: 'A256GCM' }, 'ECDH-ES': { alg: 'ECDH-ES', enc: 'A256GCM' } }
const refusal = (failure: string, message?: RegExp) => ({ name: 'OAuthError', failure: new RegExp(`^${failure}$`), cause: undefined, ...(message === undefined ? {} : { message }) })
const failed = refusal('provider_decryption_failed', /^id_token: by none of our keys$/)
const open = decrypter(() => keys)

// ---- the keys

t.test('a key that does not fit its algorithm is refused', async t => {
  const table: Array<[what: string, alg: string, key: { privateKey: KeyObject }]> = [
    ['an RSA key of 1,024 bits', 'RSA-OAEP-256', rsa(1024)],
    ['an RSA key of 2,040 bits', 'RSA-OAEP-256', rsa(2040)],
    ['a key of a curve', 'RSA-OAEP-256', ec()],
    ['a key to sign with', 'RSA-OAEP-256', generateKeyPairSync('ed25519')],
    ['an RSA key', 'ECDH-ES', rsa()],
    ['a key of P-384', 'ECDH-ES', ec('P-384')],
    ['a key of P-521', 'ECDH-ES', ec('P-521')],
    ['a key of secp256k1', 'ECDH-ES', ec('secp256k1')],
    ['a key of X25519', 'ECDH-ES', generateKeyPairSync('x25519')],
    ['an RSA key', 'RSA-OAEP', rsa()],
    ['an RSA key', 'RSA1_5', rsa()],
    ['an RSA key', 'RS256', rsa()],
    ['a key of a curve', 'ECDH-ES+A256KW', ec()]
  ]
  for (const [what, alg, pair] of table) t.throws(() => loaded(alg as Encryption['alg'], 'one', now, pair), { message: 'the key does not fit its alg' }, `${what} for ${alg}`)
})

t.test('what is no private key is refused', async t => {
  const publicJwk = rsa().publicKey.export({ format: 'jwk' }) as JWK
  for (const jwk of [publicJwk, {}, { kty: 'oct', k: 'AAAA' }, { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', d: 'AA' }, { ...publicJwk, d: 'AA' }] as JWK[]) {
    t.throws(() => decryptionKey({ ...jwk, kid: 'one', alg: 'RSA-OAEP-256', nbf: now }), Error, JSON.stringify(Object.keys(jwk)))
  }
})

t.test('of a key its public part is published, its name, algorithm and use, and nothing that its file says beside', async t => {
  for (const [alg, { privateKey }, members] of [['RSA-OAEP-256', rsa(), ['alg', 'e', 'kid', 'kty', 'n', 'use']], ['ECDH-ES', ec(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']]] as const) {
    const { published, ...key } = decryptionKey({ ...privateKey.export({ format: 'jwk' }) as JWK, kid: 'one', alg, nbf: now, use: 'sig', key_ops: ['decrypt'], password: 'x' } as JWK & { kid: string, alg: Encryption['alg'], nbf: number })
    t.strictSame(Object.keys(published).toSorted(), members)
    t.match(published, { kid: 'one', alg, use: 'enc' })
    t.equal(isPublic(published), true)
    t.match(key, { kid: 'one', alg, nbf: now })
    t.equal(key.privateKey.type, 'private')
  }
})

t.test('of each algorithm the newest key whose time has come is published: every replica has it', async t => {
  const kidsAt = (of: readonly DecryptionKey[], at: number) => publishedDecryptionKeys(of, at).map(({ kid }) => kid)
  t.strictSame(kidsAt(keys, now), ['current', 'ec-current'])
  t.strictSame(kidsAt(keys.toReversed(), now), ['ec-current', 'current'], 'whatever the order they were loaded in')
  t.strictSame(kidsAt(keys, now - 1), ['old', 'ec-old'])
  t.strictSame(kidsAt(keys, now + 100), ['current', 'ec-current'])
  t.strictSame(kidsAt(keys, now + 101), ['next', 'ec-next'])
  t.strictSame(kidsAt(keys, now - 1000), ['old', 'ec-old'], 'when none has come yet, the first that will')
  t.strictSame(kidsAt(rsaKeys, now), ['current'])
  t.strictSame(kidsAt([], now), [])
})

// ---- opening

t.test('what was not encrypted for any of our keys does not open', async t => {
  for (const alg of ['RSA-OAEP-256', 'ECDH-ES'] as const) {
    const [stranger, own] = [loaded(alg, 'current'), keys.find(key => key.alg === alg && key.kid.endsWith('current'))!]
    const table: Array<[what: string, jwe: string]> = [
      ['for a key of the same name', await encryptedFor(stranger, 'x', { kid: own.kid })],
      ['for a key that it does not name', await encryptedFor(stranger, 'x', { kid: undefined })],
      ['for a key of ours, by a name that nobody knows', await encryptedFor(own, 'x', { kid: 'unknown' })],
      ['by an empty name', await encryptedFor(own, 'x', { kid: '' })],
      ['by the name of another key of ours', await encryptedFor(own, 'x', { kid: keys.find(key => key.alg === alg && key !== own)!.kid })],
      ['by the name of a key of ours for another algorithm', await encryptedFor(own, 'x', { kid: keys.find(key => key.alg !== alg)!.kid })]
    ]
    for (const [what, jwe] of table) await t.rejects(open(jwe, registered[alg], 'id_token'), failed, `${alg} ${what}`)
  }
})

t.test('whatever is altered in it, it does not open, and never is it an error of ours', async t => {
  for (const key of [rsaKeys[1]!, ecKeys[1]!]) {
    let parts: string[]
    do parts = (await encryptedFor(key, '{"sub":"Wilhelmina"}')).split('.')
    while (Buffer.from(parts[1]!, 'base64url')[0] === 0)                // RSA takes no notice of a leading zero that is left out
    const altered = (i: number, change: (bytes: Buffer) => Buffer) => parts.map((part, j) => j === i ? change(Buffer.from(part, 'base64url')).toString('base64url') : part).join('.')
    for (const i of [1, 2, 3, 4]) {
      const turned = altered(i, bytes => Buffer.from(bytes.map((byte, j) => j === 0 ? byte ^ 1 : byte)))
      if (parts[i] !== '') await t.rejects(open(turned, registered[key.alg], 'id_token'), failed, `${key.alg} part ${i} turned`)
      for (const jwe of [altered(i, bytes => bytes.subarray(1)), altered(i, bytes => Buffer.concat([bytes, Buffer.alloc(1)])), parts.map((part, j) => i === j ? 'é' : part).join('.')]) {
        if (jwe !== parts.join('.')) await t.rejects(open(jwe, registered[key.alg], 'id_token'), failed, `${key.alg} part ${i}`)
      }
    }
    const header = JSON.parse(Buffer.from(parts[0]!, 'base64url').toString()) as object
    for (const more of [{ more: 1 }, { kid: undefined }, { epk: undefined }, { epk: null }, { epk: {} }, { epk: ec('P-384').publicKey.export({ format: 'jwk' }) }, { epk: ec().publicKey.export({ format: 'jwk' }) }, { apu: 'AAAA' }]) {
      const other = Buffer.from(JSON.stringify({ ...header, ...more })).toString('base64url')
      if (other !== parts[0]) await t.rejects(open([other, ...parts.slice(1)].join('.'), registered[key.alg], 'id_token'), failed, `${key.alg} header ${Object.keys(more)}`)
    }
  }
})

t.test('what is encrypted otherwise than was registered is refused by name, before any key is tried', async t => {
  const tried: string[] = []
  const looking = decrypter(() => { tried.push('tried'); return keys })
  const [rsaKey, ecKey] = [rsaKeys[1]!, ecKeys[1]!]
  const table: Array<[what: string, jwe: string, encryption: Encryption, failure: string]> = [
    ['another algorithm of ours', await encryptedFor(ecKey, 'x'), registered['RSA-OAEP-256'], 'provider_encryption_wrong'],
    ['another algorithm of ours', await encryptedFor(rsaKey, 'x'), registered['ECDH-ES'], 'provider_encryption_wrong'],
    ['another algorithm of RSA', await encryptedFor(rsaKey, 'x', { alg: 'RSA-OAEP' }), registered['RSA-OAEP-256'], 'provider_encryption_wrong'],
    ['another wrapping', await encryptedFor(ecKey, 'x', { alg: 'ECDH-ES+A256KW' }), registered['ECDH-ES'], 'provider_encryption_wrong'],
    ['another encryption of the content', await encryptedFor(rsaKey, 'x', {}, 'A128GCM'), registered['RSA-OAEP-256'], 'provider_encryption_wrong'],
    ['another encryption of the content', await encryptedFor(rsaKey, 'x', {}, 'A256CBC-HS512'), registered['RSA-OAEP-256'], 'provider_encryption_wrong'],
    ['no header', 'e30.a.b.c.d', registered['RSA-OAEP-256'], 'provider_encryption_wrong'],
    ['no JWE', 'a.b.c.d.e', registered['RSA-OAEP-256'], 'provider_token_malformed'],
    ['nothing', '', registered['RSA-OAEP-256'], 'provider_token_malformed']
  ]
  for (const [what, jwe, encryption, failure] of table) await t.rejects(looking(jwe, encryption, 'id_token'), refusal(failure), `${what} ${encryption.alg}`)
  for (const [more, failure] of [[{ zip: 'DEF' }, 'provider_answer_compressed'], [{ crit: ['x'], x: 1 }, 'provider_extension_unknown']] as const) {
    const header = Buffer.from(JSON.stringify({ ...registered['RSA-OAEP-256'], kid: rsaKey.kid, ...more })).toString('base64url')
    const bomb = deflateRawSync(Buffer.alloc(50_000_000)).toString('base64url')
    await t.rejects(looking([header, 'AAAA', 'AAAA', bomb, 'AAAA'].join('.'), registered['RSA-OAEP-256'], 'userinfo'), refusal(failure, /^userinfo: /), failure)
  }
  t.strictSame(tried, [])
})

t.test('what was encrypted for any key of ours opens as it was: with the key before it, the one in force, and the next, named or not', async t => {
  for (const key of keys) {
    for (const enc of ['A256GCM', 'A128GCM'] as const) {
      for (const header of [{}, { kid: undefined }, { cty: undefined, typ: 'JWT' }]) {
        const text = '{"sub":"Angélique 李 \u2028"}'
        t.equal(await open(await encryptedFor(key, text, header, enc), { alg: key.alg, enc }, 'id_token'), text, `${key.kid} ${enc} ${Object.keys(header)}`)
      }
    }
  }
  for (const text of ['x', 'a'.repeat(200_000)]) t.equal(await open(await encryptedFor(rsaKeys[1]!, text), registered['RSA-OAEP-256'], 'id_token'), text)
})

t.test('two keys of one name are both tried', async t => {
  const twins = [loaded('ECDH-ES', 'twin'), loaded('ECDH-ES', 'twin')]
  for (const twin of twins) t.equal(await decrypter(() => twins)(await encryptedFor(twin, 'x'), registered['ECDH-ES'], 'id_token'), 'x')
})

t.test('keys are looked up when something is to be opened: a new one needs no restart, one taken away opens nothing', async t => {
  const [before, after] = [loaded('ECDH-ES', 'before'), loaded('ECDH-ES', 'after')]
  let inForce: readonly DecryptionKey[] = [before]
  const changing = decrypter(() => inForce)
  const jwe = await encryptedFor(after, 'x')
  await t.rejects(changing(jwe, registered['ECDH-ES'], 'id_token'), failed)
  inForce = [before, after]
  t.equal(await changing(jwe, registered['ECDH-ES'], 'id_token'), 'x')
  inForce = []
  await t.rejects(changing(jwe, registered['ECDH-ES'], 'id_token'), failed)
})
