import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyReply {
    /** where the forms of this page may end: the sources of CSP's form-action */
    formTarget: string
    /** whether this page runs a script of ours */
    runsScript: boolean
    /** Lets the forms of this page end at these addresses, or at where they lead on: Chromium applies it to the redirects that follow. Plain http is for development. */
    formsEndAt (...addresses: Array<string | undefined>): FastifyReply
  }
}

const everywhere = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer'
}

/** What a page may load: our style and images, one script of ours where it has any, and nobody may frame it. */
const contentSecurityPolicy = (formTarget: string, runsScript: boolean) =>
  `default-src 'none'; style-src 'self'; img-src 'self';${runsScript ? " script-src 'self';" : ''} form-action ${formTarget}; frame-ancestors 'none'; base-uri 'none'`

/** Headers of every answer, and those of pages and of the redirects between them. */
export default fp(async app => {
  const { issuer } = app.configuration.settings
  const https = issuer.startsWith('https:')
  app.decorateReply('formTarget', "'none'")
  app.decorateReply('runsScript', false)
  app.decorateReply('formsEndAt', function (...addresses) {
    const inDevelopment = addresses.filter(address => address?.startsWith('http:')).map(address => new URL(address!).origin)
    this.formTarget = ["'self' https:", ...new Set(inDevelopment)].join(' ')
    return this
  })

  app.addHook('onSend', async (request, reply) => {
    reply.headers(everywhere)
    if (https) reply.header('strict-transport-security', 'max-age=63072000; includeSubDomains')
    // what is published says so itself; a failure is never kept, whatever it came in place of
    if (request.failure !== null || !reply.hasHeader('cache-control')) reply.header('cache-control', 'no-store')
    if (request.routeOptions.config.audience === 'client') return
    if (!reply.hasHeader('content-security-policy')) reply.header('content-security-policy', contentSecurityPolicy(reply.formTarget, reply.runsScript))
  })
}, { name: 'security-headers' })
