import { randomBytes } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { claimNames, pick } from '../src/protocol/claims.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import { reportedAcr } from '../src/protocol/acr.ts'
import { withParameters } from '../src/protocol/redirect.ts'
import { pairwiseSubject } from '../src/protocol/subject.ts'
import { life, type Grant, type Identification, type Login } from '../src/records.ts'
import { clientOf } from './browser.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The names of the claims that this login's client will be told, at userinfo or in all. */
    claimsSent (login: Login, where?: 'userinfo' | 'everywhere'): Set<string>
  }
  interface FastifyReply {
    /** Ends a login well: the code is put, the session with it, and the citizen goes back to the client (RFC 6749 §4.1.2, RFC 9207). @throws {OAuthError} account_unknown, store_unavailable */
    returnToClient (login: Login, identification: Identification): Promise<FastifyReply>
    /** Ends a login by the citizen's or our refusal: what the browser carried of it goes. */
    finish (login: Login): FastifyReply
  }
}

/** From who came back to a code for the client. */
export default fp(async app => {
  const { issuer, session: { idle_seconds, life_seconds } } = app.configuration.settings

  app.decorate('claimsSent', ({ request: { scopes, userinfoClaims = [], idTokenClaims = [] } }, where = 'userinfo') =>
    claimNames(scopes, where === 'userinfo' ? userinfoClaims : [...userinfoClaims, ...idTokenClaims]))

  app.decorateReply('finish', function (login) {
    const { id, language, request: { client_id, redirect_uri } } = login
    const left = { id, language, secret: '', request: { client_id, redirect_uri, scopes: [], acr: '' }, done: true as const, exp: app.now() + life.finished }
    return this.keepLogin(left).dropIdentification(login)
  })

  app.decorateReply('returnToClient', async function (login, identification) {
    const { client_id, code_seconds } = clientOf(app, login)
    const facts = factsOf(login, identification)
    const { sid, put } = identification.sid === undefined ? await session(this.request, identification) : { sid: identification.sid, put: undefined }
    const [code, handle] = await Promise.all([
      app.store.put('code', { ...facts, sid }, code_seconds),
      put?.(),
      app.store.enter(sid, { client_id, at: app.now(), claims: [...app.claimsSent(login, 'everywhere')] }, life_seconds)
    ])
    if (handle !== undefined) this.keepSession(handle)
    this.finish(login)
    return this.redirect(withParameters(login.request.redirect_uri, { code, state: login.request.state, iss: issuer }), 303)
  })

  /** What the client will be told, cut to what it asked for. */
  function factsOf (login: Login, { person, claims, acr, amr, auth_time, idp, sid }: Identification): Omit<Grant, 'sid'> {
    const { request } = login
    const { sector } = clientOf(app, login)
    const sub = pairwiseSubject(app.configuration.keys.subject, person, sector)
    if (request.sub !== undefined && request.sub !== sub) throw new OAuthError('account_unknown', 'sub: another account was asked for')
    const all = { ...claims, idp_id: idp, amr }
    return {
      login: login.id,
      client_id: request.client_id,
      redirect_uri: request.redirect_uri,
      scopes: request.scopes,
      ...(request.code_challenge === undefined ? {} : { code_challenge: request.code_challenge }),
      ...(request.nonce === undefined ? {} : { nonce: request.nonce }),
      sub,
      claims: pick(all, app.claimsSent(login)),
      ...(request.idTokenClaims === undefined ? {} : { idTokenClaims: pick(all, new Set(request.idTokenClaims)) }),
      // a session lets in at the level that was asked: more was not shown this time
      acr: reportedAcr(app.configuration.levels.levels, sid === undefined ? acr : request.acr, request.essentialAcr),
      amr,
      auth_time,
      idp
    }
  }

  /** The session of a citizen who authenticated: a new handle each time, the same `sid` while it is the same person. */
  async function session (request: FastifyRequest, identification: Identification) {
    const before = await earlierSession(request.sessionHandle())
    const sid = before?.person === identification.person ? before.sid : randomBytes(32).toString('base64url')
    return {
      sid,
      async put () {
        const [handle] = await Promise.all([
          app.store.put('session', { ...identification, sid, exp: app.now() + life_seconds }, idle_seconds),
          before === undefined ? undefined : app.store.end({ session: request.sessionHandle() }, idle_seconds)
        ])
        return handle
      }
    }
  }

  /** The session this browser had, if that can be known soon: what cannot be read is not continued. */
  async function earlierSession (handle: string) {
    if (handle === '') return undefined
    const session = await app.store.get('session', handle, { patienceMs: 250 }).catch(() => undefined)
    if (session === undefined || session.exp <= app.now()) return undefined
    return await app.store.ended(session.sid, { patienceMs: 250 }).catch(() => true) ? undefined : session
  }
}, { name: 'authorization-response', dependencies: ['browser', 'store'] })
