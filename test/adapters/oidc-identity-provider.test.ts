import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { compactVerify, decodeProtectedHeader, jwtVerify, UnsecuredJWT, type JWK, type JWTPayload } from 'jose'
import { generate } from 'selfsigned'
import t, { type Test } from 'tap'
import { oidcIdentityProvider, type OidcProviderOptions } from '../../src/adapters/oidc-identity-provider.ts'
import { loggable } from '../../src/log.ts'
import type { Answer, Question } from '../../src/ports.ts'
import { OAuthError, type Failure } from '../../src/protocol/errors.ts'
import { algorithms, createForgedKey, startForgingProvider, type ForgedAlgorithm, type Forgery, type ForgingProvider } from '../support/forging-provider.ts'
import { findWords } from '../support/personal-data.ts'

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
  timeout_ms: 3000,
  connections: 4,
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

interface Way { options?: Partial<OidcProviderOptions>, callback?: (parameters: URLSearchParams) => void, of?: ForgingProvider, question?: Partial<Question> }

/** One citizen's way there and back, as a gateway that has just started sees it. */
async function logIn (forgery: Forgery = {}, { options, callback, of = forger, question: asked }: Way = {}): Promise<Answer | OAuthError> {
  const provider = oidcIdentityProvider(optionsOf(options, of))
  of.state.forgery = forgery
  of.state.seen.length = 0
  const question = questionOf(asked)
  try {
    const url = await provider.authorizationUrl(question)
    return await provider.identify(of.comeBack(url, callback), question)
  } catch (error) {
    if (error instanceof OAuthError) return error
    throw error
  } finally {
    of.state.forgery = {}
    await provider.close()
  }
}

/** A forgery is refused by this name, and what is logged of it names nobody. */
async function refuses (t: Test, what: string, failure: Failure, forgery: Forgery, way: Way = {}) {
  const error = await logIn(forgery, way)
  if (!(error instanceof OAuthError)) {
    t.fail(`${what}: accepted`)
    return
  }
  t.equal(error.failure, failure, `${what}: ${error.message}`)
  t.same(findWords(inspect(loggable.serializers.err(error), { depth: 20 }), secrets), [], `${what}: names nobody`)
}
async function accepts (t: Test, what: string, forgery: Forgery = {}, way: Way = {}) {
  const answer = await logIn(forgery, way)
  t.match(answer, { sub, claims: person }, what)
}

const now = () => Math.floor(Date.now() / 1000)
const claims = (changes: JWTPayload | Record<string, unknown>): Forgery => ({ claims: said => ({ ...said, ...changes }) })
const without = (...names: string[]): Forgery => ({ claims: said => Object.fromEntries(Object.entries(said).filter(([name]) => !names.includes(name))) })
const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
const stranger = createForgedKey('RS256')
const dynamic = { connection: 'close', 'content-type': 'application/json' }
const answers = (status: number, body: string | object, headers: Record<string, string> = {}) => (_request: IncomingMessage, response: ServerResponse) => {
  response.writeHead(status, { 'content-type': typeof body === 'string' ? 'text/html' : 'application/json', ...headers }).end(typeof body === 'string' ? body : JSON.stringify(body))
}
/** More than any answer may have, in pieces, so long as anybody listens. */
const huge = async (_request: IncomingMessage, response: ServerResponse) => {
  response.writeHead(200, dynamic)
  const piece = Buffer.alloc(64 * 1024, ' ')
  for (let i = 0; i < 800 && !response.destroyed; i++) if (!response.write(piece)) await new Promise(resolve => response.once('drain', resolve).once('close', resolve))
  response.end('{}')
}

t.test('the answer that nobody forged is accepted', async t => {
  const answer = await logIn()
  t.match(answer, { sub, claims: person, acr: 'eidas1', amr: ['pwd'], auth_time: Number, id_token: /^[\w-]+\.[\w-]+\.[\w-]+$/ })
  t.same(Object.keys((answer as Answer).claims).sort(), Object.keys(person).sort(), 'no claim but those of an identity')
  t.same(forger.state.seen.map(({ endpoint }) => endpoint), ['discovery', 'token', 'jwks', 'userinfo'])
})

