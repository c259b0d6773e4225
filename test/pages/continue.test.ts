import { readFileSync } from 'node:fs'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { continuePage, type Continue } from '../../src/pages/continue.ts'
import type { Language, PageContext } from '../../src/pages/layout.ts'
import { messages } from '../../src/pages/messages.ts'

const folder = new URL('../../src/pages/', import.meta.url)
const languages: Language[] = ['fr', 'en']
const context = (language: Language): PageContext => ({ language, base: '/api/v2', stylesheet: '/api/v2/assets/style.css', mark: '/api/v2/assets/mark.svg' })
const page = (changes: Partial<Continue> = {}, language: Language = 'en') =>
  continuePage(context(language), { client: { title: 'Town hall' }, action: 'https://town.example/back', fields: { code: 'c', state: 's', iss: 'i' }, script: '/api/v2/assets/submit.js', ...changes })

const tag = /<(\/?[a-z][a-z0-9]*|!doctype)((?: [a-z-]+(?:="[^"]*")?)*)>/g
const skeleton = (document: string) => [...document.matchAll(tag)].map(([, name, attributes]) => [name, ...attributes!.matchAll(/ ([a-z-]+)(?:="[^"]*")?/g).map(([, attribute]) => attribute)].join(' '))
const decoded = (text: string) => text.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
const inputs = (document: string) => Object.fromEntries([...document.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)].map(([, name, value]) => [decoded(name!), decoded(value!)]))

t.test('it sends what it is given and nothing else: neither the button nor anything beside it adds a parameter', async t => {
  const document = page()
  t.strictSame(inputs(document), { code: 'c', state: 's', iss: 'i' })
  t.equal(document.match(/<(input|select|textarea|button|fieldset|output|object)\b/g)?.length, 4, 'three fields and a button')
  t.match(document, /<button class="button main" id="continue">Continue<\/button>/, 'which has no name')
  t.match(document, '<form method="post" action="https://town.example/back">')
  t.equal(document.match(/<form /g)?.length, 1)
  t.notMatch(document, /<a /, 'and there is no other way to go by mistake')
})

t.test('whatever is put into it changes none of its structure, and comes back letter by letter', async t => {
  for (const language of languages) {
    for (const attack of ['"><script>alert(1)</script>', "'><img src=x onerror=alert(1)>", '</form><form action="https://evil.example">', '" name="code" x="', '&quot;&lt;b&gt;&amp;amp;', '<!--', ']]>', '\u2028\u202e', '$&$1$`']) {
      const tame = page({ client: { title: 'x', logo: '/x' }, fields: { code: 'x', state: 'x' } }, language)
      const document = page({ client: { title: attack, logo: `/x${attack}` }, action: `https://town.example/back?x=${attack}`, fields: { code: attack, state: attack }, script: `/x${attack}` }, language)
      t.strictSame(skeleton(document), skeleton(tame), `${attack}, ${language}`)
      t.notMatch(document.replace(tag, ''), /[<>]/, `${attack}, ${language}: no loose bracket`)
      t.strictSame(inputs(document), { code: attack, state: attack }, `${attack}, ${language}: as it was`)
    }
  }
})

t.test('without its script a citizen reads what to do, and a button does it', async t => {
  for (const language of languages) {
    const document = page({}, language)
    const { goOn } = messages[language]
    const words = decoded(document.replace(/<[^>]*>/g, ' '))
    for (const text of [goOn.heading('Town hall'), goOn.explanation, goOn.button]) t.ok(words.includes(text), `${language}: ${text}`)
    t.match(document, `<title>${goOn.heading('Town hall').replaceAll('’', '’')} – Passerelle</title>`, `${language}: its title`)
    t.equal(document.match(/<h1/g)?.length, 1, `${language}: one h1`)
    for (const landmark of ['header', 'main', 'footer']) t.equal(document.match(new RegExp(`<${landmark}>`, 'g'))?.length, 1, `${language}: one ${landmark}`)
    t.ok(document.startsWith(`<!doctype html>\n<html lang="${language}"`), language)
    if (language === 'fr') t.notMatch(words, /[^\u00a0\s][:;?!»](?=\s|$)| [;?!»]|«[^\u00a0]/, 'set with non-breaking spaces')
    t.notMatch(words, /[a-z]'[a-zéêà]/i, `${language}: real apostrophes`)
  }
  t.not(page({}, 'fr'), page({}, 'en'))
})

t.test('a strict content policy allows it: one script from outside, nothing inline, every class in the style sheet', async t => {
  const document = page()
  t.strictSame([...document.matchAll(/<script\b([^>]*)>([^<]*)<\/script>/g)].map(([, attributes, text]) => [attributes, text]), [[' src="/api/v2/assets/submit.js"', '']])
  t.notMatch(document, /<style| style=| on[a-z]+=|<iframe|<base|javascript:/)
  const css = readFileSync(new URL('style.css', folder), 'utf8')
  for (const name of new Set([...document.matchAll(/ class="([^"]*)"/g)].flatMap(([, list]) => list!.split(' ')))) t.ok(css.includes(`.${name}`), name)
})

t.test('its script submits the form that is there, once, and asks nothing of anybody', async t => {
  const script = readFileSync(new URL('submit.js', folder), 'utf8')
  const submitted: string[] = []
  runInNewContext(script, { document: { forms: [{ submit: () => submitted.push('first') }, { submit: () => submitted.push('second') }] } })
  t.strictSame(submitted, ['first'])
  t.ok(page().indexOf('<script') > page().indexOf('</form>'), 'which stands before it')
  t.notMatch(script, /fetch|location|cookie|innerHTML|eval/)
})
