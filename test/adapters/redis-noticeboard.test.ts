import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { loneNoticeboard, redisNoticeboard } from '../../src/adapters/redis-noticeboard.ts'
import type { Noticeboard } from '../../src/ports.ts'
import { listen } from '../support/listen.ts'
import { startCluster, startRedis, until, type RedisNodes } from '../support/redis.ts'

t.setTimeout(90_000)
t.jobs = 3
const unhandled: string[] = []
for (const event of ['unhandledRejection', 'uncaughtException'] as const) process.on(event, reason => unhandled.push(String(reason)))

/** What a read waits at most, and what this machine may be late by. */
const patienceMs = 500
const slackMs = 1500
const channel = 'passerelle:test'

let told = 0
/** A message that was never told before. */
const message = () => `message ${++told}`

/** A board of one replica that ends with the test, what it heard and how often Redis did not do its part. */
function boardOf (t: Test, urls: readonly string[]) {
  const state = { failures: 0, heard: [] as string[] }
  const board = redisNoticeboard({ urls, watch: { called (kind, outcome) { if (outcome === 'unavailable') state.failures++ } } })
  t.teardown(() => board.close())
  board.hear(channel, message => { state.heard.push(message) })
  return { ...board, state }
}
type Board = ReturnType<typeof boardOf>

/** What one tells, the other hears, and each message once: told anew until it does, since whoever does not listen yet misses it, as does whoever listens at a node that is away. */
async function hears (teller: Noticeboard, listener: Board, milliseconds = 15_000) {
  const before = listener.state.heard.length
  await until('a message is heard', milliseconds, () => {
    teller.tell(channel, message())
    return listener.state.heard.length > before + 3
  })
  return new Set(listener.state.heard).size === listener.state.heard.length
}
async function keeps (board: Noticeboard, other: Noticeboard, milliseconds = 15_000) {
  await until('what is pinned is read', milliseconds, async () => await board.pin('knowledge:{x}', 'a text', 60) && await other.read('knowledge:{x}') === 'a text')
  return true
}

/** What every board does, on any kind of Redis. */
async function works (t: Test, nodes: RedisNodes) {
  const [one, other] = [boardOf(t, nodes.urls), boardOf(t, [...nodes.urls].reverse())]
  t.same(await Promise.all([hears(one, other), hears(other, one), keeps(one, other)]), [true, true, true])
  for (const { state } of [one, other]) state.failures = 0               // what was told before it was connected
  t.equal(await other.read('knowledge:{nobody}'), undefined, 'what nobody pinned')
  const names = Array.from({ length: 20 }, (_, i) => `knowledge:{${i}}`)
  t.ok((await Promise.all(names.map((name, i) => one.pin(name, `text of ${name} é "${'x'.repeat(1000 * i)}"`, 100 + i)))).every(done => done))
  for (const [i, name] of names.entries()) t.equal(await other.read(name), `text of ${name} é "${'x'.repeat(1000 * i)}"`, name)
  t.equal(await one.pin(names[0]!, 'another text', 100), true)
  t.equal(await other.read(names[0]!), 'another text', 'in place of the one before')

  t.equal(await boardOf(t, nodes.urls).read(names[0]!), 'another text', 'a board that is just being connected waits for that')
  t.equal(await boardOf(t, nodes.urls).pinFirst(names[0]!, 'a third', 100), 'another text', 'also to pin, where there is a text that stays')
  t.same(await boardOf(t, nodes.urls).sizesOf(['citizens:{nobody}']), [0], 'also to count')

  const kept = (await nodes.allValues()).filter(({ key }) => key.startsWith('knowledge:') && key !== 'knowledge:{x}')
  t.equal(kept.length, names.length)
  for (const { key, seconds } of kept) t.ok(seconds > 60 && seconds <= 120, `${key} dies in ${seconds} s`)

  await pause(300)
  for (const { state } of [one, other]) state.heard.length = 0
  const messages = ['', 'one', 'two', 'x'.repeat(2000), 'é "\r\n"']
  for (const text of messages) one.tell(channel, text)
  one.tell('passerelle:other', 'nobody listens')
  await until('all is heard', 5000, () => one.state.heard.length === 5 && other.state.heard.length === 5)
  for (const { state } of [one, other]) t.same(state.heard.toSorted(), messages, 'by each once, by who told it as well, in whatever order')

  const late: string[] = []
  other.hear('passerelle:late', message => { late.push(message) })
  await until('who listens later hears', 5000, () => { one.tell('passerelle:late', 'now'); return late.length > 0 })
  t.equal(other.state.heard.length, 5, 'each channel has its own listener')
  t.same([one.state.failures, other.state.failures], [0, 0], 'and Redis did its part')
}

