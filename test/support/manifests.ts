import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { parseAllDocuments } from 'yaml'

/** An object of a cluster, as kustomize renders it. */
export interface Manifest { apiVersion: string, kind: string, metadata: { name: string, namespace?: string, labels?: Record<string, string> }, [field: string]: any }

const root = fileURLToPath(new URL('../../', import.meta.url))
const run = promisify(execFile)

/** What `kubectl kustomize` makes of a directory. @throws {Error} where there is no kubectl, or it renders nothing */
export async function rendered (directory: string): Promise<Manifest[]> {
  const { stdout } = await run('kubectl', ['kustomize', root + directory], { maxBuffer: 2 ** 26 })
  return parseAllDocuments(stdout).map(document => document.toJS())
}

const packages: Record<string, string> = {
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api',
  'external-secrets.io': '@kubernetes-models/external-secrets'
}

/** The module with the model of a kind, undefined where nobody knows such a kind. */
function moduleOf ({ apiVersion, kind }: Manifest) {
  const module = `${packages[apiVersion.split('/')[0]!] ?? 'kubernetes-models'}/${apiVersion}/${kind}`
  return existsSync(`${root}node_modules/${module}.js`) ? module : undefined
}

/** What the API server would say of each object: the models check values, but let fields pass that they do not know, so the compiler reads each object as its type. */
export async function schemaFaults (objects: Manifest[]): Promise<string[][]> {
  const faults: string[][] = objects.map(() => [])
  const lines: string[] = []
  for (const [at, object] of objects.entries()) {
    const module = moduleOf(object)
    if (module === undefined) faults[at]!.push(`${object.apiVersion} ${object.kind}: no such kind`)
    else {
      const { [object.kind]: Model } = await import(module)
      try { new Model(object).validate() } catch (error) { faults[at]!.push(`${object.kind} ${object.metadata.name}: ${(error as Error).message}`) }
      lines[at] = `export const o${at}: import(${JSON.stringify(module)}).I${object.kind} = ${JSON.stringify(object)}`
    }
  }
  for (const { at, message } of typeFaults(Array.from(objects, (_, at) => lines[at] ?? ''))) faults[at]!.push(`${objects[at]!.kind} ${objects[at]!.metadata.name}: ${message}`)
  return faults
}

function typeFaults (lines: string[]) {
  const file = `${root}manifests.ts`
  const options: ts.CompilerOptions = { strict: true, noEmit: true, skipLibCheck: true, types: [], target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }
  const host = ts.createCompilerHost(options)
  const { getSourceFile, fileExists } = host
  host.getSourceFile = (name, ...more) => name === file ? ts.createSourceFile(name, lines.join('\n'), ts.ScriptTarget.ES2022) : getSourceFile(name, ...more)
  host.fileExists = name => name === file || fileExists(name)
  const program = ts.createProgram([file], options, host)
  return ts.getPreEmitDiagnostics(program, program.getSourceFile(file)).map(({ file: source, start = 0, messageText }) => ({
    at: source!.getLineAndCharacterOfPosition(start).line,
    message: ts.flattenDiagnosticMessageText(messageText, ' ')
  }))
}

/** What the rules are held against beside the objects themselves. */
export interface Expected {
  /** replicas at least */
  least: number
  /** of the settings in force */
  settings: { issuer: string, listen: { port: number }, operations: { port: number }, drain: { wait_seconds: number, finish_seconds: number } }
  /** whether the operations port has such a route */
  hasRoute (path: string): boolean
  /** names of variables that somebody reads */
  variables: Set<string>
  metrics: Set<string>
  /** every way in or out that is wanted, as `waysOf` writes them */
  ways: string[]
}

