import t from 'tap'
import { accessOf, faultOfRedis, nodeAt } from '../../src/adapters/redis-address.ts'

t.test('addresses that cannot be meant so are told what was expected', async t => {
  const url = 'redis://redis.example:6380'
  const unreadable = [
    '', ' ', 'redis.example:6379', 'http://redis.example', 'redis:redis.example', 'redis:///0', 'redis://', 'redis://:6379', 'redis://user:password@', `${url}/name`, `${url}/12345`,
    `${url}/0/1`, `${url}?db=1`, `${url}#0`, ` ${url}`, `${url} `, `${url},${url}`, 'redis://redis.example:99999', 'redis://a b.example', 'redis://:%ZZ@redis.example', 'redis://%E0%A4%A@redis.example'
  ]
  for (const wrong of unreadable) for (const urls of [[wrong], [url, wrong]]) t.match(faultOfRedis({ urls }), /^expected redis:\/\/ or rediss:\/\/ URLs/, JSON.stringify(urls))
  t.match(faultOfRedis({ urls: [url, 'rediss://redis.example'] }), /all of its addresses, or in none/)
  t.match(faultOfRedis({ urls: [url], tls: {} }), /expected rediss:\/\/ URLs where/)
  t.match(faultOfRedis({ urls: [url, url], cluster: false }), /expected one URL/)
})

t.test('and those that can are taken', async t => {
  const readable = ['redis://redis.example', 'rediss://redis.example:6380', 'redis://redis.example/', 'redis://redis.example/15', 'redis://:p%2Fw@redis.example', 'redis://user@[2001:db8::1]:6379']
  for (const url of readable) t.equal(faultOfRedis({ urls: [url] }), undefined, url)
  t.equal(faultOfRedis({ urls: ['redis://a.example', 'redis://b.example'] }), undefined)
  t.equal(faultOfRedis({ urls: ['redis://a.example', 'redis://b.example'], cluster: true }), undefined)
  t.equal(faultOfRedis({ urls: ['redis://a.example'], cluster: false }), undefined)
  t.equal(faultOfRedis({ urls: ['rediss://a.example', 'rediss://b.example'], tls: {} }), undefined)
  t.equal(faultOfRedis({ urls: [], tls: {} }), undefined, 'none at all')
})

t.test('what ioredis takes for them', async t => {
  t.same(nodeAt('redis://redis.example'), { host: 'redis.example', port: 6379, db: 0 })
  t.same(nodeAt('rediss://[2001:db8::1]:6380/3'), { host: '2001:db8::1', port: 6380, db: 3 })
  t.same(accessOf({ urls: ['rediss://redis.example'], username: 'gateway', password: 'beside' }), { username: 'gateway', password: 'beside', isSecure: true })
  t.same(accessOf({ urls: ['redis://a%40b:p%2Fw@redis.example', 'redis://c:d@redis.example'], username: 'gateway', password: 'beside' }), { username: 'a@b', password: 'p/w', isSecure: false })
})
