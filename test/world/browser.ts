import { Agent, request } from 'undici'
import { citizens } from './citizens.ts'
import { createLookup } from './lookup.ts'
import type { World } from './world.ts'

/** One answer that the browser was given on its way. */
export interface Visit {
  method: string
  url: string
  status: number
  headers: Record<string, string | string[] | undefined>
  body: string
}

/** Where a walk ended: an answer that is no redirect, or a redirect to where the browser may not go. */
export interface Page extends Visit {
  /** The address that this answer sends to, if it was not followed. */
  location?: string | undefined
  forms: Form[]
  /** The ids of its links. */
  links: string[]
  has (id: string): boolean
  /** The text of the element with this id, without its tags. */
  text (id: string): string
}

/** A form of a page, with the fields as they stand. */
export interface Form { method: string, action: string, fields: Record<string, string>, checkboxes: Record<string, string>, buttons: Button[] }
export interface Button { id: string, name: string, value: string }

export interface Browser {
  /** Every answer so far, redirects included. */
  visits: Visit[]
  page: Page | undefined
  jar: CookieJar
  get (url: string): Promise<Page>
  /** Sends a form of the page at hand, by one of its buttons, with these fields filled in. */
  submit (form: Form, fields?: Record<string, string>, button?: Button): Promise<Page>
  /** Follows the link, or presses the button, with this id. */
  click (id: string, fields?: Record<string, string>): Promise<Page>
  close (): Promise<void>
}

/** A minimal browser: cookies, redirects, links and forms, no scripts. It does not go on to addresses that start with `stopAt`. */
export function createBrowser ({ suffix = 'localhost', ca, stopAt, headers = {} }: { suffix?: string, ca?: string | undefined, stopAt?: string | readonly string[], headers?: Record<string, string> } = {}): Browser {
  const dispatcher = new Agent({ connect: { lookup: createLookup('localhost', suffix), ...(ca && { ca }) } })
  const jar = createJar()

  const browser: Browser = {
    visits: [],
    page: undefined,
    jar,
    get: url => navigate('GET', new URL(url, browser.page?.url)),
    submit (form, fields = {}, button) {
      const sent = new URLSearchParams({ ...form.fields, ...fields, ...(button?.name && { [button.name]: button.value }) })
      const action = new URL(form.action, here())
      if (form.method === 'POST') return navigate('POST', action, sent.toString(), here())
      action.search = sent.toString()
      return navigate('GET', action, undefined, here())
    },
    async click (id, fields) {
      const { body, forms } = browser.page!
      const link = tags(body, 'a').find(attributes => attributes['id'] === id)
      if (link) return navigate('GET', new URL(link['href'] ?? '', here()), undefined, here())
      for (const form of forms) {
        const button = form.buttons.find(button => button.id === id)
        if (button) return browser.submit(form, fields, button)
      }
      throw new Error(`nothing to click with id ${id} at ${here()}`)
    },
    close: () => dispatcher.destroy()
  }
  return browser

  function here () {
    if (!browser.page) throw new Error('no page is open')
    return browser.page.url
  }

  async function navigate (method: string, url: URL, body?: string, from?: string): Promise<Page> {
    const referrer = from === undefined ? undefined : new URL(from)
    const hidden = browser.page?.headers['referrer-policy'] === 'no-referrer'
    let relation = referrer ? 'same-origin' : 'none'

    for (let hop = 0; hop < 20; hop++) {
      relation = farther(relation, referrer, url)
      const answer = await request(url, {
        method,
        dispatcher,
        signal: AbortSignal.timeout(15_000),
        ...(body !== undefined && { body }),
        headers: {
          accept: 'text/html,application/xhtml+xml',
          'accept-language': 'fr-FR,fr;q=0.9',
          'sec-fetch-mode': 'navigate',
          'sec-fetch-dest': 'document',
          'sec-fetch-site': relation,
          ...(method === 'POST' && { 'content-type': 'application/x-www-form-urlencoded', origin: hidden || !referrer ? 'null' : referrer.origin }),
          cookie: jar.header(url, method, relation === 'cross-site'),
          ...headers
        }
      })
      jar.keep(url, answer.headers['set-cookie'])
      const visit = { method, url: url.href, status: answer.statusCode, headers: answer.headers, body: await answer.body.text() }
      browser.visits.push(visit)

      const redirect = [301, 302, 303, 307, 308].includes(visit.status) && answer.headers['location']
      const next = typeof redirect === 'string' ? new URL(redirect, url) : undefined
      if (!next) return (browser.page = readPage(visit))
      if ([stopAt ?? []].flat().some(start => next.href.startsWith(start))) return (browser.page = readPage(visit, next.href))
      if (visit.status < 307) {
        method = 'GET'
        body = undefined
      }
      url = next
    }
    throw new Error(`more than 20 redirects, the last to ${url.origin}${url.pathname}`)
  }
}

