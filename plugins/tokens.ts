import fp from 'fastify-plugin'
import { Type, type Static } from 'typebox'
import { parameter } from '../src/protocol/authorization-request.ts'
import { CredentialParameters } from '../src/protocol/client-authentication.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import type { Token } from '../src/protocol/grant.ts'

/** A form that names a token, however long, beside what proves the client (RFC 7009 §2.1, RFC 7662 §2.1). */
export const TokenForm = Type.Object({ token: parameter(16_384), token_type_hint: parameter(64), ...CredentialParameters })

/** The token that a form names. @throws {OAuthError} request_malformed */
export function namedToken ({ token }: Static<typeof TokenForm>): string {
  if (token === undefined) throw new OAuthError('request_malformed', 'token: expected')
  return token
}

declare module 'fastify' {
  interface FastifyInstance {
    /** What an access token stands for, unless it, its session or its client is no more. @throws {OAuthError} store_unavailable */
    liveToken (access_token: string): Promise<Token | undefined>
  }
}

/** Access tokens, as they are looked at. */
export default fp(async app => {
  app.decorate('liveToken', async access_token => {
    const token = await app.store.get('token', access_token)
    if (token === undefined || !app.client(token.client_id)?.active || token.exp <= app.now()) return undefined
    return await app.store.ended(token.sid) ? undefined : token
  })
}, { name: 'tokens', dependencies: ['store', 'clients'] })
