import etag from '@fastify/etag'
import formbody from '@fastify/formbody'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { parse } from 'fast-querystring'
import Fastify, { LogController, type FastifyInstance } from 'fastify'
import type { LookupFunction } from 'node:net'
import { randomInt } from 'node:crypto'
import { hostname } from 'node:os'
import type { Server } from 'node:https'
import { isDeepStrictEqual } from 'node:util'
import type { DestinationStream } from 'pino'
import authorizationRequests from '../plugins/authorization-requests.ts'
import authorizationResponse from '../plugins/authorization-response.ts'
import backChannelLogout from '../plugins/back-channel-logout.ts'
import browser from '../plugins/browser.ts'
import citizens from '../plugins/citizens.ts'
import clientKeys from '../plugins/client-keys.ts'
import clients from '../plugins/clients.ts'
import configurationInForce from '../plugins/configuration.ts'
import connections from '../plugins/connections.ts'
import cors from '../plugins/cors.ts'
import ends from '../plugins/ends.ts'
import errors from '../plugins/errors.ts'
import events from '../plugins/events.ts'
import health from '../plugins/health.ts'
import identityProviders from '../plugins/identity-providers.ts'
import loadShedding from '../plugins/load-shedding.ts'
import metrics from '../plugins/metrics.ts'
import pages from '../plugins/pages.ts'
import rateLimit from '../plugins/rate-limit.ts'
import securityHeaders from '../plugins/security-headers.ts'
import senderProof from '../plugins/sender-proof.ts'
import sessions from '../plugins/sessions.ts'
import signer from '../plugins/signer.ts'
import store from '../plugins/store.ts'
import tokens from '../plugins/tokens.ts'
import traces from '../plugins/traces.ts'
import turnAway from '../plugins/turn-away.ts'
import assets from '../plugins/endpoints/assets.ts'
import authorize from '../plugins/endpoints/authorize.ts'
import callback from '../plugins/endpoints/callback.ts'
import choose from '../plugins/endpoints/choose.ts'
import consent from '../plugins/endpoints/consent.ts'
import discovery from '../plugins/endpoints/discovery.ts'
import introspection from '../plugins/endpoints/introspection.ts'
import jwks from '../plugins/endpoints/jwks.ts'
import leave from '../plugins/endpoints/leave.ts'
import login from '../plugins/endpoints/login.ts'
import par from '../plugins/endpoints/par.ts'
import providerKeys from '../plugins/endpoints/provider-keys.ts'
import revocation from '../plugins/endpoints/revocation.ts'
import sessionEnd from '../plugins/endpoints/session-end.ts'
import token from '../plugins/endpoints/token.ts'
import userinfo from '../plugins/endpoints/userinfo.ts'
import type { Traces } from './adapters/traces.ts'
import type { Configuration } from './config/load.ts'
import { loggable } from './log.ts'
import { cut, publicPatience, type Patience } from './patience.ts'
import type { Clock, IdentityProvider, Noticeboard, Store } from './ports.ts'

declare module 'fastify' {
  interface FastifyInstance {
    now: Clock
  }
}

/** What tests put in place of the real thing; production passes the addresses of Redis at most. */
export interface Ports {
  store?: Store
  noticeboard?: Noticeboard
  redis?: readonly string[]
  identityProviders?: Map<string, IdentityProvider>
  lookup?: LookupFunction
  now?: Clock
  log?: DestinationStream | false
  traces?: Traces | undefined
  patience?: Patience
}

