import rateLimit from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { dailyNames } from '../src/adapters/daily-names.ts'
import { rateCounts } from '../src/adapters/rate-counts.ts'
import { networkOf, withinNetworks } from '../src/protocol/network.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** a login under way that this request brought, looked for where its address is over its limit; '' for none */
    passingLogin: string
    /** Counts wrong credentials for a client; whether there were too many of them from this address. Right ones are never asked about. */
    isGuessing (): Promise<boolean>
  }
}

/** Seconds for which the address from which a service has proved itself is one of its backends, and as many such addresses. */
const backendSeconds = 60
const mostBackends = 10_000
/** Requests a second that a login under way may make from an address that is over its limit, for its cookie is no pass for a flood; and by which services may prove themselves from there. */
const mostOfOneLogin = 20
const mostProofs = 20
/** All logins of an address that is over its limit may make so many times that: cookies can be collected. */
const mostPassing = 10

/**
 * Who comes too often, by address: citizens behind one address are many, so limits are generous, and who has a login under way passes. So does, where services call, the address from which one has just proved
 * itself, and by a few requests any other may: right credentials are never too many. No client is ever refused since others spoke in its
 * name: wrong credentials count by address and client, and only further wrong ones are refused for it.
 */
export default fp(async app => {
  const { tls, settings: { issuer, environment, trusted_proxies, rate_limits: { address_per_second, wrong_credentials_per_minute, exempt_networks } } } = app.configuration
  // without TLS of ours there is a proxy before us: where its word is not believed, everybody has its address
  const knowsAddresses = tls !== undefined || trusted_proxies.length > 0 || environment === 'development'
  if (!knowsAddresses) app.log.warn('addresses are not limited: trusted_proxies names no proxy, and so everybody has the address of whatever stands before us')
  const isExempt = withinNetworks(exempt_networks)
  const figures = app.watchRates()
  const common = { now: app.now, onFailure: figures.storeFailed, onFull: figures.uncounted }
  const count = rateCounts({ ...common, board: app.noticeboard, nameOf: dailyNames({ issuer, keys: () => app.configuration.keys.sealing, now: app.now }) })
  const told = rateCounts({ ...common, board: { tally: async () => 0 }, nameOf: name => name })

  const store = {
    incr (name: string, answer: (error: Error | null, result?: { current: number, ttl: number }) => void, windowMs: number, limit: number) {
      count(name, { limit, seconds: windowMs / 1000 }).then(current => answer(null, { current, ttl: windowMs }), answer)
    },
    child: () => store
  }
  await app.register(rateLimit, { global: false, store: function () { return store } as never })

  const address = ({ ip }: FastifyRequest) => networkOf(ip) ?? ''
  const isUncounted = (request: FastifyRequest) => !knowsAddresses || isExempt(request.ip) || address(request) === ''
  const limitOf = (max: number, timeWindow: number, nameOf: (request: FastifyRequest) => string) => {
    const look = app.createRateLimit({ max, timeWindow, keyGenerator: nameOf, allowList: isUncounted })
    return async (request: FastifyRequest) => {
      const found = await look(request)
      return !found.isAllowed && found.isExceeded
    }
  }
  const isTooMuchOfAddress = limitOf(address_per_second, 1000, request => `address ${address(request)}`)
  const isTooMuchOfLogin = limitOf(mostOfOneLogin, 1000, request => `login ${request.passingLogin}`)
  const isTooMuchOfPassing = limitOf(mostPassing * address_per_second, 1000, request => `passing ${address(request)}`)
  const isTooMuchOfProofs = limitOf(mostProofs, 1000, request => `proofs ${address(request)}`)
  const isTooMuchOfClient = limitOf(wrong_credentials_per_minute, 60_000, request => `client ${request.claimedClient} ${address(request)}`)

  const backends = new Map<string, number>()
  app.addHook('onResponse', async request => {
    if (!knowsAddresses || request.client === null || request.client.token_endpoint_auth_method === 'none') return
    backends.delete(address(request))
    backends.set(address(request), app.now() + backendSeconds)
    if (backends.size > mostBackends) backends.delete(backends.keys().next().value!)
  })
  const isBackend = (request: FastifyRequest) => (backends.get(address(request)) ?? 0) > app.now()
  const mayProveItself = async (request: FastifyRequest) => request.method === 'POST' && !await isTooMuchOfProofs(request)

  app.decorateRequest('passingLogin', '')
  app.addHook('onRequest', async (request, reply) => {
    if (!await isTooMuchOfAddress(request)) return
    if (request.routeOptions.config.audience === 'client' && (isBackend(request) || await mayProveItself(request))) return
    request.passingLogin = request.liveLogin()
    if (request.passingLogin !== '' && !await isTooMuchOfLogin(request) && !await isTooMuchOfPassing(request)) return
    figures.limited('address')
    // one event for each address and second, not one for each request
    if (await told(address(request), { limit: Infinity, seconds: 1 }) === 1) request.event('rate_limited', { outcome: 'us', failure: 'rate_limited' })
    return reply.turnAway('rate_limited')
  })

  app.decorateRequest('isGuessing', async function () {
    if (this.claimedClient === '' || !await isTooMuchOfClient(this)) return false
    figures.limited('credentials')
    return true
  })
}, { name: 'rate-limit', dependencies: ['metrics', 'events', 'store', 'signer', 'browser', 'clients', 'turn-away'] })
