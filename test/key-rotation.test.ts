import { cpSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createRemoteJWKSet, customFetch, decodeProtectedHeader, jwtVerify } from 'jose'
import t, { type Test } from 'tap'
import { afterlife, leadSeconds } from '../src/adapters/key-schedule.ts'
import { memoryStore } from '../src/adapters/memory-store.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { listKeys, makeNextKeys, retireKeys, revokeKey } from '../src/keys.ts'
import { temporaryDirectory } from './support/gateway.ts'
import { base, browserOf, issuer, testApp, type Arrival, type Json, type Page, type TestApp } from './support/test-app.ts'

// Keys that change while citizens are on their way, at replicas that get them minutes apart: by the application's clock, a minute a step.

const begin = 1_800_000_000
const minute = 60
const hour = 3600

/** Two replicas with one store, each with its own copy of the keys, as a Secret reaches it. */
async function twoReplicas (t: Test) {
  let moment = begin
  const now = () => moment
  const kept = join(temporaryDirectory(t), 'keys')
  makeNextKeys(kept, begin - 29 * 86_400)
  const store = memoryStore({ site: 'a', now })
  const replicas: Array<TestApp & { receive (): void }> = []
  for (const at of [0, 1]) {
    const own = join(temporaryDirectory(t), `keys-${at}`)
    cpSync(kept, own, { recursive: true })
    const gateway = await testApp(t, { now, store, settings: { keys: own } })
    replicas.push({
      ...gateway,
      /** The keys as they are now reach it. */
      receive () {
        rmSync(own, { recursive: true })
        cpSync(kept, own, { recursive: true })
        t.equal(gateway.app.reconfigure(loadConfiguration(gateway.directory)), 'taken')
      }
    })
  }
  let turn = 0
  const next = () => replicas[turn++ % 2]!
  // a load balancer without memory: each request is at the other replica
  const either = { inject: (asked: string) => next().app.inject(asked) } as TestApp['app']
  return {
    kept,
    now,
    early: replicas[0]!,
    late: replicas[1]!,
    browser: () => browserOf(either, now),
    redeem: (arrival: Arrival) => next().redeem(arrival),
    userinfo: (access_token: string) => next().userinfo(access_token),
    wait (seconds: number) { moment += seconds }
  }
}

type Replicas = Awaited<ReturnType<typeof twoReplicas>>

async function tokensOf ({ redeem, userinfo }: Replicas, arrival: Arrival): Promise<Json['body']> {
  const { body } = await redeem(arrival)
  const { status } = await userinfo(String(body['access_token']))
  return { ...body, status }
}

