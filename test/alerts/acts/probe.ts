import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { startProvider, type IdentityProvider } from '../../world/provider.ts'
import { providerRows } from '../../world/providers.ts'
import type { Act, Scenery } from '../trial.ts'

const program = fileURLToPath(new URL('../../../src/probe.ts', import.meta.url))
/** seconds of real time from one probe to the next: whole processes, of which one a minute is meant */
const everySeconds = 2

/** The probe as docs/probe.md sets it up, at an identity provider of its own that has a form for passwords. */
interface Probing { provider: IdentityProvider, secretFile: string, secret: string, goOn (): void, stop (): Promise<void> }
let probing: Probing

async function setUp ({ stage: { issuer, configurations }, probeFile }: Pick<Scenery, 'stage' | 'probeFile'>) {
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-probe-'))
  const row = providerRows.find(({ id }) => id === 'plume-et-pli')!
  const provider = await startProvider({ ...row, token_endpoint_auth_method: 'client_secret_basic' }, { issuer, suffix: 'localhost', ports: 'any' })
  const secret = 'a-secret-of-the-probe-that-is-long-enough'
  const secretFile = join(directory, 'client-secret')
  writeFileSync(secretFile, secret)
  writeFileSync(join(directory, 'password'), 'tournesol')
  writeFileSync(join(directory, 'probe.yaml'), stringify({
    issuer,
    client_id: 'probe',
    client_secret: { file: 'client-secret' },
    redirect_uri: 'http://probe.localhost/callback',
    scopes: ['openid', 'profile'],
    claims: ['given_name'],
    provider: { id: row.id },
    account: { username: 'marion', password: { file: 'password' } }
  }))
  for (const configuration of configurations) {
    configuration.change({
      'secrets/client-probe': secret,
      [`secrets/provider-${row.id}`]: provider.client_secret!,
      'clients/probe.yaml': stringify({ client_id: 'probe', name: 'Probe', redirect_uris: ['http://probe.localhost/callback'], scopes: ['openid', 'profile'], client_secrets: [{ file: 'secrets/client-probe' }], idp_hints: [row.id], identity_providers: { allow: [row.id] }, consent: 'required', sso: false }),
      [`identity-providers/${row.id}.yaml`]: stringify({
        id: row.id,
        title: row.title,
        state: 'hidden',
        issuer: provider.issuer,
        client_id: row.client_id,
        client_secret: { file: `secrets/provider-${row.id}` },
        id_token_signed_response_alg: row.id_token_signed_response_alg,
        ...(row.userinfo_signed_response_alg === undefined ? {} : { userinfo_signed_response_alg: row.userinfo_signed_response_alg }),
        ...(row.discovery ? {} : { endpoints: provider.endpoints }),
        scopes: row.scopes,
        acr_values: Object.keys(row.levels),
        ...(row.tellsMethods ? {} : { amr: ['pwd'] })
      })
    })
  }
  let over = new AbortController()
  let running = Promise.resolve()
  async function probe () {
    const { signal } = over
    while (!signal.aborted) {
      await new Promise<void>(resolve => { execFile(process.execPath, [program, join(directory, 'probe.yaml'), '--metrics', probeFile], () => resolve()) })
      await pause(everySeconds * 1000, undefined, { signal }).catch(() => {})
    }
  }
  probing = {
    provider,
    secretFile,
    secret,
    goOn () { over = new AbortController(); running = probe() },
    async stop () { over.abort(); await running }
  }
  await pause(8000)                                                     // until replicas have taken it up
  probing.goOn()
  await pause(3000)
  return async () => {
    await probing.stop()
    await provider.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}

/** What is seen from outside. */
export const probe: Act = {
  name: 'probe',
  about: 'two replicas, and the synthetic login at a real oidc-provider',
  options: { sameConfiguration: true },
  factor: 60,
  rate: 5,
  prepare: setUp,
  quietSeconds: 20,
  tailSeconds: 30,
  trials: [
    {
      fault: 'the identity provider of the synthetic login is gone',
      fires: ['PasserelleProbeProviderFailing'],
      mayFire: ['PasserelleProviderDown'],
      withinSeconds: 50,
      goneWithin: 60,
      async strike () {
        await probing.provider.stop()
        return () => probing.provider.start()
      }
    },
    {
      fault: 'all replicas are killed at once (F2)',
      fires: ['PasserelleNotScraped', 'PasserelleProbeFailing'],
      mayFire: ['PasserelleReplicaNotScraped'],
      withinSeconds: 30,
      goneWithin: 30,
      async strike ({ stage: { replicas } }) {
        await Promise.all(replicas.map(replica => replica.stop('SIGKILL')))
        return () => Promise.all(replicas.map(replica => replica.start()))
      }
    },
    {
      fault: 'the probe finds no secret of its client',
      fires: ['PasserelleProbeBroken'],
      withinSeconds: 30,
      goneWithin: 20,
      async strike () {
        rmSync(probing.secretFile)
        return () => writeFileSync(probing.secretFile, probing.secret)
      }
    },
    {
      fault: 'the machine of the probe is gone, with its figures',
      fires: ['PasserelleProbeAbsent'],
      withinSeconds: 60,
      async strike ({ probeFile }) {
        await probing.stop()
        rmSync(probeFile)
        return async () => {
          probing.goOn()
          await pause(5000)
        }
      }
    },
    {
      fault: 'the probe is not run any more, and its figures stay',
      fires: ['PasserelleProbeStopped'],
      withinSeconds: 330,
      async strike () {
        await probing.stop()
        return () => probing.goOn()
      }
    }
  ]
}
