import type { JWK } from 'jose'
import fp from 'fastify-plugin'
import type { Static } from 'typebox'
import { publishedDecryptionKeys } from '../../src/adapters/decryption-keys.ts'
import { publishedMaxAge } from '../../src/adapters/key-schedule.ts'
import { PublicKey, schema } from './jwks.ts'

/** Our public keys at identity providers, where our registration there names a `jwks_uri`: those we prove ourselves by, and those they encrypt for. */
export default fp(async app => {
  app.get('/provider-keys', { schema, config: { audience: 'client', rank: 'published' } }, async (request, reply) => {
    const { keys: { decryption }, identityProviders } = app.configuration
    const proving = [...identityProviders.values()].flatMap(({ clientKey }) => clientKey === undefined ? [] : [{ ...clientKey, use: 'sig' }])
    const byKid = new Map([...proving, ...publishedDecryptionKeys(decryption, app.now())].map(key => [key.kid, publicPart(key)]))
    return reply.header('cache-control', `public, max-age=${publishedMaxAge}`).send({ keys: [...byKid.values()] })
  })
}, { name: 'provider-keys', encapsulate: true })

const publicPart = (key: JWK) => Object.fromEntries(Object.entries(key).filter(([name]) => name in PublicKey.properties)) as Static<typeof PublicKey>
