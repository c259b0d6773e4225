import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { reaches } from '../../src/protocol/acr.ts'
import { AuthorizationParameters, parameter } from '../../src/protocol/authorization-request.ts'
import { claimsSent, pick } from '../../src/protocol/claims.ts'
import { failures, OAuthError } from '../../src/protocol/errors.ts'
import { oldestAuthTime } from '../../src/protocol/identification.ts'
import { pairwiseSubject } from '../../src/protocol/subject.ts'
import type { Entered, Login, Session } from '../../src/records.ts'
import { patienceMs, unlessAway } from '../store.ts'
import { showChooser } from './choose.ts'

const querystring = Type.Object({ ...AuthorizationParameters.properties, login: parameter(64), lang: parameter(8) })

type Found = { session: Session, entered: Entered[] }

/** Authorization endpoint (RFC 6749 §3.1, OpenID Connect Core §3.1.2): the request comes in, the citizen chooses an identity provider. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  // a shape at fault is told to the client, once we know who it is: hence attachValidation
  app.get('/authorize', { schema: { querystring }, attachValidation: true, config: { audience: 'citizen', rank, ofLogin: 'anyone', step: 'authorize' } }, async (request, reply) => {
    const { query } = request
    const kept = query.client_id === undefined && typeof query.login === 'string'
    if (kept) return begin(request, reply, request.openLogin(query.login), query.idp_hint)
    const { login, idp_hint } = await readRequest(request, query)
    // a pushed request is gone in a minute, its login is not: back and reload lead to that
    return login.request.pushed === undefined ? begin(request, reply, login, idp_hint) : goOn(reply, login, idp_hint)
  })

  // a cross-site POST brings no cookies: the login is kept, and its session looked at by GET
  app.post('/authorize', { schema: { body: AuthorizationParameters }, attachValidation: true, config: { audience: 'citizen', rank: 'beginning', ofLogin: 'anyone', step: 'authorize' } }, async (request, reply) => {
    const { login, idp_hint } = await readRequest(request, request.body ?? {})
    return goOn(reply, login, idp_hint)
  })

  /** A login begins here, or, without a client, goes on. */
  function rank (request: FastifyRequest) {
    const { client_id } = request.query as Record<string, unknown>
    if (client_id === undefined) return request.bringsLogin() ? 'under_way' : 'nowhere'
    return app.client(client_id) === undefined ? 'nowhere' : 'beginning'
  }

  /** By GET to the same path, where the login is kept. */
  const goOn = (reply: FastifyReply, login: Login, idp_hint: string | undefined) => reply.keepLogin(login).redirect(app.ownAddress('/authorize', login, { idp_hint }), 303)

  async function readRequest (request: FastifyRequest, parameters: AuthorizationParameters) {
    const { request: asked, idp_hint } = await request.readAuthorizationRequest(parameters)
    request.login = request.newLogin(asked, request.citizenLanguage())
    request.event('authorize', { acr: asked.acr })
    return { login: request.login, idp_hint }
  }

  async function begin (request: FastifyRequest, reply: FastifyReply, login: Login, hint: unknown) {
    const silent = login.request.prompt?.includes('none') ?? false
    request.step = silent ? 'sso_used' : 'chooser_shown'
    const found = await singleSignOn(request, login, silent)
    if (typeof found === 'object') return enter(request, reply, login, found)
    if (silent) throw new OAuthError(found, 'the citizen has to be asked, and prompt=none forbids it')

    const client = app.clientOf(login)
    const hinted = client.idp_hints.find(idp => idp === hint)
    const obstacle = hinted === undefined ? undefined : app.obstacleTo(hinted, client, login.request)
    if (hinted !== undefined && obstacle === undefined) {
      reply.keepLogin(login)
      request.event('hinted', { idp: hinted })
      return reply.redirect(app.ownAddress(`/login/${hinted}`, login), 303)
    }
    return showChooser(app, request, reply, login, obstacle === undefined ? {} : { notice: failures[obstacle].notice, idp: hinted })
  }

  /** The session that spares the citizen the provider, or what is asked of the citizen instead (OpenID Connect Core §3.1.2.3, §3.1.2.6). */
  async function singleSignOn (request: FastifyRequest, login: Login, silent: boolean): Promise<Found | 'login_required' | 'interaction_required' | 'account_selection_required'> {
    const { prompt = [], max_age, acr, sub } = login.request
    const client = app.clientOf(login)
    if (request.sessionHandle() === '' || !client.sso || prompt.includes('login') || prompt.includes('select_account') || max_age === 0) return 'login_required'
    // a session that cannot be read soon means: ask the provider again; where that is forbidden, say that we cannot know
    const looked = request.findSession({ slide: true, patienceMs, withEntered: silent })
    const found = await (silent ? looked : unlessAway(looked, undefined))
    if (found === undefined) return 'login_required'

    const { session } = found
    const { levels: { levels }, ssoLevels, keys } = app.configuration
    if (sub !== undefined && sub !== pairwiseSubject(keys.subject, session.person, client.sector)) return 'login_required'
    const oldest = oldestAuthTime({ max_age }, app.now(), app.now())
    if (oldest !== undefined && (session.authTimeAssumed || session.auth_time < oldest)) return 'login_required'
    if (!ssoLevels.includes(acr) || !reaches(levels, session.acr, acr)) return 'interaction_required'
    const obstacle = app.obstacleTo(session.idp, client, login.request)
    if (obstacle === 'fresh_login_unprovable') return 'login_required'  // when it authenticated the citizen nobody knows
    return obstacle === 'provider_unknown' || obstacle === 'provider_not_allowed' ? 'account_selection_required' : found
  }

  async function enter (request: FastifyRequest, reply: FastifyReply, login: Login, { session: { exp, id_token, login: session_of, ...session }, entered }: Found) {
    request.event('sso_used', { idp: session.idp, acr: session.acr, session_of })
    const sent = claimsSent(login.request)
    const identification = { ...session, claims: pick(session.claims, sent) }
    if (login.request.prompt?.includes('none')) {
      const agreed = entered.find(({ client_id }) => client_id === login.request.client_id)?.claims ?? []
      if (app.informs(login) && ![...sent].every(name => agreed.includes(name))) throw new OAuthError('consent_required', 'the citizen has not read yet what this client is sent')
    } else if (app.informs(login)) {
      await reply.keepLogin(login).keepIdentification(login, identification)
      return reply.redirect(app.ownAddress('/consent', login), 303)
    }
    return reply.issueCode(login, identification)
  }
}

export default fp(plugin, { name: 'authorize', encapsulate: true, dependencies: ['pages', 'clients', 'sessions', 'signer', 'identity-providers', 'authorization-requests', 'authorization-response'] })
