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

/** The names that these scopes and single claims ask for. */
export const claimNames = (scopes: readonly string[], single: readonly string[] = []) =>
  new Set([...scopes.flatMap(scope => scopeClaims[scope] ?? []), ...single])

/** The part of an identity that has these names; nothing else leaves. */
export const pick = (identity: Identity, names: ReadonlySet<string>): Identity =>
  Object.fromEntries(Object.entries(identity).filter(([name, value]) => names.has(name) && value !== undefined && value !== null && value !== ''))

const calendarDate = (value: string) => {
  const [, year, month, day] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(value) ?? []
  if (year === undefined || Number(year) < 1850) return false
  if (month === '00') return day === '00'                            // presumed: only the year is known
  const shown = day === '00' ? '01' : day                            // presumed: the day is not known
  const date = new Date(`${year}-${month}-${shown}T00:00:00Z`)
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(`${year}-${month}-${shown}`)
}

const string = (maximum: number, form = /^[^\u0000-\u001f\u007f]+$/) => (value: unknown) =>
  typeof value === 'string' && value.length > 0 && value.length <= maximum && form.test(value)

const rules: Record<string, (value: unknown) => boolean> = {
  given_name: string(256),
  family_name: string(256),
  preferred_username: string(256),
  given_name_array: value => Array.isArray(value) && value.length <= 32 && value.every(string(256)),
  gender: value => value === 'female' || value === 'male' || value === 'unspecified',
  birthdate: value => typeof value === 'string' && calendarDate(value),
  birthcountry: string(5, /^\d{5}$/),
  birthplace: value => value === '' || string(5, /^(\d\d|2A|2B)\d{3}$/)(value),
  email: string(254, /^[^\s@]+@[^\s@]+$/),
  email_verified: value => typeof value === 'boolean',
  phone_number: string(32),
  phone_number_verified: value => typeof value === 'boolean',
  address: value => typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every(part => part === undefined || string(512, /^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f]+$/)(part))
}
const otherClaim = (value: unknown) => typeof value === 'boolean' || typeof value === 'number' || string(512)(value)

const france = '99100'

/**
 * The claims of an identity that are wrong or missing, by name and never by value; empty when the identity may be used.
 * Born in France, the birthplace is needed wherever the country is.
 */
export function identityFaults (identity: Identity, required: readonly string[]) {
  const needed = new Set(required)
  if (needed.has('birthcountry') && identity.birthcountry === france) needed.add('birthplace')
  const missing = [...needed].filter(name => identity[name] === undefined || identity[name] === null || identity[name] === '')
  const wrong = Object.entries(identity).filter(([name, value]) =>
    knownClaims.has(name) && value !== undefined && value !== null && value !== '' && !(rules[name] ?? otherClaim)(value)).map(([name]) => name)
  return [...new Set([...missing, ...wrong])]
}
