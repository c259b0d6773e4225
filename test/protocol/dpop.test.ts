import t from 'tap'
import { faultOfProof, isOrdinaryKey, proofSeconds, type ProvedRequest } from '../../src/protocol/dpop.ts'

const now = 1771000000
const url = 'https://passerelle.example/api/v2/token'
// RFC 9449 §7.1
const access_token = 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU'
const ath = 'fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo'

const proof = { jti: '-BwC3ESc6acc2lTc', htm: 'POST', htu: url, iat: now }
/** What is wrong with this proof, changed; a claim that is undefined is not there. */
const fault = (changes: Record<string, unknown> = {}, request: Partial<ProvedRequest> = {}) =>
  faultOfProof(Object.fromEntries(Object.entries({ ...proof, ...changes }).filter(([, value]) => value !== undefined)), { method: 'POST', url, now, ...request })

t.test('a proof has a name of its own, that fits where it is remembered (RFC 9449 §4.2, §11.1)', async t => {
  for (const jti of [undefined, null, '', 1, true, ['a'], {}, 'a'.repeat(257)]) t.match(fault({ jti }), /^jti: /, JSON.stringify(jti)?.slice(0, 20) ?? 'none')
  for (const jti of ['a', 'a'.repeat(256)]) t.equal(fault({ jti }), undefined, `${jti.length} characters`)
})

t.test('a proof for another method is none (RFC 9449 §4.3)', async t => {
  for (const htm of [undefined, null, '', 'GET', 'post', 'POST ', ['POST'], 'POST, GET', 1]) t.match(fault({ htm }), /^htm: expected POST$/, JSON.stringify(htm) ?? 'none')
  t.match(fault({ htm: 'POST' }, { method: 'GET' }), /^htm: expected GET$/)
  t.equal(fault({ htm: 'GET' }, { method: 'GET' }), undefined)
})

t.test('a proof for another address is none (RFC 9449 §4.3)', async t => {
  const others: unknown[] = [
    undefined, null, '', 1, {}, [url], '/api/v2/token', 'token', 'urn:passerelle:token', '//passerelle.example/api/v2/token', 'null/api/v2/token',
    'http://passerelle.example/api/v2/token', 'https://passerelle.example:8443/api/v2/token', 'https://passerelle.example.evil.example/api/v2/token', 'https://evil.example/api/v2/token',
    'https://passerelle.example@evil.example/api/v2/token', 'https://evil.example/?https://passerelle.example/api/v2/token', 'https://evil.example/#https://passerelle.example/api/v2/token',
    'https://passerelle.example/api/v2/token/', 'https://passerelle.example/api/v2/Token', 'https://passerelle.example/api/v2/userinfo', 'https://passerelle.example/token', 'https://passerelle.example/api/v2/token%2f', 'https://passerelle.example', 'https://passerelle.example/'
  ]
  for (const htu of others) t.equal(fault({ htu }), `htu: expected ${url}`, JSON.stringify(htu) ?? 'none')
})

t.test('an address in another spelling of the same is the same, and its query and fragment count for nothing (RFC 9449 §4.3, RFC 3986 §6.2)', async t => {
  for (const htu of [
    url, `${url}?`, `${url}?a=b`, `${url}#`, `${url}#here`, `${url}?a#b`, 'HTTPS://passerelle.example/api/v2/token', 'https://PASSERELLE.Example/api/v2/token',
    'https://passerelle.example:443/api/v2/token', 'https://passerelle.example/api/v1/../v2/token', 'https://passerelle.example/api/v2/./token'
  ]) t.equal(fault({ htu }), undefined, htu)
})

t.test('a proof is of the present: five minutes old at most, half a minute ahead at most (RFC 9449 §11.1)', async t => {
  for (const iat of [undefined, null, '', String(now), true, [now], {}, Infinity, -Infinity, 0, -1, now - 301, now - 300.001, now + 30.001, now + 31, now * 1000]) {
    t.equal(fault({ iat }), 'iat: expected the present time', String(iat))
  }
  for (const iat of [now, now - 300, now - 299.5, now + 30, now + 29.5]) t.equal(fault({ iat }), undefined, `${iat - now} s`)
})

t.test('a proof beside an access token is made for that very token (RFC 9449 §4.3, §7.1)', async t => {
  for (const said of [undefined, null, '', `${ath}=`, ath.toLowerCase(), access_token, [ath], 1, 'b4jZMVVHK6mdZqxMdYq-DcBIr2oJ4xCpOx4Lk5sDqZA']) t.match(fault({ ath: said }, { access_token }), /^ath: /, JSON.stringify(said) ?? 'none')
  t.match(fault({ ath }, { access_token: `${access_token}U` }), /^ath: /, 'another token')
  t.match(fault({ ath }, { access_token: '' }), /^ath: /, 'an empty one')
  t.equal(fault({ ath }, { access_token }), undefined)
  t.equal(fault({ ath }), undefined, 'where no token is sent, nothing is compared')
})

t.test('what a proof says besides is nothing to us', async t => {
  t.equal(fault({ nonce: 'n', htm2: 'GET', exp: 1, sub: 'town' }), undefined)
})

t.test('a name is remembered for as long as a proof of that name could be good again, at a replica whose clock is a minute behind', async t => {
  const ahead = { iat: now + 30 }
  t.equal(fault(ahead), undefined, 'at its first use')
  t.equal(fault(ahead, { now: now + 330 }), undefined, 'at its last')
  t.match(fault(ahead, { now: now + 331 }), /^iat: /)
  t.ok(proofSeconds > 330 + 60, `remembered for ${proofSeconds} s`)
})

t.test('a key that costs more to verify with than keys do is nobody\'s, whoever sends it', async t => {
  const n = (bits: number) => Buffer.alloc(bits / 8, 255).toString('base64url')
  const rsa = { kty: 'RSA', e: 'AQAB', n: n(2048) }
  const others: unknown[] = [
    undefined, null, 'RSA', 1, true,
    { ...rsa, n: n(4104) }, { ...rsa, n: n(16384) }, { ...rsa, n: 'A'.repeat(684) }, { ...rsa, n: undefined }, { ...rsa, n: 1 }, { ...rsa, n: null }, { ...rsa, n: [rsa.n] },
    { ...rsa, e: undefined }, { ...rsa, e: 'Aw' }, { ...rsa, e: 'AAEAAQ' }, { ...rsa, e: 'AQAB=' }, { ...rsa, e: 65537 }, { ...rsa, e: n(2048) }
  ]
  for (const jwk of others) t.equal(isOrdinaryKey(jwk as never), false, JSON.stringify(jwk)?.slice(0, 40))
  for (const bits of [2048, 3072, 4096]) t.equal(isOrdinaryKey({ ...rsa, n: n(bits) }), true, `RSA of ${bits} bits`)
  for (const jwk of [{ kty: 'EC', crv: 'P-256', x: 'x', y: 'y' }, { kty: 'OKP', crv: 'Ed25519', x: 'x' }]) t.equal(isOrdinaryKey(jwk), true, jwk.kty)
})
