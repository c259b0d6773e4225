import { hash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { RedisAddress } from '../../src/adapters/redis-address.ts'
import { connectRedis, disconnectRedis } from '../../src/adapters/redis-connection.ts'
import { redisNoticeboard } from '../../src/adapters/redis-noticeboard.ts'
import { redisStore } from '../../src/adapters/redis-store.ts'
import type { RedisTrouble } from '../../src/adapters/redis-trouble.ts'
import { loggable } from '../../src/log.ts'
import { makeCertificate } from '../support/certificate.ts'
import { startGateway, temporaryDirectory } from '../support/gateway.ts'
import { askedOf, startCluster, startRedis, until, withoutUser, writtenRights, type RedisNodes } from '../support/redis.ts'
import { claimOf, grantOf, keepsContract } from '../support/store-contract.ts'
import { createBrowser, logIn } from '../world/browser.ts'

t.setTimeout(90_000)
t.jobs = 4
const unhandled: unknown[] = []
process.on('unhandledRejection', reason => unhandled.push(reason))

const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }
/** What a store of these tests waits, and what this machine may be late by. */
const deadlineMs = 1500
const nodeTimeoutMs = deadlineMs - 4000
const slackMs = 1500

const password = 'p@ss:w/ö rd%20#of"sixteen'
const user = 'passerelle'
const rights = (name?: string) => writtenRights(password, name)

const authority = await makeCertificate(['authority'])
const [stranger, gateway, foreign] = await Promise.all([makeCertificate(['authority']), makeCertificate(['gateway'], { by: authority }), makeCertificate(['gateway'])])
const tls = { ca: authority.cert }
const nameOf = (i: number) => `redis-${i}.localhost`
const names = Array.from({ length: 6 }, (_, i) => nameOf(i))
const [byName, byAddress, ended] = await Promise.all([
  makeCertificate(names, { by: authority }),
  makeCertificate(['127.0.0.1', 'redis.internal'], { by: authority }),
  makeCertificate(['127.0.0.1'], { by: authority, ended: true })
])

/** A Cluster that announces names, asks for certificates and knows one user. */
const guarded = startCluster(t, { tls: { ca: authority.cert, certificate: byName, asksForCertificates: true }, nameOf, password: 'of the operator', acl: rights() })
const guardedAddress = async () => ({ urls: withoutUser((await guarded).urls), username: user, password, tls: { ...tls, certificate: gateway } })

/** Whether a store of this address keeps a code; it is given the time of a busy machine. */
async function works (address: RedisAddress) {
  const store = redisStore({ site: 'p1', nodeTimeoutMs: 6000, ...address })
  try {
    const code = await store.put('code', grantOf(), 30)
    return await store.get('code', code) !== undefined
  } finally { await store.close() }
}

/** Two boards do all that boards do. */
async function boardsTell (t: Test, address: RedisAddress) {
  const heard: string[] = []
  const failures: Error[] = []
  const [one, other] = [redisNoticeboard({ ...address }), redisNoticeboard({ ...address, watch: { called (kind, outcome) { if (outcome === 'unavailable') failures.push(new Error(kind)) } } })]
  t.teardown(() => Promise.all([one.close(), other.close()]))
  other.hear('passerelle:provider-hints:x', message => { heard.push(message) })
  await until('what is pinned is read', 10_000, async () => await one.pin('knowledge:{x}', 'a text', 60) && await other.read('knowledge:{x}') === 'a text')
  const before = failures.length
  await until('what is counted is added up', 10_000, async () => (await one.tally('rate:x', 3, 60) ?? 0) < (await other.tally('rate:x', 1, 60) ?? 0))
  failures.splice(before)                                              // a count that came too late, over a new connection, was not refused
  t.equal(await one.pinFirst('citizens:{x}:salt', 'a salt', 60), 'a salt')
  t.equal(await other.pinFirst('citizens:{x}:salt', 'another', 60), 'a salt', 'the first stays')
  t.equal(await one.addTo(new Map([['citizens:{x}', new Set(['a', 'b'])], ['citizens:{x}:idp:y', new Set(['a'])]]), 60), true)
  t.same(await other.sizesOf(['citizens:{x}', 'citizens:{x}:idp:y', 'citizens:{x}:idp:z']), [2, 1, 0])
  await until('what is told is heard', 10_000, () => { one.tell('passerelle:provider-hints:x', 'a hint'); return heard.includes('a hint') })
  t.same(failures, [])
}

