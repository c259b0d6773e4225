import { parseArgs } from 'node:util'
import type { SealingKey } from './adapters/keyring-sealer.ts'
import { ConfigurationError } from './config/load.ts'
import { addressesOf, close, configurationOf, everywhereAt, leaveBeside, leaveRecall, now, sealerBy, sitesAt, tell, tellerAmong, toldBefore } from './every-site.ts'
import type { Store } from './ports.ts'
import { instant, instantIn } from './protocol/clock.ts'
import { life, type Recall } from './records.ts'

// npm run end -- --idp X | --client Y --since T: all that a provider vouched for, or that a service was given, since then is no more, at every replica of every site.

const usage = `npm run end -- (--idp ID | --client CLIENT_ID) --since TIME [--dry-run] [--unlisted]
  --since     from when on, as 2027-01-31T22:00:00Z; what is older is not touched
  --dry-run   says what would be done, and does nothing
  --unlisted  it need not stand in the configuration (any more)
PASSERELLE_CONFIG names the configuration directory; PASSERELLE_REDIS, where it is set, its Redis`

async function end () {
  const { recall, what, dryRun, unlisted } = readArguments()
  const configuration = configurationOf(process.env)
  const { settings, clients, identityProviders, keys } = configuration
  const isKnown = recall.idp === undefined ? clients.has(recall.client_id!) : identityProviders.has(recall.idp)
  if (!isKnown && !unlisted) throw new ConfigurationError([`${what} is not in this configuration; --unlisted where that is meant`])
  const addresses = addressesOf(configuration, process.env)
  if (dryRun) {
    console.log(`would end what ${what} has to do with, from ${instant(recall.since)} to now, at ${[...addresses.keys()].map(site => `site ${site}`).join(', ')}`)
    return 0
  }

  const { issuer } = settings
  const sealer = sealerBy(issuer, ...keys.sealing)
  const sites = sitesAt(addresses, sealer)
  // whatever the settings are today: what it is of may have been opened by others, and what was called back before must not end sooner for it
  const most = now() + life.recall
  try {
    const calledBack = new Set<string | undefined>()
    const isOld = new Set<Store>()
    const read = await tell(sites, async store => {
      const before = await toldBefore(store, sealer)
      for (const { opened } of before) calledBack.add(opened?.record.kid)
      const strange = before.filter(({ opened }) => opened === undefined).length
      if (strange === 0) return []
      isOld.add(store)
      return [`${strange} things were called back by sealing keys that are not in this configuration: where its keys are older than the replicas', those do not hear of this; run it again with theirs`]
    })
    const counts = ({ kid }: SealingKey) => !calledBack.has(kid)
    const known = tellerAmong(keys.sealing, key => counts(key) && everywhereAt(key) <= now())
    const made = tellerAmong(keys.sealing, counts)
    if (made === undefined) {
      console.log('no site was told: every sealing key of this configuration was called back; run this again with the keys that the replicas have')
      return 1
    }
    const told = await tell(read, async store => {
      if (known !== undefined) await leaveRecall(store, issuer, known.key, { recall, exp: known.until })
      // for as long as by a retired key it is not believed, and by this one as soon as replicas have it
      if (known === undefined || known.until < most) await leaveBeside(store, issuer, made.key, { recall, exp: made.until })
      return [known === undefined
        ? `told, by the key ${made.key.kid} that was made a moment ago: replicas that do not have it yet do not hear of it; run this again at ${instant(everywhereAt(made.key))}`
        : `told; within 10 seconds no replica takes what ${what} has to do with, from ${instant(recall.since)} to now`]
    })
    return known !== undefined && told.size === sites.size && isOld.size === 0 ? 0 : 1
  } finally { await close(sites) }
}

function readArguments (): { recall: Recall, what: string, dryRun: boolean, unlisted: boolean } {
  const { values: { idp, client, since, 'dry-run': dryRun, unlisted } } = parseArgs({
    options: { idp: { type: 'string' }, client: { type: 'string' }, since: { type: 'string' }, 'dry-run': { type: 'boolean', default: false }, unlisted: { type: 'boolean', default: false } }
  })
  if ((idp === undefined) === (client === undefined)) throw new TypeError('expected one of --idp and --client')
  const from = instantIn(since ?? '')
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/.test(since ?? '') || Number.isNaN(from)) throw new TypeError('--since: expected a time as 2027-01-31T22:00:00Z')
  const until = now()
  if (from > until) throw new TypeError('--since: expected a time that has been')
  const recall = { ...(idp === undefined ? { client_id: client! } : { idp }), since: from, until }
  return { recall, what: idp === undefined ? `the service ${client}` : `the identity provider ${idp}`, dryRun, unlisted }
}

try { process.exitCode = await end() } catch (error) {
  const isUsage = error instanceof TypeError
  if (!isUsage && !(error instanceof ConfigurationError)) throw error
  console.error(isUsage ? `${error.message}\n${usage}` : error.message)
  process.exitCode = 2
}
