import { PanelBuilder as BarGauge } from '@grafana/grafana-foundation-sdk/bargauge'
import * as common from '@grafana/grafana-foundation-sdk/common'
import { FieldColorBuilder, FieldColorModeId, MappingType, ThresholdsConfigBuilder, ThresholdsMode, type DynamicConfigValue, type ValueMapping } from '@grafana/grafana-foundation-sdk/dashboard'
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus'
import { PanelBuilder as Stat } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as StateTimeline } from '@grafana/grafana-foundation-sdk/statetimeline'
import { PanelBuilder as Table } from '@grafana/grafana-foundation-sdk/table'
import { PanelBuilder as TimeSeries } from '@grafana/grafana-foundation-sdk/timeseries'
import { bad, good, plain, warn, type Looks } from './colours.ts'
import { scoped } from './scope.ts'

export type Builder = Stat | TimeSeries | Table | BarGauge | StateTimeline

export const datasource = { type: 'prometheus', uid: '$datasource' }

/** An expression, and what its series are called. */
export interface Query { expr: string, legend?: string }

/** Less than anything that is counted. */
const trace = 1e-6

/** Colours from a value on, the lowest first. */
export type Steps = ReadonlyArray<readonly [from: number | null, colour: string]>
export const noJudgement: Steps = [[null, plain]]
/** The more, the worse. */
export const worseAbove = (warnAt: number, badAt: number): Steps => [[null, good], [warnAt, warn], [badAt, bad]]
/** The less, the worse: bad below the one, good from the other on. */
export const worseBelow = (badBelow: number, goodFrom: number): Steps => [[null, bad], [badBelow, warn], [goodFrom, good]]
/** More than nothing is bad. */
export const noneIsGood: Steps = [[null, good], [trace, bad]]

/** What a value is called. */
export type Words = Record<number, readonly [text: string, colour: string]>

interface Said {
  title: string
  /** what it shows, what good looks like, and what to do */
  description: string
  /** the page of docs/runbooks that says more */
  runbook?: string
  unit: string
  decimals?: number
  steps?: Steps
  /** of 24 */
  width: number
  /** what stands there when nothing can be shown */
  nothing?: string
}

/** A panel that has no place yet. */
export interface Drawn { width: number, builder: Builder }

const thresholds = (steps: Steps) => new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps.map(([value, color]) => ({ value, color })))
const letter = (index: number) => String.fromCharCode(65 + index)

/** Values by their words. */
export const valuesAs = (words: Words): ValueMapping[] => [{ type: MappingType.ValueToText, options: Object.fromEntries(Object.entries(words).map(([value, [text, color]], index) => [value, { text, color, index }])) }]
/** Ranges by their words: from the one bound to the next. */
export const rangesAs = (...ranges: Array<readonly [from: number | null, to: number | null, text: string, color: string]>): ValueMapping[] => ranges.map(([from, to, text, color], index) => ({ type: MappingType.RangeToText, options: { from, to, result: { text, color, index } } }))
/** None is well, and how many are not is told in words. */
export const howMany = (none: string, one: string, some: string): ValueMapping[] => rangesAs([0, 0, none, good], [trace, 1.5, one, bad], [1.5, null, some, bad])
/** Nothing at all is well; however little there is, it is not. */
export const isThere = (no: string, yes: string, colour = bad): ValueMapping[] => rangesAs([null, 0, no, good], [trace, null, yes, colour])

function dress<B extends Builder> (builder: B, { title, description, runbook, unit, decimals, steps = noJudgement, width, nothing }: Said, queries: DataqueryBuilder[]): { width: number, builder: B } {
  builder.title(title).description(runbook === undefined ? description : `${description} Runbook: docs/runbooks/${runbook}.md.`).datasource(datasource).unit(unit).thresholds(thresholds(steps))
  if (decimals !== undefined) builder.decimals(decimals)
  if (nothing !== undefined) builder.noValue(nothing)
  for (const [index, query] of queries.entries()) builder.withTarget(query.refId(letter(index)).datasource(datasource))
  return { width, builder }
}

const instant = ({ expr, legend }: Query) => new DataqueryBuilder().expr(scoped(expr)).instant().legendFormat(legend ?? '')
const ranged = ({ expr, legend }: Query) => new DataqueryBuilder().expr(scoped(expr)).range().legendFormat(legend ?? '')
const columned = (expr: string) => new DataqueryBuilder().expr(scoped(expr)).instant().format(PromQueryFormat.Table)

function look (builder: Builder, looks: Looks) {
  for (const [name, { colour, text }] of Object.entries(looks)) {
    builder.overrideByName(name, [
      ...text === undefined ? [] : [{ id: 'displayName', value: text }],
      ...colour === undefined ? [] : [{ id: 'color', value: { mode: FieldColorModeId.Fixed, fixedColor: colour } }]
    ])
  }
}

const lastValue = () => new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false)

