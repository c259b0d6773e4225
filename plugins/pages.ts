import accepts from '@fastify/accepts'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Asset } from '../src/config/load.ts'
import type { Language, PageContext, Party } from '../src/pages/layout.ts'
import { withParameters } from '../src/protocol/redirect.ts'
import { serviceMark } from '../src/protocol/subject.ts'
import { loginOfState } from '../src/protocol/upstream.ts'
import type { Login } from '../src/records.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** files that pages show, by their path under the base path */
    assets: Map<string, Asset>
    /** how a service or a provider is shown */
    party (registration: { title: string, logoAsset?: Asset | undefined }): Party
    /** An address of ours in this login; it names the service too, so that the way back is known where the cookie is not. */
    ownAddress (path: string, login: Login, more?: Record<string, string | undefined>): string
    /** where a service begins: its home page, else the origin of its address */
    homeOf (client: { client_uri?: string | undefined, redirect_uris: readonly string[] }): string
  }
  interface FastifyRequest {
    /** The citizen's language: the one chosen by the switch, else the one asked for, else the browser's. */
    citizenLanguage (ui_locales?: string): Language
    /** What a page has to know; `at` is where its language switch leads, unless it is this very address. */
    pageContext (at?: string): PageContext
    /** The chooser of a login, with what happened. */
    chooserHref (login: Login, options?: { notice?: string | undefined, idp?: string | undefined }): string
    /** The way back to the service, where we know it. */
    wayBack (): { back?: { href: string, title: string } }
  }
  interface FastifyReply {
    page (html: string): FastifyReply
  }
}

const languages: readonly string[] = ['fr', 'en']
const isLanguage = (value: unknown): value is Language => languages.includes(value as string)

const ownFile = (name: string, type: string, bytes = readFileSync(new URL(`../src/pages/${name}`, import.meta.url))): Asset =>
  ({ path: `/assets/${createHash('sha256').update(bytes).digest('base64url').slice(0, 16)}${name.slice(name.lastIndexOf('.'))}`, type, bytes })

/** What every page needs: language, assets, links. */
export default fp(async app => {
  const { base, settings } = app.configuration
  const stylesheet = ownFile('style.css', 'text/css; charset=utf-8')
  const mark = ownFile('passerelle.svg', 'image/svg+xml')
  const languageCookie = settings.issuer.startsWith('https:') ? '__Host-language' : 'passerelle-language'

  await app.register(accepts)
  app.decorate('assets', new Map([stylesheet, mark, ...app.configuration.assets].map(asset => [asset.path, asset])))
  app.decorate('party', ({ title, logoAsset }) => logoAsset === undefined ? { title } : { title, logo: base + logoAsset.path })
  app.decorate('homeOf', ({ client_uri, redirect_uris }) => client_uri ?? `${new URL(redirect_uris[0]!).origin}/`)

  app.decorateRequest('citizenLanguage', function (this: FastifyRequest, ui_locales = (this.query as Record<string, string | undefined> | undefined)?.ui_locales) {
    const { lang } = (this.query ?? {}) as Record<string, unknown>
    const tags = String(ui_locales ?? '').split(' ').map(tag => tag.toLowerCase().split('-')[0])
    const chosen = [lang, this.cookies[languageCookie], this.login?.language, ...tags, this.language(languages as string[])].find(isLanguage)
    return chosen ?? 'fr'
  })

  app.decorateRequest('pageContext', function (this: FastifyRequest, at?: string) {
    const here = at ?? this.url
    const language = this.citizenLanguage()
    const switchable = this.method === 'GET' && this.failure === null
    const [path, query] = here.split('?', 2)
    const parameters = new URLSearchParams(query)
    parameters.set('lang', language === 'fr' ? 'en' : 'fr')
    return { language, base, stylesheet: base + stylesheet.path, mark: base + mark.path, ...(switchable ? { switchHref: `${path}?${parameters}` } : {}) }
  })

  app.decorate('ownAddress', (path, login, more = {}) => withParameters(base + path, { login: login.id, client: login.request.client_id, ...more }))
  app.decorateRequest('chooserHref', (login, { notice = 'choose', idp } = {}) => app.ownAddress('/authorize', login, { notice, idp }))

  app.decorateRequest('wayBack', function () {
    const { client: named, client_id, state } = { ...this.query as object, ...this.body as object } as Record<string, unknown>
    const client = this.service ?? app.client(named ?? client_id) ?? serviceOfState(typeof state === 'string' ? state : undefined)
    if (client === undefined) return {}
    const underWay = this.login !== null && !this.login.done && this.returnAddress !== null
    return { back: { href: underWay ? app.ownAddress('/leave', this.login!) : app.homeOf(client), title: client.title } }
  })

  /** The service that a `state` of ours came from, looked for only where its login is lost; to the identity provider it tells nothing. */
  function serviceOfState (state: string | undefined) {
    const { id, service } = loginOfState(state) ?? {}
    return id === undefined ? undefined : [...app.configuration.clients.values()].find(({ client_id }) => serviceMark(app.configuration.keys.subject, id, client_id) === service)
  }

  app.decorateReply('page', function (html) {
    const { lang } = (this.request.query ?? {}) as Record<string, unknown>
    if (isLanguage(lang) && this.request.failure === null) this.setCookie(languageCookie, lang, { path: '/', httpOnly: true, secure: settings.issuer.startsWith('https:'), sameSite: 'lax' })
    return this.type('text/html; charset=utf-8').send(html)
  })
}, { name: 'pages', dependencies: ['browser'] })
