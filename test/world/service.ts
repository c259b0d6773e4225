import { readFile } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import cookie from '@fastify/cookie'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import * as openid from 'openid-client'
import { Agent, fetch } from 'undici'
import { BoundedMap } from './bounded.ts'
import { openHost, type Surroundings } from './host.ts'
import { createLookup } from './lookup.ts'
import { html, page, type Html } from './pages.ts'
import type { ServiceRow } from './services.ts'

/** One running service. */
export interface Service {
  id: string
  row: ServiceRow
  url: string
  client_id: string
  /** The service's secret at the gateway, unless it is public. */
  client_secret: string | undefined
  redirect_uri: string
  post_logout_redirect_uri: string
  stop (): Promise<void>
}

/** A login that has left for the gateway. */
interface Departure { checks: openid.AuthorizationCodeGrantChecks, asked: URLSearchParams, onward: boolean }

/** Someone who is here, and the way out. */
interface Visitor { claims: Record<string, unknown>, id_token: string }

interface Session { departures: BoundedMap<string, Departure>, visitor?: Visitor, leaving?: string }

/** Parameters of the authorization request that `/login` takes over from its own query. */
const overrides = ['scope', 'acr_values', 'prompt', 'max_age', 'idp_hint', 'claims', 'ui_locales', 'login_hint']

/** Starts one of the three services: a small web application that knows the gateway by its issuer only. */
export async function startService (row: ServiceRow, surroundings: Surroundings): Promise<Service> {
  const { issuer, suffix, ca } = surroundings
  const logo = await readFile(new URL(`logos/${row.id}.svg`, import.meta.url))
  const app = Fastify({ exposeHeadRoutes: false })
  await app.register(cookie)
  const host = await openHost(row.host, row.port, surroundings, (request, response) => app.routing(request, response))
  const url = host.origin
  const redirect_uri = `${url}/callback`
  const post_logout_redirect_uri = `${url}/logged-out`
  const client_secret = row.token_endpoint_auth_method === 'none' ? undefined : randomBytes(32).toString('base64url')
  const dispatcher = new Agent({ connect: { lookup: createLookup('localhost', suffix), ...(ca && { ca }) } })

  const discover = () => openid.discovery(new URL(issuer), row.client_id, {
    id_token_signed_response_alg: row.id_token_signed_response_alg
  }, authentication(row, client_secret), {
    [openid.customFetch]: (address, options) => fetch(address, { ...options, dispatcher } as Parameters<typeof fetch>[1]) as unknown as Promise<Response>,
    execute: [openid.enableNonRepudiationChecks, ...(issuer.startsWith('http:') ? [openid.allowInsecureRequests] : [])]
  })
  let known: Promise<openid.Configuration> | undefined
  // The gateway may start after its services: a discovery that failed is tried again by the next visitor.
  const gateway = () => (known ??= discover().catch(error => { known = undefined; throw error }))

  const sessions = new BoundedMap<string, Session>(5000)
  const cookieName = `${row.id}-session`
  const cookieOptions = { path: '/', httpOnly: true, sameSite: 'lax', secure: url.startsWith('https:') } as const

  const keepCookie = (reply: FastifyReply, handle: string) => reply.setCookie(cookieName, handle, cookieOptions)
  const sessionOf = (request: FastifyRequest) => sessions.get(request.cookies[cookieName] ?? '')
  const openSession = (reply: FastifyReply, session: Partial<Session> = {}) => {
    const handle = randomBytes(24).toString('base64url')
    const opened: Session = { departures: new BoundedMap(5), ...session }
    sessions.set(handle, opened)
    keepCookie(reply, handle)
    return { handle, session: opened }
  }
  const show = (reply: FastifyReply, title: string, body: Html, width?: string) =>
    reply.type('text/html; charset=utf-8').header('cache-control', 'no-store').send(page({ party: row.title, title, colour: row.colour, body, ...(width && { width }) }))

  app.get('/logo.svg', (_request, reply) => reply.type('image/svg+xml').send(logo))

  app.get('/', (request, reply) => {
    const visitor = sessionOf(request)?.visitor
    return visitor ? show(reply, 'Bienvenue', greeting(visitor.claims), '46rem') : show(reply, 'Accueil', welcome(row))
  })

  app.get<{ Querystring: Record<string, string> }>('/login', async (request, reply) => {
    const configuration = await gateway()
    const code_verifier = openid.randomPKCECodeVerifier()
    const state = openid.randomState()
    const nonce = openid.randomNonce()
    const asked = new URLSearchParams({ scope: row.scope, acr_values: row.acr_values })
    for (const name of overrides) {
      const value = request.query[name]
      if (value) asked.set(name, value)
      else if (value === '') asked.delete(name)
    }
    const max_age = asked.get('max_age')
    const departure: Departure = {
      checks: { pkceCodeVerifier: code_verifier, expectedState: state, expectedNonce: nonce, ...(max_age && { maxAge: Number(max_age) }) },
      asked,
      onward: request.query['onward'] !== undefined
    }
    const session = sessionOf(request) ?? openSession(reply).session
    session.departures.set(state, departure)

    const destination = openid.buildAuthorizationUrl(configuration, {
      ...Object.fromEntries(asked),
      redirect_uri,
      state,
      nonce,
      code_challenge: await openid.calculatePKCECodeChallenge(code_verifier),
      code_challenge_method: 'S256'
    })
    return reply.redirect(destination.href, 303)
  })

  app.get<{ Querystring: Record<string, string> }>('/callback', async (request, reply) => {
    const session = sessionOf(request)
    const state = request.query['state'] ?? ''
    const departure = session?.departures.get(state)
    if (!session || !departure) throw new Error('this login did not start here, or has been finished already')
    session.departures.delete(state)

    const configuration = await gateway()
    const tokens = await openid.authorizationCodeGrant(configuration, new URL(request.url, url), departure.checks)
    const claims = tokens.claims()!
    checkLevel(claims['acr'], departure.asked.get('acr_values'))
    const visitor = {
      claims: { ...claims, ...await openid.fetchUserInfo(configuration, tokens.access_token, claims.sub) },
      id_token: tokens.id_token!
    }
    sessions.delete(request.cookies[cookieName] ?? '')
    const { handle } = openSession(reply, { departures: session.departures, visitor })
    // Some services answer the callback at one host and greet at another.
    return reply.redirect(departure.onward ? `${url.replace('://', '://espace.')}/enter?ticket=${handle}` : '/', 303)
  })

  app.get<{ Querystring: { ticket?: string } }>('/enter', (request, reply) => {
    const session = sessions.get(request.query.ticket ?? '')
    if (!session) throw new Error('this ticket is unknown here')
    sessions.delete(request.query.ticket!)
    openSession(reply, session)
    return reply.redirect('/', 303)
  })

  app.get('/logout', async (request, reply) => {
    const session = sessionOf(request)
    sessions.delete(request.cookies[cookieName] ?? '')
    if (!session?.visitor) return reply.redirect('/', 303)
    const leaving = openid.randomState()
    openSession(reply, { leaving })
    const destination = openid.buildEndSessionUrl(await gateway(), { id_token_hint: session.visitor.id_token, post_logout_redirect_uri, state: leaving })
    return reply.redirect(destination.href, 303)
  })

  app.get<{ Querystring: { state?: string } }>('/logged-out', (request, reply) => {
    if (sessionOf(request)?.leaving !== request.query.state) throw new Error('this logout did not start here')
    return show(reply, 'Déconnexion', html`
      <section><h1>À bientôt</h1><p id="logged-out">Vous êtes déconnecté.</p><p><a id="home" href="/">Retour à l’accueil</a></p></section>`)
  })

  app.setErrorHandler((error, _request, reply) => {
    const { code, description, status } = explain(error)
    return show(reply.status(status), 'Connexion impossible', html`
      <section id="error"><h1>Vous n’êtes pas connecté</h1>
      <p role="alert"><code id="error-code">${code}</code> <span id="error-description">${description}</span></p>
      <p><a id="home" href="/">Retour à l’accueil</a></p></section>`)
  })

  await app.ready()
  return {
    id: row.id,
    row,
    url,
    client_id: row.client_id,
    client_secret,
    redirect_uri,
    post_logout_redirect_uri,
    async stop () {
      await host.stop()
      await app.close()
      await dispatcher.destroy()
    }
  }
}