t.test('a signature that is not the provider\'s by the registered algorithm is refused', async t => {
  const rs = forger.keys.get('RS256')!
  const pem = rs.publicKey.export({ type: 'spki', format: 'pem' }) as string
  const forged: Record<string, Forgery> = {
    'another key under the published kid': { sign: (said, header) => forger.sign(said, header, stranger.privateKey) },
    'a key that is not published': { sign: (said, header) => forger.sign(said, { ...header, kid: stranger.kid }, stranger.privateKey) },
    'an unknown kid': { header: header => ({ ...header, kid: 'unknown' }) },
    'no kid where there are several keys': { header: ({ alg }) => ({ alg }), jwks: keys => ({ keys: [...keys, stranger.published] }) },
    'alg none': { sign: said => new UnsecuredJWT(said).encode() },
    'alg none and a signature': { idToken: token => `${part({ alg: 'none', kid: rs.kid })}.${token.split('.')[1]}.${token.split('.')[2]}` },
    'no signature': { idToken: token => token.replace(/[^.]*$/, '') },
    'a part missing': { idToken: token => token.replace(/\.[^.]*$/, '') },
    'a signature of zeros': { idToken: token => token.replace(/[^.]*$/, Buffer.alloc(256).toString('base64url')) },
    'a signature with one bit turned': { idToken: token => { const [head, body, sealed] = token.split('.'); const bytes = Buffer.from(sealed!, 'base64url'); bytes[9]! ^= 4; return `${head}.${body}.${bytes.toString('base64url')}` } },
    'other claims under a good signature': { idToken: token => { const [head, body, sealed] = token.split('.'); return `${head}.${part({ ...JSON.parse(Buffer.from(body!, 'base64url').toString()), sub: 'Dupont' })}.${sealed}` } },
    'HS256 with our own secret': { sign: (said, header) => forger.sign(said, { ...header, alg: 'HS256' }, Buffer.from(clientSecret) as never) },
    'HS256 with the public key as the secret': { sign: (said, header) => forger.sign(said, { ...header, alg: 'HS256' }, Buffer.from(pem) as never) },
    'ES256, whose key is published, where RS256 is registered': { alg: 'ES256' },
    'PS256, whose key is published, where RS256 is registered': { alg: 'PS256' },
    'EdDSA, whose key is published, where RS256 is registered': { alg: 'EdDSA' },
    'RS512 by the right key': { header: header => ({ ...header, alg: 'RS512' }), sign: (said, header) => forger.sign(said, header, rs.privateKey) },
    'crit that nobody understands': { header: header => ({ ...header, crit: ['x'], x: 1 }) },
    'a key of its own in the header': { sign: (said, header) => forger.sign(said, { ...header, kid: stranger.kid, jwk: stranger.published }, stranger.privateKey) },
    'no token': { idToken: () => undefined },
    'an empty token': { idToken: () => '' },
    'a token that is none': { idToken: () => 'Dupont' },
    'an encrypted token': { idToken: () => `${part({ alg: 'RSA-OAEP', enc: 'A256GCM' })}.a.b.c.d` }
  }
  for (const [what, forgery] of Object.entries(forged)) await refuses(t, what, 'provider_answer_invalid', forgery)
  // no JWT at all: garbage, as a page would be
  await refuses(t, 'a token of dots', 'provider_unavailable', { idToken: () => '..' })
  await refuses(t, 'a payload that is no JSON', 'provider_unavailable', { idToken: token => token.replace(/\.[^.]*\./, `.${Buffer.from('Dupont').toString('base64url')}.`) })
  for (const alg of algorithms) {
    const others = algorithms.filter(other => other !== alg)
    await accepts(t, `${alg} where it is registered`, { alg }, { options: { id_token_signed_response_alg: alg } })
    for (const other of others) await refuses(t, `${other} where ${alg} is registered`, 'provider_answer_invalid', { alg: other }, { options: { id_token_signed_response_alg: alg } })
  }
})

t.test('a claim of the ID Token that is missing, wrong or of another kind is refused (OpenID Connect Core §3.1.3.7)', async t => {
  const forged: Record<string, Forgery> = {
    'another iss': claims({ iss: 'https://impots.example' }),
    'an iss with a slash more': claims({ iss: `${forger.issuer}/` }),
    'a list of iss': claims({ iss: [forger.issuer] as never }),
    'no iss': without('iss'),
    'another aud': claims({ aud: 'another' }),
    'an aud that begins with us': claims({ aud: 'passerelle2' }),
    'a list of aud without us': claims({ aud: ['another', 'third'] }),
    'an empty list of aud': claims({ aud: [] }),
    'an aud that is an object': claims({ aud: { passerelle: true } as never }),
    'no aud': without('aud'),
    'a list of aud without azp': claims({ aud: ['passerelle', 'another'] }),
    'another azp': claims({ azp: 'another' }),
    'another azp in a list of aud': claims({ aud: ['passerelle', 'another'], azp: 'another' }),
    'an azp that is no text': claims({ azp: 1 }),
    'an empty azp': claims({ azp: '' }),
    'an azp that is null': claims({ azp: null }),
    'exp past': claims({ exp: now() - 70 }),
    'exp zero': claims({ exp: 0 }),
    'exp as a text': claims({ exp: String(now() + 300) as never }),
    'exp that is no number': claims({ exp: null as never }),
    'no exp': without('exp'),
    'no iat': without('iat'),
    'iat as a text': claims({ iat: String(now()) as never }),
    'nbf to come': claims({ nbf: now() + 3600 }),
    'nbf as a text': claims({ nbf: '0' as never }),
    'another nonce': claims({ nonce: 'another' }),
    'no nonce': without('nonce'),
    'an empty nonce': claims({ nonce: '' }),
    'a nonce that is no text': claims({ nonce: 1 }),
    'sub as a number': claims({ sub: 12345 as never }),
    'no sub': without('sub'),
    'an empty sub': claims({ sub: '' }),
    'sub as a list': claims({ sub: [sub] as never }),
    'sub that is null': claims({ sub: null as never }),
    'no claims but those of a citizen': { claims: () => ({ ...person }) }
  }
  for (const [what, forgery] of Object.entries(forged)) await refuses(t, what, 'provider_answer_invalid', forgery)
  await accepts(t, 'a list of aud with us as azp', claims({ aud: ['passerelle', 'another'], azp: 'passerelle' }))
  await accepts(t, 'a list of aud of us alone', claims({ aud: ['passerelle'] }))
  await accepts(t, 'azp that is us', claims({ azp: 'passerelle' }))
  await accepts(t, 'a clock that is 50 s behind ours', claims({ iat: now() - 350, exp: now() - 50 }))
  await accepts(t, 'a clock that is 50 s ahead of ours', claims({ iat: now() + 50, nbf: now() + 50, exp: now() + 350 }))
})

