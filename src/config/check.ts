import { siteIn } from './environment.ts'
import { ConfigurationError, loadConfiguration } from './load.ts'

// npm run check-config -- DIR: says whether a configuration directory can be used, for pull requests; PASSERELLE_SITE names the site, as for a replica.

const [directory] = process.argv.slice(2)
if (directory === undefined) {
  console.error('usage: npm run check-config -- DIR')
  process.exit(2)
}
try {
  const { clients, identityProviders, hash } = loadConfiguration(directory, { site: siteIn(process.env) })
  console.log(`${directory}: ${clients.size} clients, ${identityProviders.size} identity providers, hash ${hash}`)
} catch (error) {
  if (!(error instanceof ConfigurationError)) throw error
  console.error(error.message)
  process.exit(1)
}
