import { createSecretKey } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import t, { type Test } from 'tap'
import { keyringSealer } from '../src/adapters/keyring-sealer.ts'
import { recallingStore } from '../src/adapters/recalls.ts'
import { recordStore, type Cells } from '../src/adapters/record-store.ts'
import { sealedStore } from '../src/adapters/sealed-store.ts'
import { pushedUri } from '../src/protocol/authorization-request.ts'
import type { Kind, Recall } from '../src/records.ts'
import { keyHolder } from './support/client-keys.ts'
import { claimOf, grantOf } from './support/store-contract.ts'
import { testApp } from './support/test-app.ts'
import { makeFixture, type Fixture } from './fixtures/make.ts'

// While a new release is rolled out, and when it is rolled back, two releases serve at once: each reads what the other sealed and kept.

/** What a release wrote, opened by this source. */
async function reads (t: Pick<Test, 'strictSame' | 'equal' | 'match'>, { issuer, now, sealingKey, sealed, kept, records, degraded, used, ended, entered, once, recall, whole }: Fixture) {
  const sealer = keyringSealer({ issuer, keys: () => [{ kid: 'fixture', key: createSecretKey(Buffer.from(sealingKey, 'base64url')), nbf: 0 }], now: () => now })
  for (const { kind, place, value, record } of sealed) t.strictSame(sealer.open(kind, place, value)?.record, record, `sealed: ${kind}`)

  const cells: Cells = {
    swapNew: async key => kept.find(cell => cell.key === key)?.value ?? null,
    set: async () => {},
    get: async key => kept.findLast(cell => cell.key === key)?.value ?? null,
    add: async () => {},
    all: async key => kept.filter(cell => cell.key === key).map(({ value }) => value),
    standing: key => cells.all(key),
    close: async () => {}
  }
  const store = recordStore(cells, { site: 'a' })
  for (const { kind, handle, record } of records) t.strictSame(await store.get(kind, handle), record, `kept: ${kind}`)
  t.match(await store.usedBy(used.code), { client_id: used.client_id, token: /^a-/ }, 'who redeemed a code')
  t.match(await store.claim(used.code, claimOf(grantOf())), { used: { client_id: used.client_id } }, 'who comes again is refused')
  t.equal(await store.ended(ended.sid), true)
  t.equal(await store.tokenEnded(ended.token, 1000), true)
  t.equal(await store.get('session', ended.session), undefined, 'a session that ended')
  t.match(await store.entered(entered.sid), [{ client_id: entered.client_id }])
  t.strictSame(await store.usedBy(whole.code), whole.used, 'who redeemed a code, and what it gave')
  t.strictSame(await store.entered(whole.sid), whole.entered, 'the clients that a session entered')
  t.equal(await store.said(once.said), true)
  t.equal(await store.once(once.said, 60, { by: 'another' }), false, 'what was said once is not said again')
  t.equal(await store.once(once.said, 60, { by: once.by }), true, 'but by whom said it')

  const found: Recall[] = []
  const recalls = recallingStore({ store, sealer, now: () => now, onNew: found.push.bind(found), onUnreadable (more) { t.equal(more, 0) }, onFailure (error) { throw error } })
  t.equal(await recalls.look(), true)
  t.strictSame(found, [recall, ...whole.recalls], 'what was called back')
  await recalls.store.close()

  const handles = sealedStore({ site: 'a', sealer, now: () => now })
  for (const { kind, handle, record } of degraded) t.strictSame(await handles.get(kind, handle), record, `in its handle: ${kind}`)
}

const fixtureOf = (version: string): Fixture => JSON.parse(readFileSync(new URL(`fixtures/${version}.json`, import.meta.url), 'utf8'))
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const written = fixtureOf(version)
const fixtures = globSync('*.json', { cwd: new URL('fixtures', import.meta.url) }).sort()

t.test('what each release sealed and kept is read by this one', async t => {
  t.ok(fixtures.length > 0)
  for (const file of fixtures) await t.test(basename(file, '.json'), async t => reads(t, fixtureOf(basename(file, '.json'))))
})

