import { setTimeout as pause } from 'node:timers/promises'
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { compactDecrypt, decodeProtectedHeader, exportJWK, generateKeyPair, type JWK } from 'jose'
import * as openid from 'openid-client'
import t, { type Test } from 'tap'
import { Agent, fetch } from 'undici'
import { startGateway } from '../support/gateway.ts'
import { startCluster } from '../support/redis.ts'
import { createLookup } from '../world/lookup.ts'
import { leftProvider, logIn, openBrowser, openParty, paragraph, registerParty, type Party } from './party.ts'

/** A private key that openid-client takes, and what the registration says of it. */
async function makeKey (alg: string, use: 'sig' | 'enc' = 'sig') {
  const { privateKey: key, publicKey } = await generateKeyPair(alg)
  const kid = randomUUID()
  return { key, kid, alg, jwk: { ...await exportJWK(publicKey), kid, alg, use } }
}

type Ask = (configuration: openid.Configuration, parameters: Record<string, string>, options: openid.DPoPOptions) => URL | Promise<URL>

/** One way of using the library against one kind of registration. */
interface Way {
  title: string
  /** over the registration of an ordinary client with a secret */
  registration?: Record<string, unknown>
  /** what the library is told of the registration */
  metadata?: Partial<openid.ClientMetadata>
  authentication?: (secret: string) => openid.ClientAuth
  execute?: Array<(configuration: openid.Configuration) => void>
  ask?: Ask
  /** parameters beside the usual ones */
  parameters?: Record<string, string>
  /** public keys at an address of its own, which is registered in their place */
  publishes?: JWK[]
  proves?: boolean
  /** the signed ID Token within an encrypted one */
  open?: (id_token: string) => Promise<string>
  /** what shows that this way was really gone */
  shows: (t: Test, went: Went) => void
}

/** What was seen of a login: the address that the citizen was sent to, the tokens, and what came from the gateway. */
interface Went { destination: URL, tokens: openid.TokenEndpointResponse & openid.TokenEndpointResponseHelpers, calls: Array<{ path: string, status: number, type: string }>, callback: string }

const plain: Ask = (configuration, parameters) => openid.buildAuthorizationUrl(configuration, parameters)
const pushed: Ask = (configuration, parameters, options) => openid.buildAuthorizationUrlWithPAR(configuration, parameters, options)
const algOf = (token: string | undefined) => decodeProtectedHeader(token!).alg
const typeOf = (calls: Went['calls'], asked: string) => calls.findLast(({ path }) => path === asked)?.type

const assertion = Object.fromEntries(await Promise.all(['RS256', 'PS256', 'ES256', 'EdDSA'].map(async alg => [alg, await makeKey(alg)] as const)))
const request = await makeKey('ES256')
const decryption = Object.fromEntries(await Promise.all(['RSA-OAEP-256', 'ECDH-ES'].map(async alg => [alg, await makeKey(alg, 'enc')] as const)))

const byKey = (alg: string) => ({ token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: alg, client_secrets: [], jwks: { keys: [assertion[alg]!.jwk] } })
const signed: Ask = (configuration, parameters) => openid.buildAuthorizationUrlWithJAR(configuration, parameters, { key: request.key, kid: request.kid })
const signedAndPushed: Ask = async (configuration, parameters, options) => pushed(configuration, Object.fromEntries((await signed(configuration, parameters, options)).searchParams), options)

