import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

// The short form of npm run chaos: counts and invariants only, whatever else this machine does.

t.setTimeout(180_000)

t.test('a Redis primary that is killed fails nobody', async t => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('chaos.ts', import.meta.url)), '--short', 'F4'], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGTERM'))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => { said += text })
  t.equal(await new Promise(resolve => child.once('close', resolve)), 0, said)
  t.equal(said.match(/^ {2}invariants broken +0$/gm)?.length, 1, said)
})
