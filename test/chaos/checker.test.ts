import t from 'tap'
import { check, redeemedAlone } from './checker.ts'
import { createHistory, type Attempt, type Ending, type History, type Redemption, type Try, type Use } from './history.ts'

/** One login that went well, as the driver writes it: what each test spoils. */
function login (history: History, n: number, { client = 'allow', citizen = `citizen-${n}` } = {}) {
  const attempt: Attempt = {
    n,
    purpose: 'plain',
    client,
    provider: 'vitalys',
    citizen,
    given_name: `Name${citizen}`,
    nonce: `nonce-${n}`,
    startedAt: n * 100,
    endedAt: n * 100 + 50,
    outcome: 'success',
    login: `login-${n}`,
    notices: [],
    sent: [{ at: n * 100 + 10, provider: 'vitalys' }],
    code: `code-${n}`,
    code_challenge: `challenge-${n}`,
    sub: `${client}-${citizen}`,
    sid: `sid-${n}`
  }
  const redemption: Redemption = {
    n,
    code: `code-${n}`,
    by: client,
    request: `request-${n}`,
    code_challenge: `challenge-${n}`,
    at: n * 100 + 20,
    endedAt: n * 100 + 30,
    replica: 'one',
    status: 200,
    access_token: `token-${n}`,
    sub: `${client}-${citizen}`,
    nonce: `nonce-${n}`,
    sid: `sid-${n}`
  }
  const use: Use = { n, access_token: `token-${n}`, at: n * 100 + 35, endedAt: n * 100 + 40, replica: 'two', status: 200, sub: `${client}-${citizen}`, given_name: `Name${citizen}` }
  history.attempts[n] = attempt
  history.redemptions.push(redemption)
  history.uses.push(use)
  history.events.push({ login: `login-${n}`, client_id: client, replica: 'one' })
  return { attempt, redemption, use, refusal: { ...redemption, status: 400, failure: 'invalid_grant', access_token: undefined, sub: undefined, nonce: undefined, sid: undefined } as unknown as Redemption }
}

type Planted = ReturnType<typeof login>

/** A history of three logins, two of them by one citizen at two clients. */
function threeLogins () {
  const history = createHistory()
  const logins = [login(history, 0), login(history, 1), login(history, 2, { client: 'deny', citizen: 'citizen-1' })] as const
  return { history, logins }
}

const broken = (history: History) => check(history).map(({ invariant, what }) => `${invariant} ${what}`)

t.test('a history in which all is well breaks nothing', async t => {
  const { history, logins: [first] } = threeLogins()
  const { redemption, refusal, use } = first
  history.redemptions.push({ ...refusal, at: 40, endedAt: 45 }, { ...refusal, by: 'deny', at: 5, endedAt: 8 }, { ...refusal, request: 'another verifier', code_challenge: 'another', at: 9, endedAt: 12 })
  history.endings.push({ n: 0, access_token: 'token-0', how: 'replay', at: 45 })
  history.uses.push({ ...use, at: 50, endedAt: 55, status: 401, sub: undefined, given_name: undefined })
  history.requests.push({ step: 'token', at: redemption.at, ms: 10, method: 'POST', status: 200 }, { step: 'token', at: 1, ms: 1, method: 'POST', status: 400 }, { step: 'token', at: 1, ms: 1, method: 'POST', status: 0, error: 'ECONNRESET' })
  t.same(broken(history), [])
})

t.test('I1: a code that gave two sets of tokens is found, whoever asked, and wherever', async t => {
  const { history, logins: [first] } = threeLogins()
  history.redemptions.push({ ...first.redemption, replica: 'two', request: 'the same', access_token: 'token-x', at: 60, endedAt: 70 })
  history.events.push({ login: 'login-0', client_id: 'allow', replica: 'two' })
  const [violation] = check(history)
  t.match(violation, { invariant: 'I1', what: 'one code gave 2 sets of tokens' })
  t.match(violation!.evidence, { redemptions: [{ replica: 'one' }, { replica: 'two' }] })
})

/** A history in which a code that holds its record was redeemed at each of two replicas, while Redis was away. */
function redeemedAtEach () {
  const { history, logins: [first] } = threeLogins()
  const code = 'a~sealed.code'
  first.redemption.code = code
  const second: Redemption = { ...first.redemption, replica: 'two', access_token: 'a~another.token', at: 60, endedAt: 70 }
  history.redemptions.push(second)
  history.events.push({ login: 'login-0', client_id: 'allow', replica: 'two' })
  history.storeAway.push({ from: 0, to: 100 })
  return { history, first: first.redemption, second, refusal: { ...first.refusal, code } }
}

