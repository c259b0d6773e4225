import { existsSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What is in a directory, by name. */
export type Files = Record<string, string>

/** Writes files into a directory, as they are. */
export function write (directory: string, files: Files) {
  mkdirSync(directory, { recursive: true })
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content)
}

let mounts = 0

/** What the kubelet does when a mounted ConfigMap or Secret is made or changes: whole files in a directory of their own, and one link renamed to it. */
export function mount (directory: string, files: Files) {
  mkdirSync(directory, { recursive: true })
  const [link, fresh] = [join(directory, '..data'), `..2027_01_15_08_00_00.${++mounts}`]
  const stale = existsSync(link) ? readlinkSync(link) : undefined
  write(join(directory, fresh), files)
  symlinkSync(fresh, join(directory, '..data_tmp'))
  renameSync(join(directory, '..data_tmp'), link)
  for (const name of Object.keys(files)) if (!existsSync(join(directory, name))) symlinkSync(join('..data', name), join(directory, name))
  for (const name of readdirSync(directory)) if (!name.startsWith('..') && !(name in files)) rmSync(join(directory, name))
  if (stale !== undefined) rmSync(join(directory, stale), { recursive: true })
}
