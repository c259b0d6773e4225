import { createHash } from 'node:crypto'
import { importJWK, type JWK } from 'jose'
import * as client from 'openid-client'
import type { CallProvider, Clock, ProviderCall, ProviderWatch, Question, Upstream } from '../ports.ts'
import { spelled, type Encryption, type SigningAlgorithm } from '../protocol/algorithms.ts'
import { identityClaims, pick } from '../protocol/claims.ts'
import type { certificateMethods, confidentialMethods } from '../protocol/client-authentication.ts'
import { OAuthError, unanswered, type Failure } from '../protocol/errors.ts'
import { clockTolerance } from '../protocol/identification.ts'
import { checkHeader, checkUserinfo, isEncrypted, readIdToken, readObject, type ProviderMetadata } from '../protocol/provider-answer.ts'
import type { Decrypt } from './decryption-keys.ts'
import { providerKnowledge, type Sharing } from './provider-knowledge.ts'

/** An identity provider's registration, its secrets read. */
export interface OidcProviderOptions {
  issuer: string
  endpoints?: Omit<ProviderMetadata, 'issuer'> | undefined
  status_url?: string | undefined
  /** our certificate there, where it asks for one */
  certificate?: object | undefined
  client_id: string
  token_endpoint_auth_method: typeof confidentialMethods[number] | typeof certificateMethods[number]
  clientSecret?: string | undefined
  clientKey?: JWK | undefined
  id_token_signed_response_alg: SigningAlgorithm
  id_token_encrypted_response_alg?: Encryption['alg'] | undefined
  id_token_encrypted_response_enc?: Encryption['enc'] | undefined
  userinfo_signed_response_alg?: SigningAlgorithm | undefined
  userinfo_encrypted_response_alg?: Encryption['alg'] | undefined
  userinfo_encrypted_response_enc?: Encryption['enc'] | undefined
  scopes: readonly string[]
}

/** What it works with. */
export interface OidcProviderPorts {
  call: CallProvider
  decrypt: Decrypt
  isOwnNonce: (nonce: string) => boolean
  watch: Pick<ProviderWatch, 'renewed' | 'notRenewed' | 'skewed'>
  now: Clock
  sharing?: Sharing | undefined
}