t.test('I1: a code that holds its record may give tokens at each replica once, while Redis is away and no longer', async t => {
  const right = redeemedAtEach()
  t.same(broken(right.history), [])
  t.same(redeemedAlone(right.history), [right.second])

  const same = redeemedAtEach()
  same.second.replica = 'one'
  t.same(broken(same.history), ['I1 one code gave 2 sets of tokens'], 'twice at one replica')
  same.history.startedAnew.push({ replica: 'one', at: 50 })
  t.same(broken(same.history), [], 'which was started anew between the two')

  const late = redeemedAtEach()
  late.history.storeAway[0]!.to = 55
  t.same(broken(late.history), ['I1 one code gave 2 sets of tokens'], 'when Redis was back')
  t.same(redeemedAlone(late.history), [])

  const ofThatSite = redeemedAtEach()
  Object.assign(ofThatSite.history.storeAway[0]!, { site: 'a' })
  t.same(broken(ofThatSite.history), [], 'while the Redis of its site was away')
  Object.assign(ofThatSite.history.storeAway[0]!, { site: 'b' })
  t.same(broken(ofThatSite.history), ['I1 one code gave 2 sets of tokens'], 'when it was that of another site')

  const unproven = redeemedAtEach()
  Object.assign(unproven.second, { request: 'another verifier', code_challenge: 'another' })
  t.same(broken(unproven.history), ['I1 a code gave tokens for another verifier'], 'for somebody who does not have its verifier')

  const kept = redeemedAtEach()
  kept.first.code = kept.second.code = 'a-kept'
  t.same(broken(kept.history), ['I1 one code gave 2 sets of tokens'], 'a code that Redis keeps')
})

t.test('I4: where a code that holds its record was refused it stays refused, and while Redis is away only there', async t => {
  const { history, refusal } = redeemedAtEach()
  history.redemptions.push({ ...refusal, replica: 'one', at: 40, endedAt: 45 })
  t.same(broken(history), [])
  history.redemptions.push({ ...refusal, replica: 'two', at: 50, endedAt: 55 })
  t.same(broken(history), ['I4 a request was granted that had been refused'])

  const back = redeemedAtEach()
  back.history.redemptions.splice(0, 1)
  back.history.uses.splice(0, 1)
  back.history.events.shift()
  back.history.storeAway[0]!.to = 55
  t.same(broken(back.history), [])
  back.history.redemptions.push({ ...back.refusal, replica: 'one', at: 40, endedAt: 45 })
  t.same(broken(back.history), ['I4 a request was granted that had been refused'], 'when Redis was back: at every replica')
})

t.test('I3: a token that holds its record lives out its minute while Redis cannot say that it was ended, and not when it can; one that Redis keeps never does', async t => {
  /** A token that was ended at 50 and was good at 60, and what happened in between. */
  const goodAfter = (how: Ending['how'], access_token: string, meanwhile: Partial<History>, at = 60) => {
    const { history, logins: [first] } = threeLogins()
    Object.assign(history, meanwhile)
    first.redemption.access_token = first.use.access_token = access_token
    history.endings.push({ n: 0, access_token, how, at: 50 })
    history.uses.push({ ...first.use, at, endedAt: at + 5 })
    return broken(history)
  }
  const sealed = 'a~sealed.token'
  const found = (how: Ending['how']) => [`I3 a token was good after its ${how}`]
  const away = (from: number, to: number, site?: string) => ({ storeAway: [{ from, to, ...(site === undefined ? {} : { site }) }] })

  t.same(goodAfter('revocation', 'a-kept', away(0, 100)), found('revocation'))
  t.same(goodAfter('revocation', sealed, {}), found('revocation'), 'Redis was never away')
  t.same(goodAfter('revocation', sealed, away(55, 100)), [], 'it is away')
  t.same(goodAfter('revocation', sealed, away(62, 100)), [], 'it goes meanwhile')
  t.same(goodAfter('revocation', sealed, away(55, 100, 'b')), found('revocation'), 'that of another site is')
  t.same(goodAfter('replay', sealed, away(40, 55)), found('replay'), 'it is back, and was told')
  t.same(goodAfter('replay', sealed, { ...away(40, 55), startedAnew: [{ replica: 'one', at: 52 }] }), [], 'who was to tell it is no more')
  t.same(goodAfter('replay', sealed, { startedAnew: [{ replica: 'one', at: 52 }] }), found('replay'), 'it was told at once')
  t.same(goodAfter('revocation', sealed, { emptied: [{ site: 'a', at: 55 }] }), [], 'it came back empty')
  t.same(goodAfter('revocation', sealed, { emptied: [{ site: 'a', at: 45 }] }), found('revocation'), 'it came back empty before')
  t.same(goodAfter('logout', sealed, {}), [], 'no logout reaches it')
  for (const how of ['logout', 'revocation'] as const) t.same(goodAfter(how, sealed, away(0, Infinity), 60_051), found(how), 'its minute is over')
})

