import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Launched } from './processes.ts'

const preload = fileURLToPath(new URL('preloads/shifted-clock.ts', import.meta.url))

/** The clock of a process, by a file that says how far it is off. */
export function createClock (file: string) {
  writeFileSync(file, '0')
  return {
    args: ['--import', preload],
    env: { CHAOS_CLOCK: file },
    /** Sets it so many seconds ahead, or behind, for this process and for whichever takes its place. */
    shift ({ child }: Launched, seconds: number) {
      writeFileSync(file, String(seconds))
      child.kill('SIGUSR2')
    }
  }
}
