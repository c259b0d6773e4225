import Fastify from 'fastify'
import t from 'tap'
import type { ProviderCall } from '../../src/ports.ts'
import { OAuthError } from '../../src/protocol/errors.ts'
import { kinds, startCollector, tracesBy } from '../support/collector.ts'

// What spans say of what went wrong; whole logins are in test/traces.test.ts.

const error = 2
const unset = 0

t.test('a request has failed from 500 on, a call of Redis where there was no answer, a call to a provider where there was none or it refused', async t => {
  const collector = await startCollector(t)
  const traces = tracesBy({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.address, OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '7' })
  const answers: Record<string, () => { status: number }> = {
    200: () => ({ status: 200 }),
    399: () => ({ status: 399 }),
    400: () => ({ status: 400 }),
    late: () => { throw new OAuthError('provider_timed_out', 'no answer') },
    bug: () => { throw new Error('a text that came from outside') }
  }
  const asked: string[] = []
  const call = traces.calls(async ({ leg }) => { asked.push(leg); return answers[leg]!() as never }, 'vitalys', false)
  const store = traces.store({ called () {} }, 'a')

  const app = Fastify()
  app.addHook('onRequest', (request, reply, done) => traces.begin(undefined, done))
  await app.register(traces.plugin)
  app.addHook('onSend', (request, reply, payload, done) => { traces.tell(request, { failure: undefined }); done(null, payload) })
  app.get('/:status', async (request, reply) => {
    for (const outcome of ['answered', 'unavailable'] as const) store.called('needed', outcome, 0.1)
    for (const leg of Object.keys(answers)) {
      const answer = call({ leg } as unknown as ProviderCall)
      if (leg === 'late' || leg === 'bug') await t.rejects(answer, leg === 'late' ? { name: 'OAuthError', failure: 'provider_timed_out' } : { name: 'Error', message: /outside/ }, 'who asked has the error')
      else t.equal((await answer).status, Number(leg))
    }
    if ((request.params as { status: string }).status === '403') throw Object.assign(new Error('not allowed'), { statusCode: 403 })
    return reply.code(Number((request.params as { status: string }).status)).send()
  })
  for (const status of [200, 403, 499, 500]) await app.inject(`/${status}`)
  await app.close()
  await traces.end(1000)

  const spans = collector.spans()
  t.same(spans.filter(({ kind }) => kind === kinds.server).map(({ attributes, status }) => [Number(attributes['http.response.status_code']), status.code]), [[200, unset], [403, unset], [499, unset], [500, error]])
  const outcomes = (name: RegExp) => new Set(spans.filter(span => name.test(span.name)).map(({ attributes, status }) => `${attributes['passerelle.leg'] ?? 'redis'} ${attributes['passerelle.outcome']} ${status.code}`))
  t.same([...outcomes(/^redis/)], [`redis answered ${unset}`, `redis unavailable ${error}`])
  t.same([...outcomes(/^vitalys/)].sort(), [`200 answered ${unset}`, `399 answered ${unset}`, `400 refused ${error}`, `bug unexpected ${error}`, `late provider_timed_out ${error}`])
  t.ok(spans.every(({ attributes }) => Object.values(attributes).every(value => value !== undefined)), 'what is not known is not said')
  t.notMatch(collector.bodies.join(), /outside/)
  t.same([...new Set(spans.map(({ parentSpanId }) => parentSpanId === undefined))].sort(), [false, true], 'calls stand under their request')
  t.equal(asked.length, 20)
  t.equal(collector.bodies.length, Math.ceil(spans.length / 7), 'and as many go in one export as the variable says')
})