t.test('what this source seals and keeps has the format that its version was released with', async t => {
  const now = await makeFixture()
  await reads(t, now)
  const shape = ({ sealed, kept, records, degraded, whole }: Fixture) => ({
    sealed: sealed.map(({ kind, place, value, record }) => [kind, place, value.replace(/[\w-]+$/, ''), members(record)]),
    kept: kept.map(({ key, value, field }) => [key.replace(/\{.*\}/, ''), value.slice(0, 2), field?.length]),
    records: records.map(({ kind, handle, record }) => [kind, handle.slice(0, 2), handle.length, members(record)]),
    degraded: degraded.map(({ kind, handle, record }) => [kind, handle.replace(/[\w-]+$/, ''), members(record)]),
    whole: [members(whole.used), whole.entered.map(members), whole.recalls.map(members)]
  })
  t.strictSame(shape(now), shape(written), 'where it differs, it is another version: a release reads what its neighbours wrote')
})

/** The names of all members, those within others after a dot. */
function members (value: unknown): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
  return Object.entries(value).flatMap(([name, member]) => [name, ...members(member).map(within => `${name}.${within}`)])
}

/** A record as the release of this version kept it, with all the members that it could have. */
const pinned = (kind: Kind) => written.records.findLast(record => record.kind === kind)!.record as Record<string, string>

t.test('a code and a token that a release bound to a key stay bound to it', async t => {
  const gateway = await testApp(t)
  const [holder, thief] = [await keyHolder(gateway), await keyHolder(gateway)]
  const access_token = await gateway.store.put('token', { ...pinned('token'), client_id: 'vault', jkt: holder.jkt } as never, 60)
  t.equal((await gateway.userinfo(access_token)).status, 401, 'without a proof')
  t.equal((await gateway.userinfo(access_token, thief)).status, 401, 'by another key')
  t.equal((await gateway.userinfo(access_token, holder)).status, 200)

  const { redirect_uri, code_challenge } = pinned('code')
  const code = await gateway.store.put('code', { ...pinned('code'), client_id: 'vault', dpop_jkt: holder.jkt } as never, 60)
  const arrival = { code, code_verifier: 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk', parameters: { client_id: 'vault', redirect_uri: redirect_uri!, code_challenge: code_challenge! } }
  t.match((await gateway.redeem(arrival, {}, 'vault', thief)).body, { error: 'invalid_grant' })
  t.equal((await gateway.redeem(arrival, {}, 'vault', holder)).status, 200)
})

t.test('what is good once, what a browser carries and what a token stands for have at the endpoints the names that a release pinned', async t => {
  const gateway = await testApp(t)
  const { app: { sealer }, store } = gateway
  const asked = new Set<string>()
  const { once, said } = store
  store.once = (name, ...rest) => { asked.add(name); return once(name, ...rest) }
  store.said = (name, ...rest) => { asked.add(name); return said(name, ...rest) }

  const holder = await keyHolder(gateway)
  const pushed = await gateway.push('vault', {}, holder)
  const opened = sealer.open('pushed', 'vault', String(pushed.answer.body['request_uri']).slice(pushedUri.length))
  const browser = gateway.browser()
  const way = await browser.toConsent('vault', { pushed })
  const carried = (place: string) => sealer.open('login', place, browser.cookies()[place]!)!.record
  const cookie = `__Host-login-${way.login}`
  const names = [Object.keys(browser.cookies())]
  t.equal(carried(cookie).request.pushed, opened!.record.request.pushed)
  const page = await browser.agree(way.page)
  names.push(Object.keys(browser.cookies()))
  t.strictSame(names.map(some => some.sort()), [['__Host-identity', cookie], [cookie, '__Host-session']])
  const stub = written.sealed.find(({ record }) => members(record).includes('done'))!
  t.strictSame(members(carried(cookie)).sort(), members(stub.record).sort(), 'what is left of a login')

  const redeemed = await gateway.redeem({ ...way, code: page.query.get('code')! }, {}, 'vault', holder)
  t.equal(redeemed.status, 200)
  const token = await store.get('token', String(redeemed.body['access_token']))
  t.strictSame(Object.keys(token!).filter(name => !Object.hasOwn(pinned('token'), name)), [], 'a token has no other')
  const uuid = /[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/
  const kinds = [...asked].map(name => name.replace(uuid, 'JTI').replace(holder.jkt, 'JKT').replace(opened!.record.request.pushed!, 'HANDLE'))
  t.strictSame([...new Set(kinds)].sort(), ['pushed HANDLE', 'vault assertion JTI', 'vault proof JKT JTI'])
})
