import fp from 'fastify-plugin'
import type { Client } from '../src/config/load.ts'
import { signingAlgorithms, strictAlgorithms } from '../src/protocol/algorithms.ts'
import { authenticateClient, checkAssertion, readCredentials } from '../src/protocol/client-authentication.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import type { Login } from '../src/records.ts'
import { patienceMs, unlessAway } from './store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The client of this name, active or not; undefined for anything else. */
    client (client_id: unknown): Client | undefined
    /** The client of a login that was opened. */
    clientOf (login: Login): Client
    /**
     * Whether a client says this name for the first time within so many seconds. Where the store cannot tell, a `fapi2` client has to come again; any other
     * is believed, since what it asks for is good once whatever becomes of the name.
     * @throws {OAuthError} store_unavailable
     */
    firstUse (client: Client, name: string, seconds: number): Promise<boolean>
  }
  interface FastifyRequest {
    /** The client that proves itself in this request (RFC 6749 §2.3, RFC 7523 §2.2). @throws {OAuthError} client_authentication_failed, assertion_replayed, client_keys_unavailable, store_unavailable */
    authenticateClient (): Promise<Client>
    /** the client that did */
    client: Client | null
    /** the registered client that this request speaks of, proved or not; '' for none */
    claimedClient: string
  }
}

/** Downstream: the services, and how they prove who they are. */
export default fp(async app => {
  const { base, settings: { issuer } } = app.configuration
  app.decorate('client', client_id => typeof client_id === 'string' ? app.configuration.clients.get(client_id) : undefined)
  app.decorate('clientOf', login => app.client(login.request.client_id)!)

  app.decorate('firstUse', async ({ client_id, profile }, name, seconds) => {
    const said = `${client_id} ${name}`
    if (profile === 'fapi2') return app.store.once(said, seconds)
    const first = await unlessAway(app.store.once(said, seconds, { patienceMs }), undefined)
    if (first === undefined) app.countUncheckedReplay()
    return first ?? true
  })

  app.decorateRequest('client', null)
  app.decorateRequest('claimedClient', '')
  app.decorateRequest('authenticateClient', async function () {
    const credentials = readCredentials(this.headers.authorization, this.body as Parameters<typeof readCredentials>[1])
    const claimed = app.client(credentials.client_id)
    this.claimedClient = claimed?.client_id ?? ''
    const client = authenticateClient(claimed, credentials)
    if (credentials.assertion !== undefined) await checkProof(client, credentials.assertion, this.url === `${base}/par` ? [`${issuer}/par`] : [])
    this.client = client
    return client
  })

  /** An assertion by one of the client's keys, used once (RFC 7523 §3). */
  async function checkProof (client: Client, assertion: string, more: string[]) {
    const { client_id, profile, token_endpoint_auth_signing_alg: alg } = client
    const strict = profile === 'fapi2'
    const said = await app.clientKeys(client).verify(assertion, alg === undefined ? strict ? strictAlgorithms : signingAlgorithms : [alg])
    if (said === undefined) throw new OAuthError('client_authentication_failed', 'client_assertion: not signed by a key of this client, or not by an algorithm it may use')
    const { jti, exp } = checkAssertion(said.header, said.claims, {
      client_id,
      audiences: strict ? [issuer] : [issuer, `${issuer}/token`, ...more],
      oneAudience: strict,
      now: app.now()
    })
    if (!await app.firstUse(client, `assertion ${jti}`, Math.ceil(exp - app.now()))) throw new OAuthError('assertion_replayed', 'client_assertion: already used')
  }
}, { name: 'clients', dependencies: ['store', 'metrics', 'client-keys'] })
