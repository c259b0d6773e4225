import t from 'tap'
import { createSecretKey } from 'node:crypto'
import { clientMark, clientSessionId, nonceMark, pairwiseSubject, personOfAccount, personOfPivot } from '../../src/protocol/subject.ts'
import type { Identity } from '../../src/protocol/claims.ts'

const secret = createSecretKey(Buffer.alloc(32, 1))
const otherSecret = createSecretKey(Buffer.alloc(32, 2))

const angela: Identity = {
  given_name: 'Angélique Zoé',
  family_name: "Lebœuf-D'Arçay",
  gender: 'female',
  birthdate: '1962-08-24',
  birthplace: '2A004',
  birthcountry: '99100'
}
const person = (changed: Identity = {}) => personOfPivot(secret, { ...angela, ...changed })

t.test('two persons who differ in one field of the pivot identity are two', async t => {
  const table: Identity[] = [
    { given_name: 'Angélique' },
    { given_name: 'Zoé Angélique' },
    { given_name: 'AngéliqueZoé' },
    { family_name: 'Lebœuf' },
    { family_name: "Lebuf-D'Arçay" },
    { gender: 'male' },
    { gender: 'unspecified' },
    { birthdate: '1962-08-25' },
    { birthdate: '1962-08-00' },
    { birthdate: '1962-00-00' },
    { birthplace: '2B004' },
    { birthplace: '' },
    { birthcountry: '99109' }
  ]
  for (const changed of table) t.not(person(changed), person(), JSON.stringify(changed))
  t.equal(new Set([...table.map(person), person()]).size, table.length + 1, 'and all of them differ from one another')
})

t.test('fields shifted from one to the next make another person', async t => {
  const table: Array<[Identity, Identity]> = [
    [{ given_name: 'Marie Anne', family_name: 'Dupont' }, { given_name: 'Marie', family_name: 'Anne Dupont' }],
    [{ given_name: 'Marie', family_name: 'Dupont' }, { given_name: 'MarieDupont', family_name: '' }],
    [{ given_name: 'Marie', family_name: 'Dupont' }, { given_name: 'Dupont', family_name: 'Marie' }],
    [{ given_name: '', family_name: 'Marie' }, { given_name: 'Marie', family_name: '' }],
    [{ given_name: 'a1', family_name: 'b' }, { given_name: 'a', family_name: '1b' }],
    [{ given_name: 'a1 b', family_name: 'c' }, { given_name: 'a', family_name: 'b1 c' }],
    [{ birthplace: '75107', birthcountry: '' }, { birthplace: '', birthcountry: '75107' }]
  ]
  for (const [one, other] of table) t.not(person(one), person(other), JSON.stringify([one, other]))
})

t.test('the length of a field is that of its bytes, so that a letter of another script cannot shift one', async t => {
  t.not(person({ given_name: '李1', family_name: 'x' }), person({ given_name: '李', family_name: '1x' }))
})

t.test('a person is the same, however a provider spells', async t => {
  const table: Array<[why: string, spelled: Identity]> = [
    ['capitals', { given_name: 'ANGÉLIQUE ZOÉ', family_name: "LEBŒUF-D'ARÇAY" }],
    ['small letters', { given_name: 'angélique zoé', family_name: "lebœuf-d'arçay", birthplace: '2a004' }],
    ['no accents', { given_name: 'Angelique Zoe', family_name: "Lebœuf-D'Arcay" }],
    ['accents apart (NFD)', { given_name: 'Angélique Zoé'.normalize('NFD'), family_name: "Lebœuf-D'Arçay".normalize('NFD') }],
    ['accents composed (NFC)', { given_name: 'Angélique Zoé'.normalize('NFC'), family_name: "Lebœuf-D'Arçay".normalize('NFC') }],
    ['oe in two letters', { family_name: "Leboeuf-D'Arçay" }],
    ['OE in two letters', { family_name: "LEBOEUF-D'ARCAY" }],
    ['hyphen or space', { given_name: 'Angélique-Zoé', family_name: "Lebœuf D'Arçay" }],
    ['doubled and outer spaces', { given_name: '  Angélique   Zoé ', family_name: " Lebœuf - D'Arçay  " }],
    ['no-break space', { given_name: 'Angélique\u00a0Zoé' }],
    ['no-break hyphen', { family_name: "Lebœuf\u2011D'Arçay" }],
    ['curly apostrophe', { family_name: 'Lebœuf-D’Arçay' }],
    ['commas between given names', { given_name: 'Angélique, Zoé' }],
    ['fullwidth letters', { given_name: 'Ａngélique Zoé' }]
  ]
  for (const [why, spelled] of table) t.equal(person(spelled), person(), why)
})

t.test('each ligature stands for its two letters', async t => {
  for (const [one, two] of [['œ', 'oe'], ['Œ', 'OE'], ['æ', 'ae'], ['Æ', 'AE'], ['ß', 'ss'], ['ẞ', 'SS'], ['ﬁ', 'fi']] as const) t.equal(person({ family_name: `L${one}x` }), person({ family_name: `L${two}x` }), one)
  t.not(person({ family_name: 'Læx' }), person({ family_name: 'Lœx' }))
})

t.test('a field that is absent, null or empty is the same nothing, and not the word for it', async t => {
  const { birthplace, ...rest } = angela
  t.equal(personOfPivot(secret, rest), person({ birthplace: '' }))
  t.equal(person({ birthplace: null }), person({ birthplace: '' }))
  t.equal(person({ birthplace: undefined }), person({ birthplace: '' }))
  t.not(person({ birthplace: 'undefined' }), person({ birthplace: '' }))
  t.not(person({ birthplace: 'null' }), person({ birthplace: '' }))
})

