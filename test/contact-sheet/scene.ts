import { setTimeout as pause } from 'node:timers/promises'
import { makeNextKeys } from '../../src/keys.ts'
import { logInBeside } from '../chaos/driver.ts'
import { replace } from '../chaos/faults/f1.ts'
import { aPrimary } from '../chaos/redis.ts'
import { startRun } from '../chaos/run.ts'
import type { Stage } from '../chaos/stage.ts'

/** A course of events on a stage under load: a provider fails, another forges, the primary of a part of Redis dies, then all of it hangs, the configuration changes, a replica is replaced. */
export async function play (stage: Stage, { rate, seconds, say }: { rate: number, seconds: number, say: (line: string) => void }) {
  const run = startRun(stage, { rate, oneIn: 'none' })
  const part = seconds * 1000 / 6
  const over = new AbortController()
  const beside = (async () => {                                         // citizens who come again in the same browser: sessions spare them the provider
    for (let n = 0; !over.signal.aborted; n++) {
      const first = await logInBeside(run.scene, `citizen-${n % 20}`)
      if (first.finished !== undefined) await logInBeside(run.scene, `citizen-${n % 20}`, { before: first })
      await pause(500)
    }
  })()
  const { cluster, configurations, replicas, providers: [failing, forging] } = stage
  await pause(part)
  say(`${failing!.id} breaks its answers off`)
  await failing!.misbehave('cut_short')
  for (let n = 0; n < 5; n++) await guess(replicas[0]!.url, stage.clients[0]!.client_id)
  await pause(part)
  await failing!.recover()
  say(`${forging!.id} forges a token now and then`)
  await forging!.misbehave('wrong_iss_token', 0.2)
  await pause(part / 2)
  await forging!.recover()
  const { primary } = await aPrimary(cluster)
  say('a primary of Redis dies')
  await cluster.kill(primary)
  await pause(part)
  const others = [...cluster.urls.keys()].filter(i => i !== primary)
  say('the rest of Redis hangs for eight seconds')
  for (const i of others) cluster.freeze(i)
  await pause(8000)
  for (const i of others) cluster.thaw(i)
  await pause(part)
  say('the configuration changes, and the first replica does not take it')
  makeNextKeys(stage.keys)
  for (const [i, configuration] of configurations.entries()) configuration.change({ 'clients/allow.yaml': i === 0 ? 'client_id: {' : configuration.document('clients/allow.yaml', { name: 'Service of another name' }) })
  await pause(part / 2)
  say('the last replica is replaced')
  await replace(replicas.at(-1)!)
  await pause(part)
  over.abort()
  await beside
  return run
}

/** Somebody who does not know the secret of a service. */
const guess = (url: string, client_id: string) => fetch(`${url}/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'authorization_code', code: 'none', client_id, client_secret: 'guessed' }) })