const ways: Way[] = [
  ...['ES256', 'PS256', 'EdDSA'].map((alg): Way => ({
    title: `with an ID Token by ${alg}`,
    registration: { id_token_signed_response_alg: alg },
    metadata: { id_token_signed_response_alg: alg },
    shows: (t, { tokens }) => t.equal(algOf(tokens.id_token), alg)
  })),
  ...['RS256', 'PS256', 'ES256', 'EdDSA'].map((alg): Way => ({
    title: `with private_key_jwt by ${alg}`,
    registration: byKey(alg),
    authentication: () => openid.PrivateKeyJwt(assertion[alg]!),
    shows: (t, { calls }) => t.same(calls.filter(({ path }) => path === '/token').map(({ status }) => status), [200])
  })),
  {
    title: 'with private_key_jwt by a key that it publishes itself (jwks_uri)',
    registration: { ...byKey('ES256'), jwks: undefined },
    publishes: [assertion['ES256']!.jwk],
    authentication: () => openid.PrivateKeyJwt(assertion['ES256']!),
    shows: (t, { calls }) => t.same(calls.filter(({ path }) => path === '/token').map(({ status }) => status), [200])
  },
  {
    title: 'with a pushed request (RFC 9126)',
    registration: { require_pushed_authorization_requests: true },
    ask: pushed,
    shows: (t, { destination }) => t.same([...destination.searchParams.keys()].sort(), ['client_id', 'request_uri'])
  },
  {
    title: 'with a signed request object (RFC 9101)',
    registration: { require_signed_request_object: true, request_object_signing_alg: 'ES256', jwks: { keys: [request.jwk] } },
    ask: signed,
    shows: (t, { destination }) => t.same([...destination.searchParams.keys()].sort(), ['client_id', 'request'])
  },
  {
    title: 'with a signed request object that is pushed',
    registration: { require_signed_request_object: true, require_pushed_authorization_requests: true, request_object_signing_alg: 'ES256', jwks: { keys: [request.jwk] } },
    ask: signedAndPushed,
    shows: (t, { destination }) => t.same([...destination.searchParams.keys()].sort(), ['client_id', 'request_uri'])
  },
  {
    title: 'with tokens bound by DPoP (RFC 9449), whose nonce it learns on the way',
    registration: { dpop_bound_access_tokens: true },
    proves: true,
    shows: (t, { tokens, calls }) => {
      t.equal(tokens.token_type, 'dpop')
      t.same(calls.filter(({ path }) => path === '/token').map(({ status }) => status), [400, 200], 'it was asked for a nonce')
    }
  },
  {
    title: 'with the answer as a form (form_post)',
    parameters: { response_mode: 'form_post' },
    shows: (t, { callback }) => t.equal(callback, 'POST /callback')
  },
  {
    title: 'with a signed userinfo',
    registration: { userinfo_signed_response_alg: 'ES256' },
    metadata: { userinfo_signed_response_alg: 'ES256' },
    shows: (t, { calls }) => t.equal(typeOf(calls, '/userinfo'), 'application/jwt')
  },
  ...['RSA-OAEP-256', 'ECDH-ES'].map((alg): Way => ({
    title: `with ID Token and userinfo encrypted by ${alg}`,
    registration: {
      jwks: { keys: [decryption[alg]!.jwk] },
      id_token_encrypted_response_alg: alg,
      id_token_encrypted_response_enc: 'A256GCM',
      userinfo_signed_response_alg: 'RS256',
      userinfo_encrypted_response_alg: alg,
      userinfo_encrypted_response_enc: 'A128GCM'
    },
    metadata: { userinfo_signed_response_alg: 'RS256' },
    execute: [configuration => openid.enableDecryptingResponses(configuration, ['A256GCM', 'A128GCM'], decryption[alg]!)],
    // to use it as a hint "the Client MUST decrypt the signed ID Token contained within the encrypted ID Token" (OpenID Connect Core §3.1.2.1); the library keeps it as it came
    open: async id_token => Buffer.from((await compactDecrypt(id_token, decryption[alg]!.key)).plaintext).toString(),
    shows: (t, { tokens, calls }) => {
      t.equal(algOf(tokens.id_token), alg)
      t.equal(typeOf(calls, '/userinfo'), 'application/jwt')
    }
  })),
  {
    title: 'with all that FAPI 2.0 asks of it',
    registration: { ...byKey('ES256'), profile: 'fapi2', id_token_signed_response_alg: 'PS256' },
    metadata: { id_token_signed_response_alg: 'PS256' },
    authentication: () => openid.PrivateKeyJwt(assertion['ES256']!),
    ask: pushed,
    proves: true,
    shows: (t, { tokens, destination }) => {
      t.equal(tokens.token_type, 'dpop')
      t.equal(algOf(tokens.id_token), 'PS256')
      t.same([...destination.searchParams.keys()].sort(), ['client_id', 'request_uri'])
    }
  }
]

/** Agencies that are given a token by a service, and how they are answered. */
const agencies: Way[] = [
  { title: 'in JSON', registration: {}, shows: (t, { calls }) => t.equal(typeOf(calls, '/introspection'), 'application/json') },
  {
    title: 'signed (RFC 9701)',
    registration: { introspection_signed_response_alg: 'ES256' },
    metadata: { introspection_signed_response_alg: 'ES256' },
    shows: (t, { calls }) => t.equal(typeOf(calls, '/introspection'), 'application/token-introspection+jwt')
  },
  {
    title: 'signed and encrypted',
    registration: { introspection_signed_response_alg: 'RS256', introspection_encrypted_response_alg: 'ECDH-ES', introspection_encrypted_response_enc: 'A256GCM', jwks: { keys: [decryption['ECDH-ES']!.jwk] } },
    metadata: { introspection_signed_response_alg: 'RS256' },
    execute: [configuration => openid.enableDecryptingResponses(configuration, ['A256GCM'], decryption['ECDH-ES']!)],
    shows: (t, { calls }) => t.equal(typeOf(calls, '/introspection'), 'application/token-introspection+jwt')
  }
]

