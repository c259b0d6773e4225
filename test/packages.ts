/** Sees to it that the programs of `packages.txt` are there, for `npm test` and all that starts a Redis or a browser. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

interface SystemPackage { name: string, proof: string }

/** Installs what is missing where that is possible (Debian, root). @throws {Error} naming what is missing, since no test is skipped in silence */
export function ensurePackages (minutes = 8): void {
  const packages = readPackages(new URL('packages.txt', import.meta.url))
  const missing = packages.filter(({ proof }) => !isThere(proof))
  if (missing.length === 0) return

  const names = missing.map(({ name }) => name).join(' ')
  if (process.getuid?.() !== 0 || !isThere('apt-get')) {
    throw new Error(`missing on this system: ${missing.map(({ proof }) => proof).join(', ')}; on Debian: apt-get install ${names}`)
  }
  console.error(`packages: apt-get install ${names}`)
  install(missing.map(({ name }) => name), Date.now() + minutes * 60_000)

  const still = missing.filter(({ proof }) => !isThere(proof))
  if (still.length > 0) throw new Error(`installed, yet not found: ${still.map(({ proof }) => proof).join(', ')}`)
}

function readPackages (file: URL): SystemPackage[] {
  return readFileSync(file, 'utf8').split('\n')
    .map(line => line.replace(/#.*/, '').trim().split(/\s+/))
    .filter(([name]) => name)
    .map(([name = '', proof = name]) => ({ name, proof }))
}

/** A proof is a command on the PATH, or a file, which only Debian is known to keep at that place. */
function isThere (proof: string): boolean {
  if (proof.startsWith('/')) return existsSync(proof) || !isThere('apt-get')
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  return folders.some(folder => {
    try {
      accessSync(join(folder, proof), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function install (names: string[], deadline: number): void {
  // Debian starts a service as it installs it; a policy of 101 forbids that, and the tests start their own.
  const policy = '/usr/sbin/policy-rc.d'
  const isOurs = !existsSync(policy)
  if (isOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    aptGet(['update', '-q'], deadline)
    aptGet(['install', '-q', '-y', '--no-install-recommends', ...names], deadline)
  } finally {
    if (isOurs) rmSync(policy, { force: true })
  }
}

function aptGet (args: string[], deadline: number): void {
  const { status, signal, error } = spawnSync('apt-get', ['-o', 'DPkg::Lock::Timeout=120', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 2, 2],
    timeout: Math.max(1, deadline - Date.now()),
  })
  if (status !== 0) throw new Error(`apt-get ${args[0]}: ${error?.message ?? signal ?? `exit code ${status}`}`)
}
