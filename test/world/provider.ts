import { randomBytes, type webcrypto } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Context, Provider as OidcProvider } from 'oidc-provider'
import { citizensAt, claimsAt } from './citizens.ts'
import { openHost, type Host, type Surroundings } from './host.ts'
import { html, page, type Html } from './pages.ts'
import { accountId, levelFor, type ProviderRow, type SignatureAlgorithm } from './providers.ts'
import { createStore } from './store.ts'
import { createSigningKey } from './tokens.ts'

// At import the library warns of every release of Node that is not LTS yet, and nothing configures that.
const { warn } = console
console.warn = () => {}
export const { interactionPolicy, Provider } = await import('oidc-provider')
console.warn = warn

/** A JSON Web Key with its private part. */
export type PrivateKey = webcrypto.JsonWebKey & { kid: string, alg: SignatureAlgorithm, use: 'sig' }

/** One running identity provider. */
export interface IdentityProvider extends Omit<Host, 'origin'> {
  id: string
  row: ProviderRow
  issuer: string
  /** The address of its host, without the issuer's path. */
  url: string
  /** The gateway's secret there, unless it authenticates by a key. */
  client_secret: string | undefined
  /** The gateway's key there, where it authenticates by one. */
  client_key: PrivateKey | undefined
  /** The endpoints, for a registration without discovery. */
  endpoints: Record<string, string | boolean>
  /** Signs with new keys from now on and forgets the old ones, without any overlap. */
  renewKeys (): void
  /** Set by a test: sees each request first, and answers it itself when it returns true. */
  intercept?: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined
}

const day = 24 * 60 * 60

