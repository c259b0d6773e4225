import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { node24 } from './support/node-24.ts'

t.test('one whole login works on Node.js 24, the oldest that is promised', async t => {
  const demo = spawn(node24(), [fileURLToPath(new URL('world/demo.ts', import.meta.url)), '--once'], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { demo.kill('SIGKILL') })
  let printed = ''
  for (const stream of [demo.stdout, demo.stderr]) stream.on('data', chunk => { printed += chunk })
  const code = await new Promise(resolve => { demo.once('close', resolve) })
  t.equal(code, 0, printed)
  t.match(printed, /greets its citizen/)
})
