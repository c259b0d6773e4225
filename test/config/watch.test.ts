import { appendFileSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { ConfigurationError, emptyMemory, loadConfiguration, type Configuration } from '../../src/config/load.ts'
import { watchConfiguration } from '../../src/config/watch.ts'
import { makeNextKeys } from '../../src/keys.ts'
import { temporaryDirectory } from '../support/gateway.ts'
import { mount, write, type Files } from '../support/mount.ts'

// Real directories, changed as the kubelet, editors and copying programs change them. Without a poll, unless a test is about that.

const keys = mkdtempSync(join(tmpdir(), 'passerelle-keys-'))
makeNextKeys(keys)
t.teardown(() => rmSync(keys, { recursive: true, force: true }))

const client = (client_id: string, more = {}) => stringify({ client_id, name: client_id, redirect_uris: [`https://${client_id}.example/back`], client_secrets: [{ file: `secrets/${client_id}` }], ...more })
const provider = (id: string, more = {}) => stringify({ id, title: id, issuer: `https://${id}.example`, client_id: 'passerelle', client_secret: { file: 'secrets/upstream' }, acr_values: ['eidas1'], ...more })
const secret = (name: string) => `the secret of ${name}, long enough`

const clients: Files = { 'town.yaml': client('town') }
const providers: Files = { 'post.yaml': provider('post') }
const secrets: Files = { town: secret('town'), agency: secret('agency'), upstream: secret('upstream') }
const settings = (more = {}) => stringify({ issuer: 'https://passerelle.example', keys, ...more })

/** A plain directory. */
function plain (t: Test) {
  const root = temporaryDirectory(t)
  write(root, { 'passerelle.yaml': settings() })
  for (const [folder, files] of Object.entries({ clients, 'identity-providers': providers, secrets })) write(join(root, folder), files)
  return root
}

/** A directory of mounts, as in a pod. */
function mounted (t: Test) {
  const root = temporaryDirectory(t)
  write(root, { 'passerelle.yaml': settings() })
  for (const [folder, files] of Object.entries({ clients, 'identity-providers': providers, secrets })) mount(join(root, folder), files)
  return root
}

type Taken = Configuration | ConfigurationError

/** A watch that has looked once; what it takes from then on. */
async function watched (t: Test, directory: string, { pollMs = 1e8, settleMs = 60 } = {}) {
  const memory = emptyMemory()
  const first = loadConfiguration(directory, { memory })
  const taken: Taken[] = []
  const watcher = watchConfiguration({ directory, memory, take: read => { taken.push(read) }, pollMs, settleMs })
  t.teardown(() => watcher.close())
  await watcher.look()
  t.equal((taken.at(-1) as Configuration).hash, first.hash, 'the first look finds what was read')
  taken.length = 0
  /** What is taken once this holds of it; the test fails where it never does. */
  async function until (holds: (read: Taken) => boolean) {
    for (let tries = 0; tries < 500; tries++) {
      const found = taken.findLast(holds)
      if (found !== undefined) return found
      await pause(20)
    }
    throw new Error(`nothing of that kind was taken: ${taken.map(read => read instanceof Error ? read.message : [...read.clients.keys()].join(' ')).join('; ')}`)
  }
  const untilGood = async (holds: (read: Configuration) => boolean) => await until(read => !(read instanceof ConfigurationError) && holds(read)) as Configuration
  const untilBad = async (problem: RegExp) => await until(read => read instanceof ConfigurationError && read.problems.some(line => problem.test(line))) as ConfigurationError
  return { taken, watcher, memory, first, untilGood, untilBad }
}

const named = (read: Configuration) => [...read.clients.keys()].sort().join(' ')
const isBad = (read: Taken) => read instanceof ConfigurationError

t.test('a ConfigMap that changes under its mount is taken whole, again and again', async t => {
  const root = mounted(t)
  const { untilGood, taken, memory } = await watched(t, root)
  const own = join(root, 'clients')
  mount(own, { ...clients, 'agency.yaml': client('agency') })
  await untilGood(read => named(read) === 'agency town')
  mount(own, { 'agency.yaml': client('agency', { title: 'The agency' }) })
  await untilGood(read => named(read) === 'agency' && read.clients.get('agency')!.title === 'The agency')
  mount(own, clients)
  await untilGood(read => named(read) === 'town')
  t.notOk(taken.some(isBad), 'never half of one and half of the other')
  t.strictSame([...memory.documents.keys()].sort(), ['clients/town.yaml', 'identity-providers/post.yaml', 'passerelle.yaml'], 'what is gone is not remembered')
})

t.test('a Secret that changes under its mount is noticed, though no YAML file did', async t => {
  const root = mounted(t)
  const { untilGood, taken, first } = await watched(t, root)
  mount(join(root, 'secrets'), { ...secrets, town: 'another secret of town, long enough' })
  const read = await untilGood(({ hash }) => hash !== first.hash)
  t.notSame(read.clients.get('town')!.secrets, first.clients.get('town')!.secrets)
  t.notOk(taken.some(isBad))
})

t.test('a whole configuration in one volume, with directories behind its link, is taken as well', async t => {
  const root = temporaryDirectory(t)
  const project = (version: string, ofClients: Files) => {
    for (const [folder, files] of Object.entries({ clients: ofClients, 'identity-providers': providers, secrets })) write(join(root, version, folder), files)
    write(join(root, version), { 'passerelle.yaml': settings() })
    symlinkSync(version, join(root, '..data_tmp'))
    renameSync(join(root, '..data_tmp'), join(root, '..data'))
  }
  project('..1', clients)
  for (const name of ['passerelle.yaml', 'clients', 'identity-providers', 'secrets']) symlinkSync(join('..data', name), join(root, name))
  const { untilGood, taken } = await watched(t, root)
  for (const [before, version, title] of [['..1', '..2', 'Two'], ['..2', '..3', 'Three']] as const) {
    project(version, { 'town.yaml': client('town', { title }) })
    rmSync(join(root, before), { recursive: true })
    await untilGood(read => read.clients.get('town')?.title === title)
  }
  t.notOk(taken.some(isBad))
})

t.test('a file written in place, one renamed over another, one more and one less are noticed', async t => {
  const root = plain(t)
  const { untilGood, taken } = await watched(t, root)
  const file = join(root, 'clients/town.yaml')
  writeFileSync(file, client('town', { title: 'In place' }))
  await untilGood(read => read.clients.get('town')?.title === 'In place')
  writeFileSync(`${file}.swp`, client('town', { title: 'Renamed' }))
  renameSync(`${file}.swp`, file)
  await untilGood(read => read.clients.get('town')?.title === 'Renamed')
  write(join(root, 'clients'), { 'agency.yaml': client('agency') })
  await untilGood(read => named(read) === 'agency town')
  rmSync(file)
  await untilGood(read => named(read) === 'agency')
  t.notOk(taken.some(isBad))
})

t.test('a key that is added or removed is noticed, and so is a file anywhere that the configuration names', async t => {
  const root = plain(t)
  const elsewhere = temporaryDirectory(t)
  const ring = join(elsewhere, 'ring')
  mount(ring, Object.fromEntries(readdirSync(keys).map(file => [file, String(readFileSync(join(keys, file)))])))
  write(elsewhere, { town: secret('town elsewhere') })
  writeFileSync(join(root, 'passerelle.yaml'), settings({ keys: ring }))
  writeFileSync(join(root, 'clients/town.yaml'), client('town', { client_secrets: [{ file: join(elsewhere, 'town') }] }))
  const { untilGood, first, taken } = await watched(t, root)
  const kept = Object.fromEntries(readdirSync(ring).filter(file => file.endsWith('.json') && !file.startsWith('eddsa')).map(file => [file, String(readFileSync(join(ring, file)))]))
  mount(ring, kept)
  const fewer = await untilGood(({ keys: { signing } }) => signing.length === first.keys.signing.length - 1)
  writeFileSync(join(elsewhere, 'town'), secret('town, changed elsewhere'))
  await untilGood(({ hash }) => hash !== fewer.hash && hash !== first.hash)
  t.notOk(taken.some(isBad))
})

t.test('of a new client the secret is watched from then on, in whatever directory it lies', async t => {
  const root = plain(t)
  const { untilGood } = await watched(t, root)
  write(join(root, 'more/secrets'), { agency: secret('agency') })
  write(join(root, 'clients'), { 'agency.yaml': client('agency', { client_secrets: [{ file: 'more/secrets/agency' }] }) })
  const { hash } = await untilGood(read => named(read) === 'agency town')
  write(join(root, 'more/secrets'), { agency: secret('agency, changed') })
  await untilGood(read => named(read) === 'agency town' && read.hash !== hash)
})

t.test('a directory that is taken away and put back is watched again', async t => {
  const root = plain(t)
  const { untilGood, untilBad } = await watched(t, root)
  rmSync(join(root, 'clients'), { recursive: true })
  await untilBad(/^clients\/: expected a directory/)
  write(join(root, 'clients'), { 'agency.yaml': client('agency') })
  await untilGood(read => named(read) === 'agency')
  write(join(root, 'clients'), clients)
  await untilGood(read => named(read) === 'agency town')
})

t.test('a file that is being written is not taken, not even where half of it would do', async t => {
  const root = plain(t)
  const { untilGood, taken } = await watched(t, root, { settleMs: 400 })
  const whole = `${client('town')}title: Town at last\npost_logout_redirect_uris: [https://town.example/bye]\n`
  const file = join(root, 'clients/town.yaml')
  writeFileSync(file, '')
  for (let at = 0; at < whole.length; at += 24) {
    appendFileSync(file, whole.slice(at, at + 24))
    await pause(40)
  }
  await untilGood(read => read.clients.get('town')!.post_logout_redirect_uris.length === 1)
  t.equal(taken.length, 1, 'once, and nothing on the way')
})

t.test('what is wrong is said by file and path, without a value, once; and when it is mended it is taken', async t => {
  const root = plain(t)
  const { untilGood, untilBad, taken } = await watched(t, root)
  const file = join(root, 'clients/town.yaml')
  writeFileSync(file, client('town', { redirect_uris: ['http://hush-hush.example/back'] }))
  const { problems } = await untilBad(/^clients\/town\.yaml: \/redirect_uris\/0: expected https$/)
  t.notMatch(problems.join(), /hush/)
  writeFileSync(join(root, 'secrets/town'), 'hush-hush')
  await untilBad(/secrets\/town: expected a secret of at least 16 characters/)
  writeFileSync(join(root, 'passerelle.yaml'), 'issuer: [\n')
  await untilBad(/^passerelle\.yaml: line \d/)
  t.notMatch(taken.map(read => read instanceof ConfigurationError ? read.message : '').join(), /hush/)
  write(root, { 'passerelle.yaml': settings() })
  write(join(root, 'secrets'), secrets)
  writeFileSync(file, client('town', { title: 'Mended' }))
  await untilGood(read => read.clients.get('town')?.title === 'Mended')
})

t.test('where nothing is told of a change, it is found a little later: the directory is itself a link', async t => {
  const [one, two, place] = [plain(t), plain(t), temporaryDirectory(t)]
  write(join(two, 'clients'), { 'agency.yaml': client('agency') })
  const link = join(place, 'current')
  symlinkSync(one, link)
  const { untilGood } = await watched(t, link, { pollMs: 150 })
  symlinkSync(two, `${link}.new`)
  renameSync(`${link}.new`, link)
  await untilGood(read => named(read) === 'agency town')
  write(join(two, 'clients'), { 'town.yaml': client('town', { title: 'Of the second' }) })
  await untilGood(read => read.clients.get('town')?.title === 'Of the second')
})

t.test('asked to look it looks, changed or not; closed it takes nothing any more', async t => {
  const root = plain(t)
  const { watcher, taken, first } = await watched(t, root)
  await Promise.all([watcher.look(), watcher.look()])
  t.ok(taken.length >= 1 && taken.every(read => (read as Configuration).hash === first.hash))
  taken.length = 0
  writeFileSync(join(root, 'clients/town.yaml'), client('town', { title: 'Too late' }))
  const looking = watcher.look()
  await watcher.close()
  await looking
  writeFileSync(join(root, 'clients/town.yaml'), client('town', { title: 'Much too late' }))
  await pause(300)
  t.same(taken, [])
})

t.test('what is written beside the configuration, however often, makes nobody read it', async t => {
  const root = plain(t)
  const { taken, untilGood } = await watched(t, root)
  taken.length = 0
  let line = 0
  const writeBeside = () => {
    appendFileSync(join(root, 'access.log'), 'a line\n')
    appendFileSync(join(root, 'clients/notes.txt'), 'a line\n')
    writeFileSync(join(root, `clients/.town.yaml.${++line}`), 'of an editor')
    rmSync(join(root, `clients/.town.yaml.${line - 3}`), { force: true })
  }
  for (let turn = 0; turn < 40; turn++) {
    writeBeside()
    await pause(10)
  }
  await pause(200)
  t.same(taken, [])
  const writing = setInterval(writeBeside, 10)
  t.teardown(() => clearInterval(writing))
  writeFileSync(join(root, 'clients/town.yaml'), client('town', { title: 'Among all that' }))
  await untilGood(read => read.clients.get('town')?.title === 'Among all that')
})

t.test('what has not changed is not parsed again', async t => {
  const root = plain(t)
  const memory = emptyMemory()
  loadConfiguration(root, { memory })
  const before = new Map(memory.documents)
  write(join(root, 'clients'), { 'agency.yaml': client('agency') })
  loadConfiguration(root, { memory })
  for (const file of ['passerelle.yaml', 'clients/town.yaml', 'identity-providers/post.yaml']) t.equal(memory.documents.get(file), before.get(file), file)
  t.ok(memory.documents.has('clients/agency.yaml'))
  t.ok([...memory.files].some(file => dirname(file) === keys), 'and it is known where it looked')
})
