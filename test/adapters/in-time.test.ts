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
