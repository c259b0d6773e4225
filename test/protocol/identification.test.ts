import t from 'tap'
import type { Failure } from '../../src/protocol/errors.ts'
import { checkIdentification, oldestAuthTime } from '../../src/protocol/identification.ts'

const now = 1771000000
const sentAt = now - 100
const tolerance = 60                                                   // seconds by which a provider's clock may differ
const levels = ['eidas1', 'eidas2', 'eidas3']
const required = ['given_name', 'family_name', 'gender', 'birthdate', 'birthcountry']
const claims = { given_name: 'Angela', family_name: 'DUBOIS', gender: 'female', birthdate: '1962-08-24', birthplace: '75107', birthcountry: '99100' }
const provider = { acr_values: ['eidas1', 'eidas2'], amr: ['pwd'], required_claims: [] as string[], always_authenticates: false }

interface Case { answer?: object, asked?: object, provider?: object, required?: string[] }

const check = ({ answer = {}, asked = {}, provider: registered = {}, required: needed = required }: Case = {}) =>
  checkIdentification({ claims, acr: 'eidas1', ...answer }, { acr: 'eidas1', sentAt, now, ...asked }, { ...provider, ...registered }, levels, needed)
const refusal = (failure: Failure, message: RegExp) => ({ failure: new RegExp(`^${failure}$`), message })

t.test('a level that is not there, not the provider\'s to give or too low is refused', async t => {
  const table: Array<[Case, Failure, RegExp]> = [
    [{ answer: { acr: undefined } }, 'acr_missing', /returned no acr/],
    [{ answer: { acr: ['eidas2'] } }, 'acr_missing', /returned no acr/],
    [{ answer: { acr: 'eidas3' } }, 'acr_too_low', /an acr it may not vouch for/],
    [{ asked: { acr: 'eidas2' } }, 'acr_too_low', /an acr below eidas2/]
  ]
  for (const [of, failure, message] of table) t.throws(() => check(of), refusal(failure, message), JSON.stringify(of))
  t.equal(check({ answer: { acr: 'eidas2' } }).acr, 'eidas2', 'what is told is what was reached')
})

t.test('an identity that misses a claim is refused, by the claim\'s name and never its value', async t => {
  const table: Array<[Case, RegExp]> = [
    [{ answer: { claims: {} } }, /malformed: given_name family_name gender birthdate birthcountry$/],
    [{ answer: { claims: { ...claims, given_name: 42 } } }, /malformed: given_name$/],
    [{ answer: { claims: { ...claims, gender: 'Angela DUBOIS' } } }, /malformed: gender$/],
    [{ answer: { claims: { ...claims, birthdate: '1962-13-24' } } }, /malformed: birthdate$/],
    [{ answer: { claims: { ...claims, birthplace: '' } } }, /malformed: birthplace$/],
    [{ provider: { required_claims: ['email'] } }, /malformed: email$/],
    [{ provider: { required_claims: ['email'] }, required: [] }, /malformed: email$/],
    [{ required: ['phone_number'] }, /malformed: phone_number$/]
  ]
  for (const [of, message] of table) {
    t.throws(() => check(of), refusal('identity_incomplete', message), JSON.stringify(of))
    t.throws(() => check(of), { message: /^(?!.*(Angela|DUBOIS|1962|42))/ }, 'without a value')
  }
})

t.test('an auth_time that is no time, or in the future, is an answer that cannot be used (OpenID Connect Core §2)', async t => {
  const table: Array<[auth_time: unknown, message: RegExp]> = [
    [String(now), /^auth_time: expected a number/],
    [NaN, /^auth_time: expected a number/],
    [Infinity, /^auth_time: expected a number/],
    [-Infinity, /^auth_time: expected a number/],
    [null, /^auth_time: expected a number/],
    [true, /^auth_time: expected a number/],
    [[now], /^auth_time: expected a number/],
    [{}, /^auth_time: expected a number/],
    [now + tolerance + 1, /^auth_time: in the future/],
    [now * 1000, /^auth_time: in the future/]
  ]
  for (const [auth_time, message] of table) {
    for (const asked of [{}, { max_age: 3600 }, { prompt: ['login'] }]) {
      t.throws(() => check({ answer: { auth_time }, asked, provider: { always_authenticates: true } }), refusal('provider_answer_invalid', message), `${typeof auth_time} ${auth_time} ${JSON.stringify(asked)}`)
    }
  }
})

