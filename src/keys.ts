import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Encryption, SigningAlgorithm } from './protocol/algorithms.ts'

// npm run keys -- next DIR: makes the next signing, decryption and sealing keys, and what a first run lacks.

/** Seconds between a key's making and its use: it must reach every replica and every client's cache first (JWKS max-age and 15 min). */
const leadSeconds = 600 + 15 * 60

/** Makes the next key of each kind in a directory of keys; the first of a kind is in force at once, the others after `leadSeconds`. Answers the files made. */
export function makeNextKeys (directory: string, now = Math.floor(Date.now() / 1000)) {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const present = readdirSync(directory).filter(file => file.endsWith('.json')).map(file => JSON.parse(readFileSync(join(directory, file), 'utf8')) as { alg?: string })
  const written: string[] = []
  const write = (file: string, jwk: object) => {
    writeFileSync(join(directory, file), `${JSON.stringify(jwk, null, 2)}\n`, { mode: 0o600, flag: 'wx' })
    written.push(file)
  }
  const next = (alg: string, jwk: object) => {
    const kid = `${alg.toLowerCase()}-${randomBytes(6).toString('hex')}`
    write(`${kid}.json`, { kid, alg, nbf: present.some(key => key.alg === alg) ? now + leadSeconds : now, ...jwk })
  }
  const pair = (use: 'sig' | 'enc', alg: SigningAlgorithm | Encryption['alg'], { privateKey }: { privateKey: KeyObject }) => next(alg, { use, ...privateKey.export({ format: 'jwk' }) })
  pair('sig', 'RS256', generateKeyPairSync('rsa', { modulusLength: 2048 }))
  pair('sig', 'PS256', generateKeyPairSync('rsa', { modulusLength: 2048 }))
  pair('sig', 'ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  pair('sig', 'EdDSA', generateKeyPairSync('ed25519'))
  pair('enc', 'RSA-OAEP-256', generateKeyPairSync('rsa', { modulusLength: 2048 }))
  pair('enc', 'ECDH-ES', generateKeyPairSync('ec', { namedCurve: 'P-256' }))
  next('A256GCM', { use: 'enc', kty: 'oct', k: randomBytes(32).toString('base64url') })
  if (!readdirSync(directory).includes('subject.json')) write('subject.json', { kty: 'oct', k: randomBytes(32).toString('base64url') })
  return written
}

if (import.meta.main) {
  const [command, directory] = process.argv.slice(2)
  if (command !== 'next' || directory === undefined) {
    console.error('usage: npm run keys -- next DIR')
    process.exit(2)
  }
  for (const file of makeNextKeys(directory)) console.log(`made ${join(directory, file)}`)
}