/** A new signing key for this algorithm. */
export function createKey (alg: SignatureAlgorithm): PrivateKey {
  const { kid, privateKey } = createSigningKey(alg, randomBytes(9).toString('base64url'))
  return { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' }
}

const publicPart = ({ d, p, q, dp, dq, qi, ...rest }: PrivateKey) => rest

/** Starts one of the five identity providers. */
export async function startProvider (row: ProviderRow, surroundings: Surroundings): Promise<IdentityProvider> {
  const logo = await readFile(new URL(`logos/${row.id}.svg`, import.meta.url))
  const host = await openHost(row.id, row.port, surroundings, (request, response) => {
    if (!provider.intercept?.(request, response)) answer(request, response).catch(error => answerError(response, error))
  })
  const issuer = `${host.origin}${row.path}`
  const byKey = row.token_endpoint_auth_method === 'private_key_jwt'
  const client_secret = byKey ? undefined : randomBytes(32).toString('base64url')
  const client_key = byKey ? createKey('ES256') : undefined
  const store = createStore(10_000)
  const cookieKeys = [randomBytes(32).toString('base64url')]

  const build = () => {
    const oidc = new Provider(issuer, configuration({ row, gateway: surroundings.issuer, client_secret, client_key, store, cookieKeys }))
    oidc.on('server_error', (_ctx, error) => console.error(`${row.id}: ${error.stack}`))
    if (!row.sendsIssuer) oidc.use(withoutIssuer)
    return { oidc, answer: oidc.callback() }
  }
  let current = build()

  const provider: IdentityProvider = {
    ...host,
    id: row.id,
    row,
    issuer,
    url: host.origin,
    client_secret,
    client_key,
    endpoints: endpointsOf(row, current.oidc),
    renewKeys: () => { current = build() }
  }
  return provider

  async function answer (request: IncomingMessage, response: ServerResponse) {
    const url = request.url ?? '/'
    if (url === '/logo.svg') return response.setHeader('content-type', 'image/svg+xml').end(logo)
    if (!url.startsWith(`${row.path}/`)) return answerPage(response, 404, row, 'Page introuvable', html`<p id="error" role="alert">Cette page n’existe pas.</p>`)
    const path = url.slice(row.path.length)
    if (!row.discovery && path.startsWith('/.well-known/')) return response.writeHead(404).end()
    if (path.startsWith('/interaction/')) return interact(current.oidc, row, request, response)
    // The library finds the path that it is mounted under by comparing the two.
    current.answer(Object.assign(request, { url: path, originalUrl: url }), response)
  }

  function answerError (response: ServerResponse, error: Error) {
    const expired = error.name === 'SessionNotFound'
    if (!expired) console.error(`${row.id}: ${error.stack}`)
    if (response.headersSent) return response.destroy()
    answerPage(response, expired ? 400 : 500, row, 'Connexion interrompue', html`<p id="error" role="alert">Cette demande de connexion a expiré. Revenez au service et recommencez.</p>`)
  }
}

interface Settings {
  row: ProviderRow
  gateway: string
  client_secret: string | undefined
  client_key: PrivateKey | undefined
  store: ReturnType<typeof createStore>
  cookieKeys: string[]
}

const configuration = ({ row, gateway, client_secret, client_key, store, cookieKeys }: Settings) => {
  const cookies = { httpOnly: true, sameSite: 'lax', signed: true }
  return {
    adapter: store,
    clients: [{
      client_id: row.client_id,
      client_name: 'Passerelle',
      redirect_uris: [`${gateway}/callback/${row.id}`],
      post_logout_redirect_uris: [`${gateway}/session/ended`],
      token_endpoint_auth_method: row.token_endpoint_auth_method,
      ...(client_key ? { jwks: { keys: [publicPart(client_key)] }, token_endpoint_auth_signing_alg: client_key.alg } : { client_secret }),
      id_token_signed_response_alg: row.id_token_signed_response_alg,
      ...(row.userinfo_signed_response_alg && { userinfo_signed_response_alg: row.userinfo_signed_response_alg }),
      require_auth_time: true
    }],
    clientDefaults: { id_token_signed_response_alg: row.id_token_signed_response_alg },
    clientBasedCORS: () => false,
    jwks: { keys: [...new Set([row.id_token_signed_response_alg, row.userinfo_signed_response_alg ?? row.id_token_signed_response_alg])].map(createKey) },
    cookies: {
      keys: cookieKeys,
      names: { session: `${row.id}-session`, interaction: `${row.id}-interaction`, resume: `${row.id}-resume` },
      long: cookies,
      short: cookies
    },
    acrValues: Object.keys(row.levels),
    scopes: row.scopes,
    responseTypes: ['code'],
    ...(row.routes && { routes: row.routes }),
    claims: {
      openid: ['sub', 'acr', 'auth_time', ...(row.tellsMethods ? ['amr'] : [])],
      profile: ['given_name', 'given_name_array', 'family_name', 'gender', 'birthdate', 'preferred_username'],
      birth: ['birthplace', 'birthcountry'],
      email: ['email', 'email_verified'],
      phone: ['phone_number'],
      address: ['address']
    },
    pkce: { required: () => row.requiresPkce },
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      resourceIndicators: { enabled: false },
      jwtUserinfo: { enabled: row.userinfo_signed_response_alg !== undefined },
      rpInitiatedLogout: {
        enabled: row.endsSessions,
        logoutSource: (ctx: Context, form: string) => endSession(ctx, form, row, cookies),
        postLogoutSuccessSource: (ctx: Context) => showPage(ctx, row, 'Déconnexion', html`<p id="signed-out">Vous êtes déconnecté.</p>`)
      }
    },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: day, IdToken: 600, Interaction: 3600, Session: day },
    interactions: { url: (_ctx: Context, interaction: { uid: string }) => `${row.path}/interaction/${interaction.uid}`, policy: policyFor(row) },
    loadExistingGrant: grantEverything,
    findAccount: (_ctx: Context, sub: string) => {
      const citizen = citizensAt(row.id).find(({ username }) => accountId(row.id, username) === sub)
      return citizen && { accountId: sub, claims: () => ({ ...claimsAt(row.id, citizen), sub }) }
    },
    renderError: (ctx: Context, out: { error: string, error_description?: string }) =>
      showPage(ctx, row, 'Connexion impossible', html`<p id="error" role="alert"><code>${out.error}</code> ${out.error_description}</p>`)
  }
}

/** A session of a lower level than the request wants is not enough: the citizen signs in again. */
function policyFor (row: ProviderRow) {
  const { base, Check } = interactionPolicy
  const levels = Object.keys(row.levels)
  const policy = base()
  policy.get('login').checks.add(new Check('acr_too_low', 'a higher level of assurance is wanted', ({ oidc }) =>
    oidc.session.accountId !== undefined && levels.indexOf(oidc.session.acr ?? '') < levels.indexOf(levelFor(row, oidc.params['acr_values']))
      ? Check.REQUEST_PROMPT
      : Check.NO_NEED_TO_PROMPT))
  return policy
}

/** The gateway asks the citizen for agreement, so that its providers need no page for it. */
async function grantEverything ({ oidc }: Context) {
  const grant = new oidc.provider.Grant({ accountId: oidc.account.accountId, clientId: oidc.client.clientId })
  grant.addOIDCScope(oidc.params['scope'] ?? '')
  await grant.save()
  return grant
}

