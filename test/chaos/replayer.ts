import { setTimeout as pause } from 'node:timers/promises'
import { isSealedHandle, siteOf } from '../../src/adapters/handles.ts'
import { enterSilently, isFinished, random, type Brought, type Finished } from './login.ts'
import type { Replica } from './replica.ts'
import { createService, type Scene } from './service.ts'
import type { Client } from './stage.ts'

/** Logins that wait to be tried again; beyond, the oldest are left out, and counted. */
const longestQueue = 2000
const workers = 2
/** when the load is over, and nobody is in their way */
const lastWorkers = 8

/** What becomes of a token before it is tried again, in turn. */
const endings = ['revocation', undefined, 'logout', undefined] as const
/** Of so many tokens one is tried at introspection, too; and where its session is ended, that one's cookie and a code that it had given before. */
const everyWayOneIn = 3
/** Of so many codes that hold their record one is tried with a verifier that is not its own, too. */
const wrongOneIn = 3

/** A login that is tried again, and the tokens that its code is known to have given. */
interface Trial { login: Brought, tokens: string[] }

/**
 * Tries again what was done: a token is revoked, or its session ended, or neither, and then used at every replica, some in every way that an end has to reach; its code is
 * replayed at every replica, by its own client and by another; and in the end what it gave is used once more. Of a login that ended without tokens the code is tried all the
 * same: nobody knows what became of it. When the load is over every code is replayed again, or by its own client for the first time if it had to wait, and tokens that hold
 * their record are revoked. "Every replica" leaves out those that a fault has taken away.
 */
