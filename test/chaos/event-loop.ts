import { once } from 'node:events'
import { until } from '../support/redis.ts'
import type { Launched } from './processes.ts'

const opensMs = 5000

/** Keeps the event loop of a process busy: its inspector, which SIGUSR1 opens at this port of 127.0.0.1, runs a loop that does nothing. Resolves when that is over. */
export async function blockLoop ({ child }: Launched, port: number, milliseconds: number) {
  child.kill('SIGUSR1')
  let address = ''
  await until('the inspector listens', opensMs, async () => {
    const [target] = await fetch(`http://127.0.0.1:${port}/json/list`).then(answer => answer.json(), () => []) as Array<{ webSocketDebuggerUrl: string }>
    address = target?.webSocketDebuggerUrl ?? ''
    return address !== ''
  })
  const inspector = new WebSocket(address)
  await once(inspector, 'open')
  inspector.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression: `for (const end = performance.now() + ${milliseconds}; performance.now() < end;);` } }))
  await once(inspector, 'message')
  inspector.close()
}
