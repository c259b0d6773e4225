import { createPublicKey } from 'node:crypto'
import type { JWK } from 'jose'
import { acceptedAlgorithms, encrypts, isPublic, strictAlgorithms, verifies, type Encryption, type SigningAlgorithm } from '../protocol/algorithms.ts'
import { instantIn } from '../protocol/clock.ts'
import { isLoopbackName, isNetwork } from '../protocol/network.ts'
import type { Client, IdentityProvider } from './load.ts'
import type { Settings } from './schema.ts'

/** What was read, with the file it came from. */
export type Named<T> = { file: string, value: T }

/** What `sub` is made of and nobody is without; a birthplace is needed of those born in France. */
const personFields = ['given_name', 'family_name', 'gender', 'birthdate', 'birthcountry'] as const

/** The algorithms that our own keys are for: with which we sign, and open what was encrypted for us. */
interface OurAlgorithms { signs: ReadonlySet<SigningAlgorithm>, opens: ReadonlySet<Encryption['alg']> }

/** What Fastify knows by name among the proxies that it believes. */
const namedNetworks = new Set(['loopback', 'linklocal', 'uniquelocal'])

const ofResponses = new Set(['code', 'state', 'iss', 'error', 'error_description'])

/** Faults of meaning: what no schema can say. */
export function meaningOf (settings: Settings, clients: Array<Named<Client>>, providers: Array<Named<IdentityProvider>>, { signs, opens }: OurAlgorithms) {
  const problems: string[] = []
  const { levels } = settings.acr
  const development = settings.environment === 'development'
  const say = (file: string, path: string, expected: string) => problems.push(`${file}: ${path}: ${expected}`)

  const secure = (file: string, path: string, address: string) => {
    if (!URL.canParse(address)) { say(file, path, 'expected a URL'); return }
    const { protocol, hostname } = new URL(address)
    if (protocol !== 'https:' && !(development && isLoopbackName(hostname))) say(file, path, development ? 'expected https, or http on a loopback name' : 'expected https')
  }
  const all = (file: string, path: string, values: readonly string[] | undefined, known: readonly string[], what: string) => {
    for (const value of values ?? []) if (!known.includes(value)) say(file, path, `${value} is not ${what}`)
  }
  const unique = (path: string, named: Array<{ file: string, name: string }>) => {
    for (const { file, name } of named) {
      const first = named.find(other => other.name === name)!
      if (first.file !== file) say(file, path, `${name} is already in ${first.file}`)
    }
  }

  secure('passerelle.yaml', '/issuer', settings.issuer)
  const normal = URL.canParse(settings.issuer) ? new URL(settings.issuer).href.replace(/\/$/, '') : settings.issuer
  if (!/[?]|\/$/.test(settings.issuer) && settings.issuer !== normal) say('passerelle.yaml', '/issuer', `expected as every client will write it: ${normal}`)
  if (/[?]|\/$/.test(settings.issuer)) say('passerelle.yaml', '/issuer', 'expected no query and no slash at the end')
  all('passerelle.yaml', '/acr/default', settings.acr.default === undefined ? [] : [settings.acr.default], levels, 'one of /acr/levels')
  all('passerelle.yaml', '/session/acr_values', settings.session.acr_values, levels, 'one of /acr/levels')
  const network = 'expected an address or a network, as 10.0.0.0/8 or 2001:db8::/32'
  settings.rate_limits.exempt_networks.forEach((text, at) => { if (!isNetwork(text)) say('passerelle.yaml', `/rate_limits/exempt_networks/${at}`, network) })
  settings.trusted_proxies.forEach((text, at) => { if (!namedNetworks.has(text) && (!isNetwork(text) || /\/0+$/.test(text))) say('passerelle.yaml', `/trusted_proxies/${at}`, network) })
  const marks = settings.sites.map(({ site }) => site)
  marks.forEach((mark, at) => { if (marks.indexOf(mark) < at) say('passerelle.yaml', `/sites/${at}/site`, `${mark} is already in the list`) })
  settings.sites.forEach(({ urls }, at) => { if (urls.length === 0) say('passerelle.yaml', `/sites/${at}/urls`, 'expected one at least') })
  if (marks.length > 0 && !marks.includes(settings.site)) say('passerelle.yaml', '/site', `expected one of ${marks.join(', ')}, which are the sites`)
  const ofOneSite = Object.keys(settings.redis).filter(name => name !== 'node_timeout_ms' && (name !== 'urls' || settings.redis.urls.length > 0))  // those two have defaults
  if (marks.length > 0) for (const name of ofOneSite) say('passerelle.yaml', `/redis/${name}`, 'expected none beside sites: each site has its own')
  const { client_id: noticer } = settings.login_notices
  all('passerelle.yaml', '/login_notices/client_id', noticer === undefined ? [] : [noticer], clients.map(({ value }) => value.client_id), 'a client')
  if (clients.length === 0) problems.push('clients/: expected at least one client')
  if (providers.length === 0) problems.push('identity-providers/: expected at least one identity provider')
  unique('/client_id', clients.map(({ file, value }) => ({ file, name: value.client_id })))
  unique('/id', providers.map(({ file, value }) => ({ file, name: value.id })))

  const needed = settings.identity.subject === 'pivot' ? personFields : []
  for (const name of needed) {
    if (!settings.identity.required_claims.includes(name)) say('passerelle.yaml', '/identity/required_claims', `expected ${name} among them: sub is made of it`)
  }
  const ids = providers.map(({ value }) => value.id)
  for (const { file, value: client } of clients) {
    const isPublic = client.token_endpoint_auth_method === 'none'
    client.redirect_uris.forEach((uri, at) => {
      secure(file, `/redirect_uris/${at}`, uri)
      // RFC 6749 §3.1: what we add to it must not be there already
      const names = URL.canParse(uri) ? [...new URL(uri).searchParams.keys()] : []
      for (const name of names) if (ofResponses.has(name)) say(file, `/redirect_uris/${at}`, `expected no ${name} in its query`)
    })
    client.post_logout_redirect_uris.forEach((uri, at) => secure(file, `/post_logout_redirect_uris/${at}`, uri))
    all(file, '/acr_values', client.acr_values, levels, 'one of the levels in passerelle.yaml')
    all(file, '/identity_providers/allow', client.identity_providers.allow, ids, 'an identity provider')
    all(file, '/identity_providers/deny', client.identity_providers.deny, ids, 'an identity provider')
    all(file, '/idp_hints', client.idp_hints, ids, 'an identity provider')
    const hasSecret = client.token_endpoint_auth_method.startsWith('client_secret')
    if (isPublic && client.client_secrets.length > 0) say(file, '/client_secrets', 'a public client has none')
    if (!isPublic && !hasSecret && client.client_secrets.length > 0) say(file, '/client_secrets', `expected none for ${client.token_endpoint_auth_method}`)
    if (hasSecret && client.client_secrets.length === 0) say(file, '/client_secrets', `expected at least one for ${client.token_endpoint_auth_method}`)
    for (const [path, expected] of faultsOfKeys(client, signs)) say(file, path, expected)
    if (client.profile === 'fapi2') for (const [path, expected] of faultsOfProfile(client)) say(file, path, expected)
    for (const name of ['jwks_uri', 'backchannel_logout_uri'] as const) if (client[name] !== undefined) secure(file, `/${name}`, client[name])
    if (client.redirect_uris.length === 0 && !client.introspection) say(file, '/redirect_uris', 'expected one at least')
    if (isPublic && client.introspection) say(file, '/introspection', 'a public client is no data provider')
    if (client.introspection && client.scopes.every(scope => scope === 'openid')) say(file, '/scopes', 'expected one beyond openid: what a data provider shares with no token it learns nothing of')
    if (client.degraded === 'allow' && (isPublic || client.profile === 'fapi2')) say(file, '/degraded', `expected deny for ${isPublic ? 'a public client' : 'fapi2'}`)
    if (isPublic && !client.require_pkce) say(file, '/require_pkce', 'expected true for a public client')
    if (isPublic && client.acr_values.some(level => level !== levels[0])) say(file, '/acr_values', `a public client has the lowest level only: expected [${levels[0]}]`)
  }
  for (const { file, value: { clientKey } } of providers) {
    const other = providers.find(({ value }) => clientKey !== undefined && value.clientKey?.kid === clientKey.kid && JSON.stringify(value.clientKey) !== JSON.stringify(clientKey))
    if (other !== undefined) say(file, '/client_key', `expected a kid of its own: another key in ${other.file} has it`)
  }
  for (const { file, value: provider } of providers) {
    secure(file, '/issuer', provider.issuer)
    for (const [name, value] of Object.entries(provider.endpoints ?? {})) if (typeof value === 'string') secure(file, `/endpoints/${name}`, value)
    all(file, '/acr_values', provider.acr_values, levels, 'one of the levels in passerelle.yaml')
    if (provider.status_url !== undefined) secure(file, '/status_url', provider.status_url)
    for (const purpose of ['id_token', 'userinfo'] as const) {
      const alg = provider[`${purpose}_encrypted_response_alg`]
      if (alg !== undefined && !opens.has(alg)) say(file, `/${purpose}_encrypted_response_alg`, `expected a decryption key for ${alg} among our keys`)
    }
    const { from, until } = provider.maintenance ?? {}
    for (const [name, instant] of Object.entries({ from, until })) if (instant !== undefined && Number.isNaN(instantIn(instant))) say(file, `/maintenance/${name}`, 'expected a day and a time that there are')
    if (from !== undefined && until !== undefined && Date.parse(from) >= Date.parse(until)) say(file, '/maintenance/until', 'expected after its start')
    if (!provider.scopes.includes('openid')) say(file, '/scopes', 'expected openid among them')
  }
  return problems
}

