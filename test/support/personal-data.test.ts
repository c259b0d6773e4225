import t from 'tap'
import { findWords, wordsOf } from './personal-data.ts'

const name = 'Lefèvre du Pré'

t.test('a word is found in every spelling that hides it', async t => {
  const bytes = Buffer.from(name)
  const hidden: Record<string, string> = {
    raw: name,
    'another case': name.toUpperCase(),
    JSON: JSON.stringify({ name }),
    'JSON, ASCII only': 'Lef\\u00e8vre du Pr\\u00e9',
    percent: encodeURIComponent(name),
    form: new URLSearchParams({ name }).toString(),
    'percent, every byte': [...bytes].map(byte => `%${byte.toString(16)}`).join(''),
    hex: bytes.toString('hex'),
    HEX: bytes.toString('hex').toUpperCase()
  }
  for (const before of ['', 'x', 'xy', 'xyz']) {
    const whole = Buffer.concat([Buffer.from(before), bytes, Buffer.from('after')])
    hidden[`base64 after ${before.length}`] = whole.toString('base64')
    hidden[`base64url after ${before.length}`] = whole.toString('base64url')
  }
  for (const [how, text] of Object.entries(hidden)) t.ok(findWords(`{"log":"${text}"}`, [name]).length > 0, how)
})

t.test('nothing is found where there is nothing', async t => {
  t.same(findWords('{"event":"token","login":"LXNvbWUtaWQ"}', [name, 'tournesol']), [])
})

t.test('the words of an identity are all that name the person, and not what many share', async t => {
  t.same(wordsOf({ family_name: 'Casanova', gender: 'female', birthcountry: '99100', address: { formatted: '1 rue' }, given_name_array: ['Lucien'], email_verified: true }), ['Casanova', '1 rue', 'Lucien'])
})
