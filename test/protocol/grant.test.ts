import t from 'tap'
import { createHash, createSecretKey } from 'node:crypto'
import type { AuthorizationRequest } from '../../src/protocol/authorization-request.ts'
import type { Failure } from '../../src/protocol/errors.ts'
import { checkGrant, grantOf, type Grant, type TokenRequest } from '../../src/protocol/grant.ts'
import type { Identification } from '../../src/protocol/identification.ts'
import { pairwiseSubject } from '../../src/protocol/subject.ts'

// RFC 7636 appendix B
const code_verifier = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'
const code_challenge = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
const challengeOf = (verifier: string) => createHash('sha256').update(verifier).digest('base64url')

// RFC 9449 §6.1
const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'
const otherJkt = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs'

const plain: Grant = {
  login: 'l', client_id: 'town', redirect_uri: 'https://town.example/back', scopes: ['openid'], sub: 'sub', person: 'p', claims: {}, acr: 'eidas1', amr: [], auth_time: 1771000000, idp: 'taxes', identifiedAt: 1771000000, issuedAt: 1771000005, sid: 's'
}
const grant: Grant = { ...plain, code_challenge }
const request = { client_id: 'town', redirect_uri: 'https://town.example/back', code_verifier }
const refusal = (failure: Failure, message: RegExp) => ({ failure: new RegExp(`^${failure}$`), message })

t.test('a code is worth nothing to another client, whatever else it knows (RFC 6749 §4.1.3)', async t => {
  for (const client_id of ['other', 'Town', 'town ', '']) {
    t.throws(() => checkGrant(grant, { ...request, client_id }), refusal('code_of_another_client', /^code: /), client_id)
    t.throws(() => checkGrant(plain, { client_id, redirect_uri: request.redirect_uri }), refusal('code_of_another_client', /^code: /), `${client_id} without PKCE`)
  }
})

t.test('the redirect_uri is that of the authorization request, letter by letter (RFC 6749 §4.1.3)', async t => {
  for (const redirect_uri of [undefined, '', 'https://town.example/back/', 'https://town.example/back?', 'https://TOWN.example/back', 'https://evil.example']) {
    t.throws(() => checkGrant(grant, { ...request, redirect_uri }), refusal('code_invalid', /^redirect_uri: /), String(redirect_uri))
  }
})

t.test('a verifier where there was no challenge is a downgrade (RFC 9700 §4.8.2)', async t => {
  for (const verifier of [code_verifier, 'x']) t.throws(() => checkGrant(plain, { ...request, code_verifier: verifier }), refusal('code_invalid', /^code_verifier: .*no code_challenge/), verifier)
})

t.test('a challenge is met by its verifier only (RFC 7636 §4.1, §4.6)', async t => {
  const fitting = (verifier: string): [TokenRequest, Grant] => [{ ...request, code_verifier: verifier }, { ...plain, code_challenge: challengeOf(verifier) }]
  const form = /^code_verifier: expected 43 to 128/
  const table: Array<[what: string, attempt: [TokenRequest, Grant], message: RegExp]> = [
    ['none', [{ ...request, code_verifier: undefined }, grant], /^code_verifier: required/],
    ['none, not even the parameter', [{ client_id: 'town', redirect_uri: request.redirect_uri }, grant], /^code_verifier: required/],
    ['the challenge itself (plain)', [{ ...request, code_verifier: code_challenge }, grant], /^code_verifier: does not match/],
    ['another letter', [{ ...request, code_verifier: code_verifier.replace('d', 'D') }, grant], /^code_verifier: does not match/],
    ['a letter more', [{ ...request, code_verifier: `${code_verifier}a` }, grant], /^code_verifier: does not match/],
    ['42 characters, hash and all', fitting('a'.repeat(42)), form],
    ['129 characters, hash and all', fitting('a'.repeat(129)), form],
    ['empty, hash and all', fitting(''), form],
    ['a plus sign', fitting(`${'a'.repeat(43)}+`), form],
    ['a slash', fitting(`${'a'.repeat(43)}/`), form],
    ['padding', fitting(`${'a'.repeat(43)}=`), form],
    ['a space', fitting(`${'a'.repeat(43)} `), form],
    ['a line feed at the end', fitting(`${'a'.repeat(43)}\n`), form],
    ['a letter beyond ASCII', fitting(`${'a'.repeat(43)}é`), form]
  ]
  for (const [what, [asked, of], message] of table) t.throws(() => checkGrant(of, asked), refusal('code_invalid', message), what)
})

