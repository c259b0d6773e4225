// The modules of the OpenID Foundation's conformance suite (gitlab.com/openid/conformance-suite), by plan and in the order of the plan.

const basic = [
  'oidcc-server',
  'oidcc-response-type-missing',
  'oidcc-idtoken-signature',
  'oidcc-idtoken-unsigned',
  'oidcc-userinfo-get',
  'oidcc-userinfo-post-header',
  'oidcc-userinfo-post-body',
  'oidcc-ensure-request-without-nonce-succeeds-for-code-flow',
  'oidcc-scope-profile',
  'oidcc-scope-email',
  'oidcc-scope-address',
  'oidcc-scope-phone',
  'oidcc-scope-all',
  'oidcc-alternate-happy-flow',
  'oidcc-display-page',
  'oidcc-display-popup',
  'oidcc-prompt-login',
  'oidcc-prompt-none-not-logged-in',
  'oidcc-prompt-none-logged-in',
  'oidcc-max-age-1',
  'oidcc-max-age-10000',
  'oidcc-ensure-request-with-unknown-parameter-succeeds',
  'oidcc-id-token-hint',
  'oidcc-login-hint',
  'oidcc-ui-locales',
  'oidcc-claims-locales',
  'oidcc-ensure-request-with-acr-values-succeeds',
  'oidcc-codereuse',
  'oidcc-codereuse-30seconds',
  'oidcc-ensure-registered-redirect-uri',
  'oidcc-ensure-post-request-succeeds',
  'oidcc-server-client-secret-post',
  'oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported',
  'oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported',
  'oidcc-claims-essential',
  'oidcc-ensure-request-object-with-redirect-uri',
  'oidcc-refresh-token',
  'oidcc-ensure-request-with-valid-pkce-succeeds'
]

const fapi2 = [
  'discovery-end-point-verification',
  'happy-flow',
  'user-rejects-authentication',
  'ensure-authorization-request-without-state-success',
  'ensure-authorization-request-without-nonce-success',
  'ensure-authorization-request-with-64-char-nonce-success',
  'ensure-other-scope-order-succeeds',
  'test-claims-parameter-identity-claims',
  'access-token-type-header-case-sensitivity',
  'check-dpop-proof-nbf-exp',
  'ensure-dpopproof-with-iat-10seconds-before-succeeds',
  'ensure-dpopproof-with-iat-10seconds-after-succeeds',
  'ensure-mismatched-dpop-jkt-fails',
  'ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt',
  'ensure-token-endpoint-fails-with-mismatched-dpop-jkt',
  'ensure-dpopproof-at-par-endpoint-binding-success',
  'ensure-dpop-auth-code-binding-success',
  'ensure-different-nonce-inside-and-outside-request-object',
  'ensure-different-state-inside-and-outside-request-object',
  'ensure-authorization-request-with-long-nonce',
  'ensure-authorization-request-with-long-state',
  'state-only-outside-request-object-not-used',
  'ensure-request-object-without-redirect-uri-fails',
  'ensure-registered-redirect-uri',
  'plain-fapi-tolerate-unregistered-redirect-uri',
  'ensure-unsigned-authorization-request-without-using-par-fails',
  'ensure-redirect-uri-in-authorization-request',
  'ensure-response-type-code-idtoken-fails',
  'australia-connectid-ensure-invalid-purpose-fails',
  'ensure-response-type-token-fails',
  'ensure-client-id-in-token-endpoint',
  'ensure-holder-of-key-required',
  'ensure-authorization-code-is-bound-to-client',
  'attempt-reuse-authorization-code-after-one-second',
  'ensure-token-endpoint-fails-with-expired-auth-code',
  'ensure-signed-client-assertion-with-RS256-fails',
  'ensure-client-assertion-in-token-endpoint',
  'ensure-client-assertion-with-exp-is-5-minutes-in-past-fails',
  'ensure-client-assertion-with-wrong-aud-fails',
  'ensure-client-assertion-with-no-sub-fails',
  'ensure-invalid-client-assertions-fail',
  'dpop-negative-tests',
  'refresh-token',
  'cdr-sharing-duration-zero',
  'cdr-negative-sharing-duration',
  'cdr-refresh-token-introspection-expiry',
  'cdr-arrangement-amendment',
  'cdr-unrecognised-arrangement-id',
  'brazil-ensure-bad-payment-signature-fails',
  'australia-connectid-test-claims-parameter-idtoken-identity-claims',
  'par-ensure-reused-request-uri-prior-to-auth-completion-succeeds',
  'par-attempt-reuse-request_uri',
  'par-attempt-to-use-expired-request_uri',
  'par-attempt-to-use-request_uri-for-different-client',
  'par-authorization-request-containing-request_uri-form-param',
  'par-attempt-invalid-http-method',
  'par-ensure-pkce-required',
  'ensure-pkce-code-verifier-required',
  'incorrect-pkce-code-verifier-rejected',
  'par-plain-pkce-rejected',
  'par-without-duplicate-parameters',
  // these five are what the suite's older releases have in place of ensure-invalid-client-assertions-fail
  'par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted',
  'par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails',
  'par-test-array-as-audience-fails',
  'par-test-par-endpoint-url-as-audience-fails',
  'par-test-token-endpoint-url-as-audience-fails',
  'grant-management-query-and-revoke',
  'grant-management-merge',
  'grant-management-replace',
  'grant-management-ensure-invalid-grant-id-fails',
  'grant-management-ensure-query-nonexistent-grant-fails',
  'grant-management-ensure-wrong-client-cannot-query-grant',
  'grant-management-ensure-wrong-client-cannot-revoke-grant'
].map(name => `fapi2-security-profile-final-${name}`)

