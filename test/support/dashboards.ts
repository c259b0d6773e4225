import type { Dashboard, Panel, ValueMapping } from '@grafana/grafana-foundation-sdk/dashboard'
import type { dataquery } from '@grafana/grafana-foundation-sdk/prometheus'
import { dashboards } from '../../grafana/make.ts'

/** Rows are not made: everything in a dashboard is a panel. */
export const panelsOf = (dashboard: Dashboard) => dashboard.panels as Panel[]
export const queriesOf = (panel: Panel) => panel.targets as dataquery[]
/** What a field of a panel is drawn by, unless it has something of its own. */
export const defaultsOf = (panel: Panel) => panel.fieldConfig!.defaults
/** Every panel of every dashboard, with the name of that. */
export const everyPanel = Object.entries(dashboards).flatMap(([name, dashboard]) => panelsOf(dashboard).map(panel => ({ name, dashboard, panel, where: `${name}: ${panel.title}` })))
/** Every expression that is drawn, as it is written. */
export const everyQuery = everyPanel.flatMap(({ panel, where, ...rest }) => queriesOf(panel).map(query => ({ ...rest, panel, query, expr: query.expr, where: `${where} (${query.refId})` })))
export const annotationsOf = (dashboard: Dashboard) => dashboard.annotations!.list!
export const mappingsOf = (panel: Panel): ValueMapping[] => [...defaultsOf(panel).mappings ?? [], ...panel.fieldConfig!.overrides.flatMap(({ properties }) => properties.filter(({ id }) => id === 'mappings').flatMap(({ value }) => value as ValueMapping[]))]

/** An expression as Grafana would send it: everything chosen, these windows in place of its own. */
export const filled = (expr: string, { rate, range }: { rate: string, range: string }) => Object.entries({ $__rate_interval: rate, $__range: range, $environment: '.*', $site: '.*', $client: '.*', $provider: '.*' })
  .reduce((text, [variable, value]) => text.replaceAll(variable, value), expr)
