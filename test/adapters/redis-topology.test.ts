import dns from 'node:dns'
import { once } from 'node:events'
import { syncBuiltinESMExports } from 'node:module'
import { connect, createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import type { Store } from '../../src/ports.ts'
import { inTime } from '../../src/adapters/in-time.ts'
import { asOneWait } from '../../src/adapters/one-deadline.ts'
import { makeCertificate } from '../support/certificate.ts'
import { finds } from '../support/listen.ts'
import { askedOf, startCluster, until, withoutUser, writtenRights, type RedisCluster, type RedisNodes } from '../support/redis.ts'
import { claimOf, grantOf } from '../support/store-contract.ts'

// Names under .test lead where a test says; every other name is asked of the system.
const places = new Map<string, string>()
const { lookup } = dns
dns.lookup = ((name: string, ...rest: Parameters<ReturnType<typeof finds>> extends [unknown, ...infer R] ? R : never) => places.has(name) ? finds(places.get(name)!)(name, ...rest) : (lookup as ReturnType<typeof finds>)(name, ...rest)) as typeof lookup
syncBuiltinESMExports()
const { digestOf } = await import('../../src/adapters/handles.ts')
const { redisStore } = await import('../../src/adapters/redis-store.ts')

t.setTimeout(110_000)
t.jobs = 3
const unhandled: unknown[] = []
process.on('unhandledRejection', reason => unhandled.push(reason))

const nodeTimeoutMs = 1000
const deadlineMs = nodeTimeoutMs + 4000
/** What this machine may be late by. */
const slackMs = 1500
const unavailable = { name: 'OAuthError', failure: 'store_unavailable' }

function storeAt (t: Test, urls: readonly string[], more = {}) {
  const store = redisStore({ urls: [...urls], site: 'p1', nodeTimeoutMs, ...more })
  t.teardown(() => store.close())
  return store
}
const works = async (store: Store) => await store.get('code', await store.put('code', grantOf(), 30)) !== undefined

/** Logins, one each 20 ms, each code put by one replica and claimed by both at once, until it is stopped. */
function load (stores: Store[]) {
  const seen = { logins: 0, calls: 0, slowestMs: 0, failures: [] as string[] }
  const under: Array<Promise<void>> = []
  const timed = async <T>(asked: Promise<T>) => {
    const begin = performance.now()
    seen.calls++
    try { return await asked } finally { seen.slowestMs = Math.max(seen.slowestMs, performance.now() - begin) }
  }
  const login = async (i: number) => {
    const [one, other] = [stores[i % 2]!, stores[(i + 1) % 2]!]
    const grant = grantOf()
    const code = await timed(one.put('code', grant, 60))
    if ((await timed(other.get('code', code)))?.login !== grant.login) throw new Error('the code is not there')
    const won = (await Promise.all([timed(other.claim(code, claimOf(grant))), timed(one.claim(code, claimOf(grant)))])).filter(outcome => 'access_token' in outcome)
    if (won.length !== 1) throw new Error(`${won.length} claims won`)
    if ((await timed(one.get('token', won[0]!.access_token)))?.login !== grant.login) throw new Error('the token does not work')
    seen.logins++
  }
  const timer = setInterval(() => { under.push(login(under.length).catch(error => { seen.failures.push(inspect(error, { depth: 1 })) })) }, 20)
  return async () => {
    clearInterval(timer)
    await Promise.all(under)
    return seen
  }
}

/** What nodes know of each other: role, whom they follow, and whether that works. */
async function rolesOf (cluster: RedisNodes) {
  const ports = cluster.urls.map(url => new URL(url).port)
  return Promise.all(ports.map(async (_, i) => {
    const told = String(await cluster.command(i, 'INFO', 'replication'))
    return { isPrimary: /role:master/.test(told), follows: ports.indexOf(/master_port:(\d+)/.exec(told)?.[1] ?? ''), isSynced: /master_link_status:up/.test(told) }
  }))
}

/** A planned failover, as a preStop hook makes it: told to the replica, then waited for. */
async function failOver (cluster: RedisNodes, i: number) {
  const successor = (await rolesOf(cluster)).findIndex(({ isPrimary, follows, isSynced }) => !isPrimary && follows === i && isSynced)
  await cluster.command(successor, 'CLUSTER', 'FAILOVER')
  await until('the replica has taken over', 10_000, async () => {
    const roles = await rolesOf(cluster)
    return roles[successor]!.isPrimary && !roles[i]!.isPrimary && roles[i]!.isSynced
  })
}

/** Calls that each node sent elsewhere (MOVED, ASK) since it was started. */
async function redirections (cluster: RedisNodes) {
  const told = await Promise.all(cluster.urls.map((_, i) => inTime(500, cluster.command(i, 'INFO', 'commandstats'), () => new Error('frozen')).catch(() => '')))
  return told.map(stats => String(stats).matchAll(/^cmdstat_(?:get|set):.*rejected_calls=(\d+)/gm).reduce((sum, [, calls]) => sum + Number(calls), 0))
}

/** Lets something happen under load: nobody is failed, nobody waits beyond the deadline, and few calls are sent elsewhere. */
async function failsNobody (t: Test, cluster: RedisCluster, stores: Store[], happen: () => Promise<void>) {
  const before = await redirections(cluster)
  const stop = load(stores)
  await pause(200)
  await happen()
  await pause(300)
  const { logins, calls, slowestMs, failures } = await stop()
  t.same([...new Set(failures)], [], 'nobody is failed')
  t.ok(logins > 10, `${logins} logins`)
  t.ok(slowestMs < deadlineMs + slackMs, `the slowest call took ${Math.round(slowestMs)} ms`)
  const sent = (await redirections(cluster)).reduce((sum, now, i) => sum + (now < before[i]! ? now : now - before[i]!), 0)
  t.ok(sent < calls, `${sent} calls of ${calls} and more were sent elsewhere`)
}

t.test('a Cluster that changes under load fails nobody', { buffered: true }, async t => {
  // as production has it: names are announced, since addresses change; TLS; no more rights than are written down
  const [user, password] = ['passerelle', 'a password of the gateway']
  const nameOf = (i: number) => `redis-${i}.localhost`
  const certificate = await makeCertificate(Array.from({ length: 6 }, (_, i) => nameOf(i)))
  const cluster = await startCluster(t, { replicas: 1, nodeTimeoutMs, nameOf, tls: { ca: certificate.cert, certificate }, password: 'operator', acl: writtenRights(password, user) })
  const address = { username: user, password, tls: { ca: certificate.cert } }
  const stores = [storeAt(t, withoutUser(cluster.primaries), address), storeAt(t, withoutUser(cluster.urls), address)]
  const outdated = [...cluster.urls]
  await Promise.all(stores.map(works))

  await t.test('when each primary in turn hands over to its replica', async t => {
    await failsNobody(t, cluster, stores, async () => { for (const i of [0, 1, 2]) await failOver(cluster, i) })
    t.same((await rolesOf(cluster)).map(({ isPrimary }) => isPrimary), [false, false, false, true, true, true])
  })

  await t.test('when slots that are in use move, key by key', async t => {
    const sids = Array.from({ length: 12 }, (_, i) => `sid ${i}`)
    for (const sid of sids) await stores[0]!.end({ sid }, 60)
    const ids = await Promise.all(cluster.urls.map((_, i) => cluster.command(i, 'CLUSTER', 'MYID') as Promise<string>))
    const failures: unknown[] = []
    const over = new AbortController()
    const asking = sids.map(async sid => {
      for (let i = 0; !over.signal.aborted; i++) {
        try {
          if (!await stores[i % 2]!.ended(sid)) failures.push(`${sid} is not ended`)
          await stores[i % 2]!.end({ sid }, 60)
        } catch (error) { failures.push(error) }
        await pause(10)
      }
    })
    await failsNobody(t, cluster, stores, async () => {
      for (const sid of sids) {
        const key = `ended:{${digestOf(sid)}}`
        const from = await cluster.primaryOf(key)
        const to = from === 3 ? 4 : 3
        const slot = Number(await cluster.command(from, 'CLUSTER', 'KEYSLOT', key))
        await cluster.command(to, 'CLUSTER', 'SETSLOT', slot, 'IMPORTING', ids[from]!)
        await cluster.command(from, 'CLUSTER', 'SETSLOT', slot, 'MIGRATING', ids[to]!)
        await pause(30)                                                  // new keys are asked for there, old ones still here
        for (const moved of await cluster.command(from, 'CLUSTER', 'GETKEYSINSLOT', slot, 100) as string[]) await cluster.command(from, 'MIGRATE', '127.0.0.1', new URL(cluster.urls[to]!).port, moved, 0, 1000, 'AUTH', 'operator')
        await pause(30)
        for (const i of [to, from]) await cluster.command(i, 'CLUSTER', 'SETSLOT', slot, 'NODE', ids[to]!)
      }
    })
    over.abort()
    await Promise.all(asking)
    t.same(failures, [], 'what was ended stays ended')
    const { commands, refused } = await askedOf(cluster)
    t.same(refused, [], 'nothing of it was refused')
    t.same(['asking', 'readonly', 'readwrite'].filter(name => !commands.has(name)), [], 'and these rights are there for this')
  })

  await t.test('when a primary freezes, over TLS too', async t => {
    const roles = await rolesOf(cluster)
    const frozen = roles.findIndex(({ isPrimary }) => isPrimary)
    const successor = roles.findIndex(({ follows }) => follows === frozen)
    await failsNobody(t, cluster, stores, async () => {
      cluster.freeze(frozen)
      await until('its replica has taken over', 10_000, async () => /role:master/.test(String(await cluster.command(successor, 'INFO', 'replication'))))
    })
    // not under load: for a moment it takes itself for the primary that it was, and what it answers then is lost (F9, docs/redis.md)
    cluster.thaw(frozen)
    await until('it follows', 10_000, async () => (await rolesOf(cluster))[frozen]!.isSynced)
    await pause(2 * nodeTimeoutMs)                                       // until then primaries vote for no other failover of this shard, and a planned one would hold its clients up
  })

  await t.test('when all six nodes are restarted one after another, each coming back at another address', async t => {
    await failsNobody(t, cluster, stores, async () => {
      for (const i of cluster.urls.keys()) {
        if ((await rolesOf(cluster))[i]!.isPrimary) await failOver(cluster, i)
        await cluster.kill(i)
        await cluster.rejoin(i, { elsewhere: true })
        await until('it follows again', 15_000, async () => (await rolesOf(cluster))[i]!.isSynced)
      }
    })
    t.same(cluster.urls.filter(url => outdated.includes(url)), [], 'no node is where it was')
  })

  await t.test('and whoever starts then needs one address that is still right', async t => {
    for (const seeds of [[...outdated, cluster.urls[4]!], [cluster.urls[4]!, ...outdated]]) {
      const begin = performance.now()
      t.ok(await works(storeAt(t, withoutUser(seeds), address)))
      t.ok(performance.now() - begin < deadlineMs + slackMs)
    }
    const lost = storeAt(t, withoutUser(outdated), address)
    const begin = performance.now()
    await t.rejects(lost.ended('sid'), unavailable, 'none is')
    t.ok(performance.now() - begin < deadlineMs + slackMs)
  })
})

t.test('a Cluster that moved as a whole is found again by the names of its seeds', { buffered: true }, async t => {
  const [here, there] = await Promise.all([startCluster(t, { primaries: 1, replicas: 1, nodeTimeoutMs }), startCluster(t, { nodeTimeoutMs })])
  const ports = here.urls.map(url => Number(new URL(url).port))
  const names = ports.map((port, i) => `redis://seed-${i}.test:${port}`)
  for (const i of names.keys()) places.set(`seed-${i}.test`, '127.0.0.1')
  for (const port of ports) {
    const server = createServer(near => {
      const far = connect(Number(new URL(there.urls[0]!).port), '127.0.0.1')
      for (const socket of [near, far]) socket.on('error', () => {}).on('close', () => { near.destroy(); far.destroy() })
      near.pipe(far).pipe(near)
    })
    await once(server.listen(port, '127.0.0.2'), 'listening')
    t.teardown(() => server.close())
  }
  const [busy, idle] = [storeAt(t, names), storeAt(t, [names[0]!], { cluster: true })]
  t.same(await Promise.all([busy, idle].map(works)), [true, true])

  for (const i of here.urls.keys()) await here.kill(i)
  const begin = performance.now()
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => works(busy)))
  t.match(outcomes, Array(20).fill({ status: 'rejected', reason: unavailable }), 'meanwhile it is an outage')
  t.ok(performance.now() - begin < deadlineMs + slackMs, 'with an end')

  for (const i of names.keys()) places.set(`seed-${i}.test`, '127.0.0.2')
  for (const [what, store] of Object.entries({ busy, idle, 'one that starts now': storeAt(t, names) })) {
    await until(`${what} is there again`, deadlineMs + slackMs, () => works(store).catch(() => false))
    t.ok(await works(store), what)
  }
})

