/** Where these words stand in a text, in any of the spellings that hide them: raw, JSON, percent, hex, base64 at each of its three offsets. */
export function findWords (text: string, words: readonly string[]): string[] {
  const lower = text.toLowerCase()
  return words.flatMap(word => spellings(word)
    .filter(([, spelled, exact]) => exact ? text.includes(spelled) : lower.includes(spelled.toLowerCase()))
    .map(([how]) => `${word} (${how})`))
}

function spellings (word: string): Array<[how: string, spelled: string, exact: boolean]> {
  const bytes = Buffer.from(word)
  const escaped = JSON.stringify(word).slice(1, -1)
  const ascii = word.replace(/[^\x20-\x7e]/g, letter => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`)
  const percent = [...bytes].map(byte => `%${byte.toString(16).padStart(2, '0')}`).join('')
  return [
    ['raw', word, false],
    ['JSON', escaped, false],
    ['JSON, ASCII only', ascii, false],
    ['percent', encodeURIComponent(word), false],
    ['form', encodeURIComponent(word).replaceAll('%20', '+'), false],
    ['percent, every byte', percent, false],
    ['hex', bytes.toString('hex'), false],
    ...[0, 1, 2].flatMap((offset): Array<[string, string, boolean]> => {
      // the characters that this word alone decides, wherever it begins within three bytes
      const encoded = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64').replaceAll('=', '')
      const own = encoded.slice(Math.ceil(offset * 8 / 6), Math.floor((offset + bytes.length) * 8 / 6))
      return [['base64', own, true], ['base64url', own.replaceAll('+', '-').replaceAll('/', '_'), true]]
    })
  ]
}

/** What a citizen is called and can be known by: every text in these claims that says enough to be looked for. */
export const wordsOf = (claims: unknown): string[] => typeof claims === 'string'
  ? claims.length >= (/^\d+$/.test(claims) ? 8 : 5) ? [claims] : []  // a short number is a port or a time as well
  : typeof claims === 'object' && claims !== null ? [...new Set(Object.entries(claims).filter(([name]) => !impersonal.has(name)).flatMap(([, value]) => wordsOf(value)))] : []

const impersonal = new Set(['birthcountry', 'gender', 'country'])
