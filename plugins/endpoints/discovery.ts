import fp from 'fastify-plugin'
import { publishedMaxAge } from '../../src/adapters/key-schedule.ts'
import { signingAlgorithms } from '../../src/protocol/algorithms.ts'
import { discoveryDocument } from '../../src/protocol/discovery.ts'

/** Our metadata (OpenID Connect Discovery §4). */
export default fp(async app => {
  app.get('/.well-known/openid-configuration', { config: { audience: 'client', rank: 'published' } }, async (request, reply) => {
    const { settings: { issuer }, levels: { levels }, keys: { signing } } = app.configuration
    const signs = signingAlgorithms.filter(alg => signing.some(key => key.alg === alg))
    return reply.header('cache-control', `public, max-age=${publishedMaxAge}`).send(discoveryDocument({ issuer, acr_values: levels, signs }))
  })
}, { name: 'discovery', encapsulate: true })
