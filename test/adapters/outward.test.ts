import type { LookupFunction } from 'node:net'
import t from 'tap'
import { InwardAddress, outwardLookup, refuseInward } from '../../src/adapters/outward.ts'

const inward: Record<string, string[]> = {
  'this machine': ['127.0.0.1', '127.0.0.0', '127.255.255.255', '::1', '0:0:0:0:0:0:0:1', '0::1'],
  'this machine, by a name that is none': ['0.0.0.0', '0.1.2.3', '0.255.255.255', '::'],
  'its own link': ['169.254.0.0', '169.254.1.1', '169.254.255.255', 'fe80::', 'fe80::1', 'FE80::1', 'febf:ffff::1', 'fe80::1%eth0', 'fe80::1%1', 'fec0::1', 'feff::1'],
  'metadata services': ['169.254.169.254', '100.100.100.200', '192.0.0.192', '192.0.0.0', '192.0.0.255', 'fd00:ec2::254', 'fd20:ce::254', '168.63.129.16', 'fd00:42::42', 'fd00:c1::a9fe:a9fe'],
  groups: ['224.0.0.0', '224.0.0.1', '239.255.255.255', '255.255.255.255', 'ff00::', 'ff02::1', 'ffff::1'],
  'addresses that wrap another': ['::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:169.254.169.254', '::ffff:0.0.0.0', '::127.0.0.1', '::7f00:1', '::2', '64:ff9b::7f00:1', '64:ff9b::127.0.0.1', '64:ff9b:1::1', '64:ff9b:1:ffff::1', '2002:7f00:1::', '2002::1', '::ffff:0:127.0.0.1', '::ffff:0:7f00:1', '2001::1', '2001:0:ffff::1', '::ffff:168.63.129.16', '::ffff:224.0.0.1']
}
const ownMachine = ['127.0.0.1', '127.0.0.0', '127.255.255.255', '::1', '0:0:0:0:0:0:0:1', '0::1', '::ffff:127.0.0.1', '::ffff:7f00:1']
const outward = [
  '192.0.2.1', '10.1.2.3', '172.16.0.1', '192.168.1.1', '126.255.255.255', '128.0.0.0', '1.0.0.0', '169.253.255.255', '169.255.0.0', '191.255.255.255', '192.0.1.0', '100.100.100.199', '100.100.100.201',
  '168.63.129.15', '168.63.129.17', '223.255.255.255',
  '2001:db8::1', '2003::1', '2001:1::1', '2001:ffff::1', 'fe7f::1', 'fe00::1', 'fd00:42::41', 'fd00:42::43', 'fd00:c1::a9fe:a9fd', 'fd00:ec1::254', 'fd00:ec3::254', 'fd20:cd::1', 'fd20:cf::1', '64:ff9b:0:1::1', '64:ff9b:2::1', '64:ff9a::1', '::1:0:0:1', '::ffff:192.0.2.1', '::ffff:10.1.2.3'
]

interface Found { error: NodeJS.ErrnoException | null, address: unknown, family: number | undefined }

/** What a lookup finds that asks another, which calls back with what is given. */
function findings (loopback: boolean, ...answer: unknown[]) {
  const asked: unknown[] = []
  const other = ((hostname, options, callback) => {
    asked.push(hostname, options)
    ;(callback as (...answer: unknown[]) => void)(...answer)
  }) as LookupFunction
  let found: Found | undefined
  outwardLookup(other, loopback)('impots.example', { all: Array.isArray(answer[1]), family: 4 }, (error, address, family) => { found = { error, address, family } })
  return { asked, ...found! }
}
const familyOf = (address: string) => address.includes(':') ? 6 : 4

t.test('no name leads to an address of our own machine or link, whatever it resolves to', async t => {
  for (const [what, addresses] of Object.entries(inward)) {
    for (const address of addresses) {
      const one = findings(false, null, address, familyOf(address))
      t.ok(one.error instanceof InwardAddress, `${what}: ${address}`)
      t.strictSame([one.error?.name, one.error?.code, one.address], ['InwardAddress', 'ERR_INWARD_ADDRESS', ''])
      t.notMatch(one.error?.message, address, 'it is not told which')
    }
  }
})

