import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { OAuthError } from '../../src/protocol/errors.ts'

/** The token may stand in a form; a request without a body is no form. */
const body = Type.Union([Type.Null(), Type.Object({ access_token: parameter(128) })])

/** UserInfo endpoint (OpenID Connect Core §5.3): the access token comes in, claims go out. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.get('/userinfo', { config: { audience: 'client' } }, async (request, reply) => answer(reply, bearerToken(request)))

  app.post('/userinfo', { schema: { body }, config: { audience: 'client' } }, async (request, reply) =>
    answer(reply, bearerToken(request, request.body?.access_token)))

  async function answer (reply: FastifyReply, access_token: string) {
    const grant = await app.store.get('token', access_token)
    const dead = grant === undefined || await app.store.ended(grant.sid) || !app.client(grant.client_id)?.active
    if (dead) throw new OAuthError('token_invalid', 'access token: unknown, expired or ended')
    return reply.header('cache-control', 'no-store').send({ ...grant.claims, sub: grant.sub })
  }
}

/** The access token, from where exactly one method puts it (RFC 6750 §2). @throws {OAuthError} token_missing, request_malformed */
function bearerToken ({ headers: { authorization } }: FastifyRequest, inBody?: string) {
  if (authorization !== undefined && inBody !== undefined) throw new OAuthError('request_malformed', 'access_token: one method in each request')
  if (inBody !== undefined) return inBody
  const [, token] = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(authorization ?? '') ?? []
  if (token === undefined) throw new OAuthError('token_missing', 'authorization: expected a Bearer token')
  return token
}

export default fp(plugin, { name: 'userinfo', encapsulate: true, dependencies: ['clients', 'store'] })
