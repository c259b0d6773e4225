import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { base, issuer, requestOf, testApp, type Page } from '../support/test-app.ts'

const formPost = { response_mode: 'form_post' }
const at = (parameters: Record<string, string>) => `${base}/authorize?${new URLSearchParams(parameters)}`

/** The page that takes an answer to the client (OAuth 2.0 Form Post Response Mode §2), and nothing but this answer. */
function isAnswer (t: Test, page: Page, address: string, fields: Record<string, unknown>, name: string) {
  t.equal(page.status, 200, name)
  t.match(page.fields, fields, `${name}: what it says`)
  t.strictSame(Object.keys(page.fields).sort(), Object.keys(fields).sort(), `${name}: and nothing else`)
  t.strictSame(page.waysOn, [address], `${name}: one form, to the address that was asked for, and no other way`)
  t.strictSame([page.location, page.headers['refresh']], ['', undefined], `${name}: no redirect`)
  t.match(page.body, /<form method="post" action="[^"]*">/, `${name}: by POST`)
  t.equal(page.body.match(/<input /g)?.length, Object.keys(fields).length, `${name}: no other input`)
  t.match(page.body, /<button class="[^"]*" id="continue">(Continuer|Continue)<\/button>/, `${name}: a button for those without script`)
  t.match(page.headers, {
    'content-type': /^text\/html; charset=utf-8$/i,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'content-security-policy': /^default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; form-action 'self' https:( http:\/\/localhost:\d+)?; frame-ancestors 'none'; base-uri 'none'$/
  }, `${name}: its headers`)
  t.equal(page.headers['etag'], undefined, `${name}: no digest of what it says`)
  const scripts = [...page.body.matchAll(/<script\b([^>]*)>([^<]*)<\/script>/g)].map(([, attributes, text]) => [attributes, text])
  t.match(scripts, [[/^ src="\/api\/v2\/assets\/[\w-]+\.js"$/, '']], `${name}: one script, of ours, from outside`)
  t.equal(scripts.length, 1)
  t.notMatch(page.body.replace(/"[^"]*"/g, '""'), / on[a-z]+=| style=|<style/i, `${name}: nothing inline`)
}

const answerOf = (state: string | undefined) => ({ code: /^a-[\w-]{43}$/, ...(state === undefined ? {} : { state }), iss: issuer })
const errorOf = (error: string, state: string | undefined) => ({ error, error_description: /^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/, ...(state === undefined ? {} : { state }), iss: issuer })

t.test('a login ends in a form that holds its answer, and the client redeems it', async t => {
  const gateway = await testApp(t)
  for (const [client, changes] of [['agency', {}], ['agency', { redirect_uri: 'https://agency.example/other?tab=1' }], ['agency', { state: undefined }], ['town', {}], ['mobile', {}], ['swift', {}], ['notary', {}]] as const) {
    const browser = gateway.browser()
    const arrival = await browser.logIn(client, { changes: { ...formPost, ...changes } })
    isAnswer(t, arrival.page, arrival.parameters['redirect_uri']!, answerOf(arrival.parameters['state']), `${client} ${JSON.stringify(changes)}`)
    t.ok(browser.cookie(/session/), `${client}: with the session`)
    t.equal((await gateway.redeem(arrival)).status, 200, client)
    t.match(await browser.get(`${base}/choose?login=${arrival.login}`), { status: 409, location: '' }, `${client}: the back button finds that it is done`)
  }
})

t.test('whatever stands in it is text: quotes, brackets, entities and scripts come back letter by letter', async t => {
  const gateway = await testApp(t, { clients: { agency: { title: '"><script>alert(1)</script> & \'Co\'' } } })
  for (const state of ['"', "'", '<', '>', '&', '&amp;', '&quot;', '"><script>alert(1)</script>', "'><img src=x onerror=alert(1)>", '</form><form action=https://evil.example>', '" name="code', '<!--', ' spaces  kept ', '%00%0a', '+&=?#', '\\', '{{7*7}}', '\u007e'.repeat(300)]) {
    const { page } = await gateway.browser().logIn('agency', { changes: { ...formPost, state } })
    isAnswer(t, page, 'https://agency.example/back', answerOf(state), JSON.stringify(state).slice(0, 40))
    const refused = (await gateway.browser().start('agency', { ...formPost, state, prompt: 'none' })).page
    isAnswer(t, refused, 'https://agency.example/back', errorOf('login_required', state), `${JSON.stringify(state).slice(0, 40)}, refused`)
  }
  const { page } = await gateway.browser().start('agency', { ...formPost, state: undefined, scope: 'openid address', code_challenge: '"><script>alert(2)</script>' })
  t.notMatch(page.body, /alert\(2\)/, 'what was wrong is not told back')
})

t.test('errors go by the form as well, at every stage', async t => {
  const gateway = await testApp(t)
  const refused = async (error: string, name: string, page: Page, state: string | undefined) => isAnswer(t, page, 'https://agency.example/back', errorOf(error, state), name)
  for (const [error, changes] of [
    ['invalid_scope', { scope: undefined }],
    ['invalid_scope', { scope: 'openid address' }],
    ['invalid_request', { code_challenge: undefined, code_challenge_method: undefined }],
    ['invalid_request', { prompt: 'none login' }],
    ['invalid_request', { max_age: '-1' }],
    ['invalid_request', { nonce: 'n'.repeat(5000) }],
    ['invalid_request', { state: 's'.repeat(1500) }],
    ['invalid_request', { state: 'é' }],
    ['unsupported_response_type', { response_type: 'token' }],
    ['request_not_supported', { request: 'eyJhbGciOiJub25lIn0.e30.' }],
    ['request_uri_not_supported', { request_uri: 'https://agency.example/request' }],
    ['unmet_authentication_requirements', { claims: '{"id_token":{"acr":{"essential":true,"value":"eidas9"}}}' }],
    ['login_required', { prompt: 'none' }]
  ] as const) {
    const { parameters } = requestOf('agency', { ...formPost, ...changes })
    await refused(error, JSON.stringify(changes).slice(0, 60), await gateway.browser().get(at(parameters)), parameters['state'])
    const browser = gateway.browser()
    await refused(error, `${JSON.stringify(changes).slice(0, 60)}, by POST`, await browser.follow(await browser.post(`${base}/authorize`, parameters, { crossSite: true })), parameters['state'])
  }

  const leaving = gateway.browser()
  const chooser = await leaving.start('agency', formPost)
  await refused('access_denied', 'leaving', await leaving.get(chooser.page.link('return')!), chooser.parameters['state'])
  const refusing = gateway.browser()
  const consent = await refusing.toConsent('agency', { changes: formPost })
  await refused('access_denied', 'refusing', await refusing.agree(consent.page, { decision: 'refuse' }), consent.parameters['state'])
  const unlucky = gateway.browser()
  const waiting = await unlucky.toConsent('agency', { changes: formPost })
  gateway.store.fail()
  await refused('temporarily_unavailable', 'a store that is away', await unlucky.agree(waiting.page), waiting.parameters['state'])
  gateway.store.heal()
  gateway.providers['taxes']!.identify = async () => { throw new TypeError('Quiquempoix broke it') }
  const broken = gateway.browser()
  const way = await broken.start('agency', formPost)
  await refused('server_error', 'a fault of ours', await broken.get(broken.callback(await broken.choose(way.page))), way.parameters['state'])
})

t.test('the session of another service answers by the form too, with a page or without (OpenID Connect Core §3.1.2.1)', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency', { changes: { scope: 'openid profile' } })
  const silent = await browser.start('agency', { ...formPost, prompt: 'none' })
  isAnswer(t, silent.page, 'https://agency.example/back', answerOf(silent.parameters['state']), 'prompt=none')
  t.equal((await gateway.redeem({ ...silent, code: silent.page.fields['code']! })).status, 200)
  const swift = await browser.start('swift', formPost)
  isAnswer(t, swift.page, 'https://swift.example/back', answerOf(swift.parameters['state']), 'a service without information page')
  for (const [error, client, changes] of [
    ['consent_required', 'mobile', {}],
    ['interaction_required', 'agency', { acr_values: 'eidas2' }],
    ['account_selection_required', 'wary', {}],
    ['login_required', 'clinic', {}]
  ] as const) {
    const { page, parameters } = await browser.start(client, { ...formPost, prompt: 'none', ...changes })
    isAnswer(t, page, `https://${client}.example/back`, errorOf(error, parameters['state']), `${client}: ${error}`)
  }
})

