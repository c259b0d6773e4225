import { randomBytes, type KeyObject } from 'node:crypto'
import type { Clock, Noticeboard } from '../ports.ts'
import { citizenOfMonth } from '../protocol/subject.ts'

/** A login that ended with tokens, as far as it is counted. */
export interface CountedLogin { person: string, idp: string, acr: string, client_id: string }

/** What citizens are counted by, beside all of them together. */
export type Dimension = 'idp' | 'acr' | 'client_id'
/** How many citizens logged in during a month (UTC, `2026-11`): all of them, or those at one provider, level or service. */
export interface CitizenCount { month: string, by?: Dimension, name?: string, citizens: number }

export interface CitizenCountsOptions {
  board: Pick<Noticeboard, 'pinFirst' | 'addTo' | 'sizesOf'>
  /** the secret behind `sub` */
  secret: () => KeyObject
  now: Clock
  /** told of logins that are not counted, since too many waited */
  onLost: (logins: number) => void
}

const dimensions: readonly Dimension[] = ['idp', 'acr', 'client_id']
/** logins that wait for a Redis that is away */
const mostWaiting = 50_000
/** at a turn of the event loop */
const loginsAtOnce = 500
const namesAtOnce = 200
/** replicas' clocks differ, and what waited over the month's end is of the month in which it came */
const afterwardsSeconds = 600

/**
 * How many citizens of their own logged in during a month, estimated to about 1 % by HyperLogLogs that all replicas of a site add to: these hold no list, and nobody can be taken out
 * of them. What is added is a citizen's pseudonym of that month, made with a salt that is gone soon after it. Logins are noted many at a time: none waits, and none costs a command.
 */
export function citizenCounts ({ board, secret, now, onLost }: CitizenCountsOptions) {
  const waiting: Array<CountedLogin & { month: string }> = []
  let salt = { month: '', text: '' }
  let underWay: Promise<void> | undefined

  async function note (logins: Array<CountedLogin & { month: string }>) {
    for (const [month, those] of Map.groupBy(logins, login => login.month)) {
      if (salt.month !== month) salt = { month, text: randomBytes(16).toString('base64url') }
      // asked each time: where Redis lost it, the one that a replica knows is taken again
      const text = await board.pinFirst(`citizens:{${month}}:salt`, salt.text, left(monthsAfter(month, 1)))
      if (text === undefined) return false
      salt = { month, text }
      const sets = new Map<string, Set<string>>()
      for (const login of those) {
        const citizen = citizenOfMonth(secret(), text, login.person)
        for (const name of [setOf(month), ...dimensions.map(by => setOf(month, by, login[by]))]) sets.set(name, (sets.get(name) ?? new Set()).add(citizen))
      }
      if (!await board.addTo(sets, left(monthsAfter(month, 2)))) return false
    }
    return true
  }

  const left = (until: number) => Math.max(0, until - now()) + afterwardsSeconds

  async function noteAll () {
    while (waiting.length > 0) {
      const some = waiting.slice(0, loginsAtOnce)
      if (!await note(some)) return
      waiting.splice(0, some.length)
    }
  }

  return {
    add ({ person, idp, acr, client_id }: CountedLogin) {
      if (waiting.length >= mostWaiting) onLost(1)
      else waiting.push({ person, idp, acr, client_id, month: monthOf(now()) })
    },

    /** Notes what waits; what cannot be noted waits on. */
    async flush () {
      underWay ??= noteAll().finally(() => { underWay = undefined })
      await underWay
    },

    /** Of this month and the one before, of those names where anybody was counted; undefined where that cannot be had soon. */
    async read (names: Record<Dimension, readonly string[]>): Promise<CitizenCount[] | undefined> {
      const month = monthOf(now())
      const asked = [monthOf(monthsAfter(month, -1)), month].flatMap(month => [
        { month, set: setOf(month) },
        ...dimensions.flatMap(by => names[by].map(name => ({ month, by, name, set: setOf(month, by, name) })))
      ])
      const counts: CitizenCount[] = []
      for (let begin = 0; begin < asked.length; begin += namesAtOnce) {
        const some = asked.slice(begin, begin + namesAtOnce)
        const sizes = await board.sizesOf(some.map(({ set }) => set))
        if (sizes === undefined) return undefined
        for (const [i, { set, ...of }] of some.entries()) if (sizes[i]! > 0) counts.push({ ...of, citizens: sizes[i]! })
      }
      return counts
    }
  }
}

const monthOf = (seconds: number) => new Date(seconds * 1000).toISOString().slice(0, 7)

/** The beginning of the month so many after this one (NumericDate, seconds). */
function monthsAfter (month: string, months: number) {
  const [year, number] = month.split('-').map(Number) as [number, number]
  return Date.UTC(year, number - 1 + months) / 1000
}

/** Those of a month have one hash slot. */
const setOf = (month: string, by?: Dimension, name = '') => `citizens:{${month}}${by === undefined ? '' : `:${by}:${name}`}`
