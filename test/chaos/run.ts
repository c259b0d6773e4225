import { setTimeout as pause } from 'node:timers/promises'
import { createCaller } from './calls.ts'
import { check, type Violation } from './checker.ts'
import { startDriver, type Driver, type DriverOptions } from './driver.ts'
import { isWell } from './figures.ts'
import { createHistory, type History } from './history.ts'
import { createKeyCaches, type KeyKeeping } from './key-caches.ts'
import type { Brought } from './login.ts'
import type { Present } from './proof.ts'
import { startReplayer } from './replayer.ts'
import type { Scene } from './service.ts'
import type { Stage } from './stage.ts'
import { startWatch, type Watch } from './watch.ts'

/** Load on a stage, from its first login until it is ended. */
export interface Run {
  scene: Scene
  history: History
  watch: Watch
  /** milliseconds since it began */
  clock (): number
  /** Waits for something, at most so long; whether it came. */
  until (isTrue: () => boolean | Promise<boolean>, seconds: number): Promise<boolean>
  /** Lets so many more logins begin in a second, until that is ended. */
  more (rate: number): Pick<Driver, 'end'>
  /** Has a login tried again that the load did not bring. */
  tryAgain (login: Brought): void
  /** Has nothing more tried again for a while, or goes on with it. */
  hold (isToBe: boolean): void
  /** Ends the load, tries every code again, and says what the checker finds. */
  end (): Promise<Ended>
}

export interface Ended {
  history: History
  violations: Violation[]
  /** who was there to prove something */
  present: Present
  replayed: number
  /** codes of logins that did not end with tokens, tried again too, and those of them that gave some then */
  otherCodes: { tried: number, given: number }
  /** codes that were not tried again before the load was over */
  waited: number
  lostTokens: number
  /** logins that could not begin or be replayed, since something did not keep up */
  leftOut: number
  mostLateMs: number
}

const settleMs = 5000

export interface RunOptions extends Pick<DriverOptions, 'rate' | 'persists' | 'staysAtSite'>, Pick<Scene, 'keptMs' | 'lingersMs'>, KeyKeeping {
  /** of so many logins that went well one is tried again while the load lasts, and the others' codes when it is over: each, unless set, and always those that did not; with `none` nothing is */
  oneIn?: number | 'none'
}

/** Starts logins at this rate, what tries them again, and the watch over every replica. */
export function startRun (stage: Stage, { rate, persists = false, staysAtSite = false, keptMs = 0, lingersMs = 0, oneIn = 1, ...keeping }: RunOptions): Run {
  const history = createHistory()
  const began = performance.now()
  const clock = () => Math.round((performance.now() - began) * 100) / 100
  const { call, close } = createCaller(history, clock)
  const keyCaches = createKeyCaches({ issuer: stage.issuer, call, clock, ...keeping })
  const scene: Scene = { stage, history, call, clock, keyCaches, keptMs, lingersMs, waiting: [] }
  const eventsBefore = stage.replicas.map(({ events }) => events.length)
  const watch = startWatch(scene)
  const replayer = startReplayer(scene)
  let well = 0
  const onCode = (login: Brought) => {
    if (oneIn === 'none') return
    if (!isWell(login.attempt) || well++ % oneIn === 0) replayer.add(login)
    else scene.waiting.push(login)
  }
  const drivers = [startDriver(scene, { rate, persists, staysAtSite, onCode })]

  const until = async (isTrue: () => boolean | Promise<boolean>, seconds: number) => {
    const end = clock() + seconds * 1000
    while (!await isTrue()) {
      if (clock() > end) return false
      await pause(50)
    }
    return true
  }
  const events = () => stage.replicas.flatMap(({ events }, i) => events.slice(eventsBefore[i]))

  return {
    scene,
    history,
    watch,
    clock,
    until,
    more (rate) {
      const driver = startDriver(scene, { rate, persists, onCode })
      drivers.push(driver)
      return driver
    },
    tryAgain: replayer.add,
    hold: replayer.hold,
    async end () {
      await Promise.all(drivers.map(driver => driver.end()))
      await replayer.end()
      const present = {
        isLoad: rate > 0,
        oneIn: oneIn === 'none' ? Infinity : oneIn,
        services: stage.clients.map(({ client_id }) => client_id),
        sites: stage.sites.map(({ mark }) => mark),
        replicas: stage.replicas.filter(replica => replica.isThere()).map(({ name, site }) => ({ name, site }))
      }
      await watch.end()
      await close()
      const given = history.redemptions.filter(({ status }) => status === 200).length
      await until(() => events().length >= given, settleMs / 1000)      // replicas write behind the requests' backs
      history.events.push(...events())
      return {
        history,
        violations: check(history),
        present,
        replayed: replayer.figures.tried,
        otherCodes: replayer.otherCodes,
        waited: scene.waiting.length,
        lostTokens: replayer.figures.lostTokens,
        leftOut: drivers.reduce((sum, { figures }) => sum + figures.leftOut, replayer.figures.leftOut),
        mostLateMs: Math.max(...drivers.map(({ figures }) => figures.mostLateMs))
      }
    }
  }
}
