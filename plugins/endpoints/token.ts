import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import type { Client } from '../../src/config/load.ts'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { CredentialParameters } from '../../src/protocol/client-authentication.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { checkGrant } from '../../src/protocol/grant.ts'
import { idTokenClaims } from '../../src/protocol/id-token.ts'
import { life, limit, type Used } from '../../src/records.ts'

const schema = {
  body: Type.Object({
    grant_type: parameter(64),
    code: parameter(limit.sealedHandle),
    redirect_uri: parameter(2048),
    code_verifier: parameter(256),
    ...CredentialParameters
  }),
  response: {
    200: Type.Object({ access_token: Type.String(), token_type: Type.Enum(['Bearer', 'DPoP']), expires_in: Type.Integer(), scope: Type.String(), id_token: Type.String() })
  }
}

/** Token endpoint (RFC 6749 §3.2, OpenID Connect Core §3.1.3): the code comes in, checked and only then claimed; tokens go out. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  const { issuer } = app.configuration.settings

  app.post('/token', { schema, config: { audience: 'client', rank: 'ending', ofLogin: 'anyone', replayable: true, endsLogin: true, step: 'token' } }, async (request, reply) => {
    const { grant_type, code, redirect_uri, code_verifier } = request.body
    const proof = await request.readProof()
    const reading = code === undefined ? undefined : app.store.get('code', code)  // while the client proves itself
    reading?.catch(() => {})
    const client = await request.authenticateClient()
    if (proof === undefined && client.dpop_bound_access_tokens) throw new OAuthError('proof_invalid', 'DPoP: expected, since tokens of this client are bound to a key')
    if (grant_type === undefined) throw new OAuthError('request_malformed', 'grant_type: expected authorization_code')
    if (grant_type !== 'authorization_code') throw new OAuthError('grant_type_unsupported', 'grant_type: expected authorization_code')
    if (code === undefined) throw new OAuthError('request_malformed', 'code: expected')

    const grant = await reading
    if (grant === undefined) throw await spent(client, await app.store.usedBy(code))
    request.loginId = grant.login
    checkGrant(grant, { client_id: client.client_id, redirect_uri, code_verifier, jkt: proof?.jkt })
    const [ended, write] = await Promise.all([
      app.sessionEnded(grant),
      app.jwtsFor(client, 'id_token'),                                   // what could be missing is had before the code is spent
      proof?.spend(client)
    ])
    if (ended) throw new OAuthError('code_invalid', 'code: its session has ended')

    const { id_token_seconds, id_token_signed_response_alg } = client
    const access_token_seconds = grant.degraded ? Math.min(client.access_token_seconds, life.sealedHandle) : client.access_token_seconds
    const claim = await app.store.claim(code, {
      client_id: client.client_id,
      token: { ...grant, exp: app.now() + access_token_seconds, ...(proof === undefined ? {} : { jkt: proof.jkt }) },
      tokenSeconds: access_token_seconds,
      usedSeconds: Math.max(life.code, access_token_seconds)            // as long as the code or its token lives, however short a reload makes them now
    })
    if ('used' in claim) throw await spent(client, claim.used)

    const { access_token } = claim
    const id_token = await write(idTokenClaims(grant, {
      issuer,
      now: app.now(),
      lifeSeconds: id_token_seconds,
      access_token,
      alg: id_token_signed_response_alg,
      secret: app.configuration.keys.subject
    }))

    request.event('token', { idp: grant.idp, acr: grant.acr, degraded: grant.degraded })
    app.countLogin(client.client_id, grant.acr)
    app.countCitizen(grant)
    return reply.send({
      access_token,
      token_type: proof === undefined ? 'Bearer' as const : 'DPoP' as const,
      expires_in: access_token_seconds,
      scope: grant.scopes.join(' '),
      id_token
    })
  })

  /** A code that is not there, or was redeemed: a second use by the client that redeemed it ends what it gave (RFC 6749 §4.1.2). */
  async function spent (client: Client, used: Used | undefined) {
    if (used === undefined) return new OAuthError('code_unknown', 'code: unknown or expired')
    if (used.client_id !== client.client_id) return new OAuthError('code_of_another_client', 'code: issued to another client')
    await app.store.end({ token: used.token }, client.access_token_seconds)
    return new OAuthError('code_replayed', 'code: already used')
  }
}

export default fp(plugin, { name: 'token', encapsulate: true, dependencies: ['citizens', 'clients', 'client-keys', 'sender-proof', 'store', 'tokens'] })
