import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { JWK } from 'jose'
import { keyInForce } from './adapters/key-in-force.ts'
import { afterlife, leadSeconds, period, retiredAt } from './adapters/key-schedule.ts'
import { callBackKey } from './key-recall.ts'
import type { Encryption, SigningAlgorithm } from './protocol/algorithms.ts'
import { instant } from './protocol/clock.ts'

// npm run keys -- next|list|retire|revoke DIR: the keys in a directory and their schedule (docs/keys.md).

type Kind = 'signing' | 'decryption' | 'sealing'

/** How a key stands: not used yet, used, only good for what it made before, or for nothing. */
export type KeyState = 'waiting' | 'in force' | 'retired' | 'dead'

/** A key as `list` shows it; times are NumericDate, seconds. */
export interface ListedKey {
  file: string
  kind: Kind
  alg: string
  kid: string
  state: KeyState
  nbf: number
  /** end of its use; undefined while no other is to follow */
  retired?: number
  /** end of all that it is good for */
  dead?: number
}

/** Seconds: a job that runs a little earlier than the day before finds it due all the same. */
const earlySeconds = 3600

const subjectFile = 'subject.json'

/** What is wrong with a command or a directory of keys, for operators. */
export class KeysError extends Error { override readonly name = 'KeysError' }

/** The file of a key that is revoked is still there, since it cannot be taken away; with what was done all the same. */
export class KeyStaysError extends KeysError {}

export interface NextOptions {
  /** makes keys even where the next ones wait already */
  force?: boolean
  /** makes only those whose predecessor's time is nearly over */
  ifDue?: boolean
  /** seconds between making and use */
  lead?: number
}

/**
 * Makes the next key of each kind in a directory of keys, unless one waits there already; the first of a kind is in force at once, the others after the lead. The secret behind `sub` is
 * made before all others, where there is no key yet. Answers the files made.
 * @throws {KeysError} where there are keys and the secret is gone: with another, every citizen is a stranger everywhere
 */
export function makeNextKeys (directory: string, now = clock(), { force = false, ifDue = false, lead = leadSeconds }: NextOptions = {}) {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const present = listKeys(directory, now)
  const hasSubject = readdirSync(directory).includes(subjectFile)
  if (!hasSubject && present.length > 0) throw new KeysError(`${join(directory, subjectFile)}: expected the secret behind sub, which cannot be made anew: put back the one that was kept`)
  const written = hasSubject ? [] : [writeSubject(directory)]
  for (const [alg, kind] of Object.entries(makers) as Array<[Alg, Kind]>) {
    const same = present.filter(key => key.alg === alg)
    const newest = same.find(({ state }) => state === 'in force')
    const isWaiting = same.some(({ nbf }) => nbf > now)
    const isDue = newest === undefined || now + lead + earlySeconds >= newest.nbf + period[kind]
    if (force || (!isWaiting && (isDue || !ifDue))) written.push(writeKey(directory, alg, newest === undefined ? now : now + lead))
  }
  return written
}

/** The keys in a directory but for the subject secret, the oldest of each kind first. @throws {KeysError} */
export function listKeys (directory: string, now = clock()): ListedKey[] {
  const keys = keyFiles(directory).sort((a, b) => a.kind.localeCompare(b.kind) || a.alg.localeCompare(b.alg) || a.nbf - b.nbf)
  return keys.map(key => {
    const same = keys.filter(other => other.alg === key.alg)
    const retired = retiredAt(same, key)
    const dead = retired + afterlife[key.kind]
    const state = keyInForce(same, now) === key ? 'in force' : key.nbf > now ? 'waiting' : now < dead ? 'retired' : 'dead'
    return { ...key, state, ...(retired === Infinity ? {} : { retired, dead }) }
  })
}

/** Removes the keys that are good for nothing any more. Answers their files. */
export function retireKeys (directory: string, now = clock()) {
  const dead = listKeys(directory, now).filter(({ state }) => state === 'dead')
  for (const { file } of dead) rmSync(join(directory, file))
  return dead.map(({ file }) => file)
}

/**
 * Takes a key away at once: nothing that it made is believed any more. Where no other would take over that is fit for it, the next one does now: the one that waits, whose
 * public part clients know already, or a new one. It is written first, so that whoever reads in between has a key. Answers also which files `stay`, and why.
 * @throws {KeysError}
 */
