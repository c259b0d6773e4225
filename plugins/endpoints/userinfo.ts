import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { limit } from '../../src/records.ts'

/** The token may stand in a form; a request without a body is no form. */
const body = Type.Union([Type.Null(), Type.Object({ access_token: parameter(limit.sealedHandle) })])

interface Presented { scheme: 'bearer' | 'dpop', access_token: string }

/** UserInfo endpoint (OpenID Connect Core §5.3): the access token comes in, claims go out, as JSON or as the JWT that the client registered. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  const { issuer } = app.configuration.settings

  app.get('/userinfo', { config: { audience: 'client', rank: 'ending', ofLogin: 'anyone', step: 'userinfo' } }, async (request, reply) => answer(request, reply, presentedToken(request)))

  app.post('/userinfo', { schema: { body }, config: { audience: 'client', rank: 'ending', ofLogin: 'anyone', step: 'userinfo' } }, async (request, reply) =>
    answer(request, reply, presentedToken(request, request.body?.access_token)))

  async function answer (request: FastifyRequest, reply: FastifyReply, { scheme, access_token }: Presented) {
    const proof = scheme === 'dpop' ? await request.readProof(access_token) : undefined
    const token = await app.liveToken(access_token)
    const client = app.client(token?.client_id)
    if (token !== undefined) Object.assign(request, { loginId: token.login, claimedClient: token.client_id })
    if (token === undefined || client === undefined) throw new OAuthError('token_invalid', 'access token: unknown, expired or ended')
    // a token that is bound goes with its key and by its scheme only, any other without (RFC 9449 §7.1, §7.2)
    if (token.jkt !== proof?.jkt || (scheme === 'dpop' && proof === undefined)) throw new OAuthError('token_invalid', 'access token: not sent with a proof by the key that it is bound to')
    await proof?.spend(client)

    const claims = { ...token.claims, sub: token.sub }
    const write = client.userinfo_signed_response_alg === undefined ? undefined : await app.jwtsFor(client, 'userinfo')
    // without exp, so that it can never pass for an ID Token
    const jwt = await write?.({ ...claims, iss: issuer, aud: client.client_id, iat: app.now() })
    request.event('userinfo', { idp: token.idp, acr: token.acr })
    return jwt === undefined ? reply.send(claims) : reply.type('application/jwt').send(jwt)
  }
}

/** The access token, from where exactly one method puts it (RFC 6750 §2, RFC 9449 §7.1). @throws {OAuthError} token_missing, request_malformed */
function presentedToken ({ headers: { authorization } }: FastifyRequest, inBody?: string): Presented {
  if (authorization !== undefined && inBody !== undefined) throw new OAuthError('request_malformed', 'access_token: one method in each request')
  if (inBody !== undefined) return { scheme: 'bearer', access_token: inBody }
  const [, scheme, access_token] = /^(Bearer|DPoP) +([A-Za-z0-9._~+/-]+=*)$/i.exec(authorization ?? '') ?? []
  if (access_token === undefined) throw new OAuthError('token_missing', 'authorization: expected a Bearer or DPoP token')
  return { scheme: scheme!.toLowerCase() as Presented['scheme'], access_token }
}

export default fp(plugin, { name: 'userinfo', encapsulate: true, dependencies: ['clients', 'client-keys', 'sender-proof', 'tokens'] })
