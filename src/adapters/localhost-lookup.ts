import { lookup as systemLookup, type LookupAddress } from 'node:dns'
import type { LookupFunction } from 'node:net'

type Answered = (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void
const underWay = new Map<string, Answered[]>()

/** One question at a time for each name, in the whole process: the threads that wait for a resolver are few, and a name whose resolver is dead must not hold them all. */
const sharedLookup: LookupFunction = (hostname, options, callback) => {
  const name = `${hostname} ${JSON.stringify(options)}`
  const waiting = underWay.get(name)
  if (waiting !== undefined) { waiting.push(callback as Answered); return }
  const callbacks = [callback as Answered]
  underWay.set(name, callbacks)
  systemLookup(hostname, options, ((...answer: Parameters<Answered>) => {
    underWay.delete(name)
    for (const tell of callbacks) tell(...answer)
  }) as never)
}

/** Names under `.localhost` are this machine (RFC 6761 §6.3), which not every resolver knows; all others are asked of the system. */
export const localhostLookup: LookupFunction = (hostname, options, callback) => {
  if (!/(^|\.)localhost\.?$/i.test(hostname)) return sharedLookup(hostname, options, callback)
  if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }])
  else callback(null, '127.0.0.1', 4)
}
