import { importJWK } from 'jose'
import * as client from 'openid-client'
import { createBrowser, fetchBy, type Answer, type Ask, type Browser } from './browser.ts'
import { entries, readPage, type Form, type Page } from './page.ts'
import type { ProbeSettings } from './settings.ts'
import { ProbeFailure, watchLogin, type Side, type Told, type Trouble, type Watch } from './watch.ts'

/**
 * One whole login, as a client and a citizen make it; what it tells ends with why it failed, or null. Of the gateway it knows its issuer, and on its pages what stays: the ids of links,
 * of the button that agrees and of what support is told.
 */
export async function probeLogin (settings: ProbeSettings, tell: (told: Told) => void): Promise<Trouble | null> {
  const watch = watchLogin(settings, tell)
  watch.hide(settings.clientSecret, settings.password, settings.account.username)
  watch.enter('discovery', 'gateway')
  const browser = createBrowser(settings, watch)
  let trouble: Trouble | null = null
  try {
    await login(settings, watch, browser)
  } catch (error) {
    trouble = (error instanceof ProbeFailure ? error : broken(error, watch)).trouble
  }
  watch.leave()
  tell({ ended: trouble })
  await browser.close()
  return trouble
}

async function login (settings: ProbeSettings, watch: Watch, browser: Browser) {
  const { redirect_uri, post_logout_redirect_uri, provider, acr_values } = settings
  const configuration = await discover(settings, browser).catch(async error => { throw await translated(error, watch) })
  const state = client.randomState()
  const nonce = client.randomNonce()
  const code_verifier = client.randomPKCECodeVerifier()
  watch.hide(state, nonce, code_verifier)
  const url = client.buildAuthorizationUrl(configuration, {
    redirect_uri,
    scope: settings.scopes.join(' '),
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(code_verifier),
    code_challenge_method: 'S256',
    ui_locales: 'en',
    ...(provider.hint ? { idp_hint: provider.id } : {}),
    ...(acr_values.length > 0 ? { acr_values: acr_values.join(' ') } : {})
  })

  watch.enter('authorize', 'gateway')
  const gateway = new Set([settings.issuer, url.href].map(address => new URL(address).origin))
  const citizen = citizenOf(settings, watch, browser)
  const callback = await follow({ browser, watch, gateway, goal: redirect_uri }, { url }, citizen)
  const error = callback.searchParams.get('error')
  watch.hide(callback.searchParams.get('code'))
  if (error !== null) throw watch.failure('the gateway sends the citizen back with an error', { error: watch.foreign(error, oauthError) })

  watch.enter('token', 'gateway')
  const tokens = await client.authorizationCodeGrant(configuration, callback, { pkceCodeVerifier: code_verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true })
    .catch(async error => { throw await translated(error, watch) })
  const { sub } = tokens.claims()!
  watch.hide(tokens.access_token, tokens.id_token, sub)

  watch.enter('userinfo', 'gateway')
  const claims = await client.fetchUserInfo(configuration, tokens.access_token, sub).catch(async error => { throw await translated(error, watch) })
  const missing = settings.claims.filter(name => !Object.hasOwn(claims, name))
  if (missing.length > 0) throw watch.failure(`userinfo lacks ${missing.join(', ')}`)

  if (post_logout_redirect_uri === undefined) return
  watch.enter('logout', 'gateway')
  if (configuration.serverMetadata().end_session_endpoint === undefined) throw watch.failure('its metadata has no end_session_endpoint')
  const left = await follow({ browser, watch, gateway, goal: post_logout_redirect_uri, step: 'logout' }, {
    url: client.buildEndSessionUrl(configuration, { post_logout_redirect_uri, state, id_token_hint: tokens.id_token! })
  })
  if (left.searchParams.get('state') !== state) throw watch.failure('the logout came back without its state')
}

async function discover (settings: ProbeSettings, browser: Browser) {
  const { issuer, client_id, id_token_signed_response_alg } = settings
  return client.discovery(new URL(issuer), client_id, { id_token_signed_response_alg, [client.clockTolerance]: 60 }, await authentication(settings), {
    [client.customFetch]: fetchBy(browser),
    timeout: 0,                                                        // the watch has one for everything
    // a probe vouches for the gateway: signatures are verified though they came by TLS
    execute: [client.enableNonRepudiationChecks, ...(issuer.startsWith('http:') ? [client.allowInsecureRequests] : [])]
  })
}

async function authentication ({ clientKey, clientSecret, token_endpoint_auth_method }: ProbeSettings) {
  if (clientKey !== undefined) return client.PrivateKeyJwt({ key: await importJWK(clientKey) as CryptoKey, kid: clientKey.kid! })
  return token_endpoint_auth_method === 'client_secret_post' ? client.ClientSecretPost(clientSecret) : client.ClientSecretBasic(clientSecret)
}

