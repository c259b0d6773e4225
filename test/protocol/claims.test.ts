import t from 'tap'
import { claimNames, claimsSent, identityFaults, isAnonymous, knownClaims, pick, scopeClaims, soundClaims, type Identity } from '../../src/protocol/claims.ts'

const angela: Identity = {
  given_name: 'Angela Claire Louise',
  family_name: 'DUBOIS',
  gender: 'female',
  birthdate: '1962-08-24',
  birthplace: '75107',
  birthcountry: '99100'
}
const required = ['given_name', 'family_name', 'gender', 'birthdate', 'birthcountry']

/** What is wrong with Angela when she has these claims instead: what keeps her out, and what is not sent on. */
const faultsWith = (claims: Identity) => {
  const identity = { ...angela, ...claims }
  const unsound = Object.entries(claims).filter(([name, value]) => knownClaims.has(name) && value !== undefined && value !== null && value !== '' && !Object.hasOwn(soundClaims(identity), name)).map(([name]) => name)
  return [...new Set([...identityFaults(identity, required), ...unsound])]
}
const long = (length: number) => 'a'.repeat(length)

t.test('a claim of another type or form is named, and never its value', async t => {
  const table: Record<string, unknown[]> = {
    given_name: [42, true, ['Angela'], { fr: 'Angela' }, 'An\u0000gela', 'Angela\n', 'An\u007fgela', '\u001bAngela', long(257)],
    family_name: [0, false, ['DUBOIS'], {}, 'DU\rBOIS', 'DUBOIS\t', long(257)],
    preferred_username: [7, ['LEROY'], {}, 'LE\u0000ROY', long(257)],
    given_name_array: ['Angela', 1, {}, ['Angela', 2], [['Angela']], [null], [''], ['An\u0000gela'], [long(257)], Array(33).fill('Angela'), { length: 1, 0: 'Angela' }],
    gender: ['Female', 'F', 'femme', 'other', ['female'], 1, true],
    birthdate: [19620824, ['1962-08-24'], {}, true, new Date('1962-08-24'), '24/08/1962', '1962-8-24', '62-08-24', '1962-08', '1962', '1962-08-24T00:00:00Z', ' 1962-08-24', '1962-08-24\n', '+001962-08-24'],
    birthplace: [75107, ['75107'], {}, '7510', '751070', '2C004', '2a004', 'Paris', '75107 ', '７５１０７'],
    birthcountry: [99100, ['99100'], {}, '9910', '991000', 'FR', '99A00', '99100 ', '٩٩١٠٠'],
    email: [1, ['a@b.fr'], {}, 'angela', 'a b@c.fr', 'a@b@c.fr', '@b.fr', 'a@', 'a@b.fr\n', `${long(250)}@b.fr`],
    email_verified: ['true', 1, 0, [], {}],
    phone_number: [33612345678, ['+33612345678'], {}, long(33), '+336\u0000'],
    phone_number_verified: ['false', 1, 0, [], {}],
    address: ['1 rue de la Paix', 1, true, ['1 rue de la Paix'], { formatted: 1 }, { formatted: ['Paris'] }, { formatted: {} }, { formatted: null }, { formatted: '' }, { formatted: long(513) }, { formatted: 'Pa\u0000ris' }, { formatted: 'Pa\tris' }, { formatted: 'Pa\u000bris' }, { locality: 'Pa\u007fris' }],
    nickname: [[], {}, ['Angie'], 'An\u0000gie', long(513)],
    picture: [{}, ['https://example.fr/a.png'], long(513)],
    updated_at: [{}, ['1'], '\u0000']
  }
  for (const [name, values] of Object.entries(table)) {
    for (const value of values) t.strictSame(faultsWith({ [name]: value }), [name], `${name} ${JSON.stringify(value).slice(0, 60)}`)
  }
})

t.test('an optional claim that is malformed keeps nobody out and is not sent; one of the pivot identity does', async t => {
  const email = { ...angela, email: 'angela' }
  t.strictSame(identityFaults(email, required), [])
  t.strictSame(soundClaims(email), angela)
  t.strictSame(identityFaults(email, [...required, 'email']), ['email'], 'where it is required it does')
  t.strictSame(identityFaults({ ...angela, birthcountry: '99352', birthplace: 'Alger' }, required), ['birthplace'], 'sub is made of it')
  t.strictSame(soundClaims({ ...angela, sub: '1', iss: 'x', preferred_username: '', address: null }), angela, 'what we do not know or is empty is not sent')
})

