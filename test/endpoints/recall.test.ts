import t, { type Test } from 'tap'
import { sealedRecall } from '../../src/adapters/recalls.ts'
import type { Recall } from '../../src/records.ts'
import { base, testApp, type TestApp } from '../support/test-app.ts'

/** As an operator's command leaves it, and as each replica hears of it within seconds. */
async function callBack ({ app, store, now }: TestApp, recall: Partial<Recall>, heard = true) {
  const whole = { since: now() - 3600, until: now(), ...recall }
  await store.recall(JSON.stringify(whole), sealedRecall(app.sealer, whole, now() + 36_000), 36_000)
  if (heard) await app.lookForRecalls()
}

/** A login whose code is not redeemed, one whose token is live, and a session. */
async function before (t: Pick<Test, 'equal'>, gateway: TestApp, client = 'agency') {
  const browser = gateway.browser()
  const { body: { access_token } } = await gateway.redeem(await browser.logIn(client))
  const waiting = await gateway.browser().logIn(client)
  t.equal((await gateway.userinfo(access_token)).status, 200, 'before')
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
