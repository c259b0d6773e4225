import t, { type Test } from 'tap'
import { SignJWT } from 'jose'
import { messages } from '../../src/pages/messages.ts'
import type { Browser } from '../world/browser.ts'
import {
  ask, authorize, basic, checkCode, checkEndpoints, checkError, checkErrorPage, checkTokens, random, redeem, relyingParty, secretClient, startStage, walkOn,
  type Parameters, type Tokens
} from './support.ts'

t.test('RP-Initiated Logout OP', async t => {
  const post_logout_redirect_uri = `${relyingParty}/post_logout_redirect`
  const stage = await startStage(t, {
    rp: {
      client_id: 'rp',
      name: 'Conformance suite',
      redirect_uris: [`${relyingParty}/callback`],
      post_logout_redirect_uris: [post_logout_redirect_uri],
      require_pkce: false,
      client_secrets: [{ file: 'secrets/client-taxes' }]
    }
  })
  const secret = stage.world.services['taxes']!.client_secret!
  const rp = secretClient('rp', secret)

  /** A citizen logs in and goes to the end-session endpoint, with what the client sends along. */
  async function logOut (t: Test, parametersOf: (all: Parameters, tokens: Tokens) => Parameters) {
    const browser = stage.newBrowser()
    const asked = ask(rp, { state: random(128) })
    const code = checkCode(t, stage, rp, asked, await authorize(stage, browser, asked))
    const tokens = await checkTokens(t, stage, rp, asked, await redeem(stage, rp, { code }, basic('rp', secret)))
    const all = { id_token_hint: tokens.id_token, post_logout_redirect_uri, state: `${random(8)}!"#$%&'()*,-./:;<=>?@[\\]^_\`{|}~${random(8)}` }
    const parameters = parametersOf(all, tokens)
    const query = new URLSearchParams(parameters).toString()
    return { browser, parameters, walk: await walkOn(browser, await browser.get(stage.metadata.end_session_endpoint + (query && `?${query}`)), { decision: 'log-out' }) }
  }

  /** The citizen has come back to the client, with nothing but the state that it sent. */
  async function cameBackLoggedOut (t: Test, { browser, parameters, walk: { callback } }: Awaited<ReturnType<typeof logOut>>) {
    t.equal(callback?.address.href.split('?')[0], post_logout_redirect_uri)
    t.same(callback?.parameters, 'state' in parameters ? { state: parameters['state'] } : {})
    await isLoggedOut(t, browser)
  }

  async function isLoggedOut (t: Test, browser: Browser) {
    const asked = ask(rp, { prompt: 'none', state: random(128) })
    checkError(t, stage, rp, asked, await authorize(stage, browser, asked), ['login_required', 'interaction_required', 'account_selection_required', 'consent_required'])
  }

  /** The citizen reads that he or she is logged out, and is; nothing is sent to the client. */
  async function readsLoggedOut (t: Test, { browser, walk: { callback, page } }: Awaited<ReturnType<typeof logOut>>) {
    t.notOk(callback, 'nothing is sent to the client')
    t.equal(page.status, 200)
    t.ok(page.url.startsWith(`${stage.issuer}/`), 'a page of ours')
    t.match(page.body, messages.fr.loggedOut.done, 'it says that the logout is done')
    await isLoggedOut(t, browser)
  }

  t.test('oidcc-rp-initiated-logout-discovery-endpoint-verification: the discovery document names the end-session endpoint', async t => {
    checkEndpoints(t, stage.metadata)
    t.match(stage.metadata.end_session_endpoint, /^https:/)
  })

  t.test('oidcc-rp-initiated-logout: the citizen comes back to the client with its state, and prompt=none is an error', async t => {
    await cameBackLoggedOut(t, await logOut(t, all => all))
  })

  t.test('oidcc-rp-initiated-logout-bad-post-logout-redirect-uri: an address that is not registered gets a page that says so', async t => {
    checkErrorPage(t, stage, (await logOut(t, all => ({ ...all, post_logout_redirect_uri: `${relyingParty}/bad_post_logout_redirect_uri` }))).walk)
  })

  t.test('oidcc-rp-initiated-logout-modified-id-token-hint: an ID Token whose signature was taken away gets a page that says so', async t => {
    const header = Buffer.from('{"alg":"none"}').toString('base64url')
    checkErrorPage(t, stage, (await logOut(t, (all, { id_token }) => ({ ...all, id_token_hint: `${header}.${id_token.split('.')[1]}.` }))).walk)
  })

  t.test('oidcc-rp-initiated-logout-no-id-token-hint: an address without a hint whose it is gets a page that says so', async t => {
    checkErrorPage(t, stage, (await logOut(t, ({ id_token_hint, ...rest }) => rest)).walk)
  })

  t.test('oidcc-rp-initiated-logout-no-params: a request with nothing in it logs the citizen out, who agrees and reads it', async t => {
    await readsLoggedOut(t, await logOut(t, () => ({})))
  })

  t.test('oidcc-rp-initiated-logout-no-post-logout-redirect-uri: without an address to go to the citizen reads that the logout is done', async t => {
    await readsLoggedOut(t, await logOut(t, ({ id_token_hint, state }) => ({ id_token_hint: id_token_hint!, state: state! })))
  })

  t.test('oidcc-rp-initiated-logout-no-state: without a state the client gets none', async t => {
    await cameBackLoggedOut(t, await logOut(t, ({ state, ...rest }) => rest))
  })

  t.test('oidcc-rp-initiated-logout-only-state: a request with a state alone logs the citizen out, who agrees and reads it', async t => {
    await readsLoggedOut(t, await logOut(t, ({ state }) => ({ state: state! })))
  })

  t.test('oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri: a registered address with a query added gets a page that says so', async t => {
    checkErrorPage(t, stage, (await logOut(t, all => ({ ...all, post_logout_redirect_uri: `${post_logout_redirect_uri}?foo=bar` }))).walk)
  })

  t.test('oidcc-rp-initiated-logout-bad-id-token-hint: a hint that the client signed itself gets a page that says so', async t => {
    const own = new SignJWT({ nonce: random(10) }).setProtectedHeader({ alg: 'HS256' }).setIssuer('rp').setSubject('SubjectID').setAudience(stage.issuer)
    const id_token_hint = await own.setIssuedAt(stage.now()).setExpirationTime(stage.now() + 300).sign(Buffer.from(secret))
    checkErrorPage(t, stage, (await logOut(t, all => ({ ...all, id_token_hint }))).walk)
  })
})
