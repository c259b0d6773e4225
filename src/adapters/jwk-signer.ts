import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { SignJWT, jwtVerify, decodeProtectedHeader, type JWK, type JWTPayload } from 'jose'
import type { Clock, Signer } from '../ports.ts'
import type { SigningAlgorithm } from '../protocol/algorithms.ts'
import { OAuthError } from '../protocol/errors.ts'
import { keyInForce } from './key-in-force.ts'
import { afterlife, retiredAt } from './key-schedule.ts'

export interface SigningKey {
  kid: string
  alg: SigningAlgorithm
  privateKey: KeyObject
  publicKey: KeyObject
  /** its public JWK */
  published: JWK
  /** NumericDate, seconds: signs from here on, until the next of its algorithm does; it is published and verifies from the moment it is loaded */
  nbf: number
  /** it was called back, and none waited to take its place: it signs nothing, is not published and verifies nothing */
  recalled?: true
}

/** A signing key from its private JWK (RFC 7517). @throws {Error} where the key does not fit its algorithm */
export function signingKey ({ kid, alg, nbf, ...jwk }: JWK & { kid: string, alg: SigningAlgorithm, nbf: number }): SigningKey {
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' })
  if (!fits(privateKey, alg)) throw new Error('the key does not fit its alg')
  const publicKey = createPublicKey(privateKey)
  return { kid, alg, nbf, privateKey, publicKey, published: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' } }
}

function fits ({ asymmetricKeyType, asymmetricKeyDetails: { modulusLength = 0, namedCurve } = {} }: KeyObject, alg: SigningAlgorithm) {
  switch (alg) {
    case 'RS256':
    case 'PS256': return asymmetricKeyType === 'rsa' && modulusLength >= 2048
    case 'ES256': return namedCurve === 'prime256v1'
    case 'EdDSA': return asymmetricKeyType === 'ed25519'
    default: return false
  }
}

/** Signs with the newest key of an algorithm whose time has come, verifies with any that is loaded, until what a retired one signed is worth nothing any more. */
export function jwkSigner ({ issuer, keys, now }: { issuer: string, keys: () => readonly SigningKey[], now: Clock }): Signer {
  const keysFor = (alg: SigningAlgorithm) => keys().filter(candidate => candidate.alg === alg)
  const isWithin = (key: SigningKey, seconds: number) => now() < retiredAt(keysFor(key.alg), key) + seconds
  const keyAt = (alg: SigningAlgorithm) => {
    const key = keyInForce(keysFor(alg), now())
    if (key === undefined || key.recalled) throw new OAuthError('signing_key_unavailable', `no ${alg} signing key is in force`)
    return key
  }

  return {
    assureKey (alg) { keyAt(alg) },

    async sign (alg, claims, typ = 'JWT') {
      const { kid, privateKey } = keyAt(alg)
      return new SignJWT(claims).setProtectedHeader({ alg, kid, typ }).sign(privateKey)
    },

    async verify (token): Promise<JWTPayload | undefined> {
      try {
        const { kid } = decodeProtectedHeader(token)
        const key = keys().find(candidate => candidate.kid === kid)
        if (key === undefined || key.recalled || !isWithin(key, afterlife.signing)) return undefined
        // an expired ID Token is still a hint (RP-Initiated Logout §2): its time is looked at as of its own issue; a JWT of ours of any other kind is none
        const { payload } = await jwtVerify(token, key.publicKey, { issuer, algorithms: [key.alg], typ: 'JWT', requiredClaims: ['exp', 'sub'], currentDate: new Date(0) })
        return payload
      } catch { return undefined }                                      // not a JWT, not by this key, not from this issuer
    },

    jwks: () => ({ keys: keys().filter(key => !key.recalled && isWithin(key, afterlife.published)).map(({ published }) => published) })
  }
}
