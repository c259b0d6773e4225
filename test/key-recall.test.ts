import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose'
import t, { type Test } from 'tap'
import { leadSeconds } from '../src/adapters/key-schedule.ts'
import { emptyMemory, loadConfiguration } from '../src/config/load.ts'
import { watchConfiguration } from '../src/config/watch.ts'
import { listKeys, makeNextKeys } from '../src/keys.ts'
import { makeCertificate } from './support/certificate.ts'
import { temporaryDirectory } from './support/gateway.ts'
import { startLossyWay, startRedis, until, withoutUser } from './support/redis.ts'
import { base, browserOf, testApp, type Arrival, type Browser, type TestApp } from './support/test-app.ts'

// The bad day of a key: an operator revokes it by one command, and no replica of any site uses it any more, though none has the changed files.

t.setTimeout(120_000)
t.jobs = 5                                                               // they wait together
const now = () => Math.floor(Date.now() / 1000)
const hourAgo = () => new Date(Date.now() - 3_600_000).toISOString().replace(/\.\d+/, '')

/** Node.js, and the same where the rights of files hold for root as well. */
const node = [process.execPath]
const nodeUnderRights = process.getuid!() === 0 ? ['setpriv', '--bounding-set=-dac_override', ...node] : node

async function run (command: 'keys' | 'end', args: string[], env: Record<string, string> = {}, [program, ...first] = node) {
  const child = spawn(program!, [...first, fileURLToPath(new URL(`../src/${command}.ts`, import.meta.url)), ...args], { env: { ...process.env, PASSERELLE_REDIS: '', PASSERELLE_SITE: '', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', part => { text += part })
  const code = await new Promise<number | null>(resolve => child.once('close', resolve))
  return { code, text }
}

const inForce = (keys: string, alg: string) => listKeys(keys, now()).find(key => key.alg === alg && key.state === 'in force')!.kid

const hour = 3600
const instantPattern = '\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ'
const made = join(temporaryDirectory(t), 'keys')
for (const seconds of [48 * hour, hour + leadSeconds]) makeNextKeys(made, now() - seconds)

/** Keys that have been used for an hour; of each the one before is retired. */
function keysInUse (t: Test) {
  const keys = join(temporaryDirectory(t), 'keys')
  cpSync(made, keys, { recursive: true })
  return keys
}

/** What an operator has: the configuration of a replica, and keys of his own. */
function operatorOf (t: Test, { directory, app }: TestApp, keys: string) {
  const own = join(temporaryDirectory(t), 'configuration')
  cpSync(directory, own, { recursive: true })
  const file = join(own, 'passerelle.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace(app.configuration.settings.keys, keys))
  return { PASSERELLE_CONFIG: own }
}

/** Keys in use whose sealing keys are these, by the seconds from now on that they are used from. */
function keysSealingBy (t: Test, times: Record<string, number>) {
  const keys = keysInUse(t)
  for (const { file, kind } of listKeys(keys, now())) if (kind === 'sealing') rmSync(join(keys, file))
  for (const [kid, seconds] of Object.entries(times)) writeFileSync(join(keys, `${kid}.json`), JSON.stringify({ kid, alg: 'A256GCM', nbf: now() + seconds, kty: 'oct', use: 'enc', k: randomBytes(32).toString('base64url') }))
  return keys
}

/** A replica with a copy of these keys that nobody changes; and what the operator has. */
async function openSite (t: Test, keys: string) {
  const redis = await startRedis(t)
  const own = join(temporaryDirectory(t), 'keys')
  cpSync(keys, own, { recursive: true })
  const replica = await testApp(t, { now, settings: { redis: { urls: redis.urls }, keys: own }, store: 'configured' })
  return { replica, own, env: operatorOf(t, replica, keys) }
}

/** Two replicas at one site and one at another, each with a copy of the keys that nobody changes; and what the operator has. */
async function openSites (t: Test, keys: string) {
  const [one, other] = [await startRedis(t), await startRedis(t)]
  const sites = [{ site: 'a', urls: one.urls }, { site: 'b', urls: other.urls }]
  const replicaAt = async (site: 'a' | 'b', kept = keys) => {
    const own = join(temporaryDirectory(t), 'keys')
    cpSync(kept, own, { recursive: true })
    const replica = await testApp(t, { now, settings: { site, sites, keys: own }, store: 'configured' })
    return { ...replica, own }
  }
  const replicas = [await replicaAt('a'), await replicaAt('a'), await replicaAt('b')] as const
  const before = join(temporaryDirectory(t), 'before')
  cpSync(keys, before, { recursive: true })
  return { replicas, env: operatorOf(t, replicas[0], keys), /** one that has the files as they were */ startLate: () => replicaAt('b', before) }
}
type Replicas = Awaited<ReturnType<typeof openSites>>['replicas']

const publishedBy = async ({ app }: TestApp) => (await app.inject(`${base}/jwks`)).json().keys.map(({ kid }: { kid: string }) => kid) as string[]

/** A load balancer without memory, of both sites, and citizens who come and go through it. */
function comeAndGo (replicas: Replicas) {
  let turn = 0
  const next = () => replicas[turn++ % replicas.length]!
  const anywhere = { inject: (asked: string) => next().app.inject(asked) } as TestApp['app']
  const over = new AbortController()
  const seen = { entered: [] as Array<{ at: number, kid: string }>, failed: [] as Array<{ at: number, what: unknown }> }
  const ended = Promise.all(['swift', 'mobile', 'swift'].map(async client => {
    while (!over.signal.aborted) {
      const at = performance.now()
      try {
        const { status, body } = await next().redeem(await browserOf(anywhere, now).logIn(client, { idp: 'post' }) as Arrival)
        const told = await next().userinfo(String(body['access_token']))
        if (status !== 200 || told.status !== 200) throw new Error(`${status} ${body['error']} ${told.status}`)
        const id_token = String(body['id_token'])
        await jwtVerify(id_token, createLocalJWKSet((await next().app.inject(`${base}/jwks`)).json()))
        seen.entered.push({ at, kid: decodeProtectedHeader(id_token).kid! })
      } catch (what) { seen.failed.push({ at, what }) }
      await pause(5)
    }
  }))
  return {
    seen,
    untilMore: (logins: number) => { const before = seen.entered.length; return until('they come and go', 15_000, () => seen.entered.length > before + logins) },
    stop: async () => { over.abort(); await ended }
  }
}

t.test('a signing key that is revoked signs nowhere within ten seconds and is published nowhere, though no replica has the files; its next signs, and no login fails', { buffered: true }, async t => {
  const keys = keysInUse(t)
  makeNextKeys(keys, now() - 60)
  const { replicas, env } = await openSites(t, keys)
  const files = replicas.map(({ own }) => readdirSync(own))
  const [kid, retired] = [inForce(keys, 'RS256'), listKeys(keys, now()).find(({ alg, state }) => alg === 'RS256' && state === 'retired')!.kid]
  const { seen, untilMore, stop } = comeAndGo(replicas)
  await untilMore(10)
  t.ok(seen.entered.some(login => login.kid === kid), 'before')

  const { code, text } = await run('keys', ['revoke', keys, kid], env)
  t.equal(code, 0, text)
  for (const site of ['a', 'b']) t.match(text, new RegExp(`site ${site}: told; within 10 seconds no replica uses ${kid}`))
  await until('nobody publishes it', 10_000, async () => (await Promise.all(replicas.map(publishedBy))).every(kids => !kids.includes(kid)))
  const settledAt = performance.now()
  await untilMore(15)
  await stop()
  const kids = new Set(seen.entered.filter(({ at }) => at > settledAt).map(login => login.kid))
  t.notOk(kids.has(kid))
  t.notOk(kids.has(retired), 'the one before it does not come back')
  t.ok(kids.has(inForce(keys, 'RS256')), 'the one that waited signs, as in the files')
  // what it signed until then is worth nothing where it was taken away already
  t.same(seen.failed.filter(({ what }) => !/no applicable key/.test(String(what))), [], `of ${seen.entered.length} logins`)
  t.same(replicas.map(({ own }) => readdirSync(own)), files, 'no file came')
  for (const { log } of replicas) t.equal(log.map(line => JSON.parse(line)).filter(({ msg, kid: named }) => msg === 'called back' && named === kid).length, 1)
})

/** The same browser, whose next request goes to another replica. */
function movedTo ({ browser }: TestApp, from: Browser) {
  const here = browser()
  for (const [name, value] of Object.entries(from.cookies())) here.setCookie(name, value)
  return here
}

t.test('a sealing key that is revoked opens and seals nowhere within ten seconds, and what operators ended before, sealed by that key, stays ended, also at a replica that starts', { buffered: true }, async t => {
  const keys = keysInUse(t)
  const { replicas, env, startLate } = await openSites(t, keys)
  const kid = inForce(keys, 'A256GCM')
  const session = replicas[0].browser()
  await session.logIn('agency', { idp: 'taxes' })
  const isLetIn = async (replica: TestApp) => (await movedTo(replica, session).start('swift')).page.query.has('code')
  for (const replica of replicas) t.ok(await isLetIn(replica), 'before')
  const ended = await run('end', ['--idp', 'taxes', '--since', hourAgo()], env)
  t.equal(ended.code, 0, ended.text)
  const isOver = async () => (await Promise.all(replicas.map(isLetIn))).every(letIn => !letIn)
  await until('the session is over', 10_000, isOver)

  const { untilMore, stop, seen } = comeAndGo(replicas)
  await untilMore(10)
  const citizen = replicas[0].browser()
  const { page } = await citizen.start('agency')
  t.ok(citizen.cookie(/login-/)!.startsWith(`1.${kid}.`), 'before')
  const { code, text } = await run('keys', ['revoke', keys, kid], env)
  t.equal(code, 0, text)
  t.match(text, /site b: called back before, and left again: the identity provider taxes, from /, 'whoever had the key may have forged it: the operator sees it')
  const opens = async (replica: TestApp) => (await movedTo(replica, citizen).get(page.link('idp-post')!)).code !== 'B04'
  await until('nobody opens what it sealed', 10_000, async () => (await Promise.all(replicas.map(opens))).every(opened => !opened))
  const settledAt = performance.now()
  await untilMore(10)
  for (const replica of replicas) {
    const later = replica.browser()
    await later.start('agency')
    t.notOk(later.cookie(/login-/)!.startsWith(`1.${kid}.`))
  }
  await pause(2500)                                                      // they have looked again, twice
  t.ok(await isOver(), 'nothing lives again')
  const late = await startLate()
  t.notOk(late.app.configuration.keys.sealing.some(key => key.kid === kid), 'one that starts with the old files knows it from its first look')
  t.notOk(await isLetIn(late))
  t.equal(await late.metric('passerelle_recalls_unread_total'), 0, 'and opens all that is left there')
  await untilMore(5)
  await stop()
  t.same(seen.failed.filter(({ at }) => at > settledAt), [], 'who begins afterwards gets in')
})

t.test('where there is no other sealing key the command says so, the files carry it, and what was ended before stays ended when they come', { buffered: true }, async t => {
  const keys = join(temporaryDirectory(t), 'keys')
  makeNextKeys(keys, now() - hour)
  const { replica, own, env } = await openSite(t, keys)
  t.match(await run('end', ['--client', 'agency', '--since', hourAgo()], env), { code: 0 })
  const isOver = () => replica.app.isRecalled({ idp: 'taxes', identifiedAt: 1, client_id: 'agency', issuedAt: now() - 5 })
  await until('it is heard', 10_000, isOver)

  const kid = inForce(keys, 'A256GCM')
  t.match(await run('keys', ['revoke', keys, kid], env), { code: 1, text: /no site was told: there is no other sealing key that replicas have \(.*\); the files alone carry it: .* up to two minutes/ })
  await pause(1300)
  t.ok(replica.app.configuration.keys.sealing.some(key => key.kid === kid), 'the last one stays: without it nobody could enter')
  t.ok(isOver())
  rmSync(own, { recursive: true })
  cpSync(keys, own, { recursive: true })
  t.equal(replica.app.reconfigure(loadConfiguration(replica.directory)), 'taken')
  t.equal(await replica.app.lookForRecalls(), true)
  await pause(1300)
  t.ok(isOver())
})

t.test('a key that was made in place of one that is revoked tells nobody of the next one that is: no replica has it yet; a quarter of an hour later it does', { buffered: true }, async t => {
  const keys = keysInUse(t)
  const { replica, own, env } = await openSite(t, keys)
  const [retired, kid] = [listKeys(keys, now()).find(({ kind, state }) => kind === 'sealing' && state === 'retired')!.kid, inForce(keys, 'A256GCM')]
  const first = await run('keys', ['revoke', keys, kid], env)
  t.match(first, { code: 0, text: /site a: told; / }, first.text)
  const uses = (kid: string) => replica.app.configuration.keys.sealing.some(key => key.kid === kid)
  await until('it is heard', 10_000, () => !uses(kid))
  const second = await run('keys', ['revoke', keys, retired], env)
  t.match(second, { code: 1, text: /no site was told: there is no other sealing key that replicas have/ }, second.text)
  t.notMatch(second.text, /told; within/)
  t.same(listKeys(keys, now()).filter(({ kind }) => kind === 'sealing').length, 1, 'the files are done all the same')

  const successor = join(keys, `${inForce(keys, 'A256GCM')}.json`)
  writeFileSync(successor, JSON.stringify({ ...JSON.parse(readFileSync(successor, 'utf8')), nbf: now() - 16 * 60 }))
  cpSync(successor, join(own, 'successor.json'))
  t.equal(replica.app.reconfigure(loadConfiguration(replica.directory)), 'taken')
  t.ok(uses(retired), 'whose file is still there')
  const later = await run('keys', ['revoke', keys, retired, '--unlisted'], env)
  t.match(later, { code: 0, text: /site a: told; / }, later.text)
  await until('it is heard', 10_000, () => !uses(retired))
  t.notOk(uses(kid))
})

t.test('a sealing key tells replicas of another a quarter of an hour after it was made, whether it waits or is used', { buffered: true }, async t => {
  const redis = await startRedis(t)
  const replica = await testApp(t, { settings: { redis: { urls: redis.urls } } })
  const rows: Array<[what: string, times: Record<string, number>, kid: string, code: number]> = [
    ['it waits, made a minute ago', { first: -hour, waits: leadSeconds - 60 }, 'first', 1],
    ['it waits, made twenty minutes ago', { second: -hour, waited: leadSeconds - 1200 }, 'second', 0],
    ['it is used since it was made a minute ago', { third: -48 * hour, fresh: -60 }, 'third', 1],
    ['it is used since it was made twenty minutes ago', { fourth: -48 * hour, known: -1200 }, 'fourth', 0]
  ]
  await Promise.all(rows.map(async ([what, times, kid, expected]) => {
    const keys = keysSealingBy(t, times)
    const { code, text } = await run('keys', ['revoke', keys, kid], operatorOf(t, replica, keys))
    t.equal(code, expected, `${what}: ${text}`)
    t.equal(/site a: told; within/.test(text), expected === 0, what)
  }))
})

t.test('what is ended is told by a sealing key that every replica has by now, for as long as it must stay ended; where there is none it is said when to run the command again', { buffered: true }, async t => {
  const ended = ['--idp', 'post', '--since', hourAgo()]
  const over = { idp: 'post', identifiedAt: now() - 60 }
  const site = async (times: Record<string, number>) => {
    const keys = keysSealingBy(t, times)
    return { keys, ...await openSite(t, keys) }
  }
  /** Whether a replica that has this sealing key alone hears of it. */
  const isHeardBy = async (kid: string, { own, replica }: Awaited<ReturnType<typeof site>>) => {
    const directory = join(temporaryDirectory(t), 'keys')
    cpSync(own, directory, { recursive: true })
    for (const { file, kind, kid: other } of listKeys(directory, now())) if (kind === 'sealing' && other !== kid) rmSync(join(directory, file))
    const { redis } = replica.app.configuration.settings
    const another = await testApp(t, { now, settings: { redis: { urls: redis.urls }, keys: directory }, store: 'configured' })
    await another.app.lookForRecalls()
    return another.app.isRecalled(over)
  }

  const taken = await site({ before: -48 * hour, fresh: -600 })
  t.match(await run('end', ended, taken.env), { code: 0, text: /site a: told; within 10 seconds/ })
  t.ok(await isHeardBy('before', taken), 'a replica without the new key')
  t.ok(await isHeardBy('fresh', taken), 'and one that is without the old one by then')

  const first = await site({ only: -60 })
  const { code, text } = await run('end', ended, first.env)
  t.equal(code, 1)
  t.match(text, new RegExp(`site a: told, by the key only that was made a moment ago: replicas that do not have it yet do not hear of it; run this again at ${instantPattern}\n`))
  t.notMatch(text, /within 10 seconds/)
  t.ok(await isHeardBy('only', first), 'who has it hears of it')

  const revoked = await site({ leaked: -hour, waits: leadSeconds - 1200 })
  const kept = join(temporaryDirectory(t), 'keys')
  cpSync(revoked.keys, kept, { recursive: true })
  t.match(await run('keys', ['revoke', revoked.keys, 'leaked'], revoked.env), { code: 0 })
  await until('it is heard', 10_000, () => !revoked.replica.app.configuration.keys.sealing.some(({ kid }) => kid === 'leaked'))
  for (const file of readdirSync(kept)) cpSync(join(kept, file), join(revoked.keys, file))
  t.match(await run('end', ended, revoked.env), { code: 0 }, 'not by the key that was called back, though its file is here')
  await until('that is heard, too', 10_000, () => revoked.replica.app.isRecalled(over))
  rmSync(join(revoked.keys, 'waits.json'))
  const old = await run('end', ended, revoked.env)
  t.match(old, { code: 1, text: /site a: 2 things were called back by sealing keys that are not in this configuration: .*; run it again with theirs\n/ }, 'keys older than the replicas\'')
})

t.test('where the directory cannot be written to, as a Secret in a pod, the sites are told all the same, and it is said which file stays and why', { buffered: true }, async t => {
  const keys = keysInUse(t)
  const { replica, env } = await openSite(t, keys)
  const [signing, sealing, retired] = [inForce(keys, 'ES256'), inForce(keys, 'A256GCM'), listKeys(keys, now()).find(({ kind, state }) => kind === 'sealing' && state === 'retired')!.kid]
  const files = readdirSync(keys)
  chmodSync(keys, 0o500)
  t.teardown(() => chmodSync(keys, 0o700))
  const revoke = (kid: string) => run('keys', ['revoke', keys, kid], env, nodeUnderRights)
  const rows: Array<[kid: string, stays: string]> = [
    [signing, 'could not be taken away, since its next could not be written (EACCES)'],
    [retired, 'could not be taken away (EACCES)']
  ]
  for (const [kid, stays] of rows) {
    const { code, text } = await revoke(kid)
    t.equal(code, 1, text)
    t.ok(text.includes(`${keys}/${kid}.json ${stays}: it has to go from what ${keys} is made from\n`), text)
    t.match(text, new RegExp(`site a: told; within 10 seconds no replica uses ${kid}`))
    t.notMatch(text, /removed|in force from now on|at .*\.ts/, 'nothing that was not done, and no stack')
  }
  await until('nobody publishes it', 10_000, async () => !(await publishedBy(replica)).includes(signing))
  await until('nobody opens by it', 10_000, () => !replica.app.configuration.keys.sealing.some(({ kid }) => kid === retired))
  const last = await revoke(sealing)
  t.equal(last.code, 1, last.text)
  t.match(last.text, /no site was told: there is no other sealing key that replicas have/, 'the one that was called back is none, though its file be there')
  t.same(readdirSync(keys), files)
})

t.test('of a site that is not told it is said what its connection says, and no password', { buffered: true }, async t => {
  const folder = temporaryDirectory(t)
  const file = (name: string, text: string) => { writeFileSync(join(folder, name), text); return join(folder, name) }
  const [authority, another] = await Promise.all([makeCertificate(['authority']), makeCertificate(['authority'])])
  const certificate = await makeCertificate(['127.0.0.1'], { by: authority })
  const [home, locked, secured] = await Promise.all([startRedis(t), startRedis(t, { password: 'the right one' }), startRedis(t, { tls: { ca: authority.cert, certificate } })])
  const sites = [
    { site: 'a', urls: home.urls },
    { site: 'b', urls: withoutUser(locked.urls), password: { file: file('wrong', 'hunter2 and more') } },
    { site: 'c', urls: withoutUser(secured.urls), ca: file('another.pem', another.cert) }
  ].map(way => ({ ...way, node_timeout_ms: 500 }))
  const keys = keysInUse(t)
  const replica = await testApp(t, { settings: { sites, keys } })
  const env = operatorOf(t, replica, keys)
  const said = await Promise.all([run('end', ['--idp', 'taxes', '--since', hourAgo()], env), run('keys', ['revoke', keys, inForce(keys, 'ES256')], env)])
  for (const { code, text } of said) {
    t.equal(code, 1, text)
    t.match(text, /site a: told; /)
    for (const site of ['b', 'c']) t.match(text, new RegExp(`site ${site}: NOT told: .*; run this again`))
    t.match(text, /^site b: WRONGPASS: it does not accept our user or password$/m)
    t.match(text, /^site c: [A-Z_]+ at 127\.0\.0\.1:\d+: its certificate is by no authority that we trust \(ca\)$/m)
    t.notMatch(text, /^site a: (?!told)/m, 'nothing of one that was told')
    t.notMatch(text, /hunter2|the right one/)
  }
})

t.test('who cannot tell anybody is told so, and by the exit code; the files are done all the same, and said again it is told', { buffered: true }, async t => {
  const keys = keysInUse(t)
  const alone = join(temporaryDirectory(t), 'keys')
  cpSync(keys, alone, { recursive: true })
  const kid = inForce(keys, 'ES256')
  const untold = await run('keys', ['revoke', alone, kid], operatorOf(t, await testApp(t), alone))
  t.equal(untold.code, 1, untold.text)
  t.match(untold.text, /no site was told: PASSERELLE_REDIS: expected, or redis.urls/)
  t.match(untold.text, /the files alone carry it: within 10 seconds .* up to two minutes/)
  t.notOk(readdirSync(alone).includes(`${kid}.json`), 'its file is gone')
  t.match(await run('keys', ['revoke', alone, kid]), { code: 1, text: /no such key in/ })

  const [one, other] = [await startRedis(t), await startRedis(t)]
  const way = await startLossyWay(t, other.urls[0]!)
  const replica = await testApp(t, { settings: { sites: [{ site: 'a', urls: one.urls, node_timeout_ms: 500 }, { site: 'b', urls: [way.url], node_timeout_ms: 500 }], keys } })
  const env = operatorOf(t, replica, keys)
  way.cut()
  const cut = await run('keys', ['revoke', keys, kid], env)
  t.equal(cut.code, 1, cut.text)
  t.match(cut.text, /site a: told; /)
  t.match(cut.text, /site b: NOT told: .*; run this again, with --unlisted/)
  t.notOk(readdirSync(keys).includes(`${kid}.json`))
  way.mend()
  const again = await run('keys', ['revoke', keys, kid, '--unlisted'], env)
  t.equal(again.code, 0, again.text)
  t.match(again.text, /there is no file of it/)
  t.match(again.text, /site b: told; /)
})

t.test('a changed file counts within ten seconds where nothing is told of it: the keys are put in place by a link that is renamed beyond what is watched', { buffered: true }, async t => {
  const keys = keysInUse(t)
  const place = temporaryDirectory(t)
  const put = (version: string) => {
    mkdirSync(join(place, version))
    cpSync(keys, join(place, version, 'keys'), { recursive: true })
    symlinkSync(version, join(place, '..data_tmp'))
    renameSync(join(place, '..data_tmp'), join(place, '..data'))
  }
  put('..1')
  const gateway = await testApp(t, { now, settings: { keys: join(place, '..data/keys') } })
  const memory = emptyMemory()
  loadConfiguration(gateway.directory, { memory })
  const watcher = watchConfiguration({ directory: gateway.directory, memory, take: read => { gateway.app.reconfigure(read) } })
  t.teardown(() => watcher.close())
  await watcher.look()
  const kid = inForce(keys, 'RS256')
  t.ok((await publishedBy(gateway)).includes(kid), 'before')
  t.match(await run('keys', ['revoke', keys, kid], { PASSERELLE_CONFIG: '/nowhere' }), { code: 1 })
  put('..2')
  await until('it is in force', 10_000, async () => !(await publishedBy(gateway)).includes(kid))
  t.pass()
})
