import { registerHooks } from 'node:module'
import { logPipe, type LogPipe } from '../../../src/adapters/log-pipe.ts'

// Loaded before a process's own modules (node --import): its log holds CHAOS_LOG_BYTES at most of what nobody takes, and its last words on stderr are how many lines there were,
// and how many of them were of a set of tokens.

registerHooks({
  resolve: (specifier, context, next) => specifier === './adapters/log-pipe.ts' ? { url: import.meta.url, shortCircuit: true } : next(specifier, context)
})

let lines = 0
let tokens = 0
process.once('exit', () => console.error(`${lines} lines went into the log, ${tokens} of them of tokens`))

/** In place of the process's own. */
export function standardOutput (): LogPipe {
  process.stdout.on('error', () => {})
  const pipe = logPipe(1, { mostBytes: Number(process.env['CHAOS_LOG_BYTES']) })
  return {
    ...pipe,
    write (line) {
      lines++
      if (line.includes('"event":"token"') && line.includes('"outcome":"success"')) tokens++
      pipe.write(line)
    }
  }
}