t.test('a userinfo answer that is of somebody else, or of nobody, is refused (OpenID Connect Core §5.3.4)', async t => {
  const forged: Record<string, Forgery> = {
    'another sub': { userinfo: said => ({ ...said, sub: 'Dupont' }) },
    'a sub that ours begins with': { userinfo: said => ({ ...said, sub: sub.slice(0, -1) }) },
    'no sub': { userinfo: ({ sub, ...rest }) => rest },
    'an empty sub': { userinfo: said => ({ ...said, sub: '' }) },
    'sub as a number': { userinfo: said => ({ ...said, sub: 1 as never }) },
    'sub as a list': { userinfo: said => ({ ...said, sub: [sub] as never }) },
    'sub that is null': { userinfo: said => ({ ...said, sub: null as never }) },
    'a list': { userinfo: said => [said] as never },
    'a text': { userinfo: () => 'Dupont' as never },
    'signed by a key that is not published, where JSON is registered': { userinfoAlg: 'RS256', userinfoJwt: (said, header) => forger.sign(said, header, stranger.privateKey) },
    'alg none, where JSON is registered': { userinfoAlg: 'RS256', userinfoJwt: said => new UnsecuredJWT(said).encode() },
    refused: { answer: { userinfo: answers(401, { error: 'invalid_token', error_description: 'Dupont' }, { 'www-authenticate': 'Bearer error="invalid_token", error_description="Dupont"' }) } },
    redirected: { answer: { userinfo: answers(302, '', { location: `${forger.issuer}/jwks` }) } },
    'not found': { answer: { userinfo: answers(404, 'Dupont') } }
  }
  for (const [what, forgery] of Object.entries(forged)) await refuses(t, what, 'provider_answer_invalid', forgery)
  for (const [what, forgery] of Object.entries<Forgery>({
    down: { answer: { userinfo: answers(500, 'Dupont') } },
    busy: { answer: { userinfo: answers(503, { error: 'Dupont' }) } },
    reset: { answer: { userinfo: request => request.socket.destroy() } },
    'a page with 200': { answer: { userinfo: answers(200, '<p>Dupont</p>') } },
    'no content type': { answer: { userinfo: (_request, response) => response.writeHead(200).end(JSON.stringify({ sub, ...person })) } },
    'JSON that breaks off': { answer: { userinfo: answers(200, '{"sub":"Dupont', { 'content-type': 'application/json' }) } },
    nothing: { answer: { userinfo: answers(200, '', { 'content-type': 'application/json' }) } },
    'more than any answer has': { answer: { userinfo: huge } }
  })) await refuses(t, what, 'provider_unavailable', forgery)
  const answer = await logIn({ userinfo: said => ({ ...said, given_name: 'Wilma', acr: 'eidas3', amr: ['x'], auth_time: 1, idp_id: 'another', role: 'admin' }), ...claims({ idp_id: 'another' }) }) as Answer
  t.match(answer, { acr: 'eidas1', amr: ['pwd'] }, 'how the citizen logged in, the ID Token alone says')
  t.strictSame(answer.claims, { ...person, given_name: 'Wilma' }, 'who she is, userinfo says; where she logged in, no provider does')
  t.equal(acceptedType(), 'application/json', 'JSON is asked for')
  await accepts(t, 'an iss and an aud of whatever kind: in JSON they mean nothing', { userinfo: said => ({ ...said, iss: 'https://another.example', aud: 'another' }) })
  await accepts(t, 'JSON in a character set', { answer: { userinfo: answers(200, { sub, ...person }, { 'content-type': 'application/json; charset=utf-8' }) } })
})
const acceptedType = () => forger.state.seen.find(({ endpoint }) => endpoint === 'userinfo')!.headers.accept

t.test('a signed userinfo answer is accepted by its registered algorithm only', async t => {
  const options = { userinfo_signed_response_alg: 'ES256' }
  const es = createForgedKey('ES256')
  const forged: Record<string, Forgery> = {
    JSON: {},
    'another algorithm whose key is published': { userinfoAlg: 'RS256' },
    EdDSA: { userinfoAlg: 'EdDSA' },
    'a key that is not published': { userinfoAlg: 'ES256', userinfoJwt: (said, header) => forger.sign(said, header, es.privateKey) },
    'alg none': { userinfoAlg: 'ES256', userinfoJwt: said => new UnsecuredJWT(said).encode() },
    'HS256 with our secret': { userinfoAlg: 'ES256', userinfoJwt: (said, header) => forger.sign(said, { ...header, alg: 'HS256' }, Buffer.from(clientSecret) as never) },
    'no signature': { userinfoAlg: 'ES256', userinfoJwt: async (said, header) => (await forger.sign(said, header)).replace(/[^.]*$/, '') },
    'other claims under a good signature': { userinfoAlg: 'ES256', userinfoJwt: async (said, header) => (await forger.sign(said, header)).replace(/\.[^.]*\./, `.${part({ ...said, family_name: 'Dupont' })}.`) },
    'another iss': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, iss: 'https://another.example' }) },
    'an iss with a slash more': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, iss: `${forger.issuer}/` }) },
    'iss that is null': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, iss: null as never }) },
    'another aud': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, aud: 'another' }) },
    'an aud that begins with us': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, aud: 'passerelle2' }) },
    'a list of aud without us': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, aud: ['another', 'third'] }) },
    'an empty list of aud': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, aud: [] }) },
    'aud that is null': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, aud: null as never }) },
    'another sub': { userinfoAlg: 'ES256', userinfo: said => ({ ...said, sub: 'Dupont' }) }
  }
  for (const [what, forgery] of Object.entries(forged)) await refuses(t, what, 'provider_answer_invalid', forgery, { options })
  for (const alg of algorithms) await accepts(t, alg, { userinfoAlg: alg }, { options: { userinfo_signed_response_alg: alg } })
  t.equal(acceptedType(), 'application/jwt', 'a JWT is asked for')
  await accepts(t, 'no iss', { userinfoAlg: 'ES256', userinfo: said => ({ ...said, iss: undefined }) as never }, { options })
  await accepts(t, 'no aud', { userinfoAlg: 'ES256', userinfo: said => ({ ...said, aud: undefined }) as never }, { options })
  await accepts(t, 'a list of aud with us', { userinfoAlg: 'ES256', userinfo: said => ({ ...said, aud: ['another', 'passerelle'] }) }, { options })
})

