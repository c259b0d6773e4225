/** What an identity provider said of a citizen, by claim name (OpenID Connect Core §5.1 and the pivot identity). */
export type Identity = Record<string, unknown>

const pivot = ['given_name', 'given_name_array', 'family_name', 'birthdate', 'gender', 'birthplace', 'birthcountry']

/** The claims each scope stands for. `openid` stands for `sub` alone: an anonymous login. */
export const scopeClaims: Record<string, readonly string[]> = {
  openid: [],
  profile: ['given_name', 'given_name_array', 'family_name', 'birthdate', 'gender', 'preferred_username',
    'name', 'middle_name', 'nickname', 'profile', 'picture', 'website', 'zoneinfo', 'locale', 'updated_at'],
  birth: ['birthplace', 'birthcountry'],
  identite_pivot: pivot,
  email: ['email', 'email_verified'],
  phone: ['phone_number', 'phone_number_verified'],
  address: ['address'],
  given_name: ['given_name'],
  family_name: ['family_name'],
  birthdate: ['birthdate'],
  gender: ['gender'],
  birthplace: ['birthplace'],
  birthcountry: ['birthcountry'],
  preferred_username: ['preferred_username'],
  idp_id: ['idp_id'],
  amr: ['amr']
}

/** Every claim a client can be given at userinfo, with those that are about the login rather than the person. */
export const knownClaims = new Set(Object.values(scopeClaims).flat())

/** Those that are about the person: what an identity provider says, and what it can be required to say. */
export const identityClaims = new Set([...knownClaims].filter(name => name !== 'idp_id' && name !== 'amr'))

/** The names that these scopes and single claims ask for. */
export const claimNames = (scopes: readonly string[], single: readonly string[] = []) =>
  new Set([...scopes.flatMap(scope => Object.hasOwn(scopeClaims, scope) ? scopeClaims[scope]! : []), ...single])

/** The part of an identity that has these names; nothing else leaves. */
export const pick = (identity: Identity, names: ReadonlySet<string>): Identity =>
  Object.fromEntries(Object.entries(identity).filter(([name, value]) => names.has(name) && given(value)))

const calendarDate = (value: string) => {
  const [, year, month, day] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(value) ?? []
  if (Number(year) < 1850) return false
  if (month === '00') return day === '00'                            // presumed: only the year is known
  const shown = day === '00' ? '01' : day                            // presumed: the day is not known
  const date = new Date(`${year}-${month}-${shown}T00:00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(`${year}-${month}-${shown}`)
}

// no control characters, and none that turn the direction of what stands around them
const string = (maximum: number, form = /^(?=.*\S)[^\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]+$/) => (value: unknown) =>
  typeof value === 'string' && value.length <= maximum && form.test(value)

const rules: Record<string, (value: unknown) => boolean> = {
  given_name: string(256),
  family_name: string(256),
  preferred_username: string(256),
  given_name_array: value => Array.isArray(value) && value.length <= 32 && value.every(string(256)),
  gender: value => value === 'female' || value === 'male' || value === 'unspecified',
  birthdate: value => typeof value === 'string' && calendarDate(value),
  birthcountry: string(5, /^\d{5}$/),
  birthplace: string(5, /^(\d\d|2A|2B)\d{3}$/),
  email: string(254, /^[^\s@\u0000-\u001f\u007f]+@[^\s@\u0000-\u001f\u007f]+$/),
  email_verified: value => typeof value === 'boolean',
  phone_number: string(32),
  phone_number_verified: value => typeof value === 'boolean',
  updated_at: value => typeof value === 'number',
  address: value => typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length <= 8 && Object.values(value).every(string(512, /^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f]+$/))
}
const otherClaim = string(512)

const france = '99100'
const given = (value: unknown) => value !== undefined && value !== null && value !== ''
const wellFormed = (name: string, value: unknown) => (rules[name] ?? otherClaim)(value)

/**
 * The claims of an identity that keep it from being used, by name and never by value: those that are needed and missing, and those of the pivot identity that are malformed.
 * Born in France, the birthplace is needed wherever the country is.
 */
export function identityFaults (identity: Identity, required: readonly string[]) {
  const needed = new Set(required)
  if (needed.has('birthcountry') && identity.birthcountry === france) needed.add('birthplace')
  return [...new Set([...needed, ...pivot])].filter(name => given(identity[name]) ? !wellFormed(name, identity[name]) : needed.has(name))
}

/** The claims that are given and well formed: nobody is kept out by an optional claim that a provider spells wrong, and nobody is sent it. */
export const soundClaims = (identity: Identity): Identity =>
  Object.fromEntries(Object.entries(identity).filter(([name, value]) => knownClaims.has(name) && wellFormed(name, value)))

/** The names of the claims that a request's client will be told, at userinfo or in all. */
export const claimsSent = ({ scopes, userinfoClaims = [], idTokenClaims = [] }: { scopes: readonly string[], userinfoClaims?: string[], idTokenClaims?: string[] }, where: 'userinfo' | 'everywhere' = 'everywhere') =>
  claimNames(scopes, where === 'userinfo' ? userinfoClaims : [...userinfoClaims, ...idTokenClaims])

/** Whether these claims name nobody: all they tell is how the login was made. */
export const isAnonymous = (names: ReadonlySet<string>) => [...names].every(name => name === 'idp_id' || name === 'amr')
