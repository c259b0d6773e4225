import { createCipheriv, createDecipheriv, hkdfSync, createSecretKey, randomBytes, type KeyObject } from 'node:crypto'
import type { Clock, Sealer } from '../ports.ts'
import { keyInForce } from './key-in-force.ts'
import { afterlife, retiredAt } from './key-schedule.ts'
import type { SealedKind, SealedRecords } from '../records.ts'

export interface SealingKey {
  kid: string
  /** 256 bits */
  key: KeyObject
  /** NumericDate, seconds: seals from here on, until the next does; it opens from the moment it is loaded */
  nbf: number
}

const version = '1'
const ivBytes = 12
const tagBytes = 16

/** What is sealed in place of a record of the store: by keys that change each hour; those of hours that are over are forgotten when another is made. */
const hourly: ReadonlySet<SealedKind> = new Set(['code', 'token'])
const hourSeconds = 3600

/** When what was sealed so ends (NumericDate, seconds), whether or not it can be opened; NaN for anything else. */
export const endOfSealed = (sealed: string) => Number(/^1\.[\w-]+\.(\d{1,12})\./.exec(sealed)?.[1])
/** The key that it says it was sealed by. */
export const keyOfSealed = (sealed: string) => /^1\.([\w-]+)\./.exec(sealed)?.[1]

/**
 * Seals with the newest key whose time has come, opens with any that is loaded until what a retired one sealed is dead (AES-256-GCM, NIST SP 800-38D). The value reads `version.kid.exp.payload`; every
 * kind has a subkey of its own, and the additional data binds kind, place and expiry, which is looked at before anything is opened.
 */
export function keyringSealer ({ issuer, keys, now }: { issuer: string, keys: () => readonly SealingKey[], now: Clock }): Sealer {
  const subkeys = new WeakMap<KeyObject, Map<string, KeyObject>>()

  /** Of one kind, and of the hour in which what it seals ends where keys change each hour. */
  const subkey = (key: KeyObject, kind: SealedKind, exp: number) => {
    const name = hourly.has(kind) ? `${kind} ${Math.floor(exp / hourSeconds)}` : kind
    const known = subkeys.get(key) ?? new Map<string, KeyObject>()
    subkeys.set(key, known)
    const found = known.get(name)
    if (found !== undefined) return found
    const past = Math.floor(now() / hourSeconds) - 1
    for (const other of known.keys()) if (Number(other.split(' ')[1]) <= past) known.delete(other)
    const derived = createSecretKey(Buffer.from(hkdfSync('sha256', key, '', `passerelle sealed ${version} ${name} ${issuer}`, 32)))
    known.set(name, derived)
    return derived
  }

  return {
    seal<K extends SealedKind> (kind: K, place: string, record: SealedRecords[K], exp: number) {
      const { kid, key } = keyInForce(keys(), now())!
      const head = `${version}.${kid}.${exp}`
      const iv = randomBytes(ivBytes)
      const cipher = createCipheriv('aes-256-gcm', subkey(key, kind, exp), iv).setAAD(Buffer.from(`${kind}\n${place}\n${head}`))
      const sealed = Buffer.concat([iv, cipher.update(JSON.stringify(record)), cipher.final(), cipher.getAuthTag()])
      return `${head}.${sealed.toString('base64url')}`
    },

    open<K extends SealedKind> (kind: K, place: string, sealed: string) {
      const [, head, kid, end, payload] = /^(1\.([A-Za-z0-9_-]{1,64})\.(\d{1,12}))\.([A-Za-z0-9_-]+)$/.exec(sealed) ?? []
      const ring = keys()
      const found = ring.find(candidate => candidate.kid === kid)
      if (found === undefined || Number(end) <= now()) return undefined
      if (hourly.has(kind) && Number(end) > now() + hourSeconds) return undefined  // no key is made for whatever hour somebody writes
      // whoever finds an old key seals nothing with it that we believe
      if (Number(end) > retiredAt(ring, found) + afterlife.sealing) return undefined
      const bytes = Buffer.from(payload!, 'base64url')
      // one spelling only: a value that is used once must not come back in another
      if (bytes.length <= ivBytes + tagBytes || bytes.toString('base64url') !== payload) return undefined
      const decipher = createDecipheriv('aes-256-gcm', subkey(found.key, kind, Number(end)), bytes.subarray(0, ivBytes), { authTagLength: tagBytes })
        .setAAD(Buffer.from(`${kind}\n${place}\n${head}`)).setAuthTag(bytes.subarray(-tagBytes))
      const opened = decipher.update(bytes.subarray(ivBytes, -tagBytes))
      try { decipher.final() } catch { return undefined }               // not ours: forged, of another kind or of another place
      return { record: JSON.parse(opened.toString()) as SealedRecords[K], exp: Number(end) }
    }
  }
}
