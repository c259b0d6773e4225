import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { CredentialParameters } from '../../src/protocol/client-authentication.ts'
import { OAuthError } from '../../src/protocol/errors.ts'

const body = Type.Object({ token: parameter(16_384), token_type_hint: parameter(64), ...CredentialParameters })

/** Revocation endpoint (RFC 7009): a client ends a token of its own. A token that is not, or not any more, has been ended as well. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.post('/revocation', { schema: { body }, config: { audience: 'client' } }, async (request, reply) => {
    const client = await request.authenticateClient()
    const { token: access_token } = request.body
    if (access_token === undefined) throw new OAuthError('request_malformed', 'token: expected')
    const token = await app.store.get('token', access_token)
    if (token !== undefined && token.client_id !== client.client_id) throw new OAuthError('token_of_another_client', 'token: issued to another client')
    if (token !== undefined) await app.store.end({ access_token }, client.access_token_seconds)
    return reply.header('cache-control', 'no-store').send()
  })
}

export default fp(plugin, { name: 'revocation', encapsulate: true, dependencies: ['clients', 'store'] })