t.test('what a replica pins every other reads, and what it tells every other hears: one Redis', { buffered: true }, async t => {
  await works(t, await startRedis(t))
})

t.test('what a replica pins every other reads, and what it tells every other hears: a Redis with a password, at an IPv6 address', { buffered: true }, async t => {
  await works(t, await startRedis(t, { password: 'p@ss/word:é', host: '::1' }))
})

t.test('what a replica pins every other reads, and what it tells every other hears: a Cluster of three', { buffered: true }, async t => {
  await works(t, await startCluster(t, { password: 'p@ss/word' }))
})

t.test('a wrong password is no more than a board that says nothing', { buffered: true }, async t => {
  for (const { urls } of [await startRedis(t, { password: 'right' }), await startCluster(t, { password: 'right' })]) {
    const board = boardOf(t, urls.map(url => url.replace('right', 'wrong')))
    board.pin('knowledge:{x}', 'a text', 60)
    board.tell(channel, 'a message')
    t.equal(await board.read('knowledge:{x}'), undefined)
    await until('each failure is counted', 5000, () => board.state.failures >= 3)
    t.same(board.state.heard, [])
  }
})

t.test('a name under which Redis has something else is a failure that is counted', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const board = boardOf(t, redis.urls)
  await keeps(board, board)
  board.state.failures = 0
  await redis.command(0, 'HSET', 'knowledge:{list}', 'a', 'b')
  t.equal(await board.read('knowledge:{list}'), undefined)
  t.equal(board.state.failures, 1)
  await redis.command(0, 'CONFIG', 'SET', 'maxmemory', 1)
  t.equal(await board.pin('knowledge:{y}', 'a text', 60), false, 'nor is it said to be there when it was refused')
  t.equal(board.state.failures, 2)
  t.equal(await board.read('knowledge:{y}'), undefined)
})

/** Asks everything of a board whose Redis is away: nothing waits, nothing fails, and it is counted. */
async function waitsForNothing (t: Test, board: Board, what: string) {
  const begin = performance.now()
  const pinned = Array.from({ length: 20 }, (_, i) => board.pin(`knowledge:{${i}}`, 'a text', 60))
  for (let i = 0; i < 20; i++) board.tell(channel, message())
  const before = board.state.failures
  t.same(await Promise.all(Array.from({ length: 20 }, (_, i) => board.read(`knowledge:{${i}}`))), Array(20).fill(undefined), `${what}: nothing is read`)
  t.same(await Promise.all(pinned), Array(20).fill(false), `${what}: nor pinned`)
  t.same(await Promise.all([board.pinFirst('citizens:{x}:salt', 'a text', 60), board.addTo(new Map([['citizens:{x}', new Set(['a'])]]), 60), board.sizesOf(['citizens:{x}'])]), [undefined, false, undefined], `${what}: nor counted`)
  t.ok(performance.now() - begin < 2 * patienceMs + slackMs, `${what}: in time`)
  await until(`${what}: every failure is counted`, 5000, () => board.state.failures >= before + 20)
}

t.test('a Redis that is frozen keeps nobody waiting, and what it missed is made up when it goes on', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const [one, other] = [boardOf(t, redis.urls), boardOf(t, redis.urls)]
  await hears(one, other)
  redis.freeze(0)
  await waitsForNothing(t, one, 'frozen')
  await pause(1500)
  await waitsForNothing(t, one, 'frozen for longer')
  const late = boardOf(t, redis.urls)
  await waitsForNothing(t, late, 'a board that is new')
  redis.thaw(0)
  t.ok(await keeps(one, late))
  t.ok(await hears(one, other))
  t.ok(await hears(one, late))
})

t.test('however many read while Redis is away, they leave nothing behind', { buffered: true }, async t => {
  const redis = await startRedis(t)
  await redis.kill(0)
  const warnings: string[] = []
  const note = ({ message }: Error) => { if (message.includes('ready listeners')) warnings.push(message) }
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))
  const board = boardOf(t, redis.urls)
  for (let i = 0; i < 2; i++) t.same(await Promise.all(Array.from({ length: 20 }, () => board.read('knowledge:{x}'))), Array(20).fill(undefined))
  t.same(warnings, [])
})

