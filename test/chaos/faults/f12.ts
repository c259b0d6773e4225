import { setTimeout as pause } from 'node:timers/promises'
import { always, none, warmUp, type Criterion, type Fault, type Result, type Terms } from '../fault.ts'
import { attemptsIn, countOutcomes, failedAmong, figuresOf, loginFigures, recoveredIn, whole } from '../figures.ts'
import { startRun } from '../run.ts'
import type { Provider } from '../provider.ts'
import type { Stage } from '../stage.ts'

const leadMs = 3000
/** A key that nobody knows costs one fetch in so long, for each replica. */
const fetchEverySeconds = 30
/** The flood: so many times the logins, and of its provider's tokens so many by a key that nobody knows. */
const floodTimes = 2
const unknownShare = 0.2
/** Known keys are asked for again after five minutes. */
const askedAgainWithin = 7 * 60

/** F12: a provider changes its keys, or does not say them, or names keys that are not there. */
export const keysChange: Fault = {
  about: 'keys of a provider change, are not to be had, or are unknown',
  variants: ['keys_renewed', 'unknown_kid', 'jwks_away'],
  async run (terms) {
    const stage = await terms.newStage()
    const [changing, failing, empty] = stage.providers as [Provider, Provider, Provider]
    if (!terms.short) await warmUp(stage, terms)
    const results: Result[] = []
    const away = terms.variants.includes('jwks_away') ? await keysGoAway(failing, empty) : undefined  // while the others run: keys are asked for again after minutes
    if (terms.variants.includes('keys_renewed')) {
      terms.say('F12 keys_renewed')
      results.push(await keysRenewed(stage, changing, terms))
    }
    if (terms.variants.includes('unknown_kid')) {
      if (results.length > 0) await pause(fetchEverySeconds * 1000)     // the same keys were asked for at once just now
      terms.say('F12 unknown_kid')
      results.push(await unknownKid(stage, changing, terms))
    }
    if (away !== undefined) {
      terms.say('F12 jwks_away, until every replica has asked for them')
      results.push(await keysAway(stage, away, terms))
    }
    return results
  }
}

/** As many as there may be in so long: one at once, and one whenever the time is over. */
const mostFetches = ({ replicas }: Stage, milliseconds: number) => replicas.length * (Math.floor(milliseconds / 1000 / fetchEverySeconds) + 1)
const fetchesOf = async (provider: Provider) => (await provider.counts())['jwks'] ?? 0
const atLeastOne = (fetches: number): Criterion => ({ what: 'keys asked for at least once', measured: String(fetches), passed: fetches > 0 })
const fewFetches = (stage: Stage, fetches: number, milliseconds: number): Criterion =>
  ({ what: `keys asked for at most ${mostFetches(stage, milliseconds)} times`, measured: String(fetches), passed: fetches <= mostFetches(stage, milliseconds) })

/** The keys change without overlap, under load. */
export async function keysRenewed (stage: Stage, provider: Provider, { rate, seconds }: Pick<Terms, 'rate' | 'seconds'>): Promise<Result> {
  const run = startRun(stage, { rate })
  await pause(leadMs)
  const before = await fetchesOf(provider)
  const from = run.clock()
  await provider.renewKeys({ overlap: false })
  await pause(seconds * 1000)
  const to = run.clock()
  const fetches = await fetchesOf(provider) - before
  const ended = await run.end()

  const attempts = attemptsIn(ended.history, { from, to, providers: [provider.id] })
  const first = attempts.find(({ purpose }) => purpose !== 'race')       // a race is lost on purpose
  const failed = failedAmong(attemptsIn(ended.history, { from, to, providers: stage.providers.map(({ id }) => id) }))
  const figures = figuresOf(ended.history, { from, to, providers: [provider.id] })
  return {
    fault: 'F12',
    variant: 'keys_renewed',
    figures: {
      ...loginFigures(ended.history, { from, to }),
      'logins at this provider': figures.attempted,
      'p99, ms': whole(figures.p99Ms),
      'first login after the change': first?.outcome,
      'its keys asked for': fetches,
      'logins tried again': ended.replayed
    },
    criteria: [
      { what: 'first login after the change: success', measured: String(first?.outcome), passed: first?.outcome === 'success' },
      none('logins that failed', failed.length),
      atLeastOne(fetches),
      fewFetches(stage, fetches, to - from),
      ...always(ended)
    ],
    violations: ended.violations,
    failed,
    recovered: recoveredIn(ended.history)
  }
}

