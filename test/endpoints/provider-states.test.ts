import t, { type Test } from 'tap'
import { messages } from '../../src/pages/messages.ts'
import { failures, type Failure, type Notice } from '../../src/protocol/errors.ts'
import { base, testApp, type Browser, type Page, type TestApp, type TestOptions } from '../support/test-app.ts'

// What citizens are told of identity providers that are well, slow, down, closed for a while or not for them, and where they get from there.

const languages = ['fr', 'en'] as const
type Changes = Record<string, string | undefined>

/** What a citizen reads within one element. */
function wordsOf ({ body }: Page, id: string) {
  const [, , content] = new RegExp(`<([a-z]+) [^>]*id="${id}"[^>]*>(.*?)</\\1>`, 's').exec(body) ?? []
  return content?.replace(/<span class="emblem" aria-hidden="true">.*?<\/span>/g, '').replace(/<[^>]*>/g, ' ').replaceAll('&#39;', "'").replace(/[^\S\u00a0]+/g, ' ').trim()
}
const listed = ({ body }: Page) => [...body.matchAll(/id="idp-([\w-]+)"/g)].map(([, id]) => id)
const message = { fr: 'Jusqu’à midi', en: 'Until noon' }
const date = (seconds: number) => new Date((1_800_000_000 + seconds) * 1000).toISOString().replace('.000', '')

/** Goes on from a page to the end: the very request that the client made. */
async function finishes (t: Test, browser: Browser, atProvider: Page, { state }: Record<string, string>, name: string) {
  const end = await browser.agree(await browser.comeBack(atProvider))
  t.ok(end.query.get('code'), `${name}: a login`)
  t.equal(end.query.get('state'), state, `${name}: by the same request`)
}

const askedOf = ({ providers }: TestApp) => Object.values(providers).flatMap(({ asked }) => asked).length

/** Every state of `taxes`, what a citizen is told of it in each language, and whether it can be clicked. */
const states: Array<[name: string, taxes: Record<string, unknown>, tell: (text: typeof messages.en.chooser, language: 'fr' | 'en') => string, more?: { client?: string, clients?: TestOptions['clients'], changes?: Changes, slow?: true, down?: true, open?: false }]> = [
  ['up', {}, () => ''],
  ['on trial', { state: 'beta' }, text => text.beta],
  ['slow', {}, text => text.slow, { slow: true }],
  ['slow, on trial', { state: 'beta' }, text => text.slow, { slow: true }],
  ['down', {}, text => text.down, { down: true }],
  ['down, on trial', { state: 'beta' }, text => text.down, { down: true }],
  ['in maintenance', { state: 'maintenance' }, text => `${text.maintenance} ${text.maintenanceDefault}`, { open: false }],
  ['in maintenance, with a message', { state: 'maintenance', maintenance: { message } }, (text, language) => `${text.maintenance} ${message[language]}`, { open: false }],
  ['in maintenance by its dates, with a message', { maintenance: { from: date(-60), until: date(60), message } }, (text, language) => `${text.maintenance} ${message[language]}`, { open: false }],
  ['in maintenance since a date', { maintenance: { from: date(0) } }, text => `${text.maintenance} ${text.maintenanceDefault}`, { open: false }],
  ['in maintenance, and down', { maintenance: { until: date(1) } }, text => `${text.maintenance} ${text.maintenanceDefault}`, { down: true, open: false }],
  ['before its maintenance, whose message waits', { maintenance: { from: date(1), message } }, () => ''],
  ['after its maintenance', { maintenance: { until: date(0), message } }, () => ''],
  ['not of the level wanted', { acr_values: ['eidas1'] }, text => text.acr_too_low, { changes: { acr_values: 'eidas2' }, open: false }],
  ['of just the level wanted', { acr_values: ['eidas2'] }, () => '', { changes: { acr_values: 'eidas2' } }],
  ['denied by the service', {}, text => text.not_allowed, { client: 'wary', open: false }],
  ['not among those that the service allows', {}, text => text.not_allowed, { client: 'town', clients: { town: { identity_providers: { allow: ['backup'] } } }, open: false }],
  ...([{ prompt: 'login' }, { prompt: 'consent login' }, { max_age: '0' }, { max_age: '86400' }] as Changes[]).flatMap((changes): typeof states => [
    [`not able to prove the fresh login of ${JSON.stringify(changes)}`, { reports_auth_time: false }, text => text.fresh_login_unprovable, { changes, open: false }],
    [`always asking, which proves the fresh login of ${JSON.stringify(changes)}`, { reports_auth_time: false, always_authenticates: true }, () => '', { changes }],
    [`able to prove the fresh login of ${JSON.stringify(changes)}`, { reports_auth_time: true }, () => '', { changes }]
  ]),
  ['not able to prove a fresh login that nobody asks for', { reports_auth_time: false }, () => '', { changes: { prompt: 'select_account consent' } }],

  // what waiting does not mend is told first
  ['denied, and too low, in maintenance and down', { acr_values: ['eidas1'], state: 'maintenance' }, text => text.not_allowed, { client: 'wary', changes: { acr_values: 'eidas2' }, down: true, open: false }],
  ['too low, and in maintenance and down', { acr_values: ['eidas1'], state: 'maintenance', maintenance: { message } }, text => text.acr_too_low, { changes: { acr_values: 'eidas2' }, down: true, open: false }],
  ['unable to prove a fresh login, and in maintenance and down', { reports_auth_time: false, state: 'maintenance' }, text => text.fresh_login_unprovable, { changes: { prompt: 'login' }, down: true, open: false }]
]

