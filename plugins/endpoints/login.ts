import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { OAuthError } from '../../src/protocol/errors.ts'

const schema = { params: Type.Object({ idp: Type.String({ maxLength: 32 }) }), querystring: Type.Object({ login: parameter(64), client_id: parameter(64), lang: parameter(8) }) }

/** The choice comes in, the citizen goes to the identity provider. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.get('/login/:idp', { schema, config: { audience: 'citizen', rank: 'under_way', ofLogin: 'its_browser', step: 'provider_chosen' } }, async (request, reply) => {
    const { idp } = request.params
    const login = request.openLogin(request.query.login)
    const obstacle = app.obstacleTo(idp, app.clientOf(login), login.request)
    if (obstacle !== undefined) {
      request.step = 'provider_refused'
      throw new OAuthError(obstacle, 'this identity provider cannot be chosen now')
    }

    const chosen = { ...login, idp, sentAt: app.now() }
    const url = await app.identityProvider(idp).authorizationUrl(app.questionFor(chosen))

    reply.keepLogin(chosen).dropIdentification(login)
    request.event('provider_chosen', { idp })
    return reply.redirect(url.href, 303)
  })
}

export default fp(plugin, { name: 'login', encapsulate: true, dependencies: ['pages', 'identity-providers'] })
