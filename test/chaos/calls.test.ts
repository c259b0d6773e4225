import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { createCaller } from './calls.ts'
import { check } from './checker.ts'
import { createHistory } from './history.ts'

const page = '<p>Code <strong id="error-code">C07</strong></p>'

t.test('what a page says to a help desk is no OAuth error, and excuses no 5xx from saying when to come again (I5)', async t => {
  const answers: Record<string, [status: number, headers: Record<string, string>, body: string]> = {
    '/page': [502, { 'content-type': 'text/html; charset=utf-8' }, page],
    '/patient-page': [502, { 'content-type': 'text/html; charset=utf-8', 'retry-after': '60' }, page],
    '/oauth': [500, { 'content-type': 'application/json; charset=utf-8' }, '{"error":"server_error"}'],
    '/json': [500, { 'content-type': 'application/json' }, '{"error":7}']
  }
  const server = createServer(({ url = '' }, response) => {
    const [status, headers, body] = answers[url]!
    response.writeHead(status, headers).end(body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const history = createHistory()
  const { call, close } = createCaller(history, () => 0)
  t.teardown(async () => {
    await close()
    server.close()
  })

  for (const path of Object.keys(answers)) await call(path, `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`)
  t.match(history.requests, [{ errorCode: 'C07', failure: undefined }, { errorCode: 'C07', retryAfter: true }, { failure: 'server_error' }, { failure: undefined }])
  t.same(check(history).map(({ invariant, evidence }) => [invariant, (evidence['request'] as { step: string }).step]), [['I5', '/page'], ['I5', '/json']])
})
