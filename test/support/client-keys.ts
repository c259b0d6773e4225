import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, type JWK } from 'jose'
import { part, signature } from '../world/tokens.ts'
import { createForgedKey, type ForgedAlgorithm } from './forging-provider.ts'
import type { Json, TestApp } from './test-app.ts'

export type ClientKey = ReturnType<typeof createForgedKey>
export type EncryptionKey = ReturnType<typeof createEncryptionKey>
export type EncryptionAlgorithm = 'RSA-OAEP-256' | 'ECDH-ES'

/** What a test changes of a JWT that is as it should be: `undefined` takes a member away. */
export interface Changes { claims?: Record<string, unknown>, header?: Record<string, unknown>, key?: ClientKey['privateKey'] | Uint8Array }

const made = new Map<string, ClientKey>()

/** The key that a client signs with: one for each client and algorithm, for as long as this process lives. */
export function keyOf (client_id: string, alg: ForgedAlgorithm = 'ES256'): ClientKey {
  const name = `${client_id}-${alg}`
  const key = made.get(name) ?? createForgedKey(alg, name)
  made.set(name, key)
  return key
}

/** A key pair to be encrypted to. */
export function createEncryptionKey (alg: EncryptionAlgorithm, kid = `${alg}-${randomUUID()}`) {
  const { privateKey, publicKey } = alg === 'ECDH-ES' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('rsa', { modulusLength: 2048 })
  return { kid, alg, privateKey, published: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'enc' } as JWK }
}

/** A JWT by a client's key, or nearly: made by hand, since no library makes all that is wrong. One of `alg: none` has no signature. */
export async function jwtBy (key: ClientKey, claims: object, header: object, changes: Changes = {}): Promise<string> {
  const head = { alg: key.alg, ...header, ...changes.header } as { alg?: string }
  const text = `${part(JSON.stringify(head))}.${part(JSON.stringify({ ...claims, ...changes.claims }))}`
  return `${text}.${part(signature(head.alg ?? key.alg, Buffer.from(text), changes.key ?? key.privateKey))}`
}

export const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** A client assertion (RFC 7523 §2.2), good for a minute. */
export const assertionOf = (client_id: string, { issuer, now }: { issuer: string, now: number }, changes: Changes = {}, key = keyOf(client_id)) =>
  jwtBy(key, { iss: client_id, sub: client_id, aud: issuer, iat: now, exp: now + 60, jti: randomUUID() }, { kid: key.kid }, changes)

/** A request object (RFC 9101 §4) of these parameters, good for a minute. */
export const requestObjectOf = (client_id: string, parameters: Record<string, unknown>, { issuer, now }: { issuer: string, now: number }, changes: Changes = {}, key = keyOf(client_id)) =>
  jwtBy(key, { iss: client_id, aud: issuer, iat: now, nbf: now, exp: now + 60, jti: randomUUID(), ...parameters }, { kid: key.kid, typ: 'oauth-authz-req+jwt' }, changes)

/** Where a DPoP proof is sent, and beside what. */
export interface Proved { method?: string, path: string, access_token?: string | undefined, nonce?: string | undefined }

/** Who holds a key, and proves it (RFC 9449): it learns nonces as it is told them. */
export interface Holder {
  key: ClientKey
  jkt: string
  /** the last nonce it was told */
  nonce: string | undefined
  proof (at: Proved, changes?: Changes): Promise<string>
  /** Sends with a proof, once more with a nonce where one is asked for; `send` gets the header. */
  proving (at: Proved, send: (dpop: string) => Promise<Json>): Promise<Json>
}

export async function keyHolder ({ now, issuer }: Pick<TestApp, 'now' | 'issuer'>, key = createForgedKey('ES256')): Promise<Holder> {
  const { kid, alg, use, ...jwk } = key.published
  const holder: Holder = {
    key,
    jkt: await calculateJwkThumbprint(jwk),
    nonce: undefined,
    proof ({ method = 'POST', path, access_token, nonce = holder.nonce }, changes) {
      const ath = access_token === undefined ? undefined : createHash('sha256').update(access_token).digest('base64url')
      return jwtBy(key, { htm: method, htu: issuer + path, iat: now(), jti: randomUUID(), nonce, ath }, { typ: 'dpop+jwt', jwk }, changes)
    },
    async proving (at, send) {
      const learn = (answer: Json) => { holder.nonce = answer.headers['dpop-nonce'] ?? holder.nonce; return answer }
      const answer = learn(await send(await holder.proof(at)))
      return answer.body['error'] === 'use_dpop_nonce' ? learn(await send(await holder.proof(at))) : answer
    }
  }
  return holder
}
