import type { Dashboard, Panel, Threshold, ValueMapping } from '@grafana/grafana-foundation-sdk/dashboard'
import type { dataquery } from '@grafana/grafana-foundation-sdk/prometheus'
import { colours } from '../../grafana/colours.ts'
import { annotationsOf, defaultsOf, filled, panelsOf, queriesOf } from '../support/dashboards.ts'
import type { Prometheus, Series } from '../support/prometheus.ts'
import { figureOf } from './figure.ts'

/** From when to when, in seconds, and how far the points of a curve are apart. */
export interface Span { start: number, end: number, step: number }

/** A value in its words, and the colour that it has. */
interface Shown { text: string, colour: string }
interface Line { name: string, colour: string, values: Array<number | null> }

export interface Mark { at: number, text: string, colour: string }
/** A panel with what it shows. */
export interface Drawing {
  title: string
  place: { x: number, y: number, w: number, h: number }
  /** what stands there when there is nothing */
  nothing: string
  isEmpty: boolean
  unit: string
  stat?: Array<Shown & { name: string, isNamed: boolean }>
  bars?: Array<Shown & { name: string, share: number }>
  table?: { heads: string[], rows: Shown[][] }
  timeline?: Array<{ name: string, parts: Array<Shown & { from: number, to: number }> }>
  curve?: { at: number[], lines: Line[], isStacked: boolean, isBars: boolean, limits: Array<{ value: number, colour: string }>, min: number | null, max: number | null }
}

const palette = [colours.blue, colours.orange, colours.green, colours.purple, colours.sky, colours.vermilion, colours.yellow, colours.grey]

/** What a field is drawn by: that of the panel, with its own laid over it. */
interface Field { unit: string, decimals?: number | undefined, steps: Threshold[], mappings: ValueMapping[], isColoured: boolean, name: string, colour?: string | undefined }

function fieldOf (panel: Panel, name: string): Field {
  const { unit = 'none', decimals, thresholds, mappings = [] } = defaultsOf(panel)
  const own = new Map(panel.fieldConfig!.overrides.filter(({ matcher }) => matcher.id === 'byName' && matcher.options === name).flatMap(({ properties }) => properties.map(({ id, value }) => [id, value])))
  return {
    unit: own.get('unit') ?? unit,
    decimals: own.get('decimals') ?? decimals,
    steps: (own.get('thresholds') ?? thresholds).steps,
    mappings: own.get('mappings') ?? mappings,
    isColoured: panel.type !== 'table' || own.has('custom.cellOptions'),
    name: own.get('displayName') ?? name,
    colour: own.get('color')?.fixedColor
  }
}

const within = (value: number, { from, to }: { from: number | null, to: number | null }) => value >= (from ?? -Infinity) && value <= (to ?? Infinity)

function shown (value: number | string, { mappings, steps, unit, decimals, isColoured }: Field): Shown {
  for (const mapping of mappings) {
    const result = mapping.type === 'value' ? mapping.options[String(value)] : mapping.type === 'range' && typeof value === 'number' && within(value, mapping.options) ? mapping.options.result : undefined
    if (result !== undefined) return { text: result.text!, colour: result.color ?? '' }
  }
  if (typeof value === 'string') return { text: value, colour: '' }
  return { text: figureOf(value, unit, decimals ?? undefined), colour: isColoured ? steps.findLast(step => step.value === null || value >= step.value)!.color : '' }
}

const nameOf = ({ legendFormat }: dataquery, { metric }: Series) => (legendFormat ?? '').replace(/\{\{(\w+)\}\}/g, (whole, label: string) => metric[label] ?? '').trim()
const valueOf = ({ value }: Series) => Number(value![1])

