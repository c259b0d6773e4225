import { BlockList, isIP, type LookupFunction } from 'node:net'

const blockList = (networks: Array<[network: string, prefix: number, family: 'ipv4' | 'ipv6']>) => {
  const list = new BlockList()
  for (const network of networks) list.addSubnet(...network)
  return list
}

const ownMachine = blockList([['127.0.0.0', 8, 'ipv4'], ['::1', 128, 'ipv6']])
/** Where no registration may send us: this machine, what only its own link can reach, the metadata services of clouds, groups, and addresses that wrap another. */
const inward = blockList([
  ['0.0.0.0', 8, 'ipv4'], ['127.0.0.0', 8, 'ipv4'], ['169.254.0.0', 16, 'ipv4'], ['192.0.0.0', 24, 'ipv4'], ['100.100.100.200', 32, 'ipv4'],
  ['168.63.129.16', 32, 'ipv4'], ['224.0.0.0', 4, 'ipv4'], ['255.255.255.255', 32, 'ipv4'],
  ['::', 96, 'ipv6'], ['64:ff9b::', 96, 'ipv6'], ['64:ff9b:1::', 48, 'ipv6'], ['2002::', 16, 'ipv6'], ['fe80::', 10, 'ipv6'], ['fd00:ec2::', 32, 'ipv6'], ['fd20:ce::', 32, 'ipv6'],
  ['::ffff:0:0:0', 96, 'ipv6'], ['2001::', 32, 'ipv6'], ['fec0::', 10, 'ipv6'], ['ff00::', 8, 'ipv6'], ['fd00:42::42', 128, 'ipv6'], ['fd00:c1::a9fe:a9fe', 128, 'ipv6']
])

function isInward (address: string, loopback: boolean) {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  return inward.check(address, family) && !(loopback && ownMachine.check(address, family))
}

/** Thrown for an address of our own machine or link. */
export class InwardAddress extends Error {
  override readonly name = 'InwardAddress'
  readonly code = 'ERR_INWARD_ADDRESS'
  constructor () { super('this address is one of our own machine or link') }
}

/** A lookup that finds no address of our own link, nor unless `loopback` of our own machine, whatever a name resolves to. */
export const outwardLookup = (lookup: LookupFunction, loopback: boolean): LookupFunction => (hostname, options, callback) => lookup(hostname, options, (error, address, family) => {
  const found = Array.isArray(address) ? address.map(entry => entry.address) : [address]
  if (!error && found.some(one => isInward(one, loopback))) return callback(new InwardAddress(), '', 0)
  callback(error, address as string, family)
})

/** Refuses a URL whose host is such an address itself, which is never looked up. @throws {InwardAddress} */
export function refuseInward ({ hostname }: URL, loopback: boolean) {
  const literal = hostname.replace(/^\[|\]$/g, '')
  if (isIP(literal) !== 0 && isInward(literal, loopback)) throw new InwardAddress()
}
