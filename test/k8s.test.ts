import { createServer, type Server } from 'node:http'
import { existsSync, globSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { fileOf, prometheusRule } from '../k8s/make.ts'
import { afterlife, period } from '../src/adapters/key-schedule.ts'
import { addressesIn } from '../src/config/environment.ts'
import { loadConfiguration } from '../src/config/load.ts'
import { listKeys, makeNextKeys } from '../src/keys.ts'
import { rotateSecret } from '../src/keys-in-kubernetes.ts'
import { ensurePackages } from './packages.ts'
import { makeCertificate } from './support/certificate.ts'
import { lastOf, readDockerfile, readIgnore } from './support/dockerfile.ts'
import { listen } from './support/listen.ts'
import { policyFaults, rendered, schemaFaults, type Expected, type Manifest } from './support/manifests.ts'
import { testApp } from './support/test-app.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const read = (file: string) => readFileSync(root + file, 'utf8')

ensurePackages()
t.setTimeout(240_000)

const names = ['development', 'integration', 'pre-production', 'production-a', 'production-b']
const overlays = new Map(await Promise.all(names.map(async name => [name, await rendered(`k8s/overlays/${name}`)] as const)))

const { app } = await testApp(t)
const hasRoute = (url: string) => app.operations.hasRoute({ method: 'GET', url })
const metrics = new Set(app.metricsRegistry.getMetricsAsArray().map(({ name }) => name))
const documented = [...read('src/config/environment.ts').matchAll(/PASSERELLE_\w+/g), ...read('src/server.ts').matchAll(/PASSERELLE_\w+/g), ...read('docs/traces.md').matchAll(/OTEL_\w+/g)].map(([name]) => name)
const variables = new Set([...documented, 'UV_THREADPOOL_SIZE', 'NODE_EXTRA_CA_CERTS'])  // the last two are of Node.js itself

const everywhere = ['0.0.0.0/0 -10.0.0.0/8 -100.64.0.0/10 -127.0.0.0/8 -169.254.0.0/16 -172.16.0.0/12 -192.168.0.0/16', '::/0 -::1/128 -fc00::/7 -fe80::/10']
const dns = (whose: string) => ['UDP', 'TCP'].map(protocol => `${whose} to kube-system/kube-dns ${protocol} 53`)
const gatewayWays = ['all: nothing else', 'gateway from gateway TCP public', 'gateway from monitoring TCP operations', ...dns('gateway'), 'gateway to redis TCP 6379', ...everywhere.map(block => `gateway to ${block} TCP 443`)]
const keysWays = [...dns('keys'), ...['10.96.0.1/32', '10.0.0.0/29'].flatMap(block => [443, 6443].map(port => `keys to ${block} TCP ${port}`))]
const probeWays = [...dns('probe'), ...everywhere.map(block => `probe to ${block} TCP 443`)]
const ways: Record<string, string[]> = {
  development: [...gatewayWays, ...keysWays],
  integration: [...gatewayWays, ...keysWays, ...probeWays],
  'pre-production': [...gatewayWays, ...keysWays, ...probeWays],
  'production-a': [...gatewayWays, 'gateway to 10.2.0.0/24 TCP 6379', ...keysWays, ...probeWays],
  'production-b': [...gatewayWays, 'gateway to 10.1.0.0/24 TCP 6379', ...probeWays]
}

const find = (objects: Manifest[], kind: string, name = 'passerelle'): any => objects.find(object => object.kind === kind && object.metadata.name === name)
const environmentOf = (objects: Manifest[]) => Object.fromEntries(find(objects, 'Deployment').spec.template.spec.containers[0].env.map(({ name, value }: any) => [name, value]))

/** The configuration that a replica finds, its files where they are mounted, with secrets and keys made up. */
async function configurationOf (t: Test, objects: Manifest[]) {
  const directory = t.testdir()
  const { volumes, containers: [{ volumeMounts }] } = find(objects, 'Deployment').spec.template.spec
  for (const { name, mountPath, subPath } of volumeMounts) {
    const place = join(directory, mountPath.replace('/etc/passerelle', '.'))
    const { configMap } = volumes.find((volume: any) => volume.name === name)
    if (subPath !== undefined) writeFileSync(place, find(objects, 'ConfigMap', configMap.name).data[subPath])
    else {
      mkdirSync(place, { recursive: true })
      for (const [file, content] of Object.entries<string>(configMap === undefined ? {} : find(objects, 'ConfigMap', configMap.name).data)) writeFileSync(join(place, file), content)
    }
  }
  const { cert } = await makeCertificate(['redis'])
  for (const [name, secret] of Object.entries({ redis: 'secret-of-redis-here', town: 'secret-of-the-town-hall', post: 'secret-of-the-post-here', 'redis-authority.pem': cert })) writeFileSync(join(directory, 'secrets', name), secret)
  makeNextKeys(join(directory, 'keys'))
  return loadConfiguration(directory, { site: environmentOf(objects)['PASSERELLE_SITE'] })
}
async function expectedOf (t: Test, name: string): Promise<Expected> {
  const { settings } = await configurationOf(t, overlays.get(name)!)
  return { least: name === 'development' ? 2 : 3, settings, hasRoute, variables, metrics, ways: ways[name]! }
}

// What is done to the objects of production-a, and what is said of it.
const pod = (objects: Manifest[]) => find(objects, 'Deployment').spec.template.spec
const gateway = (objects: Manifest[]) => pod(objects).containers[0]
const spoilt: Array<[title: string, spoil: (objects: Manifest[]) => unknown, said: RegExp]> = [
  ['a field that nobody knows', o => { gateway(o).imagePullPoliy = 'Always' }, /imagePullPoliy/],
  ['a field in the wrong place', o => { pod(o).readOnlyRootFilesystem = true }, /readOnlyRootFilesystem/],
  ['a number as a text', o => { pod(o).terminationGracePeriodSeconds = '60' }, /not assignable|must be integer/],
  ['a word that is none of those allowed', o => { find(o, 'HTTPRoute').spec.rules[0].matches[0].path.type = 'Prefix' }, /path\/type must be equal to one of the allowed/],
  ['a field that is needed and missing', o => { delete find(o, 'Deployment').spec.selector }, /selector/],
  ['a kind that nobody knows', o => { find(o, 'PodDisruptionBudget').kind = 'PodDisruptionBudgets' }, /no such kind/],
  ['a version of the API that clusters do not serve any more', o => { find(o, 'HorizontalPodAutoscaler').apiVersion = 'autoscaling/v2beta2' }, /may be gone/],
  ['an unknown field of a foreign kind', o => { find(o, 'PodMonitor').spec.podMetricsEndpoints[0].intervall = '15s' }, /intervall/],
  ['an unknown field of an external secret', o => { find(o, 'ExternalSecret', 'passerelle-secrets').spec.refreshIntervall = '5m' }, /refreshIntervall/],
  ['an image without a version', o => { gateway(o).image = 'registry.example.org/passerelle' }, /not pinned/],
  ['the latest image', o => { gateway(o).image = 'registry.example.org/passerelle:latest' }, /not pinned/],
  ['root', o => { pod(o).securityContext.runAsUser = 0 }, /may run as root/],
  ['root again, of the container only', o => { gateway(o).securityContext.runAsUser = 0 }, /another user/],
  ['a user by name only', o => { delete pod(o).securityContext.runAsUser }, /may run as root/],
  ['no seccomp profile', o => { delete pod(o).securityContext.seccompProfile }, /seccomp/],
  ['a root that can be written', o => { gateway(o).securityContext.readOnlyRootFilesystem = false }, /can write/],
  ['a capability kept', o => { gateway(o).securityContext.capabilities = { drop: ['NET_RAW'] } }, /capabilities/],
  ['a way to become root', o => { delete gateway(o).securityContext.allowPrivilegeEscalation }, /may become root/],
  ['a token mounted', o => { pod(o).automountServiceAccountToken = true }, /token is mounted/],
  ['service links', o => { delete pod(o).enableServiceLinks }, /service links/],
  ['a directory of the node', o => { pod(o).volumes.push({ name: 'host', hostPath: { path: '/' } }) }, /of its node/],
  ['no probe', o => { delete gateway(o).readinessProbe }, /no readinessProbe/],
  ['a probe that is no route', o => { gateway(o).livenessProbe.httpGet.path = '/healthz' }, /asks \/healthz/],
  ['liveness that asks whether it is ready', o => { gateway(o).livenessProbe.httpGet.path = '/readyz' }, /asks \/readyz/],
  ['liveness that waits for five seconds only', o => { gateway(o).livenessProbe.failureThreshold = 1 }, /blocked event loop/],
  ['a probe of a port that is not there', o => { gateway(o).livenessProbe.httpGet.port = 'metrics' }, /has no such port/],
  ['a grace period below the drain', o => { pod(o).terminationGracePeriodSeconds = 50 }, /before it has drained/],
  ['a limit of CPU', o => { gateway(o).resources.limits.cpu = '2' }, /limit of CPU/],
  ['no limit of memory', o => { delete gateway(o).resources.limits }, /no limit of memory/],
  ['a limit of memory below the alert', o => { gateway(o).resources.limits.memory = '512Mi' }, /alert on memory/],
  ['four threads', o => { gateway(o).env = gateway(o).env.filter(({ name }: any) => name !== 'UV_THREADPOOL_SIZE') }, /too few threads/],
  ['a variable that nobody reads', o => { gateway(o).env.push({ name: 'PASSERELLE_SITES', value: 'a' }) }, /nobody reads PASSERELLE_SITES/],
  ['a program that is not there', o => { gateway(o).command = ['node', 'src/serve.ts'] }, /no src\/serve\.ts/],
  ['another port than in the settings', o => { gateway(o).ports[0].containerPort = 3000 }, /port public is another/],
  ['a selector that does not match', o => { find(o, 'Deployment').spec.selector.matchLabels['app.kubernetes.io/component'] = 'web' }, /selector does not match/],
  ['a Service that selects nothing', o => { find(o, 'Service').spec.selector['app.kubernetes.io/name'] = 'gateway' }, /Service passerelle: selects nothing/],
  ['a Service to a port that is not there', o => { find(o, 'Service').spec.ports[0].targetPort = 'http' }, /no port http/],
  ['operations by the public Service', o => { find(o, 'Service').spec.ports[0].targetPort = 'operations' }, /no public port/],
  ['a Service open to the outside', o => { find(o, 'Service', 'passerelle-operations').spec.type = 'LoadBalancer' }, /open to the outside/],
  ['two replicas', o => { find(o, 'HorizontalPodAutoscaler').spec.minReplicas = 2 }, /less than 3 replicas/],
  ['replicas that each apply sets back', o => { find(o, 'Deployment').spec.replicas = 3 }, /does not keep/],
  ['a metric that there is not', o => { find(o, 'HorizontalPodAutoscaler').spec.metrics[1].pods.metric.name = 'passerelle_in_flight' }, /no metric passerelle_in_flight/],
  ['a rollout that takes one away', o => { find(o, 'Deployment').spec.strategy.rollingUpdate.maxUnavailable = 1 }, /takes replicas away/],
  ['replicas all in one zone', o => { pod(o).topologySpreadConstraints.shift() }, /not spread over zones/],
  ['no budget for disruptions', o => { find(o, 'PodDisruptionBudget').spec.selector.matchLabels = { app: 'passerelle' } }, /no budget/],
  ['settings that are never updated', o => { gateway(o).volumeMounts[1].subPath = 'town.yaml' }, /never be updated/],
  ['a Secret for everybody', o => { pod(o).volumes.at(-1).secret.defaultMode = 0o444 }, /everybody may read/],
  ['a Secret that nobody makes', o => { pod(o).volumes.at(-1).secret.secretName = 'passerelle-key' }, /no Secret passerelle-key/],
  ['a job without a policy', o => { find(o, 'NetworkPolicy', 'passerelle-keys').spec.podSelector.matchLabels['app.kubernetes.io/component'] = 'key' }, /passerelle-keys: no NetworkPolicy/],
  ['egress to all ports', o => { delete find(o, 'NetworkPolicy').spec.egress.at(-2).ports }, /open: gateway to 0\.0\.0\.0\/0.* any/],
  ['egress to the metadata of a node', o => { find(o, 'NetworkPolicy').spec.egress[2].to[0].ipBlock.except.splice(3, 1) }, /open: gateway to 0\.0\.0\.0/],
  ['egress that is not looked at', o => { find(o, 'NetworkPolicy').spec.policyTypes = ['Ingress'] }, /open: gateway to everybody/],
  ['operations open to the gateway', o => { find(o, 'NetworkPolicy').spec.ingress[1].from.push({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'gateway' } } }) }, /open: gateway from gateway TCP operations/],
  ['Redis closed', o => { find(o, 'NetworkPolicy').spec.egress.splice(1, 1) }, /closed: gateway to redis/],
  ['no default', o => o.splice(o.indexOf(find(o, 'NetworkPolicy', 'default-deny')), 1), /closed: all: nothing else/],
  ['a role for every Secret', o => { delete find(o, 'Role', 'passerelle-keys').rules[0].resourceNames }, /more rights/],
  ['a role that may delete', o => { find(o, 'Role', 'passerelle-keys').rules[0].verbs.push('delete') }, /more rights/],
  ['a route beside the issuer', o => { find(o, 'HTTPRoute').spec.rules[0].matches[0].path.value = '/' }, /is not the issuer/],
  ['both ways from outside', o => o.push({ ...find(overlays.get('development')!, 'Ingress') }), /not one way/],
  ['a job under another name', o => { find(o, 'PodMonitor').spec.podMetricsEndpoints[0].relabelings[0].replacement = 'gateway' }, /another job/],
  ['citizens counted at each replica', o => { find(o, 'ScrapeConfig', 'passerelle-citizens').spec.staticConfigs[0].targets = ['passerelle.passerelle.svc:80'] }, /no Service/],
  ['another namespace', o => { find(o, 'Role', 'passerelle-keys').metadata.namespace = 'default' }, /another namespace/]
]

