import type { JWTPayload } from 'jose'
import fp from 'fastify-plugin'
import type { LookupFunction } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import pLimit from 'p-limit'
import { clientCalls } from '../src/adapters/client-calls.ts'
import { clientKeys } from '../src/adapters/client-keys.ts'
import type { Client } from '../src/config/load.ts'
import type { ClientCalls, ClientKeys } from '../src/ports.ts'

type Purpose = 'id_token' | 'userinfo' | 'introspection'

declare module 'fastify' {
  interface FastifyInstance {
    /** Calls to the addresses that clients register. */
    clientCalls: ClientCalls
    /** The keys of a client that has any. */
    clientKeys (client: Client): ClientKeys
    /**
     * What makes JWTs for a client as it registered them, signed, and encrypted where it says so; ours is there and the client's key is had before anything is claimed.
     * @throws {OAuthError} client_keys_unavailable, signing_key_unavailable
     */
    jwtsFor (client: Client, purpose: Purpose): Promise<(claims: JWTPayload, typ?: string) => Promise<string>>
  }
}

/** How many address lists are asked for at a time when the gateway starts. */
const atOnce = 8

/** What clients publish: their keys, kept as last known and asked for off the path of any request. */
export default fp<{ lookup?: LookupFunction | undefined }>(async (app, { lookup }) => {
  const calls = clientCalls({ lookup, loopback: app.configuration.settings.environment === 'development' })
  const known = new WeakMap<Client, ClientKeys>()

  app.decorate('clientCalls', calls)
  app.decorate('clientKeys', client => {
    const { jwks, jwks_uri } = client
    const keys = known.get(client) ?? clientKeys(async () => jwks_uri === undefined ? jwks! : calls.getKeys(jwks_uri))
    known.set(client, keys)
    return keys
  })

  app.decorate('jwtsFor', async (client, purpose) => {
    const signing = client[`${purpose}_signed_response_alg`] ?? 'RS256'
    const alg = client[`${purpose}_encrypted_response_alg`]
    app.signer.assureKey(signing)
    const encrypt = alg === undefined ? undefined : await app.clientKeys(client).encrypter({ alg, enc: client[`${purpose}_encrypted_response_enc`] })
    return async (claims, typ) => {
      const signed = await app.signer.sign(signing, claims, typ)
      return encrypt === undefined ? signed : encrypt(signed)
    }
  })

  /** Asks for the keys of those that publish them, behind the requests' backs. */
  function prefetch (clients: Client[]) {
    const publishing = clients.filter(({ active, jwks_uri }) => active && jwks_uri !== undefined)
    pLimit(atOnce).map(publishing, client => app.clientKeys(client).prefetch().catch(cause => app.log.warn({ client_id: client.client_id, err: cause }, 'client keys')))
  }
  app.addHook('onListen', async () => prefetch([...app.configuration.clients.values()]))
  app.onReconfigured((now, before) => {
    const others = [...now.clients.values()].filter(client => before.clients.get(client.client_id) !== client)
    for (const client of others) {
      const former = before.clients.get(client.client_id)
      const keys = former && known.get(former)
      // what else changed in its registration costs nobody its keys
      if (keys !== undefined && isDeepStrictEqual([former!.jwks, former!.jwks_uri], [client.jwks, client.jwks_uri])) known.set(client, keys)
    }
    if (app.server.listening) prefetch(others)
  })
  app.addHook('onClose', async () => calls.close())
}, { name: 'client-keys', dependencies: ['configuration', 'signer'] })
