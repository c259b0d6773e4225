import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse, stringify } from 'yaml'
import { loadConfiguration } from '../../src/config/load.ts'
import { mount, type Files } from '../support/mount.ts'

/** The configuration directory of a replica, which changes while that runs. */
export interface ConfigurationDirectory {
  has (path: string): boolean
  /** What is in a file. */
  read (path: string): string
  /** A document with some of it told otherwise. */
  document (path: string, changes: object): string
  /** Writes files anew, by their paths, and removes those that are null; a folder that is mounted is swapped whole. */
  change (files: Record<string, string | null>): void
  /** Brings the keys of another directory, where it has keys of its own. */
  receiveKeys (from: string): void
  /** The hash of what is in it now, as a replica reads it. */
  hash (): string
}

/** A directory that is there, whose folders are from now on mounted ones, or as they were. */
export function openConfiguration (directory: string, { mounted }: { mounted: boolean }): ConfigurationDirectory {
  const read = (path: string) => readFileSync(join(directory, path), 'utf8')
  if (mounted) {
    for (const { name } of readdirSync(directory, { withFileTypes: true }).filter(entry => entry.isDirectory())) {
      const files = filesIn(join(directory, name))
      rmSync(join(directory, name), { recursive: true })
      mount(join(directory, name), files)
    }
  }
  return {
    has: path => existsSync(join(directory, path)),
    read,
    document: (path, changes) => stringify({ ...parse(read(path)), ...changes }),
    change (files) {
      for (const [folder, changes] of Map.groupBy(Object.entries(files), ([path]) => dirname(path))) {
        const named = Object.fromEntries(changes.map(([path, text]) => [path.slice(path.lastIndexOf('/') + 1), text]))
        if (mounted && folder !== '.') mount(join(directory, folder), present({ ...filesIn(join(directory, folder)), ...named }))
        else for (const [name, text] of Object.entries(named)) replace(join(directory, folder, name), text)
      }
    },
    receiveKeys (from) { mount(join(directory, 'keys'), filesIn(from)) },
    hash: () => loadConfiguration(directory).hash
  }
}

/** What is in a folder, without what is being written or hidden there. */
const filesIn = (folder: string): Files => Object.fromEntries(readdirSync(folder).filter(name => !name.startsWith('.')).map(name => [name, readFileSync(join(folder, name), 'utf8')]))
const present = (files: Record<string, string | null>) => Object.fromEntries(Object.entries(files).filter((entry): entry is [string, string] => entry[1] !== null))

/** Whole or not at all. */
function replace (file: string, text: string | null) {
  if (text === null) return rmSync(file)
  writeFileSync(`${file}.new`, text, { mode: 0o600 })
  renameSync(`${file}.new`, file)
}
