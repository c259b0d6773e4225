import { createCipheriv, createDecipheriv, createHash, createHmac, createSecretKey, randomBytes, type KeyObject } from 'node:crypto'
import type { Handle } from '../ports.ts'
import { limit } from '../records.ts'

// How a store keeps what it cannot read: under the digest of a handle, sealed by a key that only the handle gives.

const version = '1'

/** A new handle: the site's mark and 256 random bits. */
export const newHandle = (site: string): Handle => `${site}-${randomBytes(32).toString('base64url')}`

/** Whether a text can be a handle at all: what is not needs no question to any store. */
export const isHandle = (text: string) => /^[a-z0-9]{1,4}-[A-Za-z0-9_-]{43}$/.test(text)

/** Whether a text can be a handle that holds its record itself (`site~sealed`). */
export const isSealedHandle = (text: string) => text.length <= limit.sealedHandle && /^[a-z0-9]{1,4}~[\w.-]+$/.test(text)

/** The mark of the site that issued a handle, a `sid` or the name of a token; undefined for anything else. */
export const siteOf = (text: string) => /^([a-z0-9]{1,4})(?:-[\w-]{43}$|~)/.exec(text)?.[1]

/** The name a secret is kept under: it tells nothing of the secret. */
export const digestOf = (secret: string) => createHash('sha256').update(`passerelle name ${version} ${secret}`).digest('base64url')

const keyOf = (secret: string, kind: string): KeyObject =>
  createSecretKey(createHmac('sha256', secret).update(`passerelle record ${version} ${kind}`).digest())

/** A record as a store keeps it: `version.payload`, AES-256-GCM under a key of the secret, bound to its kind. */
export function sealUnder (secret: string, kind: string, record: unknown) {
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', keyOf(secret, kind), iv).setAAD(Buffer.from(kind))
  return `${version}.${Buffer.concat([iv, cipher.update(JSON.stringify(record)), cipher.final(), cipher.getAuthTag()]).toString('base64')}`
}

/** The record again. @throws {Error} when what is kept was not sealed under this secret for this kind */
export function openUnder (secret: string, kind: string, kept: string): unknown {
  if (!kept.startsWith(`${version}.`)) throw new Error(`a ${kind} record of an unknown format version`)
  const bytes = Buffer.from(kept.slice(version.length + 1), 'base64')
  const decipher = createDecipheriv('aes-256-gcm', keyOf(secret, kind), bytes.subarray(0, 12), { authTagLength: 16 })
    .setAAD(Buffer.from(kind)).setAuthTag(bytes.subarray(-16))
  const opened = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
  return JSON.parse(opened.toString())
}
