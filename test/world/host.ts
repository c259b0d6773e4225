import http, { type RequestListener } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'

export interface Tls { key: string, cert: string }

/** What all parties of one world share. */
export interface Surroundings {
  /** The issuer of the gateway that the parties trust. */
  issuer: string
  /** The top-level name under which each party has its host name. */
  suffix: string
  ports: 'fixed' | 'any'
  tls?: Tls | undefined
  /** The certificate authority that the services trust, PEM. */
  ca?: string | undefined
}

/** A listening server with a name of its own, which can go away and come back at the same port. */
export interface Host {
  origin: string
  server: http.Server
  start (): Promise<void>
  stop (): Promise<void>
}

/** Listens on the loopback address under a name: at its usual port, or at any free one. */
export async function openHost (name: string, usualPort: number, { suffix, ports, tls }: Partial<Surroundings> & Pick<Surroundings, 'suffix' | 'ports'>, listener: RequestListener): Promise<Host> {
  const server = tls ? https.createServer(tls, listener) : http.createServer(listener)
  let port = ports === 'fixed' ? usualPort : 0

  const start = () => new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      port = (server.address() as AddressInfo).port
      resolve()
    })
  })
  const stop = () => new Promise<void>(resolve => {
    if (!server.listening) return resolve()
    server.close(() => resolve())
    server.closeAllConnections()
  })

  await start()
  return { origin: `${tls ? 'https' : 'http'}://${name}.${suffix}:${port}`, server, start, stop }
}
