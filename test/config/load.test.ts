import { generateKeyPairSync } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { ConfigurationError, loadConfiguration } from '../../src/config/load.ts'
import { referencePage } from '../../src/config/reference.ts'
import { makeNextKeys } from '../../src/keys.ts'
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

function directoryWith (t: Test, changes: Files = {}) {
  const directory = temporaryDirectory(t)
  for (const folder of ['clients', 'identity-providers', 'secrets', 'logos']) mkdirSync(join(directory, folder))
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
const wrong: Array<[title: string, changes: Files, problem: RegExp]> = [
  ['a setting that does not exist', { 'clients/town.yaml': { ...town, redirect_urls: [] } }, /^clients\/town\.yaml: \/: unknown setting redirect_urls$/],
  ['a setting that is missing', { 'clients/town.yaml': { ...town, client_id: undefined } }, /^clients\/town\.yaml: \/: expected client_id$/],
  ['a value of the wrong kind', { 'clients/town.yaml': { ...town, redirect_uris: 'https://town.example/' } }, /^clients\/town\.yaml: \/redirect_uris: must be array$/],
  ['a value that is none of those known', { 'clients/town.yaml': { ...town, consent: 'maybe' } }, /^clients\/town\.yaml: \/consent: expected one of required, information, skip$/],
  ['a number out of range', { 'clients/town.yaml': { ...town, code_seconds: 600 } }, /^clients\/town\.yaml: \/code_seconds: must be <= 60$/],
  ['an unknown scope', { 'clients/town.yaml': { ...town, scopes: ['openid', 'constructor'] } }, /^clients\/town\.yaml: \/scopes\/1: expected one of openid, profile/],
  ['YAML that cannot be read, with its line', { 'clients/town.yaml': 'client_id: town\nname: "Town\n' }, /^clients\/town\.yaml: line \d+: /],
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
  ['a redirect_uri with a fragment', { 'clients/town.yaml': { ...town, redirect_uris: ['https://town.example/#here'] } }, /^clients\/town\.yaml: \/redirect_uris\/0: expected an http or https address without a fragment$/],
  ['a redirect_uri of another scheme', { 'clients/town.yaml': { ...town, redirect_uris: ['javascript:alert(1)'] } }, /^clients\/town\.yaml: \/redirect_uris\/0: expected an http or https address without a fragment$/],
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
  ['a logo that is no picture', { 'clients/town.yaml': { ...town, logo: 'secrets/town' } }, /^clients\/town\.yaml: \/logo: expected an \.svg, \.png or \.webp file$/],
  ['no directory of keys', { 'passerelle.yaml': { ...settings, keys: 'nowhere' } }, /^passerelle\.yaml: \/keys: nowhere is not a directory/],
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
  ['an address of logouts with a fragment (Back-Channel Logout §2.2)', { 'clients/town.yaml': { ...town, backchannel_logout_uri: 'https://town.example/logout#now' } }, /^clients\/town\.yaml: \/backchannel_logout_uri: expected an http or https address without a fragment$/],

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
})

t.test('the next keys are made ahead of their time, the first at once, and the secret behind sub only once', async t => {
  const directory = temporaryDirectory(t)
  const now = 1_800_000_000
  const read = (file: string) => JSON.parse(readFileSync(join(directory, file), 'utf8'))
  const first = makeNextKeys(directory, now)
  t.equal(first.length, 6)
  t.ok(first.filter(file => file !== 'subject.json').every(file => read(file).nbf === now))
  const second = makeNextKeys(directory, now)
  t.equal(second.length, 5)
  t.ok(second.every(file => read(file).nbf === now + 1500), 'JWKS max-age and 15 minutes ahead')
})

t.test('the reference page is what the schema says', async t => {
  t.equal(readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8'), referencePage())
})
