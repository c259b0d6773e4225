import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { chooserPage, type ProviderCard } from '../../src/pages/chooser.ts'
import type { IdentityProvider } from '../../src/config/load.ts'
import { parameter } from '../../src/protocol/authorization-request.ts'
import { notices, type Notice } from '../../src/protocol/errors.ts'
import type { Login } from '../../src/records.ts'
import type { Obstacle } from '../identity-providers.ts'

const querystring = Type.Object({ login: parameter(64), notice: parameter(64), idp: parameter(32), lang: parameter(8) })

/** What happened before the chooser is shown again, and with which provider. */
interface Before { notice?: string | undefined, idp?: string | undefined }

/** The chooser of a login that is under way: again after a failure, or because the citizen wants another account. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.get('/choose', { schema: { querystring }, config: { audience: 'citizen', rank: 'under_way', ofLogin: 'its_browser', step: 'chooser_shown' } }, async (request, reply) =>
    showChooser(app, request, reply, request.openLogin(request.query.login), request.query))
}

/** Shows the identity providers, each in its state, and keeps the login in the language it is read in. */
export function showChooser (app: FastifyInstance, request: FastifyRequest, reply: FastifyReply, login: Login, { notice, idp }: Before = {}) {
  const client = app.clientOf(login)
  const language = request.citizenLanguage()
  const meant = app.configuration.identityProviders.get(idp ?? login.idp ?? '')
  // of one that this service may not know of nothing is said
  const failed = meant !== undefined && app.obstacleTo(meant.id, client, login.request) !== 'provider_unknown' ? meant : undefined

  const providers = [...app.configuration.identityProviders.values()].filter(({ state }) => state !== 'hidden' && state !== 'disabled').map((registration): ProviderCard => {
    const obstacle = app.obstacleTo(registration.id, client, login.request)
    const message = obstacle === 'provider_maintenance' ? registration.maintenance?.message?.[language] : undefined
    return {
      id: registration.id,
      ...app.party(registration),
      href: app.ownAddress(`/login/${registration.id}`, login),
      state: obstacle === undefined ? openState(registration) : cardState[obstacle],
      ...(message === undefined ? {} : { message })
    }
  })
  reply.keepLogin({ ...login, language })
  request.event('chooser_shown')
  return reply.page(chooserPage(request.pageContext(app.ownAddress('/choose', login, { notice, idp })), {
    client: app.party(client),
    providers,
    ...(isNotice(notice) ? { notice: { code: notice, ...(failed === undefined ? {} : { provider: failed.title, ...retryOf(failed) }) } } : {}),
    againHref: app.ownAddress('/choose', login),
    returnHref: app.ownAddress('/leave', login)
  }))

  function openState ({ id, state }: IdentityProvider): ProviderCard['state'] {
    return app.identityProvider(id).standing() === 'slow' ? 'slow' : state === 'beta' ? 'beta' : 'up'
  }

  /** Once more with the same account: the provider is asked the same question, and whatever it said before is worth nothing. */
  function retryOf ({ id }: IdentityProvider) {
    return app.obstacleTo(id, client, login.request) === undefined ? { retryHref: app.ownAddress(`/login/${id}`, login) } : {}
  }
}

const cardState = {
  provider_unknown: 'not_allowed',
  provider_not_allowed: 'not_allowed',
  provider_maintenance: 'maintenance',
  acr_too_low: 'acr_too_low',
  fresh_login_unprovable: 'fresh_login_unprovable',
  provider_unavailable: 'down'
} as const satisfies Record<Obstacle, ProviderCard['state']>

const isNotice = (value: string | undefined): value is Notice => (notices as ReadonlySet<string | undefined>).has(value)

export default fp(plugin, { name: 'choose', encapsulate: true, dependencies: ['browser', 'clients', 'identity-providers', 'pages'] })