/** Our own rules: everything in a set of manifests that is not as it has to be. */
export function policyFaults (objects: Manifest[], { least, settings, hasRoute, variables, metrics, ways }: Expected): string[] {
  const faults: string[] = []
  const claim = (holds: unknown, fault: string) => { if (!holds) faults.push(fault) }
  const all = (kind: string) => objects.filter(object => object.kind === kind)
  const named = (kind: string, name: string) => all(kind).find(({ metadata }) => metadata.name === name)
  const clusterWide = ['Namespace', 'PriorityClass']
  for (const { apiVersion, kind, metadata } of objects) claim(apiVersion.split('/')[0]! in packages || /(^|\/)v\d+$/.test(apiVersion), `${kind} ${metadata.name}: ${apiVersion} may be gone`)
  for (const { kind, metadata } of objects) claim(clusterWide.includes(kind) || metadata.namespace === 'passerelle', `${kind} ${metadata.name}: another namespace`)

  const workloads = [
    ...all('Deployment').map(({ metadata, spec }) => ({ name: metadata.name, template: spec.template })),
    ...all('CronJob').map(({ metadata, spec }) => ({ name: metadata.name, template: spec.jobTemplate.spec.template }))
  ]
  const selected = (labels: Record<string, string> = {}) => workloads.filter(({ template }) => Object.entries(labels).every(([label, value]) => template.metadata.labels[label] === value))
  const portsOf = (labels?: Record<string, string>) => selected(labels).flatMap(({ template }) => template.spec.containers.flatMap(({ ports = [] }: any) => ports))

  for (const { name, template: { spec: pod } } of workloads) {
    const { securityContext: context = {}, volumes = [], containers } = pod
    claim(context.runAsNonRoot === true && context.runAsUser > 0 && context.runAsGroup > 0, `${name}: may run as root`)
    claim(context.seccompProfile?.type === 'RuntimeDefault', `${name}: no seccomp profile`)
    claim(pod.automountServiceAccountToken === false, `${name}: a token is mounted`)
    claim(pod.enableServiceLinks === false, `${name}: service links in its environment`)
    claim(!pod.hostNetwork && !pod.hostPID && !pod.hostIPC && !volumes.some(({ hostPath }: any) => hostPath), `${name}: shares something of its node`)
    claim(named('ServiceAccount', pod.serviceAccountName)?.automountServiceAccountToken === false, `${name}: no account of its own without a token`)
    claim(pod.priorityClassName === undefined || named('PriorityClass', pod.priorityClassName), `${name}: no such priority`)
    for (const { configMap, secret } of volumes) {
      if (configMap !== undefined) claim(named('ConfigMap', configMap.name), `${name}: no ConfigMap ${configMap.name}`)
      if (secret !== undefined) {
        claim(secret.secretName === 'passerelle-keys' || named('Secret', secret.secretName) || all('ExternalSecret').some(({ spec }) => spec.target.name === secret.secretName), `${name}: no Secret ${secret.secretName}`)
        claim((secret.defaultMode & 0o7) === 0, `${name}: everybody may read the Secret ${secret.secretName}`)
      }
    }
    for (const { name: part, image, command = [], env = [], resources = {}, securityContext: own = {}, volumeMounts = [] } of containers) {
      const where = `${name}/${part}`
      claim(/^[\w./-]+:\d+\.\d+\.\d+$|@sha256:[0-9a-f]{64}$/.test(image), `${where}: its image is not pinned`)
      claim(own.allowPrivilegeEscalation === false && own.privileged !== true, `${where}: may become root`)
      claim(own.runAsUser === undefined && own.runAsNonRoot === undefined, `${where}: another user than its pod`)
      claim(own.readOnlyRootFilesystem === true, `${where}: can write to its root`)
      claim(own.capabilities?.drop?.includes('ALL') && own.capabilities.add === undefined, `${where}: keeps capabilities`)
      claim(resources.requests?.cpu && resources.requests.memory && resources.limits?.memory, `${where}: no requests, or no limit of memory`)
      claim(resources.limits?.cpu === undefined, `${where}: a limit of CPU`)
      claim(command[0] === 'node' && existsSync(root + command[1]), `${where}: there is no ${command[1]}`)
      for (const { name: variable } of env) claim(variables.has(variable), `${where}: nobody reads ${variable}`)
      for (const mount of volumeMounts) {
        const volume = volumes.find(({ name: other }: any) => other === mount.name)
        claim(volume, `${where}: no volume ${mount.name}`)
        claim(mount.subPath === undefined || /-[a-z0-9]{10}$/.test(volume?.configMap?.name), `${where}: ${mount.mountPath} would never be updated`)
      }
    }
    claim(all('NetworkPolicy').some(({ spec }) => Object.keys(spec.podSelector).length > 0 && selected(spec.podSelector.matchLabels).some(other => other.name === name)), `${name}: no NetworkPolicy of its own`)
  }

  for (const { metadata: { name }, spec } of all('Deployment')) {
    const pod = spec.template.spec
    const [container] = pod.containers
    const matches = (selector: any) => selected(selector?.matchLabels).some(other => other.name === name)
    const scaler = all('HorizontalPodAutoscaler').find(({ spec }) => spec.scaleTargetRef.kind === 'Deployment' && spec.scaleTargetRef.name === name)
    claim(matches(spec.selector), `${name}: its selector does not match its pods`)
    claim(scaler && spec.replicas === undefined, `${name}: replicas that an autoscaler does not keep`)
    claim(scaler?.spec.minReplicas >= least, `${name}: less than ${least} replicas`)
    claim(spec.strategy?.rollingUpdate?.maxUnavailable === 0 && spec.strategy.rollingUpdate.maxSurge >= 1, `${name}: a rollout takes replicas away`)
    claim(pod.topologySpreadConstraints?.some(({ topologyKey, labelSelector, whenUnsatisfiable }: any) => topologyKey === 'topology.kubernetes.io/zone' && matches(labelSelector) && (whenUnsatisfiable === 'DoNotSchedule' || least < 3)), `${name}: not spread over zones`)
    const { wait_seconds: wait, finish_seconds: finish } = settings.drain
    claim(pod.terminationGracePeriodSeconds >= wait + finish + 5, `${name}: killed before it has drained`)
    claim(Number(container.env.find((variable: any) => variable.name === 'UV_THREADPOOL_SIZE')?.value) >= 32, `${name}: too few threads`)
    claim(bytes(container.resources?.limits?.memory) > 1e9, `${name}: ends before the alert on memory`)
    for (const [probe, path] of [['startupProbe', '/livez'], ['livenessProbe', '/livez'], ['readinessProbe', '/readyz']] as const) {
      const { httpGet } = container[probe] ?? {}
      claim(httpGet, `${name}: no ${probe}`)
      claim(httpGet?.path === path && hasRoute(path), `${name}: ${probe} asks ${httpGet?.path}`)
      claim(container.ports.some((port: any) => port.name === httpGet?.port && port.name === 'operations'), `${name}: ${probe} has no such port`)
    }
    const { livenessProbe: live = {} } = container
    claim(live.periodSeconds * live.failureThreshold >= 30, `${name}: restarted for a blocked event loop`)
    for (const [port, number] of [['public', settings.listen.port], ['operations', settings.operations.port]] as const) claim(container.ports.some((own: any) => own.name === port && own.containerPort === number), `${name}: its port ${port} is another than in its settings`)
    claim(all('PodDisruptionBudget').some(({ spec }) => matches(spec.selector) && spec.maxUnavailable === 1), `${name}: no budget for disruptions`)
  }

  for (const { metadata: { name }, spec } of all('Service')) {
    claim(selected(spec.selector).length === 1, `Service ${name}: selects nothing, or too much`)
    claim(spec.type === undefined || spec.type === 'ClusterIP', `Service ${name}: open to the outside`)
    for (const { targetPort } of spec.ports) claim(portsOf(spec.selector).some((port: any) => port.name === targetPort), `Service ${name}: no port ${targetPort}`)
    claim(spec.ports.length === 1, `Service ${name}: more than one port`)
  }
  const leads = (name: string, port: string | number) => named('Service', name)?.spec.ports.some((own: any) => (own.name === port || own.port === port) && own.targetPort === 'public')
  const { hostname, pathname } = new URL(settings.issuer)
  const entries = [
    ...all('HTTPRoute').flatMap(({ spec }) => spec.rules.flatMap((rule: any) => rule.backendRefs.flatMap((backend: any) => rule.matches.map(({ path }: any) => ({ hosts: spec.hostnames, path: path.value, service: backend.name, port: backend.port }))))),
    ...all('Ingress').flatMap(({ spec }) => spec.rules.flatMap((rule: any) => rule.http.paths.map(({ path, backend: { service } }: any) => ({ hosts: [rule.host], path, service: service.name, port: service.port.name ?? service.port.number }))))
  ]
  claim(entries.length === 1, 'not one way from outside')
  for (const { hosts, path, service, port } of entries) {
    claim(leads(service, port), `from outside: no public port ${port} of ${service}`)
    claim(hosts.length === 1 && hosts[0] === hostname && path === pathname, `from outside: ${hosts}${path} is not the issuer`)
  }

  for (const { metadata: { name }, spec } of all('HorizontalPodAutoscaler')) {
    claim(spec.maxReplicas > spec.minReplicas, `${name}: cannot grow`)
    for (const { pods } of spec.metrics) claim(pods === undefined || metrics.has(pods.metric.name), `${name}: no metric ${pods?.metric.name}`)
    claim(spec.metrics.some(({ resource }: any) => resource?.name === 'cpu'), `${name}: does not look at CPU`)
    claim(spec.behavior.scaleUp.stabilizationWindowSeconds === 0 && spec.behavior.scaleDown.stabilizationWindowSeconds >= 600, `${name}: grows too slowly, or shrinks too fast`)
  }
  for (const { metadata: { name }, spec } of all('PodMonitor')) {
    for (const { port, path, relabelings = [] } of spec.podMetricsEndpoints) {
      claim(portsOf(spec.selector.matchLabels).some((own: any) => own.name === port), `PodMonitor ${name}: no port ${port}`)
      claim(hasRoute(path), `PodMonitor ${name}: no route ${path}`)
      claim(relabelings.some(({ targetLabel, replacement }: any) => targetLabel === 'job' && replacement === 'passerelle'), `PodMonitor ${name}: another job than the rules have`)
      for (const label of ['environment', 'site', 'instance']) claim(relabelings.some(({ targetLabel }: any) => targetLabel === label), `PodMonitor ${name}: no label ${label}`)
    }
  }
  for (const { metadata: { name }, spec } of all('ScrapeConfig')) {
    claim(hasRoute(spec.metricsPath), `ScrapeConfig ${name}: no route ${spec.metricsPath}`)
    claim(spec.relabelings.some(({ targetLabel, replacement }: any) => targetLabel === 'job' && replacement === 'passerelle-citizens'), `ScrapeConfig ${name}: another job than the panels have`)
    for (const { targets } of spec.staticConfigs) {
      for (const target of targets) claim(all('Service').some(({ metadata, spec }) => target === `${metadata.name}.${metadata.namespace}.svc:${spec.ports[0].port}` && spec.ports[0].targetPort === 'operations'), `ScrapeConfig ${name}: no Service ${target}`)
    }
  }
  for (const { metadata: { name }, rules } of all('Role')) {
    for (const { resources, resourceNames = [], verbs } of rules) claim(String(resources) === 'secrets' && String(resourceNames) === 'passerelle-keys' && String(verbs) === 'get,patch', `Role ${name}: more rights than get and patch of one Secret`)
  }
  claim(all('ClusterRole').length + all('ClusterRoleBinding').length === 0, 'rights in the whole cluster')
  for (const { metadata: { name }, roleRef, subjects } of all('RoleBinding')) claim(named(roleRef.kind, roleRef.name) && subjects.every((subject: any) => named(subject.kind, subject.name)), `RoleBinding ${name}: binds what is not there`)
  for (const { metadata: { name }, spec } of all('CronJob')) {
    claim(spec.concurrencyPolicy === 'Forbid', `${name}: may run twice at a time`)
    claim(spec.jobTemplate.spec.activeDeadlineSeconds >= 30, `${name}: is not given its time, or no end`)
  }

  const found = waysOf(objects)
  for (const way of found) claim(ways.includes(way), `open: ${way}`)
  for (const way of ways) claim(found.includes(way), `closed: ${way}`)
  return faults
}