/** What a client does with our keys: jose's set over HTTP, kept for as long as it was told to, and never asked for out of turn. */
function cachingClient (gateway: TestApp, now: () => number, { impatient = false } = {}) {
  let until = -Infinity
  const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`), {
    cacheMaxAge: Infinity,
    cooldownDuration: Infinity,
    async [customFetch] () {
      const { statusCode: status, body, headers } = await gateway.app.inject(`${base}/jwks`)
      until = now() + (impatient ? 0 : Number(/max-age=(\d+)/.exec(String(headers['cache-control']))![1]))
      return new Response(body, { status })
    }
  })
  return async (id_token: string) => {
    if (now() >= until) await keys.reload()
    return jwtVerify(id_token, keys, { issuer, currentDate: new Date(now() * 1000) }).then(() => true, () => false)
  }
}

t.test('while every key is followed by its next, at replicas that get it a quarter of an hour apart, no login is lost and no signature is bad', async t => {
  const replicas = await twoReplicas(t)
  const { kept, now, early, late, browser, wait } = replicas
  // one that never keeps our keys, and two that fetched them from the late replica, just before and some minutes before they change
  const clients = [cachingClient(late, now, { impatient: true }), cachingClient(late, now), cachingClient(early, now)]
  await clients[1]!((await tokensOf(replicas, await browser().logIn('swift')))['id_token'])
  wait(8 * minute)
  await clients[2]!((await tokensOf(replicas, await browser().logIn('swift')))['id_token'])
  wait(minute)

  const made = now()
  makeNextKeys(kept, made)
  early.receive()
  const atProviders: Array<{ since: number, arrive (): Promise<Page> }> = []
  const kids = new Set<string>()
  let [logins, lost, bad] = [0, 0, 0]
  const count = async (arrival: Arrival) => {
    const tokens = await tokensOf(replicas, arrival)
    logins++
    if (tokens['status'] !== 200) { lost++; return }
    kids.add(decodeProtectedHeader(tokens['id_token']).kid!)
    for (const verify of clients) if (!await verify(tokens['id_token'])) bad++
  }
  for (; now() < made + leadSeconds + afterlife.published + 10 * minute; wait(now() < made + leadSeconds + 5 * minute ? minute : 5 * minute)) {
    if (now() === made + 14 * minute) late.receive()
    await count(await browser().logIn('swift'))
    const other = browser()
    const way = await other.start('agency')
    const atProvider = await other.choose(way.page)
    if (now() % (5 * minute) === 0) {
      atProviders.push({
        since: now(),
        async arrive () {
          const page = await other.agree(await other.comeBack(atProvider))
          const code = page.query.get('code')
          if (code === null) lost++
          else await count({ ...way, code, page })
          return page
        }
      })
    }
    // fourteen minutes at the provider, across whatever changed meanwhile
    while (atProviders.length > 0 && now() - atProviders[0]!.since >= 14 * minute) await atProviders.shift()!.arrive()
  }
  t.ok(logins > 40, `${logins} logins`)
  t.equal(kids.size, 2, 'some by the key before, some by the next')
  t.same({ lost, bad }, { lost: 0, bad: 0 })
  const published = (await early.app.inject(`${base}/jwks`)).json().keys as unknown[]
  t.equal(published.length, 4, 'in the end only the new ones are published')
})

t.test('a login that was left for nearly two hours goes on after two sealing keys, and after those that are dead were removed', async t => {
  const replicas = await twoReplicas(t)
  const { kept, now, early, late, browser, wait } = replicas
  const citizen = browser()
  const { page } = await citizen.start('agency')
  for (let turn = 0; turn < 2; turn++) {
    makeNextKeys(kept, now())
    for (const replica of [early, late]) replica.receive()
    wait(50 * minute)
  }
  t.same(retireKeys(kept, now()), [], 'nothing is dead yet')
  t.equal(listKeys(kept, now()).filter(({ kind }) => kind === 'sealing').length, 3)
  const consent = await citizen.comeBack(await citizen.choose(page))
  t.ok((await citizen.agree(consent)).query.get('code'), 'the request from before')

  wait(2 * 86_400)
  const files = retireKeys(kept, now())
  t.equal(files.filter(file => file.startsWith('a256gcm')).length, 2)
  t.ok(readdirSync(kept).includes('subject.json'))
  for (const replica of [early, late]) replica.receive()
  t.equal((await tokensOf(replicas, await browser().logIn('agency')))['status'], 200, 'whatever is removed, the next login works')
})

t.test('the ID Token of a retired key logs out its session as long as that lasts', async t => {
  const replicas = await twoReplicas(t)
  const { kept, now, early, late, browser, wait } = replicas
  const citizen = browser()
  const { id_token } = await tokensOf(replicas, await citizen.logIn('agency'))
  makeNextKeys(kept, now())
  for (const replica of [early, late]) replica.receive()
  const address = `${base}/session/end?${new URLSearchParams({ id_token_hint: id_token, post_logout_redirect_uri: 'https://agency.example/bye' })}`
  wait(leadSeconds + afterlife.published + 1)
  const { kid } = decodeProtectedHeader(id_token)
  t.notMatch((await early.app.inject(`${base}/jwks`)).body, kid!, 'it is not published any more')
  t.match(await browser().get(address), { status: 303, location: 'https://agency.example/bye' })
  wait(23 * hour)
  t.same(retireKeys(kept, now()).filter(file => file.startsWith('rs256')), [`${kid}.json`])
  for (const replica of [early, late]) replica.receive()
  t.equal((await browser().get(address)).code, 'E01', 'and in the end it is no hint any more')
})

t.test('a sealing key that is revoked opens nothing from then on: the login starts again, and the next one works', async t => {
  const replicas = await twoReplicas(t)
  const { kept, now, early, late, browser } = replicas
  const citizen = browser()
  const { page } = await citizen.start('agency')
  const { access_token } = (await replicas.redeem(await browser().logIn('agency'))).body
  const before = citizen.cookie(/login-/)!
  const { kid } = listKeys(kept, now()).find(({ kind }) => kind === 'sealing')!
  revokeKey(kept, kid, now())
  early.receive()
  t.match(early.app.configuration.keys.sealing, [{ nbf: begin }])
  late.receive()
  const lost = await citizen.get(page.link('idp-taxes')!)
  t.equal(lost.code, 'B04', 'what it sealed is not believed')
  t.ok(lost.waysOn.length > 0, 'with a way on')
  t.equal((await replicas.userinfo(access_token)).status, 200, 'who has entered is not touched')
  t.ok((await citizen.logIn('agency')).code)
  t.not(citizen.cookie(/login-/), before)
})

t.test('a signing key that is revoked is gone from /jwks at once, what it signed is no hint, and its next signs', async t => {
  const replicas = await twoReplicas(t)
  const { kept, now, early, late, browser } = replicas
  makeNextKeys(kept, now())
  for (const replica of [early, late]) replica.receive()
  const keeping = cachingClient(early, now)
  const { id_token } = await tokensOf(replicas, await browser().logIn('swift'))
  t.ok(await keeping(id_token))
  const { kid } = decodeProtectedHeader(id_token)
  const { successor } = revokeKey(kept, kid!, now())
  for (const replica of [early, late]) replica.receive()
  t.notMatch((await late.app.inject(`${base}/jwks`)).body, kid!)
  t.equal(await early.app.signer.verify(id_token), undefined)
  const next = await tokensOf(replicas, await browser().logIn('swift'))
  t.equal(`${decodeProtectedHeader(next['id_token']).kid}.json`, successor)
  t.ok(await keeping(next['id_token']), 'where the next one had waited already, clients know it from their copy')
  t.notOk(await cachingClient(early, now, { impatient: true })(id_token), 'and those who ask again refuse the revoked one')
  t.notOk(readdirSync(kept).some(file => readFileSync(join(kept, file), 'utf8').includes(kid!)))
})
