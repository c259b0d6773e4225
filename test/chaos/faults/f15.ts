import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { ConfigurationDirectory } from '../configuration.ts'
import { resultOf, touchable, underLoad } from '../course.ts'
import { startDriver } from '../driver.ts'
import { faultOf, none, type Criterion, type Result, type Terms } from '../fault.ts'
import { backToNormal, countOutcomes, failedAmong, isWell } from '../figures.ts'
import type { Attempt } from '../history.ts'
import { untilTaken } from '../key-rotation.ts'
import { isFinished, type Finished } from '../login.ts'
import type { Provider } from '../provider.ts'
import { metricOfAll } from '../replica.ts'
import type { Run } from '../run.ts'
import type { Client, Stage, StageOptions } from '../stage.ts'

/** What is done to the configuration. */
interface Variant { strike: (run: Run, stage: Stage, terms: Terms) => Promise<Marks>, stage: StageOptions }

interface Marks {
  figures: Result['figures']
  criteria: Criterion[]
  /** logins that fail since their service is closed */
  isClosed?: (attempt: Attempt) => boolean
  /** providers that come and go: whoever is there may have to choose another */
  passing?: string
}

/** F15: the configuration changes under load. */
export const configurationReloaded = faultOf<Variant>('F15', {
  about: 'configuration reloaded: a provider and a service added, disabled, removed, in files or as in a pod; changes one upon another; broken files',
  variants: {
    come_and_go: { strike: comeAndGo, stage: { spare: true } },
    come_and_go_mounted: { strike: comeAndGo, stage: { spare: true, mounted: true } },
    again_and_again: { strike: changedAgainAndAgain, stage: { spare: true, mounted: true } },
    broken_files: { strike: broken, stage: { spare: true, mounted: true } }
  },
  async run (stage: Stage, name, { strike }, terms: Terms): Promise<Result> {
    const reloads = (outcome: string) => metricOfAll(stage.replicas, 'passerelle_configuration_reloads_total', new RegExp(`outcome="${outcome}"`))
    const [takenBefore, refusedBefore] = [await reloads('taken'), await reloads('invalid|start_needed')]
    const course = await underLoad(stage, terms, run => strike(run, stage, terms))
    const { figures, criteria, passing, isClosed = () => false } = course.marks
    const attempts = touchable(course)
    const failed = failedAmong(attempts).filter(attempt => !isClosed(attempt))
    const detours = attempts.filter(({ outcome, provider }) => outcome === 'recovered' && provider !== passing)
    const result = resultOf(course, {
      fault: 'F15',
      variant: name,
      figures: { 'readings taken': await reloads('taken') - takenBefore, 'readings refused': await reloads('invalid|start_needed') - refusedBefore, ...figures },
      criteria: [
        none('logins that failed at services that stay', failed.length),
        none('logins that had to go another way at providers that stay', detours.length),
        ...criteria
      ]
    })
    const lasting = attempts.filter(attempt => !isClosed(attempt) && attempt.provider !== passing)
    return { ...result, figures: { ...result.figures, failed: failed.length, 'back to normal after, s': backToNormal({ attempts: lasting }, course.from) }, failed }
  }
})

const holds = (what: string, passed: boolean): Criterion => ({ what, measured: passed ? 'yes' : 'no', passed })
const some = (what: string, count: number): Criterion => ({ what: `${what}: some`, measured: String(count), passed: count > 0 })

/** Changes the configuration of every replica, and waits until it is in force. */
async function change (run: Run, stage: Stage, files: (configuration: ConfigurationDirectory) => Record<string, string | null>) {
  for (const configuration of stage.configurations) configuration.change(files(configuration))
  return untilTaken(run, stage)
}

/** whoever comes to what is new looks at each page for so long at most, so that many are on the way */
const lingersMs = 2000

