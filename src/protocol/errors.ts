/**
 * Every failure, one row each: the OAuth error code (RFC 6749, RFC 6750, OpenID Connect), the HTTP status where the
 * answer is ours, the code that a citizen reads to the help desk, and the text of the page. The failure's name is also the metric label and the
 * log field. `security` writes a security event. `outage` says that an identity provider does not do its work, whoever comes: its circuit breaker counts it; what a browser
 * may have brought about is never that. `notice` marks the failures after which a login goes back to the chooser with its request intact.
 */
export const failures = {
  // the request of a client
  client_unknown: { error: 'invalid_request', status: 400, citizen: 'A01', page: 'service_mistake' },
  client_inactive: { error: 'unauthorized_client', status: 403, citizen: 'A02', page: 'service_closed' },
  redirect_uri_unknown: { error: 'invalid_request', status: 400, citizen: 'A03', page: 'service_mistake' },
  request_malformed: { error: 'invalid_request', status: 400, citizen: 'A04', page: 'service_mistake' },
  request_too_large: { error: 'invalid_request', status: 400, citizen: 'A05', page: 'service_mistake' },
  response_type_unsupported: { error: 'unsupported_response_type', status: 400, citizen: 'A06', page: 'service_mistake' },
  response_mode_unsupported: { error: 'invalid_request', status: 400, citizen: 'A07', page: 'service_mistake' },
  scope_invalid: { error: 'invalid_scope', status: 400, citizen: 'A08', page: 'service_mistake' },
  challenge_required: { error: 'invalid_request', status: 400, citizen: 'A09', page: 'service_mistake' },
  challenge_invalid: { error: 'invalid_request', status: 400, citizen: 'A10', page: 'service_mistake' },
  parameter_invalid: { error: 'invalid_request', status: 400, citizen: 'A11', page: 'service_mistake' },
  request_object_unsupported: { error: 'request_not_supported', status: 400, citizen: 'A12', page: 'service_mistake' },
  request_object_invalid: { error: 'invalid_request_object', status: 400, citizen: 'A17', page: 'service_mistake' },
  request_object_required: { error: 'invalid_request', status: 400, citizen: 'A18', page: 'service_mistake' },
  request_uri_unsupported: { error: 'request_uri_not_supported', status: 400, citizen: 'A13', page: 'service_mistake' },
  request_uri_invalid: { error: 'invalid_request_uri', status: 400, citizen: 'A19', page: 'service_mistake' },
  push_required: { error: 'invalid_request', status: 400, citizen: 'A20', page: 'service_mistake' },
  registration_unsupported: { error: 'registration_not_supported', status: 400, citizen: 'A14', page: 'service_mistake' },
  acr_not_offered: { error: 'unmet_authentication_requirements', status: 400, citizen: 'A15', page: 'service_mistake' },
  hint_not_allowed: { error: 'invalid_request', status: 400, citizen: 'A16', page: 'service_mistake' },

  // the login, in the citizen's browser
  login_required: { error: 'login_required', status: 400, citizen: 'B01', page: 'service_mistake' },
  interaction_required: { error: 'interaction_required', status: 400, citizen: 'B12', page: 'service_mistake' },
  account_selection_required: { error: 'account_selection_required', status: 400, citizen: 'B13', page: 'service_mistake' },
  consent_required: { error: 'consent_required', status: 400, citizen: 'B02', page: 'service_mistake' },
  citizen_refused: { error: 'access_denied', status: 403, citizen: 'B03', page: 'unexpected' },
  login_unknown: { error: 'invalid_request', status: 400, citizen: 'B04', page: 'login_lost' },
  login_expired: { error: 'invalid_request', status: 400, citizen: 'B05', page: 'login_lost', notice: 'login_expired' },
  login_elsewhere: { error: 'invalid_request', status: 400, citizen: 'B06', page: 'login_lost', notice: 'login_elsewhere' },
  identity_expired: { error: 'invalid_request', status: 400, citizen: 'B07', page: 'login_lost', notice: 'identity_expired' },
  form_malformed: { error: 'invalid_request', status: 400, citizen: 'B11', page: 'unexpected' },
  form_cross_site: { error: 'invalid_request', status: 403, citizen: 'B08', page: 'forbidden_form' },
  login_finished: { error: 'invalid_request', status: 409, citizen: 'B10', page: 'finished' },
  account_unknown: { error: 'login_required', status: 400, citizen: 'B09', page: 'service_mistake' },
  callback_issuer_wrong: { error: 'access_denied', status: 400, citizen: 'B14', page: 'unexpected', notice: 'provider_answer_invalid', security: true },
  callback_malformed: { error: 'invalid_request', status: 400, citizen: 'B16', page: 'unexpected', notice: 'provider_answer_invalid' },
  code_of_another_login: { error: 'access_denied', status: 400, citizen: 'B15', page: 'unexpected', notice: 'provider_answer_invalid', security: true },

  // the identity provider: how it stands
  provider_unknown: { error: 'invalid_request', status: 404, citizen: 'C01', page: 'provider_unknown', notice: 'provider_unavailable' },
  provider_maintenance: { error: 'temporarily_unavailable', status: 503, citizen: 'C02', page: 'temporarily_unavailable', notice: 'provider_maintenance' },
  provider_not_allowed: { error: 'access_denied', status: 403, citizen: 'C03', page: 'provider_unknown', notice: 'provider_not_allowed' },
  fresh_login_unprovable: { error: 'login_required', status: 403, citizen: 'C43', page: 'unexpected', notice: 'fresh_login_unprovable' },
  provider_unavailable: { error: 'temporarily_unavailable', status: 503, citizen: 'C04', page: 'temporarily_unavailable', notice: 'provider_unavailable', outage: true },
  provider_timed_out: { error: 'temporarily_unavailable', status: 503, citizen: 'C12', page: 'temporarily_unavailable', notice: 'provider_unavailable', outage: true },
  provider_server_error: { error: 'temporarily_unavailable', status: 503, citizen: 'C45', page: 'temporarily_unavailable', notice: 'provider_unavailable', outage: true },
  provider_busy: { error: 'temporarily_unavailable', status: 503, citizen: 'C11', page: 'temporarily_unavailable', notice: 'provider_unavailable' },
  provider_overloaded: { error: 'temporarily_unavailable', status: 503, citizen: 'C13', page: 'temporarily_unavailable', notice: 'provider_unavailable' },

  // the identity provider: what it said of the citizen
  provider_refused: { error: 'access_denied', status: 403, citizen: 'C05', page: 'unexpected', notice: 'provider_refused' },
  provider_code_spent: { error: 'access_denied', status: 400, citizen: 'C06', page: 'unexpected', notice: 'provider_code_spent' },
  acr_missing: { error: 'unmet_authentication_requirements', status: 403, citizen: 'C44', page: 'unexpected', notice: 'acr_too_low' },
  acr_too_low: { error: 'unmet_authentication_requirements', status: 403, citizen: 'C08', page: 'unexpected', notice: 'acr_too_low' },
  authentication_too_old: { error: 'login_required', status: 403, citizen: 'C09', page: 'unexpected', notice: 'authentication_too_old' },
  identity_incomplete: { error: 'access_denied', status: 403, citizen: 'C10', page: 'unexpected', notice: 'identity_incomplete' },

  // the identity provider: how it answered our own calls
  provider_call_refused: { error: 'server_error', status: 502, citizen: 'C14', page: 'unexpected', notice: 'provider_failed' },
  provider_credentials_refused: { error: 'server_error', status: 502, citizen: 'C15', page: 'unexpected', notice: 'provider_failed', outage: true },
  provider_redirected: { error: 'server_error', status: 502, citizen: 'C16', page: 'unexpected', notice: 'provider_failed', outage: true },
  provider_answer_too_large: { error: 'server_error', status: 502, citizen: 'C17', page: 'unexpected', notice: 'provider_failed', outage: true },
  provider_answer_unreadable: { error: 'server_error', status: 502, citizen: 'C18', page: 'unexpected', notice: 'provider_failed', outage: true },
  provider_answer_ambiguous: { error: 'server_error', status: 502, citizen: 'C19', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_answer_invalid: { error: 'server_error', status: 502, citizen: 'C07', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_metadata_invalid: { error: 'server_error', status: 502, citizen: 'C20', page: 'unexpected', notice: 'provider_failed', outage: true },
  provider_metadata_issuer_wrong: { error: 'server_error', status: 502, citizen: 'C21', page: 'unexpected', notice: 'provider_failed', outage: true, security: true },
  provider_address_refused: { error: 'server_error', status: 502, citizen: 'C22', page: 'unexpected', notice: 'provider_failed', outage: true, security: true },
  provider_keys_unavailable: { error: 'server_error', status: 502, citizen: 'C23', page: 'unexpected', notice: 'provider_failed', outage: true },

  // the identity provider: its ID Token and userinfo
  provider_token_malformed: { error: 'server_error', status: 502, citizen: 'C24', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_issuer_wrong: { error: 'server_error', status: 502, citizen: 'C25', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_audience_wrong: { error: 'server_error', status: 502, citizen: 'C26', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_authorized_party_wrong: { error: 'server_error', status: 502, citizen: 'C27', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_nonce_wrong: { error: 'server_error', status: 502, citizen: 'C28', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_token_expired: { error: 'server_error', status: 502, citizen: 'C29', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_token_premature: { error: 'server_error', status: 502, citizen: 'C30', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_signature_missing: { error: 'server_error', status: 502, citizen: 'C31', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_algorithm_wrong: { error: 'server_error', status: 502, citizen: 'C32', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_signature_wrong: { error: 'server_error', status: 502, citizen: 'C33', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_key_embedded: { error: 'server_error', status: 502, citizen: 'C34', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_key_unknown: { error: 'server_error', status: 502, citizen: 'C35', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_key_unnamed: { error: 'server_error', status: 502, citizen: 'C36', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_extension_unknown: { error: 'server_error', status: 502, citizen: 'C37', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_encryption_wrong: { error: 'server_error', status: 502, citizen: 'C38', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_decryption_failed: { error: 'server_error', status: 502, citizen: 'C39', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_answer_compressed: { error: 'server_error', status: 502, citizen: 'C40', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },
  provider_subject_differs: { error: 'server_error', status: 502, citizen: 'C41', page: 'unexpected', notice: 'provider_answer_invalid', outage: true, security: true },
  provider_subject_malformed: { error: 'server_error', status: 502, citizen: 'C42', page: 'unexpected', notice: 'provider_answer_invalid', outage: true },

  // the client's own calls
  client_authentication_failed: { error: 'invalid_client', status: 401, citizen: 'D01', page: 'unexpected', security: true },
  grant_type_unsupported: { error: 'unsupported_grant_type', status: 400, citizen: 'D02', page: 'unexpected' },
  code_unknown: { error: 'invalid_grant', status: 400, citizen: 'D03', page: 'unexpected' },
  code_of_another_client: { error: 'invalid_grant', status: 400, citizen: 'D04', page: 'unexpected', security: true },
  code_invalid: { error: 'invalid_grant', status: 400, citizen: 'D05', page: 'unexpected' },
  code_replayed: { error: 'invalid_grant', status: 400, citizen: 'D06', page: 'unexpected', security: true },
  token_missing: { error: 'invalid_token', status: 401, citizen: 'D07', page: 'unexpected' },
  token_invalid: { error: 'invalid_token', status: 401, citizen: 'D08', page: 'unexpected' },
  assertion_replayed: { error: 'invalid_client', status: 401, citizen: 'D09', page: 'unexpected', security: true },
  client_keys_unavailable: { error: 'temporarily_unavailable', status: 503, citizen: 'D10', page: 'service_mistake' },
  proof_invalid: { error: 'invalid_dpop_proof', status: 400, citizen: 'D11', page: 'unexpected' },
  proof_nonce_required: { error: 'use_dpop_nonce', status: 400, citizen: 'D12', page: 'unexpected' },
  token_proof_invalid: { error: 'invalid_dpop_proof', status: 401, citizen: 'D13', page: 'unexpected' },
  token_proof_nonce_required: { error: 'use_dpop_nonce', status: 401, citizen: 'D14', page: 'unexpected' },
  token_of_another_client: { error: 'unauthorized_client', status: 400, citizen: 'D15', page: 'unexpected', security: true },
  introspection_not_allowed: { error: 'unauthorized_client', status: 403, citizen: 'D16', page: 'unexpected', security: true },

  // logout
  logout_request_invalid: { error: 'invalid_request', status: 400, citizen: 'E01', page: 'logout_request_wrong' },
  logout_not_recorded: { error: 'temporarily_unavailable', status: 503, citizen: 'E02', page: 'logout_not_recorded' },

  // ourselves
  store_unavailable: { error: 'temporarily_unavailable', status: 503, citizen: 'Y01', page: 'temporarily_unavailable' },
  prefetch_refused: { error: 'temporarily_unavailable', status: 503, citizen: 'Y02', page: 'temporarily_unavailable' },
  overloaded: { error: 'temporarily_unavailable', status: 503, citizen: 'Y08', page: 'busy' },
  rate_limited: { error: 'temporarily_unavailable', status: 429, citizen: 'Y09', page: 'busy', security: true },
  not_found: { error: 'invalid_request', status: 404, citizen: 'Y03', page: 'not_found' },
  body_too_large: { error: 'invalid_request', status: 413, citizen: 'Y05', page: 'too_large' },
  media_type_unsupported: { error: 'invalid_request', status: 415, citizen: 'Y06', page: 'service_mistake' },
  request_too_slow: { error: 'invalid_request', status: 408, citizen: 'Y10', page: 'unexpected' },
  head_too_large: { error: 'invalid_request', status: 431, citizen: 'Y11', page: 'too_large' },
  request_unreadable: { error: 'invalid_request', status: 400, citizen: 'Y12', page: 'unexpected' },
  request_cut_off: { error: 'invalid_request', status: 400, citizen: 'Y13', page: 'unexpected' },
  signing_key_unavailable: { error: 'temporarily_unavailable', status: 503, citizen: 'Y14', page: 'temporarily_unavailable' },
  unexpected: { error: 'server_error', status: 500, citizen: 'Y99', page: 'unexpected' }
} as const satisfies Record<string, { error: string, status: number, citizen: string, page: string, notice?: string, security?: true, outage?: true }>

export type Failure = keyof typeof failures
type Row = typeof failures[Failure]
/** The failures that are security events as well. */
export type SecurityFailure = { [F in Failure]: typeof failures[F] extends { security: true } ? F : never }[Failure]
/** Why a citizen is back at the chooser. */
export type Notice = Extract<Row, { notice: string }>['notice']
/** What the error page tells; `finished` and `busy` are pages of their own. */
export type ErrorText = Exclude<Row['page'], 'finished' | 'busy'>

export const notices: ReadonlySet<Notice> = new Set(Object.values(failures).flatMap(row => 'notice' in row ? [row.notice] : []))

const responsible = { A: 'client', B: 'citizen', C: 'provider', D: 'client', E: 'client', Y: 'us' } as const
export const responsibilities = ['citizen', 'client', 'provider', 'us'] as const

/** The failures that say that an identity provider did not answer at all: nothing that a browser brought can be the reason. */
export const unanswered: ReadonlySet<Failure> = new Set(['provider_unavailable', 'provider_timed_out'])

/** On whose side a failure lies: the first letter of its citizen code. */
export const responsibilityFor = (failure: Failure) => responsible[failures[failure].citizen[0] as keyof typeof responsible]

/** The only error we throw: a failure of the table, what was wrong in words that carry no personal data, and the foreign error behind it. */
export class OAuthError extends Error {
  override readonly name = 'OAuthError'
  readonly failure: Failure

  constructor (failure: Failure, message: string, options?: ErrorOptions) {
    super(message, options)
    this.failure = failure
  }

  get row (): { error: string, status: number, citizen: string, page: string, notice?: string, security?: true, outage?: true } { return failures[this.failure] }
}

/** The members of an error response (RFC 6749 §4.1.2.1, §5.2): the description has only the characters that are allowed there. */
export function errorMembers ({ row, message }: OAuthError) {
  return { error: row.error, error_description: message.replaceAll('"', "'").replace(/[^\x20-\x21\x23-\x5B\x5D-\x7E]/g, '?') }
}
