import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { OAuthError } from '../../src/protocol/errors.ts'
import { introspectionOf } from '../../src/protocol/introspection.ts'
import { namedToken, TokenForm } from '../tokens.ts'

const told = Type.Object({
  active: Type.Boolean(),
  iss: Type.Optional(Type.String()),
  sub: Type.Optional(Type.String()),
  scope: Type.Optional(Type.String()),
  acr: Type.Optional(Type.String()),
  exp: Type.Optional(Type.Integer()),
  token_type: Type.Optional(Type.String()),
  cnf: Type.Optional(Type.Object({ jkt: Type.String() }))
})
const schema = { body: TokenForm, response: { 200: told } }

/** Introspection endpoint (RFC 7662): a data provider asks what the token that a service brought it is worth. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  const { settings: { issuer }, keys: { subject: secret } } = app.configuration

  app.post('/introspection', { schema, config: { audience: 'client', rank: 'ending', step: 'introspection' } }, async (request, reply) => {
    const client = await request.authenticateClient()
    if (!client.introspection) throw new OAuthError('introspection_not_allowed', 'this client is not registered as a data provider')
    const access_token = namedToken(request.body)

    const token = await app.liveToken(access_token, { sure: true })
    request.loginId = token?.login ?? ''
    const answer = introspectionOf(token, { scopes: client.scopes, sector: client.sector, secret, issuer })
    request.event('introspection', { active: answer.active, ...(answer.active ? { acr: answer.acr } : {}) })
    if (client.introspection_signed_response_alg === undefined && !asksForJwt(request)) return reply.send(answer)
    const write = await app.jwtsFor(client, 'introspection')
    const jwt = await write({ iss: issuer, aud: client.client_id, iat: app.now(), token_introspection: answer }, 'token-introspection+jwt')
    return reply.type('application/token-introspection+jwt').send(jwt as never)
  })
}

/** Whether the answer is to be a JWT, beyond what the registration says (RFC 9701 §4). */
const asksForJwt = ({ headers: { accept = '' } }: FastifyRequest) => /\bapplication\/token-introspection\+jwt\b/i.test(accept)

export default fp(plugin, { name: 'introspection', encapsulate: true, dependencies: ['clients', 'client-keys', 'tokens'] })
