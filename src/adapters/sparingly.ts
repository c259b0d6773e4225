const betweenFailuresMs = 1000

/** Asks no more often than each second while it fails: anybody may cause what has to be asked for. */
export function sparingly<T> (ask: () => Promise<T>) {
  let failed: { error: unknown, at: number } | undefined
  return async () => {
    if (failed !== undefined && performance.now() - failed.at < betweenFailuresMs) throw failed.error
    try { return await ask() } catch (error) {
      failed = { error, at: performance.now() }
      throw error
    }
  }
}