/** Two names are of one site when they share their last two labels. */
const siteOf = ({ protocol, hostname }: URL) => `${protocol}//${hostname.split('.').slice(-2).join('.')}`

const relations = ['none', 'same-origin', 'same-site', 'cross-site']

/** The relation (Fetch Metadata §2.3) only grows on the way of one navigation. */
function farther (relation: string, referrer: URL | undefined, url: URL) {
  if (!referrer) return relation
  const now = referrer.origin === url.origin ? 'same-origin' : siteOf(referrer) === siteOf(url) ? 'same-site' : 'cross-site'
  return relations[Math.max(relations.indexOf(relation), relations.indexOf(now))]!
}

interface Cookie { name: string, value: string, host: string, subdomains: boolean, path: string, secure: boolean, sameSite: string, expires: number }

export interface CookieJar {
  cookies: Cookie[]
  keep (url: URL, lines: string | string[] | undefined): void
  header (url: URL, method: string, crossSite: boolean): string
}

/** A cookie jar (RFC 6265bis) for top-level navigations; like the strictest browsers it keeps no Secure cookie without https. */
export function createJar (): CookieJar {
  const jar: CookieJar = {
    cookies: [],
    keep (url, lines = []) {
      for (const line of Array.isArray(lines) ? lines : [lines]) {
        const cookie = readCookie(url, line)
        if (!cookie) continue
        jar.cookies = jar.cookies.filter(({ name, host, path }) => name !== cookie.name || host !== cookie.host || path !== cookie.path)
        if (cookie.expires > Date.now()) jar.cookies.push(cookie)
      }
    },
    header: ({ hostname, pathname, protocol }, method, crossSite) => jar.cookies
      .filter(({ host, subdomains }) => hostname === host || (subdomains && hostname.endsWith(`.${host}`)))
      .filter(({ path }) => pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`))
      .filter(({ secure }) => !secure || protocol === 'https:')
      .filter(({ sameSite }) => !crossSite || sameSite === 'none' || (sameSite === 'lax' && method === 'GET'))
      .filter(({ expires }) => expires > Date.now())
      .sort((one, other) => other.path.length - one.path.length)
      .map(({ name, value }) => `${name}=${value}`).join('; ')
  }
  return jar
}

function readCookie ({ hostname, pathname, protocol }: URL, line: string): Cookie | undefined {
  const [pair = '', ...rest] = line.split(';').map(part => part.trim())
  const equals = pair.indexOf('=')
  const name = pair.slice(0, equals)
  const attributes = new Map(rest.map(attribute => {
    const [key = '', ...value] = attribute.split('=')
    return [key.toLowerCase(), value.join('=')]
  }))
  const secure = attributes.has('secure')
  const domain = attributes.get('domain')?.replace(/^\./, '').toLowerCase()
  const path = attributes.get('path')
  const maxAge = attributes.get('max-age')
  const expires = attributes.get('expires')

  if (equals < 1 || Buffer.byteLength(pair) > 4096) return
  if (secure && protocol !== 'https:') return
  if (domain && hostname !== domain && !hostname.endsWith(`.${domain}`)) return
  if (/^__(Host|Secure)-/i.test(name) && !secure) return
  if (/^__Host-/i.test(name) && (path !== '/' || domain !== undefined)) return
  return {
    name,
    value: pair.slice(equals + 1),
    host: domain ?? hostname,
    subdomains: domain !== undefined,
    path: path?.startsWith('/') ? path : pathname.slice(0, pathname.lastIndexOf('/')) || '/',
    secure,
    sameSite: attributes.get('samesite')?.toLowerCase() ?? 'lax',
    expires: maxAge !== undefined ? Date.now() + Number(maxAge) * 1000 : expires ? Date.parse(expires) : Infinity
  }
}

// A reader for plain pages: what the gateway, the providers and the services of this world send, not what the web does.

const entities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'", '#x27': "'", '#x2F': '/', nbsp: '\u00a0' }
/** Text as it is read. */
export const decode = (text: string) => text.replace(/&(#?\w+);/g, (whole, name: string) => entities[name] ?? whole)

function attributesOf (tag: string) {
  const attributes: Record<string, string> = {}
  for (const [, name, double, single, bare] of tag.matchAll(/\s([\w-]+)(?:=(?:"([^"]*)"|'([^']*)'|([^\s>]+)))?/g)) {
    attributes[name!.toLowerCase()] = decode(double ?? single ?? bare ?? '')
  }
  return attributes
}

/** The attributes of every element of this name, in the order of the page. */
export const tags = (body: string, name: string) => [...body.matchAll(new RegExp(`<${name}\\b(?:[^>"']|"[^"]*"|'[^']*')*>`, 'gi'))].map(([tag]) => attributesOf(tag))

const readPage = (visit: Visit, location?: string): Page => ({
  ...visit,
  location,
  forms: [...visit.body.matchAll(/<form\b[^]*?<\/form>/gi)].map(([form]) => readForm(form)),
  links: tags(visit.body, 'a').flatMap(({ id }) => id ?? []),
  has: id => visit.body.includes(` id="${id}"`),
  text (id) {
    const [, name, rest = ''] = new RegExp(`<(\\w+)[^>]* id="${id}"[^>]*>([^]*)`).exec(visit.body) ?? []
    const end = name ? rest.search(new RegExp(`</${name}>`)) : 0
    return decode(rest.slice(0, end).replace(/<[^>]+>/g, '')).replace(/\s+/g, ' ').trim()
  }
})

function readForm (html: string): Form {
  const [form = {}] = tags(html, 'form')
  const inputs = tags(html, 'input').filter(({ name, disabled }) => name !== undefined && disabled === undefined)
  const values = (chosen: typeof inputs) => Object.fromEntries(chosen.map(({ name, value, type }) => [name, value ?? (type === 'checkbox' ? 'on' : '')]))
  const ticked = ({ type, checked }: Record<string, string>) => !['checkbox', 'radio'].includes(type ?? '') || checked !== undefined
  return {
    method: (form['method'] ?? 'get').toUpperCase(),
    action: form['action'] ?? '',
    fields: values(inputs.filter(ticked)),
    checkboxes: values(inputs.filter(({ type }) => type === 'checkbox')),
    buttons: tags(html, 'button').map(({ id = '', name = '', value = '' }) => ({ id, name, value }))
  }
}

export interface Login {
  world: World
  /** The world's id of the service. */
  service: string
  /** The id of the provider that the citizen chooses. */
  provider: string
  /** The username of the citizen. */
  citizen: string
  /** Overrides of what the service asks, for its `/login`. */
  query?: Record<string, string>
  /** What the citizen answers on the information page. */
  decision?: 'continue' | 'refuse'
  /** Whether he or she ticks the checkbox, where there is one. */
  consent?: boolean
}

/** The whole way of a citizen, from the service and back to it. Returns the page where it ends, also when that is not the service's. */
export async function logIn (browser: Browser, { world, service, query = {}, ...choices }: Login): Promise<Page> {
  const home = world.services[service]!.url
  const taken = new Set<string>()
  let page = await browser.get(`${home}/login?${new URLSearchParams(query)}`)
  while (!page.url.startsWith(home)) {
    const step = nextStep(browser, page, choices)
    // Asked the same again, this citizen gives up: the way ends at the page that asks.
    if (!step || taken.has(step.name)) return page
    taken.add(step.name)
    page = await step.take()
  }
  return page
}

function nextStep (browser: Browser, page: Page, { provider, citizen, decision = 'continue', consent = true }: Omit<Login, 'world' | 'service' | 'query'>) {
  if (page.links.includes(`idp-${provider}`)) return { name: 'choose', take: () => browser.click(`idp-${provider}`) }
  if (page.has('sign-in')) {
    const password = citizens.find(({ username }) => username === citizen)?.password ?? ''
    return { name: 'sign in', take: () => browser.click('sign-in', { username: citizen, password }) }
  }
  for (const form of page.forms) {
    const button = form.buttons.find(({ name, value }) => name === 'decision' && value === decision)
    if (button) return { name: 'decide', take: () => browser.submit(form, consent ? form.checkboxes : {}, button) }
  }
  const [form] = page.forms
  if (form && page.body.includes('document.forms[0].submit()')) return { name: `go on to ${form.action}`, take: () => browser.submit(form) }
}

/** What a service shows that it was told, by claim name. */
export const readGreeting = (page: Page) => Object.fromEntries(
  [...page.body.matchAll(/<dd data-claim="([^"]+)">([^]*?)<\/dd>/g)].map(([, name, value]) => [name!, decode(value!)]))
