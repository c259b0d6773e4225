import { constants, createDecipheriv, createHash, createHmac, createPublicKey, diffieHellman, privateDecrypt, verify, type KeyObject } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { inflateRawSync } from 'node:zlib'
import { compactDecrypt, type JWK } from 'jose'
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import { makeCertificate } from '../support/certificate.ts'
import { createEncryptionKey, type EncryptionKey } from '../support/client-keys.ts'
import { citizenOf, startLightProvider, type LightProvider, type LightProviderOptions } from './light-provider.ts'
import { createLookup } from './lookup.ts'
import { misbehaviours, strangerOf, type MisbehaviourName } from './misbehaviours.ts'
import { accountId, type SignatureAlgorithm } from './providers.ts'

// Every misbehaviour, read by a strict reader that names all that is not as it should be: each does what its sentence says, and nothing else.

t.setTimeout(115_000)
t.jobs = 3                                                            // those that wait, wait together
const redirect_uri = 'http://passerelle.localhost:1/callback/vitalys'
const post_logout_redirect_uri = 'http://passerelle.localhost:1/session/ended'
const asked = { client_id: 'passerelle', redirect_uri, response_type: 'code', scope: 'openid profile birth email', state: 'the-state', nonce: 'the-nonce', acr_values: 'eidas2' }
const dispatcher = new Agent({ connect: { lookup: createLookup('localhost') } })
t.after(() => dispatcher.destroy())

/** A light provider with its client's key, and somebody's access token there. */
interface Provider extends LightProvider { key?: EncryptionKey | undefined, access_token: string }

async function start (t: Pick<Test, 'teardown'>, key?: EncryptionKey): Promise<Provider> {
  const encryption: Partial<LightProviderOptions> = key === undefined ? {} : { jwks: { keys: [key.published] }, id_token_encrypted_response_alg: key.alg, id_token_encrypted_response_enc: 'A256GCM' }
  const light = await startLightProvider({ id: 'vitalys', redirect_uris: [redirect_uri], post_logout_redirect_uris: [post_logout_redirect_uri], ...encryption })
  t.teardown(light.stop)
  const answer = await redeem(light, codeOf(light), 5000) as Raw
  return Object.assign(light, { key, access_token: JSON.parse(answer.text).access_token })
}

interface Raw { status: number, headers: Record<string, string | string[] | undefined>, text: string }

/** What came, or why nothing did. */
async function ask (address: string, patienceMs: number, { method = 'GET', headers = {}, body }: { method?: 'GET' | 'POST', headers?: Record<string, string>, body?: string } = {}): Promise<Raw | string> {
  let stage = 'no answer'
  try {
    const answer = await request(address, { method, headers, dispatcher, signal: AbortSignal.timeout(patienceMs), ...(body !== undefined && { body }) })
    stage = 'no end'
    return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() }
  } catch (error) {
    const { name, code = '' } = error as { name: string, code?: string }
    return name === 'TimeoutError' ? stage : ({ ECONNRESET: 'reset', UND_ERR_SOCKET: 'cut short', UND_ERR_HEADERS_OVERFLOW: 'headers too long' })[code] ?? code
  }
}

const codeOf = (provider: LightProvider) => provider.comeBack(new URLSearchParams({ ...asked, citizen: 'Zoé' })).searchParams.get('code')!
const redeem = (provider: LightProvider, code: string, patienceMs: number) => ask(provider.metadata().token_endpoint, patienceMs, {
  method: 'POST',
  headers: { 'content-type': 'application/x-www-form-urlencoded', authorization: `Basic ${Buffer.from(`${provider.client_id}:${provider.client_secret}`).toString('base64')}` },
  body: new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri }).toString()
})

/** The names at the top of a JSON object as it is written, in which JSON.parse sees each once. */
function namesIn (text: string) {
  const names: string[] = []
  let depth = 0
  for (const [token, name] of text.matchAll(/"((?:[^"\\]|\\.)*)"(?=\s*:)|"(?:[^"\\]|\\.)*"|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth++
    else if (token === '}' || token === ']') depth--
    else if (name !== undefined && depth === 1) names.push(name)
  }
  return names
}

/** How an object differs from what it should be: `-` what is missing, `+` what is too much. */
function differences (expected: object, found: object) {
  const [before, after] = [new Map(Object.entries(expected)), new Map(Object.entries(found))]
  return [
    ...[...before].flatMap(([name, value]) => after.has(name) ? isDeepStrictEqual(after.get(name), value) ? [] : [name] : [`-${name}`]),
    ...[...after.keys()].filter(name => !before.has(name)).map(name => `+${name}`)
  ]
}