t.test('where a fresh login was asked, one too old is refused (OpenID Connect Core §3.1.2.1)', async t => {
  const table: Array<[asked: object, auth_time: number]> = [
    [{ prompt: ['login'] }, sentAt - tolerance - 1],
    [{ prompt: ['consent', 'login'] }, sentAt - tolerance - 1],
    [{ prompt: ['login'], max_age: 3600 }, sentAt - tolerance - 1],
    [{ max_age: 0 }, sentAt - tolerance - 1],
    [{ max_age: 3600 }, now - 3600 - tolerance - 1],
    [{ max_age: 3600 }, 0],
    [{ max_age: 3600 }, -1]
  ]
  for (const [asked, auth_time] of table) {
    for (const always_authenticates of [true, false]) {
      t.throws(() => check({ answer: { auth_time }, asked, provider: { always_authenticates } }), refusal('authentication_too_old', /reused an older authentication/), `${JSON.stringify(asked)} ${auth_time - now}`)
    }
  }
})

t.test('where a fresh login was asked, silence is believed only of a provider that always asks', async t => {
  for (const asked of [{ prompt: ['login'] }, { max_age: 0 }, { max_age: 3600 }]) {
    t.throws(() => check({ asked }), refusal('authentication_too_old', /does not say when it authenticated/), JSON.stringify(asked))
    t.equal(check({ asked, provider: { always_authenticates: true } }).auth_time, now, JSON.stringify(asked))
  }
})

t.test('an authentication made since the citizen left for the provider is never too old', async t => {
  const slow = { sentAt: now - 600 }                                   // ten minutes at the provider
  for (const asked of [{ prompt: ['login'] }, { max_age: 0 }, { max_age: 1 }, { max_age: 30 }, { max_age: 599 }]) {
    t.doesNotThrow(() => check({ answer: { auth_time: slow.sentAt + 1 }, asked: { ...slow, ...asked } }), JSON.stringify(asked))
  }
})

t.test('what a short max_age lets in a longer one does not refuse', async t => {
  const ages = [0, 1, 59, 60, 100, 101, 3600]
  const oldest = ages.map(max_age => oldestAuthTime({ max_age }, sentAt, now)!)
  t.strictSame(oldest, oldest.toSorted((a, b) => b - a))
})

t.test('a login is as old as the provider says, to the second and never in the future, else as old as its return', async t => {
  const table: Array<[auth_time: number | undefined, asked: object, told: number]> = [
    [undefined, {}, now],
    [undefined, { prompt: ['consent', 'select_account', 'none'] }, now],
    [now - 5, {}, now - 5],
    [now - 86400 * 365, {}, now - 86400 * 365],
    [now - 5.5, {}, now - 6],
    [now, {}, now],
    [now + 1, {}, now],
    [now + tolerance, {}, now],
    [sentAt - tolerance, { prompt: ['login'] }, sentAt - tolerance],
    [sentAt - tolerance, { max_age: 0 }, sentAt - tolerance],
    [now - 3600 - tolerance, { max_age: 3600 }, now - 3600 - tolerance],
    [now - 3600 - tolerance - 1, { prompt: ['consent'] }, now - 3600 - tolerance - 1]
  ]
  for (const [auth_time, asked, told] of table) t.equal(check({ answer: auth_time === undefined ? {} : { auth_time }, asked }).auth_time, told, `${auth_time === undefined ? 'none' : auth_time - now} ${JSON.stringify(asked)}`)
  t.equal(check({}).authTimeAssumed, true, 'and then it is said to be assumed')
  t.equal(check({ provider: { always_authenticates: true } }).authTimeAssumed, undefined, 'but of a provider that always asks')
  t.equal(check({ answer: { auth_time: now } }).authTimeAssumed, undefined, 'or one that says when')
})

t.test('amr is the provider\'s where it is a list of words, else what it is registered with', async t => {
  const long = (length: number) => 'a'.repeat(length)
  const registered = ['pwd']
  const table: Array<[amr: unknown, told: string[]]> = [
    [undefined, registered],
    [null, registered],
    ['otp', registered],
    [[], registered],
    [{ 0: 'otp', length: 1 }, registered],
    [['otp', 1], registered],
    [['otp', null], registered],
    [[['otp']], registered],
    [['otp', long(33)], registered],
    [Array(17).fill('otp'), registered],
    [['otp', 'mfa'], ['otp', 'mfa']],
    [[long(32)], [long(32)]],
    [Array(16).fill('otp'), Array(16).fill('otp')]
  ]
  for (const [amr, told] of table) t.strictSame(check({ answer: { amr } }).amr, told, JSON.stringify(amr ?? null).slice(0, 60))
  t.not(check().amr, provider.amr, 'the registration is not lent out')
})

t.test('what comes of an identification is level, time, means and sound claims', async t => {
  t.strictSame(check({ answer: { acr: 'eidas2', amr: ['otp'], auth_time: now - 7 } }), { acr: 'eidas2', auth_time: now - 7, amr: ['otp'], claims })
})
