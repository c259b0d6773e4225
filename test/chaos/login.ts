import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { isSealedHandle } from '../../src/adapters/handles.ts'
import type { CookieJar } from '../world/browser.ts'
import type { Answer } from './calls.ts'
import type { Attempt, Outcome } from './history.ts'
import { offersWayOn, readChooser, readConsent, type Chooser } from './pages.ts'
import type { Replica } from './replica.ts'
import { challengeOf, createService, directly, seen, type Scene, type Service } from './service.ts'

/** A login that brought a code to its service, whatever became of that: what can be tried with it afterwards. */
export interface Brought { attempt: Attempt, service: Service, verifier: string, code: string, jar: CookieJar }

/** One that ended with tokens. */
export interface Finished extends Brought { access_token: string, id_token: string }

/** Whether it did. */
export const isFinished = (login: Brought | undefined): login is Finished => login !== undefined && 'access_token' in login

/** How a way ended. */
interface End { outcome: Outcome, why?: string, tokens?: Pick<Finished, 'code' | 'access_token' | 'id_token'> }

/** What the service remembers of a login while its citizen is away. */
export interface Asked { attempt: Attempt, service: Service, verifier: string, state: string }

/** How long a citizen looks at a provider's blank page before going back. */
const providerPatienceMs = 15_000
const longestWay = 20

/** One citizen's whole way, from the service and back to it, as a browser and the service go it; the attempt is told how it ended. Without a code there is nothing to try afterwards. */
export async function logIn (scene: Scene, attempt: Attempt, jar: CookieJar): Promise<Brought | Finished | undefined> {
  const { stage: { clients }, clock } = scene
  const service = createService(scene, clients.find(({ client_id }) => client_id === attempt.client)!)
  const asked = ask(attempt, service)
  const { outcome, why, tokens } = await walk(scene, asked, jar).catch((error): End => ({ outcome: 'failed', why: `the driver: ${error}` }))
  attempt.outcome = outcome
  if (why !== undefined) attempt.why = why
  attempt.endedAt = clock()
  return attempt.code === undefined ? undefined : { attempt, service, verifier: asked.verifier, code: attempt.code, jar, ...tokens }
}

/** What the service asks with, drawn anew. */
export function ask (attempt: Attempt, service: Service): Asked {
  const verifier = random()
  attempt.code_challenge = challengeOf(verifier)
  return { attempt, service, verifier, state: random() }
}

/** Where the service sends its citizen. */
export const entranceOf = ({ attempt: { nonce }, service, verifier, state }: Asked) => service.authorizationUrl({ state, nonce, code_challenge: challengeOf(verifier) })

/** From page to page, as a citizen reads them. Where a provider fails on the way, another one that is offered is chosen, once. */
async function walk (scene: Scene, asked: Asked, jar: CookieJar): Promise<End> {
  const { stage: { issuer }, clock, lingersMs = 0 } = scene
  const { attempt, service } = asked
  const visit = visitor(scene, attempt, jar)
  const entrance = await service.pushed(attempt.n, entranceOf(asked))
  if (entrance === undefined) return { outcome: 'failed', why: 'its request could not be pushed' }
  let choice = attempt.provider
  let detour: 'returned' | 'stuck' | undefined
  const linger = async () => {
    if (lingersMs === 0) return
    const milliseconds = Math.random() * lingersMs
    attempt.lingeredMs = (attempt.lingeredMs ?? 0) + milliseconds
    await pause(milliseconds)
  }
  let answer = await visit('authorize', entrance)

  for (let steps = 0; steps < longestWay; steps++) {
    const onward = locationOf(answer)
    if (onward?.startsWith(service.redirect_uri)) {
      const end = await comeBack(scene, asked, new URL(onward).searchParams)
      return end.outcome === 'success' && detour !== undefined ? { ...end, outcome: 'recovered' } : end
    }
    if (onward?.startsWith(issuer)) {
      answer = await visit(stepOf(onward), onward)
      continue
    }
    if (onward !== undefined) {
      attempt.sent.push({ at: clock(), provider: choice })
      await linger()
      answer = await visit('provider', `${onward}&citizen=${attempt.citizen}`)
      if (locationOf(answer) !== undefined) continue
      if (detour !== undefined) return { outcome: detour, why: `stuck at ${choice}, too: ${reasonOf(answer)}` }
      detour = 'stuck'
      attempt.why = `stuck at ${choice}: ${reasonOf(answer)}`
      answer = await visit('back', entrance)
      continue
    }

    const page = answer.status === 200 ? answer.text : ''
    const consent = readConsent(page)
    if (consent !== undefined) {
      await linger()
      answer = await visit('agree', new URL(consent.action, answer.url), consent.fields)
      continue
    }
    const chooser = readChooser(page)
    if (chooser === undefined) {
      attempt.hasWayOn = offersWayOn(answer.text)
      return { outcome: 'failed', why: `${stepOf(answer.url)}: ${reasonOf(answer)}` }
    }
    attempt.login = chooser.login
    if (chooser.notice !== undefined) {
      attempt.notices.push(chooser.notice)
      if (detour !== undefined) return { outcome: detour, why: `returned again: ${attempt.notices.join(' ')}` }
      detour = 'returned'
    }
    if (detour === undefined && chooser.cards.get(choice)?.state === 'down') return { outcome: 'told' }
    if (detour !== undefined) {
      const other = anotherThan(choice, chooser)
      if (other === undefined) return { outcome: detour, why: 'no other provider to choose' }
      choice = other
    }
    const link = chooser.cards.get(choice)?.href
    if (link === undefined) return { outcome: 'failed', why: `${choice} cannot be chosen` }
    await linger()
    answer = await visit('login', new URL(link, answer.url))
  }
  return { outcome: 'failed', why: `sent on ${longestWay} times` }
}

