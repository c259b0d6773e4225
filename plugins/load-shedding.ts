import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { loadGauge, type Rank } from '../src/adapters/load-gauge.ts'
import { loginBudget } from '../src/adapters/login-budget.ts'
import { waitingLine } from '../src/adapters/waiting-line.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** whether it is counted as in flight: from when all of it is here until its answer is made */
    inFlight: boolean
  }
}

/** The rank of each endpoint, by the first part of its path under the base. */
const rankOf: Readonly<Record<string, Rank>> = {
  authorize: 'beginning',
  par: 'beginning',
  choose: 'under_way',
  login: 'under_way',
  callback: 'ending',
  consent: 'ending',
  leave: 'ending',
  token: 'ending',
  userinfo: 'ending',
  introspection: 'ending',
  revocation: 'ending',
  session: 'ending',
  assets: 'published',
  jwks: 'published',
  'provider-keys': 'published',
  '.well-known': 'published'
}

/** Without anybody sent away for so long it is over. */
const quietMs = 2000

/** What a login is made of; with the others the loop is busy, too. */
const partsOfLogins = new Set(['authorize', 'par', 'choose', 'login', 'callback', 'consent', 'leave', 'token', 'userinfo'])
/** What only a browser with a login has to do with: without its cookie nothing is lost. */
const ofLogins = new Set(['choose', 'login', 'callback', 'consent', 'leave'])

/** When it is too much, some are sent away so that the others arrive: first who asks for nothing and who begins, last those whose login comes to its end. Probes and metrics are on a port of their own. */
export default fp(async app => {
  const { base, settings: { load } } = app.configuration
  const gauge = loadGauge({ delayMs: load.delay_ms, inFlight: load.requests_in_flight })
  const budget = loginBudget()
  const line = waitingLine({ delayMs: load.delay_ms, most: load.requests_in_flight, budget })
  const figures = app.watchLoad({ loginsPerSecond: () => budget.pace * 1000, waiting: () => line.waiting, inFlight: () => gauge.inFlight, delaySeconds: () => gauge.delaySeconds, pressure: () => gauge.pressure })

  const nameOf = ({ url }: FastifyRequest) => /^[\w.-]*/.exec(url.slice(base.length + 1))![0]

  function rank (request: FastifyRequest, name: string): Rank {
    if (request.is404) return 'nowhere'
    if (ofLogins.has(name)) return request.bringsLogin() ? rankOf[name]! : 'nowhere'
    if (name === 'authorize') return rankOfAuthorize(request)
    return Object.hasOwn(rankOf, name) ? rankOf[name]! : 'nowhere'
  }

  /** One that was begun comes by GET without a client; one that is posted names it in its body, which nobody has read yet. */
  function rankOfAuthorize (request: FastifyRequest): Rank {
    const { client_id } = request.query as Record<string, unknown>
    if (client_id !== undefined) return app.client(client_id) === undefined ? 'nowhere' : 'beginning'
    if (request.bringsLogin()) return 'under_way'
    return request.method === 'POST' ? 'beginning' : 'nowhere'
  }

  app.addHook('onRequest', (request, reply, done) => {
    const name = nameOf(request)
    const own = rank(request, name)
    const sendAway = () => {
      figures.shed(own)
      tell()
      reply.turnAway('overloaded')
    }
    if (gauge.isTooMuchFor(own)) return sendAway()
    line.join(own, isLetIn => {
      if (request.raw.socket.destroyed) {
        reply.hijack()
        return false
      }
      budget.work(!isLetIn ? 'refusal' : partsOfLogins.has(name) ? 'login' : 'other')
      if (isLetIn) done()
      else try { sendAway() } catch (error) { done(error as Error) }        // the others of this turn have their answers to get
      return name !== 'par'                                               // the login that was pushed begins when its citizen comes
    })
  })

  // tokens were given: a login has come to its end
  app.addHook('onResponse', async (request, { statusCode }) => { if (statusCode === 200 && nameOf(request) === 'token') budget.end() })

  // a body that comes slowly, and an answer that is read slowly, keep nobody else from anything: they do not count
  app.decorateRequest('inFlight', false)
  app.addHook('preValidation', async request => {
    request.inFlight = true
    gauge.came()
  })
  app.addHook('onSend', async request => {
    if (!request.inFlight) return
    request.inFlight = false
    gauge.went()
  })

  /** One line when it begins, one when nobody has been sent away for a while. */
  let lastShed = 0
  let watching: NodeJS.Timeout | undefined
  function tell () {
    lastShed = performance.now()
    if (watching !== undefined) return
    app.log.warn(seen(), 'too much to do: requests are sent away')
    watching = setInterval(() => {
      if (performance.now() - lastShed < quietMs) return
      clearInterval(watching)
      watching = undefined
      app.log.warn(seen(), 'no longer too much to do')
    }, 1000).unref()
  }
  const seen = () => ({ delayMs: Math.round(gauge.delaySeconds * 1000), inFlight: gauge.inFlight })

  app.addHook('onListen', async () => gauge.start())
  app.addHook('onClose', async () => {
    gauge.stop()
    clearInterval(watching)
  })
}, { name: 'load-shedding', dependencies: ['metrics', 'browser', 'clients', 'turn-away'] })
