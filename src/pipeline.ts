import { buildApp } from './app.ts'
import { siteIn } from './config/environment.ts'
import { loadConfiguration } from './config/load.ts'

// npm run pipeline -- DIR: what a request meets, in order; PASSERELLE_SITE names the site, as for a replica.

const [directory = process.env.PASSERELLE_CONFIG] = process.argv.slice(2)
if (directory === undefined) {
  console.error('usage: npm run pipeline -- DIR')
  process.exit(2)
}
const app = await buildApp(loadConfiguration(directory, { site: siteIn(process.env) }), { log: false })
await app.ready()
console.log(app.printPlugins().split('\n').filter(line => !line.includes('bound _after')).join('\n'))
await app.close()
