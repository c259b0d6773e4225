import { writeFileSync } from 'node:fs'
import { keys } from './make/keys.ts'
import { logins } from './make/logins.ts'
import { product } from './make/product.ts'
import { providers } from './make/providers.ts'
import { replicas } from './make/replicas.ts'
import { services } from './make/services.ts'
import { support } from './make/support.ts'

/** Every dashboard, by the name of its file in `grafana/dashboards/`. */
export const dashboards = { logins, providers, services, replicas, keys, product, support }

/** A dashboard as its file has it. */
export const fileOf = (dashboard: object) => `${JSON.stringify(dashboard, null, 2)}\n`

if (import.meta.main) for (const [name, dashboard] of Object.entries(dashboards)) writeFileSync(new URL(`dashboards/${name}.json`, import.meta.url), fileOf(dashboard))
