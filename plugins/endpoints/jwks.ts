import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { publishedMaxAge } from '../../src/adapters/key-schedule.ts'

const always = Type.String()
const ofSome = Type.Optional(Type.String())
/** What it does not name does not leave: no private member ever can. */
export const PublicKey = Type.Object({ kty: always, kid: always, use: always, alg: always, n: ofSome, e: ofSome, crv: ofSome, x: ofSome, y: ofSome })
export const schema = { response: { 200: Type.Object({ keys: Type.Array(PublicKey) }) } }

/** Our public keys (RFC 7517 §5): those in force, those to come, and those whose tokens still live. */
export default fp(async app => {
  app.get('/jwks', { schema, config: { audience: 'client', rank: 'published' } }, async (request, reply) =>
    reply.header('cache-control', `public, max-age=${publishedMaxAge}`).send(app.signer.jwks()))
}, { name: 'jwks', encapsulate: true, dependencies: ['signer'] })
