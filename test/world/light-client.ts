import { createPublicKey, X509Certificate } from 'node:crypto'
import { get, type IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import type { TLSSocket } from 'node:tls'
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet, type JWK } from 'jose'
import { BoundedMap } from './bounded.ts'
import { createLookup } from './lookup.ts'
import type { Encryption } from './misbehaviours.ts'
import type { SignatureAlgorithm } from './providers.ts'

/** How the one client of a light provider is registered, by the names of OpenID Connect Dynamic Client Registration §2. */
export interface Registration {
  client_id: string
  client_secret: string
  redirect_uris: string[]
  post_logout_redirect_uris?: string[]
  /** its public keys, to verify its assertions and to encrypt for it, or where they are */
  jwks?: JSONWebKeySet
  jwks_uri?: string
  /** its certificate, PEM, by which it proves itself within TLS (RFC 8705 §2.2) */
  clientCertificate?: string
  id_token_signed_response_alg?: SignatureAlgorithm
  id_token_encrypted_response_alg?: string
  id_token_encrypted_response_enc?: string
  userinfo_signed_response_alg?: SignatureAlgorithm
  userinfo_encrypted_response_alg?: string
  userinfo_encrypted_response_enc?: string
}

/** Why a client is not believed: an OAuth error (RFC 6749 §5.2) and what was wrong. */
export type Doubt = readonly [error: 'invalid_request' | 'invalid_client', error_description: string]

const keysFreshMs = 60_000
const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** What a light provider knows of its client: any proof that is registered will do, but one alone (RFC 6749 §2.3). */
export function lightClient (registration: Registration, suffix: string) {
  const { client_id, client_secret, clientCertificate } = registration
  const certificate = clientCertificate === undefined ? undefined : new X509Certificate(clientCertificate)
  const assertions = new BoundedMap<string, true>(20_000)
  let fetched: { jwks: JSONWebKeySet, at: number } | undefined

  /** Its public keys, as they are registered or as it publishes them. */
  async function keys (): Promise<JWK[]> {
    const { jwks, jwks_uri } = registration
    if (jwks_uri === undefined) return jwks?.keys ?? []
    if (fetched === undefined || performance.now() - fetched.at > keysFreshMs) fetched = { jwks: await fetchJson(jwks_uri, suffix) as JSONWebKeySet, at: performance.now() }
    return fetched.jwks.keys
  }

  return {
    /** Why a token request does not come from the client; undefined when it does. */
    async doubt (request: IncomingMessage, body: URLSearchParams, audience: string[]): Promise<Doubt | undefined> {
      const { authorization } = request.headers
      const [secret, assertion] = [body.get('client_secret'), body.get('client_assertion')]
      if ([authorization, secret, assertion].filter(proof => proof !== undefined && proof !== null).length > 1) return ['invalid_request', 'expected one proof']
      if (assertion !== null) return doubtOfAssertion(assertion, body, audience)
      const [id, shown] = authorization === undefined ? [body.get('client_id'), secret] : basic(authorization)
      if (id === undefined) return ['invalid_request', 'malformed credentials']
      if (id === null) return ['invalid_request', 'expected a client_id']
      if (body.has('client_id') && body.get('client_id') !== id) return ['invalid_request', 'two clients']
      const isRight = shown === null ? hasCertificate(request) : shown === client_secret
      return id === client_id && isRight ? undefined : ['invalid_client', 'not the client']
    },

    /** How what it is told here is encrypted; undefined where nothing is registered. @throws {Error} when it has no key for it */
    async encryption (what: 'id_token' | 'userinfo'): Promise<Encryption | undefined> {
      const [alg, enc] = [registration[`${what}_encrypted_response_alg`], registration[`${what}_encrypted_response_enc`] ?? 'A128CBC-HS256']
      if (alg === undefined) return undefined
      const isFor = (jwk: JWK) => jwk.use !== 'sig' && (jwk.alg === undefined || jwk.alg === alg) && (jwk.kty === 'RSA') === alg.startsWith('RSA')
      const jwk = (await keys()).find(isFor)
      if (jwk === undefined) throw new Error(`the client publishes no key for ${alg}`)
      return { alg, enc, kid: jwk.kid, key: createPublicKey({ key: jwk, format: 'jwk' }) }
    }
  }

  /** A client assertion (RFC 7523 §3), good for one request. */
  async function doubtOfAssertion (assertion: string, body: URLSearchParams, audience: string[]): Promise<Doubt | undefined> {
    if (body.get('client_assertion_type') !== assertionType) return ['invalid_request', `expected the client_assertion_type ${assertionType}`]
    // one algorithm has two names (RFC 9864 §2.2), and a key is found by either
    const known = (await keys()).map(({ alg, ...jwk }) => jwk.kty === 'OKP' || alg === undefined ? jwk : { ...jwk, alg })
    try {
      const { payload } = await jwtVerify(assertion, createLocalJWKSet({ keys: known as JWK[] }), { issuer: client_id, subject: client_id, audience, requiredClaims: ['exp', 'jti'] })
      if (assertions.has(payload.jti!)) return ['invalid_client', 'the assertion was used before']
      assertions.set(payload.jti!, true)
    } catch { return ['invalid_client', 'the assertion is not the client\'s'] }
    return body.has('client_id') && body.get('client_id') !== client_id ? ['invalid_request', 'two clients'] : undefined
  }

  function hasCertificate ({ socket }: IncomingMessage) { return certificate !== undefined && (socket as TLSSocket).getPeerCertificate().raw?.equals(certificate.raw) === true }
}

/** Id and secret of the Basic scheme, each percent-encoded (RFC 6749 §2.3.1). */
function basic (authorization: string): [id: string | undefined, secret: string] {
  const [, encoded = ''] = /^Basic ([\w+/]+={0,2})$/i.exec(authorization) ?? []
  const text = Buffer.from(encoded, 'base64').toString()
  const [, id, secret] = /^([^:]+):(.+)$/.exec(text)?.map(coded => coded.replaceAll('+', '%20')) ?? []
  try { return [id && decodeURIComponent(id), decodeURIComponent(secret ?? '')] } catch { return [undefined, ''] }
}

const fetchJson = (address: string, suffix: string) => new Promise<unknown>((resolve, reject) => {
  get(address, { lookup: createLookup('localhost', suffix) }, response => { json(response).then(resolve, reject) }).once('error', reject)
})