function authentication (row: ServiceRow, secret?: string) {
  if (row.token_endpoint_auth_method === 'none') return openid.None()
  return row.token_endpoint_auth_method === 'client_secret_post' ? openid.ClientSecretPost(secret) : openid.ClientSecretBasic(secret)
}

/** Levels are called so that the lower sorts first. */
function checkLevel (acr: unknown, asked: string | null) {
  const lowest = asked?.split(' ').sort()[0]
  if (typeof acr !== 'string' || (lowest && acr < lowest)) throw new Error(`the level of assurance is ${acr}, and ${lowest} was asked`)
}

/** What went wrong, in the gateway's words where it said so, else in the library's. */
function explain (error: unknown): { code: string, description: string, status: number } {
  if (error instanceof openid.AuthorizationResponseError) return { code: error.error, description: error.error_description ?? '', status: 200 }
  if (error instanceof openid.ResponseBodyError) return { code: error.error, description: error.error_description ?? '', status: 502 }
  const { code, message, cause } = error as Error & { code?: string }
  return { code: code ?? 'login_failed', description: cause instanceof Error ? `${message}: ${cause.message}` : message, status: 400 }
}

const welcome = (row: ServiceRow) => html`
<section>
<h1>Bienvenue</h1>
<p>${row.promise}</p>
<form action="/login" class="actions"><button id="log-in">Se connecter avec Passerelle</button></form>
<p class="quiet">Vous choisirez un compte que vous avez déjà.</p>
</section>`

const claimText = (value: unknown) => typeof value === 'string' ? value : JSON.stringify(value)

const greeting = (claims: Record<string, unknown>) => html`
<section>
<h1>Bonjour ${[claims['given_name'], claims['preferred_username'] ?? claims['family_name']].filter(Boolean).join(' ') || 'à vous'}</h1>
<p>Vous êtes connecté.</p>
<form action="/logout" class="actions"><button id="log-out">Se déconnecter</button></form>
</section>
<section>
<h2>Ce que Passerelle a transmis</h2>
<dl id="greeting">
${Object.entries(claims).map(([name, value]) => html`<dt><code>${name}</code></dt><dd data-claim="${name}">${claimText(value)}</dd>`)}
</dl>
</section>`
