import { randomBytes } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { claimsSent } from '../src/protocol/claims.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import { grantOf } from '../src/protocol/grant.ts'
import type { Identification } from '../src/protocol/identification.ts'
import { withParameters } from '../src/protocol/redirect.ts'
import { life, type Login } from '../src/records.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Whether the citizen reads what is sent before it is. */
    informs (login: Login): boolean
  }
  interface FastifyReply {
    /**
     * Ends a login well: puts its code, and the session with it. Gives the address that takes the code to the client (RFC 6749 §4.1.2, RFC 9207).
     * @throws {OAuthError} account_unknown, store_unavailable
     */
    issueCode (login: Login, identification: Identification): Promise<string>
    /** Ends a login: what the browser carried of it goes, but for a stub for the back button. */
    endLogin (login: Login): FastifyReply
  }
}

/** Milliseconds that a citizen who has logged in waits for the session that he or she had before. */
const patienceMs = 250

/** From who came back to a code for the client. */
export default fp(async app => {
  const { issuer, session: { idle_seconds, life_seconds } } = app.configuration.settings

  app.decorate('informs', login => app.clientOf(login).consent !== 'skip' || (login.request.prompt?.includes('consent') ?? false))

  app.decorateReply('endLogin', function (login) {
    const { id, language, request: { client_id, redirect_uri } } = login
    const stub = { id, language, secret: '', request: { client_id, redirect_uri, scopes: [], acr: '' }, done: true as const, exp: app.now() + life.finished }
    return this.keepLogin(stub).dropIdentification(login)
  })

  app.decorateReply('issueCode', async function (login, identification) {
    const { client_id, code_seconds, sector } = app.clientOf(login)
    const { keys: { subject: secret }, levels: { levels } } = app.configuration
    const grant = grantOf(login.request, identification, { levels, sector, secret })
    const before = identification.sid === undefined ? await earlierSession(this.request) : undefined
    const sid = identification.sid ?? (before?.person === identification.person ? before.sid : randomBytes(32).toString('base64url'))

    const [code, handle] = await Promise.all([
      app.store.put('code', { ...grant, login: login.id, sid }, code_seconds),
      // authenticated anew: a new handle, whatever becomes of the old one
      identification.sid === undefined ? app.store.put('session', { ...identification, sid, exp: app.now() + life_seconds }, idle_seconds) : undefined,
      before === undefined ? undefined : app.store.end({ session: this.request.sessionHandle() }, idle_seconds),
      app.store.enter(sid, { client_id, at: app.now(), claims: [...claimsSent(login.request)] }, life_seconds)
    ])
    if (handle !== undefined) this.keepSession(handle)
    this.endLogin(login)
    return withParameters(login.request.redirect_uri, { code, state: login.request.state, iss: issuer })
  })

  /** The session this browser had, if that can be known soon: what cannot be read is not continued. */
  async function earlierSession (request: FastifyRequest) {
    try { return (await request.findSession({ patienceMs }))?.session } catch (error) {
      if (error instanceof OAuthError && error.failure === 'store_unavailable') return undefined
      throw error
    }
  }
}, { name: 'authorization-response', dependencies: ['browser', 'clients', 'sessions', 'store'] })