t.test('a code that was bound to a key goes with a proof by that key only, PKCE or not (RFC 9449 §10)', async t => {
  for (const stands of [grant, plain]) {
    const bound = { ...stands, dpop_jkt: jkt }
    const verified = stands === plain ? { ...request, code_verifier: undefined } : request
    for (const other of [undefined, '', jkt.toLowerCase(), `${jkt}=`, otherJkt]) t.throws(() => checkGrant(bound, { ...verified, jkt: other }), refusal('code_invalid', /^DPoP: not by the key that dpop_jkt named$/), other ?? 'none')
    t.doesNotThrow(() => checkGrant(bound, { ...verified, jkt }))
    t.doesNotThrow(() => checkGrant(stands, { ...verified, jkt }), 'a code that was bound to none may be redeemed with a proof by any')
  }
  t.throws(() => checkGrant({ ...grant, dpop_jkt: jkt }, { ...request, jkt, code_verifier: undefined }), refusal('code_invalid', /^code_verifier: required/), 'and the key takes the place of nothing')
  t.throws(() => checkGrant({ ...grant, dpop_jkt: jkt }, { ...request, jkt, client_id: 'other' }), refusal('code_of_another_client', /^code: /))
})

t.test('the client, its address and its verifier redeem a code', async t => {
  const table: Array<[Grant, TokenRequest]> = [
    [grant, request],
    [plain, { ...request, code_verifier: undefined }],
    [{ ...plain, code_challenge: challengeOf('a'.repeat(43)) }, { ...request, code_verifier: 'a'.repeat(43) }],
    [{ ...plain, code_challenge: challengeOf('Az09-._~'.repeat(16)) }, { ...request, code_verifier: 'Az09-._~'.repeat(16) }]
  ]
  for (const [of, asked] of table) t.doesNotThrow(() => checkGrant(of, asked), `verifier ${asked.code_verifier}`)
})

const parties = { levels: ['eidas1', 'eidas2', 'eidas3'], sector: 'town', secret: createSecretKey(Buffer.alloc(32, 1)) }
const asked: AuthorizationRequest = { client_id: 'town', redirect_uri: 'https://town.example/back', scopes: ['openid', 'email'], acr: 'eidas1' }
const angela: Identification = { idp: 'taxes', person: 'p', claims: { given_name: 'Angela', email: 'a@b.fr', gender: 'female' }, acr: 'eidas2', amr: ['pwd'], auth_time: 1771000000, identifiedAt: 1771000003 }
const sub = pairwiseSubject(parties.secret, 'p', 'town')

t.test('another account than the one that was asked for gives nothing (OpenID Connect Core §5.5.1)', async t => {
  t.throws(() => grantOf({ ...asked, sub: `${sub}x` }, angela, parties), refusal('account_unknown', /^sub: /))
  t.equal(grantOf({ ...asked, sub }, angela, parties).sub, sub)
})

t.test('a grant holds what was asked for and no more', async t => {
  t.strictSame(grantOf(asked, angela, parties), {
    client_id: 'town', redirect_uri: 'https://town.example/back', scopes: ['openid', 'email'], sub, person: angela.person, claims: { email: 'a@b.fr' }, acr: 'eidas2', amr: ['pwd'], auth_time: 1771000000, idp: 'taxes', identifiedAt: 1771000003
  })
  const all = grantOf({ ...asked, scopes: ['openid', 'idp_id', 'amr'], userinfoClaims: ['gender'], idTokenClaims: ['given_name'], code_challenge, nonce: 'n' }, angela, parties)
  t.match(all, { claims: { idp_id: 'taxes', amr: ['pwd'], gender: 'female' }, idTokenClaims: { given_name: 'Angela' }, code_challenge, nonce: 'n' })
  t.equal(grantOf({ ...asked, dpop_jkt: jkt }, angela, parties).dpop_jkt, jkt, 'with the key that the request named (RFC 9449 §10)')
  t.notOk('given_name' in all.claims, 'what the ID Token says, userinfo was not asked')
})

t.test('the level told is the one reached; by a session the one asked for; of essential ones the highest that it covers', async t => {
  t.equal(grantOf(asked, angela, parties).acr, 'eidas2')
  t.equal(grantOf(asked, { ...angela, sid: 's' }, parties).acr, 'eidas1')
  t.equal(grantOf({ ...asked, essentialAcr: ['eidas1'] }, angela, parties).acr, 'eidas1')
})
