import accepts from '@fastify/accepts'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Asset } from '../src/config/load.ts'
import type { Notice } from '../src/pages/chooser.ts'
import type { Language, PageContext, Party } from '../src/pages/layout.ts'
import type { Login } from '../src/records.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** files that pages show, by their path under the base path */
    assets: Map<string, Asset>
    /** how a service or a provider is shown */
    party (registration: { title: string, logoAsset?: Asset | undefined }): Party
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

  app.decorateRequest('chooserHref', (login, { notice, idp } = {}) => {
    const parameters = new URLSearchParams({ login: login.id, notice: notice ?? 'choose' satisfies Notice | 'choose' })
    if (idp !== undefined) parameters.set('idp', idp)
    return `${base}/authorize?${parameters}`
  })

  app.decorateRequest('wayBack', function () {
    const client = app.client(this.login?.request.client_id ?? (this.query as Record<string, unknown> | undefined)?.client_id)
    if (client === undefined) return {}
    const href = this.login === null || this.login.done ? app.homeOf(client) : `${base}/leave?login=${this.login.id}`
    return { back: { href, title: client.title } }
  })

  app.decorateReply('page', function (html) {
    const { lang } = (this.request.query ?? {}) as Record<string, unknown>
    if (isLanguage(lang)) this.setCookie(languageCookie, lang, { path: '/', httpOnly: true, secure: settings.issuer.startsWith('https:'), sameSite: 'lax' })
    return this.type('text/html; charset=utf-8').send(html)
  })
}, { name: 'pages', dependencies: ['browser'] })
