import type { Stage } from '../chaos/stage.ts'

/** Other documents in the configuration of every replica, or of the one at this place; what is answered puts back those that were there. */
export function changed ({ configurations }: Stage, changes: Record<string, object | string>, place?: number) {
  const ends = configurations.filter((_, i) => place === undefined || i === place).map(configuration => {
    const files = Object.entries(changes).map(([path, change]) => [path, typeof change === 'string' ? change : configuration.document(path, change)] as const)
    const before = Object.fromEntries(files.map(([path]) => [path, configuration.has(path) ? configuration.read(path) : null]))
    configuration.change(Object.fromEntries(files))
    return () => configuration.change(before)
  })
  return () => { for (const end of ends) end() }
}
