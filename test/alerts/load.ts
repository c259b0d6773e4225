import { setTimeout as pause } from 'node:timers/promises'
import { createCaller } from '../chaos/calls.ts'
import { beginAttempt } from '../chaos/driver.ts'
import { createHistory, type Attempt, type Purpose } from '../chaos/history.ts'
import { createKeyCaches } from '../chaos/key-caches.ts'
import { logIn } from '../chaos/login.ts'
import type { Scene } from '../chaos/service.ts'
import type { Stage } from '../chaos/stage.ts'
import { createJar } from '../world/browser.ts'

/** What a login is to be, where it matters. */
interface Wish { purpose?: Purpose, client?: string, provider?: string }

/** Citizens who come and do as they should, and those whom a trial brings. */
export type Load = ReturnType<typeof startLoad>

const citizens = 150
const mostUnderWay = 300
/** services fetch our keys again after ten minutes, and the time here goes by faster */
const keysKeptSeconds = 2

/** Logins begin at this rate, whatever becomes of earlier ones, at each provider and each service by turns: none is tried again, and nobody does anything wrong. */
export function startLoad (stage: Stage, rate: number) {
  const began = performance.now()
  const clock = () => performance.now() - began
  const over = new AbortController()
  const underWay = new Set<Promise<unknown>>()
  const counts: Record<string, number> = {}
  let isHeld = false

  function newScene () {
    const history = createHistory()
    const { call, close } = createCaller(history, clock)
    const scene: Scene = { stage, history, call, clock, keyCaches: createKeyCaches({ issuer: stage.issuer, call, clock, keysKept: () => keysKeptSeconds }), waiting: [] }
    return { scene, close }
  }
  const { scene, close } = newScene()

  async function visit ({ purpose = 'plain', client, provider }: Wish = {}) {
    const { attempts } = scene.history
    const turn = attempts.length
    const attempt: Attempt = beginAttempt(scene, {
      purpose,
      client: client ?? stage.clients[Math.floor(turn / stage.providers.length) % stage.clients.length]!.client_id,
      provider: provider ?? stage.providers[turn % stage.providers.length]!.id,
      citizen: `citizen-${turn % citizens}`
    })
    const login = await logIn(scene, attempt, createJar())
    counts[attempt.outcome ?? 'failed'] = (counts[attempt.outcome ?? 'failed'] ?? 0) + 1
    return { attempt, login }
  }

  async function arrive () {
    for (let n = 0; !over.signal.aborted; n++) {
      const early = n * 1000 / rate - clock()
      if (early > 0) await pause(early, undefined, { signal: over.signal }).catch(() => {})
      if (over.signal.aborted || isHeld || underWay.size >= mostUnderWay) continue
      const login: Promise<unknown> = visit().finally(() => underWay.delete(login))
      underWay.add(login)
    }
  }
  const arriving = arrive()

  return {
    scene,
    /** how many logins ended in which way */
    counts,
    visit,
    /** Nobody comes by himself, or they do again. */
    hold (isToBe: boolean) { isHeld = isToBe },
    /** One more with each tick, beside the others, until that is ended. */
    more (perSecond: number, come: (n: number) => Promise<unknown>) {
      let n = 0
      const timer = setInterval(() => {
        if (underWay.size >= mostUnderWay) return
        const one: Promise<unknown> = come(n++).catch(() => {}).finally(() => underWay.delete(one))
        underWay.add(one)
      }, 1000 / perSecond)
      over.signal.addEventListener('abort', () => clearInterval(timer))
      return () => clearInterval(timer)
    },
    async end () {
      over.abort()
      await arriving
      await Promise.race([Promise.all(underWay), pause(20_000)])
      await close()
    }
  }
}
