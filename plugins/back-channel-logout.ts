import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import fp from 'fastify-plugin'
import pLimit, { type LimitFunction } from 'p-limit'
import { asOneWait } from '../src/adapters/one-deadline.ts'
import type { Client } from '../src/config/load.ts'
import { logoutTokenClaims } from '../src/protocol/logout.ts'
import { clientSessionId, pairwiseSubject } from '../src/protocol/subject.ts'
import type { Entered, Session } from '../src/records.ts'
import type { Delivery } from './metrics.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Tells every client that a session entered that it has ended, behind the citizen's back. */
    tellLogout (session: Pick<Session, 'sid' | 'person'>): void
    /** How many clients are still to be told, with sessions whose clients are not yet known. */
    logoutsUnderWay (): number
    /** The time for it is over: a replica that closes tells nobody else, and whom it has not told stays under way. */
    tellNoMore (): void
  }
}

/** Milliseconds before each try. */
const tries = [0, 1000, 4000]
/** Calls to one client at a time: one that hangs holds up nobody else's. */
const mostAtOnce = 64
/** Logouts that wait for one client, and for all of them; what comes on top is dropped, and counted. However many wait, each client has as many as are called at once. */
const mostWaiting = { forOne: 2000, forAll: 8000 }

/** Back-channel logout (OpenID Connect Back-Channel Logout §2.5): each client is told by a token of its own, all at once, each with its own retries. */
export default fp(async app => {
  const { settings: { issuer }, keys: { subject: secret } } = app.configuration
  const sessions = new Set<Promise<void>>()
  const desks = new Map<string, { waiting: number, inTurn: LimitFunction }>()
  const late = Promise.withResolvers<'late'>()
  let waiting = 0
  let unread = 0                                                        // sessions whose clients are not yet known
  let isOver = false

  app.decorate('tellLogout', session => {
    const told: Promise<void> = tellAll(session).catch(cause => {
      app.log.error({ err: cause }, 'back-channel logout')
      app.countBackChannelLogout('failed')
    }).finally(() => sessions.delete(told))
    sessions.add(told)
  })

  app.decorate('logoutsUnderWay', () => waiting + unread)
  app.decorate('tellNoMore', () => late.resolve('late'))

  /** Every client that the session entered, as it is known now: whoever entered before the end is among them. */
  async function tellAll ({ sid, person }: Pick<Session, 'sid' | 'person'>) {
    unread++
    const entered = await enteredBy(sid).finally(() => { unread-- })
    const clients = entered.map(({ client_id }) => app.client(client_id)).filter(client => client?.active && client.backchannel_logout_uri !== undefined)
    await Promise.all(clients.map(client => tell(client!, {
      sub: pairwiseSubject(secret, person, client!.sector),
      sid: clientSessionId(secret, sid, client!.client_id),
      jti: randomUUID()                                                  // the same at each try, so that the client can tell
    })))
  }

  /** Each try waits for the store by itself: the request that ended the session may have waited its time. */
  async function enteredBy (sid: string, [delayMs = 0, ...later] = tries): Promise<Entered[]> {
    await unlessOver(wait(delayMs))
    return unlessOver(asOneWait(() => app.store.entered(sid))).catch(cause => {
      if (later.length === 0) throw cause
      return enteredBy(sid, later)
    })
  }

  async function tell (client: Client, about: { sub: string, sid: string, jti: string }) {
    const desk = deskOf(client.client_id)
    let outcome: Delivery = desk.waiting < (waiting < mostWaiting.forAll ? mostWaiting.forOne : mostAtOnce) ? 'failed' : 'dropped'
    waiting++
    desk.waiting++
    for (const delayMs of outcome === 'failed' ? tries : []) {
      await unlessOver(wait(delayMs))
      outcome = await unlessOver(desk.inTurn(deliver, client, about)).catch((cause: unknown): Delivery => {
        app.log.info({ client_id: client.client_id, err: cause }, 'back-channel logout')
        return 'failed'
      })
      if (outcome !== 'failed') break
    }
    waiting--
    desk.waiting--
    app.countBackChannelLogout(outcome)
    if (outcome !== 'delivered') app.log.warn({ client_id: client.client_id, outcome }, 'back-channel logout')
  }

  function deskOf (client_id: string) {
    const desk = desks.get(client_id) ?? { waiting: 0, inTurn: pLimit(mostAtOnce) }
    desks.set(client_id, desk)
    return desk
  }

  /** One try: 200 and 204 say that it is done, 400 that it never will be (§2.8). */
  async function deliver (client: Client, about: { sub: string, sid: string, jti: string }): Promise<Delivery> {
    const write = await app.jwtsFor(client, 'id_token')
    const logout_token = await write(logoutTokenClaims({ issuer, client_id: client.client_id, now: app.now(), ...about }), 'logout+jwt')
    const status = await app.clientCalls.post(client.backchannel_logout_uri!, { logout_token })
    if (status === 200 || status === 204) return 'delivered'
    return status === 400 ? 'refused' : 'failed'
  }

  /** The answer while there is time, and none any more when it is over: whoever waits for it goes no further. */
  function unlessOver<T> (answer: Promise<T>) {
    return new Promise<T>((resolve, reject) => {
      answer.then(value => { if (!isOver) resolve(value) }, cause => { if (!isOver) reject(cause) })
    })
  }

  // when no request is under way any more, and before the store closes; src/server.ts says for how long
  app.addHook('onClose', async () => {
    while (sessions.size > 0 && await Promise.race([Promise.all(sessions), late.promise]) !== 'late');
    isOver = true
    for (const { inTurn } of desks.values()) inTurn.clearQueue()
    app.countBackChannelLogout('dropped', app.logoutsUnderWay())
  })
}, { name: 'back-channel-logout', dependencies: ['clients', 'client-keys', 'metrics', 'store'] })
