import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { createJar, type CookieJar } from '../world/browser.ts'
import { citizenOf } from '../world/light-provider.ts'
import type { Attempt, Purpose } from './history.ts'
import { isFinished, logIn, type Brought, type Finished } from './login.ts'
import type { Provider } from './provider.ts'
import type { Scene } from './service.ts'
import type { Client } from './stage.ts'

export interface DriverOptions {
  /** logins that begin in a second, whatever becomes of earlier ones; 0 for none */
  rate: number
  /** whether a citizen whose login failed tries once more at once, in the same browser */
  persists?: boolean
  /** who wants to enter what; as many at each provider for each client unless set */
  pairs?: ReadonlyArray<{ provider: Provider, client: Client }>
  /** whether browser and service reach one site, in turn one and the other, and never another meanwhile */
  staysAtSite?: boolean
  /** hears of every login that brought a code to its service */
  onCode?: (login: Brought) => void
}

/** As many logins under way, beside those that stay at a provider, mean that the gateway does not keep up: one more is left out, and counted. */
const mostInFlight = 1000
/** Few enough to come again and again, at every provider and client; the world has no other. */
const citizens = 150

export type Driver = ReturnType<typeof startDriver>

/** An open model of arrivals: logins begin at a fixed rate, as many at each provider and each client, until it is ended. */
export function startDriver (scene: Scene, { rate, persists = false, staysAtSite = false, onCode = () => {}, ...chosen }: DriverOptions) {
  const { stage: { providers, clients, sites }, clock, lingersMs = 0 } = scene
  const figures = { leftOut: 0, mostLateMs: 0 }
  const inFlight = new Set<Promise<void>>()
  const most = mostInFlight + rate * lingersMs / 1000
  const beganAt = clock()
  const over = new AbortController()

  // shuffled: in a fixed order the load balancer, which takes turns as well, would lead one provider's citizens to one replica
  const { pairs = providers.flatMap(provider => clients.map(client => ({ provider, client }))) } = chosen
  let turns: Array<typeof pairs[number]> = []
  const nextPair = () => {
    if (turns.length === 0) turns = pairs.map(pair => ({ pair, place: Math.random() })).sort((a, b) => a.place - b.place).map(({ pair }) => pair)
    return turns.pop()!
  }

  async function arrive () {
    if (rate === 0) return
    for (let n = 0; !over.signal.aborted; n++) {
      const due = beganAt + n * 1000 / rate
      const early = due - clock()
      if (early > 0) await pause(early)
      if (over.signal.aborted) return
      figures.mostLateMs = Math.max(figures.mostLateMs, clock() - due)
      const attempt = attemptAt(n)
      if (inFlight.size >= most) {
        figures.leftOut++
        continue
      }
      const login = visit(attempt).finally(() => { inFlight.delete(login) })
      inFlight.add(login)
    }
  }

  async function visit (attempt: Attempt) {
    const jar = createJar()
    await enter(attempt, jar)
    if (persists && attempt.outcome === 'failed') await enter(beginAttempt(scene, { ...attempt, purpose: 'plain', after: attempt.n }), jar)
  }

  async function enter (attempt: Attempt, jar: CookieJar) {
    const login = await logIn(scene, attempt, jar)
    if (login !== undefined) onCode(login)
  }
  const arriving = arrive()

  function attemptAt (n: number) {
    const citizen = `citizen-${n % citizens}`
    const { provider, client } = nextPair()
    return beginAttempt(scene, { purpose: purposeAt(n), client: client.client_id, provider: provider.id, citizen, ...(staysAtSite ? { site: sites[n % sites.length]!.mark } : {}) })
  }

  return {
    figures,
    /** No more arrivals; waits for the logins that are under way. */
    async end () {
      over.abort()
      await arriving
      await Promise.all(inFlight)
    }
  }
}

type Begun = Pick<Attempt, 'purpose' | 'client' | 'provider' | 'citizen' | 'after' | 'site'>

/** One more attempt of the history, from now on. */
export function beginAttempt ({ history, clock }: Pick<Scene, 'history' | 'clock'>, { purpose, client, provider, citizen, after, site }: Begun) {
  const attempt: Attempt = {
    n: history.attempts.length,
    purpose,
    client,
    provider,
    citizen,
    given_name: String(citizenOf(citizen)['given_name']),
    nonce: randomBytes(16).toString('base64url'),
    ...(after === undefined ? {} : { after }),
    ...(site === undefined ? {} : { site }),
    startedAt: clock(),
    notices: [],
    sent: []
  }
  history.attempts.push(attempt)
  return attempt
}

/** One citizen who comes beside the load, to a client that asks nothing of him or her, at this site if one is named; in the browser of an earlier login where there was one. */
export async function logInBeside (scene: Scene, citizen: string, { site, before }: { site?: string, before?: Visit } = {}): Promise<Visit> {
  const { clients, providers: [provider] } = scene.stage
  const jar = before?.jar ?? createJar()
  const attempt = beginAttempt(scene, {
    purpose: 'plain',
    client: clients.find(({ consent }) => consent === 'skip')!.client_id,
    provider: provider!.id,
    citizen,
    ...(before === undefined ? {} : { after: before.attempt.after ?? before.attempt.n }),
    ...(site === undefined ? {} : { site })
  })
  const login = await logIn(scene, attempt, jar)
  if (login !== undefined) scene.waiting.push(login)
  return { attempt, jar, finished: isFinished(login) ? login : undefined }
}

/** A login beside the load, and the browser that it was in. */
export interface Visit { attempt: Attempt, jar: CookieJar, finished: Finished | undefined }

const purposeAt = (n: number): Purpose => n % 11 === 7 ? 'race' : n % 7 === 3 ? 'wrong_first' : 'plain'
