import { createHash } from 'node:crypto'
import { watch, type FSWatcher } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { dirname, resolve, sep } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pLimit from 'p-limit'
import { jittered } from '../adapters/jittered.ts'
import { ConfigurationError, loadConfiguration, type Configuration, type Memory } from './load.ts'

export interface WatchOptions {
  directory: string
  /** the mark of this site, where it is not the one that the settings name */
  site?: string | undefined
  /** what the first reading left */
  memory: Memory
  /** what a reading found, once nobody was writing any more */
  take (read: Configuration | ConfigurationError): void
  /** milliseconds for which nothing may change before and while it is read */
  settleMs?: number
  /** milliseconds between looks where nothing is heard of a change: network file systems, a directory that is a link itself, no watches left */
  pollMs?: number
}

/** A configuration directory that is watched. */
export interface Watcher {
  /** Reads it now, whether or not anything seems to have changed. */
  look (): Promise<void>
  close (): Promise<void>
}

/**
 * Watches a configuration directory and every file that it refers to, wherever it lies. Kubernetes changes a mounted ConfigMap or Secret by renaming a link, `..data`, to a
 * directory of whole files; editors write in place, or rename. So directories are watched, and what is told is only that it is time to look. What is read is taken when
 * everything was the same before and after, so that half a file never is.
 */
export function watchConfiguration ({ directory, site, memory, take, settleMs = 300, pollMs = 5000 }: WatchOptions): Watcher {
  const root = resolve(directory)
  const closed = new AbortController()
  let watchers: FSWatcher[] = []
  let isWanted = false
  let looking: Promise<void> | undefined
  let isHeard = false
  let glancing: Promise<void> | undefined
  let lastSeen = ''

  function look () {
    isWanted = true
    looking ??= lookUntilSeen().finally(() => { looking = undefined })
    return looking
  }

  /** Something was told of a directory: it may be nothing of ours. */
  function glance () {
    isHeard = true
    glancing ??= glanceUntilQuiet().finally(() => { glancing = undefined })
  }

  async function glanceUntilQuiet () {
    while (isHeard && !closed.signal.aborted) {
      await looking
      isHeard = false
      if (await fingerprint(memory) !== lastSeen) await look()
      else await settled()
    }
  }

  async function lookUntilSeen () {
    while (isWanted && !closed.signal.aborted) {
      let seen = await fingerprint(memory)
      await settled()
      while (seen !== (seen = await fingerprint(memory)) && !closed.signal.aborted) await settled()
      isWanted = false
      const read = load()
      watchAgain()
      lastSeen = await fingerprint(memory)
      if (closed.signal.aborted) return
      if (lastSeen === seen) take(read)
      else isWanted = true                                              // written meanwhile, or it refers to files that nobody looked at yet
    }
  }

  const settled = () => pause(settleMs, undefined, { signal: closed.signal }).catch(() => {})

  function load () {
    try { return loadConfiguration(root, { site, memory }) } catch (error) {
      return error instanceof ConfigurationError ? error : new ConfigurationError([`${root}: cannot be read (${(error as Error).name})`])
    }
  }

  /** A directory that was put in another's place is watched anew. */
  function watchAgain () {
    for (const watcher of watchers) watcher.close()
    watchers = []
    if (closed.signal.aborted) return
    for (const folder of directoriesOf(root, memory)) {
      try { watchers.push(watch(folder, { persistent: false }, glance).on('error', () => {})) } catch { /* the poll will see */ }
    }
  }

  const poll = setInterval(glance, jittered(pollMs)).unref()
  look()                                                               // it may have changed since it was first read

  return {
    look,
    async close () {
      closed.abort()
      clearInterval(poll)
      await Promise.all([looking, glancing])
      watchAgain()
    }
  }
}

/** The directories that hold what was read, and within the root those above them. */
function directoriesOf (root: string, { files, folders }: Memory) {
  const found = new Set([root, ...folders, ...[...files].map(file => dirname(file))])
  for (const folder of found) if (folder.startsWith(root + sep)) found.add(dirname(folder))
  return found
}

/** How many files are looked at at a time: citizens need the threads, too. */
const atOnce = 4

/** What is read of a directory: whatever else comes and goes there says nothing. */
const isRead = (name: string) => /\.(ya?ml|json)$/.test(name)

/** Tells whether anything is other than it was, without reading it: names in directories, and what the file system says of each file behind its links. */
async function fingerprint ({ files, folders }: Memory) {
  const limited = pLimit(atOnce)
  const ofFile = async (file: string) => stat(file, { bigint: true }).then(({ dev, ino, size, mtimeNs, ctimeNs }) => `${file} ${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`, () => `${file} -`)
  const ofFolder = async (folder: string) => readdir(folder).then(names => `${folder} ${names.filter(isRead).sort().join('/')}`, () => `${folder} -`)
  const lines = await Promise.all([...[...files].map(file => limited(ofFile, file)), ...[...folders].map(folder => limited(ofFolder, folder))])
  return createHash('sha256').update(lines.join('\n')).digest('hex')
}