type Fault = [path: string, expected: string]

/** What a registration needs keys for, and whether those that it names will do; what it publishes elsewhere is seen when it is needed. */
function faultsOfKeys (client: Client, signs: ReadonlySet<SigningAlgorithm>): Fault[] {
  const faults: Fault[] = []
  const { jwks, jwks_uri } = client
  const none = jwks === undefined && jwks_uri === undefined
  if (jwks !== undefined && jwks_uri !== undefined) faults.push(['/jwks_uri', 'expected only one of jwks and jwks_uri'])
  jwks?.keys.forEach((jwk, at) => { if (!isPublicKey(jwk)) faults.push([`/jwks/keys/${at}`, 'expected a public key, RSA with 2048 bits or more, EC or Ed25519 or X25519']) })

  const { profile, request_object_signing_alg, token_endpoint_auth_signing_alg } = client
  const uses = [
    ['token_endpoint_auth_method', client.token_endpoint_auth_method === 'private_key_jwt', token_endpoint_auth_signing_alg],
    ['request_object_signing_alg', request_object_signing_alg !== undefined, request_object_signing_alg],
    ['require_signed_request_object', client.require_signed_request_object, request_object_signing_alg]
  ] as const
  for (const [name, used, registered] of uses) {
    const signs = jwks === undefined || jwks.keys.some(jwk => acceptedAlgorithms(profile, registered).some(alg => verifies(jwk, alg)))
    if (used && (none || !signs)) faults.push([`/${name}`, 'expected a key that signs in jwks, or jwks_uri'])
  }
  for (const purpose of ['id_token', 'userinfo', 'introspection'] as const) {
    const signed = client[`${purpose}_signed_response_alg`]
    if (signed !== undefined && signs.size > 0 && !signs.has(signed)) faults.push([`/${purpose}_signed_response_alg`, `expected a signing key for ${signed} among our keys`])
    const alg = client[`${purpose}_encrypted_response_alg`]
    if (alg === undefined) continue
    if (signed === undefined) faults.push([`/${purpose}_signed_response_alg`, 'expected, since what is encrypted is signed first'])
    if (none || (jwks !== undefined && !jwks.keys.some(jwk => encrypts(jwk, alg)))) faults.push([`/${purpose}_encrypted_response_alg`, `expected a key for ${alg} in jwks, or jwks_uri`])
  }
  return faults
}

