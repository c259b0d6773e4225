import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { oneIn } from './faults/f18.ts'
import { faults } from './faults/faults.ts'
import type { Result } from './fault.ts'
import { conditionsOf, reportOf, summarize, type Conditions } from './report.ts'
import { words } from './words.ts'

// node test/chaos/table.ts REPORT.json …: writes docs/faults.md and the table in README, from what npm run chaos -- --json REPORT.json has written; several are passes of one, and a fault that was measured anew at another revision counts as it was measured last.

interface Report { conditions: Conditions, results: Result[] }

const columns = {
  'logins attempted': 'logins',
  failed: 'failed',
  'recovered by a click': 'by one more click',
  'longest gap without a success, s': 'longest gap, s',
  'longest login, s': 'longest login, s',
  'back to normal after, s': 'normal, s after it began'
}
const reports = process.argv.slice(2).map(file => JSON.parse(readFileSync(file, 'utf8')) as Report)
const revisionOf = ({ conditions: { revision } }: Report) => revision?.commit ?? ''
const isOf = (fault: string) => (result: Result) => result.fault === fault
const results = Object.keys(faults).flatMap(fault => {
  const measuring = reports.filter(({ results }) => results.some(isOf(fault)))
  const last = measuring.at(-1)
  return measuring.filter(report => revisionOf(report) === revisionOf(last!)).flatMap(({ results }) => results.filter(isOf(fault)))
})
const measured = new Map(summarize(results).map(summary => [`${summary.fault} ${summary.variant}`, summary]))
const summaries = Object.entries(faults).flatMap(([fault, { variants }]) => variants.flatMap(variant => measured.get(`${fault} ${variant}`) ?? []))

const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
const heads = ['', 'what', ...Object.values(columns), 'holds']
const table = [
  row(heads),
  row(heads.map(() => '---')),
  ...summaries.map(({ fault, variant, figures, passed }) => row([fault, words[fault]![variant]!, ...Object.keys(columns).map(name => figures[name] ?? '–'), passed ? 'yes' : '**no**']))
].join('\n')

/** How many of these ended in which way, the most frequent first, in one line each. */
function counted (results: readonly Result[], ofWhom: 'failed' | 'recovered', how: (attempt: Result['failed'][number]) => string) {
  return [...Map.groupBy(results, ({ variant }) => variant)].flatMap(([variant, passes]) => {
    const kinds = [...Map.groupBy(passes.flatMap(result => result[ofWhom]).map(how), kind => kind)].map(([kind, same]) => ({ kind, many: same.length })).sort((a, b) => b.many - a.many)
    if (kinds.length === 0) return []
    const shown = kinds.slice(0, mostKinds).map(({ kind, many }) => `${many} × ${kind}`)
    const others = kinds.slice(mostKinds).reduce((sum, { many }) => sum + many, 0)
    return [`- ${ofWhom}, \`${variant}\`: ${[...shown, ...others === 0 ? [] : [`${others} × otherwise`]].join('; ')}`]
  })
}
const mostKinds = 6
const endings = (fault: string) => {
  const those = results.filter(isOf(fault))
  return [
    ...counted(those, 'recovered', ({ provider, notices, why }) => `back from ${provider} (${notices.join(', ') || why || 'not told why'}) and in by another click`),
    ...counted(those, 'failed', ({ outcome = 'unknown', why }) => why ?? (outcome === 'told' ? 'told on the chooser that this provider does not answer, and gone no further' : outcome))
  ].map(line => `${line}\n`).join('')
}

const root = new URL('../../', import.meta.url)
const readme = fileURLToPath(new URL('README.md', root))
writeFileSync(readme, readFileSync(readme, 'utf8').replace(/(?<=^## What happens when…\n[^|]+)\|.*?(?=\n\n)/ms, () => table))
writeFileSync(new URL('docs/faults.md', root), `# What each fault costs

Written by \`node test/chaos/table.ts\` from what \`npm run chaos\` measured and [README](../README.md#what-happens-when) says in words. Of several passes: minimum / median / maximum, or the one figure that all of them gave.

Whole logins arrive at a fixed rate, whatever becomes of earlier ones, through HAProxy, at replicas of the gateway on a Redis Cluster of three primaries and three replicas (node timeout 2 s; in F16 and F17 each site has a Cluster of three primaries), with three identity providers, one service
with \`degraded: allow\` and one with \`deny\`. Every attempt is written down. Every code that reached its service is tried again at every replica that is there, by its own client and by another, whether it gave tokens or not, and once more when
the load is over; in F18 and F19, where that is a load of its own, one in ${oneIn} of the logins that went well, and the others' codes only then, by their own client. Tokens are revoked or logged out and used again, one in three at introspection, too; where the
session of such a one was ended its cookie is brought again, and a code that it had given before. A checker reads all of it afterwards, and no fault holds in which nothing was tried. All processes, and the load itself, share the cores of one
machine. Times include what Redis' own failover takes.

For that reason every fault but F18 and F19 runs with \`load.delay_ms: 1000\` in place of 40: a replica that has to wait for a core that the load, Redis or the balancer has would send citizens away for what is none of its doing. In F18 and F19,
which are about that, one replica has a core for itself and the setting is what it is by default. All who come here have the address 127.0.0.1, which \`rate_limits.exempt_networks\` leaves out by default: no limit by address is tried by these runs.

A login counts as failed when its citizen, at a provider that is well, does not end with the right userinfo at the service. With F10 and the unknown keys of F12 only the other providers' logins are in these columns, with F11 those since the providers are back, with F24
those at providers that were well; with F15 nobody failed who came to a service that was closed.

${reports.map(({ conditions }) => `- ${conditionsOf(conditions)}`).join('\n')}

[README](../README.md#what-happens-when) has the first figures of each in one table. Below each fault stands, for all passes together, how every login ended that failed or got in by one more click.

## All that was measured

${[...Map.groupBy(summaries, ({ fault }) => fault)].map(([fault, variants]) => `### ${fault}

\`\`\`
${reportOf(variants, fault => faults[fault]!.about).trimEnd()}
\`\`\`

${endings(fault)}`).join('\n')}`)
