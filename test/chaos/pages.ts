import { messages } from '../../src/pages/messages.ts'
import { decode, tags } from '../world/browser.ts'

/** What the chooser says of a provider: `down` in words, `closed` for one that cannot be chosen, `open` for every other. */
export interface Card { href: string | undefined, state: 'open' | 'down' | 'closed' }

/** What a citizen reads on the chooser. */
export interface Chooser {
  /** the gateway's id of the login that it belongs to */
  login: string
  cards: Map<string, Card>
  /** the code of the banner, where there is one */
  notice: string | undefined
  /** it explains that no provider can be chosen now */
  explainsNone: boolean
}

/** The words by which a card says that a provider is down, in either language. */
const downInWords = new Set(Object.values(messages).map(({ chooser }) => String(chooser.down)))

/** The chooser in this page; undefined for any other page. */
export function readChooser (body: string): Chooser | undefined {
  const cards = body.match(/<li><(a|div) class="provider[^]*?<\/li>/g)
  if (cards === null) return undefined
  const [back = {}] = tags(body, 'a').filter(({ id }) => id === 'return')
  return {
    login: new URLSearchParams(back['href']?.split('?')[1]).get('login') ?? '',
    cards: new Map(cards.map(card => {
      const [element = {}] = [...tags(card, 'a'), ...tags(card, 'div')]
      const isDown = [...card.matchAll(/<small>([^]*?)<\/small>/g)].some(([, words = '']) => downInWords.has(decode(words)))
      return [element['id']!.slice('idp-'.length), { href: element['href'], state: isDown ? 'down' : element['href'] === undefined ? 'closed' : 'open' }]
    })),
    notice: tags(body, 'div').find(({ id }) => id === 'notice')?.['data-code'],
    explainsNone: body.includes(' id="none"')
  }
}

/** What the form of the information page sends when the citizen goes on; undefined for any other page. */
export function readConsent (body: string): { action: string, fields: URLSearchParams } | undefined {
  const form = tags(body, 'form').find(({ action }) => action?.endsWith('/consent'))
  if (form === undefined) return undefined
  const hidden = tags(body, 'input').filter(({ type }) => type === 'hidden').map(({ name = '', value = '' }): [string, string] => [name, value])
  return { action: form['action']!, fields: new URLSearchParams([...hidden, ['decision', 'continue']]) }
}

/** ids of what leads on; an account is chosen by a link of its own */
const leadsOn = /^(retry|again|choose|return|idp-.+)$/

/** Whether a page has a link that leads on. */
export const offersWayOn = (body: string) => tags(body, 'a').some(({ id = '', href }) => leadsOn.test(id) && href !== undefined)

/** The code that an error page tells the help desk. */
export const readErrorCode = (body: string) => / id="error-code"[^>]*>(\w+)</.exec(body)?.[1]
