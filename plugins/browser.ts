import cookie from '@fastify/cookie'
import { createHash, randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Client } from '../src/config/load.ts'
import type { AuthorizationRequest } from '../src/protocol/authorization-request.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import type { Identification } from '../src/protocol/identification.ts'
import { life, limit, type Login } from '../src/records.ts'
import { patienceMs, unlessAway } from './store.ts'

/** Where an answer goes, and by which way. */
export type ReturnAddress = Pick<AuthorizationRequest, 'redirect_uri' | 'state' | 'response_mode'>

declare module 'fastify' {
  interface FastifyInstance {
    /** A login as its cookie carries it. @throws {OAuthError} request_too_large */
    sealLogin (login: Login): string
  }
  interface FastifyRequest {
    /** the login this request belongs to, once it is opened */
    login: Login | null
    /** A new login for a request that was checked. */
    newLogin (request: AuthorizationRequest, language: Login['language']): Login
    /**
     * The login of this id that this very browser carries, checked against the configuration in force.
     * @throws {OAuthError} login_unknown, login_finished, client_unknown, client_inactive, redirect_uri_unknown
     */
    openLogin (id: string | undefined): Login
    /** Whether this browser brings a login, by the name of its cookie only: what is in it nobody looked at. */
    bringsLogin (): boolean
    /** The name of a login under way that this browser brings, opened; '' for none. Of a great many only some are looked at. */
    liveLogin (): string
    /** the client the citizen came from, as far as we know it: for the way back only */
    cameFrom: Client | null
    /** where failures go back to the client: set only after client_id and redirect_uri are verified (RFC 6749 §4.1.2.1) */
    returnAddress: ReturnAddress | null
    /** why this request failed, once it has */
    failure: OAuthError | null
    /** the language chosen by the switch, '' for none */
    keptLanguage (): string
    /** Who came back in this login, while it lasts. @throws {OAuthError} store_unavailable */
    findIdentification (login: Login): Promise<Identification | undefined>
    /** The same, where somebody must have. @throws {OAuthError} identity_expired, store_unavailable */
    openIdentification (login: Login): Promise<Identification>
    /** The handle of this browser's session, '' for none. */
    sessionHandle (): string
    /** Refuses a form of ours that another site submits (Fetch Metadata). @throws {OAuthError} form_cross_site */
    refuseForeignForm (): void
  }
  interface FastifyReply {
    /** Lets the browser carry this login; the oldest others go when there is no room. @throws {OAuthError} request_too_large */
    keepLogin (login: Login): FastifyReply
    /** Lets the browser carry who came back in this login, in the one place there is for that. */
    keepIdentification (login: Login, identification: Identification): Promise<void>
    /** Forgets who came back in this login; another login's stays. */
    dropIdentification (login: Login): FastifyReply
    keepSession (handle: string): FastifyReply
    /** Lets go of a session that the browser carries, and of nothing else. */
    forgetSession (): FastifyReply
    /** Forgets the session, and every login that was under way in this browser: for a logout that is the citizen's own. */
    dropSession (): FastifyReply
    keepLanguage (language: string): FastifyReply
  }
}

