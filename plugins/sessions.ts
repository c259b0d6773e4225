import fp from 'fastify-plugin'
import { OAuthError } from '../src/protocol/errors.ts'
import type { Entered, Session } from '../src/records.ts'

interface FindOptions {
  /** being looked at lets it live on (single sign-on) */
  slide?: boolean
  /** limit of the wait for each answer of the store */
  patienceMs?: number
  /** the clients it entered are asked for in the same trip */
  withEntered?: boolean
}

declare module 'fastify' {
  interface FastifyRequest {
    /** This browser's session, unless it is over. @throws {OAuthError} store_unavailable */
    findSession (options?: FindOptions): Promise<{ session: Session, entered: Entered[] } | undefined>
  }
}

/** The session that this browser's cookie stands for. */
export default fp(async app => {
  app.decorateRequest('findSession', async function ({ slide = false, patienceMs, withEntered = false } = {}) {
    const { idle_seconds } = app.configuration.settings.session
    if (slide && !app.knowsRecalls()) throw new OAuthError('store_unavailable', 'whether a session was called back cannot be known yet')
    const session = await app.store.get('session', this.sessionHandle(), { patienceMs, slideSeconds: slide ? idle_seconds : undefined })
    if (session === undefined || session.exp <= app.now()) return undefined
    const [ended, entered] = await Promise.all([app.store.ended(session.sid, { patienceMs }), withEntered ? app.store.entered(session.sid) : []])
    return ended ? undefined : { session, entered }
  })
}, { name: 'sessions', dependencies: ['browser', 'store'] })
