import t from 'tap'
import { mayDegrade } from '../../src/protocol/degraded.ts'

const confidential = { profile: 'oidc', token_endpoint_auth_method: 'client_secret_basic' }
const challenge = { code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM' }
const nonce = { nonce: 'n-0S6_WzA2Mj' }

t.test('a login goes on without the store where its client proves itself, its request is bound to its browser, and its level or its registration allows it', async t => {
  const table: Array<[what: string, client: Parameters<typeof mayDegrade>[0], request: Parameters<typeof mayDegrade>[1], acr: string, may: boolean]> = [
    ['a public client', { ...confidential, token_endpoint_auth_method: 'none' }, challenge, 'eidas1', false],
    ['a public client that was allowed', { ...confidential, token_endpoint_auth_method: 'none', degraded: 'allow' }, { ...challenge, ...nonce }, 'eidas1', false],
    ['a client of the fapi2 profile', { ...confidential, profile: 'fapi2', token_endpoint_auth_method: 'private_key_jwt' }, challenge, 'eidas1', false],
    ['one of that profile that was allowed', { ...confidential, profile: 'fapi2', degraded: 'allow' }, { ...challenge, ...nonce }, 'eidas1', false],
    ['neither challenge nor nonce', confidential, {}, 'eidas1', false],
    ['neither, though allowed', { ...confidential, degraded: 'allow' }, {}, 'eidas1', false],
    ['denied', { ...confidential, degraded: 'deny' }, { ...challenge, ...nonce }, 'eidas1', false],
    ['a level above the lowest', confidential, { ...challenge, ...nonce }, 'eidas2', false],
    ['the highest', confidential, challenge, 'eidas3', false],
    ['a level above the lowest, allowed', { ...confidential, degraded: 'allow' }, challenge, 'eidas3', true],
    ['the lowest level, with a challenge', confidential, challenge, 'eidas1', true],
    ['the lowest level, with a nonce', confidential, nonce, 'eidas1', true],
    ['allowed, with a nonce', { ...confidential, degraded: 'allow' }, nonce, 'eidas1', true],
    ...['client_secret_post', 'private_key_jwt'].map((token_endpoint_auth_method): typeof table[number] => [token_endpoint_auth_method, { ...confidential, token_endpoint_auth_method }, challenge, 'eidas1', true])
  ]
  for (const [what, client, request, acr, may] of table) t.equal(mayDegrade(client, request, acr, 'eidas1'), may, what)
})

t.test('the lowest level is the platform\'s, whatever its name', async t => {
  t.equal(mayDegrade(confidential, challenge, 'low', 'low'), true)
  t.equal(mayDegrade(confidential, challenge, 'eidas1', 'low'), false)
  t.equal(mayDegrade(confidential, challenge, '', 'low'), false)
})