t.test('manifests that are wrong are refused, each for its reason', async t => {
  const expected = await expectedOf(t, 'production-a')
  const sound = overlays.get('production-a')!
  const texts = new Set(sound.map(object => JSON.stringify(object)))
  const cases = spoilt.map(([title, spoil, said]) => {
    const objects = structuredClone(sound)
    spoil(objects)
    return { title, said, objects, changed: objects.filter(object => !texts.has(JSON.stringify(object))) }
  })
  const schema = await schemaFaults(cases.flatMap(({ changed }) => changed))
  let at = 0
  for (const { title, said, objects, changed } of cases) {
    const faults = schema.slice(at, at += changed.length).flat()
    let policies: string[] = []
    try { policies = policyFaults(objects, expected) } catch (error) { if (faults.length === 0) throw error }  // what is no object of its kind is not looked at further
    const all = [...faults, ...policies]
    t.ok(all.some(fault => said.test(fault)), `${title}: ${all.join('; ') || 'nothing is said'}`)
  }
})

t.test('every overlay renders by kubectl, and Kubernetes knows every kind, field and value in it', async t => {
  const objects = [...overlays.values()].flat()
  t.ok(objects.length > 100)
  t.strictSame((await schemaFaults(objects)).flat(), [])
})

for (const name of names) {
  t.test(`${name} is as the gateway needs it: probes, grace, ports, rights, ways in and out`, async t => {
    t.strictSame(policyFaults(overlays.get(name)!, await expectedOf(t, name)), [])
  })

  t.test(`${name} gives the gateway a configuration that it takes, and a Redis of its own site`, async t => {
    const objects = overlays.get(name)!
    const configuration = await configurationOf(t, objects)
    t.equal(configuration.clients.size, 1)
    t.equal(configuration.identityProviders.size, 1)
    const { urls } = addressesIn(environmentOf(objects), configuration)
    t.ok(urls.length > 0 && urls.every(url => /^rediss?:\/\/redis(-\d\.redis)?\.passerelle\.svc:6379$/.test(url)), urls.join())
    t.equal(configuration.settings.environment, name === 'development' ? 'development' : 'production')
  })
}

