import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { afterlife, leadSeconds, publishedMaxAge } from '../src/adapters/key-schedule.ts'
import { longest } from '../src/config/schema.ts'
import { KeysError, listKeys, makeNextKeys, retireKeys, revokeKey, runCommand } from '../src/keys.ts'
import { replicaClockTolerance } from '../src/protocol/clock.ts'
import { life } from '../src/records.ts'
import { temporaryDirectory } from './support/gateway.ts'

const now = 1_800_000_000
const hour = 3600
const day = 86_400

const members = { sealing: { kty: 'oct', use: 'enc', alg: 'A256GCM' }, signing: { kty: 'EC', use: 'sig', alg: 'ES256' }, decryption: { kty: 'EC', use: 'enc', alg: 'ECDH-ES' } }
type Kind = keyof typeof members

/** A directory with a key for each of these times; what they are made of is nobody's business here. */
function keysOf (t: Test, kind: Kind, times: Record<string, number>) {
  const directory = temporaryDirectory(t)
  for (const [kid, nbf] of Object.entries(times)) writeFileSync(join(directory, `${kid}.json`), JSON.stringify({ kid, nbf, ...members[kind], d: 'a secret', k: 'a secret' }))
  writeFileSync(join(directory, 'subject.json'), '{"kty":"oct","k":"the subject secret"}')
  return directory
}
const statesIn = (directory: string, at = now) => Object.fromEntries(listKeys(directory, at).map(({ kid, state }) => [kid, state]))

t.test('a key waits, is in force, is retired, is dead: by the clock and by the next of its kind', async t => {
  const rows: Array<[what: string, kind: Kind, times: Record<string, number>, states: Record<string, string>]> = [
    ['one alone', 'signing', { a: now - 400 * day }, { a: 'in force' }],
    ['one alone whose time has not come is used all the same', 'signing', { a: now + hour }, { a: 'in force' }],
    ['of two to come the first', 'sealing', { a: now + hour, b: now + 2 * hour }, { a: 'in force', b: 'waiting' }],
    ['the next waits', 'sealing', { a: now - day, b: now + 1 }, { a: 'in force', b: 'waiting' }],
    ['from its first second it is in force', 'sealing', { a: now - day, b: now }, { a: 'retired', b: 'in force' }],
    ['retired until the last second', 'sealing', { a: now - 9 * day, b: now - afterlife.sealing + 1 }, { a: 'retired', b: 'in force' }],
    ['and then dead', 'sealing', { a: now - 9 * day, b: now - afterlife.sealing }, { a: 'dead', b: 'in force' }],
    ['a signing key as long as a session', 'signing', { a: now - 90 * day, b: now - afterlife.signing + 1 }, { a: 'retired', b: 'in force' }],
    ['and then dead', 'signing', { a: now - 90 * day, b: now - afterlife.signing }, { a: 'dead', b: 'in force' }],
    ['a decryption key for a week', 'decryption', { a: now - 90 * day, b: now - afterlife.decryption + 1 }, { a: 'retired', b: 'in force' }],
    ['and then dead', 'decryption', { a: now - 90 * day, b: now - afterlife.decryption }, { a: 'dead', b: 'in force' }],
    ['however old the last one is', 'sealing', { a: now - 90 * day, b: now - 80 * day, c: now - 70 * day }, { a: 'dead', b: 'dead', c: 'in force' }]
  ]
  for (const [what, kind, times, states] of rows) {
    const directory = keysOf(t, kind, times)
    t.same(statesIn(directory), states, `${kind}: ${what}`)
    const dead = Object.keys(states).filter(kid => states[kid] === 'dead')
    t.same(retireKeys(directory, now), dead.map(kid => `${kid}.json`), 'only the dead are removed')
    t.same(readdirSync(directory).sort(), [...Object.keys(states).filter(kid => !dead.includes(kid)).map(kid => `${kid}.json`), 'subject.json'].sort())
    t.same(statesIn(directory), Object.fromEntries(Object.entries(states).filter(([, state]) => state !== 'dead')), 'and the others stand as they stood')
  }
})

