import t from 'tap'
import { errorMembers, failures, notices, OAuthError, responsibilities, responsibilityFor, unanswered, type Failure } from '../../src/protocol/errors.ts'

interface Row { error: string, status: number, citizen: string, page: string, notice?: string, security?: true, outage?: true }
const rows = Object.entries(failures) as Array<[Failure, Row]>

/** RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, OpenID Connect Core §3.1.2.6, Unmet Authentication Requirements §2, RFC 9449 §12.2. */
const registered = [
  'invalid_request', 'unauthorized_client', 'access_denied', 'unsupported_response_type', 'invalid_scope', 'server_error', 'temporarily_unavailable',
  'invalid_client', 'invalid_grant', 'unsupported_grant_type', 'invalid_token', 'login_required', 'consent_required',
  'interaction_required', 'account_selection_required', 'invalid_request_object', 'invalid_request_uri', 'invalid_dpop_proof', 'use_dpop_nonce',
  'request_not_supported', 'request_uri_not_supported', 'registration_not_supported', 'unmet_authentication_requirements'
]

t.test('an error description has only the characters that are allowed there (RFC 6749 §4.1.2.1)', async t => {
  const allowed = /^[\x20-\x21\x23-\x5B\x5D-\x7E]*$/
  const table: Array<[what: string, message: string, description: string]> = [
    ['a quotation', 'he said "no"', "he said 'no'"],
    ['a backslash', 'a\\b', 'a?b'],
    ['a header of its own', 'a\r\nset-cookie: b', 'a??set-cookie: b'],
    ['control characters', 'nul \u0000, delete \u007f, tab \t', 'nul ?, delete ?, tab ?'],
    ['letters beyond ASCII', 'Zoé Œuvrard', 'Zo? ?uvrard'],
    ['separators and marks of direction', '\u2028\u202e', '??'],
    ['nothing', '', ''],
    ['the ends of what is allowed', ' !#[]~', ' !#[]~'],
    ['plain words', 'scope: expected openid', 'scope: expected openid']
  ]
  for (const [what, message, description] of table) t.equal(errorMembers(new OAuthError('parameter_invalid', message)).error_description, description, what)
  const everyCharacter = Array.from({ length: 0x300 }, (_, code) => String.fromCharCode(code)).join('')
  t.match(errorMembers(new OAuthError('unexpected', everyCharacter)).error_description, allowed, 'none of the first 768 characters gets through unless allowed')
})

t.test('what is told to a client is the code of the table and the description, and nothing of what lies behind', async t => {
  const error = new OAuthError('provider_answer_invalid', 'iss: not the issuer', { cause: new Error('Marie Curie, 1867-11-07') })
  t.strictSame(errorMembers(error), { error: 'server_error', error_description: 'iss: not the issuer' })
})

t.test('a failure carries its name, its row, its words and the foreign error behind it', async t => {
  const cause = new Error('ECONNRESET')
  const error = new OAuthError('store_unavailable', 'the store did not answer', { cause })
  t.ok(error instanceof Error)
  t.equal(error.name, 'OAuthError')
  t.equal(error.failure, 'store_unavailable')
  t.equal(error.message, 'the store did not answer')
  t.equal(error.cause, cause)
  t.equal(error.row, failures.store_unavailable)
  t.equal('cause' in new OAuthError('store_unavailable', 'alone'), false)
})

t.test('a citizen who reads a code to the help desk names one failure only', async t => {
  const codes = rows.map(([, { citizen }]) => citizen)
  t.strictSame(codes.filter((code, index) => codes.indexOf(code) !== index), [])
  t.strictSame(codes.filter(code => !/^[ABCDEY]\d\d$/.test(code)), [])
})

t.test('every failure is told in an error code that is registered for OAuth', async t => {
  t.strictSame(rows.filter(([, { error }]) => !registered.includes(error)).map(([failure]) => failure), [])
})

t.test('every failure is answered with a status of an error, the one its error code asks for', async t => {
  const statuses: Record<string, (status: number) => boolean> = {
    invalid_client: status => status === 401,                          // RFC 6749 §5.2
    invalid_token: status => status === 401,                           // RFC 6750 §3.1
    invalid_grant: status => status === 400,
    invalid_scope: status => status === 400,
    unsupported_grant_type: status => status === 400,
    temporarily_unavailable: status => status === 503 || status === 429,  // RFC 6585 §4
    server_error: status => status >= 500
  }
  const wrong = rows.filter(([, { error, status }]) => !(statuses[error] ?? (status => status >= 400 && status < 500))(status))
  t.strictSame(wrong.map(([failure, { error, status }]) => `${failure} ${error} ${status}`), [])
})

t.test('a 503, or a 429, is never told as a fault of the request, nor the other way round', async t => {
  t.strictSame(rows.filter(([, { error, status }]) => (status === 503 || status === 429) !== (error === 'temporarily_unavailable')).map(([failure]) => failure), [])
})

