import { decodeProtectedHeader } from 'jose'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Client } from '../src/config/load.ts'
import { acceptedAlgorithms } from '../src/protocol/algorithms.ts'
import { AuthorizationParameters, checkAuthorizationRequest, checkClientAndAddress, longestState, pushedUri, responseMode, type PushedRequest } from '../src/protocol/authorization-request.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import { parametersWithin } from '../src/protocol/request-object.ts'
import { patienceMs, unlessAway } from './store.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The authorization request that these parameters make, or the request object (RFC 9101) or pushed request (RFC 9126) that they name, checked. From the moment the client's
     * address is verified failures go back to it, where a citizen reads them.
     * @throws {OAuthError} client_unknown, client_inactive, redirect_uri_unknown, request_uri_invalid, request_object_unsupported, request_object_invalid, and those of `checkAuthorizationRequest`
     */
    readAuthorizationRequest (parameters: AuthorizationParameters, how?: { pushed?: boolean }): Promise<PushedRequest>
  }
}

/** What clients ask for, by whichever way it comes: plain, as a request object, or pushed. */
export default fp(async app => {
  const { issuer } = app.configuration.settings

  app.decorateRequest('readAuthorizationRequest', async function (outer, { pushed = false } = {}) {
    if (!pushed && typeof outer.request_uri === 'string' && outer.request_uri.startsWith(pushedUri)) return openPushed(this, outer)
    const asking = app.client(outer.client_id)
    this.cameFrom = asking ?? null
    this.uiLocales = localesOf(outer)
    const signed = outer.request !== undefined && asking?.active === true
    const parameters = signed ? await within(this, outer, asking) : outer
    this.uiLocales = localesOf(parameters)

    const client = checkClientAndAddress(asking, parameters.redirect_uri)
    answerTo(this, parameters)
    if (this.validationError) throw this.validationError
    const request = checkAuthorizationRequest(parameters, client, app.configuration.levels, { pushed, signed })
    const sub = await hintedSubject(parameters.id_token_hint, client.client_id)
    if (sub !== undefined && request.sub !== undefined && sub !== request.sub) throw new OAuthError('parameter_invalid', 'id_token_hint: not the sub that claims asks for')
    const { idp_hint, ui_locales } = parameters
    return { request: sub === undefined ? request : { ...request, sub }, idp_hint, ui_locales }
  })

  /** The request that its client pushed: what else stands beside it counts for nothing (RFC 9126 §4). It is looked at again with the registration in force. */
  async function openPushed (request: FastifyRequest, { client_id, request_uri = '' }: AuthorizationParameters) {
    const client = app.client(client_id)
    if (client === undefined) throw new OAuthError('client_unknown', 'client_id: not the identifier of a registered client')
    request.cameFrom = client
    const pushed = app.sealer.open('pushed', client.client_id, request_uri.slice(pushedUri.length))?.record
    if (pushed === undefined) throw new OAuthError('request_uri_invalid', 'request_uri: expired, or not one that was given to this client')
    checkClientAndAddress(client, pushed.request.redirect_uri)
    request.returnAddress = pushed.request
    request.uiLocales = pushed.ui_locales ?? ''
    // where that cannot be known soon it goes on: the code itself is issued once
    const used = await unlessAway(app.store.said(`pushed ${pushed.request.pushed}`, { patienceMs, at: pushed.request.pushed }), false)
    if (used) throw new OAuthError('request_uri_invalid', 'request_uri: already used')
    return pushed
  }

  function answerTo (request: FastifyRequest, { redirect_uri, state, response_mode }: AuthorizationParameters) {
    const mode = responseMode(response_mode)
    request.returnAddress = { redirect_uri: redirect_uri!, ...(typeof state === 'string' && state.length <= longestState ? { state } : {}), ...(mode === undefined ? {} : { response_mode: mode }) }
  }

  /** The parameters within a request object, signed by its client (RFC 9101 §6). */
  async function within (request: FastifyRequest, outer: AuthorizationParameters, client: Client): Promise<AuthorizationParameters> {
    const { request: object, request_uri } = outer
    // until it is opened, failures go to the address beside it, if that is one of the client's
    if (client.redirect_uris.includes(String(outer.redirect_uri))) answerTo(request, outer)
    if (request.validationError) throw request.validationError
    if (request_uri !== undefined) throw new OAuthError('parameter_invalid', 'request_uri: expected only one of request and request_uri')
    const header = headerOf(object!)
    if (header === undefined) throw new OAuthError('request_object_invalid', 'request: expected a JWT')
    if (header.alg === 'none') throw new OAuthError('request_object_unsupported', 'request: expected to be signed')
    if (client.jwks === undefined && client.jwks_uri === undefined) throw new OAuthError('request_object_unsupported', 'request: this client has registered no keys')
    const said = await app.clientKeys(client).verify(object!, acceptedAlgorithms(client.profile, client.request_object_signing_alg))
    if (said === undefined) throw new OAuthError('request_object_invalid', 'request: not signed by a key of this client, or not by an algorithm it may use')
    const parameters = parametersWithin(said.header, said.claims, { client_id: client.client_id, issuer, now: app.now(), mustExpire: client.profile === 'fapi2' || client.require_signed_request_object })
    const check = request.compileValidationSchema(AuthorizationParameters as unknown as Record<string, unknown>, 'body')
    request.returnAddress = null                                        // from here on what stands outside counts for nothing
    if (check(parameters)) return parameters as AuthorizationParameters
    const [fault] = check.errors ?? []
    throw new OAuthError('request_object_invalid', `request: ${fault?.instancePath.slice(1)}: ${fault?.message}`)
  }

  /** Whom the client's own ID Token names: nobody else will do (OpenID Connect Core §3.1.2.2). */
  async function hintedSubject (id_token_hint: string | undefined, client_id: string) {
    if (id_token_hint === undefined) return undefined
    const hint = await app.signer.verify(id_token_hint)
    if (hint?.aud !== client_id) throw new OAuthError('parameter_invalid', 'id_token_hint: not an ID Token of ours for this client')
    return hint.sub
  }
}, { name: 'authorization-requests', dependencies: ['clients', 'client-keys', 'signer', 'browser', 'store'] })

/** The languages among parameters whose shape nobody has looked at yet. */
const localesOf = ({ ui_locales }: AuthorizationParameters) => typeof ui_locales === 'string' ? ui_locales : ''

function headerOf (jwt: string) {
  try { return decodeProtectedHeader(jwt) } catch { return undefined }
}
