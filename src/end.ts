import { parseArgs } from 'node:util'
import { keyringSealer } from './adapters/keyring-sealer.ts'
import { nameOf, sealedRecall } from './adapters/recalls.ts'
import { ConfigurationError } from './config/load.ts'
import { addressesOf, close, configurationOf, sitesAt, tell } from './every-site.ts'
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

  const now = () => Math.floor(Date.now() / 1000)
  const sealer = keyringSealer({ issuer: settings.issuer, keys: () => keys.sealing, now })
  const sites = sitesAt(addresses, sealer, now)
  // whatever the settings are today: what it is of may have been opened by others, and what was called back before must not end sooner for it
  const seconds = life.recall
  try {
    const told = await tell(sites, async store => {
      await store.recall(nameOf(recall), sealedRecall(sealer, recall, now() + seconds), seconds)
      return [`told; within 10 seconds no replica takes what ${what} has to do with, from ${instant(recall.since)} to now`]
    })
    return told.size === sites.size ? 0 : 1
  } finally { await close(sites) }
}

function readArguments (): { recall: Recall, what: string, dryRun: boolean, unlisted: boolean } {
  const { values: { idp, client, since, 'dry-run': dryRun, unlisted } } = parseArgs({
    options: { idp: { type: 'string' }, client: { type: 'string' }, since: { type: 'string' }, 'dry-run': { type: 'boolean', default: false }, unlisted: { type: 'boolean', default: false } }
  })
  if ((idp === undefined) === (client === undefined)) throw new TypeError('expected one of --idp and --client')
  const from = instantIn(since ?? '')
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/.test(since ?? '') || Number.isNaN(from)) throw new TypeError('--since: expected a time as 2027-01-31T22:00:00Z')
  const until = Math.floor(Date.now() / 1000)
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
