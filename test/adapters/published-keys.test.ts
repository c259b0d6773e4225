import t, { type Test } from 'tap'
import type { JWK } from 'jose'
import { publishedKeys } from '../../src/adapters/published-keys.ts'
import { encrypts } from '../../src/protocol/algorithms.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { createForgedKey, signedBy } from '../support/forging-provider.ts'

// The clock of this process stands still, and goes ahead as a test says.
const begin = Math.round(performance.now())
let aheadMs = 0
performance.now = () => begin + aheadMs
t.afterEach(() => { aheadMs = 0 })

const seconds = 1000
const minutes = 60 * seconds
const down = new OAuthError('provider_unavailable', 'down')
const noMatchingKey = { code: 'ERR_JWKS_NO_MATCHING_KEY' }

/** Keys of a provider that counts how often it is asked, and answers as a test says; `key` is the one that it publishes. */
function desk (keeping: Parameters<typeof publishedKeys>[1] = {}) {
  const state = { key: createForgedKey('ES256', 'one'), asked: 0, answer: async (): Promise<unknown> => ({ keys: [state.key.published] }) }
  const keys = publishedKeys(async () => { state.asked++; return await state.answer() as never }, keeping)
  return {
    ...keys,
    state,
    /** A token by the provider's key, unless another is given, looked at. */
    look: async (key = state.key) => JSON.parse(Buffer.from((await keys.verify(await signedBy(key, { sub: 's' }), ['ES256'])).payload).toString())
  }
}
const unknown = createForgedKey('ES256', 'unknown')
/** What was begun behind a citizen's back has come to its end. */
const settled = () => new Promise(resolve => setImmediate(resolve))
/** An answer that comes when the test says. */
function later (state: ReturnType<typeof desk>['state']) {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const { answer } = state
  state.answer = () => promise.then(answer)
  return { come: resolve, fail: reject }
}
const accepts = async (t: Test, answer: Promise<unknown>, what: string) => t.match(await answer.catch(error => error), { sub: 's' }, what)

t.test('keys are asked for at the first token, once for all who wait, and not again while they are fresh', async t => {
  const { state, look } = desk()
  t.equal(state.asked, 0, 'not before')
  const keys = later(state)
  const together = [look(), look(), look()]
  await settled()
  keys.come()
  for (const answer of together) await accepts(t, answer, 'one of three')
  aheadMs = 5 * minutes - 1
  await accepts(t, look(), 'five minutes less a millisecond later')
  await settled()
  t.equal(state.asked, 1)
})

t.test('a key that nobody knows is asked for at once, also where the last answer was a failure that is not to be repeated so soon', async t => {
  const { state, look } = desk()
  const { answer } = state
  await look()
  state.answer = async () => { throw down }
  aheadMs = 6 * minutes
  await accepts(t, look(), 'the last known ones serve on')
  await settled()
  t.equal(state.asked, 2)
  state.key = createForgedKey('ES256', 'two')
  state.answer = answer
  await accepts(t, look(), 'the first token by the new key')
  t.equal(state.asked, 3, 'at once')
})

t.test('a first answer that fails is that token\'s failure, and of whoever comes within the same second', async t => {
  const { state, look } = desk()
  const { answer } = state
  state.answer = async () => { throw down }
  for (const [ms, asked] of [[0, 1], [999, 1], [1000, 2]] as const) {
    aheadMs = ms
    await t.rejects(look(), down)
    t.equal(state.asked, asked, `after ${ms} ms`)
  }
  state.answer = async () => ({})
  for (const ms of [2000, 2999]) {
    aheadMs = ms
    await t.rejects(look(), { code: 'ERR_JWKS_INVALID' }, 'so is a set that is none')
    t.equal(state.asked, 3)
  }
  aheadMs = 3000
  state.answer = answer
  await accepts(t, look(), 'then it answers')
  t.equal(state.asked, 4)
})