t.test('a redirection that did not come from this provider for this login is refused (RFC 9207, RFC 6749 §10.12)', async t => {
  const changed: Record<string, (parameters: URLSearchParams) => void> = {
    'another iss': parameters => parameters.set('iss', 'https://another.example'),
    'no iss where it is promised': parameters => parameters.delete('iss'),
    'an empty iss': parameters => parameters.set('iss', ''),
    'an iss with a slash more': parameters => parameters.set('iss', `${forger.issuer}/`),
    'another state': parameters => parameters.set('state', 'another'),
    'no state': parameters => parameters.delete('state'),
    'an empty state': parameters => parameters.set('state', ''),
    'two states': parameters => parameters.append('state', 'another'),
    'the state twice': parameters => parameters.append('state', parameters.get('state')!),
    'two codes': parameters => parameters.append('code', 'another'),
    'two iss': parameters => parameters.append('iss', forger.issuer),
    'no code': parameters => parameters.delete('code'),
    'nothing at all': parameters => { for (const name of [...parameters.keys()]) parameters.delete(name) },
    'a JWT (JARM) that nobody asked for': parameters => parameters.set('response', 'Dupont'),
    'an ID Token that nobody asked for': parameters => parameters.set('id_token', 'Dupont'),
    'an error of another login': parameters => { parameters.delete('code'); parameters.set('error', 'access_denied'); parameters.set('state', 'another') },
    'an error of another provider': parameters => { parameters.delete('code'); parameters.set('error', 'access_denied'); parameters.set('iss', 'https://another.example') },
    'two errors': parameters => { parameters.delete('code'); parameters.append('error', 'access_denied'); parameters.append('error', 'server_error') }
  }
  for (const [what, callback] of Object.entries(changed)) {
    await refuses(t, what, 'provider_answer_invalid', {}, { callback })
    t.equal(forger.count('token'), 0, `${what}: no code was spent`)
  }
  const modest: Forgery = { metadata: ({ authorization_response_iss_parameter_supported: _, ...rest }) => rest }
  await accepts(t, 'no iss where none is promised', modest, { callback: parameters => parameters.delete('iss') })
  await refuses(t, 'another iss where none is promised', 'provider_answer_invalid', modest, { callback: parameters => parameters.set('iss', 'https://another.example') })
  await accepts(t, 'a parameter that means nothing', {}, { callback: parameters => parameters.set('session_state', 'x') })
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
  const error = await logIn({}, { callback: says('access_denied', html) })
  t.notMatch((error as Error).message, /script|Dupont/)
  t.equal(forger.count('token'), 0)
})

t.test('a token endpoint that answers otherwise is told apart, never followed and never read beyond its limit', async t => {
  const at = (token: (request: IncomingMessage, response: ServerResponse) => unknown): Forgery => ({ answer: { token } })
  const elsewhere = await startForgingProvider(t, { sub, person })
  for (const status of [301, 302, 303, 307, 308]) {
    await refuses(t, `a redirect, ${status}`, 'provider_answer_invalid', at(answers(status, '', { location: `${elsewhere.issuer}/token` })))
  }
  t.same(elsewhere.state.seen, [], 'nobody went where a redirect led')

  await refuses(t, 'invalid_grant', 'provider_code_spent', at(answers(400, { error: 'invalid_grant', error_description: 'Dupont' })))
  const before = forger.count('token')
  t.equal(before, 1, 'a code is tried once')
  await refuses(t, 'invalid_client', 'provider_answer_invalid', at(answers(401, { error: 'invalid_client', error_description: 'Dupont' })))
  await refuses(t, 'invalid_client with a challenge', 'provider_answer_invalid', at(answers(401, { error: 'invalid_client' }, { 'www-authenticate': 'Basic realm="Dupont"' })))
  await refuses(t, 'another error', 'provider_answer_invalid', at(answers(400, { error: 'Dupont', error_description: 'Dupont' })))
  await refuses(t, '400 with a page', 'provider_unavailable', at(answers(400, '<p>Dupont</p>')))
  await refuses(t, '403', 'provider_answer_invalid', at(answers(403, { error: 'access_denied' })))
  for (const status of [500, 502, 503, 504]) {
    await refuses(t, `${status} with a page`, 'provider_unavailable', at(answers(status, '<p>Dupont</p>')))
    await refuses(t, `${status} with an error`, 'provider_unavailable', at(answers(status, { error: 'invalid_grant', error_description: 'Dupont' })))
  }
  await refuses(t, 'a page with 200', 'provider_unavailable', at(answers(200, '<p>Dupont</p>')))
  await refuses(t, 'nothing with 200', 'provider_unavailable', at(answers(200, '', dynamic)))
  await refuses(t, 'nothing with 204', 'provider_answer_invalid', at((_request, response) => response.writeHead(204).end()))
  await refuses(t, 'JSON that breaks off', 'provider_unavailable', at(answers(200, '{"access_token":"Dupont', dynamic)))
  await refuses(t, 'a list', 'provider_answer_invalid', at(answers(200, '["Dupont"]', dynamic)))
  await refuses(t, 'null', 'provider_answer_invalid', at(answers(200, 'null', dynamic)))
  await refuses(t, 'no access token', 'provider_answer_invalid', { tokens: ({ access_token: _, ...rest }) => rest })
  await refuses(t, 'an access token that is no text', 'provider_answer_invalid', { tokens: answer => ({ ...answer, access_token: 1 }) })
  await refuses(t, 'no token type', 'provider_answer_invalid', { tokens: ({ token_type: _, ...rest }) => rest })
  await refuses(t, 'a token type that we cannot use', 'provider_answer_invalid', { tokens: answer => ({ ...answer, token_type: 'mac' }) })
  await refuses(t, 'an ID Token that is no text', 'provider_answer_invalid', { tokens: answer => ({ ...answer, id_token: { a: 1 } }) })
  await refuses(t, 'a reset', 'provider_unavailable', at(request => request.socket.destroy()))
  await refuses(t, 'an answer that breaks off', 'provider_unavailable', at((request, response) => { response.writeHead(200, { ...dynamic, 'content-length': '1000' }).write('{"a'); setTimeout(() => request.socket.destroy(), 20) }))
  await refuses(t, 'no HTTP at all', 'provider_unavailable', at(request => { request.socket.end('Dupont\r\n\r\n') }))
  await refuses(t, 'a status that HTTP does not have', 'provider_unavailable', at((_request, response) => { response.writeHead(999).end('Dupont') }))
  t.equal(forger.count('token'), 1, 'a code is never sent twice')

  const begin = performance.now()
  await refuses(t, 'fifty megabytes', 'provider_unavailable', at(huge))
  t.ok(performance.now() - begin < 3000, 'given up at its limit, not at the end of our patience')
})

