import { createHash, createSecretKey, type KeyObject } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, extname, join, resolve } from 'node:path'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { JSONWebKeySet, JWK } from 'jose'
import type { Static, TSchema } from 'typebox'
import { parseDocument } from 'yaml'
import { decryptionKey, type DecryptionKey } from '../adapters/decryption-keys.ts'
import { signingKey, type SigningKey } from '../adapters/jwk-signer.ts'
import type { SealingKey } from '../adapters/keyring-sealer.ts'
import { faultOfRedis, type RedisAddress } from '../adapters/redis-address.ts'
import { secretDigest } from '../protocol/client-authentication.ts'
import { isCertificate } from './certificate.ts'
import { faultsOf } from './faults.ts'
import { meaningOf } from './meaning.ts'
import { Client as ClientSchema, IdentityProvider as IdentityProviderSchema, Settings as SettingsSchema } from './schema.ts'
import type { ClientRegistration, IdentityProviderRegistration, Settings } from './schema.ts'

/** A logo: its path under the base path, which changes with its content. */
export interface Asset { path: string, type: string, bytes: Buffer }

export interface Client extends Omit<ClientRegistration, 'jwks'> {
  title: string
  jwks?: JSONWebKeySet
  acr_values: string[]
  /** what tells its `sub` from other clients' (OpenID Connect Core §8.1) */
  sector: string
  secrets: Buffer[]
  logoAsset?: Asset | undefined
}

export interface IdentityProvider extends IdentityProviderRegistration {
  clientSecret?: string | undefined
  clientKey?: JWK | undefined
  certificateAuthority?: string | undefined
  /** our certificate there, PEM */
  certificate?: { cert: string, key: string } | undefined
  logoAsset?: Asset | undefined
}

export interface Keys { signing: SigningKey[], sealing: SealingKey[], decryption: DecryptionKey[], subject: KeyObject }

/** A configuration that was checked, its secrets read: all of it is in force or none. */
export interface Configuration {
  settings: Settings
  /** path of the issuer, '' or '/api/v2': before every endpoint */
  base: string
  levels: { levels: string[], default: string }
  /** levels at which a session spares the citizen the provider */
  ssoLevels: string[]
  clients: Map<string, Client>
  /** in the chooser's order */
  identityProviders: Map<string, IdentityProvider>
  keys: Keys
  /** of no address where the configuration names none */
  redis: RedisAddress
  /** every site's, ours among them, where there are several */
  sites: Map<string, RedisAddress>
  tls?: { key: string, cert: string }
  assets: Asset[]
  /** tells whether two replicas run the same */
  hash: string
}

/** What is wrong with a configuration, a line each: file, path, what was expected. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError'
  readonly problems: string[]
  constructor (problems: string[]) {
    super(`the configuration cannot be used:\n${problems.map(problem => `  ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

/** What one reading leaves for the next: the documents as they were parsed, and where it looked. */
export interface Memory { documents: Map<string, { text: string, value: unknown, problems: string[] }>, files: Set<string>, folders: Set<string> }

export const emptyMemory = (): Memory => ({ documents: new Map(), files: new Set(), folders: new Set() })

export interface LoadOptions { /** the mark of this site, in place of the one that the settings name */ site?: string | undefined, memory?: Memory | undefined }

