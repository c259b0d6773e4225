import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { inTime } from '../../src/adapters/in-time.ts'

const late = (milliseconds: number) => new Error(`late after ${milliseconds}`)
const timers = () => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length

t.test('an answer that comes too late is an error, and its own failure later troubles nobody', async t => {
  const { promise, reject } = Promise.withResolvers<string>()
  await t.rejects(inTime(20, promise, late), { message: 'late after 20' })
  reject(new Error('too late to matter'))
  await pause(20)
  await t.rejects(inTime(0, pause(50), late), { message: 'late after 0' }, 'no time at all is a limit, too')
})

t.test('an answer that has arrived counts, though this process was too busy to read it in time', async t => {
  const server = createServer(socket => { socket.write('greeting'); socket.on('data', () => socket.write('answer')) })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => { socket.destroy(); server.close() })
  await once(socket, 'data')
  const busy = (milliseconds: number) => { for (const end = performance.now() + milliseconds; performance.now() < end;); }
  for (let i = 0; i < 10; i++) {
    const answer = once(socket, 'data').then(([data]) => String(data))
    socket.write('question')
    const timed = inTime(40, answer, late)
    await new Promise(resolve => setImmediate(resolve))                  // the server has read it
    await new Promise(resolve => setImmediate(resolve))
    busy(80)
    t.equal(await timed, 'answer')
  }
  const silent = inTime(40, once(socket, 'data'), late)
  busy(80)
  await t.rejects(silent, { message: 'late after 40' }, 'what has not arrived is late')
})

t.test('an answer in time is the answer, a failure the failure, and no timer is left', async t => {
  const before = timers()
  t.equal(await inTime(60_000, Promise.resolve('x'), late), 'x')
  await t.rejects(inTime(60_000, Promise.reject(new Error('its own')), late), { message: 'its own' })
  t.equal(timers(), before)
})

t.test('without a limit there is none', async t => {
  const before = timers()
  const { promise, resolve } = Promise.withResolvers<string>()
  const answer = inTime(undefined, promise, late)
  t.equal(timers(), before)
  await pause(30)
  resolve('x')
  t.equal(await answer, 'x')
})