/** What is wrong with an answer in JSON, by its head and as a text; and the object that it holds. */
function readJson (answer: Raw | string, type: string): { faults: string[], object?: Record<string, unknown> } {
  if (typeof answer === 'string') return { faults: [answer] }
  const { status, headers, text } = answer
  const faults = []
  if (status !== 200) faults.push(String(status))
  for (const name of ['location', 'retry-after', 'www-authenticate', 'content-encoding']) if (name in headers) faults.push(name)
  if (!('date' in headers)) faults.push('no date')
  if (headers['content-type'] !== type) faults.push(String(headers['content-type'] ?? 'no type'))
  if (text.length > 1024 * 1024) faults.push(`${Math.floor(text.length / 1024 / 1024)} MB`)
  try {
    const object: unknown = JSON.parse(text)
    if (typeof object !== 'object' || object === null || Array.isArray(object)) return { faults: [...faults, 'no object'] }
    const names = namesIn(text)
    return { faults: [...faults, ...names.filter((name, at) => names.indexOf(name) < at).map(name => `${name} twice`)], object: object as Record<string, unknown> }
  } catch { return { faults: [...faults, 'no JSON'] } }
}

const json = 'application/json; charset=utf-8'
const under = (place: string, faults: readonly string[]) => faults.map(fault => `${place}: ${fault}`)

/** What was read of a provider. */
interface Seen { metadata?: object | undefined, jwks?: object | undefined, callback?: object, tokens?: object | undefined, encryption?: object, header?: object, claims?: object, userinfo?: object | undefined }

/** Everything about a provider that is not as it should be. `spare` is a code for when none is brought. */
async function read (provider: Provider, spare: string, patienceMs = 10_000) {
  const { issuer } = provider
  const metadata = provider.metadata()
  const [discovery, jwks, logout, status, login] = await Promise.all([
    ask(`${issuer}/.well-known/openid-configuration`, patienceMs),
    ask(metadata.jwks_uri, patienceMs),
    ask(`${metadata.end_session_endpoint}?${new URLSearchParams({ client_id: provider.client_id, post_logout_redirect_uri })}`, patienceMs),
    ask(`${issuer}/status`, patienceMs),
    readLogin(provider, spare, patienceMs)
  ])
  const published = readJson(discovery, json)
  const keys = readJson(jwks, 'application/jwk-set+json; charset=utf-8')
  const faults = [
    ...under('discovery', withContent(published, found => differences(metadata, found))),
    ...under('jwks', withContent(keys, found => keyFaults(provider, found))),
    ...under('logout', redirectFaults(logout, location => location.href === post_logout_redirect_uri ? [] : ['location'])),
    ...under('status', readJson(status, json).faults),
    ...login.faults
  ]
  return { faults, seen: { metadata: published.object, jwks: keys.object, ...login.seen } }
}

/** The faults of an answer with those of what it says; or the error that it says. */
const withContent = ({ faults, object }: ReturnType<typeof readJson>, faultsOf: (object: Record<string, unknown>) => string[]) =>
  [...faults, ...object === undefined ? [] : typeof object['error'] === 'string' ? [object['error']] : faultsOf(object)]

function keyFaults (provider: Provider, { keys, ...more }: Record<string, unknown>) {
  if (!Array.isArray(keys)) return ['no keys', ...differences({}, more)]
  const ours = [...provider.keys.values()].map(({ published }) => published)
  const found = ours.map(({ kid }) => keys.find(key => key.kid === kid))
  const changed = new Set(ours.flatMap((key, i) => found[i] === undefined ? ['a key missing'] : differences(key, found[i])))
  const strange = keys.length - found.filter(key => key !== undefined).length
  return [...changed, ...strange > 0 ? [`${strange} more`] : [], ...differences({}, more)]
}

function redirectFaults (answer: Raw | string, faultsOf: (location: URL) => string[]) {
  if (typeof answer === 'string') return [answer]
  const { status, headers } = answer
  const faults = [...status === 303 ? [] : [String(status)], ...'date' in headers ? [] : ['no date'], ...'retry-after' in headers ? ['retry-after'] : []]
  return typeof headers['location'] === 'string' ? [...faults, ...faultsOf(new URL(headers['location']))] : faults
}

const repeated = (names: string[]) => names.filter((name, at) => names.indexOf(name) < at).map(name => `${name} twice`)

