import { randomBytes } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'
import express from 'express'
import openidConnect, { type ConfigParams } from 'express-openid-connect'
import { MemoryStore } from 'express-session'
import { exportJWK, generateKeyPair } from 'jose'
import t, { type Test } from 'tap'
import { makeCertificate } from '../support/certificate.ts'
import { secureSuffix, startGateway } from '../support/gateway.ts'
import { until } from '../support/redis.ts'
import { logIn as logInAtService } from '../world/browser.ts'
import { createLookup } from '../world/lookup.ts'
import { hostNames } from '../world/world.ts'
import { leftProvider, logIn, openBrowser, openParty, paragraph, signIn, type Party } from './party.ts'

const greeted = 'Marion Élise Lefèvre du Pré, marion.lefevre@courriel.example, eidas1'

t.test('a service by express-openid-connect, configured as its README says for the code flow', async t => {
  const party = await openParty(t, 'express')
  const { issuer, world } = await startGateway(t, { overrides: { clients: { express: party.registration } } })
  party.serve(service(t, party, issuer, { clientSecret: party.client_secret }))

  t.test('a citizen who refuses is an access_denied that it understands', async t => {
    const browser = openBrowser(t)
    await signIn(browser, `${party.url}/me`)
    t.equal((await browser.click('refuse')).text('error'), 'access_denied')
  })

  t.test('a citizen is greeted, and after the logout the provider is asked again', async t => {
    const browser = openBrowser(t)
    const greeting = await logIn(browser, `${party.url}/me`)
    t.equal(greeting.text('greeting'), greeted)

    const out = await browser.get(`${party.url}/logout`)
    t.equal(out.text('logged-out'), 'false', out.url)
    t.ok(leftProvider(browser, world), 'the provider was left too')
    t.ok((await browser.get(`${party.url}/me`)).links.includes('idp-vitalys'), 'no session here lets the citizen in')
  })
})

t.test('the same with its back-channel logout', async t => {
  const party = await openParty(t, 'express')
  const backchannel_logout_uri = `${party.url}/backchannel-logout`
  const { issuer, world } = await startGateway(t, { overrides: { clients: { express: { ...party.registration, backchannel_logout_uri } } } })
  party.serve(service(t, party, issuer, { clientSecret: party.client_secret, backchannelLogout: { store: new MemoryStore() } }))

  t.test('a citizen who logs out of another service is logged out of this one', async t => {
    const browser = openBrowser(t)
    t.equal((await logIn(browser, `${party.url}/me`)).text('greeting'), greeted)
    t.ok((await logInAtService(browser, { world, service: 'town', provider: 'none', citizen: 'none' })).has('greeting'))
    t.ok((await browser.get(`${party.url}/me`)).has('greeting'), 'both know the citizen')

    await browser.get(world.services.town!.url)
    t.ok((await browser.click('log-out')).has('logged-out'))
    await until('this one was told', 5000, async () => !(await browser.get(`${party.url}/me`)).has('greeting'))
    t.ok(browser.page!.links.includes('idp-vitalys'), 'the provider is asked again')
  })
})

t.test('the same over https with a pushed request, a key instead of a secret, and the answer as a form', async t => {
  const certificate = await makeCertificate([...hostNames(secureSuffix), `express.${secureSuffix}`])
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const party = await openParty(t, 'express', {
    suffix: secureSuffix,
    tls: certificate,
    client_secrets: [],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks: { keys: [{ ...await exportJWK(publicKey), kid: 'one', alg: 'ES256', use: 'sig' }] },
    require_pushed_authorization_requests: true,
    id_token_signed_response_alg: 'PS256'
  })
  const { issuer, world } = await startGateway(t, { tls: certificate, overrides: { clients: { express: party.registration } } })
  party.serve(service(t, party, issuer, {
    authorizationParams: { response_type: 'code', response_mode: 'form_post' },
    pushedAuthorizationRequests: true,
    clientAuthMethod: 'private_key_jwt',
    clientAssertionSigningKey: { ...await exportJWK(privateKey), kid: 'one' } as never,
    clientAssertionSigningAlg: 'ES256',
    idTokenSigningAlg: 'PS256'
  }, certificate.cert))

  t.test('a citizen is greeted and logged out', async t => {
    const browser = openBrowser(t, { suffix: secureSuffix, ca: certificate.cert })
    const answer = await logIn(browser, `${party.url}/me`)
    t.equal(answer.forms[0]?.action, party.redirect_uri, answer.body)
    const greeting = await browser.submit(answer.forms[0]!)
    t.equal(greeting.text('greeting'), greeted, greeting.body)

    t.equal((await browser.get(`${party.url}/logout`)).text('logged-out'), 'false')
    t.ok(leftProvider(browser, world), 'the provider was left too')
  })
})

/** A page for everyone and one for those who are logged in. */
function service (t: Test, party: Party, issuer: string, settings: ConfigParams, ca?: string) {
  const options = { lookup: createLookup('localhost', secureSuffix), keepAlive: true }
  const agent = { http: new http.Agent(options), https: new https.Agent({ ...options, ca }) }
  t.teardown(() => { agent.http.destroy(); agent.https.destroy() })

  const app = express()
  app.use(openidConnect.auth({
    issuerBaseURL: issuer,
    baseURL: party.url,
    clientID: party.client_id,
    secret: randomBytes(32).toString('hex'),
    authRequired: false,
    idpLogout: true,
    authorizationParams: { response_type: 'code' },
    routes: { postLogoutRedirect: '/logged-out' },
    httpAgent: agent,
    ...settings
  }))
  app.get('/me', openidConnect.requiresAuth(), async (request, response) => {
    const { given_name, family_name, email } = await request.oidc.fetchUserInfo()
    response.send(paragraph('greeting', `${given_name} ${family_name}, ${email}, ${request.oidc.idTokenClaims!.acr}`))
  })
  app.get('/logged-out', (request, response) => { response.send(paragraph('logged-out', request.oidc.isAuthenticated())) })
  app.use((error, _request, response, _next) => { response.status(400).send(paragraph('error', error.error ?? error.stack)) })
  return app
}
