import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { makeNextKeys } from '../../src/keys.ts'
import { startCluster, until, type RedisCluster } from '../support/redis.ts'
import { freePort } from '../world/free-port.ts'
import { startBalancer } from './balancer.ts'
import type { TokenEvent } from './history.ts'
import { end, launch, runs, type Launched } from './processes.ts'

/** A service that logs citizens in. */
export interface Client { client_id: string, client_secret: string, redirect_uri: string, post_logout_redirect_uri: string, method: 'client_secret_basic' | 'client_secret_post', consent: 'skip' | 'information' }

/** A process of the gateway. */
export interface Replica {
  name: string
  /** where it answers by itself, past the load balancer */
  url: string
  operations: string
  /** the sets of tokens that it wrote down */
  events: TokenEvent[]
  /** how often it ended without being told to */
  exits: () => number
  start (): Promise<void>
  stop (signal?: NodeJS.Signals): Promise<void>
}

/** A light identity provider in a process of its own, and the way to what it can do wrong. */
export interface Provider {
  id: string
  issuer: string
  /** Lets a share of its calls go wrong so. */
  misbehave (name: string, share?: number): Promise<void>
  recover (): Promise<void>
  /** Calls that reached it, by endpoint. */
  counts (): Promise<Record<string, number>>
  renewKeys (options: { overlap: boolean }): Promise<void>
  start (): Promise<void>
  kill (): Promise<void>
}

/** All that a run needs, in real processes on this machine. */
export interface Stage {
  issuer: string
  clients: Client[]
  providers: Provider[]
  replicas: Replica[]
  cluster: RedisCluster
  stop (): Promise<void>
}

/** What differs from the defaults that all else has. */
export interface StageOptions { breaker?: Record<string, number> }

const server = fileURLToPath(new URL('../../src/server.ts', import.meta.url))
const lightProvider = fileURLToPath(new URL('../world/light-provider.ts', import.meta.url))
const startMs = 20_000

