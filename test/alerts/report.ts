import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { Played } from './play.ts'
import type { Outcome } from './trial.ts'

/** An act as it is kept, with when and on what it was played. */
export interface Kept extends Played { name: string, about: string, factor: number, rate: number, at: string, minutes: number, revision: string, node: string, cores: string, /** trials that were played once more, by which revision */ again?: string[] }

interface Alert { alert: string, for?: string, labels: { severity: string } }
const alerts = (parse(readFileSync(new URL('../../grafana/rules/alerts.yaml', import.meta.url), 'utf8')).groups as Array<{ rules: Alert[] }>).flatMap(({ rules }) => rules)

/** What nobody has tried, with the reason. */
const reasons: Record<string, string> = {}

/** Real milliseconds as the time that they stand for. */
function told (ms: number | undefined, factor: number) {
  if (ms === undefined) return undefined
  const minutes = ms * factor / 60_000
  return minutes < 90 ? `${Math.round(minutes)} min` : `${(minutes / 60).toFixed(1)} h`
}

/** One row of the table. */
function rowOf ({ alert, for: pending = 'none', labels: { severity } }: Alert, { fault, factor, firedMs, goneMs, times = 1, stays }: Outcome) {
  return `| \`${alert}\` | ${severity} | ${fault} | ${pending} | ${told(firedMs, factor)}${times > 1 ? `, ${times} times` : ''} | ${told(goneMs, factor) ?? (stays === undefined ? '**it did not go**' : `it stays: ${stays}`)} |`
}

/** The page docs/alerts.md. */
export function reportOf (acts: readonly Kept[]) {
  const outcomes = acts.flatMap(act => act.outcomes)
  const fired = alerts.flatMap(alert => {
    const best = outcomes.filter(outcome => outcome.alert === alert.alert && outcome.firedMs !== undefined).sort((a, b) => a.firedMs! - b.firedMs!)[0]
    return best === undefined ? [] : [{ alert, row: rowOf(alert, best) }]
  })
  const missing = alerts.filter(alert => !fired.some(one => one.alert === alert))
  const because = ({ alert }: Alert) => reasons[alert] ?? outcomes.filter(outcome => outcome.alert === alert).map(({ fault }) => `did not fire, though it should have: ${fault}`)[0] ?? 'not tried'
  const silent = acts.flatMap(act => act.silent ?? [])
  const quiet = acts.filter(({ atQuiet }) => atQuiet.length > 0)
  return `# Which fault fires which alert

Tried by \`npm run alerts -- --report docs/alerts.md\`, which has written this page: a real Prometheus, with the very rules of [grafana/rules](../grafana/rules/), scrapes real replicas of the gateway behind HAProxy, on a real Redis Cluster, with identity
providers of their own, under a light load of whole logins. Then a fault is applied, for as long as it takes until each alert fires that it should, and taken back. The faults (F1 to F22) are those of [faults.md](faults.md), whose stages these are.

**Time goes by faster.** All durations of the rules (\`for\`, ranges, offsets, intervals) and of Prometheus (scrapes, how soon it forgets a series) are divided by the factor of the act, nothing else is: thresholds are as they are, those in seconds too. The times in the
table are multiplied by it again, to be comparable with the rules: a minute is a second here, where the factor is 60. Three things follow:

- What the gateway does takes its real time: a breaker opens, a configuration is taken up, a process starts within some seconds. Such a time stands in the table sixty times as long as it would be.
- A range of 30 days is half a day here, and holds only what has come since the stage was set up: some minutes. The burn of a budget is tried with a share of failures that is far above any threshold, not with one just above it. Near thresholds, what fires and what does not is held by
  \`promtool\` cases, two for each alert, in test/rules.
- Where an alert counts events in a quarter of an hour, as many have to come in a quarter of a minute. Where the gateway itself sets their pace (it asks a provider again after half a minute, and Redis after seconds) the factor is smaller.

${fired.length} of ${alerts.length} alerts fired by a real fault. ${quiet.length === 0 ? `None fired in the quiet beginning of any of the ${acts.length} acts, under load and without a fault.` : `At quiet fired: ${quiet.map(({ name, atQuiet }) => `${name}: ${atQuiet.join(', ')}`).join('; ')}.`}

| alert | severity | the fault | \`for\` | it fires after | it goes after the fault's end by |
| --- | --- | --- | --- | --- | --- |
${fired.map(({ row }) => row).join('\n')}

## Faults that fire nothing

They cost no login, as [objectives.md](objectives.md#the-error-budget) has it, and nobody is to be told.

${silent.map(({ fault, fired }) => `- ${fault}: ${fired.length === 0 ? 'nothing fired' : `**${fired.join(', ')}**`}`).join('\n')}

## Not fired by a real fault

${missing.length === 0 ? 'None.' : missing.map(alert => `- \`${alert.alert}\`: ${because(alert)}`).join('\n')}

## The acts

Each is a stage of its own; \`npm run alerts -- NAME --json FILE --report docs/alerts.md\` plays one, and keeps in FILE what the others gave. Beside the alerts of the table others fired, as they should: nobody probes but in the act \`probe\`, a provider whose tokens are wrong is down, too, and so on; what nobody had expected is in bold.

| act | stage | factor | logins a second | logins that went well, of all | scrapes missed | fired beside | played |
| --- | --- | --- | --- | --- | --- | --- | --- |
${acts.map(({ name, about, factor, rate, logins, missed, beside, unexpected, at, minutes, revision, node, cores, again = [] }) => `| ${name} | ${about} | ${factor} | ${rate} | ${logins['success'] ?? 0} of ${Object.values(logins).reduce((sum, count) => sum + count, 0)} | ${missed} | ${[...beside.map(alert => `\`${alert}\``), ...unexpected.map(alert => `**${alert}**`)].join(', ') || 'none'} | ${at.slice(0, 10)}, revision ${revision}, Node ${node}, ${[cores, `${minutes} minutes`, ...again].join(', ')} |`).join('\n')}
`
}
