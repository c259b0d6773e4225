import { setTimeout as pause } from 'node:timers/promises'
import { always, none, warmUp, within, type Fault, type Result, type Terms } from '../fault.ts'
import { attemptsIn, countOutcomes, durationsAmong, failedAmong, figuresOf, loginFigures, percentile, recoveredIn, since, whole } from '../figures.ts'
import { startRun } from '../run.ts'
import type { Stage } from '../stage.ts'

/** What the provider does, and with which share of its calls. */
const variants: Record<string, { name: string, share?: number }> = {
  black_hole: { name: 'black_hole' },
  slow: { name: 'slow' },
  half_errors: { name: 'errors_500', share: 0.5 },
  resets: { name: 'resets' },
  garbage_json: { name: 'garbage_json' },
  wrong_iss_token: { name: 'wrong_iss_token' },
  wrong_nonce: { name: 'wrong_nonce' },
  body_50mb: { name: 'body_50mb' }
}

const leadMs = 3000
const opensWithin = 10
const closesWithin = 30

/** F10: one provider fails in one way after another. */
export const providerFails: Fault = {
  about: 'one provider fails, the others serve on',
  variants: Object.keys(variants),
  short: ['garbage_json'],
  usual: { rate: 20, seconds: 30 },
  async run (terms) {
    const wanted = Object.keys(variants).filter(variant => terms.variants.includes(variant))
    // before, among and after the others, so that a machine that is busier by and by is seen in all of them
    const quietBefore = terms.short ? [] : [0, Math.ceil(wanted.length / 2), wanted.length]
    const quiet: number[][] = []
    const measured: Measured[] = []
    let stage = await terms.newStage()
    if (!terms.short) await warmUp(stage, terms)
    for (let i = 0; i <= wanted.length; i++) {
      for (const place of quietBefore) {
        if (place !== i) continue
        terms.say('F10 without a fault')
        quiet.push(await withoutFault(stage, terms))
      }
      const variant = wanted[i]
      if (variant === undefined) continue
      terms.say(`F10 ${variant}`)
      // each time the next provider: of one that has just failed every replica is still on its guard
      const one = await withFault(stage, variant, terms, stage.providers[i % stage.providers.length])
      measured.push(one)
      if (one.isWellAgain) continue
      stage = await terms.newStage()
      await warmUp(stage, terms)
    }
    return measured.map(one => terms.short ? one.result : besideQuiet(one, quiet))
  }
}

/** How long logins at the others take when nobody fails, in milliseconds. */
async function withoutFault (stage: Stage, { rate, seconds }: Pick<Terms, 'rate' | 'seconds'>): Promise<number[]> {
  const run = startRun(stage, { rate })
  await pause(leadMs)
  const from = run.clock()
  await pause(seconds * 1000)
  const to = run.clock()
  const { history } = await run.end()
  return durationsAmong(attemptsIn(history, { from, to, providers: stage.providers.map(({ id }) => id) }))
}

interface Measured { result: Result, durationsMs: number[], isWellAgain: boolean }