t.test('I6: tokens of a login that no page named are counted against the events of logins that nobody knows', async t => {
  const { history, logins: [first] } = threeLogins()
  delete first.attempt.login
  t.same(broken(history), [])
  history.events.shift()
  t.same(broken(history), ['I6 1 sets of tokens, 0 audit events'])
})

t.test('I1: a code that gave tokens to another client, or for another verifier, is found', async t => {
  const stolen = threeLogins()
  stolen.logins[0].redemption.by = 'deny'
  t.same(broken(stolen.history), ['I1 a code gave tokens to another client'])

  const unproven = threeLogins()
  unproven.logins[0].redemption.code_challenge = 'another'
  t.same(broken(unproven.history), ['I1 a code gave tokens for another verifier'])
})

t.test('I1: a code that gave tokens when it was tried again is right where nobody knows of any before, and not where the answer was lost but not the audit event', async t => {
  for (const status of [0, 503]) {
    const { history, logins: [{ attempt, refusal }] } = threeLogins()
    attempt.outcome = 'failed'
    history.uses.splice(0, 1)
    history.redemptions.push({ ...refusal, status, failure: undefined, at: 10, endedAt: 15 } as unknown as Redemption, { ...refusal, at: 40, endedAt: 45 })
    t.same(broken(history), [], String(status))
    history.events.push({ login: 'login-0', client_id: 'allow', replica: 'two' })
    t.same(broken(history), ['I1 1 codes gave 2 sets of tokens, as the audit events have it'], 'each set is on record')
    for (const thing of history.redemptions.filter(({ n }) => n === 0)) thing.code = 'a~sealed.code'
    t.same(broken(history), [], 'of a code that holds its record each replica may have given one')
  }
})

t.test('I2: the nonce, the userinfo or the name of another login is found', async t => {
  const plants: Array<[string, (login: Planted) => void]> = [
    ['I2 an ID Token carries a nonce of another login', ({ redemption }) => { redemption.nonce = 'nonce-1' }],
    ['I2 an ID Token carries a nonce of another login', ({ redemption }) => { redemption.nonce = undefined }],
    ['I2 userinfo speaks of another sub than the ID Token', ({ use }) => { use.sub = 'allow-citizen-1' }],
    ['I2 userinfo speaks of another sub than the ID Token', ({ use }) => { use.access_token = 'token of nobody' }],
    ['I2 userinfo names another citizen', ({ use }) => { use.given_name = 'Namecitizen-1' }],
    ['I2 userinfo names another citizen', ({ use }) => { use.given_name = undefined }]
  ]
  for (const [expected, plant] of plants) {
    const { history, logins: [first] } = threeLogins()
    plant(first)
    t.same(broken(history), [expected])
  }
})

t.test('I2: two citizens with one sub, one citizen with two, and two logins with one sid are found; two clients may call a citizen differently', async t => {
  const shared = threeLogins()
  shared.logins[0].redemption.sub = shared.logins[0].use.sub = 'allow-citizen-1'
  t.same(broken(shared.history), ['I2 two citizens share a sub'])

  const split = threeLogins()
  const again = login(split.history, 3, { citizen: 'citizen-0' })
  t.same(broken(split.history), [], 'a citizen who comes again is known again')
  again.redemption.sub = again.use.sub = 'somebody new'
  t.same(broken(split.history), ['I2 one citizen has two subs at a client'])

  const merged = threeLogins()
  merged.logins[1].redemption.sid = 'sid-0'
  t.same(broken(merged.history), ['I2 two logins share a sid'])
})

t.test('I3: a token that is good after its end is found, and one that was asked for before it is not', async t => {
  for (const how of ['revocation', 'logout', 'replay', 'closing'] as const) {
    const { history, logins: [{ use }] } = threeLogins()
    history.endings.push({ n: 0, access_token: 'token-0', how, at: 50 })
    history.uses.push({ ...use, at: 49, endedAt: 60 })
    t.same(broken(history), [], 'its answer overlaps the end')
    history.uses.push({ ...use, replica: 'one', at: 50, endedAt: 60 })
    t.same(broken(history), [`I3 a token was good after its ${how}`])
  }
})

