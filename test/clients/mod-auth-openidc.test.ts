import { generateKeyPairSync, randomBytes } from 'node:crypto'
import http from 'node:http'
import t, { type Test } from 'tap'
import { makeCertificate } from '../support/certificate.ts'
import { startGateway } from '../support/gateway.ts'
import { until } from '../support/redis.ts'
import { logIn as logInAtService } from '../world/browser.ts'
import { startApache } from './apache.ts'
import { openHost, type Tls } from '../world/host.ts'
import { leftProvider, logIn, openBrowser, openParty, paragraph, registerParty, signIn } from './party.ts'
import { freePort } from '../world/free-port.ts'

const greeted = 'Marion Élise Lefèvre du Pré, marion.lefevre@courriel.example, eidas1, marion.lefevre@courriel.example'

// Apache finds the gateway by its name on a machine whose resolver knows no name under `localhost`:
// libcurl takes them all for this machine itself (RFC 6761 §6.3, since 7.79). What it proxies to is named by its address.
t.test('services behind Apache with mod_auth_openidc, which know nothing of logins themselves', async t => {
  let token = ''
  const application = await openParty(t, 'application')
  application.serve(({ headers, url }, response) => {
    const told = (name: string) => Buffer.from(String(headers[`oidc_claim_${name}`]), 'latin1').toString()
    token = String(headers['oidc_access_token'])
    const user = headers['x-remote-user'] || 'nobody'
    response.end(url === '/logged-out'
      ? paragraph('logged-out', user)
      : paragraph('greeting', `${told('given_name')} ${told('family_name')}, ${told('email')}, ${told('acr')}, ${user}`))
  })
  const to = (protectedPaths: string) => `
    ProxyPass / http://127.0.0.1:${new URL(application.url).port}/
    <Location />
      RequestHeader set X-Remote-User expr=%{REMOTE_USER}
    </Location>
    ${protectedPaths}`
  const behindLogin = to(`
    <LocationMatch ^/(me|callback)>
      AuthType openid-connect
      Require valid-user
    </LocationMatch>`)

  const key = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const [port, keyPort, agencyPort] = await Promise.all([freePort(), freePort(), freePort()])
  const party = registerParty(t, 'apache', `http://apache.localhost:${port}`)
  const keyUrl = `http://apache-key.localhost:${keyPort}`
  const withKey = registerParty(t, 'apache-key', keyUrl, {
    client_secrets: [],
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: { keys: [{ ...key.publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'RS256', use: 'sig' }] },
    id_token_signed_response_alg: 'ES256',
    userinfo_signed_response_alg: 'PS256',
    backchannel_logout_uri: `${keyUrl}/callback?logout=backchannel`
  })
  const agency = registerParty(t, 'agency', `http://agency.localhost:${agencyPort}`, { redirect_uris: [], introspection: true, scopes: ['openid', 'email'] })
  const { issuer, world } = await startGateway(t, {
    overrides: { clients: { apache: party.registration, 'apache-key': withKey.registration, agency: agency.registration } }
  })
  const settings = ({ client_id, redirect_uri }: typeof party) => ({
    OIDCProviderMetadataURL: `${issuer}/.well-known/openid-configuration`,
    OIDCClientID: client_id,
    OIDCRedirectURI: redirect_uri,
    OIDCCryptoPassphrase: randomBytes(32).toString('hex'),
    OIDCScope: 'openid profile email',
    OIDCPKCEMethod: 'S256',
    OIDCRemoteUserClaim: 'email'
  })

  t.test('as its first page tells', async t => {
    await startApache(t, { port, settings: () => ({ ...settings(party), OIDCClientSecret: party.client_secret }), location: behindLogin })

    t.test('a citizen who refuses does not get in', async t => {
      const browser = openBrowser(t)
      await signIn(browser, `${party.url}/me`)
      t.notOk((await browser.click('refuse')).has('greeting'))
      t.ok(browser.visits.some(({ url }) => url.startsWith(`${party.redirect_uri}?error=access_denied&`)))
      t.ok((await browser.get(`${party.url}/me`)).links.includes('idp-vitalys'), 'and may try again')
    })

    t.test('a citizen is greeted, and after the logout the provider is asked again', async t => {
      const browser = openBrowser(t)
      const greeting = await logIn(browser, `${party.url}/me`)
      t.equal(greeting.text('greeting'), greeted)

      const out = await browser.get(`${party.redirect_uri}?logout=${encodeURIComponent(party.post_logout_redirect_uri)}`)
      t.equal(out.text('logged-out'), 'nobody')
      t.ok(leftProvider(browser, world), 'the provider was left too')
      t.ok((await browser.get(`${party.url}/me`)).links.includes('idp-vitalys'), 'no session here lets the citizen in')
    })

    t.test('an agency behind another Apache learns from introspection whose token it is given, until the citizen logs out', async t => {
      const certificate = await makeCertificate(['passerelle.localhost'])
      const address = await overHttps(t, issuer, certificate)
      await startApache(t, {
        port: agencyPort,
        files: { 'authority.pem': certificate.cert },
        settings: directory => ({
          OIDCOAuthClientID: agency.client_id,
          OIDCOAuthClientSecret: agency.client_secret,
          OIDCOAuthIntrospectionEndpoint: `${address}/introspection`,
          OIDCCABundlePath: `${directory}/authority.pem`,
          OIDCOAuthTokenIntrospectionInterval: '-1',
          OIDCCryptoPassphrase: randomBytes(32).toString('hex')
        }),
        location: to(`
    <Location /data>
      AuthType oauth20
      Require claim scope~email
    </Location>`)
      })
      const ask = async (bearer: string) => {
        const answer = await fetch(`http://127.0.0.1:${agencyPort}/data`, { headers: { authorization: `Bearer ${bearer}` } })
        return { status: answer.status, body: await answer.text() }
      }
      const browser = openBrowser(t)
      t.equal((await logIn(browser, `${party.url}/me`)).text('greeting'), greeted)
      const given = token

      t.equal((await ask(`${given}x`)).status, 401)
      const { status, body } = await ask(given)
      t.equal(status, 200)
      t.match(body, /, eidas1, [\w-]{20,}/, 'the level and a sub')
      await browser.get(`${party.redirect_uri}?logout=${encodeURIComponent(party.post_logout_redirect_uri)}`)
      t.equal((await ask(given)).status, 401)
    })
  })

  t.test('with a key instead of a secret, a signed userinfo, the request as a form, and back-channel logout', async t => {
    await startApache(t, {
      port: keyPort,
      files: { 'public.pem': `${key.publicKey.export({ type: 'spki', format: 'pem' })}`, 'private.pem': `${key.privateKey.export({ type: 'pkcs8', format: 'pem' })}` },
      settings: directory => ({
        ...settings(withKey),
        OIDCPublicKeyFiles: `one#${directory}/public.pem`,
        OIDCPrivateKeyFiles: `one#${directory}/private.pem`,
        OIDCProviderTokenEndpointAuth: 'private_key_jwt',
        OIDCUserInfoSignedResponseAlg: 'PS256',
        OIDCProviderAuthRequestMethod: 'POST'
      }),
      location: behindLogin
    })
    const browser = openBrowser(t)

    t.test('a citizen is greeted', async t => {
      const { forms } = await browser.get(`${keyUrl}/me`)
      t.same(forms.map(({ method, action }) => [method, action]), [['POST', `${issuer}/authorize`]])
      await signIn(browser, await browser.submit(forms[0]!))
      t.equal((await browser.click('continue')).text('greeting'), greeted)
    })

    t.test('a citizen who logs out of another service is logged out of this one', async t => {
      t.ok((await logInAtService(browser, { world, service: 'town', provider: 'none', citizen: 'none' })).has('greeting'))
      t.ok((await browser.get(`${keyUrl}/me`)).has('greeting'), 'both know the citizen')
      await browser.get(world.services.town!.url)
      t.ok((await browser.click('log-out')).has('logged-out'))
      await until('this one was told', 5000, async () => !(await browser.get(`${keyUrl}/me`)).has('greeting'))
    })
  })
})

/** The gateway at an address of https, which the module wants of an introspection endpoint: what ends TLS before it. */
async function overHttps (t: Test, issuer: string, tls: Tls) {
  const { port } = new URL(issuer)
  const host = await openHost('passerelle', 0, { issuer, suffix: 'localhost', ports: 'any', tls }, (request, response) => {
    const { method, headers, url: path } = request
    request.pipe(http.request({ host: '127.0.0.1', port, method, headers, path }, answer => {
      response.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(response)
    }).on('error', () => response.destroy()))
  })
  t.teardown(() => host.stop())
  return host.origin
}
