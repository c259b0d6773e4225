import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { grantOf, keepsContract, sessionOf } from '../support/store-contract.ts'

t.test('the embedded store keeps the contract', async t => {
  let now = 1700000000
  const one = memoryStore({ site: 'm1', now: () => now })
  // one process, one memory: another replica would have another
  await keepsContract(t, { site: 'm1', open: () => ({ ...one, close: async () => {} }), pass: seconds => { now += seconds } })
})

t.test('a life ends with its last second', async t => {
  let now = 100
  const store = memoryStore({ site: 'm1', now: () => now })
  const code = await store.put('code', grantOf(), 10)
  await store.enter('sid', { client_id: 'a', at: 1, claims: [] }, 10)
  now = 109.999
  t.ok(await store.get('code', code))
  t.equal((await store.entered('sid')).length, 1)
  now = 110
  t.equal(await store.get('code', code), undefined)
  t.same(await store.entered('sid'), [])
})

t.test('a list of clients that died does not come back with the next client', async t => {
  let now = 100
  const store = memoryStore({ site: 'm1', now: () => now })
  await store.enter('sid', { client_id: 'before', at: 1, claims: [] }, 10)
  now = 110
  await store.enter('sid', { client_id: 'after', at: 2, claims: [] }, 10)
  t.same((await store.entered('sid')).map(({ client_id }) => client_id), ['after'])
})

t.test('two stores in one process share nothing', async t => {
  const [one, other] = [memoryStore({ site: 'm1', now: () => 0 }), memoryStore({ site: 'm1', now: () => 0 })]
  const code = await one.put('code', grantOf(), 10)
  t.equal(await other.get('code', code), undefined)
})

t.test('nothing is left after close', async t => {
  const store = memoryStore({ site: 'm1', now: () => 0 })
  const code = await store.put('code', grantOf(), 10)
  await store.enter('sid', { client_id: 'a', at: 1, claims: [] }, 10)
  await store.close()
  t.equal(await store.get('code', code), undefined)
  t.same(await store.entered('sid'), [])
})

t.test('what died is forgotten, and what lives is not: memory stays flat', async t => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heapMb = () => { collect(); return process.memoryUsage().heapUsed / 1024 ** 2 }
  let now = 0
  const store = memoryStore({ site: 'm1', now: () => now })
  const survivor = await store.put('session', sessionOf(), 1_000_000)
  await store.enter('survivor', { client_id: 'a', at: 1, claims: [] }, 1_000_000)
  const long = 'x'.repeat(4000)
  const some = async () => {
    for (let i = 0; i < 4000; i++) {
      now++
      await store.put('code', grantOf({ nonce: long }), 10)
      await store.enter(`sid ${now}`, { client_id: long, at: 1, claims: [] }, 10)
    }
  }
  await some()
  const before = heapMb()
  await some()
  await some()
  const grown = heapMb() - before
  t.ok(grown < 15, `grew by ${grown.toFixed(1)} MB over 8,000 records and 8,000 lists of 5 KB each`)
  t.ok(await store.get('session', survivor))
  t.equal((await store.entered('survivor')).length, 1)
})

t.test('a write looks at itself, not at all that is kept', async t => {
  let looks = 0
  const store = memoryStore({ site: 'm1', now: () => { looks++; return 0 } })
  for (let i = 0; i < 500; i++) await store.put('code', grantOf(), 10)
  looks = 0
  for (let i = 0; i < 100; i++) await store.put('code', grantOf(), 10)
  t.ok(looks <= 300, `the clock was looked at ${looks} times in a hundred writes`)
})
