import { randomBytes, sign } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { compactVerify, decodeProtectedHeader, jwtVerify, UnsecuredJWT, type JWK, type JWTPayload } from 'jose'
import t, { type Test } from 'tap'
import type { OidcProviderOptions } from '../../src/adapters/oidc-identity-provider.ts'
import { loggable } from '../../src/log.ts'
import type { Question } from '../../src/ports.ts'
import { failures, OAuthError, type Failure } from '../../src/protocol/errors.ts'
import { makeCertificate } from '../support/certificate.ts'
import { algorithms, createForgedKey, startForgingProvider, type ForgedAlgorithm, type Forgery, type ForgingProvider } from '../support/forging-provider.ts'
import { findWords } from '../support/personal-data.ts'
import { providerUnderTest, type Surroundings } from '../support/provider-under-test.ts'

t.setTimeout(90_000)
const clientSecret = 'gateway-secret-0123456789'
const person = { given_name: 'Wilhelmina', family_name: 'de Saint-Exupéry', birthdate: '1962-08-24', email: 'wilhelmina@example.org' }
const sub = 'sub-of-wilhelmina'
/** What no message of an error may hold, as src/log.ts writes it. */
const secrets = [...Object.values(person), sub, clientSecret, 'the-access-token', 'the-code', 'Dupont']

const forger = await startForgingProvider(t, { sub, person })
const optionsOf = (changes: Partial<OidcProviderOptions> = {}, of: ForgingProvider = forger): OidcProviderOptions => ({
  issuer: of.issuer,
  client_id: 'passerelle',
  token_endpoint_auth_method: 'client_secret_basic',
  clientSecret,
  id_token_signed_response_alg: 'RS256',
  scopes: ['openid', 'profile'],
  ...changes
})
const questionOf = (changes: Partial<Question> = {}): Question => ({
  redirect_uri: 'https://passerelle.example/callback/impots',
  state: `state-${randomBytes(16).toString('base64url')}`,
  nonce: `nonce-${randomBytes(16).toString('base64url')}`,
  code_verifier: randomBytes(32).toString('base64url'),
  acr: 'eidas1',
  ui_locales: 'fr',
  ...changes
})
/** A provider that ends with the test. */
function startProvider (t: Test, options: OidcProviderOptions = optionsOf(), surroundings: Surroundings = {}) {
  const provider = providerUnderTest(options, surroundings)
  t.teardown(provider.close)
  return provider
}

interface Way { options?: Partial<OidcProviderOptions>, surroundings?: Surroundings, callback?: (parameters: URLSearchParams) => void, of?: ForgingProvider }
/** What is forged, by what it is called, and the name by which it is refused. */
type Forged = Record<string, [failure: Failure, forgery: Forgery]>

/** One citizen's way there and back, as a gateway that has just started sees it, and what it told meanwhile. */
async function logIn (forgery: Forgery = {}, { options, surroundings, callback, of = forger }: Way = {}) {
  const provider = providerUnderTest(optionsOf(options, of), surroundings)
  of.state.forgery = forgery
  of.state.seen.length = 0
  const question = questionOf()
  const { watched } = provider
  try {
    const url = await provider.authorizationUrl(question)
    return { answer: await provider.identify(of.comeBack(url, callback), question), watched }
  } catch (error) {
    if (error instanceof OAuthError) return { error, watched }
    throw error
  } finally {
    of.state.forgery = {}
    await provider.close()
  }
}

/** A forgery is refused by this name, and what is logged of it names nobody. */
async function refuses (t: Test, what: string, failure: Failure, forgery: Forgery, way: Way = {}) {
  const { error, watched } = await logIn(forgery, way)
  if (error === undefined) {
    t.fail(`${what}: accepted`)
    return
  }
  t.equal(error.failure, failure, `${what}: ${error.message}`)
  const logged = [error, ...watched.notRenewed.map(told => told.error as OAuthError)]
  t.same(findWords(inspect(logged.map(err => loggable.serializers.err(err)), { depth: 20 }), secrets), [], `${what}: names nobody`)
}
async function refusesAll (t: Test, forged: Forged, way: Way = {}) {
  for (const [what, [failure, forgery]] of Object.entries(forged)) await refuses(t, what, failure, forgery, way)
}
async function accepts (t: Test, what: string, forgery: Forgery = {}, way: Way = {}) {
  const { answer, error } = await logIn(forgery, way)
  t.match(answer ?? error, { sub, claims: person }, what)
}

const now = () => Math.floor(Date.now() / 1000)
const claims = (changes: JWTPayload | Record<string, unknown>): Forgery => ({ claims: said => ({ ...said, ...changes }) })
const without = (...names: string[]): Forgery => ({ claims: said => Object.fromEntries(Object.entries(said).filter(([name]) => !names.includes(name))) })
const part = (value: object | string) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
/** The same JSON object with one member more, which it has already. */
const twice = (value: object, member: object) => JSON.stringify(value).replace(/\}$/, `,${JSON.stringify(member).slice(1)}`)
/** A JWS of these very texts by the provider's RSA key. */
function signText (header: string, payload: string) {
  const text = `${part(header)}.${part(payload)}`
  return `${text}.${sign('sha256', Buffer.from(text), forger.keys.get('RS256')!.privateKey).toString('base64url')}`
}
const stranger = createForgedKey('RS256')
const json = { connection: 'close', 'content-type': 'application/json' }
const answers = (status: number, body: string | object, headers: Record<string, string> = {}) => (_request: IncomingMessage, response: ServerResponse) => {
  response.writeHead(status, { 'content-type': typeof body === 'string' ? 'text/html' : 'application/json', ...headers }).end(typeof body === 'string' ? body : JSON.stringify(body))
}
/** More than any answer may have, in pieces, so long as anybody listens. */
const huge = async (_request: IncomingMessage, response: ServerResponse) => {
  response.writeHead(200, json)
  const piece = Buffer.alloc(64 * 1024, ' ')
  for (let i = 0; i < 800 && !response.destroyed; i++) if (!response.write(piece)) await new Promise(resolve => response.once('drain', resolve).once('close', resolve))
  response.end('{}')
}
const seen = (endpoint: string) => forger.state.seen.find(seen => seen.endpoint === endpoint)!

t.test('the answer that nobody forged is accepted', async t => {
  const { answer, watched } = await logIn()
  t.match(answer, { sub, claims: person, acr: 'eidas1', amr: ['pwd'], auth_time: Number, id_token: /^[\w-]+\.[\w-]+\.[\w-]+$/ })
  t.same(Object.keys(answer!.claims).sort(), Object.keys(person).sort(), 'no claim but those of an identity')
  t.same(forger.state.seen.map(({ endpoint }) => endpoint), ['discovery', 'token', 'jwks', 'userinfo'])
  t.same(watched.called, ['discovery', 'token', 'jwks', 'userinfo'].map(leg => ({ leg, outcome: 'answered' })), 'each call is told')
})