/** Reads and checks a configuration directory, as it is at this site; of what it remembers only what has changed is parsed again. @throws {ConfigurationError} with every problem found */
export function loadConfiguration (directory: string, { site, memory = emptyMemory() }: LoadOptions = {}): Configuration {
  const root = resolve(directory)
  const problems: string[] = []
  const digest = createHash('sha256')
  const assets = new Map<string, Asset>()
  memory.files.clear()
  memory.folders.clear()

  const list = (folder: string) => {
    memory.folders.add(resolve(root, folder))
    return readdirSync(resolve(root, folder))
  }
  const read = (file: string, from: string) => {
    memory.files.add(resolve(root, file))
    try {
      const bytes = readFileSync(resolve(root, file))
      digest.update(`${file} ${bytes.length}\n`).update(bytes)
      return bytes
    } catch (error) {
      problems.push(`${from}: ${resolve(root, file)} cannot be read (${(error as NodeJS.ErrnoException).code})`)
      return undefined
    }
  }
  const readText = (file: string, from: string) => read(file, from)?.toString().trim()
  const readSecret = (file: string, from: string) => {
    const secret = readText(file, from)
    if (secret !== undefined && secret.length < 16) problems.push(`${from}: ${file}: expected a secret of at least 16 characters`)
    return secret
  }
  const readLogo = (file: string | undefined, from: string) => {
    if (file === undefined) return undefined
    const type = imageTypes[extname(file).toLowerCase()]
    if (type === undefined) { problems.push(`${from}: /logo: expected an .svg, .png or .webp file`); return undefined }
    const bytes = read(file, `${from}: /logo`)
    if (bytes === undefined) return undefined
    const asset = { path: `/assets/${createHash('sha256').update(bytes).digest('base64url').slice(0, 16)}${extname(file).toLowerCase()}`, type, bytes }
    assets.set(asset.path, asset)
    return asset
  }
  const readObject = <S extends TSchema>(file: string, schema: S): Static<S> | undefined => {
    const text = readText(file, file)
    if (text === undefined) return undefined
    const known = memory.documents.get(file)
    const parsed = known?.text === text ? known : { text, ...parse(file, text, schema) }
    memory.documents.set(file, parsed)
    problems.push(...parsed.problems)
    return parsed.problems.length > 0 ? undefined : parsed.value as Static<S>
  }
  const readObjects = <S extends TSchema>(folder: string, schema: S) => {
    let files: string[] = []
    try { files = list(folder).filter(file => /\.ya?ml$/.test(file)).sort() } catch { problems.push(`${folder}/: expected a directory of YAML files`) }
    return files.map(name => `${folder}/${name}`).flatMap(file => {
      const value = readObject(file, schema)
      return value === undefined ? [] : [{ file, value }]
    })
  }

  const settings = readObject('passerelle.yaml', SettingsSchema)
  if (settings === undefined) throw new ConfigurationError(problems)
  if (site !== undefined && !/^[a-z0-9]{1,4}$/.test(site)) problems.push('PASSERELLE_SITE: expected one to four small letters or digits')
  settings.site = site ?? settings.site
  const identityProviders = readObjects('identity-providers', IdentityProviderSchema).map(({ file, value }) => {
    const method = value.token_endpoint_auth_method
    const credential = method === 'private_key_jwt' ? 'client_key' : method === 'client_secret_basic' || method === 'client_secret_post' ? 'client_secret' : 'tls_client'
    if (value[credential] === undefined) problems.push(`${file}: expected /${credential} for ${method}`)
    return {
      file,
      value: {
        ...value,
        clientSecret: value.client_secret && readSecret(value.client_secret.file, `${file}: /client_secret`),
        clientKey: value.client_key && readClientKey(value.client_key.file, `${file}: /client_key`),
        certificateAuthority: value.ca === undefined ? undefined : readAuthority(value.ca, `${file}: /ca`),
        certificate: value.tls_client && readCertificate(value.tls_client, `${file}: /tls_client`),
        logoAsset: readLogo(value.logo, file)
      } satisfies IdentityProvider
    }
  })
  const clients = readObjects('clients', ClientSchema).map(({ file, value }) => ({
    file,
    value: {
      ...value,
      title: value.title ?? value.name,
      require_pushed_authorization_requests: value.require_pushed_authorization_requests || value.profile === 'fapi2',
      dpop_bound_access_tokens: value.dpop_bound_access_tokens || value.profile === 'fapi2',
      acr_values: value.acr_values ?? (value.token_endpoint_auth_method === 'none' ? settings.acr.levels.slice(0, 1) : settings.acr.levels),
      sector: value.entity ?? value.client_id,
      ...(settings.degraded === 'deny' ? { degraded: settings.degraded } : {}),
      secrets: value.client_secrets.map(({ file: secret }) => readSecret(secret, `${file}: /client_secrets`)).filter(secret => secret !== undefined).map(secretDigest),
      logoAsset: readLogo(value.logo, file)
    } satisfies Client
  }))
  const keys = readKeys(settings.keys)
  const sites = new Map(settings.sites.map((redis, at) => [redis.site, readRedis(redis, `passerelle.yaml: /sites/${at}`)]))
  const redis = sites.get(settings.site) ?? readRedis(settings.redis, 'passerelle.yaml: /redis')
  const tls = settings.listen.tls && readCertificate(settings.listen.tls, 'passerelle.yaml: /listen/tls')

  problems.push(...meaningOf(settings, clients, identityProviders, { signs: new Set(keys.signing.map(({ alg }) => alg)), opens: new Set(keys.decryption.map(({ alg }) => alg)) }))
  if (problems.length > 0) throw new ConfigurationError(problems)
  for (const file of memory.documents.keys()) if (!memory.files.has(resolve(root, file))) memory.documents.delete(file)

  return {
    settings,
    base: new URL(settings.issuer).pathname.replace(/\/$/, ''),
    levels: { levels: settings.acr.levels, default: settings.acr.default ?? settings.acr.levels[0]! },
    ssoLevels: settings.session.acr_values ?? [settings.acr.levels[0]!],
    clients: new Map(clients.map(({ value }) => [value.client_id, value])),
    identityProviders: new Map(identityProviders.map(({ value }) => value).sort((a, b) => a.order - b.order || a.id.localeCompare(b.id)).map(value => [value.id, value])),
    keys,
    redis,
    sites,
    ...(tls === undefined ? {} : { tls }),
    assets: [...assets.values()],
    hash: digest.digest('hex').slice(0, 16)
  }

  function readRedis ({ urls, cluster, username, password, ca, tls_client, server_name, node_timeout_ms }: Settings['redis'], from: string): RedisAddress {
    const isSecured = ca !== undefined || tls_client !== undefined || server_name !== undefined
    const address = {
      urls,
      cluster,
      username,
      password: password && readSecret(password.file, `${from}/password`),
      tls: isSecured
        ? { ca: ca === undefined ? undefined : readAuthority(ca, `${from}/ca`), certificate: tls_client && readCertificate(tls_client, `${from}/tls_client`), serverName: server_name }
        : undefined,
      nodeTimeoutMs: node_timeout_ms
    }
    const fault = faultOfRedis(address)
    if (fault !== undefined) problems.push(`${from}/urls: ${fault}`)
    return address
  }

  function readCertificate ({ certificate, key }: { certificate: string, key: string }, from: string) {
    const pair = { cert: readText(certificate, `${from}/certificate`) ?? '', key: readText(key, `${from}/key`) ?? '' }
    if (!isUsable(pair)) problems.push(`${from}: expected a certificate and its own private key, PEM`)
    return pair
  }

  function readAuthority (file: string, from: string) {
    const ca = readText(file, from)
    if (ca !== undefined && !isCertificate(ca)) problems.push(`${from}: ${file}: expected certificates, PEM`)
    return ca
  }

  function readClientKey (file: string, from: string): JWK | undefined {
    const jwk = parseKey(readText(file, from), `${from}: ${file}`)
    if (jwk === undefined) return undefined
    try {
      if (typeof jwk.kid !== 'string') throw new Error('expected kid')
      signingKey({ ...jwk, nbf: 0 } as Parameters<typeof signingKey>[0])
      return jwk
    } catch { problems.push(`${from}: ${file}: expected a private JWK with kid, and alg RS256 or PS256 (2048 bits or more), ES256 or EdDSA (Ed25519)`) }
    return undefined
  }

  function parseKey (text: string | undefined, from: string): (JWK & { nbf?: number }) | undefined {
    if (text === undefined) return undefined
    try { return JSON.parse(text) } catch { problems.push(`${from}: expected a JWK (RFC 7517)`) }  // V8's message quotes the key: it is not kept
    return undefined
  }

  function readKeys (folder: string): Keys {
    const found: Keys = { signing: [], sealing: [], decryption: [], subject: createSecretKey(Buffer.alloc(32)) }
    let files: string[] = []
    try { files = list(folder).filter(file => file.endsWith('.json')).sort() } catch {
      problems.push(`passerelle.yaml: /keys: ${folder} is not a directory that can be read; \`npm run keys -- next ${resolve(root, folder)}\` makes one`)
      return found
    }
    const kids = new Set<string | undefined>()
    for (const file of files) {
      const from = `${folder}/${file}`
      const jwk = parseKey(readText(join(folder, file), from), from)
      if (jwk === undefined) continue
      try {
        if (basename(file) === 'subject.json') found.subject = symmetric(jwk)
        else if (typeof jwk.kid !== 'string' || !Number.isInteger(jwk.nbf)) throw new Error('expected kid and nbf')
        else if (kids.has(jwk.kid)) throw new Error('expected a kid of its own')
        else if (jwk.kty === 'oct') found.sealing.push(sealingKey(jwk as Parameters<typeof sealingKey>[0]))
        else if (jwk.use === 'enc') found.decryption.push(decryptionKey(jwk as Parameters<typeof decryptionKey>[0]))
        else found.signing.push(signingKey(jwk as Parameters<typeof signingKey>[0]))
        kids.add(jwk.kid)
      } catch { problems.push(`${from}: expected a private JWK with a kid of its own, nbf, and alg RS256 or PS256 (2048 bits or more), ES256 or EdDSA (Ed25519), or with use enc RSA-OAEP-256 or ECDH-ES (P-256), or a 256-bit oct key whose kid is letters, digits, - and _, 64 at most`) }
    }
    if (!files.includes('subject.json')) problems.push(`${folder}: expected subject.json, the secret behind sub`)
    if (found.sealing.length === 0) problems.push(`${folder}: expected a sealing key`)
    for (const alg of ['RS256', 'ES256']) if (!found.signing.some(key => key.alg === alg)) problems.push(`${folder}: expected a signing key for ${alg}`)
    return found
  }
}

