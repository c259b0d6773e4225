import { attach } from '../support/inspector.ts'

// What it costs to be observed: which share of a gateway's CPU goes into metrics, the log and traces (where the environment switches them on), by V8's profiler. A share of one run holds on a busy machine, where the difference
// between two runs does not.

interface Frame { id: number, callFrame: { functionName: string, url: string }, children?: number[] }
interface Profile { nodes: Frame[], samples: number[] }

/** Whose work a piece of code is. The innermost file counts: hooks of ours call the rest of the request. */
const whose = [
  ['metrics', /node_modules\/prom-client\/|plugins\/metrics\.ts|adapters\/(measured|watched-call)\.ts/],
  ['traces', /node_modules\/(@opentelemetry|@fastify\/otel)\/|adapters\/traces\.ts|plugins\/traces\.ts/],
  ['log', /node_modules\/(pino|pino-std-serializers|sonic-boom|quick-format-unescaped|safe-stable-stringify|@pinojs)\/|adapters\/log-pipe\.ts|src\/log\.ts|plugins\/events\.ts|protocol\/events\.ts/]
] as const
const intervalUs = 200

/** Profiles the process that waits for its inspector at this port; `stop` says which shares of its busy time went where. */
export async function startProfile (port: number) {
  const { ask, close } = await attach(port)
  await ask('Profiler.enable')
  await ask('Profiler.setSamplingInterval', { interval: intervalUs })
  await ask('Profiler.start')

  return {
    async stop () {
      const { profile } = await ask<{ profile: Profile }>('Profiler.stop')
      close()
      return sharesOf(profile)
    }
  }
}

function sharesOf ({ nodes, samples }: Profile) {
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map(child => [child, id] as const)))
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const owners = new Map<number, string>()
  function ownerOf (id: number): string {
    const { functionName, url } = frames.get(id)!
    if (functionName === '(idle)' || functionName === '(program)') return 'nobody'
    if (url === '' || url.startsWith('node:')) return parents.has(id) ? ownerOf(parents.get(id)!) : 'rest'
    return whose.find(([, files]) => files.test(url))?.[0] ?? 'rest'
  }
  const counts = { metrics: 0, log: 0, traces: 0, rest: 0, nobody: 0 } as Record<string, number>
  for (const id of samples) {
    if (!owners.has(id)) owners.set(id, ownerOf(id))
    counts[owners.get(id)!]!++
  }
  const busy = samples.length - counts['nobody']!
  return Object.fromEntries(whose.map(([owner]) => [owner, counts[owner]! / busy]))
}
