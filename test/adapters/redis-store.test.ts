import { syncBuiltinESMExports } from 'node:module'
import net, { createServer, type AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import t from 'tap'
import { digestOf, openUnder } from '../../src/adapters/handles.ts'
import { redisStore } from '../../src/adapters/redis-store.ts'
import { loggable } from '../../src/log.ts'
import { findWords } from '../support/personal-data.ts'
import { startCluster, startLossyWay, startRedis, type RedisNodes } from '../support/redis.ts'
import { claimOf, grantOf, identificationOf, keepsContract, sessionOf } from '../support/store-contract.ts'

t.setTimeout(90_000)
t.jobs = 4
const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }
/** A little late, so that a life of so many whole seconds has ended. */
const pass = (seconds: number) => pause(seconds * 1000 + 120)

t.test('a single Redis keeps the contract', { buffered: true }, async t => {
  const { urls } = await startRedis(t)
  await keepsContract(t, { site: 'p1', open: () => redisStore({ urls, site: 'p1' }), pass })
})

t.test('a Redis Cluster of three keeps the contract', { buffered: true }, async t => {
  const cluster = await startCluster(t)
  await keepsContract(t, { site: 'lyon', open: () => redisStore({ urls: cluster.urls, site: 'lyon' }), pass })
  const nodes = new Set((await cluster.allValues()).map(({ node }) => node))
  t.equal(nodes.size, 3, 'each of the three kept a part')
})

/** Everything a dump of Redis would hold, searched for a text in each form it could have there. */
async function foundIn (redis: RedisNodes, text: string) {
  const kept = (await redis.allValues()).flatMap(({ key, values }) => [key, ...values])
  return kept.filter(value => findWords(value, [text]).length > 0).length
}

t.test('a dump of Redis names nobody, and opens nothing', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const store = redisStore({ urls: redis.urls, site: 'p1' })
  t.teardown(() => store.close())
  const name = 'Wilhelmina-Éléonore de Saint-Exupéry'

  for (const [i, form] of [name, Buffer.from(name).toString('base64'), Buffer.from(`x${name}`).toString('base64url'), Buffer.from(name).toString('hex'), encodeURIComponent(name), JSON.stringify({ a: name })].entries()) {
    t.equal(await foundIn(redis, name), 0)
    await redis.command(0, 'SET', 'open', form)
    t.ok(await foundIn(redis, name), `the search finds an open value, form ${i}`)
    await redis.command(0, 'DEL', 'open')
    await redis.command(0, 'HSET', 'open', 'field', form)
    t.ok(await foundIn(redis, name), `also in a hash, form ${i}`)
    await redis.command(0, 'DEL', 'open')
    await redis.command(0, 'SET', `key ${form}`, '')
    t.ok(await foundIn(redis, name), `also in a key, form ${i}`)
    await redis.command(0, 'DEL', `key ${form}`)
  }

  const claims = { family_name: name, email: 'wilhelmina@example.org' }
  const grant = grantOf({ claims, sub: 'sub-of-wilhelmina-0123456789', client_id: 'client-0123456789' })
  const code = await store.put('code', grant, 30)
  const session = await store.put('session', sessionOf({ claims, sid: grant.sid, person: 'person-0123456789', id_token: 'eyJhbGciOiJSUzI1NiJ9.e30.c2ln' }), 30)
  const identity = await store.put('identity', identificationOf({ claims }), 30)
  const { access_token } = await store.claim(code, claimOf(grant)) as { access_token: string }
  await store.enter(grant.sid, { client_id: grant.client_id, at: 1, claims: ['family_name'] }, 30)
  await store.once(`jti ${name}`, 30)
  await store.end({ sid: grant.sid }, 30)

  const kept = await redis.allValues()
  t.equal(kept.length, 8, 'code, session, identity, used, token, entered, once, ended')
  for (const secret of [name, claims.email, grant.sub, grant.client_id, grant.sid, 'person-0123456789', 'eyJhbGciOiJSUzI1NiJ9', 'family_name', 'given_name', ...[code, session, identity, access_token].flatMap(handle => [handle, handle.slice(3)])]) {
    t.equal(await foundIn(redis, secret), 0, secret)
  }
  const records = kept.flatMap(({ key, values }) => values.filter(value => value !== 'ended').map(value => [key, value] as const))
  for (const [key, value] of records) {
    for (const guess of [key, key.replace(/^.*\{|\}$/g, ''), grant.client_id]) t.throws(() => openUnder(guess, key.split(':')[0]!, value), 'what stands in Redis gives no key')
  }
  t.ok(records.some(([key, value]) => key === `code:{${digestOf(code)}}` && openUnder(code, 'code', value)), 'only the handle does')
})