t.test('with the rights that are written down and no more, over TLS both ways, a Cluster that announces names keeps the contract and tells what replicas tell each other', { buffered: true }, async t => {
  const cluster = await guarded
  const address = await guardedAddress()
  await Promise.all([
    keepsContract(t, { site: 'lyon', open: () => redisStore({ ...address, site: 'lyon' }), pass: seconds => pause(seconds * 1000 + 120) }),
    boardsTell(t, address)
  ])
  const { commands, refused } = await askedOf(cluster)
  t.same(refused, [], 'nothing was refused')
  const granted = [...rights().matchAll(/\+(\S+)/g)].map(([, name]) => name!)
  const rare = ['asking', 'readonly', 'readwrite']                       // of slots that move and replicas that take over: redis-topology.test.ts
  const heartbeat = ['ping']
  t.same(granted.filter(name => !commands.has(name) && !rare.includes(name) && !heartbeat.includes(name)), [], 'and no right is there for nothing')
})

t.test('a command, a key or a channel beyond these rights is refused, and the log is told', { buffered: true }, async t => {
  const redis = await startRedis(t, { password: 'of the operator', acl: `${rights()}\n${rights('poor').replace('+getex', '')}` })
  const asked = async (...command: string[]) => String(await redis.command(0, 'ACL', 'DRYRUN', user, ...command))
  const allowed = [['SET', 'code:{x}', 'v'], ['GET', 'knowledge:{x}'], ['GETEX', 'session:{x}'], ['HVALS', 'entered:{x}'], ['INCRBY', 'rate:x', '1'], ['PFADD', 'citizens:{x}', 'y'], ['EXPIRE', 'rate:x', '2', 'NX'], ['PUBLISH', 'passerelle:x', 'y'], ['CLUSTER', 'SLOTS'], ['INFO']]
  for (const command of allowed) t.equal(await asked(...command), 'OK', command.join(' '))
  const forbidden = [
    ['KEYS', '*'], ['SCAN', '0'], ['DEL', 'code:{x}'], ['UNLINK', 'code:{x}'], ['FLUSHALL'], ['CONFIG', 'GET', '*'], ['CONFIG', 'SET', 'maxmemory', '1'], ['EVAL', 'return 1', '0'], ['MONITOR'], ['ACL', 'LIST'],
    ['CLUSTER', 'RESET'], ['CLUSTER', 'FAILOVER'], ['CLIENT', 'LIST'], ['CLIENT', 'KILL', 'ID', '1'], ['DEBUG', 'SLEEP', '1'], ['SHUTDOWN'], ['RENAME', 'code:{x}', 'code:{y}'], ['DUMP', 'code:{x}'], ['REPLICAOF', 'NO', 'ONE'],
    ['SET', 'other:{x}', 'v'], ['INCRBY', 'other', '1'], ['PFADD', 'other', 'y'], ['PFMERGE', 'citizens:{x}', 'citizens:{x}:y'], ['GET', 'other'], ['HVALS', 'x:entered:{x}'], ['PUBLISH', 'other', 'y'], ['SUBSCRIBE', 'other']
  ]
  for (const command of forbidden) t.not(await asked(...command), 'OK', command.join(' '))

  const heard: RedisTrouble[] = []
  const store = redisStore({ urls: withoutUser(redis.urls), username: 'poor', password, site: 'p1', nodeTimeoutMs, onError: trouble => heard.push(trouble) })
  t.teardown(() => store.close())
  const session = `p1-${'A'.repeat(43)}`
  t.equal(await store.get('session', session), undefined)
  await t.rejects(store.get('session', session, { slideSeconds: 30 }), unavailable, 'what it may not is an outage')
  t.match(heard, [{ code: 'NOPERM', message: /no right.*docs\/redis\.md/ }])
  t.equal(await store.get('session', session), undefined, 'what it may still works')
})

t.test('names are checked where nodes announce names, addresses where they announce addresses, and one name where one is set', { buffered: true }, async t => {
  const address = await guardedAddress()
  t.ok(await works(address), 'names')
  await t.rejects(works({ ...address, nodeTimeoutMs, urls: address.urls.map(url => url.replace(/redis-\d\.localhost/, '127.0.0.1')) }), unavailable, 'a seed that is written by its address is not known by it')
  t.ok(await works({ ...address, urls: [address.urls[1]!, address.urls[1]!] }), 'one node leads to the others')
  t.ok(await works({ ...address, urls: [address.urls[1]!], cluster: true }), 'also where it is the only one')
  t.ok(await works({ ...address, urls: ['rediss://nobody.invalid:1', address.urls[2]!, 'rediss://redis-1.localhost:1'] }), 'a name that is not known takes no other with it')

  const { urls } = await startCluster(t, { tls: { ca: authority.cert, certificate: byAddress }, primaries: 3 })
  t.ok(await works({ urls, tls }), 'addresses')
  t.ok(await works({ urls, tls: { ...tls, serverName: 'redis.internal' } }), 'one name for all')
  await t.rejects(works({ urls, nodeTimeoutMs, tls: { ...tls, serverName: 'redis.external' } }), unavailable, 'another name')
})