/** One login, step by step; where one leads nowhere, the next is taken all the same. */
async function readLogin (provider: Provider, spare: string, patienceMs: number) {
  const metadata = provider.metadata()
  const begin = Math.floor(Date.now() / 1000)
  const seen: Seen = {}
  const faults: string[] = []
  let code = spare
  const arrival = await ask(`${metadata.authorization_endpoint}?${new URLSearchParams({ ...asked, citizen: 'Zoé' })}`, patienceMs)
  faults.push(...under('callback', redirectFaults(arrival, ({ origin, pathname, searchParams, hash }) => {
    const brought = hash === '' ? searchParams : new URLSearchParams(hash.slice(1))
    seen.callback = Object.fromEntries(brought)
    const first = { code: brought.get('code'), state: brought.get('state'), iss: brought.get('iss') }
    code = first.code ?? spare
    return [
      ...origin + pathname === redirect_uri ? [] : ['address'],
      ...hash === '' ? [] : ['in the fragment'],
      ...repeated([...brought.keys()]),
      ...differences({ code, state: asked.state, iss: provider.issuer }, Object.fromEntries(Object.entries({ ...seen.callback, ...first }).filter(([, value]) => value !== null)))
    ]
  })))

  const tokens = readJson(await redeem(provider, code, patienceMs), json)
  seen.tokens = tokens.object
  const { id_token, access_token } = tokens.object ?? {}
  const text = (value: unknown) => typeof value === 'string' ? value : ''
  const expected = { access_token: text(access_token), expires_in: 600, id_token: text(id_token), scope: asked.scope, token_type: 'Bearer' }
  faults.push(...under('token', withContent(tokens, found => differences(expected, found))))
  if (typeof id_token === 'string') faults.push(...under('id_token', await readIdToken(provider, id_token, begin, seen)))

  const authorization = `Bearer ${text(access_token) || provider.access_token}`
  faults.push(...under('userinfo', readUserinfo(provider, await ask(metadata.userinfo_endpoint, patienceMs, { headers: { authorization } }), seen)))
  return { faults, seen }
}

const sub = accountId('vitalys', 'Zoé')
const headerOf = (token: string): Record<string, unknown> => JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString())
const isEncrypted = (token: string) => token.split('.').length === 5

async function readIdToken (provider: Provider, token: string, begin: number, seen: Seen): Promise<string[]> {
  const { key, keys } = provider
  const faults = isEncrypted(token) === (key !== undefined) ? [] : [key === undefined ? 'encrypted' : 'not encrypted']
  let inner: string | undefined = token
  for (let layer = 0; inner !== undefined && isEncrypted(inner); layer++) {
    if (layer > 0) faults.push('encrypted again')
    const header = seen.encryption = headerOf(inner)
    if (key !== undefined) faults.push(...differences({ alg: key.alg, enc: 'A256GCM', cty: 'JWT', kid: key.kid }, header).filter(name => name !== '+epk').map(name => `JWE ${name}`))
    const { by, text } = await open(inner, provider)
    if (by !== 'the client\'s key') faults.push(`opened by ${by}`)
    inner = text
  }
  if (inner === undefined) return faults
  if (inner.length > 1024 * 1024) return [...faults, `${Math.floor(inner.length / 1024 / 1024)} MB`]
  const isSigned = !inner.startsWith('{')
  const payload = isSigned ? Buffer.from(inner.split('.')[1]!, 'base64url').toString() : inner
  const claims = seen.claims = JSON.parse(payload) as Record<string, unknown>
  if (!isSigned) return [...faults, 'not signed', ...claimFaults(provider, claims, begin)]
  const header = seen.header = headerOf(inner)
  const signer = signerOf(provider, inner)
  return [
    ...faults,
    ...differences({ alg: 'RS256', kid: keys.get('RS256')!.kid }, header).map(name => `header ${name}`),
    ...signer === 'its key' ? [] : [`signed by ${signer}`],
    ...inner.endsWith('=') ? ['padded'] : [],
    ...repeated(namesIn(payload)),
    ...claimFaults(provider, claims, begin)
  ]
}

/** What is wrong with the claims of an ID Token of this moment, which may last from one second to the next. */
function claimFaults ({ issuer, client_id }: Provider, claims: Record<string, unknown>, begin: number) {
  const now = Math.floor(Date.now() / 1000)
  const moment = (time: unknown, after = 0) => typeof time === 'number' && time >= begin + after && time <= now + after ? time : now + after
  return differences({
    iss: issuer,
    sub,
    aud: client_id,
    exp: moment(claims['exp'], 600),
    iat: moment(claims['iat']),
    auth_time: moment(claims['auth_time']),
    nonce: asked.nonce,
    acr: 'eidas2',
    amr: ['pwd', 'otp', 'mfa']
  }, claims)
}

