import { randomBytes } from 'node:crypto'
import type { RequestListener, ServerResponse } from 'node:http'
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose'
import t, { type Test } from 'tap'
import { Agent, fetch } from 'undici'
import { leftProvider, openBrowser, openParty, paragraph, signIn, logIn, type Party } from './clients/party.ts'
import { startGateway, type Gateway } from './support/gateway.ts'
import { createLookup } from './world/lookup.ts'

// A service that was written for FranceConnect version 2, by its public documentation for partners, moves here: only its issuer changes. It has no OpenID Connect
// library, knows no PKCE, sends its secret in the form, and reads userinfo as a signed JWT.

interface Endpoints { authorization_endpoint: string, token_endpoint: string, userinfo_endpoint: string, end_session_endpoint: string, jwks_uri: string }

/** How the service knows where to go: by the metadata, or as it was written down once. */
type Where = (issuer: string) => Promise<Endpoints>

const agent = new Agent({ connect: { lookup: createLookup('localhost') } })
t.teardown(() => agent.destroy())
const get = (address: string, headers: Record<string, string> = {}) => fetch(address, { headers, dispatcher: agent, redirect: 'error' })

const byDiscovery: Where = async issuer => await (await get(`${issuer}/.well-known/openid-configuration`)).json() as Endpoints
const byHeart: Where = async issuer => ({
  authorization_endpoint: `${issuer}/authorize`,
  token_endpoint: `${issuer}/token`,
  userinfo_endpoint: `${issuer}/userinfo`,
  end_session_endpoint: `${issuer}/session/end`,
  jwks_uri: `${issuer}/jwks`
})

const pivot = 'openid given_name family_name birthdate gender birthplace birthcountry preferred_username email'
const sixtyFour = () => randomBytes(32).toString('hex')

interface Settings { issuer: string, where: Where, alg: string }
/** What it asks beside the rest, and whether by a form. */
interface Asking { scope?: string, prompt?: string, claims?: string, form?: string }

