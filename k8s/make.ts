import { readFileSync, writeFileSync } from 'node:fs'
import { parse, stringify } from 'yaml'

// npm run k8s: the rules of grafana/rules as the object that the Prometheus operator reads. kustomize can make a ConfigMap of a file, and nothing else.

const rulesIn = (name: string): object[] => parse(readFileSync(new URL(`../grafana/rules/${name}.yaml`, import.meta.url), 'utf8')).groups

/** Every rule that we ship, as one PrometheusRule. */
export const prometheusRule = () => ({
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'PrometheusRule',
  metadata: { name: 'passerelle', namespace: 'passerelle', labels: { 'app.kubernetes.io/name': 'passerelle' } },
  spec: { groups: ['recording', 'alerts'].flatMap(rulesIn) }
})

/** An object as its file has it. */
export const fileOf = (object: object) => `# Made by \`npm run k8s\` from grafana/rules: change it there.\n${stringify(object, { lineWidth: 0 })}`

if (import.meta.main) writeFileSync(new URL('base/monitoring/rules.yaml', import.meta.url), fileOf(prometheusRule()))
