import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { makeNextKeys } from '../../src/keys.ts'
import { startCluster, type RedisCluster } from '../support/redis.ts'
import { freePort } from '../world/free-port.ts'
import { startBalancer, type Balancer } from './balancer.ts'
import { openConfiguration, type ConfigurationDirectory } from './configuration.ts'
import { leaveFirstCore } from './cores.ts'
import { createProvider, type Provider } from './provider.ts'
import { commonPorts, createReplica, type Replica } from './replica.ts'
import { linkOf, portsBy, waysTo, type Link, type Site } from './sites.ts'

/** A service that logs citizens in. */
export interface Client { client_id: string, client_secret: string, redirect_uri: string, post_logout_redirect_uri: string, method: 'client_secret_basic' | 'client_secret_post', consent: 'skip' | 'information', degraded: 'allow' | 'deny', /** whether it pushes its requests, and makes no others */ pushes?: boolean, /** whether it may ask what the tokens of others are worth */ introspects?: boolean }

/** All that a run needs, in real processes on this machine. */
export interface Stage {
  issuer: string
  /** those that are registered now */
  clients: Client[]
  /** a data provider, which no citizen enters */
  agency: Client
  providers: Provider[]
  /** a provider that runs and that nobody has registered, where there is one */
  spare?: Provider | undefined
  replicas: Replica[]
  /** the configuration of each replica, in their order */
  configurations: ConfigurationDirectory[]
  /** the directory that keys are made in */
  keys: string
  balancer: Balancer
  /** that of the first site */
  cluster: RedisCluster
  sites: Site[]
  link: Link
  stop (): Promise<void>
}

/** What differs from the defaults that all else has. */
export interface StageOptions {
  breaker?: Record<string, number>
  /** how many replicas of the gateway there are at each site */
  replicas?: number
  /** how many sites there are; the Redis Cluster of each has no replicas where there are several, and the link between them can be cut */
  sites?: 1 | 2
  /** whether Redis is reached over ways that can be cut or swallow what comes */
  severable?: boolean
  /** whether the load balancer sends a GET again that was not answered */
  retriesGets?: boolean
  /** whether each replica has a copy of the keys, which has to be brought to it */
  ownKeys?: boolean
  /** whether all replicas have the same configuration, as replicas of one release do */
  sameConfiguration?: boolean
  /** whether a configuration is mounted folder by folder, as in a pod */
  mounted?: boolean
  /** whether there is a provider that nobody has registered */
  spare?: boolean
  /** whether there is a service, too, that pushes its requests */
  pushing?: boolean
  /** when the gateway sends citizens away; unless set, later than any core that others use makes it */
  load?: Record<string, number>
  /** whether the replicas have the first core for themselves, and everything else the others */
  pinned?: boolean
}

/** Breakers that open soon and try again soon, for the short form. */
export const quick: StageOptions = { breaker: { volume: 4, reset_ms: 1000 } }

export const nodeTimeoutMs = 2000
const marks = ['a', 'b']
const names = ['one', 'two', 'three', 'four', 'five']

