import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { newHandle } from '../../src/adapters/handles.ts'
import { AuthorizationParameters, pushedUri } from '../../src/protocol/authorization-request.ts'
import { CredentialParameters } from '../../src/protocol/client-authentication.ts'
import { OAuthError } from '../../src/protocol/errors.ts'

const schema = {
  body: Type.Object({ ...AuthorizationParameters.properties, ...CredentialParameters }),
  response: { 201: Type.Object({ request_uri: Type.String(), expires_in: Type.Integer() }) }
}

/** Pushed authorization request endpoint (RFC 9126): the request comes in from the client itself, and goes out sealed. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.post('/par', { schema, config: { audience: 'client', rank: 'beginning', ofLogin: 'anyone', replayable: true, step: 'pushed' } }, async (request, reply) => {
    const proof = await request.readProof()
    const client = await request.authenticateClient()
    if (request.body.request_uri !== undefined) throw new OAuthError('parameter_invalid', 'request_uri: expected none here (RFC 9126 §2.1)')
    const asked = await request.readAuthorizationRequest({ ...request.body, client_id: client.client_id }, { pushed: true })

    const { dpop_jkt = proof?.jkt } = asked.request
    if (proof !== undefined && dpop_jkt !== proof.jkt) throw new OAuthError('proof_invalid', 'DPoP: not by the key that dpop_jkt names')
    const pushed = { ...asked, request: { ...asked.request, ...(dpop_jkt === undefined ? {} : { dpop_jkt }), pushed: newHandle(app.configuration.settings.site) } }
    app.sealLogin(request.newLogin(pushed.request, 'fr'))               // too large for a browser to carry: told now
    const { request_uri_seconds: expires_in } = client
    request.event('pushed', { acr: pushed.request.acr })
    return reply.code(201).send({
      request_uri: pushedUri + app.sealer.seal('pushed', client.client_id, pushed, app.now() + expires_in),
      expires_in
    })
  })
}

export default fp(plugin, { name: 'par', encapsulate: true, dependencies: ['authorization-requests', 'sender-proof', 'browser'] })