/** A provider and a service are added, the provider is disabled, enabled, removed, the service is closed, removed: each time with logins under way there. */
async function comeAndGo (run: Run, stage: Stage, { rate, seconds }: Terms): Promise<Marks> {
  const { clients, providers, replicas } = stage
  const spare = stage.spare!
  const guest = guestLike(clients.at(-1)!)
  const finished: Finished[] = []
  const taken: boolean[] = []
  /** Logins at these for so long; what is under way then is left to whatever happens, and its end waited for. */
  const meanwhile = async (pairs: Array<{ provider: Provider, client: Client }>, milliseconds: number, happens: () => Promise<unknown>) => {
    const driver = startDriver({ ...run.scene, lingersMs }, {
      rate: rate / 2,
      pairs,
      onCode (login) {
        if (isFinished(login)) finished.push(login)
        run.tryAgain(login)
      }
    })
    await pause(milliseconds)
    const ended = driver.end()
    const underWay = run.history.attempts.filter(({ endedAt, provider, client }) => endedAt === undefined && pairs.some(pair => pair.provider.id === provider && pair.client.client_id === client))
    await happens()
    await ended
    return underWay
  }
  const atSpare = [...clients, guest].map(client => ({ provider: spare, client }))
  const turn = seconds * 1000 / 4

  taken.push(await change(run, stage, configuration => ({ ...providerFiles(configuration, spare, providers[0]!), ...clientFiles(configuration, guest, clients.at(-1)!) })))
  clients.push(guest)
  const whenDisabled = (await meanwhile([...atSpare, { provider: providers[0]!, client: guest }], turn, async () => { taken.push(await change(run, stage, stateOf(spare, 'disabled'))) })).filter(({ provider }) => provider === spare.id)
  taken.push(await change(run, stage, stateOf(spare, 'active')))
  const whenRemoved = await meanwhile(atSpare, turn, async () => {
    taken.push(await change(run, stage, () => ({ [`identity-providers/${spare.id}.yaml`]: null, [`secrets/provider-${spare.id}`]: null })))
  })

  let closedAt = Infinity
  const whenClosed = await meanwhile(providers.map(provider => ({ provider, client: guest })), turn, async () => {
    clients.splice(clients.indexOf(guest), 1)
    closedAt = run.clock()
    taken.push(await change(run, stage, configuration => ({ [`clients/${guest.client_id}.yaml`]: configuration.document(`clients/${guest.client_id}.yaml`, { active: false }) })))
    const at = run.clock()
    for (const { attempt: { n, client }, access_token } of finished) if (client === guest.client_id) run.history.endings.push({ n, access_token, how: 'closing', at })
  })
  taken.push(await change(run, stage, () => ({ [`clients/${guest.client_id}.yaml`]: null, [`secrets/client-${guest.client_id}`]: null })))
  // the checker looks whether a token is good after its service was closed
  const last = finished.filter(({ attempt }) => attempt.client === guest.client_id).slice(-10)
  await Promise.all(last.flatMap(({ attempt: { n }, service, access_token }) => replicas.map(replica => service.ask({ n, access_token, replica }))))

  const new_ = run.history.attempts.filter(({ provider, client, outcome }) => outcome === 'success' && (provider === spare.id || client === guest.client_id)).length
  const ended = (attempts: readonly Attempt[]) => {
    const { success = 0, recovered = 0, raced = 0, failed = 0 } = countOutcomes(attempts)
    return `${attempts.length}: ${success + raced} straight on, ${recovered} by a click, ${failed} not`
  }
  return {
    passing: spare.id,
    isClosed: ({ client, endedAt = Infinity }) => client === guest.client_id && endedAt >= closedAt,
    figures: {
      'logins at what was added': new_,
      'under way when its provider was disabled': ended(whenDisabled),
      'under way when its provider was removed': ended(whenRemoved),
      'under way when its service was closed': ended(whenClosed)
    },
    criteria: [
      some('logins at what was added', new_),
      some('logins under way at the provider when it was disabled', whenDisabled.length),
      some('logins under way at the provider when it was removed', whenRemoved.length),
      some('logins under way at the service when it was closed', whenClosed.length),
      none('of these, citizens who were told nothing', whenClosed.filter(attempt => !isWell(attempt) && !tellsWhy.test(attempt.why ?? '')).length),
      holds('each time every replica has in force what is in its files, by the hash', taken.every(Boolean))
    ]
  }
}

/** A closed service's citizens read so, and its own calls are refused. */
const tellsWhy = / A0[12]$|invalid_client|invalid_token|^a race gave/

const guestLike = (client: Client): Client => ({
  ...client,
  client_id: 'guest',
  client_secret: randomBytes(32).toString('base64url'),
  redirect_uri: 'http://guest.localhost/callback',
  post_logout_redirect_uri: 'http://guest.localhost/'
})

const clientFiles = (configuration: ConfigurationDirectory, { client_id, client_secret, redirect_uri, post_logout_redirect_uri }: Client, like: Client) => ({
  [`secrets/client-${client_id}`]: client_secret,
  [`clients/${client_id}.yaml`]: configuration.document(`clients/${like.client_id}.yaml`, {
    client_id,
    name: `Service ${client_id}`,
    redirect_uris: [redirect_uri],
    post_logout_redirect_uris: [post_logout_redirect_uri],
    client_secrets: [{ file: `secrets/client-${client_id}` }]
  })
})

const providerFiles = (configuration: ConfigurationDirectory, { id, issuer, client_id, client_secret }: Provider, like: Provider) => ({
  [`secrets/provider-${id}`]: client_secret,
  [`identity-providers/${id}.yaml`]: configuration.document(`identity-providers/${like.id}.yaml`, { id, title: `Compte ${id}`, order: 9, issuer, client_id, client_secret: { file: `secrets/provider-${id}` } })
})

