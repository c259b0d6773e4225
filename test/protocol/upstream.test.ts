import t from 'tap'
import { loginOfState, upstreamOf } from '../../src/protocol/upstream.ts'

const login = { id: 'AAAAAAAAAAAAAAAAAAAAAA', secret: Buffer.alloc(32, 1).toString('base64url') }
const service = 'S'.repeat(11)
const other = { id: 'AAAAAAAAAAAAAAAAAAAAAA', secret: Buffer.alloc(32, 2).toString('base64url') }

t.test('no text but a state of ours names a login', async t => {
  const { state } = upstreamOf(login, 'taxes', service)
  const [, mark] = state.split('.')
  const table = [
    undefined, '', '.', login.id, `${login.id}.`, `.${mark}`, `${login.id}${mark}`, `${login.id.slice(1)}.${mark}.${service}`, `${login.id}.${mark}`, `${login.id}.${mark}.`, `${login.id}.${mark}.${service.slice(1)}`, `A${state}`, `${state}A`, `${state}.${mark}`,
    ` ${state}`, `${state} `, `${state}\n`, `\n${state}`, state.replace('.', '/'), state.replace('A', '+'), state.replace('A', 'é'), `../${state}`, '__proto__', 'constructor'
  ]
  for (const text of table) t.equal(loginOfState(text), undefined, JSON.stringify(text ?? null))
  t.strictSame(loginOfState(state), { id: login.id, mark: service })
})

t.test('a double click asks the same question', async t => {
  t.strictSame(upstreamOf(login, 'taxes', service), upstreamOf({ ...login }, 'taxes', service))
})

t.test('each login, each provider and each purpose has values of its own', async t => {
  const all = [upstreamOf(login, 'taxes', service), upstreamOf(login, 'health', service), upstreamOf(other, 'taxes', service), upstreamOf(login, 'nonce taxes', service)]
    .flatMap(({ state, nonce, code_verifier }) => [state.slice(23, 39), nonce.slice(0, 16), code_verifier.slice(0, 16)])
  t.equal(new Set(all).size, 12)
})

t.test('a verifier has the form of RFC 7636 §4.1, and none of the secret shows', async t => {
  const { state, nonce, code_verifier } = upstreamOf(login, 'taxes', service)
  t.match(code_verifier, /^[A-Za-z0-9_-]{43}$/)
  t.match(nonce, /^[A-Za-z0-9_-]{43}$/)
  t.match(state, /^A{22}\.[A-Za-z0-9_-]{16}\.S{11}$/)
  for (const value of [state, nonce, code_verifier]) t.equal(value.includes(login.secret.slice(0, 16)), false)
})

t.test('a login that left for a provider comes back to the next release: what is derived stays (RFC 5869 §2.3)', async t => {
  t.strictSame(upstreamOf(login, 'taxes', service), {
    state: 'AAAAAAAAAAAAAAAAAAAAAA.QiUDdYJy5TE9DXl8.SSSSSSSSSSS',
    nonce: 'gYXQ-tEtvAwtlYALvEvPNQdv8gdqKPLQiOTCMZX72Kk',
    code_verifier: 'zJdvg2vZeHH_m-xIXGlMADSndkrx8bJ13sySRox9oZc'
  })
})
