import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, EmbeddedJWK, jwtVerify, type JWK } from 'jose'
import fp from 'fastify-plugin'
import { spelled, strictAlgorithms } from '../src/protocol/algorithms.ts'
import { clientClockTolerance } from '../src/protocol/clock.ts'
import { faultOfProof, isOrdinaryKey, proofSeconds } from '../src/protocol/dpop.ts'
import { OAuthError } from '../src/protocol/errors.ts'
import type { Client } from '../src/config/load.ts'
import { life } from '../src/records.ts'

/** A DPoP proof that was checked but for one thing, which is asked last: that it was never used. */
export interface Proof {
  /** thumbprint of the key that made it (RFC 7638) */
  jkt: string
  /** Uses it. @throws {OAuthError} proof_invalid, token_proof_invalid, store_unavailable */
  spend (client: Client): Promise<void>
}

declare module 'fastify' {
  interface FastifyRequest {
    /**
     * The DPoP proof of this request, its signature, claims and nonce checked without asking anybody (RFC 9449 §4.3); undefined where there is none.
     * Beside an access token it must be made for that very token.
     * @throws {OAuthError} proof_invalid, proof_nonce_required, token_proof_invalid, token_proof_nonce_required
     */
    readProof (access_token?: string): Promise<Proof | undefined>
    /** whether this request speaks DPoP, so that its answer brings the next nonce */
    proving: boolean
  }
}

const algorithms = spelled(strictAlgorithms)

/** Sender-constrained tokens (RFC 9449): who holds the key. Nonces are sealed, so that any replica knows them and none keeps them. */
export default fp(async app => {
  const { base, settings: { issuer } } = app.configuration

  app.decorateRequest('proving', false)
  app.decorateRequest('readProof', async function (access_token) {
    const { dpop } = this.headers
    if (dpop === undefined) return undefined
    this.proving = true
    const [invalid, nonceRequired] = access_token === undefined ? ['proof_invalid', 'proof_nonce_required'] as const : ['token_proof_invalid', 'token_proof_nonce_required'] as const
    const wrong = (message: string) => new OAuthError(invalid, `DPoP: ${message}`)

    // what costs nothing is looked at first: anybody may send a proof
    const malformed = 'expected one proof, a JWT of typ dpop+jwt by the public key in its header'
    const { claims, jwk } = read(String(dpop)) ?? {}
    if (claims === undefined || !isOrdinaryKey(jwk)) throw wrong(malformed)
    const url = issuer + this.url.split('?', 1)[0]!.slice(base.length)
    const fault = faultOfProof(claims, { method: this.method, url, now: app.now(), access_token })
    if (fault !== undefined) throw wrong(fault)
    const known = typeof claims.nonce === 'string' && app.sealer.open('nonce', 'DPoP', claims.nonce) !== undefined
    if (!known) throw new OAuthError(nonceRequired, 'DPoP: nonce: expected the one in the header DPoP-Nonce')

    if (!await isSigned(String(dpop))) throw wrong(malformed)
    const jkt = await calculateJwkThumbprint(jwk)
    const spend = async (client: Client) => {
      if (!await this.firstUse(client, `proof ${jkt} ${claims.jti}`, proofSeconds)) throw wrong('jti: already used')
    }
    return { jkt, spend }
  })

  /** Whether a proof is a JWT of its kind by the public key that it brings. */
  const isSigned = (proof: string) => jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms, currentDate: new Date(app.now() * 1000), clockTolerance: clientClockTolerance }).then(() => true, () => false)

  app.addHook('onSend', async (request, reply) => {
    if (request.proving) reply.header('dpop-nonce', app.sealer.seal('nonce', 'DPoP', null, app.now() + life.nonce))
  })
}, { name: 'sender-proof', dependencies: ['clients', 'signer'] })

/** What a proof says of itself, believed by nobody yet. */
function read (proof: string) {
  try { return { claims: decodeJwt(proof) as Record<string, unknown>, jwk: decodeProtectedHeader(proof).jwk as JWK | undefined } } catch { return undefined }
}
