import crypto, { createSecretKey, randomBytes } from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import t from 'tap'
import { afterlife } from '../../src/adapters/key-schedule.ts'
import { keyringSealer, type SealingKey } from '../../src/adapters/keyring-sealer.ts'
import { grantOf } from '../support/store-contract.ts'
import { life, type SealedKind, type SealedRecords } from '../../src/records.ts'

const issuer = 'https://passerelle.example'
const start = 1700000000
const sealingKey = (kid: string, nbf = 0): SealingKey => ({ kid, key: createSecretKey(randomBytes(32)), nbf })

/** A sealer over a keyring and a clock that the test changes. */
function desk (keys: SealingKey[] = [sealingKey('one')], ofIssuer = issuer) {
  const state = { keys, now: start }
  return { state, ...keyringSealer({ issuer: ofIssuer, keys: () => state.keys, now: () => state.now }) }
}

const examples: { [K in SealedKind]: SealedRecords[K] } = {
  login: { secret: 's', language: 'fr', request: { client_id: 'mairie', state: 'é日本' } as unknown as SealedRecords['login']['request'] },
  identity: { handle: `p1-${'A'.repeat(43)}` },
  logout: { client_id: 'mairie', sid: 'a' },
  posted: { client_id: 'mairie', state: 'x y' },
  pushed: { request: { client_id: 'mairie', state: 'é日本' } as unknown as SealedRecords['pushed']['request'] },
  knowledge: { at: start, value: { keys: [{ kty: 'EC', kid: 'é' }] } },
  hint: { replica: 'AAAAAAAAAAA0', idp: 'impots' },
  nonce: null,
  recall: { idp: 'impots', since: start, until: start },
  code: grantOf(),
  token: grantOf()
}
const kinds = Object.keys(examples) as SealedKind[]
const place = '__Host-login-abc'
const end = start + 60
const alphabet = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']

t.test('no kind opens as another', async t => {
  const { seal, open } = desk()
  for (const kind of kinds) {
    const sealed = seal(kind, place, examples[kind] as never, end)
    for (const other of kinds) {
      if (other === kind) t.strictSame(open(other, place, sealed), { record: examples[kind], exp: end }, `${kind} as itself`)
      else t.equal(open(other, place, sealed), undefined, `${kind} as ${other}`)
    }
  }
})

t.test('what was sealed for one place opens at no other', async t => {
  const { seal, open } = desk()
  const sealed = seal('posted', place, examples.posted, end)
  for (const other of ['', '__Host-login-abd', `${place} `, ` ${place}`, place.slice(0, -1), `${place}\n`, `${place}\n1.one.${end}`, `posted\n${place}`, place.toUpperCase()]) {
    t.equal(open('posted', other, sealed), undefined, JSON.stringify(other))
  }
  // places and kinds that read the same when they are only written one after another
  t.equal(open('posted', 'a\nb', seal('posted', 'a', examples.posted, end)), undefined)
  t.ok(open('posted', '', seal('posted', '', examples.posted, end)), 'an empty place is a place')
})

t.test('what has expired does not open, and what has not does', async t => {
  const { state, seal, open } = desk()
  const sealed = seal('posted', place, examples.posted, end)
  state.now = end - 0.001
  t.ok(open('posted', place, sealed))
  for (const late of [end, end + 1, end + 1e9]) {
    state.now = late
    t.equal(open('posted', place, sealed), undefined, `at ${late}`)
  }
  state.now = start
  t.equal(open('posted', place, seal('posted', place, examples.posted, start)), undefined, 'sealed without any life')
})

t.test('an end that was altered is refused, even a nearer one or the same written otherwise', async t => {
  const { seal, open } = desk()
  const [version, kid, exp, payload] = seal('posted', place, examples.posted, end).split('.')
  for (const other of [end + 1, end - 1, end + 1e9, `0${exp}`, `${exp} `, `+${exp}`, `${exp}.0`, '1e11', '', '-1', 'NaN', 'Infinity', '9'.repeat(12), '9'.repeat(13), '9'.repeat(400)]) {
    t.equal(open('posted', place, [version, kid, other, payload].join('.')), undefined, String(other))
  }
  t.ok(open('posted', place, [version, kid, exp, payload].join('.')), 'unaltered it opens')
})

