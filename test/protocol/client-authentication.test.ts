import t from 'tap'
import { authenticateClient, readCredentials, secretDigest, type AuthenticatedClient, type Credentials } from '../../src/protocol/client-authentication.ts'
import type { Failure } from '../../src/protocol/errors.ts'

const refusal = (message: RegExp, failure: Failure = 'client_authentication_failed') => ({ failure: new RegExp(`^${failure}$`), message })
const base64 = (text: string | Uint8Array) => Buffer.from(text as string).toString('base64')
const basic = (text: string) => `Basic ${base64(text)}`
const secret = 'a secret of 64 random bytes'
const town: AuthenticatedClient = { active: true, token_endpoint_auth_method: 'client_secret_basic', secrets: [secretDigest(secret), secretDigest('the next secret')] }
const post: AuthenticatedClient = { ...town, token_endpoint_auth_method: 'client_secret_post' }
const open: AuthenticatedClient = { active: true, token_endpoint_auth_method: 'none', secrets: [] }

t.test('Basic credentials that cannot be read are refused (RFC 6749 §2.3.1, RFC 7617 §2)', async t => {
  const table: Array<[authorization: string, message: RegExp]> = [
    ['', /^authorization: expected Basic/],
    ['Basic', /^authorization: expected Basic/],
    ['Basic ', /^authorization: expected Basic/],
    ['Basic ====', /^authorization: expected Basic/],
    ['Basic dG93bjpz dG93bjpz', /^authorization: expected Basic/],
    ['Basic dG93bjpz\n', /^authorization: expected Basic/],
    ['Basic dG93*jpz', /^authorization: expected Basic/],
    ['Basic =dG93bjpz', /^authorization: expected Basic/],
    ['Basicdzp0', /^authorization: expected Basic/],
    ['Bearer dG93bjpz', /^authorization: expected Basic/],
    ['Digest username="town"', /^authorization: expected Basic/],
    [' Basic dG93bjpz', /^authorization: expected Basic/],
    ['Basic A', /^authorization: expected client_id:client_secret/],
    [basic('town'), /^authorization: expected client_id:client_secret/],
    [basic('town%3Asecret'), /^authorization: expected client_id:client_secret/],
    [basic('town:100%'), /^authorization: expected percent-encoded/],
    [basic('town:%zz'), /^authorization: expected percent-encoded/],
    [basic('town:%ff'), /^authorization: expected percent-encoded/],
    [basic('to%wn:secret'), /^authorization: expected percent-encoded/],
    [basic('%E9:secret'), /^authorization: expected percent-encoded/]
  ]
  for (const [authorization, message] of table) {
    t.throws(() => readCredentials(authorization, {}), refusal(message), JSON.stringify(authorization))
    t.throws(() => readCredentials(authorization, { client_id: 'town', client_secret: secret }), refusal(message), `${JSON.stringify(authorization)}, right in the body`)
  }
})

t.test('a client authenticates by one method in each request (RFC 6749 §2.3)', async t => {
  const authorization = basic('town:secret')
  t.throws(() => readCredentials(authorization, { client_secret: 'secret' }), refusal(/one method in each request/))
  t.throws(() => readCredentials(authorization, { client_id: 'town', client_secret: 'secret' }), refusal(/one method in each request/))
  t.throws(() => readCredentials(authorization, { client_id: 'other' }), refusal(/^client_id: not the client that authenticates/))
  t.throws(() => readCredentials(authorization, { client_id: 'TOWN' }), refusal(/^client_id: not the client that authenticates/))
  t.strictSame(readCredentials(authorization, { client_id: 'town' }), { client_id: 'town', method: 'client_secret_basic', secret: 'secret' }, 'its own client_id beside it does no harm')
})

t.test('a request that names no client is refused', async t => {
  t.throws(() => readCredentials(undefined, {}), refusal(/^client_id: expected, or Basic credentials$/))
  t.throws(() => readCredentials(undefined, { client_secret: secret }), refusal(/^client_id: expected, or Basic credentials$/))
})