t.test('keys of five minutes are renewed in the background, once at a time', async t => {
  const { state, look } = desk()
  await look()
  const before = state.key
  aheadMs = 5 * minutes
  const keys = later(state)
  await accepts(t, look(), 'nobody waits')
  await accepts(t, look(), 'nor the next')
  t.equal(state.asked, 2)

  state.key = createForgedKey('ES256', 'two')
  keys.come()
  await settled()
  await accepts(t, look(), 'the new key is known without another question')
  t.equal(state.asked, 2)
  await t.rejects(look(before), noMatchingKey, 'and the old one is no longer')
})

t.test('renewed keys are fresh from when they came', async t => {
  const { state, look } = desk()
  await look()
  aheadMs = 5 * minutes
  const keys = later(state)
  await look()
  aheadMs = 7 * minutes
  keys.come()
  await settled()
  aheadMs = 12 * minutes - 1
  await look()
  t.equal(state.asked, 2)
  aheadMs = 12 * minutes
  await look()
  t.equal(state.asked, 3)
})

t.test('while they cannot be renewed the last good keys serve on, and a provider that is down is asked every five minutes only', async t => {
  const { state, look } = desk()
  await look()
  state.answer = async () => { throw down }
  for (const [step, asked] of [[1, 2], [2, 3], [3, 4]] as const) {
    aheadMs = step * 5 * minutes
    for (let i = 0; i < 3; i++) {
      await accepts(t, look(), `${step * 5} minutes later`)
      await settled()
    }
    aheadMs += 5 * minutes - 1
    await look()
    t.equal(state.asked, asked)
  }
})

t.test('keys that nobody has asked after for an hour are renewed before they are believed, and serve on where they cannot be', async t => {
  const { state, look } = desk()
  await look()
  const before = state.key
  state.key = createForgedKey('ES256', 'two')
  aheadMs = 60 * minutes - 1
  await accepts(t, look(before), 'an hour less a millisecond: behind the citizen\'s back')
  await settled()
  t.equal(state.asked, 2)

  const three = createForgedKey('ES256', 'three')
  state.key = three
  aheadMs += 60 * minutes
  const keys = later(state)
  const waits = look()
  await settled()
  keys.come()
  await accepts(t, waits, 'an hour: whoever comes waits for the key of today')
  t.equal(state.asked, 3)

  state.key = before
  aheadMs += 60 * minutes
  await t.rejects(look(three), noMatchingKey, 'a key that is withdrawn is known to be, before it is believed')

  state.answer = async () => { throw down }
  aheadMs += 24 * 60 * minutes
  await accepts(t, look(before), 'while they cannot be had, the last good ones')
  const asked = state.asked
  await accepts(t, look(before), 'and nobody waits for each token')
  t.equal(state.asked, asked)
})

t.test('an unknown kid is worth one question, at once', async t => {
  const { state, look } = desk()
  await look()
  state.key = createForgedKey('ES256', 'two')
  await accepts(t, look(), 'a key of today')
  t.equal(state.asked, 2)
  await look()
  t.equal(state.asked, 2)
})

t.test('unknown kids are worth one question in thirty seconds, whatever came of it', async t => {
  for (const [what, fails] of [['a provider that answers', false], ['a provider that is down', true]] as const) {
    aheadMs = 0
    const { state, look } = desk()
    await look()
    if (fails) state.answer = async () => { throw down }
    for (const [ms, asked] of [[0, 2], [1, 2], [30 * seconds - 1, 2], [30 * seconds, 3], [60 * seconds - 1, 3], [60 * seconds, 4]] as const) {
      aheadMs = ms
      await t.rejects(look(unknown), fails ? down : noMatchingKey, `${what}: not believed after ${ms} ms`)
      t.equal(state.asked, asked, `${what}: asked ${asked} times after ${ms} ms`)
      await accepts(t, look(), `${what}: a known kid gets in`)
    }
    t.equal(state.asked, 4)
  }
})

