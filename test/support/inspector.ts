import { once } from 'node:events'
import { until } from './redis.ts'

const opensMs = 5000

/** The inspector of a process, which it opens at this port of 127.0.0.1 within some seconds, and how it is asked. */
export async function attach (port: number) {
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
    async ask <Result = unknown> (method: string, params: object = {}) {
      inspector.send(JSON.stringify({ id: ++id, method, params }))
      for (;;) {
        const [{ data }] = await once(inspector, 'message') as [MessageEvent<string>]
        const answer = JSON.parse(data)
        if (answer.id === id) return answer.result as Result
      }
    },
    close: () => inspector.close()
  }
}
