import { setTimeout as pause } from 'node:timers/promises'
import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { keyringSealer } from '../../src/adapters/keyring-sealer.ts'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { recallingStore, sealedRecall } from '../../src/adapters/recalls.ts'
import { grantOf, sessionOf } from '../support/store-contract.ts'

const key = { kid: 'one', key: createSecretKey(randomBytes(32)), nbf: 0 }
const now = () => 1700000000
const sealer = keyringSealer({ issuer: 'https://passerelle.example', keys: () => [key], now })

function desk () {
  const kept = memoryStore({ site: 'a', now })
  let asked = 0
  const counted = Object.assign(Object.create(kept), { async recalls () { asked++; return kept.recalls() } })
  const recalls = recallingStore({ store: counted, sealer, onNew () {}, onFailure () {} })
  return { kept, recalls, asked: () => asked, recall: (idp: string) => kept.recall(idp, sealedRecall(sealer, { idp, since: now() - 60, until: now() }, now() + 60), 60) }
}

t.test('however many ask it to look, it looks once at a time, and once a second from then on', async t => {
  const { recalls, asked } = desk()
  t.same(await Promise.all([recalls.look(), recalls.look(), recalls.look()]), [true, true, true])
  t.equal(asked(), 1)
  await recalls.look()
  t.equal(asked(), 2)
  await pause(1500)
  t.equal(asked(), 3, 'one clock, not one for each who asked')
  await recalls.store.close()
  await pause(1300)
  t.equal(asked(), 3, 'and none after it was closed')
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
