import { setTimeout as pause } from 'node:timers/promises'
import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { keyringSealer } from '../../src/adapters/keyring-sealer.ts'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { recallingStore, sealedRecall } from '../../src/adapters/recalls.ts'
import { grantOf, sessionOf } from '../support/store-contract.ts'

const key = { kid: 'one', key: createSecretKey(randomBytes(32)), nbf: 0 }
let clock = 1700000000
const now = () => clock
let keys = [key]
const sealer = keyringSealer({ issuer: 'https://passerelle.example', keys: () => keys, now })

function desk () {
  const kept = memoryStore({ site: 'a', now })
  let asked = 0
  let lost = false
  const unreadable: number[] = []
  const counted = Object.assign(Object.create(kept), { async recalls () { asked++; return lost ? [] : kept.recalls() } })
  const recalls = recallingStore({ store: counted, sealer, now, onNew () {}, onUnreadable (count) { unreadable.push(count) }, onFailure () {} })
  return { kept, recalls, asked: () => asked, lose () { lost = true }, unreadable, recall: (idp: string) => kept.recall(idp, sealedRecall(sealer, { idp, since: now() - 60, until: now() }, now() + 60), 60) }
}

t.test('however many ask it to look, it looks once at a time, and once a second from then on', async t => {
  const { recalls, asked } = desk()
  t.same(await Promise.all([recalls.look(), recalls.look(), recalls.look()]), [true, true, true])
  t.equal(asked(), 1)
  await recalls.look()
  t.equal(asked(), 2)
  await pause(1500)
  t.equal(asked(), 3, 'one clock, not one for each who asked')
  const looking = recalls.look()
  await recalls.store.close()
  await looking
  t.equal(asked(), 4)
  await pause(1300)
  t.equal(asked(), 4, 'and not again after it was closed, though it was looking')
})

t.test('no kind of record of what was called back is given, and every other is', async t => {
  const { recalls, recall } = desk()
  const records = { code: await recalls.store.put('code', grantOf(), 60), token: await recalls.store.put('token', grantOf(), 60), session: await recalls.store.put('session', sessionOf(), 60) }
  const other = await recalls.store.put('code', grantOf({ idp: 'poste' }), 60)
  for (const kind of ['code', 'token', 'session'] as const) t.ok(await recalls.store.get(kind, records[kind]), kind)
  await recall('impots')
  await recalls.look()
  t.equal(recalls.count(), 1)
  for (const kind of ['code', 'token', 'session'] as const) t.equal(await recalls.store.get(kind, records[kind]), undefined, kind)
  t.ok(await recalls.store.get('code', other))
  await recalls.store.close()
})

t.test('what the store has lost goes on counting, to its end, and no longer than its key is believed', async t => {
  const { recalls, recall, lose, unreadable } = desk()
  await recall('impots')
  await recalls.look()
  lose()
  await recalls.look()
  t.equal(recalls.count(), 1, 'a primary that came back empty has taken nothing back')
  keys = []
  await recalls.look()
  t.equal(recalls.count(), 0, 'whoever had the revoked key calls nothing back')
  t.same(unreadable, [1])

  keys = [key]
  const other = desk()
  await other.recall('impots')
  await other.recalls.look()
  other.lose()
  clock += 60
  await other.recalls.look()
  t.equal(other.recalls.count(), 0, 'at its end')
  t.same(other.unreadable, [], 'which is nothing to tell')
  for (const { store } of [recalls, other.recalls]) await store.close()
})

t.test('what cannot be opened is told, once; what is over is not', async t => {
  const { kept, recalls, recall, unreadable } = desk()
  await kept.recall('over', sealedRecall(sealer, { idp: 'impots', since: 0, until: now() }, now()), 60)
  keys = [{ ...key, kid: 'yesterday' }]                                  // of an operator whose copy is old
  await recall('impots')
  await kept.recall('forged', 'x', 60)
  keys = [key]
  await recalls.look()
  await recalls.look()
  t.same(unreadable, [2])
  t.equal(recalls.count(), 0)
  await kept.recall('forged again', 'y', 60)
  await recalls.look()
  t.same(unreadable, [2, 1])
  await recalls.store.close()
})
