import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/** A free port of this machine, below those that outgoing connections are given: whoever has left it finds it again, and others that look at the same time find another. */
export async function freePort (host = '127.0.0.1'): Promise<number> {
  const port = randomInt(20_000, 32_000)
  const server = createServer()
  const isFree = await new Promise<boolean>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => { if (error.code === 'EADDRINUSE') resolve(false); else reject(error) })
    server.listen(port, host, () => server.close(() => resolve(true)))
  })
  return isFree ? port : freePort(host)
}