/** Some of a provider's tokens name a key that is not there: too few for its breaker, more than its keys may be asked for. */
async function unknownKid (stage: Stage, provider: Provider, { rate, seconds }: Terms): Promise<Result> {
  const others = stage.providers.filter(({ id }) => id !== provider.id).map(({ id }) => id)
  const run = startRun(stage, { rate: rate * floodTimes })
  await pause(leadMs)
  const before = await fetchesOf(provider)
  const from = run.clock()
  await provider.misbehave('unknown_kid', unknownShare)
  await pause(seconds * 1000)
  const to = run.clock()
  const fetches = await fetchesOf(provider) - before
  await provider.recover()
  await run.until(() => run.watch.closedAt(provider.id, to) !== undefined, 60)
  const normalAt = run.clock()
  await pause(leadMs)
  const end = run.clock()
  const ended = await run.end()

  const figures = figuresOf(ended.history, { from, to, providers: others })
  const there = attemptsIn(ended.history, { from, to, providers: [provider.id] })
  const outcomes = countOutcomes(there)
  const wrong = there.length - (outcomes.success ?? 0) - (outcomes.raced ?? 0)
  const most = mostFetches(stage, to - from)
  const failed = [
    ...failedAmong(attemptsIn(ended.history, { from, to: end, providers: others })),
    ...failedAmong(attemptsIn(ended.history, { from: normalAt, to: end, providers: [provider.id] }))
  ]
  return {
    fault: 'F12',
    variant: 'unknown_kid',
    figures: {
      ...loginFigures(ended.history, { from, to: end, providers: others }),
      'logins at this provider': there.length,
      'of them well': outcomes.success ?? 0,
      'recovered at another': outcomes.recovered ?? 0,
      'told on the chooser': outcomes.told ?? 0,
      'p99, ms': whole(figures.p99Ms),
      'its keys asked for': fetches,
      'logins tried again': ended.replayed
    },
    criteria: [
      none('logins that failed at the others, or afterwards', failed.length),
      { what: `its logins that went wrong: more than ${most}`, measured: String(wrong), passed: wrong > most },
      atLeastOne(fetches),
      fewFetches(stage, fetches, to - from),
      ...always(ended)
    ],
    violations: ended.violations,
    failed,
    recovered: recoveredIn(ended.history)
  }
}

/** Two providers, one of which answers 500 for its keys from now on, the other an empty set, and how often each had been asked before. */
type Away = Array<{ provider: Provider, before: number }>

async function keysGoAway (failing: Provider, empty: Provider): Promise<Away> {
  const away = await Promise.all([failing, empty].map(async provider => ({ provider, before: await fetchesOf(provider) })))
  await failing.misbehave('jwks_500')
  await empty.misbehave('jwks_empty')
  return away
}

/** Keys that are not to be had, for so long that every replica has asked for them again. */
async function keysAway (stage: Stage, away: Away, { rate, seconds }: Terms): Promise<Result> {
  const run = startRun(stage, { rate })
  const asked = () => Promise.all(away.map(async ({ provider, before }) => await fetchesOf(provider) - before))
  await run.until(async () => (await asked()).every(times => times >= stage.replicas.length), askedAgainWithin)
  await pause(seconds * 1000)
  const to = run.clock()
  const times = await asked()
  await Promise.all(away.map(({ provider }) => provider.recover()))
  const ended = await run.end()

  const window = { from: 0, to, providers: away.map(({ provider }) => provider.id) }
  const figures = figuresOf(ended.history, window)
  const failed = failedAmong(attemptsIn(ended.history, window))
  return {
    fault: 'F12',
    variant: 'jwks_away',
    figures: {
      ...loginFigures(ended.history, { from: 0, to }),
      'logins at this provider': figures.attempted,
      'p99, ms': whole(figures.p99Ms),
      'its keys asked for': times.join(' + '),
      'logins tried again': ended.replayed
    },
    criteria: [
      none('logins that failed', failed.length),
      { what: 'every replica asked for the keys in vain', measured: times.join(' + '), passed: times.every(count => count >= stage.replicas.length) },
      ...always(ended)
    ],
    violations: ended.violations,
    failed,
    recovered: recoveredIn(ended.history)
  }
}