/** The plans that apply to us, by the name of their test: Basic OP and its form_post twin with a static client, FAPI 2.0 with private_key_jwt, DPoP, unsigned requests and plain responses. */
export const plans = {
  basic,
  config: ['oidcc-discovery-endpoint-verification'],
  'form-post': basic,
  'rp-initiated-logout': [
    'oidcc-rp-initiated-logout-discovery-endpoint-verification',
    'oidcc-rp-initiated-logout',
    'oidcc-rp-initiated-logout-bad-post-logout-redirect-uri',
    'oidcc-rp-initiated-logout-modified-id-token-hint',
    'oidcc-rp-initiated-logout-no-id-token-hint',
    'oidcc-rp-initiated-logout-no-params',
    'oidcc-rp-initiated-logout-no-post-logout-redirect-uri',
    'oidcc-rp-initiated-logout-no-state',
    'oidcc-rp-initiated-logout-only-state',
    'oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri',
    'oidcc-rp-initiated-logout-bad-id-token-hint'
  ],
  'back-channel-logout': [
    'oidcc-backchannel-logout-discovery-endpoint-verification',
    'oidcc-backchannel-rp-initiated-logout'
  ],
  'fapi2-security-profile': fapi2
} satisfies Record<string, string[]>
export type Plan = keyof typeof plans

const unregistered = 'it registers a client of its own, and the suite leaves it out where clients are static: here operators register clients'
const grants = 'Grant Management for OAuth 2.0 is not offered; the plan is run with it disabled'
const australia = 'it belongs to the Australian ConnectID profile'
const consumerData = 'it belongs to the Australian Consumer Data Right profile'

const ofStaticClients = [
  { id: 'oidcc-idtoken-signature', why: unregistered },
  { id: 'oidcc-idtoken-unsigned', why: `${unregistered}; and no ID Token of ours is unsigned` },
  { id: 'oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported', why: `${unregistered}; and no request_uri but our own is taken` }
]

/** The modules that have no test, each with the reason. */
export const notApplicable: Record<Plan, Array<{ id: string, why: string }>> = {
  basic: ofStaticClients,
  config: [],
  'form-post': ofStaticClients,
  'rp-initiated-logout': [],
  'back-channel-logout': [],
  'fapi2-security-profile': [
    { id: 'ensure-registered-redirect-uri', why: 'the suite runs plain-fapi-tolerate-unregistered-redirect-uri in its place for plain FAPI' },
    { id: 'australia-connectid-ensure-invalid-purpose-fails', why: australia },
    { id: 'australia-connectid-test-claims-parameter-idtoken-identity-claims', why: australia },
    { id: 'brazil-ensure-bad-payment-signature-fails', why: 'it belongs to the Brazilian profile' },
    ...['sharing-duration-zero', 'negative-sharing-duration', 'refresh-token-introspection-expiry', 'arrangement-amendment', 'unrecognised-arrangement-id']
      .map(name => ({ id: `cdr-${name}`, why: consumerData })),
    ...['query-and-revoke', 'merge', 'replace', 'ensure-invalid-grant-id-fails', 'ensure-query-nonexistent-grant-fails', 'ensure-wrong-client-cannot-query-grant', 'ensure-wrong-client-cannot-revoke-grant']
      .map(name => ({ id: `grant-management-${name}`, why: grants }))
  ].map(({ id, why }) => ({ id: `fapi2-security-profile-final-${id}`, why }))
}
