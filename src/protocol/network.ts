import { BlockList, isIP } from 'node:net'

/** What is counted as one: an IPv4 address, also where it is written as IPv6 (RFC 4291 §2.5.5.2), or the /64 of an IPv6 address, which is one household; undefined for what is no address. */
export function networkOf (text: string): string | undefined {
  const address = withoutPort(text)
  const family = isIP(address)
  if (family !== 6) return family === 4 ? address : undefined
  const spelt = new URL(`http://[${withoutZone(address)}]`).hostname.slice(1, -1)  // in the one spelling that there is (RFC 5952)
  const [, high, low] = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(spelt) ?? []
  if (high !== undefined) return [high, low!].flatMap(group => { const bits = parseInt(group, 16); return [bits >> 8, bits & 255] }).join('.')
  const [head = [], tail = []] = spelt.split('::').map(part => part === '' ? [] : part.split(':'))
  return [...head, ...Array<string>(8 - head.length - tail.length).fill('0'), ...tail].slice(0, 4).join(':')
}

/** An address without the port that some proxies write behind it, as `203.0.113.5:4711` or `[2001:db8::1]:4711`; anything else as it is. */
const withoutPort = (text: string) => /^(?:(\d+(?:\.\d+){3}):\d+|\[([^\]]+)\](?::\d+)?)$/.exec(text)?.slice(1).find(address => address !== undefined) ?? text

const withoutZone = (address: string) => address.split('%', 1)[0]!

/** Whether an address is in one of these networks, each an address or a prefix of it (`10.0.0.0/8`). @throws {Error} where one is none */
export function withinNetworks (networks: readonly string[]) {
  const list = new BlockList()
  for (const network of networks) {
    const [, address = '', prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(network) ?? []
    const family = isIP(address)
    if (family === 0 || address.includes('%')) throw new Error(`${network} is no network`)
    list.addSubnet(address, Number(prefix ?? (family === 4 ? 32 : 128)), `ipv${family as 4 | 6}`)
  }
  return (text: string) => {
    const address = withoutPort(text)
    const family = isIP(address)
    return family !== 0 && list.check(withoutZone(address), `ipv${family as 4 | 6}`)
  }
}

/** Whether a text is a network. */
export function isNetwork (text: string) {
  try { withinNetworks([text]) } catch { return false }
  return true
}

/** Whether a host, as URLs have it, is this machine whatever DNS says. */
export const isLoopbackName = (hostname: string) => /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
