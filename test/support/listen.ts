import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import net, { type AddressInfo, type LookupFunction, type Server, type Socket } from 'node:net'
import type { Lifetime } from './redis.ts'

/** A server on this machine, which notes whom it saw and is gone with the test. */
export async function listen (t: Lifetime, server: Server, host = '127.0.0.1') {
  const sockets = new Set<Socket>()
  let connections = 0
  server.on('connection', (socket: Socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
  })
  t.teardown(() => new Promise(resolve => {
    for (const socket of sockets) socket.destroy()
    server.close(resolve)
  }))
  await once(server.listen(0, host), 'listening')
  const { port } = server.address() as AddressInfo
  return { sockets, port, address: `http://${host.includes(':') ? `[${host}]` : host}:${port}`, count: () => connections }
}

/** The same for HTTP. */
export const serve = (t: Lifetime, listener: RequestListener, host?: string) => listen(t, createServer(listener), host)

/** What answers every request so. */
export const answers = (status: number, body = '', headers: Record<string, string> = {}): RequestListener => (_request, response) => { response.writeHead(status, headers).end(body) }

/** Ways to begin an answer and never end it. */
export const unended: Record<string, RequestListener> = {
  'no answer': () => {},
  'a head and no body': (_request, response) => { response.writeHead(200, { 'content-length': 10 }).flushHeaders() },
  'half a body': (_request, response) => { response.writeHead(200).write('{"keys":[{') },
  'a letter now and then': (_request, response) => {
    response.writeHead(200)
    const timer = setInterval(() => response.write(' '), 20)
    response.on('close', () => clearInterval(timer))
  },
  'a provisional answer now and then': (_request, response) => {
    const timer = setInterval(() => response.writeProcessing(), 20)
    response.on('close', () => clearInterval(timer))
  }
}

/** A lookup that finds these addresses, whatever is asked. */
export const finds = (...addresses: string[]): LookupFunction => (_hostname, options, callback) => {
  const found = addresses.map(address => ({ address, family: net.isIP(address) }))
  if (options.all) callback(null, found)
  else callback(null, found[0]!.address, found[0]!.family)
}

/** What would leave this machine is brought back: every other address is 127.0.0.1. Answers what was reached for. */
export function bringBack (t: Lifetime) {
  const { connect } = net
  t.teardown(() => { net.connect = connect })
  const reached: string[] = []
  const here = (address: string) => { reached.push(address); return '127.0.0.1' }
  net.connect = ((options: net.TcpNetConnectOpts) => {
    const { host = '', lookup } = options
    if (net.isIP(host)) return connect({ ...options, host: here(host) })
    return connect({
      ...options,
      lookup: (hostname, how, callback) => lookup!(hostname, how, (error, address, family) => {
        if (error) return callback(error, address, family)
        callback(null, Array.isArray(address) ? address.map(found => ({ address: here(found.address), family: 4 })) : here(address), 4)
      })
    })
  }) as typeof net.connect
  return reached
}
