import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Drawing, Mark } from './drawing.ts'
import { figureOf } from './figure.ts'

const uplot = dirname(createRequire(import.meta.url).resolve('uplot'))
const read = (name: string) => readFileSync(join(uplot, name), 'utf8')

/** Pixels of a column and of a line of the grid, as Grafana has them on a wide screen. */
const [columnPx, linePx, gapPx] = [66, 30, 8]
const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')

interface Sheet { title: string, marks: Mark[], drawings: Drawing[], about: string }

/** One page that draws a dashboard by itself. */
export function pageOf ({ title, marks, drawings, about }: Sheet) {
  const bottom = Math.max(...drawings.map(({ place: { y, h } }) => y + h)) * linePx
  return `<!doctype html><meta charset="utf-8"><title>${escaped(title)}</title><style>${read('uPlot.min.css')}${style}</style>
<h1>${escaped(title)}</h1><p>${escaped(about)}</p><main style="width:${24 * columnPx}px;height:${bottom}px">${drawings.map(panelOf).join('\n')}</main>
<script>${read('uPlot.iife.min.js')}</script><script>${String(figureOf)};const marks = ${JSON.stringify(marks)};${JSON.stringify(drawings.map(({ curve, unit }) => ({ curve, unit })))}.forEach(${String(drawCurve)})</script>`
}

const style = `
body { margin: 12px; background: #f4f5f5; font: 13px/1.35 system-ui, sans-serif; color: #24292e }
h1 { font-size: 20px; margin: 0 } p { margin: 2px 0 10px; color: #555 }
main { position: relative } section { position: absolute; box-sizing: border-box; background: #fff; border: 1px solid #ddd; border-radius: 3px; padding: 6px 8px; overflow: hidden; display: flex; flex-direction: column }
h2 { font-size: 13px; font-weight: 600; margin: 0 0 4px; flex: none } .rest { flex: 1; min-height: 0; overflow: hidden; position: relative } .nothing { display: flex; align-items: center; justify-content: center; color: #888; font-size: 16px }
.stat { display: flex; gap: 4px } .stat div { flex: 1; color: #fff; display: flex; flex-direction: column; align-items: center; justify-content: center; border-radius: 3px; font-size: 24px; font-weight: 600; text-align: center } .stat div:nth-last-child(n+3), .stat div:nth-last-child(n+3) ~ div { font-size: 18px } .stat small { font-size: 13px; font-weight: 400 }
.bars div { display: flex; align-items: center; gap: 6px; margin: 3px 0 } .bars b { flex: 0 0 42%; font-weight: 400; text-align: right; overflow: hidden; white-space: nowrap; text-overflow: ellipsis } .bars i { flex: 1; background: #eee; height: 15px } .bars i span { display: block; height: 100% } .bars em { flex: 0 0 62px; font-style: normal }
table { border-collapse: collapse; width: 100%; font-size: 12px } th, td { text-align: left; padding: 2px 8px 2px 0; border-bottom: 1px solid #eee; white-space: nowrap; overflow: hidden; max-width: 250px; text-overflow: ellipsis } td { font-variant-numeric: tabular-nums }
.timeline div { display: flex; align-items: center; height: 26px; margin: 3px 0 } .timeline b { flex: 0 0 90px; font-weight: 400 } .timeline span { color: #fff; font-size: 11px; overflow: hidden; height: 24px; line-height: 24px; padding-left: 4px; box-sizing: border-box }
.legend { font-size: 11px; line-height: 14px; max-height: 44px; overflow: hidden } .legend i { display: inline-block; width: 10px; height: 3px; margin: 0 3px 3px 8px } .uplot { font: 11px system-ui }`

function panelOf (drawing: Drawing, i: number) {
  const { title, place: { x, y, w, h }, isEmpty, nothing } = drawing
  const box = `left:${x * columnPx}px;top:${y * linePx}px;width:${w * columnPx - gapPx}px;height:${h * linePx - gapPx}px`
  return `<section style="${box}"><h2>${escaped(title)}</h2>${isEmpty ? `<div class="rest nothing">${escaped(nothing)}</div>` : insideOf(drawing, i)}</section>`
}