for (const [name, taxes, tell, { client = 'agency', clients, changes, slow, down, open = true } = {}] of states) {
  t.test(`a provider that is ${name} is shown so in both languages, the others stay one click away`, async t => {
    const gateway = await testApp(t, { identityProviders: { taxes, backup: { title: 'Backup', order: 9, acr_values: ['eidas1', 'eidas2', 'eidas3'] } }, ...(clients && { clients }) })
    Object.assign(gateway.providers['taxes']!, { slow: slow ?? false, up: down === undefined })
    for (const language of languages) {
      const { page, login } = await gateway.browser().start(client, { ui_locales: language, ...changes })
      t.equal(page.status, 200)
      t.equal(wordsOf(page, 'idp-taxes'), `Taxes ${tell(messages[language].chooser, language)}`.trim(), language)
      t.equal(page.link('idp-taxes'), open ? `${base}/login/taxes?login=${login}&client=${client}` : undefined, `${language}: a link, or none`)
      t.equal(page.link('idp-backup'), `${base}/login/backup?login=${login}&client=${client}`, `${language}: another`)
      t.strictSame([page.notice, wordsOf(page, 'none'), page.link('retry')], [undefined, undefined, undefined], `${language}: nothing has happened yet`)
    }
  })
}

t.test('a provider that is hidden or disabled is not shown, whatever else is true of it', async t => {
  for (const state of ['hidden', 'disabled']) {
    const gateway = await testApp(t, { identityProviders: { post: { state } } })
    for (const up of [true, false]) {
      gateway.providers['post']!.up = up
      const { page } = await gateway.browser().start('agency')
      t.strictSame(listed(page), ['taxes', 'works'], state)
      t.notMatch(page.body, 'Post', `${state}: not even its name`)
    }
  }
})

t.test('a hidden provider is reached by idp_hint, and by no service that may not name it', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  const { page, parameters, login } = await browser.start('agency', { idp_hint: 'quiet' })
  t.match(page, { status: 303, location: `${base}/login/quiet?login=${login}&client=agency` })
  const away = await browser.follow(page)
  t.match(away.location, /^https:\/\/quiet\.example\/authorize\?/)
  const refused = await browser.comeBack(away, { error: 'access_denied' })
  t.match(refused, { status: 200, notice: 'provider_refused' })
  t.notOk(listed(refused).includes('quiet'), 'it is not listed after a failure either')
  await finishes(t, browser, await browser.get(refused.link('retry')!), parameters, 'but can be tried again')

  const { login: other } = await browser.start('town')
  t.match(await browser.follow(await browser.get(`${base}/login/quiet?login=${other}`)), { status: 200, notice: 'provider_unavailable' }, 'by its address')
  t.match((await browser.start('mobile', { idp_hint: 'quiet' })).page.query.get('error'), 'invalid_request', 'by a hint that is not allowed')
  t.equal(gateway.providers['quiet']!.asked.length, 2)
})