t.test('containers run as the user that the image is made for, by programs that it has', async t => {
  const last = readDockerfile(read('Dockerfile')).at(-1)!
  const isOut = readIgnore(read('.dockerignore'))
  for (const [name, objects] of overlays) {
    const pods = objects.flatMap(({ kind, spec }) => kind === 'Deployment' ? [spec.template.spec] : kind === 'CronJob' ? [spec.jobTemplate.spec.template.spec] : [])
    t.ok(pods.length > 0, name)
    for (const { securityContext: { runAsUser, runAsGroup }, containers } of pods) {
      t.equal(`${runAsUser}:${runAsGroup}`, lastOf(last, 'USER')!.text, name)
      for (const { command: [program, file] } of containers) t.ok(program === 'node' && existsSync(root + file) && !isOut(file), `${name}: ${file}`)
    }
  }
})

t.test('the sites of production differ by their mark, the way to each other\'s Redis and who makes the keys, and in nothing else', async t => {
  const [a, b] = ['production-a', 'production-b'].map(name => new Map(overlays.get(name)!.map(object => [`${object.kind} ${object.metadata.name}`, object])))
  t.equal(environmentOf(overlays.get('production-a')!)['PASSERELLE_SITE'], 'a')
  t.equal(environmentOf(overlays.get('production-b')!)['PASSERELLE_SITE'], 'b')
  const different = [...new Set([...a!.keys(), ...b!.keys()])].filter(name => JSON.stringify(a!.get(name)) !== JSON.stringify(b!.get(name))).sort()
  t.strictSame(different, [
    'CronJob passerelle-keys', 'Deployment passerelle', 'ExternalSecret passerelle-keys', 'NetworkPolicy passerelle', 'NetworkPolicy passerelle-keys', 'PodMonitor passerelle',
    'PushSecret passerelle-keys', 'Role passerelle-keys', 'RoleBinding passerelle-keys', 'ScrapeConfig passerelle-citizens', 'ServiceAccount passerelle-keys'
  ])
})