t.test('the first letter of a citizen code says on whose side a failure lies', async t => {
  const table: Array<[Failure, string]> = [
    ['redirect_uri_unknown', 'client'],
    ['login_expired', 'citizen'],
    ['provider_unavailable', 'provider'],
    ['client_authentication_failed', 'client'],
    ['logout_request_invalid', 'client'],
    ['store_unavailable', 'us']
  ]
  for (const [failure, side] of table) t.equal(responsibilityFor(failure), side, failure)
  t.strictSame(rows.filter(([failure]) => !responsibilities.includes(responsibilityFor(failure))).map(([failure]) => failure), [])
  t.strictSame(responsibilities.filter(side => !rows.some(([failure]) => responsibilityFor(failure) === side)), [], 'each side has failures of its own')
})

t.test('every failure of a provider, and nothing that is the client\'s fault, goes back to the chooser', async t => {
  t.strictSame(rows.filter(([failure, { notice }]) => responsibilityFor(failure) === 'provider' && notice === undefined).map(([failure]) => failure), [])
  t.strictSame(rows.filter(([failure, { notice }]) => ['client', 'us'].includes(responsibilityFor(failure)) && notice !== undefined).map(([failure]) => failure), [])
})

t.test('what counts against an identity provider is on its side, and never what a browser or a citizen may bring about', async t => {
  const outages = rows.filter(([, { outage }]) => outage === true).map(([failure]) => failure)
  t.strictSame(outages.filter(failure => responsibilityFor(failure) !== 'provider'), [])
  t.strictSame(outages.filter(failure => !failure.startsWith('provider_')), [])
  const broughtAbout: Failure[] = [
    'callback_issuer_wrong', 'callback_malformed', 'code_of_another_login',                        // the browser brings another answer, or a broken one
    'provider_code_spent', 'provider_call_refused',                                                // a code that is spent, or was never one
    'provider_refused', 'acr_missing', 'acr_too_low', 'authentication_too_old', 'identity_incomplete',  // who the citizen is, and what he or she did there
    'provider_unknown', 'provider_not_allowed', 'provider_maintenance', 'fresh_login_unprovable',  // an address typed by hand
    'provider_busy', 'provider_overloaded'                                                         // many citizens at a time
  ]
  t.strictSame(broughtAbout.filter(failure => outages.includes(failure)), [])
  t.strictSame(rows.map(([failure]) => failure).filter(failure => responsibilityFor(failure) === 'provider' && !outages.includes(failure) && !broughtAbout.includes(failure)), [], 'every failure of a provider is one or the other')
})

t.test('a provider that does not do its work, and one that does it wrong, count against it alike', async t => {
  const table: Failure[] = [
    'provider_unavailable', 'provider_timed_out', 'provider_credentials_refused', 'provider_redirected', 'provider_answer_too_large', 'provider_answer_unreadable', 'provider_answer_ambiguous', 'provider_answer_invalid',
    'provider_metadata_invalid', 'provider_metadata_issuer_wrong', 'provider_address_refused', 'provider_keys_unavailable', 'provider_issuer_wrong', 'provider_nonce_wrong', 'provider_signature_wrong', 'provider_subject_differs'
  ]
  for (const failure of table) t.equal(new OAuthError(failure, 'x').row.outage, true, failure)
})

t.test('of the outages those say that nobody answered which nothing that a browser brought can be the reason for', async t => {
  t.strictSame([...unanswered].toSorted(), ['provider_timed_out', 'provider_unavailable'])
  for (const failure of unanswered) t.equal(new OAuthError(failure, 'x').row.outage, true, failure)
})

t.test('whoever forges an answer, or brings one of somebody else, leaves a security event', async t => {
  const table: Failure[] = [
    'callback_issuer_wrong', 'code_of_another_login', 'provider_metadata_issuer_wrong', 'provider_address_refused', 'provider_issuer_wrong', 'provider_audience_wrong', 'provider_authorized_party_wrong', 'provider_nonce_wrong',
    'provider_signature_missing', 'provider_algorithm_wrong', 'provider_signature_wrong', 'provider_key_embedded', 'provider_key_unknown', 'provider_subject_differs'
  ]
  for (const failure of table) t.equal(new OAuthError(failure, 'x').row.security, true, failure)
})

t.test('what comes of a citizen\'s own login leads back to the chooser, and so does what came of the browser', async t => {
  for (const failure of ['login_expired', 'login_elsewhere', 'identity_expired', 'callback_issuer_wrong', 'callback_malformed', 'code_of_another_login', 'fresh_login_unprovable', 'acr_missing'] as Failure[]) {
    t.type(new OAuthError(failure, 'x').row.notice, 'string', failure)
  }
  t.strictSame([...notices].toSorted(), [...new Set(rows.flatMap(([, { notice }]) => notice ?? []))].toSorted(), 'and each notice is known')
})
