/** Loaded by `--import` in every process of a mutant's test run: serves one file with one check taken away, and leaves the disk alone. */
import { registerHooks } from 'node:module'

const { url: mutated, source } = JSON.parse(process.env['PASSERELLE_MUTANT'] ?? '{}')

registerHooks({
  load: (url, context, nextLoad) =>
    url === mutated ? { format: 'module-typescript', source, shortCircuit: true } : nextLoad(url, context),
})