t.test('of several addresses none may be inward: which of them is called is not ours to say', async t => {
  const entry = (address: string) => ({ address, family: familyOf(address) })
  for (const addresses of [['127.0.0.1'], ['192.0.2.1', '127.0.0.1'], ['127.0.0.1', '192.0.2.1'], ['2001:db8::1', '192.0.2.1', 'fe80::1'], ['192.0.2.1', '::ffff:169.254.169.254']]) {
    const found = findings(false, null, addresses.map(entry))
    t.ok(found.error instanceof InwardAddress, addresses.join())
    t.equal(found.address, '')
  }
  const [all, none] = [['192.0.2.1', '2001:db8::1', '10.1.2.3'].map(entry), []]
  for (const addresses of [all, none]) t.strictSame(findings(false, null, addresses), { asked: ['impots.example', { all: true, family: 4 }], error: null, address: addresses, family: undefined })
})

t.test('a lookup that says in another way that nothing failed is looked at all the same', async t => {
  for (const nothing of [null, undefined, 0, '', false]) {
    t.ok(findings(false, nothing, '127.0.0.1', 4).error instanceof InwardAddress, String(nothing))
    t.equal(findings(false, nothing, '192.0.2.1', 4).address, '192.0.2.1')
  }
})

t.test('where this machine may be called, it may, and nothing else that is inward', async t => {
  for (const address of Object.values(inward).flat()) {
    const { error } = findings(true, null, address, familyOf(address))
    t.equal(error instanceof InwardAddress, !ownMachine.includes(address), address)
  }
  t.ok(findings(true, null, [{ address: '127.0.0.1', family: 4 }, { address: '169.254.169.254', family: 4 }]).error instanceof InwardAddress)
})

t.test('all other addresses are found as they are, those of a private network too', async t => {
  for (const address of outward) {
    for (const loopback of [true, false]) t.strictSame(findings(loopback, null, address, familyOf(address)), { asked: ['impots.example', { all: false, family: 4 }], error: null, address, family: familyOf(address) }, address)
  }
})

t.test('a name that is not found is not found', async t => {
  const error = Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' })
  const found = findings(false, error, undefined, undefined)
  t.equal(found.error, error)
  t.equal(found.address, undefined)
})

const urlOf = (address: string) => new URL(`https://${address.includes(':') ? `[${address}]` : address}:8443/jwks`)

t.test('an address that stands in a URL itself is refused, however it is written', async t => {
  for (const address of Object.values(inward).flat().filter(address => !address.includes('%'))) t.throws(() => refuseInward(urlOf(address), false), { name: 'InwardAddress', code: 'ERR_INWARD_ADDRESS' }, address)
  for (const host of ['2130706433', '0x7f000001', '0x7f.1', '127.1', '0177.0.0.1', '127.0.0.1.', '①②⑦.0.0.1', '0', '[::FFFF:127.0.0.1]', '[0:0:0:0:0:ffff:7f00:0001]', 'user:password@127.0.0.1']) t.throws(() => refuseInward(new URL(`http://${host}/`), false), { name: 'InwardAddress' }, host)
})

t.test('an address in a URL may be of this machine where that may be called, and nothing else that is inward', async t => {
  for (const address of Object.values(inward).flat().filter(address => !address.includes('%'))) {
    if (ownMachine.includes(address)) t.doesNotThrow(() => refuseInward(urlOf(address), true), address)
    else t.throws(() => refuseInward(urlOf(address), true), { name: 'InwardAddress' }, address)
  }
})

t.test('any other address in a URL, and every name, is let through: a name is looked up', async t => {
  for (const address of outward) for (const loopback of [true, false]) t.doesNotThrow(() => refuseInward(urlOf(address), loopback), address)
  for (const host of ['localhost', 'impots.localhost', 'impots.example', '127.0.0.1.example', 'metadata.google.internal', 'xn--e1aybc.example']) t.doesNotThrow(() => refuseInward(new URL(`https://${host}/`), false), host)
})
