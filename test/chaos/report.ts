import type { Measure, Result } from './fault.ts'
import { median } from './figures.ts'
import type { Revision } from './revision.ts'
import { table } from '../world/world.ts'

/** Under what a report came about; earlier ones name no revision. */
export interface Conditions {
  arguments: string[]
  /** of this tree, and of the other release that was tried beside it; null where git did not know it */
  revision?: Revision | null
  previous?: Revision | null
  short: boolean
  measures: Record<string, Measure>
  passes: number
  node: string
  cores: number
  processor: string
  loadBefore: number
  at: string
  minutes: number
}

/** One variant over all passes. */
export interface Summary {
  fault: string
  variant: string
  passed: boolean
  figures: Record<string, string>
  criteria: Array<{ what: string, measured: string, passed: boolean }>
  violations: number
}

/** What all passes say together: of numbers the smallest, the one in the middle and the largest, or the only one there is; a criterion holds when it did each time. */
export function summarize (results: readonly Result[]): Summary[] {
  return [...Map.groupBy(results, ({ fault, variant }) => `${fault} ${variant}`).values()].map((passes): Summary => {
    const { fault, variant } = passes[0]!
    const names = [...new Set(passes.flatMap(({ figures }) => Object.keys(figures)))]
    const criteria = [...Map.groupBy(passes.flatMap(({ criteria }) => criteria), ({ what }) => what)].map(([what, same]) => ({
      what,
      measured: [...new Set(same.map(({ measured }) => measured))].join(', '),
      passed: same.every(({ passed }) => passed)
    }))
    return {
      fault,
      variant,
      passed: criteria.every(({ passed }) => passed),
      figures: Object.fromEntries(names.map(name => [name, together(passes.map(({ figures }) => figures[name]))])),
      criteria,
      violations: passes.reduce((sum, { violations }) => sum + violations.length, 0)
    }
  })
}

const absent = '–'

function together (values: ReadonlyArray<number | string | undefined>) {
  const numbers = values.filter(value => typeof value === 'number')
  if (new Set(values).size === 1 || numbers.length < values.length) return [...new Set(values.map(value => String(value ?? absent)))].join(', ')
  return [Math.min(...numbers), median(numbers), Math.max(...numbers)].join(' / ')
}

/** The summaries as text: for each fault what was measured, a column each variant, and what did not hold. */
export function reportOf (summaries: readonly Summary[], about: (fault: string) => string): string {
  return [...Map.groupBy(summaries, ({ fault }) => fault)].map(([fault, variants]) => {
    const names = [...new Set(variants.flatMap(({ figures }) => Object.keys(figures)))]
    const rows = [
      ['', ...variants.map(({ variant }) => variant)],
      ...names.map(name => [name, ...variants.map(({ figures }) => figures[name] ?? absent)]),
      ['invariants broken', ...variants.map(({ violations }) => String(violations))],
      ['passes', ...variants.map(({ passed }) => passed ? 'yes' : 'NO')]
    ]
    const unmet = variants.flatMap(({ variant, criteria }) => criteria.filter(({ passed }) => !passed).map(({ what, measured }) => [variant, what, `measured ${measured}`]))
    return table(`${fault}: ${about(fault)}`, rows) + (unmet.length === 0 ? '' : `\n${table(`${fault}: what did not hold`, unmet)}`)
  }).join('\n')
}

/** How much came for how long, of faults alike together: `F1, F2: 10 logins a second for 10 s`. */
export const toldOf = (measures: Readonly<Record<string, Measure>>): string =>
  [...Map.groupBy(Object.entries(measures), ([, { rate, seconds }]) => `${rate} logins a second for ${seconds} s`)].map(([what, alike]) => `${alike.map(([fault]) => fault).join(', ')}: ${what}`).join('; ')

/** What was asked for, as it can be asked for elsewhere: no file and no directory of this machine. */
export const argumentsOf = (values: Readonly<Record<string, string | boolean | undefined>>, faults: readonly string[]): string[] => [
  ...faults,
  ...Object.entries(values).flatMap(([name, value]) => value === undefined || value === false || name === 'json' ? [] : value === true ? [`--${name}`] : [`--${name}`, name === 'previous' ? 'DIR' : value])
]

/** Under what a report came about, in words. */
export const conditionsOf = ({ arguments: args, revision, previous, measures, passes, node, cores, processor, at, minutes }: Conditions): string => [
  `\`npm run chaos${args.length === 0 ? '' : ` -- ${args.join(' ')}`}\`: ${at.slice(0, 10)}`,
  ...revision === undefined ? [] : [revisionIn(revision)],
  ...previous === undefined ? [] : [`beside ${revisionIn(previous)}`],
  `Node ${node.slice(1)}`,
  `${cores} cores (${processor})`,
  passes === 1 ? 'one pass' : `${passes} passes`,
  `${minutes} minutes. ${toldOf(measures)}`
].join(', ')

const revisionIn = (revision: Revision | null) => revision === null ? 'a revision that git does not know' : `revision ${revision.commit.slice(0, 7)}${revision.isChanged ? ' with changes that are not committed' : ''}`
