import t from 'tap'
import { withoutRecalled } from '../../src/config/in-force.ts'
import type { Keys } from '../../src/config/load.ts'

const now = 1_800_000_000
const hour = 3600
const day = 86_400

/** Keys of these times; what they are made of is nobody's business here. */
const keysAt = (times: Record<string, number>, alg?: string) => Object.entries(times).map(([kid, nbf]) => ({ kid, nbf, ...(alg === undefined ? {} : { alg }) }))
const timesOf = (keys: ReadonlyArray<{ kid: string, nbf: number }>) => Object.fromEntries(keys.map(({ kid, nbf }) => [kid, nbf]))
const keysOf = (keys: Partial<Record<keyof Keys, unknown>>) => ({ signing: [], sealing: [], decryption: [], ...keys }) as unknown as Keys
const at = (kid: string, since = now) => ({ kid, since, until: since })

t.test('a key that was called back is gone as if its file were, and where it was in force the one that waits is', async t => {
  const rows: Array<[what: string, before: Record<string, number>, called: Array<ReturnType<typeof at>>, after: Record<string, number>]> = [
    ['the one in force, alone', { a: now - day }, [at('a')], {}],
    ['the one in force, with its next', { a: now - day, b: now + hour, c: now + day }, [at('a')], { b: now, c: now + day }],
    ['the one in force, with its next and a retired one: that stays retired', { r: now - 2 * day, a: now - day, b: now + hour }, [at('a')], { r: now - 2 * day, b: now }],
    ['the one in force, with a retired one', { r: now - 2 * day, a: now - day }, [at('a')], { r: now - 2 * day }],
    ['the only one, before its time, with its next', { a: now + hour, b: now + day }, [at('a')], { b: now }],
    ['a waiting one', { a: now - day, b: now + hour, c: now + day }, [at('b')], { a: now - day, c: now + day }],
    ['a retired one', { a: now - day, b: now - hour, c: now + hour }, [at('a')], { b: now - hour, c: now + hour }],
    ['one after the other, told in whatever order', { a: now - day, b: now + hour, c: now + day }, [at('b', now + 60), at('a')], { c: now + 60 }],
    ['one that is in the files already, as its next is', { b: now, c: now + day }, [at('a')], { b: now, c: now + day }],
    ['one that nobody knows', { a: now - day }, [at('x')], { a: now - day }]
  ]
  for (const [what, before, called, after] of rows) {
    t.same(timesOf(withoutRecalled(keysOf({ signing: keysAt(before, 'ES256') }), called).signing.filter(({ recalled }) => !recalled)), after, what)
    t.same(timesOf(withoutRecalled(keysOf({ decryption: keysAt(before, 'ECDH-ES') }), called).decryption), after, what)
    if (Object.keys(after).length > 0) t.same(timesOf(withoutRecalled(keysOf({ sealing: keysAt(before) }), called).sealing), after, what)
  }
})

t.test('a signing key that was called back while none waited stands in its place, so that a retired one does not come back; and goes when one waits', async t => {
  const before = keysAt({ r: now - 2 * day, a: now - day }, 'ES256')
  t.match(withoutRecalled(keysOf({ signing: before }), [at('a')]).signing, [{ kid: 'r' }, { kid: 'a', recalled: true }])
  t.same(withoutRecalled(keysOf({ signing: before }), [at('r')]).signing.map(({ kid, recalled }) => [kid, recalled]), [['a', undefined]])
  t.same(timesOf(withoutRecalled(keysOf({ signing: [...before, ...keysAt({ b: now + hour }, 'ES256')] }), [at('a')]).signing), { r: now - 2 * day, b: now })
})

t.test('keys of one algorithm say nothing of another', async t => {
  const signing = [...keysAt({ a: now - day, b: now + hour }, 'ES256'), ...keysAt({ r: now - day, s: now + hour }, 'RS256')]
  t.same(timesOf(withoutRecalled(keysOf({ signing }), [at('a')]).signing), { b: now, r: now - day, s: now + hour })
})

t.test('the last sealing key stays', async t => {
  const sealing = keysAt({ a: now - day, b: now - hour })
  t.same(timesOf(withoutRecalled(keysOf({ sealing }), [at('b'), at('a', now + 1)]).sealing), { a: now - day })
  t.same(timesOf(withoutRecalled(keysOf({ sealing }), [at('a'), at('b', now + 1)]).sealing), { b: now - hour })
})

t.test('what is not called back is the very same object, so that what was made of it is kept', async t => {
  const keys = keysOf({ signing: keysAt({ a: now - day, b: now + hour }, 'ES256'), sealing: keysAt({ c: now - day, d: now - hour }) })
  const left = withoutRecalled(keys, [at('a')])
  t.equal(left.sealing, keys.sealing)
  t.equal(withoutRecalled(keys, [at('c')]).sealing[0], keys.sealing[1])
})