interface Way { browser: Browser, watch: Watch, gateway: ReadonlySet<string>, goal: string, /** all of the way is this one step */ step?: 'logout' }
interface Shown { url: URL, status: number, page: Page, isGateway: boolean, gateway: ReadonlySet<string> }
/** What a citizen does with a page: the way on. @throws {ProbeFailure} */
type Citizen = (shown: Shown) => Ask | Promise<Ask>

const longestChain = 20
const mostPages = 12

/** Follows redirects, and a citizen's ways on from pages, until the gateway sends to `goal`. */
async function follow ({ browser, watch, gateway, goal, step }: Way, start: Ask, citizen?: Citizen): Promise<URL> {
  const isGoal = ({ origin, pathname }: URL) => origin + pathname === new URL(goal).href
  let ask = start
  let chain = 0
  let pages = 0
  let wasAway = false
  for (;;) {
    if (isGoal(ask.url)) throw watch.failure('it sends the citizen to the client, which only the gateway may')
    if (!browser.mayGo(ask.url)) throw watch.failure('it leads to an address that is not https')
    const isGateway = gateway.has(ask.url.origin)
    const at: Side = isGateway ? 'gateway' : 'provider'
    if (step !== undefined) watch.enter(step, at)
    else if (!isGateway) {
      if (wasAway && watch.step !== 'provider') throw watch.failure('it sends the citizen to the provider a second time')
      watch.enter('provider', at)
      wasAway = true
    } else watch.enter(watch.step === 'provider' ? 'callback' : watch.step, at)

    const answer: Answer = await browser.go(ask)
    if (answer.next !== undefined) {
      if (isGoal(answer.next.url) && isGateway) return answer.next.url
      if (++chain > longestChain) throw watch.failure(`more than ${longestChain} redirects in a row`, { status: answer.status })
      ask = answer.next
      continue
    }
    const { status } = answer
    const page = readPage(answer.text, watch.inTime)
    if (isGateway) refuseFailure(status, page, watch)
    if (++pages > mostPages) throw watch.failure(`more than ${mostPages} pages`)
    if (citizen === undefined) throw watch.failure('it shows a page where it should send back', { status })
    ask = await citizen({ url: page.base !== undefined && URL.canParse(page.base, ask.url) ? new URL(page.base, ask.url) : ask.url, status, page, isGateway, gateway })
    chain = 0
  }
}

const oauthError = /^[a-z][a-z_]{0,63}$/

/** Any page that says that something went wrong at the gateway. @throws {ProbeFailure} */
function refuseFailure (status: number, { code, id }: Page, watch: Watch) {
  if (status === 200 && code === undefined) return
  throw watch.failure('the gateway shows an error', { status, code: watch.foreign(code, /^[A-Z]\d\d$/), support_id: watch.foreign(id, /^[A-Z0-9]{4,16}$/) })
}

/** Failures that the gateway lays at the provider's door, by the reason its chooser gives. */
const ofProvider = new Set([
  'provider_unavailable', 'provider_maintenance', 'provider_refused', 'provider_failed', 'provider_answer_invalid', 'provider_code_spent',
  'acr_too_low', 'authentication_too_old', 'identity_incomplete'
])