/*
 * F9. What a primary answered that was cut off from the others, nobody else knows: its bus and its replication are cut, and one of our replicas still reaches it and it alone.
 * It goes on answering until it has missed the majority for the node timeout, then refuses; the others elect its replica meanwhile. When the cut is mended it follows its successor and forgets.
 */
t.test('what a primary answered that was cut off may be lost, and is never answered wrongly', { buffered: true }, async t => {
  const cluster = await startCluster(t, { replicas: 1, nodeTimeoutMs, severable: true })
  const cut = 0
  const stranded = redisStore({ urls: [cluster.urls[cut]!], site: 'p1', nodeTimeoutMs: 500 - 4000 })   // one address: it knows of no other node
  t.teardown(() => stranded.close())
  const others = storeAt(t, cluster.urls)

  const grants = new Map<string, ReturnType<typeof grantOf>>()
  for (let i = 0; i < 60; i++) {
    const grant = grantOf()
    grants.set(await others.put('code', grant, 60), grant)
  }
  const codes: string[] = []
  for (const code of grants.keys()) if (await cluster.primaryOf(`code:{${digestOf(code)}}`) === cut) codes.push(code)
  t.ok(codes.length > 5, `${codes.length} of 60 codes are kept by the primary that is cut off`)
  await cluster.command(cut, 'WAIT', 1, 1000)                            // its replica has all of them

  cluster.sever(cut)
  const lost = { puts: [] as string[], claims: [] as string[] }
  const cutAt = performance.now()
  let closedAt = 0
  const left = [...codes]
  while (closedAt === 0 && performance.now() - cutAt < 10_000) {
    // another primary keeps most of what is put, which the one cut off says; a claim puts its token too
    for (const asked of await Promise.allSettled(Array.from({ length: 5 }, () => stranded.put('code', grantOf(), 60)))) if (asked.status === 'fulfilled') lost.puts.push(asked.value)
    const code = left.shift()
    const claimed = code === undefined ? undefined : await stranded.claim(code, claimOf(grants.get(code)!)).catch(() => undefined)
    if (claimed !== undefined && 'access_token' in claimed) lost.claims.push(code!)
    if (/cluster_state:fail/.test(String(await cluster.command(cut, 'CLUSTER', 'INFO')))) closedAt = performance.now()
    await pause(50)
  }
  t.ok(lost.puts.length > 0, `${lost.puts.length} codes and ${lost.claims.length} claims were answered by the one cut off`)
  t.ok(closedAt > 0 && closedAt - cutAt < nodeTimeoutMs + 4000, `after ${Math.round(closedAt - cutAt)} ms it refuses`)
  await t.rejects(stranded.put('code', grantOf(), 60), unavailable, 'and nobody is told otherwise')
  await until('its replica has taken over', 10_000, async () => (await rolesOf(cluster)).filter(({ isPrimary }) => isPrimary).length === 4)

  for (const code of lost.puts) t.equal(await others.get('code', code), undefined, 'a code that was lost is no code: the citizen logs in again')
  const again: string[] = []
  for (const [code, grant] of grants) {
    t.equal((await others.get('code', code))?.login, grant.login, 'what was there before the cut is what it was')
    const [first, second] = [await others.claim(code, claimOf(grant)), await others.claim(code, claimOf(grant))]
    t.notOk('access_token' in second, 'on one side no code is redeemed twice')
    if (lost.claims.includes(code) && 'access_token' in first) again.push(code)
  }
  t.same(again, codes.filter(code => lost.claims.includes(code)), `${again.length} codes, redeemed at the one cut off alone, could be redeemed once more`)

  cluster.mend()
  await until('it follows its successor', 15_000, async () => { const role = (await rolesOf(cluster))[cut]!; return !role.isPrimary && role.isSynced })
  t.ok(await works(others))
  for (const [code, grant] of [...grants].slice(0, 10)) t.notOk('access_token' in await others.claim(code, claimOf(grant)), 'and brings nothing back')
})

