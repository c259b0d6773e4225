import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { ProbeSettings } from './settings.ts'
import type { Side, Step, Told, Trouble } from './watch.ts'

/** Milliseconds that the login's own limit may be late before its process is ended. */
const graceMs = 2000

/**
 * A login in a process of its own, which is ended when its time is up: a resolver that never answers would hold up the end of the process that asked it, and a page that is
 * slow to read its timers.
 */
export function loginApart (settings: ProbeSettings, tell: (told: Told) => void): Promise<Trouble | null> {
  const child = fork(fileURLToPath(new URL('child.ts', import.meta.url)), { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
  let step: Step = 'discovery'
  let at: Side = 'gateway'
  return new Promise(resolve => {
    const end = (trouble: Trouble | null) => {
      clearTimeout(timer)
      child.kill('SIGKILL')
      resolve(trouble)
    }
    const timer = setTimeout(() => end({ step, at, reason: `no end within the login's ${settings.timeout_ms} ms` }), settings.timeout_ms + graceMs)
    child.on('message', (told: Told) => {
      if ('ended' in told) return end(told.ended)
      if ('entered' in told) ({ entered: step, at } = told)
      tell(told)
    })
    child.on('error', () => end({ step, at: 'probe', reason: 'the probe broke off: its process cannot be had' }))
    child.on('exit', (code, signal) => end({ step, at: 'probe', reason: `the probe broke off: ${signal ?? `exit code ${code}`}` }))
    child.send(settings)
  })
}
