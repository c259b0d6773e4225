import type { IncomingMessage, ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import type { JWK } from 'jose'
import { openHost } from './host.ts'
import { isMisbehaviour, misbehaviours, strangerKeys, type MisbehaviourName } from './misbehaviours.ts'

/** What the control steers. */
interface Controlled {
  counts: Record<string, number>
  inForce (): { name: MisbehaviourName, share: number } | undefined
  misbehave (name: MisbehaviourName, share: number): void
  recover (): void
  renewKeys (renewal: { overlap: boolean }): void
  published (): JWK[]
}

/** How a request was answered: its status and JSON. */
type Said = [status: number, body: unknown]

/** Starts the control of a light provider: a server of its own at 127.0.0.1, which also is the trap where nobody should come. */
export async function startControl (port: number, provider: Controlled) {
  const state = () => ({ in_force: provider.inForce() ?? null })
  const routes: Record<string, (request: IncomingMessage) => Said | Promise<Said>> = {
    'GET /': () => [200, { ...state(), misbehaviours: Object.fromEntries(Object.entries(misbehaviours).map(([name, { about }]) => [name, about])) }],
    async 'PUT /misbehaviour' (request) {
      const { name, share = 1 } = await bodyOf(request)
      if (!isMisbehaviour(name)) return expected(`name: one of ${Object.keys(misbehaviours).join(', ')}`)
      if (typeof share !== 'number' || !(share > 0 && share <= 1)) return expected('share: a number above 0, up to 1')
      provider.misbehave(name, share)
      return [200, state()]
    },
    'DELETE /misbehaviour' () {
      provider.recover()
      return [200, state()]
    },
    'GET /counts': () => [200, provider.counts],
    async 'POST /keys' (request) {
      const { overlap = false } = await bodyOf(request)
      if (typeof overlap !== 'boolean') return expected('overlap: true or false')
      provider.renewKeys({ overlap })
      return [200, { kids: provider.published().map(({ kid }) => kid) }]
    }
  }

  const host = await openHost('127', port, { suffix: '0.0.1', ports: 'fixed', tls: undefined }, (request, response) => {
    answer(request).then(said => send(said, response), error => send([400, { error: String(error) }], response))
  })
  return { ...host, port: Number(new URL(host.origin).port) }

  async function answer (request: IncomingMessage): Promise<Said> {
    if (request.url!.startsWith('/trap')) {
      provider.counts['trap']!++
      return [200, { keys: [...strangerKeys(), ...provider.published()] }]
    }
    const route = routes[`${request.method} ${request.url}`]
    return route === undefined ? [404, { error: `expected one of ${Object.keys(routes).join(', ')}` }] : route(request)
  }
}

const expected = (what: string): Said => [400, { error: `expected ${what}` }]

async function bodyOf (request: IncomingMessage): Promise<Record<string, unknown>> {
  const body = await json(request).catch(() => { throw new Error('expected JSON') })
  return typeof body === 'object' && body !== null ? body as Record<string, unknown> : {}
}

function send ([status, body]: Said, response: ServerResponse) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
