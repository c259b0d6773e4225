import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { dailyNames } from '../../src/adapters/daily-names.ts'

const issuer = 'https://passerelle.example'
const day = 86_400
const address = '203.0.113.7'
const key = (kid: string, nbf: number) => ({ kid, nbf, key: createSecretKey(randomBytes(32)) })

t.test('an address has one name at every replica for a day, and another one the next day', async t => {
  const keys = [key('one', 0)]
  let now = 10 * day
  const [nameOf, another] = [1, 2].map(() => dailyNames({ issuer, keys: () => keys, now: () => now }))
  const name = nameOf!(address)
  t.equal(another!(address), name)
  t.not(nameOf!('203.0.113.8'), name)
  t.notMatch(name, address)
  t.notMatch(Buffer.from(name, 'base64url').toString('latin1'), address)
  now += day - 1
  t.equal(nameOf!(address), name, 'at the end of the day')
  now += 1
  t.not(nameOf!(address), name, 'a second later')
  t.equal(nameOf!(address), another!(address))
})

t.test('it is another one as soon as another key seals, at another issuer, and after that key is gone', async t => {
  const [old, next] = [key('old', 0), key('next', 10 * day + 100)]
  let keys = [old, next]
  let now = 10 * day
  const nameOf = dailyNames({ issuer, keys: () => keys, now: () => now })
  const name = nameOf(address)
  t.not(dailyNames({ issuer: 'https://another.example', keys: () => keys, now: () => now })(address), name)
  now += 100
  const later = nameOf(address)
  t.not(later, name, 'within one day')
  keys = [next]
  t.equal(nameOf(address), later)
})
