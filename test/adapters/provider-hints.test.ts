import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { keyringSealer } from '../../src/adapters/keyring-sealer.ts'
import { providerHints } from '../../src/adapters/provider-hints.ts'
import { loneNoticeboard } from '../../src/adapters/redis-noticeboard.ts'
import type { Noticeboard, Sealer } from '../../src/ports.ts'
import { life } from '../../src/records.ts'

// The clock of this process stands still, and goes ahead as a test says.
const begin = Math.round(performance.now())
let aheadMs = 0
performance.now = () => begin + aheadMs
t.afterEach(() => { aheadMs = 0 })

const seconds = 1000
const start = 1771000000
const now = () => start + Math.floor(aheadMs / seconds)
const issuer = 'https://passerelle.example'
const sealerOf = (key = createSecretKey(randomBytes(32)), by = issuer) => keyringSealer({ issuer: by, keys: () => [{ kid: 'one', key, nbf: 0 }], now })

/** A noticeboard on which everybody hears everybody, themselves too; all replicas have one keyring. */
function board () {
  const listeners: Array<{ from: string, listener: (message: string) => void }> = []
  const told: Array<{ to: string, message: string }> = []
  const noticeboard: Noticeboard = {
    ...loneNoticeboard,
    tell (to, message) {
      told.push({ to, message })
      for (const { from, listener } of listeners) if (from === to) listener(message)
    },
    hear (from, listener) { listeners.push({ from, listener }) }
  }
  const sealer = sealerOf()
  const channel = () => listeners[0]!.from
  /** A hint of a replica of that name, by the keyring of all unless another is given. */
  const hintOf = (replica: string, idp: string, by: Sealer = sealer, exp = now() + life.hint) => by.seal('hint', channel(), { replica, idp }, exp)
  return { noticeboard, sealer, told, channel, hintOf, tell: (message: string) => noticeboard.tell(channel(), message) }
}

/** A replica that knows some providers. */
function replica ({ noticeboard, sealer }: ReturnType<typeof board>, known = ['impots', 'ameli'], of = issuer) {
  const taken: string[] = []
  const counted: string[] = []
  const hint = providerHints({ issuer: of, board: noticeboard, sealer, now, knows: idp => known.includes(idp), take: idp => taken.push(idp), count: (idp, way) => counted.push(`${idp} ${way}`) })
  return { taken, counted, hint }
}

const other = 'AAAAAAAAAAA0'

t.test('what is no hint of ours is passed over, whoever put it there, and never an error', async t => {
  const on = board()
  const { taken, counted } = replica(on)
  const hint = on.hintOf(other, 'impots')
  const key = createSecretKey(randomBytes(32))
  const table: Array<[what: string, message: string]> = [
    ...['', ' ', 'null', '{}', 'impots', '\u0000', '\ud800', '...', '1.one.1.A', 'A'.repeat(1_000_000), '.'.repeat(1_000_000)].map((message): [string, string] => ['no seal at all', message]),
    ['not sealed', JSON.stringify({ replica: other, idp: 'impots' })],
    ['not sealed, in the form of a sealed one', `1.one.${start + 60}.${Buffer.from(JSON.stringify({ replica: other, idp: 'impots' })).toString('base64url')}`],
    ['by a key of somebody else', on.hintOf(other, 'impots', sealerOf(key))],
    ['of another kind', on.sealer.seal('logout', on.channel(), { client_id: other, state: 'impots' }, start + 60)],
    ['what a provider published', on.sealer.seal('knowledge', on.channel(), { at: start, value: { replica: other, idp: 'impots' } }, start + 60)],
    ['of another place', on.sealer.seal('hint', `${on.channel()}x`, { replica: other, idp: 'impots' }, start + 60)],
    ['that has expired', on.hintOf(other, 'impots', on.sealer, start)],
    ['cut', hint.slice(0, -1)],
    ['with more behind it', `${hint}A`],
    ['with a space', `${hint} `],
    ['two of them', `${hint}${hint}`],
    ['turned', hint.replace(/.$/, last => last === 'A' ? 'B' : 'A')],
    ['with a later end', hint.replace(String(start + life.hint), String(start + life.hint + 60))]
  ]
  for (const [what, message] of table) {
    t.doesNotThrow(() => on.tell(message), what)
    t.strictSame([taken, counted], [[], []], what)
  }
  on.tell(hint)
  t.strictSame([taken, counted], [['impots'], ['impots taken']], 'and a true one is still heard')
})

t.test('a hint that is told again when two minutes have passed is none', async t => {
  const on = board()
  const { taken } = replica(on)
  const hint = on.hintOf(other, 'impots')
  on.tell(hint)
  aheadMs = life.hint * seconds - 1
  on.tell(hint)
  t.equal(taken.length, 2)
  aheadMs = (life.hint + 120) * seconds
  on.tell(hint)
  t.equal(taken.length, 2)
})

t.test('a hint about a provider that nobody here knows is not even counted: metrics have labels of their own only', async t => {
  const on = board()
  const { taken, counted } = replica(on)
  for (const idp of ['msa', 'made-up-1', 'made-up-2', 'constructor', '__proto__', 'impots2', 'impot', 'IMPOTS', '']) on.tell(on.hintOf(other, idp))
  t.strictSame([taken, counted], [[], []])
})

t.test('a replica does not take its own hint', async t => {
  const on = board()
  const { taken, counted, hint } = replica(on)
  hint('impots')
  t.strictSame([taken, counted, on.told.length], [[], ['impots given'], 1])
})