t.test('a provider that is slow is given up in time, wherever it is slow', async t => {
  const options = { timeout_ms: 200 }
  for (const endpoint of ['discovery', 'token', 'jwks', 'userinfo'] as const) {
    const waits: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
      'does not answer': () => pause(1500, undefined, { ref: false }),
      'begins and does not end': (_request, response) => { response.writeHead(200, dynamic).write('{') },
      drips: (_request, response) => {
        response.writeHead(200, dynamic)
        const drip = setInterval(() => response.write(' '), 50)
        response.once('close', () => clearInterval(drip))
      }
    }
    for (const [what, wait] of Object.entries(waits)) {
      const begin = performance.now()
      await refuses(t, `${endpoint} ${what}`, 'provider_unavailable', { answer: { [endpoint]: wait } }, { options })
      t.ok(performance.now() - begin < 1200, `${endpoint} ${what}: in time`)
    }
  }
  await accepts(t, 'a provider in time', {}, { options: { timeout_ms: 2000 } })
})

t.test('keys that cannot be had, or that are none, verify nothing', async t => {
  await refuses(t, 'an empty set', 'provider_answer_invalid', { jwks: () => ({ keys: [] }) })
  await refuses(t, 'no set', 'provider_answer_invalid', { jwks: () => ({}) })
  await refuses(t, 'a list of texts', 'provider_answer_invalid', { jwks: () => ({ keys: ['Dupont'] }) })
  await refuses(t, 'a symmetric key', 'provider_answer_invalid', { jwks: () => ({ keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: forger.keys.get('RS256')!.kid, alg: 'RS256' }] }) })
  await refuses(t, 'a key for encryption', 'provider_answer_invalid', { jwks: keys => ({ keys: keys.map(key => ({ ...key, use: 'enc' })) }) })
  await refuses(t, 'a private key', 'provider_answer_invalid', { jwks: () => ({ keys: [{ ...forger.keys.get('RS256')!.privateKey.export({ format: 'jwk' }), kid: forger.keys.get('RS256')!.kid, alg: 'RS256' }] }) })
  await refuses(t, '404', 'provider_answer_invalid', { answer: { jwks: answers(404, 'Dupont') } })
  await refuses(t, '500', 'provider_unavailable', { answer: { jwks: answers(500, 'Dupont') } })
  await refuses(t, '503 with JSON', 'provider_unavailable', { answer: { jwks: answers(503, { error: 'Dupont' }) } })
  await refuses(t, 'a page with 200', 'provider_unavailable', { answer: { jwks: answers(200, '<p>Dupont</p>') } })
  await refuses(t, 'more than any answer has', 'provider_unavailable', { answer: { jwks: huge } })
  await refuses(t, 'a redirect', 'provider_answer_invalid', { answer: { jwks: answers(302, '', { location: `${forger.issuer}/userinfo` }) } })
  await accepts(t, 'one key among strange ones', { jwks: keys => ({ keys: [{ kty: 'new', kid: 'x' }, ...keys, { ...keys[0], kid: 'y', use: 'enc' }] }) })
  await accepts(t, 'no kid where there is one key', { header: ({ alg }) => ({ alg }) })
})

