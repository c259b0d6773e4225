import fp from 'fastify-plugin'
import type { Client } from '../src/config/load.ts'
import { authenticateClient, readCredentials } from '../src/protocol/client-authentication.ts'
import { OAuthError } from '../src/protocol/errors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The client of this name, active or not; undefined for anything else. */
    client (client_id: unknown): Client | undefined
  }
  interface FastifyRequest {
    /** The client that proves itself in this request (RFC 6749 §2.3). @throws {OAuthError} client_authentication_failed */
    authenticateClient (): Client
    /** the client that did */
    client: Client | null
  }
}

/** Downstream: the services, and how they prove who they are. */
export default fp(async app => {
  app.decorate('client', client_id => typeof client_id === 'string' ? app.configuration.clients.get(client_id) : undefined)

  app.decorateRequest('client', null)
  app.decorateRequest('authenticateClient', function () {
    const credentials = readCredentials(this.headers.authorization, this.body as { client_id?: string, client_secret?: string })
    try {
      this.client = authenticateClient(app.client(credentials.client_id), credentials)
      return this.client
    } catch (error) {
      if (error instanceof OAuthError) this.event('client_authentication_failed', { client_id: app.client(credentials.client_id)?.client_id ?? 'unknown', outcome: 'refused' })
      throw error
    }
  })
}, { name: 'clients', dependencies: ['events'] })
