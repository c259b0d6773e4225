import type { KeyObject } from 'node:crypto'
import type { Token } from './grant.ts'
import { pairwiseSubject } from './subject.ts'

/** The data provider that asks, and what its own `sub` is made with. */
interface Asking { scopes: readonly string[], sector: string, secret: KeyObject, issuer: string }

/**
 * What a data provider is told of a token that a service brought it (RFC 7662 §2.2): that it is good, its own `sub` of the person, the level, and the scopes
 * that both have. Where they share none the token is not meant for it, and it learns nothing.
 */
export function introspectionOf (token: Token | undefined, { scopes, sector, secret, issuer }: Asking) {
  const shared = token?.scopes.filter(scope => scopes.includes(scope)) ?? []
  // openid is in every token, and so tells nothing of whom it is for; a token of the release before names no person
  if (token?.person === undefined || shared.every(scope => scope === 'openid')) return { active: false as const }
  return {
    active: true as const,
    iss: issuer,
    sub: pairwiseSubject(secret, token.person, sector),
    scope: shared.join(' '),
    acr: token.acr,
    exp: token.exp,
    ...(token.jkt === undefined ? { token_type: 'Bearer' as const } : { token_type: 'DPoP' as const, cnf: { jkt: token.jkt } })
  }
}
