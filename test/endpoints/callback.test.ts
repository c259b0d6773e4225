import t from 'tap'
import { messages } from '../../src/pages/messages.ts'
import { failures, responsibilityFor, type Failure } from '../../src/protocol/errors.ts'
import { base, citizen, issuer, neighbour, testApp, type Browser, type TestApp } from '../support/test-app.ts'

/** A citizen at a provider. */
async function atProvider (gateway: TestApp, { client = 'agency', idp = 'taxes', changes = {}, browser = gateway.browser() }: { client?: string, idp?: string, changes?: Record<string, string | undefined>, browser?: Browser } = {}) {
  const way = await browser.start(client, changes)
  return { ...way, browser, away: await browser.choose(way.page, idp) }
}

t.test('who comes back reads what will be sent', async t => {
  const gateway = await testApp(t)
  const { browser, away, login } = await atProvider(gateway)
  const back = await browser.get(browser.callback(away))
  t.match(back, { status: 303, location: `${base}/consent?login=${login}` })
  t.match(gateway.providers['taxes']!.heard[0]!.href, new RegExp(`^${issuer}/callback/taxes\\?state=`), 'the redirection reaches the provider\'s checks as it arrived')
  t.notMatch(JSON.stringify(browser.cookies()), /Quiquempoix|UXVpcXVlbXBvaX/, 'the cookie hides the name')
})

t.test('a service without an information page gets its code at once', async t => {
  const gateway = await testApp(t)
  const { browser, away, parameters } = await atProvider(gateway, { client: 'swift' })
  const back = await browser.get(browser.callback(away))
  t.match(back, { status: 303, location: /^https:\/\/swift\.example\/back\?code=/ })
  t.strictSame([back.query.get('state'), back.query.get('iss')], [parameters['state'], issuer])

  const asked = await atProvider(gateway, { client: 'swift', changes: { prompt: 'consent login' } })
  t.match((await asked.browser.get(asked.browser.callback(asked.away))).location, /\/consent\?login=/, 'but for prompt=consent')
})

t.test('an answer without its login is a page with a code and a way on', async t => {
  const gateway = await testApp(t)
  const { browser, away, login } = await atProvider(gateway)
  const address = browser.callback(away)
  const name = `__Host-login-${login}`
  const sealed = browser.cookies()[name]!
  const other = await atProvider(gateway, { client: 'town' })
  const otherSealed = other.browser.cookies()[`__Host-login-${other.login}`]!

  for (const [what, cookies] of Object.entries<Record<string, string>>({
    'cookies off': {},
    'a login of another browser': { [`__Host-login-${other.login}`]: otherSealed },
    'the cookie of another login under this name': { [name]: otherSealed },
    'a tampered cookie': { [name]: `${sealed.slice(0, -9)}AAAAAAAAA` }
  })) {
    const fresh = gateway.browser()
    for (const [key, value] of Object.entries(cookies)) fresh.setCookie(key, value)
    const page = await fresh.get(address)
    t.match(page, { status: 400, code: 'B04', id: /./, location: '' }, what)
    t.ok(page.waysOn.length > 0, `${what}: a way on`)
  }
  t.equal(gateway.providers['taxes']!.heard.length, 0, 'and no call is made')
})

t.test('a state that is not ours is a page with a code', async t => {
  const gateway = await testApp(t)
  const { browser, away, login } = await atProvider(gateway)
  const state = new URL(away.location).searchParams.get('state')!
  for (const wrong of ['', 'x', login, `${login}.`, `${login}.AAAAAAAAAAAAAAAAA`, `.${state}`, `${state}x`, 'a'.repeat(2000), '%00', '%0d%0aset-cookie:x', '%ZZ', '%FF']) {
    const page = await browser.get(`${base}/callback/taxes?code=x&state=${wrong}`)
    t.match(page, { status: 400, code: /^[AB]\d\d$/, id: /./, location: '' }, `state ${wrong.slice(0, 40)}`)
  }
  for (const query of ['code=x', `code=x&state=${state}&state=${state}`, `code=x&state[]=${state}`, '']) {
    t.match(await browser.get(`${base}/callback/taxes?${query}`), { status: 400, id: /./ }, query.slice(0, 20))
  }
  t.match(await browser.get(`${base}/callback/taxes?code=x&state=${state}&state=${state}`), { status: 400, code: 'B16' }, 'what a browser brings twice is no service\'s mistake')
  t.equal(gateway.providers['taxes']!.heard.length, 0, 'no call is made')
})