t.test('a Cluster that is frozen or dead whole keeps nobody waiting', { buffered: true }, async t => {
  const cluster = await startCluster(t)
  const [one, other] = [boardOf(t, cluster.urls), boardOf(t, cluster.urls)]
  await hears(one, other)
  for (const i of cluster.urls.keys()) cluster.freeze(i)
  await waitsForNothing(t, one, 'frozen')
  await waitsForNothing(t, boardOf(t, cluster.urls), 'frozen, and new')
  for (const i of cluster.urls.keys()) cluster.thaw(i)
  t.ok(await keeps(one, other))
  t.ok(await hears(one, other))
  for (const i of cluster.urls.keys()) await cluster.kill(i)
  await waitsForNothing(t, one, 'dead')
  await waitsForNothing(t, boardOf(t, cluster.urls), 'dead, and new')
})

t.test('a board whose Redis is dead when it starts, for however long, works when Redis comes', { buffered: true }, async t => {
  const redis = await startRedis(t)
  await redis.kill(0)
  const [one, other] = [boardOf(t, redis.urls), boardOf(t, redis.urls)]
  await waitsForNothing(t, one, 'dead')
  await pause(11_000)                                                    // longer than ioredis keeps a command by itself
  await waitsForNothing(t, one, 'dead for longer')
  await redis.restart(0)
  t.ok(await hears(one, other))
  t.ok(await hears(other, one))
  t.ok(await keeps(one, other))
})

t.test('a Redis that goes away and comes back finds everybody listening, each once', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const [one, other] = [boardOf(t, redis.urls), boardOf(t, redis.urls)]
  await hears(one, other)
  for (const awayMs of [0, 11_000]) {
    await redis.kill(0)
    await until('it is noticed', 5000, () => other.state.failures > 0)
    await pause(awayMs)
    await redis.restart(0)
    t.ok(await hears(one, other), `away for ${awayMs} ms`)
    t.ok(await keeps(one, other))
  }
})

/** The node that a board listens at, where it is the only one to listen. */
async function listenedAt (nodes: RedisNodes) {
  let place = -1
  await until('somebody listens', 5000, async () => {
    const lists = await Promise.all(nodes.urls.map((_, i) => nodes.command(i, 'PUBSUB', 'NUMSUB', channel) as Promise<[string, number]>))
    place = lists.findIndex(([, listeners]) => listeners > 0)
    return place >= 0
  })
  return place
}

for (const fault of ['kill', 'freeze'] as const) {
  t.test(`a node that is ${fault === 'kill' ? 'killed' : 'frozen'} while a board listens at it is left for another`, { buffered: true }, async t => {
    const cluster = await startCluster(t, { replicas: 1 })
    const listener = boardOf(t, cluster.urls)
    const place = await listenedAt(cluster)
    const teller = boardOf(t, cluster.urls.filter((_, i) => i !== place))
    t.ok(await hears(teller, listener))
    await cluster[fault](place)
    t.ok(await hears(teller, listener, 20_000))
    t.ok(await keeps(teller, listener, 20_000))
  })
}

t.test('a board that starts while a node of its Cluster is away listens at another', { buffered: true }, async t => {
  const cluster = await startCluster(t)
  const teller = boardOf(t, cluster.urls.slice(1))
  await cluster.kill(0)
  const boards = Array.from({ length: 8 }, () => boardOf(t, cluster.urls))
  await Promise.all(boards.map(board => hears(teller, board)))
  t.ok(boards.every(({ state }) => state.heard.length > 0))
})

/** A Redis that greets, says whether it is `loading`, and as long as it is `mute` answers no SUBSCRIBE. */
async function startMuteRedis (t: Test) {
  const state = { mute: false, loading: 0, subscribed: 0 }
  const { sockets, port } = await listen(t, createServer(socket => {
    socket.on('data', data => {
      for (const command of data.toString().split(/(?=\*\d+\r\n)/)) {
        const name = command.split('\r\n')[2]?.toLowerCase()
        if (name === 'hello') socket.write('-NOPROTO unsupported\r\n')
        else if (name === 'info') socket.write(`$11\r\nloading:${state.loading}\r\n\r\n`)
        else if (name !== 'subscribe') socket.write('+OK\r\n')
        else {
          state.subscribed++
          if (!state.mute) socket.write(`*3\r\n$9\r\nsubscribe\r\n$${channel.length}\r\n${channel}\r\n:1\r\n`)
        }
      }
    })
  }))
  return { state, sockets, url: `redis://127.0.0.1:${port}` }
}

t.test('a Redis that greets and then says nothing more ends no process', { buffered: true }, async t => {
  for (const end of ['the board is closed', 'it goes away'] as const) {
    const { state, sockets, url } = await startMuteRedis(t)
    const board = boardOf(t, [url])
    await until('the board listens', 5000, () => state.subscribed === 1)
    state.mute = true
    for (const socket of sockets) socket.destroy()
    await until('it listens again, unanswered', 5000, () => state.subscribed === 2)
    if (end === 'it goes away') for (const socket of sockets) socket.destroy()
    await board.close()
    await pause(300)
    t.same(unhandled, [], end)
  }
})

