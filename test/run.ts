/**
 * `npm test`: system packages, then eslint and tsc, then every `*.test.ts` under tap, within ten minutes.
 * Its last line counts named tests: each `t.test()` that holds no other, each file without any, lint, and types.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { globSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import { setTimeout as setTimeoutPromise } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Parser } from 'tap-parser'
import type { FinalResults, Result } from 'tap-parser'
import { ensurePackages } from './packages.ts'

interface Suite {
  name: string
  suites: Suite[]
  /** Assertions made directly in this suite, not those that close a suite within. */
  assertions: Result[]
  /** The line that closes this suite in its parent; none where the output broke off. */
  closing?: Result
  results?: FinalResults
}
interface Failure { name: string, details: string[] }
interface Outcome { passed: number, failures: Failure[] }

/** What tap says when a file has ended before its last test was begun; it counts that as passed. */
const lostTests = /cannot create subtest after parent test ends/
const root = fileURLToPath(new URL('..', import.meta.url))
/** What Node has read and compiled once, the hundreds of processes after it need not. */
const compiled = fileURLToPath(new URL('../node_modules/.cache/compiled', import.meta.url))
/** Tests of whole stages, on which load is: they run one after the other, and before the rest where both want a core. */
const underLoad = ['test/chaos/chaos.test.ts', 'test/chaos/short.test.ts', 'test/life.test.ts', 'test/server.test.ts']
const restNiceness = 5
const deadline = Date.now() + 9.5 * 60_000
const running = new Set<ChildProcess>()
let stopped = ''

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(`stopped by ${signal}`))
setTimeout(() => stop('stopped: the ten minutes are over'), deadline - Date.now()).unref()

const outcomes: Outcome[] = []
try {
  ensurePackages()
  outcomes.push(...await Promise.all([
    check('lint', ['node_modules/eslint/bin/eslint.js', '--max-warnings=0', '.']),
    check('types', ['node_modules/typescript/bin/tsc', '--noEmit', '--pretty', 'false']),
  ]))
  const named = process.argv.slice(2)
  const rest = globSync('test/**/*.test.ts', { cwd: root, exclude: path => path.endsWith('node_modules') }).sort().filter(file => !underLoad.includes(file))
  const runs = named.length > 0 ? [runTap(named)] : [runTap(['--jobs=1', ...underLoad], underLoad), runTap(rest, rest, restNiceness)]
  outcomes.push(...await Promise.all(runs))
} catch (error) {
  outcomes.push({ passed: 0, failures: [{ name: 'npm test', details: [error instanceof Error ? error.message : String(error)] }] })
}
if (stopped) outcomes.push({ passed: 0, failures: [{ name: 'npm test', details: [stopped] }] })
report(outcomes)

/** Ends what runs, whole process groups, so that no Redis or browser of a test outlives it. */
function stop (reason: string): void {
  stopped ||= reason
  for (const child of running) {
    kill(child, 'SIGTERM')
    setTimeout(() => kill(child, 'SIGKILL'), 3000).unref()
  }
}

function kill (child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid) process.kill(-child.pid, signal)
  } catch {
    // the whole group has ended already
  }
}

