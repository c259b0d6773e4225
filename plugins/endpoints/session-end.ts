import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { within } from '../../src/adapters/record-store.ts'
import type { Client } from '../../src/config/load.ts'
import { loggedOutPage } from '../../src/pages/logged-out.ts'
import { logOutPage } from '../../src/pages/log-out.ts'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { checkLogoutAddress, leavingClient, LogoutParameters } from '../../src/protocol/logout.ts'
import { homeOf, withParameters } from '../../src/protocol/redirect.ts'
import { clientSessionId } from '../../src/protocol/subject.ts'
import { life, type SealedRecords, type Session } from '../../src/records.ts'
import { patienceMs, unlessAway } from '../store.ts'

const querystring = Type.Object({ ...LogoutParameters.properties, posted: parameter(8000), lang: parameter(8) })
const body = Type.Object({ ...LogoutParameters.properties, posted: parameter(8000), decision: Type.Optional(Type.Enum(['log-out', 'stay'])) })

/** What a logout request means, once it is checked. */
interface Logout { client?: Client | undefined, post_logout_redirect_uri?: string | undefined, state?: string | undefined, sid?: unknown }

/** End session endpoint (RP-Initiated Logout §2): logged out here, at the identity provider, and sent back to the client. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  const { base, settings: { issuer } } = app.configuration

  app.get('/session/end', { schema: { querystring }, config: { audience: 'citizen', rank: 'ending', step: 'logout_asked' } }, async (request, reply) => {
    const parameters = open('posted', request.query.posted) ?? request.query
    request.uiLocales = parameters.ui_locales ?? ''
    const logout = await read(request, parameters)
    request.event('logout_asked')
    const session = await unlessAway(currentSession(request), 'unknown' as const)
    // whoever led the browser here ends no login that is on its way in another tab
    if (session === undefined) return goOn(request, reply.forgetSession(), afterwards(logout))
    const isProved = session !== 'unknown' && logout.client !== undefined && logout.sid === clientSessionId(app.configuration.keys.subject, session.sid, logout.client.client_id)
    return isProved ? end(request, reply, logout, session) : ask(request, reply, logout, parameters)
  })

  // by a client across sites, which brings no cookies: sealed, and on by GET. Or our own form, which asked the citizen.
  app.post('/session/end', { schema: { body }, config: { audience: 'citizen', rank: 'ending', step: 'logout_asked' } }, async (request, reply) => {
    const { posted, decision, id_token_hint, client_id, post_logout_redirect_uri, state, ui_locales } = request.body
    if (decision === undefined) {
      const parameters = { id_token_hint, client_id, post_logout_redirect_uri, state, ui_locales }
      await read(request, parameters)
      const sealed = seal('posted', parameters, life.posted)
      if (sealed.length > longestAddress) throw new OAuthError('logout_request_invalid', 'id_token_hint: too large to be carried on, expected a GET or fewer parameters')
      return reply.redirect(`${base}/session/end?posted=${sealed}`, 303)
    }
    request.refuseForeignForm()
    const asked = open(formOf(request), posted)
    // made for another session, or too long ago: ask again, unless it has already been done
    if (asked === undefined) return request.sessionHandle() === '' ? goOn(request, reply, {}) : reply.redirect(`${base}/session/end`, 303)
    const logout = await read(request, asked)
    if (decision === 'stay') return reply.redirect((logout.client && homeOf(logout.client)) ?? `${base}/session/end`, 303)
    const session = await recorded(reply, currentSession(request))
    return session === undefined ? goOn(request, reply.dropSession(), afterwards(logout)) : end(request, reply, logout, session)
  })

  // the identity provider sends the citizen back here
  app.get('/session/ended', { schema: { querystring: Type.Object({ state: parameter(8000), lang: parameter(8) }) }, config: { audience: 'citizen', rank: 'ending', step: 'upstream_logout' } }, async (request, reply) => {
    const { state } = request.query
    const onward = state === undefined ? undefined : app.sealer.open('logout', 'state', state)?.record
    request.cameFrom = app.client(onward?.client_id) ?? null
    if (onward === undefined && request.sessionHandle() !== '') return reply.redirect(`${base}/session/end`, 303)  // no link may say that it ended
    return goOn(request, reply, onward ?? {})
  })

  const seal = (place: string, parameters: LogoutParameters, seconds: number) => app.sealer.seal('posted', place, parameters, app.now() + seconds)
  const open = (place: string, posted: string | undefined) => posted === undefined ? undefined : app.sealer.open('posted', place, posted)?.record
  /** Our form is good in the browser that it was shown in. */
  const formOf = (request: FastifyRequest) => `form ${request.sessionHandle()}`

  async function read (request: FastifyRequest, parameters: LogoutParameters): Promise<Logout> {
    const hint = parameters.id_token_hint === undefined ? undefined : await app.signer.verify(parameters.id_token_hint)
    const client = app.client(leavingClient(parameters, hint))
    const post_logout_redirect_uri = checkLogoutAddress(parameters, client)
    request.cameFrom = client ?? null
    return { client, post_logout_redirect_uri, state: parameters.state, sid: hint?.sid }
  }

  async function currentSession (request: FastifyRequest) {
    return request.sessionHandle() === '' ? undefined : (await request.findSession())?.session
  }

  /** When the store cannot say or keep it, the cookies of a citizen who wants it go all the same, and the citizen is told. */
  async function recorded<T> (reply: FastifyReply, answer: Promise<T>) {
    try { return await answer } catch (cause) {
      reply.dropSession()
      throw new OAuthError('logout_not_recorded', 'the end of the session could not be recorded', { cause })
    }
  }

  /** Ends here first: the cookies and the session, whatever the provider does; then there, if it has a logout and is up. */
  async function end (request: FastifyRequest, reply: FastifyReply, logout: Logout, { sid, person, idp, id_token, login = '' }: Session) {
    request.loginId = login
    // whatever the settings are today: what stands on this sid may have been opened by others
    await recorded(reply, Promise.all([
      app.store.end({ sid }, life.session + life.token),
      app.store.end({ session: request.sessionHandle() }, life.session)
    ]))
    reply.dropSession()
    request.event('session_ended', { idp })
    app.tellLogout({ sid, person })
    const onward = { ...afterwards(logout), sid }
    const question = { id_token_hint: id_token, post_logout_redirect_uri: `${issuer}/session/ended`, state: sealOnward(onward) }
    const upstream = app.configuration.identityProviders.has(idp) ? await app.identityProvider(idp).endSessionUrl(question) : undefined
    if (upstream === undefined) return goOn(request, reply, onward)
    request.event('upstream_logout', { idp })
    return reply.redirect(upstream.href, 303)
  }

  const afterwards = ({ client, post_logout_redirect_uri, state }: Logout): SealedRecords['logout'] => ({ client_id: client?.client_id, post_logout_redirect_uri, state })
  const sealOnward = (onward: SealedRecords['logout']) => app.sealer.seal('logout', 'state', onward, app.now() + life.logout)

  /** To the client's address, checked again against the configuration in force, or to a page of ours. */
  async function goOn (request: FastifyRequest, reply: FastifyReply, onward: SealedRecords['logout']) {
    const { client_id, post_logout_redirect_uri, state, sid } = onward
    const client = app.client(client_id)
    if (post_logout_redirect_uri !== undefined && client?.post_logout_redirect_uris.includes(post_logout_redirect_uri)) {
      return reply.redirect(withParameters(post_logout_redirect_uri, { state }), 303)
    }
    // where the citizen may still be logged in: good to know, worth neither a failure nor a wait
    const entered = sid === undefined ? [] : await within(patienceMs, app.store.entered(sid)).catch(() => [])
    const clients = entered.filter(other => other.client_id !== client_id).map(other => app.client(other.client_id))
      .filter(other => other !== undefined && other.backchannel_logout_uri === undefined).map(other => other!.title)
    const home = client && homeOf(client)
    return reply.page(loggedOutPage(request.pageContext(`${base}/session/ended?state=${sealOnward(onward)}`), {
      clients,
      ...(home === undefined ? {} : { back: { href: home, title: client!.title } })
    }))
  }

  /** A logout that does not prove to come from this session, or of which that cannot be known, asks first (RP-Initiated Logout §2). */
  function ask (request: FastifyRequest, reply: FastifyReply, { client, post_logout_redirect_uri }: Logout, { id_token_hint, client_id, state }: LogoutParameters) {
    const providers = [...app.configuration.identityProviders.values()].flatMap(({ issuer, endpoints }) => [issuer, endpoints?.end_session_endpoint ?? issuer])
    return reply.formsEndAt(post_logout_redirect_uri, ...providers).page(logOutPage(request.pageContext(), {
      ...(client === undefined ? {} : { client: app.party(client) }),
      action: `${base}/session/end`,
      fields: { posted: seal(formOf(request), { id_token_hint, client_id, post_logout_redirect_uri, state }, life.logout) }
    }))
  }
}

/** Characters that every proxy takes in an address. */
const longestAddress = 7000

export default fp(plugin, { name: 'session-end', encapsulate: true, dependencies: ['pages', 'clients', 'sessions', 'identity-providers', 'signer', 'back-channel-logout'] })