t.test('a name does not turn the direction of what stands around it', async t => {
  for (const code of [0x85, 0x202a, 0x202e, 0x2066, 0x2069]) t.strictSame(faultsWith({ given_name: `Ang${String.fromCharCode(code)}ela` }), ['given_name'], code.toString(16))
})

t.test('an e-mail address holds no control character', async t => {
  for (const code of [0x00, 0x07, 0x1b, 0x7f]) t.strictSame(faultsWith({ email: `ang${String.fromCharCode(code)}ela@example.fr` }), ['email'], `character ${code}`)
})

t.test('a standard claim that is text is text, and updated_at a time (OpenID Connect Core §5.1)', async t => {
  for (const name of ['name', 'middle_name', 'nickname', 'profile', 'picture', 'website', 'zoneinfo', 'locale']) {
    for (const value of [true, false, 0, 42]) t.strictSame(faultsWith({ [name]: value }), [name], `${name} ${value}`)
  }
  for (const value of [true, false]) t.strictSame(faultsWith({ updated_at: value }), ['updated_at'], `updated_at ${value}`)
})

t.test('a name of nothing but blanks is none', async t => {
  for (const blank of [' ', '   ', '\u00a0', '\u2003']) {
    t.strictSame(faultsWith({ given_name: blank }), ['given_name'], `character ${blank.charCodeAt(0)}`)
    t.strictSame(faultsWith({ family_name: blank }), ['family_name'], `character ${blank.charCodeAt(0)}`)
  }
})

t.test('a date that no calendar has is no birthdate', async t => {
  const impossible = [
    '2023-02-30', '2023-02-29', '1900-02-29', '1980-04-31', '1980-01-32', '1980-13-01', '1980-13-00', '1980-99-00', '1980-00-15', '1980-00-01',
    '0000-00-00', '0000-01-01', '1849-12-31', '1849-00-00'
  ]
  for (const birthdate of impossible) t.strictSame(faultsWith({ birthdate }), ['birthdate'], birthdate)
})

t.test('a birthdate is a day of the calendar, or presumed where the day or the month is not known', async t => {
  const possible = ['1962-08-24', '2024-02-29', '2000-02-29', '1980-12-31', '1850-01-01', '1980-02-00', '1980-12-00', '1980-00-00', '1850-00-00']
  for (const birthdate of possible) t.strictSame(faultsWith({ birthdate }), [], birthdate)
})

t.test('a claim of the right form is no fault', async t => {
  const table: Record<string, unknown[]> = {
    given_name: ['A', 'Angela Claire', 'Œdipe', 'Ñandù', '李', "N'Guyen", long(256)],
    family_name: ['X', "D'ARC-LE GALL", long(256)],
    preferred_username: ['LEROY'],
    given_name_array: [['Angela', 'Claire'], [long(256)], Array(32).fill('Angela'), []],
    gender: ['female', 'male', 'unspecified'],
    birthplace: ['2A004', '2B033', '97209', '01001'],
    email: ['a@b', 'angela.dubois+impots@example.fr', `${long(249)}@b.fr`],
    email_verified: [true, false],
    phone_number: ['+33 6 12 34 56 78', long(32)],
    phone_number_verified: [true, false],
    address: [{}, { formatted: '1 rue de la Paix\r\n75002 Paris', country: 'France' }, { formatted: long(512) }],
    nickname: ['Angie', long(512)],
    updated_at: [0, 1771234567],
    locale: ['fr-FR']
  }
  for (const [name, values] of Object.entries(table)) {
    for (const value of values) t.strictSame(faultsWith({ [name]: value }), [], `${name} ${JSON.stringify(value).slice(0, 60)}`)
  }
})

t.test('a required claim that is absent, null or empty is missing', async t => {
  for (const name of required) {
    for (const value of [undefined, null, '']) t.strictSame(faultsWith({ [name]: value }), [name], `${name} ${value}`)
    const { [name]: _, ...rest } = angela
    t.strictSame(identityFaults(rest, required), [name], `no ${name}`)
  }
  t.strictSame(identityFaults({}, required), required)
  t.strictSame(identityFaults({ gender: 'F' }, ['email', 'gender']), ['email', 'gender'], 'what is missing and what is wrong are named together, each once')
})

t.test('a claim that nobody requires may be absent, null or empty', async t => {
  for (const value of [undefined, null, '']) t.strictSame(faultsWith({ email: value, preferred_username: value, given_name_array: value, nickname: value }), [], String(value))
})

t.test('born in France, a citizen needs a birthplace', async t => {
  for (const birthplace of [undefined, null, '']) t.strictSame(faultsWith({ birthplace }), ['birthplace'], String(birthplace))
})