type Obstacle = [name: string, provider: Record<string, unknown>, notice: Notice, more?: { client?: string, changes?: Changes, down?: true }]
const obstacles: Obstacle[] = [
  ['down', {}, 'provider_unavailable', { down: true }],
  ['down and slow before', { state: 'beta' }, 'provider_unavailable', { down: true }],
  ['hidden and down', { state: 'hidden' }, 'provider_unavailable', { down: true }],
  ['in maintenance', { state: 'maintenance', maintenance: { message } }, 'provider_maintenance'],
  ['in maintenance by its dates', { maintenance: { from: date(0), until: date(600) } }, 'provider_maintenance'],
  ['hidden and in maintenance by its dates', { state: 'hidden', maintenance: { from: date(0) } }, 'provider_maintenance'],
  ['too low', { acr_values: ['eidas1'] }, 'acr_too_low', { changes: { acr_values: 'eidas3' } }],
  ['hidden and too low', { state: 'hidden', acr_values: ['eidas1'] }, 'acr_too_low', { changes: { acr_values: 'eidas3' } }],
  ['unable to prove a fresh login', { reports_auth_time: false }, 'fresh_login_unprovable', { changes: { max_age: '60' } }],
  ['disabled', { state: 'disabled' }, 'provider_unavailable'],
  ['not allowed by the service', {}, 'provider_not_allowed', { client: 'wary' }]
]

/** A gateway whose `taxes` cannot be used, though nothing says so to whoever follows a link or a hint. */
async function obstructed (t: Test, [, provider, , { down } = {}]: Obstacle) {
  const gateway = await testApp(t, { identityProviders: { taxes: provider, backup: { title: 'Backup', order: 9, acr_values: ['eidas1', 'eidas2', 'eidas3'] } } })
  gateway.providers['taxes']!.up = down === undefined
  return gateway
}

/** The chooser with a banner that speaks of `taxes`, nobody sent anywhere, and from there to the end by another provider. */
async function isToldWithRequestIntact (t: Test, gateway: TestApp, browser: Browser, page: Page, notice: Notice, { parameters }: { parameters: Record<string, string> }, name: string) {
  // of one that is disabled nothing is told, not even its title
  const account = gateway.app.providerRegistration('taxes').state === 'disabled' ? messages.en.chooser.chosenAccount : 'Taxes'
  t.match(page, { status: 200, location: '', notice }, name)
  const { title, text } = messages.en.notices[notice]
  t.equal(wordsOf(page, 'notice'), `${title} ${text(account)}`, `${name}: in words, and with no way there`)
  t.equal(page.link('retry'), undefined, `${name}: no link`)
  t.equal(gateway.providers['taxes']!.asked.length, 0, `${name}: nobody was sent there`)
  const left = (await browser.get(page.link('language')!)).link('return')!
  t.match(left, /^\/api\/v2\/leave\?login=/, `${name}: the way back, in the other language too`)
  await finishes(t, browser, await browser.choose(page, 'backup'), parameters, name)
}

for (const obstacle of obstacles) {
  const [name, , notice, { client = 'agency', changes } = {}] = obstacle

  t.test(`idp_hint at a provider that is ${name} leads to the chooser with a banner, never silently there`, async t => {
    const request = { idp_hint: 'taxes', ui_locales: 'en', ...changes }
    const gateway = await obstructed(t, obstacle)
    for (const way of ['GET', 'POST', 'PAR']) {
      const browser = gateway.browser()
      const pushed = way === 'PAR' ? await gateway.push(client, request) : undefined
      const asked = pushed === undefined ? await browser.start(client, request) : await browser.startAt(pushed.address, pushed)
      const page = way === 'POST' ? await browser.follow(await browser.post(`${base}/authorize`, asked.parameters, { crossSite: true })) : asked.page
      await isToldWithRequestIntact(t, gateway, browser, page, notice, asked, way)
    }
  })

  t.test(`the address of a provider that is ${name} goes back to the chooser with a banner`, async t => {
    const gateway = await obstructed(t, obstacle)
    const browser = gateway.browser()
    const { login, parameters } = await browser.start(client, { ui_locales: 'en', ...changes })
    const refused = await browser.get(`${base}/login/taxes?login=${login}`)
    t.match(refused, { status: 303, location: `${base}/choose?login=${login}&client=${client}&notice=${notice}&idp=taxes` })
    await isToldWithRequestIntact(t, gateway, browser, await browser.follow(refused), notice, { parameters }, 'by its address')
    t.equal(await gateway.counted('provider_unavailable') + await gateway.counted('provider_maintenance'), 0, 'no login has failed')
  })
}