/** Asks Prometheus what a panel shows, and makes of it what Grafana would. */
async function drawingOf (panel: Panel, prometheus: Prometheus, span: Span): Promise<Drawing> {
  const windows = { rate: '10s', range: `${Math.round(span.end - span.start)}s` }
  const now = async (query: dataquery) => (await prometheus.now(filled(query.expr, windows), span.end)).filter(series => Number.isFinite(valueOf(series)))
  const asked = queriesOf(panel)
  const { x, y, w, h } = panel.gridPos!
  const options = panel.options as Record<string, unknown>
  const base = { title: panel.title!, place: { x, y, w, h }, nothing: defaultsOf(panel).noValue ?? 'No data', unit: defaultsOf(panel).unit! }

  if (panel.type === 'table') {
    const table = await tableOf(panel, await Promise.all(asked.map(now)))
    return { ...base, isEmpty: table.rows.length === 0, table }
  }
  if (panel.type === 'stat' || panel.type === 'bargauge') {
    const values = (await Promise.all(asked.map(async query => (await now(query)).map(series => {
      const field = fieldOf(panel, nameOf(query, series))
      return { name: field.name, value: valueOf(series), ...shown(valueOf(series), field) }
    })))).flat()
    if (panel.type === 'stat') return { ...base, isEmpty: values.length === 0, stat: values.map(value => ({ ...value, isNamed: options['textMode'] === 'value_and_name' || values.length > 1 })) }
    const [min, max] = [defaultsOf(panel).min ?? 0, defaultsOf(panel).max ?? Math.max(...values.map(({ value }) => value))]
    return { ...base, isEmpty: values.length === 0, bars: values.map(bar => ({ ...bar, share: Math.min(1, Math.max(0, (bar.value - min) / (max - min || 1))) })) }
  }

  const { start, end, step } = panel.interval === '1d' ? { start: span.end - 6 * 86400, end: span.end, step: 86400 } : span
  const at = Array.from({ length: Math.floor((end - start) / step) + 1 }, (_, i) => start + i * step)
  const lines = (await Promise.all(asked.map(async query => (await prometheus.over(filled(query.expr, windows), { start, end, step })).map(series => {
    const values = new Map(series.values!.map(([moment, value]) => [Math.round(moment * 1000), Number(value)]))
    const field = fieldOf(panel, nameOf(query, series))
    return { name: field.name, field, values: at.map(moment => values.get(Math.round(moment * 1000)) ?? null).map(value => Number.isFinite(value) ? value : null) }
  })))).flat()
  if (panel.type === 'state-timeline') return { ...base, isEmpty: lines.length === 0, timeline: lines.map(({ name, field, values }) => ({ name, parts: partsOf(values, at, field) })) }

  const { custom = {}, thresholds, min = null, max = null } = defaultsOf(panel)
  const names = [...new Set(lines.map(({ name }) => name))].sort()
  return {
    ...base,
    isEmpty: lines.every(({ values }) => values.every(value => value === null)),
    curve: {
      at,
      lines: lines.map(({ name, field, values }) => ({ name, colour: field.colour ?? palette[names.indexOf(name) % palette.length]!, values })),
      isStacked: custom.stacking?.mode === 'normal',
      isBars: custom.drawStyle === 'bars',
      limits: custom.thresholdsStyle?.mode === 'dashed' ? thresholds!.steps.filter(({ value }) => value !== null).map(({ value, color }) => ({ value: value!, colour: color })) : [],
      min,
      max
    }
  }
}

function partsOf (values: Array<number | null>, at: number[], field: Field) {
  const parts: Array<Shown & { from: number, to: number }> = []
  for (const [i, value] of values.entries()) {
    if (value === null) continue
    const last = parts.at(-1)
    const { text, colour } = shown(value, field)
    if (last?.text === text && last.to === at[i]) last.to = at[i + 1] ?? at[i]!
    else parts.push({ text, colour, from: at[i]!, to: at[i + 1] ?? at[i]! })
  }
  return parts
}

/** Rows by their labels, columns renamed and in order: the transformations `merge` and `organize`. */
async function tableOf (panel: Panel, answers: Series[][]) {
  const [, organize] = panel.transformations!
  const { indexByName, renameByName } = organize!.options as { indexByName: Record<string, number>, renameByName: Record<string, string> }
  const rows = new Map<string, Record<string, string | number>>()
  for (const [i, answer] of answers.entries()) {
    for (const series of answer) {
      const key = JSON.stringify(Object.entries(series.metric).sort())
      const row = rows.get(key) ?? { ...series.metric }
      row[answers.length > 1 ? `Value #${String.fromCharCode(65 + i)}` : 'Value'] = valueOf(series)
      rows.set(key, row)
    }
  }
  const columns = Object.keys(indexByName).sort((a, b) => indexByName[a]! - indexByName[b]!)
  const [sort] = (panel.options as { sortBy?: Array<{ displayName: string, desc: boolean }> }).sortBy ?? []
  const sorted = columns.find(column => renameByName[column] === sort?.displayName)
  const sign = sort?.desc === true ? -1 : 1
  const inOrder = [...rows.values()].sort((a, b) => sorted === undefined ? 0 : sign * (Number(a[sorted] ?? sign * Infinity) - Number(b[sorted] ?? sign * Infinity)))
  return {
    heads: columns.map(column => renameByName[column]!),
    rows: inOrder.map(row => columns.map(column => row[column] === undefined ? { text: '', colour: '' } : shown(row[column], fieldOf(panel, renameByName[column]!))))
  }
}

/** What happened, once each time that it began. */
async function marksOf (dashboard: Dashboard, prometheus: Prometheus, span: Span): Promise<Mark[]> {
  const all = await Promise.all(annotationsOf(dashboard).map(async annotation => {
    const { expr, iconColor, titleFormat } = annotation as typeof annotation & { titleFormat: string }
    const found = await prometheus.over(filled(expr!, { rate: '10s', range: '60s' }), span)
    return found.map(({ metric, values }) => ({ at: values![0]![0], colour: iconColor, text: titleFormat.replace(/\{\{(\w+)\}\}/g, (whole, label: string) => metric[label] ?? '') }))
  }))
  return all.flat().filter(({ at }) => at > span.start).sort((a, b) => a.at - b.at)
}

/** A dashboard with all that it shows. */
export const drawingsOf = async (dashboard: Dashboard, prometheus: Prometheus, span: Span) => ({
  title: dashboard.title!,
  marks: await marksOf(dashboard, prometheus, span),
  drawings: await Promise.all(panelsOf(dashboard).map(panel => drawingOf(panel, prometheus, span)))
})