t.test('a signature that is not the provider\'s by the registered algorithm is refused', async t => {
  const rs = forger.keys.get('RS256')!
  const pem = rs.publicKey.export({ type: 'spki', format: 'pem' }) as string
  await refusesAll(t, {
    'another key under the published kid': ['provider_signature_wrong', { sign: (said, header) => forger.sign(said, header, stranger.privateKey) }],
    'a key that is not published': ['provider_key_unknown', { sign: (said, header) => forger.sign(said, { ...header, kid: stranger.kid }, stranger.privateKey) }],
    'an unknown kid': ['provider_key_unknown', { header: header => ({ ...header, kid: 'unknown' }) }],
    'no kid where there are several keys': ['provider_key_unnamed', { header: ({ alg }) => ({ alg }), jwks: keys => ({ keys: [...keys, stranger.published] }) }],
    'alg none': ['provider_signature_missing', { sign: said => new UnsecuredJWT(said).encode() }],
    'alg none, spelled otherwise': ['provider_signature_missing', { idToken: token => `${part({ alg: 'nOnE' })}.${token.split('.')[1]}.` }],
    'alg none and a signature': ['provider_signature_missing', { idToken: token => `${part({ alg: 'none', kid: rs.kid })}.${token.split('.')[1]}.${token.split('.')[2]}` }],
    'no signature': ['provider_signature_missing', { idToken: token => token.replace(/[^.]*$/, '') }],
    'a part missing': ['provider_token_malformed', { idToken: token => token.replace(/\.[^.]*$/, '') }],
    'a part more': ['provider_token_malformed', { idToken: token => `${token}.x` }],
    'a signature of zeros': ['provider_signature_wrong', { idToken: token => token.replace(/[^.]*$/, Buffer.alloc(256).toString('base64url')) }],
    'a signature with one bit turned': ['provider_signature_wrong', { idToken: token => { const [head, body, sealed] = token.split('.'); const bytes = Buffer.from(sealed!, 'base64url'); bytes[9]! ^= 4; return `${head}.${body}.${bytes.toString('base64url')}` } }],
    'other claims under a good signature': ['provider_signature_wrong', { idToken: token => { const [head, body, sealed] = token.split('.'); return `${head}.${part({ ...JSON.parse(Buffer.from(body!, 'base64url').toString()), sub: 'Dupont' })}.${sealed}` } }],
    'HS256 with our own secret': ['provider_algorithm_wrong', { sign: (said, header) => forger.sign(said, { ...header, alg: 'HS256' }, Buffer.from(clientSecret) as never) }],
    'HS256 with the public key as the secret': ['provider_algorithm_wrong', { sign: (said, header) => forger.sign(said, { ...header, alg: 'HS256' }, Buffer.from(pem) as never) }],
    'RS512 by the right key': ['provider_algorithm_wrong', { header: header => ({ ...header, alg: 'RS512' }), sign: (said, header) => forger.sign(said, header, rs.privateKey) }],
    'no alg': ['provider_token_malformed', { idToken: token => token.replace(/^[^.]*/, part({ kid: rs.kid })) }],
    'crit that nobody understands': ['provider_extension_unknown', { header: header => ({ ...header, crit: ['x'], x: 1 }) }],
    'a key of its own in the header': ['provider_key_embedded', { sign: (said, header) => forger.sign(said, { ...header, kid: stranger.kid, jwk: stranger.published }, stranger.privateKey) }],
    'its own key in the header': ['provider_key_embedded', { header: header => ({ ...header, jwk: rs.published }) }],
    'an address of keys in the header': ['provider_key_embedded', { header: header => ({ ...header, jku: `${forger.issuer}/jwks` }) }],
    'an address of certificates in the header': ['provider_key_embedded', { header: header => ({ ...header, x5u: `${forger.issuer}/jwks` }) }],
    'a header that names its key twice': ['provider_answer_ambiguous', { sign: (said, header) => signText(twice(header, { kid: header.kid }), JSON.stringify(said)) }],
    'a header that is a list': ['provider_token_malformed', { sign: (said, header) => signText(JSON.stringify([header]), JSON.stringify(said)) }],
    'no token': ['provider_token_malformed', { idToken: () => undefined }],
    'an empty token': ['provider_token_malformed', { idToken: () => '' }],
    'a token that is none': ['provider_token_malformed', { idToken: () => 'Dupont' }],
    'a token of dots': ['provider_token_malformed', { idToken: () => '..' }],
    'a payload that is no JSON': ['provider_token_malformed', { idToken: token => token.replace(/\.[^.]*\./, `.${part('Dupont')}.`) }],
    'a payload that is a list': ['provider_token_malformed', { sign: (said, header) => signText(JSON.stringify(header), JSON.stringify([said])) }]
  })
  await accepts(t, 'a token that is written by hand', { sign: (said, header) => signText(JSON.stringify(header), JSON.stringify(said)) })
  for (const alg of algorithms) {
    await accepts(t, `${alg} where it is registered`, { alg }, { options: { id_token_signed_response_alg: alg } })
    for (const other of algorithms.filter(other => other !== alg)) await refuses(t, `${other}, whose key is published, where ${alg} is registered`, 'provider_algorithm_wrong', { alg: other }, { options: { id_token_signed_response_alg: alg } })
  }
  await accepts(t, 'EdDSA by its other name (RFC 9864 §2.2)', { alg: 'EdDSA', header: header => ({ ...header, alg: 'Ed25519' }), sign: (said, header) => forger.sign(said, header, forger.keys.get('EdDSA')!.privateKey) }, { options: { id_token_signed_response_alg: 'EdDSA' } })
})

t.test('a claim of the ID Token that is missing, wrong or of another kind is refused (OpenID Connect Core §3.1.3.7)', async t => {
  await refusesAll(t, {
    'another iss': ['provider_issuer_wrong', claims({ iss: 'https://impots.example' })],
    'an iss with a slash more': ['provider_issuer_wrong', claims({ iss: `${forger.issuer}/` })],
    'a list of iss': ['provider_token_malformed', claims({ iss: [forger.issuer] })],
    'no iss': ['provider_token_malformed', without('iss')],
    'another aud': ['provider_audience_wrong', claims({ aud: 'another' })],
    'an aud that begins with us': ['provider_audience_wrong', claims({ aud: 'passerelle2' })],
    'a list of aud without us': ['provider_audience_wrong', claims({ aud: ['another', 'third'] })],
    'an empty list of aud': ['provider_audience_wrong', claims({ aud: [] })],
    'an aud that is an object': ['provider_token_malformed', claims({ aud: { passerelle: true } })],
    'no aud': ['provider_token_malformed', without('aud')],
    'a list of aud without azp': ['provider_authorized_party_wrong', claims({ aud: ['passerelle', 'another'] })],
    'another azp': ['provider_authorized_party_wrong', claims({ azp: 'another' })],
    'another azp in a list of aud': ['provider_authorized_party_wrong', claims({ aud: ['passerelle', 'another'], azp: 'another' })],
    'an azp that is no text': ['provider_authorized_party_wrong', claims({ azp: 1 })],
    'an empty azp': ['provider_authorized_party_wrong', claims({ azp: '' })],
    'an azp that is null': ['provider_authorized_party_wrong', claims({ azp: null })],
    'exp past': ['provider_token_expired', claims({ exp: now() - 70 })],
    'exp zero': ['provider_token_expired', claims({ exp: 0 })],
    'exp as a text': ['provider_token_malformed', claims({ exp: String(now() + 300) })],
    'exp that is no number': ['provider_token_malformed', claims({ exp: null })],
    'no exp': ['provider_token_malformed', without('exp')],
    'iat to come': ['provider_token_premature', claims({ iat: now() + 70 })],
    'no iat': ['provider_token_malformed', without('iat')],
    'iat as a text': ['provider_token_malformed', claims({ iat: String(now()) })],
    'nbf to come': ['provider_token_premature', claims({ nbf: now() + 3600 })],
    'nbf as a text': ['provider_token_malformed', claims({ nbf: '0' })],
    'another nonce': ['provider_nonce_wrong', claims({ nonce: 'another' })],
    'no nonce': ['provider_nonce_wrong', without('nonce')],
    'an empty nonce': ['provider_nonce_wrong', claims({ nonce: '' })],
    'a nonce that is no text': ['provider_nonce_wrong', claims({ nonce: 1 })],
    'sub as a number': ['provider_subject_malformed', claims({ sub: 12345 })],
    'no sub': ['provider_subject_malformed', without('sub')],
    'an empty sub': ['provider_subject_malformed', claims({ sub: '' })],
    'sub as a list': ['provider_subject_malformed', claims({ sub: [sub] })],
    'sub that is null': ['provider_subject_malformed', claims({ sub: null })],
    'a sub that is too long': ['provider_subject_malformed', claims({ sub: 's'.repeat(256) })],
    'two sub': ['provider_answer_ambiguous', { sign: (said, header) => signText(JSON.stringify(header), twice(said, { sub: 'Dupont' })) }],
    'no claims but those of a citizen': ['provider_token_malformed', { claims: () => ({ ...person }) }]
  })
  await accepts(t, 'a list of aud with us as azp', claims({ aud: ['passerelle', 'another'], azp: 'passerelle' }))
  await accepts(t, 'a list of aud of us alone', claims({ aud: ['passerelle'] }))
  await accepts(t, 'azp that is us', claims({ azp: 'passerelle' }))
  await accepts(t, 'a clock that is 50 s behind ours', claims({ iat: now() - 350, exp: now() - 50 }))
  await accepts(t, 'a clock that is 50 s ahead of ours', claims({ iat: now() + 50, nbf: now() + 50, exp: now() + 350 }))
})

