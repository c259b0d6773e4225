import { createHash, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'
import { deflateRawSync, gzipSync } from 'node:zlib'
import type { JWK, JWTHeaderParameters, JWTPayload } from 'jose'
import type { ProviderRow, SignatureAlgorithm } from './providers.ts'
import { createSigningKey, jwe, jws, part, type SigningKey } from './tokens.ts'

/** What a light provider answers. */
export type Endpoint = 'discovery' | 'authorize' | 'jwks' | 'token' | 'userinfo' | 'logout' | 'status'

const called = ['discovery', 'jwks', 'token', 'userinfo'] as const
/** Those that a client's server calls; browsers and operators go to the others. */
export const serverEndpoints: readonly Endpoint[] = called
/** All of them. */
export const endpoints: readonly Endpoint[] = ['discovery', 'authorize', 'jwks', 'token', 'userinfo', 'logout', 'status']

/** An answer, before it is sent. */
export interface Answer { status: number, headers: Record<string, string>, text: string }

/** For whom an ID Token is encrypted, and how. */
export interface Encryption { alg: string, enc: string, kid: string | undefined, key: KeyObject }

/** What a forgery may know of the provider that it makes a liar of. */
export interface Forged {
  issuer: string
  client_id: string
  client_secret: string
  levels: ProviderRow['levels']
  keys: ReadonlyMap<SignatureAlgorithm, SigningKey>
  /** An address where nobody should ever come; it counts who does, and publishes the stranger's keys. */
  trap: string
}

/** How one endpoint answers instead of as it should; when it has sent nothing, it goes on as it should. */
export type Handler = (request: IncomingMessage, response: ServerResponse, of: Forged) => unknown

/** What is forged, each by itself; what is not named is as it should be. */
export interface Forgery {
  /** the ID Token is signed by this algorithm, whatever is registered */
  alg?: SignatureAlgorithm
  /** changes the claims of the ID Token before it is signed */
  claims?: (claims: JWTPayload, of: Forged) => JWTPayload
  /** changes its header */
  header?: (header: JWTHeaderParameters, of: Forged) => JWTHeaderParameters
  /** signs it otherwise */
  sign?: (claims: JWTPayload, header: JWTHeaderParameters, of: Forged) => Promise<string> | string
  /** changes the token, signed */
  idToken?: (token: string, of: Forged) => string | undefined
  /** encrypts it otherwise, or not at all; it is told what is registered, if anything */
  encrypt?: (token: string, registered: Encryption | undefined, of: Forged) => string
  /** changes the token endpoint's answer */
  tokens?: (answer: Record<string, unknown>, of: Forged) => Record<string, unknown>
  userinfo?: (claims: JWTPayload, of: Forged) => JWTPayload
  /** the userinfo answer is a JWT, signed so */
  userinfoAlg?: SignatureAlgorithm
  userinfoJwt?: (claims: JWTPayload, header: JWTHeaderParameters, of: Forged) => Promise<string> | string
  metadata?: (metadata: Record<string, unknown>, of: Forged) => Record<string, unknown>
  jwks?: (keys: JWK[], of: Forged) => unknown
  /** changes what the browser brings back */
  callback?: (callback: URL, of: Forged) => void
  /** changes JSON as it is written: of an answer, or of the claims of an ID Token */
  text?: Partial<Record<typeof called[number] | 'id_token', (text: string) => string>>
  /** sends the answers to a client's server otherwise */
  send?: (answer: Answer, response: ServerResponse, endpoint: Endpoint) => unknown
  /** answers an endpoint's request by hand */
  answer?: Partial<Record<Endpoint, Handler>>
  /** redeems its codes for whoever knows the verifier, as often as they like */
  credulous?: boolean
}

/** One way in which a provider can be broken or wicked; all else about it is right. */
export interface Misbehaviour { about: string, forgery: Forgery }

const strangers = new Map<SignatureAlgorithm, SigningKey>()

/** The key of somebody who is not the provider. */
export function strangerOf (alg: SignatureAlgorithm): SigningKey {
  const key = strangers.get(alg) ?? createSigningKey(alg)
  strangers.set(alg, key)
  return key
}

/** The public keys of strangers, so far. */
export const strangerKeys = () => [...strangers.values()].map(key => key.published)

const impostor = 'https://impostor.example'
const megabytes = (count: number) => count * 1024 * 1024
/** What is made when it is first wanted. */
function once<Made> (make: () => Made) {
  let made: Made | undefined
  return () => { made ??= make(); return made }
}

const never = () => new Promise<never>(() => {})
const seconds = (count: number) => pause(count * 1000, undefined, { ref: false })

const at = (handler: Handler, ...which: readonly Endpoint[]): Forgery => ({ answer: Object.fromEntries(which.map(endpoint => [endpoint, handler])) })
const everywhere = (handler: Handler) => at(handler, ...endpoints)
const atCalls = (handler: Handler) => at(handler, ...called)

const answering = (status: number, body: string | object, headers: Record<string, string> = {}): Handler => (_request, response) => {
  const [type, text] = typeof body === 'string' ? ['text/html; charset=utf-8', body] : ['application/json; charset=utf-8', JSON.stringify(body)]
  response.writeHead(status, { 'content-type': type, ...headers }).end(text)
}
const redirecting = (status: number, to: (request: IncomingMessage, of: Forged) => string): Handler => (request, response, of) => {
  response.writeHead(status, { location: to(request, of) }).end()
}

/** A connection that ends as when a host is gone: by a reset, where there is no TLS around it. */
const reset: Handler = ({ socket }) => { if (socket instanceof TLSSocket) socket.destroy(); else socket.resetAndDestroy() }

const page = '<!doctype html>\n<title>Maintenance</title>\n<p>We will be back.\n'

/** The answer as it should be, behind so many bytes of white space, so long as anybody listens. */
function behindSpaces ({ status, headers: { 'content-length': _, ...headers }, text }: Answer, response: ServerResponse, bytes: number) {
  const spaces = Buffer.alloc(64 * 1024, ' ')
  response.writeHead(status, headers)
  return pipeline(function * () {
    for (let sent = 0; sent < bytes; sent += spaces.length) yield spaces
    yield text
  }, response).catch(() => {})
}

const said = (changes: object | ((claims: JWTPayload, of: Forged) => object)): Forgery => ({ claims: (claims, of) => ({ ...claims, ...(typeof changes === 'function' ? changes(claims, of) : changes) }) })
const unsaid = (...names: string[]): Forgery => ({ claims: claims => without(claims, ...names) })
const told = (changes: object): Forgery => ({ userinfo: claims => ({ ...claims, ...changes }) })
const without = <Tree extends object>(tree: Tree, ...names: string[]) => Object.fromEntries(Object.entries(tree).filter(([name]) => !names.includes(name))) as Tree
const hour = 3600

/** Signed by the stranger, under a header of its own. */
const byStranger = (headerOf: (header: JWTHeaderParameters, stranger: SigningKey, of: Forged) => object): Forgery => ({
  sign (claims, header, of) {
    const stranger = strangerOf(header.alg as SignatureAlgorithm)
    return jws({ ...header, ...headerOf(header, stranger, of) }, JSON.stringify(claims), stranger.privateKey)
  }
})
const bySecret = (headerOf: object, secretOf: (of: Forged, header: JWTHeaderParameters) => Uint8Array): Forgery => ({
  sign: (claims, header, of) => jws({ ...header, alg: 'HS256', ...headerOf }, JSON.stringify(claims), secretOf(of, header))
})
const otherKey = (header: JWTHeaderParameters, keys: Forged['keys']) => {
  const { alg, kid } = [...keys.values()].find(({ alg }) => alg !== header.alg)!
  return { alg, kid }
}

const weakKey = once(() => createSigningKey('RS256', 'weak', 1024))

const unsigned = (header: object, payload: string) => `${part(JSON.stringify(header))}.${part(payload)}.`
const payloadOf = (token: string) => Buffer.from(token.split('.')[1]!, 'base64url').toString()

/** The signature, changed. */
const signature = (change: (bytes: Buffer) => Buffer): Forgery => ({
  idToken: token => token.replace(/[^.]*$/, encoded => part(change(Buffer.from(encoded, 'base64url'))))
})

/** Adds a member in front of the one of the same name, so that who reads the last one notices nothing. */
const twice = (name: string, value: unknown) => (text: string) => `{${JSON.stringify(name)}:${JSON.stringify(value)},${text.slice(1)}`

/** For whom a token is encrypted where nobody has registered for it. */
const nobody = (): Encryption => ({ alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: 'nobody', key: strangerOf('RS256').publicKey })
const headerFor = ({ alg, enc, kid }: Encryption) => ({ alg, enc, cty: 'JWT', ...(kid !== undefined && { kid }) })
const encrypting = (encrypt: (token: string, registered: Encryption, of: Forged) => string): Forgery => ({ encrypt: (token, registered = nobody(), of) => encrypt(token, registered, of) })
/** A JWE whose parts are noise under this header: it is the header alone that matters. */
const noise = (header: object) => [part(JSON.stringify(header)), ...[40, 12, 256, 16].map(bytes => part(randomBytes(bytes)))].join('.')
/** What the registered key can do as well. */
const otherWrapping = ({ key }: Encryption) => key.asymmetricKeyType === 'rsa' ? 'RSA-OAEP' : 'ECDH-ES+A256KW'
/** A key of the same kind that nobody has. */
const unknownLike = ({ asymmetricKeyType }: KeyObject) => asymmetricKeyType === 'x25519' ? generateKeyPairSync('x25519').publicKey : strangerOf(asymmetricKeyType === 'rsa' ? 'RS256' : 'ES256').publicKey

/** 50 MB of spaces, packed: once, since it takes a while. */
const packed = once(() => deflateRawSync(Buffer.alloc(megabytes(50), ' ')))
const gzipped = once(() => gzipSync(Buffer.alloc(megabytes(50), ' ')))

const sentBack = (change: (parameters: URLSearchParams, of: Forged) => void): Forgery => ({ callback: ({ searchParams }, of) => change(searchParams, of) })
const sentBackWithError = (error: string) => sentBack(parameters => { parameters.delete('code'); parameters.set('error', error) })

/** Every misbehaviour by its name. Each does this one thing; where its sentence names what must be registered or asked, it does nothing without. */
export const misbehaviours = {
  // what the network or the host does
  black_hole: { about: 'takes every connection and never answers anything', forgery: everywhere(never) },
  hang_token: { about: 'never answers at the token endpoint', forgery: at(never, 'token') },
  hang_userinfo: { about: 'never answers at the userinfo endpoint', forgery: at(never, 'userinfo') },
  hang_jwks: { about: 'never answers when asked for its keys', forgery: at(never, 'jwks') },
  slow: { about: 'waits ten seconds before each answer', forgery: everywhere(() => seconds(10)) },
  errors_500: { about: 'answers 500 everywhere', forgery: everywhere(answering(500, { error: 'server_error' })) },
  unavailable_503: { about: 'answers 503 with Retry-After everywhere', forgery: everywhere(answering(503, page, { 'retry-after': '120' })) },
  resets: { about: 'resets every connection once it has read the request', forgery: everywhere(reset) },
  cut_short: {
    about: 'closes the connection in the middle of each answer to a server',
    forgery: { send ({ status, headers, text }, response) { response.writeHead(status, headers).write(text.slice(0, text.length / 2), () => response.destroy()) } }
  },
  stalls: {
    about: 'sends half of each answer to a server, and never the rest',
    forgery: { send ({ status, headers, text }, response) { response.writeHead(status, headers).write(text.slice(0, text.length / 2)) } }
  },
  slow_drip: {
    about: 'answers servers with one byte a second, for ever',
    forgery: {
      send ({ status, headers: { 'content-length': _, ...headers } }, response) {
        response.writeHead(status, headers).write(' ')
        const drip = setInterval(() => response.write(' '), 1000).unref()
        response.once('close', () => clearInterval(drip))
      }
    }
  },
  body_50mb: { about: 'answers servers with 50 MB of white space before what it has to say', forgery: { send: (answer, response) => behindSpaces(answer, response, megabytes(50)) } },
  gzip_bomb: {
    about: 'answers servers with 50 MB packed by gzip, which nobody accepts',
    forgery: { send ({ status, headers: { 'content-length': _, ...headers }, text }, response) { response.writeHead(status, { ...headers, 'content-encoding': 'gzip' }).end(Buffer.concat([gzipped(), gzipSync(text)])) } }
  },
  long_headers: { about: 'answers servers with a header of 100 KB', forgery: atCalls((_request, response) => response.setHeader('x-padding', 'x'.repeat(100_000))) },
  no_date: { about: 'answers without a Date', forgery: everywhere((_request, response) => { response.sendDate = false }) },
  garbage_json: {
    about: 'answers servers with 200 and JSON that breaks off half way',
    forgery: { send ({ headers, text }, response) { response.writeHead(200, { 'content-type': headers['content-type']! }).end(text.slice(0, text.length / 2)) } }
  },
  html: { about: 'answers servers with 200 and a page', forgery: atCalls(answering(200, page)) },
  no_content_type: {
    about: 'answers servers without saying of which type the answer is',
    forgery: { send ({ status, headers: { 'content-type': _, ...headers }, text }, response) { response.writeHead(status, headers).end(text) } }
  },
  redirect_loop: { about: 'redirects discovery, JWKS and userinfo to themselves', forgery: at(redirecting(302, ({ url }) => url!), 'discovery', 'jwks', 'userinfo') },
  token_redirect: { about: 'redirects the token request (307) to another address of its own, which counts who comes', forgery: at(redirecting(307, (_request, { trap }) => trap), 'token') },
  jwks_redirect: { about: 'redirects whoever asks for its keys to another address of its own, which counts who comes', forgery: at(redirecting(302, (_request, { trap }) => trap), 'jwks') },

  // JSON that says a thing twice, in which who reads the last one reads what is right
  duplicate_members_token: { about: 'answers the token request with two id_token members', forgery: { text: { token: twice('id_token', 'e30.e30.') } } },
  duplicate_members_userinfo: { about: 'answers userinfo with two sub members', forgery: { text: { userinfo: twice('sub', 'somebody-else') } } },
  duplicate_members_id_token: { about: 'signs an ID Token whose claims have two sub members', forgery: { text: { id_token: twice('sub', 'somebody-else') } } },
  duplicate_members_metadata: { about: 'publishes metadata with two token_endpoint members', forgery: { text: { discovery: twice('token_endpoint', `${impostor}/token`) } } },
  duplicate_members_jwks: { about: 'publishes a key set with two keys members', forgery: { text: { jwks: twice('keys', []) } } },

  // metadata
  wrong_iss_metadata: { about: 'publishes metadata of another issuer', forgery: { metadata: metadata => ({ ...metadata, issuer: impostor }) } },
  no_jwks_uri: { about: 'publishes metadata without jwks_uri', forgery: { metadata: metadata => without(metadata, 'jwks_uri') } },
  no_token_endpoint: { about: 'publishes metadata without token_endpoint', forgery: { metadata: metadata => without(metadata, 'token_endpoint') } },
  metadata_list: { about: 'publishes a list for its metadata', forgery: { text: { discovery: text => `[${text}]` } } },
  metadata_loopback: { about: 'says that its keys are at another port of 127.0.0.1', forgery: { metadata: (metadata, { trap }) => ({ ...metadata, jwks_uri: trap.replace(new URL(trap).hostname, '127.0.0.1') }) } },
  metadata_link_local: { about: 'says that its keys are at 169.254.169.254', forgery: { metadata: metadata => ({ ...metadata, jwks_uri: 'http://169.254.169.254/latest/meta-data/' }) } },
  metadata_http: { about: 'says that its token endpoint is at an address over http, which counts who comes', forgery: { metadata: (metadata, { trap }) => ({ ...metadata, token_endpoint: trap }) } },
  metadata_file: { about: 'says that its keys are in a file', forgery: { metadata: metadata => ({ ...metadata, jwks_uri: 'file:///etc/passwd' }) } },

  // keys
  jwks_500: { about: 'answers 500 when asked for its keys', forgery: at(answering(500, { error: 'server_error' }), 'jwks') },
  jwks_empty: { about: 'publishes an empty key set', forgery: { jwks: () => ({ keys: [] }) } },
  jwks_not_a_set: { about: 'publishes JSON that is no key set', forgery: { jwks: keys => ({ key: keys[0] }) } },
  jwks_list: { about: 'publishes its keys as a bare list', forgery: { jwks: keys => keys } },
  jwks_encryption_only: { about: 'publishes its keys as being for encryption', forgery: { jwks: keys => ({ keys: keys.map(key => ({ ...key, use: 'enc' })) }) } },
  jwks_private: {
    about: 'publishes its private keys',
    forgery: { jwks: (published, { keys }) => ({ keys: published.map(key => ({ ...key, ...keys.get(key.alg as SignatureAlgorithm)!.privateKey.export({ format: 'jwk' }) })) }) }
  },
  jwks_symmetric: { about: 'publishes, under the name of each of its keys, a secret instead', forgery: { jwks: keys => ({ keys: keys.map(({ kid, alg }) => ({ kty: 'oct', k: part('secret'), kid, alg })) }) } },
  jwks_huge: { about: 'publishes ten thousand keys before its own', forgery: { jwks: keys => ({ keys: [...Array.from({ length: 10_000 }, (_, i) => ({ ...strangerOf('ES256').published, kid: `old-${i}` })), ...keys] }) } },
  jwks_strange: { about: 'publishes keys of unknown kinds beside its own', forgery: { jwks: keys => ({ keys: [{ kty: 'new', kid: 'strange' }, ...keys, { kty: 'AKP', alg: 'ML-DSA-44', kid: 'quantum', pub: 'AA' }] }) } },

  // the browser's way back
  wrong_iss_callback: { about: 'sends the browser back with the iss of another', forgery: sentBack(parameters => parameters.set('iss', impostor)) },
  no_iss_callback: { about: 'sends the browser back without the iss that its metadata promises', forgery: sentBack(parameters => parameters.delete('iss')) },
  wrong_state_callback: { about: 'sends the browser back with another state', forgery: sentBack(parameters => parameters.set('state', randomBytes(16).toString('base64url'))) },
  no_state_callback: { about: 'sends the browser back without the state', forgery: sentBack(parameters => parameters.delete('state')) },
  two_states_callback: { about: 'sends the browser back with the state twice', forgery: sentBack(parameters => parameters.append('state', parameters.get('state')!)) },
  no_code_callback: { about: 'sends the browser back with neither a code nor an error', forgery: sentBack(parameters => parameters.delete('code')) },
  two_codes_callback: { about: 'sends the browser back with two codes', forgery: sentBack(parameters => parameters.append('code', randomBytes(32).toString('base64url'))) },
  wrong_code_callback: { about: 'sends the browser back with a code that it does not know', forgery: sentBack(parameters => parameters.set('code', randomBytes(32).toString('base64url'))) },
  long_code_callback: { about: 'sends the browser back with a code of 8,000 characters that it does not know', forgery: sentBack(parameters => parameters.set('code', 'x'.repeat(8000))) },
  code_and_error_callback: { about: 'sends the browser back with a code and an error', forgery: sentBack(parameters => parameters.set('error', 'server_error')) },
  fragment_callback: {
    about: 'sends the browser back with its answer in the fragment, which no server sees',
    forgery: { callback (callback) { callback.hash = callback.searchParams.toString(); callback.search = '' } }
  },
  server_error_at_authorize: { about: 'sends the browser back with error=temporarily_unavailable', forgery: sentBackWithError('temporarily_unavailable') },
  access_denied: { about: 'sends the browser back with error=access_denied', forgery: sentBackWithError('access_denied') },
  unknown_error_at_authorize: { about: 'sends the browser back with an error that no specification knows, and markup in its description', forgery: sentBack(parameters => { parameters.delete('code'); parameters.set('error', 'whatever'); parameters.set('error_description', '<script>alert(1)</script>') }) },

  // the token endpoint's answer
  invalid_client: { about: 'refuses the client at the token endpoint (401, invalid_client)', forgery: at(answering(401, { error: 'invalid_client' }), 'token') },
  invalid_grant: { about: 'refuses every code (400, invalid_grant)', forgery: at(answering(400, { error: 'invalid_grant' }), 'token') },
  token_429: { about: 'answers 429 with Retry-After at the token endpoint', forgery: at(answering(429, { error: 'slow_down' }, { 'retry-after': '30' }), 'token') },
  no_id_token: { about: 'gives no ID Token', forgery: { tokens: answer => without(answer, 'id_token') } },
  id_token_object: { about: 'gives an object for an ID Token', forgery: { tokens: answer => ({ ...answer, id_token: { jwt: answer['id_token'] } }) } },
  no_access_token: { about: 'gives no access token', forgery: { tokens: answer => without(answer, 'access_token') } },
  no_token_type: { about: 'does not say of which type its access token is', forgery: { tokens: answer => without(answer, 'token_type') } },
  wrong_token_type: { about: 'gives an access token of type mac', forgery: { tokens: answer => ({ ...answer, token_type: 'mac' }) } },
  expires_in_text: { about: 'gives expires_in as a text', forgery: { tokens: answer => ({ ...answer, expires_in: String(answer['expires_in']) }) } },

  // claims of the ID Token
  wrong_iss_token: { about: 'signs ID Tokens of another issuer', forgery: said({ iss: impostor }) },
  no_iss_token: { about: 'signs ID Tokens without iss', forgery: unsaid('iss') },
  wrong_aud: { about: 'signs ID Tokens for another client', forgery: said({ aud: 'somebody-else' }) },
  no_aud: { about: 'signs ID Tokens for nobody', forgery: unsaid('aud') },
  wrong_azp: { about: 'signs ID Tokens whose azp is another client', forgery: said({ azp: 'somebody-else' }) },
  many_aud_no_azp: { about: 'signs ID Tokens for two clients without saying by azp for which', forgery: said(({ aud }: JWTPayload) => ({ aud: [aud, 'somebody-else'] })) },
  wrong_nonce: { about: 'signs ID Tokens with another nonce', forgery: said(() => ({ nonce: randomBytes(16).toString('base64url') })) },
  no_nonce: { about: 'signs ID Tokens without the nonce', forgery: unsaid('nonce') },
  wrong_at_hash: { about: 'signs ID Tokens with the at_hash of another access token', forgery: said({ at_hash: part(createHash('sha256').update('another').digest().subarray(0, 16)) }) },
  acr_too_low: { about: 'vouches for its lowest level, whatever was asked', forgery: said((_claims: JWTPayload, { levels }: Forged) => ({ acr: Object.keys(levels)[0] })) },
  acr_absent: { about: 'signs ID Tokens without acr', forgery: unsaid('acr') },
  acr_unknown: { about: 'vouches for a level that nobody knows', forgery: said({ acr: 'eidas9' }) },
  acr_list: { about: 'signs ID Tokens with a list for acr', forgery: said(({ acr }: JWTPayload) => ({ acr: [acr] })) },
  amr_text: { about: 'signs ID Tokens with a text for amr', forgery: said({ amr: 'pwd' }) },
  no_auth_time: { about: 'does not say when the citizen authenticated', forgery: unsaid('auth_time') },
  old_auth_time: { about: 'says that the citizen authenticated a day ago, whatever was asked', forgery: said(({ iat }: JWTPayload) => ({ auth_time: iat! - 24 * hour })) },
  future_auth_time: { about: 'says that the citizen will authenticate in an hour', forgery: said(({ iat }: JWTPayload) => ({ auth_time: iat! + hour })) },
  auth_time_text: { about: 'says as a text when the citizen authenticated', forgery: said(({ auth_time }: JWTPayload) => ({ auth_time: String(auth_time) })) },
  no_sub: { about: 'signs ID Tokens without sub', forgery: unsaid('sub') },
  sub_number: { about: 'signs ID Tokens whose sub is a number, at userinfo too', forgery: { ...said({ sub: 12345 }), ...told({ sub: 12345 }) } },
  empty_sub: { about: 'signs ID Tokens whose sub is empty, at userinfo too', forgery: { ...said({ sub: '' }), ...told({ sub: '' }) } },
  long_sub: { about: 'signs ID Tokens whose sub has 100,000 characters, at userinfo too', forgery: { ...said({ sub: 'x'.repeat(100_000) }), ...told({ sub: 'x'.repeat(100_000) }) } },
  expired: { about: 'signs ID Tokens that expired an hour ago', forgery: said(({ iat }: JWTPayload) => ({ exp: iat! - hour })) },
  exp_text: { about: 'signs ID Tokens with a text for exp', forgery: said(({ exp }: JWTPayload) => ({ exp: String(exp) })) },
  no_exp: { about: 'signs ID Tokens without exp', forgery: unsaid('exp') },
  no_iat: { about: 'signs ID Tokens without iat', forgery: unsaid('iat') },
  from_future: { about: 'signs ID Tokens of an hour ahead (iat, nbf, exp)', forgery: said(({ iat, exp }: JWTPayload) => ({ iat: iat! + hour, nbf: iat! + hour, exp: exp! + hour })) },

  // the signature of the ID Token
  alg_none: { about: 'gives unsigned ID Tokens, by alg none', forgery: { sign: (claims, header) => unsigned({ ...header, alg: 'none' }, JSON.stringify(claims)) } },
  alg_none_spelled: { about: 'gives unsigned ID Tokens, by alg nOnE', forgery: { sign: (claims, header) => unsigned({ ...header, alg: 'nOnE' }, JSON.stringify(claims)) } },
  no_signature: { about: 'gives ID Tokens whose signature is missing', forgery: signature(() => Buffer.alloc(0)) },
  zero_signature: { about: 'gives ID Tokens whose signature is zeros', forgery: signature(bytes => Buffer.alloc(bytes.length)) },
  wrong_signature: { about: 'gives ID Tokens with one bit of the signature turned', forgery: signature(bytes => { bytes[9]! ^= 4; return bytes }) },
  padded_signature: { about: 'gives ID Tokens whose signature is padded as in base64', forgery: { idToken: token => token + '='.repeat((4 - token.replace(/.*\./, '').length % 4) % 4) } },
  other_claims: { about: 'gives ID Tokens whose claims were changed after they were signed', forgery: { idToken: token => token.replace(/\.[^.]*\./, `.${part(JSON.stringify({ ...JSON.parse(payloadOf(token)), amr: ['face'] }))}.`) } },
  other_alg: { about: 'signs ID Tokens by another of its published keys and algorithms than the registered', forgery: { header: (header, { keys }) => ({ ...header, ...otherKey(header, keys) }) } },
  hs256_secret: { about: 'signs ID Tokens by HS256 with the client\'s secret', forgery: bySecret({}, ({ client_secret }) => Buffer.from(client_secret)) },
  hs256_public_key: {
    about: 'signs ID Tokens by HS256 with its public key as the secret',
    forgery: bySecret({}, ({ keys }, { alg }) => Buffer.from(keys.get(alg as SignatureAlgorithm)!.publicKey.export({ type: 'spki', format: 'pem' }) as string))
  },
  hs256_empty: { about: 'signs ID Tokens by HS256 with an empty secret, under a kid that is a path to an empty file', forgery: bySecret({ kid: '../../../../dev/null' }, () => new Uint8Array()) },
  embedded_jwk: { about: 'signs ID Tokens by a stranger\'s key, which it puts in the header (jwk)', forgery: byStranger((_header, { kid, published }) => ({ kid, jwk: published })) },
  jku: { about: 'signs ID Tokens by a stranger\'s key, whose address is in the header (jku) and counts who comes', forgery: byStranger((_header, { kid }, { trap }) => ({ kid, jku: trap })) },
  x5u: { about: 'signs ID Tokens by a stranger\'s key, with an address for its certificate in the header (x5u) that counts who comes', forgery: byStranger((_header, { kid }, { trap }) => ({ kid, x5u: trap })) },
  stranger_key: { about: 'signs ID Tokens by a stranger\'s key under the published kid', forgery: byStranger(() => ({})) },
  unknown_kid: { about: 'signs ID Tokens by a stranger\'s key under a kid that is new each time', forgery: byStranger(() => ({ kid: randomBytes(8).toString('base64url') })) },
  no_kid: {
    about: 'signs ID Tokens without kid, where it publishes two keys of that algorithm',
    forgery: { header: header => without(header, 'kid'), jwks: keys => ({ keys: keys.flatMap(key => [strangerOf(key.alg as SignatureAlgorithm).published, key]) }) }
  },
  unknown_crit: { about: 'signs ID Tokens under a critical header that nobody understands', forgery: { header: header => ({ ...header, crit: ['unheard-of'], 'unheard-of': true }) } },
  crit_b64: { about: 'signs ID Tokens under the critical header b64 (RFC 7797), which ID Tokens may not have', forgery: { header: header => ({ ...header, crit: ['b64'], b64: true }) } },
  weak_key: {
    about: 'signs ID Tokens by RS256 with a key of 1,024 bits, which it publishes',
    forgery: { jwks: keys => ({ keys: [...keys, weakKey().published] }), sign: (claims, header) => jws({ ...header, alg: 'RS256', kid: weakKey().kid }, JSON.stringify(claims), weakKey().privateKey) }
  },

  // the encryption of the ID Token
  jwe_unasked: { about: 'encrypts ID Tokens, where nobody registered for it, for a key that nobody has', forgery: { encrypt: token => jwe(headerFor(nobody()), token, nobody().key) } },
  jwe_missing: { about: 'does not encrypt ID Tokens, where it is registered', forgery: { encrypt: token => token } },
  jwe_wrong_alg: { about: 'encrypts ID Tokens for the right key by another alg than the registered', forgery: encrypting((token, registered) => jwe({ ...headerFor(registered), alg: otherWrapping(registered) }, token, registered.key)) },
  jwe_wrong_enc: { about: 'encrypts ID Tokens by another enc than the registered', forgery: encrypting((token, registered) => jwe({ ...headerFor(registered), enc: 'A128CBC-HS256' }, token, registered.key)) },
  jwe_dir_secret: { about: 'encrypts ID Tokens directly (dir) under the client\'s secret', forgery: encrypting((token, { enc }, { client_secret }) => jwe({ alg: 'dir', enc, cty: 'JWT' }, token, Buffer.from(client_secret))) },
  jwe_unknown_key: { about: 'encrypts ID Tokens for a key that nobody has, under its kid', forgery: encrypting((token, registered) => jwe({ ...headerFor(registered), kid: 'unknown' }, token, unknownLike(registered.key))) },
  jwe_stranger: { about: 'encrypts ID Tokens for a key that nobody has, under the kid of the registered key', forgery: encrypting((token, registered) => jwe(headerFor(registered), token, unknownLike(registered.key))) },
  jwe_zip: { about: 'compresses ID Tokens (zip: DEF) before it encrypts them', forgery: encrypting((token, registered) => jwe({ ...headerFor(registered), zip: 'DEF' }, deflateRawSync(token), registered.key)) },
  jwe_compressed: { about: 'encrypts, for an ID Token, 50 KB that unpack (zip: DEF) to 50 MB of spaces', forgery: encrypting((_token, registered) => jwe({ ...headerFor(registered), zip: 'DEF' }, packed(), registered.key)) },
  jwe_unsigned: { about: 'encrypts claims that nobody signed', forgery: encrypting((token, registered) => jwe(headerFor(registered), payloadOf(token), registered.key)) },
  jwe_alg_none: { about: 'encrypts an unsigned token (alg none)', forgery: encrypting((token, registered) => jwe(headerFor(registered), unsigned({ alg: 'none' }, payloadOf(token)), registered.key)) },
  jwe_twice: { about: 'encrypts ID Tokens twice', forgery: encrypting((token, registered) => jwe(headerFor(registered), jwe(headerFor(registered), token, registered.key), registered.key)) },
  jwe_tampered: { about: 'encrypts ID Tokens and turns one bit of the tag', forgery: encrypting((token, registered) => jwe(headerFor(registered), token, registered.key).replace(/[^.]*$/, tag => { const bytes = Buffer.from(tag, 'base64url'); bytes[9]! ^= 4; return part(bytes) })) },
  jwe_short_tag: { about: 'encrypts ID Tokens and cuts the tag to four bytes', forgery: encrypting((token, registered) => jwe(headerFor(registered), token, registered.key).replace(/[^.]*$/, tag => part(Buffer.from(tag, 'base64url').subarray(0, 4)))) },
  jwe_pbes2: { about: 'gives, for an ID Token, a JWE whose key is derived by two thousand million rounds (PBES2)', forgery: { encrypt: () => noise({ alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2s: part('salt-and-pepper'), p2c: 2 ** 31 - 1, cty: 'JWT' }) } },
  jwe_off_curve: { about: 'gives, for an ID Token, a JWE whose ephemeral key is no point of its curve', forgery: { encrypt: (_token, registered) => noise({ alg: 'ECDH-ES', enc: 'A256GCM', cty: 'JWT', kid: registered?.kid, epk: { kty: 'EC', crv: 'P-256', x: part(randomBytes(32)), y: part(randomBytes(32)) } }) } },

  // userinfo
  userinfo_401: { about: 'refuses its own access token at userinfo (401, invalid_token)', forgery: at(answering(401, { error: 'invalid_token' }, { 'www-authenticate': 'Bearer error="invalid_token"' }), 'userinfo') },
  userinfo_403: { about: 'refuses its own access token at userinfo (403, insufficient_scope)', forgery: at(answering(403, { error: 'insufficient_scope' }, { 'www-authenticate': 'Bearer error="insufficient_scope"' }), 'userinfo') },
  userinfo_other_sub: { about: 'speaks at userinfo of another than in the ID Token', forgery: told({ sub: 'somebody-else' }) },
  userinfo_no_sub: { about: 'does not say at userinfo of whom it speaks', forgery: { userinfo: claims => without(claims, 'sub') } },
  userinfo_sub_number: { about: 'says at userinfo by a number of whom it speaks', forgery: told({ sub: 12345 }) },
  userinfo_list: { about: 'answers userinfo with a list', forgery: { text: { userinfo: text => `[${text}]` } } },
  no_userinfo_json_type: {
    about: 'says of its userinfo answer that it is plain text',
    forgery: { send ({ status, headers, text }, response, endpoint) { response.writeHead(status, endpoint === 'userinfo' ? { ...headers, 'content-type': 'text/plain; charset=utf-8' } : headers).end(text) } }
  },
  userinfo_jwt_unasked: { about: 'signs its userinfo answer (RS256), whatever is registered', forgery: { userinfoAlg: 'RS256' } },
  userinfo_alg_none: { about: 'gives its userinfo answer as an unsigned JWT, by alg none', forgery: { userinfoAlg: 'RS256', userinfoJwt: claims => unsigned({ alg: 'none' }, JSON.stringify(claims)) } },
  userinfo_stranger_key: {
    about: 'gives its userinfo answer as a JWT (RS256) that a stranger signed',
    forgery: { userinfoAlg: 'RS256', userinfoJwt: (claims, header) => jws(header, JSON.stringify(claims), strangerOf('RS256').privateKey) }
  },
  missing_pivot_claims: { about: 'does not tell the family name and the birthdate', forgery: { userinfo: claims => without(claims, 'family_name', 'birthdate') } },
  malformed_birthdate: { about: 'tells the birthdate as 31/12/1969', forgery: told({ birthdate: '31/12/1969' }) },
  malformed_birthplace: { about: 'tells the birthplace as the name of a town', forgery: told({ birthplace: 'Lyon' }) },
  claims_of_other_kinds: { about: 'tells the given name as a list', forgery: told({ given_name: ['Somebody'] }) },
  long_claims: { about: 'tells a given name of 100,000 letters', forgery: told({ given_name: 'x'.repeat(100_000) }) },
  control_characters: { about: 'tells a given name with characters that turn the direction of the text', forgery: told({ given_name: 'Some\u202Eydob' }) },
  markup_claims: { about: 'tells a given name that is markup', forgery: told({ given_name: '<script>alert(1)</script>' }) },
  deep_claims: { about: 'tells an address that is nested ten thousand deep', forgery: { text: { userinfo: text => `{"address":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)},${text.slice(1)}` } } },
  prototype_claims: { about: 'tells claims named __proto__ and constructor', forgery: { text: { userinfo: text => `{"__proto__":{"given_name":"Somebody"},"constructor":{"prototype":{}},${text.slice(1)}` } } }
} satisfies Record<string, Misbehaviour>
/** The name of one of them. */
export type MisbehaviourName = keyof typeof misbehaviours

/** Whether there is a misbehaviour of this name. */
export const isMisbehaviour = (name: unknown): name is MisbehaviourName => typeof name === 'string' && Object.hasOwn(misbehaviours, name)
