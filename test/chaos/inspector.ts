import { once } from 'node:events'
import { until } from '../support/redis.ts'
import type { Launched } from './processes.ts'

const opensMs = 5000

/** Keeps the event loop of a process busy: it runs a loop that does nothing. Resolves when that is over. */
export async function blockLoop (launched: Launched, port: number, milliseconds: number) {
  const { ask, close } = await inspect(launched, port)
  await ask('Runtime.evaluate', { expression: `for (const end = performance.now() + ${milliseconds}; performance.now() < end;);` })
  close()
}

/** Has a process keep so many bytes more, all of them written to. */
export async function fillMemory (launched: Launched, port: number, bytes: number) {
  const { ask, close } = await inspect(launched, port)
  await ask('Runtime.evaluate', { expression: `globalThis.kept = Buffer.alloc(${bytes}, 1)` })
  close()
}

/** The bytes of what a process still needs, once what it needs no more is thrown away, and of the whole of it. */
export async function memoryOf (launched: Launched, port: number): Promise<{ needed: number, resident: number }> {
  const { ask, close } = await inspect(launched, port)
  await ask('HeapProfiler.collectGarbage')
  const { result } = await ask('Runtime.evaluate', { expression: 'process.memoryUsage()', returnByValue: true })
  close()
  const { heapUsed, external, rss } = result.value as NodeJS.MemoryUsage
  return { needed: heapUsed + external, resident: rss }
}

/** The inspector of a process, which SIGUSR1 opens at this port of 127.0.0.1. */
async function inspect ({ child }: Launched, port: number) {
  child.kill('SIGUSR1')
  let address = ''
  await until('the inspector listens', opensMs, async () => {
    const [target] = await fetch(`http://127.0.0.1:${port}/json/list`).then(answer => answer.json(), () => []) as Array<{ webSocketDebuggerUrl: string }>
    address = target?.webSocketDebuggerUrl ?? ''
    return address !== ''
  })
  const inspector = new WebSocket(address)
  await once(inspector, 'open')
  let id = 0
  return {
    async ask (method: string, params: object = {}) {
      inspector.send(JSON.stringify({ id: ++id, method, params }))
      for (;;) {
        const [{ data }] = await once(inspector, 'message') as [MessageEvent<string>]
        const answer = JSON.parse(data)
        if (answer.id === id) return answer.result as { result: { value?: unknown } }
      }
    },
    close: () => inspector.close()
  }
}
