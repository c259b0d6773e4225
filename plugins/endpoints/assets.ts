import fp from 'fastify-plugin'
import { OAuthError } from '../../src/protocol/errors.ts'

/** What pages show: style and logos. The name changes with the content, so it is kept for ever. */
export default fp(async app => {
  app.get<{ Params: { '*': string } }>('/assets/*', { config: { audience: 'client', rank: 'published' } }, async (request, reply) => {
    const asset = app.assets.get(`/assets/${request.params['*']}`)
    if (asset === undefined) throw new OAuthError('not_found', 'there is nothing here')
    return reply.type(asset.type)
      .header('cache-control', 'public, max-age=31536000, immutable')
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; sandbox")  // a logo opened by itself runs nothing
      .send(asset.bytes)
  })
}, { name: 'assets', encapsulate: true, dependencies: ['pages'] })