t.test('kustomize 2.0, which Debian 12 has, understands every file, and each file is used', async t => {
  const understood = ['apiVersion', 'kind', 'bases', 'resources', 'images', 'generatorOptions', 'configMapGenerator', 'patchesJson6902']
  const files = globSync(['k8s/**/*.yaml', 'grafana/kustomization.yaml'], { cwd: root })
  const kustomizations = files.filter(file => basename(file) === 'kustomization.yaml')
  t.ok(kustomizations.length > 10)
  const used = new Set<string>()
  for (const file of kustomizations) {
    const { bases = [], resources = [], configMapGenerator = [], patchesJson6902 = [], ...rest } = parse(read(file))
    t.strictSame(Object.keys(rest).filter(field => !understood.includes(field)), [], file)
    const named: string[] = [...resources, ...patchesJson6902.map(({ path }: any) => path), ...configMapGenerator.flatMap(({ files }: any) => files)]
    for (const path of named) {
      t.ok(/\.(yaml|json)$/.test(path) && !path.startsWith('..'), `${file}: ${path} is a file of this directory`)
      used.add(join(dirname(file), path))
    }
    for (const path of bases) used.add(join(dirname(file), path, 'kustomization.yaml'))
  }
  for (const file of files) t.ok(used.has(file) || names.includes(basename(dirname(file))), `${file} is used`)
})