/** By whose key, or by what secret, a token is signed. */
function signerOf ({ keys, client_secret }: Provider, token: string) {
  const at = token.lastIndexOf('.')
  const [text, signature] = [Buffer.from(token.slice(0, at)), Buffer.from(token.slice(at + 1), 'base64url')]
  const { alg } = headerOf(token)
  const hash = (secret: string) => createHmac('sha256', secret).update(text).digest()
  const byRsa = ({ publicKey }: { publicKey: KeyObject }) => verify('sha256', text, alg === 'PS256' ? { key: publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : publicKey, signature)
  const pem = keys.get('RS256')!.publicKey.export({ type: 'spki', format: 'pem' }) as string
  const signers: Record<string, () => boolean> = {
    'its key': () => byRsa(keys.get(alg as SignatureAlgorithm) ?? keys.get('RS256')!),
    'a stranger': () => byRsa(strangerOf('RS256')),
    nobody: () => signature.length === 0,
    zeros: () => signature.length === 256 && signature.every(byte => byte === 0),
    'the client_secret': () => signature.equals(hash(client_secret)),
    'the public key as a secret': () => signature.equals(hash(pem)),
    'an empty secret': () => signature.equals(hash(''))
  }
  return Object.keys(signers).find(name => signers[name]!()) ?? 'somebody'
}

/** By whose key a JWE is opened, and what it holds. */
async function open (token: string, { key, client_secret }: Provider): Promise<{ by: string, text?: string }> {
  const header = headerOf(token)
  if (header['zip'] !== undefined) return { by: 'the client\'s key', text: openByHand(token, header, key!.privateKey) }
  const openers: Array<[by: string, key: KeyObject | Uint8Array | undefined]> = [
    ['the client\'s key', key?.privateKey],
    ['a stranger', strangerOf(key?.alg === 'ECDH-ES' ? 'ES256' : 'RS256').privateKey],
    ['the client_secret', createHash('sha256').update(client_secret).digest()]
  ]
  for (const [by, opener] of openers) {
    const opened = opener && await compactDecrypt(token, opener).catch(() => undefined)
    if (opened) return { by, text: Buffer.from(opened.plaintext).toString() }
  }
  return { by: 'nobody' }
}

/** No library opens what is packed. */
function openByHand (token: string, { alg, epk }: Record<string, unknown>, privateKey: KeyObject) {
  const [head, ...parts] = token.split('.')
  const [encryptedKey, iv, ciphertext, tag] = parts.map(text => Buffer.from(text, 'base64url')) as [Buffer, Buffer, Buffer, Buffer]
  const secret = () => diffieHellman({ privateKey, publicKey: createPublicKey({ key: epk as never, format: 'jwk' }) })
  const agreed = () => createHash('sha256').update(Buffer.concat([Buffer.from([0, 0, 0, 1]), secret(), Buffer.from([0, 0, 0, 7]), Buffer.from('A256GCM'), Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])])).digest()
  const contentKey = alg === 'ECDH-ES' ? agreed() : privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, encryptedKey)
  const decipher = createDecipheriv('aes-256-gcm', contentKey, iv).setAAD(Buffer.from(head!)).setAuthTag(tag)
  return inflateRawSync(Buffer.concat([decipher.update(ciphertext), decipher.final()])).toString()
}

function readUserinfo (provider: Provider, answer: Raw | string, seen: Seen) {
  const claims = { sub, ...citizenOf('Zoé') }
  if (typeof answer !== 'string' && answer.headers['content-type'] === 'application/jwt; charset=utf-8') {
    const { iss, aud, iat, exp, ...told } = JSON.parse(Buffer.from(answer.text.split('.')[1]!, 'base64url').toString())
    const signer = signerOf(provider, answer.text)
    return ['a JWT', ...signer === 'its key' ? [] : [`signed by ${signer}`], ...differences({ ...claims, iss: provider.issuer, aud: provider.client_id }, { ...told, iss, aud })]
  }
  const said = readJson(answer, json)
  seen.userinfo = said.object
  return withContent(said, found => differences(claims, found))
}

/** What is wrong with a provider that misbehaves so, and what it says there. */
type Expected = [faults: string[], seen?: Seen | ((seen: Seen) => boolean)]

const servers = ['discovery', 'jwks', 'token', 'userinfo']
const everywhere = ['discovery', 'jwks', 'logout', 'status', 'callback', 'token', 'userinfo']
const at = (places: readonly string[], ...faults: string[]) => places.flatMap(place => under(place, faults))
const token = (...faults: string[]) => under('token', faults)
const idToken = (...faults: string[]) => under('id_token', faults)
const signedBy = (signer: string, ...header: string[]) => idToken(...header.map(name => `header ${name}`), `signed by ${signer}`)
const claims = (found: Record<string, unknown>): Seen => ({ claims: found })
const userinfo = (found: Record<string, unknown>): Seen => ({ userinfo: found })
/** A time claim so many seconds from now, give or take some. */
const inSeconds = (name: string, seconds: number) => ({ claims = {} }: Seen) => Math.abs((claims as Record<string, number>)[name]! - Date.now() / 1000 - seconds) < 60
const impostor = 'https://impostor.example'
const hour = 3600
const page = 'text/html; charset=utf-8'
const nameOf = ({ userinfo = {} }: Seen) => (userinfo as { given_name: string }).given_name
const error = (name: string): Seen => ({ callback: { error: name, state: asked.state } })
const refused = 'invalid_grant'