/** The service: `/login`, `/callback`, `/logout` and `/logged-out`, for one citizen at a time. */
function service ({ client_id, client_secret, redirect_uri, post_logout_redirect_uri }: Party, { issuer, where, alg }: Settings): RequestListener {
  let sent = { state: '', nonce: '' }
  let visitor = { id_token: '', leaving: '' }

  async function login (response: ServerResponse, { scope = pivot, form, ...more }: Asking) {
    sent = { state: sixtyFour(), nonce: sixtyFour() }
    const { authorization_endpoint } = await where(issuer)
    const parameters = { response_type: 'code', client_id, redirect_uri, scope, acr_values: 'eidas1', ...sent, ...more }
    if (form === undefined) return response.writeHead(302, { location: `${authorization_endpoint}?${new URLSearchParams(parameters)}` }).end()
    const inputs = Object.entries(parameters).map(([name, value]) => `<input type="hidden" name="${name}" value="${value.replaceAll('"', '&quot;')}">`)
    response.writeHead(200, { 'content-type': 'text/html' }).end(`<form method="post" action="${authorization_endpoint}">${inputs.join('')}<button id="log-in">Log in</button></form>`)
  }

  async function callback (response: ServerResponse, { state, code, error, error_description }: Record<string, string>) {
    if (state !== sent.state) throw new Error('state: another one was sent')
    if (error !== undefined) return show(response, 'error', `${error}: ${error_description}`)
    const { token_endpoint, userinfo_endpoint, jwks_uri } = await where(issuer)

    const form = new URLSearchParams({ grant_type: 'authorization_code', client_id, client_secret, redirect_uri, code: code! })
    const answer = await fetch(token_endpoint, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: form.toString(), dispatcher: agent, redirect: 'error' })
    const tokens = await answer.json() as { access_token: string, id_token: string, token_type: string, expires_in: number }
    if (answer.status !== 200 || tokens.token_type !== 'Bearer') throw new Error(JSON.stringify(tokens))

    const keys = createRemoteJWKSet(new URL(jwks_uri), { [customFetch]: (address, options) => fetch(address, { ...options, dispatcher: agent } as object) as unknown as Promise<Response> })
    const expected = { issuer, audience: client_id, algorithms: [alg] }
    const { payload: idToken } = await jwtVerify(tokens.id_token, keys, { ...expected, requiredClaims: ['exp', 'iat', 'auth_time'] })
    if (idToken['nonce'] !== sent.nonce || idToken['acr'] !== 'eidas1') throw new Error('nonce or acr: another one was sent')

    const userinfo = await get(userinfo_endpoint, { authorization: `Bearer ${tokens.access_token}` })
    if (!/^application\/jwt\b/.test(userinfo.headers.get('content-type') ?? '')) throw new Error(`userinfo: ${userinfo.headers.get('content-type')}`)
    const { payload: { iss, aud, iat, exp, ...identity } } = await jwtVerify(await userinfo.text(), keys, expected)
    if (identity.sub !== idToken.sub) throw new Error('userinfo: somebody else')

    visitor = { id_token: tokens.id_token, leaving: '' }
    show(response, 'greeting', JSON.stringify({ ...identity, acr: idToken['acr'], amr: idToken['amr'] }))
  }

  async function logout (response: ServerResponse) {
    const { end_session_endpoint } = await where(issuer)
    visitor.leaving = sixtyFour()
    response.writeHead(302, { location: `${end_session_endpoint}?${new URLSearchParams({ id_token_hint: visitor.id_token, state: visitor.leaving, post_logout_redirect_uri })}` }).end()
  }

  const show = (response: ServerResponse, id: string, text: string) => { response.writeHead(200, { 'content-type': 'text/html' }).end(paragraph(id, text)) }

  return (request, response) => {
    const { pathname, searchParams } = new URL(request.url!, redirect_uri)
    const query = Object.fromEntries(searchParams)
    const answer = async () => {
      switch (pathname) {
        case '/login': return login(response, query)
        case '/callback': return callback(response, query)
        case '/logout': return logout(response)
        default: return show(response, 'logged-out', String(query['state'] === visitor.leaving))
      }
    }
    answer().catch(error => show(response, 'failure', error.stack))
  }
}

/** What the gateway's operators write for such a service. */
const registration = (alg: string) => ({
  token_endpoint_auth_method: 'client_secret_post',
  require_pkce: false,
  id_token_signed_response_alg: alg,
  userinfo_signed_response_alg: alg,
  scopes: [...pivot.split(' '), 'profile', 'birth', 'identite_pivot'],
  claims: ['amr'],
  acr_values: ['eidas1']
})

async function startService (t: Test, alg: string) {
  const party = await openParty(t, 'demarches', registration(alg))
  const gateway = await startGateway(t, { path: '/api/v2', overrides: { clients: { demarches: party.registration } } })
  const open = (where: Where) => party.serve(service(party, { issuer: gateway.issuer, where, alg }))
  open(byDiscovery)
  return { ...gateway, party, open }
}

const told = (page: { text (id: string): string, body: string }) => {
  const text = page.text('greeting')
  if (text === '') throw new Error(`no greeting: ${page.body}`)
  return JSON.parse(text.replaceAll('&#34;', '"').replaceAll('&#38;', '&')) as Record<string, unknown>
}

/** In, greeted, and out again. */
async function walk (t: Test, { world }: Gateway, url: string) {
  const browser = openBrowser(t)
  const { sub, ...identity } = told(await logIn(browser, `${url}/login`))
  t.match(sub, /^[\w-]{43}v1$/)
  t.same(identity, {
    given_name: 'Marion Élise',
    family_name: 'Lefèvre du Pré',
    birthdate: '1984-07-19',
    gender: 'female',
    birthplace: '69123',
    birthcountry: '99100',
    preferred_username: 'Garnier',
    email: 'marion.lefevre@courriel.example',
    email_verified: true,                                              // beside what it knows; it reads what it needs
    acr: 'eidas1'
  })
  t.equal((await browser.get(`${url}/logout`)).text('logged-out'), 'true', 'back at the service, with its state')
  t.ok(leftProvider(browser, world), 'and out at the identity provider')
  t.ok((await browser.get(`${url}/login`)).links.includes('idp-vitalys'), 'no session lets the citizen in')
}

