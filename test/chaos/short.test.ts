import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

// The short form of npm run chaos: counts and invariants only, whatever else this machine does. F10 has tests of its own beside it.

const faults = ['F1', 'F4', 'F7']

t.setTimeout(180_000)

t.test('replicas that are replaced, a Redis primary that is killed and no Redis at all: what must hold does', async t => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('chaos.ts', import.meta.url)), '--short', ...faults], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGTERM'))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => { said += text })
  const code = await new Promise(resolve => child.once('close', resolve))
  t.equal(code, 0, 'every criterion holds', { said })
  t.equal(said.match(/^ {2}invariants broken +0$/gm)?.length, faults.length, 'no invariant is broken', { said })
})
