import fp from 'fastify-plugin'

/** Our public keys (RFC 7517 §5): those in force, those to come, and those whose tokens still live. */
export default fp(async app => {
  app.get('/jwks', { config: { audience: 'client' } }, async (request, reply) =>
    reply.header('cache-control', 'public, max-age=600').send(app.signer.jwks()))
}, { name: 'jwks', encapsulate: true, dependencies: ['signer'] })
