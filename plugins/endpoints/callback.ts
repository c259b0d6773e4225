import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import type { IdentityProvider } from '../../src/config/load.ts'
import type { Answer, Question } from '../../src/ports.ts'
import { reaches } from '../../src/protocol/acr.ts'
import { claimsSent, knownClaims, pick } from '../../src/protocol/claims.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { checkIdentification, type Identification } from '../../src/protocol/identification.ts'
import { personOfAccount, personOfPivot } from '../../src/protocol/subject.ts'
import { loginOfState } from '../../src/protocol/upstream.ts'
import { life, type Login } from '../../src/records.ts'

const schema = { params: Type.Object({ idp: Type.String({ maxLength: 32 }) }), querystring: Type.Object({ state: Type.Optional(Type.String({ maxLength: 128 })) }) }

/** Redirection endpoint (RFC 6749 §3.1.2): the identity comes in, the citizen reads what will be sent. */
const plugin: FastifyPluginAsyncTypebox = async app => {
  app.get('/callback/:idp', { schema, config: { audience: 'citizen', rank: 'ending', ofLogin: 'its_browser', malformed: 'callback_malformed', step: 'called_back' } }, async (request, reply) => {
    const login = request.openLogin(loginOfState(request.query.state)?.id)  // the sealed cookie of this very login
    const { idp, sentAt = 0 } = login
    if (idp === undefined || idp !== request.params.idp) throw new OAuthError('login_elsewhere', 'this answer is not from the provider the login is at')
    const question = app.questionFor({ ...login, idp })
    if (question.state !== request.query.state) throw new OAuthError('login_elsewhere', 'state: not what this login asked with')
    const onward = app.ownAddress('/consent', login)
    if ((await request.findIdentification(login))?.idp === idp) return reply.redirect(onward, 303)  // called back twice: no call is made
    if (app.now() - sentAt > life.upstream) throw new OAuthError('login_expired', 'the citizen was at the identity provider for too long')

    const provider = app.providerRegistration(idp)
    const isError = 'error' in request.query
    if (isError) request.step = 'called_back_with_error'
    else {
      request.event('called_back')
      request.step = 'verified'
    }
    const answer = await app.identityProvider(idp).identify(new URL(question.redirect_uri + request.url.slice(request.url.indexOf('?'))), { ...question, called: callsOf(request) })
    const facts = checkIdentification(answer, { ...login.request, sentAt, now: app.now() }, provider, app.configuration.levels.levels, app.configuration.settings.identity.required_claims)
    const identification = identified(login, provider, answer, facts)
    if (app.isRecalled(identification)) throw new OAuthError('identity_expired', 'what this provider vouched for just now was called back')

    request.event('verified', { acr: identification.acr })

    if (!app.informs(login)) return reply.issueCode(login, identification)
    await reply.keepIdentification(login, identification)
    return reply.redirect(onward, 303)
  })

  /** Tells the events of what is asked of the provider for this citizen. */
  const callsOf = (request: FastifyRequest): Question['called'] => (leg, outcome, seconds) => {
    const isGood = outcome === 'answered'
    request.providerSeconds += seconds
    if (leg === 'token' || leg === 'userinfo') request.event(`provider_${leg}`, { ms: Math.round(seconds * 1000), ...(isGood ? {} : { outcome: 'provider', failure: outcome === 'refused' ? 'provider_call_refused' : outcome }) })
  }

  /** Who came back, cut to what this client is sent, or to all that single sign-on may need. */
  function identified (login: Login, { id: idp, issuer }: IdentityProvider, { sub, id_token }: Answer, { claims, ...facts }: Pick<Identification, 'acr' | 'amr' | 'auth_time' | 'authTimeAssumed' | 'claims'>): Identification {
    const { keys: { subject }, ssoLevels, levels: { levels }, settings } = app.configuration
    const shared = ssoLevels.some(level => reaches(levels, facts.acr, level))
    return {
      idp,
      person: settings.identity.subject === 'pivot' ? personOfPivot(subject, claims) : personOfAccount(subject, issuer, sub),
      claims: pick(claims, shared ? knownClaims : claimsSent(login.request)),
      ...facts,
      identifiedAt: app.now(),
      ...(id_token === undefined ? {} : { id_token })
    }
  }
}

export default fp(plugin, { name: 'callback', encapsulate: true, dependencies: ['pages', 'identity-providers', 'authorization-response'] })
