import { Type, type Static, type TSchema } from 'typebox'
import { contentEncryptions, encryptionAlgorithms, signingAlgorithms } from '../protocol/algorithms.ts'
import { identityClaims, scopeClaims } from '../protocol/claims.ts'
import { authenticationMethods, certificateMethods, confidentialMethods } from '../protocol/client-authentication.ts'
import { life } from '../records.ts'

// The one source of the configuration's types, checks, defaults and reference page (docs/configuration.md).
// Names are snake_case, as the registered metadata of RFC 7591 and OpenID Connect Discovery is.

const closed = { additionalProperties: false }
const text = (description: string, more = {}) => Type.String({ description, minLength: 1, maxLength: 256, ...more })
const file = (description: string) => Type.String({ description: `${description} (a file, relative to the configuration directory)`, minLength: 1 })
/** What such an address is made of (RFC 3986 §2), and a header carries: no other letter would leave as it was written. */
const url = (description: string) => Type.String({ description, maxLength: 2048, pattern: '^https?://[!"$-~]+$', expected: 'an http or https address without a fragment, in printable ASCII: percent-encoded, its host in punycode' })
const list = (description: string, more = {}) => listOf(description, Type.String({ minLength: 1, maxLength: 256 }), more)
const listOf = <T extends TSchema>(description: string, of: T, more = {}) => Type.Array(of, { description, uniqueItems: true, ...more })
const oneOf = <const T extends string[]>(description: string, values: [...T], more = {}) => Type.Enum(values, { description, ...more })
const seconds = (description: string, fallback: number, maximum: number) => Type.Integer({ description, default: fallback, minimum: 1, maximum })
const section = <T extends Record<string, TSchema>>(description: string, properties: T) => Type.Object(properties, { description, default: {}, ...closed })
const siteMark = (description: string, more = {}) => Type.String({ description, pattern: '^[a-z0-9]{1,4}$', expected: 'one to four small letters or digits', ...more })
/** What a process takes once: another value is taken up when it starts again. */
const atStart = <T extends TSchema>(schema: T): T => Object.assign(schema, { atStart: true })
const port = (description: string, fallback: number) => atStart(Type.Integer({ description, default: fallback, minimum: 0, maximum: 65535 }))

