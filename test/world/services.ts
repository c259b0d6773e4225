/** One service of the world: how it is registered at the gateway, and what it asks. */
export interface ServiceRow {
  id: string
  title: string
  promise: string
  colour: string
  /** Its host name, before the suffix. */
  host: string
  /** Its usual port, where ports are fixed. */
  port: number
  client_id: string
  token_endpoint_auth_method: 'client_secret_basic' | 'client_secret_post' | 'none'
  id_token_signed_response_alg: 'RS256' | 'ES256'
  /** What it asks at each login. */
  scope: string
  acr_values: string
  /** The rest of its registration. */
  registration: Record<string, unknown>
}

/** The three services. */
export const serviceRows: ServiceRow[] = [
  {
    id: 'taxes',
    title: 'Impôts de Valmont',
    promise: 'Déclarez vos revenus et suivez vos paiements.',
    colour: '#1d3f72',
    host: 'impots',
    port: 3001,
    client_id: 'impots-valmont',
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'RS256',
    scope: 'openid identite_pivot email idp_id amr',
    acr_values: 'eidas1',
    registration: {
      scopes: ['openid', 'identite_pivot', 'profile', 'birth', 'email', 'preferred_username', 'idp_id', 'amr'],
      consent: 'information',
      identity_providers: { deny: ['ondelis'] },
      idp_hints: ['vitalys', 'tresorine', 'terramut', 'plume-et-pli']
    }
  },
  {
    id: 'town',
    title: 'Mairie de Valmont',
    promise: 'Inscrivez vos enfants à l’école, réservez la salle des fêtes.',
    colour: '#2f6b2f',
    host: 'mairie',
    port: 3002,
    client_id: 'mairie-valmont',
    token_endpoint_auth_method: 'client_secret_post',
    id_token_signed_response_alg: 'ES256',
    scope: 'openid profile email phone address idp_id amr',
    acr_values: 'eidas1',
    registration: {
      scopes: ['openid', 'profile', 'email', 'phone', 'address', 'idp_id', 'amr'],
      claims: ['birthplace'],
      acr_values: ['eidas1', 'eidas2'],
      consent: 'required',
      idp_hints: ['vitalys', 'tresorine', 'terramut', 'plume-et-pli', 'ondelis']
    }
  },
  {
    id: 'social-security',
    title: 'Sécurité sociale de Valmont',
    promise: 'Consultez vos remboursements et vos droits.',
    colour: '#8a2f5b',
    host: 'secu',
    port: 3003,
    client_id: 'secu-valmont',
    token_endpoint_auth_method: 'none',
    id_token_signed_response_alg: 'ES256',
    scope: 'openid given_name family_name gender birthdate birth idp_id',
    acr_values: 'eidas1',
    registration: {
      scopes: ['openid', 'given_name', 'family_name', 'gender', 'birthdate', 'birth', 'idp_id'],
      acr_values: ['eidas1'],
      consent: 'information',
      idp_hints: ['vitalys']
    }
  }
]