t.test('keys of one kind say nothing of another', async t => {
  const directory = keysOf(t, 'sealing', { s: now - 9 * day })
  for (const [kid, alg, nbf] of [['e1', 'ES256', now - 90 * day], ['e2', 'ES256', now - 30 * day], ['r', 'RS256', now - 60 * day]]) writeFileSync(join(directory, `${kid}.json`), JSON.stringify({ ...members.signing, kid, alg, nbf }))
  t.same(statesIn(directory), { s: 'in force', e1: 'dead', e2: 'in force', r: 'in force' })
})

t.test('what the schedule promises is as long as what it is about', async t => {
  t.ok(leadSeconds >= publishedMaxAge + 15 * 60, 'a key reaches every replica, and then every client\'s cache')
  t.ok(afterlife.published > life.idToken)
  t.ok(afterlife.signing > life.session)
  t.ok(life.recall >= life.session + longest.access_token_seconds + 2 * replicaClockTolerance, 'what is called back outlives all that it may be of')
  const { idToken, session, ...sealed } = life
  for (const [kind, seconds] of Object.entries(sealed)) t.ok(afterlife.sealing > seconds, kind)
})

t.test('the first of each kind is in force at once, the next after the lead, and an hourly job makes no more than that', async t => {
  const directory = join(temporaryDirectory(t), 'keys')
  const first = makeNextKeys(directory, now)
  t.equal(first.length, 8)
  t.same(new Set(listKeys(directory, now).map(({ state }) => state)), new Set(['in force']))
  const subject = readFileSync(join(directory, 'subject.json'), 'utf8')
  t.same(makeNextKeys(directory, now + hour, { ifDue: true }), [], 'nothing is due')

  const second = makeNextKeys(directory, now + 2 * hour)
  t.equal(second.length, 7, 'whoever asks for the next ones gets them')
  for (const key of listKeys(directory, now + 2 * hour).filter(({ state }) => state === 'waiting')) t.equal(key.nbf, now + 2 * hour + leadSeconds, key.alg)
  t.same(makeNextKeys(directory, now + 2 * hour), [], 'once')
  t.same(makeNextKeys(directory, now + 2 * hour + leadSeconds - 1, { ifDue: true }), [], 'they wait')

  t.equal(readFileSync(join(directory, 'subject.json'), 'utf8'), subject, 'the secret behind sub never changes')
  for (const file of readdirSync(directory)) {
    t.equal(statSync(join(directory, file)).mode & 0o777, 0o600, `${file} is its owner's`)
    t.match(file, /^[\w-]+\.json$/, 'nothing half made is left')
  }
  t.equal(statSync(directory).mode & 0o777, 0o700)
})

t.test('sealing keys are due daily, others monthly, each so early that it is there in time', async t => {
  const periods: Array<[Kind, number]> = [['sealing', day], ['signing', 30 * day], ['decryption', 30 * day]]
  for (const [kind, period] of periods) {
    const directory = keysOf(t, kind, { a: now })
    const { alg } = members[kind]
    // every other algorithm has a key that is not due
    for (const other of ['RS256', 'PS256', 'EdDSA', 'RSA-OAEP-256', 'ES256', 'ECDH-ES']) if (other !== alg) writeFileSync(join(directory, `${other}.json`), JSON.stringify({ kid: other, alg: other, nbf: now + period, kty: 'RSA' }))
    if (kind !== 'sealing') writeFileSync(join(directory, 'oct.json'), JSON.stringify({ kid: 'oct', nbf: now + period, ...members.sealing }))
    const early = now + period - leadSeconds - hour
    t.same(makeNextKeys(directory, early - 1, { ifDue: true }), [], `${kind}: not yet`)
    const made = makeNextKeys(directory, early, { ifDue: true, lead: leadSeconds })
    t.equal(made.length, 1, `${kind}: due`)
    t.equal(listKeys(directory, early).find(({ state, alg: its }) => its === alg && state === 'waiting')?.nbf, early + leadSeconds)
    t.same(makeNextKeys(directory, early + hour, { ifDue: true }), [], `${kind}: the next hour there is nothing to do`)
  }
})

