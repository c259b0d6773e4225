import { createHash } from 'node:crypto'
import { errors as jose, importJWK, type JSONWebKeySet, type JWK } from 'jose'
import type { LookupFunction } from 'node:net'
import * as client from 'openid-client'
import { Agent } from 'undici'
import { OAuthError, type Failure } from '../protocol/errors.ts'
import { identityClaims, pick } from '../protocol/claims.ts'
import { clockTolerance } from '../protocol/identification.ts'
import type { Answer, IdentityProvider, Question } from '../ports.ts'
import { localhostLookup } from './localhost-lookup.ts'
import { lastKnown } from './last-known.ts'
import { publishedKeys } from './published-keys.ts'

/** An identity provider's registration, its secrets read. */
export interface OidcProviderOptions {
  issuer: string
  endpoints?: { authorization_endpoint: string, token_endpoint: string, jwks_uri: string } & Record<string, string | boolean | undefined> | undefined
  client_id: string
  token_endpoint_auth_method: 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt'
  clientSecret?: string | undefined
  clientKey?: JWK | undefined
  id_token_signed_response_alg: string
  userinfo_signed_response_alg?: string | undefined
  scopes: readonly string[]
  timeout_ms: number
  connections: number
  certificateAuthority?: string | undefined
  lookup?: LookupFunction | undefined
}

const freshMs = 10 * 60 * 1000
const maximumBytes = 1024 * 1024