export function startReplayer (scene: Scene) {
  const { stage: { replicas, clients, agency }, history, call, waiting } = scene
  const dataProvider = createService(scene, agency)
  const queue: Brought[] = []
  const done: Trial[] = []
  const figures = { tried: 0, leftOut: 0, lostTokens: 0 }
  const otherCodes = { tried: 0, given: 0 }
  /** browsers that are logging out, or have */
  const leaving = new Set<number>()
  const over = new AbortController()
  let isHeld = false
  const there = () => replicas.filter(replica => replica.isThere())
  const working = Promise.all(Array.from({ length: workers }, async () => {
    while (!over.signal.aborted || queue.length > 0) {
      const login = isHeld ? undefined : queue.shift()
      if (login === undefined) await pause(20)
      else await tryAgain(login)
    }
  }))

  async function tryAgain (login: Brought) {
    if (isFinished(login)) await endAndUse(login)
    const trial = await tryCode(login, clients)
    for (const access_token of trial.tokens) await useEverywhere(login, access_token)
    done.push(trial)
  }

  async function tryCode (login: Brought, by: readonly Client[]): Promise<Trial> {
    const trial = { login, tokens: isFinished(login) ? [login.access_token] : tokensOf(login) }
    const known = trial.tokens.length
    await replayEverywhere(trial, by)
    if (isFinished(login)) {
      figures.tried++
    } else {
      otherCodes.tried++
      if (trial.tokens.length > known) otherCodes.given++
    }
    return trial
  }

  /** Redis may not have known before that a token was ended which holds its record. */
  async function revokeSealed ({ login, login: { attempt, service }, tokens }: Trial) {
    for (const access_token of tokens.filter(isSealedHandle)) {
      await service.revoke(attempt, access_token)
      await useEverywhere(login, access_token)
    }
  }

  async function tryLast (trial: Trial) {
    await replayEverywhere(trial, clients)
    await revokeSealed(trial)
  }

  /** Many may wait: what another client would be told is seen with the rest. */
  const tryLate = async (login: Brought) => revokeSealed(await tryCode(login, clients.filter(({ client_id }) => client_id === login.service.client_id)))

  const tokensOf = ({ code }: Brought) => history.redemptions.flatMap(given => given.code === code ? given.access_token ?? [] : [])

  async function endAndUse (finished: Finished) {
    const { attempt, attempt: { n }, service, access_token } = finished
    const how = endings[n % endings.length]
    const inEveryWay = n % everyWayOneIn === 0
    if (how === 'revocation') await service.revoke(attempt, access_token)
    if (how === 'logout') await (inEveryWay && mayEnterSilently(finished) ? logOutAndGoOn(finished) : logOut(finished))
    const statuses = await useEverywhere(finished, access_token)
    const worths = inEveryWay ? await Promise.all(there().map(replica => dataProvider.introspect({ n, access_token, replica }))) : []
    const isEnded = leaving.has(browserOf(attempt)) || history.endings.some(ending => ending.access_token === access_token)
    // of a service that was closed meanwhile no token is good any more
    const isClosed = !clients.some(({ client_id }) => client_id === attempt.client)
    const isForgotten = !isSealedHandle(access_token) && history.emptied.some(({ site, at }) => site === siteOf(access_token) && at >= attempt.endedAt!)
    if (!isEnded && !isForgotten && !isClosed) figures.lostTokens += statuses.filter(status => status === 401).length + worths.filter(isActive => isActive === false).length
  }

  /** The logins of one browser have one session. */
  const browserOf = ({ n }: Pick<Finished['attempt'], 'n'>) => history.attempts[n]!.after ?? n

  const useEverywhere = ({ attempt: { n }, service }: Brought, access_token: string) =>
    Promise.all(there().map(async replica => (await service.ask({ n, access_token, replica })).status))

  async function replayEverywhere ({ login: { attempt: { n }, service, verifier, code }, tokens }: Trial, by: readonly Client[]) {
    for (const replica of there()) {
      if (isSealedHandle(code) && n % wrongOneIn === 0) await service.redeem({ n, code, verifier: random(), replica })
      for (const client of by) {
        const answer = await createService(scene, client).redeem({ n, code, verifier, redirect_uri: service.redirect_uri, replica })
        if (client.client_id !== service.client_id) continue
        if (answer.tokens !== undefined) tokens.push(answer.tokens.access_token)
        // a second use by its own client ends what the first gave (RFC 6749 §4.1.2); of a code that gave several sets each replica ends its own
        const [access_token, ...more] = tokens
        if (answer.failure === 'invalid_grant' && access_token !== undefined && more.length === 0) history.endings.push({ n, access_token, how: 'replay', at: answer.endedAt })
      }
    }
  }

  /** Ends the session of a browser; whether that was acknowledged. */
  async function logOut ({ attempt, attempt: { n }, service, id_token, access_token, jar }: Finished) {
    leaving.add(browserOf(attempt))
    const url = new URL(service.logoutUrl(id_token))
    const { status, endedAt } = await call('logout', url, { n, headers: { accept: 'text/html', cookie: jar.header(url, 'GET', true) } })
    if (status === 303) history.endings.push({ n, access_token, how: 'logout', at: endedAt })
    return status === 303
  }

  /** Who has a session at all, and a service that may be entered by one request. */
  const mayEnterSilently = ({ attempt: { client }, access_token }: Finished) => !isSealedHandle(access_token) && clients.some(({ client_id, pushes }) => client_id === client && pushes !== true)

  /** The session gives a code and is ended; then it is tried at every replica whether it gives another, and whether that one is good. */
  async function logOutAndGoOn (finished: Finished) {
    const { attempt: { n }, service, verifier, access_token } = finished
    const code = await enterSilently(scene, finished)
    if (!await logOut(finished)) return
    const goOn = async (replica: Replica) => {
      await enterSilently(scene, finished, replica)
      if (code !== undefined && !isSealedHandle(code)) await service.redeemLate({ n, code, verifier, access_token, replica })
    }
    await Promise.all(there().map(goOn))
  }

  return {
    figures,
    otherCodes,
    /** A login that brought a code to its service. */
    add (login: Brought) {
      queue.push(login)
      if (queue.length <= longestQueue) return
      queue.shift()
      figures.leftOut++
    },
    /** Begins nothing more for a while, so that all that is asked is asked by those who come. */
    hold (isToBe: boolean) { isHeld = isToBe },
    /** Waits until every login was tried again, and replays every code once more, and those that had to wait. */
    async end () {
      over.abort()
      await working
      const last = [...done.map(trial => () => tryLast(trial)), ...waiting.map(login => () => tryLate(login))].values()
      await Promise.all(Array.from({ length: lastWorkers }, async () => { for (const tryIt of last) await tryIt() }))
    }
  }
}
