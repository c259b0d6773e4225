import fp from 'fastify-plugin'
import { Type, type Static } from 'typebox'
import { parameter } from '../src/protocol/authorization-request.ts'
import { CredentialParameters } from '../src/protocol/client-authentication.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import type { Grant, Token } from '../src/protocol/grant.ts'
import { patienceMs, unlessAway } from './store.ts'

/** A form that names a token, however long, beside what proves the client (RFC 7009 §2.1, RFC 7662 §2.1). */
export const TokenForm = Type.Object({ token: parameter(16_384), token_type_hint: parameter(64), ...CredentialParameters })

/** The token that a form names. @throws {OAuthError} request_malformed */
export function namedToken ({ token }: Static<typeof TokenForm>): string {
  if (token === undefined) throw new OAuthError('request_malformed', 'token: expected')
  return token
}

declare module 'fastify' {
  interface FastifyInstance {
    /**
     * What an access token stands for, unless it, its session or its client is no more. One that holds its record is believed while the store cannot say, but where one must
     * be `sure`.
     * @throws {OAuthError} store_unavailable
     */
    liveToken (access_token: string, options?: { sure?: boolean }): Promise<Token | undefined>
    /** Whether the session that a grant came from has ended; of one that was made while the store was away that need not be known. @throws {OAuthError} store_unavailable */
    sessionEnded (grant: Pick<Grant, 'sid' | 'degraded'>, options?: { sure?: boolean }): Promise<boolean>
  }
}

/** Access tokens, as they are looked at. */
export default fp(async app => {
  app.decorate('liveToken', async (access_token, { sure = false } = {}) => {
    const token = await app.store.get('token', access_token, { sure })
    // how long it lives the store says, by one clock: those of replicas differ by as much as a token lives
    if (token === undefined || !app.client(token.client_id)?.active) return undefined
    return await app.sessionEnded(token, { sure }) ? undefined : token
  })

  app.decorate('sessionEnded', async ({ sid, degraded }, { sure = false } = {}) =>
    degraded && !sure ? unlessAway(app.store.ended(sid, { patienceMs }), false) : app.store.ended(sid))
}, { name: 'tokens', dependencies: ['store', 'clients'] })
