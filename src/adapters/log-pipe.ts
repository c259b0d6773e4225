import { write } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { DestinationStream } from 'pino'

/** Where the log goes: it takes every line at once, and says which nobody took. */
export interface LogPipe extends DestinationStream {
  write (line: string): void
  /** Is told of lines that are lost, those before included. */
  onLost (listener: (lines: number) => void): void
  /** Waits for what is held to be taken, no longer than so many milliseconds; answers how many lines are left. */
  flush (patienceMs: number): Promise<number>
}

/** The reader is gone, and does not come back. */
const goneForGood = new Set(['EPIPE', 'ECONNRESET'])
/** Milliseconds until it is tried again where nobody reads, or the disk is full: twice as long each time. */
const againMs = { first: 2, most: 100 }
/** Lines are gathered for so long while others have just been written: a write of its own for each costs more than the line. */
const gatherMs = 5

/**
 * Writes lines to a file descriptor behind the requests' backs. Whatever becomes of them keeps no citizen: what nobody takes is held up to so many bytes, and what is more is
 * dropped and counted.
 */
export function logPipe (fd: number, { mostBytes = 8 * 1024 * 1024 } = {}): LogPipe {
  let lines: string[] = []
  let rest = Buffer.alloc(0)                                            // what is being written
  let held = 0                                                          // bytes of both
  let isWriting = false
  let isGone = false
  let againInMs = againMs.first
  let lost = 0
  let tell = (count: number) => { lost += count }

  const linesHeld = () => rest.reduce((count, byte) => byte === newline ? count + 1 : count, 0) + lines.length

  function next () {
    if (rest.length === 0) {
      rest = Buffer.from(lines.join(''))
      lines = []
    }
    isWriting = rest.length > 0
    if (isWriting) write(fd, rest, wrote)
  }

  function wrote (error: NodeJS.ErrnoException | null, bytes: number) {
    if (error === null) {
      rest = rest.subarray(bytes)
      held -= bytes
      againInMs = againMs.first
      if (rest.length > 0) next()
      else setTimeout(next, gatherMs)
      return
    }
    if (!goneForGood.has(error.code ?? '')) {
      setTimeout(next, againInMs).unref()
      againInMs = Math.min(2 * againInMs, againMs.most)
      return
    }
    isGone = true
    tell(linesHeld())
    held = 0
    lines = []
    rest = Buffer.alloc(0)
  }

  return {
    write (line) {
      const bytes = Buffer.byteLength(line)
      if (isGone || held + bytes > mostBytes) return tell(1)
      held += bytes
      lines.push(line)
      if (!isWriting) next()
    },
    onLost (listener) {
      listener(lost)
      tell = listener
    },
    async flush (patienceMs) {
      const end = performance.now() + patienceMs
      while (rest.length + lines.length > 0 && performance.now() < end) await pause(5)
      return linesHeld()
    }
  }
}

const newline = 10

/** The same on stdout, where a pipe that nobody reads refuses instead of blocking: a thread that is blocked there would also keep the process from ending. */
export function standardOutput () {
  process.stdout.on('error', () => {})                                  // Node.js makes it so when it is first looked at
  return logPipe(1)
}
