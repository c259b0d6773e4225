import fp from 'fastify-plugin'
import type { Traces } from '../src/adapters/traces.ts'
import { idsOf } from './events.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** undefined where traces are off: then nothing of OpenTelemetry is in this process */
    traces: Traces | undefined
  }
}

/** Milliseconds that the last spans may take, of those in which we have to be closed. */
const lastSpansMs = 1000

export interface TracesPluginOptions { traces?: Traces | undefined }

/** One trace for each request, where traces are on; else no hook and no wrapper. */
export default fp<TracesPluginOptions>(async (app, { traces }) => {
  app.decorate('traces', traces)
  if (traces === undefined) return
  const { follow_proxies: followsProxies } = app.configuration.settings.traces

  // browsers and services are strangers, whose ids and flags steer nothing of ours; who is believed about addresses may be believed about traces
  app.addHook('onRequest', (request, reply, done) => {
    const { ips = [], headers: { traceparent } } = request
    const isFollowed = followsProxies && ips.length > 1 && typeof traceparent === 'string'
    traces.begin(isFollowed ? traceparent : undefined, done)
  })
  await app.register(traces.plugin)

  // between these two a request may have waited in line, and is called by whoever was served before
  app.addHook('preHandler', (request, reply, done) => traces.goOn(request, done))

  app.addHook('onSend', (request, reply, payload, done) => {
    traces.tell(request, { ...idsOf(request), failure: request.failure?.failure })
    done(null, payload)
  })

  let isLosing = false
  traces.watch((outcome, spans) => {
    app.countSpans(outcome, spans)
    if (outcome === 'ended' || isLosing === (outcome === 'lost')) return
    isLosing = outcome === 'lost'
    if (isLosing) app.log.warn({ spans }, 'traces are lost: the collector does not take them')
    else app.log.info({ spans }, 'traces arrive again')
  })
  app.addHook('onClose', async () => traces.end(lastSpansMs))
}, { name: 'traces', dependencies: ['configuration', 'metrics'] })