/** One variant under load: what it did to the others, and how the gateway took it. */
export async function withFault (stage: Stage, variant: string, { rate, seconds, short = false }: Pick<Terms, 'rate' | 'seconds'> & Partial<Pick<Terms, 'short'>>, sick = stage.providers[0]!): Promise<Measured> {
  const { name, share } = variants[variant]!
  const others = stage.providers.filter(({ id }) => id !== sick.id).map(({ id }) => id)
  const run = startRun(stage, { rate })
  const { watch } = run
  await pause(short ? 1000 : leadMs)

  const from = run.clock()
  await sick.misbehave(name, share)
  await run.until(() => watch.openAt(sick.id, from) !== undefined, seconds)
  const countsOpen = await sick.counts()
  await pause(Math.max(0, from + seconds * 1000 - run.clock()))
  const to = run.clock()
  const countsEnd = await sick.counts()
  const [openAt, shownAt] = [watch.openAt(sick.id, from), watch.shownAt(sick.id, from)]
  await sick.recover()
  const isWellAgain = await run.until(() => watch.closedAt(sick.id, to) !== undefined, closesWithin * 2)
  await pause(short ? 1000 : leadMs)
  const end = run.clock()
  const closedAt = watch.closedAt(sick.id, to)
  const ended = await run.end()

  const { history } = ended
  const ofOthers = figuresOf(history, { from, to, providers: others })
  const failed = failedAmong(attemptsIn(history, { from, to: end, providers: others }))
  const there = attemptsIn(history, { from, to, providers: [sick.id] })
  const outcomes = countOutcomes(there)
  const reached = (endpoints: string[]) => openAt === undefined ? undefined : endpoints.reduce((sum, endpoint) => sum + (countsEnd[endpoint] ?? 0) - (countsOpen[endpoint] ?? 0), 0)
  const firstSuccess = history.attempts.filter(({ provider, outcome, startedAt }) => provider === sick.id && outcome === 'success' && startedAt >= to).map(({ endedAt }) => endedAt!).sort((a, b) => a - b)[0]

  const result: Result = {
    fault: 'F10',
    variant,
    figures: {
      ...loginFigures(history, { from, to: end, providers: others }),
      'p50, ms': whole(ofOthers.p50Ms),
      'p99, ms': whole(ofOthers.p99Ms),
      'logins at this provider': there.length,
      'of them well': outcomes.success ?? 0,
      'recovered at another': outcomes.recovered ?? 0,
      'told on the chooser': outcomes.told ?? 0,
      'ended otherwise': there.length - (outcomes.success ?? 0) - (outcomes.recovered ?? 0) - (outcomes.told ?? 0) - (outcomes.raced ?? 0),
      'open on the first replica after, s': since(watch.firstOpenAt(sick.id, from), from),
      'open on every replica after, s': since(openAt, from),
      'on every chooser after, s': since(shownAt, from),
      'sent there untold since': shownAt === undefined ? undefined : history.attempts.flatMap(({ sent }) => sent).filter(({ at, provider }) => provider === sick.id && at > shownAt && at < to).length,
      'calls while open: citizens': reached(['authorize']),
      'calls while open: callbacks': reached(['token', 'userinfo']),
      'calls while open: probes': reached(['discovery', 'jwks', 'status']),
      'closed after, s': since(closedAt, to),
      'first success there after, s': since(firstSuccess, to),
      'logins tried again': ended.replayed
    },
    criteria: [
      none('logins at the others that failed', failed.length),
      within('open on every replica', opensWithin, since(openAt, from)),
      { what: 'shown on every chooser', measured: shownAt === undefined ? 'no' : 'yes', passed: shownAt !== undefined, timed: true },
      within('closed', closesWithin, since(closedAt, to)),
      ...always(ended)
    ],
    violations: ended.violations,
    changes: watch.changes(sick.id, from),
    failed,
    recovered: recoveredIn(ended.history)
  }
  return { result, durationsMs: durationsAmong(attemptsIn(history, { from, to, providers: others })), isWellAgain }
}

/** Share of the others' logins that may be slower than all but one in a hundred are without the fault. Of 400 logins that one is four: more than twelve hardly ever come about by chance. */
const mostSlower = 0.03

/** The same, compared with runs without the fault. One run's 99th percentile is four logins' doing, and is no measure of another's. */
function besideQuiet ({ result, durationsMs }: Measured, quiet: ReadonlyArray<readonly number[]>): Result {
  const usual = percentile(quiet.flat(), 0.99) ?? 0
  const slower = durationsMs.filter(ms => ms > usual).length / durationsMs.length
  const ofEach = (share: number) => spread(quiet.map(durations => percentile(durations, share) ?? Infinity))
  return {
    ...result,
    figures: { ...result.figures, 'p50 without the fault, ms': ofEach(0.5), 'p99 without the fault, ms': ofEach(0.99), 'slower than 99 of 100 without, %': Math.round(1000 * slower) / 10 },
    criteria: [...result.criteria, { what: `of the others at most ${100 * mostSlower} of 100 slower than ${whole(usual)} ms, as 1 of 100 is without the fault`, measured: `${(100 * slower).toFixed(1)} of 100`, passed: slower <= mostSlower }]
  }
}

const spread = (values: readonly number[]) => `${whole(Math.min(...values))}–${whole(Math.max(...values))}`
