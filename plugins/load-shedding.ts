import type { FastifyContextConfig, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { loadGauge, type Rank } from '../src/adapters/load-gauge.ts'
import { loginBudget } from '../src/adapters/login-budget.ts'
import { waitingLine } from '../src/adapters/waiting-line.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** how far somebody has come who comes here, and so who goes first when it is too much; nowhere unless set */
    rank?: Rank | ((request: FastifyRequest) => Rank)
    /** a part of a login, to which it counts what it costs; one that only the browser with its cookie has to do with, without which nothing is lost */
    ofLogin?: 'anyone' | 'its_browser'
  }
  interface FastifyRequest {
    /** whether it is counted as in flight: from when all of it is here until its answer is made; or parked, since it waits for the store */
    inFlight: boolean
    parked: boolean
  }
}

/** Without anybody sent away for so long it is over. */
const quietMs = 2000

/** When it is too much, some are sent away so that the others arrive: first who asks for nothing and who begins, last those whose login comes to its end. Probes and metrics are on a port of their own. */
export default fp(async app => {
  const { settings: { load } } = app.configuration
  const gauge = loadGauge({ delayMs: load.delay_ms, inFlight: load.requests_in_flight })
  const budget = loginBudget()
  const line = waitingLine({ delayMs: load.delay_ms, most: load.requests_in_flight, budget })
  const figures = app.watchLoad({ loginsPerSecond: () => budget.pace * 1000, waiting: () => line.waiting, inFlight: () => gauge.inFlight, parked: () => gauge.parked, delaySeconds: () => gauge.delaySeconds, pressure: () => gauge.pressure })

  function rankOf (request: FastifyRequest, { rank = 'nowhere', ofLogin }: FastifyContextConfig): Rank {
    if (ofLogin === 'its_browser' && !request.bringsLogin()) return 'nowhere'
    return typeof rank === 'function' ? rank(request) : rank
  }

  app.addHook('onRequest', (request, reply, done) => {
    const { config, config: { audience, ofLogin } } = request.routeOptions
    const own = rankOf(request, config)
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
      budget.work(!isLetIn ? 'refusal' : ofLogin === undefined || own === 'nowhere' ? 'other' : 'login')
      if (isLetIn) done()
      else try { sendAway() } catch (error) { done(error as Error) }        // the others of this turn have their answers to get
      return audience === 'citizen'                                       // a login that a client has pushed begins when its citizen comes
    })
  })

  app.addHook('onResponse', async request => { if (request.hasCode) budget.end() })

  // a body that comes slowly, and an answer that is read slowly, keep nobody else from anything: they do not count
  app.decorateRequest('inFlight', false)
  app.addHook('preValidation', async request => {
    request.inFlight = true
    gauge.came()
  })
  // nor does a store that is away: whoever waits for it would else take the places of those who can do without it
  app.decorateRequest('parked', false)
  app.whenStoreIsSlow(request => {
    if (!request.inFlight || !gauge.park()) return
    request.inFlight = false
    request.parked = true
  })
  app.addHook('onSend', async request => {
    if (request.inFlight) gauge.went()
    if (request.parked) gauge.unpark()
    request.inFlight = request.parked = false
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
}, { name: 'load-shedding', dependencies: ['metrics', 'errors', 'store', 'browser', 'authorization-response', 'turn-away'] })
