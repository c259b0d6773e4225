import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makeNextKeys } from '../../src/keys.ts'
import { startCluster } from '../support/redis.ts'
import { createBrowser, logIn } from '../world/browser.ts'
import { startWorld } from '../world/world.ts'
import { chainCost } from './chain.ts'
import { startProfile } from './observation.ts'
import { scrapeCost } from './scrape.ts'
import { freePort } from '../world/free-port.ts'

// npm run bench: what one whole login costs the gateway, which runs in a process of its own; the world and the browsers are in this one and are not counted.

const { values: { logins = '300', at = '16', log = 'off' } } = parseArgs({ options: { logins: { type: 'string' }, at: { type: 'string' }, log: { type: 'string' } } })
const newline = 10
const server = fileURLToPath(new URL('../../src/server.ts', import.meta.url))
const endings: Array<() => unknown> = []

try {
  const report = { memory: await measure('embedded store', undefined), cluster: await measure('Redis Cluster of three', await startCluster({ teardown: ending => endings.push(ending) }, { primaries: 3 })), observation: await measure('embedded store, profiled', undefined, { profiled: true }), guards: await chainCost(), scrape: await scrapeCost() }
  console.log(JSON.stringify({ node: process.version, logins: Number(logins), at: Number(at), ...report }, null, 2))
} finally {
  for (const end of endings.reverse()) await end()
}

async function measure (name: string, cluster: { urls: string[], commandCount (): Promise<number> } | undefined, { profiled = false } = {}) {
  const [port, operationsPort] = [await freePort(), await freePort()]
  const issuer = `http://passerelle.localhost:${port}`
  const world = await startWorld({ issuer })
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-bench-'))
  await world.writeConfiguration(directory, { settings: { operations: { port: operationsPort } } })
  makeNextKeys(join(directory, 'keys'))

  const started = performance.now()
  const inspectorPort = await freePort()
  const gateway = spawn(process.execPath, [...(profiled ? [`--inspect=127.0.0.1:${inspectorPort}`] : []), server], {
    env: { ...process.env, PASSERELLE_CONFIG: directory, PASSERELLE_REDIS: cluster?.urls.join(' ') ?? '' }, stdio: ['ignore', 'pipe', profiled ? 'ignore' : 'inherit']
  })
  const written = { lines: 0, bytes: 0 }
  gateway.stdout!.on('data', (chunk: Buffer) => {
    if (log === 'on') process.stdout.write(chunk)
    written.bytes += chunk.length
    for (const byte of chunk) if (byte === newline) written.lines++
  })
  try {
    while (!await fetch(`http://127.0.0.1:${operationsPort}/readyz`).then(({ ok }) => ok, () => false)) await new Promise(resolve => setTimeout(resolve, 10))
    const readyMs = performance.now() - started
    const restMb = (await figures(operationsPort)).residentMb
    await oneLogin(world)
    const firstLoginMs = performance.now() - started

    await many(world, Number(at) * 4)                                  // warm: what is compiled late is not what a login costs
    const [before, commandsBefore] = [await figures(operationsPort), await cluster?.commandCount()]
    const profile = profiled ? await startProfile(inspectorPort) : undefined
    Object.assign(written, { lines: 0, bytes: 0 })
    const begun = performance.now()
    await many(world, Number(logins))
    const wallMs = performance.now() - begun
    const shares = await profile?.stop()
    const [after, commandsAfter] = [await figures(operationsPort), await cluster?.commandCount()]
    const perLogin = (sum: number) => round(sum / Number(logins))
    return {
      name,
      cpuMsPerLogin: perLogin((after.cpuSeconds - before.cpuSeconds) * 1000),
      ...(shares === undefined ? {} : { percentOfBusyTime: Object.fromEntries(Object.entries(shares).map(([what, share]) => [what, round(share * 100)])) }),
      logLinesPerLogin: perLogin(written.lines),
      logBytesPerLogin: perLogin(written.bytes),
      ...(cluster === undefined ? {} : { redisCommandsPerLogin: perLogin(commandsAfter! - commandsBefore!) }),
      residentMbAtRest: round(restMb),
      residentMbAfter: round(after.residentMb),
      msFromStartToReady: round(readyMs),
      msFromStartToFirstLogin: round(firstLoginMs),
      driverLoginsPerSecond: round(Number(logins) * 1000 / wallMs)
    }
  } finally {
    gateway.kill('SIGKILL')
    await world.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

type World = Awaited<ReturnType<typeof startWorld>>

async function oneLogin (world: World) {
  const browser = createBrowser()
  try {
    const page = await logIn(browser, { world, service: 'town', provider: 'vitalys', citizen: 'marion' })
    if (!page.has('greeting')) throw new Error(`a login failed at ${page.url}`)
  } finally { await browser.close() }
}

async function many (world: World, count: number) {
  let left = count
  await Promise.all(Array.from({ length: Number(at) }, async () => { while (left-- > 0) await oneLogin(world) }))
}

async function figures (operationsPort: number) {
  const text = await (await fetch(`http://127.0.0.1:${operationsPort}/metrics`)).text()
  const figure = (metric: string) => Number(new RegExp(`^${metric} (\\S+)`, 'm').exec(text)![1])
  return { cpuSeconds: figure('process_cpu_seconds_total'), residentMb: figure('process_resident_memory_bytes') / 1024 / 1024 }
}

function round (value: number) { return Math.round(value * 100) / 100 }
