import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import fp from 'fastify-plugin'
import type { Client } from '../src/config/load.ts'
import { logoutTokenClaims } from '../src/protocol/logout.ts'
import { clientSessionId, pairwiseSubject } from '../src/protocol/subject.ts'
import type { Session } from '../src/records.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Tells every client that a session entered that it has ended, behind the citizen's back. */
    tellLogout (session: Pick<Session, 'sid' | 'person'>): void
  }
}

/** What a delivery can come to. */
export const deliveries = ['delivered', 'refused', 'failed', 'dropped'] as const
export type Delivery = typeof deliveries[number]

/** Milliseconds before each try. */
const tries = [0, 1000, 4000]
/** Deliveries under way at a time; what comes on top is dropped, and counted. */
const mostAtOnce = 1000
/** Milliseconds that a replica that is going waits for deliveries under way. */
const drainMs = 15_000

/** Back-channel logout (OpenID Connect Back-Channel Logout §2.5): each client is told by a token of its own, all at once, each with its own retries. */
export default fp(async app => {
  const { settings: { issuer }, keys: { subject: secret } } = app.configuration
  const underWay = new Set<Promise<void>>()
  let telling = 0

  app.decorate('tellLogout', session => {
    const all = tellAll(session).finally(() => underWay.delete(all))
    underWay.add(all)
  })

  /** Every client that the session entered, as it is known now: whoever entered before the end is among them. */
  async function tellAll ({ sid, person }: Pick<Session, 'sid' | 'person'>) {
    const entered = await app.store.entered(sid).catch((cause: unknown) => {
      app.log.warn({ err: cause }, 'back-channel logout')
      app.countBackChannelLogout('failed')
      return []
    })
    const clients = entered.map(({ client_id }) => app.client(client_id)).filter(client => client?.active && client.backchannel_logout_uri !== undefined)
    await Promise.all(clients.map(client => tell(client!, pairwiseSubject(secret, person, client!.sector), clientSessionId(secret, sid, client!.client_id))))
  }

  async function tell (client: Client, sub: string, sid: string) {
    if (telling >= mostAtOnce) return app.countBackChannelLogout('dropped')
    telling++
    const jti = randomUUID()                                             // the same at each try, so that the client can tell
    let outcome: Delivery = 'failed'
    for (const delayMs of tries) {
      await wait(delayMs)
      outcome = await deliver(client, { sub, sid, jti }).catch((cause: unknown): Delivery => {
        app.log.info({ client_id: client.client_id, err: cause }, 'back-channel logout')
        return 'failed'
      })
      if (outcome !== 'failed') break
    }
    telling--
    app.countBackChannelLogout(outcome)
    if (outcome !== 'delivered') app.log.warn({ client_id: client.client_id, outcome }, 'back-channel logout')
  }

  /** One try: 200 and 204 say that it is done, 400 that it never will be (§2.8). */
  async function deliver (client: Client, about: { sub: string, sid: string, jti: string }): Promise<Delivery> {
    const write = await app.jwtsFor(client, 'id_token')
    const logout_token = await write(logoutTokenClaims({ issuer, client_id: client.client_id, now: app.now(), ...about }), 'logout+jwt')
    const status = await app.clientCalls.post(client.backchannel_logout_uri!, { logout_token })
    if (status === 200 || status === 204) return 'delivered'
    return status === 400 ? 'refused' : 'failed'
  }

  app.addHook('preClose', async () => {
    const gone = new AbortController()
    await Promise.race([Promise.all(underWay), wait(drainMs, undefined, { signal: gone.signal }).catch(() => {})])
    gone.abort()
  })
}, { name: 'back-channel-logout', dependencies: ['clients', 'client-keys', 'metrics', 'store'] })
