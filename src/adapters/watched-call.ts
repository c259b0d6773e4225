import type { StoreWatch } from '../ports.ts'

/** The answer of a call, of which is told whether there was one, and how long that took. */
export async function watchedCall<T> (watch: StoreWatch | undefined, kind: 'needed' | 'optional', call: () => Promise<T>): Promise<T> {
  const begun = performance.now()
  const tell = (outcome: 'answered' | 'unavailable') => watch?.called(kind, outcome, (performance.now() - begun) / 1000)
  try {
    const answer = await call()
    tell('answered')
    return answer
  } catch (error) {
    tell('unavailable')
    throw error
  }
}
