import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makeCertificate, type Certificate } from './support/certificate.ts'
import { temporaryDirectory } from './support/gateway.ts'
import { askedOf, startCluster, startRedis, until, withoutUser, writtenRights, type RedisNodes } from './support/redis.ts'
import { base, testApp, type Browser, type TestApp } from './support/test-app.ts'

// Two sites as operators set them up, from files: the Redis of each speaks TLS by an authority of its own, and knows a user for the gateway of each site.

t.setTimeout(60_000)
type Mark = 'a' | 'b'
type Way = Record<string, unknown>

const marks = ['a', 'b'] as const
const otherOf = (site: Mark) => site === 'a' ? 'b' : 'a'
const userOf = (home: Mark) => `passerelle-${home}`
const passwordOf = (home: Mark, site: Mark) => `p@ss:w/ö rd%20#of ${home} at ${site}`

const folder = temporaryDirectory(t)
function file (name: string, text: string) {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

const authorities: Record<Mark, Certificate> = { a: await makeCertificate(['authority']), b: await makeCertificate(['authority']) }
const nameOf = (i: number) => `redis-${i}.b.localhost`
const [ofA, ofB, ours] = await Promise.all([
  makeCertificate(['127.0.0.1'], { by: authorities.a }),
  makeCertificate([0, 1, 2].map(nameOf), { by: authorities.b }),
  makeCertificate(['gateway'], { by: authorities.b })
])
/** Beside both gateways, one who may only read, and one whose password a test changes. */
const rightsAt = (site: Mark) => [
  ...marks.map(home => writtenRights(passwordOf(home, site), userOf(home))),
  writtenRights(passwordOf('b', site), 'reader').replace('+set ', ''),
  writtenRights(passwordOf('b', site), 'changing')
].join('\n')
const operator = { password: 'of the operator' }
/** One Redis at a, and at b a Cluster that announces names and asks for certificates. */
const redis: Record<Mark, RedisNodes> = Object.fromEntries(await Promise.all([
  startRedis(t, { ...operator, tls: { ca: authorities.a.cert, certificate: ofA }, acl: rightsAt('a') }).then(nodes => ['a', nodes]),
  startCluster(t, { ...operator, tls: { ca: authorities.b.cert, certificate: ofB, asksForCertificates: true }, nameOf, acl: rightsAt('b') }).then(nodes => ['b', nodes])
]))

/** How the gateway of one site reaches the Redis of another, or its own. */
const wayFrom = (home: Mark, site: Mark): Way => ({
  site,
  urls: withoutUser(redis[site].urls),
  username: userOf(home),
  password: { file: file(`${home}-at-${site}`, `${passwordOf(home, site)}\n`) },
  ca: file(`${site}.pem`, authorities[site].cert),
  ...(site === 'b' ? { tls_client: { certificate: file('ours.pem', ours.cert), key: file('ours.key', ours.key) } } : {}),
  node_timeout_ms: 500
})
const settingsAt = (home: Mark, toOther: Way = {}) => ({ site: home, sites: marks.map(site => ({ ...wayFrom(home, site), ...(site === home ? {} : toOther) })) })
/** Codes that hold their record on a busy machine would be good without any Redis. */
const clients = { agency: { degraded: 'deny' }, swift: { degraded: 'deny' } }
const gatewayAt = (t: Test, home: Mark, toOther?: Way) => testApp(t, { settings: settingsAt(home, toOther), clients, store: 'configured' })

const statusOf = async (gateway: TestApp, access_token: string) => (await gateway.userinfo(access_token)).status
const email = { changes: { scope: 'openid email' } }
/** What was said of the ways to Redis, but that one was slow, as on a busy machine any is. */
const complaintsOf = ({ log }: TestApp) => log.filter(line => line.includes('store connection') && !/"code":"(TIMED_OUT|ETIMEDOUT|TLS_UNANSWERED)"/.test(line)).map(line => JSON.parse(line) as Record<string, unknown>)

/** The same browser at another site: its cookies are of the issuer's name. */
function movedTo ({ browser }: TestApp, from: Browser) {
  const here = browser()
  for (const [name, value] of Object.entries(from.cookies())) here.setCookie(name, value)
  return here
}

t.test('over TLS, as a user who may do what is written down and no more, each site reads, claims and ends what the other issued', async t => {
  const at = { a: await gatewayAt(t, 'a'), b: await gatewayAt(t, 'b') }
  for (const home of marks) {
    const [here, there] = [at[home], at[otherOf(home)]]
    const browser = here.browser()
    const way = await browser.logIn('agency', email)
    t.equal(way.code[0], home)
    const outcomes = await Promise.all([there, here, there, here].map(gateway => gateway.redeem(way)))
    t.same(outcomes.map(({ status, body }) => body['error'] ?? status).sort(), [200, 'invalid_grant', 'invalid_grant', 'invalid_grant'], 'four at once: one is given tokens')
    const used = outcomes.find(({ status }) => status === 200)!.body['access_token']
    for (const gateway of [here, there]) t.equal(await statusOf(gateway, used), 401, 'a second use ended them')

    const { body: { access_token, id_token } } = await there.redeem(await browser.logIn('agency', email))
    t.equal(access_token[0], home, 'the token is of the site of its code')
    for (const gateway of [here, there]) t.equal(await statusOf(gateway, access_token), 200)
    t.match((await there.postAs('archive', '/introspection', { token: access_token })).body, { active: true, scope: 'openid email' })
    t.equal((await there.postAs('agency', '/revocation', { token: access_token })).status, 200)
    for (const gateway of [here, there]) t.equal(await statusOf(gateway, access_token), 401, 'revoked there it is ended at both')

    const moved = movedTo(there, browser)
    const { page: { query }, ...asked } = await moved.start('swift')
    const second = await here.redeem({ ...asked, code: query.get('code')! })
    t.equal(second.body['access_token'][0], otherOf(home), 'the session spares the citizen the provider there, and what is new is of that site')
    await moved.get(`${base}/session/end?${new URLSearchParams({ id_token_hint: id_token })}`)
    for (const gateway of [here, there]) t.equal(await statusOf(gateway, second.body['access_token']), 401, 'a logout there ends it at both')
    t.equal((await movedTo(here, browser).start('swift')).page.status, 200, 'and the session')
  }
  for (const site of marks) {
    t.same((await askedOf(redis[site])).refused, [], 'nothing was refused')
    const connected = String(await redis[site].command(0, 'CLIENT', 'LIST'))
    for (const home of marks) t.match(connected, new RegExp(`name=passerelle .*user=${userOf(home)} `), `${userOf(home)} is seen at ${site}`)
    t.same(complaintsOf(at[site]), [])
  }
})

t.test('whatever is wrong with the way to the other site, home goes on, and of what the other issued nobody says that it is not good', async t => {
  const wrong: Array<[what: string, home: Mark, toOther: Way, code: RegExp, reason: RegExp]> = [
    ['the authority of home', 'a', { ca: file('a.pem', authorities.a.cert) }, /CERT_SIGNATURE_FAILURE|SELF_SIGNED|UNABLE/, /no authority that we trust/],
    ['a certificate for another name', 'a', { server_name: 'redis.b.example' }, /^ERR_TLS_CERT_ALTNAME_INVALID$/, /another name/],
    ['no certificate of ours', 'a', { tls_client: undefined }, /ALERT|^TLS_CLOSED_UNHEARD$/, /certificate.*tls_client/],
    ['the password of home', 'b', { password: { file: file('wrong', passwordOf('b', 'b')) } }, /^WRONGPASS$/, /user or password/],
    ['a user who may not write', 'b', { username: 'reader' }, /^NOPERM$/, /no right/]
  ]
  const right = { a: await gatewayAt(t, 'a'), b: await gatewayAt(t, 'b') }
  await Promise.all(wrong.map(async ([what, home, toOther, code, reason]) => {
    const [gateway, there] = [await gatewayAt(t, home, toOther), right[otherOf(home)]]
    const browser = there.browser()
    const way = await browser.logIn('agency')
    const { body: { access_token, id_token } } = await there.redeem(await browser.logIn('agency'))
    const mayRead = toOther['username'] === 'reader'
    const own = await gateway.redeem(await gateway.browser().logIn('agency'))
    t.equal(await statusOf(gateway, own.body['access_token']), 200, `${what}: a whole login at home`)
    const moved = movedTo(gateway, browser)
    const later = { status: 503, headers: { 'retry-after': /^\d+$/ } }
    const leaving = movedTo(gateway, browser)
    const [redeemed, shown, revoked, page, asked] = await Promise.all([
      gateway.redeem(way), gateway.userinfo(access_token), gateway.postAs('agency', '/revocation', { token: access_token }), moved.start('mobile').then(({ page }) => page),
      leaving.get(`${base}/session/end?${new URLSearchParams({ id_token_hint: id_token })}`)
    ])
    const left = mayRead ? asked : await leaving.post(`${base}/session/end`, { ...asked.fields, decision: 'log-out' })  // whose session it is cannot be known
    t.match(redeemed, { ...later, body: { error: 'temporarily_unavailable' } }, `${what}: a code of the other`)
    t.match(shown, mayRead ? { status: 200 } : later, `${what}: a token of the other`)
    t.match(revoked, later, `${what}: its end`)
    if (!mayRead) t.equal(page.status, 200, `${what}: a session of the other: the citizen is asked to choose`)
    t.match(left, { status: 503, code: 'E02' }, `${what}: a logout says that it is not known everywhere`)

    t.equal(await statusOf(there, access_token), 200, `${what}: it is good where it is from`)
    t.equal((await there.redeem(way)).status, 200, `${what}: nothing was spent`)
    const said = complaintsOf(gateway)
    t.match(said.find(line => code.test(String(line['code']))), { level: 40, site: otherOf(home), reason }, `${what}: ${JSON.stringify(said)}`)
    t.same(said.filter(line => line['site'] !== otherOf(home)), [], `${what}: nothing is said of home`)
    t.notMatch(gateway.log.join(''), /p@ss|of the operator/, `${what}: no password`)
  }))
  for (const gateway of Object.values(right)) t.same(complaintsOf(gateway), [])
})

t.test('a password is changed without an outage: two are good at a time, a start takes the new one, and who still comes with one that is gone says so, and goes on when it is back', async t => {
  const there = await gatewayAt(t, 'a')
  const { body: { access_token } } = await there.redeem(await there.browser().logIn('agency'))
  const [before, after] = [passwordOf('b', 'a'), 'p@ss:w/ö rd%20#of next year']
  const toOther = { username: 'changing', password: { file: file('changing', before) } }
  const started = await gatewayAt(t, 'b', toOther)
  t.equal(await statusOf(started, access_token), 200)

  const set = (...rules: string[]) => redis.a.command(0, 'ACL', 'SETUSER', 'changing', ...rules)
  await set(`>${after}`)
  file('changing', after)
  t.equal(started.reconfigure({ settings: settingsAt('b', toOther), clients }), 'start_needed')
  t.match(started.log.at(-1), /passerelle\.yaml: \/sites\/0\/password: another value is taken up at the next start only/)
  t.equal(await statusOf(started, access_token), 200, 'whoever runs goes on with the old one')
  const restarted = await gatewayAt(t, 'b', toOther)
  t.equal(await statusOf(restarted, access_token), 200, 'whoever starts comes with the new one')

  await set(`<${before}`)
  await redis.a.command(0, 'CLIENT', 'KILL', 'USER', 'changing')
  t.equal(await statusOf(restarted, access_token), 200, 'which alone is good then')
  await until('it is said who is not let in', 10_000, () => complaintsOf(started).length > 0)
  t.match(complaintsOf(started), [{ site: 'a', code: 'WRONGPASS' }])
  const own = await started.redeem(await started.browser().logIn('agency'))
  t.equal(await statusOf(started, own.body['access_token']), 200, 'home goes on')
  const asked = statusOf(started, access_token)
  await set(`>${before}`)
  t.equal(await asked, 200, 'whoever asks meanwhile is answered when it is let in again')
  for (const gateway of [started, restarted]) t.notMatch(gateway.log.join(''), /p@ss/, 'no password')
})
