import { readFileSync } from 'node:fs'
import { faults } from './faults/faults.ts'
import { reportOf, type Summary } from './report.ts'

// node test/chaos/table.ts REPORT.json … > docs/faults.md: the page on what each fault cost, from what npm run chaos -- --json REPORT.json has written.

interface Report { conditions: { rate: number, seconds: number, passes: number, node: string, cores: number, at: string, minutes: number, arguments: string[] }, summaries: Summary[] }

const columns = ['logins attempted', 'failed', 'recovered by a click', 'longest gap without a success, s', 'longest login, s', 'back to normal after, s']
const reports = process.argv.slice(2).map(file => JSON.parse(readFileSync(file, 'utf8')) as Report)
const numberOf = ({ fault }: Summary) => Number(fault.slice(1))
// of a variant that was measured again the later report counts
const summaries = [...new Map(reports.flatMap(({ summaries }) => summaries).map(summary => [`${summary.fault} ${summary.variant}`, summary])).values()].sort((a, b) => numberOf(a) - numberOf(b))
const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`

console.log(`# What each fault costs

Written by \`node test/chaos/table.ts\` from what \`npm run chaos\` measured; [README](../README.md#what-happens-when) says it in words. Of several passes: minimum / median / maximum.

Whole logins arrive at a fixed rate, whatever becomes of earlier ones, through HAProxy, at replicas of the gateway on a Redis Cluster of three primaries and three replicas (node timeout 2 s), with three identity providers, one service
with \`degraded: allow\` and one with \`deny\`. Every attempt is written down; every code that reached its service is tried again at every replica, by its own client and by another, whether it gave tokens or not; tokens are revoked or
logged out and used again; a checker reads all of it afterwards. All processes, and the load itself, share the cores of one machine. Times include what Redis' own failover takes.

For that reason every fault but F18 and F19 runs with \`load.delay_ms: 1000\` in place of 40: a replica that has to wait for a core that the load, Redis or the balancer has would send citizens away for what is none of its doing. In F18 and F19,
which are about that, one replica has a core for itself and the setting is what it is by default. All who come here have the address 127.0.0.1, which \`rate_limits.exempt_networks\` leaves out by default: no limit by address is tried by these runs.

A login counts as failed when its citizen, at a provider that is well, does not end with the right userinfo at the service. With F10 and the unknown keys of F12 only the other providers' logins are in these columns, with F11 those since the providers are back.

${reports.map(({ conditions: { rate, seconds, passes, node, cores, at, minutes, arguments: args } }) =>
  `- \`npm run chaos -- ${args.join(' ')}\`: ${at.slice(0, 10)}, Node ${node.slice(1)}, ${cores} cores; ${rate} logins a second, each fault for ${seconds} s, ${passes === 1 ? 'one pass' : `${passes} passes`}, ${minutes} minutes`).join('\n')}

${row(['fault', 'variant', ...columns, 'passes'])}
${row(Array.from({ length: columns.length + 3 }, () => '---'))}
${summaries.map(({ fault, variant, figures, passed }) => row([fault, variant.replaceAll('_', ' '), ...columns.map(name => figures[name] ?? '–'), passed ? 'yes' : '**no**'])).join('\n')}

## All that was measured

${[...Map.groupBy(summaries, ({ fault }) => fault)].map(([fault, variants]) => `### ${fault}

\`\`\`
${reportOf(variants, fault => faults[fault]!.about).trimEnd()}
\`\`\`
`).join('\n')}`)
