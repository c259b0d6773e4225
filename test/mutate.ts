/**
 * `npm run mutate [-- path-filter …] [--tests path-filter,…]`: takes away each check of `src/protocol/` and `src/adapters/` in turn; each must turn a test red.
 * Lists the survivors, and fails if there is one that `mutate-equivalent.json` does not explain ({ file, snippet, change?, reason }).
 */
import { spawn } from 'node:child_process'
import { globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import ts from 'typescript'
import { mutantsOf, mutated } from './support/mutants.ts'
import type { Mutant } from './support/mutants.ts'

interface Range { startOffset: number, endOffset: number, count: number }
interface TestFile { file: string, seconds: number, isGreen: boolean, /** executed ranges by source file, one list for each process */ ranges: Map<string, Range[][]> }
interface Explained { file: string, snippet: string, change?: string, reason: string }

const root = fileURLToPath(new URL('..', import.meta.url))
const workers = 2
const begin = Date.now()
const { positionals: filters, values: { tests: wanted } } = parseArgs({ allowPositionals: true, options: { tests: { type: 'string' } } })
const hook = pathToFileURL(join(root, 'test/support/mutant.ts')).href
const scratch = mkdtempSync(join(tmpdir(), 'passerelle-mutate-'))
const running = new Set<number>()

process.on('exit', () => {
  for (const pid of running) killGroup(pid)
  rmSync(scratch, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1))

const sources = new Map(globSync(['src/protocol/**/*.ts', 'src/adapters/**/*.ts'], { cwd: root }).sort()
  .filter(file => filters.length === 0 || filters.some(filter => file.includes(filter)))
  .map(file => [file, readFileSync(join(root, file), 'utf8')]))
const mutants = [...sources].flatMap(([file, source]) => mutantsOf(file, source))
for (const mutant of mutants) {
  // a change that cannot be parsed would turn every test red, and prove nothing
  const { diagnostics } = ts.transpileModule(mutated(sources.get(mutant.file) ?? '', mutant), { reportDiagnostics: true })
  if (diagnostics?.length) throw new Error(`not a program: ${place(mutant)} ${mutant.change}`)
}
const explained: Explained[] = JSON.parse(readFileSync(join(root, 'test/mutate-equivalent.json'), 'utf8'))

const testFiles = globSync('test/**/*.test.ts', { cwd: root, exclude: path => path.endsWith('node_modules') }).sort()
  .filter(file => wanted === undefined || wanted.split(',').some(part => file.includes(part)))
console.log(`${mutants.length} checks in ${sources.size} files; first ${testFiles.length} test files as they are`)
const tests: TestFile[] = []
await each(testFiles, async (file, worker) => { tests.push(await baseline(file, worker)) })
const red = tests.filter(test => !test.isGreen)
for (const { file } of red) console.log(`red without any change, proves nothing: ${file}`)

const survivors: Array<Mutant & { note: string }> = []
let killed = 0
let done = 0
await each(mutants, async (mutant, worker) => {
  const able = tests.filter(test => test.isGreen && executes(test, mutant)).sort((a, b) => nearness(mutant, a) - nearness(mutant, b) || a.seconds - b.seconds)
  let isKilled = false
  for (const test of able) {
    const source = mutated(sources.get(mutant.file) ?? '', mutant)
    const env = { PASSERELLE_MUTANT: JSON.stringify({ url: pathToFileURL(join(root, mutant.file)).href, source }) }
    isKilled = !await isGreen(test.file, worker, env, test.seconds * 4 + 10)
    if (isKilled) break
  }
  if (isKilled) killed++
  else survivors.push({ ...mutant, note: able.length ? `${able.length} test files stay green` : 'no test executes it' })
  done++
  if (!isKilled || done % 25 === 0 || done === mutants.length) {
    console.log(`${done}/${mutants.length} ${elapsed()}${isKilled ? '' : ` survived: ${place(mutant)} ${mutant.change}`}`)
  }
})

const unexplained = survivors.filter(survivor => !explained.some(entry => explains(entry, survivor)))
  .sort((a, b) => a.file.localeCompare(b.file) || a.start - b.start)
const stale = explained.filter(entry => sources.has(entry.file) && !survivors.some(survivor => explains(entry, survivor)))
if (unexplained.length > 0) {
  console.log('\nSurvivors')
  const width = Math.max(...unexplained.map(mutant => place(mutant).length))
  for (const mutant of unexplained) console.log(`${place(mutant).padEnd(width)}  ${mutant.change}  (${mutant.note})\n${' '.repeat(width)}  in: ${mutant.snippet}`)
}
for (const { file, snippet } of stale) console.log(`\nexplained in mutate-equivalent.json, but it did not survive: ${file}: ${snippet}`)
console.log(`\n${mutants.length} checks taken away: ${killed} turned a test red, ${survivors.length - unexplained.length} survivors explained, ${unexplained.length} not; ${red.length} test files red from the start; ${elapsed()}`)
process.exitCode = unexplained.length + stale.length + red.length > 0 || mutants.length === 0 ? 1 : 0

/** Two at a time, each with a number of its own. */
async function each<T> (items: T[], work: (item: T, worker: number) => Promise<void>): Promise<void> {
  const queue = items.values()
  await Promise.all(Array.from({ length: workers }, async (_, worker) => { for (const item of queue) await work(item, worker) }))
}

/** Runs a test file as it is, and notes what it executes. */
async function baseline (file: string, worker: number): Promise<TestFile> {
  const folder = mkdtempSync(join(scratch, 'coverage-'))
  const start = Date.now()
  const green = await isGreen(file, worker, { NODE_V8_COVERAGE: folder }, 180)
  const seconds = (Date.now() - start) / 1000
  const ranges = new Map<string, Range[][]>()
  for (const report of readdirSync(folder)) {
    const { result } = JSON.parse(readFileSync(join(folder, report), 'utf8'))
    for (const { url, functions } of result) {
      if (!url.startsWith('file:')) continue
      const name = fileURLToPath(url).slice(root.length)
      if (!sources.has(name)) continue
      ranges.set(name, [...ranges.get(name) ?? [], functions.flatMap((entry: { ranges: Range[] }) => entry.ranges)])
    }
  }
  rmSync(folder, { recursive: true })
  return { file, seconds, isGreen: green, ranges }
}

/** Whether any process of that test ran this very place: the innermost range around it has a count. Stripped types leave offsets as they are. */
function executes ({ ranges }: TestFile, { file, start, end }: Mutant): boolean {
  return (ranges.get(file) ?? []).some(process => {
    const around = process.filter(range => range.startOffset <= start && range.endOffset >= Math.min(end, start + 1))
    return around.reduce((inner, range) => range.endOffset - range.startOffset < inner.endOffset - inner.startOffset ? range : inner, { startOffset: 0, endOffset: Infinity, count: 0 }).count > 0
  })
}

/** The test of that name first, then its folder, then the endpoints, then whole logins, then the rest. */
function nearness (mutant: Mutant, { file }: TestFile): number {
  const twin = mutant.file.replace(/^src\//, 'test/').replace(/\.ts$/, '.test.ts')
  if (file === twin || basename(file) === basename(twin)) return 0
  if (dirname(file) === dirname(twin)) return 1
  if (file.startsWith('test/endpoints/')) return 2
  return file === 'test/login.test.ts' ? 3 : 4
}

/** One test file as a plain program; what takes too long is stopped, and counts as red. */
async function isGreen (file: string, worker: number, env: Record<string, string>, seconds: number): Promise<boolean> {
  return new Promise(resolve => {
    const inherited = Object.entries(process.env).filter(([name]) => !/^_?TAP|^NODE_V8_COVERAGE$/.test(name))
    // tap names its fixture folders by the arguments, so that both workers may run one file at a time
    const child = spawn(process.execPath, [file, `--worker-${worker}`], {
      cwd: root,
      detached: true,
      stdio: 'ignore',
      env: { ...Object.fromEntries(inherited), TAP_BAIL: '1', TAP_TYPE_STRIP_ONLY: '1', NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import=${hook}`.trim(), ...env },
    })
    if (child.pid) running.add(child.pid)
    const timer = setTimeout(() => killGroup(child.pid), seconds * 1000)
    child.once('error', () => resolve(false))
    child.once('exit', code => {
      clearTimeout(timer)
      killGroup(child.pid)
      if (child.pid) running.delete(child.pid)
      resolve(code === 0)
    })
  })
}

function killGroup (pid: number | undefined): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL')
  } catch {
    // it has ended already
  }
}

function explains (entry: Explained, mutant: Mutant): boolean {
  return entry.file === mutant.file && entry.snippet === mutant.snippet && (entry.change === undefined || entry.change === mutant.change)
}

function place ({ file, line }: Mutant): string {
  return `${file}:${line}`
}

function elapsed (): string {
  return `${Math.round((Date.now() - begin) / 1000)} s`
}
