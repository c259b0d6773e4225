import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { chooserPage, notices, type Notice, type ProviderCard } from '../../src/pages/chooser.ts'
import { reaches } from '../../src/protocol/acr.ts'
import { AuthorizationParameters, checkAuthorizationRequest, checkClientAndAddress, parameter } from '../../src/protocol/authorization-request.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { oldestAuthTime } from '../../src/protocol/identification.ts'
import { pairwiseSubject } from '../../src/protocol/subject.ts'
import type { Identification, Login, Session } from '../../src/records.ts'
import type { Obstacle } from '../identity-providers.ts'
import { clientOf } from '../browser.ts'

const querystring = Type.Object({ ...AuthorizationParameters.properties, login: parameter(64), notice: parameter(64), idp: parameter(32), lang: parameter(8) })

/** Authorization endpoint (RFC 6749 §3.1, OpenID Connect Core §3.1.2): the request comes in, the citizen chooses an identity provider. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  // a shape at fault is told to the client, once we know who it is: hence attachValidation
  app.get('/authorize', { schema: { querystring }, attachValidation: true, config: { audience: 'citizen' } }, async (request, reply) => {
    const { query } = request
    if (query.client_id === undefined && typeof query.login === 'string') {
      const login = request.openLogin(query.login)
      return query.notice === undefined ? begin(request, reply, login, query.idp_hint) : chooser(request, reply, login, query)
    }
    return begin(request, reply, await readRequest(request, query), query.idp_hint)
  })

  // a cross-site POST brings no cookies: the login is kept, and its session looked at by GET
  app.post('/authorize', { schema: { body: AuthorizationParameters }, attachValidation: true, config: { audience: 'citizen' } }, async (request, reply) => {
    const login = await readRequest(request, request.body ?? {})
    const hint = request.body?.idp_hint
    return reply.keepLogin(login).redirect(app.ownAddress('/authorize', login, { idp_hint: hint }), 303)
  })

  async function readRequest (request: FastifyRequest, parameters: AuthorizationParameters) {
    const client = checkClientAndAddress(app.client(parameters.client_id), parameters.redirect_uri)
    const { redirect_uri, state } = parameters
    request.service = client
    request.returnAddress = { redirect_uri: redirect_uri!, ...(typeof state === 'string' ? { state } : {}) }
    if (request.validationError) throw request.validationError
    const checked = checkAuthorizationRequest(parameters, client, app.configuration.levels)
    const sub = await hintedSubject(parameters.id_token_hint, client.client_id)
    if (sub !== undefined && checked.sub !== undefined && sub !== checked.sub) throw new OAuthError('parameter_invalid', 'id_token_hint: not the sub that claims asks for')
    request.login = request.newLogin(sub === undefined ? checked : { ...checked, sub }, request.citizenLanguage(parameters.ui_locales))
    return request.login
  }

  /** Whom the client's own ID Token names: nobody else will do (OpenID Connect Core §3.1.2.2). */
  async function hintedSubject (id_token_hint: string | undefined, client_id: string) {
    if (id_token_hint === undefined) return undefined
    const hint = await app.signer.verify(id_token_hint)
    if (hint?.aud !== client_id) throw new OAuthError('parameter_invalid', 'id_token_hint: not an ID Token of ours for this client')
    return hint.sub
  }

  async function begin (request: FastifyRequest, reply: FastifyReply, login: Login, hint: string | undefined) {
    const entered = await singleSignOn(request, login)
    if (entered !== undefined) return enter(reply, login, entered)
    if (login.request.prompt?.includes('none')) throw new OAuthError('login_required', 'the citizen has to log in')
    if (hint !== undefined && clientOf(app, login).idp_hints.includes(hint) && app.obstacleTo(hint, clientOf(app, login), login.request.acr) === undefined) {
      return reply.keepLogin(login).redirect(app.ownAddress(`/login/${hint}`, login), 303)
    }
    return chooser(request, reply, login, {})
  }

  /** The session that spares the citizen the provider, if there is one that will do (OpenID Connect Core §3.1.2.3). */
  async function singleSignOn (request: FastifyRequest, login: Login): Promise<Session | undefined> {
    const { prompt = [], max_age, acr } = login.request
    const client = clientOf(app, login)
    const handle = request.sessionHandle()
    if (handle === '' || !client.sso || prompt.includes('login') || prompt.includes('select_account') || max_age === 0) return undefined
    const session = await readSession(handle, prompt.includes('none'))
    if (session === undefined || !app.configuration.ssoLevels.includes(acr) || !reaches(app.configuration.levels.levels, session.acr, acr)) return undefined
    const obstacle = app.obstacleTo(session.idp, client, acr)
    if (obstacle === 'provider_unknown' || obstacle === 'provider_not_allowed') return undefined
    if (login.request.sub !== undefined && login.request.sub !== pairwiseSubject(app.configuration.keys.subject, session.person, client.sector)) return undefined
    const oldest = oldestAuthTime({ max_age }, app.now(), app.now())
    return oldest === undefined || session.auth_time >= oldest ? session : undefined
  }

  /** A session that cannot be read soon means: ask the provider again; where that is forbidden, say that we cannot know. */
  async function readSession (handle: string, silent: boolean) {
    const { idle_seconds } = app.configuration.settings.session
    try {
      const session = await app.store.get('session', handle, { slideSeconds: idle_seconds, patienceMs: 250 })
      if (session === undefined || session.exp <= app.now() || await app.store.ended(session.sid, { patienceMs: 250 })) return undefined
      return session
    } catch (error) {
      if (silent) throw error
      return undefined
    }
  }

  async function enter (reply: FastifyReply, login: Login, { exp, ...identification }: Session) {
    const { request: { prompt = [] } } = login
    const shown = clientOf(app, login).consent !== 'skip' || prompt.includes('consent')
    if (prompt.includes('none')) {
      if (shown && !await agreedBefore(login, identification)) throw new OAuthError('consent_required', 'the citizen has not read yet what this client is sent')
      return reply.returnToClient(login, identification)
    }
    if (!shown) return reply.returnToClient(login, identification)
    await reply.keepLogin(login).keepIdentification(login, identification)
    return reply.redirect(app.ownAddress('/consent', login), 303)
  }

  /** Whether in this session the citizen read already that this client is told all this. */
  async function agreedBefore (login: Login, { sid }: Identification) {
    const before = (await app.store.entered(sid!)).find(({ client_id }) => client_id === login.request.client_id)
    return before !== undefined && [...app.claimsSent(login, 'everywhere')].every(name => before.claims.includes(name))
  }

  function chooser (request: FastifyRequest, reply: FastifyReply, login: Login, { notice, idp }: { notice?: string | undefined, idp?: string | undefined }) {
    const client = clientOf(app, login)
    const language = request.citizenLanguage()
    const providers = [...app.configuration.identityProviders.values()].filter(({ state }) => state !== 'hidden' && state !== 'disabled').map((registration): ProviderCard => {
      const obstacle = app.obstacleTo(registration.id, client, login.request.acr)
      const message = registration.maintenance?.message?.[language]
      return {
        id: registration.id,
        ...app.party(registration),
        href: app.ownAddress(`/login/${registration.id}`, login),
        state: obstacle === undefined ? registration.state === 'beta' ? 'beta' : 'up' : cardState[obstacle],
        ...(obstacle === 'provider_maintenance' && message !== undefined ? { message } : {})
      }
    })
    const failed = app.configuration.identityProviders.get(idp ?? login.idp ?? '')
    return reply.keepLogin(login).page(chooserPage(request.pageContext(request.chooserHref(login, { notice, idp })), {
      client: app.party(client),
      providers,
      ...(isNotice(notice) ? { notice: { code: notice, ...(failed === undefined ? {} : { provider: failed.title }) } } : {}),
      returnHref: request.wayBack().back!.href
    }))
  }
}

const cardState = {
  provider_unknown: 'not_allowed',
  provider_not_allowed: 'not_allowed',
  provider_maintenance: 'maintenance',
  acr_too_low: 'acr_too_low',
  provider_unavailable: 'down'
} as const satisfies Record<Obstacle, ProviderCard['state']>

const isNotice = (value: string | undefined): value is Notice => (notices as readonly (string | undefined)[]).includes(value)

export default fp(plugin, { name: 'authorize', encapsulate: true, dependencies: ['pages', 'clients', 'identity-providers', 'authorization-response'] })
