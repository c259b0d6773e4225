import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, constants, globSync, lstatSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, delimiter, dirname, join, posix } from 'node:path'
import { readDockerfile, readIgnore, type Instruction } from './dockerfile.ts'

/**
 * Does by hand what an engine does with a Dockerfile: each stage is a folder, `RUN` a shell in its WORKDIR, and `COPY` takes what .dockerignore lets in. Bases are not fetched:
 * in their place stands the Node.js that runs this. npm takes from its cache what is there, else from the network.
 * @returns the folder of the last stage
 */
export function buildImage (context: string, into: string): string {
  const isIgnored = readIgnore(readFileSync(join(context, '.dockerignore'), 'utf8'))
  let root = ''
  for (const { name, instructions } of readDockerfile(readFileSync(join(context, 'Dockerfile'), 'utf8'))) {
    root = join(into, name)
    let workdir = '/'
    mkdirSync(root, { recursive: true })
    for (const instruction of instructions) {
      if (instruction.name === 'WORKDIR') mkdirSync(join(root, workdir = posix.resolve(workdir, instruction.text)), { recursive: true })
      if (instruction.name === 'RUN') runShell(instruction.text, join(root, workdir))
      if (instruction.name === 'COPY') copy(instruction, join(root, workdir))
    }
  }
  return root

  function copy ({ flags: { from }, words, text }: Instruction, workdir: string) {
    const target = words.at(-1)!
    const to = target.startsWith('/') ? join(root, target) : join(workdir, target)
    for (const source of words.slice(0, -1)) {
      if (source === '/usr/local/bin/node') {
        mkdirSync(to, { recursive: true })
        copyFileSync(process.execPath, join(to, 'node'), constants.COPYFILE_FICLONE)
        continue
      }
      if (source.startsWith('/usr/lib/')) continue                      // the base's library, for which this machine's stands
      const [path] = globSync(join(from === undefined ? context : join(into, from), source))
      if (path === undefined) throw new Error(`COPY ${text}: ${source} is not there`)
      // of a folder its contents are copied, as Docker does
      const isWhole = !statSync(path).isDirectory() && /\/$/.test(target)
      cpSync(path, isWhole ? join(to, basename(path)) : to, {
        recursive: true,
        verbatimSymlinks: true,
        filter: file => from !== undefined || lstatSync(file).isDirectory() || !isIgnored(file.slice(context.length).replace(/^\//, ''))
      })
    }
  }
}

/** As the image's root would, in a folder of ours. npm runs on the machine's own Node.js, which Debian's cannot do without; what npm has said of this project to us, it is not told. */
function runShell (command: string, cwd: string) {
  const outside = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|TAP)/i.test(name)))
  const path = (process.env['PATH'] ?? '').split(delimiter).filter(entry => !/node_modules[\\/]\.bin[\\/]?$/.test(entry))
  const PATH = (command.startsWith('node ') ? [dirname(process.execPath), ...path] : path).join(delimiter)
  const { status, stderr, error } = spawnSync('sh', ['-c', command], { cwd, env: { ...outside, PATH, npm_config_prefer_offline: 'true' }, encoding: 'utf8', timeout: 100_000 })
  if (status !== 0) throw new Error(`RUN ${command}: ${error?.message ?? stderr}`)
}

export interface Entry { mode: number, uid: number, size: number, isFile: boolean, mtimeMs: number }

/** Every file and folder below, by path. */
export function inventory (root: string): Map<string, Entry> {
  return new Map(readdirSync(root, { recursive: true, encoding: 'utf8' }).sort().map(path => {
    const stat = lstatSync(join(root, path))
    return [path, { mode: stat.isSymbolicLink() ? 0 : stat.mode, uid: stat.uid, size: stat.size, isFile: stat.isFile(), mtimeMs: stat.mtimeMs }]
  }))
}
