import type { Builder as Cog } from '@grafana/grafana-foundation-sdk/cog'
import {
  AnnotationQueryBuilder, DashboardBuilder, DashboardCursorSync, DashboardLinkBuilder, DashboardLinkType, DatasourceVariableBuilder, QueryVariableBuilder, VariableRefresh, VariableSort,
  type AnnotationQuery, type Dashboard
} from '@grafana/grafana-foundation-sdk/dashboard'
import { colours } from './colours.ts'
import { datasource, type Drawn } from './panels.ts'
import { scoped } from './scope.ts'

/** Every dashboard has it, and by it each is linked to the others. */
export const tag = 'passerelle'

interface Page {
  /** the end of its uid, and the name of its file */
  name: string
  title: string
  description: string
  /** how far back it looks unless told otherwise, such as `6h` */
  back: string
  refresh: string
  /** whose choice is offered beside environment and site */
  chooses?: ReadonlyArray<'client' | 'provider'>
  /** from top to bottom, each with its height */
  rows: ReadonlyArray<readonly [height: number, ...panels: Drawn[]]>
}

const all = { selected: true, text: ['All'], value: ['$__all'] }
/** A choice among the values of a label. By default all: also series that have no such label. */
const chosen = (name: string, label: string, values: string) => new QueryVariableBuilder(name).label(label).datasource(datasource).query({ query: `label_values(${values})`, refId: 'PrometheusVariableQueryEditor-VariableQuery' }).current(all)
  .includeAll(true).allValue('.*').multi(true).refresh(VariableRefresh.OnTimeRangeChanged).sort(VariableSort.NaturalAsc)

const choices = {
  client: chosen('client', 'Service', `${scoped('passerelle_client_logins_total')}, client_id`),
  provider: chosen('provider', 'Identity provider', `${scoped('passerelle_provider_breaker_state')}, idp`)
}

/** What happened, as a line through every curve; `titled` takes labels of the expression. */
function annotation (name: string, { colour, expr, titled, text }: { colour: string, expr: string, titled: string, text: string }): Cog<AnnotationQuery> {
  const query = new AnnotationQueryBuilder().name(name).datasource(datasource).enable(true).iconColor(colour).expr(scoped(expr))
  return { build: () => Object.assign(query.build(), { step: '60s', titleFormat: titled, textFormat: text, useValueForTime: false }) }
}

const annotations = [
  annotation('Releases', { colour: colours.blue, expr: 'count by (version, node) (passerelle_build_info) unless count by (version, node) (passerelle_build_info offset 2m)', titled: 'Release {{version}}', text: 'on Node.js {{node}}' }),
  annotation('Starts of replicas', { colour: colours.grey, expr: '(time() - process_start_time_seconds) < 90', titled: 'Replica started', text: '{{site}} {{instance}}' }),
  annotation('Breakers', { colour: colours.vermilion, expr: 'sum by (idp, state) (increase(passerelle_provider_breaker_transitions_total[1m])) > 0', titled: 'Breaker of {{idp}}: {{state}}', text: 'docs/runbooks/provider-down.md' }),
  annotation('Configuration reloads', { colour: colours.purple, expr: 'sum by (outcome) (increase(passerelle_configuration_reloads_total{outcome!="unchanged"}[1m])) > 0', titled: 'Configuration: {{outcome}}', text: 'docs/reload.md' })
]

/** A dashboard whose panels stand side by side in rows. */
export function dashboard ({ name, title, description, back, refresh, chooses = [], rows }: Page): Dashboard {
  const builder = new DashboardBuilder(`Passerelle: ${title}`).uid(`${tag}-${name}`).description(description).tags([tag]).timezone('browser').tooltip(DashboardCursorSync.Crosshair)
    .time({ from: `now-${back}`, to: 'now' }).refresh(refresh).annotations(annotations)
    .link(new DashboardLinkBuilder('Passerelle').type(DashboardLinkType.Dashboards).tags([tag]).includeVars(true).keepTime(true))
    .withVariable(new DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'))
    .withVariable(chosen('environment', 'Environment', 'passerelle_build_info, environment'))
    .withVariable(chosen('site', 'Site', 'passerelle_build_info{environment=~"$environment"}, site'))
  for (const choice of chooses) builder.withVariable(choices[choice])

  let [y, id] = [0, 0]
  for (const [height, ...panels] of rows) {
    let x = 0
    for (const { width, builder: panel } of panels) {
      builder.withPanel(panel.id(++id).gridPos({ x, y, w: width, h: height }))
      x += width
    }
    y += height
  }
  return builder.build()
}
