import { readdirSync, readFileSync, statSync } from 'node:fs'
import t from 'tap'
import { failures, notices, type ErrorText, type Notice } from '../../src/protocol/errors.ts'
import { chooserPage, type Chooser, type ProviderCard } from '../../src/pages/chooser.ts'
import { busyPage } from '../../src/pages/busy.ts'
import { consentPage, type Consent } from '../../src/pages/consent.ts'
import { errorPage, type ErrorData } from '../../src/pages/error.ts'
import { finishedPage } from '../../src/pages/finished.ts'
import { html } from '../../src/pages/html.ts'
import { type Language, type PageContext } from '../../src/pages/layout.ts'
import { logOutPage } from '../../src/pages/log-out.ts'
import { loggedOutPage } from '../../src/pages/logged-out.ts'
import { messages } from '../../src/pages/messages.ts'

const errorTexts = [...new Set(Object.values(failures).map(({ page }) => page))].filter((page): page is ErrorText => page !== 'finished' && page !== 'busy')

const languages: Language[] = ['fr', 'en']
const folder = new URL('../../src/pages/', import.meta.url)
const css = readFileSync(new URL('style.css', folder), 'utf8')
const open = ['up', 'beta', 'slow'] as const
const states = [...open, 'down', 'maintenance', 'acr_too_low', 'fresh_login_unprovable', 'not_allowed'] as const
const isClosed = (state: ProviderCard['state']) => state !== 'down' && !(open as readonly string[]).includes(state)

const base = '/api/v2'
const context = (language: Language): PageContext =>
  ({ language, base, stylesheet: `${base}/assets/style-abc.css`, mark: `${base}/assets/passerelle-abc.svg`, switchHref: `${base}/authorize?ui_locales=x` })

/** Every page in every form, with `word` wherever a caller's text goes and `path` wherever a caller's path goes. */
function everyPage (language: Language, word = 'Mairie', path = `${base}/path`): Record<string, string> {
  const page: PageContext = { language, base, stylesheet: path, mark: path, switchHref: path }
  const client = { title: word, logo: path }
  const providers: ProviderCard[] = states.map(state => ({ id: state + word, title: word, logo: path, href: path, state, message: word }))
  const claims = { given_name: word, given_name_array: [word, 'Claire'], gender: word, birthdate: word, birthcountry: word, address: { formatted: word, other: word }, amr: [word], updated_at: word, nested: { [word]: [word] }, ['x' + word]: word }
  const consent: Consent = { client, provider: client, claims, anonymous: false, consentRequired: true, missingConsent: false, login: word, client_id: word, chooseHref: path }

  return {
    chooser: chooserPage(page, { client, providers, againHref: path, returnHref: path }),
    'chooser without logos': chooserPage(page, { client: { title: word }, providers: providers.map(({ logo, ...provider }) => provider), againHref: path, returnHref: path }),
    'chooser with nothing to choose': chooserPage(page, { client, providers: providers.filter(({ state }) => isClosed(state)), againHref: path, returnHref: path }),
    ...Object.fromEntries([...notices].map(code => [`chooser with ${code}`, chooserPage(page, { client, providers, notice: { code, provider: word, retryHref: path }, againHref: path, returnHref: path })])),
    consent: consentPage(page, consent),
    'consent not given': consentPage(page, { ...consent, missingConsent: true }),
    'anonymous consent': consentPage(page, { ...consent, claims: {}, anonymous: true, consentRequired: false }),
    ...Object.fromEntries(errorTexts.map(text => [`error ${text}`, errorPage(page, { code: word, id: word, text, retryHref: path, back: { href: path, title: word } })])),
    'error without a way back': errorPage(page, { code: word, id: word, text: 'unexpected' }),
    'log-out': logOutPage(page, { client, action: path, fields: { [word]: word } }),
    'log-out of nobody knows what': logOutPage(page, { action: path, fields: {} }),
    'logged-out': loggedOutPage(page, { clients: [word, word], back: { href: path, title: word } }),
    'logged-out alone': loggedOutPage(page, { clients: [] }),
    finished: finishedPage(page, { client, backHref: path }),
    busy: busyPage(page, { code: word, byItself: true }),
    'busy after a form': busyPage(page, { code: word, byItself: false })
  }
}

