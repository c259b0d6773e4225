import { createHmac, type KeyObject } from 'node:crypto'
import type { Identity } from './claims.ts'

const scheme = 'v1'

const ligatures: Record<string, string> = { œ: 'oe', æ: 'ae', ß: 'ss' }

/** Spelled alike whatever the provider: Unicode form, accents, ligatures, case, what is not seen, and what stands between the words. */
const normalised = (value: unknown) => String(value ?? '').normalize('NFKD').replace(/[\p{M}\p{Cf}]/gu, '').toLowerCase()
  .replace(/[œæß]/g, letter => ligatures[letter]!).replace(/[\s\p{P}`ʼ]+/gu, ' ').trim()

/** Fields told apart by their length, so that no two lists of fields give the same bytes. */
const separated = (fields: readonly string[]) => fields.map(field => `${Buffer.byteLength(field)}:${field}`).join('')

const keyed = (secret: KeyObject, ...fields: string[]) => createHmac('sha256', secret).update(separated([scheme, ...fields])).digest('base64url')

const pivotFields = ['given_name', 'family_name', 'gender', 'birthdate', 'birthplace', 'birthcountry']

/** One value for one person, whichever identity provider he or she used: it is made of the pivot identity. It never leaves the gateway. */
export const personOfPivot = (secret: KeyObject, identity: Identity) => keyed(secret, 'pivot', ...pivotFields.map(name => normalised(identity[name])))

/** One value for one account at one provider, for a platform without pivot identities. It never leaves the gateway. */
export const personOfAccount = (secret: KeyObject, issuer: string, sub: string) => keyed(secret, 'account', issuer, sub)

/** The pairwise `sub` (OpenID Connect Core §8.1) of a person for a sector; its suffix names the scheme, so that the scheme can change. */
export const pairwiseSubject = (secret: KeyObject, person: string, sector: string) => `${keyed(secret, 'sub', person, sector)}${scheme}`

/** The `sid` that one client is told for a session (Back-Channel Logout §2.1): two clients cannot compare theirs. */
export const clientSessionId = (secret: KeyObject, sid: string, client_id: string) => keyed(secret, 'sid', sid, client_id)

/** What tells us, and only us, which client a login was for: it stands in the `state` that identity providers see. */
export const clientMark = (secret: KeyObject, login: string, client_id: string) => keyed(secret, 'service', login, client_id).slice(0, 11)

/** What tells us, and only us, that a nonce is one of ours. */
export const nonceMark = (secret: KeyObject, nonce: string) => keyed(secret, 'nonce', nonce).slice(0, 22)

/** A person as he or she is counted in one month, by its salt: without that, two months cannot be compared. */
export const citizenOfMonth = (secret: KeyObject, salt: string, person: string) => keyed(secret, 'citizen', salt, person)