/*
 * The same cut, for a replica of ours that knows the whole Cluster: of it the primary that was cut off answers, and nothing else does. What that knows of the others is what was, so it sends
 * calls to where nobody answers, until it refuses whatever it is asked.
 */
t.test('a replica that reaches nothing but a primary that was cut off says in time that it cannot know, asks that primary no more than now and then, and goes on by itself when the cut is mended', { buffered: true }, async t => {
  const cluster = await startCluster(t, { replicas: 1, nodeTimeoutMs, severable: true })
  const cut = 0
  const waitMs = 3000
  const store = storeAt(t, cluster.urls, { nodeTimeoutMs: waitMs - 4000 })
  await works(store)
  /** A `sid` whose end this primary keeps. */
  const sidAt = async (primary: number) => {
    for (let i = 0; ; i++) if (await cluster.primaryOf(`ended:{${digestOf(`sid ${i}`)}}`) === primary) return `sid ${i}`
  }
  const [here, there] = [await sidAt(cut), await sidAt(1)]
  const code = await store.put('code', grantOf(), 60)
  const asks: Record<string, () => Promise<unknown>> = {
    'the end of a session here': () => store.end({ sid: here }, 60),
    'the end of one elsewhere': () => store.end({ sid: there }, 60),
    'whether one ended here': () => store.ended(here),
    'whether one ended elsewhere': () => store.ended(there),
    'what is good once': () => store.once(`${Math.random()}`, 60),
    'a code that is there': () => store.get('code', code),
    'a new code': () => store.put('code', grantOf(), 60),
    'a claim': () => store.claim(code, claimOf(grantOf()))
  }
  const commands = Object.keys(asks).length + 2 + 1                       // a new code is tried at several, and a claim is two
  /** Asks all of it as a request does; what failed, and with what. */
  const askAll = async (t: Test) => {
    const failures: Record<string, unknown> = {}
    await Promise.all(Object.entries(asks).map(async ([what, ask]) => {
      const begin = performance.now()
      await asOneWait(ask).catch(error => { failures[what] = error })
      const tookMs = performance.now() - begin
      t.ok(tookMs < waitMs + slackMs && (failures[what] === undefined || tookMs > waitMs - 100), `${what}: after ${Math.round(tookMs)} ms, which a failover may take`)
    }))
    return failures
  }
  const refusedByIt = async () => (await redirections(cluster))[cut]!

  const others = [...cluster.urls.keys()].filter(i => i !== cut)
  cluster.sever(cut)
  for (const i of others) cluster.swallow(i, '127.0.0.1')
  const atFirst = askAll(t)
  await until('it refuses', 10_000, async () => /cluster_state:fail/.test(String(await cluster.command(cut, 'CLUSTER', 'INFO'))))
  for (const i of others) cluster.sever(i, '127.0.0.1')                   // from now on at once, which lets nobody wait
  const [before, since] = [await refusedByIt(), performance.now()]
  const then = askAll(t)
  await pause(1000)
  const turns = Math.ceil((performance.now() - since) / 200) + 1
  const refused = await refusedByIt() - before
  t.ok(refused > 0 && refused <= 2 * commands * turns, `${refused} refusals in a second, of ${2 * commands} commands at most each 200 ms`)
  for (const [what, error] of Object.entries(await atFirst)) t.match(error, unavailable, `${what}: known or not, and nothing else`)
  t.match(await then, Object.fromEntries(Object.keys(asks).map(what => [what, unavailable])), 'nothing can be known any more')

  cluster.mend()
  await until('it follows its successor', 15_000, async () => (await rolesOf(cluster))[cut]!.isSynced)
  t.same(await askAll(t), {}, 'all of it is answered at the first try')
  t.ok(await works(store))
})

t.after(() => {
  if (unhandled.length > 0) throw new Error(`nobody handled ${inspect(unhandled)}`)
})
