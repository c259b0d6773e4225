import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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

function directoryWith (t: Test, changes: Files = {}) {
  const directory = temporaryDirectory(t)
  for (const folder of ['clients', 'identity-providers', 'secrets', 'logos']) mkdirSync(join(directory, folder))
  makeNextKeys(join(directory, 'keys'))
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
  ['a key that is not even JSON', { 'keys/broken.json': 'secret text' }, /^keys\/broken\.json: expected a JWK/]
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