/** One upstream OpenID Provider, spoken to by openid-client, signatures by jose: every check of OpenID Connect Core §3.1.2.7, §3.1.3.7 and §5.3.4, and of RFC 9207. */
export function oidcIdentityProvider (options: OidcProviderOptions): IdentityProvider {
  const agent = new Agent({
    connections: options.connections,
    pipelining: 1,
    maxResponseSize: maximumBytes,
    connect: { lookup: options.lookup ?? localhostLookup, timeout: options.timeout_ms, ca: options.certificateAuthority }
  })
  const fetch = fetchOver(agent, options.timeout_ms)
  const keys = publishedKeys(fetchKeys)
  const { current: configured } = lastKnown(() => configure(options, fetch), { freshMs })

  return {
    available: () => true,

    async authorizationUrl (question) {
      const { configuration } = await translated(configured())
      return client.buildAuthorizationUrl(configuration, {
        redirect_uri: question.redirect_uri,
        scope: options.scopes.join(' '),
        state: question.state,
        nonce: question.nonce,
        code_challenge: createHash('sha256').update(question.code_verifier).digest('base64url'),  // RFC 7636 §4.2
        code_challenge_method: 'S256',
        acr_values: question.acr,
        ui_locales: question.ui_locales,
        ...(question.prompt === undefined ? {} : { prompt: question.prompt }),
        ...(question.max_age === undefined ? {} : { max_age: String(question.max_age) })
      })
    },

    identify: (callback, question) => translated(configured().then(provider => identify(provider, callback, question))),

    async endSessionUrl ({ id_token_hint, post_logout_redirect_uri, state }) {
      const { configuration, hasLogout } = await translated(configured())
      if (!hasLogout) return undefined
      return client.buildEndSessionUrl(configuration, { post_logout_redirect_uri, state, ...(id_token_hint === undefined ? {} : { id_token_hint }) })
    },

    close: () => agent.destroy()
  }

  async function identify (provider: Configured, callback: URL, question: Question): Promise<Answer> {
    const tokens = await client.authorizationCodeGrant(provider.configuration, callback, {
      expectedState: question.state,
      expectedNonce: question.nonce,
      pkceCodeVerifier: question.code_verifier
    })
    const said = tokens.claims()!
    await keys.verify(tokens.id_token!, [options.id_token_signed_response_alg])  // openid-client has looked at all but the signature
    if (said.azp !== undefined && said.azp !== options.client_id) throw new OAuthError('provider_answer_invalid', 'azp: not our client_id')
    const userinfo = provider.userinfo_endpoint === undefined ? {} : await askUserinfo(provider.configuration, new URL(provider.userinfo_endpoint), tokens.access_token)
    if (provider.userinfo_endpoint !== undefined && userinfo.sub !== said.sub) throw new OAuthError('provider_answer_invalid', 'sub: userinfo speaks of another than the ID Token')  // OpenID Connect Core §5.3.2
    return {
      sub: said.sub,
      claims: pick({ ...said, ...userinfo }, identityClaims),
      acr: said.acr,
      amr: said.amr,
      auth_time: said.auth_time,
      ...(provider.hasLogout ? { id_token: tokens.id_token! } : {})
    }
  }

  /** Userinfo as it was registered: JSON, or a JWT by that very algorithm (OpenID Connect Core §5.3.2). */
  async function askUserinfo (configuration: client.Configuration, endpoint: URL, access_token: string): Promise<Record<string, unknown>> {
    const { userinfo_signed_response_alg: alg } = options
    const answer = await client.fetchProtectedResource(configuration, access_token, endpoint, 'GET', undefined, new Headers({ accept: alg === undefined ? 'application/json' : 'application/jwt' }))
    if (answer.status >= 500) throw new OAuthError('provider_unavailable', `the identity provider's userinfo answered ${answer.status}`)
    if (answer.status !== 200) throw new OAuthError('provider_answer_invalid', `the identity provider's userinfo answered ${answer.status}`)
    const type = /^application\/(json|jwt)\b/.exec(answer.headers.get('content-type') ?? '')?.[1]
    if (type === undefined) throw new OAuthError('provider_unavailable', notAsExpected)
    if (type !== (alg === undefined ? 'json' : 'jwt')) throw new OAuthError('provider_answer_invalid', `the identity provider's userinfo is not ${alg === undefined ? 'JSON' : 'a JWT'}`)
    const claims = parsed(alg === undefined ? await answer.text() : Buffer.from((await keys.verify(await answer.text(), [alg])).payload).toString())
    if (alg === undefined) return claims
    if (claims.iss !== undefined && claims.iss !== options.issuer) throw new OAuthError('provider_answer_invalid', 'iss: userinfo is not of this identity provider')
    if (claims.aud !== undefined && ![claims.aud].flat().includes(options.client_id)) throw new OAuthError('provider_answer_invalid', 'aud: userinfo is not for us')
    return claims
  }

  /** The provider's keys over our own connections; a set that is empty is none. */
  async function fetchKeys () {
    const { configuration } = await configured()
    const { jwks_uri } = configuration.serverMetadata()
    if (jwks_uri === undefined) throw new OAuthError('provider_answer_invalid', 'jwks_uri: the identity provider publishes none')
    // over http anyone on the way could put a key of his own among them
    if (options.issuer.startsWith('https:') && !jwks_uri.startsWith('https:')) throw new OAuthError('provider_answer_invalid', 'jwks_uri: expected https, as its issuer')
    const answer = await fetch(jwks_uri, { method: 'GET', headers: { accept: 'application/json' }, body: undefined, redirect: 'manual' })
    if (answer.status >= 500) throw new OAuthError('provider_unavailable', `the identity provider's keys: answered ${answer.status}`)
    const jwks = answer.status === 200 ? parsed(await answer.text()) : {}
    if (!Array.isArray(jwks.keys) || jwks.keys.length === 0) throw new OAuthError('provider_answer_invalid', 'the identity provider\'s keys: none')
    return jwks as unknown as JSONWebKeySet
  }
}

const ourCredentials = 'the identity provider refuses our credentials: client_id, client_secret or client_key'
const notAsExpected = 'the identity provider did not answer as an OpenID Provider does'

/** A JSON object. What cannot be read is an outage; V8's message quotes the text, so it is not kept. */
function parsed (text: string): Record<string, unknown> {
  let value: unknown
  try { value = JSON.parse(text) } catch { throw new OAuthError('provider_unavailable', notAsExpected) }
  if (typeof value !== 'object' || value === null) throw new OAuthError('provider_answer_invalid', notAsExpected)
  return value as Record<string, unknown>
}

/** A provider that can be asked; what is read of its metadata is read once, since openid-client copies it at each look. */
interface Configured { configuration: client.Configuration, userinfo_endpoint: string | undefined, hasLogout: boolean }