t.test('a nonce that we gave to another login is told from one that nobody was given: a browser may have brought that about', async t => {
  const surroundings = { isOwnNonce: (nonce: string) => nonce === 'nonce of another login' }
  await refuses(t, 'of another login', 'code_of_another_login', claims({ nonce: 'nonce of another login' }), { surroundings })
  await refuses(t, 'of none', 'provider_nonce_wrong', claims({ nonce: 'nonce of no login' }), { surroundings })
  t.notOk('outage' in failures.code_of_another_login)
})

t.test('a userinfo answer that is of somebody else, or of nobody, is refused (OpenID Connect Core §5.3.4)', async t => {
  const at = (userinfo: (request: IncomingMessage, response: ServerResponse) => unknown): Forgery => ({ answer: { userinfo } })
  await refusesAll(t, {
    'another sub': ['provider_subject_differs', { userinfo: said => ({ ...said, sub: 'Dupont' }) }],
    'a sub that ours begins with': ['provider_subject_differs', { userinfo: said => ({ ...said, sub: sub.slice(0, -1) }) }],
    'no sub': ['provider_subject_malformed', { userinfo: ({ sub, ...rest }) => rest }],
    'an empty sub': ['provider_subject_malformed', { userinfo: said => ({ ...said, sub: '' }) }],
    'sub as a number': ['provider_subject_malformed', { userinfo: said => ({ ...said, sub: 1 as never }) }],
    'sub as a list': ['provider_subject_malformed', { userinfo: said => ({ ...said, sub: [sub] as never }) }],
    'sub that is null': ['provider_subject_malformed', { userinfo: said => ({ ...said, sub: null as never }) }],
    'two sub': ['provider_answer_ambiguous', at(answers(200, twice({ sub, ...person }, { sub }), json))],
    'a list': ['provider_answer_unreadable', at(answers(200, [{ sub }], json))],
    'a text': ['provider_answer_unreadable', at(answers(200, '"Dupont"', json))],
    'signed by a key that is not published, where JSON is registered': ['provider_answer_unreadable', { userinfoAlg: 'RS256', userinfoJwt: (said, header) => forger.sign(said, header, stranger.privateKey) }],
    'alg none, where JSON is registered': ['provider_answer_unreadable', { userinfoAlg: 'RS256', userinfoJwt: said => new UnsecuredJWT(said).encode() }],
    'a JWT in the type of JSON': ['provider_answer_unreadable', at(async (_request, response) => { response.writeHead(200, json).end(await forger.sign({ sub }, { alg: 'RS256', kid: 'x' })) })],
    refused: ['provider_call_refused', at(answers(401, { error: 'invalid_token', error_description: 'Dupont' }, { 'www-authenticate': 'Bearer error="invalid_token", error_description="Dupont"' }))],
    'not found': ['provider_call_refused', at(answers(404, 'Dupont'))],
    'no content': ['provider_call_refused', at((_request, response) => response.writeHead(204, json).end())],
    redirected: ['provider_redirected', at(answers(302, '', { location: `${forger.issuer}/jwks` }))],
    'asked too often': ['provider_busy', at(answers(429, 'Dupont'))],
    down: ['provider_server_error', at(answers(500, 'Dupont'))],
    busy: ['provider_server_error', at(answers(503, { error: 'Dupont' }))],
    reset: ['provider_unavailable', at(request => request.socket.destroy())],
    'a page with 200': ['provider_answer_unreadable', at(answers(200, '<p>Dupont</p>'))],
    'JSON in the type of a page': ['provider_answer_unreadable', at(answers(200, JSON.stringify({ sub, ...person }), { 'content-type': 'text/html' }))],
    'no content type': ['provider_answer_unreadable', at((_request, response) => response.writeHead(200).end(JSON.stringify({ sub, ...person })))],
    'two content types': ['provider_answer_unreadable', at((_request, response) => response.writeHead(200, { 'content-type': ['application/json', 'text/html'] } as never).end(JSON.stringify({ sub, ...person })))],
    'JSON that breaks off': ['provider_answer_unreadable', at(answers(200, '{"sub":"Dupont', json))],
    nothing: ['provider_answer_unreadable', at(answers(200, '', json))],
    'more than any answer has': ['provider_answer_too_large', at(huge)]
  })
  const { answer } = await logIn({ userinfo: said => ({ ...said, given_name: 'Wilma', acr: 'eidas3', amr: ['x'], auth_time: 1, idp_id: 'another', role: 'admin' }), ...claims({ idp_id: 'another' }) })
  t.match(answer, { acr: 'eidas1', amr: ['pwd'] }, 'how the citizen logged in, the ID Token alone says')
  t.strictSame(answer!.claims, { ...person, given_name: 'Wilma' }, 'who she is, userinfo says; where she logged in, no provider does')
  t.match(seen('userinfo').headers, { accept: 'application/json', authorization: 'Bearer the-access-token' }, 'JSON is asked for')
  await accepts(t, 'an iss and an aud of whatever kind: in JSON they mean nothing', { userinfo: said => ({ ...said, iss: 'https://another.example', aud: 'another' }) })
  await accepts(t, 'four dots in all, as a JWE has', { userinfo: said => ({ ...said, email: person.email, profile: 'a.b.c.d' }) })
  await accepts(t, 'JSON in a character set', at(answers(200, { sub, ...person }, { 'content-type': 'Application/JSON ; charset=utf-8' })))
})

t.test('a signed userinfo answer is accepted by its registered algorithm only', async t => {
  const way: Way = { options: { userinfo_signed_response_alg: 'ES256' } }
  const es = createForgedKey('ES256')
  const signed = (userinfo: (said: JWTPayload) => object): Forgery => ({ userinfoAlg: 'ES256', userinfo: userinfo as Forgery['userinfo'] & {} })
  const by = (userinfoJwt: Forgery['userinfoJwt'] & {}): Forgery => ({ userinfoAlg: 'ES256', userinfoJwt })
  await refusesAll(t, {
    JSON: ['provider_answer_unreadable', {}],
    'JSON in the type of a JWT': ['provider_token_malformed', { answer: { userinfo: answers(200, JSON.stringify({ sub, ...person }), { 'content-type': 'application/jwt' }) } }],
    nothing: ['provider_token_malformed', { answer: { userinfo: answers(200, '', { 'content-type': 'application/jwt' }) } }],
    'another algorithm whose key is published': ['provider_algorithm_wrong', { userinfoAlg: 'RS256' }],
    EdDSA: ['provider_algorithm_wrong', { userinfoAlg: 'EdDSA' }],
    'another key under the published kid': ['provider_signature_wrong', by((said, header) => forger.sign(said, header, es.privateKey))],
    'a key that is not published': ['provider_key_unknown', by((said, header) => forger.sign(said, { ...header, kid: es.kid }, es.privateKey))],
    'alg none': ['provider_signature_missing', by(said => new UnsecuredJWT(said).encode())],
    'HS256 with our secret': ['provider_algorithm_wrong', by((said, header) => forger.sign(said, { ...header, alg: 'HS256' }, Buffer.from(clientSecret) as never))],
    'no signature': ['provider_signature_missing', by(async (said, header) => (await forger.sign(said, header)).replace(/[^.]*$/, ''))],
    'other claims under a good signature': ['provider_signature_wrong', by(async (said, header) => (await forger.sign(said, header)).replace(/\.[^.]*\./, `.${part({ ...said, family_name: 'Dupont' })}.`))],
    'a key of its own': ['provider_key_embedded', by((said, header) => forger.sign(said, { ...header, kid: es.kid, jwk: es.published }, es.privateKey))],
    'an extension that must be known': ['provider_extension_unknown', by((said, header) => forger.sign(said, { ...header, crit: ['x'], x: 1 }))],
    encrypted: ['provider_encryption_wrong', by(() => `${part({ alg: 'RSA-OAEP', enc: 'A256GCM' })}.a.b.c.d`)],
    'another iss': ['provider_issuer_wrong', signed(said => ({ ...said, iss: 'https://another.example' }))],
    'an iss with a slash more': ['provider_issuer_wrong', signed(said => ({ ...said, iss: `${forger.issuer}/` }))],
    'iss that is null': ['provider_issuer_wrong', signed(said => ({ ...said, iss: null }))],
    'another aud': ['provider_audience_wrong', signed(said => ({ ...said, aud: 'another' }))],
    'an aud that begins with us': ['provider_audience_wrong', signed(said => ({ ...said, aud: 'passerelle2' }))],
    'a list of aud without us': ['provider_audience_wrong', signed(said => ({ ...said, aud: ['another', 'third'] }))],
    'an empty list of aud': ['provider_audience_wrong', signed(said => ({ ...said, aud: [] }))],
    'aud that is null': ['provider_audience_wrong', signed(said => ({ ...said, aud: null }))],
    'another sub': ['provider_subject_differs', signed(said => ({ ...said, sub: 'Dupont' }))],
    'no sub': ['provider_subject_malformed', signed(({ sub, ...said }) => said)]
  }, way)
  const rsa: Way = { options: { userinfo_signed_response_alg: 'RS256' } }
  await refuses(t, 'two sub', 'provider_answer_ambiguous', { userinfoAlg: 'RS256', userinfoJwt: (said, header) => signText(JSON.stringify(header), twice(said, { sub })) }, rsa)
  await refuses(t, 'what is no claims at all', 'provider_answer_unreadable', { userinfoAlg: 'RS256', userinfoJwt: (_said, header) => signText(JSON.stringify(header), 'Dupont') }, rsa)
  for (const alg of algorithms) await accepts(t, alg, { userinfoAlg: alg }, { options: { userinfo_signed_response_alg: alg } })
  t.equal(seen('userinfo').headers.accept, 'application/jwt', 'a JWT is asked for')
  await accepts(t, 'no iss', signed(said => ({ ...said, iss: undefined })), way)
  await accepts(t, 'no aud', signed(said => ({ ...said, aud: undefined })), way)
  await accepts(t, 'a list of aud with us', signed(said => ({ ...said, aud: ['another', 'passerelle'] })), way)
  await accepts(t, 'a line at its end', by(async (said, header) => `${await forger.sign(said, header)}\r\n`), way)
})