t.test('Basic credentials are form-encoded, and the first colon parts them (RFC 6749 §2.3.1)', async t => {
  const table: Array<[text: string, client_id: string, secret: string]> = [
    ['town:secret', 'town', 'secret'],
    ['town:se+cret', 'town', 'se cret'],
    ['town:se%2Bcret', 'town', 'se+cret'],
    ['town:se%20cret', 'town', 'se cret'],
    ['town:a:b:c', 'town', 'a:b:c'],
    ['to%3Awn:a%3Ab', 'to:wn', 'a:b'],
    ['town%2Dhall%5F1:%2D%5F%25', 'town-hall_1', '-_%'],
    ['town:%C3%A9', 'town', 'é'],
    ['town:', 'town', ''],
    [':secret', '', 'secret'],
    [':', '', '']
  ]
  for (const [text, client_id, secret] of table) t.strictSame(readCredentials(basic(text), {}), { client_id, method: 'client_secret_basic', secret }, text)
  t.equal(readCredentials(`bAsIc   ${base64('town:s')}`, {}).secret, 's', 'the scheme in any case, after it any number of spaces')
  t.equal(readCredentials(basic('town:s').replace(/=+$/, ''), {}).secret, 's', 'without padding')
})

t.test('credentials in the body are taken as they stand', async t => {
  t.strictSame(readCredentials(undefined, { client_id: 'town', client_secret: 'a+b%20:' }), { client_id: 'town', method: 'client_secret_post', secret: 'a+b%20:' })
  t.strictSame(readCredentials(undefined, { client_id: 'town' }), { client_id: 'town', method: 'none' })
})

t.test('who is not the client, or not any more, is refused in the same words', async t => {
  const failed = refusal(/^client authentication: failed$/)
  const table: Array<[what: string, client: AuthenticatedClient | undefined, credentials: Omit<Credentials, 'client_id'>]> = [
    ['a wrong secret', town, { method: 'client_secret_basic', secret: 'wrong' }],
    ['a secret in capitals', town, { method: 'client_secret_basic', secret: secret.toUpperCase() }],
    ['a secret and more', town, { method: 'client_secret_basic', secret: `${secret} ` }],
    ['the digest of a secret', town, { method: 'client_secret_basic', secret: secretDigest(secret).toString('hex') }],
    ['two secrets at once', town, { method: 'client_secret_basic', secret: `${secret}the next secret` }],
    ['a wrong secret in the body', post, { method: 'client_secret_post', secret: 'wrong' }],
    ['an empty secret', town, { method: 'client_secret_basic', secret: '' }],
    ['an empty secret in the body', post, { method: 'client_secret_post', secret: '' }],
    ['no secret', town, { method: 'client_secret_basic' }],
    ['an empty secret of a client that has none', { ...town, secrets: [] }, { method: 'client_secret_basic', secret: '' }],
    ['a secret that is in force no more', { ...town, secrets: town.secrets.slice(1) }, { method: 'client_secret_basic', secret }],
    ['a client that is not active', { ...town, active: false }, { method: 'client_secret_basic', secret }],
    ['a public client that is not active', { ...open, active: false }, { method: 'none' }],
    ['an unknown client', undefined, { method: 'client_secret_basic', secret }],
    ['an unknown client with an empty secret', undefined, { method: 'client_secret_basic', secret: '' }],
    ['an unknown client without a secret', undefined, { method: 'none' }]
  ]
  for (const [what, client, credentials] of table) t.throws(() => authenticateClient(client, { client_id: 'town', ...credentials }), failed, what)
})

t.test('a client uses the method it is registered for and no other (OpenID Connect Core §9)', async t => {
  const table: Array<[client: AuthenticatedClient, method: Credentials['method']]> = [
    [town, 'client_secret_post'],
    [town, 'none'],
    [post, 'client_secret_basic'],
    [post, 'none'],
    [open, 'client_secret_basic'],
    [open, 'client_secret_post'],
    [{ ...open, secrets: town.secrets }, 'client_secret_post'],
    [{ ...town, token_endpoint_auth_method: 'private_key_jwt' }, 'client_secret_basic']
  ]
  for (const [client, method] of table) {
    t.throws(() => authenticateClient(client, { client_id: 'town', method, ...(method === 'none' ? {} : { secret }) }),
      refusal(new RegExp(`^client authentication: expected ${client.token_endpoint_auth_method}$`)), `${method} for ${client.token_endpoint_auth_method}`)
  }
})

t.test('while secrets rotate either one in force will do', async t => {
  for (const one of [secret, 'the next secret']) {
    t.equal(authenticateClient(town, { client_id: 'town', method: 'client_secret_basic', secret: one }), town, one)
    t.equal(authenticateClient(post, { client_id: 'town', method: 'client_secret_post', secret: one }), post, one)
  }
  t.equal(authenticateClient(open, { client_id: 'town', method: 'none' }), open, 'a public client has none')
})

t.test('what is kept of a secret is its SHA-256', async t => {
  t.equal(secretDigest('abc').toString('hex'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')   // FIPS 180-4, example 1
})
