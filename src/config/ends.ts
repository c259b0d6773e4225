import { instantIn } from '../protocol/clock.ts'
import { endOfCertificates } from './certificate.ts'
import type { Configuration } from './load.ts'

/** What ends, when (NumericDate, seconds): of our own port, of an identity provider, or of a service; `id` names the latter two. */
export interface End<Of extends string> { of: Of, id: string, at: number }

/** When certificates of ours, and authorities that we trust alone, are over: of a chain the first that is. */
export function certificateEnds ({ tls, identityProviders }: Configuration): Array<End<'listen' | 'provider' | 'provider_authority'>> {
  return [
    ...(tls === undefined ? [] : [{ of: 'listen' as const, id: '', at: endOfCertificates(tls.cert) }]),
    ...[...identityProviders.values()].flatMap(({ id, certificate, certificateAuthority }) => [
      ...(certificate === undefined ? [] : [{ of: 'provider' as const, id, at: endOfCertificates(certificate.cert) }]),
      ...(certificateAuthority === undefined ? [] : [{ of: 'provider_authority' as const, id, at: endOfCertificates(certificateAuthority) }])
    ])
  ]
}

/** When secrets are to be replaced, by the `expires` of their registrations: a service that has another that lasts has done its part. */
export function secretEnds ({ clients, identityProviders }: Configuration): Array<End<'provider' | 'client'>> {
  const endOf = (expires: string | undefined) => expires === undefined ? Infinity : instantIn(expires)
  return [
    ...[...identityProviders.values()].map(({ id, client_secret }) => ({ of: 'provider' as const, id, at: endOf(client_secret?.expires) })),
    ...[...clients.values()].filter(({ client_secrets }) => client_secrets.length > 0)
      .map(({ client_id: id, client_secrets }) => ({ of: 'client' as const, id, at: Math.max(...client_secrets.map(({ expires }) => endOf(expires))) }))
  ].filter(({ at }) => at < Infinity)
}
