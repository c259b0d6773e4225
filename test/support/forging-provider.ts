import { createHash, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { SignJWT, type JWK, type JWTPayload, type JWTHeaderParameters } from 'jose'
import type { Lifetime } from './redis.ts'

export type ForgedAlgorithm = 'RS256' | 'PS256' | 'ES256' | 'EdDSA'
export const algorithms: readonly ForgedAlgorithm[] = ['RS256', 'PS256', 'ES256', 'EdDSA']

/** How one endpoint answers instead of as it should; true when it has. */
type Handler = (request: IncomingMessage, response: ServerResponse) => unknown
type Endpoint = 'discovery' | 'jwks' | 'token' | 'userinfo'

/** What is forged, each by itself; what is not named is as it should be. */
export interface Forgery {
  alg?: ForgedAlgorithm
  /** changes the claims of the ID Token before it is signed */
  claims?: (claims: JWTPayload) => JWTPayload
  /** changes its header */
  header?: (header: JWTHeaderParameters) => JWTHeaderParameters
  /** signs it otherwise */
  sign?: (claims: JWTPayload, header: JWTHeaderParameters) => Promise<string> | string
  /** changes the token, signed */
  idToken?: (token: string) => string | undefined
  /** changes the token endpoint's answer */
  tokens?: (answer: Record<string, unknown>) => Record<string, unknown>
  userinfo?: (claims: JWTPayload) => JWTPayload
  /** the userinfo answer is a JWT, signed so */
  userinfoAlg?: ForgedAlgorithm
  userinfoJwt?: (claims: JWTPayload, header: JWTHeaderParameters) => Promise<string> | string
  metadata?: (metadata: Record<string, unknown>) => Record<string, unknown>
  jwks?: (keys: JWK[]) => unknown
  /** answers an endpoint's request by hand; when nothing was sent, it goes on as it should */
  answer?: Partial<Record<Endpoint, Handler>>
}

export interface Seen { endpoint: Endpoint | 'other', method: string, url: string, headers: IncomingMessage['headers'], body: URLSearchParams }

/** One key pair for each algorithm, all published. */
function pairOf (alg: ForgedAlgorithm): { privateKey: KeyObject, publicKey: KeyObject } {
  if (alg === 'EdDSA') return generateKeyPairSync('ed25519')
  return alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('rsa', { modulusLength: 2048 })
}
export function createForgedKey (alg: ForgedAlgorithm, kid = `${alg}-${randomBytes(4).toString('hex')}`) {
  const { privateKey, publicKey } = pairOf(alg)
  const published: JWK = { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' }
  return { kid, alg, privateKey, publicKey, published }
}
type ForgedKey = ReturnType<typeof createForgedKey>

/** A JWT by such a key. */
export const signedBy = ({ alg, kid, privateKey }: Pick<ForgedKey, 'alg' | 'kid' | 'privateKey'>, claims: JWTPayload) => new SignJWT(claims).setProtectedHeader({ alg, kid }).sign(privateKey)

/** An identity provider of one citizen that says what it should, unless it is told to forge something: real tokens over real sockets. */
export async function startForgingProvider (t: Lifetime, { client_id = 'passerelle', sub = 'sub-of-wilhelmina', person = {}, tls }: { client_id?: string, sub?: string, person?: Record<string, unknown>, tls?: { key: string, cert: string } } = {}) {
  const keys = new Map<ForgedAlgorithm, ForgedKey>(algorithms.map(alg => [alg, createForgedKey(alg)]))
  const sockets = new Set<Socket>()
  let asked: URLSearchParams | undefined
  const state = { forgery: {} as Forgery, seen: [] as Seen[], client_id }

  const listener: RequestListener = (request, response) => { handle(request, response).catch(error => { if (!response.headersSent) response.writeHead(500); response.end(`${error}`) }) }
  const server = (tls === undefined ? createServer(listener) : createSecureServer(tls, listener))
    .on('connection', (socket: Socket) => { sockets.add(socket); socket.on('close', () => sockets.delete(socket)) })
  const listen = (port: number) => new Promise<number>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', () => { server.off('error', reject); resolve((server.address() as AddressInfo).port) })
  })
  const stop = async () => {
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise(resolve => server.close(resolve))
  }
  const port = await listen(0)
  t.teardown(stop)
  const issuer = `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`
  const now = () => Math.floor(Date.now() / 1000)

  const metadata = () => ({
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    end_session_endpoint: `${issuer}/logout`,
    authorization_response_iss_parameter_supported: true,
    response_types_supported: ['code'],
    subject_types_supported: ['pairwise'],
    id_token_signing_alg_values_supported: [...algorithms],
    userinfo_signing_alg_values_supported: [...algorithms],
    token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'private_key_jwt']
  })

  /** A JWT by one of the published keys, unless another is given. */
  const sign = (claims: JWTPayload, header: JWTHeaderParameters, key: KeyObject = keys.get(header.alg as ForgedAlgorithm)!.privateKey) =>
    new SignJWT(claims).setProtectedHeader(header).sign(key, { crit: Object.fromEntries((header.crit ?? []).map(name => [name, true])) })
  const headerOf = (alg: ForgedAlgorithm): JWTHeaderParameters => ({ alg, kid: keys.get(alg)!.kid })

  async function idToken ({ alg = 'RS256', claims = claims => claims, header = header => header, sign: signAs = sign, idToken = token => token }: Forgery) {
    const said = claims({ iss: issuer, sub, aud: state.client_id, iat: now(), exp: now() + 300, nonce: asked?.get('nonce') ?? 'none', acr: 'eidas1', amr: ['pwd'], auth_time: now(), ...person })
    return idToken(await signAs(said, header(headerOf(alg))))
  }

  const json = (response: ServerResponse, body: unknown, status = 200) => { response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)) }

  async function handle (request: IncomingMessage, response: ServerResponse) {
    const { pathname } = new URL(request.url!, issuer)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const endpoint = ({ '/.well-known/openid-configuration': 'discovery', '/jwks': 'jwks', '/token': 'token', '/userinfo': 'userinfo' } as const)[pathname] ?? 'other'
    const seen: Seen = { endpoint, method: request.method!, url: request.url!, headers: request.headers, body: new URLSearchParams(Buffer.concat(chunks).toString()) }
    state.seen.push(seen)
    const { forgery } = state
    if (endpoint === 'other') return json(response, { error: 'not_found' }, 404)
    await forgery.answer?.[endpoint]?.(request, response)
    if (response.headersSent || response.writableEnded || response.destroyed || request.socket.destroyed) return
    switch (endpoint) {
      case 'discovery': return json(response, forgery.metadata?.(metadata()) ?? metadata())
      case 'jwks': {
        const published = [...keys.values()].map(key => key.published)
        return json(response, forgery.jwks?.(published) ?? { keys: published })
      }
      case 'token': {
        const verifier = seen.body.get('code_verifier') ?? ''
        const isAsked = asked !== undefined && createHash('sha256').update(verifier).digest('base64url') === asked.get('code_challenge') && seen.body.get('redirect_uri') === asked.get('redirect_uri')
        if (!isAsked || seen.body.get('code') !== 'the-code') return json(response, { error: 'invalid_grant' }, 400)
        const answer = { access_token: 'the-access-token', token_type: 'Bearer', expires_in: 60, id_token: await idToken(forgery) }
        return json(response, forgery.tokens?.(answer) ?? answer)
      }
      case 'userinfo': {
        const claims = { sub, ...person }
        const said = forgery.userinfo?.(claims) ?? claims
        if (forgery.userinfoAlg === undefined) return json(response, said)
        response.writeHead(200, { 'content-type': 'application/jwt' })
        response.end(await (forgery.userinfoJwt ?? sign)({ iss: issuer, aud: state.client_id, ...said }, headerOf(forgery.userinfoAlg)))
      }
    }
  }

  return {
    state,
    issuer,
    keys,
    sign,
    metadata,
    stop,
    /** Listens again where it did. */
    resume: () => listen(port),
    /** How often an endpoint was asked. */
    count: (endpoint: Endpoint) => state.seen.filter(seen => seen.endpoint === endpoint).length,
    /** New keys, the old ones forgotten. */
    renewKeys () { for (const alg of algorithms) keys.set(alg, createForgedKey(alg)) },
    /** The citizen logs in: where the browser is sent, and what it brings back. */
    comeBack (url: URL, change: (parameters: URLSearchParams) => void = () => {}) {
      asked = url.searchParams
      const callback = new URL(asked.get('redirect_uri')!)
      callback.searchParams.set('code', 'the-code')
      callback.searchParams.set('state', asked.get('state')!)
      callback.searchParams.set('iss', issuer)
      change(callback.searchParams)
      return callback
    }
  }
}
export type ForgingProvider = Awaited<ReturnType<typeof startForgingProvider>>
