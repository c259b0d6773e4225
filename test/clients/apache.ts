import { spawn } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { temporaryDirectory } from '../support/gateway.ts'

const modules = '/usr/lib/apache2/modules'
const needed = ['mpm_event', 'authn_core', 'authz_core', 'authz_user', 'headers', 'proxy', 'proxy_http', 'auth_openidc']

/** A real Apache with mod_auth_openidc, all in one process, in the foreground, in a directory of its own, where `files` are put for it. It ends with the test. */
export async function startApache (t: Test, { port, settings, location, files = {} }: { port: number, settings: (directory: string) => Record<string, string>, location: string, files?: Record<string, string> }) {
  const directory = temporaryDirectory(t)
  chmodSync(directory, 0o755)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text)
  const errorLog = join(directory, 'error.log')
  writeFileSync(join(directory, 'httpd.conf'), `
    ServerRoot ${directory}
    DefaultRuntimeDir ${directory}
    PidFile ${directory}/pid
    ErrorLog ${errorLog}
    Listen 127.0.0.1:${port}
    ServerName apache.localhost:${port}
    UseCanonicalName Off
    ${needed.map(name => `LoadModule ${name}_module ${modules}/mod_${name}.so`).join('\n    ')}
    # only where it is root: it gives that up for somebody who may nothing
    User www-data
    Group www-data
    ThreadsPerChild 16
    MaxRequestWorkers 16
    ${Object.entries(settings(directory)).map(([name, value]) => `${name} "${value}"`).join('\n    ')}
    ${location}
  `)
  const apache = spawn('apache2', ['-X', '-f', join(directory, 'httpd.conf')], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } })
  let said = ''
  apache.stderr.setEncoding('utf8').on('data', text => { said += text })
  const ended = new Promise<void>(resolve => apache.once('close', () => resolve()))
  t.teardown(async () => {
    apache.kill('SIGKILL')
    await ended
    if (!t.passing()) t.comment(readFileSync(errorLog, 'utf8'))
  })
  for (let tries = 0; !await answers(port); tries++) {
    if (tries === 100 || apache.exitCode !== null) throw new Error(`apache does not start: ${said}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

const answers = (port: number) => fetch(`http://127.0.0.1:${port}/`).then(() => true, () => false)
