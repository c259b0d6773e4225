import t from 'tap'
import { faultOfTimes, isOfKind } from '../../src/protocol/jwt.ts'

const now = 1771000000
const times = { now, mustExpire: true, longestSeconds: 300 }
const late = 'exp: expected, in the future'

t.test('a JWT that ended, that says no end where it must, or says one that is no time, is good no more (RFC 7519 §4.1.4)', async t => {
  for (const mustExpire of [true, false]) for (const exp of [null, '', String(now + 60), true, {}, [now + 60], 0, -1, -Infinity, now - 86400, now - 31, now - 30.001, now - 30]) t.equal(faultOfTimes({ exp }, { ...times, mustExpire }), late, `${JSON.stringify(exp)} ${mustExpire}`)
  t.equal(faultOfTimes({}, times), late)
  t.equal(faultOfTimes({ exp: undefined }, times), late)
  t.equal(faultOfTimes({}, { ...times, mustExpire: false }), undefined)
  for (const exp of [now - 29.999, now - 29, now, now + 60]) t.equal(faultOfTimes({ exp }, times), undefined, `${exp - now} s ahead`)
})

t.test('a JWT whose end is too far is as good as one without', async t => {
  for (const mustExpire of [true, false]) {
    for (const exp of [now + 330.001, now + 331, now * 1000, Infinity]) t.equal(faultOfTimes({ exp }, { ...times, mustExpire }), 'exp: expected at most 300 seconds ahead', `${exp} ${mustExpire}`)
    for (const exp of [now + 330, now + 300]) t.equal(faultOfTimes({ exp }, { ...times, mustExpire }), undefined, `${exp - now} s ahead`)
  }
  t.equal(faultOfTimes({ exp: now + 1000 }, { ...times, longestSeconds: 900 }), 'exp: expected at most 900 seconds ahead')
  t.equal(faultOfTimes({ exp: now + 1e9 }, { ...times, longestSeconds: Infinity }), undefined, 'where no end is too far')
})

t.test('a JWT of a time to come is none yet: half a minute is forgiven (RFC 7519 §4.1.5, §4.1.6)', async t => {
  for (const name of ['nbf', 'iat']) {
    for (const time of [null, '', String(now), true, {}, [now], now + 30.001, now + 31, now * 1000, Infinity]) t.equal(faultOfTimes({ exp: now + 60, [name]: time }, times), `${name}: expected a time that has come`, `${name} ${JSON.stringify(time)}`)
    for (const time of [undefined, now + 30, now, now - 1e6, 0]) t.equal(faultOfTimes({ exp: now + 60, [name]: time }, times), undefined, `${name} ${time}`)
  }
})

t.test('a JWT of one kind is none of another, and one that names no kind may be any (RFC 8725 §3.11, RFC 7515 §4.1.9)', async t => {
  const kind = 'logout+jwt'
  for (const typ of ['', null, 1, {}, [], true, 'logout', 'logout+jwt ', ' logout+jwt', 'xlogout+jwt', 'logout+jwtx', 'logoutxjwt', 'at+jwt', 'dpop+jwt', 'jwt2', 'application/', 'application/x', 'text/jwt', 'application/application/jwt', 'x application/jwt']) t.equal(isOfKind(typ, kind), false, JSON.stringify(typ))
  for (const typ of [undefined, 'JWT', 'jwt', 'Jwt', 'application/jwt', 'APPLICATION/JWT', 'logout+jwt', 'Logout+JWT', 'application/logout+jwt']) t.equal(isOfKind(typ, kind), true, String(typ))
})
