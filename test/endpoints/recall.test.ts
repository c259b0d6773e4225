import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { decodeProtectedHeader } from 'jose'
import t, { type Test } from 'tap'
import { lateSeconds, leadSeconds } from '../../src/adapters/key-schedule.ts'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { sealedRecall } from '../../src/adapters/recalls.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { listKeys, makeNextKeys, revokeKey } from '../../src/keys.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import type { Recall } from '../../src/records.ts'
import { replicaOf, sealerOf } from '../support/degradable.ts'
import { temporaryDirectory } from '../support/gateway.ts'
import { base, testApp, type Browser, type TestApp } from '../support/test-app.ts'

/** As an operator's command leaves it, and as each replica hears of it within seconds. */
async function callBack ({ app, store, now }: TestApp, recall: Partial<Recall>, heard = true) {
  const whole = { since: now() - 3600, until: now(), ...recall }
  await store.recall(JSON.stringify(whole), sealedRecall(app.sealer, whole, now() + 36_000), 36_000)
  if (heard) await app.lookForRecalls()
}

/** A login whose code is not redeemed, one whose token is live, and a session. */
async function before (t: Pick<Test, 'equal' | 'match'>, gateway: TestApp, client = 'agency') {
  const browser = gateway.browser()
  const { body: { access_token } } = await gateway.redeem(await browser.logIn(client, { changes: { scope: 'openid email' } }))
  const waiting = await gateway.browser().logIn(client)
  t.equal((await gateway.userinfo(access_token)).status, 200, 'before')
  t.match((await gateway.postAs('archive', '/introspection', { token: access_token })).body, { active: true }, 'before')
  return { browser, access_token, waiting }
}

t.test('of a provider that is called back no session, code, token or identity on its way lives on', async t => {
  const gateway = await testApp(t)
  const { browser, access_token, waiting } = await before(t, gateway)
  const reader = gateway.browser()
  const reading = await reader.toConsent('agency')
  await callBack(gateway, { idp: 'taxes' })

  t.equal((await gateway.userinfo(access_token)).status, 401, 'a token')
  t.match((await gateway.postAs('archive', '/introspection', { token: access_token })).body, { active: false }, 'for an agency too')
  t.match((await gateway.redeem(waiting)).body, { error: 'invalid_grant' }, 'a code')
  t.equal((await browser.start('mobile')).page.status, 200, 'a session: the chooser is shown')
  t.match(await reader.agree(reading.page), { location: /\/choose\?.*notice=identity_expired/ }, 'an identity that the citizen was reading')
})

t.test('whoever comes back from there within a minute of it is at the chooser, with or without an information page, and is let in a minute later', async t => {
  const gateway = await testApp(t)
  await callBack(gateway, { idp: 'taxes' })
  for (const client of ['swift', 'agency']) {
    const browser = gateway.browser()
    const { page } = await browser.start(client)
    t.match(await browser.comeBack(await browser.choose(page)), { status: 200, notice: 'identity_expired' }, client)
  }
  gateway.wait(61)
  t.equal((await gateway.redeem(await gateway.browser().logIn('swift'))).status, 200)
})

t.test('what another provider vouched for lives on, and what came before and comes after', async t => {
  const gateway = await testApp(t)
  const { access_token } = await before(t, gateway)
  await callBack(gateway, { idp: 'post' })
  t.equal((await gateway.userinfo(access_token)).status, 200, 'of another provider')
  await callBack(gateway, { idp: 'taxes', since: gateway.now() - 7200, until: gateway.now() - 3600 })
  t.equal((await gateway.userinfo(access_token)).status, 200, 'of another time')
  await callBack(gateway, { idp: 'taxes' })
  t.equal((await gateway.userinfo(access_token)).status, 401)
  gateway.wait(61)
  const again = await gateway.redeem(await gateway.browser().logIn('agency'))
  t.equal((await gateway.userinfo(again.body['access_token'])).status, 200, 'who logs in since is in')
})

