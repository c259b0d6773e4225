import t from 'tap'
import { createHistory, type Attempt, type History, type Redemption, type Try } from './history.ts'
import { shown, type Present } from './proof.ts'

const present: Present = { isLoad: true, oneIn: 1, services: ['allow', 'deny'], sites: ['a'], replicas: [{ name: 'one', site: 'a' }, { name: 'two', site: 'a' }] }

/** A run of one login for each service, whose codes were tried again at both replicas and of which one was ended and tried in every way. */
function proving () {
  const history = createHistory()
  for (const [n, client] of ['allow', 'deny'].entries()) {
    const attempt: Attempt = { n, purpose: 'plain', client, provider: 'vitalys', citizen: 'c', given_name: 'C', nonce: 'n', startedAt: 0, endedAt: 10, outcome: 'success', notices: [], sent: [], code: `code-${n}` }
    const redemption: Redemption = { n, code: `code-${n}`, by: client, request: 'r', code_challenge: 'c', at: 5, endedAt: 8, replica: 'one', status: 200 }
    history.attempts.push(attempt)
    history.redemptions.push(redemption, ...['one', 'two'].map(replica => ({ ...redemption, replica, at: 20, endedAt: 22, status: 400, failure: 'invalid_grant' })))
  }
  const tried = { n: 0, access_token: 'token', at: 40, endedAt: 42, replica: 'one' }
  history.endings.push({ n: 0, access_token: 'token', how: 'logout', at: 30 })
  history.uses.push({ ...tried, status: 401 })
  history.tries.push(...(['introspection', 'session', 'code'] as const).map((by): Try => ({ ...tried, by, status: 200, isGood: false })))
  return history
}

const unmet = (history: History, among = present) => shown({ history, present: among }).filter(({ passed }) => !passed).map(({ what, measured }) => `${what.split(':')[0]}: ${measured}`)
const logins = 'logins'
const codes = 'codes that were tried again at every replica that answers'
const ends = 'answers to what an end has to reach, after it'

t.test('where everything was tried a history proves something', async t => {
  t.same(unmet(proving()), [])
  t.same(shown({ history: proving(), present }).map(({ measured }) => measured), ['allow 1, deny 1', '2 of 2, at one, two', 'userinfo 1, introspection 1, session 1, code 1'])
})

t.test('an empty history proves nothing, be it of a load or of what a fault brings by itself', async t => {
  t.same(unmet(createHistory()), [`${logins}: allow 0, deny 0`, `${codes}: 0 of 0, at one, two`, `${ends}: userinfo 0, introspection 0, session 0, code 0`])
  t.same(unmet(createHistory(), { ...present, isLoad: false }), [`${logins}: none`])
  t.same(unmet(proving(), { ...present, isLoad: false, services: ['allow', 'deny', 'of no interest to it'] }), [])
  const sampled = proving()
  sampled.tries = sampled.tries.filter(({ by }) => by === 'introspection')
  t.same(unmet(sampled, { ...present, oneIn: 20 }), [], 'of one in twenty few had a session')
  t.match(unmet(sampled), [/session 0, code 0/])
})

t.test('nothing is proved for a service without logins, nor by a login that is not among those that a fault could touch', async t => {
  const history = proving()
  t.same(unmet(history, { ...present, services: ['allow', 'deny', 'pushes'] }), [`${logins}: allow 1, deny 1, pushes 0`])
  t.same(shown({ history, present }, history.attempts.slice(1)).filter(({ passed }) => !passed).map(({ measured }) => measured), ['allow 0, deny 1'])
})

t.test('a code counts as tried again where its own service was told yes or no after its login, at every replica that answers', async t => {
  const spoilt: Array<[name: string, spoil: (history: History) => void]> = [
    ['at one replica only', history => { history.redemptions.pop() }],
    ['in vain', history => { Object.assign(history.redemptions.at(-1)!, { status: 503, failure: 'temporarily_unavailable' }) }],
    ['without an answer', history => { history.redemptions.at(-1)!.status = 0 }],
    ['by another service', history => { history.redemptions.at(-1)!.by = 'allow' }],
    ['in the login itself, by a race', history => { history.redemptions.at(-1)!.at = 5 }],
    ['by a login that never ended', history => { delete history.attempts[1]!.endedAt }]
  ]
  for (const [name, spoil] of spoilt) {
    const history = proving()
    spoil(history)
    t.same(unmet(history), [`${codes}: 1 of 2, at one, two`], name)
  }
  const history = proving()
  history.redemptions.pop()
  t.same(unmet(history, { ...present, replicas: [{ name: 'one', site: 'a' }] }), [], 'the other is away')
  t.same(unmet(history, { ...present, services: ['allow'] }), [], 'its service is no more')
  t.same(unmet(proving(), { ...present, sites: ['a', 'b'] }), [`${codes}: 2 of 2, at one, two`], 'all of a site is away')
})

t.test('after an end only what was refused, or good, is an answer', async t => {
  const history = proving()
  Object.assign(history.uses[0]!, { status: 503 })
  for (const tried of history.tries) tried.isGood = undefined
  t.same(unmet(history), [`${ends}: userinfo 0, introspection 0, session 0, code 0`])

  const early = proving()
  early.endings[0]!.at = 41
  t.same(unmet(early), [`${ends}: userinfo 0, introspection 0, session 0, code 0`], 'before it there was nothing to reach')
})
