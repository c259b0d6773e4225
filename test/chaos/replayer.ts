import { setTimeout as pause } from 'node:timers/promises'
import { siteOf } from '../../src/adapters/handles.ts'
import type { Finished } from './login.ts'
import { createService, type Scene } from './service.ts'

/** Logins that wait to be tried again; beyond, the oldest are left out, and counted. */
const longestQueue = 2000
const workers = 2

/** What becomes of a token before it is tried again, in turn. */
const endings = ['revocation', undefined, 'logout', undefined] as const

/**
 * Tries again what was done: a token is revoked, or its session ended, or neither, and then used at every replica; its code is replayed at every replica, by its own
 * client and by another; and in the end its token is used once more. When the load is over every code is replayed again. "Every replica" leaves out those that a fault
 * has taken away.
 */
export function startReplayer (scene: Scene) {
  const { stage: { replicas, clients }, history, call } = scene
  const queue: Finished[] = []
  const done: Finished[] = []
  const figures = { tried: 0, leftOut: 0, lostTokens: 0 }
  /** browsers that are logging out, or have */
  const leaving = new Set<number>()
  const over = new AbortController()
  const there = () => replicas.filter(replica => replica.isThere())
  const working = Promise.all(Array.from({ length: workers }, async () => {
    while (!over.signal.aborted || queue.length > 0) {
      const finished = queue.shift()
      if (finished === undefined) await pause(20)
      else await tryAgain(finished)
    }
  }))

  async function tryAgain (finished: Finished) {
    const { attempt, service, access_token } = finished
    figures.tried++
    const how = endings[attempt.n % endings.length]
    if (how === 'revocation') await service.revoke(attempt, access_token)
    if (how === 'logout') {
      leaving.add(browserOf(attempt))
      await logOut(finished)
    }
    const statuses = await useEverywhere(finished)
    const isEnded = leaving.has(browserOf(attempt)) || history.endings.some(ending => ending.access_token === access_token)
    // of a service that was closed meanwhile no token is good any more
    const isClosed = !clients.some(({ client_id }) => client_id === attempt.client)
    const isForgotten = history.emptied.some(({ site, at }) => site === siteOf(access_token) && at >= attempt.endedAt!)
    if (!isEnded && !isForgotten && !isClosed) figures.lostTokens += statuses.filter(status => status === 401).length
    await replayEverywhere(finished)
    await useEverywhere(finished)
    done.push(finished)
  }

  /** The logins of one browser have one session. */
  const browserOf = ({ n }: Pick<Finished['attempt'], 'n'>) => history.attempts[n]!.after ?? n

  const useEverywhere = ({ attempt: { n }, service, access_token }: Finished) =>
    Promise.all(there().map(async replica => (await service.ask({ n, access_token, replica })).status))

  async function replayEverywhere ({ attempt: { n }, service, verifier, code, access_token }: Finished) {
    for (const replica of there()) {
      for (const client of clients) {
        const { failure, endedAt } = await createService(scene, client).redeem({ n, code, verifier, redirect_uri: service.redirect_uri, replica })
        // a second use by its own client ends what the first gave (RFC 6749 §4.1.2)
        if (client.client_id === service.client_id && failure === 'invalid_grant') history.endings.push({ n, access_token, how: 'replay', at: endedAt })
      }
    }
  }

  async function logOut ({ attempt: { n }, service, id_token, access_token, jar }: Finished) {
    const url = new URL(service.logoutUrl(id_token))
    const { status, endedAt } = await call('logout', url, { n, headers: { accept: 'text/html', cookie: jar.header(url, 'GET', true) } })
    if (status === 303) history.endings.push({ n, access_token, how: 'logout', at: endedAt })
  }

  return {
    figures,
    /** A login that ended with tokens. */
    add (finished: Finished) {
      queue.push(finished)
      if (queue.length <= longestQueue) return
      queue.shift()
      figures.leftOut++
    },
    /** Waits until every login was tried again, and replays every code once more. */
    async end () {
      over.abort()
      await working
      const again = done.values()
      await Promise.all(Array.from({ length: workers }, async () => { for (const finished of again) await replayEverywhere(finished) }))
    }
  }
}
