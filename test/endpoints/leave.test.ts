import t from 'tap'
import { base, issuer, testApp } from '../support/test-app.ts'

t.test('leaving tells the client, at every stage', async t => {
  const gateway = await testApp(t)
  for (const stage of ['chooser', 'provider', 'consent'] as const) {
    const browser = gateway.browser()
    const { page, login, parameters } = stage === 'consent' ? await browser.toConsent('agency') : await browser.start('agency')
    if (stage === 'provider') await browser.choose(page)
    const left = await browser.get(`${base}/leave?login=${login}`)
    t.match(left, { status: 303, location: /^https:\/\/agency\.example\/back\?/ }, stage)
    t.strictSame([left.query.get('error'), left.query.get('state'), left.query.get('iss')], ['access_denied', parameters['state'], issuer], stage)
    t.equal(browser.cookie(/identity/), undefined, `${stage}: no identity is left`)
    const again = await browser.get(`${base}/leave?login=${login}`)
    t.match(again, { status: 409, location: '' }, `${stage}: once`)
    t.ok(again.waysOn.length > 0, `${stage}: a way on`)
  }
})

t.test('who comes back after leaving finds a page with a way on, and no call is made', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, login } = await browser.start('agency')
  const away = await browser.choose(page)
  await browser.get(`${base}/leave?login=${login}`)
  const back = await browser.get(browser.callback(away))
  t.match(back, { status: 409, location: '' })
  t.equal(back.link('return'), 'https://agency.example/home')
  t.equal(gateway.providers['taxes']!.heard.length, 0)
})

t.test('leaving a login that this browser does not carry is a page with a code', async t => {
  const gateway = await testApp(t)
  const { login } = await gateway.browser().start('agency')
  for (const query of [`?login=${login}`, '?login=', '', '?login=__proto__', `?login=${login}&login=${login}`, '?login[]=a', '?login=%00', '?login=%ZZ']) {
    t.match(await gateway.browser().get(`${base}/leave${query}`), { status: 400, code: /^[AB]\d\d$/, id: /./, location: '' }, query || 'no query')
  }
})

t.test('leaving one tab leaves the others', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const first = await browser.start('agency')
  const second = await browser.toConsent('town')
  await browser.get(first.page.link('return')!)
  t.ok((await browser.agree(second.page)).query.get('code'), 'the identity of the other tab was not dropped')
})