t.test('what one replica gives every other takes that knows the provider', async t => {
  const on = board()
  const [one, two, three] = [replica(on), replica(on), replica(on, ['ameli'])]
  one.hint('impots')
  t.strictSame([one.counted, two.counted, three.counted], [['impots given'], ['impots taken'], []])
  t.strictSame([one.taken, two.taken], [[], ['impots']])
  two.hint('ameli')
  t.strictSame([one.taken, two.taken, three.taken], [['ameli'], ['impots'], ['ameli']])
})

t.test('two gateways that share a Redis do not hear each other', async t => {
  const on = board()
  const [one, two] = [replica(on), replica(on, ['impots'], `${issuer}/test`)]
  one.hint('impots')
  t.strictSame([two.taken, two.counted], [[], []])
  t.notMatch(on.told[0]!.to, 'passerelle.example', 'and the channel does not name them')
})

t.test('a hint shows nothing to whoever reads along', async t => {
  const on = board()
  for (const { hint } of Array.from({ length: 20 }, () => replica(on))) hint('impots')
  t.equal(new Set(on.told.map(({ message }) => message)).size, 20)
  for (const { message } of on.told) {
    t.match(message, new RegExp(`^1\\.one\\.${start + 120}\\.[A-Za-z0-9_-]{30,200}$`))
    t.notMatch(Buffer.from(message.split('.')[3]!, 'base64url').toString('latin1'), 'impots')
  }
  const names = on.told.map(({ message }) => on.sealer.open('hint', on.channel(), message)?.record)
  for (const record of names) t.match(record, { idp: 'impots', replica: /^[A-Za-z0-9_-]{12}$/ })
  t.equal(new Set(names.map(record => record?.replica)).size, 20)
})

t.test('a replica gives one hint in thirty seconds for each provider', async t => {
  const on = board()
  const { counted, hint } = replica(on)
  for (const [ms, idp] of [[0, 'impots'], [0, 'impots'], [0, 'ameli'], [30 * seconds - 1, 'impots'], [30 * seconds, 'impots'], [30 * seconds, 'ameli'], [59 * seconds, 'impots'], [60 * seconds, 'impots']] as const) {
    aheadMs = ms
    hint(idp)
  }
  t.strictSame(counted, ['impots given', 'ameli given', 'impots given', 'ameli given', 'impots given'])
  t.equal(on.told.length, 5)
})

t.test('one replica is listened to once in half a minute for each provider: a sick one keeps nobody on edge', async t => {
  const on = board()
  const { taken, counted } = replica(on)
  for (aheadMs = 0; aheadMs < 30 * seconds; aheadMs += 1 * seconds) on.tell(on.hintOf(other, 'impots'))
  t.strictSame([taken, counted], [['impots'], ['impots taken', ...Array<string>(29).fill('impots ignored')]])
  on.tell(on.hintOf(other, 'impots'))
  t.equal(taken.length, 2, 'after that it is heard again')
  aheadMs = 60 * seconds - 1
  on.tell(on.hintOf(other, 'impots'))
  t.equal(taken.length, 2, 'once, as of when it was heard')
  on.tell(on.hintOf(other, 'ameli'))
  t.strictSame(taken, ['impots', 'impots', 'ameli'], 'another provider is another matter')
})

t.test('being ignored does not make the time any longer', async t => {
  const on = board()
  const { taken } = replica(on)
  for (aheadMs = 0; aheadMs <= 90 * seconds; aheadMs += 15 * seconds) on.tell(on.hintOf(other, 'impots'))
  t.equal(taken.length, 4)
})

t.test('of many replicas one is listened to in ten seconds for each provider', async t => {
  const on = board()
  const { taken, counted } = replica(on)
  const sender = (i: number) => String(i).padStart(12, '0')
  for (let i = 0; i < 10; i++) on.tell(on.hintOf(sender(i), 'impots'))
  t.strictSame([taken, counted.length], [['impots'], 10])
  on.tell(on.hintOf(sender(0), 'ameli'))
  t.strictSame(taken, ['impots', 'ameli'])
  aheadMs = 10 * seconds - 1
  on.tell(on.hintOf(sender(1), 'impots'))
  t.equal(taken.length, 2)
  aheadMs = 10 * seconds
  on.tell(on.hintOf(sender(0), 'impots'))
  t.equal(taken.length, 2, 'not the one that was heard')
  on.tell(on.hintOf(sender(1), 'impots'))
  t.equal(taken.length, 3, 'who was passed over is heard')
})

t.test('of a thousand senders the oldest are forgotten, not those that were heard last', async t => {
  const on = board()
  const { taken, counted } = replica(on, Array.from({ length: 1200 }, (_, i) => `idp-${i}`))
  const many = 500                                                     // a sender and a provider each
  for (let i = 0; i < many; i++) on.tell(on.hintOf(other, `idp-${i}`))
  t.equal(taken.length, many)
  aheadMs = 11 * seconds
  for (let i = 0; i < many; i++) on.tell(on.hintOf(other, `idp-${i}`))
  t.equal(taken.length, many, 'all of them are known')
  on.tell(on.hintOf(other, 'idp-1000'))
  on.tell(on.hintOf(other, 'idp-1'))
  t.equal(taken.length, many + 1, 'the second still is')
  on.tell(on.hintOf(other, 'idp-0'))
  t.equal(taken.length, many + 2, 'the first was forgotten for one more')
  t.equal(counted.length, 2 * many + 3)

  aheadMs = 80 * seconds
  on.tell(on.hintOf(other, 'idp-2'))
  for (let i = 501; i < 1000; i++) on.tell(on.hintOf(other, `idp-${i}`))
  const before = taken.length
  aheadMs = 100 * seconds
  on.tell(on.hintOf(other, 'idp-2'))
  t.equal(taken.length, before, 'who was heard a second time is as new as that')
})
