import t from 'tap'
import { base, issuer, testApp } from '../support/test-app.ts'

t.test('the choice goes to the provider with state, nonce, PKCE and the level wanted', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, login } = await browser.start('agency', { acr_values: 'eidas3 eidas2', max_age: '600', ui_locales: 'en' })
  const away = await browser.choose(page)
  t.match(away, { status: 303, location: /^https:\/\/taxes\.example\/authorize\?/ })
  const [question] = gateway.providers['taxes']!.asked
  t.match(question, { redirect_uri: `${issuer}/callback/taxes`, acr: 'eidas2', max_age: 600, ui_locales: 'en', nonce: /^[\w-]{22}\.[\w-]{22}$/, code_verifier: /^[\w-]{43}$/ }, 'the lowest level that was named')
  t.match(question!.state, new RegExp(`^${login}\\.[\\w-]{16}\\.[\\w-]{11}$`))
  t.equal(question!.prompt, undefined)
  t.equal(away.headers['cache-control'], 'no-store')
})

t.test('what the client asks of freshness is asked of the provider', async t => {
  const gateway = await testApp(t)
  const asked = async (changes: Record<string, string>) => {
    const browser = gateway.browser()
    await browser.choose((await browser.start('agency', changes)).page)
    const { prompt, max_age } = gateway.providers['taxes']!.asked.at(-1)!
    return { prompt, max_age }
  }
  t.strictSame(await asked({ prompt: 'login' }), { prompt: 'login', max_age: undefined })
  t.strictSame(await asked({ max_age: '0' }), { prompt: 'login', max_age: 0 })
  t.strictSame(await asked({ max_age: '300' }), { prompt: undefined, max_age: 300 })
  t.strictSame(await asked({ prompt: 'consent select_account' }), { prompt: undefined, max_age: undefined }, 'prompts that are ours to keep stay here')
})

t.test('a level above what was asked is asked of a provider that has none lower', async t => {
  const gateway = await testApp(t, { identityProviders: { quiet: { state: 'active', acr_values: ['eidas2', 'eidas3'] } } })
  const browser = gateway.browser()
  await browser.choose((await browser.start('agency')).page, 'quiet')
  t.equal(gateway.providers['quiet']!.asked[0]!.acr, 'eidas2')
})

t.test('a double click asks the same question, another provider another one', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page } = await browser.start('agency')
  await Promise.all([browser.choose(page), browser.choose(page)])
  gateway.wait(30)
  await browser.choose(page)
  await browser.choose(page, 'post')
  const [first, second, third] = gateway.providers['taxes']!.asked
  t.strictSame([second, third], [first, first], 'the same state, nonce and verifier')
  const [other] = gateway.providers['post']!.asked
  t.not(other!.state, first!.state)
  t.not(other!.nonce, first!.nonce)
  t.not(other!.code_verifier, first!.code_verifier)
})

t.test('a provider that cannot be chosen is refused when called by its address, and the request is kept', async t => {
  const gateway = await testApp(t)
  const { providers } = gateway
  const refused = async (idp: string, notice: string, changes: Record<string, string> = {}, client = 'agency') => {
    const browser = gateway.browser()
    const { login, parameters } = await browser.start(client, changes)
    const page = await browser.follow(await browser.get(`${base}/login/${idp}?login=${login}`))
    t.match(page, { status: 200, notice }, `${idp}: ${notice}`)
    t.match(page.link('idp-post') ?? page.link('idp-taxes'), new RegExp(`login=${login}`), `${idp}: another can be chosen in the same login`)
    t.match((await browser.get(page.link('return')!)).query.get('state'), parameters['state'], `${idp}: the request is intact`)
  }
  await refused('works', 'provider_maintenance')
  await refused('post', 'acr_too_low', { acr_values: 'eidas2' })
  await refused('taxes', 'provider_not_allowed', {}, 'wary')
  await refused('nowhere', 'provider_unavailable')
  await refused('__proto__', 'provider_unavailable')
  providers['taxes']!.up = false
  await refused('taxes', 'provider_unavailable')
  t.equal(Object.values(providers).flatMap(({ asked }) => asked).length, 0, 'nobody was sent anywhere')
})

t.test('a hidden provider is reached by idp_hint only', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { login } = await browser.start('town')                          // which may name no provider
  t.match(await browser.follow(await browser.get(`${base}/login/quiet?login=${login}`)), { status: 200, location: '', notice: /./ }, 'not by its address')
})

t.test('a provider that fails while the citizen is being sent there leads back to the chooser', async t => {
  const gateway = await testApp(t)
  const { OAuthError } = await import('../../src/protocol/errors.ts')
  gateway.providers['taxes']!.authorizationUrl = async () => { throw new OAuthError('provider_unavailable', 'no metadata') }
  const browser = gateway.browser()
  const { page } = await browser.start('agency')
  const back = await browser.follow(await browser.choose(page))
  t.match(back, { status: 200, notice: 'provider_unavailable' })
  t.ok(back.link('idp-post'))
})