function insideOf ({ stat, bars, table, timeline }: Drawing, i: number) {
  if (stat) return `<div class="rest stat">${stat.map(({ name, isNamed, text, colour }) => `<div style="background:${colour}">${isNamed ? `<small>${escaped(name)}</small>` : ''}${escaped(text)}</div>`).join('')}</div>`
  if (bars) return `<div class="rest bars">${bars.map(({ name, text, colour, share }) => `<div><b>${escaped(name)}</b><i><span style="width:${share * 100}%;background:${colour}"></span></i><em>${escaped(text)}</em></div>`).join('')}</div>`
  if (table) return `<div class="rest"><table><tr>${table.heads.map(head => `<th>${escaped(head)}</th>`).join('')}</tr>${table.rows.map(row => `<tr>${row.map(({ text, colour }) => `<td style="color:${colour}">${escaped(text)}</td>`).join('')}</tr>`).join('')}</table></div>`
  if (timeline) return `<div class="rest timeline">${timeline.map(({ name, parts }) => `<div><b>${escaped(name)}</b>${parts.map(({ from, to, text, colour }) => `<span style="flex:${to - from};background:${colour}">${escaped(text)}</span>`).join('')}</div>`).join('')}</div>`
  return `<div class="rest" id="curve-${i}"></div><div class="legend" id="legend-${i}"></div>`
}

// what the page has
declare const marks: Mark[]
declare const document: any
declare const uPlot: { new (options: object, data: unknown, place: unknown): unknown, paths: any }

/** Runs in the page: draws one panel's curves. */
function drawCurve ({ curve, unit }: Pick<Drawing, 'curve' | 'unit'>, i: number) {
  const place = document.getElementById(`curve-${i}`)
  if (curve === undefined || place === null) return
  const { at, lines, isStacked, isBars, limits, min, max } = curve
  const legend = document.getElementById(`legend-${i}`)
  legend.innerHTML = lines.map(({ name, colour }) => `<i style="background:${colour}"></i>${name}`).join('')
  const sums = at.map(() => 0)
  const heights = lines.map(({ values }) => isStacked ? values.map((value, k) => value === null ? null : (sums[k]! += value)) : values)
  const top = Math.max(...heights.flat().map(value => value ?? -Infinity), ...limits.filter(({ value }) => value > 0).map(({ value }) => value).slice(0, 1).filter(value => value < 20 * Math.max(0, ...heights.flat().map(one => one ?? 0))))
  const low = min ?? Math.min(0, ...heights.flat().map(value => value ?? 0))
  const order = isStacked ? [...lines.keys()].reverse() : [...lines.keys()]
  const Plot = uPlot
  place.plot = new Plot({
    width: place.clientWidth,
    height: place.clientHeight,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { range: at.length < 10 ? [at[0]! - 43200, at.at(-1)! + 43200] : [at[0], at.at(-1)] }, y: { range: [low, max ?? (top > low ? low + (top - low) * 1.08 : low + 1)] } },
    axes: [{ size: 26 }, { size: 88, values: (_: unknown, ticks: number[]) => ticks.map(tick => figureOf(tick, unit)) }],
    series: [{}, ...order.map(k => ({ stroke: lines[k]!.colour, width: isBars ? 0 : 2, points: { show: false }, ...(isStacked || isBars ? { fill: `${lines[k]!.colour}${isBars ? 'ff' : 'aa'}` } : {}), ...(isBars ? { paths: uPlot.paths.bars({ size: [0.7, 60] }) } : {}) }))],
    hooks: {
      draw: [(plot: any) => {
        const { ctx, bbox } = plot
        const stroke = (colour: string, from: [number, number], to: [number, number]) => {
          ctx.save()
          ctx.strokeStyle = colour
          ctx.lineWidth = 2
          ctx.setLineDash([6, 5])
          ctx.beginPath()
          ctx.moveTo(...from)
          ctx.lineTo(...to)
          ctx.stroke()
          ctx.restore()
        }
        for (const { value, colour } of limits) {
          const y = plot.valToPos(value, 'y', true)
          if (y >= bbox.top && y <= bbox.top + bbox.height) stroke(colour, [bbox.left, y], [bbox.left + bbox.width, y])
        }
        for (const { at: moment, colour } of marks) {
          const x = plot.valToPos(moment, 'x', true)
          if (x >= bbox.left && x <= bbox.left + bbox.width) stroke(`${colour}88`, [x, bbox.top], [x, bbox.top + bbox.height])
        }
      }]
    }
  }, [at, ...order.map(k => heights[k])], place)
}