t.test('what failed is told by its code, where there is one, and in no words of the provider', async t => {
  const messageOf = async (forgery: Forgery, way?: Way) => (await logIn(forgery, way) as Error).message
  t.equal(await messageOf({ header: header => ({ ...header, kid: 'unknown' }) }), 'the identity provider\'s answer failed a check: ERR_JWKS_NO_MATCHING_KEY')
  t.equal(await messageOf({ jwks: keys => ({ keys: keys.map(key => ({ ...key, x: 'AAAA' })) }), alg: 'ES256' }, { options: { id_token_signed_response_alg: 'ES256' } }), 'the identity provider\'s answer failed a check')
  t.equal(await messageOf(claims({ azp: 'Dupont' })), 'azp: not our client_id')
  const ours = 'the identity provider refuses our credentials: client_id, client_secret or client_key'
  t.equal(await messageOf({ answer: { token: answers(400, { error: 'invalid_client' }) } }), ours)
  t.equal(await messageOf({ answer: { token: answers(401, { error: 'invalid_client' }, { 'www-authenticate': 'Basic realm="x"' }) } }), ours)

  const json = (body: string) => answers(200, body, dynamic)
  const signed = { options: { userinfo_signed_response_alg: 'ES256' } }
  t.equal(await messageOf({ metadata: ({ jwks_uri: _, ...rest }) => rest }), 'jwks_uri: the identity provider publishes none')
  for (const keys of [undefined, null, {}, 'Dupont', []]) t.equal(await messageOf({ jwks: () => ({ keys }) }), 'the identity provider\'s keys: none', JSON.stringify({ keys }))
  for (const endpoint of ['jwks', 'userinfo'] as const) {
    for (const body of ['null', '"Dupont"', '1', 'true']) t.equal(await messageOf({ answer: { [endpoint]: json(body) } }), 'the identity provider did not answer as an OpenID Provider does', `${endpoint}: ${body}`)
  }
  t.equal(await messageOf({ userinfoAlg: 'ES256' }), 'the identity provider\'s userinfo is not JSON')
  t.equal(await messageOf({}, signed), 'the identity provider\'s userinfo is not a JWT')
  t.equal(await messageOf(claims({ nonce: 'another' })), 'the identity provider\'s answer failed a check: OAUTH_JWT_CLAIM_COMPARISON_FAILED')
  t.equal(await messageOf({ answer: { token: answers(400, { error: 'invalid_request' }) } }), 'the identity provider refused our request with 400')
})

t.test('an outage is an outage, whatever it asks for', async t => {
  for (const endpoint of ['token', 'userinfo'] as const) {
    for (const status of [500, 503]) {
      await refuses(t, `${endpoint} answers ${status} with a challenge`, 'provider_unavailable', { answer: { [endpoint]: answers(status, {}, { 'www-authenticate': 'Basic realm="x"' }) } })
    }
  }
})

t.test('metadata that is another\'s, or none, leads nowhere', async t => {
  const leaves = async (t: Test, what: string, failure: Failure, forgery: Forgery) => {
    await refuses(t, what, failure, forgery)
    t.same(forger.state.seen.filter(({ endpoint }) => endpoint !== 'discovery'), [], `${what}: nothing else is asked`)
  }
  await leaves(t, 'another issuer', 'provider_answer_invalid', { metadata: metadata => ({ ...metadata, issuer: 'https://another.example' }) })
  await leaves(t, 'an issuer with a slash more, and a path', 'provider_answer_invalid', { metadata: metadata => ({ ...metadata, issuer: `${forger.issuer}/x` }) })
  await leaves(t, 'no issuer', 'provider_answer_invalid', { metadata: ({ issuer: _, ...rest }) => rest })
  await leaves(t, 'an issuer that is no URL', 'provider_answer_invalid', { metadata: metadata => ({ ...metadata, issuer: 'Dupont' }) })
  await leaves(t, '404', 'provider_answer_invalid', { answer: { discovery: answers(404, 'Dupont') } })
  await leaves(t, 'a redirect', 'provider_answer_invalid', { answer: { discovery: answers(302, '', { location: `${forger.issuer}/jwks` }) } })
  await leaves(t, '500', 'provider_unavailable', { answer: { discovery: answers(500, 'Dupont') } })
  await leaves(t, 'a page with 200', 'provider_unavailable', { answer: { discovery: answers(200, '<p>Dupont</p>') } })
  await leaves(t, 'garbage', 'provider_unavailable', { answer: { discovery: answers(200, '{Dupont', dynamic) } })
  await leaves(t, 'a reset', 'provider_unavailable', { answer: { discovery: request => request.socket.destroy() } })
  await leaves(t, 'more than any answer has', 'provider_unavailable', { answer: { discovery: huge } })
  t.equal(await logIn({ metadata: ({ userinfo_endpoint: _, ...rest }) => rest }).then(answer => (answer as Answer).sub), sub, 'no userinfo endpoint: the ID Token says it all')
  t.equal(forger.count('userinfo'), 0)
})

t.test('a provider that was down is asked again, once at a time, and then it works', async t => {
  const of = await startForgingProvider(t, { sub, person })
  await of.stop()
  const provider = oidcIdentityProvider(optionsOf({}, of))
  t.teardown(() => provider.close())
  t.equal(provider.available(), true)
  const question = questionOf()
  for (const ask of [(): Promise<unknown> => provider.authorizationUrl(question), () => provider.identify(new URL(question.redirect_uri), question), () => provider.endSessionUrl({ post_logout_redirect_uri: 'x', state: 's' })]) {
    await t.rejects(ask(), { name: 'OAuthError', failure: 'provider_unavailable' })
  }
  await of.resume()
  of.state.forgery = { answer: { discovery: () => pause(100) } }
  const urls = await Promise.all(Array.from({ length: 20 }, () => provider.authorizationUrl(question)))
  t.equal(of.count('discovery'), 1, 'twenty citizens, one question')
  t.equal(new Set(urls.map(String)).size, 1)
  t.match(await provider.identify(of.comeBack(urls[0]!), question), { sub })
  t.equal(of.count('discovery'), 1, 'what is known is not asked again')

  of.state.forgery = { answer: { discovery: answers(500, 'x') } }
  t.ok(await provider.authorizationUrl(question), 'and serves on while the provider does not answer')
})