t.test('of a client that is called back its codes and tokens, and the sessions that it opened', async t => {
  const gateway = await testApp(t)
  const { browser, access_token, waiting } = await before(t, gateway)
  const other = await before(t, gateway, 'swift')
  await callBack(gateway, { client_id: 'agency' })
  t.equal((await gateway.userinfo(access_token)).status, 401)
  t.match((await gateway.redeem(waiting)).body, { error: 'invalid_grant' })
  t.equal((await browser.start('mobile')).page.status, 200, 'the chooser is shown')
  t.equal((await gateway.userinfo(other.access_token)).status, 200, 'another client\'s token')
  t.match((await other.browser.start('mobile')).page.location, new RegExp(`^${base}/consent`), 'another client\'s session')
})

t.test('whom such a session let in does not get further than the page he or she was reading; whom another let in does', async t => {
  const gateway = await testApp(t)
  const reading = async (opener: string) => {
    const browser = gateway.browser()
    await browser.logIn(opener)
    return { browser, ...await browser.toConsent('mobile') }
  }
  const [caught, free] = [await reading('agency'), await reading('swift')]
  for (const { page } of [caught, free]) t.equal(page.status, 200, 'both are reading')
  await callBack(gateway, { client_id: 'agency' })
  t.match(await caught.browser.agree(caught.page), { location: /\/choose\?.*notice=identity_expired/ })
  t.ok((await free.browser.agree(free.page)).query.get('code'))
})

/** Two replicas of one store; the second was started while what was called back could not be read. */
async function lateReplica (t: Test) {
  const kept = memoryStore({ site: 'a', now: () => 1_800_000_000 })
  let isAway = true
  const recalls = async () => {
    if (isAway) throw new OAuthError('store_unavailable', 'the part that keeps them is away')
    return kept.recalls()
  }
  const first = await testApp(t, { store: kept })
  const late = await testApp(t, { store: { ...kept, recalls } })
  return { first, late, comeBack () { isAway = false } }
}

/** The same browser, whose next request goes to another replica. */
function movedTo ({ browser }: TestApp, from: Browser) {
  const here = browser()
  for (const [name, value] of Object.entries(from.cookies())) here.setCookie(name, value)
  return here
}

t.test('a replica that never read what was called back takes no session at its word, and serves everything else', async t => {
  const { first, late, comeBack } = await lateReplica(t)
  const browser = first.browser()
  await browser.logIn('agency')
  t.ok((await movedTo(first, browser).start('swift')).page.query.get('code'), 'where it was read the session is good')
  t.equal((await movedTo(late, browser).start('swift')).page.status, 200, 'the chooser is shown')
  t.equal((await movedTo(late, browser).start('swift', { prompt: 'none' })).page.query.get('error'), 'temporarily_unavailable')
  const reader = movedTo(first, browser)
  const { page } = await reader.toConsent('mobile')
  t.match(await movedTo(late, reader).agree(page), { location: /\/choose\?.*notice=identity_expired/ }, 'nor on from the page that it led to')

  const arrival = await late.browser().logIn('agency', { changes: { scope: 'openid email' } })
  const { status, body: { access_token } } = await late.redeem(arrival)
  t.equal(status, 200, 'a code')
  t.equal((await late.userinfo(access_token)).status, 200, 'a token')
  t.match((await late.postAs('archive', '/introspection', { token: access_token })).body, { active: true })

  comeBack()
  t.equal(await late.app.lookForRecalls(), true)
  t.ok((await movedTo(late, browser).start('swift')).page.query.get('code'), 'once it was read there, too')
})

t.test('whoever logs out there is logged out everywhere', async t => {
  const { first, late } = await lateReplica(t)
  const browser = first.browser()
  const { body: { id_token } } = await first.redeem(await browser.logIn('agency'))
  await movedTo(late, browser).get(`${base}/session/end?${new URLSearchParams({ id_token_hint: id_token })}`)
  t.equal((await movedTo(first, browser).start('swift')).page.status, 200, 'the chooser is shown')
})

