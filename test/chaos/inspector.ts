import { attach } from '../support/inspector.ts'
import type { Launched } from './processes.ts'

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
  const { result: { value: { heapUsed, external, rss } } } = await ask<{ result: { value: NodeJS.MemoryUsage } }>('Runtime.evaluate', { expression: 'process.memoryUsage()', returnByValue: true })
  close()
  return { needed: heapUsed + external, resident: rss }
}

/** The inspector of a process, which SIGUSR1 opens at this port. */
function inspect ({ child }: Launched, port: number) {
  child.kill('SIGUSR1')
  return attach(port)
}
