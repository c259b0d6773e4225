import fp from 'fastify-plugin'
import type { Token } from '../src/protocol/grant.ts'

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