/** Logs out at once when our own ID Token is shown (RP-Initiated Logout §2), else asks. */
async function endSession (ctx: Context, form: string, row: ProviderRow, cookies: object) {
  const { params, session, provider, entities } = ctx.oidc
  const back = params['post_logout_redirect_uri']
  if (!entities.IdTokenHint || !back) {
    return showPage(ctx, row, 'Déconnexion', html`
      <p>Voulez-vous vous déconnecter ?</p>
      ${{ html: form }}
      <div class="actions"><button id="sign-out" form="op.logoutForm" name="logout" value="yes">Me déconnecter</button></div>`)
  }
  await session.destroy()
  ctx.cookies.set(provider.cookieName('session'), null, cookies)
  const address = new URL(back)
  if (params['state'] !== undefined) address.searchParams.set('state', params['state'])
  ctx.status = 303
  ctx.redirect(address.href)
}

/** Some providers do not know RFC 9207. */
async function withoutIssuer ({ response }: Context, next: () => Promise<void>) {
  await next()
  const location = response.get('location')
  if (!location || !URL.canParse(location)) return
  const address = new URL(location)
  address.searchParams.delete('iss')
  response.set('location', address.href)
}

const endpointsOf = (row: ProviderRow, oidc: OidcProvider) => ({
  authorization_endpoint: oidc.urlFor('authorization'),
  token_endpoint: oidc.urlFor('token'),
  jwks_uri: oidc.urlFor('jwks'),
  userinfo_endpoint: oidc.urlFor('userinfo'),
  ...(row.endsSessions && { end_session_endpoint: oidc.urlFor('end_session') }),
  authorization_response_iss_parameter_supported: row.sendsIssuer
})

/** The sign-in page, its answer, and the way out of it. */
async function interact (oidc: OidcProvider, row: ProviderRow, request: IncomingMessage, response: ServerResponse) {
  const interaction = await oidc.interactionDetails(request, response)
  const finish = (result: object) => oidc.interactionFinished(request, response, result, { mergeWithLastSubmission: false })
  const acr = levelFor(row, interaction.params['acr_values'])

  if (interaction.prompt.name !== 'login') return finish({ consent: {} })
  if (request.url?.endsWith('/cancel')) return finish({ error: 'access_denied', error_description: 'the citizen gave up' })
  if (request.method !== 'POST') return answerPage(response, 200, row, 'Connexion', signIn(row, interaction.uid, acr))

  const form = new URLSearchParams(await readBody(request))
  const citizen = citizensAt(row.id).find(({ username, password }) => username === form.get('username') && password === form.get('password'))
  if (!citizen) return answerPage(response, 200, row, 'Connexion', signIn(row, interaction.uid, acr, true))
  return finish({ login: { accountId: accountId(row.id, citizen.username), acr, ...(row.tellsMethods && { amr: row.levels[acr] }) } })
}

async function readBody (request: IncomingMessage) {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) if ((body += chunk).length > 4096) throw new Error('the form is too large')
  return body
}

const signIn = (row: ProviderRow, uid: string, acr: string, failed = false) => html`
<section>
<h1>Connexion à votre compte</h1>
<p><strong>Passerelle</strong> demande à ${row.title} de confirmer votre identité, au niveau <code>${acr}</code>.</p>
${failed && html`<p id="error" role="alert">Identifiant ou mot de passe incorrect.</p>`}
<form method="post" action="${row.path}/interaction/${uid}">
<label for="username">Identifiant</label>
<input name="username" id="username" autocomplete="username" autocapitalize="none" required autofocus>
<label for="password">Mot de passe</label>
<input name="password" id="password" type="password" autocomplete="current-password" required>
<div class="actions"><button id="sign-in">Se connecter</button> <a id="cancel" href="${row.path}/interaction/${uid}/cancel">Annuler et revenir</a></div>
</form>
</section>
<section aria-labelledby="citizens">
<h2 id="citizens">Usagers de ce bac à sable</h2>
<table>
<thead><tr><th scope="col">Identifiant</th><th scope="col">Mot de passe</th><th scope="col">Pour essayer</th></tr></thead>
<tbody>
${citizensAt(row.id).map(({ username, password, about }) => html`<tr><td><code>${username}</code></td><td><code>${password}</code></td><td>${about}</td></tr>`)}
</tbody>
</table>
</section>`

function showPage (ctx: Context, row: ProviderRow, title: string, body: Html) {
  ctx.type = 'html'
  ctx.body = page({ party: row.title, title, colour: row.colour, body: html`<section><h1>${title}</h1>${body}</section>` })
}

function answerPage (response: ServerResponse, status: number, row: ProviderRow, title: string, body: Html) {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' })
  response.end(page({ party: row.title, title, colour: row.colour, body }))
}