/** What a browser does at one address, or with one form. */
const visitor = ({ call }: Scene, { n }: Attempt, jar: CookieJar) => async (step: string, address: string | URL, form?: URLSearchParams) => {
  const url = new URL(address)
  const method = form === undefined ? 'GET' : 'POST'
  const answer = await call(step, url, {
    method,
    n,
    headers: {
      accept: 'text/html',
      'accept-language': 'fr',
      cookie: jar.header(url, method, false),
      ...(form === undefined ? {} : { origin: url.origin, 'sec-fetch-site': 'same-origin' })
    },
    ...(form === undefined ? {} : { body: form }),
    ...(step === 'provider' ? { patienceMs: providerPatienceMs } : {})
  })
  jar.keep(url, answer.headers['set-cookie'])
  return answer
}

/** A value that nobody guesses: a verifier, a state. */
export const random = () => randomBytes(32).toString('base64url')
const anotherThan = (choice: string, { cards }: Chooser) => [...cards].find(([id, { state }]) => id !== choice && state === 'open')?.[0]
const locationOf = ({ status, headers: { location }, url }: Answer) => status >= 300 && status < 400 && typeof location === 'string' ? new URL(location, url).href : undefined
const stepOf = (address: string) => new URL(address).pathname.split('/')[1]!
const reasonOf = ({ status, failure, errorCode, error = '' }: Pick<Answer, 'status' | 'failure' | 'errorCode' | 'error'>) => status === 0 ? error : `${status} ${failure ?? errorCode ?? ''}`.trim()

/** What a browser's session gives this service without a question to the citizen (OpenID Connect Core §3.1.2.1), by the load balancer or at one replica: a code, where it is good. */
export async function enterSilently ({ stage: { issuer }, history, call }: Scene, { attempt: { n, nonce }, service, verifier, access_token, jar }: Finished, replica?: Replica): Promise<string | undefined> {
  const entrance = new URL(service.authorizationUrl({ state: random(), nonce, code_challenge: challengeOf(verifier), prompt: 'none' }))
  const answer = await call('silent', `${replica?.url ?? issuer}${entrance.pathname}${entrance.search}`, { n, ...directly(replica), headers: { accept: 'text/html', cookie: jar.header(entrance, 'GET', true) } })
  const back = locationOf(answer)
  const told = back?.startsWith(service.redirect_uri) ? new URL(back).searchParams : undefined
  const code = told?.get('code') ?? undefined
  history.tries.push({ n, access_token, by: 'session', ...seen(answer), isGood: code !== undefined || (told?.get('error') === 'login_required' ? false : undefined) })
  return code
}

/** What the service makes of what the browser brings back. */
export async function comeBack (scene: Scene, asked: Asked, parameters: URLSearchParams): Promise<End> {
  const { attempt, service, verifier, state } = asked
  const { n, purpose, given_name } = attempt
  const failed = (why: string): End => ({ outcome: 'failed', why })
  if (parameters.get('state') !== state) return failed('another state came back')
  if (parameters.get('iss') !== scene.stage.issuer) return failed('another iss came back')
  const code = parameters.get('code')
  if (code === null) return failed(`the service was told ${parameters.get('error')}`)

  attempt.code = code
  if (scene.keptMs) await pause(scene.keptMs)
  if (purpose === 'race') return race(scene, asked, code)
  if (purpose === 'wrong_first') await tryWrongly(scene, asked, code)
  const answer = await service.redeem({ n, code, verifier })
  if (answer.tokens === undefined) return failed(`token: ${reasonOf(answer)}`)
  const claims = await service.verify(attempt, answer.tokens.id_token)
  if ('fault' in claims) return failed(`ID Token: ${claims.fault}`)
  attempt.sub = claims.sub
  attempt.sid = claims.sid
  const userinfo = await service.ask({ n, access_token: answer.tokens.access_token })
  if (userinfo.status !== 200) return failed(`userinfo: ${reasonOf(userinfo)}`)
  if (userinfo.claims['sub'] !== claims.sub || userinfo.claims['given_name'] !== given_name) return failed('userinfo speaks of somebody else')
  return { outcome: 'success', tokens: { code, ...answer.tokens } }
}

/**
 * One token request at every replica at once: one of them gives tokens, which the others' refusal ends; of a code that holds its record each may, while Redis is away. What
 * ends is the access token: the ID Token has to be right all the same.
 */
async function race ({ stage: { replicas } }: Scene, { attempt, attempt: { n }, service, verifier }: Asked, code: string): Promise<End> {
  const answers = await Promise.all(replicas.filter(replica => replica.isThere()).map(replica => service.redeem({ n, code, verifier, replica })))
  const given = answers.flatMap(({ tokens }) => tokens ?? [])
  if (given.length !== 1 && !(given.length > 1 && isSealedHandle(code))) return { outcome: 'failed', why: `a race gave ${given.length} sets of tokens: ${answers.map(reasonOf).join(', ')}` }
  for (const { id_token } of given) {
    const claims = await service.verify(attempt, id_token)
    if ('fault' in claims) return { outcome: 'failed', why: `ID Token: ${claims.fault}` }
  }
  return { outcome: 'raced' }
}

/** Before its client does, another client asks with the code, and somebody who does not have the verifier. */
async function tryWrongly (scene: Scene, { attempt: { n }, service, verifier }: Asked, code: string) {
  const { clients, replicas } = scene.stage
  const stranger = createService(scene, clients.find(({ client_id }) => client_id !== service.client_id)!)
  const there = replicas.filter(replica => replica.isThere())
  await stranger.redeem({ n, code, verifier, redirect_uri: service.redirect_uri, replica: there[0]! })
  await service.redeem({ n, code, verifier: random(), replica: there.at(-1)! })
}
