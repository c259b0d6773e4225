import t from 'tap'
import Value from 'typebox/value'
import { AuthorizationParameters, checkAuthorizationRequest, checkClientAndAddress, parameter, responseMode, type Arrived, type RequestingClient } from '../../src/protocol/authorization-request.ts'
import { OAuthError, type Failure } from '../../src/protocol/errors.ts'

const levels = { levels: ['eidas1', 'eidas2', 'eidas3'], default: 'eidas1' }
const challenge = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'     // RFC 7636 appendix B
const town: RequestingClient = {
  client_id: 'town',
  active: true,
  redirect_uris: ['https://town.example/back', 'https://town.example/back?tab=1'],
  scopes: ['openid', 'profile', 'birth', 'idp_id'],
  claims: ['email', 'amr', 'unheard_of'],
  acr_values: ['eidas1', 'eidas2'],
  token_endpoint_auth_method: 'client_secret_basic',
  require_pkce: true,
  require_pushed_authorization_requests: false,
  require_signed_request_object: false,
  idp_hints: ['taxes']
}
const least = { client_id: 'town', redirect_uri: 'https://town.example/back', response_type: 'code', scope: 'openid', code_challenge: challenge, code_challenge_method: 'S256' }
const checked = { client_id: 'town', redirect_uri: 'https://town.example/back', scopes: ['openid'], acr: 'eidas1', code_challenge: challenge }

/** The least request that will do, with these parameters changed; one that is undefined is not sent. */
function check (changed: AuthorizationParameters = {}, client: Partial<RequestingClient> = {}, how?: Arrived) {
  const parameters = Object.fromEntries(Object.entries({ ...least, ...changed }).filter(([, value]) => value !== undefined))
  return checkAuthorizationRequest(parameters, { ...town, ...client }, levels, how)
}
const withClaims = (claims: unknown, client: Partial<RequestingClient> = {}, changed: AuthorizationParameters = {}) => check({ ...changed, claims: typeof claims === 'string' ? claims : JSON.stringify(claims) }, client)
const refusal = (failure: Failure, message: RegExp) => ({ failure: new RegExp(`^${failure}$`), message })