const stateOf = ({ id }: Provider, state: string) => (configuration: ConfigurationDirectory) => ({ [`identity-providers/${id}.yaml`]: configuration.document(`identity-providers/${id}.yaml`, { state }) })

/** One change as soon as the one before is in force: of what a service is called, and of how a provider is spoken to, whose connections are made anew. */
async function changedAgainAndAgain (run: Run, stage: Stage, { seconds }: Terms): Promise<Marks> {
  const [client, provider] = [stage.clients[0]!, stage.providers[0]!]
  const end = run.clock() + seconds * 1000
  let [changes, taken] = [0, 0]
  for (; run.clock() < end; changes++) {
    if (await change(run, stage, configuration => ({
      [`clients/${client.client_id}.yaml`]: configuration.document(`clients/${client.client_id}.yaml`, { title: `Service ${changes}` }),
      [`identity-providers/${provider.id}.yaml`]: configuration.document(`identity-providers/${provider.id}.yaml`, { timeout_ms: 4000 + changes })
    }))) taken++
  }
  return { figures: { changes }, criteria: [some('changes', changes), none('changes that did not come into force at every replica, by the hash', changes - taken)] }
}

/** What can be wrong with files, and how it is counted. */
interface Breach { outcome: 'invalid' | 'start_needed', files: (configuration: ConfigurationDirectory, stage: Stage) => Record<string, string> }

const breaches: Record<string, Breach> = {
  'half a file': { outcome: 'invalid', files: ({ read }) => ({ 'clients/allow.yaml': `${read('clients/allow.yaml')}acr_values: [` }) },
  'an address that is none, beside a service that could be added': {
    outcome: 'invalid',
    files: (configuration, { clients, providers }) => ({
      ...clientFiles(configuration, guestLike(clients[0]!), clients[0]!),
      [`identity-providers/${providers[0]!.id}.yaml`]: configuration.document(`identity-providers/${providers[0]!.id}.yaml`, { issuer: 'nowhere' })
    })
  },
  'an empty secret': { outcome: 'invalid', files: () => ({ 'secrets/client-deny': '' }) },
  'a service that came before its secret': { outcome: 'invalid', files: ({ document }) => ({ 'clients/deny.yaml': document('clients/deny.yaml', { client_secrets: [{ file: 'secrets/client-deny' }, { file: 'secrets/on-its-way' }] }) }) },
  'another issuer': { outcome: 'start_needed', files: ({ document }) => ({ 'passerelle.yaml': document('passerelle.yaml', { issuer: 'http://elsewhere.localhost' }) }) }
}

/** seconds within which files are refused, or taken again */
const noticedWithin = 10

/** One breach after another at every replica, each mended before the next. */
async function broken (run: Run, stage: Stage, { seconds }: Terms): Promise<Marks> {
  const { replicas, configurations } = stage
  const names = Object.keys(breaches)
  const eachMetric = (name: string, labels?: RegExp) => Promise.all(replicas.map(replica => replica.metric(name, labels)))
  const isGood = (wanted: number) => async () => (await eachMetric('passerelle_configuration_last_reload_successful')).every(value => value === wanted)
  const unnoticed: string[] = []
  const inForce: string[] = []
  const unmended: string[] = []
  for (const [name, { outcome, files }] of Object.entries(breaches)) {
    const counted = () => eachMetric('passerelle_configuration_reloads_total', new RegExp(`outcome="${outcome}"`))
    const [hashes, before] = [await Promise.all(replicas.map(replica => replica.hash())), await counted()]
    const mend = configurations.map(configuration => {
      const wrong = files(configuration, stage)
      const right = Object.fromEntries(Object.keys(wrong).map(path => [path, configuration.has(path) ? configuration.read(path) : null]))
      configuration.change(wrong)
      return () => configuration.change(right)
    })
    const isCounted = await run.until(async () => (await counted()).every((count, i) => count > before[i]!), noticedWithin) && await run.until(isGood(0), noticedWithin)
    if (!isCounted) unnoticed.push(name)
    await pause(seconds * 500 / names.length)
    if ((await Promise.all(replicas.map(replica => replica.hash()))).some((hash, i) => hash !== hashes[i])) inForce.push(name)
    for (const again of mend) again()
    if (!(await run.until(isGood(1), noticedWithin) && await untilTaken(run, stage))) unmended.push(name)
  }
  const nothing = (what: string, named: readonly string[]): Criterion => ({ what: `${what}: none`, measured: named.join('; ') || 'none', passed: named.length === 0 })
  return {
    figures: { 'files that were broken': names.length },
    criteria: [
      nothing('breaches that were not refused and counted at every replica', unnoticed),
      nothing('breaches with which the last good configuration did not stay in force, by the hash', inForce),
      nothing('breaches after which what was mended did not come into force', unmended)
    ]
  }
}
