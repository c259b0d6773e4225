import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'

/** A process that we started, and that does not outlive us. */
export interface Launched {
  child: ChildProcess
  /** the last lines it wrote to stderr, for whoever has to say why it ended */
  complaints: string[]
  /** Nobody reads what it writes to stdout, until somebody does again. */
  holdOutput (): void
  takeOutput (): void
  /** resolves when it has ended and everything it wrote was read */
  ended: Promise<void>
}

const running = new Set<ChildProcess>()
process.once('exit', () => { for (const child of running) child.kill('SIGKILL') })

const keptComplaints = 20

export interface LaunchOptions {
  env?: Record<string, string>
  /** hears each line of its stdout */
  onLine?: (line: string) => void
  /** a file that takes its stdout instead */
  outputTo?: string | undefined
}

/** Starts a program. */
export function launch (program: string, args: readonly string[], { env = {}, onLine = () => {}, outputTo }: LaunchOptions = {}): Launched {
  const file = outputTo === undefined ? undefined : openSync(outputTo, 'w')
  const child = spawn(program, args, { env: { ...process.env, ...env, PATH: `${process.env['PATH']}:/usr/sbin` }, stdio: ['ignore', file ?? 'pipe', 'pipe'] })
  if (file !== undefined) closeSync(file)
  running.add(child)
  child.once('exit', () => running.delete(child))
  child.once('error', () => running.delete(child))
  const complaints: string[] = []
  if (child.stdout !== null) createInterface(child.stdout).on('line', onLine)
  createInterface(child.stderr!).on('line', line => { complaints.push(line); complaints.splice(0, complaints.length - keptComplaints) })
  const ended = new Promise<void>(resolve => { child.once('close', () => resolve()).once('error', error => { complaints.push(String(error)); resolve() }) })
  return { child, complaints, holdOutput: () => { child.stdout?.pause() }, takeOutput: () => { child.stdout?.resume() }, ended }
}

/** Whether it still runs. */
export const runs = ({ child }: Launched) => child.pid !== undefined && child.exitCode === null && child.signalCode === null

/** Ends a process by a signal; by SIGKILL when it takes too long. */
export async function end (launched: Launched, signal: NodeJS.Signals = 'SIGTERM', withinMs = 10_000) {
  if (!runs(launched)) return launched.ended
  launched.child.kill(signal)
  launched.child.kill('SIGCONT')                                        // one that is stopped hears of nothing else
  const late = new AbortController()
  await Promise.race([launched.ended, pause(withinMs, undefined, { signal: late.signal }).then(() => launched.child.kill('SIGKILL'), () => {})])
  late.abort()
  if (runs(launched)) await once(launched.child, 'exit')
  await launched.ended
}