t.test('another issuer\'s seal does not open under the same key', async t => {
  const keys = [sealingKey('one')]
  const [one, other] = [desk(keys), desk(keys, `${issuer}/other`)]
  t.equal(other.open('posted', place, one.seal('posted', place, examples.posted, end)), undefined)
  t.equal(one.open('posted', place, other.seal('posted', place, examples.posted, end)), undefined)
})

t.test('another key of the same name does not open', async t => {
  const sealed = desk([sealingKey('one')]).seal('posted', place, examples.posted, end)
  t.equal(desk([sealingKey('one')]).open('posted', place, sealed), undefined)
})

t.test('any bit turned in what was sealed is refused, and never an error', async t => {
  const { seal, open } = desk()
  for (const record of [examples.posted, { state: '' }, { state: 'x' }, { state: 'xy' }, { state: 'xyz' }]) {
    const sealed = seal('posted', place, record, end)
    const [version, kid, exp, payload] = sealed.split('.') as [string, string, string, string]
    const bytes = Buffer.from(payload, 'base64url')
    let opened = 0
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const turned = Buffer.from(bytes)
      turned[bit >> 3]! ^= 1 << (bit & 7)
      if (open('posted', place, [version, kid, exp, turned.toString('base64url')].join('.')) !== undefined) opened++
    }
    t.equal(opened, 0, `${bytes.length * 8} bits`)
    t.strictSame(open('posted', place, sealed)?.record, record)
  }
})

t.test('any character changed is refused: there is one way only to write a sealed value', async t => {
  const { seal, open } = desk()
  // three lengths: base64url leaves no bit over, two or four
  for (const record of [{ state: 'x' }, { state: 'xy' }, { state: 'xyz' }]) {
    const sealed = seal('posted', place, record, end)
    const opened: string[] = []
    for (const i of sealed.split('').keys()) {
      const others = i >= sealed.length - 2 ? alphabet : [...'A0_.', String.fromCharCode(sealed.charCodeAt(i) ^ 1), String.fromCharCode(sealed.charCodeAt(i) ^ 0x20)]
      for (const other of others) {
        if (other === sealed[i]) continue
        const changed = sealed.slice(0, i) + other + sealed.slice(i + 1)
        if (open('posted', place, changed) !== undefined) opened.push(`${i} of ${sealed.length}: ${sealed[i]} as ${other}`)
      }
    }
    t.same(opened, [])
  }
})

t.test('what is cut, empty, huge or of another alphabet is refused, and never an error', async t => {
  const { seal, open } = desk()
  const sealed = seal('posted', place, examples.posted, end)
  for (let length = 0; length < sealed.length; length++) {
    if (open('posted', place, sealed.slice(0, length)) !== undefined) t.fail(`cut to ${length}`)
    if (length > 0 && open('posted', place, sealed.slice(length)) !== undefined) t.fail(`cut by ${length}`)
  }
  const head = `1.one.${end}`
  const payload = sealed.slice(head.length + 1)
  const strange = [
    '.', '...', '....', `${sealed}.`, `.${sealed}`, `${sealed}.${payload}`, `${sealed}=`, `${sealed}A`, `${sealed}AAAA`, ` ${sealed}`, `${sealed} `, `${sealed}\n`, `\n${sealed}`, `${sealed}\u0000`,
    `2.one.${end}.${payload}`, `.one.${end}.${payload}`, `1..${end}.${payload}`, `1.one..${payload}`, `${head}.`, `${head}.A`, `${head}.AAAA`,
    ...[11, 12, 13, 27, 28, 29, 30].map(bytes => `${head}.${Buffer.alloc(bytes).toString('base64url')}`),
    `1.${'k'.repeat(65)}.${end}.${payload}`, `1.__proto__.${end}.${payload}`, `1.constructor.${end}.${payload}`, `1.öne.${end}.${payload}`, `1.one.${end}.${Buffer.from(payload, 'base64url').toString('base64')}==`,
    `1.one.١٢٣.${payload}`, `${head}.${'é'.repeat(60)}`, `${head}.${'Ａ'.repeat(60)}`, `${head}.${'%41'.repeat(60)}`, '\uD800', '\u0000'.repeat(100),
    `${head}.${'A'.repeat(2_000_000)}`, 'A'.repeat(2_000_000), '.'.repeat(2_000_000), `1.${'0'.repeat(2_000_000)}`
  ]
  for (const value of strange) t.equal(open('posted', place, value), undefined, JSON.stringify(value.slice(0, 60)))
  t.ok(open('posted', place, sealed), 'the whole one opens')
})

