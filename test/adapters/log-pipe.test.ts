import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { logPipe } from '../../src/adapters/log-pipe.ts'
import { temporaryDirectory } from '../support/gateway.ts'

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** A real pipe that refuses when it is full, and what can be read from it at once. */
function pipe (t: Test) {
  const path = join(temporaryDirectory(t), 'pipe')
  spawnSync('mkfifo', [path])
  const reader = openSync(path, O_RDONLY | O_NONBLOCK)
  const writer = openSync(path, O_WRONLY | O_NONBLOCK)
  t.teardown(() => closeSync(writer))
  const buffer = Buffer.alloc(1 << 20)
  const read = () => {
    try { return buffer.toString('utf8', 0, readSync(reader, buffer)) } catch { return '' }
  }
  return { writer, read, stopReading: () => closeSync(reader) }
}

const line = (number: number) => `${JSON.stringify({ number, msg: 'é'.repeat(100) })}\n`
const numbersIn = (text: string) => text.split('\n').filter(Boolean).map(line => (JSON.parse(line) as { number: number }).number)
const count = (log: ReturnType<typeof logPipe>) => {
  let lines = 0
  log.onLost(more => { lines += more })
  return () => lines
}
const upTo = (count: number) => Array.from({ length: count }, (_, number) => number)

t.test('where nobody reads, as much is held as may be, the rest is dropped and counted, and what was held arrives in order when somebody does', async t => {
  const { writer, read } = pipe(t)
  const log = logPipe(writer, { mostBytes: 200_000 })
  const lost = count(log)
  for (const number of upTo(2000)) log.write(line(number))               // 450 kB
  const dropped = lost()
  t.ok(dropped > 500 && dropped < 1500, `${dropped}: what is more than may be held`)
  const left = await log.flush(200)
  t.ok(left > 0 && left + dropped < 2000, `${left} are held: the pipe has the others`)

  let text = ''
  const reading = setInterval(() => { text += read() }, 5)
  t.teardown(() => clearInterval(reading))
  t.equal(await log.flush(10_000), 0)
  log.write(line(2000))
  t.equal(await log.flush(10_000), 0)
  text += read()
  t.strictSame(numbersIn(text), [...upTo(2000 - dropped), 2000], 'every line that was not counted as lost is there, whole')
  t.equal(lost(), dropped)
})

t.test('a reader that is slow loses nothing', async t => {
  const { writer, read } = pipe(t)
  const log = logPipe(writer)
  const lost = count(log)
  let text = ''
  const reading = setInterval(() => { text += read() }, 20)
  t.teardown(() => clearInterval(reading))
  for (const number of upTo(2000)) log.write(line(number))
  t.equal(await log.flush(10_000), 0)
  text += read()
  t.strictSame(numbersIn(text), upTo(2000))
  t.equal(lost(), 0)
})

t.test('a process that has nothing else to do ends, its last line written', t => {
  const program = `import { logPipe } from '${new URL('../../src/adapters/log-pipe.ts', import.meta.url)}'; const log = logPipe(1); log.write('first\\n'); setTimeout(() => log.write('last\\n'), 1)`
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8', timeout: 20_000 })
  t.match({ status, stdout }, { status: 0, stdout: 'first\nlast\n' })
  t.end()
})

t.test('where the reader has gone, every line is counted: those that were held and those that come', async t => {
  const { writer, read, stopReading } = pipe(t)
  const log = logPipe(writer)
  for (const number of upTo(2000)) log.write(line(number))
  await log.flush(100)
  const taken = read().split('\n').length - 1
  await log.flush(1)
  stopReading()
  t.equal(await log.flush(10_000), 0, 'nothing is waited for')
  const lost = count(log)                                                // who asks later is told as well
  const inThePipe = 2000 - taken - lost()
  t.ok(lost() > 0 && inThePipe >= 0 && inThePipe <= 65_536 / line(0).length, `${taken} taken, ${lost()} lost, ${inThePipe} in the pipe`)
  const before = lost()
  log.write(line(0))
  t.equal(lost(), before + 1)
})

t.test('a full disk stops nobody, holds no more than may be, and is counted', async t => {
  const full = openSync('/dev/full', O_WRONLY)
  t.teardown(() => closeSync(full))
  const most = 200
  const log = logPipe(full, { mostBytes: most * Buffer.byteLength(line(100)) })
  const lost = count(log)
  for (let n = 0; n < 1000; n++) log.write(line(100))
  t.equal(await log.flush(200), most, 'to the last byte')
  t.equal(lost(), 1000 - most, 'each is held or counted')
})
