import t, { type Test } from 'tap'
import { memoryStore } from '../../src/adapters/memory-store.ts'
import { sealedRecall } from '../../src/adapters/recalls.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import type { Recall } from '../../src/records.ts'
import { replicaOf, sealerOf } from '../support/degradable.ts'
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
