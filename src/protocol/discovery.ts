import { contentEncryptions, encryptionAlgorithms, signingAlgorithms, spelled, strictAlgorithms, type SigningAlgorithm } from './algorithms.ts'
import { promptValues } from './authorization-request.ts'
import { knownClaims, scopeClaims } from './claims.ts'
import { authenticationMethods, confidentialMethods } from './client-authentication.ts'

interface Capable {
  issuer: string
  acr_values: readonly string[]
  /** what our keys sign with */
  signs: readonly SigningAlgorithm[]
}

/** Our metadata (OpenID Connect Discovery §3, RFC 8414 §2, and what later specifications add): only what works. */
export function discoveryDocument ({ issuer, acr_values, signs }: Capable) {
  const accepted = spelled(signingAlgorithms)
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    pushed_authorization_request_endpoint: `${issuer}/par`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    introspection_endpoint: `${issuer}/introspection`,
    revocation_endpoint: `${issuer}/revocation`,
    end_session_endpoint: `${issuer}/session/end`,
    jwks_uri: `${issuer}/jwks`,
    scopes_supported: Object.keys(scopeClaims),
    claims_supported: ['sub', 'iss', 'aud', 'exp', 'iat', 'auth_time', 'nonce', 'acr', 'sid', 'at_hash', ...knownClaims],
    claim_types_supported: ['normal'],
    claims_parameter_supported: true,
    acr_values_supported: acr_values,
    subject_types_supported: ['pairwise'],
    response_types_supported: ['code'],
    response_modes_supported: ['query', 'form_post'],
    grant_types_supported: ['authorization_code'],
    code_challenge_methods_supported: ['S256'],
    prompt_values_supported: promptValues,
    display_values_supported: ['page', 'popup', 'touch'],
    ui_locales_supported: ['fr', 'en'],
    request_parameter_supported: true,
    request_object_signing_alg_values_supported: accepted,
    request_uri_parameter_supported: false,
    require_pushed_authorization_requests: false,
    authorization_response_iss_parameter_supported: true,
    token_endpoint_auth_methods_supported: authenticationMethods,
    token_endpoint_auth_signing_alg_values_supported: accepted,
    introspection_endpoint_auth_methods_supported: confidentialMethods,
    introspection_endpoint_auth_signing_alg_values_supported: accepted,
    revocation_endpoint_auth_methods_supported: authenticationMethods,
    revocation_endpoint_auth_signing_alg_values_supported: accepted,
    dpop_signing_alg_values_supported: spelled(strictAlgorithms),
    id_token_signing_alg_values_supported: signs,
    id_token_encryption_alg_values_supported: encryptionAlgorithms,
    id_token_encryption_enc_values_supported: contentEncryptions,
    userinfo_signing_alg_values_supported: signs,
    userinfo_encryption_alg_values_supported: encryptionAlgorithms,
    userinfo_encryption_enc_values_supported: contentEncryptions,
    introspection_signing_alg_values_supported: signs,
    introspection_encryption_alg_values_supported: encryptionAlgorithms,
    introspection_encryption_enc_values_supported: contentEncryptions,
    backchannel_logout_supported: true,
    backchannel_logout_session_supported: true,
    frontchannel_logout_supported: false
  }
}
