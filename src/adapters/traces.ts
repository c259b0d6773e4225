import { FastifyOtelInstrumentation } from '@fastify/otel'
import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags, type Attributes, type Context, type Span, type SpanContext } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources'
import { BatchSpanProcessor, NodeTracerProvider, type ReadableSpan, type SpanExporter, type SpanProcessor } from '@opentelemetry/sdk-trace-node'
import type { FastifyPluginCallback, FastifyRequest } from 'fastify'
import about from '../../package.json' with { type: 'json' }
import type { CallProvider, StoreWatch } from '../ports.ts'
import { OAuthError } from '../protocol/errors.ts'
import { inTime } from './in-time.ts'

// The one module that loads OpenTelemetry; itself it is loaded only where traces are on.

/** What a span may say, and nothing else: names that we gave, methods, routes and figures. Never an address, a header or a text that came from outside. */
const told = [
  'http.request.method', 'http.route', 'http.response.status_code', 'db.system.name',
  'passerelle.login', 'passerelle.client_id', 'passerelle.idp', 'passerelle.failure', 'passerelle.leg', 'passerelle.outcome', 'passerelle.site', 'passerelle.class'
]

export interface TracesOptions { site: string, replica: string }

/** What is told of a request when its answer is made. */
export interface RequestTold { login?: string | undefined, client_id?: string | undefined, idp?: string | undefined, failure?: string | undefined }

/** Traces of requests, by OTLP over HTTP to where the standard variables say. */
export interface Traces {
  /** what Fastify registers before all that is to be traced: a span for each request */
  plugin: FastifyPluginCallback
  /** Does the work of a request in the trace that a `traceparent` names (W3C Trace Context §3.2), in one of its own where it is given none or a wrong one. */
  begin (traceparent: string | undefined, work: () => void): void
  /** Goes on with a request in its own trace, whoever's turn it was. */
  goOn (request: FastifyRequest, work: () => void): void
  tell (request: FastifyRequest, told: RequestTold): void
  /** The same watch of a site's store, each call of a request a span. */
  store (watch: StoreWatch, site: string): StoreWatch
  /** The same calls, each of a request a span, and its `traceparent` sent along where that is wanted. */
  calls (call: CallProvider, idp: string, isCarried: boolean): CallProvider
  /** Has this told what becomes of spans. */
  watch (watch: SpansWatch): void
  /** Exports what is left, for so many milliseconds at most. */
  end (milliseconds: number): Promise<void>
}

/** Of spans: which ended, and which of them the collector took or not. What is neither waits, or was dropped since too many do. */
export type SpansWatch = (outcome: 'ended' | 'taken' | 'lost', spans: number) => void

/** Spans of one export: more of them would hold up the event loop while they are written. */
const spansAtOnce = 128

export function startTraces ({ site, replica }: TracesOptions): Traces {
  let watch: SpansWatch = () => {}
  const tell: SpansWatch = (outcome, spans) => watch(outcome, spans)
  const exporter = watched(new OTLPTraceExporter(), tell)
  const provider = new NodeTracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': 'passerelle', 'service.version': about.version, site, replica }))
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [onlyWhatIsTold(new BatchSpanProcessor(exporter, process.env['OTEL_BSP_MAX_EXPORT_BATCH_SIZE'] ? {} : { maxExportBatchSize: spansAtOnce }), tell)]
  })
  provider.register({ propagator: null })                              // nothing is taken from headers, nothing put into them, but by us
  const tracer = provider.getTracer('passerelle', about.version)
  const instrumentation = new FastifyOtelInstrumentation({ instrumentHooks: false, instrumentHandler: false, recordExceptions: false })
  instrumentation.setTracerProvider(provider)

  return {
    plugin: instrumentation.plugin() as unknown as FastifyPluginCallback,
    begin (traceparent, work) { context.with(contextOf(traceparent), work) },
    goOn (request, work) { context.with(spanOf(request).context, work) },
    tell (request, { login, client_id, idp, failure }) {
      const { span } = spanOf(request)
      const { url: route = 'none' } = request.routeOptions
      span.updateName(`${request.method} ${route}`)
      span.setAttributes({ 'http.route': route, 'passerelle.login': login, 'passerelle.client_id': client_id, 'passerelle.idp': idp, 'passerelle.failure': failure })
    },
    store: (watch, site) => ({
      called (kind, outcome, seconds) {
        watch.called(kind, outcome, seconds)
        if (!isUnderWay()) return
        const now = performance.now()
        const span = tracer.startSpan(`redis ${kind}`, {
          kind: SpanKind.CLIENT,
          startTime: now - seconds * 1000,
          attributes: { 'db.system.name': 'redis', 'passerelle.site': site, 'passerelle.class': kind, 'passerelle.outcome': outcome }
        })
        if (outcome === 'unavailable') span.setStatus({ code: SpanStatusCode.ERROR })
        span.end(now)
      }
    }),
    calls: (call, idp, isCarried) => async asked => {
      if (!isUnderWay()) return call(asked)
      const { leg } = asked
      const span = tracer.startSpan(`${idp} ${leg}`, { kind: SpanKind.CLIENT, attributes: { 'passerelle.idp': idp, 'passerelle.leg': leg } })
      const end = (outcome: string) => {
        span.setAttribute('passerelle.outcome', outcome)
        if (outcome !== 'answered') span.setStatus({ code: SpanStatusCode.ERROR })
        span.end()
      }
      try {
        const answer = await call(isCarried ? { ...asked, headers: { ...asked.headers, traceparent: traceparentOf(span) } } : asked)
        end(answer.status < 400 ? 'answered' : 'refused')
        return answer
      } catch (error) {
        end(error instanceof OAuthError ? error.failure : 'unexpected')
        throw error
      }
    },
    watch (told) { watch = told },
    async end (milliseconds) { await inTime(milliseconds, provider.shutdown(), () => new Error('late')).catch(() => {}) }
  }
}

