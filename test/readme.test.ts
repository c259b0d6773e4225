import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { failures } from '../src/protocol/errors.ts'

const root = new URL('../', import.meta.url)
const readme = readFileSync(new URL('README.md', root), 'utf8')

t.test('README lists every failure as it is, and none that is not', async t => {
  const listed = [...readme.matchAll(/^\| `([A-Z]\d\d)` \| `(\w+)` \| `(\w+)` \|$/gm)].map(([, citizen, failure, error]) => ({ citizen, failure, error }))
  t.same(listed, Object.entries(failures).map(([failure, { citizen, error }]) => ({ citizen, failure, error })))
})

t.test('docs/identity-providers.md lists every failure that a circuit breaker counts, and none that it does not', async t => {
  const page = readFileSync(new URL('docs/identity-providers.md', root), 'utf8')
  const listed = [...page.matchAll(/^\| `(provider_\w+)` \| /gm)].map(([, failure]) => failure)
  t.same(listed, Object.entries(failures).filter(([, row]) => 'outage' in row).map(([failure]) => failure))
})

t.test('README names commands and files that are there', async t => {
  const { scripts } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'))
  for (const [, name = ''] of readme.matchAll(/npm run ([\w-]+)/g)) t.ok(scripts[name], name)
  const files = [...readme.matchAll(/\]\(((?!https?:)[^)]+)\)|(plugins\/endpoints\/[\w-]+\.ts)/g)].map(([, link, file]) => link ?? file!)
  t.ok(files.length > 10)
  for (const file of files) t.ok(existsSync(new URL(file, root)), file)
})
