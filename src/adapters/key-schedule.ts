import { life } from '../records.ts'

/** A key with a schedule: used from `nbf` on (NumericDate, seconds) until the next of its kind is. */
export interface Scheduled { nbf: number }

/** When the next of its kind takes over from a key; `Infinity` while there is none. */
export function retiredAt<K extends Scheduled> (keys: readonly K[], key: K): number {
  const ordered = [...keys].sort((a, b) => a.nbf - b.nbf)
  return ordered[ordered.indexOf(key) + 1]?.nbf ?? Infinity
}

/** Seconds that a replica may be late: with the next key, or by its clock. */
export const lateSeconds = 15 * 60

/** Seconds for which a client may keep our published keys. */
export const publishedMaxAge = 600

/** Seconds between a key's making and its use: first it must reach every replica, and then every client's cache. */
export const leadSeconds = publishedMaxAge + lateSeconds

/** Seconds for which a key of a kind is used until the next one does. */
export const period = { sealing: 86400, signing: 30 * 86400, decryption: 30 * 86400 } as const

/** Seconds for which a retired key is still good for something: as long as the last thing that it made. */
export const afterlife = {
  /** a signing key in /jwks: the longest ID Token */
  published: life.idToken + lateSeconds,
  /** a signing key at all: ID Tokens come back as hints as long as a session can last */
  signing: life.session + lateSeconds,
  /** of what is sealed, what identity providers published lives longest */
  sealing: life.knowledge + lateSeconds,
  /** an identity provider looks for a new one when it likes */
  decryption: 7 * 86400
} as const
