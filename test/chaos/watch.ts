import { setTimeout as pause } from 'node:timers/promises'
import type { Scene } from './service.ts'
import { readObservations, type Observation } from './observations.ts'
import { readChooser } from './pages.ts'
import type { Replica } from './replica.ts'
import { createService } from './service.ts'

export type Watch = ReturnType<typeof startWatch>

const everyMs = 250
const patienceMs = 5000

/** Looks at every replica four times a second, past the load balancer: at its metrics, and at its chooser. */
export function startWatch (scene: Scene) {
  const { stage: { replicas, clients }, call, clock } = scene
  const observations: Observation[] = []
  const over = new AbortController()
  const entrance = new URL(createService(scene, clients[0]!).authorizationUrl({ state: 'watch', nonce: 'watch', code_challenge: 'x'.repeat(43) }))
  const watching = Promise.all(replicas.map(async replica => { while (!over.signal.aborted) await Promise.all([look(replica), pause(everyMs)]) }))

  async function look (replica: Replica) {
    const [metrics, page] = await Promise.all([
      fetch(`${replica.operations}/metrics`, { signal: AbortSignal.timeout(patienceMs) }).then(answer => answer.text()).catch(() => undefined),
      call('watch', `${replica.url}${entrance.pathname}${entrance.search}`, { replica: replica.name, patienceMs })
    ])
    const chooser = page.status === 200 ? readChooser(page.text) : undefined
    if (metrics === undefined || chooser === undefined) return           // it is away
    observations.push({
      at: clock(),
      replica: replica.name,
      breakers: readBreakers(metrics),
      down: [...chooser.cards].filter(([, { state }]) => state === 'down').map(([idp]) => idp),
      isNoneOpen: [...chooser.cards.values()].every(({ state }) => state !== 'open'),
      explainsNone: chooser.explainsNone
    })
  }

  return {
    ...readObservations(observations, replicas.map(({ name }) => name)),
    async end () {
      over.abort()
      await watching
    }
  }
}

/** The state of each provider's breaker: the one that is in force has the value 1. */
const readBreakers = (metrics: string) => Object.fromEntries(
  [...metrics.matchAll(/^passerelle_provider_breaker_state\{idp="([^"]+)",state="([^"]+)"\} 1$/gm)].map(([, idp, state]) => [idp!, state!]))
