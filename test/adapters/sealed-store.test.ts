import { randomBytes } from 'node:crypto'
import t from 'tap'
import { isSealedHandle, newHandle } from '../../src/adapters/handles.ts'
import { tokenName } from '../../src/adapters/record-store.ts'
import { sealedStore } from '../../src/adapters/sealed-store.ts'
import { life, limit } from '../../src/records.ts'
import { keyring, sealerOf } from '../support/degradable.ts'
import { findWords } from '../support/personal-data.ts'
import { claimOf, grantOf, identificationOf, keepsContract } from '../support/store-contract.ts'

const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }
const start = 1_800_000_000

/** Replicas that share their keys, and whose clocks differ by so much. */
function replicas (...clockErrors: number[]) {
  const clock = { now: start }
  const keys = keyring()
  const open = (error = 0, most?: number) => {
    const now = () => clock.now + error
    return sealedStore({ site: 'a', sealer: sealerOf(now, keys), now, ...(most === undefined ? {} : { most }) })
  }
  return { clock, sealer: sealerOf(() => clock.now, keys), open, stores: clockErrors.map(error => open(error)) }
}
const nameOf = (access_token: string) => tokenName('a', access_token)
const won = (outcome: object): outcome is { access_token: string } => 'access_token' in outcome

t.test('the sealed store keeps the contract, but for what it says that it cannot', async t => {
  const { clock, open } = replicas()
  const one = open()
  // what another replica redeemed and ended it does not know: one stands for both
  await keepsContract(t, {
    site: 'a',
    open: () => ({ ...one, close: async () => {} }),
    pass: seconds => { clock.now += seconds },
    cannot: ['session', 'identity', 'ends of sessions', 'names', 'clients entered', 'recalls']
  })
})

t.test('what is not sealed by us, as this kind, at this site, whole, is nothing', async t => {
  const { sealer, open } = replicas()
  const store = open()
  const code = await store.put('code', grantOf(), 60)
  const { access_token } = await store.claim(code, claimOf(grantOf())) as { access_token: string }
  const seal = (kind: 'code' | 'token' | 'posted' | 'nonce', place: string, seconds = 60) => `a~${sealer.seal(kind, place, (kind === 'nonce' ? null : grantOf()) as never, start + seconds)}`
  const payload = code.slice(code.lastIndexOf('.') + 1)
  const forged = {
    'a token as a code': access_token,
    'a handle of a record that is kept': newHandle('a'),
    'the mark of another site': code.replace(/^a~/, 'b~'),
    'the mark of a site that begins alike': code.replace(/^a~/, 'aa~'),
    'another site\'s own': seal('code', 'b'),
    'what was sealed for a cookie': seal('code', '__Host-login-abc'),
    'another kind for this place': seal('posted', 'a'),
    'nothing at all, sealed': seal('nonce', 'a'),
    'one that lives longer than any of ours': seal('code', 'a', life.sealedMark + 1),
    'one that lives for hours': seal('code', 'a', 3601),
    'one that is over': seal('code', 'a', 0),
    'a nearer end': code.replace(/\.\d{10}\./, `.${start + 30}.`),
    'a farther end': code.replace(/\.\d{10}\./, `.${start + 61}.`),
    'another spelling of the same bytes': `${code}=`,
    'of the same end': code.replace(`.${start + 60}.`, `.0${start + 60}.`),
    'in the other alphabet': code.replace(payload, Buffer.from(payload, 'base64url').toString('base64')),
    'cut by one': code.slice(0, -1),
    'with one more': `${code}A`,
    'in capitals': code.toUpperCase(),
    'with a space': `${code} `,
    'with a line': `${code}\n`,
    'by a key that nobody has': code.replace('.one.', '.two.'),
    'of the prototype': code.replace('.one.', '.__proto__.'),
    'nothing after the mark': 'a~',
    'the largest': `a~${'A'.repeat(limit.sealedHandle - 2)}`,
    'larger than any': `${code}${'A'.repeat(limit.sealedHandle)}`,
    'much larger': `a~${'A'.repeat(1_000_000)}`
  }
  for (const [what, handle] of Object.entries(forged)) {
    t.equal(await store.get('code', handle), undefined, what)
    t.equal(await store.usedBy(handle), undefined, what)
  }
  for (const kind of ['token', 'session', 'identity'] as const) t.equal(await store.get(kind, code), undefined, `a code as a ${kind}`)
  t.equal(await store.get('identity', `a~${sealer.seal('identity', 'a', identificationOf(), start + 60)}`), undefined, 'who came back is in no handle of this store, whatever was sealed')
  t.ok(await store.get('code', code), 'the real one is good')
  t.ok(await store.get('code', seal('code', 'a', life.sealedMark)), 'so is one of a replica whose clock is ahead')
  t.ok(await store.get('token', access_token))
})

