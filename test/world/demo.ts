import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createBrowser, logIn, readGreeting, type Visit } from './browser.ts'
import { freePort } from './free-port.ts'
import { citizenTable, interrupted, startWorld, table, usualIssuer, type World } from './world.ts'

// A gateway with its whole world on one machine. `--once` walks one login by itself, to see that all is well without a browser; `--log` shows the gateway's log.

const root = fileURLToPath(new URL('../..', import.meta.url))

const { values: { once: walkOnly, log: showLog } } = parseArgs({ options: { once: { type: 'boolean', default: false }, log: { type: 'boolean', default: false } } })

const run = (args: string[], env: Record<string, string> = {}) =>
  spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', showLog ? 'inherit' : 'ignore', 'inherit'] })

/** How a child process ended, in words. */
const ending = async (child: ChildProcess) => {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return child.signalCode ?? `exit code ${child.exitCode}`
}

async function makeKeys (directory: string) {
  const how = await ending(run(['src/keys.ts', 'next', directory]))
  if (how !== 'exit code 0') throw new Error(`the keys could not be made: ${how}`)
}

async function untilReady (gateway: ChildProcess, readyz: string, seconds = 20) {
  const deadline = Date.now() + seconds * 1000
  while (Date.now() < deadline) {
    if (gateway.exitCode !== null || gateway.signalCode !== null) throw new Error(`the gateway ended before it was ready: ${await ending(gateway)}`)
    const status = await fetch(readyz, { signal: AbortSignal.timeout(1000) }).then(({ status }) => status, () => undefined)
    if (status === 200) return
    await wait(100)
  }
  throw new Error(`the gateway was not ready within ${seconds} seconds (${readyz})`)
}

async function stopGateway (gateway: ChildProcess) {
  if (gateway.exitCode !== null || gateway.signalCode !== null) return
  gateway.kill('SIGTERM')
  const gone = await Promise.race([ending(gateway), wait(15_000, undefined, { ref: false })])
  if (gone === undefined) gateway.kill('SIGKILL')
}

const guide = ({ services, providers }: World) => [
  '',
  'Passerelle is ready. To walk one login:',
  `  1. Open ${services['town']!.url} and press "Se connecter avec Passerelle".`,
  `  2. Choose an account, for example ${providers['vitalys']!.row.title}.`,
  '  3. Sign in there as marion, with the password tournesol.',
  '  4. Read what will be sent, agree, and continue: the town hall knows you.',
  `  5. Open ${services['taxes']!.url} and press the same button: single sign-on spares you the password, not the page that says what is sent.`,
  '  6. Log out: the session here and at Vitalys ends; the other service keeps its own until you log out there.',
  '',
  table('Services', Object.values(services).map(({ row, url }) => [row.title, url])),
  citizenTable(),
  'Ctrl-C stops everything.'
].join('\n')

async function walk (world: World) {
  const browser = createBrowser()
  try {
    const page = await logIn(browser, { world, service: 'town', provider: 'vitalys', citizen: 'marion' })
      .finally(() => browser.visits.forEach(visit => console.log(leg(visit))))
    if (!page.has('greeting')) throw new Error(`the login ended at ${page.url.split('?')[0]} with status ${page.status}: ${page.text('error') || page.text('error-code')}`)
    const { sub, acr, idp_id: idp } = readGreeting(page)
    console.log(`The town hall greets its citizen: sub ${sub}, acr ${acr}, provider ${idp}.`)
  } finally {
    await browser.close()
  }
}

function leg ({ method, url, status, headers }: Visit) {
  const { origin, pathname } = new URL(url)
  const next = typeof headers['location'] === 'string' ? ` → ${new URL(headers['location'], url).host}` : ''
  return `  ${status} ${method.padEnd(4)} ${origin}${pathname}${next}`
}

const stopped = interrupted()
const port = walkOnly ? await freePort() : Number(new URL(usualIssuer).port)
const operationsPort = walkOnly ? await freePort() : 9090
const directory = await mkdtemp(join(tmpdir(), 'passerelle-demo-'))
let world: World | undefined
let gateway: ChildProcess | undefined

try {
  world = await startWorld({ issuer: walkOnly ? `http://passerelle.localhost:${port}` : usualIssuer, ports: walkOnly ? 'any' : 'fixed' })
  await world.writeConfiguration(directory, { settings: { operations: { port: operationsPort } } })
  await makeKeys(join(directory, 'keys'))
  gateway = run(['src/server.ts'], { PASSERELLE_CONFIG: directory })
  await Promise.race([untilReady(gateway, `http://127.0.0.1:${operationsPort}/readyz`), stopped])
  if (walkOnly) {
    await walk(world)
  } else {
    console.log(guide(world))
    const how = await Promise.race([stopped, ending(gateway).then(how => { throw new Error(`the gateway ended: ${how}`) })])
    console.log(`${how}: stopping.`)
  }
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
} finally {
  if (gateway) await stopGateway(gateway)
  await world?.stop()
  await rm(directory, { recursive: true, force: true })
}
