import Fastify from 'fastify'
import fp from 'fastify-plugin'
import metrics from '../../plugins/metrics.ts'
import { bulkhead } from '../../src/adapters/bulkhead.ts'
import { guarded } from '../../src/adapters/circuit-breaker.ts'
import { measured } from '../../src/adapters/measured.ts'
import { measuredCalls, retriedOnce } from '../../src/adapters/provider-calls.ts'
import { timeBudget } from '../../src/adapters/time-budget.ts'
import type { CallProvider, IdentityProvider, Question } from '../../src/ports.ts'

const rounds = 100_000

/** What the guards around an identity provider cost by themselves, in microseconds of CPU: one way back, and one call on it; each against the same without them. */
export async function chainCost () {
  const app = Fastify()
  await app.register(fp(async app => { app.decorate('configuration', { hash: 'bench', clients: new Map(), levels: { levels: [] } } as never) }, { name: 'configuration' }))
  app.decorate('now', () => Math.floor(Date.now() / 1000))
  await app.register(metrics)
  const watch = app.watchProvider('bench')

  const bare: IdentityProvider = {
    standing: () => 'up',
    authorizationUrl: async () => new URL('https://id.example'),
    identify: async () => ({ sub: 'somebody', claims: {} }),
    endSessionUrl: async () => undefined,
    probe: async () => 'well',
    close: async () => {}
  }
  const breaker = { name: 'bench', error_percent: 50, volume: 10, window_ms: 60_000, reset_ms: 10_000, probe_ms: 0, slow_ms: 2000, watch }
  const guards = measured(bulkhead(guarded(timeBudget(bare, 8000), breaker), { most: 64, watch }), watch)
  const callback = new URL('https://gateway.example/callback/bench')
  const question: Question = { redirect_uri: callback.href, state: '', nonce: '', code_verifier: '', acr: 'eidas1', ui_locales: 'fr' }

  const call: CallProvider = async () => ({ status: 200, headers: {}, text: '{}' })
  const guardedCall = retriedOnce(measuredCalls(call, watch))
  const asked = { leg: 'token', method: 'POST', url: 'https://id.example/token', headers: {} } as const
  try {
    return {
      wayBackMicroseconds: await difference(() => guards.identify(callback, question), () => bare.identify(callback, question)),
      callMicroseconds: await difference(() => guardedCall(asked), () => call(asked))
    }
  } finally {
    await guards.close()
    await app.close()
  }
}

async function difference (one: () => Promise<unknown>, other: () => Promise<unknown>) {
  await cost(one)                                                      // what is compiled late is not what a call costs
  return Math.round((await cost(one) - await cost(other)) * 100) / 100
}

async function cost (act: () => Promise<unknown>) {
  const before = process.cpuUsage()
  for (let i = 0; i < rounds; i++) await act()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / rounds
}