t.test('what is not of the pivot identity does not change the person', async t => {
  t.equal(person({ preferred_username: 'MARTIN', email: 'a@example.fr', given_name_array: ['Angélique'], sub: 'other', address: {} }), person())
})

t.test('two accounts at one provider are two persons, and so are two providers with one sub', async t => {
  const issuer = 'https://impots.example'
  const all = [
    personOfAccount(secret, issuer, 'a'),
    personOfAccount(secret, issuer, 'b'),
    personOfAccount(secret, issuer, 'A'),
    personOfAccount(secret, issuer, 'a '),
    personOfAccount(secret, `${issuer}/`, 'a'),
    personOfAccount(secret, `${issuer}a`, ''),
    personOfAccount(secret, 'a', issuer),
    personOfAccount(otherSecret, issuer, 'a')
  ]
  t.equal(new Set(all).size, all.length)
  t.equal(personOfAccount(secret, issuer, 'a'), all[0], 'and the same again the next time')
})

t.test('two sectors are told two subs for one person, one sector the same (OpenID Connect Core §8.1)', async t => {
  const sub = (whose: string, sector: string, key = secret) => pairwiseSubject(key, whose, sector)
  const martin = person({ given_name: 'Martin' })
  const all = [sub(person(), 'impots'), sub(person(), 'ameli'), sub(person(), 'Impots'), sub(martin, 'impots'), sub(martin, 'ameli'), sub(person(), 'impots', otherSecret)]
  t.equal(new Set(all).size, all.length)
  t.equal(sub(person({ given_name: 'ANGELIQUE ZOE' }), 'impots'), all[0])
  t.not(sub('ab', 'c'), sub('a', 'bc'))
  t.equal(all.some(value => value.includes(person())), false, 'and none tells what it is made from')
})

t.test('a sub is ASCII, shorter than 256, and names its scheme (OpenID Connect Core §2)', async t => {
  for (const sector of ['impots', 'é'.repeat(500), '']) t.match(pairwiseSubject(secret, person(), sector), /^[A-Za-z0-9_-]{43}v1$/)
})

t.test('two clients are told two sids for one session, and a sid is never a sub or a person (Back-Channel Logout §2.1)', async t => {
  const all = [
    clientSessionId(secret, 's1', 'c1'),
    clientSessionId(secret, 's1', 'c2'),
    clientSessionId(secret, 's2', 'c1'),
    clientSessionId(secret, 's1c', '1'),
    clientSessionId(otherSecret, 's1', 'c1'),
    pairwiseSubject(secret, 's1', 'c1'),
    pairwiseSubject(secret, 's1', 'c1').replace(/v1$/, ''),
    personOfAccount(secret, 's1', 'c1')
  ]
  t.equal(new Set(all).size, all.length)
  t.equal(clientSessionId(secret, 's1', 'c1'), all[0])
  t.match(all[0], /^[A-Za-z0-9_-]{43}$/)
})

t.test('scheme v1 gives for ever what it gave on the first day', async t => {
  const value = person()
  t.equal(value, 'UmBBHJ6cYrlMrShzAeh4XJ3lNppAiVZtjd5fu4IXIYw')
  t.equal(pairwiseSubject(secret, value, 'impots'), '4Eu9U9UE2-yeOXm9P5Gb3hSKemPZr1yRsP1cxmhziqwv1')
  t.equal(pairwiseSubject(secret, personOfAccount(secret, 'https://impots.example', 'a'), 'impots'), 'BdNYE1q2Tf_TpnoPbsIZgspS4o1mQkx3xeMJb0doXAAv1')
  t.equal(clientSessionId(secret, 's1', 'c1'), 'lC3-BNac8YTLxcoc6CT1hc619FCmmIv_sdW_NQKMQiM')
})

t.test('marks that are not seen, and apostrophes of every kind, make no other person', async t => {
  const named = (family_name: string) => person({ family_name })
  for (const spelling of ['L\u2019Hostis', 'L\'Hostis', 'L\u02bcHostis', 'L`Hostis', 'L\u00b4Hostis', 'L\u2032Hostis', 'L\u2019Hos\u00adtis', '\u200bL\u2019Hostis']) t.equal(named(spelling), named('L HOSTIS'), JSON.stringify(spelling))
  t.not(named('LHostis'), named('L Hostis'))
})

t.test('the mark of a service differs for each login, so that a provider cannot tell two of its citizens go to the same place', async t => {
  const marks = [clientMark(secret, 'login1', 'town'), clientMark(secret, 'login2', 'town'), clientMark(secret, 'login1', 'taxes'), clientMark(otherSecret, 'login1', 'town')]
  t.equal(new Set(marks).size, 4)
  for (const mark of marks) t.match(mark, /^[A-Za-z0-9_-]{11}$/)
})

t.test('the mark of a nonce differs for each nonce and secret, and is the mark of nothing else', async t => {
  const marks = [
    nonceMark(secret, 'nonce1'),
    nonceMark(secret, 'nonce2'),
    nonceMark(secret, ''),
    nonceMark(otherSecret, 'nonce1'),
    clientSessionId(secret, 'nonce1', '').slice(0, 22),
    personOfAccount(secret, 'nonce1', '').slice(0, 22),
    pairwiseSubject(secret, 'nonce1', '').slice(0, 22)
  ]
  t.equal(new Set(marks).size, marks.length)
  t.equal(nonceMark(secret, 'nonce1').startsWith(clientMark(secret, 'nonce1', '')), false)
  for (const mark of marks) t.match(mark, /^[A-Za-z0-9_-]{22}$/)
  t.equal(nonceMark(secret, 'nonce1'), marks[0], 'and the same again the next time')
})