/** What a registration demands, and a service that does not do it. */
const refusals: Array<{ title: string, of: string, without: Partial<Way>, error: string }> = [
  { title: 'a request that is not pushed', of: 'with a pushed request (RFC 9126)', without: { ask: plain }, error: 'invalid_request' },
  { title: 'a request that is not signed', of: 'with a signed request object (RFC 9101)', without: { ask: plain }, error: 'invalid_request' },
  { title: 'a pushed request that is not signed', of: 'with a signed request object that is pushed', without: { ask: pushed }, error: 'invalid_request' },
  { title: 'a secret in place of a key', of: 'with private_key_jwt by ES256', without: { authentication: openid.ClientSecretPost }, error: 'invalid_client' },
  { title: 'a token request without proof', of: 'with tokens bound by DPoP (RFC 9449), whose nonce it learns on the way', without: { proves: false }, error: 'invalid_dpop_proof' }
]

const dispatcher = new Agent({ connect: { lookup: createLookup('localhost') } })
t.teardown(() => dispatcher.destroy())

t.test('by FAPI 2.0 a login costs at most twenty commands of Redis', async t => {
  const cluster = await startCluster(t, { primaries: 3 })
  const way = ways.find(({ registration }) => registration?.['profile'] === 'fapi2')!
  const party = await openParty(t, 'fapi', way.registration)
  const { issuer } = await startGateway(t, { redis: cluster.urls, overrides: { clients: { fapi: party.registration } } })
  serve(party, await discover(issuer, party, way), way)
  // what it leaves for other replicas when it starts is no login's
  for (let counted = -1; counted !== await cluster.commandCount(); await pause(500)) counted = await cluster.commandCount()
  const before = await cluster.commandCount()
  t.ok((await logIn(openBrowser(t), `${party.url}/login`)).has('greeting'))
  t.equal(await cluster.commandCount() - before, 16)
})

t.test('a service by openid-client', async t => {
  const parties = await Promise.all(ways.map(async (way, at) => {
    const party = await openParty(t, `way-${at}`, way.registration)
    if (way.publishes !== undefined) {
      party.registration['jwks_uri'] = `${party.url}/jwks`
      party.serve((_request, response) => response.end(JSON.stringify({ keys: way.publishes })))  // the gateway asks as it starts
    }
    return { way, party }
  }))
  const asking = agencies.map((way, at) => ({ way, party: registerParty(t, `agency-${at}`, 'http://agency.localhost', { redirect_uris: [], introspection: true, scopes: ['openid', 'email'], ...way.registration }) }))
  const { issuer, world } = await startGateway(t, { overrides: { clients: Object.fromEntries([...parties, ...asking].map(({ party }) => [party.client_id, party.registration])) } })

  for (const { title, of, without, error } of refusals) {
    t.test(`${title} is refused where the registration demands it, and it is told so`, async t => {
      const { way, party } = parties.find(({ way }) => way.title === of)!
      const lacking = { ...way, ...without }
      serve(party, await discover(issuer, party, lacking), lacking)
      const browser = openBrowser(t)
      let page = await browser.get(`${party.url}/login`)
      if (page.links.includes('idp-vitalys')) page = await logIn(browser, page)
      t.equal(page.text('error'), error, page.body)
    })
  }

  for (const { way, party } of parties) {
    t.test(way.title, async t => {
      const went = serve(party, await discover(issuer, party, way), way)
      const browser = openBrowser(t)
      let page = await logIn(browser, `${party.url}/login`)
      if (way.parameters?.['response_mode'] === 'form_post') page = await browser.submit(page.forms[0]!)
      t.equal(page.text('greeting'), 'Marion Élise Lefèvre du Pré, marion.lefevre@courriel.example, eidas1', page.body)
      way.shows(t, went as Went)

      t.ok((await browser.get(`${party.url}/logout`)).has('logged-out'), browser.page!.body)
      t.ok(leftProvider(browser, world), 'the provider was left too')
    })
  }

  for (const { way, party } of asking) {
    t.test(`an agency learns of a token it was given, ${way.title}, and no more once the service revokes it (RFC 7009)`, async t => {
      const service = parties[0]!
      const configuration = await discover(issuer, service.party, service.way)
      const went = serve(service.party, configuration, service.way)
      await logIn(openBrowser(t), `${service.party.url}/login`)
      const { access_token } = went.tokens!

      const agency = await discover(issuer, party, way)
      const calls = observe(agency)
      const told = await openid.tokenIntrospection(agency, access_token)
      t.match(told, { active: true, iss: issuer, acr: 'eidas1', scope: 'openid email' })
      t.not(told.sub, went.tokens!.claims()!.sub, 'its own sub')
      way.shows(t, { calls } as Went)
      await openid.tokenRevocation(configuration, access_token)
      t.same(await openid.tokenIntrospection(agency, access_token), { active: false })
      await t.rejects(openid.fetchUserInfo(configuration, access_token, openid.skipSubjectCheck), { name: 'WWWAuthenticateChallengeError' })
    })
  }
})

