import type { Client, IdentityProvider } from './load.ts'
import type { Settings } from './schema.ts'

/** What was read, with the file it came from. */
export type Named<T> = { file: string, value: T }

/** What `sub` is made of and nobody is without; a birthplace is needed of those born in France. */
const personFields = ['given_name', 'family_name', 'gender', 'birthdate', 'birthcountry'] as const

const ofResponses = new Set(['code', 'state', 'iss', 'error', 'error_description'])

/** Faults of meaning: what no schema can say. */
export function meaningOf (settings: Settings, clients: Array<Named<Client>>, providers: Array<Named<IdentityProvider>>) {
  const problems: string[] = []
  const { levels } = settings.acr
  const development = settings.environment === 'development'
  const say = (file: string, path: string, expected: string) => problems.push(`${file}: ${path}: ${expected}`)

  const secure = (file: string, path: string, address: string) => {
    if (!URL.canParse(address)) { say(file, path, 'expected a URL'); return }
    const { protocol, hostname } = new URL(address)
    const loopback = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
    if (protocol !== 'https:' && !(development && loopback)) say(file, path, development ? 'expected https, or http on a loopback name' : 'expected https')
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
  if (/[?]|\/$/.test(settings.issuer)) say('passerelle.yaml', '/issuer', 'expected no query and no slash at the end')
  all('passerelle.yaml', '/acr/default', settings.acr.default === undefined ? [] : [settings.acr.default], levels, 'one of /acr/levels')
  all('passerelle.yaml', '/session/acr_values', settings.session.acr_values, levels, 'one of /acr/levels')
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
    if (isPublic && client.client_secrets.length > 0) say(file, '/client_secrets', 'a public client has none')
    if (!isPublic && client.client_secrets.length === 0) say(file, '/client_secrets', `expected at least one for ${client.token_endpoint_auth_method}`)
    if (isPublic && !client.require_pkce) say(file, '/require_pkce', 'expected true for a public client')
    if (isPublic && client.acr_values.some(level => level !== levels[0])) say(file, '/acr_values', `a public client has the lowest level only: expected [${levels[0]}]`)
  }
  for (const { file, value: provider } of providers) {
    secure(file, '/issuer', provider.issuer)
    for (const [name, value] of Object.entries(provider.endpoints ?? {})) if (typeof value === 'string') secure(file, `/endpoints/${name}`, value)
    all(file, '/acr_values', provider.acr_values, levels, 'one of the levels in passerelle.yaml')
    if (!provider.scopes.includes('openid')) say(file, '/scopes', 'expected openid among them')
  }
  return problems
}
