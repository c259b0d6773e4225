import { randomBytes } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { Auth, customFetch, type AuthConfig } from '@auth/core'
import type { OIDCConfig } from '@auth/core/providers'
import { exportJWK, generateKeyPair } from 'jose'
import t, { type Test } from 'tap'
import { Agent, fetch as undiciFetch } from 'undici'
import { startGateway } from '../support/gateway.ts'
import type { Browser } from '../world/browser.ts'
import { createLookup } from '../world/lookup.ts'
import { leftProvider, openBrowser, openParty, paragraph, signIn, type Party } from './party.ts'

type Profile = Record<string, string>

t.test('a service by @auth/core (Auth.js), with its own pages', async t => {
  const party = await openParty(t, 'authjs', { callback: '/auth/callback/passerelle' })
  const { issuer, world } = await startGateway(t, { overrides: { clients: { authjs: party.registration } } })
  party.serve(service(t, party, issuer, { clientSecret: party.client_secret }))

  t.test('a citizen who refuses is brought back to its sign-in page', async t => {
    const browser = openBrowser(t)
    await signIn(browser, await start(browser, party))
    const { url, body } = await browser.click('refuse')
    t.match(url, `${party.url}/auth/signin?error=OAuthCallbackError`)    // any other fault is a Configuration error
    t.match(body, /Try signing in with a different account/)
  })

  t.test('a citizen is greeted, and after the logout the provider is asked again', async t => {
    const browser = openBrowser(t)
    await signIn(browser, await start(browser, party))
    t.equal((await browser.click('continue')).text('greeting'), 'Marion Élise Lefèvre du Pré, marion.lefevre@courriel.example')

    await browser.get(`${party.url}/auth/signout?callbackUrl=/leave`)
    await browser.click('submitButton')
    t.equal((await browser.click('log-out')).text('logged-out'), 'nobody', browser.page!.url)
    t.ok(leftProvider(browser, world), 'the provider was left too')
    t.ok((await start(browser, party)).links.includes('idp-vitalys'), 'no session here lets the citizen in')
  })
})

t.test('the same with a key instead of a secret, whose assertions name both the issuer and the token endpoint (RFC 7523 §3)', async t => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const party = await openParty(t, 'authjs', {
    callback: '/auth/callback/passerelle',
    client_secrets: [],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks: { keys: [{ ...await exportJWK(publicKey), kid: 'one', alg: 'ES256', use: 'sig' }] }
  })
  const { issuer } = await startGateway(t, { overrides: { clients: { authjs: party.registration } } })
  party.serve(service(t, party, issuer, { client: { token_endpoint_auth_method: 'private_key_jwt' }, token: { clientPrivateKey: { key: privateKey, kid: 'one' } } }))

  t.test('a citizen is greeted', async t => {
    const browser = openBrowser(t)
    await signIn(browser, await start(browser, party))
    t.equal((await browser.click('continue')).text('greeting'), 'Marion Élise Lefèvre du Pré, marion.lefevre@courriel.example')
  })
})

/** The button on its page of providers. */
async function start (browser: Browser, { url }: Party) {
  const { forms } = await browser.get(`${url}/auth/signin?callbackUrl=/`)
  return browser.submit(forms[0]!)
}

function service (t: Test, { url, client_id, post_logout_redirect_uri }: Party, issuer: string, settings: Partial<OIDCConfig<Profile>>): RequestListener {
  const dispatcher = new Agent({ connect: { lookup: createLookup('localhost') } })
  t.teardown(() => dispatcher.destroy())

  const config: AuthConfig = {
    trustHost: true,
    secret: randomBytes(32).toString('hex'),
    basePath: '/auth',
    logger: { error () {} },                                            // the refusal of a citizen would be written out
    providers: [{
      id: 'passerelle',
      name: 'Passerelle',
      type: 'oidc',
      issuer,
      clientId: client_id,
      checks: ['pkce', 'state', 'nonce'],
      idToken: false,                                                   // ask userinfo: unless told so it reads the ID Token only
      profile: ({ sub, given_name, family_name, email }) => ({ id: sub!, name: `${given_name} ${family_name}`, email: email! }),
      [customFetch]: (...[address, options]: Parameters<typeof fetch>) => undiciFetch(address as string, { ...options, dispatcher } as Parameters<typeof undiciFetch>[1]) as unknown as Promise<Response>,
      ...settings
    } satisfies OIDCConfig<Profile>]
  }

  return async (request, response) => {
    const { pathname } = new URL(request.url!, url)
    if (pathname.startsWith('/auth/')) return answer(response, await Auth(await read(request), config))
    // It keeps no ID Token to show: a logout by client_id, which the gateway asks the citizen about (RP-Initiated Logout §2).
    if (pathname === '/leave') return response.writeHead(303, { location: `${issuer}/session/end?${new URLSearchParams({ client_id, post_logout_redirect_uri })}` }).end()
    const { cookie = '' } = request.headers
    const session = await (await Auth(new Request(`${url}/auth/session`, { headers: { cookie } }), config)).json() as { user?: { name: string, email: string } } | null
    response.end(paragraph(pathname === '/logged-out' ? 'logged-out' : 'greeting', session?.user === undefined ? 'nobody' : `${session.user.name}, ${session.user.email}`))
  }

  async function read (request: IncomingMessage) {
    const headers = new Headers(request.headersDistinct as unknown as Record<string, string>)
    return new Request(new URL(request.url!, url), { method: request.method!, headers, ...(request.method === 'POST' && { body: await text(request) }) })
  }

  async function answer (response: ServerResponse, given: Response) {
    given.headers.forEach((value, name) => response.appendHeader(name, value))
    response.writeHead(given.status).end(await given.text())
  }
}
