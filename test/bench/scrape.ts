import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { stringify } from 'yaml'
import { buildApp } from '../../src/app.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { makeNextKeys } from '../../src/keys.ts'
import { legs } from '../../src/ports.ts'
import { failures, type Failure } from '../../src/protocol/errors.ts'
import { steps, type EventName } from '../../src/protocol/events.ts'

const services = 1000
const providers = 20
const scrapes = 20

/** What a scrape costs a gateway of a thousand services and twenty providers whose every label was used: for how long at a time it keeps everybody else waiting, in milliseconds. */
export async function scrapeCost () {
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-bench-'))
  try {
    for (const folder of ['clients', 'identity-providers', 'secrets']) mkdirSync(join(directory, folder))
    writeFileSync(join(directory, 'secrets', 's'), 'a secret of the benchmark')
    writeFileSync(join(directory, 'passerelle.yaml'), stringify({ issuer: 'https://login.example', keys: 'keys', listen: { port: 0 }, operations: { host: '127.0.0.1', port: 0 } }))
    for (let i = 0; i < services; i++) writeFileSync(join(directory, 'clients', `${i}.yaml`), stringify({ client_id: `service-of-a-ministry-${i}`, name: `Service ${i}`, redirect_uris: [`https://service-${i}.example/callback`], client_secrets: [{ file: 'secrets/s' }] }))
    for (let i = 0; i < providers; i++) writeFileSync(join(directory, 'identity-providers', `${i}.yaml`), stringify({ id: `provider-${i}`, title: `Provider ${i}`, issuer: `https://provider-${i}.example`, client_id: 'us', client_secret: { file: 'secrets/s' }, acr_values: ['eidas1'] }))
    makeNextKeys(join(directory, 'keys'))
    const app = await buildApp(loadConfiguration(directory), { log: false })
    await app.ready()
    for (let i = 0; i < services; i++) for (const failure of ['citizen_refused', 'scope_invalid', 'provider_timed_out', 'store_unavailable'] as const) app.countFailure(failure, `service-of-a-ministry-${i}`)
    for (let i = 0; i < providers; i++) {
      const watch = app.watchProvider(`provider-${i}`)
      for (const leg of legs) for (const outcome of ['answered', 'refused', 'provider_timed_out', 'provider_server_error'] as const) watch.called(leg, outcome, 0.02)
      for (const failure of ['', 'provider_timed_out', 'provider_refused', 'provider_answer_invalid'] as Array<Failure | ''>) watch.identified(failure, 0.1)
      for (const event of Object.keys(steps) as EventName[]) app.countStep(event, `provider-${i}`)
    }
    for (const failure of Object.keys(failures) as Failure[]) app.countFailure(failure)
    for (const route of ['/authorize', '/choose', '/login/:idp', '/callback/:idp', '/consent', '/token', '/userinfo', '/introspection', '/revocation', '/par', '/jwks', '/session/end', 'none']) app.timeRequest(route, 0.004)

    const longest: number[] = []
    const whole: number[] = []
    let body = ''
    for (let i = 0; i < scrapes; i++) {
      const begun = performance.now()
      const scrape = { isOver: false }
      const answered = app.operations.inject('/metrics').then(answer => {
        body = answer.body
        scrape.isOver = true
      })
      let most = 0
      let last = performance.now()
      do {
        await nextTurn()
        const now = performance.now()
        most = Math.max(most, now - last)
        last = now
      } while (!scrape.isOver)
      await answered
      whole.push(performance.now() - begun)
      longest.push(most)
    }
    await app.close()
    const middle = (values: number[]) => Math.round(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]! * 10) / 10
    return {
      series: body.split('\n').filter(line => line !== '' && !line.startsWith('#')).length,
      kilobytes: Math.round(body.length / 1000),
      msInAll: middle(whole),
      msBlockedAtMost: { median: middle(longest), worst: Math.round(Math.max(...longest.slice(5)) * 10) / 10 }
    }
  } finally { rmSync(directory, { recursive: true, force: true }) }
}

if (import.meta.main) console.log(JSON.stringify(await scrapeCost(), null, 2))