t.test('where replicas get files late, the lead is longer, never shorter; and force makes one more', async t => {
  const directory = keysOf(t, 'signing', { a: now - day })
  runCommand(['next', directory, '--lead', '7200'], now)
  t.equal(listKeys(directory, now).find(({ alg, state }) => alg === 'ES256' && state === 'waiting')?.nbf, now + 7200)
  t.throws(() => runCommand(['next', directory, '--lead', '60'], now), { name: 'KeysError', message: /^--lead: expected 1500 seconds or more/ })
  t.throws(() => runCommand(['next', directory, '--lead', 'soon'], now), KeysError)
  runCommand(['next', directory, '--force'], now + 60)
  t.equal(listKeys(directory, now).filter(({ alg, state }) => alg === 'ES256' && state === 'waiting').length, 2)
})

t.test('a revoked key is gone, and another is in force in the same moment', async t => {
  const rows: Array<[what: string, times: Record<string, number>, kid: string, after: Record<string, string>, successor: 'new' | string | undefined]> = [
    ['the one in force, alone', { a: now - day }, 'a', {}, 'new'],
    ['the one in force, with its next: that one, which clients know', { a: now - day, b: now + hour, c: now + day }, 'a', { b: 'in force', c: 'waiting' }, 'b'],
    ['the one in force, with a retired one: that does not come back', { a: now - 2 * day, b: now - hour }, 'b', { a: 'retired' }, 'new'],
    ['the only one, before its time', { a: now + hour }, 'a', {}, 'new'],
    ['a waiting one', { a: now - day, b: now + hour }, 'b', { a: 'in force' }, undefined],
    ['a retired one', { a: now - day, b: now - hour }, 'a', { b: 'in force' }, undefined],
    ['a dead one', { a: now - 9 * day, b: now - 8 * day }, 'a', { b: 'in force' }, undefined]
  ]
  for (const [what, times, kid, after, expected] of rows) {
    const directory = keysOf(t, 'sealing', times)
    const { revoked, successor } = revokeKey(directory, kid, now)
    t.equal(revoked.kid, kid, what)
    const keys = listKeys(directory, now)
    const made = keys.filter(key => !(key.kid in times))
    t.same(Object.fromEntries(keys.filter(key => key.kid in times).map(key => [key.kid, key.state])), after, `${what}: what is left`)
    t.equal(made.length, expected === 'new' ? 1 : 0)
    t.equal(successor, expected === 'new' ? made[0]!.file : expected && `${expected}.json`)
    if (successor !== undefined) t.match(keys.find(({ file }) => file === successor), { state: 'in force', nbf: now })
    t.same(readdirSync(directory).filter(file => !file.endsWith('.json')), [], 'nothing half written is left')
  }
})

t.test('of a revoked key no copy is left, under whatever name', async t => {
  const directory = keysOf(t, 'sealing', { a: now - day, b: now + hour })
  for (const name of ['0', 'a-old']) writeFileSync(join(directory, `${name}.json`), readFileSync(join(directory, 'a.json')))
  const said = runCommand(['revoke', directory, 'a'], now).join('\n')
  t.same(readdirSync(directory).sort(), ['b.json', 'subject.json'])
  for (const name of ['0', 'a', 'a-old']) t.ok(said.includes(`removed ${join(directory, `${name}.json`)}`))
  t.same(statesIn(directory), { b: 'in force' })
})

t.test('where there are keys, a secret behind sub that is gone is not made anew', async t => {
  const directory = keysOf(t, 'sealing', { a: now - day })
  rmSync(join(directory, 'subject.json'))
  for (const flags of [[], ['--if-due'], ['--force']]) t.throws(() => runCommand(['next', directory, ...flags], now), { name: 'KeysError', message: `${join(directory, 'subject.json')}: expected the secret behind sub, which cannot be made anew: put back the one that was kept` })
  t.same(readdirSync(directory), ['a.json'])
})

