import type { FastifyInstance } from 'fastify'
import type { Question } from '../src/ports.ts'
import { upstreamAcr } from '../src/protocol/acr.ts'
import { serviceMark } from '../src/protocol/subject.ts'
import { upstreamOf } from '../src/protocol/upstream.ts'
import type { Login } from '../src/records.ts'

/** What a login asks of the identity provider it is at: the same each time, since it derives from the login. */
export function questionOf (app: FastifyInstance, login: Login & { idp: string }): Question {
  const { settings: { issuer }, levels: { levels } } = app.configuration
  const { acr, prompt = [], max_age } = login.request
  return {
    ...upstreamOf(login, login.idp, serviceMark(app.configuration.keys.subject, login.id, login.request.client_id)),
    redirect_uri: `${issuer}/callback/${login.idp}`,
    acr: upstreamAcr(levels, acr, app.providerRegistration(login.idp).acr_values) ?? acr,
    prompt: prompt.includes('login') || max_age === 0 ? 'login' : undefined,
    max_age,
    ui_locales: login.language
  }
}
