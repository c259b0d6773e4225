import { mkdirSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { dashboards } from '../../grafana/make.ts'
import { startStage } from '../chaos/stage.ts'
import { ensurePackages } from '../packages.ts'
import { startChromium } from '../support/chromium.ts'
import { startPrometheus } from '../support/prometheus.ts'
import { drawingsOf } from './drawing.ts'
import { startProbeFigures } from '../support/probe-figures.ts'
import { pageOf } from './page.ts'
import { play } from './scene.ts'

// npm run contact-sheet -- DIR: every dashboard as a picture, with what a real Prometheus saw of a gateway under load and through faults.

const { values, positionals: [directory] } = parseArgs({ allowPositionals: true, options: { rate: { type: 'string', default: '6' }, seconds: { type: 'string', default: '90' } } })
const [rate, seconds] = [Number(values.rate), Number(values.seconds)]
if (directory === undefined || !(rate > 0) || !(seconds >= 30)) {
  console.error('npm run contact-sheet -- DIR [--rate logins a second] [--seconds how long, 30 at least]')
  process.exit(2)
}
ensurePackages()
const endings: Array<() => unknown> = []
const lifetime = { teardown: (ending: () => unknown) => endings.push(ending) }
const say = (line: string) => console.error(`${new Date().toISOString().slice(11, 19)} ${line}`)
try {
  say('two replicas behind a load balancer, a Redis Cluster of three primaries and three replicas, three identity providers')
  const stage = await startStage({ breaker: { volume: 4, reset_ms: 5000 } })
  lifetime.teardown(stage.stop)
  const labels = { environment: 'sheet', site: 'a' }
  const prometheus = await startPrometheus(lifetime, [
    ...stage.replicas.map(({ operations, name }) => ({ name: 'passerelle', targets: [new URL(operations).host], labels: { ...labels, instance: name } })),
    { name: 'passerelle-citizens', path: '/metrics/product', targets: [new URL(stage.replicas[0]!.operations).host], labels },
    { name: 'passerelle-probe', targets: [await startProbeFigures(lifetime)], labels }
  ])
  const start = Math.floor(Date.now() / 1000) + 2
  const run = await play(stage, { rate, seconds, say })
  const span = { start, end: Math.floor(Date.now() / 1000) - 1, step: 1 }

  mkdirSync(directory, { recursive: true })
  const browser = await startChromium(lifetime, { suffix: 'localhost' })
  const about = `What Prometheus saw of ${Math.round(span.end - span.start)} seconds at ${rate} logins a second, drawn by us, not by Grafana. The figures of the synthetic login are made up; services misuse codes on purpose, and onlookers ask /authorize, too; a rate is of 10 seconds here, other windows are as they are.`
  for (const [name, dashboard] of Object.entries(dashboards)) {
    const sheet = await drawingsOf(dashboard, prometheus, span)
    const page = await browser.newPage({ viewport: { width: 1610, height: 1000 } })
    page.on('pageerror', error => say(`${name}: ${error}`))
    await page.setContent(pageOf({ ...sheet, about }))
    writeFileSync(resolve(directory, `${name}.png`), await page.screenshot({ fullPage: true }))
    for (const { title } of sheet.drawings.filter(({ isEmpty }) => isEmpty)) say(`${name}: nothing for "${title}"`)
  }
  await run.end()
} finally {
  for (const ending of endings.reverse()) await ending()
}