function forEveryPage (check: (document: string, name: string, language: Language) => void): void {
  for (const language of languages) {
    for (const [name, document] of Object.entries(everyPage(language))) check(document, `${name}, ${language}`, language)
  }
}

const tag = /<(\/?[a-z][a-z0-9]*|!doctype)((?: [a-z-]+(?:="[^"]*")?)*)>/g
const skeleton = (document: string) => [...document.matchAll(tag)].map(([, name, attributes]) => [name, ...attributes!.matchAll(/ ([a-z-]+)(?:="[^"]*")?/g).map(([, attribute]) => attribute)].join(' '))
const values = (document: string, attribute: string) => [...document.matchAll(new RegExp(` ${attribute}="([^"]*)"`, 'g'))].map(([, value]) => value!)
const words = (document: string) => document.replace(/<[^>]*>/g, ' ').replace(/[^\S\u00a0]+/g, ' ')
const element = (document: string, id: string) => new RegExp(`<([a-z]+)[^>]* id="${id}"[^>]*>(.*?)</\\1>`, 's').exec(document)
const strip = (document: string) => words(document).trim()

const chooser = (data: Partial<Chooser>, language: Language = 'en') =>
  chooserPage(context(language), { client: { title: 'Town hall' }, providers: [], againHref: `${base}/choose`, returnHref: `${base}/return`, ...data })
const card = (state: ProviderCard['state'], more: Partial<ProviderCard> = {}): ProviderCard =>
  ({ id: 'taxes', title: 'Taxes', href: `${base}/login/taxes`, state, ...more })
const consent = (data: Partial<Consent>, language: Language = 'en') =>
  consentPage(context(language), { client: { title: 'Town hall' }, provider: { title: 'Taxes' }, claims: {}, anonymous: false, consentRequired: false, missingConsent: false, login: 'abc', client_id: 'town', chooseHref: `${base}/choose`, ...data })
const shown = (claims: Record<string, unknown>, language: Language = 'en') =>
  Object.fromEntries(consent({ claims }, language).matchAll(/<dt>(.*?)<\/dt><dd><bdi>(.*?)<\/bdi>/gs).map(([, label, value]) => [label, value]))
const value = (name: string, claim: unknown, language: Language = 'en') => Object.values(shown({ [name]: claim }, language))[0]

t.test('a template', async t => {
  t.equal(html`<p title="${'"\'<>&'}">`.toString(), '<p title="&quot;&#39;&lt;&gt;&amp;">', 'escapes what is put into it')
  t.equal(html`${html`<b>${'<'}</b>`}${[html`<i>`, '<']}`.toString(), '<b>&lt;</b><i>&lt;', 'composes markup and lists of it')
  t.equal(html`a${undefined}${null}${false}b${0}${''}`.toString(), 'ab0', 'shows nothing for what is absent, and zero for zero')
  const forged = JSON.parse('{"markup":"<b>","#markup":"<b>"}')
  t.notMatch(html`${forged}${{ toString: () => '<script>' } as unknown as string}`.toString(), /<[bs]/, 'takes no data for markup of ours')
})

t.test('every text exists in both languages, and is not the same', async t => {
  const leaves = (node: object, path = ''): string[] => Object.entries(node).flatMap(([name, value]) =>
    typeof value === 'object' ? leaves(value, `${path}${name}.`) : [`${path}${name}: ${typeof value === 'function' ? value.length : typeof value}`])
  t.same(leaves(messages.en), leaves(messages.fr))

  for (const language of languages) {
    const texts = messages[language]
    t.same(Object.keys(texts.notices).sort(), [...notices].sort(), 'each notice is listed')
    t.same(Object.keys(texts.errors).sort(), [...errorTexts].sort(), 'each error text is listed')
  }
  for (const [name, document] of Object.entries(everyPage('fr'))) t.not(strip(document), strip(everyPage('en')[name]!), name)
})

t.test('French is set with non-breaking spaces and real apostrophes, English with real apostrophes', async t => {
  forEveryPage((document, name, language) => {
    const text = words(document).replace(/&#39;/g, "'")
    t.notMatch(text, /[a-z]'[a-zéêà]/i, `${name}: apostrophes`)
    if (language === 'fr') t.notMatch(text, /[^\u00a0\s][:;?!»](?=\s|$)| [;?!»]|«[^\u00a0]/, `${name}: spaces`)
  })
})

t.test('whatever is put into a page changes none of its structure', async t => {
  const attacks = ['"><script>alert(1)</script>', "'><img src=x onerror=alert(1)>", '</title></textarea></dd><h1>', '" onfocus="alert(1)" x="', '&quot;&lt;b&gt;', '<!--', 'javascript:alert(1)//"']
  for (const language of languages) {
    const tame = everyPage(language)
    for (const attack of attacks) {
      for (const [name, document] of Object.entries(everyPage(language, attack, `/x${attack}`))) {
        t.same(skeleton(document), skeleton(tame[name]!), `${name}, ${language}: ${attack}`)
        t.notMatch(document.replace(tag, ''), /[<>]/, `${name}, ${language}: no loose bracket with ${attack}`)
      }
    }
  }
})

t.test('a hidden field and an address keep their value through escaping', async t => {
  const document = logOutPage(context('en'), { action: '/end?a=1&b="2"', fields: { state: '"><b>\'&' } })
  t.match(document, '<form method="post" action="/end?a=1&amp;b=&quot;2&quot;">')
  t.match(document, '<input type="hidden" name="state" value="&quot;&gt;&lt;b&gt;&#39;&amp;">')
})

t.test('every page is a whole document that a strict content policy allows', async t => {
  forEveryPage((document, name, language) => {
    t.ok(document.startsWith('<!doctype html>\n<html lang="' + language + '" dir="ltr">'), `${name}: names its language`)
    t.equal(document.match(/<h1/g)?.length, 1, `${name}: one h1`)
    for (const landmark of ['header', 'main', 'footer']) t.equal(document.match(new RegExp(`<${landmark}>`, 'g'))?.length, 1, `${name}: one ${landmark}`)
    t.notMatch(document, /<script|<style| style=| on[a-z]+=|<iframe|<base/, `${name}: nothing inline`)
    t.match(document, /<title>[^<]+ – Passerelle<\/title>/, `${name}: a title`)
    t.equal(document.match(/<img /g)?.length, document.match(/<img src="[^"]+" alt="" width="\d+" height="\d+">/g)?.length, `${name}: images are decoration and keep their room`)
    t.notMatch(document, /undefined|\[object|NaN|null|false/, `${name}: no stray value`)
  })
})

t.test('templates quote every attribute', async t => {
  for (const file of readdirSync(folder).filter(file => file.endsWith('.ts'))) {
    t.notMatch(readFileSync(new URL(file, folder), 'utf8'), /<[a-z][^`\n]* [a-z-]+=\$\{/, file)
  }
})

t.test('ids are unique, and what refers to an id finds it', async t => {
  forEveryPage((document, name) => {
    const ids = values(document, 'id')
    t.equal(new Set(ids).size, ids.length, `${name}: unique`)
    for (const attribute of ['for', 'aria-describedby', 'aria-labelledby']) {
      for (const id of values(document, attribute)) t.ok(ids.includes(id), `${name}: ${attribute}="${id}"`)
    }
    for (const input of document.matchAll(/<input (?!type="hidden")[^>]* id="([^"]*)"/g)) {
      t.match(document, `<label for="${input[1]}">`, `${name}: a label for ${input[1]}`)
    }
    t.equal(document.match(/<input (?!type="hidden")/g)?.length, document.match(/<label /g)?.length, `${name}: one label an input`)
  })
})

t.test('every path is under the base', async t => {
  forEveryPage((document, name) => {
    for (const path of ['href', 'src', 'action'].flatMap(attribute => values(document, attribute))) t.ok(path.startsWith(`${base}/`) || (path === '' && name.startsWith('busy')), `${name}: ${path}`)
  })
  t.match(consentPage({ ...context('fr'), base: '' }, { client: { title: '' }, provider: { title: '' }, claims: {}, anonymous: true, consentRequired: false, missingConsent: false, login: '', client_id: 'town', chooseHref: '/' }), 'action="/consent"')
})

t.test('the language switch names the other language in that language, or is not drawn', async t => {
  t.match(chooser({}, 'fr'), /<a class="plain" id="language" href="[^"]*" lang="en" hreflang="en">English<\/a>/)
  t.match(chooser({}, 'en'), /<a class="plain" id="language" href="[^"]*" lang="fr" hreflang="fr">Français<\/a>/)
  const { switchHref, mark, ...bare } = context('fr')
  const document = chooserPage(bare, { client: { title: 'x' }, providers: [], againHref: '/', returnHref: '/' })
  t.notMatch(document, 'id="language"')
  t.notMatch(document, /<img|rel="icon"/, 'nor is a mark that was not given')
})

t.test('a provider that can be used, or may answer again, is one link; another is none and says why', async t => {
  for (const language of languages) {
    const said = new Set<string>()
    for (const state of states) {
      const document = chooser({ providers: [card(state)] }, language)
      const [, name, content] = element(document, 'idp-taxes')!
      t.equal(name, isClosed(state) ? 'div' : 'a', `${state}, ${language}`)
      t.equal(values(document, 'href').includes(`${base}/login/taxes`), name === 'a', `${state}, ${language}: its address`)
      said.add(strip(content!))
    }
    t.equal(said.size, states.length, `each state has words of its own, ${language}`)
  }
})

t.test('a state is said within its link or its card, in words that no colour is needed for (WCAG 2.2, 1.4.1)', async t => {
  for (const language of languages) {
    const { chooser: text } = messages[language]
    const words = { up: '', beta: text.beta, slow: text.slow, down: text.down, maintenance: `${text.maintenance} ${text.maintenanceDefault}`, acr_too_low: text.acr_too_low, fresh_login_unprovable: text.fresh_login_unprovable, not_allowed: text.not_allowed }
    for (const state of states) {
      const content = element(chooser({ providers: [card(state, { logo: `${base}/assets/taxes.svg` })] }, language), 'idp-taxes')![2]!
      t.equal(strip(content).replace(/ +/g, ' ').replaceAll('&#39;', "'"), `Taxes ${words[state]}`.trim(), `${state}, ${language}: all of its name`)
      t.notMatch(content, 'aria-label', `${state}, ${language}: and nothing else is read out`)
      t.notMatch(content, /<(i|small|bdi)>\s*<\//, `${state}, ${language}: no empty line`)
      t.equal(content.includes('<i>'), state === 'beta' || state === 'maintenance', `${state}, ${language}: a badge where a word will do`)
    }
  }
})

t.test('the words of the operator are shown whatever the state, beside those of the state', async t => {
  for (const state of states) {
    const content = strip(element(chooser({ providers: [card(state, { message: 'Slow on Mondays' })] }), 'idp-taxes')![2]!)
    t.match(content, /Slow on Mondays$/, state)
    if (state !== 'up') t.not(content.replace(/ +/g, ' '), 'Taxes Slow on Mondays', `${state}: said as well`)
  }
})

t.test('maintenance shows the message of the operator, or else ours', async t => {
  t.match(chooser({ providers: [card('maintenance', { message: 'Back on Sunday' })] }), /Under maintenance.*Back on Sunday/s)
  t.match(chooser({ providers: [card('maintenance')] }), messages.en.chooser.maintenanceDefault)
  t.notMatch(chooser({ providers: [card('maintenance', { message: 'Back on Sunday' })] }), messages.en.chooser.maintenanceDefault)
})

t.test('providers keep their order', async t => {
  const providers = ['b', 'a', 'c'].map((id, i) => card(states[i + 1]!, { id }))
  t.same(values(chooser({ providers }), 'id').filter(id => id.startsWith('idp-')), ['idp-b', 'idp-a', 'idp-c'])
})

t.test('a chooser without a usable provider says so, and the way back is there', async t => {
  for (const language of languages) {
    const { noneUsable, noneAnswers, again } = messages[language].chooser
    const said = (providers: ProviderCard[]) => strip(element(chooser({ providers }, language), 'none')?.[2] ?? 'nothing').replace(/ +/g, ' ')
    for (const providers of [[], [card('maintenance')], [card('fresh_login_unprovable')], [card('acr_too_low'), card('not_allowed', { id: 'post' })]]) t.equal(said(providers), `${noneUsable} ${again}`)
    t.equal(said([card('maintenance'), card('down', { id: 'post' })]), `${noneAnswers} ${again}`)
    t.match(chooser({ providers: [card('down')] }, language), `<a class="plain" id="again" href="${base}/choose">${again}</a>`, 'and looks again where it is told')
    for (const state of open) t.notMatch(chooser({ providers: [card('down'), card(state, { id: 'post' })] }, language), /id="(none|again)"/)
  }
  t.match(chooser({}), `id="return" href="${base}/return">Return to Town hall</a>`)
})

t.test('each notice has a banner of its own, announced, and first in the title of the window', async t => {
  const provider = 'La Poste'
  const named: Notice[] = ['provider_unavailable', 'provider_failed', 'provider_refused', 'provider_answer_invalid', 'acr_too_low', 'identity_incomplete', 'authentication_too_old', 'fresh_login_unprovable', 'provider_maintenance', 'provider_not_allowed']
  for (const language of languages) {
    const said = new Set<string>()
    for (const code of notices) {
      const document = chooser({ providers: [card('up')], notice: { code, provider } }, language)
      const banner = element(document, 'notice')!
      t.match(banner[0], 'role="alert"')
      t.match(document, `<title>${messages[language].notices[code].title} – `)
      t.equal(banner[2]!.includes(provider), named.includes(code), `${code}, ${language}: names the provider where it speaks of one`)
      said.add(strip(banner[2]!))

      const nameless = element(chooser({ notice: { code } }, language), 'notice')![2]!
      t.equal(nameless.includes(messages[language].chooser.chosenAccount), named.includes(code), `${code}, ${language}: does without a name`)
    }
    t.equal(said.size, notices.size)
    t.notMatch(chooser({}, language), 'role="alert"')
  }
})

t.test('a banner leads back to the same provider where that is open, by a link that names it', async t => {
  for (const language of languages) {
    for (const code of notices) {
      const { chooser: text, notices: { [code]: { title } } } = messages[language]
      const notice = { code, provider: 'La Poste', retryHref: `${base}/login/post` }
      const document = chooser({ notice }, language)
      t.match(document, `<a class="plain" id="retry" href="${base}/login/post">${text.retry(text.account('La Poste'))}</a>`, `${code}, ${language}`)
      t.ok(document.indexOf(title) < document.indexOf('id="retry"') && document.indexOf('id="retry"') < document.indexOf('class="providers"'), `${code}, ${language}: within the banner`)
      t.notMatch(chooser({ notice: { code, provider: 'La Poste' } }, language), 'id="retry"', `${code}, ${language}: none where it is not`)
    }
  }
})

t.test('a birthdate is written out, and only as far as it is known', async t => {
  const cases: Array<[unknown, string, string]> = [
    ['1962-08-24', '24 août 1962', '24 August 1962'],
    ['1962-08-01', '1er août 1962', '1 August 1962'],
    ['0099-12-31', '31 décembre 99', '31 December 99'],
    ['2000-02-29', '29 février 2000', '29 February 2000'],
    ['1962-08-00', 'août 1962 (jour inconnu)', 'August 1962 (day not known)'],
    ['1962-00-00', '1962 (jour et mois inconnus)', '1962 (day and month not known)'],
    ['1961-02-29', '1961-02-29', '1961-02-29'],
    ['1961-13-01', '1961-13-01', '1961-13-01'],
    ['1961-00-12', '1961-00-12', '1961-00-12'],
    ['0000-08-24', '0000-08-24', '0000-08-24'],
    ['1962', '1962', '1962'],
    [19620824, '19620824', '19620824']
  ]
  for (const [date, fr, en] of cases) {
    t.equal(value('birthdate', date, 'fr'), fr)
    t.equal(value('birthdate', date, 'en'), en)
  }
})

t.test('claims are said in words', async t => {
  t.equal(value('gender', 'female', 'fr'), 'Féminin')
  t.equal(value('gender', 'other'), 'other')
  t.equal(value('gender', 'constructor'), 'constructor')
  t.equal(value('birthcountry', '99100'), 'France')
  t.equal(value('birthcountry', '99109'), '99109 (Insee code)')
  t.equal(value('birthplace', '2A004'), '2A004 (Insee code)')
  t.equal(value('birthplace', 'Ajaccio'), 'Ajaccio')
  t.equal(value('email_verified', true), 'Yes')
  t.equal(value('phone_number_verified', false, 'fr'), 'Non')
  t.equal(value('amr', ['pwd', 'mfa', 'xyz']), 'password, several factors, xyz')
  t.equal(value('updated_at', 0, 'fr'), '1er janvier 1970')
  t.equal(value('updated_at', 1e300), '1e+300')
  t.equal(value('idp_id', 'idp-1'), 'Taxes')
  t.equal(value('address', { formatted: '1 Lily Street\nTown', locality: 'Town' }), '1 Lily Street\nTown')
  t.equal(value('address', { street_address: '1 Lily Street', postal_code: '69220', locality: 'Town', country: 'France' }), '1 Lily Street\n69220 Town\nFrance')
  t.equal(value('address', 'Town'), 'Town')
  t.equal(value('picture', 'https://a.example/p.png'), 'https://a.example/p.png')
})

t.test('nothing that is sent goes unsaid: unknown claims stand under their own name', async t => {
  t.same(shown({ shoe_size: 42, sizes: { left: 41 }, family_name: 'DUBOIS' }), { 'Family name at birth': 'DUBOIS', shoe_size: '42', sizes: 'left = 41' })
  t.same(shown({ constructor: 'x', toString: 'y' }), { constructor: 'x', toString: 'y' })
  t.match(consent({ anonymous: true, claims: { shoe_size: 42 } }), 'shoe_size', 'not even when the login is called anonymous')
})

t.test('what is absent has no row', async t => {
  t.same(shown({ birthplace: '', email: undefined, website: null, amr: [], address: {} }), {})
})

t.test('first names are not said twice', async t => {
  const label = messages.en.claims.given_name_array
  t.notHas(shown({ given_name: 'Angela Claire', given_name_array: ['Angela', 'Claire'] }), { [label]: String })
  t.notHas(shown({ given_name: 'Angela, Claire', given_name_array: ['ANGELA', 'Claire'] }), { [label]: String })
  t.has(shown({ given_name: 'Angela', given_name_array: ['Angela', 'Claire'] }), { [label]: 'Angela, Claire' })
  t.has(shown({ given_name_array: ['Angela', 'Claire'] }), { [label]: 'Angela, Claire' })
})

t.test('an anonymous login says that no identity is sent, only an identifier for this service', async t => {
  for (const language of languages) {
    const text = messages[language].consent
    for (const data of [{ anonymous: true }, { anonymous: false, claims: { email: '' } }]) {
      t.match(words(consent(data, language)), text.anonymous('Taxes', 'Town hall'))
      t.notMatch(consent(data, language), '<dl')
    }
    t.notMatch(words(consent({ claims: { email: 'a@b.example' } }, language)), text.anonymous('Taxes', 'Town hall'))
    t.match(consent({ anonymous: true, consentRequired: true }, language), text.agreeAnonymous('Town hall'))
  }
})

t.test('continue is the default of the form, refuse stands beside it, and both say their decision', async t => {
  forEveryPage((document, name) => {
    const buttons = [...document.matchAll(/<button[^>]* id="([^"]*)" name="decision" value="([^"]*)"/g)].map(([, id, value]) => [id, value])
    t.equal(document.match(/<button/g)?.length ?? 0, buttons.length, `${name}: no other button`)
    if (/consent/.test(name)) t.same(buttons, [['continue', 'continue'], ['refuse', 'refuse']], name)
    else if (/log-out of nobody/.test(name)) t.same(buttons, [['log-out', 'log-out']], name)
    else if (/log-out/.test(name)) t.same(buttons, [['log-out', 'log-out'], ['stay', 'stay']], name)
    else t.same(buttons, [], name)
  })
  const document = consent({ login: 'x1' })
  t.match(document, '<form method="post" action="/api/v2/consent">\n<input type="hidden" name="login" value="x1">')
  t.match(document, 'id="choose" href="/api/v2/choose"')
})

t.test('consent is asked only where it is required, and never ticked in advance', async t => {
  t.notMatch(consent({}), 'type="checkbox"')
  t.notMatch(consent({ missingConsent: true }), 'consent-error')
  const asked = consent({ consentRequired: true })
  t.match(asked, '<input type="checkbox" id="consent" name="consent" value="yes">')
  t.notMatch(asked, /checked|required|aria-invalid/, 'and refusing is possible without it')
})

t.test('consent that is missing is an error tied to its box, and first in the title of the window', async t => {
  for (const language of languages) {
    const document = consent({ consentRequired: true, missingConsent: true }, language)
    t.match(document, '<input type="checkbox" id="consent" name="consent" value="yes" aria-invalid="true" aria-describedby="consent-error" autofocus>')
    t.match(element(document, 'consent-error')![2], messages[language].consent.missing)
    t.match(document, `<title>${messages[language].consent.error}`)
  }
})

t.test('the error page shows code and id, and always a way on', async t => {
  const error = (data: Partial<ErrorData>) => errorPage(context('en'), { code: 'store_unavailable', id: '01JX7Q', text: 'unexpected', ...data })
  t.equal(element(error({}), 'error-code')![2], 'store_unavailable')
  t.equal(element(error({}), 'error-id')![2], '01JX7Q')
  t.match(error({}), messages.en.error.wayOn)
  t.match(error({ retryHref: '/again' }), 'id="retry" href="/again"')
  t.match(error({ back: { href: '/back' } }), /id="return" href="\/back">Return to the service</)
  t.match(error({ back: { href: '/back', title: 'Town hall' } }), /id="return" href="\/back">Return to Town hall</)
  t.notMatch(error({ retryHref: '/again' }), messages.en.error.wayOn)
  t.equal(new Set(errorTexts.map(text => strip(element(error({ text }).replace('<main>', '<main id="x">'), 'x')![2]!))).size, errorTexts.length)
})

t.test('signing out is asked in the name of the service, where there is one', async t => {
  const document = logOutPage(context('en'), { client: { title: 'Town hall' }, action: '/end', fields: {} })
  t.match(document, 'Town hall asks to sign you out')
  t.notMatch(document, 'id="return"')
  t.notMatch(logOutPage(context('en'), { action: '/end', fields: {} }), 'asks to sign you out')
})

t.test('after signing out, the services that may still be open are named', async t => {
  t.match(element(loggedOutPage(context('en'), { clients: ['Taxes', 'Town hall'] }), 'remaining')![0], /Taxes.*Town hall/s)
  t.notMatch(loggedOutPage(context('en'), { clients: [] }), 'id="remaining"')
  t.match(loggedOutPage(context('en'), { clients: [], back: { href: '/b', title: 'Town hall' } }), /id="return" href="\/b">Return to Town hall</)
})

t.test('a login that is complete leads on to the service', async t => {
  const document = finishedPage(context('en'), { client: { title: 'Town hall' }, backHref: '/back' })
  t.match(document, 'id="return" href="/back"')
})

t.test('the style sheet is small, loads nothing, and knows the dark, still motion and both directions', async t => {
  t.ok(statSync(new URL('style.css', folder)).size < 8 * 1024)
  t.notMatch(css, /@import|url\(/)
  t.match(css, '@media (prefers-color-scheme: dark)')
  t.match(css.slice(0, css.indexOf('@media (prefers-reduced-motion: no-preference)')), /^(?!.*(transition|animation))/s)
  t.notMatch(css, /(margin|padding|border)-(left|right|top|bottom)|[\s{;](left|right|width|height):|text-align: (left|right)/)
  t.notMatch(readFileSync(new URL('passerelle.svg', folder), 'utf8'), /<script|<style|style=|href/)
})

t.test('every class in a page is in the style sheet', async t => {
  forEveryPage((document, name) => {
    for (const one of new Set(values(document, 'class').flatMap(list => list.split(' ')))) t.ok(css.includes(`.${one}`), `${name}: ${one}`)
  })
})

t.test('text and ground differ enough in the light and in the dark (WCAG 2.2, 1.4.3 and 1.4.11)', async t => {
  const [light, dark] = css.matchAll(/:root \{(.*?)\}/gs).map(([, block]) => Object.fromEntries(block!.matchAll(/--([a-z-]+): (#[0-9a-f]+)/g).map(([, name, colour]) => [name, colour!])))
  const text = [['ink', 'page'], ['ink', 'paper'], ['ink', 'wash'], ['ink', 'warn-wash'], ['quiet', 'page'], ['quiet', 'paper'], ['quiet', 'wash'],
    ['accent', 'page'], ['accent', 'paper'], ['accent', 'wash'], ['accent', 'warn-wash'], ['accent-deep', 'page'], ['accent-deep', 'paper'], ['accent-deep', 'warn-wash'], ['on-accent', 'accent'], ['on-accent', 'accent-deep'],
    ['warn', 'paper'], ['warn', 'wash'], ['wrong', 'page']]
  const edges = [['edge', 'paper'], ['focus', 'paper'], ['focus', 'page'], ['focus', 'wash'], ['focus', 'warn-wash'], ['accent', 'paper'], ['wrong', 'page'], ['warn', 'warn-wash']]
  for (const [scheme, colours] of Object.entries({ light, dark })) {
    for (const [one, other] of text) t.ok(contrast(colours![one!]!, colours![other!]!) >= 4.5, `${scheme}: ${one} on ${other}`)
    for (const [one, other] of edges) t.ok(contrast(colours![one!]!, colours![other!]!) >= 3, `${scheme}: ${one} beside ${other}`)
  }
})

function contrast (one: string, other: string): number {
  const [dark, light] = [one, other].map(luminance).sort((a, b) => a - b)
  return (light! + 0.05) / (dark! + 0.05)
}

function luminance (colour: string): number {
  const digits = colour.length === 4 ? colour.replace(/[0-9a-f]/g, '$&$&') : colour
  const [red, green, blue] = [1, 3, 5].map(at => parseInt(digits.slice(at, at + 2), 16) / 255).map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  return 0.2126 * red! + 0.7152 * green! + 0.0722 * blue!
}