/** The gateway: every plugin by name, in the order a request meets them. */
export async function buildApp (configuration: Configuration, ports: Ports = {}): Promise<FastifyInstance> {
  const { settings, base, tls } = configuration                      // what only a start can change
  const { head, handshakeTimeout, ...patience } = ports.patience ?? publicPatience
  const app = Fastify({
    ...(tls === undefined ? { http: head } : { https: { ...secured(tls), ...head, handshakeTimeout } as never }),
    ...patience,
    clientErrorHandler: cut,
    pluginTimeout: 0,                                                  // of our end, too: who is here then is waited for, and drain.finish_seconds says how long
    return503OnClosing: false,                                         // who is here while we close is served
    logger: ports.log === false ? false : { level: 'info', base: { site: settings.site, replica: hostname(), pid: process.pid }, ...loggable, ...(ports.log === undefined ? {} : { stream: ports.log }) },
    logController: new LogController({ disableRequestLogging: true }),   // one line a request: plugins/events.ts
    genReqId: supportId,
    trustProxy: settings.trusted_proxies.length > 0 ? settings.trusted_proxies : false,
    exposeHeadRoutes: false,                                           // a HEAD on /callback would run the handler and spend the login
    bodyLimit: 32 * 1024,
    routerOptions: { querystringParser: readParameters, maxParamLength: 16 * 1024 },  // the schemas say how long; an answer comes from them
    rewriteUrl: ({ url = '/' }) => readable(url) ? url : '/unreadable',
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } }
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.removeAllContentTypeParsers()                                    // forms only
  app.decorate('now', ports.now ?? (() => Math.floor(Date.now() / 1000)))

  await app.register(configurationInForce, { configuration })
  await app.register(ends)
  await app.register(metrics)
  await app.register(traces, ports)
  await app.register(health)
  await app.register(events)
  await app.register(signer)
  await app.register(store, ports)
  await app.register(citizens)
  await app.register(clientKeys, ports)
  await app.register(clients)
  await app.register(senderProof)
  await app.register(tokens)
  await app.register(backChannelLogout)
  await app.register(connections)
  await app.register(securityHeaders)
  await app.register(formbody, { bodyLimit: 32 * 1024, parser: readParameters })
  await app.register(browser)
  await app.register(pages)
  await app.register(sessions)
  await app.register(authorizationResponse)
  await app.register(errors)
  await app.register(cors)                                             // after errors, which answer for its preflights too
  await app.register(turnAway)
  await app.register(rateLimit)
  await app.register(loadShedding)
  await app.register(identityProviders, ports)
  await app.register(authorizationRequests)

  await app.register(async endpoints => {
    await endpoints.register(assets)
    await endpoints.register(async published => {
      await published.register(etag)
      await published.register(discovery)
      await published.register(jwks)
      await published.register(providerKeys)
    })
    await endpoints.register(par)
    await endpoints.register(authorize)
    await endpoints.register(choose)
    await endpoints.register(login)
    await endpoints.register(callback)
    await endpoints.register(consent)
    await endpoints.register(leave)
    await endpoints.register(token)
    await endpoints.register(userinfo)
    await endpoints.register(introspection)
    await endpoints.register(revocation)
    await endpoints.register(sessionEnd)
  }, { prefix: base })

  if (tls !== undefined) app.onReconfigured((now, before) => { if (!isDeepStrictEqual(now.tls, before.tls)) (app.server as unknown as Server).setSecureContext(secured(now.tls!)) })
  return app as unknown as FastifyInstance
}

/** Query and form alike: a parameter sent without a value is treated as if it were not sent (RFC 6749 §3.1). */
const readParameters = (text: string) => Object.fromEntries(Object.entries(parse(text)).filter(([, value]) => value !== ''))

/** Whether a path can be decoded: one that cannot is answered as any that is not there, by the same hooks and pages. */
function readable (url: string) {
  const path = url.split('?', 1)[0]!
  if (!path.includes('%')) return true
  try { return decodeURIComponent(path) !== '' } catch { return false }
}

/** A certificate of our own, with what we offer. */
const secured = (tls: NonNullable<Configuration['tls']>) => ({ ...tls, minVersion: 'TLSv1.2' as const, ciphers: tlsCiphers })

/** All of TLS 1.3, and of TLS 1.2 what BCP 195 recommends (RFC 9325 §4.2). */
const tlsCiphers = [
  'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'
].join(':')

const alphabet = '23456789ABCDEFGHJKMNPQRSTUVWXYZ'

/** The id of a request, which a citizen can read over the telephone. */
const supportId = () => Array.from({ length: 10 }, () => alphabet[randomInt(alphabet.length)]).join('')