t.test('where no address is known, or no form was asked for, there is no form', async t => {
  const gateway = await testApp(t)
  const { parameters } = requestOf('agency', formPost)
  for (const [name, changes] of Object.entries<Record<string, string>>({ 'a client that we do not know': { client_id: 'nobody' }, 'an address that is not registered': { redirect_uri: 'https://evil.example/' }, 'a script for an address': { redirect_uri: 'javascript:alert(1)' } })) {
    const page = await gateway.browser().get(at({ ...parameters, ...changes }))
    t.match(page, { status: 400, code: /^A0[13]$/, location: '' }, name)
    t.notMatch(page.body, /<form|<script/, name)
    t.notMatch(page.headers['content-security-policy'], /script-src/, name)
  }
  for (const [name, address] of Object.entries({
    'another mode': at({ ...parameters, response_mode: 'form_post.jwt' }),
    'in capitals': at({ ...parameters, response_mode: 'FORM_POST' }),
    fragment: at({ ...parameters, response_mode: 'fragment' }),
    'of the prototype': at({ ...parameters, response_mode: '__proto__' }),
    'two of them': `${at(parameters)}&response_mode=form_post`
  })) {
    const page = await gateway.browser().get(address)
    t.match(page, { status: 303, location: /^https:\/\/agency\.example\/back\?error=invalid_request&/ }, name)
    t.equal(page.query.get('state'), parameters['state'], name)
  }
  const plain = await gateway.browser().logIn('agency', { changes: { response_mode: 'query' } })
  t.match(plain.page, { status: 303, body: '' }, 'response_mode=query is what it was')
})

