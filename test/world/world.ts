import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { citizens } from './citizens.ts'
import { writeConfiguration, type Overrides } from './configuration.ts'
import type { Surroundings } from './host.ts'
import { startLightProvider } from './light-provider.ts'
import { startProvider, type IdentityProvider } from './provider.ts'
import { providerRows } from './providers.ts'
import { startService, type Service } from './service.ts'
import { serviceRows } from './services.ts'

/** Where the gateway of a world with fixed ports is expected. */
export const usualIssuer = 'http://passerelle.localhost:8080'

/** Everyone around a gateway: five identity providers, three services. */
export interface World extends Surroundings {
  providers: Record<string, IdentityProvider>
  services: Record<string, Service>
  writeConfiguration (directory: string, overrides?: Overrides): Promise<void>
  stop (): Promise<void>
}

/** Starts a world around the gateway that will be at `issuer`; the gateway itself may start later. */
export async function startWorld ({ suffix = 'localhost', ports = 'any', ...rest }: Pick<Surroundings, 'issuer'> & Partial<Surroundings>): Promise<World> {
  const surroundings = { suffix, ports, ...rest }
  const starting = [
    ...providerRows.map(row => startProvider(row, surroundings)),
    ...serviceRows.map(row => startService(row, surroundings))
  ]
  const parties = await Promise.allSettled(starting)
  const started = parties.flatMap(party => party.status === 'fulfilled' ? [party.value] : [])
  const stop = async () => { await Promise.all(started.map(party => party.stop())) }
  const failed = parties.find(party => party.status === 'rejected')
  if (failed) {
    await stop()
    throw failed.reason
  }

  const providers = started.filter(party => 'issuer' in party)
  const services = started.filter(party => 'redirect_uri' in party)
  return {
    ...surroundings,
    providers: Object.fromEntries(providers.map(provider => [provider.id, provider])),
    services: Object.fromEntries(services.map(service => [service.id, service])),
    writeConfiguration: (directory, overrides) => writeConfiguration(directory, surroundings, providers, services, overrides),
    stop
  }
}

/** Every host name of a world, the gateway's too: what its certificate has to name, since no wildcard counts right under a top-level name. */
export const hostNames = (suffix: string) => ['passerelle', ...providerRows.map(({ id }) => id), ...serviceRows.flatMap(({ host }) => [host, `espace.${host}`])]
  .map(name => `${name}.${suffix}`)

/** Resolves at the first signal to stop. */
export const interrupted = () => new Promise<NodeJS.Signals>(resolve => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve)
})

/** Lines of a table with a heading, their columns aligned. */
export function table (heading: string, rows: string[][]) {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  return [heading, ...rows.map(row => `  ${row.map((cell, column) => cell.padEnd(widths[column]!)).join('  ').trimEnd()}`), ''].join('\n')
}

/** The citizens with their passwords. */
export const citizenTable = () => table('Citizens', citizens.map(({ username, password, about }) => [username, password, about]))

/** A sixth identity provider, which misbehaves when its control is told to; it asks no password of anybody. */
async function startMisbehaving (issuer: string, ports: Surroundings['ports']) {
  const fixed = ports === 'fixed' ? { port: 4006, controlPort: 4106 } : {}
  const { stop, control, client_id, client_secret, ...provider } = await startLightProvider({ id: 'caprice', redirect_uris: [`${issuer}/callback/caprice`], ...fixed })
  const secret = 'secrets/provider-caprice'
  return {
    control,
    stop,
    /** Registers it with the gateway of this configuration. */
    async register (world: World, directory: string) {
      const registration = { id: 'caprice', title: 'Caprice', order: 60, issuer: provider.issuer, client_id, client_secret: { file: secret }, acr_values: ['eidas1', 'eidas2'] }
      await world.writeConfiguration(directory, { identityProviders: { caprice: registration } })
      await writeFile(join(directory, secret), client_secret, { mode: 0o600 })
    }
  }
}

async function main () {
  const { values } = parseArgs({
    options: {
      issuer: { type: 'string', default: usualIssuer },
      directory: { type: 'string' },
      ports: { type: 'string', default: 'fixed' },
      misbehaving: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false }
    }
  })
  if (values.help) {
    console.log('node test/world/world.ts [--issuer URL of your gateway] [--directory where its configuration is written] [--ports fixed|any] [--misbehaving: one provider more, which can be told to misbehave]')
    return
  }
  const stopped = interrupted()
  const ports = values.ports === 'any' ? 'any' : 'fixed'
  const world = await startWorld({ issuer: values.issuer, ports })
  const misbehaving = values.misbehaving ? await startMisbehaving(values.issuer, ports) : undefined
  const directory = values.directory ? resolve(values.directory) : await mkdtemp(join(tmpdir(), 'passerelle-world-'))
  try {
    if (misbehaving === undefined) await world.writeConfiguration(directory)
    else await misbehaving.register(world, directory)
    console.log(table('Identity providers (issuer, client_id, its secret or key)', Object.values(world.providers).map(({ id, issuer, row, client_key }) =>
      [id, issuer, row.client_id, join(directory, 'secrets', `provider-${id}${client_key ? '.jwk' : ''}`)])))
    console.log(table('Services (address, client_id, its secret)', Object.values(world.services).map(({ id, url, client_id, client_secret }) =>
      [id, url, client_id, client_secret ? join(directory, 'secrets', `client-${id}`) : 'public, without secret'])))
    console.log(citizenTable())
    if (misbehaving !== undefined) {
      console.log('Caprice misbehaves when it is told to, by a name from the list at its control, and recovers when that is taken back:')
      console.log(`  curl ${misbehaving.control}`)
      console.log(`  curl -X PUT ${misbehaving.control}/misbehaviour -d '{"name":"wrong_nonce"}'`)
      console.log(`  curl -X DELETE ${misbehaving.control}/misbehaviour\n`)
    }
    console.log(`Configuration for a gateway at ${values.issuer}: ${directory}`)
    console.log('Its keys are yet to be made: npm run keys -- next DIRECTORY/keys')
    console.log('Ctrl-C stops this world.')
    await stopped
  } finally {
    await Promise.all([world.stop(), misbehaving?.stop()])
    if (!values.directory) await rm(directory, { recursive: true, force: true })
  }
}

if (import.meta.main) await main()