t.test('each bit and each place of a handle counts', async t => {
  const { open } = replicas()
  const store = open()
  const code = await store.put('code', grantOf(), 60)
  const opened = []
  for (const i of code.split('').keys()) {
    for (const other of ['A', 'B', '0', '.', '~', '-', '_', String.fromCharCode(code.charCodeAt(i) ^ 1)]) {
      if (other !== code[i] && await store.get('code', code.slice(0, i) + other + code.slice(i + 1)) !== undefined) opened.push(`${i} as ${other}`)
    }
  }
  t.same(opened, [])
})

t.test('it lives a minute at most, whatever is asked, and says of itself that the store was away', async t => {
  const { clock, open } = replicas()
  const store = open()
  const code = await store.put('code', grantOf(), 600)
  const { access_token } = await store.claim(code, claimOf(grantOf(), { tokenSeconds: 600, usedSeconds: 600 })) as { access_token: string }
  for (const handle of [code, access_token]) t.ok(isSealedHandle(handle))
  clock.now += life.sealedHandle - 1
  t.match(await store.get('code', code), { degraded: true })
  t.match(await store.get('token', access_token), { degraded: true })
  clock.now++
  t.equal(await store.get('code', code), undefined)
  t.equal(await store.get('token', access_token), undefined)
  t.match(await store.usedBy(code), { client_id: 'mairie' }, 'who redeemed it is known for as long as was asked')
})

t.test('a code is good once at a replica for as long as any replica takes it, also where clocks differ', async t => {
  for (const [at, behind] of [[0, -60], [60, 0]] as const) {
    const { clock, stores: [giver, redeemer] } = replicas(at, behind)
    const code = await giver!.put('code', grantOf(), 60)
    const claim = claimOf(grantOf(), { tokenSeconds: 60, usedSeconds: 60 })
    t.ok(won(await redeemer!.claim(code, claim)))
    let taken = 0
    for (let second = 1; second <= 300; second++) {
      clock.now++
      if (await redeemer!.get('code', code) === undefined) continue
      taken++
      if (won(await redeemer!.claim(code, claim))) t.fail(`redeemed again after ${second} s`)
    }
    t.ok(taken >= 60 && taken < life.sealedMark, `taken for ${taken} s more`)
  }
})

t.test('of fifty claims at once one wins at each replica, and what one of them gave is not known at the other', async t => {
  const { stores: [one, other] } = replicas(0, 0)
  const grant = grantOf()
  const code = await one!.put('code', grant, 60)
  const outcomes = await Promise.all(Array.from({ length: 50 }, (_, i) => (i % 2 ? one! : other!).claim(code, claimOf(grant))))
  const winners = outcomes.filter(won)
  t.equal(winners.length, 2, 'one at each: what a replica alone can keep')
  for (const { access_token } of winners) for (const store of [one!, other!]) t.match(await store.get('token', access_token), { sub: grant.sub }, 'a token is good everywhere')
  const { used } = await one!.claim(code, claimOf(grant)) as { used: { token: string } }
  t.ok(one!.endHere(used.token))
  t.equal(other!.endHere(used.token), false, 'nobody here was given it')
})

t.test('a claim whose token is too large spends nothing, and no code is given whose token could be', async t => {
  const { open } = replicas()
  const store = open()
  const sized = (bytes: number) => grantOf({ claims: { given_name: 'x'.repeat(bytes) } })
  let largest = 0
  for (let bytes = 1; bytes < limit.sealedHandle; bytes++) if (await store.put('code', sized(bytes), 60).then(() => true, () => false)) largest = bytes
  t.ok(largest > 500, `${largest} bytes of claims`)
  await t.rejects(store.put('code', sized(largest + 1), 60), unavailable)
  const code = await store.put('code', sized(largest), 60)
  t.ok(code.length <= limit.sealedCode)
  const token = { ...sized(largest), jkt: 'k'.repeat(43), exp: start + 60 }
  await t.rejects(store.claim(code, claimOf({ ...token, jkt: 'k'.repeat(2000) })), unavailable)
  t.equal(await store.usedBy(code), undefined, 'nobody has redeemed it')
  const outcome = await store.claim(code, claimOf(token)) as { access_token: string }
  t.ok(outcome.access_token.length <= limit.sealedHandle)
  t.match(await store.get('token', outcome.access_token), { jkt: token.jkt })
})

