import { globSync, readFileSync } from 'node:fs'
import t from 'tap'

const root = new URL('../', import.meta.url)
const page = readFileSync(new URL('docs/threats.md', root), 'utf8')

/** Every title in the sources of the tests, as it is printed. */
const titles = new Set(globSync(['test/**/*.test.ts', 'test/support/store-contract.ts'], { cwd: root, exclude: path => path.endsWith('node_modules') })
  .flatMap(file => [...readFileSync(new URL(file, root), 'utf8').matchAll(/\bt\.test\((['`])((?:\\.|(?!\1).)*)\1/g)])
  .map(([, , title]) => title!.replaceAll("\\'", "'")))

const rows = page.split('\n').filter(line => /^\|(?! (?:attack|---) )/.test(line)).map(line => line.split(/(?<!\\)\|/).slice(1, -1).map(cell => cell.trim()))

t.test('every threat has an answer and a test, and the test is there', async t => {
  t.ok(rows.length > 40)
  for (const [attack, , answer, proof = ''] of rows) {
    const proofs = [...proof.matchAll(/`([^`]+)`/g)].map(([, title]) => title!)
    t.ok(answer && proofs.length > 0, attack!)
    for (const title of proofs) t.ok(titles.has(title), `${attack}: ${title}`)
  }
})

t.test('every section of RFC 9700 that names an attack has its row', async t => {
  const named = page.match(/RFC 9700[^|]*/g)!.join(' ')
  for (const section of ['2.1', '2.1.1', '2.1.2', '2.2.1', '2.2.2', '2.3', '2.4', '2.5', '2.6', '4.1', '4.2', '4.3', '4.4', '4.5', '4.6', '4.7', '4.8', '4.9', '4.10', '4.11', '4.12', '4.13', '4.14', '4.15', '4.16', '4.17']) {
    t.match(named, new RegExp(`§${section.replaceAll('.', '\\.')}(?!\\.?\\d)`), `§${section}`)
  }
})