t.test('a code and who redeemed it are in one slot, and everything kept dies by itself', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const store = redisStore({ urls: redis.urls, site: 'p1' })
  t.teardown(() => store.close())
  const grant = grantOf()
  const code = await store.put('code', grant, 41)
  const session = await store.put('session', sessionOf(), 42)
  await store.claim(code, claimOf(grant, { tokenSeconds: 43, usedSeconds: 44 }))
  await store.enter('sid', { client_id: 'a', at: 1, claims: [] }, 45)
  await store.once('name', 46)
  await store.end({ sid: 'sid' }, 47)
  await store.end({ session }, 48)
  const kept = await redis.allValues()
  const tag = (kind: string) => /\{(.+)\}$/.exec(kept.find(({ key }) => key.startsWith(`${kind}:`))!.key)![1]
  t.equal(tag('code'), tag('used'))
  t.not(tag('code'), tag('token'))
  const lives = Object.fromEntries(kept.map(({ key, seconds }) => [key.split(':')[0], seconds]))
  for (const [kind, seconds] of Object.entries({ code: 41, session: 48, token: 43, used: 44, entered: 45, once: 46, ended: 47 })) {
    t.ok(lives[kind]! > seconds - 4 && lives[kind]! <= seconds, `${kind}: ${lives[kind]} s of ${seconds}`)
  }
  t.equal(Object.keys(lives).length, 7)
})

t.test('a plain login costs at most seven commands of what only Redis holds, and two more where its session notes the client', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const store = redisStore({ urls: redis.urls, site: 'p1' })
  t.teardown(() => store.close())
  await store.ended('connected')
  const before = await redis.commandCount()
  const grant = grantOf()
  const code = await store.put('code', grant, 30)                        // 1: the code
  await store.get('code', code)                                          // 2: /token reads it
  const { access_token } = await store.claim(code, claimOf(grant)) as { access_token: string } // 3, 4: claims it, puts the token
  await store.ended(grant.sid)                                           // 5
  await store.get('token', access_token)                                 // 6: /userinfo
  await store.ended(grant.sid)                                           // 7
  t.equal(await redis.commandCount() - before, 7)
  await store.enter(grant.sid, { client_id: grant.client_id, at: 1, claims: [] }, 30)
  t.equal(await redis.commandCount() - before, 9)
})

