import { isSealedHandle, siteOf } from '../../src/adapters/handles.ts'
import { life } from '../../src/records.ts'
import type { Attempt, Ending, History, Redemption, Try, Use } from './history.ts'

/** Something that must never be, and what shows that it was. */
export interface Violation { invariant: 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I6', what: string, evidence: Record<string, unknown> }

/** Every breach of the invariants that a history shows; what each demands stands before its detector. */
export const check = (history: History): Violation[] => detectors.flatMap(detect => detect(history))

const isTokens = ({ status }: { status: number }) => status === 200
/** Nobody knows whether the other side did it. */
const isAmbiguous = ({ status }: { status: number }) => status === 0 || status >= 500

/**
 * I1: a code yields at most one set of tokens, and only to its client with its verifier, whether the answer arrives or not. One that holds its record may yield one at each
 * replica while Redis is away.
 */
function codesAreSpentOnce (history: History): Violation[] {
  const { attempts, redemptions, events } = history
  const given = redemptions.filter(isTokens)
  const written = Map.groupBy(events, ({ login }): string | undefined => login)
  const twice = [...Map.groupBy(given, ({ code }) => code).values()].filter(({ length }) => length > 1).filter(sets => !isOnceEach(history, sets))
  return [
    ...twice.map((redemptions): Violation => ({ invariant: 'I1', what: `one code gave ${redemptions.length} sets of tokens`, evidence: { redemptions } })),
    ...given.filter(({ n, by }) => attempts[n]?.client !== by).map((redemption): Violation => ({ invariant: 'I1', what: 'a code gave tokens to another client', evidence: { redemption, attempt: attempts[redemption.n] } })),
    ...given.filter(({ n, code_challenge }) => attempts[n]?.code_challenge !== code_challenge).map((redemption): Violation => ({ invariant: 'I1', what: 'a code gave tokens for another verifier', evidence: { redemption, attempt: attempts[redemption.n] } })),
    ...[...Map.groupBy(redemptions, ({ n }) => attempts[n]?.login)].flatMap(([login, ofLogin]): Violation[] => {
      const codes = new Set(ofLogin.map(({ code }) => code))
      const lines = written.get(login) ?? []
      if (login === undefined || lines.length <= Math.max(codes.size, ofLogin.filter(isTokens).length) || [...codes].some(isSealedHandle)) return []
      return [{ invariant: 'I1', what: `${codes.size} codes gave ${lines.length} sets of tokens, as the audit events have it`, evidence: { events: lines, redemptions: ofLogin } }]
    })
  ]
}

/** Whether the Redis of the site that issued this did not answer then, or not all the time. */
const isAway = ({ storeAway }: Pick<History, 'storeAway'>, handle: string, { at, endedAt = at }: { at: number, endedAt?: number }) =>
  storeAway.some(({ from, to, site = siteOf(handle) }) => endedAt >= from && at < to && site === siteOf(handle))

/** Redemptions beyond the first, of codes that hold their record: each at another replica, while Redis was away. */
export const redeemedAlone = (history: History) => [...Map.groupBy(history.redemptions.filter(isTokens), ({ code }) => code).values()].filter(sets => sets.length > 1 && isOnceEach(history, sets)).flatMap(([, ...more]) => more)

const isOnceEach = (history: History, sets: readonly Redemption[]) => isSealedHandle(sets[0]!.code) &&
  new Set(sets.map(redemption => processOf(redemption, history.startedAnew))).size === sets.length &&
  sets.slice(1).every(redemption => isAway(history, redemption.code, redemption))

/** The process that answered: a replica that was started anew is another one. */
const processOf = ({ replica, at }: Redemption, startedAnew: History['startedAnew']) => `${replica} ${startedAnew.filter(start => start.replica === replica && start.at <= at).length}`

/** I2: no response carries another login's `sub` or `nonce`; one citizen has one `sub` at a client, two have two; a name is its own citizen's, a `sid` one browser's. */
function answersAreOnesOwn ({ attempts, redemptions, uses }: History): Violation[] {
  const violations: Violation[] = []
  const breach = (what: string, evidence: Record<string, unknown>) => violations.push({ invariant: 'I2', what, evidence })
  const given = redemptions.filter(isTokens)
  const subOf = new Map(given.map(({ access_token, sub }) => [access_token, sub]))

  for (const redemption of given) {
    const attempt = attempts[redemption.n]
    if (redemption.nonce !== attempt?.nonce) breach('an ID Token carries a nonce of another login', { redemption, attempt })
  }
  for (const use of uses.filter(isTokens)) {
    const attempt = attempts[use.n]
    if (use.sub !== subOf.get(use.access_token)) breach('userinfo speaks of another sub than the ID Token', { use, expected: subOf.get(use.access_token) })
    if (use.given_name !== attempt?.given_name) breach('userinfo names another citizen', { use, attempt })
  }

  const owners = (values: Array<[key: string, owner: string]>) => Map.groupBy(values, ([key]) => key).entries()
    .map(([key, pairs]) => ({ key, owners: [...new Set(pairs.map(([, owner]) => owner))] })).filter(({ owners }) => owners.length > 1)
  const told = given.flatMap(({ n, sub }) => attempts[n] === undefined ? [] : [{ attempt: attempts[n], sub: String(sub) }])
  for (const { key, owners: citizens } of owners(told.map(({ attempt, sub }) => [`${attempt.client} ${sub}`, attempt.citizen]))) breach('two citizens share a sub', { sub: key, citizens })
  for (const { key, owners: subs } of owners(told.map(({ attempt, sub }) => [`${attempt.client} ${attempt.citizen}`, sub]))) breach('one citizen has two subs at a client', { citizen: key, subs })
  for (const { key, owners: logins } of owners(given.map(({ n, sid }) => [String(sid), String(attempts[n]?.after ?? n)]))) breach('two logins share a sid', { sid: key, logins })
  return violations
}

/** I3: after an acknowledged logout or revocation nothing succeeds any more, but where Redis cannot say so a token that holds its record lives out its minute. */
function endsAreFinal (history: History): Violation[] {
  const ends = Map.groupBy(history.endings, ({ access_token }) => access_token)
  const later = [
    ...history.uses.filter(isTokens).map(use => ({ use, what: 'a token was good', mayBe: livesItOut })),
    ...history.tries.filter(({ isGood }) => isGood).map(use => ({ use, ...goodBy[use.by] }))
  ]
  return later.flatMap(({ use, what, mayBe }) => {
    const ending = ends.get(use.access_token)?.find(ending => ending.at <= use.at && !mayBe(history, use, ending))
    return ending === undefined ? [] : [{ invariant: 'I3', what: `${what} after its ${ending.how}`, evidence: { use, ending } } satisfies Violation]
  })
}

const isBetween = ({ at }: { at: number }, ending: Ending, use: Pick<Use, 'at'>) => at >= ending.at && at <= use.at

/** Only a logout ends a session, and what says so is kept at the site where it was opened: it may go with that. */
const isNotReached = ({ emptied }: History, use: Pick<Use, 'at'>, ending: Ending) => ending.how !== 'logout' || emptied.some(moment => isBetween(moment, ending, use))

/** What it means that something else was good, and when it may be. */
const goodBy: Record<Try['by'], { what: string, mayBe: typeof livesItOut }> = {
  introspection: { what: 'a token was said to be active', mayBe: livesItOut },
  session: { what: 'a session let its citizen in', mayBe: isNotReached },
  code: { what: 'a code of its session was redeemed', mayBe: isNotReached }
}

/**
 * Whether a token may be good still since it holds its record: a logout does not reach it; of another end Redis cannot tell while it is away, nor when it came back empty,
 * nor when the process that was to tell it is no more.
 */
function livesItOut (history: History, use: Pick<Use, 'access_token' | 'at' | 'endedAt'>, ending: Ending) {
  const { access_token, at } = use
  if (!isSealedHandle(access_token) || at > ending.at + life.sealedHandle * 1000) return false
  return ending.how === 'logout' || isAway(history, access_token, use) ||
    history.emptied.some(emptied => emptied.site === siteOf(access_token) && isBetween(emptied, ending, use)) ||
    (isAway(history, access_token, ending) && history.startedAnew.some(start => isBetween(start, ending, use)))
}

/** I4: nothing is 200 after the same request by the same client was `invalid_grant`; by a code that holds its record, and while Redis is away, at the same replica. */
function refusalsAreFinal (history: History): Violation[] {
  const { redemptions, startedAnew } = history
  const anywhere = ({ by, request }: Redemption) => `${by} ${request}`
  const here = (redemption: Redemption) => `${anywhere(redemption)} ${processOf(redemption, startedAnew)}`
  const refusals = new Map<string, Redemption>()
  for (const redemption of redemptions.filter(({ failure }) => failure === 'invalid_grant')) {
    for (const sameness of [anywhere(redemption), here(redemption)]) {
      const known = refusals.get(sameness)
      if (known === undefined || redemption.endedAt < known.endedAt) refusals.set(sameness, redemption)
    }
  }
  return redemptions.filter(isTokens).flatMap(redemption => {
    const { code } = redemption
    const refusal = refusals.get(isSealedHandle(code) && isAway(history, code, redemption) ? here(redemption) : anywhere(redemption))
    return refusal === undefined || refusal.endedAt > redemption.at ? [] : [{ invariant: 'I4', what: 'a request was granted that had been refused', evidence: { refusal, redemption } } satisfies Violation]
  })
}

/** I5: every 5xx has Retry-After or an OAuth error. */
const failuresSayHowToGoOn = ({ requests }: History): Violation[] => requests
  .filter(({ status, retryAfter, failure }) => status >= 500 && retryAfter !== true && failure === undefined)
  .map(request => ({ invariant: 'I5', what: `a ${request.status} says neither when to come again nor what it was`, evidence: { request } }))

/** I6: there is an audit event for every set of tokens, and none for what nobody was given. */
function tokensAreOnRecord ({ attempts, redemptions, events }: History): Violation[] {
  const known = new Set(attempts.map(({ login }) => login))
  const loginOf = ({ n }: Redemption) => attempts[n]?.login ?? 'unknown'   // who is let in by a session sees no page that names it
  const given = Map.groupBy(redemptions.filter(isTokens), loginOf)
  const doubtful = Map.groupBy(redemptions.filter(isAmbiguous), loginOf)
  const written = Map.groupBy(events, ({ login }) => known.has(login) ? login : 'unknown')
  const byLogin = new Map<string, Attempt>(attempts.flatMap(attempt => attempt.login === undefined ? [] : [[attempt.login, attempt]]))

  return [...new Set([...given.keys(), ...written.keys()])].flatMap((login): Violation[] => {
    const [sets, lines, unsure] = [given.get(login)?.length ?? 0, written.get(login)?.length ?? 0, doubtful.get(login)?.length ?? 0]
    const evidence = { login, sets, events: written.get(login) ?? [], attempt: byLogin.get(login) }
    if (lines < sets) return [{ invariant: 'I6', what: `${sets} sets of tokens, ${lines} audit events`, evidence }]
    return lines > sets + unsure ? [{ invariant: 'I6', what: `${lines} audit events, ${sets} sets of tokens`, evidence }] : []
  })
}

const detectors = [codesAreSpentOnce, answersAreOnesOwn, endsAreFinal, refusalsAreFinal, failuresSayHowToGoOn, tokensAreOnRecord]