/** One upstream OpenID Provider, spoken to by openid-client, signatures by jose: every check of OpenID Connect Core §3.1.2.7, §3.1.3.7 and §5.3.4, and of RFC 9207. */
export function oidcIdentityProvider (options: OidcProviderOptions, { call, decrypt, isOwnNonce, watch, now, sharing }: OidcProviderPorts): Upstream & { start (): void, stop (): void, takeOver (): void } {
  const { issuer, client_id } = options
  const knowledge = providerKnowledge({ issuer, endpoints: options.endpoints, call, sharing, watch, now })
  let authentication: Promise<client.ClientAuth> | undefined
  const algorithms = spelled([options.id_token_signed_response_alg])
  const encryptionOf = (purpose: 'id_token' | 'userinfo'): Encryption | undefined => {
    const alg = options[`${purpose}_encrypted_response_alg`]
    return alg && { alg, enc: options[`${purpose}_encrypted_response_enc`] ?? 'A256GCM' }
  }
  const encryptions = { id_token: encryptionOf('id_token'), userinfo: encryptionOf('userinfo') }

  /** As openid-client wants it, for one way there or back: its calls are ours. */
  async function configured (metadata: ProviderMetadata, fetch?: client.CustomFetch) {
    // the one algorithm by each of its names: openid-client knows the registered one by one name only
    const configuration = new client.Configuration({ ...metadata, id_token_signing_alg_values_supported: algorithms }, client_id, {
      use_mtls_endpoint_aliases: options.certificate !== undefined,
      [client.clockTolerance]: clockTolerance
    }, await (authentication ??= clientAuthentication(options)))
    if (issuer.startsWith('http:')) client.allowInsecureRequests(configuration)  // the configuration allows it in development only
    configuration.timeout = 0                                          // ours have one each
    if (fetch !== undefined) configuration[client.customFetch] = fetch
    return configuration
  }

  return {
    start: () => knowledge.start(),
    stop: () => knowledge.close(),
    takeOver () { knowledge.takeOver() },

    async authorizationUrl (question) {
      return client.buildAuthorizationUrl(await configured(await knowledge.metadata()), {
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

    async identify (callback, question, deadline) {
      const metadata = await knowledge.metadata()
      checkCallback(callback.searchParams, metadata)
      let said: Record<string, unknown> = {}
      let asked = false
      const configuration = await configured(metadata, async (url, { method, headers, body }) => {
        asked = true
        const answer = await askTokens({ leg: 'token', method: method as 'POST', url, headers, body: String(body), deadline, called: question.called })
        said = await readTokens(answer, question.nonce)
        return Response.json(answer)
      })
      const tokens = await client.authorizationCodeGrant(configuration, callback, {
        expectedState: question.state,
        expectedNonce: question.nonce,
        pkceCodeVerifier: question.code_verifier
      }).catch(error => { throw translated(error, asked) })
      await knowledge.verify(tokens.id_token!, algorithms, 'id_token')  // openid-client has looked at all but the signature
      const address = userinfoEndpoint(metadata)
      const userinfo = address === undefined ? {} : await askUserinfo(address, tokens.access_token, deadline, question.called)
      if (address !== undefined) checkUserinfo(userinfo, { issuer, client_id, sub: said.sub, isJwt: options.userinfo_signed_response_alg !== undefined })
      return {
        sub: said.sub as string,
        claims: pick({ ...said, ...userinfo }, identityClaims),
        acr: said.acr,
        amr: said.amr,
        auth_time: said.auth_time,
        ...(metadata.end_session_endpoint === undefined || tokens.id_token!.length > longestHint ? {} : { id_token: tokens.id_token! })
      }
    },

    async endSessionUrl ({ id_token_hint, post_logout_redirect_uri, state }) {
      const metadata = await knowledge.metadata()
      if (metadata.end_session_endpoint === undefined) return undefined
      return client.buildEndSessionUrl(await configured(metadata), { post_logout_redirect_uri, state, ...(id_token_hint === undefined ? {} : { id_token_hint }) })
    },

    async probe () {
      try {
        await (options.status_url === undefined ? knowledge.ask() : askStatus(options.status_url))
        return 'well'
      } catch (error) {
        const { failure } = error as OAuthError
        const isDown = unanswered.has(failure) || (options.status_url === undefined ? !knowledge.isKnown() : failure === 'provider_server_error')
        if (isDown) throw error
        return 'somehow'
      }
    },

    async close () { knowledge.close() }
  }

  async function askStatus (url: string) {
    const { status } = await call({ leg: 'status', method: 'GET', url, headers: {} })
    if (status !== 200) throw new OAuthError('provider_call_refused', `status: the identity provider answered ${status}`)
  }

  /** A code that is one, and the response's issuer where metadata promises it (RFC 9207 §2.4): whatever a browser brought is looked at before the provider is asked. */
  function checkCallback (parameters: URLSearchParams, { authorization_response_iss_parameter_supported: promised }: ProviderMetadata) {
    const issuers = parameters.getAll('iss')
    if (issuers.some(iss => iss !== issuer) || issuers.length > 1 || (promised === true && issuers.length === 0)) throw new OAuthError('callback_issuer_wrong', 'iss: this response is not of the identity provider the login is at')
    const code = parameters.get('code')
    if (code !== null && !authorizationCode.test(code)) throw new OAuthError('callback_malformed', 'code: expected a text as identity providers make them, 4096 characters at most')
  }

  /** Where it is asked when we show a certificate (RFC 8705 §5). */
  function userinfoEndpoint ({ mtls_endpoint_aliases: aliases, userinfo_endpoint }: ProviderMetadata) {
    return (options.certificate === undefined ? undefined : aliases?.['userinfo_endpoint']) ?? userinfo_endpoint
  }

  /** The token endpoint's answer, read before openid-client does: each member once, and no refusal in the provider's words. */
  async function askTokens (asked: ProviderCall) {
    const { status, headers, text } = await call(asked)
    if (status >= 400) throw refusalOf(status, text)
    if (typeOf(headers) !== 'application/json') throw new OAuthError('provider_answer_unreadable', 'token: expected application/json')
    return readObject(text, 'token')
  }

  /** What the ID Token says, in place of a JWE the JWS that it holds. */
  async function readTokens (answer: Record<string, unknown>, nonce: string) {
    if (!bearerToken.test(String(answer.access_token))) throw new OAuthError('provider_answer_invalid', 'token: access_token: expected a bearer token')
    answer.id_token = await opened('id_token', answer.id_token)
    observeClock(answer.id_token)
    return readIdToken(answer.id_token, { issuer, client_id, nonce, isOwnNonce, algorithms, now: now() })
  }

  /** What was encrypted for us, opened; encrypted as registered, or not at all. */
  async function opened (purpose: 'id_token' | 'userinfo', jwt: unknown) {
    const encryption = encryptions[purpose]
    if (typeof jwt !== 'string' || jwt === '') return jwt
    if (isEncrypted(jwt) !== (encryption !== undefined)) throw new OAuthError('provider_encryption_wrong', `${purpose}: ${encryption === undefined ? 'encrypted, which was not registered' : 'not encrypted, as was registered'}`)
    return encryption === undefined ? jwt : decrypt(jwt, encryption, purpose)
  }

  /** The provider's clock, by what it just signed; whether that is accepted is looked at elsewhere. */
  function observeClock (token: unknown) {
    try {
      const { iat } = JSON.parse(Buffer.from(String(token).split('.')[1]!, 'base64url').toString()) as { iat: unknown }
      if (typeof iat === 'number' && Number.isFinite(iat)) watch.skewed(iat - now())
    } catch { /* no token at all */ }
  }

  /** Userinfo as it was registered: JSON, or a JWT by that very algorithm, encrypted or not (OpenID Connect Core §5.3.2). */
  async function askUserinfo (url: string, access_token: string, deadline: number | undefined, called: Question['called']): Promise<Record<string, unknown>> {
    const { userinfo_signed_response_alg: alg } = options
    const isJwt = alg !== undefined || encryptions.userinfo !== undefined
    const expected = `application/${isJwt ? 'jwt' : 'json'}`
    const { status, headers, text } = await call({ leg: 'userinfo', method: 'GET', url, headers: { accept: expected, authorization: `Bearer ${access_token}` }, deadline, called })
    if (status !== 200) throw new OAuthError('provider_call_refused', `userinfo: the identity provider answered ${status}`)
    if (typeOf(headers) !== expected) throw new OAuthError('provider_answer_unreadable', `userinfo: expected ${expected}`)
    const content = isJwt ? await opened('userinfo', text.trim()) as string : text
    if (alg === undefined) return readObject(content, 'userinfo')
    const names = spelled([alg])
    checkHeader(content, names, 'userinfo')
    return readObject(Buffer.from((await knowledge.verify(content, names, 'userinfo')).payload).toString(), 'userinfo')
  }
}

/** Of what identity providers make codes: no more than they need, since a browser may bring anything (RFC 6749 §A.11 allows all that can be printed). */
const authorizationCode = /^[\w.~!$*+/=:|@,-]{1,4096}$/
/** What an address can hold as a hint for its logout. */
const longestHint = 8192
/** RFC 6750 §2.1 */
const bearerToken = /^[A-Za-z0-9._~+/-]+=*$/

async function clientAuthentication ({ token_endpoint_auth_method, clientSecret, clientKey }: OidcProviderOptions) {
  switch (token_endpoint_auth_method) {
    case 'client_secret_basic': return client.ClientSecretBasic(clientSecret)
    case 'client_secret_post': return client.ClientSecretPost(clientSecret)
    case 'private_key_jwt': return client.PrivateKeyJwt({ key: await importJWK(clientKey!) as CryptoKey, kid: clientKey!.kid! })
    default: return client.TlsClientAuth()
  }
}

/** Why the token endpoint said no. What it wrote is not kept: it may name the citizen. */
function refusalOf (status: number, text: string) {
  let error: unknown
  try { ({ error = '' } = JSON.parse(text) as { error?: unknown }) } catch { /* a page */ }
  if (error === 'invalid_grant') return new OAuthError('provider_code_spent', 'token: the identity provider does not know this code (any more)')
  if (error === 'invalid_client' || (status === 401 && error === undefined)) return new OAuthError('provider_credentials_refused', 'token: the identity provider refuses our credentials: client_id, client_secret, client_key or certificate')
  return new OAuthError('provider_call_refused', `token: the identity provider answered ${status}`)
}

/** The one media type of an answer. */
const typeOf = ({ 'content-type': type }: Awaited<ReturnType<CallProvider>>['headers']) => typeof type === 'string' ? type.split(';')[0]!.trim().toLowerCase() : undefined

/**
 * What openid-client throws, in our words. What the provider's own error said is not kept: it may name the citizen. Before the provider was asked all there is to
 * refuse is what the browser brought, which says nothing of the provider.
 */
function translated (cause: unknown, asked: boolean): OAuthError {
  for (let at = cause; at instanceof Error; at = at.cause) if (at instanceof OAuthError) return at
  const [failure, message] = failureOf(cause, asked)
  return new OAuthError(failure, message, { cause })
}

function failureOf (error: unknown, asked: boolean): [Failure, string] {
  if (error instanceof client.AuthorizationResponseError) {
    const down = error.error === 'temporarily_unavailable' || error.error === 'server_error'
    return down ? ['provider_busy', 'the identity provider says it cannot answer now'] : ['provider_refused', 'the identity provider refused the login']
  }
  const code = error instanceof client.ClientError ? `: ${error.code}` : ''
  return asked ? ['provider_answer_invalid', `the identity provider's answer failed a check${code}`] : ['callback_malformed', `what the browser brought from the identity provider failed a check${code}`]
}