t.test('while the keys cannot be had nobody says of another one that it is none: it may be the one of today', async t => {
  const { state, look, renew } = desk()
  await look()
  const before = state.key
  const { answer } = state
  state.key = createForgedKey('ES256', 'two')
  const keys = later(state)
  const together = [look(), look()]
  await settled()
  keys.fail(down)
  for (const one of together) await t.rejects(one, down, 'for all who wait')
  for (const ms of [1, 30 * seconds - 1]) {
    aheadMs = ms
    await t.rejects(look(), down, `nor after ${ms} ms, when they are not asked for`)
    await t.rejects(look(createForgedKey('ES256', 'one')), down, 'nor of another key under the old name')
    await accepts(t, look(before), 'a known kid gets in')
  }
  t.equal(state.asked, 2)

  state.answer = answer
  await renew()
  await accepts(t, look(), 'as soon as they are had, by whatever question, the key of today is known')
  await t.rejects(look(before), noMatchingKey, 'and one that is none is told so')
  t.equal(state.asked, 3)
})

t.test('who comes with an unknown kid while the keys are asked for waits for them', async t => {
  const { state, look, verify } = desk()
  await look()
  state.key = createForgedKey('ES256', 'two')
  const [jwt, stranger] = [await signedBy(state.key, { sub: 's' }), await signedBy(unknown, { sub: 's' })]
  const ask = async (token = jwt) => JSON.parse(Buffer.from((await verify(token, ['ES256'])).payload).toString())
  const keys = later(state)
  const together = [ask(), ask(), ask(stranger)]
  await settled()
  aheadMs = 1
  const late = ask()
  await settled()
  keys.come()
  await t.rejects(together[2]!, noMatchingKey)
  for (const answer of [...together.slice(0, 2), late]) await accepts(t, answer, 'the new key')
  t.equal(state.asked, 2)
})

