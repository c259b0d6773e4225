import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Client } from '../src/config/load.ts'
import { acceptedAlgorithms } from '../src/protocol/algorithms.ts'
import { authenticateClient, checkAssertion, readCredentials } from '../src/protocol/client-authentication.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import type { Login } from '../src/records.ts'
import { patienceMs, unlessAway } from './store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The client of this name, active or not; undefined for anything else. */
    client (client_id: unknown): Client | undefined
    /** The client of a login that was opened. @throws {OAuthError} client_unknown, where it was taken away since */
    clientOf (login: Pick<Login, 'request'>): Client
  }
  interface FastifyContextConfig {
    /** what is given here is good once by itself, a code or a pushed request: a replay of what proved the client gains nothing */
    replayable?: boolean
  }
  interface FastifyRequest {
    /**
     * Whether a client says this name for the first time within so many seconds. Where the store cannot tell soon, and the endpoint is replayable, a client is
     * believed unless its profile is `fapi2`; it is counted.
     * @throws {OAuthError} store_unavailable
     */
    firstUse (client: Client, name: string, seconds: number): Promise<boolean>
    /** The client that proves itself in this request (RFC 6749 §2.3, RFC 7523 §2.2). @throws {OAuthError} client_authentication_failed, rate_limited, assertion_replayed, client_keys_unavailable, store_unavailable */
    authenticateClient (): Promise<Client>
    /** the client that did */
    client: Client | null
    /** the registered client that this request speaks of, proved or not; '' for none */
    claimedClient: string
  }
}

/** Downstream: the services, and how they prove who they are. */
export default fp(async app => {
  const { issuer } = app.configuration.settings
  app.decorate('client', client_id => typeof client_id === 'string' ? app.configuration.clients.get(client_id) : undefined)
  app.decorate('clientOf', login => {
    const client = app.client(login.request.client_id)
    if (client === undefined) throw new OAuthError('client_unknown', 'the client of this login is no longer registered')
    return client
  })

  app.decorateRequest('firstUse', async function ({ client_id, profile }, name, seconds) {
    const said = `${client_id} ${name}`
    if (profile === 'fapi2' || this.routeOptions.config.replayable !== true) return app.store.once(said, seconds)
    const first = await unlessAway(app.store.once(said, seconds, { patienceMs }), undefined)
    if (first === undefined) app.countUncheckedReplay()
    return first ?? true
  })

  app.decorateRequest('client', null)
  app.decorateRequest('claimedClient', '')
  app.decorateRequest('authenticateClient', function () {
    return authenticated(this).catch(async error => {
      const isWrong = error instanceof OAuthError && error.failure === 'client_authentication_failed'
      throw isWrong && await this.isGuessing() ? new OAuthError('rate_limited', 'client authentication: failed too often from here', { cause: error }) : error
    })
  })

  async function authenticated (request: FastifyRequest) {
    const credentials = readCredentials(request.headers.authorization, request.body as Parameters<typeof readCredentials>[1])
    const claimed = app.client(credentials.client_id)
    request.claimedClient = claimed?.client_id ?? ''
    const client = authenticateClient(claimed, credentials)
    if (credentials.assertion !== undefined) await checkProof(request, client, credentials.assertion)
    request.client = client
    return client
  }

  /** An assertion by one of the client's keys, used once (RFC 7523 §3). */
  async function checkProof (request: FastifyRequest, client: Client, assertion: string) {
    const { client_id, profile } = client
    const strict = profile === 'fapi2'
    const said = await app.clientKeys(client).verify(assertion, acceptedAlgorithms(profile, client.token_endpoint_auth_signing_alg))
    if (said === undefined) throw new OAuthError('client_authentication_failed', 'client_assertion: not signed by a key of this client, or not by an algorithm it may use')
    const { jti, seconds } = checkAssertion(said.header, said.claims, {
      client_id,
      audiences: strict ? [issuer] : [issuer, `${issuer}/token`, `${issuer}/par`],  // RFC 7523 §3, RFC 9126 §2
      oneAudience: strict,
      now: app.now()
    })
    if (!await request.firstUse(client, `assertion ${jti}`, seconds)) throw new OAuthError('assertion_replayed', 'client_assertion: already used')
  }
}, { name: 'clients', dependencies: ['store', 'metrics', 'client-keys'] })
