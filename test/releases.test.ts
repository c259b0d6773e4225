import { createSecretKey } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import t, { type Test } from 'tap'
import { keyringSealer } from '../src/adapters/keyring-sealer.ts'
import { recordStore, type Cells } from '../src/adapters/record-store.ts'
import { sealedStore } from '../src/adapters/sealed-store.ts'
import { claimOf, grantOf } from './support/store-contract.ts'
import { makeFixture, type Fixture } from './fixtures/make.ts'

// While a new release is rolled out, and when it is rolled back, two releases serve at once: each reads what the other sealed and kept.

/** What a release wrote, opened by this source. */
async function reads (t: Pick<Test, 'strictSame' | 'equal' | 'match'>, { issuer, now, sealingKey, sealed, kept, records, degraded, used, ended, entered }: Fixture) {
  const sealer = keyringSealer({ issuer, keys: () => [{ kid: 'fixture', key: createSecretKey(Buffer.from(sealingKey, 'base64url')), nbf: 0 }], now: () => now })
  for (const { kind, place, value, record } of sealed) t.strictSame(sealer.open(kind, place, value)?.record, record, `sealed: ${kind}`)

  const cells: Cells = {
    swapNew: async key => kept.find(cell => cell.key === key)?.value ?? null,
    set: async () => {},
    get: async key => kept.findLast(cell => cell.key === key)?.value ?? null,
    add: async () => {},
    all: async key => kept.filter(cell => cell.key === key).map(({ value }) => value),
    standing: async () => [],
    close: async () => {}
  }
  const store = recordStore(cells, { site: 'a' })
  for (const { kind, handle, record } of records) t.strictSame(await store.get(kind, handle), record, `kept: ${kind}`)
  t.match(await store.usedBy(used.code), { client_id: used.client_id, token: /^a-/ }, 'who redeemed a code')
  t.match(await store.claim(used.code, claimOf(grantOf())), { used: { client_id: used.client_id } }, 'who comes again is refused')
  t.equal(await store.ended(ended.sid), true)
  t.equal(await store.tokenEnded(ended.token, 1000), true)
  t.match(await store.entered(entered.sid), [{ client_id: entered.client_id }])

  const handles = sealedStore({ site: 'a', sealer, now: () => now })
  for (const { kind, handle, record } of degraded) t.strictSame(await handles.get(kind, handle), record, `in its handle: ${kind}`)
}

const fixtures = globSync('*.json', { cwd: new URL('fixtures', import.meta.url) }).sort()

t.test('what each release sealed and kept is read by this one', async t => {
  t.ok(fixtures.length > 0)
  for (const file of fixtures) await t.test(basename(file, '.json'), async t => reads(t, JSON.parse(readFileSync(new URL(`fixtures/${file}`, import.meta.url), 'utf8'))))
})

t.test('what this source seals and keeps has the format that its version was released with', async t => {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  const written: Fixture = JSON.parse(readFileSync(new URL(`fixtures/${version}.json`, import.meta.url), 'utf8'))
  const now = await makeFixture()
  await reads(t, now)
  const shape = ({ sealed, kept, records, degraded }: Fixture) => ({
    sealed: sealed.map(({ kind, place, value, record }) => [kind, place, value.replace(/[\w-]+$/, ''), Object.keys(record ?? {})]),
    kept: kept.map(({ key, value, field }) => [key.replace(/\{.*\}/, ''), value.slice(0, 2), field?.length]),
    records: records.map(({ kind, handle, record }) => [kind, handle.slice(0, 2), handle.length, Object.keys(record as object)]),
    degraded: degraded.map(({ kind, handle, record }) => [kind, handle.replace(/[\w-]+$/, ''), Object.keys(record as object)])
  })
  t.strictSame(shape(now), shape(written), 'where it differs, it is another version: a release reads what its neighbours wrote')
})