t.test('a key that nobody knows opens nothing', async t => {
  const { state, seal, open } = desk([sealingKey('one')])
  const sealed = seal('posted', place, examples.posted, end)
  t.equal(open('posted', place, sealed.replace('.one.', '.two.')), undefined)
  state.keys = [sealingKey('two')]
  t.equal(open('posted', place, sealed), undefined, 'nor one that was taken away')
  state.keys = []
  t.equal(open('posted', place, sealed), undefined)
})

t.test('the newest key whose time has come seals, and each that is loaded opens', async t => {
  const kidOf = (sealed: string) => sealed.split('.')[1]
  const [old, current, next, later] = [sealingKey('old', start - 200), sealingKey('current', start - 100), sealingKey('next', start + 100), sealingKey('later', start + 200)]
  const { state, seal, open } = desk([next, old, later, current])
  const sealed = () => seal('posted', place, examples.posted, start + 10_000)

  t.equal(kidOf(sealed()), 'current', 'whatever the order they were loaded in')
  const byCurrent = sealed()
  state.now = start + 99.999
  t.equal(kidOf(sealed()), 'current')
  state.now = start + 100
  t.equal(kidOf(sealed()), 'next', 'from its first second on')
  t.ok(open('posted', place, byCurrent), 'the key before still opens')
  state.now = start + 5000
  t.equal(kidOf(sealed()), 'later')

  const ahead = desk([next])
  ahead.state.now = start + 100
  const early = ahead.seal('posted', place, examples.posted, start + 10_000)
  state.now = start
  t.ok(open('posted', place, early), 'a replica whose clock is behind opens what a key to come has sealed')

  state.keys = [next, later]
  t.equal(kidOf(sealed()), 'next', 'when none has come yet, the first that will')
  state.keys = [later, next]
  t.equal(kidOf(sealed()), 'next')
  t.equal(open('posted', place, byCurrent), undefined, 'a key that was taken away opens nothing')
  t.same(state.keys.map(({ kid }) => kid), ['later', 'next'], 'the keyring is left in its order')
})

t.test('a key that somebody finds after its time seals nothing that is believed for longer than what it sealed itself', async t => {
  const [old, current] = [sealingKey('old', start - 86400), sealingKey('current', start)]
  const honest = desk([old, current])
  const thief = desk([old])
  const longest = start + afterlife.sealing
  for (const [exp, opens] of [[longest, true], [longest + 1, false], [start + 1e8, false]] as const) t.equal(honest.open('posted', place, thief.seal('posted', place, examples.posted, exp)) !== undefined, opens, `until ${exp - start} seconds after its time`)
  honest.state.now = longest
  for (const exp of [longest, longest + 60]) t.equal(honest.open('posted', place, thief.seal('posted', place, examples.posted, exp)), undefined, 'in the end nothing at all')
})

t.test('what a replica seals that is a quarter of an hour late opens as long as it is to live', async t => {
  const [old, current] = [sealingKey('old', start - 86400), sealingKey('current', start)]
  const [late, others] = [desk([old]), desk([old, current])]
  late.state.now = others.state.now = start + 15 * 60 - 1
  const exp = late.state.now + life.knowledge
  const sealed = late.seal('knowledge', place, examples.knowledge, exp)
  others.state.now = exp - 1
  t.ok(others.open('knowledge', place, sealed))
})

t.test('the key of a kind is derived once, not at each seal', async t => {
  const { hkdfSync } = crypto
  let derived = 0
  const count = (counted: typeof hkdfSync) => { crypto.hkdfSync = counted; syncBuiltinESMExports() }
  count((...args) => { derived++; return hkdfSync(...args) })
  t.teardown(() => count(hkdfSync))
  const { state, seal, open } = desk()
  for (let i = 0; i < 5; i++) for (const kind of kinds) t.ok(open(kind, place, seal(kind, place, examples[kind] as never, end)))
  t.equal(derived, kinds.length)
  state.keys = [sealingKey('two')]
  seal('posted', place, examples.posted, end)
  t.equal(derived, kinds.length + 1, 'another key has another')
})

/** The subkeys that are derived from here on, by the names they are derived for. */
function derivations (t: { teardown (end: () => unknown): unknown }) {
  const { hkdfSync } = crypto
  const names: string[] = []
  const put = (way: typeof hkdfSync) => { crypto.hkdfSync = way; syncBuiltinESMExports() }
  put((digest, key, salt, info, length) => { names.push(String(info).replace(` ${issuer}`, '').replace('passerelle sealed 1 ', '')); return hkdfSync(digest, key, salt, info, length) })
  t.teardown(() => put(hkdfSync))
  return names
}
const hour = 3600
const begin = Math.ceil(start / hour) * hour

