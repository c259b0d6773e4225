import dns from 'node:dns'
import type { LookupFunction } from 'node:net'

/**
 * A DNS lookup in which every name under these suffixes is 127.0.0.1, as browsers do for `localhost` (RFC 6761 §6.3) and operating systems do not always.
 */
export const createLookup = (...suffixes: string[]): LookupFunction => {
  const systemLookup = dns.lookup
  return (hostname, options, callback) => {
    const ours = suffixes.some(suffix => hostname === suffix || hostname.endsWith(`.${suffix}`))
    if (!ours) systemLookup(hostname, options, callback)
    else if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }])
    else callback(null, '127.0.0.1', 4)
  }
}
