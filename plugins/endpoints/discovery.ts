import fp from 'fastify-plugin'
import { discoveryDocument } from '../../src/protocol/discovery.ts'

/** Our metadata (OpenID Connect Discovery §4). */
export default fp(async app => {
  app.get('/.well-known/openid-configuration', { config: { audience: 'client' } }, async (request, reply) => {
    const { settings: { issuer }, levels: { levels } } = app.configuration
    return reply.header('cache-control', 'public, max-age=600').send(discoveryDocument(issuer, levels))
  })
}, { name: 'discovery', encapsulate: true })