t.test('what holds a record has a key of the hour in which it ends, and what a browser carries has one for as long as its key', async t => {
  const names = derivations(t)
  const { state, seal, open } = desk()
  state.now = begin
  const hourOf = (seconds: number) => Math.floor(seconds / hour)
  for (const kind of ['code', 'token'] as const) {
    names.length = 0
    const [last, first] = [seal(kind, 'a', examples[kind], begin + hour - 1), seal(kind, 'a', examples[kind], begin + hour)]
    t.same(names, [`${kind} ${hourOf(begin)}`, `${kind} ${hourOf(begin) + 1}`], 'to the second')
    for (const sealed of [last, first]) t.ok(open(kind, 'a', sealed))
    t.equal(open(kind, 'a', last.replace(`.${begin + hour - 1}.`, `.${begin + hour}.`)), undefined)
  }
  names.length = 0
  for (const seconds of [0, 1, 2, 3]) seal('posted', 'a', examples.posted, begin + 60 + seconds * hour)
  t.same(names, ['posted'])
})

t.test('a key of an hour is forgotten with the next hour but one that is asked for', async t => {
  const names = derivations(t)
  const { state, seal } = desk()
  const sealAt = (now: number) => { state.now = now; seal('code', 'a', examples.code, now + 30) }
  for (let i = 0; i < 5; i++) sealAt(begin + i)
  t.equal(names.length, 1, 'derived once an hour')
  for (const later of [1, 2, 3]) sealAt(begin + later * hour)
  t.equal(names.length, 4)
  names.length = 0
  sealAt(begin + 3 * hour)
  sealAt(begin + 2 * hour)
  t.equal(names.length, 1, 'the hour before is gone')
  names.length = 0
  seal('posted', 'a', examples.posted, begin + 10 * hour)
  sealAt(begin + 9 * hour)
  seal('posted', 'a', examples.posted, begin + 11 * hour)
  t.same(names.filter(name => name === 'posted'), ['posted'], 'the keys of what browsers carry stay')
})

t.test('no key is derived for an hour that somebody writes', async t => {
  const { state, seal, open } = desk()
  state.now = begin
  const sealed = seal('code', 'a', examples.code, begin + 60)
  open('code', 'a', sealed)
  open('code', 'a', seal('code', 'a', examples.code, begin + hour))
  const names = derivations(t)
  for (let i = 0; i < 1000; i++) {
    for (const end of [begin + hour + 1 + i * hour, begin - i * hour, begin + 60 + i]) t.equal(open('code', 'a', sealed.replace(`.${begin + 60}.`, `.${end}.`)) !== undefined, end === begin + 60)
  }
  t.same(names, [])
})

t.test('what would live for more than an hour does not open, even sealed by us', async t => {
  const { state, seal, open } = desk()
  const far = seal('token', 'a', examples.token, start + hour + 1)
  t.equal(open('token', 'a', far), undefined)
  state.now++
  t.ok(open('token', 'a', far))
})

t.test('one record sealed twice reads differently, and shows nothing of itself', async t => {
  const { seal } = desk()
  const record = { state: 'Wilhelmina' }
  const all = Array.from({ length: 100 }, () => seal('posted', place, record, end))
  t.equal(new Set(all).size, 100)
  for (const sealed of all) {
    t.match(sealed, /^1\.one\.\d+\.[A-Za-z0-9_-]+$/, 'fit for a cookie and a URL')
    t.notMatch(Buffer.from(sealed.split('.')[3]!, 'base64url').toString('latin1'), /Wilhelmina|name|posted/)
  }
})

t.test('what a provider published opens again whole, however large, and not as what another published', async t => {
  const { seal, open } = desk()
  const published = { at: start, value: { keys: Array.from({ length: 500 }, (_, kid) => ({ kty: 'RSA', kid: `${kid}`, n: 'n'.repeat(400) })) } }
  const sealed = seal('knowledge', 'jwks:{one}', published, end)
  t.strictSame(open('knowledge', 'jwks:{one}', sealed)?.record, published)
  for (const name of ['jwks:{two}', 'metadata:{one}']) t.equal(open('knowledge', name, sealed), undefined, name)
})
