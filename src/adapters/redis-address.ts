/** How a Redis is known over TLS, and how we are; all of it PEM. */
export interface RedisTls {
  /** authorities its certificate is checked against; those of Node.js unless set */
  ca?: string | undefined
  /** ours, where it asks for one (mutual TLS) */
  certificate?: { cert: string, key: string } | undefined
  /** the one name that every node's certificate is for; else each is checked for the name or the address under which it is reached */
  serverName?: string | undefined
}

/** One Redis, or one Redis Cluster: all that it takes to connect to it. */
export interface RedisAddress {
  /** redis:// or rediss://, all alike; several are seeds of a Cluster */
  urls: readonly string[]
  /** whether it is a Cluster; unless set, several addresses are one */
  cluster?: boolean | undefined
  /** who we are there, where the first address does not say so itself */
  username?: string | undefined
  password?: string | undefined
  tls?: RedisTls | undefined
  /** `cluster-node-timeout` of the cluster: a failover takes that and up to 2.3 s more */
  nodeTimeoutMs?: number | undefined
}

/** Where a node is: what ioredis takes for it. */
export function nodeAt (url: string) {
  const { hostname, port, pathname } = new URL(url)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379), db: Number(pathname.slice(1)) }
}

/** User and password, and whether TLS is spoken. */
export function accessOf ({ urls, username, password }: RedisAddress) {
  const first = new URL(urls[0]!)
  return {
    username: decodeURIComponent(first.username) || username,
    password: decodeURIComponent(first.password) || password,
    isSecure: first.protocol === 'rediss:'
  }
}

/** What should have stood in place of these addresses; undefined where they will do. */
export function faultOfRedis ({ urls, cluster, tls }: RedisAddress) {
  if (!urls.every(isReadable)) return 'expected redis:// or rediss:// URLs, separated by commas, with user and password percent-encoded'
  const secured = urls.filter(url => url.startsWith('rediss:')).length
  if (secured > 0 && secured < urls.length) return 'expected rediss:// in all of its addresses, or in none'
  if (secured === 0 && urls.length > 0 && tls !== undefined) return 'expected rediss:// URLs where redis has ca, tls_client or server_name'
  return cluster === false && urls.length > 1 ? 'expected one URL where cluster is false' : undefined
}

function isReadable (url: string) {
  if (!/^rediss?:\/\/[^\s/?#]+(\/\d{0,4})?$/.test(url) || !URL.canParse(url)) return false
  const { username, password } = new URL(url)
  try {
    decodeURIComponent(username + password)
    return true
  } catch {
    return false
  }
}