t.test('born elsewhere, a citizen may have no birthplace', async t => {
  for (const birthplace of [undefined, null, '']) t.strictSame(faultsWith({ birthplace, birthcountry: '99109' }), [], String(birthplace))
})

t.test('a platform that does not ask for the country of birth does not ask for the birthplace either', async t => {
  t.strictSame(identityFaults({ given_name: 'Angela', birthcountry: '99100' }, ['given_name']), [])
})

t.test('the names of an object\'s prototype are neither scopes nor claims', async t => {
  for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf']) {
    t.strictSame([...claimNames([name])], [], `scope ${name}`)
    t.equal(knownClaims.has(name), false, `claim ${name}`)
  }
})

t.test('a provider cannot pass claims off by a prototype', async t => {
  const forged: Identity = JSON.parse(JSON.stringify(angela).replace('{', '{"__proto__":{"email":"a@b.fr"},"constructor":{"email":"a@b.fr"},"toString":1,'))
  t.strictSame(identityFaults(forged, required), [], 'what we do not know is no fault')
  t.strictSame(identityFaults(forged, ['email']), ['email'])
  t.strictSame(pick(forged, new Set(['email', 'given_name'])), { given_name: 'Angela Claire Louise' })
  t.strictSame(identityFaults(JSON.parse('{"__proto__":{"given_name":"Angela"}}'), ['given_name']), ['given_name'])
})

t.test('nothing of an identity leaves but what was named and has a value', async t => {
  const identity = { ...angela, nir: '262087510700142', email: '', phone_number: null, address: undefined, email_verified: false, updated_at: 0 }
  t.strictSame(pick(identity, new Set(['given_name', 'email', 'phone_number', 'address', 'email_verified', 'updated_at', 'nickname'])),
    { given_name: 'Angela Claire Louise', email_verified: false, updated_at: 0 })
  t.strictSame(Object.keys(pick(identity, new Set(['address', 'email', 'phone_number']))), [])
  t.strictSame(pick(identity, new Set()), {})
})

t.test('each scope stands for its claims and no others', async t => {
  const pivot = ['given_name', 'given_name_array', 'family_name', 'birthdate', 'gender', 'birthplace', 'birthcountry']
  const table: Array<[scopes: string[], single: string[] | undefined, names: string[]]> = [
    [['openid'], undefined, []],
    [['openid', 'identite_pivot'], undefined, pivot],
    [['birth'], undefined, ['birthplace', 'birthcountry']],
    [['email', 'phone', 'address'], undefined, ['email', 'email_verified', 'phone_number', 'phone_number_verified', 'address']],
    [['openid', 'gender'], ['email'], ['gender', 'email']],
    [['birth', 'birthplace'], ['birthplace'], ['birthplace', 'birthcountry']],
    [['identity', 'EMAIL', ''], undefined, []],
    [[], ['amr'], ['amr']]
  ]
  for (const [scopes, single, names] of table) t.strictSame([...claimNames(scopes, single)], names, `${scopes} ${single}`)
  for (const name of ['given_name', 'family_name', 'birthdate', 'gender', 'birthplace', 'birthcountry', 'preferred_username', 'idp_id', 'amr']) {
    t.strictSame(scopeClaims[name], [name], `${name} is a scope of one claim`)
  }
  const profile = claimNames(['profile'])
  for (const name of ['given_name', 'given_name_array', 'family_name', 'birthdate', 'gender', 'preferred_username', 'name', 'updated_at']) t.equal(profile.has(name), true, `profile has ${name}`)
  for (const name of ['birthplace', 'birthcountry', 'email', 'phone_number', 'address', 'sub']) t.equal(profile.has(name), false, `profile has no ${name}`)
})

t.test('a login is anonymous where nothing that is sent names anybody', async t => {
  const table: Array<[string[], boolean]> = [[[], true], [['idp_id'], true], [['amr'], true], [['idp_id', 'amr'], true], [['idp_id', 'gender'], false], [['birthdate'], false]]
  for (const [names, anonymous] of table) t.equal(isAnonymous(new Set(names)), anonymous, names.join())
})

t.test('what is sent is what scopes and single claims ask for, at userinfo or in all', async t => {
  const request = { scopes: ['openid', 'birth'], userinfoClaims: ['email'], idTokenClaims: ['gender'] }
  t.strictSame([...claimsSent(request)].sort(), ['birthcountry', 'birthplace', 'email', 'gender'])
  t.strictSame([...claimsSent(request, 'userinfo')].sort(), ['birthcountry', 'birthplace', 'email'])
  t.strictSame([...claimsSent({ scopes: ['openid'] })], [])
})