async function configure (options: OidcProviderOptions, fetch: client.CustomFetch): Promise<Configured> {
  const metadata: Partial<client.ClientMetadata> = {
    id_token_signed_response_alg: options.id_token_signed_response_alg,
    [client.clockTolerance]: clockTolerance
  }
  const authentication = await clientAuthentication(options)
  const issuer = new URL(options.issuer)
  const insecure = issuer.protocol === 'http:' ? [client.allowInsecureRequests] : []  // the configuration allows it in development only
  const configuration = options.endpoints === undefined
    ? await client.discovery(issuer, options.client_id, metadata, authentication, { [client.customFetch]: fetch, execute: insecure })
    : new client.Configuration({ issuer: options.issuer, ...options.endpoints }, options.client_id, metadata, authentication)
  for (const allow of insecure) allow(configuration)
  configuration[client.customFetch] = fetch
  const { userinfo_endpoint, end_session_endpoint } = configuration.serverMetadata()
  return { configuration, userinfo_endpoint, hasLogout: end_session_endpoint !== undefined }
}

async function clientAuthentication ({ token_endpoint_auth_method, clientSecret, clientKey }: OidcProviderOptions) {
  switch (token_endpoint_auth_method) {
    case 'client_secret_basic': return client.ClientSecretBasic(clientSecret)
    case 'client_secret_post': return client.ClientSecretPost(clientSecret)
    case 'private_key_jwt': return client.PrivateKeyJwt({ key: await importJWK(clientKey!) as CryptoKey, kid: clientKey!.kid! })
  }
}

/** The part of fetch that openid-client needs, over kept connections, with a limit of time and of size for each call. No redirect is followed. */
function fetchOver (agent: Agent, timeoutMs: number): client.CustomFetch {
  return async (url, { method, headers, body }) => {
    const { origin, pathname, search } = new URL(url)
    try {
      const answer = await agent.request({
        origin,
        path: pathname + search,
        method: method as 'GET' | 'POST',
        headers,
        body: body instanceof URLSearchParams ? body.toString() : body as string | null,
        signal: AbortSignal.timeout(timeoutMs)
      })
      const text = await answer.body.text()
      return new Response(emptyStatus.has(answer.statusCode) ? null : text, { status: answer.statusCode, headers: answer.headers as Record<string, string> })
    } catch (cause) {
      throw new OAuthError('provider_unavailable', 'the identity provider did not answer', { cause })
    }
  }
}
const emptyStatus = new Set([204, 205, 304])

/** What openid-client throws, in our words. What the provider's own error said is not kept: it may name the citizen. */
async function translated<T> (answer: Promise<T>): Promise<T> {
  try { return await answer } catch (cause) {
    const known = ourOwn(cause)
    if (known !== undefined) throw known
    const [failure, message] = failureOf(cause)
    throw new OAuthError(failure, message, { cause })
  }
}

function ourOwn (error: unknown): OAuthError | undefined {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof OAuthError) return at
  return undefined
}

function failureOf (error: unknown): [Failure, string] {
  if (error instanceof client.AuthorizationResponseError) {
    const down = error.error === 'temporarily_unavailable' || error.error === 'server_error'
    // the browser brings this word: it says nothing that the breaker could count
    return down ? ['provider_busy', 'the identity provider says it cannot answer now'] : ['provider_refused', 'the identity provider refused the login']
  }
  if (error instanceof client.ResponseBodyError) {
    if (error.error === 'invalid_grant') return ['provider_code_spent', 'the identity provider does not know this code (any more)']
    return ['provider_answer_invalid', error.error === 'invalid_client' ? ourCredentials : `the identity provider refused our request with ${error.status}`]
  }
  if (error instanceof client.WWWAuthenticateChallengeError) return error.status >= 500 ? ['provider_unavailable', notAsExpected] : ['provider_answer_invalid', ourCredentials]
  if (error instanceof client.ClientError) {
    const { status } = error.cause instanceof Response ? error.cause : { status: 0 }
    if (status >= 500 || error.code === 'OAUTH_PARSE_ERROR' || error.code === 'OAUTH_RESPONSE_IS_NOT_JSON') return ['provider_unavailable', notAsExpected]
    return ['provider_answer_invalid', `the identity provider's answer failed a check: ${error.code}`]
  }
  return ['provider_answer_invalid', error instanceof jose.JOSEError ? `the identity provider's answer failed a check: ${error.code}` : 'the identity provider\'s answer failed a check']
}
