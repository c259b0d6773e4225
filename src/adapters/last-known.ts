interface Ages {
  /** milliseconds after which it is asked for again, behind everybody's back */
  freshMs: number
  /** milliseconds after which whoever needs it waits for the answer first */
  oldMs?: number
}

const anHourMs = 60 * 60 * 1000

/**
 * What was last asked of somebody who may not answer: asked for once at a time, again behind everybody's back when it is no longer fresh, and first of all when
 * nobody has for an hour. While no other can be had, the last good one serves on.
 */
export function lastKnown<T> (ask: () => Promise<T>, { freshMs, oldMs = anHourMs }: Ages) {
  let known: { value: T, at: number } | undefined
  let asked: Promise<T> | undefined
  let waited: Promise<T> | undefined

  function renew () {
    asked ??= ask()
      .then(value => { known = { value, at: performance.now() }; return value })
      .finally(() => { asked = undefined })
    return asked
  }

  return {
    renew,
    /** Whether it is being asked for now. */
    underWay: () => asked !== undefined,
    current (): Promise<T> {
      if (known === undefined) return renew()
      const last = known
      const age = performance.now() - last.at
      if (age < freshMs) return waited ?? Promise.resolve(last.value)
      last.at = performance.now()                                      // not at each call, should it not be had
      const renewed = renew().catch(() => last.value)
      if (age < oldMs) return Promise.resolve(last.value)
      waited = renewed.finally(() => { waited = undefined })            // whoever comes meanwhile waits, too
      return waited
    }
  }
}
