import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import type { Clock } from '../ports.ts'
import { keyInForce } from './key-in-force.ts'
import type { SealingKey } from './keyring-sealer.ts'

const daySeconds = 86_400

/**
 * A name for what may not be read where it is kept, an address: its HMAC under a key of the day. That key derives from the sealing key in force, which every replica has and which is
 * forgotten within days; the secret behind `sub` is kept for ever, and with it all addresses of all days could be found by trying.
 */
export function dailyNames ({ issuer, keys, now }: { issuer: string, keys: () => readonly SealingKey[], now: Clock }) {
  let known: { day: number, from: KeyObject, key: KeyObject } | undefined

  return (text: string) => {
    const day = Math.floor(now() / daySeconds)
    const { key: from } = keyInForce(keys(), now())!
    if (known?.day !== day || known.from !== from) known = { day, from, key: createSecretKey(Buffer.from(hkdfSync('sha256', from, '', `passerelle names of day ${day} ${issuer}`, 32))) }
    return createHmac('sha256', known.key).update(text).digest('base64url')
  }
}