function isUsable (certificates: SecureContextOptions) {
  try { return createSecureContext(certificates) !== undefined } catch { return false }
}

const imageTypes: Record<string, string> = { '.svg': 'image/svg+xml', '.png': 'image/png', '.webp': 'image/webp' }

/** A sealing key; its name stands in what it seals, where a dot or a space would end it. */
function sealingKey ({ kid, nbf, ...jwk }: JWK & { kid: string, nbf: number }): SealingKey {
  if (!/^[\w-]{1,64}$/.test(kid)) throw new Error('expected a kid of letters, digits, - and _')
  return { kid, nbf, key: symmetric(jwk) }
}

function symmetric (jwk: JWK) {
  const bytes = Buffer.from(jwk.k ?? '', 'base64url')
  if (jwk.kty !== 'oct' || bytes.length !== 32) throw new Error('expected 256 bits')
  return createSecretKey(bytes)
}

/** What a document says, and what is wrong with its shape. */
function parse (file: string, text: string, schema: TSchema) {
  const document = parseDocument(text, { prettyErrors: true, uniqueKeys: true })
  if (document.errors.length > 0) return { value: undefined, problems: document.errors.map(({ message, linePos }) => `${file}: line ${linePos?.[0].line}: ${message.split('\n')[0]}`) }
  let value: unknown
  try { value = document.toJS() ?? {} } catch { return { value: undefined, problems: [`${file}: expected no alias (\`*name\`) of what is not there, nor thousands of them; a text that begins with * stands in quotes`] } }
  return { value, problems: faultsOf(schema, value).map(fault => `${file}: ${fault}`) }
}
