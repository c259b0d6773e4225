import t from 'tap'
import { digestOf, isHandle, isSealedHandle, newHandle, openUnder, sealUnder, siteOf } from '../../src/adapters/handles.ts'
import { limit } from '../../src/records.ts'

const handle = newHandle('p1')

t.test('a text that is no handle is known as such', async t => {
  const secret = handle.slice(3)
  for (const text of ['', 'p1', `p1-${secret}A`, `p1-${secret.slice(1)}`, `P1-${secret}`, `-${secret}`, `p1234-${secret}`, `p1-${secret}\n`, `\np1-${secret}`, `p1-${secret}=`, `p1.${secret}`, `p1-${'+'.repeat(43)}`, `x p1-${secret}`]) {
    t.equal(isHandle(text), false, JSON.stringify(text))
  }
  for (const text of [handle, newHandle('a'), newHandle('9z9z'), `p1-${'-'.repeat(43)}`, `p1-${'_'.repeat(43)}`]) t.equal(isHandle(text), true, text)
})

t.test('a text that is no handle that holds its record is known as such, and neither kind is taken for the other', async t => {
  const most = limit.sealedHandle - 3
  for (const text of ['', '~', 'p1~', '~x', 'P1~x', 'p1234~x', 'p1-x', 'p1~x y', 'p1~x~y', 'p1~x\n', '\np1~x', ' p1~x', 'p1~x=', 'p1~x+', 'p1~x/', 'p1~é', `p1~${'x'.repeat(most + 1)}`, `p1~${'x'.repeat(1_000_000)}`, handle]) {
    t.equal(isSealedHandle(text), false, JSON.stringify(text.slice(0, 60)))
  }
  for (const text of ['p1~x', 'a~1.k_-.1800000060.AbC-_', `9z9z~${'x'.repeat(most - 2)}`, `p1~${'x'.repeat(most)}`]) {
    t.equal(isSealedHandle(text), true, text.slice(0, 60))
    t.equal(isHandle(text), false)
  }
  t.equal(isHandle(`p1~${'x'.repeat(43)}`), false)
})

t.test('a handle, a sid and the name of a token tell their site, and nothing else does, whatever it begins with', async t => {
  for (const [text, site] of [[handle, 'p1'], [newHandle('a'), 'a'], [newHandle('9z9z'), '9z9z'], [`p1-${digestOf(handle)}`, 'p1'], ['p1~x', 'p1'], ['p1~', 'p1'], [`p1-${'-'.repeat(43)}`, 'p1']] as const) t.equal(siteOf(text), site, text)
  const random = 'x'.repeat(40)
  for (const text of ['', 'p1', 'p1-', '-', '~', digestOf(handle), `p1-${random}`, `a-${random}x`, `-${random}xx`, `${handle}x`, `P1-${random}xxx`, `p1234-${random}xxx`, 'sid', 'never-was']) t.equal(siteOf(text), undefined, text)
})

t.test('a record opens under its own handle and kind only', async t => {
  const record = { given_name: 'Élodie', list: [1, null, 'x'] }
  const kept = sealUnder(handle, 'code', record)
  t.strictSame(openUnder(handle, 'code', kept), record)
  for (const other of [newHandle('p1'), handle.toUpperCase(), `${handle} `, handle.slice(0, -1), digestOf(handle), '']) t.throws(() => openUnder(other, 'code', kept), other)
  for (const kind of ['token', 'session', 'used', '', 'code ']) t.throws(() => openUnder(handle, kind, kept), kind)
})

t.test('a record with any bit turned, or cut anywhere, does not open', async t => {
  const kept = sealUnder(handle, 'code', { a: 'xyz' })
  const bytes = Buffer.from(kept.slice(2), 'base64')
  let opened = 0
  const tries = (value: string) => { try { openUnder(handle, 'code', value); opened++ } catch { /* refused */ } }
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const turned = Buffer.from(bytes)
    turned[bit >> 3]! ^= 1 << (bit & 7)
    tries(`1.${turned.toString('base64')}`)
  }
  for (let length = 0; length < bytes.length; length++) {
    tries(`1.${bytes.subarray(0, length).toString('base64')}`)
    if (length > 0) tries(`1.${bytes.subarray(length).toString('base64')}`)
  }
  for (const value of [kept.slice(2), `2.${kept.slice(2)}`, `1${kept.slice(2)}`, ` ${kept}`, '', '1', '1.', '.', '1.{}', '{"a":1}']) tries(value)
  t.equal(opened, 0)
})

t.test('a format version that is not known is named, without what was kept', async t => {
  t.throws(() => openUnder(handle, 'code', '2.Wilhelmina'), { message: 'a code record of an unknown format version' })
})

t.test('one record sealed twice under one handle reads differently', async t => {
  t.equal(new Set(Array.from({ length: 100 }, () => sealUnder(handle, 'code', { a: 1 }))).size, 100)
})

t.test('the name of a secret is stable, and tells secrets apart', async t => {
  t.equal(digestOf(handle), digestOf(handle))
  t.equal(digestOf('p1-fixed'), '3_GD9IhjxhshBvUJAi8KVoAI1mZJdJm_w8_PEDVBbas', 'a release finds what its neighbour kept')
  const names = [handle, `${handle} `, handle.toUpperCase(), ''].map(digestOf)
  t.equal(new Set(names).size, 4)
  for (const name of names) t.match(name, /^[A-Za-z0-9_-]{43}$/)
})