t.test('a handle is as large as a handle may be, and not a byte larger', async t => {
  const { sealer } = replicas()
  for (const [kind, largest] of [['code', limit.sealedCode], ['token', limit.sealedHandle]] as const) {
    const lengths = new Set<number>()
    for (const site of ['a', 'ab', 'abc', 'abcd']) {                     // base64url leaves out every fourth length
      const store = sealedStore({ site, sealer, now: () => start })
      for (let bytes = 600; bytes < 1200; bytes++) {
        const handle = await store.put(kind, grantOf({ claims: { given_name: 'x'.repeat(bytes) } }), 60).catch(() => undefined)
        if (handle !== undefined) lengths.add(handle.length)
      }
    }
    t.equal(Math.max(...lengths), largest, kind)
  }
})

t.test('as many redeemed codes are remembered as there is room for, and beyond that none is redeemed: none that could come again is forgotten', async t => {
  const { clock, open } = replicas()
  const store = open(0, 3)
  const codes = []
  for (let i = 0; i < 3; i++) {
    codes.push(await store.put('code', grantOf(), 60))
    t.ok(won(await store.claim(codes[i]!, claimOf(grantOf()))))
    clock.now++
  }
  const next = await store.put('code', grantOf(), 60)
  await t.rejects(store.claim(next, claimOf(grantOf())), { ...unavailable, message: 'as many codes as one replica remembers were redeemed here' })
  for (const code of codes) t.notOk(won(await store.claim(code, claimOf(grantOf()))), 'each of them is known')
  clock.now = start + life.sealedMark
  t.equal(await store.usedBy(codes[0]!), undefined, 'to the second')
  const later = await store.put('code', grantOf(), 60)
  t.ok(won(await store.claim(later, claimOf(grantOf()))), 'the first is over')
  await t.rejects(store.claim(await store.put('code', grantOf(), 60), claimOf(grantOf())), unavailable, 'and no other')
  t.equal(await store.usedBy(codes[0]!), undefined)
  t.ok(await store.usedBy(codes[1]!))
})

t.test('somebody else\'s word for who redeemed a code counts from then on, for a code that was redeemed here', async t => {
  const { stores: [store] } = replicas(0)
  const grant = grantOf()
  const [code, unknown] = [await store!.put('code', grant, 60), await store!.put('code', grant, 60)]
  const { access_token } = await store!.claim(code, claimOf(grant)) as { access_token: string }
  t.same(await store!.usedBy(code), { client_id: 'mairie', token: nameOf(access_token) })
  const others = { client_id: 'mairie', token: `a-${'B'.repeat(43)}` }
  store!.amend(code, others)
  store!.amend(unknown, others)
  t.same(await store!.claim(code, claimOf(grant)), { used: others })
  t.ok(won(await store!.claim(unknown, claimOf(grant))))
  t.ok(await store!.get('token', access_token), 'what was given here is good until it is ended')
  t.ok(store!.endHere(nameOf(access_token)))
  t.equal(await store!.get('token', access_token), undefined)
})

t.test('a session is not put into a handle, even where it would fit, nor who came back', async t => {
  const { stores: [store] } = replicas(0)
  await t.rejects(store!.put('session', {} as never, 60), { ...unavailable, message: 'a session cannot be kept in a handle' })
  await t.rejects(store!.put('identity', identificationOf(), 60), unavailable)
})

t.test('nobody reads in a handle whom it is about', async t => {
  const { stores: [store] } = replicas(0)
  const claims = { given_name: 'Wilhelmina-Éléonore', family_name: 'de Saint-Exupéry', email: 'wilhelmina@example.org', birthdate: '1962-08-24' }
  const grant = grantOf({ claims, sub: `sub-${randomBytes(9).toString('hex')}` })
  const code = await store!.put('code', grant, 60)
  const { access_token } = await store!.claim(code, claimOf(grant)) as { access_token: string }
  const words = [...Object.values(claims), grant.sub, grant.sid, grant.client_id, grant.login, 'given_name', 'degraded']
  t.ok(findWords(Buffer.from(JSON.stringify(grant)).toString('base64url'), [claims.email]).length > 0, 'the search finds what is only written otherwise')
  for (const handle of [code, access_token]) {
    t.same(findWords(handle, words), [])
    for (const part of handle.split(/[.~]/)) t.same(findWords(Buffer.from(part, 'base64url').toString('latin1'), words), [])
  }
  t.not(code, await store!.put('code', grant, 60), 'nor whether two are about the same one')
})