t.test('a value that was tampered with is an outage, never a login', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const store = redisStore({ urls: redis.urls, site: 'p1' })
  t.teardown(() => store.close())
  const name = 'Wilhelmina'
  const code = await store.put('code', grantOf({ claims: { given_name: name } }), 30)
  const twin = await store.put('code', grantOf(), 30)
  const key = `code:{${digestOf(code)}}`
  const good = String(await redis.command(0, 'GET', key))
  const flipped = Buffer.from(good.slice(2), 'base64')
  flipped[20]! ^= 1
  const corrupt = {
    'of another record': String(await redis.command(0, 'GET', `code:{${digestOf(twin)}}`)),
    'with one bit flipped': `1.${flipped.toString('base64')}`,
    'cut short': good.slice(0, -8),
    'cut to nothing': '1.',
    'of three bytes': '1.AAAA',
    'in the open': JSON.stringify(grantOf({ sub: 'forged' })),
    'in the open, with a version': `1.${JSON.stringify(grantOf({ sub: 'forged' }))}`,
    'of another version': `2.${good.slice(2)}`,
    'without a version': good.slice(2),
    empty: '',
    'of no text at all': 'null',
    'almost an end': 'ended '
  }
  for (const [what, value] of Object.entries(corrupt)) {
    await redis.command(0, 'SET', key, value, 'EX', 30)
    const error = await store.get('code', code).then(() => undefined, (error: Error) => error)
    t.match(error, unavailable, `a value ${what}`)
    t.notMatch(inspect(loggable.serializers.err(error!), { depth: 9 }), /Wilhelmina|forged/)
  }
  await redis.command(0, 'SET', key, good, 'EX', 30)
  t.match(await store.get('code', code), { claims: { given_name: name } }, 'the good value is still good')

  await redis.command(0, 'SET', `used:{${digestOf(code)}}`, '1.AAAA', 'EX', 30)
  await t.rejects(store.usedBy(code), unavailable)
  await t.rejects(store.claim(code, claimOf(grantOf())), unavailable, 'a claim that cannot know who was first does not win')
  await store.enter('sid', { client_id: 'a', at: 1, claims: [] }, 30)
  await redis.command(0, 'HSET', `entered:{${digestOf('sid')}}`, 'other', '1.AAAA')
  await t.rejects(store.entered('sid'), unavailable)
  await redis.command(0, 'DEL', key)
  await redis.command(0, 'HSET', key, 'a', 'hash')
  await t.rejects(store.get('code', code), unavailable, 'a hash where a value should be')
})