/** What FAPI 2.0 asks of a registration beyond what holds for all (FAPI 2.0 Security Profile §5.3.2, §5.4). */
function faultsOfProfile (client: Client): Fault[] {
  const faults: Fault[] = []
  if (client.token_endpoint_auth_method !== 'private_key_jwt') faults.push(['/token_endpoint_auth_method', 'expected private_key_jwt for fapi2'])
  if (!client.require_pkce) faults.push(['/require_pkce', 'expected true for fapi2'])
  if (client.introspection && client.introspection_signed_response_alg === undefined) faults.push(['/introspection_signed_response_alg', 'expected for fapi2'])
  if (client.request_uri_seconds >= 600) faults.push(['/request_uri_seconds', 'expected less than 600 for fapi2'])
  for (const name of ['token_endpoint_auth_signing_alg', 'id_token_signed_response_alg', 'userinfo_signed_response_alg', 'request_object_signing_alg', 'introspection_signed_response_alg'] as const) {
    const alg = client[name]
    if (alg !== undefined && !(strictAlgorithms as readonly string[]).includes(alg)) faults.push([`/${name}`, `expected one of ${strictAlgorithms.join(', ')} for fapi2`])
  }
  return faults
}

function isPublicKey (jwk: JWK) {
  if (!isPublic(jwk)) return false
  try {
    const { asymmetricKeyDetails: { modulusLength = 2048 } = {} } = createPublicKey({ key: jwk, format: 'jwk' })
    return modulusLength >= 2048
  } catch { return false }
}