async function discover (issuer: string, { client_id, client_secret }: Party, { metadata = {}, authentication = openid.ClientSecretBasic, execute = [] }: Way) {
  return openid.discovery(new URL(issuer), client_id, metadata, authentication(client_secret), {
    [openid.customFetch]: (address, options) => fetch(address, { ...options, dispatcher } as Parameters<typeof fetch>[1]) as unknown as Promise<Response>,
    execute: [openid.enableNonRepudiationChecks, openid.allowInsecureRequests, ...execute]
  })
}

type Opened = Awaited<ReturnType<typeof openParty>>

/** Every answer that the library is given from now on. */
function observe (configuration: openid.Configuration) {
  const calls: Went['calls'] = []
  const ordinary = configuration[openid.customFetch]!
  configuration[openid.customFetch] = async (address, options) => {
    const answer = await ordinary(address, options)
    calls.push({ path: new URL(address).pathname, status: answer.status, type: (answer.headers.get('content-type') ?? '').split(';')[0]! })
    return answer
  }
  return calls
}

/** A small service; what it sees of a login it writes into what it returns. */
function serve (party: Opened, configuration: openid.Configuration, { ask = plain, parameters = {}, proves = false, publishes = [], open = async id_token => id_token }: Way) {
  const went: Partial<Went> & Pick<Went, 'calls'> = { calls: observe(configuration) }
  const departures = new Map<string, { checks: openid.AuthorizationCodeGrantChecks, options: openid.DPoPOptions }>()

  const routes: Record<string, (request: IncomingMessage) => Promise<{ location: URL } | string>> = {
    '/login': async () => {
      const pkceCodeVerifier = openid.randomPKCECodeVerifier()
      const state = openid.randomState()
      const nonce = openid.randomNonce()
      const options = proves ? { DPoP: openid.getDPoPHandle(configuration, await openid.randomDPoPKeyPair()) } : {}
      departures.set(state, { checks: { pkceCodeVerifier, expectedState: state, expectedNonce: nonce }, options })
      went.destination = await ask(configuration, {
        scope: 'openid profile email',
        redirect_uri: party.redirect_uri,
        state,
        nonce,
        code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: 'S256',
        ...parameters
      }, options)
      return { location: went.destination }
    },
    '/callback': async request => {
      const address = new URL(request.url!, party.url)
      went.callback = `${request.method} ${address.pathname}`
      const body = await text(request)
      const state = address.searchParams.get('state') ?? new URLSearchParams(body).get('state') ?? ''
      const { checks, options } = departures.get(state)!
      const came = request.method === 'POST' ? new Request(address, { method: 'POST', headers: { 'content-type': request.headers['content-type']! }, body }) : address
      const tokens = await openid.authorizationCodeGrant(configuration, came, checks, undefined, options)
      went.tokens = tokens
      const { sub, acr } = tokens.claims()!
      const { given_name, family_name, email } = await openid.fetchUserInfo(configuration, tokens.access_token, sub, options)
      return paragraph('greeting', `${given_name} ${family_name}, ${email}, ${acr}`)
    },
    '/logout': async () => ({ location: openid.buildEndSessionUrl(configuration, { id_token_hint: await open(went.tokens!.id_token!), post_logout_redirect_uri: party.post_logout_redirect_uri }) }),
    '/jwks': async () => JSON.stringify({ keys: publishes }),
    '/logged-out': async () => paragraph('logged-out', 'yes')
  }

  party.serve(async (request, response) => {
    const { pathname } = new URL(request.url!, party.url)
    try {
      const answer = await routes[pathname]!(request)
      if (typeof answer === 'string') response.end(answer)
      else response.writeHead(303, { location: answer.location.href }).end()
    } catch (error) {
      response.end(paragraph('error', (error as { error?: string }).error ?? (error as Error).stack))
    }
  })
  return went
}
