import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Launched } from './processes.ts'

const preload = fileURLToPath(new URL('preloads/shifted-clock.ts', import.meta.url))

/** The clock of a process, by a file that says by how many seconds it is off. */
export function createClock (file: string, seconds = 0) {
  writeFileSync(file, String(seconds))
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
