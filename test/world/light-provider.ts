import { hash, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { parseArgs } from 'node:util'
import { createLocalJWKSet, jwtVerify, type JWK, type JWTHeaderParameters, type JWTPayload } from 'jose'
import { BoundedMap } from './bounded.ts'
import type { Claims } from './citizens.ts'
import { openHost, type Tls } from './host.ts'
import { lightClient, type Registration } from './light-client.ts'
import { startControl } from './light-control.ts'
import { endpoints, misbehaviours, serverEndpoints, type Answer, type Encryption, type Endpoint, type Forged, type Forgery, type MisbehaviourName } from './misbehaviours.ts'
import { accountId, levelFor, type ProviderRow } from './providers.ts'
import { createSigningKey, jwe, jws, signatureAlgorithms } from './tokens.ts'

// An OpenID Provider that costs little and can misbehave. It signs real tokens and checks what it must, but shows no page: whoever comes is a citizen who agrees at once.

/** What a light provider is to be; its client's registration is part of it. */
export interface LightProviderOptions extends Omit<Registration, 'client_id' | 'client_secret'>, Partial<Pick<Registration, 'client_id' | 'client_secret'>> {
  id: string
  /** any free ports unless set */
  port?: number
  controlPort?: number
  suffix?: string
  tls?: Tls
  /** how it authenticates at each level, the lowest first */
  levels?: ProviderRow['levels']
  /** makes codes and access tokens; random unless set */
  draw?: (what: 'code' | 'access_token') => string
  /** what is forged for this request while no misbehaviour is in force */
  forgery?: () => Forgery
  /** is told of every request */
  observe?: (seen: Seen) => void
}

/** A request that came. */
export interface Seen { endpoint: Endpoint | 'other', method: string, url: string, headers: IncomingHttpHeaders, body: URLSearchParams }

/** What it publishes of itself (OpenID Connect Discovery §3). */
export type Metadata = Record<'issuer' | `${'authorization' | 'token' | 'userinfo' | 'end_session'}_endpoint` | 'jwks_uri', string> & Record<string, unknown>

/** A running provider. */
export interface LightProvider {
  id: string
  issuer: string
  /** The address of its control. */
  control: string
  client_id: string
  client_secret: string
  keys: Forged['keys']
  /** How often each endpoint was called; `trap` counts who came where nobody should. */
  counts: Record<Endpoint | 'trap', number>
  metadata (): Metadata
  /** A citizen came with this authorization request and agreed: where the browser is sent, and what it brings back. */
  comeBack (asked: URLSearchParams): URL
  /** Misbehaves in this way at this share of its calls, until it recovers. */
  misbehave (name: MisbehaviourName, share?: number): void
  recover (): void
  /** Signs with new keys; with an overlap the old ones stay published. */
  renewKeys (renewal: { overlap: boolean }): void
  /** Comes back at the same ports. */
  start (): Promise<void>
  stop (): Promise<void>
}

/** What a login was, from its code on. */
interface Login { asked: URLSearchParams, acr: string, auth_time: number, citizen: string, expires: number, access_token?: string }

interface Call { request: IncomingMessage, url: URL, body: URLSearchParams, forged: Forgery }

const routes: Record<string, { endpoint: Endpoint, methods: string[] }> = {
  '/.well-known/openid-configuration': { endpoint: 'discovery', methods: ['GET'] },
  '/authorize': { endpoint: 'authorize', methods: ['GET', 'POST'] },
  '/jwks': { endpoint: 'jwks', methods: ['GET'] },
  '/token': { endpoint: 'token', methods: ['POST'] },
  '/userinfo': { endpoint: 'userinfo', methods: ['GET', 'POST'] },
  '/logout': { endpoint: 'logout', methods: ['GET', 'POST'] },
  '/status': { endpoint: 'status', methods: ['GET'] }
}

/** The claims that each scope stands for here. */
const scopeClaims: Record<string, readonly string[]> = {
  profile: ['given_name', 'given_name_array', 'family_name', 'gender', 'birthdate', 'preferred_username'],
  birth: ['birthplace', 'birthcountry'],
  email: ['email', 'email_verified']
}

const codeSeconds = 60
const tokenSeconds = 600
const loginsAtOnce = 20_000
const pkce = /^[\w.~-]{43,128}$/

const syllables = ['ba', 'ce', 'di', 'fo', 'gu', 'la', 'me', 'ni', 'po', 'ru', 'sa', 'te', 'vi', 'zo', 'lu', 'na']

/** The identity of the citizen of this name: sound, the same every time, another for each name, and made of letters where it is a name. */
export function citizenOf (name: string): Claims {
  const bytes = hash('sha256', `citizen ${name}`, 'buffer')
  const word = (from: number) => [...bytes.subarray(from, from + 4)].map(byte => syllables[byte >> 4]! + syllables[byte & 15]!).join('').replace(/^./, letter => letter.toUpperCase())
  const number = (at: number, first: number, last: number, digits: number) => String(first + bytes[at]! % (last - first + 1)).padStart(digits, '0')
  const [given_name, family_name] = [word(0), word(4)]
  return {
    given_name,
    given_name_array: [given_name],
    family_name,
    gender: bytes[8]! % 2 === 0 ? 'female' : 'male',
    birthdate: `19${number(9, 30, 99, 2)}-${number(10, 1, 12, 2)}-${number(11, 1, 28, 2)}`,
    birthcountry: '99100',
    birthplace: `${number(12, 21, 95, 2)}${number(13, 1, 200, 3)}`,
    preferred_username: word(14),
    email: `${given_name}.${family_name}@courriel.example`.toLowerCase(),
    email_verified: true
  }
}

const now = () => Math.floor(Date.now() / 1000)
const random = () => randomBytes(32).toString('base64url')
const same = <Value>(value: Value) => value
const newKeys = () => new Map(signatureAlgorithms.map(alg => [alg, createSigningKey(alg)]))

const json = (status: number, body: unknown, headers: Record<string, string> = {}): Answer =>
  ({ status, headers: { 'content-type': 'application/json; charset=utf-8', ...headers }, text: typeof body === 'string' ? body : JSON.stringify(body) })
const unkept = { 'cache-control': 'no-store' }
const refusal = (status: number, error: string, error_description: string, headers?: Record<string, string>) => json(status, { error, error_description }, { ...unkept, ...headers })
const invalidRequest = (error_description: string, headers?: Record<string, string>) => refusal(400, 'invalid_request', error_description, headers)
const redirect = (to: URL): Answer => ({ status: 303, headers: { location: to.href, ...unkept }, text: '' })

/** What stands more than once, as no OAuth parameter may (RFC 6749 §3.1, §3.2). */
const repeated = (parameters: URLSearchParams) => [...parameters.keys()].filter((name, at, all) => all.indexOf(name) !== at)

function send ({ status, headers, text }: Answer, response: ServerResponse) { response.writeHead(status, headers).end(text) }

/** Starts the provider and its control. */
export async function startLightProvider (options: LightProviderOptions): Promise<LightProvider> {
  const { id, port = 0, controlPort = 0, suffix = 'localhost', client_id = 'passerelle', client_secret = random(), redirect_uris, post_logout_redirect_uris = [] } = options
  const { levels = { eidas1: ['pwd'], eidas2: ['pwd', 'otp', 'mfa'] }, id_token_signed_response_alg = 'RS256', draw = random, forgery: well = () => ({}), observe = () => {} } = options
  const client = lightClient({ ...options, client_id, client_secret }, suffix)
  const codes = new BoundedMap<string, Login>(loginsAtOnce)
  const accessTokens = new BoundedMap<string, Login>(loginsAtOnce)
  const counts = Object.fromEntries([...endpoints, 'trap'].map(endpoint => [endpoint, 0])) as LightProvider['counts']
  let keys = newKeys()
  let retired: JWK[] = []
  let inForce: { name: MisbehaviourName, share: number } | undefined

  const published = () => [...[...keys.values()].map(key => key.published), ...retired]
  const steering = {
    misbehave (name: MisbehaviourName, share = 1) { inForce = { name, share } },
    recover () { inForce = undefined },
    renewKeys ({ overlap }: { overlap: boolean }) {
      retired = overlap ? [...keys.values()].map(key => key.published) : []
      keys = newKeys()
      written = write()
    }
  }
  const control = await startControl(controlPort, { ...steering, counts, inForce: () => inForce, published })
  // a client's certificate is compared with the registered one, whoever vouches for it
  const tls = options.tls && { ...options.tls, ...(options.clientCertificate !== undefined && { requestCert: true, rejectUnauthorized: false }) }
  const host = await openHost(id, port, { suffix, ports: 'fixed', tls }, (request, response) => {
    handle(request, response).catch(error => { if (response.headersSent) response.destroy(); else send(refusal(500, 'server_error', String(error)), response) })
  }).catch(async error => {
    await control.stop()
    throw error
  })
  const issuer = host.origin
  const of: Forged = { issuer, client_id, client_secret, levels, get keys () { return keys }, trap: `http://${id}.${suffix}:${control.port}/trap` }
  const answers: Record<Endpoint, (call: Call) => Answer | Promise<Answer>> = { discovery, authorize, jwks, token, userinfo, logout, status: () => json(200, { status: 'up' }) }
  let written = write()

  return {
    id,
    issuer,
    control: control.origin,
    client_id,
    client_secret,
    get keys () { return keys },
    counts,
    metadata,
    comeBack: asked => comeBack(asked, forgeryInForce()),
    ...steering,
    async start () { await Promise.all([host.start(), control.start()]) },
    async stop () { await Promise.all([host.stop(), control.stop()]) }
  }

  function forgeryInForce (): Forgery {
    if (inForce === undefined) return well()
    return Math.random() < inForce.share ? misbehaviours[inForce.name].forgery : {}
  }

  async function handle (request: IncomingMessage, response: ServerResponse) {
    const url = new URL(request.url!, issuer)
    const { endpoint, methods } = routes[url.pathname] ?? { endpoint: 'other', methods: [] }
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = new URLSearchParams(Buffer.concat(chunks).toString())
    observe({ endpoint, method: request.method!, url: request.url!, headers: request.headers, body })
    if (endpoint === 'other') return send(refusal(404, 'invalid_request', 'nothing is here'), response)
    counts[endpoint]++

    const forged = forgeryInForce()
    await forged.answer?.[endpoint]?.(request, response, of)
    if (response.headersSent || response.writableEnded || response.destroyed || request.socket.destroyed) return
    const answer = methods.includes(request.method!) ? await answers[endpoint]({ request, url, body, forged }) : refusal(404, 'invalid_request', 'not by this method')
    const headers = { ...answer.headers, 'content-length': String(Buffer.byteLength(answer.text)) }
    const sendIt = serverEndpoints.includes(endpoint) ? forged.send ?? send : send
    await sendIt({ ...answer, headers }, response, endpoint)
  }

  function metadata (): Metadata {
    return {
      issuer,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      userinfo_endpoint: `${issuer}/userinfo`,
      jwks_uri: `${issuer}/jwks`,
      end_session_endpoint: `${issuer}/logout`,
      acr_values_supported: Object.keys(levels),
      authorization_response_iss_parameter_supported: true,
      claims_parameter_supported: false,
      claims_supported: ['sub', 'acr', 'amr', 'auth_time', 'iss', ...Object.values(scopeClaims).flat()],
      code_challenge_methods_supported: ['S256'],
      grant_types_supported: ['authorization_code'],
      id_token_encryption_alg_values_supported: ['RSA-OAEP-256', 'ECDH-ES'],
      id_token_encryption_enc_values_supported: ['A128GCM', 'A256GCM'],
      id_token_signing_alg_values_supported: signatureAlgorithms,
      request_uri_parameter_supported: false,
      response_modes_supported: ['query'],
      response_types_supported: ['code'],
      scopes_supported: ['openid', ...Object.keys(scopeClaims)],
      subject_types_supported: ['public'],
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', ...(options.clientCertificate === undefined ? [] : ['self_signed_tls_client_auth'])],
      token_endpoint_auth_signing_alg_values_supported: signatureAlgorithms,
      userinfo_encryption_alg_values_supported: ['RSA-OAEP-256', 'ECDH-ES'],
      userinfo_encryption_enc_values_supported: ['A128GCM', 'A256GCM'],
      userinfo_signing_alg_values_supported: signatureAlgorithms
    }
  }

  /** What is asked most is written once. */
  function write () { return { discovery: JSON.stringify(metadata()), jwks: JSON.stringify({ keys: published() }) } }

  function discovery ({ forged: { metadata: change, text } }: Call) {
    return json(200, (text?.discovery ?? same)(change === undefined ? written.discovery : JSON.stringify(change(metadata(), of))))
  }

  function jwks ({ forged: { jwks: change, text } }: Call) {
    return json(200, (text?.jwks ?? same)(change === undefined ? written.jwks : JSON.stringify(change(published(), of))), { 'content-type': 'application/jwk-set+json; charset=utf-8' })
  }

  /** The authorization endpoint (OpenID Connect Core §3.1.2). */
  function authorize ({ request, url, body, forged }: Call): Answer {
    const asked = request.method === 'POST' ? body : url.searchParams
    const twice = repeated(asked)
    for (const name of ['client_id', 'redirect_uri']) if (!asked.has(name) || twice.includes(name)) return invalidRequest(`expected one ${name}`)
    if (asked.get('client_id') !== client_id) return refusal(400, 'invalid_client', 'unknown client_id')
    if (!redirect_uris.includes(asked.get('redirect_uri')!)) return refusal(400, 'invalid_redirect_uri', 'this redirect_uri is not registered')
    for (const name of twice) asked.delete(name)                        // which of the two was meant, nobody can say
    const [error, error_description] = twice.length > 0 ? ['invalid_request', `more than once: ${twice}`] : faultOf(asked) ?? []
    return redirect(error === undefined ? comeBack(asked, forged) : sentBack(asked, { error, error_description: error_description! }))
  }

  /** Why an authorization request cannot be met: what its client is told. */
  function faultOf (asked: URLSearchParams): readonly [error: string, error_description: string] | undefined {
    const [challenge, method] = [asked.get('code_challenge'), asked.get('code_challenge_method')]
    const prompts = (asked.get('prompt') ?? '').split(' ').filter(Boolean)
    if (asked.has('request')) return ['request_not_supported', 'request']
    if (asked.has('request_uri')) return ['request_uri_not_supported', 'request_uri']
    if (asked.has('response_mode') && asked.get('response_mode') !== 'query') return ['unsupported_response_mode', 'expected query']
    if (!asked.has('response_type')) return ['invalid_request', 'expected a response_type']
    if (asked.has('registration')) return ['registration_not_supported', 'registration']
    if (asked.get('response_type') !== 'code') return ['unsupported_response_type', 'expected code']
    if (!prompts.every(prompt => ['none', 'login', 'consent'].includes(prompt))) return ['invalid_request', 'unknown prompt']
    if (prompts.includes('none') && prompts.length > 1) return ['invalid_request', 'prompt: none stands alone']
    if (!asked.get('scope')?.split(' ').includes('openid')) return ['invalid_request', 'expected the scope openid']
    if ((challenge === null) !== (method === null) || (method !== null && method !== 'S256')) return ['invalid_request', 'expected a code_challenge by S256']
    if (challenge !== null && !pkce.test(challenge)) return ['invalid_request', 'malformed code_challenge']
    if (asked.has('max_age') && !/^\d{1,15}$/.test(asked.get('max_age')!)) return ['invalid_request', 'max_age: expected a number']
    return prompts.includes('none') ? ['login_required', 'nobody is known here'] : undefined
  }

  /** Back to the client with its state, and with our issuer (RFC 9207). */
  function sentBack (asked: URLSearchParams, answer: Record<string, string>) {
    const callback = new URL(asked.get('redirect_uri')!)
    const state = asked.get('state')
    for (const [name, value] of Object.entries({ ...answer, ...(state !== null && { state }), iss: issuer })) callback.searchParams.append(name, value)
    return callback
  }

  function comeBack (asked: URLSearchParams, forged: Forgery) {
    const code = draw('code')
    codes.set(code, { asked, acr: levelFor({ levels }, asked.get('acr_values') ?? ''), auth_time: now(), citizen: asked.get('citizen') ?? 'somebody', expires: now() + codeSeconds })
    const callback = sentBack(asked, { code })
    forged.callback?.(callback, of)
    return callback
  }

  /** The token endpoint (OpenID Connect Core §3.1.3). */
  async function token ({ request, body, forged }: Call): Promise<Answer> {
    if (!/^application\/x-www-form-urlencoded\b/i.test(request.headers['content-type'] ?? '')) return invalidRequest('expected a form')
    const twice = repeated(body)
    if (twice.length > 0) return invalidRequest(`more than once: ${twice}`)
    const doubt = forged.credulous ? undefined : await client.doubt(request, body, [issuer, `${issuer}/token`])
    if (doubt !== undefined) return refuseClient(request, ...doubt)
    if (!body.has('grant_type')) return invalidRequest('expected a grant_type')
    if (body.get('grant_type') !== 'authorization_code') return refusal(400, 'unsupported_grant_type', 'expected authorization_code')
    for (const name of ['code', 'redirect_uri']) if (!body.has(name)) return invalidRequest(`expected a ${name}`)
    if (body.has('code_verifier') && !pkce.test(body.get('code_verifier')!)) return invalidRequest('malformed code_verifier')

    const login = codes.get(body.get('code')!)
    if (login === undefined || login.expires <= now() || !isForThis(login, body)) return refusal(400, 'invalid_grant', 'the code is not for this request')
    if (login.access_token !== undefined && !forged.credulous) {
      accessTokens.delete(login.access_token)                           // a second use ends what the first was given (RFC 6749 §4.1.2)
      return refusal(400, 'invalid_grant', 'the code was used before')
    }
    const access_token = login.access_token = draw('access_token')
    accessTokens.set(access_token, { ...login, expires: now() + tokenSeconds })

    const id_token = await idToken(login, forged)
    const answer = { access_token, expires_in: tokenSeconds, id_token, scope: login.asked.get('scope'), token_type: 'Bearer' }
    return json(200, (forged.text?.token ?? same)(JSON.stringify((forged.tokens ?? same)(answer, of))), unkept)
  }

  function refuseClient ({ headers }: IncomingMessage, error: string, error_description: string) {
    if (error === 'invalid_request') return invalidRequest(error_description)
    return refusal(401, error, error_description, headers.authorization === undefined ? {} : { 'www-authenticate': `Basic realm="${issuer}", error="${error}"` })
  }

  /** The redirect_uri and the verifier (RFC 7636 §4.6) are those of the request that the code answers. */
  function isForThis ({ asked }: Login, body: URLSearchParams) {
    const verifier = body.get('code_verifier')
    return body.get('redirect_uri') === asked.get('redirect_uri') && asked.get('code_challenge') === (verifier && hash('sha256', verifier, 'base64url'))
  }

  /** The ID Token (OpenID Connect Core §2), signed, and encrypted where that is registered. */
  async function idToken (login: Login, forged: Forgery) {
    const { alg = id_token_signed_response_alg, claims = same, header = same, sign = signed, idToken: change = same, encrypt = encrypted } = forged
    const nonce = login.asked.get('nonce')
    const said = claims({
      iss: issuer,
      sub: accountId(id, login.citizen),
      aud: client_id,
      exp: now() + tokenSeconds,
      iat: now(),
      auth_time: login.auth_time,
      ...(nonce !== null && { nonce }),
      acr: login.acr,
      amr: levels[login.acr]
    }, of)
    const token = change(await sign(said, header({ alg, kid: keys.get(alg)!.kid }, of), of), of)
    return token && encrypt(token, await client.encryption('id_token'), of)

    function signed (claims: JWTPayload, header: JWTHeaderParameters) { return signedBy(header, (forged.text?.id_token ?? same)(JSON.stringify(claims))) }
  }

  /** By the published key of the algorithm that the header names. */
  function signedBy (header: JWTHeaderParameters, payload: string) { return jws(header, payload, keys.get(header.alg as 'RS256')!.privateKey) }

  function encrypted (token: string, registered: Encryption | undefined) {
    return registered === undefined ? token : jwe({ alg: registered.alg, enc: registered.enc, cty: 'JWT', ...(registered.kid !== undefined && { kid: registered.kid }) }, token, registered.key)
  }

  /** The userinfo endpoint (OpenID Connect Core §5.3), by an access token in its one place (RFC 6750 §2). */
  async function userinfo ({ request, url, body, forged }: Call): Promise<Answer> {
    const challenge = (error?: string) => ({ 'www-authenticate': `Bearer realm="${issuer}"${error === undefined ? '' : `, error="${error}"`}` })
    const shown = [request.headers.authorization, body.get('access_token'), url.searchParams.get('access_token')].filter(proof => typeof proof === 'string')
    if (shown.length === 0) return refusal(401, 'invalid_token', 'expected an access token', challenge())
    const value = request.headers.authorization === undefined ? body.get('access_token') : /^Bearer ([^ ]+)$/i.exec(request.headers.authorization)?.[1]
    if (shown.length > 1 || typeof value !== 'string') return invalidRequest('expected one access token, in the header', challenge('invalid_request'))
    const login = accessTokens.get(value)
    if (login === undefined || login.expires <= now()) return refusal(401, 'invalid_token', 'unknown access token', challenge('invalid_token'))

    const { userinfo: change = same, userinfoAlg: alg = options.userinfo_signed_response_alg, userinfoJwt, text } = forged
    const claims = change({ sub: accountId(id, login.citizen), ...claimsFor(login) }, of)
    const rewrite = text?.userinfo ?? same
    if (alg === undefined) return json(200, rewrite(JSON.stringify(claims)), unkept)
    const said = { iss: issuer, aud: client_id, iat: now(), exp: login.expires, ...claims }
    const header = { alg, kid: keys.get(alg)!.kid }
    const token = userinfoJwt === undefined ? signedBy(header, rewrite(JSON.stringify(said))) : await userinfoJwt(said, header, of)
    return { status: 200, headers: { 'content-type': 'application/jwt; charset=utf-8', ...unkept }, text: encrypted(token, await client.encryption('userinfo')) }
  }

  /** What the scopes of a request stand for, of its citizen. */
  function claimsFor ({ asked, citizen }: Login) {
    const names = new Set(asked.get('scope')!.split(' ').flatMap(scope => scopeClaims[scope] ?? []))
    return Object.fromEntries(Object.entries(citizenOf(citizen)).filter(([name]) => names.has(name)))
  }

  /** RP-initiated logout (OpenID Connect RP-Initiated Logout §2): there is no session to end, and the citizen agrees at once. */
  async function logout ({ request, url, body }: Call): Promise<Answer> {
    const asked = request.method === 'POST' ? body : url.searchParams
    const hint = asked.get('id_token_hint')
    const back = asked.get('post_logout_redirect_uri')
    if (hint !== null && !await isOurs(hint)) return invalidRequest('id_token_hint: not ours')
    if (asked.has('client_id') && asked.get('client_id') !== client_id) return hint === null ? refusal(400, 'invalid_client', 'unknown client_id') : invalidRequest('client_id: not that of the id_token_hint')
    if (back === null || (hint === null && !asked.has('client_id'))) return { status: 200, headers: { 'content-type': 'text/plain', ...unkept }, text: 'logged out' }
    if (!post_logout_redirect_uris.includes(back)) return invalidRequest('this post_logout_redirect_uri is not registered')
    const address = new URL(back)
    if (asked.has('state')) address.searchParams.append('state', asked.get('state')!)
    return redirect(address)
  }

  /** Whether it is an ID Token of ours for the client, be it expired. */
  function isOurs (token: string) {
    const options = { issuer, audience: client_id, currentDate: new Date(0) }
    return jwtVerify(token, createLocalJWKSet({ keys: published() }), options).then(() => true, () => false)
  }
}

const usage = 'node test/world/light-provider.ts --id ID --redirect-uri URL … [--post-logout-redirect-uri URL …] [--port PORT] [--control-port PORT] [--client-id ID] [--client-secret SECRET] [--alg RS256|PS256|ES256|EdDSA]'

/** A provider as a process of its own: one line of JSON says that it listens, SIGTERM ends it. */
async function main () {
  const text = { type: 'string' } as const
  const list = { ...text, multiple: true } as const
  const { values } = parseArgs({ options: { id: text, port: text, 'control-port': text, 'redirect-uri': list, 'post-logout-redirect-uri': list, 'client-id': text, 'client-secret': text, alg: text } })
  const { id, 'redirect-uri': redirect_uris, 'client-id': client_id, 'client-secret': client_secret, alg = 'RS256' } = values
  const id_token_signed_response_alg = signatureAlgorithms.find(known => known === alg)
  if (id === undefined || redirect_uris === undefined || id_token_signed_response_alg === undefined) throw new Error(`expected ${usage}`)
  const provider = await startLightProvider({
    id,
    port: Number(values.port ?? 0),
    controlPort: Number(values['control-port'] ?? 0),
    redirect_uris,
    post_logout_redirect_uris: values['post-logout-redirect-uri'] ?? [],
    id_token_signed_response_alg,
    ...(client_id !== undefined && { client_id }),
    ...(client_secret !== undefined && { client_secret })
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => provider.stop())
  console.log(JSON.stringify({ id, issuer: provider.issuer, control: provider.control, client_id: provider.client_id, client_secret: provider.client_secret, pid: process.pid }))
}

if (import.meta.main) await main()
