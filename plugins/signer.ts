import fp from 'fastify-plugin'
import { jwkSigner } from '../src/adapters/jwk-signer.ts'
import { keyringSealer } from '../src/adapters/keyring-sealer.ts'
import type { Sealer, Signer } from '../src/ports.ts'

declare module 'fastify' {
  interface FastifyInstance {
    signer: Signer
    sealer: Sealer
  }
}

/** Our keys at work: those that sign for clients, and those that seal what browsers carry. */
export default fp(async app => {
  const { issuer } = app.configuration.settings
  app.decorate('signer', jwkSigner({ issuer, keys: () => app.configuration.keys.signing, now: app.now }))
  app.decorate('sealer', keyringSealer({ issuer, keys: () => app.configuration.keys.sealing, now: app.now }))
}, { name: 'signer' })