t.test('I3: after a logout neither introspection, nor the session, nor a code that it had given before may be good; what could not be said, or was asked before, is no breach', async t => {
  const found: Record<Try['by'], string> = {
    introspection: 'I3 a token was said to be active after its logout',
    session: 'I3 a session let its citizen in after its logout',
    code: 'I3 a code of its session was redeemed after its logout'
  }
  for (const [by, breach] of Object.entries(found) as Array<[Try['by'], string]>) {
    const { history } = threeLogins()
    const tried: Try = { n: 0, access_token: 'token-0', by, at: 60, endedAt: 65, replica: 'two', status: 200, isGood: true }
    const ending: Ending = { n: 0, access_token: 'token-0', how: 'logout', at: 50 }
    history.endings.push(ending)
    history.tries.push({ ...tried, at: 49 }, { ...tried, isGood: false }, { ...tried, status: 503, isGood: undefined }, { ...tried, access_token: 'token-1' })
    t.same(broken(history), [], by)
    history.tries.push(tried)
    t.same(broken(history), [breach], by)
    t.match(check(history)[0]!.evidence, { use: { by, at: 60 }, ending: { how: 'logout' } }, by)

    ending.how = 'revocation'
    t.same(broken(history), by === 'introspection' ? ['I3 a token was said to be active after its revocation'] : [], `${by}: of a token alone`)
    ending.how = 'logout'
    history.emptied.push({ site: 'a', at: 55 })
    t.same(broken(history), by === 'introspection' ? [breach] : [], `${by}: Redis came back empty`)
    history.emptied[0]!.at = 45
    t.same(broken(history), [breach], `${by}: it had before`)
  }
})

t.test('I4: a request that is granted after the same was refused is found, and not one that was under way beside it', async t => {
  const { history, logins: [{ refusal, redemption }] } = threeLogins()
  history.redemptions.push({ ...refusal, at: 15, endedAt: redemption.at + 1 })
  t.same(broken(history), [], 'at once: a race')
  history.redemptions.push({ ...refusal, at: 10, endedAt: redemption.at })
  t.same(broken(history), ['I4 a request was granted that had been refused'])
  t.match(check(history)[0]!.evidence, { refusal: { at: 10 } }, 'the earliest refusal is shown')
})

t.test('I5: an answer of 5xx without Retry-After and without an OAuth error is found, whatever code its page shows', async t => {
  const { history } = threeLogins()
  const call = { step: 'authorize', at: 1, ms: 1, method: 'GET', replica: 'one' }
  history.requests.push({ ...call, status: 503, retryAfter: true }, { ...call, status: 502, retryAfter: true, errorCode: 'C07' }, { ...call, status: 500, failure: 'server_error' })
  t.same(broken(history), [])
  history.requests.push({ ...call, status: 502 }, { ...call, status: 503, retryAfter: false }, { ...call, status: 502, errorCode: 'C07' })
  t.same(broken(history), [502, 503, 502].map(status => `I5 a ${status} says neither when to come again nor what it was`))
})

t.test('I6: tokens without an event, and events without tokens, are found', async t => {
  const silent = threeLogins()
  silent.history.events.shift()
  t.same(broken(silent.history), ['I6 1 sets of tokens, 0 audit events'])

  const talkative = threeLogins()
  talkative.history.events.push({ login: 'login-0', client_id: 'allow', replica: 'two' })
  t.same(broken(talkative.history), ['I1 1 codes gave 2 sets of tokens, as the audit events have it', 'I6 2 audit events, 1 sets of tokens'])

  const unknown = threeLogins()
  unknown.history.events.push({ login: 'login of nobody', client_id: 'allow', replica: 'two' })
  t.same(broken(unknown.history), ['I6 1 audit events, 0 sets of tokens'])
})

t.test('I6: where the answer was lost, nobody knows whether there were tokens: one event more is right, two are not', async t => {
  const { history, logins: [first] } = threeLogins()
  for (const status of [0, 503]) {
    history.redemptions[0] = { ...first.refusal, status, failure: undefined } as unknown as Redemption
    history.uses.splice(0, 1)
    t.same(broken(history), [], String(status))
  }
  history.events.push({ login: 'login-0', client_id: 'allow', replica: 'two' })
  t.same(broken(history), ['I1 1 codes gave 2 sets of tokens, as the audit events have it', 'I6 2 audit events, 0 sets of tokens'])
})