t.test('it is read in the citizen\'s language, and there is nothing to switch or to read twice', async t => {
  const gateway = await testApp(t)
  for (const [ui_locales, text] of [['fr', /<html lang="fr"[^]*Retour vers[^]*Continuer/], ['en', /<html lang="en"[^]*Back to Service agency[^]*Continue/]] as const) {
    const { page } = await gateway.browser().logIn('agency', { changes: { ...formPost, ui_locales } })
    t.match(page.body, text, ui_locales)
    t.equal(page.link('language'), undefined, ui_locales)
    t.notMatch(page.body, /Angèle|Quiquempoix/, `${ui_locales}: it names nobody`)
  }
})

t.test('its script is ours, submits the form, and is kept for ever', async t => {
  const gateway = await testApp(t)
  const { page } = await gateway.browser().logIn('agency', { changes: formPost })
  const path = /<script src="([^"]+)">/.exec(page.body)![1]!
  const answer = await gateway.app.inject(path)
  t.match(answer, { statusCode: 200, headers: { 'content-type': /^text\/javascript/, 'cache-control': 'public, max-age=31536000, immutable', 'x-content-type-options': 'nosniff' } })
  let submitted = 0
  runInNewContext(answer.body, { document: { forms: [{ submit () { submitted++ } }] } })
  t.equal(submitted, 1)
  t.ok(page.body.indexOf('<script') > page.body.indexOf('</form>'), 'it runs when the form is there')
})

t.test('no other page runs a script', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page } = await browser.start('agency', formPost)
  const consent = await browser.comeBack(await browser.choose(page))
  const error = await browser.get(`${base}/authorize?client_id=nobody`)
  const end = await browser.agree(consent)
  const finished = await browser.agree(consent)
  t.match(end.headers['content-security-policy'], /script-src 'self'/)
  for (const [name, { headers, body }] of Object.entries({ chooser: page, consent, error, finished, 'log-out': await browser.get(`${base}/session/end`) })) {
    t.notMatch(headers['content-security-policy'], /script-src/, name)
    t.notMatch(body, /<script/, name)
  }
})

t.test('in development the form may end at an http address of the client', async t => {
  const gateway = await testApp(t, { settings: { issuer: 'http://localhost:1/api/v2', environment: 'development' }, clients: { agency: { redirect_uris: ['http://localhost:3000/back'] } } })
  const { page } = await gateway.browser().start('agency', { ...formPost, redirect_uri: 'http://localhost:3000/back', prompt: 'none' })
  t.match(page.headers['content-security-policy'], /form-action 'self' https: http:\/\/localhost:3000;/)
  t.strictSame(page.waysOn, ['http://localhost:3000/back'])
})

t.test('a login by the form is counted and told as any other', async t => {
  const gateway = await testApp(t)
  const arrival = await gateway.browser().logIn('agency', { changes: formPost })
  await gateway.redeem(arrival)
  t.equal(await gateway.counted(), 1)
  t.equal(gateway.events('token').length, 1)
  await gateway.browser().start('agency', { ...formPost, prompt: 'none' })
  t.equal(await gateway.counted('login_required'), 1)
  t.notOk(gateway.log.join('').includes(arrival.code), 'its code is not in the log')
})
