import accepts from '@fastify/accepts'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Asset } from '../src/config/load.ts'
import type { Language, PageContext, Party } from '../src/pages/layout.ts'
import { withParameters } from '../src/protocol/redirect.ts'
import { life, type Login } from '../src/records.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** files that pages show, by their path under the base path */
    assets: Map<string, Asset>
    /** path of the script that submits the one form of its page */
    submitScript: string
    /** how a service or a provider is shown */
    party (registration: { title: string, logoAsset?: Asset | undefined }): Party
    /** An address of ours in this login; it names the client too, so that the way back is known where the cookie is not. */
    ownAddress (path: string, login: Login, more?: Record<string, string | undefined>): string
  }
  interface FastifyRequest {
    /** languages that the client asked for, '' for none */
    uiLocales: string
    /** The citizen's language: the one chosen by the switch, else the one asked for, else the browser's. */
    citizenLanguage (): Language
    /** What a page has to know; `at` is where its language switch leads, unless it is this very address. */
    pageContext (at?: string): PageContext
  }
  interface FastifyReply {
    page (html: string): FastifyReply
  }
}

const languages: string[] = ['fr', 'en']
const isLanguage = (value: unknown): value is Language => languages.includes(value as string)

function ownFile (name: string, type: string): Asset {
  const bytes = readFileSync(new URL(`../src/pages/${name}`, import.meta.url))
  const digest = createHash('sha256').update(bytes).digest('base64url').slice(0, 16)
  return { path: `/assets/${digest}${name.slice(name.lastIndexOf('.'))}`, type, bytes }
}

/** What every page needs: language, assets, links. */
export default fp(async app => {
  const { base } = app.configuration
  const stylesheet = ownFile('style.css', 'text/css; charset=utf-8')
  const mark = ownFile('passerelle.svg', 'image/svg+xml')
  const submit = ownFile('submit.js', 'text/javascript; charset=utf-8')

  await app.register(accepts)
  app.decorate('assets', new Map([stylesheet, mark, submit, ...app.configuration.assets].map(asset => [asset.path, asset])))
  const formerUntil = new Map<string, number>()
  app.onReconfigured((now, before) => {
    // pages out there refer to them
    for (const { path } of before.assets) formerUntil.set(path, app.now() + life.login)
    for (const asset of now.assets) {
      app.assets.set(asset.path, asset)
      formerUntil.delete(asset.path)
    }
    for (const [path, until] of formerUntil) if (until <= app.now()) formerUntil.delete(path) && app.assets.delete(path)
  })
  app.decorate('submitScript', base + submit.path)
  app.decorate('party', ({ title, logoAsset }) => logoAsset === undefined ? { title } : { title, logo: base + logoAsset.path })
  app.decorate('ownAddress', (path, login, more = {}) => withParameters(base + path, { login: login.id, client: login.request.client_id, ...more }))

  app.decorateRequest('uiLocales', '')
  app.decorateRequest('citizenLanguage', function () {
    const { lang } = (this.query ?? {}) as Record<string, unknown>
    const tags = this.uiLocales.split(' ').map(tag => tag.toLowerCase().split('-')[0])
    const chosen = [lang, this.keptLanguage(), this.login?.language, ...tags, this.language(languages)].find(isLanguage)
    return chosen ?? 'fr'
  })

  app.decorateRequest('pageContext', function (this: FastifyRequest, at?: string) {
    const language = this.citizenLanguage()
    const switchable = this.method === 'GET' && this.failure === null
    const [path, query] = (at ?? this.url).split('?', 2)
    const parameters = new URLSearchParams(query)
    parameters.set('lang', language === 'fr' ? 'en' : 'fr')
    return {
      language,
      base,
      stylesheet: base + stylesheet.path,
      mark: base + mark.path,
      ...(switchable ? { switchHref: `${path}?${parameters}` } : {})
    }
  })

  app.decorateReply('page', function (html) {
    const { lang } = (this.request.query ?? {}) as Record<string, unknown>
    if (isLanguage(lang) && this.request.failure === null) this.keepLanguage(lang)
    return this.type('text/html; charset=utf-8').send(html)
  })
}, { name: 'pages', dependencies: ['browser', 'configuration'] })
