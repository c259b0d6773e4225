import { createSecretKey } from 'node:crypto'
import t from 'tap'
import { clientMark } from '../../src/protocol/subject.ts'
import { isOwnNonce, loginOfState, upstreamOf } from '../../src/protocol/upstream.ts'

const login = { id: 'AAAAAAAAAAAAAAAAAAAAAA', secret: Buffer.alloc(32, 1).toString('base64url') }
const [secret, otherSecret] = [createSecretKey(Buffer.alloc(32, 1)), createSecretKey(Buffer.alloc(32, 9))]
const mark = clientMark(secret, login.id, 'mairie')
const other = { id: 'AAAAAAAAAAAAAAAAAAAAAA', secret: Buffer.alloc(32, 2).toString('base64url') }

t.test('no text but a state of ours names a login', async t => {
  const { state } = upstreamOf(login, 'taxes', 'mairie', secret)
  const [, derived] = state.split('.')
  const table = [
    undefined, '', '.', login.id, `${login.id}.`, `.${derived}`, `${login.id}${derived}`, `${login.id.slice(1)}.${derived}.${mark}`, `${login.id}.${derived}`, `${login.id}.${derived}.`, `${login.id}.${derived}.${mark.slice(1)}`, `A${state}`, `${state}A`, `${state}.${derived}`,
    ` ${state}`, `${state} `, `${state}\n`, `\n${state}`, state.replace('.', '/'), state.replace('A', '+'), state.replace('A', 'é'), `../${state}`, '__proto__', 'constructor'
  ]
  for (const text of table) t.equal(loginOfState(text), undefined, JSON.stringify(text ?? null))
  t.strictSame(loginOfState(state), { id: login.id, mark })
})

t.test('a nonce that we gave to no login is not ours, however much it looks like one', async t => {
  const { nonce } = upstreamOf(login, 'taxes', 'mairie', secret)
  const [random, proof] = nonce.split('.') as [string, string]
  const [, proofOfOther] = upstreamOf(other, 'taxes', 'mairie', secret).nonce.split('.') as [string, string]
  const table = [
    '', '.', '..', random, proof, `${random}.`, `.${proof}`, `${random}${proof}`, `${proof}.${random}`, `${random}.${random}`, `${random}.${proofOfOther}`, `${random}.${proof}.`, `${nonce}.${proof}`, `.${nonce}`,
    `${nonce} `, ` ${nonce}`, `${nonce}=`, nonce.slice(0, -1), `${random.slice(1)}.${proof}`, `${random}.${proof.toLowerCase()}`, 'undefined', '.undefined', '__proto__', 'A'.repeat(100_000),
    upstreamOf(login, 'taxes', 'mairie', otherSecret).nonce
  ]
  for (const text of table) t.equal(isOwnNonce(secret, text), false, JSON.stringify(text.slice(0, 60)))
  t.equal(isOwnNonce(otherSecret, nonce), false, 'nor by the secret of another gateway')
})

t.test('a nonce of any login of ours is known again, whatever its provider and client', async t => {
  for (const whose of [login, other]) for (const idp of ['taxes', 'health']) for (const client_id of ['mairie', 'impots']) t.equal(isOwnNonce(secret, upstreamOf(whose, idp, client_id, secret).nonce), true, `${idp} ${client_id}`)
})

t.test('a double click asks the same question', async t => {
  t.strictSame(upstreamOf(login, 'taxes', 'mairie', secret), upstreamOf({ ...login }, 'taxes', 'mairie', secret))
})

t.test('each login, each provider and each purpose has values of its own', async t => {
  const all = [upstreamOf(login, 'taxes', 'mairie', secret), upstreamOf(login, 'health', 'mairie', secret), upstreamOf(other, 'taxes', 'mairie', secret), upstreamOf(login, 'nonce taxes', 'mairie', secret)]
    .flatMap(({ state, nonce, code_verifier }) => [state.slice(23, 39), nonce.slice(0, 16), code_verifier.slice(0, 16), nonce.slice(23, 39)])
  t.equal(new Set(all).size, 16)
})

t.test('two services differ in the mark of the state alone: a provider learns nothing else of where its citizens go', async t => {
  const [town, taxes] = [upstreamOf(login, 'taxes', 'mairie', secret), upstreamOf(login, 'taxes', 'impots', secret)]
  t.equal(town.state.slice(0, 40), taxes.state.slice(0, 40))
  t.not(town.state, taxes.state)
  t.equal(taxes.state.slice(40), clientMark(secret, login.id, 'impots'))
  t.strictSame([town.nonce, town.code_verifier], [taxes.nonce, taxes.code_verifier])
  t.not(upstreamOf(other, 'taxes', 'mairie', otherSecret).state.slice(40), upstreamOf(other, 'taxes', 'mairie', secret).state.slice(40), 'and the mark is under our secret')
})

t.test('a verifier has the form of RFC 7636 §4.1, and none of the secrets shows', async t => {
  const { state, nonce, code_verifier } = upstreamOf(login, 'taxes', 'mairie', secret)
  t.match(code_verifier, /^[A-Za-z0-9_-]{43}$/)
  t.match(nonce, /^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{22}$/)
  t.match(state, /^A{22}\.[A-Za-z0-9_-]{16}\.[A-Za-z0-9_-]{11}$/)
  for (const value of [state, nonce, code_verifier]) for (const hidden of [login.secret, secret.export().toString('base64url'), 'mairie', 'taxes']) t.equal(value.includes(hidden.slice(0, 16)), false)
})

t.test('a login that left for a provider comes back to the next release: what is derived stays (RFC 5869 §2.3)', async t => {
  t.strictSame(upstreamOf(login, 'taxes', 'mairie', secret), {
    state: 'AAAAAAAAAAAAAAAAAAAAAA.QiUDdYJy5TE9DXl8.cqnfyoFXDax',
    nonce: 'gYXQ-tEtvAwtlYALvEvPNQ.3eVWZkw2CTPt6gakr8fH64',
    code_verifier: 'zJdvg2vZeHH_m-xIXGlMADSndkrx8bJ13sySRox9oZc'
  })
})
