import fp from 'fastify-plugin'
import type { Client } from '../src/config/load.ts'
import { authenticateClient, readCredentials } from '../src/protocol/client-authentication.ts'
import type { Login } from '../src/records.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The client of this name, active or not; undefined for anything else. */
    client (client_id: unknown): Client | undefined
    /** The client of a login that was opened. */
    clientOf (login: Login): Client
  }
  interface FastifyRequest {
    /** The client that proves itself in this request (RFC 6749 §2.3). @throws {OAuthError} client_authentication_failed */
    authenticateClient (): Client
    /** the client that did */
    client: Client | null
    /** the registered client that this request speaks of, proved or not; '' for none */
    claimedClient: string
  }
}

/** Downstream: the services, and how they prove who they are. */
export default fp(async app => {
  app.decorate('client', client_id => typeof client_id === 'string' ? app.configuration.clients.get(client_id) : undefined)
  app.decorate('clientOf', login => app.client(login.request.client_id)!)

  app.decorateRequest('client', null)
  app.decorateRequest('claimedClient', '')
  app.decorateRequest('authenticateClient', function () {
    const credentials = readCredentials(this.headers.authorization, this.body as { client_id?: string, client_secret?: string })
    const claimed = app.client(credentials.client_id)
    this.claimedClient = claimed?.client_id ?? ''
    this.client = authenticateClient(claimed, credentials)
    return this.client
  })
}, { name: 'clients' })