const languages = Type.Object({ fr: Type.String({ maxLength: 500 }), en: Type.String({ maxLength: 500 }) }, { description: 'a text in each language', ...closed })
const instant = (description: string) => Type.String({ description, pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d(:\\d\\d)?(Z|[+-]\\d\\d:\\d\\d)$', expected: 'a time as 2027-01-31T22:00:00Z (RFC 3339)' })

const expires = Type.Optional(instant('when it is to be replaced: a metric and an alert tell of it in time; it counts on'))

const signedBy = (description: string, more = {}) => oneOf(description, [...signingAlgorithms], more)
const encryptedBy = (description: string) => Type.Optional(oneOf(description, [...encryptionAlgorithms]))
const encryptedWith = (description: string) => oneOf(description, [...contentEncryptions], { default: 'A256GCM' })

/** Seconds that no setting goes beyond. */
export const longest = { access_token_seconds: life.token, request_uri_seconds: 600 } as const

const claimsOfIdentities = [...identityClaims]
const knownScopes = Object.keys(scopeClaims)

/** One Redis, as it is reached from here. */
const redis = {
  urls: listOf('redis:// or rediss:// addresses: one of a single Redis, or several nodes of a Cluster; `PASSERELLE_REDIS`, where it is set, counts in place of those of the site that it is set at', Type.String({ maxLength: 512, pattern: '^rediss?://[^\\s/@?#,]+(/\\d{0,4})?$', expected: 'redis:// or rediss://, a host and a port; user and password stand beside' }), { default: [] }),
  cluster: Type.Optional(Type.Boolean({ description: 'whether it is a Cluster; unless set, several addresses are one' })),
  username: Type.Optional(text('our user there; the default user unless set')),
  password: Type.Optional(Type.Object({ file: file('our password there') }, closed)),
  ca: Type.Optional(file('certificate authority its TLS certificate is checked against, PEM; those of Node.js unless set')),
  tls_client: Type.Optional(Type.Object({ certificate: file('our certificate there, PEM'), key: file('its private key, PEM') }, { description: 'the certificate we show it, where it asks for one (mutual TLS)', ...closed })),
  server_name: Type.Optional(text('the one name that the certificates of all its nodes are for; unless set, each is checked for the name or the address by which we reach it')),
  node_timeout_ms: Type.Integer({ description: 'its `cluster-node-timeout`: a request waits for so long and 4 s more, which outlasts a failover', default: 2000, minimum: 500, maximum: 15000 })
}

/** `passerelle.yaml`: the gateway itself. */
export const Settings = Type.Object({
  issuer: atStart(url('our issuer identifier; its path is the base path of every endpoint')),
  environment: atStart(oneOf('`development` allows an http issuer and http redirect URIs on loopback names', ['production', 'development'], { default: 'production' })),
  site: atStart(siteMark('the mark of this site, at the head of every handle it issues; `PASSERELLE_SITE`, where it is set, counts in its place', { default: 'a' })),
  listen: section('where citizens and clients are answered', {
    host: atStart(text('address', { default: '0.0.0.0' })),
    port: port('port; 0 takes any free one', 8080),
    tls: Type.Optional(Type.Object({ certificate: file('certificate chain, PEM'), key: file('private key, PEM') }, { description: 'https with a certificate of our own; without it plain http, behind a proxy that ends TLS. A renewed certificate is taken up at once, a change between the two at the next start', ...closed }))
  }),
  operations: section('where /livez, /readyz and /metrics are answered, never the public port', {
    host: atStart(text('address', { default: '0.0.0.0' })),
    port: port('port; 0 takes any free one', 9090)
  }),
  drain: section('how a process ends when it is told to (SIGTERM)', {
    wait_seconds: Type.Integer({ description: 'how long it serves on, no longer ready, until whoever sends it requests has noticed. HAProxy needs `inter` times `fall` and one probe more (7 s by default), Kubernetes some seconds to tell all nodes', default: 10, minimum: 0, maximum: 600 }),
    finish_seconds: seconds('how long after that requests (which take 15 s to arrive and `callback_timeout_ms` more at worst), back-channel logouts (14 s for a service that hangs, more where many wait for it; they end up to 3 s before the others) and connections may take to end; then it ends all the same, says what is left undone, with exit code 1. `terminationGracePeriodSeconds` of Kubernetes has to be longer than both together', 40, 600)
  }),
  load: atStart(section('when it is too much: who comes is sent away for some seconds, new logins first, those near their end last; each replica for itself', {
    delay_ms: Type.Integer({ description: 'how late the event loop may be, averaged over a second; above it more and more are sent away. Of a crowd those who begin wait in line for half as long, of a surge after two quiet seconds six times as long, those whose login is under way up to 50 times as long, but never over 10 seconds. Unloaded it is below 10', default: 40, minimum: 5, maximum: 10000 }),
    requests_in_flight: Type.Integer({ description: 'requests that are being answered from which new logins are sent away; logins under way from one and a half times as many, everything from twice', default: 1000, minimum: 1, maximum: 100000 })
  })),
  rate_limits: atStart(section('how much one address may ask for, IPv6 by /64; docs/security.md tells what happens above', {
    address_per_second: Type.Integer({ description: 'requests of one address, at all replicas of a site together; a ministry, a mobile carrier or the backend of a service is one address. Above it only logins under way go on, what services ask for whose secret or key was right at that address within a minute, and 20 requests a second by which others may prove themselves', default: 100, minimum: 1, maximum: 1000000 }),
    wrong_credentials_per_minute: Type.Integer({ description: 'wrong credentials of one address for one client; above it further wrong ones are answered by 429, right ones pass', default: 30, minimum: 1, maximum: 1000000 }),
    exempt_networks: listOf('networks without limits, by the address that `trusted_proxies` leads to; where there is neither such a proxy nor TLS of ours, nobody is limited', Type.String({ minLength: 2, maxLength: 64 }), { default: ['127.0.0.0/8', '::1'] })
  })),
  trusted_proxies: atStart(list('addresses or networks of the proxies whose X-Forwarded-For is believed', { default: [] })),
  keys: Type.String({ description: 'directory of the signing and sealing keys and of the subject secret, relative to the configuration directory', minLength: 1 }),
  redis: atStart(section('the Redis that keeps records, where there is one site; docs/redis.md says how to run it', redis)),
  sites: atStart(listOf('every site, where there are several: the same sites everywhere, docs/redis.md has an example. What a site issued is read and ended in its own Redis, whichever site is asked', Type.Object({ site: siteMark('the mark of the site'), ...redis }, closed), { maxItems: 16, default: [] })),
  acr: section('levels of assurance', {
    levels: list('every level, the lowest first', { minItems: 1, default: ['eidas1', 'eidas2', 'eidas3'] }),
    default: Type.Optional(text('the level wanted when a client asks for none that we know; the lowest unless set'))
  }),
  identity: section('what an identity must be', {
    required_claims: listOf('claims without which an identity is refused', Type.Enum(claimsOfIdentities), { default: ['given_name', 'family_name', 'gender', 'birthdate', 'birthcountry'] }),
    subject: atStart(oneOf('what `sub` is made from: the pivot identity, or the provider\'s issuer and `sub`', ['pivot', 'upstream'], { default: 'pivot' }))
  }),
  degraded: oneOf('`deny`: no login goes on while Redis is away, whatever the registration of its service says (docs/security.md)', ['allow', 'deny'], { default: 'allow' }),
  traces: atStart(section('traces of requests, where `OTEL_EXPORTER_OTLP_ENDPOINT` switches them on (docs/traces.md)', {
    follow_proxies: Type.Boolean({ description: 'true: the `traceparent` of a request that comes by one of `trusted_proxies` is followed, with its decision whether to trace. They have to take away what browsers and services send', default: false })
  })),
  login_notices: section('"a login was made in your name": an event for each login, by which a service of yours that knows its citizens\' addresses can write to them (docs/events.md)', {
    client_id: Type.Optional(text('that service: the event names the person by the `sub` that it knows; no events unless set'))
  }),
  count_citizens: Type.Boolean({ description: 'how many citizens log in during a month is counted, by a pseudonym of that month (docs/metrics.md, docs/security.md); false: it is not', default: true }),
  session: section('single sign-on', {
    idle_seconds: seconds('end of a session that is not used', 1800, life.session),
    life_seconds: seconds('end of every session', 28800, life.session),
    acr_values: Type.Optional(list('levels at which a session spares the citizen the provider; the lowest level unless set'))
  })
}, closed)

/** `clients/*.yaml`: one service. */
export const Client = Type.Object({
  client_id: Type.String({ description: 'RFC 6749 §2.2', pattern: '^[A-Za-z0-9._~-]{1,64}$', expected: 'letters, digits and ._~-, 64 at most' }),
  name: text('name for operators'),
  title: Type.Optional(text('name shown to citizens; `name` unless set')),
  logo: Type.Optional(file('logo, SVG or PNG')),
  client_uri: Type.Optional(url('home page of the service, for "return to the service"')),
  active: Type.Boolean({ description: 'false closes the service at once', default: true }),
  entity: Type.Optional(text('clients with the same entity get the same `sub` (sector identifier, OpenID Connect Core §8.1); `client_id` unless set')),
  profile: oneOf('`fapi2` is the FAPI 2.0 Security Profile: pushed requests, private_key_jwt and tokens bound to a key (DPoP), for the higher levels', ['standard', 'fapi2'], { default: 'standard' }),
  redirect_uris: listOf('exact redirection endpoints; only a data provider has none', url('a redirection endpoint'), { maxItems: 64, default: [] }),
  post_logout_redirect_uris: listOf('exact addresses after logout', url('an address after logout'), { maxItems: 64, default: [] }),
  scopes: listOf('scopes the service may ask for, `openid` is understood', Type.Enum(knownScopes), { default: ['openid'] }),
  claims: listOf('claims the service may ask for one by one, beyond those of its scopes', Type.Enum([...claimsOfIdentities, 'idp_id', 'amr']), { default: [] }),
  acr_values: Type.Optional(list('levels offered to this service; unless set all, for a public client the lowest')),
  backchannel_logout_uri: Type.Optional(url('where the service is told that a session has ended (Back-Channel Logout §2.2)')),
  token_endpoint_auth_method: oneOf('OpenID Connect Core §9; `none` is for public clients', [...authenticationMethods], { default: 'client_secret_basic' }),
  token_endpoint_auth_signing_alg: Type.Optional(signedBy('the only signature accepted on its assertions (private_key_jwt)')),
  client_secrets: listOf('secrets in force at a time', Type.Object({ file: file('the secret'), expires }, closed), { maxItems: 4, default: [] }),
  jwks: Type.Optional(Type.Object({ keys: Type.Array(Type.Object({ kty: Type.Enum(['RSA', 'EC', 'OKP'], { description: 'key type' }) }, { description: 'a public JWK' }), { minItems: 1, maxItems: 16 }) }, { description: 'its public keys, several in force at a time (RFC 7517 §5)', ...closed })),
  jwks_uri: Type.Optional(url('where it publishes its public keys instead')),
  id_token_signed_response_alg: signedBy('signature of ID Tokens and logout tokens; RS256 is what plain clients expect, ES256 is recommended', { default: 'RS256' }),
  id_token_encrypted_response_alg: encryptedBy('encryption of the key of ID Tokens and logout tokens; not encrypted unless set'),
  id_token_encrypted_response_enc: encryptedWith('encryption of their content'),
  userinfo_signed_response_alg: Type.Optional(signedBy('userinfo is a JWT, signed so; JSON unless set')),
  userinfo_encrypted_response_alg: encryptedBy('encryption of the key of that JWT; not encrypted unless set'),
  userinfo_encrypted_response_enc: encryptedWith('encryption of its content'),
  request_object_signing_alg: Type.Optional(signedBy('the only signature accepted on its request objects (RFC 9101)')),
  require_signed_request_object: Type.Boolean({ description: 'requests without a signed request object are refused', default: false }),
  require_pushed_authorization_requests: Type.Boolean({ description: 'requests that were not pushed (RFC 9126) are refused; always so with `fapi2`', default: false }),
  request_uri_seconds: seconds('life of a pushed request', 60, longest.request_uri_seconds),
  dpop_bound_access_tokens: Type.Boolean({ description: 'token requests without a DPoP proof (RFC 9449) are refused; always so with `fapi2`', default: false }),
  introspection: Type.Boolean({ description: 'this is a data provider: it may ask /introspection what a token of a service is worth, within its own scopes', default: false }),
  introspection_signed_response_alg: Type.Optional(signedBy('introspection is a JWT, signed so (RFC 9701 §6); by the Accept header unless set')),
  introspection_encrypted_response_alg: encryptedBy('encryption of the key of that JWT; not encrypted unless set'),
  introspection_encrypted_response_enc: encryptedWith('encryption of its content'),
  require_pkce: Type.Boolean({ description: 'false is for confidential clients that cannot yet; a challenge that is sent is always enforced', default: true }),
  consent: oneOf('the information page: with a checkbox, without, or not shown at all', ['required', 'information', 'skip'], { default: 'information' }),
  sso: Type.Boolean({ description: 'whether a session opened for another service lets the citizen in', default: true }),
  identity_providers: section('which identity providers the service accepts', {
    allow: Type.Optional(list('only these')),
    deny: list('never these', { default: [] })
  }),
  idp_hints: list('providers that `idp_hint` may name', { default: [] }),
  degraded: Type.Optional(oneOf('whether logins go on while Redis is away, with codes and tokens that hold their record for a minute at most and are good once at each replica (docs/security.md); unless set at the lowest level only, never for public clients and `fapi2`', ['allow', 'deny'])),
  code_seconds: seconds('life of a code', 30, life.code),
  access_token_seconds: seconds('life of an access token', 60, longest.access_token_seconds),
  id_token_seconds: seconds('life of an ID Token', 60, life.idToken)
}, closed)

/** `identity-providers/*.yaml`: one identity provider. */
export const IdentityProvider = Type.Object({
  id: Type.String({ description: 'name in addresses and metrics', pattern: '^[a-z0-9][a-z0-9-]{0,31}$', expected: 'small letters, digits and hyphens, 32 at most' }),
  title: text('name shown to citizens'),
  logo: Type.Optional(file('logo, SVG or PNG')),
  order: Type.Integer({ description: 'place on the chooser, the lowest first', default: 100 }),
  state: oneOf('`hidden` is reached by `idp_hint` only; `disabled` lets a login under way finish', ['active', 'beta', 'hidden', 'maintenance', 'disabled'], { default: 'active' }),
  maintenance: Type.Optional(Type.Object({
    message: Type.Optional(languages),
    from: Type.Optional(instant('start, RFC 3339')),
    until: Type.Optional(instant('end, RFC 3339'))
  }, { description: 'shown while the state is `maintenance`, or between the dates whatever the state', ...closed })),
  issuer: url('issuer identifier'),
  endpoints: Type.Optional(Type.Object({
    authorization_endpoint: url('RFC 8414 §2'),
    token_endpoint: url('RFC 8414 §2'),
    jwks_uri: url('RFC 8414 §2'),
    userinfo_endpoint: Type.Optional(url('OpenID Connect Discovery §3')),
    end_session_endpoint: Type.Optional(url('RP-Initiated Logout §2.1')),
    authorization_response_iss_parameter_supported: Type.Boolean({ description: 'RFC 9207 §3', default: false })
  }, { description: 'static endpoints; found by discovery unless set', ...closed })),
  status_url: Type.Optional(url('answers 200 while the provider does its work: asked before a breaker closes; its metadata, or its keys where the endpoints are static, unless set')),
  client_id: text('our client_id there'),
  token_endpoint_auth_method: oneOf('how we authenticate there; by certificate (RFC 8705) it is `tls_client` that counts', [...confidentialMethods, ...certificateMethods], { default: 'client_secret_basic' }),
  client_secret: Type.Optional(Type.Object({ file: file('our secret there'), expires }, closed)),
  client_key: Type.Optional(Type.Object({ file: file('our private key there, a JWK with `alg` and `kid`') }, closed)),
  tls_client: Type.Optional(Type.Object({ certificate: file('our certificate there, PEM'), key: file('its private key, PEM') }, { description: 'the certificate we show it, where it asks for one (mutual TLS)', ...closed })),
  id_token_signed_response_alg: signedBy('the only signature accepted on its ID Tokens', { default: 'RS256' }),
  id_token_encrypted_response_alg: encryptedBy('its ID Tokens are encrypted for one of our keys, which /provider-keys publishes; not encrypted unless set'),
  id_token_encrypted_response_enc: encryptedWith('encryption of their content'),
  userinfo_signed_response_alg: Type.Optional(signedBy('its userinfo answer is a JWT, signed so; JSON unless set')),
  userinfo_encrypted_response_alg: encryptedBy('its userinfo answer is encrypted for one of our keys; not encrypted unless set'),
  userinfo_encrypted_response_enc: encryptedWith('encryption of its content'),
  scopes: list('scopes we ask for', { default: ['openid', 'profile', 'birth', 'email'] }),
  acr_values: list('levels it may vouch for', { minItems: 1 }),
  amr: list('`amr` to report for it when it reports none', { default: [] }),
  required_claims: listOf('claims it must give, beyond the platform\'s', Type.Enum(claimsOfIdentities), { default: [] }),
  reports_auth_time: Type.Boolean({ description: 'false: its ID Tokens do not say when it authenticated the citizen; it is not offered where a fresh login is asked, unless `always_authenticates`', default: true }),
  always_authenticates: Type.Boolean({ description: 'it asks the citizen every time, so a missing `auth_time` is believed where a fresh login was asked', default: false }),
  timeout_ms: Type.Integer({ description: 'limit of each call to it that a citizen waits for; of any other half of it', default: 4000, minimum: 100, maximum: 30000 }),
  callback_timeout_ms: Type.Integer({ description: 'limit of all calls of one callback', default: 8000, minimum: 100, maximum: 60000 }),
  concurrent_callbacks: Type.Integer({ description: 'citizens on their way back from it at a time, for each replica, and connections kept to each of its hosts: one citizen more is refused at once', default: 64, minimum: 1, maximum: 1024 }),
  loopback: Type.Boolean({ description: 'true lets its addresses be on this machine; always so in development', default: false }),
  ca: Type.Optional(file('certificate authority its TLS certificate is checked against, PEM; those of Node.js unless set')),
  traceparent: Type.Boolean({ description: 'true: `traceparent` (W3C Trace Context) goes to it with each call of a request that is traced (docs/traces.md)', default: false }),
  breaker: section('circuit breaker, one for each replica', {
    forced: Type.Optional(oneOf('what an operator decides: shut off, or never', ['open', 'closed'])),
    error_percent: Type.Integer({ description: 'share of failed callbacks among the last that opens it', default: 40, minimum: 1, maximum: 100 }),
    volume: Type.Integer({ description: 'how many last callbacks are looked at for that', default: 12, minimum: 1, maximum: 1000 }),
    window_ms: Type.Integer({ description: 'callbacks older than this are forgotten', default: 60000, minimum: 1000, maximum: 600000 }),
    reset_ms: Type.Integer({ description: 'pause between the probes while it is open', default: 10000, minimum: 100, maximum: 300000 }),
    probe_ms: Type.Integer({ description: 'without any callback for so long a probe asks whether it answers, after 3 seconds where a citizen was sent there meanwhile; 0 for never', default: 15000, minimum: 0, maximum: 600000 }),
    slow_ms: Type.Integer({ description: 'a provider whose usual callback takes longer is shown as slow', default: 2000, minimum: 1, maximum: 60000 })
  })
}, closed)

export type Settings = Static<typeof Settings>
export type ClientRegistration = Static<typeof Client>
export type IdentityProviderRegistration = Static<typeof IdentityProvider>
