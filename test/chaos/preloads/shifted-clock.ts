import { readFileSync } from 'node:fs'

// Loaded before a process's own modules (node --import): its clock is off by as many seconds as the file CHAOS_CLOCK says, which SIGUSR2 has it read again. Timers go on as they were.

const real = Date.now
let offMs = 0

function look () { offMs = Number(readFileSync(process.env['CHAOS_CLOCK']!, 'utf8')) * 1000 }
look()
process.on('SIGUSR2', look)

Date.now = () => real() + offMs
globalThis.Date = new Proxy(Date, {
  construct: (date, args, newTarget) => Reflect.construct(date, args.length === 0 ? [Date.now()] : args, newTarget),
  apply: () => new Date(Date.now()).toString()
})