t.test('the mark in a state is checked: a state of this login that we did not send goes back to the chooser', async t => {
  const gateway = await testApp(t)
  const { browser, login } = await atProvider(gateway)
  const page = await browser.follow(await browser.get(`${base}/callback/taxes?code=x&state=${login}.AAAAAAAAAAAAAAAA.AAAAAAAAAAA`))
  t.match(page, { status: 200, notice: 'login_elsewhere' })
  t.equal(gateway.providers['taxes']!.heard.length, 0)
})

t.test('an answer at another provider than the one the login is at is not heard (mix-up, RFC 9700 §4.4)', async t => {
  const gateway = await testApp(t)
  const { browser, away, page } = await atProvider(gateway)
  const address = browser.callback(away)
  const wrong = await browser.follow(await browser.get(address.replace('/callback/taxes', '/callback/post')))
  t.match(wrong, { status: 200, notice: 'login_elsewhere' }, 'the address of another provider')
  for (const idp of ['nowhere', '__proto__', '%2e%2e']) t.match((await browser.follow(await browser.get(address.replace('/callback/taxes', `/callback/${idp}`)))).status, /^(200|404)$/, idp)

  const elsewhere = await browser.choose(page, 'post')                   // the citizen went back and chose another
  t.match(await browser.follow(await browser.get(address)), { status: 200, notice: 'login_elsewhere' }, 'the first provider answers late')
  t.equal(gateway.providers['taxes']!.heard.length + gateway.providers['post']!.heard.length, 0, 'no call is made')
  t.match(await browser.comeBack(elsewhere), { status: 200, body: /id="continue"/ }, 'the second one finishes')
})

t.test('an answer before any choice is not heard', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { login } = await browser.start('agency')
  t.match(await browser.follow(await browser.get(`${base}/callback/taxes?code=x&state=${login}.AAAAAAAAAAAAAAAA.AAAAAAAAAAA`)), { status: 200, notice: 'login_elsewhere' })
  t.equal(gateway.providers['taxes']!.heard.length, 0)
})

t.test('what a provider does wrong leads to the chooser, the request intact', async t => {
  for (const [name, failure, notice] of [
    ['it refused', 'provider_refused', 'provider_refused'],
    ['it did not answer', 'provider_unavailable', 'provider_unavailable'],
    ['its answer failed a check', 'provider_answer_invalid', 'provider_answer_invalid'],
    ['it knows the code no more', 'provider_code_spent', 'provider_code_spent']
  ] as const) {
    const gateway = await testApp(t)
    const { browser, away, parameters } = await atProvider(gateway, { changes: { ui_locales: 'en' } })
    gateway.providers['taxes']!.failure = failure
    const page = await browser.comeBack(away)
    t.match(page, { status: 200, notice }, name)
    t.match(page.body, messages.en.notices[notice].title, `${name}: in words`)
    gateway.providers['taxes']!.failure = undefined
    const again = await browser.comeBack(await browser.choose(page))
    const end = await browser.agree(again)
    t.equal(end.query.get('state'), parameters['state'], `${name}: the same request goes on`)
    t.ok(end.query.get('code'), `${name}: and ends well`)
  }
})

