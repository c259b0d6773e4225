import type { FastifyReply } from 'fastify'
import fp from 'fastify-plugin'
import { isSealedHandle, newHandle } from '../src/adapters/handles.ts'
import { inTime } from '../src/adapters/in-time.ts'
import { longest } from '../src/config/schema.ts'
import { continuePage } from '../src/pages/continue.ts'
import { claimsSent } from '../src/protocol/claims.ts'
import { mayDegrade } from '../src/protocol/degraded.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import { grantOf, type Grant } from '../src/protocol/grant.ts'
import type { Identification } from '../src/protocol/identification.ts'
import { withParameters } from '../src/protocol/redirect.ts'
import { pairwiseSubject } from '../src/protocol/subject.ts'
import { life, limit, type Login } from '../src/records.ts'
import type { IfAway } from '../src/ports.ts'
import type { ReturnAddress } from './browser.ts'
import { patienceMs, unlessAway } from './store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether the citizen reads what is sent before it is. */
    informs (login: Login): boolean
  }
  interface FastifyRequest {
    /** whether it brought a login to its end: the code is on its way to the client */
    hasCode: boolean
  }
  interface FastifyReply {
    /**
     * Ends a login well: puts its code, and the session with it, and takes the code to the client (RFC 6749 §4.1.2, RFC 9207).
     * @throws {OAuthError} account_unknown, request_uri_invalid, store_unavailable
     */
    issueCode (login: Login, identification: Identification): Promise<FastifyReply>
    /** Takes an answer to the client: by a redirect, or by a form that the browser submits (Form Post Response Mode §2). */
    returnTo (address: ReturnAddress, parameters: Record<string, string>): FastifyReply
    /** Ends a login: what the browser carried of it goes, but for a stub for the back button. */
    endLogin (login: Login): FastifyReply
  }
}

