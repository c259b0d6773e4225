import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { createJar } from '../world/browser.ts'
import { createCaller } from './calls.ts'
import { beginAttempt } from './driver.ts'
import { createHistory, type Purpose } from './history.ts'
import { createKeyCaches } from './key-caches.ts'
import { ask, comeBack, enterSilently } from './login.ts'
import type { Replica } from './replica.ts'
import { createService, type Scene } from './service.ts'
import type { Client, Stage } from './stage.ts'

const client: Client = { client_id: 'allow', client_secret: 's', redirect_uri: 'http://allow.localhost/callback', post_logout_redirect_uri: 'http://allow.localhost/', method: 'client_secret_basic', consent: 'skip', degraded: 'allow' }

/** A gateway of two replicas that answers as it is told, the keys that it signs with and publishes, and a service with a login of it. */
async function gatewayThat (t: Test, answer: (path: string, times: number) => [status: number, body: object, location?: string], { purpose = 'plain' as Purpose } = {}) {
  const times: Record<string, number> = {}
  const respond = ({ url = '' }: IncomingMessage, response: ServerResponse) => {
    const [path = ''] = url.split('?')
    times[path] = (times[path] ?? 0) + 1
    const [status, body, location] = answer(path, times[path])
    response.writeHead(status, { 'content-type': 'application/json', ...(location === undefined ? {} : { location }) }).end(JSON.stringify(body))
  }
  const servers = await Promise.all([1, 2].map(async () => {
    const server = createServer(respond).listen(0, '127.0.0.1')
    await once(server, 'listening')
    return server
  }))
  const replicas = servers.map((server, i) => ({ name: ['one', 'two'][i]!, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, isThere: () => true }) as Replica)
  const stage = { issuer: replicas[0]!.url, clients: [client], replicas } as Stage
  const history = createHistory()
  const clock = () => 0
  const { call, close } = createCaller(history, clock)
  t.teardown(async () => {
    await close()
    for (const server of servers) server.close()
  })
  const scene: Scene = { stage, history, call, clock, keyCaches: createKeyCaches({ issuer: stage.issuer, call, clock }), waiting: [] }
  const service = createService(scene, client)
  const asked = ask(beginAttempt(scene, { purpose, client: 'allow', provider: 'vitalys', citizen: 'citizen-1' }), service)
  return { scene, service, asked, history, replicas }
}

t.test('who wins a race has an ID Token that its service believes, or the login has failed', async t => {
  const [published, unpublished] = [await generateKeyPair('ES256', { extractable: true }), await generateKeyPair('ES256')]
  const keys = { keys: [{ ...await exportJWK(published.publicKey), kid: 'k' }] }
  for (const [name, { privateKey }, expected] of [['published', published, { outcome: 'raced', why: undefined }], ['unpublished', unpublished, { outcome: 'failed', why: /^ID Token: .*signature/ }]] as const) {
    let id_token = ''
    const { scene, asked } = await gatewayThat(t, (path, times) => path === '/jwks' ? [200, keys] : times === 1 ? [200, { access_token: 'a-token', id_token }] : [400, { error: 'invalid_grant' }], { purpose: 'race' })
    id_token = await new SignJWT({ nonce: asked.attempt.nonce, sid: 'sid', acr: 'eidas1' }).setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .setIssuer(scene.stage.issuer).setAudience('allow').setSubject('sub').setIssuedAt().setExpirationTime('5m').sign(privateKey)
    t.match(await comeBack(scene, asked, new URLSearchParams({ state: asked.state, iss: scene.stage.issuer, code: 'a-code' })), expected, name)
  }
})

t.test('what is tried after an end is written down as good, as refused, or as what nobody could say', async t => {
  const back = (parameters: Record<string, string>): [number, object, string] => [303, {}, `${client.redirect_uri}?${new URLSearchParams(parameters)}`]
  const expected: Array<[isGood: boolean | undefined, Record<string, [number, object, string?]>]> = [
    [true, { '/authorize': back({ code: 'a-code' }), '/token': [200, { access_token: 'a', id_token: 'b' }], '/introspection': [200, { active: true }] }],
    [false, { '/authorize': back({ error: 'login_required' }), '/token': [400, { error: 'invalid_grant' }], '/introspection': [200, { active: false }] }],
    [undefined, { '/authorize': back({ error: 'temporarily_unavailable' }), '/token': [503, { error: 'temporarily_unavailable' }], '/introspection': [503, { error: 'temporarily_unavailable' }] }],
    [undefined, { '/authorize': [303, {}, 'http://elsewhere.localhost/?code=of-another'], '/token': [401, { error: 'invalid_client' }], '/introspection': [200, {}] }]
  ]
  for (const [isGood, answers] of expected) {
    const { scene, service, asked: { attempt, verifier }, history, replicas: [one, two] } = await gatewayThat(t, path => answers[path]!)
    const finished = { attempt, service, verifier, code: 'a-first', jar: createJar(), access_token: 'a-token', id_token: '' }
    t.equal(await enterSilently(scene, finished), isGood === true ? 'a-code' : undefined)
    await enterSilently(scene, finished, two)
    await service.redeemLate({ n: 0, code: 'a-code', verifier, access_token: 'a-token', replica: one! })
    t.equal(await service.introspect({ n: 0, access_token: 'a-token', replica: one! }), isGood)
    const tried = { n: 0, access_token: 'a-token', isGood }
    t.match(history.tries, [{ ...tried, by: 'session' }, { ...tried, by: 'session', replica: 'two' }, { ...tried, by: 'code', replica: 'one' }, { ...tried, by: 'introspection', replica: 'one' }])
    t.same(history.redemptions, [], 'that code is in the history of no other')
  }
})
