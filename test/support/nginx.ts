import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory, type Teardown } from './gateway.ts'
import { freePort } from '../world/free-port.ts'

/** A real nginx in front of the gateway, with its own limits on headers untouched. It ends with the test. */
export async function startNginx (t: Teardown, { upstreamPort }: { upstreamPort: number }) {
  const directory = temporaryDirectory(t)
  const port = await freePort()
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(name => `${name}_temp_path ${join(directory, name)};`).join(' ')
  writeFileSync(join(directory, 'nginx.conf'), `
    daemon off; master_process off; pid ${join(directory, 'pid')}; error_log ${join(directory, 'error.log')};
    events { worker_connections 128; }
    http {
      access_log off; ${paths}
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass http://127.0.0.1:${upstreamPort}; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; }
      }
    }`)
  const nginx = spawn('nginx', ['-c', join(directory, 'nginx.conf'), '-e', join(directory, 'start.log')], { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } })
  const ended = new Promise<void>(resolve => nginx.once('close', () => resolve()))
  t.teardown(async () => { nginx.kill('SIGKILL'); await ended })
  await answers(`http://127.0.0.1:${port}/`)
  return { port }
}

/** Waits until something answers there, at most five seconds. */
async function answers (url: string) {
  for (let tries = 0; tries < 100; tries++) {
    if (await fetch(url).then(() => true, () => false)) return
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  throw new Error(`nothing answers at ${url}`)
}
