import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { withFault } from './faults/f10.ts'
import { keysRenewed } from './faults/f12.ts'
import { faults } from './faults/faults.ts'
import { startStage } from './stage.ts'
import { words } from './words.ts'

// A short run of what npm run chaos does at length: real processes, few logins, one fault after another.

t.setTimeout(100_000)
const terms = { rate: 10, seconds: 6 }

t.test('under load', async t => {
  const stage = await startStage({ breaker: { volume: 4, reset_ms: 1000 } })
  t.teardown(() => stage.stop())

  t.test('a provider that answers garbage is shown to be down and comes back, and no login at the others fails', async t => {
    const { result } = await withFault(stage, 'garbage_json', terms)
    t.same(result.failed, [])
    t.same(result.violations, [])
    t.hasStrict(result.figures, { failed: 0, 'recovered by a click': 0 })
    t.ok(Number(result.figures['logins attempted']) > 20)
    t.ok(Number(result.figures['told on the chooser']) > 0)
    t.ok(Number(result.figures['recovered at another']) > 0, 'whoever was sent there finds another')
    for (const moment of ['open on the first replica after, s', 'closed after, s', 'first success there after, s']) t.type(result.figures[moment], 'number', moment)
    t.ok(Number(result.figures['logins tried again']) > 20)
    t.same(result.criteria.filter(({ what }) => /invariants|live tokens|left out|some of each|tried again/.test(what)).map(({ passed }) => passed), [true, true, true, true, true, true], 'nothing is broken, in what was tried')
  })

  t.test('a provider that changes its keys at once loses no login, and is asked for them no more than once by each replica', async t => {
    const result = await keysRenewed(stage, stage.providers[1]!, { ...terms, seconds: 4 })
    t.same(result.failed, [])
    t.same(result.violations, [])
    t.same(result.criteria.filter(({ passed }) => !passed), [])
    t.hasStrict(result.figures, { 'first login after the change': 'success' })
    t.ok(Number(result.figures['its keys asked for']) <= stage.replicas.length)
  })
})

t.test('a fault that is not known, or a number that is none, is answered with what there is', async t => {
  await Promise.all([['F99'], ['F10', '--rate', 'much'], ['F10', '--variants', 'unheard_of'], ['--unknown']].map(async args => {
    const child = spawn(process.execPath, [fileURLToPath(new URL('chaos.ts', import.meta.url)), ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    let said = ''
    child.stderr.setEncoding('utf8').on('data', text => { said += text })
    t.equal(await new Promise(resolve => child.once('close', resolve)), 2, args.join(' '))
    t.match(said, /F10 {2}one provider fails.*black_hole/)
  }))
})

t.test('there is a name for each variant of each fault, and for no other', async t => {
  for (const [fault, { variants }] of Object.entries(faults)) t.same(Object.keys(words[fault] ?? {}).sort(), [...variants].sort(), fault)
  t.same(Object.keys(words), Object.keys(faults))
})
