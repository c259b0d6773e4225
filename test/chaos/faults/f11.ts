import { setTimeout as pause } from 'node:timers/promises'
import { always, none, warmUp, within, type Fault, type Result, type Terms } from '../fault.ts'
import { attemptsIn, countOutcomes, failedAmong, inSeconds, loginFigures, recoveredIn, since } from '../figures.ts'
import { isPrimary } from '../redis.ts'
import { startRun } from '../run.ts'
import type { Stage } from '../stage.ts'

/** Whether the replicas start again while every provider is down, and with an empty Redis. */
const variants: Record<string, { restart: boolean, flush: boolean }> = {
  running: { restart: false, flush: false },
  restarted_redis_flushed: { restart: true, flush: true },
  restarted_redis_kept: { restart: true, flush: false }
}

const leadMs = 5000
const explainedWithin = 30
const backWithin = 30

/** F11: every provider is down, at start too. */
export const everyProviderDown: Fault = {
  about: 'every provider is down, at start too',
  variants: Object.keys(variants),
  async run (terms) {
    const stage = await terms.newStage()
    if (!terms.short) await warmUp(stage, terms)
    const results: Result[] = []
    for (const variant of Object.keys(variants).filter(variant => terms.variants.includes(variant))) {
      terms.say(`F11 ${variant}`)
      results.push(await withoutProviders(stage, variant, terms))
    }
    return results
  }
}

async function withoutProviders (stage: Stage, variant: string, { rate, seconds }: Terms): Promise<Result> {
  const { restart, flush } = variants[variant]!
  const { providers, replicas } = stage
  const exitsBefore = replicas.map(({ exits }) => exits())
  const run = startRun(stage, { rate })
  const { watch } = run
  await pause(leadMs)

  const from = run.clock()
  await Promise.all(providers.map(provider => provider.kill()))
  if (restart) await Promise.all(replicas.map(replica => replica.stop()))
  if (flush) await flushRedis(stage)
  const startedAt = run.clock()
  if (restart) await Promise.all(replicas.map(replica => replica.start()))
  const readyAt = run.clock()
  await run.until(() => watch.noneAt(readyAt) !== undefined, explainedWithin * 2)
  const explainedAt = watch.noneAt(readyAt)
  const documents = await Promise.all(replicas.flatMap(({ url }) => ['/.well-known/openid-configuration', '/jwks'].map(async path => (await fetch(url + path)).status)))
  await pause(Math.max(0, from + seconds * 1000 - run.clock()))

  const to = run.clock()
  await Promise.all(providers.map(provider => provider.start()))
  const upAt = run.clock()
  const backAt = () => {
    const firsts = providers.map(({ id }) => history.attempts.find(({ provider, outcome, startedAt }) => provider === id && outcome === 'success' && startedAt >= upAt)?.endedAt)
    return firsts.every(at => at !== undefined) ? Math.max(...firsts) : undefined
  }
  const { history } = run
  await run.until(() => backAt() !== undefined && providers.every(({ id }) => watch.closedAt(id, upAt) !== undefined), backWithin * 2)
  const normalAt = run.clock()
  await pause(leadMs)
  const end = run.clock()
  const ended = await run.end()

  const all = providers.map(({ id }) => id)
  const meanwhile = attemptsIn(history, { from, to, providers: all })
  const outcomes = countOutcomes(meanwhile)
  const failed = failedAmong(attemptsIn(history, { from: normalAt, to: end, providers: all }))
  const exits = replicas.reduce((sum, { exits }, i) => sum + exits() - exitsBefore[i]!, 0)
  return {
    fault: 'F11',
    variant,
    figures: {
      ...loginFigures(history, { from: normalAt, to: end }),
      'down for, s': inSeconds(to - from),
      'logins meanwhile': meanwhile.length,
      'of them told on the chooser': outcomes.told ?? 0,
      'stuck at a provider': outcomes.stuck ?? 0,
      'ended otherwise': meanwhile.length - (outcomes.told ?? 0) - (outcomes.stuck ?? 0),
      'replicas ready after, s': restart ? since(readyAt, startedAt) : undefined,
      'every chooser explains after, s': since(explainedAt, readyAt),
      'first success at every provider after, s': since(backAt(), upAt),
      'logins tried again': ended.replayed
    },
    criteria: [
      { what: 'discovery and keys: 200', measured: documents.join(' '), passed: documents.every(status => status === 200) },
      within('every chooser marks every provider, and explains,', explainedWithin, since(explainedAt, readyAt)),
      none('replicas that ended by themselves', exits),
      within('logins at every provider, without restart,', backWithin, since(backAt(), upAt)),
      none('logins that failed when all was back', failed.length),
      ...always(ended)
    ],
    violations: ended.violations,
    failed,
    recovered: recoveredIn(ended.history)
  }
}

/** Empties every node that takes writes. */
async function flushRedis ({ cluster }: Stage) {
  for (const [i] of cluster.urls.entries()) if (await isPrimary(cluster, i)) await cluster.command(i, 'FLUSHALL')
}
