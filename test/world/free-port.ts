import { randomInt } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** One file for each port that a process has asked for, which holds that process's id. */
const claims = join(tmpdir(), `passerelle-ports-${process.getuid?.() ?? ''}`)
const ours = new Set<string>()
process.once('exit', () => { for (const file of ours) rmSync(file, { force: true }) })

/** A free port of this machine, below those that outgoing connections are given. Until this process ends no other one is given it: whoever has left it finds it again. */
export async function freePort (host = '127.0.0.1'): Promise<number> {
  const port = randomInt(20_000, 32_000)
  if (!claim(port)) return freePort(host)
  const server = createServer()
  const isFree = await new Promise<boolean>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => { if (error.code === 'EADDRINUSE') resolve(false); else reject(error) })
    server.listen(port, host, () => server.close(() => resolve(true)))
  })
  return isFree ? port : freePort(host)
}

function claim (port: number) {
  const file = join(claims, String(port))
  mkdirSync(claims, { recursive: true })
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    if (!isAlive(file)) rmSync(file, { force: true })                   // for whoever comes next
    return false
  }
  ours.add(file)
  return true
}

/** Whether the process lives that a file is of; one that is gone, or was not written yet, is somebody's too. */
function isAlive (file: string) {
  try {
    return process.kill(Number(readFileSync(file, 'utf8')), 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
