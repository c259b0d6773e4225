import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import type { JWK } from 'jose'
import { Type, type Static } from 'typebox'
import { parseDocument } from 'yaml'
import { signingKey } from '../adapters/jwk-signer.ts'
import { isCertificate } from '../config/certificate.ts'
import { faultsOf } from '../config/faults.ts'
import { signingAlgorithms } from '../protocol/algorithms.ts'
import { isLoopbackName } from '../protocol/network.ts'

// The settings of a probe: one YAML file, its secrets in files of their own. docs/probe.md tells what they mean together.

const closed = { additionalProperties: false }
const text = (description: string) => Type.String({ description, minLength: 1, maxLength: 256 })
const list = (description: string, more = {}) => Type.Array(text(''), { description, uniqueItems: true, ...more })
const url = (description: string) => Type.String({ description, maxLength: 2048, pattern: '^https?://[^\\s#?]+$', expected: 'an http or https address without a query and a fragment' })
const secret = (description: string) => Type.Object({ file: Type.String({ minLength: 1 }) }, { description, ...closed })
const milliseconds = (description: string, fallback: number) => Type.Integer({ description, default: fallback, minimum: 100, maximum: 300_000 })

/** Every setting. */
export const ProbeFile = Type.Object({
  issuer: url('the gateway\'s issuer'),
  client_id: text('the probe\'s client'),
  client_secret: Type.Optional(secret('its secret, in a file')),
  client_key: Type.Optional(secret('its private key instead (`private_key_jwt`), a JWK with `alg` and `kid` in a file')),
  token_endpoint_auth_method: Type.Enum(['client_secret_basic', 'client_secret_post'], { description: 'how the secret is sent', default: 'client_secret_basic' }),
  id_token_signed_response_alg: Type.Enum([...signingAlgorithms], { description: 'the only signature accepted on ID Tokens', default: 'RS256' }),
  redirect_uri: url('where the login ends; it is never called'),
  post_logout_redirect_uri: Type.Optional(url('where a logout ends, never called either; the probe logs out only where it is set')),
  scopes: list('scopes asked for', { default: ['openid'] }),
  acr_values: list('levels asked for', { default: [] }),
  claims: list('names of claims that userinfo must have', { default: [] }),
  provider: Type.Object({
    id: text('id of the identity provider'),
    hint: Type.Boolean({ description: 'ask for it by `idp_hint`; false: by its link on the chooser', default: true }),
    hosts: Type.Optional(list('the only hosts whose forms are filled in; any but the gateway\'s unless set', { minItems: 1 })),
    status_url: Type.Optional(url('answers 200 while the provider works: asked only where the gateway says that it does not'))
  }, { description: 'the identity provider of the login', ...closed }),
  account: Type.Object({
    username: text('the test account\'s name there'),
    password: secret('its password, in a file'),
    fields: Type.Object({
      username: Type.Optional(text('name of the field for the name; guessed unless set')),
      password: Type.Optional(text('name of the field for the password; the first password field unless set'))
    }, { description: 'the fields of the provider\'s form', default: {}, ...closed })
  }, { description: 'the account of the login', ...closed }),
  ca: Type.Optional(Type.String({ description: 'a file of certificate authorities to trust beside the usual ones, PEM', minLength: 1 })),
  resolve: Type.Record(Type.String(), Type.String(), { description: 'addresses of host names, where DNS is not to be asked: to probe one site, or one load balancer', default: {} }),
  timeout_ms: milliseconds('limit of the whole login', 20_000),
  step_timeout_ms: milliseconds('limit of each step', 10_000)
}, closed)

/** What a probe does, its secrets read. */
export interface ProbeSettings extends Static<typeof ProbeFile> {
  clientSecret?: string | undefined
  clientKey?: JWK | undefined
  password: string
  certificateAuthority?: string | undefined
}

/** What is wrong with a probe's settings, a line each; a value is never told. */
export class ProbeSettingsError extends Error {
  override readonly name = 'ProbeSettingsError'
  constructor (problems: string[]) { super(`the probe cannot be used:\n${problems.map(problem => `  ${problem}`).join('\n')}`) }
}

/** Reads and checks the settings; files they name are relative to them. @throws {ProbeSettingsError} with every problem found */
export function loadProbe (file: string): ProbeSettings {
  const problems: string[] = []
  const read = (path: string, from: string) => {
    try { return readFileSync(path, 'utf8').trim() } catch (error) { problems.push(`${from}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`) }
    return undefined
  }
  const refuse = () => { if (problems.length > 0) throw new ProbeSettingsError(problems) }

  const document = parseDocument(read(file, 'settings') ?? '', { prettyErrors: false, uniqueKeys: true })
  for (const { code } of document.errors) problems.push(`${file}: not YAML (${code})`)
  refuse()
  const settings = (document.toJS() ?? {}) as Static<typeof ProbeFile>
  problems.push(...faultsOf(ProbeFile, settings).map(fault => `${file}: ${fault}`))
  refuse()

  const beside = (path: string, setting: string) => read(resolve(dirname(file), path), `${file}: ${setting}`)
  const readSecret = (from: { file: string }, setting: string) => {
    const value = beside(from.file, setting)
    if (value === '') problems.push(`${file}: ${setting}: ${from.file}: expected a secret`)
    return value
  }
  const { issuer, client_secret, client_key, account, ca, resolve: addresses } = settings
  if (new URL(issuer).protocol !== 'https:' && !isLoopbackName(new URL(issuer).hostname)) problems.push(`${file}: /issuer: expected https; http is for this machine only`)
  if ((client_secret === undefined) === (client_key === undefined)) problems.push(`${file}: expected either /client_secret or /client_key`)
  for (const [host, address] of Object.entries(addresses)) if (isIP(address) === 0) problems.push(`${file}: /resolve/${host}: expected an IP address`)
  const key = client_key && readSecret(client_key, '/client_key')
  const authority = ca === undefined ? undefined : beside(ca, '/ca')
  if (authority !== undefined && !isCertificate(authority)) problems.push(`${file}: /ca: expected certificates, PEM`)
  const whole = {
    ...settings,
    clientSecret: client_secret && readSecret(client_secret, '/client_secret'),
    clientKey: key === undefined ? undefined : readKey(key),
    password: readSecret(account.password, '/account/password') ?? '',
    certificateAuthority: authority
  }
  refuse()
  return whole

  function readKey (text: string): JWK | undefined {
    try {
      const jwk = JSON.parse(text) as JWK
      if (typeof jwk.kid !== 'string') throw new Error('expected kid')
      signingKey({ ...jwk, nbf: 0 } as Parameters<typeof signingKey>[0])
      return jwk
    } catch { problems.push(`${file}: /client_key: expected a private JWK with kid, and alg ${signingAlgorithms.join(', ')}`) }  // the error may quote the key: it is not kept
    return undefined
  }
}