t.test('a provider that is down can be clicked: it is told again while it is, and leads on once it answers', async t => {
  const gateway = await testApp(t)
  gateway.providers['taxes']!.up = false
  const browser = gateway.browser()
  const { page, parameters } = await browser.start('agency')
  const told = await browser.follow(await browser.choose(page))
  t.match(told, { status: 200, notice: 'provider_unavailable' })
  t.equal(told.link('retry'), undefined, 'the banner offers nothing that does not work')
  t.equal(await gateway.metric('passerelle_failures_total', { failure: 'provider_unavailable' }), 1)

  gateway.providers['taxes']!.up = true
  const reloaded = await browser.get(`${base}/choose?login=${/login=([\w-]{22})/.exec(told.link('return')!)![1]}&notice=provider_unavailable&idp=taxes`)
  t.match(reloaded.link('retry'), /^\/api\/v2\/login\/taxes\?login=/, 'reloaded, the banner leads there again')
  await finishes(t, browser, await browser.choose(told), parameters, 'from the page that said it was down')
})

t.test('after every failure that leads back to the chooser one click asks the provider once more, and that login ends well', async t => {
  const gateway = await testApp(t, { settings: { session: { acr_values: ['eidas3'] } } })
  const { taxes } = gateway.providers
  const ofProvider = (Object.entries(failures) as Array<[Failure, { notice?: Notice, citizen: string }]>).filter(([, { notice }]) => notice !== undefined)
  t.ok(ofProvider.length > 30)
  for (const [failure, { notice }] of ofProvider) {
    const browser = gateway.browser()
    const { page, parameters, login } = await browser.start('agency', { ui_locales: 'en' })
    taxes!.failure = failure
    const told = await browser.comeBack(await browser.choose(page))
    t.match(told, { status: 200, notice }, failure)
    t.ok(wordsOf(told, 'notice')!.endsWith(messages.en.chooser.retry('Taxes')), `${failure}: offered in words`)
    t.equal(told.link('retry'), told.link('idp-taxes'), `${failure}: by the same way`)

    taxes!.up = false
    const down = await browser.get(`${base}/choose?login=${login}&notice=${notice}&idp=taxes`)
    t.strictSame([down.notice, down.link('retry')], [notice, undefined], `${failure}: but not while the provider is down`)
    Object.assign(taxes!, { up: true, failure: undefined })
    const again = await browser.get(told.link('retry')!)
    const [first, second] = taxes!.asked.slice(-2)
    t.strictSame(second, first, `${failure}: the same question`)
    await finishes(t, browser, again, parameters, failure)
  }
})

