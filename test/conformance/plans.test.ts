import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { notApplicable, plans, type Plan } from './plans.ts'

const read = (file: string) => readFileSync(new URL(file, import.meta.url), 'utf8')

/** The ids that the titles of a test begin with, in its own file and in the modules that it takes from another. */
const titlesOf = (file: string): string[] => [
  ...[...read(file).matchAll(/\bt\.test\('([\w-]+): [a-zA-Z_]/g)].map(([, id]) => id!),
  ...[...read(file).matchAll(/from '\.\/([\w-]+-modules\.ts)'/g)].flatMap(([, modules]) => titlesOf(modules!))
]

t.test('every module of every plan has its test or a reason, and nothing else has', async t => {
  for (const plan of Object.keys(plans) as Plan[]) {
    const reasons = notApplicable[plan].map(({ id }) => id)
    t.same([...titlesOf(`${plan}.test.ts`), ...reasons].sort(), [...plans[plan]].sort(), plan)
    for (const { id, why } of notApplicable[plan]) t.match(why, /^\w.{20}/, `${id}: the reason is told`)
  }
})

t.test('every test of a plan is here', async t => {
  const files = readdirSync(new URL('.', import.meta.url)).filter(file => file.endsWith('.test.ts') && file !== 'plans.test.ts')
  t.same(files.sort(), Object.keys(plans).map(plan => `${plan}.test.ts`).sort())
})