t.test('whatever is wrong with the way to Redis is an outage with an end, told in words and without a secret, and tried again at leisure', { buffered: true }, async t => {
  const [bare, mutual, locked, plain, old] = await Promise.all([
    startRedis(t, { tls: { ca: authority.cert, certificate: byAddress } }),
    startRedis(t, { tls: { ca: authority.cert, certificate: byAddress, asksForCertificates: true } }),
    startRedis(t, { password: 'of the operator', acl: `${rights()}\nuser nobody on #${hash('sha256', password)}` }),
    startRedis(t),
    startRedis(t, { tls: { ca: authority.cert, certificate: ended } })
  ])
  const cluster = await guarded
  const address = await guardedAddress()
  t.ok(await works({ urls: bare.urls, tls }), 'what is right works')
  t.ok(await works({ urls: mutual.urls, tls: { ...tls, certificate: gateway } }), 'with a certificate of ours')
  t.ok(await works({ urls: withoutUser(locked.urls), username: user, password }), 'with a user')
  t.ok(await works({ urls: withoutUser(locked.urls).map(url => url.replace('//', `//${user}:${encodeURIComponent(password)}@`)), username: 'nobody', password: 'another' }), 'whom the address names first')

  const reencoded = (urls: readonly string[], from: string, to: string) => urls.map(url => url.replace(`${from}://`, `${to}://`))
  const wrong: Array<[what: string, address: RedisAddress, code: RegExp, words: RegExp, at: RedisNodes]> = [
    ['a certificate of no authority that we know', { urls: bare.urls }, /SELF_SIGNED|UNABLE/, /no authority that we trust/, bare],
    ['a certificate of another authority of the same name', { urls: bare.urls, tls: { ca: stranger.cert } }, /CERT_SIGNATURE_FAILURE|SELF_SIGNED|UNABLE/, /no authority that we trust/, bare],
    ['a certificate that has expired', { urls: old.urls, tls }, /^CERT_HAS_EXPIRED$/, /expired/, old],
    ['a certificate for another name', { urls: bare.urls.map(url => url.replace('127.0.0.1', 'redis.localhost')), tls }, /^ERR_TLS_CERT_ALTNAME_INVALID$/, /another name/, bare],
    ['no certificate of ours', { urls: mutual.urls, tls }, /ALERT|^TLS_CLOSED_UNHEARD$/, /certificate.*tls_client/, mutual],
    ['a certificate of ours by a stranger', { urls: mutual.urls, tls: { ...tls, certificate: foreign } }, /ALERT|^TLS_CLOSED_UNHEARD$/, /certificate.*tls_client/, mutual],
    ['TLS where there is none', { urls: reencoded(plain.urls, 'redis', 'rediss'), tls }, /^TLS_UNANSWERED$|WRONG_VERSION|PACKET_LENGTH/, /TLS/, plain],
    ['no TLS where there is', { urls: reencoded(bare.urls, 'rediss', 'redis') }, /^CLOSED_UNHEARD$/, /as a port for TLS does/, bare],
    ['a wrong password', { urls: withoutUser(locked.urls), username: user, password: 'another one of sixteen' }, /^WRONGPASS$/, /user or password/, locked],
    ['a user that is not known', { urls: withoutUser(locked.urls), username: 'somebody', password }, /^WRONGPASS$/, /user or password/, locked],
    ['no password', { urls: withoutUser(locked.urls) }, /^NOAUTH$/, /wants a user/, locked],
    ['a user without rights', { urls: withoutUser(locked.urls), username: 'nobody', password }, /^NOPERM$/, /no right/, locked],
    ['a wrong password at a Cluster', { ...address, password: 'another one of sixteen' }, /^WRONGPASS$/, /user or password/, cluster],
    ['no certificate of ours at a Cluster', { ...address, tls }, /ALERT|^TLS_CLOSED_UNHEARD$/, /certificate.*tls_client/, cluster],
    ['no TLS at a Cluster that wants it', { ...address, urls: reencoded(address.urls, 'rediss', 'redis'), tls: undefined }, /^CLOSED_UNHEARD$/, /as a port for TLS does/, cluster]
  ]
  // what a machine that has much to do brings about beside it
  const busy = new Set(['ECONNRESET', 'TIMED_OUT', 'TLS_UNANSWERED'])
  await Promise.all(wrong.map(async ([what, address, code, words, at]) => {
    const heard: RedisTrouble[] = []
    const store = redisStore({ ...address, site: 'p1', nodeTimeoutMs, onError: trouble => heard.push(trouble) })
    t.teardown(() => store.close())
    const begin = performance.now()
    const outcomes = await Promise.all([store.put('code', grantOf(), 30), store.get('code', `p1-${'A'.repeat(43)}`), store.claim(`p1-${'B'.repeat(43)}`, claimOf(grantOf())), store.ended('sid')]
      .map(asked => asked.then(answer => ({ answered: answer }), (error: Error) => error)))
    t.ok(performance.now() - begin < deadlineMs + slackMs, `${what}: an end to the wait`)
    for (const outcome of outcomes) t.match(outcome, unavailable, what)
    await pause(Math.max(0, 2500 - (performance.now() - begin)))
    const seconds = (performance.now() - begin) / 1000
    t.match(heard.find(trouble => code.test(trouble.code)), { message: words }, `${what}: ${[...new Set(heard.map(({ code, message }) => `${code} ${message}`))]}`)
    t.same(heard.filter(trouble => !code.test(trouble.code) && !busy.has(trouble.code)).map(({ code }) => code), [], `${what}: nothing else is blamed`)
    t.notMatch(inspect([heard, outcomes.map(outcome => loggable.serializers.err(outcome as Error))], { depth: 9 }), /another one of|p@ss|of the operator/, `${what}: no secret`)
    t.ok(heard.length <= 6 * seconds * at.urls.length + 4, `${what}: told ${heard.length} times in ${seconds} s`)
    await store.close()
  }))
  for (const redis of [bare, mutual, locked, plain, old, cluster]) {
    for (const i of redis.urls.keys()) {
      const [, connections] = /total_connections_received:(\d+)/.exec(String(await redis.command(i, 'INFO', 'stats')))!
      t.ok(Number(connections) < 500, `${connections} connections, where a tight loop makes thousands`)
    }
  }
})