t.test('the login is this browser\'s, or there is a page with a code and a way on', async t => {
  const gateway = await testApp(t)
  const mine = gateway.browser()
  const { page, login } = await mine.start('agency')
  const name = `__Host-login-${login}`
  const sealed = mine.cookies()[name]!
  const { login: otherLogin } = await mine.start('town')

  const lost = async (cookie: string | undefined, what: string, address = page.link('idp-taxes')!) => {
    const browser = gateway.browser()
    if (cookie !== undefined) browser.setCookie(name, cookie)
    const answer = await browser.get(address)
    t.match(answer, { status: 400, code: 'B04', id: /./, location: '' }, what)
    t.ok(answer.waysOn.length > 0, `${what}: a way on`)
  }
  await lost(undefined, 'cookies off')
  await lost('', 'an empty cookie')
  const tampered = (at: number) => `${sealed.slice(0, at)}${sealed[at] === 'A' ? 'B' : 'A'}${sealed.slice(at + 1)}`
  await lost(tampered(sealed.length - 10), 'a tampered tag')
  await lost(tampered(sealed.length - 100), 'a tampered record')
  await lost(sealed.replace(/\.\d+\./, end => `.${Number(end.slice(1, -1)) + 86400}.`), 'an expiry put off')
  await lost(sealed.replace(/^1\.[^.]+/, '1.nokey'), 'another key id')
  await lost(sealed.slice(0, 60), 'a piece')
  await lost(mine.cookies()[`__Host-login-${otherLogin}`], 'the cookie of another login under this name')
  await lost('%E0%A4%A', 'bytes that do not decode')
  await lost('__proto__', 'a word of JavaScript')

  for (const id of ['', '__proto__', '../session', 'a'.repeat(64), encodeURIComponent(';x=')]) {
    t.equal((await mine.get(`${base}/login/taxes?login=${id}&client_id=agency`)).status, 400, `login ${id}`)
  }
  t.match(await mine.get(`${base}/login/taxes?client_id=agency`), { status: 400, code: 'B04' }, 'no login at all')
  t.match(await mine.get(`${base}/login/taxes?login=${login}&login=${otherLogin}`), { status: 400 }, 'two logins')
  t.equal(gateway.providers['taxes']!.asked.length, 0)
})

t.test('an identity cookie is no login cookie, and a login cookie no identity', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { login } = await browser.toConsent('agency')
  const { [`__Host-login-${login}`]: sealedLogin, '__Host-identity': sealedIdentity } = browser.cookies()
  browser.setCookie(`__Host-login-${login}`, sealedIdentity)
  browser.setCookie('__Host-identity', sealedLogin)
  t.match(await browser.get(`${base}/consent?login=${login}`), { status: 400, code: 'B04' })
  browser.setCookie(`__Host-login-${login}`, sealedLogin)
  t.match(await browser.follow(await browser.get(`${base}/consent?login=${login}`)), { status: 200, notice: 'identity_expired' })
})

t.test('bad addresses are answered with a page', async t => {
  const gateway = await testApp(t)
  for (const path of ['/login/%ZZ', '/login/%FF', `/login/${'a'.repeat(300)}?login=x`, '/login/%00', '/login/']) {
    const page = await gateway.browser().get(base + path)
    t.ok(page.status >= 400 && page.status < 500, `${path}: ${page.status}`)
    t.match(page.headers, { 'content-type': /^text\/html/, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store', 'content-security-policy': /frame-ancestors 'none'/ }, `${path}: a page with our headers`)
    t.ok(page.code && page.id, `${path}: a code and an id`)
  }
})

t.test('a request lives two hours, then there is a page with a way on', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, login } = await browser.start('agency')
  const cookie = browser.cookies()[`__Host-login-${login}`]!
  gateway.wait(2 * 3600 - 1)
  t.match(await browser.choose(page), { status: 303 }, 'a second before')
  gateway.wait(1)
  t.equal(browser.cookies()[`__Host-login-${login}`], undefined, 'the browser drops it')
  browser.setCookie(`__Host-login-${login}`, cookie)                     // a browser whose clock is behind does not
  const late = await browser.choose(page)
  t.match(late, { status: 400, code: 'B04' })
  t.match(late.link('return'), 'https://agency.example/home')
})

t.test('a provider disabled meanwhile takes nobody new', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page } = await browser.start('agency')
  gateway.app.configuration.identityProviders.get('taxes')!.state = 'disabled'
  const back = await browser.follow(await browser.choose(page))
  t.match(back, { status: 200, notice: /^provider_/ })
  t.notMatch(back.body, /id="idp-taxes"/)
})

t.test('a client closed meanwhile, or without its address, ends in a page that says so and leads to the service', async t => {
  for (const [name, change, code, status] of [['closed', { active: false }, 'A02', 403], ['without its address', { redirect_uris: ['https://agency.example/new'] }, /^[AB]\d\d$/, 400]] as const) {
    const gateway = await testApp(t)
    const browser = gateway.browser()
    const { page } = await browser.start('agency', { ui_locales: 'en' })
    Object.assign(gateway.app.configuration.clients.get('agency')!, change)
    const answer = await browser.get(page.link('idp-taxes')!, { headers: { 'accept-language': 'en' } })
    t.match(answer, { status, code, location: '' }, name)
    t.ok(answer.waysOn.length > 0, `${name}: a way on`)
    t.notMatch(answer.body, /did not bring back the cookie/, `${name}: cookies are not blamed`)
  }
})