t.test('a redirection that did not come from this provider for this login is refused (RFC 9207, RFC 6749 §10.12)', async t => {
  const changed: Record<string, [failure: Failure, change: (parameters: URLSearchParams) => void]> = {
    'another iss': ['callback_issuer_wrong', parameters => parameters.set('iss', 'https://another.example')],
    'no iss where it is promised': ['callback_issuer_wrong', parameters => parameters.delete('iss')],
    'an empty iss': ['callback_issuer_wrong', parameters => parameters.set('iss', '')],
    'an iss with a slash more': ['callback_issuer_wrong', parameters => parameters.set('iss', `${forger.issuer}/`)],
    'two iss': ['callback_issuer_wrong', parameters => parameters.append('iss', forger.issuer)],
    'two iss, one of them another\'s': ['callback_issuer_wrong', parameters => parameters.append('iss', 'https://another.example')],
    'nothing at all': ['callback_issuer_wrong', parameters => { for (const name of [...parameters.keys()]) parameters.delete(name) }],
    'an error of another provider': ['callback_issuer_wrong', parameters => { parameters.delete('code'); parameters.set('error', 'access_denied'); parameters.set('iss', 'https://another.example') }],
    'another state': ['callback_malformed', parameters => parameters.set('state', 'another')],
    'no state': ['callback_malformed', parameters => parameters.delete('state')],
    'an empty state': ['callback_malformed', parameters => parameters.set('state', '')],
    'two states': ['callback_malformed', parameters => parameters.append('state', 'another')],
    'the state twice': ['callback_malformed', parameters => parameters.append('state', parameters.get('state')!)],
    'two codes': ['callback_malformed', parameters => parameters.append('code', 'another')],
    'no code': ['callback_malformed', parameters => parameters.delete('code')],
    'an empty code': ['callback_malformed', parameters => parameters.set('code', '')],
    'a JWT (JARM) that nobody asked for': ['callback_malformed', parameters => parameters.set('response', 'Dupont')],
    'an ID Token that nobody asked for': ['callback_malformed', parameters => parameters.set('id_token', 'Dupont')],
    'an error of another login': ['callback_malformed', parameters => { parameters.delete('code'); parameters.set('error', 'access_denied'); parameters.set('state', 'another') }],
    'two errors': ['callback_malformed', parameters => { parameters.delete('code'); parameters.append('error', 'access_denied'); parameters.append('error', 'server_error') }]
  }
  for (const [what, [failure, callback]] of Object.entries(changed)) {
    await refuses(t, what, failure, {}, { callback })
    t.equal(forger.count('token'), 0, `${what}: no code was spent`)
    t.notOk('outage' in failures[failure], `${what}: a browser may bring it, so it does not count against the provider`)
  }
  const modest: Forgery = { metadata: ({ authorization_response_iss_parameter_supported: _, ...rest }) => rest }
  await accepts(t, 'no iss where none is promised', modest, { callback: parameters => parameters.delete('iss') })
  await accepts(t, 'its iss where none is promised', modest)
  await refuses(t, 'another iss where none is promised', 'callback_issuer_wrong', modest, { callback: parameters => parameters.set('iss', 'https://another.example') })
  await refuses(t, 'nothing at all, where no iss is promised', 'callback_malformed', modest, { callback: changed['nothing at all']![1] })
  await accepts(t, 'a parameter that means nothing', {}, { callback: parameters => parameters.set('session_state', 'x') })
})

t.test('a code that no provider makes is nothing to ask a provider with', async t => {
  const coming = (code: string) => ({ callback: (parameters: URLSearchParams) => parameters.set('code', code) })
  for (const code of ['', ' ', 'a b', 'a\nb', 'é', 'a"b', 'a<b>', 'a;b', 'a&b', 'a%b', 'a\\b', 'a\u0000', 'a'.repeat(4097)]) {
    await refuses(t, JSON.stringify(code.slice(0, 20)), 'callback_malformed', {}, coming(code))
    t.equal(forger.count('token'), 0)
  }
  for (const code of ['a', 'SplxlOBeZQQYbYS6WxSbIA', '4/P7q7W91.a-oMsCeLvIaQm6bTrgtp7', 'a|b', 'x~y!z$*+=:,@', 'eyJ0.eyJ1.c2ln', 'a'.repeat(4096)]) {
    await logIn({}, coming(code))
    t.equal(seen('token').body.get('code'), code, code.slice(0, 40))
  }
})

t.test('a provider\'s own word of refusal is kept apart from its absence, and not a letter of it is kept', async t => {
  const says = (error: string, description?: string) => (parameters: URLSearchParams) => {
    parameters.delete('code')
    parameters.set('error', error)
    if (description !== undefined) parameters.set('error_description', description)
  }
  const html = '<script>alert("Dupont")</script>'
  for (const error of ['access_denied', 'login_required', 'interaction_required', 'invalid_request', 'invalid_scope', 'unauthorized_client', 'Dupont', html]) {
    await refuses(t, error, 'provider_refused', {}, { callback: says(error, html) })
  }
  // the browser brings this word: it is no failure that counts against the provider
  for (const error of ['temporarily_unavailable', 'server_error']) await refuses(t, error, 'provider_busy', {}, { callback: says(error, html) })
  for (const failure of ['provider_refused', 'provider_busy'] as const) t.notOk('outage' in failures[failure], failure)
  const { error } = await logIn({}, { callback: says('access_denied', html) })
  t.notMatch(error!.message, /script|Dupont/)
  t.equal(forger.count('token'), 0)
})

