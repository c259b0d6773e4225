import t from 'tap'
import { endOf, refusalOf, RedisTrouble, type Ended } from '../../src/adapters/redis-trouble.ts'

const failed = (code?: string) => Object.assign(new Error('of a node'), code === undefined ? {} : { code })
const plain: Ended = { isSecure: false, reached: true, secured: false, spoke: true }
const secure: Ended = { isSecure: true, reached: true, secured: true, spoke: true }

t.test('what ended a connection is told by how far it had come', async t => {
  const table: Array<[what: string, ended: Ended, code: string | undefined]> = [
    ['one that served and was closed', plain, undefined],
    ['one that served in TLS and was closed', secure, undefined],
    ['one that served and broke', { ...plain, error: failed('ECONNRESET') }, 'ECONNRESET'],
    ['one that nobody took', { ...plain, reached: false, spoke: false }, 'TIMED_OUT'],
    ['one that was refused', { ...plain, reached: false, spoke: false, error: failed('ECONNREFUSED') }, 'ECONNREFUSED'],
    ['one that broke before it was taken', { ...plain, reached: false, spoke: false, error: failed('ECONNRESET') }, 'ECONNRESET'],
    ['closed without a word', { ...plain, spoke: false }, 'CLOSED_UNHEARD'],
    ['broken without a word', { ...plain, spoke: false, error: failed('EPIPE') }, 'CLOSED_UNHEARD'],
    ['another failure without a word', { ...plain, spoke: false, error: failed('ETIMEDOUT') }, 'ETIMEDOUT'],
    ['closed without a word in TLS', { ...secure, spoke: false, error: failed('ECONNRESET') }, 'TLS_CLOSED_UNHEARD'],
    ['never secured', { ...secure, secured: false, spoke: false }, 'TLS_UNANSWERED'],
    ['broken before it was secured', { ...secure, secured: false, spoke: false, error: failed('ECONNRESET') }, 'ECONNRESET'],
    ['a failure without a code', { ...plain, error: failed() }, 'TIMED_OUT']
  ]
  for (const [what, ended, code] of table) t.equal(endOf(ended), code, what)
})

t.test('of what Redis answers only refusals that somebody has to do something about are trouble', async t => {
  const answer = (message: string, name = 'ReplyError') => Object.assign(new Error(message), { name })
  t.equal(refusalOf(answer('NOPERM this user has no permissions')), 'NOPERM')
  t.equal(refusalOf(answer('WRONGPASS')), 'WRONGPASS')
  t.equal(refusalOf(answer('MOVED 1 127.0.0.1:7000')), undefined)
  t.equal(refusalOf(answer('')), undefined)
  t.equal(refusalOf(answer('toString is no code of ours')), undefined)
  t.equal(refusalOf(answer('NOPERM by another', 'Error')), undefined)
})

t.test('the words never say what was sent or who we are', async t => {
  const trouble = new RedisTrouble('NOPERM', 'redis.example:6379')
  t.match(trouble, { name: 'RedisTrouble', code: 'NOPERM', address: 'redis.example:6379', message: /no right/ })
  t.match(new RedisTrouble('ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE').message, /does not accept our certificate/)
  t.equal(new RedisTrouble('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED').message, new RedisTrouble('ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE').message)
  t.match(new RedisTrouble('ERR_SSL_OTHER').message, /^the connection failed$/)
  t.match(new RedisTrouble('SOMETHING_NEW').message, /^the connection failed$/)
  t.match(new RedisTrouble('toString').message, /^the connection failed$/)
})
