import { lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'

/** Names under `.localhost` are this machine (RFC 6761 §6.3), which not every resolver knows; all others are asked of the system. */
export const localhostLookup: LookupFunction = (hostname, options, callback) => {
  if (!/(^|\.)localhost\.?$/i.test(hostname)) return systemLookup(hostname, options, callback as never)
  if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }])
  else callback(null, '127.0.0.1', 4)
}