t.test('a banner offers the provider again where it is open, and does not where it is not', async t => {
  const later: Record<string, (gateway: TestApp) => void> = {
    down: ({ providers }) => { providers['taxes']!.up = false },
    'in maintenance': ({ app }) => { app.configuration.identityProviders.get('taxes')!.state = 'maintenance' },
    disabled: ({ app }) => { app.configuration.identityProviders.get('taxes')!.state = 'disabled' },
    removed: ({ app }) => { app.configuration.identityProviders.delete('taxes') },
    hidden: ({ app }) => { app.configuration.identityProviders.get('taxes')!.state = 'hidden' },
    denied: ({ app }) => { app.configuration.clients.get('town')!.identity_providers.deny.push('taxes') }
  }
  const ways: Record<string, (browser: Browser, away: Page, gateway: TestApp, change: () => void) => Promise<Page>> = {
    provider_refused: async (browser, away, _gateway, change) => { change(); return browser.comeBack(away, { error: 'access_denied' }) },
    login_expired: async (browser, away, gateway, change) => { gateway.wait(15 * 60 + 1); change(); return browser.comeBack(away) },
    identity_expired: async (browser, away, gateway, change) => { const consent = await browser.comeBack(away); gateway.wait(5 * 60 + 1); change(); return browser.follow(await browser.agree(consent)) }
  }
  for (const [notice, way] of Object.entries(ways)) {
    for (const [name, change] of Object.entries<(gateway: TestApp) => void>({ open: () => {}, ...later })) {
      const gateway = await testApp(t)
      const browser = gateway.browser()
      const { page } = await browser.start('town')
      const told = await way(browser, await browser.choose(page), gateway, () => change(gateway))
      t.equal(told.status, 200, `${notice}, ${name}`)
      t.equal(told.notice, name === 'removed' && notice !== 'identity_expired' ? 'provider_unavailable' : notice, `${notice}, ${name}`)
      t.equal(told.link('retry') !== undefined, name === 'open', `${notice}, ${name}: ${name === 'open' ? 'a link' : 'none'}`)
      t.ok(told.link('idp-post'), `${notice}, ${name}: another one click away`)
    }
  }
})

t.test('a banner on its own, or of a provider that is none, offers nothing to try again', async t => {
  const browser = (await testApp(t)).browser()
  const { login } = await browser.start('agency')
  for (const idp of ['', '&idp=nowhere', '&idp=__proto__', '&idp=works']) {
    const page = await browser.get(`${base}/choose?login=${login}&notice=login_elsewhere${idp}`)
    t.match(page, { status: 200, notice: 'login_elsewhere' }, idp)
    t.equal(page.link('retry'), undefined, idp)
  }
})

t.test('a banner that names no provider speaks of the one that the login is at', async t => {
  const browser = (await testApp(t)).browser()
  const { page, login } = await browser.start('agency', { ui_locales: 'en' })
  await browser.choose(page, 'post')
  const told = await browser.get(`${base}/choose?login=${login}&notice=provider_refused`)
  t.match(wordsOf(told, 'notice'), messages.en.notices.provider_refused.text('Post'))
  t.equal(told.link('retry'), told.link('idp-post'))
})

t.test('who is under way at a provider finishes, whatever becomes of it meanwhile', async t => {
  const meanwhile: Record<string, (gateway: TestApp) => void> = {
    down: ({ providers }) => { providers['taxes']!.up = false },
    slow: ({ providers }) => { providers['taxes']!.slow = true },
    hidden: ({ app }) => { app.configuration.identityProviders.get('taxes')!.state = 'hidden' },
    disabled: ({ app }) => { app.configuration.identityProviders.get('taxes')!.state = 'disabled' },
    'in maintenance': ({ app }) => { app.configuration.identityProviders.get('taxes')!.state = 'maintenance' },
    'in maintenance by its dates': gateway => gateway.wait(60),
    'registered as unable to prove a fresh login': ({ app }) => { app.configuration.identityProviders.get('taxes')!.reports_auth_time = false }
  }
  for (const [name, change] of Object.entries(meanwhile)) {
    const gateway = await testApp(t, { identityProviders: { taxes: { maintenance: { from: date(60) } } } })
    const [away, reading] = [gateway.browser(), gateway.browser()]
    const atProvider = await away.start('agency', { prompt: 'login' })
    const left = await away.choose(atProvider.page)
    const atConsent = await reading.toConsent('town')
    change(gateway)
    await finishes(t, away, left, atProvider.parameters, `${name}, on the way back`)
    const end = await reading.agree(atConsent.page)
    t.equal(end.query.get('state'), atConsent.parameters['state'], `${name}, while what will be sent is read`)
    const next = await gateway.browser().start('agency', { prompt: 'login' })
    if (!['slow', 'down'].includes(name)) t.equal(next.page.link('idp-taxes'), undefined, `${name}: nobody new`)
  }
})