t.test('what a page tells of Kubernetes is there', async t => {
  const page = read('docs/kubernetes.md')
  for (const [, name] of page.matchAll(/`((?:base|overlays)\/[\w./-]+)`/g)) t.ok(existsSync(`${root}k8s/${name}`), name!)
  for (const [, link] of page.matchAll(/\]\((?!https:)([^)#]+)/g)) t.ok(existsSync(`${root}docs/${link}`), link!)
})

t.test('a change of the settings replaces the replicas; what is registered changes without', async t => {
  for (const objects of overlays.values()) {
    const maps = objects.filter(({ kind }) => kind === 'ConfigMap').map(({ metadata }) => metadata.name)
    t.equal(maps.filter(name => /^passerelle-settings-[a-z0-9]{10}$/.test(name)).length, 1)
    t.ok(maps.includes('passerelle-clients') && maps.includes('passerelle-identity-providers'))
  }
})

t.test('Prometheus and Grafana get the rules and dashboards that we ship', async t => {
  t.equal(read('k8s/base/monitoring/rules.yaml'), fileOf(prometheusRule()), 'npm run k8s')
  const shipped = ['recording', 'alerts'].flatMap(name => parse(read(`grafana/rules/${name}.yaml`)).groups)
  const dashboards = readdirSync(`${root}grafana/dashboards`)
  for (const [name, objects] of overlays) {
    if (name === 'development') continue
    t.strictSame(find(objects, 'PrometheusRule').spec.groups, shipped)
    const found = objects.filter(({ metadata }) => metadata.labels?.['grafana_dashboard'] === '1').flatMap(({ data }) => Object.entries<string>(data))
    t.strictSame(found.map(([file]) => file).sort(), dashboards)
    for (const [file, content] of found) {
      t.equal(content, read(`grafana/dashboards/${file}`), file)
      t.ok(content.length < 250_000, `${file}: kubectl apply notes it in an annotation, which holds 256 KB`)
    }
  }
})

/** What the API of a cluster answers of one Secret. */
async function clusterWith (t: Test, data: Record<string, string> | undefined) {
  const cluster = { data, version: 1, requests: [] as string[], meanwhile: () => {} }
  const server = createServer(async (request, response) => {
    cluster.requests.push(`${request.method} ${request.url} ${request.headers.authorization}`)
    let text = ''
    for await (const chunk of request) text += chunk
    const answer = (status: number) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ metadata: { resourceVersion: String(cluster.version) }, data: cluster.data }))
    if (request.method === 'GET') {
      answer(200)
      return cluster.meanwhile()
    }
    const { metadata, data } = JSON.parse(text)
    if (request.headers['content-type'] !== 'application/merge-patch+json') return answer(415)
    if (metadata.resourceVersion !== String(cluster.version)) return answer(409)
    cluster.version++
    cluster.data = Object.fromEntries(Object.entries({ ...cluster.data, ...data }).filter(([, value]) => value !== null)) as Record<string, string>
    answer(200)
  })
  return { cluster, api: await apiOf(t, server) }
}

