import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import fp from 'fastify-plugin'
import { OAuthError } from '../../src/protocol/errors.ts'
import { namedToken, TokenForm } from '../tokens.ts'

/** Revocation endpoint (RFC 7009): a client ends a token of its own. A token that is not, or not any more, has been ended as well. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.post('/revocation', { schema: { body: TokenForm }, config: { audience: 'client', rank: 'ending', step: 'revocation' } }, async (request, reply) => {
    const client = await request.authenticateClient()
    const access_token = namedToken(request.body)
    const token = await app.store.get('token', access_token, { sure: true })
    if (token !== undefined && token.client_id !== client.client_id) throw new OAuthError('token_of_another_client', 'token: issued to another client')
    request.loginId = token?.login ?? ''
    if (token !== undefined) await app.store.end({ access_token }, client.access_token_seconds)
    request.event('revocation')
    return reply.send()
  })
}

export default fp(plugin, { name: 'revocation', encapsulate: true, dependencies: ['clients', 'store'] })