/** A Redis Cluster of three primaries and three replicas, three identity providers, two replicas of the gateway and a load balancer before them. */
export async function startStage ({ breaker = {} }: StageOptions = {}): Promise<Stage> {
  const endings: Array<() => unknown> = []
  const stop = async () => { for (const ending of endings.splice(0).reverse()) await ending() }
  try {
    const directory = mkdtempSync(join(tmpdir(), 'passerelle-chaos-'))
    endings.push(() => rmSync(directory, { recursive: true, force: true }))
    const port = await freePort()
    const issuer = `http://passerelle.localhost:${port}`
    const clients = createClients()
    const cluster = await startCluster({ teardown: ending => endings.push(ending) }, { primaries: 3, replicas: 1, nodeTimeoutMs: 2000 })

    const providers = await Promise.all(providerIds.map(async id => {
      const provider = createProvider({ id, port: await freePort(), controlPort: await freePort(), redirect_uri: `${issuer}/callback/${id}` })
      endings.push(() => provider.kill())
      await provider.start()
      return provider
    }))

    makeNextKeys(join(directory, 'keys'))
    const replicas = await Promise.all(['one', 'two'].map(async name => {
      const own = join(directory, name)
      const [ownPort, operationsPort] = [await freePort(), await freePort()]
      writeConfiguration(own, { issuer, port: ownPort, operationsPort, clients, providers, breaker })
      const replica = createReplica({ name, directory: own, port: ownPort, operationsPort, redis: cluster.urls })
      endings.push(() => replica.stop())
      await replica.start()
      return { ...replica, port: ownPort, operationsPort }
    }))
    const balancer = await startBalancer({ directory, port, servers: replicas })
    endings.push(() => balancer.stop())
    return { issuer, clients, providers, replicas, cluster, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const providerIds = ['vitalys', 'tresorine', 'terramut']

/** One client for each answer to the question whether logins go on in a degraded way, which ask the citizen in two ways, too. Nothing listens at their addresses. */
const createClients = () => ([['allow', 'client_secret_basic', 'skip'], ['deny', 'client_secret_post', 'information']] as const).map(([client_id, method, consent]): Client => ({
  client_id,
  client_secret: randomBytes(32).toString('base64url'),
  redirect_uri: `http://${client_id}.localhost/callback`,
  post_logout_redirect_uri: `http://${client_id}.localhost/`,
  method,
  consent
}))

type RegisteredProvider = ReturnType<typeof createProvider>

interface Written extends Required<StageOptions> { issuer: string, port: number, operationsPort: number, clients: Client[], providers: RegisteredProvider[] }

function writeConfiguration (directory: string, { issuer, port, operationsPort, clients, providers, breaker }: Written) {
  for (const folder of ['clients', 'identity-providers', 'secrets']) mkdirSync(join(directory, folder), { recursive: true })
  const document = (path: string, tree: object) => writeFileSync(join(directory, path), stringify(tree))
  const secret = (name: string, text: string) => {
    writeFileSync(join(directory, 'secrets', name), text, { mode: 0o600 })
    return { file: `secrets/${name}` }
  }

  document('passerelle.yaml', {
    issuer,
    environment: 'development',
    listen: { host: '127.0.0.1', port },
    operations: { host: '127.0.0.1', port: operationsPort },
    drain: { wait_seconds: 3, finish_seconds: 40 },              // the balancer needs a second and a half
    trusted_proxies: ['127.0.0.1'],
    keys: '../keys',
    load: { delay_ms: 1000 },
    redis: { node_timeout_ms: 2000 }
  })
  for (const { client_id, client_secret, redirect_uri, post_logout_redirect_uri, method, consent } of clients) {
    document(`clients/${client_id}.yaml`, {
      client_id,
      name: `Service ${client_id}`,
      redirect_uris: [redirect_uri],
      post_logout_redirect_uris: [post_logout_redirect_uri],
      token_endpoint_auth_method: method,
      client_secrets: [secret(`client-${client_id}`, client_secret)],
      id_token_signed_response_alg: 'ES256',
      scopes: ['openid', 'given_name'],
      consent
    })
  }
  for (const [index, { id, issuer, client_id, client_secret }] of providers.entries()) {
    document(`identity-providers/${id}.yaml`, {
      id,
      title: `Compte ${id}`,
      order: index,
      issuer,
      client_id,
      client_secret: secret(`provider-${id}`, client_secret),
      acr_values: ['eidas1', 'eidas2'],
      breaker
    })
  }
}

function createReplica ({ name, directory, port, operationsPort, redis }: { name: string, directory: string, port: number, operationsPort: number, redis: string[] }): Replica {
  const operations = `http://127.0.0.1:${operationsPort}`
  const events: TokenEvent[] = []
  let current: Launched | undefined
  let exits = 0

  /** The log holds a line for each request: of the others none is looked at. */
  const onLine = (line: string) => {
    if (!line.includes('"event":"token"')) return
    const { login, client_id } = JSON.parse(line)
    events.push({ login, client_id, replica: name })
  }
  return {
    name,
    url: `http://127.0.0.1:${port}`,
    operations,
    events,
    exits: () => exits,
    async start () {
      const launched = launch(process.execPath, [server], { env: { PASSERELLE_CONFIG: directory, PASSERELLE_REDIS: redis.join(' ') }, onLine })
      current = launched
      launched.child.once('exit', () => { if (current === launched) exits++ })
      await until(`replica ${name} is ready`, startMs, async () => {
        if (!runs(launched)) throw new Error(`replica ${name} ended: ${launched.complaints.join('\n')}`)
        return fetch(`${operations}/readyz`).then(({ ok }) => ok, () => false)
      })
    },
    async stop (signal) {
      const launched = current
      current = undefined
      if (launched !== undefined) await end(launched, signal)
    }
  }
}

function createProvider ({ id, port, controlPort, redirect_uri }: { id: string, port: number, controlPort: number, redirect_uri: string }) {
  const [client_id, client_secret] = ['passerelle', randomBytes(32).toString('base64url')]
  const issuer = `http://${id}.localhost:${port}`
  const control = `http://127.0.0.1:${controlPort}`
  let current: Launched | undefined

  const ask = async (method: string, path: string, body?: object) => {
    const answer = await fetch(control + path, { method, signal: AbortSignal.timeout(10_000), ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }) })
    if (!answer.ok) throw new Error(`${id}: ${method} ${path} answered ${answer.status}: ${await answer.text()}`)
    return answer.text()
  }
  return {
    id,
    issuer,
    client_id,
    client_secret,
    async misbehave (name: string, share = 1) { await ask('PUT', '/misbehaviour', { name, share }) },
    async recover () { await ask('DELETE', '/misbehaviour') },
    async counts () { return JSON.parse(await ask('GET', '/counts')) as Record<string, number> },
    async renewKeys (options: { overlap: boolean }) { await ask('POST', '/keys', options) },
    async start () {
      let listens = false
      const launched = launch(process.execPath, [lightProvider, '--id', id, '--port', String(port), '--control-port', String(controlPort), '--redirect-uri', redirect_uri, '--client-id', client_id, `--client-secret=${client_secret}`], { onLine: () => { listens = true } })
      current = launched
      await until(`provider ${id} listens`, startMs, () => {
        if (!runs(launched)) throw new Error(`provider ${id} ended: ${launched.complaints.join('\n')}`)
        return listens
      })
    },
    async kill () { if (current !== undefined) await end(current, 'SIGKILL') }
  }
}