t.test('a key that does not go on the disk whole is not there, and the command says so', async t => {
  const directory = temporaryDirectory(t)
  const { status, stderr } = spawnSync('sh', ['-c', 'unset NODE_OPTIONS; ulimit -f 1; exec "$0" "$@"', process.execPath, fileURLToPath(new URL('../src/keys.ts', import.meta.url)), 'next', directory], { encoding: 'utf8' })
  t.equal(status, 1)
  t.match(stderr, /\.json: cannot be written \(EFBIG\)\n$/)
  t.same(readdirSync(directory), ['subject.json'])
})

t.test('revoking says what it costs and how to see that it has arrived; what cannot be revoked is refused', async t => {
  const costs: Array<[Kind, RegExp]> = [['signing', /fetch our keys again/], ['sealing', /starts again/], ['decryption', /identity providers that encrypt for us/]]
  for (const [kind, cost] of costs) {
    const said = runCommand(['revoke', keysOf(t, kind, { a: now - day, b: now + hour }), 'a'], now).join('\n')
    t.match(said, cost, kind)
    t.match(said, /b\.json/)
    t.match(said, /passerelle_configuration_info/)
    t.notMatch(said, /a secret/)
  }
  const directory = keysOf(t, 'signing', { a: now })
  for (const kid of ['b', 'subject', 'subject.json', '../a']) t.throws(() => revokeKey(directory, kid, now), { name: 'KeysError', message: /no such key/ }, kid)
  t.same(readdirSync(directory).sort(), ['a.json', 'subject.json'])
})

t.test('the list shows every key with its times, and no secret', async t => {
  const directory = keysOf(t, 'sealing', { old: now - 3 * day, before: now - 2 * day, mine: now - hour, next: now + hour })
  const lines = runCommand(['list', directory], now)
  t.match(lines[0], /^kind +alg +kid +state +used from +until +dead from$/)
  t.match(lines[1], /^sealing +A256GCM +old +dead +2027-01-12T08:00:00Z +2027-01-13T08:00:00Z +2027-01-14T08:15:00Z$/)
  t.match(lines[3], /mine +in force +2027-01-15T07:00:00Z +2027-01-15T09:00:00Z +2027-01-16T09:15:00Z$/)
  t.match(lines[4], /next +waiting +2027-01-15T09:00:00Z +- +-$/)
  t.equal(lines.length, 5)
  t.notMatch(lines.join(), /secret/)
})

t.test('a command that is none, a directory that is none, and a file that is no key are said by name, never by content', async t => {
  for (const args of [[], ['next'], ['list'], ['turn', '/tmp'], ['revoke', '/tmp'], ['list', '/tmp', 'kid'], ['next', '/tmp', '--soon']]) t.throws(() => runCommand(args, now), { name: 'KeysError', message: /^usage: npm run keys/ }, args.join(' '))
  t.throws(() => runCommand(['list', '/nowhere/at/all'], now), { message: '/nowhere/at/all: not a directory that can be read' })
  for (const content of ['null', '{"kid":"x","k":"hush-hush"', '{"k":"hush-hush"}', '{"kid":"x","alg":"ES256","nbf":"now","d":"hush-hush"}']) {
    const directory = temporaryDirectory(t)
    writeFileSync(join(directory, 'x.json'), content)
    for (const command of [['list', directory], ['next', directory], ['retire', directory], ['revoke', directory, 'x']]) t.throws(() => runCommand(command, now), { name: 'KeysError', message: `${join(directory, 'x.json')}: expected a private JWK with kid, alg and nbf` }, command[0]!)
    t.same(readdirSync(directory), ['x.json'], 'and nothing is done')
  }
  const directory = temporaryDirectory(t)
  mkdirSync(join(directory, 'keys'))
  t.same(runCommand(['retire', join(directory, 'keys')], now), ['nothing to remove: every key is still good for something'])
})