export function revokeKey (directory: string, kid: string, now = clock()): { revoked: ListedKey, removed: string[], stay: string[], successor?: string } {
  const keys = listKeys(directory, now)
  const named = keys.filter(key => key.kid === kid)                      // one, and copies of it that somebody left
  const revoked = named.find(({ state }) => state === 'in force') ?? named[0]
  if (revoked === undefined) throw new KeysError(`${kid}: no such key in ${directory}; the subject secret is no key that can be revoked`)
  const waiting = keys.find(({ alg, state, kid: other }) => alg === revoked.alg && state === 'waiting' && other !== kid)
  const removed: string[] = []
  const stay: string[] = []
  let successor: string | undefined
  try {
    if (revoked.state === 'in force') successor = waiting === undefined ? writeKey(directory, revoked.alg as Alg, now) : bringForward(directory, waiting, now)
  } catch (error) {
    if (!(error instanceof KeysError)) throw error
    return { revoked, removed, stay: named.map(({ file }) => `${join(directory, file)} could not be taken away, since its next could not be written (${codeOf(error.cause)})`) }
  }
  for (const { file } of named) {
    try {
      unlinkSync(join(directory, file))                                  // rmSync does not say why, where the file system is read-only
      removed.push(file)
    } catch (error) { stay.push(`${join(directory, file)} could not be taken away (${codeOf(error)})`) }
  }
  return { revoked, removed, stay, ...(successor === undefined ? {} : { successor }) }
}

const clock = () => Math.floor(Date.now() / 1000)
const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code

const pair = ({ privateKey }: { privateKey: KeyObject }) => privateKey.export({ format: 'jwk' }) as JWK
const rsa = () => pair(generateKeyPairSync('rsa', { modulusLength: 2048 }))
const p256 = () => pair(generateKeyPairSync('ec', { namedCurve: 'P-256' }))
const secret = (): JWK => ({ kty: 'oct', k: randomBytes(32).toString('base64url') })

type Alg = SigningAlgorithm | Encryption['alg'] | 'A256GCM'

/** Every algorithm that there is a key for, with what it is for. */
const makers = {
  RS256: 'signing',
  PS256: 'signing',
  ES256: 'signing',
  EdDSA: 'signing',
  'RSA-OAEP-256': 'decryption',
  'ECDH-ES': 'decryption',
  A256GCM: 'sealing'
} as const satisfies Record<Alg, Kind>

function newKey (alg: Alg): JWK {
  switch (alg) {
    case 'RS256':
    case 'PS256': return { use: 'sig', ...rsa() }
    case 'ES256': return { use: 'sig', ...p256() }
    case 'EdDSA': return { use: 'sig', ...pair(generateKeyPairSync('ed25519')) }
    case 'RSA-OAEP-256': return { use: 'enc', ...rsa() }
    case 'ECDH-ES': return { use: 'enc', ...p256() }
    case 'A256GCM': return { use: 'enc', ...secret() }
  }
}

function writeKey (directory: string, alg: Alg, nbf: number) {
  const kid = `${alg.toLowerCase()}-${randomBytes(6).toString('hex')}`
  return write(directory, `${kid}.json`, { kid, alg, nbf, ...newKey(alg) }, renameSync)
}

/** By a link, which fails where there is one already: with another, every citizen is a stranger everywhere. */
const writeSubject = (directory: string) => write(directory, subjectFile, secret(), (made, file) => {
  linkSync(made, file)
  rmSync(made)
})

function bringForward (directory: string, { file }: ListedKey, nbf: number) {
  return write(directory, file, { ...JSON.parse(readFileSync(join(directory, file), 'utf8')), nbf }, renameSync)
}

/** Whole or not at all: nobody reads half a key. */
function write (directory: string, file: string, jwk: object, place: (made: string, file: string) => void) {
  const made = join(directory, `.${file}.${randomBytes(6).toString('hex')}`)  // a job in a container has the same process id each time
  try {
    writeFileSync(made, `${JSON.stringify(jwk, null, 2)}\n`, { flag: 'wx', mode: 0o600, flush: true })
    place(made, join(directory, file))
  } catch (error) {
    rmSync(made, { force: true })
    throw new KeysError(`${join(directory, file)}: cannot be written (${codeOf(error)})`, { cause: error })
  }
  return file
}

function keyFiles (directory: string) {
  let files: string[]
  try { files = readdirSync(directory) } catch { throw new KeysError(`${directory}: not a directory that can be read`) }
  return files.filter(file => file.endsWith('.json') && file !== subjectFile).map(file => {
    let jwk: JWK & { nbf?: number } = {}
    try { jwk = JSON.parse(readFileSync(join(directory, file), 'utf8')) ?? {} } catch { /* V8's message quotes the key */ }
    const { kid, kty, use, nbf } = jwk
    const alg = kty === 'oct' ? 'A256GCM' : jwk.alg
    if (kid === undefined || alg === undefined || !Number.isInteger(nbf)) throw new KeysError(`${join(directory, file)}: expected a private JWK with kid, alg and nbf`)
    const kind: Kind = kty === 'oct' ? 'sealing' : use === 'enc' ? 'decryption' : 'signing'
    return { file, kind, alg, kid, nbf: nbf! }
  })
}

