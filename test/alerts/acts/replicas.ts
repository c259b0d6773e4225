import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { listKeys, makeNextKeys } from '../../../src/keys.ts'
import { makeCertificate } from '../../support/certificate.ts'
import { changed } from '../changed.ts'
import type { Act } from '../trial.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const day = 86_400

/** This release under another number. */
function anotherRelease () {
  const directory = mkdtempSync(join(tmpdir(), 'passerelle-release-'))
  for (const part of ['src', 'plugins']) cpSync(join(root, part), join(directory, part), { recursive: true })
  writeFileSync(join(directory, 'package.json'), JSON.stringify({ ...JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')), version: '99.0.0' }))
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'))
  return directory
}

/** The time from which each key is used, put back by so many seconds. */
function age (directory: string, seconds: number) {
  for (const { file } of listKeys(directory)) {
    const path = join(directory, file)
    const key = JSON.parse(readFileSync(path, 'utf8'))
    writeFileSync(path, JSON.stringify({ ...key, nbf: key.nbf - seconds }), { mode: 0o600 })
  }
}

const authority = await makeCertificate(['ca.localhost'])               // it ends a day from now
const soon = new Date(Date.now() + 2 * day * 1000).toISOString().replace(/\.\d+/, '')

/** Replicas, what they are configured with, and what ends by itself. */
export const replicas: Act = {
  name: 'replicas',
  about: 'two replicas, one of them killed, left behind, hindered',
  options: { sameConfiguration: true },
  factor: 60,
  rate: 8,
  quietSeconds: 20,
  tailSeconds: 80,
  trials: [
    {
      fault: 'a certificate authority that we trust alone ends in a day, a secret of a service in two',
      fires: ['PasserelleCertificateNearlyExpired', 'PasserelleSecretNearlyExpired', 'PasserelleCertificateExpires', 'PasserelleSecretExpires'],
      withinSeconds: 90,
      goneWithin: 20,
      strike: async ({ stage, stage: { clients: [client] } }) => changed(stage, {
        'ca.pem': authority.cert,
        'identity-providers/vitalys.yaml': { ca: 'ca.pem' },
        [`clients/${client!.client_id}.yaml`]: { client_secrets: [{ file: `secrets/client-${client!.client_id}`, expires: soon }] }
      })
    },
    {
      fault: 'a broken file in the configuration of one replica (F15)',
      fires: ['PasserelleConfigurationRefused'],
      withinSeconds: 30,
      goneWithin: 20,
      strike: async ({ stage }) => changed(stage, { 'clients/broken.yaml': 'client_id: [' }, 0)
    },
    {
      fault: 'one replica does not get a change of the configuration (F15)',
      fires: ['PasserelleConfigurationsDiffer'],
      withinSeconds: 40,
      strike: async ({ stage }) => changed(stage, { 'identity-providers/terramut.yaml': { title: 'Terramut, renommé' } }, 0)
    },
    {
      fault: 'the clock of one replica is 12 s ahead (F21)',
      fires: ['PasserelleClocksDiffer'],
      withinSeconds: 50,
      async strike ({ stage: { replicas: [replica] } }) {
        replica!.shiftClock(12)
        return () => replica!.shiftClock(0)
      }
    },
    {
      fault: 'one replica keeps a gigabyte that it does not need, until it is started anew',
      fires: ['PasserelleMemoryHigh'],
      withinSeconds: 50,
      async strike ({ stage: { replicas: [replica] } }) {
        await replica!.fillMemory(1e9)
        return async () => { await replica!.stop('SIGTERM'); await replica!.start() }
      }
    },
    {
      fault: 'one replica is killed (F2), and does not come back for a while',
      fires: ['PasserelleReplicaNotScraped', 'PasserelleOneReplicaLeft'],
      withinSeconds: 40,
      async strike ({ stage: { replicas: [, replica] } }) {
        await replica!.stop('SIGKILL')
        return () => replica!.start()
      }
    },
    {
      fault: 'nobody takes the log of one replica (F22)',
      fires: ['PasserelleLogLinesLost'],
      withinSeconds: 60,
      async strike ({ stage: { replicas: [replica] } }) {
        await replica!.stop('SIGTERM')
        await replica!.start({ logHolds: 32 * 1024 })
        replica!.holdLog()
        return () => replica!.takeLog()
      }
    },
    {
      fault: 'no keys were made for 40 days: those in force are as old, and no next ones wait',
      fires: ['PasserelleNoNextKey', 'PasserelleKeyRotationOverdue'],
      withinSeconds: 90,
      async strike ({ stage: { keys } }) {
        age(keys, 41 * day)
        return () => { makeNextKeys(keys, undefined, { lead: 2 }) }
      }
    },
    {
      fault: 'one replica is killed again and again (F2)',
      fires: ['PasserelleRestarting'],
      withinSeconds: 20,
      async strike ({ stage: { replicas: [, replica] } }) {
        for (let i = 0; i < 3; i++) {
          await replica!.stop('SIGKILL')
          await replica!.start()
          await pause(1500)
        }
        return () => {}
      }
    },
    {
      fault: 'one replica is of another release (F1), and stays so',
      fires: ['PasserelleBuildsDiffer'],
      withinSeconds: 150,
      async strike ({ stage: { replicas: [replica] } }) {
        const release = anotherRelease()
        await replica!.stop('SIGTERM')
        await replica!.start({ release })
        return async () => {
          await replica!.stop('SIGTERM')
          await replica!.start()
          rmSync(release, { recursive: true, force: true })
        }
      }
    }
  ]
}
