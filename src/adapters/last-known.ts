interface Keeping<T> {
  /** milliseconds after which it is asked for again, in the background */
  freshMs: number
  /** milliseconds after which whoever needs it waits for the answer first */
  oldMs?: number
  /** milliseconds after which it is worth nothing */
  endMs?: number
  /** a good one that somebody else was told, and how old it is */
  restore?: (() => Promise<{ value: T, ageMs: number } | undefined>) | undefined
  /** told each one that is had */
  kept?: ((value: T) => void) | undefined
}

const anHourMs = 60 * 60 * 1000

/**
 * What was last asked of somebody who may not answer: asked for once at a time, again in the background when it is no longer fresh, and first of all when nobody has
 * for an hour. While no other can be had, the last good one serves on (RFC 5861 §4).
 */
export function lastKnown<T> (ask: () => Promise<T>, { freshMs, oldMs = anHourMs, endMs = Infinity, restore, kept }: Keeping<T>) {
  let known: { value: T, at: number, triedAt: number } | undefined
  let asked: Promise<T> | undefined
  let waited: Promise<T> | undefined
  let taken: Promise<void> | undefined

  function renew (question = ask) {
    if (known !== undefined) known.triedAt = performance.now()          // not at each call, should it not be had
    asked ??= question()
      .then(value => {
        const at = performance.now()
        known = { value, at, triedAt: at }
        kept?.(value)
        return value
      })
      .finally(() => { asked = undefined })
    return asked
  }

  async function restored () {
    const found = await restore?.().catch(() => undefined)
    if (found === undefined) return
    const at = performance.now() - found.ageMs
    if (known === undefined || known.at < at) known = { value: found.value, at, triedAt: at }
  }

  return {
    /** Asks now, in another way where one is given, unless that is under way. */
    renew,
    /** Whether there is any. */
    isKnown: () => known !== undefined,
    /** Whether it is being asked for now. */
    underWay: () => asked !== undefined,
    /**
     * Takes over what somebody else was told, where nothing is known yet or it is old; whoever knows nothing and needs it waits for that. Readiness does not: a citizen at a
     * replica that has just started waits for the noticeboard's half second at most, then for whom it asks.
     */
    takeOver () {
      const isNew = known !== undefined && performance.now() - known.at < oldMs
      taken ??= (isNew ? Promise.resolve() : restored()).finally(() => { taken = undefined })
      return taken
    },
    async current (): Promise<T> {
      if (known === undefined) await taken
      if (known === undefined || performance.now() - known.at >= endMs) return renew()
      const last = known
      const triedMs = performance.now() - last.triedAt
      if (triedMs < freshMs) return waited ?? last.value
      const renewed = renew().catch(() => last.value)
      if (triedMs < oldMs) return last.value
      waited = renewed.finally(() => { waited = undefined })            // whoever comes meanwhile waits, too
      return waited
    }
  }
}