t.test('a token endpoint that answers otherwise is told apart, never followed and never read beyond its limit', async t => {
  const at = (token: (request: IncomingMessage, response: ServerResponse) => unknown): Forgery => ({ answer: { token } })
  const elsewhere = await startForgingProvider(t, { sub, person })
  for (const status of [301, 302, 303, 307, 308]) {
    await refuses(t, `a redirect, ${status}`, 'provider_redirected', at(answers(status, '', { location: `${elsewhere.issuer}/token` })))
  }
  t.same(elsewhere.state.seen, [], 'nobody went where a redirect led')

  const forged: Forged = {
    invalid_grant: ['provider_code_spent', at(answers(400, { error: 'invalid_grant', error_description: 'Dupont' }))],
    invalid_client: ['provider_credentials_refused', at(answers(401, { error: 'invalid_client', error_description: 'Dupont' }))],
    'invalid_client with 400': ['provider_credentials_refused', at(answers(400, { error: 'invalid_client' }))],
    'invalid_client with a challenge': ['provider_credentials_refused', at(answers(401, { error: 'invalid_client' }, { 'www-authenticate': 'Basic realm="Dupont"' }))],
    '401 with a page': ['provider_credentials_refused', at(answers(401, '<p>Dupont</p>'))],
    '401 with null': ['provider_credentials_refused', at(answers(401, 'null', json))],
    '401 with another error': ['provider_call_refused', at(answers(401, { error: 'invalid_request', error_description: 'Dupont' }))],
    '401 without an error': ['provider_call_refused', at(answers(401, { message: 'Dupont' }))],
    unauthorized_client: ['provider_call_refused', at(answers(400, { error: 'unauthorized_client', error_description: 'Dupont' }))],
    'another error': ['provider_call_refused', at(answers(400, { error: 'Dupont', error_description: 'Dupont' }))],
    '400 with a page': ['provider_call_refused', at(answers(400, '<p>Dupont</p>'))],
    '400 with null': ['provider_call_refused', at(answers(400, 'null', json))],
    403: ['provider_call_refused', at(answers(403, { error: 'access_denied' }))],
    429: ['provider_busy', at(answers(429, { error: 'invalid_grant' }))],
    'a page with 200': ['provider_answer_unreadable', at(answers(200, '<p>Dupont</p>'))],
    'nothing with 200': ['provider_answer_unreadable', at(answers(200, '', json))],
    'nothing with 204': ['provider_answer_unreadable', at((_request, response) => response.writeHead(204).end())],
    'JSON that breaks off': ['provider_answer_unreadable', at(answers(200, '{"access_token":"Dupont', json))],
    'a list': ['provider_answer_unreadable', at(answers(200, '["Dupont"]', json))],
    null: ['provider_answer_unreadable', at(answers(200, 'null', json))],
    'two content types': ['provider_answer_unreadable', at((_request, response) => response.writeHead(200, { 'content-type': ['application/json', 'text/html'] } as never).end('{"access_token":"Dupont"}'))],
    'two ID Tokens': ['provider_answer_ambiguous', at(answers(200, '{"access_token":"the-access-token","token_type":"Bearer","id_token":"a.b.c","id_token":"a.b.d"}', json))],
    'an ID Token under two spellings of its name': ['provider_answer_ambiguous', at(answers(200, '{"access_token":"the-access-token","token_type":"Bearer","id_token":"a.b.c","id\\u005ftoken":"a.b.d"}', json))],
    'no access token': ['provider_answer_invalid', { tokens: ({ access_token: _, ...rest }) => rest }],
    'an empty access token': ['provider_answer_invalid', { tokens: answer => ({ ...answer, access_token: '' }) }],
    'an access token that is no text': ['provider_answer_invalid', { tokens: answer => ({ ...answer, access_token: 1 }) }],
    'an access token that would be a header more': ['provider_answer_invalid', { tokens: answer => ({ ...answer, access_token: 'Dupont\r\nx: y' }) }],
    'no token type': ['provider_answer_invalid', { tokens: ({ token_type: _, ...rest }) => rest }],
    'a token type that we cannot use': ['provider_answer_invalid', { tokens: answer => ({ ...answer, token_type: 'mac' }) }],
    'a life that is no number': ['provider_answer_invalid', { tokens: answer => ({ ...answer, expires_in: 'Dupont' }) }],
    'an ID Token that is no text': ['provider_token_malformed', { tokens: answer => ({ ...answer, id_token: { a: 1 } }) }],
    'an ID Token that is null': ['provider_token_malformed', { tokens: answer => ({ ...answer, id_token: null }) }],
    'a reset': ['provider_unavailable', at(request => request.socket.destroy())],
    'an answer that breaks off': ['provider_unavailable', at((request, response) => { response.writeHead(200, { ...json, 'content-length': '1000' }).write('{"a'); setTimeout(() => request.socket.destroy(), 20) })],
    'no HTTP at all': ['provider_unavailable', at(request => { request.socket.end('Dupont\r\n\r\n') })],
    'a status that HTTP does not have': ['provider_server_error', at((_request, response) => { response.writeHead(999).end('Dupont') })],
    'fifty megabytes': ['provider_answer_too_large', at(huge)]
  }
  for (const status of [500, 502, 503, 504]) {
    forged[`${status} with a page`] = ['provider_server_error', at(answers(status, '<p>Dupont</p>'))]
    forged[`${status} with an error`] = ['provider_server_error', at(answers(status, { error: 'invalid_grant', error_description: 'Dupont' }))]
    forged[`${status} with a challenge`] = ['provider_server_error', at(answers(status, {}, { 'www-authenticate': 'Basic realm="Dupont"' }))]
  }
  for (const [what, [failure, forgery]] of Object.entries(forged)) {
    await refuses(t, what, failure, forgery)
    t.equal(forger.count('token'), 1, `${what}: a code is never sent twice`)
  }
  await accepts(t, 'JSON in a character set', { answer: { token: (_request, response) => { response.setHeader('x', 'y') } } })
})

t.test('a provider that is slow is given up in time, wherever it is slow', async t => {
  const surroundings = { timeoutMs: 500 }
  for (const endpoint of ['discovery', 'token', 'jwks', 'userinfo'] as const) {
    const waits: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
      'does not answer': (_request, response) => new Promise(resolve => response.once('close', resolve)),
      'begins and does not end': (_request, response) => { response.writeHead(200, json).write('{') },
      drips: (_request, response) => {
        response.writeHead(200, json)
        const drip = setInterval(() => response.write(' '), 50)
        response.once('close', () => clearInterval(drip))
      }
    }
    for (const [what, wait] of Object.entries(waits)) {
      await refuses(t, `${endpoint} ${what}`, 'provider_timed_out', { answer: { [endpoint]: wait } }, { surroundings })
      t.equal(forger.count(endpoint), 1, `${endpoint} ${what}: what was too slow once is not asked again`)
    }
  }
})

t.test('after its deadline nothing is begun any more', async t => {
  const provider = startProvider(t)
  const question = questionOf()
  const callback = forger.comeBack(await provider.authorizationUrl(question))
  forger.state.seen.length = 0
  await t.rejects(provider.identify(callback, question, performance.now()), { name: 'OAuthError', failure: 'provider_timed_out', message: 'token: no time is left to ask' })
  t.same(forger.state.seen, [])

  let end = 0
  forger.state.forgery = { answer: { token: () => pause(Math.max(0, end - performance.now() - 20)), jwks: () => pause(60) } }
  end = performance.now() + 300
  await t.rejects(provider.identify(callback, question, end), { name: 'OAuthError', failure: 'provider_timed_out' })
  t.equal(forger.count('userinfo'), 0)
  forger.state.forgery = { answer: { token: (_request, response) => new Promise(resolve => response.once('close', resolve)) } }
  await t.rejects(provider.identify(callback, question, performance.now() + 300), { name: 'OAuthError', failure: 'provider_timed_out', message: 'token: the identity provider did not answer in time' }, 'sooner than its own limit')
  forger.state.forgery = {}
  t.match(await provider.identify(callback, question, performance.now() + 20_000), { sub })
})

