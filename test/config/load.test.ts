import { generateKeyPairSync } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { ConfigurationError, loadConfiguration } from '../../src/config/load.ts'
import { referencePage } from '../../src/config/reference.ts'
import { makeNextKeys } from '../../src/keys.ts'
import { makeCertificate } from '../support/certificate.ts'
import { temporaryDirectory } from '../support/gateway.ts'

const files = {
  'passerelle.yaml': { issuer: 'https://login.example/api/v2', keys: 'keys' },
  'clients/town.yaml': {
    client_id: 'town', name: 'Town', redirect_uris: ['https://town.example/callback'], scopes: ['openid', 'profile'], client_secrets: [{ file: 'secrets/town' }]
  },
  'clients/app.yaml': { client_id: 'app', name: 'App', redirect_uris: ['https://app.example/'], token_endpoint_auth_method: 'none' },
  'identity-providers/post.yaml': { id: 'post', title: 'Post', issuer: 'https://post.example', client_id: 'gw', client_secret: { file: 'secrets/post' }, acr_values: ['eidas1'], order: 2 },
  'identity-providers/tax.yaml': { id: 'tax', title: 'Tax', issuer: 'https://tax.example', client_id: 'gw', client_secret: { file: 'secrets/post' }, acr_values: ['eidas1', 'eidas3'], order: 1 }
}
type Files = Record<string, object | string | null>

/** Keys are dear to make: one set for all. */
const keys = temporaryDirectory(t)
makeNextKeys(keys)
const ours = await makeCertificate(['passerelle.example'])
const others = await makeCertificate(['other.example'])
const pem = { 'secrets/ours.pem': ours.cert, 'secrets/ours.key': ours.key }
const tls_client = { certificate: 'secrets/ours.pem', key: 'secrets/ours.key' }

function directoryWith (t: Test, changes: Files = {}) {
  const directory = temporaryDirectory(t)
  for (const folder of ['clients', 'identity-providers', 'secrets', 'logos', 'redis']) mkdirSync(join(directory, folder))
  cpSync(keys, join(directory, 'keys'), { recursive: true })
  const all: Files = { 'secrets/town': 'a-secret-of-the-town-hall', 'secrets/post': 'a-secret-of-the-post-office\n', ...files, ...changes }
  for (const [name, content] of Object.entries(all)) if (content !== null) writeFileSync(join(directory, name), typeof content === 'string' ? content : stringify(content))
  return directory
}

function problemsOf (directory: string): string[] {
  try { loadConfiguration(directory) } catch (error) {
    if (error instanceof ConfigurationError) return error.problems
    throw error
  }
  return []
}

t.test('a directory that is right is read, with defaults, secrets and providers in order', async t => {
  const { base, clients, identityProviders, levels, keys, hash } = loadConfiguration(directoryWith(t))
  t.equal(base, '/api/v2')
  t.same([...identityProviders.keys()], ['tax', 'post'])
  t.equal(identityProviders.get('post')!.clientSecret, 'a-secret-of-the-post-office', 'the line end of a secret file is no part of the secret')
  t.match(clients.get('town'), { title: 'Town', sector: 'town', require_pkce: true, consent: 'information', acr_values: ['eidas1', 'eidas2', 'eidas3'] })
  t.same(clients.get('app')!.acr_values, ['eidas1'], 'a public client has the lowest level')
  t.equal(levels.default, 'eidas1')
  t.same(keys.signing.map(({ alg }) => alg).sort(), ['ES256', 'EdDSA', 'PS256', 'RS256'])
  t.match(hash, /^[0-9a-f]{16}$/)
})

t.test('two replicas with the same files have the same hash, and any change of any file is seen', async t => {
  const directory = directoryWith(t)
  const { hash } = loadConfiguration(directory)
  t.equal(loadConfiguration(directory).hash, hash)
  writeFileSync(join(directory, 'secrets/town'), 'another-secret-of-the-town')
  t.not(loadConfiguration(directory).hash, hash)
})

/** The JWK of a new key, public unless it is said. */
const jwkOf = (type: 'rsa' | 'ec' | 'ed25519' | 'x25519', options: object = {}, part: 'publicKey' | 'privateKey' = 'publicKey'): Record<string, unknown> =>
  (generateKeyPairSync as (type: string, options: object) => { [name in typeof part]: { export (how: object): object } })(type, options)[part].export({ format: 'jwk' }) as Record<string, unknown>
const rsa = jwkOf('rsa', { modulusLength: 2048 })
const ec = jwkOf('ec', { namedCurve: 'P-256' })
const ed = jwkOf('ed25519')
const x = jwkOf('x25519')
const ecPrivate = jwkOf('ec', { namedCurve: 'P-256' }, 'privateKey')
const rsaPrivate = jwkOf('rsa', { modulusLength: 2048 }, 'privateKey')
const jwks_uri = 'https://town.example/jwks'
const keyed = { client_id: 'town', name: 'Town', redirect_uris: ['https://town.example/callback'], token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [ec] } }
const fapi2 = { ...keyed, profile: 'fapi2', id_token_signed_response_alg: 'ES256' }
const agency = { client_id: 'town', name: 'Agency', scopes: ['openid', 'birth'], introspection: true, token_endpoint_auth_method: 'private_key_jwt', jwks_uri }
const endpoints = { authorization_endpoint: 'https://post.example/authorize', token_endpoint: 'https://post.example/token', jwks_uri: 'https://post.example/jwks', authorization_response_iss_parameter_supported: true }
const development = { ...files['passerelle.yaml'], environment: 'development' }

const town = files['clients/town.yaml']
const post = files['identity-providers/post.yaml']
const settings = files['passerelle.yaml']