function start (args: string[]): ChildProcess {
  // a group of its own, to be killed whole; and no TAP_* from outside
  const env = { NODE_COMPILE_CACHE: compiled, ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^_?TAP/.test(name))) }
  const child = spawn(process.execPath, args, { cwd: root, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  child.once('exit', () => {
    kill(child, 'SIGKILL') // what it left behind in its group
    running.delete(child)
  })
  if (stopped) kill(child, 'SIGKILL')
  return child
}

async function ending (child: ChildProcess): Promise<string> {
  const closed = once(child, 'close')
  const [code, signal] = await once(child, 'exit')
  // something a test started for good may hold the pipe open for ever
  await Promise.race([closed, setTimeoutPromise(2000, undefined, { ref: false })])
  return code === 0 ? '' : `ended with ${signal ?? `exit code ${code}`}`
}

async function check (name: string, args: string[]): Promise<Outcome> {
  const begin = Date.now()
  const child = start(args)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', text => { output += text })
  const problem = await ending(child)
  progress(problem === '', name, begin)
  return problem ? { passed: 0, failures: [{ name, details: [output.trim().replaceAll(root, ''), problem] }] } : { passed: 1, failures: [] }
}

/** Runs tap, so much behind others that want a core; every file that is expected has to come to a result. */
async function runTap (args: string[], files: string[] = [], niceness = 0): Promise<Outcome> {
  const expected = new Set(files)
  const child = start(['node_modules/tap/dist/esm/run.mjs', '--reporter=tap', '--disable-coverage', ...args])
  if (child.pid !== undefined) setPriority(child.pid, Math.min(19, getPriority() + niceness))
  let lost = false
  child.stderr?.setEncoding('utf8').on('data', text => {
    lost ||= lostTests.test(text)
    process.stderr.write(text)
  })
  const parser = new Parser()
  const results = follow(parser, 'tap', file => {
    expected.delete(file.name)
    const { passed, failures } = count(file, file.name)
    const seconds = ((file.closing?.time ?? 0) / 1000).toFixed(1)
    console.log(`${failures.length ? 'FAILED' : 'ok    '} ${file.name} (${passed + failures.length} tests, ${seconds} s)`)
  })
  child.stdout?.pipe(parser)
  const problem = await ending(child)
  child.stdout?.unpipe(parser).destroy()
  if (!parser.results) parser.end()

  const outcome = merge(results.suites.map(file => count(file, file.name)))
  for (const result of results.assertions) { // tap's word on a file that ran out of time
    const name: string = result.diag?.expired ?? 'tap'
    const details = explain(result)
    if (details.length && !outcome.failures.some(failure => failure.name.startsWith(name))) outcome.failures.push({ name, details })
  }
  for (const name of expected) outcome.failures.push({ name, details: ['no result: the run broke off before it, or tap ran out of time'] })
  if (outcome.passed + outcome.failures.length === 0) outcome.failures.push({ name: 'tap', details: ['no tests found'] })
  if (lost) outcome.failures.push({ name: 'tap', details: ['a file awaited something between its tests: those after it were not run'] })
  if (problem && outcome.failures.length === 0) outcome.failures.push({ name: 'tap', details: [problem] })
  return outcome
}

/** Builds the tree of suites as tap reports them; `onSuite` is told of each that closes directly in this one. */
function follow (parser: Parser, name: string, onSuite?: (suite: Suite) => void): Suite {
  const suite: Suite = { name, suites: [], assertions: [] }
  let open: Suite | undefined
  parser.on('child', (child: Parser) => {
    open = follow(child, child.name)
    suite.suites.push(open)
  })
  parser.on('assert', (result: Result) => {
    if (open && result.closingTestPoint) {
      open.closing = result
      onSuite?.(open)
      open = undefined
    } else {
      suite.assertions.push(result)
    }
  })
  parser.on('complete', (results: FinalResults) => { suite.results = results })
  return suite
}

/** A suite that holds others counts only where it fails for a reason of its own. */
function count (suite: Suite, name: string): Outcome {
  const within = merge(suite.suites.map(inner => count(inner, `${name} › ${inner.name}`)))
  const details = suite.assertions.flatMap(result => explain(result))
  const { closing, results } = suite
  if (suite.suites.length === 0) {
    if (suite.assertions.length === 0) details.push(closing?.skip ? `skipped: ${closing.skip}` : 'made no assertion')
  }
  if (closing?.todo) details.push(`todo: ${closing.todo}`)
  const isOk = closing?.ok === true && results?.ok !== false
  if (!isOk && details.length === 0 && within.failures.length === 0) details.push(...explain(closing), closing ? '' : 'broke off')
  // a process that died says so only in the line that closes its file
  const exit = closing?.diag?.signal ?? closing?.diag?.exitCode
  if (exit && details.length > 0) details.push(`ended with ${typeof exit === 'number' ? `exit code ${exit}` : exit}`)

  if (details.length > 0) within.failures.push({ name, details })
  else if (suite.suites.length === 0) within.passed++
  return within
}

function merge (outcomes: Outcome[]): Outcome {
  return { passed: outcomes.reduce((sum, { passed }) => sum + passed, 0), failures: outcomes.flatMap(({ failures }) => failures) }
}

/** Says what is wrong with an assertion: nothing where it passed. A skipped one is wrong: nothing is skipped in silence. */
function explain (result: Result | undefined): string[] {
  if (!result) return []
  if (result.skip) return [`skipped: ${result.name} ${result.skip === true ? '' : result.skip}`]
  if (result.todo) return [`todo: ${result.name} ${result.todo === true ? '' : result.todo}`]
  if (result.ok) return []
  const { at, ...diag } = result.diag ?? {}
  const place = at?.fileName ? ` (${at.fileName}:${at.lineNumber})` : ''
  const hidden = new Set(['stdio', 'cwd', 'externalID', 'command', 'args', 'jobId', 'tapCaught', 'compare', 'source', ...('diff' in diag ? ['found', 'wanted'] : [])])
  const rest = Object.entries(diag).filter(([key, value]) => !hidden.has(key) && value !== null)
    .map(([key, value]) => typeof value === 'string' && value.includes('\n') ? `${key}:\n${indent(value.trimEnd())}` : `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return [`${result.name}${place}`, ...rest.map(indent)]
}

function indent (text: string): string {
  return text.replace(/^(?=.)/gm, '  ')
}

function progress (isOk: boolean, name: string, begin: number): void {
  console.log(`${isOk ? 'ok    ' : 'FAILED'} ${name} (${((Date.now() - begin) / 1000).toFixed(1)} s)`)
}

function report (outcomes: Outcome[]): void {
  const { passed, failures } = merge(outcomes)
  for (const { name, details } of failures) console.log(`\nFAILED ${name}\n${indent(details.filter(Boolean).join('\n'))}`)
  process.exitCode = failures.length > 0 ? 1 : 0
  console.log(`\n${passed} passed, ${failures.length} failed`)
}