t.test('started while all of the store is away it serves whom it may', async t => {
  const away = async (): Promise<never> => { throw new OAuthError('store_unavailable', 'all of it is away') }
  const kept = memoryStore({ site: 'a', now: () => 1_800_000_000 })
  const { store } = replicaOf({ records: { ...kept, put: away, get: away, ended: away, enter: away, use: away, tokenEnded: away, recalls: away }, sealer: sealerOf(() => 1_800_000_000), now: () => 1_800_000_000 })
  const late = await testApp(t, { store })
  const { status, body: { access_token } } = await late.redeem(await late.browser().logIn('agency'))
  t.equal(status, 200)
  t.equal((await late.userinfo(access_token)).status, 200)
})

t.test('a recall that nobody of ours sealed counts for nothing, and while it cannot be read the known ones count', async t => {
  const gateway = await testApp(t)
  const { access_token } = await before(t, gateway)
  for (const text of ['', 'x', JSON.stringify({ idp: 'taxes', since: 0, until: gateway.now() }), gateway.app.sealer.seal('nonce', 'recalls', null, gateway.now() + 60)]) await gateway.store.recall(text, text, 60)
  t.equal(await gateway.app.lookForRecalls(), true)
  t.equal((await gateway.userinfo(access_token)).status, 200)
  t.equal(await gateway.metric('passerelle_recalls_unread_total'), 1)
  t.match(gateway.log.map(line => JSON.parse(line)).filter(({ recalls }) => recalls !== undefined), [{ level: 50, recalls: 4 }], 'and is told: an operator may have meant it')

  await callBack(gateway, { idp: 'taxes' })
  gateway.store.fail('recalls')
  t.equal(await gateway.app.lookForRecalls(), false)
  t.equal((await gateway.userinfo(access_token)).status, 401, 'what is known counts')
  t.equal(await gateway.metric('passerelle_recalls_unread_total'), 2)
  t.equal(await gateway.metric('passerelle_recalls_in_force'), 1)
})

t.test('a recall is over when all that it may be of has died', async t => {
  const gateway = await testApp(t)
  await callBack(gateway, { idp: 'taxes' })
  t.equal(await gateway.metric('passerelle_recalls_in_force'), 1)
  gateway.wait(36_000)
  await gateway.app.lookForRecalls()
  t.equal(await gateway.metric('passerelle_recalls_in_force'), 0)
})

t.test('a replica says once in its log what was called back', async t => {
  const gateway = await testApp(t)
  await callBack(gateway, { idp: 'taxes' })
  await gateway.app.lookForRecalls()
  t.same(gateway.log.map(line => JSON.parse(line)).filter(({ msg }) => msg === 'called back').map(({ idp }) => idp), ['taxes'])
})

const begin = 1_800_000_000
const day = 86_400

/** A gateway with keys of its own, made at these times; the operator changes a copy, which `receive` brings. */
async function withKeys (t: Test, ...times: number[]) {
  const [kept, own] = [join(temporaryDirectory(t), 'keys'), join(temporaryDirectory(t), 'keys')]
  for (const at of times) makeNextKeys(kept, at)
  cpSync(kept, own, { recursive: true })
  const gateway = await testApp(t, { settings: { keys: own } })
  const keyOf = (alg: string, state: string) => listKeys(kept, gateway.now()).find(key => key.alg === alg && key.state === state)!.kid
  const published = async (path: string) => (await gateway.app.inject(base + path)).json().keys.map(({ kid }: { kid: string }) => kid) as string[]
  return {
    ...gateway,
    kept,
    keyOf,
    published,
    callBack: (kid: string) => callBack(gateway, { kid, since: gateway.now(), until: gateway.now() }),
    said: (part: string) => gateway.log.map(line => JSON.parse(line)).filter(({ msg }) => String(msg).includes(part)),
    receive () {
      rmSync(own, { recursive: true })
      cpSync(kept, own, { recursive: true })
      return gateway.app.reconfigure(loadConfiguration(gateway.directory))
    }
  }
}