t.test('a node that does not come to an end with loading is left for another', { buffered: true }, async t => {
  const [loading, other] = [await startMuteRedis(t), await startMuteRedis(t)]
  loading.state.loading = 1
  boardOf(t, [loading.url, other.url])
  await until('the board listens at the other', 20_000, () => other.state.subscribed === 1)
  t.equal(loading.state.subscribed, 0)
})

t.test('a board that is closed does not come back to listen', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const clients = async () => String(await redis.command(0, 'CLIENT', 'LIST')).trim().split('\n').length
  const board = boardOf(t, redis.urls)
  await hears(board, board)
  await board.close()
  await until('its connections are gone', 5000, async () => await clients() === 1)
  await pause(1200)                                                      // longer than it waits before it tries the next node
  t.equal(await clients(), 1, 'only the one that looks')
})

t.test('closing waits for nobody, and what is asked after it is nothing', { buffered: true }, async t => {
  for (const nodes of [await startRedis(t), await startCluster(t)]) {
    for (const fault of ['none', 'freeze', 'kill'] as const) {
      const board = boardOf(t, nodes.urls)
      await hears(board, board)
      if (fault !== 'none') for (const i of nodes.urls.keys()) await nodes[fault](i)
      const reading = board.read('knowledge:{x}')
      board.pin('knowledge:{x}', 'a text', 60)
      const begin = performance.now()
      await t.resolves(board.close())
      t.ok(performance.now() - begin < slackMs, fault)
      if (fault !== 'none') t.equal(await reading, undefined)
      board.pin('knowledge:{x}', 'a text', 60)
      board.tell(channel, 'a message')
      board.hear('passerelle:other', () => {})
      t.equal(await board.read('knowledge:{x}'), undefined)
      await t.resolves(board.close(), 'twice')
      if (fault === 'freeze') for (const i of nodes.urls.keys()) nodes.thaw(i)
    }
  }
})

t.test('what is closed keeps no process up, in whatever state its Redis was', { buffered: true }, async t => {
  const cluster = await startCluster(t)
  const program = `
    const { redisNoticeboard } = await import(${JSON.stringify(new URL('../../src/adapters/redis-noticeboard.ts', import.meta.url).href)})
    const boards = Array.from({ length: 20 }, () => redisNoticeboard({ urls: ${JSON.stringify(cluster.urls)} }))
    for (const board of boards) board.hear('c', () => {})
    await new Promise(resolve => setTimeout(resolve, 1300))
    process.stdout.write('open')
    await once(process.stdin, 'data')
    process.stdin.destroy()
    for (const board of boards) await board.close()`
  for (const fault of ['none', 'freeze', 'kill'] as const) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', `import { once } from 'node:events'\n${program}`], { stdio: ['pipe', 'pipe', 'inherit'] })
    t.teardown(() => child.kill('SIGKILL'))
    const ended = once(child, 'exit')
    await once(child.stdout, 'data')
    if (fault !== 'none') for (const i of cluster.urls.keys()) await cluster[fault](i)
    await pause(1200)                                                    // it looks at its nodes each second
    child.stdin.end('close')
    t.same(await Promise.race([ended, pause(15_000, 'it is still up', { ref: false })]), [0, null], fault)
    if (fault === 'freeze') for (const i of cluster.urls.keys()) cluster.thaw(i)
  }
})

t.test('a board without anybody to tell needs none', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const board = redisNoticeboard({ urls: redis.urls })
  t.teardown(() => board.close())
  await keeps(board, board)
  await redis.kill(0)
  t.equal(await board.read('knowledge:{x}'), undefined)
  await pause(300)
})

t.test('a replica that is alone reads nothing, hears nothing and fails at nothing', { buffered: true }, async t => {
  const heard: string[] = []
  loneNoticeboard.hear(channel, message => { heard.push(message) })
  loneNoticeboard.tell(channel, 'a message')
  t.equal(await loneNoticeboard.pin('knowledge:{x}', 'a text', 60), true, 'and has nothing to try again')
  t.equal(await loneNoticeboard.read('knowledge:{x}'), undefined)
  t.same(heard, [])
  await t.resolves(loneNoticeboard.close())
})

t.after(() => {
  if (unhandled.length > 0) throw new Error(`nobody handled ${[...new Set(unhandled)].join('; ')}`)
})
