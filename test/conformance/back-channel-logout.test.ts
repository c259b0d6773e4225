import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import t, { type Test } from 'tap'
import { ask, authorize, basic, checkCode, checkEndpoints, checkError, checkTokens, random, redeem, secretClient, startStage, walkOn } from './support.ts'

/** What came behind the citizen's back. */
interface Told { line: string, type: string | undefined, form: URLSearchParams }

/** A relying party that listens. */
async function startParty (t: Test) {
  const told: Told[] = []
  const server = createServer(async (request, response) => {
    told.push({ line: `${request.method} ${request.url}`, type: request.headers['content-type'], form: new URLSearchParams(await text(request)) })
    response.writeHead(200, { 'cache-control': 'no-store' }).end()
  })
  t.teardown(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { told, party: `http://rp.localhost:${(server.address() as AddressInfo).port}` }
}

t.test('Back-Channel Logout OP, its modules that begin at the relying party', async t => {
  t.test('oidcc-backchannel-logout-discovery-endpoint-verification: the discovery document says that clients are told of logouts, with the session', async t => {
    const { metadata } = await startStage(t, {})
    checkEndpoints(t, metadata)
    t.match(metadata.end_session_endpoint, /^https:/)
    t.equal(metadata['backchannel_logout_supported'], true)
    t.equal(metadata['backchannel_logout_session_supported'], true)
  })

  t.test('oidcc-backchannel-rp-initiated-logout: the client is told with a logout token about the citizen and the session of its ID Token', async t => {
    const { told, party } = await startParty(t)
    const [redirect_uri, post_logout_redirect_uri] = [`${party}/callback`, `${party}/post_logout_redirect`] as const
    // over http, in development: in production no client may have an address on this machine
    const stage = await startStage(t, {
      rp: {
        client_id: 'rp',
        name: 'Conformance suite',
        redirect_uris: [redirect_uri],
        post_logout_redirect_uris: [post_logout_redirect_uri],
        backchannel_logout_uri: `${party}/backchannel_logout`,
        require_pkce: false,
        client_secrets: [{ file: 'secrets/client-taxes' }]
      }
    }, party)
    const secret = stage.world.services['taxes']!.client_secret!
    const rp = secretClient('rp', secret, { redirect_uri })
    const browser = stage.newBrowser()

    const asked = ask(rp, { state: random(128) })
    const code = checkCode(t, stage, rp, asked, await authorize(stage, browser, asked))
    const { id_token, claims } = await checkTokens(t, stage, rp, asked, await redeem(stage, rp, { code }, basic('rp', secret)))
    t.match(claims['sid'], /\S/, 'the ID Token names the session')
    t.same(told, [], 'nobody is told before the logout')

    const state = random(128)
    const { callback } = await walkOn(browser, await browser.get(`${stage.metadata.end_session_endpoint}?${new URLSearchParams({ id_token_hint: id_token, post_logout_redirect_uri, state })}`))
    t.equal(callback?.address.href.split('?')[0], post_logout_redirect_uri, 'the citizen comes back')
    t.same(callback?.parameters, { state }, 'with the state alone')
    for (let tries = 0; told.length === 0 && tries < 100; tries++) await wait(20)

    const [{ line, type, form } = { form: new URLSearchParams() } as Told] = told
    t.equal(line, 'POST /backchannel_logout')
    t.match(type, /^application\/x-www-form-urlencoded\b/)
    t.same([...form.keys()], ['logout_token'], 'with the token alone')
    const logout_token = form.get('logout_token')!
    const { alg, kid, typ } = decodeProtectedHeader(logout_token)
    t.equal(alg, decodeProtectedHeader(id_token).alg, 'signed as the ID Token is')
    t.ok(stage.jwks.keys.some(key => key.kid === kid && key.alg === alg), 'by a published key')
    t.equal(typ, 'logout+jwt')
    const { payload } = await jwtVerify(logout_token, createLocalJWKSet(stage.jwks), { issuer: stage.issuer, audience: 'rp', requiredClaims: ['iat', 'exp', 'jti'] })
    t.equal(payload.aud, 'rp')
    t.ok(Math.abs(payload.iat! - stage.now()) < 60, 'it was issued now')
    t.ok(payload.exp! > stage.now(), 'it lives')
    t.match(payload.jti, /\S/)
    t.same(payload['events'], { 'http://schemas.openid.net/event/backchannel-logout': {} })
    t.equal(payload.sub, claims.sub, 'about whom the ID Token is')
    t.equal(payload['sid'], claims['sid'], 'about the session of the ID Token')
    t.notOk('nonce' in payload, 'it cannot be taken for an ID Token')

    const again = ask(rp, { prompt: 'none', state: random(128) })
    checkError(t, stage, rp, again, await authorize(stage, browser, again), ['login_required', 'interaction_required', 'account_selection_required', 'consent_required'])
    t.equal(told.length, 1, 'the client is told once')
  })
})
