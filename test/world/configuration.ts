import { cp, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Surroundings } from './host.ts'
import type { IdentityProvider } from './provider.ts'
import type { Service } from './service.ts'

type Tree = Record<string, unknown>

/** Changes to what the world would write, merged deeply: lists and values replace, `null` takes away. */
export interface Overrides {
  /** `passerelle.yaml` */
  settings?: Tree
  /** By the world's id of the service; `null` leaves the service out, an unknown id adds one. */
  clients?: Record<string, Tree | null>
  /** By the id of the provider; `null` leaves the provider out, an unknown id adds one. */
  identityProviders?: Record<string, Tree | null>
}

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Lays changes over a tree, without touching either. */
export function merge (tree: Tree, changes: Tree): Tree {
  const merged = { ...tree }
  for (const [name, value] of Object.entries(changes)) {
    const before = merged[name]
    if (value === null || value === undefined) delete merged[name]
    else merged[name] = isTree(value) ? merge(isTree(before) ? before : {}, value) : value
  }
  return merged
}

function mergeAll (trees: Record<string, Tree>, changes: Record<string, Tree | null>) {
  const removed = Object.keys(changes).filter(name => changes[name] === null)
  return Object.entries(merge(trees, changes) as Record<string, Tree>).filter(([name]) => !removed.includes(name))
}

/** Writes a whole configuration directory for a gateway in this world, but for its keys. */
export async function writeConfiguration (directory: string, surroundings: Surroundings, providers: IdentityProvider[], services: Service[], overrides: Overrides = {}) {
  const { issuer, tls, ca } = surroundings
  const secure = issuer.startsWith('https:')
  const settings: Tree = {
    issuer,
    environment: secure ? 'production' : 'development',
    listen: {
      host: '127.0.0.1',
      port: Number(new URL(issuer).port || (secure ? 443 : 80)),
      ...(secure && tls && { tls: { certificate: 'secrets/certificate.pem', key: 'secrets/certificate.key' } })
    },
    operations: { host: '127.0.0.1', port: 9090 },
    drain: { wait_seconds: 0 },
    load: { delay_ms: 1000 },                                          // what else this machine does is no load of ours
    keys: 'keys'
  }
  const clients = Object.fromEntries(services.map(service => [service.id, registerService(service)]))
  const identityProviders = Object.fromEntries(providers.map((provider, index) => [provider.id, registerProvider(provider, index, ca)]))

  for (const name of ['clients', 'identity-providers', 'secrets', 'logos']) await mkdir(join(directory, name), { recursive: true })
  await cp(new URL('logos/', import.meta.url), join(directory, 'logos'), { recursive: true })

  const secret = (name: string, text: string | undefined) => text && writeFile(join(directory, 'secrets', name), text, { mode: 0o600 })
  if (secure && tls) {
    await secret('certificate.pem', tls.cert)
    await secret('certificate.key', tls.key)
  }
  await secret('ca.pem', ca)
  for (const { id, client_secret } of services) await secret(`client-${id}`, client_secret)
  for (const { id, client_secret, client_key } of providers) {
    await secret(`provider-${id}`, client_secret)
    await secret(`provider-${id}.jwk`, client_key && JSON.stringify(client_key, null, 2))
  }

  const document = (path: string, tree: Tree) => writeFile(join(directory, path), stringify(tree))
  await document('passerelle.yaml', merge(settings, overrides.settings ?? {}))
  for (const [id, client] of mergeAll(clients, overrides.clients ?? {})) await document(`clients/${id}.yaml`, client)
  for (const [id, provider] of mergeAll(identityProviders, overrides.identityProviders ?? {})) await document(`identity-providers/${id}.yaml`, provider)
}

const registerService = ({ id, row, url, client_secret, redirect_uri, post_logout_redirect_uri }: Service): Tree => ({
  client_id: row.client_id,
  name: row.title,
  title: row.title,
  logo: `logos/${id}.svg`,
  client_uri: `${url}/`,
  redirect_uris: [redirect_uri],
  post_logout_redirect_uris: [post_logout_redirect_uri],
  token_endpoint_auth_method: row.token_endpoint_auth_method,
  ...(client_secret && { client_secrets: [{ file: `secrets/client-${id}` }] }),
  id_token_signed_response_alg: row.id_token_signed_response_alg,
  ...row.registration
})

const registerProvider = ({ id, row, issuer, endpoints, client_secret, client_key }: IdentityProvider, index: number, ca: string | undefined): Tree => ({
  id,
  title: row.title,
  logo: `logos/${id}.svg`,
  order: (index + 1) * 10,
  issuer,
  ...(!row.discovery && { endpoints }),
  client_id: row.client_id,
  token_endpoint_auth_method: row.token_endpoint_auth_method,
  ...(client_secret && { client_secret: { file: `secrets/provider-${id}` } }),
  ...(client_key && { client_key: { file: `secrets/provider-${id}.jwk` } }),
  id_token_signed_response_alg: row.id_token_signed_response_alg,
  ...(row.userinfo_signed_response_alg && { userinfo_signed_response_alg: row.userinfo_signed_response_alg }),
  scopes: row.scopes,
  acr_values: Object.keys(row.levels),
  ...(!row.tellsMethods && { amr: Object.values(row.levels)[0] }),
  ...(ca && { ca: 'secrets/ca.pem', loopback: true })
})
