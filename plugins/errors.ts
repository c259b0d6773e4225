import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { errorPage, type ErrorText } from '../src/pages/error.ts'
import { finishedPage } from '../src/pages/finished.ts'
import { errorMembers, OAuthError, type Failure } from '../src/protocol/errors.ts'
import { withParameters } from '../src/protocol/redirect.ts'
import { clientOf } from './browser.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** who reads this route's answers: a citizen gets pages, a client gets JSON */
    audience?: 'citizen' | 'client'
  }
  interface FastifyRequest {
    /** where failures go back to the client: set only after client_id and redirect_uri are verified (RFC 6749 §4.1.2.1) */
    returnAddress: { redirect_uri: string, state?: string } | null
    /** why this request failed, for the log and the events */
    failure: OAuthError | null
  }
}

const retryAfterSeconds = 5

const ofFastify: Record<string, Failure> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'media_type_unsupported',
  FST_ERR_NOT_FOUND: 'not_found'
}

/** A failure as one of ours. What Fastify found wrong names the parameter, never its value. */
export function asOAuthError (error: FastifyError | OAuthError): OAuthError {
  if (error instanceof OAuthError) return error
  const [fault] = error.validation ?? []
  if (fault !== undefined) return new OAuthError('request_malformed', `${fault.instancePath.slice(1).replaceAll('/', '.') || 'request'}: ${fault.message ?? 'malformed'}`)
  const failure = ofFastify[error.code] ?? (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500 ? 'request_malformed' : 'unexpected')
  return new OAuthError(failure, failure === 'unexpected' ? 'something went wrong here' : 'the request cannot be read', { cause: error })
}

/** The one place that answers failures: back to the chooser, back to the client, as a page, or as JSON. */
export default fp(async app => {
  app.decorateRequest('returnAddress', null)
  app.decorateRequest('failure', null)

  app.setErrorHandler<FastifyError | OAuthError>((error, request, reply) => {
    const failure = asOAuthError(error)
    request.failure = failure
    const { status } = failure.row
    request.log[status >= 500 ? 'error' : 'info']({ failure: failure.failure, err: failure }, 'failed')
    app.countFailure(failure.failure, request.login !== null || request.returnAddress !== null || request.client !== null)
    if (status === 503) reply.header('retry-after', retryAfterSeconds)
    if (request.routeOptions.config.audience === 'client') return answerClient(failure, request, reply)
    return answerCitizen(failure, request, reply)
  })

  app.setNotFoundHandler((request, reply) => { throw new OAuthError('not_found', 'there is nothing here') })

  function answerClient (failure: OAuthError, request: FastifyRequest, reply: FastifyReply) {
    const { status } = failure.row
    const members = errorMembers(failure)
    if (status === 401) reply.header('www-authenticate', challenge(failure, members, request))
    return reply.code(status).header('cache-control', 'no-store').send(members)
  }

  function answerCitizen (failure: OAuthError, request: FastifyRequest, reply: FastifyReply) {
    const { notice, status, citizen, page } = failure.row
    const { login, returnAddress } = request
    // a login under way goes on: the chooser again, the client's request intact
    if (notice !== undefined && login !== null && request.routeOptions.url !== `${app.configuration.base}/authorize`) {
      return reply.redirect(request.chooserHref(login, { notice, idp: (request.params as { idp?: string }).idp ?? login.idp }), 303)
    }
    if (returnAddress !== null) {
      const { redirect_uri, state } = returnAddress
      return reply.redirect(withParameters(redirect_uri, { ...errorMembers(failure), state, iss: app.configuration.settings.issuer }), 303)
    }
    const { back } = request.wayBack()
    if (page === 'finished') return reply.code(status).page(finishedPage(request.pageContext(), { client: app.party(clientOf(app, login!)), backHref: back!.href }))
    return reply.code(status).page(errorPage(request.pageContext(), {
      code: citizen,
      id: request.id,
      text: page as ErrorText,
      ...(status === 503 && request.method === 'GET' && failure.failure !== 'logout_not_recorded' ? { retryHref: request.url } : {}),
      ...(back === undefined ? {} : { back })
    }))
  }
}, { name: 'errors', dependencies: ['metrics'] })

/** RFC 6750 §3 at userinfo, RFC 6749 §5.2 at the token endpoint. */
function challenge ({ failure, row: { error } }: OAuthError, { error_description }: { error_description: string }, request: FastifyRequest) {
  if (error === 'invalid_client') return 'Basic realm="token", charset="UTF-8"'
  return failure === 'token_missing' ? 'Bearer realm="userinfo"' : `Bearer realm="userinfo", error="${error}", error_description="${error_description}"`
}