t.test('what somebody may have forged is a security event of this login, client and provider; what just went wrong is none', async t => {
  const gateway = await testApp(t)
  const ofProvider = (Object.entries(failures) as Array<[Failure, { notice?: string, security?: true, outage?: true }]>).filter(([, { notice }]) => notice !== undefined)
  for (const [failure, { security }] of ofProvider) {
    gateway.providers['taxes']!.failure = failure
    const { browser, away, login } = await atProvider(gateway)
    const before = gateway.log.length
    await browser.comeBack(away)
    const events = gateway.log.slice(before).map(line => JSON.parse(line)).filter(line => line.security === true)
    t.strictSame(events.map(({ event, login, client_id, idp, outcome }) => ({ event, login, client_id, idp, outcome })), security ? [{ event: failure, login, client_id: 'agency', idp: 'taxes', outcome: responsibilityFor(failure) }] : [], failure)
  }
})

t.test('a provider\'s error comes back to the chooser', async t => {
  const gateway = await testApp(t)
  const { browser, away } = await atProvider(gateway)
  const page = await browser.comeBack(away, { error: 'access_denied', error_description: '<script>alert("Quiquempoix")</script>' })
  t.match(page, { status: 200, notice: 'provider_refused' })
  t.notMatch(page.body, /<script|Quiquempoix/, 'its words are not repeated')
  t.notMatch(gateway.log.join(''), /Quiquempoix/, 'nor logged')
})

t.test('a level that is missing, lower or not vouched for leads to the chooser', async t => {
  const gateway = await testApp(t)
  const { taxes } = gateway.providers
  for (const [name, acr, asked] of [['missing', undefined, 'eidas2'], ['lower', 'eidas1', 'eidas2'], ['unknown', 'eidas9', 'eidas1'], ['no string', 3, 'eidas1'], ['a list', ['eidas2'], 'eidas2']] as const) {
    taxes!.answer = { acr }
    const { browser, away } = await atProvider(gateway, { changes: { acr_values: asked } })
    t.match(await browser.comeBack(away), { status: 200, notice: 'acr_too_low' }, name)
  }
  const refused = (failure: string) => gateway.metric('passerelle_failures_total', { failure })
  t.strictSame([await refused('acr_missing'), await refused('acr_too_low')], [3, 2], 'operators are told one from the other')
  gateway.providers['post']!.answer = { acr: 'eidas2' }
  const { browser, away } = await atProvider(gateway, { idp: 'post' })
  t.match(await browser.comeBack(away), { status: 200, notice: 'acr_too_low' }, 'a level this provider may not vouch for')
  taxes!.answer = { acr: 'eidas3' }
  const higher = await atProvider(gateway, { changes: { acr_values: 'eidas2' } })
  t.match(await higher.browser.comeBack(higher.away), { status: 200, notice: undefined }, 'higher will do')
})

t.test('a fresh login that was asked for is a fresh one', async t => {
  const gateway = await testApp(t, { identityProviders: { post: { always_authenticates: true } } })
  const { taxes, post } = gateway.providers
  const notice = async (changes: Record<string, string>, auth_time: unknown, idp = 'taxes') => {
    gateway.providers[idp]!.answer = { auth_time }
    const { browser, away } = await atProvider(gateway, { changes, idp })
    gateway.wait(30)                                                     // the citizen is there for a while
    return (await browser.comeBack(away)).notice
  }
  t.equal(await notice({ prompt: 'login' }, gateway.now() - 61), 'authentication_too_old', 'prompt=login: before the citizen left, beyond the clocks\' tolerance')
  t.equal(await notice({ prompt: 'login' }, gateway.now() - 60), undefined, 'within it')
  t.equal(await notice({ prompt: 'login' }, undefined), 'authentication_too_old', 'prompt=login: unknown')
  t.equal(await notice({ max_age: '0' }, gateway.now() - 61), 'authentication_too_old', 'max_age=0')
  t.equal(await notice({ max_age: '300' }, gateway.now() + 30 - 300 - 61), 'authentication_too_old', 'max_age=300')
  t.equal(await notice({ max_age: '300' }, gateway.now() + 30 - 300), undefined, 'max_age=300, in time')
  t.equal(await notice({ max_age: '300' }, undefined), 'authentication_too_old', 'max_age: unknown')
  t.equal(await notice({}, undefined), undefined, 'nothing asked, unknown')
  t.equal(await notice({}, gateway.now() - 86400 * 30), undefined, 'nothing asked, old')
  t.equal(await notice({}, gateway.now() + 3600), 'provider_answer_invalid', 'in the future')
  t.equal(await notice({}, 'yesterday'), 'provider_answer_invalid', 'no number')
  t.equal(await notice({ prompt: 'login' }, undefined, 'post'), undefined, 'unknown, at a provider that always asks')
  taxes!.answer = post!.answer = {}
})

