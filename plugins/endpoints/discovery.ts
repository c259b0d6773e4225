import fp from 'fastify-plugin'
import { publishedMaxAge } from '../../src/adapters/key-schedule.ts'
import { signingAlgorithms } from '../../src/protocol/algorithms.ts'
import { discoveryDocument } from '../../src/protocol/discovery.ts'

/** Our metadata (OpenID Connect Discovery §4). */
export default fp(async app => {
  app.get('/.well-known/openid-configuration', { config: { audience: 'client', rank: 'published' } }, async (request, reply) => {
    const { settings: { issuer }, levels: { levels }, signs } = app.configuration
    return reply.header('cache-control', `public, max-age=${publishedMaxAge}`).send(discoveryDocument({ issuer, acr_values: levels, signs: signingAlgorithms.filter(alg => signs.has(alg)) }))
  })
}, { name: 'discovery', encapsulate: true })