t.test('a failure to learn of a provider is not remembered', async t => {
  const provider = oidcIdentityProvider(optionsOf())
  t.teardown(() => provider.close())
  forger.state.forgery = { answer: { discovery: answers(500, 'x') } }
  const failed = await Promise.allSettled([1, 2, 3].map(() => provider.authorizationUrl(questionOf())))
  t.ok(failed.every(({ status }) => status === 'rejected'))
  forger.state.forgery = {}
  t.ok(await provider.authorizationUrl(questionOf()))
})

t.test('metadata that is old is asked again behind the citizen\'s back, and the last known good serves on', async t => {
  const real = performance.now.bind(performance)
  const begin = Math.round(real())
  let ahead = 0
  performance.now = () => begin + ahead
  t.teardown(() => { performance.now = real })
  const provider = oidcIdentityProvider(optionsOf())
  t.teardown(() => provider.close())
  forger.state.seen.length = 0
  forger.state.forgery = {}
  const question = questionOf()
  await provider.authorizationUrl(question)
  ahead = 10 * 60_000 - 1
  await provider.authorizationUrl(question)
  t.equal(forger.count('discovery'), 1, 'younger than ten minutes is fresh')

  ahead = 10 * 60_000
  forger.state.forgery = { answer: { discovery: answers(500, 'x') } }
  t.equal((await provider.authorizationUrl(question)).pathname, '/authorize', 'old, it serves')
  await waitFor(() => forger.count('discovery') === 2)
  await pause(50)
  await Promise.all([1, 2, 3].map(() => provider.authorizationUrl(question)))
  t.equal(forger.count('discovery'), 2, 'a provider that is down is not asked at each login')

  ahead = 20 * 60_000
  forger.state.forgery = { metadata: metadata => ({ ...metadata, authorization_endpoint: `${forger.issuer}/new` }), answer: { discovery: () => pause(50) } }
  const together = await Promise.all([1, 2, 3].map(() => provider.authorizationUrl(question)))
  t.ok(together.every(({ pathname }) => pathname === '/authorize'), 'nobody waits for the new')
  await waitFor(async () => (await provider.authorizationUrl(question)).pathname === '/new')
  t.equal(forger.count('discovery'), 3, 'asked once for all')
  forger.state.forgery = {}
})
const waitFor = async (isTrue: () => boolean | Promise<boolean>) => { for (let i = 0; i < 100 && !await isTrue(); i++) await pause(20) }

t.test('the citizen leaves with everything that the way back is checked by', async t => {
  const provider = oidcIdentityProvider(optionsOf())
  t.teardown(() => provider.close())
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
  await refuses(t, 'another key', 'provider_answer_invalid', { sign: (said, header) => forger.sign(said, header, stranger.privateKey) }, way)
  await refuses(t, 'another algorithm', 'provider_answer_invalid', { alg: 'ES256' }, way)
  await refuses(t, 'another iss', 'provider_answer_invalid', claims({ iss: 'https://another.example' }), way)
  await refuses(t, 'another sub at userinfo', 'provider_answer_invalid', { userinfo: said => ({ ...said, sub: 'Dupont' }) }, way)
  await refuses(t, 'no iss in the callback where it is promised', 'provider_answer_invalid', {}, { ...way, callback: parameters => parameters.delete('iss') })
  const { userinfo_endpoint: _, end_session_endpoint: __, ...few } = endpoints
  const answer = await logIn({}, { options: { endpoints: few } }) as Answer
  t.match(answer, { sub, claims: person })
  t.notOk('id_token' in answer, 'what upstream logout would need is kept only where there is one')
})

t.test('a provider without discovery is known from its registration, and never again', async t => {
  const real = performance.now.bind(performance)
  let ahead = 0
  performance.now = () => real() + ahead
  t.teardown(() => { performance.now = real })
  const { authorization_endpoint, token_endpoint, jwks_uri } = forger.metadata()
  const provider = oidcIdentityProvider(optionsOf({ endpoints: { authorization_endpoint, token_endpoint, jwks_uri } }))
  t.teardown(() => provider.close())
  forger.state.seen.length = 0
  const question = questionOf()
  for (let i = 0; i < 4; i++) {
    t.match(await provider.identify(forger.comeBack(await provider.authorizationUrl(question)), question), { sub })
    ahead += 11 * 60_000
  }
  t.equal(forger.count('discovery'), 0)
})