t.test('a key that is another by now under its old name is had at once, and asked for once in thirty seconds', async t => {
  const { state, look } = desk()
  await look()
  const before = state.key
  state.key = createForgedKey('ES256', 'one')
  await accepts(t, look(), 'the key of today')
  t.equal(state.asked, 2)
  for (const ms of [0, 1, 30 * seconds - 1]) {
    aheadMs = ms
    await t.rejects(look(before), { code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' })
    t.equal(state.asked, 2, `after ${ms} ms`)
  }
  aheadMs = 30 * seconds
  await t.rejects(look(before), { code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' })
  await t.rejects(look(unknown), noMatchingKey, 'for whatever reason')
  t.equal(state.asked, 3)
})

t.test('a token that is wrong for another reason than its key asks nobody', async t => {
  const { state, look, verify } = desk()
  await look()
  const good = await signedBy(state.key, { sub: 's' })
  for (const [what, jws, alg] of [
    ['another algorithm than registered', good, 'RS256'],
    ['no token', 'Dupont', 'ES256'],
    ['a header that is none', good.replace(/^[^.]*/, 'Dupont'), 'ES256']
  ] as const) {
    const error = await verify(jws, [alg]).then(() => new Error('accepted'), error => error)
    t.match(error, { code: /^ERR_J/ }, what)
    t.not(error.code, noMatchingKey.code, what)
  }
  t.equal(state.asked, 1)
})

const nameless = ({ published: { kid, ...published } }: ReturnType<typeof createForgedKey>) => published
const withoutKid = ({ alg, privateKey }: ReturnType<typeof createForgedKey>) => signedBy({ alg, privateKey } as Parameters<typeof signedBy>[0], { sub: 's' })

t.test('of several keys that fit a token\'s header names one, or it is refused without a question (OpenID Connect Core §10.1)', async t => {
  const { state, verify } = desk()
  const [one, two, other] = [createForgedKey('ES256'), createForgedKey('ES256'), createForgedKey('EdDSA')]
  state.answer = async () => ({ keys: [nameless(one), nameless(other), nameless(two)] })
  for (const key of [one, two]) await t.rejects(verify(await withoutKid(key), ['ES256']), { code: 'ERR_JWKS_MULTIPLE_MATCHING_KEYS' })
  await t.rejects(verify(await withoutKid(one), ['RS256']), { code: 'ERR_JOSE_ALG_NOT_ALLOWED' })
  t.same(JSON.parse(Buffer.from((await verify(await withoutKid(other), ['EdDSA'])).payload).toString()), { sub: 's' }, 'where one fits it need not be named')
  t.equal(state.asked, 1)
})

t.test('a key of the Edwards curve is found by either name of EdDSA, any other by the algorithm that it is for only (RFC 7517 §4.4, RFC 9864 §2.2)', async t => {
  const [ed, rsa] = [createForgedKey('EdDSA'), createForgedKey('RS256')]
  for (const alg of [undefined, 'EdDSA', 'Ed25519']) {
    const { state, verify } = desk()
    state.answer = async () => ({ keys: [{ ...ed.published, alg }, { ...rsa.published, alg: 'PS256' }] })
    for (const name of ['EdDSA', 'Ed25519']) t.ok(await verify(await signedBy({ ...ed, alg: name } as typeof ed, { sub: 's' }), ['EdDSA', 'Ed25519']), `${name} by a key for ${alg ?? 'anything'}`)
    await t.rejects(verify(await signedBy(rsa, { sub: 's' }), ['RS256']), noMatchingKey, 'RS256 by a key for PS256')
  }
})

t.test('what is no set of keys does not take the place of one', async t => {
  const { state, look } = desk()
  for (const jwks of [null, 1, 'keys', [], {}, { keys: null }, { keys: {} }, { keys: [null] }, { keys: [1] }, { keys: [[]] }, { keys: [state.key.published, 'x'] }]) {
    state.answer = async () => jwks
    aheadMs += 1000
    await t.rejects(look(), { code: 'ERR_JWKS_INVALID' }, JSON.stringify(jwks).slice(0, 40))
  }
})

t.test('keys that are asked for ahead are there', async t => {
  const { state, look, prefetch } = desk()
  const keys = later(state)
  const ahead = prefetch()
  keys.come()
  await ahead
  await accepts(t, look(), 'the first token')
  t.equal(state.asked, 1)
  const other = desk()
  later(other.state).fail(down)
  await t.rejects(other.prefetch(), down)
})

t.test('keys are asked for now where somebody says so, once for all who do, and a failure takes nothing away', async t => {
  const { state, look, renew } = desk()
  await look()
  state.key = createForgedKey('ES256', 'two')
  await Promise.all([renew(), renew()])
  t.equal(state.asked, 2)
  await accepts(t, look(), 'the key of now')
  state.answer = async () => { throw down }
  await t.rejects(renew(), down)
  await accepts(t, look(), 'as last known')
  t.equal(state.asked, 3)
})

t.test('keys that somebody else was told are taken over once, as old as they are', async t => {
  const theirs = createForgedKey('ES256', 'theirs')
  for (const [ageMs, asked] of [[0, 0], [5 * minutes - 1, 0], [5 * minutes, 1]] as const) {
    let restored = 0
    const { state, look, takeOver } = desk({ restore: async () => { restored++; return { value: { keys: [theirs.published] }, ageMs } } })
    state.answer = async () => { throw down }
    const taking = Promise.all([takeOver(), takeOver()])
    await Promise.all([accepts(t, look(theirs), `${ageMs} ms old`), accepts(t, look(theirs), 'for all who wait')])
    await taking
    await settled()
    t.equal(state.asked, asked, 'what is not fresh is asked for behind the citizen\'s back')
    await takeOver()
    await accepts(t, look(theirs), 'again')
    t.equal(restored, 1)
  }
  const { state, look, takeOver } = desk({ restore: async () => ({ value: { keys: [theirs.published] }, ageMs: 60 * minutes }) })
  await takeOver()
  await accepts(t, look(), 'an hour old: whoever comes waits for the key of today')
  t.equal(state.asked, 1)
})

t.test('what nobody else was told, or cannot be read, or is no set of keys, is asked for', async t => {
  for (const restore of [async () => undefined, async () => { throw down }, async () => ({ value: {} as never, ageMs: 0 }), async () => ({ value: { keys: [null] } as never, ageMs: 0 })]) {
    const { state, look, takeOver } = desk({ restore })
    await t.resolves(takeOver())
    await accepts(t, look(), 'by the provider')
    t.equal(state.asked, 1)
  }
  const { state, look, takeOver } = desk()
  await t.resolves(takeOver(), 'nor is there anybody else')
  await accepts(t, look(), 'by the provider')
  t.equal(state.asked, 1)
})

t.test('what was asked for meanwhile is newer than what somebody else was told', async t => {
  const theirs = createForgedKey('ES256', 'theirs')
  const { promise, resolve } = Promise.withResolvers<void>()
  const { state, look, renew, takeOver } = desk({ restore: async () => { await promise; return { value: { keys: [theirs.published] }, ageMs: 0 } } })
  const taking = takeOver()
  await renew()
  resolve()
  await taking
  await accepts(t, look(), 'its own')
  await t.rejects(look(theirs), noMatchingKey)
  t.equal(state.asked, 2)
})

t.test('each set that is had is told of, as it was published, and no other', async t => {
  const kept: unknown[] = []
  const theirs = createForgedKey('ES256', 'theirs')
  const { state, look, renew, takeOver } = desk({ kept: jwks => { kept.push(jwks) }, restore: async () => ({ value: { keys: [theirs.published] }, ageMs: 0 }) })
  await takeOver()
  await look(theirs)
  t.same(kept, [], 'nor what somebody else was told')
  await look()
  t.same(kept, [{ keys: [state.key.published] }])
  for (const answer of [async () => { throw down }, async () => ({}), async () => ({ keys: [1] })]) {
    state.answer = answer
    await t.rejects(renew())
  }
  t.equal(kept.length, 1)
})

t.test('keys that nobody could renew for so long are worth nothing any more, where there is such a time', async t => {
  const { state, look } = desk({ endMs: 24 * 60 * minutes })
  await look()
  const { answer } = state
  state.answer = async () => { throw down }
  aheadMs = 24 * 60 * minutes - 1
  await accepts(t, look(), 'a day less a millisecond')
  aheadMs = 24 * 60 * minutes
  await t.rejects(look(), down)
  for (const asked of [3, 4]) {
    aheadMs += 1000
    await t.rejects(look(), down)
    t.equal(state.asked, asked, 'each second asked for first')
  }
  aheadMs += 1000
  state.answer = answer
  await accepts(t, look(), 'when they can be had again')
  const old = desk({ endMs: 1000, restore: async () => ({ value: { keys: [state.key.published] }, ageMs: 1000 }) })
  old.state.answer = async () => { throw down }
  await old.takeOver()
  await t.rejects(old.look(state.key), down, 'nor are such keys taken over')
})

t.test('a key to encrypt with is found among those for signing, asked for at once where it is missing, and undefined where there is none', async t => {
  const { state, encryptionKey } = desk()
  const enc: JWK = { kty: 'EC', crv: 'P-384', x: 'x', y: 'y', use: 'enc' }
  state.answer = async () => ({ keys: [state.key.published] })
  t.equal(await encryptionKey('ECDH-ES'), undefined)
  t.equal(state.asked, 2)
  state.answer = async () => ({ keys: [state.key.published, enc] })
  t.equal(await encryptionKey('ECDH-ES'), undefined, 'once in thirty seconds')
  t.equal(state.asked, 2)
  aheadMs = 30 * seconds
  t.strictSame(await encryptionKey('ECDH-ES'), enc)
  t.strictSame(await encryptionKey('ECDH-ES'), enc)
  t.equal(state.asked, 3)
  state.answer = async () => { throw down }
  aheadMs = 60 * seconds
  for (let i = 0; i < 3; i++) await t.rejects(encryptionKey('RSA-OAEP-256'), down, 'while they cannot be had nobody knows that there is none')
  t.strictSame(await encryptionKey('ECDH-ES'), enc, 'and the last known one serves on')
  t.equal(state.asked, 4)
})

t.test('of keys to encrypt with one that says so goes before one that does not say, else the first will do', async t => {
  const [vague, vaguer, own]: JWK[] = [{ kty: 'EC', crv: 'P-256' }, { kty: 'EC', crv: 'P-521' }, { kty: 'OKP', crv: 'X25519', use: 'enc' }]
  for (const [keys, chosen] of [[[vague, own, vaguer], own], [[own, vague], own], [[vague, vaguer], vague], [[{ ...vague, use: 'sig' }, vaguer], vaguer]]) {
    const { state, encryptionKey } = desk()
    state.answer = async () => ({ keys })
    t.strictSame(await encryptionKey('ECDH-ES'), chosen)
  }
})

t.test('a key encrypts by the way that its kind, its use and its own algorithm allow, and by no other (RFC 7517 §4.2, §4.4)', async t => {
  const rsa: JWK = { kty: 'RSA', n: 'x'.repeat(342), e: 'AQAB' }
  const table: Array<[jwk: JWK, byRsa: boolean, byCurve: boolean]> = [
    [rsa, true, false],
    [{ ...rsa, use: 'enc' }, true, false],
    [{ ...rsa, use: 'sig' }, false, false],
    [{ ...rsa, use: '' }, false, false],
    [{ ...rsa, alg: 'RSA-OAEP-256' }, true, false],
    [{ ...rsa, alg: 'RSA-OAEP' }, false, false],
    [{ ...rsa, alg: 'RS256' }, false, false],
    [{ ...rsa, alg: 'ECDH-ES' }, false, false],
    [{ ...rsa, crv: 'P-256' }, true, false],
    [{ ...rsa, n: 'x'.repeat(683) }, true, false],
    [{ ...rsa, n: 'x'.repeat(341) }, false, false],
    [{ ...rsa, n: 1024 as never }, false, false],
    [{ kty: 'RSA' }, false, false],
    [{ kty: 'EC', n: rsa.n! }, false, false],
    [{ kty: 'EC', crv: 'P-256' }, false, true],
    [{ kty: 'EC', crv: 'P-384' }, false, true],
    [{ kty: 'EC', crv: 'P-521' }, false, true],
    [{ kty: 'EC', crv: 'P-256', use: 'enc', alg: 'ECDH-ES' }, false, true],
    [{ kty: 'EC', crv: 'P-256', use: 'sig' }, false, false],
    [{ kty: 'EC', crv: 'P-256', alg: 'ES256' }, false, false],
    [{ kty: 'EC', crv: 'P-256', alg: 'ECDH-ES+A256KW' }, false, false],
    [{ kty: 'EC', crv: 'P-256', alg: 'RSA-OAEP-256' }, false, false],
    [{ kty: 'EC', crv: 'secp256k1' }, false, false],
    [{ kty: 'EC', crv: 'X25519' }, false, false],
    [{ kty: 'EC' }, false, false],
    [{ kty: 'OKP', crv: 'X25519' }, false, true],
    [{ kty: 'OKP', crv: 'X448' }, false, false],
    [{ kty: 'OKP', crv: 'Ed25519' }, false, false],
    [{ kty: 'OKP', crv: 'P-256' }, false, false],
    [{ kty: 'oct' }, false, false],
    [{ crv: 'P-256' }, false, false],
    [{}, false, false]
  ]
  for (const [jwk, byRsa, byCurve] of table) t.same([encrypts(jwk, 'RSA-OAEP-256'), encrypts(jwk, 'ECDH-ES')], [byRsa, byCurve], JSON.stringify(jwk))
})