t.test('keys that cannot be had, or that are none, verify nothing', async t => {
  const rs = forger.keys.get('RS256')!
  const at = (jwks: (request: IncomingMessage, response: ServerResponse) => unknown): Forgery => ({ answer: { jwks } })
  await refusesAll(t, {
    'an empty set': ['provider_keys_unavailable', { jwks: () => ({ keys: [] }) }],
    'no set': ['provider_keys_unavailable', { jwks: () => ({}) }],
    'a set that is null': ['provider_keys_unavailable', { jwks: () => ({ keys: null }) }],
    'a list of texts': ['provider_keys_unavailable', { jwks: () => ({ keys: ['Dupont'] }) }],
    'a key of no kind': ['provider_keys_unavailable', { jwks: () => ({ keys: [{ kid: rs.kid }] }) }],
    'a symmetric key': ['provider_key_unknown', { jwks: () => ({ keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: rs.kid, alg: 'RS256' }] }) }],
    'a key for encryption': ['provider_key_unknown', { jwks: keys => ({ keys: keys.map(key => ({ ...key, use: 'enc' })) }) }],
    'a private key': ['provider_keys_unavailable', { jwks: () => ({ keys: [{ ...rs.privateKey.export({ format: 'jwk' }), kid: rs.kid, alg: 'RS256' }] }) }],
    404: ['provider_keys_unavailable', at(answers(404, 'Dupont'))],
    500: ['provider_server_error', at(answers(500, 'Dupont'))],
    '503 with JSON': ['provider_server_error', at(answers(503, { error: 'Dupont' }))],
    429: ['provider_busy', at(answers(429, 'Dupont'))],
    'a page with 200': ['provider_answer_unreadable', at(answers(200, '<p>Dupont</p>'))],
    null: ['provider_answer_unreadable', at(answers(200, 'null', json))],
    'two sets': ['provider_answer_ambiguous', at(answers(200, '{"keys":[],"keys":[]}', json))],
    'a reset': ['provider_unavailable', at(request => request.socket.destroy())],
    'more than any answer has': ['provider_answer_too_large', at(huge)],
    'a redirect': ['provider_redirected', at(answers(302, '', { location: `${forger.issuer}/userinfo` }))]
  })
  await accepts(t, 'one key among strange ones', { jwks: keys => ({ keys: [{ kty: 'new', kid: 'x' }, 'Dupont', null, ...keys, { ...keys[0], kid: 'y', use: 'enc' }] }) })
  await accepts(t, 'no kid where there is one key', { header: ({ alg }) => ({ alg }) })
})

t.test('a published key that is broken, or too weak, is the provider\'s fault, not the token\'s', async t => {
  const weak = 'sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDprecbAYxknTcQkhslANGRUZmdTOQ5qTRsLAt6BTYuyvVRdhS8exSZEy_c4'
  await refuses(t, 'a point that is on no curve', 'provider_keys_unavailable', { jwks: keys => ({ keys: keys.map(key => ({ ...key, x: 'AAAA' })) }), alg: 'ES256' }, { options: { id_token_signed_response_alg: 'ES256' } })
  await refuses(t, 'an RSA key of 1,024 bits', 'provider_keys_unavailable', { jwks: keys => ({ keys: keys.map(key => key.kty === 'RSA' ? { ...key, n: weak } : key) }) })
})

t.test('what openid-client finds wrong is told by its code, and in no words of the provider', async t => {
  const messageOf = async (forgery: Forgery, way?: Way) => (await logIn(forgery, way)).error!.message
  t.equal(await messageOf({ tokens: answer => ({ ...answer, token_type: 'Dupont' }) }), 'the identity provider\'s answer failed a check: OAUTH_UNSUPPORTED_OPERATION')
  t.equal(await messageOf({}, { callback: parameters => parameters.set('state', 'Dupont') }), 'what the browser brought from the identity provider failed a check: OAUTH_INVALID_RESPONSE')
})

t.test('metadata that is another\'s, or none, leads nowhere', async t => {
  const at = (discovery: (request: IncomingMessage, response: ServerResponse) => unknown): Forgery => ({ answer: { discovery } })
  const forged: Forged = {
    'another issuer': ['provider_metadata_issuer_wrong', { metadata: metadata => ({ ...metadata, issuer: 'https://another.example' }) }],
    'an issuer with a path more': ['provider_metadata_issuer_wrong', { metadata: metadata => ({ ...metadata, issuer: `${forger.issuer}/x` }) }],
    'an issuer with a slash more': ['provider_metadata_issuer_wrong', { metadata: metadata => ({ ...metadata, issuer: `${forger.issuer}/` }) }],
    'no issuer': ['provider_metadata_issuer_wrong', { metadata: ({ issuer: _, ...rest }) => rest }],
    'a list of issuers': ['provider_metadata_issuer_wrong', { metadata: metadata => ({ ...metadata, issuer: [forger.issuer] }) }],
    'two issuers': ['provider_answer_ambiguous', at(answers(200, twice(forger.metadata(), { issuer: forger.issuer }), json))],
    'no token endpoint': ['provider_metadata_invalid', { metadata: ({ token_endpoint: _, ...rest }) => rest }],
    'no keys': ['provider_metadata_invalid', { metadata: ({ jwks_uri: _, ...rest }) => rest }],
    'no authorization endpoint': ['provider_metadata_invalid', { metadata: ({ authorization_endpoint: _, ...rest }) => rest }],
    'an endpoint that is a script': ['provider_metadata_invalid', { metadata: metadata => ({ ...metadata, authorization_endpoint: 'javascript:alert(1)' }) }],
    'an endpoint that is a file': ['provider_metadata_invalid', { metadata: metadata => ({ ...metadata, jwks_uri: 'file:///etc/passwd' }) }],
    'an endpoint that is no address': ['provider_metadata_invalid', { metadata: metadata => ({ ...metadata, userinfo_endpoint: '/userinfo' }) }],
    'an endpoint that is null': ['provider_metadata_invalid', { metadata: metadata => ({ ...metadata, userinfo_endpoint: null }) }],
    404: ['provider_metadata_invalid', at(answers(404, 'Dupont'))],
    'a redirect': ['provider_redirected', at(answers(302, '', { location: `${forger.issuer}/jwks` }))],
    500: ['provider_server_error', at(answers(500, 'Dupont'))],
    429: ['provider_busy', at(answers(429, 'Dupont'))],
    'a page with 200': ['provider_answer_unreadable', at(answers(200, '<p>Dupont</p>'))],
    garbage: ['provider_answer_unreadable', at(answers(200, '{Dupont', json))],
    'a reset': ['provider_unavailable', at(request => request.socket.destroy())],
    'more than any answer has': ['provider_answer_too_large', at(huge)]
  }
  for (const [what, [failure, forgery]] of Object.entries(forged)) {
    await refuses(t, what, failure, forgery)
    t.same(forger.state.seen.map(({ endpoint }) => endpoint), ['discovery'], `${what}: asked once, and nothing else is`)
  }
  t.equal((await logIn({ metadata: ({ userinfo_endpoint: _, ...rest }) => rest })).answer?.sub, sub, 'no userinfo endpoint: the ID Token says it all')
  t.equal(forger.count('userinfo'), 0)
})

t.test('a provider that was down is asked again, once at a time, and then it works', async t => {
  const of = await startForgingProvider(t, { sub, person })
  await of.stop()
  const provider = startProvider(t, optionsOf({}, of))
  const question = questionOf()
  const asks = [
    (): Promise<unknown> => provider.authorizationUrl(question),
    () => provider.identify(new URL(question.redirect_uri), question),
    () => provider.endSessionUrl({ post_logout_redirect_uri: 'https://passerelle.example/', state: 's' }),
    () => provider.probe()
  ]
  for (const ask of asks) await t.rejects(ask(), { name: 'OAuthError', failure: 'provider_unavailable' })
  await of.resume()
  await pause(1000)                                                      // while it fails it is asked once a second
  of.state.forgery = { answer: { discovery: () => pause(100) } }
  const urls = await Promise.all(Array.from({ length: 20 }, () => provider.authorizationUrl(question)))
  t.equal(of.count('discovery'), 1, 'twenty citizens, one question')
  t.equal(new Set(urls.map(String)).size, 1)
  t.match(await provider.identify(of.comeBack(urls[0]!), question), { sub })
  t.equal(of.count('discovery'), 1, 'what is known is not asked again')

  of.state.forgery = { answer: { discovery: answers(500, 'x') } }
  t.ok(await provider.authorizationUrl(question), 'and serves on while the provider does not answer')
})

t.test('the citizen leaves with everything that the way back is checked by', async t => {
  const provider = startProvider(t)
  const question = questionOf()
  const url = await provider.authorizationUrl(question)
  t.equal(url.origin + url.pathname, `${forger.issuer}/authorize`)
  t.strictSame(Object.fromEntries(url.searchParams), {
    client_id: 'passerelle',
    response_type: 'code',
    redirect_uri: question.redirect_uri,
    scope: 'openid profile',
    state: question.state,
    nonce: question.nonce,
    code_challenge: await challengeOf(question.code_verifier),
    code_challenge_method: 'S256',
    acr_values: 'eidas1',
    ui_locales: 'fr'
  })
  t.notOk(url.href.includes(question.code_verifier), 'the verifier stays')
  const more = await provider.authorizationUrl({ ...question, prompt: 'login', max_age: 0 })
  t.match(Object.fromEntries(more.searchParams), { prompt: 'login', max_age: '0' })
  t.match(Object.fromEntries((await provider.authorizationUrl({ ...question, max_age: 3600 })).searchParams), { max_age: '3600' })
})
const challengeOf = async (verifier: string) => Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(verifier))).toString('base64url')