/** Whether this is done for a request that is traced and has not been answered: what runs for longer, or by itself, is of no request. */
const isUnderWay = () => trace.getActiveSpan()?.isRecording() === true

const spanOf = (request: FastifyRequest) => (request as unknown as { opentelemetry (): { span: Span, context: Context } }).opentelemetry()

function contextOf (traceparent = '') {
  const [, traceId = '', spanId = '', flags = ''] = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(traceparent) ?? []
  // one that is none, or all zeros, begins a trace of its own
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: parseInt(flags, 16) & TraceFlags.SAMPLED, isRemote: true })
}

function traceparentOf (span: Span) {
  const { traceId, spanId, traceFlags } = span.spanContext()
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}

/** The same exporter, and what came of its spans. */
function watched (exporter: SpanExporter, tell: SpansWatch): SpanExporter {
  return {
    export (spans, done) {
      exporter.export(spans, result => {
        tell(result.code === 0 ? 'taken' : 'lost', spans.length)         // ExportResultCode.SUCCESS
        done(result)
      })
    },
    forceFlush: async () => { await exporter.forceFlush?.() },
    shutdown: () => exporter.shutdown()
  }
}

/** Hands on requests and calls, cut down to what may be told: @fastify/otel notes addresses with their query, and the messages of errors. */
function onlyWhatIsTold (processor: SpanProcessor, tell: SpansWatch): SpanProcessor {
  return {
    onStart (span, parent) { processor.onStart(span, parent) },
    onEnd (span) {
      tell('ended', 1)
      processor.onEnd(cutDown(span))
    },
    forceFlush: () => processor.forceFlush(),
    shutdown: () => processor.shutdown()
  }
}

function cutDown (span: ReadableSpan): ReadableSpan {
  const { name, kind, parentSpanContext: parent, startTime, endTime, duration, resource, instrumentationScope } = span
  const own = bare(span.spanContext())
  const attributes = Object.fromEntries(told.filter(name => span.attributes[name] !== undefined).map(name => [name, span.attributes[name]])) as Attributes
  const hasFailed = kind === SpanKind.SERVER ? Number(attributes['http.response.status_code']) >= 500 : span.status.code === SpanStatusCode.ERROR
  return {
    name,
    kind,
    spanContext: () => own,
    ...(parent === undefined ? {} : { parentSpanContext: bare(parent) }),
    startTime,
    endTime,
    duration,
    ended: true,
    status: { code: hasFailed ? SpanStatusCode.ERROR : SpanStatusCode.UNSET },
    attributes,
    links: [],
    events: [],
    resource,
    instrumentationScope,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0
  }
}

/** Ids without what others wrote beside them. */
const bare = ({ traceId, spanId, traceFlags, isRemote = false }: SpanContext) => ({ traceId, spanId, traceFlags, isRemote })
