import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { until } from '../support/redis.ts'
import { end, launch, runs } from './processes.ts'

/** A replica as the load balancer sees it. */
interface Server { name: string, site: string, port: number, operationsPort: number }

/** What the load balancer says of a replica. */
export interface Standing { replica: string, isUp: boolean, /** connections that it tried again, here or at another */ retries: number }

export interface Balancer {
  standing (): Promise<Standing[]>
  stop (): Promise<void>
}

/**
 * HAProxy before the replicas: no stickiness, probes on /readyz. Each request goes to any replica by chance: where so few logins take turns in round robin, every
 * citizen's second request goes where the first did not. What is tried again is a connection that failed before any byte was sent, with `retriesGets` a GET too that was
 * not answered, and nothing else. It names the replica that answered in `x-replica`, and in `x-retries` how often it had tried before. Where there are several sites it
 * stands before all of them, and before one of them for whoever names that in `x-site`.
 */
export async function startBalancer ({ directory, port, servers, retriesGets }: { directory: string, port: number, servers: readonly Server[], retriesGets: boolean }): Promise<Balancer> {
  const file = join(directory, 'haproxy.cfg')
  const socket = join(directory, 'haproxy')
  const bySite = [...Map.groupBy(servers, ({ site }) => site)].filter(([, own]) => own.length < servers.length)
  const backend = (name: string, lines: string[]) => `backend ${name}
  balance random(1)
  option forwardfor
  option httpchk GET /readyz
${retriesGets ? '  http-request disable-l7-retry unless METH_GET' : ''}
  http-response set-header x-replica %s
  http-response set-header x-retries %rc
${lines.join('\n')}
`
  writeFileSync(file, `
global
  maxconn 8192
  stats socket ${socket}

defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  timeout check 2s
  retries ${bySite.length > 0 ? 8 : 3}
  retry-on conn-failure${retriesGets ? ' empty-response' : ''}
  option redispatch 1
${[502, 503, 504].map(status => `  http-error status ${status} content-type text/plain string "no replica answered" hdr retry-after 1`).join('\n')}

frontend public
  bind 127.0.0.1:${port}
${bySite.map(([site]) => `  use_backend ${site} if { req.hdr(x-site) ${site} }`).join('\n')}
  default_backend replicas

${backend('replicas', servers.map(server => `  server ${server.name} 127.0.0.1:${server.port} check port ${server.operationsPort} inter 500ms fall 2 rise 1`))}
${bySite.map(([site, own]) => backend(site, own.map(({ name, port }) => `  server ${name} 127.0.0.1:${port} track replicas/${name}`))).join('\n')}`)
  const balancer = launch('haproxy', ['-db', '-q', '-f', file])
  await until('haproxy listens', 10_000, async () => {
    if (!runs(balancer)) throw new Error(`haproxy ended: ${balancer.complaints.join('\n')}`)
    return fetch(`http://127.0.0.1:${port}/livez`).then(({ headers }) => headers.has('x-replica'), () => false)
  })
  return {
    async standing () {
      const asked = connect(socket)
      asked.end('show stat -1 4 -1\n')                                  // servers only
      const [heads = '', ...rows] = (await text(asked)).trim().split('\n')
      const names = heads.slice(2).split(',')
      return rows.map(row => row.split(',')).map(values => Object.fromEntries(names.map((name, i) => [name, values[i]!])))
        .map(({ svname, status, wretr }) => ({ replica: svname!, isUp: status!.startsWith('UP'), retries: Number(wretr) }))
    },
    stop: () => end(balancer)
  }
}
