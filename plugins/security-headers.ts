import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyReply {
    /** where the forms of this page may end: the sources of CSP's form-action */
    formTarget: string
  }
}

const everywhere = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer'
}

/** What a page may load: our style and images, no script, and nobody may frame it. */
const contentSecurityPolicy = (formTarget: string) =>
  `default-src 'none'; style-src 'self'; img-src 'self'; form-action ${formTarget}; frame-ancestors 'none'; base-uri 'none'`

/** Headers of every answer, and those of pages and of the redirects between them. */
export default fp(async app => {
  const { issuer } = app.configuration.settings
  const https = issuer.startsWith('https:')
  app.decorateReply('formTarget', "'none'")

  app.addHook('onSend', async (request, reply) => {
    reply.headers(everywhere)
    if (https) reply.header('strict-transport-security', 'max-age=63072000; includeSubDomains')
    if (request.routeOptions.config.audience === 'client') return
    if (!reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store')
    if (!reply.hasHeader('content-security-policy')) reply.header('content-security-policy', contentSecurityPolicy(reply.formTarget))
  })
}, { name: 'security-headers' })