t.test('a signing key that is called back while none waits signs nothing more: services are told to come again, their codes are not spent, and when the file of the next is there they get in', async t => {
  const gateway = await withKeys(t, begin - 2 * day, begin - day)
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const metadata = async () => (await gateway.app.inject(`${base}/.well-known/openid-configuration`)).body
  const before = await metadata()
  const kid = gateway.keyOf('RS256', 'in force')
  const { body: { id_token } } = await gateway.redeem(await gateway.browser().logIn('swift'))
  const waiting = await gateway.browser().logIn('swift')
  await gateway.callBack(kid)

  t.notOk((await gateway.published('/jwks')).includes(kid))
  t.equal(await gateway.app.signer.verify(String(id_token)), undefined, 'what it signed is no hint')
  for (let tries = 0; tries < 2; tries++) t.match(await gateway.redeem(waiting), { status: 503, headers: { 'retry-after': /^\d+$/ }, body: { error: 'temporarily_unavailable' } })
  t.equal((await gateway.redeem(await gateway.browser().logIn('mobile'))).status, 200, 'another algorithm has its key')
  t.equal(await metadata(), before, 'which client takes what is no other than it was')
  t.equal((await gateway.app.operations.inject('/readyz')).statusCode, 200, 'no restart would help')

  const { successor } = revokeKey(gateway.kept, kid, gateway.now())
  t.equal(gateway.receive(), 'taken')
  const { status, body } = await gateway.redeem(waiting)
  t.equal(status, 200)
  t.equal(`${decodeProtectedHeader(String(body['id_token'])).kid}.json`, successor)
})

t.test('a key that is called back is out of use as its file would be, whatever it is for; nothing else is', async t => {
  const gateway = await withKeys(t, begin - 2 * day, begin - day, begin - 60)
  const { app } = gateway
  const all = () => Object.fromEntries((['signing', 'sealing', 'decryption'] as const).map(kind => [kind, app.configuration.keys[kind].map(({ kid, nbf }) => `${kid} ${nbf}`).sort()]))
  for (const alg of ['ES256', 'ECDH-ES', 'A256GCM']) {
    const kid = gateway.keyOf(alg, 'in force')
    await gateway.callBack(kid)
    revokeKey(gateway.kept, kid, gateway.now())
    for (const path of ['/jwks', '/provider-keys']) t.notOk((await gateway.published(path)).includes(kid), alg)
    const byRecall = all()
    gateway.receive()
    t.same(all(), byRecall, `${alg}: when the files come they change nothing`)
  }
  t.equal(gateway.said('take them away').length, 0)
  await gateway.callBack('nobody-knows-it')
  t.equal((await gateway.redeem(await gateway.browser().logIn('swift'))).status, 200)
})

t.test('of the sealing keys the last stays, whoever calls it back: without one nobody enters', async t => {
  const gateway = await withKeys(t, begin - day)
  const kid = gateway.keyOf('A256GCM', 'in force')
  await gateway.callBack(kid)
  for (let looks = 0; looks < 2; looks++) {
    await gateway.app.lookForRecalls()
    t.match(gateway.app.configuration.keys.sealing, [{ kid }])
    t.equal((await gateway.redeem(await gateway.browser().logIn('swift'))).status, 200)
  }
})

t.test('a file that stays though its key was called back is complained of while that lasts, and again when it is over and the key believed once more', async t => {
  const gateway = await withKeys(t, begin - 2 * day, begin - leadSeconds)
  const kid = gateway.keyOf('ES256', 'in force')
  const later = async (seconds: number) => { gateway.wait(seconds); await gateway.app.lookForRecalls() }
  await gateway.callBack(kid)
  await later(lateSeconds - 1)
  t.equal(gateway.said('take them away').length, 0, 'files take a while')
  await later(1)
  await later(1)
  t.match(gateway.said('take them away'), [{ level: 40, kids: [kid] }], 'once')
  t.equal(gateway.said('take them away').length, 1)
  makeNextKeys(gateway.kept, gateway.now(), { force: true })
  t.equal(gateway.receive(), 'taken')
  t.notOk((await gateway.published('/jwks')).includes(kid), 'nor do other files bring it back')
  await later(lateSeconds)
  t.equal(gateway.said('take them away').length, 2)
  t.equal(gateway.said('that has ended').length, 0)
  await later(36_000)
  t.match(gateway.said('that has ended'), [{ level: 50, kids: [kid] }])
  t.ok(gateway.app.configuration.keys.signing.some(key => key.kid === kid && !key.recalled))
})
