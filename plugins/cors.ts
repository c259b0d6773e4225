import cors from '@fastify/cors'
import fp from 'fastify-plugin'

/** Which origins may read what (Fetch §3.2): anyone our metadata and keys, the origins of public clients the endpoints they call. */
export default fp(async app => {
  const { base } = app.configuration
  const open = new Set([`${base}/.well-known/openid-configuration`, `${base}/jwks`])
  const called = new Set([`${base}/token`, `${base}/userinfo`])
  const registered = (origin: string) => [...app.configuration.clients.values()].some(client =>
    client.active && client.token_endpoint_auth_method === 'none' && client.redirect_uris.some(uri => new URL(uri).origin === origin))

  await app.register(cors, {
    delegator: (request, callback) => {
      const path = request.url.split('?', 1)[0]!
      const { origin } = request.headers
      const allowed = open.has(path) ? '*' : called.has(path) && origin !== undefined && registered(origin) ? origin : false
      callback(null, { origin: allowed, methods: ['GET', 'POST'], allowedHeaders: ['Authorization', 'Content-Type'], exposedHeaders: ['WWW-Authenticate', 'Retry-After'], maxAge: 600 })
    }
  })
}, { name: 'cors' })
