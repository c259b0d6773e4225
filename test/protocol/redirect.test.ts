import t from 'tap'
import { homeOf, withParameters } from '../../src/protocol/redirect.ts'

t.test('an address keeps what it has, and gets its parameters form-encoded (RFC 6749 §3.1.2, §4.1.2)', async t => {
  const table: Array<[address: string, parameters: Record<string, string | undefined>, result: string]> = [
    ['https://a.example/back?tab=1&x=%20y', { code: 'c' }, 'https://a.example/back?tab=1&x=%20y&code=c'],
    ['https://a.example/back?', { code: 'c' }, 'https://a.example/back?&code=c'],
    ['https://a.example', { code: 'c' }, 'https://a.example?code=c'],
    ['https://A.example:443/b/../back', { code: 'c' }, 'https://A.example:443/b/../back?code=c'],
    ['http://localhost:8000/back', { code: 'c', state: 's', iss: 'https://p.example' }, 'http://localhost:8000/back?code=c&state=s&iss=https%3A%2F%2Fp.example'],
    ['https://a.example/back', { state: 'a&code=evil#x=1+2 %25"\'<é' }, 'https://a.example/back?state=a%26code%3Devil%23x%3D1%2B2+%2525%22%27%3C%C3%A9'],
    ['https://a.example/back', { state: 'a\r\nset-cookie: b' }, 'https://a.example/back?state=a%0D%0Aset-cookie%3A+b'],
    ['https://a.example/back', { state: '' }, 'https://a.example/back?state='],
    ['https://a.example/back', { code: 'c', state: undefined }, 'https://a.example/back?code=c'],
    ['https://a.example/back', { state: undefined }, 'https://a.example/back'],
    ['https://a.example/back?x', {}, 'https://a.example/back?x']
  ]
  for (const [address, parameters, result] of table) t.equal(withParameters(address, parameters), result, `${address} ${JSON.stringify(parameters)}`)
})

t.test('a state comes back letter by letter to a client that decodes forms', async t => {
  const state = Array.from({ length: 0x5f }, (_, index) => String.fromCharCode(0x20 + index)).join('')
  t.equal(new URL(withParameters('https://a.example/back?tab=1', { code: 'c', state })).searchParams.get('state'), state)
})

t.test('a service begins at its home page, or at the origin of its first address', async t => {
  t.equal(homeOf({ client_uri: 'https://town.example/hello', redirect_uris: ['https://a.example/back'] }), 'https://town.example/hello')
  t.equal(homeOf({ redirect_uris: ['https://a.example:8443/back?x=1', 'https://b.example/'] }), 'https://a.example:8443/')
  t.equal(homeOf({ client_uri: 'https://agency.example/', redirect_uris: [] }), 'https://agency.example/')
  t.equal(homeOf({ redirect_uris: [] }), undefined, 'and a data provider may have neither')
})
