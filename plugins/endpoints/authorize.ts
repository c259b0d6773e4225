import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { reaches } from '../../src/protocol/acr.ts'
import { AuthorizationParameters, checkAuthorizationRequest, checkClientAndAddress, parameter } from '../../src/protocol/authorization-request.ts'
import { claimsSent, pick } from '../../src/protocol/claims.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { oldestAuthTime } from '../../src/protocol/identification.ts'
import { pairwiseSubject } from '../../src/protocol/subject.ts'
import type { Entered, Login, Session } from '../../src/records.ts'
import { showChooser } from './choose.ts'

const querystring = Type.Object({ ...AuthorizationParameters.properties, login: parameter(64), lang: parameter(8) })

/** Milliseconds that a citizen waits for a session before being asked to log in. */
const patienceMs = 250

/** Authorization endpoint (RFC 6749 §3.1, OpenID Connect Core §3.1.2): the request comes in, the citizen chooses an identity provider. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  // a shape at fault is told to the client, once we know who it is: hence attachValidation
  app.get('/authorize', { schema: { querystring }, attachValidation: true, config: { audience: 'citizen' } }, async (request, reply) => {
    const { query } = request
    const kept = query.client_id === undefined && typeof query.login === 'string'
    const login = kept ? request.openLogin(query.login) : await readRequest(request, query)
    return begin(request, reply, login, query.idp_hint)
  })

  // a cross-site POST brings no cookies: the login is kept, and its session looked at by GET
  app.post('/authorize', { schema: { body: AuthorizationParameters }, attachValidation: true, config: { audience: 'citizen' } }, async (request, reply) => {
    const login = await readRequest(request, request.body ?? {})
    return reply.keepLogin(login).redirect(app.ownAddress('/authorize', login, { idp_hint: request.body.idp_hint }), 303)
  })

  async function readRequest (request: FastifyRequest, parameters: AuthorizationParameters) {
    const client = checkClientAndAddress(app.client(parameters.client_id), parameters.redirect_uri)
    const { redirect_uri, state } = parameters
    request.cameFrom = client
    request.returnAddress = { redirect_uri: redirect_uri!, ...(typeof state === 'string' ? { state } : {}) }
    if (request.validationError) throw request.validationError
    const checked = checkAuthorizationRequest(parameters, client, app.configuration.levels)
    const sub = await hintedSubject(parameters.id_token_hint, client.client_id)
    if (sub !== undefined && checked.sub !== undefined && sub !== checked.sub) throw new OAuthError('parameter_invalid', 'id_token_hint: not the sub that claims asks for')
    request.uiLocales = parameters.ui_locales ?? ''
    request.login = request.newLogin(sub === undefined ? checked : { ...checked, sub }, request.citizenLanguage())
    return request.login
  }

  /** Whom the client's own ID Token names: nobody else will do (OpenID Connect Core §3.1.2.2). */
  async function hintedSubject (id_token_hint: string | undefined, client_id: string) {
    if (id_token_hint === undefined) return undefined
    const hint = await app.signer.verify(id_token_hint)
    if (hint?.aud !== client_id) throw new OAuthError('parameter_invalid', 'id_token_hint: not an ID Token of ours for this client')
    return hint.sub
  }

  async function begin (request: FastifyRequest, reply: FastifyReply, login: Login, hint: unknown) {
    const silent = login.request.prompt?.includes('none') ?? false
    const found = await singleSignOn(request, login, silent)
    if (found !== undefined) return enter(request, reply, login, found)
    if (silent) throw new OAuthError('login_required', 'the citizen has to log in')

    const client = app.clientOf(login)
    const hinted = client.idp_hints.find(idp => idp === hint)
    if (hinted !== undefined && app.obstacleTo(hinted, client, login.request.acr) === undefined) {
      return reply.keepLogin(login).redirect(app.ownAddress(`/login/${hinted}`, login), 303)
    }
    return showChooser(app, request, reply, login)
  }

  /** The session that spares the citizen the provider, if there is one that will do (OpenID Connect Core §3.1.2.3). */
  async function singleSignOn (request: FastifyRequest, login: Login, silent: boolean) {
    const { prompt = [], max_age, acr, sub } = login.request
    const client = app.clientOf(login)
    if (request.sessionHandle() === '' || !client.sso || prompt.includes('login') || prompt.includes('select_account') || max_age === 0) return undefined
    const found = await lookForSession(request, silent)
    if (found === undefined) return undefined

    const { session } = found
    const { levels: { levels }, ssoLevels, keys } = app.configuration
    if (!ssoLevels.includes(acr) || !reaches(levels, session.acr, acr)) return undefined
    const obstacle = app.obstacleTo(session.idp, client, acr)
    if (obstacle === 'provider_unknown' || obstacle === 'provider_not_allowed') return undefined
    if (sub !== undefined && sub !== pairwiseSubject(keys.subject, session.person, client.sector)) return undefined
    const oldest = oldestAuthTime({ max_age }, app.now(), app.now())
    return oldest === undefined || session.auth_time >= oldest ? found : undefined
  }

  /** A session that cannot be read soon means: ask the provider again; where that is forbidden, say that we cannot know. */
  async function lookForSession (request: FastifyRequest, silent: boolean) {
    try { return await request.findSession({ slide: true, patienceMs, withEntered: silent }) } catch (error) {
      if (!silent && error instanceof OAuthError && error.failure === 'store_unavailable') return undefined
      throw error
    }
  }

  async function enter (request: FastifyRequest, reply: FastifyReply, login: Login, { session: { exp, id_token, ...session }, entered }: { session: Session, entered: Entered[] }) {
    const sent = claimsSent(login.request)
    const identification = { ...session, claims: pick(session.claims, sent) }
    if (login.request.prompt?.includes('none')) {
      const agreed = entered.find(({ client_id }) => client_id === login.request.client_id)?.claims ?? []
      if (app.informs(login) && ![...sent].every(name => agreed.includes(name))) throw new OAuthError('consent_required', 'the citizen has not read yet what this client is sent')
    } else if (app.informs(login)) {
      await reply.keepLogin(login).keepIdentification(login, identification)
      return reply.redirect(app.ownAddress('/consent', login), 303)
    }
    return reply.redirect(await reply.issueCode(login, identification), 303)
  }
}

export default fp(plugin, { name: 'authorize', encapsulate: true, dependencies: ['pages', 'clients', 'sessions', 'signer', 'identity-providers', 'authorization-response'] })
