import t from 'tap'
import Value from 'typebox/value'
import type { Failure } from '../../src/protocol/errors.ts'
import { checkLogoutAddress, leavingClient, LogoutParameters, logoutTokenClaims } from '../../src/protocol/logout.ts'

const town = { client_id: 'town', post_logout_redirect_uris: ['https://town.example/bye', 'https://town.example/bye?x=1'] }
const refusal = (message: RegExp, failure: Failure = 'logout_request_invalid') => ({ failure: new RegExp(`^${failure}$`), message })

t.test('a hint that is not an ID Token of ours is refused (RP-Initiated Logout §2)', async t => {
  t.throws(() => leavingClient({ id_token_hint: 'e30.e30.' }, undefined), refusal(/^id_token_hint: /))
  t.throws(() => leavingClient({ id_token_hint: 'e30.e30.', client_id: 'town' }, undefined), refusal(/^id_token_hint: /))
})

t.test('a client_id that is not the hint\'s is refused (RP-Initiated Logout §2)', async t => {
  for (const client_id of ['other', 'TOWN', 'town ']) t.throws(() => leavingClient({ id_token_hint: 'ours', client_id }, { aud: 'town' }), refusal(/^client_id: /), client_id)
})

t.test('the client that leaves is that of the hint, or the one that is named', async t => {
  const table: Array<[LogoutParameters, Parameters<typeof leavingClient>[1], string | undefined]> = [
    [{}, undefined, undefined],
    [{ client_id: 'town' }, undefined, 'town'],
    [{ id_token_hint: 'ours' }, { aud: 'town', sid: 's' }, 'town'],
    [{ id_token_hint: 'ours', client_id: 'town' }, { aud: 'town' }, 'town'],
    [{ id_token_hint: 'ours' }, { aud: ['town', 'other'] }, undefined],
    [{ id_token_hint: 'ours' }, {}, undefined],
    [{ id_token_hint: 'ours', client_id: 'town' }, {}, 'town']
  ]
  for (const [parameters, hint, client] of table) t.equal(leavingClient(parameters, hint), client, JSON.stringify([parameters, hint]))
})

t.test('a logout goes back only to an address registered for that very client (RP-Initiated Logout §3)', async t => {
  for (const post_logout_redirect_uri of ['https://evil.example', 'https://town.example/bye/', 'https://town.example/bye?', 'https://town.example/bye?x=2', 'https://TOWN.example/bye', 'javascript:alert(1)', '//town.example/bye']) {
    t.throws(() => checkLogoutAddress({ post_logout_redirect_uri }, town), refusal(/^post_logout_redirect_uri: not registered/), post_logout_redirect_uri)
  }
  for (const post_logout_redirect_uri of town.post_logout_redirect_uris) {
    t.throws(() => checkLogoutAddress({ post_logout_redirect_uri }, undefined), refusal(/^post_logout_redirect_uri: expected beside it a client_id/), post_logout_redirect_uri)
    t.throws(() => checkLogoutAddress({ post_logout_redirect_uri }, { client_id: 'other', post_logout_redirect_uris: [] }), refusal(/^post_logout_redirect_uri: not registered/), 'of another client')
    t.equal(checkLogoutAddress({ post_logout_redirect_uri }, town), post_logout_redirect_uri)
  }
})

t.test('a logout without an address goes nowhere, whoever asks', async t => {
  for (const client of [town, undefined]) t.equal(checkLogoutAddress({}, client), undefined)
})

t.test('a logout parameter is one string without control characters, and may be missing', async t => {
  for (const name of ['id_token_hint', 'client_id', 'post_logout_redirect_uri', 'state', 'ui_locales']) {
    for (const value of [['a', 'b'], 1, null, {}, 'a\r\nb', 'a\u0000', 'a\u007f', 'a'.repeat(4097)]) t.equal(Value.Check(LogoutParameters, { [name]: value }), false, `${name} ${typeof value}`)
    t.equal(Value.Check(LogoutParameters, { [name]: 'a' }), true, name)
  }
  t.equal(Value.Check(LogoutParameters, {}), true)
})

t.test('a logout token says whose session ended and where, for two minutes, and is no ID Token (Back-Channel Logout §2.4)', async t => {
  const told = logoutTokenClaims({ issuer: 'https://passerelle.example', client_id: 'town', sub: 'the sub', sid: 'the sid', jti: 'the jti', now: 1771000000 })
  t.strictSame(told, {
    iss: 'https://passerelle.example',
    aud: 'town',
    sub: 'the sub',
    sid: 'the sid',
    jti: 'the jti',
    iat: 1771000000,
    exp: 1771000120,
    events: { 'http://schemas.openid.net/event/backchannel-logout': {} }
  })
  t.notOk('nonce' in told, '"a nonce Claim MUST NOT be present"')
})

t.test('nothing that is told to make a logout token is in it unless it belongs there', async t => {
  const more = { nonce: 'n', auth_time: 1, acr: 'eidas1', at_hash: 'h', events: {}, person: 'p' }
  const told = logoutTokenClaims({ issuer: 'i', client_id: 'c', sub: 's', sid: 'd', jti: 'j', now: 0, ...more })
  t.strictSame(Object.keys(told).sort(), ['aud', 'events', 'exp', 'iat', 'iss', 'jti', 'sid', 'sub'])
})