t.test('an identity that misses something is refused, and the page does not show the data', async t => {
  const gateway = await testApp(t, { settings: { identity: { required_claims: ['given_name', 'family_name', 'gender', 'birthdate', 'birthcountry', 'birthplace'] } }, identityProviders: { taxes: { required_claims: ['email'] } } })
  for (const [name, wrong] of Object.entries({
    'no family name': { family_name: undefined },
    'an empty family name': { family_name: '' },
    'a family name of 257 letters': { family_name: 'Q'.repeat(257) },
    'a family name with a line break': { family_name: 'Quiquempoix\r\nSet-Cookie: a' },
    'a gender of its own': { gender: 'Quiquempoix' },
    'no birthdate': { birthdate: undefined },
    'a day that does not exist': { birthdate: '1962-02-30' },
    'born in France, nowhere': { birthplace: '' },
    'a name that is an object': { given_name: { fr: 'Angèle' } },
    'what this provider must give': { email: undefined }
  })) {
    gateway.providers['taxes']!.answer = { claims: { ...citizen, ...wrong } }
    const { browser, away } = await atProvider(gateway)
    const page = await browser.comeBack(away)
    t.match(page, { status: 200, notice: 'identity_incomplete' }, name)
    t.notMatch(page.body, /Quiquempoix|Angèle|1962|courriel/, `${name}: nothing shown`)
    t.equal(browser.cookie(/identity/), undefined, `${name}: nothing kept`)
  }
  t.notMatch(gateway.log.join(''), /Quiquempoix|Angèle|1962|courriel/, 'nothing logged')
})

t.test('upstream a login lives fifteen minutes, then the request starts again', async t => {
  const gateway = await testApp(t)
  const { browser, away, parameters } = await atProvider(gateway)
  const intime = await atProvider(gateway)
  gateway.wait(15 * 60)
  t.match(await intime.browser.comeBack(intime.away), { status: 200, body: /id="continue"/ }, 'a quarter of an hour is in time')
  gateway.wait(1)
  const late = await browser.comeBack(away)
  t.match(late, { status: 200, notice: 'login_expired' })
  const end = await browser.agree(await browser.comeBack(await browser.choose(late)))
  t.equal(end.query.get('state'), parameters['state'], 'the same request, to its end')
})

t.test('called back twice: no second call before the consent, none after it', async t => {
  const gateway = await testApp(t)
  const { browser, away } = await atProvider(gateway)
  const address = browser.callback(away)
  const consent = await browser.follow(await browser.get(address))
  const again = await browser.follow(await browser.get(address))
  t.match(again, { status: 200, body: /id="continue"/ }, 'the information page again')
  const end = await browser.agree(consent)
  t.ok(end.query.get('code'))
  const after = await browser.get(address)
  t.match(after, { status: 409, location: '' }, 'finished')
  t.match(after.link('return'), 'https://agency.example/home', 'with a way on')
  t.equal(gateway.providers['taxes']!.heard.length, 1, 'one call in all')
})

t.test('called back twice at once: both lead on', async t => {
  const gateway = await testApp(t)
  const { browser, away } = await atProvider(gateway)
  const address = browser.callback(away)
  const pages = await Promise.all([browser.get(address), browser.get(address)])
  for (const page of pages) {
    const shown = await browser.follow(page)
    t.equal(shown.status, 200)
    t.ok(shown.waysOn.length > 0)
  }
  t.ok(pages.some(({ location }) => location.includes('/consent')))
})

