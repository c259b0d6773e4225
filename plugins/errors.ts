import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { errorPage } from '../src/pages/error.ts'
import { finishedPage } from '../src/pages/finished.ts'
import { spelled, strictAlgorithms } from '../src/protocol/algorithms.ts'
import { errorMembers, OAuthError, type ErrorText, type Failure } from '../src/protocol/errors.ts'
import { homeOf } from '../src/protocol/redirect.ts'
import { clientMark } from '../src/protocol/subject.ts'
import { loginOfState } from '../src/protocol/upstream.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** who reads this route's answers: a citizen gets pages, a client gets JSON */
    audience?: 'citizen' | 'client'
    /** what a request of a wrong shape is; a client's fault unless set */
    malformed?: Failure
    /** a login ends here, well or not */
    endsLogin?: boolean
  }
  interface FastifyRequest {
    /** The way back to the service, where we know it. */
    wayBack (): { back?: { href: string, title: string } }
  }
}

/** How many digests a second may go into finding out whose a `state` is: anybody can send one. They take some hundredths of a second. */
const mostMarks = 10_000

/** seconds, by status */
const retryAfter: Record<number, number> = { 429: 60, 500: 60, 502: 60, 503: 5 }

const ofFastify: Record<string, Failure> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'media_type_unsupported',
  FST_ERR_NOT_FOUND: 'not_found'
}

/** A failure as one of ours. What Fastify found wrong names the parameter, never its value. */
function asOAuthError (error: FastifyError | OAuthError, malformed: Failure): OAuthError {
  if (error instanceof OAuthError) return error
  const [fault] = error.validation ?? []
  if (fault !== undefined) return new OAuthError(malformed, `${fault.instancePath.slice(1).replaceAll('/', '.') || 'request'}: ${fault.message ?? 'malformed'}`)
  // its own body's: what we call ourselves fails in our own words
  if (error.code === 'ECONNRESET') return new OAuthError('request_cut_off', 'the request broke off before all of it had arrived')
  const ofRequest = error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500
  const failure = ofFastify[error.code] ?? (ofRequest ? malformed : 'unexpected')
  return new OAuthError(failure, failure === 'unexpected' ? 'something went wrong here' : 'the request cannot be read', { cause: error })
}

/** The one place that answers failures: back to the chooser, back to the client, as a page, or as JSON. */
export default fp(async app => {
  app.setErrorHandler<FastifyError | OAuthError>((error, request, reply) => {
    const { audience, malformed = 'request_malformed' } = request.routeOptions.config
    const failure = asOAuthError(error, malformed)
    request.failure = failure
    if (failure.failure === 'client_unknown') request.returnAddress = null  // taken away while this request was under way: nobody is to be answered any more
    const { row: { status } } = failure
    request.failed(failure)
    if (retryAfter[status] !== undefined) reply.header('retry-after', retryAfter[status])
    return audience === 'client' ? answerClient(failure, request, reply) : answerCitizen(failure, request, reply)
  })

  app.setNotFoundHandler(() => { throw new OAuthError('not_found', 'there is nothing here') })

  function answerClient (failure: OAuthError, request: FastifyRequest, reply: FastifyReply) {
    const { status } = failure.row
    const members = errorMembers(failure)
    app.countFailure(failure.failure, request.routeOptions.config.endsLogin === true ? request.client?.client_id : undefined)
    if (status === 401) reply.headers(challenge(failure, members, request.headers))
    return reply.code(status).send(members)
  }

  function answerCitizen (failure: OAuthError, request: FastifyRequest, reply: FastifyReply) {
    const { notice, status, citizen, page } = failure.row
    const { login, returnAddress } = request
    // a login under way goes on: the chooser again, the client's request intact
    if (notice !== undefined && login !== null) {
      app.countFailure(failure.failure)
      const { idp = login.idp } = request.params as { idp?: string }
      reply.removeHeader('retry-after')                                // who is sent on is not to wait (RFC 9110 §10.2.3)
      return reply.redirect(app.ownAddress('/choose', login, { notice, idp }), 303)
    }
    const finished = page === 'finished'
    const ended = finished || (login === null && returnAddress === null) ? undefined : login?.request.client_id ?? request.cameFrom?.client_id ?? 'unknown'
    app.countFailure(failure.failure, ended)
    if (returnAddress !== null) return reply.returnTo(returnAddress, errorMembers(failure))
    const { back } = request.wayBack()
    if (finished) return reply.code(status).page(finishedPage(request.pageContext(), { client: app.party(app.clientOf(login!)), backHref: back!.href }))
    const again = status === 503 && request.method === 'GET' && failure.failure !== 'logout_not_recorded'
    return reply.code(status).page(errorPage(request.pageContext(), {
      code: citizen,
      id: request.id,
      text: page as ErrorText,
      ...(again ? { retryHref: request.url } : {}),
      ...(back === undefined ? {} : { back })
    }))
  }

  app.decorateRequest('wayBack', function () {
    const { client: named, client_id, state } = { ...this.query as object, ...this.body as object } as Record<string, unknown>
    const client = this.cameFrom ?? app.client(named ?? client_id) ?? clientOfState(typeof state === 'string' ? state : undefined)
    if (client === undefined) return {}
    const underWay = this.login !== null && !this.login.done && this.returnAddress !== null
    const href = underWay ? app.ownAddress('/leave', this.login!) : homeOf(client)
    return href === undefined ? {} : { back: { href, title: client.title } }
  })

  let looked = { at: 0, marks: 0 }

  /**
   * The client that a `state` of ours came from, looked for only where its login is lost; to the identity provider it tells nothing. That takes a digest for each client: of a
   * flood only the first are looked for.
   */
  function clientOfState (state: string | undefined) {
    const { clients, keys: { subject } } = app.configuration
    const { id, mark } = loginOfState(state) ?? {}
    if (id === undefined) return undefined
    if (looked.at !== app.now()) looked = { at: app.now(), marks: 0 }
    if (looked.marks >= mostMarks) return undefined
    looked.marks += clients.size
    return [...clients.values()].find(({ client_id }) => clientMark(subject, id, client_id) === mark)
  }
}, { name: 'errors', dependencies: ['metrics', 'events', 'clients', 'pages', 'authorization-response'] })

const proofAlgorithms = `algs="${spelled(strictAlgorithms).join(' ')}"`

/** RFC 6749 §5.2 where Basic was tried at the token endpoint, RFC 6750 §3 and RFC 9449 §7.1 at userinfo, by the scheme that was tried. */
function challenge ({ failure, row: { error } }: OAuthError, { error_description }: { error_description: string }, { authorization = '' }: { authorization?: string | undefined }) {
  if (error === 'invalid_client') return authorization === '' ? {} : { 'www-authenticate': 'Basic realm="token", charset="UTF-8"' }
  if (failure === 'token_missing') return { 'www-authenticate': `Bearer realm="userinfo", DPoP realm="userinfo", ${proofAlgorithms}` }
  const about = `realm="userinfo", error="${error}", error_description="${error_description}"`
  return { 'www-authenticate': /^dpop /i.test(authorization) ? `DPoP ${about}, ${proofAlgorithms}` : `Bearer ${about}` }
}