/** From who came back to a code for the client. */
export default fp(async app => {
  const { issuer, site } = app.configuration.settings

  app.decorate('informs', login => app.clientOf(login).consent !== 'skip' || (login.request.prompt?.includes('consent') ?? false))

  app.decorateReply('endLogin', function (login) {
    const { id, language, request: { client_id, redirect_uri } } = login
    const stub = { id, language, secret: '', request: { client_id, redirect_uri, scopes: [], acr: '' }, done: true as const, exp: app.now() + life.finished }
    return this.keepLogin(stub).dropIdentification(login)
  })

  const answerOf = ({ state }: ReturnAddress, parameters: Record<string, string>) => ({ ...parameters, ...(state === undefined ? {} : { state }), iss: issuer })
  /** Whether a proxy takes the address that takes this code to the client. */
  const fits = (address: ReturnAddress, code: string) => address.response_mode === 'form_post' || withParameters(address.redirect_uri, answerOf(address, { code })).length <= limit.sealedAddress

  app.decorateReply('returnTo', function (address, parameters) {
    const { redirect_uri, response_mode } = address
    const answer = answerOf(address, parameters)
    if (response_mode !== 'form_post') return this.redirect(withParameters(redirect_uri, answer), 303)
    this.runsScript = true
    const { switchHref, ...context } = this.request.pageContext()      // there is nothing to read twice
    return this.formsEndAt(redirect_uri).page(continuePage(context, {
      client: app.party(this.request.cameFrom!),
      action: redirect_uri,
      fields: answer,
      script: app.submitScript
    }))
  })

  app.decorateRequest('hasCode', false)
  app.decorateReply('issueCode', async function (login, identification): Promise<FastifyReply> {
    const client = app.clientOf(login)
    const { client_id, code_seconds, sector } = client
    const { keys: { subject: secret }, levels: { levels }, settings: { session: { idle_seconds, life_seconds } } } = app.configuration
    const grant = grantOf(login.request, identification, { levels, sector, secret })
    const degradable = mayDegrade(client, login.request, grant.acr, levels[0]!)
    const [found, first] = await Promise.all([
      // what cannot be read soon is not continued
      identification.sid === undefined ? unlessAway(this.request.findSession({ patienceMs }), undefined) : undefined,
      firstOfPushed(login, degradable)
    ])
    if (!first) throw new OAuthError('request_uri_invalid', 'request_uri: already used')
    const before = found?.session
    const sid = identification.sid ?? (before?.person === identification.person ? before.sid : newHandle(site))

    // authenticated anew: a new handle, whatever becomes of the old one; without a session the next service asks the provider again
    const putSession = async (ifAway: IfAway) => identification.sid === undefined
      ? unlessAway(app.store.put('session', { ...identification, sid, client_id, login: login.id, exp: app.now() + life_seconds }, idle_seconds, { ifAway }), undefined)
      : undefined
    const [code, soon] = await Promise.all([
      putCode(login.request, { ...grant, login: login.id, sid, issuedAt: app.now() }, code_seconds, degradable),
      putSession('give up'),
      before === undefined ? undefined : noted(app.store.end({ session: this.request.sessionHandle() }, idle_seconds)),
      // as long as any session: this one may have been opened by other settings, and its clients are told when it ends
      noted(app.store.enter(sid, { client_id, at: app.now(), claims: [...claimsSent(login.request)] }, life.session))
    ])
    // where the code was kept the session can be, too: without it no logout would reach the code's token
    const handle = soon ?? (isSealedHandle(code) ? undefined : await putSession('wait'))
    // a former session in this browser may be another person's
    if (handle !== undefined && !isSealedHandle(code)) {
      this.keepSession(handle)
      app.countSession()
    } else if (identification.sid === undefined) this.forgetSession()
    this.request.hasCode = true
    const { idp, acr, person } = identification
    this.request.event('returned', { idp, acr: grant.acr, degraded: isSealedHandle(code) ? true : undefined })
    const notified = app.client(app.configuration.settings.login_notices.client_id)
    if (notified !== undefined) this.request.event('login_notice', { idp, acr, sub: pairwiseSubject(secret, person, notified.sector) })
    return this.endLogin(login).returnTo(login.request, { code })
  })

  async function putCode (address: ReturnAddress, grant: Grant, seconds: number, degradable: boolean) {
    const code = await app.store.put('code', grant, seconds, { ifAway: degradable ? 'seal' : 'wait' })
    return isSealedHandle(code) && !fits(address, code) ? app.store.put('code', grant, seconds, { ifAway: 'wait' }) : code
  }

  /**
   * A pushed request is good for one login, at the site that gave it and then at this one. That one may be lost, and is not waited for; nor is the store at home, where the
   * login may do without it. What cannot be known soon is believed, and counted.
   */
  async function firstOfPushed ({ id, request: { pushed } }: Login, degradable: boolean) {
    if (pushed === undefined) return true
    const ask = (at?: string, patience?: number) => app.store.once(`pushed ${pushed}`, life.login + longest.request_uri_seconds, { by: id, at, patienceMs: patience })
    const soon = (at?: string) => unlessAway(ask(at, patienceMs), undefined)
    const there = app.isHome(pushed) || await soon(pushed)
    const here = there !== false && await (degradable ? soon() : ask())  // only then: who is refused there must not be the first here
    if (here !== false && (here === undefined || there === undefined)) app.countUncheckedReplay()
    return here ?? true
  }

  /** What a session notes of a login keeps nobody: a store that is slow notes it behind the citizen's back, and one that never did is counted. */
  async function noted (note: Promise<void>) {
    const done = note.catch(error => {
      app.countLostNote()
      app.log.warn({ err: error }, 'a session did not note a login')
    })
    await inTime(patienceMs, done, () => new Error('late')).catch(() => {})
  }
}, { name: 'authorization-response', dependencies: ['browser', 'clients', 'pages', 'security-headers', 'sessions', 'store'] })