/** All that NetworkPolicies let through, a line each. */
export function waysOf (objects: Manifest[]) {
  const peer = ({ ipBlock, namespaceSelector, podSelector }: any) => ipBlock !== undefined
    ? [ipBlock.cidr, ...ipBlock.except ?? []].join(' -')
    : [...Object.values(namespaceSelector?.matchLabels ?? {}), ...Object.values(podSelector?.matchLabels ?? {})].join('/') || 'everybody'
  return objects.filter(({ kind }) => kind === 'NetworkPolicy').flatMap(({ spec: { podSelector: { matchLabels }, policyTypes = [], ingress, egress } }) => {
    const whose = matchLabels?.['app.kubernetes.io/component'] ?? 'all'
    const flat = (direction: 'from' | 'to', type: string, rules: any[] = []) => (policyTypes.includes(type) ? rules : [{}]).flatMap(rule => (rule[direction] ?? [{}]).flatMap((other: any) =>
      (rule.ports ?? [{ protocol: 'any', port: 'any' }]).map(({ protocol, port }: any) => `${whose} ${direction} ${peer(other)} ${protocol} ${port}`)))
    return [...flat('from', 'Ingress', ingress), ...flat('to', 'Egress', egress), ...(matchLabels === undefined ? ['all: nothing else'] : [])]
  })
}

const bytes = (quantity = '') => Number.parseInt(quantity) * ({ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, M: 1e6, G: 1e9 }[quantity.replace(/^\d+/, '')] ?? 1)