t.test('we say who we are by the registered method', async t => {
  const token = () => forger.state.seen.find(({ endpoint }) => endpoint === 'token')!
  const odd = { client_id: 'passerelle:prod é', clientSecret: 's+cret/with:colon &é' }
  forger.state.client_id = odd.client_id
  await accepts(t, 'basic', {}, { options: odd })
  const basic = Buffer.from(token().headers.authorization!.replace(/^Basic /, ''), 'base64').toString()
  t.match(basic, /^[A-Za-z0-9%+.*_-]+:[A-Za-z0-9%+.*_-]+$/, 'percent-encoded, so that a colon cannot be mistaken (RFC 6749 §2.3.1)')
  t.same(basic.split(':').map(text => decodeURIComponent(text.replaceAll('+', '%20'))), [odd.client_id, odd.clientSecret])
  t.equal(token().body.get('client_secret'), null)
  t.equal(token().method, 'POST')
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

t.test('a logout goes where the provider says, and nowhere where it says nothing', async t => {
  const provider = oidcIdentityProvider(optionsOf())
  t.teardown(() => provider.close())
  forger.state.forgery = {}
  const url = await provider.endSessionUrl({ id_token_hint: 'the.id.token', post_logout_redirect_uri: 'https://passerelle.example/session/ended', state: 's' })
  t.equal(url!.origin + url!.pathname, `${forger.issuer}/logout`)
  t.strictSame(Object.fromEntries(url!.searchParams), { id_token_hint: 'the.id.token', post_logout_redirect_uri: 'https://passerelle.example/session/ended', state: 's', client_id: 'passerelle' })
  t.equal((await provider.endSessionUrl({ post_logout_redirect_uri: 'https://passerelle.example/', state: 's' }))!.searchParams.has('id_token_hint'), false)

  const modest = oidcIdentityProvider(optionsOf())
  t.teardown(() => modest.close())
  forger.state.forgery = { metadata: ({ end_session_endpoint: _, ...rest }) => rest }
  t.equal(await modest.endSessionUrl({ post_logout_redirect_uri: 'https://passerelle.example/', state: 's' }), undefined)
  const question = questionOf()
  t.notOk('id_token' in await modest.identify(forger.comeBack(await modest.authorizationUrl(question)), question), 'and no ID Token is kept for it')
  forger.state.forgery = {}
})

t.test('a certificate of an authority of the provider\'s own is trusted where it is registered, and only there', async t => {
  const certificateOf = async () => {
    const { private: key, cert } = await generate([{ name: 'commonName', value: '127.0.0.1' }], {
      keyType: 'ec',
      algorithm: 'sha256',
      notAfterDate: new Date(Date.now() + 86_400_000),
      extensions: [{ name: 'basicConstraints', cA: true }, { name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] }]
    })
    return { key, cert }
  }
  const [own, another] = await Promise.all([certificateOf(), certificateOf()])
  const of = await startForgingProvider(t, { sub, person, tls: own })
  t.match(of.issuer, /^https:/)
  await refuses(t, 'no authority registered', 'provider_unavailable', {}, { of })
  await refuses(t, 'another authority registered', 'provider_unavailable', {}, { of, options: { certificateAuthority: another.cert } })
  t.same(of.state.seen, [], 'nothing was asked')
  await accepts(t, 'its authority registered', {}, { of, options: { certificateAuthority: own.cert } })
  forger.state.seen.length = 0
  await refuses(t, 'an endpoint without TLS', 'provider_answer_invalid', { metadata: metadata => ({ ...metadata, token_endpoint: `${forger.issuer}/token` }) }, { of, options: { certificateAuthority: own.cert } })
  t.same(forger.state.seen, [], 'no code went there')
  await refuses(t, 'keys without TLS', 'provider_answer_invalid', { metadata: metadata => ({ ...metadata, jwks_uri: `${forger.issuer}/jwks` }) }, { of, options: { certificateAuthority: own.cert } })
  t.same(forger.state.seen, [], 'no key was taken from there')
})

t.test('a provider\'s name is looked up as we are told', async t => {
  const looked: string[] = []
  const { port } = new URL(forger.issuer)
  const issuer = `http://impots.localhost:${port}`
  const metadata = (said: Record<string, unknown>) => Object.fromEntries(Object.entries(said).map(([name, value]) => [name, typeof value === 'string' ? value.replace(forger.issuer, issuer) : value]))
  const named: Forgery = { metadata, claims: said => ({ ...said, iss: issuer }) }
  const way = { callback: (parameters: URLSearchParams) => parameters.set('iss', issuer) }
  await accepts(t, 'a name under localhost', named, { ...way, options: { issuer } })
  await accepts(t, 'a lookup of its own', named, { ...way, options: { issuer, lookup: (hostname, options, callback) => { looked.push(hostname); (callback as (error: null, found: unknown, family?: number) => void)(null, options.all ? [{ address: '127.0.0.1', family: 4 }] : '127.0.0.1', 4) } } })
  t.ok(looked.includes('impots.localhost'))
})

t.test('no more connections are open at once than registered, and none is left after close', async t => {
  const of = await startForgingProvider(t, { sub, person })
  const provider = oidcIdentityProvider(optionsOf({ connections: 2 }, of))
  let together = 0
  let most = 0
  of.state.forgery = { answer: { token: async () => { most = Math.max(most, ++together); await pause(30); together-- } } }
  const question = questionOf()
  const callback = of.comeBack(await provider.authorizationUrl(question))
  const outcomes = await Promise.all(Array.from({ length: 8 }, () => provider.identify(callback, question)))
  t.ok(outcomes.every(answer => answer.sub === sub))
  t.equal(most, 2)
  await provider.close()
  await t.rejects(provider.identify(callback, question), { name: 'OAuthError', failure: 'provider_unavailable' })
})

t.test('the forger\'s own tokens are good: what is refused above is refused for what was forged', async t => {
  for (const alg of algorithms) {
    const token = await forger.sign({ a: 1 }, { alg: alg as ForgedAlgorithm, kid: forger.keys.get(alg)!.kid })
    t.ok(await compactVerify(token, forger.keys.get(alg)!.publicKey))
  }
})
