import { until, type RedisCluster } from '../support/redis.ts'

const wellMs = 30_000

/** Whether every node answers, has its own part and says that the cluster is well. */
export async function isWell (cluster: RedisCluster) {
  const nodes = await Promise.all(cluster.urls.map(async (_, i) => {
    const [info, replication, nodes] = await Promise.all([cluster.command(i, 'CLUSTER', 'INFO'), cluster.command(i, 'INFO', 'replication'), cluster.command(i, 'CLUSTER', 'NODES')].map(answer => answer.then(String, () => '')))
    return /cluster_state:ok/.test(info!) && /role:master|master_link_status:up/.test(replication!) && !/fail/.test(nodes!)
  }))
  return nodes.every(Boolean)
}

/** Waits until it is. */
export const untilWell = (cluster: RedisCluster) => until('the cluster is well', wellMs, () => isWell(cluster))

const replicationOf = async (cluster: RedisCluster, i: number) => String(await cluster.command(i, 'INFO', 'replication'))

/** The place of a primary that has slots, and of its replica. */
export async function aPrimary (cluster: RedisCluster) {
  const primary = await cluster.primaryOf('any')
  const port = new URL(cluster.urls[primary]!).port
  for (const [i] of cluster.urls.entries()) if (i !== primary && new RegExp(`master_port:${port}\r`).test(await replicationOf(cluster, i))) return { primary, replica: i }
  throw new Error(`the primary at ${port} has no replica`)
}

/** Connections that were made to all nodes since each was started. */
export async function connectionsMade (cluster: RedisCluster) {
  const stats = await Promise.all(cluster.urls.map((_, i) => cluster.command(i, 'INFO', 'stats')))
  return stats.reduce<number>((sum, text) => sum + Number(/total_connections_received:(\d+)/.exec(String(text))![1]), 0)
}

/** Whether a node takes writes. */
export const isPrimary = async (cluster: RedisCluster, i: number) => /role:master/.test(await replicationOf(cluster, i))

/** Waits until the other nodes say that a node is lost, which takes them the node timeout at least. */
export async function untilGivenUp (cluster: RedisCluster, i: number) {
  const isLost = new RegExp(`:${new URL(cluster.urls[i]!).port}@\\S* \\S*fail(?!\\?)`)
  const others = [...cluster.urls.keys()].filter(other => other !== i)
  await until('a node is given up by the others', wellMs, async () => (await Promise.all(others.map(other => cluster.command(other, 'CLUSTER', 'NODES')))).every(nodes => isLost.test(String(nodes))))
}

/** Hands a primary's part over to its replica; returns when the former says that it follows. */
export async function handOver (cluster: RedisCluster, primary: number) {
  const port = new URL(cluster.urls[primary]!).port
  const followers = await Promise.all(cluster.urls.map(async (_, i) => new RegExp(`master_port:${port}\r`).test(await replicationOf(cluster, i))))
  await cluster.command(followers.indexOf(true), 'CLUSTER', 'FAILOVER')
  await until('the former primary follows', wellMs, async () => !await isPrimary(cluster, primary))
}
