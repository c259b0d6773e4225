import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startTraces } from '../../src/adapters/traces.ts'
import type { Teardown } from './gateway.ts'

/** A span as OTLP has it in JSON, its attributes as one object. */
export interface ExportedSpan {
  traceId: string
  spanId: string
  parentSpanId?: string
  flags?: number
  traceState?: string
  name: string
  kind: number
  status: { code?: number, message?: string }
  attributes: Record<string, unknown>
  events: unknown[]
  links: unknown[]
  resource: Record<string, unknown>
}

interface Attribute { key: string, value: Record<string, unknown> }
interface Exported { resourceSpans: Array<{ resource: { attributes: Attribute[] }, scopeSpans: Array<{ spans: Array<Omit<ExportedSpan, 'attributes' | 'resource'> & { attributes: Attribute[] }> }> }> }

/** The numbers that OTLP has for kinds of spans. */
export const kinds = { server: 2, client: 3 } as const

const valuesOf = (attributes: Attribute[]) => Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

/** A collector of traces, that speaks OTLP in JSON; `answer` may be changed at any time. */
export async function startCollector (t: Teardown) {
  const bodies: string[] = []
  const collector = {
    bodies,
    address: '',
    answer (response: ServerResponse) { response.setHeader('content-type', 'application/json').end('{}') },
    spans: (): ExportedSpan[] => bodies.flatMap(body => (JSON.parse(body) as Exported).resourceSpans)
      .flatMap(({ resource, scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans.map(span => ({ ...span, attributes: valuesOf(span.attributes), resource: valuesOf(resource.attributes) }))))
  }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    if (request.url === '/v1/traces') bodies.push(body)
    collector.answer(response)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  collector.address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return collector
}

/** Traces as these variables say; what the process has beside them is as it was afterwards. */
export function tracesBy (variables: Record<string, string>) {
  const before = { ...process.env }
  Object.assign(process.env, variables)
  try { return startTraces({ site: 'a', replica: 'one' }) } finally {
    for (const name of Object.keys(variables)) if (before[name] === undefined) delete process.env[name]
    Object.assign(process.env, before)
  }
}