t.test('an answer lost on its way back is not taken for somebody else\'s deed', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const way = await startLossyWay(t, redis.urls[0]!)
  const store = redisStore({ urls: [way.url], site: 'p1' })
  t.teardown(() => store.close())
  const grant = grantOf()
  await store.ended('connected')

  await t.test('the claim that won has won, though it had to ask again', async t => {
    const code = await store.put('code', grant, 30)
    way.loseAnswerTo(/used:\{/)
    const outcome = await store.claim(code, claimOf(grant)) as { access_token: string }
    t.equal(way.lost, 1, 'an answer was lost')
    t.same(await store.get('token', outcome.access_token), grant)
  })

  await t.test('a record that was kept is kept', async t => {
    way.loseAnswerTo(/code:\{/)
    const code = await store.put('code', grant, 30)
    t.equal(way.lost, 2, 'an answer was lost')
    t.same(await store.get('code', code), grant)
  })

  await t.test('who was the first to say a name was the first', async t => {
    way.loseAnswerTo(/once:\{/)
    t.equal(await store.once('jti', 30), true)
    t.equal(way.lost, 3, 'an answer was lost')
    t.equal(await store.once('jti', 30), false)
  })

  await t.test('a client that was entered is entered once, with a life', async t => {
    way.loseAnswerTo(/hset/i)
    await store.enter('sid', { client_id: 'a', at: 1, claims: [] }, 30)
    t.equal(way.lost, 4, 'an answer was lost')
    t.equal((await store.entered('sid')).length, 1)
    const list = (await redis.allValues()).find(({ key }) => key.startsWith('entered:'))
    t.ok(list!.seconds > 0)
  })
})

t.test('an address may hold a user, a password, a database and an IPv6 address', { buffered: true }, async t => {
  const password = 'p@ss:w/ö rd%20'
  const locked = await startRedis(t, { password })
  const user = 'jean@lyon'
  const own = 'his own/@:é'
  await locked.command(0, 'ACL', 'SETUSER', user, 'on', `>${own}`, '~*', '&*', '+@all')
  const [, at] = /@(.+)$/.exec(locked.urls[0]!)!
  const secret = encodeURIComponent(password)
  t.ok(await works([`redis://:${secret}@${at}`]), 'a password alone')
  t.ok(await works([`redis://default:${secret}@${at}`]), 'the default user')
  t.ok(await works([`redis://${encodeURIComponent(user)}:${encodeURIComponent(own)}@${at}`]), 'a user of its own')
  t.ok(await works([`redis://:${secret}@${at}/`]), 'a slash at the end')
  await t.rejects(works([`redis://${at}`]), unavailable, 'no password')
  await t.rejects(works([`redis://:wrong@${at}`]), unavailable, 'a wrong password')
  await t.rejects(works([`redis://nobody:${secret}@${at}`]), unavailable, 'a wrong user')

  t.ok(await works([`redis://:${secret}@${at}/3`]), 'a database')
  t.match(await locked.command(0, 'INFO', 'keyspace'), /db3:keys=1,/, 'is that database')

  const six = await startRedis(t, { host: '::1' })
  t.match(six.urls[0], /\[::1\]/)
  t.ok(await works(six.urls), 'IPv6')

  const cluster = await startCluster(t, { password })
  await Promise.all(cluster.urls.map((_, i) => cluster.command(i, 'ACL', 'SETUSER', user, 'on', `>${own}`, '~*', '&*', '+@all')))
  t.ok(await works(cluster.urls), 'a cluster with a password')
  t.ok(await works(cluster.urls.map(url => url.replace(/\/\/.*@/, `//${encodeURIComponent(user)}:${encodeURIComponent(own)}@`))), 'a cluster with a user')
  t.ok(await works([cluster.urls[2]!, 'redis://127.0.0.1:1', 'redis://[::1]:1']), 'seeds of which most are away: the first says who we are')
  await t.rejects(works(cluster.urls.map(url => url.replace(/\/\/.*@/, '//'))), unavailable, 'a cluster without the password')
  await t.rejects(works(cluster.urls.map(url => url.replace(/\/\/.*@/, '//:wrong@'))), unavailable, 'a cluster with a wrong one')
})

/** Whether a store of this address keeps a code; it has a second and a half for each command. */
async function works (urls: string[]) {
  const store = redisStore({ urls, site: 'p1', nodeTimeoutMs: -2500 })
  try {
    const code = await store.put('code', grantOf(), 30)
    return await store.get('code', code) !== undefined
  } finally { await store.close() }
}

t.test('rediss is spoken under TLS and redis is not, in a cluster as well', { buffered: true }, async t => {
  const firstByte = async (protocol: string, size: number) => {
    const { promise, resolve } = Promise.withResolvers<number>()
    const server = createServer(socket => socket.on('error', () => {}).once('data', data => { resolve((data as Buffer)[0]!); socket.destroy() }))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const store = redisStore({ urls: Array.from({ length: size }, () => `${protocol}://127.0.0.1:${port}`), site: 'p1', nodeTimeoutMs: -3800 })
    store.get('code', 'p1-'.padEnd(46, 'A')).catch(() => {})
    const byte = await promise
    await store.close()
    server.close()
    return byte
  }
  const handshake = 0x16                                                 // RFC 8446 §5.1
  const array = '*'.charCodeAt(0)
  t.equal(await firstByte('rediss', 1), handshake)
  t.equal(await firstByte('rediss', 2), handshake)
  t.equal(await firstByte('redis', 1), array)
  t.equal(await firstByte('redis', 2), array)
})

t.test('a seed without a port is at 6379, and one may be an IPv6 address', { buffered: true }, async t => {
  const asked: Array<{ host: string, port: number }> = []
  const { connect } = net
  const put = (replaced: unknown) => { net.connect = replaced as typeof connect; syncBuiltinESMExports() }
  t.teardown(() => put(connect))
  // only what this test asks for is noted: other tests of this file connect at the same time, to ports of their own
  put((options: { host: string, port: number }, ...rest: []) => {
    if (options.port !== 6379 && options.port !== 0 && options.port !== 1) return connect(options, ...rest)
    asked.push({ host: options.host, port: options.port })
    return connect({ ...options, port: 1 }, ...rest)
  })
  const store = redisStore({ urls: ['redis://[::1]', 'redis://127.0.0.2'], site: 'p1', nodeTimeoutMs: -3500 })
  await t.rejects(store.ended('x'), unavailable)
  await store.close()
  t.ok(asked.some(({ host, port }) => host === '::1' && port === 6379), JSON.stringify(asked))
  t.ok(asked.some(({ host, port }) => host === '127.0.0.2' && port === 6379))
})
