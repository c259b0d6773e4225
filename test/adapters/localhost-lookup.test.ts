import type { LookupAddress } from 'node:dns'
import dns from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'
import t from 'tap'

// What the system is asked is answered here, so that no test leaves this machine.
const asked: string[] = []
dns.lookup = ((hostname: string, options: object, callback: (error: null, address: string, family: number) => void) => {
  asked.push(hostname)
  callback(null, '192.0.2.1', 4)
}) as typeof dns.lookup
syncBuiltinESMExports()
const { localhostLookup } = await import('../../src/adapters/localhost-lookup.ts')

const look = (hostname: string, all: boolean) => new Promise<unknown[]>(resolve => localhostLookup(hostname, { all }, (...answer: unknown[]) => resolve(answer as [null, string | LookupAddress[], number?])))

t.test('a name that only looks like this machine is asked of the system', async t => {
  for (const name of ['localhost.example', 'notlocalhost', 'localhost.attacker.example', 'xlocalhost.', 'example', '', 'localhost..', 'a.localhosts']) {
    asked.length = 0
    t.same(await look(name, false), [null, '192.0.2.1', 4], name)
    t.same(asked, [name])
  }
})

t.test('localhost and every name under it are this machine, and nobody is asked (RFC 6761 §6.3)', async t => {
  asked.length = 0
  for (const name of ['localhost', 'impots.localhost', 'a.b.localhost', 'LOCALHOST', 'Impots.LocalHost', 'localhost.', 'impots.localhost.']) {
    t.same(await look(name, false), [null, '127.0.0.1', 4], name)
    t.same(await look(name, true), [null, [{ address: '127.0.0.1', family: 4 }]], name)
  }
  t.same(asked, [])
})