/** One value or a few, seen from far away. */
export function stat ({ queries, words, named = false, ...said }: Said & { queries: Query[], words?: ValueMapping[], /** whether the name of a series stands beside its value, also where it is alone */ named?: boolean }): Drawn {
  const drawn = dress(new Stat(), said, queries.map(instant))
  drawn.builder.colorMode(common.BigValueColorMode.Background).graphMode(common.BigValueGraphMode.None).reduceOptions(lastValue())
    .textMode(named ? common.BigValueTextMode.ValueAndName : common.BigValueTextMode.Auto).colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
  if (words !== undefined) drawn.builder.mappings(words)
  return drawn
}

interface Curve extends Said {
  queries: Query[]
  looks?: Looks
  /** whether what is drawn adds up */
  stacked?: boolean
  bars?: boolean
  /** whether its steps are drawn as lines, too */
  limits?: boolean
  min?: number
  max?: number
  /** the shortest step, such as `1d` */
  every?: string
}

/** What went on over time. */
export function curve ({ queries, looks = {}, stacked = false, bars = false, limits = false, min, max, every, ...said }: Curve): Drawn {
  const drawn = dress(new TimeSeries(), said, queries.map(ranged))
  const { builder } = drawn
  builder.lineWidth(bars ? 0 : 2).fillOpacity(bars ? 80 : stacked ? 40 : 0).showPoints(common.VisibilityMode.Never).drawStyle(bars ? common.GraphDrawStyle.Bars : common.GraphDrawStyle.Line)
    .legend(new common.VizLegendOptionsBuilder().displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).showLegend(true).calcs([]))
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending))
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassicByName))
    .thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(limits ? common.GraphThresholdsStyleMode.Dashed : common.GraphThresholdsStyleMode.Off))
  if (stacked) builder.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal).group('A'))
  if (min !== undefined) builder.min(min)
  if (max !== undefined) builder.max(max)
  if (every !== undefined) builder.interval(every)
  look(builder, looks)
  return drawn
}

/** One bar for each series, as they come. */
export function bars ({ queries, looks = {}, min = 0, max, ...said }: Said & { queries: Query[], looks?: Looks, min?: number, max?: number }): Drawn {
  const drawn = dress(new BarGauge(), said, queries.map(instant))
  const { builder } = drawn
  builder.orientation(common.VizOrientation.Horizontal).displayMode(common.BarGaugeDisplayMode.Basic).valueMode(common.BarGaugeValueMode.Text).reduceOptions(lastValue()).min(min)
    .namePlacement(common.BarGaugeNamePlacement.Left).colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
  if (max !== undefined) builder.max(max)
  look(builder, looks)
  return drawn
}

/** A column of a table: a label, or what an expression gives for each row. */
export interface Column { title: string, expr?: string, label?: string, unit?: string, decimals?: number, steps?: Steps, words?: ValueMapping[], width?: number }

/** One row for each set of labels, with what each expression gives for it. */
export function table ({ columns, sort, ...said }: Said & { columns: Column[], /** the column by which it is sorted, the greatest first unless it is told */ sort?: { by: string, ascending?: boolean } }): Drawn {
  const asked = columns.filter(({ expr }) => expr !== undefined)
  const drawn = dress(new Table(), said, asked.map(({ expr }) => columned(expr!)))
  const { builder } = drawn
  const field = ({ label, expr }: Column) => label ?? (asked.length > 1 ? `Value #${letter(asked.findIndex(column => column.expr === expr))}` : 'Value')
  builder.withTransformation({ id: 'merge', options: {} }).withTransformation({
    id: 'organize',
    options: {
      excludeByName: { Time: true },
      includeByName: {},
      indexByName: Object.fromEntries(columns.map((column, index) => [field(column), index])),
      renameByName: Object.fromEntries(columns.map(column => [field(column), column.title]))
    }
  })
  for (const { title, unit, decimals, steps, words, width } of columns) {
    const properties: DynamicConfigValue[] = [
      ...unit === undefined ? [] : [{ id: 'unit', value: unit }],
      ...decimals === undefined ? [] : [{ id: 'decimals', value: decimals }],
      ...words === undefined ? [] : [{ id: 'mappings', value: words }],
      ...steps === undefined ? [] : [{ id: 'thresholds', value: thresholds(steps).build() }],
      ...steps === undefined && words === undefined ? [] : [{ id: 'custom.cellOptions', value: { type: common.TableCellDisplayMode.ColorText } }],
      ...width === undefined ? [] : [{ id: 'custom.width', value: width }]
    ]
    if (properties.length > 0) builder.overrideByName(title, properties)
  }
  if (sort !== undefined) builder.sortBy([new common.TableSortByFieldStateBuilder().displayName(sort.by).desc(sort.ascending !== true)])
  builder.cellHeight(common.TableCellHeight.Sm).colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
  return drawn
}

/** Which state was in force when. */
export function timeline ({ queries, words, ...said }: Said & { queries: Query[], words: ValueMapping[] }): Drawn {
  const drawn = dress(new StateTimeline(), said, queries.map(ranged))
  drawn.builder.mappings(words).mergeValues(true).showValue(common.VisibilityMode.Auto).rowHeight(0.8).fillOpacity(90).lineWidth(0)
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds)).legend(new common.VizLegendOptionsBuilder().displayMode(common.LegendDisplayMode.List).placement(common.LegendPlacement.Bottom).showLegend(true).calcs([]))
  return drawn
}