t.test('with every provider down the chooser says so, and looks again by one click until one answers', async t => {
  for (const language of languages) {
    const { noneAnswers, again } = messages[language].chooser
    const gateway = await testApp(t)
    const { taxes, post } = gateway.providers
    taxes!.up = post!.up = false
    const browser = gateway.browser()
    const { page, parameters, login } = await browser.start('agency', { ui_locales: language })
    t.equal(page.status, 200)
    t.equal(wordsOf(page, 'none'), `${noneAnswers} ${again}`, language)
    t.equal(page.notice, undefined, `${language}: not as if something had gone wrong with this login`)
    t.equal(page.link('again'), `${base}/choose?login=${login}&client=agency`)

    const still = await browser.get(page.link('again')!)
    t.equal(wordsOf(still, 'none'), `${noneAnswers} ${again}`, `${language}: still`)
    post!.up = true
    const one = await browser.get(still.link('again')!)
    t.strictSame([one.status, wordsOf(one, 'none'), wordsOf(one, 'idp-post')], [200, undefined, 'Post'], `${language}: one answers`)
    await finishes(t, browser, await browser.choose(one, 'post'), parameters, language)
  }
})

t.test('looking again after a hint or a failure asks nobody and sends nobody anywhere', async t => {
  const gateway = await testApp(t)
  const { taxes, post } = gateway.providers
  taxes!.up = post!.up = false
  const browser = gateway.browser()
  const { page } = await browser.start('agency', { idp_hint: 'taxes' })
  t.equal(page.notice, 'provider_unavailable')
  taxes!.up = true
  const again = await browser.get(page.link('again')!)
  t.match(again, { status: 200, notice: undefined, location: '' }, 'the chooser itself, without yesterday\'s banner')
  t.ok(again.link('idp-taxes'))
  t.equal(askedOf(gateway), 0)
})

t.test('what nobody can choose for another reason is not called an outage', async t => {
  const { noneAnswers, noneUsable, again } = messages.en.chooser
  const text = async (changes: Changes, { identityProviders, clients }: TestOptions = {}, client = 'agency', down: string[] = []) => {
    const gateway = await testApp(t, { ...(identityProviders && { identityProviders }), ...(clients && { clients }) })
    for (const idp of down) gateway.providers[idp]!.up = false
    return wordsOf((await gateway.browser().start(client, { ui_locales: 'en', ...changes })).page, 'none')
  }
  const unusable = `${noneUsable} ${again}`
  t.equal(await text({}, { identityProviders: { taxes: { state: 'maintenance' }, post: { state: 'maintenance' } } }), unusable, 'all in maintenance')
  t.equal(await text({ acr_values: 'eidas3' }, { identityProviders: { taxes: { acr_values: ['eidas1'] } } }), unusable, 'none high enough')
  t.equal(await text({ prompt: 'login' }, { identityProviders: { taxes: { reports_auth_time: false }, post: { reports_auth_time: false } } }), unusable, 'none that can prove a fresh login')
  t.equal(await text({}, { clients: { wary: { identity_providers: { allow: [], deny: null } } } }, 'wary'), unusable, 'none allowed')
  t.equal(await text({ acr_values: 'eidas2' }, {}, 'agency', ['post']), undefined, 'down and too low, but another is open')
  t.equal(await text({ acr_values: 'eidas2' }, {}, 'agency', ['taxes']), `${noneAnswers} ${again}`, 'the only one that would do is down')
  t.equal(await text({}, {}, 'wary', ['post']), `${noneAnswers} ${again}`, 'the only one that is allowed is down')
})

t.test('the states of providers need no store, and waiting for a session does not hide them', async t => {
  const gateway = await testApp(t)
  const browser = gateway.browser()
  await browser.logIn('agency')
  gateway.store.fail()
  gateway.providers['taxes']!.up = false
  const { page } = await browser.start('mobile', { ui_locales: 'en' })
  t.equal(wordsOf(page, 'idp-taxes'), `Taxes ${messages.en.chooser.down}`)
  t.match(await browser.follow(await browser.choose(page)), { status: 200, notice: 'provider_unavailable' })
})
