import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import type { Client } from '../../src/config/load.ts'
import { loggedOutPage } from '../../src/pages/logged-out.ts'
import { logOutPage } from '../../src/pages/log-out.ts'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { checkLogoutAddress, leavingClient, LogoutParameters } from '../../src/protocol/logout.ts'
import { withParameters } from '../../src/protocol/redirect.ts'
import { clientSessionId } from '../../src/protocol/subject.ts'
import { life, type SealedRecords, type Session } from '../../src/records.ts'

const querystring = Type.Object({ ...LogoutParameters.properties, posted: parameter(12000), lang: parameter(8) })
const body = Type.Object({ ...LogoutParameters.properties, posted: parameter(12000), decision: Type.Optional(Type.Enum(['log-out', 'stay'])) })

/** What a logout request means, once it is checked. */
interface Logout { client?: Client | undefined, post_logout_redirect_uri?: string | undefined, state?: string | undefined, sid?: unknown }

/** End session endpoint (RP-Initiated Logout §2): logged out here, at the identity provider, and sent back to the client. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  const { base, settings: { issuer, session: { life_seconds } } } = app.configuration

  app.get('/session/end', { schema: { querystring }, config: { audience: 'citizen' } }, async (request, reply) => {
    const parameters = openPosted(request.query.posted) ?? request.query
    const logout = await read(parameters)
    const session = await currentSession(request, reply)
    if (session === undefined) return goOn(request, reply.dropSession(), await afterwards(request, logout))
    const known = logout.client !== undefined && logout.sid === clientSessionId(app.configuration.keys.subject, session.sid, logout.client.client_id)
    return known ? end(request, reply, logout, session) : ask(request, reply, logout, parameters)
  })

  // by a client across sites, which brings no cookies: sealed, and on by GET. Or our own form, which asked the citizen.
  app.post('/session/end', { schema: { body }, config: { audience: 'citizen' } }, async (request, reply) => {
    const { posted, decision, ...parameters } = request.body
    if (decision === undefined) {
      await read(parameters)
      return reply.redirect(`${base}/session/end?posted=${app.sealer.seal('posted', 'logout', parameters, app.now() + life.posted)}`, 303)
    }
    request.refuseForeignForm()
    const logout = await read(openPosted(posted) ?? {})
    if (decision === 'stay') return reply.redirect(logout.client === undefined ? `${base}/session/end` : app.homeOf(logout.client), 303)
    const session = await currentSession(request, reply)
    return session === undefined ? goOn(request, reply.dropSession(), await afterwards(request, logout)) : end(request, reply, logout, session)
  })

  // the identity provider sends the citizen back here
  app.get('/session/ended', { schema: { querystring: Type.Object({ state: parameter(12000), lang: parameter(8) }) }, config: { audience: 'citizen' } }, async (request, reply) => {
    const opened = request.query.state === undefined ? undefined : app.sealer.open('logout', 'state', request.query.state)?.record
    return goOn(request, reply, opened ?? { language: request.citizenLanguage(), clients: [] })
  })

  const openPosted = (posted: string | undefined) => posted === undefined ? undefined : app.sealer.open('posted', 'logout', posted)?.record as LogoutParameters | undefined

  async function read (parameters: LogoutParameters): Promise<Logout> {
    const hint = parameters.id_token_hint === undefined ? undefined : await app.signer.verify(parameters.id_token_hint)
    const client = app.client(leavingClient(parameters, hint))
    return { client, post_logout_redirect_uri: checkLogoutAddress(parameters, client), state: parameters.state, sid: hint?.sid }
  }

  /** This browser's session. When it cannot be known its cookies go all the same, and the citizen is told. */
  async function currentSession (request: FastifyRequest, reply: FastifyReply) {
    const handle = request.sessionHandle()
    return handle === '' ? undefined : recorded(reply, app.store.get('session', handle))
  }

  async function recorded<T> (reply: FastifyReply, answer: Promise<T>) {
    try { return await answer } catch (cause) {
      reply.dropSession()
      throw new OAuthError('logout_not_recorded', 'the end of the session could not be recorded', { cause })
    }
  }

  /** Ends here first: the cookies and the session, whatever the provider does; then there, if it has a logout and is up. */
  async function end (request: FastifyRequest, reply: FastifyReply, logout: Logout, { sid, idp, id_token }: Session) {
    reply.dropSession()
    const [entered] = await recorded(reply, Promise.all([
      app.store.entered(sid),
      app.store.end({ sid }, life_seconds + longestToken),
      app.store.end({ session: request.sessionHandle() }, life_seconds)
    ]))
    const titles = entered.filter(({ client_id }) => client_id !== logout.client?.client_id).map(({ client_id }) => app.client(client_id)?.title).filter(title => title !== undefined)
    const onward = await afterwards(request, logout, titles)
    const state = app.sealer.seal('logout', 'state', onward, app.now() + life.logout)
    const upstream = await app.identityProvider(idp).endSessionUrl({ id_token_hint: id_token, post_logout_redirect_uri: `${issuer}/session/ended`, state }).catch(() => undefined)
    return upstream === undefined ? goOn(request, reply, onward) : reply.redirect(upstream.href, 303)
  }

  async function afterwards (request: FastifyRequest, { client, post_logout_redirect_uri, state }: Logout, clients: string[] = []): Promise<SealedRecords['logout']> {
    return {
      language: request.citizenLanguage(),
      clients,
      ...(client === undefined ? {} : { client_id: client.client_id }),
      ...(post_logout_redirect_uri === undefined ? {} : { post_logout_redirect_uri }),
      ...(state === undefined ? {} : { state })
    }
  }

  /** To the client's address, checked again against the configuration in force, or to a page of ours. */
  function goOn (request: FastifyRequest, reply: FastifyReply, { client_id, post_logout_redirect_uri, state, clients }: SealedRecords['logout']) {
    const client = app.client(client_id)
    if (post_logout_redirect_uri !== undefined && client?.post_logout_redirect_uris.includes(post_logout_redirect_uri)) {
      return reply.redirect(withParameters(post_logout_redirect_uri, { state }), 303)
    }
    return reply.page(loggedOutPage(request.pageContext(`${base}/session/ended`), { clients, ...(client === undefined ? {} : { back: { href: app.homeOf(client), title: client.title } }) }))
  }

  /** A logout that does not prove to come from this session asks first (RP-Initiated Logout §2). */
  function ask (request: FastifyRequest, reply: FastifyReply, { client }: Logout, parameters: LogoutParameters) {
    const { id_token_hint, client_id, post_logout_redirect_uri, state } = parameters
    const kept = Object.fromEntries(Object.entries({ id_token_hint, client_id, post_logout_redirect_uri, state }).filter((entry): entry is [string, string] => entry[1] !== undefined))
    reply.formTarget = [post_logout_redirect_uri, ...[...app.configuration.identityProviders.values()].map(provider => provider.issuer)]
      .filter(target => target?.startsWith('http:')).map(target => new URL(target!).origin).join(' ')
    return reply.page(logOutPage(request.pageContext(), {
      ...(client === undefined ? {} : { client: app.party(client) }),
      action: `${base}/session/end`,
      fields: { posted: app.sealer.seal('posted', 'logout', kept, app.now() + life.logout) }
    }))
  }
}

/** Seconds: no access token outlives them. */
const longestToken = 600

export default fp(plugin, { name: 'session-end', encapsulate: true, dependencies: ['pages', 'identity-providers', 'signer'] })
