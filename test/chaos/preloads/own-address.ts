import { readFileSync } from 'node:fs'
import { Server, Socket, type ListenOptions, type SocketConnectOpts } from 'node:net'

// Loaded before a process's own modules (node --import): its connections to addresses of this machine come from CHAOS_ADDRESS, by which the ways to Redis know who calls, and
// go by the ways that CHAOS_WAYS names, by port. Ports that the file CHAOS_CUT names, wherever they are, are not reached: it is read at each connection.
// It listens at the ports that CHAOS_LISTEN names in place of those of its configuration, which may so be the same for all.

const { connect } = Socket.prototype
const { listen } = Server.prototype
const ways = JSON.parse(process.env['CHAOS_WAYS'] ?? '{}')
const listensAt = JSON.parse(process.env['CHAOS_LISTEN'] ?? '{}')
const nobodysPort = 1

function isCut (port: number) {
  try { return readFileSync(process.env['CHAOS_CUT'] ?? '', 'utf8').split(' ').includes(String(port)) } catch { return false }
}

Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
  const [options] = (Array.isArray(args[0]) ? args[0] : args) as [SocketConnectOpts]
  if (typeof options === 'object' && 'host' in options && options.host?.startsWith('127.')) {
    options.localAddress ??= process.env['CHAOS_ADDRESS']
    options.port = ways[options.port] ?? options.port
  }
  if (typeof options === 'object' && 'port' in options && isCut(options.port)) options.port = nobodysPort
  return (connect as (...args: unknown[]) => Socket).apply(this, args)
}

Server.prototype.listen = function (this: Server, ...args: unknown[]) {
  const [options] = args as [ListenOptions]
  if (typeof options === 'object' && options.port !== undefined) options.port = listensAt[options.port] ?? options.port
  return (listen as (...args: unknown[]) => Server).apply(this, args)
}