t.test('a callback after a finished login without information page makes no call', async t => {
  const gateway = await testApp(t)
  const { browser, away } = await atProvider(gateway, { client: 'swift' })
  const address = browser.callback(away)
  t.ok((await browser.get(address)).query.get('code'))
  const again = await browser.get(address)
  t.match(again, { status: 409, location: '' })
  t.ok(again.waysOn.length > 0)
  t.equal(gateway.providers['taxes']!.heard.length, 1)
})

t.test('a login under way finishes at a provider that is disabled, down, hidden or in maintenance meanwhile', async t => {
  for (const change of ['disabled', 'hidden', 'maintenance', 'down'] as const) {
    const gateway = await testApp(t)
    const { browser, away } = await atProvider(gateway)
    if (change === 'down') gateway.providers['taxes']!.up = false
    else Object.assign(gateway.app.configuration.identityProviders.get('taxes')!, { state: change, ...(change === 'maintenance' ? { maintenance: {} } : {}) })
    const end = await browser.agree(await browser.comeBack(away))
    t.ok(end.query.get('code'), change)
  }
})

t.test('a provider that left the configuration meanwhile leads to the chooser', async t => {
  const gateway = await testApp(t)
  const { browser, away } = await atProvider(gateway)
  gateway.app.configuration.identityProviders.delete('taxes')
  const page = await browser.comeBack(away)
  t.match(page, { status: 200, notice: /^provider_/ })
  t.ok(page.link('idp-post'))
})

t.test('a client closed meanwhile, or without its address, gets nothing; the citizen gets a page with a way on', async t => {
  for (const [name, change, code] of [['closed', { active: false }, 'A02'], ['without its address', { redirect_uris: ['https://agency.example/new'] }, /^[AB]\d\d$/]] as const) {
    const gateway = await testApp(t)
    const { browser, away } = await atProvider(gateway)
    Object.assign(gateway.app.configuration.clients.get('agency')!, change)
    const page = await browser.get(browser.callback(away))
    t.match(page, { code, id: /./, location: '' }, name)
    t.ok(page.waysOn.length > 0, `${name}: a way on`)
    t.equal(gateway.providers['taxes']!.heard.length, 0, `${name}: no call is made`)
  }
})

t.test('the registered addresses in another order change nothing', async t => {
  const gateway = await testApp(t)
  const { browser, away } = await atProvider(gateway)
  gateway.app.configuration.clients.get('agency')!.redirect_uris.reverse()
  t.match((await browser.agree(await browser.comeBack(away))).location, /^https:\/\/agency\.example\/back\?code=/)
})

t.test('HEAD spends nothing', async t => {
  const gateway = await testApp(t)
  const { browser, away } = await atProvider(gateway)
  const address = browser.callback(away)
  const head = await browser.get(address, { method: 'HEAD' })
  t.ok(head.status === 404 || head.status === 405)
  t.equal(head.body, '')
  t.strictSame(head.setCookies, [])
  t.equal(gateway.providers['taxes']!.heard.length, 0)
  t.match(await browser.follow(await browser.get(address)), { status: 200, body: /id="continue"/ })
})

t.test('the identity of a neighbour who signs in at the same time stays where it is', async t => {
  const gateway = await testApp(t)
  const mine = await atProvider(gateway)
  const theirs = await atProvider(gateway)
  gateway.providers['taxes']!.answer = { claims: neighbour }
  await theirs.browser.comeBack(theirs.away)
  gateway.providers['taxes']!.answer = {}
  const page = await mine.browser.comeBack(mine.away)
  t.match(page.body, /Angèle/)
  mine.browser.setCookie('__Host-identity', theirs.browser.cookies()['__Host-identity'])
  t.match(await mine.browser.follow(await mine.browser.get(`${base}/consent?login=${mine.login}`)), { notice: 'identity_expired' }, 'the identity cookie of another login does not open')
})