async function apiOf (t: Test, server: Server) {
  const { port } = await listen(t, server)
  return `http://127.0.0.1:${port}`
}

const now = 1_800_000_000
const filesOf = (directory: string) => Object.fromEntries(readdirSync(directory).map(file => [file, readFileSync(join(directory, file)).toString('base64')]))
function firstKeys (t: Test) {
  const directory = t.testdir()
  makeNextKeys(directory, now)
  return filesOf(directory)
}
const secret = { token: 'of-the-account', namespace: 'passerelle', name: 'passerelle-keys' }

t.test('keys in a Secret: without subject.json none is made, since with another every citizen is a stranger', async t => {
  const { 'subject.json': subject, ...rest } = firstKeys(t)
  for (const data of [undefined, {}, rest]) {
    const { cluster, api } = await clusterWith(t, data)
    await t.rejects(rotateSecret({ ...secret, api, now }), { name: 'KeysError', message: /expected subject\.json/ })
    t.strictSame(cluster.data, data)
  }
  t.ok(subject)
})

t.test('keys in a Secret: who wrote meanwhile is not overwritten', async t => {
  const data = firstKeys(t)
  const { cluster, api } = await clusterWith(t, data)
  cluster.meanwhile = () => { cluster.version++ }
  await t.rejects(rotateSecret({ ...secret, api, now: now + period.sealing }), { name: 'KeysError', message: /status 409/ })
  t.strictSame(cluster.data, data)
})

t.test('keys in a Secret: what the cluster refuses is told by its status, without a key in it', async t => {
  const server = createServer((request, response) => { response.writeHead(403).end('secret-text') })
  const error = await rotateSecret({ ...secret, api: await apiOf(t, server), now }).catch((error: Error) => error) as Error
  t.equal(error.message, 'GET of Secret passerelle-keys: status 403')
})

t.test('keys in a Secret: nothing is written while nothing is due; then what is due is made, and what is dead removed', async t => {
  const { cluster, api } = await clusterWith(t, firstKeys(t))
  const before = cluster.data!
  t.strictSame(await rotateSecret({ ...secret, api, now }), { made: [], removed: [] })
  t.strictSame(cluster.requests, ['GET /api/v1/namespaces/passerelle/secrets/passerelle-keys Bearer of-the-account'])

  const { made } = await rotateSecret({ ...secret, api, now: now + period.sealing, lead: 3600 })
  t.match(made, [/^a256gcm-/])
  t.strictSame(Object.keys(cluster.data!).sort(), [...Object.keys(before), ...made].sort())
  const directory = t.testdir()
  for (const [file, content] of Object.entries(cluster.data!)) writeFileSync(join(directory, file), Buffer.from(content, 'base64'))
  t.equal(listKeys(directory, now).find(({ file }) => file === made[0])!.nbf, now + period.sealing + 3600)

  const old = Object.keys(before).find(file => file.startsWith('a256gcm-'))!
  const { removed } = await rotateSecret({ ...secret, api, now: now + period.sealing + 3600 + afterlife.sealing })
  t.strictSame(removed, [old])
  t.notOk(old in cluster.data!)
  t.equal(cluster.data!['subject.json'], before['subject.json'])
})