/** The citizen of one login: chooses, logs in, reads, ticks and agrees, each of it once. */
function citizenOf ({ provider, account, password, step_timeout_ms }: ProbeSettings, watch: Watch, browser: Browser): Citizen {
  let named = false
  let gavePassword = false
  let agreed = false

  return async shown => {
    if (!shown.isGateway) return atProvider(shown)
    if (shown.page.notice !== undefined) throw await sentBack(shown.page.notice)
    return watch.step === 'callback' || watch.step === 'consent' ? agree(shown) : choose(shown)
  }

  function choose ({ url, page }: Shown): Ask {
    const chosen = watch.step !== 'authorize'
    watch.enter('chooser', 'gateway')
    const href = page.links.get(`idp-${provider.id}`)
    if (href === undefined || !URL.canParse(href, url)) throw watch.failure(`a page without a link to the provider ${provider.id}`)
    if (chosen) throw watch.failure('the chooser is shown again')
    watch.enter('login', 'gateway')
    return { url: new URL(href, url), from: url }
  }

  /** Whether it is the provider that is down, or the gateway that does not reach it, its own status says. */
  async function sentBack (said: string) {
    const notice = watch.foreign(said, /^[a-z_]{1,40}$/)
    if (notice === undefined || !ofProvider.has(notice)) return watch.failure('the gateway shows its chooser again', { notice })
    if (notice === 'provider_unavailable' && provider.status_url !== undefined && await answersWell(provider.status_url)) {
      return watch.failure('the gateway says that the provider does not answer, and it does', { notice })
    }
    return watch.failure('the gateway says that the provider failed', { notice, at: 'provider' })
  }

  async function answersWell (status_url: string) {
    try { return (await browser.call(new URL(status_url), { method: 'GET', headers: {} })).status === 200 } catch { return false }
  }

  function atProvider ({ url, status, page, gateway }: Shown): Ask {
    // some ask for the name on a page of its own, which is known only by the name of its field
    const form = page.forms.find(form => passwordIn(form) !== undefined) ?? page.forms.find(({ fields }) => !named && fields.some(({ name }) => name === account.fields.username))
    if (form !== undefined && gavePassword) throw watch.failure('it asks for the password again: the account or its password is refused', { status })
    if (status >= 400) throw watch.failure('it shows an error', { status })
    if (form !== undefined) return fill(form, url, gateway)
    const [only] = page.forms
    if (page.forms.length === 1 && only!.fields.length > 0 && only!.fields.every(({ type }) => type === 'hidden')) return submit(only!, url)
    throw watch.failure(gavePassword ? 'a page after its login form that the probe cannot answer' : 'a page without a login form', { status })
  }

  function passwordIn ({ fields }: Form) {
    return fields.find(({ name, type }) => account.fields.password === undefined ? type === 'password' : name === account.fields.password)
  }

  function fill (form: Form, url: URL, gateway: ReadonlySet<string>): Ask {
    const secret = passwordIn(form)
    const texts = form.fields.filter(({ type }) => ['', 'text', 'email', 'tel', 'number'].includes(type))
    const name = account.fields.username === undefined
      ? texts.find(({ autocomplete }) => autocomplete.split(' ').includes('username')) ?? texts[0]
      : form.fields.find(field => field.name === account.fields.username)
    if (secret === undefined ? name === undefined : name === undefined && !named) throw watch.failure('its login form has no field for the name: expected /account/fields')
    const ask = submit(form, url, { ...(name && { [name.name]: account.username }), ...(secret && { [secret.name]: password }) })
    if (gateway.has(ask.url.origin) || (provider.hosts !== undefined && !provider.hosts.includes(ask.url.hostname))) throw watch.failure('its login form leads to a host that must not have the password')
    if (form.method === 'GET') throw watch.failure('its login form would put the password in an address')
    named = true
    gavePassword ||= secret !== undefined
    return ask
  }

  function agree ({ url, page }: Shown): Ask {
    const form = page.forms.find(({ buttons }) => buttons.some(({ id }) => id === 'continue'))
    if (form === undefined) throw watch.failure('a page that the probe does not know')
    if (agreed) throw watch.failure('the page is shown again though its box was ticked and its button pressed')
    watch.enter('consent', 'gateway')
    agreed = true
    return submit(form, url, {}, { id: 'continue', tick: true })
  }

  function submit (form: Form, url: URL, filled: Record<string, string> = {}, { id, tick = false }: { id?: string, tick?: boolean } = {}): Ask {
    const button = id === undefined ? form.buttons[0] : form.buttons.find(button => button.id === id)
    const action = button?.action ?? form.action
    if (!URL.canParse(action, url)) throw watch.failure('its form leads to what is no address')
    const to = new URL(action, url)
    const sent = entries(form, { filled, button, tick })
    if (form.method === 'POST') return { url: to, form: sent, from: url }
    to.search = sent.toString()
    return { url: to, from: url }
  }
}

/** What openid-client throws, in words of ours or its own, which hold no values. */
async function translated (error: unknown, watch: Watch): Promise<ProbeFailure> {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof ProbeFailure) return at
  if (error instanceof client.ResponseBodyError) return watch.failure('the gateway refuses the client', { status: error.status, error: watch.foreign(error.error, oauthError) })
  if (error instanceof client.WWWAuthenticateChallengeError) {
    const said = await error.response.json().catch(() => undefined) as { error?: unknown } | undefined
    return watch.failure('the gateway refuses the client', { status: error.status, error: watch.foreign(said?.error, oauthError) })
  }
  if (!(error instanceof client.ClientError)) return broken(error, watch)
  const { cause } = error
  return watch.failure(`its answer is not right: ${cause instanceof Error && cause.name === 'OperationProcessingError' ? cause.message : error.message}`, cause instanceof Response ? { status: cause.status } : {})
}

/** What should not be: told without its message, which may hold anything. */
function broken (error: unknown, watch: Watch) {
  const { name, stack = '' } = error instanceof Error ? error : new Error()
  return watch.failure(`the probe broke off: ${name} ${/src\/probe\/[\w-]+\.ts:\d+/.exec(stack)?.[0] ?? ''}`.trimEnd(), { at: 'probe' })
}