/** What the browser carries: one cookie a login, one for who came back, one for the session's handle, all sealed or random. */
export default fp(async app => {
  const { issuer } = app.configuration.settings
  const https = issuer.startsWith('https:')
  const prefix = https ? '__Host-' : 'passerelle-'                     // __Host- needs https; plain http is for development
  const attributes = { path: '/', httpOnly: true, secure: https, sameSite: 'lax' } as const
  const identityCookie = `${prefix}identity`
  const sessionCookie = `${prefix}session`
  const languageCookie = `${prefix}language`
  const loginPrefix = `${prefix}login-`

  await app.register(cookie)
  app.decorateRequest('login', null)
  app.decorateRequest('cameFrom', null)
  app.decorateRequest('returnAddress', null)
  app.decorateRequest('failure', null)

  app.decorateRequest('newLogin', (request, language) => ({
    id: randomBytes(16).toString('base64url'),
    secret: randomBytes(32).toString('base64url'),
    request,
    language,
    exp: app.now() + life.login
  }))

  app.decorateRequest('bringsLogin', function () { return Object.keys(this.cookies).some(name => name.startsWith(loginPrefix)) })

  app.decorateRequest('liveLogin', function () {
    const names = Object.keys(this.cookies).filter(name => name.startsWith(loginPrefix)).slice(0, limit.cookiesOpened)
    return names.find(name => {
      const opened = app.sealer.open('login', name, this.cookies[name]!)
      return opened !== undefined && opened.record.done === undefined
    }) ?? ''
  })

  app.decorateRequest('openLogin', function (id) {
    const name = loginPrefix + (id ?? '')
    const opened = app.sealer.open('login', name, this.cookies[name] ?? '')
    if (opened === undefined) throw new OAuthError('login_unknown', 'this browser carries no such login')
    const { record, exp } = opened
    // the registration may have changed since: the login goes on only with a client and an address that are in force
    const client = app.clientOf(record)
    this.cameFrom = client
    const redirect_uri = client.redirect_uris.find(uri => markOf(uri) === record.request.redirect_uri)
    if (redirect_uri === undefined) throw new OAuthError('redirect_uri_unknown', 'redirect_uri: no longer registered for this client')
    if (!client.active) throw new OAuthError('client_inactive', 'this client is not active')
    const login: Login = { id: id!, ...record, request: { ...record.request, redirect_uri }, exp }
    this.login = login
    if (login.done) throw new OAuthError('login_finished', 'this login has already gone back to its client')
    this.returnAddress = login.request
    return login
  })

  app.decorate('sealLogin', ({ id, exp, ...record }) => {
    const { request, idp, done } = record
    const sealed = app.sealer.seal('login', loginPrefix + id, { ...record, request: { ...request, redirect_uri: markOf(request.redirect_uri) } }, exp)
    const most = request.pushed === undefined ? limit.loginCookie : limit.pushedLoginCookie
    if (idp === undefined && done === undefined && sealed.length > most) throw tooLarge(request)
    return sealed
  })

  app.decorateReply('keepLogin', function (login) {
    const { id, exp } = login
    const name = loginPrefix + id
    const sealed = app.sealLogin(login)
    makeRoom(this, { name, bytes: sealed.length }, this.request.cookies[identityCookie]?.length ?? 0)
    return this.setCookie(name, sealed, { ...attributes, maxAge: exp - app.now() })
  })

  /** The cookies of logins that this request brought, by names that a cookie can have: any other could not be taken away either. */
  const loginCookies = ({ cookies }: FastifyRequest) => Object.entries(cookies)
    .filter((entry): entry is [string, string] => entry[0].startsWith(loginPrefix) && /^[\w-]+$/.test(entry[0]))
    .map(([name, value]) => ({ name, bytes: name.length + value.length, opened: app.sealer.open('login', name, value) }))

  /** Takes cookies away; of a great many, which no browser of a citizen has, the first: an answer's headers have a limit, too. */
  const clear = (reply: FastifyReply, cookies: Array<{ name: string }>) => {
    for (const { name } of cookies.slice(0, limit.cookiesCleared)) reply.clearCookie(name, attributes)
  }

  /** All login cookies together have a limit, as headers have; the oldest goes first, before it those that are finished, and first what is not ours. */
  function makeRoom (reply: FastifyReply, kept: { name: string, bytes: number }, identityBytes: number) {
    const others = loginCookies(reply.request).filter(({ name }) => name !== kept.name)
      .sort((a, b) => Number(a.opened?.record.done ?? 0) - Number(b.opened?.record.done ?? 0) || (b.opened?.exp ?? 0) - (a.opened?.exp ?? 0))
    let room = limit.allCookies - kept.name.length - kept.bytes - identityBytes
    clear(reply, others.filter(({ bytes, opened }) => {
      if (opened !== undefined) room -= bytes
      return room < 0 || opened === undefined
    }))
  }

  app.decorateReply('keepIdentification', async function (login, identification) {
    const place = `${identityCookie} ${login.id}`
    const exp = Math.min(app.now() + life.identity, login.exp)
    const sealed = app.sealer.seal('identity', place, identification, exp)
    // what a browser cannot carry the store keeps, and the browser its handle
    const kept = sealed.length <= limit.identityCookie
      ? sealed
      : app.sealer.seal('identity', place, { handle: await app.store.put('identity', identification, life.identity) }, exp)
    const name = loginPrefix + login.id
    makeRoom(this, { name, bytes: this.request.cookies[name]?.length ?? limit.loginCookie }, kept.length)
    this.setCookie(identityCookie, kept, { ...attributes, maxAge: life.identity })
  })

  /** Who came back, as the store keeps it; what another site cannot say soon the provider is asked again. */
  const keptIdentification = (handle: string) => app.isHome(handle)
    ? app.store.get('identity', handle)
    : unlessAway(app.store.get('identity', handle, { patienceMs }), undefined)

  app.decorateRequest('findIdentification', async function (login) {
    const record = app.sealer.open('identity', `${identityCookie} ${login.id}`, this.cookies[identityCookie] ?? '')?.record
    const identification = record !== undefined && 'handle' in record ? await keptIdentification(record.handle) : record
    if (identification !== undefined && app.isRecalled(identification)) return undefined
    if (identification?.sid === undefined) return identification
    const { sid } = identification
    // a session that is over lets nobody in, nor on; nor one of which that cannot be known: the provider is asked again
    return !app.knowsRecalls() || await unlessAway(app.store.ended(sid, { patienceMs: app.isHome(sid) ? undefined : patienceMs }), true) ? undefined : identification
  })
  app.decorateRequest('openIdentification', async function (login) {
    const identification = await this.findIdentification(login)
    if (identification === undefined) throw new OAuthError('identity_expired', 'nobody has come back in this login, or too long ago')
    return identification
  })

  app.decorateReply('dropIdentification', function (login) {
    const held = app.sealer.open('identity', `${identityCookie} ${login.id}`, this.request.cookies[identityCookie] ?? '')
    return held === undefined ? this : this.clearCookie(identityCookie, attributes)
  })

  app.decorateRequest('sessionHandle', function () { return this.cookies[sessionCookie] ?? '' })
  app.decorateReply('keepSession', function (handle) { return this.setCookie(sessionCookie, handle, attributes) })
  app.decorateReply('forgetSession', function () { return this.request.sessionHandle() === '' ? this : this.clearCookie(sessionCookie, attributes) })
  app.decorateReply('dropSession', function () {
    clear(this, loginCookies(this.request).sort((a, b) => Number(b.opened !== undefined) - Number(a.opened !== undefined)))
    return this.clearCookie(sessionCookie, attributes).clearCookie(identityCookie, attributes)
  })

  app.decorateRequest('keptLanguage', function () { return this.cookies[languageCookie] ?? '' })
  app.decorateReply('keepLanguage', function (language) { return this.setCookie(languageCookie, language, attributes) })

  app.decorateRequest('refuseForeignForm', function () {
    const site = this.headers['sec-fetch-site']
    if (site !== undefined && site !== 'same-origin' && site !== 'none') throw new OAuthError('form_cross_site', 'this form was not submitted from our own page')
  })

  app.addHook('onRequest', async request => {
    const purpose = `${String(request.headers['sec-purpose'] ?? '')} ${String(request.headers.purpose ?? '')}`
    if (request.routeOptions.config.audience === 'citizen' && /\bprefetch\b/.test(purpose)) throw new OAuthError('prefetch_refused', 'a login is not fetched ahead')
  })
}, { name: 'browser', dependencies: ['store', 'signer', 'clients'] })

/** Stands for a registered address in the cookie: shorter than the address, and unmoved when the list is put in another order. */
const markOf = (redirect_uri: string) => createHash('sha256').update(redirect_uri).digest('base64url').slice(0, 12)

function tooLarge (request: AuthorizationRequest) {
  const sizes = Object.entries(request).map(([name, value]) => ({ name: parameterNames[name] ?? name, bytes: JSON.stringify(value).length }))
  const [largest] = sizes.sort((a, b) => b.bytes - a.bytes)
  return new OAuthError('request_too_large', `${largest!.name}: the request is too large for a browser to carry`)
}
const parameterNames: Record<string, string> = { scopes: 'scope', essentialAcr: 'claims', userinfoClaims: 'claims', idTokenClaims: 'claims', sub: 'claims' }