/** What a registration of a provider can get wrong: what is changed, and what is said after the name of the file. */
const providerFaults: Array<[title: string, changes: object, problem: string]> = [
  ['a way to authenticate that is none', { token_endpoint_auth_method: 'client_secret_jwt' }, '/token_endpoint_auth_method: expected one of client_secret_basic, client_secret_post, private_key_jwt, tls_client_auth, self_signed_tls_client_auth'],
  ['no authentication', { token_endpoint_auth_method: 'none' }, '/token_endpoint_auth_method: expected one of .*'],
  ...['tls_client_auth', 'self_signed_tls_client_auth'].map((method): [string, object, string] => [`no certificate for ${method}`, { token_endpoint_auth_method: method }, `expected /tls_client for ${method}`]),
  ['a certificate that is not there', { tls_client: { ...tls_client, certificate: 'secrets/gone' } }, '/tls_client/certificate: /.*secrets/gone cannot be read \\(ENOENT\\)'],
  ['a certificate whose key is not there', { tls_client: { ...tls_client, key: 'secrets/gone' } }, '/tls_client/key: /.*secrets/gone cannot be read \\(ENOENT\\)'],
  ['a certificate without a key', { tls_client: { certificate: 'secrets/ours.pem' } }, '/tls_client: expected key'],
  ['a key without a certificate', { tls_client: { key: 'secrets/ours.key' } }, '/tls_client: expected certificate'],
  ['a certificate with more than belongs to it', { tls_client: { ...tls_client, passphrase: 'x' } }, '/tls_client: unknown setting passphrase'],
  ['an authority that is not there', { ca: 'secrets/gone' }, '/ca: /.*secrets/gone cannot be read \\(ENOENT\\)'],
  ['an ID Token that nobody signs', { id_token_signed_response_alg: 'none' }, '/id_token_signed_response_alg: expected one of RS256, ES256, PS256, EdDSA'],
  ['an ID Token signed by our secret', { id_token_signed_response_alg: 'HS256' }, '/id_token_signed_response_alg: expected one of .*'],
  ['userinfo that nobody signs', { userinfo_signed_response_alg: 'none' }, '/userinfo_signed_response_alg: expected one of .*'],
  ...['id_token', 'userinfo'].flatMap((purpose): Array<[string, object, string]> => [
    [`${purpose} encrypted as yesterday`, { [`${purpose}_encrypted_response_alg`]: 'RSA1_5' }, `/${purpose}_encrypted_response_alg: expected one of RSA-OAEP-256, ECDH-ES`],
    [`the content of ${purpose} encrypted as yesterday`, { [`${purpose}_encrypted_response_alg`]: 'ECDH-ES', [`${purpose}_encrypted_response_enc`]: 'A128CBC-HS256' }, `/${purpose}_encrypted_response_enc: expected one of A128GCM, A256GCM`]
  ]),
  ['a status page at an http address', { status_url: 'http://post.example/status' }, '/status_url: expected https'],
  ['a status page on this machine by http', { status_url: 'http://localhost/status' }, '/status_url: expected https'],
  ['a status page that is no URL', { status_url: 'https://[::1' }, '/status_url: expected a URL'],
  ['a status page with a fragment', { status_url: 'https://post.example/#status' }, '/status_url: expected an http or https address without a fragment, in printable ASCII: percent-encoded, its host in punycode'],
  ...['authorization_endpoint', 'end_session_endpoint'].map((name): [string, object, string] => [
    `an ${name} that no header carries`,
    { endpoints: { authorization_endpoint: 'https://post.example/a', token_endpoint: 'https://post.example/t', jwks_uri: 'https://post.example/j', [name]: 'https://post.example/entrée' } },
    `/endpoints/${name}: expected an http or https address without a fragment, in printable ASCII: percent-encoded, its host in punycode`
  ]),
  ['a status page of another scheme', { status_url: 'file:///etc/passwd' }, '/status_url: expected an http or https address without a fragment, in printable ASCII: percent-encoded, its host in punycode'],
  ...(Object.entries({ concurrent_callbacks: [1, 1024], timeout_ms: [100, 30000], callback_timeout_ms: [100, 60000] })).flatMap(([name, [least, most]]): Array<[string, object, string]> => [
    [`too little of ${name}`, { [name]: least! - 1 }, `/${name}: must be >= ${least}`],
    [`too much of ${name}`, { [name]: most! + 1 }, `/${name}: must be <= ${most}`],
    [`a part of ${name}`, { [name]: least! + 0.5 }, `/${name}: must be integer`],
    [`${name} in words`, { [name]: '64' }, `/${name}: must be integer`]
  ]),
  ['a breaker forced to be something else', { breaker: { forced: 'half_open' } }, '/breaker/forced: expected one of open, closed'],
  ['a breaker forced by a boolean', { breaker: { forced: true } }, '/breaker/forced: expected one of open, closed'],
  ...(Object.entries({ error_percent: [1, 100], volume: [1, 1000], window_ms: [1000, 600000], reset_ms: [100, 300000], probe_ms: [0, 600000], slow_ms: [1, 60000] })).flatMap(([name, [least, most]]): Array<[string, object, string]> => [
    [`a breaker with too little of ${name}`, { breaker: { [name]: least! - 1 } }, `/breaker/${name}: must be >= ${least}`],
    [`a breaker with too much of ${name}`, { breaker: { [name]: most! + 1 } }, `/breaker/${name}: must be <= ${most}`]
  ]),
  ['a breaker with a setting that does not exist', { breaker: { timeout_ms: 1000 } }, '/breaker: unknown setting timeout_ms'],
  ['maintenance that ends before it begins', { maintenance: { from: '2027-02-01T00:00:00Z', until: '2027-01-31T23:59:59Z' } }, '/maintenance/until: expected after its start'],
  ['maintenance that ends as it begins', { maintenance: { from: '2027-02-01T00:00:00Z', until: '2027-02-01T00:00:00Z' } }, '/maintenance/until: expected after its start'],
  ['maintenance that ends before it begins in another time zone', { maintenance: { from: '2027-02-01T00:30:00Z', until: '2027-02-01T01:00:00+01:00' } }, '/maintenance/until: expected after its start'],
  ['maintenance that ends without a time zone', { maintenance: { until: '2027-02-01T00:00:00' } }, '/maintenance/until: expected a time as 2027-01-31T22:00:00Z \\(RFC 3339\\)'],
  ['maintenance until a day', { maintenance: { until: '2027-02-01' } }, '/maintenance/until: expected a time as .*'],
  ['maintenance until a moment that does not exist', { state: 'maintenance', maintenance: { until: '2027-13-45T99:99:99Z' } }, '/maintenance/until: expected .*'],
  ['maintenance from a moment that does not exist', { maintenance: { from: '2027-01-01T24:30:00Z' } }, '/maintenance/from: expected .*'],
  ['maintenance until a day that does not exist', { maintenance: { until: '2027-02-30T00:00:00Z' } }, '/maintenance/until: expected a day and a time that there are'],
  ['maintenance in one language', { maintenance: { message: { fr: 'De retour lundi' } } }, '/maintenance/message: expected en'],
  ['maintenance in one more language', { maintenance: { message: { fr: 'a', en: 'b', br: 'c' } } }, '/maintenance/message: unknown setting br'],
  ['maintenance told at too great length', { maintenance: { message: { fr: 'a'.repeat(501), en: 'b' } } }, '/maintenance/message/fr: must NOT have more than 500 characters'],
  ['a state that does not exist', { state: 'down' }, '/state: expected one of active, beta, hidden, maintenance, disabled'],
  ['loopback in words', { loopback: 'yes' }, '/loopback: must be boolean'],
  ['a level that does not exist', { acr_values: ['eidas1', 'eidas9'] }, '/acr_values: eidas9 is not one of the levels in passerelle.yaml'],
  ['a fresh login proved in words', { reports_auth_time: 'no' }, '/reports_auth_time: must be boolean'],
  ['an id that cannot stand in an address', { id: 'Post' }, '/id: expected small letters, digits and hyphens, 32 at most']
]

/** What can be wrong with the way to Redis: what is set beside a right address, and what is said. */
const redisFaults: Array<[title: string, redis: object, problem: string]> = [
  ['an address of another scheme', { urls: ['http://redis.example'] }, '/urls/0: expected redis:// or rediss://, a host and a port; user and password stand beside'],
  ['an address without a host', { urls: ['rediss://'] }, '/urls/0: expected redis:// .*'],
  ['a port that is none', { urls: ['rediss://redis.example:99999'] }, '/urls: expected redis:// or rediss:// URLs.*'],
  ['a password for everybody to read', { urls: ['rediss://:hunter2@redis.example'] }, '/urls/0: expected redis:// .*'],
  ['several addresses in one', { urls: ['rediss://a.example,rediss://b.example'] }, '/urls/0: expected redis:// .*'],
  ['one address twice', { urls: ['rediss://a.example', 'rediss://a.example'] }, '/urls: must NOT have duplicate items .*'],
  ['an address with TLS and one without', { urls: ['rediss://a.example', 'redis://b.example'] }, '/urls: expected rediss:// in all of its addresses, or in none'],
  ...Object.entries({ ca: 'secrets/ours.pem', tls_client, server_name: 'redis.example' }).map(([name, value]): [string, object, string] =>
    [`${name} for nothing`, { urls: ['redis://redis.example'], [name]: value }, '/urls: expected rediss:// URLs where redis has ca, tls_client or server_name']),
  ['several addresses of no Cluster', { urls: ['rediss://a.example', 'rediss://b.example'], cluster: false }, '/urls: expected one URL where cluster is false'],
  ['a password in the open', { password: 'hunter2-hunter2-hunter2' }, '/password: must be object'],
  ['a password that is not there', { password: { file: 'secrets/gone' } }, '/password: /.*secrets/gone cannot be read \\(ENOENT\\)'],
  ...['empty', 'blank'].map((name): [string, object, string] => [`a password file that is ${name}`, { password: { file: `secrets/${name}` } }, `/password: secrets/${name}: expected a secret of at least 16 characters`]),
  ['a password that is too short', { password: { file: 'secrets/short' } }, '/password: secrets/short: expected a secret of at least 16 characters'],
  ['an authority that is none', { ca: 'secrets/post' }, '/ca: secrets/post: expected certificates, PEM'],
  ['an authority that is a key', { ca: 'secrets/ours.key' }, '/ca: secrets/ours.key: expected certificates, PEM'],
  ['an authority whose file is empty', { ca: 'secrets/empty' }, '/ca: secrets/empty: expected certificates, PEM'],
  ['an authority that is not there', { ca: 'secrets/gone' }, '/ca: /.*secrets/gone cannot be read \\(ENOENT\\)'],
  ['a certificate with another\'s key', { tls_client: { ...tls_client, key: 'secrets/others.key' } }, '/tls_client: expected a certificate and its own private key, PEM'],
  ['a certificate without a key', { tls_client: { certificate: 'secrets/ours.pem' } }, '/tls_client: expected key'],
  ['a setting that does not exist', { tls: true }, ': unknown setting tls']
]

/** What those files hold. */
const redisFiles = { ...pem, 'secrets/others.key': others.key, 'secrets/short': 'hunter2', 'secrets/empty': '', 'secrets/blank': ' \n' }
/** Settings of two sites, of which a test changes the other one, and what else there is. */
const withSites = (other: object, more: object = {}) => ({ ...settings, sites: [{ site: 'a', urls: ['rediss://a.example'] }, { site: 'b', urls: ['rediss://b.example'], ...other }], ...more })