/** Three identity providers; a site or two, each with two replicas of the gateway or more and a Redis Cluster of three primaries, which have replicas where the site is alone; and a load balancer. */
export async function startStage ({ breaker = {}, replicas: count = 2, sites: siteCount = 1, severable = false, retriesGets = false, ownKeys = false, sameConfiguration = false, mounted = false, spare = false, pushing = false, load = { delay_ms: 1000 }, pinned = false }: StageOptions = {}): Promise<Stage> {
  const endings: Array<() => unknown> = []
  const stop = async () => { for (const ending of endings.splice(0).reverse()) await ending() }
  try {
    if (pinned) endings.push(leaveFirstCore())
    const directory = mkdtempSync(join(tmpdir(), 'passerelle-chaos-'))
    endings.push(() => rmSync(directory, { recursive: true, force: true }))
    const port = await freePort()
    const issuer = `http://passerelle.localhost:${port}`
    const clients = createClients(pushing)
    const agency = newClient('agency', { method: 'client_secret_basic', consent: 'information', degraded: 'deny', introspects: true })
    const lifetime = { teardown: (ending: () => unknown) => endings.push(ending) }
    const places = await Promise.all(marks.slice(0, siteCount).map(async mark => {
      const cluster = await startCluster(lifetime, { primaries: 3, replicas: siteCount > 1 ? 0 : 1, nodeTimeoutMs, severable })
      return { mark, cluster, ways: siteCount > 1 ? await waysTo(lifetime, cluster) : [] }
    }))

    const startProvider = async (id: string) => {
      const provider = createProvider({ id, port: await freePort(), controlPort: await freePort(), redirect_uri: `${issuer}/callback/${id}`, directory })
      endings.push(() => provider.kill())
      await provider.start()
      return provider
    }
    const providers = await Promise.all(providerIds.map(startProvider))
    const spareProvider = spare ? await startProvider(spareId) : undefined

    const keys = join(directory, 'keys')
    makeNextKeys(keys)
    const configurations: ConfigurationDirectory[] = []
    const replicas = await Promise.all(places.flatMap(place => Array.from({ length: count }, () => place)).map(async ({ mark, cluster }, i) => {
      const name = names[i]!
      const own = join(directory, name)
      const [ownPort, operationsPort] = [await freePort(), await freePort()]
      writeConfiguration(own, { issuer, ...(sameConfiguration ? commonPorts : { port: ownPort, operationsPort }), clients: [...clients, agency], providers, breaker, load, places, keys: ownKeys ? 'keys' : '../keys' })
      configurations[i] = openConfiguration(own, { mounted })
      if (ownKeys) configurations[i].receiveKeys(keys)
      const ways = portsBy(places.filter(place => place.mark !== mark))
      const replica = createReplica({ name, site: mark, pinned, directory: own, port: ownPort, operationsPort, inspectorPort: await freePort(), address: `127.0.1.${i + 1}`, redis: cluster.urls, ways })
      endings.push(() => replica.stop('SIGKILL'))
      await replica.start()
      return { ...replica, port: ownPort, operationsPort }
    }))
    const balancer = await startBalancer({ directory, port, servers: replicas, retriesGets })
    endings.push(() => balancer.stop())
    const sites = places.map(place => ({ ...place, replicas: replicas.filter(({ site }) => site === place.mark) }))
    return { issuer, clients, agency, providers, spare: spareProvider, replicas, configurations, keys, balancer, cluster: sites[0]!.cluster, sites, link: linkOf(sites), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const providerIds = ['vitalys', 'tresorine', 'terramut']
const spareId = 'ondelis'

/** One client for each answer to the question whether logins go on while Redis is away, which ask the citizen in two ways, too; and one that pushes its requests, where that is wanted. Nothing listens at their addresses. */
const createClients = (pushing: boolean): Client[] => [
  newClient('allow', { method: 'client_secret_basic', consent: 'skip', degraded: 'allow' }),
  newClient('deny', { method: 'client_secret_post', consent: 'information', degraded: 'deny' }),
  ...pushing ? [newClient('pushes', { method: 'client_secret_basic', consent: 'information', degraded: 'deny', pushes: true })] : []
]
const newClient = (client_id: string, how: Pick<Client, 'method' | 'consent' | 'degraded' | 'pushes' | 'introspects'>): Client => ({
  client_id,
  client_secret: randomBytes(32).toString('base64url'),
  redirect_uri: `http://${client_id}.localhost/callback`,
  post_logout_redirect_uri: `http://${client_id}.localhost/`,
  ...how
})

interface Written { issuer: string, port: number, operationsPort: number, clients: Client[], providers: Provider[], breaker: Record<string, number>, load: Record<string, number>, keys: string, places: ReadonlyArray<Pick<Site, 'mark' | 'cluster'>> }

function writeConfiguration (directory: string, { issuer, port, operationsPort, clients, providers, breaker, load, keys, places }: Written) {
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
    keys,
    load,
    ...(places.length > 1
      ? { sites: places.map(({ mark, cluster: { urls } }) => ({ site: mark, urls, node_timeout_ms: nodeTimeoutMs })) }
      : { redis: { node_timeout_ms: nodeTimeoutMs } })
  })
  for (const { client_id, client_secret, redirect_uri, post_logout_redirect_uri, method, consent, degraded, pushes, introspects } of clients) {
    document(`clients/${client_id}.yaml`, {
      client_id,
      name: `Service ${client_id}`,
      redirect_uris: [redirect_uri],
      post_logout_redirect_uris: [post_logout_redirect_uri],
      token_endpoint_auth_method: method,
      client_secrets: [secret(`client-${client_id}`, client_secret)],
      id_token_signed_response_alg: 'ES256',
      scopes: ['openid', 'given_name'],
      consent,
      degraded,
      ...(pushes ? { require_pushed_authorization_requests: true } : {}),
      ...(introspects ? { introspection: true } : {})
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
