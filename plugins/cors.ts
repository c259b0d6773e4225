import cors from '@fastify/cors'
import fp from 'fastify-plugin'
import type { Configuration } from '../src/config/load.ts'

/** Which origins may read what (Fetch §3.2): anyone our metadata and keys, the origins of public clients the endpoints they call. */
export default fp(async app => {
  const { base } = app.configuration
  const open = new Set([`${base}/.well-known/openid-configuration`, `${base}/jwks`])
  const called = new Set(['/token', '/userinfo', '/par', '/revocation'].map(path => base + path))
  const originsOf = ({ clients }: Configuration) => new Set([...clients.values()].filter(client => client.active && client.token_endpoint_auth_method === 'none')
    .flatMap(({ redirect_uris }) => redirect_uris.map(uri => new URL(uri).origin)))
  let registered = originsOf(app.configuration)
  app.onReconfigured(now => { registered = originsOf(now) })

  await app.register(cors, {
    delegator: (request, callback) => {
      const path = request.url.split('?', 1)[0]!
      const { origin } = request.headers
      const allowed = open.has(path) ? '*' : called.has(path) && origin !== undefined && registered.has(origin) ? origin : false
      callback(null, {
        origin: allowed,
        methods: ['GET', 'POST'],
        allowedHeaders: ['Authorization', 'Content-Type', 'DPoP'],
        exposedHeaders: ['WWW-Authenticate', 'Retry-After', 'DPoP-Nonce'],
        maxAge: 600
      })
    }
  })
}, { name: 'cors', dependencies: ['configuration'] })
