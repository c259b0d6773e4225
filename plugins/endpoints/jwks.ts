import fp from 'fastify-plugin'
import { Type } from 'typebox'

const member = Type.Optional(Type.String())
/** What it does not name does not leave: no private member ever can. */
const schema = {
  response: { 200: Type.Object({ keys: Type.Array(Type.Object({ kty: Type.String(), kid: Type.String(), use: Type.String(), alg: Type.String(), n: member, e: member, crv: member, x: member, y: member })) }) }
}

/** Our public keys (RFC 7517 §5): those in force, those to come, and those whose tokens still live. */
export default fp(async app => {
  app.get('/jwks', { schema, config: { audience: 'client' } }, async (request, reply) =>
    reply.header('cache-control', 'public, max-age=600').send(app.signer.jwks()))
}, { name: 'jwks', encapsulate: true, dependencies: ['signer'] })