t.test('a provider without discovery is spoken to at its registered endpoints, and checked no less', async t => {
  const { authorization_endpoint, token_endpoint, jwks_uri, userinfo_endpoint, end_session_endpoint } = forger.metadata()
  const endpoints = { authorization_endpoint, token_endpoint, jwks_uri, userinfo_endpoint, end_session_endpoint, authorization_response_iss_parameter_supported: true }
  const way = { options: { endpoints } }
  await accepts(t, 'unforged', {}, way)
  t.equal(forger.count('discovery'), 0)
  await refusesAll(t, {
    'another key': ['provider_signature_wrong', { sign: (said, header) => forger.sign(said, header, stranger.privateKey) }],
    'another algorithm': ['provider_algorithm_wrong', { alg: 'ES256' }],
    'another iss': ['provider_issuer_wrong', claims({ iss: 'https://another.example' })],
    'another sub at userinfo': ['provider_subject_differs', { userinfo: said => ({ ...said, sub: 'Dupont' }) }]
  }, way)
  await refuses(t, 'no iss in the callback where it is promised', 'callback_issuer_wrong', {}, { ...way, callback: parameters => parameters.delete('iss') })
  const { userinfo_endpoint: _, end_session_endpoint: __, ...few } = endpoints
  const { answer } = await logIn({}, { options: { endpoints: few } })
  t.match(answer, { sub, claims: person })
  t.notOk('id_token' in answer!, 'what upstream logout would need is kept only where there is one')
})

