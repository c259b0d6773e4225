import { isDeepStrictEqual } from 'node:util'
import { IsObject, type TObject, type TSchema } from 'typebox'
import { keyInForce } from '../adapters/key-in-force.ts'
import type { Recall } from '../records.ts'
import { ConfigurationError, type Configuration, type Keys } from './load.ts'
import { Settings } from './schema.ts'

/**
 * What was read, on its way to be in force: whatever is as it was stays the very same object, so that what was made of it is kept.
 * @throws {ConfigurationError} where it changes what only a start can change
 */
export function inPlaceOf (before: Configuration, read: Configuration): Configuration {
  const problems = changedAtStart(before, read)
  if (problems.length > 0) throw new ConfigurationError(problems)
  const { keys } = read
  return {
    ...read,
    clients: shared(before.clients, read.clients),
    identityProviders: shared(before.identityProviders, read.identityProviders),
    keys: {
      signing: sharedKeys(before.keys.signing, keys.signing),
      sealing: sharedKeys(before.keys.sealing, keys.sealing),
      decryption: sharedKeys(before.keys.decryption, keys.decryption),
      subject: before.keys.subject
    }
  }
}

/**
 * The keys but for those that were called back, one after the other, as if the files had come that `npm run keys -- revoke` left. Until the file of a new one comes, where none waits, the one before takes the place of
 * a key that seals or decrypts, and nothing that of one that signs: services forgot the one before. The last sealing key stays, since without one nobody enters.
 */
export function withoutRecalled ({ signing, sealing, decryption, subject }: Keys, recalls: readonly Recall[]): Keys {
  const inOrder = recalls.toSorted((a, b) => a.since - b.since)
  return {
    signing: inOrder.reduce((keys, recall) => without(keys, recall, key => [{ ...key, recalled: true }]), signing),
    sealing: inOrder.reduce((keys, recall) => {
      const left = without(keys, recall)
      return left.length === 0 ? keys : left
    }, sealing),
    decryption: inOrder.reduce((keys, recall) => without(keys, recall), decryption),
    subject
  }
}

/** Where the key was in force the one that waits is from that moment on; where none waits, `instead` stands in its place. */
function without<K extends { kid: string, alg?: string, nbf: number }> (keys: K[], { kid, since }: Recall, instead: (key: K) => K[] = () => []): K[] {
  const recalled = keys.find(key => key.kid === kid)
  if (recalled === undefined) return keys
  const same = keys.filter(({ alg }) => alg === recalled.alg)
  const wasInForce = keyInForce(same, since) === recalled
  const [next] = wasInForce ? same.filter(key => key !== recalled && key.nbf > since).sort((a, b) => a.nbf - b.nbf) : []
  return keys.flatMap(key => {
    if (key === recalled) return wasInForce && next === undefined ? instead(key) : []
    return key === next ? { ...key, nbf: since } : key
  })
}

/** What differs from one to the other, by name, for the log. */
export function differences<T> (before: Map<string, T>, now: Map<string, T>) {
  return {
    added: [...now.keys()].filter(name => !before.has(name)),
    removed: [...before.keys()].filter(name => !now.has(name)),
    changed: [...now].filter(([name, value]) => before.has(name) && before.get(name) !== value).map(([name]) => name)
  }
}

const shared = <T>(before: Map<string, T>, read: Map<string, T>) => new Map([...read].map(([name, value]) => {
  const known = before.get(name)
  return [name, known !== undefined && isDeepStrictEqual(known, value) ? known : value]
}))

const sharedKeys = <K extends { kid: string }>(before: readonly K[], read: readonly K[]) => read.map(key => before.find(known => known.kid === key.kid && isDeepStrictEqual(known, key)) ?? key)

function changedAtStart (before: Configuration, read: Configuration) {
  const paths = differingPaths(Settings, before.settings, read.settings, '')
  if ((before.tls === undefined) !== (read.tls === undefined)) paths.push('/listen/tls')
  const files = filesAtStart(before)
  for (const [path, content] of filesAtStart(read)) if (files.has(path) && !isDeepStrictEqual(files.get(path), content)) paths.push(path)
  const problems = paths.map(path => `passerelle.yaml: ${path}: another value is taken up at the next start only`)
  if (!before.keys.subject.equals(read.keys.subject)) problems.push(`${read.settings.keys}/subject.json: expected the secret behind sub as it is: with another, every citizen is a stranger to every service`)
  return problems
}

/** What files hold that connections to Redis are made of once, by the path of the setting that names them. */
function filesAtStart ({ sites, redis }: Configuration) {
  const ways = sites.size === 0 ? [['/redis', redis] as const] : [...sites.values()].map((way, at) => [`/sites/${at}`, way] as const)
  return new Map(ways.flatMap(([path, { password, tls }]) => Object.entries({ password, ca: tls?.ca, tls_client: tls?.certificate }).map(([name, content]) => [`${path}/${name}`, content] as const)))
}

type Tree = Record<string, unknown>

/** Where two settings differ in what the schema marks as taken once. */
function differingPaths ({ properties }: TObject, before: Tree, read: Tree, path: string): string[] {
  return Object.entries(properties as Record<string, TSchema & { atStart?: true }>).flatMap(([name, property]) => {
    const at = `${path}/${name}`
    if (property.atStart) return isDeepStrictEqual(before[name], read[name]) ? [] : [at]
    return IsObject(property) && before[name] !== undefined && read[name] !== undefined ? differingPaths(property, before[name] as Tree, read[name] as Tree, at) : []
  })
}
