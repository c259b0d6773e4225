import { randomBytes } from 'node:crypto'
import { Agent } from 'node:http'
import express from 'express'
import session from 'express-session'
import { Passport } from 'passport'
import { Strategy } from 'passport-openidconnect'
import t from 'tap'
import { startGateway } from '../support/gateway.ts'
import { createLookup } from '../world/lookup.ts'
import { leftProvider, logIn, openBrowser, openParty, paragraph, signIn, type Party } from './party.ts'

declare global {
  namespace Express {
    interface Request { user?: { name: string, email: string, level: string, id_token: string }, logout (done: (error: unknown) => void): void }
  }
}

// It knows no PKCE and no metadata: the registration says the one, the settings name every endpoint.
t.test('a service by passport-openidconnect, whose registration spares it PKCE', async t => {
  const ordinary = await openParty(t, 'ordinary', { token_endpoint_auth_method: 'client_secret_post' })
  const party = await openParty(t, 'passport', { token_endpoint_auth_method: 'client_secret_post', require_pkce: false })
  const { issuer, world } = await startGateway(t, { overrides: { clients: { ordinary: ordinary.registration, passport: party.registration } } })
  const metadata = JSON.parse((await openBrowser(t).get(`${issuer}/.well-known/openid-configuration`)).body)
  const agent = new Agent({ lookup: createLookup('localhost'), keepAlive: true })
  t.teardown(() => agent.destroy())
  for (const each of [ordinary, party]) each.serve(service(each, metadata, agent))

  t.test('registered as any other it is told what it lacks', async t => {
    t.match((await openBrowser(t).get(`${ordinary.url}/login`)).text('error'), /^invalid_request .*code_challenge/)
  })

  t.test('a citizen who refuses is brought back to what the service has for that', async t => {
    const browser = openBrowser(t)
    await signIn(browser, `${party.url}/login`)
    t.ok((await browser.click('refuse')).has('refused'))
  })

  t.test('a citizen is greeted, and after the logout the provider is asked again', async t => {
    const browser = openBrowser(t)
    const greeting = await logIn(browser, `${party.url}/login`)
    t.equal(greeting.text('greeting'), 'Marion Élise Lefèvre du Pré, marion.lefevre@courriel.example, eidas1', greeting.body)

    t.equal((await browser.get(`${party.url}/logout`)).text('logged-out'), 'true')
    t.ok(leftProvider(browser, world), 'the provider was left too')
    t.ok((await browser.get(`${party.url}/login`)).links.includes('idp-vitalys'), 'no session here lets the citizen in')
  })
})

function service ({ client_id, client_secret, redirect_uri, post_logout_redirect_uri }: Party, metadata: Record<string, string>, agent: Agent) {
  const passport = new Passport()
  passport.use(new Strategy({
    issuer: metadata['issuer']!,
    authorizationURL: metadata['authorization_endpoint']!,
    tokenURL: metadata['token_endpoint']!,
    userInfoURL: metadata['userinfo_endpoint']!,
    clientID: client_id,
    clientSecret: client_secret,
    callbackURL: redirect_uri,
    scope: ['profile', 'email'],
    nonce: 'yes',
    skipUserProfile: false,
    agent
  }, (_issuer, { name, emails }, context, id_token, _access_token, _refresh_token, done) =>
    done(null, { name: `${name?.givenName} ${name?.familyName}`, email: emails?.[0]?.value, level: context.class, id_token })))
  passport.serializeUser((user, done) => done(null, user))
  passport.deserializeUser((kept, done) => done(null, kept))

  const app = express()
  app.use(session({ name: `${client_id}-session`, secret: randomBytes(32).toString('hex'), resave: false, saveUninitialized: false, cookie: { sameSite: 'lax' } }))
  app.use(passport.session())
  app.get('/login', passport.authenticate('openidconnect'))
  app.get('/callback', passport.authenticate('openidconnect', { failureRedirect: '/refused' }), (_request, response) => response.redirect('/'))
  app.get('/refused', (_request, response) => response.send(paragraph('refused', 'no')))
  app.get('/', ({ user }, response) => response.send(user === undefined ? paragraph('stranger', 'no one') : paragraph('greeting', `${user.name}, ${user.email}, ${user.level}`)))
  app.get('/logout', (request, response, next) => {
    const hint = new URLSearchParams({ id_token_hint: request.user?.id_token ?? '', post_logout_redirect_uri })
    request.logout(error => error ? next(error) : response.redirect(`${metadata['end_session_endpoint']}?${hint}`))
  })
  app.get('/logged-out', ({ user }, response) => response.send(paragraph('logged-out', user === undefined)))
  app.use((error, _request, response, _next) => response.status(400).send(paragraph('error', `${error['code'] ?? ''} ${error.message}`)))
  return app
}
