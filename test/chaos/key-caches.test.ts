import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, jwtVerify, SignJWT, type JWK } from 'jose'
import t, { type Test } from 'tap'
import { createCaller } from './calls.ts'
import { createHistory } from './history.ts'
import { createKeyCaches, type KeyKeeping } from './key-caches.ts'

/** A gateway that publishes keys, to be kept for ten minutes, and a service that keeps them by a clock of its own. */
async function publishing (t: Test, keeping: KeyKeeping = {}) {
  let moment = 0
  let status = 200
  const jwks: JWK[] = []
  const server = createServer((request, response) => response.writeHead(status, { 'cache-control': 'public, max-age=600' }).end(JSON.stringify({ keys: jwks })))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const history = createHistory()
  const { call, close } = createCaller(history, () => moment)
  t.teardown(async () => {
    await close()
    server.close()
  })
  const caches = createKeyCaches({ issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, call, clock: () => moment, ...keeping })
  return {
    /** Another key is published; a token that it signed. */
    async tokenOf (kid: string) {
      const { privateKey, publicKey } = await generateKeyPair('ES256')
      jwks.push({ ...await exportJWK(publicKey), kid })
      return new SignJWT().setProtectedHeader({ alg: 'ES256', kid }).sign(privateKey)
    },
    believes: (token: string, n = 0) => caches.keysFor(n).then(keys => jwtVerify(token, keys)).then(() => true, () => false),
    asked: () => history.requests.length,
    wait (seconds: number) { moment += seconds * 1000 },
    answer (code: number) { status = code }
  }
}

t.test('keys are kept for as long as they may be, and a kid that is not among them makes nobody ask before', async t => {
  const { tokenOf, believes, asked, wait } = await publishing(t, { keysKept: maxAge => maxAge / 100 })
  const first = await tokenOf('first')
  t.ok(await believes(first))
  const next = await tokenOf('next')
  wait(5.9)
  t.notOk(await believes(next))
  t.ok(await believes(first))
  t.equal(asked(), 1)
  wait(0.1)
  t.ok(await believes(next))
  t.equal(asked(), 2)
})

t.test('keys that are not kept are asked for each time, and by default once in a run', async t => {
  const impatient = await publishing(t, { keysKept: () => 0 })
  for (const kid of ['first', 'next']) t.ok(await impatient.believes(await impatient.tokenOf(kid)), kid)
  t.equal(impatient.asked(), 2)

  const patient = await publishing(t)
  const token = await patient.tokenOf('first')
  t.same(await Promise.all([0, 1, 2].map(n => patient.believes(token, n))), [true, true, true])
  patient.wait(86_400)
  t.notOk(await patient.believes(await patient.tokenOf('next')))
  t.equal(patient.asked(), 1, 'also by those who come at the same time')
})

t.test('each process has keys of its own', async t => {
  const { tokenOf, believes, asked } = await publishing(t, { keysKept: maxAge => maxAge, processes: 2 })
  t.ok(await believes(await tokenOf('first'), 0))
  const next = await tokenOf('next')
  t.same([await believes(next, 0), await believes(next, 1), await believes(next, 2), await believes(next, 3)], [false, true, false, true])
  t.equal(asked(), 2)
})

t.test('keys that were not to be had are asked for again', async t => {
  const { tokenOf, believes, answer } = await publishing(t)
  const token = await tokenOf('first')
  answer(503)
  t.notOk(await believes(token))
  answer(200)
  t.ok(await believes(token))
})
