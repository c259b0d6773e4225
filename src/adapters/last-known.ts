/**
 * What was last asked of somebody who may not answer: asked for once at a time, again behind everybody's back when it is no longer fresh. While no other can
 * be had, the last good one serves on.
 */
export function lastKnown<T> (ask: () => Promise<T>, freshMs: number) {
  let known: { value: T, at: number } | undefined
  let asked: Promise<T> | undefined

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
      if (performance.now() - last.at >= freshMs) {
        last.at = performance.now()                                    // not at each call, should it not be had
        renew().catch(() => {})
      }
      return Promise.resolve(last.value)
    }
  }
}
