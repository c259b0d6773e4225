import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { consentPage } from '../../src/pages/consent.ts'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { claimsSent, isAnonymous, pick } from '../../src/protocol/claims.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import type { Identification } from '../../src/protocol/identification.ts'
import type { Login } from '../../src/records.ts'

const querystring = Type.Object({ login: parameter(64), missing: parameter(8), lang: parameter(8) })
const body = Type.Object({ login: parameter(64), decision: Type.Enum(['continue', 'refuse']), consent: parameter(8) })

/** Information page: the citizen reads who came back and what will be sent to whom, and agrees; the server checks. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.get('/consent', { schema: { querystring }, config: { audience: 'citizen', rank: 'ending', ofLogin: 'its_browser', step: 'information_shown' } }, async (request, reply) => {
    const login = request.openLogin(request.query.login)
    return show(request, reply, login, await request.openIdentification(login), request.query.missing === 'consent')
  })

  app.post('/consent', { schema: { body }, config: { audience: 'citizen', rank: 'ending', ofLogin: 'its_browser', malformed: 'form_malformed', step: 'consent_given' } }, async (request, reply) => {
    request.refuseForeignForm()
    const { login: id, decision, consent } = request.body
    const login = request.openLogin(id)
    if (decision === 'refuse') {
      reply.endLogin(login)
      request.step = 'consent_refused'
      throw new OAuthError('citizen_refused', 'the citizen refused')
    }
    const identification = await request.openIdentification(login)
    app.providerRegistration(identification.idp)                        // one that was taken away vouches for nobody any more
    // answered by a redirect: a page that a form left behind cannot be gone back to
    if (app.clientOf(login).consent === 'required' && consent !== 'yes') return reply.redirect(app.ownAddress('/consent', login, { missing: 'consent' }), 303)
    request.event('consent_given', { idp: identification.idp, acr: identification.acr })
    request.step = 'returned'
    return reply.issueCode(login, identification)
  })

  function show (request: FastifyRequest, reply: FastifyReply, login: Login, { idp, acr, claims, amr }: Identification, missingConsent: boolean) {
    const client = app.clientOf(login)
    const { redirect_uri } = login.request
    request.event('information_shown', { idp, acr })
    const sent = claimsSent(login.request)
    return reply.formsEndAt(redirect_uri).page(consentPage(request.pageContext(app.ownAddress('/consent', login)), {
      client: app.party(client),
      provider: app.party(app.providerRegistration(idp)),
      claims: pick({ ...claims, idp_id: idp, amr }, sent),
      anonymous: isAnonymous(sent),
      consentRequired: client.consent === 'required',
      missingConsent,
      login: login.id,
      client_id: client.client_id,
      chooseHref: app.ownAddress('/choose', login)
    }))
  }
}

export default fp(plugin, { name: 'consent', encapsulate: true, dependencies: ['pages', 'clients', 'identity-providers', 'authorization-response'] })