for (const alg of ['RS256', 'ES256']) {
  t.test(`a service written for FranceConnect version 2 moves by its issuer alone: signatures by ${alg}`, async t => {
    const gateway = await startService(t, alg)
    const { party: { url }, open } = gateway
    t.match(gateway.issuer, /\/api\/v2$/)

    t.test('it finds the endpoints by discovery', async t => walk(t, gateway, url))

    t.test('it has the endpoints by heart, after the issuer', async t => {
      open(byHeart)
      await walk(t, gateway, url)
      t.match(await byDiscovery(gateway.issuer), await byHeart(gateway.issuer), 'which are those of the metadata')
    })
  })
}

t.test('what else such a service does goes on as it was', async t => {
  const gateway = await startService(t, 'ES256')
  const { party: { url } } = gateway
  const asking = (parameters: Record<string, string>) => `${url}/login?${new URLSearchParams(parameters)}`

  t.test('each scope gives the claims that it gave', async t => {
    const claimsOf: Record<string, string[]> = {
      openid: [],
      gender: ['gender'],
      birthdate: ['birthdate'],
      birthcountry: ['birthcountry'],
      birthplace: ['birthplace'],
      given_name: ['given_name'],
      family_name: ['family_name'],
      email: ['email', 'email_verified'],
      preferred_username: ['preferred_username'],
      profile: ['family_name', 'given_name', 'given_name_array', 'preferred_username', 'gender', 'birthdate'],
      birth: ['birthplace', 'birthcountry'],
      identite_pivot: ['given_name', 'given_name_array', 'family_name', 'birthdate', 'gender', 'birthplace', 'birthcountry']
    }
    const browser = openBrowser(t)
    await logIn(browser, `${url}/login`)
    for (const [scope, claims] of Object.entries(claimsOf)) {
      // single sign-on: only the page that says what is sent
      await browser.get(asking({ scope: `openid ${scope}` }))
      const { sub, acr, amr, ...identity } = told(await browser.click('continue'))
      t.same(Object.keys(identity).sort(), claims.sort(), scope)
    }
  })

  t.test('amr is asked for by the claims parameter', async t => {
    const page = await logIn(openBrowser(t), asking({ claims: '{"id_token":{"amr":{"essential":true}}}' }))
    t.same(told(page)['amr'], ['pwd'])
  })

  t.test('the request may come as a form', async t => {
    const browser = openBrowser(t)
    await browser.get(asking({ form: 'yes' }))
    const chooser = await browser.click('log-in')
    t.match(told(await logIn(browser, chooser)), { given_name: 'Marion Élise' })
  })

  t.test('prompt=login has the citizen log in again', async t => {
    const browser = openBrowser(t)
    await logIn(browser, `${url}/login`)
    const again = await browser.get(asking({ prompt: 'login' }))
    t.ok(again.links.includes('idp-vitalys'))
    t.ok((await browser.click('idp-vitalys')).has('sign-in'), 'the provider asks for the password')
  })

  t.test('a citizen who gives up comes back with an error and the state', async t => {
    const browser = openBrowser(t)
    await signIn(browser, `${url}/login`)
    t.match((await browser.click('refuse')).text('error'), /^access_denied: /)
  })

  t.test('a scope that it may not ask for is an error for the service, not a page', async t => {
    t.match((await openBrowser(t).get(asking({ scope: 'openid phone' }))).text('error'), /^invalid_scope: /)
  })

  t.test('a level that is not offered to it is one too', async t => {
    t.match((await openBrowser(t).get(asking({ acr_values: 'eidas2' }))).text('error'), /^unmet_authentication_requirements: /)
  })
})
