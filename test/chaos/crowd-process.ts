import { connect, type Socket } from 'node:net'
import { parseArgs } from 'node:util'
import type { Answered } from './crowd.ts'
import { percentile } from './figures.ts'

// A crowd in a process of its own, as cheap to it as can be: requests by GET over connections that are kept, at each address that is named in turn; in these every `*` is another word each
// time. At a rate, whatever becomes of earlier ones, or without one as fast as they are answered. Told to end it says what it was answered, in one line of JSON.

const { values, positionals: addresses } = parseArgs({ allowPositionals: true, options: { rate: { type: 'string', default: '0' }, connections: { type: 'string', default: '64' } } })
const [rate, mostConnections] = [Number(values.rate), Number(values.connections)]

const questions = addresses.map(address => {
  const { hostname, port, host, pathname, search } = new URL(address)
  return { hostname, port: Number(port), path: pathname, text: `GET ${pathname}${search} HTTP/1.1\r\nhost: ${host}\r\naccept: text/html\r\naccept-language: fr\r\n\r\n` }
})
type Question = typeof questions[number]

const answers = new Map<string, { path: string, status: number, times: number[] }>()
let unanswered = 0
let asked = 0
const began = performance.now()

const wayTo = new Map(questions.map(({ port }) => [port, { idle: [] as Asker[], open: 0 }]))
const anotherWord = () => Math.random().toString(36).slice(2)
type Asker = (question: Question) => void

function goOn () {
  const question = questions[asked++ % questions.length]!
  const way = wayTo.get(question.port)!
  const ask = way.idle.pop() ?? (way.open < mostConnections ? newAsker(question) : undefined)
  if (ask === undefined) unanswered++
  else ask(question)
}

/** One connection: it asks, hears the answer, and is free again. */
function newAsker ({ hostname, port }: Question): Asker {
  const way = wayTo.get(port)!
  way.open++
  let socket: Socket | undefined
  let waiting: { question: Question, at: number } | undefined
  let head = ''
  let missing = 0

  const ask: Asker = question => {
    waiting = { question, at: performance.now() }
    socket ??= connect({ host: hostname, port, noDelay: true }).on('data', hear).on('error', () => {}).on('close', lose)
    socket.write(question.text.replaceAll('*', anotherWord))
  }

  function hear (chunk: Buffer) {
    if (missing > 0) missing -= chunk.length
    else {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n') + 4
      if (end < 4) return
      missing = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0) - (head.length - end)
    }
    if (missing > 0 || waiting === undefined) return
    const { question: { path }, at } = waiting
    const status = Number(head.slice('HTTP/1.1 '.length, 'HTTP/1.1 000'.length))
    const same = answers.get(`${status} ${path}`) ?? { path, status, times: [] }
    answers.set(`${status} ${path}`, same)
    same.times.push(performance.now() - at)
    rest()
  }

  function lose () {
    socket = undefined
    if (waiting === undefined) return
    unanswered++
    rest()
  }

  function rest () {
    waiting = undefined
    head = ''
    missing = 0
    way.idle.push(ask)
    if (rate === 0) setImmediate(goOn)
  }
  return ask
}

if (rate === 0) for (let i = 0; i < mostConnections; i++) goOn()
else setInterval(() => { while (asked < (performance.now() - began) * rate / 1000) goOn() }, 1)

process.once('SIGTERM', () => {
  const figures = [...answers.values()].map(({ path, status, times }): Answered => ({ path, status, count: times.length, p50: percentile(times, 0.5)!, p95: percentile(times, 0.95)!, p99: percentile(times, 0.99)!, max: percentile(times, 1)! }))
  process.stdout.write(`${JSON.stringify({ unanswered, answers: figures })}\n`, () => process.exit())
})
