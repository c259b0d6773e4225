import { randomBytes } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Test } from 'tap'
import { citizens, claimsAt } from '../world/citizens.ts'
import type { Browser } from '../world/browser.ts'
import {
  ask, askUserinfo, authorize, basic, checkCode, checkError, checkErrorPage, checkRefusal, checkTokens, checkUserinfo, digest, random, redeem, relyingParty, secretClient, startStage,
  type Answer, type Client, type Parameters, type Tokens
} from './support.ts'

type Changes = Record<string, string | undefined>

/** What a flow does otherwise: who asks, with which browser, how, and what the token request has besides. */
interface Way { client?: Client, browser?: Browser, method?: 'GET' | 'POST', form?: Parameters }

const scopes = ['openid', 'profile', 'email', 'phone', 'address']

/** The modules of the Basic OP plan; with `form_post` those of its twin, where every answer comes by a form. */
export async function tellBasicModules (t: Test, response_mode?: 'form_post') {
  const registration = { name: 'Conformance suite', redirect_uris: [`${relyingParty}/callback`], scopes, require_pkce: false }
  const stage = await startStage(t, {
    rp: { ...registration, client_id: 'rp', client_secrets: [{ file: 'secrets/client-taxes' }] },
    'rp-post': { ...registration, client_id: 'rp-post', client_secrets: [{ file: 'secrets/client-town' }], token_endpoint_auth_method: 'client_secret_post' }
  })
  const { taxes, town } = stage.world.services
  const mode = response_mode && { response_mode }
  const rp = secretClient('rp', taxes!.client_secret!, mode)
  const rpPost = secretClient('rp-post', town!.client_secret!, { post: true, ...mode })
  const header = basic('rp', taxes!.client_secret!)
  const marion = claimsAt('vitalys', citizens.find(({ username }) => username === 'marion')!)

  /** From the request to the tokens. */
  async function logInForTokens (t: Test, changes: Changes = {}, { client = rp, browser = stage.newBrowser(), method = 'GET', form = {} }: Way = {}) {
    const asked = ask(client, changes)
    const walk = await authorize(stage, browser, asked, { method })
    const code = checkCode(t, stage, client, asked, walk)
    const tokens = await checkTokens(t, stage, client, asked, await redeem(stage, client, { code, ...form }, client === rp ? header : {}))
    return { browser, asked, walk, code, tokens }
  }

  /** From the request to userinfo. */
  async function wholeFlow (t: Test, changes: Changes = {}, way: Way = {}) {
    const { tokens, ...rest } = await logInForTokens(t, changes, way)
    return { ...rest, tokens, userinfo: checkUserinfo(t, await askUserinfo(stage, tokens), tokens) }
  }

  /** Userinfo tells what these scopes stand for, as far as the identity provider tells it; the ID Token does not. */
  async function tellsScopes (t: Test, scope: string, names: string[]) {
    const { userinfo, tokens: { claims } } = await wholeFlow(t, { scope })
    for (const name of names) t.same(userinfo[name], marion[name], name)
    t.same(Object.keys(userinfo).filter(name => name !== 'sub' && !names.includes(name) && name !== 'given_name_array'), [], 'nothing beyond')
    t.same(Object.keys(claims).filter(name => name in marion), [], 'the ID Token names nobody')
  }
  const ofProfile = ['given_name', 'family_name', 'gender', 'birthdate', 'preferred_username']
  const ofEmail = ['email', 'email_verified']

  /** The citizen comes a second time with the same browser, with another request, and is known: same person, same authentication, no page to read. */
  async function comesBack (t: Test, changes: (tokens: Tokens) => Changes, first: Changes = {}) {
    const before = await wholeFlow(t, first)
    const after = await wholeFlow(t, changes(before.tokens), { browser: before.browser })
    t.equal(after.walk.signIns, 0, 'nobody signs in')
    t.equal(after.tokens.claims.sub, before.tokens.claims.sub, 'the same person')
    t.equal(after.tokens.claims['auth_time'], before.tokens.claims['auth_time'], 'the same authentication')
    return after.walk
  }

  /** The citizen comes a second time, some seconds later, with a request that asks for a fresh authentication. */
  async function signsInAgain (t: Test, milliseconds: number, changes: Changes) {
    const before = await wholeFlow(t)
    await wait(milliseconds)
    const after = await wholeFlow(t, changes, { browser: before.browser })
    t.equal(after.walk.signIns, 1, 'the citizen signs in again')
    t.ok(Number(after.tokens.claims['auth_time']) > Number(before.tokens.claims['auth_time']), 'the second authentication is later')
    t.equal(after.tokens.claims.sub, before.tokens.claims.sub)
  }

  const isReplay = (t: Test, answer: Answer) => checkRefusal(t, answer, { invalid_grant: [400] }, 'the code for a second time')

  /** A JWT without a signature. */
  const unsigned = (claims: Parameters) => [{ alg: 'none' }, claims].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.') + '.'

  t.test('oidcc-server: a plain login gives a code, an ID Token and an access token that stand every check', async t => {
    const { walk, tokens } = await wholeFlow(t)
    t.equal(walk.signIns, 1)
    t.match(tokens.token_type, /^bearer$/i)
    t.match(tokens.claims, { acr: 'eidas1', sid: String, at_hash: String })
  })

  t.test('oidcc-response-type-missing: a request without response_type is told to the client as invalid', async t => {
    const asked = ask(rp, { response_type: undefined })
    checkError(t, stage, rp, asked, await authorize(stage, stage.newBrowser(), asked), ['unsupported_response_type', 'invalid_request'])
  })

  t.test('oidcc-userinfo-get: userinfo answers a GET with the token in the header', async t => {
    const { userinfo } = await wholeFlow(t)
    t.same(Object.keys(userinfo), ['sub'], 'scope openid tells nothing but sub')
  })

  t.test('oidcc-userinfo-post-header: userinfo answers a POST with the token in the header', async t => {
    const { tokens } = await logInForTokens(t)
    checkUserinfo(t, await askUserinfo(stage, tokens, { method: 'POST' }), tokens)
  })

  t.test('oidcc-userinfo-post-body: userinfo answers a POST with the token in the form', async t => {
    const { tokens } = await logInForTokens(t)
    const { access_token } = tokens
    checkUserinfo(t, await stage.call(stage.metadata.userinfo_endpoint, { method: 'POST', form: { access_token } }), tokens)
  })

  t.test('oidcc-ensure-request-without-nonce-succeeds-for-code-flow: a request without nonce gives a code, and an ID Token without one', async t => {
    const { tokens } = await logInForTokens(t, { nonce: undefined })
    t.notOk('nonce' in tokens.claims)
  })

  t.test('oidcc-scope-profile: scope profile has userinfo tell who the citizen is', async t => {
    await tellsScopes(t, 'openid profile', ofProfile)
  })

  t.test('oidcc-scope-email: scope email has userinfo tell the address, and the ID Token does not', async t => {
    await tellsScopes(t, 'openid email', ofEmail)
  })

  t.test('oidcc-scope-address: scope address has userinfo tell where the citizen lives', async t => {
    await tellsScopes(t, 'openid address', ['address'])
  })

  t.test('oidcc-scope-phone: scope phone has userinfo tell the number', async t => {
    await tellsScopes(t, 'openid phone', ['phone_number'])
  })

  t.test('oidcc-scope-all: all scopes together have userinfo tell all of it', async t => {
    await tellsScopes(t, 'openid email phone address profile', [...ofProfile, ...ofEmail, 'address', 'phone_number'])
  })

  t.test('oidcc-alternate-happy-flow: the order of scopes and of parameters means nothing', async t => {
    const asked = ask(rp, { scope: 'email openid' })
    const turned = Object.fromEntries(Object.entries(asked).sort(([one], [other]) => one < other ? 1 : -1))
    const browser = stage.newBrowser()
    const code = checkCode(t, stage, rp, asked, await authorize(stage, browser, turned))
    const tokens = await checkTokens(t, stage, rp, asked, await redeem(stage, rp, { code }, header))
    t.match(checkUserinfo(t, await askUserinfo(stage, tokens), tokens), { email: marion['email'], email_verified: true })
  })

  t.test('oidcc-display-page: display=page is no error', async t => {
    t.equal((await wholeFlow(t, { display: 'page' })).walk.signIns, 1)
  })

  t.test('oidcc-display-popup: display=popup is no error', async t => {
    t.equal((await wholeFlow(t, { display: 'popup' })).walk.signIns, 1)
  })

  t.test('oidcc-prompt-login: prompt=login has the citizen sign in again, and auth_time says so', async t => {
    await signsInAgain(t, 1100, { prompt: 'login' })
  })

  t.test('oidcc-prompt-none-not-logged-in: prompt=none without a session is an error, and a long state comes back whole', async t => {
    const asked = ask(rp, { prompt: 'none', state: random(128) })
    const walk = await authorize(stage, stage.newBrowser(), asked)
    checkError(t, stage, rp, asked, walk, ['login_required', 'interaction_required', 'account_selection_required', 'consent_required'])
    t.equal(walk.pagesRead, 0, 'no page is shown')
  })

  t.test('oidcc-prompt-none-logged-in: prompt=none with a session gives a code and shows no page', async t => {
    t.equal((await comesBack(t, () => ({ prompt: 'none' }))).pagesRead, 0)
  })

  t.test('oidcc-max-age-1: max_age=1 two seconds later has the citizen sign in again, and auth_time says so', async t => {
    await signsInAgain(t, 2100, { max_age: '1' })
  })

  t.test('oidcc-max-age-10000: max_age=10000 takes the authentication of a moment ago', async t => {
    await comesBack(t, () => ({ max_age: '10000' }), { max_age: '15000' })
  })

  t.test('oidcc-ensure-request-with-unknown-parameter-succeeds: a parameter that nobody knows is ignored', async t => {
    t.equal((await wholeFlow(t, { extra: 'foobar' })).walk.signIns, 1)
  })

  t.test('oidcc-id-token-hint: prompt=none with the ID Token of the first login as a hint gives a code and shows no page', async t => {
    t.equal((await comesBack(t, ({ id_token }) => ({ prompt: 'none', id_token_hint: id_token }))).pagesRead, 0)
  })

  t.test('oidcc-login-hint: login_hint is no error', async t => {
    t.equal((await wholeFlow(t, { login_hint: `buffy@${new URL(stage.issuer).hostname}` })).walk.signIns, 1)
  })

  t.test('oidcc-ui-locales: ui_locales with a language that we do not speak is no error', async t => {
    t.equal((await wholeFlow(t, { ui_locales: 'se' })).walk.signIns, 1)
  })

  t.test('oidcc-claims-locales: claims_locales is no error', async t => {
    t.equal((await wholeFlow(t, { claims_locales: 'se' })).walk.signIns, 1)
  })

  t.test('oidcc-ensure-request-with-acr-values-succeeds: acr_values with every level of the discovery document gives one of them', async t => {
    const { acr_values_supported } = stage.metadata
    const { tokens } = await wholeFlow(t, { acr_values: acr_values_supported.join(' ') })
    t.ok(acr_values_supported.includes(String(tokens.claims['acr'])))
  })

  t.test('oidcc-codereuse: a code is refused the second time', async t => {
    const { code } = await logInForTokens(t)
    isReplay(t, await redeem(stage, rp, { code }, header))
  })

  t.test('oidcc-codereuse-30seconds: a code is refused thirty seconds later too, and its access token is dead', async t => {
    const { code, tokens } = await wholeFlow(t)
    await stage.later(30, async () => {
      checkUserinfo(t, await askUserinfo(stage, tokens), tokens)
      isReplay(t, await redeem(stage, rp, { code }, header))
      const { status, headers } = await askUserinfo(stage, tokens)
      t.equal(status, 401)
      t.match(headers['www-authenticate'], /^Bearer .*error="invalid_token"/)
    })
  })

  t.test('oidcc-ensure-registered-redirect-uri: an address that is not registered gets a page that says so', async t => {
    const walk = await authorize(stage, stage.newBrowser(), ask(rp, { redirect_uri: `${rp.redirect_uri}/${random(10)}` }))
    checkErrorPage(t, stage, walk)
    t.equal(walk.page.text('error-code'), 'A03')
  })

  t.test('oidcc-ensure-post-request-succeeds: the authorization endpoint takes a POST', async t => {
    t.equal((await wholeFlow(t, {}, { method: 'POST' })).walk.signIns, 1)
  })

  t.test('oidcc-server-client-secret-post: a client may send its secret in the form', async t => {
    await wholeFlow(t, {}, { client: rpPost })
  })

  t.test('oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported: an unsigned request object is refused as not supported', async t => {
    const { state, nonce, ...outside } = ask(rp)
    const walk = await authorize(stage, stage.newBrowser(), { ...outside, request: unsigned({ ...outside, state: state!, nonce: nonce! }) })
    checkError(t, stage, rp, outside, walk, ['request_not_supported'])
  })

  t.test('oidcc-claims-essential: an essential claim is told at userinfo where the identity provider tells it, and is no error where it does not', async t => {
    const { userinfo, tokens } = await wholeFlow(t, { claims: JSON.stringify({ userinfo: { name: { essential: true }, given_name: { essential: true } } }) })
    t.equal(userinfo['given_name'], marion['given_name'])
    t.notOk('name' in marion || 'name' in userinfo, 'nobody tells a name in one piece')
    t.same(Object.keys(tokens.claims).filter(name => name === 'name' || name === 'given_name'), [], 'it was not asked for in the ID Token')
  })

  t.test('oidcc-ensure-request-object-with-redirect-uri: an address inside an unsigned request object does not make up for a wrong one outside', async t => {
    const asked = ask(rp)
    const walk = await authorize(stage, stage.newBrowser(), { ...asked, redirect_uri: `${relyingParty}/${random(10)}`, request: unsigned(asked) })
    checkErrorPage(t, stage, walk)
  })

  t.test('oidcc-refresh-token: no refresh token is given, and none is promised', async t => {
    await wholeFlow(t)
    t.notOk(stage.metadata.scopes_supported.includes('offline_access'))
    t.same(stage.metadata.grant_types_supported, ['authorization_code'])
    checkRefusal(t, await redeem(stage, rp, { grant_type: 'refresh_token', refresh_token: random(43) }, header), { unsupported_grant_type: [400] })
  })

  t.test('oidcc-ensure-request-with-valid-pkce-succeeds: PKCE is taken from a client that need not send it', async t => {
    const code_verifier = randomBytes(32).toString('base64url')
    await wholeFlow(t, { code_challenge: digest(code_verifier).toString('base64url'), code_challenge_method: 'S256' }, { form: { code_verifier } })
  })
}