const expected: Record<MisbehaviourName, Expected> = {
  black_hole: [at(everywhere, 'no answer')],
  hang_token: [token('no answer')],
  hang_userinfo: [at(['userinfo'], 'no answer')],
  hang_jwks: [at(['jwks'], 'no answer')],
  slow: [at(everywhere, 'no answer')],
  errors_500: [[...at(['discovery'], '500', 'server_error'), ...at(['jwks'], '500', json, 'server_error'), ...at(['logout', 'status', 'callback'], '500'), ...at(['token', 'userinfo'], '500', 'server_error')]],
  unavailable_503: [[
    ...at(['discovery', 'jwks'], '503', 'retry-after', page, 'no JSON'),
    ...at(['logout'], '503', 'retry-after'),
    ...at(['status'], '503', 'retry-after', page, 'no JSON'),
    ...at(['callback'], '503', 'retry-after'),
    ...at(['token', 'userinfo'], '503', 'retry-after', page, 'no JSON')
  ]],
  resets: [at(everywhere, 'reset')],
  cut_short: [at(servers, 'cut short')],
  stalls: [at(servers, 'no end')],
  slow_drip: [at(servers, 'no end')],
  body_50mb: [at(servers, '50 MB')],
  gzip_bomb: [at(servers, 'content-encoding', 'no JSON')],
  long_headers: [at(servers, 'headers too long')],
  no_date: [at(everywhere, 'no date')],
  garbage_json: [at(servers, 'no JSON')],
  html: [at(servers, page, 'no JSON')],
  no_content_type: [at(servers, 'no type')],
  redirect_loop: [at(['discovery', 'jwks', 'userinfo'], '302', 'location', 'no type', 'no JSON')],
  token_redirect: [token('307', 'location', 'no type', 'no JSON')],
  jwks_redirect: [at(['jwks'], '302', 'location', 'no type', 'no JSON')],

  duplicate_members_token: [token('id_token twice')],
  duplicate_members_userinfo: [at(['userinfo'], 'sub twice')],
  duplicate_members_id_token: [idToken('sub twice')],
  duplicate_members_metadata: [at(['discovery'], 'token_endpoint twice')],
  duplicate_members_jwks: [at(['jwks'], 'keys twice')],

  wrong_iss_metadata: [at(['discovery'], 'issuer'), { metadata: { issuer: impostor } }],
  no_jwks_uri: [at(['discovery'], '-jwks_uri')],
  no_token_endpoint: [at(['discovery'], '-token_endpoint')],
  metadata_list: [at(['discovery'], 'no object')],
  metadata_loopback: [at(['discovery'], 'jwks_uri'), { metadata: { jwks_uri: /^http:\/\/127\.0\.0\.1:\d+\// } }],
  metadata_link_local: [at(['discovery'], 'jwks_uri'), { metadata: { jwks_uri: /^http:\/\/169\.254\.169\.254\// } }],
  metadata_http: [at(['discovery'], 'token_endpoint'), { metadata: { token_endpoint: /^http:\/\/vitalys\.localhost:\d+\/trap$/ } }],
  metadata_file: [at(['discovery'], 'jwks_uri'), { metadata: { jwks_uri: 'file:///etc/passwd' } }],

  jwks_500: [at(['jwks'], '500', json, 'server_error')],
  jwks_empty: [at(['jwks'], 'a key missing'), { jwks: { keys: [] } }],
  jwks_not_a_set: [at(['jwks'], 'no keys', '+key')],
  jwks_list: [at(['jwks'], 'no object')],
  jwks_encryption_only: [at(['jwks'], 'use'), { jwks: { keys: [{ use: 'enc' }, { use: 'enc' }, { use: 'enc' }, { use: 'enc' }] } }],
  jwks_private: [at(['jwks'], '+d', '+p', '+q', '+dp', '+dq', '+qi')],
  jwks_symmetric: [at(['jwks'], 'kty', '-n', '-e', '-use', '+k', '-x', '-y', '-crv')],
  jwks_huge: [at(['jwks'], '1 MB', '10000 more')],
  jwks_strange: [at(['jwks'], '2 more')],

  wrong_iss_callback: [at(['callback'], 'iss'), { callback: { iss: impostor } }],
  no_iss_callback: [at(['callback'], '-iss')],
  wrong_state_callback: [at(['callback'], 'state')],
  no_state_callback: [at(['callback'], '-state')],
  two_states_callback: [at(['callback'], 'state twice')],
  no_code_callback: [at(['callback'], '-code')],
  two_codes_callback: [at(['callback'], 'code twice')],
  wrong_code_callback: [token('400', refused)],
  long_code_callback: [token('400', refused), ({ callback = {} }) => (callback as { code: string }).code.length === 8000],
  code_and_error_callback: [at(['callback'], '+error')],
  fragment_callback: [at(['callback'], 'in the fragment')],
  server_error_at_authorize: [at(['callback'], '-code', '+error'), error('temporarily_unavailable')],
  access_denied: [at(['callback'], '-code', '+error'), error('access_denied')],
  unknown_error_at_authorize: [at(['callback'], '-code', '+error_description', '+error'), { callback: { error: 'whatever', error_description: /<script>/ } }],

  invalid_client: [token('401', 'invalid_client')],
  invalid_grant: [token('400', refused)],
  token_429: [token('429', 'retry-after', 'slow_down')],
  no_id_token: [token('-id_token')],
  id_token_object: [token('id_token'), { tokens: { id_token: { jwt: /^[\w-]+\.[\w-]+\.[\w-]+$/ } } }],
  no_access_token: [token('-access_token')],
  no_token_type: [token('-token_type')],
  wrong_token_type: [token('token_type'), { tokens: { token_type: 'mac' } }],
  expires_in_text: [token('expires_in'), ({ tokens }) => (tokens as { expires_in: unknown }).expires_in === '600'],

  wrong_iss_token: [idToken('iss'), claims({ iss: impostor })],
  no_iss_token: [idToken('-iss')],
  wrong_aud: [idToken('aud'), claims({ aud: 'somebody-else' })],
  no_aud: [idToken('-aud')],
  wrong_azp: [idToken('+azp'), claims({ azp: 'somebody-else' })],
  many_aud_no_azp: [idToken('aud'), claims({ aud: ['passerelle', 'somebody-else'] })],
  wrong_nonce: [idToken('nonce'), claims({ nonce: /^[\w-]{22}$/ })],
  no_nonce: [idToken('-nonce')],
  wrong_at_hash: [idToken('+at_hash'), claims({ at_hash: /^[\w-]{22}$/ })],
  acr_too_low: [idToken('acr'), claims({ acr: 'eidas1' })],
  acr_absent: [idToken('-acr')],
  acr_unknown: [idToken('acr'), claims({ acr: 'eidas9' })],
  acr_list: [idToken('acr'), claims({ acr: ['eidas2'] })],
  amr_text: [idToken('amr'), claims({ amr: 'pwd' })],
  no_auth_time: [idToken('-auth_time')],
  old_auth_time: [idToken('auth_time'), inSeconds('auth_time', -24 * hour)],
  future_auth_time: [idToken('auth_time'), inSeconds('auth_time', hour)],
  auth_time_text: [idToken('auth_time'), claims({ auth_time: /^\d+$/ })],
  no_sub: [idToken('-sub')],
  sub_number: [[...idToken('sub'), 'userinfo: sub'], ({ claims, userinfo }) => [claims, userinfo].every(said => (said as { sub: unknown }).sub === 12345)],
  empty_sub: [[...idToken('sub'), 'userinfo: sub'], ({ claims, userinfo }) => [claims, userinfo].every(said => (said as { sub: unknown }).sub === '')],
  long_sub: [[...idToken('sub'), 'userinfo: sub'], ({ claims, userinfo }) => [claims, userinfo].every(said => (said as { sub: string }).sub.length === 100_000)],
  expired: [idToken('exp'), inSeconds('exp', -hour)],
  exp_text: [idToken('exp'), claims({ exp: /^\d+$/ })],
  no_exp: [idToken('-exp')],
  no_iat: [idToken('-iat')],
  from_future: [idToken('exp', 'iat', '+nbf'), seen => inSeconds('iat', hour)(seen) && inSeconds('nbf', hour)(seen) && inSeconds('exp', hour + 600)(seen)],

  alg_none: [signedBy('nobody', 'alg'), { header: { alg: 'none' } }],
  alg_none_spelled: [signedBy('nobody', 'alg'), { header: { alg: 'nOnE' } }],
  no_signature: [signedBy('nobody')],
  zero_signature: [signedBy('zeros')],
  wrong_signature: [signedBy('somebody')],
  padded_signature: [idToken('padded')],
  other_claims: [[...signedBy('somebody'), ...idToken('amr')]],
  other_alg: [idToken('header alg', 'header kid'), { header: { alg: 'PS256', kid: /^PS256-/ } }],
  hs256_secret: [signedBy('the client_secret', 'alg'), { header: { alg: 'HS256' } }],
  hs256_public_key: [signedBy('the public key as a secret', 'alg'), { header: { alg: 'HS256' } }],
  hs256_empty: [signedBy('an empty secret', 'alg', 'kid'), { header: { alg: 'HS256', kid: '../../../../dev/null' } }],
  embedded_jwk: [signedBy('a stranger', 'kid', '+jwk'), { header: { jwk: strangerOf('RS256').published } }],
  jku: [signedBy('a stranger', 'kid', '+jku'), { header: { kid: strangerOf('RS256').kid, jku: /\/trap$/ } }],
  x5u: [signedBy('a stranger', 'kid', '+x5u'), { header: { x5u: /\/trap$/ } }],
  stranger_key: [signedBy('a stranger')],
  unknown_kid: [signedBy('a stranger', 'kid')],
  no_kid: [['jwks: 4 more', ...idToken('header -kid')], ({ jwks }) => (jwks as { keys: JWK[] }).keys.filter(({ alg }) => alg === 'RS256').length === 2],
  unknown_crit: [idToken('header +crit', 'header +unheard-of'), { header: { crit: ['unheard-of'] } }],
  crit_b64: [idToken('header +crit', 'header +b64'), { header: { crit: ['b64'], b64: true } }],
  weak_key: [['jwks: 1 more', ...signedBy('somebody', 'kid')], ({ jwks }) => Buffer.from((jwks as { keys: JWK[] }).keys.at(-1)!.n!, 'base64url').length === 128],

  jwe_unasked: [idToken('encrypted', 'opened by a stranger')],
  jwe_missing: [idToken('not encrypted')],
  jwe_wrong_alg: [idToken('JWE alg'), { encryption: { alg: /^(RSA-OAEP|ECDH-ES\+A256KW)$/ } }],
  jwe_wrong_enc: [idToken('JWE enc'), { encryption: { enc: 'A128CBC-HS256' } }],
  jwe_dir_secret: [idToken('JWE alg', 'JWE -kid', 'opened by the client_secret'), { encryption: { alg: 'dir' } }],
  jwe_unknown_key: [idToken('JWE kid', 'opened by a stranger')],
  jwe_stranger: [idToken('opened by a stranger')],
  jwe_zip: [idToken('JWE +zip'), { encryption: { zip: 'DEF' } }],
  jwe_compressed: [idToken('JWE +zip', '50 MB'), ({ tokens }) => (tokens as { id_token: string }).id_token.length < 100_000],
  jwe_unsigned: [idToken('not signed')],
  jwe_alg_none: [signedBy('nobody', 'alg', '-kid'), { header: { alg: 'none' } }],
  jwe_twice: [idToken('encrypted again')],
  jwe_tampered: [idToken('opened by nobody')],
  jwe_short_tag: [idToken('opened by nobody'), ({ tokens }) => /\.[\w-]{6}$/.test((tokens as { id_token: string }).id_token)],
  jwe_pbes2: [idToken('JWE alg', 'JWE enc', 'JWE -kid', 'JWE +p2s', 'JWE +p2c', 'opened by nobody'), { encryption: { alg: 'PBES2-HS256+A128KW', p2c: 2 ** 31 - 1 } }],
  jwe_off_curve: [idToken('opened by nobody'), ({ encryption }) => !isOnCurve((encryption as { epk: JWK }).epk)],

  userinfo_401: [at(['userinfo'], '401', 'www-authenticate', 'invalid_token')],
  userinfo_403: [at(['userinfo'], '403', 'www-authenticate', 'insufficient_scope')],
  userinfo_other_sub: [['userinfo: sub'], userinfo({ sub: 'somebody-else' })],
  userinfo_no_sub: [['userinfo: -sub']],
  userinfo_sub_number: [['userinfo: sub'], ({ userinfo }) => (userinfo as { sub: unknown }).sub === 12345],
  userinfo_list: [['userinfo: no object']],
  no_userinfo_json_type: [['userinfo: text/plain; charset=utf-8']],
  userinfo_jwt_unasked: [['userinfo: a JWT']],
  userinfo_alg_none: [at(['userinfo'], 'a JWT', 'signed by nobody')],
  userinfo_stranger_key: [at(['userinfo'], 'a JWT', 'signed by a stranger')],
  missing_pivot_claims: [at(['userinfo'], '-family_name', '-birthdate')],
  malformed_birthdate: [['userinfo: birthdate'], userinfo({ birthdate: '31/12/1969' })],
  malformed_birthplace: [['userinfo: birthplace'], userinfo({ birthplace: 'Lyon' })],
  claims_of_other_kinds: [['userinfo: given_name'], userinfo({ given_name: ['Somebody'] })],
  long_claims: [['userinfo: given_name'], seen => nameOf(seen).length === 100_000],
  control_characters: [['userinfo: given_name'], seen => nameOf(seen).includes('\u202e')],
  markup_claims: [['userinfo: given_name'], userinfo({ given_name: /^<script>/ })],
  deep_claims: [['userinfo: +address'], ({ userinfo }) => depthOf((userinfo as { address: unknown }).address) === 10_000],
  prototype_claims: [at(['userinfo'], '+__proto__', '+constructor')]
}

const isOnCurve = (jwk: JWK) => { try { return createPublicKey({ key: jwk as never, format: 'jwk' }) !== undefined } catch { return false } }
function depthOf (value: unknown) {
  let depth = 0
  for (let at = value; typeof at === 'object' && at !== null; at = Object.values(at)[0]) depth++
  return depth
}

/** One misbehaviour is what its row says. */
async function check (t: Test, provider: Provider, name: MisbehaviourName, patienceMs?: number) {
  const spare = codeOf(provider)
  provider.misbehave(name)
  const { faults, seen } = await read(provider, spare, patienceMs)
  provider.recover()
  const [wrong, said = {}] = expected[name]
  const what = `${name} ${misbehaviours[name].about}`
  t.same(faults.toSorted(), wrong.toSorted(), what)
  if (typeof said === 'function') t.ok(said(seen), name)
  else t.match(seen, said, name)
}

const names = Object.keys(misbehaviours) as MisbehaviourName[]
const waiting: MisbehaviourName[] = ['black_hole', 'hang_token', 'hang_userinfo', 'hang_jwks', 'slow', 'stalls', 'slow_drip']
const encrypting = names.filter(name => name.startsWith('jwe_') && name !== 'jwe_unasked')

t.test('a provider that is well has no fault', async t => {
  for (const key of [undefined, createEncryptionKey('ECDH-ES'), createEncryptionKey('RSA-OAEP-256')]) {
    const provider = await start(t, key)
    t.same((await read(provider, '')).faults, [], key?.alg ?? 'in clear')
  }
})

t.test('each misbehaviour is what its sentence says, and nothing else', async t => {
  const provider = await start(t)
  for (const name of names) if (!waiting.includes(name) && !encrypting.includes(name)) await check(t, provider, name)
  t.same((await read(provider, '')).faults, [], 'of all that nothing is left')
  t.equal(provider.counts.trap, 0, 'who follows nothing is nowhere else')
})

t.test('so is each that is about encryption, where that is registered', async t => {
  for (const alg of ['ECDH-ES', 'RSA-OAEP-256'] as const) {
    const provider = await start(t, createEncryptionKey(alg))
    for (const name of encrypting) if (name !== 'jwe_off_curve' || alg === 'ECDH-ES') await check(t, provider, name)
    t.same((await read(provider, '')).faults, [], 'of all that nothing is left')
  }
})

t.test('so is each that lets its clients wait', { buffered: true }, async t => {
  await Promise.all(waiting.map(async name => {
    const provider = await start(t)
    await check(t, provider, name, 4000)
    t.same((await read(provider, '')).faults, [], `${name}: of it nothing is left`)
  }))
})

t.test('one that is slow answers as it should, ten seconds later', { buffered: true }, async t => {
  const provider = await start(t)
  provider.misbehave('slow')
  const begin = performance.now()
  t.match(await ask(`${provider.issuer}/status`, 30_000), { status: 200, text: '{"status":"up"}' })
  t.ok(performance.now() - begin > 9900)
})

t.test('one that drips goes on dripping', { buffered: true }, async t => {
  const provider = await start(t)
  provider.misbehave('slow_drip')
  const { body } = await request(provider.metadata().jwks_uri, { dispatcher })
  let drops = ''
  for await (const chunk of body) if ((drops += chunk).length >= 3) break
  t.equal(drops, '   ', 'byte by byte')
})

t.test('over TLS connections break off all the same', async t => {
  const tls = await makeCertificate(['vitalys.localhost'])
  const light = await startLightProvider({ id: 'vitalys', redirect_uris: [], tls })
  const agent = new Agent({ connect: { lookup: createLookup('localhost'), ca: tls.cert } })
  t.teardown(() => agent.destroy())
  t.teardown(light.stop)
  const status = () => request(`${light.issuer}/status`, { dispatcher: agent }).then(({ statusCode }) => statusCode, ({ code }) => code)
  t.equal(await status(), 200)
  light.misbehave('resets')
  t.match(await status(), /^(ECONNRESET|UND_ERR_SOCKET)$/)
})

t.test('where a redirect or a header leads, it counts who comes, and the stranger\'s keys wait there', async t => {
  const provider = await start(t)
  const follow = async (address: unknown, method: 'GET' | 'POST') => JSON.parse((await ask(String(address), 5000, { method }) as Raw).text).keys as JWK[]
  const met = async (name: MisbehaviourName, where: (seen: Seen, tokens: Raw) => unknown, method: 'GET' | 'POST' = 'GET') => {
    const before = provider.counts.trap
    provider.misbehave(name)
    const { seen } = await read(provider, '')
    const tokens = await redeem(provider, codeOf(provider), 5000) as Raw
    const keys = await follow(where(seen, tokens), method)
    t.equal(provider.counts.trap, before + 1, name)
    return keys
  }
  const { published } = strangerOf('RS256')
  const at = (name: string) => ({ header = {} }: Seen) => (header as Record<string, unknown>)[name]
  const from = (name: string) => ({ metadata = {} }: Seen) => (metadata as Record<string, unknown>)[name]
  t.match((await met('jku', at('jku'))).find(({ kid }) => kid === published.kid), published)
  await met('x5u', at('x5u'))
  await met('metadata_loopback', from('jwks_uri'))
  await met('metadata_http', from('token_endpoint'), 'POST')
  await met('token_redirect', (_seen, tokens) => tokens.headers['location'], 'POST')
  provider.misbehave('jwks_redirect')
  t.equal((await ask(provider.metadata().jwks_uri, 5000) as Raw).headers['location'], `http://vitalys.localhost:${new URL(provider.control).port}/trap`)
})

t.test('a redirect that goes in a circle leads to itself', async t => {
  const provider = await start(t)
  provider.misbehave('redirect_loop')
  for (const path of ['/.well-known/openid-configuration', '/jwks', '/userinfo?a=b']) t.equal((await ask(provider.issuer + path, 5000) as Raw).headers['location'], path)
})

t.test('an unknown kid and a wrong nonce are new each time', async t => {
  const provider = await start(t)
  for (const [name, of] of [['unknown_kid', (seen: Seen) => (seen.header as { kid: string }).kid], ['wrong_nonce', (seen: Seen) => (seen.claims as { nonce: string }).nonce]] as const) {
    provider.misbehave(name)
    const found = await Promise.all([1, 2, 3].map(async () => of((await read(provider, '')).seen)))
    t.equal(new Set(found).size, 3, name)
  }
})