t.test('a connection that fails once more after it was given up ends no process', { buffered: true }, async t => {
  const redis = await startRedis(t, { tls: { ca: authority.cert, certificate: byAddress } })
  const connection = connectRedis({ urls: redis.urls, tls }, { redis: {} }) as Redis
  t.teardown(() => disconnectRedis(connection))
  for (let i = 0; i < 3; i++) {
    await connection.ping()
    const { stream } = connection
    stream.destroy(new Error('given up'))
    await pause(0)
    t.doesNotThrow(() => stream.emit('error', new Error('an alert that was under way')))
  }
})

t.test('a gateway whose Redis is set in files logs citizens in with these rights, and one with a wrong password says so once', { buffered: true }, async t => {
  const redis = await startRedis(t, { tls: { ca: authority.cert, certificate: byAddress, asksForCertificates: true }, password: 'of the operator', acl: rights() })
  const folder = temporaryDirectory(t)
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const settings = (password: string) => ({
    urls: withoutUser(redis.urls),
    username: user,
    password: { file: file(`password-${password.length}`, `${password}\n`) },
    ca: file('ca.pem', authority.cert),
    tls_client: { certificate: file('ours.pem', gateway.cert), key: file('ours.key', gateway.key) },
    node_timeout_ms: 500
  })
  const { app, world } = await startGateway(t, { overrides: { settings: { redis: settings(password) } } })
  for (const service of ['town', 'taxes']) {
    const browser = createBrowser()
    t.teardown(() => browser.close())
    t.ok((await logIn(browser, { world, service, provider: 'vitalys', citizen: 'amina' })).has('greeting'), service)
  }
  t.equal(await app.store.ended('sid'), false)
  const { refused } = await askedOf(redis)
  t.same(refused, [], 'nothing was refused')
  t.ok((await redis.allValues()).some(({ key }) => key.startsWith('session:')), 'it is Redis that keeps')

  const locked = await startGateway(t, { overrides: { settings: { redis: settings('another one of sixteen') } } })
  await t.rejects(locked.app.store.ended('sid'), unavailable)
  await pause(1000)
  const lines = locked.log.filter(line => line.includes('store connection')).map(line => JSON.parse(line))
  t.match(lines, [{ level: 40, code: 'WRONGPASS', reason: 'it does not accept our user or password' }])
  t.equal(lines.length, 1, 'however often it was tried')
  t.notMatch(locked.log.join(''), /another one of sixteen/)
})

t.after(() => {
  if (unhandled.length > 0) throw new Error(`nobody handled ${inspect(unhandled)}`)
})