t.test('we say who we are by the registered method', async t => {
  const token = () => seen('token')
  const odd = { client_id: 'passerelle:prod é', clientSecret: 's+cret/with:colon &é' }
  forger.state.client_id = odd.client_id
  await accepts(t, 'basic', {}, { options: odd })
  const basic = Buffer.from(token().headers.authorization!.replace(/^Basic /, ''), 'base64').toString()
  t.match(basic, /^[A-Za-z0-9%+.*_-]+:[A-Za-z0-9%+.*_-]+$/, 'percent-encoded, so that a colon cannot be mistaken (RFC 6749 §2.3.1)')
  t.same(basic.split(':').map(text => decodeURIComponent(text.replaceAll('+', '%20'))), [odd.client_id, odd.clientSecret])
  t.equal(token().body.get('client_secret'), null)
  t.equal(token().method, 'POST')
  t.match(token().headers['content-type'], /^application\/x-www-form-urlencoded/)
  t.ok(token().body.get('code_verifier'))
  t.equal(token().body.get('grant_type'), 'authorization_code')

  await accepts(t, 'post', {}, { options: { ...odd, token_endpoint_auth_method: 'client_secret_post' } })
  t.equal(token().headers.authorization, undefined)
  t.equal(token().body.get('client_id'), odd.client_id)
  t.equal(token().body.get('client_secret'), odd.clientSecret)
  forger.state.client_id = 'passerelle'

  const assertions = new Set<unknown>()
  for (const alg of algorithms) {
    const key = createForgedKey(alg, `gateway-${alg}`)
    const clientKey = { ...key.privateKey.export({ format: 'jwk' }), kid: key.kid, alg } as JWK
    await accepts(t, `private_key_jwt, ${alg}`, {}, { options: { token_endpoint_auth_method: 'private_key_jwt', clientSecret: undefined, clientKey } })
    const { body, headers } = token()
    t.equal(headers.authorization, undefined)
    t.equal(body.get('client_secret'), null)
    t.equal(body.get('client_assertion_type'), 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
    const assertion = body.get('client_assertion')!
    t.match(decodeProtectedHeader(assertion), { kid: key.kid, alg: alg === 'EdDSA' ? /^(EdDSA|Ed25519)$/ : alg })
    const { payload } = await jwtVerify(assertion, key.publicKey, { issuer: 'passerelle', subject: 'passerelle', requiredClaims: ['aud', 'exp', 'jti', 'iat'] })
    t.same([payload.aud].flat(), [forger.issuer], 'for this provider alone')
    t.ok(payload.exp! - now() <= 600 && payload.exp! > now(), 'for a short time')
    t.match(payload.jti, /.{16,}/)
    assertions.add(payload.jti)
    t.notOk(assertion.includes(String(clientKey.d)))
  }
  t.equal(assertions.size, 4, 'each once')
})

t.test('where we show a certificate, the endpoints for that are asked, where there are any, however we say who we are (RFC 8705 §5)', async t => {
  const addresses = () => Object.fromEntries(['token', 'userinfo', 'jwks'].map(name => [name, seen(name).url]))
  const aliased: Forgery = { metadata: metadata => ({ ...metadata, mtls_endpoint_aliases: { token_endpoint: `${forger.issuer}/token?by=certificate`, userinfo_endpoint: `${forger.issuer}/userinfo?by=certificate` } }) }
  const usual = { token: '/token', userinfo: '/userinfo', jwks: '/jwks' }
  for (const token_endpoint_auth_method of ['tls_client_auth', 'self_signed_tls_client_auth', 'client_secret_basic'] as const) {
    const way: Way = { options: { token_endpoint_auth_method, certificate: {} } }
    await accepts(t, token_endpoint_auth_method, aliased, way)
    t.same(addresses(), { token: '/token?by=certificate', userinfo: '/userinfo?by=certificate', jwks: '/jwks' })
    const { headers, body } = seen('token')
    if (token_endpoint_auth_method === 'client_secret_basic') t.match(headers.authorization, /^Basic /)
    else {
      t.equal(body.get('client_id'), 'passerelle', 'which of its clients we are')
      t.notOk(headers.authorization ?? body.get('client_secret'))
    }
    await accepts(t, `${token_endpoint_auth_method}, no aliases`, {}, way)
    t.same(addresses(), usual)
    await accepts(t, `${token_endpoint_auth_method}, an alias of the token endpoint only`, { metadata: metadata => ({ ...metadata, mtls_endpoint_aliases: { token_endpoint: `${forger.issuer}/token?by=certificate` } }) }, way)
    t.same(addresses(), { ...usual, token: '/token?by=certificate' })
  }
  await accepts(t, 'no certificate', aliased)
  t.same(addresses(), usual)
  await refuses(t, 'an alias that is no address', 'provider_metadata_invalid', { metadata: metadata => ({ ...metadata, mtls_endpoint_aliases: { token_endpoint: 'Dupont' } }) })
})

t.test('an ID Token that is too long for an address is not kept for its logout', async t => {
  for (const [characters, isKept] of [[5000, true], [9000, false]] as const) {
    const { answer } = await logIn(claims({ padding: 'x'.repeat(characters) }))
    t.equal('id_token' in answer!, isKept)
  }
  const longest = 8192
  for (const size of [longest, longest + 1]) {
    let made = 0
    const { answer } = await logIn({
      sign (said, header) {
        // base64url has no text of every length, so that both parts are tried
        for (let i = 0; i < 9000; i++) {
          const texts = [JSON.stringify({ ...header, p: 'x'.repeat(i % 3) }), JSON.stringify({ ...said, padding: 'x'.repeat(4000 + Math.floor(i / 3)) })] as const
          if (texts.map(part).join('.').length + '.'.length + 342 !== size) continue   // 342 characters of signature
          const token = signText(...texts)
          made = token.length
          return token
        }
        return ''
      }
    })
    t.equal(made, size)
    t.equal(answer!.id_token?.length, size === longest ? longest : undefined)
  }
})

t.test('a logout goes where the provider says, and nowhere where it says nothing', async t => {
  const provider = startProvider(t)
  forger.state.forgery = {}
  const url = await provider.endSessionUrl({ id_token_hint: 'the.id.token', post_logout_redirect_uri: 'https://passerelle.example/session/ended', state: 's' })
  t.equal(url!.origin + url!.pathname, `${forger.issuer}/logout`)
  t.strictSame(Object.fromEntries(url!.searchParams), { id_token_hint: 'the.id.token', post_logout_redirect_uri: 'https://passerelle.example/session/ended', state: 's', client_id: 'passerelle' })
  t.equal((await provider.endSessionUrl({ post_logout_redirect_uri: 'https://passerelle.example/', state: 's' }))!.searchParams.has('id_token_hint'), false)

  const modest = startProvider(t)
  forger.state.forgery = { metadata: ({ end_session_endpoint: _, ...rest }) => rest }
  t.equal(await modest.endSessionUrl({ post_logout_redirect_uri: 'https://passerelle.example/', state: 's' }), undefined)
  const question = questionOf()
  t.notOk('id_token' in await modest.identify(forger.comeBack(await modest.authorizationUrl(question)), question), 'and no ID Token is kept for it')
  forger.state.forgery = {}
})

t.test('a probe asks for the metadata, or for the keys where the endpoints are static: what does not answer is down, and so is what nothing is known of', async t => {
  const { authorization_endpoint, token_endpoint, jwks_uri } = forger.metadata()
  const real = performance.now.bind(performance)
  let ahead = 0
  performance.now = () => real() + ahead
  t.teardown(() => { performance.now = real })
  const bad: Record<string, [handler: (request: IncomingMessage, response: ServerResponse) => unknown, failure: Failure, keysFailure?: Failure]> = {
    500: [answers(500, ''), 'provider_server_error'],
    404: [answers(404, ''), 'provider_metadata_invalid', 'provider_keys_unavailable'],
    429: [answers(429, ''), 'provider_busy'],
    'a page': [answers(200, '<p>'), 'provider_answer_unreadable'],
    'a redirect': [answers(302, '', { location: '/' }), 'provider_redirected'],
    'too much': [huge, 'provider_answer_too_large'],
    'an empty object': [answers(200, {}), 'provider_metadata_issuer_wrong', 'provider_keys_unavailable']
  }
  for (const [endpoint, options] of [['discovery', {}], ['jwks', { endpoints: { authorization_endpoint, token_endpoint, jwks_uri } }]] as const) {
    const asking = async (provider: ReturnType<typeof startProvider>, handler?: (request: IncomingMessage, response: ServerResponse) => unknown) => {
      ahead += 1000                                                      // while it fails it is asked once a second
      forger.state.forgery = handler === undefined ? {} : { answer: { [endpoint]: handler } }
      try { return await provider.probe() } catch (error) { return (error as OAuthError).failure } finally { forger.state.forgery = {} }
    }
    const provider = startProvider(t, optionsOf(options))
    forger.state.seen.length = 0
    t.equal(await asking(provider), 'well')
    t.equal(await asking(provider), 'well')
    t.same(forger.state.seen.map(seen => seen.endpoint), [endpoint, endpoint], 'each time anew, and nothing else')
    for (const [what, [handler, failure, keysFailure = failure]] of Object.entries(bad)) {
      t.equal(await asking(provider, handler), 'somehow', `${endpoint}: ${what} says that somebody is there`)
      // metadata that is registered is always known
      if (endpoint === 'discovery') t.equal(await asking(startProvider(t, optionsOf(options)), handler), failure, `${endpoint}: ${what}, and nothing is known of it`)
      else t.equal(await asking(startProvider(t, optionsOf(options)), handler), 'somehow', `${what}: ${keysFailure}`)
    }
    t.equal(await asking(provider, request => request.socket.destroy()), 'provider_unavailable')
    t.match(await provider.authorizationUrl(questionOf()), { pathname: '/authorize' }, 'a probe that fails takes nothing away')
  }
})

t.test('a probe asks at the status address where there is one, whose word counts where it says that it is not well', async t => {
  let status = 200
  let asked = 0
  const server = await startForgingProvider(t)
  server.state.forgery = { answer: { userinfo: (_request, response) => { asked++; response.writeHead(status).end() } } }
  const provider = startProvider(t, optionsOf({ status_url: `${server.issuer}/userinfo` }))
  forger.state.seen.length = 0
  t.equal(await provider.probe(), 'well')
  for (status of [204, 401, 404, 302, 429]) t.equal(await provider.probe(), 'somehow', `${status} is no word on its logins`)
  for (status of [500, 503]) await t.rejects(provider.probe(), { name: 'OAuthError', failure: 'provider_server_error' })
  t.equal(asked, 8, 'asked once each time')
  await server.stop()
  await t.rejects(provider.probe(), { name: 'OAuthError', failure: 'provider_unavailable' })
  t.same(forger.state.seen, [], 'and nowhere else')
})

t.test('how far a provider\'s clock is from ours is told by what it signed, believed or not', async t => {
  const skewOf = async (forgery: Forgery) => (await logIn(forgery, { surroundings: { now: () => 1_000_000_000 } })).watched.skewed
  t.same(await skewOf(claims({ iat: 1_000_000_030 })), [30])
  t.same(await skewOf(claims({ iat: 999_996_400 })), [-3600])
  t.same(await skewOf({ ...claims({ iat: 1_000_003_600 }), header: header => ({ ...header, kid: 'unknown' }) }), [3600], 'what is refused for another reason tells it as well')
  for (const forgery of [without('iat'), claims({ iat: '1000000000' }), claims({ iat: null }), { idToken: () => 'Dupont' }, { idToken: () => undefined }, { idToken: () => `a.${part('null')}.c` }, { idToken: () => `a.${part('{')}.c` }, { idToken: () => `a.${part('{"iat":1e999}')}.c` }] satisfies Forgery[]) {
    t.same(await skewOf(forgery), [], 'no time, no word')
  }
})

t.test('over TLS nothing of a provider is taken from where anybody on the way could have put it', async t => {
  const own = await makeCertificate(['127.0.0.1.example', 'light.example'])
  const of = await startForgingProvider(t, { sub, person, tls: own })
  const { port } = new URL(of.issuer)
  const issuer = `https://light.example:${port}`
  const named = (said: Record<string, unknown>) => Object.fromEntries(Object.entries(said).map(([name, value]) => [name, typeof value === 'string' ? value.replace(of.issuer, issuer) : value]))
  const wellNamed: Forgery = { metadata: named, claims: said => ({ ...said, iss: issuer }) }
  const way: Way = {
    of,
    options: { issuer },
    callback: parameters => parameters.set('iss', issuer),
    surroundings: { tls: { ca: own.cert }, lookup: (_hostname, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }]) }
  }
  await accepts(t, 'an issuer over TLS', wellNamed, way)
  forger.state.seen.length = 0
  for (const name of ['authorization_endpoint', 'token_endpoint', 'jwks_uri', 'userinfo_endpoint', 'end_session_endpoint']) {
    await refuses(t, `${name} without TLS`, 'provider_metadata_invalid', { ...wellNamed, metadata: said => ({ ...named(said), [name]: `${forger.issuer}/token` }) }, way)
  }
  await refuses(t, 'an alias without TLS', 'provider_metadata_invalid', { ...wellNamed, metadata: said => ({ ...named(said), mtls_endpoint_aliases: { userinfo_endpoint: `${forger.issuer}/userinfo` } }) }, way)
  t.same(forger.state.seen, [], 'nobody went there')

  // a registration that the configuration would have refused
  const { authorization_endpoint, token_endpoint, jwks_uri } = forger.metadata()
  const careless = startProvider(t, optionsOf({ issuer, endpoints: { authorization_endpoint, token_endpoint, jwks_uri } }))
  const question = questionOf()
  await t.rejects(careless.identify(new URL(`${question.redirect_uri}?code=the-code&state=${question.state}`), question), { name: 'OAuthError' })
  t.same(forger.state.seen, [], 'nor did a code, whatever was registered')
})

t.test('what is closed asks nobody any more', async t => {
  const provider = startProvider(t)
  const question = questionOf()
  const callback = forger.comeBack(await provider.authorizationUrl(question))
  forger.state.seen.length = 0
  await provider.close()
  await t.rejects(provider.identify(callback, question), { name: 'OAuthError', failure: 'provider_unavailable' })
  t.same(forger.state.seen, [])
})

t.test('the forger\'s own tokens are good: what is refused above is refused for what was forged', async t => {
  for (const alg of algorithms) {
    const token = await forger.sign({ a: 1 }, { alg: alg as ForgedAlgorithm, kid: forger.keys.get(alg)!.kid })
    t.ok(await compactVerify(token, forger.keys.get(alg)!.publicKey))
  }
})
