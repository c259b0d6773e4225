import { randomInt } from 'node:crypto'
import fp from 'fastify-plugin'
import { busyPage } from '../src/pages/busy.ts'
import { failures } from '../src/protocol/errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** whether it was sent away for some seconds: it is counted and leaves no line in the log, which would cost more than the answer */
    turnedAway: boolean
  }
  interface FastifyReply {
    /** Answers at once, before anything is done: come back in some seconds. */
    turnAway (failure: 'overloaded' | 'rate_limited'): FastifyReply
  }
}

/** Seconds until they come back, not all at the same time. */
const soonest = 5
const latest = 15

/**
 * The cheap answer to those who are too many, without the detour of an error, whose stack, page and log line cost about as much as what they ask for. A page comes back by itself, to the
 * very address it is at (HTML, the Refresh header), where it was asked for by GET; what was posted is never sent again without the citizen.
 */
export default fp(async app => {
  const written = new Map<string, string>()

  app.decorateRequest('turnedAway', false)
  app.decorateReply('turnAway', function (failure) {
    const { request } = this
    const { status, error, citizen } = failures[failure]
    const seconds = randomInt(soonest, latest + 1)
    request.turnedAway = true
    app.countFailure(failure)
    this.code(status).header('retry-after', seconds)
    if (request.routeOptions.config.audience === 'client') return this.send({ error, error_description: `too many requests at the moment: try again in ${seconds} seconds` })

    const byItself = request.method === 'GET'
    if (byItself) this.header('refresh', seconds)
    const language = request.citizenLanguage()
    const name = `${language} ${failure} ${byItself}`
    if (!written.has(name)) {
      const { switchHref, ...context } = request.pageContext()
      written.set(name, busyPage(context, { code: citizen, byItself }))
    }
    return this.type('text/html; charset=utf-8').send(written.get(name))
  })
}, { name: 'turn-away', dependencies: ['metrics', 'pages'] })
