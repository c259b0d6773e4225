const special = /[&<>"']/g
const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

/** Markup that came out of `html`; a class, so that no data from outside can pass for it. */
class Html {
  readonly #markup: string
  constructor (markup: string) { this.#markup = markup }
  toString (): string { return this.#markup }
}

export type { Html }

/** What may stand in a template: text is escaped, markup of ours is kept, an absent value is nothing. */
export type Piece = Html | string | number | false | null | undefined | readonly Piece[]

/** Builds markup, escaping every interpolation. Attribute values must be quoted in the template. */
export function html (strings: TemplateStringsArray, ...pieces: Piece[]): Html {
  return new Html(strings.reduce((markup, string, i) => markup + render(pieces[i - 1]) + string))
}

function render (piece: Piece): string {
  if (piece instanceof Html) return piece.toString()
  if (Array.isArray(piece)) return piece.map(render).join('')
  if (piece === undefined || piece === null || piece === false) return ''
  return String(piece).replace(special, character => entities[character]!)
}