const usage = `usage: npm run keys -- next DIR [--if-due] [--force] [--lead SECONDS]
       npm run keys -- list DIR
       npm run keys -- retire DIR
       npm run keys -- revoke DIR KID [--unlisted]
revoke tells every site: PASSERELLE_CONFIG names the configuration directory; PASSERELLE_REDIS, where it is set, its Redis. --unlisted where the files are gone already`

/** What it costs to take a key away at once. */
const costs: Record<Kind, string> = {
  signing: 'clients refuse what the next key signs until they fetch our keys again, up to ten minutes later; tokens that the revoked one signed are good for nothing, also as id_token_hint',
  sealing: 'every login that the revoked key sealed starts again, pushed requests and DPoP nonces are asked for anew; nobody who has already entered a service is touched',
  decryption: 'logins fail at identity providers that encrypt for us, until they fetch our keys again'
}

/** What a command does to the files, and prints of it. @throws {KeysError} */
export function runCommand (args: string[], now = clock()): string[] {
  const { positionals: [command, directory, kid], values } = readArguments(args)
  if (directory === undefined || (command === 'revoke') !== (kid !== undefined)) throw new KeysError(usage)
  switch (command) {
    case 'next': {
      const lead = values.lead === undefined ? leadSeconds : Number(values.lead)
      if (!(Number.isInteger(lead) && lead >= leadSeconds)) throw new KeysError(`--lead: expected ${leadSeconds} seconds or more: what every replica and every client's cache needs`)
      const made = makeNextKeys(directory, now, { force: values.force ?? false, ifDue: values['if-due'] ?? false, lead })
      return made.length === 0 ? ['nothing to make: the next keys wait already, or are not due'] : made.map(file => `made ${join(directory, file)}`)
    }
    case 'list': return table(listKeys(directory, now))
    case 'retire': {
      const removed = retireKeys(directory, now)
      return removed.length === 0 ? ['nothing to remove: every key is still good for something'] : removed.map(file => `removed ${join(directory, file)}`)
    }
    case 'revoke': {
      if (values.unlisted && listKeys(directory, now).every(key => key.kid !== kid)) return [`${kid}: there is no file of it in ${directory}`]
      const { revoked, removed, stay, successor } = revokeKey(directory, kid!, now)
      const done = [
        ...removed.map(file => `removed ${join(directory, file)}`),
        ...(successor === undefined ? [] : [`in force from now on: ${join(directory, successor)}`]),
        ...(revoked.state === 'waiting' ? [] : [`what this costs: ${costs[revoked.kind]}`])
      ]
      if (stay.length > 0) throw new KeyStaysError([...done, ...stay.map(why => `${why}: it has to go from what ${directory} is made from`)].join('\n'))
      return [...done, 'the files are everywhere when passerelle_configuration_info shows the same hash on all replicas']
    }
    default: throw new KeysError(usage)
  }
}

function readArguments (args: string[]) {
  try {
    return parseArgs({ args, allowPositionals: true, options: { 'if-due': { type: 'boolean' }, force: { type: 'boolean' }, unlisted: { type: 'boolean' }, lead: { type: 'string' } } })
  } catch { throw new KeysError(usage) }
}

function table (keys: ListedKey[]) {
  const moment = (seconds: number | undefined) => seconds === undefined ? '-' : instant(seconds)
  const rows = keys.map(({ kind, alg, kid, state, nbf, retired, dead }) => [kind, alg, kid, state, moment(nbf), moment(retired), moment(dead)])
  const lines = [['kind', 'alg', 'kid', 'state', 'used from', 'until', 'dead from'], ...rows]
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map(line => line[column]!.length)))
  return lines.map(line => line.map((cell, column) => cell.padEnd(widths[column]!)).join('  ').trimEnd())
}

if (import.meta.main) {
  const args = process.argv.slice(2)
  const change = () => { for (const line of runCommand(args)) console.log(line) }
  /** A file that stays keeps nobody from being told. */
  const takeAway = () => {
    try { change() } catch (error) {
      if (!(error instanceof KeyStaysError)) throw error
      console.error(error.message)
      process.exitCode = 1
    }
  }
  try {
    const { positionals: [command, , kid] } = readArguments(args)
    if (command !== 'revoke' || kid === undefined) change()
    else if (!await callBackKey(kid, takeAway)) process.exitCode = 1
  } catch (error) {
    if (!(error instanceof KeysError)) throw error
    console.error(error.message)
    process.exit(error.message === usage ? 2 : 1)
  }
}