t.test('until client and address are known there is nobody to answer (RFC 6749 §4.1.2.1)', async t => {
  const [address] = town.redirect_uris
  const table: Array<[client: RequestingClient | undefined, redirect_uri: unknown, failure: Failure, message: RegExp]> = [
    [undefined, address, 'client_unknown', /^client_id: /],
    [undefined, undefined, 'client_unknown', /^client_id: /],
    [town, undefined, 'redirect_uri_unknown', /^redirect_uri: .*none or several/],
    [town, [address], 'redirect_uri_unknown', /^redirect_uri: .*none or several/],
    [town, [address, address], 'redirect_uri_unknown', /^redirect_uri: .*none or several/],
    [town, null, 'redirect_uri_unknown', /^redirect_uri: .*none or several/],
    [{ ...town, redirect_uris: [['x']] as never }, ['x'], 'redirect_uri_unknown', /^redirect_uri: .*none or several/],
    [town, '', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'https://town.example', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'https://town.example/back/', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'https://town.example/back/../evil', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'https://town.example/back?x=1', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'https://town.example/back#', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'https://TOWN.example/back', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'http://town.example/back', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'https://town.example:443/back', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [town, 'https://town.example@evil.example/back', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [{ ...town, active: false }, 'https://evil.example', 'redirect_uri_unknown', /^redirect_uri: not registered/],
    [{ ...town, active: false }, address, 'client_inactive', /client is not active/]
  ]
  for (const [client, redirect_uri, failure, message] of table) t.throws(() => checkClientAndAddress(client, redirect_uri), refusal(failure, message), `${client && (client.active ? 'active' : 'inactive')} ${redirect_uri}`)
  for (const redirect_uri of town.redirect_uris) t.equal(checkClientAndAddress(town, redirect_uri), town, redirect_uri)
})

t.test('a parameter is one string without control characters, and no longer than we allow (RFC 6749 §3.1)', async t => {
  for (const name of Object.keys(AuthorizationParameters.properties)) {
    for (const value of [['a', 'b'], ['a'], 1, true, null, {}]) t.equal(Value.Check(AuthorizationParameters, { [name]: value }), false, `${name} ${JSON.stringify(value)}`)
    for (const code of [0x00, 0x09, 0x0a, 0x0d, 0x1f, 0x7f]) t.equal(Value.Check(AuthorizationParameters, { [name]: `a${String.fromCharCode(code)}b` }), false, `${name} with character ${code}`)
    t.equal(Value.Check(AuthorizationParameters, { [name]: 'a~é ' }), true, `${name} in plain characters`)
  }
  t.equal(Value.Check(AuthorizationParameters, {}), true, 'all may be missing: that is for the client to be told')
  t.equal(Value.Check(parameter(8), 'a'.repeat(8)), true)
  t.equal(Value.Check(parameter(8), 'a'.repeat(9)), false)
  for (const [name, value] of Object.entries(least)) t.equal(Value.Check(AuthorizationParameters, { [name]: value }), true, `${name} of an ordinary request`)
})

t.test('what we cannot do is refused by its own name (OpenID Connect Core §3.1.2.6, §6, §7.2.1)', async t => {
  const table: Array<[AuthorizationParameters, Failure, RegExp]> = [
    [{ request_uri: 'urn:a' }, 'request_uri_unsupported', /^request_uri: /],
    [{ request_uri: 'https://town.example/request.jwt' }, 'request_uri_unsupported', /^request_uri: /],
    [{ registration: '{}' }, 'registration_unsupported', /^registration: /],
    [{ response_type: undefined }, 'parameter_invalid', /^response_type: /],
    [{ response_type: 'token' }, 'response_type_unsupported', /^response_type: /],
    [{ response_type: 'id_token' }, 'response_type_unsupported', /^response_type: /],
    [{ response_type: 'code id_token' }, 'response_type_unsupported', /^response_type: /],
    [{ response_type: 'code code' }, 'response_type_unsupported', /^response_type: /],
    [{ response_type: 'none' }, 'response_type_unsupported', /^response_type: /],
    [{ response_type: 'CODE' }, 'response_type_unsupported', /^response_type: /],
    [{ response_mode: 'fragment' }, 'response_mode_unsupported', /^response_mode: /],
    [{ response_mode: 'form_post.jwt' }, 'response_mode_unsupported', /^response_mode: /],
    [{ response_mode: 'query.jwt' }, 'response_mode_unsupported', /^response_mode: /]
  ]
  for (const [changed, failure, message] of table) t.throws(() => check(changed), refusal(failure, message), JSON.stringify(changed))
  t.throws(() => check({ request_uri: 'urn:ietf:params:oauth:request_uri:x' }, {}, { pushed: true, signed: true }), refusal('request_uri_unsupported', /^request_uri: /), 'nor does one request stand within another')
})

t.test('the answer goes back by the query or by a form, and by nothing else (Form Post Response Mode §2)', async t => {
  for (const response_mode of ['', ' ', 'fragment', 'Query', 'FORM_POST', 'form_post ', 'form_post query', 'jwt', 'web_message', 'constructor']) t.throws(() => check({ response_mode }), refusal('response_mode_unsupported', /^response_mode: expected query or form_post$/), response_mode)
  t.strictSame(check({ response_mode: 'query' }), checked)
  t.strictSame(check({ response_mode: 'form_post' }), { ...checked, response_mode: 'form_post' })
})

t.test('a failure goes back by a form where one was asked for, and by the query wherever the way is none of ours', async t => {
  t.equal(responseMode('form_post'), 'form_post')
  for (const response_mode of [undefined, null, '', 'query', 'fragment', 'form_post.jwt', 'Form_post', ['form_post'], 1]) t.equal(responseMode(response_mode), undefined, JSON.stringify(response_mode) ?? 'none')
})

t.test('a client that pushes its requests is answered by no other way (RFC 9126 §5)', async t => {
  const pushes = { require_pushed_authorization_requests: true }
  for (const how of [undefined, {}, { pushed: false }, { signed: true }, { pushed: false, signed: true }]) t.throws(() => check({}, pushes, how), refusal('push_required', /RFC 9126/), JSON.stringify(how))
  t.throws(() => check({ response_type: 'token', scope: undefined }, pushes), refusal('push_required', /^request_uri: expected/), 'and is told so first')
  t.strictSame(check({}, pushes, { pushed: true }), checked)
  t.strictSame(check({}, {}, { pushed: true }), checked, 'any client may')
})

t.test('a client that signs its requests is answered by no other way (RFC 9101 §10.5)', async t => {
  const signs = { require_signed_request_object: true }
  for (const how of [undefined, {}, { signed: false }, { pushed: true }, { pushed: true, signed: false }]) t.throws(() => check({}, signs, how), refusal('request_object_required', /RFC 9101/), JSON.stringify(how))
  t.strictSame(check({}, signs, { signed: true }), checked)
  t.strictSame(check({}, {}, { signed: true }), checked, 'any client may')
  const both = { ...signs, require_pushed_authorization_requests: true }
  t.throws(() => check({}, both, { pushed: true }), refusal('request_object_required', /^request: expected/))
  t.throws(() => check({}, both, { signed: true }), refusal('push_required', /^request_uri: expected/))
  t.strictSame(check({}, both, { pushed: true, signed: true }), checked)
})

t.test('dpop_jkt is a SHA-256 thumbprint, which is kept to be enforced (RFC 9449 §10)', async t => {
  const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'                // RFC 9449 §6.1
  for (const dpop_jkt of ['', jkt.slice(1), `${jkt}A`, `${jkt}=`, jkt.replace('-', '+'), jkt.replace('-', '/'), jkt.replace('Z', 'É'), `${jkt}\n`, ` ${jkt}`, 'x']) t.throws(() => check({ dpop_jkt }), refusal('parameter_invalid', /^dpop_jkt: /), JSON.stringify(dpop_jkt))
  t.strictSame(check({ dpop_jkt: jkt }), { ...checked, dpop_jkt: jkt })
})

t.test('what says how to show a page, in which language, or whom to expect is taken from anybody and not kept (OpenID Connect Core §3.1.2.1, §5.2)', async t => {
  for (const hints of [
    { display: 'page' }, { display: 'popup' }, { display: 'touch' }, { display: 'wap' }, { display: 'hologram' }, { display: '' },
    { ui_locales: 'de fr-CA fr' }, { ui_locales: 'xx-unheard-of' }, { claims_locales: 'de' }, { claims_locales: '' }, { login_hint: 'angela@courriel.example' }, { login_hint: '' }, { id_token_hint: 'e30.e30.' },
    { display: 'popup', ui_locales: 'fr', claims_locales: 'fr en', login_hint: 'x'.repeat(512) }
  ]) t.strictSame(check(hints), checked, JSON.stringify(hints).slice(0, 80))
})

t.test('a state is printable ASCII (RFC 6749 appendix A.5)', async t => {
  for (const code of [0x00, 0x0a, 0x0d, 0x1f, 0x7f, 0x80, 0xe9, 0x2028, 0x1f600]) t.throws(() => check({ state: `a${String.fromCodePoint(code)}b` }), refusal('parameter_invalid', /^state: /), `character ${code}`)
  const printable = Array.from({ length: 0x5f }, (_, index) => String.fromCharCode(0x20 + index)).join('')
  t.strictSame(check({ state: printable }), { ...checked, state: printable }, 'and comes back letter by letter')
})

t.test('a client names only the providers it may name', async t => {
  for (const idp_hint of ['town', 'TAXES', 'constructor', '__proto__', 'taxes ', '0', 'length']) t.throws(() => check({ idp_hint }), refusal('hint_not_allowed', /^idp_hint: /), idp_hint)
  t.throws(() => check({ idp_hint: 'taxes' }, { idp_hints: [] }), refusal('hint_not_allowed', /^idp_hint: /))
  t.strictSame(check({ idp_hint: 'taxes' }), checked, 'and the hint is not kept')
})

t.test('openid is among the scopes (OpenID Connect Core §3.1.2.1)', async t => {
  for (const scope of [undefined, ' ', 'profile', 'OpenID', 'openid,profile', 'openid\tprofile', 'openidprofile']) t.throws(() => check({ scope }), refusal('scope_invalid', /^scope: expected openid/), JSON.stringify(scope ?? null))
})

t.test('a known scope that the client may not ask for is refused, and named', async t => {
  t.throws(() => check({ scope: 'openid email' }), refusal('scope_invalid', /^scope: this client may not ask for email$/))
  t.throws(() => check({ scope: 'openid phone profile address' }), refusal('scope_invalid', /^scope: this client may not ask for phone address$/))
  t.throws(() => check({ scope: 'openid unheard_of email' }), refusal('scope_invalid', /^scope: this client may not ask for email$/))
  t.throws(() => check({ scope: 'openid birthplace' }), refusal('scope_invalid', /for birthplace$/), 'what a wider scope stands for is not a scope of the client')
})

t.test('a scope that nobody knows is ignored, whatever it is called', async t => {
  const table: Array<[scope: string, scopes: string[]]> = [
    ['openid unheard_of', ['openid']],
    ['openid offline_access', ['openid']],
    ['openid constructor __proto__ toString hasOwnProperty prototype', ['openid']],
    ['openid Profile', ['openid']],
    ['  openid   profile openid ', ['openid', 'profile']],
    ['profile birth openid', ['profile', 'birth', 'openid']]
  ]
  for (const [scope, scopes] of table) t.strictSame(check({ scope }), { ...checked, scopes }, scope)
  t.strictSame(check({ scope: 'openid constructor' }, { scopes: ['constructor'] }), checked, 'were it registered')
  t.strictSame(check({}, { scopes: [] }), checked, 'openid is understood')
})

t.test('a code challenge is required of whoever does not have leave, and always of a public client (RFC 7636 §4.4.1)', async t => {
  const none = { code_challenge: undefined, code_challenge_method: undefined }
  t.throws(() => check(none), refusal('challenge_required', /^code_challenge: required/))
  t.throws(() => check(none, { require_pkce: false, token_endpoint_auth_method: 'none' }), refusal('challenge_required', /^code_challenge: required/))
  const { code_challenge, ...without } = checked
  t.strictSame(check(none, { require_pkce: false }), without)
})

t.test('a code challenge that is sent is S256 and 43 characters of base64url, required or not (RFC 7636 §4.2, §4.3)', async t => {
  const method = /^code_challenge_method: expected S256/
  const form = /^code_challenge: expected 43/
  const table: Array<[AuthorizationParameters, RegExp]> = [
    [{ code_challenge_method: 'plain' }, method],
    [{ code_challenge_method: undefined }, method],
    [{ code_challenge_method: 's256' }, method],
    [{ code_challenge_method: 'S512' }, method],
    [{ code_challenge: undefined }, /^code_challenge: expected beside code_challenge_method/],
    [{ code_challenge: challenge.slice(1) }, form],
    [{ code_challenge: `${challenge}A` }, form],
    [{ code_challenge: `${challenge}=` }, form],
    [{ code_challenge: challenge.replace('-', '+') }, form],
    [{ code_challenge: challenge.replace('-', '.') }, form],
    [{ code_challenge: challenge.replace('E', 'É') }, form],
    [{ code_challenge: `${challenge}\n` }, form],
    [{ code_challenge: `\n${challenge}` }, form]
  ]
  for (const [changed, message] of table) {
    for (const require_pkce of [true, false]) t.throws(() => check(changed, { require_pkce }), refusal('challenge_invalid', message), `${JSON.stringify(changed)} ${require_pkce}`)
  }
  t.strictSame(check({}, { require_pkce: false }), checked, 'and is kept, to be enforced')
})

t.test('prompt=none stands alone (OpenID Connect Core §3.1.2.1)', async t => {
  for (const prompt of ['none login', 'login none', 'none consent', 'none select_account', 'none unheard_of']) t.throws(() => check({ prompt }), refusal('parameter_invalid', /^prompt: /), prompt)
})

t.test('the prompts that we know are kept, any other is refused', async t => {
  const table: Array<[prompt: string | undefined, kept: string[] | undefined]> = [
    ['none', ['none']],
    ['none none', ['none']],
    ['login', ['login']],
    ['consent login', ['consent', 'login']],
    ['select_account', ['select_account']],
    [' ', undefined],
    ['login consent select_account', ['login', 'consent', 'select_account']],
    [undefined, undefined]
  ]
  for (const prompt of ['login unheard_of', 'unheard_of', 'create', 'constructor', 'Login', 'NONE', 'login,consent', 'login\tconsent', '0', 'length']) t.throws(() => check({ prompt }), refusal('parameter_invalid', /^prompt: /), prompt)
  for (const [prompt, kept] of table) t.strictSame(check({ prompt }), kept === undefined ? checked : { ...checked, prompt: kept }, String(prompt))
})

t.test('max_age is a whole number of seconds (OpenID Connect Core §3.1.2.1)', async t => {
  for (const max_age of ['-1', '+1', '1.5', '1e3', '0x10', ' 1', '1 ', '1\n', 'NaN', 'Infinity', '٣', '1234567890', 'null']) t.throws(() => check({ max_age }), refusal('parameter_invalid', /^max_age: /), JSON.stringify(max_age))
  for (const [max_age, seconds] of [['0', 0], ['1', 1], ['3600', 3600], ['007', 7], ['999999999', 999999999]] as const) t.strictSame(check({ max_age }), { ...checked, max_age: seconds }, max_age)
})

t.test('claims is a JSON object of two objects, of null or objects (OpenID Connect Core §5.5)', async t => {
  const deep = '['.repeat(1000) + ']'.repeat(1000)
  const malformed: unknown[] = [
    'e', '{', '{"userinfo":{}', "{'userinfo':{}}", 'undefined', '{}{}', deep, [], null, 1, true, '"userinfo"', [{ userinfo: {} }],
    { userinfo: null }, { userinfo: [] }, { userinfo: 'email' }, { userinfo: 1 }, { userinfo: true },
    { id_token: null }, { id_token: ['acr'] }, { id_token: 'acr' }, { id_token: 0 }, { userinfo: {}, id_token: [] }, { userinfo: [], id_token: {} },
    { userinfo: { email: true } }, { userinfo: { email: 'essential' } }, { userinfo: { email: [] } }, { userinfo: { email: 1 } }, { userinfo: { unheard_of: false } },
    { id_token: { email: true } }, { id_token: { email: [{ essential: true }] } }, { userinfo: { email: null }, id_token: { email: 0 } }
  ]
  for (const claims of malformed) t.throws(() => withClaims(claims), refusal('parameter_invalid', /^claims: /), JSON.stringify(claims).slice(0, 60))
})

t.test('a claims parameter that cannot be read is not quoted, in words or cause', async t => {
  try {
    withClaims('{"userinfo":{"email":Marie}}')
    t.fail('accepted')
  } catch (error) {
    t.ok(error instanceof OAuthError)
    t.notMatch((error as Error).message, /Marie/)
    t.equal((error as Error).cause, undefined)
  }
})

t.test('claims gives nothing that the client may not ask for, nor what its scopes give already', async t => {
  const table: Array<[claims: unknown, scope: string, kept: object]> = [
    [{}, 'openid', {}],
    [{ userinfo: {}, id_token: {} }, 'openid', {}],
    [{ userinfo: { email: null } }, 'openid', { userinfoClaims: ['email'] }],
    [{ userinfo: { email: { essential: true, value: 'a@b.fr' }, family_name: null } }, 'openid', { userinfoClaims: ['email', 'family_name'] }],
    [{ userinfo: { phone_number: { essential: true }, address: null } }, 'openid', {}],
    [{ userinfo: { unheard_of: null, sub: null, acr: null, iss: null } }, 'openid', {}],
    [{ userinfo: { 'family_name#fr': null } }, 'openid', {}],
    [{ userinfo: { family_name: null, email: null } }, 'openid profile', { userinfoClaims: ['email'] }],
    [{ userinfo: { family_name: null, idp_id: null } }, 'openid profile idp_id', {}],
    [{ id_token: { amr: { essential: true }, family_name: null, phone_number: null, unheard_of: null } }, 'openid profile', { idTokenClaims: ['amr', 'family_name'] }],
    [{ id_token: { auth_time: { essential: true }, nonce: null, exp: null } }, 'openid', {}],
    [{ userinfo: { birthplace: null }, id_token: { birthcountry: null } }, 'openid', { userinfoClaims: ['birthplace'], idTokenClaims: ['birthcountry'] }],
    [{ introspection: { email: null }, other: [1] }, 'openid', {}]
  ]
  for (const [claims, scope, kept] of table) t.strictSame(withClaims(claims, {}, { scope }), { ...checked, scopes: scope.split(' '), ...kept }, `${JSON.stringify(claims)} ${scope}`)
})

t.test('the names of an object\'s prototype are nothing in claims', async t => {
  for (const member of ['userinfo', 'id_token']) {
    t.strictSame(withClaims(`{"${member}":{"__proto__":{"sub":{"value":"a"},"acr":{"value":"eidas3"}},"constructor":null,"toString":{"essential":true}}}`), checked, member)
  }
  t.strictSame(withClaims('{"__proto__":{"userinfo":{"email":null},"id_token":{"acr":{"value":"eidas9"}}},"constructor":{}}'), checked)
  t.equal(({} as Record<string, unknown>)['userinfo'], undefined)
})

t.test('the only sub that will do is one (OpenID Connect Core §5.5.1)', async t => {
  const malformed = [
    { id_token: { sub: { value: 1 } } },
    { id_token: { sub: { value: null } } },
    { userinfo: { sub: { value: ['a'] } } },
    { userinfo: { sub: { value: { toString: 'a' } } } },
    { userinfo: { sub: { value: 'a' } }, id_token: { sub: { value: 'b' } } },
    { userinfo: { sub: { value: 'a' } }, id_token: { sub: { value: 'A' } } },
    { userinfo: { sub: { value: 'a' } }, id_token: { sub: { value: null } } }
  ]
  for (const claims of malformed) t.throws(() => withClaims(claims), refusal('parameter_invalid', /^claims: /), JSON.stringify(claims))
  const table: Array<[claims: unknown, sub: string | undefined]> = [
    [{ id_token: { sub: { value: 'a' } } }, 'a'],
    [{ userinfo: { sub: { value: 'a' } } }, 'a'],
    [{ userinfo: { sub: { value: 'a' } }, id_token: { sub: { value: 'a', essential: true } } }, 'a'],
    [{ userinfo: { sub: null }, id_token: { sub: { value: 'a' } } }, 'a'],
    [{ userinfo: { sub: null }, id_token: { sub: { essential: true } } }, undefined]
  ]
  for (const [claims, sub] of table) t.strictSame(withClaims(claims), sub === undefined ? checked : { ...checked, sub }, JSON.stringify(claims))
})

t.test('an acr with values must be met, and so is refused when it cannot be (OpenID Connect Core §5.5.1.1)', async t => {
  const table: Array<[acr: unknown, failure: Failure, message: RegExp]> = [
    [{ essential: true, values: ['eidas9', 'constructor'] }, 'acr_not_offered', /essential acr/],
    [{ essential: true, value: 'eidas9' }, 'acr_not_offered', /essential acr/],
    [{ values: ['eidas9'] }, 'acr_not_offered', /essential acr/],
    [{ essential: true, values: ['eidas3'] }, 'acr_not_offered', /^acr eidas3/],
    [{ essential: true, values: 'eidas2' }, 'parameter_invalid', /^claims: /],
    [{ essential: true, values: { 0: 'eidas2' } }, 'parameter_invalid', /^claims: /],
    [{ essential: true, values: ['eidas2', 2] }, 'parameter_invalid', /^claims: /],
    [{ essential: true, values: [null] }, 'parameter_invalid', /^claims: /],
    [{ essential: true, value: 2 }, 'parameter_invalid', /^claims: /],
    [{ essential: true, value: ['eidas2'] }, 'parameter_invalid', /^claims: /],
    [{ essential: true, value: null }, 'parameter_invalid', /^claims: /]
  ]
  for (const [acr, failure, message] of table) t.throws(() => withClaims({ id_token: { acr } }, {}, { acr_values: 'eidas1' }), refusal(failure, message), JSON.stringify(acr))
})

t.test('the level wanted is that of an acr with values, else of acr_values, else the default', async t => {
  const table: Array<[acr: unknown, acr_values: string | undefined, kept: object]> = [
    [{ essential: true, values: ['eidas2'] }, 'eidas1', { acr: 'eidas2', essentialAcr: ['eidas2'] }],
    [{ essential: true, values: ['eidas2', 'eidas1'] }, undefined, { acr: 'eidas1', essentialAcr: ['eidas2', 'eidas1'] }],
    [{ essential: true, value: 'eidas2' }, undefined, { acr: 'eidas2', essentialAcr: ['eidas2'] }],
    [{ values: ['eidas2', 'eidas9'] }, 'eidas1', { acr: 'eidas2', essentialAcr: ['eidas2', 'eidas9'] }],
    [{ essential: true }, 'eidas2', { acr: 'eidas2' }],
    [{ essential: true, values: [] }, 'eidas2', { acr: 'eidas2' }],
    [null, 'eidas2', { acr: 'eidas2' }],
    [undefined, 'eidas2 eidas1', { acr: 'eidas1' }],
    [undefined, 'eidas9  eidas2 ', { acr: 'eidas2' }],
    [undefined, 'eidas9', { acr: 'eidas1' }],
    [undefined, undefined, { acr: 'eidas1' }]
  ]
  for (const [acr, acr_values, kept] of table) t.strictSame(withClaims({ id_token: { acr } }, {}, { acr_values }), { ...checked, ...kept }, `${JSON.stringify(acr)} ${acr_values}`)
  t.strictSame(withClaims({ userinfo: { acr: { values: ['eidas2'] } } }), checked, 'an acr asked at userinfo is none: it is said in the ID Token')
})

t.test('a level that is not offered to this client is refused', async t => {
  t.throws(() => check({ acr_values: 'eidas3' }), refusal('acr_not_offered', /^acr eidas3 is not offered/))
  t.throws(() => check({}, { acr_values: ['eidas2'] }), refusal('acr_not_offered', /^acr eidas1 is not offered/), 'the default too')
  t.equal(check({ acr_values: 'eidas3' }, { acr_values: undefined }).acr, 'eidas3', 'all are offered unless it is said')
})

t.test('a request keeps what was asked and nothing that was not', async t => {
  t.strictSame(check(), checked)
  t.strictSame(Object.keys(check()).sort(), Object.keys(checked).sort(), 'no member without a value')
  const much = {
    scope: 'openid profile',
    redirect_uri: 'https://town.example/back?tab=1',
    state: 's',
    nonce: 'n\u00e9',
    prompt: 'login consent',
    max_age: '0',
    acr_values: 'eidas2',
    ui_locales: 'fr',
    response_mode: 'query',
    idp_hint: 'taxes',
    claims: '{"userinfo":{"email":null},"id_token":{"amr":null,"sub":{"value":"a"}}}'
  }
  t.strictSame(check(much), {
    ...checked,
    scopes: ['openid', 'profile'],
    redirect_uri: 'https://town.example/back?tab=1',
    state: 's',
    nonce: 'n\u00e9',
    prompt: ['login', 'consent'],
    max_age: 0,
    acr: 'eidas2',
    userinfoClaims: ['email'],
    idTokenClaims: ['amr'],
    sub: 'a'
  })
  t.equal(check({ client_id: 'other' }).client_id, 'town', 'the client is the one that was verified')
})
