import { Socket, type SocketConnectOpts } from 'node:net'

// Loaded before a process's own modules (node --import): its connections to addresses of this machine come from CHAOS_ADDRESS, by which the ways to Redis know who calls, and
// go by the ways that CHAOS_WAYS names, by port.

const { connect } = Socket.prototype
const ways = JSON.parse(process.env['CHAOS_WAYS'] ?? '{}')

Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
  const [options] = (Array.isArray(args[0]) ? args[0] : args) as [SocketConnectOpts]
  if (typeof options === 'object' && 'host' in options && options.host?.startsWith('127.')) {
    options.localAddress ??= process.env['CHAOS_ADDRESS']
    options.port = ways[options.port] ?? options.port
  }
  return (connect as (...args: unknown[]) => Socket).apply(this, args)
}