/** What can be wrong with the list of sites beyond the way to each. */
const sitesFaults: Array<[title: string, settings: object, problem: string]> = [
  ['one site twice', withSites({ site: 'a' }), '/sites/1/site: a is already in the list'],
  ['a site whose mark is none', withSites({ site: 'lille' }), '/sites/1/site: expected .*'],
  ['a site without a Redis', withSites({ urls: undefined }), '/sites/1/urls: expected one at least'],
  ['none of them this one', withSites({}, { site: 'c' }), '/site: expected one of a, b, which are the sites'],
  ...Object.entries({ urls: ['rediss://redis.example'], cluster: true, username: 'passerelle', password: { file: 'secrets/gone' }, ca: 'secrets/gone', tls_client, server_name: 'redis.example' }).map(([name, value]): [string, object, string] =>
    [`${name} of a Redis beside them`, withSites({}, { redis: { [name]: value } }), `/redis/${name}: expected none beside sites: each site has its own`])
]

const wrong: Array<[title: string, changes: Files, problem: RegExp]> = [
  ['a setting that does not exist', { 'clients/town.yaml': { ...town, redirect_urls: [] } }, /^clients\/town\.yaml: \/: unknown setting redirect_urls$/],
  ['a setting that is missing', { 'clients/town.yaml': { ...town, client_id: undefined } }, /^clients\/town\.yaml: \/: expected client_id$/],
  ['a value of the wrong kind', { 'clients/town.yaml': { ...town, redirect_uris: 'https://town.example/' } }, /^clients\/town\.yaml: \/redirect_uris: must be array$/],
  ['a value that is none of those known', { 'clients/town.yaml': { ...town, consent: 'maybe' } }, /^clients\/town\.yaml: \/consent: expected one of required, information, skip$/],
  ['a number out of range', { 'clients/town.yaml': { ...town, code_seconds: 600 } }, /^clients\/town\.yaml: \/code_seconds: must be <= 60$/],
  ['an unknown scope', { 'clients/town.yaml': { ...town, scopes: ['openid', 'constructor'] } }, /^clients\/town\.yaml: \/scopes\/1: expected one of openid, profile/],
  ['YAML that cannot be read, with its line', { 'clients/town.yaml': 'client_id: town\nname: "Town\n' }, /^clients\/town\.yaml: line \d+: /],
  ['a text that begins as an alias', { 'clients/town.yaml': 'client_id: town\nname: *Town*\n' }, /^clients\/town\.yaml: expected no alias .* stands in quotes$/],
  ['aliases without end', { 'clients/town.yaml': `a: &a [${'x, '.repeat(99)}x]\nb: &b [${'*a, '.repeat(99)}*a]\nc: [${'*b, '.repeat(99)}*b]\n` }, /^clients\/town\.yaml: expected no alias/],
  ...['proxy.example', '10.0.0.0/33', '0.0.0.0/0', '::/0', '10.0.0/8'].map((proxy): [string, Files, RegExp] => [`a proxy that is no address and no network: ${proxy}`, { 'passerelle.yaml': { ...settings, trusted_proxies: ['10.0.0.1', proxy] } }, /^passerelle\.yaml: \/trusted_proxies\/1: expected an address or a network, as 10\.0\.0\.0\/8/]),
  ['a key given twice', { 'clients/town.yaml': 'client_id: town\nclient_id: other\n' }, /^clients\/town\.yaml: line 2: Map keys must be unique/],
  ['a secret that is not there', { 'clients/town.yaml': { ...town, client_secrets: [{ file: 'secrets/gone' }] } }, /^clients\/town\.yaml: \/client_secrets: \/.*secrets\/gone cannot be read \(ENOENT\)$/],
  ['a secret that is too short', { 'secrets/town': 'secret' }, /^clients\/town\.yaml: \/client_secrets: secrets\/town: expected a secret of at least 16 characters$/],
  ['a confidential client without a secret', { 'clients/town.yaml': { ...town, client_secrets: [] } }, /^clients\/town\.yaml: \/client_secrets: expected at least one/],
  ['a public client with a secret', { 'clients/town.yaml': { ...town, token_endpoint_auth_method: 'none' } }, /^clients\/town\.yaml: \/client_secrets: a public client has none$/],
  ['a public client without PKCE', { 'clients/app.yaml': { ...files['clients/app.yaml'], require_pkce: false } }, /^clients\/app\.yaml: \/require_pkce: expected true/],
  ['a public client with a higher level', { 'clients/app.yaml': { ...files['clients/app.yaml'], acr_values: ['eidas2'] } }, /^clients\/app\.yaml: \/acr_values: a public client has the lowest level only/],
  ['a level that does not exist', { 'clients/town.yaml': { ...town, acr_values: ['eidas9'] } }, /^clients\/town\.yaml: \/acr_values: eidas9 is not one of the levels/],
  ['a provider that does not exist', { 'clients/town.yaml': { ...town, identity_providers: { allow: ['bank'] } } }, /^clients\/town\.yaml: \/identity_providers\/allow: bank is not an identity provider$/],
  ['a hint to a provider that does not exist', { 'clients/town.yaml': { ...town, idp_hints: ['bank'] } }, /^clients\/town\.yaml: \/idp_hints: bank is not an identity provider$/],
  ['two clients of one name', { 'clients/other.yaml': town }, /^clients\/town\.yaml: \/client_id: town is already in clients\/other\.yaml$/],
  ['two providers of one name', { 'identity-providers/again.yaml': post }, /^identity-providers\/post\.yaml: \/id: post is already in/],
  ['an http redirect_uri in production', { 'clients/town.yaml': { ...town, redirect_uris: ['http://localhost:3000/callback'] } }, /^clients\/town\.yaml: \/redirect_uris\/0: expected https$/],
  ['an http redirect_uri off the machine in development', { 'passerelle.yaml': { ...settings, environment: 'development' }, 'clients/town.yaml': { ...town, redirect_uris: ['http://town.example/'] } }, /^clients\/town\.yaml: \/redirect_uris\/0: expected https, or http on a loopback name$/],
  ['a redirect_uri with a fragment', { 'clients/town.yaml': { ...town, redirect_uris: ['https://town.example/#here'] } }, /^clients\/town\.yaml: \/redirect_uris\/0: expected an http or https address without a fragment, in printable ASCII: percent-encoded, its host in punycode$/],
  ...['https://town.example/entrée', 'https://town.example/?vœu=1', 'https://mairie-évry.example/', 'https://town.example/\u007f', 'https://town.example/\u200b', 'https://town.example/a b'].map((address): [string, Files, RegExp] =>
    [`a redirect_uri that no header carries: ${encodeURI(address)}`, { 'clients/town.yaml': { ...town, redirect_uris: ['https://town.example/', address] } }, /^clients\/town\.yaml: \/redirect_uris\/1: expected an http or https address without a fragment, in printable ASCII: percent-encoded, its host in punycode$/]),
  ['an address after logout that no header carries', { 'clients/town.yaml': { ...town, post_logout_redirect_uris: ['https://town.example/entrée'] } }, /^clients\/town\.yaml: \/post_logout_redirect_uris\/0: expected an http or https address without a fragment, in printable ASCII/],
  ['a redirect_uri of another scheme', { 'clients/town.yaml': { ...town, redirect_uris: ['javascript:alert(1)'] } }, /^clients\/town\.yaml: \/redirect_uris\/0: expected an http or https address without a fragment, in printable ASCII: percent-encoded, its host in punycode$/],
  ['an issuer that no header carries', { 'passerelle.yaml': { ...settings, issuer: 'https://entrée.example' } }, /^passerelle\.yaml: \/issuer: expected an http or https address without a fragment, in printable ASCII/],
  ['an http issuer in production', { 'passerelle.yaml': { ...settings, issuer: 'http://login.example' } }, /^passerelle\.yaml: \/issuer: expected https$/],
  ['an issuer with a slash at the end', { 'passerelle.yaml': { ...settings, issuer: 'https://login.example/' } }, /^passerelle\.yaml: \/issuer: expected no query and no slash at the end$/],
  ...['https://login.example:443', 'https://Login.example', 'https://login.example/a/../b'].map((issuer): [string, Files, RegExp] => [`an issuer that clients would write otherwise: ${issuer}`, { 'passerelle.yaml': { ...settings, issuer } }, /^passerelle\.yaml: \/issuer: expected as every client will write it: https:\/\/login\.example(\/b)?$/]),
  ['a default level that does not exist', { 'passerelle.yaml': { ...settings, acr: { default: 'high' } } }, /^passerelle\.yaml: \/acr\/default: high is not one of/],
  ['no client at all', { 'clients/town.yaml': null, 'clients/app.yaml': null }, /^clients\/: expected at least one client$/],
  ['no provider at all', { 'identity-providers/post.yaml': null, 'identity-providers/tax.yaml': null }, /^identity-providers\/: expected at least one/],
  ['a provider without the secret its method needs', { 'identity-providers/post.yaml': { ...post, client_secret: undefined } }, /^identity-providers\/post\.yaml: expected \/client_secret for client_secret_basic$/],
  ['a provider without the key its method needs', { 'identity-providers/post.yaml': { ...post, token_endpoint_auth_method: 'private_key_jwt' } }, /^identity-providers\/post\.yaml: expected \/client_key for private_key_jwt$/],
  ['a provider key that is no key', { 'identity-providers/post.yaml': { ...post, token_endpoint_auth_method: 'private_key_jwt', client_key: { file: 'secrets/post' } } }, /^identity-providers\/post\.yaml: \/client_key: secrets\/post: expected a JWK/],
  ['a provider asked without openid', { 'identity-providers/post.yaml': { ...post, scopes: ['profile'] } }, /^identity-providers\/post\.yaml: \/scopes: expected openid/],
  ['a provider at an http address', { 'identity-providers/post.yaml': { ...post, issuer: 'http://post.example' } }, /^identity-providers\/post\.yaml: \/issuer: expected https$/],
  ['a maintenance date that is no date', { 'identity-providers/post.yaml': { ...post, maintenance: { from: 'tomorrow' } } }, /^identity-providers\/post\.yaml: \/maintenance\/from: expected a time as/],
  ...providerFaults.map(([title, changes, problem]): [string, Files, RegExp] => [`a provider with ${title}`, { ...pem, 'identity-providers/post.yaml': { ...post, ...changes } }, new RegExp(`^identity-providers/post\\.yaml: ${problem}$`)]),
  ...redisFaults.map(([title, redis, problem]): [string, Files, RegExp] => [`a Redis with ${title}`, { ...redisFiles, 'passerelle.yaml': { ...settings, redis: { urls: ['rediss://redis.example'], ...redis } } }, new RegExp(`^passerelle\\.yaml: /redis${problem}$`)]),
  ...redisFaults.map(([title, redis, problem]): [string, Files, RegExp] => [`another site's Redis with ${title}`, { ...redisFiles, 'passerelle.yaml': withSites(redis) }, new RegExp(`^passerelle\\.yaml: /sites/1${problem}$`)]),
  ...sitesFaults.map(([title, settings, problem]): [string, Files, RegExp] => [`sites with ${title}`, { ...redisFiles, 'passerelle.yaml': settings }, new RegExp(`^passerelle\\.yaml: ${problem}$`)]),
  ['a provider\'s certificate that is none', { ...pem, 'secrets/ours.pem': 'a certificate', 'identity-providers/post.yaml': { ...post, tls_client } }, /^identity-providers\/post\.yaml: \/tls_client/],
  ['a provider\'s certificate with another\'s key', { ...pem, 'secrets/ours.key': others.key, 'identity-providers/post.yaml': { ...post, tls_client } }, /^identity-providers\/post\.yaml: \/tls_client/],
  ...['an authority', ''].map((ca): [string, Files, RegExp] => [`a provider's authority that is none: "${ca}"`, { 'secrets/ca.pem': ca, 'identity-providers/post.yaml': { ...post, ca: 'secrets/ca.pem' } }, /^identity-providers\/post\.yaml: \/ca: /]),
  ...Object.entries({
    public: { kid: 'a', alg: 'ES256', ...ec },
    'without kid': { alg: 'ES256', ...ecPrivate },
    'without alg': { kid: 'a', ...ecPrivate },
    'for an algorithm that it does not fit': { kid: 'a', alg: 'RS256', ...ecPrivate },
    'for an algorithm of secrets': { kid: 'a', alg: 'HS256', kty: 'oct', k: 'c2VjcmV0', d: 'c2VjcmV0' },
    'of a point that is on no curve': { kid: 'a', alg: 'ES256', kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA', d: 'AA' },
    'of 1,024 bits': { kid: 'a', alg: 'RS256', ...jwkOf('rsa', { modulusLength: 1024 }, 'privateKey') },
    null: null
  }).map(([what, key]): [string, Files, RegExp] => [`a key of ours at a provider: ${what}`, {
    'secrets/post.jwk': JSON.stringify(key),
    'identity-providers/post.yaml': { ...post, token_endpoint_auth_method: 'private_key_jwt', client_key: { file: 'secrets/post.jwk' } }
  }, /^identity-providers\/post\.yaml: \/client_key: secrets\/post\.jwk: expected a private JWK with kid, and alg RS256/]),
  ...Object.entries({
    'for RSA-OAEP-256 of 1,024 bits': { ...jwkOf('rsa', { modulusLength: 1024 }, 'privateKey'), alg: 'RSA-OAEP-256' },
    'for ECDH-ES on another curve': { ...jwkOf('ec', { namedCurve: 'P-384' }, 'privateKey'), alg: 'ECDH-ES' },
    'for an algorithm of yesterday': { ...rsaPrivate, alg: 'RSA1_5' },
    'that is public': { ...ec, alg: 'ECDH-ES' }
  }).map(([what, key]): [string, Files, RegExp] => [`a decryption key ${what}`, { 'keys/broken.json': JSON.stringify({ ...key, kid: 'x', nbf: 0, use: 'enc' }) }, /^keys\/broken\.json: expected a private JWK .* with use enc RSA-OAEP-256 or ECDH-ES \(P-256\)/]),
  ['a decryption key under the name of another key', { 'keys/one.json': JSON.stringify({ ...ecPrivate, kid: 'x', nbf: 0, use: 'enc', alg: 'ECDH-ES' }), 'keys/two.json': JSON.stringify({ ...ecPrivate, kid: 'x', nbf: 0, use: 'sig', alg: 'ES256' }) }, /^keys\/two\.json: expected a private JWK with a kid of its own/],
  ['a logo that is no picture', { 'clients/town.yaml': { ...town, logo: 'secrets/town' } }, /^clients\/town\.yaml: \/logo: expected an \.svg, \.png or \.webp file$/],
  ['no directory of keys', { 'passerelle.yaml': { ...settings, keys: 'nowhere' } }, /^passerelle\.yaml: \/keys: nowhere is not a directory/],
  ...['2026.11', 'two words', 'clé', 'x'.repeat(65), ''].map((kid): [string, Files, RegExp] => [`a sealing key whose name nothing that it seals can bear: ${kid}`, { 'keys/broken.json': JSON.stringify({ kid, nbf: 0, kty: 'oct', k: 'A'.repeat(43) }) }, /^keys\/broken\.json: expected a private JWK .* whose kid is letters, digits, - and _/]),
  ['a key that is no key', { 'keys/broken.json': '{"kid":"x","nbf":0,"kty":"oct","k":"short"}' }, /^keys\/broken\.json: expected a private JWK/],
  ['a key that is not even JSON', { 'keys/broken.json': 'secret text' }, /^keys\/broken\.json: expected a JWK/],
  ['a key for an algorithm that it does not fit', { 'keys/broken.json': JSON.stringify({ ...jwkOf('ec', { namedCurve: 'P-256' }, 'privateKey'), kid: 'x', nbf: 0, alg: 'EdDSA' }) }, /^keys\/broken\.json: expected a private JWK .* PS256 .* EdDSA/],
  ['a key for PS256 that is too short', { 'keys/broken.json': JSON.stringify({ ...jwkOf('rsa', { modulusLength: 1024 }, 'privateKey'), kid: 'x', nbf: 0, alg: 'PS256' }) }, /^keys\/broken\.json: expected a private JWK/],
  ['a redirect_uri that has a parameter of ours already', { 'clients/town.yaml': { ...town, redirect_uris: ['https://town.example/?code=1'] } }, /^clients\/town\.yaml: \/redirect_uris\/0: expected no code in its query$/],
  ['a redirect_uri that has our issuer already', { 'clients/town.yaml': { ...town, redirect_uris: ['https://town.example/', 'https://town.example/?a=b&iss=x'] } }, /^clients\/town\.yaml: \/redirect_uris\/1: expected no iss in its query$/],
  ['a redirect_uri that is no URL', { 'clients/town.yaml': { ...town, redirect_uris: ['https://[::1'] } }, /^clients\/town\.yaml: \/redirect_uris\/0: expected a URL$/],
  ['a person made of what need not be there', { 'passerelle.yaml': { ...settings, identity: { required_claims: ['given_name', 'family_name', 'gender', 'birthcountry'] } } }, /^passerelle\.yaml: \/identity\/required_claims: expected birthdate among them: sub is made of it$/],
  ['a provider with an endpoint at an http address', { 'identity-providers/post.yaml': { ...post, endpoints: { ...endpoints, token_endpoint: 'http://post.example/token' } } }, /^identity-providers\/post\.yaml: \/endpoints\/token_endpoint: expected https$/],
  ['no redirect_uri', { 'clients/town.yaml': { ...town, redirect_uris: [] } }, /^clients\/town\.yaml: \/redirect_uris: expected one at least$/],
  ['no redirect_uri of a public client', { 'clients/app.yaml': { ...files['clients/app.yaml'], redirect_uris: undefined } }, /^clients\/app\.yaml: \/redirect_uris: expected one at least$/],

  ['keys here and elsewhere', { 'clients/town.yaml': { ...keyed, jwks_uri } }, /^clients\/town\.yaml: \/jwks_uri: expected only one of jwks and jwks_uri$/],
  ['a private key, EC', { 'clients/town.yaml': { ...keyed, jwks: { keys: [jwkOf('ec', { namedCurve: 'P-256' }, 'privateKey')] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0: expected a public key/],
  ['a private key, RSA, beside a public one', { 'clients/town.yaml': { ...keyed, jwks: { keys: [ec, rsaPrivate] } } }, /^clients\/town\.yaml: \/jwks\/keys\/1: expected a public key/],
  ['a private key, Ed25519', { 'clients/town.yaml': { ...keyed, jwks: { keys: [jwkOf('ed25519', {}, 'privateKey')] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0: expected a public key/],
  ['a private member alone', { 'clients/town.yaml': { ...keyed, jwks: { keys: [{ ...ec, d: '' }] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0: expected a public key/],
  ['the private members of an RSA key but the first', { 'clients/town.yaml': { ...keyed, jwks: { keys: [{ ...rsaPrivate, d: undefined }] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0: expected a public key/],
  ['assertions by a key for encryption', { 'clients/town.yaml': { ...keyed, jwks: { keys: [{ ...ec, alg: 'ECDH-ES' }] } } }, /^clients\/town\.yaml: \/token_endpoint_auth_method: expected a key that signs in jwks, or jwks_uri$/],
  ['assertions by a key that verifies nothing of the algorithm that is meant', { 'clients/town.yaml': { ...keyed, token_endpoint_auth_signing_alg: 'RS256' } }, /^clients\/town\.yaml: \/token_endpoint_auth/],
  ['a secret within a public key', { 'clients/town.yaml': { ...keyed, jwks: { keys: [{ ...rsa, k: 'c2VjcmV0' }] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0: expected a public key/],
  ['a secret for a key', { 'clients/town.yaml': { ...keyed, jwks: { keys: [{ kty: 'oct', k: 'c2VjcmV0' }] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0\/kty: expected one of RSA, EC, OKP$/],
  ['an RSA key of 1,024 bits', { 'clients/town.yaml': { ...keyed, jwks: { keys: [jwkOf('rsa', { modulusLength: 1024 })] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0: expected a public key, RSA with 2048 bits or more/],
  ['an RSA key of 2,047 bits', { 'clients/town.yaml': { ...keyed, jwks: { keys: [jwkOf('rsa', { modulusLength: 2047 })] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0: expected a public key/],
  ['a public key that is none', { 'clients/town.yaml': { ...keyed, jwks: { keys: [{ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }] } } }, /^clients\/town\.yaml: \/jwks\/keys\/0: expected a public key/],
  ['a curve that nobody knows', { 'clients/town.yaml': { ...keyed, jwks: { keys: [ec, { ...ec, crv: 'P-257' }] } } }, /^clients\/town\.yaml: \/jwks\/keys\/1: expected a public key/],
  ['a set of no keys', { 'clients/town.yaml': { ...keyed, jwks: { keys: [] } } }, /^clients\/town\.yaml: \/jwks\/keys: must NOT have fewer than 1 items$/],
  ['more keys than anybody has', { 'clients/town.yaml': { ...keyed, jwks: { keys: Array.from({ length: 17 }, () => ec) } } }, /^clients\/town\.yaml: \/jwks\/keys: must NOT have more than 16 items$/],
  ['an http address of keys in production', { 'clients/town.yaml': { ...agency, jwks_uri: 'http://localhost:3000/jwks' } }, /^clients\/town\.yaml: \/jwks_uri: expected https$/],
  ['an http address of keys off the machine in development', { 'passerelle.yaml': development, 'clients/town.yaml': { ...agency, jwks_uri: 'http://town.example/jwks' } }, /^clients\/town\.yaml: \/jwks_uri: expected https, or http on a loopback name$/],
  ['an address of keys that is no URL', { 'clients/town.yaml': { ...agency, jwks_uri: 'https://[::1' } }, /^clients\/town\.yaml: \/jwks_uri: expected a URL$/],
  ['an http address of logouts in production', { 'clients/town.yaml': { ...town, backchannel_logout_uri: 'http://localhost:3000/logout' } }, /^clients\/town\.yaml: \/backchannel_logout_uri: expected https$/],
  ['an address of logouts with a fragment (Back-Channel Logout §2.2)', { 'clients/town.yaml': { ...town, backchannel_logout_uri: 'https://town.example/logout#now' } }, /^clients\/town\.yaml: \/backchannel_logout_uri: expected an http or https address without a fragment, in printable ASCII: percent-encoded, its host in punycode$/],

  ['assertions by no key', { 'clients/town.yaml': { ...keyed, jwks: undefined } }, /^clients\/town\.yaml: \/token_endpoint_auth_method: expected a key that signs in jwks, or jwks_uri$/],
  ...[['encryption', [{ ...rsa, use: 'enc' }, x]], ['another curve', [jwkOf('ec', { namedCurve: 'P-384' })]]].map(([what, keys]): [string, Files, RegExp] =>
    [`assertions by keys for ${what}`, { 'clients/town.yaml': { ...keyed, jwks: { keys } } }, /^clients\/town\.yaml: \/token_endpoint_auth_method: expected a key that signs in jwks, or jwks_uri$/]),
  ['assertions and a secret', { 'clients/town.yaml': { ...keyed, client_secrets: [{ file: 'secrets/town' }] } }, /^clients\/town\.yaml: \/client_secrets: expected none for private_key_jwt$/],
  ['request objects by no key', { 'clients/town.yaml': { ...town, request_object_signing_alg: 'ES256' } }, /^clients\/town\.yaml: \/request_object_signing_alg: expected a key that signs in jwks, or jwks_uri$/],
  ['request objects that are needed, by no key', { 'clients/town.yaml': { ...town, require_signed_request_object: true } }, /^clients\/town\.yaml: \/require_signed_request_object: expected a key that signs in jwks, or jwks_uri$/],
  ['an assertion that proves nothing', { 'clients/town.yaml': { ...keyed, token_endpoint_auth_signing_alg: 'none' } }, /^clients\/town\.yaml: \/token_endpoint_auth_signing_alg: expected one of RS256, ES256, PS256, EdDSA$/],
  ['an assertion by a secret', { 'clients/town.yaml': { ...keyed, token_endpoint_auth_signing_alg: 'HS256' } }, /^clients\/town\.yaml: \/token_endpoint_auth_signing_alg: expected one of/],
  ['an ID Token that nobody signs', { 'clients/town.yaml': { ...town, id_token_signed_response_alg: 'none' } }, /^clients\/town\.yaml: \/id_token_signed_response_alg: expected one of/],
  ['a way to authenticate that is none', { 'clients/town.yaml': { ...town, token_endpoint_auth_method: 'client_secret_jwt' } }, /^clients\/town\.yaml: \/token_endpoint_auth_method: expected one of/],
  ['a pushed request that lives too long', { 'clients/town.yaml': { ...town, request_uri_seconds: 601 } }, /^clients\/town\.yaml: \/request_uri_seconds: must be <= 600$/],

  ['ID Tokens encrypted to no key', { 'clients/town.yaml': { ...town, id_token_encrypted_response_alg: 'ECDH-ES' } }, /^clients\/town\.yaml: \/id_token_encrypted_response_alg: expected a key for ECDH-ES in jwks, or jwks_uri$/],
  ['ID Tokens encrypted to a key of another kind', { 'clients/town.yaml': { ...keyed, id_token_encrypted_response_alg: 'RSA-OAEP-256' } }, /^clients\/town\.yaml: \/id_token_encrypted_response_alg: expected a key for RSA-OAEP-256 in jwks, or jwks_uri$/],
  ['ID Tokens encrypted to keys for signing', { 'clients/town.yaml': { ...keyed, jwks: { keys: [{ ...ec, use: 'sig' }, { ...ec, alg: 'ES256' }, ed] }, id_token_encrypted_response_alg: 'ECDH-ES' } }, /^clients\/town\.yaml: \/id_token_encrypted_response_alg: expected a key for ECDH-ES in jwks/],
  ['userinfo encrypted and not signed', { 'clients/town.yaml': { ...keyed, userinfo_encrypted_response_alg: 'ECDH-ES' } }, /^clients\/town\.yaml: \/userinfo_signed_response_alg: expected, since what is encrypted is signed first$/],
  ['userinfo encrypted to no key', { 'clients/town.yaml': { ...town, userinfo_signed_response_alg: 'ES256', userinfo_encrypted_response_alg: 'RSA-OAEP-256' } }, /^clients\/town\.yaml: \/userinfo_encrypted_response_alg: expected a key for RSA-OAEP-256/],
  ['introspection encrypted and not signed', { 'clients/town.yaml': { ...agency, introspection_encrypted_response_alg: 'ECDH-ES' } }, /^clients\/town\.yaml: \/introspection_signed_response_alg: expected, since/],
  ['introspection encrypted to no key', { 'clients/town.yaml': { ...keyed, scopes: ['birth'], introspection: true, introspection_signed_response_alg: 'ES256', introspection_encrypted_response_alg: 'RSA-OAEP-256' } }, /^clients\/town\.yaml: \/introspection_encrypted_response_alg: expected a key for RSA-OAEP-256/],
  ['encryption by an algorithm of yesterday', { 'clients/town.yaml': { ...keyed, id_token_encrypted_response_alg: 'RSA1_5' } }, /^clients\/town\.yaml: \/id_token_encrypted_response_alg: expected one of RSA-OAEP-256, ECDH-ES$/],
  ['content encrypted by an algorithm of yesterday', { 'clients/town.yaml': { ...keyed, id_token_encrypted_response_alg: 'ECDH-ES', id_token_encrypted_response_enc: 'A128CBC-HS256' } }, /^clients\/town\.yaml: \/id_token_encrypted_response_enc: expected one of A128GCM, A256GCM$/],

  ['a public client that asks what tokens are worth', { 'clients/app.yaml': { ...files['clients/app.yaml'], scopes: ['birth'], introspection: true } }, /^clients\/app\.yaml: \/introspection: a public client is no data provider$/],
  ['a data provider that shares no scope with anybody', { 'clients/town.yaml': { ...agency, scopes: ['openid'] } }, /^clients\/town\.yaml: \/scopes: expected one beyond openid/],
  ['a data provider without scopes', { 'clients/town.yaml': { ...agency, scopes: [] } }, /^clients\/town\.yaml: \/scopes: expected one beyond openid/],
  ['fapi2 of a data provider whose answers are signed as it comes', { 'clients/town.yaml': { ...fapi2, scopes: ['birth'], introspection: true } }, /^clients\/town\.yaml: \/introspection_signed_response_alg: expected for fapi2$/],
  ['a profile that is none', { 'clients/town.yaml': { ...town, profile: 'fapi1' } }, /^clients\/town\.yaml: \/profile: expected one of standard, fapi2$/],
  ['fapi2 with a secret', { 'clients/town.yaml': { ...fapi2, token_endpoint_auth_method: 'client_secret_basic', client_secrets: [{ file: 'secrets/town' }] } }, /^clients\/town\.yaml: \/token_endpoint_auth_method: expected private_key_jwt for fapi2$/],
  ['fapi2 of a public client', { 'clients/town.yaml': { ...fapi2, token_endpoint_auth_method: 'none' } }, /^clients\/town\.yaml: \/token_endpoint_auth_method: expected private_key_jwt for fapi2$/],
  ['fapi2 with pushed requests that live for ten minutes (FAPI 2.0 Security Profile §5.3.2.2)', { 'clients/town.yaml': { ...fapi2, request_uri_seconds: 600 } }, /^clients\/town\.yaml: \/request_uri_seconds: expected less than 600 for fapi2$/],
  ['fapi2 without PKCE', { 'clients/town.yaml': { ...fapi2, require_pkce: false } }, /^clients\/town\.yaml: \/require_pkce: expected true for fapi2$/],
  ['fapi2 with the ID Token of plain clients', { 'clients/town.yaml': { ...fapi2, id_token_signed_response_alg: undefined } }, /^clients\/town\.yaml: \/id_token_signed_response_alg: expected one of PS256, ES256, EdDSA for fapi2$/],
  ...['token_endpoint_auth_signing_alg', 'id_token_signed_response_alg', 'userinfo_signed_response_alg', 'request_object_signing_alg', 'introspection_signed_response_alg'].map((name): [string, Files, RegExp] =>
    [`fapi2 with RS256 for ${name}`, { 'clients/town.yaml': { ...fapi2, jwks: { keys: [rsa] }, [name]: 'RS256' } }, new RegExp(`^clients/town\\.yaml: /${name}: expected one of PS256, ES256, EdDSA for fapi2$`)])
]

t.test('what is wrong is said by file, path and what was expected', async t => {
  for (const [title, changes, problem] of wrong) {
    t.test(title, async t => {
      const problems = problemsOf(directoryWith(t, changes))
      t.equal(problems.length, 1, problems.join('\n'))
      t.match(problems[0], problem)
    })
  }
})

t.test('a Redis is one value: where it is, who we are there, whom we trust', async t => {
  const read = (redis: object) => loadConfiguration(directoryWith(t, { ...pem, 'secrets/redis': 'p@ss:w/ö rd%20 of sixteen\n', 'passerelle.yaml': { ...settings, redis } })).redis
  t.same(read({}), { urls: [], cluster: undefined, username: undefined, password: undefined, tls: undefined, nodeTimeoutMs: 2000 }, 'none named')
  t.same(read({ urls: ['redis://redis.example:6380/3'] }).urls, ['redis://redis.example:6380/3'])
  t.same(read({ urls: ['rediss://a.example', 'rediss://[::1]:7000'], cluster: true, username: 'passerelle', password: { file: 'secrets/redis' }, ca: 'secrets/ours.pem', tls_client, server_name: 'redis.example', node_timeout_ms: 1500 }), {
    urls: ['rediss://a.example', 'rediss://[::1]:7000'],
    cluster: true,
    username: 'passerelle',
    password: 'p@ss:w/ö rd%20 of sixteen',
    tls: { ca: ours.cert.trim(), certificate: { cert: ours.cert.trim(), key: ours.key.trim() }, serverName: 'redis.example' },
    nodeTimeoutMs: 1500
  }, 'all of it')
  t.same(read({ urls: ['rediss://a.example'], ca: 'secrets/ours.pem' }).tls, { ca: ours.cert.trim(), certificate: undefined, serverName: undefined })
})

t.test('a site is a Redis with a mark, each by what it says itself; which of them is home is said beside, or at the start', async t => {
  const written = { cluster: true, username: 'passerelle', password: { file: 'secrets/redis' }, ca: 'secrets/ours.pem', tls_client, server_name: 'redis.example', node_timeout_ms: 1500 }
  const directory = directoryWith(t, { ...pem, 'secrets/redis': 'p@ss:w/ö rd%20 of sixteen\n', 'passerelle.yaml': withSites(written) })
  const plain = { urls: ['rediss://a.example'], cluster: undefined, username: undefined, password: undefined, tls: undefined, nodeTimeoutMs: 2000 }
  const { sites, redis } = loadConfiguration(directory)
  t.same([...sites.keys()], ['a', 'b'])
  t.same(sites.get('a'), plain, 'rediss without an authority: those of Node.js are asked')
  t.same(sites.get('b'), {
    urls: ['rediss://b.example'],
    cluster: true,
    username: 'passerelle',
    password: 'p@ss:w/ö rd%20 of sixteen',
    tls: { ca: ours.cert.trim(), certificate: { cert: ours.cert.trim(), key: ours.key.trim() }, serverName: 'redis.example' },
    nodeTimeoutMs: 1500
  })
  t.same(redis, plain, 'home')
  t.same(loadConfiguration(directory, { site: 'b' }).redis, sites.get('b'))
})

t.test('the two sites of docs/redis.md can be used as they stand there', async t => {
  const [, example] = /## Several sites[^]*?```yaml\n([^]*?)```/.exec(readFileSync(new URL('../../docs/redis.md', import.meta.url), 'utf8'))!
  const held = Object.fromEntries(['lyon', 'lille'].flatMap(name => [[`secrets/redis-${name}`, `the password at ${name}`], [`redis/${name}.pem`, name === 'lyon' ? ours.cert : others.cert]]))
  const directory = directoryWith(t, { ...held, 'passerelle.yaml': stringify(settings) + example })
  for (const site of ['lyon', 'lill']) {
    const { sites, redis } = loadConfiguration(directory, { site })
    t.match([...sites.values()], [{ username: 'passerelle-lyon', password: 'the password at lyon', tls: { ca: ours.cert.trim() } }, { username: 'passerelle-lyon', password: 'the password at lille', tls: { ca: others.cert.trim() } }])
    t.equal(redis, sites.get(site), site)
  }
})

t.test('every problem is told at once, and no secret is', async t => {
  const problems = problemsOf(directoryWith(t, { 'secrets/town': 'short', 'passerelle.yaml': { ...settings, issuer: 'http://x.example' }, 'clients/app.yaml': { ...files['clients/app.yaml'], require_pkce: false } }))
  t.equal(problems.length, 3)
  t.notMatch(problems.join(), /short|town-hall/)
})

/** A directory without the keys of this algorithm. */
function directoryWithout (t: Test, alg: string, changes: Files = {}) {
  const directory = directoryWith(t, changes)
  for (const file of readdirSync(join(directory, 'keys')).filter(file => file.startsWith(alg.toLowerCase()))) rmSync(join(directory, 'keys', file))
  return directory
}

t.test('what is to be signed by a key that we do not have is said for each purpose', async t => {
  for (const alg of ['PS256', 'EdDSA']) {
    t.same(problemsOf(directoryWithout(t, alg)), [], `${alg} that nobody asks for need not be there`)
    for (const [name, client] of [['id_token_signed_response_alg', town], ['userinfo_signed_response_alg', town], ['introspection_signed_response_alg', agency]] as const) {
      t.same(problemsOf(directoryWithout(t, alg, { 'clients/town.yaml': { ...client, [name]: alg } })), [`clients/town.yaml: /${name}: expected a signing key for ${alg} among our keys`])
    }
    t.same(problemsOf(directoryWithout(t, alg, { 'clients/town.yaml': { ...keyed, jwks: undefined, jwks_uri: 'https://town.example/jwks', request_object_signing_alg: alg, token_endpoint_auth_signing_alg: alg } })), [], 'what the client signs needs no key of ours')
  }
  t.same(problemsOf(directoryWithout(t, 'ES256')), ['keys: expected a signing key for ES256'])
})

t.test('what a provider encrypts for a key that we do not have is said for each purpose', async t => {
  for (const alg of ['RSA-OAEP-256', 'ECDH-ES']) {
    t.same(problemsOf(directoryWithout(t, alg)), [], `${alg} that nobody asks for need not be there`)
    for (const purpose of ['id_token', 'userinfo']) {
      const asked = { 'identity-providers/post.yaml': { ...post, [`${purpose}_encrypted_response_alg`]: alg } }
      t.same(problemsOf(directoryWith(t, asked)), [], `${alg} that is there`)
      t.same(problemsOf(directoryWithout(t, alg, asked)), [`identity-providers/post.yaml: /${purpose}_encrypted_response_alg: expected a decryption key for ${alg} among our keys`])
    }
  }
})

t.test('a registration of a provider that says what it needs is read, whole', async t => {
  const byCertificate = { client_secret: undefined, tls_client }
  const right: Array<[title: string, provider: object, changes?: Files]> = [
    ['a certificate', { ...byCertificate, token_endpoint_auth_method: 'tls_client_auth' }],
    ['a certificate signed by itself', { ...byCertificate, token_endpoint_auth_method: 'self_signed_tls_client_auth' }],
    ['a certificate beside a secret', { tls_client }],
    ['an authority', { ca: 'secrets/ours.pem' }],
    ...[['RS256', rsaPrivate], ['PS256', rsaPrivate], ['ES256', ecPrivate], ['EdDSA', jwkOf('ed25519', {}, 'privateKey')]].map(([alg, key]): [string, object, Files] =>
      [`a key for ${alg}`, { client_secret: undefined, token_endpoint_auth_method: 'private_key_jwt', client_key: { file: 'secrets/post.jwk' } }, { 'secrets/post.jwk': JSON.stringify({ kid: 'a', alg, ...key as object }) }]),
    ['everything signed and encrypted', { id_token_signed_response_alg: 'EdDSA', id_token_encrypted_response_alg: 'RSA-OAEP-256', id_token_encrypted_response_enc: 'A128GCM', userinfo_signed_response_alg: 'PS256', userinfo_encrypted_response_alg: 'ECDH-ES', userinfo_encrypted_response_enc: 'A256GCM' }],
    ['userinfo encrypted and not signed', { userinfo_encrypted_response_alg: 'ECDH-ES' }],
    ['a status page', { status_url: 'https://status.example/post?of=login' }],
    ['a status page on this machine, in development', { status_url: 'http://post.localhost:3000/status' }, { 'passerelle.yaml': development }],
    ['the least of everything', { concurrent_callbacks: 1, timeout_ms: 100, callback_timeout_ms: 100, breaker: { error_percent: 1, volume: 1, window_ms: 1000, reset_ms: 100, probe_ms: 0, slow_ms: 1 } }],
    ['the most of everything', { concurrent_callbacks: 1024, timeout_ms: 30000, callback_timeout_ms: 60000, breaker: { error_percent: 100, volume: 1000, window_ms: 600000, reset_ms: 300000, probe_ms: 600000, slow_ms: 60000 } }],
    ['what an operator decides', { breaker: { forced: 'open' } }],
    ['maintenance from here on', { maintenance: { from: '2027-01-31T22:00Z' } }],
    ['maintenance till then', { maintenance: { until: '2027-01-31T22:00:00+05:30' } }],
    ['maintenance of a second, over two time zones', { maintenance: { from: '2027-02-01T00:00:00+01:00', until: '2027-01-31T23:00:01Z' } }],
    ['maintenance with a message only', { state: 'maintenance', maintenance: { message: { fr: 'De retour lundi', en: 'Back on Monday' } } }],
    ['addresses on this machine', { loopback: true, issuer: 'https://127.0.0.1:4000' }]
  ]
  for (const [title, provider, changes] of right) t.same(problemsOf(directoryWith(t, { ...pem, ...changes, 'identity-providers/post.yaml': { ...post, ...provider } })), [], title)
})

t.test('what a provider is registered with is what was written, with defaults for all else', async t => {
  const read = (provider: object = {}) => loadConfiguration(directoryWith(t, { ...pem, 'identity-providers/post.yaml': { ...post, ...provider } })).identityProviders.get('post')!
  const { client_secret, ...plain } = post
  t.has(read(), {
    ...plain,
    state: 'active',
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'RS256',
    id_token_encrypted_response_enc: 'A256GCM',
    userinfo_encrypted_response_enc: 'A256GCM',
    scopes: ['openid', 'profile', 'birth', 'email'],
    amr: [],
    required_claims: [],
    reports_auth_time: true,
    always_authenticates: false,
    timeout_ms: 4000,
    callback_timeout_ms: 8000,
    concurrent_callbacks: 64,
    loopback: false,
    breaker: { error_percent: 40, volume: 12, window_ms: 60000, reset_ms: 10000, probe_ms: 15000, slow_ms: 2000 }
  })
  for (const name of ['maintenance', 'status_url', 'certificate', 'certificateAuthority', 'clientKey', 'endpoints', 'id_token_encrypted_response_alg', 'userinfo_signed_response_alg', 'userinfo_encrypted_response_alg'] as const) t.equal(read()[name], undefined, name)
  t.equal(read().breaker.forced, undefined)

  t.same(read({ tls_client }).certificate, { cert: ours.cert.trim(), key: ours.key.trim() }, 'a certificate and its key')
  t.equal(read({ ca: 'secrets/ours.pem' }).certificateAuthority, ours.cert.trim())
  t.match(read({ breaker: { forced: 'closed', volume: 3 } }).breaker, { forced: 'closed', volume: 3, error_percent: 40 })
  const maintenance = { from: '2027-01-31T22:00:00Z', until: '2027-02-01T05:00:00+01:00', message: { fr: 'De retour lundi', en: 'Back on Monday' } }
  t.same(read({ maintenance }).maintenance, maintenance)
})

t.test('another certificate, key or authority of a provider is another configuration', async t => {
  const directory = directoryWith(t, { ...pem, 'secrets/ca.pem': ours.cert, 'identity-providers/post.yaml': { ...post, tls_client, ca: 'secrets/ca.pem' } })
  const { hash } = loadConfiguration(directory)
  writeFileSync(join(directory, 'secrets/ca.pem'), others.cert)
  const { hash: withOtherAuthority } = loadConfiguration(directory)
  t.not(withOtherAuthority, hash)
  writeFileSync(join(directory, 'secrets/ours.pem'), others.cert)
  writeFileSync(join(directory, 'secrets/ours.key'), others.key)
  t.not(loadConfiguration(directory).hash, withOtherAuthority)
})

t.test('one key may prove us at two providers; two keys of one kid may not', async t => {
  const keyAt = (file: string) => ({ token_endpoint_auth_method: 'private_key_jwt', client_secret: undefined, client_key: { file } })
  const problemsWith = (tax: string) => problemsOf(directoryWith(t, {
    'secrets/one.jwk': JSON.stringify({ kid: 'a', alg: 'ES256', ...ecPrivate }),
    'secrets/other.jwk': JSON.stringify({ kid: 'a', alg: 'RS256', ...rsaPrivate }),
    'identity-providers/post.yaml': { ...post, ...keyAt('secrets/one.jwk') },
    'identity-providers/tax.yaml': { ...files['identity-providers/tax.yaml'], ...keyAt(tax) }
  }))
  t.same(problemsWith('secrets/one.jwk'), [])
  t.same(problemsWith('secrets/other.jwk'), ['post', 'tax'].map((id, at) => `identity-providers/${id}.yaml: /client_key: expected a kid of its own: another key in identity-providers/${['tax', 'post'][at]}.yaml has it`))
})

t.test('what is wrong with a key of ours at a provider is said without the key', async t => {
  const { kty, ...members } = rsaPrivate
  const problems = problemsOf(directoryWith(t, {
    'secrets/post.jwk': JSON.stringify({ alg: 'RS256', kty, ...members }),
    'keys/broken.json': JSON.stringify({ ...rsaPrivate, alg: 'RSA-OAEP-256', use: 'enc', nbf: 0 }),
    'identity-providers/post.yaml': { ...post, token_endpoint_auth_method: 'private_key_jwt', client_key: { file: 'secrets/post.jwk' } }
  }))
  t.equal(problems.length, 2)
  for (const [name, member] of Object.entries(members)) if (name !== 'e') t.notOk(problems.join().includes(String(member).slice(0, 12)), name)
})

t.test('a registration that says what it needs is read, whole', async t => {
  const jwks = { keys: [{ ...rsa, kid: 'a', use: 'sig' }, { ...ec, kid: 'b' }, { ...ed, kid: 'c', alg: 'EdDSA' }, { ...x, kid: 'd', use: 'enc' }, jwkOf('ec', { namedCurve: 'P-384' }), jwkOf('rsa', { modulusLength: 3072 })] }
  const right: Array<[title: string, client: object, changes?: Files]> = [
    ['keys of every kind', { ...keyed, jwks }],
    ...[rsa, ec, ed, { ...ed, use: 'sig' }].map((key): [string, object] => [`one key that signs: ${key['crv'] ?? key['kty']}`, { ...keyed, jwks: { keys: [x, key] } }]),
    ['keys elsewhere', { ...keyed, jwks: undefined, jwks_uri }],
    ['keys on this machine, in development', { ...keyed, jwks: undefined, jwks_uri: 'http://town.localhost:3000/jwks', backchannel_logout_uri: 'http://127.0.0.1:3000/logout' }, { 'passerelle.yaml': development }],
    ['request objects of a client with a secret', { ...town, jwks, require_signed_request_object: true, request_object_signing_alg: 'PS256' }],
    ['everything signed and encrypted', {
      ...keyed,
      jwks,
      scopes: ['openid', 'birth'],
      introspection: true,
      ...Object.fromEntries(['id_token', 'userinfo', 'introspection'].flatMap(purpose => [[`${purpose}_signed_response_alg`, 'EdDSA'], [`${purpose}_encrypted_response_alg`, 'ECDH-ES'], [`${purpose}_encrypted_response_enc`, 'A128GCM']]))
    }],
    ['encryption to keys elsewhere', { ...agency, id_token_encrypted_response_alg: 'RSA-OAEP-256', introspection_signed_response_alg: 'PS256', introspection_encrypted_response_alg: 'ECDH-ES' }],
    ['a person made of the account, of whom nothing need be said', town, { 'passerelle.yaml': { ...settings, identity: { subject: 'upstream', required_claims: [] } } }],
    ['a provider with endpoints of its own', town, { 'identity-providers/post.yaml': { ...post, endpoints } }],
    ['a data provider, which nobody is sent back to', agency],
    ['a data provider with a secret', { ...town, redirect_uris: [], introspection: true }],
    ['a service that is a data provider as well', { ...town, introspection: true }],
    ['fapi2', fapi2],
    ['fapi2 with all it may have', { ...fapi2, jwks: { keys: [rsa] }, token_endpoint_auth_signing_alg: 'PS256', id_token_signed_response_alg: 'EdDSA', userinfo_signed_response_alg: 'PS256', request_object_signing_alg: 'PS256', scopes: ['birth'], introspection: true, introspection_signed_response_alg: 'ES256' }],
    ['addresses with other letters, as a header carries them', { ...town, redirect_uris: ['https://xn--mairie-vry-i7a.example/entr%C3%A9e?v%C5%93u=1&a="[x]|~!$'] }],
    ['the longest life of a pushed request', { ...town, request_uri_seconds: 600 }],
    ['the longest life of a pushed request with fapi2', { ...fapi2, request_uri_seconds: 599 }]
  ]
  for (const [title, client, changes] of right) t.same(problemsOf(directoryWith(t, { ...changes, 'clients/town.yaml': client })), [], title)
})

t.test('fapi2 is pushed requests and bound tokens, whatever else is said; any other client has what it says', async t => {
  const read = (client: object) => loadConfiguration(directoryWith(t, { 'clients/town.yaml': client })).clients.get('town')!
  for (const said of [{}, { require_pushed_authorization_requests: false, dpop_bound_access_tokens: false }]) {
    t.match(read({ ...fapi2, ...said }), { profile: 'fapi2', require_pushed_authorization_requests: true, dpop_bound_access_tokens: true, require_pkce: true })
  }
  t.match(read(town), {
    profile: 'standard',
    require_pushed_authorization_requests: false,
    dpop_bound_access_tokens: false,
    require_signed_request_object: false,
    request_uri_seconds: 60,
    introspection: false,
    id_token_signed_response_alg: 'RS256',
    id_token_encrypted_response_enc: 'A256GCM',
    userinfo_encrypted_response_enc: 'A256GCM',
    introspection_encrypted_response_enc: 'A256GCM'
  })
  t.match(read({ ...town, require_pushed_authorization_requests: true }), { require_pushed_authorization_requests: true, dpop_bound_access_tokens: false })
  t.match(read({ ...town, dpop_bound_access_tokens: true }), { require_pushed_authorization_requests: false, dpop_bound_access_tokens: true })
  t.same(read({ ...keyed, jwks: { keys: [{ ...ec, kid: 'a', x5t: 'x' }] } }).jwks, { keys: [{ ...ec, kid: 'a', x5t: 'x' }] }, 'keys as they stand')
})

t.test('what is wrong with a key of a client is said without the key', async t => {
  const problems = problemsOf(directoryWith(t, { 'clients/town.yaml': { ...keyed, jwks: { keys: [rsaPrivate] } } })).join()
  for (const member of ['d', 'p', 'q', 'n']) t.notOk(problems.includes(String(rsaPrivate[member]).slice(0, 12)), member)
})

t.test('keys that are missing are named', async t => {
  const directory = directoryWith(t)
  rmSync(join(directory, 'keys', 'subject.json'))
  t.same(problemsOf(directory), ['keys: expected subject.json, the secret behind sub'])
  for (const file of readdirSync(join(directory, 'keys'))) rmSync(join(directory, 'keys', file))
  t.same(problemsOf(directory), ['subject.json, the secret behind sub', 'a sealing key', 'a signing key for RS256', 'a signing key for ES256'].map(what => `keys: expected ${what}`), 'as a volume that was mounted too early: nobody serves without keys')
})

t.test('the next keys are made ahead of their time, the first at once, and the secret behind sub only once', async t => {
  const directory = temporaryDirectory(t)
  const now = 1_800_000_000
  const read = (file: string) => JSON.parse(readFileSync(join(directory, file), 'utf8'))
  const first = makeNextKeys(directory, now)
  const made = first.filter(file => file !== 'subject.json').map(read)
  t.same(made.map(({ alg, use }) => `${use} ${alg}`), ['sig RS256', 'sig PS256', 'sig ES256', 'sig EdDSA', 'enc RSA-OAEP-256', 'enc ECDH-ES', 'enc A256GCM'])
  t.ok(first.includes('subject.json'))
  t.ok(made.every(({ nbf }) => nbf === now))
  const second = makeNextKeys(directory, now)
  t.equal(second.length, 7)
  t.ok(second.every(file => read(file).nbf === now + 1500), 'JWKS max-age and 15 minutes ahead')
})

t.test('the reference page is what the schema says', async t => {
  t.equal(readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8'), referencePage())
})
