import { createHash } from 'node:crypto'

/** The signatures that the world's providers use. */
export type SignatureAlgorithm = 'RS256' | 'PS256' | 'ES256' | 'EdDSA'

/** One identity provider of the world: what sets it apart from the others. */
export interface ProviderRow {
  id: string
  title: string
  colour: string
  /** Its usual port, where ports are fixed. */
  port: number
  /** The path of its issuer, empty for none. */
  path: string
  /** What it calls the gateway. */
  client_id: string
  token_endpoint_auth_method: 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt'
  id_token_signed_response_alg: SignatureAlgorithm
  /** Its userinfo answer is a JWT, signed so. */
  userinfo_signed_response_alg?: SignatureAlgorithm
  /** Without discovery our registration of it names every endpoint. */
  discovery: boolean
  /** Paths of its endpoints where they are not oidc-provider's own. */
  routes?: { authorization: string, token: string, userinfo: string, jwks: string, end_session: string }
  /** Whether it puts `iss` in its responses (RFC 9207). */
  sendsIssuer: boolean
  requiresPkce: boolean
  /** Whether it has RP-initiated logout. */
  endsSessions: boolean
  /** How it authenticates at each level that it reaches, the lowest first. */
  levels: Record<string, string[]>
  /** Whether its ID Tokens tell `amr`; where they do not, our registration does. */
  tellsMethods: boolean
  scopes: string[]
}

/** The five identity providers, which differ as real ones do. */
export const providerRows: ProviderRow[] = [
  {
    id: 'vitalys',
    title: 'Vitalys, assurance santé',
    colour: '#0b7a5c',
    port: 4001,
    path: '',
    client_id: 'passerelle',
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'RS256',
    discovery: true,
    sendsIssuer: true,
    requiresPkce: false,
    endsSessions: true,
    levels: { eidas1: ['pwd'], eidas2: ['pwd', 'otp', 'mfa'] },
    tellsMethods: true,
    scopes: ['openid', 'profile', 'birth', 'email', 'phone', 'address']
  },
  {
    id: 'tresorine',
    title: 'Trésorine, impôts',
    colour: '#1f4fa3',
    port: 4002,
    path: '/identite',
    client_id: 'service-passerelle-7',
    token_endpoint_auth_method: 'private_key_jwt',
    id_token_signed_response_alg: 'ES256',
    discovery: true,
    sendsIssuer: true,
    requiresPkce: true,
    endsSessions: true,
    levels: { eidas1: ['pwd'], eidas2: ['pwd', 'sms', 'mfa'], eidas3: ['sc', 'pin', 'mfa'] },
    tellsMethods: true,
    scopes: ['openid', 'profile', 'birth', 'email', 'phone', 'address']
  },
  {
    id: 'terramut',
    title: 'Terramut, assurance agricole',
    colour: '#6b6a12',
    port: 4003,
    path: '',
    client_id: 'GW_0042',
    token_endpoint_auth_method: 'client_secret_post',
    id_token_signed_response_alg: 'PS256',
    discovery: false,
    routes: { authorization: '/connexion/autoriser', token: '/connexion/jeton', userinfo: '/connexion/identite', jwks: '/connexion/cles', end_session: '/connexion/fin' },
    sendsIssuer: false,
    requiresPkce: false,
    endsSessions: false,
    levels: { eidas1: ['pwd'], eidas2: ['pwd', 'otp', 'mfa'] },
    tellsMethods: true,
    scopes: ['openid', 'profile', 'birth', 'email', 'address']
  },
  {
    id: 'plume-et-pli',
    title: 'Plume & Pli, courrier',
    colour: '#a8541a',
    port: 4004,
    path: '',
    client_id: 'passerelle.service-public',
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'EdDSA',
    userinfo_signed_response_alg: 'EdDSA',
    discovery: true,
    sendsIssuer: true,
    requiresPkce: false,
    endsSessions: false,
    levels: { eidas1: ['pwd'], eidas2: ['pwd', 'hwk', 'mfa'] },
    tellsMethods: true,
    scopes: ['openid', 'profile', 'birth', 'email', 'phone', 'address']
  },
  {
    id: 'ondelis',
    title: 'Ondélis mobile et moi',
    colour: '#7a2d8c',
    port: 4005,
    path: '/oidc/v1',
    client_id: 'passerelle-mobile',
    token_endpoint_auth_method: 'client_secret_post',
    id_token_signed_response_alg: 'RS256',
    discovery: false,
    sendsIssuer: true,
    requiresPkce: false,
    endsSessions: false,
    levels: { eidas1: ['swk'] },
    tellsMethods: false,
    scopes: ['openid', 'profile', 'birth', 'phone']
  }
]

/** The level that a request gets: the first that it names and we reach; the highest when it names only others, the lowest when it names none. */
export function levelFor ({ levels }: Pick<ProviderRow, 'levels'>, acr_values = '') {
  const reached = Object.keys(levels)
  const asked = acr_values.split(' ').filter(Boolean)
  return asked.find(level => reached.includes(level)) ?? (asked.length > 0 ? reached.at(-1)! : reached[0]!)
}

/** Each provider knows a citizen by a `sub` of its own. */
export const accountId = (provider: string, username: string) => createHash('sha256').update(`${provider} ${username}`).digest('base64url').slice(0, 27)
