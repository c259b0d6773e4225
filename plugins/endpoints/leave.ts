import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { OAuthError } from '../../src/protocol/errors.ts'

/** "Return to the service": the citizen gives up, the client is told (RFC 6749 §4.1.2.1). */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.get('/leave', { schema: { querystring: Type.Object({ login: parameter(64) }) }, config: { audience: 'citizen', rank: 'ending', ofLogin: 'its_browser', step: 'consent_refused' } }, async (request, reply) => {
    reply.endLogin(request.openLogin(request.query.login))
    throw new OAuthError('citizen_refused', 'the citizen went back')
  })
}

export default fp(plugin, { name: 'leave', encapsulate: true, dependencies: ['browser', 'authorization-response'] })
